//! What many receivers share: how many messages have come to all of them, and what went wrong first.
//!
//! In: messages as they are counted, errors. Out: the sum, and a wait for it to be reached. Invariant: a wait ends with
//! the sum, with the first error, or with [`PATIENCE`], whichever is first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::error::{Fallible, wrong};

/// How long what was sent may take to arrive.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// When each message of a stream was meant to be sent: the first, and how long after it the next.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// The number of the first message.
    pub from: u64,
    /// When that is meant to go.
    pub start: Instant,
    /// The time between two.
    pub interval: Duration,
}

/// What all receivers share.
#[derive(Default)]
pub struct Tally {
    received: AtomicU64,
    target: AtomicU64,
    reached: Notify,
    error: Mutex<Option<String>>,
    schedule: RwLock<Option<Schedule>>,
    size: AtomicU64,
}

impl Tally {
    /// How many messages have come.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Messages have this size from now on.
    pub fn expect_size(&self, size: usize) {
        self.size.store(size as u64, Ordering::Relaxed);
    }

    /// The size that messages have.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Measures the time from when messages were meant to be sent.
    pub fn follow(&self, schedule: Schedule) {
        *self.schedule.write() = Some(schedule);
    }

    /// When messages were meant to be sent, where that is measured.
    pub fn schedule(&self) -> Option<Schedule> {
        *self.schedule.read()
    }

    /// What went wrong first, if something did.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Fallible<()> {
        match &*self.error.lock() {
            Some(error) => Err(wrong(error.clone())),
            None => Ok(()),
        }
    }

    /// Something went wrong.
    pub fn fail(&self, what: String) {
        self.error.lock().get_or_insert(what);
        self.reached.notify_waiters();
    }

    /// So many more have come.
    pub fn count(&self, messages: u64) {
        let received = self.received.fetch_add(messages, Ordering::Relaxed) + messages;
        let target = self.target.load(Ordering::Relaxed);
        if received >= target && received - messages < target {
            self.reached.notify_waiters();
        }
    }

    /// Waits until so many messages have come.
    ///
    /// # Errors
    /// When something is wrong, or they do not come.
    pub async fn reach(&self, target: u64) -> Fallible<()> {
        self.target.store(target, Ordering::Relaxed);
        let waiting = async {
            loop {
                let reached = self.reached.notified();
                tokio::pin!(reached);
                reached.as_mut().enable();
                if self.received() >= target || self.error.lock().is_some() {
                    return;
                }
                reached.await;
            }
        };
        let in_time = timeout(PATIENCE, waiting).await.is_ok();
        self.check()?;
        if in_time {
            return Ok(());
        }
        Err(wrong(format!("{} of {target} messages came within {PATIENCE:?}", self.received())))
    }
}
