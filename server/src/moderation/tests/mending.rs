//! A store that failed is tried again, without anybody having to ask, at a pace that leaves the disk alone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::moderation::mend_store;

/// Waits for it on the clock of the runtime, which is paused: it goes on when everybody waits.
async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.expect("it never comes");
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_again_about_every_second_and_acts_are_taken_when_it_works() {
    let rig = Rig::new();
    let closing = CancellationToken::new();
    let task = tokio::spawn(mend_store(Arc::clone(&rig.moderation), closing.clone()));
    let tries = || rig.disk.reopened.load(Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(tries(), 0, "all is well");
    // Twice: it watches on when it has worked.
    for _ in 0..2 {
        rig.disk.fail_after(0);
        rig.failed(&json!({ "ask": "ban", "user": "alice" }));
        let before = tries();
        sleep(Duration::from_millis(999)).await;
        assert_eq!(tries(), before, "the act has tried it a moment ago");
        sleep(Duration::from_millis(9_500)).await;
        assert_eq!(tries() - before, 10);
        rig.disk.repair();
        let begun = Instant::now();
        until(|| !rig.moderation.impaired().is_so()).await;
        assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
        let mended = tries();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(tries(), mended, "and then no more");
    }
    rig.done(&json!({ "ask": "ban", "user": "alice" }));
    closing.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_long_to_open_is_left_alone_for_nine_times_as_long() {
    const LONG: Duration = Duration::from_millis(150);
    let rig = Rig::new();
    let closing = CancellationToken::new();
    rig.disk.fail_after(0);
    rig.failed(&json!({ "ask": "ban", "user": "alice" }));
    // Takes so long on the clock of the machine, which the pause is reckoned by.
    rig.disk.look_on(|_| {
        let begun = std::time::Instant::now();
        while begun.elapsed() < LONG {
            std::hint::spin_loop();
        }
    });
    let task = tokio::spawn(mend_store(Arc::clone(&rig.moderation), closing.clone()));
    let before = rig.disk.reopened.load(Ordering::Relaxed);
    let tried = |times: u64| rig.disk.reopened.load(Ordering::Relaxed) - before >= times;
    until(|| tried(1)).await;
    let first = Instant::now();
    until(|| tried(2)).await;
    assert!(first.elapsed() >= 9 * LONG, "{:?}", first.elapsed());
    closing.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_does_not_wait_for_a_store_that_fails() {
    for fails in [false, true] {
        let rig = Rig::new();
        let closing = CancellationToken::new();
        if fails {
            rig.disk.fail_after(0);
            rig.failed(&json!({ "ask": "ban", "user": "alice" }));
        }
        let task = tokio::spawn(mend_store(Arc::clone(&rig.moderation), closing.clone()));
        // It waits for trouble, or for its next try.
        sleep(Duration::from_millis(10)).await;
        let begun = Instant::now();
        closing.cancel();
        task.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
