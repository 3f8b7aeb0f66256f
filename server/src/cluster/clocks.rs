//! How far the other nodes' clocks are from this one's.
//!
//! In: what a node's clock said when it put a heartbeat, and what this one's says when that comes. Out: by how much they
//! are apart, where that is more than a few seconds. Invariant: how long a heartbeat was on its way is not held against
//! its node, unless each of several was so long.
//!
//! Leases do not depend on it. What is decided with an end, tokens, sign-outs and what a server brings that was alone
//! do: each node goes by its own clock there.

use std::collections::{HashMap, VecDeque};
use std::time::UNIX_EPOCH;

use fanfare_cluster::NodeId;

use crate::access;

/// So far apart is told, in milliseconds.
pub(super) const APART: i64 = 2_000;

/// So many heartbeats are looked at: two seconds.
const LOOKED_AT: usize = 4;

/// The other nodes' clocks.
#[derive(Debug, Default)]
pub(super) struct Clocks(HashMap<NodeId, Clock>);

#[derive(Debug, Default)]
struct Clock {
    /// By how much it was ahead when a heartbeat came, in milliseconds: too little, by as long as that was on its way.
    ahead: VecDeque<i64>,
    is_told: bool,
}

impl Clock {
    /// By how much it is ahead, as exactly as is known; nothing while too little is known.
    fn ahead(&self) -> Option<i64> {
        self.ahead.iter().max().copied().filter(|_| self.ahead.len() == LOOKED_AT)
    }
}

impl Clocks {
    /// A heartbeat has come. Gives by how many milliseconds its node's clock is ahead, where that is to be told now.
    pub(super) fn heard(&mut self, id: NodeId, theirs_ms: u64, ours_ms: u64) -> Option<i64> {
        // One of an earlier version does not say it.
        if theirs_ms == 0 {
            return None;
        }
        let clock = self.0.entry(id).or_default();
        if clock.ahead.len() == LOOKED_AT {
            clock.ahead.pop_front();
        }
        // It may say any time.
        let ahead = i128::from(theirs_ms) - i128::from(ours_ms);
        clock.ahead.push_back(i64::try_from(ahead).unwrap_or(i64::MAX));
        let ahead = clock.ahead()?;
        let is_apart = is_apart(ahead);
        let was_told = std::mem::replace(&mut clock.is_told, is_apart);
        (is_apart && !was_told).then_some(ahead)
    }

    /// By how many milliseconds a node's clock is ahead of this one's, as far as that is known.
    pub(super) fn ahead(&self, id: NodeId) -> Option<i64> {
        self.0.get(&id).and_then(Clock::ahead)
    }

    /// What it has left among the decisions is gone.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.0.remove(&id);
    }
}

/// What this node's clock says, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = access::clock().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn is_apart(ahead_ms: i64) -> bool {
    ahead_ms.unsigned_abs() >= APART.unsigned_abs()
}

/// What is told of a clock that is so many milliseconds ahead; nothing where it is right.
pub(super) fn words(ahead_ms: i64) -> Option<String> {
    let tenths = ahead_ms.unsigned_abs() / 100;
    let which = if ahead_ms < 0 { "behind" } else { "ahead of" };
    is_apart(ahead_ms).then(|| format!("its clock is {}.{} s {which} this node's", tenths / 10, tenths % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn id(number: u8) -> NodeId {
        NodeId::new([number; 4])
    }

    fn told(clocks: &mut Clocks, theirs: &[u64]) -> Vec<Option<i64>> {
        theirs.iter().map(|theirs| clocks.heard(id(1), *theirs, NOW)).collect()
    }

    #[test]
    fn a_clock_that_is_apart_is_told_once_and_again_when_it_was_right() {
        let mut clocks = Clocks::default();
        assert_eq!(told(&mut clocks, &[NOW + 5_000; 6]), [None, None, None, Some(5_000), None, None]);
        assert_eq!(clocks.ahead(id(1)), Some(5_000));
        assert_eq!(told(&mut clocks, &[NOW; 4]), [None; 4]);
        assert_eq!(clocks.ahead(id(1)), Some(0));
        assert_eq!(told(&mut clocks, &[NOW - 2_000; 4]), [None, None, None, Some(-2_000)]);
        clocks.forget(id(1));
        assert_eq!(clocks.ahead(id(1)), None);
    }

    #[test]
    fn a_slow_way_is_not_held_against_a_clock() {
        let mut clocks = Clocks::default();
        // One of four came as soon as the others should have.
        assert_eq!(told(&mut clocks, &[NOW - 9_000, NOW - 100, NOW - 9_000, NOW - 8_000]), [None; 4]);
        assert_eq!(clocks.ahead(id(1)), Some(-100));
    }

    #[test]
    fn one_that_does_not_say_it_or_says_nonsense_does_no_harm() {
        let mut clocks = Clocks::default();
        assert_eq!(told(&mut clocks, &[0; 9]), [None; 9]);
        assert_eq!(clocks.ahead(id(1)), None);
        assert_eq!(told(&mut clocks, &[u64::MAX; 4])[3], Some(i64::MAX));
        assert!(words(i64::MAX).is_some());
        assert!(words(i64::MIN).is_some());
    }

    #[test]
    fn words_say_which_way() {
        assert_eq!(words(1_999), None);
        assert_eq!(words(-1_999), None);
        assert_eq!(words(3_250).as_deref(), Some("its clock is 3.2 s ahead of this node's"));
        assert_eq!(words(-61_000).as_deref(), Some("its clock is 61.0 s behind this node's"));
    }
}
