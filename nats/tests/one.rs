//! One server: messages and their order, the bucket and its watch, what is refused, and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod harness;
mod node;

use bytes::Bytes;
use fanfare_nats::{Event, Expect, NotSent, PutError};
use futures_util::StreamExt as _;
use harness::Nats;
use node::{Node, number, settings};

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_the_order_of_the_calls() {
    let nats = Nats::one();
    let one = Node::open(&nats, 1).await;
    let mut two = Node::open(&nats, 2).await;
    for count in 0..20_000_u32 {
        // Never more than the queue takes.
        while one.bus.send(number(2), count.to_be_bytes()) == Err(NotSent::Full) {
            tokio::task::yield_now().await;
        }
    }
    for count in 0..20_000_u32 {
        assert_eq!(two.message().await, count.to_be_bytes().as_slice());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_all_comes_to_all_others() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    let mut two = Node::open(&nats, 2).await;
    let mut three = Node::open(&nats, 3).await;
    one.bus.send_all(b"all").unwrap();
    two.bus.send(number(1), b"one").unwrap();
    assert_eq!(two.message().await, "all");
    assert_eq!(three.message().await, "all");
    // Its own has not come back before.
    assert_eq!(one.message().await, "one");
    // To itself is to a node like any other.
    one.bus.send(number(1), b"self").unwrap();
    assert_eq!(one.message().await, "self");
}

/// Whoever may publish there, and is no node: what nodes say is said again, changed in each place, and to others.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_publishes_costs_a_counter_and_silences_nobody() {
    let nats = Nats::one();
    let stranger = async_nats::connect(nats.address(0)).await.unwrap();
    let one = Node::open(&nats, 1).await;
    let mut two = Node::open(&nats, 2).await;
    let mut three = Node::open(&nats, 3).await;
    let mut heard = stranger.subscribe("*.>").await.unwrap();
    // The subscription stands when something has come back.
    stranger.publish("stranger.here", Bytes::new()).await.unwrap();
    while heard.next().await.unwrap().subject.as_str() != "stranger.here" {}
    one.bus.send(number(2), b"first").unwrap();
    one.bus.send_all(b"all").unwrap();
    // Messages to a node and those to all have no order between them.
    let mut both = [two.message().await, two.message().await];
    both.sort();
    assert_eq!((both, three.message().await), (["all".into(), "first".into()], "all".into()));
    let (mut again, mut forged) = (0, 0);
    for said in [b"first".as_slice(), b"all"] {
        let message = loop {
            let message = heard.next().await.unwrap();
            if message.payload.ends_with(said) {
                break message;
            }
        };
        stranger.publish(message.subject.clone(), message.payload.clone()).await.unwrap();
        again += 1;
        for at in 0..message.payload.len() {
            let mut changed = message.payload.to_vec();
            changed[at] ^= 0xff;
            stranger.publish(message.subject.clone(), changed.into()).await.unwrap();
            forged += 1;
        }
        stranger.publish(message.subject.clone(), message.payload.slice(..20)).await.unwrap();
        forged += 1;
        // To another node, and to one what was for all.
        let elsewhere = if said == b"all" { "fanfare.node.00000002" } else { "fanfare.all" };
        stranger.publish(elsewhere, message.payload).await.unwrap();
        forged += 1;
    }
    stranger.flush().await.unwrap();
    one.bus.send(number(2), b"last").unwrap();
    assert_eq!(two.message().await, "last");
    node::until("the rest to have come", || {
        let counters = two.bus.counters();
        (counters.unreadable == forged && counters.stale == again).then_some(())
    })
    .await;
    assert_eq!(two.bus.counters().received, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_told_from_its_start_and_then_as_it_changes() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    one.caught_up().await;
    let first = one.bus.put("ban.a", Bytes::from_static(b"1"), Expect::Nothing).await.unwrap();
    let second = one.bus.put("ban.b", Bytes::from_static(b"2"), Expect::Anything).await.unwrap();
    let third = one.bus.put("ban.a", Bytes::from_static(b"3"), Expect::Revision(first)).await.unwrap();
    let fourth = one.bus.delete("ban.b", Expect::Revision(second)).await.unwrap();
    assert!(first < second && second < third && third < fourth);
    for (key, value, revision) in [
        ("ban.a", Some("1"), first),
        ("ban.b", Some("2"), second),
        ("ban.a", Some("3"), third),
        ("ban.b", None, fourth),
    ] {
        assert_eq!(one.entry().await, (key.to_owned(), value.map(str::to_owned), revision));
    }
    // Whoever comes later is told the newest of each key, and then that this was all.
    let mut two = Node::open(&nats, 2).await;
    assert_eq!(two.entry().await, ("ban.a".to_owned(), Some("3".to_owned()), third));
    assert_eq!(two.entry().await, ("ban.b".to_owned(), None, fourth));
    assert_eq!(two.events.recv().await, Some(Event::CaughtUp));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_over_something_else_is_a_conflict_and_changes_nothing() {
    let nats = Nats::one();
    let one = Node::open(&nats, 1).await;
    let put = |value: &'static str, over| one.bus.put("key", Bytes::from_static(value.as_bytes()), over);
    let first = put("1", Expect::Nothing).await.unwrap();
    assert_eq!(put("x", Expect::Nothing).await, Err(PutError::Conflict));
    assert_eq!(put("x", Expect::Revision(first + 1)).await, Err(PutError::Conflict));
    let second = put("2", Expect::Revision(first)).await.unwrap();
    assert_eq!(put("x", Expect::Revision(first)).await, Err(PutError::Conflict));
    assert_eq!(one.bus.delete("key", Expect::Revision(first)).await, Err(PutError::Conflict));
    let third = one.bus.delete("key", Expect::Revision(second)).await.unwrap();
    // What was deleted is nothing.
    let fourth = put("4", Expect::Nothing).await.unwrap();
    assert!(fourth > third);
    assert_eq!(put("x", Expect::Nothing).await, Err(PutError::Conflict));
    assert!(matches!(one.bus.put("a b", Bytes::new(), Expect::Anything).await, Err(PutError::Key { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn close_hands_over_what_was_sent_and_ends_all_tasks() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    let two = Node::open(&nats, 2).await;
    for count in 0..1000_u32 {
        two.bus.send(number(1), count.to_be_bytes()).unwrap();
    }
    let clone = two.bus.clone();
    two.bus.close().await;
    for count in 0..1000_u32 {
        assert_eq!(one.message().await, count.to_be_bytes().as_slice());
    }
    assert_eq!(clone.send(number(1), b"late"), Err(NotSent::Disconnected));
    let put = clone.put("key", Bytes::new(), Expect::Anything).await;
    assert!(matches!(put, Err(PutError::Unavailable { .. })));
    drop(clone);
    // Nobody takes its events, and it ends all the same.
    let mut settings = settings(&nats);
    settings.events = 1;
    let three = Node::with(settings, 3).await;
    for count in 0..1000_u32 {
        one.bus.send(number(3), count.to_be_bytes()).unwrap();
    }
    three.bus.close().await;
    one.bus.close().await;
    no_tasks_are_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running_when_the_last_bus_is_dropped() {
    let nats = Nats::one();
    let Node { bus, mut events, .. } = Node::open(&nats, 1).await;
    let clone = bus.clone();
    drop(bus);
    clone.send(number(1), b"there").unwrap();
    drop(clone);
    while events.recv().await.is_some() {}
    no_tasks_are_left().await;
}

/// The client's own are told of their end, and end a moment later.
async fn no_tasks_are_left() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    node::until("all tasks to end", || (alive() == 0).then_some(())).await;
}
