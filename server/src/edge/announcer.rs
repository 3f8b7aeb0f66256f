//! Has presence announced: four times a second, those who watch groups are told what has changed in them.
//!
//! In: the hub, and the time. Out: frames in the watchers' outboxes. Invariant: where nothing has changed a look takes
//! one lock, and one at many groups lets others have their turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// How often. A person takes it for at once, and a group in which many come and go costs each who watches it four
/// frames a second.
const EVERY: Duration = Duration::from_millis(250);

/// So many groups are announced before others have their turn.
const AT_A_TIME: usize = 16;

/// Announces until `closing`.
pub(crate) async fn announce(hub: Arc<Hub>, closing: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut announcement = hub.announcement(Instant::now());
        while announcement.go_on(AT_A_TIME) {
            tokio::task::yield_now().await;
        }
    }
}
