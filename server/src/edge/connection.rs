//! One connection type for the whole edge, whatever carries it: QUIC, a browser's WebTransport, a WebSocket, SignalR.
//!
//! In: a connection of one of the carriers. Out: its stream's two halves, its datagrams, its addresses, and its end.
//! Invariant: from here on nobody asks which it is, but for those who show it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_hub::{Dialect, Line};
use fanfare_protocol::{Code, ConnectionId, ServerFrame, UserName, codec};
use fanfare_token::Permissions;
use rustls::pki_types::CertificateDer;

use crate::transport::{Broken, Heard, Transport};
use crate::{quic, signalr, tcp};

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) enum Connection {
    Quic(quic::Connection),
    WebSocket(tcp::Connection),
    SignalR(signalr::Connection),
}

/// The half of its stream that comes in.
pub(crate) enum Receiver {
    Quic(quic::Receiver),
    WebSocket(tcp::Receiver),
    SignalR(Box<signalr::Receiver>),
}

/// The half of its stream that goes out.
pub(crate) enum Transmitter {
    Quic(quic::Transmitter),
    WebSocket(tcp::Transmitter),
    SignalR(signalr::Transmitter),
}

impl Connection {
    /// Waits for the connection's own stream, which the client opens.
    pub(crate) async fn accept_stream(&self) -> Result<(Transmitter, Receiver), Broken> {
        match self {
            Self::Quic(connection) => {
                let (transmitter, receiver) = connection.accept_stream().await?;
                Ok((Transmitter::Quic(transmitter), Receiver::Quic(receiver)))
            }
            Self::WebSocket(connection) => {
                let (transmitter, receiver) = connection.accept_stream().await?;
                Ok((Transmitter::WebSocket(transmitter), Receiver::WebSocket(receiver)))
            }
            Self::SignalR(connection) => {
                let (transmitter, receiver) = connection.accept_stream().await?;
                Ok((Transmitter::SignalR(transmitter), Receiver::SignalR(Box::new(receiver))))
            }
        }
    }

    /// The next datagram.
    pub(crate) async fn read_datagram(&self) -> Result<Bytes, Broken> {
        match self {
            Self::Quic(connection) => connection.read_datagram().await,
            Self::WebSocket(connection) => Ok(connection.read_datagram().await),
            // There are none.
            Self::SignalR(_) => std::future::pending().await,
        }
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        match self {
            Self::Quic(connection) => connection.remote_address(),
            Self::WebSocket(connection) => connection.remote_address(),
            Self::SignalR(connection) => connection.remote_address(),
        }
    }

    /// What it goes over.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Quic(connection) => connection.transport(),
            Self::WebSocket(_) => Transport::WebSocket,
            Self::SignalR(_) => Transport::SignalR,
        }
    }

    /// Who has shown who they are before the stream began, and what they may do; once.
    pub(crate) fn identity(&self) -> Option<(UserName, Permissions)> {
        match self {
            Self::Quic(_) | Self::WebSocket(_) => None,
            Self::SignalR(connection) => connection.identity(),
        }
    }

    /// The id that it has already.
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Quic(_) | Self::WebSocket(_) => None,
            Self::SignalR(connection) => connection.id(),
        }
    }

    /// It is in the hub, and `Welcome` the first that is said.
    pub(crate) fn welcomed(&self) {
        if let Self::SignalR(connection) = self {
            connection.welcomed();
        }
    }

    /// What its client speaks where that is not Fanfare's protocol.
    pub(crate) fn dialect(&self) -> Option<Arc<dyn Dialect>> {
        match self {
            Self::Quic(_) | Self::WebSocket(_) => None,
            Self::SignalR(connection) => Some(connection.dialect()),
        }
    }

    /// The certificate that the client showed, with those between it and its authority; none where it showed none.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Quic(connection) => connection.certificates(),
            // Nobody is asked for one over TCP.
            Self::WebSocket(_) | Self::SignalR(_) => Vec::new(),
        }
    }

    /// What operators and the hub know it by.
    pub(crate) fn line(&self) -> Arc<dyn Line> {
        match self {
            Self::Quic(connection) => Arc::new(connection.clone()),
            Self::WebSocket(connection) => Arc::new(connection.clone()),
            Self::SignalR(connection) => Arc::new(connection.clone()),
        }
    }

    /// Closes the connection. The code and the reason reach the peer.
    pub(crate) async fn close(&self, code: Code, reason: &str) {
        match self {
            Self::Quic(connection) => connection.close(code, reason).await,
            Self::WebSocket(connection) => connection.close(code, reason).await,
            Self::SignalR(connection) => connection.close().await,
        }
    }

    /// Waits until the connection is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        match self {
            Self::Quic(connection) => connection.closed().await,
            Self::WebSocket(connection) => connection.closed().await,
            Self::SignalR(connection) => connection.closed().await,
        }
    }
}

impl Receiver {
    /// What comes next; `None` when the peer has finished its half.
    pub(crate) async fn read(&mut self) -> Result<Option<Heard>, Broken> {
        match self {
            Self::Quic(receiver) => Ok(receiver.read().await?.map(Heard::Bytes)),
            Self::WebSocket(receiver) => Ok(receiver.read().await?.map(Heard::Bytes)),
            Self::SignalR(receiver) => receiver.read().await,
        }
    }
}

impl Transmitter {
    /// Writes what the peer and the carrier take of `chunks`, and takes it out. Waits while that is nothing.
    pub(crate) async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        match self {
            Self::Quic(transmitter) => transmitter.write_some(chunks).await,
            Self::WebSocket(transmitter) => transmitter.write_some(chunks).await,
            Self::SignalR(transmitter) => transmitter.write_some(chunks).await,
        }
    }

    /// A frame, as the peer reads it.
    pub(crate) fn encode(&self, frame: &ServerFrame) -> Bytes {
        match self {
            Self::Quic(_) | Self::WebSocket(_) => codec::encode_server(frame),
            Self::SignalR(transmitter) => transmitter.encode(frame),
        }
    }

    /// Breaks the stream off: nothing that waits is sent any more, and the peer is told this code where the carrier can
    /// tell it, also where the peer takes no data.
    pub(crate) fn break_off(&mut self, code: Code) {
        match self {
            Self::Quic(transmitter) => transmitter.break_off(code),
            Self::WebSocket(transmitter) => transmitter.break_off(),
            Self::SignalR(transmitter) => transmitter.break_off(),
        }
    }

    /// Says that nothing will follow, and waits until the carrier has all of it.
    pub(crate) async fn finish(&mut self) {
        match self {
            Self::Quic(transmitter) => transmitter.finish().await,
            Self::WebSocket(transmitter) => transmitter.finish().await,
            // Its `Close` says it.
            Self::SignalR(_) => {}
        }
    }
}
