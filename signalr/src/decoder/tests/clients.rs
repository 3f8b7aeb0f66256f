//! What clients send that the specification does not show, each with who does it: as @microsoft/signalr 10.0.11,
//! pysignalr 1.3.3 and signalrcore 1.0.2 wrote it when they were asked to, with other names in it.

use super::*;

fn call(id: Option<&str>, target: &str, arguments: Arguments, streams: &[&str]) -> Message {
    Message::Invocation {
        id: id.map(str::to_owned),
        target: target.to_owned(),
        arguments,
        streams: streams.iter().copied().map(str::to_owned).collect(),
    }
}

#[test]
fn in_json() {
    for (client, text, message) in [
        (
            "JavaScript: `type` comes last, arguments before the target",
            r#"{"arguments":["a"],"invocationId":"0","target":"Send","type":1}"#,
            call(Some("0"), "Send", arguments(r#"["a"]"#), &[]),
        ),
        (
            "JavaScript: streams that are none",
            r#"{"arguments":[],"streamIds":[],"target":"Send","type":1}"#,
            call(None, "Send", arguments("[]"), &[]),
        ),
        (
            "JavaScript: two streams",
            r#"{"arguments":[],"invocationId":"2","streamIds":["0","1"],"target":"Up","type":1}"#,
            call(Some("2"), "Up", arguments("[]"), &["0", "1"]),
        ),
        (
            "JavaScript: a stream that has ended",
            r#"{"invocationId":"0","type":3}"#,
            Message::Completion { id: "0".to_owned(), outcome: Outcome::Void },
        ),
        (
            "JavaScript, newer: the answer to a server's call, here null",
            r#"{"invocationId":"r1","result":null,"type":3}"#,
            Message::Completion {
                id: "r1".to_owned(),
                outcome: Outcome::Result(Value::null(Encoding::Json)),
            },
        ),
        (
            "JavaScript, newer: it closes",
            r#"{"type":7}"#,
            Message::Close { error: None, allow_reconnect: false },
        ),
        (
            "Python's white space; headers with the token",
            r#"{"type": 1, "target": "Send", "arguments": ["a"],
                "headers": {"Authorization": "Bearer x"}, "invocationId": "6e1c"}"#,
            call(Some("6e1c"), "Send", arguments(r#"["a"]"#), &[]),
        ),
        (
            "anybody in Python: members that are null",
            r#"{"type":1,"invocationId":null,"headers":null,"target":"Send","arguments":[],"streamIds":null}"#,
            call(None, "Send", arguments("[]"), &[]),
        ),
        (
            "anybody in Python: a result beside an error that is null",
            r#"{"type":3,"invocationId":"r1","result":1,"error":null}"#,
            Message::Completion {
                id: "r1".to_owned(),
                outcome: Outcome::Result(Value::new(Encoding::Json, "1").unwrap()),
            },
        ),
        (
            "anybody in Python: an error beside a result that is null",
            r#"{"type":3,"invocationId":"r1","result":null,"error":"no"}"#,
            Message::Completion { id: "r1".to_owned(), outcome: Outcome::Error("no".to_owned()) },
        ),
        (
            "anybody: an id that is empty is none",
            r#"{"type":1,"invocationId":"","target":"Send","arguments":[]}"#,
            call(None, "Send", arguments("[]"), &[]),
        ),
        (
            "anybody: names and texts with escapes",
            r#"{"t\u0079pe":1,"target":"S\u0065nd","arguments":["\u0061"]}"#,
            call(None, "Send", arguments(r#"["\u0061"]"#), &[]),
        ),
        (
            "a later version: members that are not known, twice",
            r#"{"later":{"type":[1]},"later":1,"type":6,"Type":7}"#,
            Message::Ping,
        ),
        (
            "anybody: members that a ping does not have",
            r#"{"type":6,"arguments":1,"invocationId":[]}"#,
            Message::Ping,
        ),
        ("a later version: a type that is not known", r#"{"type":10}"#, Message::Unknown { kind: 10 }),
        ("a type below all", r#"{"type":-1}"#, Message::Unknown { kind: -1 }),
    ] {
        assert_eq!(json(text), Ok(message), "{client}");
    }
}

#[test]
fn in_message_pack() {
    let one = || packed_arguments(b"\x91\x01");
    for (client, bytes, message) in [
        (
            "JavaScript and signalrcore: five elements",
            &b"\x95\x01\x80\xa10\xa4Send\x91\x01"[..],
            call(Some("0"), "Send", one(), &[]),
        ),
        (
            "JavaScript: an id that is empty is none",
            b"\x96\x01\x80\xa0\xa4Send\x91\x01\x90",
            call(None, "Send", one(), &[]),
        ),
        (
            "signalrcore: a stream, and the id is left out",
            b"\x95\x01\x80\xa2Up\x90\x91\xa46e1c",
            call(None, "Up", packed_arguments(b"\x90"), &["6e1c"]),
        ),
        (
            "signalrcore: a stream that has ended",
            b"\x93\x03\x80\xa46e1c",
            Message::Completion { id: "6e1c".to_owned(), outcome: Outcome::Void },
        ),
        ("JavaScript: a stream", b"\x96\x01\x80\xa11\xa4Send\x91\x01\x91\xa10", call(Some("1"), "Send", one(), &["0"])),
        (
            "anybody in Python: no headers, and no streams",
            b"\x96\x01\xc0\xc0\xa4Send\x91\x01\xc0",
            call(None, "Send", one(), &[]),
        ),
        (
            "pysignalr: headers with the token",
            b"\x96\x01\x81\xadAuthorization\xa8Bearer x\xc0\xa4Send\x91\x01\x90",
            call(None, "Send", one(), &[]),
        ),
        (
            "a client that writes numbers longer than it has to",
            b"\xdc\x00\x06\xcd\x00\x01\xde\x00\x00\xd9\x010\xda\x00\x04Send\xdd\x00\x00\x00\x01\xd0\x01\xdc\x00\x00",
            call(Some("0"), "Send", packed_arguments(b"\xdd\x00\x00\x00\x01\xd0\x01"), &[]),
        ),
        (
            "a null result",
            b"\x95\x03\x80\xa2r1\x03\xc0",
            Message::Completion {
                id: "r1".to_owned(),
                outcome: Outcome::Result(Value::null(Encoding::MessagePack)),
            },
        ),
        (
            "a later version: more elements than there are",
            b"\x98\x01\x80\xc0\xa4Send\x91\x01\x90\x81\x01\x02\xc0",
            call(None, "Send", one(), &[]),
        ),
        ("a later version: a ping with more", b"\x93\x06\x80\xc0", Message::Ping),
        (
            "a close that was because of no error",
            b"\x92\x07\xc0",
            Message::Close { error: None, allow_reconnect: false },
        ),
        ("the same in full", b"\x93\x07\xc0\xc2", Message::Close { error: None, allow_reconnect: false }),
        ("a later version: a type that is not known", b"\x92\x0a\xa1x", Message::Unknown { kind: 10 }),
        ("a type below all", b"\x91\xff", Message::Unknown { kind: -1 }),
    ] {
        assert_eq!(packed(bytes), Ok(message), "{client}");
    }
}

#[test]
fn binary_and_timestamps_come_through_as_they_came() {
    // JavaScript's Uint8Array and Date.
    let body = b"\x95\x01\x80\xa10\xa4Send\x93\x01\xc4\x02\x00\xff\xd7\xff\xa1\xa5\xd6\x00\x5a\x4a\xf6\xa5";
    let Ok(Message::Invocation { arguments, .. }) = packed(body) else { panic!("an invocation") };
    assert_eq!(arguments.raw(), &body[10..]);
    let converted = arguments.to_encoding(Encoding::Json).unwrap();
    assert_eq!(converted.raw(), r#"[1,"AP8=","2018-01-02T03:04:05.678Z"]"#);
    let text = r#"{"type":1,"target":"Send","arguments":[1.0, 1e2, "\u00e9" , 12345678901234567890123 ]}"#;
    let Ok(Message::Invocation { arguments, .. }) = json(text) else { panic!("an invocation") };
    assert_eq!(arguments.raw(), r#"[1.0, 1e2, "\u00e9" , 12345678901234567890123 ]"#);
}

#[test]
fn headers_are_in_no_message() {
    let text =
        r#"{"type":1,"headers":{"Authorization":"Bearer secret"},"target":"Send","arguments":["hidden"]}"#;
    let shown = format!("{:?}", json(text).unwrap());
    assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
}
