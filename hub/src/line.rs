//! What carries a connection, as far as those above the transport may know: facts for operators, and the lane that
//! loses things.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::admin::QuicFacts;

/// A connection's line to its peer.
pub trait Line: Send + Sync {
    /// `quic`, `webtransport`, `websocket` or `signalr`.
    fn transport(&self) -> &'static str;
    /// Where the peer is now; it may move (QUIC connection migration).
    fn address(&self) -> SocketAddr;
    /// The round trip.
    fn rtt(&self) -> Duration;
    /// What QUIC knows.
    fn quic(&self) -> QuicFacts;
    /// How many packets came from the peer.
    fn packets(&self) -> u64;
    /// Called about once a second, for what nothing else would notice: that the peer is gone where the transport does
    /// not say so, and streams that the protocol has no use for. Stops those, and gives how many there were. Never
    /// waits.
    fn tend(&self) -> u64;
    /// Sends a datagram, which may get lost. Never waits.
    fn send_datagram(&self, frame: Bytes) -> Unreliable;
}

/// What became of a datagram, as far as can be known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreliable {
    /// It is on its way.
    Sent,
    /// It is on its way, and one that waited is not any more.
    Displaced,
    /// The peer takes no datagrams, or none so large, or is gone.
    Dropped,
}

/// No line at all, for those who test or measure what is above it.
#[derive(Debug)]
pub struct Nowhere;

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

    fn packets(&self) -> u64 {
        0
    }

    fn tend(&self) -> u64 {
        0
    }

    fn send_datagram(&self, _: Bytes) -> Unreliable {
        Unreliable::Dropped
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
pub(crate) mod scripted;

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn no_line_at_all_carries_nothing_and_says_so() {
        assert_eq!((Nowhere.transport(), Nowhere.packets(), Nowhere.tend()), ("none", 0, 0));
        assert_eq!(Nowhere.send_datagram(Bytes::from_static(b"x")), Unreliable::Dropped);
    }
}
