//! JSON Web Keys and sets of them (RFC 7517), as sign-in services publish them.
//!
//! In: text. Out: the keys that can check tokens, and why the others cannot. Invariants: one key that is unknown,
//! damaged or meant for something else is no reason to refuse the others (section 5), and it is never used; no reason
//! repeats key material.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::key::{self, ReadKeys, TokenKey};
use super::strict_json::{self, JsonError};

/// The most keys of a set: a token without `kid` is tried with each.
const MOST: usize = 100;
/// How many reasons an error gives.
const REASONS: usize = 5;

/// Where a set is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySetOrigin {
    /// A file of the operator's. It may hold secrets.
    File,
    /// What everybody can read.
    Url,
}

/// What tells a set from a key. Each key is read for itself.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Option<&'a RawValue>,
    #[serde(borrow)]
    kty: Option<&'a RawValue>,
    #[serde(borrow)]
    jwks_uri: Option<&'a RawValue>,
}

/// Reads a set, or a key alone.
///
/// # Errors
/// When it is neither, or no key of it can be used.
pub fn parse(text: &str, origin: KeySetOrigin) -> Result<ReadKeys, String> {
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            return "it is JSON, but no JWK and no JWK Set: one of its members stands there twice".to_owned();
        }
        format!("it is not JSON, from line {}, column {} on", error.line(), error.column())
    })?;
    let Some(keys) = document.keys else {
        if document.kty.is_some() {
            return match read_key(text, origin) {
                Ok(key) => Ok(ReadKeys { keys: vec![key], skipped: Vec::new() }),
                Err(Reason { words, .. }) => Err(format!("the key {words}")),
            };
        }
        let hint = match document.jwks_uri {
            Some(_) => "; it looks like OpenID configuration: the keys are where its \"jwks_uri\" says",
            None => "",
        };
        return Err(format!("a JWK Set is an object with a list \"keys\", and a JWK one with \"kty\"{hint}"));
    };
    let keys: Vec<&RawValue> = serde_json::from_str(keys.get()).map_err(|_| {
        "a JWK Set is an object with a list \"keys\", and this \"keys\" is no list".to_owned()
    })?;
    if keys.len() > MOST {
        return Err(format!("it has {} keys; a set has at most {MOST}", keys.len()));
    }
    let (mut taken, mut skipped) = (Vec::new(), Vec::new());
    for (key, position) in keys.iter().zip(1..) {
        match read_key(key.get(), origin) {
            Ok(key) => taken.push(key),
            Err(Reason { id, words }) => {
                let id = id.map(|id| format!(" (kid {id:?})")).unwrap_or_default();
                skipped.push(format!("key {position}{id} {words}"));
            }
        }
    }
    if !taken.is_empty() {
        return Ok(ReadKeys { keys: taken, skipped });
    }
    let more = if skipped.len() > REASONS { ", and so on" } else { "" };
    skipped.truncate(REASONS);
    let reasons = if skipped.is_empty() { String::new() } else { format!(": {}{more}", skipped.join(", ")) };
    Err(format!("no key in it is for checking tokens by HS256, ES256, EdDSA (Ed25519) or RS256{reasons}"))
}

/// Why a key is not used: words that follow "key 7".
struct Reason {
    id: Option<String>,
    words: String,
}

fn read_key(text: &str, origin: KeySetOrigin) -> Result<TokenKey, Reason> {
    let nameless = |words: &str| Reason { id: None, words: words.to_owned() };
    let value = strict_json::parse(text.as_bytes()).map_err(|error| match error {
        JsonError::Duplicate => nameless("has a member twice"),
        JsonError::Malformed { .. } => nameless("is damaged"),
    })?;
    let Value::Object(key) = value else { return Err(nameless("is no object")) };
    let id = member(&key, "kid").map_err(|words| nameless(&words))?.map(str::to_owned);
    match usable(&key, origin) {
        Ok((algorithm, key)) => Ok(TokenKey { id, algorithm, key }),
        Err(words) => Err(Reason { id, words }),
    }
}

/// A member that is text, or is not there.
fn member<'a>(key: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match key.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("is damaged: its \"{name}\" is not text")),
    }
}

/// A key and what it is for, unless it says that it is not for checking signatures, or not one that is supported.
fn usable(key: &Map<String, Value>, origin: KeySetOrigin) -> Result<(Algorithm, DecodingKey), String> {
    let text = |name: &str| member(key, name);
    let needed = |name: &str| text(name)?.ok_or(format!("is damaged: it has no \"{name}\""));
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err("is not for signatures (\"use\")".to_owned());
    }
    let texts = |value: &Value| value.as_array().filter(|list| list.iter().all(Value::is_string)).cloned();
    let operations = key.get("key_ops").map(texts);
    if operations == Some(None) {
        return Err("is damaged: its \"key_ops\" is no list of texts".to_owned());
    }
    if operations.flatten().is_some_and(|list| !list.iter().any(|operation| operation == "verify")) {
        return Err("is not for checking signatures (\"key_ops\" has no \"verify\")".to_owned());
    }
    let algorithm = match (needed("kty")?, text("crv")?) {
        ("oct", _) => Algorithm::HS256,
        ("RSA", _) => Algorithm::RS256,
        ("EC", Some("P-256")) => Algorithm::ES256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
        _ => return Err("is of a kind that is not supported (\"kty\", \"crv\")".to_owned()),
    };
    if text("alg")?.is_some_and(|name| !key::names(algorithm).contains(&name)) {
        return Err("is for an algorithm that is not supported (\"alg\")".to_owned());
    }
    if algorithm == Algorithm::HS256 && origin == KeySetOrigin::Url {
        return Err("is a secret, which is none once it is published".to_owned());
    }
    if key.contains_key("d") {
        return Err("is a private key (it has \"d\"), which only the signer should have".to_owned());
    }
    let damaged = |_| "is damaged".to_owned();
    let decoding = match algorithm {
        Algorithm::HS256 => {
            let secret = URL_SAFE_NO_PAD.decode(needed("k")?).map_err(|_| "is damaged".to_owned())?;
            DecodingKey::from_secret(&secret)
        }
        Algorithm::EdDSA => DecodingKey::from_ed_components(needed("x")?).map_err(damaged)?,
        Algorithm::ES256 => DecodingKey::from_ec_components(needed("x")?, needed("y")?).map_err(damaged)?,
        _ => DecodingKey::from_rsa_components(needed("n")?, needed("e")?).map_err(damaged)?,
    };
    key::check(algorithm, &decoding)?;
    Ok((algorithm, decoding))
}
