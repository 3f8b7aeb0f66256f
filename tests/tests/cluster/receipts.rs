//! What operators did is told of all nodes: how many connections, in which groups, and to those whom it is done to why.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fanfare_client::{Client, Event};
use fanfare_protocol::Code;
use fanfare_protocol::admin::{Action, May, Receipt, Standing};
use fanfare_tests::{Hub, group, next, user, within};

use super::{node, three};
use crate::harness::Nats;

fn groups(list: &[(&str, u64)]) -> BTreeMap<fanfare_protocol::GroupName, u64> {
    list.iter().map(|(name, count)| (group(name), *count)).collect()
}

async fn joined(client: &Client) {
    match next(client).await {
        Event::Joined { .. } => {}
        other => panic!("not joined: {other:?}"),
    }
}

async fn removed(client: &Client, why: &str) {
    match next(client).await {
        Event::Removed { reason, .. } => assert_eq!(reason, why),
        other => panic!("not removed: {other:?}"),
    }
}

async fn closed(client: &Client, code: Code) {
    match next(client).await {
        Event::Goodbye { code: told, .. } => assert_eq!(told, code.number()),
        other => panic!("not closed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_and_previews_count_connections_on_every_node_whichever_is_asked() {
    let nats = Nats::three();
    let hubs = three(&nats).await;
    for asked in &hubs {
        let mut clients = Vec::new();
        for (hub, rooms) in [(0, &["room-1", "hall"][..]), (1, &["room-1", "room-2"]), (2, &["hall"])] {
            let client = hubs[hub].client("bob").await;
            for room in rooms {
                within(client.join(*room)).await.unwrap();
                joined(&client).await;
            }
            clients.push(client);
        }
        let revoke = |dry_run| Action::Revoke {
            user: user("bob"),
            groups: "room-*".parse().unwrap(),
            until: None,
            reason: "spam".to_owned(),
            dry_run,
        };
        let lifted = |receipt: Receipt| {
            assert!(receipt.silent.is_empty(), "{receipt:?}");
            (receipt.connections, receipt.groups)
        };
        let expected = (2, groups(&[("room-1", 2), ("room-2", 1)]));
        assert_eq!(lifted(asked.act(revoke(true)).await.unwrap()), expected, "it would");
        assert_eq!(lifted(asked.act(revoke(false)).await.unwrap()), expected, "it did");
        removed(&clients[0], "spam").await;
        removed(&clients[1], "spam").await;
        removed(&clients[1], "spam").await;
        assert_eq!(lifted(asked.act(revoke(true)).await.unwrap()).0, 0, "nobody is left there");

        let lasting = Action::AddLasting {
            user: user("bob"),
            group: group("vip"),
            may: May::Both,
            until: None,
            reason: String::new(),
        };
        assert_eq!(lifted(asked.act(lasting).await.unwrap()), (3, groups(&[("vip", 3)])));
        for client in &clients {
            joined(client).await;
        }
        // With the reason on every node, although what is decided has no room for it.
        let end = Action::RemoveLasting {
            user: user("bob"),
            group: group("vip"),
            reason: "the season is over".to_owned(),
        };
        assert_eq!(lifted(asked.act(end).await.unwrap()), (3, groups(&[("vip", 3)])));
        for client in &clients {
            removed(client, "the season is over").await;
        }

        let ban = |dry_run| Action::Ban { user: user("bob"), until: None, reason: String::new(), dry_run };
        assert_eq!(lifted(asked.act(ban(true)).await.unwrap()).0, 3);
        assert_eq!(lifted(asked.act(ban(false)).await.unwrap()).0, 3);
        for client in &clients {
            closed(client, Code::UserBanned).await;
        }
        for undo in [
            Action::Unban { user: user("bob"), reason: String::new() },
            Action::Restore { user: user("bob"), groups: "room-*".parse().unwrap(), reason: String::new() },
        ] {
            assert_eq!(lifted(asked.act(undo).await.unwrap()).0, 0);
        }
    }
    for hub in hubs {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_counts_on_every_node() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let (one, other) = (a.client("bob").await, b.client("bob").await);
    let receipt = a.act(Action::SignOut { user: user("bob"), reason: String::new() }).await.unwrap();
    assert_eq!((receipt.connections, receipt.silent.len()), (2, 0), "{receipt:?}");
    closed(&one, Code::SignedOut).await;
    closed(&other, Code::SignedOut).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_names_a_node_that_does_not_answer_within_a_second() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let alice = a.client("bob").await;
    drop(b);
    let ban = |dry_run| Action::Ban { user: user("bob"), until: None, reason: String::new(), dry_run };
    let begun = Instant::now();
    let preview = a.act(ban(true)).await.unwrap();
    assert_eq!((preview.connections, preview.silent), (1, vec!["b".to_owned()]));
    // Half a second is the machine's.
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    // What is decided waits for the node's lease as ever, and then for no answer of it.
    let receipt = a.act(ban(false)).await.unwrap();
    let ended: Vec<_> = receipt.nodes.iter().map(|node| node.standing).collect();
    assert_eq!((receipt.connections, ended), (1, vec![Standing::InForce, Standing::LeaseEnded]));
    assert!(receipt.silent.is_empty(), "its standing says it");
    drop(alice);
    a.stop().await;
}
