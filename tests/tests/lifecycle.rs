//! How connections begin and end: draining, path changes, deadlines and limits. Promise 11: each end has its code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_client::{Client, Event, Outgoing};
use fanfare_protocol::{ClientFrame, Code, Credential, Features, PayloadFormat, ServerFrame, Target, Token};
use fanfare_tests::peer::{Dialer, Ended, hello};
use fanfare_tests::{Hub, group, message, next, nothing_else, text, within};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

fn closed_with(code: Code) -> Ended {
    Ended::Code(code.number().into(), code.sentence().into())
}

#[tokio::test]
async fn a_drain_says_goodbye_after_everything_that_was_queued_and_closes_with_a_code() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let (mut peer, id) = dialer.welcomed(hub.address(), "alice").await;
    let bob = hub.client("bob").await;
    for number in 0..200 {
        bob.send_to_connection(id, "E", number.to_string()).await.unwrap();
    }
    // Answered after all of them, on the same stream: they are accepted.
    bob.count(Target::All).await.unwrap();
    let metrics = hub.server.metrics();
    assert_eq!(metrics.deliveries, 200);
    let draining = tokio::spawn(hub.server.drain());
    for number in 0..200 {
        match peer.frame().await {
            Ok(ServerFrame::Message(message)) => assert_eq!(message.payload, number.to_string()),
            other => panic!("{other:?}"),
        }
    }
    match peer.frame().await {
        Ok(ServerFrame::Goodbye { code, reason, retry_after_ms: 1_000..=1_500 }) => {
            assert_eq!((code, reason.as_str()), (Code::ShuttingDown.number(), Code::ShuttingDown.sentence()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.end().await, closed_with(Code::ShuttingDown));
    let drained = within(draining).await.unwrap();
    assert!(drained.in_time);
    assert_eq!(drained.connections, 2);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_client_that_does_not_read() {
    let hub = Hub::with(|config| config.drain_deadline = Duration::from_millis(300)).await;
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], 2_048);
    let (mut peer, id) = dialer.welcomed(hub.address(), "stuck").await;
    let bob = hub.client("bob").await;
    for _ in 0..10 {
        bob.send_to_connection(id, "E", vec![0; 4_096]).await.unwrap();
    }
    bob.count(Target::All).await.unwrap();
    let drained = within(hub.server.drain()).await;
    assert!(!drained.in_time);
    assert_eq!(peer.end().await, closed_with(Code::ShuttingDown));
}

/// What is sent between the two takes its time each way.
async fn far_away(server: SocketAddr, way: Duration) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    far.connect(server).await.unwrap();
    let address = near.local_addr().unwrap();
    let relay = tokio::spawn(async move {
        let (mut client, mut there, mut back) = (None, vec![0; 2_048], vec![0; 2_048]);
        let mut late = JoinSet::new();
        loop {
            tokio::select! {
                received = near.recv_from(&mut there) => {
                    let (length, from) = received.unwrap();
                    client = Some(from);
                    let (far, packet) = (Arc::clone(&far), there[..length].to_vec());
                    late.spawn(async move {
                        tokio::time::sleep(way).await;
                        // The server may have ended.
                        let _ = far.send(&packet).await;
                    });
                }
                received = far.recv(&mut back) => {
                    let (Ok(length), Some(client)) = (received, client) else { continue };
                    let (near, packet) = (Arc::clone(&near), back[..length].to_vec());
                    late.spawn(async move {
                        tokio::time::sleep(way).await;
                        let _ = near.send_to(&packet, client).await;
                    });
                }
                Some(_) = late.join_next() => {}
            }
        }
    });
    (address, relay)
}

/// QUIC has whoever closes wait for three timeouts of a connection, of which the peer has a say in how long they are.
#[tokio::test]
async fn a_client_that_is_slow_by_its_own_will_does_not_hold_up_the_end() {
    let hub = Hub::with(|config| config.drain_deadline = Duration::from_millis(300)).await;
    let (address, relay) = far_away(hub.address(), Duration::from_millis(1_500)).await;
    let dialer = Dialer::new(&hub.roots);
    let (peer, _) = dialer.welcomed(address, "far").await;
    let begun = Instant::now();
    let drained = within(hub.server.drain()).await;
    assert!(!drained.in_time);
    // Three timeouts of such a connection are more than 15 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(peer);
    relay.abort();
}

#[tokio::test]
async fn a_client_that_finishes_is_answered_to_the_last_request() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let (mut peer, _) = dialer.welcomed(hub.address(), "alice").await;
    for request in 0..100 {
        peer.send(&ClientFrame::Count { request, target: Target::All }).await;
    }
    peer.sending.0.finish().unwrap();
    for request in 0..100 {
        assert!(
            matches!(peer.frame().await, Ok(ServerFrame::Ack { request: answered, .. }) if answered == request)
        );
    }
    assert_eq!(peer.frame().await, Err(Ended::Finished));
    assert_eq!(peer.end().await, closed_with(Code::Normal));
    hub.is_empty().await;
}

#[tokio::test]
async fn a_connection_survives_a_change_of_its_network_path() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    alice.join("room").await.unwrap();
    let id = alice.connection_id();
    for round in 0..3 {
        alice.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert_eq!(bob.send_acked(Outgoing::new("E", format!("{round}")).to_group("room")).await.unwrap(), 1);
        // From the new path first, so that the server learns of it.
        assert_eq!(within(alice.count(Target::Group(group("room")))).await.unwrap(), 1);
        assert_eq!(message(&alice).await.payload, format!("{round}"));
        assert_eq!(alice.connection_id(), id, "the client connected anew");
    }
    assert_eq!(hub.server.metrics().welcomed, 2);
    nothing_else(&alice).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_closed_with_its_code() {
    let hub = Hub::with(|config| config.handshake_deadline = Duration::from_secs(2)).await;
    let dialer = Dialer::new(&hub.roots);
    // No stream, a stream with nothing on it, and half a Hello.
    let silent = dialer.dial(hub.address()).await.unwrap();
    let mut half = dialer.peer(hub.address()).await;
    let bytes = fanfare_protocol::codec::encode_client(&hello("alice"));
    half.write(&bytes[..bytes.len() / 2]).await.unwrap();
    let ended: Ended = within(silent.closed()).await.into();
    assert_eq!(ended, closed_with(Code::HandshakeTimeout));
    assert_eq!(half.end().await, closed_with(Code::HandshakeTimeout));
    assert_eq!(hub.server.metrics().closed.get(&Code::HandshakeTimeout), Some(&2));
    hub.is_empty().await;
}

#[tokio::test]
async fn connections_beyond_a_limit_are_refused_with_its_code_and_room_comes_back() {
    let refused = async |hub: &Hub, name: &str| {
        let mut peer = Dialer::new(&hub.roots).peer(hub.address()).await;
        // The refusal may come before there is anything to say.
        let _ = peer.write(&fanfare_protocol::codec::encode_client(&hello(name))).await;
        peer.end().await
    };
    let hub = Hub::with(|config| config.capacity.per_user = 1).await;
    let alice = hub.client("alice").await;
    assert_eq!(refused(&hub, "alice").await, closed_with(Code::UserFull));
    let _bob = hub.client("bob").await;
    within(alice.close()).await.unwrap();
    let _again = hub.client("alice").await;

    let hub = Hub::with(|config| config.capacity.connections = 1).await;
    let alice = hub.client("alice").await;
    assert_eq!(refused(&hub, "bob").await, closed_with(Code::ServerFull));
    within(alice.close()).await.unwrap();
    let slot_is_free = async { while Client::connect(hub.client_config("bob")).await.is_err() {} };
    within(slot_is_free).await;

    let hub = Hub::with(|config| config.capacity.per_address = 1).await;
    let _alice = hub.client("alice").await;
    assert_eq!(refused(&hub, "bob").await, closed_with(Code::AddressFull));
    assert_eq!(hub.server.metrics().closed.get(&Code::AddressFull), Some(&1));
}

#[tokio::test]
async fn handshakes_that_pile_up_must_prove_their_address_and_then_are_refused() {
    // Above 0 is always: every client is sent back once with a token, and comes in with it.
    let hub = Hub::with(|config| config.retry_above = 0).await;
    let _alice = hub.client("alice").await;
    assert_eq!(hub.server.metrics().retries, 1);
    assert_eq!(hub.server.metrics().welcomed, 1);

    let hub = Hub::with(|config| config.refuse_above = 1).await;
    let dialer = Dialer::new(&hub.roots);
    // Says no Hello, so its handshake goes on.
    let _slow = dialer.dial(hub.address()).await.unwrap();
    let error: Ended = dialer.dial(hub.address()).await.unwrap_err().into();
    let connection_refused = 0x2;
    assert_eq!(error, Ended::Transport(connection_refused), "RFC 9000 section 20.1");
    assert_eq!(hub.server.metrics().handshakes_refused, 1);
}

#[tokio::test]
async fn without_dev_nobody_is_let_in_and_is_told_why() {
    let hub = Hub::with(|config| config.dev = false).await;
    let dialer = Dialer::new(&hub.roots);
    for (credential, code) in [
        (Credential::DevUser(fanfare_tests::user("alice")), Code::DevUserRefused),
        (Credential::Token(Token::new("a.b.c")), Code::TokensNotConfigured),
    ] {
        let mut peer = dialer.peer(hub.address()).await;
        peer.send(&ClientFrame::Hello { protocol: 1, features: Features::NONE, credential }).await;
        assert_eq!(peer.end().await, closed_with(code));
    }
    let error = Client::connect(hub.client_config("alice")).await.err().unwrap().to_string();
    assert!(error.contains("development mode") && error.contains("3002"), "{error}");
}

#[tokio::test]
async fn promise_11_a_refused_request_has_a_code_and_a_counter_and_the_connection_goes_on() {
    let hub = Hub::with(|config| {
        config.limits.groups = 2;
        config.limits.targets = 3;
    })
    .await;
    let dialer = Dialer::new(&hub.roots);
    let (mut peer, id) = dialer.welcomed(hub.address(), "alice").await;
    let send = |request, targets: usize, except: usize, payload: usize| {
        ClientFrame::Send(fanfare_protocol::Send {
            request,
            ack: false,
            to: vec![Target::Group(group("g")); targets],
            except: vec![id; except],
            others: false,
            event: fanfare_protocol::EventName::new("E").unwrap(),
            format: PayloadFormat::Binary,
            payload: vec![0; payload].into(),
        })
    };
    let join = |request, name: &str| ClientFrame::Join { request, group: group(name) };
    for name in ["a", "b"] {
        peer.send(&join(1, name)).await;
        assert!(matches!(peer.frame().await, Ok(ServerFrame::Joined { .. })));
        assert!(matches!(peer.frame().await, Ok(ServerFrame::Ack { .. })));
    }
    for (frame, code) in [
        (join(7, "c"), Code::TooManyGroups),
        (send(7, 0, 0, 0), Code::NoTarget),
        (send(7, 4, 0, 0), Code::TooManyTargets),
        (send(7, 1, 4, 0), Code::TooManyTargets),
        (send(7, 1, 0, 65_537), Code::PayloadTooLarge),
    ] {
        let before = hub.server.metrics().refused.get(&code).copied().unwrap_or(0);
        peer.send(&frame).await;
        match peer.frame().await {
            Ok(ServerFrame::Error { request: 7, code: number, detail }) => {
                assert_eq!(number, code.number(), "{detail}");
                assert!(!detail.is_empty());
            }
            other => panic!("{code:?}: {other:?}"),
        }
        assert_eq!(hub.server.metrics().refused[&code], before + 1);
    }
    // Nothing of them was done, and the connection is as good as before.
    assert_eq!(hub.server.population().groups, 2);
    assert_eq!(hub.server.metrics().sends, 0);
    peer.send(&ClientFrame::Count { request: 8, target: Target::All }).await;
    assert_eq!(peer.frame().await, Ok(ServerFrame::Ack { request: 8, count: 1 }));
}

#[tokio::test]
async fn names_that_are_empty_or_too_long_are_refused_with_a_code() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    // By hand: our own types cannot say such names.
    let name = |length: usize| {
        let mut bytes = match u8::try_from(length) {
            Ok(short @ ..251) => vec![short],
            _ => [&[251][..], &u16::try_from(length).unwrap().to_le_bytes()].concat(),
        };
        bytes.extend(std::iter::repeat_n(b'x', length));
        bytes
    };
    let framed = |body: Vec<u8>| [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat();
    let (mut peer, _) = dialer.welcomed(hub.address(), "alice").await;
    for length in [0, 257, 5_000] {
        for bytes in [
            framed([vec![1, 9], name(length)].concat()),
            framed([vec![2, 9], name(length)].concat()),
            framed([vec![3, 9, 0, 1, 2], name(length), vec![0, 0, 1, b'E', 0, 0]].concat()),
            framed([vec![3, 9, 0, 1, 2, 1, b'g', 0, 0], name(length), vec![0, 0]].concat()),
            framed([vec![4, 9, 1], name(length)].concat()),
        ] {
            peer.write(&bytes).await.unwrap();
            match peer.frame().await {
                Ok(ServerFrame::Error { request: 9, code, .. }) => {
                    assert_eq!(code, Code::InvalidName.number());
                }
                other => panic!("{other:?}"),
            }
        }
        let mut stranger = dialer.peer(hub.address()).await;
        stranger.write(&framed([vec![0, 1, 0, 1], name(length)].concat())).await.unwrap();
        match stranger.end().await {
            Ended::Code(code, reason) => {
                assert_eq!(code, u64::from(Code::InvalidName.number()));
                assert!(reason.contains("user name"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reconnects_to_a_server_that_came_back_and_joins_its_groups_again() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    for group in ["lobby", "room"] {
        alice.join(group).await.unwrap();
        assert!(matches!(next(&alice).await, Event::Joined { .. }));
    }
    alice.leave("lobby").await.unwrap();
    let before = alice.connection_id();
    let hub = hub.restart().await;

    for client in [&alice, &bob] {
        assert!(matches!(next(client).await, Event::Goodbye { .. }));
        match next(client).await {
            Event::Disconnected { retry_in, .. } => assert!(retry_in.is_some()),
            other => panic!("{other:?}"),
        }
    }
    match next(&alice).await {
        Event::Reconnected { connection, rejoined, refused, .. } => {
            assert_ne!(connection, before);
            assert_eq!(rejoined, [group("room")], "and not the one that was left");
            assert!(refused.is_empty(), "{refused:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&bob).await, Event::Reconnected { .. }));
    bob.send_to_group("room", "E", "after").await.unwrap();
    assert_eq!(text(&alice).await, "after");
    assert_eq!(alice.count(Target::Group(group("lobby"))).await.unwrap(), 0);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_follow_to_a_server_of_another_authority_at_the_same_address() {
    let hub = Hub::start().await;
    let address = hub.address();
    let alice = hub.client("alice").await;
    hub.stop().await;
    assert!(matches!(next(&alice).await, Event::Goodbye { .. }));
    assert!(matches!(next(&alice).await, Event::Disconnected { retry_in: Some(_), .. }));
    let stranger = Hub::with(|config| config.listen = address).await;
    match next(&alice).await {
        Event::Closed { reason, .. } => assert!(reason.to_string().contains("certificate"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(stranger.server.metrics().welcomed, 0);
    stranger.stop().await;
}
