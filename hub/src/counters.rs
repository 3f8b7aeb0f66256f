//! What the hub has done, counted. Invariant: nothing that is dropped or removed goes uncounted (promise 11).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_protocol::Code;

use crate::striped::Counter;

/// One counter for each code: what it counts is rare. Relaxed, as in [`Counter`].
#[derive(Debug)]
pub struct ByCode(Box<[AtomicU64]>);

impl Default for ByCode {
    fn default() -> Self {
        Self(Code::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl ByCode {
    /// Counts one.
    pub fn add(&self, code: Code) {
        self.add_many(code, 1);
    }

    /// Counts so many.
    pub(crate) fn add_many(&self, code: Code, count: u64) {
        let counters = Code::ALL.iter().zip(&self.0);
        for (_, counter) in counters.filter(|(known, _)| **known == code) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The counts of those codes that there were any of.
    #[must_use]
    pub fn values(&self) -> BTreeMap<Code, u64> {
        let all =
            Code::ALL.iter().zip(&self.0).map(|(code, counter)| (*code, counter.load(Ordering::Relaxed)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

/// The hub's counters. Each only grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages accepted here.
    pub sends: Counter,
    /// Messages that came from other nodes, where they were accepted.
    pub arrived: Counter,
    /// Messages that may have been lost on their way from other nodes: at most so many.
    pub missed: Counter,
    /// Copies of messages queued to connections.
    pub deliveries: Counter,
    /// Copies dropped from full outboxes, or lost on the unreliable lane.
    pub displaced: Counter,
    /// Memberships ended by [`crate::Hub::remove`], by code.
    pub removed: ByCode,
    /// Copies thrown away because the membership ended before they were written.
    pub purged: Counter,
    /// Bytes that went out in datagrams. What goes to outboxes is counted by whoever writes it.
    pub datagram_bytes: Counter,
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_count_of_its_own_and_what_never_happened_is_not_told() {
        let counts = ByCode::default();
        assert!(counts.values().is_empty());
        counts.add(Code::UserFull);
        counts.add(Code::UserFull);
        counts.add_many(Code::SlowConsumer, 5);
        counts.add_many(Code::Internal, 0);
        assert_eq!(counts.values(), BTreeMap::from([(Code::UserFull, 2), (Code::SlowConsumer, 5)]));
    }
}
