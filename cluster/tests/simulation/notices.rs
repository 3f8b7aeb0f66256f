//! What a back end is told of groups and of users in them, and whether that is so.
//!
//! In: memberships, as the hub tells them; what nodes tell. Out: violations of invariant 10: of each subject "occupied"
//! and "vacated" take turns, and in the end what was said last is so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use fanfare_cluster::Subject;
use fanfare_hub::{Left, Member, Origin, Witness};
use fanfare_protocol::GroupName;

use super::door::Token;
use super::node::Joint;
use super::world::World;

/// Tells a node what is occupied in its hub.
pub(crate) struct Occupation {
    joint: Arc<Joint>,
    connections: Mutex<BTreeMap<Subject, u32>>,
}

impl Occupation {
    pub(crate) fn new(joint: Arc<Joint>) -> Self {
        Self { joint, connections: Mutex::default() }
    }

    fn change(&self, member: &Member<Token>, group: &GroupName, has_come: bool) {
        let user = Subject::User(group.clone(), member.user().clone());
        let mut connections = self.connections.lock().unwrap();
        for subject in [Subject::Group(group.clone()), user] {
            let count = connections.entry(subject.clone()).or_default();
            let before = *count;
            *count = if has_come { before + 1 } else { before - 1 };
            let mut node = self.joint.node.lock().unwrap();
            match (before, *count) {
                (0, _) => node.occupied(subject),
                (_, 0) => node.vacated(subject),
                _ => {}
            }
        }
        self.joint.has_wishes.store(true, Ordering::Relaxed);
    }
}

impl Witness<Token> for Occupation {
    fn joined(&self, member: &Arc<Member<Token>>, group: &GroupName, _: Origin, _: bool) {
        self.change(member, group, true);
    }

    fn left(&self, member: &Arc<Member<Token>>, group: &GroupName, _: Left, _: bool) {
        self.change(member, group, false);
    }
}

impl World {
    /// A node tells the back end something.
    pub(crate) fn notified(&mut self, at: usize, subject: &Subject, is_occupied: bool, order: (u64, u64)) {
        if order <= self.notice {
            self.violate(10, format!("{at} tells {order:?} behind {:?}", self.notice));
        }
        self.notice = order;
        self.trace(|| format!("{at}: tells that {subject:?} is occupied: {is_occupied}"));
        self.counts.notices += 1;
        let before = self.told.insert(subject.clone(), is_occupied).unwrap_or(false);
        if before == is_occupied {
            self.counts.repeated += 1;
            if !self.is_unsure {
                self.violate(10, format!("{at} tells once more that {subject:?} is occupied: {is_occupied}"));
            }
        }
    }

    /// The back end knows what is so.
    pub(crate) fn check_notices(&mut self) {
        let mut occupied = BTreeSet::new();
        for node in self.nodes.iter().filter(|node| node.alive) {
            for group in &self.groups {
                for one in node.hub.present(group) {
                    occupied.insert(Subject::Group(group.clone()));
                    occupied.insert(Subject::User(group.clone(), one.user));
                }
            }
        }
        let said: BTreeSet<Subject> = self
            .told
            .iter()
            .filter(|(_, is_occupied)| **is_occupied)
            .map(|(subject, _)| subject.clone())
            .collect();
        let missing = occupied.difference(&said).next();
        // What nobody but the one who told it knew of.
        let left = said.difference(&occupied).next().filter(|_| !self.is_forgotten);
        if let Some((subject, what)) =
            missing.map(|subject| (subject, "nobody")).or(left.map(|subject| (subject, "somebody")))
        {
            let what = format!("a back end believes that {what} is there: {subject:?}");
            self.violate(10, what);
        }
    }
}
