//! What was decided, as it comes out of the log: heartbeats, the node's own and others', and decisions; and the fences
//! that wait for them.
//!
//! In: entries, and that there is nothing behind them. Out: the lease, nodes that are met and given up, effects of
//! fences. Invariant: nothing that follows from the log as a whole is said before everything of it is known (promise
//! 19).

use std::time::Instant;

use super::{Effect, LeftOver, Node, Parting};
use crate::fence::{Fence, Standing};
use crate::id::NodeId;
use crate::peer::Heartbeat;
use crate::wire::Message;

/// What was decided. Entries are handed in one after the other, and [`Node::caught_up`] is said whenever there is
/// nothing more behind.
impl Node {
    /// A heartbeat has come back by way of the decisions, or another node's has come; `None` where it was deleted.
    pub fn heartbeat(&mut self, id: NodeId, heartbeat: Option<Heartbeat>, revision: u64, now: Instant) {
        self.handed_in = self.handed_in.max(revision);
        if id == self.id {
            if let Some(heartbeat) = heartbeat {
                self.first_beat.get_or_insert((revision, now));
                self.lease.seen(heartbeat.number, revision);
            } else {
                // Others take it for gone, and wait for it no more. It is there again by its next heartbeat.
                self.lease.end();
                self.review(now);
            }
        } else if let Some(heartbeat) = heartbeat {
            if self.is_predecessors(id, revision, now) {
                return;
            }
            let place = self.meet(id, now);
            match place {
                Some(_) => _ = self.without_room.remove(&id),
                None => _ = self.without_room.insert(id, now),
            }
            if let Some(peer) = place.and_then(|place| self.peer_mut(place)) {
                peer.in_force = peer.in_force.max(heartbeat.in_force);
                peer.without = if heartbeat.holds { 0 } else { peer.without.saturating_add(1) };
                peer.heartbeat = Some(heartbeat);
                // A watch that is made anew gives again what a node has left.
                peer.beats = peer.beats.saturating_add(u32::from(revision > peer.revision));
                peer.revision = revision;
                peer.seen = now;
            }
        } else {
            let left_over = self.left_over.remove(&id);
            if left_over.and_then(|left| left.heartbeat).is_some_and(|heartbeat| heartbeat.serves_without) {
                // What it sent when it was cut off it would have told of when it was back.
                self.miss(id, 1);
            }
            self.predecessor = self.predecessor.filter(|dead| *dead != id);
            self.without_room.remove(&id);
            let place = self.places.get(&id).copied();
            if place.is_none() && self.is_away(now) {
                // It may have come, published and gone meanwhile.
                self.miss(id, 1);
            }
            if let Some(place) = place
                && self.peer(place).is_some_and(|peer| peer.lease_from < revision)
            {
                self.part(place, Parting::Deleted, now);
            }
        }
    }

    /// A node that is dead for certain, because this one has what only one node has at a time: its state. Nobody here
    /// waits for it, and what it has left among the decisions is taken out, also where it served without the cluster.
    pub fn succeed(&mut self, dead: Option<NodeId>) {
        self.predecessor = dead.filter(|dead| *dead != self.id);
    }

    /// Whether what the node has left whose state this one has is not there any more; known when everything is.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        self.predecessor.is_none_or(|dead| !self.left_over.contains_key(&dead))
    }

    /// Whether this is what the node has left whose state this one has.
    fn is_predecessors(&mut self, id: NodeId, revision: u64, now: Instant) -> bool {
        if self.predecessor != Some(id) {
            return false;
        }
        let is_newer = self.left_over.get(&id).is_some_and(|left| revision > left.revision);
        // What is read at the start may have more than the newest of each key.
        let goes_on = is_newer && self.began.is_some();
        if goes_on || self.places.contains_key(&id) {
            // It is there all the same: it puts more, or was heard.
            self.predecessor = None;
            return false;
        }
        let left = LeftOver { revision, since: now, heartbeat: None, heard: None, forgotten: None };
        self.left_over.insert(id, left);
        true
    }

    /// A decision with this revision is in force here.
    pub fn applied(&mut self, revision: u64) {
        self.handed_in = self.handed_in.max(revision);
        self.carried_out = self.carried_out.max(revision);
    }

    /// An entry that decides nothing for anybody has come: nobody waits for its being in force.
    pub fn noted(&mut self, revision: u64) {
        self.handed_in = self.handed_in.max(revision);
    }

    /// There is nothing in the log at this moment behind what was handed in, so that it is known as it is.
    ///
    /// Before that, it is not: a log that keeps the newest entry of each key passes over a decision, or a node's
    /// heartbeat, that another has taken the place of since, and gives that later. So neither is everything in force up
    /// to what was handed in, nor is a node without a lease whose heartbeat was not there.
    pub fn caught_up(&mut self, now: Instant) {
        // Where the lease had ended meanwhile, it has ended, and begins anew.
        self.review(now);
        self.in_force = self.handed_in;
        self.began.get_or_insert(self.handed_in);
        self.lease.caught_up();
        self.review(now);
        self.give_up(now);
        if self.carried_out > self.told {
            self.told = self.in_force;
            let revision = self.in_force;
            self.known().for_each(|place| self.say(place, &Message::InForce { revision }));
        }
        self.look_at_fences(now);
    }

    /// Has it told how the nodes stand to a decision that was made at `decided`: when each is known, at the latest at
    /// `until`. Gives what the effect is known by.
    pub fn fence(&mut self, revision: u64, decided: Instant, until: Instant, now: Instant) -> u64 {
        self.last_fence += 1;
        let serving =
            self.lost().into_iter().map(|lost| (lost.id, lost.heartbeat.name, Standing::ServesWithout));
        self.fences.push(Fence::new(self.last_fence, revision, (decided, until), serving.collect()));
        self.look_at_fences(now);
        self.last_fence
    }

    pub(super) fn look_at_fences(&mut self, now: Instant) {
        let Self { id, name, in_force, fences, peers, effects, .. } = self;
        let own = (*id, name.as_str(), *in_force);
        fences.retain_mut(|fence| {
            fence.look(own, peers.iter().flatten(), now);
            let ended = fence.ended(own, peers.iter().flatten(), now);
            let goes_on = ended.is_none();
            effects.extend(ended.map(|fenced| Effect::Fenced(fence.number, fenced)));
            goes_on
        });
    }
}
