//! What is between nodes: the bus, and each node's way to the log.
//!
//! In: what is cut, what is slow, and what wants to go. Out: when it arrives, if it does. Invariant: what one node
//! sends to another arrives in its order.

use std::collections::HashMap;

use super::time::{MS, Micros, SECOND};

/// Something that is the case as long as somebody has it so; cuts overlap.
#[derive(Default)]
pub(crate) struct Times<K>(HashMap<K, u32>);

impl<K: std::hash::Hash + Eq> Times<K> {
    pub(crate) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(times) = self.0.get_mut(key) {
            *times = times.saturating_sub(1);
        }
    }

    pub(crate) fn holds(&self, key: &K) -> bool {
        self.0.get(key).is_some_and(|times| *times > 0)
    }
}

/// The network.
#[derive(Default)]
pub(crate) struct Net {
    /// From one to another nothing arrives, and nobody is told.
    pub(crate) cut: Times<(usize, usize)>,
    /// A node has no connection, and knows it.
    pub(crate) down: Times<usize>,
    /// A node's way to the log is cut.
    pub(crate) log_cut: Times<usize>,
    /// The bus is slow.
    pub(crate) slow: Times<()>,
    /// What a node puts into the log takes long, or what it is answered.
    pub(crate) slow_log: Times<usize>,
    /// When what went last from one to another arrives.
    arrives: HashMap<(usize, usize), Micros>,
    puts: HashMap<usize, Micros>,
    /// A node's watch goes on late, so that it passes over what another has taken the place of.
    pub(crate) lags: Times<usize>,
    /// What a node's watch gives takes long to arrive.
    pub(crate) far: Times<usize>,
    /// Which nodes' ways to the log and back are disturbed at the moment, and when that last ended.
    disturbed: Times<usize>,
    disturbed_until: HashMap<usize, Micros>,
    /// Publications come twice.
    pub(crate) repeats: Times<()>,
}

impl Net {
    /// Whether what one sends to another arrives at this moment.
    pub(crate) fn carries(&self, from: usize, to: usize) -> bool {
        !self.cut.holds(&(from, to)) && !self.down.holds(&from) && !self.down.holds(&to)
    }

    /// Whether a node reaches the log.
    pub(crate) fn reaches_log(&self, node: usize) -> bool {
        !self.log_cut.holds(&node) && !self.down.holds(&node)
    }

    /// When something that goes now arrives.
    pub(crate) fn send(&mut self, from: usize, to: usize, now: Micros, rng: &mut fastrand::Rng) -> Micros {
        let most = if self.slow.holds(&()) { 600 * MS } else { 5 * MS };
        let at = self.arrives.entry((from, to)).or_default();
        *at = (*at).max(now + rng.u64(200..most));
        *at
    }

    /// When something that a node puts now is in the log.
    pub(crate) fn put(&mut self, from: usize, now: Micros, rng: &mut fastrand::Rng) -> Micros {
        let most = if self.slow_log.holds(&from) { 3_000 * MS } else { 20 * MS };
        let at = self.puts.entry(from).or_default();
        *at = (*at).max(now + rng.u64(MS..most));
        *at
    }

    /// How long an answer of the log takes.
    pub(crate) fn answer(&self, to: usize, rng: &mut fastrand::Rng) -> Micros {
        rng.u64(MS..if self.slow_log.holds(&to) { 3_000 * MS } else { 20 * MS })
    }

    /// A node's way to the log is disturbed from now on, or not any more.
    pub(crate) fn disturb(&mut self, at: usize, begins: bool, now: Micros) {
        if begins {
            self.disturbed.add(at);
        } else {
            self.disturbed.remove(&at);
            // A watch that stands still is noticed after a while.
            self.disturbed_until.insert(at, now + 4 * SECOND);
        }
    }

    /// Whether a node knew all the time since then, and shortly before, what is in the log.
    pub(crate) fn is_well_since(&self, at: usize, since: Micros) -> bool {
        !self.disturbed.holds(&at) && self.disturbed_until.get(&at).is_none_or(|until| *until <= since)
    }

    /// Everything is well.
    pub(crate) fn heal(&mut self) {
        let Self { arrives, puts, .. } = std::mem::take(self);
        *self = Self { arrives, puts, ..Self::default() };
    }
}
