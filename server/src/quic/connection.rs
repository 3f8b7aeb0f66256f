//! One connection type for all that is above, whatever carries it: native QUIC, or a browser's WebTransport session.
//!
//! In: an accepted QUIC connection, or a session on one. Out: its stream's two halves, its datagrams, its addresses,
//! and its end. From here on nobody knows what quinn is, or which of the two it is.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::{Line, Unreliable};
use fanfare_protocol::Code;
use fanfare_protocol::admin::QuicFacts;
use quinn::VarInt;
use rustls::pki_types::CertificateDer;

use super::webtransport::{Session, application};
use crate::transport::{Broken, Transport};

/// The most bytes that are taken from the stream at a time, so that one busy connection lets others have their turn.
const READ_BYTES: usize = 64 * 1024;

/// What a stream is stopped with that the protocol has no use for.
const UNUSED: VarInt = VarInt::from_u32(0);

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) struct Connection(Carrier);

#[derive(Clone)]
enum Carrier {
    Native(quinn::Connection),
    Web(Arc<Session>),
}

/// The half of a stream that comes in.
pub(crate) struct Receiver(quinn::RecvStream);

/// The half of a stream that goes out.
pub(crate) struct Transmitter {
    stream: quinn::SendStream,
    /// Its codes are an application's among those of HTTP/3.
    is_web: bool,
}

/// Why a stream could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// It has more bytes than it may have.
    TooLong,
    /// It, or the connection, is gone.
    Broken,
}

impl Connection {
    pub(super) fn native(connection: quinn::Connection) -> Self {
        Self(Carrier::Native(connection))
    }

    pub(super) fn web(session: Session) -> Self {
        Self(Carrier::Web(Arc::new(session)))
    }

    /// What is below: one QUIC connection either way.
    fn quic(&self) -> &quinn::Connection {
        match &self.0 {
            Carrier::Native(connection) => connection,
            Carrier::Web(session) => session.connection(),
        }
    }

    /// Waits for the connection's own stream, which the client opens.
    pub(crate) async fn accept_stream(&self) -> Result<(Transmitter, Receiver), Broken> {
        let (stream, is_web) = match &self.0 {
            Carrier::Native(connection) => (connection.accept_bi().await.ok(), false),
            Carrier::Web(session) => (session.accept_stream().await, true),
        };
        let (stream, receiver) = stream.ok_or(Broken::Connection)?;
        Ok((Transmitter { stream, is_web }, Receiver(receiver)))
    }

    /// The next datagram.
    pub(crate) async fn read_datagram(&self) -> Result<Bytes, Broken> {
        match &self.0 {
            Carrier::Native(connection) => connection.read_datagram().await.map_err(|_| Broken::Connection),
            Carrier::Web(session) => session.read_datagram().await.ok_or(Broken::Connection),
        }
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.quic().remote_address()
    }

    /// What it goes over.
    pub(crate) fn transport(&self) -> Transport {
        match self.0 {
            Carrier::Native(_) => Transport::Quic,
            Carrier::Web(_) => Transport::WebTransport,
        }
    }

    /// The certificate that the client showed, with those between it and its authority; none where it showed none.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let shown = self
            .quic()
            .peer_identity()
            .and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
        shown.map(|shown| *shown).unwrap_or_default()
    }

    /// Closes the connection. The code and the reason reach the peer; what is queued does not. A browser is told on
    /// the stream of its CONNECT, and closes when it has read it, which is waited for.
    pub(crate) async fn close(&self, code: Code, reason: &str) {
        match &self.0 {
            Carrier::Native(connection) => {
                connection.close(VarInt::from_u32(u32::from(code.number())), reason.as_bytes());
            }
            Carrier::Web(session) => session.close(u32::from(code.number()), reason).await,
        }
    }

    /// Waits until the connection is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        self.quic().closed().await;
    }
}

impl Line for Connection {
    fn transport(&self) -> &'static str {
        Self::transport(self).name()
    }

    fn address(&self) -> SocketAddr {
        self.remote_address()
    }

    fn rtt(&self) -> Duration {
        self.quic().rtt()
    }

    fn quic(&self) -> QuicFacts {
        let stats = Self::quic(self).stats();
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

    fn packets(&self) -> u64 {
        Self::quic(self).stats().udp_rx.datagrams
    }

    fn tend(&self) -> u64 {
        let mut context = Context::from_waker(Waker::noop());
        let mut stopped = 0;
        match &self.0 {
            Carrier::Native(connection) => {
                while let Poll::Ready(Ok((mut transmitter, mut receiver))) =
                    pin!(connection.accept_bi()).poll(&mut context)
                {
                    let _ = (transmitter.reset(UNUSED), receiver.stop(UNUSED));
                    stopped += 1;
                }
                while let Poll::Ready(Ok(mut receiver)) = pin!(connection.accept_uni()).poll(&mut context) {
                    let _ = receiver.stop(UNUSED);
                    stopped += 1;
                }
            }
            Carrier::Web(session) => stopped += session.stop_unused(),
        }
        stopped
    }

    fn send_datagram(&self, frame: Bytes) -> Unreliable {
        // QUIC throws away the oldest that waits where there is no room, and does not say so.
        let (room, sent) = match &self.0 {
            Carrier::Native(connection) => {
                let room = connection.datagram_send_buffer_space() >= frame.len();
                (room, connection.send_datagram(frame).is_ok())
            }
            Carrier::Web(session) => (session.datagram_room() >= frame.len(), session.send_datagram(&frame)),
        };
        match (sent, room) {
            (true, true) => Unreliable::Sent,
            (true, false) => Unreliable::Displaced,
            (false, _) => Unreliable::Dropped,
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

    /// Everything up to the end of the stream, if that is at most `most` bytes.
    pub(crate) async fn read_to_end(&mut self, most: usize) -> Result<Vec<u8>, ReadError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.read().await.map_err(|_| ReadError::Broken)? {
            if whole.len() + chunk.len() > most {
                return Err(ReadError::TooLong);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

impl Transmitter {
    /// Writes what the peer and QUIC take of `chunks`, and takes it out. Waits while that is nothing.
    pub(crate) async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        let written = self.stream.write_chunks(chunks).await.map_err(|error| match error {
            quinn::WriteError::Stopped(_) => Broken::Stream,
            _ => Broken::Connection,
        });
        match written {
            // What was written in part has been cut.
            Ok(written) => drop(chunks.drain(..written.chunks.min(chunks.len()))),
            Err(_) => chunks.clear(),
        }
        written.map(drop)
    }

    /// Breaks the stream off: nothing that waits is sent any more, and the peer is told this code, also where it
    /// takes no data.
    pub(crate) fn break_off(&mut self, code: Code) {
        let code = u32::from(code.number());
        // Fails only when the stream is over already.
        let _ = self.stream.reset(if self.is_web { application(code) } else { VarInt::from_u32(code) });
    }

    /// Writes all of it. Waits as long as the peer takes it.
    pub(crate) async fn write_all(&mut self, bytes: Bytes) -> Result<(), Broken> {
        let mut chunks = vec![bytes];
        while !chunks.is_empty() {
            self.write_some(&mut chunks).await?;
        }
        Ok(())
    }

    /// Says that nothing will follow, and waits for nobody.
    pub(crate) fn end(&mut self) {
        // Fails only where the stream or the connection has ended already.
        let _ = self.stream.finish();
    }

    /// Waits until the peer wants nothing more of the stream, or the connection is gone.
    pub(crate) async fn stopped(&mut self) {
        let _ = self.stream.stopped().await;
    }

    /// Says that nothing will follow, and waits until the peer's QUIC stack has all of it.
    pub(crate) async fn finish(&mut self) {
        // Both fail only when the stream or the connection is gone already, and then there is nobody to wait for.
        if self.stream.finish().is_ok() {
            let _ = self.stream.stopped().await;
        }
    }
}
