//! What the handles of one connection share, and how its two tasks meet in it.
//!
//! In: polls of the task that reads and of the one that writes, and a beat each second. Out: messages, and that what
//! was queued is with the system. The framing and the answers to pings are `tokio-websockets`'.
//!
//! Invariants: what is owed to a peer that asks and does not read is bounded (test
//! `a_peer_that_pings_and_does_not_read_is_owed_no_more_than_its_share`, of the server); what a peer says it will send
//! takes no more than one message before it has come; whoever waits for a flush is woken by it, whichever task made it.
//! The lock is held for one poll, never while waiting.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{Message, WebSocketStream};

use crate::alive::Alive;
use crate::closing::{End, end_of};
use crate::pulse::Pulse;

/// So many answers to pings may wait for a peer that does not read. Nothing more is read of it then.
const MOST_OWED: usize = 16;

/// What a connection's bytes go over.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Throws away what the system still keeps for the peer when it is closed, instead of sending it. Where nothing can
    /// be thrown away nothing is done.
    fn abort(&self) {}
}

/// A pipe in memory, to test with.
impl Carrier for DuplexStream {}

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

/// What the handles of one connection share.
pub(crate) struct Socket<T> {
    pub(crate) state: Mutex<State<T>>,
    tasks: Arc<Tasks>,
    /// Wakes both tasks: one flush may be what either waits for.
    pub(crate) both: Waker,
    /// Its stream was taken.
    pub(crate) is_opened: AtomicBool,
    pub(crate) gone: CancellationToken,
    /// How often the peer gave a sign of life: [`Alive`].
    pub(crate) life: Arc<AtomicU64>,
    /// How many messages of another protocol were said.
    pub(crate) said: AtomicU64,
    /// Somebody waits for a message, so that silence is the peer's.
    is_listening: AtomicBool,
    /// Microseconds; 0 until it is known.
    pub(crate) round_trip: AtomicU64,
    pub(crate) datagrams: Mutex<VecDeque<Bytes>>,
    pub(crate) pulse: Mutex<Pulse>,
}

pub(crate) struct State<T> {
    /// None when it is over, so that the socket is closed whoever still knows of the connection.
    stream: Option<WebSocketStream<Alive<T>>>,
    /// Pings that were read since everything was last written out: each has its answer in the queue.
    owed: usize,
    /// Something is queued that the system does not take at the moment.
    pub(crate) is_blocked: bool,
    /// What the peer's close said.
    pub(crate) end: Option<End>,
}

/// Somebody waits for a message, until this is dropped. That it does is noted when it has to wait.
pub(crate) struct Listening<'a>(&'a AtomicBool);

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
    pub(crate) fn poll_flush(&mut self, both: &Waker) -> Poll<Result<(), Broken>> {
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

    pub(crate) fn queue(&mut self, message: Message) -> Result<(), Broken> {
        let stream = self.stream.as_mut().ok_or(Broken::Connection)?;
        Pin::new(stream).start_send(message).map_err(|_| Broken::Connection)
    }
}

impl<T: Carrier> Socket<T> {
    pub(crate) fn new(stream: WebSocketStream<Alive<T>>, life: Arc<AtomicU64>) -> Self {
        let tasks = Arc::new(Tasks::default());
        let both = Waker::from(Arc::clone(&tasks));
        Self {
            state: Mutex::new(State { stream: Some(stream), owed: 0, is_blocked: false, end: None }),
            tasks,
            both,
            is_opened: AtomicBool::new(false),
            gone: CancellationToken::new(),
            life,
            said: AtomicU64::new(0),
            is_listening: AtomicBool::new(false),
            round_trip: AtomicU64::new(0),
            datagrams: Mutex::default(),
            pulse: Mutex::default(),
        }
    }

    /// Somebody listens, until this is dropped.
    pub(crate) fn listen(&self) -> Listening<'_> {
        Listening(&self.is_listening)
    }

    /// It is over: the socket is closed, and whoever waits learns of it.
    pub(crate) fn go(&self) {
        let stream = self.state.lock().stream.take();
        drop(stream);
        self.gone.cancel();
        self.both.wake_by_ref();
    }

    /// The same, and what the system still keeps for the peer is thrown away.
    pub(crate) fn abort(&self) {
        if let Some(stream) = &self.state.lock().stream {
            stream.get_ref().carrier().abort();
        }
        self.go();
    }

    /// The next message that is none of WebSocket's own. `None` when none comes any more.
    pub(crate) fn poll_message(&self, context: &mut Context<'_>) -> Poll<Option<Message>> {
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

    pub(crate) fn poll_written(&self, context: &Context<'_>) -> Poll<Result<(), Broken>> {
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
    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// Queues a message, and waits until the system has it.
    pub(crate) async fn write(&self, message: Message) -> Result<(), Broken> {
        self.state.lock().queue(message)?;
        poll_fn(|context| self.poll_written(context)).await
    }

    /// Asks the peer whether it is there, unless something else waits for it to read. Tells whether it was asked.
    pub(crate) fn ping(&self) -> bool {
        let mut state = self.state.lock();
        let is_asked = !state.is_blocked && state.queue(Message::ping(Bytes::new())).is_ok();
        if is_asked {
            // What the system does not take now goes out when it does.
            let _ = state.poll_flush(&self.both);
        }
        is_asked
    }
}
