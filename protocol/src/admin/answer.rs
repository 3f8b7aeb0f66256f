//! What the server answers operators: how it is, whether somebody may, what an action did, what changes. Later versions
//! may have more fields.

use serde::{Deserialize, Serialize};

use super::row::{BanRow, ConnectionRow, GroupRow, May, MembershipOrigin, NodeRow, WebhookRow, is_false};
use super::{Role, Times};
use crate::{Code, ConnectionId, Denial, GroupName, UserName};

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
    /// Whether there may be fewer than `total`: in a cluster what is on several nodes is counted on each.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_most: bool,
    /// What [`Page::after`](super::Page::after) is to be for the next page; not given where there is none. Earlier
    /// versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// In a cluster: nodes that did not answer, by their names. What is there is not in the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

impl<R> Listing<R> {
    /// Rows of one server, the last ones.
    #[must_use]
    pub fn new(total: u64, rows: Vec<R>) -> Self {
        Self { total, rows, at_most: false, next: None, silent: Vec::new() }
    }

    /// The same with other rows.
    #[must_use]
    pub fn map<T>(self, row: impl FnMut(R) -> T) -> Listing<T> {
        let Self { total, rows, at_most, next, silent } = self;
        Listing { total, rows: rows.into_iter().map(row).collect(), at_most, next, silent }
    }
}

/// Whether there is nothing to be said.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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
    /// Back ends that are asked and told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookRow>,
    /// The nodes of the cluster, this one first; none where the server is a whole hub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRow>,
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
    /// Watches of who is in groups, now.
    #[serde(default)]
    pub watches: u64,
    /// Frames of presence that were queued, one for each who watches.
    #[serde(default)]
    pub presence: u64,
    /// Times that one who watches did not keep up, and was told anew.
    #[serde(default)]
    pub presence_restarts: u64,
    /// Streams that were stopped because the protocol has no use for them.
    #[serde(default)]
    pub stopped_streams: u64,
    /// Calls of the application's methods that were begun.
    #[serde(default)]
    pub calls: u64,
    /// Of those, that ended with an error.
    #[serde(default)]
    pub calls_failed: u64,
    /// Of those, that run now.
    #[serde(default)]
    pub calls_running: u64,
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

impl Counters {
    /// Connections that the application has refused, for good or for now.
    #[must_use]
    pub fn refused_by_application(&self) -> u64 {
        let codes = [Code::ConnectRefused, Code::ConnectRefusedForNow];
        codes.iter().filter_map(|code| self.closed.get(code.name())).sum()
    }
}

/// The last audit record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number; 0 when there is none.
    pub sequence: u64,
    /// Its hash, in hex.
    pub hash: String,
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
    /// How many more it has, which are not told one by one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_connections: u64,
    /// In a cluster: nodes that did not answer, by their names. What connections the user has there is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Whether the application is asked as well, and may say otherwise: where the verdict depends on that.
    #[serde(default)]
    pub by_application: bool,
    /// What a lasting membership lets the user do in the group, where it has one there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<May>,
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
    /// It depends on the token: on one that is not known here, or on which of several connections asks. Or it depends
    /// on the application, which is asked and may say otherwise ([`Explanation::by_application`]).
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
    /// What would become of a watch then. Nothing where the connection is refused; earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watching>,
}

/// Whether somebody may be told who is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watching {
    /// It watches the group, and may.
    Watches,
    /// It does not watch the group, and may; its client has to have offered presence.
    May,
    /// What it would be refused with.
    MayNot(Refusal),
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
    /// Whether it may watch who is in the group. Earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watching>,
    /// When that ends, if it does before the token.
    pub until: Option<u64>,
    /// Whether it is a member now.
    pub member: bool,
    /// Whether somebody else than its client made it one, so that no grant is needed. Earlier versions know no more.
    pub by_operator: bool,
    /// Who made it one. Earlier versions do not say: [`ConnectionVerdict::made_by`] reads either.
    #[serde(default)]
    pub origin: Option<MembershipOrigin>,
    /// In a cluster: the name of the node that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
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
    /// In a cluster: how each node stands to what was decided. Earlier versions do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStanding>,
    /// In a cluster: nodes that did not say what they did, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// How a node stands to something that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStanding {
    /// Which node: eight hex digits.
    pub node: String,
    /// What it is called.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// Since when, in milliseconds after it was decided.
    pub after_ms: u64,
}

/// How a node stands to something that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is in force there.
    InForce,
    /// The node is cut off and delivers nothing; when it is back, it is in force there first.
    LeaseEnded,
    /// The node is cut off and goes on delivering, as it was told to: there it is not in force.
    ServesWithout,
    /// The node has not said so in time.
    #[serde(other)]
    Unknown,
}

impl Standing {
    /// Whether nothing that was forbidden is delivered there any more.
    #[must_use]
    pub const fn is_fenced(self) -> bool {
        matches!(self, Self::InForce | Self::LeaseEnded)
    }
}

/// Whether the audit's chain is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Whether it is, and in a cluster those of all nodes are.
    pub whole: bool,
    /// How many records it has.
    pub records: u64,
    /// The last record.
    pub head: AuditHead,
    /// Where it breaks and how, if it does; in a cluster, where the first one does that was found.
    pub broken: Option<String>,
    /// In a cluster: the chains of all nodes, with what was noted of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeAudit>,
    /// In a cluster: nodes that did not answer, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// The audit of one node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAudit {
    /// What operators call the node.
    pub node: String,
    /// How many records its chain has.
    pub records: u64,
    /// The last record.
    pub head: AuditHead,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// Back ends that are asked and told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookRow>,
    /// The nodes of the cluster, this one first; none where the server is a whole hub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRow>,
    /// Connections that are new or changed.
    pub connections: Vec<ConnectionRow>,
    /// Connections that are gone.
    pub gone_connections: Vec<ConnectionId>,
    /// Groups that are new or changed.
    pub groups: Vec<GroupRow>,
    /// Groups that are gone.
    pub gone_groups: Vec<GroupName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_by_the_application_is_counted_by_its_codes() {
        let mut counters = Counters::default();
        assert_eq!(counters.refused_by_application(), 0);
        for (code, count) in
            [(Code::ConnectRefused, 2), (Code::ConnectRefusedForNow, 3), (Code::UserBanned, 9)]
        {
            counters.closed.insert(code.name().to_owned(), count);
        }
        assert_eq!(counters.refused_by_application(), 5);
    }
}
