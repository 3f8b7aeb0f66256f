//! The frames that wait for one connection, counted, and the rule for when there are too many of them.
//!
//! In: messages and notices, one after the other; targets that are lost; that what was taken is written. Out: batches,
//! and what became of each frame. All of it happens under the outbox's lock, and nobody is woken from here.
//!
//! Invariants:
//! - frames leave in the order in which they came;
//! - there are never more frames or bytes than the limits and the account allow, what was taken and is not yet written
//!   included, but for [one last word](Queue::push_last), or one that says nothing. What does not fit is decided by the
//!   overflow policy, and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fanfare_protocol::{GroupName, ServerFrame, Target, codec};

use super::limits::{BATCH_BYTES, BATCH_FRAMES, KEPT_CAPACITY, OutboxLimits, Overflow};
use super::pause::Pause;
use crate::budget::Account;
use crate::cluster::Proof;
use crate::dialect::{Dialect, Translation};
use crate::envelope::Envelope;
use crate::stock::Stock;

/// What waits.
pub(super) enum Entry {
    /// A message, or a run of them, for the target at this position of its envelope, as a frame or in a translation.
    /// May be dropped.
    Message(Arc<Envelope>, u16, Option<Translation>),
    /// An answer or a notice, as a frame. Never dropped.
    Notice(Bytes),
    /// The same in a translation, or of a kind of its own. May say nothing.
    // No variant more: what every message goes through would be longer by it (bench/instructions).
    Marked(Bytes, Option<Box<Mark>>),
}

/// What kind a notice is of.
pub(super) enum Mark {
    /// `Joined`, of this group, in a translation.
    Joined(GroupName),
    /// A frame of this group's presence: thrown away with what else waits of it.
    Presence(GroupName),
    /// What the application makes for the client.
    Made,
    /// What the client is told before everything else.
    First,
    /// Nothing: what is behind it waits until this is settled.
    Barrier(Arc<Proof>),
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(envelope, position, None) => envelope.bytes(*position),
            Self::Message(envelope, _, Some(translation)) => envelope.translated_bytes(*translation),
            Self::Notice(bytes) | Self::Marked(bytes, _) => bytes.len(),
        }
    }

    fn frames(&self) -> usize {
        match self {
            Self::Message(envelope, ..) => envelope.frames(),
            Self::Notice(_) | Self::Marked(..) => 1,
        }
    }

    /// What is to be settled before it and everything behind it may go.
    pub(super) fn barrier(&self) -> Option<&Proof> {
        match self {
            Self::Marked(_, Some(mark)) => match &**mark {
                Mark::Barrier(proof) => Some(proof),
                Mark::Joined(_) | Mark::Presence(_) | Mark::Made | Mark::First => None,
            },
            Self::Marked(_, None) | Self::Notice(_) | Self::Message(..) => None,
        }
    }

    /// Whether it may be handed to a transport. A ban may forbid what others say, who is there, and what the
    /// application makes for whoever is in; it forbids no answer of the server's own.
    pub(super) fn may_go(&self, delivers: bool) -> bool {
        match self {
            Self::Marked(_, Some(mark)) => match &**mark {
                Mark::Barrier(proof) => proof.is_settled(),
                Mark::Presence(_) | Mark::Made => delivers,
                Mark::Joined(_) | Mark::First => true,
            },
            Self::Marked(_, None) | Self::Notice(_) => true,
            Self::Message(..) => delivers,
        }
    }

    /// How many of its frames are messages.
    fn messages(&self) -> u64 {
        match self {
            Self::Message(envelope, ..) => envelope.frames() as u64,
            Self::Notice(_) | Self::Marked(..) => 0,
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

/// What waits for one connection.
#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Frames and bytes in the queue and in the writer's hands.
    frames: usize,
    stock: Stock,
    /// The part of those that is in the writer's hands.
    writing_frames: usize,
    writing_bytes: usize,
    /// Messages dropped since the client was last told.
    dropped: u64,
    /// Messages queued and messages dropped since the beginning.
    messages: u64,
    dropped_in_all: u64,
    /// How many times the writer has to take something until it is this client's own doing that the queue is full: more
    /// than none where it was held back.
    holds: u8,
}

impl Queue {
    /// Takes an entry in, if it fits or can be made to. Whoever gets [`Pushed::Overflowed`] ends the connection.
    // Called for every copy of every message, and compiled into what calls it.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        entry: Entry,
        limits: &OutboxLimits,
        account: Option<&Account>,
        pause: &Pause,
    ) -> Pushed {
        let (frames, bytes) = (entry.frames(), entry.bytes());
        if !self.fits(frames, bytes, limits, account) {
            return self.push_where_full(entry, limits, account, pause);
        }
        self.put(entry, frames, bytes);
        Pushed::Queued
    }

    /// The same, where room has to be made first.
    #[cold]
    fn push_where_full(
        &mut self,
        entry: Entry,
        limits: &OutboxLimits,
        account: Option<&Account>,
        pause: &Pause,
    ) -> Pushed {
        let (frames, bytes, messages) = (entry.frames(), entry.bytes(), entry.messages());
        // In another protocol a message may be longer than all that may wait, which no reading makes good: it is
        // missed, and told of with what comes next.
        if bytes > limits.bytes && matches!(entry, Entry::Message(_, _, Some(_))) {
            self.dropped += messages;
            self.dropped_in_all += messages;
            return Pushed::Dropped(messages);
        }
        // It is not the client that is slow where it is given nothing.
        let overflow = if self.is_held_back(pause) { Overflow::DropOldest } else { limits.overflow };
        let mut displaced = 0;
        while !self.fits(frames, bytes, limits, account) {
            match overflow {
                Overflow::Disconnect => return Pushed::Overflowed,
                Overflow::DropOldest => match self.drop_oldest_message() {
                    // An answer or a notice, and nothing that may go for it.
                    0 if messages == 0 => return Pushed::Overflowed,
                    0 => {
                        // All that is older is in the writer's hands, or must not be dropped.
                        self.dropped += messages;
                        self.dropped_in_all += messages;
                        return Pushed::Dropped(displaced + messages);
                    }
                    dropped => displaced += dropped,
                },
            }
        }
        self.put(entry, frames, bytes);
        if displaced == 0 { Pushed::Queued } else { Pushed::Displaced(displaced) }
    }

    fn is_held_back(&self, pause: &Pause) -> bool {
        let is_waited_for = |entry: &Entry| entry.barrier().is_some_and(|proof| !proof.is_settled());
        pause.cluster().is_some_and(|cluster| {
            self.holds > 0 || !cluster.delivers() || self.entries.iter().any(is_waited_for)
        })
    }

    /// Whether so much more may wait. What the account has to give for it, it has given then.
    #[inline(always)]
    fn fits(
        &mut self,
        frames: usize,
        bytes: usize,
        limits: &OutboxLimits,
        account: Option<&Account>,
    ) -> bool {
        self.frames + frames <= limits.frames
            && self.stock.bytes + bytes <= limits.bytes
            && self.stock.hold(account, bytes)
    }

    #[inline(always)]
    fn put(&mut self, entry: Entry, frames: usize, bytes: usize) {
        self.frames += frames;
        self.stock.bytes += bytes;
        self.messages += entry.messages();
        self.entries.push_back(entry);
    }

    /// One frame above the bound, once: what is said for the server's sake is not what makes a client slow.
    pub(super) fn push_last(&mut self, entry: Entry) {
        self.frames += 1;
        self.stock.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Throws away the messages that wait for a target which `lost` says is lost. One that was sent to another target
    /// as well, which `kept` says the recipient still has, stays for that one. Returns how many went.
    pub(super) fn purge(&mut self, lost: impl Fn(&Target) -> bool, kept: impl Fn(&Target) -> bool) -> u64 {
        let Self { entries, frames, stock: Stock { bytes, .. }, .. } = self;
        let (mut purged, mut gone) = (0, Vec::new());
        // From the back: a group that was joined behind a message did not bring that message.
        let mut joined_behind = Vec::new();
        for (at, entry) in entries.iter_mut().enumerate().rev() {
            match entry {
                Entry::Notice(notice) => joined_behind.extend(joined(notice)),
                Entry::Marked(_, Some(mark)) => {
                    if let Mark::Joined(group) = &**mark {
                        joined_behind.push(group.clone());
                    }
                }
                Entry::Message(envelope, position, translation)
                    if envelope.target(*position).is_some_and(&lost) =>
                {
                    let other = |target: &Target| {
                        kept(target)
                            && !matches!(target, Target::Group(group) if joined_behind.contains(group))
                    };
                    let translation = *translation;
                    let size = |position| match translation {
                        None => envelope.bytes(position),
                        Some(translation) => envelope.translated_bytes(translation),
                    };
                    *bytes -= size(*position);
                    match envelope.targets().find(|(_, target)| other(target)) {
                        Some((other, _)) => {
                            *position = other;
                            *bytes += size(other);
                        }
                        None => {
                            *frames -= envelope.frames();
                            purged += envelope.frames() as u64;
                            gone.push(at);
                        }
                    }
                }
                Entry::Message(..) | Entry::Marked(_, None) => {}
            }
        }
        // `gone` counts down.
        let mut at = 0;
        entries.retain(|_| {
            let stays = gone.last() != Some(&at);
            if !stays {
                gone.pop();
            }
            at += 1;
            stays
        });
        purged
    }

    /// Throws away the frames of a group's presence that wait.
    pub(super) fn forget_presence(&mut self, of: &GroupName) {
        let Self { entries, frames, stock: Stock { bytes, .. }, .. } = self;
        entries.retain(|entry| {
            let is_of = |mark: &Mark| matches!(mark, Mark::Presence(group) if group == of);
            let stays = !matches!(entry, Entry::Marked(_, Some(mark)) if is_of(mark));
            if !stays {
                *frames -= entry.frames();
                *bytes -= entry.bytes();
            }
            stays
        });
        self.have_it_told();
    }

    /// The next batch, put behind `chunks`, up to what may not go, which is not what is next; and when the first
    /// message in it was accepted, if there is one.
    pub(super) fn take(
        &mut self,
        chunks: &mut Vec<Bytes>,
        dialect: Option<&dyn Dialect>,
        may_go: impl Fn(&Entry) -> bool,
    ) -> Option<Instant> {
        let mut accepted = None;
        if self.dropped > 0 {
            if self.take_first(chunks) {
                return None;
            }
            let dropped = std::mem::take(&mut self.dropped);
            let lagged = ServerFrame::Lagged { dropped };
            chunks.push(match dialect {
                None => codec::encode_server(&lagged),
                Some(dialect) => dialect.notice(&lagged),
            });
        }
        let (mut frames, mut bytes) = (0, 0);
        while let Some(entry) = self.entries.pop_front() {
            frames += entry.frames();
            bytes += entry.bytes();
            match entry {
                Entry::Message(envelope, position, translation) => {
                    accepted.get_or_insert(envelope.accepted());
                    match translation {
                        None => envelope.write(position, chunks),
                        Some(translation) => chunks.push(envelope.translated(translation)),
                    }
                }
                Entry::Notice(bytes) => chunks.push(bytes),
                Entry::Marked(bytes, mark) => {
                    forget(mark);
                    chunks.extend(Some(bytes).filter(|bytes| !bytes.is_empty()));
                }
            }
            let is_next_held = self.entries.front().is_some_and(|next| !may_go(next));
            if frames >= BATCH_FRAMES || bytes >= BATCH_BYTES || is_next_held {
                break;
            }
        }
        self.writing_frames += frames;
        self.writing_bytes += bytes;
        accepted
    }

    /// The first frame alone, where it was not taken yet: nothing may be told before it.
    #[cold]
    fn take_first(&mut self, chunks: &mut Vec<Bytes>) -> bool {
        let is_first =
            |entry: &Entry| matches!(entry, Entry::Marked(_, Some(mark)) if matches!(**mark, Mark::First));
        // What it had to wait for may be in front of it.
        let Some(at) = self.entries.iter().take(2).position(is_first) else { return false };
        for entry in self.entries.drain(..=at) {
            self.writing_frames += entry.frames();
            self.writing_bytes += entry.bytes();
            if let Entry::Marked(bytes, _) = entry
                && !bytes.is_empty()
            {
                chunks.push(bytes);
            }
        }
        self.have_it_told();
        true
    }

    /// The writer was given nothing, because what is next may not go.
    pub(super) fn held(&mut self) {
        // What it takes first counts until it is written, which is when it comes again.
        self.holds = 2;
    }

    /// The writer is given something.
    pub(super) fn given(&mut self) {
        self.holds = self.holds.saturating_sub(1);
    }

    /// Throws away what is held back, for good: nothing follows but notices.
    pub(super) fn give_up(&mut self) {
        let Self { entries, frames, stock, dropped, dropped_in_all, .. } = self;
        entries.retain(|entry| {
            let stays = entry.may_go(false);
            if !stays {
                *frames -= entry.frames();
                stock.bytes -= entry.bytes();
                *dropped += entry.messages();
                *dropped_in_all += entry.messages();
            }
            stays
        });
    }

    /// So many messages may have been lost before they came here.
    pub(super) fn lag(&mut self, missed: u64) {
        self.dropped = self.dropped.saturating_add(missed);
        self.have_it_told();
    }

    /// Where something is to be told of what was dropped, and there is nothing to tell it with, there is a frame that
    /// says nothing, so that the writer finds something.
    fn have_it_told(&mut self) {
        if self.dropped > 0 && self.is_empty() {
            self.push_last(Entry::Marked(Bytes::new(), None));
        }
    }

    /// What is next.
    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// What was taken is written.
    pub(super) fn written(&mut self) {
        self.frames -= std::mem::take(&mut self.writing_frames);
        self.stock.bytes -= std::mem::take(&mut self.writing_bytes);
    }

    /// Throws away everything that is not in the writer's hands.
    pub(super) fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.frames = self.writing_frames;
        self.stock.bytes = self.writing_bytes;
    }

    /// Whether the account has room for so much more.
    pub(super) fn hold(&mut self, account: Option<&Account>, more: usize) -> bool {
        self.stock.hold(account, more)
    }

    /// Gives back to the account what is not needed any more.
    #[inline(always)]
    pub(super) fn let_go(&mut self, account: Option<&Account>) {
        self.stock.let_go(account);
    }

    /// Gives memory back, where there once was much in it. For one that is empty.
    pub(super) fn shrink(&mut self) {
        if self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
    }

    /// Takes the oldest message out, or the oldest run of them. Returns how many went.
    fn drop_oldest_message(&mut self) -> u64 {
        let at = self.entries.iter().position(|entry| matches!(entry, Entry::Message(..)));
        let Some(entry) = at.and_then(|at| self.entries.remove(at)) else { return 0 };
        self.frames -= entry.frames();
        self.stock.bytes -= entry.bytes();
        self.dropped += entry.frames() as u64;
        self.dropped_in_all += entry.frames() as u64;
        entry.frames() as u64
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_at_most_a_quarter_full(&self, limits: &OutboxLimits) -> bool {
        self.frames <= limits.frames / 4 && self.stock.bytes <= limits.bytes / 4
    }

    pub(super) fn is_half_full(&self, limits: &OutboxLimits) -> bool {
        self.frames > limits.frames / 2 || self.stock.bytes > limits.bytes / 2
    }

    /// Whether something of it is in the writer's hands.
    pub(super) fn is_being_written(&self) -> bool {
        self.writing_frames > 0
    }

    /// What is in it and went through it.
    pub(super) fn facts(&self) -> OutboxFacts {
        OutboxFacts {
            frames: self.frames,
            bytes: self.stock.bytes,
            messages: self.messages,
            dropped: self.dropped_in_all,
        }
    }

    /// The memory that it has.
    #[cfg(all(test, not(feature = "model")))]
    pub(super) fn memory(&mut self) -> &mut VecDeque<Entry> {
        &mut self.entries
    }
}

/// Apart, so that what every message goes through is not longer by it (bench/instructions).
#[inline(never)]
fn forget(_: Option<Box<Mark>>) {}

/// The group of a `Joined` notice.
fn joined(notice: &Bytes) -> Option<GroupName> {
    match codec::decode_server(&notice.slice(codec::PREFIX_BYTES..)) {
        Ok(ServerFrame::Joined { group, .. }) => Some(group),
        _ => None,
    }
}
