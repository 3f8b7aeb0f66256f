//! Decides who gets in and what a connection may do: the one place that asks tokens, grants and bans.
//!
//! In: a token or a connection's pass, what is wanted, and the moment. Out: yes, or a [`Denial`]. The door (`handshake.rs`,
//! `router.rs`) and the answer to `explain` ask the same functions, so that they cannot contradict each other (test
//! `explain_and_the_door_agree`). Invariants: what nothing allows is denied; nothing here waits, so that it can be asked
//! inside a critical section.

use std::sync::Arc;

use fanfare_hub::Origin;
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, UserName};

use super::{Bans, Names, Pass, Seconds, Verifier};

/// What decides.
pub(crate) struct Gate {
    verifier: Arc<Verifier>,
    bans: Arc<Bans>,
    names: Names,
}

/// Whom a send reaches or a count is about, as far as permission goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipient<'a> {
    Group(&'a GroupName),
    User(&'a UserName),
    /// A connection, with its user where it is there.
    Connection(&'a ConnectionId, Option<&'a UserName>),
    All,
}

impl Gate {
    pub(crate) fn new(verifier: Arc<Verifier>, bans: Arc<Bans>) -> Self {
        Self { verifier, bans, names: Names::default() }
    }

    /// The same, with other names.
    pub(crate) fn taking(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    pub(crate) fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Who a token says, and what it allows.
    pub(crate) fn verify(&self, token: &str, now: Seconds) -> Result<(UserName, Pass), Denial> {
        self.verifier.verify(token, now).map_err(Denial::from)
    }

    /// The same, at this moment, but waits a little for keys that have to be fetched first.
    pub(crate) async fn verify_or_fetch(&self, token: &str) -> Result<(UserName, Pass), Denial> {
        self.verifier.verify_or_fetch(token).await.map_err(Denial::from)
    }

    /// Whether a user may be here with this pass.
    pub(crate) fn enter(&self, user: &UserName, pass: &Pass, now: Seconds) -> Result<(), Denial> {
        if pass.ends <= now {
            return Err(Code::TokenExpired.into());
        }
        self.names.permit("user", user.as_str())?;
        self.bans.permit_connection(user, pass, now)
    }

    /// Why a user may be nowhere, whatever it shows; in the order of [`Gate::enter`].
    pub(crate) fn keeps_out(&self, user: &UserName, now: Seconds) -> Option<Denial> {
        let name = self.names.permit("user", user.as_str()).err();
        name.or_else(|| self.bans.forbids_user(user, now).then(|| Code::UserBanned.into()))
    }

    /// Whether a connection may become a member of a group.
    pub(crate) fn join(
        &self,
        user: &UserName,
        pass: &Pass,
        group: &GroupName,
        now: Seconds,
    ) -> Result<(), Denial> {
        self.current(pass, now)?;
        self.names.permit("group", group.as_str())?;
        if self.bans.forbids_group(user, group, now) {
            return Err(Code::BannedFromGroup.into());
        }
        if pass.grants.may_join(group, now) {
            return Ok(());
        }
        let detail = format!("{} grants no right to join {group:?}", pass.proof);
        Err(Denial { code: Code::NotGranted, detail })
    }

    /// Whether a connection may send.
    pub(crate) fn send(
        &self,
        user: &UserName,
        pass: &Pass,
        to: Recipient<'_>,
        now: Seconds,
    ) -> Result<(), Denial> {
        self.current(pass, now)?;
        let grants = &pass.grants;
        let granted = match to {
            Recipient::Group(group) if self.bans.forbids_group(user, group, now) => {
                let detail = format!("the user is banned from the group {group:?}");
                return Err(Denial { code: Code::BannedFromGroup, detail });
            }
            Recipient::Group(group) => grants.may_send_to_group(group, now),
            Recipient::User(user) => grants.may_send_to_user(user, now),
            Recipient::Connection(_, Some(user)) => grants.may_send_to_user(user, now),
            // The answer must be the one for a connection of somebody else's: who is connected is not for everyone to know (test
            // `nothing_is_told_about_connections_that_one_may_not_send_to`).
            Recipient::Connection(_, None) => grants.may_send_to_every_user(now),
            Recipient::All => grants.may_send_to_all(now),
        };
        if granted {
            return Ok(());
        }
        let proof = pass.proof;
        let detail = match to {
            Recipient::Group(group) => format!("{proof} grants no right to send to the group {group:?}"),
            Recipient::User(user) => format!("{proof} grants no right to send to the user {user:?}"),
            Recipient::Connection(id, _) => {
                format!("there is no connection {id} that {proof} grants the right to send to")
            }
            Recipient::All => format!("{proof} grants no right to send to everyone"),
        };
        Err(Denial { code: Code::NotGranted, detail })
    }

    /// Whether a connection may count: what it may send to, and groups that it may join.
    pub(crate) fn count(
        &self,
        user: &UserName,
        pass: &Pass,
        what: Recipient<'_>,
        now: Seconds,
    ) -> Result<(), Denial> {
        match what {
            Recipient::Group(group) if self.join(user, pass, group, now).is_ok() => Ok(()),
            what => self.send(user, pass, what, now),
        }
    }

    /// The end of a pass is an end of all that it allows, also before the task that ends connections has got to it.
    fn current(&self, pass: &Pass, now: Seconds) -> Result<(), Denial> {
        if pass.ends <= now { Err(Code::TokenExpired.into()) } else { Ok(()) }
    }
}

impl fanfare_hub::Gate<Pass> for Gate {
    fn enter(&self, user: &UserName, pass: &Pass) -> Result<(), Denial> {
        self.enter(user, pass, super::now())
    }

    fn join(&self, user: &UserName, pass: &Pass, group: &GroupName, origin: Origin) -> Result<(), Denial> {
        match origin {
            Origin::Client => self.join(user, pass, group, super::now()),
            // An operator's word needs no grant, and lifts no ban.
            Origin::Operator if self.bans.forbids_group(user, group, super::now()) => {
                Err(Code::BannedFromGroup.into())
            }
            Origin::Operator => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::KeySets;
    use crate::access::grant::Grants;

    #[test]
    fn what_is_refused_is_named_so_that_it_is_told_apart() {
        let gate = Gate::new(Arc::new(Verifier::new(None, KeySets::none())), Arc::default());
        let mut pass = Pass::development();
        pass.grants = Grants::parse(Vec::new(), 0).unwrap();
        let user = UserName::new("a\u{2800}b").unwrap();
        let group = GroupName::new("a\u{2800}b").unwrap();
        let refused = |answer: Result<(), Denial>| answer.unwrap_err().detail;
        for detail in [
            refused(gate.join(&user, &pass, &group, 1)),
            refused(gate.send(&user, &pass, Recipient::Group(&group), 1)),
            refused(gate.send(&user, &pass, Recipient::User(&user), 1)),
        ] {
            assert!(detail.ends_with("\"a\\u{2800}b\""), "{detail}");
        }
    }
}
