//! Has old marks of what was ended taken out of the bucket, and finds out whether this node has missed one that went.
//!
//! In: time, the floor's entry, what came of a turn. Out: turns, one at a time; that this node must start again.
//! Invariant: nothing is taken out by who does not know all that was decided, or while somebody may need it
//! (`marks.rs`).

use std::time::Instant;

use fanfare_cluster::PeerFacts;

use super::driver::{Driver, PUTS, Put, SWEEP};
use super::marks::{self, Turned};
use crate::access;
use crate::uptime;

impl Driver {
    /// Has old marks of what was ended taken out of the bucket, where this node knows all that was decided.
    pub(super) fn take_old_marks(&mut self, now: Instant) {
        let may =
            self.knows() && self.side.bus.purges() && !self.clearing.is_taking && self.puts.len() < PUTS;
        if !may || now < self.clearing.next_turn {
            return;
        }
        self.clearing.next_turn = now + SWEEP.min(self.clearing.remembers);
        let said = |peer: PeerFacts| peer.heartbeat.map(|heartbeat| heartbeat.in_force);
        let known = {
            let node = self.side.node.lock();
            let holds = node.lease_until().is_some_and(|until| now < until);
            // Whoever was given up, and goes on without the cluster, may come back and needs all marks.
            let is_complete = holds && node.lost().is_empty();
            is_complete
                .then(|| marks::known_to_all(node.in_force(), node.peers().into_iter().map(said)))
                .flatten()
        };
        let turn =
            known.and_then(|known| self.clearing.marks.turn(known, access::now(), self.clearing.remembers));
        if let Some(turn) = turn {
            self.clearing.is_taking = true;
            let bus = self.side.bus.clone();
            self.puts.spawn(async move { Put::Taken(turn.take(bus).await) });
        }
    }

    pub(super) fn taken(&mut self, Turned { cleared, goes_on }: Turned) {
        self.clearing.is_taking = false;
        self.clearing.marks.cleared(cleared);
        if goes_on {
            self.clearing.next_turn = self.clearing.next_turn.min(uptime::now() + marks::SOON);
        }
    }

    /// Ends of decisions may be missing in the bucket, up to there.
    pub(super) fn floor(&mut self, value: Option<&[u8]>, revision: u64) {
        let now = uptime::now();
        let mut node = self.side.node.lock();
        let standing = marks::Standing {
            // As it was before this, and before all that has come since the bucket was last known as it is.
            in_force: node.in_force(),
            has_lease: node.lease_until().is_some_and(|until| now < until),
            // Half of it: what goes was put by another clock.
            is_new: now < self.clearing.began + self.clearing.remembers / 2,
        };
        node.noted(revision);
        drop(node);
        if self.clearing.marks.saw(value, revision, standing) {
            self.is_replaced = true;
            tracing::error!(
                in_force = standing.in_force,
                "this node has not heard the cluster for so long that ends of what was decided may have been forgotten \
                 there meanwhile (a key that was dropped): it lets nobody in and delivers nothing until it is started \
                 again"
            );
        }
    }
}
