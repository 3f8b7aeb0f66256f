//! Who may do what, and until when.
//!
//! In: keys and rules from the operator, tokens from clients. Out: a [`Pass`] for each connection, which answers the
//! router's questions. Invariant: what no grant allows is not allowed; nothing here waits, and nothing of a token is ever in
//! an error or in a log.

mod ban;
mod certified;
mod der;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gate;
mod grant;
mod key;
mod key_file;
mod key_set;
mod key_set_url;
mod key_sets;
mod looks;
mod material;
mod max_age;
mod mint;
mod names;
mod numeric_date;
mod pass;
mod strict_json;
mod token;

pub(crate) use ban::{BanKey, Bans, Validity, signs_out};
pub(crate) use certified::certified;
pub use certified::{CertifiedUser, ClientCertificates};
pub(crate) use gate::{Gate, Recipient};
pub use grant::{GrantClaim, Right};
pub use key::{KeyError, ReadKeys, TokenKey};
use key_set::KeySetOrigin;
pub use key_set_url::{KeySetUrl, UrlError};
pub(crate) use key_sets::KeySets;
pub use mint::{Extras, MintError, Minter};
pub use names::Names;
pub(crate) use pass::Pass;
pub use token::TokenRules;
pub(crate) use token::Verifier;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as tokens count time (RFC 7519 section 2, NumericDate).
pub(crate) type Seconds = u64;

/// Now. A clock before 1970 counts as 1970, at which every token of today is not valid yet.
pub(crate) fn now() -> Seconds {
    #[cfg(test)]
    if let Some(set) = SET.get() {
        return set;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A moment as people write it (RFC 3339), for a refusal that says from when on something will do.
fn moment(time: Seconds) -> String {
    // The last second that has four digits for its year.
    let last = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.min(last))).to_string()
}

#[cfg(test)]
thread_local! {
    /// What this thread's clock shows, where a test has set it.
    pub(crate) static SET: std::cell::Cell<Option<Seconds>> = const { std::cell::Cell::new(None) };
}

/// A key from a secret.
#[cfg(test)]
pub(crate) fn secret_key(secret: &[u8]) -> TokenKey {
    TokenKey {
        id: None,
        algorithm: jsonwebtoken::Algorithm::HS256,
        key: jsonwebtoken::DecodingKey::from_secret(secret),
    }
}
