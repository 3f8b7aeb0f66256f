//! What the server answers operators. Later versions may have more fields.

use serde::{Deserialize, Serialize};

use super::{Role, Times};
use crate::{ConnectionId, Denial, GroupName, Pattern, UserName};

/// An answer that is no refusal, or a refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminReply<T> {
    /// The answer.
    Ok(T),
    /// The refusal.
    Error(AdminError),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct AdminError {
    /// The number of a [`Code`](crate::Code).
    pub code: u16,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Rows, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<R> {
    /// How many rows match the filter, on all pages.
    pub total: u64,
    /// Those of this page.
    pub rows: Vec<R>,
}

/// Facts and totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The server's name and version.
    pub server: String,
    /// Where clients connect.
    pub address: String,
    /// Who asks: the name in the certificate.
    pub operator: String,
    /// What that operator may do.
    pub role: Role,
    /// Seconds since the server started.
    pub uptime: u64,
    /// Whether it is a development server.
    pub dev: bool,
    /// Connections, users, groups.
    pub totals: Totals,
    /// What the server has done since its start.
    pub counters: Counters,
    /// Bans, revocations and sign-outs in force.
    pub bans: u64,
    /// The audit's last record.
    pub audit: AuditHead,
    /// Why no action can be taken now, as on a full disk; not given where they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_impaired: Option<String>,
}

/// How many of what there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Connections.
    pub connections: u64,
    /// Users with at least one connection.
    pub users: u64,
    /// Groups with at least one member.
    pub groups: u64,
}

/// What a server has done since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Handshakes that began.
    pub handshakes: u64,
    /// Handshakes that were refused unseen, because too many were going on.
    pub handshakes_refused: u64,
    /// Handshakes that were given up for others, because their address had more of them.
    #[serde(default)]
    pub handshakes_evicted: u64,
    /// First packets with a proof of their address that had been used before.
    #[serde(default)]
    pub proofs_replayed: u64,
    /// Clients that were asked to prove their address first.
    pub retries: u64,
    /// Handshakes that ended with `Welcome`.
    pub welcomed: u64,
    /// Requests that were carried out.
    pub requests: u64,
    /// Frames of later versions of the protocol, in whole or in part, of which nothing was done.
    #[serde(default)]
    pub unknown: u64,
    /// Sends that were carried out.
    pub sends: u64,
    /// Messages that were queued, one for each recipient.
    pub deliveries: u64,
    /// Messages that were dropped from full outboxes.
    pub dropped: u64,
    /// Messages that were thrown away because the recipient lost the group.
    pub purged: u64,
    /// Times that a connection was held back because it asked too fast.
    pub throttled: u64,
    /// Refused requests, by code name.
    pub refused: std::collections::BTreeMap<String, u64>,
    /// Closed connections, by code name.
    pub closed: std::collections::BTreeMap<String, u64>,
    /// Memberships that the server ended, by code name.
    pub removed: std::collections::BTreeMap<String, u64>,
    /// The server's resident memory, in bytes; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// The bytes that the server has in use, as its allocator counts: without what that keeps for later. 0 where it
    /// does not count.
    #[serde(default)]
    pub live_bytes: u64,
    /// Streams that were stopped because the protocol has no use for them.
    #[serde(default)]
    pub stopped_streams: u64,
    /// Bytes that wait for clients, of those that are counted for all together.
    #[serde(default)]
    pub waiting_bytes: u64,
    /// How many of those there may be.
    #[serde(default)]
    pub waiting_limit: u64,
    /// The time that it has used of one processor, in milliseconds; 0 where the system does not tell.
    pub cpu_ms: u64,
    /// Connections that were lost without a close.
    pub lost: u64,
    /// Bytes of frames that came in.
    pub bytes_in: u64,
    /// Bytes of frames that went out.
    pub bytes_out: u64,
    /// How long messages were in the server: from when a send was read until QUIC took the copy for a recipient. Of
    /// those that are written together, the one that came first.
    pub delivery_us: Times,
}

/// The last audit record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number; 0 when there is none.
    pub sequence: u64,
    /// Its hash, in hex.
    pub hash: String,
}

/// A connection in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Its id.
    pub connection: ConnectionId,
    /// Its user.
    pub user: UserName,
    /// `quic` or `webtransport`.
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

    fn read(origin: Option<Self>, by_operator: bool) -> Self {
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

/// Whether a user may join a group, and why. What is said here was asked of the same code that admits connections and
/// joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Who.
    pub user: UserName,
    /// Which group.
    pub group: GroupName,
    /// The answer, as things stand now: for the token that was asked about, or else for the user's connections.
    pub verdict: Verdict,
    /// Whether the verdict is [`Verdict::May`].
    pub may_join: bool,
    /// The bans that have to do with it: those that forbid it, and a sign-out, which forbids what older tokens ask.
    pub bans: Vec<BanRow>,
    /// What keeps the user from connecting now, whatever it shows.
    #[serde(default)]
    pub connecting: Vec<Refusal>,
    /// What would become of somebody with the token that was asked about.
    #[serde(default)]
    pub token: Option<TokenVerdict>,
    /// The user's connections, and what each one's token says.
    pub connections: Vec<ConnectionVerdict>,
    /// The same in a sentence.
    pub summary: String,
}

/// Whether somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    May,
    /// No.
    MayNot,
    /// It depends on the token: on one that is not known here, or on which of several connections asks.
    Depends,
}

/// What a client would be refused with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct Refusal {
    /// The number of a [`Code`](crate::Code).
    pub code: u16,
    /// What the client would be told.
    pub message: String,
}

impl From<Denial> for Refusal {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self { code: code.number(), message: detail }
    }
}

/// What would become of somebody who comes with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenVerdict {
    /// Why the connection would be refused, if it would.
    pub connect: Option<Refusal>,
    /// Why the join would be refused then, if it would. Not asked where the connection is refused.
    pub join: Option<Refusal>,
}

/// What one connection's token says about a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionVerdict {
    /// Which connection.
    pub connection: ConnectionId,
    /// Whether its token lets it join.
    pub granted: bool,
    /// Why a join would be refused, if it would.
    #[serde(default)]
    pub refusal: Option<Refusal>,
    /// Whether its requests wait, because it makes more than it may.
    #[serde(default)]
    pub held_back: bool,
    /// When that ends, if it does before the token.
    pub until: Option<u64>,
    /// Whether it is a member now.
    pub member: bool,
    /// Whether somebody else than its client made it one, so that no grant is needed. Earlier versions know no more.
    pub by_operator: bool,
    /// Who made it one. Earlier versions do not say: [`ConnectionVerdict::made_by`] reads either.
    #[serde(default)]
    pub origin: Option<MembershipOrigin>,
}

impl ConnectionVerdict {
    /// Who made it a member, where it is one.
    #[must_use]
    pub fn made_by(&self) -> Option<MembershipOrigin> {
        self.member.then(|| MembershipOrigin::read(self.origin, self.by_operator))
    }
}

/// What an action did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Receipt {
    /// Whether nothing was done, because only an answer was wanted.
    pub dry_run: bool,
    /// Whether there was nothing to change: the action had been done before.
    pub unchanged: bool,
    /// Connections that were removed from a group, added to one, closed, or sent to.
    pub connections: u64,
    /// Connections by group, where the action is about groups.
    pub groups: std::collections::BTreeMap<GroupName, u64>,
    /// Messages that were still queued, and were thrown away.
    pub purged: u64,
    /// How long it took, in microseconds, from the request to the receipt; the disk included.
    pub took_us: u64,
    /// Of that, from the moment when it was in force until the last connection was dealt with.
    pub acted_us: u64,
    /// The number of the audit record; 0 for a dry run.
    pub audit: u64,
}

/// Whether the audit's chain is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Whether it is.
    pub whole: bool,
    /// How many records it has.
    pub records: u64,
    /// The last record.
    pub head: AuditHead,
    /// Where it breaks and how, if it does.
    pub broken: Option<String>,
}

/// One line of `watch`. An update with many rows comes in several lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Whether what was said before is to be forgotten: with this line begins everything there is, and not only what
    /// changed.
    pub full: bool,
    /// Whether the next line belongs to the same update.
    pub more: bool,
    /// Milliseconds since 1970 on the server's clock.
    pub at_ms: u64,
    /// Updates that this watcher was too slow for, since the last one. The values below are the latest all the same.
    pub skipped: u64,
    /// Connections, users, groups.
    pub totals: Totals,
    /// What the server has done since its start.
    pub counters: Counters,
    /// Why no action can be taken now, as on a full disk; not given where they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_impaired: Option<String>,
    /// Connections that are new or changed.
    pub connections: Vec<ConnectionRow>,
    /// Connections that are gone.
    pub gone_connections: Vec<ConnectionId>,
    /// Groups that are new or changed.
    pub groups: Vec<GroupRow>,
    /// Groups that are gone.
    pub gone_groups: Vec<GroupName>,
}
