//! The places of a connection's calls that run one after the other: who has one, and who is next.
//!
//! In: calls that end, that wait for their client, and that go on. Out: calls that may begin. Invariants: no more have
//! a place at a time than the limits say, but for those that could not wait for it; a call that goes on is ahead of
//! those that have not begun, and those begin in their order.

use tokio::sync::oneshot;

use super::{Accepted, Link, State};

/// Whether there is a place for a call that goes on.
pub(in crate::application) enum Room {
    Taken,
    /// Told when there is.
    Later(oneshot::Receiver<()>),
}

impl Link {
    /// The next call that may begin now. It has its place, until [`Self::make_way`].
    pub(in crate::application) fn next_call(&self) -> Option<Accepted> {
        let mut state = self.state.lock();
        let next = state.waiting.front()?;
        if next.streams == 0 {
            if state.running >= self.context.limits.in_flight {
                return None;
            }
            state.running += 1;
        }
        let mut next = state.waiting.pop_front()?;
        self.taken(&mut state, next.arguments.bytes.len());
        state.begun += 1;
        self.note_calls(&state);
        let (begun, turn) = oneshot::channel();
        next.turn = state.last_begun.replace(turn);
        next.begun = Some(begun);
        Some(next)
    }

    /// A call has really ended: the places of its streams are free.
    pub(in crate::application) fn make_way(&self, streams: usize) {
        let mut state = self.state.lock();
        state.streams -= streams;
        state.begun -= 1;
        self.note_calls(&state);
    }

    /// A place is free: for a call that goes on, or else for one that begins.
    pub(in crate::application) fn make_room(&self) {
        let mut state = self.state.lock();
        // Not where more run than may: those went on without waiting.
        while state.running <= self.context.limits.in_flight
            && let Some(returning) = state.returning.pop_front()
        {
            if returning.send(()).is_ok() {
                return;
            }
        }
        state.running -= 1;
        drop(state);
        if let Some(begin) = self.begin.get() {
            begin();
        }
    }

    /// A place for a call that goes on, or what tells when there is one.
    pub(in crate::application) fn ask_for_room(&self) -> Room {
        let mut state = self.state.lock();
        if state.ended || (state.running < self.context.limits.in_flight && state.returning.is_empty()) {
            state.running += 1;
            return Room::Taken;
        }
        let (returning, told) = oneshot::channel();
        state.returning.push_back(returning);
        Room::Later(told)
    }

    /// A place for a call that goes on in any case.
    pub(in crate::application) fn take_room(&self) {
        self.state.lock().running += 1;
    }

    /// For operators, who want to see a method that never returns.
    fn note_calls(&self, state: &State) {
        if let Some(member) = self.member() {
            member.note_calls(state.begun);
        }
    }
}
