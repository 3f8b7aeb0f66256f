//! What is recorded of each act, and who may act (promise 11).

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

/// Each request that has a reason, but for the reason.
fn with_reasons() -> Vec<Value> {
    vec![
        json!({ "ask": "revoke", "user": "alice", "groups": "room-*", "until": null, "dry_run": false }),
        json!({ "ask": "restore", "user": "alice", "groups": "room-*" }),
        json!({ "ask": "sign_out", "user": "alice" }),
        json!({ "ask": "lift_sign_out", "user": "alice" }),
        json!({ "ask": "revoke_token", "jti": "t1", "until": null }),
        json!({ "ask": "restore_token", "jti": "t1" }),
        json!({ "ask": "add", "who": "all", "group": "lobby" }),
        json!({ "ask": "remove", "who": { "user": "alice" }, "group": "lobby" }),
        json!({ "ask": "close", "who": { "connection": id(1) }, "retry_after_ms": 5 }),
        json!({ "ask": "kick", "who": { "group": "news" } }),
        json!({ "ask": "ban", "user": "alice", "until": null, "dry_run": false }),
        json!({ "ask": "unban", "user": "alice" }),
    ]
}

fn because(mut request: Value, reason: &str) -> Value {
    request["reason"] = json!(reason);
    request
}

fn milliseconds() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn each_act_is_recorded_as_it_was_asked_for_and_answered() {
    let (rig, _seats) = Rig::crowded();
    let mut requests: Vec<_> =
        with_reasons().into_iter().map(|request| because(request, "because")).collect();
    requests.push(json!({ "ask": "backup" }));
    for (number, request) in (1..).zip(&requests) {
        let before = milliseconds();
        let receipt = rig.done(request);
        assert_eq!(receipt.audit, number);
        let record = rig.records().pop().unwrap();
        assert_eq!(record["sequence"], json!(number));
        assert_eq!((&record["author"], &record["role"]), (&json!("oncall"), &json!("operator")));
        assert_eq!(&record["act"], request);
        assert!((before..=milliseconds()).contains(&record["at_ms"].as_u64().unwrap()), "{record}");
        // But for how long it took: that goes on while it is recorded.
        let recorded: Receipt = serde_json::from_value(record["outcome"]["done"].clone()).unwrap();
        assert!(recorded.took_us <= receipt.took_us);
        assert_eq!(Receipt { took_us: receipt.took_us, ..recorded }, receipt);
        assert_eq!(rig.moderation.audit_head().sequence, number);
    }
    rig.verify();
    assert_eq!(rig.metrics.refused.values().len(), 0);
}

#[test]
fn a_payload_is_in_no_record_and_its_length_is() {
    let rig = Rig::new();
    let recorded = |payload: &str| {
        let request = json!({ "ask": "send", "to": "all", "event": "Hello", "payload": payload });
        let _ = rig.act(&request);
        let act = rig.records().pop().unwrap()["act"].clone();
        assert!(act.get("payload").is_none() && act["event"] == json!("Hello"), "{act}");
        act["payload_bytes"].as_u64().unwrap()
    };
    for (payload, bytes) in [("", 0), ("aGVsbG8=", 5), ("aGVsbA==", 4), ("aGVsbG8h", 6), ("=", 0)] {
        assert_eq!(recorded(payload), bytes, "{payload}");
    }
    // It is no base64, and refused.
    assert_eq!(rig.outcomes().last().unwrap(), "refused");
}

#[test]
fn a_viewer_may_do_nothing_and_that_it_tried_is_recorded_and_counted() {
    let (rig, seats) = Rig::crowded();
    let viewer = Operator { name: "guest".to_owned(), role: Role::Viewer };
    let mut requests = with_reasons();
    requests.extend([json!({ "ask": "backup" }), send_to(&json!("all"))]);
    requests.push(json!({ "ask": "ban", "user": "alice", "dry_run": true }));
    for request in &requests {
        let refused = rig.moderation.act(&viewer, &ask(request)).unwrap_err();
        assert_eq!(refused.code(), Code::ViewerMayNotAct, "{request}");
        let record = rig.records().pop().unwrap();
        assert_eq!((&record["author"], &record["role"]), (&json!("guest"), &json!("viewer")));
        assert_eq!(record["act"]["ask"], request["ask"]);
        let outcome = &record["outcome"]["refused"];
        assert_eq!(outcome["code"], json!(Code::ViewerMayNotAct.number()));
        assert!(refused.to_string().contains(outcome["message"].as_str().unwrap()), "{refused}");
    }
    let tried = requests.len() as u64;
    assert_eq!(rig.metrics.refused.values(), [(Code::ViewerMayNotAct, tried)].into());
    assert_eq!(rig.records().len(), requests.len());
    assert_eq!((rig.bans_on_disk(), rig.moderation.bans()), (Vec::new(), Vec::new()));
    assert!(seats.iter().all(|seat| closed(seat).is_none() && read(seat.member()).is_empty()));
    rig.verify();
}

#[test]
fn a_reason_has_512_bytes_at_most_whatever_it_is_for() {
    let (rig, seats) = Rig::crowded();
    for request in with_reasons() {
        let (code, message) = rig.refused(&because(request, &"é".repeat(REASON / 2 + 1)));
        assert_eq!((code, message.contains("512 bytes")), (Code::InvalidRequest, true), "{message}");
    }
    assert_eq!((rig.bans_on_disk(), rig.moderation.bans()), (Vec::new(), Vec::new()));
    assert!(seats.iter().all(|seat| closed(seat).is_none() && read(seat.member()).is_empty()));
    for request in with_reasons() {
        rig.done(&because(request, &"é".repeat(REASON / 2)));
    }
}

#[test]
fn those_who_follow_the_audit_hear_of_each_record_and_of_nothing_else() {
    let rig = Rig::new();
    let mut recorded = rig.moderation.recorded();
    let heard = |recorded: &mut tokio::sync::watch::Receiver<u64>| {
        let is_new = recorded.has_changed().unwrap();
        (is_new, *recorded.borrow_and_update())
    };
    assert_eq!(heard(&mut recorded), (false, 0));
    rig.done(&json!({ "ask": "ban", "user": "alice" }));
    assert_eq!(heard(&mut recorded), (true, 1));
    rig.done(&json!({ "ask": "ban", "user": "alice", "dry_run": true }));
    assert_eq!(heard(&mut recorded), (false, 1), "a dry run is not recorded");
    rig.refused(&json!({ "ask": "unban", "user": "alice", "reason": "x".repeat(REASON + 1) }));
    assert_eq!(heard(&mut recorded), (true, 2));
    // A server that starts again goes on behind the last.
    let again = Rig::on(rig.disk, Validity::default());
    assert_eq!(*again.moderation.recorded().borrow(), 2);
    assert_eq!(again.done(&json!({ "ask": "unban", "user": "alice" })).audit, 3);
    again.verify();
}

#[test]
fn records_are_shown_behind_a_number_and_a_thousand_at_a_time() {
    let rig = Rig::new();
    for _ in 0..1_003 {
        rig.done(&json!({ "ask": "unban", "user": "alice" }));
    }
    let shown = |after, limit| {
        let records = rig.moderation.audit(after, limit).unwrap();
        let numbers: Vec<u64> = records.iter().map(|(number, _)| *number).collect();
        (numbers.len(), numbers.first().copied(), numbers.last().copied())
    };
    assert_eq!(shown(0, usize::MAX), (1_000, Some(1), Some(1_000)));
    assert_eq!(shown(1_000, usize::MAX), (3, Some(1_001), Some(1_003)));
    assert_eq!(shown(7, 2), (2, Some(8), Some(9)));
    assert_eq!(shown(1_003, 9), (0, None, None));
    let stored = rig.moderation.audit(4, 1).unwrap();
    assert_eq!(stored[0].1, rig.disk.records.lock()[&5], "as they were stored");
    // The chain is checked to its end, in pages.
    let verdict = rig.moderation.verify_audit(None).unwrap();
    assert_eq!((verdict.whole, verdict.records), (true, 1_003));
    assert_eq!((&verdict.head, verdict.head.sequence), (&rig.moderation.audit_head(), 1_003));
}

#[test]
fn an_audit_that_was_changed_or_made_anew_is_not_whole() {
    let rig = Rig::new();
    for name in ["alice", "bob", "carol"] {
        rig.done(&json!({ "ask": "ban", "user": name }));
    }
    let noted = rig.moderation.audit_head();
    rig.done(&json!({ "ask": "unban", "user": "carol" }));
    let whole = |head: Option<&str>| rig.moderation.verify_audit(head).unwrap().whole;
    assert!(whole(None) && whole(Some(&noted.hash)));
    assert!(!whole(Some(&"0f".repeat(32))));
    let record = rig.disk.records.lock()[&2].clone();
    let text = String::from_utf8(record.clone()).unwrap().replace("bob", "eve");
    rig.disk.records.lock().insert(2, text.into_bytes());
    let verdict = rig.moderation.verify_audit(None).unwrap();
    assert!(verdict.broken.as_ref().is_some_and(|broken| broken.contains("record 3")), "{verdict:?}");
    rig.disk.records.lock().insert(2, record);
    assert!(whole(None));
    // The newest was cut off: the head beside it knows better.
    rig.disk.records.lock().remove(&4);
    assert!(!whole(None));
}

/// What other nodes hold a chain to: its first record's hash is its name, and each record has one hash.
#[test]
fn promise_11_a_chain_is_known_by_its_first_record_and_holds_what_is_in_it() {
    let (rig, _seats) = Rig::crowded();
    assert!(rig.moderation.chain().is_none(), "it has no record");
    assert!(rig.moderation.audit_holds(0, "anything").unwrap(), "nothing is in every chain");
    assert!(!rig.moderation.audit_holds(1, "anything").unwrap());
    let mut heads = Vec::new();
    for number in 1..=3 {
        rig.done(&because(json!({ "ask": "revoke_token", "jti": format!("t{number}"), "until": null }), "x"));
        let (name, head) = rig.moderation.chain().unwrap();
        assert_eq!(head.sequence, number);
        assert_eq!((head.hex().len(), head.hex()), (64, rig.moderation.audit_head().hash));
        heads.push((name, head));
    }
    let first = heads[0].1.hex();
    assert!(heads.iter().all(|(name, _)| !name.is_empty() && first.starts_with(name.as_str())), "{heads:?}");
    for (number, (_, head)) in (1..).zip(&heads) {
        assert!(rig.moderation.audit_holds(number, &head.hex()).unwrap());
        assert!(
            !rig.moderation.audit_holds(number % 3 + 1, &head.hex()).unwrap(),
            "that is another record's"
        );
        assert!(!rig.moderation.audit_holds(number + 3, &head.hex()).unwrap(), "there are three");
    }
}
