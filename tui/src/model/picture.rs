//! The server as the feed tells of it: a snapshot, and then what changes.

use std::collections::{HashMap, HashSet};

use fanfare_protocol::admin::{
    ConnectionRow, Counters, GroupRow, NodeRow, SILENT_MS, Totals, Update, WebhookRow,
};
use fanfare_protocol::{ConnectionId, GroupName, UserName};

/// The server at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// When, in the server's milliseconds since 1970; 0 before the first update.
    pub at_ms: u64,
    /// Updates that were skipped because we were too slow.
    pub skipped: u64,
    /// Connections, users, groups.
    pub totals: Totals,
    /// Of which of these there may be fewer.
    pub at_most: AtMost,
    /// What the server has done.
    pub counters: Counters,
    /// Who is connected.
    pub connections: HashMap<ConnectionId, Tracked>,
    /// Which groups there are.
    pub groups: HashMap<GroupName, Busy>,
    /// Why the server can take no action now, if that is so.
    pub acts_impaired: Option<String>,
    /// Back ends that the server asks and tells.
    pub webhooks: Vec<WebhookRow>,
    /// The nodes of the cluster, the one that is looked at first.
    pub nodes: Vec<NodeRow>,
}

/// Of what there may be fewer than is said: of all nodes, who is on several is counted on each. What one server says of
/// itself is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AtMost {
    /// Users.
    pub users: bool,
    /// Groups.
    pub groups: bool,
}

/// A group, and how busy it is.
#[derive(Debug, Clone)]
pub struct Busy {
    /// As the server tells of it.
    pub row: GroupRow,
    deliveries: f64,
    at_ms: u64,
    /// When the rate was reckoned last, and from which count.
    base: (u64, u64),
}

/// A user: all its connections together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    /// How many there are.
    pub connections: u64,
    /// Frames that wait for them.
    pub waiting_frames: u64,
    /// Requests and messages a second.
    pub rates: (f64, f64),
}

/// A connection, and how busy it is.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// As the server tells of it.
    pub row: ConnectionRow,
    /// Requests a second.
    pub requests: f64,
    /// Messages to it a second.
    pub deliveries: f64,
    at_ms: u64,
    /// When the rates were reckoned last, and from which counts.
    base: (u64, u64, u64),
    /// When it was last told that the network, or the application, held it up; and when that messages were dropped.
    network_ms: u64,
    application_ms: u64,
    dropped_ms: u64,
}

/// What keeps a slow connection from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The way there: what may be on it at a time (the congestion window) is used up.
    Network,
    /// The client: it does not read what is there (flow control).
    Application,
}

/// From where on what waits is more than what is just being written.
const WAITING_FRAMES: u64 = 64;
const WAITING_BYTES: u64 = 128 * 1024;

/// How long after a drop a connection still counts as slow.
const DROPPED_MS: u64 = 10_000;

/// The least time that rates are reckoned over: over less they flicker.
const RATES_OVER_MS: u64 = 1_000;

impl Picture {
    /// Takes an update. `false` where the next one belongs to it.
    pub fn take(&mut self, update: Update, at_most: AtMost) -> bool {
        if update.full {
            self.connections.clear();
            self.groups.clear();
        }
        self.at_ms = update.at_ms;
        self.skipped += update.skipped;
        (self.totals, self.at_most) = (update.totals, at_most);
        self.counters = update.counters;
        self.acts_impaired = update.acts_impaired;
        self.webhooks = update.webhooks;
        self.nodes = update.nodes;
        update.connections.into_iter().for_each(|row| self.track(row));
        for id in update.gone_connections {
            self.connections.remove(&id);
        }
        for row in update.groups {
            let busy = Busy::of(row, self.at_ms, &self.groups);
            self.groups.insert(busy.row.group.clone(), busy);
        }
        for name in update.gone_groups {
            self.groups.remove(&name);
        }
        !update.more
    }

    fn track(&mut self, row: ConnectionRow) {
        let at_ms = self.at_ms;
        let now = (at_ms, row.requests, row.deliveries);
        let (requests, deliveries, base) = match self.connections.get(&row.connection) {
            Some(known) if now.0.saturating_sub(known.base.0) >= RATES_OVER_MS => {
                let seconds = (now.0 - known.base.0) as f64 / 1e3;
                let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
                (rate(now.1, known.base.1), rate(now.2, known.base.2), now)
            }
            Some(known) => (known.requests, known.deliveries, known.base),
            None => (0.0, 0.0, now),
        };
        let known = self.connections.get(&row.connection);
        // When a count grew; at the first sight of it, when it is not 0.
        let grew = |count: fn(&ConnectionRow) -> u64, before: fn(&Tracked) -> u64| match known {
            Some(known) if count(&known.row) == count(&row) => before(known),
            None if count(&row) == 0 => 0,
            _ => at_ms,
        };
        let tracked = Tracked {
            network_ms: grew(|row| row.congestion_events + row.lost_packets, |known| known.network_ms),
            application_ms: grew(|row| row.blocked_by_application, |known| known.application_ms),
            dropped_ms: grew(|row| row.dropped, |known| known.dropped_ms),
            requests,
            deliveries,
            at_ms,
            base,
            row,
        };
        self.connections.insert(tracked.row.connection, tracked);
    }

    /// Shows these connections and no others.
    pub fn show(&mut self, at_ms: u64, rows: Vec<ConnectionRow>) {
        let shown: HashSet<ConnectionId> = rows.iter().map(|row| row.connection).collect();
        self.connections.retain(|id, _| shown.contains(id));
        self.at_ms = at_ms;
        rows.into_iter().for_each(|row| self.track(row));
    }

    /// Who is here, by user.
    #[must_use]
    pub fn users(&self) -> HashMap<UserName, Sums> {
        let mut users: HashMap<UserName, Sums> = HashMap::new();
        for tracked in self.connections.values() {
            let sums = users.entry(tracked.row.user.clone()).or_default();
            let (requests, deliveries) = tracked.rates(self.at_ms);
            sums.connections += 1;
            sums.waiting_frames += tracked.row.outbox_frames;
            sums.rates = (sums.rates.0 + requests, sums.rates.1 + deliveries);
        }
        users
    }
}

impl Busy {
    fn of(row: GroupRow, at_ms: u64, groups: &HashMap<GroupName, Self>) -> Self {
        let now = (at_ms, row.deliveries);
        let (deliveries, base) = match groups.get(&row.group) {
            Some(known) if at_ms.saturating_sub(known.base.0) >= RATES_OVER_MS => {
                let seconds = (at_ms - known.base.0) as f64 / 1e3;
                (row.deliveries.saturating_sub(known.base.1) as f64 / seconds, now)
            }
            Some(known) => (known.deliveries, known.base),
            None => (0.0, now),
        };
        Self { row, deliveries, at_ms, base }
    }

    /// Messages to its members a second now. One that the feed has not told of for a while has none.
    #[must_use]
    pub fn rate(&self, now_ms: u64) -> f64 {
        if now_ms.saturating_sub(self.at_ms) > 2_000 { 0.0 } else { self.deliveries }
    }
}

impl Tracked {
    /// What it does a second now. A connection that the feed has not told of for a while does nothing.
    #[must_use]
    pub fn rates(&self, now_ms: u64) -> (f64, f64) {
        if now_ms.saturating_sub(self.at_ms) > 2_000 { (0.0, 0.0) } else { (self.requests, self.deliveries) }
    }

    /// For how many seconds nothing was heard of it, where that is longer than a client that lives is silent.
    #[must_use]
    pub fn silent(&self, now_ms: u64) -> Option<u64> {
        let told = self.row.silent_ms;
        (told >= SILENT_MS).then(|| (told + now_ms.saturating_sub(self.at_ms)) / 1_000)
    }

    /// What holds it up, if messages wait for it or were just dropped.
    #[must_use]
    pub fn held(&self, now_ms: u64) -> Option<Held> {
        let dropping = self.dropped_ms > 0 && now_ms.saturating_sub(self.dropped_ms) < DROPPED_MS;
        let waiting = self.row.outbox_frames > WAITING_FRAMES || self.row.outbox_bytes > WAITING_BYTES;
        if !waiting && !dropping {
            return None;
        }
        // Flow control is told of each time that it stops us. Where it does not, it is the window that is full.
        let application = self.application_ms > 0 && self.application_ms >= self.network_ms;
        Some(if application { Held::Application } else { Held::Network })
    }

    /// Of the packets to it, how many were lost, in tenths of a per cent.
    #[must_use]
    pub fn loss(&self) -> u64 {
        self.row.lost_packets.saturating_mul(1_000).checked_div(self.row.sent_packets).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::tests::{row, snapshot};

    #[test]
    fn rates_are_reckoned_over_a_second_and_end_with_the_news() {
        let mut picture = Picture::default();
        let at = |picture: &mut Picture, ms: u64, requests: u64| {
            let mut one = row(1, "alice");
            (one.requests, one.deliveries) = (requests, requests * 10);
            let update = Update { full: ms == 0, at_ms: 1_000_000 + ms, ..snapshot(vec![one], &[]) };
            picture.take(update, AtMost::default());
            let tracked = picture.connections.values().next().unwrap();
            (tracked.rates(picture.at_ms), tracked.rates(picture.at_ms + 3_000))
        };
        for quarter in 0..4 {
            assert_eq!(at(&mut picture, quarter * 250, quarter * 5).0, (0.0, 0.0), "too early to say");
        }
        assert_eq!(at(&mut picture, 1_000, 20), ((20.0, 200.0), (0.0, 0.0)));
        assert_eq!(at(&mut picture, 1_250, 99).0, (20.0, 200.0), "a burst is no rate");
        assert_eq!(at(&mut picture, 3_000, 60).0, (20.0, 200.0));
    }

    #[test]
    fn who_holds_a_slow_connection_up_is_who_did_so_last() {
        let mut picture = Picture::default();
        let mut at = |ms: u64, waiting: u64, blocked: u64, lost: u64, dropped: u64| {
            let mut one = row(1, "alice");
            (one.outbox_frames, one.blocked_by_application, one.lost_packets) = (waiting, blocked, lost);
            (one.dropped, one.sent_packets) = (dropped, 1_000);
            let update = Update { full: ms == 0, at_ms: 1_000_000 + ms, ..snapshot(vec![one], &[]) };
            picture.take(update, AtMost::default());
            let tracked = picture.connections.values().next().unwrap();
            (tracked.held(picture.at_ms), tracked.loss(), tracked.held(picture.at_ms + DROPPED_MS))
        };
        assert_eq!(at(0, 0, 5, 0, 0), (None, 0, None), "it is fast now");
        assert_eq!(at(250, 100, 5, 0, 0).0, Some(Held::Application), "the last that was told");
        assert_eq!(at(500, 100, 5, 9, 0), (Some(Held::Network), 9, Some(Held::Network)));
        assert_eq!(at(750, 100, 6, 9, 0).0, Some(Held::Application));
        assert_eq!(at(1_000, 1, 6, 9, 0).0, None);
        assert_eq!(at(1_250, 1, 6, 9, 3), (Some(Held::Application), 9, None), "a drop is not for ever");
    }
}
