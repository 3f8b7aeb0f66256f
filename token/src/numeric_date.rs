//! Times as tokens have them: NumericDate (RFC 7519 section 2), a number of seconds since 1970 that may have a
//! fraction.
//!
//! In: any number. Out: whole seconds. Invariant: how a number is written makes no difference: `1e9`, `1000000000` and
//! `1000000000.5` are the same moment in a token and in a grant.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;

use super::Seconds;

/// The end of the year 9999, which is as far as calendars that people use go. What is later counts as this: no clock
/// gets there, and it stays a moment that can be counted with and shown.
pub(crate) const LATEST: Seconds = 253_402_300_799;

/// A claim's moment. `None` where it is no number, or before 1970.
pub(crate) fn read(value: &Value) -> Option<Seconds> {
    value.as_u64().map(|whole| whole.min(LATEST)).or_else(|| value.as_f64().and_then(cut))
}

/// Cuts the fraction off: an end comes early by less than a second, and so does a beginning.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "in range, and the fraction is meant to go"
)]
fn cut(time: f64) -> Option<Seconds> {
    // Neither a negative number nor NaN nor, which TOML has, infinity.
    (time >= 0.0 && time.is_finite()).then(|| time.min(LATEST as f64) as Seconds)
}

/// For a field that may be left out (with `default`), or be null.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Seconds>, D::Error> {
    deserializer.deserialize_any(Moment)
}

struct Moment;

impl Visitor<'_> for Moment {
    type Value = Option<Seconds>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds since 1970, from 0 on")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, whole: u64) -> Result<Self::Value, E> {
        Ok(Some(whole.min(LATEST)))
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Self::Value, E> {
        let refused = |_| E::invalid_value(serde::de::Unexpected::Signed(whole), &self);
        u64::try_from(whole).map_err(refused).and_then(|whole| Moment.visit_u64(whole))
    }

    fn visit_f64<E: Error>(self, time: f64) -> Result<Self::Value, E> {
        let refused = || E::invalid_value(serde::de::Unexpected::Float(time), &self);
        cut(time).map(Some).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_however_it_is_written() {
        for (text, moment) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("0.9", Some(0)),
            ("1764000000", Some(1_764_000_000)),
            ("1764000000.5", Some(1_764_000_000)),
            ("1764000000.999999", Some(1_764_000_000)),
            ("1.764e9", Some(1_764_000_000)),
            ("253402300799", Some(LATEST)),
            ("253402300799.9", Some(LATEST)),
            ("253402300800", Some(LATEST)),
            ("1e18", Some(LATEST)),
            ("1000000000000000000", Some(LATEST)),
            ("18446744073709551615", Some(LATEST)),
            ("18446744073709551616", Some(LATEST)),
            ("1e308", Some(LATEST)),
            ("-1", None),
            ("-0.5", None),
            ("-1e18", None),
            ("-9223372036854775808", None),
            ("-9223372036854775809", None),
        ] {
            assert_eq!(read(&serde_json::from_str(text).unwrap()), moment, "{text} as a claim");
            let field = optional(&mut serde_json::Deserializer::from_str(text));
            assert_eq!(field.ok().flatten(), moment, "{text} in a grant");
        }
        for text in ["\"1\"", "true", "[]", "{}"] {
            assert_eq!(read(&serde_json::from_str(text).unwrap()), None, "{text}");
            assert!(optional(&mut serde_json::Deserializer::from_str(text)).is_err(), "{text}");
        }
        let error = optional(&mut serde_json::Deserializer::from_str("true")).unwrap_err().to_string();
        assert!(error.contains("expected a number of seconds since 1970, from 0 on"), "{error}");
        assert_eq!(optional(&mut serde_json::Deserializer::from_str("null")).unwrap(), None);
        for time in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Moment.visit_f64::<serde_json::Error>(time).is_err(), "{time}, as TOML has it");
        }
    }
}
