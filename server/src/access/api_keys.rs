//! Keys of the HTTP API: which there are, and what each may do.
//!
//! In: keys that are on the disk already, and what back ends show. Out: whose it is and what it allows, or that it
//! opens nothing. Invariants: of a key nothing is kept but a hash, so that who reads the disk cannot use it; one that
//! was revoked opens nothing from then on; how long a check takes tells nothing of the keys that there are.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use fanfare_protocol::admin::{ApiKeyRow, Scope, Subject, Verb};
use fanfare_token::Seconds;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What every key begins with, for people and for those who search for keys that got lost.
const PREFIX: &str = "ffk_";

/// How many characters tell one key from another: the prefix, and 8 bytes in hex.
const ID_CHARACTERS: usize = PREFIX.len() + 16;

/// Requests of one key that may be worked on at a time.
const IN_FLIGHT: usize = 64;

/// Connections on which one key was shown, at a time.
const CONNECTIONS: usize = 256;

/// Bytes of one key's requests that are worked on at a time, so that no key takes the room of all.
const BODIES: usize = 16 * 1024 * 1024;

/// A key as it is on the disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredKey {
    #[serde(flatten)]
    pub(crate) row: ApiKeyRow,
    /// SHA-256 of the whole key, in hex. It is 32 random bytes, so that a slow hash would make nothing safer.
    pub(crate) hash: String,
}

/// Those that are in force.
#[derive(Default)]
pub(crate) struct ApiKeys {
    by_id: RwLock<HashMap<String, Arc<ApiKey>>>,
}

/// One of them.
pub(crate) struct ApiKey {
    stored: StoredKey,
    hash: [u8; SHA256_OUTPUT_LEN],
    /// When it was last used; 0: never.
    used: AtomicU64,
    pace: Option<DefaultDirectRateLimiter>,
    in_flight: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyRefusal {
    /// There is none like it.
    #[error("this is no key of this server's")]
    Unknown,
    /// It is over.
    #[error("this key has ended")]
    Ended,
}

/// Why something has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooFast {
    /// For so long.
    For(Duration),
    /// It is more at once than may be done in a second.
    Never,
}

impl StoredKey {
    /// Whether an id is one.
    pub(crate) fn is_id(id: &str) -> bool {
        let digits = id.strip_prefix(PREFIX).unwrap_or_default();
        digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// A hash that was written in hex.
    pub(crate) fn hash(hex: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        if hex.len() != hash.len() * 2 || !hex.is_ascii() {
            return None;
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            let digits = hex.get(at * 2..at * 2 + 2)?;
            // `from_str_radix` would take a sign.
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.contains('+'))?;
        }
        Some(hash)
    }
}

impl ApiKeys {
    /// Puts one in force. It is on the disk. One whose hash cannot be read opens nothing.
    pub(crate) fn put(&self, stored: StoredKey) {
        let Some(hash) = StoredKey::hash(&stored.hash) else { return };
        let pace = stored.row.per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        let used = AtomicU64::new(stored.row.used.unwrap_or(0));
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let id = stored.row.id.clone();
        let bodies = Arc::new(Semaphore::new(BODIES));
        let key = ApiKey { stored, hash, used, pace, in_flight, connections, bodies };
        let mut by_id = self.by_id.write();
        // One of the same name that another took the place of opens nothing any more, whatever its id was.
        by_id.retain(|other, known| {
            if *other == id {
                key.used.fetch_max(known.used.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            known.name() != key.name()
        });
        by_id.insert(id, Arc::new(key));
    }

    /// Takes one out of force.
    pub(crate) fn revoke(&self, name: &str) {
        self.by_id.write().retain(|_, key| key.name() != name);
    }

    /// The one that somebody shows.
    ///
    /// # Errors
    /// When it opens nothing at this moment.
    pub(crate) fn verify(&self, shown: &str, now: Seconds) -> Result<Arc<ApiKey>, KeyRefusal> {
        let hash = digest(&SHA256, shown.as_bytes());
        let known = shown.get(..ID_CHARACTERS).and_then(|id| self.by_id.read().get(id).cloned());
        let expected = known.as_ref().map_or([0; SHA256_OUTPUT_LEN], |key| key.hash);
        let is_right = verify_slices_are_equal(hash.as_ref(), &expected).is_ok();
        match known.filter(|_| is_right) {
            None => Err(KeyRefusal::Unknown),
            Some(key) => {
                key.lasts(now)?;
                key.used.store(now, Ordering::Relaxed);
                Ok(key)
            }
        }
    }

    /// Whether one that was shown before still opens something.
    ///
    /// # Errors
    /// When it opens nothing at this moment.
    pub(crate) fn check(&self, key: &Arc<ApiKey>, now: Seconds) -> Result<(), KeyRefusal> {
        match self.by_id.read().get(key.id()) {
            Some(known) if Arc::ptr_eq(known, key) => key.lasts(now),
            _ => Err(KeyRefusal::Unknown),
        }
    }

    /// Whether there is one with this name or this id.
    pub(crate) fn has(&self, name: &str, id: &str) -> bool {
        self.by_id.read().values().any(|key| key.name() == name || key.stored.row.id == id)
    }

    /// All, as they are to be kept.
    pub(crate) fn all(&self) -> Vec<StoredKey> {
        self.by_id.read().values().map(|key| key.stored()).collect()
    }
}

impl ApiKey {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.stored.row.name
    }

    fn lasts(&self, now: Seconds) -> Result<(), KeyRefusal> {
        let is_over = self.stored.row.until.is_some_and(|until| until <= now);
        if is_over { Err(KeyRefusal::Ended) } else { Ok(()) }
    }

    /// What tells it from others, also from a later one with its name.
    pub(crate) fn id(&self) -> &str {
        &self.stored.row.id
    }

    /// What it may do.
    pub(crate) fn scopes(&self) -> &[Scope] {
        &self.stored.row.allow
    }

    /// Whether it may do this to that.
    pub(crate) fn allows(&self, verb: Verb, subject: &Subject<'_>) -> bool {
        self.stored.row.allow.iter().any(|scope| scope.allows(verb, subject))
    }

    /// Has so many operations go, or says what they have to wait for.
    pub(crate) fn pace(&self, operations: NonZeroU32) -> Result<(), TooFast> {
        let Some(pace) = &self.pace else { return Ok(()) };
        match pace.check_n(operations) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(early)) => Err(TooFast::For(early.wait_time_from(DefaultClock::default().now()))),
            Err(_) => Err(TooFast::Never),
        }
    }

    /// Has so many operations go beside the first of a request, which has been counted already.
    pub(crate) fn pace_others(&self, others: NonZeroU32) -> Result<(), TooFast> {
        // With the first they are more than there is ever room for.
        if self.stored.row.per_second.is_some_and(|most| others >= most) {
            return Err(TooFast::Never);
        }
        self.pace(others)
    }

    /// Room for so many bytes of a request, beside those of its others.
    pub(crate) fn room(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.bodies).try_acquire_many_owned(bytes).ok()
    }

    /// A place for a request that is worked on.
    pub(crate) fn begin(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.in_flight).try_acquire_owned().ok()
    }

    /// A place for a connection that shows it.
    pub(crate) fn connect(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    fn stored(&self) -> StoredKey {
        let mut stored = self.stored.clone();
        let used = self.used.load(Ordering::Relaxed);
        stored.row.used = (used > 0).then_some(used);
        stored
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::GroupName;

    use super::*;

    const NOW: Seconds = 1_800_000_000;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn key(name: &str, shown: &str, until: Option<Seconds>) -> StoredKey {
        let row = ApiKeyRow {
            name: name.to_owned(),
            id: shown[..ID_CHARACTERS].to_owned(),
            allow: vec!["send:group:room-*".parse().unwrap()],
            per_second: NonZeroU32::new(10),
            since: 1,
            until,
            used: None,
            author: "oncall".to_owned(),
        };
        StoredKey { row, hash: hex(digest(&SHA256, shown.as_bytes()).as_ref()) }
    }

    const SHOWN: &str = "ffk_0123456789abcdef_secret";

    #[test]
    fn a_key_opens_what_it_says_until_it_is_over_or_gone() {
        let keys = ApiKeys::default();
        keys.put(key("billing", SHOWN, Some(NOW + 10)));
        keys.put(key("other", "ffk_ffffffffffffffff_secret", None));
        assert!(keys.all().iter().all(|key| key.row.used.is_none()));
        let billing = keys.verify(SHOWN, NOW).ok().unwrap();
        assert_eq!(billing.name(), "billing");
        let (room, hall) = (GroupName::new("room-1").unwrap(), GroupName::new("hall").unwrap());
        assert!(billing.allows(Verb::Send, &Subject::Group(&room)));
        assert!(!billing.allows(Verb::Send, &Subject::Group(&hall)));
        let used: Vec<_> = keys.all().into_iter().filter(|key| key.row.used.is_some()).collect();
        assert_eq!((used.len(), used[0].row.name.as_str(), used[0].row.used), (1, "billing", Some(NOW)));
        for wrong in [
            "",
            "ffk_",
            "ffk_0123456789abcdef",
            "ffk_0123456789abcdef_Secret",
            "ffk_ffffffffffffffff_other",
            "ffk_0000000000000000_secret",
            "FFK_0123456789abcdef_secret",
            "ffk_0123456789abcde\u{e9}_secret",
        ] {
            assert_eq!(keys.verify(wrong, NOW).err(), Some(KeyRefusal::Unknown), "{wrong}");
        }
        assert_eq!(keys.verify(SHOWN, NOW + 10).err(), Some(KeyRefusal::Ended));
        assert!(keys.has("billing", "") && keys.has("", "ffk_0123456789abcdef") && !keys.has("x", "ffk_0"));
        assert_eq!(keys.check(&billing, NOW), Ok(()));
        assert_eq!(keys.check(&billing, NOW + 10), Err(KeyRefusal::Ended));
        keys.revoke("billing");
        assert_eq!(keys.verify(SHOWN, NOW).err(), Some(KeyRefusal::Unknown));
        assert_eq!(keys.check(&billing, NOW), Err(KeyRefusal::Unknown));
        keys.put(key("billing", SHOWN, None));
        assert_eq!(keys.check(&billing, NOW), Err(KeyRefusal::Unknown), "it is another");
        keys.revoke("billing");
        assert_eq!(keys.all().len(), 1);
    }

    #[test]
    fn a_key_has_no_more_at_a_time_than_it_may() {
        let keys = ApiKeys::default();
        keys.put(key("billing", SHOWN, None));
        let key = keys.verify(SHOWN, NOW).ok().unwrap();
        let count = |count| NonZeroU32::new(count).unwrap();
        assert_eq!(key.pace(count(10)), Ok(()));
        assert!(
            matches!(key.pace(count(1)), Err(TooFast::For(pause)) if pause <= Duration::from_millis(100))
        );
        assert_eq!(key.pace(count(11)), Err(TooFast::Never));
        assert_eq!(key.pace_others(count(10)), Err(TooFast::Never));
        assert!(matches!(key.pace_others(count(9)), Err(TooFast::For(_))));
        let places: Vec<_> = std::iter::from_fn(|| key.begin()).collect();
        assert_eq!(places.len(), IN_FLIGHT);
        drop(places);
        assert!(key.begin().is_some());
    }

    #[test]
    fn ids_and_hashes_are_told_from_other_texts() {
        assert!(StoredKey::is_id("ffk_0123456789abcdef"));
        for wrong in ["ffk_0123456789abcdeF", "ffk_0123456789abcde", "0123456789abcdef0123", ""] {
            assert!(!StoredKey::is_id(wrong), "{wrong}");
        }
        assert_eq!(StoredKey::hash(&"0f".repeat(32)), Some([15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"+f".repeat(32), &"\u{e9}".repeat(32)] {
            assert_eq!(StoredKey::hash(wrong), None, "{wrong}");
        }
    }
}
