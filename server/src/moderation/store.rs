//! What operators decided, on disk: bans and the audit, in one redb file in the state directory.
//!
//! In: changes. Out: when a call returns, the change is synced to the disk (redb's durability `Immediate`). Invariants:
//! a file that cannot be used is an error that names it, never an empty list of bans; one process has the file at a
//! time; an act that changes bans leaves a mark until its audit record is written, so that none goes unrecorded however
//! the server ends; a file that failed once is not used before it was opened again, and then [made](Store::restore)
//! what it was known to be.

mod overlay;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fanfare_protocol::admin::{BanKind, BanRow};
use parking_lot::Mutex;
use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use self::overlay::Overlay;
use super::audit::{self, Hash, Head};
use crate::access::BanKey;

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
/// Written and taken away again, to see whether there is room for an act: more than the longest one takes.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 32 * 1024;

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
    /// Why nothing can be done any more before it was opened again; `None` while all is well.
    fn failure(&self) -> Option<String>;
    /// Opens it again, if it failed.
    fn reopen(&self) -> Result<(), StoreError>;
    /// Makes it what it is known to be: exactly these bans, the records up to this one, and this mark. A change of
    /// which it was said that it failed may have come through all the same. Refuses where something is missing that had
    /// been written, and where there is no room for another act.
    fn restore(&self, bans: &[BanRow], head: Head, pending: Option<&[u8]>) -> Result<(), StoreError>;
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

/// The store in a file.
pub(crate) struct FileStore {
    path: PathBuf,
    state: Mutex<State>,
}

enum State {
    Open(Database),
    /// It failed, for this reason, and was closed: redb does nothing any more after an error of the disk.
    Failed(String),
}

impl FileStore {
    /// Whether the store in this directory can be used, where there is one. Nothing is changed.
    pub(crate) fn look(directory: &Path) -> Result<(), StoreError> {
        let path = directory.join(FILE);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        if !is_there(&path)? {
            return Ok(());
        }
        // To write as well: that it may not is better known now.
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let overlay =
            Overlay::new(file, true).and_then(|overlay| Database::builder().create_with_backend(overlay));
        let database = overlay.map_err(|error| refused(&path, error))?;
        Self::of(path, database)?.load().map(drop)
    }

    /// Opens the store in this directory; makes it where there is none.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let database = if is_there(&path)? { open(&path)? } else { create(directory, &path)? };
        Self::of(path, database)
    }

    /// Where it is in a directory.
    pub(crate) fn file(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    fn of(path: PathBuf, database: Database) -> Result<Self, StoreError> {
        let store = Self { path, state: Mutex::new(State::Open(database)) };
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let format = self.with(|database| mark(&database.begin_read()?, FORMAT))?;
        if format.as_deref() == Some(FORMAT_1) {
            return Ok(());
        }
        Err(self.damaged(&"it is of another version"))
    }

    /// Does something with the database. When that fails it is closed: nothing can be done with it any more.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut state = self.state.lock();
        let database = match &*state {
            State::Open(database) => database,
            State::Failed(why) => {
                return Err(StoreError::Io {
                    path: self.path.clone(),
                    source: std::io::Error::other(why.clone()),
                });
            }
        };
        work(database).map_err(|error| {
            *state = State::Failed(error.to_string());
            self.failed(error)
        })
    }

    /// Reads. Where it failed, and perhaps cannot be opened to write, it is only looked at: questions can be answered.
    fn reading<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.failure().is_none() {
            return self.with(|database| work(&database.begin_read()?));
        }
        let file =
            File::open(&self.path).map_err(|source| StoreError::Io { path: self.path.clone(), source })?;
        // We hold the directory, and nobody writes to a store that failed before it was opened again.
        let overlay = Overlay::new(file, false);
        let database = overlay.and_then(|overlay| Database::builder().create_with_backend(overlay));
        let database = database.map_err(|error| refused(&self.path, error))?;
        let read = database.begin_read().map_err(|error| self.failed(error.into()))?;
        work(&read).map_err(|error| self.failed(error))
    }

    /// Closes a store that is not what it should be: another may be put in its place.
    fn close<T>(&self, error: StoreError) -> Result<T, StoreError> {
        *self.state.lock() = State::Failed(error.to_string());
        Err(error)
    }

    fn damaged(&self, problem: &dyn ToString) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), problem: problem.to_string() }
    }

    fn failed(&self, error: redb::Error) -> StoreError {
        let path = self.path.clone();
        match error {
            redb::Error::Io(source) => StoreError::Io { path, source },
            // After an error that was told, and not of the file itself.
            error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed) => {
                StoreError::Io { path, source: std::io::Error::other(error.to_string()) }
            }
            error => self.damaged(&error),
        }
    }
}

fn is_there(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        // redb would take it for a file that is to be filled.
        Ok(facts) if facts.len() == 0 => {
            Err(StoreError::Damaged { path: path.to_owned(), problem: "it is empty".to_owned() })
        }
        Ok(_) => Ok(true),
        // The bans are where the link leads to, and that is not there at this moment.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.symlink_metadata().is_ok() => {
            let problem = "it is a link that leads nowhere".to_owned();
            Err(StoreError::Damaged { path: path.to_owned(), problem })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    Database::open(path).map_err(|error| refused(path, error))
}

fn mark(read: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let mark = read.open_table(MARKS)?.get(name)?;
    Ok(mark.map(|mark| mark.value().to_vec()))
}

impl Store for FileStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let (bans, head, pending) = self.with(|database| {
            let read = database.begin_read()?;
            let mut bans = Vec::new();
            for entry in read.open_table(BANS)?.iter()? {
                bans.push(serde_json::from_slice(entry?.1.value()));
            }
            Ok((bans, mark(&read, HEAD)?, mark(&read, PENDING)?))
        })?;
        let bans: Result<_, serde_json::Error> = bans.into_iter().collect();
        let bans = bans.map_err(|error| self.damaged(&format_args!("a ban cannot be read: {error}")))?;
        Ok(Kept { bans, head: self.read_head(head.as_deref())?, pending })
    }

    fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        self.with(|database| {
            let write = begin(database)?;
            apply(&write, change)?;
            Ok(write.commit()?)
        })
    }

    fn backup(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Io { path: self.path.with_file_name(BACKUP), source };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let name = format!("{BACKUP}.new");
        let state = self.state.lock();
        let State::Open(kept) = &*state else {
            return Err(failed(std::io::Error::other("the store cannot be used now")));
        };
        // A file that is being written to cannot be copied as it lies: this is a second store with the same content.
        let copied = |database: &Database| -> Result<(), redb::Error> {
            let read = kept.begin_read()?;
            let write = database.begin_write()?;
            copy(&read, &write, BANS)?;
            copy(&read, &write, AUDIT)?;
            copy(&read, &write, MARKS)?;
            write.commit()?;
            Ok(())
        };
        create_aside(directory, &name, copied).map_err(|error| match error {
            redb::Error::Io(source) => failed(source),
            error => self.damaged(&error),
        })?;
        drop(state);
        fs::rename(directory.join(name), directory.join(BACKUP)).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn head(&self) -> Result<Head, StoreError> {
        let head = self.reading(|read| mark(read, HEAD))?;
        self.read_head(head.as_deref())
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(AUDIT)?;
            let records = table.range(after.saturating_add(1)..)?.take(limit).map(|entry| {
                let (number, bytes) = entry?;
                Ok((number.value(), bytes.value().to_vec()))
            });
            records.collect()
        })
    }

    fn failure(&self) -> Option<String> {
        match &*self.state.lock() {
            State::Open(_) => None,
            State::Failed(why) => Some(why.clone()),
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if matches!(&*state, State::Open(_)) {
            return Ok(());
        }
        // Never made anew: where it is gone, so are the bans in it.
        if !is_there(&self.path)? {
            return Err(StoreError::Io {
                path: self.path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        }
        *state = State::Open(open(&self.path)?);
        drop(state);
        self.check_format().or_else(|error| self.close(error))
    }

    fn restore(&self, bans: &[BanRow], head: Head, pending: Option<&[u8]>) -> Result<(), StoreError> {
        let last = self.with(|database| {
            let last = database.begin_read()?.open_table(AUDIT)?.get(head.sequence)?;
            Ok(last.map(|record| audit::hash(record.value())))
        })?;
        if head.sequence > 0 && last != Some(head.hash) {
            let number = head.sequence;
            let missing = format_args!("audit record {number}, which had been written, is not in it");
            return self.close(self.damaged(&missing));
        }
        self.with(|database| {
            let write = begin(database)?;
            if correct(&write, bans, head, pending)? {
                write.commit()?;
            } else {
                write.abort()?;
            }
            for probe in [true, false] {
                let write = begin(database)?;
                let mut marks = write.open_table(MARKS)?;
                if probe {
                    marks.insert(PROBE, vec![0; PROBE_BYTES].as_slice())?;
                } else {
                    marks.remove(PROBE)?;
                }
                drop(marks);
                write.commit()?;
            }
            Ok(())
        })
    }
}

impl FileStore {
    fn read_head(&self, mark: Option<&[u8]>) -> Result<Head, StoreError> {
        match mark {
            None => Ok(Head::default()),
            Some(mark) => read_head(mark).ok_or_else(|| self.damaged(&"the audit's head cannot be read")),
        }
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

/// Takes away what is not to be there and puts in what is. Gives whether anything was different.
fn correct(
    write: &WriteTransaction,
    wanted: &[BanRow],
    head: Head,
    pending: Option<&[u8]>,
) -> Result<bool, redb::Error> {
    let mut wanted: BTreeMap<(u8, String, String), Vec<u8>> =
        wanted.iter().map(|ban| (place(ban), row(ban))).collect();
    let mut changed = false;
    let mut bans = write.open_table(BANS)?;
    let mut wrong = Vec::new();
    for entry in bans.iter()? {
        let (key, value) = entry?;
        let (kind, subject, groups) = key.value();
        let key = (kind, subject.to_owned(), groups.to_owned());
        match wanted.get(&key) {
            Some(row) if row == value.value() => drop(wanted.remove(&key)),
            Some(_) => {}
            None => wrong.push(key),
        }
    }
    for (kind, subject, groups) in &wrong {
        bans.remove((*kind, subject.as_str(), groups.as_str()))?;
        changed = true;
    }
    for ((kind, subject, groups), row) in &wanted {
        bans.insert((*kind, subject.as_str(), groups.as_str()), row.as_slice())?;
        changed = true;
    }
    let mut audit = write.open_table(AUDIT)?;
    loop {
        let last = audit.last()?.map(|(number, _)| number.value());
        let Some(number) = last.filter(|number| *number > head.sequence) else { break };
        audit.remove(number)?;
        changed = true;
    }
    let mut marks = write.open_table(MARKS)?;
    for (name, wanted) in
        [(HEAD, (head.sequence > 0).then(|| head_mark(head))), (PENDING, pending.map(<[u8]>::to_vec))]
    {
        let there = marks.get(name)?.map(|mark| mark.value().to_vec());
        if there == wanted {
            continue;
        }
        changed = true;
        match wanted {
            Some(mark) => drop(marks.insert(name, mark.as_slice())?),
            None => drop(marks.remove(name)?),
        }
    }
    Ok(changed)
}

/// Where a ban is in the table.
fn place(ban: &BanRow) -> (u8, String, String) {
    let key = BanKey::from(ban);
    (kind(key.kind), key.subject, key.groups)
}

fn row(ban: &BanRow) -> Vec<u8> {
    // Names and numbers: there is nothing in it that JSON does not have.
    serde_json::to_vec(ban).unwrap_or_default()
}

fn head_mark(head: Head) -> Vec<u8> {
    [&head.sequence.to_le_bytes()[..], &head.hash].concat()
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
    let renamed = fs::rename(directory.join(&name), path);
    if renamed.is_err() {
        let _ = fs::remove_file(directory.join(&name));
    }
    // The name is on the disk when the directory is.
    renamed.and_then(|()| File::open(directory)?.sync_all()).map_err(failed)?;
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
    let made = || {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&aside)?;
        let database = Database::builder().create_with_backend(redb::backends::FileBackend::new(file)?)?;
        fill(&database)?;
        Ok(database)
    };
    let made = made();
    if made.is_err() {
        // Half of one is of no use, and on a full disk it would take the room that acts need.
        let _ = fs::remove_file(&aside);
    }
    made
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
        let (kind, subject, groups) = place(ban);
        bans.insert((kind, subject.as_str(), groups.as_str()), row(ban).as_slice())?;
    }
    if let Some(pending) = pending {
        marks.insert(PENDING, pending)?;
    }
    if let Some((bytes, head)) = record {
        write.open_table(AUDIT)?.insert(head.sequence, bytes)?;
        marks.insert(HEAD, head_mark(head).as_slice())?;
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
mod tests;
