//! What back ends are told: rows of lists, pages of them, facts.
//!
//! In: what the hub and moderation have. Out: JSON. Invariant: a field stays what it is; later versions may have more.

use std::ops::Not;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_protocol::admin::{
    BanKind, BanRow, ConnectionRow, GroupRow, LastingRow, May, MembershipOrigin, NodeRow, UserRow, Verdict,
};
use fanfare_protocol::{ConnectionId, GroupName, Payload, PayloadFormat, UserName};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A group.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Group {
    #[schema(value_type = String)]
    pub(super) group: GroupName,
    /// How many connections are in it.
    pub(super) connections: u64,
    /// How many users those belong to.
    pub(super) users: u64,
    /// Whether there may be fewer users than `users`: in a cluster, where they are too many to be compared by their
    /// names, who is a member on several nodes is counted on each.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(super) users_at_most: bool,
    /// In a cluster: nodes that did not answer, by their names. What is there is not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// A page of groups.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Groups {
    pub(super) groups: Vec<Group>,
    /// The cursor of the next page, where there is one.
    pub(super) next: Option<String>,
    /// In a cluster: nodes that did not answer, by their names. What is there is not in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// A user who is here.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(value_type = String)]
    pub(super) user: UserName,
    /// How many connections it has.
    pub(super) connections: u64,
    /// In a cluster: nodes that did not answer, by their names. What is there is not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// A page of users.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Users {
    pub(super) users: Vec<User>,
    /// The cursor of the next page, where there is one.
    pub(super) next: Option<String>,
    /// In a cluster: nodes that did not answer, by their names. What is there is not in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// A user who is present in a group.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PresentUser {
    #[schema(value_type = String)]
    pub(super) user: UserName,
    /// With how many connections.
    pub(super) connections: u64,
    /// What the application says of it, where it says anything.
    pub(super) data: Option<PublicData>,
}

/// What an application says of a user, in its own format: one of these.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PublicData {
    /// A value.
    #[schema(value_type = serde_json::Value)]
    Json(Box<RawValue>),
    /// A text.
    Text(String),
    /// Bytes, in base64 (RFC 4648 section 4). `MessagePack`, and what is not what its format says, is bytes here.
    Base64(String),
}

/// A page of users who are present.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Presence {
    pub(super) present: Vec<PresentUser>,
    /// The cursor of the next page, where there is one.
    pub(super) next: Option<String>,
    /// In a cluster: nodes that did not answer, by their names. What is there is not in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// A connection.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Connection {
    #[schema(value_type = String)]
    pub(super) connection: ConnectionId,
    #[schema(value_type = String)]
    pub(super) user: UserName,
    /// `quic`, `webtransport`, `websocket` or `signalr`.
    pub(super) transport: String,
    /// Where it comes from.
    pub(super) address: String,
    /// When it was welcomed, in seconds since 1970.
    pub(super) since: u64,
    /// How many groups it is in.
    pub(super) groups: u64,
    /// In a cluster: the name of the node that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
}

/// A page of connections.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Connections {
    pub(super) connections: Vec<Connection>,
    /// The cursor of the next page, where there is one.
    pub(super) next: Option<String>,
    /// In a cluster: nodes that did not answer, by their names. What is there is not in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// A connection, with the groups that it is in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ConnectionDetail {
    #[serde(flatten)]
    pub(super) connection: Connection,
    /// Those of its groups that the key may see.
    pub(super) memberships: Vec<Membership>,
    /// When its token ends, in seconds since 1970, if it has one.
    pub(super) token_ends: Option<u64>,
    /// The id of its token, if it has one, for who may have tokens refused.
    pub(super) token_id: Option<String>,
}

/// A membership.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Membership {
    #[schema(value_type = String)]
    pub(super) group: GroupName,
    /// Who made it: `client`, `operator`, `application`, which a back end is, too, or `lasting`.
    #[schema(value_type = String)]
    pub(super) origin: MembershipOrigin,
}

/// A lasting membership.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LastingMembership {
    #[schema(value_type = String)]
    pub(super) user: UserName,
    #[schema(value_type = String)]
    pub(super) group: GroupName,
    /// `both`, `receive` or `send`.
    #[schema(value_type = String)]
    pub(super) may: May,
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
    /// When it ends by itself.
    pub(super) until: Option<u64>,
    /// Which operator, or `key:` and the name of an API key.
    pub(super) author: String,
}

/// A page of lasting memberships.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LastingMemberships {
    pub(super) lasting: Vec<LastingMembership>,
    /// The cursor of the next page, where there is one.
    pub(super) next: Option<String>,
}

/// A ban, a revocation, a sign-out or a token that is refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Ban {
    /// `group`, `user`, `sign_out` or `token`.
    #[schema(value_type = String)]
    pub(super) kind: BanKind,
    #[schema(value_type = Option<String>)]
    pub(super) user: Option<UserName>,
    /// Which groups, for `group`.
    pub(super) groups: Option<String>,
    /// The token's id, for `token`.
    pub(super) jti: Option<String>,
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
    /// When it ends by itself.
    pub(super) until: Option<u64>,
    pub(super) reason: String,
    /// Which operator, or `key:` and the name of an API key.
    pub(super) author: String,
}

/// A page of bans.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Bans {
    pub(super) bans: Vec<Ban>,
    /// The cursor of the next page, where there is one.
    pub(super) next: Option<String>,
}

/// Whether a user may join a group.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Explained {
    /// `may`, `may_not`, or `depends`: on the token that it comes with, or on the application.
    #[schema(value_type = String)]
    pub(super) verdict: Verdict,
    /// What a lasting membership lets the user do there, where it has one: `both`, `receive` or `send`.
    #[schema(value_type = Option<String>)]
    pub(super) lasting: Option<May>,
    /// The same in a sentence, with the reason.
    pub(super) summary: String,
    /// In a cluster: nodes that did not answer, by their names. What connections the user has there is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) silent: Vec<String>,
}

/// Audit records.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Records {
    /// As they were stored: each has a hash of the one before.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub(super) records: Vec<Box<RawValue>>,
    /// What `after` is to be for those that follow; as before, where there are none yet.
    pub(super) next: u64,
}

/// How the server is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Stats {
    /// Connections that there are.
    pub(super) connections: u64,
    /// Users with at least one.
    pub(super) users: u64,
    /// Groups with at least one member.
    pub(super) groups: u64,
    /// Sends that were carried out since the start.
    pub(super) sends: u64,
    /// Messages that were queued, one for each recipient, since the start.
    pub(super) deliveries: u64,
    /// Messages that were dropped from full outboxes since the start.
    pub(super) dropped: u64,
    /// Bans, revocations and sign-outs in force.
    pub(super) bans: u64,
    /// Seconds since the start.
    pub(super) uptime: u64,
    /// The server's name and version.
    pub(super) server: &'static str,
    /// In a cluster: the nodes, the one that was asked first. What is above is of that one, but for bans.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<NodeStats>>)]
    pub(super) nodes: Vec<NodeStats>,
}

/// How a node is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NodeStats {
    /// What it is called.
    pub(super) name: String,
    /// Connections there.
    pub(super) connections: u64,
    /// Users there. One with connections on several nodes is counted on each.
    pub(super) users: u64,
    /// Groups there. One with members on several nodes is counted on each.
    pub(super) groups: u64,
    /// How old that is, in milliseconds.
    pub(super) age_ms: u64,
}

impl From<NodeRow> for NodeStats {
    fn from(row: NodeRow) -> Self {
        let NodeRow { name, connections, users, groups, age_ms, .. } = row;
        Self { name, connections, users, groups, age_ms }
    }
}

impl From<Payload> for PublicData {
    fn from(Payload { format, bytes }: Payload) -> Self {
        let text = String::from_utf8(bytes.to_vec()).ok();
        let read = match format {
            PayloadFormat::Json => text.and_then(|text| RawValue::from_string(text).ok()).map(Self::Json),
            PayloadFormat::Text => text.map(Self::Text),
            PayloadFormat::Binary | PayloadFormat::MessagePack | PayloadFormat::Other(_) => None,
        };
        read.unwrap_or_else(|| Self::Base64(STANDARD.encode(&bytes)))
    }
}

impl From<ConnectionRow> for Connection {
    fn from(row: ConnectionRow) -> Self {
        let ConnectionRow { connection, user, transport, address, since, groups, node, .. } = row;
        Self { connection, user, transport, address, since, groups, node }
    }
}

impl From<UserRow> for User {
    fn from(UserRow { user, connections }: UserRow) -> Self {
        Self { user, connections, silent: Vec::new() }
    }
}

impl From<GroupRow> for Group {
    fn from(row: GroupRow) -> Self {
        let GroupRow { group, members: connections, users, users_at_most, .. } = row;
        Self { group, connections, users, users_at_most, silent: Vec::new() }
    }
}

impl From<BanRow> for Ban {
    fn from(row: BanRow) -> Self {
        let BanRow { kind, user, groups, jti, since, until, reason, author } = row;
        let groups = groups.map(|groups| groups.as_str().to_owned());
        Self { kind, user, groups, jti, since, until, reason, author }
    }
}

impl From<LastingRow> for LastingMembership {
    fn from(LastingRow { user, group, may, since, until, author }: LastingRow) -> Self {
        Self { user, group, may, since, until, author }
    }
}
