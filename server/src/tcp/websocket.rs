//! A connection over a WebSocket, as the server has it: what operators are shown of it, and who looks after it.
//!
//! In: bytes behind an upgrade, and where they come from. Out: the same verbs as `quic::Connection` has. The messages
//! are those of `fanfare_websocket`.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::{Line, Unreliable};
use fanfare_protocol::Code;
use fanfare_protocol::admin::QuicFacts;
use fanfare_websocket::{Carrier, Role};

use super::io::Io;
use crate::transport::{Broken, Transport};

impl Carrier for Io {
    fn abort(&self) {
        Self::abort(self);
    }
}

impl From<fanfare_websocket::Broken> for Broken {
    fn from(broken: fanfare_websocket::Broken) -> Self {
        match broken {
            fanfare_websocket::Broken::Stream => Self::Stream,
            fanfare_websocket::Broken::Connection => Self::Connection,
        }
    }
}

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) struct Connection {
    socket: fanfare_websocket::Connection<Io>,
    address: SocketAddr,
    idle_timeout: Duration,
}

/// The half of its stream that comes in.
pub(crate) struct Receiver(fanfare_websocket::Receiver<Io>);

/// The half of its stream that goes out.
pub(crate) struct Transmitter {
    half: fanfare_websocket::Transmitter<Io>,
    socket: fanfare_websocket::Connection<Io>,
}

impl Connection {
    /// What speaks WebSocket over these bytes. After `idle_timeout` of silence the peer is gone.
    pub(crate) fn new(bytes: Io, address: SocketAddr, idle_timeout: Duration) -> Self {
        let socket = fanfare_websocket::Connection::new(bytes, Role::Server);
        Self { socket, address, idle_timeout }
    }

    /// The connection's own stream, which there is once.
    pub(crate) async fn accept_stream(&self) -> Result<(Transmitter, Receiver), Broken> {
        match self.socket.stream() {
            Some((half, receiver)) => {
                Ok((Transmitter { half, socket: self.socket.clone() }, Receiver(receiver)))
            }
            None => {
                self.closed().await;
                Err(Broken::Connection)
            }
        }
    }

    /// The next datagram, where the stream is read in the same task.
    pub(crate) async fn read_datagram(&self) -> Bytes {
        self.socket.read_datagram().await
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the connection. The code and the reason reach the peer.
    pub(crate) async fn close(&self, code: Code, reason: &str) {
        self.socket.close(code.number(), reason).await;
    }

    /// Waits until the connection is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        self.socket.closed().await;
    }
}

impl Line for Connection {
    fn transport(&self) -> &'static str {
        Transport::WebSocket.name()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn rtt(&self) -> Duration {
        self.socket.round_trip()
    }

    fn quic(&self) -> QuicFacts {
        let rtt_us = u64::try_from(self.rtt().as_micros()).unwrap_or(u64::MAX);
        QuicFacts { rtt_us, ..QuicFacts::default() }
    }

    fn packets(&self) -> u64 {
        self.socket.heard()
    }

    fn tend(&self) -> u64 {
        self.socket.beat(self.idle_timeout);
        0
    }

    fn send_datagram(&self, frame: Bytes) -> Unreliable {
        if self.socket.send_datagram(frame) { Unreliable::Sent } else { Unreliable::Dropped }
    }
}

impl Receiver {
    /// The next bytes; `None` when the peer has finished its half.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(self.0.read().await?)
    }
}

impl Transmitter {
    /// Writes what fits into a message of `chunks`, and takes it out. Waits until the system has it.
    pub(crate) async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        Ok(self.half.write_some(chunks).await?)
    }

    /// Breaks the connection off: nothing that waits is sent any more. There is nothing that would overtake it, so the
    /// peer is not told why.
    pub(crate) fn break_off(&mut self) {
        self.socket.abort();
    }

    /// Says that nothing will follow.
    pub(crate) async fn finish(&mut self) {
        self.half.finish().await;
    }
}
