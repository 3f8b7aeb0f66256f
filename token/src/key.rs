//! The keys that tokens are checked with, each with the one algorithm that it is for.
//!
//! In: a key as a library has it. Out: whether it can check any signature. Invariant: the algorithm is the key's, and
//! no token can choose another (RFC 8725 section 3.1).

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::der::element;

/// The fewest bytes of a secret: as many as the hash has (RFC 7518 section 3.2).
pub(crate) const SECRET_BYTES: usize = 32;
/// The largest file or answer that is read. A set of a hundred RSA keys is far below.
pub const FILE_BYTES: usize = 1 << 20;

/// One key for checking tokens.
#[derive(Clone)]
pub struct TokenKey {
    /// The id that a token may name it by (`kid`).
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
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
    /// Whether a token's `alg` is what this key is for. RFC 9864 gave EdDSA with Ed25519 a name of its own.
    pub(crate) fn is_for(&self, name: &str) -> bool {
        names(self.algorithm).contains(&name)
    }
}

/// What an algorithm is called in tokens and in keys.
pub(crate) fn names(algorithm: Algorithm) -> &'static [&'static str] {
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
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    read_at_most(path, FILE_BYTES)
}

/// Reads a file whole that may have so many bytes.
///
/// # Errors
/// When it cannot be read, or has more.
pub fn read_at_most(path: &Path, most: usize) -> Result<Vec<u8>, KeyError> {
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

/// The algorithm of a key in DER, public (RFC 5280) or private (RFC 5208), by the object identifier near its beginning.
pub(crate) fn algorithm(der: &[u8]) -> Option<Algorithm> {
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

pub(crate) fn unsupported() -> String {
    "its kind is not supported; take Ed25519, ECDSA on P-256, or RSA".to_owned()
}

/// Whether a key can check any signature at all. Found out here, or its tokens would be refused one by one for reasons
/// that nobody understands. The words follow "the key".
pub(crate) fn check(algorithm: Algorithm, key: &DecodingKey) -> Result<(), String> {
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
