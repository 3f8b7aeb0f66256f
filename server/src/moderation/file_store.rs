//! What operators decided, on disk: bans, keys and the audit, in one redb file in the state directory.
//!
//! In: changes. Out: when a call returns, the change is synced to the disk (redb's durability `Immediate`). Invariants:
//! a file that cannot be used is an error that names it, never an empty list of bans; one process has the file at a
//! time; an act that changes bans leaves a mark until its audit record is written, so that none goes unrecorded however
//! the server ends; a file that failed once is not used before it was opened again, and then [made](Store::restore)
//! what it was known to be. What is in the file, and where, is the business of `tables`.

mod tables;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase};

use super::audit::Head;
use super::store::{Change, Kept, Standing, Store, StoreError};
use crate::database::{Overlay, create_aside};

const FILE: &str = "bans.redb";
const BACKUP: &str = "bans.redb.backup";

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
        let fits = self.with(|database| tables::are_of_this_version(&database.begin_read()?))?;
        if fits { Ok(()) } else { Err(self.damaged(&"it is of another version")) }
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

    /// The newest record's number and hash, if what is in the file can be read.
    fn readable(&self, head: Option<Head>) -> Result<Head, StoreError> {
        head.ok_or_else(|| self.damaged(&"the audit's head cannot be read"))
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

impl Store for FileStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let (bans, keys, lasting, head, pending) = self.with(|database| {
            let read = database.begin_read()?;
            let standing = (tables::bans(&read)?, tables::keys(&read)?, tables::lasting(&read)?);
            Ok((standing.0, standing.1, standing.2, tables::head(&read)?, tables::pending(&read)?))
        })?;
        let bans = bans.map_err(|error| self.damaged(&format_args!("a ban cannot be read: {error}")))?;
        let keys = keys.map_err(|error| self.damaged(&format_args!("an API key cannot be read: {error}")))?;
        let lasting = lasting
            .map_err(|error| self.damaged(&format_args!("a lasting membership cannot be read: {error}")))?;
        Ok(Kept { standing: Standing { bans, keys, lasting }, head: self.readable(head)?, pending })
    }

    fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        self.with(|database| {
            let write = tables::begin(database)?;
            tables::apply(&write, change)?;
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
            tables::copy(&read, &write)?;
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
        let head = self.reading(tables::head)?;
        self.readable(head)
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.reading(|read| tables::records(read, after, limit))
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

    fn restore(&self, standing: &Standing, head: Head, pending: Option<&[u8]>) -> Result<(), StoreError> {
        let last = self.with(|database| tables::hash_of(&database.begin_read()?, head.sequence))?;
        if head.sequence > 0 && last != Some(head.hash) {
            let number = head.sequence;
            let missing = format_args!("audit record {number}, which had been written, is not in it");
            return self.close(self.damaged(&missing));
        }
        self.with(|database| {
            let write = tables::begin(database)?;
            if tables::correct(&write, standing, head, pending)? {
                write.commit()?;
            } else {
                write.abort()?;
            }
            tables::try_for_room(database)
        })
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
        tables::lay_out(&write)?;
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

#[cfg(test)]
mod tests;
