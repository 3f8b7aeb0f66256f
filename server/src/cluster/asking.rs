//! What this node asks others, and what comes of it.
//!
//! In: questions, of any thread. Out: what the answers are together, and which nodes gave none, by their names.
//! Invariants: nobody waits longer than [`ANSWER`], for audits than [`CHAINS`], or for a client than it may take and
//! [`ANSWER`]; an answer that cannot be read is
//! none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_cluster::{NodeId, PeerFacts};
use fanfare_hub::Ticket;
use fanfare_protocol::admin::{ConnectionDetail, Who};
use fanfare_protocol::{ConnectionId, GroupName, UserName};
use serde::de::DeserializeOwned;

use super::invoking::GivenThere;
use super::owners::{Connections, Gathering};
use super::questions::{
    ANSWER, ChainThere, Question, SAID_BYTES, Said, UsersThere, Verdicts, read, to_bytes,
};
use super::side::Side;
use crate::handle::{self, Asking, Given, Giving, Order, Others};
use crate::uptime;

/// How long other nodes may take to look at the whole of their audits, of which a hundred thousand records take a
/// second.
const CHAINS: Duration = Duration::from_secs(25);

impl Side {
    /// Asks all other nodes, or one.
    pub(super) fn ask(&self, whom: Option<NodeId>, question: &Question) -> Ticket {
        self.ask_until(whom, question, uptime::now() + ANSWER)
    }

    /// The same, where it is to be answered sooner.
    pub(super) fn ask_until(&self, whom: Option<NodeId>, question: &Question, until: Instant) -> Ticket {
        let ticket = self.node.lock().ask(whom, &to_bytes(question), until);
        self.wake.notify_one();
        ticket
    }

    /// The other nodes with their names.
    pub(super) fn others(&self) -> Vec<(NodeId, String)> {
        let peers = self.node.lock().peers();
        let named = |peer: PeerFacts| {
            let name = peer.heartbeat.map_or_else(|| peer.id.to_string(), |heartbeat| heartbeat.name);
            (peer.id, name)
        };
        peers.into_iter().map(named).collect()
    }

    /// Asks all other nodes, on a thread that may wait. Gives the answers that could be read, and who gave none, by
    /// their names.
    pub(super) fn ask_all_here<T: DeserializeOwned>(
        &self,
        question: &Question,
    ) -> (Vec<(NodeId, T)>, Vec<String>) {
        let ticket = self.ask(None, question);
        self.read_all(ticket)
    }

    fn read_all<T: DeserializeOwned>(&self, asked: Ticket) -> (Vec<(NodeId, T)>, Vec<String>) {
        let tallied = self.elsewhere.wait_here(asked);
        let (mut silent, mut answers) = (tallied.silent, Vec::new());
        for (node, body) in tallied.answers {
            match body.as_deref().and_then(read::<T>) {
                Some(answer) => answers.push((node, answer)),
                None => silent.push(node),
            }
        }
        (answers, self.names(&silent))
    }

    /// Nodes by their names.
    pub(crate) fn names(&self, nodes: &[NodeId]) -> Vec<String> {
        // Mostly there are none.
        if nodes.is_empty() {
            return Vec::new();
        }
        let others = self.others();
        let name = |id: &NodeId| {
            let known = others.iter().find(|(other, _)| other == id);
            known.map_or_else(|| id.to_string(), |(_, name)| name.clone())
        };
        nodes.iter().map(name).collect()
    }

    /// A connection on another node; who did not answer, where that is the node on which it would be. Blocks.
    pub(crate) fn detail(&self, id: &ConnectionId) -> Result<Option<ConnectionDetail>, String> {
        let node = NodeId::of(id);
        // Of a node that is none there is none.
        let Some((_, name)) = self.others().into_iter().find(|(other, _)| *other == node) else {
            return Ok(None);
        };
        let ticket = self.ask(Some(node), &Question::Connection(*id));
        let answer = self.elsewhere.wait_here(ticket).answers.into_iter().next();
        let detail = answer.and_then(|(_, body)| read::<Option<ConnectionDetail>>(body.as_deref()?));
        let Some(mut detail) = detail else { return Err(name) };
        if let Some(detail) = &mut detail {
            detail.row.node = Some(name);
        }
        Ok(detail)
    }

    /// A user's connections on other nodes, and whether they may join a group; and which nodes did not say so. Blocks.
    pub(crate) fn verdicts(&self, user: &UserName, group: &GroupName) -> (Vec<Verdicts>, Vec<String>) {
        let question = Question::Explain { user: user.clone(), group: group.clone() };
        let (answers, silent) = self.ask_all_here::<Verdicts>(&question);
        let named = |(node, mut verdicts): (NodeId, Verdicts)| {
            let name = self.names(&[node]).pop();
            verdicts.connections.iter_mut().for_each(|verdict| verdict.node.clone_from(&name));
            verdicts
        };
        (answers.into_iter().map(named).collect(), silent)
    }

    /// The users in some groups on each of all other nodes; and which nodes did not say so. Blocks.
    pub(crate) fn users_in_all(&self, groups: &[GroupName]) -> (Vec<Vec<UsersThere>>, Vec<String>) {
        let whom: Vec<NodeId> = self.others().into_iter().map(|(node, _)| node).collect();
        self.users_in(groups, &whom, uptime::now() + ANSWER)
    }

    /// The same on some nodes, in an order of theirs. Blocks.
    pub(super) fn users_in(
        &self,
        groups: &[GroupName],
        whom: &[NodeId],
        until: Instant,
    ) -> (Vec<Vec<UsersThere>>, Vec<String>) {
        let question = Question::UsersIn(groups.to_vec());
        // All of them, before any is waited for.
        let asked: Vec<_> =
            whom.iter().map(|node| (*node, self.ask_until(Some(*node), &question, until))).collect();
        let (mut users, mut silent) = (Vec::new(), Vec::new());
        for (node, ticket) in asked {
            let answer = self.elsewhere.wait_here(ticket).answers.into_iter().next();
            let there = answer.and_then(|(_, body)| read::<Vec<UsersThere>>(body.as_deref()?));
            match there.filter(|there| there.len() == groups.len()) {
                Some(there) => users.push(there),
                None => silent.push(node),
            }
        }
        (users, self.names(&silent))
    }

    /// What is said of users by those of their connections that are in a group on each of all other nodes, as far as it
    /// is said; and which nodes did not answer. Blocks.
    pub(crate) fn said(&self, group: &GroupName, users: &[UserName]) -> (Vec<(UserName, Said)>, Vec<String>) {
        let (mut said, mut silent) = (Vec::new(), Vec::new());
        // All of them, before any is waited for.
        let asked: Vec<_> = users
            .chunks((self.longest / SAID_BYTES).max(1))
            .map(|users| {
                let question = Question::Said { group: group.clone(), users: users.to_vec() };
                (self.ask(None, &question), users)
            })
            .collect();
        for (ticket, users) in asked {
            let tallied = self.elsewhere.wait_here(ticket);
            silent.extend(tallied.silent);
            for (node, body) in tallied.answers {
                let Some(answer) = body.as_deref().and_then(read::<Vec<Option<Said>>>) else {
                    silent.push(node);
                    continue;
                };
                said.extend(users.iter().zip(answer).filter_map(|(user, one)| Some((user.clone(), one?))));
            }
        }
        silent.sort_unstable();
        silent.dedup();
        (said, self.names(&silent))
    }

    /// The audits of all other nodes, each with its node's name; and which did not say. Blocks.
    pub(crate) fn chains(
        &self,
        noted: Vec<(String, Vec<String>)>,
    ) -> (Vec<(String, ChainThere)>, Vec<String>) {
        let asked = self.ask_until(None, &Question::Chain(noted), uptime::now() + CHAINS);
        let (answers, silent) = self.read_all::<ChainThere>(asked);
        let named = |(node, chain)| (self.names(&[node]).pop().unwrap_or_default(), chain);
        (answers.into_iter().map(named).collect(), silent)
    }

    /// The same as [`Side::count`], on a thread that may wait.
    pub(crate) fn count_here(&self, who: Who) -> (u64, Vec<String>) {
        let (answers, silent) = self.ask_all_here::<u64>(&Question::Count(who));
        (answers.into_iter().fold(0, |sum, (_, more)| sum.saturating_add(more)), silent)
    }

    /// How many connections a target has on other nodes; and which did not say so.
    pub(crate) async fn count(&self, who: Who) -> (u64, Vec<String>) {
        self.sum(&Question::Count(who)).await
    }

    /// Whose welcomed connections are, where that is known of all of them without asking. They may have gone since.
    pub(crate) fn known_owners(&self, ids: &[ConnectionId]) -> Option<HashMap<ConnectionId, UserName>> {
        self.owners.of(ids)
    }

    /// Whose connections on other nodes are, as far as they are there and say so: given to `then`, once, when all have
    /// answered or their time is over.
    pub(crate) fn owners_then(
        &self,
        ids: Vec<ConnectionId>,
        which: Connections,
        then: impl FnOnce(HashMap<ConnectionId, UserName>) + Send + 'static,
    ) {
        let mut on = HashMap::<NodeId, Vec<ConnectionId>>::new();
        for id in ids {
            on.entry(NodeId::of(&id)).or_default().push(id);
        }
        let known = Arc::clone(&self.owners);
        let then = move |owners: HashMap<ConnectionId, UserName>| {
            if which == Connections::Welcomed {
                known.keep(&owners);
            }
            then(owners);
        };
        let gathering = Gathering::new(then);
        for (node, ids) in on {
            let question = match which {
                Connections::Welcomed => Question::Whose(ids.clone()),
                Connections::AlsoExpected => Question::Owners(ids.clone()),
            };
            let (ticket, gathering) = (self.ask(Some(node), &question), Arc::clone(&gathering));
            self.elsewhere.then(ticket, move |tallied| {
                gathering.add(&ids, tallied);
                gathering.let_go();
            });
        }
        gathering.let_go();
    }

    /// The same, waited for.
    pub(crate) async fn owners(
        &self,
        ids: Vec<ConnectionId>,
        which: Connections,
    ) -> HashMap<ConnectionId, UserName> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.owners_then(ids, which, move |owners| drop(sender.send(owners)));
        receiver.await.unwrap_or_default()
    }

    /// How many copies of a message were queued on other nodes, and which did not say so.
    async fn copies(&self, ticket: Ticket) -> (u64, Vec<String>) {
        let tallied = self.elsewhere.wait(ticket).await;
        (tallied.copies, self.names(&tallied.silent))
    }

    async fn sum(&self, question: &Question) -> (u64, Vec<String>) {
        let ticket = self.ask(None, question);
        let tallied = self.elsewhere.wait(ticket).await;
        let mut silent = tallied.silent;
        let mut count = 0;
        for (node, body) in tallied.answers {
            match body.as_deref().and_then(read::<u64>) {
                Some(more) => count = u64::saturating_add(count, more),
                None => silent.push(node),
            }
        }
        (count, self.names(&silent))
    }
}

/// What the application has done on other nodes.
impl Others for Side {
    fn order(&self, order: Order) -> handle::Answers<'_> {
        Box::pin(async move {
            let ticket = self.ask(None, &Question::Order(order));
            let tallied = self.elsewhere.wait(ticket).await;
            let (mut silent, mut done) = (tallied.silent, Vec::new());
            for (node, body) in tallied.answers {
                match body.as_deref().and_then(read::<handle::Done>) {
                    Some(there) => done.push(there),
                    None => silent.push(node),
                }
            }
            (done, self.names(&silent))
        })
    }

    fn ask(&self, asking: Asking) -> Giving<'_> {
        Box::pin(async move {
            let node = NodeId::of(&asking.connection);
            if node == self.node.lock().id() {
                return Given::NotThere;
            }
            // One that is not known may be cut off, and have it still; or have gone.
            if !self.others().iter().any(|(other, _)| *other == node) {
                return Given::Silent;
            }
            let until = uptime::now() + asking.deadline + ANSWER;
            let ticket = self.ask_until(Some(node), &Question::Client(Box::new(asking.into())), until);
            let answer = self.elsewhere.wait(ticket).await.answers.into_iter().next();
            let there = answer.and_then(|(_, body)| read::<GivenThere>(body.as_deref()?));
            there.and_then(GivenThere::given).unwrap_or(Given::Silent)
        })
    }

    fn copies_of(&self, ticket: Ticket) -> handle::Copies<'_> {
        Box::pin(self.copies(ticket))
    }
}
