//! JSON in which no object has two members of the same name: RFC 8259 leaves it open which of them counts, and RFC 7515
//! (section 4), RFC 7517 and RFC 7519 let a reader refuse both.
//!
//! In: bytes that strangers wrote. Out: a value, or why it is none. Invariant: what comes out means the same to every
//! reader.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Why it is not taken. It repeats nothing of the text, which can be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// An object has two members of the same name.
    Duplicate,
    /// It is not JSON from here on, or nested too deep.
    Malformed { line: usize, column: usize },
}

/// Reads one value, and nothing behind it but white space.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let duplicate = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let outcome = Strict(&duplicate).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    outcome.map_err(|error| match duplicate.get() {
        true => JsonError::Duplicate,
        false => JsonError::Malformed { line: error.line(), column: error.column() },
    })
}

#[derive(Clone, Copy)]
struct Strict<'a>(&'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self)? {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // `insert` would let the last one win.
            if object.contains_key(&name) {
                self.0.set(true);
                return Err(A::Error::custom("two members of the same name"));
            }
            object.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_object_has_a_member_twice_however_deep_and_however_it_is_written() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "b": 2, "\u0061": 3}"#,
            r#"[{"x": {"a": null, "a": null}}]"#,
            r#"{"a": {"b": 1}, "a": {"c": 1}}"#,
            r#"{"": 1, "": 2}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), Err(JsonError::Duplicate), "{text}");
        }
        let same_name_elsewhere = r#"{"a": {"a": [{"a": 1}, {"a": 2}]}, "A": 1}"#;
        assert!(parse(same_name_elsewhere.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_one_value_of_json_is_refused_with_its_place() {
        for text in ["", "{", "{} {}", "\u{feff}{}", "{\"a\": 1e999}", "nul", "{\"a\": 01}", "{'a': 1}"] {
            assert!(matches!(parse(text.as_bytes()), Err(JsonError::Malformed { .. })), "{text:?}");
        }
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        assert!(matches!(parse(deep.as_bytes()), Err(JsonError::Malformed { .. })));
        assert_eq!(parse(b"{\n \"a\": x}"), Err(JsonError::Malformed { line: 2, column: 7 }));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".{0,3}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Beside duplicates, it reads what serde_json reads.
        #[test]
        fn everything_else_is_read_as_it_is(value in value()) {
            let text = value.to_string();
            prop_assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str::<Value>(&text).unwrap()));
        }
    }
}
