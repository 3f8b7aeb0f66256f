//! How far the other nodes' clocks are from this one's.
//!
//! In: what a node's clock said when it put a heartbeat, and what this one's says when that comes. Out: by how much
//! they are apart, where that is two seconds or more. Invariant: how long a heartbeat was on its way is not held
//! against its node: of those of a time that is longer than a lease the one counts that came fastest, and a node
//! without its lease compares nothing.
//!
//! Leases do not depend on it. What is decided with an end, tokens, sign-outs and what a server brings that was alone
//! do: each node goes by its own clock there.

use std::collections::{HashMap, VecDeque};
use std::time::UNIX_EPOCH;

use fanfare_cluster::{NodeId, Settings};

use crate::access;

/// So far apart is told, in milliseconds.
const APART: i64 = 2_000;

/// A clock that was apart is right again when it is not so far apart any more.
const RIGHT: i64 = APART / 2;

/// The other nodes' clocks.
#[derive(Debug)]
pub(super) struct Clocks {
    of: HashMap<NodeId, Clock>,
    /// So many heartbeats are looked at.
    looked_at: usize,
}

#[derive(Debug, Default)]
struct Clock {
    /// By how much it was ahead when a heartbeat came, in milliseconds: too little, by as long as that was on its way.
    ahead: VecDeque<i64>,
    is_told: bool,
}

impl Clocks {
    pub(super) fn new(times: &Settings) -> Self {
        let beats = times.lease.as_millis() / times.heartbeat.as_millis().max(1);
        Self {
            of: HashMap::new(),
            looked_at: usize::try_from(beats).unwrap_or(usize::MAX).clamp(8, 1_000) + 2,
        }
    }

    /// A heartbeat has come. Gives by how many milliseconds its node's clock is ahead, where that is to be told now.
    pub(super) fn heard(&mut self, id: NodeId, theirs_ms: u64, ours_ms: u64) -> Option<i64> {
        // One of an earlier version does not say it.
        if theirs_ms == 0 {
            return None;
        }
        let clock = self.of.entry(id).or_default();
        if clock.ahead.len() == self.looked_at {
            clock.ahead.pop_front();
        }
        // It may say any time.
        let ahead = i128::from(theirs_ms) - i128::from(ours_ms);
        clock.ahead.push_back(i64::try_from(ahead).unwrap_or(i64::MAX));
        let ahead = self.ahead(id)?;
        let clock = self.of.get_mut(&id)?;
        let far = if clock.is_told { RIGHT } else { APART };
        let was_told = std::mem::replace(&mut clock.is_told, is_apart(ahead, far));
        (clock.is_told && !was_told).then_some(ahead)
    }

    /// By how many milliseconds a node's clock is ahead of this one's, as exactly as is known; nothing while too little
    /// is known.
    pub(super) fn ahead(&self, id: NodeId) -> Option<i64> {
        let clock = self.of.get(&id).filter(|clock| clock.ahead.len() == self.looked_at)?;
        clock.ahead.iter().max().copied()
    }

    /// What it has left among the decisions is gone.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.of.remove(&id);
    }

    /// Heartbeats come late, or not at all.
    pub(super) fn stop(&mut self) {
        self.of.values_mut().for_each(|clock| clock.ahead.clear());
    }
}

/// What this node's clock says, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = access::clock().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn is_apart(ahead_ms: i64, far: i64) -> bool {
    ahead_ms.unsigned_abs() >= far.unsigned_abs()
}

/// What is told of a clock that is so many milliseconds ahead; nothing where it is right.
pub(super) fn words(ahead_ms: i64) -> Option<String> {
    let tenths = ahead_ms.unsigned_abs() / 100;
    let which = if ahead_ms < 0 { "behind" } else { "ahead of" };
    is_apart(ahead_ms, APART)
        .then(|| format!("its clock is {}.{} s {which} this node's", tenths / 10, tenths % 10))
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

    fn clocks() -> Clocks {
        Clocks::new(&Settings::default())
    }

    #[test]
    fn a_clock_that_is_apart_is_told_once_and_again_when_it_was_right() {
        let mut clocks = clocks();
        let many = clocks.looked_at;
        let mut expected = vec![None; many + 3];
        expected[many - 1] = Some(5_000);
        assert_eq!(told(&mut clocks, &vec![NOW + 5_000; many + 3]), expected);
        assert_eq!(clocks.ahead(id(1)), Some(5_000));
        // Not so far, and not near enough to be right.
        assert_eq!(told(&mut clocks, &vec![NOW + 1_500; many]), vec![None; many]);
        assert_eq!(told(&mut clocks, &vec![NOW + 2_500; many]), vec![None; many]);
        assert_eq!(told(&mut clocks, &vec![NOW; many]), vec![None; many]);
        assert_eq!(clocks.ahead(id(1)), Some(0));
        assert_eq!(told(&mut clocks, &vec![NOW - 2_000; many]).last(), Some(&Some(-2_000)));
        clocks.forget(id(1));
        assert_eq!(clocks.ahead(id(1)), None);
    }

    #[test]
    fn a_slow_way_is_not_held_against_a_clock() {
        let mut clocks = clocks();
        let many = clocks.looked_at;
        // One came as soon as the others should have.
        let mut theirs = vec![NOW - 9_000; many];
        theirs[2] = NOW - 100;
        assert_eq!(told(&mut clocks, &theirs), vec![None; many]);
        assert_eq!(clocks.ahead(id(1)), Some(-100));
        // Nothing came in time, and everything at once.
        clocks.stop();
        assert_eq!(clocks.ahead(id(1)), None);
        assert_eq!(told(&mut clocks, &vec![NOW - 9_000; many - 1]), vec![None; many - 1]);
        clocks.stop();
        assert_eq!(told(&mut clocks, &vec![NOW - 10; many]), vec![None; many]);
    }

    #[test]
    fn one_that_does_not_say_it_or_says_nonsense_does_no_harm() {
        let mut clocks = clocks();
        let many = clocks.looked_at;
        assert_eq!(told(&mut clocks, &vec![0; 2 * many]), vec![None; 2 * many]);
        assert_eq!(clocks.ahead(id(1)), None);
        assert_eq!(told(&mut clocks, &vec![u64::MAX; many]).last(), Some(&Some(i64::MAX)));
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
