//! A WebSocket whose messages are another protocol's, as the server has it.
//!
//! In: bytes behind an upgrade, and where they come from. Out: messages both ways, and an end. What is in them is the
//! business of whoever speaks that protocol.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_websocket::{Connection, Incoming, Outgoing, Pieces, Plain};

use super::io::Io;
use crate::transport::Broken;

/// The longest time without a word of the server's, as SignalR's servers have it.
const QUIET: Duration = Duration::from_secs(15);

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) struct Messages {
    socket: Connection<Pieces<Io>>,
    address: SocketAddr,
    idle_timeout: Duration,
}

/// The half that comes in.
pub(crate) struct MessageReceiver(Incoming<Pieces<Io>>);

/// The half that goes out.
pub(crate) struct MessageTransmitter(Outgoing<Pieces<Io>>);

impl Messages {
    /// What speaks WebSocket over these bytes. After `idle_timeout` of silence a peer that says regularly that it is
    /// there is gone.
    pub(crate) fn new(bytes: Io, address: SocketAddr, idle_timeout: Duration) -> Self {
        bytes.give_up_after(idle_timeout);
        Self { socket: Connection::plain(bytes), address, idle_timeout }
    }

    /// Both halves, once.
    pub(crate) fn halves(&self) -> Option<(MessageTransmitter, MessageReceiver)> {
        let (transmitter, receiver) = self.socket.messages()?;
        Some((MessageTransmitter(transmitter), MessageReceiver(receiver)))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long a peer may be silent.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// How often the peer gave a sign of life.
    pub(crate) fn heard(&self) -> u64 {
        self.socket.heard()
    }

    /// To be called once a second: says `ping` where nothing else was said for long, and ends the connection where a
    /// peer is gone that `pings`.
    pub(crate) fn beat(&self, pings: bool, is_text: bool, ping: impl FnOnce() -> Bytes) {
        let quiet = QUIET.min(self.idle_timeout / 3);
        self.socket.beat_plain(self.idle_timeout, quiet, pings, || Plain { is_text, bytes: ping() });
    }

    /// Closes it in WebSocket's ordinary way.
    pub(crate) async fn close(&self) {
        self.socket.close_plain().await;
    }

    /// Ends it at once, and says nothing.
    pub(crate) fn abort(&self) {
        self.socket.abort();
    }

    /// Waits until it is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        self.socket.closed().await;
    }

    /// Whether the peer has closed it, and not just vanished.
    pub(crate) fn was_closed(&self) -> bool {
        self.socket.end().is_some()
    }
}

impl MessageReceiver {
    /// The next piece of a message.
    pub(crate) async fn read(&mut self) -> Result<Bytes, Broken> {
        Ok(self.0.read().await?)
    }
}

impl MessageTransmitter {
    /// Writes a message, as text or as binary. Waits until the system has it.
    pub(crate) async fn write(&mut self, is_text: bool, bytes: Bytes) -> Result<(), Broken> {
        Ok(self.0.write(Plain { is_text, bytes }).await?)
    }
}
