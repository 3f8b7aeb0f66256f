//! The operators' endpoint, end to end: who gets in, what is answered, what is recorded, and who is cut off.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_certs::{OPERATOR_LIFETIME, create_operator, revoke_operator};
use fanfare_client::{OperatorClient, OperatorError};
use fanfare_protocol::admin::{
    ADMIN_ALPN, Action, AuditVerdict, BanRow, ConnectionDetail, ConnectionRow, Explanation, GroupRow,
    Listing, OneAnswer, Page, Question, Receipt, Role, Status, Subscription, Update, UserRow, Who,
};
use fanfare_protocol::{
    ClientFrame, Code, ConnectionId, EventName, GroupName, Pattern, PayloadFormat, Target,
};
use fanfare_tests::lossy::Lossy;
use fanfare_tests::operators::{connect, try_connect};
use fanfare_tests::peer::Dialer;
use fanfare_tests::{Hub, eventually, group, message, user, within};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(certificate: &std::path::Path, key: &std::path::Path) -> Credentials {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_file(key).unwrap())
}

fn revoke(name: &str, groups: &str) -> Action {
    Action::Revoke {
        user: user(name),
        groups: Pattern::new(groups).unwrap(),
        until: None,
        reason: "left the company".to_owned(),
        dry_run: false,
    }
}

async fn ask<T: serde::de::DeserializeOwned>(client: &OperatorClient, request: impl OneAnswer) -> T {
    within(client.ask(&request)).await.unwrap()
}

async fn refused(client: &OperatorClient, request: impl OneAnswer) -> (Code, String) {
    match within(client.ask::<Value>(&request)).await {
        Err(error @ OperatorError::Refused(_)) => (error.code().unwrap(), error.to_string()),
        other => panic!("not refused: {other:?}"),
    }
}

/// All that a peer with these credentials gets out of the endpoint when it asks for the status, and how it ends.
async fn bytes_from(hub: &Hub, credentials: Option<Credentials>, asks: &[u8]) -> (Vec<u8>, String) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates((*hub.roots).clone());
    let mut tls = match credentials {
        None => tls.with_no_client_auth(),
        Some((chain, key)) => tls.with_client_auth_cert(chain, key).unwrap(),
    };
    tls.alpn_protocols = vec![ADMIN_ALPN.to_vec()];
    let quic = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = hub.server.admin_address().unwrap();
    let connection = match endpoint.connect_with(quic, address, "localhost").unwrap().await {
        Ok(connection) => connection,
        Err(error) => return (Vec::new(), error.to_string()),
    };
    let mut received = Vec::new();
    let asked = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        match send.write_all(asks).await {
            Ok(()) => send.finish().map_err(|error| error.to_string())?,
            // It has read as much as it wanted, and answers.
            Err(quinn::WriteError::Stopped(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        while let Some(chunk) = receive.read_chunk(1 << 20, true).await.map_err(|error| error.to_string())? {
            received.extend_from_slice(&chunk.bytes);
        }
        Ok::<_, String>(())
    };
    let ended = asked.await.err().unwrap_or_default();
    (received, ended)
}

#[tokio::test]
async fn no_admin_byte_without_a_certificate_of_our_authority() {
    let hub = Hub::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = create_operator(elsewhere.path(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
    let own = create_operator(hub.state(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
    let gone = create_operator(hub.state(), "gone", Role::Operator, OPERATOR_LIFETIME).unwrap();
    let gone_pair = pair(&gone.certificate, &gone.key);
    revoke_operator(hub.state(), "gone").unwrap();
    let (server, server_key) = (hub.state().join("server.pem"), hub.state().join("server-key.pem"));
    let strangers: [(&str, Option<Credentials>); 5] = [
        ("no certificate", None),
        ("another authority's", Some(pair(&foreign.certificate, &foreign.key))),
        ("the server's own", Some(pair(&server, &server_key))),
        ("the authority's own", Some(pair(&hub.state().join("ca.pem"), &hub.state().join("ca-key.pem")))),
        ("a revoked one", Some(gone_pair)),
    ];
    for (who, credentials) in strangers {
        let (received, ended) = within(bytes_from(&hub, credentials, br#"{"ask":"status"}"#)).await;
        assert_eq!(received, b"", "{who}: {ended}");
        assert_ne!(ended, "", "{who}: it must be told");
    }
    let own = Some(pair(&own.certificate, &own.key));
    let (received, ended) = within(bytes_from(&hub, own, br#"{"ask":"status"}"#)).await;
    assert!(received.starts_with(br#"{"ok":{"server":"fanfare/"#) && ended.is_empty(), "{ended}");
    hub.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_session_goes_on() {
    let hub = Hub::start().await;
    let own = create_operator(hub.state(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
    let long = [b"\"", &[b'x'; 200_000][..]].concat();
    for (asks, code, words) in [
        (&b""[..], 2103, "no request"),
        (b"hello", 2103, "no request"),
        (b"{\"ask\":\"status\"}{}", 2103, "no request"),
        (b"{\"ask\":\"destroy\"}", 2103, "destroy"),
        (b"{\"ask\":\"ban\"}", 2103, "user"),
        (b"{\"ask\":\"ban\",\"user\":\"\"}", 2103, "256 bytes"),
        (b"{\"ask\":\"ban\",\"user\":\"x\",\"dryrun\":true}", 2103, "dryrun"),
        (b"{\"ask\":\"watch\",\"interval_ms\":1}", 2103, "interval_ms"),
        (b"{\"ask\":\"connections\",\"sort\":\"size\"}", 2103, "outbox_bytes"),
        (b"{\"ask\":\"members\",\"group\":\"nowhere\"}", 2104, "nowhere"),
        (b"\xff\xfe", 2103, "no request"),
        (&long, 2002, "131072 bytes"),
    ] {
        let (received, ended) = within(bytes_from(&hub, Some(pair(&own.certificate, &own.key)), asks)).await;
        let shown = String::from_utf8_lossy(&asks[..asks.len().min(60)]).into_owned();
        let answer: Value = serde_json::from_slice(&received).unwrap_or_else(|_| panic!("{shown}: {ended}"));
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{shown}: {answer}");
    }
    assert_eq!(hub.server.moderation().audit_head().sequence, 0, "nothing of it was an act");
}

#[tokio::test]
async fn a_viewer_looks_and_whoever_acts_as_one_is_refused_and_recorded() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    within(alice.join(group("room"))).await.unwrap();
    let viewer = connect(&hub, "guest", Role::Viewer).await;
    let listing: Listing<GroupRow> = ask(&viewer, Question::Groups(Page::default())).await;
    assert_eq!(listing.total, 1);
    let (code, words) = refused(&viewer, revoke("alice", "room")).await;
    assert_eq!(code, Code::ViewerMayNotAct, "{words}");
    assert_eq!(hub.server.population().groups, 1, "she is still there");
    let mut records =
        within(viewer.follow::<Value>(&Subscription::Audit { after: 0, limit: 0, follow: false }))
            .await
            .unwrap();
    let record = within(records.next()).await.unwrap().unwrap();
    assert_eq!((&record["author"], &record["role"]), (&Value::from("guest"), &Value::from("viewer")));
    assert_eq!(record["outcome"]["refused"]["code"], Code::ViewerMayNotAct.number());
    assert_eq!((&record["act"]["ask"], &record["act"]["user"]), (&"revoke".into(), &"alice".into()));
    assert_eq!(within(records.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_revoked_operators_live_session_ends() {
    let hub = Hub::start().await;
    let (oncall, other) =
        (connect(&hub, "oncall", Role::Operator).await, connect(&hub, "other", Role::Operator).await);
    let follow = Subscription::Audit { after: 0, limit: 0, follow: true };
    let mut records = within(oncall.follow::<Value>(&follow)).await.unwrap();
    let _: Receipt = ask(&oncall, revoke("bob", "*")).await;
    // The session is in the middle of an answer when its certificate is revoked.
    assert!(within(records.next()).await.unwrap().is_some());
    revoke_operator(hub.state(), "oncall").unwrap();
    // Also where it asks for nothing more.
    let error = within(records.next()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OperatorRefused), "{error}");
    let error = within(oncall.ask::<Receipt>(&revoke("alice", "*"))).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OperatorRefused), "{error}");
    let _: Receipt = ask(&other, revoke("alice", "*")).await;
    assert_eq!(hub.server.moderation().audit_head().sequence, 2, "what came after is of the other alone");
    hub.stop().await;
}

#[tokio::test]
async fn every_act_is_done_in_its_authors_name_and_followed_live() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    within(alice.join(group("room"))).await.unwrap();
    let oncall = connect(&hub, "oncall", Role::Operator).await;
    let follow = Subscription::Audit { after: 0, limit: 0, follow: true };
    let mut records = within(oncall.follow::<Value>(&follow)).await.unwrap();
    let reason = String::new;
    let (room, all) = (group("room"), Pattern::new("*").unwrap());
    let add = |who| Action::Add { who, group: room.clone(), reason: reason() };
    let acts: Vec<(Action, &str, u64)> = vec![
        (add(Who::Connection(bob.connection_id())), "add", 1),
        (
            Action::Send {
                to: Who::Group(room.clone()),
                event: EventName::new("Notice").unwrap(),
                payload: "aGVsbG8=".to_owned(),
                format: PayloadFormat::Text,
            },
            "send",
            2,
        ),
        (Action::Remove { who: Who::User(user("bob")), group: room.clone(), reason: reason() }, "remove", 1),
        (revoke("alice", "*"), "revoke", 1),
        (Action::Restore { user: user("alice"), groups: all, reason: reason() }, "restore", 0),
        (Action::SignOut { user: user("nobody"), reason: reason() }, "sign_out", 0),
        (Action::RevokeToken { jti: "t1".into(), until: None, reason: reason() }, "revoke_token", 0),
        (Action::Kick { who: Who::User(user("bob")), reason: reason() }, "kick", 1),
        (Action::Ban { user: user("alice"), until: None, reason: "spam".into(), dry_run: false }, "ban", 1),
        (Action::Unban { user: user("alice"), reason: reason() }, "unban", 0),
    ];
    let count = acts.len() as u64;
    for ((request, name, connections), number) in acts.into_iter().zip(1_u64..) {
        let receipt: Receipt = ask(&oncall, request).await;
        assert_eq!((receipt.connections, receipt.audit), (connections, number), "{name}");
        let record = within(records.next()).await.unwrap().unwrap();
        assert_eq!((&record["sequence"], &record["author"]), (&number.into(), &"oncall".into()), "{record}");
        assert_eq!(record["act"]["ask"], name);
        assert_eq!(record["outcome"]["done"]["connections"], connections);
        assert!(record["act"].get("payload").is_none(), "a message is nobody's business but its recipients'");
    }
    assert_eq!(message(&alice).await.payload, "hello");
    let (code, words) = refused(&oncall, add(Who::User(user("nobody")))).await;
    assert_eq!(code, Code::NothingThere, "{words}");

    let verdict: AuditVerdict = ask(&oncall, Question::VerifyAudit { head: None }).await;
    assert!(verdict.whole && verdict.records == count + 1, "{verdict:?}");
    let head = Some(verdict.head.hash);
    let verdict: AuditVerdict = ask(&oncall, Question::VerifyAudit { head }).await;
    assert!(verdict.whole);
    let upper = Some(verdict.head.hash.to_uppercase());
    let verdict: AuditVerdict = ask(&oncall, Question::VerifyAudit { head: upper }).await;
    assert!(verdict.whole, "hexadecimal is the same in upper case");
    let head = Some("00ff".repeat(16));
    let verdict: AuditVerdict = ask(&oncall, Question::VerifyAudit { head }).await;
    assert!(!verdict.whole, "a head that was noted is not in the chain");
    for head in ["00".to_owned(), String::new(), "0".repeat(63), "g".repeat(64)] {
        let (code, words) = refused(&oncall, Question::VerifyAudit { head: Some(head) }).await;
        assert_eq!(code, Code::InvalidRequest, "what is no hash breaks no chain: {words}");
    }
}

#[tokio::test]
async fn questions_are_answered_as_things_are() {
    let hub = Hub::start().await;
    let mut clients = Vec::new();
    for (name, groups) in [
        ("alice", &["room-1", "room-2"][..]),
        ("alice", &["room-1"]),
        ("Bob", &["room-1", "lobby"]),
        ("carol", &[]),
    ] {
        let client = hub.client(name).await;
        for name in groups {
            within(client.join(group(name))).await.unwrap();
        }
        clients.push(client);
    }
    within(clients[2].send_to_group("room-1", "E", "x")).await.unwrap();
    assert_eq!(message(&clients[2]).await.payload, "x");
    let oncall = connect(&hub, "oncall", Role::Viewer).await;

    let status: Status = ask(&oncall, Question::Status {}).await;
    assert_eq!((status.totals.connections, status.totals.users, status.totals.groups), (4, 3, 3));
    assert_eq!((status.address, status.dev), (hub.address().to_string(), true));
    assert_eq!((status.counters.sends, status.counters.deliveries, status.counters.welcomed), (1, 3, 4));

    let page = |sort: &str, descending, offset, limit| Page {
        sort: sort.to_owned(),
        descending,
        offset,
        limit,
        ..Page::default()
    };
    let rows: Listing<ConnectionRow> = ask(&oncall, Question::Connections(page("groups", true, 0, 2))).await;
    assert_eq!((rows.total, rows.rows.iter().map(|row| row.groups).collect::<Vec<_>>()), (4, vec![2, 2]));
    let rows: Listing<ConnectionRow> = ask(&oncall, Question::Connections(page("groups", true, 2, 9))).await;
    assert_eq!(rows.rows.iter().map(|row| row.groups).collect::<Vec<_>>(), [1, 0]);
    let filter = Question::Connections(Page { filter: "BOB".to_owned(), ..Page::default() });
    let rows: Listing<ConnectionRow> = ask(&oncall, filter).await;
    let row = &rows.rows[0];
    assert_eq!((rows.total, row.connection, row.transport.as_str()), (1, clients[2].connection_id(), "quic"));
    assert_eq!((row.requests, row.deliveries), (3, 1));
    assert!(row.rtt_us > 0 && row.address.starts_with("127.0.0.1:"));

    let users: Listing<UserRow> = ask(&oncall, Question::Users(page("connections", true, 0, 1))).await;
    assert_eq!(users.rows, [UserRow { user: user("alice"), connections: 2 }]);
    let groups: Listing<GroupRow> = ask(&oncall, Question::Groups(page("users", true, 0, 1))).await;
    let room = GroupRow {
        group: group("room-1"),
        members: 3,
        users: 2,
        deliveries: 3,
        waiting_frames: 0,
        watchers: 0,
        users_at_most: false,
    };
    assert_eq!(groups.rows, [room]);
    let members = Question::Members { group: group("room-1"), page: page("user", false, 0, 0) };
    let members: Listing<ConnectionRow> = ask(&oncall, members).await;
    assert_eq!(
        members.rows.iter().map(|row| row.user.as_str()).collect::<Vec<_>>(),
        ["Bob", "alice", "alice"]
    );

    let which = Question::Connection { connection: clients[2].connection_id() };
    let detail: ConnectionDetail = ask(&oncall, which).await;
    assert_eq!(
        detail.memberships.iter().map(|row| row.group.as_str()).collect::<Vec<_>>(),
        ["lobby", "room-1"]
    );
    assert!(detail.quic.sent_packets > 0 && detail.quic.received_bytes > 1_000 && detail.quic.mtu >= 1_200);
    assert_eq!((detail.token_ends, detail.quic.migrations), (None, 0));
    let unknown = Question::Connection { connection: ConnectionId::from_bytes([7; 16]) };
    assert_eq!(refused(&oncall, unknown).await.0, Code::NothingThere);

    let explain = |name: &str| Question::Explain { user: user(name), group: group("room-1"), token: None };
    let why: Explanation = ask(&oncall, explain("alice")).await;
    assert!(
        why.may_join && why.connections.len() == 2 && why.connections.iter().all(|one| one.member),
        "{why:?}"
    );
    hub.act(revoke("alice", "room-*")).await.unwrap();
    let why: Explanation = ask(&oncall, explain("alice")).await;
    assert!(!why.may_join && why.connections.iter().all(|one| one.granted && !one.member), "{why:?}");
    assert!(
        why.summary.contains("\"room-*\" was revoked by oncall (\"left the company\")"),
        "{}",
        why.summary
    );
    let bans: Listing<BanRow> = ask(&oncall, Question::Bans(Page::default())).await;
    assert_eq!((bans.total, bans.rows[0].author.as_str()), (1, "oncall"));
    assert_eq!(bans.rows, why.bans);
    let why: Explanation = ask(&oncall, explain("nobody")).await;
    assert!(!why.may_join && why.summary.contains("not connected"), "{}", why.summary);
}

/// What a watcher knows.
#[derive(Default)]
struct Picture {
    connections: BTreeMap<ConnectionId, ConnectionRow>,
    groups: BTreeMap<GroupName, GroupRow>,
    updates: u64,
    fulls: u64,
    skipped: u64,
}

impl Picture {
    fn take(&mut self, update: Update) {
        if update.full {
            self.connections.clear();
            self.groups.clear();
            self.fulls += 1;
        }
        self.updates += u64::from(!update.more);
        self.skipped += update.skipped;
        for row in update.connections {
            self.connections.insert(row.connection, row);
        }
        for id in update.gone_connections {
            assert!(self.connections.remove(&id).is_some(), "gone, and was never there");
        }
        for row in update.groups {
            self.groups.insert(row.group.clone(), row);
        }
        for name in update.gone_groups {
            assert!(self.groups.remove(&name).is_some(), "gone, and was never there");
        }
    }
}

#[tokio::test]
async fn who_watches_gets_everything_once_and_then_what_changes() {
    let hub = Hub::start().await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let client = hub.client(&format!("user-{number}")).await;
        within(client.join(group("crowd"))).await.unwrap();
        clients.push(client);
    }
    let oncall = connect(&hub, "oncall", Role::Viewer).await;
    let mut updates =
        within(oncall.follow::<Update>(&Subscription::Watch { interval_ms: 50 })).await.unwrap();
    let mut picture = Picture::default();
    let mut until = async |picture: &mut Picture, holds: &dyn Fn(&Picture) -> bool| {
        let waiting = async {
            while !holds(picture) {
                picture.take(updates.next().await.unwrap().unwrap());
            }
        };
        within(waiting).await;
    };
    until(&mut picture, &|picture| picture.connections.len() == 20).await;
    assert_eq!((picture.fulls, picture.groups[&group("crowd")].members), (1, 20));
    within(clients[0].join(group("alone"))).await.unwrap();
    until(&mut picture, &|picture| picture.groups.len() == 2).await;
    for client in clients.drain(5..) {
        within(client.close()).await.unwrap();
    }
    until(&mut picture, &|picture| {
        picture.connections.len() == 5 && picture.groups[&group("crowd")].members == 5
    })
    .await;
    within(clients[0].leave(group("alone"))).await.unwrap();
    until(&mut picture, &|picture| picture.groups.len() == 1).await;
    assert_eq!((picture.fulls, picture.skipped), (1, 0), "one snapshot, and nothing was missed");
    hub.stop().await;
}

#[tokio::test]
async fn since_when_nothing_was_heard_of_a_connection_is_told() {
    let hub = Hub::start().await;
    // Whoever is killed, or loses the network, says nothing: its packets end here.
    let proxy = Lossy::to(hub.address(), 0, 1).await;
    let (_vanished, vanished) = Dialer::new(&hub.roots).welcomed(proxy.address, "vanished").await;
    let (mut peer, lives) = Dialer::new(&hub.roots).welcomed(hub.address(), "lives").await;
    drop(proxy);
    let oncall = connect(&hub, "oncall", Role::Viewer).await;
    let silent = async || {
        let listing: Listing<ConnectionRow> = ask(&oncall, Question::Connections(Page::default())).await;
        let of = |id| listing.rows.iter().find(|row| row.connection == id).map(|row| row.silent_ms);
        (of(vanished).unwrap(), of(lives).unwrap())
    };
    let mut said = 0;
    let (gone, living) = within(async {
        loop {
            said += 1;
            peer.send(&ClientFrame::Count { request: said, target: Target::All }).await;
            peer.frame().await.unwrap();
            let silent = silent().await;
            if silent.0 >= 3_000 {
                return silent;
            }
        }
    })
    .await;
    assert!(living < gone, "{gone} ms and {living} ms");
}

#[tokio::test]
async fn a_stuck_watcher_slows_nobody_and_is_told_what_it_missed() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    within(alice.join(group("room"))).await.unwrap();
    let oncall = connect(&hub, "oncall", Role::Viewer).await;
    // It looks away for longer than updates are kept for it: an hour's pause would do the same.
    let mut slow =
        within(oncall.follow::<Update>(&Subscription::Watch { interval_ms: 8_000 })).await.unwrap();
    let mut quick = within(oncall.follow::<Update>(&Subscription::Watch { interval_ms: 50 })).await.unwrap();
    let first = within(slow.next()).await.unwrap().unwrap();
    assert!(first.full && first.skipped == 0);
    let mut seen = Picture::default();
    let mut late = tokio::spawn(async move { within(slow.next()).await.unwrap().unwrap() });
    let late = loop {
        tokio::select! {
            update = &mut late => break update.unwrap(),
            update = quick.next() => {
                seen.take(update.unwrap().unwrap());
                // Messages go on all the while, each before the next update.
                within(alice.send_to_group("room", "E", "x")).await.unwrap();
                assert_eq!(message(&alice).await.payload, "x");
            }
        }
    };
    assert!(late.full && late.skipped > 16, "{late:?}");
    assert_eq!(late.connections.len(), 1);
    assert!(seen.updates > late.skipped / 2 && seen.fulls == 1, "{} of {}", seen.updates, late.skipped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_slow_nobody() {
    // As many as fit in a session, and sessions for a thousand.
    const STREAMS: usize = 16;
    const SESSIONS: usize = 63;
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    within(alice.join(group("room"))).await.unwrap();
    create_operator(hub.state(), "wall", Role::Viewer, OPERATOR_LIFETIME).unwrap();
    let mut watching = tokio::task::JoinSet::new();
    for _ in 0..SESSIONS {
        let (session, _) = try_connect(&hub, "wall").await.unwrap();
        let session = Arc::new(session);
        for _ in 0..STREAMS {
            let session = Arc::clone(&session);
            watching.spawn(async move {
                let watch = Subscription::Watch { interval_ms: 250 };
                let mut updates = within(session.follow::<Update>(&watch)).await.unwrap();
                let mut picture = Picture::default();
                while picture.updates < 4 {
                    picture.take(within(updates.next()).await.unwrap().unwrap());
                }
                assert_eq!((picture.fulls, picture.connections.len()), (1, 1));
            });
        }
    }
    // Messages go on until the last watcher has seen enough.
    let mut messages = 0;
    while !watching.is_empty() {
        within(alice.send_to_group("room", "E", "x")).await.unwrap();
        assert_eq!(message(&alice).await.payload, "x");
        messages += 1;
        while let Some(watched) = watching.try_join_next() {
            watched.unwrap();
        }
    }
    assert!(messages > 10, "{messages} messages");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_that_have_begun_are_finished_before_a_drain_is() {
    let mut hub = Hub::start().await;
    create_operator(hub.state(), "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
    for round in 0..10 {
        let (session, _) = try_connect(&hub, "oncall").await.unwrap();
        let session = Arc::new(session);
        let mut acts = tokio::task::JoinSet::new();
        for number in 0..16 {
            let session = Arc::clone(&session);
            let request = revoke(&format!("user-{round}-{number}"), "*");
            acts.spawn(async move { within(session.ask::<Receipt>(&request)).await.is_ok() });
        }
        // One has been answered, so others are under way.
        assert!(within(acts.join_next()).await.unwrap().unwrap());
        let recorded = hub.server.moderation().audit_head().sequence;
        // It would not start where an action of the one before still had the store.
        hub = hub.restart().await;
        within(acts.join_all()).await;
        let verdict = hub.server.moderation().verify_audit(None).unwrap();
        assert!(verdict.whole && verdict.records >= recorded, "{verdict:?}");
        assert_eq!(verdict.records, hub.server.moderation().bans().len() as u64, "each act has its record");
    }
}

#[tokio::test]
async fn an_operators_endpoint_ends_with_its_server_and_comes_back() {
    let hub = Hub::start().await;
    let oncall = connect(&hub, "oncall", Role::Operator).await;
    let mut updates =
        within(oncall.follow::<Update>(&Subscription::Watch { interval_ms: 50 })).await.unwrap();
    assert!(within(updates.next()).await.unwrap().is_some());
    let hub = hub.restart().await;
    let error = loop {
        match within(updates.next()).await {
            Ok(update) => {
                assert!(update.is_some(), "the server's end is an error, not the end of the answer");
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some(Code::ShuttingDown), "{error}");
    let (_again, status) = try_connect(&hub, "oncall").await.unwrap();
    eventually("nobody is connected", || hub.server.population().connections == 0).await;
    assert_eq!(status.totals.connections, 0);
    hub.stop().await;
}
