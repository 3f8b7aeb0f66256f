//! When something that was decided is in force on every node.
//!
//! In: the decision's revision; what peers say is in force there, and peers that go. Out: for each node, when it was in
//! force there, or why it need not be. Invariant: a fence that says of no node that it is unknown, or serves without
//! the cluster, is closed: no node does any more what was forbidden (promise 19).
//!
//! Why that is so. Whoever has the lease has a heartbeat among the decisions, not older than the lease. Once this node
//! knows everything up to the decision (`Node::caught_up`; to have passed it is not enough, because a heartbeat that
//! another has taken the place of comes later), it knows each node that had the lease when it was made. Each of those
//! either says that the decision is in force there, or is given up (`peer.rs`): then it was without the lease for a
//! while, and gets it back only by a heartbeat that it sees come back. Where that one is behind the decision, it sees
//! the decision first; where it is in front, it is seen here, too, before the decision is, and the node is waited for
//! again (`Fence::came`). Who comes later sees the decision before it has the lease for the first time.

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
    /// `serving` are nodes that were given up before it was made, and deliver all the same.
    pub(crate) fn new(
        number: u64,
        revision: u64,
        (decided, until): (Instant, Instant),
        serving: Vec<(NodeId, String, Standing)>,
    ) -> Self {
        Self { number, revision, decided, until, known: serving }
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

    /// A node has been given up.
    pub(crate) fn given_up(&mut self, peer: &Peer, now: Instant) {
        if self.knows(peer.id) {
            return;
        }
        let standing = match &peer.heartbeat {
            Some(heartbeat) if heartbeat.serves_without => Standing::ServesWithout,
            Some(_) => Standing::LeaseEnded(now.saturating_duration_since(self.decided)),
            // It was heard, and what it left among the decisions was taken out: it may be serving.
            None => Standing::Unknown,
        };
        self.known.push((peer.id, peer.name(), standing));
    }

    /// A node is there again. Where less than the decision is known here, it may have got its lease back before the
    /// decision, and not know it.
    pub(crate) fn came(&mut self, id: NodeId, in_force: u64) {
        let revision = self.revision;
        self.known.retain(|(known, _, standing)| match standing {
            Standing::LeaseEnded(_) => *known != id || in_force >= revision,
            Standing::ServesWithout | Standing::Unknown => *known != id,
            Standing::InForce(_) => true,
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Heartbeat;

    const SECOND: Duration = Duration::from_secs(1);

    fn node(number: u8) -> NodeId {
        NodeId::new([0, 0, 0, number])
    }

    fn peer(number: u8, in_force: u64, serves_without: bool, now: Instant) -> Peer {
        let heartbeat = Heartbeat {
            number: 1,
            name: format!("n{number}"),
            version: String::new(),
            lease_ms: 5_000,
            serves_without,
            in_force: 0,
            connections: 0,
            users: 0,
            groups: 0,
            notifies: false,
            holds: true,
            claims_over: 0,
            time_ms: 0,
        };
        Peer { heartbeat: Some(heartbeat), in_force, ..Peer::new(node(number), now) }
    }

    fn fence(now: Instant) -> Fence {
        Fence::new(1, 10, (now, now + 7 * SECOND), Vec::new())
    }

    fn own(in_force: u64) -> (NodeId, &'static str, u64) {
        (node(0), "n0", in_force)
    }

    #[test]
    fn promise_19_a_fence_waits_for_every_node_and_for_this_one() {
        let now = Instant::now();
        let mut fence = fence(now);
        let peers = |second| vec![peer(1, 10, false, now), peer(2, second, false, now)];
        fence.look(own(9), peers(9).iter(), now);
        assert_eq!(fence.ended(own(9), peers(9).iter(), now), None);
        fence.look(own(9), peers(12).iter(), now + SECOND);
        assert_eq!(fence.ended(own(9), peers(12).iter(), now), None, "it is not in force here");
        fence.look(own(11), peers(12).iter(), now + 2 * SECOND);
        let fenced = fence.ended(own(11), peers(12).iter(), now + 2 * SECOND).unwrap();
        let in_force = |after: u32| Standing::InForce(after * SECOND);
        let named = |number: u8, standing| (node(number), format!("n{number}"), standing);
        let nodes = vec![named(0, in_force(2)), named(1, in_force(0)), named(2, in_force(1))];
        assert_eq!(fenced, Fenced { revision: 10, nodes });
        assert!(fenced.is_closed());
    }

    #[test]
    fn promise_19_at_its_deadline_whoever_is_not_known_is_named_and_it_is_open() {
        let now = Instant::now();
        let mut fence = fence(now);
        let peers = [peer(1, 9, false, now)];
        fence.look(own(9), peers.iter(), now);
        assert_eq!(fence.ended(own(9), peers.iter(), now + 7 * SECOND - Duration::from_nanos(1)), None);
        let fenced = fence.ended(own(9), peers.iter(), now + 7 * SECOND).unwrap();
        let standings: Vec<_> = fenced.nodes.iter().map(|(id, _, standing)| (*id, *standing)).collect();
        assert_eq!(standings, [(node(0), Standing::Unknown), (node(1), Standing::Unknown)]);
        assert!(!fenced.is_closed());
    }

    #[test]
    fn promise_19_who_was_given_up_is_fenced_unless_it_serves_without() {
        let now = Instant::now();
        let mut fence = fence(now);
        fence.given_up(&peer(1, 3, false, now), now + SECOND);
        fence.look(own(10), [].iter(), now + SECOND);
        assert!(fence.ended(own(10), [].iter(), now).unwrap().is_closed());
        fence.given_up(&peer(2, 3, true, now), now + SECOND);
        let fenced = fence.ended(own(10), [].iter(), now).unwrap();
        assert!(!fenced.is_closed());
        assert_eq!(fenced.nodes[2], (node(2), "n2".to_owned(), Standing::ServesWithout));
    }

    /// What it left among the decisions was taken out, and it is heard all the same.
    #[test]
    fn promise_19_of_who_has_never_said_whether_it_serves_nothing_is_known_when_it_is_given_up() {
        let now = Instant::now();
        let mut fence = fence(now);
        fence.look(own(10), [].iter(), now);
        fence.given_up(&Peer::new(node(1), now), now + SECOND);
        assert_eq!(fence.ended(own(10), [].iter(), now), None);
        let over = fence.ended(own(10), [].iter(), now + 7 * SECOND).unwrap();
        assert_eq!(over.nodes[1].2, Standing::Unknown);
        fence.came(node(1), 10);
        let back = [peer(1, 10, true, now)];
        fence.look(own(10), back.iter(), now);
        assert!(fence.ended(own(10), back.iter(), now).unwrap().is_closed());
    }

    #[test]
    fn promise_19_what_was_in_force_stays_so_when_a_node_goes() {
        let now = Instant::now();
        let mut fence = fence(now);
        let peers = [peer(1, 10, true, now)];
        fence.look(own(10), peers.iter(), now);
        fence.given_up(&peers[0], now + SECOND);
        assert!(fence.ended(own(10), [].iter(), now).unwrap().is_closed());
    }

    /// It may have its lease back by a heartbeat that is in front of the decision.
    #[test]
    fn promise_19_who_is_back_before_the_decision_is_known_here_is_waited_for() {
        let now = Instant::now();
        let mut fence = fence(now);
        let back = [peer(1, 5, false, now)];
        fence.given_up(&back[0], now);
        fence.came(node(1), 9);
        fence.look(own(10), back.iter(), now);
        assert_eq!(fence.ended(own(10), back.iter(), now), None);
        // One that comes back behind it knows it.
        let mut fence = self::fence(now);
        fence.given_up(&back[0], now);
        fence.came(node(1), 10);
        fence.look(own(10), back.iter(), now);
        assert!(fence.ended(own(10), back.iter(), now).unwrap().is_closed());
    }

    #[test]
    fn promise_19_one_that_serves_without_is_waited_for_when_it_is_back() {
        let now = Instant::now();
        let gone = (node(1), "n1".to_owned(), Standing::ServesWithout);
        let mut fence = Fence::new(1, 10, (now, now + 7 * SECOND), vec![gone]);
        fence.look(own(10), [].iter(), now);
        assert!(!fence.ended(own(10), [].iter(), now).unwrap().is_closed());
        fence.came(node(1), 10);
        let back = [peer(1, 9, true, now)];
        assert_eq!(fence.ended(own(10), back.iter(), now), None);
        let back = [peer(1, 10, true, now)];
        fence.look(own(10), back.iter(), now);
        assert!(fence.ended(own(10), back.iter(), now).unwrap().is_closed());
    }
}
