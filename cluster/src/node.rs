//! A node: everything that it knows of the others, and what it says to them.
//!
//! In: what the hub here wants and publishes, what arrives from other nodes, what was decided (by revisions, one after
//! the other, and when that was all), and time. Out: messages, by the [`Bus`], in their order; [`Effect`]s for whoever has the hub. It never
//! waits, and reads no clock.
//!
//! Invariants:
//! - without the lease nothing is delivered that could be forbidden (promise 18): [`Node::lease_until`] says when it
//!   ends, and whoever delivers looks at that and at the time;
//! - a node that loses its lease trusts nothing of what it knew of the others' wishes, and asks anew: that is why a
//!   node that was given up need not be waited for (`others.rs`, `own.rs`);
//! - publications to a node go in the order in which they were made here (promise 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_hub::{Outgoing, Proof, Ticket, Topic};
use fanfare_protocol::Target;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::fence::{Fence, Fenced, Standing};
use crate::id::{MOST_PEERS, NodeId, Places};
use crate::lease::Lease;
use crate::link::{Followed, Inbound, Outbound};
use crate::others::Others;
use crate::own::{Own, Tell};
use crate::peer::{Heartbeat, Peer};
use crate::settings::Settings;
use crate::tally::{Tallied, Tallies};
use crate::topic::{TopicName, TopicNumber};
use crate::wire::{self, Arrived, Heading, Message, WireError};

/// So many nodes that have gone are remembered, by how far their messages had come.
const MOST_LINKS: usize = 4_096;

/// What carries messages to other nodes. What is sent to one arrives there in its order, or not at all.
pub trait Bus: Send {
    /// Sends a message to a node. Never waits. Tells whether it is on its way; where it is not, it never will be.
    fn send(&self, to: NodeId, message: Bytes) -> bool;
}

/// What a node asks of whoever runs it.
#[derive(Debug)]
pub enum Effect {
    /// This heartbeat is to be put among the decisions, under this node's key.
    Beat(Heartbeat),
    /// A node has been gone for long: what it left among the decisions can go, if it is still of this revision.
    Forget(NodeId, u64),
    /// Messages for whoever is here; where there is a ticket that is not 0, [`Node::counted`] is waited for.
    Deliver {
        /// Where they come from.
        from: NodeId,
        /// What the count is asked by.
        ticket: u64,
        /// The messages.
        publication: Arrived,
    },
    /// It could not be shown in time that what others send to this topic arrives: whoever is here by it is to be
    /// removed, or closed, and then the proof settled.
    Remove(TopicName, Arc<Proof>),
    /// So many publications of a node did not arrive.
    Missed(NodeId, u64),
    /// The lease is there from now on, or is not.
    Lease(bool),
    /// What came of a publication or a question on the other nodes.
    Tallied(Ticket, Tallied),
    /// A node asks something. It is to be answered by [`Node::answer`].
    Asked {
        /// Who asks.
        from: NodeId,
        /// The question's number.
        question: u64,
        /// The question.
        body: Bytes,
    },
    /// How the nodes stand to a decision.
    Fenced(u64, Fenced),
    /// A node is there.
    Came(NodeId),
    /// A node has gone, or lost its lease.
    Went(NodeId),
}

/// What a node counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Publications that went to another node; to two nodes is two.
    pub published: u64,
    /// Those that could not be sent.
    pub unsent: u64,
    /// Publications that arrived.
    pub arrived: u64,
    /// Publications that did not.
    pub missed: u64,
    /// Publications that came when they had been counted as missed, and were thrown away.
    pub late: u64,
    /// Messages on this node's subjects that no node had sent.
    pub foreign: u64,
    /// Messages of a kind that is not known here.
    pub unknown: u64,
}

/// A peer, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFacts {
    /// Its id.
    pub id: NodeId,
    /// Its newest heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// When that was seen.
    pub seen: Instant,
    /// When something last arrived from it directly.
    pub heard: Option<Instant>,
    /// Whether all that it wants is known here; until then it is sent everything.
    pub is_heard: bool,
    /// Publications of it that did not arrive here.
    pub missed: u64,
}

/// The two ways between this node and another.
#[derive(Debug, Default, Clone, Copy)]
struct Link {
    outbound: Outbound,
    inbound: Inbound,
    /// It has said that it goes: what still comes from it is not heard.
    has_left: bool,
    /// How many publications had been made here when it was given up.
    made: u64,
}

/// Why a node is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// It has said that it goes.
    Bye,
    /// Its heartbeat was taken out of what is decided.
    Deleted,
    /// Its lease has ended.
    GivenUp,
}

/// What a node that was given up has left among the decisions.
#[derive(Debug)]
struct LeftOver {
    /// The revision of its heartbeat.
    revision: u64,
    since: Instant,
    /// That.
    heartbeat: Option<Heartbeat>,
}

/// One node.
pub struct Node {
    id: NodeId,
    name: String,
    version: String,
    settings: Settings,
    bus: Box<dyn Bus>,
    lease: Lease,
    has_lease: bool,
    /// Of the peers' sessions, the newest.
    last_session: u64,
    beaten: Option<Instant>,
    pinged: Option<Instant>,
    /// The newest entry of the log that was handed in, of the decisions the newest that was carried out, and how much the
    /// others were told of.
    handed_in: u64,
    carried_out: u64,
    told: u64,
    /// Everything that was decided up to here is in force here.
    in_force: u64,
    peers: [Option<Peer>; MOST_PEERS],
    places: HashMap<NodeId, usize, RandomState>,
    links: HashMap<NodeId, Link, RandomState>,
    /// How many publications were made here, and how many of them while all who might have wanted them were known.
    made: u64,
    made_with_lease: u64,
    /// Nodes that left a heartbeat and have gone.
    left_over: HashMap<NodeId, LeftOver, RandomState>,
    others: Others,
    own: Own,
    tallies: Tallies,
    fences: Vec<Fence>,
    last_fence: u64,
    population: (u64, u64, u64),
    counts: Counts,
    effects: Vec<Effect>,
}

impl Node {
    /// A node that knows nobody, and has no lease.
    #[must_use]
    pub fn new(id: NodeId, name: String, version: String, settings: Settings, bus: Box<dyn Bus>) -> Self {
        Self {
            id,
            name,
            version,
            settings,
            bus,
            lease: Lease::new(settings.lease),
            has_lease: false,
            last_session: 0,
            beaten: None,
            pinged: None,
            handed_in: 0,
            carried_out: 0,
            told: 0,
            in_force: 0,
            peers: std::array::from_fn(|_| None),
            places: HashMap::default(),
            links: HashMap::default(),
            made: 0,
            made_with_lease: 0,
            left_over: HashMap::default(),
            others: Others::default(),
            own: Own::new(settings),
            tallies: Tallies::default(),
            fences: Vec::new(),
            last_fence: 0,
            population: (0, 0, 0),
            counts: Counts::default(),
            effects: Vec::new(),
        }
    }

    /// Which node it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What is to be done, in this order.
    pub fn effects(&mut self) -> Vec<Effect> {
        let done = self.tallies.done();
        self.effects.extend(done.into_iter().map(|(ticket, tallied)| Effect::Tallied(ticket, tallied)));
        std::mem::take(&mut self.effects)
    }

    /// Until when this node may deliver what could be forbidden. `None` where it never could. Where it serves without the
    /// cluster, whoever asks need not ask.
    #[must_use]
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease.until()
    }

    /// Everything that was decided up to this revision is in force here.
    #[must_use]
    pub fn in_force(&self) -> u64 {
        self.in_force
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many topics are wanted here, and how many elsewhere.
    #[must_use]
    pub fn topics(&self) -> (usize, usize) {
        (self.own.topics(), self.others.topics())
    }

    /// The other nodes, by their names.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerFacts> {
        let mut peers: Vec<(String, PeerFacts)> = self
            .known()
            .filter_map(|place| {
                let peer = self.peer(place)?;
                let missed = self.links.get(&peer.id).map_or(0, |link| link.inbound.missed());
                let facts = PeerFacts {
                    id: peer.id,
                    heartbeat: peer.heartbeat.clone(),
                    seen: peer.seen,
                    heard: peer.heard,
                    is_heard: self.others.is_heard(place),
                    missed,
                };
                Some((peer.name(), facts))
            })
            .collect();
        peers.sort_by(|(a, one), (b, other)| (a, one.id).cmp(&(b, other.id)));
        peers.into_iter().map(|(_, facts)| facts).collect()
    }

    /// What the next heartbeats say of how many connections, users and groups there are.
    pub fn has(&mut self, connections: u64, users: u64, groups: u64) {
        self.population = (connections, users, groups);
    }

    fn known(&self) -> impl Iterator<Item = usize> + use<> {
        self.others.here().iter()
    }

    fn peer(&self, place: usize) -> Option<&Peer> {
        self.peers.get(place).and_then(Option::as_ref)
    }

    fn peer_mut(&mut self, place: usize) -> Option<&mut Peer> {
        self.peers.get_mut(place).and_then(Option::as_mut)
    }
}

/// What was decided. Entries are handed in one after the other, and [`Node::caught_up`] is said whenever there is
/// nothing more behind.
impl Node {
    /// A heartbeat has come back by way of the decisions, or another node's has come; `None` where it was deleted.
    pub fn heartbeat(&mut self, id: NodeId, heartbeat: Option<Heartbeat>, revision: u64, now: Instant) {
        self.handed_in = self.handed_in.max(revision);
        if id == self.id {
            if let Some(heartbeat) = heartbeat {
                self.lease.seen(heartbeat.number, revision);
            }
        } else if let Some(heartbeat) = heartbeat {
            if let Some(place) = self.meet(id, now)
                && let Some(peer) = self.peer_mut(place)
            {
                peer.in_force = peer.in_force.max(heartbeat.in_force);
                peer.heartbeat = Some(heartbeat);
                peer.revision = revision;
                peer.seen = now;
            }
        } else {
            self.left_over.remove(&id);
            let place = self.places.get(&id).copied();
            if place.is_none() && self.is_away() {
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

    /// A decision with this revision is in force here.
    pub fn applied(&mut self, revision: u64) {
        self.handed_in = self.handed_in.max(revision);
        self.carried_out = self.carried_out.max(revision);
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

    /// Has it told how the nodes stand to a decision that was made just now: when each is known, at the latest at
    /// `until`. Gives what the effect is known by.
    pub fn fence(&mut self, revision: u64, now: Instant, until: Instant) -> u64 {
        self.last_fence += 1;
        let serving = self.left_over.iter().filter_map(|(id, left_over)| {
            let heartbeat = left_over.heartbeat.as_ref().filter(|heartbeat| heartbeat.serves_without)?;
            Some((*id, heartbeat.name.clone(), Standing::ServesWithout))
        });
        self.fences.push(Fence::new(self.last_fence, revision, (now, until), serving.collect()));
        self.look_at_fences(now);
        self.last_fence
    }

    fn look_at_fences(&mut self, now: Instant) {
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
            }));
        }
        self.give_up(now);
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
        let (overdue, tell) = self.own.overdue(now, self.others.here());
        self.tell(tell);
        self.effects.extend(overdue.into_iter().map(|(topic, proof)| Effect::Remove(topic, proof)));
        let peers = &self.peers;
        self.tallies.tick(now, |place| peers.get(place).and_then(Option::as_ref).map(|peer| peer.id));
        self.look_at_fences(now);
        let long = self.settings.lease * 10;
        let (effects, left_over) = (&mut self.effects, &mut self.left_over);
        left_over.retain(|id, left_over| {
            // What one does that serves without is not known as long as it is not back.
            let serves = left_over.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.serves_without);
            let stays = serves || now < left_over.since + long;
            if !stays {
                effects.push(Effect::Forget(*id, left_over.revision));
            }
            stays
        });
    }

    /// Notices that the lease has ended, or is there.
    fn review(&mut self, now: Instant) {
        let holds = self.lease.holds(now);
        if holds == self.has_lease {
            return;
        }
        self.has_lease = holds;
        if !holds {
            self.made_with_lease = self.made;
        }
        // Who has given this node up waits for none of its answers any more, so that its wishes may have changed. What it
        // told before the lease is back may be what it did not withdraw later.
        self.known().for_each(|place| self.begin(place));
        self.effects.push(Effect::Lease(holds));
        self.known().for_each(|place| self.ask_for_wishes(place, now));
    }

    /// Whether it had the lease and lost it, so that others may have given it up and published without it.
    fn is_away(&self) -> bool {
        !self.has_lease && self.lease.anchor().is_some()
    }

    /// Gives up who cannot have had the lease all the time.
    fn give_up(&mut self, now: Instant) {
        let (anchor, in_force) = (self.lease.anchor(), self.in_force);
        for place in self.known() {
            let peer = self.peer(place);
            if peer.is_some_and(|peer| peer.has_lost_its_lease(anchor, in_force, &self.settings)) {
                self.part(place, Parting::GivenUp, now);
            }
        }
    }

    /// What is known of a node's wishes is worth nothing any more. It is asked under a number that it has never been
    /// asked under: else it would answer that it has said everything.
    fn begin(&mut self, place: usize) {
        self.last_session += 1;
        let (session, is_away) = (self.last_session, self.is_away());
        self.others.begin(place);
        if let Some(peer) = self.peer_mut(place) {
            (peer.session, peer.asked) = (session, None);
            peer.in_doubt |= is_away;
        }
    }

    /// Only with the lease: whoever gives this node up because it has lost one, counts on its asking after that. Until
    /// then it sends everything to everybody.
    fn ask_for_wishes(&mut self, place: usize, now: Instant) {
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

/// Other nodes.
impl Node {
    /// The place of a node, which is new where there was none. `None` where there is no room, or it has left.
    fn meet(&mut self, id: NodeId, now: Instant) -> Option<usize> {
        if let Some(place) = self.places.get(&id) {
            return Some(*place);
        }
        if self.links.get(&id).is_some_and(|link| link.has_left) {
            return None;
        }
        let place = self.peers.iter().position(Option::is_none)?;
        *self.peers.get_mut(place)? = Some(Peer::new(id, now));
        self.places.insert(id, place);
        // What was published meanwhile did not go to it, though somebody there may have waited for it: it is missed.
        let known = if self.has_lease { self.made } else { self.made_with_lease };
        let link = self.links.entry(id).or_insert(Link { made: known, ..Link::default() });
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
        Some(place)
    }

    /// A node has gone.
    fn part(&mut self, place: usize, how: Parting, now: Instant) {
        let Some(peer) = self.peers.get_mut(place).and_then(Option::take) else { return };
        self.places.remove(&peer.id);
        self.others.end(place);
        self.own.gone(place);
        self.tallies.gone(place, peer.id);
        if let Some(link) = self.links.get_mut(&peer.id) {
            (link.has_left, link.made) = (how == Parting::Bye, self.made);
        }
        if peer.in_doubt && how != Parting::Bye {
            // Nobody will say any more how many there were.
            self.miss(peer.id, 1);
        }
        if how == Parting::GivenUp {
            self.fences.iter_mut().for_each(|fence| fence.given_up(&peer, now));
            if peer.revision > 0 {
                let left_over = LeftOver { revision: peer.revision, since: now, heartbeat: peer.heartbeat };
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

    fn say(&mut self, place: usize, message: &Message) {
        let Some(to) = self.peer(place).map(|peer| peer.id) else { return };
        let published = self.links.get(&to).map_or(0, |link| link.outbound.published());
        self.bus.send(to, wire::encode(Heading { from: self.id, published }, message));
    }

    fn tell(&mut self, what: Vec<Tell>) {
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

    /// Says to all that this node goes: nobody waits for it any more.
    pub fn leave(&mut self) {
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
                    if let Some(peer) = self.peer_mut(place) {
                        peer.in_doubt = false;
                    }
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
        }
    }

    /// Whether something was said after the newest `Hello`. What was said before does not count: all of it that is still so
    /// is said again, and until it is, that node is sent everything.
    fn is_current(&self, place: usize, session: u64) -> bool {
        self.peer(place).is_some_and(|peer| peer.session == session)
    }

    fn hear(&mut self, heading: Heading, now: Instant) -> Option<usize> {
        if heading.from == self.id {
            self.counts.foreign += 1;
            return None;
        }
        let place = self.meet(heading.from, now)?;
        if let Some(peer) = self.peer_mut(place) {
            peer.heard = Some(now);
        }
        Some(place)
    }

    fn follow(&mut self, from: NodeId, published: u64) {
        let missed = self.links.entry(from).or_default().inbound.other(published);
        self.miss(from, missed);
    }

    fn miss(&mut self, from: NodeId, missed: u64) {
        if missed > 0 {
            self.counts.missed += missed;
            self.effects.push(Effect::Missed(from, missed));
        }
    }

    fn arrive(&mut self, from: NodeId, number: u64, ticket: u64, publication: Arrived) {
        match self.links.entry(from).or_default().inbound.publication(number) {
            Followed::Late => self.counts.late += 1,
            Followed::Behind(missed) => {
                self.miss(from, missed);
                self.counts.arrived += 1;
                self.effects.push(Effect::Deliver { from, ticket, publication });
            }
        }
    }
}

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

    /// Tells the others what is wanted and was not told yet.
    pub fn flush(&mut self, now: Instant) {
        if self.own.has_pending() {
            let tell = self.own.flush(now, self.others.here());
            self.tell(tell);
        }
    }

    /// Has messages reach whoever is on other nodes. Gives what their count will be known by, where it is wanted and
    /// there may be somebody.
    pub fn publish(&mut self, outgoing: &Outgoing<'_>, now: Instant) -> Option<Ticket> {
        // A process that stood still may send before it ticks, by wishes that do not count any more.
        self.review(now);
        self.made += 1;
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
        if places.is_empty() {
            return None;
        }
        let ticket = outgoing.counts.then(|| self.tallies.next());
        let has_room = ticket.is_some_and(|(_, has_room)| has_room);
        let number = ticket.filter(|_| has_room).map_or(0, |(number, _)| number.get());
        let Outgoing { from, to, except, messages, lane, .. } = *outgoing;
        let body = wire::publication(number, from, to, except, messages, lane);
        let (mut waiting, mut silent) = (Places::default(), Vec::new());
        for place in places.iter() {
            let Some(id) = self.peer(place).map(|peer| peer.id) else { continue };
            let published = self.links.entry(id).or_default().outbound.next();
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
        ticket.map(|(number, _)| self.tallies.begin(number, waiting, silent, until))
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

/// How long a fence can take at most while everything works as it should: the others' leases must have ended, and a
/// heartbeat of ours must have come back since.
#[must_use]
pub fn longest_fence(settings: &Settings) -> Duration {
    settings.lease + settings.margin + settings.heartbeat * 4
}

#[cfg(test)]
mod tests;
