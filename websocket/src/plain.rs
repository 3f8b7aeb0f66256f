//! A connection whose messages are another protocol's: no kinds, no cuts, and no pings of WebSocket's own.
//!
//! In: messages, as text or as binary. Out: the same, of a client in pieces. Invariants: what is written together is
//! one message; whoever listens is told of what comes in the order in which it came; a peer is taken for gone by its
//! silence only where it has said that it is heard of regularly.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Config, Limits, Message, ServerBuilder};

use crate::alive::Alive;
use crate::connection::{Connection, LAST_WORD};
use crate::pieces::{PIECE_BYTES, Pieces};
use crate::pulse::Beat;
use crate::socket::{Broken, Carrier, Socket};

/// How much of what is said is put into one frame of a message.
const FRAME_BYTES: usize = 1 << 20;

/// A message of the other protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Whether it goes as text, which it then is.
    pub is_text: bool,
    /// What is in it.
    pub bytes: Bytes,
}

/// The half that comes in.
pub struct Incoming<T>(Arc<Socket<T>>);

/// The half that goes out.
pub struct Outgoing<T>(Arc<Socket<T>>);

impl<T: Carrier> Connection<T> {
    /// What a server speaks over these bytes, behind the upgrade. Messages of its client may have any length, and come
    /// in pieces of at most 16 KiB.
    #[must_use]
    pub fn plain(bytes: T) -> Connection<Pieces<T>> {
        let (bytes, life) = Alive::new(Pieces::new(bytes));
        let limits = Limits::default().max_payload_len(Some(PIECE_BYTES));
        let config = Config::default().frame_size(FRAME_BYTES);
        Connection::of(ServerBuilder::new().limits(limits).config(config).serve(bytes), life)
    }

    /// Its two halves, once.
    #[must_use]
    pub fn messages(&self) -> Option<(Outgoing<T>, Incoming<T>)> {
        let is_first = !self.0.is_opened.swap(true, Ordering::Relaxed);
        is_first.then(|| (Outgoing(Arc::clone(&self.0)), Incoming(Arc::clone(&self.0))))
    }

    /// Closes the connection in WebSocket's ordinary way, whatever the reason, behind what is queued. Waits a moment
    /// for the peer to have read it.
    pub async fn close_plain(&self) {
        {
            let mut state = self.0.state.lock();
            if state.queue(Message::close(Some(CloseCode::NORMAL_CLOSURE), "")).is_ok() {
                let _ = state.poll_flush(&self.0.both);
            }
        }
        let said = async {
            poll_fn(|context| self.0.poll_written(context)).await?;
            while poll_fn(|context| self.0.poll_message(context)).await.is_some() {}
            Ok::<(), Broken>(())
        };
        let _ = timeout(LAST_WORD, said).await;
        self.0.go();
    }

    /// To be called about once a second: says `ping` where nothing else was said for `quiet`, and ends the connection
    /// when nothing was heard of the peer for `idle_timeout`, where it is one that `pings`. Both count as a second at
    /// least. Never waits.
    pub fn beat_plain(
        &self,
        idle_timeout: Duration,
        quiet: Duration,
        pings: bool,
        ping: impl FnOnce() -> Plain,
    ) {
        let is_listening = pings && self.0.is_listening();
        let (idle, quiet) = (idle_timeout.as_secs().max(1), quiet.as_secs().max(1));
        let said = self.0.said.load(Ordering::Relaxed);
        let beat = self.0.pulse.lock().beat_plain(self.heard(), said, is_listening, (idle, quiet));
        match beat {
            Beat::Well => {}
            Beat::Gone => self.0.abort(),
            Beat::Ask => {
                let mut state = self.0.state.lock();
                // Where something waits to be sent it will be heard of.
                let is_gone = !state.is_blocked
                    && (state.queue(ping().into()).is_err()
                        || matches!(state.poll_flush(&self.0.both), Poll::Ready(Err(_))));
                drop(state);
                // Who reads nothing at the moment would not notice.
                if is_gone {
                    self.0.go();
                }
            }
        }
    }
}

impl From<Plain> for Message {
    fn from(Plain { is_text, bytes }: Plain) -> Self {
        if is_text { Self::text(bytes) } else { Self::binary(bytes) }
    }
}

impl<T: Carrier> Incoming<T> {
    /// The next message, of whichever kind. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// [`Broken::Connection`] when none will come.
    pub async fn read(&mut self) -> Result<Bytes, Broken> {
        let _listening = self.0.listen();
        let message = poll_fn(|context| self.0.poll_message(context)).await;
        message.map(|message| Bytes::from(message.into_payload())).ok_or(Broken::Connection)
    }
}

impl<T: Carrier> Outgoing<T> {
    /// Writes a message. Waits until the system has it.
    ///
    /// # Errors
    /// [`Broken::Connection`].
    pub async fn write(&mut self, message: Plain) -> Result<(), Broken> {
        self.0.said.fetch_add(1, Ordering::Relaxed);
        self.0.write(message.into()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use tokio::io::DuplexStream;

    fn text(words: &'static str) -> Plain {
        Plain { is_text: true, bytes: Bytes::from_static(words.as_bytes()) }
    }

    /// A server, and the bytes of its client.
    fn pair() -> (Connection<Pieces<DuplexStream>>, Connection<DuplexStream>) {
        let (here, there) = tokio::io::duplex(64 * 1024);
        (Connection::plain(here), Connection::new(there, Role::Client))
    }

    #[tokio::test]
    async fn messages_go_as_they_are_and_the_end_is_the_ordinary_one() {
        let (server, client) = pair();
        let (mut saying, mut hearing) = server.messages().unwrap();
        assert!(server.messages().is_none(), "there is one of each");
        let (mut asking, mut answers) = client.messages().unwrap();
        for message in [text("hello"), Plain { is_text: false, bytes: Bytes::from_static(&[0, 1, 2]) }] {
            saying.write(message.clone()).await.unwrap();
            assert_eq!(answers.read().await, Ok(message.bytes.clone()));
            asking.write(message.clone()).await.unwrap();
            assert_eq!(hearing.read().await, Ok(message.bytes));
        }
        let reading = async { assert_eq!(answers.read().await, Err(Broken::Connection)) };
        tokio::join!(server.close_plain(), reading);
        let end = client.end().unwrap();
        assert_eq!((end.code, end.reason.as_str()), (None, ""));
    }

    #[tokio::test]
    async fn a_message_of_any_length_comes_in_pieces() {
        let (server, client) = pair();
        let (_saying, mut hearing) = server.messages().unwrap();
        let (mut asking, _answers) = client.messages().unwrap();
        let whole: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let said = asking.write(Plain { is_text: false, bytes: whole.clone().into() });
        let heard = async {
            let mut heard = Vec::new();
            while heard.len() < whole.len() {
                let piece = hearing.read().await.unwrap();
                assert!(piece.len() <= PIECE_BYTES);
                heard.extend_from_slice(&piece);
            }
            heard
        };
        let (said, heard) = tokio::join!(said, heard);
        said.unwrap();
        assert!(heard == whole);
    }

    #[tokio::test]
    async fn the_ping_is_said_where_nothing_else_was() {
        let (server, client) = pair();
        let (mut saying, _hearing) = server.messages().unwrap();
        let (_asking, mut answers) = client.messages().unwrap();
        let beat =
            || server.beat_plain(Duration::from_secs(30), Duration::from_secs(2), false, || text("ping"));
        saying.write(text("first")).await.unwrap();
        for _ in 0..3 {
            beat();
        }
        saying.write(text("second")).await.unwrap();
        for expected in ["first", "ping", "second"] {
            assert_eq!(answers.read().await.unwrap(), expected.as_bytes());
        }
    }
}
