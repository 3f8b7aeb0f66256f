//! A payload as a person reads it, by the format that came with it.
//!
//! In: bytes and a format that another client chose. Out: one line. Invariant: whatever the bytes are, what is shown
//! steers no terminal, and a payload that is not what its format says is shown for what it is.

use std::fmt::Write;

use fanfare_protocol::{Message, PayloadFormat};
use rmpv::ValueRef;
use rmpv::decode::read_value_ref_with_max_depth;
use serde::de::IgnoredAny;

use fanfare_tui::text::harmless;

/// So many bytes are shown of what is not for eyes.
const SHOWN_BYTES: usize = 32;

/// How deep lists and maps of MessagePack may be in one another, as serde_json has it for JSON.
const MAX_DEPTH: usize = 128;

/// The payload of a message.
pub(crate) fn shown(message: &Message) -> String {
    shown_payload(message.format, &message.payload)
}

/// A payload in this format.
pub(crate) fn shown_payload(format: PayloadFormat, payload: &[u8]) -> String {
    let plain = || std::str::from_utf8(payload).ok();
    let text = match format {
        PayloadFormat::Text => plain().map(str::to_owned),
        PayloadFormat::Json => plain().map(compact),
        PayloadFormat::MessagePack => message_pack(payload).map(|value| written(&value)),
        PayloadFormat::Binary | PayloadFormat::Other(_) => None,
    };
    match text {
        Some(text) => harmless(&text),
        None => bytes(payload, format),
    }
}

/// Why bytes are not what their format says; `None` where they are, and where nobody can know.
pub(crate) fn problem(format: PayloadFormat, payload: &[u8]) -> Option<String> {
    match format {
        PayloadFormat::Text => std::str::from_utf8(payload).err().map(|error| error.to_string()),
        PayloadFormat::Json => {
            serde_json::from_slice::<IgnoredAny>(payload).err().map(|error| error.to_string())
        }
        PayloadFormat::MessagePack if message_pack(payload).is_none() => {
            Some("it is not exactly one value".to_owned())
        }
        PayloadFormat::MessagePack | PayloadFormat::Binary | PayloadFormat::Other(_) => None,
    }
}

/// JSON without the space between its parts, every part as it was written; what is no JSON stays as it is.
fn compact(json: &str) -> String {
    if serde_json::from_str::<IgnoredAny>(json).is_err() {
        return json.to_owned();
    }
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|character| {
            let is_space = !quoted && matches!(character, ' ' | '\n' | '\r' | '\t');
            match character {
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = quoted && *character == '\\' && !escaped;
            !is_space
        })
        .collect()
}

/// The one value that the bytes are.
fn message_pack(mut bytes: &[u8]) -> Option<ValueRef<'_>> {
    let value = read_value_ref_with_max_depth(&mut bytes, MAX_DEPTH).ok()?;
    bytes.is_empty().then_some(value)
}

/// As JSON would have it, with the bytes and the numbers that JSON has not.
fn written(value: &ValueRef<'_>) -> String {
    let list = |parts: Vec<String>| parts.join(",");
    match value {
        ValueRef::Nil => "null".to_owned(),
        ValueRef::Boolean(value) => value.to_string(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::F32(value) => value.to_string(),
        ValueRef::F64(value) => value.to_string(),
        ValueRef::String(text) => match text.as_str() {
            Some(text) => serde_json::Value::from(text).to_string(),
            None => format!("({})", hex(text.as_bytes())),
        },
        ValueRef::Binary(bytes) => format!("({})", hex(bytes)),
        ValueRef::Ext(kind, bytes) => format!("({kind}: {})", hex(bytes)),
        ValueRef::Array(parts) => format!("[{}]", list(parts.iter().map(written).collect())),
        ValueRef::Map(parts) => {
            let pair =
                |(key, value): &(ValueRef<'_>, ValueRef<'_>)| format!("{}:{}", written(key), written(value));
            format!("{{{}}}", list(parts.iter().map(pair).collect()))
        }
    }
}

/// `(5 bytes: 00 01 02 03 04)`
fn bytes(payload: &[u8], format: PayloadFormat) -> String {
    let what = match format {
        PayloadFormat::Binary => String::new(),
        PayloadFormat::Other(number) => format!(" in format {number}"),
        PayloadFormat::Text | PayloadFormat::Json => " that are not text".to_owned(),
        PayloadFormat::MessagePack => " that are not MessagePack".to_owned(),
    };
    match payload.len() {
        0 => format!("(no bytes{what})"),
        1 => format!("(1 byte{}: {})", what.replace(" are ", " is "), hex(payload)),
        count => format!("({count} bytes{what}: {})", hex(payload)),
    }
}

/// The first bytes, two digits each.
fn hex(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for (at, byte) in bytes.iter().take(SHOWN_BYTES).enumerate() {
        let space = if at == 0 { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(shown, "{space}{byte:02x}");
    }
    if bytes.len() > SHOWN_BYTES {
        shown.push_str(" ...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanfare_protocol::{EventName, Sender, Target};
    use proptest::prelude::*;

    use super::*;

    fn as_shown(format: PayloadFormat, payload: &[u8]) -> String {
        shown(&Message {
            from: Sender::Server,
            to: Target::All,
            event: EventName::new("E").unwrap(),
            format,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    #[test]
    fn each_format_is_shown_as_what_it_is() {
        use PayloadFormat::{Binary, Json, MessagePack, Other, Text};
        for (format, payload, expected) in [
            (Text, &b"two\nlines\x1b[2J"[..], "two\\u{a}lines\\u{1b}[2J"),
            (Text, b"", ""),
            (Text, b"\xff\x00", "(2 bytes that are not text: ff 00)"),
            (
                Json,
                b" { \"a b\" : [ 1e400 , \"c \\\" d\" , \"\\\\\" ] } ",
                r#"{"a b":[1e400,"c \" d","\\"]}"#,
            ),
            // Not what it says, and readable all the same.
            (Json, b"{ \"a\" : ", "{ \"a\" : "),
            (Json, b"\xff", "(1 byte that is not text: ff)"),
            (MessagePack, b"\x92\x01\x81\xa1a\xc0", r#"[1,{"a":null}]"#),
            (
                MessagePack,
                b"\x93\xc4\x02\x00\xff\xd4\x05\x07\xcb\x3f\xf8\0\0\0\0\0\0",
                "[(00 ff),(5: 07),1.5]",
            ),
            (MessagePack, b"\x92\x01", "(2 bytes that are not MessagePack: 92 01)"),
            (MessagePack, b"\x01\x01", "(2 bytes that are not MessagePack: 01 01)"),
            (Binary, b"hi", "(2 bytes: 68 69)"),
            (Binary, b"", "(no bytes)"),
            (Other(250), b"hi", "(2 bytes in format 250: 68 69)"),
        ] {
            assert_eq!(as_shown(format, payload), expected, "{format} {payload:?}");
        }
        let long = as_shown(Binary, &[7; 1_000]);
        assert!(long.starts_with("(1000 bytes: 07 07") && long.ends_with("07 ...)"), "{long}");
        assert!(long.len() < 150);
    }

    #[test]
    fn what_is_not_what_it_says_has_a_problem() {
        use PayloadFormat::{Binary, Json, MessagePack, Text};
        for (format, sound, unsound) in [
            (Text, &b"hi"[..], &b"\xff"[..]),
            (Json, b"[1]", b"[1"),
            (Json, b"1", b""),
            (MessagePack, b"\xc0", b"\xc0\xc0"),
        ] {
            assert_eq!(problem(format, sound), None, "{format} {sound:?}");
            assert!(problem(format, unsound).is_some(), "{format} {unsound:?}");
        }
        assert_eq!(problem(Binary, b"\xff"), None);
        assert_eq!(problem(PayloadFormat::Other(250), b"\xff"), None);
        // As deep as a reader of it could not bear.
        assert!(problem(MessagePack, &[0x91; 100_000]).is_some());
        assert!(problem(Json, &[b'['; 100_000]).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_of_any_format_are_one_line(number: u8, payload in prop::collection::vec(any::<u8>(), 0..80)) {
            let shown = as_shown(number.into(), &payload);
            prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
        }

        #[test]
        fn compact_json_says_the_same(value in any_json()) {
            let spacious = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&spacious), value.to_string());
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            "[ -~\\n\\t\u{e9}]{0,12}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[ -~]{0,6}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Value>()),
            ]
        })
    }
}
