//! The groups to rejoin after an outage: those that the connection was in, and that the application did not leave.
//!
//! In: what the application asked for (join, leave) and what the server said (joined, removed, answers). Out: the groups.
//!
//! Invariants: a group is here only while the application asked to join it and it is not over, so a server cannot make
//! this grow; a leave counts from the moment it is asked for, whatever comes of it.

use std::collections::BTreeMap;

use fanfare_protocol::GroupName;

/// What is known about one group.
#[derive(Debug, Default)]
struct Group {
    /// The server said that the connection is a member, and neither side ended that since.
    member: bool,
    /// Joins that the server has not answered.
    joins: usize,
    /// Leaves that the server has not answered. It carries out one connection's requests in order, so until it has
    /// answered them, a `Joined` is about a join that came before them, and is as good as undone.
    leaves: usize,
}

/// The groups of one client. Lists come in the order of the names, so that a rejoin is the same every time.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    groups: BTreeMap<GroupName, Group>,
}

impl Membership {
    /// A join is on its way to the server.
    pub(crate) fn join_asked(&mut self, group: &GroupName) {
        self.groups.entry(group.clone()).or_default().joins += 1;
    }

    /// A leave is on its way to the server.
    pub(crate) fn leave_asked(&mut self, group: &GroupName) {
        let known = self.groups.entry(group.clone()).or_default();
        known.member = false;
        known.leaves += 1;
    }

    /// The server answered a join.
    pub(crate) fn join_answered(&mut self, group: &GroupName) {
        self.update(group, |known| known.joins = known.joins.saturating_sub(1));
    }

    /// The server answered a leave.
    pub(crate) fn leave_answered(&mut self, group: &GroupName) {
        self.update(group, |known| known.leaves = known.leaves.saturating_sub(1));
    }

    /// The server said that the connection is now a member.
    pub(crate) fn joined(&mut self, group: &GroupName) {
        self.update(group, |known| {
            known.member |= known.joins > 0 && known.leaves == 0;
        });
    }

    /// The membership is over: the server ended it, refused to renew it, or the application left during an outage.
    pub(crate) fn ended(&mut self, group: &GroupName) {
        self.update(group, |known| known.member = false);
    }

    /// The connection is lost, and with it every answer that was still to come.
    pub(crate) fn connection_lost(&mut self) {
        self.groups.retain(|_, known| {
            known.joins = 0;
            known.leaves = 0;
            known.member
        });
    }

    pub(crate) fn is_member(&self, group: &GroupName) -> bool {
        self.groups.get(group).is_some_and(|known| known.member)
    }

    /// The groups to rejoin.
    pub(crate) fn members(&self) -> Vec<GroupName> {
        self.groups.iter().filter(|(_, known)| known.member).map(|(group, _)| group.clone()).collect()
    }

    fn update(&mut self, group: &GroupName, change: impl FnOnce(&mut Group)) {
        let Some(known) = self.groups.get_mut(group) else {
            return;
        };
        change(known);
        if !known.member && known.joins == 0 && known.leaves == 0 {
            self.groups.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    #[test]
    fn a_joined_group_is_kept_and_a_left_one_is_not() {
        let (mut groups, a, b) = (Membership::default(), group("a"), group("b"));
        for name in [&a, &b] {
            groups.join_asked(name);
            groups.joined(name);
            groups.join_answered(name);
        }
        groups.leave_asked(&b);
        assert_eq!(groups.members(), [a], "a leave counts before it is answered");
        groups.leave_answered(&b);
        assert_eq!(groups.groups.len(), 1);
    }

    #[test]
    fn a_leave_that_overtakes_the_answer_to_a_join_wins() {
        let (mut groups, a) = (Membership::default(), group("a"));
        groups.join_asked(&a);
        groups.leave_asked(&a);
        groups.joined(&a);
        groups.join_answered(&a);
        groups.connection_lost();
        assert_eq!(groups.members(), []);
        assert!(groups.groups.is_empty());
    }

    #[test]
    fn a_join_after_a_leave_wins() {
        let (mut groups, a) = (Membership::default(), group("a"));
        groups.join_asked(&a);
        groups.leave_asked(&a);
        groups.join_asked(&a);
        groups.joined(&a);
        groups.join_answered(&a);
        groups.leave_answered(&a);
        groups.joined(&a);
        groups.join_answered(&a);
        assert!(groups.is_member(&a));
    }

    #[test]
    fn removed_means_removed_even_before_the_answer_to_the_join() {
        let (mut groups, a) = (Membership::default(), group("a"));
        groups.join_asked(&a);
        groups.joined(&a);
        groups.ended(&a);
        groups.join_answered(&a);
        assert!(!groups.is_member(&a));
        assert!(groups.groups.is_empty());
    }

    #[test]
    fn a_join_without_an_answer_is_not_renewed_unless_it_took_effect() {
        let (mut groups, a, b) = (Membership::default(), group("a"), group("b"));
        groups.join_asked(&a);
        groups.join_asked(&b);
        groups.joined(&b);
        groups.connection_lost();
        assert_eq!(groups.members(), [b]);
    }

    #[test]
    fn the_server_cannot_add_groups_that_nobody_asked_for() {
        let mut groups = Membership::default();
        for number in 0..100 {
            groups.joined(&group(&number.to_string()));
        }
        assert!(groups.groups.is_empty());
    }
}
