//! The registry's tests: named after the promises, and against a plain model, one thread and many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use fanfare_protocol::{EventName, Message, PayloadFormat, Sender, codec};
use proptest::prelude::*;

use super::*;
use crate::line::Nowhere;
use crate::line::scripted::Scripted;
use crate::outbox::{Outbox, OutboxLimits, Overflow, Taken};

/// An outbox that nothing here fills.
fn generous() -> Outbox {
    Outbox::new(OutboxLimits { frames: 1 << 20, bytes: 1 << 30, overflow: Overflow::Disconnect })
}

fn id(number: u64) -> ConnectionId {
    ConnectionId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

fn user(name: impl Display) -> UserName {
    UserName::new(&name.to_string()).unwrap()
}

fn group(name: impl Display) -> GroupName {
    GroupName::new(&name.to_string()).unwrap()
}

/// The two times at which a member comes.
fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

const FIRST: ServerFrame = ServerFrame::Ack { request: 7, count: 7 };

fn arrive(registry: &Arc<Registry<()>>, number: u64, name: impl Display) -> Seat<()> {
    let member = Arc::new(Member::new(id(number), user(name), generous(), Arc::new(Nowhere), (), now()));
    let seat = registry.register(member, &FIRST, usize::MAX, || Ok(())).unwrap();
    assert_eq!(drain(seat.member()), [FIRST]);
    seat
}

fn join(registry: &Registry<()>, seat: &Seat<()>, name: impl Display) -> usize {
    registry.join(seat.member(), &group(name), 1_000, Origin::Client, || Ok(())).unwrap()
}

fn message(tag: u64, to: Vec<Target>) -> Arc<Envelope> {
    let from = Sender::Connection { connection: id(0), user: user("sender") };
    let payload = Bytes::copy_from_slice(&tag.to_be_bytes());
    let event = EventName::new("E").unwrap();
    Arc::new(Envelope::new(&from, to, event, PayloadFormat::Binary, payload, Instant::now()))
}

fn to_group(name: impl Display) -> Vec<Target> {
    vec![Target::Group(group(name))]
}

/// Everything that is queued, decoded.
fn drain(member: &Member<()>) -> Vec<ServerFrame> {
    let mut bytes = Vec::new();
    let mut chunks = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Taken::Batch(_)) = member.outbox().poll_take(&mut context, &mut chunks) {
        bytes.extend(chunks.drain(..).flatten());
    }
    let mut bytes = Bytes::from(bytes);
    let mut reader = codec::FrameReader::new(u32::MAX);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
        frames.push(codec::decode_server(&frame).unwrap());
    }
    frames
}

fn tag(message: &Message) -> u64 {
    u64::from_be_bytes(message.payload[..].try_into().unwrap())
}

/// The tags of the messages that are queued, in order.
fn tags(member: &Member<()>) -> Vec<u64> {
    labelled(member).into_iter().map(|(tag, _)| tag).collect()
}

/// The same, with the target that each message names.
fn labelled(member: &Member<()>) -> Vec<(u64, Target)> {
    let frames = drain(member).into_iter();
    let messages = frames.filter_map(|frame| match frame {
        ServerFrame::Message(message) => Some((tag(&message), message.to)),
        _ => None,
    });
    messages.collect()
}

fn remove_user(registry: &Registry<()>, name: impl Display, from: impl Display) -> Removed {
    let why = Removal { code: Code::RemovedFromGroup, reason: "r" };
    let (from, mut done) = (group(from), Removed::default());
    for member in registry.of_user(&user(name)) {
        registry.remove(&member, |group, _| *group == from, why, &mut done);
    }
    done
}

#[test]
fn promise_1_a_user_send_reaches_every_connection_of_that_user_once_and_no_one_else() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let phone = arrive(&registry, 1, "alice");
    let desk = arrive(&registry, 2, "alice");
    let other = arrive(&registry, 3, "Alice");
    let delivery = registry.send(&message(7, vec![Target::User(user("alice"))]), &[]);
    assert_eq!(delivery, Delivery { queued: 2, ..Delivery::default() });
    assert_eq!(tags(phone.member()), [7]);
    assert_eq!(tags(desk.member()), [7]);
    assert!(tags(other.member()).is_empty());
}

#[test]
fn promise_2_joining_twice_delivers_once_and_leaving_what_one_is_not_in_does_nothing() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    let bob = arrive(&registry, 2, "bob");
    assert_eq!(join(&registry, &alice, "room"), 1);
    assert_eq!(join(&registry, &alice, "room"), 1);
    assert_eq!(join(&registry, &bob, "room"), 2);
    assert_eq!(registry.leave(alice.member(), &group("elsewhere")), None);
    registry.send(&message(1, to_group("room")), &[]);
    let frames = drain(alice.member());
    assert_eq!(frames.len(), 2, "one Joined, one message: {frames:?}");
    assert_eq!(registry.leave(alice.member(), &group("room")), Some(1));
    registry.send(&message(2, to_group("room")), &[]);
    assert!(drain(alice.member()).is_empty());
    assert_eq!(tags(bob.member()), [1, 2]);
}

#[test]
fn promise_2_excepted_connections_get_nothing_whatever_reaches_them() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let seats: Vec<Seat<()>> = (0..20).map(|number| arrive(&registry, number, number)).collect();
    for seat in &seats {
        join(&registry, seat, "room");
        drain(seat.member());
    }
    for excepted in [0, 1, 8, 9, 20] {
        let except: Vec<ConnectionId> = (0..excepted).map(id).collect();
        let to = vec![Target::Group(group("room")), Target::All, Target::User(user(0))];
        let delivery = registry.send(&message(excepted, to), &except);
        assert_eq!(delivery.queued, 20 - excepted);
        for (number, seat) in (0..).zip(&seats) {
            assert_eq!(tags(seat.member()).len(), usize::from(number >= excepted));
        }
    }
}

#[test]
fn promise_2_a_target_named_twice_or_reached_by_two_ways_gets_one_copy() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    join(&registry, &alice, "a");
    join(&registry, &alice, "b");
    drain(alice.member());
    let to = vec![
        Target::Group(group("b")),
        Target::Group(group("a")),
        Target::Group(group("b")),
        Target::User(user("alice")),
        Target::Connection(id(1)),
        Target::All,
    ];
    assert_eq!(registry.send(&message(1, to), &[]).queued, 1);
    let frames = drain(alice.member());
    let [ServerFrame::Message(message)] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!(message.to, Target::Group(group("b")), "the first target that reaches it");
}

#[test]
fn promise_3_who_is_gone_is_nowhere_and_empty_groups_and_users_leave_nothing() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    let again = arrive(&registry, 2, "alice");
    for number in 0..100 {
        join(&registry, &alice, number);
    }
    join(&registry, &again, 7);
    assert_eq!(registry.population(), Population { connections: 2, users: 1, groups: 100 });
    let gone = Arc::clone(alice.member());
    drop(alice);
    assert_eq!(registry.population(), Population { connections: 1, users: 1, groups: 1 });
    assert!(registry.join(&gone, &group("late"), 1_000, Origin::Client, || Ok(())).is_err());
    drop(again);
    assert_eq!(registry.population(), Population::default());
    assert_eq!(registry.send(&message(1, vec![Target::All]), &[]), Delivery::default());
}

#[test]
fn promise_5_a_send_is_encoded_once_and_its_payload_is_never_copied() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let seats: Vec<Seat<()>> = (0..1_000).map(|number| arrive(&registry, number, number)).collect();
    for seat in &seats {
        join(&registry, seat, "room");
        drain(seat.member());
    }
    for to in [to_group("room"), vec![Target::Group(group("nobody")), Target::All]] {
        let envelope = message(1, to);
        assert_eq!(registry.send(&envelope, &[]).queued, 1_000);
        assert_eq!(Arc::strong_count(&envelope), 1_001, "every outbox holds the one envelope");
        let mut places = BTreeSet::new();
        for seat in &seats {
            let mut chunks = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            let taken = seat.member().outbox().poll_take(&mut context, &mut chunks);
            assert!(matches!(taken, Poll::Ready(Taken::Batch(Some(_)))));
            places.extend(chunks.iter().map(|chunk| chunk.as_ptr() as usize));
        }
        // One run of bytes, or a heading and a body: the same memory for all thousand.
        assert!(places.len() <= 2, "{} places in memory", places.len());
    }
}

#[test]
fn a_user_has_at_most_its_connections_and_a_refused_one_leaves_nothing() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let refused = Arc::new(Member::new(id(9), user("bob"), generous(), Arc::new(Nowhere), (), now()));
    assert_eq!(registry.register(refused, &FIRST, 0, || Ok(())).err(), Some(Code::UserFull.into()));
    assert_eq!(registry.population(), Population::default());
    let _alice = arrive(&registry, 1, "alice");
    let second = Arc::new(Member::new(id(2), user("alice"), generous(), Arc::new(Nowhere), (), now()));
    assert_eq!(registry.register(second, &FIRST, 1, || Ok(())).err(), Some(Code::UserFull.into()));
    assert_eq!(registry.population().connections, 1);
}

#[test]
fn a_member_is_in_at_most_its_groups() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    registry.join(alice.member(), &group("a"), 2, Origin::Client, || Ok(())).unwrap();
    registry.join(alice.member(), &group("b"), 2, Origin::Client, || Ok(())).unwrap();
    assert_eq!(
        registry.join(alice.member(), &group("c"), 2, Origin::Client, || Ok(())),
        Err(Code::TooManyGroups.into())
    );
    assert_eq!(registry.join(alice.member(), &group("a"), 2, Origin::Client, || Ok(())), Ok(1));
    assert_eq!(registry.count(&Target::Group(group("c"))), 0);
}

/// Who has made a membership may end it, and each of the others' reasons stays what it is.
#[test]
fn a_membership_is_of_whoever_said_so_last_but_for_what_stands_beside_it() {
    use Origin::{Application, Client, Lasting, Operator};
    for (first, second, expected) in [
        (Client, Client, Client),
        (Client, Operator, Operator),
        (Client, Application, Application),
        (Client, Lasting, Client),
        (Operator, Client, Operator),
        (Operator, Operator, Operator),
        (Operator, Application, Application),
        (Operator, Lasting, Operator),
        (Application, Client, Application),
        (Application, Operator, Operator),
        (Application, Application, Application),
        (Application, Lasting, Application),
        (Lasting, Client, Client),
        (Lasting, Operator, Operator),
        (Lasting, Application, Application),
        (Lasting, Lasting, Lasting),
    ] {
        let registry = Arc::new(Registry::new(PresenceLimits::default()));
        let alice = arrive(&registry, 1, "alice");
        for origin in [first, second] {
            let joined = registry.join(alice.member(), &group("a"), 9, origin, || Ok(()));
            assert_eq!(joined, Ok(1));
        }
        let memberships = alice.member().memberships();
        assert_eq!(memberships, [(group("a"), expected)], "{first:?}, {second:?}");
    }
}

#[test]
fn promise_8_a_removed_user_gets_nothing_of_the_group_that_was_still_queued() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    let other = arrive(&registry, 2, "alice");
    let bob = arrive(&registry, 3, "bob");
    for seat in [&alice, &bob] {
        join(&registry, seat, "room");
        drain(seat.member());
    }
    registry.send(&message(1, to_group("room")), &[]);
    let removed = remove_user(&registry, "alice", "room");
    assert_eq!((removed.connections, removed.purged), (1, 1));
    assert_eq!(removed.groups, BTreeMap::from([(group("room"), 1)]));
    assert_eq!(remove_user(&registry, "alice", "room"), Removed::default());
    registry.send(&message(2, to_group("room")), &[]);
    let frames = drain(alice.member());
    assert!(matches!(&frames[..], [ServerFrame::Removed { .. }]), "{frames:?}");
    assert!(drain(other.member()).is_empty());
    assert_eq!(tags(bob.member()), [1, 2]);
}

#[test]
fn promise_8_what_was_sent_to_another_target_too_is_not_purged() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    join(&registry, &alice, "room");
    drain(alice.member());
    let room = || Target::Group(group("room"));
    let hall = || Target::Group(group("hall"));
    registry.send(&message(1, vec![room(), Target::User(user("alice"))]), &[]);
    registry.send(&message(2, vec![room(), Target::User(user("bob"))]), &[]);
    registry.send(&message(3, vec![room(), hall()]), &[]);
    join(&registry, &alice, "hall");
    registry.send(&message(4, vec![room(), hall()]), &[]);
    let connection = |number| Target::Connection(id(number));
    registry.send(&message(5, vec![room(), connection(1)]), &[]);
    registry.send(&message(6, vec![room(), connection(2)]), &[]);
    let removed = remove_user(&registry, "alice", "room");
    assert_eq!(removed.purged, 3, "of 2, 3 and 6 the membership of room was the only way to alice");
    let kept = [(1, Target::User(user("alice"))), (4, hall()), (5, connection(1))];
    assert_eq!(labelled(alice.member()), kept);
}

#[test]
fn promise_7_a_join_that_is_not_permitted_leaves_nothing_behind() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let alice = arrive(&registry, 1, "alice");
    let refused = registry
        .join(alice.member(), &group("room"), 10, Origin::Client, || Err(Code::BannedFromGroup.into()));
    assert_eq!(refused, Err(Code::BannedFromGroup.into()));
    assert_eq!(registry.population().groups, 0);
    assert!(drain(alice.member()).is_empty());
}

#[test]
fn promise_11_what_became_of_each_datagram_is_counted() {
    use crate::line::Unreliable::{Displaced, Dropped, Sent};
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let lines = [[Sent, Displaced, Dropped], [Displaced, Sent, Sent], [Dropped, Dropped, Displaced]];
    let lines = lines.map(|outcomes| Arc::new(Scripted::new(&outcomes)));
    let seats: Vec<Seat<()>> = (0..)
        .zip(&lines)
        .map(|(number, line)| {
            let line = Arc::clone(line) as _;
            let member = Arc::new(Member::new(id(number), user(number), generous(), line, (), now()));
            registry.register(member, &FIRST, 1, || Ok(())).unwrap()
        })
        .collect();
    let (event, payload) = (EventName::new("E").unwrap(), Bytes::from_static(b"payload"));
    let format = PayloadFormat::Text;
    let to = vec![Target::All];
    let envelope =
        Arc::new(Envelope::unreliable(&Sender::Server, &to, &event, format, &payload, Instant::now()));
    let bytes = envelope.datagram_bytes(0) as u64;
    let sums = [(); 3].map(|()| registry.send_unreliably(&envelope, &[]));
    let of = |queued, displaced, went| Delivery {
        queued,
        displaced,
        datagram_bytes: went * bytes,
        ..Delivery::default()
    };
    assert_eq!(sums, [of(2, 2, 2), of(2, 2, 2), of(2, 2, 2)]);
    let deliveries: Vec<(u64, u64)> = seats.iter().map(|seat| seat.member().deliveries()).collect();
    assert_eq!(deliveries, [(2, 2), (3, 1), (1, 3)]);
    let message = Message { from: Sender::Server, to: Target::All, event, format, payload };
    for datagram in lines.iter().flat_map(|line| line.went.lock().clone()) {
        assert_eq!(codec::decode_server(&datagram), Ok(ServerFrame::Message(message.clone())));
    }
}

#[test]
fn copies_are_counted_for_the_group_that_they_went_to() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let (alice, bob) = (arrive(&registry, 1, "alice"), arrive(&registry, 2, "bob"));
    for seat in [&alice, &bob] {
        join(&registry, seat, "both");
    }
    join(&registry, &alice, "one");
    let to = |names: &[&str]| names.iter().map(|name| Target::Group(group(name))).collect::<Vec<_>>();
    registry.send(&message(1, to(&["both"])), &[]);
    registry.send(&message(2, to(&["one", "both"])), &[]);
    registry.send(&message(3, to(&["both", "one"])), &[]);
    let delivered = |name: &str| registry.group_roster(&group(name)).unwrap().delivered();
    assert_eq!((delivered("both"), delivered("one")), (2 + 1 + 2, 1), "each copy once");
}

#[test]
fn joined_says_how_many_members_there_are() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let mut seats = Vec::new();
    for (number, members) in (0..3).zip(1u64..) {
        let seat = arrive(&registry, number, number);
        join(&registry, &seat, "room");
        let frames = drain(seat.member());
        assert_eq!(frames, [ServerFrame::Joined { group: group("room"), members }]);
        seats.push(seat);
    }
}

#[test]
fn what_a_removal_did_to_each_is_summed_up() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let seats = [1, 2].map(|number| arrive(&registry, number, "alice"));
    for seat in &seats {
        join(&registry, seat, "a");
        join(&registry, seat, "b");
    }
    registry.send(&message(1, to_group("a")), &[]);
    registry.send(&message(2, to_group("b")), &[]);
    let why = Removal { code: Code::RemovedFromGroup, reason: "r" };
    let mut done = Removed::default();
    for seat in &seats {
        registry.remove(seat.member(), |_, _| true, why, &mut done);
        registry.remove(seat.member(), |_, _| true, why, &mut done);
    }
    let groups = BTreeMap::from([(group("a"), 2), (group("b"), 2)]);
    assert_eq!(done, Removed { groups, connections: 2, purged: 4 });
}

/// What a message was to, by the model: `label` is the target that the recipient is told.
#[derive(Debug, Clone)]
struct Expected {
    tag: u64,
    to: Vec<Target>,
    label: Target,
}

/// What a plain program would keep: who is connected as whom, and who is in what.
#[derive(Debug, Default)]
struct Model {
    connected: BTreeMap<u64, String>,
    groups: BTreeMap<String, BTreeSet<u64>>,
    /// Since which step a connection is a member.
    since: BTreeMap<(u64, String), u64>,
    received: BTreeMap<u64, Vec<Expected>>,
}

impl Model {
    fn reached(&self, target: &Target) -> BTreeSet<u64> {
        let all = self.connected.iter();
        match target {
            Target::Connection(wanted) => all.filter(|(n, _)| id(**n) == *wanted).map(|(n, _)| *n).collect(),
            Target::User(name) => all.filter(|(_, user)| *user == name.as_str()).map(|(n, _)| *n).collect(),
            Target::Group(name) => self.groups.get(name.as_str()).cloned().unwrap_or_default(),
            Target::All => self.connected.keys().copied().collect(),
        }
    }

    /// What is queued of the group goes, but for what was sent to another target that still reaches the connection, and
    /// did when it was sent.
    fn remove_user(&mut self, number: u64, name: &str) -> u64 {
        self.leave(number, name);
        let kept = |target: &Target, tag: u64| match target {
            Target::Connection(known) => id(number) == *known,
            Target::User(user) => self.connected[&number] == user.as_str(),
            Target::Group(other) => {
                self.since.get(&(number, other.as_str().to_owned())).is_some_and(|since| *since < tag)
            }
            Target::All => true,
        };
        let mut received = self.received.remove(&number).unwrap();
        let before = received.len();
        received.retain_mut(|Expected { tag, to, label }| {
            if *label != Target::Group(group(name)) {
                return true;
            }
            let other = to.iter().find(|target| kept(target, *tag)).cloned();
            *label = other.clone().unwrap_or(Target::All);
            other.is_some()
        });
        let purged = before - received.len();
        self.received.insert(number, received);
        purged as u64
    }

    fn leave(&mut self, number: u64, group: &str) {
        self.since.remove(&(number, group.to_owned()));
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&number);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    fn population(&self) -> Population {
        let users: BTreeSet<&String> = self.connected.values().collect();
        Population { connections: self.connected.len(), users: users.len(), groups: self.groups.len() }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Connect(u64, u8),
    Disconnect(u64),
    Join(u64, u8),
    Leave(u64, u8),
    Remove(u8, u8),
    Send(Vec<Target>, Vec<u64>),
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => (0u8..4).prop_map(|name| Target::Group(group(name))),
        2 => (0u8..3).prop_map(|name| Target::User(user(name))),
        2 => (0u64..8).prop_map(|number| Target::Connection(id(number))),
        1 => Just(Target::All),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..8, 0u8..3).prop_map(|(number, user)| Step::Connect(number, user)),
        1 => (0u64..8).prop_map(Step::Disconnect),
        4 => (0u64..8, 0u8..4).prop_map(|(number, group)| Step::Join(number, group)),
        2 => (0u64..8, 0u8..4).prop_map(|(number, group)| Step::Leave(number, group)),
        1 => (0u8..3, 0u8..4).prop_map(|(user, group)| Step::Remove(user, group)),
        4 => (proptest::collection::vec(any_target(), 1..5), proptest::collection::vec(0u64..8, 0..3))
            .prop_map(|(to, except)| Step::Send(to, except)),
    ]
}

proptest! {
    #[test]
    fn any_steps_do_what_a_plain_model_does(steps in proptest::collection::vec(any_step(), 1..150)) {
        let registry = Arc::new(Registry::new(PresenceLimits::default()));
        let mut model = Model::default();
        let mut seats: BTreeMap<u64, Seat<()>> = BTreeMap::new();
        for (tag, step) in (0u64..).zip(steps) {
            match step {
                Step::Connect(number, name) => {
                    if let std::collections::btree_map::Entry::Vacant(place) = seats.entry(number) {
                        place.insert(arrive(&registry, number, name));
                        model.connected.insert(number, name.to_string());
                        model.received.insert(number, Vec::new());
                    }
                }
                Step::Disconnect(number) => {
                    if let Some(seat) = seats.remove(&number) {
                        let expected = model.received.remove(&number).unwrap();
                        prop_assert_eq!(labelled(seat.member()), labels(&expected));
                        model.connected.remove(&number);
                        for name in model.groups.keys().cloned().collect::<Vec<_>>() {
                            model.leave(number, &name);
                        }
                    }
                }
                Step::Join(number, name) => {
                    if let Some(seat) = seats.get(&number) {
                        if model.groups.entry(name.to_string()).or_default().insert(number) {
                            model.since.insert((number, name.to_string()), tag);
                        }
                        prop_assert_eq!(join(&registry, seat, name), model.groups[&name.to_string()].len());
                    }
                }
                Step::Leave(number, name) => {
                    if let Some(seat) = seats.get(&number) {
                        let was = model.groups.get(&name.to_string()).is_some_and(|of| of.contains(&number));
                        model.leave(number, &name.to_string());
                        let left = model.groups.get(&name.to_string()).map_or(0, BTreeSet::len);
                        prop_assert_eq!(registry.leave(seat.member(), &group(name)), was.then_some(left));
                    }
                }
                Step::Remove(name, from) => {
                    let of_user = model.reached(&Target::User(user(name)));
                    let members = model.reached(&Target::Group(group(from)));
                    let hit: Vec<u64> = of_user.intersection(&members).copied().collect();
                    let purged: u64 = hit.iter().map(|number| model.remove_user(*number, &from.to_string())).sum();
                    let removed = remove_user(&registry, name, from);
                    prop_assert_eq!((removed.connections, removed.purged), (hit.len() as u64, purged));
                }
                Step::Send(to, except) => {
                    let mut reached = BTreeMap::new();
                    for target in &to {
                        for number in model.reached(target) {
                            reached.entry(number).or_insert(target);
                        }
                    }
                    for number in &except {
                        reached.remove(number);
                    }
                    for (number, label) in &reached {
                        let expected = Expected { tag, to: to.clone(), label: (*label).clone() };
                        model.received.get_mut(number).unwrap().push(expected);
                    }
                    let except: Vec<ConnectionId> = except.into_iter().map(id).collect();
                    let delivery = registry.send(&message(tag, to.clone()), &except);
                    prop_assert_eq!(delivery, Delivery { queued: reached.len() as u64, ..Delivery::default() });
                }
            }
            prop_assert_eq!(registry.population(), model.population());
            for name in 0u8..4 {
                let members = model.groups.get(&name.to_string()).map_or(0, BTreeSet::len);
                prop_assert_eq!(registry.count(&Target::Group(group(name))), members);
            }
        }
        for (number, seat) in seats {
            prop_assert_eq!(labelled(seat.member()), labels(&model.received.remove(&number).unwrap()));
        }
        prop_assert_eq!(registry.population(), Population::default());
    }

    /// Four threads, each with connections of its own, join, leave, reconnect and send to shared groups at once. Each
    /// thread knows its own connections' memberships, so it knows what they must get of its own sends, and in which
    /// order; what they get of the others' must be in the order in which those were sent, and nothing twice.
    #[test]
    fn threads_at_once_lose_nothing_repeat_nothing_and_keep_order(
        plans in proptest::collection::vec(
            proptest::collection::vec((0usize..3, 0u8..3, 0u8..10), 40..120), 4),
    ) {
        let registry = Arc::new(Registry::new(PresenceLimits::default()));
        let start = std::sync::Barrier::new(plans.len());
        std::thread::scope(|scope| {
            let (registry, start) = (&registry, &start);
            for (thread, plan) in (0u64..).zip(&plans) {
                scope.spawn(move || {
                    let mut seats: Vec<Seat<()>> =
                        (0..3).map(|n| arrive(registry, thread * 1_000 + n, thread)).collect();
                    let mut member_of: Vec<BTreeSet<u8>> = vec![BTreeSet::new(); 3];
                    let mut expected: Vec<Vec<u64>> = vec![Vec::new(); 3];
                    start.wait();
                    for (step, (which, name, action)) in (0u64..).zip(plan.iter().copied()) {
                        match action {
                            0..=3 => {
                                join(registry, &seats[which], name);
                                member_of[which].insert(name);
                            }
                            4 | 5 => {
                                registry.leave(seats[which].member(), &group(name));
                                member_of[which].remove(&name);
                            }
                            6 => {
                                let fresh = arrive(registry, thread * 1_000 + 10 + step, thread);
                                let old = std::mem::replace(&mut seats[which], fresh);
                                check(thread, old.member(), &std::mem::take(&mut expected[which]));
                                member_of[which].clear();
                            }
                            _ => {
                                let tag = thread << 32 | step;
                                registry.send(&message(tag, to_group(name)), &[]);
                                for (groups, expected) in member_of.iter().zip(&mut expected) {
                                    if groups.contains(&name) {
                                        expected.push(tag);
                                    }
                                }
                            }
                        }
                    }
                    for (seat, expected) in seats.iter().zip(&expected) {
                        check(thread, seat.member(), expected);
                    }
                });
            }
        });
        prop_assert_eq!(registry.population(), Population::default());
    }
}

fn labels(expected: &[Expected]) -> Vec<(u64, Target)> {
    expected.iter().map(|Expected { tag, label, .. }| (*tag, label.clone())).collect()
}

/// Of its own thread's messages exactly `expected`; of every thread's, an ascending run without repetition.
fn check(thread: u64, member: &Member<()>, expected: &[u64]) {
    let received = tags(member);
    let own: Vec<u64> = received.iter().copied().filter(|tag| tag >> 32 == thread).collect();
    assert_eq!(own, expected);
    for other in 0..4 {
        let run: Vec<u64> = received.iter().copied().filter(|tag| tag >> 32 == other).collect();
        assert!(run.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice: {run:?}");
    }
}
