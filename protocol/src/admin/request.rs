//! What operators ask and order.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::{
    ADMIN_PAGE_ROWS, AuditVerdict, BanRow, ConnectionDetail, ConnectionRow, Explanation, GroupRow, Listing,
    Receipt, Status, Update, UserRow,
};
use crate::{ConnectionId, EventName, GroupName, Pattern, PayloadFormat, Token, UserName};

/// A question, or an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
#[serde(expecting = "a request: an object with a member \"ask\"")]
pub enum AdminRequest {
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
    /// Whether the audit's chain is whole. Answered with [`AuditVerdict`].
    VerifyAudit {
        /// The hash of the last record as it is known from elsewhere, in hex: finds a chain that was cut and made anew.
        #[serde(default)]
        head: Option<String>,
    },
    /// A snapshot, and then what changes. Answered with one [`Update`] a line.
    Watch {
        /// Milliseconds between updates, 50 to 60,000.
        #[serde(default = "default_interval")]
        interval_ms: u32,
    },
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
    /// The same as [`AdminRequest::Close`] without a time: they do not come back by themselves. Answered with a
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
}
