use proptest::prelude::*;

use crate::message_pack::tests::{any_value, packed};
use crate::{Arguments, ConversionError, Encoding, Problem, Value};

fn to_json(bytes: &[u8]) -> Result<String, ConversionError> {
    let value = Value::new(Encoding::MessagePack, bytes.to_vec()).unwrap();
    let json = value.to_encoding(Encoding::Json)?;
    Ok(String::from_utf8(json.raw().to_vec()).unwrap())
}

fn to_message_pack(text: &str) -> Vec<u8> {
    let value = Value::new(Encoding::Json, text.to_owned()).unwrap();
    value.to_encoding(Encoding::MessagePack).unwrap().raw().to_vec()
}

#[test]
fn message_pack_becomes_the_json_that_the_table_says() {
    for (bytes, json) in [
        (&b"\xc0"[..], "null"),
        (b"\xc3", "true"),
        (b"\xcc\xff", "255"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
        (b"\xcb\x40\x14\x00\x00\x00\x00\x00\x00", "5.0"),
        (b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e308"),
        (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xca\x7f\xc0\x00\x00", "null"),
        (b"\xa7a\"\\\n\x1e\xc3\xa9", "\"a\\\"\\\\\\n\\u001e\u{e9}\""),
        (b"\xc4\x03\x00\xff\x10", r#""AP8Q""#),
        (b"\x93\x01\x90\x80", "[1,[],{}]"),
        (b"\x82\xa1b\x01\xa1a\x02", r#"{"b":1,"a":2}"#),
        (
            b"\x85\x01\x00\xff\x00\xc0\x00\xc3\x00\xc4\x01\xff\x00",
            r#"{"1":0,"-1":0,"null":0,"true":0,"/w==":0}"#,
        ),
        (b"\xd4\x05a", r#"[5,"YQ=="]"#),
        // 32 bits; 64 bits with nanoseconds; 96 bits, before 1970.
        (b"\xd6\xff\x5a\x4a\xf6\xa5", r#""2018-01-02T03:04:05Z""#),
        (b"\xd7\xff\xa1\xa5\xd6\x00\x5a\x4a\xf6\xa5", r#""2018-01-02T03:04:05.678Z""#),
        (
            b"\xc7\x0c\xff\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff",
            r#""1969-12-31T23:59:59.000000001Z""#,
        ),
        (b"\x81\xd6\xff\x00\x00\x00\x00\x01", r#"{"1970-01-01T00:00:00Z":1}"#),
    ] {
        assert_eq!(to_json(bytes).as_deref(), Ok(json), "{bytes:02x?}");
    }
}

#[test]
fn what_json_does_not_have_is_an_error() {
    for bytes in [&b"\x81\x90\x01"[..], b"\x81\x80\x01", b"\x81\xd4\x05a\x01"] {
        assert_eq!(to_json(bytes), Err(ConversionError::Key), "{bytes:02x?}");
    }
    for bytes in [
        // The year 10,000 and beyond; before the year 0; a whole second of nanoseconds; no length that there is.
        &b"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x80"[..],
        b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xc7\x0c\xff\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00",
        b"\xd7\xff\xee\x6b\x28\x00\x00\x00\x00\x00",
        b"\xd5\xff\x00\x00",
    ] {
        assert_eq!(to_json(bytes), Err(ConversionError::Timestamp), "{bytes:02x?}");
    }
    // An extension becomes an array, for which there is no level left.
    let deep = |levels: usize| [[0x91].repeat(levels), b"\xd4\x05a".to_vec()].concat();
    assert!(to_json(&deep(62)).is_ok());
    let Err(ConversionError::Syntax(error)) = to_json(&deep(63)) else { panic!("it is too deep") };
    assert_eq!(error.problem, Problem::TooDeep);
}

#[test]
fn json_becomes_the_message_pack_that_the_table_says() {
    for (json, bytes) in [
        ("null", &b"\xc0"[..]),
        ("false", b"\xc2"),
        ("127", b"\x7f"),
        ("-1", b"\xff"),
        ("-0", b"\x00"),
        ("256", b"\xcd\x01\x00"),
        ("-129", b"\xd1\xff\x7f"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
        ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("1e0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        (r#""AP8Q""#, b"\xa4AP8Q"),
        (r#""\u00e9\ud83d\ude00\n""#, b"\xa7\xc3\xa9\xf0\x9f\x98\x80\n"),
        ("[]", b"\x90"),
        (" [ 1 , [ ] , { } ] ", b"\x93\x01\x90\x80"),
        (r#"{"b":1,"\u0061":2,"b":3}"#, b"\x83\xa1b\x01\xa1a\x02\xa1b\x03"),
    ] {
        assert_eq!(to_message_pack(json), bytes, "{json}");
    }
    // Where the head is longer than a byte, it is put in front of what is there already.
    let wide = format!("[{}]", vec!["1"; 70_000].join(","));
    let bytes = to_message_pack(&wide);
    assert_eq!(&bytes[..6], b"\xdd\x00\x01\x11\x70\x01");
    assert_eq!(bytes.len(), 70_005);
    let members: Vec<_> = (0..16).map(|number| format!("\"{number:x}\":[0]")).collect();
    let bytes = to_message_pack(&format!("{{{}}}", members.join(",")));
    assert_eq!(&bytes[..7], b"\xde\x00\x10\xa10\x91\x00");
}

#[test]
fn the_same_encoding_costs_no_copy() {
    for encoding in Encoding::ALL {
        let arguments = Arguments::of(&Value::text(encoding, "text")).unwrap();
        assert_eq!(arguments.to_encoding(encoding).unwrap().raw().as_ptr(), arguments.raw().as_ptr());
    }
}

/// What the table says, the long way round.
fn expected(value: &rmpv::Value) -> Option<serde_json::Value> {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    Some(match value {
        rmpv::Value::Nil => serde_json::Value::Null,
        rmpv::Value::Boolean(value) => (*value).into(),
        rmpv::Value::Integer(number) => match number.as_u64() {
            Some(number) => number.into(),
            None => number.as_i64()?.into(),
        },
        rmpv::Value::F32(number) => format!("{number}").parse::<f64>().ok().into(),
        rmpv::Value::F64(number) => (*number).into(),
        rmpv::Value::String(text) => text.as_str()?.into(),
        rmpv::Value::Binary(bytes) => base64(bytes).into(),
        rmpv::Value::Array(values) => values.iter().map(expected).collect::<Option<Vec<_>>>()?.into(),
        rmpv::Value::Map(pairs) => {
            let mut map = serde_json::Map::new();
            for (key, value) in pairs {
                map.insert(key.as_str()?.to_owned(), expected(value)?);
            }
            map.into()
        }
        rmpv::Value::Ext(-1, _) => return None,
        rmpv::Value::Ext(kind, bytes) => serde_json::json!([kind, base64(bytes)]),
    })
}

/// The same but for what serde_json loses of a float's last digits.
fn alike(found: &serde_json::Value, expected: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| alike(a, b))
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.len() == expected.len()
                && found
                    .iter()
                    .all(|(name, value)| expected.get(name).is_some_and(|other| alike(value, other)))
        }
        (Value::Number(found), Value::Number(expected)) if found.is_f64() && expected.is_f64() => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            found == expected || ((found - expected) / expected).abs() < 1e-12
        }
        _ => found == expected,
    }
}

proptest! {
    #[test]
    fn any_value_becomes_what_the_table_says(value in any_value()) {
        let bytes = packed(&value);
        let (json, expected) = (to_json(&bytes), expected(&value));
        if let (Ok(json), Some(expected)) = (&json, expected) {
            let found: serde_json::Value = serde_json::from_str(json).unwrap();
            prop_assert!(alike(&found, &expected), "{} and {}", found, expected);
        }
        if let Ok(json) = json {
            // And from then on it stays the same, in both directions.
            let bytes = to_message_pack(&json);
            prop_assert_eq!(to_json(&bytes).unwrap(), json);
        }
    }
}
