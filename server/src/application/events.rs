//! What the application is told of one connection, in its order: memberships, and the end.
//!
//! In: events, also from inside the hub's critical sections, from any thread. Out: hooks, one after the other, in a task
//! that is there while there is something to tell. Invariants: nothing is told twice, and the end is told last; a client
//! whose events wait is not read on, so that no more wait than it could have caused before that, and what others do to
//! it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fanfare_hub::{CloseReason, Left};
use fanfare_protocol::GroupName;
use parking_lot::Mutex;

use super::caller::Caller;
use super::hooks::carry_out;
use super::link::Link;

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

impl Link {
    /// Has something told, behind everything that was before.
    pub(super) fn tell(self: &Arc<Self>, event: Event) {
        let mut state = self.events.0.lock();
        state.queue.push_back(event);
        if !std::mem::replace(&mut state.told, true) {
            let application = &self.application;
            application.tasks.spawn_on(tell_all(Arc::clone(self)), &application.runtime);
        }
    }

    /// Whether so many events wait that its client is not to be read on.
    pub(crate) fn has_much_to_tell(&self) -> bool {
        self.events.0.lock().queue.len() > MOST
    }

    /// Ready when few events wait. For the session, before it reads what its client asks for next.
    pub(crate) fn poll_told(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.events.0.lock();
        if state.queue.len() <= MOST {
            return Poll::Ready(());
        }
        state.session = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next event; `None` when there is none, and then nobody tells any more.
    fn next_event(&self) -> Option<Event> {
        let mut state = self.events.0.lock();
        let next = state.queue.pop_front();
        if next.is_none() {
            *state = State::default();
        } else if state.queue.len() <= MOST
            && let Some(session) = state.session.take()
        {
            session.wake();
        }
        next
    }
}

async fn tell_all(link: Arc<Link>) {
    let application = &link.application;
    let hooks = application.hooks();
    let about = link.opening.connection;
    while let Some(event) = link.next_event() {
        let caller = Caller::new(Arc::clone(&link));
        match event {
            Event::Joined(group) => {
                if let Some(hook) = &hooks.joined {
                    carry_out(application, "joined", &about, hook, (caller, group)).await;
                }
            }
            Event::Left(group, why) => {
                if let Some(hook) = &hooks.left {
                    carry_out(application, "left", &about, hook, (caller, group, why)).await;
                }
            }
            Event::Disconnected(reason) => {
                if let Some(hook) = &hooks.disconnected {
                    carry_out(application, "disconnected", &about, hook, (caller, reason)).await;
                }
            }
        }
    }
}
