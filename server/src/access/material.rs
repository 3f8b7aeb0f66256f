//! What others have, too, and what can therefore be no secret: keys and certificates in whatever wrapping, tokens, addresses.
//!
//! In: the bytes of a file that was said to be a secret. Out: words for what is in it, if that is such a thing. Invariant: a file
//! is refused for what it holds, and never for its length or its alphabet alone: random bytes, also in base64 or in hex, pass.
//!
//! There is no list of all the forms in which people pass keys around. So the wrappings are taken off (UTF-16 and UTF-32, quotes,
//! escapes, base64, hex, any number of lines), as a whole and piece by piece, and what is inside is searched for what keys and
//! certificates cannot do without: the identifiers of their algorithms (X.690, RFC 3279, RFC 8410), and their words.
//! A point of a curve alone is 32 or 65 bytes without any structure, and can't be told from a secret.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::looks::element;

/// How many wrappings are taken off: base64 in JSON in base64, for example, as Kubernetes hands out a configuration.
const DEPTH: usize = 3;
/// The fewest characters of base64 or hex that are looked into. The shortest key has 44 bytes in DER.
const SHORTEST: usize = 40;

/// Object identifiers in DER, each with its tag and length.
const IDENTIFIERS: [&[u8]; 10] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", // RSA
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", // RSA for PSS
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", // signed data (PKCS #7)
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",         // elliptic curves
    b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",     // the curve P-256
    b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01",         // DSA
    b"\x06\x03\x2b\x65\x6e",                         // X25519
    b"\x06\x03\x2b\x65\x70",                         // Ed25519
    b"\x06\x03\x2b\x65\x71",                         // Ed448
    b"\x06\x03\x55\x04\x03",                         // a common name, in a certificate
];
/// What SSH calls its keys, in text and in base64 (RFC 4253 section 6.6, RFC 5656, RFC 8709).
const SSH: [&str; 6] = ["ssh-rsa", "ssh-dss", "ssh-ed", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
/// Members of keys and key sets (RFC 7517), as they stand in JSON, YAML and the like.
const MEMBERS: [&str; 5] = ["kty", "x5c", "jwks", "jwks_uri", "keys"];
/// Words of keys, without what is between their letters.
const WORDS: [&str; 4] = ["publickey", "privatekey", "rsakeyvalue", "modulus"];

/// Words for what is in these bytes that a stranger may have, if there is anything.
pub(super) fn found(bytes: &[u8]) -> Option<&'static str> {
    inside(bytes, DEPTH)
}

fn inside(bytes: &[u8], depth: usize) -> Option<&'static str> {
    if is_der(bytes) {
        return Some("a key or a certificate");
    }
    let text = readable(bytes);
    of_text(&text).or_else(|| unwrapped(&text, depth))
}

/// As text, whatever its encoding: UTF-16 and UTF-32 of ASCII are that with zeros in between. What is no text stays out of the way.
fn readable(bytes: &[u8]) -> String {
    let without_zeros: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&without_zeros).replace("\\n", "\n").replace("\\r", "\n")
}

fn is_der(bytes: &[u8]) -> bool {
    // A file of secrets in one line after the other is no DER, whatever it begins with; what is behind a key is no matter.
    let numbers = |bytes| {
        let (inside, _) = element(0x30, bytes)?;
        let (first, rest) = element(0x02, inside)?;
        let (second, _) = element(0x02, rest)?;
        // A modulus and an exponent, or a version and a modulus (PKCS #1).
        Some(first.len().max(second.len()) > 32)
    };
    let mut bare = bytes.trim_ascii_start();
    while let Some(rest) = bare.strip_prefix(b"\xef\xbb\xbf") {
        bare = rest;
    }
    IDENTIFIERS.iter().any(|identifier| contains(bytes, identifier)) || numbers(bare) == Some(true)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn of_text(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    if SSH.iter().any(|name| lower.contains(name)) {
        return Some("an SSH key");
    }
    let letters: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    let is_pem = letters.match_indices("begin").any(|(at, _)| {
        let label: String = letters.get(at..).unwrap_or_default().chars().take(40).collect();
        ["key", "certificate", "pkcs7", "cms"].iter().any(|word| label.contains(word))
    });
    if is_pem {
        return Some("PEM");
    }
    if WORDS.iter().any(|word| letters.contains(word)) {
        return Some("a key in words");
    }
    if MEMBERS.iter().any(|member| has_member(&lower, member)) {
        return Some("a JWK or a JWK Set");
    }
    // Random bytes may begin and end like anything.
    if text
        .chars()
        .any(|one| one == char::REPLACEMENT_CHARACTER || (one.is_control() && !one.is_whitespace()))
    {
        return None;
    }
    // Whatever an editor put in front, and a quote around it all.
    let bare =
        lower.trim_matches(|one: char| !one.is_ascii() || one.is_ascii_whitespace() || "\"'`".contains(one));
    let is_enclosed = |open, close| bare.starts_with(open) && bare.ends_with(close);
    if is_enclosed('{', '}') || is_enclosed('[', ']') {
        return Some("JSON");
    }
    if is_enclosed('<', '>') {
        return Some("XML");
    }
    if bare.starts_with("https://") || bare.starts_with("http://") {
        return Some("an address");
    }
    let is_token = |word: &str| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 3 && word.starts_with("ey") && parts.iter().all(|part| part.bytes().all(is_base64))
    };
    let is_between = |one: char| one.is_whitespace() || !one.is_ascii() || "\"'`=".contains(one);
    text.split(is_between).any(is_token).then_some("a token")
}

/// Whether a name stands there as that of a member: what is before and behind it is no part of a name, nor of base64.
fn has_member(text: &str, name: &str) -> bool {
    let is_part = |one: char| one.is_alphanumeric() || "+/_-=.".contains(one);
    text.match_indices(name).any(|(at, _)| {
        let (before, found) = text.split_at(at);
        let after = found.get(name.len()..).unwrap_or_default();
        let after = after.trim_start_matches(['"', '\'', '\\', ' ']);
        !before.ends_with(is_part) && after.starts_with([':', '='])
    })
}

/// Looks into whatever is base64 or hex: each run of such characters, and all of them as one.
fn unwrapped(text: &str, depth: usize) -> Option<&'static str> {
    let depth = depth.checked_sub(1)?;
    let base64 = runs(text, is_base64).filter_map(|run| decoded(&run));
    let numbers = text.replace("0x", "");
    let hex = runs(&numbers, is_hex).filter_map(|run| from_hex(&run));
    base64.chain(hex).find_map(|bytes| inside(&bytes, depth)).map(|what| match what {
        "a key or a certificate" => "a key or a certificate in base64 or hex",
        what => what,
    })
}

/// The runs of such characters that are long enough to be something, and then all such characters together: lines that belong
/// together may be of any length.
fn runs(text: &str, fits: impl Fn(u8) -> bool) -> impl Iterator<Item = Vec<u8>> {
    let mut found: Vec<Vec<u8>> = text.as_bytes().split(|byte| !fits(*byte)).map(<[u8]>::to_vec).collect();
    if found.len() > 1 {
        let lines: Vec<u8> = text.bytes().filter(|byte| !b" \t\r\n:,\\".contains(byte)).collect();
        found.extend(lines.split(|byte| !fits(*byte)).map(<[u8]>::to_vec).collect::<Vec<_>>());
    }
    found.into_iter().filter(|run| run.len() >= SHORTEST)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// Base64 of either alphabet, as far as it comes out even.
fn decoded(run: &[u8]) -> Option<Vec<u8>> {
    static LENIENT: LazyLock<GeneralPurpose> = LazyLock::new(|| {
        let config = GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true);
        GeneralPurpose::new(&alphabet::STANDARD, config)
    });
    let mut run: Vec<u8> = run
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => *byte,
        })
        .collect();
    if run.len() % 4 == 1 {
        run.pop();
    }
    LENIENT.decode(run).ok()
}

fn from_hex(run: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    run.as_chunks::<2>().0.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests;
