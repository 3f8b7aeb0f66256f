//! How an outbox ends, who is told, and who is woken for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// Counts how often it rings.
#[derive(Default)]
pub(super) struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    pub(super) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&bell));
        (bell, waker)
    }

    /// How often it has rung since it was asked last.
    pub(super) fn rings(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A writer that waits for something to write.
pub(super) fn waiting_writer(outbox: &Outbox) -> Arc<Bell> {
    let (bell, waker) = Bell::new();
    assert!(outbox.poll_take(&mut Context::from_waker(&waker), &mut Vec::new()).is_pending());
    bell
}

/// A session that waits for something else to do than to read.
fn waiting_session(outbox: &Outbox) -> Arc<Bell> {
    let (bell, waker) = Bell::new();
    assert!(outbox.poll_signal(&mut Context::from_waker(&waker)).is_pending());
    bell
}

#[test]
fn a_writer_that_waits_is_woken_by_what_there_is_to_write() {
    let outbox = outbox(10, 100_000, Overflow::Disconnect);
    let writer = waiting_writer(&outbox);
    outbox.push_message(&envelope(b"x"), 0);
    outbox.push_notice(&ack(1));
    assert_eq!(writer.rings(), 1, "once, and then it does not wait");
    take(&outbox);
    // Another task may wait by now than the one that did.
    let (old, new) = (waiting_writer(&outbox), waiting_writer(&outbox));
    outbox.push_notice(&ack(2));
    assert_eq!((old.rings(), new.rings()), (0, 1));
}

#[test]
fn whoever_waits_is_woken_by_each_ending() {
    type End = fn(&Outbox);
    let endings: [(End, Signal); 4] = [
        (|outbox| outbox.end(Code::Internal.into()), Signal::End(Code::Internal.into())),
        (|outbox| outbox.end_until(Code::ClosedForNow.into(), 5), Signal::End(Code::ClosedForNow.into())),
        (Outbox::lose, Signal::Lost),
        (
            |outbox| {
                let huge = envelope(&[0; 200]);
                assert_eq!(outbox.push_message(&huge, 0), Pushed::Overflowed);
            },
            Signal::End(Code::SlowConsumer.into()),
        ),
    ];
    for (end, expected) in endings {
        let outbox = outbox(10, 100, Overflow::Disconnect);
        let (writer, session) = (waiting_writer(&outbox), waiting_session(&outbox));
        end(&outbox);
        assert_eq!((writer.rings(), session.rings()), (1, 1), "{expected:?}");
        assert_eq!(signal(&outbox), Poll::Ready(expected.clone()));
        let room = outbox.poll_room(&mut Context::from_waker(Waker::noop()));
        assert_eq!(room, Poll::Ready(Some(expected)), "who waits for room is told, too");
        let taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
        assert_eq!(taken, Poll::Ready(Taken::Ended));
        assert_eq!(outbox.push_notice(&ack(1)), Pushed::Ended);
    }
}

#[test]
fn a_drain_wakes_the_session_first_and_the_writer_for_the_last_word() {
    let outbox = outbox(10, 100_000, Overflow::Disconnect);
    let (writer, session) = (waiting_writer(&outbox), waiting_session(&outbox));
    outbox.stop_reading();
    assert_eq!((writer.rings(), session.rings()), (0, 1));
    assert_eq!(outbox.close_reason(), None);
    outbox.finish(Some(&ack(1)));
    assert_eq!(writer.rings(), 1);
    assert_eq!(outbox.facts().frames, 1, "it waits, too");
    assert_eq!(take(&outbox), Some(vec![ack(1)]));
    outbox.finish(Some(&ack(2)));
    let finished = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
    assert_eq!(finished, Poll::Ready(Taken::Finished), "there is one last word");
    assert_eq!(depth(&outbox), (0, 0));
}

#[test]
fn who_is_closed_hears_when_to_come_back_from_whoever_closed_first() {
    let closed = outbox(10, 100_000, Overflow::Disconnect);
    closed.end_until(Code::ClosedForNow.into(), 5_000);
    closed.end_until(Code::ClosedByOperator.into(), 0);
    assert_eq!(closed.close_reason(), Some(Code::ClosedForNow.into()));
    assert_eq!(closed.retry_after_ms(), Some(5_000));

    let lost = outbox(10, 100_000, Overflow::Disconnect);
    lost.lose();
    lost.end_until(Code::ClosedForNow.into(), 5_000);
    assert_eq!((lost.close_reason(), lost.retry_after_ms()), (None, None));
    assert_eq!(signal(&lost), Poll::Ready(Signal::Lost));
}

#[test]
fn a_writer_that_hangs_is_told_to_break_off() {
    let outbox = outbox(10, 100_000, Overflow::Disconnect);
    assert!(!outbox.is_overdue());
    assert_eq!(outbox.break_off(), None);
    let (bell, waker) = Bell::new();
    outbox.remember_writer(&waker);
    outbox.hurry(Code::SlowConsumer);
    assert_eq!(bell.rings(), 1, "whatever it waits for");
    assert!(outbox.is_overdue());
    assert_eq!(outbox.break_off(), Some(Code::SlowConsumer));
}
