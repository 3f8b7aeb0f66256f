//! What forbids, and what lifts it: revoke, ban, sign-out, revoked tokens.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use fanfare_protocol::Pattern;
use fanfare_protocol::admin::BanKind;
use parking_lot::Mutex;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn with_token(issued: Option<Seconds>, jti: Option<&str>) -> Permissions {
    Permissions { issued, token: jti.map(str::to_owned), ..Permissions::development(NOW) }
}

#[test]
fn a_revoke_removes_the_user_from_what_it_forbids_and_from_nothing_else() {
    let (rig, seats) = Rig::crowded();
    let sent = rig.hub.counters().purged.value();
    assert_eq!(rig.done(&send_to(&json!({ "group": "room-1" }))).connections, 2);
    let revoke =
        json!({ "ask": "revoke", "user": "alice", "groups": "room-*", "until": NOW + 9, "reason": "spam" });
    let receipt = rig.done(&revoke);
    let expected = Receipt {
        connections: 2,
        groups: counts(&[("room-1", 1), ("room-2", 1)]),
        purged: 1,
        audit: 2,
        ..Receipt::default()
    };
    assert_eq!(timeless(receipt), expected);
    assert_eq!(rig.hub.counters().purged.value() - sent, 1);
    // Each is told for itself, and why; the message that waited is gone.
    assert_eq!(read(seats[0].member()), [removed("room-1", Code::BannedFromGroup, "spam")]);
    assert_eq!(read(seats[1].member()), [removed("room-2", Code::BannedFromGroup, "spam")]);
    assert_eq!((names(&seats[0]), names(&seats[1])), (vec!["news".to_owned()], vec!["news".to_owned()]));
    assert_eq!(names(&seats[2]), ["news", "room-1", "room-2"]);
    assert!(seats.iter().all(|seat| closed(seat).is_none()));
    // It may not come back, nor may another connection of the user; and others may.
    assert_eq!(rig.join(&seats[0], "room-7"), Err(Code::BannedFromGroup));
    assert_eq!(rig.join(&rig.come(4, "alice"), "room-1"), Err(Code::BannedFromGroup));
    assert_eq!(rig.join(&seats[0], "lobby"), Ok(()));
    let expected = BanRow {
        kind: BanKind::Group,
        user: Some(user("alice")),
        groups: Some(pattern("room-*")),
        jti: None,
        since: NOW,
        until: Some(NOW + 9),
        reason: "spam".to_owned(),
        author: "oncall".to_owned(),
    };
    assert_eq!(rig.moderation.bans(), std::slice::from_ref(&expected));
    assert_eq!(rig.bans_on_disk(), [expected]);
    // It ends by itself.
    at(NOW + 8);
    assert_eq!(rig.join(&seats[0], "room-1"), Err(Code::BannedFromGroup));
    at(NOW + 9);
    assert_eq!((rig.join(&seats[0], "room-1"), rig.moderation.bans()), (Ok(()), Vec::new()));
}

#[test]
fn whom_no_reason_is_given_is_told_what_the_code_says() {
    let (rig, seats) = Rig::crowded();
    rig.done(&json!({ "ask": "revoke", "user": "alice", "groups": "room-1" }));
    let sentence = |code: Code| code.sentence().to_owned();
    let (of_group, of_user) = (sentence(Code::BannedFromGroup), sentence(Code::UserBanned));
    assert_eq!(read(seats[0].member()), [removed("room-1", Code::BannedFromGroup, &of_group)]);
    rig.done(&json!({ "ask": "ban", "user": "alice" }));
    assert_eq!(closed(&seats[0]), Some((Code::UserBanned, of_user, None)));
}

#[test]
fn a_revoke_of_somebody_who_is_not_here_is_in_force_when_it_comes() {
    let rig = Rig::new();
    let receipt = rig.done(&json!({ "ask": "revoke", "user": "alice", "groups": "room-*" }));
    assert_eq!(timeless(receipt), Receipt { audit: 1, ..Receipt::default() });
    assert_eq!(rig.join(&rig.come(1, "alice"), "room-1"), Err(Code::BannedFromGroup));
}

#[test]
fn what_is_in_force_already_is_said_to_be() {
    let rig = Rig::new();
    let unchanged = |request: &Value| rig.done(request).unchanged;
    for (named, others) in [
        (json!({ "ask": "ban", "user": "alice" }), json!({ "ask": "ban", "user": "bob" })),
        (
            json!({ "ask": "revoke", "user": "alice", "groups": "a*" }),
            json!({ "ask": "revoke", "user": "alice", "groups": "b*" }),
        ),
        (json!({ "ask": "revoke_token", "jti": "t1" }), json!({ "ask": "revoke_token", "jti": "t2" })),
    ] {
        let mut until = named.clone();
        until["until"] = json!(NOW + 60);
        assert_eq!(
            [&named, &named, &until, &until, &named, &others].map(unchanged),
            [false, true, false, true, false, false],
            "{named}: another end is a change"
        );
    }
    assert_eq!(rig.bans_on_disk().len(), 6, "each takes the place of the one before");
    // What it was about has moved on since.
    let sign_out = json!({ "ask": "sign_out", "user": "alice" });
    assert_eq!([&sign_out, &sign_out].map(unchanged), [false, false]);
    // Nothing is in force any more when it has ended.
    let short = json!({ "ask": "ban", "user": "carol", "until": NOW + 5 });
    assert!(!unchanged(&short));
    at(NOW + 5);
    assert!(!unchanged(&json!({ "ask": "ban", "user": "carol", "until": NOW + 9 })));
}

#[test]
fn what_is_lifted_is_exactly_what_was_named_and_is_gone_from_the_disk() {
    let rig = Rig::new();
    let alice = rig.come(1, "alice");
    for groups in ["room-*", "room-1", "news"] {
        rig.done(&json!({ "ask": "revoke", "user": "alice", "groups": groups }));
    }
    rig.done(&json!({ "ask": "revoke", "user": "bob", "groups": "news" }));
    let restore = |groups: &str| json!({ "ask": "restore", "user": "alice", "groups": groups });
    let receipt = rig.done(&restore("room-*"));
    assert_eq!(timeless(receipt), Receipt { audit: 5, ..Receipt::default() });
    assert_eq!(rig.join(&alice, "room-2"), Ok(()));
    assert_eq!(rig.join(&alice, "room-1"), Err(Code::BannedFromGroup), "by the other pattern");
    assert!(rig.done(&restore("room-*")).unchanged);
    assert!(rig.done(&restore("n*")).unchanged, "as it was revoked, and not what it would match");
    assert!(!rig.done(&restore("news")).unchanged);
    assert_eq!(rig.join(&alice, "news"), Ok(()));
    let left: Vec<_> = rig.bans_on_disk().into_iter().map(|ban| (ban.user, ban.groups)).collect();
    let expected = [("alice", "room-1"), ("bob", "news")];
    assert_eq!(left, expected.map(|(name, groups)| (Some(user(name)), Some(pattern(groups)))));
    assert_eq!(rig.moderation.bans(), rig.bans_on_disk());
}

#[test]
fn a_ban_closes_the_users_connections_and_keeps_new_ones_out_until_it_is_lifted() {
    let (rig, seats) = Rig::crowded();
    let receipt = rig.done(&json!({ "ask": "ban", "user": "alice", "reason": "spam" }));
    assert_eq!(timeless(receipt), Receipt { connections: 2, audit: 1, ..Receipt::default() });
    let why = Some((Code::UserBanned, "spam".to_owned(), None));
    assert_eq!([0, 1, 2].map(|which| closed(&seats[which])), [why.clone(), why, None]);
    let comes = |number| rig.come_with(number, "alice", Permissions::development(NOW));
    assert_eq!(comes(4).err().map(|denial| denial.code), Some(Code::UserBanned));
    assert!(rig.come_with(5, "bob", Permissions::development(NOW)).is_ok());
    let known = rig.moderation.bans().pop().unwrap();
    assert_eq!((known.kind, known.user, known.until), (BanKind::User, Some(user("alice")), None));

    let receipt = rig.done(&json!({ "ask": "unban", "user": "alice" }));
    assert_eq!(timeless(receipt), Receipt { audit: 2, ..Receipt::default() });
    assert!(comes(4).is_ok());
    assert_eq!((rig.bans_on_disk(), rig.moderation.bans()), (Vec::new(), Vec::new()));
    assert!(rig.done(&json!({ "ask": "unban", "user": "alice" })).unchanged);
}

#[test]
fn a_sign_out_closes_what_was_issued_up_to_now_and_nothing_newer() {
    let rig = Rig::new();
    let come = |number, name: &str, issued| rig.come_with(number, name, with_token(issued, None));
    let seats = [
        come(1, "alice", Some(NOW - 1)).unwrap(),
        come(2, "alice", Some(NOW)).unwrap(),
        come(3, "alice", Some(NOW + 1)).unwrap(),
        // It does not say when, and so may be from before.
        come(4, "alice", None).unwrap(),
        come(5, "bob", Some(NOW - 1)).unwrap(),
    ];
    let receipt = rig.done(&json!({ "ask": "sign_out", "user": "alice", "reason": "stolen" }));
    assert_eq!(timeless(receipt), Receipt { connections: 3, audit: 1, ..Receipt::default() });
    let why = Some((Code::SignedOut, "stolen".to_owned(), None));
    let expected = [why.clone(), why.clone(), None, why, None];
    assert_eq!([0, 1, 2, 3, 4].map(|which| closed(&seats[which])), expected);
    let refused = |issued| come(6, "alice", issued).err().map(|denial| denial.code);
    assert_eq!((refused(Some(NOW)), refused(Some(NOW + 1))), (Some(Code::SignedOut), None));

    let lift = json!({ "ask": "lift_sign_out", "user": "alice" });
    assert_eq!([&lift, &lift].map(|lift| rig.done(lift).unchanged), [false, true]);
    assert_eq!(refused(Some(NOW - 1)), None);
    assert_eq!(rig.bans_on_disk(), []);
}

#[test]
fn a_clock_that_was_put_back_lets_in_nobody_whom_an_earlier_sign_out_refuses() {
    let rig = Rig::new();
    let sign_out = json!({ "ask": "sign_out", "user": "alice" });
    rig.done(&sign_out);
    at(NOW - 100);
    rig.done(&sign_out);
    let since = |bans: Vec<BanRow>| bans.iter().map(|ban| ban.since).collect::<Vec<_>>();
    assert_eq!((since(rig.moderation.bans()), since(rig.bans_on_disk())), (vec![NOW], vec![NOW]));
    at(NOW + 100);
    rig.done(&sign_out);
    assert_eq!(since(rig.bans_on_disk()), [NOW + 100], "the later one counts");
    // Another kind of ban says when it was made, whatever there was before.
    rig.done(&json!({ "ask": "ban", "user": "bob" }));
    at(NOW);
    rig.done(&json!({ "ask": "ban", "user": "bob" }));
    assert_eq!(since(rig.bans_on_disk()), [NOW, NOW + 100]);
}

#[test]
fn a_revoked_token_closes_what_was_made_with_it_whosever_it_is() {
    let rig = Rig::new();
    let come = |number, name, jti| rig.come_with(number, name, with_token(Some(NOW - 60), jti)).unwrap();
    let seats = [
        come(1, "alice", Some("t1")),
        come(2, "bob", Some("t1")),
        come(3, "alice", Some("t2")),
        come(4, "alice", None),
    ];
    let revoke = json!({ "ask": "revoke_token", "jti": "t1", "until": NOW + 60, "reason": "lost" });
    let receipt = rig.done(&revoke);
    assert_eq!(timeless(receipt), Receipt { connections: 2, audit: 1, ..Receipt::default() });
    let why = Some((Code::TokenRevoked, "lost".to_owned(), None));
    assert_eq!([0, 1, 2, 3].map(|which| closed(&seats[which])), [why.clone(), why, None, None]);
    let comes = || rig.come_with(5, "carol", with_token(Some(NOW), Some("t1")));
    assert_eq!(comes().err().map(|denial| denial.code), Some(Code::TokenRevoked));
    let known = rig.moderation.bans().pop().unwrap();
    assert_eq!((known.kind, known.jti.as_deref()), (BanKind::Token, Some("t1")));
    assert_eq!((known.user, known.until), (None, Some(NOW + 60)));

    let restore = json!({ "ask": "restore_token", "jti": "t1" });
    assert_eq!([&restore, &restore].map(|restore| rig.done(restore).unchanged), [false, true]);
    assert!(comes().is_ok());
    assert_eq!(rig.bans_on_disk(), []);
}

#[test]
fn a_tokens_id_has_1_to_256_bytes() {
    let rig = Rig::new();
    for (bytes, taken) in [(0, false), (1, true), (256, true), (257, false)] {
        let request = json!({ "ask": "revoke_token", "jti": "t".repeat(bytes) });
        if taken {
            rig.done(&request);
        } else {
            assert_eq!(rig.refused(&request).0, Code::InvalidRequest, "{bytes}");
        }
    }
    assert_eq!(rig.bans_on_disk().len(), 2);
}

#[test]
fn an_end_that_has_passed_is_refused_and_forbids_nothing() {
    let (rig, seats) = Rig::crowded();
    for dry_run in [false, true] {
        for request in [
            json!({ "ask": "ban", "user": "alice", "until": NOW, "dry_run": dry_run }),
            json!({ "ask": "revoke", "user": "alice", "groups": "*", "until": NOW, "dry_run": dry_run }),
            json!({ "ask": "revoke_token", "jti": "t1", "until": NOW - 1 }),
        ] {
            let (code, message) = rig.refused(&request);
            assert_eq!(code, Code::InvalidRequest);
            assert!(message.contains("the end (until) has passed"), "{message}");
        }
    }
    assert_eq!((rig.moderation.bans(), rig.bans_on_disk()), (Vec::new(), Vec::new()));
    assert!(seats.iter().all(|seat| closed(seat).is_none() && read(seat.member()).is_empty()));
    rig.done(&json!({ "ask": "ban", "user": "alice", "until": NOW + 1 }));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (rig, seats) = Rig::crowded();
    let _elsewhere = rig.come(4, "alice");
    rig.join(&seats[0], "room-3").unwrap();
    read(seats[0].member());
    for mut request in [
        json!({ "ask": "revoke", "user": "alice", "groups": "room-*" }),
        json!({ "ask": "revoke", "user": "alice", "groups": "nowhere" }),
        json!({ "ask": "revoke", "user": "nobody", "groups": "*" }),
        json!({ "ask": "ban", "user": "nobody" }),
        json!({ "ask": "ban", "user": "alice" }),
    ] {
        request["dry_run"] = json!(true);
        let bans = rig.bans_on_disk();
        let (population, records) = (rig.hub.population(), rig.records().len());
        let foretold = rig.done(&request);
        assert!(foretold.dry_run && !foretold.unchanged && foretold.audit == 0);
        assert_eq!((rig.bans_on_disk(), rig.moderation.bans()), (bans.clone(), bans));
        assert_eq!((rig.hub.population(), rig.records().len()), (population, records));
        assert!(seats.iter().all(|seat| closed(seat).is_none() && read(seat.member()).is_empty()));

        request["dry_run"] = json!(false);
        let before = rig.moderation.audit_head().sequence;
        let done = rig.done(&request);
        assert_eq!(done.audit, before + 1);
        assert_eq!(
            (foretold.connections, foretold.groups),
            (done.connections, done.groups),
            "{request}: it is foretold as it comes"
        );
        for seat in &seats {
            read(seat.member());
        }
        request["dry_run"] = json!(true);
        assert!(rig.done(&request).unchanged, "{request}: it is in force now");
    }
    rig.verify();
}

/// Looks at the bans in the moment in which a connection is told something.
struct Told {
    bans: Weak<Bans>,
    /// Whether what is told of was forbidden at that moment.
    seen: Mutex<Vec<bool>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        let bans = self.bans.upgrade().unwrap();
        let forbids = bans.forbids_group(&user("alice"), &group("room-1"), NOW)
            || bans.forbids_user(&user("alice"), NOW)
            || !bans.all().is_empty();
        self.seen.lock().push(forbids);
    }
}

/// Promise 7.
#[test]
fn what_forbids_is_on_the_disk_before_it_is_in_force_and_in_force_before_anybody_is_removed() {
    for request in [
        json!({ "ask": "revoke", "user": "alice", "groups": "room-*" }),
        json!({ "ask": "ban", "user": "alice" }),
        json!({ "ask": "sign_out", "user": "alice" }),
        json!({ "ask": "revoke_token", "jti": "t1" }),
    ] {
        let rig = Rig::new();
        let alice = rig.come_with(1, "alice", with_token(Some(NOW - 60), Some("t1"))).unwrap();
        rig.join(&alice, "room-1").unwrap();
        read(alice.member());
        let told = Arc::new(Told { bans: Arc::downgrade(&rig.bans), seen: Mutex::default() });
        let waker = Waker::from(Arc::clone(&told));
        let waits = alice.member().outbox().poll_take(&mut Context::from_waker(&waker), &mut Vec::new());
        assert!(waits.is_pending());

        let commits = Arc::new(Mutex::new(Vec::new()));
        let (seen, bans, member) = (Arc::clone(&commits), Arc::clone(&rig.bans), Arc::clone(alice.member()));
        rig.disk.look_on(move |change| {
            let is_untouched = member.groups() == 1 && member.outbox().close_reason().is_none();
            let writes = (change.put.is_some(), change.pending.is_some(), change.record.is_some());
            seen.lock().push((writes, bans.all().len(), is_untouched));
        });
        assert_eq!(rig.done(&request).connections, 1);
        // It is written down with its mark while nothing is in force, and recorded when all is done.
        let expected = [((true, true, false), 0, true), ((false, false, true), 1, false)];
        assert_eq!(*commits.lock(), expected, "{request}");
        assert_eq!(*told.seen.lock(), [true], "{request}: forbidden before it is told");
        assert_eq!(rig.bans_on_disk(), rig.bans.all());
    }
}

#[test]
fn what_is_lifted_is_gone_from_the_disk_and_recorded_before_it_is_no_longer_in_force() {
    let rig = Rig::new();
    rig.done(&json!({ "ask": "ban", "user": "alice" }));
    let commits = Arc::new(Mutex::new(Vec::new()));
    let (seen, bans) = (Arc::clone(&commits), Arc::clone(&rig.bans));
    rig.disk.look_on(move |change| {
        seen.lock().push((change.lift.len(), change.record.is_some(), bans.all().len()));
    });
    rig.done(&json!({ "ask": "unban", "user": "alice" }));
    assert_eq!(*commits.lock(), [(1, true, 1)], "in one commit");
    assert_eq!(rig.bans.all(), []);
}

#[test]
fn a_receipt_says_how_long_the_disk_took_and_how_long_the_removal() {
    const PAUSE: Duration = Duration::from_millis(2);
    struct Slow;
    fn slow() {
        let begun = Instant::now();
        while begun.elapsed() < PAUSE {
            std::hint::spin_loop();
        }
    }
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            slow();
        }
    }
    let pause = u64::try_from(PAUSE.as_micros()).unwrap();
    let rig = Rig::new();
    let alice = rig.come(1, "alice");
    rig.join(&alice, "room-1").unwrap();
    read(alice.member());
    rig.disk.look_on(|_| slow());
    let waker = Waker::from(Arc::new(Slow));
    let _ = alice.member().outbox().poll_take(&mut Context::from_waker(&waker), &mut Vec::new());
    let receipt = rig.done(&json!({ "ask": "revoke", "user": "alice", "groups": "room-1" }));
    assert!(receipt.acted_us >= pause, "{receipt:?}");
    assert!(receipt.took_us >= receipt.acted_us + 2 * pause, "{receipt:?}: with both commits");
    let recorded = rig.records()[0]["outcome"]["done"].clone();
    let recorded_us = recorded["took_us"].as_u64().unwrap();
    assert!(recorded_us >= receipt.acted_us + pause, "{recorded}: as long as it had taken by then");
    assert!(receipt.took_us >= recorded_us + pause, "{receipt:?}");
    assert_eq!(recorded["acted_us"], json!(receipt.acted_us));
    let lifted = rig.done(&json!({ "ask": "restore", "user": "alice", "groups": "room-1" }));
    assert!(lifted.took_us >= pause && lifted.acted_us == 0, "{lifted:?}");
    // A dry run writes nothing, and takes some time all the same.
    let request = json!({ "ask": "ban", "user": "alice", "dry_run": true });
    let begun = Instant::now();
    let foretold = loop {
        let foretold = rig.done(&request);
        if foretold.took_us > 1 || begun.elapsed() > Duration::from_secs(10) {
            break foretold;
        }
    };
    assert!(foretold.took_us > 1 && foretold.acted_us == 0, "{foretold:?}");
}

#[test]
fn bans_of_api_keys_are_bounded_and_operators_own_are_not() {
    let rig = Rig::new();
    let by_key = |name: &str| {
        let key = Operator { name: "key:shop".to_owned(), role: Role::Operator };
        let done = rig.moderation.act(&key, &ask(&json!({ "ask": "ban", "user": name })));
        done.map(drop).map_err(|error| match error {
            ModerationError::Refused { code, message } => (code, message),
            other => panic!("{other}"),
        })
    };
    rig.moderation.most_of_keys.store(2, Ordering::Relaxed);
    rig.done(&json!({ "ask": "ban", "user": "of an operator" }));
    assert_eq!((by_key("a"), by_key("b")), (Ok(()), Ok(())));
    let (code, message) = by_key("c").unwrap_err();
    assert_eq!(code, Code::TooManyRequests);
    assert!(message.contains("2 bans"), "{message}");
    // What is there already may be said again, an operator is refused nothing, and what is lifted makes room.
    assert_eq!(by_key("a"), Ok(()));
    rig.done(&json!({ "ask": "ban", "user": "c" }));
    rig.done(&json!({ "ask": "unban", "user": "a" }));
    assert_eq!(by_key("d"), Ok(()));
}
