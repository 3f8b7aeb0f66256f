//! One connection, either end of it.
//!
//! In: bytes behind an upgrade. Out: a stream, datagrams, and an end. Kinds of messages of later versions are passed
//! over.
//!
//! Invariants: a message is written whole before the next; what is owed to a peer that asks and does not read is
//! bounded (test `a_peer_that_pings_and_does_not_read_is_owed_no_more_than_its_share`, of the server); what a peer says
//! it will send takes no more than one message before it has come. The lock is held for one poll, never while waiting.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use fanfare_protocol::{WEBSOCKET_MESSAGE_BYTES as MESSAGE_BYTES, WEBSOCKET_PROTOCOL};
use futures_core::Stream;
use futures_sink::Sink;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, CloseCode, Config, Limits, Message, ServerBuilder, WebSocketStream};

use crate::alive::Alive;
use crate::message::{DATAGRAM, END, STREAM, message};
use crate::pulse::{Beat, Pulse};

/// What is copied out of the buffer that was read into, which is then there for the next; longer ones are cut out of
/// it.
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

/// What a connection's bytes go over.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Throws away what the system still keeps for the peer when it is closed, instead of sending it. Where nothing can
    /// be thrown away nothing is done.
    fn abort(&self) {}
}

/// A pipe in memory, to test with.
impl Carrier for DuplexStream {}

/// Which end of a WebSocket this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that was connected to.
    Server,
    /// The end that connected, and masks what it says (RFC 6455, section 5.3).
    Client,
}

/// Why nothing more can be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What came is no message of a stream, and the connection is still there.
    #[error("what came is no message of a stream")]
    Stream,
    /// The connection is gone.
    #[error("the connection is gone")]
    Connection,
}

/// What the peer's close said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The code, where it has one: a close by somebody in between has none.
    pub code: Option<u16>,
    /// The reason, cut to what fits.
    pub reason: String,
}

/// A connection. A clone is the same connection.
pub struct Connection<T>(Arc<Socket<T>>);

impl<T> Clone for Connection<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The half of its stream that comes in.
pub struct Receiver<T>(Arc<Socket<T>>);

/// The half of its stream that goes out.
pub struct Transmitter<T>(Arc<Socket<T>>);

struct Socket<T> {
    state: Mutex<State<T>>,
    tasks: Arc<Tasks>,
    /// Wakes both tasks: one flush may be what either waits for.
    both: Waker,
    /// Its stream was taken.
    is_opened: AtomicBool,
    gone: CancellationToken,
    /// How often the peer gave a sign of life: [`Alive`].
    life: Arc<AtomicU64>,
    /// Somebody waits for a message, so that silence is the peer's.
    is_listening: AtomicBool,
    /// Microseconds; 0 until it is known.
    round_trip: AtomicU64,
    datagrams: Mutex<VecDeque<Bytes>>,
    pulse: Mutex<Pulse>,
}

struct State<T> {
    /// None when it is over, so that the socket is closed whoever still knows of the connection.
    stream: Option<WebSocketStream<Alive<T>>>,
    /// Pings that were read since everything was last written out: each has its answer in the queue.
    owed: usize,
    /// Something is queued that the system does not take at the moment.
    is_blocked: bool,
    /// What the peer's close said.
    end: Option<End>,
}

/// Somebody waits for a message, until this is dropped. That it does is noted when it has to wait.
struct Listening<'a>(&'a AtomicBool);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
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

impl<T: Carrier> State<T> {
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
    fn poll_message(&mut self, context: &mut Context<'_>, socket: &Socket<T>) -> Poll<Option<Message>> {
        loop {
            // What is owed is not left to whoever polls: its task may be another by then.
            if self.is_blocked || self.owed > 0 {
                let flushed = self.poll_flush(&socket.both);
                if self.owed >= MOST_OWED && ready!(flushed).is_err() {
                    return Poll::Ready(None);
                }
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
            let Some(Ok(message)) = ready!(Pin::new(stream).poll_next(context)) else { break };
            if message.is_ping() {
                self.owed += 1;
            } else if message.is_pong() {
                socket.answered();
            } else if let Some((status, text)) = message.as_close() {
                self.end = Some(end_of(status.into(), text));
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

impl<T: Carrier> Socket<T> {
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
            stream.get_ref().carrier().abort();
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

    fn of(stream: WebSocketStream<Alive<T>>, life: Arc<AtomicU64>) -> Self {
        let tasks = Arc::new(Tasks::default());
        let both = Waker::from(Arc::clone(&tasks));
        Self(Arc::new(Socket {
            state: Mutex::new(State { stream: Some(stream), owed: 0, is_blocked: false, end: None }),
            tasks,
            both,
            is_opened: AtomicBool::new(false),
            gone: CancellationToken::new(),
            life,
            is_listening: AtomicBool::new(false),
            round_trip: AtomicU64::new(0),
            datagrams: Mutex::default(),
            pulse: Mutex::default(),
        }))
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
        let status = if code == 0 { CloseCode::NORMAL_CLOSURE } else { own_close_code() };
        let text = format!("{code} {reason}");
        let mut state = self.0.state.lock();
        // It fails where it was said already, or the connection is gone.
        if state.queue(Message::close(Some(status), cut(&text, TEXT_BYTES))).is_ok() {
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
        let _listening = Listening(&self.0.is_listening);
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

/// Asks for a WebSocket over these bytes, by this URL, and speaks it from then on.
///
/// # Errors
/// What is wrong with the URL, or what the server answers instead.
pub async fn connect<T: Carrier>(bytes: T, url: &str) -> Result<Connection<T>, UpgradeError> {
    let (limits, config) = settings();
    let builder = ClientBuilder::new()
        .uri(url)
        .map_err(|error| UpgradeError::Url { detail: error.to_string() })?
        .limits(limits)
        .config(config)
        .add_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_PROTOCOL))?;
    let (bytes, life) = Alive::new(bytes);
    let (stream, response) = builder.connect_on(bytes).await?;
    if response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|chosen| chosen != WEBSOCKET_PROTOCOL) {
        return Err(UpgradeError::NotFanfare);
    }
    Ok(Connection::of(stream, life))
}

/// Why a server gave no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The URL is none.
    #[error("the address is no URL: {detail}")]
    Url {
        /// What is wrong with it.
        detail: String,
    },
    /// The server answered something else.
    #[error("the server gave no WebSocket: {0}")]
    Refused(#[from] tokio_websockets::Error),
    /// The server gave one, but not for Fanfare's frames.
    #[error("the server gave a WebSocket, but not for Fanfare's frames (subprotocol {WEBSOCKET_PROTOCOL})")]
    NotFanfare,
}

/// What both ends take, and how they cut what they say: never, as no message is longer than a frame.
fn settings() -> (Limits, Config) {
    let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES));
    (limits, Config::default().frame_size(2 * MESSAGE_BYTES))
}

fn own_close_code() -> CloseCode {
    CloseCode::try_from(CLOSED).unwrap_or(CloseCode::NORMAL_CLOSURE)
}

/// What a close says: the code is in its text.
fn end_of(status: u16, text: &str) -> End {
    let (number, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code = number.parse().ok().filter(|_| status == CLOSED || status == 1_000);
    match code {
        Some(code) => End { code: Some(code), reason: reason.to_owned() },
        None => End { code: None, reason: text.to_owned() },
    }
}

/// The first bytes of a text, as many as make whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

impl<T: Carrier> Receiver<T> {
    /// The next bytes; `None` when the peer has finished its half. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        let _listening = Listening(&self.0.is_listening);
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

    #[test]
    fn the_code_of_a_close_is_in_its_text() {
        let end = |code, reason: &str| End { code, reason: reason.to_owned() };
        assert_eq!(end_of(4_000, "3103 enough for today"), end(Some(3103), "enough for today"));
        assert_eq!(end_of(1_000, "0"), end(Some(0), ""));
        assert_eq!(end_of(1_001, "3103 by a proxy"), end(None, "3103 by a proxy"));
        assert_eq!(end_of(4_000, "70000 too many"), end(None, "70000 too many"));
        assert_eq!(cut("\u{1F600}\u{1F600}", 7), "\u{1F600}");
    }

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
