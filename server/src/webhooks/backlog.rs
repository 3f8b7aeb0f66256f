//! What one end point is still to be told: in memory as much as may be sent soon, the rest on the disk.
//!
//! In: events, and which of them are done. Out: the [`Queue`] that is sent from, and the file. Invariants: what waits
//! is bounded, in memory and on the disk; what finds no room or is given up is counted, and told as
//! [`lost`](crate::WebhookEvent::Lost); events come into the queue in the order of their numbers; one thing at a time
//! is asked of the disk, on a thread that may wait. Where the disk fails, what is in memory goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::event::{Event, Numbered, now_ms};
use super::outgoing::{Inbox, Outgoing};
use super::queue::Queue;
use super::spool::{Changes, Spool, SpoolError};
use crate::webhook::{Webhook, WebhookEvent};

/// How long an event may wait before it is written to the disk.
const UNWRITTEN: Duration = Duration::from_millis(50);

/// How many events may be in memory because they are not written yet: a disk is seldom behind by so many.
const MOST_UNWRITTEN: usize = 65_536;

/// How long a disk that fails is left alone.
const DISK_PAUSE: Duration = Duration::from_secs(1);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What was asked of the disk.
pub(super) enum Disk {
    Committed(Changes, Result<(), SpoolError>),
    Loaded(Result<Vec<Numbered>, SpoolError>),
}

/// What one end point is still to be told.
pub(super) struct Backlog {
    outgoing: Arc<Outgoing>,
    spool: Option<Arc<Spool>>,
    pub(super) queue: Queue,
    /// The number of the next event.
    next: u64,
    /// The highest number that has been in the queue.
    queued: u64,
    /// How many events have higher ones.
    beyond: u64,
    /// Of those, how many are in the file.
    written: u64,
    /// What the file does not say yet.
    changes: Changes,
    /// Since when that is so.
    changed: Option<Instant>,
    /// The disk is left alone until then.
    not_before: Option<Instant>,
    /// Whether the last that was asked of the disk was to read.
    has_read: bool,
    disk: Option<JoinHandle<Disk>>,
    /// Lost, and not told yet.
    lost: u64,
}

impl Backlog {
    /// With what waits on the disk, of which the first number to be given is `next`.
    pub(super) fn new(outgoing: Arc<Outgoing>, spool: Option<Spool>, next: u64, waiting: u64) -> Self {
        Self {
            outgoing,
            spool: spool.map(Arc::new),
            queue: Queue::default(),
            next,
            queued: 0,
            beyond: waiting,
            written: waiting,
            changes: Changes::default(),
            changed: None,
            not_before: None,
            has_read: false,
            disk: None,
            lost: 0,
        }
    }

    /// How many events wait.
    pub(super) fn len(&self) -> u64 {
        self.queue.len() as u64 + self.beyond
    }

    /// Whether nothing is to be told any more.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.lost == 0
    }

    /// Numbers what there is to tell.
    pub(super) fn accept(&mut self) {
        let Inbox { events, lost } = self.outgoing.take();
        let reached = self.outgoing.reached();
        let webhook = &reached.webhook;
        self.lose(lost, "there were too many at a time");
        for event in events {
            if self.has_room(webhook) {
                self.number(event, webhook);
            } else {
                self.lose(1, "as many wait as may wait");
            }
        }
        // Where much has been lost, more will be soon: it is told when there is room, and not in the place of others.
        if self.lost > 0 && self.len() <= self.most(webhook) / 2 {
            self.tell_lost(webhook);
        }
    }

    fn lose(&mut self, events: u64, why: &'static str) {
        self.outgoing.facts.lost(events, &self.outgoing.reached().webhook, why);
        self.lost += events;
    }

    fn tell_lost(&mut self, webhook: &Webhook) {
        let lost = std::mem::take(&mut self.lost);
        self.number(Event::lost(lost), webhook);
    }

    /// How many may wait.
    fn most(&self, webhook: &Webhook) -> u64 {
        if self.spool.is_some() { webhook.waiting_on_disk } else { webhook.waiting_in_memory as u64 }
    }

    /// How many events the queue takes. Those that are held back by themselves have as much room again, so that others
    /// pass them.
    fn space(&self, webhook: &Webhook) -> usize {
        let most = webhook.waiting_in_memory;
        let moving = most.saturating_sub(self.queue.len() - self.queue.held_back());
        moving.min((2 * most).saturating_sub(self.queue.len()))
    }

    fn has_room(&self, webhook: &Webhook) -> bool {
        match &self.spool {
            None => self.space(webhook) > 0,
            Some(_) => self.changes.added.len() < MOST_UNWRITTEN && self.len() < webhook.waiting_on_disk,
        }
    }

    fn number(&mut self, event: Event, webhook: &Webhook) {
        let numbered = Arc::new(Numbered { epoch: self.outgoing.epoch, sequence: self.next, event });
        self.next += 1;
        if self.spool.is_some() {
            self.changes.added.insert(numbered.sequence, Arc::clone(&numbered));
            self.changed.get_or_insert_with(Instant::now);
        }
        if self.beyond == 0 && (self.spool.is_none() || self.space(webhook) > 0) {
            self.queued = numbered.sequence;
            self.queue.push(numbered);
        } else {
            self.beyond += 1;
        }
    }

    /// These are done: they were taken.
    pub(super) fn done(&mut self, events: &[Arc<Numbered>]) {
        for event in events {
            // What was never written needs not be removed.
            if self.changes.added.remove(&event.sequence).is_none() && self.spool.is_some() {
                self.changes.removed.insert(event.sequence);
                self.changed.get_or_insert_with(Instant::now);
            }
        }
        if self.changes.is_empty() {
            self.changed = None;
        }
    }

    /// These are done: they are given up.
    pub(super) fn give_up(&mut self, events: &[Arc<Numbered>]) {
        // What says that events are lost, stands for them.
        let lost = events.iter().map(|event| match event.event.kind {
            WebhookEvent::Lost => event.event.events.unwrap_or(0),
            _ => 1,
        });
        let (all, new) =
            (lost.sum::<u64>(), events.iter().filter(|event| event.event.kind != WebhookEvent::Lost));
        let new = new.count() as u64;
        self.lose(new, "the back end did not take them in time");
        self.lost += all - new;
        self.done(events);
    }

    /// When something is to be asked of the disk.
    pub(super) fn wakes(&self) -> Option<Instant> {
        if self.disk.is_some() {
            return None;
        }
        let writes = self.changed.map(|since| since + UNWRITTEN);
        writes.map(|writes| self.not_before.map_or(writes, |not_before| writes.max(not_before)))
    }

    /// Fills the queue from what is not written, or asks the disk for something: to read what the queue has room for,
    /// or to write what has changed, in turns.
    pub(super) fn use_disk(&mut self) {
        let Some(spool) = self.spool.as_ref().filter(|_| self.disk.is_none()).map(Arc::clone) else { return };
        let reached = self.outgoing.reached();
        let space = self.space(&reached.webhook);
        let wants_more = self.beyond > 0 && space > reached.webhook.waiting_in_memory / 2;
        // What is behind the queue on the disk comes before what is not written.
        if wants_more && self.written == 0 {
            let unwritten = self.changes.added.range(self.queued + 1..).take(space);
            let unwritten: Vec<_> = unwritten.map(|(_, event)| Arc::clone(event)).collect();
            self.beyond -= (unwritten.len() as u64).min(self.beyond);
            self.take_in(unwritten);
        }
        if self.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return;
        }
        let is_due = self.wakes().is_some_and(|at| Instant::now() >= at);
        let reads = wants_more && self.written > 0 && !(is_due && self.has_read);
        if reads {
            self.has_read = true;
            let behind = self.queued;
            let load = move || Disk::Loaded(spool.load(behind, space));
            self.disk = Some(tokio::task::spawn_blocking(load));
        } else if is_due {
            (self.has_read, self.changed) = (false, None);
            let (changes, next) = (std::mem::take(&mut self.changes), self.next);
            let commit = move || {
                let done = spool.commit(&changes, next);
                Disk::Committed(changes, done)
            };
            self.disk = Some(tokio::task::spawn_blocking(commit));
        }
    }

    fn take_in(&mut self, events: impl IntoIterator<Item = Arc<Numbered>>) {
        for event in events {
            self.queued = event.sequence;
            self.queue.push(event);
        }
    }

    /// What the disk has done, when it has: nothing is lost where this is not waited for to its end.
    pub(super) async fn disk(&mut self) -> Option<Disk> {
        match &mut self.disk {
            None => std::future::pending().await,
            Some(handle) => {
                let done = handle.await;
                self.disk = None;
                // It has panicked only if we have a bug that its message tells of.
                done.ok()
            }
        }
    }

    /// Takes what the disk has done.
    pub(super) fn disk_done(&mut self, done: Disk) {
        match done {
            Disk::Committed(Changes { added, .. }, Ok(())) => {
                self.not_before = None;
                self.written += added.range(self.queued + 1..).count() as u64;
            }
            Disk::Committed(Changes { added, removed }, Err(error)) => {
                self.disk_failed(&error);
                // What was taken meanwhile needs no place in the file any more, and may have got one.
                self.changes.removed.extend(removed);
                let taken = &self.changes.removed;
                let added: Vec<_> = added.into_iter().filter(|(number, _)| !taken.contains(number)).collect();
                self.changes.added.extend(added);
                self.changed.get_or_insert_with(Instant::now);
            }
            Disk::Loaded(Ok(events)) => {
                self.not_before = None;
                let found = events.len() as u64;
                // Nothing is there: the number was of those that there were.
                let counted = if found == 0 { self.written } else { found.min(self.written) };
                self.written -= counted;
                self.beyond -= counted.min(self.beyond);
                let events: Vec<_> = events.into_iter().map(Arc::new).collect();
                if let Some(last) = events.last() {
                    self.queued = last.sequence;
                }
                // They have waited while the server, or the back end, was down.
                let oldest = now_ms().saturating_sub(millis(self.outgoing.reached().webhook.retry_for));
                let (old, others): (Vec<_>, Vec<_>) =
                    events.into_iter().partition(|event| event.event.at_ms < oldest);
                self.give_up(&old);
                self.take_in(others);
            }
            Disk::Loaded(Err(error)) => self.disk_failed(&error),
        }
    }

    fn disk_failed(&mut self, error: &SpoolError) {
        self.outgoing.facts.note(&self.outgoing.reached().webhook, &error.to_string());
        self.not_before = Some(Instant::now() + DISK_PAUSE);
    }

    /// The server ends: what is not told is written, or counted as lost.
    pub(super) async fn leave(mut self) {
        self.accept();
        if self.disk.is_some()
            && let Some(done) = self.disk().await
        {
            self.disk_done(done);
        }
        let reached = self.outgoing.reached();
        let webhook = &reached.webhook;
        let Some(spool) = self.spool.clone() else {
            let lost = self.len() + self.lost;
            if lost > 0 {
                let webhook = &webhook.name;
                tracing::error!(webhook, lost, "the server ends, and events for a back end are lost with it");
            }
            return;
        };
        if self.lost > 0 {
            self.tell_lost(webhook);
        }
        let waiting = self.len();
        let (changes, next) = (self.changes, self.next);
        let written = tokio::task::spawn_blocking(move || spool.commit(&changes, next)).await;
        match written {
            Ok(Ok(())) if waiting > 0 => {
                tracing::info!(webhook = webhook.name, waiting, "events wait on the disk for the next start");
            }
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(webhook = webhook.name, waiting, "events are lost: {error}"),
            Err(error) => tracing::error!(webhook = webhook.name, waiting, "events are lost: {error}"),
        }
    }
}
