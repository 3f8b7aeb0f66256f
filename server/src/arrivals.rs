//! Connections that the application has been asked about and that are not welcomed yet: what it does to one of them
//! meanwhile waits for the welcome.
//!
//! In: who is expected; messages and groups for them, from the application and back ends. Out: the same, when they have
//! arrived. Invariants: a connection can be sent to from the moment at which the application has heard of it; what waits
//! comes right behind the welcome, in its order, before anything that is sent later, and once; where the connection is
//! not let in, all of it is gone, and nobody has heard of it.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_hub::Publication;
use fanfare_protocol::{ConnectionId, GroupName, Target, UserName};
use parking_lot::Mutex;

use crate::hub::Hub;

/// How many messages wait for a connection at most, and how many bytes of them: less than an outbox holds.
const MOST: usize = 64;
const MOST_BYTES: usize = 256 * 1024;

/// How many groups wait for it.
const MOST_GROUPS: usize = 1_000;

/// Connections that are expected.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<HashMap<ConnectionId, Waiting>>);

struct Waiting {
    user: UserName,
    messages: Vec<Publication>,
    bytes: usize,
    groups: Vec<GroupName>,
}

/// A connection that is expected. Dropped, it is not any more.
pub(crate) struct Expected {
    arrivals: Arc<Arrivals>,
    connection: ConnectionId,
}

impl Arrivals {
    /// The application is about to hear of a connection.
    pub(crate) fn expect(self: &Arc<Self>, connection: ConnectionId, user: UserName) -> Expected {
        let waiting = Waiting { user, messages: Vec::new(), bytes: 0, groups: Vec::new() };
        self.0.lock().insert(connection, waiting);
        Expected { arrivals: Arc::clone(self), connection }
    }

    /// Whose an expected connection is.
    pub(crate) fn owner(&self, connection: &ConnectionId) -> Option<UserName> {
        self.0.lock().get(connection).map(|waiting| waiting.user.clone())
    }

    /// Keeps a message for those of its targets that are expected, and takes these out of it. Gives how many they are;
    /// one for which too much waits already is passed over.
    pub(crate) fn keep(&self, publication: &mut Publication) -> u64 {
        if !publication.to.iter().any(|target| matches!(target, Target::Connection(_))) {
            return 0;
        }
        let mut waiting = self.0.lock();
        if waiting.is_empty() {
            return 0;
        }
        let mut kept = 0;
        let targets = std::mem::take(&mut publication.to);
        let mut others = Vec::with_capacity(targets.len());
        for target in targets {
            let Target::Connection(id) = target else {
                others.push(target);
                continue;
            };
            let Some(waiting) = waiting.get_mut(&id) else {
                others.push(target);
                continue;
            };
            // Or it would get a second copy by another target, if it arrives just now.
            publication.except.push(id);
            let bytes = publication.payload.len() + 64;
            if waiting.messages.len() < MOST && waiting.bytes + bytes <= MOST_BYTES {
                waiting.bytes += bytes;
                waiting.messages.push(Publication {
                    to: vec![Target::Connection(id)],
                    except: Vec::new(),
                    ..publication.clone()
                });
                kept += 1;
            }
        }
        publication.to = others;
        kept
    }

    /// Has a connection be in a group from its welcome on, where it is expected. Tells whether it is.
    pub(crate) fn join(&self, connection: &ConnectionId, group: &GroupName) -> bool {
        match self.0.lock().get_mut(connection) {
            Some(waiting) if waiting.groups.len() < MOST_GROUPS => {
                if !waiting.groups.contains(group) {
                    waiting.groups.push(group.clone());
                }
                true
            }
            _ => false,
        }
    }

    /// Takes that back. Tells whether there was anything.
    pub(crate) fn leave(&self, connection: &ConnectionId, group: &GroupName) -> bool {
        let mut expected = self.0.lock();
        let Some(waiting) = expected.get_mut(connection) else { return false };
        let before = waiting.groups.len();
        waiting.groups.retain(|name| name != group);
        waiting.groups.len() < before
    }
}

impl Expected {
    /// It is in the hub: sends it what waited, and gives the groups that it is to be in.
    pub(crate) fn arrive(self, hub: &Hub) -> Vec<GroupName> {
        // Under the lock, so that nothing that is sent later comes first.
        let mut expected = self.arrivals.0.lock();
        let Some(waiting) = expected.remove(&self.connection) else { return Vec::new() };
        for publication in waiting.messages {
            // It was within the limits when it was kept.
            let _ = hub.send(publication);
        }
        drop(expected);
        waiting.groups
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.arrivals.0.lock().remove(&self.connection);
    }
}
