//! The copy of a key set on the disk, for a start at which its URL gives nothing.
//!
//! In: a set's URL, and the text that it gave. Out: a file in the state directory; at a later start the text and the
//! keys in it, or why there are none. Invariants: each URL has a copy of its own, and keys are read from no other's; a
//! copy is replaced as a whole.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use fanfare_token::{FILE_BYTES, KeyError, KeySetOrigin, ReadKeys, parse_key_set, read_at_most};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key_set_url::KeySetUrl;
use crate::home;

/// The largest copy: an answer of any length that is taken, in an object with its URL.
const COPY_BYTES: usize = FILE_BYTES + 16 * 1024;

/// A set on the disk.
#[derive(Serialize, Deserialize)]
struct Copy {
    url: String,
    /// In seconds since 1970.
    fetched_at: u64,
    key_set: Box<RawValue>,
}

/// Where the copy of a set is: by the whole URL, of which there may be several.
pub(super) fn place(url: &KeySetUrl, directory: &Path) -> PathBuf {
    let hash = digest(&SHA256, url.as_str().as_bytes());
    let name: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    directory.join(format!("token-keys-{name}.json"))
}

/// The copy of an earlier time, and what is in it.
///
/// # Errors
/// Why there is none, to follow what is wrong with the URL.
pub(super) async fn last(url: &KeySetUrl, directory: Option<&Path>) -> Result<(String, ReadKeys), String> {
    let Some(directory) = directory else {
        return Err("and without a state directory there is no copy of an earlier time".to_owned());
    };
    let (url, path) = (url.clone(), place(url, directory));
    let copy = tokio::task::spawn_blocking(move || kept(&url, &path)).await;
    copy.unwrap_or_else(|error| Err(error.to_string()))
}

fn kept(url: &KeySetUrl, path: &Path) -> Result<(String, ReadKeys), String> {
    let damaged = |problem: String| format!("and the copy of the last time, {}, {problem}", path.display());
    let bytes = match read_at_most(path, COPY_BYTES) {
        Ok(bytes) => bytes,
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err("and there is no copy of an earlier time".to_owned());
        }
        Err(error) => return Err(damaged(format!("cannot be read: {error}"))),
    };
    let copy: Copy = serde_json::from_slice(&bytes).map_err(|_| damaged("is damaged".to_owned()))?;
    if copy.url != url.as_str() {
        return Err(damaged("is of another URL".to_owned()));
    }
    let text = copy.key_set.get().to_owned();
    let keys = parse_key_set(&text, KeySetOrigin::Url).map_err(damaged)?;
    Ok((text, keys))
}

/// Writes one to its place.
pub(super) async fn write(url: KeySetUrl, text: String, path: PathBuf) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || replace(&url, text, &path)).await;
    written.unwrap_or_else(|error| Err(error.into()))
}

fn replace(url: &KeySetUrl, text: String, path: &Path) -> io::Result<()> {
    let key_set = RawValue::from_string(text)?;
    let copy = Copy { url: url.as_str().to_owned(), fetched_at: super::now(), key_set };
    home::replace(path, &serde_json::to_vec(&copy)?)
}
