//! What the hub here wants of others, and has them get: topics, publications, counts, questions.
//!
//! In: what the hub and whoever uses the cluster say. Out: messages, proofs and tickets. Invariant: publications to a
//! node go in the order in which they were made (promise 4).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fanfare_hub::{NoWay, Outgoing, Proof, Ticket, Topic};
use fanfare_protocol::Target;

use super::Node;
use crate::id::{NodeId, Places};
use crate::topic::TopicNumber;
use crate::wire::{self, Heading, Message};

/// What the hub here wants and publishes.
impl Node {
    /// Somebody here is reached by a topic from now on. Gives what to wait for, where others may not send yet what is
    /// for it. [`Node::flush`] tells them.
    pub fn wants(&mut self, topic: Topic<'_>) -> Option<Arc<Proof>> {
        self.own.want(topic, self.others.here())
    }

    /// The last whom a topic reached has gone.
    pub fn left(&mut self, topic: Topic<'_>, now: Instant) {
        self.own.left(topic, now);
    }

    /// Tells the others what is wanted, watched and occupied, and was not told yet.
    pub fn flush(&mut self, now: Instant) {
        if self.own.has_pending() {
            let tell = self.own.flush(now, self.others.here());
            self.tell(tell);
        }
        if self.watching.has_pending() {
            let say = self.watching.flush(now, self.others.here());
            self.say_what_is_watched(say);
        }
        self.notify(now);
    }

    /// Has messages reach whoever is on other nodes. Gives what their count will be known by, where it is wanted and
    /// there may be somebody.
    ///
    /// # Errors
    /// [`NoWay`] where there may be somebody, and nothing can be sent, or this node has said that it goes; a node that
    /// serves without the others sends all the same, until it goes.
    pub fn publish(&mut self, outgoing: &Outgoing<'_>, now: Instant) -> Result<Option<Ticket>, NoWay> {
        // A process that stood still may send before it ticks, by wishes that do not count any more.
        self.review(now);
        let mut places = Places::default();
        for target in outgoing.to {
            places = places.with(match target {
                Target::All => self.others.here(),
                Target::Group(group) => self.others.wanting(TopicNumber::of(Topic::Group(group))),
                Target::User(user) => self.others.wanting(TopicNumber::of(Topic::User(user))),
                Target::Connection(id) => {
                    let mut there = Places::default();
                    self.places.get(&NodeId::of(id)).into_iter().for_each(|place| there.insert(*place));
                    there
                }
            });
        }
        // Whoever serves without the others counts what they miss.
        let is_open = self.settings.serves_without || self.bus.is_open();
        if !places.is_empty() && (self.has_left || !is_open) {
            return Err(NoWay);
        }
        let long = outgoing.messages.len() as u64;
        self.made += long;
        if places.is_empty() {
            return Ok(None);
        }
        let ticket = outgoing.counts.then(|| self.tallies.next());
        let has_room = ticket.is_some_and(|(_, has_room)| has_room);
        let number = ticket.filter(|_| has_room).map_or(0, |(number, _)| number.get());
        let Outgoing { from, to, except, messages, lane, .. } = *outgoing;
        let body = wire::publication(number, from, to, except, messages, lane);
        let (mut waiting, mut silent) = (Places::default(), Vec::new());
        for place in places.iter() {
            let Some(id) = self.peer(place).map(|peer| peer.id) else { continue };
            let published = self.links.entry(id).or_default().outbound.next(long);
            let message = wire::encode_publication(Heading { from: self.id, published }, &body);
            self.counts.published += 1;
            if self.bus.send(id, message) && has_room {
                waiting.insert(place);
            } else {
                self.counts.unsent += u64::from(ticket.is_none() || has_room);
                silent.push(id);
            }
        }
        let until = now + self.settings.counting;
        Ok(ticket.map(|(number, _)| self.tallies.begin(number, waiting, silent, until)))
    }

    /// So many copies were queued here of what a node published.
    pub fn counted(&mut self, to: NodeId, ticket: u64, copies: u64) {
        if let Some(place) = self.places.get(&to).copied()
            && ticket != 0
        {
            self.say(place, &Message::Counted { ticket, copies });
        }
    }

    /// Asks a node, or all of them. It ends when each has answered or gone, at the latest at `until`.
    pub fn ask(&mut self, whom: Option<NodeId>, body: &Bytes, until: Instant) -> Ticket {
        let (question, has_room) = self.tallies.next();
        let asked: Vec<usize> = match whom {
            None => self.known().collect(),
            Some(id) => self.places.get(&id).copied().into_iter().collect(),
        };
        let (mut waiting, mut silent) = (Places::default(), Vec::new());
        if let Some(id) = whom.filter(|_| asked.is_empty()) {
            silent.push(id);
        }
        for place in asked {
            let Some(id) = self.peer(place).map(|peer| peer.id) else { continue };
            let published = self.links.get(&id).map_or(0, |link| link.outbound.published());
            let message = Message::Ask { question: question.get(), body: body.clone() };
            let message = wire::encode(Heading { from: self.id, published }, &message);
            if has_room && self.bus.send(id, message) {
                waiting.insert(place);
            } else {
                silent.push(id);
            }
        }
        self.tallies.begin(question, waiting, silent, until)
    }

    /// Answers a node's question; `None`: it is not known here.
    pub fn answer(&mut self, to: NodeId, question: u64, body: Option<Bytes>) {
        let Some(place) = self.places.get(&to).copied() else { return };
        let message = match body {
            Some(body) => Message::Answer { question, body },
            None => Message::NotKnown { question },
        };
        self.say(place, &message);
    }
}
