//! Ends lasting memberships whose time is over.
//!
//! In: the ends that there are. Out: memberships that are none any more, and rows that are forgotten. Invariant: one
//! that is given more time before its end does not end.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fanfare_protocol::Code;
use tokio_util::sync::CancellationToken;

use super::actions::Moderation;
use crate::access;

/// How long the ends are not looked at, at most: by so much one is late where somebody sets the clock forward.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

impl Moderation {
    /// Ends lasting memberships whose time is over. Blocks on the disk.
    pub(crate) fn end_lasting(&self) {
        // Under the lock, so that one that is being given more time is not ended.
        let mut journal = self.journal.lock();
        let ended = self.bans.lasting().ended(access::now());
        for row in &ended {
            self.memberships().remove(&row.user, &row.group, Code::GrantEnded, "");
        }
        let places = ended.into_iter().map(|row| (row.user, row.group)).collect();
        // On the disk they say nothing any more. The next start forgets them, where it is not done now.
        if journal.trouble().is_none() && journal.forget_lasting(places).is_err() {
            let _ = self.mend_in(&mut journal);
        }
    }
}

/// Ends memberships whose time is over, until `closing`.
pub(crate) async fn end_lasting(moderation: Arc<Moderation>, closing: CancellationToken) {
    loop {
        let pause = moderation.lasting().next_end().map_or(LONGEST_SLEEP, |next| {
            let left = UNIX_EPOCH.checked_add(Duration::from_secs(next));
            let left =
                left.map_or(LONGEST_SLEEP, |next| next.duration_since(access::clock()).unwrap_or_default());
            left.min(LONGEST_SLEEP)
        });
        tokio::select! {
            () = closing.cancelled() => return,
            () = moderation.lasting().came() => continue,
            () = tokio::time::sleep(pause) => {}
        }
        if moderation.lasting().next_end().is_none_or(|next| next > access::now()) {
            continue;
        }
        let moderation = Arc::clone(&moderation);
        // It ends in an error only if it panicked, which its message tells.
        let _ = tokio::task::spawn_blocking(move || moderation.end_lasting()).await;
    }
}
