//! What an application does to connections on all nodes, by the handle of one.

use std::sync::Arc;
use std::time::Duration;

use fanfare_client::{Client, Event};
use fanfare_protocol::admin::Action;
use fanfare_protocol::{Code, Pattern, Target};
use fanfare_server::{Connecting, HubError, Methods};
use fanfare_tests::{Hub, eventually, group, next, nothing_else, text, user, within};
use tokio::sync::Notify;

use super::{node, three};
use crate::harness::Nats;

#[tokio::test(flavor = "multi_thread")]
async fn promise_14_an_application_reaches_connections_on_all_nodes_by_the_handle_of_one() {
    let nats = Nats::three();
    let [a, b, c] = three(&nats).await;
    let (alice, bob, carol) = (a.client("alice").await, b.client("bob").await, c.client("carol").await);
    let (hub, hall) = (a.server.hub(), group("hall"));
    let joined = within(hub.everyone().everywhere().join(&hall)).await.unwrap();
    assert_eq!((joined.connections, joined.silent.len()), (3, 0));
    for client in [&alice, &bob, &carol] {
        assert!(matches!(next(client).await, Event::Joined { group, .. } if group == hall));
    }
    // Its own verbs are about its own node, as they were.
    assert_eq!(hub.group(hall.clone()).count(), 1);
    let count = async |selection: fanfare_server::Selection<'_>| {
        within(selection.everywhere().count()).await.unwrap().connections
    };
    assert_eq!(count(hub.group(hall.clone())).await, 3);
    assert_eq!(count(hub.group(hall.clone()).except(bob.connection_id())).await, 2);
    // Who is reached in two ways is counted once.
    let both = hub.select([Target::User(user("bob")), Target::Group(hall.clone())]);
    assert_eq!(count(both).await, 3);

    // What is more than a message between nodes takes is refused, and not counted as nobody.
    let many = hub.select((0..1_000).map(|number| Target::User(user(&format!("user {number}")))));
    let refused = within(many.everywhere().count()).await;
    assert!(matches!(refused, Err(HubError::Refused { code: Code::TooManyTargets, .. })), "{refused:?}");

    let sent = hub.group(hall.clone()).except(carol.connection_id()).everywhere().send("E", "news");
    assert_eq!(within(sent).await.unwrap().connections, 2);
    for client in [&alice, &bob] {
        assert_eq!(text(client).await, "news");
    }
    nothing_else(&carol).await;

    // From a node that has none of them.
    let other = c.server.hub();
    let removed = other.user(user("bob")).everywhere().remove(&hall, "loud");
    assert_eq!(within(removed).await.unwrap().connections, 1);
    let Event::Removed { code, reason, .. } = next(&bob).await else { panic!("he was not told") };
    assert_eq!((code, reason.as_str()), (Code::RemovedFromGroup.number(), "loud"));

    // A ban holds on every node.
    let groups = Pattern::new("vip").unwrap();
    let revoke =
        Action::Revoke { user: user("alice"), groups, until: None, reason: String::new(), dry_run: false };
    b.act(revoke).await.unwrap();
    let vip = within(b.server.hub().everyone().everywhere().join(&group("vip"))).await.unwrap();
    assert_eq!(vip.connections, 2);

    let closed =
        within(hub.user(user("carol")).everywhere().close_for(Duration::from_secs(60), "later")).await;
    assert_eq!(closed.unwrap().connections, 1);
    let nobody = within(hub.user(user("mallory")).everywhere().close("")).await;
    assert!(matches!(nobody, Err(HubError::Refused { code: Code::NothingThere, .. })), "{nobody:?}");
    eventually("she is away", || c.server.hub().everyone().count() == 0).await;
    a.stop().await;
    b.stop().await;
    c.stop().await;
}

/// The application, or its back end, is asked about a connection on one node, and may write to it by way of another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_from_another_node_to_a_connection_that_is_being_asked_about_waits_for_its_welcome() {
    let nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let (asked, mut connections) = tokio::sync::mpsc::channel(1);
    let answer = Arc::new(Notify::new());
    let held = Arc::clone(&answer);
    let methods = Methods::new().connected(move |(), connecting: Connecting| {
        let (asked, held) = (asked.clone(), Arc::clone(&held));
        async move {
            asked.send(connecting.connection()).await.unwrap();
            held.notified().await;
            Ok(())
        }
    });
    let b = Hub::assembled(tempfile::tempdir().unwrap(), node(&nats, 0, "b"), methods).await;
    let config = b.client_config("bob");
    let connecting = tokio::spawn(async move { Client::connect(config).await.unwrap() });
    let (id, hub) = (within(connections.recv()).await.unwrap(), a.server.hub());
    for text in ["one", "two"] {
        let sent = hub.select([Target::Connection(id)]).everywhere().send("E", text);
        assert_eq!(within(sent).await.unwrap().connections, 1);
    }
    answer.notify_one();
    let bob = within(connecting).await.unwrap();
    assert_eq!((text(&bob).await, text(&bob).await), ("one".to_owned(), "two".to_owned()));
    a.stop().await;
    b.stop().await;
}
