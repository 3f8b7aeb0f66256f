//! Clients' bytes from strangers, a few million of them: what must hold whatever they are. `fuzz/` feeds it for hours,
//! property tests below in every test run.
#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise must stop the fuzzer")]

use bytes::Bytes;

use crate::handshake::HandshakeReader;
use crate::{Arguments, Decoder, Encoding, Limits, Message, Outcome, Value, encode};

const LIMITS: Limits = Limits { message_bytes: 4_096, depth: 64, id_bytes: 128, streams: 16 };

/// The most bytes that the length in front of a message has.
const PREFIX_BYTES: usize = 5;

/// A stream of hub messages in JSON; its first byte is the size of the chunks that it comes in.
pub fn json(input: &[u8]) {
    stream(Encoding::Json, input);
}

/// The same in MessagePack.
pub fn message_pack(input: &[u8]) {
    stream(Encoding::MessagePack, input);
}

fn stream(encoding: Encoding, input: &[u8]) {
    let Some((chunk, bytes)) = input.split_first() else { return };
    handshake(usize::from(*chunk), bytes);
    let whole = messages(encoding, bytes, bytes.len());
    let pieces = messages(encoding, bytes, usize::from(*chunk));
    assert_eq!(whole, pieces, "cutting the stream changed what is in it");
    for message in whole.0 {
        holds(encoding, message);
    }
}

/// All messages of a stream, and the error that it ends with.
fn messages(encoding: Encoding, bytes: &[u8], chunk: usize) -> (Vec<Message>, Option<String>) {
    let mut decoder = Decoder::new(encoding, LIMITS);
    let mut found = Vec::new();
    for chunk in bytes.chunks(chunk.max(1)) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            match decoder.next_message(&mut chunk) {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
        assert!(decoder.buffered() <= LIMITS.message_bytes + PREFIX_BYTES, "more is kept than one message");
    }
    (found, None)
}

/// A handshake is the same however it is cut, and takes nothing of what follows it.
fn handshake(chunk: usize, bytes: &[u8]) {
    let read = |chunk: usize| {
        let mut reader = HandshakeReader::default();
        let mut taken = 0;
        for chunk in bytes.chunks(chunk.max(1)) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            let length = chunk.len();
            let read = reader.read(&mut chunk);
            taken += length - chunk.len();
            match read {
                Ok(None) => {}
                Ok(Some(handshake)) => return Some((Ok(handshake), taken)),
                Err(error) => return Some((Err(error), 0)),
            }
        }
        None
    };
    assert_eq!(read(bytes.len()), read(chunk), "cutting the handshake changed it");
}

/// What must hold of a message, and of what is in it.
fn holds(encoding: Encoding, message: Message) {
    match message {
        Message::Invocation { id, target, arguments, .. } => {
            arguments_hold(&arguments);
            let written = encode::invocation(id.as_deref(), &target, &arguments);
            let streams = Vec::new();
            assert_eq!(read(encoding, written), Message::Invocation { id, target, arguments, streams });
        }
        Message::StreamInvocation { arguments, .. } => arguments_hold(&arguments),
        Message::StreamItem { id, item } => {
            value_holds(&item);
            assert_eq!(read(encoding, encode::stream_item(&id, &item)), Message::StreamItem { id, item });
        }
        Message::Completion { id, outcome } => {
            let written = match &outcome {
                Outcome::Void => encode::completion(encoding, &id),
                Outcome::Result(value) => {
                    value_holds(value);
                    encode::completion_with_result(&id, value)
                }
                // An empty one is replaced.
                Outcome::Error(error) if error.is_empty() => return,
                Outcome::Error(error) => encode::completion_with_error(encoding, &id, error),
            };
            assert_eq!(read(encoding, written), Message::Completion { id, outcome });
        }
        Message::Close { error, allow_reconnect } => {
            let error = error.filter(|error| !error.is_empty());
            let written = encode::close(encoding, error.as_deref(), allow_reconnect);
            assert_eq!(read(encoding, written), Message::Close { error, allow_reconnect });
        }
        _ => {}
    }
}

fn read(encoding: Encoding, mut message: Bytes) -> Message {
    let limits = Limits { message_bytes: usize::MAX, ..LIMITS };
    let read = Decoder::new(encoding, limits).next_message(&mut message);
    assert!(message.is_empty());
    read.expect("what is written is read").expect("it is whole")
}

fn arguments_hold(arguments: &Arguments) {
    let encoding = arguments.encoding();
    assert_eq!(Arguments::new(encoding, arguments.raw().clone()).as_ref(), Ok(arguments));
    assert_eq!(arguments.iter().count(), arguments.len());
    for (index, value) in arguments.iter().enumerate() {
        assert_eq!(arguments.value(index).as_ref(), Ok(&value));
        assert_eq!(arguments.str(index).ok(), value.as_str());
        assert_eq!(arguments.i64(index).ok(), value.as_i64());
        value_holds(&value);
    }
    for other in Encoding::ALL {
        if let Ok(converted) = arguments.to_encoding(other) {
            assert_eq!(Arguments::new(other, converted.raw().clone()).as_ref(), Ok(&converted));
            assert_eq!(converted.len(), arguments.len());
        }
    }
}

fn value_holds(value: &Value) {
    let encoding = value.encoding();
    assert_eq!(Value::new(encoding, value.raw().clone()).as_ref(), Ok(value));
    let types =
        [value.as_str().is_some(), value.as_f64().is_some(), value.as_bool().is_some(), value.is_null()];
    assert!(types.into_iter().filter(|is_type| *is_type).count() <= 1, "it is two things at once");
    assert!(value.as_f64().is_some() || (value.as_i64().is_none() && value.as_u64().is_none()));
    match encoding {
        Encoding::Json => {
            let packed = value.to_encoding(Encoding::MessagePack).expect("MessagePack has all that JSON has");
            assert!(packed.raw().len() <= value.raw().len() * 3 + 9);
            let json = packed.to_encoding(Encoding::Json).expect("it was JSON before");
            assert_eq!(json.to_encoding(Encoding::MessagePack).as_ref(), Ok(&packed));
            let read = serde_json::from_slice::<serde_json::Value>(value.raw());
            // serde_json is off by a little where numbers end.
            assert!(read.is_ok() || has_huge_numbers(value.raw()), "another parser does not read it");
        }
        Encoding::MessagePack => {
            let Ok(json) = value.to_encoding(Encoding::Json) else { return };
            assert!(json.raw().len() <= value.raw().len() * 7 + 2);
            let packed = json.to_encoding(Encoding::MessagePack).expect("MessagePack has all that JSON has");
            assert_eq!(packed.to_encoding(Encoding::Json).as_ref(), Ok(&json));
        }
    }
}

fn has_huge_numbers(json: &[u8]) -> bool {
    let has_exponent = json.windows(2).any(|pair| matches!(pair, [b'0'..=b'9', b'e' | b'E']));
    has_exponent || json.len() > 300
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message_pack::tests::{any_value, packed};

    /// Pieces of JSON messages, in any order.
    fn almost_messages() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(r#"{"type":1,"target":"a","arguments":["#),
            Just(r#"{"invocationId":"1","type":3,"result":"#),
            Just(r#"{"invocationId":"1","type":2,"item":"#),
            Just(r#"{"type":7,"error":"#),
            Just("]}\x1e"),
            Just("}\x1e"),
            Just("[1,"),
            Just("{\"a\":"),
            Just("\"\\u00e9\""),
            Just("\"\\ud83d\\ude00\""),
            Just("-1.5e3"),
            Just("18446744073709551616"),
            Just("null"),
            Just("]"),
            Just("}"),
            Just(","),
            Just("\x1e"),
        ];
        prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_bytes_hold_their_promises(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            json(&bytes);
            message_pack(&bytes);
        }

        #[test]
        fn almost_messages_in_json_hold_their_promises(
            chunk in any::<u8>(),
            mut bytes in almost_messages(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            bytes.insert(0, chunk);
            json(&bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            json(&bytes);
        }

        #[test]
        fn almost_messages_in_message_pack_hold_their_promises(
            chunk in any::<u8>(),
            value in any_value(),
            kind in 1..4u8,
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let value = Value::new(Encoding::MessagePack, packed(&value)).unwrap();
            let message = match kind {
                1 => encode::invocation(Some("1"), "a", &Arguments::of(&value).unwrap()),
                2 => encode::stream_item("1", &value),
                _ => encode::completion_with_result("1", &value),
            };
            let mut bytes = [&[chunk], &message[..]].concat();
            message_pack(&bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            message_pack(&bytes);
        }
    }
}
