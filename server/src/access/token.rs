//! From a token to who it says and what it allows: JSON Web Tokens (RFC 7519) with the advice of RFC 8725.
//!
//! In: the token as text, and the moment. Out: a user and a [`Pass`], or one of the numbered refusals. Invariants: the key
//! decides on the algorithm; a signature is checked before anything else in the token is believed; no error repeats anything
//! that stands in the token.

use std::sync::Arc;

use fanfare_protocol::{Code, UserName};
use jsonwebtoken::{Validation, decode, decode_header};
use parking_lot::RwLock;
use serde_json::{Map, Value};

use super::grant::{GrantClaim, GrantError, Grants};
use super::pass::{Issued, Proof};
use super::{Denial, Pass, Seconds, TokenKey};

/// The longest token that is looked at. Browsers' cookies are smaller; a hundred grants fit.
const TOKEN_BYTES: usize = 16 * 1024;

/// What a token must be like.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// Any of these keys may have signed it.
    pub keys: Vec<TokenKey>,
    /// If there are any, the token must be for one of them (`aud`).
    pub audience: Vec<String>,
    /// If there are any, the token must be from one of them (`iss`).
    pub issuer: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// How far the issuer's clock may be off, in seconds: by so much is every end put off, and every beginning earlier.
    pub leeway: u32,
    /// How long a token may last at most, in seconds. One that lasts longer is refused, because a sign-out is kept for so long, and
    /// must outlast every token that it is about. `None`: as long as it likes, and sign-outs stay until they are lifted.
    pub longest: Option<u32>,
}

impl TokenRules {
    /// How far clocks may be apart where nothing else is said, in seconds.
    pub const LEEWAY: u32 = 30;
    /// How long a token may last where nothing else is said, in seconds: 30 days, which is as long as common sign-in services
    /// can be told to let an access token last.
    pub const LONGEST: u32 = 30 * 24 * 3_600;

    /// Any audience and issuer, the user in `sub`, clocks that are at most 30 s apart, tokens of at most 30 days.
    #[must_use]
    pub fn new(keys: Vec<TokenKey>) -> Self {
        Self {
            keys,
            audience: Vec::new(),
            issuer: Vec::new(),
            user_claim: "sub".to_owned(),
            leeway: Self::LEEWAY,
            longest: Some(Self::LONGEST),
        }
    }
}

/// Checks tokens by rules that can be replaced.
pub(crate) struct Verifier {
    rules: RwLock<Option<Arc<TokenRules>>>,
}

/// Why a token is refused. The texts are for the client's developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("The server has no token keys, so it cannot tell who connects.")]
    NoKeys,
    #[error("The token is longer than {TOKEN_BYTES} bytes.")]
    TooLong,
    #[error("The token is not a signed JSON Web Token with a header and claims that can be read.")]
    Malformed,
    #[error(
        "The token's header has \"crit\": it wants to be understood in a way that this server does not know."
    )]
    Critical,
    #[error("No key of the server is for this token: its \"kid\" or its \"alg\" fits none.")]
    NoSuchKey,
    #[error("The token's signature is not by a key of the server.")]
    Signature,
    #[error("The token has no end (claim \"exp\", in seconds since 1970).")]
    Endless,
    #[error("The token lasts longer than the {0} s that the server allows.")]
    LastsTooLong(u32),
    #[error("The token's claim \"nbf\" or \"iat\" is not a number of seconds since 1970.")]
    Time,
    #[error("The token has expired.")]
    Expired,
    #[error("The token is not valid yet: by its \"nbf\" or \"iat\" it begins later. Do the clocks agree?")]
    NotYet,
    #[error("The token is for another audience (claim \"aud\").")]
    Audience,
    #[error("The token is from another issuer (claim \"iss\").")]
    Issuer,
    #[error("The token names no user of 1 to 256 bytes in the claim that the server looks for.")]
    User,
    #[error("The token's claim \"jti\" is not text of 1 to 256 bytes.")]
    Id,
    #[error("The token's claim \"grants\" is not a list of grants.")]
    Grants,
    #[error("The token's claim \"grants\" has more than 256 entries.")]
    TooManyGrants,
    #[error("Entry {0} of the token's claim \"grants\" makes no sense.")]
    Grant(usize),
}

impl TokenError {
    pub(crate) fn code(self) -> Code {
        match self {
            Self::NoKeys => Code::TokensNotConfigured,
            Self::Expired => Code::TokenExpired,
            Self::NotYet => Code::TokenNotYetValid,
            Self::Audience | Self::Issuer => Code::TokenNotForHere,
            Self::TooLong
            | Self::Malformed
            | Self::Critical
            | Self::NoSuchKey
            | Self::Signature
            | Self::Endless
            | Self::LastsTooLong(_)
            | Self::Time
            | Self::User
            | Self::Id
            | Self::Grants
            | Self::TooManyGrants
            | Self::Grant(_) => Code::TokenInvalid,
        }
    }
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}

impl Verifier {
    pub(crate) fn new(rules: Option<TokenRules>) -> Self {
        Self { rules: RwLock::new(rules.map(Arc::new)) }
    }

    /// Goes on with other rules. Who is connected stays connected.
    pub(crate) fn replace(&self, rules: TokenRules) {
        *self.rules.write() = Some(Arc::new(rules));
    }

    /// Who the token says, and what it allows.
    pub(crate) fn verify(&self, token: &str, now: Seconds) -> Result<(UserName, Pass), TokenError> {
        let rules = self.rules.read().clone().ok_or(TokenError::NoKeys)?;
        if token.len() > TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let claims = rules.signed_claims(token)?;
        rules.accept(claims, now)
    }
}

impl TokenRules {
    /// The claims, once the signature is seen to be by one of our keys.
    fn signed_claims(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let named = |key: &&TokenKey| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            // A key from a PEM file or a secret has no id, and may be the one.
            _ => true,
        };
        let mut error = TokenError::NoSuchKey;
        for key in self.keys.iter().filter(named).filter(|key| key.algorithm == header.alg) {
            // Everything but the signature is checked below, with codes of its own and by one clock.
            let mut validation = Validation::new(key.algorithm);
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            match decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(failed) => {
                    use jsonwebtoken::errors::ErrorKind;
                    error = match failed.kind() {
                        ErrorKind::Base64(_)
                        | ErrorKind::Json(_)
                        | ErrorKind::Utf8(_)
                        | ErrorKind::InvalidToken => TokenError::Malformed,
                        _ => TokenError::Signature,
                    };
                }
            }
        }
        Err(error)
    }

    fn accept(&self, mut claims: Map<String, Value>, now: Seconds) -> Result<(UserName, Pass), TokenError> {
        let leeway = Seconds::from(self.leeway);
        let time =
            |name: &str| claims.get(name).map(|value| seconds(value).ok_or(TokenError::Time)).transpose();
        let ends = claims.get("exp").and_then(seconds).ok_or(TokenError::Endless)?.saturating_add(leeway);
        if ends <= now {
            return Err(TokenError::Expired);
        }
        let issued = time("iat")?;
        // An `iat` in the future would outlast a sign-out.
        if time("nbf")?.into_iter().chain(issued).any(|begins| begins > now.saturating_add(leeway)) {
            return Err(TokenError::NotYet);
        }
        // By its own account, or else from now on, by a clock that may be ahead.
        let begun = issued.unwrap_or(now.saturating_add(leeway));
        let lasts = ends.saturating_sub(leeway).saturating_sub(begun);
        if let Some(longest) = self.longest.filter(|longest| lasts > Seconds::from(*longest)) {
            return Err(TokenError::LastsTooLong(longest));
        }
        if !self.audience.is_empty() && !is_any_of(claims.get("aud"), &self.audience) {
            return Err(TokenError::Audience);
        }
        if !self.issuer.is_empty() && !is_any_of(claims.get("iss"), &self.issuer) {
            return Err(TokenError::Issuer);
        }
        let user = claims.get(&self.user_claim).and_then(Value::as_str).ok_or(TokenError::User)?;
        let user = UserName::new(user).map_err(|_| TokenError::User)?;
        let token = match claims.get("jti") {
            None => None,
            Some(Value::String(id)) if (1..=256).contains(&id.len()) => Some(id.clone()),
            Some(_) => return Err(TokenError::Id),
        };
        let grants = match claims.remove("grants") {
            None => Vec::new(),
            Some(list) => serde_json::from_value::<Vec<GrantClaim>>(list).map_err(|_| TokenError::Grants)?,
        };
        let grants = Grants::parse(grants, leeway).map_err(|error| match error {
            GrantError::TooMany => TokenError::TooManyGrants,
            GrantError::Entry(position) => TokenError::Grant(position),
        })?;
        let issued = Issued {
            earliest: issued
                // It was made to last as long as a token may, or less.
                .or(self.longest.map(|longest| ends.saturating_sub(leeway).saturating_sub(longest.into())))
                .map_or(0, |earliest| earliest.saturating_sub(leeway)),
            told: issued.is_some(),
        };
        Ok((user, Pass { grants, ends, issued, token, proof: Proof::Token }))
    }
}

/// A claim's time (RFC 7519 section 2): a number that may have a fraction, which is cut off.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in range, and the fraction is meant to go"
)]
fn seconds(value: &Value) -> Option<Seconds> {
    // As far as a double counts in whole seconds; far beyond any clock.
    const MOST: f64 = 9e15;
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|time| (0.0..MOST).contains(time)).map(|time| time as Seconds))
}

/// Whether a claim that is a text or a list of texts has one that is wanted.
fn is_any_of(claim: Option<&Value>, wanted: &[String]) -> bool {
    let is_wanted =
        |value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|wanted| wanted == text));
    match claim {
        Some(Value::Array(list)) => list.iter().any(is_wanted),
        Some(value) => is_wanted(value),
        None => false,
    }
}

#[cfg(test)]
mod tests;
