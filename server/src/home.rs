//! The state directory as a server holds it: alone, and as it was until the server really starts.
//!
//! In: a path. Out: a lock that lasts as long as the server, and the means to take back what a start made that failed.
//! Invariants: two servers never have one directory at the same time, not even while one of them opens its store again;
//! looking makes nothing; what was made is gone when this is dropped before it is [kept](Home::keep).

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The lock where the file system cannot lock a directory, as NFS.
const LOCK: &str = "server.lock";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the directory cannot be made or read.
    #[error("cannot use the state directory: {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another server has it.
    #[error(
        "the state directory {} is in use by another process: is a server running in it already?",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system gives no random bytes for keys.
    #[error("cannot make the endpoint's keys: {0}")]
    NoKeys(io::Error),
    /// A key has not the length of a key.
    #[error(
        "{} is damaged: it has {}, not 64 bytes; restore it, or delete it to have a new one made",
        path.display(),
        if *length > 64 { "more".to_owned() } else { length.to_string() }
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How many bytes it has; 65 stands for more than 64.
        length: usize,
    },
}

/// A state directory that is there, or that is to be made.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    /// Read by nobody: open means locked. `None` where there is no directory yet.
    lock: Option<File>,
    /// What this start made, in its order.
    made: Vec<Made>,
}

#[derive(Debug)]
enum Made {
    Directory(PathBuf),
    File(PathBuf),
}

impl Home {
    /// Looks at a directory, and locks it if it is there.
    pub(crate) fn look(path: &Path) -> Result<Self, StateError> {
        let mut home = Self { path: path.to_owned(), lock: None, made: Vec::new() };
        match fs::metadata(path) {
            Ok(facts) if !facts.is_dir() => Err(home.failed(ErrorKind::NotADirectory.into())),
            Ok(_) => {
                let locked = home.lock();
                if matches!(locked, Err(StateError::InUse { .. })) {
                    // The file to lock is another server's, which was faster.
                    home.made.clear();
                }
                locked.map(|()| home)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(home),
            Err(error) => Err(home.failed(error)),
        }
    }

    /// What is locked, on this kernel: by its file system, and its number there. None where nothing is.
    pub(crate) fn held(&self) -> Option<(u64, u64)> {
        let facts = self.lock.as_ref()?.metadata().ok()?;
        Some((facts.dev(), facts.ino()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it where it is not there, for its owner only, and with it those above it; and locks it.
    pub(crate) fn make(&mut self) -> Result<(), StateError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let mut missing: Vec<PathBuf> =
            self.path.ancestors().take_while(|path| is_missing(path)).map(Path::to_owned).collect();
        while let Some(path) = missing.pop() {
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => self.made.push(Made::Directory(path)),
                // Somebody else's, then, and not ours to remove.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        let locked = self.lock();
        if locked.is_err() {
            // Another server was faster, and the directory is its own.
            self.made.clear();
        }
        locked
    }

    /// A file that this start is about to make.
    pub(crate) fn makes(&mut self, path: PathBuf) {
        self.made.push(Made::File(path));
    }

    /// What was made stays.
    pub(crate) fn keep(&mut self) {
        self.made.clear();
    }

    fn lock(&mut self) -> Result<(), StateError> {
        // The directory itself, so that nothing has to be made for the lock.
        let mut file = File::open(&self.path).map_err(|error| self.failed(error))?;
        let mut locked = file.try_lock();
        if matches!(locked, Err(TryLockError::Error(_))) {
            let path = self.path.join(LOCK);
            let is_new = is_missing(&path);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            file = options.open(&path).map_err(|error| self.failed(error))?;
            if is_new {
                self.makes(path);
            }
            locked = file.try_lock();
        } else if !self.is_still(&file).map_err(|error| self.failed(error))? {
            // Removed, by a start that made it and failed.
            locked = Err(TryLockError::WouldBlock);
        }
        match locked {
            Ok(()) => {
                self.lock = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(StateError::InUse { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(self.failed(error)),
        }
    }

    fn is_still(&self, file: &File) -> io::Result<bool> {
        let place = |facts: fs::Metadata| (facts.dev(), facts.ino());
        match fs::metadata(&self.path) {
            Ok(facts) => Ok(place(facts) == place(file.metadata()?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, source: io::Error) -> StateError {
        StateError::Io { path: self.path.clone(), source }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for made in self.made.drain(..).rev() {
            // Not there: it was announced and not made. A directory that is not empty has become somebody else's, too.
            let _ = match made {
                Made::Directory(path) => fs::remove_dir(path),
                Made::File(path) => fs::remove_file(path),
            };
        }
    }
}

/// Whether nothing is at a path. The path above `name` is empty, and is where we are.
fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Replaces a file as a whole or not at all: written aside, synced, and moved into place.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn looking_makes_nothing_and_making_is_taken_back() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("new/state");
        let mut home = Home::look(&path).unwrap();
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0);
        home.make().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&above.path().join("new"))), (0o700, 0o700));
        home.makes(path.join("file"));
        fs::write(path.join("file"), "").unwrap();
        home.makes(path.join("never made"));
        drop(home);
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0);

        let mut home = Home::look(&path).unwrap();
        home.make().unwrap();
        home.keep();
        drop(home);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "a lock is no file");
    }

    #[test]
    fn one_server_at_a_time_also_of_those_that_make_the_directory_at_once() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("state");
        for there in [false, true] {
            let start = std::sync::Barrier::new(8);
            let homes: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            let mut home = Home::look(&path)?;
                            home.make()?;
                            Ok::<_, StateError>(home)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (mut held, refused): (Vec<_>, Vec<_>) = homes.into_iter().partition(Result::is_ok);
            assert_eq!((held.len(), refused.len()), (1, 7), "there before: {there}");
            assert!(refused.iter().all(|home| matches!(home, Err(StateError::InUse { .. }))));
            assert!(path.is_dir());
            held.pop().unwrap().unwrap().keep();
            Home::look(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_directory_is_told() {
        let above = tempfile::tempdir().unwrap();
        let file = above.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("inside")] {
            let error = Home::look(&path).and_then(|mut home| home.make()).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        // A link that leads nowhere is not followed to make something there.
        let link = above.path().join("link");
        std::os::unix::fs::symlink(above.path().join("elsewhere"), &link).unwrap();
        assert!(Home::look(&link).unwrap().make().is_err());
        assert!(!above.path().join("elsewhere").exists());
    }
}
