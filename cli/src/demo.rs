//! `fanfare demo`: a development server in this process, a crowd that chats on it, and the dashboard on top.
//!
//! In: how many users. Out: the dashboard, until it is quit. Invariants: everything is on loopback, and in a directory
//! that is gone afterwards; every task has ended when this returns.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_client::{Client, ClientConfig, Credential, OperatorConfig, Roots, UserName};
use fanfare_server::{Administration, Identity, OutboxLimits, Overflow, Server};
use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::operators::StateOperators;
use crate::output::may_colour;
use crate::proxy::Proxy;

const NAMES: [&str; 24] = [
    "ada",
    "alan",
    "barbara",
    "claude",
    "dennis",
    "donald",
    "edsger",
    "frances",
    "grace",
    "hedy",
    "john",
    "joan",
    "katherine",
    "ken",
    "leslie",
    "linus",
    "margaret",
    "niklaus",
    "radia",
    "ritchie",
    "sophie",
    "tim",
    "tony",
    "vint",
];
const ROOMS: [&str; 8] =
    ["lobby", "support", "room-1", "room-2", "room-3", "scores", "trades", "night-shift"];
/// Bytes of a message for one user; with many users each says less. Enough that who reads nothing is seen to be slow
/// within half a minute: that takes what its client keeps for it, and what QUIC does.
const WORDS: usize = 540_000;
/// One of so many reads nothing at all, to be seen.
const SLOW: usize = 15;
/// One of so many is far away, and one packet in two hundred is lost on the way there and back.
const FAR: usize = 10;
const FAR_AWAY: Duration = Duration::from_millis(70);
const LOST: f64 = 0.005;

pub(crate) async fn run(users: u16) -> Result<(), Failure> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Failure::usage("the demonstration is a dashboard, which needs a terminal"));
    }
    crate::top::refuse_unable().map_err(Failure::usage)?;
    let state = tempfile::tempdir().map_err(|error| {
        Failure::failed(format!("no directory for the demonstration: {error}; see TMPDIR"))
    })?;
    let directory = state.path().to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let leaf = fanfare_certs::server_leaf(&directory, &[])?;
        let admin = fanfare_certs::admin_leaf(&directory, &[])?;
        let operator = fanfare_certs::development_operator(&directory)?;
        Ok::<_, fanfare_certs::Error>((leaf, admin, operator))
    });
    let (leaf, admin, operator) = made.await.map_err(|error| Failure::failed(error.to_string()))??;
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let administration = Administration {
        listen: loopback,
        identity: Identity { chain: admin.identity.chain, key: admin.identity.key },
        operators: Arc::new(StateOperators::new(state.path())),
    };
    let identity = Identity { chain: leaf.identity.chain, key: leaf.identity.key };
    let server =
        Server::builder().listen(loopback).development().identity(identity).operators(administration);
    let server = server.configure(|config| {
        config.live_bytes = Some(crate::memory::live_bytes);
        // Who reads nothing stays, to be seen: also one that reads nothing at all.
        config.reader_deadline = Duration::ZERO;
        config.outbox = OutboxLimits { overflow: Overflow::DropOldest, ..OutboxLimits::default() };
    });
    let server = server.start().await?;
    let admin = server.admin_address().map(|address| address.to_string()).unwrap_or_default();

    let mut crowd = JoinSet::new();
    let words = (WORDS / usize::from(users).max(1)).clamp(200, 32_000);
    for number in 0..usize::from(users) {
        let name = NAMES.get(number % NAMES.len()).copied().unwrap_or("somebody");
        // Every third name comes again and again: somebody with several devices.
        let name =
            if number % 3 == 2 { name.to_owned() } else { format!("{name}-{}", number / NAMES.len() + 1) };
        let user = UserName::new(&name).map_err(|error| Failure::failed(error.to_string()))?;
        let mut address = server.address();
        if number % FAR == FAR - 1 {
            let proxy = Proxy::open(address).await.map_err(|error| Failure::failed(error.to_string()))?;
            address = proxy.address();
            crowd.spawn(proxy.run(FAR_AWAY, LOST));
        }
        let config = ClientConfig::new(address.to_string(), Credential::DevUser(user))
            .roots(Roots::Pem(leaf.ca_certificate.clone()));
        crowd.spawn(chat(config, number % SLOW == SLOW - 1, words));
    }
    let roots = Roots::Pem(operator.ca_certificate);
    let operator = OperatorConfig::new(admin, roots, operator.certificate, operator.key);
    let shown = fanfare_tui::run(operator, may_colour()).await;
    crowd.shutdown().await;
    server.drain().await;
    shown.map_err(|error| Failure::failed(error.to_string()))
}

/// Somebody who joins some rooms, says something now and then, and reads; or, if it is `slow`, does not read.
async fn chat(config: ClientConfig, slow: bool, words: usize) {
    let config = if slow { config.event_queue(1) } else { config };
    let Ok(client) = Client::connect(config).await else { return };
    let rooms: Vec<&str> = ROOMS.choose_multiple(&mut rand::rng(), 3).copied().collect();
    // The lobby is everybody's.
    for room in rooms.iter().chain(["lobby"].iter()) {
        let _ = client.join(*room).await;
    }
    let reading = async {
        // An event at a time, or none at all.
        while !slow && client.next().await.is_some() {}
        std::future::pending::<()>().await;
    };
    let talking = async {
        loop {
            let pause = Duration::from_millis(rand::rng().random_range(200..3_000));
            tokio::time::sleep(pause).await;
            let room = rooms.choose(&mut rand::rng()).copied().unwrap_or("lobby");
            // One whom the operator has banned from the room goes on in the others.
            let _ = client.send_to_group(room, "ReceiveMessage", vec![b'.'; words]).await;
        }
    };
    tokio::join!(reading, talking);
}
