//! Names of users and groups as an operator types them, before anything is asked.
//!
//! In: what was typed, and how it is meant. Out: the names that are meant, or what is wrong with one. Invariant: nobody
//! acts on a user, a group or a token of another name than the one meant: a `*` is a pattern only where groups are
//! forbidden, and everywhere else it has to be said that it is meant as it stands. Commands have texts for names, so
//! that there is no way around this.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use fanfare_protocol::{GroupName, NameError, Pattern, UserName, quoted};

use crate::failure::Failure;

/// How names are meant.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct NameArguments {
    /// A `*` in the name of a user, of one group, or in a token's id, is meant as it stands
    #[arg(long, global = true)]
    literal: bool,
    /// The user's name is given in base64, for one that a command line cannot carry
    #[arg(long, global = true)]
    user_base64: bool,
    /// The same for the group's name, or its pattern
    #[arg(long, global = true)]
    group_base64: bool,
}

impl NameArguments {
    /// The user that is meant.
    pub(crate) fn user(self, typed: &str) -> Result<UserName, Failure> {
        let name = decoded(self.user_base64, "user", typed)?;
        self.exact(&name, "a user's name is never a pattern; whom it is about is named one by one")?;
        UserName::new(&name).map_err(|error| wrong("USER", &error))
    }

    /// The one group that is meant.
    pub(crate) fn group(self, typed: &str) -> Result<GroupName, Failure> {
        let name = decoded(self.group_base64, "group", typed)?;
        self.exact(&name, "the name of one group is no pattern")?;
        GroupName::new(&name).map_err(|error| wrong("GROUP", &error))
    }

    /// The groups that are meant.
    pub(crate) fn groups(self, typed: &str) -> Result<Pattern, Failure> {
        let name = decoded(self.group_base64, "group", typed)?;
        Pattern::new(&name).map_err(|error| wrong("GROUPS", &error))
    }

    /// The token that is meant, by its id.
    pub(crate) fn token(self, jti: String) -> Result<String, Failure> {
        self.exact(&jti, "a token's id is never a pattern; tokens are named one by one")?;
        Ok(jti)
    }

    fn exact(self, name: &str, instead: &str) -> Result<(), Failure> {
        if self.literal || !name.contains('*') {
            return Ok(());
        }
        let name = quoted(name);
        Err(Failure::usage(format!(
            "{name} has a `*`: {instead}. --literal says that it is meant as it stands"
        )))
    }
}

/// Only now is it a name: 256 bytes of one are more of them in base64.
fn decoded(given: bool, what: &str, typed: &str) -> Result<String, Failure> {
    if !given {
        return Ok(typed.to_owned());
    }
    let wrong = |why: String| {
        Failure::usage(format!("the {what}'s name {} is no text in base64: {why}", quoted(typed)))
    };
    let bytes = STANDARD.decode(typed).map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

/// `what` is the argument as the command's help has it.
fn wrong(what: &str, error: &NameError) -> Failure {
    Failure::usage(format!("{what}: {error}"))
}
