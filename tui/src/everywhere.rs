//! The whole cluster as one picture: lists of all nodes, as the feed of one node would tell of them.
//!
//! In: the newest line of the feed, which is of the node that is attached to, and lists of all nodes, asked for again
//! and again. Out: updates for the picture. Invariant: what was given once and is not in the lists any more is told as
//! gone.

use std::collections::HashSet;

use fanfare_client::OperatorClient;
use fanfare_protocol::admin::{ConnectionRow, GroupRow, Listing, Page, Question, Totals, Update, UserRow};
use fanfare_protocol::{ConnectionId, GroupName};

use crate::model::AtMost;

/// What is wrong with a node whose part is missing.
const SILENT: &str = "it does not answer";

/// Lists of all nodes, as much of them as an answer has.
pub(crate) struct Lists {
    connections: Listing<ConnectionRow>,
    groups: Listing<GroupRow>,
    users: Listing<UserRow>,
}

impl Lists {
    /// Asks for them. `None` where one of them is not answered: they are asked for again soon.
    pub(crate) async fn ask(client: &OperatorClient) -> Option<Self> {
        // By names: in the order of ids a node comes after the other, and in that of numbers everything is looked at.
        let by_user = Page { sort: "user".to_owned(), ..Page::default() };
        let one = Page { limit: 1, ..Page::default() };
        let questions =
            (Question::Connections(by_user), Question::Groups(Page::default()), Question::Users(one));
        let (connections, groups, users) =
            tokio::join!(client.ask(&questions.0), client.ask(&questions.1), client.ask(&questions.2),);
        Some(Self { connections: connections.ok()?, groups: groups.ok()?, users: users.ok()? })
    }
}

/// What was told of the cluster so far.
#[derive(Default)]
pub(crate) struct Everywhere {
    has_begun: bool,
    connections: HashSet<ConnectionId>,
    groups: HashSet<GroupName>,
}

impl Everywhere {
    /// What there is now, beside what the node says of itself.
    pub(crate) fn update(&mut self, node: &Update, lists: Lists) -> (Update, AtMost) {
        let Lists { connections, groups, users } = lists;
        let now: HashSet<ConnectionId> = connections.rows.iter().map(|row| row.connection).collect();
        let gone_connections = self.connections.difference(&now).copied().collect();
        let named: HashSet<GroupName> = groups.rows.iter().map(|row| row.group.clone()).collect();
        let gone_groups = self.groups.difference(&named).cloned().collect();
        (self.connections, self.groups) = (now, named);
        let mut update = bare(node.clone());
        for node in &mut update.nodes {
            if connections.silent.contains(&node.name) || groups.silent.contains(&node.name) {
                node.problem.get_or_insert_with(|| SILENT.to_owned());
            }
        }
        let at_most = AtMost { users: users.at_most, groups: groups.at_most };
        let update = Update {
            full: !std::mem::replace(&mut self.has_begun, true),
            totals: Totals { connections: connections.total, users: users.total, groups: groups.total },
            connections: connections.rows,
            gone_connections,
            groups: groups.rows,
            gone_groups,
            ..update
        };
        (update, at_most)
    }
}

/// A line of the feed without its lists, and what it says of them.
pub(crate) fn bare(update: Update) -> Update {
    Update {
        full: false,
        more: false,
        skipped: 0,
        connections: Vec::new(),
        gone_connections: Vec::new(),
        groups: Vec::new(),
        gone_groups: Vec::new(),
        ..update
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::admin::NodeRow;

    use super::*;
    use crate::update::tests::{row, snapshot};

    fn lists(connections: &[u8], groups: &[(&str, u64)]) -> Lists {
        let rows = connections.iter().map(|number| row(*number, "alice")).collect();
        let told = snapshot(rows, groups);
        Lists {
            connections: Listing::new(70, told.connections),
            groups: Listing::new(8, told.groups),
            users: Listing { at_most: true, ..Listing::new(5, Vec::new()) },
        }
    }

    #[test]
    fn what_is_not_in_the_lists_any_more_is_gone() {
        let (mut everywhere, node) = (Everywhere::default(), snapshot(vec![row(9, "bob")], &[("here", 1)]));
        let (first, at_most) = everywhere.update(&node, lists(&[1, 2], &[("room", 3), ("lobby", 1)]));
        assert!(first.full && first.connections.len() == 2 && first.gone_connections.is_empty());
        let totals = Totals { connections: 70, users: 5, groups: 8 };
        assert_eq!((first.totals, at_most), (totals, AtMost { users: true, groups: false }));
        assert_eq!((first.at_ms, first.counters), (node.at_ms, node.counters.clone()));
        let (next, _) = everywhere.update(&node, lists(&[2, 3], &[("room", 3)]));
        assert_eq!(next.gone_connections, [ConnectionId::from_bytes([1; 16])]);
        assert_eq!(next.gone_groups, [GroupName::new("lobby").unwrap()]);
        assert!(!next.full);
    }

    #[test]
    fn a_node_that_does_not_answer_has_a_trouble() {
        let (mut everywhere, mut node) = (Everywhere::default(), snapshot(vec![], &[]));
        let named = |name: &str| NodeRow { name: name.to_owned(), ..NodeRow::default() };
        node.nodes = vec![named("a"), named("b")];
        let mut lists = lists(&[], &[]);
        lists.groups.silent = vec!["b".to_owned(), "gone".to_owned()];
        let (told, _) = everywhere.update(&node, lists);
        let problems: Vec<_> = told.nodes.iter().map(|node| node.problem.as_deref()).collect();
        assert_eq!(problems, [None, Some(SILENT)]);
    }
}
