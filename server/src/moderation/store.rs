//! What a store of operators' decisions does, wherever it keeps them: bans, keys of the HTTP API, lasting memberships,
//! the audit, and the mark of an act that has begun.
//!
//! In: a [`Change`]. Out: what is [`Kept`], or why that cannot be. Invariants, which everything that is a [`Store`]
//! keeps: a change is carried out as a whole or not at all, and is kept when the call returns; a store that failed once
//! is not used before it was opened again, and then [made](Store::restore) what it was known to be.

use std::path::PathBuf;

use fanfare_protocol::admin::{BanRow, LastingRow};
use fanfare_protocol::{GroupName, UserName};

use super::audit::Head;
use crate::access::{BanKey, StoredKey};

/// Keeps bans, keys and audit records. A call returns when it is on the disk.
pub(crate) trait Store: Send + Sync {
    /// Everything that is needed at the start.
    fn load(&self) -> Result<Kept, StoreError>;
    /// Carries out a change as a whole or not at all.
    fn commit(&self, change: Change<'_>) -> Result<(), StoreError>;
    /// Copies everything aside, as it is now, in place of the copy before.
    fn backup(&self) -> Result<(), StoreError>;
    /// The newest audit record's number and hash.
    fn head(&self) -> Result<Head, StoreError>;
    /// Audit records with higher numbers than `after`, at most `limit`.
    fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;
    /// Why nothing can be done any more before it was opened again; `None` while all is well.
    fn failure(&self) -> Option<String>;
    /// Opens it again, if it failed.
    fn reopen(&self) -> Result<(), StoreError>;
    /// Makes it what it is known to be: exactly these bans, keys and memberships, the records up to this one, and this
    /// mark. A change of which it was said that it failed may have come through all the same. Refuses where something
    /// is missing that had been written, and where there is no room for another act.
    fn restore(&self, standing: &Standing, head: Head, pending: Option<&[u8]>) -> Result<(), StoreError>;
}

/// What was decided, and holds until something else is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Standing {
    pub(crate) bans: Vec<BanRow>,
    pub(crate) keys: Vec<StoredKey>,
    pub(crate) lasting: Vec<LastingRow>,
}

/// What a store has.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Kept {
    pub(crate) standing: Standing,
    pub(crate) head: Head,
    /// An act without an audit record: the server ended before it was written.
    pub(crate) pending: Option<Vec<u8>>,
}

/// A change. What is not given stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) put: Option<&'a BanRow>,
    pub(crate) lift: Vec<BanKey>,
    /// Keys of the HTTP API that are there from now on, as they are.
    pub(crate) put_keys: Vec<StoredKey>,
    /// The name of one that is there no more.
    pub(crate) drop_key: Option<&'a str>,
    /// A lasting membership that there is from now on, as it is.
    pub(crate) put_lasting: Option<&'a LastingRow>,
    /// Those that there are no more.
    pub(crate) drop_lasting: Vec<(UserName, GroupName)>,
    /// What this act is, until a record is written.
    pub(crate) pending: Option<&'a [u8]>,
    /// A record with the head that it makes. Takes the mark of a pending act away.
    pub(crate) record: Option<(&'a [u8], Head)>,
}

/// The store cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{path} is in use by another process: is a server running in this state directory already?")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not what a server wrote.
    #[error(
        "{path} is damaged: {problem}; put a backup in its place, or move it away to start with no bans at all"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no file: the server has no state directory.
    #[error("this server has no state directory, so there is nothing to back up")]
    InMemory,
    /// The system does not let us.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
