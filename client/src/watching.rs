//! Keeps a connection watching what the application watches, and nothing else.
//!
//! In: a connection that has gone live, and the groups that are watched. Out: requests. Invariants: what is watched
//! when the connection goes live is asked for again, and so is what was refused for now, when its pause is over; a
//! group is given up on the server only while nobody here wants it.

use std::sync::Arc;

use fanfare_protocol::{ClientFrame, Code, Features, GroupName, codec};

use tokio::time::{Instant, sleep_until};

use crate::link::Link;
use crate::requests::Effect;
use crate::state::Shared;
use crate::watches::{NO_PRESENCE, Watches};

/// Asks for what is watched, and then gives up what is not any more, for ever; to be dropped with the connection.
pub(crate) async fn run(shared: Arc<Shared>, link: Arc<Link>) -> std::convert::Infallible {
    let has_presence = Features::PRESENCE.are_in(link.welcome.features);
    for group in shared.watches.connected() {
        if !has_presence {
            shared.watches.refused(&group, None, Code::NotKnownHere.number(), NO_PRESENCE);
            continue;
        }
        watch(&shared, group).await;
    }
    loop {
        wished(&shared.watches).await;
        while let Some(group) = shared.watches.take_due(Instant::now()) {
            watch(&shared, group).await;
        }
        while shared.unwatch_next(&link).await {}
    }
}

/// Waits until there may be a group to be asked for again, or given up.
async fn wished(watches: &Watches) {
    let due = watches.next_due();
    tokio::select! {
        () = watches.wishes.notified() => {}
        () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
    }
}

/// Asks for a group. A refusal ends the watches of it, with the server's words; one for now has it asked for again; and
/// where the connection is lost, the next one asks.
async fn watch(shared: &Shared, group: GroupName) {
    let request = shared.next_request();
    let frame = codec::encode_client(&ClientFrame::Watch { request, group: group.clone() });
    let _ = shared.request(request, frame, Effect::Watch(group, None)).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfare_protocol::presence::PresenceFrame;

    use super::*;

    const CUT_OFF: u16 = Code::CutOff.number();

    fn room() -> GroupName {
        GroupName::new("room").unwrap()
    }

    /// Waits for an hour, as a connection does that lives, until the group is to be asked for again; and asks. Gives
    /// how long it was.
    async fn again(watches: &Watches) -> Option<Duration> {
        let begun = Instant::now();
        let asked = async {
            loop {
                if let Some(group) = watches.take_due(Instant::now()) {
                    assert_eq!(group, room());
                    assert!(watches.asked(&group, None));
                    return begun.elapsed();
                }
                wished(watches).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3_600), asked).await.ok()
    }

    async fn asked_again(watches: &Watches) -> Duration {
        again(watches).await.expect("it is not asked for")
    }

    async fn is_quiet(watches: &Watches) -> bool {
        again(watches).await.is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_now_is_asked_for_again_after_pauses_that_grow() {
        let watches = Watches::default();
        watches.begin(&room());
        assert_eq!(watches.connected(), [room()]);
        assert!(watches.asked(&room(), None));
        let mut pauses = Vec::new();
        for _ in 0..200 {
            watches.refused(&room(), None, CUT_OFF, "cut off");
            pauses.push(asked_again(&watches).await);
        }
        // A timer is a millisecond late at most.
        let within = |ms: u64| Duration::from_millis(ms + 1);
        for (pause, ceiling) in pauses.iter().zip([250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]) {
            assert!(*pause <= within(ceiling), "{pauses:?}");
        }
        let longest = pauses.iter().max().unwrap();
        assert!((within(8_000)..=within(10_000)).contains(longest), "{longest:?}");
        // Whoever is refused after it was let in is not made to wait for what was before.
        watches.answered(&room(), None);
        assert!(is_quiet(&watches).await);
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, CUT_OFF, "cut off");
        assert!(asked_again(&watches).await <= within(250));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_dropped_in_the_pause_is_not_asked_for() {
        let watches = Watches::default();
        let (id, _) = watches.begin(&room());
        watches.connected();
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, CUT_OFF, "cut off");
        watches.end(id);
        // One that is begun anew asks itself.
        let (next, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(next)));
        assert!(is_quiet(&watches).await);
        watches.answered(&room(), Some(next));
        assert!(is_quiet(&watches).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_connection_asks_anew_and_knows_of_no_pause() {
        let watches = Watches::default();
        watches.begin(&room());
        watches.connected();
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, CUT_OFF, "cut off");
        assert_eq!(watches.connected(), [room()]);
        assert!(is_quiet(&watches).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_the_server_ends_for_now_is_asked_for_again() {
        let watches = Watches::default();
        let (id, _) = watches.begin(&room());
        watches.answered(&room(), Some(id));
        watches.take(PresenceFrame::Ended { group: room(), code: CUT_OFF, reason: String::new() });
        asked_again(&watches).await;
        watches.answered(&room(), None);
        assert!(is_quiet(&watches).await);
        // It crosses a request: the answer to that may be about what was before.
        let (second, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(second)));
        watches.take(PresenceFrame::Ended { group: room(), code: CUT_OFF, reason: String::new() });
        watches.answered(&room(), Some(second));
        assert_eq!(asked_again(&watches).await, Duration::ZERO);
    }
}
