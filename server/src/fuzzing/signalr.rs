//! A whole session of a client of SignalR without a socket: bytes in, and what it is told is read as it would read it.
//!
//! In: the bytes of its WebSocket's messages, cut into chunks, and whether methods are an application's. Out: nothing;
//! it panics where the server broke a promise. Invariants that it holds the server to, beside those of any session: the
//! handshake is answered first, and once; each id that is waited for is answered at most once; no more is kept of what
//! waits for methods than is allowed.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use fanfare_hub::{CloseReason, Dialect as _, Newcomer, Nowhere, OutboxLimits, Taken};
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ClientFrame, ConnectionId, Features, PROTOCOL_VERSION, ServerFrame, UserName, Welcome,
};
use fanfare_signalr::{Decoder, Message};
use fanfare_token::Permissions;

use super::{Bench, LIMITS};
use crate::access;
use crate::edge::inbound::{Inbound, Step, violation};
use crate::hub::{Member, Seat};
use crate::signalr::{Book, Hearing, Next};
use crate::transport::{Broken, Heard};

/// What a client sends that is not a frame, beside what it makes of it: whole messages as the client reads them.
struct Client {
    bench: Bench,
    book: Arc<Book>,
    hearing: Hearing,
    seat: Option<Seat>,
    /// Requests that went to the router, and answers that came back.
    requests: usize,
    answers: usize,
    decoder: Option<Decoder>,
}

/// Runs one session on `stream`, in chunks of `chunk` bytes.
pub fn signalr_session(stream: &[u8], chunk: usize, has_application: bool) {
    let bench = Bench::new();
    let book = Arc::new(Book::new(has_application));
    let hearing = Hearing::new(Arc::clone(&book), LIMITS.payload_bytes as usize);
    let mut client = Client { bench, book, hearing, seat: None, requests: 0, answers: 0, decoder: None };
    let ending = client.run(stream.chunks(chunk.max(1)).map(Bytes::copy_from_slice));
    if let Err(CloseReason { code, reason }) = ending {
        assert!(!reason.is_empty(), "the close with {code:?} says nothing");
        client.is_told_goodbye(code.number(), &reason);
    }
    drop(client.seat.take());
    client.bench.expect_nothing_left();
}

impl Client {
    fn run(&mut self, chunks: impl Iterator<Item = Bytes>) -> Result<(), CloseReason> {
        let reader = FrameReader::new(LIMITS.frame_bytes);
        let mut inbound = Inbound::new(Arc::clone(&self.bench.router), reader, OutboxLimits::default().run())
            .with_features(Features::KNOWN);
        for chunk in chunks {
            self.hearing.take(chunk);
            loop {
                assert!(self.hearing.is_within_bounds(), "too much is held");
                let heard = match self.hearing.next().map_err(broken)? {
                    Next::Heard(heard) => heard,
                    Next::Closed => return Ok(()),
                    Next::More => break,
                    // As when its method does not begin in time.
                    Next::Full => match self.hearing.overrun() {
                        Some(Next::Heard(heard)) => heard,
                        _ => return Ok(()),
                    },
                };
                self.carry_out(&mut inbound, heard)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, inbound: &mut Inbound, heard: Heard) -> Result<(), CloseReason> {
        let Some(seat) = &self.seat else {
            let Heard::Bytes(hello) = heard else { panic!("the first is no Hello") };
            return self.welcome(hello);
        };
        let member = Arc::clone(seat.member());
        match heard {
            Heard::Refused(request, denial) => {
                inbound.refuse(&member, request, denial);
                self.requests += 1;
            }
            Heard::Bytes(mut bytes) => loop {
                match inbound.step(&member, &mut bytes)? {
                    Step::Done(0) => break,
                    Step::Done(requests) => self.requests += requests as usize,
                    Step::Call(_) => panic!("there are no keys to wait for"),
                }
            },
        }
        self.look(&member);
        Ok(())
    }

    /// As the handshake does it, with the I/O left out.
    fn welcome(&mut self, mut hello: Bytes) -> Result<(), CloseReason> {
        let mut reader = FrameReader::new(LIMITS.frame_bytes);
        let hello = reader.next_frame(&mut hello).map_err(|error| violation(&error))?.expect("it is whole");
        let hello = codec::decode_client(&hello).expect("a frame of ours can be read");
        assert!(matches!(hello, ClientFrame::Hello { .. }), "{hello:?}");
        let newcomer = Newcomer {
            connection: ConnectionId::from_bytes([1; 16]),
            user: UserName::new("a").expect("a name"),
            source: [127, 0, 0, 1].into(),
            line: Arc::new(Nowhere),
            permissions: Permissions::development(access::now()),
            dialect: Some(Arc::clone(&self.book) as _),
        };
        self.book.welcome();
        let welcome = ServerFrame::Welcome(Welcome {
            connection: newcomer.connection,
            user: newcomer.user.clone(),
            limits: LIMITS,
            protocol: PROTOCOL_VERSION,
            features: Features::KNOWN,
            node_bytes: 4,
            session: [0; 16],
            position: 0,
            server: String::new(),
        });
        let now = (std::time::Instant::now(), std::time::SystemTime::now());
        let seat = self.bench.hub.register(newcomer, &welcome, now).map_err(CloseReason::from)?;
        let told = told(seat.member());
        assert_eq!(told, b"{}\x1e", "the handshake's answer comes first, alone");
        self.decoder = Some(Decoder::new(self.book.encoding(), fanfare_signalr::Limits::default()));
        self.seat = Some(seat);
        Ok(())
    }

    /// What its requests did.
    fn look(&mut self, member: &Member) {
        for message in self.read(&mut Bytes::from(told(member))) {
            match message {
                Message::Completion { .. } => self.answers += 1,
                Message::Invocation { id: None, target, .. } => assert!(!target.is_empty()),
                other => panic!("{other:?} is no answer to anything"),
            }
        }
        assert!(self.answers <= self.requests, "{} answers to {} requests", self.answers, self.requests);
        for frame in super::read(self.bench.bystander.member()) {
            assert!(matches!(frame, ServerFrame::Message(_)), "{frame:?}");
        }
    }

    /// Hub messages, as the client reads them.
    fn read(&mut self, bytes: &mut Bytes) -> Vec<Message> {
        let Some(decoder) = &mut self.decoder else {
            panic!("something is said before the handshake is answered")
        };
        let messages =
            std::iter::from_fn(|| decoder.next_message(bytes).expect("a message of ours can be read"))
                .collect();
        assert!(decoder.is_between_messages());
        messages
    }

    /// The last word: an answer to the handshake, or a `Close`.
    fn is_told_goodbye(&mut self, code: u16, reason: &str) {
        let frame = ServerFrame::Goodbye { code, reason: reason.to_owned(), retry_after_ms: 0 };
        let mut bytes = self.book.notice(&frame);
        if self.decoder.is_some() {
            let last = self.read(&mut bytes);
            assert!(matches!(last.as_slice(), [Message::Close { .. }]), "{last:?}");
        } else {
            let answer = bytes.strip_suffix(b"\x1e").expect("a record");
            let answer: HashMap<String, String> = serde_json::from_slice(answer).expect("texts");
            assert!(answer.contains_key("error"), "{answer:?}");
        }
    }
}

/// Why nothing more can be read of it.
fn broken(broken: Broken) -> CloseReason {
    match broken {
        Broken::Unreadable(reason) => *reason,
        Broken::Stream | Broken::Connection => panic!("there is no stream that could break"),
    }
}

/// Everything that waits in an outbox.
fn told(member: &Member) -> Vec<u8> {
    let (mut chunks, mut bytes) = (Vec::new(), Vec::new());
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(taken) = member.outbox().poll_take(&mut context, &mut chunks) {
        assert!(matches!(taken, Taken::Batch(_)), "the outbox ended");
        bytes.extend(chunks.drain(..).flatten());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's message, with ids and names out of few, so that they meet.
    fn message() -> impl Strategy<Value = serde_json::Value> {
        let id = || prop::sample::select(vec!["1", "2", "s", "t"]);
        let arguments = prop_oneof![
            Just(serde_json::json!([])),
            Just(serde_json::json!(["g"])),
            Just(serde_json::json!(["g", "E", { "a": [1] }])),
            Just(serde_json::json!(["b", "E"])),
            Just(serde_json::json!([null, 1.5])),
        ];
        let method = prop::sample::select(vec![
            "JoinGroup",
            "LeaveGroup",
            "SendToGroup",
            "SendToOthersInGroup",
            "SendToUser",
            "SendToAll",
            "Count",
            "Other",
            "fanfare.Refresh",
        ]);
        let streams = prop::collection::vec(id(), 0..3);
        prop_oneof![
            8 => (prop::option::of(id()), method, arguments, streams, any::<bool>()).prop_map(
                |(id, target, arguments, streams, is_stream)| {
                    let kind = if is_stream && id.is_some() { 4 } else { 1 };
                    serde_json::json!({
                        "type": kind, "invocationId": id, "target": target, "arguments": arguments,
                        "streamIds": streams,
                    })
                }
            ),
            4 => (id(), 0..200usize).prop_map(|(id, length)| {
                serde_json::json!({ "type": 2, "invocationId": id, "item": "x".repeat(length) })
            }),
            2 => id().prop_map(|id| serde_json::json!({ "type": 3, "invocationId": id, "result": 1 })),
            1 => id().prop_map(|id| serde_json::json!({ "type": 3, "invocationId": id, "error": "no" })),
            2 => id().prop_map(|id| serde_json::json!({ "type": 5, "invocationId": id })),
            1 => Just(serde_json::json!({ "type": 6 })),
        ]
    }

    proptest! {
        /// Sound messages, and whatever comes of changing some bytes.
        #[test]
        fn promise_12_any_bytes_of_a_signalr_client_end_in_a_code(
            messages in prop::collection::vec(message(), 0..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            chunk in 1usize..200,
            is_packed in any::<bool>(),
            has_application in any::<bool>(),
        ) {
            let encoding = if is_packed { "messagepack" } else { "json" };
            let mut stream = format!("{{\"protocol\":\"{encoding}\",\"version\":1}}\u{1e}").into_bytes();
            for message in &messages {
                if is_packed {
                    let message = packed(message);
                    stream.push(u8::try_from(message.len()).unwrap());
                    stream.extend(message);
                } else {
                    stream.extend(format!("{message}\u{1e}").bytes());
                }
            }
            for (position, byte) in changes {
                let position = position.index(stream.len());
                stream[position] = byte;
            }
            signalr_session(&stream, chunk, has_application);
        }
    }

    /// The same in MessagePack, whose messages are arrays; those with one byte of length alone.
    fn packed(message: &serde_json::Value) -> Vec<u8> {
        let (headers, of) = (serde_json::json!({}), |field: &str| &message[field]);
        let id = of("invocationId");
        let message = match of("type").as_u64() {
            Some(kind @ (1 | 4)) => {
                serde_json::json!([kind, headers, id, of("target"), of("arguments"), of("streamIds")])
            }
            Some(2) if of("item").as_str().is_some_and(|item| item.len() < 100) => {
                serde_json::json!([2, headers, id, of("item")])
            }
            Some(3) => serde_json::json!([3, headers, id, 3, of("result")]),
            Some(5) => serde_json::json!([5, headers, id]),
            _ => serde_json::json!([6]),
        };
        rmp_serde::to_vec(&message).unwrap()
    }
}
