//! Who is in which group, as a back end hears of it: with a user's first connection, and when its last one has been
//! gone for as long as the grace of presence.
//!
//! In: memberships of connections that begin and end, in their order, and the time. Out: what is to be told. Pure.
//! Invariants: of one user and group "here" and "gone" take turns, beginning with "here"; somebody who comes back
//! within the grace was never gone.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use fanfare_protocol::{GroupName, UserName};

/// Who is in which group.
pub(super) struct Users {
    grace: Duration,
    here: HashMap<(GroupName, UserName), Here>,
    leaving: BTreeMap<(Instant, u64), (GroupName, UserName)>,
    last: u64,
}

enum Here {
    /// With so many connections.
    With(u64),
    /// With none, and gone then.
    Until((Instant, u64)),
}

impl Users {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, here: HashMap::new(), leaving: BTreeMap::new(), last: 0 }
    }

    /// A connection of a user has become a member. Tells whether the user has come with it.
    pub(super) fn joined(&mut self, group: GroupName, user: UserName) -> bool {
        match self.here.entry((group, user)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Here::With(1));
                true
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                match entry.get_mut() {
                    Here::With(connections) => *connections += 1,
                    Here::Until(until) => {
                        self.leaving.remove(until);
                        entry.insert(Here::With(1));
                    }
                }
                false
            }
        }
    }

    /// A membership of one of its connections has ended.
    pub(super) fn left(&mut self, group: GroupName, user: UserName, now: Instant) {
        let key = (group, user);
        let Some(Here::With(connections)) = self.here.get_mut(&key) else { return };
        *connections -= 1;
        if *connections == 0 {
            self.last += 1;
            let until = (now + self.grace, self.last);
            self.here.insert(key.clone(), Here::Until(until));
            self.leaving.insert(until, key);
        }
    }

    /// When somebody is gone next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.leaving.keys().next().map(|(at, _)| *at)
    }

    /// Who is gone by now.
    pub(super) fn gone(&mut self, now: Instant) -> Vec<(GroupName, UserName)> {
        let mut gone = Vec::new();
        while let Some(entry) = self.leaving.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            self.here.remove(&key);
            gone.push(key);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_16_who_comes_back_within_the_grace_was_never_gone() {
        let (mut users, now) = (Users::new(Duration::from_secs(2)), Instant::now());
        let (group, user) = (GroupName::new("room").unwrap(), UserName::new("alice").unwrap());
        let at = |ms| now + Duration::from_millis(ms);
        assert!(users.joined(group.clone(), user.clone()));
        assert!(!users.joined(group.clone(), user.clone()), "a second connection");
        users.left(group.clone(), user.clone(), at(0));
        assert_eq!(users.next(), None, "the other is there");
        users.left(group.clone(), user.clone(), at(100));
        assert_eq!((users.next(), users.gone(at(2_099)).len()), (Some(at(2_100)), 0));
        assert!(!users.joined(group.clone(), user.clone()), "it has only reloaded");
        assert_eq!((users.next(), users.gone(at(9_000)).len()), (None, 0));
        users.left(group.clone(), user.clone(), at(9_000));
        users.left(group.clone(), user.clone(), at(9_001));
        assert_eq!(users.gone(at(11_000)), [(group.clone(), user.clone())]);
        assert!(users.here.is_empty() && users.leaving.is_empty());
        assert!(users.joined(group, user));
    }

    #[test]
    fn without_a_grace_who_leaves_is_gone() {
        let (mut users, now) = (Users::new(Duration::ZERO), Instant::now());
        let (group, user) = (GroupName::new("room").unwrap(), UserName::new("alice").unwrap());
        users.joined(group.clone(), user.clone());
        users.left(group, user, now);
        assert_eq!(users.gone(now).len(), 1);
    }
}
