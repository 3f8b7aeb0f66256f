//! Where all who have something for a connection meet its writer and its session: a queue of frames behind a lock, and
//! how far the connection is on its way to its end.
//!
//! In: frames, from any task that routes a message, at any time, without waiting. Out: batches of them for the
//! connection's writer, and a signal for its session that reading should stop or that the connection should end. What
//! waits, and what becomes of what does not fit, is the business of `queue`; whether the peer takes anything is that of
//! `pace`, and what has to wait for other nodes that of `held`.
//!
//! Invariants:
//! - frames leave in the order in which they came (promise 4);
//! - the queue never holds more than its bound of frames or of bytes, and what the writer has taken but not yet written
//!   counts (promise 6). Pushing never waits: at the bound the overflow policy decides, and is counted;
//! - after [`Outbox::end`] nothing is queued any more; after [`Outbox::finish`] only what was queued before is written.

mod held;
mod limits;
mod pace;
mod pause;
mod phase;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use fanfare_protocol::{Code, GroupName, ServerFrame, Target, codec};

use self::limits::KEPT_CAPACITY;
pub use self::limits::{OutboxLimits, Overflow};
pub use self::pace::Window;
pub(crate) use self::pause::Pause;
use self::phase::Phase;
pub use self::phase::Signal;
use self::queue::{Entry, Mark, Queue};
pub use self::queue::{OutboxFacts, Pushed};
use crate::budget::Account;
use crate::close_reason::CloseReason;
use crate::dialect::Dialect;
use crate::envelope::Envelope;
use crate::sheet::Sheet;
use crate::stock::Stock;
use crate::sync::{Mutex, MutexGuard};

/// So many tasks that wait for room are remembered.
const MOST_PRODUCERS: usize = 256;

/// What the writer gets by [`Outbox::poll_take`].
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// There are chunks to write. Where there are messages among them: when the first of those was accepted.
    Batch(Option<Instant>),
    /// Everything is written, and nothing will follow.
    Finished,
    /// The connection ends; what was queued is gone.
    Ended,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// What `progress` was at the last look, and how many looks ago it was something else while something was being
    /// written.
    looked_at: (u64, u32),
    phase: Phase,
    /// After how many milliseconds the client may come back, where somebody chose it.
    retry_after_ms: Option<u32>,
    writer: Option<Waker>,
    session: Option<Waker>,
    /// Whoever makes more for the client than it asks for, and waits until there is room.
    producers: Vec<Waker>,
    /// The writer, whatever it waits for.
    hurried: Option<Waker>,
    break_off: Option<Code>,
}

/// One connection's bounded queue of frames that wait to be written: [`Member::outbox`](crate::Member::outbox).
///
/// The hub puts messages in. Whoever carries the connection has two tasks at it. The session, which reads requests,
/// puts answers in ([`Outbox::push_notice`]), waits for room before it reads on ([`Outbox::poll_room`]), and is told
/// when to end ([`Outbox::poll_signal`]). The writer takes batches out ([`Outbox::poll_take`]) until it gets
/// [`Taken::Finished`] or [`Taken::Ended`]. The end is brought about by [`Outbox::finish`], which has everything
/// written first, [`Outbox::end`], which throws away what waits, or [`Outbox::lose`], where nobody is left to be told.
pub struct Outbox {
    limits: OutboxLimits,
    /// What all outboxes share. None where there is one alone: another node's, and in tests.
    account: Option<Account>,
    /// What the client speaks where that is not Fanfare's protocol.
    dialect: Option<Arc<dyn Dialect>>,
    /// What may stop it from being written.
    pause: Pause,
    state: Mutex<State>,
    /// What is being written is not waited for any longer.
    overdue: AtomicBool,
    /// What QUIC keeps for the peer is beyond what there is room for.
    uncounted: AtomicBool,
    /// Grows with everything that the peer takes. The writer's alone.
    progress: AtomicU64,
}

impl Outbox {
    /// An outbox alone.
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            account: None,
            dialect: None,
            pause: Pause::default(),
            state: Mutex::new(State::default()),
            overdue: AtomicBool::new(false),
            uncounted: AtomicBool::new(false),
            progress: AtomicU64::new(0),
        }
    }

    /// The same, within what all outboxes together may hold.
    pub(crate) fn within(
        limits: OutboxLimits,
        account: Account,
        dialect: Option<Arc<dyn Dialect>>,
        pause: Pause,
    ) -> Self {
        Self { account: Some(account), dialect, pause, ..Self::new(limits) }
    }

    /// Queues a message for the target at `position` of the envelope.
    // Called for every copy of every message, and compiled into what calls it.
    #[inline(always)]
    pub(crate) fn push_message(&self, envelope: &Arc<Envelope>, position: u16) -> Pushed {
        // Before the lock: who has it is waited for.
        let translation = self.dialect.as_deref().map(|dialect| envelope.translate(dialect));
        self.push_to(self.state.lock(), Entry::Message(Arc::clone(envelope), position, translation))
    }

    /// The same past the queue, by a datagram, which `send` sends. Whoever has been put out gets none, and it is sent
    /// under the lock, so that none comes behind that. To a client that knows none it goes as a message, and only where
    /// there is plenty of room.
    pub(crate) fn push_datagram<T>(
        &self,
        envelope: &Arc<Envelope>,
        position: u16,
        send: impl FnOnce() -> T,
    ) -> Result<T, Pushed> {
        // Before the lock: who has it is waited for.
        let translation = self.dialect.as_deref().map(|dialect| envelope.translate(dialect));
        let mut state = self.state.lock();
        let takes_nothing = matches!(state.phase, Phase::Finishing | Phase::Ended(_));
        let Some(translation) = translation else {
            return if takes_nothing { Err(Pushed::Ended) } else { Ok(send()) };
        };
        let bytes = envelope.translated_bytes(translation);
        let is_full =
            state.queue.is_half_full(&self.limits) || !state.queue.hold(self.account.as_ref(), bytes);
        // Nothing is closed for it, and nothing makes room.
        if is_full && !takes_nothing {
            return Err(Pushed::Dropped(1));
        }
        Err(self.push_to(state, Entry::Message(Arc::clone(envelope), position, Some(translation))))
    }

    /// Queues a frame of presence, where the queue is at most half full: it takes room from nothing else, and closes
    /// nothing. Tells whether there was room; of what is ending it makes no difference any more.
    pub(crate) fn push_presence(&self, sheet: &Sheet) -> bool {
        // Before the lock: who has it is waited for.
        let bytes = sheet.written(self.dialect.as_deref());
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) {
            return true;
        }
        if state.queue.is_half_full(&self.limits) || !state.queue.hold(self.account.as_ref(), bytes.len()) {
            return false;
        }
        let entry = Entry::Marked(bytes, Some(Box::new(Mark::Presence(sheet.group().clone()))));
        matches!(self.push_to(state, entry), Pushed::Queued | Pushed::Displaced(_))
    }

    /// Throws away the frames of a group's presence that wait.
    pub(crate) fn forget_presence(&self, group: &GroupName) {
        let mut state = self.state.lock();
        state.queue.forget_presence(group);
        if !state.queue.is_half_full(&self.limits) {
            state.wake_session();
        }
    }

    /// Queues an answer or a notice.
    pub fn push_notice(&self, frame: &ServerFrame) -> Pushed {
        match self.notice(frame) {
            Some(entry) => self.push_to(self.state.lock(), entry),
            None => Pushed::Queued,
        }
    }

    /// An answer or a notice as it is queued. `None` where the client is not told of it.
    fn notice(&self, frame: &ServerFrame) -> Option<Entry> {
        let Some(dialect) = &self.dialect else { return Some(Entry::Notice(codec::encode_server(frame))) };
        let bytes = dialect.notice(frame);
        match frame {
            // Kept where nothing is said as well: it is known by it which messages came by this membership.
            ServerFrame::Joined { group, .. } => {
                Some(Entry::Marked(bytes, Some(Box::new(Mark::Joined(group.clone())))))
            }
            _ if bytes.is_empty() => None,
            _ => Some(Entry::Marked(bytes, None)),
        }
    }

    /// A frame as this connection's client reads it. Nothing where the client is not told of it.
    pub fn encode(&self, frame: &ServerFrame) -> Bytes {
        match &self.dialect {
            None => codec::encode_server(frame),
            Some(dialect) => dialect.notice(frame),
        }
    }

    #[inline(always)]
    fn push_to(&self, mut state: MutexGuard<'_, State>, entry: Entry) -> Pushed {
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) {
            return Pushed::Ended;
        }
        let pushed = state.queue.push(entry, &self.limits, self.account.as_ref(), &self.pause);
        // Told apart at once, so that nobody asks again what became of a copy for which there was room.
        if pushed == Pushed::Queued {
            wake_writer(state);
            return Pushed::Queued;
        }
        match pushed {
            Pushed::Displaced(_) => wake_writer(state),
            Pushed::Overflowed => state.end(Some(Code::SlowConsumer.into())),
            Pushed::Queued | Pushed::Dropped(_) | Pushed::Ended => {}
        }
        pushed
    }

    /// Throws away the messages that wait for a target which `lost` says is lost. One that was sent to another target
    /// as well, which `kept` says the recipient still has, stays for that one. Returns how many went.
    ///
    /// What the writer has taken is already on its way, before everything that is queued from now on.
    pub(crate) fn purge(&self, lost: impl Fn(&Target) -> bool, kept: impl Fn(&Target) -> bool) -> u64 {
        let mut state = self.state.lock();
        let purged = state.queue.purge(lost, kept);
        if !state.queue.is_half_full(&self.limits) {
            state.wake_session();
        }
        purged
    }

    /// Tells the session to read no more. Messages from others are still queued.
    pub fn stop_reading(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::ReadingStopped;
            state.wake_session();
        }
    }

    /// Takes nothing more but `last`, has everything written, and lets the writer finish.
    pub fn finish(&self, last: Option<&ServerFrame>) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) {
            return;
        }
        if let Some(entry) = last.and_then(|frame| self.notice(frame)) {
            state.queue.push_last(entry);
        }
        state.phase = Phase::Finishing;
        state.wake_writer();
        state.wake_producers();
    }

    /// Throws away what is queued and tells session and writer to end. The first reason stays.
    pub fn end(&self, reason: CloseReason) {
        self.state.lock().end(Some(reason));
    }

    /// The same, and the client is told when to come back: in so many milliseconds, 0 for never.
    pub(crate) fn end_until(&self, reason: CloseReason, retry_after_ms: u32) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Ended(_)) {
            state.retry_after_ms = Some(retry_after_ms);
            state.end(Some(reason));
        }
    }

    /// After how many milliseconds the client may come back, where somebody chose it.
    pub fn retry_after_ms(&self) -> Option<u32> {
        self.state.lock().retry_after_ms
    }

    /// The same, for a connection that is gone. A session that waits for room reads nothing, and would not notice.
    pub fn lose(&self) {
        self.state.lock().end(None);
    }

    /// Counts bytes that its client has sent and that wait for somebody to take them, in a place of their own. Tells
    /// whether they may wait: not where all connections, the user's or the address's hold as much as they may.
    pub fn keep(&self, stock: &mut Stock, bytes: usize) -> bool {
        let is_kept = stock.hold(self.account.as_ref(), bytes);
        if is_kept {
            stock.bytes += bytes;
        }
        is_kept
    }

    /// So many of those have been taken.
    pub fn taken(&self, stock: &mut Stock, bytes: usize) {
        stock.bytes = stock.bytes.saturating_sub(bytes);
        stock.let_go(self.account.as_ref());
    }

    /// What is in it and went through it.
    pub fn facts(&self) -> OutboxFacts {
        self.state.lock().queue.facts()
    }

    /// Ready when the session has something to do but to read. Only the session may wait for it.
    pub fn poll_signal(&self, context: &mut Context<'_>) -> Poll<Signal> {
        let mut state = self.state.lock();
        if let Some(signal) = state.phase.signal() {
            return Poll::Ready(signal);
        }
        remember(&mut state.session, context);
        Poll::Pending
    }

    /// Whether the queue is at most half full.
    pub fn has_room(&self) -> bool {
        !self.state.lock().queue.is_half_full(&self.limits)
    }

    /// Whether the queue is at most a quarter full.
    pub(crate) fn has_much_room(&self) -> bool {
        self.state.lock().queue.is_at_most_a_quarter_full(&self.limits)
    }

    /// Why the connection ends, if it does.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.state.lock().phase {
            Phase::Ended(reason) => reason.as_deref().cloned(),
            _ => None,
        }
    }

    /// Whether nothing is sent to the client any more, nor anything done for it: it was put out, or is gone.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Ended(_))
    }

    /// Ready when the queue is at most half full (`None`), or when the session has something else to do. A session
    /// waits for it before it takes its client's next request, so that the answers a client asked for never overflow
    /// its own outbox: a client that asks faster than it reads is slowed down by flow control instead.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<Option<Signal>> {
        let mut state = self.state.lock();
        if let Some(signal) = state.phase.signal() {
            return Poll::Ready(Some(signal));
        }
        if !state.queue.is_half_full(&self.limits) {
            return Poll::Ready(None);
        }
        remember(&mut state.session, context);
        Poll::Pending
    }

    /// Queues what the application makes for a client, which [`Outbox::encode`] gave, when the queue is at most half
    /// full; so it never overflows it, however much is made at a time. Like a message it is held back while the hub
    /// delivers nothing. Ready with whether it was queued: not where the queue takes nothing any more. Any number of
    /// tasks may wait.
    pub fn poll_produce(&self, context: &mut Context<'_>, frame: &Bytes) -> Poll<bool> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) {
            return Poll::Ready(false);
        }
        if frame.is_empty() {
            return Poll::Ready(true);
        }
        if state.queue.is_half_full(&self.limits) {
            if !state.producers.iter().any(|waker| waker.will_wake(context.waker())) {
                if state.producers.len() >= MOST_PRODUCERS {
                    // Some have given up waiting, and are not known by that. Those that have not come again.
                    state.wake_producers();
                }
                state.producers.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        let mark = self.pause.cluster().map(|_| Box::new(Mark::Made));
        let entry = match (&self.dialect, mark) {
            (None, None) => Entry::Notice(frame.clone()),
            (_, mark) => Entry::Marked(frame.clone(), mark),
        };
        let pushed = self.push_to(state, entry);
        Poll::Ready(matches!(pushed, Pushed::Queued | Pushed::Displaced(_)))
    }

    /// The next frames, put behind `chunks`, which must be empty. Also says that what was taken before is written.
    pub fn poll_take(&self, context: &mut Context<'_>, chunks: &mut Vec<Bytes>) -> Poll<Taken> {
        let mut state = self.state.lock();
        self.progressed();
        state.written(&self.limits);
        state.queue.let_go(self.account.as_ref());
        if let Phase::Ended(_) = state.phase {
            return Poll::Ready(Taken::Ended);
        }
        if state.queue.is_empty() {
            state.queue.shrink();
            if matches!(state.phase, Phase::Finishing) {
                return Poll::Ready(Taken::Finished);
            }
            if chunks.capacity() > KEPT_CAPACITY {
                *chunks = Vec::new();
            }
            remember(&mut state.writer, context);
            return Poll::Pending;
        }
        if let Some(cluster) = self.pause.cluster() {
            return self.poll_take_unless_held(state, cluster, context, chunks);
        }
        Poll::Ready(Taken::Batch(state.queue.take(chunks, self.dialect.as_deref(), |_| true)))
    }
}

impl State {
    fn written(&mut self, limits: &OutboxLimits) {
        // As often as not the writer comes with empty hands, because it was woken.
        if !self.queue.is_being_written() {
            return;
        }
        let was_full = self.queue.is_half_full(limits);
        self.queue.written();
        if was_full && !self.queue.is_half_full(limits) {
            self.wake_session();
        }
    }

    fn end(&mut self, reason: Option<CloseReason>) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        self.phase = Phase::Ended(reason.map(Box::new));
        self.queue.clear();
        self.wake_writer();
        self.wake_session();
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    #[cold]
    fn wake_session(&mut self) {
        if let Some(waker) = self.session.take() {
            waker.wake();
        }
        self.wake_producers();
    }

    fn wake_producers(&mut self) {
        for waker in std::mem::take(&mut self.producers) {
            waker.wake();
        }
    }
}

/// Lets go of the lock, and has the writer look.
#[inline]
fn wake_writer(mut state: MutexGuard<'_, State>) {
    let writer = state.writer.take();
    drop(state);
    if let Some(writer) = writer {
        writer.wake();
    }
}

fn remember(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
