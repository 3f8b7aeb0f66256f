//! A store that failed is tried again, without anybody having to ask, at a pace that leaves the disk alone.

use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use tokio::task::yield_now;
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::moderation::mend_store;

#[tokio::test(start_paused = true)]
async fn it_is_tried_again_about_every_second_and_acts_are_taken_when_it_works() {
    let rig = Rig::new();
    let closing = CancellationToken::new();
    let task = tokio::spawn(mend_store(Arc::clone(&rig.moderation), closing.clone()));
    let tries = || rig.disk.reopens.load(Ordering::Relaxed);
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
    const LONG: Duration = Duration::from_secs(2);
    let rig = Rig::new();
    let closing = CancellationToken::new();
    rig.disk.fail_after(0);
    rig.failed(&json!({ "ask": "ban", "user": "alice" }));
    // The first try takes until it is let go.
    let ((begins, has_begun), (lets_go, is_let_go)) = (sync_channel(1), sync_channel(1));
    let mut is_first = true;
    rig.disk.look_on(move |_| {
        if std::mem::take(&mut is_first) {
            begins.send(()).unwrap();
            is_let_go.recv().unwrap();
        }
    });
    let task = tokio::spawn(mend_store(Arc::clone(&rig.moderation), closing.clone()));
    yield_now().await;
    advance(Duration::from_secs(1)).await;
    while has_begun.try_recv().is_err() {
        yield_now().await;
    }
    advance(LONG).await;
    lets_go.send(()).unwrap();
    let (tries, ended) = (rig.disk.reopens.load(Ordering::Relaxed), Instant::now());
    until(|| rig.disk.reopens.load(Ordering::Relaxed) > tries).await;
    let pause = ended.elapsed();
    assert!((9 * LONG..10 * LONG).contains(&pause), "{pause:?}");
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
