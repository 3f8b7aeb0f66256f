//! What a payload is written in. It travels beside the payload, for whoever shows or decodes it.
//!
//! In: the number from the wire, or the name from a flag or from JSON. Out: the same the other way round. Invariant:
//! the number is passed on as it came, and no payload is checked against it: a hub that judged payloads would have to
//! know every format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a payload is written in, as its sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PayloadFormat {
    /// Bytes that only the application understands.
    #[default]
    Binary,
    /// UTF-8.
    Text,
    /// JSON (RFC 8259).
    Json,
    /// MessagePack.
    MessagePack,
    /// A format that came later. To be treated as binary. Made by `From<u8>`, so that it has none of the numbers above.
    Other(u8),
}

impl PayloadFormat {
    /// Those that have names.
    pub const NAMED: [Self; 4] = [Self::Binary, Self::Text, Self::Json, Self::MessagePack];

    /// The number that goes over the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Binary => 0,
            Self::Text => 1,
            Self::Json => 2,
            Self::MessagePack => 3,
            Self::Other(number) => number,
        }
    }

    /// The name in flags and in JSON; none for a format that came later.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Binary => Some("binary"),
            Self::Text => Some("text"),
            Self::Json => Some("json"),
            Self::MessagePack => Some("msgpack"),
            Self::Other(_) => None,
        }
    }
}

impl From<u8> for PayloadFormat {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Binary,
            1 => Self::Text,
            2 => Self::Json,
            3 => Self::MessagePack,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for PayloadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "format {}", self.number()),
        }
    }
}

/// A text is no format's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {0:?}; there are binary, text, json and msgpack")]
pub struct UnknownFormat(pub String);

impl FromStr for PayloadFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = Self::NAMED.into_iter().find(|format| format.name() == Some(text));
        known.ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

// In JSON a format is its name, and one without a name its number.

impl Serialize for PayloadFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_u8(self.number()),
        }
    }
}

impl<'de> Deserialize<'de> for PayloadFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = PayloadFormat;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a format, or a number from 0 to 255")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PayloadFormat, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PayloadFormat, E> {
                let byte = u8::try_from(number);
                byte.map(PayloadFormat::from)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stays_what_it_is() {
        for number in 0..=u8::MAX {
            let format = PayloadFormat::from(number);
            assert_eq!(format.number(), number);
            assert_eq!(format.name().is_some(), PayloadFormat::NAMED.contains(&format));
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(serde_json::from_str::<PayloadFormat>(&json).unwrap(), format, "{json}");
        }
    }

    #[test]
    fn names_are_read_and_others_are_refused_in_words() {
        for format in PayloadFormat::NAMED {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let refused = "JSON".parse::<PayloadFormat>().unwrap_err().to_string();
        assert_eq!(refused, "there is no format \"JSON\"; there are binary, text, json and msgpack");
        for json in ["256", "-1", "\"\"", "null", "1.5"] {
            assert!(serde_json::from_str::<PayloadFormat>(json).is_err(), "{json}");
        }
    }
}
