//! What others have, too, and what can therefore be no secret: keys and certificates in whatever wrapping, tokens,
//! addresses.
//!
//! In: the bytes of a file that was said to be a secret. Out: words for what is in it, if that is such a thing.
//! Invariant: a file is refused for what it holds, and never for its length or its alphabet alone: random bytes, also
//! in base64 or in hex, pass.
//!
//! There is no list of all the forms in which people pass keys around. So the wrappings are taken off (UTF-16 and
//! UTF-32, quotes, escapes, base64, hex, any number of lines), as a whole and piece by piece, and what is inside is
//! searched for what keys and certificates cannot do without: the identifiers of their algorithms (X.690, RFC 3279, RFC
//! 8410), and their words. What has no structure can't be told from a secret: a point of a curve alone, a modulus
//! alone; nor what is compressed, encrypted or in an encoding that is none of these.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::der::element;

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
const MEMBERS: [&str; 6] = ["kty", "crv", "x5c", "jwks", "jwks_uri", "keys"];
/// What labels in PEM begin with (RFC 7468, RFC 4716, RFC 9580).
const LABELS: [&str; 14] = [
    "certificate",
    "certificates",
    "x509",
    "trusted",
    "private",
    "public",
    "encrypted",
    "rsa",
    "ec",
    "dsa",
    "openssh",
    "ssh2",
    "pgp",
    "pkcs7",
];
/// Words of keys, without what is between their letters.
const WORDS: [&str; 4] = ["publickey", "privatekey", "rsakeyvalue", "modulus"];

/// Words for what is in these bytes that a stranger may have, if there is anything.
pub(crate) fn found(bytes: &[u8]) -> Option<&'static str> {
    inside(bytes, DEPTH)
}

/// The same for text beside a key in PEM, which says things about the key as a rule: whether a key of another form is
/// in it.
pub(crate) fn is_beside(text: &str) -> bool {
    let is_ssh = |line: &str| SSH.iter().any(|name| line.trim_start().starts_with(name));
    let base64 = runs(text, is_base64).filter_map(|run| decoded(&run)).any(|bytes| is_der(&bytes));
    has_member(&text.to_lowercase(), "kty") || text.lines().any(is_ssh) || base64
}

fn inside(bytes: &[u8], depth: usize) -> Option<&'static str> {
    if is_der(bytes) {
        return Some("a key or a certificate");
    }
    let text = readable(bytes);
    of_text(&text).or_else(|| unwrapped(&text, depth))
}

/// As text, whatever its encoding: UTF-16 and UTF-32 of ASCII are that with zeros in between. What is no text stays out
/// of the way.
fn readable(bytes: &[u8]) -> String {
    let without_zeros: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&without_zeros).replace("\\n", "\n").replace("\\r", "\n");
    if text.contains('%') { percent(&text) } else { text }
}

/// Without the percent signs of URLs (RFC 3986 section 2.1).
fn percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        match behind.split_at_checked(2).map(|(digits, behind)| (from_hex(digits), behind)) {
            Some((Some(byte), behind)) if first == b'%' => {
                bytes.extend(byte);
                rest = behind;
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_der(bytes: &[u8]) -> bool {
    // PKCS #1 has no identifier. What stands behind a key makes it no secret.
    let numbers = |bytes| {
        let (inside, _) = element(0x30, bytes)?;
        let (first, rest) = element(0x02, inside)?;
        let (second, _) = element(0x02, rest)?;
        // A modulus and an exponent, or a version and a modulus.
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
    if is_begin(&lower) {
        return Some("PEM");
    }
    let letters: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
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
    let is_json = bare.starts_with(['{', '[']) && bare.ends_with(['}', ']']) && bare.contains('"');
    if is_json {
        return Some("JSON");
    }
    let is_name = |rest: &str| rest.starts_with(|one: char| one.is_ascii_alphabetic() || "?!".contains(one));
    if bare.strip_prefix('<').is_some_and(is_name) && bare.ends_with('>') && bare.contains("</") {
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

/// Whether a BEGIN of a key or a certificate is there, with whatever for hyphens.
fn is_begin(lower: &str) -> bool {
    let seen: String = lower.chars().filter(char::is_ascii).collect();
    seen.match_indices("begin").any(|(at, word)| {
        let (before, found) = seen.split_at(at);
        let after = found.get(word.len()..).unwrap_or_default();
        let mut label = after.split(|one: char| !one.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let names = label.next().is_some_and(|word| LABELS.contains(&word));
        !before.ends_with(|one: char| one.is_ascii_alphanumeric()) && names
    })
}

/// Whether a name stands there as that of a member: what is before and behind it is no part of a name, nor of base64.
fn has_member(text: &str, name: &str) -> bool {
    let is_part = |one: char| one.is_alphanumeric() || "+/_-=.".contains(one);
    text.match_indices(name).any(|(at, _)| {
        let (before, found) = text.split_at(at);
        let after = found.get(name.len()..).unwrap_or_default();
        let value = after.trim_start_matches(['"', '\'', '\\', ' ', '\t']);
        let is_kind = name == "kty" && ["okp", "ec", "rsa", "oct"].iter().any(|kind| value.starts_with(kind));
        !before.ends_with(is_part) && (value.starts_with([':', '=']) || is_kind)
    })
}

/// Looks into whatever is base64, hex or numbers: each run of such characters, and all of them as one.
fn unwrapped(text: &str, depth: usize) -> Option<&'static str> {
    let depth = depth.checked_sub(1)?;
    let runs: Vec<Vec<u8>> = runs(text, is_base64).collect();
    // What stands in front of it may be read as a part of it.
    let at_each = runs.iter().flat_map(|run| (0..4).filter_map(|from| decoded(run.get(from..)?)));
    if at_each.chain(in_hex(text)).chain(in_numbers(text)).any(|bytes| is_der(&bytes)) {
        return Some("a key or a certificate in base64 or hex");
    }
    runs.iter().filter_map(|run| decoded(run)).chain(whole_hex(text)).find_map(|bytes| inside(&bytes, depth))
}

/// All hex digits together, whatever stands between them; and those of a dump, without its addresses and its text.
fn in_hex(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let lower = text.to_lowercase();
    let bare = ["0x", "\\x", "\\u00", "u00", "byte"]
        .iter()
        .fold(lower.clone(), |text, mark| text.replace(mark, " "));
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_hexdigit).collect::<Vec<u8>>();
    let dump: String = lower.lines().flat_map(dumped).collect();
    let all = [digits(&bare), digits(&dump)];
    // Two digits are a byte, and nobody knows where the first begins.
    all.into_iter().flat_map(|digits| [from_hex(&digits), digits.get(1..).and_then(from_hex)]).flatten()
}

/// The bytes of a line as `xxd`, `hexdump -C` and `od -t x1` write it.
fn dumped(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split_ascii_whitespace().skip(1);
    words.take_while(|word| matches!(word.len(), 2 | 4) && word.bytes().all(is_hex)).take(16)
}

/// Hex and nothing else: text may be in it, too.
fn whole_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !b" \t\r\n:\"'".contains(byte)).collect();
    (digits.len() >= SHORTEST && digits.iter().copied().all(is_hex)).then(|| from_hex(&digits)).flatten()
}

/// Bytes as numbers, as programs print lists of them.
fn in_numbers(text: &str) -> Option<Vec<u8>> {
    let numbers = text.split(|one: char| !one.is_ascii_digit()).filter(|number| !number.is_empty());
    let bytes: Vec<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
    (bytes.len() >= SHORTEST).then_some(bytes)
}

/// The runs of such characters that are long enough to be something, and then all such characters together: lines that
/// belong together may be of any length, and quoted, numbered or marked.
fn runs(text: &str, fits: impl Fn(u8) -> bool) -> impl Iterator<Item = Vec<u8>> {
    let mut found: Vec<Vec<u8>> = text.as_bytes().split(|byte| !fits(*byte)).map(<[u8]>::to_vec).collect();
    if found.len() > 1 {
        let words = text.split(|one: char| one.is_ascii_whitespace() || "\"'`\\,;>|".contains(one));
        // A number in front of a line, or a sign that adds the lines to each other.
        let is_sign = |word: &str| word.chars().all(|one| "+.:)".contains(one) || one.is_ascii_digit());
        let lines: String = words.filter(|word| !is_sign(word)).collect();
        found.extend(lines.as_bytes().split(|byte| !fits(*byte)).map(<[u8]>::to_vec).collect::<Vec<_>>());
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
    run.as_chunks::<2>().0.iter().map(|[high, low]| Some(digit(*high)? * 16 + digit(*low)?)).collect()
}

#[cfg(test)]
mod tests;
