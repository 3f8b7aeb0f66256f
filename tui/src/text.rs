//! Text for a terminal: what others chose made harmless, and numbers made short.
//!
//! In: names, reasons, numbers. Out: text without control characters. Invariant: a user who is named with an escape
//! sequence steers no terminal.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use fanfare_protocol::admin::MembershipOrigin;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use fanfare_protocol::{quoted, visible};

/// A text that somebody wrote, as it is meant to be read: with what steers a terminal or turns the direction of writing
/// as escapes, and nothing else. For names there is [`visible`].
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || fanfare_protocol::turns(character) {
            // Writing to a String does not fail.
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Who made a membership, in words; none where it was the client itself.
#[must_use]
pub fn made_by(origin: MembershipOrigin) -> Option<&'static str> {
    match origin {
        MembershipOrigin::Client => None,
        MembershipOrigin::Operator => Some("by an operator"),
        MembershipOrigin::Application => Some("by the application"),
        MembershipOrigin::Lasting => Some("lasting"),
        MembershipOrigin::Other => Some("in a way that is not known here"),
    }
}

/// The first `width` columns of a text, with a mark where something is missing.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        shown.push(character);
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}

/// The two largest units of a length of time in seconds: `2h 5m`.
#[must_use]
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        let count = left / length;
        left %= length;
        if count > 0 || (parts.is_empty() && length == 1) {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// Microseconds: `311 us`, `1.3 ms`, `250 ms`, `2.0 s`; seven columns at most.
#[must_use]
pub fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..99_950 => format!("{:.1} ms", micros as f64 / 1e3),
        99_950..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// Thousandths, as per cent: `0%`, `0.4%`, `12%`.
#[must_use]
pub fn per_mille(thousandths: u64) -> String {
    match thousandths {
        0 | 100.. => format!("{}%", thousandths / 10),
        few => format!("{}.{}%", few / 10, few % 10),
    }
}

/// `1 connection`, `2 connections`.
#[must_use]
pub fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What is before a number that may be too great.
#[must_use]
pub fn bound(at_most: bool) -> &'static str {
    if at_most { "at most " } else { "" }
}

/// Bytes: `512 B`, `11.4 MB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A count in few columns: `950`, `12.3k`, `4.5M`.
#[must_use]
pub fn count(count: f64) -> String {
    match count {
        c if c < 0.05 => "0".to_owned(),
        c if c < 10.0 => format!("{c:.1}"),
        c if c < 1_000.0 => format!("{c:.0}"),
        c if c < 1_000_000.0 => format!("{:.1}k", c / 1e3),
        c => format!("{:.1}M", c / 1e6),
    }
}

/// `2026-11-24T09:30:00Z`, from seconds since 1970.
#[must_use]
pub fn moment(seconds: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        // What comes after the year 9999 has no such form.
        Some(time) if seconds < 253_402_300_800 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => format!("{seconds} s after 1970"),
    }
}

/// The day of a moment that is a year or more ahead: nobody reads `26331d` as a time. `None` for what is nearer.
#[must_use]
pub fn far_day(now: u64, until: u64) -> Option<String> {
    let is_far = until.saturating_sub(now) >= 365 * 86_400;
    is_far.then(|| moment(until).split('T').next().unwrap_or_default().to_owned())
}

/// An action of the audit, as far as it says something: `revoke user=alice groups=room-* until=2030-01-31T18:00:00Z`.
/// Not made harmless yet.
#[must_use]
pub fn act(act: &Value) -> String {
    match act.as_object() {
        Some(fields) => {
            let said: Vec<String> = fields.iter().filter_map(|(name, value)| argument(name, value)).collect();
            said.join(" ")
        }
        None => act.as_str().unwrap_or_default().to_owned(),
    }
}

fn argument(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if name == "ask" => Some(text.clone()),
        Value::String(text) => Some(format!("{name}={}", visible(text))),
        // Whom it is about: `{"user": "alice"}`.
        Value::Object(one) => Some(one.iter().filter_map(|(name, value)| argument(name, value)).collect()),
        Value::Number(number) if name == "until" => {
            Some(format!("{name}={}", number.as_u64().map_or_else(|| number.to_string(), moment)))
        }
        other => Some(format!("{name}={other}")),
    }
}

/// A rate in tenths, for comparing.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a float that does not fit is cut to what does")]
pub fn tenths(rate: f64) -> u64 {
    (rate * 10.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(visible("a\u{1b}[2J\u{9b}\u{202e}"), "a\\u{1b}[2J\\u{9b}\\u{202e}");
        assert_eq!(visible("日本 ok"), "日本 ok");
    }

    #[test]
    fn cuts_count_columns_and_not_bytes() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 1_500, 11_400_000].map(bytes), ["0 B", "1.5 kB", "11.4 MB"]);
        assert_eq!([0, 59, 61, 3_600, 90_061].map(span), ["0s", "59s", "1m 1s", "1h", "1d 1h"]);
        assert_eq!(far_day(1_000, 1_000 + 364 * 86_400), None);
        assert_eq!(far_day(1_000, 4_070_908_800).as_deref(), Some("2099-01-01"));
        assert_eq!(far_day(1_000, 253_402_300_800).as_deref(), Some("253402300800 s after 1970"));
        assert_eq!(
            [999, 1_300, 99_999, 999_999, 2_000_000].map(micros),
            ["999 us", "1.3 ms", "99 ms", "999 ms", "2.0 s"]
        );
        assert_eq!([0, 4, 99, 123, 1_000].map(per_mille), ["0%", "0.4%", "9.9%", "12%", "100%"]);
        assert_eq!([0, 1, 2].map(|count| many(count, "row")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!([0.0, 3.25, 950.0, 12_345.0, 4.5e6].map(count), ["0", "3.2", "950", "12.3k", "4.5M"]);
    }
}
