//! Why a server cannot start or take a new certificate. What a *peer* can see is a [`fanfare_protocol::Code`] instead.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fanfare_token::KeyError;

use crate::config::ConfigError;
use crate::home::StateError;
use crate::moderation::StoreError;
use crate::quic::IdentityError;
use crate::webhooks::WebhooksError;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    #[error(transparent)]
    TokenKeys(#[from] KeyError),
    /// Webhooks cannot be started.
    #[error(transparent)]
    Webhooks(#[from] WebhooksError),
    /// NATS cannot be used.
    #[error("this server cannot be a node of the cluster: {0}")]
    Cluster(#[from] fanfare_nats::OpenError),
    /// The cluster's decisions did not arrive.
    #[error(
        "this server cannot be a node of the cluster: NATS is there, but in {} s it did not tell what was decided, or \
         took no heartbeat",
        waited.as_secs()
    )]
    ClusterSilent {
        /// For how long.
        waited: Duration,
    },
    /// Both would be the application, and one of them would never be asked.
    #[error(
        "the server has methods and webhooks: an application is in the process or a back end, and not both"
    )]
    MethodsAndWebhooks,
    /// No certificate was given.
    #[error("the server has no certificate, and QUIC has no connections without one")]
    NoIdentity,
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What the caller wanted to have in the state directory could not be written. Nothing has changed.
    #[error(transparent)]
    Files(Box<dyn std::error::Error + Send + Sync>),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({}): {}", who.protocol(), problem(source))]
    Listen {
        /// Whom it was to listen for.
        who: Listener,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Whom an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listener {
    /// Clients, over QUIC.
    Clients,
    /// Operators, over QUIC.
    Operators,
    /// Whoever asks over HTTP.
    Http,
    /// Clients, over WebSocket.
    Web,
}

impl Listener {
    /// `UDP` or `TCP`.
    fn protocol(self) -> &'static str {
        match self {
            Self::Clients | Self::Operators => "UDP",
            Self::Http | Self::Web => "TCP",
        }
    }
}

fn problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; stop what uses it, or choose another".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose another".to_owned(),
        io::ErrorKind::PermissionDenied => format!("{error}; ports below 1024 need privileges"),
        _ => error.to_string(),
    }
}
