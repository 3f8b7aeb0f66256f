//! Names of users and groups as an operator types them, before anything is asked.
//!
//! In: what was typed, and how it is meant. Out: the request with the names that are meant, or what is wrong with
//! one. Invariant: nobody acts on a user or a group of another name than the one meant: a `*` is a pattern only where
//! groups are forbidden, and everywhere else it has to be said that it is meant as it stands.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use fanfare_protocol::admin::{AdminRequest, Who};
use fanfare_protocol::{GroupName, Pattern, UserName};

use crate::failure::Failure;

/// How names are meant.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct NameArguments {
    /// A `*` in the name of a user, or of one group, is meant as it stands
    #[arg(long, global = true)]
    literal: bool,
    /// The user's name is given in base64, for one that a command line cannot carry
    #[arg(long, global = true)]
    user_base64: bool,
    /// The same for the group's name, or its pattern
    #[arg(long, global = true)]
    group_base64: bool,
}

impl NameArguments {
    fn decoded(given: bool, what: &str, name: &str) -> Result<String, Failure> {
        if !given {
            return Ok(name.to_owned());
        }
        let wrong =
            |why: String| Failure::usage(format!("the {what}'s name {name:?} is no text in base64: {why}"));
        let bytes = STANDARD.decode(name).map_err(|error| wrong(error.to_string()))?;
        String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
    }

    fn exact(self, what: &str, name: &str) -> Result<(), Failure> {
        if self.literal || !name.contains('*') {
            return Ok(());
        }
        let instead = match what {
            "user" => "a user's name is never a pattern; whom it is about is named one by one",
            _ => "the name of one group is no pattern",
        };
        Err(Failure::usage(format!(
            "{name:?} has a `*`: {instead}. --literal says that it is meant as it stands"
        )))
    }

    /// The user that is meant.
    pub(crate) fn user(self, user: &UserName) -> Result<UserName, Failure> {
        let name = Self::decoded(self.user_base64, "user", user.as_str())?;
        self.exact("user", &name)?;
        UserName::new(&name).map_err(|error| Failure::usage(error.to_string()))
    }

    /// The one group that is meant.
    fn group(self, group: &GroupName) -> Result<GroupName, Failure> {
        let name = Self::decoded(self.group_base64, "group", group.as_str())?;
        self.exact("group", &name)?;
        GroupName::new(&name).map_err(|error| Failure::usage(error.to_string()))
    }

    /// The groups that are meant.
    fn groups(self, groups: &Pattern) -> Result<Pattern, Failure> {
        let name = Self::decoded(self.group_base64, "group", groups.as_str())?;
        Pattern::new(&name).map_err(|error| Failure::usage(error.to_string()))
    }

    fn who(self, who: Who) -> Result<Who, Failure> {
        Ok(match who {
            Who::User(user) => Who::User(self.user(&user)?),
            Who::Group(group) => Who::Group(self.group(&group)?),
            Who::Connection(_) | Who::All => who,
        })
    }

    /// A request about those that are meant.
    pub(crate) fn meant(self, request: AdminRequest) -> Result<AdminRequest, Failure> {
        use AdminRequest as R;
        Ok(match request {
            R::Members { group, page } => R::Members { group: self.group(&group)?, page },
            R::Explain { user, group, token } => {
                R::Explain { user: self.user(&user)?, group: self.group(&group)?, token }
            }
            R::Revoke { user, groups, until, reason, dry_run } => {
                R::Revoke { user: self.user(&user)?, groups: self.groups(&groups)?, until, reason, dry_run }
            }
            R::Restore { user, groups, reason } => {
                R::Restore { user: self.user(&user)?, groups: self.groups(&groups)?, reason }
            }
            R::Ban { user, until, reason, dry_run } => {
                R::Ban { user: self.user(&user)?, until, reason, dry_run }
            }
            R::Unban { user, reason } => R::Unban { user: self.user(&user)?, reason },
            R::SignOut { user, reason } => R::SignOut { user: self.user(&user)?, reason },
            R::LiftSignOut { user, reason } => R::LiftSignOut { user: self.user(&user)?, reason },
            R::Add { who, group, reason } => {
                R::Add { who: self.who(who)?, group: self.group(&group)?, reason }
            }
            R::Remove { who, group, reason } => {
                R::Remove { who: self.who(who)?, group: self.group(&group)?, reason }
            }
            R::Close { who, retry_after_ms, reason } => {
                R::Close { who: self.who(who)?, retry_after_ms, reason }
            }
            R::Kick { who, reason } => R::Kick { who: self.who(who)?, reason },
            R::Send { to, event, payload } => R::Send { to: self.who(to)?, event, payload },
            // None of these names anybody.
            R::Status {}
            | R::Connections(_)
            | R::Users(_)
            | R::Groups(_)
            | R::Connection { .. }
            | R::Bans(_)
            | R::Audit { .. }
            | R::VerifyAudit { .. }
            | R::Watch { .. }
            | R::RevokeToken { .. }
            | R::RestoreToken { .. }
            | R::Backup {} => request,
        })
    }
}
