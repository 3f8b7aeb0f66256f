//! Lasting memberships in force: users who are here are put into groups and out of them, as is decided or as time goes.
//!
//! In: rows that are on the disk. Out: memberships. Invariants: what a row says is in force before anybody is put in or
//! out for it, so that who connects meanwhile finds it; nobody is left in by a row that there is no more. That it is on
//! the disk is the business of whoever carries the act out.

use std::collections::BTreeMap;

use fanfare_hub::{Origin, Removal};
use fanfare_protocol::admin::{LastingRow, May, Receipt};
use fanfare_protocol::{Code, GroupName, Limits, UserName};
use fanfare_token::Seconds;

use super::error::ModerationError;
use super::people::account;
use crate::access::{self, Bans, Names};
use crate::hub::Hub;
use crate::reason::told;

/// Those who are here, and what was decided of them.
pub(super) struct Memberships<'a> {
    pub(super) hub: &'a Hub,
    pub(super) bans: &'a Bans,
    pub(super) names: Names,
    pub(super) limits: Limits,
}

impl Memberships<'_> {
    /// The row of a lasting membership, where there may be one.
    pub(super) fn row(
        &self,
        user: &UserName,
        group: &GroupName,
        may: May,
        until: Option<Seconds>,
        now: Seconds,
        author: &str,
    ) -> Result<LastingRow, ModerationError> {
        // As the door has it: nobody could be in such a group, and many could not tell which it is.
        self.names.permit("group", group.as_str())?;
        self.names.permit("user", user.as_str())?;
        if until.is_some_and(|until| until <= now) {
            return Err(ModerationError::refused(Code::InvalidRequest, "the end (until) has passed already"));
        }
        let lasting = self.bans.lasting();
        let is_new = lasting.find(user, group).is_none();
        if is_new && lasting.is_full() {
            let message = "the server has as many lasting memberships as it keeps";
            return Err(ModerationError::refused(Code::TooManyGroups, message));
        }
        // All of them are joined at each connect.
        if is_new && lasting.count(user) >= self.limits.groups as usize {
            let most = self.limits.groups;
            let message = format!("the user {user:?} has {most} lasting memberships, as many as it may have");
            return Err(ModerationError::refused(Code::TooManyGroups, message));
        }
        let (user, group, author) = (user.clone(), group.clone(), author.to_owned());
        Ok(LastingRow { user, group, may, since: now, until, author })
    }

    /// Puts a row in force, and carries it out.
    pub(super) fn add(&self, row: LastingRow, reason: &str, receipt: &mut Receipt) {
        let (user, group, may) = (row.user.clone(), row.group.clone(), row.may);
        self.bans.lasting().put(row);
        let members = self.hub.of_user(&user);
        if !may.receives() {
            let why = Removal { code: Code::RemovedFromGroup, reason: told(reason, Code::RemovedFromGroup) };
            return account(self.hub.remove(&members, |name, _| *name == group, why), receipt);
        }
        for member in members {
            // One that has gone meanwhile is not counted, nor one that a ban keeps out.
            if self.hub.join(&member, &group, Origin::Lasting).is_ok() {
                receipt.connections += 1;
            }
        }
        receipt.groups = BTreeMap::from([(group, receipt.connections)]);
    }

    /// Puts a user who is here into all groups that it is in whenever it is.
    pub(super) fn join_all(&self, user: &UserName) {
        for group in self.bans.lasting().groups(user, access::now()) {
            for member in self.hub.of_user(user) {
                // One that has gone, or that a ban keeps out, is in none.
                let _ = self.hub.join(&member, &group, Origin::Lasting);
            }
        }
    }

    /// Takes a row out of force, and ends what it alone was the reason for.
    pub(super) fn remove(&self, user: &UserName, group: &GroupName, code: Code, reason: &str) -> Receipt {
        let mut receipt =
            Receipt { unchanged: self.bans.lasting().remove(user, group).is_none(), ..Receipt::default() };
        let (now, why) = (access::now(), Removal { code, reason: told(reason, code) });
        for member in self.hub.of_user(user) {
            // A client that has left and joined again has done so by this row, where its token does not allow it.
            let is_granted = member.permissions().grants.may_join(group, now);
            let ends = |name: &GroupName, origin| {
                name == group && (origin == Origin::Lasting || origin == Origin::Client && !is_granted)
            };
            let mut done = Receipt::default();
            account(self.hub.remove(std::slice::from_ref(&member), ends, why), &mut done);
            receipt.connections += done.connections;
            receipt.purged += done.purged;
        }
        receipt.groups = BTreeMap::from([(group.clone(), receipt.connections)]);
        receipt
    }
}
