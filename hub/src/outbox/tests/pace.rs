//! How much is written at a time, who is slowed down, and what is noticed of a peer that takes nothing.

use std::collections::VecDeque;

use super::ending::{Bell, waiting_writer};
use super::*;

/// Whether there is room; who asks is woken when there is again.
fn room(outbox: &Outbox) -> (bool, Arc<Bell>) {
    let (bell, waker) = Bell::new();
    (outbox.poll_room(&mut Context::from_waker(&waker)).is_ready(), bell)
}

#[test]
fn at_most_128_frames_are_written_at_a_time() {
    let outbox = outbox(1_000, 1 << 30, Overflow::Disconnect);
    for request in 0..129 {
        outbox.push_notice(&ack(request));
    }
    assert_eq!(take(&outbox).unwrap().len(), 128);
    assert_eq!(take(&outbox), Some(vec![ack(128)]));
}

#[test]
fn what_is_written_at_a_time_ends_with_what_makes_it_64_kib() {
    let outbox = outbox(1_000, 1 << 30, Overflow::Disconnect);
    for bytes in [16_384, 16_384, 16_384, 16_384, 16_000, 50_000, 1_000] {
        outbox.push_message(&of_size(bytes), 0);
    }
    let taken = [(); 3].map(|()| take(&outbox).unwrap().len());
    assert_eq!(taken, [4, 2, 1]);
}

#[test]
fn a_batch_says_when_its_first_message_was_accepted() {
    let outbox = outbox(10, 1 << 20, Overflow::Disconnect);
    let first = envelope(b"first");
    let mut context = Context::from_waker(Waker::noop());
    outbox.push_notice(&ack(1));
    assert_eq!(outbox.poll_take(&mut context, &mut Vec::new()), Poll::Ready(Taken::Batch(None)));
    outbox.push_notice(&ack(2));
    outbox.push_message(&first, 0);
    outbox.push_message(&envelope(b"second"), 0);
    let accepted = Some(first.accepted());
    assert_eq!(outbox.poll_take(&mut context, &mut Vec::new()), Poll::Ready(Taken::Batch(accepted)));
}

#[test]
fn room_is_there_until_half_of_the_bytes_wait_too() {
    let message = envelope(&[0; 1_000]);
    let outbox = outbox(1_000, message.bytes(0) * 4, Overflow::Disconnect);
    for _ in 0..2 {
        outbox.push_message(&message, 0);
        assert!(outbox.has_room() && room(&outbox).0);
    }
    outbox.push_message(&message, 0);
    assert!(!outbox.has_room() && !room(&outbox).0);
}

#[test]
fn who_waits_for_room_is_woken_when_there_is_some_and_not_before() {
    let outbox = outbox(256, 1 << 20, Overflow::Disconnect);
    let idle = room(&outbox).1;
    for request in 0..256 {
        outbox.push_notice(&ack(request));
    }
    let (has_room, session) = room(&outbox);
    assert!(!has_room);
    take(&outbox);
    assert_eq!(session.rings(), 0, "taken is not written");
    take(&outbox);
    assert_eq!(session.rings(), 1, "half of 256 are written");
    assert!(room(&outbox).0);
    // Who waits for a signal alone is left in peace, however much is written.
    let (bell, waker) = Bell::new();
    assert!(outbox.poll_signal(&mut Context::from_waker(&waker)).is_pending());
    while take(&outbox).is_some() {}
    assert_eq!((bell.rings(), idle.rings()), (0, 0));
}

#[test]
fn who_waits_for_room_is_not_woken_while_it_is_not_there() {
    let outbox = outbox(400, 1 << 20, Overflow::Disconnect);
    for request in 0..400 {
        outbox.push_notice(&ack(request));
    }
    take(&outbox);
    let session = room(&outbox).1;
    take(&outbox);
    assert_eq!(session.rings(), 0, "272 of 400 are left");
    take(&outbox);
    assert_eq!(session.rings(), 1, "144 of 400 are left");
}

#[test]
fn what_is_purged_makes_room() {
    let lobby = |target: &Target| *target == Target::All;
    let outbox = outbox(4, 1 << 20, Overflow::Disconnect);
    outbox.push_notice(&ack(1));
    outbox.push_message(&envelope(b"x"), 0);
    outbox.push_notice(&ack(2));
    let session = room(&outbox).1;
    outbox.push_notice(&ack(3));
    assert_eq!(outbox.purge(lobby, |_| false), 1);
    assert_eq!(session.rings(), 0, "three of four");
    take(&outbox);
    take(&outbox);
    assert_eq!(session.rings(), 1);
    for _ in 0..3 {
        outbox.push_message(&envelope(b"x"), 0);
    }
    let session = room(&outbox).1;
    assert_eq!(outbox.purge(lobby, |_| false), 3);
    assert_eq!(session.rings(), 1);
    assert_eq!(depth(&outbox), (0, 0));
}

#[test]
fn what_is_kept_by_a_purge_counts_with_the_bytes_that_it_has_then() {
    let bob = UserName::new("somebody with a long name").unwrap();
    let to = vec![Target::All, Target::User(bob)];
    let both = Envelope::new(&alice(), to, event(), BINARY, Bytes::from_static(b"payload"), Instant::now());
    let both = Arc::new(both);
    assert_ne!(both.bytes(0), both.bytes(1));
    let outbox = outbox(10, 1 << 20, Overflow::Disconnect);
    let run = run(b"x", 3);
    outbox.push_message(&run, 0);
    outbox.push_message(&both, 0);
    outbox.push_message(&run, 0);
    let kept = |target: &Target| matches!(target, Target::User(_));
    assert_eq!(outbox.purge(|target| *target == Target::All, kept), 6);
    assert_eq!(depth(&outbox), (1, both.bytes(1)));
}

#[test]
fn promise_11_what_went_through_and_what_was_dropped_is_counted() {
    let outbox = outbox(4, 1 << 20, Overflow::DropOldest);
    outbox.push_notice(&ack(1));
    outbox.push_message(&run(b"x", 2), 0);
    let run = run(b"x", 3);
    assert_eq!(outbox.push_message(&run, 0), Pushed::Displaced(2));
    let bytes = run.bytes(0) + codec::encode_server(&ack(1)).len();
    let facts = OutboxFacts { frames: 4, bytes, messages: 5, dropped: 2 };
    assert_eq!(outbox.facts(), facts);
    take(&outbox);
    assert_eq!(outbox.push_message(&run, 0), Pushed::Dropped(3));
    assert_eq!(outbox.push_message(&run, 0), Pushed::Dropped(3));
    assert_eq!(outbox.facts(), OutboxFacts { dropped: 8, ..facts });
}

#[test]
fn memory_is_kept_for_what_comes_again_and_given_back_after_a_crowd() {
    let outbox = outbox(1_000, 1 << 20, Overflow::Disconnect);
    let mut places_after = |frames: u64| {
        *outbox.state.lock().queue.memory() = VecDeque::with_capacity(usize::try_from(frames).unwrap());
        assert!(take(&outbox).is_none());
        outbox.state.lock().queue.memory().capacity()
    };
    assert_eq!([4, 32, 33].map(&mut places_after), [4, 32, 0]);
    let mut context = Context::from_waker(Waker::noop());
    let kept = [4, 32, 33].map(|places| {
        let mut chunks = Vec::with_capacity(places);
        assert!(outbox.poll_take(&mut context, &mut chunks).is_pending());
        chunks.capacity()
    });
    assert_eq!(kept, [4, 32, 0]);
}

#[test]
fn a_peer_that_takes_nothing_of_what_is_written_is_noticed() {
    let outbox = outbox(10, 1 << 20, Overflow::Disconnect);
    let _writer = waiting_writer(&outbox);
    assert_eq!([outbox.look(), outbox.look()], [0, 0], "there is nothing to take");
    outbox.push_notice(&ack(1));
    assert_eq!([outbox.look(), outbox.look()], [0, 0], "nothing is being written yet");
    take(&outbox);
    assert_eq!([outbox.look(), outbox.look(), outbox.look()], [0, 1, 2]);
    outbox.progressed();
    assert_eq!([outbox.look(), outbox.look()], [0, 1], "it took a part");
    outbox.progressed();
    outbox.progressed();
    assert_eq!([outbox.look(), outbox.look()], [0, 1]);
    assert!(take(&outbox).is_none());
    assert_eq!([outbox.look(), outbox.look()], [0, 0], "it took all");
}
