//! A list on a screen: its columns, what is in it, in which order, and where one is.
//!
//! In: the model. Out: items in order, and the cells of one of them. Invariant: cells are made for the rows that are
//! seen alone; the selection stays on the item that it was on, wherever that moves.

use std::collections::HashMap;

use fanfare_protocol::admin::{BanKind, ConnectionRow};
use fanfare_protocol::{ConnectionId, GroupName, UserName};
use serde_json::Value;

use super::picture::{Held, Sums, Tracked};
use super::{Model, View};
use crate::text::{count, far_day, harmless, micros, per_mille, span, visible};

/// A column of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// How wide it is at least; what is left over goes to the columns with 0.
    pub width: u16,
    /// Whether it is of numbers, which stand at the right.
    pub right: bool,
}

const fn text(title: &'static str, width: u16) -> Column {
    Column { title, width, right: false }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column { title, width, right: true }
}

// In the order in which they are of use: where there is little room, the last go first.
const CONNECTIONS: [Column; 14] = [
    text("SLOW", 4),
    text("USER", 0),
    text("ADDRESS", 21),
    number("RTT", 7),
    number("LOSS", 5),
    number("WAIT", 5),
    number("IN/s", 5),
    number("OUT/s", 6),
    number("AGE", 7),
    number("SILENT", 7),
    number("DROPPED", 8),
    number("GROUPS", 7),
    text("VIA", 12),
    text("CONNECTION", 26),
];
/// The same where all nodes are looked at: where one is, is of more use than from where it came.
const ON_NODES: [Column; 14] = {
    let mut columns = CONNECTIONS;
    columns[2] = text("NODE", 12);
    columns
};
const USERS: &[Column] =
    &[text("USER", 0), number("CONNECTIONS", 12), number("WAIT", 8), number("IN/s", 8), number("OUT/s", 8)];
const GROUPS: &[Column] = &[
    text("GROUP", 0),
    number("MEMBERS", 9),
    number("USERS", 8),
    number("WAIT", 8),
    number("OUT/s", 8),
    number("WATCHED", 9),
];
const BANS: &[Column] = &[
    text("WHO", 0),
    text("WHAT", 20),
    number("SINCE", 8),
    number("ENDS", 10),
    text("BY", 12),
    text("REASON", 0),
];
const AUDIT: &[Column] =
    &[number("RECORD", 8), number("AGO", 8), text("BY", 16), text("ACT", 0), text("OUTCOME", 24)];

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A connection.
    Connection(ConnectionId),
    /// A user.
    User(UserName),
    /// A group.
    Group(GroupName),
    /// The ban at this position.
    Ban(usize),
    /// The audit record at this position.
    Record(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Text(String),
}

/// A list, and where one is in it.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Its columns; none where the view has no list.
    pub columns: &'static [Column],
    /// Which of them it is ordered by.
    pub sort: usize,
    /// Whether the largest is first.
    pub descending: bool,
    /// What every row has in it.
    pub filter: String,
    /// The rows, in order.
    pub items: Vec<Item>,
    /// Which of them is selected.
    pub selected: usize,
    /// How many there are without the filter.
    pub total: usize,
    /// Whether there may be fewer.
    pub at_most: bool,
    /// What the users' connections do together, where the list is of users.
    users: HashMap<UserName, Sums>,
}

impl Listing {
    /// The list of a view, in the order that is of most use there.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let (columns, sort, descending): (&'static [Column], usize, bool) = match view {
            View::Overview | View::Connection(_) => (&[], 0, false),
            View::Connections | View::User(_) | View::Group(_) => (&CONNECTIONS, 1, false),
            // As on the first page: who asks most, and the largest groups.
            View::Users => (USERS, 3, true),
            View::Groups => (GROUPS, 1, true),
            View::Bans => (BANS, 2, true),
            View::Audit => (AUDIT, 0, true),
        };
        let (filter, items) = (String::new(), Vec::new());
        Self {
            columns,
            sort,
            descending,
            filter,
            items,
            selected: 0,
            total: 0,
            at_most: false,
            users: HashMap::new(),
        }
    }

    /// The selected row.
    #[must_use]
    pub fn current(&self) -> Option<&Item> {
        self.items.get(self.selected)
    }

    /// The first of the rows that are shown where there is room for so many: the selected one is always among them, and
    /// as far from the edges as there is room.
    #[must_use]
    pub fn first(&self, rows: usize) -> usize {
        self.selected.saturating_sub(rows / 2).min(self.items.len().saturating_sub(rows))
    }

    /// Goes so many rows down, or up.
    pub fn step(&mut self, rows: isize) {
        let last = self.items.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(rows).min(last);
    }

    /// Takes what there is now, filtered and in order.
    pub fn fill(&mut self, view: &View, model: &Model) {
        let selected = self.current().cloned();
        match view {
            // Who is in a group is asked of all of them.
            View::Group(_) if !model.picture.nodes.is_empty() => self.columns = &ON_NODES,
            View::Connections | View::User(_) if model.all_nodes => self.columns = &ON_NODES,
            View::Connections | View::User(_) | View::Group(_) => self.columns = &CONNECTIONS,
            _ => {}
        }
        self.users = match view {
            View::Users => model.picture.users(),
            _ => HashMap::new(),
        };
        let items = everything(view, model, &self.users);
        // The server gives the first thousand of these, and says how many there are.
        self.total = match (view, &model.members) {
            (View::Bans, _) => whole(model.bans.total),
            (View::Group(group), Some((of, members))) if of == group => whole(members.total),
            // Of all nodes there are as many as an answer has.
            (View::Connections, _) if model.all_nodes => whole(model.picture.totals.connections),
            (View::Users, _) if model.all_nodes => whole(model.picture.totals.users),
            (View::Groups, _) if model.all_nodes => whole(model.picture.totals.groups),
            _ => items.len(),
        };
        let at_most = model.picture.at_most;
        self.at_most = model.all_nodes
            && match view {
                View::Users => at_most.users,
                View::Groups => at_most.groups,
                _ => false,
            };
        let filter = self.filter.to_lowercase();
        let mut keyed: Vec<(Key, Item)> = items
            .into_iter()
            .filter(|item| filter.is_empty() || matches(item, model, &filter))
            .map(|item| (self.key(&item, model), item))
            .collect();
        let descending = self.descending;
        keyed.sort_by(|a, b| {
            let order = if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            order.then_with(|| name(&a.1).cmp(&name(&b.1)))
        });
        self.items = keyed.into_iter().map(|(_, item)| item).collect();
        let found = selected.and_then(|selected| self.items.iter().position(|item| *item == selected));
        self.selected = found.unwrap_or(self.selected).min(self.items.len().saturating_sub(1));
    }

    /// On which node it is, or from where it came, as the columns have it.
    fn from(&self, row: &ConnectionRow, model: &Model) -> String {
        if self.columns == ON_NODES {
            // The feed, which is of one node, does not say which.
            let this = || model.picture.nodes.first().map(|node| node.name.as_str());
            visible(row.node.as_deref().or_else(this).unwrap_or_default())
        } else {
            row.address.clone()
        }
    }

    fn key(&self, item: &Item, model: &Model) -> Key {
        let number = |number: u64| Key::Number(number);
        let tenths = |rate: f64| Key::Number(crate::text::tenths(rate));
        match item {
            Item::Connection(id) => {
                let Some(tracked) = model.connection(id) else { return Key::Number(0) };
                let (row, rates) = (&tracked.row, tracked.rates(model.picture.at_ms));
                match self.sort {
                    0 => number(tracked.held(model.picture.at_ms).map_or(0, |held| 1 + held as u64)),
                    2 => Key::Text(self.from(row, model)),
                    3 => number(row.rtt_us),
                    4 => number(tracked.loss()),
                    5 => number(row.outbox_frames),
                    6 => tenths(rates.0),
                    7 => tenths(rates.1),
                    // The age grows as the beginning is earlier.
                    8 => number(u64::MAX - row.since),
                    9 => number(tracked.silent(model.picture.at_ms).unwrap_or_default()),
                    10 => number(row.dropped),
                    11 => number(row.groups),
                    12 => Key::Text(row.transport.clone()),
                    13 => Key::Text(id.to_string()),
                    _ => Key::Text(row.user.as_str().to_owned()),
                }
            }
            Item::User(user) => match (self.sort, self.users.get(user)) {
                (1, Some(sums)) => number(sums.connections),
                (2, Some(sums)) => number(sums.waiting_frames),
                (3, Some(sums)) => tenths(sums.rates.0),
                (4, Some(sums)) => tenths(sums.rates.1),
                _ => Key::Text(user.as_str().to_owned()),
            },
            Item::Group(group) => match (self.sort, model.picture.groups.get(group)) {
                (1, Some(busy)) => number(busy.row.members),
                (2, Some(busy)) => number(busy.row.users),
                (3, Some(busy)) => number(busy.row.waiting_frames),
                (4, Some(busy)) => tenths(busy.rate(model.picture.at_ms)),
                (5, Some(busy)) => number(busy.row.watchers),
                _ => Key::Text(group.as_str().to_owned()),
            },
            Item::Ban(at) => match (self.sort, model.bans.rows.get(*at)) {
                (2, Some(ban)) => number(ban.since),
                (3, Some(ban)) => number(ban.until.unwrap_or(u64::MAX)),
                _ => Key::Text(self.cells(item, model).get(self.sort).cloned().unwrap_or_default()),
            },
            Item::Record(at) => match self.sort {
                0 | 1 => number(*at as u64),
                _ => Key::Text(self.cells(item, model).get(self.sort).cloned().unwrap_or_default()),
            },
        }
    }

    /// What a row shows, a text for each column.
    #[must_use]
    pub fn cells(&self, item: &Item, model: &Model) -> Vec<String> {
        let now = model.picture.at_ms / 1_000;
        match item {
            Item::Connection(id) => {
                let Some(tracked) = model.connection(id) else { return Vec::new() };
                let (row, (requests, deliveries)) = (&tracked.row, tracked.rates(model.picture.at_ms));
                vec![
                    match tracked.held(model.picture.at_ms) {
                        None => "",
                        Some(Held::Network) => "!net",
                        Some(Held::Application) => "!app",
                    }
                    .to_owned(),
                    visible(row.user.as_str()),
                    self.from(row, model),
                    micros(row.rtt_us),
                    per_mille(tracked.loss()),
                    row.outbox_frames.to_string(),
                    count(requests),
                    count(deliveries),
                    span(now.saturating_sub(row.since)),
                    tracked.silent(model.picture.at_ms).map_or_else(String::new, span),
                    row.dropped.to_string(),
                    row.groups.to_string(),
                    row.transport.clone(),
                    id.to_string(),
                ]
            }
            Item::User(user) => {
                let sums = self.users.get(user).copied().unwrap_or_default();
                vec![
                    visible(user.as_str()),
                    sums.connections.to_string(),
                    sums.waiting_frames.to_string(),
                    count(sums.rates.0),
                    count(sums.rates.1),
                ]
            }
            Item::Group(group) => {
                let busy = model.picture.groups.get(group);
                let text = |number: Option<u64>| number.unwrap_or_default().to_string();
                vec![
                    visible(group.as_str()),
                    text(busy.map(|busy| busy.row.members)),
                    text(busy.map(|busy| busy.row.users)),
                    text(busy.map(|busy| busy.row.waiting_frames)),
                    count(busy.map(|busy| busy.rate(model.picture.at_ms)).unwrap_or_default()),
                    text(busy.map(|busy| busy.row.watchers)),
                ]
            }
            Item::Ban(at) => {
                let Some(ban) = model.bans.rows.get(*at) else { return Vec::new() };
                let who = ban.user.as_ref().map(UserName::as_str).or(ban.jti.as_deref());
                let what = match (ban.kind, &ban.groups) {
                    (BanKind::Group, groups) => {
                        format!("group {}", groups.as_ref().map_or("", |groups| groups.as_str()))
                    }
                    (BanKind::User, _) => "server".to_owned(),
                    (BanKind::SignOut, _) => "tokens until then".to_owned(),
                    (BanKind::Token, _) => "this token".to_owned(),
                };
                let ends = ban.until.map_or("never".to_owned(), |until| {
                    far_day(now, until).unwrap_or_else(|| span(until.saturating_sub(now)))
                });
                vec![
                    visible(who.unwrap_or_default()),
                    visible(&what),
                    span(now.saturating_sub(ban.since)),
                    ends,
                    visible(&ban.author),
                    harmless(&ban.reason),
                ]
            }
            Item::Record(at) => {
                model.audit.get(*at).map(|record| record_cells(record, now)).unwrap_or_default()
            }
        }
    }
}

fn whole(total: u64) -> usize {
    usize::try_from(total).unwrap_or(usize::MAX)
}

fn record_cells(record: &Value, now: u64) -> Vec<String> {
    let field = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or_default();
    let act = crate::text::act(record.get("act").unwrap_or(&Value::Null));
    let outcome = record.get("outcome").unwrap_or(&Value::Null);
    let outcome = match (outcome.get("done"), outcome.get("refused")) {
        (Some(done), _) => crate::text::many(
            done.get("connections").and_then(Value::as_u64).unwrap_or_default(),
            "connection",
        ),
        (_, Some(refused)) => {
            format!("REFUSED {}", refused.get("code").and_then(Value::as_u64).unwrap_or_default())
        }
        _ => outcome.as_str().unwrap_or_default().to_owned(),
    };
    vec![
        number("sequence").to_string(),
        span(now.saturating_sub(number("at_ms") / 1_000)),
        visible(field("author")),
        harmless(&act),
        harmless(&outcome),
    ]
}

fn everything(view: &View, model: &Model, users: &HashMap<UserName, Sums>) -> Vec<Item> {
    let connections = model.picture.connections.values();
    match view {
        View::Overview | View::Connection(_) => Vec::new(),
        View::Connections => connections.map(|tracked| Item::Connection(tracked.row.connection)).collect(),
        View::User(user) => connections
            .filter(|tracked| tracked.row.user == *user)
            .map(|tracked| Item::Connection(tracked.row.connection))
            .collect(),
        // Who is in a group is asked for: the feed tells how many there are, and not who.
        View::Group(group) => model
            .members
            .as_ref()
            .filter(|(of, _)| of == group)
            .map(|(_, members)| members.rows.iter().map(|id| Item::Connection(*id)).collect())
            .unwrap_or_default(),
        View::Users => users.keys().cloned().map(Item::User).collect(),
        View::Groups => model.picture.groups.keys().map(|group| Item::Group(group.clone())).collect(),
        View::Bans => (0..model.bans.rows.len()).map(Item::Ban).collect(),
        View::Audit => (0..model.audit.len()).map(Item::Record).collect(),
    }
}

fn name(item: &Item) -> (&str, ConnectionId, usize) {
    let none = ConnectionId::from_bytes([0; 16]);
    match item {
        Item::Connection(id) => ("", *id, 0),
        Item::User(user) => (user.as_str(), none, 0),
        Item::Group(group) => (group.as_str(), none, 0),
        Item::Ban(at) | Item::Record(at) => ("", none, *at),
    }
}

fn matches(item: &Item, model: &Model, filter: &str) -> bool {
    let within = |text: &str| text.to_lowercase().contains(filter);
    match item {
        Item::Connection(id) => model.connection(id).is_some_and(|Tracked { row, .. }| {
            let on = row.node.as_deref().is_some_and(within);
            within(row.user.as_str()) || within(&row.address) || within(&id.to_string()) || on
        }),
        Item::User(user) => within(user.as_str()),
        Item::Group(group) => within(group.as_str()),
        Item::Ban(at) => model.bans.rows.get(*at).is_some_and(|ban| {
            let user = ban.user.as_ref().map_or("", UserName::as_str);
            let groups = ban.groups.as_ref().map_or("", |groups| groups.as_str());
            [user, groups, ban.jti.as_deref().unwrap_or_default(), &ban.reason, &ban.author]
                .iter()
                .any(|text| within(text))
        }),
        Item::Record(at) => model.audit.get(*at).is_some_and(|record| within(&record.to_string())),
    }
}
