//! Why a run failed. A wrong result is a failed run, never a number.

use std::io;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that a peer needs is not there.
    #[error("{program} is not installed; {remedy}")]
    Missing {
        /// Which.
        program: String,
        /// What to do.
        remedy: String,
    },
    /// The system did not do what was asked.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A server or a connection did what it must not, or did not do what it must.
    #[error("{0}")]
    Wrong(String),
}

/// What most things here give.
pub type Fallible<T> = Result<T, Error>;

/// Something is not as it must be.
pub fn wrong(what: impl Into<String>) -> Error {
    Error::Wrong(what.into())
}

/// An error and its causes, in words: quinn's say "connection lost", and the code is in the cause.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Says what was tried when it failed.
pub trait Tried<T> {
    /// Names what was tried.
    ///
    /// # Errors
    /// The same error, with that.
    fn tried(self, what: impl Into<String>) -> Fallible<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Tried<T> for Result<T, E> {
    fn tried(self, what: impl Into<String>) -> Fallible<T> {
        self.map_err(|error| Error::Io { what: what.into(), source: io::Error::other(chain(&*error.into())) })
    }
}
