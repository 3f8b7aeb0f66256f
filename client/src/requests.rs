//! The requests of one connection that wait for the server's answer.
//!
//! In: a request that is about to be handed to the transport; an answer that arrived. Out: the answer, to whoever waits
//! for it.
//!
//! Invariants: there are never more than [`MAX_PENDING`] of them, calls of methods included; once the connection is
//! lost every waiter is told at once, and no new one is taken, so nobody waits for an answer that cannot come.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::{GroupName, RequestId, Token};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many requests may wait at a time. Far more than it takes to keep a long link busy; with it the client's memory
/// is bounded when a server takes requests and does not answer. The next request waits for a place.
pub(crate) const MAX_PENDING: usize = 1024;

/// What the server answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done(u64),
    /// The same, of a cluster of which these nodes were silent.
    Part(u64, Vec<String>),
    Refused {
        code: u16,
        detail: String,
    },
}

/// What a request changes here when it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Join(GroupName),
    Leave(GroupName),
    Refresh(Token),
    /// For one watch, by its number, or for all of the group.
    Watch(GroupName, Option<u64>),
    None,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) effect: Effect,
    waiter: oneshot::Sender<Answer>,
    _place: Place,
}

impl Entry {
    /// Tells whoever waits; nobody does if the caller gave up.
    pub(crate) fn answer(self, answer: Answer) {
        let _ = self.waiter.send(answer);
    }
}

/// One of the [`MAX_PENDING`] places.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    places: Arc<Semaphore>,
    /// `None` once the connection is lost.
    waiting: Mutex<Option<HashMap<RequestId, Entry>>>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_PENDING)), waiting: Mutex::new(Some(HashMap::new())) }
    }

    /// Waits for a place. `None`: the connection is lost.
    pub(crate) async fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).acquire_owned().await.ok().map(|permit| Place { _permit: permit })
    }

    /// Enters a request. The receiver fails when the connection is lost first. `None`: it is lost already.
    pub(crate) fn enter(
        &self,
        id: RequestId,
        effect: Effect,
        place: Place,
    ) -> Option<oneshot::Receiver<Answer>> {
        let (waiter, answer) = oneshot::channel();
        self.waiting.lock().as_mut()?.insert(id, Entry { effect, waiter, _place: place });
        Some(answer)
    }

    /// Takes the request that an answer is for. `None`: none with this id waits.
    pub(crate) fn take(&self, id: RequestId) -> Option<Entry> {
        self.waiting.lock().as_mut()?.remove(&id)
    }

    /// How many places nobody has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// The connection is lost: fails everyone who waits, for an answer or for a place.
    pub(crate) fn fail_all(&self) {
        self.places.close();
        let waiting = self.waiting.lock().take();
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_finds_its_request_once() {
        let requests = Requests::new();
        let place = requests.place().await.unwrap();
        let answer = requests.enter(7, Effect::None, place).unwrap();
        assert!(requests.take(8).is_none());
        requests.take(7).unwrap().answer(Answer::Done(3));
        assert_eq!(answer.await, Ok(Answer::Done(3)));
        assert!(requests.take(7).is_none());
    }

    #[tokio::test]
    async fn a_loss_fails_those_who_wait_and_those_who_come() {
        let requests = Requests::new();
        let place = requests.place().await.unwrap();
        let late = requests.place().await.unwrap();
        let answer = requests.enter(7, Effect::None, place).unwrap();
        requests.fail_all();
        assert!(answer.await.is_err());
        assert!(requests.place().await.is_none());
        assert!(requests.enter(8, Effect::None, late).is_none());
    }

    #[tokio::test]
    async fn places_are_bounded_and_come_back() {
        let requests = Requests::new();
        let mut answers = Vec::new();
        for id in 0..MAX_PENDING as u64 {
            let place = requests.place().await.unwrap();
            answers.push(requests.enter(id, Effect::None, place));
        }
        assert_eq!(requests.free(), 0);
        // A caller who gave up keeps its place until the answer comes: the server still owes it.
        answers.clear();
        assert_eq!(requests.free(), 0);
        requests.take(0).unwrap().answer(Answer::Done(1));
        assert_eq!(requests.free(), 1);
    }
}
