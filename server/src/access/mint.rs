//! Makes tokens: for trying things out and for tests. An application's own sign-in makes them in production.
//!
//! In: a file with a secret or a private key, and claims. Out: a signed token.

use std::fmt;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::GrantClaim;
use super::key::{self, KeyError};

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
    /// Reads a private key in PEM (PKCS #8), or takes the file for a secret.
    ///
    /// # Errors
    /// When the file cannot be read, or is no key that signs HS256, ES256, EdDSA or RS256.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unusable = |problem: String| KeyError::Unusable { path: path.to_owned(), problem };
        let bytes = key::read_file(path)?;
        let Some(text) = key::text(&bytes).filter(|text| text.contains("-----BEGIN ")) else {
            if key::text(&bytes).is_some_and(|text| text.starts_with('{')) {
                return Err(unusable(
                    "a JSON Web Key Set does not sign; give the private key in PEM".to_owned(),
                ));
            }
            let secret = key::secret(&bytes).map_err(unusable)?;
            return Ok(Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret) });
        };
        let problem =
            |_| unusable("it is no private key in PKCS #8 (\"-----BEGIN PRIVATE KEY-----\")".to_owned());
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(problem)?;
        let algorithm = key::algorithm(der.secret_pkcs8_der()).ok_or_else(|| unusable(key::unsupported()))?;
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(text.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(text.as_bytes()),
            _ => EncodingKey::from_rsa_pem(text.as_bytes()),
        };
        let key = key.map_err(|error| unusable(format!("it is damaged: {error}")))?;
        Ok(Self { algorithm, key })
    }

    /// A token for `user`, from now on, for so many seconds.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn mint(
        &self,
        user: &str,
        seconds: u64,
        grants: &[GrantClaim],
        extras: Extras<'_>,
    ) -> Result<String, MintError> {
        let now = super::now();
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
