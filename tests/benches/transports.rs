//! What a delivery costs the server, to native clients and to WebTransport clients, saturated and paced.
//!
//! `cargo bench -p fanfare-tests --bench transports`. Server and clients run in one process, on threads of their own:
//! the processor time is that of the server's threads, as the system counts it for each (Linux). Every message is
//! counted at every receiver. The two transports take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that cannot go on must say where, and prints what it found"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{ALPN, ClientFrame, EventName, PayloadFormat, Send, Target};
use fanfare_tests::peer::{Dialer, hello};
use fanfare_tests::{Hub, eventually, group};
use tokio::runtime::{Builder, Runtime};
use web_transport_quinn::Session;

const RECEIVERS: usize = 200;
const ROUNDS: usize = 5;
/// Saturated: bursts, each of which is waited for, so that nobody is too slow.
const BURSTS: u64 = 60;
const BURST: u64 = 200;
/// Paced: 30 a second, so that nothing coalesces.
const PACED: u64 = 120;
const PAUSE: Duration = Duration::from_millis(33);

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

/// The nanoseconds that the server's threads have run.
fn server_time() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let time = |thread: std::io::Result<std::fs::DirEntry>| {
        let path = thread.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let ran = std::fs::read_to_string(path.join("schedstat")).ok()?;
        (name.trim() == "the-server").then(|| ran.split(' ').next()?.parse::<u64>().ok())?
    };
    threads.filter_map(time).sum()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Native,
    Web,
}

/// Connects a receiver and counts what comes.
async fn receiver(kind: Kind, dialer: &Dialer, server: SocketAddr, number: usize, count: Arc<AtomicU64>) {
    let connection = dialer.dial(server).await.unwrap();
    let name = format!("receiver {number}");
    let join = ClientFrame::Join { request: 1, group: group("room") };
    let first = [codec::encode_client(&hello(&name)), codec::encode_client(&join)].concat();
    // Welcome, Joined and Ack come before messages.
    let mut before = 3;
    let mut reader = FrameReader::new(u32::MAX);
    let mut counted = move |mut chunk: Bytes| {
        while let Ok(Some(_)) = reader.next_frame(&mut chunk) {
            if before > 0 {
                before -= 1;
            } else {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    match kind {
        Kind::Native => {
            let (mut sending, mut receiving) = connection.open_bi().await.unwrap();
            sending.write_all(&first).await.unwrap();
            while let Ok(Some(chunk)) = receiving.read_chunk(usize::MAX, true).await {
                counted(chunk.bytes);
            }
        }
        Kind::Web => {
            let url: url::Url =
                format!("https://{server}{}", fanfare_protocol::WEBTRANSPORT_PATH).parse().unwrap();
            let session = Session::connect(connection, url).await.unwrap();
            let (mut sending, mut receiving) = session.open_bi().await.unwrap();
            sending.write_all(&first).await.unwrap();
            while let Ok(Some(chunk)) = receiving.read_chunk(usize::MAX, true).await {
                counted(chunk.bytes);
            }
        }
    }
}

/// Nanoseconds of the server for each delivery: saturated, paced.
async fn measure(kind: Kind, server: SocketAddr, roots: &Arc<rustls::RootCertStore>) -> (f64, f64) {
    let protocols: &[&[u8]] = if kind == Kind::Native { &[ALPN] } else { &[b"h3"] };
    let count = Arc::new(AtomicU64::new(0));
    let dialer = Dialer::with(roots, protocols, 1 << 20);
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..RECEIVERS {
        let (dialer, count) = (dialer.clone(), Arc::clone(&count));
        crowd.spawn(async move { receiver(kind, &dialer, server, number, count).await });
    }
    let (mut sender, _) = Dialer::new(roots).welcomed(server, "sender").await;
    let mut joined = 0;
    while joined < RECEIVERS as u64 {
        sender.send(&ClientFrame::Count { request: 1, target: Target::Group(group("room")) }).await;
        if let Ok(fanfare_protocol::ServerFrame::Ack { count, .. }) = sender.frame().await {
            joined = count;
        }
    }
    let frame = codec::encode_client(&ClientFrame::Send(Send {
        request: 2,
        ack: false,
        to: vec![Target::Group(group("room"))],
        except: Vec::new(),
        others: false,
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Binary,
        payload: Bytes::from(vec![7; 64]),
    }));
    let burst = frame.repeat(usize::try_from(BURST).unwrap());
    let receivers = RECEIVERS as u64;
    let begun = server_time();
    for number in 1..=BURSTS {
        sender.write(&burst).await.unwrap();
        let due = number * BURST * receivers;
        eventually("the burst is there", || count.load(Ordering::Relaxed) >= due).await;
    }
    let saturated = (server_time() - begun) as f64 / (BURSTS * BURST * receivers) as f64;
    let begun = server_time();
    let mut paced = tokio::time::interval(PAUSE);
    for _ in 0..PACED {
        paced.tick().await;
        sender.write(&frame).await.unwrap();
    }
    let due = (BURSTS * BURST + PACED) * receivers;
    eventually("all are there", || count.load(Ordering::Relaxed) >= due).await;
    let paced = (server_time() - begun) as f64 / (PACED * receivers) as f64;
    assert_eq!(count.load(Ordering::Relaxed), due, "each exactly once");
    crowd.shutdown().await;
    (saturated, paced)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (servers, clients) = (runtime("the-server"), runtime("the-clients"));
    // Spawned, so that it runs on the server's threads alone.
    let hub =
        servers.block_on(servers.spawn(Hub::with(|config| config.retry_above = RECEIVERS * 2))).unwrap();
    let (server, roots) = (hub.address(), Arc::clone(&hub.roots));
    let mut found = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for round in 1..=ROUNDS {
        for (at, kind) in [Kind::Native, Kind::Web].into_iter().enumerate() {
            let roots = Arc::clone(&roots);
            let (saturated, paced) =
                clients.block_on(clients.spawn(async move { measure(kind, server, &roots).await })).unwrap();
            found[at].0.push(saturated);
            found[at].1.push(paced);
            servers.block_on(async {
                eventually("they are gone", || hub.server.population().connections == 0).await;
            });
        }
        println!("round {round} of {ROUNDS}");
    }
    let [mut native, mut web] = found;
    println!("server time for each delivery of 64 bytes to {RECEIVERS} receivers, median of {ROUNDS}:");
    for (what, native, web) in [
        ("saturated", median(&mut native.0), median(&mut web.0)),
        ("paced", median(&mut native.1), median(&mut web.1)),
    ] {
        println!(
            "{what:10} native {native:>7.0} ns   WebTransport {web:>7.0} ns   ratio {:.2}",
            web / native
        );
    }
    servers.block_on(servers.spawn(hub.stop())).unwrap();
}
