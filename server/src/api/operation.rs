//! What a back end may have done: the same in a request of its own and in a batch.
//!
//! In: bodies. Out: what moderation is to do, with what a key needs for it. Nothing is done here.

use fanfare_protocol::UserName;
use fanfare_protocol::admin::{Action, Subject, Verb, Who};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{
    AddBody, AddLastingBody, BanBody, CloseBody, MintBody, RemoveBody, RemoveLastingBody, RestoreBody,
    RestoreTokenBody, RevokeBody, RevokeTokenBody, SendBody, UserBody,
};
use super::problem::Problem;

/// The most operations of a batch.
pub(crate) const MOST_OPERATIONS: usize = 1_000;

/// One thing to be done: an object with one member, whose name is the path that does the same by itself.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// Sends a message.
    Send(SendBody),
    /// Adds connections to a group.
    Add(AddBody),
    /// Removes connections from a group.
    Remove(RemoveBody),
    /// Makes a user a member of a group whenever it is here, and says what it may do there.
    AddLasting(AddLastingBody),
    /// Ends a lasting membership.
    RemoveLasting(RemoveLastingBody),
    /// Closes connections.
    Close(CloseBody),
    /// Closes a user's connections, and lets in no more.
    Ban(BanBody),
    /// Lifts a ban.
    Unban(UserBody),
    /// Forbids a user groups, and removes it from there.
    Revoke(RevokeBody),
    /// Lifts a revocation.
    Restore(RestoreBody),
    /// Refuses every token of a user that was issued up to now, and closes its connections.
    SignOut(UserBody),
    /// Lifts a sign-out.
    LiftSignOut(UserBody),
    /// Refuses a token, and closes the connections made with it.
    RevokeToken(RevokeTokenBody),
    /// Takes a token again that was revoked.
    RestoreToken(RestoreTokenBody),
    /// Makes a token.
    MintToken(MintBody),
}

/// An operation, by who is to do it.
pub(crate) enum Task {
    /// Moderation.
    Act(Act),
    /// The hub.
    Send(SendBody),
    Add(AddBody),
    Remove(RemoveBody),
    /// Whoever makes tokens.
    Mint(MintBody),
}

/// What is carried out by moderation, with what a key needs for it.
pub(crate) struct Act {
    pub(crate) action: Action,
    pub(crate) verb: Verb,
}

impl Act {
    /// What it is done to.
    pub(crate) fn subject<'a>(&'a self, owner: Option<&'a UserName>) -> Subject<'a> {
        match &self.action {
            Action::Close { who, .. } => match who {
                Who::Connection(_) => Subject::Connection(owner),
                Who::User(user) => Subject::User(user),
                Who::Group(group) => Subject::Group(group),
                Who::All => Subject::All,
            },
            Action::AddLasting { group, .. } | Action::RemoveLasting { group, .. } => Subject::Group(group),
            Action::Revoke { user, .. }
            | Action::Restore { user, .. }
            | Action::Ban { user, .. }
            | Action::Unban { user, .. }
            | Action::SignOut { user, .. }
            | Action::LiftSignOut { user, .. } => Subject::User(user),
            _ => Subject::All,
        }
    }
}

impl Operation {
    /// Who is to do it: moderation, or the hub.
    pub(crate) fn task(self) -> Result<Task, Problem> {
        let act = |action, verb| Ok(Task::Act(Act { action, verb }));
        let moderate = |action| act(action, Verb::Moderate);
        match self {
            Self::Send(body) => Ok(Task::Send(body)),
            Self::Add(body) => Ok(Task::Add(body)),
            Self::Remove(body) => Ok(Task::Remove(body)),
            Self::MintToken(body) => Ok(Task::Mint(body)),
            Self::Close(body) => {
                let who = body.who()?;
                let CloseBody { retry_after_ms, reason, .. } = body;
                act(Action::Close { who, retry_after_ms, reason }, Verb::Close)
            }
            Self::AddLasting(AddLastingBody { user, group, may, until, reason }) => {
                let action = Action::AddLasting { user, group, may, until, reason };
                act(action, Verb::Members)
            }
            Self::RemoveLasting(RemoveLastingBody { user, group, reason }) => {
                let action = Action::RemoveLasting { user, group, reason };
                act(action, Verb::Members)
            }
            Self::Ban(BanBody { user, until, reason, dry_run }) => {
                moderate(Action::Ban { user, until, reason, dry_run })
            }
            Self::Unban(UserBody { user, reason }) => moderate(Action::Unban { user, reason }),
            Self::Revoke(RevokeBody { user, groups, until, reason, dry_run }) => {
                moderate(Action::Revoke { user, groups, until, reason, dry_run })
            }
            Self::Restore(RestoreBody { user, groups, reason }) => {
                moderate(Action::Restore { user, groups, reason })
            }
            Self::SignOut(UserBody { user, reason }) => moderate(Action::SignOut { user, reason }),
            Self::LiftSignOut(UserBody { user, reason }) => moderate(Action::LiftSignOut { user, reason }),
            Self::RevokeToken(RevokeTokenBody { jti, until, reason }) => {
                moderate(Action::RevokeToken { jti, until, reason })
            }
            Self::RestoreToken(RestoreTokenBody { jti, reason }) => {
                moderate(Action::RestoreToken { jti, reason })
            }
        }
    }
}
