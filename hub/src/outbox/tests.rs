//! The outbox's tests: bounds, order, the two policies, and how it ends.

mod account;
mod ending;
mod held;
mod pace;
mod produce;

use proptest::prelude::*;

use super::*;
use fanfare_protocol::{ConnectionId, EventName, PayloadFormat, Sender, Target, UserName};

const BINARY: PayloadFormat = PayloadFormat::Binary;

fn envelope(payload: &[u8]) -> Arc<Envelope> {
    let payload = Bytes::copy_from_slice(payload);
    Arc::new(Envelope::new(&alice(), vec![Target::All], event(), BINARY, payload, Instant::now()))
}

/// A message whose frame has exactly so many bytes.
fn of_size(bytes: usize) -> Arc<Envelope> {
    let around = envelope(&vec![0; bytes]).bytes(0) - bytes;
    // Lengths are written in more or fewer bytes.
    let mut envelopes = (0..=around).rev().map(|around| envelope(&vec![0; bytes - around]));
    envelopes.find(|envelope| envelope.bytes(0) == bytes).unwrap()
}

/// So many messages with the same payload, as one run.
fn run(payload: &[u8], count: usize) -> Arc<Envelope> {
    let messages = vec![(event(), BINARY, Bytes::copy_from_slice(payload)); count];
    Arc::new(Envelope::run(&alice(), Target::All, messages, Instant::now()))
}

fn alice() -> Sender {
    Sender::Connection {
        connection: ConnectionId::from_bytes([1; 16]),
        user: UserName::new("alice").unwrap(),
    }
}

fn event() -> EventName {
    EventName::new("E").unwrap()
}

fn outbox(frames: usize, bytes: usize, overflow: Overflow) -> Outbox {
    Outbox::new(OutboxLimits { frames, bytes, overflow })
}

/// Takes one batch, decoded; `None` when there is nothing to take now.
fn take(outbox: &Outbox) -> Option<Vec<ServerFrame>> {
    let mut chunks = Vec::new();
    match outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut chunks) {
        Poll::Ready(Taken::Batch(_)) => Some(frames(&chunks)),
        _ => None,
    }
}

fn frames(chunks: &[Bytes]) -> Vec<ServerFrame> {
    let mut bytes = Bytes::from(chunks.concat());
    let mut reader = codec::FrameReader::new(u32::MAX);
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
        found.push(codec::decode_server(&frame).unwrap());
    }
    found
}

fn first_byte(frame: &ServerFrame) -> u8 {
    match frame {
        ServerFrame::Message(message) => message.payload[0],
        other => panic!("not a message: {other:?}"),
    }
}

fn ack(request: u64) -> ServerFrame {
    ServerFrame::Ack { request, count: 0 }
}

/// Frames and bytes that wait, in the writer's hands included.
fn depth(outbox: &Outbox) -> (usize, usize) {
    let facts = outbox.facts();
    (facts.frames, facts.bytes)
}

fn signal(outbox: &Outbox) -> Poll<Signal> {
    outbox.poll_signal(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn frames_come_out_in_order_and_the_payload_is_not_copied() {
    let outbox = outbox(10, 100_000, Overflow::Disconnect);
    let large = envelope(&[9; 5_000]);
    outbox.push_message(&large, 0);
    outbox.push_notice(&ack(1));
    let mut chunks = Vec::new();
    let taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut chunks);
    assert!(matches!(taken, Poll::Ready(Taken::Batch(_))));
    let mut shared = Vec::new();
    large.write(0, &mut shared);
    assert_eq!(chunks[0].as_ptr(), shared[0].as_ptr());
    assert_eq!(frames(&chunks)[1], ack(1));
}

#[test]
fn promise_6_a_full_outbox_disconnects_and_forgets() {
    let outbox = outbox(3, 100_000, Overflow::Disconnect);
    let message = envelope(b"x");
    for _ in 0..3 {
        assert_eq!(outbox.push_message(&message, 0), Pushed::Queued);
    }
    assert!(signal(&outbox).is_pending());
    assert_eq!(outbox.push_message(&message, 0), Pushed::Overflowed);
    assert_eq!(outbox.push_message(&message, 0), Pushed::Ended);
    assert_eq!(signal(&outbox), Poll::Ready(Signal::End(Code::SlowConsumer.into())));
    assert_eq!(depth(&outbox), (0, 0));
    assert_eq!(Arc::strong_count(&message), 1, "a closed outbox still holds messages");
}

#[test]
fn promise_6_the_bound_in_bytes_counts_what_is_being_written() {
    let message = envelope(&[0; 1_000]);
    let outbox = outbox(1_000, message.bytes(0) * 4, Overflow::Disconnect);
    for _ in 0..3 {
        assert_eq!(outbox.push_message(&message, 0), Pushed::Queued);
    }
    // The writer takes all three, and hangs in its write.
    assert_eq!(take(&outbox).unwrap().len(), 3);
    assert_eq!(outbox.push_message(&message, 0), Pushed::Queued);
    assert_eq!(outbox.push_message(&message, 0), Pushed::Overflowed);
}

#[test]
fn promise_6_drop_oldest_keeps_the_newest_and_tells_how_many_went() {
    let outbox = outbox(4, 100_000, Overflow::DropOldest);
    outbox.push_notice(&ack(1));
    for number in 0..3 {
        assert_eq!(outbox.push_message(&envelope(&[number]), 0), Pushed::Queued);
    }
    for number in 3..10 {
        assert_eq!(outbox.push_message(&envelope(&[number]), 0), Pushed::Displaced(1));
    }
    assert_eq!(outbox.push_notice(&ack(2)), Pushed::Displaced(1));
    let frames = take(&outbox).unwrap();
    assert_eq!(frames[0], ServerFrame::Lagged { dropped: 8 });
    assert_eq!(frames[1], ack(1));
    assert_eq!([first_byte(&frames[2]), first_byte(&frames[3])], [8, 9]);
    assert_eq!(frames[4], ack(2));
    assert_eq!(frames.len(), 5);
    // The writer is still at it; the bound holds, and what does not fit is counted.
    assert_eq!(outbox.push_message(&envelope(&[10]), 0), Pushed::Dropped(1));
    assert!(take(&outbox).is_none());
    outbox.push_notice(&ack(3));
    assert_eq!(take(&outbox).unwrap(), [ServerFrame::Lagged { dropped: 1 }, ack(3)]);
    assert!(take(&outbox).is_none());
    // The client was told; it is not told again.
    outbox.push_notice(&ack(3));
    assert_eq!(take(&outbox).unwrap(), [ack(3)]);
}

#[test]
fn promise_6_drop_oldest_disconnects_for_a_notice_that_does_not_fit() {
    let outbox = outbox(2, 100_000, Overflow::DropOldest);
    outbox.push_notice(&ack(1));
    outbox.push_notice(&ack(2));
    assert_eq!(outbox.push_message(&envelope(b"x"), 0), Pushed::Dropped(1));
    assert_eq!(outbox.push_notice(&ack(3)), Pushed::Overflowed);
}

#[test]
fn room_is_there_until_the_queue_is_half_full_and_comes_back_with_the_writer() {
    let outbox = outbox(4, 100_000, Overflow::Disconnect);
    let room = |outbox: &Outbox| outbox.poll_room(&mut Context::from_waker(Waker::noop())).is_ready();
    for request in 0..3 {
        assert!(room(&outbox));
        outbox.push_notice(&ack(request));
    }
    assert!(!room(&outbox));
    take(&outbox);
    assert!(!room(&outbox), "taken is not written");
    assert!(take(&outbox).is_none());
    assert!(room(&outbox));
}

#[test]
fn there_is_much_room_until_a_quarter_is_taken() {
    let by_number = outbox(8, 100_000, Overflow::Disconnect);
    let by_bytes = outbox(100, 8 * codec::encode_server(&ack(0)).len(), Overflow::Disconnect);
    for outbox in [by_number, by_bytes] {
        for request in 0..2 {
            outbox.push_notice(&ack(request));
            assert!(outbox.has_much_room(), "{request}");
        }
        outbox.push_notice(&ack(2));
        assert!(!outbox.has_much_room());
    }
}

#[test]
fn finishing_writes_what_was_queued_and_the_last_word() {
    let outbox = outbox(2, 100_000, Overflow::Disconnect);
    outbox.push_notice(&ack(1));
    outbox.push_notice(&ack(2));
    outbox.stop_reading();
    assert_eq!(signal(&outbox), Poll::Ready(Signal::StopReading));
    let goodbye = ServerFrame::Goodbye { code: 1001, reason: "r".into(), retry_after_ms: 1 };
    outbox.finish(Some(&goodbye));
    assert_eq!(outbox.push_notice(&ack(3)), Pushed::Ended);
    assert_eq!(take(&outbox).unwrap(), [ack(1), ack(2), goodbye]);
    let finished = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
    assert_eq!(finished, Poll::Ready(Taken::Finished));
}

#[test]
fn the_first_ending_stays() {
    let outbox = outbox(2, 100_000, Overflow::Disconnect);
    outbox.end(Code::SlowConsumer.into());
    outbox.end(Code::Internal.into());
    outbox.finish(None);
    assert_eq!(signal(&outbox), Poll::Ready(Signal::End(Code::SlowConsumer.into())));
}

#[test]
fn a_queue_that_was_long_gives_its_memory_back() {
    let outbox = outbox(1_000, 100_000_000, Overflow::Disconnect);
    for request in 0..1_000 {
        outbox.push_notice(&ack(request));
    }
    while take(&outbox).is_some() {}
    assert_eq!(outbox.state.lock().queue.memory().capacity(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    /// What is in each of its messages, how long each is, and how many it has.
    Run(u8, usize, usize),
    Notice,
    Take,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), 1usize..400, 1usize..4).prop_map(|(tag, length, count)| Step::Run(tag, length, count)),
        1 => Just(Step::Notice),
        2 => Just(Step::Take),
    ]
}

proptest! {
    /// Against a plain model: a list, with the bounds counted anew at every step.
    #[test]
    fn any_steps_keep_bounds_order_and_count(
        steps in proptest::collection::vec(any_step(), 1..200),
        drop_oldest: bool,
    ) {
        let overflow = if drop_oldest { Overflow::DropOldest } else { Overflow::Disconnect };
        let (max_frames, max_bytes) = (6, 1_500);
        let outbox = outbox(max_frames, max_bytes, overflow);
        // (what it is, bytes, may be dropped); what is being written is counted, but out of reach.
        let mut queue: Vec<(Vec<ServerFrame>, usize, bool)> = Vec::new();
        let length = |queue: &[(Vec<ServerFrame>, usize, bool)]| queue.iter().map(|entry| entry.0.len()).sum::<usize>();
        let mut writing = (0, 0);
        let mut dropped = 0u64;
        let mut requests = 0;
        for step in steps {
            let (entry, pushed) = match step {
                Step::Take => {
                    let mut expected: Vec<ServerFrame> = Vec::new();
                    if dropped > 0 && !queue.is_empty() {
                        expected.push(ServerFrame::Lagged { dropped });
                        dropped = 0;
                    }
                    writing = (length(&queue), queue.iter().map(|entry| entry.1).sum());
                    expected.extend(queue.drain(..).flat_map(|entry| entry.0));
                    prop_assert_eq!(take(&outbox).unwrap_or_default(), expected);
                    prop_assert_eq!(depth(&outbox), writing);
                    continue;
                }
                Step::Run(tag, length, count) => {
                    let envelope = run(&vec![tag; length], count);
                    let mut chunks = Vec::new();
                    envelope.write(0, &mut chunks);
                    prop_assert_eq!(frames(&chunks).len(), count);
                    ((frames(&chunks), envelope.bytes(0), true), outbox.push_message(&envelope, 0))
                }
                Step::Notice => {
                    requests += 1;
                    let bytes = codec::encode_server(&ack(requests)).len();
                    ((vec![ack(requests)], bytes, false), outbox.push_notice(&ack(requests)))
                }
            };
            let mut displaced = 0;
            let fits = loop {
                let frames = length(&queue) + writing.0;
                let bytes = queue.iter().map(|entry| entry.1).sum::<usize>() + writing.1;
                if frames + entry.0.len() <= max_frames && bytes + entry.1 <= max_bytes {
                    break true;
                }
                let oldest = queue.iter().position(|entry| entry.2);
                let Some(oldest) = oldest.filter(|_| drop_oldest) else { break false };
                displaced += queue.remove(oldest).0.len() as u64;
            };
            dropped += displaced;
            if !fits && drop_oldest && entry.2 {
                dropped += entry.0.len() as u64;
                prop_assert_eq!(pushed, Pushed::Dropped(displaced + entry.0.len() as u64));
                continue;
            }
            if !fits {
                prop_assert_eq!(pushed, Pushed::Overflowed);
                prop_assert_eq!(depth(&outbox), writing);
                return Ok(());
            }
            queue.push(entry);
            let expected = if displaced == 0 { Pushed::Queued } else { Pushed::Displaced(displaced) };
            prop_assert_eq!(pushed, expected);
            let (frames, bytes) = depth(&outbox);
            prop_assert_eq!(frames, length(&queue) + writing.0);
            prop_assert!(frames <= max_frames && bytes <= max_bytes);
        }
    }
}

/// However many wait for room: it is looked for and taken in one step.
#[test]
fn what_the_application_makes_waits_for_room_and_never_overflows() {
    let outbox = Outbox::new(OutboxLimits { frames: 8, bytes: 8_000, overflow: Overflow::Disconnect });
    let frame = Bytes::from(vec![0; 1_500]);
    let mut context = Context::from_waker(Waker::noop());
    let mut queued = 0;
    while outbox.poll_produce(&mut context, &frame).is_ready() {
        queued += 1;
        assert!(queued < 9);
    }
    assert_eq!((queued, outbox.facts().bytes), (3, 4_500));
    // What the client asked for itself has the other half.
    assert_eq!(outbox.push_notice(&ServerFrame::Lagged { dropped: 1 }), Pushed::Queued);
    let mut chunks = Vec::new();
    assert!(matches!(outbox.poll_take(&mut context, &mut chunks), Poll::Ready(Taken::Batch(None))));
    assert!(outbox.poll_produce(&mut context, &frame).is_pending(), "the writer still has it in hand");
    chunks.clear();
    assert!(outbox.poll_take(&mut context, &mut chunks).is_pending());
    assert_eq!(outbox.poll_produce(&mut context, &frame), Poll::Ready(true));
    outbox.end(Code::Normal.into());
    assert_eq!(outbox.poll_produce(&mut context, &frame), Poll::Ready(false));
}

/// A frame is counted as one, however little is in it.
#[test]
fn a_frame_without_bytes_gives_its_place_back_as_every_other() {
    let outbox = outbox(2, 1_000, Overflow::Disconnect);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..5 {
        assert_eq!(outbox.poll_produce(&mut context, &Bytes::new()), Poll::Ready(true));
        while take(&outbox).is_some() {}
        assert_eq!(depth(&outbox), (0, 0));
    }
}
