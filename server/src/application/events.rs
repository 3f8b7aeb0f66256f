//! What the application is to be told of one connection, in its order: memberships, and the end.
//!
//! In: events, also from inside the hub's critical sections, from any thread. Out: the next one, for the task that
//! tells them. Invariants: nothing is told twice, and the end is told last; a client whose events wait is not read on;
//! where others do so much to it that many wait, a membership that began and ended meanwhile is not told of at all, so
//! that no more wait than a bound and one for each group.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use fanfare_hub::{CloseReason, Left};
use fanfare_protocol::GroupName;
use parking_lot::Mutex;

/// A client with more events that wait is not read on.
const MOST: usize = 64;

/// Behind so many, the beginning and the end of one membership cancel each other out.
const MOST_IN_FULL: usize = 1_024;

/// What the application is told of one connection.
pub(super) enum Event {
    Joined(GroupName),
    Left(GroupName, Left),
    Disconnected(Option<CloseReason>),
}

impl Event {
    /// The group that it is about.
    fn group(&self) -> Option<&GroupName> {
        match self {
            Self::Joined(group) | Self::Left(group, _) => Some(group),
            Self::Disconnected(_) => None,
        }
    }
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
        if state.queue.len() >= MOST_IN_FULL
            && let Some(group) = event.group()
            && let Some(before) = state.queue.iter().rposition(|waiting| waiting.group() == Some(group))
        {
            // Of one group they take turns, so that it is the reverse of this one.
            state.queue.remove(before);
            return false;
        }
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

    #[test]
    fn what_others_do_to_a_connection_waits_within_a_bound_and_what_is_told_is_in_order() {
        let events = Events::default();
        let group = |number: usize| GroupName::new(&format!("g{number}")).unwrap();
        for round in 0..10 * MOST_IN_FULL {
            let group = group(round % 7);
            let is_member = (round / 7).is_multiple_of(2);
            events.push(if is_member { Event::Joined(group) } else { Event::Left(group, Left::Asked) });
        }
        let waiting = events.0.lock().queue.len();
        assert!((MOST_IN_FULL - 7..=MOST_IN_FULL + 7).contains(&waiting), "{waiting}");
        events.push(Event::Disconnected(None));
        let mut members = std::collections::HashSet::new();
        let mut is_over = false;
        while let Some(event) = events.next() {
            assert!(!is_over);
            match event {
                Event::Joined(group) => assert!(members.insert(group)),
                Event::Left(group, _) => assert!(members.remove(&group)),
                Event::Disconnected(_) => is_over = true,
            }
        }
        let are_members = (0..7).filter(|last| {
            let rounds = 10 * MOST_IN_FULL;
            let pushed = rounds / 7 + usize::from(rounds % 7 > *last);
            !pushed.is_multiple_of(2)
        });
        assert_eq!((members.len(), is_over), (are_members.count(), true));
    }
}
