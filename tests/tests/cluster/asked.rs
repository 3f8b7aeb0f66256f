//! Clients that an application asks by their connections' ids, on whichever node they are.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{ConnectionId, Payload};
use fanfare_server::{Config, InvokeError, Methods};
use fanfare_tests::{Hub, within};
use tokio::sync::Notify;

use super::node;
use crate::harness::Nats;

async fn applied(configure: impl FnOnce(&mut Config)) -> Hub {
    Hub::assembled(tempfile::tempdir().unwrap(), configure, Methods::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_asks_a_client_on_any_node_by_its_connections_id() {
    let nats = Nats::one();
    let [a, b] = [applied(node(&nats, 0, "a")).await, applied(node(&nats, 0, "b")).await];
    let (alice, bob) = (a.client("alice").await, b.client("bob").await);
    let (begun, given_up) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    for client in [&alice, &bob] {
        client.on_invoke(
            "Confirm",
            |(question,): (String,)| async move { Ok::<_, String>(question.len() < 20) },
        );
        client.on_invoke("Refuse", |_: ()| async { Err::<bool, _>("no".to_owned()) });
        client.on_invoke("Echo", |(long,): (String,)| async move { Ok::<_, String>(long) });
        let (begun, given_up) = (Arc::clone(&begun), Arc::clone(&given_up));
        client.on_invoke("Never", move |_: ()| {
            begun.notify_one();
            let dropped = OnDrop(Arc::clone(&given_up));
            async move {
                std::future::pending::<()>().await;
                drop(dropped);
                Ok::<_, String>(true)
            }
        });
    }
    let hub = a.server.hub();
    let long = "x".repeat(hub.longest_payload() - 8);
    for id in [alice.connection_id(), bob.connection_id()] {
        assert_eq!(within(hub.invoke::<bool>(id, "Confirm", &("really?",))).await, Ok(true));
        assert_eq!(within(hub.invoke::<String>(id, "Echo", &(&long,))).await.as_ref(), Ok(&long));
        let refused = within(hub.invoke::<bool>(id, "Refuse", &())).await;
        assert!(matches!(refused, Err(InvokeError::Failed { code: 2203, .. })), "{refused:?}");
        let wrong = within(hub.invoke::<u8>(id, "Confirm", &("?",))).await;
        assert!(matches!(wrong, Err(InvokeError::Answer(_))), "{wrong:?}");
        let too_long = within(hub.invoke::<String>(id, "Echo", &("x".repeat(hub.longest_payload()),))).await;
        assert!(matches!(too_long, Err(InvokeError::Arguments(_))), "{too_long:?}");
        let briefly = hub.invoke_raw(id, "Never", Payload::json("null"), Duration::from_millis(50));
        assert_eq!(within(briefly).await, Err(InvokeError::TimedOut));
        within(begun.notified()).await;
        within(given_up.notified()).await;
        let unnamed = within(hub.invoke::<bool>(id, "", &())).await;
        assert!(matches!(unnamed, Err(InvokeError::Name(_))), "{unnamed:?}");
    }

    // While it is asked it goes; and who has gone, or never was, on a node or on none.
    let asking = tokio::spawn({
        let (hub, id) = (hub.clone(), bob.connection_id());
        async move { hub.invoke::<bool>(id, "Never", &()).await }
    });
    let gone = bob.connection_id();
    within(begun.notified()).await;
    b.server.hub().connection(gone).close("over").unwrap();
    let ended = within(asking).await.unwrap();
    assert_eq!(ended, Err(InvokeError::Ended));
    // What the application has of him goes a moment later.
    let not_there =
        async { while hub.invoke::<bool>(gone, "Confirm", &("?",)).await != Err(InvokeError::NotThere) {} };
    within(not_there).await;
    let nowhere = ConnectionId::from_bytes([7; 16]);
    assert_eq!(within(hub.invoke::<bool>(nowhere, "Confirm", &("?",))).await, Err(InvokeError::Silent));

    // Without an application there is nobody who could be asked.
    let plain = Hub::with(node(&nats, 0, "c")).await;
    let carol = plain.client("carol").await;
    let ask = within(hub.invoke::<bool>(carol.connection_id(), "Confirm", &("?",))).await;
    assert_eq!(ask, Err(InvokeError::NotThere));
    let ask = within(plain.server.hub().invoke::<bool>(alice.connection_id(), "Confirm", &("?",))).await;
    assert_eq!(ask, Err(InvokeError::NotThere));
    plain.stop().await;
    b.stop().await;
    a.stop().await;
}

/// Says when it is dropped.
struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_answers_for_none_of_its_clients() {
    let nats = Nats::one();
    let (a, b) = (applied(node(&nats, 0, "a")).await, applied(node(&nats, 0, "b")).await);
    let bob = b.client("bob").await;
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    bob.on_invoke("Never", move |_: ()| {
        told.notify_one();
        std::future::pending::<Result<bool, String>>()
    });
    let hub = a.server.hub();
    let id = bob.connection_id();
    let asking = tokio::spawn(async move { hub.invoke::<bool>(id, "Never", &()).await });
    within(asked.notified()).await;
    // It ends, and nobody knows what the client would have said.
    b.stop().await;
    let over = within(asking).await.unwrap();
    assert!(matches!(over, Err(InvokeError::Silent | InvokeError::Ended)), "{over:?}");
    a.stop().await;
}
