//! Acts on a disk that fails: what is done, what is said to be, and what is there when it works again.

use std::sync::atomic::Ordering;

use fanfare_protocol::admin::BanKind;

use super::*;

/// Everything that is written down before it is done.
fn all() -> Vec<Value> {
    vec![
        json!({ "ask": "revoke", "user": "alice", "groups": "room-*" }),
        json!({ "ask": "ban", "user": "alice" }),
        json!({ "ask": "sign_out", "user": "alice" }),
        json!({ "ask": "revoke_token", "jti": "t1" }),
        json!({ "ask": "add", "who": "all", "group": "lobby" }),
        json!({ "ask": "remove", "who": "all", "group": "news" }),
        json!({ "ask": "close", "who": "all", "retry_after_ms": 5 }),
        json!({ "ask": "kick", "who": "all" }),
        send_to(&json!("all")),
    ]
}

fn user_ban(name: &str, until: Option<Seconds>) -> BanRow {
    BanRow {
        kind: BanKind::User,
        user: Some(user(name)),
        groups: None,
        jti: None,
        since: NOW - 9,
        until,
        reason: String::new(),
        author: "oncall".to_owned(),
    }
}

fn untouched(seats: &[Seat]) -> bool {
    seats.iter().all(|seat| closed(seat).is_none() && read(seat.member()).is_empty())
}

#[test]
fn what_cannot_be_written_down_is_not_done_and_the_operator_is_told_so() {
    for request in all() {
        let (rig, seats) = Rig::crowded();
        rig.disk.fail_after(0);
        // Nor the next one, as long as it is so.
        for _ in 0..2 {
            let message = rig.failed(&request);
            assert!(message.starts_with("nothing was done"), "{message}");
            assert!(message.ends_with("cannot use bans.redb: no space left"), "{message}");
            assert!(untouched(&seats) && rig.bans.all().is_empty(), "{request}");
            let why = rig.moderation.impaired().reason();
            assert_eq!(why.as_deref(), Some("cannot use bans.redb: no space left"));
        }
        rig.disk.repair();
        assert_eq!(rig.done(&request).audit, 1);
        assert!(!rig.moderation.impaired().is_so());
        assert_eq!(rig.outcomes(), ["done"], "{request}: what was not done is not recorded");
        assert_eq!(rig.bans_on_disk(), rig.bans.all());
        rig.verify();
    }
}

#[test]
fn a_ban_that_was_said_to_have_failed_is_taken_out_again_at_once() {
    for request in &all()[..4] {
        let (rig, seats) = Rig::crowded();
        rig.disk.lies.store(true, Ordering::Relaxed);
        assert!(rig.failed(request).starts_with("nothing was done"));
        assert!(untouched(&seats));
        assert_eq!((rig.bans.all(), rig.bans_on_disk()), (Vec::new(), Vec::new()), "{request}");
        assert_eq!(*rig.disk.pending.lock(), None, "{request}: the next start would call it done");
        assert!(!rig.moderation.impaired().is_so(), "before it is answered it works again");
    }
}

#[test]
fn what_was_done_and_could_not_be_recorded_is_said_to_be_and_recorded_before_the_next() {
    for request in all() {
        let (rig, seats) = Rig::crowded();
        rig.disk.fail_after(1);
        let message = rig.failed(&request);
        assert!(message.starts_with("it was done, but the audit record could not"), "{message}");
        assert!(rig.moderation.impaired().is_so());
        if request["ask"] != json!("revoke_token") {
            assert!(!untouched(&seats), "{request}");
        }
        assert_eq!(rig.bans_on_disk(), rig.bans.all());
        let mut recorded = rig.moderation.recorded();
        recorded.borrow_and_update();
        // Nothing else begins before that.
        assert!(rig.failed(&json!({ "ask": "ban", "user": "bob" })).starts_with("nothing was done"));
        assert_eq!((rig.records().len(), recorded.has_changed().unwrap()), (0, false));

        rig.disk.repair();
        rig.moderation.mend();
        assert!(recorded.has_changed().unwrap(), "those who follow are told");
        assert_eq!(rig.outcomes(), ["interrupted"]);
        let record = rig.records().pop().unwrap();
        assert_eq!((&record["author"], &record["act"]["ask"]), (&json!("oncall"), &request["ask"]));
        assert_eq!(rig.done(&json!({ "ask": "ban", "user": "bob" })).audit, 2);
        assert_eq!(rig.bans_on_disk(), sorted(rig.bans.all()));
        rig.verify();
    }
}

fn sorted(mut bans: Vec<BanRow>) -> Vec<BanRow> {
    bans.sort_by_cached_key(|ban| BanKey::from(ban));
    bans
}

#[test]
fn what_could_not_be_lifted_is_still_in_force() {
    for (forbid, lift) in [
        (
            json!({ "ask": "revoke", "user": "alice", "groups": "a*" }),
            json!({ "ask": "restore", "user": "alice", "groups": "a*" }),
        ),
        (json!({ "ask": "ban", "user": "alice" }), json!({ "ask": "unban", "user": "alice" })),
        (json!({ "ask": "sign_out", "user": "alice" }), json!({ "ask": "lift_sign_out", "user": "alice" })),
        (json!({ "ask": "revoke_token", "jti": "t" }), json!({ "ask": "restore_token", "jti": "t" })),
    ] {
        for lies in [false, true] {
            let rig = Rig::new();
            rig.done(&forbid);
            if lies {
                rig.disk.lies.store(true, Ordering::Relaxed);
            } else {
                rig.disk.fail_after(0);
            }
            assert!(rig.failed(&lift).starts_with("nothing was done"), "{lift}");
            assert_eq!((rig.bans.all().len(), rig.bans_on_disk()), (1, rig.bans.all()), "{lift}");
            rig.disk.repair();
            assert!(!rig.done(&lift).unchanged);
            assert_eq!((rig.bans.all(), rig.bans_on_disk()), (Vec::new(), Vec::new()));
            assert_eq!(rig.outcomes(), ["done", "done"]);
            rig.verify();
        }
    }
}

#[test]
fn a_refusal_stands_also_where_it_cannot_be_recorded_and_is_recorded_later() {
    let (rig, _seats) = Rig::crowded();
    rig.disk.fail_after(0);
    let kick = json!({ "ask": "kick", "who": { "user": "carol" } });
    assert_eq!(rig.refused(&kick).0, Code::NothingThere);
    assert_eq!(rig.metrics.refused.values(), [(Code::NothingThere, 1)].into());
    assert_eq!(rig.records().len(), 0);
    rig.disk.repair();
    rig.done(&json!({ "ask": "ban", "user": "bob" }));
    assert_eq!(rig.outcomes(), ["refused", "done"]);
    assert_eq!(rig.records()[0]["act"]["ask"], json!("kick"));
    rig.verify();
}

/// The store is made what it should be, and then fails once more, before the record is written.
#[test]
fn what_was_done_is_recorded_also_where_the_server_ends_before_the_store_works() {
    let (rig, _seats) = Rig::crowded();
    rig.disk.fail_after(1);
    rig.failed(&json!({ "ask": "ban", "user": "alice" }));
    rig.disk.repair();
    rig.disk.fail_after(1);
    rig.moderation.mend();
    assert!(rig.moderation.impaired().is_so());
    rig.disk.repair();
    let again = Rig::on(rig.disk.reopened(), Validity::default());
    assert_eq!(again.outcomes(), ["interrupted"]);
    assert_eq!(again.bans.all().len(), 1);
    again.verify();
}

#[test]
fn a_refusal_is_not_taken_for_something_done_where_the_server_ends_before_the_store_works() {
    let (rig, _seats) = Rig::crowded();
    rig.disk.fail_after(0);
    rig.refused(&json!({ "ask": "kick", "who": { "user": "carol" } }));
    rig.disk.repair();
    rig.disk.fail_after(1);
    rig.moderation.mend();
    rig.disk.repair();
    assert_eq!(Rig::on(rig.disk.reopened(), Validity::default()).records(), Vec::<Value>::new());
}

#[test]
fn what_the_store_has_is_in_force_from_the_start_on() {
    let disk = Disk::default();
    *disk.bans.lock() = vec![user_ban("alice", None), user_ban("bob", Some(NOW + 1))];
    let rig = Rig::on(disk, Validity::default());
    for name in ["alice", "bob"] {
        let refused = rig.come_with(1, name, Permissions::development(NOW)).err();
        assert_eq!(refused.map(|denial| denial.code), Some(Code::UserBanned), "{name}");
    }
    assert_eq!(rig.moderation.bans(), rig.bans_on_disk());
}

#[test]
fn bans_that_have_ended_are_forgotten_at_the_start_and_with_each_act() {
    let disk = Disk::default();
    let (ended, kept) = (user_ban("alice", Some(NOW)), user_ban("bob", Some(NOW + 5)));
    *disk.bans.lock() = vec![ended, kept.clone()];
    let commits = disk.clone();
    let rig = Rig::on(disk, Validity::default());
    assert_eq!((rig.bans_on_disk(), rig.bans.all()), (vec![kept.clone()], vec![kept]));
    at(NOW + 5);
    rig.done(&json!({ "ask": "unban", "user": "carol" }));
    assert_eq!((rig.bans_on_disk(), rig.bans.all()), (Vec::new(), Vec::new()));
    // Where there is nothing to forget nothing is written for it.
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting = Arc::clone(&written);
    commits.look_on(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
    });
    rig.done(&json!({ "ask": "ban", "user": "dave" }));
    assert_eq!(written.load(Ordering::Relaxed), 2, "the ban with its mark, and the record");
    drop(Rig::on(commits, Validity::default()));
    assert_eq!(written.load(Ordering::Relaxed), 2, "nor at a start");
}

#[test]
fn an_act_is_done_also_where_what_has_ended_cannot_be_forgotten() {
    let disk = Disk::default();
    *disk.bans.lock() = vec![user_ban("alice", Some(NOW + 5))];
    let rig = Rig::on(disk, Validity::default());
    at(NOW + 5);
    rig.disk.fail_after(2);
    assert_eq!(rig.done(&json!({ "ask": "ban", "user": "bob" })).audit, 1);
    assert_eq!(rig.bans_on_disk().len(), 2, "it harms nobody");
    assert!(rig.moderation.impaired().is_so(), "no other act can be taken, which is told before it is asked");
    rig.disk.repair();
    rig.moderation.mend();
    assert!(!rig.moderation.impaired().is_so());
    assert_eq!(rig.bans_on_disk(), rig.bans.all());
    assert_eq!((rig.bans.all().len(), rig.outcomes()), (1, vec!["done".to_owned()]));
}

#[test]
fn the_audit_can_be_read_while_acts_cannot_be_taken() {
    let (rig, _seats) = Rig::crowded();
    rig.done(&json!({ "ask": "ban", "user": "carol" }));
    rig.disk.fail_after(0);
    rig.failed(&json!({ "ask": "ban", "user": "dave" }));
    assert_eq!(rig.moderation.audit(0, 9).unwrap().len(), 1);
    rig.verify();
    assert!(rig.moderation.impaired().is_so());
}

#[test]
fn a_record_that_nobody_was_told_of_is_not_shown_and_breaks_no_chain() {
    let rig = Rig::new();
    rig.done(&json!({ "ask": "ban", "user": "alice" }));
    // The record comes through although it is said that it failed, and then nothing works any more.
    let (lies, broken, mut commits) = (Arc::clone(&rig.disk.lies), Arc::clone(&rig.disk.broken), 0);
    rig.disk.look_on(move |_| {
        commits += 1;
        lies.store(commits == 2, Ordering::Relaxed);
        broken.store(commits > 2, Ordering::Relaxed);
    });
    assert!(rig.failed(&json!({ "ask": "ban", "user": "bob" })).starts_with("it was done, but"));
    assert!(rig.moderation.impaired().is_so());
    assert_eq!((rig.records().len(), rig.moderation.audit(0, 9).unwrap().len()), (2, 1));
    let verdict = rig.moderation.verify_audit(None).unwrap();
    assert_eq!((verdict.whole, verdict.head), (true, rig.moderation.audit_head()), "{:?}", verdict.broken);
    rig.disk.repair();
    rig.moderation.mend();
    assert_eq!(rig.outcomes(), ["done", "interrupted"]);
    rig.verify();
}

#[test]
fn an_audit_that_cannot_be_read_is_an_error_and_tried_again() {
    let error = |rig: &Rig, verified: bool| {
        let read = if verified {
            rig.moderation.verify_audit(None).map(drop)
        } else {
            rig.moderation.audit(0, 9).map(drop)
        };
        read.err().map(|error| error.to_string())
    };
    for verified in [false, true] {
        let rig = Rig::new();
        rig.done(&json!({ "ask": "ban", "user": "alice" }));
        let broken = Some("cannot use bans.redb: no space left".to_owned());
        // The disk is gone: acts will not be taken either, which is told at once.
        rig.disk.unreadable.store(true, Ordering::Relaxed);
        rig.disk.broken.store(true, Ordering::Relaxed);
        assert_eq!(error(&rig, verified), broken);
        assert_eq!(rig.moderation.impaired().reason(), broken);
        rig.disk.repair();
        rig.moderation.mend();
        assert_eq!((error(&rig, verified), rig.moderation.impaired().reason()), (None, None));
        // It failed once: it was opened again for whoever asks next.
        rig.disk.unreadable.store(true, Ordering::Relaxed);
        assert_eq!(error(&rig, verified), broken);
        rig.disk.repair();
        assert_eq!((error(&rig, verified), rig.moderation.impaired().reason()), (None, None));
        assert!(!rig.disk.closed.load(Ordering::Relaxed));
    }
}
