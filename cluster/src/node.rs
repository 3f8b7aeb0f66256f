//! A node: everything that it knows of the others, and what it says to them.
//!
//! In: what the hub here wants and publishes, what arrives from other nodes, what was decided (by revisions, one after
//! the other, and when that was all), and time. Out: messages, by the [`Bus`], in their order; [`Effect`]s for whoever
//! has the hub. It never waits, and reads no clock.
//!
//! Invariants:
//! - without the lease nothing is delivered that could be forbidden (promise 19): [`Node::lease_until`] says when it
//!   ends, and whoever delivers looks at that and at the time;
//! - a node that loses its lease trusts nothing of what it knew of the others' wishes, and asks anew: that is why a
//!   node that was given up need not be waited for (`others.rs`, `own.rs`);
//! - publications to a node go in the order in which they were made here (promise 4).

mod conversation;
mod decided;
mod notifying;
mod outgoing;
mod present;
mod time;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_hub::{Proof, Ticket};
use fanfare_protocol::GroupName;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::duty::Duty;
use crate::fence::{Fence, Fenced};
use crate::id::{MOST_PEERS, NodeId};
use crate::lease::Lease;
use crate::link::{Inbound, Outbound};
use crate::notices::Notices;
use crate::others::Others;
use crate::own::Own;
use crate::peer::{Heartbeat, Peer};
use crate::reports::{Reports, Void};
use crate::settings::Settings;
use crate::subject::{Duties, Subject};
use crate::tally::{Tallied, Tallies};
use crate::topic::TopicName;
use crate::watching::Watching;
use crate::wire::Arrived;

/// So many nodes that have gone are remembered, by how far their messages had come.
const MOST_LINKS: usize = 4_096;

/// What carries messages to other nodes. What is sent to one arrives there in its order, or not at all.
pub trait Bus: Send {
    /// Sends a message to a node. Never waits. Tells whether it is on its way; where it is not, it never will be.
    fn send(&self, to: NodeId, message: Bytes) -> bool;

    /// Whether anything can be sent at this moment.
    fn is_open(&self) -> bool {
        true
    }
}

/// What a node asks of whoever runs it.
#[derive(Debug)]
pub enum Effect {
    /// This heartbeat is to be put among the decisions, under this node's key.
    Beat(Heartbeat),
    /// A node has gone: what it left among the decisions is to go, if it is still of this revision.
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
    /// So many messages of a node did not arrive.
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
    /// A node watches groups here, from the beginning, or does not any more. What there is to tell is given to
    /// [`Node::present`].
    Watch {
        /// Who watches.
        from: NodeId,
        /// Whether all that it watched before is over.
        is_anew: bool,
        /// Whether it watches them from now on, or not any more.
        is_watched: bool,
        /// Which.
        groups: Vec<GroupName>,
    },
    /// Who is there on another node, as it gave that to [`Node::present`].
    Present(NodeId, Bytes),
    /// This is to be put among the decisions, as who has the duty to tell a back end: over the entry of this revision,
    /// 0 where there is none.
    Claim(Duties, u64),
    /// A back end is to be told that a subject is occupied on some node, or on none any more.
    Notify {
        /// What.
        subject: Subject,
        /// Whether it is occupied.
        is_occupied: bool,
        /// What was told later has a greater one, whichever node tells it: the revision of its claim, and a number.
        order: (u64, u64),
    },
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
    /// Messages that did not.
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
    /// Messages of it that did not arrive here.
    pub missed: u64,
}

/// A node that was given up, and may go on delivering all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its id.
    pub id: NodeId,
    /// The revision of its last heartbeat.
    pub revision: u64,
    /// That.
    pub heartbeat: Heartbeat,
    /// When it was given up.
    pub since: Instant,
    /// When something last arrived from it directly.
    pub heard: Option<Instant>,
}

/// The two ways between this node and another.
#[derive(Debug, Default, Clone, Copy)]
struct Link {
    outbound: Outbound,
    inbound: Inbound,
    /// It has said that it goes: what still comes from it is not heard.
    has_left: bool,
    /// How many messages had been published here when it was given up.
    made: u64,
    /// It may have published before it knew of this node, which was away when it was met.
    is_unsure: bool,
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
    /// When something last arrived from it directly.
    heard: Option<Instant>,
    /// When that was last asked to be taken out.
    forgotten: Option<Instant>,
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
    /// The revision of this node's first heartbeat, and when it came back.
    first_beat: Option<(u64, Instant)>,
    pinged: Option<Instant>,
    /// The newest entry of the log that was handed in, of the decisions the newest that was carried out, and how much
    /// the others were told of.
    handed_in: u64,
    carried_out: u64,
    told: u64,
    /// Everything that was decided up to here is in force here; and what that was when everything was known first.
    in_force: u64,
    began: Option<u64>,
    peers: [Option<Peer>; MOST_PEERS],
    places: HashMap<NodeId, usize, RandomState>,
    links: HashMap<NodeId, Link, RandomState>,
    /// How many messages were published here, and how many of them while all who might have wanted them were known.
    made: u64,
    made_with_lease: u64,
    /// Whose state this node has, so that it is dead.
    predecessor: Option<NodeId>,
    /// Nodes that left a heartbeat and have gone.
    left_over: HashMap<NodeId, LeftOver, RandomState>,
    /// Nodes whose entry was taken out, and who have not said that they go: they may have said it, and it is on its
    /// way.
    goodbyes: HashMap<NodeId, Instant, RandomState>,
    /// Nodes for which there is no room, and when a heartbeat of theirs was seen.
    without_room: HashMap<NodeId, Instant, RandomState>,
    others: Others,
    own: Own,
    tallies: Tallies,
    watching: Watching,
    duty: Duty,
    /// The newest claim of this node that the log has, as long as it has not begun to do it; and the newest that it has.
    unbegun: Option<Void>,
    begun: u64,
    reports: Reports,
    notices: Notices,
    fences: Vec<Fence>,
    last_fence: u64,
    population: (u64, u64, u64),
    counts: Counts,
    effects: Vec<Effect>,
    /// It has said that it goes: nobody hears what it publishes any more.
    has_left: bool,
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
            first_beat: None,
            pinged: None,
            handed_in: 0,
            carried_out: 0,
            told: 0,
            in_force: 0,
            began: None,
            peers: std::array::from_fn(|_| None),
            places: HashMap::default(),
            links: HashMap::default(),
            made: 0,
            made_with_lease: 0,
            predecessor: None,
            left_over: HashMap::default(),
            goodbyes: HashMap::default(),
            without_room: HashMap::default(),
            others: Others::default(),
            own: Own::new(settings),
            tallies: Tallies::default(),
            watching: Watching::new(settings),
            duty: Duty::default(),
            unbegun: None,
            begun: 0,
            reports: Reports::new(settings),
            notices: Notices::new(settings.grace),
            fences: Vec::new(),
            last_fence: 0,
            population: (0, 0, 0),
            counts: Counts::default(),
            effects: Vec::new(),
            has_left: false,
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

    /// Until when this node may deliver what could be forbidden; `None` where it may not. Where it serves without the
    /// cluster, whoever asks need not ask; but for the time until it has the lease for the first time, because before
    /// that it knows nothing of what was decided.
    #[must_use]
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease.until().filter(|_| self.has_lease)
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

    /// Those that were given up and may go on delivering without the cluster, by their ids: each fence names them as
    /// long as what they have left among the decisions is there.
    #[must_use]
    pub fn lost(&self) -> Vec<Lost> {
        let mut lost: Vec<Lost> = self
            .left_over
            .iter()
            .filter_map(|(id, left_over)| {
                let LeftOver { revision, since, heartbeat, heard, .. } = left_over;
                let heartbeat = heartbeat.as_ref().filter(|heartbeat| heartbeat.serves_without)?.clone();
                Some(Lost { id: *id, revision: *revision, heartbeat, since: *since, heard: *heard })
            })
            .collect();
        lost.sort_by_key(|lost| lost.id);
        lost
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

/// How long a fence can take at most while everything works as it should: the others' leases must have ended, and a
/// heartbeat of ours must have come back since.
#[must_use]
pub fn longest_fence(settings: &Settings) -> Duration {
    settings.lease + settings.margin + settings.heartbeat * 4
}

#[cfg(test)]
mod tests;
