//! Fanfare's hub: users and groups over QUIC.
//!
//! In: a [`Config`] and an [`Identity`]. Out: a [`Server`], which runs until it is drained. `ARCHITECTURE.md` has the
//! house on one page; in the order in which a message meets the files:
//!
//! `listener` -> `handshake` -> `session` -> `router` -> `fanfare_hub` -> `transport`. Operators come in through `admin`, and `acts` does what they say.
mod access;
mod acts;
mod admin;
mod admission;
mod audit;
mod config;
mod door;
mod endpoint;
mod error;
mod expiry;
mod farewell;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod histogram;
mod home;
mod http;
mod hub;
mod intake;
mod ledger;
mod listener;
mod metrics;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod microbench;
mod opened;
mod process;
mod rounds;
mod router;
mod runtime;
mod server;
mod session;
mod spread;
mod start;
mod state;
mod store;
mod transport;
mod webtransport;

pub use access::{CertifiedUser, ClientCertificates, KeySetUrl, Names, UrlError};
pub use acts::{ActError, Acts, Operator};
pub use admin::{Administration, Operators};
pub use config::{Capacity, Config, ConfigError};
pub use endpoint::Identity;
pub use error::{IdentityError, StartError, StateError};
pub use fanfare_hub::{BudgetLimits, OutboxLimits, Overflow, Population};
pub use fanfare_token::{
    Extras, GrantClaim, KeyError, MintError, Minter, ReadKeys, Right, TokenKey, TokenRules,
};
pub use metrics::Snapshot;
pub use server::{Drained, Server};
pub use start::{Files, Start};
pub use store::StoreError;
pub use webtransport::Origins;
