//! Makes tokens: for trying things out and for tests. An application's own sign-in makes them in production.
//!
//! In: a file with a secret or a private key, and claims. Out: a signed token.

use std::fmt;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use super::key::{self, KeyError};
use super::key_file;
use super::{GrantClaim, Seconds, looks};

/// What tokens are signed with.
pub struct Minter {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl fmt::Debug for Minter {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign the token: {0}")]
pub struct MintError(jsonwebtoken::errors::Error);

/// What a token says.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    grants: &'a [GrantClaim],
}

/// Claims that a token need not have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// `jti`
    pub id: Option<&'a str>,
    /// `aud`
    pub audience: Option<&'a str>,
    /// `iss`
    pub issuer: Option<&'a str>,
}

impl Minter {
    /// Reads a private key in PEM (PKCS #8).
    ///
    /// # Errors
    /// When the file cannot be read, or is no key that signs ES256, EdDSA or RS256.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unusable = |problem: String| KeyError::Unusable { path: path.to_owned(), problem };
        let bytes = key::read_file(path)?;
        let mut blocks = fanfare_pem::parse(&bytes).map_err(|error| unusable(format!("it has {error}")))?;
        if blocks.is_empty() {
            let look = looks::look(&bytes);
            return Err(unusable(format!(
                "it looks like {}, and is no private key in PEM; a secret must be said to be one",
                look.what
            )));
        }
        blocks.retain(|block| !key_file::is_passed_over(block.label()));
        let [block] = blocks.as_slice() else {
            return Err(unusable(format!("it holds {} keys; tokens are signed with one", blocks.len())));
        };
        let wrong = |words: &str| unusable(format!("line {}: {words}", block.line()));
        match block.label() {
            _ if block.is_encrypted() => {
                return Err(wrong("it is encrypted: openssl pkcs8 -in FILE -out key.pem"));
            }
            "PRIVATE KEY" => {}
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                let words = "it is not in PKCS #8: openssl pkcs8 -topk8 -nocrypt -in FILE -out key.pem";
                return Err(wrong(words));
            }
            label => {
                let words = format!(
                    "it holds {label:?}, and no private key in PKCS #8 (\"-----BEGIN PRIVATE KEY-----\")"
                );
                return Err(wrong(&words));
            }
        }
        let algorithm = key::algorithm(block.der()).ok_or_else(|| unusable(key::unsupported()))?;
        let text = fanfare_pem::encode(block.label(), block.der());
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(text.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(text.as_bytes()),
            _ => EncodingKey::from_rsa_pem(text.as_bytes()),
        };
        let key = key.map_err(|error| unusable(format!("it is damaged: {error}")))?;
        Ok(Self { algorithm, key })
    }

    /// Takes a file for a secret (HS256), as [`TokenKey::read_secret`](super::TokenKey::read_secret) does.
    ///
    /// # Errors
    /// When the file cannot be read, has fewer than 32 bytes, or is a key or a certificate.
    pub fn read_secret(path: &Path) -> Result<Self, KeyError> {
        let bytes = key::read_file(path)?;
        let secret = key_file::secret(&bytes);
        let secret = secret.map_err(|problem| KeyError::Unusable { path: path.to_owned(), problem })?;
        Ok(Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret) })
    }

    /// A token for `user`, from `now` on, for so many seconds.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn mint(
        &self,
        user: &str,
        now: Seconds,
        seconds: u64,
        grants: &[GrantClaim],
        extras: Extras<'_>,
    ) -> Result<String, MintError> {
        let Extras { id: jti, audience: aud, issuer: iss } = extras;
        let claims = Claims { sub: user, iat: now, exp: now.saturating_add(seconds), jti, aud, iss, grants };
        self.sign(&claims)
    }

    /// A token with these claims, whatever they are.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, MintError> {
        encode(&Header::new(self.algorithm), claims, &self.key).map_err(MintError)
    }
}
