//! The keys that tokens are checked with.
//!
//! In: a file that was said to be public keys (PEM, a JWK or a JWK Set, RFC 7517), or one that was said to be a secret.
//! Out: keys, each with the one algorithm that it is for. Invariants: the algorithm is the key's, and no token can
//! choose another (RFC 8725 section 3.1); a file is never taken for a secret because it is not understood.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use fanfare_pem::Block;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::der::element;
use super::looks::{self, look};
use super::{KeySetOrigin, key_set, material};

/// The fewest bytes of a secret: as many as the hash has (RFC 7518 section 3.2).
pub(super) const SECRET_BYTES: usize = 32;
/// The largest file or answer that is read. A set of a hundred RSA keys is far below.
pub(super) const FILE_BYTES: usize = 1 << 20;

/// One key for checking tokens.
#[derive(Clone)]
pub struct TokenKey {
    /// The id that a token may name it by (`kid`).
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of a file or of a URL.
#[derive(Debug, Clone)]
pub struct ReadKeys {
    /// Those that can be used; at least one.
    pub keys: Vec<TokenKey>,
    /// Those of a key set that were passed over, with the reason: lines for the log.
    pub skipped: Vec<String>,
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

/// Why a file or a URL cannot be used as keys.
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
    /// The URL gives no keys, and there are none from an earlier time.
    #[error("cannot fetch the token keys from {url}: {problem}")]
    Url {
        /// The URL, without what may be private in it.
        url: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

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

    /// Whether a token's `alg` is what this key is for. RFC 9864 gave EdDSA with Ed25519 a name of its own.
    pub(super) fn is_for(&self, name: &str) -> bool {
        names(self.algorithm).contains(&name)
    }
}

/// What an algorithm is called in tokens and in keys.
pub(super) fn names(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::HS256 => &["HS256"],
        Algorithm::ES256 => &["ES256"],
        Algorithm::RS256 => &["RS256"],
        Algorithm::EdDSA => &["EdDSA", "Ed25519"],
        // No key is for any other.
        _ => &[],
    }
}

/// Reads a key file whole.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    read_at_most(path, FILE_BYTES)
}

/// Reads a file whole that may have so many bytes.
pub(super) fn read_at_most(path: &Path, most: usize) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // By what is read and not by what the system says of its length: that of a pipe is 0.
    File::open(path).map_err(failed)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > most {
        let problem = format!("it has more than {most} bytes, the most that a key file may have");
        return Err(KeyError::Unusable { path: path.to_owned(), problem });
    }
    Ok(bytes)
}

/// The keys in the bytes of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<ReadKeys, String> {
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

/// Whether a section stands in front of a key and says nothing that the key does not: `openssl ecparam -genkey` writes one.
pub(super) fn is_passed_over(label: &str) -> bool {
    label.ends_with(" PARAMETERS")
}

/// A file that is a secret, without one line end, which editors and `openssl rand` leave.
pub(super) fn secret(bytes: &[u8]) -> Result<&[u8], String> {
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
            "it looks like {what}, which is no secret: whoever has the same file could make tokens; keys are given with \
             --token-key FILE"
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

pub(super) fn unsupported() -> String {
    "its kind is not supported; take Ed25519, ECDSA on P-256, or RSA".to_owned()
}

/// Whether a key can check any signature at all. Found out here, or its tokens would be refused one by one for reasons
/// that nobody understands. The words follow "the key".
pub(super) fn check(algorithm: Algorithm, key: &DecodingKey) -> Result<(), String> {
    const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
    let damaged = || "is damaged".to_owned();
    let modulus = match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) if secret.len() < SECRET_BYTES => {
            return Err(format!("is a secret of fewer than {SECRET_BYTES} bytes"));
        }
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(_)) => return Ok(()),
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) if point.len() == 32 => {
            return ParsedPublicKey::new(&ED25519, point).map(drop).map_err(|_| damaged());
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) if point.len() == 65 => {
            return ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map(drop).map_err(|_| damaged());
        }
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|_| damaged())?;
            let inside = element(0x30, der).map(|(inside, _)| inside).ok_or_else(damaged)?;
            element(0x02, inside).map(|(modulus, _)| modulus).ok_or_else(damaged)?
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            let components = RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
            let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
            parsed.map_err(|_| damaged())?;
            n
        }
        _ => return Err(damaged()),
    };
    let zeros: usize = modulus.iter().take_while(|byte| **byte == 0).count();
    let top = modulus.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() - zeros) * 8 - top;
    if RSA_BITS.contains(&bits) {
        return Ok(());
    }
    Err(format!("has {bits} bits; RSA keys have {} to {}", RSA_BITS.start(), RSA_BITS.end()))
}
