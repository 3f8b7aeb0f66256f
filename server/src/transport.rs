//! What carries connections, in the words that everybody above it shares.
//!
//! In: nothing. Out: which kinds of carriers there are, and how one breaks. Invariant: what is above the carriers knows
//! of quinn, of TCP and of their errors no more than this.

/// What a connection goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// A native client's QUIC.
    Quic,
    /// A browser's WebTransport.
    WebTransport,
    /// A WebSocket, where UDP does not get through.
    WebSocket,
}

impl Transport {
    /// What it is called in lists and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebTransport => "webtransport",
            Self::WebSocket => "websocket",
        }
    }
}

/// Why nothing more can be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer broke this stream off, and the connection is still there.
    Stream,
    /// The connection is gone.
    Connection,
}
