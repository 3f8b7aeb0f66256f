//! What operators and back ends decide for all nodes: how it is put into the log, how it comes into force on a node,
//! and the fence that is waited for then.
//!
//! In: operators' turns, answers of the log, and entries as a node sees them. Out: entries, acts on hubs, fences.
//! Invariant: as in a server, a decision is put over what its node knows of the same and over nothing else; and it is
//! in force for whoever comes before anybody is put out for it.

use std::sync::Arc;

use fanfare_cluster::longest_fence;
use fanfare_hub::{Member, Removal};
use fanfare_protocol::Code;

use super::door::Token;
use super::event::Event;
use super::log::{Key, Value};
use super::node::OpenFence;
use super::time::MS;
use super::world::World;

/// How often a decision is put that somebody else was faster with, as in a server.
const ATTEMPTS: u8 = 5;

impl World {
    /// An operator or a back end decides something at some node.
    pub(crate) fn operate(&mut self) {
        let Some(at) = self.some_node().filter(|_| !self.is_resting) else { return };
        let (user, group) = (self.rng.usize(0..self.users.len()), self.rng.usize(0..self.groups.len()));
        let (key, value) = match self.rng.u8(..20) {
            0..8 => (Key::Ban(user, group), Value::Banned),
            8..12 => (Key::UserBan(user), Value::Banned),
            12..14 => (Key::SignOut(user), Value::SignedOut(self.now)),
            _ => (Key::Lasting(user, group), Value::Lasts),
        };
        // There are not many users, so that who is kept out is soon let in again.
        let is_known = self.nodes[at].revisions.contains_key(&key);
        let is_lifted = match key {
            Key::UserBan(_) if is_known => self.rng.u8(..4) > 0,
            Key::SignOut(_) => self.rng.u8(..5) == 0,
            _ => self.rng.u8(..3) == 0,
        };
        let value = if is_lifted { Value::Restored } else { value };
        // Somebody who does not know of it does the same at another node.
        if self.rng.u8(..6) == 0
            && let Some(other) = self.some_node()
        {
            let after = self.rng.u64(0..20 * MS);
            self.later(
                after,
                Event::Decide { at: other, key: key.clone(), value: value.clone(), attempt: 1 },
            );
        }
        self.decide(at, key, value, 1);
    }

    /// A node puts a decision into the log.
    pub(crate) fn decide(&mut self, at: usize, key: Key, mut value: Value, attempt: u8) {
        let node = &self.nodes[at];
        if let (Key::SignOut(user), Value::SignedOut(moment)) = (&key, &mut value)
            && (attempt == 1 || !self.options.keeps_moment)
        {
            let now = if attempt == 1 { self.now } else { *moment };
            // What another one refuses is not let in again by this one.
            let known = node.door.sign_outs.lock().unwrap().get(user).copied();
            *moment = known.unwrap_or_default().max(now);
        }
        let over = node.revisions.get(&key).copied().unwrap_or_default();
        self.trace(|| format!("{at}: {key:?} is put as {value:?} over {over}"));
        self.put(at, key, value, Some(over), attempt);
    }

    /// Something is on its way into the log.
    pub(crate) fn put(&mut self, from: usize, key: Key, value: Value, over: Option<u64>, attempt: u8) {
        if self.net.reaches_log(from) {
            let at = self.net.put(from, self.now, &mut self.rng);
            self.at(at, Event::Put { from, key, value, over, attempt });
        }
    }

    pub(crate) fn append(&mut self, from: usize, key: Key, value: Value, over: Option<u64>, attempt: u8) {
        // What was on its way when it was cut may have come through.
        if !self.net.reaches_log(from) && self.rng.bool() {
            return;
        }
        let is_claim = key == Key::Duty;
        let before = self.log.held();
        let revision = self.log.append(key.clone(), value.clone(), over);
        if attempt > 0 {
            self.trace(|| format!("log: {key:?}: {value:?} has revision {revision:?}"));
        }
        if revision.is_some() {
            // Somebody has the duty who took it from somebody.
            self.is_unsure |= before && self.log.held() && is_claim;
            if value == Value::Restored {
                self.may_again(&key);
            }
        }
        if attempt > 0 && self.net.reaches_log(from) {
            let after = self.net.answer(from, &mut self.rng);
            self.later(after, Event::Answered { at: from, key, value, attempt, revision });
        }
        if revision.is_some() {
            (0..self.nodes.len()).for_each(|at| self.pump_later(at));
        }
    }

    /// The log has answered an operator.
    pub(crate) fn answered(&mut self, at: usize, key: Key, value: Value, attempt: u8, revision: Option<u64>) {
        let Some(revision) = revision else {
            self.counts.again += 1;
            if attempt < ATTEMPTS {
                // What the other one has decided is waited for, but not for long.
                let after = self.rng.u64(MS..500 * MS);
                self.later(after, Event::Decide { at, key, value, attempt: attempt + 1 });
            }
            return;
        };
        let now = self.nodes[at].local();
        let until = now + longest_fence(&self.settings);
        let number = self.nodes[at].joint.node.lock().unwrap().fence(revision, now, until, now);
        self.trace(|| format!("{at}: fence {number} for revision {revision}"));
        if self.options.ack_is_fence {
            self.close_fence(at, &key, &value, revision);
        }
        self.nodes[at].fences.insert(number, OpenFence { key, value, revision, until });
        self.settle(at);
    }

    /// What was decided comes into force on a node.
    pub(crate) fn put_in_force(&mut self, at: usize, key: Key, value: &Value, revision: u64) {
        self.trace(|| format!("{at}: {key:?} comes into force as {value:?} of revision {revision}"));
        let (hub, door) = (Arc::clone(&self.nodes[at].hub), Arc::clone(&self.nodes[at].door));
        match (&key, value) {
            (Key::Ban(user, group), Value::Banned) => {
                let (ban, name) = ((*user, *group), self.groups[*group].clone());
                let why = Removal { code: Code::BannedFromGroup, reason: "banned" };
                let forbid = || {
                    door.bans.lock().unwrap().insert(ban);
                };
                let _ = hub.revoke(&self.users[*user], forbid, |group| *group == name, why);
                for client in self.clients.iter_mut().filter(|one| one.at == at && one.user == *user) {
                    client.own.remove(group);
                }
            }
            (Key::Ban(user, group), _) => {
                if door.bans.lock().unwrap().remove(&(*user, *group)) {
                    self.join_all(at, *user);
                }
            }
            (Key::UserBan(user), Value::Banned) => {
                door.users.lock().unwrap().insert(*user);
                self.close_all(at, *user, Code::UserBanned, |_| true);
            }
            (Key::UserBan(user), _) => {
                if door.users.lock().unwrap().remove(user) {
                    self.join_all(at, *user);
                }
            }
            (Key::SignOut(user), Value::SignedOut(since)) => {
                door.sign_outs.lock().unwrap().insert(*user, *since);
                self.close_all(at, *user, Code::SignedOut, |token| token.issued <= *since);
            }
            (Key::SignOut(user), _) => {
                if door.sign_outs.lock().unwrap().remove(user).is_some() {
                    self.join_all(at, *user);
                }
            }
            (Key::Lasting(user, group), Value::Lasts) => self.put_in(at, *user, *group),
            (Key::Lasting(user, group), _) => self.take_out(at, *user, *group),
            (Key::Node(_) | Key::Duty, _) => {}
        }
        let revisions = &mut self.nodes[at].revisions;
        match value {
            Value::Restored => drop(revisions.remove(&key)),
            _ => drop(revisions.insert(key, revision)),
        }
    }

    /// Closes those of a user's connections that are here by such tokens.
    fn close_all(&self, at: usize, user: usize, code: Code, is_meant: impl Fn(&Token) -> bool) {
        let hub = &self.nodes[at].hub;
        let mut members = hub.of_user(&self.users[user]);
        members.retain(|member: &Arc<Member<Token>>| is_meant(&member.permissions()));
        members.iter().for_each(|member| hub.close(member, code.into(), None));
    }
}
