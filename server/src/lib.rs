//! Fanfare's hub: users and groups over QUIC.
//!
//! In: a [`Config`] and an [`Identity`]. Out: a [`Server`], which runs until it is drained. `ARCHITECTURE.md` has the
//! house on one page; in the order in which a message meets the files:
//!
//! `edge` (`listener` -> `handshake` -> `session` -> `inbound` -> `router`) -> `fanfare_hub` -> `quic`. Operators come in
//! through `admin`, and `moderation` does what they say.

mod access;
mod admin;
mod api;
mod config;
mod edge;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod home;
mod hub;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod microbench;
mod moderation;
mod opened;
mod quic;
mod server;
mod spread;
mod start;
mod telemetry;

pub use access::{CertifiedUser, ClientCertificates, KeySetUrl, Names, UrlError};
pub use admin::{Administration, Operators};
pub use config::{Capacity, Config, ConfigError};
pub use error::StartError;
pub use fanfare_hub::{BudgetLimits, OutboxLimits, Overflow, Population};
pub use fanfare_token::{
    Extras, GrantClaim, KeyError, MintError, Minter, ReadKeys, Right, TokenKey, TokenRules,
};
pub use home::StateError;
pub use moderation::{Moderation, ModerationError, Operator, StoreError};
pub use quic::{Identity, IdentityError, Origins};
pub use server::{Drained, Server};
pub use start::{Files, Start};
pub use telemetry::Snapshot;
