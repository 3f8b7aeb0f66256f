//! A connection, as the registry knows it: who it is, what waits for it, and which groups it is in.
//!
//! In: what the edge found out of it; then counts, notes and permissions, from any thread. Out: the same as facts.
//! Invariant: which groups it is in is changed by the registry alone, and nothing is added once it has gone.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use fanfare_protocol::{ConnectionId, GroupName, Payload, UserName};

use crate::line::{Line, Unreliable};
use crate::outbox::Outbox;
use crate::roster::Roster;
use crate::sync::Mutex;

/// A connection that is here, or was: who it is, what it may do, which groups it is in, and what waits for it. Whoever
/// has registered it gets it from [`Seat::member`](crate::Seat::member), everybody else from the hub.
pub struct Member<P> {
    id: ConnectionId,
    user: UserName,
    outbox: Outbox,
    pub(crate) memberships: Mutex<Memberships<P>>,
    permissions: Mutex<Arc<P>>,
    description: Mutex<Option<Arc<Description>>>,
    requests: AtomicU64,
    /// How much of the application runs for it.
    calls: AtomicU64,
    /// Whether its requests wait because it made too many.
    held_back: AtomicBool,
    datagrams: Datagrams,
    since: SystemTime,
    heard: Heard,
    line: Arc<dyn Line>,
}

/// When something last came from the peer, as far as that was looked at.
struct Heard {
    begun: Instant,
    packets: AtomicU64,
    /// Milliseconds after `begun`.
    at_ms: AtomicU64,
}

/// Datagrams to a member that went out, and that did not.
#[derive(Default)]
struct Datagrams {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Datagrams {
    fn count(&self, sent: Unreliable) {
        let (went, lost) = match sent {
            Unreliable::Sent => (1, 0),
            Unreliable::Displaced => (1, 1),
            Unreliable::Dropped => (0, 1),
        };
        self.sent.fetch_add(went, Ordering::Relaxed);
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }
}

pub(crate) struct Memberships<P> {
    pub(crate) groups: HashSet<Membership<P>, foldhash::quality::RandomState>,
    /// The groups that it watches, whether it is in them or not.
    pub(crate) watches: HashSet<GroupName, foldhash::quality::RandomState>,
    pub(crate) gone: bool,
}

/// A group that a member is in, found by its name.
pub(crate) struct Membership<P> {
    pub(crate) roster: Arc<Roster<GroupName, Member<P>>>,
    pub(crate) origin: Origin,
}

/// What an application says of a connection to everyone who may watch its groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) payload: Payload,
    /// Greater than those of all that were said before.
    pub(crate) order: u64,
}

impl Description {
    /// Which counts: the later; and of two at one moment, on every node the same.
    pub(crate) fn cmp_order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |one: &Self| (one.order, one.payload.bytes.clone());
        key(self).cmp(&key(other))
    }
}

/// Who made a membership, and so who may end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The client asked for it. It lasts as long as the client's grants cover it.
    Client,
    /// An operator added the connection. No grant is needed, and the end of one changes nothing.
    Operator,
    /// The application added the connection. As with an operator, no grant is needed.
    Application,
    /// Its user is in the group whenever it is here: that was decided, and ends by a decision or by its time.
    Lasting,
}

impl<P> PartialEq for Membership<P> {
    fn eq(&self, other: &Self) -> bool {
        self.roster.name() == other.roster.name()
    }
}

impl<P> Eq for Membership<P> {}

impl<P> Hash for Membership<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.roster.name().hash(state);
    }
}

impl<P> std::borrow::Borrow<GroupName> for Membership<P> {
    fn borrow(&self) -> &GroupName {
        self.roster.name()
    }
}

impl<P> Member<P> {
    /// A connection that is about to be registered. `permissions` is what it may do, which only the gate looks at. The
    /// two times are now.
    pub(crate) fn new(
        id: ConnectionId,
        user: UserName,
        outbox: Outbox,
        line: Arc<dyn Line>,
        permissions: P,
        (begun, since): (Instant, SystemTime),
    ) -> Self {
        Self {
            id,
            user,
            outbox,
            heard: Heard { begun, packets: AtomicU64::new(0), at_ms: AtomicU64::new(0) },
            memberships: Mutex::new(Memberships {
                groups: HashSet::default(),
                watches: HashSet::default(),
                gone: false,
            }),
            permissions: Mutex::new(Arc::new(permissions)),
            description: Mutex::new(None),
            requests: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
            datagrams: Datagrams::default(),
            since,
            line,
        }
    }

    /// Counts requests.
    pub fn requested(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// Notes whether its requests wait because it made too many.
    pub fn hold_back(&self, waits: bool) {
        self.held_back.store(waits, Ordering::Relaxed);
    }

    /// Whether its requests wait because it made too many.
    pub fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    /// How many requests it has made.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Notes how many methods of the application run for it.
    pub fn note_calls(&self, running: u64) {
        self.calls.store(running, Ordering::Relaxed);
    }

    /// How many methods of the application run for it.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many messages were sent to it, and how many of them were dropped; by stream and by datagram.
    pub fn deliveries(&self) -> (u64, u64) {
        let outbox = self.outbox.facts();
        let (sent, dropped) = (&self.datagrams.sent, &self.datagrams.dropped);
        (outbox.messages + sent.load(Ordering::Relaxed), outbox.dropped + dropped.load(Ordering::Relaxed))
    }

    /// Since when it is here.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// Notes whether something came from the peer since the last time, and gives how many milliseconds ago something
    /// had come: as exact as this is called often.
    pub fn listen_in(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.heard.begun);
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let packets = self.line.packets();
        if self.heard.packets.swap(packets, Ordering::Relaxed) != packets {
            self.heard.at_ms.store(now, Ordering::Relaxed);
        }
        now.saturating_sub(self.heard.at_ms.load(Ordering::Relaxed))
    }

    /// Counts what became of a datagram to it.
    pub(crate) fn count_datagram(&self, sent: Unreliable) {
        self.datagrams.count(sent);
    }

    /// What carries it.
    pub fn line(&self) -> &dyn Line {
        &*self.line
    }

    /// The groups that it is in, and who made each membership.
    pub fn memberships(&self) -> Vec<(GroupName, Origin)> {
        let memberships = self.memberships.lock();
        memberships.groups.iter().map(|known| (known.roster.name().clone(), known.origin)).collect()
    }

    /// How many groups it is in.
    pub fn groups(&self) -> usize {
        self.memberships.lock().groups.len()
    }

    /// The groups that it watches.
    pub fn watches(&self) -> Vec<GroupName> {
        self.memberships.lock().watches.iter().cloned().collect()
    }

    /// What the application says of it to everyone who may watch its groups.
    pub(crate) fn description(&self) -> Option<Arc<Description>> {
        self.description.lock().clone()
    }

    /// Has something else said of it from now on. Who watches its groups is the caller's matter.
    pub(crate) fn describe(&self, description: Option<Arc<Description>>) {
        *self.description.lock() = description;
    }

    /// What it may do, at this moment.
    pub fn permissions(&self) -> Arc<P> {
        Arc::clone(&self.permissions.lock())
    }

    /// Lets it do something else from now on. What it is in already is the caller's matter.
    pub(crate) fn replace_permissions(&self, permissions: P) {
        *self.permissions.lock() = Arc::new(permissions);
    }

    /// Its id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whose it is.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// What waits for it.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
