//! Whether acts can be taken: not while the store cannot be written, as on a full disk.
//!
//! In: what the store says. Out: the same for everybody who asks or watches, and a line in the log when it changes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

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

    /// The same, as it changes.
    pub(super) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// Whether it is so.
    pub(crate) fn is_so(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// Waits for acts not to be taken any more.
pub(super) struct Watch(watch::Receiver<Option<Trouble>>);

impl Watch {
    /// Returns at once where it is so already.
    pub(super) async fn begins(&mut self) {
        // Ends in an error only with the sender, which the caller has.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}
