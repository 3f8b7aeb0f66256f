//! One connection type for all that is above, whatever carries it. Today that is native QUIC.
//!
//! In: an accepted QUIC connection. Out: its stream's two halves, its addresses, and its end. From here on nobody knows
//! what quinn is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::Code;
use fanfare_protocol::admin::QuicFacts;
use quinn::VarInt;
use rustls::pki_types::CertificateDer;

use crate::line::Line;

/// The most bytes that are taken from the stream at a time, so that one busy connection lets others have their turn.
const READ_BYTES: usize = 64 * 1024;

/// A connection.
#[derive(Clone)]
pub(crate) struct Connection(quinn::Connection);

/// The half that frames come in on.
pub(crate) struct Receiver(quinn::RecvStream);

/// The half that frames go out on.
pub(crate) struct Transmitter(quinn::SendStream);

/// Why nothing more can be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer broke this stream off, and the connection is still there.
    Stream,
    /// The connection is gone.
    Connection,
}

impl Connection {
    pub(crate) fn new(connection: quinn::Connection) -> Self {
        Self(connection)
    }

    /// Waits for the connection's own stream, which the client opens.
    pub(crate) async fn accept_stream(&self) -> Result<(Transmitter, Receiver), Broken> {
        let (transmitter, receiver) = self.0.accept_bi().await.map_err(|_| Broken::Connection)?;
        Ok((Transmitter(transmitter), Receiver(receiver)))
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// The certificate that the client showed, with those between it and its authority; none where it showed none.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let shown =
            self.0.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
        shown.map(|shown| *shown).unwrap_or_default()
    }

    /// Closes the connection. The code and the reason reach the peer; what is queued does not.
    pub(crate) fn close(&self, code: Code, reason: &str) {
        self.0.close(VarInt::from_u32(u32::from(code.number())), reason.as_bytes());
    }

    /// Waits until the connection is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Line for Connection {
    fn transport(&self) -> &'static str {
        "quic"
    }

    fn address(&self) -> SocketAddr {
        self.remote_address()
    }

    fn rtt(&self) -> Duration {
        self.0.rtt()
    }

    fn quic(&self) -> QuicFacts {
        let stats = self.0.stats();
        QuicFacts {
            rtt_us: u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX),
            congestion_window: stats.path.cwnd,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            mtu: stats.path.current_mtu.into(),
            blocked_by_application: stats.frame_tx.stream_data_blocked + stats.frame_tx.data_blocked,
            migrations: stats.frame_rx.path_response,
            congestion_events: stats.path.congestion_events,
        }
    }
}

impl Receiver {
    /// The next bytes; `None` when the peer has finished its half.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.0.read_chunk(READ_BYTES, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(quinn::ReadError::Reset(_)) => Err(Broken::Stream),
            Err(_) => Err(Broken::Connection),
        }
    }
}

impl Transmitter {
    /// Writes all of `chunks` and leaves it empty. Waits while the peer reads nothing.
    pub(crate) async fn write(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        let written = self.0.write_all_chunks(chunks).await;
        chunks.clear();
        written.map_err(|error| match error {
            quinn::WriteError::Stopped(_) => Broken::Stream,
            _ => Broken::Connection,
        })
    }

    /// Says that nothing will follow, and waits until the peer's QUIC stack has all of it.
    pub(crate) async fn finish(&mut self) {
        // Both fail only when the stream or the connection is gone already, and then there is nobody to wait for.
        if self.0.finish().is_ok() {
            let _ = self.0.stopped().await;
        }
    }
}
