//! What changes, for those who watch: one sampler for all of them, and nothing at all while nobody watches.
//!
//! In: the registry and the counters, looked at some times a second. Out: to each [`Watcher`] first everything, and
//! then what has changed since. Invariants: the work of sampling does not grow with the number of watchers; it takes a
//! tenth of one core at most, because the sampler rests nine times as long as it worked; a watcher that falls behind
//! holds up nobody, and gets everything anew with the number of updates that it missed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_hub::Roster;
use fanfare_protocol::admin::{
    AdminReply, ConnectionRow, Counters, GroupRow, NodeRow, Totals, Update, WebhookRow,
};
use fanfare_protocol::{ConnectionId, GroupName};
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::query::{Queries, counters, totals};
use super::reply::line;
use super::rows::{Facts, connection_row, distinct_users, waiting_frames};
use crate::hub::Member;

/// How often it is looked at most.
const TICK: Duration = Duration::from_millis(250);
/// Of ten parts of time, one is for work.
const REST: u32 = 9;
/// Updates that are kept for watchers that are late.
const KEPT: usize = 16;
/// The bytes of them in all.
const KEPT_BYTES: usize = 16 << 20;
/// Rows in a line.
const ROWS: usize = 500;
/// Whole snapshots that may be on their way at a time: each keeps its moment in memory.
const SNAPSHOTS: usize = 8;

/// The sampler's findings.
pub(crate) struct Feed {
    queries: Arc<Queries>,
    state: Mutex<State>,
    /// The newest moment's number; how many watch is the number of its receivers.
    latest: watch::Sender<u64>,
    snapshots: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    current: Arc<Moment>,
    /// Each with the number of the moment that it leads to.
    recent: VecDeque<(u64, Bytes)>,
}

/// Everything at one moment.
#[derive(Default)]
struct Moment {
    number: u64,
    at_ms: u64,
    totals: Totals,
    counters: Counters,
    acts_impaired: Option<String>,
    webhooks: Vec<WebhookRow>,
    nodes: Vec<NodeRow>,
    connections: HashMap<ConnectionId, Tracked, RandomState>,
    groups: HashMap<GroupName, Group, RandomState>,
}

/// A connection, as it was then.
struct Tracked {
    member: Arc<Member>,
    facts: Facts,
}

/// A group, as it was then.
#[derive(Clone)]
struct Group {
    roster: Arc<Roster<GroupName, Member>>,
    /// How often its members had changed.
    changes: u64,
    members: u64,
    users: u64,
    deliveries: u64,
    waiting_frames: u64,
    watchers: u64,
}

impl Feed {
    pub(crate) fn new(queries: Arc<Queries>) -> Self {
        Self {
            queries,
            state: Mutex::default(),
            latest: watch::Sender::new(0),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS)),
        }
    }

    /// Samples while somebody watches, until `closing`.
    pub(crate) async fn run(self: Arc<Self>, closing: CancellationToken) {
        let mut news = self.latest.subscribe();
        loop {
            // Before it is asked who watches: one that comes behind the question is a change, and wakes us.
            news.mark_unchanged();
            // One receiver is ours.
            let idle = self.latest.receiver_count() <= 1;
            let pause = if idle {
                // Nothing is kept for nobody, but for the number, which must not come again.
                let number = self.state.lock().current.number;
                *self.state.lock() =
                    State { current: Arc::new(Moment { number, ..Moment::default() }), ..State::default() };
                tokio::select! {
                    () = closing.cancelled() => return,
                    _ = news.changed() => {}
                }
                continue;
            } else {
                let begun = Instant::now();
                let feed = Arc::clone(&self);
                // Off the threads that messages need. It ends in an error only if it panicked, which its message tells.
                let _ = tokio::task::spawn_blocking(move || feed.sample()).await;
                (begun.elapsed() * REST).max(TICK.saturating_sub(begun.elapsed()))
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    pub(super) fn sample(&self) {
        let before = Arc::clone(&self.state.lock().current);
        let now = self.look(&before);
        let changes = changes(&before, &now);
        let bytes: Bytes =
            lines(&now, changes, Header { full: false, skipped: 0 }).collect::<Vec<_>>().concat().into();
        let number = now.number;
        let mut state = self.state.lock();
        state.current = Arc::new(now);
        state.recent.push_back((number, bytes));
        let mut kept: usize = state.recent.iter().map(|(_, bytes)| bytes.len()).sum();
        while state.recent.len() > KEPT || kept > KEPT_BYTES {
            let Some((_, dropped)) = state.recent.pop_front() else { break };
            kept -= dropped.len();
        }
        drop(state);
        self.latest.send_replace(number);
    }

    /// Looks at everything. What has not changed since `before` costs a comparison, and no row.
    fn look(&self, before: &Moment) -> Moment {
        let members = self.queries.hub.list();
        let mut connections = HashMap::with_capacity_and_hasher(members.len(), RandomState::default());
        for member in members {
            let facts = Facts::of(&member);
            connections.insert(member.id(), Tracked { member, facts });
        }
        let rosters = self.queries.hub.rosters();
        let mut groups = HashMap::with_capacity_and_hasher(rosters.len(), RandomState::default());
        for roster in rosters {
            let changes = roster.changes();
            let known = before.groups.get(roster.name());
            let same = |known: &&Group| Arc::ptr_eq(&known.roster, &roster) && known.changes == changes;
            let group = match known.filter(same) {
                Some(known) => Group {
                    deliveries: roster.delivered(),
                    waiting_frames: waiting_frames(&roster),
                    watchers: self.queries.hub.watchers(roster.name()) as u64,
                    ..known.clone()
                },
                None => {
                    let members = roster.snapshot();
                    let users = distinct_users(&members);
                    Group {
                        roster: Arc::clone(&roster),
                        changes,
                        members: members.len() as u64,
                        users,
                        deliveries: roster.delivered(),
                        waiting_frames: waiting_frames(&roster),
                        watchers: self.queries.hub.watchers(roster.name()) as u64,
                    }
                }
            };
            // One that is just being left has none any more.
            if group.members > 0 {
                groups.insert(roster.name().clone(), group);
            }
        }
        Moment {
            number: before.number + 1,
            at_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            groups,
            connections,
            totals: totals(self.queries.hub.population()),
            counters: counters(self.queries.metrics.snapshot(&self.queries.hub)),
            acts_impaired: self.queries.moderation.impaired().reason(),
            webhooks: self.queries.webhooks(),
            nodes: self.queries.nodes(),
        }
    }
}

/// What is different between two moments.
#[derive(Default)]
struct Changes {
    connections: Vec<ConnectionRow>,
    gone_connections: Vec<ConnectionId>,
    groups: Vec<GroupRow>,
    gone_groups: Vec<GroupName>,
}

fn changes(before: &Moment, now: &Moment) -> Changes {
    let connection = |(id, tracked): (&ConnectionId, &Tracked)| {
        let known = before.connections.get(id);
        known
            .is_none_or(|known| known.facts.differs(&tracked.facts))
            .then(|| connection_row(&tracked.member, &tracked.facts))
    };
    let group = |(name, group): (&GroupName, &Group)| {
        let counts = |group: &Group| {
            (group.members, group.users, group.deliveries, group.waiting_frames, group.watchers)
        };
        (before.groups.get(name).map(counts) != Some(counts(group))).then(|| GroupRow {
            group: name.clone(),
            members: group.members,
            users: group.users,
            deliveries: group.deliveries,
            waiting_frames: group.waiting_frames,
            watchers: group.watchers,
            users_at_most: false,
        })
    };
    Changes {
        connections: now.connections.iter().filter_map(connection).collect(),
        gone_connections: before
            .connections
            .keys()
            .filter(|id| !now.connections.contains_key(*id))
            .copied()
            .collect(),
        groups: now.groups.iter().filter_map(group).collect(),
        gone_groups: before.groups.keys().filter(|name| !now.groups.contains_key(*name)).cloned().collect(),
    }
}

#[derive(Clone, Copy)]
struct Header {
    full: bool,
    skipped: u64,
}

/// An update as lines of at most [`ROWS`] rows.
fn lines(moment: &Moment, changes: Changes, header: Header) -> impl Iterator<Item = Bytes> + use<> {
    let Changes { connections, gone_connections, groups, gone_groups } = changes;
    let counts = [connections.len(), gone_connections.len(), groups.len(), gone_groups.len()];
    let parts = counts.into_iter().max().unwrap_or(0).div_ceil(ROWS).max(1);
    let (mut connections, mut gone_connections) = (connections.into_iter(), gone_connections.into_iter());
    let (mut groups, mut gone_groups) = (groups.into_iter(), gone_groups.into_iter());
    let (at_ms, totals, counters) = (moment.at_ms, moment.totals, moment.counters.clone());
    let (acts_impaired, webhooks) = (moment.acts_impaired.clone(), moment.webhooks.clone());
    let nodes = moment.nodes.clone();
    (1..=parts).map(move |part| {
        line(&AdminReply::Ok(Update {
            full: header.full && part == 1,
            more: part < parts,
            at_ms,
            skipped: if part == 1 { header.skipped } else { 0 },
            totals,
            counters: counters.clone(),
            acts_impaired: acts_impaired.clone(),
            webhooks: webhooks.clone(),
            nodes: nodes.clone(),
            connections: connections.by_ref().take(ROWS).collect(),
            gone_connections: gone_connections.by_ref().take(ROWS).collect(),
            groups: groups.by_ref().take(ROWS).collect(),
            gone_groups: gone_groups.by_ref().take(ROWS).collect(),
        }))
    })
}

/// One who watches.
pub(super) struct Watcher {
    feed: Arc<Feed>,
    news: watch::Receiver<u64>,
    /// The moment that it knows.
    known: Option<u64>,
}

impl Watcher {
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        let news = feed.latest.subscribe();
        // Wakes a sampler that had nobody to sample for; the number stays.
        feed.latest.send_modify(|_| {});
        Self { feed, news, known: None }
    }

    /// Waits for a moment that it does not know.
    pub(super) async fn next(&mut self) -> Pending {
        loop {
            let latest = *self.news.borrow_and_update();
            if let Some(known) = self.known.filter(|known| *known < latest) {
                let state = self.feed.state.lock();
                let newer: Vec<Bytes> = state
                    .recent
                    .iter()
                    .filter(|(number, _)| *number > known)
                    .map(|(_, bytes)| bytes.clone())
                    .collect();
                // All of them, or it would miss something.
                let current = state.current.number;
                if newer.len() as u64 == current - known {
                    self.known = Some(current);
                    return Pending::Changes(newer.into());
                }
            }
            let skipped = self.known.map(|known| latest.saturating_sub(known));
            if skipped != Some(0) {
                // Waits for its turn, and then takes the newest there is.
                let Ok(turn) = Arc::clone(&self.feed.snapshots).acquire_owned().await else {
                    return Pending::Changes(VecDeque::new());
                };
                let moment = Arc::clone(&self.feed.state.lock().current);
                // Before the first sample there is nothing to show.
                if moment.at_ms > 0 {
                    let skipped = self.known.map_or(0, |known| moment.number.saturating_sub(known));
                    self.known = Some(moment.number);
                    // A hundred thousand rows are copied, which is not for the threads that messages need.
                    let whole = tokio::task::spawn_blocking(move || Pending::whole(&moment, skipped, turn));
                    return whole.await.unwrap_or_else(|_| Pending::Changes(VecDeque::new()));
                }
            }
            if self.news.changed().await.is_err() {
                return Pending::Changes(VecDeque::new());
            }
        }
    }
}

/// Lines that are to be written, made one by one.
pub(super) enum Pending {
    Changes(VecDeque<Bytes>),
    Whole { lines: Box<dyn Iterator<Item = Bytes> + Send>, _turn: OwnedSemaphorePermit },
}

impl Pending {
    fn whole(moment: &Moment, skipped: u64, turn: OwnedSemaphorePermit) -> Self {
        let changes = changes(&Moment::default(), moment);
        let lines = lines(moment, changes, Header { full: true, skipped });
        Self::Whole { lines: Box::new(lines), _turn: turn }
    }

    /// The next line, or several of them.
    pub(super) fn line(&mut self) -> Option<Bytes> {
        match self {
            Self::Changes(lines) => lines.pop_front(),
            Self::Whole { lines, .. } => lines.next(),
        }
    }
}
