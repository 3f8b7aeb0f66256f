//! The same verbs for connections on all nodes.
//!
//! In: a selection, and what is to be done. Out: how many connections it reached, and which nodes did not say so.
//! Invariant: on each node it is what the verb of its own [`HubHandle`] does there, so that the same bans and counters
//! are met; who does not answer is named, and waited for a second at most.

use std::time::Duration;

use fanfare_protocol::admin::Who;
use fanfare_protocol::{Code, EventName, GroupName, Payload, Target};

use super::others::{Done, Order, Verb};
use super::{HubError, HubHandle, Selection};
use crate::{reason, spread};

/// What came of it on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reached {
    /// How many connections: each verb says of which.
    pub connections: u64,
    /// Nodes that did not answer within a second, by the names that operators know them by. What was done there is not
    /// known, and not counted.
    pub silent: Vec<String>,
}

/// Connections on all nodes: [`Selection::everywhere`].
#[derive(Clone)]
#[must_use = "nothing is done yet"]
pub struct Everywhere<'a>(Selection<'a>);

impl<'a> Selection<'a> {
    /// The same connections on all nodes of the cluster; on a server that is a whole hub, all there are. Where several
    /// targets reach one connection, it counts once. No verb takes more targets or exceptions than a send may have.
    pub fn everywhere(self) -> Everywhere<'a> {
        Everywhere(self)
    }
}

impl Everywhere<'_> {
    /// Sends them a message each, as [`Selection::send`] does; the number is that of all nodes.
    ///
    /// # Errors
    /// As [`Selection::send`].
    pub async fn send<E>(self, event: E, payload: impl Into<Payload>) -> Result<Reached, HubError>
    where
        E: TryInto<EventName>,
        HubError: From<E::Error>,
    {
        let (event, payload, handle): (EventName, Payload, _) =
            (event.try_into()?, payload.into(), self.0.handle);
        let (queued, elsewhere) = self.0.send_counted(event, payload)?;
        match (elsewhere, &handle.others) {
            (Some(ticket), Some(others)) => {
                let (copies, silent) = others.copies_of(ticket).await;
                Ok(Reached { connections: queued.saturating_add(copies), silent })
            }
            _ => Ok(Reached { connections: queued, silent: Vec::new() }),
        }
    }

    /// Makes them members of a group, as [`Selection::join`] does.
    ///
    /// # Errors
    /// As [`Selection::join`], where there is nobody on any node. Where a node is silent there may be somebody.
    pub async fn join(self, group: &GroupName) -> Result<Reached, HubError> {
        self.have_done(Verb::Join(group.clone())).await
    }

    /// Removes them from a group, as [`Selection::remove`] does.
    ///
    /// # Errors
    /// As [`Selection::remove`], where there is nobody on any node. Where a node is silent there may be somebody.
    pub async fn remove(self, group: &GroupName, reason: &str) -> Result<Reached, HubError> {
        reason::check(reason)?;
        self.have_done(Verb::Remove(group.clone(), reason.to_owned())).await
    }

    /// Closes them, as [`Selection::close`] does.
    ///
    /// # Errors
    /// As [`Selection::close`], where there is nobody on any node. Where a node is silent there may be somebody.
    pub async fn close(self, reason: &str) -> Result<Reached, HubError> {
        reason::check(reason)?;
        self.have_done(Verb::Close(reason.to_owned())).await
    }

    /// Closes them for a time, as [`Selection::close_for`] does.
    ///
    /// # Errors
    /// As [`Selection::close_for`], where there is nobody on any node. Where a node is silent there may be somebody.
    pub async fn close_for(self, after: Duration, reason: &str) -> Result<Reached, HubError> {
        reason::check(reason)?;
        spread::check(after)?;
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.have_done(Verb::CloseFor(ms, reason.to_owned())).await
    }

    /// How many connections there are on all nodes.
    ///
    /// # Errors
    /// When there are no targets, or more of them or of exceptions than a send may have.
    pub async fn count(self) -> Result<Reached, HubError> {
        self.have_done(Verb::Count).await
    }

    async fn have_done(self, verb: Verb) -> Result<Reached, HubError> {
        let Selection { handle, targets, except } = &self.0;
        // As a send with so many, so that it fits into a message to the others.
        handle.limits.check_send(targets.len(), except.len(), 0)?;
        let order = Order { to: targets.iter().map(Who::from).collect(), except: except.clone(), verb };
        let here = order.carry_out(handle);
        let (there, silent) = match &handle.others {
            Some(others) => others.order(order).await,
            None => Default::default(),
        };
        let counts = there.iter().map(|done| done.connections);
        let connections = counts.fold(here.as_ref().copied().unwrap_or_default(), u64::saturating_add);
        match here {
            // Somebody was reached, or may have been.
            Err(_) if connections > 0 => Ok(Reached { connections, silent }),
            Err(error) => {
                // Why it was refused says more than that nobody is here.
                let refused = there.into_iter().find_map(|done| done.refused);
                let refused =
                    refused.and_then(|(code, detail)| Some((Code::try_from(u64::from(code)).ok()?, detail)));
                match (is_nobody(&error), refused) {
                    (true, Some((code, detail))) => Err(HubError::Refused { code, detail }),
                    (true, None) if !silent.is_empty() => Ok(Reached { connections, silent }),
                    _ => Err(error),
                }
            }
            Ok(_) => Ok(Reached { connections, silent }),
        }
    }
}

fn is_nobody(error: &HubError) -> bool {
    matches!(error, HubError::Refused { code: Code::NothingThere, .. })
}

impl Order {
    /// The same, as it is told to the node that asked for it.
    pub(crate) fn done(&self, handle: &HubHandle) -> Done {
        match self.carry_out(handle) {
            Ok(connections) => Done { connections, refused: None },
            Err(HubError::Refused { code, detail }) if code != Code::NothingThere => {
                Done { connections: 0, refused: Some((code.number(), detail)) }
            }
            Err(_) => Done::default(),
        }
    }

    /// Does it to those who are here. Gives how many that were.
    ///
    /// # Errors
    /// As the verb has them.
    pub(crate) fn carry_out(&self, handle: &HubHandle) -> Result<u64, HubError> {
        let named = handle.select(self.to.iter().map(Target::from));
        let selection = self.except.iter().fold(named, |selection, id| selection.except(*id));
        match &self.verb {
            Verb::Count => Ok(selection.count() as u64),
            Verb::Join(group) => selection.join(group).map(|joined| joined as u64),
            Verb::Remove(group, reason) => selection.remove(group, reason),
            Verb::Close(reason) => selection.close(reason).map(|closed| closed as u64),
            Verb::CloseFor(ms, reason) => {
                selection.close_for(Duration::from_millis(*ms), reason).map(|closed| closed as u64)
            }
        }
    }
}
