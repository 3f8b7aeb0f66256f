//! The keys that tokens are checked with.
//!
//! In: a file: a secret, a public key in PEM, or a JSON Web Key Set (RFC 7517). Out: keys, each with the one algorithm that
//! it is for. Invariant: the algorithm is the key's, and no token can choose another (RFC 8725 section 3.1): a public key is
//! never taken for a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// The fewest bytes of a secret: as many as the hash has (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;
/// The largest file that is read. A set of a hundred RSA keys is far below.
const FILE_BYTES: u64 = 1 << 20;

/// One key for checking tokens.
#[derive(Clone)]
pub struct TokenKey {
    /// The id that a token may name it by (`kid`).
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl fmt::Debug for TokenKey {
    /// Leaves the key out: one kind of them is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why a file cannot be used as keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key in {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What is in it is not what it should be.
    #[error("{path}: {problem}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl TokenKey {
    /// Reads the keys in a file: PEM and JSON are known by their looks, anything else is a secret.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no key of a kind that is supported: HS256, ES256, EdDSA (Ed25519), RS256.
    pub fn read(path: &Path) -> Result<Vec<Self>, KeyError> {
        let unusable = |problem| KeyError::Unusable { path: path.to_owned(), problem };
        let bytes = read_file(path)?;
        match text(&bytes) {
            Some(text) if text.starts_with('{') => from_set(text).map_err(unusable),
            Some(text) if text.contains("-----BEGIN ") => Ok(vec![from_pem(text).map_err(unusable)?]),
            _ => {
                let secret = secret(&bytes).map_err(unusable)?;
                Ok(vec![Self {
                    id: None,
                    algorithm: Algorithm::HS256,
                    key: DecodingKey::from_secret(secret),
                }])
            }
        }
    }
}

/// Reads a key file whole.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES {
        let problem = format!("it has {length} bytes; a key file has at most {FILE_BYTES}");
        return Err(KeyError::Unusable { path: path.to_owned(), problem });
    }
    std::fs::read(path).map_err(failed)
}

/// The file as text, without the white space around it.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(str::trim)
}

/// A file that is a secret, without the line end that editors and `openssl rand` leave.
pub(super) fn secret(bytes: &[u8]) -> Result<&[u8], String> {
    let secret = bytes.trim_ascii_end();
    if secret.len() < SECRET_BYTES {
        return Err(format!(
            "a secret has at least {SECRET_BYTES} bytes, and this file has {}; make one with: openssl rand -hex 32",
            secret.len()
        ));
    }
    Ok(secret)
}

/// The algorithm of a key in DER, public (RFC 5280) or private (RFC 5208), by the object identifier near its beginning.
pub(super) fn algorithm(der: &[u8]) -> Option<Algorithm> {
    const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    // Before the key itself: two or three headers, a version, and the longest identifiers.
    let head = der.get(..der.len().min(32))?;
    let has = |identifier: &[u8]| head.windows(identifier.len()).any(|window| window == identifier);
    if has(ED25519) {
        Some(Algorithm::EdDSA)
    } else if has(P256) {
        Some(Algorithm::ES256)
    } else if has(RSA) {
        Some(Algorithm::RS256)
    } else {
        None
    }
}

fn from_pem(text: &str) -> Result<TokenKey, String> {
    let kind =
        text.split_once("-----BEGIN ").and_then(|(_, rest)| rest.split_once("-----")).map(|(kind, _)| kind);
    match kind {
        Some("PUBLIC KEY") => {}
        Some(kind) if kind.ends_with("PRIVATE KEY") => {
            return Err("it is a private key, which signs tokens; the server takes the public one: openssl pkey -pubout"
                .to_owned());
        }
        kind => {
            let kind = kind.unwrap_or("damaged PEM");
            return Err(format!("it holds {kind:?}, and should hold \"PUBLIC KEY\""));
        }
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
        .map_err(|error| format!("it is damaged: {error}"))?;
    let algorithm = algorithm(&der).ok_or_else(unsupported)?;
    let bytes = text.as_bytes();
    let key = match algorithm {
        Algorithm::EdDSA => DecodingKey::from_ed_pem(bytes),
        Algorithm::ES256 => DecodingKey::from_ec_pem(bytes),
        _ => DecodingKey::from_rsa_pem(bytes),
    };
    let key = key.map_err(|error| format!("it is damaged: {error}"))?;
    Ok(TokenKey { id: None, algorithm, key })
}

pub(super) fn unsupported() -> String {
    "its kind is not supported; take Ed25519, ECDSA on P-256, or RSA".to_owned()
}

fn from_set(text: &str) -> Result<Vec<TokenKey>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("it is not JSON, from line {}, column {} on", error.line(), error.column())
    })?;
    let Some(keys) = value.get("keys").and_then(Value::as_array) else {
        return Err("a JSON Web Key Set is an object with a list \"keys\"".to_owned());
    };
    let mut taken = Vec::new();
    for (key, position) in keys.iter().zip(1..) {
        let member = |name: &str| key.get(name).and_then(Value::as_str);
        // RFC 7517 section 5: keys of kinds that one does not know, or for something else, are passed over.
        if member("use").is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        let algorithm = match (member("kty"), member("crv")) {
            (Some("oct"), _) => Algorithm::HS256,
            (Some("RSA"), _) => Algorithm::RS256,
            (Some("EC"), Some("P-256")) => Algorithm::ES256,
            (Some("OKP"), Some("Ed25519")) => Algorithm::EdDSA,
            _ => continue,
        };
        if member("alg").is_some_and(|name| name.parse() != Ok(algorithm)) {
            continue;
        }
        // The error could repeat what it did not like, which could be a secret.
        let damaged = || format!("key {position} is damaged");
        let jwk: Jwk = serde_json::from_value(key.clone()).map_err(|_| damaged())?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| damaged())?;
        if algorithm == Algorithm::HS256 {
            let secret = decoding.try_get_as_bytes().map_err(|_| damaged())?;
            if secret.len() < SECRET_BYTES {
                return Err(format!("key {position} is a secret of fewer than {SECRET_BYTES} bytes"));
            }
        }
        taken.push(TokenKey { id: member("kid").map(str::to_owned), algorithm, key: decoding });
    }
    if taken.is_empty() {
        return Err("no key in it is for signatures by HS256, ES256, EdDSA or RS256".to_owned());
    }
    Ok(taken)
}
