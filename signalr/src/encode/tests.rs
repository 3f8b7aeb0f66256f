//! What goes out, byte for byte, and what never does.

use proptest::prelude::*;

use super::*;
use crate::{Decoder, Limits, Message, Outcome};

fn json(text: &'static str) -> Value {
    Value::new(Encoding::Json, text).unwrap()
}

fn packed(bytes: &'static [u8]) -> Value {
    Value::new(Encoding::MessagePack, bytes).unwrap()
}

fn of(value: &Value) -> Arguments {
    Arguments::of(value).unwrap()
}

#[test]
fn each_message_in_json() {
    for (message, expected) in [
        (invocation(None, "Send", &of(&json("42"))), r#"{"type":1,"target":"Send","arguments":[42]}"#),
        (
            invocation(Some("r1"), "Confirm", &Arguments::none(Encoding::Json)),
            r#"{"type":1,"invocationId":"r1","target":"Confirm","arguments":[]}"#,
        ),
        (stream_item("123", &json("42")), r#"{"type":2,"invocationId":"123","item":42}"#),
        (stream_item("123", &json("null")), r#"{"type":2,"invocationId":"123","item":null}"#),
        (completion(Encoding::Json, "123"), r#"{"type":3,"invocationId":"123"}"#),
        (completion_with_result("123", &json("42")), r#"{"type":3,"invocationId":"123","result":42}"#),
        (completion_with_result("123", &json("null")), r#"{"type":3,"invocationId":"123","result":null}"#),
        (
            completion_with_error(Encoding::Json, "123", "It didn't work!"),
            r#"{"type":3,"invocationId":"123","error":"It didn't work!"}"#,
        ),
        (ping(Encoding::Json), r#"{"type":6}"#),
        (close(Encoding::Json, None, false), r#"{"type":7}"#),
        (close(Encoding::Json, None, true), r#"{"type":7,"allowReconnect":true}"#),
        (close(Encoding::Json, Some("gone"), false), r#"{"type":7,"error":"gone"}"#),
        (close(Encoding::Json, Some("gone"), true), r#"{"type":7,"error":"gone","allowReconnect":true}"#),
    ] {
        assert_eq!(message, format!("{expected}\x1e"));
    }
}

#[test]
fn each_message_in_message_pack() {
    for (message, expected) in [
        // The bytes of the specification's examples, with their lengths.
        (
            invocation(Some("xyz"), "method", &of(&packed(b"\x2a"))),
            &b"\x11\x96\x01\x80\xa3xyz\xa6method\x91\x2a\x90"[..],
        ),
        (invocation(None, "method", &of(&packed(b"\x2a"))), b"\x0e\x96\x01\x80\xc0\xa6method\x91\x2a\x90"),
        (stream_item("xyz", &packed(b"\x2a")), b"\x08\x94\x02\x80\xa3xyz\x2a"),
        (stream_item("xyz", &packed(b"\xc0")), b"\x08\x94\x02\x80\xa3xyz\xc0"),
        (
            completion_with_error(Encoding::MessagePack, "xyz", "Error"),
            b"\x0e\x95\x03\x80\xa3xyz\x01\xa5Error",
        ),
        (completion(Encoding::MessagePack, "xyz"), b"\x08\x94\x03\x80\xa3xyz\x02"),
        (completion_with_result("xyz", &packed(b"\x2a")), b"\x09\x95\x03\x80\xa3xyz\x03\x2a"),
        (completion_with_result("xyz", &packed(b"\xc0")), b"\x09\x95\x03\x80\xa3xyz\x03\xc0"),
        (ping(Encoding::MessagePack), b"\x02\x91\x06"),
        // With three elements always, as .NET has it.
        (close(Encoding::MessagePack, None, false), b"\x04\x93\x07\xc0\xc2"),
        (close(Encoding::MessagePack, Some("xyz"), true), b"\x07\x93\x07\xa3xyz\xc3"),
    ] {
        assert_eq!(message, expected, "{expected:02x?}");
    }
}

#[test]
fn a_length_has_as_many_bytes_as_it_needs() {
    for (length, prefix) in [
        (127, &b"\x7f"[..]),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_152, b"\x80\x80\x80\x01"),
    ] {
        let head = if length < 300 {
            2
        } else if length < 65_536 {
            3
        } else {
            5
        };
        let filler = Value::binary(Encoding::MessagePack, &vec![0; length - 6 - head]);
        let message = completion_with_result("1", &filler);
        assert_eq!(message.len(), prefix.len() + length);
        assert_eq!(&message[..prefix.len()], prefix);
    }
}

#[test]
fn what_ends_a_client_never_goes_out() {
    for (client, message) in [
        ("JavaScript ends on an id that is empty", invocation(Some(""), "a", &of(&json("1")))),
        ("JavaScript ends on an id that is null", invocation(None, "a", &of(&json("1")))),
        ("Java ends on an error that is null", close(Encoding::Json, None, false)),
        ("Java ends on headers", completion(Encoding::Json, "1")),
        (".NET ends on an error beside a result", completion_with_error(Encoding::Json, "1", "no")),
        (".NET ends on a result beside an error", completion_with_result("1", &json("1"))),
        ("pysignalr ends on members that it does not know", stream_item("1", &json("1"))),
    ] {
        let text = std::str::from_utf8(&message).unwrap().strip_suffix('\x1e').unwrap();
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(!text.contains("null") && !text.contains("\"\""), "{client}: {text}");
        assert!(!(members.contains_key("error") && members.contains_key("result")), "{client}: {text}");
        let known =
            ["type", "invocationId", "target", "arguments", "item", "result", "error", "allowReconnect"];
        assert!(members.keys().all(|name| known.contains(&name.as_str())), "{client}: {text}");
    }

    // To JavaScript an error that is empty is a success.
    for encoding in Encoding::ALL {
        let message = completion_with_error(encoding, "1", "");
        let expected = Outcome::Error(NO_REASON.to_owned());
        assert_eq!(read(encoding, message), Message::Completion { id: "1".to_owned(), outcome: expected });
        assert_eq!(close(encoding, Some(""), true), close(encoding, None, true));
    }

    // signalrcore ends on five elements.
    for message in [
        invocation(None, "a", &of(&packed(b"\x01"))),
        invocation(Some("r1"), "a", &of(&packed(b"\x01"))),
        invocation(Some(""), "a", &of(&packed(b"\x01"))),
    ] {
        assert_eq!(&message[1..4], b"\x96\x01\x80");
        assert!(message.ends_with(b"\x90"));
    }
}

#[test]
fn names_and_texts_keep_their_case_and_are_escaped() {
    let message = invocation(None, "sEnD \"x\"\n", &of(&json("1")));
    assert_eq!(message, "{\"type\":1,\"target\":\"sEnD \\\"x\\\"\\n\",\"arguments\":[1]}\x1e");
    // What would end the message too early cannot be in it.
    let message = completion_with_error(Encoding::Json, "1", "a\x1eb");
    assert_eq!(message, "{\"type\":3,\"invocationId\":\"1\",\"error\":\"a\\u001eb\"}\x1e");
}

#[test]
fn a_servers_call_has_an_id_that_no_clients_stream_has() {
    for number in [0, 1, u64::MAX] {
        let id = result_id(number);
        assert_eq!(parse_result_id(&id), Some(number));
        assert!(id.parse::<u64>().is_err() && !id.starts_with(|c: char| c.is_ascii_hexdigit()), "{id}");
    }
    for id in ["", "r", "1", "r+1", "r01", "r-1", "R1", "r18446744073709551616", "6e1c"] {
        assert_eq!(parse_result_id(id), None, "{id}");
    }
}

fn read(encoding: Encoding, mut message: Bytes) -> Message {
    let limits = Limits { message_bytes: usize::MAX, ..Limits::default() };
    let mut decoder = Decoder::new(encoding, limits);
    let read = decoder.next_message(&mut message).unwrap().unwrap();
    assert!(message.is_empty() && decoder.is_between_messages());
    read
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        text in "\\PC{1,30}",
        id in "[ -~]{1,100}",
        items in prop::collection::vec(any::<i64>(), 0..40),
        message_pack in any::<bool>(),
        yes in any::<bool>(),
    ) {
        let encoding = if message_pack { Encoding::MessagePack } else { Encoding::Json };
        let array = serde_json::to_string(&items).unwrap();
        let arguments = Arguments::new(Encoding::Json, array).unwrap().to_encoding(encoding).unwrap();
        let value = Value::new(encoding, arguments.raw().clone()).unwrap();
        let (given, streams) = (yes.then_some(id.as_str()), vec![]);
        prop_assert_eq!(
            read(encoding, invocation(given, &text, &arguments)),
            Message::Invocation { id: given.map(str::to_owned), target: text.clone(), arguments, streams }
        );
        prop_assert_eq!(
            read(encoding, stream_item(&id, &value)),
            Message::StreamItem { id: id.clone(), item: value.clone() }
        );
        let done = |outcome| Message::Completion { id: id.clone(), outcome };
        prop_assert_eq!(read(encoding, completion(encoding, &id)), done(Outcome::Void));
        prop_assert_eq!(read(encoding, completion_with_result(&id, &value)), done(Outcome::Result(value)));
        prop_assert_eq!(
            read(encoding, completion_with_error(encoding, &id, &text)),
            done(Outcome::Error(text.clone()))
        );
        prop_assert_eq!(read(encoding, ping(encoding)), Message::Ping);
        prop_assert_eq!(
            read(encoding, close(encoding, Some(&text), yes)),
            Message::Close { error: Some(text), allow_reconnect: yes }
        );
    }
}
