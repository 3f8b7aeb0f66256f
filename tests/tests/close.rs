//! Promise 11: each end has its code, whatever waits on the path to the client.
//!
//! Seven reasons times four states of the path, for a bare peer and for the client; the browsers have the same matrix
//! in web/test/close.test.ts.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_client::{Client, ClientConfig, CloseReason, Credential, Disconnect, Event, Outgoing, Roots};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, ServerFrame};
use fanfare_server::OutboxLimits;
use fanfare_tests::lossy::Lossy;
use fanfare_tests::peer::{Dialer, Ended, Peer, Receiving};
use fanfare_tests::{Hub, eventually, user, within};
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Kicked,
    /// Closed by an operator, to come back after a time.
    ForNow,
    Banned,
    SignedOut,
    Drained,
    Malformed,
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing waits.
    Idle,
    /// Far more waits than QUIC takes; the client begins to read when it has been closed.
    QueueFull,
    /// The same, and the client never reads.
    Blocked,
    /// Messages come all the time, and three of a hundred packets are lost each way.
    Lossy,
}

const REASONS: [Reason; 7] = [
    Reason::Kicked,
    Reason::ForNow,
    Reason::Banned,
    Reason::SignedOut,
    Reason::Drained,
    Reason::Malformed,
    Reason::Slow,
];
const STATES: [State; 4] = [State::Idle, State::QueueFull, State::Blocked, State::Lossy];

impl Reason {
    fn code(self) -> Code {
        match self {
            Self::Kicked => Code::ClosedByOperator,
            Self::ForNow => Code::ClosedForNow,
            Self::Banned => Code::UserBanned,
            Self::SignedOut => Code::SignedOut,
            Self::Drained => Code::ShuttingDown,
            Self::Malformed => Code::MalformedFrame,
            Self::Slow => Code::SlowConsumer,
        }
    }

    fn act(self) -> Option<Action> {
        let (alice, reason) = (user("alice"), String::new());
        match self {
            Self::Kicked => Some(Action::Kick { who: Who::User(alice), reason }),
            Self::ForNow => Some(Action::Close { who: Who::User(alice), retry_after_ms: 60_000, reason }),
            Self::Banned => Some(Action::Ban { user: alice, until: None, reason, dry_run: false }),
            Self::SignedOut => Some(Action::SignOut { user: alice, reason }),
            Self::Drained | Self::Malformed | Self::Slow => None,
        }
    }
}

/// The bounds of an outbox that holds what is queued here, or that does not.
fn outbox(reason: Reason, state: State) -> OutboxLimits {
    match (reason, state) {
        (Reason::Slow, _) | (_, State::Idle) => OutboxLimits::default(),
        _ => OutboxLimits { bytes: 64 << 20, frames: 100_000, ..OutboxLimits::default() },
    }
}

/// How often 16 KiB wait, where something waits: many times what QUIC takes of it.
const WAITING: u32 = 256;

/// Who is closed.
enum Subject {
    Bare(quinn::Connection, Receiving),
    Client(Client),
}

/// What it heard: the code of the close, or else of the last word, or else of the stream's end.
type Heard = Result<u64, String>;

impl Subject {
    async fn hear(self, state: State) -> Heard {
        match self {
            Self::Bare(connection, receiving) => hear(connection, receiving, state).await,
            Self::Client(client) => loop {
                match within(client.next()).await.expect("it was told of its end") {
                    Event::Closed { reason: CloseReason::Ended(Disconnect::Closed { code, .. }), .. } => {
                        return Ok(code.into());
                    }
                    Event::Closed { reason, .. } => return Err(reason.to_string()),
                    _ => {}
                }
            },
        }
    }
}

async fn hear(connection: quinn::Connection, mut receiving: Receiving, state: State) -> Heard {
    let mut told = Vec::new();
    // Who never reads has the close alone.
    if state != State::Blocked {
        told.extend(last_words(&mut receiving).await);
    }
    match within(connection.closed()).await.into() {
        Ended::Code(code, _) => told.push(code),
        other if told.is_empty() => return Err(format!("{other:?}")),
        _ => {}
    }
    let first = told[0];
    if told.iter().all(|code| *code == first) { Ok(first) } else { Err(format!("it was told {told:?}")) }
}

/// What the stream says about its end.
async fn last_words(receiving: &mut Receiving) -> Option<u64> {
    let mut told = None;
    loop {
        match receiving.frame().await {
            Ok(ServerFrame::Goodbye { code, .. }) => told = Some(code.into()),
            Ok(_) => {}
            Err(Ended::Reset(code)) => return Some(code),
            Err(_) => return told,
        }
    }
}

async fn run(reason: Reason, state: State, bare: bool, seed: u64) -> Heard {
    let hub = Hub::with(|config| {
        config.outbox = outbox(reason, state);
        config.drain_deadline = Duration::from_secs(2);
    })
    .await;
    let proxy = match state {
        State::Lossy => Some(Lossy::to(hub.address(), 3, seed).await),
        _ => None,
    };
    let address = proxy.as_ref().map_or(hub.address(), |proxy| proxy.address);
    let (subject, id, mut sending) = if bare {
        let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], 64 * 1024);
        let (Peer { connection, sending, receiving }, id) = dialer.welcomed(address, "alice").await;
        (Subject::Bare(connection, receiving), id, Some(sending))
    } else {
        let config = ClientConfig::new(address.to_string(), Credential::DevUser(user("alice")))
            .roots(Roots::Store((*hub.roots).clone()))
            .event_queue(4)
            .reconnect(None);
        let client = within(Client::connect(config)).await.unwrap();
        let id = client.connection_id();
        (Subject::Client(client), id, None)
    };
    let sender = hub.client("sender").await;
    let payload = Bytes::from(vec![7; 16 * 1024]);
    let send = async || {
        let one = Outgoing::new("E", payload.clone()).to_connection(id);
        within(sender.send_acked(one)).await.unwrap()
    };
    if matches!(state, State::QueueFull | State::Blocked) && reason != Reason::Slow {
        for _ in 0..WAITING {
            assert_eq!(send().await, 1, "it was closed too early");
        }
    }
    // Who is slow does not read while it becomes so, and who never reads never does.
    let reads = matches!(state, State::Idle | State::Lossy) && reason != Reason::Slow;
    let (early, late) =
        if reads { (Some(tokio::spawn(subject.hear(state))), None) } else { (None, Some(subject)) };
    if state == State::Lossy && reason != Reason::Slow {
        for _ in 0..64 {
            assert_eq!(send().await, 1, "it was closed too early");
        }
    }
    let mut draining = None;
    match reason {
        Reason::Kicked | Reason::ForNow | Reason::Banned | Reason::SignedOut => {
            let act = reason.act().unwrap();
            assert_eq!(hub.act(act).await.unwrap().connections, 1);
        }
        Reason::Malformed => within(sending.as_mut().unwrap().0.write_all(&[1, 0, 0, 0, 255])).await.unwrap(),
        Reason::Slow => while send().await > 0 {},
        Reason::Drained => draining = Some(tokio::spawn(hub.server.drain())),
    }
    let heard = match (early, late) {
        (Some(early), _) => within(early).await.unwrap(),
        (None, Some(late)) => late.hear(state).await,
        (None, None) => unreachable!("it reads early or late"),
    };
    if let Some(draining) = draining {
        within(draining).await.unwrap();
    }
    heard
}

/// Each cell of the matrix, some at a time. Gives those that did not hear their code.
async fn matrix(bare: bool, seeds: u64) -> Vec<String> {
    let mut cells = JoinSet::new();
    let mut wrong = Vec::new();
    for reason in REASONS {
        for state in STATES {
            // A client says nothing that is malformed.
            if !bare && reason == Reason::Malformed {
                continue;
            }
            for seed in 0..if state == State::Lossy { seeds } else { 1 } {
                while cells.len() >= 8 {
                    wrong.extend(cells.join_next().await.unwrap().unwrap());
                }
                cells.spawn(async move {
                    let heard = run(reason, state, bare, seed).await;
                    let code = u64::from(reason.code().number());
                    (heard != Ok(code))
                        .then(|| format!("{reason:?}, {state:?}, {seed}: {heard:?} and not {code}"))
                });
            }
        }
    }
    while let Some(cell) = cells.join_next().await {
        wrong.extend(cell.unwrap());
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_peer_hears_the_code_of_every_close() {
    let wrong = matrix(true, 8).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A peer that has opened its stream and said half of a `Hello`, which the server has read.
async fn half_of_a_hello(dialer: &Dialer, server: SocketAddr) -> Peer {
    let mut half = dialer.peer(server).await;
    let connection = half.connection.clone();
    eventually("TLS is done over there, too", || connection.stats().frame_rx.handshake_done > 0).await;
    // What is acknowledged behind the second piece is the first at least.
    for piece in [&[9, 0][..], &[0]] {
        let before = connection.stats().frame_rx.acks;
        half.write(piece).await.unwrap();
        eventually("it was read", || connection.stats().frame_rx.acks > before).await;
    }
    half
}

/// Who is not welcomed yet is told, too: it heard 0, which means "for good", when the server stopped, or when its place
/// was needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_half_way_in_hears_a_code_that_lets_it_come_back() {
    let from = |number: u8, hub: &Hub| {
        Dialer::from([127, 0, 0, number].into(), &hub.roots, &[fanfare_protocol::ALPN], 64 * 1024)
    };
    let half_way = async |hub: &Hub, dialer: &Dialer| {
        let silent = dialer.dial(hub.address()).await.unwrap();
        eventually("TLS is done over there, too", || silent.stats().frame_rx.handshake_done > 0).await;
        (silent, half_of_a_hello(dialer, hub.address()).await)
    };
    let hub = Hub::with(|config| config.handshake_deadline = Duration::from_secs(60)).await;
    let dialer = Dialer::new(&hub.roots);
    let (silent, mut half) = half_way(&hub, &dialer).await;
    eventually("both have begun", || hub.server.metrics().handshakes == 2).await;
    let draining = tokio::spawn(hub.server.drain());
    let code = u64::from(Code::ShuttingDown.number());
    assert!(matches!(within(silent.closed()).await.into(), Ended::Code(told, _) if told == code));
    match half.frame().await {
        Ok(ServerFrame::Goodbye { code: told, retry_after_ms, .. }) => {
            assert_eq!((u64::from(told), retry_after_ms > 0), (code, true));
        }
        // QUIC's close may be there before the server has seen that there is a stream.
        Err(Ended::Code(told, _)) => assert_eq!(told, code),
        other => panic!("{other:?}"),
    }
    within(draining).await.unwrap();

    let hub = Hub::with(|config| {
        config.refuse_above = 4;
        config.handshake_deadline = Duration::from_secs(60);
    })
    .await;
    let mut there = Vec::new();
    for number in [2, 3] {
        let dialer = from(number, &hub);
        there.push((half_way(&hub, &dialer).await, dialer));
    }
    eventually("they have all places", || hub.server.metrics().handshakes == 4).await;
    let (newcomer, _) = Dialer::new(&hub.roots).welcomed(hub.address(), "newcomer").await;
    let mut ends = JoinSet::new();
    for connection in there.iter().flat_map(|((silent, half), _)| [silent, &half.connection]) {
        let connection = connection.clone();
        ends.spawn(async move { connection.closed().await });
    }
    let code = u64::from(Code::ServerFull.number());
    match within(ends.join_next()).await.unwrap().unwrap().into() {
        Ended::Code(told, _) => assert_eq!(told, code),
        other => panic!("{other:?}"),
    }
    assert!(Code::ServerFull.may_reconnect() && Code::ShuttingDown.may_reconnect());
    drop(newcomer);
}

/// Who is half way in and gone holds up nobody's last word: with a deadline of 2 s nobody heard `Goodbye`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_who_is_half_way_in_and_does_not_listen() {
    let hub = Hub::with(|config| {
        config.handshake_deadline = Duration::from_secs(60);
        config.drain_deadline = Duration::from_secs(2);
    })
    .await;
    let there = hub.client("there").await;
    let proxy = Lossy::to(hub.address(), 0, 1).await;
    let _half = half_of_a_hello(&Dialer::new(&hub.roots), proxy.address).await;
    drop(proxy);
    let draining = tokio::spawn(hub.server.drain());
    match within(there.next()).await {
        Some(Event::Goodbye { code, .. }) => assert_eq!(code, Code::ShuttingDown.number()),
        other => panic!("{other:?}"),
    }
    within(draining).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hears_the_code_of_every_close() {
    let wrong = matrix(false, 8).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
