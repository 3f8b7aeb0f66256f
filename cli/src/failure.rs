//! How a command ends when it does not end well: one line that says what and what to do, and an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

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
    /// Nobody reads our output any more: exit code 1, without a word.
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
    /// On one line, whatever a library's message has in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message.lines().map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

/// Writing to stdout or reading stdin failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::BrokenPipe } else { Kind::Failed };
        Self { message: format!("cannot write to standard output: {error}"), kind }
    }
}
