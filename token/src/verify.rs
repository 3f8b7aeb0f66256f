//! From a token to who it says and what it allows: JSON Web Tokens (RFC 7519) with the advice of RFC 8725.
//!
//! In: the token as text, and the moment. Out: a user and a [`Permissions`], or one of the numbered refusals.
//! Invariants: the key decides on the algorithm; a signature is checked before anything else in the token is believed;
//! no error repeats anything that stands in the token.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::{Code, Denial, UserName};
use parking_lot::RwLock;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::grant::{self, GrantClaim, GrantError, Grants};
use crate::key::TokenKey;
use crate::permissions::{Permissions, Proof};
use crate::strict_json::{self, JsonError};
use crate::{Seconds, numeric_date};

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
    /// How long tokens last at most, in seconds: one that says when it was issued (`iat`) ends so long after that,
    /// whatever its `exp`. After so long a sign-out is over.
    pub longest: u32,
}

impl TokenRules {
    /// How far clocks may be apart where nothing else is said, in seconds.
    pub const LEEWAY: u32 = 30;
    /// How long tokens last at most where nothing else is said, in seconds: 30 days, the longest that common sign-in
    /// services can be told to let an access token last.
    pub const LONGEST: u32 = 30 * 24 * 3_600;

    /// Any audience and issuer, the user in `sub`, clocks that are at most 30 s apart.
    #[must_use]
    pub fn new(keys: Vec<TokenKey>) -> Self {
        Self {
            keys,
            audience: Vec::new(),
            issuer: Vec::new(),
            user_claim: "sub".to_owned(),
            leeway: Self::LEEWAY,
            longest: Self::LONGEST,
        }
    }
}

/// Keys that come from elsewhere and change: those of the key sets that URLs give.
pub trait KeySource: Send + Sync {
    /// The keys of each set, at this moment. Never waits.
    fn in_force(&self) -> Vec<Arc<[TokenKey]>>;
}

/// There are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKeySets;

impl KeySource for NoKeySets {
    fn in_force(&self) -> Vec<Arc<[TokenKey]>> {
        Vec::new()
    }
}

/// Checks tokens by rules that can be replaced.
pub struct Verifier {
    rules: RwLock<Option<Arc<TokenRules>>>,
    sets: Arc<dyn KeySource>,
}

/// Why a token is refused. The texts are for the client's developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says what it is in its text")]
pub enum TokenError {
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
    #[error("The token's header or claims have two members of the same name in one object.")]
    Duplicate,
    #[error("The token has no end (claim \"exp\", a number of seconds since 1970, from 0 on).")]
    Endless,
    #[error("The token's claim \"nbf\" or \"iat\" is not a number of seconds since 1970, from 0 on.")]
    Time,
    #[error("The token has expired.")]
    Expired,
    #[error("The token has expired: it was issued (claim \"iat\") longer ago than tokens last here.")]
    TooOld,
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
    #[error(
        "Entry {0} of the token's claim \"grants\" makes no sense: it names one of \"group\", \"user\" and \"all\", what \
         it \"may\" (\"send\", and for groups \"join\"), and perhaps its \"exp\"."
    )]
    Grant(usize),
    #[error(
        "The \"exp\" in entry {0} of the token's claim \"grants\" is not a number of seconds since 1970, from 0 on."
    )]
    GrantEnd(usize),
}

impl TokenError {
    /// The number that the peer sees.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::NoKeys => Code::TokensNotConfigured,
            Self::Expired | Self::TooOld => Code::TokenExpired,
            Self::NotYet => Code::TokenNotYetValid,
            Self::Audience | Self::Issuer => Code::TokenNotForHere,
            Self::TooLong
            | Self::Malformed
            | Self::Critical
            | Self::NoSuchKey
            | Self::Signature
            | Self::Duplicate
            | Self::Endless
            | Self::Time
            | Self::User
            | Self::Id
            | Self::Grants
            | Self::TooManyGrants
            | Self::Grant(_)
            | Self::GrantEnd(_) => Code::TokenInvalid,
        }
    }
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}

impl From<JsonError> for TokenError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::Duplicate,
            JsonError::Malformed { .. } => Self::Malformed,
        }
    }
}

impl Verifier {
    /// Any key of `rules` or of `sets` may have signed a token. Without rules no token is taken.
    #[must_use]
    pub fn new(rules: Option<TokenRules>, sets: Arc<dyn KeySource>) -> Self {
        Self { rules: RwLock::new(rules.map(Arc::new)), sets }
    }

    /// Goes on with other rules.
    pub fn replace(&self, rules: TokenRules) {
        *self.rules.write() = Some(Arc::new(rules));
    }

    /// Who the token says, and what it allows.
    ///
    /// # Errors
    /// Why it is not taken, and whether keys that are fetched anew may change that.
    pub fn verify(&self, token: &str, now: Seconds) -> Result<(UserName, Permissions), Refused> {
        let final_ = |error| Refused { error, may_be_by_a_new_key: false };
        let rules = self.rules.read().clone().ok_or(final_(TokenError::NoKeys))?;
        if token.len() > TOKEN_BYTES {
            return Err(final_(TokenError::TooLong));
        }
        let claims = rules.signed_claims(token, &*self.sets)?;
        rules.accept(claims, now).map_err(final_)
    }
}

/// A token that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: TokenError,
    /// Whether it could be signed by a key that a URL gives by now.
    pub may_be_by_a_new_key: bool,
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self { error, may_be_by_a_new_key: false }
    }
}

/// What is needed of a token's header (RFC 7515 section 4.1). Keys that stand in a header, or that it points to, are
/// never used.
struct Header {
    algorithm: String,
    key: Option<String>,
}

impl Header {
    fn read(part: &str) -> Result<Self, TokenError> {
        let mut header = object(part)?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let algorithm = match header.remove("alg") {
            // Not signed at all.
            Some(Value::String(name)) if !name.eq_ignore_ascii_case("none") => name,
            _ => return Err(TokenError::Malformed),
        };
        let key = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(TokenError::Malformed),
        };
        Ok(Self { algorithm, key })
    }
}

/// The object that a part of a token is.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    match strict_json::parse(&json)? {
        Value::Object(object) => Ok(object),
        _ => Err(TokenError::Malformed),
    }
}

impl TokenRules {
    /// The claims, once the signature is seen to be by one of our keys.
    fn signed_claims(&self, token: &str, sets: &dyn KeySource) -> Result<Map<String, Value>, Refused> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
        // The claims' dots, if there are any, are no base64.
        let header = Header::read(header)?;
        let mut error = TokenError::NoSuchKey;
        let mut known = false;
        let fetched = sets.in_force();
        for key in self.keys.iter().chain(fetched.iter().flat_map(|keys| keys.iter())) {
            match (&header.key, &key.id) {
                (Some(wanted), Some(id)) if wanted != id => continue,
                (Some(_), Some(_)) => known = true,
                // A key from a PEM file or a secret has no id, and may be the one.
                _ => {}
            }
            if !key.is_for(&header.algorithm) {
                continue;
            }
            // Everything but the signature is checked elsewhere, with codes of its own and by one clock.
            match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm) {
                Ok(true) => return Ok(object(claims)?),
                Ok(false) => error = TokenError::Signature,
                Err(failed) => {
                    use jsonwebtoken::errors::ErrorKind;
                    error = match failed.kind() {
                        ErrorKind::Base64(_) => TokenError::Malformed,
                        _ => TokenError::Signature,
                    };
                }
            }
        }
        Err(Refused { error, may_be_by_a_new_key: !known && error != TokenError::Malformed })
    }

    fn accept(
        &self,
        mut claims: Map<String, Value>,
        now: Seconds,
    ) -> Result<(UserName, Permissions), TokenError> {
        let leeway = Seconds::from(self.leeway);
        let time = |name: &str| {
            claims.get(name).map(|value| numeric_date::read(value).ok_or(TokenError::Time)).transpose()
        };
        let said = claims.get("exp").and_then(numeric_date::read).ok_or(TokenError::Endless)?;
        let issued = time("iat")?;
        // Whatever it says: a sign-out is over when nothing from before it can be valid.
        let longest = issued.map_or(Seconds::MAX, |issued| issued.saturating_add(self.longest.into()));
        let ends = said.min(longest).saturating_add(leeway);
        if ends <= now {
            return Err(if longest < said { TokenError::TooOld } else { TokenError::Expired });
        }
        // An `iat` in the future would outlast a sign-out.
        if time("nbf")?.into_iter().chain(issued).any(|begins| begins > now.saturating_add(leeway)) {
            return Err(TokenError::NotYet);
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
            Some(Value::Array(list)) if list.len() > grant::MOST => return Err(TokenError::TooManyGrants),
            Some(Value::Array(list)) => {
                let entries = list.iter().zip(1..).map(|(entry, position)| read_grant(entry, position));
                entries.collect::<Result<_, _>>()?
            }
            Some(_) => return Err(TokenError::Grants),
        };
        let grants = Grants::parse(grants, leeway).map_err(|error| match error {
            GrantError::TooMany => TokenError::TooManyGrants,
            GrantError::Entry(position) => TokenError::Grant(position),
        })?;
        let issued = issued.map(|issued| issued.saturating_sub(leeway));
        Ok((user, Permissions { grants, ends, issued, token, proof: Proof::Token }))
    }
}

fn read_grant(entry: &Value, position: usize) -> Result<GrantClaim, TokenError> {
    // Lists would be taken for the members in the order of our declaration, and objects for rights.
    let is_as_written = entry.is_object()
        && entry.get("may").and_then(Value::as_array).is_some_and(|may| may.iter().all(Value::is_string));
    if !is_as_written {
        return Err(TokenError::Grant(position));
    }
    GrantClaim::deserialize(entry).map_err(|_| match entry.get("exp") {
        Some(exp) if !exp.is_null() && numeric_date::read(exp).is_none() => TokenError::GrantEnd(position),
        _ => TokenError::Grant(position),
    })
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
