//! How a command ends when it does not end well: one line that says what and what to do, and an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::output;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The command line or a setting is wrong: exit code 2, as clap's.
    Usage,
    /// It was tried, and failed: exit code 1.
    Failed,
    /// Nobody reads our output any more: exit code 1, without a word, as what was asked for was not shown in full.
    BrokenPipe,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Usage }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Failed }
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.kind == Kind::BrokenPipe
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.kind == Kind::Usage { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    /// On one line, whatever a library's message or a server's words have in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&output::harmless(&joined(&self.message)))
    }
}

fn joined(lines: &str) -> String {
    lines.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A command line that cannot be read. clap tells it in paragraphs; those that say what is wrong become one line.
impl From<&clap::Error> for Failure {
    fn from(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut said: Vec<String> = text
            .split("\n\n")
            .map(|paragraph| paragraph.trim().trim_start_matches("error: ").trim_start_matches("tip: "))
            .filter(|paragraph| {
                !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information")
            })
            .map(joined)
            .collect();
        if let Some(missing) = missing(error) {
            said = vec![format!("missing: {missing}")];
        }
        said.extend(variable(error).map(|variable| format!("the value is that of the variable {variable}")));
        said.push("see --help".to_owned());
        Self::usage(said.join("; "))
    }
}

/// What had to be given and was not. clap writes a choice as `<--this <THIS>|--that <THAT>>`.
fn missing(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(arguments)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let named = |argument: &String| match argument.strip_prefix("<-").and_then(|rest| rest.strip_suffix('>'))
    {
        Some(choice) => format!("one of -{}", choice.replace('|', ", ")),
        None => argument.clone(),
    };
    (error.kind() == ErrorKind::MissingRequiredArgument)
        .then(|| arguments.iter().map(named).collect::<Vec<_>>().join(" and "))
}

/// The variable that a wrong value is from, where it is not from the command line: clap names the flag in both cases.
fn variable(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (flag, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let flag = flag.split([' ', '[', '=']).next()?;
    let typed = |argument: String| argument == flag || argument.starts_with(&format!("{flag}="));
    if std::env::args_os().any(|argument| argument.into_string().is_ok_and(typed)) {
        return None;
    }
    let variable = format!("FANFARE_{}", flag.strip_prefix("--")?.replace('-', "_").to_uppercase());
    (std::env::var(&variable).as_deref() == Ok(value)).then_some(variable)
}

/// Writing to stdout or reading stdin failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::BrokenPipe } else { Kind::Failed };
        Self { message: format!("cannot write to standard output: {error}"), kind }
    }
}
