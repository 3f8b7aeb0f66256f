//! One list of the parts of several nodes: a merge sort.
//!
//! In: parts of each node's list, one behind the other, in one order. Out: the rows of all, in that order, what is on
//! several nodes once; and of whom more is needed before the next row is known. Invariants: a row is given when no node
//! can have anything before it that was not given, so that nothing is missed and nothing comes twice; of each node no
//! more than a part is kept; what is no next part of its list ends that node's list, and is told.

use std::collections::VecDeque;

use super::part::{Entry, Line, Part};
use super::place::Place;

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// This row.
    Row(Merged),
    /// That is not known: see [`Merge::hungry`].
    Hungry,
    /// Nothing.
    End,
}

/// A row of the list of all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merged {
    pub(crate) at: Place,
    /// What its nodes say of it together.
    pub(crate) line: Option<Line>,
    /// The first node that has it, and how many do.
    pub(crate) first: usize,
    pub(crate) nodes: usize,
}

/// What a node has given and was not taken.
#[derive(Debug, Default)]
struct Source {
    waiting: VecDeque<Entry>,
    /// Its last row so far.
    last: Option<Place>,
    has_more: bool,
}

/// Lists of several nodes, which are numbered from 0.
#[derive(Debug)]
pub(crate) struct Merge {
    descending: bool,
    sources: Vec<Source>,
}

impl Merge {
    /// Of so many nodes, from behind a place on.
    pub(crate) fn new(nodes: usize, after: Option<&Place>, descending: bool) -> Self {
        let source = || Source { waiting: VecDeque::new(), last: after.cloned(), has_more: true };
        Self { descending, sources: (0..nodes).map(|_| source()).collect() }
    }

    /// Whose next part is needed, and behind which place it begins.
    pub(crate) fn hungry(&self) -> Vec<(usize, Option<Place>)> {
        let hungry = |source: &&Source| source.has_more && source.waiting.is_empty();
        let numbered = self.sources.iter().enumerate();
        numbered.filter(|(_, source)| hungry(source)).map(|(at, source)| (at, source.last.clone())).collect()
    }

    /// A node's next part. False: it is none, and the node's list ends here.
    pub(crate) fn feed(&mut self, node: usize, part: Part) -> bool {
        let descending = self.descending;
        let Some(source) = self.sources.get_mut(node) else { return false };
        let Part { entries, more, .. } = part;
        let mut last = source.last.as_ref();
        let mut is_next = !(more && entries.is_empty());
        for entry in &entries {
            is_next &= last.is_none_or(|last| last.compare(&entry.at, descending).is_lt());
            last = Some(&entry.at);
        }
        if !is_next {
            self.end(node);
            return false;
        }
        source.last = last.cloned();
        source.has_more = more;
        source.waiting.extend(entries);
        true
    }

    /// Nothing more comes of a node.
    pub(crate) fn end(&mut self, node: usize) {
        if let Some(source) = self.sources.get_mut(node) {
            source.has_more = false;
        }
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Step {
        if self.sources.iter().any(|source| source.has_more && source.waiting.is_empty()) {
            return Step::Hungry;
        }
        let descending = self.descending;
        let heads = self.sources.iter().filter_map(|source| source.waiting.front());
        let first = heads.min_by(|one, other| one.at.compare(&other.at, descending));
        let Some(at) = first.map(|entry| entry.at.clone()) else { return Step::End };
        let mut merged: Option<Merged> = None;
        for (node, source) in self.sources.iter_mut().enumerate() {
            if source.waiting.front().is_none_or(|head| head.at != at) {
                continue;
            }
            let Some(entry) = source.waiting.pop_front() else { continue };
            let Some(merged) = &mut merged else {
                merged = Some(Merged { at: entry.at, line: entry.line, first: node, nodes: 1 });
                continue;
            };
            merged.nodes += 1;
            if let (Some(sum), Some(more)) = (&mut merged.line, &entry.line) {
                sum.add(more);
            }
        }
        merged.map_or(Step::End, Step::Row)
    }

    /// Whether there is anything behind the last row.
    pub(crate) fn has_more(&self) -> bool {
        self.sources.iter().any(|source| source.has_more || !source.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fanfare_protocol::UserName;
    use fanfare_protocol::admin::UserRow;
    use proptest::prelude::*;

    use super::*;
    use crate::lists::place::Key;

    /// A node's rows: users and their connections, in the order that is asked for.
    type Rows = BTreeMap<String, u64>;

    fn entry(name: &str, connections: u64) -> Entry {
        let at = Place { by: name.into(), id: None };
        let user = UserName::new(name).unwrap();
        Entry { at, line: Some(Line::User(UserRow { user, connections })) }
    }

    /// What a node gives: at most so many behind a place.
    fn part(rows: &Rows, after: Option<&Place>, descending: bool, limit: usize) -> Part {
        let mut entries: Vec<Entry> = rows.iter().map(|(name, count)| entry(name, *count)).collect();
        if descending {
            entries.reverse();
        }
        entries.retain(|entry| after.is_none_or(|after| after.compare(&entry.at, descending).is_lt()));
        let more = entries.len() > limit;
        entries.truncate(limit);
        Part { total: rows.len() as u64, entries, more }
    }

    fn read(row: &Merged) -> (String, u64) {
        match (&row.at.by, &row.line) {
            (Key::Text(name), Some(Line::User(user))) => (name.clone(), user.connections),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        /// The model: all rows in one map, summed up.
        #[test]
        fn pages_over_several_nodes_are_what_one_node_would_give(
            nodes in prop::collection::vec(prop::collection::btree_map("[a-d]{1,2}", 1_u64..4, 0..15), 1..5),
            limits in prop::collection::vec(1_usize..5, 5),
            page in 1_usize..7,
            descending: bool,
        ) {
            let mut model = Rows::new();
            for (name, count) in nodes.iter().flatten() {
                *model.entry(name.clone()).or_default() += count;
            }
            let mut expected: Vec<(String, u64)> = model.into_iter().collect();
            if descending {
                expected.reverse();
            }
            let (mut found, mut after) = (Vec::new(), None::<Place>);
            // Page by page: each begins anew, behind the last row of the one before.
            loop {
                let mut merge = Merge::new(nodes.len(), after.as_ref(), descending);
                let mut rows = 0;
                while rows < page {
                    match merge.next() {
                        Step::Row(row) => {
                            found.push(read(&row));
                            after = Some(row.at);
                            rows += 1;
                        }
                        Step::Hungry => {
                            let hungry = merge.hungry();
                            prop_assert!(!hungry.is_empty());
                            for (node, after) in hungry {
                                let part = part(&nodes[node], after.as_ref(), descending, limits[node]);
                                prop_assert!(merge.feed(node, part));
                            }
                        }
                        Step::End => break,
                    }
                    let kept = merge.sources.iter().map(|source| source.waiting.len());
                    prop_assert!(kept.zip(&limits).all(|(kept, limit)| kept <= *limit), "bounded");
                }
                if !merge.has_more() {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_no_next_part_ends_its_nodes_list_and_no_other() {
        let whole = Part { total: 2, entries: vec![entry("a", 1), entry("b", 1)], more: true };
        let wrong = [
            Part { entries: vec![entry("b", 1), entry("a", 1)], ..whole.clone() },
            Part { entries: vec![entry("a", 1), entry("a", 1)], ..whole.clone() },
            Part { total: whole.total, entries: Vec::new(), more: true },
        ];
        for wrong in wrong {
            let mut merge = Merge::new(2, None, false);
            assert!(!merge.feed(0, wrong));
            assert!(merge.feed(1, Part { more: false, ..whole.clone() }));
            assert!(matches!(merge.next(), Step::Row(row) if row.first == 1));
        }
        // The same part once more would go round for ever.
        let mut merge = Merge::new(1, None, false);
        assert!(merge.feed(0, whole.clone()));
        assert!(matches!((merge.next(), merge.next()), (Step::Row(_), Step::Row(_))));
        assert!(!merge.feed(0, whole));
        assert_eq!(merge.next(), Step::End);
    }

    #[test]
    fn no_row_is_given_before_it_is_known_that_no_node_has_one_before_it() {
        let mut merge = Merge::new(2, None, false);
        let part = |name, more| Part { total: 1, entries: vec![entry(name, 1)], more };
        assert!(merge.feed(0, part("a", true)));
        assert_eq!(merge.next(), Step::Hungry);
        assert!(merge.feed(1, part("c", false)));
        assert!(matches!(merge.next(), Step::Row(row) if read(&row).0 == "a"));
        assert_eq!(merge.next(), Step::Hungry, "the first may have a b");
        merge.end(0);
        assert!(matches!(merge.next(), Step::Row(row) if read(&row).0 == "c"));
    }
}
