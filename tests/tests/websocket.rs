//! WebSocket: the same hub for clients that UDP does not reach, and what strangers may do to it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_client::{
    Client, ClientConfig, CloseReason, ConnectError, Disconnect, Event, Transport, WebSocket,
};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{ClientFrame, Code, EventName, PayloadFormat, Send, ServerFrame, Target, codec};
use fanfare_server::{Config, OutboxLimits, Overflow};
use fanfare_tests::peer::hello;
use fanfare_tests::socket::{Carrier, DATAGRAM, END, STREAM, Socket, SocketEnd, dial};
use fanfare_tests::{Hub, eventually, group, message, next, text, user, within};
use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_websockets::Message;

/// A development hub that takes WebSockets.
async fn hub() -> Hub {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut Config)) -> Hub {
    Hub::with(|config| {
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(config);
    })
    .await
}

async fn welcomed(hub: &Hub, name: &str) -> Socket {
    Socket::welcomed(&hub.websocket(), &hub.roots, name).await.0
}

fn join(request: u64, name: &str) -> ClientFrame {
    ClientFrame::Join { request, group: group(name) }
}

fn send(request: u64, to: Target, payload: &'static [u8]) -> ClientFrame {
    ClientFrame::Send(Send {
        request,
        ack: true,
        to: vec![to],
        except: Vec::new(),
        others: false,
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Binary,
        payload: Bytes::from_static(payload),
    })
}

/// The next frame that is not `Joined`.
async fn frame(socket: &mut Socket) -> ServerFrame {
    loop {
        match socket.frame().await.unwrap() {
            ServerFrame::Joined { .. } => {}
            frame => return frame,
        }
    }
}

#[tokio::test]
async fn a_websocket_and_a_quic_connection_understand_each_other() {
    let hub = hub().await;
    let native = hub.client("alice").await;
    native.join("room").await.unwrap();
    let mut socket = welcomed(&hub, "bob").await;
    socket.send(&join(1, "room")).await;
    assert_eq!(frame(&mut socket).await, ServerFrame::Ack { request: 1, count: 2 });
    socket.send(&send(2, Target::Group(group("room")), b"hello")).await;
    let ServerFrame::Message(own) = frame(&mut socket).await else { panic!("no message") };
    assert_eq!(own.payload.as_ref(), b"hello");
    assert_eq!(frame(&mut socket).await, ServerFrame::Ack { request: 2, count: 2 });
    let heard = message(&native).await;
    assert_eq!((heard.payload.as_ref(), heard.to), (&b"hello"[..], Target::Group(group("room"))));
    native.send_to_user("bob", "E", "there").await.unwrap();
    let ServerFrame::Message(answer) = frame(&mut socket).await else { panic!("no message") };
    assert_eq!(answer.payload.as_ref(), b"there");
    hub.stop().await;
}

#[tokio::test]
async fn frames_may_be_cut_into_messages_in_any_way() {
    let hub = hub().await;
    let mut socket = Socket::open(&hub.websocket(), &hub.roots, &[]).await.unwrap();
    let bytes = [codec::encode_client(&hello("alice")), codec::encode_client(&join(1, "room"))].concat();
    for byte in bytes {
        socket.say(STREAM, &[byte]).await;
        socket.say(STREAM, &[]).await;
    }
    assert!(matches!(socket.frame().await, Ok(ServerFrame::Welcome(_))));
    assert!(matches!(frame(&mut socket).await, ServerFrame::Ack { count: 1, .. }));
    hub.stop().await;
}

#[tokio::test]
async fn kinds_of_messages_that_are_not_known_are_passed_over_and_pings_are_answered() {
    let hub = hub().await;
    let mut socket = welcomed(&hub, "alice").await;
    socket.say(77, b"of a later version").await;
    within(socket.stream.send(Message::binary(Bytes::new()))).await.unwrap();
    within(socket.stream.send(Message::ping(Bytes::from_static(b"there?")))).await.unwrap();
    socket.send(&ClientFrame::Count { request: 1, target: Target::All }).await;
    assert!(matches!(frame(&mut socket).await, ServerFrame::Ack { count: 1, .. }));
    hub.stop().await;
}

#[tokio::test]
async fn datagrams_go_both_ways() {
    let hub = hub().await;
    let native = hub.client("alice").await;
    native.join("room").await.unwrap();
    let mut socket = welcomed(&hub, "bob").await;
    socket.send(&join(1, "room")).await;
    let _ack = frame(&mut socket).await;
    let ClientFrame::Send(mut unreliable) = send(0, Target::Group(group("room")), b"over UDP") else {
        panic!()
    };
    unreliable.ack = false;
    let datagram = codec::encode_client(&ClientFrame::Send(unreliable)).slice(codec::PREFIX_BYTES..);
    let heard = async {
        loop {
            socket.say(DATAGRAM, &datagram).await;
            // Messages are asked for again where the datagram got lost.
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(50), message(&native)).await {
                break heard;
            }
        }
    };
    let heard = within(heard).await;
    assert_eq!(heard.payload.as_ref(), b"over UDP");
    // Its own copies came as datagrams, too, and none on the stream.
    socket.send(&ClientFrame::Count { request: 2, target: Target::All }).await;
    assert!(matches!(frame(&mut socket).await, ServerFrame::Ack { request: 2, .. }));
    assert!(!socket.datagrams.is_empty());
    hub.stop().await;
}

/// What is queued before the client's end is carried out, and what is queued for it then is written.
#[tokio::test]
async fn whoever_ends_its_half_gets_everything_and_then_the_end() {
    let hub = hub().await;
    let mut socket = welcomed(&hub, "alice").await;
    for number in 1..=100 {
        socket.send(&ClientFrame::Count { request: number, target: Target::All }).await;
    }
    socket.say(END, &[]).await;
    for number in 1..=100 {
        let ack = ServerFrame::Ack { request: number, count: 1 };
        assert_eq!(socket.frame().await.unwrap(), ack);
    }
    assert_eq!(socket.frame().await.unwrap_err(), SocketEnd::Finished);
    let SocketEnd::Closed(1_000, text) = socket.frame().await.unwrap_err() else { panic!("no close") };
    assert!(text.starts_with("0 "), "{text}");
    hub.is_empty().await;
    hub.stop().await;
}

/// Promise 11 over WebSocket: the last frame and the close both say why.
#[tokio::test]
async fn promise_11_whoever_is_closed_is_told_why() {
    let hub = hub().await;
    for is_busy in [false, true] {
        let mut socket = welcomed(&hub, "mallory").await;
        if is_busy {
            let payload = vec![7; 60_000];
            for _ in 0..10 {
                hub.server.hub().user(user("mallory")).send("E", payload.clone()).unwrap();
            }
        }
        let who = Who::User(user("mallory"));
        hub.act(Action::Kick { who, reason: "for a test".to_owned() }).await.unwrap();
        let (last, end) = socket.end().await;
        let Some(ServerFrame::Goodbye { code, reason, .. }) = last else { panic!("no goodbye: {last:?}") };
        assert_eq!((code, reason.as_str()), (Code::ClosedByOperator.number(), "for a test"));
        assert_eq!(end, SocketEnd::Closed(4_000, format!("{code} for a test")));
        hub.is_empty().await;
    }
    let mut socket = welcomed(&hub, "alice").await;
    let (stopped, (last, end)) = tokio::join!(hub.stop(), socket.end());
    let () = stopped;
    assert!(matches!(last, Some(ServerFrame::Goodbye { .. })), "{last:?}");
    let SocketEnd::Closed(4_000, text) = end else { panic!("{end:?}") };
    assert!(text.starts_with("1001 "), "{text}");
}

#[tokio::test]
async fn a_banned_user_is_out_over_websocket_too() {
    let hub = hub().await;
    let mut socket = welcomed(&hub, "mallory").await;
    let ban = Action::Ban { user: user("mallory"), until: None, reason: String::new(), dry_run: false };
    hub.act(ban).await.unwrap();
    let (_, end) = socket.end().await;
    let SocketEnd::Closed(4_000, text) = end else { panic!("{end:?}") };
    assert!(text.starts_with(&Code::UserBanned.number().to_string()), "{text}");
    let mut again = Socket::open(&hub.websocket(), &hub.roots, &[]).await.unwrap();
    again.send(&hello("mallory")).await;
    let (last, _) = again.end().await;
    let Some(ServerFrame::Goodbye { code, .. }) = last else { panic!("no goodbye: {last:?}") };
    assert_eq!(code, Code::UserBanned.number());
    hub.is_empty().await;
    hub.stop().await;
}

/// The answer to a request in HTTP, as text.
async fn asked(hub: &Hub, path: &str, headers: &str) -> String {
    let url = hub.websocket().parse().unwrap();
    let mut carrier = dial(&url, &hub.roots).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    within(carrier.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    within(carrier.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn what_is_no_websocket_or_from_another_page_is_answered_with_a_status_and_a_sentence() {
    let hub = with(|config| config.origins.loopback = true).await;
    let plain = asked(&hub, "/fanfare", "").await;
    assert!(plain.starts_with("HTTP/1.1 426 ") && plain.contains("this is a WebSocket"), "{plain}");
    let elsewhere = asked(&hub, "/fanfare", "Origin: https://evil.example\r\n").await;
    assert!(
        elsewhere.starts_with("HTTP/1.1 403 ") && elsewhere.contains("https://evil.example"),
        "{elsewhere}"
    );
    assert!(asked(&hub, "/elsewhere", "").await.starts_with("HTTP/1.1 404 "));
    let refused = Socket::open(&hub.websocket(), &hub.roots, &[("origin", "https://evil.example")]).await;
    let refused = refused.err().expect("the page of another origin was let in").to_string();
    assert!(refused.contains("403"), "{refused}");
    let own = Socket::open(&hub.websocket(), &hub.roots, &[("origin", "http://localhost:4480")]).await;
    assert!(own.is_ok(), "a page of this machine may, in development: {:?}", own.err());
    hub.stop().await;
}

/// A connection behind the upgrade, on which any bytes can be written.
async fn raw(hub: &Hub) -> Box<dyn Carrier> {
    let url = hub.websocket().parse().unwrap();
    let mut carrier = dial(&url, &hub.roots).await.unwrap();
    let request = "GET /fanfare HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Protocol: fanfare.1\r\n\r\n";
    within(carrier.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(within(carrier.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(
        answer.starts_with("http/1.1 101 ") && answer.contains("sec-websocket-protocol: fanfare.1"),
        "{answer}"
    );
    assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    carrier
}

/// A client's message: masked with zeros, which changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126, "a short one");
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Promise 12 over WebSocket: each of these costs its sender the connection, and nobody else anything.
#[tokio::test]
async fn promise_12_what_is_no_websocket_message_ends_its_connection_alone() {
    let hub = hub().await;
    let bystander = hub.client("bystander").await;
    let hello = codec::encode_client(&hello("mallory"));
    let longest = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let beyond = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let fragments = [masked(0x02, &[STREAM; 100]), masked(0x00, &[0; 100]).repeat(700)].concat();
    let cases: [(&str, Vec<u8>); 10] = [
        ("not masked", [&[0x82, 1, STREAM][..]].concat()),
        ("a reserved bit", masked(0xf2, &[STREAM])),
        ("an unknown opcode", masked(0x83, &[STREAM])),
        ("a continuation of nothing", masked(0x80, &[STREAM])),
        ("a ping of many pieces", masked(0x09, b"x")),
        ("a close of one byte", masked(0x88, b"x")),
        ("the greatest length", longest.to_vec()),
        ("one byte too long", beyond.to_vec()),
        ("pieces that are too long together", fragments),
        ("text that is no text", masked(0x81, &[0xff, 0xfe])),
    ];
    for (what, bytes) in cases {
        for is_welcomed in [false, true] {
            let mut carrier = raw(&hub).await;
            if is_welcomed {
                within(carrier.write_all(&masked(0x82, &[&[STREAM], &hello[..]].concat()))).await.unwrap();
                eventually("mallory is welcomed", || hub.server.population().connections == 2).await;
            }
            // It may be closed before the last byte.
            let _ = within(carrier.write_all(&bytes)).await;
            let mut rest = Vec::new();
            let _ = within(carrier.read_to_end(&mut rest)).await;
            eventually(what, || hub.server.population().connections == 1).await;
        }
    }
    let mut text = welcomed(&hub, "mallory").await;
    within(text.stream.send(Message::text("text is no frame"))).await.unwrap();
    let (last, _) = text.end().await;
    let Some(ServerFrame::Goodbye { code, .. }) = last else { panic!("no goodbye: {last:?}") };
    assert_eq!(code, Code::StreamReset.number());
    assert_eq!(bystander.count(Target::All).await.unwrap(), 1);
    hub.stop().await;
}

/// Promise 12: pings without end from somebody who reads nothing. What is owed for them is bounded: the server stops
/// reading, and the sender's own writing stops.
#[tokio::test]
async fn a_peer_that_pings_and_does_not_read_is_owed_no_more_than_its_share() {
    let hub = hub().await;
    let bystander = hub.client("bystander").await;
    let mut carrier = raw(&hub).await;
    let hello = codec::encode_client(&hello("mallory"));
    within(carrier.write_all(&masked(0x82, &[&[STREAM], &hello[..]].concat()))).await.unwrap();
    let pings = masked(0x89, &[0; 125]).repeat(1_000);
    let mut written = 0;
    let blocked = loop {
        match tokio::time::timeout(Duration::from_secs(2), carrier.write(&pings)).await {
            Ok(Ok(count)) if written < 64 << 20 => written += count,
            Ok(other) => panic!("{written} bytes of pings were taken, and then {other:?}"),
            Err(_) => break written,
        }
    };
    assert!(blocked > 0, "nothing was taken");
    assert_eq!(bystander.count(Target::All).await.unwrap(), 2);
    drop(carrier);
    hub.server.drain().await;
}

#[tokio::test]
async fn whoever_says_nothing_behind_the_upgrade_is_told_so_in_time() {
    let hub = with(|config| config.handshake_deadline = Duration::from_millis(300)).await;
    let mut socket = Socket::open(&hub.websocket(), &hub.roots, &[]).await.unwrap();
    let (last, end) = socket.end().await;
    let Some(ServerFrame::Goodbye { code, .. }) = last else { panic!("no goodbye: {last:?}") };
    assert_eq!(code, Code::HandshakeTimeout.number());
    assert!(matches!(end, SocketEnd::Closed(4_000, _)), "{end:?}");
    hub.stop().await;
}

#[tokio::test]
async fn the_bounds_on_connections_count_websockets_too() {
    let hub = with(|config| config.capacity.per_address = 2).await;
    let _native = hub.client("alice").await;
    let _socket = welcomed(&hub, "bob").await;
    let mut third = Socket::open(&hub.websocket(), &hub.roots, &[]).await.unwrap();
    let (last, _) = third.end().await;
    let Some(ServerFrame::Goodbye { code, .. }) = last else { panic!("no goodbye: {last:?}") };
    assert_eq!(code, Code::AddressFull.number());
    hub.stop().await;
}

/// TCP does not say that a peer has vanished: it is asked, and has to answer.
#[tokio::test]
async fn a_peer_that_answers_no_pings_is_gone() {
    let hub = with(|config| config.idle_timeout = Duration::from_secs(1)).await;
    let mut reads = welcomed(&hub, "alice").await;
    let silent = welcomed(&hub, "bob").await;
    let reading = tokio::spawn(async move { reads.end().await });
    eventually("bob is gone", || hub.server.count(&Target::User(user("bob"))) == 0).await;
    assert_eq!(hub.server.count(&Target::User(user("alice"))), 1, "who answers is there");
    drop(silent);
    hub.stop().await;
    let (last, _) = within(reading).await.unwrap();
    assert!(matches!(last, Some(ServerFrame::Goodbye { .. })), "{last:?}");
}

/// A full line holds up pings and their answers. What is taken of what waits is a sign of life, too.
#[tokio::test]
async fn who_takes_what_waits_is_there_although_it_says_nothing() {
    let hub = with(|config| {
        config.idle_timeout = Duration::from_secs(1);
        config.outbox.overflow = Overflow::DropOldest;
    })
    .await;
    let mut carrier = raw(&hub).await;
    let hello = codec::encode_client(&hello("bob"));
    within(carrier.write_all(&masked(0x82, &[&[STREAM], &hello[..]].concat()))).await.unwrap();
    eventually("bob is welcomed", || hub.server.population().connections == 1).await;
    let (handle, payload) = (hub.server.hub(), vec![7; 60_000]);
    let (begun, mut taken) = (std::time::Instant::now(), vec![0; 16 * 1024]);
    let mut often = tokio::time::interval(Duration::from_millis(10));
    // Three times as long as it may be silent.
    while begun.elapsed() < Duration::from_secs(3) {
        often.tick().await;
        handle.user(user("bob")).send("E", payload.clone()).unwrap();
        within(carrier.read_exact(&mut taken)).await.expect("it was ended");
    }
    assert_eq!(hub.server.population().connections, 1);
    // And when it takes nothing it goes.
    eventually("bob has gone", || hub.server.population().connections == 0).await;
    drop(carrier);
    hub.stop().await;
}

/// Promise 6 over WebSocket.
#[tokio::test]
async fn promise_6_a_websocket_that_does_not_read_costs_itself_alone() {
    let hub = with(|config| {
        config.outbox = OutboxLimits { frames: 64, bytes: 1 << 20, ..OutboxLimits::default() };
        config.reader_deadline = Duration::from_secs(2);
    })
    .await;
    let native = hub.client("alice").await;
    native.join("room").await.unwrap();
    let mut slow = welcomed(&hub, "bob").await;
    slow.send(&join(1, "room")).await;
    eventually("bob is in", || hub.server.count(&Target::Group(group("room"))) == 2).await;
    let (handle, payload) = (hub.server.hub(), vec![7; 16_000]);
    let mut heard = 0;
    while hub.server.count(&Target::User(user("bob"))) == 1 {
        handle.group(group("room")).send("E", payload.clone()).unwrap();
        let _message = message(&native).await;
        heard += 1;
        assert!(heard < 100_000, "whoever does not read is still there");
    }
    let snapshot = hub.server.metrics();
    assert_eq!(snapshot.closed.get(&Code::SlowConsumer), Some(&1));
    drop(slow);
    hub.stop().await;
}

#[tokio::test]
async fn with_tls_it_is_the_same_and_the_certificate_can_be_replaced() {
    let hub = Hub::with(|config| config.web = Some(SocketAddr::from(([127, 0, 0, 1], 0)))).await;
    assert!(hub.websocket().starts_with("wss://"));
    let mut socket = welcomed(&hub, "alice").await;
    let other = tempfile::tempdir().unwrap();
    let leaf = fanfare_certs::server_leaf(other.path(), &[]).unwrap();
    let roots = std::sync::Arc::new(fanfare_certs::load_roots(&leaf.ca_certificate).unwrap());
    let identity = fanfare_server::Identity { chain: leaf.identity.chain, key: leaf.identity.key };
    hub.server.replace_identity(identity).unwrap();
    assert!(Socket::open(&hub.websocket(), &hub.roots, &[]).await.is_err(), "the old certificate is shown");
    let _new = Socket::welcomed(&hub.websocket(), &roots, "bob").await;
    socket.send(&ClientFrame::Count { request: 1, target: Target::All }).await;
    assert!(matches!(frame(&mut socket).await, ServerFrame::Ack { count: 2, .. }), "who is there stays");
    hub.stop().await;
}

/// Silence of many, in TLS and in HTTP, from one address: others get in.
#[tokio::test]
async fn silent_visitors_keep_nobody_out() {
    let hub = Hub::with(|config| {
        config.web = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.refuse_above = 8;
    })
    .await;
    let url: url::Url = hub.websocket().parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        let address = (url.host_str().unwrap(), url.port().unwrap());
        silent.push(within(tokio::net::TcpStream::connect(address)).await.unwrap());
    }
    let _welcomed = welcomed(&hub, "alice").await;
    drop(silent);
    hub.stop().await;
}

/// A client whose packets over UDP nobody answers.
fn cut_off(hub: &Hub, silence: &std::net::UdpSocket, name: &str) -> ClientConfig {
    let credential = fanfare_client::Credential::DevUser(user(name));
    ClientConfig::new(silence.local_addr().unwrap().to_string(), credential)
        .roots(fanfare_client::Roots::Store((*hub.roots).clone()))
        .websocket(WebSocket::At(hub.websocket()))
        .websocket_after(Duration::from_millis(100))
}

#[tokio::test]
async fn a_client_that_udp_does_not_reach_takes_the_websocket_by_itself() {
    let hub = hub().await;
    let silence = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let native = hub.client("alice").await;
    assert_eq!(native.transport(), Transport::Quic);
    native.join("room").await.unwrap();
    let client = within(Client::connect(cut_off(&hub, &silence, "bob"))).await.unwrap();
    assert_eq!(client.transport(), Transport::WebSocket);
    assert_eq!(client.join("room").await.unwrap(), 2);
    native.send_to_group("room", "E", "over QUIC").await.unwrap();
    assert_eq!(text(&client).await, "over QUIC");
    assert_eq!(text(&native).await, "over QUIC");
    client.send_to_group("room", "E", vec![7; 60_000]).await.unwrap();
    assert_eq!(message(&native).await.payload.len(), 60_000);
    assert_eq!(message(&client).await.payload.len(), 60_000);
    assert_eq!(client.count(Target::All).await.unwrap(), 2);
    within(client.close()).await.unwrap();
    eventually("bob has gone", || hub.server.population().connections == 1).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_client_on_a_websocket_is_told_why_it_ends_and_comes_back_where_it_may() {
    let hub = hub().await;
    let silence = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = within(Client::connect(cut_off(&hub, &silence, "bob"))).await.unwrap();
    client.join("room").await.unwrap();
    assert!(matches!(next(&client).await, Event::Joined { .. }));
    let before = client.connection_id();
    let who = Who::User(user("bob"));
    hub.act(Action::Close { who, retry_after_ms: 10, reason: "for a moment".to_owned() }).await.unwrap();
    assert!(matches!(next(&client).await, Event::Goodbye { .. }));
    let Event::Disconnected { reason: Disconnect::Closed { code, .. }, retry_in: Some(_) } =
        next(&client).await
    else {
        panic!("not disconnected with a code");
    };
    assert_eq!(code, Code::ClosedForNow.number());
    let Event::Reconnected { rejoined, .. } = next(&client).await else { panic!("not reconnected") };
    assert_eq!(rejoined, [group("room")]);
    assert_ne!(client.connection_id(), before);
    assert_eq!(client.transport(), Transport::WebSocket);
    let ban = Action::Ban { user: user("bob"), until: None, reason: "enough".to_owned(), dry_run: false };
    hub.act(ban).await.unwrap();
    let ended = loop {
        if let Event::Closed { reason, .. } = next(&client).await {
            break reason;
        }
    };
    let CloseReason::Ended(Disconnect::Closed { code, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(code, Code::UserBanned.number());
    let refused = within(Client::connect(cut_off(&hub, &silence, "bob"))).await.unwrap_err();
    assert!(
        matches!(refused, ConnectError::Refused { code, .. } if code == Code::UserBanned.number()),
        "{refused}"
    );
    hub.stop().await;
}

/// A certificate is shown over QUIC alone: over a WebSocket it would be refused for good.
#[tokio::test]
async fn who_shows_a_certificate_waits_for_udp() {
    let hub = hub().await;
    let silence = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // Any will do, since nobody looks at it.
    let (certificate, key) = (hub.state().join("server.pem"), hub.state().join("server-key.pem"));
    let server = silence.local_addr().unwrap().to_string();
    let lost = ClientConfig::with_certificate(server, certificate, key)
        .roots(fanfare_client::Roots::Store((*hub.roots).clone()))
        .websocket(WebSocket::At(hub.websocket()))
        .websocket_after(Duration::ZERO)
        .connect_timeout(Duration::from_millis(300));
    let error = within(Client::connect(lost)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    hub.stop().await;
}

#[tokio::test]
async fn where_neither_way_leads_to_a_server_the_error_is_about_the_one_that_was_asked_for() {
    let hub = hub().await;
    let silence = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lost = cut_off(&hub, &silence, "bob")
        .websocket(WebSocket::At(format!("ws://{nobody}/fanfare")))
        .connect_timeout(Duration::from_millis(500));
    let error = within(Client::connect(lost)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    // Another path is no WebSocket, and QUIC is there.
    let elsewhere = hub
        .client_config("bob")
        .websocket(WebSocket::At(hub.websocket().replace("/fanfare", "/elsewhere")))
        .websocket_after(Duration::ZERO);
    let client = within(Client::connect(elsewhere)).await.unwrap();
    assert_eq!(client.transport(), Transport::Quic);
    hub.stop().await;
}
