//! What the application is told of groups: that one has its first member, and that its last has gone.
//!
//! In: both, from inside the hub's critical sections. Out: hooks, one after the other for each group. Invariant: of one
//! group an opening and a close take turns, beginning with an opening, so that what waits is a number and no list;
//! where many wait, an opening and the close behind it cancel each other out.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::GroupName;
use parking_lot::Mutex;

use super::context::Context;
use super::hooks::{Hooks, carry_out};

/// Of a group no more than so many openings and closes wait to be told.
const MOST: u64 = 64;

/// Groups of which something is to be told.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<GroupName, State>>);

struct State {
    /// What is told next: that it is open, or that it is closed.
    next_is_open: bool,
    /// How many of them are to be told.
    waiting: u64,
}

impl Groups {
    /// Has it told that a group is open, or is not any more. Never waits.
    pub(super) fn tell(
        self: &Arc<Self>,
        context: &Arc<Context>,
        hooks: &Arc<Hooks>,
        group: &GroupName,
        is_open: bool,
    ) {
        let mut groups = self.0.lock();
        if let Some(state) = groups.get_mut(group) {
            // Beyond the bound it cancels itself and the one before it out: they are the reverse of each other.
            if state.waiting < MOST {
                state.waiting += 1;
            } else {
                state.waiting -= 1;
            }
            return;
        }
        groups.insert(group.clone(), State { next_is_open: is_open, waiting: 1 });
        let told = tell_all(Arc::clone(self), Arc::clone(context), Arc::clone(hooks), group.clone());
        context.tasks.spawn_on(told, &context.runtime);
    }

    /// What is to be told of a group; `None` when all is told, and then nobody tells any more.
    fn next_of(&self, group: &GroupName) -> Option<bool> {
        let mut groups = self.0.lock();
        let state = groups.get_mut(group)?;
        if state.waiting == 0 {
            groups.remove(group);
            return None;
        }
        state.waiting -= 1;
        state.next_is_open = !state.next_is_open;
        Some(!state.next_is_open)
    }
}

async fn tell_all(groups: Arc<Groups>, context: Arc<Context>, hooks: Arc<Hooks>, group: GroupName) {
    let about = fanfare_protocol::quoted(group.as_str());
    while !context.abandoned.is_cancelled()
        && let Some(is_open) = groups.next_of(&group)
    {
        let (name, hook) = if is_open {
            ("group_opened", &hooks.group_opened)
        } else {
            ("group_closed", &hooks.group_closed)
        };
        if let Some(hook) = hook {
            carry_out(&context, name, &about, hook, (context.handle.clone(), group.clone())).await;
        }
    }
}
