//! Whether acts can be taken: not while the store cannot be written, as on a full disk.
//!
//! In: what the store says. Out: the same for everybody who asks or watches, and a line in the log when it changes.
//! Invariant: a store that failed is tried again without anybody having to ask for it, at a pace that leaves the disk
//! alone most of the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Acts;

/// How often a store that failed is tried again at most.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Of ten parts of time, one is for trying: a large store takes long to open.
const REST: u32 = 9;

/// Why no act can be taken now.
#[derive(Debug)]
pub(crate) struct Impaired(watch::Sender<Option<Trouble>>);

#[derive(Debug)]
struct Trouble {
    why: Arc<str>,
    since: Instant,
}

impl Default for Impaired {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Impaired {
    pub(super) fn begins(&self, why: &str) {
        self.0.send_if_modified(|trouble| {
            if trouble.as_ref().is_some_and(|trouble| *trouble.why == *why) {
                return false;
            }
            if trouble.is_none() {
                tracing::error!(
                    reason = why,
                    "operators' acts cannot be taken now: the store cannot be written; it is tried again, and all else goes on"
                );
            }
            let since = trouble.as_ref().map_or_else(Instant::now, |trouble| trouble.since);
            *trouble = Some(Trouble { why: why.into(), since });
            true
        });
    }

    pub(super) fn ends(&self) {
        self.0.send_if_modified(|trouble| {
            let Some(ended) = trouble.take() else { return false };
            tracing::warn!(
                seconds = ended.since.elapsed().as_secs(),
                "operators' acts can be taken again; nothing that was answered is missing from the store"
            );
            true
        });
    }

    /// The reason, for operators: it names a file.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.borrow().as_ref().map(|trouble| trouble.why.to_string())
    }

    /// Whether it is so.
    pub(crate) fn is_so(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// Tries again, as long as no act can be taken, until `closing`.
pub(crate) async fn mend_store(acts: Arc<Acts>, closing: CancellationToken) {
    let mut impaired = acts.impaired.0.subscribe();
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            // Ends in an error only with the sender, which we have.
            _ = impaired.wait_for(Option::is_some) => {}
        }
        let mut pause = TRY_AGAIN;
        while acts.impaired.is_so() {
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let begun = Instant::now();
            let acts = Arc::clone(&acts);
            // It ends in an error only if it panicked, which its message tells.
            let _ = tokio::task::spawn_blocking(move || acts.mend()).await;
            pause = TRY_AGAIN.max(begun.elapsed() * REST);
        }
    }
}
