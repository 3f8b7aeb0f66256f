//! What is decided: a log of entries with revisions, of which the newest of each key is kept, as a bucket of NATS does
//! it; and each node's watch of it.
//!
//! In: entries, and how far each watch has come. Out: the next entry of a watch, and whether there is more behind it.
//! What another entry has taken the place of is passed over by a watch that has not come so far.

use std::collections::{BTreeMap, HashMap};

use fanfare_cluster::{Duties, Heartbeat, NodeId};

use super::time::Micros;

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Node(NodeId),
    /// A user and a group, by their numbers.
    Ban(usize, usize),
    /// A user, kept out of all nodes.
    UserBan(usize),
    /// A user's sign-out.
    SignOut(usize),
    /// A user and a group that it is in whenever it is here.
    Lasting(usize, usize),
    /// Who has the duty to tell a back end.
    Duty,
}

/// What it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Beat(Heartbeat),
    Banned,
    /// What was issued up to this moment does not do any more.
    SignedOut(Micros),
    Lasts,
    /// What an operator or a back end had decided is not so any more.
    Restored,
    Deleted,
    Holds(Duties),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) revision: u64,
}

#[derive(Default)]
pub(crate) struct Log {
    entries: BTreeMap<u64, (Key, Value)>,
    newest: HashMap<Key, u64>,
    last: u64,
    /// Since which revision something has been decided without a break.
    stands: HashMap<Key, u64>,
}

impl Log {
    /// Puts an entry in. `over` is the revision that it may take the place of, 0 where there is to be none. Gives its
    /// own.
    pub(crate) fn append(&mut self, key: Key, value: Value, over: Option<u64>) -> Option<u64> {
        if over.is_some_and(|over| self.current(&key) != over) {
            return None;
        }
        self.last += 1;
        match &value {
            Value::Banned | Value::SignedOut(_) | Value::Lasts => {
                self.stands.entry(key.clone()).or_insert(self.last);
            }
            Value::Restored => drop(self.stands.remove(&key)),
            Value::Beat(_) | Value::Deleted | Value::Holds(_) => {}
        }
        if let Some(before) = self.newest.insert(key.clone(), self.last) {
            self.entries.remove(&before);
        }
        self.entries.insert(self.last, (key, value));
        Some(self.last)
    }

    /// The revision of a key's entry; 0 where there is none, or it was taken out.
    fn current(&self, key: &Key) -> u64 {
        let newest = self.newest.get(key).copied().unwrap_or_default();
        let is_out = |(_, value): &(Key, Value)| matches!(value, Value::Restored | Value::Deleted);
        if self.entries.get(&newest).is_some_and(is_out) { 0 } else { newest }
    }

    /// The next entry behind a revision, and whether there are more behind that.
    pub(crate) fn next(&self, behind: u64) -> Option<(Entry, bool)> {
        let mut next = self.entries.range(behind + 1..);
        let (revision, (key, value)) = next.next()?;
        Some((Entry { key: key.clone(), value: value.clone(), revision: *revision }, next.next().is_some()))
    }

    /// Whether somebody has the duty to tell a back end.
    pub(crate) fn held(&self) -> bool {
        let entry = self.newest.get(&Key::Duty).and_then(|newest| self.entries.get(newest));
        matches!(entry, Some((_, Value::Holds(Duties { holder: Some(_), .. }))))
    }

    /// Since which revision something has been decided without a break.
    pub(crate) fn stands(&self, key: &Key) -> Option<u64> {
        self.stands.get(key).copied()
    }

    /// Whether something was decided about a key behind a revision.
    pub(crate) fn is_behind(&self, key: &Key, revision: u64) -> bool {
        self.newest.get(key).is_some_and(|newest| *newest > revision)
    }

    /// Everything that stands.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries
            .values()
            .filter(|(key, _)| self.stands.contains_key(key))
            .map(|(key, value)| (key, value))
    }
}
