//! One connection, either end of it: what its owner does with it.
//!
//! In: bytes behind an upgrade. Out: a stream, datagrams, and an end. Kinds of messages of later versions are passed
//! over. Invariants: a message is written whole before the next; of datagrams that nobody reads the newest stay.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use fanfare_protocol::WEBSOCKET_MESSAGE_BYTES as MESSAGE_BYTES;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Config, Limits, ServerBuilder, WebSocketStream};

use crate::alive::Alive;
use crate::closing::{End, close};
use crate::message::{DATAGRAM, END, STREAM, message};
use crate::pulse::Beat;
use crate::socket::{Broken, Carrier, Socket};

/// What is copied out of the buffer that was read into, which is then there for the next; longer ones are cut out of
/// it.
const COPIED_BYTES: usize = 4 * 1024;

/// So many datagrams wait for the session; the oldest goes for the newest, as it does in QUIC.
const DATAGRAMS: usize = 64;

/// How long a peer may take to answer a close.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(2);

/// Which end of a WebSocket this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that was connected to.
    Server,
    /// The end that connected, and masks what it says (RFC 6455, section 5.3).
    Client,
}

/// A connection. A clone is the same connection.
pub struct Connection<T>(pub(crate) Arc<Socket<T>>);

impl<T> Clone for Connection<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The half of its stream that comes in.
pub struct Receiver<T>(Arc<Socket<T>>);

/// The half of its stream that goes out.
pub struct Transmitter<T>(Arc<Socket<T>>);

impl<T: Carrier> Connection<T> {
    /// What speaks WebSocket over these bytes, behind the upgrade.
    #[must_use]
    pub fn new(bytes: T, role: Role) -> Self {
        let (limits, config) = settings();
        let (bytes, life) = Alive::new(bytes);
        let stream = match role {
            Role::Server => ServerBuilder::new().limits(limits).config(config).serve(bytes),
            Role::Client => ClientBuilder::new().limits(limits).config(config).take_over(bytes),
        };
        Self::of(stream, life)
    }

    pub(crate) fn of(stream: WebSocketStream<Alive<T>>, life: Arc<AtomicU64>) -> Self {
        Self(Arc::new(Socket::new(stream, life)))
    }

    /// The connection's own stream, once.
    #[must_use]
    pub fn stream(&self) -> Option<(Transmitter<T>, Receiver<T>)> {
        let is_first = !self.0.is_opened.swap(true, Ordering::Relaxed);
        is_first.then(|| (Transmitter(Arc::clone(&self.0)), Receiver(Arc::clone(&self.0))))
    }

    /// The next datagram. They are read with the stream, so one is ready only where [`Receiver::read`] is waited for in
    /// the same task.
    pub async fn read_datagram(&self) -> Bytes {
        poll_fn(|_| match self.0.datagrams.lock().pop_front() {
            Some(datagram) => Poll::Ready(datagram),
            None => Poll::Pending,
        })
        .await
    }

    /// Sends a datagram at once, or drops it: what would have to wait comes too late. Tells whether it was sent.
    #[must_use]
    pub fn send_datagram(&self, frame: Bytes) -> bool {
        if frame.len() >= MESSAGE_BYTES || self.0.gone.is_cancelled() {
            return false;
        }
        let mut state = self.0.state.lock();
        if state.is_blocked || state.queue(message(DATAGRAM, &mut vec![frame])).is_err() {
            return false;
        }
        // What the system does not take now goes out when it does.
        let _ = state.poll_flush(&self.0.both);
        true
    }

    /// Closes the connection: says the code (0 is the ordinary end) and the reason behind what is queued, and waits a
    /// moment for the peer to have read it. What came and was not read would otherwise have the system reset the
    /// connection, and the peer lose what is on its way.
    pub async fn close(&self, code: u16, reason: &str) {
        self.begin_close(code, reason);
        let said = async {
            poll_fn(|context| self.0.poll_written(context)).await?;
            while poll_fn(|context| self.0.poll_message(context)).await.is_some() {}
            Ok::<(), Broken>(())
        };
        let _ = timeout(LAST_WORD, said).await;
        self.0.go();
    }

    /// The same without waiting: says it as far as the system takes it, and nothing can be written any more.
    pub fn begin_close(&self, code: u16, reason: &str) {
        let mut state = self.0.state.lock();
        // It fails where it was said already, or the connection is gone.
        if state.queue(close(code, reason)).is_ok() {
            let _ = state.poll_flush(&self.0.both);
        }
    }

    /// Ends the connection at once, and says nothing.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Waits until the connection is gone, whoever ended it. Somebody has to read it meanwhile.
    pub async fn closed(&self) {
        self.0.gone.cancelled().await;
    }

    /// The same where nobody reads any more: throws away what comes before the end.
    pub async fn over(&self) {
        let _listening = self.0.listen();
        while poll_fn(|context| self.0.poll_message(context)).await.is_some() {}
    }

    /// What the peer's close said, once it has come.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.0.state.lock().end.clone()
    }

    /// To be called about once a second: asks the peer whether it is there, and ends the connection when nothing was
    /// heard of it for `idle_timeout`, which counts as a second at least. Never waits.
    pub fn beat(&self, idle_timeout: Duration) {
        let (seconds, heard) = (idle_timeout.as_secs().max(1), self.heard());
        let beat = self.0.pulse.lock().beat(heard, self.0.is_listening(), seconds);
        match beat {
            Beat::Well => {}
            Beat::Gone => self.0.abort(),
            Beat::Ask => {
                // Before the answer can come.
                self.0.pulse.lock().pinged = Some(Instant::now());
                if !self.0.ping() {
                    self.0.pulse.lock().was_not_asked();
                }
            }
        }
    }

    /// How often the peer gave a sign of life: something came, or it took again what had to wait for it.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.0.life.load(Ordering::Relaxed)
    }

    /// How long the last ping and its answer took; zero as long as there was none.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.0.round_trip.load(Ordering::Relaxed))
    }
}

/// What both ends take, and how they cut what they say: never, as no message is longer than a frame.
pub(crate) fn settings() -> (Limits, Config) {
    let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES));
    (limits, Config::default().frame_size(2 * MESSAGE_BYTES))
}

impl<T: Carrier> Receiver<T> {
    /// The next bytes; `None` when the peer has finished its half. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        let _listening = self.0.listen();
        poll_fn(|context| self.poll_read(context)).await
    }

    fn poll_read(&self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        loop {
            let Some(message) = ready!(self.0.poll_message(context)) else {
                return Poll::Ready(Err(Broken::Connection));
            };
            if !message.is_binary() {
                return Poll::Ready(Err(Broken::Stream));
            }
            let mut payload = Bytes::from(message.into_payload());
            let Some(kind) = payload.first().copied() else { continue };
            payload.advance(1);
            if payload.len() <= COPIED_BYTES {
                payload = Bytes::copy_from_slice(&payload);
            }
            match kind {
                STREAM if payload.is_empty() => {}
                STREAM => return Poll::Ready(Ok(Some(payload))),
                END => return Poll::Ready(Ok(None)),
                DATAGRAM => {
                    let mut datagrams = self.0.datagrams.lock();
                    if datagrams.len() >= DATAGRAMS {
                        datagrams.pop_front();
                    }
                    datagrams.push_back(payload);
                }
                _ => {}
            }
        }
    }
}

impl<T: Carrier> Transmitter<T> {
    /// Writes a message with what fits of `chunks`, and takes that out. Waits until the system has it.
    ///
    /// # Errors
    /// [`Broken::Connection`]; `chunks` is empty then.
    pub async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        let written = self.0.write(message(STREAM, chunks)).await;
        if written.is_err() {
            chunks.clear();
        }
        written
    }

    /// Says that nothing will follow.
    pub async fn finish(&mut self) {
        // It fails only when the connection is gone already.
        let _ = self.0.write(message(END, &mut Vec::new())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_end_in_order_and_say_why() {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (client, server) = (Connection::new(here, Role::Client), Connection::new(there, Role::Server));
        let (mut sending, mut hearing) = client.stream().unwrap();
        let (mut answering, mut reading) = server.stream().unwrap();
        assert!(client.stream().is_none(), "there is one");
        sending.write_some(&mut vec![Bytes::from_static(b"question")]).await.unwrap();
        sending.finish().await;
        assert_eq!(reading.read().await, Ok(Some(Bytes::from_static(b"question"))));
        assert_eq!(reading.read().await, Ok(None));
        answering.write_some(&mut vec![Bytes::from_static(b"answer")]).await.unwrap();
        answering.finish().await;
        let reader = async {
            assert_eq!(hearing.read().await, Ok(Some(Bytes::from_static(b"answer"))));
            assert_eq!(hearing.read().await, Ok(None));
            assert_eq!(hearing.read().await, Err(Broken::Connection));
        };
        tokio::join!(server.close(3103, "enough"), reader);
        client.closed().await;
        assert_eq!(client.end(), Some(End { code: Some(3103), reason: "enough".to_owned() }));
        assert_eq!(
            answering.write_some(&mut vec![Bytes::from_static(b"late")]).await,
            Err(Broken::Connection)
        );
    }

    #[tokio::test]
    async fn who_has_read_the_stream_to_its_end_reads_on_to_the_close() {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (client, server) = (Connection::new(here, Role::Client), Connection::new(there, Role::Server));
        let (_sending, mut hearing) = client.stream().unwrap();
        let (mut answering, _) = server.stream().unwrap();
        answering.finish().await;
        assert_eq!(hearing.read().await, Ok(None));
        drop(hearing);
        tokio::join!(server.close(1001, "stopping"), client.over());
        assert_eq!(client.end(), Some(End { code: Some(1001), reason: "stopping".to_owned() }));
    }

    #[tokio::test]
    async fn datagrams_come_beside_the_stream() {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (client, server) = (Connection::new(here, Role::Client), Connection::new(there, Role::Server));
        let (_, mut reading) = server.stream().unwrap();
        for number in 0..100_u8 {
            assert!(client.send_datagram(Bytes::copy_from_slice(&[number])));
        }
        let first = tokio::select! {
            biased;
            read = reading.read() => panic!("{read:?} on the stream"),
            datagram = server.read_datagram() => datagram,
        };
        assert_eq!(first, Bytes::copy_from_slice(&[100 - 64]), "the oldest went for the newest");
        assert!(!client.send_datagram(Bytes::from(vec![0; MESSAGE_BYTES])), "it is too long");
    }

    #[tokio::test]
    async fn one_that_vanishes_is_told_to_whoever_waits() {
        let (here, there) = tokio::io::duplex(1_024);
        let (client, server) = (Connection::new(here, Role::Client), Connection::new(there, Role::Server));
        let (mut sending, mut reading) = server.stream().unwrap();
        // More than the pipe holds.
        let mut chunks = vec![Bytes::from(vec![0; 10_000])];
        let writing = async { sending.write_some(&mut chunks).await };
        let vanishing = async { client.abort() };
        let (written, read, ()) = tokio::join!(writing, reading.read(), vanishing);
        assert_eq!((written, read), (Err(Broken::Connection), Err(Broken::Connection)));
        server.closed().await;
        assert_eq!(server.end(), None);
    }
}
