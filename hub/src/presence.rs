//! Who hears of whom: the groups that are watched, each with its audience.
//!
//! In: memberships that begin and end, inside the groups' critical sections; connections that watch and stop watching;
//! what other nodes say of their members; the time, now and then. Out: frames in the watchers' outboxes. Where nobody
//! watches, a membership costs one load of a number, and one more for other nodes; where somebody does, an event in a
//! list ([`Audience::note`]), however many watch. A send comes by none of this.
//!
//! There is one for connections, and, beside it, one for other nodes that watch groups here
//! ([`Observer`](crate::Observer)): those are told of whoever is here alone, without a grace, and with when what is
//! said of a user was said.
//!
//! Invariants (promise 16):
//! - what a watcher was told, put together, is what was announced (`audience.rs`);
//! - no membership is missed: whoever makes a group watched puts its audience into the map first and looks at the
//!   roster then, while who enters is in a roster that is in the map first and looks for an audience then, inside the
//!   critical section (model `watch_against_joins_and_leaves`);
//! - lock order: a member's memberships, a roster, an audience's state, an audience's events, and last an outbox, a
//!   description, or the list of those that are unsettled; and, with none of those but memberships, the map of
//!   audiences and then whatever the cluster locks.

mod attendance;
mod audience;
mod dated;
mod limits;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{ConnectionId, GroupName, UserName};

use self::attendance::Attendance;
pub(crate) use self::attendance::Readers;
pub(crate) use self::audience::What;
use self::audience::{Audience, Heard, Next};
pub use self::limits::PresenceLimits;
use self::watcher::{Reader, Tally};
use crate::cluster::{Cluster, NodeKey};
use crate::delivery::Removal;
use crate::member::Member;
use crate::outbox::Outbox;
use crate::roster::Rosters;
use crate::shards::Shards;
use crate::striped::Counter;
use crate::sync::Mutex;

/// The groups that are watched.
pub(crate) struct Presence<P> {
    audiences: Shards<GroupName, Arc<Audience<P>>>,
    /// How many of them are open: where there is none, nobody looks for one.
    open: AtomicUsize,
    /// Those that have something to announce, or a watcher that has not been told all.
    unsettled: Mutex<Vec<Arc<Audience<P>>>>,
    /// Which audience was made last.
    last: AtomicU64,
    watches: AtomicUsize,
    /// Frames of presence queued to connections.
    pub(crate) frames: Counter,
    /// Watchers that could not keep up, and were told anew.
    pub(crate) restarts: Counter,
    readers: Readers,
    limits: PresenceLimits,
}

impl<P> Presence<P> {
    pub(crate) fn new(readers: Readers, limits: PresenceLimits) -> Self {
        Self {
            audiences: Shards::new(),
            open: AtomicUsize::new(0),
            unsettled: Mutex::new(Vec::new()),
            last: AtomicU64::new(0),
            watches: AtomicUsize::new(0),
            frames: Counter::default(),
            restarts: Counter::default(),
            readers,
            limits,
        }
    }

    /// How many watches there are.
    pub(crate) fn watches(&self) -> usize {
        self.watches.load(Ordering::Relaxed)
    }

    /// How many watch a group.
    pub(crate) fn watchers(&self, group: &GroupName) -> usize {
        self.audience(group).map_or(0, |audience| audience.watchers())
    }

    /// Notes a change of a member in a group. Called inside the group's critical section, or, for a description, while
    /// the member's memberships are locked.
    #[inline]
    pub(crate) fn note(&self, group: &GroupName, member: &Arc<Member<P>>, what: What) {
        if self.open.load(Ordering::Relaxed) > 0 {
            self.note_where_watched(group, member, what);
        }
    }

    #[cold]
    fn note_where_watched(&self, group: &GroupName, member: &Arc<Member<P>>, what: What) {
        let Some(audience) = self.audiences.find(group) else { return };
        if audience.note(member, what) {
            self.unsettled.lock().push(audience);
        }
    }

    fn audience(&self, group: &GroupName) -> Option<Arc<Audience<P>>> {
        if self.open.load(Ordering::Relaxed) == 0 { None } else { self.audiences.find(group) }
    }

    /// Has a member watch a group, and queues as much of a snapshot to it as there is room for; again, where it watches
    /// it already. Other nodes are asked who is there where nobody watched. Gives how many users are present. The
    /// member's memberships are locked.
    pub(crate) fn watch(
        &self,
        group: &GroupName,
        member: &Arc<Member<P>>,
        rosters: &Rosters<GroupName, Member<P>>,
        cluster: Option<&dyn Cluster>,
    ) -> usize {
        self.read(group, || (member.id(), Reader::Client(Arc::clone(member))), rosters, cluster)
    }

    /// The same for another node.
    pub(crate) fn observe(
        &self,
        group: &GroupName,
        id: ConnectionId,
        outbox: &Arc<Outbox>,
        rosters: &Rosters<GroupName, Member<P>>,
    ) {
        self.read(group, || (id, Reader::Node(Arc::clone(outbox))), rosters, None);
    }

    fn read(
        &self,
        group: &GroupName,
        reader: impl Fn() -> (ConnectionId, Reader<P>),
        rosters: &Rosters<GroupName, Member<P>>,
        cluster: Option<&dyn Cluster>,
    ) -> usize {
        // Called while its place in the map is locked, so that the cluster hears of a group's audiences in their order.
        let open = || {
            self.open.fetch_add(1, Ordering::Relaxed);
            let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            let awaits = cluster.map(|cluster| cluster.watches(group, number)).unwrap_or_default();
            Arc::new(Audience::new(group.clone(), number, self.readers, awaits))
        };
        loop {
            let audience = match self.audiences.find(group) {
                Some(audience) => audience,
                None => self.audiences.find_or_replace(group, |_| true, open),
            };
            rosters.view(group, |members| audience.seed(members));
            let mut tally = Tally::default();
            let Some(watched) = audience.watch(reader(), self.limits.part_bytes, &mut tally) else {
                // Nobody watched, and it is about to be taken out of the map.
                self.audiences.find_or_replace(group, |known| !Arc::ptr_eq(known, &audience), open);
                continue;
            };
            self.count(&tally);
            self.watches.fetch_add(usize::from(watched.is_new), Ordering::Relaxed);
            if watched.is_unsettled {
                self.unsettled.lock().push(audience);
            }
            return watched.users;
        }
    }

    /// Ends a watch. What is queued of it is thrown away; where there is a reason, its client is told, and nothing of
    /// the group follows. The member's memberships are locked.
    pub(crate) fn unwatch(&self, group: &GroupName, id: &ConnectionId, why: Option<Removal<'_>>) {
        let Some(audience) = self.audiences.find(group) else { return };
        let ended = audience.unwatch(id, why);
        self.watches.fetch_sub(usize::from(ended.was_watching), Ordering::Relaxed);
        if ended.is_unsettled {
            self.unsettled.lock().push(audience);
        }
    }

    /// Takes over what another node says of its members, and tells it where it was the last that was waited for.
    pub(crate) fn hear(&self, node: NodeKey, frame: PresenceFrame, now: Instant) {
        let Some(audience) = self.audience(frame.group()) else { return };
        let heard = audience.hear(node, frame);
        self.see_to(audience, heard, now);
    }

    /// A node has gone.
    pub(crate) fn part(&self, node: NodeKey, now: Instant) {
        let mut all = Vec::new();
        self.audiences.for_each(|audience| all.push(Arc::clone(audience)));
        for audience in all {
            let heard = audience.part(node);
            self.see_to(audience, heard, now);
        }
    }

    fn see_to(&self, audience: Arc<Audience<P>>, heard: Heard, now: Instant) {
        let is_unsettled = match heard {
            Heard::Settled => false,
            Heard::Unsettled => true,
            Heard::Complete => {
                let mut tally = Tally::default();
                let is_unsettled = audience.announce_now(now, &self.limits, &mut tally);
                self.count(&tally);
                is_unsettled
            }
        };
        if is_unsettled {
            self.unsettled.lock().push(audience);
        }
    }

    /// Tells all watchers what has changed, as of `now`, when it is carried through.
    pub(crate) fn unsettled<'a>(
        &'a self,
        now: Instant,
        cluster: Option<&'a dyn Cluster>,
    ) -> Unsettled<'a, P> {
        let audiences = std::mem::take(&mut *self.unsettled.lock());
        Unsettled { presence: self, now, cluster, audiences }
    }

    fn announce(&self, audience: Arc<Audience<P>>, now: Instant, cluster: Option<&dyn Cluster>) {
        let mut tally = Tally::default();
        let next = audience.announce(now, &self.limits, &mut tally);
        self.count(&tally);
        match next {
            Next::Settled => {}
            Next::Unsettled => self.unsettled.lock().push(audience),
            Next::Closed => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                let (group, number) = audience.name();
                self.audiences.remove_if(group, |known| Arc::ptr_eq(known, &audience));
                if let Some(cluster) = cluster {
                    cluster.unwatches(group, number);
                }
            }
        }
    }

    /// Of how many groups somebody keeps who is there.
    #[cfg(all(test, not(feature = "model")))]
    fn kept(&self) -> usize {
        self.audiences.len()
    }

    /// Whether all that was announced is queued to a member, or was.
    #[cfg(all(test, not(feature = "model")))]
    fn is_current(&self, group: &GroupName, member: &Member<P>) -> bool {
        self.audience(group).is_some_and(|audience| audience.is_current(member))
    }

    /// How many changes of a group wait, and how many parts of snapshots are kept.
    #[cfg(all(test, not(feature = "model")))]
    fn held(&self, group: &GroupName) -> (usize, usize) {
        self.audience(group).map_or((0, 0), |audience| audience.held())
    }

    fn count(&self, tally: &Tally) {
        self.frames.add(tally.frames);
        self.restarts.add(tally.restarts);
    }
}

/// Groups whose watchers are to be told what has changed. Those that it has not got to when it is dropped are the next
/// one's.
#[must_use = "nobody is told before it is carried through"]
pub struct Announcement<'a, P> {
    /// Those of connections, and those of other nodes.
    parts: [Unsettled<'a, P>; 2],
}

impl<'a, P> Announcement<'a, P> {
    pub(crate) fn new(parts: [Unsettled<'a, P>; 2]) -> Self {
        Self { parts }
    }

    /// Goes on with so many groups. Tells whether there are more.
    pub fn go_on(&mut self, groups: usize) -> bool {
        if let Some(part) = self.parts.iter_mut().find(|part| !part.audiences.is_empty()) {
            part.go_on(groups);
        }
        self.parts.iter().any(|part| !part.audiences.is_empty())
    }
}

/// What was taken out of the list of those that are unsettled, and is put back where it was not got to.
pub(crate) struct Unsettled<'a, P> {
    presence: &'a Presence<P>,
    now: Instant,
    cluster: Option<&'a dyn Cluster>,
    audiences: Vec<Arc<Audience<P>>>,
}

impl<P> Unsettled<'_, P> {
    fn go_on(&mut self, groups: usize) {
        for audience in self.audiences.drain(self.audiences.len().saturating_sub(groups)..) {
            self.presence.announce(audience, self.now, self.cluster);
        }
    }
}

impl<P> Drop for Unsettled<'_, P> {
    fn drop(&mut self) {
        if !self.audiences.is_empty() {
            self.presence.unsettled.lock().append(&mut self.audiences);
        }
    }
}

/// Who is present among these members of a group at this moment, in the order of their names: what a watcher would be
/// told without the grace.
pub(crate) fn present<P>(members: &[Arc<Member<P>>]) -> Vec<Present> {
    let mut users: BTreeMap<&UserName, Attendance> = BTreeMap::new();
    for member in members {
        users.entry(member.user()).or_default().enter(member.id(), member.description());
    }
    users.into_iter().map(|(user, attendance)| attendance.present(user)).collect()
}

#[cfg(test)]
mod view;
#[cfg(all(test, feature = "model"))]
pub(crate) use self::view::View;

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
