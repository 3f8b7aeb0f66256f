//! One address shuts the door for nobody else: handshakes that fall silent, proofs that are played again, connections
//! that ask nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare_protocol::ALPN;
use fanfare_protocol::admin::{ADMIN_ALPN, Question, Role, Status};
use fanfare_tests::operators::connect;
use fanfare_tests::peer::Dialer;
use fanfare_tests::silent::Silent;
use fanfare_tests::{Hub, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

fn loopback(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, number])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_handshakes_from_some_addresses_keep_nobody_else_out() {
    let hub = Hub::with(|config| (config.retry_above, config.refuse_above) = (8, 64)).await;
    let mut floods = Vec::new();
    // One of them has half of the places, two have all, and with three some of them have lost theirs.
    for number in 2..5 {
        let mut flood = Silent::from(loopback(number), hub.address(), &hub.roots, ALPN).await;
        flood.begin(80);
        let refused = usize::from(number - 1) * 40;
        eventually("they are refused", || hub.server.metrics().handshakes_refused >= refused as u64).await;
        floods.push(flood);
        let dialer = Dialer::new(&hub.roots);
        for newcomer in 0..50 {
            let (peer, _) = dialer.welcomed(hub.address(), &format!("user {newcomer}")).await;
            drop(peer);
        }
    }
    let metrics = hub.server.metrics();
    assert_eq!(metrics.welcomed, 150);
    // Each newcomer leaves its place to the next.
    assert!(metrics.handshakes_evicted >= 1, "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_of_an_address_counts_once() {
    let hub = Hub::with(|config| {
        (config.retry_above, config.refuse_above) = (0, 1_000);
        config.handshake_deadline = Duration::from_millis(500);
    })
    .await;
    let mut flood = Silent::from(loopback(2), hub.address(), &hub.roots, ALPN).await;
    flood.begin(50);
    eventually("they have begun", || hub.server.metrics().handshakes >= 50).await;
    flood.vanish();
    eventually("they have ended", || hub.server.metrics().lost + closed(&hub) >= 50).await;
    // quinn knows a connection for some time after its end, and takes what comes for it.
    let until = Instant::now() + fanfare_tests::DEADLINE;
    while hub.server.metrics().proofs_replayed < 200 {
        assert!(Instant::now() < until, "{:?}", hub.server.metrics());
        assert!(flood.replay().await >= 50);
        tokio::task::yield_now().await;
    }
    assert_eq!(hub.server.metrics().handshakes, 50, "a packet that was played again began a handshake");
}

fn closed(hub: &Hub) -> u64 {
    hub.server.metrics().closed.values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_get_in_beside_silent_handshakes() {
    let hub = Hub::start().await;
    let address = hub.server.admin_address().unwrap();
    let mut flood = Silent::from(loopback(2), address, &hub.roots, ADMIN_ALPN).await;
    flood.begin(400);
    eventually("they are refused", || hub.server.metrics().handshakes_refused >= 100).await;
    for number in 0..10 {
        let oncall = connect(&hub, &format!("oncall-{number}"), Role::Viewer).await;
        let _: Status = within(oncall.ask(&Question::Status {})).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_beside_connections_that_ask_nothing() {
    let hub = Hub::with(|config| config.http = Some(([127, 0, 0, 1], 0).into())).await;
    let address = hub.server.http_address().unwrap();
    let mut silent: Vec<TcpStream> = Vec::new();
    // One from each of as many addresses as there are places, and then many from a few.
    let one_each = (10..74).map(|number| (number, 1));
    for (number, each) in one_each.chain((2..5).map(|number| (number, 64))) {
        for _ in 0..each {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((loopback(number), 0).into()).unwrap();
            silent.push(within(socket.connect(address)).await.unwrap());
        }
        // Also from an address that asks nothing with other connections.
        for from in [1, 2] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((loopback(from), 0).into()).unwrap();
            let mut probe = within(socket.connect(address)).await.unwrap();
            probe.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            within(probe.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        }
    }
}

/// Newcomers and somebody who is there, beside 420 silent handshakes a second from one address and every proof played
/// again. `cargo test --workspace --test door -- --ignored --nocapture` prints what they see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a benchmark"]
async fn what_others_see_of_a_flood() {
    let hub = Hub::with(|config| config.handshake_deadline = Duration::from_secs(5)).await;
    let there = hub.client("there").await;
    for flooding in [false, true] {
        // With threads of its own, as a flood has machines of its own; the processors are shared all the same.
        let stop = Arc::new(AtomicBool::new(!flooding));
        let (address, roots, over) = (hub.address(), Arc::clone(&hub.roots), Arc::clone(&stop));
        let flood = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut flood = Silent::from(loopback(2), address, &roots, ALPN).await;
                let mut tick = tokio::time::interval(Duration::from_millis(10));
                let mut replayed = 0;
                while !over.load(Ordering::Relaxed) {
                    tick.tick().await;
                    flood.begin(4);
                    if replayed < 5_300 * 10 {
                        replayed += flood.replay_some(53).await;
                    }
                }
            });
        });
        let (mut trips, mut got_in, mut tried) = (Vec::new(), 0, 0);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for turn in 0..1_000 {
            tick.tick().await;
            let sent = Instant::now();
            within(there.count(fanfare_protocol::Target::All)).await.unwrap();
            trips.push(sent.elapsed());
            if turn % 10 == 0 {
                tried += 1;
                let config =
                    hub.client_config("newcomer").reconnect(None).connect_timeout(Duration::from_secs(5));
                got_in += u32::from(fanfare_client::Client::connect(config).await.is_ok());
            }
        }
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        trips.sort();
        let metrics = hub.server.metrics();
        println!(
            "flood {flooding}: {got_in} of {tried} newcomers got in, round trips p50 {:?} p99 {:?} max {:?}; refused {}, replayed {}",
            trips[trips.len() / 2],
            trips[trips.len() * 99 / 100],
            trips[trips.len() - 1],
            metrics.handshakes_refused,
            metrics.proofs_replayed,
        );
    }
}
