//! Every interleaving that shuttle can find of the registry's races, with the registry's own code.
//!
//! `cargo test -p fanfare-server --features model` replaces the locks by shuttle's, which switches threads at every lock
//! operation, and runs nothing but these. Random schedules find deep races fast, and PCT (probabilistic concurrency
//! testing, Burckhardt et al., ASPLOS 2010) finds those that need few switches with a known probability.

use fanfare_protocol::admin::{BanKind, BanRow};
use fanfare_protocol::{EventName, Pattern, PayloadFormat, Sender};
use shuttle::thread;

use super::*;
use crate::access::Bans;
use crate::acts::enforce_on_groups;
use crate::line::Nowhere;
use crate::outbox::{OutboxLimits, Overflow};

const SCHEDULES: usize = 4_000;

fn check(model: impl Fn() + Copy + Send + Sync + 'static) {
    shuttle::check_random(model, SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, 3);
}

fn seat(registry: &Arc<Registry>, number: u8, user: &str) -> Seat {
    let limits = OutboxLimits { frames: 100, bytes: 1 << 20, overflow: Overflow::Disconnect };
    let id = ConnectionId::from_bytes([number; 16]);
    let member = Arc::new(Member::new(
        id,
        UserName::new(user).unwrap(),
        limits,
        Arc::new(Nowhere),
        Pass::development(),
    ));
    registry.arrive(member, usize::MAX, || Ok(())).ok().unwrap()
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

fn expel(registry: &Registry, user: &str) -> Expulsion {
    let farewell = Farewell { code: Code::RemovedFromGroup, reason: "" };
    registry.expel_user(&UserName::new(user).unwrap(), |group, _| *group == room(), farewell)
}

fn members(registry: &Registry) -> usize {
    registry.count(&Target::Group(room()))
}

fn send(registry: &Registry) -> u64 {
    let from = Sender::Connection {
        connection: ConnectionId::from_bytes([0; 16]),
        user: UserName::new("s").unwrap(),
    };
    let event = EventName::new("E").unwrap();
    let envelope =
        Envelope::new(&from, vec![Target::Group(room())], event, PayloadFormat::Binary, bytes::Bytes::new());
    registry.send(&Arc::new(envelope), &[]).queued
}

/// A connection goes while it joins: it must not stay behind in the group.
#[test]
fn join_against_disconnect() {
    check(|| {
        let registry = Arc::new(Registry::new());
        let alice = seat(&registry, 1, "alice");
        let (member, joining) = (Arc::clone(alice.member()), Arc::clone(&registry));
        let join =
            thread::spawn(move || joining.join(&member, &room(), 10, Origin::Client, || Ok(())).is_ok());
        drop(alice);
        join.join().unwrap();
        assert_eq!(registry.population(), Population::default());
        assert_eq!(send(&registry), 0);
    });
}

/// A user is removed while one of its connections joins and another is a member: afterwards the group and the members
/// agree on who is in it, and who is in it can leave.
#[test]
fn join_against_remove_user_from_group() {
    check(|| {
        let registry = Arc::new(Registry::new());
        let first = seat(&registry, 1, "alice");
        let second = seat(&registry, 2, "alice");
        registry.join(first.member(), &room(), 10, Origin::Client, || Ok(())).unwrap();
        let (member, joining) = (Arc::clone(second.member()), Arc::clone(&registry));
        let join = thread::spawn(move || {
            joining.join(&member, &room(), 10, Origin::Client, || Ok(())).unwrap();
            joining.leave(&member, &room());
            joining.join(&member, &room(), 10, Origin::Client, || Ok(())).unwrap();
        });
        let removed = expel(&registry, "alice").connections;
        join.join().unwrap();
        assert!(removed == 1 || removed == 2);
        let believe = [&first, &second]
            .iter()
            .filter(|seat| seat.member().memberships.lock().groups.contains(&room()))
            .count();
        assert_eq!(members(&registry), believe);
        assert_eq!(send(&registry), believe as u64);
        drop((first, second));
        assert_eq!(registry.population(), Population::default());
    });
}

/// The last member leaves while another joins: the joiner is in the group that everybody finds.
#[test]
fn last_leave_against_first_join() {
    check(|| {
        let registry = Arc::new(Registry::new());
        let alice = seat(&registry, 1, "alice");
        let bob = seat(&registry, 2, "bob");
        registry.join(alice.member(), &room(), 10, Origin::Client, || Ok(())).unwrap();
        let (member, joining) = (Arc::clone(bob.member()), Arc::clone(&registry));
        let join =
            thread::spawn(move || joining.join(&member, &room(), 10, Origin::Client, || Ok(())).unwrap());
        let (member, leaving) = (Arc::clone(alice.member()), Arc::clone(&registry));
        let leave = thread::spawn(move || leaving.leave(&member, &room()));
        join.join().unwrap();
        // Whoever is told that he is in is reached, at once, whether the other has left or not.
        let except = [alice.member().id()];
        let from = Sender::Connection {
            connection: ConnectionId::from_bytes([0; 16]),
            user: UserName::new("s").unwrap(),
        };
        let event = EventName::new("E").unwrap();
        let envelope = Envelope::new(
            &from,
            vec![Target::Group(room())],
            event,
            PayloadFormat::Binary,
            bytes::Bytes::new(),
        );
        assert_eq!(registry.send(&Arc::new(envelope), &except).queued, 1);
        leave.join().unwrap();
        assert_eq!((members(&registry), send(&registry)), (1, 1));
        drop((alice, bob));
        assert_eq!(registry.population(), Population::default());
    });
}

/// Two connections of a user that come and go: the user is there exactly while one of them is.
#[test]
fn arrival_against_departure_of_one_user() {
    check(|| {
        let registry = Arc::new(Registry::new());
        let first = seat(&registry, 1, "alice");
        let arriving = Arc::clone(&registry);
        let arrival = thread::spawn(move || seat(&arriving, 2, "alice"));
        drop(first);
        let second = arrival.join().unwrap();
        assert_eq!(registry.count(&Target::User(UserName::new("alice").unwrap())), 1);
        drop(second);
        assert_eq!(registry.population(), Population::default());
    });
}

/// A send while a member joins, and one after: `Joined` comes before the first message, and the second is not missed.
#[test]
fn a_message_after_the_join_is_not_missed_and_none_comes_before_joined() {
    check(|| {
        let registry = Arc::new(Registry::new());
        let alice = seat(&registry, 1, "alice");
        let sending = Arc::clone(&registry);
        let sender = thread::spawn(move || send(&sending));
        registry.join(alice.member(), &room(), 10, Origin::Client, || Ok(())).unwrap();
        let after = send(&registry);
        let before = sender.join().unwrap();
        assert_eq!(after, 1);
        let mut chunks = Vec::new();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(alice.member().outbox().poll_take(&mut context, &mut chunks).is_ready());
        let first = chunks[0].slice(fanfare_protocol::codec::PREFIX_BYTES..);
        let first = fanfare_protocol::codec::decode_server(&first).unwrap();
        assert!(matches!(first, ServerFrame::Joined { .. }), "{first:?}");
        assert_eq!(chunks.len() as u64, 1 + before + after);
    });
}

fn ban_from_room(user: &str) -> BanRow {
    BanRow {
        kind: BanKind::Group,
        user: Some(UserName::new(user).unwrap()),
        groups: Some(Pattern::new("r*").unwrap()),
        jti: None,
        since: 0,
        until: None,
        reason: String::new(),
        author: String::new(),
    }
}

/// Whether a revoke holds. A connection joins, and joins again, while its user is revoked and another of the user's connections goes: whatever the
/// order, when the revoke has returned nobody of the user is in the group, and nobody comes back.
fn revoke_holds(revoke: impl Fn(&Bans, &Registry)) -> bool {
    let registry = Arc::new(Registry::new());
    let bans = Arc::new(Bans::default());
    let (alice, other) = (seat(&registry, 1, "alice"), seat(&registry, 2, "alice"));
    let bob = seat(&registry, 3, "bob");
    let may_join = |bans: &Bans, member: &Arc<Member>| {
        if bans.forbids_group(member.user(), &room(), 0) { Err(Code::BannedFromGroup.into()) } else { Ok(()) }
    };
    registry.join(bob.member(), &room(), 10, Origin::Client, || Ok(())).unwrap();
    registry.join(other.member(), &room(), 10, Origin::Client, || may_join(&bans, other.member())).unwrap();
    let joining = {
        let (registry, bans, member) = (Arc::clone(&registry), Arc::clone(&bans), Arc::clone(alice.member()));
        thread::spawn(move || {
            for _ in 0..2 {
                let _ = registry.join(&member, &room(), 10, Origin::Client, || may_join(&bans, &member));
            }
        })
    };
    let leaving = thread::spawn(move || drop(other));
    revoke(&bans, &registry);
    let is_left = registry.of_group(&room()).iter().any(|member| member.user().as_str() == "alice");
    joining.join().unwrap();
    leaving.join().unwrap();
    // Asked before the seats go, and told after: a seat cannot be given up in a model that has failed.
    let came_back = members(&registry) != 1 || send(&registry) != 1;
    drop((alice, bob));
    assert_eq!(registry.population(), Population::default());
    !is_left && !came_back
}

#[test]
fn join_against_revoke_against_disconnect() {
    check(|| {
        let holds = revoke_holds(|bans, registry| {
            let ban = ban_from_room("alice");
            let (user, groups) = (ban.user.clone().unwrap(), ban.groups.clone().unwrap());
            let farewell = Farewell { code: Code::BannedFromGroup, reason: "" };
            enforce_on_groups(bans, registry, ban, &user, &groups, farewell);
        });
        assert!(holds, "revoked, and a member");
    });
}

/// The same with the order broken: first removed, then forbidden. The model must find the join in between.
#[test]
#[should_panic(expected = "revoked, and a member")]
fn join_against_revoke_is_lost_where_the_ban_comes_last() {
    check(|| {
        let holds = revoke_holds(|bans, registry| {
            expel(registry, "alice");
            bans.put(ban_from_room("alice"));
        });
        assert!(holds, "revoked, and a member");
    });
}
