//! An end point while the server runs: its settings, which can be replaced, and the events that it is still to be told.
//!
//! In: events, also from inside the hub's critical sections' hooks, from any thread. Out: the same, numbered nowhere
//! yet, for the task that delivers them. Invariants: nobody who tells something waits; what finds no room is counted
//! and told as lost.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

use super::event::Event;
use super::facts::Facts;
use super::post::Poster;
use crate::webhook::Webhook;

/// How many events may wait to be numbered: the task that does so is seldom behind by more than a moment.
const MOST: usize = 65_536;

/// An end point's settings, and what its back end is reached by.
pub(super) struct Reached {
    pub(super) webhook: Webhook,
    pub(super) poster: Poster,
}

/// An end point while the server runs.
pub(super) struct Outgoing {
    reached: RwLock<Arc<Reached>>,
    pub(super) facts: Facts,
    /// Which of the server's lives this is, as its back end knows them.
    pub(super) epoch: u64,
    /// Places for questions about connections, and for methods: calls must not take the places of those who come.
    pub(super) connects: Semaphore,
    pub(super) calls: Semaphore,
    inbox: Mutex<Inbox>,
    pub(super) wake: Notify,
}

/// What is to be told.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) events: Vec<Event>,
    /// How many found no room, since the last time that they were taken.
    pub(super) lost: u64,
}

impl Outgoing {
    pub(super) fn new(reached: Reached, epoch: u64) -> Self {
        let places = || Semaphore::new(reached.webhook.questions);
        let (connects, calls) = (places(), places());
        Self {
            reached: RwLock::new(Arc::new(reached)),
            facts: Facts::default(),
            epoch,
            connects,
            calls,
            inbox: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Where it is, and how it is reached, at this moment.
    pub(super) fn reached(&self) -> Arc<Reached> {
        Arc::clone(&self.reached.read())
    }

    /// Goes on with other settings.
    pub(super) fn replace(&self, reached: Reached) {
        *self.reached.write() = Arc::new(reached);
    }

    /// Has it told an event, if it wants to know. Never waits.
    pub(super) fn tell(&self, event: &Event) {
        if !self.reached().webhook.wants(event.kind, event.group.as_ref()) {
            return;
        }
        let mut inbox = self.inbox.lock();
        if inbox.events.len() < MOST {
            inbox.events.push(event.clone());
        } else {
            inbox.lost += 1;
        }
        drop(inbox);
        self.wake.notify_one();
    }

    /// What is to be told.
    pub(super) fn take(&self) -> Inbox {
        std::mem::take(&mut *self.inbox.lock())
    }
}
