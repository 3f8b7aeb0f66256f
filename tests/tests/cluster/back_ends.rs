//! A back end is told of groups and users once for all nodes: promise 17 in a cluster.

use std::time::Duration;

use fanfare_server::{Config, WebhookEvent};
use fanfare_tests::receiver::{Heard, Reaction, Receiver};
use fanfare_tests::{Hub, eventually, within};
use serde_json::Value;

use super::node;
use crate::harness::Nats;

/// A node that tells this back end of groups and of users in them.
async fn hub(nats: &Nats, first: usize, name: &str, receiver: &Receiver) -> Hub {
    let node = node(nats, first, name);
    let mut webhook = receiver.webhook("billing");
    webhook.events = WebhookEvent::ALL.to_vec();
    let configure = |config: &mut Config| {
        node(config);
        config.presence_grace = Duration::from_millis(300);
        config.webhooks.push(webhook);
    };
    Hub::with(configure).await
}

/// The events about a group and about users in it, as they came.
fn events(receiver: &Receiver, group: &str) -> Vec<Value> {
    let of = |heard: Heard| match heard.body {
        Value::Array(events) => events.into_iter().map(|event| event["data"].clone()).collect(),
        event => vec![event],
    };
    let events = receiver.heard().into_iter().flat_map(of);
    events.filter(|event| event["group"] == group && event["connection"].is_null()).collect()
}

fn told(receiver: &Receiver, group: &str) -> Vec<String> {
    let text = |event: &Value| match event["user"].as_str() {
        Some(user) => format!("{} {user}", event["type"].as_str().unwrap()),
        None => event["type"].as_str().unwrap().to_owned(),
    };
    events(receiver, group).iter().map(text).collect()
}

async fn until(receiver: &Receiver, group: &str, expected: &[&str]) {
    // Those of a group and those of its users may come in any order.
    let sorted = |mut told: Vec<String>| {
        told.sort();
        told
    };
    let expected = sorted(expected.iter().map(|text| (*text).to_owned()).collect());
    eventually(&format!("{group}: {expected:?}"), || sorted(told(receiver, group)) == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_17_a_back_end_hears_of_a_group_and_of_a_user_once_for_all_nodes() {
    let (nats, receiver) = (Nats::three(), Receiver::start(|_| Reaction::fine()));
    let a = hub(&nats, 0, "a", &receiver).await;
    let (b, c) = (hub(&nats, 1, "b", &receiver).await, hub(&nats, 2, "c", &receiver).await);
    let (here, there, bob) = (b.client("alice").await, c.client("alice").await, c.client("bob").await);
    for client in [&here, &there, &bob] {
        within(client.join("room")).await.unwrap();
    }
    let all = ["group_opened", "user_joined alice", "user_joined bob"];
    until(&receiver, "room", &all).await;
    // She is still there by her other connection, and he comes back within the grace by another node.
    within(here.leave("room")).await.unwrap();
    within(bob.leave("room")).await.unwrap();
    let again = a.client("bob").await;
    within(again.join("room")).await.unwrap();
    // Behind that on every node.
    for (hub, name) in [(&a, "mark a"), (&b, "mark b"), (&c, "mark c")] {
        let mark = hub.client("mark").await;
        within(mark.join(name)).await.unwrap();
        until(&receiver, name, &["group_opened", "user_joined mark"]).await;
        within(mark.leave(name)).await.unwrap();
        let both = ["group_opened", "user_joined mark", "group_closed", "user_left mark"];
        until(&receiver, name, &both).await;
    }
    until(&receiver, "room", &all).await;

    // The first node has the duty to tell, and stops with the only member of a group: another tells the rest.
    let only = a.client("carol").await;
    within(only.join("attic")).await.unwrap();
    until(&receiver, "attic", &["group_opened", "user_joined carol"]).await;
    a.stop().await;
    let attic = ["group_opened", "user_joined carol", "group_closed", "user_left carol"];
    until(&receiver, "attic", &attic).await;
    let left = ["group_opened", "user_joined alice", "user_joined bob", "user_left bob"];
    until(&receiver, "room", &left).await;
    within(there.leave("room")).await.unwrap();
    let closed = [&left[..], &["user_left alice", "group_closed"]].concat();
    until(&receiver, "room", &closed).await;

    // Whoever comes now is told by another node than before, and once.
    within(there.join("room")).await.unwrap();
    let anew = [&closed[..], &["group_opened", "user_joined alice"]].concat();
    until(&receiver, "room", &anew).await;
    let mut of_group = events(&receiver, "room");
    of_group.retain(|event| event["user"].is_null());
    of_group.sort_by_key(|event| event["order"].as_str().unwrap().to_owned());
    let kinds: Vec<_> = of_group.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["group_opened", "group_closed", "group_opened"]);
    b.stop().await;
    c.stop().await;
}
