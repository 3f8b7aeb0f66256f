//! Lasting memberships end by themselves, at the moment that was said.

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::moderation::end_lasting;

/// A moment long ago: the memberships are ended on another thread, which has the system's clock.
const THEN: Seconds = 1_000_000_000;

/// What ends the memberships of this rig by itself. It is `THEN`.
fn ending(rig: &Rig) -> (JoinHandle<()>, CancellationToken) {
    at(THEN);
    let closing = CancellationToken::new();
    (tokio::spawn(end_lasting(Arc::clone(&rig.moderation), closing.clone())), closing)
}

fn add(rig: &Rig, name: &str, until: Seconds) {
    rig.done(&json!({ "ask": "add_lasting", "user": name, "group": "vip", "until": until }));
}

fn is_in(seat: &Seat) -> bool {
    names(seat).contains(&"vip".to_owned())
}

/// Waits for its end. How long that took.
async fn end_of(seat: &Seat) -> Duration {
    let begun = Instant::now();
    until(|| !is_in(seat)).await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_membership_ends_in_the_second_that_was_said_and_not_before() {
    let (rig, seats) = Rig::crowded();
    let (task, closing) = ending(&rig);
    // While nothing is to end, and while something else is, later.
    for (name, seat, left) in [("bob", &seats[2], 9), ("alice", &seats[0], 3)] {
        sleep(Duration::from_secs(60)).await;
        add(&rig, "carol", THEN + 9);
        sleep(Duration::from_millis(500)).await;
        add(&rig, name, THEN + left);
        sleep(Duration::from_millis(1_000 * left - 1)).await;
        assert!(is_in(seat), "{name}");
        at(THEN + left);
        let late = end_of(seat).await;
        assert!(late <= Duration::from_millis(20), "{name}: {late:?}");
        at(THEN);
    }
    closing.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_somebody_sets_the_clock_forward_a_membership_ends_ten_seconds_late_at_most() {
    let (rig, seats) = Rig::crowded();
    let (task, closing) = ending(&rig);
    add(&rig, "bob", THEN + 1_000);
    sleep(Duration::from_secs(15)).await;
    assert!(is_in(&seats[2]));
    at(THEN + 1_000);
    let late = end_of(&seats[2]).await;
    assert!(late <= Duration::from_secs(10), "{late:?}");
    // A server that stops does not wait for an end.
    add(&rig, "bob", THEN + 2_000);
    sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    closing.cancel();
    task.await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
