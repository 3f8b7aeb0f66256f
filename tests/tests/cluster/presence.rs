//! Presence is of all nodes, whichever one watches on: promise 16 in a cluster.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare_protocol::admin::Action;
use fanfare_protocol::{Code, Pattern, Payload};
use fanfare_server::{Args, CallError, Caller, Config, Methods};
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::{DEADLINE, Hub, nothing_else, user, within};
use serde_json::Value;

use super::{node, refused, short_of_breath};
use crate::harness::Nats;
use crate::presence::View;

async fn mood(caller: Caller, Args((mood,)): Args<(String,)>) -> Result<(), CallError> {
    Ok(caller.describe(Payload::from(mood))?)
}

async fn hub(nats: &Nats, first: usize, name: &str) -> Hub {
    let node = node(nats, first, name);
    let configure = |config: &mut Config| {
        node(config);
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.presence_grace = Duration::from_millis(300);
    };
    Hub::assembled(tempfile::tempdir().unwrap(), configure, Methods::new().on("Mood", mood)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_16_a_watcher_knows_who_is_there_on_all_nodes_and_nothing_after_it_may_not() {
    let nats = Nats::three();
    let (a, b, c) = (hub(&nats, 0, "a").await, hub(&nats, 1, "b").await, hub(&nats, 2, "c").await);
    let (here, there, bob) = (a.client("alice").await, b.client("alice").await, b.client("bob").await);
    for client in [&here, &there, &bob] {
        within(client.join("room")).await.unwrap();
    }
    within(there.invoke::<Value>("Mood", &("cheerful",))).await.unwrap();
    // All of them with the first word, and not as if they came.
    let watcher = c.client("watcher").await;
    let mut view = View::of(&watcher, "room").await;
    view.until(&[("alice", 2), ("bob", 1)]).await;
    assert_eq!((view.changes, view.data("alice")), (1, Some("cheerful")));

    within(here.invoke::<Value>("Mood", &("busy",))).await.unwrap();
    while view.data("alice") != Some("busy") {
        assert_eq!(view.take().await, None);
    }
    within(bob.leave("room")).await.unwrap();
    view.until(&[("alice", 2)]).await;
    let carol = a.client("carol").await;
    within(carol.join("room")).await.unwrap();
    view.until(&[("alice", 2), ("carol", 1)]).await;
    // A back end is told the same, by a node that nobody watches on and that has none of them.
    let shop = BackEnd::new(&c, "shop", &["read"]).await;
    for hub in [&a, &c] {
        let shop = BackEnd::with_key(hub, &shop.key);
        let page = shop.told("/groups/room/presence?limit=1").await;
        let next = page["next"].as_str().unwrap();
        assert_eq!(page["present"][0]["connections"], 2, "{page}");
        assert_eq!(page["present"][0]["data"]["text"], "busy", "{page}");
        let rest = shop.told(&format!("/groups/room/presence?cursor={next}")).await;
        assert_eq!(rest["present"][0]["user"], "carol", "{rest}");
        assert!(rest["next"].is_null(), "{rest}");
    }

    // A node that comes late, and one that goes.
    let d = hub(&nats, 0, "d").await;
    let dave = d.client("dave").await;
    within(dave.join("room")).await.unwrap();
    view.until(&[("alice", 2), ("carol", 1), ("dave", 1)]).await;
    b.stop().await;
    view.until(&[("alice", 1), ("carol", 1), ("dave", 1)]).await;

    // Whoever is revoked on another node is told so, and nothing of the group any more.
    let (groups, reason) = (Pattern::new("room").unwrap(), "rude".to_owned());
    let revoke = Action::Revoke { user: user("watcher"), groups, until: None, reason, dry_run: false };
    a.act(revoke).await.unwrap();
    loop {
        match view.take().await {
            None => {}
            Some(code) => break assert_eq!(code, Code::BannedFromGroup.number()),
        }
    }
    within(carol.leave("room")).await.unwrap();
    nothing_else(&watcher).await;
    assert_eq!(within(view.watch.next()).await, None);
    drop((here, there, bob, carol, dave, watcher));
    for hub in [a, c, d] {
        hub.stop().await;
    }
}

/// It failed before: the refusal of the second watch ended the first.
#[tokio::test(flavor = "multi_thread")]
async fn promise_16_a_watch_goes_on_when_its_node_is_back_and_another_was_refused_meanwhile() {
    let nats = Nats::one();
    let a = Hub::with(short_of_breath(&nats)).await;
    let (watcher, alice) = (a.client("watcher").await, a.client("alice").await);
    within(alice.join("room")).await.unwrap();
    let mut view = View::of(&watcher, "room").await;
    view.until(&[("alice", 1)]).await;
    nats.stop(0);
    let deadline = Instant::now() + DEADLINE;
    let refusal = loop {
        match within(watcher.watch("room")).await {
            Ok(watch) => drop(watch),
            Err(refusal) if refusal.code().is_some() => break refusal,
            // One that was let in at the last moment is answered when the node is back.
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "it lets watch for ever");
    };
    assert_eq!(refusal.code(), Some(Code::CutOff));
    nats.go_on(0);
    let deadline = Instant::now() + DEADLINE;
    while refused(&a, "carol").await.is_some() {
        assert!(Instant::now() < deadline, "it lets nobody in for ever");
    }
    let bob = a.client("bob").await;
    within(bob.join("room")).await.unwrap();
    view.until(&[("alice", 1), ("bob", 1)]).await;
    drop((watcher, alice, bob));
    a.stop().await;
}
