//! Brings into the cluster what was decided on this node's own disk, once what the cluster has is known.
//!
//! In: the disk's decisions, the bucket's, and what came of puts. Out: puts, and a copy on the disk when all is there.
//! Invariants: what was lifted in the cluster is not decided again by a disk that had it from there, but for a ban
//! whose end the cluster has forgotten (`marks.rs`); of two decisions on the same the later one stands, whether it was
//! made in the cluster or by this server alone, and what was decided alone stands where something earlier or later was
//! lifted: nobody knows which; what could not be brought is on this disk alone, and no copy leaves it out.

use fanfare_nats::{Expect, PutError};

use super::driver::{Driver, Put};
use super::rows;
use crate::moderation::Decision;

/// What could not be brought into the cluster, beside the keys of what could not be read there. No key is like it.
const OWN_DISK: &str = "of this node's own disk";

/// For the log: what a key is checked by is not for that.
fn described(decision: &Decision) -> String {
    match decision {
        Decision::Ban(ban) => format!("{:?} of {:?} {:?}", ban.kind, ban.user, ban.groups),
        Decision::Lasting(row) => format!("the lasting membership of {:?} in {:?}", row.user, row.group),
        Decision::Key(key) => format!("the API key {:?}", key.row.name),
        Decision::Lift(_) | Decision::DropLasting(..) | Decision::DropKey(_) => "an end".to_owned(),
    }
}

impl Driver {
    /// What was in the bucket is known. What the disk has beside it was lifted meanwhile, or has never been there.
    pub(super) fn catch_up(&mut self) {
        // A copy of another bucket is all that is left of what was decided there: it is brought into this one.
        let is_copy = self.copy_of.as_deref().is_some_and(|of| self.side.bus.bucket() == Some(of));
        for decision in std::mem::take(&mut self.of_disk) {
            let is_there = self.rows.has(&decision);
            if is_copy {
                if !is_there {
                    self.moderation.put_in_force(&decision.end(), "");
                }
            } else if !self.rows.is_as_new_as(&decision) {
                if is_there {
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
        if !self.caught_up || self.imports.left() > 0 {
            return;
        }
        self.rows.brought();
        let is_whole = !self.unreadable.contains(OWN_DISK);
        if !self.has_copy
            && let Some(bucket) = self.side.bus.bucket().filter(|_| is_whole)
        {
            self.has_copy = self.copies.begin(bucket.to_owned());
        }
    }

    fn import(&mut self, decision: Decision) {
        if let Some(why) = self.was_ended(&decision) {
            let what = described(&decision);
            tracing::warn!(what, "what this node's disk has {why}, and is so here");
            self.moderation.put_in_force(&decision.end(), "");
            return self.imports.settle();
        }
        let (key, value) = rows::entry(&decision, "");
        let (bus, value) = (self.side.bus.clone(), value.unwrap_or_default());
        // Over what is older; what cannot be read is not known to be that.
        let is_older = !self.rows.is_as_new_as(&decision) && !self.unreadable.contains(&key);
        let over = match self.side.revision(&key).filter(|_| is_older) {
            Some(older) => Expect::Revision(older),
            // Whatever was lifted there: it stands since then, or the cluster could not know of it.
            None if self.was_decided_alone(&decision) => Expect::Nothing,
            // Over nothing that ever was: what the disk had of the cluster, and was lifted there, is not decided again.
            None => Expect::Revision(0),
        };
        self.puts.spawn(async move {
            let put = bus.put(&key, value, over).await;
            Put::Import(Box::new(decision), put)
        });
    }

    /// Whether what the disk has was ended in the cluster, or may have been. Asked before it is put: the mark of that
    /// may go meanwhile.
    fn was_ended(&self, decision: &Decision) -> Option<&'static str> {
        let is_unknown = self.unreadable.contains(&rows::entry(decision, "").0);
        if is_unknown || self.rows.has(decision) || self.was_decided_alone(decision) {
            return None;
        }
        if self.rows.was_lifted(decision) {
            return Some("was lifted in the cluster");
        }
        // A ban that was lifted there so long ago is put again: who keeps somebody out in error is told so by whom it
        // keeps out. What a server has that was never a node was never there.
        let may_be_missing = decision.lets_in() && self.clearing.marks.may_be_missing(rows::since(decision));
        (self.was_node && may_be_missing).then_some("was lifted in the cluster, or may have been, long ago")
    }

    /// Whether this server decided it when it was no node any more.
    fn was_decided_alone(&self, decision: &Decision) -> bool {
        self.alone_since.is_some_and(|since| rows::since(decision) > since)
    }

    /// Whether it is known that what the cluster has of the same counts, or that it cannot be known.
    fn is_settled(&self, decision: &Decision) -> bool {
        self.rows.is_as_new_as(decision) || self.unreadable.contains(&rows::entry(decision, "").0)
    }

    /// That came of it.
    pub(super) fn brought(&mut self, decision: Decision, put: Result<u64, PutError>) {
        match put {
            Ok(_) => {}
            Err(PutError::Conflict) => {
                if self.rows.was_lifted(&decision) && !self.was_decided_alone(&decision) {
                    let what = described(&decision);
                    tracing::warn!(
                        what,
                        "what this node's disk has was lifted in the cluster, and is so here"
                    );
                    self.moderation.put_in_force(&decision.end(), "");
                } else if !self.is_settled(&decision) {
                    // By another node's hand meanwhile: what that was is known in a moment.
                    return self.imports.again(decision);
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
