//! What must hold, and is looked at from outside: by somebody who sees all nodes at once.
//!
//! In: fences, counts and proofs as they come, and everything at the end. Out: violations, each with its invariant.

use std::collections::{BTreeMap, HashMap};

use fanfare_cluster::{Fenced, Standing, Tallied};
use fanfare_hub::Ticket;
use fanfare_protocol::{GroupName, Payload, Sender, Target, UserName};

use super::log::{Key, Value};
use super::time::{MS, Micros, SECOND};
use super::world::{World, group_number};

/// A message that was sent at the end, when all is well.
pub(crate) struct Probe {
    at: usize,
    number: u64,
    queued: u64,
    ticket: Option<Ticket>,
    tallied: Option<Tallied>,
    /// How many connections it reaches.
    reaches: usize,
}

impl World {
    /// Nothing of a fence that was reported closed comes to whoever was banned.
    pub(crate) fn check_fence(&mut self, client: usize, to: &Target) {
        self.check_client(client);
        let user = self.clients[client].user;
        if let Target::Group(group) = to
            && let Some(revision) = self.closed.get(&(user, group_number(group)))
        {
            let what =
                format!("client {client} of user {user} takes something of {group}, banned at {revision}");
            self.violate(1, what);
        }
    }

    /// Whether a client has taken `Joined`, and since then neither left nor taken `Removed`.
    pub(crate) fn is_member(&self, client: usize, group: usize) -> bool {
        let mut of_group = self.clients[client].memberships.iter().filter(|of| of.group == group);
        of_group.any(|of| of.joined.is_some() && of.ended.is_none())
    }

    /// A fence was reported.
    pub(crate) fn fenced(&mut self, at: usize, number: u64, fenced: &Fenced) {
        self.trace(|| format!("{at}: fence {number} is {fenced:?}"));
        let Some(fence) = self.nodes[at].fences.remove(&number) else { return };
        if fenced.is_closed() {
            self.counts.closed_fences += 1;
            self.close_fence(at, &fence.key, &fence.value, fence.revision);
        } else {
            self.counts.open_fences += 1;
            if self.is_calm {
                self.violate(7, format!("{at}: a fence is open where nothing is disturbed: {fenced:?}"));
            }
            let forgets = fenced.nodes.iter().any(|(id, _, standing)| {
                *standing == Standing::ServesWithout && !self.nodes[self.places[id]].joint.serves_without
            });
            if forgets {
                self.violate(8, format!("{at}: a fence names one that does not serve without: {fenced:?}"));
            }
        }
    }

    /// From now on nothing of what was forbidden may come to the user, wherever.
    pub(crate) fn close_fence(&mut self, at: usize, key: &Key, value: &Value, revision: u64) {
        let Key::Ban(user, group) = *key else { return self.close_user_fence(at, key, value, revision) };
        // Who was restored since may have it.
        if *value == Value::Restored || self.log.stands(key).is_none_or(|since| since > revision) {
            return;
        }
        self.trace(|| format!("{at}: user {user} is out of group {group} since revision {revision}"));
        self.closed.insert((user, group), revision);
        for node in 0..self.nodes.len() {
            self.check_bans(node);
        }
    }

    /// What was reported closed is in force where something is delivered.
    pub(crate) fn check_bans(&mut self, at: usize) {
        let node = &self.nodes[at];
        // A process that stands still may go on at any moment.
        node.joint.clock.set(self.now);
        if !node.alive || !node.joint.serves() {
            return;
        }
        let bans = node.door.bans.lock().unwrap();
        let missing = self.closed.iter().find(|(ban, _)| !bans.contains(ban)).map(|(ban, at)| (*ban, *at));
        drop(bans);
        if let Some(((user, group), revision)) = missing {
            let invariant = if node.joint.serves_without { 8 } else { 1 };
            let what =
                format!("{at} delivers to user {user} in group {group}, banned at revision {revision}");
            self.violate(invariant, what);
        }
    }

    pub(crate) fn tallied(&mut self, at: usize, ticket: Ticket, tallied: Tallied) {
        self.nodes[at].tickets.remove(&ticket);
        if let Some(probe) =
            self.probes.iter_mut().find(|probe| probe.at == at && probe.ticket == Some(ticket))
        {
            probe.tallied = Some(tallied);
        }
    }

    /// Nothing is waited for longer than it may be.
    pub(crate) fn check_patience(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let (resumed, local) = (node.resumed, node.local());
        let over = |begun: Micros, limit: Micros| now > begun.max(resumed) + limit;
        node.proofs.retain(|(proof, _)| !proof.is_settled());
        let late = node.proofs.iter().any(|(_, begun)| over(*begun, 2_400 * MS));
        let silent = node.tickets.values().any(|begun| over(*begun, 1_300 * MS));
        let open = node.fences.values().any(|fence| local > fence.until) && now > resumed + 300 * MS;
        for (violated, what) in [(late, "a proof"), (silent, "a count"), (open, "a fence")] {
            if violated {
                self.violate(7, format!("{at}: {what} is waited for longer than it may be"));
            }
        }
    }

    /// A node that crashed is gone for everybody whom nothing disturbed.
    pub(crate) fn check_gone(&mut self, gone: usize, since: Micros) {
        let id = self.nodes[gone].id;
        if self.is_resting || !self.net.is_well_since(gone, since) {
            return;
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.runs() && node.born < since && self.net.is_well_since(at, since) {
                let knows = node.joint.node.lock().unwrap().peers().iter().any(|peer| peer.id == id);
                if knows {
                    self.violate(6, format!("{at} still knows {gone}, which crashed at {since} µs"));
                }
            }
        }
    }

    /// A new node is of use.
    pub(crate) fn check_useful(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !self.is_calm || !node.runs() {
            return;
        }
        node.joint.clock.set(self.now);
        let peers = node.joint.node.lock().unwrap().peers();
        let unheard = peers.iter().find(|peer| {
            let there = &self.nodes[self.places[&peer.id]];
            !peer.is_heard && there.alive && there.born + SECOND < self.now
        });
        if !node.joint.serves() || unheard.is_some() {
            self.violate(6, format!("{at} is of no use after two seconds: {unheard:?}"));
        }
    }

    /// One node sends once more, to everything.
    pub(crate) fn probe(&mut self, at: usize) {
        if !self.nodes.get(at).is_some_and(|node| node.alive) {
            return;
        }
        self.nodes[at].joint.clock.set(self.now);
        if !fanfare_hub::Cluster::delivers(&*self.nodes[at].joint) {
            self.violate(5, format!("{at} delivers nothing at rest"));
            return;
        }
        let groups = self.groups.iter().cloned().map(Target::Group);
        let users = self.users.iter().cloned().map(Target::User);
        for to in groups.chain(users).chain([Target::All]).collect::<Vec<_>>() {
            let alive = self.nodes.iter().filter(|node| node.alive);
            let reaches = alive.map(|node| node.hub.count(&to)).sum();
            let (number, queued, ticket) =
                self.send(at, None, Sender::Server, vec![to], Vec::new(), 1, false, true);
            // It may have been counted already.
            self.probes.push(Probe { at, number, queued, ticket, tallied: None, reaches });
        }
    }

    /// At rest everything is as it should be.
    pub(crate) fn check_end(&mut self) {
        self.check_nodes();
        self.check_counts();
        self.check_members();
        self.check_forbidden_users();
        self.check_doors();
        self.check_lasting();
        self.check_calls();
        self.check_messages();
        self.check_views();
        self.check_notices();
    }

    /// Who watches a group has been told who is there on all nodes (promise 16).
    fn check_views(&mut self) {
        let mut there: HashMap<GroupName, BTreeMap<UserName, u32>> = HashMap::new();
        for node in self.nodes.iter().filter(|node| node.alive) {
            for group in &self.groups {
                for one in node.hub.present(group) {
                    *there.entry(group.clone()).or_default().entry(one.user).or_default() += one.connections;
                }
            }
        }
        let mut said: HashMap<usize, BTreeMap<UserName, Option<Payload>>> = HashMap::new();
        let mut wrong = None;
        for (number, client) in self.clients.iter().enumerate().filter(|(_, client)| client.seat.is_some()) {
            for (group, view) in &client.views {
                self.counts.views += 1;
                let told: BTreeMap<UserName, u32> =
                    view.users.iter().map(|(user, (count, _))| (user.clone(), *count)).collect();
                let here = there.get(&self.groups[*group]).cloned().unwrap_or_default();
                if told != here || !view.is_complete {
                    wrong.get_or_insert(format!(
                        "client {number} of node {} was told {told:?} of group {group}, and there are {here:?}",
                        client.at
                    ));
                }
                // What is said of them is on every node the same.
                let words = view.users.iter().map(|(user, (_, data))| (user.clone(), data.clone())).collect();
                let known = said.entry(*group).or_insert_with(|| BTreeMap::clone(&words));
                if *known != words {
                    wrong.get_or_insert(format!(
                        "client {number} of node {} was told {words:?} of group {group}, and another {known:?}",
                        client.at
                    ));
                }
            }
        }
        if let Some(what) = wrong {
            self.violate(9, what);
        }
    }

    fn check_nodes(&mut self) {
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].alive).collect();
        for &at in &alive {
            self.nodes[at].joint.clock.set(self.now);
            let mut topics: Vec<String> = Vec::new();
            for &other in alive.iter().filter(|other| **other != at) {
                let hub = &self.nodes[other].hub;
                topics.extend(hub.users().iter().map(|(user, _)| user.to_string()));
                topics.extend(hub.groups().iter().map(|(group, _)| group.to_string()));
            }
            topics.sort_unstable();
            topics.dedup();
            let population = self.nodes[at].hub.population();
            let node = self.nodes[at].joint.node.lock().unwrap();
            let (peers, found) = (node.peers(), node.topics());
            let mut there: Vec<usize> = peers.iter().map(|peer| self.places[&peer.id]).collect();
            let counts = node.counts();
            drop(node);
            there.sort_unstable();
            self.counts.late += counts.late;
            self.counts.missed += counts.missed;
            let others: Vec<usize> = alive.iter().copied().filter(|other| *other != at).collect();
            let real = (population.users + population.groups, topics.len());
            if there != others {
                self.violate(5, format!("{at} knows {there:?}, and there are {others:?}"));
            } else if let Some(unheard) = peers.iter().find(|peer| !peer.is_heard) {
                self.violate(5, format!("{at} has not heard {unheard:?}"));
            } else if !self.nodes[at].joint.has_lease() {
                self.violate(5, format!("{at} has no lease"));
            } else if found != real {
                self.violate(5, format!("{at} has {found:?} topics here and elsewhere; there are {real:?}"));
            }
        }
    }

    fn check_counts(&mut self) {
        for probe in std::mem::take(&mut self.probes) {
            let Probe { at, number, queued, ticket, tallied, reaches } = probe;
            let got = self.clients.iter().filter(|client| client.received.contains_key(&number)).count();
            let elsewhere = match (ticket, tallied) {
                (None, _) => Some(0),
                (Some(_), Some(tallied)) if tallied.silent.is_empty() => Some(tallied.copies),
                (Some(_), _) => None,
            };
            if elsewhere.map(|copies| copies + queued) != Some(got as u64) || got != reaches {
                let what = format!(
                    "{at}: number {number}: {queued} here, {elsewhere:?} elsewhere; {got} of {reaches}"
                );
                self.violate(4, what);
            }
        }
    }

    /// Who was banned is no member.
    fn check_members(&mut self) {
        let still = (0..self.clients.len()).find_map(|client| {
            let user = self.clients[client].user;
            let mut bans = self.closed.keys().filter(|(banned, _)| *banned == user);
            let (_, group) = bans.find(|(_, group)| self.is_member(client, *group))?;
            Some((client, *group)).filter(|_| self.clients[client].seat.is_some())
        });
        if let Some((client, group)) = still {
            self.violate(1, format!("client {client} is in group {group}, which its user was banned from"));
        }
    }

    /// Who was there got what was for it, or was told that it may be missing.
    fn check_messages(&mut self) {
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            let is_told = |number: &u64| {
                client.lagged.last().is_some_and(|(step, _)| *step > self.sent_as(*number).step)
            };
            let lost: Vec<u64> =
                (0..self.sent.len() as u64).filter(|number| self.is_lost(at, *number)).collect();
            let missing = lost.iter().copied().find(|number| !is_told(number));
            self.check_told(at, &lost);
            if let Some(number) = missing {
                let sent = &self.sent[usize::try_from(number).unwrap()];
                let what = format!(
                    "client {at} of node {} has not got number {number}, sent in step {} at {} to {:?} ({}), and was told nothing",
                    self.clients[at].at,
                    sent.step,
                    sent.origin,
                    sent.to,
                    if sent.has_lease { "with the lease" } else { "without the lease" }
                );
                return self.violate(2, what);
            }
        }
    }

    /// Whether a client must have got a message that was sent to this.
    pub(crate) fn was_owed(&self, at: usize, number: u64, target: &Target) -> bool {
        let client = &self.clients[at];
        let sent = &self.sent[usize::try_from(number).unwrap()];
        let welcomed = client.welcomed.is_some_and(|step| step < sent.step);
        let (is_there, ended) = match target {
            Target::All => (welcomed, client.ended),
            Target::User(user) => (welcomed && *user == self.users[client.user], client.ended),
            Target::Connection(id) => (welcomed && *id == client.id, client.ended),
            Target::Group(group) => {
                let group = group_number(group);
                let membership = client
                    .memberships
                    .iter()
                    .rev()
                    .find(|of| of.group == group && of.joined.is_some_and(|step| step < sent.step));
                let ended = membership.and_then(|of| of.ended).or(client.ended);
                (membership.is_some(), ended)
            }
        };
        match ended {
            _ if !is_there => false,
            None => true,
            Some(ended) if ended < sent.step => false,
            // What was on its way at the end may be missing, but nothing in front of what came.
            Some(ended) => (number + 1..self.sent.len() as u64).any(|later| {
                let of = &self.sent[usize::try_from(later).unwrap()];
                (of.origin, of.sender, &of.to) == (sent.origin, sent.sender, &sent.to)
                    && sent.to.len() == 1
                    && client.received.get(&later).is_some_and(|step| *step <= ended)
            }),
        }
    }
}
