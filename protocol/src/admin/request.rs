//! What operators ask and order: questions, actions and subscriptions.

use std::borrow::Cow;
use std::num::NonZeroU32;

use serde::de::Error;
use serde::{Deserialize, Serialize};

use super::row::May;
use super::scope::Scope;
#[cfg(doc)]
use super::{
    ADMIN_PAGE_ROWS, ApiKeyRow, AuditVerdict, BanRow, ConnectionDetail, ConnectionRow, Explanation, GroupRow,
    LastingRow, Listing, Receipt, Status, Update, UserRow,
};
use crate::{ConnectionId, EventName, GroupName, Pattern, PayloadFormat, Target, Token, UserName};

/// What an operator asks for. Each kind is answered by one file of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AdminRequest {
    /// Something to be told. It has one answer, and changes nothing.
    Question(Question),
    /// Something to be done. It has one answer, and a record in the audit.
    Action(Action),
    /// Something to be kept told of. It has any number of answers.
    Subscription(Subscription),
}

/// A request that has one answer.
pub trait OneAnswer: Serialize + Sync {}

impl OneAnswer for Question {}

impl OneAnswer for Action {}

/// By its member `ask` a request is a question,
const QUESTIONS: [&str; 11] = [
    "status",
    "connections",
    "users",
    "groups",
    "members",
    "connection",
    "bans",
    "api_keys",
    "lasting",
    "explain",
    "verify_audit",
];
/// an action
const ACTIONS: [&str; 19] = [
    "revoke",
    "restore",
    "ban",
    "unban",
    "sign_out",
    "lift_sign_out",
    "revoke_token",
    "restore_token",
    "add",
    "remove",
    "close",
    "kick",
    "backup",
    "send",
    "add_lasting",
    "remove_lasting",
    "create_api_key",
    "revoke_api_key",
    "forget_node",
];
/// or a subscription.
const SUBSCRIPTIONS: [&str; 2] = ["audit", "watch"];

/// The name of a request, with whatever else is in it.
#[derive(Deserialize)]
#[serde(expecting = "a request: an object with a member \"ask\"")]
struct Named<'a> {
    #[serde(borrow)]
    ask: Cow<'a, str>,
}

impl AdminRequest {
    /// Reads a request as it comes: one object in JSON.
    ///
    /// # Errors
    /// When it is no object, has no name that is known, or has not exactly the members that its name demands.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        // A list would be taken for the members in the order of their declaration.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(Error::custom("a request is an object with a member \"ask\""));
        }
        let Named { ask } = serde_json::from_slice(json)?;
        let is_in = |names: &[&str]| names.contains(&&*ask);
        if is_in(&QUESTIONS) {
            serde_json::from_slice(json).map(Self::Question)
        } else if is_in(&ACTIONS) {
            serde_json::from_slice(json).map(Self::Action)
        } else if is_in(&SUBSCRIPTIONS) {
            serde_json::from_slice(json).map(Self::Subscription)
        } else {
            let all = [&QUESTIONS[..], &ACTIONS, &SUBSCRIPTIONS].concat().join("`, `");
            Err(Error::custom(format_args!("unknown name `{ask}`; there are `{all}`")))
        }
    }
}

/// What an operator wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
#[serde(expecting = "a request: an object with a member \"ask\"")]
pub enum Question {
    /// Facts and totals. Answered with [`Status`].
    Status {},
    /// Who is connected. Answered with a [`Listing`] of [`ConnectionRow`].
    Connections(Page),
    /// Who is here, by user. Answered with a [`Listing`] of [`UserRow`].
    Users(Page),
    /// Which groups there are. Answered with a [`Listing`] of [`GroupRow`].
    Groups(Page),
    /// A group's members. Answered with a [`Listing`] of [`ConnectionRow`].
    Members {
        /// The group.
        group: GroupName,
        /// Which of them.
        #[serde(default)]
        page: Page,
    },
    /// Everything about one connection. Answered with [`ConnectionDetail`].
    Connection {
        /// Which.
        connection: ConnectionId,
    },
    /// What is forbidden to whom. Answered with a [`Listing`] of [`BanRow`].
    Bans(Page),
    /// Which keys of the HTTP API there are. Answered with a [`Listing`] of [`ApiKeyRow`].
    ApiKeys(Page),
    /// Which lasting memberships there are. Answered with a [`Listing`] of [`LastingRow`].
    Lasting(Page),
    /// Whether a user may join a group, and why. Answered with [`Explanation`].
    Explain {
        /// Who.
        user: UserName,
        /// Which group.
        group: GroupName,
        /// Also whether somebody who comes with this token may.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
    },
    /// Whether the audit's chain is whole. Answered with [`AuditVerdict`].
    VerifyAudit {
        /// The hash of the last record as it is known from elsewhere, in hex: finds a chain that was cut and made anew.
        #[serde(default)]
        head: Option<String>,
    },
}

/// What an operator wants done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
#[serde(expecting = "a request: an object with a member \"ask\"")]
pub enum Action {
    /// Forbid a user a group, and remove it from there. Answered with a [`Receipt`].
    Revoke {
        /// Who.
        user: UserName,
        /// Which groups.
        groups: Pattern,
        /// When it ends by itself; never, if it is not given.
        #[serde(default)]
        until: Option<u64>,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
        /// Only say what it would do.
        #[serde(default)]
        dry_run: bool,
    },
    /// Lift a revocation: exactly this user and pattern. Answered with a [`Receipt`].
    Restore {
        /// Who.
        user: UserName,
        /// The pattern, as it was revoked.
        groups: Pattern,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// Close a user's connections and let in no more. Answered with a [`Receipt`].
    Ban {
        /// Who.
        user: UserName,
        /// When it ends by itself; never, if it is not given.
        #[serde(default)]
        until: Option<u64>,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
        /// Only say what it would do.
        #[serde(default)]
        dry_run: bool,
    },
    /// Lift a ban. Answered with a [`Receipt`].
    Unban {
        /// Who.
        user: UserName,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// Refuse every token of a user that was issued up to now, and close the connections made with one. It ends by
    /// itself when the last of those tokens has ended. Answered with a [`Receipt`].
    SignOut {
        /// Who.
        user: UserName,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
    },
    /// Take a user's tokens again that were issued before it was signed out. Answered with a [`Receipt`].
    LiftSignOut {
        /// Who.
        user: UserName,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// Refuse one token, and close the connections made with it. Answered with a [`Receipt`].
    RevokeToken {
        /// The token's id, its claim `jti`.
        jti: String,
        /// When it may be forgotten, because the token has ended by then; never, if it is not given.
        #[serde(default)]
        until: Option<u64>,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
    },
    /// Take a token again that was revoked. Answered with a [`Receipt`].
    RestoreToken {
        /// The token's id, its claim `jti`.
        jti: String,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// Make connections members of a group, without a grant. Answered with a [`Receipt`].
    Add {
        /// Whose.
        who: Who,
        /// Which group.
        group: GroupName,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// End memberships, and leave open to join again. Answered with a [`Receipt`].
    Remove {
        /// Whose.
        who: Who,
        /// Which group.
        group: GroupName,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
    },
    /// Close connections, and tell them when to come back by themselves. Nobody is forbidden anything. Answered with a
    /// [`Receipt`].
    Close {
        /// Whose.
        who: Who,
        /// In how many milliseconds they may come back: each is told a time of its own between this and half as much
        /// again. Not by themselves, if it is 0; 86,400,000 (a day) at most.
        #[serde(default)]
        retry_after_ms: u32,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
    },
    /// The same as [`Action::Close`] without a time: they do not come back by themselves. Answered with a
    /// [`Receipt`].
    Kick {
        /// Whose.
        who: Who,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
    },
    /// Copy the store of bans and audit records, as it is at one moment, to `bans.redb.backup` in the server's state
    /// directory, in place of the copy before. Answered with a [`Receipt`].
    Backup {},
    /// Send a message as the server. Answered with a [`Receipt`].
    Send {
        /// Where to.
        to: Who,
        /// The event that the message carries.
        event: EventName,
        /// The payload, in base64.
        payload: String,
        /// What the payload is written in.
        #[serde(default)]
        format: PayloadFormat,
    },
    /// Make a user a member of a group whenever it is here, and say what it may do there. Answered with a [`Receipt`].
    AddLasting {
        /// Who.
        user: UserName,
        /// Which group.
        group: GroupName,
        /// What it may do there, whatever its token says.
        #[serde(default)]
        may: May,
        /// When it ends by itself; never, if it is not given.
        #[serde(default)]
        until: Option<u64>,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// End a lasting membership. Answered with a [`Receipt`].
    RemoveLasting {
        /// Who.
        user: UserName,
        /// Which group.
        group: GroupName,
        /// Why, for the user and the audit.
        #[serde(default)]
        reason: String,
    },
    /// Let a back end use the HTTP API. What opens with the key is made where this comes from, and is not in here.
    /// Answered with a [`Receipt`].
    CreateApiKey {
        /// Its name: 1 to 64 letters, digits, `.`, `_` and `-`.
        name: String,
        /// What the key begins with: `ffk_` and 16 hexadecimal digits.
        id: String,
        /// SHA-256 of the whole key, in hex.
        hash: String,
        /// What it may do.
        allow: Vec<Scope>,
        /// Operations a second that it may have carried out; as many as it likes, if it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per_second: Option<NonZeroU32>,
        /// When it ends by itself; never, if it is not given.
        #[serde(default)]
        until: Option<u64>,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// Refuse a key of the HTTP API from now on. Answered with a [`Receipt`].
    RevokeApiKey {
        /// Its name.
        name: String,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
    /// Take out what a node has left that was given up, and that may be delivering without the cluster as far as the
    /// others know: somebody knows that it does not. Answered with a [`Receipt`].
    ForgetNode {
        /// Which: eight hexadecimal digits, as [`Status`] has it.
        node: String,
        /// Why, for the audit.
        #[serde(default)]
        reason: String,
    },
}

/// What an operator wants to be kept told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
#[serde(expecting = "a request: an object with a member \"ask\"")]
pub enum Subscription {
    /// The audit records behind a number, as they were stored. Answered with one record a line.
    Audit {
        /// Records with a higher number than this.
        #[serde(default)]
        after: u64,
        /// At most so many; 0 for all.
        #[serde(default)]
        limit: u64,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// A snapshot, and then what changes. Answered with one [`Update`] a line.
    Watch {
        /// Milliseconds between updates, 50 to 60,000.
        #[serde(default = "default_interval")]
        interval_ms: u32,
    },
}

fn default_interval() -> u32 {
    250
}

/// Whom an action is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[serde(expecting = "\"all\", or an object with one of the members connection, user and group")]
pub enum Who {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of a user.
    User(UserName),
    /// Every member of a group.
    Group(GroupName),
    /// Everyone.
    All,
}

impl From<&Target> for Who {
    fn from(target: &Target) -> Self {
        match target.clone() {
            Target::Connection(connection) => Self::Connection(connection),
            Target::User(user) => Self::User(user),
            Target::Group(group) => Self::Group(group),
            Target::All => Self::All,
        }
    }
}

impl From<&Who> for Target {
    fn from(who: &Who) -> Self {
        match who.clone() {
            Who::Connection(connection) => Self::Connection(connection),
            Who::User(user) => Self::User(user),
            Who::Group(group) => Self::Group(group),
            Who::All => Self::All,
        }
    }
}

/// Which rows of a list, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[serde(expecting = "which rows: an object")]
pub struct Page {
    /// Only rows with this text in them (in an id, a name or an address); case does not count.
    pub filter: String,
    /// The field to sort by; by id or name, if it is empty.
    pub sort: String,
    /// The largest first.
    pub descending: bool,
    /// How many rows to pass over.
    pub offset: u32,
    /// At most so many rows, and never more than [`ADMIN_PAGE_ROWS`]; 0 for that many.
    pub limit: u32,
    /// The `next` of the page before: only rows behind that. Earlier versions do not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    /// What serde lists when it is given an unknown name is all there are.
    fn names<T: DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>(r#"{"ask":"?"}"#).err().unwrap().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn each_name_is_of_the_kind_that_has_it() {
        assert_eq!(names::<Question>(), QUESTIONS);
        assert_eq!(names::<Action>(), ACTIONS);
        assert_eq!(names::<Subscription>(), SUBSCRIPTIONS);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for request in [
            AdminRequest::Question(Question::Status {}),
            AdminRequest::Action(Action::Backup {}),
            AdminRequest::Subscription(Subscription::Watch { interval_ms: 50 }),
        ] {
            let json = serde_json::to_vec(&request).unwrap();
            assert_eq!(AdminRequest::from_json(&json).unwrap(), request);
        }
        let twice = AdminRequest::from_json(br#"{"ask":"status","ask":"status"}"#).unwrap_err().to_string();
        assert!(twice.contains("duplicate field `ask`"), "{twice}");
    }
}
