//! What the hub, the edge and moderation have of the other nodes, from any thread.
//!
//! In: what is wanted, sent, asked and decided here. Out: messages to other nodes, in their order; answers, to whoever
//! waits. Invariants: nothing that the hub calls waits; a decision is answered when it is in force here and every node
//! is known to have it in force, or to deliver nothing (promise 18), or when the time for that is over, and then it is
//! said of whom it is not known.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_cluster::{Fenced, Node, NodeId, PeerFacts, Standing, TopicName, longest_fence};
use fanfare_hub::{Outgoing, Population, Proof, Ticket, Topic};
use fanfare_nats::{Bus, Expect, PutError};
use fanfare_protocol::admin::{self, Action, NodeRow, NodeStanding, Receipt, Who};
use fanfare_protocol::{Code, Denial};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::questions::{ANSWER, Answers, Done, Question};
use super::rows;
use crate::elsewhere::Elsewhere;
use crate::lease::Lease;
use crate::moderation::{Carried, Decided, Decision, Decisions, Fence};

/// How often a decision is put again that somebody else was faster with, and how long that may take to come here.
const ATTEMPTS: usize = 5;
const CONFLICT: Duration = Duration::from_millis(500);

/// So many lists of all nodes are made at a time, each on a thread that waits for them; who comes then waits its turn.
const TURNS: usize = 64;

/// What is in a message beside an answer, in bytes, with room to spare.
const HEADING: usize = 64;

/// So many receipts of decisions are kept for whoever made them.
const RECEIPTS: usize = 256;

/// What has come of decisions so far.
#[derive(Default)]
struct Progress {
    /// Everything up to this revision is in force here.
    in_force: u64,
    /// What decisions did here, by revision.
    receipts: BTreeMap<u64, Receipt>,
    /// How the nodes stand to those that were waited for.
    fenced: HashMap<u64, Fenced>,
    /// The server ends: nobody is waited for any more.
    ends: bool,
}

/// This node's side of the cluster.
pub(crate) struct Side {
    pub(super) node: Mutex<Node>,
    pub(super) bus: Bus,
    pub(crate) lease: Arc<Lease>,
    pub(crate) elsewhere: Elsewhere,
    /// There is something to do for the driver.
    pub(super) wake: Notify,
    pub(super) name: String,
    times: fanfare_cluster::Settings,
    runtime: Handle,
    /// The longest answer, in bytes.
    pub(super) longest: usize,
    /// Who answers what takes long, as soon as it is there.
    pub(super) answers: OnceLock<Weak<dyn Answers>>,
    /// So many lists of all nodes may be made at a time.
    pub(crate) turns: Semaphore,
    progress: Mutex<Progress>,
    progressed: Condvar,
    /// The bucket's entries, as far as they have been seen.
    revisions: Mutex<HashMap<String, u64>>,
}

impl Side {
    /// Needs a tokio runtime. `largest` is the longest message between nodes, in bytes.
    pub(super) fn new(
        node: Node,
        bus: Bus,
        name: String,
        times: fanfare_cluster::Settings,
        largest: usize,
    ) -> Self {
        Self {
            node: Mutex::new(node),
            bus,
            lease: Arc::new(if times.serves_without { Lease::default() } else { Lease::ended() }),
            elsewhere: Elsewhere::default(),
            wake: Notify::new(),
            name,
            times,
            runtime: Handle::current(),
            longest: largest.saturating_sub(HEADING),
            answers: OnceLock::new(),
            turns: Semaphore::new(TURNS),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            revisions: Mutex::default(),
        }
    }

    /// The nodes as this one knows them, itself first.
    pub(crate) fn rows(&self, here: Population) -> Vec<NodeRow> {
        let now = Instant::now();
        let (id, in_force, peers) = {
            let node = self.node.lock();
            (node.id(), node.in_force(), node.peers())
        };
        let own = NodeRow {
            node: id.to_string(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_this: true,
            connections: here.connections as u64,
            users: here.users as u64,
            groups: here.groups as u64,
            in_force,
            problem: self.problem(),
            ..NodeRow::default()
        };
        let row = |peer: PeerFacts| {
            let heartbeat = peer.heartbeat?;
            let age = now.saturating_duration_since(peer.seen);
            let problem =
                (!peer.is_heard).then(|| "it has not said what it wants, and is sent everything".to_owned());
            Some(NodeRow {
                node: peer.id.to_string(),
                name: heartbeat.name,
                version: heartbeat.version,
                is_this: false,
                connections: heartbeat.connections,
                users: heartbeat.users,
                groups: heartbeat.groups,
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                in_force: heartbeat.in_force,
                missed: peer.missed,
                problem,
            })
        };
        std::iter::once(own).chain(peers.into_iter().filter_map(row)).collect()
    }

    /// What operators call this node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// From now on other nodes have their questions answered by this, also those that take long.
    pub(crate) fn answered_by(&self, answers: Weak<dyn Answers>) {
        let _ = self.answers.set(answers);
    }

    /// Why this node lets nobody in, if that is so.
    fn problem(&self) -> Option<String> {
        if !self.bus.is_connected() {
            return Some("there is no connection to NATS".to_owned());
        }
        (!self.lease.holds()).then(|| "what was decided elsewhere is not known here".to_owned())
    }

    pub(super) fn serves_without(&self) -> bool {
        self.times.serves_without
    }

    /// A decision is in force here, and this is what it did.
    pub(super) fn applied(&self, revision: u64, receipt: Receipt) {
        let mut progress = self.progress.lock();
        progress.receipts.insert(revision, receipt);
        while progress.receipts.len() > RECEIPTS {
            progress.receipts.pop_first();
        }
    }

    /// Everything up to this revision is in force here.
    pub(super) fn reached(&self, revision: u64) {
        let mut progress = self.progress.lock();
        progress.in_force = progress.in_force.max(revision);
        self.progressed.notify_all();
    }

    /// How the nodes stand to a decision.
    pub(super) fn fenced(&self, number: u64, fenced: Fenced) {
        self.progress.lock().fenced.insert(number, fenced);
        self.progressed.notify_all();
    }

    /// Nobody waits for other nodes any more.
    pub(super) fn end(&self) {
        self.progress.lock().ends = true;
        self.progressed.notify_all();
        self.elsewhere.end();
    }

    /// Waits until `found` finds something, or the time is over, or the server ends.
    fn wait<T>(&self, until: Instant, mut found: impl FnMut(&mut Progress) -> Option<T>) -> Option<T> {
        let mut progress = self.progress.lock();
        loop {
            if let Some(found) = found(&mut progress) {
                return Some(found);
            }
            if progress.ends || self.progressed.wait_until(&mut progress, until).timed_out() {
                return found(&mut progress);
            }
        }
    }

    /// The newest that has been seen of an entry of the bucket.
    pub(super) fn revision(&self, key: &str) -> Option<u64> {
        self.revisions.lock().get(key).copied()
    }

    /// An entry of the bucket has been seen; `None` where it was deleted.
    pub(super) fn saw(&self, key: &str, revision: Option<u64>) {
        let mut revisions = self.revisions.lock();
        match revision {
            Some(revision) => drop(revisions.insert(key.to_owned(), revision)),
            None => drop(revisions.remove(key)),
        }
    }

    /// Puts a decision into the bucket, over what is known to be there and over nothing else. One that was not answered
    /// may come through later: then it is over something else, and must not undo what was decided since (test
    /// `what_is_decided_on_two_nodes_at_once_ends_alike_on_both`).
    fn put(&self, decision: &Decision, reason: &str) -> Result<u64, Denial> {
        let (key, value) = rows::entry(decision, reason);
        for attempt in 1..=ATTEMPTS {
            let over = match self.revision(&key) {
                // A key is made once.
                Some(revision) if !matches!(decision, Decision::Key(_)) => Expect::Revision(revision),
                _ => Expect::Nothing,
            };
            let seen = self.progress.lock().in_force;
            let put = self.runtime.block_on(async {
                match &value {
                    Some(value) => self.bus.put(&key, value.clone(), over).await,
                    None => self.bus.delete(&key, over).await,
                }
            });
            match put {
                Ok(revision) => return Ok(revision),
                // Somebody else has decided about the same, and it has not come here yet.
                Err(PutError::Conflict) if attempt < ATTEMPTS => {
                    let until = Instant::now() + CONFLICT;
                    self.wait(until, |progress| (progress.in_force > seen).then_some(()));
                }
                Err(error) => return Err(not_decided(&error)),
            }
        }
        Err(not_decided(&PutError::Conflict))
    }

    /// This node, of which nothing can be said.
    fn unknown(&self) -> NodeStanding {
        let (node, name) = (self.node.lock().id().to_string(), self.name.clone());
        NodeStanding { node, name, standing: admin::Standing::Unknown, after_ms: 0 }
    }

    fn standings(fenced: Fenced) -> Vec<NodeStanding> {
        let standing = |(node, name, standing): (NodeId, String, Standing)| {
            let (standing, after) = match standing {
                Standing::InForce(after) => (admin::Standing::InForce, after),
                Standing::LeaseEnded(after) => (admin::Standing::LeaseEnded, after),
                Standing::ServesWithout => (admin::Standing::ServesWithout, Duration::ZERO),
                Standing::Unknown => (admin::Standing::Unknown, Duration::ZERO),
            };
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            NodeStanding { node: node.to_string(), name, standing, after_ms }
        };
        fenced.nodes.into_iter().map(standing).collect()
    }
}

/// What is said of a decision that was not made, or may not have been.
fn not_decided(error: &PutError) -> Denial {
    let (code, detail) = match error {
        PutError::Conflict => {
            let detail = "nothing was decided: something else was, about the same and at the same moment; look, and do \
                          it again";
            (Code::InvalidRequest, detail.to_owned())
        }
        PutError::Unknown => {
            let detail = "the cluster did not say whether it was decided: look, and do it again";
            (Code::CutOff, detail.to_owned())
        }
        PutError::Unavailable { .. } => (Code::CutOff, format!("nothing was decided: {error}")),
        error => (Code::Internal, format!("nothing was decided: {error}")),
    };
    Denial { code, detail }
}

impl Decisions for Side {
    fn decide(&self, decision: Decision, reason: &str) -> Result<Decided, Denial> {
        let revision = self.put(&decision, reason)?;
        let decided = Instant::now();
        // Another of the same key may have followed so closely that this one was never seen; and where it is not in
        // force here so soon, the fence says so.
        let receipt = self.wait(decided + ANSWER, |progress| {
            (progress.in_force >= revision).then(|| progress.receipts.remove(&revision).unwrap_or_default())
        });
        Ok(Decided { receipt: receipt.unwrap_or_default(), fence: Fence { revision, decided } })
    }

    fn fence(&self, Fence { revision, decided }: Fence) -> Vec<NodeStanding> {
        let until = decided + longest_fence(&self.times);
        self.wait(until, |progress| (progress.in_force >= revision).then_some(()));
        let number = self.node.lock().fence(revision, decided, until, Instant::now());
        self.wake.notify_one();
        // The driver looks ten times a second.
        let fenced = self.wait(until + ANSWER, |progress| progress.fenced.remove(&number));
        // Where nobody could say it, because the server ends, not even of this node it is known.
        fenced.map_or_else(|| vec![self.unknown()], Self::standings)
    }

    fn carry_out(&self, act: &Action) -> Carried {
        let (answers, mut silent) = self.ask_all_here::<Done>(&Question::Act(act.clone()));
        let mut receipts = Vec::new();
        for (node, Done { receipt, refused }) in answers {
            if let Some(why) = refused {
                tracing::warn!(%node, why, "another node refused its part of an act");
                silent.extend(self.names(&[node]));
            } else {
                receipts.extend(receipt);
            }
        }
        Carried { receipts, silent }
    }

    fn copies(&self, ticket: Ticket) -> (u64, Vec<String>) {
        let tallied = self.elsewhere.wait_here(ticket);
        (tallied.copies, self.names(&tallied.silent))
    }
}

impl fanfare_hub::Cluster for Side {
    fn delivers(&self) -> bool {
        self.lease.holds()
    }

    fn wants(&self, topic: Topic<'_>) -> Option<Arc<Proof>> {
        let proof = self.node.lock().wants(topic);
        if proof.is_some() {
            self.wake.notify_one();
        }
        proof
    }

    fn left(&self, topic: Topic<'_>) {
        self.node.lock().left(topic, Instant::now());
    }

    fn publish(&self, outgoing: &Outgoing<'_>) -> Option<Ticket> {
        let ticket = self.node.lock().publish(outgoing, Instant::now());
        // Where nobody could be reached, the answer is there already.
        if ticket.is_some() {
            self.wake.notify_one();
        }
        ticket
    }
}

/// What carries a node's messages.
pub(super) struct Carrier(pub(super) Bus);

impl fanfare_cluster::Bus for Carrier {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        self.0.send(to.bytes(), message).is_ok()
    }
}

/// Whom a topic reaches.
pub(super) fn who(topic: &TopicName) -> Who {
    match topic {
        TopicName::User(user) => Who::User(user.clone()),
        TopicName::Group(group) => Who::Group(group.clone()),
    }
}
