//! A member's facts: what is noted of it, and what it tells.

use std::time::Duration;

use super::*;
use crate::line::scripted::Scripted;
use crate::outbox::{Outbox, OutboxLimits};
use crate::presence::PresenceLimits;
use crate::registry::Registry;
use fanfare_protocol::{Code, ServerFrame};

fn member(line: &Arc<Scripted>, now: (Instant, SystemTime)) -> Arc<Member<u8>> {
    let user = UserName::new("alice").unwrap();
    let id = ConnectionId::from_bytes([7; 16]);
    Arc::new(Member::new(id, user, Outbox::new(OutboxLimits::default()), Arc::clone(line) as _, 1, now))
}

#[test]
fn a_member_tells_who_it_is_and_what_was_noted_of_it() {
    let now = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(9));
    let member = member(&Arc::default(), now);
    assert_eq!((*member.id().as_bytes(), member.user().as_str()), ([7; 16], "alice"));
    assert_eq!((member.since(), member.line().transport()), (now.1, "scripted"));
    assert_eq!(member.requests(), 0);
    member.requested(2);
    member.requested(3);
    assert_eq!(member.requests(), 5);
    assert_eq!(member.calls(), 0);
    member.note_calls(3);
    assert_eq!(member.calls(), 3);
    member.note_calls(2);
    assert_eq!(member.calls(), 2, "as many as run, and not as many as there were");
    assert!(!member.is_held_back());
    member.hold_back(true);
    assert!(member.is_held_back());
    member.hold_back(false);
    assert!(!member.is_held_back());
    assert_eq!(*member.permissions(), 1);
    member.replace_permissions(2);
    assert_eq!(*member.permissions(), 2);
}

#[test]
fn how_long_a_peer_has_been_silent_is_as_exact_as_it_is_asked_often() {
    let (line, begun) = (Arc::<Scripted>::default(), Instant::now());
    let member = member(&line, (begun, SystemTime::now()));
    let silent = |after: u64| member.listen_in(begun + Duration::from_millis(after));
    assert_eq!([silent(0), silent(500)], [0, 500], "since it came");
    *line.packets.lock() = 3;
    assert_eq!([silent(1_000), silent(1_000), silent(1_700)], [0, 0, 700]);
    *line.packets.lock() = 4;
    assert_eq!([silent(5_000), silent(5_001)], [0, 1]);
}

#[test]
fn promise_11_deliveries_are_those_by_stream_and_those_by_datagram() {
    let member = member(&Arc::default(), (Instant::now(), SystemTime::now()));
    assert_eq!(member.deliveries(), (0, 0));
    let sent =
        [Unreliable::Sent, Unreliable::Sent, Unreliable::Displaced, Unreliable::Dropped, Unreliable::Dropped];
    for outcome in sent {
        member.count_datagram(outcome);
    }
    assert_eq!(member.deliveries(), (3, 3));
    let message = crate::envelope::Envelope::new(
        &fanfare_protocol::Sender::Server,
        vec![fanfare_protocol::Target::All],
        fanfare_protocol::EventName::new("E").unwrap(),
        fanfare_protocol::PayloadFormat::Binary,
        bytes::Bytes::new(),
        Instant::now(),
    );
    let message = Arc::new(message);
    for _ in 0..2 {
        member.outbox().push_message(&message, 0);
    }
    assert_eq!(member.deliveries(), (5, 3));
}

#[test]
fn a_member_tells_its_groups_and_the_word_of_others_outlasts_its_own() {
    let registry = Arc::new(Registry::new(PresenceLimits::default()));
    let member = member(&Arc::default(), (Instant::now(), SystemTime::now()));
    let seat = registry.register(member, &ServerFrame::Ack { request: 7, count: 7 }, 1, || Ok(())).unwrap();
    let member = seat.member();
    let group = |name: &str| GroupName::new(name).unwrap();
    let join = |name: &str, origin| registry.join(member, &group(name), 10, origin, || Ok(())).unwrap();
    let origins = || {
        let mut memberships = member.memberships();
        memberships.sort_unstable_by_key(|(group, _)| group.clone());
        memberships.into_iter().map(|(group, origin)| (group.as_str().to_owned(), origin)).collect::<Vec<_>>()
    };
    assert_eq!((member.groups(), origins()), (0, Vec::new()));
    join("a", Origin::Client);
    join("b", Origin::Operator);
    let of = |a, b| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    assert_eq!((member.groups(), origins()), (2, of(Origin::Client, Origin::Operator)));
    // Who joins again changes nothing, and an operator who confirms a membership makes it his.
    join("a", Origin::Client);
    join("b", Origin::Client);
    assert_eq!(origins(), of(Origin::Client, Origin::Operator));
    join("a", Origin::Operator);
    assert_eq!((member.groups(), origins()), (2, of(Origin::Operator, Origin::Operator)));
    // So does the application; of the two, whoever said so last.
    join("b", Origin::Application);
    join("b", Origin::Client);
    assert_eq!((member.groups(), origins()), (2, of(Origin::Operator, Origin::Application)));
    let why = crate::Removal { code: Code::RemovedFromGroup, reason: "" };
    let mut done = crate::Removed::default();
    registry.remove(member, |_, origin| origin == Origin::Client, why, &mut done);
    assert_eq!((member.groups(), done.connections), (2, 0), "grants that end do not end them");
}
