//! Why a node cannot begin with NATS, why a message was not sent, and what became of a put.
//!
//! Invariant: no error has a secret in it, only the file that it is in.

use std::path::PathBuf;

/// Why [`Bus::open`](crate::Bus::open) gave up.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No server is given.
    #[error("no NATS server is given")]
    NoServer,
    /// An address is none.
    #[error("\"{address}\" is no address of a NATS server: nats://HOST:PORT or tls://HOST:PORT")]
    Address {
        /// As it was given.
        address: String,
    },
    /// An address has a user or a password in it, and would be in logs.
    #[error(
        "an address of a NATS server has a user in it: addresses are logged, please put credentials in a file"
    )]
    AddressHasUser,
    /// The prefix is no word.
    #[error("\"{prefix}\" cannot be the prefix of NATS' subjects: 1 to 32 letters, digits or -")]
    Prefix {
        /// As it was given.
        prefix: String,
    },
    /// So many replicas make no sense.
    #[error("the bucket cannot be on {replicas} servers: 1, 3 or 5")]
    Replicas {
        /// As they were given.
        replicas: usize,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: String,
    },
    /// A file has something else in it than it should.
    #[error("{}: {what}", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What is wrong, without what is in it.
        what: String,
    },
    /// NATS does not know these credentials.
    #[error("NATS at {server} refuses {who}")]
    Refused {
        /// Which server.
        server: String,
        /// Whom, with the file.
        who: String,
    },
    /// A server's certificate does not count.
    #[error("the certificate of NATS at {server} does not count: {error}")]
    Certificate {
        /// Which server.
        server: String,
        /// Why.
        error: String,
    },
    /// None of the servers could be used in time.
    #[error("cannot use NATS: {reasons}")]
    Unreachable {
        /// Each server, and the last that was wrong with it.
        reasons: String,
    },
    /// A message could be longer than the server takes, which ends the whole connection.
    #[error(
        "messages may be of {needed} bytes, and NATS at {server} takes {limit}: raise max_payload there, or let \
         messages be shorter"
    )]
    MaxPayload {
        /// Which server.
        server: String,
        /// The longest message with what is added to it, in bytes.
        needed: usize,
        /// What the server takes, in bytes.
        limit: usize,
    },
    /// It is one of several servers, and of those that do two puts over one revision (nats-server#4320).
    #[error(
        "NATS at {server} is nats-server {version}, which in a cluster may do two decisions about the same: please \
         run 2.9.21 or later on all servers of it"
    )]
    TooOld {
        /// Which server.
        server: String,
        /// What it says that it is.
        version: String,
    },
    /// The user may not do what a node has to.
    #[error("NATS does not let {who} {what}")]
    Forbidden {
        /// Whom, with the file.
        who: String,
        /// "publish to SUBJECT", "subscribe to SUBJECT".
        what: String,
    },
    /// There is no JetStream.
    #[error("NATS has no JetStream for this account: {reason}")]
    NoJetStream {
        /// What it says.
        reason: String,
    },
    /// The bucket could not be made or read.
    #[error("the bucket {bucket} cannot be used: {reason}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What NATS says, or what is wrong with its settings.
        reason: String,
    },
}

impl OpenError {
    /// Whether trying again later is of no use.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no connection to NATS now.
    #[error("there is no connection to NATS")]
    Disconnected,
    /// Too many messages wait to be sent.
    #[error("too many messages wait to be sent over NATS")]
    Full,
    /// It is longer than the server takes.
    #[error("a message of {bytes} bytes is too long for NATS, which takes {limit}")]
    TooLong {
        /// The message's length, in bytes.
        bytes: usize,
        /// How long it may be here and now, in bytes.
        limit: usize,
    },
}

/// What became of a put or a delete that was not done, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The entry is not as it was expected. Nothing was changed.
    #[error("the entry has changed meanwhile")]
    Conflict,
    /// It cannot be done now. Nothing was changed.
    #[error("the bucket cannot be changed: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// There was no answer in time. It may have been done, and may still be.
    #[error("no answer from NATS: it may have been done")]
    Unknown,
    /// The user has not the right to. Nothing was changed.
    #[error("NATS does not let this user {what}")]
    Forbidden {
        /// What.
        what: String,
    },
    /// The value is longer than the server takes.
    #[error("a value of {bytes} bytes is too long for NATS, which takes {limit}")]
    TooLong {
        /// The value's length, in bytes.
        bytes: usize,
        /// How long it may be here and now, in bytes.
        limit: usize,
    },
    /// The key is none: letters, digits, `-`, `_`, `/`, `=` and dots inside.
    #[error("\"{key}\" cannot be a key")]
    Key {
        /// As it was given.
        key: String,
    },
}
