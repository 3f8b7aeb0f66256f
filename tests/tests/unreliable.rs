//! Unreliable messages: datagrams between native clients, and what becomes of them where they are not wanted.

use fanfare_client::{Event, Outgoing, RequestError};
use fanfare_protocol::admin::Action;
use fanfare_protocol::{Code, DATAGRAM_BYTES, Pattern, Target};
use fanfare_tests::{Hub, group, message, next, nothing_else, said_until_heard, text, user, within};

async fn revoke(hub: &Hub, name: &str) {
    hub.act(Action::Revoke {
        user: user(name),
        groups: Pattern::new("board").unwrap(),
        until: None,
        reason: String::new(),
        dry_run: false,
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_datagram_reaches_whom_its_targets_reach_and_nobody_else() {
    let hub = Hub::start().await;
    let (alice, bob, carol) = (hub.client("alice").await, hub.client("bob").await, hub.client("carol").await);
    for client in [&alice, &bob] {
        client.join("board").await.unwrap();
    }
    for (outgoing, to) in [
        (Outgoing::new("Cursor", "1").to_group("board").others(), Target::Group(group("board"))),
        (Outgoing::new("Cursor", "2").to_user("bob"), Target::User(user("bob"))),
        (
            Outgoing::new("Cursor", "3").to_connection(bob.connection_id()),
            Target::Connection(bob.connection_id()),
        ),
        // Reached twice, told once, by the first that reaches.
        (
            Outgoing::new("Cursor", "4").to_group("board").to_user("bob").others(),
            Target::Group(group("board")),
        ),
    ] {
        let hear = async {
            // Those of the row before may still come.
            while message(&bob).await.to != to {}
        };
        said_until_heard(&alice, || outgoing.clone(), hear).await;
    }
    nothing_else(&carol).await;
    let metrics = hub.server.metrics();
    assert!(metrics.sends > 0 && metrics.deliveries >= metrics.sends, "{metrics:?}");
    hub.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_with_the_limit_and_is_not_sent() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    let outgoing = |bytes: usize| Outgoing::new("E", vec![0; bytes]).to_user("bob");
    // Message, sender, its id, `alice`, target, `bob`, `E`, the format, and a length of three bytes.
    let room = DATAGRAM_BYTES - (1 + 1 + 16 + 6 + 1 + 4 + 2 + 1 + 3);
    alice.send_unreliable(outgoing(room)).unwrap();
    assert_eq!(
        alice.send_unreliable(outgoing(room + 1)),
        Err(RequestError::DatagramTooLarge { bytes: DATAGRAM_BYTES + 1, limit: DATAGRAM_BYTES })
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_refused_datagram_is_told_on_the_stream() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    revoke(&hub, "alice").await;
    let hear = async {
        match next(&alice).await {
            Event::Refused { code, .. } => assert_eq!(code, Code::BannedFromGroup.number()),
            other => panic!("not refused: {other:?}"),
        }
    };
    said_until_heard(&alice, || Outgoing::new("Cursor", "1").to_group("board"), hear).await;
    hub.stop().await;
}

/// The fence holds for datagrams, too: none that is accepted after the revoke's receipt reaches the user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_no_datagram_that_is_accepted_after_the_receipt_reaches_the_user() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    for client in [&alice, &bob] {
        client.join("board").await.unwrap();
    }
    let hear = async {
        message(&bob).await;
    };
    said_until_heard(&alice, || Outgoing::new("Cursor", "before").to_group("board").others(), hear).await;
    revoke(&hub, "bob").await;
    for _ in 0..100 {
        alice.send_unreliable(Outgoing::new("Cursor", "after").to_group("board").others()).unwrap();
    }
    // When this has come back, the server has read what was sent before; and what it sent to bob would be there before
    // this.
    alice.send_to_user("bob", "Marker", "").await.unwrap();
    loop {
        match next(&bob).await {
            Event::Message(message) if message.event.as_str() == "Marker" => break,
            Event::Message(message) => assert_eq!(message.payload, "before"),
            Event::Removed { .. } | Event::Joined { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    hub.stop().await;
}

/// A flood of datagrams costs its own sender, and not the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_datagrams_delays_nobody_on_the_stream() {
    let hub = Hub::with(|config| config.requests_per_second = std::num::NonZeroU32::new(1_000)).await;
    let (flood, alice, bob) = (hub.client("flood").await, hub.client("alice").await, hub.client("bob").await);
    bob.join("board").await.unwrap();
    for round in 0..100 {
        for _ in 0..200 {
            let _ = flood.send_unreliable(Outgoing::new("Cursor", vec![0; 1_000]).to_group("board"));
        }
        within(alice.send_to_user("bob", "Marker", format!("{round}"))).await.unwrap();
        loop {
            let message = message(&bob).await;
            if message.event.as_str() == "Marker" {
                assert_eq!(message.payload, format!("{round}"));
                break;
            }
        }
    }
    within(flood.send_to_user("flood", "Marker", "still there")).await.unwrap();
    assert_eq!(text(&flood).await, "still there");
    hub.stop().await;
}
