//! Answers questions about the server as it is now.
//!
//! In: a question. Out: its answer as a line of JSON. Invariants: nothing is changed; each row is of one moment, and a
//! list of about one moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fanfare_hub::Population;
use fanfare_protocol::admin::{
    AdminError, AdminReply, ConnectionDetail, Counters, GroupRow, Listing, MembershipRow, NodeRow, Page,
    Question, Status, Totals, UserRow, WebhookRow,
};
use fanfare_protocol::{Code, ConnectionId, Denial};
use fanfare_token::Seconds;

use super::listing::{self, Rows};
use super::reply::{line, store_failed};
use super::rows::{
    ApiKeyRows, BanRows, Connections, Facts, Groups, LastingRows, Users, connection_row, made_by,
};
use crate::access::{self, Gate};
use crate::application::Decides;
use crate::cluster::Side;
use crate::edge::admission::Admission;
use crate::edge::handshake::SERVER;
use crate::hub::{Hub, Member};
use crate::moderation::{Moderation, Operator};
use crate::telemetry;
use crate::telemetry::{Metrics, Snapshot};
use crate::webhooks::Webhooks;

/// What questions are about.
pub(crate) struct Queries {
    pub(crate) hub: Arc<Hub>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) moderation: Arc<Moderation>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) address: SocketAddr,
    pub(crate) dev: bool,
    pub(crate) started: Instant,
    pub(crate) webhooks: Option<Arc<Webhooks>>,
    /// The other nodes, where the server is one of several.
    pub(crate) cluster: Option<Arc<Side>>,
    /// What the application is asked, where there is one.
    pub(crate) decides: Decides,
}

impl Queries {
    /// Whether the door takes a token that was made here just now.
    pub(crate) fn would_let_in(&self, token: &str) -> Result<(), Denial> {
        let now = access::now();
        // A key of ours has not to be fetched.
        let Some(verified) = self.gate.verify_now(token, now) else { return Ok(()) };
        let (user, permissions) = verified?;
        self.gate.enter(&user, &permissions, now)
    }

    /// The answer.
    pub(super) fn answer(&self, operator: &Operator, question: &Question) -> Result<Bytes, AdminError> {
        match question {
            Question::Status {} => Ok(line(&AdminReply::Ok(self.status(operator)))),
            Question::Connections(page) => connections(self.hub.list(), page),
            Question::Members { group, page } => match self.hub.of_group(group) {
                members if members.is_empty() => Err(nothing(&format!("group {group:?}"))),
                members => connections(members, page),
            },
            Question::Users(page) => listed(&Users, self.hub.users(), page, |(user, connections)| UserRow {
                user,
                connections: connections as u64,
            }),
            Question::Groups(page) => self.groups(page),
            Question::Bans(page) => listed(&BanRows, self.moderation.bans(), page, |ban| ban),
            Question::Lasting(page) => listed(&LastingRows, self.moderation.lasting().all(), page, |row| row),
            Question::ApiKeys(page) => listed(&ApiKeyRows, self.moderation.keys().all(), page, |key| key.row),
            Question::Connection { connection } => {
                self.connection(connection).map(|detail| line(&AdminReply::Ok(detail)))
            }
            Question::Explain { user, group, token } => {
                Ok(line(&AdminReply::Ok(self.explain(user, group, token.as_ref(), access::now()))))
            }
            Question::VerifyAudit { head } => self.verify_audit(head.as_deref()),
        }
    }

    fn verify_audit(&self, head: Option<&str>) -> Result<Bytes, AdminError> {
        let head = head.map(noted).transpose()?;
        let verdict = self.moderation.verify_audit(head.as_deref());
        verdict.map(|verdict| line(&AdminReply::Ok(verdict))).map_err(|error| store_failed(&error))
    }

    fn status(&self, operator: &Operator) -> Status {
        Status {
            server: SERVER.to_owned(),
            address: self.address.to_string(),
            operator: operator.name.clone(),
            role: operator.role,
            uptime: self.started.elapsed().as_secs(),
            dev: self.dev,
            totals: totals(self.hub.population()),
            counters: counters(self.metrics.snapshot(&self.hub)),
            bans: self.moderation.bans().len() as u64,
            audit: self.moderation.audit_head(),
            acts_impaired: self.moderation.impaired().reason(),
            webhooks: self.webhooks(),
            nodes: self.nodes(),
        }
    }

    /// What became of requests to back ends.
    /// The nodes of the cluster, this one first.
    pub(super) fn nodes(&self) -> Vec<NodeRow> {
        self.cluster.as_ref().map(|cluster| cluster.rows(self.hub.population())).unwrap_or_default()
    }

    pub(super) fn webhooks(&self) -> Vec<WebhookRow> {
        self.webhooks.as_ref().map(|webhooks| webhooks.rows()).unwrap_or_default()
    }

    fn groups(&self, page: &Page) -> Result<Bytes, AdminError> {
        let rows = Groups { hub: &self.hub };
        listed(&rows, self.hub.groups(), page, |(group, members)| {
            let (deliveries, waiting_frames) = rows.traffic(&group);
            let (users, watchers) = (rows.users(&group), self.hub.watchers(&group) as u64);
            let (members, users_at_most) = (members as u64, false);
            GroupRow { group, members, users, deliveries, waiting_frames, watchers, users_at_most }
        })
    }

    fn connection(&self, id: &ConnectionId) -> Result<ConnectionDetail, AdminError> {
        let member = self.hub.connection(id).ok_or_else(|| nothing(&format!("connection {id}")))?;
        let permissions = member.permissions();
        let now = access::now();
        let mut memberships: Vec<MembershipRow> = member
            .memberships()
            .into_iter()
            .map(|(group, origin)| MembershipRow::new(group, made_by(origin)))
            .collect();
        memberships.sort_by(|a, b| a.group.cmp(&b.group));
        let facts = Facts::of(&member);
        Ok(ConnectionDetail {
            row: connection_row(&member, &facts),
            memberships,
            token_ends: some_time(permissions.ends),
            grant_ends: permissions.grants.ends().filter(|end| *end > now).min(),
            token_id: permissions.token.clone(),
            quic: facts.quic,
        })
    }
}

/// A hash that was noted, as the audit writes them. What is none is in no chain, and whole ones would be told as
/// broken.
fn noted(head: &str) -> Result<String, AdminError> {
    if head.len() == 64 && head.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(head.to_ascii_lowercase());
    }
    let message =
        "the head is no hash: it has 64 hexadecimal digits, as the answer to this question has them"
            .to_owned();
    Err(AdminError { code: Code::InvalidRequest.number(), message })
}

fn nothing(what: &str) -> AdminError {
    AdminError { code: Code::NothingThere.number(), message: format!("there is no {what}") }
}

/// A time that comes at some time.
pub(super) fn some_time(time: Seconds) -> Option<Seconds> {
    (time != Seconds::MAX).then_some(time)
}

fn listed<R: Rows, T: serde::Serialize>(
    rows: &R,
    items: Vec<R::Item>,
    page: &Page,
    row: impl Fn(R::Item) -> T,
) -> Result<Bytes, AdminError> {
    let (total, items) = listing::cut(rows, items, page)?;
    Ok(line(&AdminReply::Ok(Listing::new(total, items.into_iter().map(row).collect()))))
}

fn connections(members: Vec<Arc<Member>>, page: &Page) -> Result<Bytes, AdminError> {
    listed(&Connections, members, page, |member| connection_row(&member, &Facts::of(&member)))
}

pub(super) fn totals(population: Population) -> Totals {
    Totals {
        connections: population.connections as u64,
        users: population.users as u64,
        groups: population.groups as u64,
    }
}

pub(super) fn counters(snapshot: Snapshot) -> Counters {
    let usage = telemetry::usage();
    let by_name = |counts: std::collections::BTreeMap<Code, u64>| {
        counts.into_iter().map(|(code, count)| (code.name().to_owned(), count)).collect()
    };
    Counters {
        handshakes: snapshot.handshakes,
        handshakes_refused: snapshot.handshakes_refused,
        handshakes_evicted: snapshot.handshakes_evicted,
        proofs_replayed: snapshot.proofs_replayed,
        retries: snapshot.retries,
        welcomed: snapshot.welcomed,
        requests: snapshot.requests,
        unknown: snapshot.unknown,
        sends: snapshot.sends,
        deliveries: snapshot.deliveries,
        dropped: snapshot.displaced,
        purged: snapshot.purged,
        throttled: snapshot.throttled,
        refused: by_name(snapshot.refused),
        closed: by_name(snapshot.closed),
        removed: by_name(snapshot.removed),
        lost: snapshot.lost,
        bytes_in: snapshot.bytes_in,
        bytes_out: snapshot.bytes_out,
        delivery_us: snapshot.delivery,
        resident_bytes: usage.resident_bytes,
        watches: snapshot.watches,
        presence: snapshot.presence,
        presence_restarts: snapshot.presence_restarts,
        stopped_streams: snapshot.stopped_streams,
        calls: snapshot.calls,
        calls_failed: snapshot.calls_failed,
        calls_running: snapshot.calls_running,
        waiting_bytes: snapshot.waiting_bytes,
        waiting_limit: snapshot.waiting_limit,
        live_bytes: snapshot.live_bytes,
        cpu_ms: usage.cpu_ms,
    }
}

#[cfg(test)]
mod tests {
    use fanfare_hub::{HubLimits, Origin};
    use fanfare_protocol::admin::Role;

    use fanfare_protocol::{GroupName, Limits, UserName};
    use fanfare_token::Permissions;

    use super::*;
    use crate::access::{Bans, KeySets, Tokens};
    use crate::hub::{Hub, Seat, register};
    use crate::moderation::MemoryStore;

    const MANY: u32 = 100_000;

    fn crowded() -> (Queries, Vec<Seat>) {
        let (bans, metrics) = (Arc::new(Bans::default()), Arc::new(Metrics::default()));
        let tokens = Arc::new(Tokens::new(None, KeySets::none()));
        let gate = Arc::new(Gate::new(tokens, Arc::clone(&bans)));
        let hub = Arc::new(Hub::new(HubLimits::default(), Arc::clone(&gate) as _));
        let seats = (0..MANY)
            .map(|number| {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
                let user = UserName::new(&format!("user-{}", number / 2)).unwrap();
                let id = ConnectionId::from_bytes(id);
                let seat = register(&hub, id, user, Permissions::development(access::now())).ok().unwrap();
                for group in [number, number / 10] {
                    let group = GroupName::new(&format!("group-{group}")).unwrap();
                    hub.join(seat.member(), &group, Origin::Client).unwrap();
                }
                seat
            })
            .collect();
        let store = Box::new(MemoryStore::default());
        let moderation =
            Moderation::open(store, Arc::clone(&hub), bans, Arc::clone(&metrics), Limits::default()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (dev, started) = (true, Instant::now());
        let admission = Admission::new(1, 1);
        let moderation = Arc::new(moderation);
        let decides = Decides::default();
        let queries = Queries {
            hub,
            gate,
            admission,
            moderation,
            metrics,
            address,
            dev,
            started,
            webhooks: None,
            cluster: None,
            decides,
        };
        (queries, seats)
    }

    /// Pages of 100,000 rows. `cargo test --release -p fanfare-server --lib pages -- --ignored --nocapture` prints how
    /// long each takes.
    #[test]
    #[ignore = "a benchmark"]
    fn how_long_pages_of_a_hundred_thousand_rows_take() {
        let (queries, _seats) = crowded();
        let operator = Operator { name: "x".to_owned(), role: Role::Viewer };
        let page = |filter: &str, sort: &str, offset| Page {
            filter: filter.to_owned(),
            sort: sort.to_owned(),
            descending: true,
            offset,
            limit: 50,
            after: None,
        };
        for (name, request) in [
            ("connections by id", Question::Connections(page("", "", 0))),
            ("connections by rtt", Question::Connections(page("", "rtt_us", 0))),
            ("connections by user, the middle", Question::Connections(page("", "user", MANY / 2))),
            ("connections, filtered", Question::Connections(page("USER-77", "", 0))),
            ("users by name", Question::Users(page("", "", 0))),
            ("groups by members", Question::Groups(page("", "members", 0))),
            ("groups by users", Question::Groups(page("", "users", 0))),
            ("status", Question::Status {}),
        ] {
            let mut times: Vec<_> = (0..9)
                .map(|_| {
                    let begun = Instant::now();
                    let line = queries.answer(&operator, &request).unwrap();
                    assert!(line.len() > 100);
                    begun.elapsed()
                })
                .collect();
            times.sort();
            println!("{name:34} {:>9.2?}", times[times.len() / 2]);
        }
        let feed = super::super::Feed::new(Arc::new(queries));
        for turn in ["first", "second"] {
            let begun = Instant::now();
            feed.sample();
            println!("the feed's {turn} look: {:>9.2?}", begun.elapsed());
        }
    }
}
