//! What the server tells operators of one connection, user, group or ban: rows of lists, and a connection in detail.
//!
//! In: facts, as the server has them. Out: JSON, and the same values again. Invariant: a field stays what it is; later
//! versions may have more, so one that came later than the others has a default.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::{ConnectionId, GroupName, Pattern, UserName};

/// A connection in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Its id.
    pub connection: ConnectionId,
    /// Its user.
    pub user: UserName,
    /// `quic`, `webtransport`, `websocket` or `signalr`.
    pub transport: String,
    /// Where it comes from.
    pub address: String,
    /// When it was welcomed.
    pub since: u64,
    /// How many groups it is in.
    pub groups: u64,
    /// Frames that wait for it.
    pub outbox_frames: u64,
    /// Bytes that wait for it.
    pub outbox_bytes: u64,
    /// Requests that it made.
    pub requests: u64,
    /// Messages that were queued to it.
    pub deliveries: u64,
    /// Messages to it that were dropped.
    pub dropped: u64,
    /// The round trip, in microseconds.
    pub rtt_us: u64,
    /// Packets sent to it.
    pub sent_packets: u64,
    /// Of those, lost.
    pub lost_packets: u64,
    /// Times that its flow control kept us from sending: the application reads too slowly.
    pub blocked_by_application: u64,
    /// Times that the congestion window was reduced: the network is too slow.
    pub congestion_events: u64,
    /// For how many milliseconds nothing was heard of it, as of the last second's look. A client that lives is heard
    /// of every 10 s.
    #[serde(default)]
    pub silent_ms: u64,
    /// Methods of the application that run for it.
    #[serde(default)]
    pub calls: u64,
    /// In a cluster: the name of the node that it is on. Updates of `watch` do not say it: they are of one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Whether it need not be said.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A connection of which nothing was heard for so many milliseconds is silent: a client that lives is heard of every
/// 10 s (PROTOCOL.md, section 12).
pub const SILENT_MS: u64 = 15_000;

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The name.
    pub user: UserName,
    /// How many connections it has.
    pub connections: u64,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The name.
    pub group: GroupName,
    /// How many connections are in it.
    pub members: u64,
    /// How many users those belong to.
    pub users: u64,
    /// Messages that were queued to its members because they are.
    #[serde(default)]
    pub deliveries: u64,
    /// Frames that wait for its members, of whatever kind.
    #[serde(default)]
    pub waiting_frames: u64,
    /// How many connections watch who is in it, as members or not.
    #[serde(default)]
    pub watchers: u64,
    /// Whether there may be fewer users than `users`: in a cluster, who is a member on several nodes is counted on each
    /// where they are too many to be compared by their names.
    #[serde(default, skip_serializing_if = "is_false")]
    pub users_at_most: bool,
}

/// Everything about a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionDetail {
    /// What a list has.
    #[serde(flatten)]
    pub row: ConnectionRow,
    /// The groups that it is in, with who made each membership.
    pub memberships: Vec<MembershipRow>,
    /// When its token ends, if it has one.
    pub token_ends: Option<u64>,
    /// When the next of its grants ends, if one does.
    pub grant_ends: Option<u64>,
    /// The id of its token, if it has one.
    pub token_id: Option<String>,
    /// What QUIC says.
    pub quic: QuicFacts,
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRow {
    /// The group.
    pub group: GroupName,
    /// Whether no grant is needed, because it was not the client that asked for it. Earlier versions know no more.
    pub by_operator: bool,
    /// Who made it. Earlier versions do not say: [`MembershipRow::made_by`] reads either.
    #[serde(default)]
    pub origin: Option<MembershipOrigin>,
}

impl MembershipRow {
    /// The row of a membership that this one made.
    #[must_use]
    pub fn new(group: GroupName, origin: MembershipOrigin) -> Self {
        Self { group, by_operator: origin.needs_no_grant(), origin: Some(origin) }
    }

    /// Who made it.
    #[must_use]
    pub fn made_by(&self) -> MembershipOrigin {
        MembershipOrigin::read(self.origin, self.by_operator)
    }
}

/// Who made a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembershipOrigin {
    /// The client, which has a grant for it.
    Client,
    /// An operator.
    Operator,
    /// The application.
    Application,
    /// A lasting membership.
    Lasting,
    /// What came with a later version.
    #[serde(other)]
    Other,
}

impl MembershipOrigin {
    /// Whether it stays when a grant ends.
    #[must_use]
    pub fn needs_no_grant(self) -> bool {
        self != Self::Client
    }

    pub(super) fn read(origin: Option<Self>, by_operator: bool) -> Self {
        origin.unwrap_or(if by_operator { Self::Operator } else { Self::Client })
    }
}

/// What QUIC says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuicFacts {
    /// The round trip, in microseconds.
    pub rtt_us: u64,
    /// The congestion window, in bytes: what may be on its way.
    pub congestion_window: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets lost.
    pub lost_packets: u64,
    /// Bytes sent in UDP datagrams.
    pub sent_bytes: u64,
    /// Bytes received in UDP datagrams.
    pub received_bytes: u64,
    /// The largest UDP payload that the path takes, in bytes.
    pub mtu: u64,
    /// Times that we wanted to send and the client's flow control did not let us: the application reads too slowly.
    pub blocked_by_application: u64,
    /// Times that the client proved to be at another address (RFC 9000 section 9): it moved to another network, or a
    /// NAT gave it another port.
    pub migrations: u64,
    /// Times that the congestion window was reduced: the network is too slow.
    pub congestion_events: u64,
}

/// What a ban forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanKind {
    /// A user the groups that match a pattern.
    Group,
    /// A user the server.
    User,
    /// A user's tokens that were issued up to `since`.
    SignOut,
    /// One token.
    Token,
}

/// A lasting membership: where a user is whenever it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastingRow {
    /// Who.
    pub user: UserName,
    /// In which group.
    pub group: GroupName,
    /// What it may do there, whatever its token says.
    #[serde(default)]
    pub may: May,
    /// Since when.
    pub since: u64,
    /// When it ends by itself.
    pub until: Option<u64>,
    /// Which operator, or `key:` and the name of an API key.
    pub author: String,
}

/// What a lasting membership lets its user do in the group. What it does not, it forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum May {
    /// Be a member, and send.
    #[default]
    Both,
    /// Be a member, and not send: it is muted.
    Receive,
    /// Send, and not be a member.
    Send,
}

impl May {
    /// Whether the user is a member.
    #[must_use]
    pub fn receives(self) -> bool {
        self != Self::Send
    }

    /// Whether it may send.
    #[must_use]
    pub fn sends(self) -> bool {
        self != Self::Receive
    }

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }
}

/// A key of the HTTP API. What opens with it is not in here, and nowhere else but with whoever has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRow {
    /// Its name, which no other has.
    pub name: String,
    /// What a key begins with that is this one: `ffk_` and 16 hexadecimal digits.
    pub id: String,
    /// What it may do.
    pub allow: Vec<Scope>,
    /// Operations a second that it may have carried out; as many as it likes, if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<NonZeroU32>,
    /// Since when it is.
    pub since: u64,
    /// When it ends by itself.
    pub until: Option<u64>,
    /// When it was last used, as of about a minute ago; not given where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Which operator made it.
    pub author: String,
}

/// A node of a cluster, as another knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeRow {
    /// Eight hex digits, which the ids of its connections begin with.
    pub node: String,
    /// What it is called.
    pub name: String,
    /// Which version of Fanfare it is.
    pub version: String,
    /// Whether it is the one that says this.
    pub is_this: bool,
    /// Connections there.
    pub connections: u64,
    /// Users there.
    pub users: u64,
    /// Groups there.
    pub groups: u64,
    /// How old that is, in milliseconds.
    pub age_ms: u64,
    /// Up to which revision what was decided is in force there.
    pub in_force: u64,
    /// Publications of it that were lost on their way to the one that says this.
    pub missed: u64,
    /// What the one that says this could not send to others, or NATS did not take. Of itself alone.
    #[serde(default)]
    pub unsent: u64,
    /// Messages to the one that says this that no node had sent, or one of a later version. Of itself alone.
    #[serde(default)]
    pub foreign: u64,
    /// Messages that came to the one that says this when it was too late for them, and that it did not tell. Of itself
    /// alone.
    #[serde(default)]
    pub late: u64,
    /// How far its clock is ahead of that of the one that says this, in milliseconds; as exactly as its way there
    /// allows, and not given where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// Whether it was given up and may be delivering all the same, because it serves without the cluster; `age_ms` is
    /// how long ago it was given up, and how many connections it has is not known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_lost: bool,
    /// Why it lets nobody in, or what is not right between the two; not given while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An end point of a back end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WebhookRow {
    /// What it is called.
    pub name: String,
    /// On which server it is.
    pub url: String,
    /// Events that it is still to be told.
    pub waiting: u64,
    /// For how many seconds the oldest of them has waited; not given where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<u64>,
    /// Events that it took.
    pub delivered: u64,
    /// Requests with events that it did not take: they are made again.
    pub failed: u64,
    /// Events that were given up.
    pub lost: u64,
    /// Questions that it was asked.
    pub asked: u64,
    /// Of those, questions without an answer that could be used.
    pub unanswered: u64,
    /// Whether the last request failed.
    pub is_failing: bool,
    /// What failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<WebhookError>,
}

/// What failed last of an end point of a back end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookError {
    /// How long ago.
    pub seconds_ago: u64,
    /// What the matter was.
    pub words: String,
}

/// A ban, revocation or sign-out in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanRow {
    /// What it forbids.
    pub kind: BanKind,
    /// Whom; none for a token.
    pub user: Option<UserName>,
    /// Which groups, for `group`.
    pub groups: Option<Pattern>,
    /// The token's id, for `token`.
    pub jti: Option<String>,
    /// Since when.
    pub since: u64,
    /// When it ends by itself.
    pub until: Option<u64>,
    /// Why.
    pub reason: String,
    /// Which operator.
    pub author: String,
}
