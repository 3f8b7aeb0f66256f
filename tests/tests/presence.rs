//! Promise 16, end to end: presence is true, and nobody without the right learns of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanfare_client::{Client, RequestError, Watch, WatchEvent};
use fanfare_protocol::admin::Action;
use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{
    ClientFrame, Code, Credential, Features, PROTOCOL_VERSION, Pattern, Payload, ServerFrame, Token,
};
use fanfare_server::{Args, CallError, Caller, Connecting, Extras, GrantClaim, Methods, Refusal, Right};
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::peer::{Dialer, Peer};
use fanfare_tests::signalr::SignalR;
use fanfare_tests::tokens::{Secret, now};
use fanfare_tests::{Hub, eventually, group, nothing_else, user, within};
use serde_json::{Value, json};

/// Who is in a group, put together from what a watch gave.
pub(crate) struct View {
    pub(crate) watch: Watch,
    users: BTreeMap<String, (u32, Option<Payload>)>,
    /// How many times something was told.
    pub(crate) changes: usize,
}

impl View {
    pub(crate) async fn of(client: &Client, name: &str) -> Self {
        let watch = within(client.watch(name)).await.unwrap();
        let mut view = Self { watch, users: BTreeMap::new(), changes: 0 };
        view.take().await;
        view
    }

    /// Takes the next change. Gives whether the watch goes on.
    pub(crate) async fn take(&mut self) -> Option<u16> {
        self.changes += 1;
        match within(self.watch.next()).await {
            Some(WatchEvent::Changed { present, left }) => {
                for user in left {
                    assert!(self.users.remove(user.as_str()).is_some(), "{user:?} left twice");
                }
                for Present { user, connections, data } in present {
                    let told = self.users.insert(user.as_str().to_owned(), (connections, data.clone()));
                    assert_ne!(told, Some((connections, data)), "told twice");
                }
                None
            }
            Some(WatchEvent::Ended { code, .. }) => Some(code),
            other => panic!("{other:?}"),
        }
    }

    /// Takes changes until these are present, and no others.
    pub(crate) async fn until(&mut self, expected: &[(&str, u32)]) {
        let expected: BTreeMap<String, u32> =
            expected.iter().map(|(name, connections)| ((*name).to_owned(), *connections)).collect();
        loop {
            let now: BTreeMap<_, _> =
                self.users.iter().map(|(name, (count, _))| (name.clone(), *count)).collect();
            if now == expected {
                let present = self.watch.present().into_iter();
                let last: BTreeMap<_, _> =
                    present.map(|one| (one.user.as_str().to_owned(), one.connections)).collect();
                assert_eq!(last, expected);
                return;
            }
            assert_eq!(self.take().await, None, "ended with {:?}", self.users);
        }
    }

    pub(crate) fn data(&self, name: &str) -> Option<&str> {
        self.users[name].1.as_ref().map(|data| std::str::from_utf8(&data.bytes).unwrap())
    }
}

fn code<T>(refused: Result<T, RequestError>) -> (Code, String) {
    match refused.err().expect("not refused") {
        RequestError::Refused { code, detail } => (Code::try_from(u64::from(code)).unwrap(), detail),
        other => panic!("{other:?}"),
    }
}

fn soon(config: &mut fanfare_server::Config) {
    config.presence_grace = Duration::from_millis(300);
    config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.origins.loopback = true;
}

#[tokio::test]
async fn promise_16_a_watcher_knows_who_is_there_and_needs_no_membership() {
    let hub = Hub::with(soon).await;
    let (watcher, alice) = (hub.client("watcher").await, hub.client("alice").await);
    within(alice.join("room")).await.unwrap();
    let mut view = View::of(&watcher, "room").await;
    assert_eq!(view.users.keys().collect::<Vec<_>>(), ["alice"]);
    let (phone, desk) = (hub.client("bob").await, hub.client("bob").await);
    within(phone.join("room")).await.unwrap();
    within(desk.join("room")).await.unwrap();
    view.until(&[("alice", 1), ("bob", 2)]).await;
    // He leaves with the last of his connections.
    within(phone.leave("room")).await.unwrap();
    view.until(&[("alice", 1), ("bob", 1)]).await;
    within(desk.close()).await.unwrap();
    view.until(&[("alice", 1)]).await;
    // A second watch of the same client, and one of a group that nobody is in.
    let mut second = View::of(&watcher, "room").await;
    second.until(&[("alice", 1)]).await;
    let mut empty = View::of(&watcher, "empty").await;
    assert!(empty.users.is_empty());
    within(alice.join("empty")).await.unwrap();
    empty.until(&[("alice", 1)]).await;
    assert_eq!((hub.server.metrics().watches, hub.server.population().groups), (2, 2));
    // What is dropped is told to the server, when it was the last.
    drop(second);
    drop(empty);
    eventually("one is left", || hub.server.metrics().watches == 1).await;
    drop(alice);
    view.until(&[]).await;
    within(watcher.close()).await.unwrap();
    assert_eq!(within(view.watch.next()).await, None, "the client has ended");
    eventually("none is left", || hub.server.metrics().watches == 0).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_is_no_flicker() {
    let hub = Hub::with(|config| config.presence_grace = Duration::from_secs(20)).await;
    let (watcher, alice, bob) =
        (hub.client("watcher").await, hub.client("alice").await, hub.client("bob").await);
    within(alice.join("room")).await.unwrap();
    let mut view = View::of(&watcher, "room").await;
    view.until(&[("alice", 1)]).await;
    within(alice.close()).await.unwrap();
    let alice = hub.client("alice").await;
    within(alice.join("room")).await.unwrap();
    // What is told next is of the other, and has nothing of hers in it.
    within(bob.join("room")).await.unwrap();
    match within(view.watch.next()).await {
        Some(WatchEvent::Changed { present, left }) => {
            assert_eq!((present.len(), present[0].user.as_str(), left.len()), (1, "bob", 0));
        }
        other => panic!("{other:?}"),
    }
    hub.stop().await;
}

#[tokio::test]
async fn promise_16_over_an_outage_only_what_has_changed_is_told() {
    let hub = Hub::with(soon).await;
    let (watcher, alice, bob) =
        (hub.client("watcher").await, hub.client("alice").await, hub.client("bob").await);
    for client in [&alice, &bob] {
        within(client.join("room")).await.unwrap();
    }
    let mut view = View::of(&watcher, "room").await;
    view.until(&[("alice", 1), ("bob", 1)]).await;
    within(bob.close()).await.unwrap();
    let pump = tokio::spawn(async move { while alice.next().await.is_some() {} });
    let carol_config = hub.client_config("carol");
    let hub = hub.restart_with(soon).await;
    let carol = within(Client::connect(carol_config)).await.unwrap();
    within(carol.join("room")).await.unwrap();
    let events = tokio::spawn({
        let watcher = watcher.clone();
        async move { while watcher.next().await.is_some() {} }
    });
    view.until(&[("alice", 1), ("carol", 1)]).await;
    pump.abort();
    events.abort();
    hub.stop().await;
}

/// A hub whose clients show tokens.
async fn guarded(secret: &Secret) -> Hub {
    Hub::with(|config| {
        soon(config);
        config.tokens = Some(secret.rules());
        config.expiry_notice = Duration::ZERO;
    })
    .await
}

fn presence_until(exp: Option<u64>) -> GrantClaim {
    GrantClaim { group: Some("room*".to_owned()), user: None, all: None, may: vec![Right::Presence], exp }
}

fn token(secret: &Secret, name: &str, grants: &[GrantClaim]) -> String {
    secret.minter().mint(name, now(), 3_600, grants, Extras::default()).unwrap()
}

async fn with_token(hub: &Hub, token: &str) -> Client {
    within(Client::connect(hub.token_config(token))).await.unwrap()
}

#[tokio::test]
async fn promise_16_who_has_no_grant_learns_nothing_not_even_whether_anybody_is_there() {
    let secret = Secret::default();
    let hub = guarded(&secret).await;
    let alice = with_token(&hub, &secret.token("alice", &[Right::Join, Right::Send])).await;
    within(alice.join("room")).await.unwrap();
    // A member that may send, and has not the right to know who else is there.
    let mut spy = Dialer::new(&hub.roots).peer(hub.address()).await;
    let credential = Credential::Token(Token::new(secret.token("spy", &[Right::Join, Right::Send])));
    let features = Features::PRESENCE;
    spy.send(&ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential }).await;
    assert!(matches!(spy.frame().await, Ok(ServerFrame::Welcome(welcome)) if welcome.features == features));
    let mut refusals = Vec::new();
    for (request, name) in (1..).zip(["room", "nobody"]) {
        spy.send(&ClientFrame::Watch { request, group: group(name) }).await;
        match spy.frame().await {
            Ok(ServerFrame::Error { code, detail, .. }) => {
                assert_eq!(code, Code::NotGranted.number());
                refusals.push(detail.replace(name, "GROUP"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refusals[0], refusals[1], "the same words, whether somebody is there or not");
    assert_eq!(hub.server.metrics().watches, 0);
    // Whatever happens there, and while somebody else watches it: no frame comes.
    let watcher = with_token(&hub, &token(&secret, "watcher", &[presence_until(None)])).await;
    let mut view = View::of(&watcher, "room").await;
    for _ in 0..3 {
        within(alice.leave("room")).await.unwrap();
        view.until(&[]).await;
        within(alice.join("room")).await.unwrap();
        view.until(&[("alice", 1)]).await;
    }
    spy.send(&ClientFrame::Unwatch { request: 9, group: group("room") }).await;
    assert_eq!(spy.frame().await, Ok(ServerFrame::Ack { request: 9, count: 0 }));
    assert_eq!(
        code(within(watcher.watch("hall")).await).0,
        Code::NotGranted,
        "the pattern is for other groups"
    );
    hub.stop().await;
}

#[tokio::test]
async fn promise_16_a_watch_ends_with_the_grant_at_once_and_nothing_of_the_group_follows() {
    let secret = Secret::default();
    let hub = guarded(&secret).await;
    let alice = with_token(&hub, &secret.token("alice", &[Right::Join])).await;
    // The grant's own end.
    let ends = now() + 3;
    let grants = [presence_until(Some(ends)), GrantClaim { may: vec![Right::Join], ..presence_until(None) }];
    let mut rules = secret.rules();
    rules.leeway = 0;
    let hub = {
        drop(alice);
        hub.restart_with(|config| {
            soon(config);
            config.tokens = Some(rules);
            config.expiry_notice = Duration::ZERO;
        })
        .await
    };
    let alice = with_token(&hub, &secret.token("alice", &[Right::Join])).await;
    let watcher = with_token(&hub, &token(&secret, "watcher", &grants)).await;
    let mut view = View::of(&watcher, "room").await;
    within(watcher.join("room")).await.unwrap();
    view.until(&[("watcher", 1)]).await;
    assert_eq!(view.take().await, Some(Code::GrantEnded.number()));
    assert!(now() >= ends, "not before its time");
    assert_eq!(within(view.watch.next()).await, None);
    within(alice.join("room")).await.unwrap();
    assert_eq!(hub.server.metrics().watches, 0);
    assert_eq!(hub.server.count(&fanfare_protocol::Target::Group(group("room"))), 2, "it is a member still");
    assert_eq!(code(within(watcher.watch("room")).await).0, Code::NotGranted);

    // A refresh with another grant, and with none.
    within(watcher.refresh(Token::new(token(&secret, "watcher", &[presence_until(None)])))).await.unwrap();
    let mut view = View::of(&watcher, "room").await;
    view.until(&[("alice", 1)]).await;
    within(watcher.refresh(Token::new(token(&secret, "watcher", &[presence_until(None)])))).await.unwrap();
    within(alice.leave("room")).await.unwrap();
    view.until(&[]).await;
    within(watcher.refresh(Token::new(token(&secret, "watcher", &[])))).await.unwrap();
    assert_eq!(hub.server.metrics().watches, 0, "before the answer");
    assert_eq!(view.take().await, Some(Code::GrantEnded.number()));

    // A revocation, which holds against the grant until it is lifted.
    within(watcher.refresh(Token::new(token(&secret, "watcher", &[presence_until(None)])))).await.unwrap();
    let mut view = View::of(&watcher, "room").await;
    let groups: Pattern = "room".parse().unwrap();
    let revoke = Action::Revoke {
        user: user("watcher"),
        groups: groups.clone(),
        until: None,
        reason: "spies".into(),
        dry_run: false,
    };
    hub.act(revoke).await.unwrap();
    assert_eq!(hub.server.metrics().watches, 0, "before the receipt");
    assert_eq!(view.take().await, Some(Code::BannedFromGroup.number()));
    assert_eq!(code(within(watcher.watch("room")).await).0, Code::BannedFromGroup);
    let restore = Action::Restore { user: user("watcher"), groups, reason: String::new() };
    hub.act(restore).await.unwrap();
    let mut view = View::of(&watcher, "room").await;
    within(alice.join("room")).await.unwrap();
    view.until(&[("alice", 1)]).await;
    hub.stop().await;
}

/// A bare peer that understands presence.
async fn peer(hub: &Hub, name: &str, features: Features) -> Peer {
    let mut peer = Dialer::new(&hub.roots).peer(hub.address()).await;
    let credential = Credential::DevUser(user(name));
    peer.send(&ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential }).await;
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Welcome(_))));
    peer
}

#[tokio::test]
async fn promise_13_who_did_not_offer_presence_is_told_nothing_of_it() {
    let hub = Hub::start().await;
    let mut old = peer(&hub, "old", Features::CALLS).await;
    for frame in [
        ClientFrame::Watch { request: 1, group: group("room") },
        ClientFrame::Unwatch { request: 1, group: group("room") },
    ] {
        old.send(&frame).await;
        match old.frame().await {
            Ok(ServerFrame::Error { request: 1, code, .. }) => assert_eq!(code, Code::NotKnownHere.number()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(hub.server.metrics().watches, 0);
    hub.stop().await;
}

/// What is on the wire: the snapshot before the answer, revisions without a gap, and nothing behind the end.
#[tokio::test]
async fn the_snapshot_begins_before_the_answer_and_each_change_is_one_on_from_the_last() {
    let hub = Hub::with(|config| config.presence_grace = Duration::ZERO).await;
    let mut watcher = peer(&hub, "watcher", Features::PRESENCE).await;
    let alice = hub.client("alice").await;
    watcher.send(&ClientFrame::Watch { request: 5, group: group("room") }).await;
    let told = |frame: Result<ServerFrame, _>| match frame {
        Ok(ServerFrame::Presence(frame)) => frame,
        other => panic!("{other:?}"),
    };
    let first = told(watcher.frame().await);
    let (group_name, present) = (group("room"), vec![]);
    let nobody =
        PresenceFrame::Snapshot { group: group_name, revision: 0, begins: true, complete: true, present };
    assert_eq!(first, nobody);
    assert_eq!(watcher.frame().await, Ok(ServerFrame::Ack { request: 5, count: 0 }));
    for round in 1..=3 {
        within(alice.join("room")).await.unwrap();
        match told(watcher.frame().await) {
            PresenceFrame::Changes { revision, present, left, .. } => {
                assert_eq!((revision, present.len(), left.len()), (2 * round - 1, 1, 0));
            }
            other => panic!("{other:?}"),
        }
        within(alice.leave("room")).await.unwrap();
        match told(watcher.frame().await) {
            PresenceFrame::Changes { revision, present, left, .. } => {
                assert_eq!((revision, present.len(), left.len()), (2 * round, 0, 1));
            }
            other => panic!("{other:?}"),
        }
    }
    watcher.send(&ClientFrame::Unwatch { request: 6, group: group("room") }).await;
    assert_eq!(watcher.frame().await, Ok(ServerFrame::Ack { request: 6, count: 0 }));
    within(alice.join("room")).await.unwrap();
    nothing_else(&alice).await;
    watcher.send(&ClientFrame::Count { request: 7, target: fanfare_protocol::Target::All }).await;
    assert_eq!(watcher.frame().await, Ok(ServerFrame::Ack { request: 7, count: 2 }));
    hub.stop().await;
}

async fn connected((): (), connecting: Connecting) -> Result<(), Refusal> {
    let data = Payload::json(format!("{{\"name\":\"{}\"}}", connecting.user()));
    connecting.describe(data).unwrap();
    assert!(connecting.describe(vec![0; 1_025]).is_err(), "too long, and changes nothing");
    connecting.join(group("room"));
    Ok(())
}

async fn mood(caller: Caller, Args((mood,)): Args<(String,)>) -> Result<(), CallError> {
    Ok(caller.describe(mood)?)
}

#[tokio::test]
async fn what_the_application_says_of_its_users_is_told_with_them_also_to_back_ends_and_signalrs_clients() {
    let methods = Methods::new().connected(connected).on("Mood", mood);
    let hub = Hub::assembled(tempfile::tempdir().unwrap(), soon, methods).await;
    let alice = hub.client("alice").await;
    let mut view = View::of(&alice, "room").await;
    view.until(&[("alice", 1)]).await;
    assert_eq!(view.data("alice"), Some("{\"name\":\"alice\"}"));
    within(alice.invoke::<Value>("Mood", &("cheerful",))).await.unwrap();
    while view.data("alice") != Some("cheerful") {
        assert_eq!(view.take().await, None);
    }

    // With an application they are told, too.
    let mut bob = SignalR::welcomed(&hub.signalr(), &hub.roots, "bob").await;
    view.until(&[("alice", 1), ("bob", 1)]).await;
    assert_eq!(bob.call("fanfare.WatchGroup", json!(["room"])).await, Ok(json!(2)));
    let (target, arguments) = bob.event().await;
    assert_eq!((target.as_str(), &arguments[0]), ("fanfare.Presence", &json!("room")));
    let told = &arguments[1];
    assert_eq!(
        (&told["kind"], &told["begins"], &told["complete"]),
        (&json!("snapshot"), &json!(true), &json!(true))
    );
    assert_eq!(
        told["present"],
        json!([
            { "user": "alice", "connections": 1, "data": "cheerful" },
            { "user": "bob", "connections": 1, "data": { "name": "bob" } },
        ])
    );

    let shop = BackEnd::new(&hub, "shop", &["read:group:room"]).await;
    let page = shop.told("/groups/room/presence?limit=1").await;
    assert_eq!(
        page["present"],
        json!([{ "user": "alice", "connections": 1, "data": { "text": "cheerful" } }])
    );
    let next = page["next"].as_str().unwrap();
    let page = shop.told(&format!("/groups/room/presence?cursor={next}")).await;
    let data = json!({ "json": { "name": "bob" } });
    assert_eq!(page, json!({ "present": [{ "user": "bob", "connections": 1, "data": data }], "next": null }));
    assert_eq!(shop.ask("/groups/staff/presence").await.status, 403);

    within(alice.invoke::<Value>("Mood", &("",))).await.unwrap();
    let (_, arguments) = bob.event().await;
    let revision = &arguments[1]["revision"];
    let quiet = json!([{ "user": "alice", "connections": 1, "data": null }]);
    assert_eq!(
        arguments,
        json!(["room", { "kind": "changes", "revision": revision, "present": quiet, "left": [] }])
    );
    within(alice.close()).await.unwrap();
    let (_, arguments) = bob.event().await;
    assert_eq!((&arguments[1]["present"], &arguments[1]["left"]), (&json!([]), &json!(["alice"])));
    assert_eq!(bob.call("fanfare.UnwatchGroup", json!(["room"])).await, Ok(json!(0)));
    assert_eq!(hub.server.metrics().watches, 0);
    hub.stop().await;
}

/// Someone who watches and does not read keeps its connection, and knows who is there when it reads again.
#[tokio::test]
async fn a_watcher_that_does_not_read_is_not_closed_and_is_told_anew() {
    let hub = Hub::with(|config| {
        config.presence_grace = Duration::ZERO;
        config.outbox.frames = 16;
        config.reader_deadline = Duration::ZERO;
    })
    .await;
    let mut slow = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], 2_048).peer(hub.address()).await;
    let credential = Credential::DevUser(user("slow"));
    let features = Features::PRESENCE;
    slow.send(&ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential }).await;
    let mut crowd = Vec::new();
    for number in 0..60 {
        let client = hub.client(&format!("{number}{}", "x".repeat(200))).await;
        within(client.join("room")).await.unwrap();
        crowd.push(client);
    }
    // Each time 12 KiB, until QUIC keeps as much as it does, and the rest is in the outbox.
    for request in 0..100 {
        slow.send(&ClientFrame::Watch { request, group: group("room") }).await;
    }
    // Another one is told meanwhile of what the slow one has no room for.
    let (late, quick) = (hub.client("late").await, hub.client("quick").await);
    let mut view = View::of(&quick, "room").await;
    for _ in 0..12 {
        within(late.join("room")).await.unwrap();
        while !view.users.contains_key("late") {
            view.take().await;
        }
        within(late.leave("room")).await.unwrap();
        while view.users.contains_key("late") {
            view.take().await;
        }
    }
    drop(view);
    within(quick.close()).await.unwrap();
    within(late.join("room")).await.unwrap();
    crowd.push(late);
    let (mut users, mut snapshots) = (BTreeMap::new(), 0);
    while users.len() < crowd.len() {
        match slow.frame().await.unwrap() {
            ServerFrame::Presence(PresenceFrame::Snapshot { begins, present, .. }) => {
                if begins {
                    users.clear();
                    snapshots += 1;
                }
                users.extend(present.into_iter().map(|one| (one.user, one.connections)));
            }
            ServerFrame::Presence(PresenceFrame::Changes { present, .. }) => {
                users.extend(present.into_iter().map(|one| (one.user, one.connections)));
            }
            ServerFrame::Welcome(_) | ServerFrame::Ack { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(snapshots > 1);
    assert_eq!(hub.server.population().connections, crowd.len() + 1);
    // There is more for it, which a stop would wait for.
    drop(slow);
    eventually("it is gone", || hub.server.population().connections == crowd.len()).await;
    hub.stop().await;
}
