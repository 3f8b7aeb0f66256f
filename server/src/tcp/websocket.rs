//! A connection over a WebSocket: a stream and datagrams, as QUIC has them, in its messages.
//!
//! In: bytes behind an upgrade. Out: the same verbs as `quic::Connection` has. Each binary message is a kind and what
//! follows it ([`STREAM`], [`DATAGRAM`], [`END`]); docs/protocol/websocket.md says what each is. Kinds of later versions
//! are passed over.
//!
//! Invariants: a message is written whole before the next; what is owed to a peer that asks and does not read is
//! bounded (test `a_peer_that_pings_and_does_not_read_is_owed_no_more_than_its_share`); what a peer says it will send
//! takes no more than [`MESSAGE_BYTES`], its kind included, before it has come. The lock is held for one poll, never while waiting.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fanfare_hub::{Line, Unreliable};
use fanfare_protocol::admin::QuicFacts;
use fanfare_protocol::{Code, WEBSOCKET_MESSAGE_BYTES as MESSAGE_BYTES};
use futures_core::Stream;
use futures_sink::Sink;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Config, Limits, Message, ServerBuilder, WebSocketStream};

use super::io::Io;
use crate::transport::{Broken, Transport};

/// The kinds of messages. Bytes of the stream follow.
const STREAM: u8 = 0;
/// A datagram follows.
const DATAGRAM: u8 = 1;
/// The sender's half of the stream has ended.
const END: u8 = 2;

/// What is copied out of the buffer that was read into, which is then there for the next; longer ones are cut out of it.
const COPIED_BYTES: usize = 4 * 1024;

/// So many answers to pings may wait for a peer that does not read. Nothing more is read of it then.
const MOST_OWED: usize = 16;

/// So many datagrams wait for the session; the oldest goes for the newest, as it does in QUIC.
const DATAGRAMS: usize = 64;

/// How long a peer may take to answer a close.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What a close says that is none of WebSocket's own reasons. The text begins with our code.
const CLOSED: u16 = 4_000;

/// The longest text of a close (RFC 6455, section 5.5).
const TEXT_BYTES: usize = 123;

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Socket>);

/// The half of its stream that comes in.
pub(crate) struct Receiver(Arc<Socket>);

/// The half of its stream that goes out.
pub(crate) struct Transmitter(Arc<Socket>);

struct Socket {
    state: Mutex<State>,
    tasks: Arc<Tasks>,
    /// Wakes both tasks: one flush may be what either waits for.
    both: Waker,
    address: SocketAddr,
    idle_timeout: Duration,
    /// Its stream was taken.
    is_opened: AtomicBool,
    gone: CancellationToken,
    /// Messages that came, pongs included.
    heard: AtomicU64,
    /// Somebody waits for a message, so that silence is the peer's.
    is_listening: AtomicBool,
    /// Microseconds; 0 until it is known.
    round_trip: AtomicU64,
    datagrams: Mutex<VecDeque<Bytes>>,
    pulse: Mutex<Pulse>,
}

struct State {
    /// None when it is over, so that the socket is closed whoever still knows of the connection.
    stream: Option<WebSocketStream<Io>>,
    /// Pings that were read since everything was last written out: each has its answer in the queue.
    owed: usize,
    /// Something is queued that the system does not take at the moment.
    is_blocked: bool,
}

/// Whether the peer is still there.
#[derive(Default)]
struct Pulse {
    heard: u64,
    silent_seconds: u64,
    /// Before the next ping. The first is at once, so that the round trip is known.
    seconds_left: u64,
    pinged: Option<Instant>,
}

/// What is to be done about a peer.
#[derive(Debug, PartialEq, Eq)]
enum Beat {
    Well,
    /// It is to be asked whether it is there.
    Ask,
    /// Nothing was heard of it for too long.
    Gone,
}

impl Pulse {
    /// Another second. `heard` is what came so far, and `is_listening` whether it is being waited for: who is not read
    /// is not silent.
    fn beat(&mut self, heard: u64, is_listening: bool, idle_seconds: u64) -> Beat {
        let is_silent = is_listening && self.heard == heard;
        self.silent_seconds = if is_silent { self.silent_seconds + 1 } else { 0 };
        self.heard = heard;
        if self.silent_seconds >= idle_seconds {
            return Beat::Gone;
        }
        self.seconds_left = self.seconds_left.saturating_sub(1);
        if self.seconds_left > 0 || self.pinged.is_some() {
            return Beat::Well;
        }
        self.seconds_left = (idle_seconds / 3).max(1);
        Beat::Ask
    }
}

/// The tasks that wait: the session, and the writer.
#[derive(Default)]
struct Tasks {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Wake for Tasks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        for task in [&self.reader, &self.writer] {
            let waiting = task.lock().take();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
}

/// Remembers a task, in place of what was remembered before.
fn remember(task: &Mutex<Option<Waker>>, context: &Context<'_>) {
    let mut task = task.lock();
    if !task.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
        *task = Some(context.waker().clone());
    }
}

impl State {
    /// Ready when all that is queued is with the system.
    fn poll_flush(&mut self, both: &Waker) -> Poll<Result<(), Broken>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Broken::Connection)) };
        let flushed = Pin::new(stream).poll_flush(&mut Context::from_waker(both));
        self.is_blocked = flushed.is_pending();
        flushed.map(|flushed| {
            self.owed = 0;
            flushed.map_err(|_| Broken::Connection)
        })
    }

    /// The next message that is none of WebSocket's own. `None` when none comes any more.
    fn poll_message(&mut self, context: &mut Context<'_>, socket: &Socket) -> Poll<Option<Message>> {
        loop {
            if self.is_blocked || self.owed >= MOST_OWED {
                let flushed = self.poll_flush(&socket.both);
                if self.owed >= MOST_OWED && ready!(flushed).is_err() {
                    return Poll::Ready(None);
                }
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
            let Some(Ok(message)) = ready!(Pin::new(stream).poll_next(context)) else { break };
            socket.heard.fetch_add(1, Ordering::Relaxed);
            if message.is_ping() {
                self.owed += 1;
            } else if message.is_pong() {
                socket.answered();
            } else if message.is_close() {
                break;
            } else {
                return Poll::Ready(Some(message));
            }
        }
        // The answer to a close, or what was wrong with what came: as much of it as the system takes.
        let _ = self.poll_flush(&socket.both);
        Poll::Ready(None)
    }

    fn queue(&mut self, message: Message) -> Result<(), Broken> {
        let stream = self.stream.as_mut().ok_or(Broken::Connection)?;
        Pin::new(stream).start_send(message).map_err(|_| Broken::Connection)
    }
}

impl Socket {
    /// It is over: the socket is closed, and whoever waits learns of it.
    fn go(&self) {
        let stream = self.state.lock().stream.take();
        drop(stream);
        self.gone.cancel();
        self.both.wake_by_ref();
    }

    /// The same, and what the system still keeps for the peer is thrown away.
    fn abort(&self) {
        if let Some(stream) = &self.state.lock().stream {
            stream.get_ref().abort();
        }
        self.go();
    }

    /// The next message that is none of WebSocket's own. `None` when none comes any more.
    fn poll_message(&self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        remember(&self.tasks.reader, context);
        let next = self.state.lock().poll_message(context, self);
        self.is_listening.store(next.is_pending(), Ordering::Relaxed);
        let message = ready!(next);
        if message.is_none() {
            self.go();
        }
        Poll::Ready(message)
    }

    /// The peer answered a ping.
    fn answered(&self) {
        if let Some(pinged) = self.pulse.lock().pinged.take() {
            let micros = u64::try_from(pinged.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.round_trip.store(micros.max(1), Ordering::Relaxed);
        }
    }

    fn poll_written(&self, context: &Context<'_>) -> Poll<Result<(), Broken>> {
        remember(&self.tasks.writer, context);
        if self.gone.is_cancelled() {
            return Poll::Ready(Err(Broken::Connection));
        }
        let flushed = self.state.lock().poll_flush(&self.both);
        if let Poll::Ready(Err(_)) = flushed {
            self.go();
        }
        flushed
    }

    /// Whether somebody waits for what the peer says.
    fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// Queues a message, and waits until the system has it.
    async fn write(&self, message: Message) -> Result<(), Broken> {
        self.state.lock().queue(message)?;
        poll_fn(|context| self.poll_written(context)).await
    }

    /// Asks the peer whether it is there, unless something else waits for it to read. Tells whether it was asked.
    fn ping(&self) -> bool {
        let mut state = self.state.lock();
        let is_asked = !state.is_blocked && state.queue(Message::ping(Bytes::new())).is_ok();
        if is_asked {
            // What the system does not take now goes out when it does.
            let _ = state.poll_flush(&self.both);
        }
        is_asked
    }
}

impl Connection {
    /// What speaks WebSocket over these bytes, as the server's end. After `idle_timeout` of silence the peer is gone.
    pub(crate) fn new(bytes: Io, address: SocketAddr, idle_timeout: Duration) -> Self {
        let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES));
        // Longer than any message, so that each is one frame.
        let config = Config::default().frame_size(2 * MESSAGE_BYTES);
        let stream = ServerBuilder::new().limits(limits).config(config).serve(bytes);
        let tasks = Arc::new(Tasks::default());
        let both = Waker::from(Arc::clone(&tasks));
        Self(Arc::new(Socket {
            state: Mutex::new(State { stream: Some(stream), owed: 0, is_blocked: false }),
            tasks,
            both,
            address,
            idle_timeout,
            is_opened: AtomicBool::new(false),
            gone: CancellationToken::new(),
            heard: AtomicU64::new(0),
            is_listening: AtomicBool::new(false),
            round_trip: AtomicU64::new(0),
            datagrams: Mutex::default(),
            pulse: Mutex::default(),
        }))
    }

    /// The connection's own stream, which there is once.
    pub(crate) async fn accept_stream(&self) -> Result<(Transmitter, Receiver), Broken> {
        if self.0.is_opened.swap(true, Ordering::Relaxed) {
            self.closed().await;
            return Err(Broken::Connection);
        }
        Ok((Transmitter(Arc::clone(&self.0)), Receiver(Arc::clone(&self.0))))
    }

    /// The next datagram. They are read with the stream, so it is ready only where [`Receiver::read`] is waited for in
    /// the same task.
    pub(crate) async fn read_datagram(&self) -> Result<Bytes, Broken> {
        poll_fn(|_| match self.0.datagrams.lock().pop_front() {
            Some(datagram) => Poll::Ready(Ok(datagram)),
            None => Poll::Pending,
        })
        .await
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.0.address
    }

    /// Closes the connection: says the code and the reason behind what is queued, and waits a moment for the peer to
    /// have read it. What came and was not read would otherwise have the system reset the connection, and the peer lose
    /// what is on its way.
    pub(crate) async fn close(&self, code: Code, reason: &str) {
        let status = if code == Code::Normal { CloseCode::NORMAL_CLOSURE } else { own_close_code() };
        let text = format!("{} {reason}", code.number());
        let said = async {
            self.0.write(Message::close(Some(status), cut(&text, TEXT_BYTES))).await?;
            while poll_fn(|context| self.0.poll_message(context)).await.is_some() {}
            Ok::<(), Broken>(())
        };
        let _ = timeout(LAST_WORD, said).await;
        self.0.go();
    }

    /// Waits until the connection is gone, whoever ended it.
    pub(crate) async fn closed(&self) {
        self.0.gone.cancelled().await;
    }
}

fn own_close_code() -> CloseCode {
    CloseCode::try_from(CLOSED).unwrap_or(CloseCode::NORMAL_CLOSURE)
}

/// The first bytes of a text, as many as make whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

impl Line for Connection {
    fn transport(&self) -> &'static str {
        Transport::WebSocket.name()
    }

    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn rtt(&self) -> Duration {
        Duration::from_micros(self.0.round_trip.load(Ordering::Relaxed))
    }

    fn quic(&self) -> QuicFacts {
        QuicFacts { rtt_us: self.0.round_trip.load(Ordering::Relaxed), ..QuicFacts::default() }
    }

    fn packets(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }

    fn tend(&self) -> u64 {
        let (seconds, heard) = (self.0.idle_timeout.as_secs().max(1), self.packets());
        let beat = self.0.pulse.lock().beat(heard, self.0.is_listening(), seconds);
        match beat {
            Beat::Well => {}
            Beat::Gone => self.0.abort(),
            Beat::Ask => {
                // Before the answer can come.
                self.0.pulse.lock().pinged = Some(Instant::now());
                if !self.0.ping() {
                    self.0.pulse.lock().pinged = None;
                }
            }
        }
        0
    }

    fn send_datagram(&self, frame: Bytes) -> Unreliable {
        if frame.len() >= MESSAGE_BYTES || self.0.gone.is_cancelled() {
            return Unreliable::Dropped;
        }
        let mut state = self.0.state.lock();
        // Behind what the peer does not take it would come too late.
        if state.is_blocked || state.queue(message(DATAGRAM, &mut vec![frame])).is_err() {
            return Unreliable::Dropped;
        }
        let _ = state.poll_flush(&self.0.both);
        Unreliable::Sent
    }
}

/// A message of a kind with what of `chunks` fits into one, which is taken out.
fn message(kind: u8, chunks: &mut Vec<Bytes>) -> Message {
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    let mut payload = BytesMut::with_capacity(MESSAGE_BYTES.min(bytes + 1));
    payload.put_u8(kind);
    let mut whole = 0;
    for chunk in chunks.iter_mut() {
        let room = MESSAGE_BYTES - payload.len();
        if chunk.len() > room {
            payload.put(chunk.split_to(room));
            break;
        }
        payload.put_slice(chunk);
        whole += 1;
    }
    chunks.drain(..whole);
    Message::binary(payload)
}

impl Receiver {
    /// The next bytes; `None` when the peer has finished its half.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
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

impl Transmitter {
    /// Writes a message with what fits of `chunks`, and takes that out. Waits until the system has it.
    pub(crate) async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Broken> {
        let written = self.0.write(message(STREAM, chunks)).await;
        if written.is_err() {
            chunks.clear();
        }
        written
    }

    /// Breaks the connection off: nothing that waits is sent any more. There is nothing that would overtake it, so the
    /// peer is not told why.
    pub(crate) fn break_off(&mut self) {
        self.0.abort();
    }

    /// Says that nothing will follow.
    pub(crate) async fn finish(&mut self) {
        // It fails only when the connection is gone already.
        let _ = self.0.write(message(END, &mut Vec::new())).await;
    }
}

#[cfg(test)]
mod tests;
