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
    AdminError, AdminReply, ConnectionRow, Counters, GroupRow, Listing, Page, Question, Status, Totals,
    UserRow, WebhookRow,
};
use fanfare_protocol::{Code, Denial};
use fanfare_token::Seconds;

use super::listing::{self, Rows, Slice};
use super::reply::line;
use super::rows::{ApiKeyRows, BanRows, LastingRows};
use crate::access::{self, Gate};
use crate::application::Decides;
use crate::cluster::Side;
use crate::edge::admission::Admission;
use crate::edge::handshake::SERVER;
use crate::hub::Hub;
use crate::lists::{Line, ListQuestion, Of};
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
            Question::Connections(page) => self.list(Of::Connections, page),
            Question::Members { group, page } => self.list(Of::Members(group.clone()), page),
            Question::Users(page) => self.list(Of::Users, page),
            Question::Groups(page) => self.list(Of::Groups, page),
            Question::Bans(page) => listed(&BanRows, self.moderation.bans(), page, |ban| ban),
            Question::Lasting(page) => listed(&LastingRows, self.moderation.lasting().all(), page, |row| row),
            Question::ApiKeys(page) => listed(&ApiKeyRows, self.moderation.keys().all(), page, |key| key.row),
            Question::Connection { connection: id } => {
                let detail = self.find(id)?.ok_or_else(|| nothing(&format!("connection {id}")))?;
                Ok(line(&AdminReply::Ok(detail)))
            }
            Question::Explain { user, group, token } => {
                Ok(line(&AdminReply::Ok(self.explain(user, group, token.as_ref(), access::now()))))
            }
            Question::VerifyAudit { head } => {
                let head = head.as_deref().map(noted).transpose()?;
                Ok(line(&AdminReply::Ok(self.verify_audits(head.as_deref())?)))
            }
        }
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
    pub(super) fn webhooks(&self) -> Vec<WebhookRow> {
        self.webhooks.as_ref().map(|webhooks| webhooks.rows()).unwrap_or_default()
    }

    /// A page of a list of all nodes.
    fn list(&self, of: Of, page: &Page) -> Result<Bytes, AdminError> {
        let group = if let Of::Members(group) = &of { Some(group.clone()) } else { None };
        let limit = u32::try_from(listing::limit(page)).unwrap_or(u32::MAX);
        let question = ListQuestion {
            filter: page.filter.clone(),
            sort: page.sort.clone(),
            descending: page.descending,
            after: listing::after(page)?,
            ..ListQuestion::new(of, limit)
        };
        let found = self.gather(question, page.offset as usize)?;
        // With a filter there may be nobody in it of whom that is true.
        if let Some(group) = group
            && found.total == 0
            && found.silent.is_empty()
            && (page.filter.is_empty() || self.cluster.is_none() && self.hub.of_group(&group).is_empty())
        {
            return Err(nothing(&format!("group {group:?}")));
        }
        Ok(line(&AdminReply::Ok(Listing {
            total: found.total,
            rows: found.lines.into_iter().map(Row::from).collect(),
            at_most: found.at_most,
            next: found.next.map(|place| place.cursor()),
            silent: found.silent,
        })))
    }
}

/// A row as operators are told it.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Row {
    Connection(Box<ConnectionRow>),
    User(UserRow),
    Group(GroupRow),
}

impl From<Line> for Row {
    fn from(line: Line) -> Self {
        match line {
            Line::Connection(row) => Self::Connection(row),
            Line::User(row) => Self::User(row),
            Line::Group(row) => Self::Group(row),
        }
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
    let after = listing::after(page)?;
    let listing::Cut { total, items, more } = listing::cut(rows, items, Slice::of(page, after.as_ref()))?;
    let next = items.last().filter(|_| more).map(|(place, _)| place.cursor());
    let rows = items.into_iter().map(|(_, item)| row(item)).collect();
    Ok(line(&AdminReply::Ok(Listing { next, ..Listing::new(total, rows) })))
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

    use fanfare_protocol::{ConnectionId, GroupName, Limits, UserName};
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
