//! What operators decided, on disk: bans and the audit, in one redb file in the state directory.
//!
//! In: changes. Out: when a call returns, the change is synced to the disk (redb's durability `Immediate`). Invariants: a
//! file that cannot be used is an error that names it, never an empty list of bans; one process has the file at a time; an
//! act that changes bans leaves a mark until its audit record is written, so that none goes unrecorded however the server
//! ends.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fanfare_protocol::admin::{BanKind, BanRow};
use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use crate::access::BanKey;
use crate::audit::{Hash, Head};

const FILE: &str = "bans.redb";
const BACKUP: &str = "bans.redb.backup";
/// Kind, user or token, pattern of groups: a [`BanRow`] in JSON.
const BANS: TableDefinition<'_, (u8, &str, &str), &[u8]> = TableDefinition::new("bans");
/// Number: a record's bytes.
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");
/// The newest record's number and hash.
const HEAD: &str = "head";
/// The act that is being carried out.
const PENDING: &str = "pending";
/// What the tables look like. A later version may look different, and then says so here.
const FORMAT: &str = "format";
const FORMAT_1: &[u8] = b"1";

/// Keeps bans and audit records. A call returns when it is on the disk.
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
}

/// What a store has.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Kept {
    pub(crate) bans: Vec<BanRow>,
    pub(crate) head: Head,
    /// An act without an audit record: the server ended before it was written.
    pub(crate) pending: Option<Vec<u8>>,
}

/// A change. What is not given stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) put: Option<&'a BanRow>,
    pub(crate) lift: Vec<BanKey>,
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
    /// The system does not let us.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The store in a file.
pub(crate) struct FileStore {
    path: PathBuf,
    database: Database,
}

impl FileStore {
    /// Opens the store in this directory; makes it where there is none.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let database = match fs::metadata(&path) {
            // redb would take it for a file that is to be filled.
            Ok(facts) if facts.len() == 0 => {
                return Err(StoreError::Damaged { path, problem: "it is empty".to_owned() });
            }
            Ok(_) => Database::open(&path).map_err(|error| refused(&path, error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(directory, &path)?,
            Err(error) => return Err(failed(error)),
        };
        let store = Self { path, database };
        let format = store.mark(FORMAT)?;
        if format.as_deref() != Some(FORMAT_1) {
            return Err(store.damaged(&"it is of another version"));
        }
        Ok(store)
    }

    fn damaged(&self, problem: &dyn ToString) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), problem: problem.to_string() }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Io(source) => StoreError::Io { path: self.path.clone(), source },
            error => self.damaged(&error),
        }
    }

    fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(MARKS).map_err(|error| self.failed(error))?;
        let mark = table.get(name).map_err(|error| self.failed(error))?;
        Ok(mark.map(|mark| mark.value().to_vec()))
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let head = self.head()?;
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(BANS).map_err(|error| self.failed(error))?;
        let mut bans = Vec::new();
        for entry in table.iter().map_err(|error| self.failed(error))? {
            let (_, value) = entry.map_err(|error| self.failed(error))?;
            let ban = serde_json::from_slice(value.value());
            bans.push(ban.map_err(|error| self.damaged(&format_args!("a ban cannot be read: {error}")))?);
        }
        Ok(Kept { bans, head, pending: self.mark(PENDING)? })
    }

    fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().map_err(|error| self.failed(error))?;
        write.set_durability(Durability::Immediate).map_err(|error| self.damaged(&error))?;
        apply(&write, change).map_err(|error| self.failed(error))?;
        write.commit().map_err(|error| self.failed(error))
    }

    fn backup(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Io { path: self.path.with_file_name(BACKUP), source };
        // A file that is being written to cannot be copied as it lies: this is a second store with the same content.
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let copied = |database: &Database| -> Result<(), redb::Error> {
            let read = self.database.begin_read()?;
            let write = database.begin_write()?;
            copy(&read, &write, BANS)?;
            copy(&read, &write, AUDIT)?;
            copy(&read, &write, MARKS)?;
            write.commit()?;
            Ok(())
        };
        let name = format!("{BACKUP}.new");
        create_aside(directory, &name, copied).map_err(|error| match error {
            redb::Error::Io(source) => failed(source),
            error => self.damaged(&error),
        })?;
        fs::rename(directory.join(name), directory.join(BACKUP)).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn head(&self) -> Result<Head, StoreError> {
        match self.mark(HEAD)? {
            None => Ok(Head::default()),
            Some(mark) => read_head(&mark).ok_or_else(|| self.damaged(&"the audit's head cannot be read")),
        }
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(AUDIT).map_err(|error| self.failed(error))?;
        let range = table.range(after.saturating_add(1)..).map_err(|error| self.failed(error))?;
        let records = range.take(limit).map(|entry| {
            let (number, bytes) = entry.map_err(|error| self.failed(error))?;
            Ok((number.value(), bytes.value().to_vec()))
        });
        records.collect()
    }
}

fn refused(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::Storage(redb::StorageError::Io(source)) => match source.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged { path, problem: source.to_string() }
            }
            _ => StoreError::Io { path, source },
        },
        error => StoreError::Damaged { path, problem: error.to_string() },
    }
}

/// Makes the file aside and moves it into place when it is complete, so that nobody ever meets half of it.
fn create(directory: &Path, path: &Path) -> Result<Database, StoreError> {
    let failed = |source| StoreError::Io { path: path.to_owned(), source };
    let name = format!("{FILE}.new");
    let prepared = |database: &Database| -> Result<(), redb::Error> {
        let write = database.begin_write()?;
        write.open_table(BANS)?;
        write.open_table(AUDIT)?;
        write.open_table(MARKS)?.insert(FORMAT, FORMAT_1)?;
        write.commit()?;
        Ok(())
    };
    let database = create_aside(directory, &name, prepared).map_err(|error| match error {
        redb::Error::Io(source) => failed(source),
        error => StoreError::Damaged { path: path.to_owned(), problem: error.to_string() },
    })?;
    fs::rename(directory.join(name), path).map_err(failed)?;
    // The name is on the disk when the directory is.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(database)
}

/// Makes a database in a new file of this name, in place of one that was left there, and fills it.
fn create_aside(
    directory: &Path,
    name: &str,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<Database, redb::Error> {
    let aside = directory.join(name);
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&aside)?;
    let database = Database::builder().create_with_backend(redb::backends::FileBackend::new(file)?)?;
    fill(&database)?;
    Ok(database)
}

fn copy<K: redb::Key, V: redb::Value>(
    read: &ReadTransaction,
    write: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let mut table = write.open_table(definition)?;
    for entry in read.open_table(definition)?.iter()? {
        let (key, value) = entry?;
        table.insert(key.value(), value.value())?;
    }
    Ok(())
}

fn apply(write: &WriteTransaction, change: Change<'_>) -> Result<(), redb::Error> {
    let Change { put, lift, pending, record } = change;
    let mut bans = write.open_table(BANS)?;
    let mut marks = write.open_table(MARKS)?;
    for key in lift {
        bans.remove((kind(key.kind), key.subject.as_str(), key.groups.as_str()))?;
    }
    if let Some(ban) = put {
        let key = BanKey::from(ban);
        // Names and numbers: there is nothing in it that JSON does not have.
        let value = serde_json::to_vec(ban).unwrap_or_default();
        bans.insert((kind(key.kind), key.subject.as_str(), key.groups.as_str()), value.as_slice())?;
    }
    if let Some(pending) = pending {
        marks.insert(PENDING, pending)?;
    }
    if let Some((bytes, head)) = record {
        write.open_table(AUDIT)?.insert(head.sequence, bytes)?;
        let mark = [&head.sequence.to_le_bytes()[..], &head.hash].concat();
        marks.insert(HEAD, mark.as_slice())?;
        marks.remove(PENDING)?;
    }
    Ok(())
}

fn read_head(mark: &[u8]) -> Option<Head> {
    let (sequence, hash) = mark.split_first_chunk::<8>()?;
    let hash: Hash = hash.try_into().ok()?;
    Some(Head { sequence: u64::from_le_bytes(*sequence), hash })
}

/// A kind's number in the file. Never to be given to another.
fn kind(kind: BanKind) -> u8 {
    match kind {
        BanKind::Group => 1,
        BanKind::User => 2,
        BanKind::SignOut => 3,
        BanKind::Token => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use fanfare_protocol::{Pattern, UserName};

    use super::*;

    fn ban(user: &str, until: Option<u64>) -> BanRow {
        BanRow {
            kind: BanKind::Group,
            user: Some(UserName::new(user).unwrap()),
            groups: Some(Pattern::new("room-*").unwrap()),
            jti: None,
            since: 1,
            until,
            reason: "because".to_owned(),
            author: "oncall".to_owned(),
        }
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let store = FileStore::open(home.path()).unwrap();
        assert_eq!(store.load().unwrap(), Kept::default());
        let (first, second) = (ban("alice", None), ban("bob", Some(9)));
        store.commit(Change { put: Some(&first), pending: Some(b"act"), ..Change::default() }).unwrap();
        store.commit(Change { put: Some(&second), ..Change::default() }).unwrap();
        assert!(matches!(FileStore::open(home.path()), Err(StoreError::InUse { .. })));
        drop(store);

        let store = FileStore::open(home.path()).unwrap();
        let kept = store.load().unwrap();
        assert_eq!((kept.bans, kept.pending.as_deref()), (vec![first.clone(), second], Some(&b"act"[..])));
        let head = Head { sequence: 1, hash: [7; 32] };
        let lift = vec![BanKey::from(&first)];
        store.commit(Change { lift, record: Some((b"record", head)), ..Change::default() }).unwrap();
        drop(store);
        let store = FileStore::open(home.path()).unwrap();
        let kept = store.load().unwrap();
        assert_eq!((kept.bans.len(), kept.head, kept.pending), (1, head, None));
        assert_eq!(store.records(0, 9).unwrap(), [(1, b"record".to_vec())]);
        assert_eq!(store.records(1, 9).unwrap(), []);
        let mode = fs::metadata(home.path().join(FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_backup_is_a_store_with_all_that_was_there_and_replaces_the_one_before() {
        let home = tempfile::tempdir().unwrap();
        let store = FileStore::open(home.path()).unwrap();
        for user in ["alice", "bob"] {
            store.commit(Change { put: Some(&ban(user, None)), ..Change::default() }).unwrap();
            let head = Head { sequence: store.head().unwrap().sequence + 1, hash: [1; 32] };
            store.commit(Change { record: Some((b"record", head)), ..Change::default() }).unwrap();
            store.backup().unwrap();
        }
        let kept = store.load().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::copy(home.path().join(BACKUP), other.path().join(FILE)).unwrap();
        let restored = FileStore::open(other.path()).unwrap();
        assert_eq!(restored.load().unwrap(), kept);
        assert_eq!(restored.records(0, 9).unwrap(), store.records(0, 9).unwrap());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing is left lying about");
        let mode = fs::metadata(home.path().join(BACKUP)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_file_that_is_damaged_is_an_error_and_stays_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        drop(FileStore::open(home.path()).unwrap());
        let path = home.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for content in [&b""[..], b"garbage", &good[..good.len() / 3], &vec![0; 100_000]] {
            fs::write(&path, content).unwrap();
            match FileStore::open(home.path()) {
                Err(error @ StoreError::Damaged { .. }) => {
                    assert!(error.to_string().contains("bans.redb is damaged"), "{error}");
                }
                other => panic!("{} bytes: {:?}", content.len(), other.err()),
            }
            assert!(fs::read(&path).unwrap() == content, "it was changed");
        }
        fs::write(&path, good).unwrap();
        FileStore::open(home.path()).unwrap();
    }
}
