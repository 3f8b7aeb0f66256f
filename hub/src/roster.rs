//! Who is in a group, or belongs to a user: named sets of members that exist while somebody is in them.
//!
//! In: members that enter and leave. Out: the members, visited under the set's own lock, which is the *critical section*
//! that promises 7 and 8 speak of: whatever a visitor or the one who enters does to a member's outbox is ordered against
//! every other enter, leave and visit of the same set.
//!
//! Invariants:
//! - a set is in the map exactly while it has members, but for the moment between its last leave and its removal, when it
//!   is *retired*: nobody enters a retired set, the next to come puts a new one in its place;
//! - lock order: a set's lock before an outbox's lock; no lock of the map is held while a set's lock is taken.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexSet;

use crate::shards::Shards;
use crate::sync::RwLock;

/// A member in a set: the same member is the same `Arc`, so its address is its hash and no memory is touched for it.
struct ByAddress<M>(Arc<M>);

impl<M> PartialEq for ByAddress<M> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<M> Eq for ByAddress<M> {}

impl<M> Hash for ByAddress<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The members lie side by side in memory, in no order that anybody may rely on.
struct Members<M> {
    set: IndexSet<ByAddress<M>, foldhash::fast::RandomState>,
    retired: bool,
    /// How often somebody has entered or left.
    changes: u64,
}

/// One named set.
pub struct Roster<N, M> {
    name: N,
    members: RwLock<Members<M>>,
    /// Copies that went to members because of this set.
    delivered: AtomicU64,
}

impl<N, M> Roster<N, M> {
    fn new(name: N) -> Self {
        let members = Members { set: IndexSet::default(), retired: false, changes: 0 };
        Self { name, members: RwLock::new(members), delivered: AtomicU64::new(0) }
    }

    /// The name it goes by.
    pub fn name(&self) -> &N {
        &self.name
    }

    /// Counts copies that went to members.
    pub fn count(&self, copies: u64) {
        self.delivered.fetch_add(copies, Ordering::Relaxed);
    }

    /// How many copies went to members so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How many members there are now.
    pub fn len(&self) -> usize {
        self.members.read().set.len()
    }

    /// Whether it has none: it is about to leave the map.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often its members have changed: the same number means the same members.
    pub fn changes(&self) -> u64 {
        self.members.read().changes
    }

    /// Calls `visit` for every member inside the critical section. Visits of one set can run at the same time as each
    /// other, never at the same time as an enter or a leave.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<M>)) {
        for ByAddress(member) in &self.members.read().set {
            visit(member);
        }
    }

    /// The members, as they are at one moment.
    pub fn snapshot(&self) -> Vec<Arc<M>> {
        self.members.read().set.iter().map(|ByAddress(member)| Arc::clone(member)).collect()
    }
}

/// All sets of one kind.
pub(crate) struct Rosters<N, M> {
    map: Shards<N, Arc<Roster<N, M>>>,
}

impl<N: Clone + Eq + Hash, M> Rosters<N, M> {
    pub(crate) fn new() -> Self {
        Self { map: Shards::new() }
    }

    pub(crate) fn find(&self, name: &N) -> Option<Arc<Roster<N, M>>> {
        self.map.find(name)
    }

    /// How many sets there are.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Every set there is at about one moment.
    pub(crate) fn all(&self) -> Vec<Arc<Roster<N, M>>> {
        let mut rosters = Vec::with_capacity(self.map.len());
        self.map.for_each(|roster| rosters.push(Arc::clone(roster)));
        rosters
    }

    /// The name and the size of every set, each at its own moment. Those that are just being left are left out.
    pub(crate) fn sizes(&self) -> Vec<(N, usize)> {
        let rosters = self.all();
        let sizes = rosters.iter().map(|roster| (roster.name.clone(), roster.len()));
        sizes.filter(|(_, members)| *members > 0).collect()
    }

    /// Lets `member` into the set of this name. `admit` runs inside the critical section, with the number of members
    /// before; it may refuse. What it does for an admitted member happens before anyone can visit the member here.
    pub(crate) fn enter<E>(
        &self,
        name: &N,
        member: &Arc<M>,
        mut admit: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Arc<Roster<N, M>>, E> {
        loop {
            let roster = match self.map.find(name) {
                Some(roster) => roster,
                None => self.map.find_or_replace(name, |_| true, || Arc::new(Roster::new(name.clone()))),
            };
            let mut members = roster.members.write();
            if members.retired {
                // Its last member has left, and is about to take it out of the map; we need not wait for that.
                drop(members);
                let fresh = || Arc::new(Roster::new(name.clone()));
                self.map.find_or_replace(name, |known| !Arc::ptr_eq(known, &roster), fresh);
                continue;
            }
            let admitted = admit(members.set.len());
            if admitted.is_ok() {
                members.set.insert(ByAddress(Arc::clone(member)));
                members.changes += 1;
            }
            // A set that was made for a member who was then refused must not stay.
            let abandoned = members.set.is_empty();
            members.retired = abandoned;
            drop(members);
            if abandoned {
                self.forget(&roster);
            }
            return admitted.map(|()| roster);
        }
    }

    /// Takes `member` out of the set. `farewell` runs inside the critical section if it was in: after it no visit reaches
    /// the member here. Returns how many are left, and whether it was in.
    pub(crate) fn leave(
        &self,
        roster: &Arc<Roster<N, M>>,
        member: &Arc<M>,
        farewell: impl FnOnce(),
    ) -> (usize, bool) {
        let mut members = roster.members.write();
        let was_in = members.set.swap_remove(&ByAddress(Arc::clone(member)));
        let left = members.set.len();
        if was_in {
            farewell();
            members.retired = left == 0;
            members.changes += 1;
            // A crowd that has gone leaves no memory behind (promise 3).
            if members.set.capacity() > 64 && left * 8 < members.set.capacity() {
                members.set.shrink_to(left * 2);
            }
        }
        let emptied = was_in && left == 0;
        drop(members);
        if emptied {
            self.forget(roster);
        }
        (left, was_in)
    }

    fn forget(&self, roster: &Arc<Roster<N, M>>) {
        self.map.remove_if(&roster.name, |known| Arc::ptr_eq(known, roster));
    }
}
