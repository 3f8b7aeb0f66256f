//! Why a server cannot start or take a new certificate. What a *peer* can see is a [`fanfare_protocol::Code`] instead.

use std::io;
use std::net::SocketAddr;

use fanfare_token::KeyError;

use crate::config::ConfigError;
use crate::home::StateError;
use crate::moderation::StoreError;
use crate::quic::IdentityError;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The bans cannot be loaded. No server starts without them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys that tokens are checked with cannot be fetched.
    #[error("{0}; see --token-keys-url")]
    TokenKeys(#[from] KeyError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What the caller wanted to have in the state directory could not be written. Nothing has changed.
    #[error(transparent)]
    Files(Box<dyn std::error::Error + Send + Sync>),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({protocol}): {}", hint(source, flag))]
    Listen {
        /// The setting that says where.
        flag: &'static str,
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

fn hint(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the port is in use; stop what uses it, or choose another with {flag}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address; choose another with {flag}")
        }
        io::ErrorKind::PermissionDenied => format!("{error}; ports below 1024 need privileges"),
        _ => error.to_string(),
    }
}
