//! A list of all nodes, row by row.
//!
//! In: a question, and this node's own parts. Out: rows in their order, and who did not answer. Invariants: of each
//! node there is one part in memory at a time; a walk ends within [`WALK`], whoever does not answer, and whoever does
//! not is not asked again; where it stopped before its end is known, so that the next one goes on there.

use std::time::{Duration, Instant};

use fanfare_cluster::NodeId;
use fanfare_protocol::GroupName;

use super::questions::{Question, UsersThere, read};
use super::side::Side;
use crate::lists::{ListQuestion, Merge, Merged, Part, Place, Step};
use crate::uptime;

/// How long a walk may take: an operator who looks waits no longer than for a count.
const WALK: Duration = Duration::from_millis(900);

/// How long a node may take for a part. What is left of a walk is for the others.
const PART: Duration = Duration::from_millis(600);

/// How long the nodes may take to compare the users of groups.
const USERS: Duration = Duration::from_millis(200);

/// A walk over the nodes' lists. Blocks: it is for threads that may wait.
pub(crate) struct Walk<'a, F> {
    side: &'a Side,
    question: ListQuestion,
    /// What comes next of this node's own list.
    own: F,
    merge: Merge,
    /// This node, and the others.
    nodes: Vec<(Option<NodeId>, String)>,
    /// How many rows each has in all.
    totals: Vec<u64>,
    silent: Vec<usize>,
    until: Instant,
    last: Option<Place>,
    /// It came to no end.
    is_cut: bool,
}

impl Side {
    /// Begins a walk. `own` gives what comes next of this node's list; nothing where it is none that there is.
    pub(crate) fn walk<F: FnMut(&ListQuestion) -> Option<Part>>(
        &self,
        question: ListQuestion,
        own: F,
    ) -> Walk<'_, F> {
        let here = (None, self.name.clone());
        let others = self.others().into_iter().map(|(id, name)| (Some(id), name));
        let nodes: Vec<_> = std::iter::once(here).chain(others).collect();
        Walk {
            side: self,
            merge: Merge::new(nodes.len(), question.after.as_ref(), question.descending),
            last: question.after.clone(),
            question,
            own,
            totals: vec![0; nodes.len()],
            nodes,
            silent: Vec::new(),
            until: uptime::now() + WALK,
            is_cut: false,
        }
    }
}

impl<F: FnMut(&ListQuestion) -> Option<Part>> Walk<'_, F> {
    /// The next row; nothing where there is none, or where the time is over.
    pub(crate) fn next(&mut self) -> Option<Merged> {
        loop {
            match self.merge.next() {
                Step::Row(row) => {
                    self.last = Some(row.at.clone());
                    return Some(row);
                }
                Step::End => return None,
                Step::Hungry if uptime::now() >= self.until => {
                    self.is_cut = true;
                    return None;
                }
                Step::Hungry => self.ask(),
            }
        }
    }

    /// Goes on with another question about the same rows, behind the last one.
    pub(crate) fn go_on(&mut self, change: impl FnOnce(&mut ListQuestion)) {
        change(&mut self.question);
        let mut merge = Merge::new(self.nodes.len(), self.last.as_ref(), self.question.descending);
        self.silent.iter().for_each(|node| merge.end(*node));
        self.merge = merge;
    }

    /// Has those go on of whom more is needed.
    fn ask(&mut self) {
        let hungry = self.merge.hungry();
        let until = self.until.min(uptime::now() + PART);
        let question = |after: &Option<Place>| ListQuestion { after: after.clone(), ..self.question.clone() };
        // All of them, before any is waited for.
        let mut asked = Vec::new();
        for (at, after) in &hungry {
            if let Some((Some(node), _)) = self.nodes.get(*at) {
                let question = Question::List(Box::new(question(after)));
                asked.push((*at, self.side.ask_until(Some(*node), &question, until)));
            }
        }
        if let Some((at, after)) = hungry.iter().find(|(at, _)| *at == 0) {
            let part = (self.own)(&question(after));
            self.feed(*at, part);
        }
        for (at, ticket) in asked {
            let answers = self.side.elsewhere.wait_here(ticket).answers;
            let body = answers.into_iter().next().and_then(|(_, body)| body);
            self.feed(at, body.as_deref().and_then(read::<Part>));
        }
    }

    fn feed(&mut self, at: usize, part: Option<Part>) {
        let total = part.as_ref().map_or(0, |part| part.total);
        if part.is_some_and(|part| self.merge.feed(at, part)) {
            if let Some(known) = self.totals.get_mut(at) {
                *known = total;
            }
            return;
        }
        self.merge.end(at);
        self.silent.push(at);
    }

    /// The users in some groups, on each of the other nodes that answered so far; nothing where one of them does not
    /// answer now.
    pub(crate) fn users_in(&self, groups: &[GroupName]) -> Option<Vec<Vec<UsersThere>>> {
        let answering = self.nodes.iter().enumerate().filter(|(at, _)| !self.silent.contains(at));
        let whom: Vec<NodeId> = answering.filter_map(|(_, (node, _))| *node).collect();
        let (users, silent) = self.side.users_in(groups, &whom, uptime::now() + USERS);
        silent.is_empty().then_some(users)
    }

    /// What a node is called.
    pub(crate) fn name(&self, node: usize) -> Option<&str> {
        self.nodes.get(node).map(|(_, name)| name.as_str())
    }

    /// How many rows the nodes have in all, what is on several counted on each; and whether there is any like that.
    pub(crate) fn total(&self) -> (u64, bool) {
        let sum = self.totals.iter().fold(0, |sum: u64, more| sum.saturating_add(*more));
        (sum, self.totals.iter().filter(|total| **total > 0).count() > 1)
    }

    /// Where the next walk goes on, if there is anything behind the last row.
    pub(crate) fn goes_on(&self) -> Option<Place> {
        self.last.clone().filter(|_| self.is_cut || self.merge.has_more())
    }

    /// Whether the time was over before the end.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Who did not answer, by their names.
    pub(crate) fn silent(&self) -> Vec<String> {
        self.silent.iter().filter_map(|node| self.name(*node)).map(str::to_owned).collect()
    }
}
