//! What a server needs at most: driven to its limits by clients that do everything that costs memory, and measured.
//!
//! The reckoning is OPERATIONS.md's ("How much memory"); the server is the real binary, and counts by its allocator
//! what is in use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use fanfare_client::{Client, ClientConfig, Credential, Outgoing, Roots};
use fanfare_protocol::admin::{Question, Status};
use fanfare_protocol::{ALPN, ClientFrame, Target, codec};
use fanfare_tests::peer::Dialer;
use fanfare_tests::{user, within};
use support::Server;

/// What may wait for all of them.
const WAITING: u64 = 64 << 20;
/// What a connection costs at most beside that which acknowledges what it gets. OPERATIONS.md's figure has what it does
/// not, too.
const EACH: u64 = 400 * 1024;
/// And the server itself.
const ITSELF: u64 = 32 << 20;
/// How many there are: more than would fit with full outboxes.
const CONNECTIONS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_driven_to_its_limits_needs_no_more_than_the_manual_says() {
    let waiting = WAITING.to_string();
    let server = Server::with(&[
        "--dev",
        "--log=error",
        "--requests-per-second=0",
        "--reader-deadline=0s",
        &format!("--outbox-bytes-in-all={waiting}"),
        &format!("--outbox-bytes-per-user={waiting}"),
        &format!("--outbox-bytes-per-address={waiting}"),
    ]);
    let address = server.address.parse().unwrap();
    let roots = Arc::new(fanfare_certs::load_roots(&server.state().join("ca.pem")).unwrap());
    let operator = server.operator().await;
    let counters = async || -> fanfare_protocol::admin::Counters {
        let status: Status = within(operator.ask(&Question::Status {})).await.unwrap();
        status.counters
    };
    let config = ClientConfig::new(server.address.clone(), Credential::DevUser(user("sender")))
        .roots(Roots::Store((*roots).clone()));
    let sender = within(Client::connect(config)).await.unwrap();
    let dialer = Dialer::with(&roots, &[ALPN], 16 * 1024);

    let mut hogs = Vec::new();
    let (mut most, mut waited) = (0, 0);
    for number in 0..CONNECTIONS {
        let (mut hog, id) = dialer.welcomed(address, &format!("hog {}", number % 7)).await;
        // Nothing of it is read, and each message is another one.
        for _ in 0..10 {
            let sent = Outgoing::new("E", Bytes::from(vec![7; 60_000])).to_connection(id);
            if within(sender.send_acked(sent)).await.unwrap() == 0 {
                break;
            }
        }
        // Its requests are not read any more, as its answers would have no room: they fill its window, and so do
        // streams that it should not open, and datagrams.
        let requests: Vec<u8> = (0..20_000)
            .flat_map(|request| {
                codec::encode_client(&ClientFrame::Count { request, target: Target::All }).to_vec()
            })
            .collect();
        let mut strays = Vec::new();
        for _ in 0..3 {
            strays.push(within(hog.connection.open_uni()).await);
        }
        for stray in strays.iter_mut().flatten() {
            let _ = tokio::time::timeout(SOON, stray.write_all(&[0; 64 * 1024])).await;
        }
        let _ = tokio::time::timeout(SOON, hog.sending.0.write_all(&requests)).await;
        for _ in 0..64 {
            let _ = hog.connection.send_datagram(Bytes::from(vec![9; 1_000]));
        }
        hogs.push((hog, strays));
        if number % 10 == 9 {
            let counters = counters().await;
            // Whoever takes nothing goes when there is little room: how many wait at the end is a matter of the moment.
            (most, waited) = (most.max(counters.live_bytes), waited.max(counters.waiting_bytes));
        }
    }
    let counters = counters().await;
    (most, waited) = (most.max(counters.live_bytes), waited.max(counters.waiting_bytes));
    let may = ITSELF + CONNECTIONS * EACH + WAITING;
    println!(
        "{CONNECTIONS} connections: {waited} of {WAITING} bytes waited, {most} in use at most, and {may} may be; {:?}",
        counters.closed
    );
    assert!(waited >= WAITING / 2, "it was never near its limit: {counters:?}");
    assert!(waited <= WAITING);
    assert!(most <= may, "{most} bytes were in use, and {may} may be");
}

/// How long something is tried that is to be held up.
const SOON: std::time::Duration = std::time::Duration::from_millis(10);
