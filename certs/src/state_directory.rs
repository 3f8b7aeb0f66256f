//! The directory that the development certificates live in.
//!
//! In come names and bytes; out come files that are whole or not there. Invariants: while a
//! [`StateDirectory`] lives, no other process (and no other thread) works in the same directory through this
//! crate; a file is readable by its owner only from its first moment; after a crash every file is the old one
//! or the new one.
//!
//! One that was [planned](StateDirectory::plan) keeps what is to be written in memory, and looks as if it were there:
//! what is on the disk stays as it is until [`StateDirectory::carry_out`], and is again as it was if that is not kept.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::Error;
use crate::file_names::{CA_CERTIFICATE, CA_KEY};
use crate::pem_file::PemFile;

/// Stays when the lock is released, for the next.
const LOCK: &str = ".lock";

/// A directory, held exclusively. The lock ends when this is dropped, or with the process.
pub(crate) struct StateDirectory {
    path: PathBuf,
    // Read by nobody: open means locked. `None` in a plan only, where nobody has locked anything yet.
    lock: Option<File>,
    /// What is to be written, in this order; `None` where everything is written at once.
    plan: Option<RefCell<Vec<Planned>>>,
}

/// A file that is to be written.
struct Planned {
    name: String,
    text: String,
    /// Whether there may be one of that name.
    over: bool,
}

/// What was written by a plan. Everything is as it was before when this is dropped, unless it was kept.
pub(crate) struct CarriedOut {
    _lock: Option<File>,
    undo: Vec<Undo>,
}

enum Undo {
    /// There was none.
    Remove(PathBuf),
    /// There was another, which is still here under a name of its own.
    PutBack { kept: TempPath, path: PathBuf },
}

impl CarriedOut {
    /// From now on it stays.
    pub(crate) fn keep(mut self) {
        // What was put aside goes with its name's owner.
        self.undo.clear();
    }
}

impl Drop for CarriedOut {
    fn drop(&mut self) {
        for undo in self.undo.drain(..).rev() {
            // Whatever fails here is a broken disk's, and the start that failed has told of it.
            let _ = match undo {
                Undo::Remove(path) => std::fs::remove_file(path),
                Undo::PutBack { kept, path } => kept.persist(path).map_err(|error| error.error),
            };
        }
    }
}

impl StateDirectory {
    /// Makes the directory (for its owner only) if it is not there, and locks it. Waits for the present
    /// holder, who needs some milliseconds.
    pub(crate) fn make(path: &Path) -> Result<Self, Error> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|cause| Error::CreateDirectory { path: path.to_owned(), cause })?;
        Self::lock(path)
    }

    /// Locks a directory in which something was made before; `None` if nothing was. Makes nothing.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>, Error> {
        for name in [LOCK, CA_CERTIFICATE, CA_KEY] {
            if is_there(&path.join(name))? {
                return Self::lock(path).map(Some);
            }
        }
        Ok(None)
    }

    /// One in which nothing is written before [`carry_out`](Self::carry_out). Locks it if it was locked ever before,
    /// and makes nothing, not even the lock.
    pub(crate) fn plan(path: &Path) -> Result<Self, Error> {
        let lock = if is_there(&path.join(LOCK))? { Some(lock(path)?) } else { None };
        Ok(Self { path: path.to_owned(), lock, plan: Some(RefCell::default()) })
    }

    /// Writes what was planned: all of it or nothing. The directory is there.
    pub(crate) fn carry_out(&mut self) -> Result<CarriedOut, Error> {
        let planned = self.plan.take().map(RefCell::into_inner).unwrap_or_default();
        let mut done = CarriedOut { _lock: self.lock.take(), undo: Vec::new() };
        if planned.is_empty() {
            return Ok(done);
        }
        if done._lock.is_none() {
            let path = self.file(LOCK);
            let new = !is_there(&path)?;
            done._lock = Some(lock(&self.path)?);
            if new {
                done.undo.push(Undo::Remove(path));
            }
        }
        let failed = |path: &Path, cause: io::Error| match cause.kind() {
            ErrorKind::AlreadyExists => Error::MadeMeanwhile { path: path.to_owned() },
            _ => Error::Write { path: path.to_owned(), cause },
        };
        // First all of the bytes, for which there may be no room; then the names.
        let mut written = Vec::new();
        for Planned { name, text, over } in planned {
            let path = self.file(&name);
            written.push((self.aside(&text).map_err(|cause| failed(&path, cause))?, path, over));
        }
        for (file, path, over) in written {
            let before =
                if over { self.put_aside(&path).map_err(|cause| failed(&path, cause))? } else { None };
            let persisted =
                if before.is_some() { file.persist(&path) } else { file.persist_noclobber(&path) };
            persisted.map_err(|error| failed(&path, error.error))?;
            done.undo.push(match before {
                Some(kept) => Undo::PutBack { kept, path },
                None => Undo::Remove(path),
            });
        }
        self.sync().map_err(|cause| failed(&self.path, cause))?;
        Ok(done)
    }

    /// Gives a file that is there a second name, by which it can be put back.
    fn put_aside(&self, path: &Path) -> io::Result<Option<TempPath>> {
        let linked = tempfile::Builder::new().make_in(&self.path, |second| std::fs::hard_link(path, second));
        match linked {
            Ok(second) => Ok(Some(second.into_temp_path())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), lock: Some(lock(path)?), plan: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in here.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether something of that name is in here, be it a link that leads nowhere.
    pub(crate) fn holds(&self, name: &str) -> Result<bool, Error> {
        Ok(self.planned(name, |_| ()).is_some() || is_there(&self.file(name))?)
    }

    /// Reads a PEM file in here.
    pub(crate) fn pem(&self, name: &str) -> Result<PemFile, Error> {
        let path = self.file(name);
        match self.planned(name, |text| PemFile::parse(&path, text.as_bytes())) {
            Some(planned) => planned,
            None => PemFile::read(&path),
        }
    }

    /// Looks at what a file is to be; `None` where that is not planned.
    fn planned<T>(&self, name: &str, look: impl FnOnce(&str) -> T) -> Option<T> {
        let plan = self.plan.as_ref()?.borrow();
        plan.iter().rev().find(|planned| planned.name == name).map(|planned| look(&planned.text))
    }

    /// Writes a new file. [`Error::Exists`] if there is one of that name, whoever made it, lock or not.
    pub(crate) fn write_new(&self, name: &str, text: &str) -> Result<(), Error> {
        self.write(name, text, false)
    }

    /// Writes a file, in place of one that may be there.
    pub(crate) fn write_over(&self, name: &str, text: &str) -> Result<(), Error> {
        self.write(name, text, true)
    }

    fn write(&self, name: &str, text: &str, over: bool) -> Result<(), Error> {
        let path = self.file(name);
        if let Some(plan) = &self.plan {
            if !over && self.holds(name)? {
                return Err(Error::Exists { path });
            }
            let planned = Planned { name: name.to_owned(), text: text.to_owned(), over };
            let mut plan = plan.borrow_mut();
            plan.retain(|earlier| earlier.name != name);
            plan.push(planned);
            return Ok(());
        }
        let written = || {
            let file = self.aside(text)?;
            let persisted = if over { file.persist(&path) } else { file.persist_noclobber(&path) };
            persisted.map_err(|error| error.error)?;
            self.sync()
        };
        match written() {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Err(Error::Exists { path }),
            Err(cause) => Err(Error::Write { path, cause }),
        }
    }

    /// Removes a file; fine if it is not there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.file(name);
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(Error::Write { path, cause }),
            _ => Ok(()),
        }
    }

    /// Writes a file without a name of its own yet.
    fn aside(&self, text: &str) -> io::Result<NamedTempFile> {
        // In the same directory, so that the rename stays on one file system; made with mode 0600.
        let mut file = NamedTempFile::new_in(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Makes renames durable. Only Unix lets a directory be opened and synced.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    let failed = |cause| Error::Lock { path: path.clone(), cause };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    loop {
        let file = options.open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        // A start that failed takes its lock away again, and it is no lock any more for who waited for it.
        if is_that(&path, &file).map_err(failed)? {
            return Ok(file);
        }
    }
}

/// Whether a name is still that of an open file.
#[cfg(unix)]
fn is_that(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let place = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
    match path.metadata() {
        Ok(facts) => Ok(place(facts) == place(file.metadata()?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_that(path: &Path, _file: &File) -> io::Result<bool> {
    path.try_exists()
}

fn is_there(path: &Path) -> Result<bool, Error> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(cause) => Err(Error::Unreadable { path: path.to_owned(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_replaces_one() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::make(directory.path()).unwrap();
        state.write_new("a", "first").unwrap();
        let error = state.write_new("a", "second").unwrap_err();
        assert!(matches!(&error, Error::Exists { path } if path.ends_with("a")), "{error}");
        assert_eq!(std::fs::read(state.file("a")).unwrap(), b"first");
        state.write_over("a", "third").unwrap();
        assert_eq!(std::fs::read(state.file("a")).unwrap(), b"third");
        let names: Vec<_> = directory.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::make(&directory.path().join("state")).unwrap();
        let outside = directory.path().join("outside");
        std::os::unix::fs::symlink(&outside, state.file("a")).unwrap();
        assert!(state.holds("a").unwrap(), "a link that leads nowhere is there");
        assert!(matches!(state.write_new("a", "x"), Err(Error::Exists { .. })));
        state.write_over("a", "x").unwrap();
        assert!(!outside.exists());
    }

    #[test]
    fn looking_makes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("inside");
        assert!(StateDirectory::existing(&inside).unwrap().is_none());
        assert!(StateDirectory::existing(directory.path()).unwrap().is_none());
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn says_which_directory_cannot_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = StateDirectory::make(&file.join("inside")).err().unwrap();
        assert!(error.to_string().contains("file/inside"), "{error}");
    }
}
