//! What stands: put in force as it was decided elsewhere, and copied to this server's own disk.
//!
//! In: a [`Decision`] of all nodes. Out: what it did to those who are here; or a change in the store. Invariant: a copy
//! is no act: it has no author here, and no record.

use std::time::Instant;

use fanfare_protocol::Code;
use fanfare_protocol::admin::{BanRow, Receipt};

use super::actions::{Moderation, micros};
use super::decisions::Decision;
use super::store::{Change, Standing, StoreError};

impl Moderation {
    /// Puts something in force that was decided, and carries it out on those who are here. Nothing is written: see
    /// [`Moderation::copy`].
    pub(crate) fn put_in_force(&self, decision: &Decision, reason: &str) -> Receipt {
        let (mut receipt, in_force) = (Receipt::default(), Instant::now());
        match decision {
            Decision::Ban(ban) => self.enforcement().enforce(ban.clone(), &mut receipt),
            Decision::Lift(key) => {
                if let Some(user) = self.bans.lift(key).and_then(|ban| ban.user) {
                    self.memberships().join_all(&user);
                }
            }
            Decision::Lasting(row) => self.memberships().add(row.clone(), reason, &mut receipt),
            Decision::DropLasting(user, group) => {
                receipt = self.memberships().remove(user, group, Code::RemovedFromGroup, reason);
            }
            Decision::Key(key) => self.keys.put(key.clone()),
            Decision::DropKey(name) => self.keys.revoke(name),
        }
        receipt.acted_us = micros(in_force);
        receipt
    }

    /// What a ban of a user would do to those who are here.
    pub(crate) fn preview(&self, ban: &BanRow) -> Receipt {
        let mut receipt = Receipt::default();
        // One of a token would have everybody looked at, and nobody previews that.
        if ban.user.is_some() {
            self.enforcement().foretell(ban, &mut receipt);
        }
        receipt
    }

    /// Writes down a copy of what was decided for all nodes, for a start without them. Blocks on the disk.
    pub(crate) fn copy(&self, decision: &Decision) -> Result<(), StoreError> {
        let change = match decision {
            Decision::Ban(ban) => Change { put: Some(ban), ..Change::default() },
            Decision::Lift(key) => Change { lift: vec![key.clone()], ..Change::default() },
            Decision::Lasting(row) => Change { put_lasting: Some(row), ..Change::default() },
            Decision::DropLasting(user, group) => {
                Change { drop_lasting: vec![(user.clone(), group.clone())], ..Change::default() }
            }
            Decision::Key(key) => Change { put_keys: vec![key.clone()], ..Change::default() },
            Decision::DropKey(name) => Change { drop_key: Some(name), ..Change::default() },
        };
        let mut journal = self.journal.lock();
        self.mend_in(&mut journal)?;
        journal.copy(change)
    }

    /// Makes the copy exactly what stands. Blocks on the disk.
    pub(crate) fn copy_all(&self) -> Result<(), StoreError> {
        let mut journal = self.journal.lock();
        self.mend_in(&mut journal)?;
        journal.copy_all(&self.standing())
    }

    /// What stands here.
    pub(crate) fn standing(&self) -> Standing {
        Standing { bans: self.bans.all(), keys: self.keys.all(), lasting: self.bans.lasting().all() }
    }
}
