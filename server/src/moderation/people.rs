//! Whom an act is about, and what can be done to them without a ban.
//!
//! In: [`Who`]. Out: members of the registry, added to a group, removed from one, or closed. Invariants: nobody is
//! added to a group that is forbidden to its user; that is asked inside the group's critical section. No group is made
//! of a name that the server does not take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::{CloseReason, Origin, Removal, Removed};
use fanfare_protocol::admin::{Receipt, Who};
use fanfare_protocol::{Code, GroupName, Target};
use fanfare_token::Seconds;

use super::error::ModerationError;
use crate::access::{Bans, Names};
use crate::hub::{Hub, Member};
use crate::reason::told;
use crate::spread::come_back_after;

/// Those who are here, as an act finds them.
pub(super) struct People<'a> {
    pub(super) hub: &'a Hub,
    pub(super) bans: &'a Bans,
    pub(super) names: Names,
}

impl People<'_> {
    pub(super) fn members_to_add(
        &self,
        who: &Who,
        group: &GroupName,
        now: Seconds,
    ) -> Result<Vec<Arc<Member>>, ModerationError> {
        // As the door has it: nobody could join such a group, and many could not tell which it is.
        self.names.permit("group", group.as_str())?;
        let members = self.members(who)?;
        match members.iter().find(|member| self.bans.forbids_group(member.user(), group, now)) {
            None => Ok(members),
            Some(member) => {
                let message = format!(
                    "the user {:?} is banned from the group {group:?}; restore it first",
                    member.user()
                );
                Err(ModerationError::refused(Code::BannedFromGroup, message))
            }
        }
    }

    pub(super) fn add(&self, members: Vec<Arc<Member>>, group: &GroupName, receipt: &mut Receipt) {
        for member in members {
            // One that has gone meanwhile is not counted.
            if self.hub.join(&member, group, Origin::Operator).is_ok() {
                receipt.connections += 1;
            }
        }
        receipt.groups = BTreeMap::from([(group.clone(), receipt.connections)]);
    }

    pub(super) fn members(&self, who: &Who) -> Result<Vec<Arc<Member>>, ModerationError> {
        let members = self.hub.reached_by(&Target::from(who));
        let what = match who {
            Who::Connection(id) => format!("no connection {id}"),
            Who::User(user) => format!("no connection of the user {user:?}"),
            Who::Group(group) => format!("no member of the group {group:?}"),
            Who::All => return Ok(members),
        };
        if members.is_empty() {
            return Err(ModerationError::refused(Code::NothingThere, format!("there is {what}")));
        }
        Ok(members)
    }
}

/// Ends memberships of a group.
pub(super) fn remove(
    hub: &Hub,
    members: &[Arc<Member>],
    group: &GroupName,
    reason: &str,
    receipt: &mut Receipt,
) {
    let code = Code::RemovedFromGroup;
    let why = Removal { code, reason: told(reason, code) };
    account(hub.remove(members, |name, _| name == group, why), receipt);
}

/// Puts into a receipt what a removal did.
pub(super) fn account(done: Removed, receipt: &mut Receipt) {
    receipt.connections = done.connections;
    receipt.groups = done.groups;
    receipt.purged = done.purged;
}

/// Closes connections. What is queued to them is thrown away.
pub(super) fn close(hub: &Hub, members: &[Arc<Member>], code: Code, reason: &str, receipt: &mut Receipt) {
    for member in members {
        hub.close(member, CloseReason { code, reason: told(reason, code).to_owned() }, None);
    }
    receipt.connections = members.len() as u64;
}

/// Closes connections, each with a time of its own to come back after. What is queued to them is thrown away.
pub(super) fn close_until(
    hub: &Hub,
    members: &[Arc<Member>],
    reason: &str,
    chosen: Duration,
    receipt: &mut Receipt,
) {
    // Also whoever hears the code alone, because it reads nothing at the moment, is to come back.
    let code = Code::ClosedForNow;
    for member in members {
        let why = CloseReason { code, reason: told(reason, code).to_owned() };
        hub.close(member, why, Some(come_back_after(chosen)));
    }
    receipt.connections = members.len() as u64;
}
