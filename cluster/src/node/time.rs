//! What is due: heartbeats, what is said again, the end of the lease, and of whom nothing comes any more.
//!
//! In: time. Out: effects and messages. Invariant: with its lease a node loses all that it knew of the others' wishes,
//! and asks anew only when it has it again (promise 18).

use std::time::Instant;

use super::{Effect, Node, Parting};
use crate::peer::Heartbeat;
use crate::wire::Message;

/// Time.
impl Node {
    /// Does what is due. To be called ten times a second.
    pub fn tick(&mut self, now: Instant) {
        self.review(now);
        if self.beaten.is_none_or(|last| now >= last + self.settings.heartbeat) {
            self.beaten = Some(now);
            let number = self.lease.send(now);
            let (connections, users, groups) = self.population;
            self.effects.push(Effect::Beat(Heartbeat {
                number,
                name: self.name.clone(),
                version: self.version.clone(),
                lease_ms: u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX),
                serves_without: self.settings.serves_without,
                in_force: self.in_force,
                connections,
                users,
                groups,
                notifies: self.settings.notifies,
                holds: self.has_lease,
                claims_over: self.duty.over(),
                time_ms: 0,
            }));
        }
        self.give_up(now);
        self.claim_duty(now);
        self.flush(now);
        if self.pinged.is_none_or(|last| now >= last + self.settings.heartbeat) {
            self.pinged = Some(now);
            let revision = self.in_force;
            self.known().for_each(|place| self.say(place, &Message::Ping { revision }));
        }
        for place in self.known() {
            self.ask_for_wishes(place, now);
        }
        let tell = self.own.tick(now, self.others.here());
        self.tell(tell);
        let say = self.watching.tick(now, self.others.here());
        self.say_what_is_watched(say);
        let (overdue, tell) = self.own.overdue(now, self.others.here());
        self.tell(tell);
        self.effects.extend(overdue.into_iter().map(|(topic, proof)| Effect::Remove(topic, proof)));
        let peers = &self.peers;
        self.tallies.tick(now, |place| peers.get(place).and_then(Option::as_ref).map(|peer| peer.id));
        self.look_at_fences(now);
        let wait = self.settings.heartbeat * 2;
        let silent = self.goodbyes.extract_if(|_, since| now >= *since + wait);
        let silent: Vec<_> = silent.map(|(id, _)| id).collect();
        silent.into_iter().for_each(|id| self.miss(id, 1));
        let lease = self.settings.lease;
        let (effects, left_over) = (&mut self.effects, &mut self.left_over);
        for (id, left_over) in left_over {
            // What one does that serves without is not known as long as it is not back. What others have left is known
            // until it is seen to be gone: a watch that is made anew gives it again. It is taken out at once, because
            // who starts behind that does not know how old it is, and would wait for a node that is dead.
            let serves = left_over.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.serves_without);
            if !serves && left_over.forgotten.is_none_or(|last| now >= last + lease) {
                left_over.forgotten = Some(now);
                effects.push(Effect::Forget(*id, left_over.revision));
            }
        }
    }

    /// Notices that the lease has ended, or is there.
    pub(super) fn review(&mut self, now: Instant) {
        // Whoever knows of more nodes than there are places for begins to serve when some of them have gone: to one
        // without a place nothing goes, so that it must not count on anything.
        let holds = self.lease.holds(now) && (self.has_lease || self.without_room.is_empty());
        if holds == self.has_lease {
            return;
        }
        self.has_lease = holds;
        if !holds {
            self.made_with_lease = self.made;
            self.lose_duty();
        }
        // Who has given this node up waits for none of its answers any more, so that its wishes may have changed. What
        // it told before the lease is back may be what it did not withdraw later.
        self.known().for_each(|place| self.begin(place));
        self.effects.push(Effect::Lease(holds));
        self.known().for_each(|place| self.ask_for_wishes(place, now));
    }

    /// Whether it had the lease and lost it, so that others may have given it up and published without it.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        !(self.has_lease && self.lease.holds(now)) && self.lease.anchor().is_some()
    }

    /// Gives up who cannot have had the lease all the time.
    pub(super) fn give_up(&mut self, now: Instant) {
        let (anchor, in_force) = (self.lease.anchor(), self.in_force);
        let long = self.settings.lease + self.settings.margin;
        self.without_room.retain(|_, seen| anchor.is_none_or(|anchor| anchor <= *seen + long));
        for place in self.known() {
            let peer = self.peer(place);
            if peer.is_some_and(|peer| peer.has_lost_its_lease(anchor, in_force, &self.settings)) {
                self.part(place, Parting::GivenUp, now);
            }
        }
    }

    /// What is known of a node's wishes is worth nothing any more. It is asked under a number that it has never been
    /// asked under: else it would answer that it has said everything.
    pub(super) fn begin(&mut self, place: usize) {
        self.last_session += 1;
        let session = self.last_session;
        self.others.begin(place);
        if let Some(peer) = self.peer_mut(place) {
            (peer.session, peer.asked) = (session, None);
        }
    }

    /// Only with the lease: whoever gives this node up because it has lost one, counts on its asking after that. Until
    /// then it sends everything to everybody.
    pub(super) fn ask_for_wishes(&mut self, place: usize, now: Instant) {
        if self.others.is_heard(place) || !self.has_lease {
            return;
        }
        let lease = self.lease.revision();
        let again = self.settings.again;
        let Some(peer) = self.peer_mut(place) else { return };
        let session = peer.session;
        let pause = match peer.asked {
            Some((last, pause)) if now < last + pause => return,
            Some((_, pause)) => (pause * 2).min(again * 10),
            None => again,
        };
        peer.asked = Some((now, pause));
        self.say(place, &Message::Hello { session, lease });
    }
}
