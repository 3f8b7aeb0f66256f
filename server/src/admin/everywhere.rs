//! Lists of all nodes, a page at a time: what operators and back ends are told of connections, users and groups.
//!
//! In: which rows, and in which order. Out: the page, where the next one begins, and which nodes did not answer.
//! Invariants: what is there all the time is on one of the pages, once, on however many nodes it is; of a million rows
//! those of the page are in memory, and of each node what comes next; what cannot be put in order in the time that
//! there is, is refused, and not told wrongly. Each question blocks for a second at most: it is for threads that may
//! wait.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_protocol::admin::{AdminError, ConnectionDetail, GroupRow, NodeRow};
use fanfare_protocol::{Code, ConnectionId, GroupName, Payload, PayloadFormat, UserName};

use super::listing::{self, Rows};
use super::query::Queries;
use super::rows::{self, Connections, Groups};
use crate::cluster::{Said, Side, UsersThere, Walk};
use crate::lists::{Key, Line, ListQuestion, Merged, Of, Part, Place};

/// So many rows may be passed over in a cluster: each is passed over by its place, since nobody knows how many of them
/// are on which node.
const MOST_OFFSET: usize = 10_000;

/// So many rows of a node are asked for at a time where many are looked at; a message is full before.
const AT_A_TIME: u32 = 10_000;

/// So many users or groups are put in the order of a number that is a sum over the nodes.
const MOST_SORTED: usize = 100_000;

/// A page of a list.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) lines: Vec<Line>,
    pub(crate) total: u64,
    /// There may be fewer than that.
    pub(crate) at_most: bool,
    /// Where the next page begins.
    pub(crate) next: Option<Place>,
    /// Nodes that did not answer.
    pub(crate) silent: Vec<String>,
}

/// How many users there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    pub(crate) users: u64,
    /// There may be fewer than that.
    pub(crate) at_most: bool,
    /// Nodes that did not answer.
    pub(crate) silent: Vec<String>,
}

impl Queries {
    /// A page of a list of all nodes, after so many rows that are passed over.
    pub(crate) fn gather(&self, question: ListQuestion, offset: usize) -> Result<Gathered, AdminError> {
        let fields = match question.of {
            Of::Connections | Of::Members(_) | Of::User(_) => Connections::FIELDS,
            Of::Users | Of::Present(_) => rows::Users::FIELDS,
            Of::Groups => Groups::FIELDS,
        };
        let sort = listing::field(&question.sort, fields)?.to_owned();
        let Some(side) = &self.cluster else {
            let Part { total, entries, more } = self.part_here(&question, offset)?;
            let next = entries.last().filter(|_| more).map(|entry| entry.at.clone());
            let lines = entries.into_iter().filter_map(|entry| entry.line).collect();
            return Ok(Gathered { lines, total, next, ..Gathered::default() });
        };
        if offset > MOST_OFFSET {
            return Err(refused(format!(
                "in a cluster at most {MOST_OFFSET} rows are passed over: go on with the `next` of the page before"
            )));
        }
        // The numbers of users and groups are sums over the nodes, in whose order no node has its rows.
        let is_sum = fields == rows::Users::FIELDS || fields == Groups::FIELDS;
        if is_sum && fields.first() != Some(&sort.as_str()) {
            return self.by_sums(side, question, offset, &sort);
        }
        self.by_places(side, question, offset)
    }

    fn by_places(
        &self,
        side: &Side,
        mut question: ListQuestion,
        offset: usize,
    ) -> Result<Gathered, AdminError> {
        let (limit, is_first) = (question.limit, offset == 0 && question.after.is_none());
        let is_connections = matches!(question.of, Of::Connections | Of::Members(_) | Of::User(_));
        if offset > 0 {
            (question.bare, question.limit) = (true, AT_A_TIME);
        }
        let mut walk = side.walk(question, |question: &ListQuestion| self.part_here(question, 0).ok());
        if offset > 0 {
            for _ in 0..offset {
                if walk.next().is_none() {
                    break;
                }
            }
            if walk.is_cut() {
                return Err(too_many());
            }
            walk.go_on(|question| (question.bare, question.limit) = (false, limit));
        }
        let mut rows = Vec::new();
        while rows.len() < limit as usize {
            let Some(row) = walk.next() else { break };
            rows.push(row);
        }
        let next = walk.goes_on();
        let (mut total, mut at_most) = walk.total();
        if is_connections {
            // Each is on one node.
            at_most = false;
        } else if is_first && next.is_none() {
            (total, at_most) = (rows.len() as u64, false);
        }
        let lines = self.lines(&walk, rows);
        Ok(Gathered { lines, total, at_most, next, silent: walk.silent() })
    }

    /// By a number that is a sum over the nodes: all rows are looked at, and those of the page kept.
    fn by_sums(
        &self,
        side: &Side,
        question: ListQuestion,
        offset: usize,
        sort: &str,
    ) -> Result<Gathered, AdminError> {
        let ListQuestion { descending, after, limit, .. } = question.clone();
        let (sort_by_name, limit) = (String::new(), limit as usize);
        let question =
            ListQuestion { sort: sort_by_name, descending: false, after: None, limit: AT_A_TIME, ..question };
        let mut walk = side.walk(question, |question: &ListQuestion| self.part_here(question, 0).ok());
        let mut best = Best { rows: Vec::new(), most: offset + limit + 1, descending };
        let mut total = 0;
        while let Some(row) = walk.next() {
            total += 1;
            if total > MOST_SORTED {
                return Err(too_many());
            }
            let Some(by) = row.line.as_ref().and_then(|line| number(line, sort)) else { continue };
            let place = Place { by: Key::Number(by), id: Some(row.at.by.clone()) };
            if after.as_ref().is_none_or(|after| after.compare(&place, descending).is_lt()) {
                best.add(Merged { at: place, ..row });
            }
        }
        if walk.is_cut() {
            return Err(too_many());
        }
        let mut rows = best.rows();
        let has_more = rows.len() > offset + limit;
        rows.truncate(offset + limit);
        rows.drain(..offset.min(rows.len()));
        let next = rows.last().filter(|_| has_more).map(|row| row.at.clone());
        let lines = self.lines(&walk, rows);
        Ok(Gathered { lines, total: total as u64, at_most: false, next, silent: walk.silent() })
    }

    /// What is told of rows: connections with their nodes, and of groups how many users there are, each once.
    fn lines<F: FnMut(&ListQuestion) -> Option<Part>>(
        &self,
        walk: &Walk<'_, F>,
        mut rows: Vec<Merged>,
    ) -> Vec<Line> {
        let mut on_several: Vec<&mut GroupRow> = Vec::new();
        for row in &mut rows {
            let node = walk.name(row.first).map(str::to_owned);
            match &mut row.line {
                Some(Line::Connection(connection)) => connection.node = node,
                Some(Line::Group(group)) if row.nodes > 1 => on_several.push(group),
                _ => {}
            }
        }
        if !on_several.is_empty() {
            let groups: Vec<GroupName> = on_several.iter().map(|row| row.group.clone()).collect();
            let others = walk.users_in(&groups);
            let here = self.users_in_here(&groups, usize::MAX);
            for (at, row) in on_several.into_iter().enumerate() {
                let Some(others) = &others else {
                    row.users_at_most = true;
                    continue;
                };
                let nodes = std::iter::once(&here).chain(others).filter_map(|node| node.get(at));
                (row.users, row.users_at_most) = together(nodes);
            }
        }
        rows.into_iter().filter_map(|row| row.line).collect()
    }

    /// How many users are in a group, on all nodes.
    pub(crate) fn users_of(&self, group: &GroupName) -> Users {
        let group = std::slice::from_ref(group);
        let here = self.users_in_here(group, usize::MAX);
        let (others, silent) = self.cluster.as_ref().map(|side| side.users_in_all(group)).unwrap_or_default();
        let (users, at_most) = together(here.iter().chain(others.iter().flatten()));
        Users { users, at_most, silent }
    }

    /// What is said of users by those of their connections that are in a group, wherever they are: the latest; and
    /// which nodes did not say.
    pub(crate) fn said(
        &self,
        group: &GroupName,
        users: &[UserName],
    ) -> (HashMap<UserName, Payload>, Vec<String>) {
        let (others, silent) = self.cluster.as_ref().map(|side| side.said(group, users)).unwrap_or_default();
        let here = users.iter().filter_map(|user| Some((user.clone(), self.hub.said(group, user)?)));
        let elsewhere = others.into_iter().filter_map(|(user, Said { order, data, format })| {
            // Another node's word: what is no base64 says nothing.
            let bytes = STANDARD.decode(data).ok()?;
            Some((user, (order, Payload::new(PayloadFormat::from(format), bytes))))
        });
        let mut latest: HashMap<UserName, (u64, Payload)> = HashMap::new();
        for (user, said) in here.chain(elsewhere) {
            let is_later = |known: &(u64, Payload)| (known.0, &known.1.bytes) < (said.0, &said.1.bytes);
            if latest.get(&user).is_none_or(is_later) {
                latest.insert(user, said);
            }
        }
        (latest.into_iter().map(|(user, (_, payload))| (user, payload)).collect(), silent)
    }

    /// A connection, on whichever node it is.
    ///
    /// # Errors
    /// Where the node on which it would be does not answer.
    pub(crate) fn find(&self, id: &ConnectionId) -> Result<Option<ConnectionDetail>, AdminError> {
        if let Some(mut detail) = self.detail_here(id) {
            detail.row.node = self.cluster.as_ref().map(|side| side.name().to_owned());
            return Ok(Some(detail));
        }
        let Some(side) = &self.cluster else { return Ok(None) };
        side.detail(id).map_err(|node| AdminError {
            code: Code::CutOff.number(),
            message: format!("the node {node:?}, on which the connection would be, did not answer"),
        })
    }

    /// The nodes of the cluster, this one first.
    pub(crate) fn nodes(&self) -> Vec<NodeRow> {
        self.cluster.as_ref().map(|cluster| cluster.rows(self.hub.population())).unwrap_or_default()
    }
}

/// The first rows in an order, of all that are added.
struct Best {
    rows: Vec<Merged>,
    most: usize,
    descending: bool,
}

impl Best {
    fn add(&mut self, row: Merged) {
        self.rows.push(row);
        // So seldom that it costs little, and so often that there are few.
        if self.rows.len() >= self.most.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let descending = self.descending;
        self.rows.sort_unstable_by(|one, other| one.at.compare(&other.at, descending));
        self.rows.truncate(self.most);
    }

    fn rows(mut self) -> Vec<Merged> {
        self.cut();
        self.rows
    }
}

/// How many users several nodes have together; and whether there may be fewer, because one has too many to tell.
fn together<'a>(nodes: impl Iterator<Item = &'a UsersThere>) -> (u64, bool) {
    let (mut known, mut sum, mut is_known, mut on) = (HashSet::<u64>::new(), 0_u64, true, 0);
    for node in nodes {
        let users = match node {
            UsersThere::Numbers(numbers) => {
                known.extend(numbers);
                numbers.len() as u64
            }
            UsersThere::TooMany(users) => {
                is_known = false;
                *users
            }
        };
        sum = sum.saturating_add(users);
        on += usize::from(users > 0);
    }
    if is_known { (known.len() as u64, false) } else { (sum, on > 1) }
}

/// One of the numbers of a row.
fn number(line: &Line, field: &str) -> Option<u64> {
    match (line, field) {
        (Line::User(user), "connections") => Some(user.connections),
        (Line::Group(group), "members") => Some(group.members),
        (Line::Group(group), "users") => Some(group.users),
        (Line::Group(group), "deliveries") => Some(group.deliveries),
        (Line::Group(group), "waiting_frames") => Some(group.waiting_frames),
        (Line::Group(group), "watchers") => Some(group.watchers),
        _ => None,
    }
}

fn too_many() -> AdminError {
    refused(
        "the nodes have too many rows to put them in this order in time: give a filter, or have them in the order of \
         their names and go on with `next`"
            .to_owned(),
    )
}

fn refused(message: String) -> AdminError {
    AdminError { code: Code::InvalidRequest.number(), message }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::UserName;
    use fanfare_protocol::admin::UserRow;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_all_rows_are_kept(
            numbers in prop::collection::vec(0_u64..9, 0..200), most in 1_usize..20, descending: bool,
        ) {
            let row = |(at, number): (usize, u64)| {
                let name = format!("{at:03}");
                let place = Place { by: number.into(), id: Some(name.as_str().into()) };
                let user = UserRow { user: UserName::new(&name).unwrap(), connections: number };
                Merged { at: place, line: Some(Line::User(user)), first: 0, nodes: 1 }
            };
            let all: Vec<Merged> = numbers.into_iter().enumerate().map(row).collect();
            let mut best = Best { rows: Vec::new(), most, descending };
            for row in all.clone() {
                best.add(row);
                prop_assert!(best.rows.len() < 2 * most, "bounded");
            }
            let mut expected = all;
            expected.sort_by(|one, other| one.at.compare(&other.at, descending));
            expected.truncate(most);
            prop_assert_eq!(best.rows(), expected);
        }
    }

    #[test]
    fn users_on_several_nodes_count_once_where_they_are_known() {
        let numbers = |list: &[u64]| UsersThere::Numbers(list.to_vec());
        for (nodes, expected) in [
            (vec![], (0, false)),
            (vec![numbers(&[1, 2]), numbers(&[2, 3]), numbers(&[])], (3, false)),
            (vec![numbers(&[1, 2]), UsersThere::TooMany(900)], (902, true)),
            (vec![numbers(&[]), UsersThere::TooMany(900)], (900, false)),
            (vec![UsersThere::TooMany(u64::MAX), UsersThere::TooMany(2)], (u64::MAX, true)),
        ] {
            assert_eq!(together(nodes.iter()), expected, "{nodes:?}");
        }
    }

    #[test]
    fn every_number_of_a_row_can_be_sorted_by() {
        let user = UserRow { user: UserName::new("a").unwrap(), connections: 1 };
        let group = GroupRow {
            group: GroupName::new("a").unwrap(),
            members: 1,
            users: 1,
            deliveries: 1,
            waiting_frames: 1,
            watchers: 1,
            users_at_most: false,
        };
        for (line, fields) in [(Line::User(user), rows::Users::FIELDS), (Line::Group(group), Groups::FIELDS)]
        {
            let (name, numbers) = fields.split_first().unwrap();
            assert_eq!(number(&line, name), None);
            for field in numbers {
                assert_eq!(number(&line, field), Some(1), "{field}");
            }
        }
    }
}
