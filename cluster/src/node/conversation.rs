//! What nodes say to each other: who is there, what each wants, what arrives and what does not.
//!
//! In: messages. Out: messages, effects. Invariant: of what a node published, whatever does not arrive is told, also
//! what was not sent because this node had been given up (promise 18).

use std::time::Instant;

use bytes::Bytes;

use super::{Effect, LeftOver, Link, MOST_LINKS, Node, Parting};
use crate::id::NodeId;
use crate::link::Followed;
use crate::own::Tell;
use crate::peer::Peer;
use crate::wire::{self, Arrived, Heading, Message, WireError};

/// Other nodes.
impl Node {
    /// The place of a node, which is new where there was none. `None` where there is no room, or it has left.
    pub(super) fn meet(&mut self, id: NodeId, now: Instant) -> Option<usize> {
        if let Some(place) = self.places.get(&id) {
            return Some(*place);
        }
        if self.links.get(&id).is_some_and(|link| link.has_left) {
            return None;
        }
        let place = self.peers.iter().position(Option::is_none)?;
        // Where it has started meanwhile, and what this node had left was taken out, it does not know yet that there is
        // anybody here to send to.
        let is_unsure = self.is_away(now) && !self.links.contains_key(&id);
        *self.peers.get_mut(place)? = Some(Peer::new(id, now));
        self.places.insert(id, place);
        // What was published meanwhile did not go to it, though somebody there may have waited for it: it is missed.
        let known = if self.has_lease { self.made } else { self.made_with_lease };
        let link = self.links.entry(id).or_insert(Link { made: known, is_unsure, ..Link::default() });
        link.outbound.pass(self.made - link.made);
        link.made = self.made;
        if let (Some(left_over), Some(peer)) = (self.left_over.remove(&id), self.peer_mut(place)) {
            (peer.heartbeat, peer.revision) = (left_over.heartbeat, left_over.revision);
        }
        for fence in &mut self.fences {
            fence.came(id, self.in_force);
        }
        self.begin(place);
        self.effects.push(Effect::Came(id));
        self.ask_for_wishes(place, now);
        // If it was there before, it has reported, and was forgotten.
        self.answer_report(id, now);
        Some(place)
    }

    /// A node has gone.
    pub(super) fn part(&mut self, place: usize, how: Parting, now: Instant) {
        let Some(peer) = self.peers.get_mut(place).and_then(Option::take) else { return };
        self.places.remove(&peer.id);
        self.is_sure_of(peer.id);
        self.others.end(place);
        self.own.gone(place);
        self.tallies.gone(place, peer.id);
        self.watching.gone(place);
        self.notices.part(peer.id, now);
        if let Some(link) = self.links.get_mut(&peer.id) {
            (link.has_left, link.made) = (how == Parting::Bye, self.made);
        }
        // What it took before it went may have gone with it, or got lost on its way, and nobody will say any more how
        // much that was. Who says that it goes says how much it had sent.
        match how {
            Parting::GivenUp if self.began.is_some_and(|began| peer.was_there(began)) => {
                self.miss(peer.id, 1);
            }
            Parting::Deleted if self.may_have_been_known_to(&peer, now) => {
                _ = self.goodbyes.insert(peer.id, now);
            }
            _ => _ = self.goodbyes.remove(&peer.id),
        }
        if how == Parting::GivenUp {
            self.fences.iter_mut().for_each(|fence| fence.given_up(&peer, now));
            if peer.revision > 0 {
                let Peer { revision, heartbeat, heard, .. } = peer;
                let left_over = LeftOver { revision, since: now, heartbeat, heard, forgotten: None };
                self.left_over.insert(peer.id, left_over);
            }
        }
        if self.links.len() > MOST_LINKS {
            // Nodes that are there keep theirs. Of the others none that is alive is forgotten, but after thousands that
            // have died since.
            let places = &self.places;
            self.links.retain(|id, _| places.contains_key(id));
        }
        self.effects.push(Effect::Went(peer.id));
    }

    /// Whether a node that has gone may have published for somebody here. It has said that it knew of this one; or it
    /// has had the time for it, and what it said last may have been passed over, because its end took the place of
    /// that.
    fn may_have_been_known_to(&self, peer: &Peer, now: Instant) -> bool {
        let long = self.settings.heartbeat * 2;
        peer.knew(self.first_beat.map(|(revision, _)| revision))
            || self.first_beat.is_some_and(|(_, at)| now >= at + long)
                && self.began.is_some_and(|began| peer.was_there(began))
    }

    pub(super) fn say(&self, place: usize, message: &Message) {
        // What is not said is said again, or told by what comes next.
        let _ = self.try_say(place, message);
    }

    /// Tells whether it is on its way.
    pub(super) fn try_say(&self, place: usize, message: &Message) -> bool {
        let Some(to) = self.peer(place).map(|peer| peer.id) else { return false };
        let published = self.links.get(&to).map_or(0, |link| link.outbound.published());
        self.bus.send(to, wire::encode(Heading { from: self.id, published }, message))
    }

    pub(super) fn tell(&mut self, what: Vec<Tell>) {
        for tell in what {
            match tell {
                Tell::Want(places, batch, topics) => {
                    for place in places.iter() {
                        let session = self.own.session(place);
                        self.say(place, &Message::Want { session, batch, topics: topics.clone() });
                    }
                }
                Tell::Unwant(places, batch, topics) => {
                    for place in places.iter() {
                        let session = self.own.session(place);
                        self.say(place, &Message::Unwant { session, batch, topics: topics.clone() });
                    }
                }
                Tell::Whole(place, session) => self.say(place, &Message::Whole { session }),
            }
        }
    }

    /// Says to all that this node goes: nobody waits for it any more, and nothing is published any more, because nobody
    /// would hear it.
    pub fn leave(&mut self) {
        self.has_left = true;
        self.known().for_each(|place| self.say(place, &Message::Bye));
    }

    /// Something has arrived.
    pub fn message(&mut self, bytes: &Bytes, now: Instant) {
        let (heading, message) = match wire::decode(bytes) {
            Ok(decoded) => decoded,
            Err(WireError::Malformed(_) | WireError::Version(_)) => {
                self.counts.foreign += 1;
                return;
            }
            Err(WireError::Unknown { from, published, question, .. }) => {
                self.counts.unknown += 1;
                if let Some(place) = self.hear(Heading { from, published }, now) {
                    self.follow(from, published);
                    if let Some(question) = question {
                        self.say(place, &Message::NotKnown { question });
                    }
                }
                return;
            }
        };
        let Heading { from, published } = heading;
        if message == Message::Bye
            && !self.places.contains_key(&from)
            && self.goodbyes.remove(&from).is_some()
        {
            // Its entry was taken out behind this, and was here before.
            self.links.entry(from).or_default().has_left = true;
            return self.follow(from, published);
        }
        let Some(place) = self.hear(heading, now) else { return };
        if let Message::Publish { ticket, publication } = message {
            return self.arrive(from, published, ticket, publication);
        }
        self.follow(from, published);
        match message {
            Message::Publish { .. } => {}
            Message::Counted { ticket, copies } => self.tallies.counted(place, ticket, copies),
            Message::Want { session, batch, topics } => {
                if self.is_current(place, session) {
                    topics.into_iter().for_each(|topic| self.others.want(place, topic));
                }
                self.say(place, &Message::Wanted { batch });
            }
            Message::Wanted { batch } => {
                let tell = self.own.answered(place, batch);
                self.tell(tell.into_iter().collect());
            }
            Message::Unwant { session, batch, topics } => {
                if self.is_current(place, session) {
                    topics.into_iter().for_each(|topic| self.others.unwant(place, topic));
                }
                self.say(place, &Message::Wanted { batch });
            }
            Message::Hello { session, lease } => {
                if let Some(peer) = self.peer_mut(place) {
                    peer.lease_from = peer.lease_from.max(lease);
                }
                let tell = self.own.tell_all(place, session, now);
                self.tell(tell);
            }
            Message::Whole { session } => {
                if self.is_current(place, session) {
                    self.others.heard_all(place);
                }
            }
            Message::InForce { revision } | Message::Ping { revision } => {
                if let Some(peer) = self.peer_mut(place) {
                    peer.in_force = peer.in_force.max(revision);
                }
                self.look_at_fences(now);
            }
            Message::Bye => self.part(place, Parting::Bye, now),
            Message::Ask { question, body } => self.effects.push(Effect::Asked { from, question, body }),
            Message::Answer { question, body } => self.tallies.answered(place, from, question, Some(body)),
            Message::NotKnown { question } => self.tallies.answered(place, from, question, None),
            Message::Report(report) => self.hear_report((place, from), &report, now),
            Message::Reported(reported) => self.hear_answer(from, &reported, now),
            presence @ (Message::Watch { .. } | Message::Present { .. } | Message::Heard { .. }) => {
                self.hear_of_presence((place, from), presence, now);
            }
        }
    }

    /// Whether something was said after the newest `Hello`. What was said before does not count: all of it that is
    /// still so is said again, and until it is, that node is sent everything.
    pub(super) fn is_current(&self, place: usize, session: u64) -> bool {
        self.peer(place).is_some_and(|peer| peer.session == session)
    }

    pub(super) fn hear(&mut self, heading: Heading, now: Instant) -> Option<usize> {
        if heading.from == self.id {
            self.counts.foreign += 1;
            return None;
        }
        let place = self.meet(heading.from, now)?;
        if let Some(peer) = self.peer_mut(place) {
            peer.heard = Some(now);
        }
        self.is_sure_of(heading.from);
        Some(place)
    }

    /// From here on a node sends what somebody here may want, or has gone. What it did not send before is missed.
    fn is_sure_of(&mut self, id: NodeId) {
        if self.links.get_mut(&id).is_some_and(|link| std::mem::take(&mut link.is_unsure)) {
            self.miss(id, 1);
        }
    }

    pub(super) fn follow(&mut self, from: NodeId, published: u64) {
        let missed = self.links.entry(from).or_default().inbound.other(published);
        self.miss(from, missed);
    }

    pub(super) fn miss(&mut self, from: NodeId, missed: u64) {
        if missed > 0 {
            self.counts.missed = self.counts.missed.saturating_add(missed);
            self.effects.push(Effect::Missed(from, missed));
        }
    }

    pub(super) fn arrive(&mut self, from: NodeId, number: u64, ticket: u64, publication: Arrived) {
        let long = publication.messages.len() as u64;
        match self.links.entry(from).or_default().inbound.publication(number, long) {
            Followed::Late => self.counts.late += 1,
            Followed::Behind(missed) => {
                self.miss(from, missed);
                self.counts.arrived += 1;
                self.effects.push(Effect::Deliver { from, ticket, publication });
            }
        }
    }
}
