//! The connection of a client of SignalR, with the verbs that every carrier has.
//!
//! In: a WebSocket, and what its request said. Out: a stream of frames both ways, and facts for operators. Invariants:
//! a WebSocket's message has whole hub messages in it, since one that is cut ends a JavaScript client's connection; the
//! place of what was negotiated is free when the connection has ended, whoever still knows of it.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fanfare_hub::{Dialect, Line, Unreliable};
use fanfare_protocol::admin::QuicFacts;
use fanfare_protocol::{ConnectionId, ServerFrame, UserName};
use fanfare_token::Permissions;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::book::Book;
use super::hearing::{Hearing, Next};
use crate::tcp::{MessageReceiver, MessageTransmitter, Messages};
use crate::transport::{Broken, Heard, Transport};

/// How much of what waits goes into one message of the WebSocket, as far as it can be cut.
const MESSAGE_BYTES: usize = 64 * 1024;

/// What is known of a client when its WebSocket opens.
pub(crate) struct Opening {
    /// Who it is, by what it has shown, and what it may do.
    pub(crate) identity: (UserName, Permissions),
    /// The id that was negotiated, and what keeps it from being used again meanwhile.
    pub(crate) negotiated: Option<(ConnectionId, Box<dyn Any + Send + Sync>)>,
    /// Whether methods are the application's.
    pub(crate) has_application: bool,
    /// The longest message, in bytes.
    pub(crate) message_bytes: usize,
}

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) struct Connection {
    messages: Messages,
    book: Arc<Book>,
    shared: Arc<Shared>,
}

struct Shared {
    id: Option<ConnectionId>,
    identity: Mutex<Option<(UserName, Permissions)>>,
    hearing: Mutex<Option<Hearing>>,
    _negotiated: Option<Box<dyn Any + Send + Sync>>,
}

/// The half of its stream that comes in.
pub(crate) struct Receiver {
    messages: Messages,
    incoming: MessageReceiver,
    hearing: Hearing,
    book: Arc<Book>,
}

/// The half of its stream that goes out.
pub(crate) struct Transmitter {
    messages: Messages,
    outgoing: MessageTransmitter,
    book: Arc<Book>,
}

impl Connection {
    pub(crate) fn new(messages: Messages, opening: Opening) -> Self {
        let Opening { identity, negotiated, has_application, message_bytes } = opening;
        let book = Arc::new(Book::new(has_application));
        let hearing = Mutex::new(Some(Hearing::new(Arc::clone(&book), message_bytes)));
        let (id, negotiated) = negotiated.unzip();
        Self {
            messages,
            book,
            shared: Arc::new(Shared {
                id,
                identity: Mutex::new(Some(identity)),
                hearing,
                _negotiated: negotiated,
            }),
        }
    }

    /// The id that it has by its negotiation.
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        self.shared.id
    }

    /// Who it is, and what it may do; once.
    pub(crate) fn identity(&self) -> Option<(UserName, Permissions)> {
        self.shared.identity.lock().take()
    }

    /// It is in the hub, so that its handshake is answered before anything else is said.
    pub(crate) fn welcomed(&self) {
        self.book.welcome();
    }

    /// What its client speaks.
    pub(crate) fn dialect(&self) -> Arc<dyn Dialect> {
        Arc::clone(&self.book) as _
    }

    /// The connection's own stream, which there is once.
    pub(crate) async fn accept_stream(&self) -> Result<(Transmitter, Receiver), Broken> {
        let hearing = self.shared.hearing.lock().take();
        let (Some((outgoing, incoming)), Some(hearing)) = (self.messages.halves(), hearing) else {
            self.closed().await;
            return Err(Broken::Connection);
        };
        let (messages, book) = (&self.messages, &self.book);
        let transmitter = Transmitter { messages: messages.clone(), outgoing, book: Arc::clone(book) };
        Ok((transmitter, Receiver { messages: messages.clone(), incoming, hearing, book: Arc::clone(book) }))
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.messages.address()
    }

    /// Closes the connection. Why was said before, in SignalR's own `Close`.
    pub(crate) async fn close(&self) {
        self.messages.close().await;
    }

    /// Waits until the connection is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        self.messages.closed().await;
    }
}

impl Line for Connection {
    fn transport(&self) -> &'static str {
        Transport::SignalR.name()
    }

    fn address(&self) -> SocketAddr {
        self.messages.address()
    }

    /// Not known: SignalR's pings are not answered.
    fn rtt(&self) -> Duration {
        Duration::ZERO
    }

    fn quic(&self) -> QuicFacts {
        QuicFacts::default()
    }

    fn packets(&self) -> u64 {
        self.messages.heard()
    }

    fn tend(&self) -> u64 {
        self.messages.beat(self.book.pings(), self.book.encoding().is_text(), || self.book.ping());
        0
    }

    /// The hub says it as a message instead.
    fn send_datagram(&self, _: Bytes) -> Unreliable {
        Unreliable::Dropped
    }
}

impl Receiver {
    /// What comes next; `None` when the client has said its last word. May be dropped while it waits: nothing is lost.
    pub(crate) async fn read(&mut self) -> Result<Option<Heard>, Broken> {
        loop {
            match self.hearing.next()? {
                Next::Heard(heard) => return Ok(Some(heard)),
                Next::Closed => return Ok(None),
                Next::Full => tokio::select! {
                    () = self.book.streams_changed() => {}
                    () = self.messages.closed() => return Err(Broken::Connection),
                    () = sleep(self.messages.idle_timeout()) => {
                        if let Some(Next::Heard(heard)) = self.hearing.overrun() {
                            return Ok(Some(heard));
                        }
                    }
                },
                Next::More => {
                    let read = tokio::select! {
                        read = self.incoming.read() => read,
                        () = self.book.streams_changed(), if self.hearing.holds() => continue,
                    };
                    match read {
                        Ok(chunk) => self.hearing.take(chunk),
                        Err(_) if self.messages.was_closed() => return Ok(None),
                        Err(broken) => return Err(broken),
                    }
                }
            }
        }
    }
}

impl Transmitter {
    /// Writes what fits into a message of `chunks`, each whole, and takes it out. Waits until the system has it.
    pub(crate) async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        let message = match chunks.as_slice() {
            [] => return Ok(()),
            [_] => chunks.swap_remove(0),
            _ => {
                let mut bytes = 0;
                let fits = |chunk: &&Bytes| {
                    bytes += chunk.len();
                    bytes <= MESSAGE_BYTES
                };
                let whole = chunks.iter().take_while(fits).count().max(1);
                let mut message = BytesMut::new();
                for chunk in chunks.drain(..whole) {
                    message.extend_from_slice(&chunk);
                }
                message.freeze()
            }
        };
        let written = self.outgoing.write(self.book.encoding().is_text(), message).await;
        if written.is_err() {
            chunks.clear();
        }
        written
    }

    /// A frame, as the client reads it.
    pub(crate) fn encode(&self, frame: &ServerFrame) -> Bytes {
        self.book.notice(frame)
    }

    /// Breaks the connection off: nothing that waits is sent any more.
    pub(crate) fn break_off(&mut self) {
        self.messages.abort();
    }
}
