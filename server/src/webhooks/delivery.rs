//! Delivers one end point's events: a task from the server's start to its end.
//!
//! In: what there is to tell; what of it waited on the disk. Out: requests, and the file of what still waits.
//! Invariants (promise 17): an event is done when its back end has taken it, and not before; what waits is bounded, in
//! memory and on the disk; what is given up is counted, and told as [`lost`](crate::WebhookEvent::Lost) where it is
//! missing. What waits for less than a moment is never written: a server that is killed in between has ended every
//! connection that such an event could be about, and says so with `started`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Numbered, now_ms};
use super::outgoing::{Inbox, Outgoing, Reached};
use super::post::{Letter, PostError, Reply};
use super::queue::{Batch, Queue, Trouble};
use super::spool::{Changes, Spool, SpoolError};

/// How long an event may wait before it is written to the disk.
const UNWRITTEN: Duration = Duration::from_millis(50);

/// How many events may be in memory because they are not written yet: a disk is seldom behind by so many.
const MOST_UNWRITTEN: usize = 65_536;

/// How long a disk that fails is left alone.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// How much of an answer to events is read: only its status counts.
const ANSWER_BYTES: usize = 64 * 1024;

/// What came of a request.
type Sent = (Batch, Result<(), (Trouble, String)>);

/// What came of what was asked of the disk.
enum Disk {
    Committed(Changes, Result<(), SpoolError>),
    Loaded(Result<Vec<Numbered>, SpoolError>),
}

/// Delivers one end point's events.
pub(super) struct Delivery {
    outgoing: Arc<Outgoing>,
    spool: Option<Arc<Spool>>,
    queue: Queue,
    /// The number of the next event.
    next: u64,
    /// The highest number that has been in the queue.
    queued: u64,
    /// How many events have higher ones: they are on the disk, or soon will be.
    beyond: u64,
    /// What the file does not say yet.
    changes: Changes,
    /// Events that are in no file, where there is one.
    changed: Option<Instant>,
    disk: Option<JoinHandle<Disk>>,
    /// Lost, and not told yet.
    lost: u64,
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
}

impl Delivery {
    /// With what waited on the disk, of which the first number to be given is `next`.
    pub(super) fn new(outgoing: Arc<Outgoing>, spool: Option<Spool>, next: u64, waiting: u64) -> Self {
        Self {
            outgoing,
            spool: spool.map(Arc::new),
            queue: Queue::default(),
            next,
            queued: 0,
            beyond: waiting,
            changes: Changes::default(),
            changed: None,
            disk: None,
            lost: 0,
            sending: FuturesUnordered::new(),
        }
    }

    /// Delivers until `finishing`, and then for `patience` at most what there still is.
    pub(super) async fn run(mut self, finishing: CancellationToken, patience: Duration) {
        let mut last_moment = None;
        loop {
            self.accept();
            self.use_disk();
            self.send();
            self.show();
            if last_moment.is_some_and(|last| Instant::now() >= last || self.is_idle()) {
                break;
            }
            let outgoing = Arc::clone(&self.outgoing);
            let wakes = [self.queue.wakes(), self.writes_at(), last_moment].into_iter().flatten().min();
            tokio::select! {
                () = outgoing.wake.notified() => {}
                Some(sent) = self.sending.next(), if !self.sending.is_empty() => self.sent(sent),
                Some(done) = finished(&mut self.disk) => self.disk_done(done),
                () = at(wakes) => {}
                () = finishing.cancelled(), if last_moment.is_none() => {
                    last_moment = Some(Instant::now() + patience);
                }
            }
        }
        self.leave().await;
    }

    /// Nothing is to be done any more.
    fn is_idle(&self) -> bool {
        self.queue.len() == 0 && self.beyond == 0 && self.lost == 0
    }

    /// Numbers what there is to tell.
    fn accept(&mut self) {
        let Inbox { events, lost } = self.outgoing.take();
        let reached = self.outgoing.reached();
        self.lose(lost, "there were too many at a time");
        for event in events {
            if self.lost > 0 && self.has_room(&reached) {
                self.tell_lost();
            }
            if self.has_room(&reached) {
                self.number(event);
            } else {
                self.lose(1, "as many wait as may wait");
            }
        }
        if self.lost > 0 && self.has_room(&reached) {
            self.tell_lost();
        }
    }

    fn lose(&mut self, events: u64, why: &'static str) {
        self.outgoing.facts.lost(events, &self.outgoing.reached().webhook, why);
        self.lost += events;
    }

    fn tell_lost(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        self.number(Event::lost(lost));
    }

    fn has_room(&self, reached: &Reached) -> bool {
        let Reached { webhook, .. } = reached;
        let is_in_memory = self.beyond == 0 && self.queue.len() < webhook.waiting_in_memory;
        let may_be_on_disk = self.spool.is_some()
            && self.changes.added.len() < MOST_UNWRITTEN
            && self.beyond + (self.queue.len() as u64) < webhook.waiting_on_disk;
        is_in_memory || may_be_on_disk
    }

    fn number(&mut self, event: Event) {
        let numbered = Arc::new(Numbered { epoch: self.outgoing.epoch, sequence: self.next, event });
        self.next += 1;
        if self.spool.is_some() {
            self.changes.added.insert(numbered.sequence, Arc::clone(&numbered));
            self.changed.get_or_insert_with(Instant::now);
        }
        let most = self.outgoing.reached().webhook.waiting_in_memory;
        if self.beyond == 0 && self.queue.len() < most {
            self.queued = numbered.sequence;
            self.queue.push(numbered);
        } else {
            self.beyond += 1;
        }
    }

    /// When the file is to be written next.
    fn writes_at(&self) -> Option<Instant> {
        if self.disk.is_some() { None } else { self.changed.map(|since| since + UNWRITTEN) }
    }

    /// Reads what the queue has room for, or writes what has changed: one at a time.
    fn use_disk(&mut self) {
        let Some(spool) = self.spool.as_ref().filter(|_| self.disk.is_none()) else { return };
        let spool = Arc::clone(spool);
        let most = self.outgoing.reached().webhook.waiting_in_memory;
        // What is beyond the queue is behind everything that was ever in it.
        let is_written = self.changes.added.range(self.queued + 1..).next().is_none();
        if self.beyond > 0 && is_written && self.queue.len() <= most / 2 {
            let (behind, most) = (self.queued, most - self.queue.len());
            let load = move || Disk::Loaded(spool.load(behind, most));
            self.disk = Some(tokio::task::spawn_blocking(load));
        } else if self.writes_at().is_some_and(|at| Instant::now() >= at) {
            self.changed = None;
            let (changes, next) = (std::mem::take(&mut self.changes), self.next);
            let commit = move || {
                let done = spool.commit(&changes, next);
                Disk::Committed(changes, done)
            };
            self.disk = Some(tokio::task::spawn_blocking(commit));
        }
    }

    fn disk_done(&mut self, done: Disk) {
        match done {
            Disk::Committed(_, Ok(())) => {}
            Disk::Committed(Changes { added, removed }, Err(error)) => {
                self.disk_failed(&error);
                // What was taken meanwhile needs no place in the file any more, and may have got one.
                let taken = std::mem::take(&mut self.changes.removed);
                self.changes.removed = removed;
                self.changes.removed.extend(taken);
                let added = added.into_iter().filter(|(number, _)| !self.changes.removed.contains(number));
                let added: Vec<_> = added.collect();
                self.changes.added.extend(added);
            }
            Disk::Loaded(Ok(events)) => {
                let found = events.len() as u64;
                for event in events {
                    self.queued = event.sequence;
                    self.queue.push(Arc::new(event));
                }
                // Nothing is behind: the number was of those that there were.
                self.beyond = if found == 0 { 0 } else { self.beyond.saturating_sub(found) };
            }
            Disk::Loaded(Err(error)) => self.disk_failed(&error),
        }
    }

    fn disk_failed(&mut self, error: &SpoolError) {
        self.outgoing.facts.note(&self.outgoing.reached().webhook, &error.to_string());
        self.changed = Some(Instant::now() + DISK_PAUSE);
    }

    /// Sends what may go.
    fn send(&mut self) {
        let reached = self.outgoing.reached();
        let most = reached.webhook.batch;
        while self.sending.len() < reached.webhook.requests
            && let Some(batch) = self.queue.next(Instant::now(), most)
        {
            self.sending.push(Box::pin(post(Arc::clone(&reached), batch)));
        }
    }

    fn sent(&mut self, (batch, outcome): Sent) {
        let reached = self.outgoing.reached();
        let done = match outcome {
            Ok(()) => {
                self.outgoing.facts.delivered(batch.len(), &reached.webhook);
                self.queue.done(&batch)
            }
            Err((trouble, words)) => {
                self.outgoing.facts.failed(&reached.webhook, &words);
                let now = (Instant::now(), now_ms());
                let given_up =
                    self.queue.failed(&batch, trouble, now, reached.webhook.retry_for, fastrand::f64);
                self.lose(given_up.len() as u64, "the back end did not take them in time");
                given_up
            }
        };
        for number in done {
            // What was never written needs not be removed.
            if self.changes.added.remove(&number).is_none() && self.spool.is_some() {
                self.changes.removed.insert(number);
                self.changed.get_or_insert_with(Instant::now);
            }
        }
        if self.changes.is_empty() {
            self.changed = None;
        }
    }

    fn show(&self) {
        let facts = &self.outgoing.facts;
        facts.waiting.store(self.queue.len() as u64 + self.beyond, Ordering::Relaxed);
        let oldest = self.queue.oldest().map_or(0, |event| event.event.at_ms);
        facts.oldest_ms.store(oldest, Ordering::Relaxed);
    }

    /// The server ends: what is not delivered is written, or counted as lost.
    async fn leave(mut self) {
        self.accept();
        self.sending.clear();
        if let Some(disk) = self.disk.take()
            && let Ok(done) = disk.await
        {
            self.disk_done(done);
        }
        let waiting = self.queue.len() as u64 + self.beyond;
        let webhook = &self.outgoing.reached().webhook;
        let Some(spool) = self.spool.take() else {
            if waiting + self.lost > 0 {
                let (lost, webhook) = (waiting + self.lost, &webhook.name);
                tracing::error!(webhook, lost, "the server ends, and events for a back end are lost with it");
            }
            return;
        };
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

/// Sends a request.
async fn post(reached: Arc<Reached>, batch: Batch) -> Sent {
    let Reached { webhook, poster } = &*reached;
    let single = batch.first().filter(|_| webhook.batch == 1);
    let (id, attributes, content_type, data) = match single {
        Some(event) => (event.id(), event.attributes(), "application/json", event.data()),
        None => {
            let ends = batch.first().zip(batch.last());
            let id = ends.map(|(first, last)| format!("{}_to_{}", first.id(), last.sequence));
            let events: Vec<_> = batch.iter().map(|event| event.structured()).collect();
            (id.unwrap_or_default(), Vec::new(), "application/cloudevents-batch+json", events.into())
        }
    };
    let letter = Letter {
        id: &id,
        attributes: &attributes,
        content_type,
        body: Bytes::from(data.to_string()),
        deadline: webhook.event_deadline,
        answer_bytes: ANSWER_BYTES,
    };
    let outcome = judge(poster.post(webhook, letter).await);
    (batch, outcome)
}

/// What an answer to events says.
fn judge(outcome: Result<Reply, PostError>) -> Result<(), (Trouble, String)> {
    let reply = outcome.map_err(|error| (Trouble::Down(None), error.to_string()))?;
    match reply.status.as_u16() {
        200..=299 => Ok(()),
        // These say something of the events. All else is as true of any other event.
        400 | 409 | 413 | 415 | 422 => Err((Trouble::Refused, reply.words())),
        _ => Err((Trouble::Down(reply.retry_after()), reply.words())),
    }
}

async fn finished(disk: &mut Option<JoinHandle<Disk>>) -> Option<Disk> {
    match disk {
        None => std::future::pending().await,
        Some(handle) => {
            let done = handle.await;
            *disk = None;
            // It has panicked only if we have a bug that its message tells of.
            done.ok()
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
