//! Promise 6, end to end: who does not read harms nobody but himself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

use std::time::Duration;

use bytes::Bytes;
use fanfare_client::Outgoing;
use fanfare_protocol::{ClientFrame, Code, Send, ServerFrame, Target};
use fanfare_server::{OutboxLimits, Overflow};
use fanfare_tests::peer::{Dialer, Ended, Peer};
use fanfare_tests::{Hub, eventually, group, within};

const OUTBOX: OutboxLimits = OutboxLimits { frames: 256, bytes: 1 << 20, overflow: Overflow::Disconnect };

/// How much the server may send to a slow peer before it has to wait: little, so that the outbox fills soon.
const SLOW_WINDOW: u32 = 16 * 1024;

async fn member(dialer: &Dialer, hub: &Hub, name: &str) -> Peer {
    let (mut peer, _) = dialer.welcomed(hub.address(), name).await;
    peer.send(&ClientFrame::Join { request: 1, group: group("room") }).await;
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Joined { .. })));
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Ack { request: 1, .. })));
    peer
}

async fn read_messages(peer: &mut Peer, count: u32) {
    for _ in 0..count {
        match peer.frame().await {
            Ok(ServerFrame::Message(_)) => {}
            other => panic!("not a message: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_6_a_reader_that_stops_reading_does_not_delay_999_others() {
    let hub = Hub::with(|config| config.outbox = OUTBOX).await;
    let slow_dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
    let mut slow = member(&slow_dialer, &hub, "slow").await;
    let dialer = Dialer::new(&hub.roots);
    let mut others = Vec::new();
    for number in 0..999 {
        others.push(member(&dialer, &hub, &format!("user {number}")).await);
    }
    let sender = hub.client("sender").await;
    let payload = Bytes::from(vec![7; 1_024]);

    // 64 KiB: four times what the slow peer takes, and far below what its outbox may hold. So while the others are timed,
    // the slow one is stuck, and its outbox is filling.
    let started = std::time::Instant::now();
    for _ in 0..64 {
        let sent = Outgoing::new("E", payload.clone()).to_group("room");
        assert_eq!(within(sender.send_acked(sent)).await.unwrap(), 1_000);
    }
    let mut readers = tokio::task::JoinSet::new();
    for mut other in others {
        readers.spawn(async move {
            read_messages(&mut other, 64).await;
            other
        });
    }
    let others = within(readers.join_all()).await;
    println!("999 members read 64 messages of 1 KiB each in {:?}", started.elapsed());
    assert_eq!(slow.connection.close_reason(), None, "the slow one was cut off too early to tell anything");
    assert_eq!(hub.server.metrics().closed.get(&Code::SlowConsumer), None);

    // And now more than its outbox holds.
    let mut reached = 1_000;
    for _ in 0..1_000 {
        if reached == 999 {
            break;
        }
        let sent = Outgoing::new("E", payload.clone()).to_group("room");
        reached = within(sender.send_acked(sent)).await.unwrap();
    }
    assert_eq!(reached, 999, "the slow one was never cut off");
    let reason = Code::SlowConsumer.sentence().to_owned();
    assert_eq!(slow.end().await, Ended::Code(Code::SlowConsumer.number().into(), reason));
    assert_eq!(hub.server.metrics().closed.get(&Code::SlowConsumer), Some(&1));
    eventually("the slow one has left", || hub.server.count(&Target::Group(group("room"))) == 999).await;
    drop(others);
}

#[tokio::test]
async fn promise_6_drop_oldest_keeps_a_slow_reader_and_tells_it_how_many_it_missed() {
    const MESSAGES: u64 = 2_000;
    let hub = Hub::with(|config| {
        config.outbox = OutboxLimits { overflow: Overflow::DropOldest, ..OUTBOX };
    })
    .await;
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
    let mut slow = member(&dialer, &hub, "slow").await;
    let sender = hub.client("sender").await;
    for number in 0..MESSAGES {
        let mut payload = vec![0; 1_024];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let sent = Outgoing::new("E", payload).to_group("room");
        assert_eq!(within(sender.send_acked(sent)).await.unwrap(), 1);
    }
    // Now it reads: everything that is left, in order, and for every gap the number of messages that are missing there.
    let (mut received, mut dropped, mut expected) = (0, 0, 0);
    while received + dropped < MESSAGES {
        match slow.frame().await.unwrap() {
            ServerFrame::Message(message) => {
                let number = u64::from_be_bytes(message.payload[..8].try_into().unwrap());
                assert_eq!(number, expected);
                expected += 1;
                received += 1;
            }
            ServerFrame::Lagged { dropped: missing } => {
                dropped += missing;
                expected += missing;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(dropped > 0 && received > 0, "{received} received, {dropped} dropped");
    assert_eq!(hub.server.metrics().displaced, dropped);
    println!("{received} received, {dropped} dropped and told");
}

#[tokio::test]
async fn promise_6_a_client_that_asks_faster_than_it_reads_is_slowed_down() {
    const REQUESTS: u64 = 20_000;
    let hub = Hub::with(|config| config.outbox = OutboxLimits { frames: 64, ..OUTBOX }).await;
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
    let (peer, _) = dialer.welcomed(hub.address(), "alice").await;
    // It asks and asks, and reads nothing. The answers are several hundred times what its outbox holds.
    let (mut sending, mut receiving) = peer.split();
    let asking = tokio::spawn(async move {
        for request in 0..REQUESTS {
            sending.send(&ClientFrame::Count { request, target: Target::All }).await;
        }
        sending
    });
    eventually("the server has read some", || hub.server.metrics().requests > 1_000).await;
    for request in 0..REQUESTS {
        assert_eq!(receiving.frame().await, Ok(ServerFrame::Ack { request, count: 1 }));
    }
    within(asking).await.unwrap();
    assert_eq!(hub.server.metrics().closed.get(&Code::SlowConsumer), None);
}

#[tokio::test]
async fn a_client_that_makes_too_many_requests_a_second_is_slowed_down_and_loses_nothing() {
    let hub = Hub::with(|config| config.requests_per_second = std::num::NonZeroU32::new(200)).await;
    let dialer = Dialer::new(&hub.roots);
    let (mut peer, id) = dialer.welcomed(hub.address(), "alice").await;
    let started = std::time::Instant::now();
    for request in 0..400 {
        let send = Send {
            request,
            ack: false,
            to: vec![Target::Connection(id)],
            except: vec![],
            others: false,
            event: fanfare_protocol::EventName::new("E").unwrap(),
            payload: Bytes::copy_from_slice(&request.to_be_bytes()),
        };
        peer.send(&ClientFrame::Send(send)).await;
    }
    for request in 0..400u64 {
        match peer.frame().await {
            Ok(ServerFrame::Message(message)) => assert_eq!(message.payload, request.to_be_bytes()[..]),
            other => panic!("{other:?}"),
        }
    }
    // 200 at once, and the other 200 in the second after: the lower bound holds on the slowest machine.
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(hub.server.metrics().throttled > 0);
}
