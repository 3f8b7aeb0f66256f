//! The parts that a running server has from its start: what has been opened, and not yet put together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{Gate, KeySets, Tokens};
use crate::admin::Operators;
use crate::application::MethodSet;
use crate::cluster::{Joining, Side};
use crate::config::Config;
use crate::edge::listener::Tasks;
use crate::home::Home;
use crate::hub::Hub;
use crate::moderation::Moderation;
use crate::quic::{Endpoint, EndpointKeys};
use crate::tcp::WebTls;
use crate::telemetry::Metrics;
use crate::webhooks::Webhooks;

/// The parts that a running server has from its start.
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) home: Option<Home>,
    pub(crate) started: Instant,
    pub(crate) keys: EndpointKeys,
    pub(crate) tasks: Tasks,
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// The hash of the certificate that clients see.
    pub(crate) certificate: [u8; 32],
    pub(crate) http: Option<(TcpListener, SocketAddr)>,
    pub(crate) web: Option<OpenedWeb>,
    pub(crate) admin: Option<OpenedAdmin>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) moderation: Arc<Moderation>,
    pub(crate) key_sets: Arc<KeySets>,
    pub(crate) methods: Option<MethodSet>,
    pub(crate) webhooks: Option<Arc<Webhooks>>,
    /// What the ids of this server's connections begin with.
    pub(crate) node: [u8; 4],
    pub(crate) cluster: Option<OpenedCluster>,
}

/// This server as a node, before it lets anybody in.
pub(crate) struct OpenedCluster {
    pub(crate) side: Arc<Side>,
    /// Ends with the server, also where that is dropped.
    pub(crate) driver: AbortOnDropHandle<()>,
    pub(crate) joining: watch::Receiver<Joining>,
    /// Has the driver say that the node goes, and end.
    pub(crate) closing: CancellationToken,
}

/// The listener for WebSockets.
pub(crate) struct OpenedWeb {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<WebTls>,
    /// Whether its certificate is the one that QUIC shows.
    pub(crate) shares_identity: bool,
}

/// The operators' endpoint.
pub(crate) struct OpenedAdmin {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) operators: Arc<dyn Operators>,
}
