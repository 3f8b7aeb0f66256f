//! The groups to rejoin after an outage: those that the connection was in, and that the application did not leave. And
//! those that are lost with the connection, because somebody else had put it there.
//!
//! In: what the application asked for (join, leave) and what the server said (joined, removed, answers). Out: the
//! groups.
//!
//! Invariants: a group is rejoined only while the application asked to join it and it is not over; of those that a
//! server adds by itself no more than [`GIVEN`] are kept, so it cannot make this grow without end; a leave counts from
//! the moment it is asked for, whatever comes of it.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_protocol::GroupName;

/// So many groups that an operator added are remembered.
const GIVEN: usize = 10_000;

/// What is known about one group.
#[derive(Debug, Default)]
struct Group {
    /// The server said that the connection is a member, and neither side ended that since.
    member: bool,
    /// The server put the connection into it without being asked.
    given: bool,
    /// Joins that the server has not answered.
    joins: usize,
    /// `Joined` came while a join waited for its answer, which says whether the join made it, or an operator.
    open: bool,
    /// Leaves that the server has not answered. It carries out one connection's requests in order, so until it has
    /// answered them, a `Joined` is about a join that came before them, and is as good as undone.
    leaves: usize,
    /// The one leave under way ends a membership, so that a `Joined` before its answer comes behind it, from an
    /// operator.
    leaving: bool,
}

/// The groups of one client. Lists come in the order of the names, so that a rejoin is the same every time.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    groups: BTreeMap<GroupName, Group>,
    /// How many of them are given.
    given: usize,
    /// What was lost with a connection and not told yet.
    lost: BTreeSet<GroupName>,
}

impl Membership {
    /// A join is on its way to the server.
    pub(crate) fn join_asked(&mut self, group: &GroupName) {
        self.groups.entry(group.clone()).or_default().joins += 1;
    }

    /// A leave is on its way to the server.
    pub(crate) fn leave_asked(&mut self, group: &GroupName) {
        let known = self.groups.entry(group.clone()).or_default();
        known.leaving = known.leaves == 0 && (known.member || known.given);
        known.member = false;
        known.open = false;
        known.leaves += 1;
        self.given -= usize::from(std::mem::take(&mut known.given));
        self.lost.remove(group);
    }

    /// The server answered a join. One in a group that an operator had put the connection into is answered without
    /// `Joined`.
    pub(crate) fn join_answered(&mut self, group: &GroupName, done: bool) {
        let mut added = false;
        self.update(group, |known| {
            known.joins = known.joins.saturating_sub(1);
            known.member |= done && known.given && known.leaves == 0;
            // What this join did not make, an operator made.
            added = std::mem::take(&mut known.open) && !done;
            known.member &= !added;
        });
        if added {
            self.give(group);
        }
    }

    /// The server answered a leave.
    pub(crate) fn leave_answered(&mut self, group: &GroupName) {
        self.update(group, |known| {
            known.leaves = known.leaves.saturating_sub(1);
            known.leaving = false;
        });
    }

    /// The server said that the connection is now a member.
    pub(crate) fn joined(&mut self, group: &GroupName) {
        match self.groups.get_mut(group) {
            Some(known) if known.leaves > 0 && !known.leaving => {}
            Some(known) if known.leaves == 0 && known.joins > 0 => {
                known.open |= !known.member;
                known.member = true;
            }
            Some(known) if known.member => {}
            // Nobody asked for it.
            _ => self.give(group),
        }
    }

    /// The server did not renew the membership. With `added` the connection is in it all the same, because an operator
    /// put it there.
    pub(crate) fn refused(&mut self, group: &GroupName, added: bool) {
        self.ended(group);
        if added {
            self.give(group);
        }
    }

    /// The membership is over: the server ended it, or the application left during an outage.
    pub(crate) fn ended(&mut self, group: &GroupName) {
        self.lost.remove(group);
        if self.groups.get_mut(group).is_some_and(|known| std::mem::take(&mut known.given)) {
            self.given -= 1;
        }
        self.update(group, |known| {
            known.member = false;
            known.open = false;
            known.leaving = false;
        });
    }

    /// The connection is lost, and with it every answer that was still to come, and what others had made.
    pub(crate) fn connection_lost(&mut self) {
        let lost = &mut self.lost;
        self.groups.retain(|group, known| {
            known.joins = 0;
            known.leaves = 0;
            known.open = false;
            known.leaving = false;
            if std::mem::take(&mut known.given) && !known.member {
                lost.insert(group.clone());
            }
            known.member
        });
        self.given = 0;
    }

    /// The groups that were lost with a connection and are not there again. Told once.
    pub(crate) fn take_lost(&mut self) -> Vec<GroupName> {
        let lost = std::mem::take(&mut self.lost);
        let back =
            |group: &GroupName| self.groups.get(group).is_some_and(|known| known.member || known.given);
        lost.into_iter().filter(|group| !back(group)).collect()
    }

    pub(crate) fn is_member(&self, group: &GroupName) -> bool {
        self.groups.get(group).is_some_and(|known| known.member)
    }

    /// The groups to rejoin.
    pub(crate) fn members(&self) -> Vec<GroupName> {
        self.groups.iter().filter(|(_, known)| known.member).map(|(group, _)| group.clone()).collect()
    }

    /// Somebody else put the connection into it. Kept as long as there is room.
    fn give(&mut self, group: &GroupName) {
        if self.given < GIVEN {
            let known = self.groups.entry(group.clone()).or_default();
            self.given += usize::from(!std::mem::replace(&mut known.given, true));
        }
    }

    fn update(&mut self, group: &GroupName, change: impl FnOnce(&mut Group)) {
        let Some(known) = self.groups.get_mut(group) else {
            return;
        };
        change(known);
        if !known.member && !known.given && known.joins == 0 && known.leaves == 0 {
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
            groups.join_answered(name, true);
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
        groups.join_answered(&a, true);
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
        groups.join_answered(&a, true);
        groups.leave_answered(&a);
        groups.joined(&a);
        groups.join_answered(&a, true);
        assert!(groups.is_member(&a));
    }

    #[test]
    fn removed_means_removed_even_before_the_answer_to_the_join() {
        let (mut groups, a) = (Membership::default(), group("a"));
        groups.join_asked(&a);
        groups.joined(&a);
        groups.ended(&a);
        groups.join_answered(&a, true);
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
    fn what_the_server_adds_is_not_rejoined_but_told_once_and_bounded() {
        let mut groups = Membership::default();
        for number in 0..2 * GIVEN {
            groups.joined(&group(&number.to_string()));
        }
        assert_eq!(groups.groups.len(), GIVEN);
        groups.ended(&group("0"));
        groups.leave_asked(&group("1"));
        groups.connection_lost();
        assert_eq!(groups.members(), []);
        assert!(groups.groups.is_empty());
        groups.joined(&group("2"));
        let lost = groups.take_lost();
        assert_eq!(lost.len(), GIVEN - 3, "not the removed, the left, and the one that is back");
        assert_eq!(groups.take_lost(), []);
    }

    #[test]
    fn the_answer_to_a_join_says_whose_joined_it_was() {
        let (mut groups, a) = (Membership::default(), group("a"));
        // Of two joins the first is answered first.
        groups.join_asked(&a);
        groups.join_asked(&a);
        groups.joined(&a);
        groups.join_answered(&a, false);
        assert!(!groups.is_member(&a), "an operator's");
        groups.join_answered(&a, true);
        assert!(groups.is_member(&a), "and the application's");
        // A later refusal ends nothing.
        groups.join_asked(&a);
        groups.join_answered(&a, false);
        assert!(groups.is_member(&a));

        let b = group("b");
        groups.join_asked(&b);
        groups.joined(&b);
        groups.ended(&b);
        groups.join_answered(&b, false);
        groups.connection_lost();
        assert_eq!((groups.members(), groups.take_lost()), (vec![a], vec![]));
    }

    #[test]
    fn joined_before_the_answer_to_a_leave_is_an_operators_only_where_the_leave_ends_something() {
        let (mut groups, a, b) = (Membership::default(), group("a"), group("b"));
        groups.joined(&a);
        for name in [&a, &b] {
            groups.leave_asked(name);
            groups.joined(name);
            groups.leave_answered(name);
        }
        // A second leave under way undoes it.
        let c = group("c");
        groups.joined(&c);
        groups.leave_asked(&c);
        groups.leave_asked(&c);
        groups.joined(&c);
        groups.leave_answered(&c);
        groups.leave_answered(&c);
        groups.connection_lost();
        assert_eq!(groups.take_lost(), [a]);
    }

    #[test]
    fn a_join_of_a_group_that_an_operator_added_is_wanted_although_no_joined_follows() {
        let (mut groups, a) = (Membership::default(), group("a"));
        groups.joined(&a);
        groups.join_asked(&a);
        groups.join_answered(&a, true);
        groups.connection_lost();
        assert_eq!(groups.members(), [a]);
        assert_eq!(groups.take_lost(), []);
    }
}
