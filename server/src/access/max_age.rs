//! For how long an answer is good: HTTP's `Cache-Control` and `Age` (RFC 9111).
//!
//! In: the headers of a key set's answer. Out: when to ask again. Invariant: never sooner than [`LEAST`], never later
//! than [`MOST`], whatever the headers say.

use std::time::Duration;

/// No issuer is asked more often by the clock.
pub(super) const LEAST: Duration = Duration::from_secs(5);
/// How long an answer counts that is good for no time at all, as many issuers say by default.
const UNCACHED: Duration = Duration::from_secs(60);
/// A key that the issuer took back is forgotten after a day at the latest.
pub(super) const MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// Where the answer says nothing.
const UNSAID: Duration = Duration::from_secs(15 * 60);

/// How long the answer is good from now on. `cache_control` is each of the headers of that name.
///
/// `no-cache` and `no-store` are as good as none at all. Of several `max-age`, the least counts; one that cannot be
/// read is 0 (RFC 9111 section 4.2.1).
pub(super) fn lifetime<'a>(cache_control: impl IntoIterator<Item = &'a str>, age: Option<&str>) -> Duration {
    let mut said: Option<u64> = None;
    for directive in cache_control.into_iter().flat_map(|header| header.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let seconds = match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" => 0,
            "max-age" => seconds(value).unwrap_or(0),
            _ => continue,
        };
        said = Some(said.map_or(seconds, |before| before.min(seconds)));
    }
    let lifetime = said.map_or(UNSAID, Duration::from_secs);
    let old = age.and_then(seconds).map_or(Duration::ZERO, Duration::from_secs);
    let left = lifetime.saturating_sub(old);
    if left.is_zero() { UNCACHED } else { left.clamp(LEAST, MOST) }
}

/// Digits, in quotes or not. More of them than fit are as many as fit.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_headers_are_honoured_within_bounds() {
        for (headers, age, seconds) in [
            (&["max-age=3600"][..], None, 3_600),
            (&["public, max-age=3600, must-revalidate"], None, 3_600),
            (&["Max-Age=\"600\""], None, 600),
            (&["public", "max-age=7200"], None, 7_200),
            (&["max-age=7200, max-age=300"], None, 300),
            (&["max-age=3600"], Some("600"), 3_000),
            (&["max-age=3600"], Some("4000"), 60),
            (&["max-age=3600"], Some("-1"), 3_600),
            (&["max-age=30"], None, 30),
            (&["max-age=1"], None, 5),
            (&["max-age=0"], None, 60),
            (&["max-age=31536000"], None, 86_400),
            (&["max-age=99999999999999999999999"], None, 86_400),
            (&["max-age=-5"], None, 60),
            (&["max-age=soon"], None, 60),
            (&["max-age"], None, 60),
            (&["no-store"], None, 60),
            (&["no-cache, max-age=3600"], None, 60),
            (&["no-cache=\"set-cookie\", max-age=3600"], None, 60),
            (&["s-maxage=10"], None, 900),
            (&["public"], Some("100"), 800),
            (&[""], None, 900),
            (&[], None, 900),
        ] {
            let found = lifetime(headers.iter().copied(), age);
            assert_eq!(found, Duration::from_secs(seconds), "{headers:?}, age {age:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_leads_out_of_the_bounds(
            headers in prop::collection::vec(".*", 0..3),
            age in prop::option::of(".*"),
        ) {
            let found = lifetime(headers.iter().map(String::as_str), age.as_deref());
            prop_assert!((LEAST..=MOST).contains(&found));
        }
    }
}
