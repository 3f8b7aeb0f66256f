//! What the hub adds to the registry: the gate, the limits, the counts, and the order of a revoke.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

use fanfare_protocol::codec;
use parking_lot::Mutex;

use super::*;
use crate::gate::Open;
use crate::line::scripted::Scripted;
use crate::line::{Nowhere, Unreliable};
use crate::outbox::Taken;

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

fn newcomer<P>(number: u8, name: &str, permissions: P) -> Newcomer<P> {
    Newcomer {
        connection: ConnectionId::from_bytes([number; 16]),
        user: user(name),
        source: [127, 0, 0, 1].into(),
        line: Arc::new(Nowhere),
        permissions,
        dialect: None,
    }
}

const FIRST: ServerFrame = ServerFrame::Ack { request: 7, count: 7 };

fn seat<P>(hub: &Hub<P>, number: u8, name: &str, permissions: P) -> Seat<P> {
    hub.register(newcomer(number, name, permissions), &FIRST, now()).ok().unwrap()
}

fn open(limits: HubLimits) -> Hub<()> {
    Hub::new(limits, Arc::new(Open))
}

fn queued<P>(member: &Member<P>) -> Vec<ServerFrame> {
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    let mut bytes = Vec::new();
    while let Poll::Ready(Taken::Batch(_)) = member.outbox().poll_take(&mut context, &mut chunks) {
        bytes.extend(chunks.drain(..).flatten());
    }
    let (mut bytes, mut frames) = (Bytes::from(bytes), Vec::new());
    let mut reader = codec::FrameReader::new(u32::MAX);
    while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
        frames.push(codec::decode_server(&frame).unwrap());
    }
    frames
}

fn publication(to: Vec<Target>, payload: usize) -> Publication {
    Publication {
        from: Sender::Server,
        to,
        except: Vec::new(),
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Binary,
        payload: Bytes::from(vec![7; payload]),
        accepted: Instant::now(),
        counts: false,
    }
}

/// Permissions are the one group that may be joined; `Err` users are banned.
struct Named(Mutex<Option<UserName>>);

impl Gate<GroupName> for Named {
    fn enter(&self, user: &UserName, _: &GroupName) -> Result<(), Denial> {
        if self.0.lock().as_ref() == Some(user) { Err(Code::UserBanned.into()) } else { Ok(()) }
    }

    fn join(&self, _: &UserName, may: &GroupName, group: &GroupName, origin: Origin) -> Result<(), Denial> {
        if may == group || origin == Origin::Operator { Ok(()) } else { Err(Code::NotGranted.into()) }
    }

    fn watch(&self, _: &UserName, may: &GroupName, group: &GroupName) -> Result<(), Denial> {
        if may == group { Ok(()) } else { Err(Code::NotGranted.into()) }
    }
}

#[test]
fn the_first_frame_is_first_and_a_refused_newcomer_leaves_nothing() {
    let gate = Arc::new(Named(Mutex::new(Some(user("mallory")))));
    let hub: Hub<GroupName> = Hub::new(HubLimits { per_user: 1, ..HubLimits::default() }, gate);
    let refused = hub.register(newcomer(9, "mallory", group("a")), &FIRST, now());
    assert_eq!(refused.err(), Some(Code::UserBanned.into()));
    assert_eq!(hub.population(), Population::default());

    let alice = seat(&hub, 1, "alice", group("a"));
    hub.send(publication(vec![Target::All], 1)).unwrap();
    assert_eq!(queued(alice.member()).first(), Some(&FIRST));
    let second = hub.register(newcomer(2, "alice", group("a")), &FIRST, now());
    assert_eq!(second.err(), Some(Code::UserFull.into()));
    drop(alice);
    assert_eq!(hub.population(), Population::default());
}

#[test]
fn a_join_asks_the_gate_with_what_the_connection_has_now_and_says_whether_it_is_new() {
    let hub: Hub<GroupName> = Hub::new(HubLimits::default(), Arc::new(Named(Mutex::new(None))));
    let alice = seat(&hub, 1, "alice", group("a"));
    let joined = hub.join(alice.member(), &group("a"), Origin::Client).unwrap();
    assert_eq!(joined, Joined { members: 1, is_new: true });
    let again = hub.join(alice.member(), &group("a"), Origin::Client).unwrap();
    assert_eq!(again, Joined { members: 1, is_new: false });
    assert_eq!(hub.join(alice.member(), &group("b"), Origin::Client), Err(Code::NotGranted.into()));
    assert!(hub.join(alice.member(), &group("b"), Origin::Operator).unwrap().is_new);
    hub.permit(alice.member(), group("c")).unwrap();
    assert!(hub.join(alice.member(), &group("c"), Origin::Client).is_ok());
    assert_eq!(hub.join(alice.member(), &group("d"), Origin::Client), Err(Code::NotGranted.into()));
    assert_eq!(hub.leave(alice.member(), &group("c")), Some(0));
    assert_eq!(hub.leave(alice.member(), &group("c")), None);
}

#[test]
fn a_client_is_in_at_most_its_groups_and_others_may_add_more() {
    let hub = open(HubLimits { groups: 1, ..HubLimits::default() });
    let alice = seat(&hub, 1, "alice", ());
    hub.join(alice.member(), &group("a"), Origin::Client).unwrap();
    let denial = hub.join(alice.member(), &group("b"), Origin::Client).unwrap_err();
    assert_eq!(denial.code, Code::TooManyGroups);
    assert!(denial.detail.contains("in 1 groups"), "{denial:?}");
    assert!(hub.join(alice.member(), &group("b"), Origin::Operator).is_ok());
    assert!(hub.join(alice.member(), &group("c"), Origin::Application).is_ok());
}

#[test]
fn permissions_that_do_not_let_it_be_here_change_nothing() {
    let gate = Arc::new(Named(Mutex::new(None)));
    let hub: Hub<GroupName> = Hub::new(HubLimits::default(), Arc::clone(&gate) as _);
    let alice = seat(&hub, 1, "alice", group("a"));
    *gate.0.lock() = Some(user("alice"));
    assert_eq!(hub.permit(alice.member(), group("b")), Err(Code::UserBanned.into()));
    assert_eq!(*alice.member().permissions(), group("a"));
    assert_eq!(alice.member().outbox().close_reason(), None, "its old ones are the moderation's to end");
}

#[test]
fn promise_7_a_revoke_forbids_before_it_removes() {
    let hub = open(HubLimits::default());
    let alice = seat(&hub, 1, "alice", ());
    hub.join(alice.member(), &group("room"), Origin::Client).unwrap();
    let members_then = RefCell::new(None);
    let forbid = || *members_then.borrow_mut() = Some(hub.count(&Target::Group(group("room"))));
    let why = Removal { code: Code::BannedFromGroup, reason: "enough" };
    let done = hub.revoke(&user("alice"), forbid, |name| *name == group("room"), why);
    assert_eq!(*members_then.borrow(), Some(1), "still in when it was forbidden");
    assert_eq!((done.connections, done.groups[&group("room")]), (1, 1));
    assert_eq!(hub.count(&Target::Group(group("room"))), 0);
    assert_eq!(hub.counters().removed.values()[&Code::BannedFromGroup], 1);
}

#[test]
fn promise_7_a_revoke_throws_away_what_came_before_the_client_left_by_itself() {
    let hub = open(HubLimits::default());
    let alice = seat(&hub, 1, "alice", ());
    for name in ["room", "hall", "yard"] {
        hub.join(alice.member(), &group(name), Origin::Client).unwrap();
    }
    queued(alice.member());
    let to = |name| Target::Group(group(name));
    hub.send(publication(vec![to("room")], 1)).unwrap();
    hub.send(publication(vec![to("room"), to("hall")], 1)).unwrap();
    hub.send(publication(vec![to("yard")], 1)).unwrap();
    for name in ["room", "yard"] {
        hub.leave(alice.member(), &group(name)).unwrap();
    }
    let why = Removal { code: Code::BannedFromGroup, reason: "enough" };
    let done = hub.revoke(&user("alice"), || {}, |name| *name == group("room"), why);
    assert_eq!((done.connections, done.purged, hub.counters().purged.value()), (0, 1, 1));
    let target = |frame| match frame {
        ServerFrame::Message(message) => message.to,
        other => panic!("{other:?}"),
    };
    let came: Vec<Target> = queued(alice.member()).into_iter().map(target).collect();
    assert_eq!(
        came,
        [to("hall"), to("yard")],
        "what the hall got is the hall's, and nobody forbade the yard"
    );
}

#[test]
fn promise_11_what_is_sent_dropped_removed_and_purged_is_counted() {
    let outbox = OutboxLimits { frames: 4, overflow: crate::Overflow::DropOldest, ..OutboxLimits::default() };
    let hub = open(HubLimits { outbox, ..HubLimits::default() });
    let (alice, _bob) = (seat(&hub, 1, "alice", ()), seat(&hub, 2, "bob", ()));
    hub.join(alice.member(), &group("room"), Origin::Client).unwrap();
    for _ in 0..3 {
        hub.send(publication(vec![Target::Group(group("room"))], 1)).unwrap();
    }
    let event = EventName::new("E").unwrap();
    let run = vec![(event, PayloadFormat::Binary, Bytes::from_static(b"x")); 2];
    let delivery = hub.send_run(&Sender::Server, Target::User(user("bob")), &[], run, Instant::now());
    assert_eq!(delivery.unwrap().queued, 2);
    let counters = hub.counters();
    assert_eq!((counters.sends.value(), counters.deliveries.value(), counters.displaced.value()), (5, 5, 1));
    let why = Removal { code: Code::RemovedFromGroup, reason: "" };
    let done = hub.remove(&hub.of_user(&user("alice")), |_, _| true, why);
    assert_eq!((done.purged, counters.purged.value()), (2, 2));
    assert_eq!(counters.removed.values()[&Code::RemovedFromGroup], 1);
}

/// An empty run was an entry that no bound counted, 65,536 messages were counted as 65,535, a send to nobody as a send,
/// and positions of targets began anew.
#[test]
fn promise_11_what_reaches_nobody_or_what_no_client_reads_is_refused_and_changes_nothing() {
    let hub = open(HubLimits::default());
    let alice = seat(&hub, 1, "alice", ());
    queued(alice.member());
    let longest = Limits::PAYLOAD_CEILING as usize;
    let refused = |to: Vec<Target>, payload: usize| {
        let publication = publication(to, payload);
        let by_datagram = hub.send_unreliable(publication.clone()).unwrap_err();
        let denial = hub.send(publication).unwrap_err();
        assert_eq!(denial, by_datagram);
        denial.code
    };
    assert_eq!(refused(Vec::new(), 1), Code::NoTarget);
    assert_eq!(SENDABLE.targets as usize, codec::LIST_CEILING);
    assert_eq!(refused(vec![Target::All; codec::LIST_CEILING + 1], 1), Code::TooManyTargets);
    assert_eq!(refused(vec![Target::All], longest + 1), Code::PayloadTooLarge);
    let run = |payloads: &[usize]| {
        let event = EventName::new("E").unwrap();
        let message = |bytes: &usize| (event.clone(), PayloadFormat::Binary, Bytes::from(vec![7; *bytes]));
        let messages = payloads.iter().map(message).collect();
        hub.send_run(&Sender::Server, Target::All, &[], messages, Instant::now())
    };
    assert_eq!(run(&[1, longest + 1]).unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(run(&[]), Ok(Delivery::default()));
    assert_eq!(hub.counters().sends.value(), 0);
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    assert!(alice.member().outbox().poll_take(&mut context, &mut chunks).is_pending(), "nothing is queued");

    // With nobody here whose outbox it would fill.
    drop(alice);
    assert!(hub.send(publication(vec![Target::All], longest)).is_ok());
    assert!(run(&[longest]).is_ok());
}

#[test]
fn promise_1_the_last_of_as_many_targets_as_there_may_be_is_named_to_whom_it_reaches() {
    let hub = open(HubLimits::default());
    let alice = seat(&hub, 1, "alice", ());
    queued(alice.member());
    let mut to = vec![Target::User(user("nobody")); codec::LIST_CEILING - 1];
    to.push(Target::Connection(alice.member().id()));
    assert_eq!(hub.send(publication(to.clone(), 1)).unwrap().queued, 1);
    let frames = queued(alice.member());
    let [ServerFrame::Message(message)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(message.to, Target::Connection(alice.member().id()));
    assert!(hub.send_unreliable(publication(to, 1)).is_ok());
}

#[test]
fn promise_11_a_run_is_counted_message_by_message_however_many_they_are() {
    let outbox = OutboxLimits { frames: 1 << 20, bytes: 1 << 30, ..OutboxLimits::default() };
    let hub = open(HubLimits { outbox, ..HubLimits::default() });
    let alice = seat(&hub, 1, "alice", ());
    queued(alice.member());
    let many = 65_537_usize;
    let run = vec![(EventName::new("E").unwrap(), PayloadFormat::Binary, Bytes::new()); many];
    let delivery =
        hub.send_run(&Sender::Server, Target::User(user("alice")), &[], run, Instant::now()).unwrap();
    let counters = hub.counters();
    let counted = [delivery.queued, counters.sends.value(), counters.deliveries.value()];
    assert_eq!(counted, [many as u64; 3]);
    assert_eq!(alice.member().outbox().facts().frames, many);
    assert_eq!(queued(alice.member()).len(), many);
}

/// It failed before: datagrams looked at no outbox, and went to whoever was put out until its session had noticed.
#[test]
fn promise_8_whoever_was_put_out_gets_no_datagram_any_more() {
    let hub = open(HubLimits::default());
    let newcomer =
        Newcomer { line: Arc::new(Scripted::new(&[Unreliable::Sent; 3])), ..newcomer(1, "alice", ()) };
    let alice = hub.register(newcomer, &FIRST, now()).unwrap();
    let send = || hub.send_unreliable(publication(vec![Target::All], 10)).unwrap().queued;
    assert_eq!(send(), 1);
    assert!(!alice.member().outbox().has_ended());
    hub.close(alice.member(), Code::UserBanned.into(), None);
    assert!(alice.member().outbox().has_ended());
    assert_eq!((send(), alice.member().deliveries()), (0, (1, 0)));
}

#[test]
fn a_datagram_is_counted_in_bytes_and_refused_where_it_cannot_fit() {
    let hub = open(HubLimits::default());
    let newcomer =
        Newcomer { line: Arc::new(Scripted::new(&[Unreliable::Displaced; 2])), ..newcomer(1, "alice", ()) };
    let alice = hub.register(newcomer, &FIRST, now()).unwrap();
    let delivery = hub.send_unreliable(publication(vec![Target::User(user("alice"))], 100)).unwrap();
    assert_eq!((delivery.queued, delivery.displaced), (1, 1));
    let bytes = hub.counters().datagram_bytes.value();
    assert!((101..140).contains(&bytes), "{bytes}");
    assert_eq!(alice.member().deliveries(), (1, 1));

    let denial = hub.send_unreliable(publication(vec![Target::All], 1_100)).unwrap_err();
    assert_eq!(denial.code, Code::PayloadTooLarge);
    // What it says fits, fits; and a byte more does not.
    let room: usize =
        denial.detail.split("leaves ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(hub.send_unreliable(publication(vec![Target::All], room)).is_ok());
    assert!(hub.send_unreliable(publication(vec![Target::All], room + 1)).is_err());
    assert_eq!(hub.counters().sends.value(), 2, "what was refused is no send");
}

#[test]
fn a_close_says_when_to_come_back_where_somebody_chose_it() {
    let hub = open(HubLimits::default());
    let (alice, bob) = (seat(&hub, 1, "alice", ()), seat(&hub, 2, "bob", ()));
    hub.close(alice.member(), Code::ClosedForNow.into(), Some(5_000));
    hub.close(bob.member(), Code::ClosedByOperator.into(), None);
    assert_eq!(alice.member().outbox().close_reason(), Some(Code::ClosedForNow.into()));
    assert_eq!(alice.member().outbox().retry_after_ms(), Some(5_000));
    assert_eq!(bob.member().outbox().retry_after_ms(), None);
    assert_eq!(hub.send(publication(vec![Target::All], 1)).unwrap().queued, 0);
}

#[test]
fn whoever_looks_sees_everyone_who_is_here_and_every_group() {
    let budget = BudgetLimits { all: 77, ..BudgetLimits::default() };
    let limits = HubLimits { per_user: 2, groups: 3, budget, ..HubLimits::default() };
    let hub = open(limits);
    assert_eq!((*hub.limits(), hub.budget().level()), (limits, (0, 77)));
    let (phone, desk) = (seat(&hub, 1, "alice", ()), seat(&hub, 2, "alice", ()));
    let bob = seat(&hub, 3, "bob", ());
    for (seat, name) in [(&phone, "a"), (&bob, "a"), (&bob, "b")] {
        hub.join(seat.member(), &group(name), Origin::Client).unwrap();
    }
    let numbers = |members: Vec<Arc<Member<()>>>| {
        let mut numbers: Vec<u8> = members.iter().map(|member| member.id().as_bytes()[0]).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(hub.list()), [1, 2, 3]);
    assert_eq!(hub.population(), Population { connections: 3, users: 2, groups: 2 });
    assert_eq!(
        (numbers(hub.of_user(&user("alice"))), numbers(hub.of_user(&user("carol")))),
        (vec![1, 2], vec![])
    );
    assert_eq!(
        (numbers(hub.of_group(&group("a"))), numbers(hub.of_group(&group("c")))),
        (vec![1, 3], vec![])
    );
    let found = hub.connection(&desk.member().id()).unwrap();
    assert!(Arc::ptr_eq(&found, desk.member()));
    assert!(hub.connection(&ConnectionId::from_bytes([9; 16])).is_none());
    let (mut users, mut groups) = (hub.users(), hub.groups());
    users.sort_unstable();
    groups.sort_unstable();
    assert_eq!(users, [(user("alice"), 2), (user("bob"), 1)]);
    assert_eq!(groups, [(group("a"), 2), (group("b"), 1)]);
    let mut rosters: Vec<_> =
        hub.rosters().iter().map(|roster| (roster.name().clone(), roster.len())).collect();
    rosters.sort_unstable();
    assert_eq!(rosters, groups);
    assert_eq!(hub.roster(&group("a")).map(|roster| roster.len()), Some(2));
    assert!(hub.roster(&group("c")).is_none());
    let targets = [Target::All, Target::User(user("alice")), Target::Connection(bob.member().id())];
    assert_eq!(targets.clone().map(|target| hub.count(&target)), [3, 2, 1]);
    let reached = targets.map(|target| numbers(hub.reached_by(&target)));
    assert_eq!(reached, [vec![1, 2, 3], vec![1, 2], vec![3]]);
    assert_eq!(numbers(hub.reached_by(&Target::Group(group("a")))), [1, 3]);
    assert_eq!(hub.count(&Target::Connection(ConnectionId::from_bytes([9; 16]))), 0);
}

/// Notes what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Witness<()> for Notes {
    fn joined(&self, member: &Arc<Member<()>>, group: &GroupName, origin: Origin, opened: bool) {
        self.0.lock().push(format!("{} joins {group} {origin:?} {opened}", member.user()));
    }

    fn left(&self, member: &Arc<Member<()>>, group: &GroupName, why: crate::witness::Left, closed: bool) {
        self.0.lock().push(format!("{} leaves {group} {why:?} {closed}", member.user()));
    }
}

#[test]
fn every_membership_is_told_once_when_it_begins_and_once_when_it_ends() {
    let (hub, notes) = (open(HubLimits::default()), Arc::new(Notes::default()));
    hub.tell(Arc::clone(&notes) as _);
    let told = || std::mem::take(&mut *notes.0.lock());
    let (alice, bob) = (seat(&hub, 1, "alice", ()), seat(&hub, 2, "bob", ()));
    let room = group("room");
    for _ in 0..2 {
        hub.join(alice.member(), &room, Origin::Client).unwrap();
        hub.join(bob.member(), &room, Origin::Operator).unwrap();
    }
    assert_eq!(told(), ["alice joins room Client true", "bob joins room Operator false"]);
    for _ in 0..2 {
        hub.leave(alice.member(), &room);
    }
    assert_eq!(told(), ["alice leaves room Asked false"]);
    let why = Removal { code: Code::RemovedFromGroup, reason: "" };
    for _ in 0..2 {
        hub.remove(&[Arc::clone(bob.member())], |_, _| true, why);
    }
    assert_eq!(told(), ["bob leaves room Removed(RemovedFromGroup) true"]);
    hub.join(bob.member(), &room, Origin::Client).unwrap();
    drop(bob);
    assert_eq!(told(), ["bob joins room Client true", "bob leaves room Gone true"]);
    // Who is refused has not joined.
    let full = open(HubLimits { groups: 0, ..HubLimits::default() });
    full.tell(Arc::clone(&notes) as _);
    let carol = seat(&full, 3, "carol", ());
    full.join(carol.member(), &room, Origin::Client).unwrap_err();
    drop(carol);
    assert_eq!(told(), [""; 0]);
}
