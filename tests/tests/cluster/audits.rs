//! The audit of a cluster: each node's chain, and what was noted of it where the others see it (promise 11).

use std::path::Path;

use fanfare_client::OperatorClient;
use fanfare_protocol::admin::{Action, AuditVerdict, Question, Role, Status};
use fanfare_tests::operators::connect;
use fanfare_tests::{Hub, user, within};

use super::node;
use crate::harness::Nats;

fn ban(name: &str) -> Action {
    Action::Ban { user: user(name), until: None, reason: String::new(), dry_run: false }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn verify(client: &OperatorClient) -> AuditVerdict {
    within(client.ask(&Question::VerifyAudit { head: None })).await.unwrap()
}

fn of(verdict: &AuditVerdict) -> Vec<(&str, u64, bool)> {
    let mut nodes: Vec<_> =
        verdict.nodes.iter().map(|node| (node.node.as_str(), node.records, node.broken.is_none())).collect();
    nodes.sort_unstable();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_11_an_audit_that_was_cut_or_begun_anew_on_one_node_is_seen_on_every_other() {
    let nats = Nats::one();
    let state = tempfile::tempdir().unwrap();
    let (real, older) = (state.path().join("real"), state.path().join("older"));
    std::fs::create_dir(&real).unwrap();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let b = Hub::at(&real, node(&nats, 0, "b")).await;
    let oncall = connect(&a, "oncall", Role::Viewer).await;
    a.act(ban("mallory")).await.unwrap();
    b.act(ban("trent")).await.unwrap();
    let verdict = verify(&oncall).await;
    assert!(verdict.whole && verdict.silent.is_empty(), "{verdict:?}");
    assert_eq!(of(&verdict), [("a", 1, true), ("b", 1, true)]);
    b.stop().await;
    let verdict = verify(&oncall).await;
    assert_eq!((verdict.whole, &verdict.silent[..]), (true, &["b".to_owned()][..]), "it is not there");

    // One more record, and then the node begins with what it was before that.
    copy(&real, &older);
    let b = Hub::at(&real, node(&nats, 0, "b")).await;
    b.act(ban("sybil")).await.unwrap();
    assert_eq!(of(&verify(&oncall).await), [("a", 1, true), ("b", 2, true)]);
    b.stop().await;
    let b = Hub::at(&older, node(&nats, 0, "b")).await;
    let verdict = verify(&oncall).await;
    assert_eq!(of(&verdict), [("a", 1, true), ("b", 1, false)]);
    let problem = verdict.broken.unwrap();
    assert!(problem.contains("the audit of b") && problem.contains("number 2"), "{problem}");
    // It knows it itself, and what is done there now hides nothing.
    let there = connect(&b, "oncall", Role::Viewer).await;
    loop {
        let status: Status = within(there.ask(&Question::Status {})).await.unwrap();
        let own = status.nodes.iter().find(|node| node.is_this).unwrap();
        if own.problem.as_ref().is_some_and(|problem| problem.contains("audit")) {
            break;
        }
    }
    for name in ["eve", "oscar", "peggy"] {
        b.act(ban(name)).await.unwrap();
    }
    for client in [&oncall, &there] {
        assert_eq!(of(&verify(client).await), [("a", 1, true), ("b", 4, false)]);
    }
    // Nor does another start, nor what is done without the others.
    let b = b.restart_with(|_| {}).await;
    b.act(ban("rupert")).await.unwrap();
    let b = b.restart_with(node(&nats, 0, "b")).await;
    assert_eq!(of(&verify(&oncall).await), [("a", 1, true), ("b", 5, false)]);
    b.stop().await;
    assert_eq!(verify(&oncall).await.silent, ["b"]);

    // A node whose whole audit is gone has begun another; and what is on the real disk is whole.
    let b = Hub::with(node(&nats, 0, "b")).await;
    let verdict = verify(&oncall).await;
    assert_eq!(of(&verdict), [("a", 1, true), ("b", 0, false)]);
    assert!(verdict.broken.unwrap().contains("begun anew: 2 records"));
    b.stop().await;
    let b = Hub::at(&real, node(&nats, 0, "b")).await;
    let verdict = verify(&oncall).await;
    assert!(verdict.whole && of(&verdict) == [("a", 1, true), ("b", 2, true)], "{verdict:?}");
    for hub in [a, b] {
        hub.stop().await;
    }
}
