//! Lasting memberships: a user is in a group whenever it is here. What a server does for that is done here.
//!
//! In: rows as they come into force, connections that are let in, nodes that do not answer. Out: memberships, and their
//! ends. Invariant 11: at rest whoever has a row is in the group by each of its connections, and whoever has none is
//! not; but for what a client did by itself, which stays. Where a row is in force everywhere, that is so at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_hub::{Member, Origin, Removal};
use fanfare_protocol::{Code, ConnectionId, GroupName};

use super::clients::{Client, Membership};
use super::door::{AGAIN, Token};
use super::log::Key;
use super::world::{World, group_number, user_number};

/// How long until whoever was put out is put back: where a node still does not answer, they are put out again.
const LATER: Duration = Duration::from_secs(10);

/// Memberships that ended because another node did not answer, and when they are tried again.
#[derive(Default)]
pub(crate) struct Unmet {
    memberships: BTreeSet<(usize, usize)>,
    due: Option<Instant>,
}

/// Whose connection it is.
fn client_of(id: ConnectionId) -> usize {
    let number = u64::from_be_bytes(id.as_bytes()[4..12].try_into().unwrap());
    usize::try_from(number).unwrap()
}

impl World {
    /// A connection that was let in is put into its groups.
    pub(crate) fn seated(&mut self, client: usize) {
        let Some(seat) = &self.clients[client].seat else { return };
        let (at, member) = (self.clients[client].at, Arc::clone(seat.member()));
        for group in self.nodes[at].door.lasting_groups(self.clients[client].user) {
            self.join_lasting(at, &member, group);
        }
        self.clients[client].is_seated = true;
        self.settle(at);
    }

    /// Has a connection be in a group that its user is in whenever it is here.
    fn join_lasting(&mut self, at: usize, member: &Arc<Member<Token>>, group: usize) -> bool {
        // One that has gone meanwhile is in none, nor one that a ban keeps out.
        let joined = self.nodes[at].hub.join(member, &self.groups[group], Origin::Lasting);
        let is_new = joined.is_ok_and(|joined| joined.is_new);
        if is_new {
            let client = client_of(member.id());
            self.trace(|| format!("{at}: client {client} is put into group {group}"));
            let membership = Membership { group, joined: None, ended: None, is_removed: false };
            self.clients[client].memberships.push(membership);
            self.clients[client].left.remove(&group);
        }
        is_new
    }

    /// A user who may be here, or in a group, again is in all groups that it is in whenever it is.
    pub(crate) fn join_all(&mut self, at: usize, user: usize) {
        for group in self.nodes[at].door.lasting_groups(user) {
            for member in self.nodes[at].hub.of_user(&self.users[user]) {
                self.join_lasting(at, &member, group);
            }
        }
    }

    /// A row comes into force.
    pub(crate) fn put_in(&mut self, at: usize, user: usize, group: usize) {
        self.nodes[at].door.lasting.lock().unwrap().insert((user, group));
        for member in self.nodes[at].hub.of_user(&self.users[user]) {
            self.join_lasting(at, &member, group);
        }
    }

    /// A row ends, and what it alone was the reason for.
    pub(crate) fn take_out(&mut self, at: usize, user: usize, group: usize) {
        let node = &self.nodes[at];
        if !node.door.lasting.lock().unwrap().remove(&(user, group)) {
            return;
        }
        let why = Removal { code: Code::RemovedFromGroup, reason: "taken out" };
        let name = &self.groups[group];
        // Each client may join what it likes, so that what it joined by itself stays.
        let ends = |of: &GroupName, origin| of == name && origin == Origin::Lasting;
        let _ = node.hub.remove(&node.hub.of_user(&self.users[user]), ends, why);
    }

    /// Another node did not say in time that it sends what is for a group: its members are put out.
    pub(crate) fn put_out(&mut self, at: usize, name: &GroupName) {
        let (hub, now) = (Arc::clone(&self.nodes[at].hub), self.nodes[at].local());
        let (members, group) = (hub.of_group(name), group_number(name));
        for member in &members {
            let client = client_of(member.id());
            self.clients[client].own.remove(&group);
            let is_lasting = self.nodes[at].door.has_lasting(user_number(member.user()), group)
                && member.memberships().contains(&(name.clone(), Origin::Lasting));
            if is_lasting {
                self.nodes[at].unmet.memberships.insert((client, group));
            } else {
                // It is told to come back by itself.
                self.clients[client].left.insert(group);
            }
        }
        self.nodes[at].unmet.due.get_or_insert(now + LATER);
        let why = Removal { code: AGAIN, reason: "not proven" };
        let _ = hub.remove(&members, |of, _| of == name, why);
    }

    /// Those are put back: when a node has gone, or after a while.
    pub(crate) fn put_back(&mut self, at: usize, has_gone: bool) {
        let node = &mut self.nodes[at];
        let now = node.local();
        if !node.joint.serves() || !has_gone && node.unmet.due.is_some_and(|due| now < due) {
            return;
        }
        node.unmet.due = None;
        for (client, group) in std::mem::take(&mut node.unmet.memberships) {
            let known = &self.clients[client];
            let Some(seat) = &known.seat else { continue };
            let (member, user) = (Arc::clone(seat.member()), known.user);
            if self.nodes[at].door.has_lasting(user, group) {
                self.counts.put_back += u64::from(self.join_lasting(at, &member, group));
            }
        }
    }

    /// A row is in force everywhere: whoever is there is in the group by it.
    pub(crate) fn check_put_in(&mut self, user: usize, group: usize, revision: u64) {
        let is_missing = |(number, client): &(usize, &Client)| {
            let node = &self.nodes[client.at];
            node.joint.clock.set(self.now);
            let Some(seat) = client.seat.as_ref().filter(|_| client.user == user && client.is_seated) else {
                return false;
            };
            // Somebody else's word may have put it out since, or its own.
            let is_excused = client.left.contains(&group)
                || node.unmet.memberships.contains(&(*number, group))
                || node.door.bans.lock().unwrap().contains(&(user, group))
                || !node.joint.serves()
                || seat.member().outbox().has_ended();
            !is_excused && seat.member().memberships().iter().all(|(name, _)| *name != self.groups[group])
        };
        if let Some((number, client)) = self.clients.iter().enumerate().find(is_missing) {
            let invariant = if self.nodes[client.at].joint.serves_without { 8 } else { 11 };
            let what = format!("client {number} is not in group {group}, as was decided at {revision}");
            self.violate(invariant, what);
        }
    }

    /// At rest everybody is where it is to be.
    pub(crate) fn check_lasting(&mut self) {
        let mut wrong = None;
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let Some(seat) = &client.seat else { continue };
            let there = seat.member().memberships();
            for (group, name) in self.groups.iter().enumerate() {
                let origin = there.iter().find(|(of, _)| of == name).map(|(_, origin)| *origin);
                let stands = self.log.stands(&Key::Lasting(client.user, group)).is_some();
                let is_banned = self.log.stands(&Key::Ban(client.user, group)).is_some();
                let is_own = client.own.contains(&group);
                let must = !is_banned && (is_own || stands && !client.left.contains(&group));
                let may = !is_banned && (is_own || stands);
                let is_told = self.is_member(number, group);
                self.counts.lasting += u64::from(must);
                if must && origin.is_none() || origin.is_some() && !may || origin.is_some() != is_told {
                    wrong.get_or_insert(format!(
                        "client {number} of node {} is in group {group} by {origin:?}, was told {is_told}; \
                         row: {stands}, banned: {is_banned}, joined itself: {is_own}",
                        client.at
                    ));
                }
            }
        }
        if let Some(what) = wrong {
            self.violate(11, what);
        }
    }
}
