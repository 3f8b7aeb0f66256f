//! The state directory's secrets that make a restarted server the same server to its clients.
//!
//! In: the state directory. Out: the key of address-validation tokens (RFC 9000 section 8.1), the key of stateless
//! resets (section
//! 10.3) and the key that its connection ids are made with. With the same keys a restarted server takes the tokens it
//! gave out before, and tells the clients of its last life at once that their connections are gone, instead of leaving
//! them to time out.
//!
//! Invariant: a key that is there is used or refused, never silently replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};

use crate::home::{Home, StateError};

const FILE: &str = "endpoint.key";
const KEY_BYTES: usize = 64;

/// The endpoint's keys.
pub(crate) struct EndpointKeys {
    pub(crate) token: Arc<hkdf::Prk>,
    pub(crate) reset: Arc<hmac::Key>,
    /// Tells the connection ids that this server gave out, in this life or one before, from any others: quinn answers
    /// only those with a reset.
    pub(crate) connection_ids: u64,
    /// The secret that they come from, where it is not on the disk yet.
    unwritten: Option<[u8; KEY_BYTES]>,
}

impl EndpointKeys {
    /// Reads the keys in `directory`; makes them, in memory, where there are none.
    pub(crate) fn look(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join(FILE);
        let failed = |source| StateError::Io { path: path.clone(), source };
        let (secret, new) = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                can_be_made(directory, &path).map_err(failed)?;
                (made().map_err(failed)?.to_vec(), true)
            }
            other => (other.map_err(failed)?, false),
        };
        let secret: [u8; KEY_BYTES] = secret
            .try_into()
            .map_err(|found: Vec<u8>| StateError::Damaged { path: path.clone(), length: found.len() })?;
        Ok(Self { unwritten: new.then_some(secret), ..Self::of(&secret) })
    }

    /// Keys that last as long as the server does, and are written nowhere.
    pub(crate) fn passing() -> Result<Self, StateError> {
        let secret = made().map_err(StateError::NoKeys)?;
        Ok(Self::of(&secret))
    }

    fn of(secret: &[u8; KEY_BYTES]) -> Self {
        let (token, reset) = secret.split_at(KEY_BYTES / 2);
        let reset = hmac::Key::new(hmac::HMAC_SHA256, reset);
        // Not a secret of the same rank: quinn's hash of it is for speed. So it is derived, and says nothing of the
        // other.
        let derived = hmac::sign(&reset, b"fanfare connection ids");
        let connection_ids = derived.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
        Self {
            token: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"fanfare address token").extract(token)),
            reset: Arc::new(reset),
            connection_ids,
            unwritten: None,
        }
    }

    /// Writes the keys if they are new. The directory is there, and held.
    pub(crate) fn write(&mut self, home: &mut Home) -> Result<(), StateError> {
        let Some(secret) = self.unwritten.take() else { return Ok(()) };
        let path = home.path().join(FILE);
        create(home.path(), &path, &secret)
            .map_err(|source| StateError::Io { path: path.clone(), source })?;
        home.makes(path);
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    // One byte more than there should be, so that a longer file is seen to be longer, and not read to its end.
    File::open(path)?.take(KEY_BYTES as u64 + 1).read_to_end(&mut secret)?;
    Ok(secret)
}

/// Finds out now what would keep a new key from being written, when others are written already.
fn can_be_made(directory: &Path, path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::Error::other("it is a link that leads nowhere"));
    }
    match directory.join(format!("{FILE}.new")).symlink_metadata() {
        Ok(facts) if facts.is_dir() => {
            Err(io::Error::other(format!("there is a directory {FILE}.new beside it")))
        }
        _ => Ok(()),
    }
}

fn made() -> io::Result<[u8; KEY_BYTES]> {
    let mut secret = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(secret)
}

/// Writes a new key aside and links it into place, so that nobody ever reads half a key, and one that was put there
/// meanwhile is not replaced.
fn create(directory: &Path, path: &Path, secret: &[u8]) -> io::Result<()> {
    let aside = directory.join(format!("{FILE}.new"));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let linked =
        file.write_all(secret).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&aside, path));
    fs::remove_file(&aside).and(linked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sign(keys: &EndpointKeys) -> Vec<u8> {
        hmac::sign(&keys.reset, b"probe").as_ref().to_vec()
    }

    #[test]
    fn keys_are_made_once_and_found_again() {
        let above = tempfile::tempdir().unwrap();
        let mut home = Home::look(&above.path().join("state")).unwrap();
        let mut keys = EndpointKeys::look(home.path()).unwrap();
        assert_ne!(sign(&keys), sign(&EndpointKeys::look(home.path()).unwrap()), "nothing was written");
        home.make().unwrap();
        keys.write(&mut home).unwrap();
        assert_eq!(sign(&keys), sign(&EndpointKeys::look(home.path()).unwrap()));
        let mode = fs::metadata(home.path().join(FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        // Kept as it is, whoever writes what was looked for before.
        let second = EndpointKeys::look(home.path()).unwrap().write(&mut home);
        assert!(second.is_ok());
        assert_eq!(sign(&keys), sign(&EndpointKeys::look(home.path()).unwrap()));
        drop(home);
        assert!(!above.path().join("state").exists(), "and gone with a start that fails");
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        for damaged in [&b"short"[..], &[7; 65]] {
            fs::write(&path, damaged).unwrap();
            let error = EndpointKeys::look(home.path()).err().unwrap().to_string();
            assert!(error.contains("endpoint.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_key_that_was_put_there_meanwhile_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let mut home = Home::look(directory.path()).unwrap();
        let mut keys = EndpointKeys::look(home.path()).unwrap();
        fs::write(directory.path().join(FILE), [7; KEY_BYTES]).unwrap();
        assert!(keys.write(&mut home).is_err());
        drop(home);
        assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), [7; KEY_BYTES]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
