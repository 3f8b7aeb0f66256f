//! A WebTransport session: its stream, its datagrams, and its end.
//!
//! In: the number of its CONNECT's stream. Out: what a connection needs. The session is the only one on its QUIC
//! connection, so its end is the connection's, too.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fanfare_protocol::call::first_bytes;
use parking_lot::Mutex;
use quinn::{SendStream, VarInt};
use tokio::sync::oneshot;
use tokio::time::timeout;
use web_transport_proto::error_to_http3;

use crate::quic::http3::{SessionStream, Unused, capsule};

/// The longest reason of a session's close (draft-ietf-webtrans-http3, section 6).
const REASON_BYTES: usize = 1_024;

/// The shortest time that a client gets to read why its session is closed.
const LAST_WORD: Duration = Duration::from_millis(100);
/// And the longest.
const LONGEST_LAST_WORD: Duration = Duration::from_secs(2);

/// What a stream is stopped with that the protocol has no use for.
const UNUSED: u32 = 0;

/// An application's code among those of HTTP/3 (draft-ietf-webtrans-http3, section 4.4).
pub(in crate::quic) fn application(code: u32) -> VarInt {
    // Always in range: the largest is far below what QUIC can say.
    VarInt::from_u64(error_to_http3(code)).unwrap_or(VarInt::MAX)
}

/// What who looks after the connection knows of its session.
pub(super) struct Shared {
    id: u64,
    /// The half of the CONNECT's stream on which the end is said; taken by who says it.
    closing: Mutex<Option<SendStream>>,
}

impl Shared {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether its end has been said here.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.lock().is_none()
    }
}

/// A session.
pub(in crate::quic) struct Session {
    connection: quinn::Connection,
    shared: Arc<Shared>,
    /// Its number as datagrams say it (RFC 9297 section 2.1).
    quarter: web_transport_proto::VarInt,
    stream: Mutex<Option<oneshot::Receiver<SessionStream>>>,
    unused: Arc<Unused>,
    /// Dropped with the session, which ends who looks after it.
    _alive: oneshot::Sender<()>,
}

impl Session {
    pub(super) fn new(
        connection: quinn::Connection,
        id: u64,
        closing: SendStream,
        stream: oneshot::Receiver<SessionStream>,
        alive: oneshot::Sender<()>,
        unused: Arc<Unused>,
    ) -> Self {
        Self {
            connection,
            shared: Arc::new(Shared { id, closing: Mutex::new(Some(closing)) }),
            quarter: web_transport_proto::VarInt::from_u64(id / 4).unwrap_or_default(),
            stream: Mutex::new(Some(stream)),
            unused,
            _alive: alive,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What is below.
    pub(in crate::quic) fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    /// Waits for the session's own stream, which the client opens; `None` where the connection ends before. The first
    /// who asks gets it.
    pub(in crate::quic) async fn accept_stream(&self) -> Option<(SendStream, quinn::RecvStream)> {
        let stream = self.stream.lock().take()?;
        stream.await.ok().map(|stream| (stream.send, stream.receive))
    }

    /// The next datagram of this session. One of another is lost, which harms nobody: there is none.
    pub(in crate::quic) async fn read_datagram(&self) -> Option<Bytes> {
        loop {
            let mut datagram = self.connection.read_datagram().await.ok()?;
            if web_transport_proto::VarInt::decode(&mut datagram).is_ok_and(|quarter| quarter == self.quarter)
            {
                return Some(datagram.copy_to_bytes(datagram.remaining()));
            }
        }
    }

    /// How many bytes of a datagram have room before the oldest that waits is thrown away.
    pub(in crate::quic) fn datagram_room(&self) -> usize {
        self.connection.datagram_send_buffer_space().saturating_sub(self.quarter.size())
    }

    /// Sends a datagram, and says whether that can be.
    pub(in crate::quic) fn send_datagram(&self, datagram: &[u8]) -> bool {
        let mut bytes = BytesMut::with_capacity(self.quarter.size() + datagram.len());
        self.quarter.encode(&mut bytes);
        bytes.put_slice(datagram);
        self.connection.send_datagram(bytes.freeze()).is_ok()
    }

    /// Stops the streams that the protocol has no use for, and gives how many there were.
    pub(in crate::quic) fn stop_unused(&self) -> u64 {
        self.unused.stop(application(UNUSED))
    }

    /// Says why it ends, and waits until the client has read that and gone, for three round trips. Then the connection
    /// is closed from here. Whoever dropped the connection at once would take the word out of its own mouth: a close
    /// overtakes what is on its way.
    pub(in crate::quic) async fn close(&self, code: u32, reason: &str) {
        let closing = self.shared.closing.lock().take();
        let time = match closing {
            None => LONGEST_LAST_WORD,
            Some(_) => (self.connection.rtt() * 3).clamp(LAST_WORD, LONGEST_LAST_WORD),
        };
        let said = async {
            if let Some(mut stream) = closing {
                let capsule = capsule::close(code, first_bytes(reason.to_owned(), REASON_BYTES));
                // Both fail only where the client wants no more of it, which ends the session as well.
                if stream.write_all(&capsule).await.is_ok() {
                    let _ = stream.finish();
                }
            }
            self.connection.closed().await
        };
        let _ = timeout(time, said).await;
        // Nothing, where it is closed.
        self.connection.close(application(code), b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_among_those_of_applications() {
        for (code, http3) in [(0, 0x52e4_a40f_a8db), (29, 0x52e4_a40f_a8f8), (30, 0x52e4_a40f_a8fa)] {
            assert_eq!(application(code), VarInt::from_u64(http3).unwrap());
        }
        assert_eq!(application(u32::MAX), VarInt::from_u64(0x52e5_ac98_3162).unwrap());
    }
}
