//! Nodes that are gone and may be serving, and nodes whose clocks are apart: what is told of them, and what is done.
//!
//! Their heartbeats are put by hand, as a node would put them.

use std::time::{Duration, Instant};

use fanfare_client::OperatorClient;
use fanfare_protocol::Code;
use fanfare_protocol::admin::{Action, NodeRow, Question, Receipt, Role, Standing, Status};
use fanfare_tests::operators::connect;
use fanfare_tests::tokens::now;
use fanfare_tests::{DEADLINE, Hub, user, within};
use serde_json::json;

use super::node;
use crate::harness::Nats;

const ID: &str = "3f2a9c01";

/// Has a node put a heartbeat whose clock is so many seconds ahead.
fn beat(nats: &Nats, number: u64, ahead: i64) {
    let time_ms = now().saturating_add_signed(ahead) * 1_000;
    let heartbeat = json!({
        "number": number, "name": "z", "version": "9", "lease_ms": 1_000, "serves_without": true, "time_ms": time_ms,
        "connections": 7, "unheard_of": [1],
    });
    let answer = nats.servers[0].ask(&format!("$KV.fanfare.node.{ID}"), &heartbeat.to_string()).unwrap();
    assert!(answer.contains("\"seq\""), "{answer}");
}

/// Waits until the node's row is so. Meanwhile it lives, where there is something that it says.
async fn row(
    operator: &OperatorClient,
    mut lives: impl FnMut(),
    found: impl Fn(&NodeRow) -> bool,
) -> NodeRow {
    let deadline = Instant::now() + DEADLINE;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        lives();
        let status: Status = within(operator.ask(&Question::Status {})).await.unwrap();
        if let Some(row) = status.nodes.iter().find(|row| row.node == ID && found(row)) {
            return row.clone();
        }
        assert!(Instant::now() < deadline, "{:?}", status.nodes);
    }
}

fn ban(name: &str) -> Action {
    Action::Ban { user: user(name), until: None, reason: String::new(), dry_run: false }
}

/// The nodes that a receipt says are not fenced.
fn open(receipt: &Receipt) -> Vec<(&str, Standing)> {
    let open = receipt.nodes.iter().filter(|node| !node.standing.is_fenced());
    open.map(|node| (node.name.as_str(), node.standing)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_node_that_may_be_serving_is_named_until_it_is_forgotten() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let operator = connect(&a, "oncall", Role::Operator).await;
    let there_too = connect(&b, "oncall", Role::Operator).await;
    let there = row(&operator, || beat(&nats, 1, 0), |_| true).await;
    assert_eq!((there.name.as_str(), there.connections, there.is_lost), ("z", 7, false));
    let forget =
        |node: &str| Action::ForgetNode { node: node.to_owned(), reason: "it burnt down".to_owned() };
    beat(&nats, 2, 0);
    let refused = a.act(forget(ID)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidRequest, "{refused}");
    let lost = row(&operator, || {}, |row| row.is_lost).await;
    assert_eq!((lost.name.as_str(), lost.connections), ("z", 0));
    // It is said to be what it may be, also by a node that is started now.
    let c = Hub::with(node(&nats, 0, "c")).await;
    for (hub, name) in [(&a, "mallory"), (&c, "trudy")] {
        assert_eq!(open(&hub.act(ban(name)).await.unwrap()), [("z", Standing::ServesWithout)]);
    }
    for (wrong, code) in [
        ("z", Code::InvalidRequest),
        ("", Code::InvalidRequest),
        ("3f2a9c01 ", Code::InvalidRequest),
        ("00000000", Code::NothingThere),
    ] {
        let refused = b.act(forget(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{wrong}: {refused}");
    }
    // Who comes back stays, whether that is known here already or not.
    beat(&nats, 3, 0);
    let refused = b.act(forget(ID)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidRequest, "{refused}");
    row(&operator, || {}, |row| row.is_lost).await;
    row(&there_too, || {}, |row| row.is_lost).await;
    b.act(forget(ID)).await.unwrap();
    for (hub, name) in [(&b, "mallory"), (&a, "trudy"), (&c, "eve")] {
        assert_eq!(open(&hub.act(ban(name)).await.unwrap()), []);
    }
    let status: Status = within(operator.ask(&Question::Status {})).await.unwrap();
    assert_eq!(status.nodes.len(), 3);
    let refused = a.act(forget(ID)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NothingThere, "{refused}");
    // It was not dead.
    assert!(!row(&operator, || beat(&nats, 4, 0), |_| true).await.is_lost);
    for hub in [a, b, c] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_wrong_is_told_of() {
    let nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let operator = connect(&a, "oncall", Role::Operator).await;
    let mut number = 0;
    let lives = || {
        number += 1;
        beat(&nats, number, -60);
    };
    let told = row(&operator, lives, |row| row.clock_ahead_ms.is_some()).await;
    let ahead = told.clock_ahead_ms.unwrap();
    // What puts them has whole seconds.
    assert!((-62_000..-59_000).contains(&ahead), "{ahead}");
    let problem = told.problem.unwrap();
    assert!(problem.contains(" s behind this node's"), "{problem}");
    a.stop().await;
}
