//! The directory that the development certificates live in.
//!
//! In come names and bytes; out come files that are whole or not there. Invariants: while a
//! [`StateDirectory`] lives, no other process (and no other thread) works in the same directory through this
//! crate; a file is readable by its owner only from its first moment; after a crash every file is the old one
//! or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;

/// File name of the development authority's certificate: what clients trust.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// File name of the development authority's private key.
pub const CA_KEY: &str = "ca-key.pem";
/// File name of the server's certificate.
pub const SERVER_CERTIFICATE: &str = "server.pem";
/// File name of the server's private key.
pub const SERVER_KEY: &str = "server-key.pem";

/// File name of the certificate that the server shows to operators.
pub(crate) const ADMIN_CERTIFICATE: &str = "admin.pem";
/// File name of its private key.
pub(crate) const ADMIN_KEY: &str = "admin-key.pem";
/// File name of the list of operators' certificates that were taken back.
pub const OPERATORS_REVOKED: &str = "operators.crl.pem";

/// Stays when the lock is released: to remove it would let two processes lock two files of one name.
const LOCK: &str = ".lock";

/// A directory, held exclusively. The lock ends when this is dropped, or with the process.
pub(crate) struct StateDirectory {
    path: PathBuf,
    // Read by nobody: open means locked.
    _lock: File,
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

    fn lock(path: &Path) -> Result<Self, Error> {
        let lock = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&lock).and_then(|file| file.lock().map(|()| file)) {
            Ok(file) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(cause) => Err(Error::Lock { path: lock, cause }),
        }
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
        is_there(&self.file(name))
    }

    /// Writes a new file. [`Error::Exists`] if there is one of that name, whoever made it, lock or not.
    pub(crate) fn write_new(&self, name: &str, text: &str) -> Result<(), Error> {
        self.write(name, text, |file, path| file.persist_noclobber(path))
    }

    /// Writes a file, in place of one that may be there.
    pub(crate) fn write_over(&self, name: &str, text: &str) -> Result<(), Error> {
        self.write(name, text, |file, path| file.persist(path))
    }

    fn write(
        &self,
        name: &str,
        text: &str,
        persist: impl FnOnce(NamedTempFile, &Path) -> Result<File, tempfile::PersistError>,
    ) -> Result<(), Error> {
        let path = self.file(name);
        let written = || {
            // In the same directory, so that the rename stays on one file system; made with mode 0600.
            let mut file = NamedTempFile::new_in(&self.path)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            persist(file, &path).map_err(|error| error.error)?;
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

    /// Makes renames durable. Only Unix lets a directory be opened and synced.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }
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
