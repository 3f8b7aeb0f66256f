//! Frames of every kind, and what a later version may send: what the golden vectors are made of.

use super::*;

pub(super) fn user(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

pub(super) fn group(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

pub(super) fn event(text: &str) -> EventName {
    EventName::new(text).unwrap()
}

pub(super) fn connection(first: u8) -> ConnectionId {
    let mut bytes = [0; 16];
    for (byte, value) in bytes.iter_mut().zip(first..) {
        *byte = value;
    }
    ConnectionId::from_bytes(bytes)
}

/// A frame that this version knows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame {
    Client(ClientFrame),
    Server(ServerFrame),
}

impl Frame {
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Client(frame) => encode_client(frame),
            Self::Server(frame) => encode_server(frame),
        }
    }

    pub(super) fn side(&self) -> Side {
        match self {
            Self::Client(_) => Side::Client,
            Self::Server(_) => Side::Server,
        }
    }

    /// The number that an answer would carry.
    pub(super) fn request(&self) -> Option<RequestId> {
        match self {
            Self::Client(ClientFrame::Hello { .. }) | Self::Server(_) => None,
            Self::Client(
                ClientFrame::Join { request, .. }
                | ClientFrame::Leave { request, .. }
                | ClientFrame::Send(Send { request, .. })
                | ClientFrame::Count { request, .. }
                | ClientFrame::Refresh { request, .. }
                | ClientFrame::Watch { request, .. }
                | ClientFrame::Unwatch { request, .. }
                | ClientFrame::Call(
                    ClientCall::Invoke(Invoke { request, .. })
                    | ClientCall::Cancel { request }
                    | ClientCall::Credit { request, .. },
                ),
            ) => Some(*request),
            Self::Client(ClientFrame::Call(
                ClientCall::Item { .. } | ClientCall::End { .. } | ClientCall::Completion { .. },
            )) => None,
        }
    }
}

/// Who says a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) fn decode(self, body: &Bytes) -> Result<Frame, DecodeError> {
        match self {
            Self::Client => decode_client(body).map(Frame::Client),
            Self::Server => decode_server(body).map(Frame::Server),
        }
    }

    /// The version that its first frame says.
    pub(super) fn version(self, body: &Bytes) -> Option<u32> {
        match self {
            Self::Client => hello_version(body),
            Self::Server => welcome_version(body),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Numbers that PROTOCOL.md never gives a meaning, so that these stay what they are.
pub(super) const OPTIONAL: u64 = 250;
pub(super) const CRITICAL: u64 = 249;
const NO_REQUEST: u32 = 250;
const NO_KIND: u32 = 250;
const NO_FORMAT: u8 = 250;

type Extensions = Vec<(u64, &'static [u8])>;

/// What comes, and what becomes of it.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) side: Side,
    pub(super) bytes: Bytes,
    pub(super) read: Result<Frame, DecodeError>,
    /// What stands behind the frame's fields and is skipped.
    pub(super) extensions: Extensions,
}

/// Every frame that this version writes, and what it reads of later ones.
pub(super) fn samples() -> Vec<Sample> {
    let mut all: Vec<Sample> = frames()
        .into_iter()
        .map(|(name, frame)| Sample {
            name,
            side: frame.side(),
            bytes: frame.encode(),
            read: Ok(frame),
            extensions: vec![],
        })
        .collect();
    all.extend(extended_here());
    all.extend(extended());
    all.extend(unknown());
    all
}

/// Frames with an extension that is known: where it is not, it is skipped.
fn extended_here() -> Vec<Sample> {
    let silent = vec!["node-1".to_owned(), "b".to_owned()];
    let frame = Frame::Server(ServerFrame::AckPart { request: 1, count: 3, silent });
    let extensions: Extensions = vec![(2, b"\x02\x06node-1\x01b")];
    vec![Sample { name: "ack-part", side: Side::Server, bytes: frame.encode(), read: Ok(frame), extensions }]
}

/// Known frames with extensions: those that are skipped, and those that must be understood.
fn extended() -> Vec<Sample> {
    let known = frames();
    let of = |name: &str| known.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let skipped: [(&str, &str, Extensions); 7] = [
        ("hello-extended", "hello-dev-user", vec![(OPTIONAL, b"\x01\x02")]),
        ("join-extended", "join", vec![(OPTIONAL, b"")]),
        ("send-extended", "send-to-group", vec![(248, b"one"), (OPTIONAL, b"two")]),
        ("welcome-extended", "welcome", vec![(OPTIONAL, b"\x01\x02")]),
        ("ack-extended", "ack", vec![(OPTIONAL, b"\x01\x02")]),
        ("message-extended", "message-to-group", vec![(OPTIONAL, b"\x01\x02")]),
        ("goodbye-extended", "goodbye", vec![(OPTIONAL, b"\x01\x02")]),
    ];
    let skipped = skipped.into_iter().map(|(name, known, extensions)| {
        let frame = of(known);
        let bytes = with_extensions(&frame.encode(), &extensions);
        Sample { name, side: frame.side(), bytes, read: Ok(frame), extensions }
    });
    let critical = [
        ("hello-critical", "hello-dev-user", vec![(CRITICAL, &b""[..])], CRITICAL),
        ("join-critical", "join", vec![(248, b"one"), (CRITICAL, b"two"), (251, b"three")], CRITICAL),
        ("ack-critical", "ack", vec![(251, b"\x01\x02")], 251),
    ];
    let critical = critical.into_iter().map(|(name, known, extensions, extension)| {
        let frame = of(known);
        let bytes = with_extensions(&frame.encode(), &extensions);
        let read = Err(DecodeError::ExtensionNotKnown { request: frame.request(), extension });
        Sample { name, side: frame.side(), bytes, read, extensions: vec![] }
    });
    skipped.chain(critical).collect()
}

/// Frames and kinds that there are not. What follows the number is of a form that nobody knows here.
fn unknown() -> Vec<Sample> {
    let sample = |name, side, number, request, what, write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::frame(number, 0);
        write(&mut writer);
        writer.raw(b"\xff what comes here is not read");
        let read = Err(DecodeError::Unknown { request, what });
        Sample { name, side, bytes: writer.into_frame(0), read, extensions: vec![] }
    };
    let kind = |of| Unknown::Kind(of, NO_KIND);
    let (client, server) = (Side::Client, Side::Server);
    vec![
        sample("unknown-request", client, 127, Some(9), Unknown::Frame(127), &|writer| writer.integer(9u64)),
        sample("unknown-client-frame", client, NO_REQUEST, None, Unknown::Frame(NO_REQUEST), &|_| {}),
        sample("unknown-server-frame", server, NO_REQUEST, None, Unknown::Frame(NO_REQUEST), &|_| {}),
        sample("hello-unknown-credential", client, 0, None, kind("credential"), &|writer| {
            writer.integer(1u32);
            writer.integer(0u64);
            writer.integer(NO_KIND);
        }),
        sample("send-unknown-target", client, 3, Some(9), kind("target"), &|writer| {
            writer.integer(9u64);
            writer.bool(true);
            writer.length(2);
            writer.target(&Target::Group(group("room")));
            writer.integer(NO_KIND);
        }),
        sample("count-unknown-target", client, 4, Some(9), kind("target"), &|writer| {
            writer.integer(9u64);
            writer.integer(NO_KIND);
        }),
        sample("message-unknown-sender", server, 3, None, kind("sender"), &|writer| writer.integer(NO_KIND)),
        sample("message-unknown-target", server, 3, None, kind("target"), &|writer| {
            writer.sender(&Sender::Server);
            writer.integer(NO_KIND);
        }),
        sample("completion-unknown-outcome", server, 9, None, kind("outcome"), &|writer| {
            writer.integer(9u64);
            writer.integer(NO_KIND);
        }),
        sample("expiring-unknown-scope", server, 8, None, kind("expiry scope"), &|writer| {
            writer.integer(NO_KIND);
        }),
    ]
}

/// One frame of each kind at least, with every variant of every part, and integers of every width.
pub(super) fn frames() -> Vec<(&'static str, Frame)> {
    let client = |name, frame| (name, Frame::Client(frame));
    let server = |name, frame| (name, Frame::Server(frame));
    vec![
        client(
            "hello-dev-user",
            ClientFrame::Hello {
                protocol: 1,
                features: Features::NONE,
                credential: Credential::DevUser(user("alice")),
            },
        ),
        client(
            "hello-token",
            ClientFrame::Hello {
                protocol: 1,
                features: Features::NONE,
                credential: Credential::Token(Token::new("aaaa.bbbb.cccc")),
            },
        ),
        client(
            "hello-certificate",
            ClientFrame::Hello { protocol: 1, features: Features::NONE, credential: Credential::Certificate },
        ),
        client(
            "hello-features",
            ClientFrame::Hello {
                protocol: 1,
                features: Features::from_bits(1 << 63),
                credential: Credential::DevUser(user("alice")),
            },
        ),
        client("join", ClientFrame::Join { request: 1, group: group("room") }),
        client("join-emoji", ClientFrame::Join { request: 251, group: group("caf\u{e9} \u{1F389}") }),
        client("leave", ClientFrame::Leave { request: 65_536, group: group("room") }),
        client(
            "send-to-group",
            ClientFrame::Send(Send {
                request: 3,
                ack: false,
                to: vec![Target::Group(group("room"))],
                except: vec![],
                others: false,
                event: event("ReceiveMessage"),
                format: PayloadFormat::Text,
                payload: Bytes::from_static(b"hi"),
            }),
        ),
        client(
            "send-to-everything",
            ClientFrame::Send(Send {
                request: 4_294_967_296,
                ack: true,
                to: vec![
                    Target::Connection(connection(0)),
                    Target::User(user("bob")),
                    Target::Group(group("room")),
                    Target::All,
                ],
                except: vec![connection(0x10), connection(0x20)],
                others: true,
                event: event("E"),
                format: PayloadFormat::Binary,
                payload: Bytes::new(),
            }),
        ),
        client(
            "send-json",
            ClientFrame::Send(Send {
                request: 4,
                ack: false,
                to: vec![Target::All],
                except: vec![],
                others: false,
                event: event("E"),
                format: PayloadFormat::Json,
                payload: Bytes::from_static(b"{\"a\":1}"),
            }),
        ),
        client("count-group", ClientFrame::Count { request: 5, target: Target::Group(group("room")) }),
        client("count-all", ClientFrame::Count { request: 6, target: Target::All }),
        client("refresh", ClientFrame::Refresh { request: 7, token: Token::new("dddd.eeee.ffff") }),
        server(
            "welcome",
            ServerFrame::Welcome(Welcome {
                protocol: 1,
                features: Features::NONE,
                connection: connection(0),
                node_bytes: 4,
                session: [0; 16],
                position: 0,
                user: user("alice"),
                limits: Limits { frame_bytes: 67_584, payload_bytes: 65_536, groups: 1_000, targets: 256 },
                server: "fanfare/0.1.0".into(),
            }),
        ),
        server("ack", ServerFrame::Ack { request: 1, count: 3 }),
        server("ack-wide", ServerFrame::Ack { request: u64::MAX, count: 251 }),
        server("error", ServerFrame::Error { request: 2, code: 2101, detail: "no".into() }),
        server(
            "message-to-group",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::Group(group("room")),
                event: event("ReceiveMessage"),
                format: PayloadFormat::Text,
                payload: Bytes::from_static(b"hi"),
            }),
        ),
        server(
            "message-to-user",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::User(user("bob")),
                event: event("E"),
                format: PayloadFormat::Binary,
                payload: Bytes::from_static(&[0, 255, 1, 254]),
            }),
        ),
        server(
            "message-to-connection",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::Connection(connection(0x10)),
                event: event("E"),
                format: PayloadFormat::Binary,
                payload: Bytes::new(),
            }),
        ),
        server(
            "message-to-all",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::All,
                event: event("E"),
                format: PayloadFormat::Text,
                payload: Bytes::from(vec![b'x'; 251]),
            }),
        ),
        server(
            "message-from-server",
            ServerFrame::Message(Message {
                from: Sender::Server,
                to: Target::All,
                event: event("Notice"),
                format: PayloadFormat::Text,
                payload: Bytes::from_static(b"hi"),
            }),
        ),
        server("message-json", in_format(PayloadFormat::Json, b"{\"a\":1}")),
        server("message-msgpack", in_format(PayloadFormat::MessagePack, b"\x92\x01\x02")),
        server("message-other-format", in_format(PayloadFormat::Other(NO_FORMAT), b"hi")),
        server("joined", ServerFrame::Joined { group: group("room"), members: 2 }),
        server(
            "removed",
            ServerFrame::Removed { group: group("room"), code: 3101, reason: "left the company".into() },
        ),
        server(
            "goodbye",
            ServerFrame::Goodbye {
                code: 1001,
                reason: "The server is shutting down.".into(),
                retry_after_ms: 5_000,
            },
        ),
        server(
            "goodbye-for-good",
            ServerFrame::Goodbye { code: 3009, reason: "spam".into(), retry_after_ms: 0 },
        ),
        server("lagged", ServerFrame::Lagged { dropped: 70_000 }),
        server("expiring-token", ServerFrame::Expiring { scope: ExpiryScope::Token, seconds: 30 }),
        server(
            "expiring-groups",
            ServerFrame::Expiring { scope: ExpiryScope::Groups { count: 2 }, seconds: 300 },
        ),
    ]
    .into_iter()
    .chain(calls())
    .chain(presence())
    .collect()
}

/// One frame about calls of each kind, with every outcome.
fn calls() -> Vec<(&'static str, Frame)> {
    let client = |name, call| (name, Frame::Client(ClientFrame::Call(call)));
    let server = |name, call| (name, Frame::Server(ServerFrame::Call(call)));
    let method = |name| MethodName::new(name).unwrap();
    let failure = || Failure { code: 10_001, detail: "sold out".into(), data: Payload::json("[3]") };
    vec![
        (
            "hello-calls",
            Frame::Client(ClientFrame::Hello {
                protocol: 1,
                features: Features::CALLS,
                credential: Credential::DevUser(user("alice")),
            }),
        ),
        client(
            "invoke",
            ClientCall::Invoke(Invoke {
                request: 8,
                method: method("Add"),
                credit: 0,
                streams: vec![],
                arguments: Payload::json("[1,2]"),
            }),
        ),
        client(
            "invoke-with-streams",
            ClientCall::Invoke(Invoke {
                request: 9,
                method: method("Zip"),
                credit: 32,
                streams: vec![10, 300],
                arguments: Payload::message_pack(&b"\x90"[..]),
            }),
        ),
        client("cancel", ClientCall::Cancel { request: 8 }),
        client("credit", ClientCall::Credit { request: 9, items: 17 }),
        client("item", ClientCall::Item { stream: 10, item: Payload::json("7") }),
        client("end", ClientCall::End { stream: 10, failure: None }),
        client("end-failed", ClientCall::End { stream: 300, failure: Some(failure()) }),
        client("answer", ClientCall::Completion { call: 0, outcome: Outcome::Value(Payload::json("true")) }),
        client("answer-failed", ClientCall::Completion { call: 1, outcome: Outcome::Failed(failure()) }),
        server("completion", ServerCall::Completion { request: 8, outcome: Outcome::Nothing }),
        server(
            "completion-value",
            ServerCall::Completion { request: 8, outcome: Outcome::Value(Payload::json("3")) },
        ),
        server(
            "completion-failed",
            ServerCall::Completion { request: 8, outcome: Outcome::Failed(failure()) },
        ),
        server("result-item", ServerCall::Item { request: 9, item: Payload::message_pack(&b"\x01"[..]) }),
        server(
            "invoke-client",
            ServerCall::Invoke { call: 0, method: method("Confirm"), arguments: Payload::json("[\"?\"]") },
        ),
        server("cancel-client", ServerCall::Cancel { call: 0 }),
        server("stream-credit", ServerCall::Credit { stream: 10, items: 10 }),
        server("stream-stop", ServerCall::Stop { stream: 10 }),
    ]
}

fn in_format(format: PayloadFormat, payload: &'static [u8]) -> ServerFrame {
    ServerFrame::Message(Message {
        from: Sender::Server,
        to: Target::All,
        event: event("E"),
        format,
        payload: Bytes::from_static(payload),
    })
}

/// One frame about presence of each kind, with and without what may be missing.
fn presence() -> Vec<(&'static str, Frame)> {
    let server = |name, frame| (name, Frame::Server(ServerFrame::Presence(frame)));
    let one = |name, connections, data| Present { user: user(name), connections, data };
    let room = || group("room");
    vec![
        (
            "hello-presence",
            Frame::Client(ClientFrame::Hello {
                protocol: 1,
                features: Features::PRESENCE,
                credential: Credential::DevUser(user("alice")),
            }),
        ),
        ("watch", Frame::Client(ClientFrame::Watch { request: 11, group: room() })),
        ("unwatch", Frame::Client(ClientFrame::Unwatch { request: 12, group: room() })),
        server(
            "snapshot",
            PresenceFrame::Snapshot {
                group: room(),
                revision: 7,
                begins: true,
                complete: true,
                present: vec![one("alice", 1, None), one("bob", 2, Some(Payload::json("{\"mood\":1}")))],
            },
        ),
        server(
            "snapshot-of-nobody",
            PresenceFrame::Snapshot {
                group: room(),
                revision: 0,
                begins: true,
                complete: true,
                present: vec![],
            },
        ),
        server(
            "snapshot-part",
            PresenceFrame::Snapshot {
                group: room(),
                revision: 300,
                begins: false,
                complete: false,
                present: vec![one("carol", 251, Some(Payload::from("away")))],
            },
        ),
        server(
            "changes",
            PresenceFrame::Changes {
                group: room(),
                revision: 8,
                present: vec![one("dave", 1, Some(Payload::default()))],
                left: vec![user("alice"), user("bob")],
            },
        ),
        server(
            "watch-ended",
            PresenceFrame::Ended {
                group: room(),
                code: 3104,
                reason: "The grant for the group has ended.".into(),
            },
        ),
    ]
}
