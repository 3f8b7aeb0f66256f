//! A call's place among those of its connection that run, which it lends to others while its method waits for the
//! client.
//!
//! In: a method that begins to wait for its client's answer, and that has it; the end of the call. Out: the place,
//! given back to the link and taken again. Invariants: a call has at most one place, and none while its method waits
//! for the client, so that a client's handler can call the server with one call in flight; with its answer it goes on
//! when it has a place again, ahead of calls that have not begun; behind its end it holds none.

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::link::{Link, Room};

/// A call's place. Its method's callers have it, in every clone.
pub(super) struct Seat(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many answers are waited for at the moment.
    waits: usize,
    has_place: bool,
    is_over: bool,
}

/// A place that is lent. Dropped before [`Self::take_back`] is done, the method goes on without waiting for it.
pub(super) struct Lent<'a> {
    seat: &'a Seat,
    link: &'a Link,
    /// Where a place is waited for.
    awaited: Option<oneshot::Receiver<()>>,
    is_counted: bool,
}

impl Seat {
    /// The seat of a call that begins. One with streams needs no place.
    pub(super) fn new(has_place: bool) -> Self {
        Self(Mutex::new(State { has_place, is_over: !has_place, waits: 0 }))
    }

    /// The call has ended.
    pub(super) fn end(&self, link: &Link) {
        let had_place = {
            let mut state = self.0.lock();
            state.is_over = true;
            std::mem::take(&mut state.has_place)
        };
        if had_place {
            link.make_room();
        }
    }

    /// Lends the place while an answer is waited for.
    pub(super) fn lend<'a>(&'a self, link: &'a Link) -> Lent<'a> {
        let had_place = {
            let mut state = self.0.lock();
            state.waits += 1;
            std::mem::take(&mut state.has_place)
        };
        if had_place {
            link.make_room();
        }
        Lent { seat: self, link, awaited: None, is_counted: true }
    }

    /// There is a place for it.
    fn settle(&self, link: &Link) {
        let mut state = self.0.lock();
        // Another answer may be waited for by now.
        if state.is_over || state.has_place || state.waits > 0 {
            drop(state);
            link.make_room();
        } else {
            state.has_place = true;
        }
    }
}

impl Lent<'_> {
    /// Waits until the call has a place again. Where its method waits for another answer as well, that is not yet
    /// needed.
    pub(super) async fn take_back(mut self) {
        if !self.is_needed() {
            return;
        }
        if let Room::Later(awaited) = self.link.ask_for_room() {
            // The link gives it up only with the connection, and then it has counted no place.
            if self.awaited.insert(awaited).await.is_err() {
                self.link.take_room();
            }
            self.awaited = None;
        }
        self.seat.settle(self.link);
    }

    fn is_needed(&mut self) -> bool {
        let mut state = self.seat.0.lock();
        if std::mem::take(&mut self.is_counted) {
            state.waits -= 1;
        }
        state.waits == 0 && !state.has_place && !state.is_over
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let is_awaited = match self.awaited.take() {
            None => false,
            Some(mut awaited) => {
                awaited.close();
                if awaited.try_recv().is_ok() {
                    return self.seat.settle(self.link);
                }
                true
            }
        };
        // What ran to its end has neither.
        if (is_awaited || self.is_counted) && self.is_needed() {
            self.link.take_room();
            self.seat.settle(self.link);
        }
    }
}
