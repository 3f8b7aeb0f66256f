//! What each node shows of everyone on all nodes.
//!
//! In: who is there, and what is forbidden. Out: the first thing that is not shown as it is: a count, who a watcher is
//! told is in a group, a list, or how a node stands to the others (promise 16; lists and counts are of all nodes,
//! whichever is asked).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use fanfare_client::OperatorError;
use fanfare_protocol::Target;
use fanfare_protocol::admin::{
    Action, ConnectionRow, GroupRow, Listing, NodeRow, Page, Question, Receipt, Status, UserRow,
};
use fanfare_tests::group;

use crate::crowd::{Crowd, Member, group_name, sender_name};
use crate::machines::node_name;
use crate::operators::Operators;
use crate::{GROUPS, MACHINES};

/// What there is.
struct Whole<'a> {
    crowd: &'a Crowd,
    banned: &'a BTreeSet<usize>,
}

impl Whole<'_> {
    fn members(&self, group: usize) -> impl Iterator<Item = &Member> {
        let is_forbidden = self.banned.contains(&group);
        let members = self.crowd.members.iter().filter(move |member| !(member.is_banned && is_forbidden));
        members.map(AsRef::as_ref)
    }

    /// The users in a group, each with so many connections.
    fn users(&self, group: usize) -> BTreeMap<String, u64> {
        counted(self.members(group).map(|member| member.user.clone()))
    }

    fn all(&self) -> BTreeMap<String, u64> {
        let senders = (0..MACHINES).map(sender_name);
        counted(self.crowd.members.iter().map(|member| member.user.clone()).chain(senders))
    }
}

fn counted(users: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    users.fold(BTreeMap::new(), |mut counts, user| {
        *counts.entry(user).or_default() += 1;
        counts
    })
}

fn same<T: PartialEq + Debug>(node: usize, what: &str, shown: &T, is: &T) -> Result<(), String> {
    if shown == is {
        Ok(())
    } else {
        Err(format!("node {node} shows {what}: {shown:?}, and there are {is:?}"))
    }
}

/// Looks at all of it on all nodes.
pub(crate) async fn look(
    crowd: &Crowd,
    operators: &Operators,
    banned: &BTreeSet<usize>,
) -> Result<(), String> {
    let whole = Whole { crowd, banned };
    for node in 0..MACHINES {
        counts(&whole, node).await?;
        watched(&whole, node)?;
        lists(&whole, node, operators).await.map_err(|error| format!("node {node}: {error}"))??;
    }
    Ok(())
}

async fn counts(whole: &Whole<'_>, node: usize) -> Result<(), String> {
    let of = |group| whole.users(group).values().sum::<u64>();
    let groups = (0..GROUPS).map(|at| (Target::Group(group(&group_name(at))), of(at)));
    let everybody = (Target::All, whole.all().values().sum());
    for (target, is) in groups.chain([everybody]) {
        let what = format!("the number of {target:?}");
        let count = whole.crowd.senders[node].client.count(target).await;
        same(node, &what, &count.map_err(|error| format!("node {node}: {error}"))?, &is)?;
    }
    Ok(())
}

fn watched(whole: &Whole<'_>, node: usize) -> Result<(), String> {
    for group in 0..GROUPS {
        let present = whole.crowd.senders[node].present(group).into_iter();
        let shown = present.map(|one| (one.user.as_str().to_owned(), one.connections.into())).collect();
        same(node, &format!("who is present in group {group}"), &shown, &whole.users(group))?;
    }
    Ok(())
}

async fn lists(
    whole: &Whole<'_>,
    node: usize,
    operators: &Operators,
) -> Result<Result<(), String>, OperatorError> {
    let (all, page) = (whole.all(), Page::default);
    let connections: Listing<ConnectionRow> = operators.ask(node, &Question::Connections(page())).await?;
    let users: Listing<UserRow> = operators.ask(node, &Question::Users(page())).await?;
    let groups: Listing<GroupRow> = operators.ask(node, &Question::Groups(page())).await?;
    let status: Status = operators.ask(node, &Question::Status {}).await?;

    let silent = [&connections.silent, &users.silent, &groups.silent].map(Vec::len);
    let answers = same(node, "so many nodes that do not answer", &silent, &[0; 3]);

    let place = |row: ConnectionRow| (row.user.as_str().to_owned(), row.node.unwrap_or_default());
    let shown: BTreeSet<_> = connections.rows.into_iter().map(place).collect();
    let members = whole.crowd.members.iter().map(|member| (member.user.clone(), node_name(member.node)));
    let senders = (0..MACHINES).map(|number| (sender_name(number), node_name(number)));
    let is = members.chain(senders).collect();
    let connections = same(node, "the connections", &shown, &is);

    let shown = users.rows.into_iter().map(|row| (row.user.as_str().to_owned(), row.connections)).collect();
    let users = same(node, "the users", &shown, &all);

    let shown: BTreeMap<_, _> = groups
        .rows
        .into_iter()
        .map(|row| (row.group.as_str().to_owned(), (row.members, row.users, row.watchers)))
        .collect();
    let of = |group| {
        let users = whole.users(group);
        (group_name(group), (users.values().sum(), users.len() as u64, MACHINES as u64))
    };
    let groups = same(node, "the groups", &shown, &(0..GROUPS).map(of).collect());

    let there = |name: &str| whole.crowd.members.iter().filter(|one| node_name(one.node) == name).count() + 1;
    let mut shown: Vec<_> = status
        .nodes
        .into_iter()
        .map(|NodeRow { name, connections, is_lost, problem, .. }| (name, connections, is_lost, problem))
        .collect();
    shown.sort();
    let is = (0..MACHINES).map(node_name).map(|name| {
        let there = there(&name) as u64;
        (name, there, false, None)
    });
    let nodes = same(node, "the nodes", &shown, &is.collect());
    Ok(answers.and(connections).and(users).and(groups).and(nodes))
}

/// Takes out what nodes have left that are dead and were ones that serve without the cluster: nobody else knows that
/// they are. Whoever is heard of, or was a moment ago, is left alone, and is looked at again.
pub(crate) async fn forget_the_dead(operators: &Operators) -> Result<(), String> {
    for node in 0..MACHINES {
        let status: Result<Status, _> = operators.ask(node, &Question::Status {}).await;
        let lost = status.map_err(|error| format!("node {node}: {error}"))?.nodes;
        for row in lost.into_iter().filter(|row| row.is_lost) {
            let act = Action::ForgetNode { node: row.node, reason: "chaos".to_owned() };
            // It may be there again, or have been forgotten by another node.
            let _: Result<Receipt, _> = operators.ask(node, &act).await;
        }
    }
    Ok(())
}
