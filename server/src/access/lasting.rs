//! Lasting memberships: in which groups users are whenever they are here, and what they may do there.
//!
//! In: rows that are on the disk already. Out: the groups that a user is put into when it connects, and whether it may
//! send to one, whatever its token says. Invariants: what is put in counts for whoever asks from then on; a row past
//! its end says nothing; it lifts no ban, which is asked first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_protocol::admin::{LastingRow, May};
use fanfare_protocol::{GroupName, UserName};
use fanfare_token::Seconds;
use parking_lot::RwLock;
use tokio::sync::Notify;

/// How many there are at most: all are in memory, some 300 bytes each.
const MOST: usize = 1_000_000;

/// Those that are in force.
pub(crate) struct Lasting {
    rows: RwLock<Rows>,
    /// How many there may be.
    most: usize,
    /// Whether there is any, so that who has none pays for none.
    is_used: AtomicBool,
    /// One has come, which may end sooner than the others.
    came: Notify,
}

impl Default for Lasting {
    fn default() -> Self {
        Self { rows: RwLock::default(), most: MOST, is_used: AtomicBool::default(), came: Notify::default() }
    }
}

#[derive(Default)]
struct Rows {
    of: HashMap<UserName, BTreeMap<GroupName, LastingRow>>,
    /// How many there are.
    all: usize,
    /// The ends that there are, soonest first.
    ends: BTreeSet<(Seconds, UserName, GroupName)>,
}

impl Rows {
    fn take(&mut self, user: &UserName, group: &GroupName) -> Option<LastingRow> {
        let own = self.of.get_mut(user)?;
        let row = own.remove(group)?;
        self.all -= 1;
        if own.is_empty() {
            self.of.remove(user);
        }
        if let Some(until) = row.until {
            self.ends.remove(&(until, row.user.clone(), row.group.clone()));
        }
        Some(row)
    }
}

impl Lasting {
    /// Puts one in force, in the place of the one before.
    pub(crate) fn put(&self, row: LastingRow) {
        let mut rows = self.rows.write();
        rows.take(&row.user, &row.group);
        if let Some(until) = row.until {
            rows.ends.insert((until, row.user.clone(), row.group.clone()));
        }
        rows.all += 1;
        rows.of.entry(row.user.clone()).or_default().insert(row.group.clone(), row);
        self.is_used.store(true, Ordering::Release);
        drop(rows);
        self.came.notify_one();
    }

    /// Takes one out of force. Gives it back, if there was one.
    pub(crate) fn remove(&self, user: &UserName, group: &GroupName) -> Option<LastingRow> {
        let mut rows = self.rows.write();
        let row = rows.take(user, group)?;
        self.is_used.store(!rows.of.is_empty(), Ordering::Release);
        Some(row)
    }

    /// What a user may do in a group by a lasting membership; `None` where it has none there.
    pub(crate) fn may(&self, user: &UserName, group: &GroupName, now: Seconds) -> Option<May> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        self.rows.read().of.get(user)?.get(group).filter(|row| counts(row, now)).map(|row| row.may)
    }

    /// The groups that a user is put into when it connects, in their order.
    pub(crate) fn groups(&self, user: &UserName, now: Seconds) -> Vec<GroupName> {
        if !self.is_used.load(Ordering::Acquire) {
            return Vec::new();
        }
        let rows = self.rows.read();
        let own = rows.of.get(user).into_iter().flat_map(BTreeMap::values);
        own.filter(|row| row.may.receives() && counts(row, now)).map(|row| row.group.clone()).collect()
    }

    /// One of them.
    pub(crate) fn find(&self, user: &UserName, group: &GroupName) -> Option<LastingRow> {
        self.rows.read().of.get(user)?.get(group).cloned()
    }

    /// How many a user has.
    pub(crate) fn count(&self, user: &UserName) -> usize {
        self.rows.read().of.get(user).map_or(0, BTreeMap::len)
    }

    /// Whether there are as many as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.read().all >= self.most
    }

    /// All of them, those past their end as well.
    pub(crate) fn all(&self) -> Vec<LastingRow> {
        self.rows.read().of.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Those that have ended.
    pub(crate) fn ended(&self, now: Seconds) -> Vec<LastingRow> {
        let rows = self.rows.read();
        let ended = rows.ends.iter().take_while(|(until, ..)| *until <= now);
        ended.filter_map(|(_, user, group)| rows.of.get(user)?.get(group).cloned()).collect()
    }

    /// When the next of them ends.
    pub(crate) fn next_end(&self) -> Option<Seconds> {
        self.rows.read().ends.first().map(|(until, ..)| *until)
    }

    /// Waits until one has come. For one who waits alone.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }
}

fn counts(row: &LastingRow, now: Seconds) -> bool {
    row.until.is_none_or(|until| until > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(user: &str, group: &str, may: May, until: Option<Seconds>) -> LastingRow {
        LastingRow {
            user: UserName::new(user).unwrap(),
            group: GroupName::new(group).unwrap(),
            may,
            since: 1,
            until,
            author: "oncall".to_owned(),
        }
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let lasting = Lasting { most: 2, ..Lasting::default() };
        for (user, group, is_full) in [("ann", "a", false), ("ann", "a", false), ("bob", "a", true)] {
            lasting.put(row(user, group, May::Both, None));
            assert_eq!(lasting.is_full(), is_full, "{user}");
        }
        let (ann, a) = (UserName::new("ann").unwrap(), GroupName::new("a").unwrap());
        assert!(lasting.remove(&ann, &a).is_some() && lasting.remove(&ann, &a).is_none());
        assert!(!lasting.is_full());
    }

    #[test]
    fn a_row_counts_until_its_end_and_says_what_it_says() {
        let lasting = Lasting::default();
        let (ann, bob) = (UserName::new("ann").unwrap(), UserName::new("bob").unwrap());
        let group = |name: &str| GroupName::new(name).unwrap();
        assert_eq!((lasting.may(&ann, &group("a"), 1), lasting.groups(&ann, 1)), (None, vec![]));
        lasting.put(row("ann", "b", May::Both, None));
        lasting.put(row("ann", "a", May::Receive, Some(10)));
        lasting.put(row("ann", "c", May::Send, Some(5)));
        assert_eq!(lasting.groups(&ann, 9), [group("a"), group("b")]);
        assert_eq!(lasting.groups(&ann, 10), [group("b")]);
        assert_eq!(lasting.groups(&bob, 1), []);
        assert_eq!(lasting.may(&ann, &group("c"), 4), Some(May::Send));
        assert_eq!(lasting.may(&ann, &group("c"), 5), None);
        assert_eq!((lasting.next_end(), lasting.ended(5).len(), lasting.count(&ann)), (Some(5), 1, 3));
        lasting.put(row("ann", "c", May::Send, Some(20)));
        assert_eq!((lasting.next_end(), lasting.ended(9).len()), (Some(10), 0));
        lasting.put(row("ann", "a", May::Both, None));
        assert_eq!(lasting.next_end(), Some(20));
        assert_eq!(lasting.find(&ann, &group("a")).unwrap().may, May::Both);
        assert_eq!(lasting.remove(&ann, &group("a")).unwrap().until, None);
        assert_eq!(lasting.remove(&ann, &group("a")), None);
        assert_eq!(lasting.remove(&bob, &group("a")), None);
        lasting.remove(&ann, &group("b")).unwrap();
        lasting.remove(&ann, &group("c")).unwrap();
        assert_eq!(lasting.next_end(), None);
        assert_eq!((lasting.all(), lasting.is_used.load(Ordering::Acquire)), (vec![], false));
    }
}
