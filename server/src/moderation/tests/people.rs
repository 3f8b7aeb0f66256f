//! What is done to those who are here, and forbids them nothing: add, remove, close, send.

use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{EventName, Message, PayloadFormat, Sender, Target};

use super::*;
use crate::spread::LONGEST;

/// Everybody in the crowd, as acts can name them: with the connections that are meant.
fn whom() -> [(Value, &'static [usize]); 5] {
    [
        (json!({ "connection": id(2) }), &[1]),
        (json!({ "user": "alice" }), &[0, 1]),
        (json!({ "group": "room-1" }), &[0, 2]),
        (json!({ "group": "news" }), &[0, 1, 2]),
        (json!("all"), &[0, 1, 2]),
    ]
}

fn with(ask: &str, who: &Value, more: &[(&str, Value)]) -> Value {
    let mut request = json!({ "ask": ask, "who": who });
    for (name, value) in more {
        request[name] = value.clone();
    }
    request
}

#[test]
fn those_who_are_named_are_added_by_the_operators_word_and_told() {
    for (who, meant) in whom() {
        let (rig, seats) = Rig::crowded();
        let receipt = rig.done(&with("add", &who, &[("group", json!("lobby"))]));
        let connections = meant.len() as u64;
        let expected = Receipt {
            connections,
            groups: counts(&[("lobby", connections)]),
            audit: 1,
            ..Receipt::default()
        };
        assert_eq!(timeless(receipt), expected, "{who}");
        for (at, seat) in seats.iter().enumerate() {
            let is_meant = meant.contains(&at);
            assert_eq!(groups(seat).contains(&("lobby".to_owned(), Origin::Operator)), is_meant, "{who}");
            let told = read(seat.member());
            assert_eq!(matches!(&*told, [ServerFrame::Joined { .. }]), is_meant, "{who}: {told:?}");
        }
    }
}

#[test]
fn nobody_is_added_to_a_group_that_is_forbidden_to_one_of_them() {
    let (rig, seats) = Rig::crowded();
    rig.done(&json!({ "ask": "revoke", "user": "bob", "groups": "lob*", "until": NOW + 60 }));
    let add = with("add", &json!("all"), &[("group", json!("lobby"))]);
    let (code, message) = rig.refused(&add);
    assert_eq!(code, Code::BannedFromGroup);
    assert!(message.contains("\"bob\"") && message.contains("\"lobby\""), "{message}");
    assert_eq!(rig.hub.of_group(&group("lobby")).len(), 0, "not one of them");
    // Others may be added, and bob to other groups; and bob when it has ended.
    rig.done(&with("add", &json!({ "user": "alice" }), &[("group", json!("lobby"))]));
    rig.done(&with("add", &json!({ "user": "bob" }), &[("group", json!("hall"))]));
    at(NOW + 60);
    assert_eq!(rig.done(&add).connections, 3);
    assert_eq!(names(&seats[2]), ["hall", "lobby", "news", "room-1", "room-2"]);
}

#[test]
fn no_group_is_made_of_a_name_that_the_server_does_not_take() {
    let rig = Rig::new();
    let alice = rig.come(1, "alice");
    let add = |name: &str| with("add", &json!("all"), &[("group", json!(name))]);
    let (code, message) = rig.refused(&add("a\u{202e}b"));
    assert_eq!((code, message.contains("direction")), (Code::InvalidName, true), "{message}");
    assert_eq!(groups(&alice), []);
    rig.done(&add("é"));
    // Another server may take others.
    let ascii = Arc::into_inner(rig.moderation).unwrap().taking(access::Names::Ascii);
    let refused = ascii.act(&oncall(), &ask(&add("à"))).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidName);
    assert_eq!(names(&alice), ["é"]);
}

#[test]
fn one_who_has_gone_meanwhile_is_not_counted() {
    let (rig, seats) = Rig::crowded();
    let [_alice, _other, bob] = seats;
    let mut bob = Some(bob);
    // The act is being written down.
    rig.disk.look_on(move |_| drop(bob.take()));
    let receipt = rig.done(&with("add", &json!("all"), &[("group", json!("lobby"))]));
    assert_eq!((receipt.connections, receipt.groups), (2, counts(&[("lobby", 2)])));
}

#[test]
fn who_is_not_there_is_said_by_name_and_nothing_is_done() {
    let (rig, _seats) = Rig::crowded();
    for (who, named) in [
        (json!({ "connection": id(9) }), id(9).to_string()),
        (json!({ "user": "carol" }), "no connection of the user \"carol\"".to_owned()),
        (json!({ "group": "hall" }), "no member of the group \"hall\"".to_owned()),
    ] {
        for request in [
            with("add", &who, &[("group", json!("lobby"))]),
            with("remove", &who, &[("group", json!("lobby"))]),
            with("kick", &who, &[]),
            with("close", &who, &[]),
            with("close", &who, &[("retry_after_ms", json!(1))]),
        ] {
            let (code, message) = rig.refused(&request);
            assert_eq!(code, Code::NothingThere, "{request}");
            assert!(message.contains(&named), "{message}");
        }
    }
    // Nobody at all is nobody to name.
    let empty = Rig::new();
    assert_eq!(timeless(empty.done(&with("kick", &json!("all"), &[]))).connections, 0);
}

#[test]
fn those_who_are_removed_are_told_why_and_may_come_again() {
    for (reason, told) in [("too loud", "too loud"), ("", Code::RemovedFromGroup.sentence())] {
        for (who, meant) in whom() {
            let (rig, seats) = Rig::crowded();
            rig.done(&send_to(&json!({ "group": "news" })));
            let remove = with("remove", &who, &[("group", json!("news")), ("reason", json!(reason))]);
            let connections = meant.len() as u64;
            let expected = Receipt {
                connections,
                groups: counts(&[("news", connections)]),
                purged: connections,
                audit: 2,
                ..Receipt::default()
            };
            assert_eq!(timeless(rig.done(&remove)), expected, "{who}");
            for (at, seat) in seats.iter().enumerate() {
                let is_meant = meant.contains(&at);
                assert_eq!(names(seat).contains(&"news".to_owned()), !is_meant, "{who}");
                assert!(!names(seat).is_empty() && closed(seat).is_none(), "{who}: other groups stay");
                let frames = read(seat.member());
                if is_meant {
                    assert_eq!(frames, [removed("news", Code::RemovedFromGroup, told)], "{who}");
                    assert_eq!(rig.join(seat, "news"), Ok(()));
                } else {
                    assert!(matches!(&*frames, [ServerFrame::Message(_)]), "{who}: {frames:?}");
                }
            }
            assert_eq!(rig.bans_on_disk(), []);
        }
    }
}

#[test]
fn those_who_are_closed_are_told_why_and_not_to_come_back_by_themselves() {
    for ask in ["kick", "close"] {
        for (reason, told) in [("night", "night"), ("", Code::ClosedByOperator.sentence())] {
            for (who, meant) in whom() {
                let (rig, seats) = Rig::crowded();
                let receipt = rig.done(&with(ask, &who, &[("reason", json!(reason))]));
                let connections = meant.len() as u64;
                assert_eq!(
                    timeless(receipt),
                    Receipt { connections, audit: 1, ..Receipt::default() },
                    "{who}"
                );
                for (at, seat) in seats.iter().enumerate() {
                    let why = (Code::ClosedByOperator, told.to_owned(), None);
                    assert_eq!(closed(seat), meant.contains(&at).then_some(why), "{ask} {who}");
                }
                assert_eq!(rig.bans_on_disk(), [], "nobody is forbidden anything");
            }
        }
    }
}

#[test]
fn those_who_may_come_back_are_each_told_a_time_of_their_own() {
    for (reason, told) in [("update", "update"), ("", Code::ClosedForNow.sentence())] {
        for (who, meant) in whom() {
            let (rig, seats) = Rig::crowded();
            let more = [("retry_after_ms", json!(30_000)), ("reason", json!(reason))];
            let receipt = rig.done(&with("close", &who, &more));
            let connections = meant.len() as u64;
            assert_eq!(timeless(receipt), Receipt { connections, audit: 1, ..Receipt::default() }, "{who}");
            for (at, seat) in seats.iter().enumerate() {
                let Some((code, reason, back)) = closed(seat) else {
                    assert!(!meant.contains(&at), "{who}");
                    continue;
                };
                assert!(meant.contains(&at), "{who}");
                assert_eq!((code, reason.as_str()), (Code::ClosedForNow, told));
                assert!(back.is_some_and(|ms| (30_000..=45_000).contains(&ms)), "{back:?}");
            }
        }
    }
    let rig = Rig::new();
    let crowd: Vec<_> = (1..=20).map(|number| rig.come(number, "alice")).collect();
    rig.done(&with("close", &json!("all"), &[("retry_after_ms", json!(86_400_000))]));
    let times: std::collections::BTreeSet<_> = crowd.iter().map(|seat| closed(seat).unwrap().2).collect();
    assert!(times.len() > 1, "all at the same moment");
}

#[test]
fn the_time_to_come_back_after_is_a_day_at_most() {
    assert_eq!(LONGEST, Duration::from_millis(86_400_000));
    let (rig, seats) = Rig::crowded();
    let close = |ms: u32| with("close", &json!("all"), &[("retry_after_ms", json!(ms))]);
    let (code, message) = rig.refused(&close(86_400_001));
    assert_eq!((code, message.contains("86400 s at most")), (Code::InvalidRequest, true), "{message}");
    assert!(seats.iter().all(|seat| closed(seat).is_none()));
    assert_eq!(rig.done(&close(86_400_000)).connections, 3);
}

#[test]
fn a_message_goes_as_the_servers_to_whom_it_is_sent() {
    for (to, target, meant) in [
        (json!({ "connection": id(2) }), Target::Connection(id(2)), &[1][..]),
        (json!({ "user": "alice" }), Target::User(user("alice")), &[0, 1]),
        (json!({ "group": "room-1" }), Target::Group(group("room-1")), &[0, 2]),
        (json!("all"), Target::All, &[0, 1, 2]),
        (json!({ "user": "carol" }), Target::User(user("carol")), &[]),
    ] {
        let (rig, seats) = Rig::crowded();
        let receipt = rig.done(&send_to(&to));
        let connections = meant.len() as u64;
        assert_eq!(timeless(receipt), Receipt { connections, audit: 1, ..Receipt::default() }, "{to}");
        let message = ServerFrame::Message(Message {
            from: Sender::Server,
            to: target,
            event: EventName::new("Hello").unwrap(),
            format: PayloadFormat::Text,
            payload: Bytes::from_static(b"hello"),
        });
        for (at, seat) in seats.iter().enumerate() {
            let expected: &[_] = if meant.contains(&at) { std::slice::from_ref(&message) } else { &[] };
            assert_eq!(read(seat.member()), expected, "{to}");
        }
    }
}

#[test]
fn a_payload_that_is_too_long_or_no_base64_is_sent_to_nobody() {
    use base64::Engine as _;
    let (rig, seats) = Rig::crowded();
    let send = |payload: String| {
        let mut request = send_to(&json!("all"));
        request["payload"] = json!(payload);
        request
    };
    let of = |bytes: u32| send(base64::engine::general_purpose::STANDARD.encode(vec![7; bytes as usize]));
    let (code, message) = rig.refused(&of(PAYLOAD + 1));
    assert_eq!(code, Code::PayloadTooLarge);
    assert!(message.contains("100 bytes") && message.contains("99 are allowed"), "{message}");
    let (code, message) = rig.refused(&send("a*".to_owned()));
    assert_eq!((code, message.contains("not base64")), (Code::InvalidRequest, true), "{message}");
    assert!(seats.iter().all(|seat| read(seat.member()).is_empty()));
    assert_eq!(rig.done(&of(PAYLOAD)).connections, 3);
    assert_eq!(rig.done(&of(0)).connections, 3);
}

#[test]
fn a_backup_is_made_and_recorded_and_one_that_failed_is_said_to() {
    let rig = Rig::new();
    let made = || rig.disk.backups.load(std::sync::atomic::Ordering::Relaxed);
    let receipt = rig.done(&json!({ "ask": "backup" }));
    assert_eq!(timeless(receipt), Receipt { audit: 1, ..Receipt::default() });
    assert_eq!((made(), rig.outcomes()), (1, vec!["done".to_owned()]));
    rig.disk.unreadable.store(true, std::sync::atomic::Ordering::Relaxed);
    let message = rig.failed(&json!({ "ask": "backup" }));
    assert!(message.contains("nothing was done") && message.contains("no space left"), "{message}");
    assert_eq!(made(), 1);
}

/// Somebody whom the application is being asked about is not here yet, and can be closed all the same.
#[tokio::test]
async fn who_is_expected_is_turned_away_and_counts() {
    for (ask, more, chosen) in [
        ("kick", vec![], None),
        ("close", vec![("retry_after_ms", json!(0))], None),
        ("close", vec![("retry_after_ms", json!(5_000))], Some(Duration::from_secs(5))),
    ] {
        let rig = Rig::new();
        let (connection, who) = (id(9), json!({ "connection": id(9) }));
        let mut more = more;
        more.push(("reason", json!("not now")));
        assert_eq!(rig.refused(&with(ask, &who, &more)).0, Code::NothingThere, "nobody is expected");
        let expected = rig.moderation.arrivals().expect(connection, user("dave"));
        assert_eq!(rig.done(&with(ask, &who, &more)).connections, 1);
        let (why, after) = expected.turned_away().await;
        let code = if chosen.is_some() { Code::ClosedForNow } else { Code::ClosedByOperator };
        assert_eq!((why.code, why.reason.as_str(), after), (code, "not now", chosen));
    }
}
