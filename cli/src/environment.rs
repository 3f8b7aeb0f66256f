//! Variables: an empty one is not a value.
//!
//! In: the command line's definition, and the environment. Out: the definition without the variables that are set to
//! nothing, as container files set what they do not fill in. Invariant: it is so for every variable of every command,
//! because nobody lists them.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::{Arg, Command};

/// The command, which no longer looks at variables that are empty.
pub(crate) fn without_empty(command: Command, value: fn(&OsStr) -> Option<OsString>) -> Command {
    let is_empty = |name: &OsStr| value(name).is_some_and(|value| value.is_empty());
    let forget = |argument: Arg| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(Resettable::<clap::builder::OsStr>::Reset),
        _ => argument,
    };
    command.mut_args(forget).mut_subcommands(|subcommand| without_empty(subcommand, value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    /// Every variable that a command looks at, below the command, too.
    fn variables(command: &Command) -> BTreeSet<String> {
        let own = command.get_arguments().filter_map(Arg::get_env);
        let own = own.map(|name| name.to_string_lossy().into_owned());
        own.chain(command.get_subcommands().flat_map(variables)).collect()
    }

    #[test]
    fn no_variable_of_any_command_is_looked_at_when_it_is_empty() {
        let all = variables(&Arguments::command());
        assert!(
            all.len() > 40 && all.contains("FANFARE_TOKEN_AUDIENCE") && all.contains("FANFARE_ADMIN"),
            "{all:?}"
        );
        let left = |value| variables(&without_empty(Arguments::command(), value));
        assert_eq!(left(|_| Some(OsString::new())), BTreeSet::new());
        assert_eq!(left(|_| None), all);
        assert_eq!(left(|_| Some(" ".into())), all, "a blank is something");
        let one = left(|name| (name == "FANFARE_USER").then(OsString::new));
        assert_eq!(all.difference(&one).collect::<Vec<_>>(), ["FANFARE_USER"]);
    }
}
