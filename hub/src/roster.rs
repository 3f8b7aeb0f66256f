//! Who is in a group, or belongs to a user: named sets of members that exist while somebody is in them.
//!
//! In: members that enter and leave. Out: the members, visited under the set's own lock, which is the *critical
//! section* that promises 7 and 8 speak of: whatever a visitor or the one who enters does to a member's outbox is
//! ordered against every other enter, leave and visit of the same set.
//!
//! Invariants:
//! - a set is in the map exactly while it has members, but for the moment between its last leave and its removal, when
//!   it is *retired*: nobody enters a retired set, the next to come puts a new one in its place;
//! - lock order: a set's lock before an outbox's lock; no lock of the map is held while a set's lock is taken.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexSet;

use crate::shards::{Shards, fewer_places};
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

/// A named set of connections: the members of a group, as [`Hub::roster`](crate::Hub::roster) gives it.
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
    pub(crate) fn count(&self, copies: u64) {
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

    /// Takes `member` out of the set. `farewell` runs inside the critical section if it was in, with the number of
    /// those that are left: after it no visit reaches the member here. Returns how many are left, and whether it was
    /// in.
    pub(crate) fn leave(
        &self,
        roster: &Arc<Roster<N, M>>,
        member: &Arc<M>,
        farewell: impl FnOnce(usize),
    ) -> (usize, bool) {
        let mut members = roster.members.write();
        let was_in = members.set.swap_remove(&ByAddress(Arc::clone(member)));
        let left = members.set.len();
        if was_in {
            farewell(left);
            members.retired = left == 0;
            members.changes += 1;
            if let Some(places) = fewer_places(left, members.set.capacity()) {
                members.set.shrink_to(places);
            }
        }
        let emptied = was_in && left == 0;
        drop(members);
        if emptied {
            self.forget(roster);
        }
        (left, was_in)
    }

    /// Calls `visit` with the members of the set of this name inside its critical section, so that nobody enters or
    /// leaves meanwhile; with `None` where there is no such set, or none any more. Who enters from then on is in a set
    /// that was not in the map yet.
    pub(crate) fn view(&self, name: &N, visit: impl FnOnce(Option<&mut dyn Iterator<Item = &Arc<M>>>)) {
        while let Some(roster) = self.map.find(name) {
            let members = roster.members.read();
            if !members.retired {
                return visit(Some(&mut members.set.iter().map(|ByAddress(member)| member)));
            }
            drop(members);
            // Whoever left last is about to do it.
            self.forget(&roster);
        }
        visit(None);
    }

    fn forget(&self, roster: &Arc<Roster<N, M>>) {
        self.map.remove_if(&roster.name, |known| Arc::ptr_eq(known, roster));
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn enter(rosters: &Rosters<u8, u32>, name: u8, member: &Arc<u32>) -> Arc<Roster<u8, u32>> {
        rosters.enter::<()>(&name, member, |_| Ok(())).unwrap()
    }

    #[test]
    fn a_set_tells_its_name_its_members_and_whether_they_have_changed() {
        let rosters = Rosters::new();
        let (one, two) = (Arc::new(1), Arc::new(2));
        let roster = enter(&rosters, 7, &one);
        assert_eq!((*roster.name(), roster.len(), roster.is_empty(), roster.changes()), (7, 1, false, 1));
        assert!(Arc::ptr_eq(&enter(&rosters, 7, &two), &roster));
        assert_eq!((roster.len(), roster.changes()), (2, 2));
        assert_eq!(roster.snapshot(), [Arc::clone(&one), Arc::clone(&two)]);
        let refused = rosters.enter(&7, &Arc::new(3), Err);
        assert_eq!((refused.err(), roster.changes()), (Some(2), 2), "who is refused changes nothing");

        assert_eq!(rosters.leave(&roster, &one, |_| {}), (1, true));
        assert_eq!(rosters.leave(&roster, &one, |_| panic!("it has left")), (1, false));
        assert_eq!((roster.len(), roster.changes()), (1, 3));
        assert_eq!(rosters.leave(&roster, &two, |_| {}), (0, true));
        assert_eq!((roster.is_empty(), roster.changes(), rosters.len()), (true, 4, 0));
    }

    #[test]
    fn every_set_is_listed_with_its_size_but_for_one_that_is_just_being_left() {
        let rosters = Rosters::new();
        let (one, two) = (Arc::new(1), Arc::new(2));
        enter(&rosters, 7, &one);
        enter(&rosters, 8, &one);
        enter(&rosters, 8, &two);
        // Its last member is out, and it is still in the map.
        rosters.map.find_or_replace(&9, |_| true, || Arc::new(Roster::new(9)));
        let mut sizes = rosters.sizes();
        sizes.sort_unstable();
        assert_eq!(sizes, [(7, 1), (8, 2)]);
        let mut names: Vec<u8> = rosters.all().iter().map(|roster| *roster.name()).collect();
        names.sort_unstable();
        assert_eq!((names, rosters.len()), (vec![7, 8, 9], 3));
    }

    #[test]
    fn a_set_stays_while_somebody_is_in_it() {
        let rosters = Rosters::new();
        let [one, two, three] = [1, 2, 3].map(Arc::new);
        let roster = enter(&rosters, 7, &one);
        enter(&rosters, 7, &two);
        rosters.leave(&roster, &one, |_| {});
        assert!(Arc::ptr_eq(&enter(&rosters, 7, &three), &roster));
        assert_eq!(roster.snapshot(), [two, three]);
    }

    #[test]
    fn nobody_enters_a_set_that_is_about_to_leave_the_map() {
        let rosters = Rosters::new();
        let retired = rosters.map.find_or_replace(&7, |_| true, || Arc::new(Roster::new(7)));
        retired.members.write().retired = true;
        let roster = enter(&rosters, 7, &Arc::new(1));
        assert!(!Arc::ptr_eq(&roster, &retired) && retired.is_empty());
        // Whoever retired it comes late, and takes out nothing but that.
        rosters.forget(&retired);
        assert!(rosters.find(&7).is_some_and(|found| Arc::ptr_eq(&found, &roster)));
    }

    #[test]
    fn promise_3_a_crowd_that_has_gone_leaves_no_memory_behind() {
        let rosters = Rosters::new();
        let crowd: Vec<Arc<u32>> = (0..1_000).map(Arc::new).collect();
        let roster = enter(&rosters, 7, &crowd[0]);
        for member in &crowd[1..] {
            enter(&rosters, 7, member);
        }
        for member in &crowd[1..] {
            rosters.leave(&roster, member, |_| {});
        }
        let places = roster.members.read().set.capacity();
        assert!(places <= 64, "{places} places for one");
        assert_eq!(roster.snapshot(), [Arc::clone(&crowd[0])]);
    }

    /// Else to enter a large group would mean to look at all who are in it.
    #[test]
    fn members_are_told_apart_by_their_hashes() {
        let hasher = RandomState::new();
        let member = Arc::new(1);
        let hash = |member: &Arc<u32>| hasher.hash_one(ByAddress(Arc::clone(member)));
        assert_eq!(hash(&member), hash(&Arc::clone(&member)));
        assert_ne!(hash(&member), hash(&Arc::new(1)));
    }
}
