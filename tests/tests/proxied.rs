//! Behind a load balancer: clients over TCP are who they are, and nobody can say that they are somebody else.
//!
//! haproxy is a real one, with the configurations that OPERATIONS.md has. Its clients come from addresses of loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_client::OperatorClient;
use fanfare_protocol::admin::{ConnectionRow, Listing, Page, Question, Role};
use fanfare_protocol::{Code, ServerFrame};
use fanfare_server::{Config, Connecting, Methods, Network, Refusal};
use fanfare_tests::haproxy::{Haproxy, examples};
use fanfare_tests::peer::hello;
use fanfare_tests::signalr::SignalR;
use fanfare_tests::socket::{Carrier, Socket, connect_from, encrypt};
use fanfare_tests::{Hub, eventually, operators, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What haproxy comes from, and who else is trusted.
const PROXY: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Two clients.
const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const EVE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A PROXY header of version 2, over TCP from this client.
fn header(client: [u8; 4], port: u16) -> Vec<u8> {
    let (port, rest) = (port.to_be_bytes(), [10, 0, 0, 1]);
    [SIGNATURE, &[0x21, 0x11, 0, 12], &client, &rest, &port, &[1, 187]].concat()
}

fn behind_proxy(config: &mut Config) {
    config.web = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.trusted_proxies = vec![Network::from(IpAddr::from(PROXY))];
}

async fn hub(change: impl FnOnce(&mut Config)) -> Hub {
    Hub::with(|config| {
        behind_proxy(config);
        change(config);
    })
    .await
}

/// Where the server itself takes connections with TLS.
fn web(hub: &Hub) -> SocketAddr {
    let url: url::Url = hub.websocket().parse().unwrap();
    SocketAddr::from((PROXY, url.port().unwrap()))
}

async fn dial(hub: &Hub, from: IpAddr, to: SocketAddr) -> (Box<dyn Carrier>, SocketAddr) {
    let stream = connect_from(from, to).await.unwrap();
    let own = stream.local_addr().unwrap();
    (encrypt(stream, &hub.roots).await.unwrap(), own)
}

async fn open(
    hub: &Hub,
    from: IpAddr,
    to: SocketAddr,
    headers: &[(&'static str, &str)],
) -> (Socket, SocketAddr) {
    let (carrier, own) = dial(hub, from, to).await;
    (Socket::open_on(carrier, "wss://localhost/fanfare", headers).await.unwrap(), own)
}

/// A client that has said hello, and what it was answered.
async fn greeted(hub: &Hub, from: IpAddr, to: SocketAddr, name: &str) -> (Socket, SocketAddr, ServerFrame) {
    let (mut socket, own) = open(hub, from, to, &[]).await;
    socket.send(&hello(name)).await;
    let answer = socket.frame().await.unwrap();
    (socket, own, answer)
}

async fn signalr(hub: &Hub, from: IpAddr, to: SocketAddr, name: &str) -> (SignalR, SocketAddr) {
    let (carrier, own) = dial(hub, from, to).await;
    let url = format!("wss://localhost/signalr?user={name}");
    let mut client = SignalR::open_on(carrier, &url, &[]).await.unwrap();
    client.shake().await;
    (client, own)
}

/// Where an operator sees this user's one connection come from.
async fn seen(oncall: &OperatorClient, user: &str) -> SocketAddr {
    let page = Page { filter: user.to_owned(), ..Page::default() };
    let rows: Listing<ConnectionRow> = within(oncall.ask(&Question::Connections(page))).await.unwrap();
    assert_eq!(rows.rows.len(), 1, "{rows:?}");
    rows.rows[0].address.parse().unwrap()
}

/// Writes, and reads until the connection ends.
async fn ask(stream: &mut (impl Carrier + ?Sized), bytes: &[u8]) -> String {
    within(stream.write_all(bytes)).await.unwrap();
    let mut answer = Vec::new();
    // Reset, where something was not read.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn negotiate(headers: &str) -> String {
    format!(
        "POST /signalr/negotiate?user=bob HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
         Connection: close\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn clients_behind_a_proxy_are_who_they_are() {
    for (example, tells_port) in examples().iter().zip([true, false]) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        let methods = Methods::new().connected(move |(): (), connecting: Connecting| {
            notes.lock().unwrap().push((connecting.user().to_string(), connecting.address()));
            async { Ok::<(), Refusal>(()) }
        });
        let hub = Hub::assembled(tempfile::tempdir().unwrap(), behind_proxy, methods).await;
        let oncall = operators::connect(&hub, "oncall", Role::Viewer).await;
        let proxy = Haproxy::start(example, &hub).await;
        let (_bob, bobs, _) = greeted(&hub, BOB, proxy.address, "bob").await;
        let (_eve, eves) = signalr(&hub, EVE, proxy.address, "eve").await;
        for (user, own) in [("bob", bobs), ("eve", eves)] {
            let own = if tells_port { own } else { SocketAddr::new(own.ip(), 0) };
            assert_eq!(seen(&oncall, user).await, own, "{user}, {example}");
            assert!(asked.lock().unwrap().contains(&(user.to_owned(), own)), "{asked:?}");
        }
        // As before for who does not come through it.
        let (_carol, own, _) = greeted(&hub, IpAddr::from([127, 0, 0, 4]), web(&hub), "carol").await;
        assert_eq!(seen(&oncall, "carol").await, own);
        drop((oncall, proxy));
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_client_whose_share_is_full_locks_nobody_else_out() {
    for example in &examples() {
        let hub = hub(|config| config.capacity.per_address = 1).await;
        let proxy = Haproxy::start(example, &hub).await;
        let (_bob, _, welcome) = greeted(&hub, BOB, proxy.address, "bob").await;
        assert!(matches!(welcome, ServerFrame::Welcome(_)), "{welcome:?}");
        let (_, _, refused) = greeted(&hub, BOB, proxy.address, "bob").await;
        let ServerFrame::Goodbye { code, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(code, Code::AddressFull.number());
        let (_eve, _) = signalr(&hub, EVE, proxy.address, "eve").await;
        let (mut second, _) = {
            let (carrier, own) = dial(&hub, EVE, proxy.address).await;
            (SignalR::open_on(carrier, "wss://localhost/signalr?user=eve", &[]).await.unwrap(), own)
        };
        second.say(&serde_json::json!({ "protocol": "json", "version": 1 })).await;
        let end = second.end().await.unwrap().to_string();
        assert!(end.contains("address"), "{end}");
        drop(proxy);
        hub.stop().await;
    }
}

/// Promise: the pace of negotiations is each client's, and not the proxy's.
#[tokio::test]
async fn a_client_that_negotiates_too_often_slows_nobody_else_down() {
    let [_, http] = examples();
    let hub = hub(|_| {}).await;
    let proxy = Haproxy::start(&http, &hub).await;
    let one = "POST /signalr/negotiate?user=bob HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let flood = async {
        loop {
            let (mut bob, _) = dial(&hub, BOB, proxy.address).await;
            let last = negotiate("");
            let answers = ask(&mut *bob, (one.repeat(200) + &last).as_bytes()).await;
            if answers.contains(" 429 ") {
                break;
            }
        }
    };
    within(flood).await;
    let (mut eve, _) = dial(&hub, EVE, proxy.address).await;
    let answer = ask(&mut *eve, negotiate("").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(proxy);
    hub.stop().await;
}

#[tokio::test]
async fn who_forges_a_header_gains_nothing() {
    let [tcp, http] = examples();
    let careless = http.replace("    http-request del-header Forwarded\n", "");
    assert_ne!(http, careless);
    let hub = hub(|_| {}).await;
    let oncall = operators::connect(&hub, "oncall", Role::Viewer).await;
    let own = IpAddr::from([127, 0, 0, 4]);
    let strangers = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1, \""),
        ("forwarded", "for=203.0.113.9"),
        ("forwarded", "for=\"203.0.113.9, for=\\\""),
    ];
    for example in [&http, &tcp] {
        let proxy = Haproxy::start(example, &hub).await;
        for forged in strangers {
            let (mut socket, _) = open(&hub, BOB, proxy.address, &[forged]).await;
            socket.send(&hello("bob")).await;
            assert!(matches!(socket.frame().await.unwrap(), ServerFrame::Welcome(_)));
            assert_eq!(seen(&oncall, "bob").await.ip(), BOB, "{forged:?}");
            drop(socket);
            hub.is_empty().await;
        }
    }
    // A proxy that lets a header through which it does not set.
    let proxy = Haproxy::start(&careless, &hub).await;
    for forged in ["Forwarded: for=203.0.113.9\r\n", "Forwarded: \"\r\n"] {
        let (mut carrier, _) = dial(&hub, BOB, proxy.address).await;
        let answer = ask(&mut *carrier, negotiate(forged).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("Forwarded and X-Forwarded-For name different clients"), "{answer}");
    }
    // Nobody in front.
    for forged in strangers {
        let (mut socket, address) = open(&hub, own, web(&hub), &[forged]).await;
        socket.send(&hello("bob")).await;
        assert!(matches!(socket.frame().await.unwrap(), ServerFrame::Welcome(_)));
        assert_eq!(seen(&oncall, "bob").await, address, "{forged:?}");
        drop(socket);
        hub.is_empty().await;
    }
    drop((oncall, proxy));
    hub.stop().await;
}

#[tokio::test]
async fn a_proxy_header_counts_from_a_proxy_alone() {
    let hub = hub(|_| {}).await;
    let oncall = operators::connect(&hub, "oncall", Role::Viewer).await;
    let stranger = IpAddr::from([127, 0, 0, 4]);
    let lost = || hub.server.metrics().lost;
    // It is no TLS, and no request.
    let before = lost();
    let mut forged = connect_from(stranger, web(&hub)).await.unwrap();
    ask(&mut forged, &header([203, 0, 113, 9], 9)).await;
    eventually("the handshake that broke is counted", || lost() == before + 1).await;
    let plain = hub.server.http_address().unwrap();
    let mut forged = connect_from(stranger, plain).await.unwrap();
    let request = [&header([203, 0, 113, 9], 9)[..], negotiate("").as_bytes()].concat();
    let answer = ask(&mut forged, &request).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    // From the proxy it is believed, in any pieces, before TLS and without.
    for from in [[203, 0, 113, 9], [198, 51, 100, 7]] {
        let mut stream = connect_from(IpAddr::from(PROXY), web(&hub)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in header(from, 4711) {
            within(stream.write_all(&[byte])).await.unwrap();
        }
        // It hides nothing from whoever speaks TLS behind it, and a header of HTTP is the client's.
        let carrier = encrypt(stream, &hub.roots).await.unwrap();
        let headers = [("x-forwarded-for", "192.0.2.77")];
        let mut socket = Socket::open_on(carrier, "wss://localhost/fanfare", &headers).await.unwrap();
        socket.send(&hello("bob")).await;
        assert!(matches!(socket.frame().await.unwrap(), ServerFrame::Welcome(_)));
        assert_eq!(seen(&oncall, "bob").await, SocketAddr::from((from, 4711)));
        drop(socket);
        hub.is_empty().await;
    }
    let mut stream = connect_from(IpAddr::from(PROXY), plain).await.unwrap();
    within(stream.write_all(&header([203, 0, 113, 9], 4711))).await.unwrap();
    let carrier: Box<dyn Carrier> = Box::new(stream);
    let mut socket = Socket::open_on(carrier, "ws://localhost/fanfare", &[]).await.unwrap();
    socket.send(&hello("bob")).await;
    assert!(matches!(socket.frame().await.unwrap(), ServerFrame::Welcome(_)));
    assert_eq!(seen(&oncall, "bob").await, SocketAddr::from(([203, 0, 113, 9], 4711)));
    drop((socket, oncall));
    hub.stop().await;
}

#[tokio::test]
async fn a_proxy_header_that_is_none_ends_the_connection() {
    let hub = hub(|_| {}).await;
    let broken = [
        [SIGNATURE, &[0x31, 0x11, 0, 12]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0, 4, 1, 2, 3, 4]].concat(),
        [SIGNATURE, &[0x21, 0x11, 255, 255]].concat(),
        b"\r\nno signature".to_vec(),
    ];
    // Version 1 is no TLS.
    let first = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 443\r\n".to_vec();
    for (number, bytes) in (1..).zip(broken.iter().chain([&first])) {
        let mut stream = connect_from(IpAddr::from(PROXY), web(&hub)).await.unwrap();
        let answer = ask(&mut stream, bytes).await;
        assert!(!answer.contains("HTTP"), "{answer}");
        eventually("it is counted", || hub.server.metrics().lost == number).await;
    }
    hub.stop().await;
}

/// The deadline of handshakes, and not that of visits, which is half a minute.
#[tokio::test]
async fn who_says_nothing_before_the_first_request_is_gone_at_the_deadline_of_handshakes() {
    let hub = hub(|config| config.handshake_deadline = Duration::from_millis(300)).await;
    for (number, beginning) in
        (1..).zip([&SIGNATURE[..5], &header([203, 0, 113, 9], 1)[..], b"\x16\x03\x01", b""])
    {
        let mut stream = connect_from(IpAddr::from(PROXY), web(&hub)).await.unwrap();
        within(stream.write_all(beginning)).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{beginning:?} is not ended");
        let closed = || hub.server.metrics().closed.get(&Code::HandshakeTimeout).copied();
        eventually("it is counted", || closed() == Some(number)).await;
    }
    hub.stop().await;
}

/// Silence of many behind a proxy, from one client: it has its share, and another one of that proxy keeps its place.
#[tokio::test]
async fn silent_clients_of_a_proxy_cost_nobody_else_a_place() {
    let [tcp, _] = examples();
    let hub = hub(|config| config.refuse_above = 8).await;
    let proxy = Haproxy::start(&tcp, &hub).await;
    // With TLS it is known whose each is.
    let (eve, _) = dial(&hub, EVE, proxy.address).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(dial(&hub, BOB, proxy.address).await);
    }
    let metrics = hub.server.metrics();
    assert_eq!(
        (metrics.handshakes_evicted, metrics.handshakes_refused),
        (8, 0),
        "half of the places are bob's"
    );
    let mut socket = Socket::open_on(eve, "wss://localhost/fanfare", &[]).await.unwrap();
    socket.send(&hello("eve")).await;
    assert!(matches!(socket.frame().await.unwrap(), ServerFrame::Welcome(_)));
    drop((silent, proxy));
    hub.stop().await;
}

#[tokio::test]
async fn a_proxy_has_no_share_as_long_as_its_clients_are_not_known() {
    let hub = hub(|config| config.refuse_above = 8).await;
    let mut unknown = Vec::new();
    for _ in 0..7 {
        let stream = connect_from(IpAddr::from(PROXY), web(&hub)).await.unwrap();
        unknown.push(encrypt(stream, &hub.roots).await.unwrap());
    }
    for (number, carrier) in (1..).zip(unknown) {
        let client = format!("203.0.113.{number}");
        let headers = [("x-forwarded-for", client.as_str())];
        let mut socket = Socket::open_on(carrier, "wss://localhost/fanfare", &headers).await.unwrap();
        socket.send(&hello("bob")).await;
        assert!(matches!(socket.frame().await.unwrap(), ServerFrame::Welcome(_)), "{client}");
    }
    let metrics = hub.server.metrics();
    assert_eq!((metrics.handshakes_evicted, metrics.handshakes_refused), (0, 0));
    hub.stop().await;
}
