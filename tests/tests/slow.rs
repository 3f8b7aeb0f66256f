//! Promise 6, end to end: who does not read harms nobody but himself.

use std::time::Duration;

use bytes::Bytes;
use fanfare_client::Outgoing;
use fanfare_protocol::{ClientFrame, Code, PayloadFormat, Send, ServerFrame, Target};
use fanfare_server::{BudgetLimits, OutboxLimits, Overflow};
use fanfare_tests::peer::{Dialer, Ended, PATIENCE, Peer, WINDOW};
use fanfare_tests::{Hub, eventually, group, within};

const OUTBOX: OutboxLimits = OutboxLimits { frames: 256, bytes: 1 << 20, overflow: Overflow::Disconnect };

/// A small outbox is full on the slowest machine, and nobody is closed for having taken nothing for too long: it
/// happened, beside six times as much work as two cores can do.
fn small_outboxes(config: &mut fanfare_server::Config) {
    config.outbox = OUTBOX;
    config.reader_deadline = Duration::ZERO;
}

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
    let hub = Hub::with(|config| {
        small_outboxes(config);
        config.outbox.frames = 128;
        config.idle_timeout = PATIENCE;
    })
    .await;
    let slow_dialer = Dialer::patient(&hub.roots, SLOW_WINDOW);
    let mut slow = member(&slow_dialer, &hub, "slow").await;
    let dialer = Dialer::patient(&hub.roots, WINDOW);
    let mut others = Vec::new();
    for number in 0..999 {
        others.push(member(&dialer, &hub, &format!("user {number}")).await);
    }
    let sender = hub.client("sender").await;
    let payload = Bytes::from(vec![7; 1_024]);

    // 64 KiB: four times what the slow peer takes, and far below what its outbox may hold. So while the others are
    // timed, the slow one is stuck, and its outbox is filling.
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

    // And now more than its outbox holds: of frames, since 999 times as many bytes take a busy machine half a minute.
    let mut reached = 1_000;
    for _ in 0..1_000 {
        if reached == 999 {
            break;
        }
        let sent = Outgoing::new("E", Bytes::new()).to_group("room");
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
            format: PayloadFormat::Binary,
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

#[tokio::test]
async fn who_takes_nothing_for_too_long_is_closed_and_who_takes_a_little_is_not() {
    let hub = Hub::with(|config| {
        config.reader_deadline = Duration::from_secs(4);
        config.outbox = OutboxLimits { bytes: 8 << 20, ..OutboxLimits::default() };
    })
    .await;
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
    let (stuck, stuck_id) = dialer.welcomed(hub.address(), "stuck").await;
    let (mut slow, slow_id) = dialer.welcomed(hub.address(), "slow").await;
    let (mut idle, idle_id) = dialer.welcomed(hub.address(), "idle").await;
    let sender = hub.client("sender").await;
    for _ in 0..256 {
        let sent = Outgoing::new("E", vec![7; 16 * 1024]).to_connection(stuck_id).to_connection(slow_id);
        assert_eq!(within(sender.send_acked(sent)).await.unwrap(), 2);
    }
    // One message a look or so: far less than comes, and enough to be seen.
    let reading = tokio::spawn(async move {
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        let mut read = 0;
        while let Ok(ServerFrame::Message(_)) = slow.frame().await {
            read += 1;
            if read == 256 {
                return true;
            }
            // As slow as that only for as long as the other's end takes.
            if read < 20 {
                looks.tick().await;
            }
        }
        false
    });
    let reason = "nothing was read for 4 s, and something waits".to_owned();
    let ended: Ended = within(stuck.connection.closed()).await.into();
    assert_eq!(ended, Ended::Code(Code::SlowConsumer.number().into(), reason));
    assert!(within(reading).await.unwrap(), "the slow one was closed");
    assert_eq!(hub.server.metrics().closed.get(&Code::SlowConsumer), Some(&1));
    within(sender.send_acked(Outgoing::new("E", "still here").to_connection(idle_id))).await.unwrap();
    assert!(matches!(idle.frame().await, Ok(ServerFrame::Message(_))));
}

#[tokio::test]
async fn the_shares_of_a_user_and_of_all_hold_whatever_their_connections_do_not_read() {
    const SHARE: usize = 4 << 20;
    let hub = Hub::with(|config| {
        config.reader_deadline = Duration::ZERO;
        config.budget = BudgetLimits { all: 2 * SHARE, per_user: SHARE, per_address: 2 * SHARE };
    })
    .await;
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
    let sender = hub.client("sender").await;
    let reader = hub.client("reader").await;
    let mut hogs = Vec::new();
    for (user, most) in [("one", SHARE), ("two", 2 * SHARE), ("three", 2 * SHARE)] {
        for _ in 0..12 {
            let (hog, id) = dialer.welcomed(hub.address(), user).await;
            for _ in 0..15 {
                let sent = Outgoing::new("E", vec![7; 60_000]).to_connection(id);
                within(sender.send_acked(sent)).await.unwrap();
                let waits = hub.server.metrics().waiting_bytes;
                assert!(waits <= most as u64, "{waits} bytes wait, and {most} may");
            }
            hogs.push(hog);
        }
        // Who reads gets what is sent, whatever the others hold.
        within(sender.send_to_user("reader", "E", vec![1; 60_000])).await.unwrap();
        assert_eq!(fanfare_tests::message(&reader).await.payload.len(), 60_000);
    }
    let metrics = hub.server.metrics();
    assert!(metrics.closed.get(&Code::SlowConsumer).is_some_and(|closed| *closed >= 20), "{metrics:?}");
    assert!(metrics.waiting_bytes >= SHARE as u64, "the bound was never near: {metrics:?}");
    // What they held comes back when they go.
    drop(hogs);
    drop(dialer);
    eventually("nothing is held any more", || hub.server.metrics().waiting_bytes == 0).await;
}

/// Who reads was closed for what others do not read, and whatever the policy: a write that pended for a moment found no
/// room for what QUIC keeps, and ended the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_in_bursts_stays_whatever_others_do_not_read() {
    const ALL: usize = 2 << 20;
    for overflow in [Overflow::Disconnect, Overflow::DropOldest] {
        let hub = Hub::with(|config| {
            config.outbox.overflow = overflow;
            config.budget = BudgetLimits { all: ALL, per_user: ALL, per_address: ALL };
        })
        .await;
        let hogging = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
        let sender = hub.client("sender").await;
        // It reads all the time, and its window is smaller than a message: each one pends.
        let reading = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], SLOW_WINDOW);
        let (mut reader, reader_id) = reading.welcomed(hub.address(), "reader").await;
        let mut hogs = Vec::new();
        for number in 0..5 {
            let (hog, id) = hogging.welcomed(hub.address(), &format!("hog {number}")).await;
            for _ in 0..10 {
                let sent = Outgoing::new("E", vec![7; 60_000]).to_connection(id);
                within(sender.send_acked(sent)).await.unwrap();
            }
            hogs.push(hog);
        }
        for number in 0..20_u8 {
            let sent = Outgoing::new("E", vec![number; 60_000]).to_connection(reader_id);
            assert_eq!(within(sender.send_acked(sent)).await.unwrap(), 1, "{overflow:?}: it was closed");
            match reader.frame().await {
                Ok(ServerFrame::Message(message)) => assert_eq!(message.payload[0], number),
                other => panic!("{overflow:?}: {other:?}"),
            }
        }
        drop(hogs);
    }
}

#[tokio::test]
async fn streams_that_nobody_reads_are_stopped() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let (mut peer, id) = dialer.welcomed(hub.address(), "alice").await;
    for _ in 0..3 {
        let mut one_way = within(peer.connection.open_uni()).await.unwrap();
        let (mut both_ways, _back) = within(peer.connection.open_bi()).await.unwrap();
        for stream in [&mut one_way, &mut both_ways] {
            // More than the window of all streams together, if nothing of it were given back.
            let writing = within(stream.write_all(&[0; 200 * 1024])).await;
            let stopped = within(stream.stopped()).await.unwrap();
            assert_eq!((writing.is_err(), stopped), (true, Some(quinn::VarInt::from_u32(0))));
        }
    }
    assert_eq!(hub.server.metrics().stopped_streams, 6);
    // And the stream that counts goes on.
    peer.send(&ClientFrame::Count { request: 1, target: Target::Connection(id) }).await;
    assert_eq!(peer.frame().await, Ok(ServerFrame::Ack { request: 1, count: 1 }));
}
