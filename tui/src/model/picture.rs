//! The server as the feed tells of it: a snapshot, and then what changes.

use std::collections::HashMap;

use fanfare_protocol::admin::{ConnectionRow, Counters, GroupRow, Totals, Update, UserRow};
use fanfare_protocol::{ConnectionId, GroupName, UserName};

/// The server at one moment.
#[derive(Debug, Default)]
pub struct Picture {
    /// When, in the server's milliseconds since 1970; 0 before the first update.
    pub at_ms: u64,
    /// Updates that were skipped because we were too slow.
    pub skipped: u64,
    /// Connections, users, groups.
    pub totals: Totals,
    /// What the server has done.
    pub counters: Counters,
    /// Who is connected.
    pub connections: HashMap<ConnectionId, Tracked>,
    /// Which groups there are.
    pub groups: HashMap<GroupName, GroupRow>,
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
}

impl Picture {
    /// Takes an update. `false` where the next one belongs to it.
    pub fn take(&mut self, update: Update) -> bool {
        if update.full {
            self.connections.clear();
            self.groups.clear();
        }
        self.at_ms = update.at_ms;
        self.skipped += update.skipped;
        self.totals = update.totals;
        self.counters = update.counters;
        for row in update.connections {
            let (requests, deliveries) = match self.connections.get(&row.connection) {
                Some(known) if update.at_ms > known.at_ms => {
                    let seconds = (update.at_ms - known.at_ms) as f64 / 1e3;
                    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
                    (rate(row.requests, known.row.requests), rate(row.deliveries, known.row.deliveries))
                }
                Some(known) => (known.requests, known.deliveries),
                None => (0.0, 0.0),
            };
            self.connections
                .insert(row.connection, Tracked { row, requests, deliveries, at_ms: update.at_ms });
        }
        for id in update.gone_connections {
            self.connections.remove(&id);
        }
        for row in update.groups {
            self.groups.insert(row.group.clone(), row);
        }
        for name in update.gone_groups {
            self.groups.remove(&name);
        }
        !update.more
    }

    /// Who is here, by user.
    #[must_use]
    pub fn users(&self) -> Vec<UserRow> {
        let mut users: HashMap<&UserName, u64> = HashMap::new();
        for tracked in self.connections.values() {
            *users.entry(&tracked.row.user).or_default() += 1;
        }
        users.into_iter().map(|(user, connections)| UserRow { user: user.clone(), connections }).collect()
    }
}

impl Tracked {
    /// What it does a second now. A connection that the feed has not told of for a while does nothing.
    #[must_use]
    pub fn rates(&self, now_ms: u64) -> (f64, f64) {
        if now_ms.saturating_sub(self.at_ms) > 2_000 { (0.0, 0.0) } else { (self.requests, self.deliveries) }
    }

    /// Whether messages wait for it.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.row.outbox_frames > 64 || self.row.dropped > 0
    }
}
