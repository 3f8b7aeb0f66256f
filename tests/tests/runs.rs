//! Sends that follow each other in one chunk of a stream go together, and nobody can tell.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::codec;
use fanfare_protocol::{ClientFrame, Code, EventName, PayloadFormat, Send, ServerFrame, Target};
use fanfare_tests::peer::{Dialer, Peer};
use fanfare_tests::{Hub, group, user, within};

fn send(request: u64, to: Vec<Target>, ack: bool, others: bool, payload: Bytes) -> Bytes {
    codec::encode_client(&ClientFrame::Send(Send {
        request,
        ack,
        to,
        except: Vec::new(),
        others,
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Binary,
        payload,
    }))
}

async fn joined(dialer: &Dialer, hub: &Hub, name: &str) -> Peer {
    let (mut peer, _) = dialer.welcomed(hub.address(), name).await;
    peer.send(&ClientFrame::Join { request: 1, group: group("room") }).await;
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Joined { .. })));
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Ack { .. })));
    peer
}

/// Message after message, until the last word.
async fn payloads(peer: &mut Peer) -> Vec<Bytes> {
    let mut heard = Vec::new();
    loop {
        match peer.frame().await.unwrap() {
            ServerFrame::Message(message) if message.payload == "end" => return heard,
            ServerFrame::Message(message) => heard.push(message.payload),
            _ => {}
        }
    }
}

#[tokio::test]
async fn promise_4_a_burst_in_one_write_arrives_once_each_and_in_order() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&Arc::clone(&hub.roots));
    let (alice, mut bob) = (joined(&dialer, &hub, "alice").await, joined(&dialer, &hub, "bob").await);
    let room = || vec![Target::Group(group("room"))];
    let mut burst = Vec::new();
    let mut expected = Vec::new();
    // Runs of every length up to more than may go together, each ended by something else: a send to a user, one with an
    // answer, one that spares the sender, and one that is refused.
    for (length, request) in (0..100u64).zip((0u64..).step_by(1_000)) {
        for at in 0..length {
            let payload = Bytes::from(format!("{length}:{at}"));
            burst.extend_from_slice(&send(request + at, room(), false, false, payload.clone()));
            expected.push(payload);
        }
        let (to, ack, others, size) = match length % 4 {
            0 => (vec![Target::User(user("bob"))], false, false, 16),
            1 => (room(), true, false, 16),
            2 => (room(), false, true, 16),
            _ => (room(), false, false, 65_537),
        };
        let payload = Bytes::from(vec![b'x'; size]);
        burst.extend_from_slice(&send(request + 999, to, ack, others, payload.clone()));
        if size == 16 {
            expected.push(payload);
        }
    }
    burst.extend_from_slice(&send(7, room(), false, false, Bytes::from_static(b"end")));
    // Both read meanwhile: alice is a member, too, and bob must not be taken for a slow consumer.
    let (mut sending, mut receiving) = (alice.sending, alice.receiving);
    let hearing = tokio::spawn(async move { (payloads(&mut bob).await, bob) });
    let writing = tokio::spawn(async move {
        sending.0.write_all(&burst).await.unwrap();
        sending
    });
    let mut answers = Vec::new();
    loop {
        match receiving.frame().await.unwrap() {
            ServerFrame::Message(message) if message.payload == "end" => break,
            ServerFrame::Ack { request, count } => answers.push((request, Ok(count))),
            ServerFrame::Error { request, code, .. } => answers.push((request, Err(code))),
            _ => {}
        }
    }
    let _sending = writing.await.unwrap();
    let (heard, bob) = within(hearing).await.unwrap();
    assert_eq!(heard, expected);
    let due: Vec<_> = (0..100u64)
        .filter_map(|length| match length % 4 {
            1 => Some((length * 1_000 + 999, Ok(2))),
            3 => Some((length * 1_000 + 999, Err(Code::PayloadTooLarge.number()))),
            _ => None,
        })
        .collect();
    assert_eq!(answers, due, "each by its own number, in the order of the requests");
    let metrics = hub.server.metrics();
    assert_eq!(metrics.refused.get(&Code::PayloadTooLarge), Some(&25));
    // 4,950 in runs and 75 behind them; the last word; two joins. Each counts for itself.
    assert_eq!(metrics.sends, 4_950 + 75 + 1);
    assert_eq!(metrics.requests, 4_950 + 100 + 1 + 2);
    drop((receiving, bob, alice.connection));
    hub.stop().await;
}
