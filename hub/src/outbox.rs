//! A connection's bounded queue of frames that wait to be written.
//!
//! In: frames, from any task that routes a message, at any time, without waiting. Out: batches of them for the
//! connection's writer, and a signal for its session that reading should stop or that the connection should end.
//!
//! Invariants:
//! - frames leave in the order in which they came (promise 4);
//! - the queue never holds more than its bound of frames or of bytes, and what the writer has taken but not yet written
//!   counts (promise 6). Pushing never waits: at the bound the overflow policy decides, and is counted;
//! - after [`Outbox::end`] nothing is queued any more; after [`Outbox::finish`] only what was queued before is written.

mod limits;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use fanfare_protocol::{Code, GroupName, ServerFrame, Target, codec};

use self::limits::{BATCH_BYTES, BATCH_FRAMES};
pub use self::limits::{OutboxLimits, Overflow};
use crate::budget::{Account, SEND_WINDOW, steps};
use crate::close_reason::CloseReason;
use crate::envelope::Envelope;
use crate::sync::{Mutex, MutexGuard};

/// A queue that once was longer than this gives its memory back when it is empty.
const KEPT_CAPACITY: usize = 32;

enum Entry {
    /// A message, or a run of them, for the target at this position of its envelope. May be dropped.
    Message(Arc<Envelope>, u16),
    /// An answer or a notice. Never dropped.
    Notice(Bytes),
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(envelope, position) => envelope.bytes(*position),
            Self::Notice(bytes) => bytes.len(),
        }
    }

    fn frames(&self) -> usize {
        match self {
            Self::Message(envelope, _) => envelope.frames(),
            Self::Notice(_) => 1,
        }
    }
}

/// What became of a frame that was to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the queue.
    Queued,
    /// It is in the queue, and this many older messages are not any more.
    Displaced(u64),
    /// It is not in the queue, and counts among the messages that were dropped.
    Dropped(u64),
    /// It did not fit, and the connection is being closed for it.
    Overflowed,
    /// The connection is ending; nothing was queued.
    Ended,
}

/// What is in an outbox at one moment, and what went through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxFacts {
    /// Frames that wait, in the writer's hands included.
    pub frames: usize,
    /// The bytes of those.
    pub bytes: usize,
    /// Messages that were queued since the beginning.
    pub messages: u64,
    /// Messages that were dropped since the beginning, or not even queued.
    pub dropped: u64,
}

/// What the session must do, when it must do anything: [`Outbox::poll_signal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Read no more requests: the server is draining.
    StopReading,
    /// Close the connection at once, for this reason.
    End(CloseReason),
    /// The connection is gone.
    Lost,
}

/// What QUIC keeps for a peer, of [`Outbox::hold_window`]: counted until this is dropped, where there was room to count
/// it.
pub struct Window<'a> {
    account: Option<&'a Account>,
    uncounted: &'a AtomicBool,
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        match self.account {
            Some(account) => account.give_back(SEND_WINDOW),
            None => self.uncounted.store(false, Ordering::Relaxed),
        }
    }
}

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
enum Phase {
    #[default]
    Open,
    /// The server drains: the session reads no more.
    ReadingStopped,
    /// What is queued is written, and nothing more is taken.
    Finishing,
    /// Nothing is queued any more. Without an ending the connection is gone, and there is nobody to tell.
    Ended(Option<CloseReason>),
}

impl Phase {
    fn signal(&self) -> Option<Signal> {
        match self {
            Self::Open => None,
            Self::ReadingStopped | Self::Finishing => Some(Signal::StopReading),
            Self::Ended(Some(reason)) => Some(Signal::End(reason.clone())),
            Self::Ended(None) => Some(Signal::Lost),
        }
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Entry>,
    /// Frames and bytes in the queue and in the writer's hands.
    frames: usize,
    bytes: usize,
    /// The part of those that is in the writer's hands.
    writing_frames: usize,
    writing_bytes: usize,
    /// What the account has given for them.
    held: usize,
    /// What `progress` was at the last look, and how many looks ago it was something else while something was being
    /// written.
    looked_at: (u64, u32),
    /// Messages dropped since the client was last told.
    dropped: u64,
    /// Messages queued and messages dropped since the beginning.
    messages: u64,
    dropped_in_all: u64,
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
/// [`Taken::Finished`] or [`Taken::Ended`]. The end is brought about by [`Outbox::finish`], which has everything written
/// first, [`Outbox::end`], which throws away what waits, or [`Outbox::lose`], where nobody is left to be told.
pub struct Outbox {
    limits: OutboxLimits,
    /// What all outboxes share. None where there is one alone, in tests.
    account: Option<Account>,
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
            state: Mutex::new(State::default()),
            overdue: AtomicBool::new(false),
            uncounted: AtomicBool::new(false),
            progress: AtomicU64::new(0),
        }
    }

    /// The same, within what all outboxes together may hold.
    pub(crate) fn within(limits: OutboxLimits, account: Account) -> Self {
        Self { account: Some(account), ..Self::new(limits) }
    }

    /// Queues a message for the target at `position` of the envelope.
    pub(crate) fn push_message(&self, envelope: &Arc<Envelope>, position: u16) -> Pushed {
        self.push(Entry::Message(Arc::clone(envelope), position))
    }

    /// Queues an answer or a notice.
    pub fn push_notice(&self, frame: &ServerFrame) -> Pushed {
        self.push(Entry::Notice(codec::encode_server(frame)))
    }

    fn push(&self, entry: Entry) -> Pushed {
        self.push_to(self.state.lock(), entry)
    }

    fn push_to(&self, mut state: MutexGuard<'_, State>, entry: Entry) -> Pushed {
        let (frames, bytes) = (entry.frames(), entry.bytes());
        let messages = if matches!(entry, Entry::Message(..)) { frames as u64 } else { 0 };
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) {
            return Pushed::Ended;
        }
        let mut displaced = 0;
        while state.frames + frames > self.limits.frames
            || state.bytes + bytes > self.limits.bytes
            || !state.hold(self.account.as_ref(), bytes)
        {
            if self.limits.overflow == Overflow::DropOldest {
                let dropped = state.drop_oldest_message();
                displaced += dropped;
                if dropped > 0 {
                    continue;
                }
                if messages > 0 {
                    // All that is older is in the writer's hands, or must not be dropped.
                    state.dropped += messages;
                    state.dropped_in_all += messages;
                    return Pushed::Dropped(displaced + messages);
                }
            }
            state.end(Some(Code::SlowConsumer.into()));
            return Pushed::Overflowed;
        }
        state.frames += frames;
        state.bytes += bytes;
        state.messages += messages;
        state.queue.push_back(entry);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if displaced == 0 { Pushed::Queued } else { Pushed::Displaced(displaced) }
    }

    /// Throws away the messages that wait for a target which `lost` says is lost. One that was sent to another target
    /// as well, which `kept` says the recipient still has, stays for that one. Returns how many went.
    ///
    /// What the writer has taken is already on its way, before everything that is queued from now on.
    pub(crate) fn purge(&self, lost: impl Fn(&Target) -> bool, kept: impl Fn(&Target) -> bool) -> u64 {
        let mut state = self.state.lock();
        let State { queue, frames, bytes, .. } = &mut *state;
        let (mut purged, mut gone) = (0, Vec::new());
        // From the back: a group that was joined behind a message did not bring that message.
        let mut joined_behind = Vec::new();
        for (at, entry) in queue.iter_mut().enumerate().rev() {
            match entry {
                Entry::Notice(notice) => joined_behind.extend(joined(notice)),
                Entry::Message(envelope, position) if envelope.target(*position).is_some_and(&lost) => {
                    let other = |target: &Target| {
                        kept(target)
                            && !matches!(target, Target::Group(group) if joined_behind.contains(group))
                    };
                    let before = envelope.bytes(*position);
                    *bytes -= before;
                    match envelope.targets().find(|(_, target)| other(target)) {
                        Some((other, _)) => {
                            *position = other;
                            *bytes += envelope.bytes(other);
                        }
                        None => {
                            *frames -= envelope.frames();
                            purged += envelope.frames() as u64;
                            gone.push(at);
                        }
                    }
                }
                Entry::Message(..) => {}
            }
        }
        // `gone` counts down.
        let mut at = 0;
        queue.retain(|_| {
            let stays = gone.last() != Some(&at);
            if !stays {
                gone.pop();
            }
            at += 1;
            stays
        });
        if !state.is_half_full(&self.limits) {
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
        if let Some(frame) = last {
            // One frame above the bound, once: the last word is not what makes a client slow.
            let entry = Entry::Notice(codec::encode_server(frame));
            state.frames += 1;
            state.bytes += entry.bytes();
            state.queue.push_back(entry);
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

    /// Tells the writer to wait no longer for what it is writing, and to break the stream off with this code.
    pub fn hurry(&self, code: Code) {
        let hurried = {
            let mut state = self.state.lock();
            state.break_off = Some(code);
            self.overdue.store(true, Ordering::Relaxed);
            state.hurried.take()
        };
        if let Some(writer) = hurried {
            writer.wake();
        }
    }

    /// Remembers the writer's task, for [`Outbox::hurry`].
    pub fn remember_writer(&self, waker: &Waker) {
        self.state.lock().hurried = Some(waker.clone());
    }

    /// What the stream is to be broken off with.
    pub fn break_off(&self) -> Option<Code> {
        self.state.lock().break_off
    }

    /// Whether the writer is to wait no longer. Asked at every turn of the writer, so it takes no lock.
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// The peer has taken something. For the writer.
    pub fn progressed(&self) {
        // It alone writes it, so nothing gets lost between the two.
        self.progress.store(self.progress.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// For how many looks in a row the peer has taken nothing of what is being written.
    pub fn look(&self) -> u32 {
        let progress = self.progress.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        let (before, stalled) = state.looked_at;
        let stalled = if state.writing_bytes == 0 || before != progress { 0 } else { stalled + 1 };
        state.looked_at = (progress, stalled);
        stalled
    }

    /// Counts what QUIC keeps for a peer that takes no more at the moment, until the writer goes on. Where there is
    /// no room for that it is not counted, and the connection goes on: it may be one that reads, and others do not.
    /// Then room is short, and those who take nothing go soon.
    pub fn hold_window(&self) -> Window<'_> {
        let account = self.account.as_ref().filter(|account| account.take_window());
        self.uncounted.store(account.is_none() && self.account.is_some(), Ordering::Relaxed);
        Window { account, uncounted: &self.uncounted }
    }

    /// Whether more is kept for the peer than there is room for.
    pub fn is_uncounted(&self) -> bool {
        self.uncounted.load(Ordering::Relaxed)
    }

    /// What is in it and went through it.
    pub fn facts(&self) -> OutboxFacts {
        let state = self.state.lock();
        OutboxFacts {
            frames: state.frames,
            bytes: state.bytes,
            messages: state.messages,
            dropped: state.dropped_in_all,
        }
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
        !self.state.lock().is_half_full(&self.limits)
    }

    /// Why the connection ends, if it does.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.state.lock().phase {
            Phase::Ended(reason) => reason.clone(),
            _ => None,
        }
    }

    /// Ready when the queue is at most half full (`None`), or when the session has something else to do. A session
    /// waits for it before it takes its client's next request, so that the answers a client asked for never overflow
    /// its own outbox: a client that asks faster than it reads is slowed down by flow control instead.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<Option<Signal>> {
        let mut state = self.state.lock();
        if let Some(signal) = state.phase.signal() {
            return Poll::Ready(Some(signal));
        }
        if !state.is_half_full(&self.limits) {
            return Poll::Ready(None);
        }
        remember(&mut state.session, context);
        Poll::Pending
    }

    /// Queues what the application makes for a client, when the queue is at most half full; so it never overflows it,
    /// however much is made at a time. Ready with whether it was queued: not where the queue takes nothing any more. Any
    /// number of tasks may wait.
    pub fn poll_produce(&self, context: &mut Context<'_>, frame: &Bytes) -> Poll<bool> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) {
            return Poll::Ready(false);
        }
        if state.is_half_full(&self.limits) {
            if !state.producers.iter().any(|waker| waker.will_wake(context.waker())) {
                state.producers.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        let pushed = self.push_to(state, Entry::Notice(frame.clone()));
        Poll::Ready(matches!(pushed, Pushed::Queued | Pushed::Displaced(_)))
    }

    /// The next frames, put behind `chunks`, which must be empty. Also says that what was taken before is written.
    pub fn poll_take(&self, context: &mut Context<'_>, chunks: &mut Vec<Bytes>) -> Poll<Taken> {
        let mut state = self.state.lock();
        self.progressed();
        state.written(&self.limits);
        state.let_go(self.account.as_ref());
        if let Phase::Ended(_) = state.phase {
            return Poll::Ready(Taken::Ended);
        }
        if state.queue.is_empty() {
            if state.queue.capacity() > KEPT_CAPACITY {
                state.queue = VecDeque::new();
            }
            if matches!(state.phase, Phase::Finishing) {
                return Poll::Ready(Taken::Finished);
            }
            if chunks.capacity() > KEPT_CAPACITY {
                *chunks = Vec::new();
            }
            remember(&mut state.writer, context);
            return Poll::Pending;
        }
        Poll::Ready(Taken::Batch(state.take(chunks)))
    }
}

impl State {
    fn written(&mut self, limits: &OutboxLimits) {
        let was_full = self.is_half_full(limits);
        self.frames -= std::mem::take(&mut self.writing_frames);
        self.bytes -= std::mem::take(&mut self.writing_bytes);
        if was_full && !self.is_half_full(limits) {
            self.wake_session();
        }
    }

    /// Takes from the account what `more` bytes need. Tells whether they may wait.
    fn hold(&mut self, account: Option<&Account>, more: usize) -> bool {
        let needed = steps(self.bytes + more);
        let Some(account) = account.filter(|_| needed > self.held) else { return true };
        let taken = account.take(needed - self.held);
        if taken {
            self.held = needed;
        }
        taken
    }

    /// Gives back what is not needed, where it is more than what is: less than that comes again.
    fn let_go(&mut self, account: Option<&Account>) {
        let needed = steps(self.bytes);
        if let Some(account) = account
            && self.held > needed.saturating_mul(2)
        {
            account.give_back(self.held - needed);
            self.held = needed;
        }
    }

    fn is_half_full(&self, limits: &OutboxLimits) -> bool {
        self.frames > limits.frames / 2 || self.bytes > limits.bytes / 2
    }

    fn take(&mut self, chunks: &mut Vec<Bytes>) -> Option<Instant> {
        let mut accepted = None;
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            chunks.push(codec::encode_server(&ServerFrame::Lagged { dropped }));
        }
        while self.writing_frames < BATCH_FRAMES && self.writing_bytes < BATCH_BYTES {
            let Some(entry) = self.queue.pop_front() else { break };
            self.writing_frames += entry.frames();
            self.writing_bytes += entry.bytes();
            match entry {
                Entry::Message(envelope, position) => {
                    accepted.get_or_insert(envelope.accepted());
                    envelope.write(position, chunks);
                }
                Entry::Notice(bytes) => chunks.push(bytes),
            }
        }
        accepted
    }

    /// Takes the oldest message out, or the oldest run of them. Returns how many went.
    fn drop_oldest_message(&mut self) -> u64 {
        let at = self.queue.iter().position(|entry| matches!(entry, Entry::Message(..)));
        let Some(entry) = at.and_then(|at| self.queue.remove(at)) else { return 0 };
        self.frames -= entry.frames();
        self.bytes -= entry.bytes();
        self.dropped += entry.frames() as u64;
        self.dropped_in_all += entry.frames() as u64;
        entry.frames() as u64
    }

    fn end(&mut self, reason: Option<CloseReason>) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        self.phase = Phase::Ended(reason);
        self.queue = VecDeque::new();
        self.frames = self.writing_frames;
        self.bytes = self.writing_bytes;
        self.wake_writer();
        self.wake_session();
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

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

/// The group of a `Joined` notice.
fn joined(notice: &Bytes) -> Option<GroupName> {
    match codec::decode_server(&notice.slice(codec::PREFIX_BYTES..)) {
        Ok(ServerFrame::Joined { group, .. }) => Some(group),
        _ => None,
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
