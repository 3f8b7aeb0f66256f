//! The handle's verbs, on a hub that nothing carries.

use fanfare_hub::HubLimits;
use fanfare_protocol::ServerFrame;
use fanfare_protocol::admin::{BanKind, BanRow};
use fanfare_token::Permissions;

use super::*;
use crate::access::{Bans, Gate, KeySets, Tokens};
use crate::hub::{Seat, read, register};

fn name(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn room(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

struct Fixture {
    handle: HubHandle,
    bans: Arc<Bans>,
    seats: Vec<Seat>,
}

/// Alice has two connections, Bob one.
fn fixture() -> Fixture {
    let bans = Arc::new(Bans::default());
    let gate = Gate::new(Arc::new(Tokens::new(None, KeySets::none())), Arc::clone(&bans));
    let hub = Arc::new(Hub::new(HubLimits::default(), Arc::new(gate)));
    let seats = [(1, "alice"), (2, "alice"), (3, "bob")].map(|(number, user)| {
        let id = ConnectionId::from_bytes([number; 16]);
        register(&hub, id, name(user), Permissions::development(1)).unwrap()
    });
    let limits = Limits { targets: 2, ..Limits::default().with_payload_bytes(10) };
    Fixture { handle: HubHandle::new(hub, limits), bans, seats: seats.into() }
}

fn id(number: u8) -> ConnectionId {
    ConnectionId::from_bytes([number; 16])
}

fn refused<T: std::fmt::Debug>(answer: Result<T, HubError>) -> Code {
    match answer.unwrap_err() {
        HubError::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_send_reaches_each_connection_once_and_those_that_are_excepted_not_at_all() {
    let Fixture { handle, seats, .. } = fixture();
    handle.user(name("alice")).join(&room("a")).unwrap();
    assert_eq!(handle.everyone().send("E", "x"), Ok(3));
    assert_eq!(handle.user(name("alice")).send("E", "x"), Ok(2));
    assert_eq!(handle.connection(id(3)).send("E", "x"), Ok(1));
    let both = [Target::Group(room("a")), Target::User(name("alice"))];
    assert_eq!(handle.select(both.clone()).send("E", "x"), Ok(2));
    assert_eq!(handle.select(both).except(id(1)).send("E", "x"), Ok(1));
    assert_eq!(handle.group(room("nobody's")).send("E", "x"), Ok(0));
    let counters = handle.hub.counters();
    assert_eq!((counters.sends.value(), counters.deliveries.value()), (6, 9));
    drop(seats);
    assert_eq!(handle.everyone().send("E", "x"), Ok(0), "and nobody who has gone");
}

#[test]
fn a_send_keeps_to_the_limits_that_clients_are_told() {
    let Fixture { handle, seats: _seats, .. } = fixture();
    assert_eq!(refused(handle.everyone().send("E", "01234567890")), Code::PayloadTooLarge);
    assert_eq!(refused(handle.select([]).send("E", "x")), Code::NoTarget);
    assert_eq!(
        refused(handle.select([Target::All, Target::All, Target::All]).send("E", "x")),
        Code::TooManyTargets
    );
    let excepted = handle.everyone().except(id(1)).except(id(2)).except(id(3));
    assert_eq!(refused(excepted.send("E", "x")), Code::TooManyTargets);
    let error = handle.everyone().send("", "x").unwrap_err();
    assert_eq!(error.to_string(), "the event name is empty; it must have 1 to 256 bytes");
    assert_eq!(handle.hub.counters().sends.value(), 0);
}

#[test]
fn a_join_needs_no_grant_and_lifts_no_ban() {
    let Fixture { handle, bans, seats } = fixture();
    assert_eq!(handle.everyone().join(&room("a")), Ok(3));
    assert_eq!(handle.group(room("a")).count(), 3);
    // The hub's own membership, which outlives a grant that ends.
    assert_eq!(seats[0].member().memberships(), [(room("a"), Origin::Application)]);
    bans.put(BanRow {
        kind: BanKind::Group,
        user: Some(name("alice")),
        groups: Some("b".parse().unwrap()),
        jti: None,
        since: 1,
        until: None,
        reason: String::new(),
        author: "oncall".to_owned(),
    });
    assert_eq!(refused(handle.user(name("alice")).join(&room("b"))), Code::BannedFromGroup);
    assert_eq!(handle.everyone().join(&room("b")), Ok(1), "bob is not banned");
    assert_eq!(refused(handle.user(name("carol")).join(&room("b"))), Code::NothingThere);
}

#[test]
fn who_is_removed_is_told_why_and_may_join_again() {
    let Fixture { handle, seats, .. } = fixture();
    handle.everyone().join(&room("a")).unwrap();
    handle.everyone().join(&room("b")).unwrap();
    assert_eq!(handle.user(name("alice")).remove(&room("a"), "the meeting is over"), Ok(2));
    assert_eq!((handle.group(room("a")).count(), handle.group(room("b")).count()), (1, 3));
    assert_eq!(handle.user(name("alice")).remove(&room("a"), ""), Ok(0), "once");
    assert_eq!(refused(handle.everyone().remove(&room("a"), &"x".repeat(513))), Code::InvalidRequest);
    let told = ServerFrame::Removed {
        group: room("a"),
        code: Code::RemovedFromGroup.number(),
        reason: "the meeting is over".to_owned(),
    };
    assert!(read(seats[0].member()).contains(&told));
    assert_eq!(handle.user(name("alice")).join(&room("a")), Ok(2));
}

#[test]
fn who_is_closed_is_told_why_and_when_to_come_back() {
    let Fixture { handle, seats, .. } = fixture();
    assert_eq!(handle.connection(id(3)).close(""), Ok(1));
    let code = Code::ClosedByOperator;
    assert_eq!(seats[2].member().outbox().close_reason(), Some(code.into()));
    assert_eq!(handle.user(name("alice")).close_for(Duration::from_secs(30), "maintenance"), Ok(2));
    let why = CloseReason { code: Code::ClosedForNow, reason: "maintenance".to_owned() };
    assert_eq!(seats[0].member().outbox().close_reason(), Some(why));
    assert_eq!(
        refused(handle.everyone().close_for(spread::LONGEST + Duration::from_millis(1), "")),
        Code::InvalidRequest
    );
    assert_eq!(refused(handle.user(name("carol")).close("")), Code::NothingThere);
}

#[test]
fn what_is_listed_is_what_is_there() {
    let Fixture { handle, seats: _seats, .. } = fixture();
    handle.user(name("bob")).join(&room("a")).unwrap();
    let listed = handle.group(room("a")).list();
    let [facts] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((facts.id, &facts.user, facts.groups.as_slice()), (id(3), &name("bob"), &[room("a")][..]));
    assert_eq!((handle.everyone().count(), handle.everyone().except(id(1)).count()), (3, 2));
    let mut users = handle.users();
    users.sort();
    assert_eq!(users, [(name("alice"), 2), (name("bob"), 1)]);
    assert_eq!(handle.groups(), [(room("a"), 1)]);
    assert_eq!(handle.population(), Population { connections: 3, users: 2, groups: 1 });
}

#[test]
fn who_is_excepted_is_left_out_also_while_the_application_is_asked_about_it() {
    let Fixture { handle, seats: _seats, .. } = fixture();
    let expected = handle.arrivals().expect(id(9), name("carol"));
    let both = || handle.select([Target::Connection(id(3)), Target::Connection(id(9))]);
    assert_eq!(both().except(id(9)).join(&room("a")), Ok(1));
    assert_eq!(both().join(&room("b")), Ok(2));
    assert_eq!(both().except(id(9)).remove(&room("b"), ""), Ok(1));
    assert_eq!(expected.arrive(&handle.hub), [room("b")]);
}

#[test]
fn nobody_says_what_the_server_alone_says() {
    let Fixture { handle, seats: _seats, .. } = fixture();
    assert_eq!(refused(handle.everyone().send("Fanfare.Removed", "x")), Code::InvalidName);
    assert_eq!(refused(handle.everyone().send_unreliable("fanfare.Lagged", "x")), Code::InvalidName);
}
