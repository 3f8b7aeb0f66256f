//! Where NATS is, how a node proves itself there, and how long things may take.
//!
//! In: what a configuration says. Out: settings that make sense, and names made from them. Invariant: nothing secret is
//! in them, only the files that secrets are in.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::ServerAddr;

use crate::error::OpenError;

/// The longest prefix, in bytes. It is part of every subject, and the bucket's name.
const PREFIX_BYTES: usize = 32;
/// What a message to NATS has beside its payload, at most: the headers of a put.
pub(crate) const HEADER_BYTES: usize = 256;

/// Where NATS is, and how a node behaves there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `nats://host:port` or `tls://host:port`. They are tried in random order.
    pub servers: Vec<String>,
    /// What every subject begins with, and the bucket's name: letters, digits and `-`, 1 to 32 of them.
    pub prefix: String,
    /// Who this node is to NATS.
    pub credentials: Credentials,
    /// A PEM file with the authorities that sign the servers' certificates; with it every connection is TLS. None:
    /// those of the system, where a server asks for TLS.
    pub authority: Option<PathBuf>,
    /// How many servers keep the bucket: 1, 3 or 5.
    pub replicas: usize,
    /// The longest message that will be sent, in bytes. NATS must take so many, and
    /// [`STAMP_BYTES`](crate::STAMP_BYTES).
    pub largest: usize,
    /// How many messages may wait to be sent.
    pub queue: usize,
    /// How many events may wait to be taken.
    pub events: usize,
    /// How long `open` tries, as long as trying makes sense: NATS may be starting, too.
    pub patience: Duration,
    /// The deadline of a put, a delete, and of everything that is asked of NATS.
    pub answer: Duration,
    /// How often NATS is asked whether it is there, when it says nothing. The third time without an answer ends the
    /// connection.
    pub ping: Duration,
    /// How often the bucket's watch says that it is there, when there is nothing to tell. After three times without a
    /// word it is made anew.
    pub beat: Duration,
    /// The watch is made anew when it gave no entry for so long, even though it says that it is there.
    pub silence: Duration,
    /// A message is dropped when its sender, as it sent it, knew no more of the bucket than what was known here so
    /// long ago. At most as long as a lease, which a server sees to. None: any message counts, however late.
    pub late: Option<Duration>,
    /// The clock that this is measured by: the one of leases. Else [`Instant::now`].
    pub clock: fn() -> Instant,
}

/// Who a node is to NATS. Secrets stay in their files, which are read at each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    None,
    /// A file with the seed of a user's NKey (`SU...`).
    NKey(PathBuf),
    /// A `.creds` file: a JWT and a seed.
    File(PathBuf),
    /// A name, and a file with nothing but its password.
    Password {
        /// The user's name.
        user: String,
        /// Where the password is.
        file: PathBuf,
    },
}

impl Credentials {
    /// The file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::NKey(file) | Self::File(file) | Self::Password { file, .. } => Some(file),
        }
    }
}

impl Settings {
    /// Settings for these servers, with all else as it is recommended: the bucket on three servers, messages up to
    /// 256 KiB, no credentials.
    pub fn new(servers: Vec<String>, prefix: impl Into<String>) -> Self {
        Self {
            servers,
            prefix: prefix.into(),
            credentials: Credentials::None,
            authority: None,
            replicas: 3,
            largest: 256 * 1024,
            queue: 4096,
            events: 4096,
            patience: Duration::from_secs(10),
            answer: Duration::from_secs(2),
            ping: Duration::from_secs(1),
            beat: Duration::from_millis(500),
            silence: Duration::from_secs(3),
            late: Some(Duration::from_secs(5)),
            clock: Instant::now,
        }
    }

    pub(crate) fn check(&self) -> Result<Vec<ServerAddr>, OpenError> {
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if self.prefix.is_empty() || self.prefix.len() > PREFIX_BYTES || !is_plain(&self.prefix) {
            return Err(OpenError::Prefix { prefix: self.prefix.clone() });
        }
        if self.servers.is_empty() {
            return Err(OpenError::NoServer);
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return Err(OpenError::Replicas { replicas: self.replicas });
        }
        self.servers.iter().map(|server| address(server)).collect()
    }

    pub(crate) fn node_subject(&self, node: [u8; 4]) -> String {
        format!("{}.node.{}", self.prefix, hex(node))
    }

    pub(crate) fn all_subject(&self) -> String {
        format!("{}.all", self.prefix)
    }

    /// The stream that the bucket is.
    pub(crate) fn stream(&self) -> String {
        format!("KV_{}", self.prefix)
    }

    /// What the subjects of the bucket's entries begin with.
    pub(crate) fn entries(&self) -> String {
        format!("$KV.{}.", self.prefix)
    }

    /// What answers to one connection of a node come to. Under the prefix, so that a user's rights can be for that
    /// alone: else whoever may listen at `_INBOX.>` hears everybody's answers.
    pub(crate) fn inbox(&self, node: [u8; 4]) -> String {
        format!("_INBOX.{}.{}.{:016x}", self.prefix, hex(node), fastrand::u64(..))
    }
}

pub(crate) fn hex(node: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(node))
}

fn address(server: &str) -> Result<ServerAddr, OpenError> {
    // It is not repeated: it may have a password in it.
    if server.contains('@') {
        return Err(OpenError::AddressHasUser);
    }
    let wrong = || OpenError::Address { address: server.to_owned() };
    let address: ServerAddr = server.parse().map_err(|_| wrong())?;
    if !matches!(address.scheme(), "nats" | "tls") || address.host().is_empty() {
        return Err(wrong());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(server: &str, prefix: &str) -> Settings {
        Settings::new(vec![server.to_owned()], prefix)
    }

    #[test]
    fn servers_are_addresses_of_nats() {
        for good in
            ["nats://localhost:4222", "tls://nats.example:4222", "nats://[::1]:4222", "127.0.0.1:4222"]
        {
            assert!(settings(good, "fanfare").check().is_ok(), "{good}");
        }
        for bad in ["http://localhost:4222", "ws://localhost", "nats://", "", "nats://a b:1"] {
            let error = settings(bad, "fanfare").check().unwrap_err();
            assert!(matches!(error, OpenError::Address { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = settings("nats://user:secret@localhost:4222", "fanfare").check().unwrap_err();
        assert!(matches!(error, OpenError::AddressHasUser));
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn a_prefix_is_a_word() {
        for bad in ["", "a.b", "a b", "*", ">", "$JS", "ü", &"x".repeat(33)] {
            let error = settings("nats://localhost", bad).check().unwrap_err();
            assert!(matches!(error, OpenError::Prefix { .. }), "{bad}");
        }
        assert!(settings("nats://localhost", "Fanfare-2").check().is_ok());
    }

    #[test]
    fn subjects_are_below_the_prefix() {
        let settings = settings("nats://localhost", "f");
        assert_eq!(settings.node_subject([0, 0xab, 1, 0xff]), "f.node.00ab01ff");
        assert_eq!(settings.all_subject(), "f.all");
        assert!(settings.inbox([1; 4]).starts_with("_INBOX.f.01010101."));
    }
}
