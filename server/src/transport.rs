//! What carries connections, in the words that everybody above it shares.
//!
//! In: nothing. Out: which kinds of carriers there are, what comes over one, and how one breaks. Invariant: what is
//! above the carriers knows of quinn, of TCP and of their errors no more than this.

use bytes::Bytes;
use fanfare_hub::CloseReason;
use fanfare_protocol::{Denial, RequestId};

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
    /// A WebSocket of a client of SignalR.
    SignalR,
}

impl Transport {
    /// What it is called in lists and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebTransport => "webtransport",
            Self::WebSocket => "websocket",
            Self::SignalR => "signalr",
        }
    }
}

/// What came of a peer.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Bytes of the stream.
    Bytes(Bytes),
    /// A request that has no frame: what is wrong with it was seen where another protocol was translated.
    Refused(RequestId, Denial),
}

/// Why nothing more can be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer broke this stream off, and the connection is still there.
    Stream,
    /// What came cannot be read, and the peer can be told so.
    Unreadable(Box<CloseReason>),
    /// The connection is gone.
    Connection,
}
