//! The examples of `HubProtocol.md`, byte for byte.

use super::*;

fn invocation(id: Option<&str>, arguments: Arguments, streams: &[&str]) -> Message {
    Message::Invocation {
        id: id.map(str::to_owned),
        target: "Send".to_owned(),
        arguments,
        streams: streams.iter().copied().map(str::to_owned).collect(),
    }
}

#[test]
fn each_example_in_json() {
    let both = || arguments("[\n        42,\n        \"Test Message\"\n    ]");
    let item = Value::new(Encoding::Json, "42").unwrap();
    for (text, message) in [
        (
            r#"{
    "type": 1,
    "invocationId": "123",
    "target": "Send",
    "arguments": [
        42,
        "Test Message"
    ]
}"#,
            invocation(Some("123"), both(), &[]),
        ),
        (
            r#"{
    "type": 1,
    "target": "Send",
    "arguments": [
        42,
        "Test Message"
    ]
}"#,
            invocation(None, both(), &[]),
        ),
        (
            r#"{
    "type": 1,
    "invocationId": "123",
    "target": "Send",
    "arguments": [
        42
    ],
    "streamIds": [
        "1"
    ]
}"#,
            invocation(Some("123"), arguments("[\n        42\n    ]"), &["1"]),
        ),
        (
            r#"{
    "type": 1,
    "headers": {
        "Foo": "Bar"
    },
    "invocationId": "123",
    "target": "Send",
    "arguments": [
        42,
        "Test Message"
    ]
}"#,
            invocation(Some("123"), both(), &[]),
        ),
        (
            r#"{
    "type": 4,
    "invocationId": "123",
    "target": "Send",
    "arguments": [
        42,
        "Test Message"
    ]
}"#,
            Message::StreamInvocation {
                id: "123".to_owned(),
                target: "Send".to_owned(),
                arguments: both(),
                streams: vec![],
            },
        ),
        (
            r#"{
    "type": 2,
    "invocationId": "123",
    "item": 42
}"#,
            Message::StreamItem { id: "123".to_owned(), item: item.clone() },
        ),
        (
            r#"{
    "type": 3,
    "invocationId": "123"
}"#,
            Message::Completion { id: "123".to_owned(), outcome: Outcome::Void },
        ),
        (
            r#"{
    "type": 3,
    "invocationId": "123",
    "result": 42
}"#,
            Message::Completion { id: "123".to_owned(), outcome: Outcome::Result(item) },
        ),
        (
            r#"{
    "type": 3,
    "invocationId": "123",
    "error": "It didn't work!"
}"#,
            Message::Completion {
                id: "123".to_owned(),
                outcome: Outcome::Error("It didn't work!".to_owned()),
            },
        ),
        (
            r#"{
    "type": 5,
    "invocationId": "123"
}"#,
            Message::CancelInvocation { id: "123".to_owned() },
        ),
        (
            r#"{
    "type": 6
}"#,
            Message::Ping,
        ),
        (
            r#"{
    "type": 7
}"#,
            Message::Close { error: None, allow_reconnect: false },
        ),
        (
            r#"{
    "type": 7,
    "error": "Connection closed because of an error!"
}"#,
            Message::Close {
                error: Some("Connection closed because of an error!".to_owned()),
                allow_reconnect: false,
            },
        ),
        (
            r#"{
    "type": 7,
    "error": "Connection closed because of an error!",
    "allowReconnect": true
}"#,
            Message::Close {
                error: Some("Connection closed because of an error!".to_owned()),
                allow_reconnect: true,
            },
        ),
        (
            r#"{
    "type": 8,
    "sequenceId": 1394
}"#,
            Message::Ack { sequence: 1_394 },
        ),
        (
            r#"{
    "type": 9,
    "sequenceId": 1234
}"#,
            Message::Sequence { sequence: 1_234 },
        ),
    ] {
        assert_eq!(json(text), Ok(message), "{text}");
    }
    let both = r#"{"type": 3, "invocationId": "123", "result": 42, "error": "It didn't work!"}"#;
    assert_eq!(json(both), Err(DecodeError::Shape(ShapeError::ResultAndError)));
}

#[test]
fn each_example_in_message_pack() {
    let xyz = || "xyz".to_owned();
    let method = |id: Option<String>| Message::Invocation {
        id,
        target: "method".to_owned(),
        arguments: packed_arguments(&[0x91, 0x2a]),
        streams: vec![],
    };
    let item = Value::new(Encoding::MessagePack, &[0x2a][..]).unwrap();
    for (bytes, message) in [
        (
            &[
                0x96, 0x01, 0x80, 0xa3, 0x78, 0x79, 0x7a, 0xa6, 0x6d, 0x65, 0x74, 0x68, 0x6f, 0x64, 0x91,
                0x2a, 0x90,
            ][..],
            method(Some(xyz())),
        ),
        (&[0x96, 0x01, 0x80, 0xc0, 0xa6, 0x6d, 0x65, 0x74, 0x68, 0x6f, 0x64, 0x91, 0x2a, 0x90], method(None)),
        (
            &[
                0x96, 0x01, 0x82, 0xa1, 0x78, 0xa1, 0x79, 0xa1, 0x7a, 0xa1, 0x7a, 0xa3, 0x78, 0x79, 0x7a,
                0xa6, 0x6d, 0x65, 0x74, 0x68, 0x6f, 0x64, 0x91, 0x2a, 0x90,
            ],
            method(Some(xyz())),
        ),
        (
            &[
                0x96, 0x04, 0x80, 0xa3, 0x78, 0x79, 0x7a, 0xa6, 0x6d, 0x65, 0x74, 0x68, 0x6f, 0x64, 0x91,
                0x2a, 0x90,
            ],
            Message::StreamInvocation {
                id: xyz(),
                target: "method".to_owned(),
                arguments: packed_arguments(&[0x91, 0x2a]),
                streams: vec![],
            },
        ),
        (
            &[0x94, 0x02, 0x80, 0xa3, 0x78, 0x79, 0x7a, 0x2a],
            Message::StreamItem { id: xyz(), item: item.clone() },
        ),
        (
            &[0x95, 0x03, 0x80, 0xa3, 0x78, 0x79, 0x7a, 0x01, 0xa5, 0x45, 0x72, 0x72, 0x6f, 0x72],
            Message::Completion { id: xyz(), outcome: Outcome::Error("Error".to_owned()) },
        ),
        (
            &[0x94, 0x03, 0x80, 0xa3, 0x78, 0x79, 0x7a, 0x02],
            Message::Completion { id: xyz(), outcome: Outcome::Void },
        ),
        (
            &[0x95, 0x03, 0x80, 0xa3, 0x78, 0x79, 0x7a, 0x03, 0x2a],
            Message::Completion { id: xyz(), outcome: Outcome::Result(item) },
        ),
        (&[0x93, 0x05, 0x80, 0xa3, 0x78, 0x79, 0x7a], Message::CancelInvocation { id: xyz() }),
        (&[0x91, 0x06], Message::Ping),
        (
            &[0x92, 0x07, 0xa3, 0x78, 0x79, 0x7a],
            Message::Close { error: Some(xyz()), allow_reconnect: false },
        ),
        (
            &[0x93, 0x07, 0xa3, 0x78, 0x79, 0x7a, 0xc3],
            Message::Close { error: Some(xyz()), allow_reconnect: true },
        ),
        (&[0x92, 0x08, 0xcc, 0x24], Message::Ack { sequence: 36 }),
        (&[0x92, 0x09, 0xcc, 0x13], Message::Sequence { sequence: 19 }),
    ] {
        assert_eq!(packed(bytes), Ok(message), "{bytes:02x?}");
    }
}

#[test]
fn each_example_of_a_length() {
    let decoder = |limit| {
        let limits = Limits { message_bytes: limit, ..Limits::default() };
        Decoder::new(Encoding::MessagePack, limits)
    };
    for (bytes, length) in [
        (&[0x35][..], (1, 0x35)),
        (&[0x80, 0x29], (2, 0x1480)),
        (&[0xff, 0xff, 0xff, 0xff, 0x07], (5, 0x7fff_ffff)),
        // More bytes than it takes are not forbidden.
        (&[0x81, 0x80, 0x80, 0x80, 0x00], (5, 1)),
    ] {
        assert_eq!(decoder(usize::MAX).length_at_start_of(bytes), Ok(Some(length)), "{bytes:02x?}");
        assert_eq!(
            decoder(usize::MAX).length_at_start_of(&bytes[..bytes.len() - 1]),
            Ok(None),
            "{bytes:02x?}"
        );
        let too_long = Err(DecodeError::TooLong { limit: length.1 - 1 });
        assert_eq!(decoder(length.1 - 1).length_at_start_of(bytes), too_long, "{bytes:02x?}");
    }
    for bytes in [
        [0xff, 0xff, 0xff, 0xff, 0x08],
        [0x80, 0x80, 0x80, 0x80, 0x7f],
        [0x80, 0x80, 0x80, 0x80, 0x80],
        [0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let none = Err(DecodeError::LengthPrefix);
        assert_eq!(decoder(usize::MAX).length_at_start_of(&bytes), none, "{bytes:02x?}");
    }
}
