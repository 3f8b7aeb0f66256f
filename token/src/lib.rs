//! Fanfare's tokens: JSON Web Tokens (RFC 7519) that say who a client is and what it may do.
//!
//! In: keys and rules from an operator, tokens from clients, and the moment. Out: a user and its [`Permissions`], or one of
//! the numbered refusals. There is no network here, no runtime and no clock: keys that a URL gives come in by
//! [`KeySource`], times as arguments.
//!
//! ```
//! use fanfare_token::{Extras, GrantClaim, Minter, NoKeySets, Right, TokenKey, TokenRules, Verifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("fanfare-token-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let secret = directory.join("secret");
//! # std::fs::write(&secret, "0123456789abcdef0123456789abcdef")?;
//! let now = 1_800_000_000;
//! let grants = [GrantClaim {
//!     group: Some("room-*".to_owned()),
//!     user: None,
//!     all: None,
//!     may: vec![Right::Join, Right::Send],
//!     exp: None,
//! }];
//! let token = Minter::read_secret(&secret)?.mint("alice", now, 3_600, &grants, Extras::default())?;
//!
//! let rules = TokenRules::new(vec![TokenKey::read_secret(&secret)?]);
//! let verifier = Verifier::new(Some(rules), std::sync::Arc::new(NoKeySets));
//! let (user, permissions) = verifier.verify(&token, now + 1).map_err(|refused| refused.error)?;
//! assert_eq!(user.as_str(), "alice");
//! assert!(permissions.grants.may_join(&fanfare_protocol::GroupName::new("room-1")?, now + 1));
//! assert!(verifier.verify(&token, now + 4_000).is_err());
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: a key has one algorithm, which is its own, and no token can choose another (RFC 8725 section 3.1);
//! nothing that is public is taken for a secret; a claim that cannot be read as a whole allows nothing; nothing of a
//! token is ever in an error.

mod der;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod key;
mod key_file;
mod key_set;
mod looks;
mod material;
mod mint;
mod numeric_date;
mod permissions;
mod strict_json;
mod verify;

pub use grant::{GrantClaim, GrantError, Grants, Right};
pub use key::{FILE_BYTES, KeyError, ReadKeys, TokenKey, read_at_most};
pub use key_set::{KeySetOrigin, parse as parse_key_set};
pub use looks::bare as without_byte_order_mark;
pub use mint::{Extras, MintError, Minter};
pub use permissions::{Permissions, Proof};
pub use verify::{KeySource, NoKeySets, Refused, TokenError, TokenRules, Verifier};

/// Seconds since 1970, as tokens count time (RFC 7519 section 2, NumericDate).
pub type Seconds = u64;
