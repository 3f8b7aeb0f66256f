use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use fanfare_protocol::{Code, ConnectionId, EventName, GroupName, PayloadFormat, Sender, Target, UserName};

use super::*;
use crate::envelope::Envelope;
use crate::{
    BudgetLimits, Hub, HubLimits, Newcomer, Nowhere, Open, Origin, OutboxLimits, Overflow, Publication,
    Removal, Seat, Taken,
};

/// Says messages as words, and notices by their names; of `Joined` it says nothing.
struct Words {
    translation: Translation,
    /// How many messages it was asked for, whoever asked.
    asked: Arc<AtomicUsize>,
    /// How long a message without words is.
    length: Arc<AtomicUsize>,
}

impl Dialect for Words {
    fn translation(&self) -> Translation {
        self.translation
    }

    fn message(&self, message: &Message) -> Bytes {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if message.payload.is_empty() {
            return vec![b'x'; self.length.load(Ordering::Relaxed)].into();
        }
        format!("{:?} {}\n", self.translation, message.text().unwrap()).into()
    }

    fn notice(&self, frame: &ServerFrame) -> Bytes {
        match frame {
            ServerFrame::Joined { .. } | ServerFrame::Ack { .. } => Bytes::new(),
            ServerFrame::Removed { group, .. } => format!("removed from {group}\n").into(),
            ServerFrame::Lagged { dropped } => format!("lagged {dropped}\n").into(),
            other => panic!("{other:?}"),
        }
    }
}

struct World {
    hub: Hub<()>,
    asked: Arc<AtomicUsize>,
    length: Arc<AtomicUsize>,
}

impl World {
    fn new(outbox: OutboxLimits) -> Self {
        Self::within(HubLimits { outbox, ..HubLimits::default() })
    }

    fn within(limits: HubLimits) -> Self {
        Self { hub: Hub::new(limits, Arc::new(Open)), asked: Arc::default(), length: Arc::default() }
    }

    fn seat(&self, number: u8, translation: Option<Translation>) -> Seat<()> {
        let dialect = translation.map(|translation| {
            Arc::new(Words { translation, asked: Arc::clone(&self.asked), length: Arc::clone(&self.length) })
                as Arc<dyn Dialect>
        });
        let newcomer = Newcomer {
            connection: ConnectionId::from_bytes([number; 16]),
            user: UserName::new(&format!("user {number}")).unwrap(),
            source: [127, 0, 0, 1].into(),
            line: Arc::new(Nowhere),
            permissions: (),
            dialect,
        };
        let first = ServerFrame::Ack { request: 0, count: 0 };
        let now = (Instant::now(), SystemTime::now());
        self.hub.register(newcomer, &first, now).ok().unwrap()
    }

    fn join(&self, seat: &Seat<()>, group: &GroupName) {
        self.hub.join(seat.member(), group, Origin::Client).unwrap();
    }

    fn publication(to: Vec<Target>, text: &str) -> Publication {
        Publication {
            from: Sender::Server,
            to,
            except: Vec::new(),
            event: event(),
            format: PayloadFormat::Text,
            payload: Bytes::copy_from_slice(text.as_bytes()),
            accepted: Instant::now(),
            counts: false,
        }
    }

    fn send(&self, to: Vec<Target>, text: &str) -> u64 {
        self.hub.send(Self::publication(to, text)).unwrap().queued
    }
}

fn event() -> EventName {
    EventName::new("E").unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// What waits for it, taken and written.
fn read(seat: &Seat<()>) -> String {
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    let mut said = Vec::new();
    while let Poll::Ready(Taken::Batch(_)) = seat.member().outbox().poll_take(&mut context, &mut chunks) {
        said.append(&mut chunks);
    }
    String::from_utf8(said.concat()).unwrap()
}

#[test]
fn promise_5_a_message_is_translated_once_for_all_who_want_it_and_not_where_nobody_does() {
    let world = World::new(OutboxLimits::default());
    let native: Vec<_> = (0..3).map(|number| world.seat(number, None)).collect();
    assert_eq!(world.send(vec![Target::All], "for frames alone"), 3);
    assert_eq!(world.asked.load(Ordering::Relaxed), 0);
    let first: Vec<_> = (10..15).map(|number| world.seat(number, Some(Translation::First))).collect();
    let second: Vec<_> = (20..25).map(|number| world.seat(number, Some(Translation::Second))).collect();
    // Several targets have several headings, and one translation.
    let several = first.iter().map(|seat| Target::Connection(seat.member().id())).chain([Target::All]);
    assert_eq!(world.send(several.collect(), "hello"), 13);
    assert_eq!(world.asked.load(Ordering::Relaxed), 2);
    let run = ["one", "two"].map(|text| (EventName::new("E").unwrap(), PayloadFormat::Text, text.into()));
    world.hub.send_run(&Sender::Server, Target::All, &[], run.into(), Instant::now()).unwrap();
    assert_eq!(world.asked.load(Ordering::Relaxed), 6);
    for seat in &first {
        assert_eq!(read(seat), "First hello\nFirst one\nFirst two\n");
        assert_eq!(seat.member().deliveries(), (3, 0));
    }
    for seat in &second {
        assert_eq!(read(seat), "Second hello\nSecond one\nSecond two\n");
    }
    assert!(read(&native[0]).contains("hello"));
}

#[test]
fn promise_8_nothing_of_a_group_comes_behind_a_removal_in_a_translation_either() {
    let world = World::new(OutboxLimits::default());
    let seat = world.seat(1, Some(Translation::First));
    let (room, lobby) = (group("room"), group("lobby"));
    world.join(&seat, &room);
    world.send(vec![Target::Group(room.clone())], "to the room");
    world.send(vec![Target::Group(room.clone()), Target::Group(lobby.clone())], "before the lobby");
    world.join(&seat, &lobby);
    world.send(vec![Target::Group(room.clone()), Target::Group(lobby)], "to both");
    let facts = seat.member().outbox().facts();
    let why = Removal { code: Code::RemovedFromGroup, reason: "enough" };
    let removed = world.hub.remove(&[Arc::clone(seat.member())], |name, _| *name == room, why);
    assert_eq!(removed.purged, 2, "what came by the room alone, and what came before the lobby was joined");
    let left = seat.member().outbox().facts();
    assert_eq!(left.frames, facts.frames - 2 + 1);
    assert_eq!(read(&seat), "First to both\nremoved from room\n");
    let empty = seat.member().outbox().facts();
    assert_eq!((empty.frames, empty.bytes), (0, 0), "what was counted is what was written");
}

#[test]
fn promise_11_what_is_dropped_is_told_in_the_client_s_words() {
    let limits = OutboxLimits { frames: 2, overflow: Overflow::DropOldest, ..OutboxLimits::default() };
    let world = World::new(limits);
    let seat = world.seat(1, Some(Translation::Second));
    for text in ["one", "two", "three", "four"] {
        world.send(vec![Target::All], text);
    }
    assert_eq!(read(&seat), "lagged 2\nSecond three\nSecond four\n");
}

#[test]
fn a_translation_that_is_longer_than_all_that_may_wait_is_missed_and_closes_nobody() {
    for overflow in [Overflow::Disconnect, Overflow::DropOldest] {
        let world = World::new(OutboxLimits { bytes: 1_000, overflow, ..OutboxLimits::default() });
        let (native, seat) = (world.seat(1, None), world.seat(2, Some(Translation::First)));
        world.length.store(1_001, Ordering::Relaxed);
        let delivery = world.hub.send(World::publication(vec![Target::All], "")).unwrap();
        assert_eq!((delivery.queued, delivery.displaced, delivery.overflowed), (1, 1, 0), "{overflow:?}");
        assert_eq!(seat.member().outbox().close_reason(), None);
        assert_eq!(seat.member().outbox().facts().dropped, 1);
        world.length.store(1_000, Ordering::Relaxed);
        assert_eq!(world.send(vec![Target::All], ""), 2);
        assert_eq!(read(&seat), format!("lagged 1\n{}", "x".repeat(1_000)));
        drop(native);
    }
}

#[test]
fn promise_6_what_counts_is_the_translation_or_what_is_kept_with_it_where_that_is_more() {
    let short = Envelope::new(
        &Sender::Server,
        vec![Target::All],
        event(),
        PayloadFormat::Text,
        Bytes::new(),
        Instant::now(),
    );
    for (translation, bytes) in [(short.bytes(0) * 2, short.bytes(0) * 2), (1, short.bytes(0))] {
        let world = World::new(OutboxLimits { bytes: 10_000, ..OutboxLimits::default() });
        world.length.store(translation, Ordering::Relaxed);
        let seat = world.seat(1, Some(Translation::First));
        assert_eq!(world.send(vec![Target::All], ""), 1);
        assert_eq!(seat.member().outbox().facts().bytes, bytes);
    }
    let world = World::new(OutboxLimits { bytes: short.bytes(0), ..OutboxLimits::default() });
    let seat = world.seat(1, Some(Translation::First));
    assert_eq!(world.send(vec![Target::All], ""), 1, "as many as may wait");
    assert_eq!(world.send(vec![Target::All], ""), 0);
    assert_eq!(seat.member().outbox().close_reason().unwrap().code, Code::SlowConsumer);
}

#[test]
fn a_datagram_is_a_message_where_there_is_plenty_of_room_and_else_dropped() {
    let world = World::new(OutboxLimits { frames: 4, ..OutboxLimits::default() });
    let seat = world.seat(1, Some(Translation::First));
    let send = |text| world.hub.send_unreliable(World::publication(vec![Target::All], text)).unwrap();
    let queued: Vec<_> = ["one", "two", "three", "four"].map(send).iter().map(|sent| sent.queued).collect();
    assert_eq!(queued, [1, 1, 1, 0]);
    assert_eq!(seat.member().deliveries(), (3, 1));
    assert_eq!(read(&seat), "First one\nFirst two\nFirst three\n");
}

#[test]
fn a_datagram_for_which_all_together_have_no_room_is_dropped_and_closes_nobody() {
    let budget = BudgetLimits { per_user: 16 * 1024, ..BudgetLimits::default() };
    let world = World::within(HubLimits { budget, ..HubLimits::default() });
    let seat = world.seat(1, Some(Translation::First));
    let send = |length: usize| {
        world.length.store(length, Ordering::Relaxed);
        world.hub.send_unreliable(World::publication(vec![Target::All], "")).unwrap().queued
    };
    assert_eq!([send(20_000), send(1_000), send(1_000)], [1, 0, 0], "four KiB and a step are taken");
    assert_eq!(seat.member().outbox().close_reason(), None);
    assert_eq!(seat.member().deliveries(), (1, 2));
    assert_eq!(read(&seat).len(), 20_000);
    assert_eq!(send(1_000), 1);
}

#[test]
fn what_a_client_is_not_told_of_takes_no_place() {
    let world = World::new(OutboxLimits::default());
    let seat = world.seat(1, Some(Translation::First));
    let outbox = seat.member().outbox();
    let untold = ServerFrame::Ack { request: 1, count: 1 };
    outbox.push_notice(&untold);
    let mut context = Context::from_waker(Waker::noop());
    assert!(outbox.poll_produce(&mut context, &outbox.encode(&untold)).is_ready());
    assert_eq!(outbox.facts().frames, 0);
    outbox.finish(Some(&ServerFrame::Lagged { dropped: 3 }));
    assert_eq!(read(&seat), "lagged 3\n");
}
