//! Bans and sign-outs of users, looked at from outside: whom a receipt says to be out is out, on every node.
//!
//! In: fences that were reported closed, and what clients and hubs do then. Out: violations of invariant 1 (8, where a
//! node serves without the lease): nothing comes to a connection that is forbidden everywhere, none is there that was
//! not told to end, and none is let in, until that is lifted; of invariant 11: in the end every node has in force what
//! stands, however it came there.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_hub::Origin;
use fanfare_protocol::ConnectionId;

use super::clients::Air;
use super::door::Token;
use super::log::{Key, Value};
use super::time::Micros;
use super::world::World;

/// What was reported to be forbidden on all nodes, and was not lifted since; each with its revision.
#[derive(Default)]
pub(crate) struct Forbidden {
    banned: BTreeMap<usize, u64>,
    /// What was issued up to this moment does not do.
    signed_out: BTreeMap<usize, (Micros, u64)>,
}

impl Forbidden {
    /// Since which revision a user may not be anywhere with this token.
    fn since(&self, user: usize, token: Token) -> Option<u64> {
        let signed_out = self.signed_out.get(&user).filter(|(moment, _)| token.issued <= *moment);
        self.banned.get(&user).or(signed_out.map(|(_, revision)| revision)).copied()
    }

    /// For each the newest token that does not do.
    fn tokens(&self, now: Micros) -> Vec<(usize, Token)> {
        let banned = self.banned.keys().map(|user| (*user, Token { issued: now }));
        let signed_out = self.signed_out.iter().map(|(user, (moment, _))| (*user, Token { issued: *moment }));
        banned.chain(signed_out).collect()
    }
}

impl World {
    /// Something was lifted.
    pub(crate) fn may_again(&mut self, key: &Key) {
        match key {
            Key::Ban(user, group) => drop(self.closed.remove(&(*user, *group))),
            Key::UserBan(user) => drop(self.forbidden.banned.remove(user)),
            Key::SignOut(user) => drop(self.forbidden.signed_out.remove(user)),
            Key::Lasting(..) | Key::Node(_) | Key::Duty => {}
        }
    }

    /// What was decided of a user is in force everywhere.
    pub(crate) fn close_user_fence(&mut self, at: usize, key: &Key, value: &Value, revision: u64) {
        let stands = self.log.stands(key);
        let is_lifted = stands.is_none_or(|since| since > revision);
        match (key, value) {
            (Key::UserBan(user), Value::Banned) if !is_lifted => {
                self.forbidden.banned.insert(*user, revision);
            }
            (Key::SignOut(user), Value::SignedOut(moment)) if !is_lifted => {
                let known = self.forbidden.signed_out.entry(*user).or_insert((*moment, revision));
                // An earlier one may be reported later.
                *known = (*known).max((*moment, revision));
            }
            (Key::Lasting(user, group), Value::Restored) if stands.is_none() => {
                return self.check_taken_out(*user, *group, revision);
            }
            (Key::Lasting(user, group), Value::Lasts) if !is_lifted => {
                return self.check_put_in(*user, *group, revision);
            }
            _ => return,
        }
        self.trace(|| format!("{at}: {key:?}: {value:?} holds everywhere since revision {revision}"));
        self.counts.user_fences += 1;
        (0..self.nodes.len()).for_each(|node| self.check_forbidden(node));
    }

    /// Something is done for a client, or is given to it: it must not be forbidden. What it is told of itself (that it
    /// is refused, or was removed) is not meant: that may go where nothing is delivered, and no ban forbids it.
    pub(crate) fn check_client(&mut self, client: usize) {
        let (user, token) = (self.clients[client].user, self.clients[client].token);
        if let Some(revision) = self.forbidden.since(user, token) {
            let what =
                format!("client {client} of user {user}, which is forbidden since {revision}, is served");
            self.violate(1, what);
        }
    }

    /// What was reported closed is in force where something is delivered, and nobody is let in anywhere.
    pub(crate) fn check_forbidden(&mut self, at: usize) {
        let node = &self.nodes[at];
        // A process that stands still may go on at any moment.
        node.joint.clock.set(self.now);
        if !node.alive {
            return;
        }
        let invariant = if node.joint.serves_without { 8 } else { 1 };
        let mut wrong = None;
        for (user, token) in self.forbidden.tokens(self.now) {
            let members = node.hub.of_user(&self.users[user]);
            let mut still = members.iter().filter(|member| {
                let issued = member.permissions().issued;
                issued <= token.issued && !member.outbox().has_ended()
            });
            if node.joint.serves()
                && let Some(member) = still.next()
            {
                let what = format!("{at} delivers to {} of user {user}, which is forbidden", member.id());
                wrong.get_or_insert(what);
            }
            let id = ConnectionId::on_node(node.id.bytes(), [0xfe; 12]);
            if self.register(at, id, user, token, Air::default()).is_ok() {
                wrong.get_or_insert(format!("{at} lets user {user} in with {token:?}, which is forbidden"));
            }
        }
        if let Some(what) = wrong {
            self.violate(invariant, what);
        }
    }

    /// Whoever was taken out of a group for good is in none by that any more.
    fn check_taken_out(&mut self, user: usize, group: usize, revision: u64) {
        // It may have been put in again since, and taken out, of which this fence says nothing.
        if self.log.is_behind(&Key::Lasting(user, group), revision) {
            return;
        }
        let is_left_in = |at: usize| {
            let node = &self.nodes[at];
            node.joint.clock.set(self.now);
            let mut members = node.hub.of_user(&self.users[user]).into_iter();
            let membership = (self.groups[group].clone(), Origin::Lasting);
            node.alive && node.joint.serves() && members.any(|one| one.memberships().contains(&membership))
        };
        if let Some(at) = (0..self.nodes.len()).find(|at| is_left_in(*at)) {
            let invariant = if self.nodes[at].joint.serves_without { 8 } else { 1 };
            let what = format!("{at} has user {user} in group {group}, which ended at revision {revision}");
            self.violate(invariant, what);
        }
    }

    /// Who is forbidden by what stands is nowhere.
    pub(crate) fn check_forbidden_users(&mut self) {
        let mut still = None;
        for (number, client) in self.clients.iter().enumerate().filter(|(_, client)| client.seat.is_some()) {
            let is_out = self.log.standing().any(|(key, value)| match (key, value) {
                (Key::UserBan(user), _) => *user == client.user,
                (Key::SignOut(user), Value::SignedOut(moment)) => {
                    *user == client.user && client.token.issued <= *moment
                }
                _ => false,
            });
            if is_out {
                still.get_or_insert(format!("client {number} of user {} is still there", client.user));
            }
        }
        if let Some(what) = still {
            self.violate(1, what);
        }
    }

    /// Every node has in force what stands, and nothing else, whatever it has come through.
    pub(crate) fn check_doors(&mut self) {
        let (mut bans, mut users, mut signed_out, mut lasting) =
            (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        for (key, value) in self.log.standing() {
            match (key, value) {
                (Key::Ban(user, group), _) => drop(bans.insert((*user, *group))),
                (Key::UserBan(user), _) => drop(users.insert(*user)),
                (Key::SignOut(user), Value::SignedOut(moment)) => drop(signed_out.insert(*user, *moment)),
                (Key::Lasting(user, group), _) => drop(lasting.insert((*user, *group))),
                _ => {}
            }
        }
        let differs = |at: &usize| {
            let door = &self.nodes[*at].door;
            door.bans.lock().unwrap().iter().copied().collect::<BTreeSet<_>>() != bans
                || *door.users.lock().unwrap() != users
                || *door.sign_outs.lock().unwrap() != signed_out
                || *door.lasting.lock().unwrap() != lasting
        };
        if let Some(at) = (0..self.nodes.len()).find(|at| self.nodes[*at].alive && differs(at)) {
            self.violate(11, format!("{at} has something else in force than what stands"));
        }
    }
}
