//! Tells the application what happens to one connection, in a task that is there while there is something to tell.
//!
//! In: events. Out: hooks, one after the other. Invariant: of one connection no two hooks of these go on at a time.

use std::sync::Arc;

use super::caller::Caller;
use super::events::Event;
use super::hooks::{Hooks, carry_out};
use super::link::Link;

/// Has something told of a connection, behind everything that was before. Never waits.
pub(super) fn tell(link: &Arc<Link>, hooks: &Arc<Hooks>, event: Event) {
    if link.events.push(event) {
        let context = &link.context;
        context.tasks.spawn_on(tell_all(Arc::clone(link), Arc::clone(hooks)), &context.runtime);
    }
}

/// Tells what is to be told of a connection, until there is nothing more.
async fn tell_all(link: Arc<Link>, hooks: Arc<Hooks>) {
    let (context, about) = (&link.context, link.opening.connection);
    while !context.abandoned.is_cancelled()
        && let Some(event) = link.events.next()
    {
        let caller = Caller::new(Arc::clone(&link));
        match event {
            Event::Joined(group) => {
                if let Some(hook) = &hooks.joined {
                    carry_out(context, "joined", &about, hook, (caller, group)).await;
                }
            }
            Event::Left(group, why) => {
                if let Some(hook) = &hooks.left {
                    carry_out(context, "left", &about, hook, (caller, group, why)).await;
                }
            }
            Event::Disconnected(reason) => {
                if let Some(hook) = &hooks.disconnected {
                    carry_out(context, "disconnected", &about, hook, (caller, reason)).await;
                }
                link.forget();
            }
        }
    }
}
