//! What the application is to be told of one connection, in its order: memberships, and the end.
//!
//! In: events, also from inside the hub's critical sections, from any thread. Out: the next one, for the task that tells
//! them. Invariants: nothing is told twice, and the end is told last; a client whose events wait is not read on, so that
//! no more wait than it could have caused before that, and what others do to it.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use fanfare_hub::{CloseReason, Left};
use fanfare_protocol::GroupName;
use parking_lot::Mutex;

/// A client with more events that wait is not read on.
const MOST: usize = 64;

/// What the application is told of one connection.
pub(super) enum Event {
    Joined(GroupName),
    Left(GroupName, Left),
    Disconnected(Option<CloseReason>),
}

/// What is to be told.
#[derive(Default)]
pub(super) struct Events(Mutex<State>);

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    /// Whether a task tells them.
    told: bool,
    /// The session, where it waits.
    session: Option<Waker>,
}

impl Events {
    /// Puts one behind those that there are. Tells whether somebody is needed who tells them.
    pub(super) fn push(&self, event: Event) -> bool {
        let mut state = self.0.lock();
        state.queue.push_back(event);
        !std::mem::replace(&mut state.told, true)
    }

    /// The next one; `None` when there is none, and then nobody tells any more.
    pub(super) fn next(&self) -> Option<Event> {
        let mut state = self.0.lock();
        let next = state.queue.pop_front();
        if state.queue.len() <= MOST
            && let Some(session) = state.session.take()
        {
            session.wake();
        }
        if next.is_none() {
            *state = State::default();
        }
        next
    }

    /// Whether so many wait that the client is not to be read on.
    pub(super) fn are_many(&self) -> bool {
        self.0.lock().queue.len() > MOST
    }

    /// Ready when few wait. For the session, before it reads what its client asks for next.
    pub(super) fn poll_few(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.queue.len() <= MOST {
            return Poll::Ready(());
        }
        state.session = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_tells_and_the_session_waits_while_many_wait() {
        let events = Events::default();
        let joined = || Event::Joined(GroupName::new("g").unwrap());
        assert!(events.push(joined()));
        for _ in 0..MOST {
            assert!(!events.push(joined()));
        }
        let mut context = Context::from_waker(Waker::noop());
        assert!(events.are_many() && events.poll_few(&mut context).is_pending());
        assert!(events.next().is_some());
        assert!(!events.are_many() && events.poll_few(&mut context).is_ready());
        while events.next().is_some() {}
        assert!(events.push(joined()), "somebody is needed again");
    }
}
