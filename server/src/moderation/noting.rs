//! Writes down when keys of the HTTP API were last used.
//!
//! In: keys that are being used. Out: rows in the store. Invariant: the disk is asked once in a while, however often
//! they are used; what is lost by a kill -9 is a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::actions::Moderation;
use crate::access::StoredKey;

/// How often it is written down.
const EVERY: Duration = Duration::from_secs(60);

impl Moderation {
    /// Writes down when keys were last used, beyond what `written` has; gives what is written now. Blocks on the disk.
    pub(crate) fn note_keys(&self, written: Vec<StoredKey>) -> Vec<StoredKey> {
        // Under the lock, so that one that is being revoked is not written again.
        let mut journal = self.journal.lock();
        // Read once: a use after that is new at the next turn.
        let keys = self.keys.all();
        let used: Vec<_> = keys.iter().filter(|key| !written.contains(key)).cloned().collect();
        if used.is_empty() {
            return keys;
        }
        if journal.trouble().is_some() {
            return written;
        }
        if journal.note(used).is_ok() {
            return keys;
        }
        // The next turn tries again: nothing else is lost than when they were used.
        let _ = self.mend_in(&mut journal);
        written
    }
}

/// Writes it down now and then, and at the end, until `closing`.
pub(crate) async fn note_keys(moderation: Arc<Moderation>, closing: CancellationToken) {
    let mut written = moderation.keys().all();
    loop {
        let is_last = tokio::select! {
            () = closing.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let (moderation, known) = (Arc::clone(&moderation), std::mem::take(&mut written));
        // It ends in an error only if it panicked, which its message tells. All are written again then.
        let noted = tokio::task::spawn_blocking(move || moderation.note_keys(known)).await;
        written = noted.unwrap_or_default();
        if is_last {
            return;
        }
    }
}
