//! What was ended is forgotten after a while: the marks of it go from the bucket, and whoever may have missed an end
//! because of that is found out.
//!
//! Nobody waits a day here: a node remembers for seconds, or marks are purged and the floor is put by hand.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fanfare_protocol::Code;
use fanfare_protocol::admin::{Action, LastingRow, Listing, May, Page, Question, Role};
use fanfare_server::Config;
use fanfare_tests::operators::connect;
use fanfare_tests::tokens::now;
use fanfare_tests::{DEADLINE, Hub, eventually, group, user, within};
use serde_json::{Value, json};

use super::{node, refused};
use crate::harness::Nats;

fn ban(name: &str) -> Action {
    Action::Ban { user: user(name), until: None, reason: String::new(), dry_run: false }
}

fn unban(name: &str) -> Action {
    Action::Unban { user: user(name), reason: String::new() }
}

fn add(name: &str) -> Action {
    let (group, reason) = (group("vip"), String::new());
    Action::AddLasting { user: user(name), group, may: May::Both, until: None, reason }
}

fn remove(name: &str) -> Action {
    Action::RemoveLasting { user: user(name), group: group("vip"), reason: String::new() }
}

/// Who is in a group for good, as this node knows it.
async fn lasting(hub: &Hub) -> BTreeSet<String> {
    // A hub knows each of them once.
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let name = format!("oncall-{}", ASKED.fetch_add(1, Ordering::Relaxed));
    let operator = connect(hub, &name, Role::Viewer).await;
    let listing: Listing<LastingRow> =
        within(operator.ask(&Question::Lasting(Page::default()))).await.unwrap();
    listing.rows.into_iter().map(|row| row.user.as_str().to_owned()).collect()
}

/// What JetStream answers.
fn asked(nats: &Nats, what: &str, body: &Value) -> Value {
    let answer =
        nats.servers[0].ask(&format!("$JS.API.STREAM.{what}.KV_fanfare"), &body.to_string()).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// The subjects that the bucket has of this kind: entries, and marks of them.
fn kept(nats: &Nats, kind: &str) -> usize {
    let info = asked(nats, "INFO", &json!({ "subjects_filter": format!("$KV.fanfare.{kind}") }));
    info["state"]["subjects"].as_object().map_or(0, serde_json::Map::len)
}

fn last(nats: &Nats) -> u64 {
    asked(nats, "INFO", &json!({}))["state"]["last_seq"].as_u64().unwrap()
}

fn put_floor(nats: &Nats, value: &str) {
    let answer = nats.servers[0].ask("$KV.fanfare.floor", value).unwrap();
    assert!(answer.contains("\"seq\""), "{answer}");
}

async fn lets_nobody_in(hub: &Hub) {
    let begun = Instant::now();
    while refused(hub, "alice").await != Some(Code::CutOff.number()) {
        assert!(begun.elapsed() < DEADLINE, "it lets in for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A node that remembers for seconds.
fn forgetful<'a>(nats: &'a Nats, first: usize, name: &'a str) -> impl FnOnce(&mut Config) + use<'a> {
    let node = node(nats, first, name);
    move |config: &mut Config| {
        node(config);
        if let Some(cluster) = &mut config.cluster {
            cluster.remembers = Duration::from_secs(6);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_marks_go_from_the_bucket_and_what_stands_stays() {
    let nats = Nats::three();
    let (a, b) = (Hub::with(forgetful(&nats, 0, "a")).await, Hub::with(forgetful(&nats, 1, "b")).await);
    for number in 0..5 {
        a.act(ban(&format!("user-{number}"))).await.unwrap();
        a.act(unban(&format!("user-{number}"))).await.unwrap();
        b.act(add(&format!("user-{number}"))).await.unwrap();
        b.act(remove(&format!("user-{number}"))).await.unwrap();
    }
    a.act(ban("mallory")).await.unwrap();
    b.act(add("bob")).await.unwrap();
    eventually("old marks to go", || (kept(&nats, "ban.*"), kept(&nats, "lasting.*")) == (1, 1)).await;
    assert_eq!(kept(&nats, "floor"), 1);
    // Everybody is as before, and what was forgotten can be decided anew.
    for hub in [&a, &b] {
        assert_eq!(refused(hub, "mallory").await, Some(Code::UserBanned.number()));
        assert_eq!(refused(hub, "user-1").await, None);
        assert_eq!(lasting(hub).await, BTreeSet::from(["bob".to_owned()]));
    }
    assert_eq!(a.act(ban("user-1")).await.unwrap().nodes.len(), 2);
    assert_eq!(refused(&b, "user-1").await, Some(Code::UserBanned.number()));
    // Who starts now finds what stands.
    let c = Hub::with(forgetful(&nats, 2, "c")).await;
    assert_eq!(refused(&c, "user-1").await, Some(Code::UserBanned.number()));
    assert_eq!((refused(&c, "user-2").await, lasting(&c).await.len()), (None, 1));
    for hub in [a, b, c] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_node_that_may_have_missed_an_end_lets_nobody_in_until_it_is_started_again() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let known = last(&nats);
    a.act(ban("mallory")).await.unwrap();
    // What is in force here is nothing that was missed.
    put_floor(&nats, &json!({ "revision": known, "seconds": now() }).to_string());
    a.act(ban("trudy")).await.unwrap();
    for hub in [&a, &b] {
        assert_eq!(refused(hub, "trudy").await, Some(Code::UserBanned.number()));
        assert_eq!(refused(hub, "alice").await, None);
    }
    // As it is heard by one that was away while something went of which it did not know.
    put_floor(&nats, &json!({ "revision": last(&nats) + 1_000, "seconds": now() }).to_string());
    for hub in [&a, &b] {
        lets_nobody_in(hub).await;
    }
    let a = a.restart_with(node(&nats, 0, "a")).await;
    assert_eq!(
        (refused(&a, "alice").await, refused(&a, "mallory").await),
        (None, Some(Code::UserBanned.number()))
    );
    lets_nobody_in(&b).await;
    // One that cannot be read: who has the lease goes on.
    put_floor(&nats, "{}");
    let receipt = a.act(ban("trent")).await.unwrap();
    assert!(!receipt.nodes.is_empty());
    assert_eq!(refused(&a, "alice").await, None);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_what_was_ended_so_long_ago_that_its_mark_is_gone_does_not_come_back() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    for act in [add("bob"), add("carol"), ban("mallory")] {
        a.act(act).await.unwrap();
    }
    let decided = now();
    let alone = a.restart_with(|config| config.cluster = None).await;
    for act in [remove("bob"), unban("mallory")] {
        b.act(act).await.unwrap();
    }
    let known = last(&nats);
    // What it decides alone was not in the cluster, and stands.
    eventually("another second", || now() > decided).await;
    alone.act(add("dora")).await.unwrap();
    assert_eq!(lasting(&alone).await.len(), 3);
    // A server that was never a node has one that is as old.
    let other = Hub::start().await;
    other.act(add("erin")).await.unwrap();
    put_floor(&nats, &json!({ "revision": known, "seconds": now() + 1 }).to_string());
    assert_eq!((kept(&nats, "ban.*"), kept(&nats, "lasting.*")), (1, 2));
    for kind in ["ban.*", "lasting.*"] {
        let info = asked(&nats, "INFO", &json!({ "subjects_filter": format!("$KV.fanfare.{kind}") }));
        for subject in info["state"]["subjects"].as_object().unwrap().keys() {
            let found = asked(&nats, "MSG.GET", &json!({ "last_by_subj": subject }));
            if found["message"]["data"].is_null() {
                let seq = found["message"]["seq"].as_u64().unwrap() + 1;
                let purged = asked(&nats, "PURGE", &json!({ "filter": subject, "seq": seq }));
                assert_eq!(purged["purged"], 1, "{purged}");
            }
        }
    }
    assert_eq!((kept(&nats, "ban.*"), kept(&nats, "lasting.*")), (0, 1));

    let a = alone.restart_with(node(&nats, 0, "a")).await;
    let c = other.restart_with(node(&nats, 0, "c")).await;
    let expected = BTreeSet::from(["carol", "dora", "erin"].map(str::to_owned));
    for hub in [&a, &b, &c] {
        let begun = Instant::now();
        while lasting(hub).await != expected {
            assert!(begun.elapsed() < DEADLINE, "{:?}", lasting(hub).await);
        }
        // A ban that is not known to be lifted holds.
        assert_eq!(refused(hub, "mallory").await, Some(Code::UserBanned.number()));
    }
    for hub in [a, b, c] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_node_that_was_cut_off_for_longer_than_marks_are_kept_has_to_be_started_again() {
    let nats = Nats::three();
    // On one server, so that the bucket is whole without the one that is stopped.
    let alone = |first, name| {
        let forgetful = forgetful(&nats, first, name);
        move |config: &mut Config| {
            forgetful(config);
            if let Some(cluster) = &mut config.cluster {
                cluster.nats.replicas = 1;
            }
        }
    };
    let a = Hub::with(alone(0, "a")).await;
    let leader = nats.leader("KV_fanfare");
    let other = (1..3).find(|number| *number != leader).unwrap();
    let b = Hub::with(alone(other, "b")).await;
    a.act(add("bob")).await.unwrap();
    assert_eq!(lasting(&b).await.len(), 1);
    nats.stop(other);
    lets_nobody_in(&b).await;
    // Whatever is ended now leaves no mark when b is back.
    a.act(remove("bob")).await.unwrap();
    eventually("the mark to go", || kept(&nats, "lasting.*") == 0).await;
    nats.go_on(other);
    // It would be back within two heartbeats.
    let connected = Instant::now() + Duration::from_secs(6);
    while Instant::now() < connected {
        assert_eq!(refused(&b, "alice").await, Some(Code::CutOff.number()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(refused(&a, "alice").await, None);
    let b = b.restart_with(alone(other, "b")).await;
    assert_eq!((refused(&b, "alice").await, lasting(&b).await.len()), (None, 0));
    a.stop().await;
    b.stop().await;
}
