//! What a hub that is one of several asks of the cluster, has it publish, and does with what comes.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{Code, GroupName, Limits, ServerFrame, UserName};
use parking_lot::Mutex;

use super::*;
use crate::cluster::{NoWay, NodeKey, Proof, Topic};
use crate::{Gate, HubLimits, Member, Newcomer, Nowhere, Origin, Population, Removal, Seat, Taken};

/// Notes what it is asked, and answers what it is told to.
#[derive(Default)]
struct Nodes {
    notes: Mutex<Vec<String>>,
    /// What is to be waited for next.
    proof: Mutex<Option<Arc<Proof>>>,
    is_paused: AtomicBool,
    is_cut_off: AtomicBool,
}

impl Nodes {
    fn note(&self, note: String) {
        self.notes.lock().push(note);
    }

    /// What was noted since the last time.
    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock())
    }

    /// Has whoever comes next wait.
    fn unproven(&self) -> Arc<Proof> {
        Arc::clone(self.proof.lock().insert(Proof::new()))
    }
}

fn named(topic: Topic<'_>) -> &str {
    match topic {
        Topic::User(user) => user.as_str(),
        Topic::Group(group) => group.as_str(),
    }
}

impl Cluster for Nodes {
    fn delivers(&self) -> bool {
        !self.is_paused.load(Ordering::Relaxed)
    }

    fn wants(&self, topic: Topic<'_>) -> Option<Arc<Proof>> {
        self.note(format!("wants {}", named(topic)));
        self.proof.lock().take()
    }

    fn left(&self, topic: Topic<'_>) {
        self.note(format!("left {}", named(topic)));
    }

    fn publish(&self, outgoing: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay> {
        if self.is_cut_off.load(Ordering::Relaxed) {
            return Err(NoWay);
        }
        let Outgoing { from, to, except, messages, lane, counts } = outgoing;
        assert_eq!(**from, Sender::Server);
        let messages: Vec<_> =
            messages.iter().map(|(event, _, payload)| format!("{event}({})", payload.len())).collect();
        self.note(format!("{} to {to:?} but {} by {lane:?}, {counts}", messages.join(" "), except.len(),));
        Ok(NonZeroU64::new(7).filter(|_| *counts).map(Ticket))
    }

    fn watches(&self, group: &GroupName, audience: u64) -> Vec<NodeKey> {
        self.note(format!("watches {group}, {audience}"));
        Vec::new()
    }

    fn unwatches(&self, group: &GroupName, audience: u64) {
        self.note(format!("unwatches {group}, {audience}"));
    }
}

/// Nobody may join what is called "forbidden", and nobody may be here who is.
struct Forbidden;

impl Gate<()> for Forbidden {
    fn enter(&self, user: &UserName, (): &()) -> Result<(), Denial> {
        if user.as_str() == "forbidden" { Err(Code::UserBanned.into()) } else { Ok(()) }
    }

    fn join(&self, _: &UserName, (): &(), group: &GroupName, _: Origin) -> Result<(), Denial> {
        if group.as_str() == "forbidden" { Err(Code::NotGranted.into()) } else { Ok(()) }
    }

    fn watch(&self, _: &UserName, (): &(), _: &GroupName) -> Result<(), Denial> {
        Ok(())
    }
}

fn one_of_several() -> (Hub<()>, Arc<Nodes>) {
    let (hub, nodes) =
        (Hub::new(HubLimits { per_user: 2, ..HubLimits::default() }, Arc::new(Forbidden)), Arc::default());
    hub.cluster(Arc::clone(&nodes) as _);
    (hub, nodes)
}

fn register(hub: &Hub<()>, number: u8, user: &str) -> Result<Seat<()>, Denial> {
    let newcomer = Newcomer {
        connection: ConnectionId::from_bytes([number; 16]),
        user: UserName::new(user).unwrap(),
        source: [127, 0, 0, 1].into(),
        line: Arc::new(Nowhere),
        permissions: (),
        dialect: None,
    };
    hub.register(newcomer, &ServerFrame::Ack { request: 0, count: 0 }, (Instant::now(), SystemTime::now()))
}

fn seat(hub: &Hub<()>, number: u8, user: &str) -> Seat<()> {
    register(hub, number, user).ok().unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn join(hub: &Hub<()>, seat: &Seat<()>, name: &str) -> Result<usize, Denial> {
    hub.join(seat.member(), &group(name), Origin::Client).map(|joined| joined.members)
}

fn to_room() -> Vec<Target> {
    vec![Target::Group(group("room"))]
}

fn event() -> EventName {
    EventName::new("E").unwrap()
}

fn publication(to: Vec<Target>, payload: usize) -> Publication {
    Publication {
        from: Sender::Server,
        to,
        except: vec![ConnectionId::from_bytes([9; 16])],
        event: event(),
        format: PayloadFormat::Binary,
        payload: vec![7; payload].into(),
        accepted: Instant::now(),
        counts: true,
    }
}

/// What a member's writer gets now, in words.
fn told(member: &Member<()>) -> Vec<String> {
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    let mut bytes = Vec::new();
    while let Poll::Ready(Taken::Batch(_)) = member.outbox().poll_take(&mut context, &mut chunks) {
        bytes.extend(chunks.drain(..).flatten());
    }
    let (mut bytes, mut words) = (Bytes::from(bytes), Vec::new());
    let mut reader = FrameReader::new(u32::MAX);
    while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
        words.push(match codec::decode_server(&frame).unwrap() {
            ServerFrame::Ack { .. } => "first".to_owned(),
            ServerFrame::Joined { group, members } => format!("joined {group} {members}"),
            ServerFrame::Removed { group, .. } => format!("removed {group}"),
            ServerFrame::Lagged { dropped } => format!("lagged {dropped}"),
            ServerFrame::Message(message) => format!("message {}", message.payload.len()),
            other => panic!("{other:?}"),
        });
    }
    words
}

#[test]
fn promise_18_each_membership_is_asked_for_when_it_begins_and_the_last_of_a_topic_says_so() {
    let (hub, nodes) = one_of_several();
    assert!(register(&hub, 9, "forbidden").is_err());
    let (phone, desk) = (seat(&hub, 1, "alice"), seat(&hub, 2, "alice"));
    assert_eq!(register(&hub, 3, "alice").err(), Some(Code::UserFull.into()));
    assert_eq!(nodes.notes(), ["wants alice", "wants alice"], "who is refused wants nothing");
    assert!(join(&hub, &phone, "forbidden").is_err());
    for seat in [&phone, &phone, &desk] {
        join(&hub, seat, "room").unwrap();
    }
    join(&hub, &phone, "hall").unwrap();
    assert_eq!(nodes.notes(), ["wants room", "wants room", "wants hall"], "who is in wants nothing more");
    hub.leave(phone.member(), &group("room"));
    assert!(nodes.notes().is_empty());
    hub.leave(desk.member(), &group("room"));
    assert_eq!(nodes.notes(), ["left room"]);
    let why = Removal { code: Code::RemovedFromGroup, reason: "" };
    hub.remove(&[Arc::clone(phone.member())], |_, _| true, why);
    assert_eq!(nodes.notes(), ["left hall"]);
    join(&hub, &phone, "room").unwrap();
    drop(desk);
    assert_eq!(nodes.notes(), ["wants room"]);
    drop(phone);
    assert_eq!(nodes.notes(), ["left room", "left alice"]);
    assert_eq!(hub.population(), Population::default());
}

#[test]
fn promise_18_joined_waits_for_its_proof_and_a_join_again_changes_nothing() {
    let (hub, nodes) = one_of_several();
    let alice = seat(&hub, 1, "alice");
    let proof = nodes.unproven();
    assert_eq!(join(&hub, &alice, "room"), Ok(1));
    hub.send(publication(to_room(), 1)).unwrap();
    assert_eq!(told(alice.member()), ["first"]);
    assert_eq!(join(&hub, &alice, "room"), Ok(1));
    assert_eq!(hub.join(alice.member(), &group("room"), Origin::Operator).unwrap().members, 1);
    assert_eq!(alice.member().outbox().facts().frames, 3, "the barrier, Joined, and the message");
    assert!(told(alice.member()).is_empty());
    proof.settle();
    assert_eq!(told(alice.member()), ["joined room 1", "message 1"]);
    // Nobody waits where it is proven.
    let bob = seat(&hub, 2, "bob");
    join(&hub, &bob, "room").unwrap();
    assert_eq!(told(bob.member()), ["first", "joined room 2"]);
}

#[test]
fn promise_18_nothing_reaches_a_connection_before_its_user_is_proven() {
    let (hub, nodes) = one_of_several();
    let proof = nodes.unproven();
    let alice = seat(&hub, 1, "alice");
    hub.send(publication(vec![Target::All], 1)).unwrap();
    assert!(told(alice.member()).is_empty());
    proof.settle();
    assert_eq!(told(alice.member()), ["first", "message 1"]);
}

#[test]
fn promise_8_who_is_removed_before_the_proof_is_told_that_it_joined_and_was_removed_and_no_message() {
    let (hub, nodes) = one_of_several();
    let alice = seat(&hub, 1, "alice");
    let proof = nodes.unproven();
    join(&hub, &alice, "room").unwrap();
    hub.send(publication(to_room(), 1)).unwrap();
    let why = Removal { code: Code::RemovedFromGroup, reason: "" };
    let removed = hub.remove(&[Arc::clone(alice.member())], |_, _| true, why);
    assert_eq!(removed.purged, 1);
    hub.send(publication(to_room(), 2)).unwrap();
    hub.send(publication(vec![Target::All], 3)).unwrap();
    assert_eq!(told(alice.member()), ["first"]);
    proof.settle();
    assert_eq!(told(alice.member()), ["joined room 1", "removed room", "message 3"]);
    assert_eq!(alice.member().outbox().facts().frames, 0);
}

/// What a waker has done.
#[derive(Default)]
struct Bell(AtomicBool);

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn promise_18_who_waits_for_the_end_of_a_pause_is_woken_when_it_is_over() {
    let (hub, nodes) = one_of_several();
    let alice = seat(&hub, 1, "alice");
    assert_eq!(told(alice.member()), ["first"]);
    nodes.is_paused.store(true, Ordering::Relaxed);
    hub.deliver(publication(vec![Target::All], 1)).unwrap();
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(Arc::clone(&bell));
    let mut chunks = Vec::new();
    let taken = alice.member().outbox().poll_take(&mut Context::from_waker(&waker), &mut chunks);
    assert!(matches!(taken, Poll::Pending));
    nodes.is_paused.store(false, Ordering::Relaxed);
    assert!(!bell.0.load(Ordering::Relaxed), "nobody has said so");
    hub.resume();
    assert!(bell.0.load(Ordering::Relaxed));
    assert_eq!(told(alice.member()), ["message 1"]);
}

/// A message that somebody elsewhere may want, and that cannot be sent there, would reach some of those whom it is for.
#[test]
fn what_cannot_be_sent_to_other_nodes_reaches_nobody_here() {
    let (hub, nodes) = one_of_several();
    let alice = seat(&hub, 1, "alice");
    join(&hub, &alice, "room").unwrap();
    assert_eq!(told(alice.member()), ["first", "joined room 1"]);
    nodes.is_cut_off.store(true, Ordering::Relaxed);
    let run = vec![(event(), PayloadFormat::Binary, Bytes::from_static(b"x")); 2];
    let run = hub.send_run(&Sender::Server, to_room().remove(0), &[], run, Instant::now());
    for refused in [hub.send(publication(to_room(), 1)), hub.send_unreliable(publication(to_room(), 1)), run]
    {
        assert_eq!(refused.map(|_| ()), Err(Code::CutOff.into()));
    }
    assert!(told(alice.member()).is_empty());
    nodes.is_cut_off.store(false, Ordering::Relaxed);
    hub.send(publication(to_room(), 1)).unwrap();
    assert_eq!(told(alice.member()), ["message 1"]);
}

#[test]
fn promise_18_what_is_sent_is_published_as_it_is_and_what_is_refused_is_not() {
    let (hub, nodes) = one_of_several();
    let delivery = hub.send(publication(to_room(), 3)).unwrap();
    assert_eq!(delivery.elsewhere, NonZeroU64::new(7).map(Ticket));
    let to = "[Group(\"room\")]";
    assert_eq!(nodes.notes(), [format!("E(3) to {to} but 1 by Stream, true")]);

    let uncounted = Publication { counts: false, ..publication(to_room(), 4) };
    assert_eq!(hub.send_unreliable(uncounted).unwrap().elsewhere, None);
    assert_eq!(nodes.notes(), [format!("E(4) to {to} but 1 by Datagrams, false")]);

    let run = |payloads: &[usize]| {
        let message = |bytes: &usize| (event(), PayloadFormat::Binary, Bytes::from(vec![7; *bytes]));
        let messages = payloads.iter().map(message).collect();
        hub.send_run(&Sender::Server, Target::Group(group("room")), &[], messages, Instant::now())
    };
    assert_eq!(run(&[1, 2]).unwrap().elsewhere, None);
    assert_eq!(nodes.notes(), [format!("E(1) E(2) to {to} but 0 by Stream, false")]);

    let longest = Limits::PAYLOAD_CEILING as usize;
    assert!(hub.send(publication(Vec::new(), 1)).is_err());
    assert!(hub.send(publication(to_room(), longest + 1)).is_err());
    assert!(hub.send_unreliable(publication(to_room(), 2_000)).is_err());
    assert!(run(&[longest + 1]).is_err());
    assert_eq!(run(&[]), Ok(Delivery::default()));
    assert!(nodes.notes().is_empty());
    assert_eq!(hub.counters().sends.value(), 4);
}

#[test]
fn promise_14_what_comes_from_another_node_is_checked_counted_and_never_published_again() {
    let (hub, nodes) = one_of_several();
    let alice = seat(&hub, 1, "alice");
    let excepted = seat(&hub, 9, "bob");
    for seat in [&alice, &excepted] {
        join(&hub, seat, "room").unwrap();
        told(seat.member());
    }
    nodes.notes();
    let run = |payloads: &[usize]| {
        let message = |bytes: &usize| (event(), PayloadFormat::Binary, Bytes::from(vec![7; *bytes]));
        let except = [excepted.member().id()];
        let messages = payloads.iter().map(message).collect();
        hub.deliver_run(&Sender::Server, Target::Group(group("room")), &except, messages, Instant::now())
    };
    let queued = |queued| Ok(Delivery { queued, ..Delivery::default() });
    assert_eq!(hub.deliver(publication(to_room(), 1)), queued(1));
    assert_eq!(run(&[2, 3]), queued(2));
    let by_datagram = hub.deliver_unreliable(publication(to_room(), 4)).unwrap();
    // Nowhere drops each.
    assert_eq!((by_datagram.displaced, by_datagram.elsewhere), (1, None));
    assert_eq!(told(alice.member()), ["message 1", "message 2", "message 3"]);
    assert!(told(excepted.member()).is_empty());
    let counters = hub.counters();
    let counted = [&counters.sends, &counters.arrived, &counters.deliveries, &counters.displaced];
    assert_eq!(counted.map(crate::striped::Counter::value), [0, 4, 3, 1]);

    let longest = Limits::PAYLOAD_CEILING as usize;
    assert_eq!(hub.deliver(publication(Vec::new(), 1)).unwrap_err().code, Code::NoTarget);
    assert_eq!(hub.deliver(publication(to_room(), longest + 1)).unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(
        hub.deliver_unreliable(publication(to_room(), 2_000)).unwrap_err().code,
        Code::PayloadTooLarge
    );
    assert_eq!(run(&[longest + 1]).unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(run(&[]), queued(0));
    assert_eq!(counters.arrived.value(), 4);
    assert!(nodes.notes().is_empty());
}

#[test]
fn promise_19_a_pause_holds_back_what_is_sent_and_its_end_is_heard_by_everyone() {
    let (hub, nodes) = one_of_several();
    let seats = [seat(&hub, 1, "alice"), seat(&hub, 2, "bob")];
    hub.send(publication(vec![Target::All], 1)).unwrap();
    assert_eq!(hub.may_deliver(), Ok(()));
    nodes.is_paused.store(true, Ordering::Relaxed);
    // What cannot reach everybody whom it is for is refused, and not kept until it is old.
    for refused in [
        hub.send(publication(vec![Target::All], 2)).map(|_| ()),
        hub.send_unreliable(publication(vec![Target::All], 2)).map(|_| ()),
        // Of another node, by a datagram, it goes at once or not at all.
        hub.deliver_unreliable(publication(vec![Target::All], 2)).map(|_| ()),
        hub.may_deliver(),
        hub.send_run(
            &Sender::Server,
            Target::All,
            &[],
            vec![(EventName::new("E").unwrap(), PayloadFormat::Binary, Bytes::new())],
            Instant::now(),
        )
        .map(|_| ()),
    ] {
        assert_eq!(refused.unwrap_err().code, Code::CutOff);
    }
    for seat in &seats {
        assert_eq!(told(seat.member()), ["first"]);
    }
    nodes.is_paused.store(false, Ordering::Relaxed);
    hub.resume();
    for seat in &seats {
        assert_eq!(told(seat.member()), ["message 1"]);
    }
}

#[test]
fn promise_18_what_may_be_missed_is_told_to_everyone_and_counted() {
    let (hub, _) = one_of_several();
    let seats = [seat(&hub, 1, "alice"), seat(&hub, 2, "bob")];
    hub.lagged(3);
    hub.lagged(4);
    for seat in &seats {
        assert_eq!(told(seat.member()), ["first", "lagged 7"]);
        assert_eq!(seat.member().deliveries(), (0, 0));
    }
    assert_eq!(hub.counters().missed.value(), 7);
}
