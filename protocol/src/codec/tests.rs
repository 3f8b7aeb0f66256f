//! The codec's tests: golden vectors, round trips, and bytes that are no frames.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn user(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

fn group(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

fn event(text: &str) -> EventName {
    EventName::new(text).unwrap()
}

fn connection(first: u8) -> ConnectionId {
    let mut bytes = [0; 16];
    for (byte, value) in bytes.iter_mut().zip(first..) {
        *byte = value;
    }
    ConnectionId::from_bytes(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Clone, PartialEq)]
enum Frame {
    Client(ClientFrame),
    Server(ServerFrame),
}

impl Frame {
    fn encode(&self) -> Bytes {
        match self {
            Self::Client(frame) => encode_client(frame),
            Self::Server(frame) => encode_server(frame),
        }
    }

    fn decode_like(&self, body: &Bytes) -> Result<Self, DecodeError> {
        match self {
            Self::Client(_) => decode_client(body).map(Self::Client),
            Self::Server(_) => decode_server(body).map(Self::Server),
        }
    }
}

/// One frame of each kind at least, with every variant of every part, and integers of every width.
fn samples() -> Vec<(&'static str, Frame)> {
    let client = |name, frame| (name, Frame::Client(frame));
    let server = |name, frame| (name, Frame::Server(frame));
    vec![
        client(
            "hello-dev-user",
            ClientFrame::Hello { protocol: 1, credential: Credential::DevUser(user("alice")) },
        ),
        client(
            "hello-token",
            ClientFrame::Hello { protocol: 1, credential: Credential::Token(Token::new("aaaa.bbbb.cccc")) },
        ),
        client("hello-certificate", ClientFrame::Hello { protocol: 1, credential: Credential::Certificate }),
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
                payload: Bytes::new(),
            }),
        ),
        client("count-group", ClientFrame::Count { request: 5, target: Target::Group(group("room")) }),
        client("count-all", ClientFrame::Count { request: 6, target: Target::All }),
        client("refresh", ClientFrame::Refresh { request: 7, token: Token::new("dddd.eeee.ffff") }),
        server(
            "welcome",
            ServerFrame::Welcome(Welcome {
                protocol: 1,
                connection: connection(0),
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
                payload: Bytes::from_static(b"hi"),
            }),
        ),
        server(
            "message-to-user",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::User(user("bob")),
                event: event("E"),
                payload: Bytes::from_static(&[0, 255, 1, 254]),
            }),
        ),
        server(
            "message-to-connection",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::Connection(connection(0x10)),
                event: event("E"),
                payload: Bytes::new(),
            }),
        ),
        server(
            "message-to-all",
            ServerFrame::Message(Message {
                from: Sender::Connection { connection: connection(0), user: user("alice") },
                to: Target::All,
                event: event("E"),
                payload: Bytes::from(vec![b'x'; 251]),
            }),
        ),
        server(
            "message-from-server",
            ServerFrame::Message(Message {
                from: Sender::Server,
                to: Target::All,
                event: event("Notice"),
                payload: Bytes::from_static(b"hi"),
            }),
        ),
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
}

fn id_json(id: &ConnectionId) -> Value {
    json!(hex(id.as_bytes()))
}

fn target_json(target: &Target) -> Value {
    match target {
        Target::Connection(id) => json!({ "Connection": id_json(id) }),
        Target::User(user) => json!({ "User": user.as_str() }),
        Target::Group(group) => json!({ "Group": group.as_str() }),
        Target::All => json!("All"),
    }
}

/// The frame as other languages' tests read it: fields by name, bytes in hex. Exhaustive, so that a new field or frame
/// cannot be left out of the vectors.
fn frame_json(frame: &Frame) -> Value {
    match frame {
        Frame::Client(ClientFrame::Hello { protocol, credential }) => {
            let credential = match credential {
                Credential::Token(token) => json!({ "Token": token.expose() }),
                Credential::DevUser(user) => json!({ "DevUser": user.as_str() }),
                Credential::Certificate => json!("Certificate"),
            };
            json!({ "Hello": { "protocol": protocol, "credential": credential } })
        }
        Frame::Client(ClientFrame::Join { request, group }) => {
            json!({ "Join": { "request": request, "group": group.as_str() } })
        }
        Frame::Client(ClientFrame::Leave { request, group }) => {
            json!({ "Leave": { "request": request, "group": group.as_str() } })
        }
        Frame::Client(ClientFrame::Send(Send { request, ack, to, except, others, event, payload })) => {
            json!({
                "Send": {
                    "request": request,
                    "ack": ack,
                    "to": to.iter().map(target_json).collect::<Vec<_>>(),
                    "except": except.iter().map(id_json).collect::<Vec<_>>(),
                    "others": others,
                    "event": event.as_str(),
                    "payload": hex(payload),
                }
            })
        }
        Frame::Client(ClientFrame::Count { request, target }) => {
            json!({ "Count": { "request": request, "target": target_json(target) } })
        }
        Frame::Client(ClientFrame::Refresh { request, token }) => {
            json!({ "Refresh": { "request": request, "token": token.expose() } })
        }
        Frame::Server(ServerFrame::Welcome(Welcome { protocol, connection, user, limits, server })) => {
            json!({
                "Welcome": {
                    "protocol": protocol,
                    "connection": id_json(connection),
                    "user": user.as_str(),
                    "limits": {
                        "frame_bytes": limits.frame_bytes,
                        "payload_bytes": limits.payload_bytes,
                        "groups": limits.groups,
                        "targets": limits.targets,
                    },
                    "server": server,
                }
            })
        }
        Frame::Server(ServerFrame::Ack { request, count }) => {
            json!({ "Ack": { "request": request, "count": count } })
        }
        Frame::Server(ServerFrame::Error { request, code, detail }) => {
            json!({ "Error": { "request": request, "code": code, "detail": detail } })
        }
        Frame::Server(ServerFrame::Message(Message { from, to, event, payload })) => {
            let from = match from {
                Sender::Connection { connection, user } => {
                    json!({ "Connection": { "connection": id_json(connection), "user": user.as_str() } })
                }
                Sender::Server => json!("Server"),
            };
            json!({
                "Message": {
                    "from": from,
                    "to": target_json(to),
                    "event": event.as_str(),
                    "payload": hex(payload),
                }
            })
        }
        Frame::Server(ServerFrame::Joined { group, members }) => {
            json!({ "Joined": { "group": group.as_str(), "members": members } })
        }
        Frame::Server(ServerFrame::Removed { group, code, reason }) => {
            json!({ "Removed": { "group": group.as_str(), "code": code, "reason": reason } })
        }
        Frame::Server(ServerFrame::Goodbye { code, reason, retry_after_ms }) => {
            json!({ "Goodbye": { "code": code, "reason": reason, "retry_after_ms": retry_after_ms } })
        }
        Frame::Server(ServerFrame::Lagged { dropped }) => json!({ "Lagged": { "dropped": dropped } }),
        Frame::Server(ServerFrame::Expiring { scope, seconds }) => {
            let scope = match scope {
                ExpiryScope::Token => json!("Token"),
                ExpiryScope::Groups { count } => json!({ "Groups": { "count": count } }),
            };
            json!({ "Expiring": { "scope": scope, "seconds": seconds } })
        }
    }
}

/// The vectors as they should stand in the file. `FANFARE_BLESS=1 cargo test -p fanfare-protocol` writes them, for a new
/// frame; a changed line of an old frame is a broken protocol.
#[test]
fn golden_vectors_match_the_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors.json");
    let lines: Vec<String> = samples()
        .iter()
        .map(|(name, frame)| {
            let direction = match frame {
                Frame::Client(_) => "client",
                Frame::Server(_) => "server",
            };
            let vector = json!({
                "name": name, "from": direction, "hex": hex(&frame.encode()), "frame": frame_json(frame)
            });
            format!("  {vector}")
        })
        .collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    if std::env::var_os("FANFARE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "the wire format has changed");
}

#[test]
fn golden_vectors_decode_to_their_frames() {
    let file: Vec<Value> = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
    assert_eq!(file.len(), samples().len());
    for (vector, (name, frame)) in file.iter().zip(samples()) {
        assert_eq!(vector["name"], name);
        let text = vector["hex"].as_str().unwrap();
        let bytes: Bytes =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        assert_eq!(frame.decode_like(&bytes.slice(PREFIX_BYTES..)), Ok(frame.clone()), "{name}");
    }
}

#[test]
fn protocol_md_shows_every_golden_vector() {
    let text = include_str!("../../../PROTOCOL.md");
    for (name, frame) in samples() {
        let bytes = frame.encode();
        let dump = dump(&bytes);
        assert!(text.contains(&dump), "PROTOCOL.md lacks the dump of {name}:\n{dump}");
    }
}

/// 16 bytes a line, in hex.
fn dump(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n")
}

#[test]
fn a_heading_and_a_body_make_the_same_bytes_as_a_whole_message() {
    for (name, frame) in samples() {
        let Frame::Server(ServerFrame::Message(message)) = frame else { continue };
        let body = encode_message_body(&message.event, &message.payload);
        let heading = encode_message_heading(&message.from, &message.to, body.len());
        assert_eq!([heading, body].concat(), encode_message(&message), "{name}");
    }
}

#[test]
fn a_payload_is_a_slice_of_the_frame() {
    let bytes = samples().into_iter().find(|(name, _)| *name == "send-to-group").unwrap().1.encode();
    let frame = bytes.slice(PREFIX_BYTES..);
    let Ok(ClientFrame::Send(send)) = decode_client(&frame) else { panic!("a send") };
    let range = frame.as_ptr_range();
    assert!(range.contains(&send.payload.as_ptr()), "the payload was copied");
}

#[test]
fn a_frame_in_one_chunk_is_a_slice_of_the_chunk() {
    let mut chunk = encode_client(&ClientFrame::Join { request: 1, group: group("room") });
    let range = chunk.as_ptr_range();
    let frame = FrameReader::new(100).next_frame(&mut chunk).unwrap().unwrap();
    assert!(range.contains(&frame.as_ptr()), "the frame was copied");
    assert!(chunk.is_empty());
}

#[test]
fn the_length_is_checked_before_anything_is_kept() {
    let mut reader = FrameReader::new(100);
    let mut chunk = Bytes::from_static(&[101, 0, 0, 0, 1, 2, 3]);
    assert_eq!(reader.next_frame(&mut chunk), Err(DecodeError::TooLong { length: 101, limit: 100 }));
    assert_eq!(reader.partial.capacity(), 0);

    // The same with the prefix spread over two chunks.
    let mut reader = FrameReader::new(100);
    let mut first = Bytes::from_static(&[0xff, 0xff]);
    assert_eq!(reader.next_frame(&mut first), Ok(None));
    let mut second = Bytes::from_static(&[0xff, 0xff, 1, 2, 3]);
    assert!(reader.next_frame(&mut second).is_err());
    assert!(reader.partial.len() <= PREFIX_BYTES);
}

#[test]
fn a_forged_collection_length_allocates_nothing() {
    // Send{request: 1, ack: false, to: 2^62 targets ...
    let mut body = vec![3, 1, 0, 253];
    body.extend_from_slice(&(1u64 << 62).to_le_bytes());
    assert!(matches!(decode_client(&body.into()), Err(DecodeError::Malformed(_))));
}

#[test]
fn what_is_no_frame_is_refused() {
    let malformed = |bytes: &'static [u8]| {
        let error = decode_client(&Bytes::from_static(bytes)).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{error:?}");
        // The peer reads it, and it is for a person: no names of our types, and none of bincode's.
        let told = error.to_string();
        assert!(!told.contains("Wire") && !told.contains("Type") && !told.contains("::"), "{told}");
    };
    malformed(b"");
    malformed(&[200]); // an unknown variant
    malformed(&[1, 1, 4, b'r', b'o']); // an end that comes too early
    malformed(&[1, 1, 2, 0xc3, 0x28]); // not UTF-8
    malformed(&[3, 1, 2]); // a bool that is neither 0 nor 1
    assert_eq!(decode_client(&Bytes::from_static(&[1, 1, 1, b'r', 9])), Err(DecodeError::TrailingBytes(1)));
    assert_eq!(
        decode_client(&Bytes::from_static(&[1, 7, 0])),
        Err(DecodeError::InvalidName { request: Some(7), name: NameError::Empty { kind: "group name" } })
    );
}

fn any_user() -> impl Strategy<Value = UserName> {
    "\\PC{1,60}".prop_map(|text| user(&text))
}

fn any_group() -> impl Strategy<Value = GroupName> {
    "\\PC{1,60}".prop_map(|text| group(&text))
}

fn any_event() -> impl Strategy<Value = EventName> {
    "\\PC{1,60}".prop_map(|text| event(&text))
}

fn any_payload() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..2_000).prop_map(Bytes::from)
}

fn any_id() -> impl Strategy<Value = ConnectionId> {
    any::<[u8; 16]>().prop_map(ConnectionId::from_bytes)
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any_id().prop_map(Target::Connection),
        any_user().prop_map(Target::User),
        any_group().prop_map(Target::Group),
        Just(Target::All),
    ]
}

fn any_sender() -> impl Strategy<Value = Sender> {
    prop_oneof![
        (any_id(), any_user()).prop_map(|(connection, user)| Sender::Connection { connection, user }),
        Just(Sender::Server),
    ]
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let credential = prop_oneof![
        "\\PC{0,300}".prop_map(|token| Credential::Token(Token::new(token))),
        any_user().prop_map(Credential::DevUser),
        Just(Credential::Certificate),
    ];
    let send = (
        any::<u64>(),
        any::<bool>(),
        proptest::collection::vec(any_target(), 0..8),
        proptest::collection::vec(any_id(), 0..8),
        any::<bool>(),
        any_event(),
        any_payload(),
    );
    let client = prop_oneof![
        (any::<u32>(), credential)
            .prop_map(|(protocol, credential)| ClientFrame::Hello { protocol, credential }),
        (any::<u64>(), any_group()).prop_map(|(request, group)| ClientFrame::Join { request, group }),
        (any::<u64>(), any_group()).prop_map(|(request, group)| ClientFrame::Leave { request, group }),
        send.prop_map(|(request, ack, to, except, others, event, payload)| {
            ClientFrame::Send(Send { request, ack, to, except, others, event, payload })
        }),
        (any::<u64>(), any_target()).prop_map(|(request, target)| ClientFrame::Count { request, target }),
        (any::<u64>(), "\\PC{0,300}")
            .prop_map(|(request, token)| ClientFrame::Refresh { request, token: Token::new(token) }),
    ];
    let welcome = (any::<u32>(), any_id(), any_user(), any::<[u32; 4]>(), "\\PC{0,40}");
    let server =
        prop_oneof![
            welcome.prop_map(|(protocol, connection, user, limits, server)| {
                let [frame_bytes, payload_bytes, groups, targets] = limits;
                let limits = Limits { frame_bytes, payload_bytes, groups, targets };
                ServerFrame::Welcome(Welcome { protocol, connection, user, limits, server })
            }),
            any::<[u64; 2]>().prop_map(|[request, count]| ServerFrame::Ack { request, count }),
            (any::<u64>(), any::<u16>(), "\\PC{0,200}")
                .prop_map(|(request, code, detail)| ServerFrame::Error { request, code, detail }),
            (any_sender(), any_target(), any_event(), any_payload()).prop_map(
                |(from, to, event, payload)| { ServerFrame::Message(Message { from, to, event, payload }) }
            ),
            (any_group(), any::<u64>()).prop_map(|(group, members)| ServerFrame::Joined { group, members }),
            (any_group(), any::<u16>(), "\\PC{0,200}")
                .prop_map(|(group, code, reason)| ServerFrame::Removed { group, code, reason }),
            (any::<u16>(), "\\PC{0,200}", any::<u32>()).prop_map(|(code, reason, retry_after_ms)| {
                ServerFrame::Goodbye { code, reason, retry_after_ms }
            }),
            any::<u64>().prop_map(|dropped| ServerFrame::Lagged { dropped }),
            (any::<Option<u32>>(), any::<u32>()).prop_map(|(count, seconds)| {
                let scope = count.map_or(ExpiryScope::Token, |count| ExpiryScope::Groups { count });
                ServerFrame::Expiring { scope, seconds }
            }),
        ];
    prop_oneof![client.prop_map(Frame::Client), server.prop_map(Frame::Server)]
}

proptest! {
    #[test]
    fn any_frame_round_trips(frame in any_frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(frame.decode_like(&bytes.slice(PREFIX_BYTES..)), Ok(frame));
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut(
        frames in proptest::collection::vec(any_frame(), 1..6),
        cuts in proptest::collection::vec(1usize..300, 1..40),
    ) {
        let mut stream = Bytes::from(frames.iter().flat_map(|frame| frame.encode()).collect::<Vec<u8>>());
        let mut reader = FrameReader::new(Limits::FRAME_CEILING);
        let mut seen = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        while !stream.is_empty() {
            let cut = cuts.next().unwrap().min(stream.len());
            let mut chunk = stream.split_to(cut);
            while let Some(body) = reader.next_frame(&mut chunk).unwrap() {
                seen.push(frames[seen.len()].decode_like(&body).unwrap());
            }
            prop_assert!(chunk.is_empty());
        }
        prop_assert!(reader.is_between_frames());
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let frame = Bytes::from(bytes);
        // What decodes must encode to the very same bytes: there is one encoding of a frame, but for integers that are
        // written wider than they need to be, which bincode accepts.
        if let Ok(decoded) = decode_client(&frame) {
            let again = encode_client(&decoded).slice(PREFIX_BYTES..);
            prop_assert!(again.len() <= frame.len());
            prop_assert_eq!(decode_client(&again), Ok(decoded));
        }
        let _ = decode_server(&frame);
    }

    #[test]
    fn a_cut_or_damaged_frame_never_panics(frame in any_frame(), at in any::<prop::sample::Index>(), with: u8) {
        let body = frame.encode().slice(PREFIX_BYTES..);
        let cut = at.index(body.len());
        prop_assert!(frame.decode_like(&body.slice(..cut)).is_err());
        let mut damaged = body.to_vec();
        damaged[cut] ^= with;
        let _ = frame.decode_like(&damaged.into());
    }
}
