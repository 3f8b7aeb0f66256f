//! Every door of every node leads into the one hub: a native client, one of SignalR and a back end, each at another
//! node.

use std::net::SocketAddr;

use fanfare_client::Client;
use fanfare_protocol::admin::Action;
use fanfare_protocol::{Code, Payload, Sender, Target};
use fanfare_server::Config;
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::signalr::SignalR;
use fanfare_tests::{Hub, eventually, group, message, text, user, within};
use serde_json::{Value, json};

use super::{node, sent};
use crate::harness::Nats;

async fn hub(nats: &Nats, first: usize, name: &str) -> Hub {
    let node = node(nats, first, name);
    Hub::with(|config: &mut Config| {
        node(config);
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.origins.loopback = true;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_18_clients_of_signalr_and_back_ends_are_in_the_same_hub_on_whichever_node() {
    let nats = Nats::three();
    let (a, b, c) = (hub(&nats, 0, "a").await, hub(&nats, 1, "b").await, hub(&nats, 2, "c").await);
    let alice: Client = a.client("alice").await;
    let mut bob = SignalR::welcomed(&b.signalr(), &b.roots, "bob").await;
    let shop = BackEnd::new(&c, "shop", &["*"]).await;
    within(alice.join("room")).await.unwrap();
    bob.call("JoinGroup", json!(["room"])).await.unwrap();
    assert_eq!(bob.call("Count", json!(["room"])).await, Ok(json!(2)));

    // From each door to each other, in order, and counted.
    for number in 0..20 {
        within(alice.send_to_group("room", "Say", Payload::json(format!("[{number}]")))).await.unwrap();
    }
    for number in 0..20 {
        assert_eq!(bob.event().await, ("Say".to_owned(), json!([number])));
        assert_eq!(text(&alice).await, format!("[{number}]"));
    }
    assert_eq!(bob.call("SendToOthersInGroup", json!(["room", "Say", "hello"])).await, Ok(json!(1)));
    let heard = message(&alice).await;
    assert_eq!(heard.payload.as_ref(), br#"["hello"]"#);
    assert!(matches!(heard.from, Sender::Connection { user: name, .. } if name == user("bob")));
    assert_eq!(sent(&alice, vec![Target::User(user("bob"))], "own").await, 1);
    assert_eq!(bob.event().await, ("E".to_owned(), json!(["own"])));
    let told: Value =
        shop.done("/send", &json!({ "to": { "groups": ["room"] }, "event": "News", "json": ["x"] })).await;
    assert_eq!(told["queued"], 2, "{told}");
    assert_eq!(bob.event().await, ("News".to_owned(), json!(["x"])));
    assert_eq!(message(&alice).await.event.as_str(), "News");

    // An end is an end at every door.
    let ban = Action::Ban { user: user("bob"), until: None, reason: String::new(), dry_run: false };
    let receipt = a.act(ban).await.unwrap();
    assert_eq!((receipt.connections, receipt.nodes.len()), (1, 3), "{receipt:?}");
    let last = bob.end().await.unwrap_or_default().to_string();
    assert!(last.contains(&Code::UserBanned.number().to_string()), "{last}");
    eventually("nobody else is in the room", || c.server.population().connections == 0).await;
    assert_eq!(within(alice.count(Target::Group(group("room")))).await.unwrap(), 1);
    drop(alice);
    for hub in [a, b, c] {
        hub.stop().await;
    }
}
