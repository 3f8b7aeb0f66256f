//! What the application makes for a client: queued when there is room, whoever waits for that, and however many do.

use super::ending::Bell;
use super::*;

/// Makes the client's frame with this number; `Pending` where it has to wait.
fn produce(outbox: &Outbox, number: u64, waker: &Waker) -> Poll<bool> {
    outbox.poll_produce(&mut Context::from_waker(waker), &outbox.encode(&ack(number)))
}

/// An outbox of four frames that is just more than half full.
fn crowded() -> Outbox {
    let outbox = outbox(4, 100_000, Overflow::Disconnect);
    for number in 0..3 {
        outbox.push_notice(&ack(number));
    }
    outbox
}

/// Has the writer take and write everything. Gives what it was.
fn write_all(outbox: &Outbox) -> Vec<ServerFrame> {
    let taken = take(outbox).unwrap_or_default();
    assert_eq!(take(outbox), None);
    taken
}

#[test]
fn what_is_made_is_queued_at_half_full_and_waits_beyond_it() {
    let outbox = outbox(4, 100_000, Overflow::Disconnect);
    let (bell, waker) = Bell::new();
    for number in 0..3 {
        assert_eq!(produce(&outbox, number, &waker), Poll::Ready(true), "two of four are half");
    }
    assert_eq!(produce(&outbox, 3, &waker), Poll::Pending);
    assert_eq!((depth(&outbox).0, bell.rings()), (3, 0));
    assert_eq!(write_all(&outbox), [ack(0), ack(1), ack(2)]);
    assert_eq!(bell.rings(), 1);
    assert_eq!(produce(&outbox, 3, &waker), Poll::Ready(true));
    assert_eq!(write_all(&outbox), [ack(3)]);
    assert_eq!(bell.rings(), 0, "nobody waits");
}

#[test]
fn whoever_waits_is_woken_once_however_often_they_asked() {
    let outbox = crowded();
    let ((first, one), (second, other)) = (Bell::new(), Bell::new());
    for waker in [&one, &one, &other, &one] {
        assert_eq!(produce(&outbox, 9, waker), Poll::Pending);
    }
    write_all(&outbox);
    assert_eq!((first.rings(), second.rings()), (1, 1));
}

#[test]
fn a_crowd_that_waits_is_remembered_up_to_a_bound_and_nobody_of_it_is_forgotten() {
    let outbox = crowded();
    let bells: Vec<_> = (0..MOST_PRODUCERS).map(|_| Bell::new()).collect();
    for (_, waker) in &bells {
        assert_eq!(produce(&outbox, 9, waker), Poll::Pending);
    }
    assert!(bells.iter().all(|(bell, _)| bell.rings() == 0));
    // One more: those before it are woken, and come again where they still want to.
    let (bell, waker) = Bell::new();
    assert_eq!(produce(&outbox, 9, &waker), Poll::Pending);
    assert!(bells.iter().all(|(bell, _)| bell.rings() == 1));
    assert_eq!(bell.rings(), 0);
    write_all(&outbox);
    assert_eq!(bell.rings(), 1);
}

#[test]
fn who_waits_hears_of_the_end_and_makes_nothing_any_more() {
    let ends: [fn(&Outbox); 4] = [
        |outbox| outbox.finish(None),
        |outbox| outbox.end(Code::Internal.into()),
        |outbox| outbox.end_until(Code::Internal.into(), 1),
        Outbox::lose,
    ];
    for end in ends {
        let outbox = crowded();
        let (bell, waker) = Bell::new();
        assert_eq!(produce(&outbox, 9, &waker), Poll::Pending);
        end(&outbox);
        assert_eq!(bell.rings(), 1);
        assert_eq!(produce(&outbox, 9, &waker), Poll::Ready(false));
    }
}

#[test]
fn a_purge_that_makes_room_wakes_who_waits() {
    let outbox = outbox(4, 100_000, Overflow::Disconnect);
    for _ in 0..3 {
        outbox.push_message(&envelope(b"x"), 0);
    }
    let (bell, waker) = Bell::new();
    assert_eq!(produce(&outbox, 9, &waker), Poll::Pending);
    assert_eq!(outbox.purge(|_| false, |_| false), 0);
    assert_eq!(bell.rings(), 0);
    assert_eq!(outbox.purge(|target| *target == Target::All, |_| false), 3);
    assert_eq!(bell.rings(), 1);
}

#[test]
fn what_the_client_is_not_told_takes_no_place() {
    let outbox = outbox(4, 100_000, Overflow::Disconnect);
    let made = outbox.poll_produce(&mut Context::from_waker(Waker::noop()), &Bytes::new());
    assert_eq!((made, depth(&outbox).0), (Poll::Ready(true), 0));
    outbox.finish(None);
    let made = outbox.poll_produce(&mut Context::from_waker(Waker::noop()), &Bytes::new());
    assert_eq!(made, Poll::Ready(false));
}
