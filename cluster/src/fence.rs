//! When something that was decided is in force on every node.
//!
//! In: the decision's revision; what peers say is in force there, and peers that go. Out: for each node, when it was in
//! force there, or why it need not be. Invariant: a fence that says of no node that it is unknown, or serves without the
//! cluster, is closed: no node does any more what was forbidden (promise 18).
//!
//! Why that is so. Whoever has the lease has a heartbeat among the decisions, not older than the lease. Once this node
//! knows everything up to the decision, it knows each node that had the lease when it was made. Each of those either
//! says that the decision is in force there, or is given up (`peer.rs`): then it was without the lease for a while, and
//! gets it back only by a heartbeat that it sees come back; that one is behind the decision, so it sees the decision
//! first. Who comes later sees the decision before its own first heartbeat.

use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::peer::Peer;

/// How a node stands to a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was in force there so long after it was made.
    InForce(Duration),
    /// Its lease ended so long after: it delivers nothing, and when it does again, the decision is in force there.
    LeaseEnded(Duration),
    /// It cannot be reached, and delivers without the lease: what was forbidden may still happen there.
    ServesWithout,
    /// Not known in time.
    Unknown,
}

impl Standing {
    /// Whether nothing that was forbidden is done there any more.
    #[must_use]
    pub fn is_fenced(self) -> bool {
        matches!(self, Self::InForce(_) | Self::LeaseEnded(_))
    }
}

/// How each node stands to a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// Of the decision.
    pub revision: u64,
    /// Each node with its name, this one first.
    pub nodes: Vec<(NodeId, String, Standing)>,
}

impl Fenced {
    /// Whether nothing that was forbidden is done anywhere any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.nodes.iter().all(|(.., standing)| standing.is_fenced())
    }
}

/// A decision that nodes are waited for.
pub(crate) struct Fence {
    pub(crate) number: u64,
    pub(crate) revision: u64,
    decided: Instant,
    until: Instant,
    /// Nodes that have gone, and where it is in force.
    known: Vec<(NodeId, String, Standing)>,
}

impl Fence {
    pub(crate) fn new(number: u64, revision: u64, decided: Instant, until: Instant) -> Self {
        Self { number, revision, decided, until, known: Vec::new() }
    }

    /// Takes in where it is in force by now. `own` is up to where everything is known here.
    pub(crate) fn look<'a>(
        &mut self,
        own: (NodeId, &str, u64),
        peers: impl Iterator<Item = &'a Peer>,
        now: Instant,
    ) {
        let after = Standing::InForce(now.saturating_duration_since(self.decided));
        let (id, name, in_force) = own;
        if in_force >= self.revision && !self.knows(id) {
            self.known.insert(0, (id, name.to_owned(), after));
        }
        for peer in peers {
            if peer.in_force >= self.revision && !self.knows(peer.id) {
                self.known.push((peer.id, peer.name(), after));
            }
        }
    }

    /// A node has been given up, or has said that it goes.
    pub(crate) fn gone(&mut self, peer: &Peer, has_said_so: bool, now: Instant) {
        if self.knows(peer.id) || has_said_so {
            return;
        }
        let standing = match peer.serves_without() {
            true => Standing::ServesWithout,
            false => Standing::LeaseEnded(now.saturating_duration_since(self.decided)),
        };
        self.known.push((peer.id, peer.name(), standing));
    }

    fn knows(&self, id: NodeId) -> bool {
        self.known.iter().any(|(known, ..)| *known == id)
    }

    /// How it ended, where it has: every node is known, or the time is over.
    pub(crate) fn ended<'a>(
        &self,
        own: (NodeId, &str, u64),
        peers: impl Iterator<Item = &'a Peer>,
        now: Instant,
    ) -> Option<Fenced> {
        let mut nodes = self.known.clone();
        let unknown = peers.filter(|peer| !self.knows(peer.id));
        nodes.extend(unknown.map(|peer| (peer.id, peer.name(), Standing::Unknown)));
        let (id, name, in_force) = own;
        if in_force < self.revision {
            nodes.insert(0, (id, name.to_owned(), Standing::Unknown));
        }
        let is_known = nodes.iter().all(|(.., standing)| *standing != Standing::Unknown);
        (is_known || now >= self.until).then_some(Fenced { revision: self.revision, nodes })
    }
}
