//! Files with keys for checking tokens.
//!
//! In: a file that was said to be public keys (PEM, a JWK or a JWK Set, RFC 7517), or one that was said to be a secret.
//! Out: keys. Invariant: a file is never taken for a secret because it is not understood.

use std::path::Path;

use fanfare_pem::Block;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::key::{KeyError, ReadKeys, SECRET_BYTES, TokenKey, algorithm, check, read_file, unsupported};
use super::key_set::KeySetOrigin;
use super::looks::{self, look};
use super::{key_set, material};

impl TokenKey {
    /// Reads the keys in a file: public keys in PEM, a JWK or a JWK Set.
    ///
    /// # Errors
    /// When the file cannot be read, is anything else (the error says what it looks like), or holds no key of a kind
    /// that is supported: ES256, EdDSA (Ed25519), RS256, and in a JWK or JWK Set HS256.
    pub fn read(path: &Path) -> Result<ReadKeys, KeyError> {
        let bytes = read_file(path)?;
        parse(&bytes).map_err(|problem| KeyError::Unusable { path: path.to_owned(), problem })
    }

    /// Takes bytes for a secret (HS256), as they are.
    ///
    /// # Errors
    /// When they are fewer than 32, or are a key or a certificate, which others have, too.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, String> {
        let checked = secret(bytes)?;
        if checked.len() < bytes.len() {
            return Err("it ends in a line end, which a secret in memory should not have".to_owned());
        }
        Ok(Self { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(bytes) })
    }

    /// Takes a file for a secret (HS256): byte for byte, but for one line end (LF, or CR LF) at its end.
    ///
    /// # Errors
    /// When the file cannot be read, has fewer than 32 bytes, or is a key or a certificate, which others have, too.
    pub fn read_secret(path: &Path) -> Result<Self, KeyError> {
        let bytes = read_file(path)?;
        let secret = secret(&bytes);
        let secret = secret.map_err(|problem| KeyError::Unusable { path: path.to_owned(), problem })?;
        Ok(Self { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
    }
}

/// The keys in the bytes of a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<ReadKeys, String> {
    // UTF-16 can look like UTF-8 with zeros in it.
    let text = std::str::from_utf8(bytes).ok().map(looks::bare).filter(|text| !text.contains('\0'));
    if let Some(text) = text.filter(|text| text.starts_with('{')) {
        return key_set::parse(text, KeySetOrigin::File);
    }
    let blocks = match fanfare_pem::parse(bytes) {
        Ok(blocks) => blocks,
        Err(_) if text.is_some_and(looks::is_ssh) => Vec::new(),
        Err(error) => return Err(format!("it has {error}")),
    };
    let used = blocks.iter().filter(|block| !is_passed_over(block.label()));
    let keys = used.map(from_pem).collect::<Result<Vec<_>, _>>()?;
    if !keys.is_empty() {
        // Half of what was meant is not taken for all of it.
        return match material::is_beside(&fanfare_pem::around(bytes)) {
            true => {
                Err("it holds PEM and, beside it, a key of another form; put them into files of their own"
                    .to_owned())
            }
            false => Ok(ReadKeys { keys, skipped: Vec::new() }),
        };
    }
    if let Some(block) = blocks.first() {
        return Err(format!("it has {}, and no key", fanfare_pem::describe(block.label())));
    }
    let look = look(bytes);
    Err(format!("it looks like {}, and is no PEM, JWK or JWK Set; {}", look.what, look.instead))
}

/// Whether a section stands in front of a key and says nothing that the key does not: `openssl ecparam -genkey` writes
/// one.
pub(crate) fn is_passed_over(label: &str) -> bool {
    label.ends_with(" PARAMETERS")
}

/// A file that is a secret, without one line end, which editors and `openssl rand` leave.
pub(crate) fn secret(bytes: &[u8]) -> Result<&[u8], String> {
    let secret = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if secret.len() < SECRET_BYTES {
        return Err(format!(
            "a secret has at least {SECRET_BYTES} bytes, and this file has {} (a line end at its end does not count); \
             make one with: openssl rand -hex 32",
            secret.len()
        ));
    }
    if let Some(what) = material::found(bytes) {
        return Err(format!(
            "it looks like {what}, which is no secret: whoever has the same file could make tokens; give \
             it as a public key"
        ));
    }
    Ok(secret)
}

fn from_pem(block: &Block) -> Result<TokenKey, String> {
    let (line, label, der) = (block.line(), block.label(), block.der());
    match label {
        "PUBLIC KEY" => {}
        label if label.ends_with("PRIVATE KEY") => {
            return Err(format!(
                "line {line}: it is a private key, which signs tokens; the server takes the public one: openssl pkey \
                 -pubout"
            ));
        }
        label => {
            let instead = match label {
                "CERTIFICATE" => ": openssl x509 -noout -pubkey",
                "RSA PUBLIC KEY" => ": openssl rsa -RSAPublicKey_in -pubout",
                _ => "",
            };
            return Err(format!("line {line}: it holds {label:?}, and should hold \"PUBLIC KEY\"{instead}"));
        }
    }
    let on_line = |problem: String| format!("line {line}: {problem}");
    let algorithm = algorithm(der).ok_or_else(|| on_line(unsupported()))?;
    let text = fanfare_pem::encode(label, der);
    let key = match algorithm {
        Algorithm::EdDSA => DecodingKey::from_ed_pem(text.as_bytes()),
        Algorithm::ES256 => DecodingKey::from_ec_pem(text.as_bytes()),
        _ => DecodingKey::from_rsa_pem(text.as_bytes()),
    };
    let key = key.map_err(|error| on_line(format!("the key is damaged: {error}")))?;
    check(algorithm, &key).map_err(|problem| on_line(format!("the key {problem}")))?;
    Ok(TokenKey { id: None, algorithm, key })
}
