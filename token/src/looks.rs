//! What a file looks like that was given as keys, or as a secret, and is not: for errors that say what to do.
//!
//! In: the bytes of a file. Out: words. Invariant: nothing here decides that a file is a key or a secret; that is said
//! by whoever names it.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::der::element;

/// What a file looks like.
pub(crate) struct Look {
    /// As part of a sentence: "it looks like ...".
    pub(crate) what: String,
    /// What to do, where the file was to be a key.
    pub(crate) instead: &'static str,
}

impl Look {
    fn new(what: impl Into<String>, instead: &'static str) -> Self {
        Self { what: what.into(), instead }
    }
}

const SECRET: &str = "a secret must be said to be one";
const PEM_OF_PUBLIC: &str = "make PEM of it: openssl pkey -pubin -inform DER -in FILE -out key.pem";
const PEM_OF_CERTIFICATE: &str =
    "take the public key out of it: openssl x509 -in FILE -noout -pubkey > key.pem";

/// Text without the byte order mark that some editors put in front, and without the white space around it.
#[must_use]
pub fn bare(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim()
}

/// What these bytes look like.
pub(crate) fn look(bytes: &[u8]) -> Look {
    if bytes.trim_ascii().is_empty() {
        return Look::new("an empty file", "write the key into it: PEM, a JWK or a JWK Set");
    }
    if is_utf16(bytes) {
        return Look::new("text in UTF-16", "save it as UTF-8");
    }
    if let Some(look) = der(bytes) {
        return look;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text_look(bare(text), bytes.len()),
        Err(_) => Look::new(format!("binary data, {} bytes", bytes.len()), SECRET),
    }
}

fn text_look(text: &str, length: usize) -> Look {
    if is_ssh(text) {
        return Look::new(
            "an SSH public key",
            "make PEM of it, if it is RSA or ECDSA: ssh-keygen -e -m PKCS8 -f FILE > key.pem",
        );
    }
    match text.chars().next() {
        Some('{') if has(text, "kty") || has(text, "keys") => {
            return Look::new("a JWK or a JWK Set", "give it as a public key");
        }
        Some('{') => {
            return Look::new("JSON", "a JWK is an object with \"kty\", a JWK Set one with \"keys\"");
        }
        Some('[') => {
            let instead = "a JWK Set is an object: write {\"keys\": in front of the list and } behind it";
            return Look::new("a bare list in JSON", instead);
        }
        _ => {}
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        return Look::new("an address", "the keys that a URL gives are fetched where it is given as a URL");
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() == 3 && parts.iter().all(|part| decoded(part).is_some()) && text.starts_with("ey") {
        return Look::new("a token", "give the key that tokens are checked with");
    }
    if let Some(look) = decoded(text).as_deref().and_then(der) {
        let instead = "if it is public, put -----BEGIN PUBLIC KEY----- before it and -----END PUBLIC KEY----- behind it";
        return Look::new(format!("base64 of {}", look.what), instead);
    }
    Look::new(format!("a secret, {length} bytes of text"), SECRET)
}

/// Whether JSON has a member of this name, somewhere.
fn has(text: &str, name: &str) -> bool {
    text.contains(&format!("\"{name}\""))
}

/// Whether it is a public key as SSH has it, in one line or in a form of its own (RFC 4716).
pub(crate) fn is_ssh(text: &str) -> bool {
    let kind = text.split_ascii_whitespace().next().unwrap_or_default();
    text.starts_with("---- BEGIN SSH2")
        || kind.starts_with("ssh-")
        || kind.starts_with("ecdsa-sha2-")
        || kind.starts_with("sk-ssh-")
}

/// Whether it is text in UTF-16: with a byte order mark, or with every second byte zero as far as one can see.
fn is_utf16(bytes: &[u8]) -> bool {
    let (little, rest) = match bytes {
        [0xff, 0xfe, rest @ ..] => (true, rest),
        [0xfe, 0xff, rest @ ..] => (false, rest),
        [_, 0, _, 0, ..] => (true, bytes),
        [0, _, 0, _, ..] => (false, bytes),
        _ => return false,
    };
    let pairs = rest.as_chunks::<2>().0.iter();
    let units = pairs.map(|pair| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) });
    let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
    // Random bytes that happen to begin like that are not text, nor are zeros alone.
    text.is_some_and(|text| {
        text.chars().all(|character| !character.is_control() || character.is_whitespace())
    })
}

/// Base64 of either alphabet, padded or not, on any number of lines.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let text: String = text.split_ascii_whitespace().collect();
    [base64::alphabet::STANDARD, base64::alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(&text).ok())
}

/// Keys and certificates in DER: one SEQUENCE, exactly as long as the bytes, with the identifier of a kind of key in
/// it.
fn der(bytes: &[u8]) -> Option<Look> {
    let (mut inside, behind) = element(0x30, bytes)?;
    if !behind.is_empty() {
        return None;
    }
    if let Some((number, rest)) = element(0x02, inside) {
        // PKCS #8 and SEC 1 begin with a version; PKCS #1 public keys with the modulus.
        if number.len() > 32 && element(0x02, rest).is_some_and(|(_, rest)| rest.is_empty()) {
            let instead =
                "make PEM of it: openssl rsa -RSAPublicKey_in -inform DER -in FILE -pubout -out key.pem";
            return Some(Look::new("an RSA public key in DER (PKCS #1)", instead));
        }
        let is_private = element(0x30, rest).is_some() || element(0x04, rest).is_some() || number == [0];
        let instead =
            "the server takes the public one: openssl pkey -inform DER -in FILE -pubout -out key.pem";
        return is_private.then(|| Look::new("a private key in DER", instead));
    }
    let (first, rest) = element(0x30, inside)?;
    inside = first;
    // A certificate: what is signed, the algorithm, the signature.
    if let Some((_, rest)) = element(0x30, rest) {
        return element(0x03, rest).map(|_| Look::new("a certificate in DER", PEM_OF_CERTIFICATE));
    }
    let is_public = element(0x06, inside).is_some() && element(0x03, rest).is_some();
    is_public.then(|| Look::new("a public key in DER", PEM_OF_PUBLIC))
}

#[cfg(test)]
mod tests;
