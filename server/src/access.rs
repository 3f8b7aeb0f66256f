//! Who may do what, and until when.
//!
//! In: keys and rules from the operator, tokens from clients. Out: a [`Pass`] for each connection, which answers the
//! router's questions. Invariant: what no grant allows is not allowed; nothing here waits, and nothing of a token is ever in
//! an error or in a log.

mod ban;
mod certified;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grant;
mod key;
mod key_set;
mod key_set_url;
mod key_sets;
mod looks;
mod max_age;
mod mint;
mod numeric_date;
mod pass;
mod pem;
mod strict_json;
mod token;

pub(crate) use ban::{BanKey, Bans};
pub(crate) use certified::certified;
pub use certified::{CertifiedUser, ClientCertificates};
pub use grant::{GrantClaim, Right};
pub use key::{KeyError, ReadKeys, TokenKey};
use key_set::KeySetOrigin;
pub use key_set_url::{KeySetUrl, UrlError};
pub(crate) use key_sets::KeySets;
pub use mint::{Extras, MintError, Minter};
pub(crate) use pass::Pass;
pub use token::TokenRules;
pub(crate) use token::Verifier;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as tokens count time (RFC 7519 section 2, NumericDate).
pub(crate) type Seconds = u64;

/// Now. A clock before 1970 counts as 1970, at which every token of today is not valid yet.
pub(crate) fn now() -> Seconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
