//! The state directory's secrets that make a restarted server the same server to its clients.
//!
//! In: a directory. Out: the key of address-validation tokens (RFC 9000 section 8.1), the key of stateless resets (section
//! 10.3) and the key that its connection ids are made with. With the same keys a restarted server takes the tokens it gave out before, and tells the clients of its
//! last life at once that their connections are gone, instead of leaving them to time out.
//!
//! Invariant: a key that is there is used or refused, never silently replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};

use crate::error::StateError;

const FILE: &str = "endpoint.key";
const KEY_BYTES: usize = 64;

/// The endpoint's keys.
pub(crate) struct EndpointKeys {
    pub(crate) token: Arc<hkdf::Prk>,
    pub(crate) reset: Arc<hmac::Key>,
    /// Tells the connection ids that this server gave out, in this life or one before, from any others: quinn answers only
    /// those with a reset.
    pub(crate) connection_ids: u64,
}

impl EndpointKeys {
    /// Reads the keys in `directory`; makes both the directory and the keys where there are none.
    pub(crate) fn open(directory: &Path) -> Result<Self, StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| StateError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
        let path = directory.join(FILE);
        let secret = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(directory, &path).map_err(failed(&path))?
            }
            other => other.map_err(failed(&path))?,
        };
        let secret: [u8; KEY_BYTES] =
            secret.try_into().map_err(|found: Vec<u8>| StateError::Damaged { path, length: found.len() })?;
        let (token, reset) = secret.split_at(KEY_BYTES / 2);
        let reset = hmac::Key::new(hmac::HMAC_SHA256, reset);
        // Not a secret of the same rank: quinn's hash of it is for speed. So it is derived, and says nothing of the other.
        let derived = hmac::sign(&reset, b"fanfare connection ids");
        let connection_ids = derived.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
        Ok(Self {
            token: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"fanfare address token").extract(token)),
            reset: Arc::new(reset),
            connection_ids,
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    // One byte more than there should be, so that a longer file is seen to be longer, and not read to its end.
    File::open(path)?.take(KEY_BYTES as u64 + 1).read_to_end(&mut secret)?;
    Ok(secret)
}

/// Writes a new key aside and links it into place, so that nobody ever reads half a key, and the first of two servers
/// that start at once wins.
fn create(directory: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let mut secret = vec![0; KEY_BYTES];
    let no_random = |_| io::Error::other("the system gives no random bytes");
    aws_lc_rs::rand::fill(&mut secret).map_err(no_random)?;
    let mut suffix = [0; 8];
    aws_lc_rs::rand::fill(&mut suffix).map_err(no_random)?;
    let aside: PathBuf = directory.join(format!("{FILE}.{:016x}.new", u64::from_le_bytes(suffix)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error),
    }
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
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sign(keys: &EndpointKeys) -> Vec<u8> {
        hmac::sign(&keys.reset, b"probe").as_ref().to_vec()
    }

    #[test]
    fn keys_are_made_once_and_found_again() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("state");
        let first = sign(&EndpointKeys::open(&directory).unwrap());
        let second = sign(&EndpointKeys::open(&directory).unwrap());
        assert_eq!(first, second);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join(FILE)), 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        for damaged in [&b"short"[..], &[7; 65]] {
            fs::write(&path, damaged).unwrap();
            let error = EndpointKeys::open(home.path()).err().unwrap().to_string();
            assert!(error.contains("endpoint.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn servers_that_start_at_once_agree_on_the_keys() {
        let home = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let signatures: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        sign(&EndpointKeys::open(home.path()).unwrap())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(signatures.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
