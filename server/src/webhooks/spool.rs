//! Events of one end point that wait, on the disk: a redb file of its own in the state directory.
//!
//! In: events that have not been taken yet, and the numbers of those that have. Out: those that waited when the server
//! ended, in their order; and which of its lives this is. Invariants: what was committed is there after a power cut; a
//! file that cannot be used is an error that names it and never an empty one; a number is never given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition};

use super::event::Numbered;
use crate::database::{Overlay, create_aside};

/// Events by their numbers, in JSON.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

/// Numbers by name.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");

/// How much of the file is kept in memory: what is written last is read last, so that there is little to gain.
const CACHE_BYTES: usize = 4 << 20;

/// The format of the file.
const FORMAT: (&str, u64) = ("format", 1);

/// The server's last life.
const EPOCH: &str = "epoch";

/// The number of the next event.
const NEXT: &str = "next";

/// Why events cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "the file of events that wait for a webhook, {}: {problem}; restore it, or move it away to begin without them",
    path.display()
)]
pub struct SpoolError {
    path: PathBuf,
    problem: String,
}

/// Events of one end point that wait.
pub(super) struct Spool {
    path: PathBuf,
    /// `None`: it failed, and is opened again by the next who needs it.
    database: Mutex<Option<Database>>,
}

/// What was there at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Which of the server's lives this is: more than all before it.
    pub(super) epoch: u64,
    /// The number of the next event.
    pub(super) next: u64,
    /// How many wait.
    pub(super) waiting: u64,
}

/// What is to be done to the file at once.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: BTreeMap<u64, Arc<Numbered>>,
    pub(super) removed: BTreeSet<u64>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// The file of an end point.
pub(crate) fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("webhook-{name}.redb"))
}

impl Spool {
    /// Whether the file can be used, where there is one. Nothing is changed.
    pub(super) fn look(path: &Path) -> Result<(), SpoolError> {
        let failed = |problem: String| SpoolError { path: path.to_owned(), problem };
        let facts = match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            facts => facts.map_err(|error| failed(error.to_string()))?,
        };
        // redb would take it for a file that is to be filled.
        if facts.len() == 0 {
            return Err(failed("it is empty".to_owned()));
        }
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| failed(error.to_string()))?;
        let database = Overlay::new(file, true)
            .and_then(|overlay| Database::builder().create_with_backend(overlay))
            .map_err(|error| failed(error.to_string()))?;
        let spool = Self { path: path.to_owned(), database: Mutex::new(Some(database)) };
        let read = || -> Result<(), SpoolError> {
            spool.with(|database| {
                let read = database.begin_read()?;
                check_format(&read.open_table(FACTS)?)?;
                // One after the other: there may be many.
                let events = read.open_table(EVENTS)?;
                events.iter()?.try_for_each(|entry| decode(entry?.1.value()).map(drop))
            })
        };
        read()
    }

    /// Opens the file, or makes it. A life begins that is `now` or one more than the last.
    pub(super) fn open(path: PathBuf, now: u64) -> Result<(Self, Found), SpoolError> {
        let database = match path.symlink_metadata() {
            Ok(_) => None,
            Err(_) => Some(create(&path).map_err(|problem| SpoolError { path: path.clone(), problem })?),
        };
        let spool = Self { path, database: Mutex::new(database) };
        let found = spool.with(|database| {
            let write = database.begin_write()?;
            let found = {
                let mut facts = write.open_table(FACTS)?;
                check_format(&facts)?;
                let events = write.open_table(EVENTS)?;
                let fact = |name| -> Result<Option<u64>, redb::Error> {
                    Ok(facts.get(name)?.map(|value| value.value()))
                };
                let (epoch, next) = (fact(EPOCH)?, fact(NEXT)?);
                let last = events.last()?.map_or(0, |(number, _)| number.value());
                let epoch = epoch.map_or(now, |epoch| now.max(epoch + 1));
                let found = Found { epoch, next: next.unwrap_or(1).max(last + 1), waiting: events.len()? };
                facts.insert(EPOCH, epoch)?;
                found
            };
            write.commit()?;
            Ok(found)
        })?;
        Ok((spool, found))
    }

    /// Makes changes, and comes back when they are on the disk. `next` is the number of the next event.
    pub(super) fn commit(&self, changes: &Changes, next: u64) -> Result<(), SpoolError> {
        self.with(|database| {
            let write = database.begin_write()?;
            {
                let mut events = write.open_table(EVENTS)?;
                for (number, event) in &changes.added {
                    // Texts and numbers can always be written.
                    let json = serde_json::to_vec(&**event).unwrap_or_default();
                    events.insert(number, &json[..])?;
                }
                for number in &changes.removed {
                    events.remove(number)?;
                }
                write.open_table(FACTS)?.insert(NEXT, next)?;
            }
            Ok(write.commit()?)
        })
    }

    /// Those behind a number, at most so many.
    pub(super) fn load(&self, behind: u64, most: usize) -> Result<Vec<Numbered>, SpoolError> {
        self.with(|database| {
            let events = database.begin_read()?.open_table(EVENTS)?;
            let read = events.range(behind + 1..)?.take(most).map(|entry| {
                let (_, value) = entry?;
                decode(value.value())
            });
            read.collect()
        })
    }

    /// redb does nothing any more after an error of the disk, so that it is opened again then.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, SpoolError> {
        let mut state = self.database.lock();
        let outcome = match &*state {
            Some(database) => work(database),
            None => Database::builder()
                .set_cache_size(CACHE_BYTES)
                .open(&self.path)
                .map_err(redb::Error::from)
                .and_then(|database| work(state.insert(database))),
        };
        outcome.map_err(|error| {
            *state = None;
            SpoolError { path: self.path.clone(), problem: error.to_string() }
        })
    }
}

fn decode(json: &[u8]) -> Result<Numbered, redb::Error> {
    serde_json::from_slice(json).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

/// Makes the file, as a whole or not at all.
fn create(path: &Path) -> Result<Database, String> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.with_extension("redb.new");
    let name = name.file_name().and_then(|name| name.to_str()).unwrap_or("webhook.redb.new");
    let fill = |database: &Database| -> Result<(), redb::Error> {
        let write = database.begin_write()?;
        write.open_table(FACTS)?.insert(FORMAT.0, FORMAT.1)?;
        write.open_table(EVENTS)?;
        Ok(write.commit()?)
    };
    let database = create_aside(directory, name, fill).map_err(|error| error.to_string())?;
    let renamed = fs::rename(directory.join(name), path);
    if renamed.is_err() {
        let _ = fs::remove_file(directory.join(name));
    }
    // The name is on the disk when the directory is.
    let synced = renamed.and_then(|()| File::open(directory)?.sync_all());
    synced.map_err(|error| error.to_string())?;
    // It is opened anew, as it will be from now on.
    drop(database);
    let opened = Database::builder().set_cache_size(CACHE_BYTES).open(path);
    opened.map_err(|error| error.to_string())
}

fn check_format(facts: &impl ReadableTable<&'static str, u64>) -> Result<(), redb::Error> {
    match facts.get(FORMAT.0)?.map(|format| format.value()) {
        Some(format) if format == FORMAT.1 => Ok(()),
        _ => Err(redb::Error::Corrupted("it is of another version".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::GroupName;

    use super::*;
    use crate::webhook::WebhookEvent;
    use crate::webhooks::event::Event;

    fn numbered(epoch: u64, sequence: u64) -> Arc<Numbered> {
        let event = Event::group(WebhookEvent::GroupOpened, GroupName::new("group").unwrap());
        Arc::new(Numbered { epoch, sequence, event })
    }

    fn changes(added: impl IntoIterator<Item = u64>, removed: impl IntoIterator<Item = u64>) -> Changes {
        let added = added.into_iter().map(|number| (number, numbered(1, number))).collect();
        Changes { added, removed: removed.into_iter().collect() }
    }

    #[test]
    fn what_waits_is_there_again_and_no_number_is_given_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "billing");
        let (spool, found) = Spool::open(path.clone(), 7).unwrap();
        assert_eq!(found, Found { epoch: 7, next: 1, waiting: 0 });
        spool.commit(&changes(1..=5, []), 6).unwrap();
        spool.commit(&changes([], [1, 3, 5]), 9).unwrap();
        drop(spool);
        // The clock was put back.
        let (spool, found) = Spool::open(path, 3).unwrap();
        assert_eq!(found, Found { epoch: 8, next: 9, waiting: 2 });
        let loaded = |behind, most| -> Vec<u64> {
            spool.load(behind, most).unwrap().into_iter().map(|event| event.sequence).collect()
        };
        assert_eq!(
            (loaded(0, 9), loaded(0, 1), loaded(2, 9), loaded(4, 9)),
            (vec![2, 4], vec![2], vec![4], vec![])
        );
        assert_eq!(
            spool.load(0, 1).unwrap(),
            [(*numbered(1, 2)).clone()].map(|event| Numbered {
                event: Event { at_ms: spool.load(0, 1).unwrap()[0].event.at_ms, ..event.event },
                ..event
            })
        );
    }

    #[test]
    fn a_file_that_is_none_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "billing");
        fs::write(&path, "something else").unwrap();
        for error in [Spool::look(&path).unwrap_err(), Spool::open(path.clone(), 1).map(drop).unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains("webhook-billing.redb") && error.contains("move it away"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"something else");
        fs::write(&path, "").unwrap();
        assert!(Spool::look(&path).unwrap_err().to_string().contains("it is empty"));
        Spool::look(&file(directory.path(), "none")).unwrap();

        let (spool, _) = Spool::open(file(directory.path(), "other"), 1).unwrap();
        spool
            .with(|database| {
                let write = database.begin_write()?;
                write.open_table(FACTS)?.insert(FORMAT.0, 2)?;
                Ok(write.commit()?)
            })
            .unwrap();
        drop(spool);
        let other = file(directory.path(), "other");
        let seen = || (fs::read(&other).unwrap(), fs::metadata(&other).unwrap().modified().unwrap());
        let before = seen();
        assert!(Spool::look(&other).unwrap_err().to_string().contains("another version"));
        assert!(seen() == before, "it was only looked at");
        let error = Spool::open(other, 1).map(drop).unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
    }

    #[test]
    fn its_owner_alone_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "billing");
        let (spool, _) = Spool::open(path.clone(), 7).unwrap();
        spool.commit(&changes(1..=5, []), 6).unwrap();
        drop(spool);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        Spool::look(&path).unwrap();
        assert_eq!(Spool::open(path, 7).unwrap().1, Found { epoch: 8, next: 6, waiting: 5 });
    }
}
