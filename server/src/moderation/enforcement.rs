//! What a ban is to those who are here: whom it concerns, what it would do, and how it is carried out.
//!
//! In: a request that forbids something. Out: the ban that it asks for; connections closed and memberships ended, or
//! how many there would be. Invariant: a ban is in force before anyone is removed or closed for it (promise 7). That it
//! is on the disk by then is the business of whoever carries the act out.

use std::sync::Arc;

use fanfare_hub::Removal;
use fanfare_protocol::admin::{Action, BanKind, BanRow, Receipt};
use fanfare_protocol::{Code, GroupName};
use fanfare_token::Seconds;

use super::error::ModerationError;
use super::people::{account, close};
use super::request::ban;
use crate::access::{BanKey, Bans, signs_out};
use crate::hub::{Hub, Member};
use crate::reason::told;

/// The bans in force, and those whom one can be about.
pub(super) struct Enforcement<'a> {
    pub(super) hub: &'a Hub,
    pub(super) bans: &'a Bans,
}

impl Enforcement<'_> {
    /// The ban that a request asks for.
    pub(super) fn asked_for(
        &self,
        request: &Action,
        now: Seconds,
        author: &str,
    ) -> Result<BanRow, ModerationError> {
        let mut ban = ban(request, now, author)?;
        if ban.kind == BanKind::SignOut
            && let Some(known) = self.bans.find(&BanKey::from(&ban), now)
        {
            // A clock that was put back does not let in again what an earlier sign-out refuses.
            ban.since = ban.since.max(known.since);
        }
        if self.bans.in_force(&ban, now) {
            return Ok(ban);
        }
        Err(ModerationError::refused(Code::InvalidRequest, "the end (until) has passed already"))
    }

    /// Whether it is in force already, and ends when this one does.
    pub(super) fn is_in_force(&self, ban: &BanRow, now: Seconds) -> bool {
        // A sign-out is another one each time: it is about everything up to now.
        ban.kind != BanKind::SignOut
            && self.bans.find(&BanKey::from(ban), now).is_some_and(|known| known.until == ban.until)
    }

    /// Puts a ban in force and carries it out. It is on the disk.
    pub(super) fn enforce(&self, ban: BanRow, receipt: &mut Receipt) {
        let reason = ban.reason.clone();
        match (ban.kind, ban.user.clone(), ban.groups.clone()) {
            (BanKind::Group, Some(user), Some(groups)) => {
                let code = Code::BannedFromGroup;
                let why = Removal { code, reason: told(&reason, code) };
                let matches = |group: &GroupName| groups.matches(group.as_str());
                account(self.hub.revoke(&user, || self.bans.put(ban), matches, why), receipt);
            }
            _ => {
                self.bans.put(ban.clone());
                let code = match ban.kind {
                    BanKind::User | BanKind::Group => Code::UserBanned,
                    BanKind::SignOut => Code::SignedOut,
                    BanKind::Token => Code::TokenRevoked,
                };
                close(self.hub, &self.concerned(&ban), code, &reason, receipt);
            }
        }
    }

    /// The connections that a ban that is no group's closes.
    fn concerned(&self, ban: &BanRow) -> Vec<Arc<Member>> {
        let mut members = match &ban.user {
            Some(user) => self.hub.of_user(user),
            None => self.hub.list(),
        };
        members.retain(|member| {
            let permissions = member.permissions();
            match ban.kind {
                BanKind::SignOut => signs_out(ban, &permissions),
                BanKind::Token => permissions.token.is_some() && permissions.token == ban.jti,
                BanKind::User | BanKind::Group => true,
            }
        });
        members
    }

    /// What a ban would do now.
    pub(super) fn foretell(&self, ban: &BanRow, receipt: &mut Receipt) {
        let Some(groups) = &ban.groups else {
            receipt.connections = self.concerned(ban).len() as u64;
            return;
        };
        for member in self.concerned(ban) {
            let mut any = false;
            for (group, _) in member.memberships() {
                if groups.matches(group.as_str()) {
                    any = true;
                    *receipt.groups.entry(group).or_default() += 1;
                }
            }
            receipt.connections += u64::from(any);
        }
    }
}
