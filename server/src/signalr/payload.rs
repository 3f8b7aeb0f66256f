//! Payloads and SignalR's values: the one as the other.
//!
//! In: a payload in some format, or arguments that a client wrote. Out: arguments or a value in a client's encoding, or
//! a payload. Invariant: whatever a payload says of itself, something can be made of it: what is not what its format
//! says is bytes.

use bytes::Bytes;
use fanfare_protocol::{Payload, PayloadFormat};
use fanfare_signalr::{Arguments, Encoding, Value};

/// A message's payload, as the arguments of an invocation. An array is its elements, anything else is one argument;
/// nothing is none.
pub(super) fn arguments(format: PayloadFormat, bytes: &Bytes, to: Encoding) -> Arguments {
    let written = match format {
        PayloadFormat::Json => Some(Encoding::Json),
        PayloadFormat::MessagePack => Some(Encoding::MessagePack),
        PayloadFormat::Text | PayloadFormat::Binary | PayloadFormat::Other(_) => None,
    };
    let array = written.and_then(|encoding| Arguments::new(encoding, bytes.clone()).ok());
    if let Some(arguments) = array.and_then(|arguments| arguments.to_encoding(to).ok()) {
        return arguments;
    }
    if bytes.is_empty() && format != PayloadFormat::Text {
        return Arguments::none(to);
    }
    // A value that is as deep as values may be has no room for an array around it.
    Arguments::of(&value(format, bytes, to))
        .or_else(|_| Arguments::of(&Value::binary(to, bytes)))
        .unwrap_or_else(|_| Arguments::none(to))
}

/// A payload that stands alone: a result, or an item.
pub(super) fn value(format: PayloadFormat, bytes: &Bytes, to: Encoding) -> Value {
    let read = match format {
        PayloadFormat::Json => Value::new(Encoding::Json, bytes.clone()).ok(),
        PayloadFormat::MessagePack => Value::new(Encoding::MessagePack, bytes.clone()).ok(),
        PayloadFormat::Text => str::from_utf8(bytes).ok().map(|text| Value::text(to, text)),
        PayloadFormat::Binary | PayloadFormat::Other(_) => None,
    };
    read.and_then(|value| value.to_encoding(to).ok()).unwrap_or_else(|| Value::binary(to, bytes))
}

/// The deepest value that is shown inside of something else: far from what arguments may be.
const SHOWN_DEPTH: usize = 32;

/// A payload inside of an argument, as JSON has it.
pub(super) fn shown(payload: &Payload) -> serde_json::Value {
    let alone = value(payload.format, &payload.bytes, Encoding::Json);
    let read = serde_json::from_slice(alone.raw()).ok().filter(|read| is_shallow(read, SHOWN_DEPTH));
    read.unwrap_or_else(|| {
        let binary = Value::binary(Encoding::Json, &payload.bytes);
        serde_json::from_slice(binary.raw()).unwrap_or_default()
    })
}

fn is_shallow(value: &serde_json::Value, depth: usize) -> bool {
    let below = |inner: &serde_json::Value| depth > 0 && is_shallow(inner, depth - 1);
    match value {
        serde_json::Value::Array(values) => values.iter().all(below),
        serde_json::Value::Object(members) => members.values().all(below),
        _ => true,
    }
}

/// What a client wrote, as a payload.
pub(super) fn of_arguments(arguments: &Arguments) -> Payload {
    Payload::new(format(arguments.encoding()), arguments.raw().clone())
}

/// The same for one value.
pub(super) fn of_value(value: &Value) -> Payload {
    Payload::new(format(value.encoding()), value.raw().clone())
}

fn format(encoding: Encoding) -> PayloadFormat {
    match encoding {
        Encoding::Json => PayloadFormat::Json,
        Encoding::MessagePack => PayloadFormat::MessagePack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(format: PayloadFormat, bytes: &'static [u8]) -> String {
        let bytes = Bytes::from_static(bytes);
        let [json, packed] = Encoding::ALL.map(|encoding| arguments(format, &bytes, encoding));
        assert_eq!(packed.len(), json.len());
        String::from_utf8(json.raw().to_vec()).unwrap()
    }

    #[test]
    fn any_payload_is_arguments() {
        use PayloadFormat::{Binary, Json, MessagePack, Other, Text};
        for (format, payload, expected) in [
            (Json, &b"[\"a\", 1]"[..], "[\"a\", 1]"),
            (Json, b"[]", "[]"),
            (Json, b"{\"a\":[1]}", "[{\"a\":[1]}]"),
            (Json, b"null", "[null]"),
            (Json, b"{\"a\":", "[\"eyJhIjo=\"]"),
            (Json, b"", "[]"),
            (MessagePack, b"\x92\xa1a\x01", "[\"a\",1]"),
            (MessagePack, b"\x81\xa1a\x01", "[{\"a\":1}]"),
            (MessagePack, b"\xc1", "[\"wQ==\"]"),
            // A map with an array for a key, which JSON has not.
            (MessagePack, b"\x91\x81\x90\x01", "[\"kYGQAQ==\"]"),
            (Text, b"hello", "[\"hello\"]"),
            (Text, b"", "[\"\"]"),
            (Text, b"\xff", "[\"/w==\"]"),
            (Binary, b"\x00\x01", "[\"AAE=\"]"),
            (Binary, b"", "[]"),
            (Other(77), b"x", "[\"eA==\"]"),
        ] {
            assert_eq!(json(format, payload), expected, "{format:?} {payload:?}");
        }
    }

    #[test]
    fn any_payload_can_be_shown_inside_of_something_else() {
        let deep = |depth: usize| Payload::json(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        for (payload, expected) in [
            (Payload::json("{\"a\":[1]}"), serde_json::json!({ "a": [1] })),
            (Payload::from("away"), "away".into()),
            (Payload::from([0, 1]), "AAE=".into()),
            (Payload::json("{"), "ew==".into()),
            (Payload::message_pack(&b"\x91\x01"[..]), serde_json::json!([1])),
        ] {
            assert_eq!(shown(&payload), expected, "{payload:?}");
        }
        assert!(shown(&deep(32)).is_array() && shown(&deep(60)).is_string());
    }

    #[test]
    fn what_is_as_deep_as_it_may_be_is_bytes_and_not_nothing() {
        for depth in 60..70 {
            let deep = Bytes::from(format!("{}{}", "{\"a\":".repeat(depth), "1") + &"}".repeat(depth));
            let found = arguments(PayloadFormat::Json, &deep, Encoding::MessagePack);
            assert_eq!(found.len(), 1, "{depth}");
        }
    }

    #[test]
    fn what_a_client_wrote_is_what_others_read() {
        let arguments = Arguments::new(Encoding::MessagePack, &b"\x92\xc4\x01\x07\xc0"[..]).unwrap();
        let payload = of_arguments(&arguments);
        assert_eq!(payload, Payload::message_pack(&b"\x92\xc4\x01\x07\xc0"[..]));
        let value = arguments.value(0).unwrap();
        assert_eq!(of_value(&value), Payload::message_pack(&b"\xc4\x01\x07"[..]));
    }
}
