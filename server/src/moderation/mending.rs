//! Tries a store that failed again, without anybody having to ask for it.
//!
//! Invariant: at a pace that leaves the disk alone most of the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actions::Moderation;

/// How often a store that failed is tried again at most.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Of ten parts of time, one is for trying: a large store takes long to open.
const REST: u32 = 9;

/// Tries again, as long as no act can be taken, until `closing`.
pub(crate) async fn mend_store(moderation: Arc<Moderation>, closing: CancellationToken) {
    let mut impaired = moderation.impaired().watch();
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = impaired.begins() => {}
        }
        let mut pause = TRY_AGAIN;
        while moderation.impaired().is_so() {
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let begun = Instant::now();
            let moderation = Arc::clone(&moderation);
            // It ends in an error only if it panicked, which its message tells.
            let _ = tokio::task::spawn_blocking(move || moderation.mend()).await;
            pause = TRY_AGAIN.max(begun.elapsed() * REST);
        }
    }
}
