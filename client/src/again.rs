//! Which groups are to be asked for again on this connection, and when.
//!
//! In: refusals for now, doubts, and what was settled. Out: groups whose moment has come. Nothing here waits.
//! Invariants: a group is in it once; its pauses grow until it is settled; there is nothing in it of a group that is
//! settled.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fanfare_protocol::GroupName;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// The pauses behind refusals. Whatever such a refusal is about is over in seconds, mostly, and meanwhile the
/// application is shown what was.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The groups.
#[derive(Default)]
pub(crate) struct Again {
    due: BTreeMap<GroupName, Instant>,
    /// Of those that were refused since they were settled last.
    pauses: HashMap<GroupName, Backoff>,
}

impl Again {
    /// It was refused for now. Where it is to be asked for already that stands.
    pub(crate) fn put_off(&mut self, group: &GroupName) {
        if !self.due.contains_key(group) {
            let pauses =
                self.pauses.entry(group.clone()).or_insert_with(|| Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
            self.due.insert(group.clone(), Instant::now() + pauses.next_delay());
        }
    }

    /// It is to be asked for now.
    pub(crate) fn at_once(&mut self, group: &GroupName) {
        self.due.insert(group.clone(), Instant::now());
    }

    /// The server has let it in, or nobody wants it.
    pub(crate) fn settled(&mut self, group: &GroupName) {
        self.due.remove(group);
        self.pauses.remove(group);
    }

    /// The next moment.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// A group whose moment has come. Told once.
    pub(crate) fn take(&mut self, now: Instant) -> Option<GroupName> {
        let group = self.due.iter().find(|(_, due)| **due <= now).map(|(group, _)| group.clone())?;
        self.due.remove(&group);
        Some(group)
    }
}
