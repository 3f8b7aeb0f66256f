//! Who may do what, and until when.
//!
//! In: keys and rules from the operator, tokens from clients. Out: a [`Permissions`] for each connection, which answers
//! the router's questions. Invariant: what no grant allows is not allowed; nothing here waits, and nothing of a token
//! is ever in an error or in a log.

mod api_keys;
mod ban;
mod certified;
mod gate;
mod key_set_copy;
mod key_set_url;
mod key_sets;
mod lasting;
mod max_age;
mod minting;
mod names;
mod tokens;

pub(crate) use api_keys::{ApiKey, ApiKeys, KeyRefusal, StoredKey, TooFast};
pub(crate) use ban::{BanKey, Bans, KEY_AUTHOR, Validity, signs_out};
pub(crate) use certified::certified;
pub use certified::{CertifiedUser, ClientCertificates};
pub(crate) use gate::{Gate, Recipient};
pub use key_set_url::{KeySetUrl, UrlError};
pub(crate) use key_sets::KeySets;
pub(crate) use lasting::Lasting;
pub(crate) use minting::Minted;
pub use minting::Minting;
pub use names::Names;
pub(crate) use tokens::Tokens;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_token::Seconds;

/// Now. A clock before 1970 counts as 1970, at which every token of today is not valid yet.
pub(crate) fn now() -> Seconds {
    clock().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same, as exactly as the clock has it.
pub(crate) fn clock() -> SystemTime {
    #[cfg(test)]
    if let Some(set) = SET.get() {
        return UNIX_EPOCH + Duration::from_secs(set);
    }
    SystemTime::now()
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
