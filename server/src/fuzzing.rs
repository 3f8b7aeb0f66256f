//! A whole session without a socket: bytes in, and after every request a look at what became of it.
//!
//! In: the bytes of a client's stream, cut into chunks. Out: nothing; it panics where the server broke a promise.
//! `fuzz/` feeds it for hours, a property test below in every test run. Not part of the crate's interface: it exists
//! only with `--cfg fuzzing` and in tests.
//!
//! Invariants it holds the server to: any bytes end in at most one close with a code (promise 12); every frame that the
//! server writes can be read; a request has at most one answer; somebody else gets at most one copy of a send and only
//! what was sent; and when the session is over nothing of it is left (promise 3).
#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise must stop the fuzzer")]

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use fanfare_hub::{CloseReason, HubLimits, Origin, OutboxLimits, Population, Taken};
use fanfare_protocol::admin::AdminRequest;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::presence::PresenceFrame;
use fanfare_protocol::{Code, ConnectionId, Denial, Features, GroupName, Limits, ServerFrame, UserName};
use fanfare_token::Permissions;

use crate::access::{self, Gate, KeySets, Tokens};
use crate::edge::expiry::Expiry;
use crate::edge::handshake::identify;
use crate::edge::inbound::{Inbound, Step, violation};
use crate::edge::router::Router;
use crate::hub::{Hub, Member, Seat, register};
use crate::network::Network;
use crate::tcp::{Preface, Progress, Proxies};
use crate::telemetry::Metrics;

mod signalr;
pub use signalr::signalr_session;

/// Small, so that an input of a few hundred bytes reaches every limit.
const LIMITS: Limits = Limits { frame_bytes: 2_048, payload_bytes: 512, groups: 4, targets: 8 };
const PER_USER: usize = 8;

/// Reads the bytes of an operator's request, as its session does.
///
/// What is taken is the same when it is written and read again, and can be written down for the audit; what is not is
/// refused with a code, in words for a person.
pub fn operator_request(bytes: &[u8]) {
    match crate::admin::parse(bytes) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).expect("what was read can be written");
            assert_eq!(crate::admin::parse(&written).as_ref(), Ok(&request));
            if let AdminRequest::Action(action) = &request {
                let described = crate::moderation::described_for_fuzzing(action);
                assert!(described.get("ask").is_some_and(serde_json::Value::is_string), "{described}");
            }
        }
        Err(error) => {
            assert_eq!(error.code, Code::InvalidRequest.number());
            // It may repeat a name that it does not know, escaped.
            assert!(error.message.len() <= 4_096 + bytes.len() * 10, "{}", error.message.len());
        }
    }
}

/// Reads bytes as a proxy's header in front of a connection, and as what a client has written into a header of HTTP
/// before its proxy added something.
///
/// A header means the same in any pieces, and no more of it is read than belongs to it. Nobody but a proxy is believed;
/// and of a header of HTTP the client's address is what the proxy added, or the request is refused.
pub fn proxied(bytes: &[u8]) {
    let preface = |pieces: usize| {
        let (mut preface, mut rest) = (Preface::default(), bytes);
        loop {
            let wanted = match preface.progress() {
                Ok(Progress::Wants(wanted)) => wanted.min(pieces),
                done => return (done, rest),
            };
            assert!(wanted > 0, "nothing is wanted");
            let (piece, behind) = rest.split_at(wanted.min(rest.len()));
            if piece.is_empty() {
                return (preface.progress(), rest);
            }
            preface.take(piece);
            rest = behind;
        }
    };
    let (one, whole) = (preface(1), preface(usize::MAX));
    assert_eq!(one.0.is_ok(), whole.0.is_ok());
    if let Ok(Progress::Says(announced)) = whole.0 {
        assert_eq!(one, whole);
        let (proxies, stranger) = (Proxies::default(), ([192, 0, 2, 1], 9).into());
        assert_eq!(proxies.announced(proxies.source(stranger), announced).address(), stranger);
    }

    let (client, proxy) = (([198, 51, 100, 1], 0).into(), ([127, 0, 0, 1], 9).into());
    let proxies = Proxies::new(&[proxy_network()]);
    let (Ok(written), Ok(other)) = (HeaderValue::from_bytes(bytes), HeaderValue::from_bytes(bytes)) else {
        return;
    };
    for (name, unused, added) in [
        (FORWARDED, "x-forwarded-for", &b", for=198.51.100.1, for=127.0.0.1"[..]),
        (HeaderName::from_static("x-forwarded-for"), "forwarded", b",198.51.100.1,127.0.0.1"),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(&name, written.clone());
        // It may be anything there.
        let anywhere = proxies.client(proxies.source(proxy), &headers);
        assert!(anywhere.is_ok(), "one header does not contradict itself");
        assert_eq!(proxies.client(proxies.source(client), &headers), Ok(client), "nobody else is believed");
        let line = HeaderValue::from_bytes(&[bytes, added].concat()).expect("as good as the first");
        headers.insert(&name, line);
        assert_eq!(proxies.client(proxies.source(proxy), &headers), Ok(client));
        headers.append(unused, other.clone());
        let both = proxies.client(proxies.source(proxy), &headers);
        assert!(both.is_err() || both == Ok(client), "{both:?}");
    }
}

/// Where the proxy is that [`proxied`] trusts.
fn proxy_network() -> Network {
    IpAddr::from([127, 0, 0, 1]).into()
}

/// A server without sockets, with one connection that is somebody else's.
struct Bench {
    hub: Arc<Hub>,
    router: Arc<Router>,
    bystander: Seat,
}

/// Runs one session on `stream`, in chunks of `chunk` bytes.
pub fn session(stream: &[u8], chunk: usize) {
    let bench = Bench::new();
    let mut chunks = stream.chunks(chunk.max(1)).map(Bytes::copy_from_slice);
    let ending = bench.run(&mut chunks);
    if let Err(CloseReason { code, reason }) = ending {
        assert!(!reason.is_empty(), "the close with {code:?} says nothing");
    }
    bench.expect_nothing_left();
}

impl Bench {
    fn new() -> Self {
        let metrics = Arc::new(Metrics::default());
        let tokens = Arc::new(Tokens::new(None, KeySets::none()));
        let gate = Arc::new(Gate::new(tokens, Arc::default()));
        let bounds = HubLimits { per_user: PER_USER, groups: LIMITS.groups as usize, ..HubLimits::default() };
        let hub = Arc::new(Hub::new(bounds, Arc::clone(&gate) as _));
        let expiry = Arc::new(Expiry::new(Arc::clone(&hub), Arc::clone(&gate), Duration::from_secs(60)));
        let router = Arc::new(Router::new(Arc::clone(&hub), metrics, LIMITS, gate, expiry, None));
        let bystander = seat(&hub, 0, &UserName::new("b").expect("a name")).expect("the first");
        let group = GroupName::new("g").expect("a name");
        hub.join(bystander.member(), &group, Origin::Client).expect("its first group");
        read(bystander.member());
        Self { hub, router, bystander }
    }

    /// The session is over.
    fn expect_nothing_left(self) {
        assert_eq!(self.hub.population().connections, 1, "only the bystander is left");
        let Self { hub, bystander, .. } = self;
        drop(bystander);
        assert_eq!(hub.population(), Population::default(), "something is left of the session");
    }

    /// As the handshake and the session do it, with the I/O left out.
    fn run(&self, chunks: &mut impl Iterator<Item = Bytes>) -> Result<(), CloseReason> {
        let mut reader = FrameReader::new(LIMITS.frame_bytes);
        let (hello, mut chunk) = loop {
            let Some(mut chunk) = chunks.next() else { return Err(Code::HelloExpected.into()) };
            if let Some(hello) = reader.next_frame(&mut chunk).map_err(|error| violation(&error))? {
                break (hello, chunk);
            }
        };
        let identified =
            pin!(identify(&hello, true, self.router.gate(), || Err(Code::CertificateRefused.into())));
        let Poll::Ready(identified) = identified.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("there are no keys to wait for");
        };
        let (user, ..) = identified?;
        let seat = seat(&self.hub, 1, &user).map_err(CloseReason::from)?;
        let mut inbound = Inbound::new(Arc::clone(&self.router), reader, OutboxLimits::default().run())
            .with_features(Features::KNOWN);
        loop {
            loop {
                let requests = match inbound.step(seat.member(), &mut chunk)? {
                    Step::Done(requests) => requests,
                    Step::Call(_) => panic!("there are no keys to wait for"),
                };
                if requests == 0 {
                    break;
                }
                self.look(seat.member(), requests as usize);
            }
            chunk = match chunks.next() {
                Some(chunk) => chunk,
                None => return Err(inbound.finished()),
            };
            // As the session reads on, where there is more.
            if chunk.len() % 2 == 1
                && let Some(more) = chunks.next()
            {
                inbound.follow(more);
            }
            // The same bytes on the other lane, with and without what could be a length. What ends a connection there
            // is not followed here, so that the stream goes on.
            for datagram in [chunk.clone(), chunk.slice(chunk.len().min(4)..)] {
                if let Err(CloseReason { code, reason }) = inbound.datagram(seat.member(), &datagram) {
                    assert!(!reason.is_empty(), "the close with {code:?} says nothing");
                }
                self.look(seat.member(), 1);
            }
        }
    }

    /// What so many requests did that were carried out together.
    fn look(&self, caller: &Arc<Member>, requests: usize) {
        let (mut answers, mut copies) = (0, 0);
        for frame in read(caller) {
            match frame {
                ServerFrame::Ack { .. } | ServerFrame::Error { .. } => answers += 1,
                ServerFrame::Message(message) => {
                    assert!(message.payload.len() <= LIMITS.payload_bytes as usize);
                    copies += 1;
                }
                ServerFrame::Joined { members, .. } => assert!(members == 1 || members == 2),
                // Of a group that it watches; what was asked before may have been answered since.
                ServerFrame::Presence(PresenceFrame::Snapshot { present, .. }) => assert!(present.len() <= 2),
                other => panic!("{other:?} is no answer to anything"),
            }
        }
        assert!(answers <= requests, "{answers} answers to {requests} requests");
        assert!(copies <= requests, "{copies} copies of {requests} sends");
        let seen = read(self.bystander.member());
        assert!(seen.len() <= requests, "the bystander got {seen:?}");
        assert!(seen.iter().all(|frame| matches!(frame, ServerFrame::Message(_))), "{seen:?}");
        // Its own group and those of the caller.
        assert!(self.hub.population().groups <= 1 + LIMITS.groups as usize);
    }
}

fn seat(hub: &Hub, number: u8, user: &UserName) -> Result<Seat, Denial> {
    register(
        hub,
        ConnectionId::from_bytes([number; 16]),
        user.clone(),
        Permissions::development(access::now()),
    )
}

/// Everything that waits in an outbox, read as a client would read it.
fn read(member: &Member) -> Vec<ServerFrame> {
    let mut context = Context::from_waker(Waker::noop());
    let mut reader = FrameReader::new(Limits::FRAME_CEILING);
    let (mut chunks, mut frames) = (Vec::new(), Vec::new());
    while let Poll::Ready(taken) = member.outbox().poll_take(&mut context, &mut chunks) {
        assert!(matches!(taken, Taken::Batch(_)), "the outbox ended");
        for mut chunk in chunks.drain(..) {
            while let Some(frame) = reader.next_frame(&mut chunk).expect("not too long") {
                frames.push(codec::decode_server(&frame).expect("a frame of ours can be read"));
            }
        }
    }
    assert!(reader.is_between_frames());
    frames
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{
        ClientFrame, Credential, EventName, PROTOCOL_VERSION, PayloadFormat, Send, Target,
    };
    use proptest::prelude::*;

    use super::*;

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            (0u8..3).prop_map(|number| Target::Connection(ConnectionId::from_bytes([number; 16]))),
            "[abc]".prop_map(|name| Target::User(UserName::new(&name).unwrap())),
            "[fghijk]".prop_map(|name| Target::Group(GroupName::new(&name).unwrap())),
            Just(Target::All),
        ]
    }

    fn request() -> impl Strategy<Value = ClientFrame> {
        let group = || "[fghijk]".prop_map(|name| GroupName::new(&name).unwrap());
        let send = (any::<bool>(), any::<bool>(), prop::collection::vec(target(), 0..10), 0usize..600);
        let except = prop::collection::vec((0u8..3).prop_map(|n| ConnectionId::from_bytes([n; 16])), 0..10);
        prop_oneof![
            group().prop_map(|group| ClientFrame::Join { request: 1, group }),
            group().prop_map(|group| ClientFrame::Leave { request: 2, group }),
            group().prop_map(|group| ClientFrame::Watch { request: 5, group }),
            group().prop_map(|group| ClientFrame::Unwatch { request: 6, group }),
            target().prop_map(|target| ClientFrame::Count { request: 3, target }),
            (send, except).prop_map(|((ack, others, to, payload), except)| {
                let event = EventName::new("E").unwrap();
                let payload = Bytes::from(vec![0; payload]);
                let format = PayloadFormat::Binary;
                ClientFrame::Send(Send { request: 4, ack, to, except, others, event, format, payload })
            }),
        ]
    }

    /// The bytes of a request, of this version or of a later one.
    fn bytes() -> impl Strategy<Value = Bytes> {
        let numbers = prop::collection::btree_set(0u64..8, 0..3);
        prop_oneof![
            4 => request().prop_map(|request| codec::encode_client(&request)),
            1 => (request(), numbers).prop_map(|(request, numbers)| {
                let extensions: Vec<(u64, &[u8])> = numbers.iter().map(|number| (*number, &b"x"[..])).collect();
                codec::with_extensions(&codec::encode_client(&request), &extensions)
            }),
            // `Count`, frames below 128 and frames from there on, each with a number that stands for nothing.
            1 => prop::sample::select(vec![&[4, 6, 250][..], &[127, 7, 0], &[128, 0], &[251, 0, 1]])
                .prop_map(|body| [&[u8::try_from(body.len()).unwrap(), 0, 0, 0], body].concat().into()),
        ]
    }

    proptest! {
        /// The seeds of `fuzz/seed` are better; this sees to it that the target itself is right.
        #[test]
        fn any_bytes_before_a_connection_or_in_its_headers_name_nobody_else(
            bytes in prop::collection::vec(prop::sample::select(&b"for=\"\\,;[]:. 10\t"[..]), 0..80),
            is_preface in any::<bool>(),
        ) {
            let begin: &[u8] = if is_preface { b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" } else { b"" };
            proxied(&[begin, &bytes].concat());
        }

        /// Operators' requests, some with a byte changed.
        #[test]
        fn any_bytes_of_an_operator_are_read_or_refused(
            user in "[a-z*\u{e9}\"]{1,9}",
            number in any::<u64>(),
            ask in prop::sample::select(vec!["ban", "kick", "connections", "explain", "watch", "send", "audit", "status"]),
            position in any::<prop::sample::Index>(),
            change in prop::option::of(any::<u8>()),
        ) {
            let request = match ask {
                "ban" => serde_json::json!({ "ask": ask, "user": user, "until": number, "reason": user }),
                "kick" => serde_json::json!({ "ask": ask, "who": { "user": user } }),
                "connections" => serde_json::json!({ "ask": ask, "filter": user, "limit": number % 9 }),
                "explain" => serde_json::json!({ "ask": ask, "user": user, "group": "g" }),
                "watch" => serde_json::json!({ "ask": ask, "interval_ms": number }),
                "send" => serde_json::json!({ "ask": ask, "to": "all", "event": "E", "payload": user }),
                "audit" => serde_json::json!({ "ask": ask, "after": number, "follow": true }),
                _ => serde_json::json!({ "ask": ask }),
            };
            let mut bytes = request.to_string().into_bytes();
            if let Some(change) = change {
                let position = position.index(bytes.len());
                bytes[position] = change;
            }
            operator_request(&bytes);
        }

        /// Sound requests, those of later versions among them, and whatever comes of changing some bytes.
        #[test]
        fn promise_12_any_bytes_end_in_a_code(
            requests in prop::collection::vec(bytes(), 0..20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            chunk in 1usize..200,
            user in "[abc]",
        ) {
            let credential = Credential::DevUser(UserName::new(&user).unwrap());
            let features = Features::from_bits(u64::MAX);
            let hello = ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential };
            let mut stream = codec::encode_client(&hello).to_vec();
            for request in &requests {
                stream.extend_from_slice(request);
            }
            for (position, byte) in changes {
                let position = position.index(stream.len());
                stream[position] = byte;
            }
            session(&stream, chunk);
        }
    }
}
