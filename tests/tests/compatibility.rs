//! Promise 13, the server's half: a client from the future. It speaks the version of today, and beside it what later
//! ones may add: features, frames, kinds of targets and credentials, extensions; on the stream and in datagrams.
//!
//! Each rule is from docs/protocol/compatibility.md. The clients' half, a server from the future, is in
//! tests/scenarios.

use bytes::Bytes;
use fanfare_protocol::codec::{self, PREFIX_BYTES};
use fanfare_protocol::{
    ClientFrame, Code, Credential, EventName, Features, PROTOCOL_VERSION, PayloadFormat, Send, ServerFrame,
    Target, Token,
};
use fanfare_tests::peer::{Dialer, Ended, Peer, hello};
use fanfare_tests::{Hub, eventually, group, user, within};

/// Extensions that are never given a meaning: the first is skipped, the second must be understood.
const OPTIONAL: (u64, &[u8]) = (250, b"later");
const CRITICAL: (u64, &[u8]) = (249, b"later");

/// A body of any bytes, with its length before it.
fn framed(body: &[u8]) -> Bytes {
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat().into()
}

fn extended(frame: &ClientFrame, extensions: &[(u64, &[u8])]) -> Bytes {
    codec::with_extensions(&codec::encode_client(frame), extensions)
}

fn join(request: u64, name: &str) -> ClientFrame {
    ClientFrame::Join { request, group: group(name) }
}

fn count(request: u64, name: &str) -> ClientFrame {
    ClientFrame::Count { request, target: Target::Group(group(name)) }
}

fn send(request: u64, name: &str, payload: &'static [u8]) -> ClientFrame {
    ClientFrame::Send(Send {
        request,
        ack: true,
        to: vec![Target::Group(group(name))],
        except: vec![],
        others: false,
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Other(250),
        payload: Bytes::from_static(payload),
    })
}

/// The next frame is the refusal of this request; gives its words.
async fn refused(peer: &mut Peer, request: u64, code: Code) -> String {
    match peer.frame().await {
        Ok(ServerFrame::Error { request: told, code: number, detail }) => {
            assert_eq!((told, number), (request, code.number()), "{detail}");
            detail
        }
        other => panic!("request {request} was not refused: {other:?}"),
    }
}

async fn acked(peer: &mut Peer, request: u64) -> u64 {
    match peer.frame().await {
        Ok(ServerFrame::Ack { request: told, count }) if told == request => count,
        other => panic!("request {request} was not done: {other:?}"),
    }
}

async fn joined(peer: &mut Peer, request: u64, name: &str) {
    peer.send(&join(request, name)).await;
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Joined { .. })));
    acked(peer, request).await;
}

async fn heard(peer: &mut Peer) -> Bytes {
    match peer.frame().await {
        Ok(ServerFrame::Message(message)) => {
            assert_eq!(message.format, PayloadFormat::Other(250), "a format is passed on as it came");
            message.payload
        }
        other => panic!("not a message: {other:?}"),
    }
}

#[tokio::test]
async fn promise_13_features_that_nobody_knows_here_are_not_chosen() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let mut ids = Vec::new();
    for (offered, extensions) in [(0, &[][..]), (1, &[OPTIONAL]), (u64::MAX, &[(0, &b""[..]), OPTIONAL])] {
        let features = Features::from_bits(offered);
        let credential = Credential::DevUser(user("alice"));
        let hello = ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential };
        let mut peer = dialer.peer(hub.address()).await;
        peer.write(&extended(&hello, extensions)).await.unwrap();
        let Ok(ServerFrame::Welcome(welcome)) = peer.frame().await else { panic!("not welcomed") };
        // Calls are not, where there is no application.
        assert_eq!(welcome.features, features.and(Features::PRESENCE));
        assert_eq!((welcome.node_bytes, welcome.session, welcome.position), (4, [0; 16], 0));
        ids.push(welcome.connection);
        joined(&mut peer, 1, "room").await;
    }
    // All of one node, and no two alike.
    let node = |id: &fanfare_protocol::ConnectionId| id.as_bytes().first_chunk::<4>().copied().unwrap();
    assert!(ids.iter().all(|id| node(id) == node(&ids[0])), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let other = Hub::start().await;
    let (_peer, id) = Dialer::new(&other.roots).welcomed(other.address(), "alice").await;
    assert_ne!(node(&id), node(&ids[0]), "each start is another node");
    other.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn promise_13_unknown_frames_are_answered_where_they_are_requests_and_counted() {
    let hub = Hub::start().await;
    let (mut peer, _) = Dialer::new(&hub.roots).welcomed(hub.address(), "alice").await;
    // Below 128 the number of a request follows, also one in its widest form; what comes then is nobody's business.
    let wide = [&[127, 253][..], &u64::MAX.to_le_bytes(), b"\xff\xff\xff"].concat();
    let stream =
        [framed(&[17, 7]), framed(&wide), framed(&[250]), framed(&[251, 255, 255, 9, 9]), framed(&[127, 8])];
    peer.write(&stream.concat()).await.unwrap();
    let said = refused(&mut peer, 7, Code::NotKnownHere).await;
    assert_eq!(said, "this server does not know frame 17");
    refused(&mut peer, u64::MAX, Code::NotKnownHere).await;
    refused(&mut peer, 8, Code::NotKnownHere).await;
    joined(&mut peer, 9, "room").await;
    let metrics = hub.server.metrics();
    assert_eq!((metrics.unknown, metrics.refused.get(&Code::NotKnownHere)), (5, Some(&3)));
    assert_eq!(metrics.requests, 6, "the join, and all five, so that whoever sends many of them is found");

    // What should be a request and has no number is no frame of any version.
    peer.write(&framed(&[17])).await.unwrap();
    assert!(matches!(peer.end().await, Ended::Code(2001, _)));
    hub.stop().await;
}

#[tokio::test]
async fn promise_13_a_request_with_an_unknown_kind_in_it_is_refused_and_nothing_of_it_is_done() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let (mut alice, _) = dialer.welcomed(hub.address(), "alice").await;
    let (mut bob, _) = dialer.welcomed(hub.address(), "bob").await;
    joined(&mut bob, 1, "room").await;
    // Send{7, ack, to [Group room, a target 250 ...]}; Count{8, a target 250}.
    let to_room = [&[3, 7, 1, 2, 2, 4][..], b"room", &[250, 1, 2, 3]].concat();
    alice.write(&[framed(&to_room), framed(&[4, 8, 250])].concat()).await.unwrap();
    let said = refused(&mut alice, 7, Code::NotKnownHere).await;
    assert_eq!(said, "this server does not know target 250");
    refused(&mut alice, 8, Code::NotKnownHere).await;
    alice.send(&send(9, "room", b"known")).await;
    assert_eq!(acked(&mut alice, 9).await, 1);
    assert_eq!(heard(&mut bob).await, "known", "nothing of the other came before it");
    let metrics = hub.server.metrics();
    assert_eq!((metrics.unknown, metrics.sends), (2, 1));
    hub.stop().await;
}

#[tokio::test]
async fn promise_13_extensions_of_requests_are_skipped_unless_they_must_be_understood() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let (mut alice, _) = dialer.welcomed(hub.address(), "alice").await;
    let (mut bob, _) = dialer.welcomed(hub.address(), "bob").await;
    joined(&mut bob, 1, "room").await;
    let leave = |request| ClientFrame::Leave { request, group: group("room") };
    let refresh = |request| ClientFrame::Refresh { request, token: Token::new("a.b.c") };

    // With one that must be understood: refused, each, and not done.
    let critical = [OPTIONAL, (251, b"")];
    for (request, frame) in
        [(1, join(1, "room")), (2, send(2, "room", b"unheard")), (3, count(3, "room")), (5, refresh(5))]
    {
        for extensions in [&[CRITICAL, OPTIONAL][..], &critical] {
            alice.write(&extended(&frame, extensions)).await.unwrap();
            let said = refused(&mut alice, request, Code::ExtensionNotKnown).await;
            let odd = extensions.iter().map(|(number, _)| *number).find(|number| number % 2 == 1).unwrap();
            assert_eq!(said, format!("this server does not know extension {odd}, which must be understood"));
        }
    }
    bob.write(&extended(&leave(4), &[CRITICAL])).await.unwrap();
    refused(&mut bob, 4, Code::ExtensionNotKnown).await;
    assert_eq!(hub.server.metrics().unknown, 9);

    // With others: as without.
    alice.write(&extended(&count(10, "room"), &[OPTIONAL])).await.unwrap();
    assert_eq!(acked(&mut alice, 10).await, 1, "bob is in it still, and alice is not");
    alice.write(&extended(&send(11, "room", b"heard"), &[(0, b""), OPTIONAL])).await.unwrap();
    assert_eq!(acked(&mut alice, 11).await, 1);
    assert_eq!(heard(&mut bob).await, "heard");
    alice.write(&extended(&join(12, "room"), &[OPTIONAL])).await.unwrap();
    assert!(matches!(alice.frame().await, Ok(ServerFrame::Joined { members: 2, .. })));
    assert_eq!(acked(&mut alice, 12).await, 2);
    alice.write(&extended(&leave(13), &[OPTIONAL])).await.unwrap();
    assert_eq!(acked(&mut alice, 13).await, 1);
    alice.write(&extended(&refresh(14), &[OPTIONAL])).await.unwrap();
    refused(&mut alice, 14, Code::TokensNotConfigured).await;
    assert_eq!(hub.server.metrics().unknown, 9, "what is skipped is no news");
    hub.stop().await;
}

#[tokio::test]
async fn promise_13_a_hello_of_a_later_version_is_told_why_it_is_not_let_in() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let plain = hello("alice");
    let first = |bytes: Bytes| {
        let (dialer, address) = (dialer.clone(), hub.address());
        async move {
            let mut peer = dialer.peer(address).await;
            peer.write(&bytes).await.unwrap();
            peer.end().await
        }
    };
    let code = |code: Code, ended: Ended| match ended {
        Ended::Code(number, reason) => assert_eq!(number, u64::from(code.number()), "{reason}"),
        other => panic!("{other:?}"),
    };
    code(Code::NotKnownHere, first(framed(&[0, 1, 0, 250, 1, 2])).await);
    code(Code::ExtensionNotKnown, first(extended(&plain, &[CRITICAL])).await);
    code(Code::MalformedFrame, first(framed(&[0, 1])).await);
    code(Code::MalformedFrame, first(extended(&plain, &[OPTIONAL, OPTIONAL])).await);
    // Whatever it is, it is not `Hello`.
    for other in [
        framed(&[17, 1]),
        framed(&[250]),
        framed(&[4, 1, 250]),
        framed(&[1, 1, 0]),
        extended(&join(1, "x"), &[CRITICAL]),
    ] {
        code(Code::HelloExpected, first(other).await);
    }
    // The version is judged first: whoever speaks another one learns that, whatever else it says.
    for other in [
        framed(&[0, 9, 0, 250]),
        framed(&[0, 9, 0, 1, 0]),
        framed(&[0, 9]),
        framed(&[0, 9, 0, 1, 1, b'a', 249, 0]),
    ] {
        code(Code::UnsupportedProtocol, first(other).await);
    }
    // And once is enough.
    for again in [
        framed(&[0, 1, 0, 250, 1, 2]),
        framed(&[0, 1, 0, 1, 0]),
        extended(&plain, &[CRITICAL]),
        extended(&plain, &[OPTIONAL]),
    ] {
        code(Code::HelloRepeated, first([codec::encode_client(&plain), again].concat().into()).await);
    }
    let metrics = hub.server.metrics();
    assert_eq!(metrics.closed.get(&Code::NotKnownHere), Some(&1));
    assert_eq!(metrics.closed.get(&Code::ExtensionNotKnown), Some(&1));
    hub.stop().await;
}

#[tokio::test]
async fn promise_13_datagrams_of_later_versions_are_dropped_counted_and_answered_as_on_the_stream() {
    let hub = Hub::start().await;
    let dialer = Dialer::new(&hub.roots);
    let (mut alice, _) = dialer.welcomed(hub.address(), "alice").await;
    let (bob, _) = dialer.welcomed(hub.address(), "bob").await;
    let mut in_room = bob;
    joined(&mut in_room, 1, "room").await;
    // Datagrams may get lost: each is said until it is answered.
    async fn answered(alice: &mut Peer, body: &Bytes) -> ServerFrame {
        loop {
            alice.connection.send_datagram(body.clone()).unwrap();
            let answer = tokio::time::timeout(std::time::Duration::from_millis(200), alice.receiving.frame());
            if let Ok(frame) = answer.await {
                return frame.unwrap();
            }
        }
    }
    for (request, code, body) in [
        (1, Code::NotKnownHere, framed(&[17, 1, 9]).slice(PREFIX_BYTES..)),
        (2, Code::NotKnownHere, framed(&[3, 2, 0, 1, 250]).slice(PREFIX_BYTES..)),
        (
            3,
            Code::ExtensionNotKnown,
            extended(&send(3, "room", b"unheard"), &[CRITICAL]).slice(PREFIX_BYTES..),
        ),
    ] {
        // Answers to what was said more than once may still come.
        loop {
            match within(answered(&mut alice, &body)).await {
                ServerFrame::Error { request: told, code: number, .. } if told == request => {
                    assert_eq!(number, code.number());
                    break;
                }
                ServerFrame::Error { request: told, .. } if told < request => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let known = extended(&send(4, "room", b"heard"), &[OPTIONAL]).slice(PREFIX_BYTES..);
    loop {
        match within(answered(&mut alice, &known)).await {
            ServerFrame::Ack { request: 4, count: 1 } => break,
            ServerFrame::Error { request, .. } if request < 4 => {}
            other => panic!("{other:?}"),
        }
    }
    let datagram = within(async {
        loop {
            alice.connection.send_datagram(known.clone()).unwrap();
            let wait = std::time::Duration::from_millis(200);
            if let Ok(datagram) = tokio::time::timeout(wait, in_room.connection.read_datagram()).await {
                return datagram.unwrap();
            }
        }
    })
    .await;
    let Ok(ServerFrame::Message(message)) = codec::decode_server(&datagram) else { panic!("{datagram:?}") };
    assert_eq!(message.payload, "heard");
    let before = hub.server.metrics().unknown;
    assert!(before >= 3);
    eventually("a frame that is no request is counted in a datagram, too", || {
        alice.connection.send_datagram(Bytes::from_static(&[250, 1])).unwrap();
        hub.server.metrics().unknown > before
    })
    .await;
    hub.stop().await;
}

#[tokio::test]
async fn promise_13_unknown_frames_count_as_requests_where_too_many_are_slowed_down() {
    let hub = Hub::with(|config| config.requests_per_second = std::num::NonZeroU32::new(100)).await;
    let (mut peer, _) = Dialer::new(&hub.roots).welcomed(hub.address(), "alice").await;
    peer.write(&framed(&[250]).repeat(150)).await.unwrap();
    peer.send(&count(1, "room")).await;
    assert_eq!(acked(&mut peer, 1).await, 0);
    let metrics = hub.server.metrics();
    assert_eq!(metrics.unknown, 150);
    assert!(metrics.throttled > 0, "{metrics:?}");
    hub.stop().await;
}
