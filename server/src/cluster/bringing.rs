//! Brings into the cluster what was decided on this node's own disk, once what the cluster has is known.
//!
//! In: the disk's decisions, the bucket's, and what came of puts. Out: puts, and a copy on the disk when all is there.
//! Invariants: what was lifted in the cluster is not decided again by a disk that had it; of two decisions on the same
//! the later one stands, whether it was made in the cluster or by this server alone; what could not be brought is on
//! this disk alone, and no copy leaves it out.

use fanfare_nats::{Expect, PutError};

use super::driver::{Driver, Put};
use super::rows;
use crate::moderation::Decision;

/// What could not be brought into the cluster, beside the keys of what could not be read there. No key is like it.
const OWN_DISK: &str = "of this node's own disk";

impl Driver {
    /// What was in the bucket is known. What the disk has beside it was lifted meanwhile, or has never been there.
    pub(super) fn catch_up(&mut self) {
        // A copy of another bucket is all that is left of what was decided there: it is brought into this one.
        let is_copy = self.copy_of.as_deref().is_some_and(|of| self.side.bus.bucket() == Some(of));
        for decision in std::mem::take(&mut self.of_disk) {
            if self.rows.is_as_new_as(&decision) || is_copy && self.rows.has(&decision) {
                continue;
            }
            if is_copy {
                self.moderation.put_in_force(&decision.end(), "");
            } else {
                if self.rows.has(&decision) {
                    // What is older in the cluster had taken its place.
                    self.moderation.put_in_force(&decision, "");
                }
                self.imports.add(decision);
            }
        }
        self.caught_up = true;
        tracing::info!(brings = self.imports.left(), "what was decided in the cluster is known");
        self.bring();
    }

    /// Puts what is to be put. When all of it is in the cluster, this node's disk has a copy. Where something cannot
    /// be, it is on this disk alone, and a copy would leave it out.
    pub(super) fn bring(&mut self) {
        while let Some(decision) = self.imports.next() {
            self.import(decision);
        }
        let is_brought = self.caught_up && self.imports.left() == 0 && !self.unreadable.contains(OWN_DISK);
        if !self.has_copy
            && let Some(bucket) = self.side.bus.bucket().filter(|_| is_brought)
        {
            self.has_copy = true;
            self.copies.begin(bucket.to_owned());
        }
    }

    fn import(&mut self, decision: Decision) {
        let (key, value) = rows::entry(&decision, "");
        let (bus, value) = (self.side.bus.clone(), value.unwrap_or_default());
        // Over what is older, or over nothing that ever was: what was lifted in the cluster is not decided again by
        // this.
        let older = self.side.revision(&key).filter(|_| !self.rows.is_as_new_as(&decision));
        self.puts.spawn(async move {
            let put = bus.put(&key, value, Expect::Revision(older.unwrap_or(0))).await;
            Put::Import(Box::new(decision), put)
        });
    }

    /// That came of it.
    pub(super) fn brought(&mut self, decision: Decision, put: Result<u64, PutError>) {
        match put {
            Ok(_) => {}
            Err(PutError::Conflict) => {
                // By another node's hand meanwhile, or lifted there: that one counts.
                if !self.rows.has(&decision) {
                    // When it was lifted is not known, so neither whether this was decided after that.
                    tracing::warn!(
                        ?decision,
                        "what this node's disk has was lifted in the cluster, and is so here"
                    );
                    self.moderation.put_in_force(&decision.end(), "");
                }
            }
            Err(error @ (PutError::Unavailable { .. } | PutError::Unknown)) => {
                tracing::debug!(%error, "what this node's disk has is to be put into the cluster again");
                // With the next tick.
                return self.imports.again(decision);
            }
            Err(error) => {
                self.unreadable.insert(OWN_DISK.to_owned());
                tracing::error!(%error, "what this node's disk has could not be put into the cluster");
            }
        }
        self.imports.settle();
        self.bring();
    }
}
