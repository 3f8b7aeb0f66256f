//! Fanfare's tokens: JSON Web Tokens (RFC 7519) that say who a client is and what it may do.
//!
//! There is no network here, no runtime and no clock: keys from a URL come in through [`KeySource`], times as
//! arguments.
//!
//! # The types
//!
//! - A [`GrantClaim`] is one entry of the claim `grants`: a pattern of groups or users, and the [`Right`]s to them.
//! - A [`Minter`] signs tokens, with a secret or a private key. It is for tests and development; in production the
//!   application's sign-in service issues tokens.
//! - A [`TokenKey`] checks signatures. It comes from a file, or with others from a key set ([`parse_key_set`]).
//! - [`TokenRules`] are the keys, and what else a token must fulfil: audience, issuer, lifetime.
//! - A [`Verifier`] takes a token and the time, and gives the user and its [`Permissions`], which hold the [`Grants`].
//!   A token that is refused gives a [`TokenError`], each with a numbered code.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use fanfare_protocol::GroupName;
//! use fanfare_token::{
//!     Extras, GrantClaim, Minter, NoKeySets, Refused, Right, TokenError, TokenKey, TokenRules, Verifier,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("fanfare-token-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let secret = directory.join("secret");
//! # std::fs::write(&secret, "0123456789abcdef0123456789abcdef")?;
//! // `secret` is the path of a file with the secret. alice may join and send to the rooms, for an hour.
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
//! // The server knows the same secret.
//! let rules = TokenRules::new(vec![TokenKey::read_secret(&secret)?]);
//! let verifier = Verifier::new(Some(rules), Arc::new(NoKeySets));
//! let (user, permissions) = verifier.verify(&token, now + 1).map_err(|refused| refused.error)?;
//! assert_eq!(user.as_str(), "alice");
//! assert!(permissions.grants.may_join(&GroupName::new("room-1")?, now + 1));
//! assert!(!permissions.grants.may_join(&GroupName::new("staff")?, now + 1));
//!
//! // Later the token has expired.
//! let later = verifier.verify(&token, now + 4_000);
//! assert!(matches!(later, Err(Refused { error: TokenError::Expired, .. })));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - A key has one algorithm, and no token can choose another (RFC 8725 section 3.1).
//! - Nothing public is taken for a secret.
//! - A claim that cannot be read as a whole allows nothing.
//! - No part of a token is ever in an error.

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
