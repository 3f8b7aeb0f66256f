//! Promises 7 to 9, 11, end to end: who is revoked is out, stays out, and gets nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_client::{Client, Event, RequestError};
use fanfare_protocol::admin::{Action, Role, Who};
use fanfare_protocol::{Code, ConnectionId, EventName, Pattern, PayloadFormat, Sender, ServerFrame, Target};
use fanfare_server::{ModerationError, Operator};
use fanfare_tests::peer::Dialer;
use fanfare_tests::{Hub, eventually, group, message, next, nothing_else, user, within};

fn revoke(name: &str, groups: &str, dry_run: bool) -> Action {
    Action::Revoke {
        user: user(name),
        groups: Pattern::new(groups).unwrap(),
        until: None,
        reason: "left the company".to_owned(),
        dry_run,
    }
}

fn restore(name: &str, groups: &str) -> Action {
    Action::Restore { user: user(name), groups: Pattern::new(groups).unwrap(), reason: String::new() }
}

fn ban(name: &str) -> Action {
    Action::Ban { user: user(name), until: None, reason: String::new(), dry_run: false }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, RequestError>) -> Code {
    let error = outcome.expect_err("not refused");
    error.code().unwrap_or_else(|| panic!("not by the server: {error:?}"))
}

/// The next event that is not a `Joined`.
async fn event(client: &Client) -> Event {
    loop {
        match next(client).await {
            Event::Joined { .. } => {}
            event => return event,
        }
    }
}

async fn removed(client: &Client) -> (String, u16, String) {
    match event(client).await {
        Event::Removed { group, code, reason } => (group.as_str().to_owned(), code, reason),
        other => panic!("not removed: {other:?}"),
    }
}

/// Expects the connection to be closed with this code, and not to come back.
async fn closed(client: &Client, expected: Code) {
    match event(client).await {
        Event::Goodbye { code, .. } => assert_eq!(code, expected.number()),
        other => panic!("no last word: {other:?}"),
    }
    match event(client).await {
        Event::Disconnected { reason, retry_in, .. } => {
            assert!(reason.to_string().contains(&format!("(code {})", expected.number())), "{reason}");
            assert!(retry_in.is_none(), "it must not come back by itself");
        }
        other => panic!("not closed: {other:?}"),
    }
}

#[tokio::test]
async fn promise_7_a_revoke_removes_everywhere_and_says_exactly_what_it_did() {
    let hub = Hub::start().await;
    let (phone, desk) = (hub.client("alice").await, hub.client("alice").await);
    let bob = hub.client("bob").await;
    for (client, groups) in
        [(&phone, &["room-1", "room-2", "lobby"][..]), (&desk, &["room-1"]), (&bob, &["room-1"])]
    {
        for name in groups {
            within(client.join(group(name))).await.unwrap();
        }
    }
    let preview = hub.act(revoke("alice", "room-*", true)).await.unwrap();
    assert_eq!(hub.server.count(&Target::Group(group("room-1"))), 3, "a dry run does nothing");
    let receipt = hub.act(revoke("alice", "room-*", false)).await.unwrap();
    let groups = BTreeMap::from([(group("room-1"), 2), (group("room-2"), 1)]);
    for receipt in [&preview, &receipt] {
        assert_eq!((receipt.connections, &receipt.groups, receipt.unchanged), (2, &groups, false));
    }
    assert!(preview.dry_run && preview.audit == 0 && !receipt.dry_run && receipt.audit == 1);
    assert!(receipt.acted_us <= receipt.took_us);

    let told = |name: &str| (name.to_owned(), Code::BannedFromGroup.number(), "left the company".to_owned());
    let mut phone_lost = [removed(&phone).await, removed(&phone).await];
    phone_lost.sort();
    assert_eq!(phone_lost, [told("room-1"), told("room-2")]);
    assert_eq!(removed(&desk).await, told("room-1"));
    // In force for joins, sends and counts, for these groups only, and for nobody else.
    assert_eq!(refusal(within(desk.join(group("room-9"))).await), Code::BannedFromGroup);
    assert_eq!(refusal(within(desk.count(Target::Group(group("room-1")))).await), Code::BannedFromGroup);
    let outgoing = fanfare_client::Outgoing::new("E", "x").to_group("room-1");
    assert_eq!(refusal(within(desk.send_acked(outgoing)).await), Code::BannedFromGroup);
    within(desk.join(group("lobby"))).await.unwrap();
    within(bob.join(group("room-2"))).await.unwrap();
    within(bob.send_to_group("room-1", "E", "after")).await.unwrap();
    assert_eq!(message(&bob).await.payload, "after");
    nothing_else(&phone).await;

    let again = hub.act(revoke("alice", "room-*", false)).await.unwrap();
    assert!(again.unchanged && again.connections == 0 && again.audit == 2);
    let restored = hub.act(restore("alice", "room-*")).await.unwrap();
    assert!(!restored.unchanged);
    assert!(hub.act(restore("alice", "room-*")).await.unwrap().unchanged);
    within(phone.join(group("room-1"))).await.unwrap();
    let verdict = hub.server.moderation().verify_audit(None).unwrap();
    assert!(verdict.whole && verdict.records == 4, "{verdict:?}");
}

#[tokio::test]
async fn promise_8_what_is_queued_of_the_group_is_purged_and_what_is_not_arrives() {
    let hub = Hub::start().await;
    // It takes a little at a time, so that the rest waits in its outbox.
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], 2_048);
    let (mut slow, id) = dialer.welcomed(hub.address(), "alice").await;
    slow.send(&fanfare_protocol::ClientFrame::Join { request: 1, group: group("room") }).await;
    let bob = hub.client("bob").await;
    eventually("it has joined", || hub.server.count(&Target::Group(group("room"))) == 1).await;
    for number in 0..100_u32 {
        within(bob.send_to_group("room", "E", vec![0; 1_024])).await.unwrap();
        within(bob.send_to_connection(id, "E", number.to_string())).await.unwrap();
    }
    within(bob.count(Target::All)).await.unwrap();
    let receipt = hub.act(revoke("alice", "room", false)).await.unwrap();
    assert!(receipt.purged > 50, "{receipt:?}");
    within(bob.send_to_connection(id, "E", "last")).await.unwrap();

    let (mut of_group, mut direct, mut gone) = (0, 0, false);
    loop {
        match slow.frame().await.unwrap() {
            ServerFrame::Removed { .. } => gone = true,
            ServerFrame::Message(message) if message.to == Target::Group(group("room")) => {
                assert!(!gone, "a message of the group came after Removed");
                of_group += 1;
            }
            ServerFrame::Message(message) if message.payload == "last" => break,
            ServerFrame::Message(message) => {
                assert_eq!(message.payload, direct.to_string(), "the others are all there, in order");
                direct += 1;
            }
            _ => {}
        }
    }
    assert!(gone && direct == 100);
    assert_eq!(of_group + receipt.purged, 100, "each was written or purged");
    assert_eq!(hub.server.metrics().purged, receipt.purged);
}

/// Connections that rejoin without pause, others that send without pause, and a hundred revokes in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_7_and_8_revoke_against_a_thousand_concurrent_rejoins_a_hundred_times() {
    const ROUNDS: u64 = 100;
    const CONNECTIONS: usize = 50;
    const REJOINS: usize = 20;
    let hub = Hub::with(|config| config.requests_per_second = None).await;
    let stop = Arc::new(AtomicBool::new(false));

    let others = [hub.client("carol").await, hub.client("dave").await];
    for client in &others {
        within(client.join(group("room"))).await.unwrap();
    }
    // The sender's last message says that it is the last: a flag of its own would be seen at another moment than what
    // was sent.
    let sender = {
        let (client, stop) = (hub.client("bob").await, Arc::clone(&stop));
        tokio::spawn(async move {
            let send = async |event: &str, number: u64| {
                let outgoing = fanfare_client::Outgoing::new(event, number.to_string()).to_group("room");
                within(client.send_acked(outgoing)).await.unwrap();
            };
            let mut sent: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                send("E", sent).await;
                sent += 1;
            }
            send("Last", sent).await;
            sent + 1
        })
    };
    // The others miss nothing.
    let listeners = others.map(|client| {
        tokio::spawn(async move {
            for expected in 0_u64.. {
                let message = message(&client).await;
                assert_eq!(message.payload, expected.to_string());
                if message.event.as_str() == "Last" {
                    return expected + 1;
                }
            }
            unreachable!("there are more numbers than messages")
        })
    });

    let mut revoked = Vec::new();
    for _ in 0..CONNECTIONS {
        revoked.push(Arc::new(hub.client("mallory").await));
    }
    // Each of the revoked one's streams is read to its end: nothing of the group while it is no member.
    let watching: Vec<_> = revoked
        .iter()
        .map(|client| {
            let client = Arc::clone(client);
            tokio::spawn(async move {
                let (mut member, mut removals, mut messages) = (false, 0_u64, 0_u64);
                while let Some(event) = client.next().await {
                    match event {
                        Event::Joined { .. } => member = true,
                        Event::Removed { .. } => {
                            assert!(std::mem::replace(&mut member, false), "removed twice");
                            removals += 1;
                        }
                        Event::Message(_) => {
                            assert!(member, "a message of the group reached one who is not in it");
                            messages += 1;
                        }
                        _ => {}
                    }
                }
                (removals, messages)
            })
        })
        .collect();

    let mut removed_in_all = 0;
    for round in 0..ROUNDS {
        hub.act(restore("mallory", "room")).await.unwrap();
        let joining: Vec<_> = revoked
            .iter()
            .map(|client| {
                let client = Arc::clone(client);
                tokio::spawn(async move {
                    let mut refused = 0;
                    for _ in 0..REJOINS {
                        match within(client.join(group("room"))).await {
                            Ok(_) => {}
                            Err(error) => {
                                assert_eq!(error.code(), Some(Code::BannedFromGroup), "{error}");
                                refused += 1;
                            }
                        }
                    }
                    refused
                })
            })
            .collect();
        // At another moment of the rush in each round.
        let moment = usize::try_from(round).unwrap() % CONNECTIONS;
        eventually("some have joined", || hub.server.count(&Target::Group(group("room"))) > 2 + moment / 2)
            .await;
        let receipt = hub.act(revoke("mallory", "room", false)).await.unwrap();
        assert_eq!(hub.server.count(&Target::Group(group("room"))), 2, "round {round}: somebody is left");
        removed_in_all += receipt.connections;
        for joining in joining {
            joining.await.unwrap();
        }
        assert_eq!(hub.server.count(&Target::Group(group("room"))), 2, "round {round}: somebody came back");
    }
    stop.store(true, Ordering::Relaxed);
    let sent = within(sender).await.unwrap();
    for listener in listeners {
        assert_eq!(within(listener).await.unwrap(), sent);
    }
    for client in &revoked {
        within(client.close()).await.unwrap();
    }
    drop(revoked);
    let (mut removals, mut messages) = (0, 0);
    for watching in watching {
        let (its_removals, its_messages) = within(watching).await.unwrap();
        removals += its_removals;
        messages += its_messages;
    }
    assert_eq!(removals, removed_in_all, "each removal was told, once");
    println!("{removed_in_all} removals, {messages} messages before them, {sent} sent");
    assert!(hub.server.moderation().verify_audit(None).unwrap().whole);
}

#[tokio::test]
async fn promise_9_a_ban_holds_against_rejoin_reconnect_and_restart() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    within(alice.join(group("room"))).await.unwrap();
    hub.act(revoke("alice", "r*m", false)).await.unwrap();
    hub.act(ban("mallory")).await.unwrap();
    assert_eq!(refusal(within(alice.join(group("room"))).await), Code::BannedFromGroup);
    let again = hub.client("alice").await;
    assert_eq!(refusal(within(again.join(group("room"))).await), Code::BannedFromGroup);
    drop((alice, again));

    let before = hub.server.moderation().audit_head();
    let hub = hub.restart().await;
    let alice = hub.client("alice").await;
    assert_eq!(refusal(within(alice.join(group("room"))).await), Code::BannedFromGroup);
    let error = within(Client::connect(hub.client_config("mallory"))).await.err().unwrap();
    assert_eq!(error.code(), Some(Code::UserBanned), "{error}");
    assert_eq!(hub.server.moderation().bans().len(), 2);
    assert_eq!(hub.server.moderation().audit_head(), before);
    let verdict = hub.server.moderation().verify_audit(Some(&before.hash)).unwrap();
    assert!(verdict.whole, "{verdict:?}");
    assert!(!hub.server.moderation().verify_audit(Some(&"0".repeat(63))).unwrap().whole);

    hub.act(restore("alice", "r*m")).await.unwrap();
    hub.act(Action::Unban { user: user("mallory"), reason: String::new() }).await.unwrap();
    within(alice.join(group("room"))).await.unwrap();
    drop(hub.client("mallory").await);
    assert_eq!(hub.server.moderation().bans(), []);
}

#[tokio::test]
async fn a_banned_user_is_closed_with_the_reason_and_stays_out() {
    let hub = Hub::start().await;
    let (phone, desk) = (hub.client("alice").await, hub.client("alice").await);
    let receipt = hub
        .act(Action::Ban { user: user("alice"), until: None, reason: "spam".to_owned(), dry_run: false })
        .await
        .unwrap();
    assert_eq!(receipt.connections, 2);
    closed(&phone, Code::UserBanned).await;
    closed(&desk, Code::UserBanned).await;
    eventually("both are gone", || hub.server.population().connections == 0).await;
    assert_eq!(hub.server.metrics().closed.get(&Code::UserBanned), Some(&2));
}

#[tokio::test]
async fn a_sign_out_ends_what_was_issued_before_and_not_what_comes_after() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let sign_out = Action::SignOut { user: user("alice"), reason: String::new() };
    assert_eq!(hub.act(sign_out).await.unwrap().connections, 1);
    closed(&alice, Code::SignedOut).await;
    nothing_else(&bob).await;
    // From the next second on: a development connection counts as issued when it comes.
    let back = within(async {
        loop {
            match Client::connect(hub.client_config("alice").reconnect(None)).await {
                Ok(client) => return client,
                Err(error) => assert_eq!(error.code(), Some(Code::SignedOut), "{error}"),
            }
        }
    })
    .await;
    nothing_else(&back).await;
}

#[tokio::test]
async fn operators_add_remove_kick_and_send() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let who = |name: &str| Who::User(user(name));
    let add = |who| Action::Add { who, group: group("staff"), reason: String::new() };
    assert_eq!(hub.act(add(who("alice"))).await.unwrap().connections, 1);
    assert!(
        matches!(next(&alice).await, Event::Joined { group: name, members: 1 } if name == group("staff"))
    );
    hub.act(add(Who::Connection(bob.connection_id()))).await.unwrap();
    assert!(matches!(next(&bob).await, Event::Joined { members: 2, .. }));

    let send = |to| Action::Send {
        to,
        event: EventName::new("Notice").unwrap(),
        payload: "aGk=".to_owned(),
        format: PayloadFormat::Text,
    };
    assert_eq!(hub.act(send(Who::Group(group("staff")))).await.unwrap().connections, 2);
    for client in [&alice, &bob] {
        let message = message(client).await;
        assert_eq!((message.from, &message.payload[..]), (Sender::Server, &b"hi"[..]));
    }
    let remove = Action::Remove { who: who("alice"), group: group("staff"), reason: String::new() };
    assert_eq!(hub.act(remove).await.unwrap().groups, BTreeMap::from([(group("staff"), 1)]));
    let told = removed(&alice).await;
    assert_eq!(told.1, Code::RemovedFromGroup.number());
    // No ban: it may come back.
    within(alice.join(group("staff"))).await.unwrap();
    let kick = Action::Kick { who: Who::Group(group("staff")), reason: "maintenance".to_owned() };
    assert_eq!(hub.act(kick).await.unwrap().connections, 2);
    closed(&bob, Code::ClosedByOperator).await;

    // A banned user is not added by the way.
    let carol = hub.client("carol").await;
    hub.act(revoke("carol", "staff", false)).await.unwrap();
    match hub.act(add(who("carol"))).await {
        Err(error @ ModerationError::Refused { .. }) => assert_eq!(error.code(), Code::BannedFromGroup),
        other => panic!("{other:?}"),
    }
    nothing_else(&carol).await;
}

#[tokio::test]
async fn those_who_are_closed_for_a_time_come_back_after_it_each_at_a_moment_of_its_own() {
    let hub = Hub::start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(hub.client("alice").await);
    }
    let close = Action::Close { who: Who::All, retry_after_ms: 600, reason: "maintenance".to_owned() };
    assert_eq!(hub.act(close).await.unwrap().connections, 8);
    let mut times = std::collections::BTreeSet::new();
    for client in &clients {
        match next(client).await {
            Event::Goodbye { code: 3016, reason, retry_after: Some(after) } => {
                assert_eq!(reason, "maintenance");
                assert!((600..=900).contains(&after.as_millis()), "{after:?}");
                times.insert(after);
            }
            other => panic!("{other:?}"),
        }
        match next(client).await {
            Event::Disconnected { reason, retry_in: Some(pause) } => {
                assert_eq!(reason.code(), Some(Code::ClosedForNow));
                assert!(pause.as_millis() >= 600, "{pause:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Eight even draws of 301 are all the same once in 10^17 times.
    assert!(times.len() > 1);
    for client in &clients {
        assert!(matches!(next(client).await, Event::Reconnected { .. }));
    }
    let too_long = Action::Close { who: Who::All, retry_after_ms: 86_400_001, reason: String::new() };
    match hub.act(too_long).await {
        Err(error @ ModerationError::Refused { .. }) => assert_eq!(error.code(), Code::InvalidRequest),
        other => panic!("{other:?}"),
    }
    // Without a time it is a kick: they do not come back by themselves.
    let for_good = Action::Close { who: Who::User(user("alice")), retry_after_ms: 0, reason: String::new() };
    assert_eq!(hub.act(for_good).await.unwrap().connections, 8);
    for client in &clients {
        closed(client, Code::ClosedByOperator).await;
    }
}

#[tokio::test]
async fn promise_11_what_makes_no_sense_or_is_not_allowed_is_refused_with_a_code_and_recorded() {
    let hub = Hub::start().await;
    let nobody = Who::Connection(ConnectionId::from_bytes([1; 16]));
    let mut records = 0;
    for (request, code) in [
        (Action::Kick { who: nobody, reason: String::new() }, Code::NothingThere),
        (Action::Kick { who: Who::User(user("nobody")), reason: String::new() }, Code::NothingThere),
        (Action::Kick { who: Who::All, reason: "x".repeat(513) }, Code::InvalidRequest),
        (
            Action::RevokeToken { jti: String::new(), until: None, reason: String::new() },
            Code::InvalidRequest,
        ),
        (
            Action::Ban { user: user("a"), until: Some(1), reason: String::new(), dry_run: false },
            Code::InvalidRequest,
        ),
        (
            Action::Send {
                to: Who::All,
                event: EventName::new("E").unwrap(),
                payload: "?".to_owned(),
                format: PayloadFormat::Binary,
            },
            Code::InvalidRequest,
        ),
    ] {
        let error = hub.act(request).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        records += 1;
        assert_eq!(hub.server.moderation().audit_head().sequence, records);
    }
    let viewer = Operator { name: "intern".to_owned(), role: Role::Viewer };
    let error = hub.server.moderation().act(&viewer, &ban("alice")).unwrap_err();
    assert_eq!(error.code(), Code::ViewerMayNotAct);
    let (_, record) = hub.server.moderation().audit(records, 9).unwrap().remove(0);
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!((&record["author"], &record["role"]), (&"intern".into(), &"viewer".into()));
    assert_eq!(record["act"]["user"], "alice");
    assert_eq!(record["outcome"]["refused"]["code"], Code::ViewerMayNotAct.number());
    assert_eq!(hub.server.moderation().bans(), [], "nothing of it was done");
    assert!(hub.server.moderation().verify_audit(None).unwrap().whole);
}
