//! Promise 12: any bytes from any peer cost bounded memory and time, and end at worst in that peer's own connection.
//!
//! The table below is what a hostile peer does to a real server process, row by row: each row names how it ends, and is
//! done a hundred times over, with the bytes that the server has in use before and after: as its allocator counts them,
//! and not as the system does, because what an allocator keeps for later is not what a peer costs. In the background a
//! well-behaved client talks all the while and must not notice.
//! `cargo test -p fanfare-cli --test hostile -- --nocapture` prints the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_client::{Client, ClientConfig, OperatorClient, Outgoing, Roots};
use fanfare_protocol::admin::{Question, Status};
use fanfare_protocol::{
    ALPN, ClientFrame, Code, Credential, GroupName, ServerFrame, Target, UserName, codec,
};
use fanfare_tests::peer::{Dialer, Ended, Peer, hello};
use fanfare_tests::{DEADLINE, text, within};
use rustls::RootCertStore;
use support::Server;

/// How often each row is done, and how many at a time.
const TIMES: usize = 100;
const AT_ONCE: usize = 20;
/// What a row's hundred times may leave in use in the server: tables that have grown once. Less than three KiB an
/// attack, where a connection that is forgotten costs more than ten.
const MAY_KEEP: i64 = 256 * 1024;
/// What all rows together may: tables grow once, and not with each row.
const MAY_KEEP_IN_ALL: i64 = 2 * MAY_KEEP;
/// TLS alert 120 as a QUIC error (RFC 9001 section 4.8).
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// The server, as its peers see it.
struct Victim {
    /// Ends with the test.
    _server: Server,
    operator: OperatorClient,
    address: SocketAddr,
    roots: Arc<RootCertStore>,
}

impl Victim {
    async fn start() -> Self {
        let server = Server::with(&["--dev", "--log", "error"]);
        let address = server.address.parse().unwrap();
        let roots = Arc::new(fanfare_certs::load_roots(&server.state().join("ca.pem")).unwrap());
        let operator = server.operator().await;
        Self { _server: server, operator, address, roots }
    }

    /// Bytes that the server has in use.
    async fn live(&self) -> i64 {
        let status: Status = within(self.operator.ask(&Question::Status {})).await.unwrap();
        assert!(status.counters.live_bytes > 0, "the server's allocator does not count");
        i64::try_from(status.counters.live_bytes).unwrap()
    }

    /// Waits until at most `most` bytes more than `before` are in use, or for what is left when nothing more goes. What
    /// a connection had goes some time after its end: QUIC remembers it for three timeouts (RFC 9000 section 10.2).
    async fn settled(&self, before: i64, most: i64) -> i64 {
        let patience = tokio::time::Instant::now() + DEADLINE;
        loop {
            let live = self.live().await;
            if live - before <= most || tokio::time::Instant::now() > patience {
                return live;
            }
        }
    }
}

/// What the peer does.
#[derive(Debug, Clone)]
enum Action {
    /// Writes these bytes on a fresh connection, without `Hello`.
    Strange(Vec<u8>),
    /// Says `Hello`, is welcomed, and writes these.
    Known(Vec<u8>),
    /// Says `Hello` and these, and then finishes its stream.
    KnownThenFinish(Vec<u8>),
    /// Says `Hello` and these, and then resets its stream.
    KnownThenReset(Vec<u8>),
    /// Finishes its stream without a byte.
    FinishAtOnce,
    /// Says nothing.
    Silence,
    /// Writes half a `Hello`, and then nothing.
    HalfHello,
    /// Writes `Hello` and a request byte by byte, and ends politely.
    ByteByByte,
    /// Wants a thousand streams beside the one it may have, and then ends politely.
    StreamFlood,
    /// Breaks the QUIC connection off in the middle of a frame.
    VanishInMidFrame,
    /// Refuses to hear the server.
    StopListening,
    /// Speaks another protocol.
    OtherAlpn,
    /// Asks without end and reads nothing, then vanishes.
    AskAndNeverRead,
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], body].concat()
}

/// (what it is called, what it does, how it ends)
fn table() -> Vec<(&'static str, Action, String)> {
    use Action::*;
    let code = |code: Code| format!("code {}", code.number());
    let hello_bytes = codec::encode_client(&hello("hostile")).to_vec();
    let random: Vec<u8> = (0u32..20_000).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let too_long = 67_585u32.to_le_bytes().to_vec();
    let far_variant = framed(&[253, 255, 255, 255, 255, 255, 255, 255, 255]);
    let many_targets = framed(&[&[3, 1, 0, 253][..], &(1u64 << 60).to_le_bytes()].concat());
    let far_extension = framed(&[&[1, 1, 1, b'g', 8, 253][..], &(1u64 << 60).to_le_bytes()].concat());
    let join = codec::encode_client(&ClientFrame::Join { request: 1, group: GroupName::new("g").unwrap() });
    let half = vec![9, 0, 0, 0, 1];
    vec![
        ("garbage instead of Hello", Strange(random.clone()), code(Code::FrameTooLarge)),
        ("garbage after Hello", Known(random), code(Code::FrameTooLarge)),
        ("an HTTP/1.1 request", Strange(http), code(Code::FrameTooLarge)),
        ("a forged length of 4 GiB", Known(vec![0xff; 4]), code(Code::FrameTooLarge)),
        ("a length one above the limit", Known(too_long), code(Code::FrameTooLarge)),
        ("a frame of no bytes", Known(framed(&[])), code(Code::MalformedFrame)),
        ("an unknown request without its number", Known(framed(&[99])), code(Code::MalformedFrame)),
        ("a frame number of 2^64 - 1", Known(far_variant), code(Code::MalformedFrame)),
        ("a string longer than its frame", Known(framed(&[1, 1, 200, b'x'])), code(Code::MalformedFrame)),
        ("a list of 2^60 targets", Known(many_targets), code(Code::MalformedFrame)),
        ("a name that is not UTF-8", Known(framed(&[1, 1, 2, 0xc3, 0x28])), code(Code::MalformedFrame)),
        (
            "half an extension behind the frame's end",
            Known(framed(&[1, 1, 1, b'g', 0])),
            code(Code::MalformedFrame),
        ),
        ("an extension of 2^60 bytes", Known(far_extension), code(Code::MalformedFrame)),
        ("the largest frame, of zeros", Known(framed(&vec![0; 67_584])), code(Code::MalformedFrame)),
        ("a request instead of Hello", Strange(join.to_vec()), code(Code::HelloExpected)),
        ("Hello twice", Known(hello_bytes), code(Code::HelloRepeated)),
        ("another version", Strange(framed(&[0, 9, 0, 1, 1, b'x'])), code(Code::UnsupportedProtocol)),
        ("a token", Strange(framed(&[0, 1, 0, 0, 3, b'a', b'.', b'b'])), code(Code::TokensNotConfigured)),
        ("an empty user name", Strange(framed(&[0, 1, 0, 1, 0])), code(Code::InvalidName)),
        ("no Hello, a finished stream", FinishAtOnce, code(Code::HelloExpected)),
        ("no Hello, silence", Silence, code(Code::HandshakeTimeout)),
        ("half a Hello, silence", HalfHello, code(Code::HandshakeTimeout)),
        ("a stream that ends in mid-frame", KnownThenFinish(half.clone()), code(Code::TruncatedFrame)),
        ("a stream reset in mid-frame", KnownThenReset(half), code(Code::StreamReset)),
        ("a close in mid-frame", VanishInMidFrame, "its own close".into()),
        ("writes of one byte", ByteByByte, code(Code::Normal)),
        ("a flood of streams", StreamFlood, code(Code::Normal)),
        ("a peer that will not hear", StopListening, code(Code::StreamReset)),
        ("another ALPN protocol", OtherAlpn, format!("transport {NO_APPLICATION_PROTOCOL}")),
        ("endless requests, nothing read", AskAndNeverRead, "its own close".into()),
    ]
}

async fn known(dialer: &Dialer, server: SocketAddr, bytes: &[u8]) -> Peer {
    let (mut peer, _) = dialer.welcomed(server, "hostile").await;
    // The server may close while we write, which is what we want to see next.
    let _ = peer.write(bytes).await;
    peer
}

fn told(ended: Ended) -> String {
    match ended {
        Ended::Code(number, _) => format!("code {number}"),
        Ended::Transport(number) => format!("transport {number}"),
        Ended::Finished => "finished".into(),
        Ended::Reset(number) => format!("broken off with {number}"),
        Ended::Other(other) => other,
    }
}

/// Does the row once, and tells how it ended.
async fn attack(action: Action, server: SocketAddr, roots: Arc<RootCertStore>) -> String {
    let dialer = Dialer::new(&roots);
    let count = ClientFrame::Count { request: 1, target: Target::All };
    let mut peer = match action {
        Action::Strange(bytes) => {
            let mut peer = dialer.peer(server).await;
            let _ = peer.write(&bytes).await;
            peer
        }
        Action::Known(bytes) => known(&dialer, server, &bytes).await,
        Action::KnownThenFinish(bytes) => {
            let mut peer = known(&dialer, server, &bytes).await;
            peer.sending.0.finish().unwrap();
            peer
        }
        Action::KnownThenReset(bytes) => {
            let mut peer = known(&dialer, server, &bytes).await;
            peer.sending.0.reset(quinn::VarInt::from_u32(1)).unwrap();
            peer
        }
        Action::FinishAtOnce => {
            let mut peer = dialer.peer(server).await;
            peer.sending.0.finish().unwrap();
            peer
        }
        Action::Silence => {
            let connection = dialer.dial(server).await.unwrap();
            return told(within(connection.closed()).await.into());
        }
        Action::HalfHello => {
            let mut peer = dialer.peer(server).await;
            peer.write(&codec::encode_client(&hello("hostile"))[..7]).await.unwrap();
            peer
        }
        Action::ByteByByte => {
            let mut peer = dialer.peer(server).await;
            for byte in [codec::encode_client(&hello("hostile")), codec::encode_client(&count)].concat() {
                peer.write(&[byte]).await.unwrap();
                // So that each byte is on its way before the next is written.
                tokio::task::yield_now().await;
            }
            assert!(matches!(peer.frame().await, Ok(ServerFrame::Welcome(_))));
            assert!(matches!(peer.frame().await, Ok(ServerFrame::Ack { request: 1, .. })));
            peer.sending.0.finish().unwrap();
            peer
        }
        Action::StreamFlood => {
            // A sound QUIC stack holds back what the server's transport parameters do not allow, and ours is one; what
            // one that is not sound gets is in tests/python.
            let mut peer = known(&dialer, server, &[]).await;
            // What WebTransport needs is allowed to everybody (docs/protocol/limits.md), and from a native client
            // nobody looks at it.
            let mut more = Vec::new();
            for _ in 0..1_000 {
                if let Ok(stream) = tokio::time::timeout(Duration::ZERO, peer.connection.open_bi()).await {
                    more.push(stream.unwrap().0);
                }
                if let Ok(stream) = tokio::time::timeout(Duration::ZERO, peer.connection.open_uni()).await {
                    more.push(stream.unwrap());
                }
            }
            // One stream and three one-way streams beside its own, and as many again whenever those were stopped, once
            // a second.
            assert!((4..100).contains(&more.len()), "{} streams", more.len());
            for stream in &mut more {
                let written = stream.write_all(&[7; 1_000]).await;
                assert!(matches!(written, Ok(()) | Err(quinn::WriteError::Stopped(_))), "{written:?}");
            }
            peer.send(&count).await;
            assert!(matches!(peer.frame().await, Ok(ServerFrame::Ack { request: 1, .. })));
            peer.sending.0.finish().unwrap();
            peer
        }
        Action::VanishInMidFrame => {
            let peer = known(&dialer, server, &[9, 0, 0, 0, 1]).await;
            peer.connection.close(quinn::VarInt::from_u32(77), b"");
            return "its own close".into();
        }
        Action::StopListening => {
            let mut peer = known(&dialer, server, &[]).await;
            peer.receiving.stream.stop(quinn::VarInt::from_u32(1)).unwrap();
            peer.send(&count).await;
            return told(within(peer.connection.closed()).await.into());
        }
        Action::OtherAlpn => {
            let dialer = Dialer::with(&roots, &[b"gopher/1"], 1 << 20);
            return told(dialer.dial(server).await.unwrap_err().into());
        }
        Action::AskAndNeverRead => {
            let dialer = Dialer::with(&roots, &[ALPN], 2_048);
            let (mut peer, _) = dialer.welcomed(server, "hostile").await;
            let asking = async {
                let frame = codec::encode_client(&count);
                while peer.sending.0.write_all(&frame).await.is_ok() {}
            };
            // It blocks for ever; a quarter of a second of it is enough, and then the peer goes.
            let _ = tokio::time::timeout(Duration::from_millis(250), asking).await;
            peer.connection.close(quinn::VarInt::from_u32(77), b"");
            return "its own close".into();
        }
    };
    told(peer.end().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_whatever_a_peer_sends_ends_with_its_code_and_costs_bounded_memory() {
    let victim = Victim::start().await;
    let credential = Credential::DevUser(UserName::new("good").unwrap());
    let config = ClientConfig::new(victim.address.to_string(), credential)
        .roots(Roots::Store((*victim.roots).clone()))
        .reconnect(None);
    let good = within(Client::connect(config)).await.unwrap();
    good.join("room").await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let talking = tokio::spawn({
        let (good, done) = (good.clone(), Arc::clone(&done));
        async move {
            let mut number = 0u32;
            while !done.load(Ordering::Relaxed) {
                let outgoing = Outgoing::new("E", number.to_string()).to_group("room");
                assert_eq!(within(good.send_acked(outgoing)).await.unwrap(), 1);
                assert_eq!(text(&good).await, number.to_string());
                number += 1;
            }
            number
        }
    });

    println!("{:34} {:14} {:>9} {:>9} {:>7}", "what the peer does", "how it ends", "bytes", "then", "more");
    let start = victim.live().await;
    for (name, action, expected) in table() {
        let before = victim.live().await;
        // Those that wait for the handshake's deadline wait for it together.
        let at_once = if matches!(action, Action::Silence | Action::HalfHello) { TIMES } else { AT_ONCE };
        for _ in 0..TIMES / at_once {
            let mut attacks = tokio::task::JoinSet::new();
            for _ in 0..at_once {
                attacks.spawn(attack(action.clone(), victim.address, Arc::clone(&victim.roots)));
            }
            for end in within(attacks.join_all()).await {
                assert_eq!(end, expected, "{name}");
            }
        }
        // Everyone but the good one has left.
        while within(good.count(Target::All)).await.unwrap() > 1 {}
        let after = victim.settled(before, MAY_KEEP).await;
        println!("{name:34} {expected:14} {before:>9} {after:>9} {:>+7}", after - before);
        assert!(after - before <= MAY_KEEP, "{name}: {before} bytes became {after}");
    }
    let rows = table().len();
    let end = victim.settled(start, MAY_KEEP_IN_ALL).await;
    println!("all {rows} rows, {TIMES} times each: {start} bytes, then {end}");
    assert!(end - start <= MAY_KEEP_IN_ALL, "memory grows with every attack: {start} bytes became {end}");
    done.store(true, Ordering::Relaxed);
    let exchanged = within(talking).await.unwrap();
    println!("meanwhile the good client exchanged {exchanged} messages");
    assert!(exchanged > 100);
}
