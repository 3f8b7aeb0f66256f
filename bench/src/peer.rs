//! A hub that can be measured: how it is started, how it is reached, what it speaks.
//!
//! To add one, implement [`Peer`] and [`Wire`] in a file of `peers/`, and name it in `peers.rs`.

use std::num::NonZeroU32;
use std::path::Path;

use crate::error::{Fallible, Tried};
use crate::wire::Wire;

/// One hub.
pub trait Peer: Send + Sync {
    /// Its name in tables and at the command line.
    fn name(&self) -> &'static str;
    /// How it is started in `directory`, which has `server.pem`, `server.key` and `ca.pem`, to listen on this port of
    /// 127.0.0.1.
    ///
    /// # Errors
    /// When a file cannot be written, or a program is missing.
    fn launch(&self, directory: &Path, port: u16) -> Fallible<Launch>;
    /// What carries its connections.
    fn transport(&self) -> Transport;
    /// The protocol of one connection, of the user with this number.
    fn wire(&self, user: u32) -> Box<dyn Wire>;
    /// How many connections a second one address may make, where the hub has a limit that a crowd would meet.
    fn connects_per_second(&self) -> Option<NonZeroU32> {
        None
    }
    /// The credential of the user with this number, where each has one.
    fn token(&self, _user: u32) -> Option<String> {
        None
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Plain,
    /// TLS 1.3 over TCP.
    Tls,
    /// The server says one line first, and TLS follows it.
    TlsAfterLine,
    /// QUIC, with one stream that the client opens.
    Quic,
}

/// A command line.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program.
    pub program: String,
    /// How to get it.
    pub remedy: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it prints when it is ready, on the standard output; without one, it is ready when its port takes
    /// connections.
    pub says: Option<String>,
    /// Arguments that make it tell its version.
    pub version: Vec<String>,
}

impl Launch {
    /// Of this program, which `remedy` installs.
    #[must_use]
    pub fn program(program: &str, remedy: &str) -> Self {
        Self { program: program.to_owned(), remedy: remedy.to_owned(), ..Self::default() }
    }

    /// Writes a file that it reads.
    ///
    /// # Errors
    /// When that fails.
    pub fn file(self, directory: &Path, name: &str, content: &str) -> Fallible<Self> {
        std::fs::write(directory.join(name), content).tried(format!("writing {name}"))?;
        Ok(self)
    }

    /// More arguments.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// See [`Self::version`].
    #[must_use]
    pub fn version<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.version = arguments.into_iter().map(str::to_owned).collect();
        self
    }

    /// See [`Self::says`].
    #[must_use]
    pub fn says(mut self, text: &str) -> Self {
        self.says = Some(text.to_owned());
        self
    }

    /// # Errors
    /// None: for the end of a chain that had some.
    pub fn done(self) -> Fallible<Self> {
        Ok(self)
    }
}
