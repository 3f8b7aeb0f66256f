//! Lasting memberships: on the disk, in force, carried out, and ended.

use std::sync::atomic::Ordering;

use fanfare_protocol::admin::May;

use super::*;

fn add(name: &str, group: &str, more: &Value) -> Value {
    let mut request = json!({ "ask": "add_lasting", "user": name, "group": group, "reason": "because" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn remove(name: &str, group: &str) -> Value {
    json!({ "ask": "remove_lasting", "user": name, "group": group, "reason": "over" })
}

impl Rig {
    fn may(&self, name: &str, at: &str) -> Option<May> {
        self.bans.lasting().may(&user(name), &group(at), access::now())
    }

    /// User, group and what it may.
    fn lasting_on_disk(&self) -> Vec<(String, String, May)> {
        let rows = self.disk.lasting.lock();
        let row = |row: &fanfare_protocol::admin::LastingRow| {
            (row.user.as_str().to_owned(), row.group.as_str().to_owned(), row.may)
        };
        rows.iter().map(row).collect()
    }
}

#[test]
fn it_is_on_the_disk_before_it_is_in_force_and_in_force_before_anybody_is_put_in() {
    let (rig, seats) = Rig::crowded();
    let bans = Arc::clone(&rig.bans);
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    rig.disk.look_on(move |change| {
        let in_force = bans.lasting().may(&user("alice"), &group("vip"), NOW);
        told.lock().push((change.put_lasting.is_some(), change.pending.is_some(), in_force));
    });
    let receipt = timeless(rig.done(&add("alice", "vip", &json!({}))));
    let expected = Receipt { connections: 2, groups: counts(&[("vip", 2)]), audit: 1, ..Receipt::default() };
    assert_eq!(receipt, expected);
    // The row with the mark of the act; then the record.
    assert_eq!(*seen.lock(), [(true, true, None), (false, false, Some(May::Both))]);
    assert_eq!(rig.lasting_on_disk(), [("alice".to_owned(), "vip".to_owned(), May::Both)]);
    for seat in &seats[..2] {
        assert!(groups(seat).contains(&("vip".to_owned(), Origin::Lasting)));
        assert!(matches!(&read(seat.member())[..], [ServerFrame::Joined { .. }]));
    }
    assert!(!names(&seats[2]).contains(&"vip".to_owned()));
    assert!(rig.done(&add("alice", "vip", &json!({}))).unchanged);
    assert!(!rig.done(&add("alice", "vip", &json!({ "until": NOW + 9 }))).unchanged);
    assert_eq!(rig.bans.lasting().groups(&user("alice"), NOW), [group("vip")]);
    rig.verify();
}

#[test]
fn what_ends_is_what_it_was_the_reason_for() {
    let (rig, seats) = Rig::crowded();
    rig.done(&add("alice", "news", &json!({})));
    rig.done(&add("alice", "room-2", &json!({})));
    // An operator's word for the second is the operator's.
    rig.done(&json!({ "ask": "add", "who": { "connection": id(1) }, "group": "room-2" }));
    let receipt = rig.done(&remove("alice", "news"));
    // Both were there by themselves, and may.
    assert_eq!((receipt.connections, receipt.unchanged), (0, false));
    assert_eq!(rig.done(&remove("alice", "room-2")).connections, 0);
    assert_eq!(
        groups(&seats[0])[1..],
        [("room-1".to_owned(), Origin::Client), ("room-2".to_owned(), Origin::Operator)]
    );
    // One that its token does not let in is there by it alone, also where it has left and come back.
    let strangers = Permissions {
        grants: fanfare_token::Grants::parse(Vec::new(), 0).unwrap(),
        ..Permissions::development(NOW - 60)
    };
    let carol = rig.come_with(4, "carol", strangers).unwrap();
    rig.done(&add("carol", "vip", &json!({})));
    rig.hub.leave(carol.member(), &group("vip"));
    rig.join(&carol, "vip").unwrap();
    assert_eq!(groups(&carol), [("vip".to_owned(), Origin::Client)]);
    read(carol.member());
    assert_eq!(rig.done(&remove("carol", "vip")).connections, 1);
    assert_eq!(read(carol.member()), [removed("vip", Code::RemovedFromGroup, "over")]);
    assert_eq!((names(&carol), rig.may("carol", "vip")), (Vec::new(), None));
    assert_eq!(rig.join(&carol, "vip"), Err(Code::NotGranted));
    assert!(rig.done(&remove("carol", "vip")).unchanged);
    assert_eq!(rig.lasting_on_disk(), []);
}

#[test]
fn what_waits_of_a_group_goes_with_the_membership_and_is_counted() {
    let rig = Rig::new();
    let stranger = || Permissions {
        grants: fanfare_token::Grants::parse(Vec::new(), 0).unwrap(),
        ..Permissions::development(NOW - 60)
    };
    let seats = [4, 5].map(|number| rig.come_with(number, "carol", stranger()).unwrap());
    rig.done(&add("carol", "vip", &json!({})));
    for seat in &seats {
        read(seat.member());
    }
    rig.done(&send_to(&json!({ "group": "vip" })));
    let receipt = timeless(rig.done(&remove("carol", "vip")));
    let expected =
        Receipt { connections: 2, groups: counts(&[("vip", 2)]), purged: 2, audit: 3, ..Receipt::default() };
    assert_eq!(receipt, expected);
    for seat in &seats {
        assert_eq!(read(seat.member()), [removed("vip", Code::RemovedFromGroup, "over")]);
    }
}

#[test]
fn who_may_only_send_is_in_by_nobodys_word() {
    let (rig, seats) = Rig::crowded();
    let receipt = rig.done(&add("alice", "news", &json!({ "may": "send" })));
    assert_eq!((receipt.connections, receipt.groups), (2, counts(&[("news", 2)])));
    assert!(!names(&seats[0]).contains(&"news".to_owned()));
    assert_eq!(rig.join(&seats[0], "news"), Err(Code::NotGranted));
    let added = rig.done(&json!({ "ask": "add", "who": { "user": "alice" }, "group": "news" }));
    assert_eq!(added.connections, 0);
    // A muted one is a member, and nothing happens to it.
    assert_eq!(rig.done(&add("bob", "news", &json!({ "may": "receive" }))).connections, 1);
    assert!(groups(&seats[2]).contains(&("news".to_owned(), Origin::Client)));
    assert_eq!((rig.may("alice", "news"), rig.may("bob", "news")), (Some(May::Send), Some(May::Receive)));
}

#[test]
fn a_ban_is_asked_first_and_when_it_is_lifted_the_user_is_in_again() {
    let (rig, seats) = Rig::crowded();
    rig.done(&add("alice", "vip", &json!({})));
    rig.done(&json!({ "ask": "revoke", "user": "alice", "groups": "v*" }));
    assert!(!names(&seats[0]).contains(&"vip".to_owned()));
    assert_eq!(rig.done(&add("alice", "vip", &json!({}))).connections, 0);
    rig.done(&json!({ "ask": "restore", "user": "alice", "groups": "v*" }));
    for seat in &seats[..2] {
        assert!(groups(seat).contains(&("vip".to_owned(), Origin::Lasting)));
    }
    // A ban that was never there puts nobody anywhere.
    rig.hub.leave(seats[0].member(), &group("vip"));
    rig.done(&json!({ "ask": "restore", "user": "alice", "groups": "v*" }));
    assert!(!names(&seats[0]).contains(&"vip".to_owned()));
}

#[test]
fn it_ends_when_its_time_is_over_and_is_forgotten() {
    let (rig, seats) = Rig::crowded();
    rig.done(&add("alice", "vip", &json!({ "until": NOW + 10 })));
    rig.done(&add("alice", "spa", &json!({ "until": NOW + 20 })));
    rig.done(&add("bob", "vip", &json!({})));
    at(NOW + 9);
    rig.moderation.end_lasting();
    assert_eq!(rig.lasting_on_disk().len(), 3);
    at(NOW + 10);
    assert_eq!(rig.may("alice", "vip"), None);
    read(seats[0].member());
    rig.moderation.end_lasting();
    assert_eq!(read(seats[0].member()), [removed("vip", Code::GrantEnded, Code::GrantEnded.sentence())]);
    let left: Vec<_> = rig.lasting_on_disk().into_iter().map(|(name, at, _)| (name, at)).collect();
    assert_eq!(left, [("alice", "spa"), ("bob", "vip")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(names(&seats[0]).contains(&"spa".to_owned()) && names(&seats[2]).contains(&"vip".to_owned()));
    // Where the disk does not take it, it ends all the same, and is forgotten later.
    at(NOW + 20);
    rig.disk.broken.store(true, Ordering::Relaxed);
    rig.moderation.end_lasting();
    assert!(!names(&seats[0]).contains(&"spa".to_owned()));
    rig.disk.repair();
    let again = Rig::on(rig.disk.reopened(), Validity::default());
    at(NOW + 20);
    assert_eq!(again.may("alice", "spa"), None);
    assert_eq!(again.may("bob", "vip"), Some(May::Both));
}

#[test]
fn what_the_disk_does_not_take_is_not_in_force() {
    let (rig, seats) = Rig::crowded();
    rig.disk.broken.store(true, Ordering::Relaxed);
    let said = rig.failed(&add("alice", "vip", &json!({})));
    assert!(said.starts_with("nothing was done"), "{said}");
    assert_eq!((rig.may("alice", "vip"), names(&seats[0]).len()), (None, 2));
    rig.disk.repair();
    rig.done(&add("alice", "vip", &json!({})));
    rig.disk.broken.store(true, Ordering::Relaxed);
    rig.failed(&remove("alice", "vip"));
    assert_eq!((rig.may("alice", "vip"), names(&seats[0]).len()), (Some(May::Both), 3));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let (rig, _seats) = Rig::crowded();
    let refused = |request: &Value| rig.refused(request);
    assert_eq!(refused(&add("alice", "vip", &json!({ "until": NOW }))).0, Code::InvalidRequest);
    assert_eq!(refused(&add("alice", "v\u{202e}ip", &json!({}))).0, Code::InvalidName);
    assert_eq!(refused(&add("al\u{202e}ice", "vip", &json!({}))).0, Code::InvalidName);
    let most = rig.moderation.limits.groups;
    for number in 0..most {
        rig.bans.lasting().put(fanfare_protocol::admin::LastingRow {
            user: user("dora"),
            group: group(&format!("g{number}")),
            may: May::Both,
            since: NOW,
            until: None,
            author: String::new(),
        });
    }
    let (code, said) = refused(&add("dora", "one-more", &json!({})));
    assert_eq!(code, Code::TooManyGroups);
    assert!(said.contains(&most.to_string()), "{said}");
    // One that there is may be changed.
    rig.done(&add("dora", "g0", &json!({ "may": "receive" })));
}
