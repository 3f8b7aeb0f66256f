//! How long it takes to get someone out: a user with 1,000 connections in a group of 10,000, revoked.
//!
//! `cargo bench -p fanfare-tests --bench revoke`. Everything is real: connections over QUIC, the ban on the disk, the
//! audit. Each round is a revoke, a restore and 1,000 joins; what is printed is the server's own receipts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on must say where, and prints what it found"
)]

use fanfare_protocol::admin::{Action, Receipt};
use fanfare_protocol::{ClientFrame, Pattern, Target};
use fanfare_tests::peer::{Dialer, Peer};
use fanfare_tests::{Hub, eventually, group, user};

const MEMBERS: usize = 10_000;
const REVOKED: usize = 1_000;
const ROUNDS: usize = 11;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let hub = Hub::with(|config| {
        config.capacity.per_address = MEMBERS;
        config.capacity.per_user = REVOKED;
        config.retry_above = MEMBERS;
    })
    .await;
    let dialer = Dialer::new(&hub.roots);
    let mut peers: Vec<Peer> = Vec::new();
    for number in 0..MEMBERS {
        let name = if number < REVOKED { "mallory".to_owned() } else { format!("user {number}") };
        let (mut peer, _) = dialer.welcomed(hub.address(), &name).await;
        join(&mut peer).await;
        peers.push(peer);
        if number % 1_000 == 999 {
            println!("{} connections", number + 1);
        }
    }
    all_joined(&hub).await;

    let mut receipts: Vec<Receipt> = Vec::new();
    for _ in 0..ROUNDS {
        let receipt = hub
            .act(Action::Revoke {
                user: user("mallory"),
                groups: Pattern::new("room").unwrap(),
                until: None,
                reason: "benchmark".to_owned(),
                dry_run: false,
            })
            .await
            .unwrap();
        assert_eq!(receipt.connections, REVOKED as u64);
        assert_eq!(hub.server.count(&Target::Group(group("room"))), MEMBERS - REVOKED);
        println!(
            "{:>6.2} ms from the request to the receipt; {:>6.2} ms of it to remove {} of {MEMBERS}",
            milliseconds(receipt.took_us),
            milliseconds(receipt.acted_us),
            receipt.connections,
        );
        receipts.push(receipt);
        let restore = Action::Restore {
            user: user("mallory"),
            groups: Pattern::new("room").unwrap(),
            reason: String::new(),
        };
        hub.act(restore).await.unwrap();
        for peer in peers.iter_mut().take(REVOKED) {
            join(peer).await;
        }
        all_joined(&hub).await;
    }
    let median = |time: fn(&Receipt) -> u64| {
        let mut times: Vec<u64> = receipts.iter().map(time).collect();
        times.sort_unstable();
        milliseconds(times[times.len() / 2])
    };
    let (took, acted) = (median(|receipt| receipt.took_us), median(|receipt| receipt.acted_us));
    println!("median of {ROUNDS}: {took:.2} ms in all, {acted:.2} ms to remove");
    drop(peers);
}

async fn join(peer: &mut Peer) {
    peer.send(&ClientFrame::Join { request: 1, group: group("room") }).await;
}

async fn all_joined(hub: &Hub) {
    eventually("all have joined", || hub.server.count(&Target::Group(group("room"))) == MEMBERS).await;
}

#[expect(clippy::cast_precision_loss, reason = "of microseconds of a benchmark, nothing is lost")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000.0
}
