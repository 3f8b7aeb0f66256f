//! Fanfare's hub: users and groups over QUIC.
//!
//! In: a [`Config`] and an [`Identity`]. Out: a [`Server`], which runs until it is drained. `ARCHITECTURE.md` has the
//! house on one page; in the order in which a message meets the files:
//!
//! `listener` -> `handshake` -> `session` -> `router` -> `registry` (`roster`, `shards`) -> `outbox` (`envelope`) ->
//! `transport`. Operators come in through `admin`, and `acts` does what they say.

mod access;
mod acts;
mod admin;
mod admission;
mod audit;
mod budget;
mod config;
mod delivery;
mod door;
mod endpoint;
mod envelope;
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
mod intake;
mod ledger;
mod line;
mod listener;
mod member;
mod metrics;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod microbench;
mod opened;
mod outbox;
mod process;
mod registry;
mod roster;
mod rounds;
mod router;
mod runtime;
mod server;
mod session;
mod shards;
mod spread;
mod start;
mod state;
mod store;
mod striped;
mod sync;
mod transport;
mod webtransport;

pub use access::{
    CertifiedUser, ClientCertificates, Extras, GrantClaim, KeyError, KeySetUrl, MintError, Minter, Names,
    ReadKeys, Right, TokenKey, TokenRules, UrlError,
};
pub use acts::{ActError, Acts, Operator};
pub use admin::{Administration, Operators};
pub use budget::BudgetLimits;
pub use config::{Capacity, Config, ConfigError};
pub use delivery::Population;
pub use endpoint::Identity;
pub use error::{IdentityError, StartError, StateError};
pub use metrics::Snapshot;
pub use outbox::{OutboxLimits, Overflow};
pub use server::{Drained, Server};
pub use start::{Files, Start};
pub use store::StoreError;
pub use webtransport::Origins;
