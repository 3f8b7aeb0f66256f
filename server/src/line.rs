//! What carries a connection, as far as those above the transport may know: facts for operators, and nothing to act on.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_protocol::admin::QuicFacts;

/// A connection's line to its peer.
pub(crate) trait Line: Send + Sync {
    /// `quic` or `webtransport`.
    fn transport(&self) -> &'static str;
    /// Where the peer is now; it may move (QUIC connection migration).
    fn address(&self) -> SocketAddr;
    /// The round trip.
    fn rtt(&self) -> Duration;
    /// What QUIC knows.
    fn quic(&self) -> QuicFacts;
}

/// No line at all, for those who test what is above it.
#[cfg(any(test, fuzzing))]
pub(crate) struct Nowhere;

#[cfg(any(test, fuzzing))]
impl Line for Nowhere {
    fn transport(&self) -> &'static str {
        "none"
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 0))
    }

    fn rtt(&self) -> Duration {
        Duration::ZERO
    }

    fn quic(&self) -> QuicFacts {
        QuicFacts::default()
    }
}
