//! Every interleaving that shuttle can find of the hub's races, with the hub's own code.
//!
//! `cargo test -p fanfare-hub --features model` replaces the locks by shuttle's, which switches threads at every lock
//! operation, and runs nothing but these. Random schedules find deep races fast, and PCT (probabilistic concurrency
//! testing, Burckhardt et al., ASPLOS 2010) finds those that need few switches with a known probability.

use std::collections::HashSet;
use std::task::{Context, Poll, Waker};

use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{Message, codec};
use shuttle::rand::Rng;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use super::*;
use crate::cluster::{Cluster, NoWay, NodeKey, Outgoing, Proof, Topic};
use crate::line::Nowhere;
use crate::outbox::Taken;
use crate::presence::View;
use crate::sync::{Mutex, RwLock};

const SCHEDULES: usize = 4_000;

fn check(model: impl Fn() + Copy + Send + Sync + 'static) {
    shuttle::check_random(model, SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, 3);
}

/// Users who may not join the room, and users who may not be here.
#[derive(Default)]
struct Bans {
    room: RwLock<HashSet<UserName>>,
    everywhere: RwLock<HashSet<UserName>>,
}

impl Gate<()> for Bans {
    fn enter(&self, user: &UserName, (): &()) -> Result<(), Denial> {
        if self.everywhere.read().contains(user) { Err(Code::UserBanned.into()) } else { Ok(()) }
    }

    fn join(&self, user: &UserName, (): &(), _: &GroupName, _: Origin) -> Result<(), Denial> {
        if self.room.read().contains(user) { Err(Code::BannedFromGroup.into()) } else { Ok(()) }
    }

    fn watch(&self, user: &UserName, (): &(), _: &GroupName) -> Result<(), Denial> {
        if self.room.read().contains(user) { Err(Code::BannedFromGroup.into()) } else { Ok(()) }
    }
}

type Models = Hub<()>;

fn hub() -> (Arc<Models>, Arc<Bans>) {
    let bans = Arc::new(Bans::default());
    (Arc::new(Hub::new(HubLimits::default(), Arc::clone(&bans) as _)), bans)
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn register(hub: &Models, number: u8, name: &str) -> Result<Seat<()>, Denial> {
    let newcomer = Newcomer {
        connection: ConnectionId::from_bytes([number; 16]),
        user: user(name),
        source: [127, 0, 0, 1].into(),
        line: Arc::new(Nowhere),
        permissions: (),
        dialect: None,
    };
    let first = ServerFrame::Ack { request: 0, count: 0 };
    hub.register(newcomer, &first, (Instant::now(), SystemTime::now()))
}

fn seat(hub: &Models, number: u8, name: &str) -> Seat<()> {
    register(hub, number, name).unwrap()
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

fn join(hub: &Models, member: &Arc<Member<()>>) -> Result<Joined, Denial> {
    hub.join(member, &room(), Origin::Client)
}

fn why() -> Removal<'static> {
    Removal { code: Code::RemovedFromGroup, reason: "" }
}

fn remove(hub: &Models, name: &str) -> Removed {
    hub.remove(&hub.of_user(&user(name)), |group, _| *group == room(), why())
}

fn members(hub: &Models) -> usize {
    hub.count(&Target::Group(room()))
}

fn send_but(hub: &Models, tag: u64, except: Vec<ConnectionId>) -> u64 {
    offer(hub, tag, except).unwrap()
}

fn offer(hub: &Models, tag: u64, except: Vec<ConnectionId>) -> Result<u64, Denial> {
    let delivery = hub.send(Publication {
        from: Sender::Server,
        to: vec![Target::Group(room())],
        except,
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Binary,
        payload: Bytes::copy_from_slice(&tag.to_be_bytes()),
        accepted: Instant::now(),
        counts: false,
    });
    Ok(delivery?.queued)
}

fn send(hub: &Models) -> u64 {
    send_but(hub, 0, Vec::new())
}

/// Everything that is queued, decoded.
fn queued(member: &Member<()>) -> Vec<ServerFrame> {
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    while let Poll::Ready(Taken::Batch(_)) = member.outbox().poll_take(&mut context, &mut chunks) {
        bytes.extend(chunks.drain(..).flatten());
    }
    let (mut bytes, mut reader) = (Bytes::from(bytes), codec::FrameReader::new(u32::MAX));
    while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
        frames.push(codec::decode_server(&frame).unwrap());
    }
    frames
}

/// A connection goes while it joins: it must not stay behind in the group.
#[test]
fn join_against_disconnect() {
    check(|| {
        let hub = hub().0;
        let alice = seat(&hub, 1, "alice");
        let (member, joining) = (Arc::clone(alice.member()), Arc::clone(&hub));
        let join = thread::spawn(move || join(&joining, &member).is_ok());
        drop(alice);
        join.join().unwrap();
        assert_eq!(hub.population(), Population::default());
        assert_eq!(send(&hub), 0);
    });
}

/// A user is removed while one of its connections joins and another is a member: afterwards the group and the members
/// agree on who is in it, and who is in it can leave.
#[test]
fn join_against_remove_user_from_group() {
    check(|| {
        let hub = hub().0;
        let first = seat(&hub, 1, "alice");
        let second = seat(&hub, 2, "alice");
        join(&hub, first.member()).unwrap();
        let (member, joining) = (Arc::clone(second.member()), Arc::clone(&hub));
        let join = thread::spawn(move || {
            join(&joining, &member).unwrap();
            joining.leave(&member, &room());
            join(&joining, &member).unwrap();
        });
        let removed = remove(&hub, "alice").connections;
        join.join().unwrap();
        assert!(removed == 1 || removed == 2);
        let believe = [&first, &second]
            .iter()
            .filter(|seat| seat.member().memberships.lock().groups.contains(&room()))
            .count();
        assert_eq!(members(&hub), believe);
        assert_eq!(send(&hub), believe as u64);
        drop((first, second));
        assert_eq!(hub.population(), Population::default());
    });
}

/// The last member leaves while another joins: the joiner is in the group that everybody finds.
#[test]
fn last_leave_against_first_join() {
    check(|| {
        let hub = hub().0;
        let alice = seat(&hub, 1, "alice");
        let bob = seat(&hub, 2, "bob");
        join(&hub, alice.member()).unwrap();
        let (member, joining) = (Arc::clone(bob.member()), Arc::clone(&hub));
        let join = thread::spawn(move || join(&joining, &member).unwrap());
        let (member, leaving) = (Arc::clone(alice.member()), Arc::clone(&hub));
        let leave = thread::spawn(move || leaving.leave(&member, &room()));
        join.join().unwrap();
        // Whoever is told that he is in is reached, at once, whether the other has left or not.
        assert_eq!(send_but(&hub, 0, vec![alice.member().id()]), 1);
        leave.join().unwrap();
        assert_eq!((members(&hub), send(&hub)), (1, 1));
        drop((alice, bob));
        assert_eq!(hub.population(), Population::default());
    });
}

/// Two connections of a user that come and go: the user is there exactly while one of them is.
#[test]
fn arrival_against_departure_of_one_user() {
    check(|| {
        let hub = hub().0;
        let first = seat(&hub, 1, "alice");
        let arriving = Arc::clone(&hub);
        let arrival = thread::spawn(move || seat(&arriving, 2, "alice"));
        drop(first);
        let second = arrival.join().unwrap();
        assert_eq!(hub.count(&Target::User(UserName::new("alice").unwrap())), 1);
        drop(second);
        assert_eq!(hub.population(), Population::default());
    });
}

/// A send while a member joins, and one after: `Joined` comes before the first message, and the second is not missed.
#[test]
fn a_message_after_the_join_is_not_missed_and_none_comes_before_joined() {
    check(|| {
        let hub = hub().0;
        let alice = seat(&hub, 1, "alice");
        let sending = Arc::clone(&hub);
        let sender = thread::spawn(move || send(&sending));
        join(&hub, alice.member()).unwrap();
        let after = send(&hub);
        let before = sender.join().unwrap();
        assert_eq!(after, 1);
        let frames = queued(alice.member());
        // What it was told when it came, and then what the model is about.
        assert!(matches!(frames[1], ServerFrame::Joined { .. }), "{frames:?}");
        assert_eq!(frames.len() as u64, 2 + before + after);
    });
}

/// Whether a revoke holds. A connection joins, and joins again, while its user is revoked and another of the user's
/// connections goes: whatever the order, when the revoke has returned nobody of the user is in the group, and nobody
/// comes back.
fn revoke_holds(revoke: impl Fn(&Bans, &Models)) -> bool {
    let (hub, bans) = hub();
    let (alice, other) = (seat(&hub, 1, "alice"), seat(&hub, 2, "alice"));
    let bob = seat(&hub, 3, "bob");
    join(&hub, bob.member()).unwrap();
    join(&hub, other.member()).unwrap();
    let joining = {
        let (hub, member) = (Arc::clone(&hub), Arc::clone(alice.member()));
        thread::spawn(move || {
            for _ in 0..2 {
                let _ = join(&hub, &member);
            }
        })
    };
    let leaving = thread::spawn(move || drop(other));
    revoke(&bans, &hub);
    let is_left = hub.of_group(&room()).iter().any(|member| member.user().as_str() == "alice");
    joining.join().unwrap();
    leaving.join().unwrap();
    // Asked before the seats go, and told after: a seat cannot be given up in a model that has failed.
    let came_back = members(&hub) != 1 || send(&hub) != 1;
    drop((alice, bob));
    assert_eq!(hub.population(), Population::default());
    !is_left && !came_back
}

fn forbid(bans: &Bans, name: &str) {
    bans.room.write().insert(user(name));
}

#[test]
fn join_against_revoke_against_disconnect() {
    check(|| {
        let holds = revoke_holds(|bans, hub| {
            hub.revoke(&user("alice"), || forbid(bans, "alice"), |group| *group == room(), why());
        });
        assert!(holds, "revoked, and a member");
    });
}

/// The same with the order broken: first removed, then forbidden. The model must find the join in between.
#[test]
#[should_panic(expected = "revoked, and a member")]
fn join_against_revoke_is_lost_where_the_ban_comes_last() {
    check(|| {
        let holds = revoke_holds(|bans, hub| {
            remove(hub, "alice");
            forbid(bans, "alice");
        });
        assert!(holds, "revoked, and a member");
    });
}

/// A user is banned while another of its connections comes and one goes on with other permissions: afterwards none of
/// its connections is open.
#[test]
fn arrival_against_ban() {
    check(|| {
        let (hub, bans) = hub();
        let first = seat(&hub, 1, "alice");
        let coming = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || register(&hub, 2, "alice"))
        };
        let refreshing = {
            let (hub, member) = (Arc::clone(&hub), Arc::clone(first.member()));
            thread::spawn(move || drop(hub.permit(&member, ())))
        };
        bans.everywhere.write().insert(user("alice"));
        for member in hub.of_user(&user("alice")) {
            hub.close(&member, Code::UserBanned.into(), None);
        }
        refreshing.join().unwrap();
        let second = coming.join().unwrap();
        let open = hub.list().iter().filter(|member| member.outbox().close_reason().is_none()).count();
        drop((first, second));
        assert_eq!(open, 0, "banned, and here");
        assert_eq!(hub.population(), Population::default());
    });
}

/// The same where a token is refused, which is looked for in the list of all: it is of no user's.
#[test]
fn arrival_against_ban_of_a_token() {
    check(|| {
        let (hub, bans) = hub();
        let coming = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || register(&hub, 1, "alice"))
        };
        bans.everywhere.write().insert(user("alice"));
        for member in hub.list() {
            hub.close(&member, Code::TokenRevoked.into(), None);
        }
        let seat = coming.join().unwrap();
        let open = hub.list().iter().filter(|member| member.outbox().close_reason().is_none()).count();
        drop(seat);
        assert_eq!(open, 0, "refused, and here");
        assert_eq!(hub.population(), Population::default());
    });
}

/// What one connection was told, checked frame by frame: no message of the room but between `Joined` and its end, and
/// each in order and once. Gives whether it believes to be in the room; `None` where its own wish to leave may have
/// ended it in between.
fn follow(frames: &[ServerFrame], leaves: bool) -> Option<bool> {
    let (mut is_in, mut last) = (false, None);
    for frame in frames {
        match frame {
            ServerFrame::Joined { .. } => is_in = true,
            ServerFrame::Removed { .. } => {
                assert!(is_in || leaves, "removed from what it was not in: {frames:?}");
                is_in = false;
            }
            ServerFrame::Message(Message { payload, .. }) => {
                assert!(is_in, "a message outside of a membership: {frames:?}");
                let tag = u64::from_be_bytes(payload[..].try_into().unwrap());
                assert!(last < Some(tag), "out of order, or twice: {frames:?}");
                last = Some(tag);
            }
            _ => {}
        }
    }
    (!leaves).then_some(is_in)
}

/// The whole hub: joins, leaves, sends, removals, a revoke that is lifted, closes and departures, each thread doing
/// what chance says, under every schedule that shuttle tries. What each connection was told is checked frame by frame;
/// who believes to be a member is one; the counts add up; and nothing stays behind.
#[test]
fn the_whole_hub_under_a_random_scheduler() {
    check(|| {
        let (hub, bans) = hub();
        let (phone, desk) = (seat(&hub, 1, "alice"), seat(&hub, 2, "alice"));
        let (bob, going) = (seat(&hub, 3, "bob"), seat(&hub, 4, "carol"));
        join(&hub, bob.member()).unwrap();
        join(&hub, going.member()).unwrap();
        let leaves = shuttle::rand::thread_rng().gen_bool(0.3);
        let joining = {
            let (hub, phone, desk) =
                (Arc::clone(&hub), Arc::clone(phone.member()), Arc::clone(desk.member()));
            thread::spawn(move || {
                for _ in 0..2 {
                    let _ = join(&hub, &phone);
                    if leaves {
                        hub.leave(&phone, &room());
                    }
                    let _ = join(&hub, &desk);
                }
            })
        };
        let sending = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || (1..=3).map(|tag| send_but(&hub, tag, Vec::new())).sum::<u64>())
        };
        let leaving = {
            let (hub, closes) = (Arc::clone(&hub), shuttle::rand::thread_rng().gen_bool(0.5));
            thread::spawn(move || {
                if closes {
                    hub.close(going.member(), Code::ClosedByOperator.into(), None);
                }
                drop(going);
            })
        };
        match shuttle::rand::thread_rng().gen_range(0..3) {
            0 => drop(remove(&hub, "alice")),
            1 => {
                hub.revoke(&user("alice"), || forbid(&bans, "alice"), |group| *group == room(), why());
                let is_in = hub.of_group(&room()).iter().any(|member| member.user().as_str() == "alice");
                assert!(!is_in, "revoked, and a member");
                bans.room.write().clear();
            }
            _ => {
                drop(remove(&hub, "bob"));
                let _ = join(&hub, bob.member());
            }
        }
        joining.join().unwrap();
        leaving.join().unwrap();
        let queued_copies = sending.join().unwrap();
        assert_eq!(hub.counters().deliveries.value(), queued_copies);
        let mut believe = 0;
        for (seat, leaves) in [(&phone, leaves), (&desk, false), (&bob, false)] {
            let member = seat.member();
            let is_in = member.memberships().iter().any(|(group, _)| *group == room());
            let told = follow(&queued(member), leaves);
            assert!(told.is_none_or(|told| told == is_in), "told {told:?}, and is in: {is_in}");
            believe += usize::from(is_in);
        }
        assert_eq!((members(&hub), send_but(&hub, 9, Vec::new())), (believe, believe as u64));
        drop((phone, desk, bob));
        assert_eq!(hub.population(), Population::default());
        assert_eq!(hub.budget().level().0, 0);
    });
}

/// What a connection was told of the room, put together; a gap in it, or something told twice, fails.
fn told_of_the_room(member: &Member<()>, view: &mut View) {
    for frame in queued(member) {
        if let ServerFrame::Presence(frame) = frame {
            view.take(frame);
        }
    }
}

fn announce(hub: &Models, now: Instant) {
    hub.announcement(now).go_on(usize::MAX);
}

fn here(hub: &Models) -> Vec<(UserName, u32)> {
    hub.present(&room()).into_iter().map(|one| (one.user, one.connections)).collect()
}

/// The first watcher of a room comes, and a second, while members enter, leave and go and the last watcher goes: what
/// each makes of what it was told is who is there.
#[test]
fn watch_against_joins_and_leaves() {
    check(|| {
        let hub = hub().0;
        let (first, second) = (seat(&hub, 1, "first"), seat(&hub, 2, "second"));
        let (alice, bob) = (seat(&hub, 3, "alice"), seat(&hub, 4, "bob"));
        let comes_before = shuttle::rand::thread_rng().gen_bool(0.5);
        if comes_before {
            join(&hub, alice.member()).unwrap();
        }
        let moving = {
            let (hub, alice) = (Arc::clone(&hub), Arc::clone(alice.member()));
            thread::spawn(move || {
                let _ = join(&hub, &alice);
                hub.leave(&alice, &room());
                let _ = join(&hub, &alice);
                drop(bob);
            })
        };
        let watching = {
            let (hub, first) = (Arc::clone(&hub), Arc::clone(first.member()));
            thread::spawn(move || {
                hub.watch(&first, &room()).unwrap();
                hub.unwatch(&first, &room());
                hub.watch(&first, &room()).unwrap();
            })
        };
        hub.watch(second.member(), &room()).unwrap();
        announce(&hub, Instant::now());
        moving.join().unwrap();
        watching.join().unwrap();
        let later = Instant::now();
        for seconds in [0, 10, 20] {
            announce(&hub, later + std::time::Duration::from_secs(seconds));
        }
        let told = [&first, &second].map(|watcher| {
            let mut view = View::default();
            told_of_the_room(watcher.member(), &mut view);
            let told: Vec<_> = view.users.into_iter().map(|(user, (count, _))| (user, count)).collect();
            (view.is_complete, told)
        });
        let here = (true, here(&hub));
        // A seat cannot be given up in a model that has failed.
        drop((first, second, alice));
        assert_eq!(told, [here.clone(), here]);
        assert_eq!((hub.population(), hub.watches()), (Population::default(), 0));
    });
}

/// A user watches, and watches again, while it is revoked and members come and go: when the revoke has returned it
/// watches nothing, the last that it was told of the room is that, and it is told nothing more.
#[test]
fn promise_16_watch_against_revoke() {
    check(|| {
        let (hub, bans) = hub();
        let (alice, bob) = (seat(&hub, 1, "alice"), seat(&hub, 2, "bob"));
        let watching = {
            let (hub, alice) = (Arc::clone(&hub), Arc::clone(alice.member()));
            thread::spawn(move || {
                for _ in 0..2 {
                    let _ = hub.watch(&alice, &room());
                }
            })
        };
        let moving = {
            let (hub, bob) = (Arc::clone(&hub), Arc::clone(bob.member()));
            thread::spawn(move || {
                join(&hub, &bob).unwrap();
                announce(&hub, Instant::now());
            })
        };
        hub.revoke(&user("alice"), || forbid(&bans, "alice"), |group| *group == room(), why());
        let is_left = hub.watches();
        let mut view = View::default();
        told_of_the_room(alice.member(), &mut view);
        let is_open = view.is_open;
        watching.join().unwrap();
        moving.join().unwrap();
        announce(&hub, Instant::now());
        let after = queued(alice.member()).len();
        drop((alice, bob));
        assert_eq!((is_left, is_open, after), (0, false, 0), "revoked, and told of the room");
        assert_eq!(hub.watches(), 0);
    });
}

/// The first watcher of a room comes while the last member of it leaves and another joins.
#[test]
fn watch_against_last_leave_and_first_join() {
    check(|| {
        let hub = hub().0;
        let (watcher, alice, bob) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"), seat(&hub, 3, "bob"));
        join(&hub, alice.member()).unwrap();
        let joining = {
            let (hub, bob) = (Arc::clone(&hub), Arc::clone(bob.member()));
            thread::spawn(move || drop(join(&hub, &bob)))
        };
        let leaving = {
            let (hub, alice) = (Arc::clone(&hub), Arc::clone(alice.member()));
            thread::spawn(move || {
                let _ = hub.leave(&alice, &room());
            })
        };
        hub.watch(watcher.member(), &room()).unwrap();
        joining.join().unwrap();
        leaving.join().unwrap();
        let later = Instant::now();
        for seconds in [0, 10] {
            announce(&hub, later + std::time::Duration::from_secs(seconds));
        }
        let mut view = View::default();
        told_of_the_room(watcher.member(), &mut view);
        let told: Vec<_> = view.users.into_iter().map(|(user, (count, _))| (user, count)).collect();
        let (is_complete, here) = (view.is_complete, here(&hub));
        drop((watcher, alice, bob));
        assert_eq!((is_complete, told), (true, here));
    });
}

/// Other nodes: whether what is queued may go, and what who joins has to wait for.
struct Nodes {
    delivers: AtomicBool,
    proof: Arc<Proof>,
    /// How often somebody came first, or left last.
    wanted: Mutex<i32>,
    /// Where it answers at once who is there, and does.
    answers: Mutex<Option<Arc<Models>>>,
    answering: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// The other node, with bob in the room.
const OTHER: NodeKey = NodeKey([7; 4]);

impl Cluster for Nodes {
    fn delivers(&self) -> bool {
        self.delivers.load(Ordering::SeqCst)
    }

    fn wants(&self, topic: Topic<'_>) -> Option<Arc<Proof>> {
        let Topic::Group(_) = topic else { return None };
        *self.wanted.lock() += 1;
        (!self.proof.is_settled()).then(|| Arc::clone(&self.proof))
    }

    fn left(&self, topic: Topic<'_>) {
        if let Topic::Group(_) = topic {
            *self.wanted.lock() = 0;
        }
    }

    fn publish(&self, _: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay> {
        Ok(None)
    }

    fn watches(&self, group: &GroupName, _: u64) -> Vec<NodeKey> {
        let Some(hub) = self.answers.lock().clone() else { return Vec::new() };
        let group = group.clone();
        self.answering.lock().push(thread::spawn(move || {
            let present = vec![Present { user: user("bob"), connections: 1, data: None }];
            let (begins, complete) = (true, true);
            hub.hear(
                OTHER,
                PresenceFrame::Snapshot { group, revision: 0, begins, complete, present },
                Instant::now(),
            );
        }));
        vec![OTHER]
    }

    fn unwatches(&self, _: &GroupName, _: u64) {}
}

/// The first watcher of a room comes while a member joins, and while another node, which is asked, says who is there.
#[test]
fn promise_16_a_watch_against_what_another_node_says() {
    check(|| {
        let (hub, nodes) = one_of_several();
        *nodes.answers.lock() = Some(Arc::clone(&hub));
        nodes.proof.settle();
        let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
        let comes_before = shuttle::rand::thread_rng().gen_bool(0.5);
        if comes_before {
            join(&hub, alice.member()).unwrap();
        }
        let joining = {
            let (hub, alice) = (Arc::clone(&hub), Arc::clone(alice.member()));
            thread::spawn(move || drop(join(&hub, &alice)))
        };
        let announcing = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || announce(&hub, Instant::now()))
        };
        hub.watch(watcher.member(), &room()).unwrap();
        joining.join().unwrap();
        announcing.join().unwrap();
        let answering = std::mem::take(&mut *nodes.answering.lock());
        answering.into_iter().for_each(|answering| answering.join().unwrap());
        announce(&hub, Instant::now());
        let mut view = View::default();
        told_of_the_room(watcher.member(), &mut view);
        let told: Vec<_> = view.users.into_iter().map(|(user, (count, _))| (user, count)).collect();
        let is_complete = view.is_complete;
        *nodes.answers.lock() = None;
        drop((watcher, alice));
        assert_eq!((is_complete, told), (true, vec![(user("alice"), 1), (user("bob"), 1)]));
    });
}

fn one_of_several() -> (Arc<Models>, Arc<Nodes>) {
    let hub = hub().0;
    let nodes = Nodes {
        delivers: AtomicBool::new(true),
        proof: Proof::new(),
        wanted: Mutex::new(0),
        answers: Mutex::new(None),
        answering: Mutex::new(Vec::new()),
    };
    let nodes = Arc::new(nodes);
    hub.cluster(Arc::clone(&nodes) as _);
    (hub, nodes)
}

/// What a writer takes, waiting for more, until it has so many frames or there will be no more. A writer that is not
/// woken is a deadlock, which shuttle reports.
fn written(member: &Member<()>, most: usize) -> Vec<ServerFrame> {
    let (mut frames, mut reader) = (Vec::new(), codec::FrameReader::new(u32::MAX));
    while frames.len() < most {
        let mut chunks = Vec::new();
        let take = std::future::poll_fn(|context| member.outbox().poll_take(context, &mut chunks));
        let Taken::Batch(_) = shuttle::future::block_on(take) else { break };
        let mut bytes = Bytes::from(chunks.concat());
        while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
            frames.push(codec::decode_server(&frame).unwrap());
        }
    }
    frames
}

fn writer(seat: &Seat<()>, most: usize) -> thread::JoinHandle<Vec<ServerFrame>> {
    let member = Arc::clone(seat.member());
    thread::spawn(move || written(&member, most))
}

fn settling(nodes: &Arc<Nodes>) -> thread::JoinHandle<()> {
    let nodes = Arc::clone(nodes);
    thread::spawn(move || nodes.proof.settle())
}

/// Two connections join while their proof comes: each is told, however the two race, and what was sent since.
#[test]
fn promise_18_a_join_against_its_proof() {
    check(|| {
        let (hub, nodes) = one_of_several();
        let (alice, bob) = (seat(&hub, 1, "alice"), seat(&hub, 2, "bob"));
        let writers = [writer(&alice, 3), writer(&bob, 3)];
        let settling = settling(&nodes);
        let joining = {
            let (hub, bob) = (Arc::clone(&hub), Arc::clone(bob.member()));
            thread::spawn(move || drop(join(&hub, &bob)))
        };
        join(&hub, alice.member()).unwrap();
        joining.join().unwrap();
        assert_eq!(send(&hub), 2);
        for writer in writers {
            let frames = writer.join().unwrap();
            let [_, ServerFrame::Joined { .. }, ServerFrame::Message(_)] = &frames[..] else {
                panic!("{frames:?}");
            };
        }
        settling.join().unwrap();
        drop((alice, bob));
        assert_eq!((hub.population(), *nodes.wanted.lock()), (Population::default(), 0));
    });
}

/// A connection joins and goes, in one of three ways, while its proof comes or does not: its writer ends in any case,
/// and nobody wants the group any more.
#[test]
fn promise_18_a_join_against_its_proof_and_a_disconnect() {
    check(|| {
        let (hub, nodes) = one_of_several();
        let alice = seat(&hub, 1, "alice");
        let writer = writer(&alice, usize::MAX);
        let settling = shuttle::rand::thread_rng().gen_bool(0.5).then(|| settling(&nodes));
        let joining = {
            let (hub, alice) = (Arc::clone(&hub), Arc::clone(alice.member()));
            thread::spawn(move || {
                if join(&hub, &alice).is_ok() {
                    send(&hub);
                }
            })
        };
        match shuttle::rand::thread_rng().gen_range(0..3) {
            0 => alice.member().outbox().lose(),
            1 => hub.close(alice.member(), Code::ClosedByOperator.into(), None),
            _ => alice.member().outbox().finish(Some(&ServerFrame::Ack { request: 1, count: 0 })),
        }
        let member = Arc::clone(alice.member());
        drop(alice);
        let frames = writer.join().unwrap();
        follow_untagged(&frames);
        joining.join().unwrap();
        if let Some(settling) = settling {
            settling.join().unwrap();
        }
        assert_eq!((hub.population(), *nodes.wanted.lock()), (Population::default(), 0));
        drop(member);
    });
}

/// No message of the room but between `Joined` and `Removed`.
fn follow_untagged(frames: &[ServerFrame]) {
    let mut is_in = false;
    for frame in frames {
        match frame {
            ServerFrame::Joined { .. } => is_in = true,
            ServerFrame::Removed { .. } => {
                assert!(is_in, "removed from what it was not in: {frames:?}");
                is_in = false;
            }
            ServerFrame::Message(_) => assert!(is_in, "a message outside of a membership: {frames:?}"),
            _ => {}
        }
    }
}

/// A pause begins and ends while messages are sent: all of them are written, whoever was first.
#[test]
fn promise_19_a_pause_and_its_end_against_a_send() {
    check(|| {
        let (hub, nodes) = one_of_several();
        nodes.proof.settle();
        let alice = seat(&hub, 1, "alice");
        join(&hub, alice.member()).unwrap();
        let writer = writer(&alice, 4);
        let pausing = {
            let (hub, nodes) = (Arc::clone(&hub), Arc::clone(&nodes));
            thread::spawn(move || {
                nodes.delivers.store(false, Ordering::SeqCst);
                thread::yield_now();
                nodes.delivers.store(true, Ordering::SeqCst);
                hub.resume();
            })
        };
        // What cannot reach everybody is refused; what was taken before is held back, and goes when the pause ends.
        for tag in [1, 2] {
            let queued = loop {
                match offer(&hub, tag, Vec::new()) {
                    Ok(queued) => break queued,
                    Err(denial) => assert_eq!(denial.code, Code::CutOff),
                }
                thread::yield_now();
            };
            assert_eq!(queued, 1);
        }
        let frames = writer.join().unwrap();
        assert_eq!(follow(&frames, false), Some(true));
        assert_eq!(frames.len(), 4);
        pausing.join().unwrap();
        drop(alice);
        assert_eq!(hub.population(), Population::default());
    });
}

/// A member is removed while its proof comes and the room is sent to: it is told that it joined and then that it was
/// removed, both not before the proof, and no message before the one or behind the other.
#[test]
fn promise_18_a_removal_against_the_proof_of_its_join() {
    check(|| {
        let (hub, nodes) = one_of_several();
        let alice = seat(&hub, 1, "alice");
        join(&hub, alice.member()).unwrap();
        let is_told = |frame: &ServerFrame| matches!(frame, ServerFrame::Removed { .. });
        let writer = {
            let member = Arc::clone(alice.member());
            let nodes = Arc::clone(&nodes);
            thread::spawn(move || {
                let mut frames = Vec::new();
                while !frames.iter().any(is_told) {
                    frames.extend(written(&member, 1));
                    assert!(frames.len() == 1 || nodes.proof.is_settled(), "not proven: {frames:?}");
                }
                frames
            })
        };
        let sending = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || {
                send_but(&hub, 1, Vec::new());
                send_but(&hub, 2, Vec::new());
            })
        };
        let settling = settling(&nodes);
        assert_eq!(remove(&hub, "alice").connections, 1);
        let frames = writer.join().unwrap();
        sending.join().unwrap();
        settling.join().unwrap();
        assert_eq!(follow(&frames, false), Some(false));
        assert!(frames.last().is_some_and(is_told), "{frames:?}");
        let after = queued(alice.member());
        assert!(after.is_empty(), "behind Removed: {after:?}");
        drop(alice);
        assert_eq!((hub.population(), *nodes.wanted.lock()), (Population::default(), 0));
    });
}
