//! What the hub, the edge and moderation have of the other nodes, from any thread.
//!
//! In: what is wanted and sent here; what has come of decisions. Out: messages to other nodes, in their order; answers,
//! to whoever waits. Invariant: nothing that the hub calls waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_cluster::{Fenced, Node, NodeId, PeerFacts, Subject, TopicName};
use fanfare_hub::{NoWay, NodeKey, Outgoing, Population, Proof, Ticket, Topic};
use fanfare_nats::Bus;
use fanfare_protocol::GroupName;
use fanfare_protocol::admin::{NodeRow, Receipt, Who};
use fanfare_token::Seconds;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::clocks::{self, Clocks};
use super::heads::Heads;
use super::owners::Owners;
use super::questions::Answers;
use super::reasons::Reasons;
use crate::elsewhere::Elsewhere;
use crate::handle::Clients;
use crate::lease::Lease;
use crate::uptime;

/// So many lists of all nodes are made at a time, each on a thread that waits for them; who comes then waits its turn.
const TURNS: usize = 64;

/// What is in a message beside an answer, in bytes, with room to spare.
const HEADING: usize = 64;

/// So many receipts of decisions are kept for whoever made them.
const RECEIPTS: usize = 256;

/// What has come of decisions so far.
#[derive(Default)]
pub(super) struct Progress {
    /// Everything up to this revision is in force here.
    pub(super) in_force: u64,
    /// What decisions did here, by revision.
    pub(super) receipts: BTreeMap<u64, Receipt>,
    /// How the nodes stand to those that were waited for.
    pub(super) fenced: BTreeMap<u64, Fenced>,
    /// The server ends: nobody is waited for any more.
    ends: bool,
}

/// This node's side of the cluster.
pub(crate) struct Side {
    pub(super) node: Mutex<Node>,
    pub(super) bus: Bus,
    pub(crate) lease: Arc<Lease>,
    pub(crate) elsewhere: Elsewhere,
    pub(super) owners: Arc<Owners>,
    /// There is something to do for the driver.
    pub(super) wake: Notify,
    pub(super) name: String,
    pub(super) times: fanfare_cluster::Settings,
    pub(super) runtime: Handle,
    /// The longest answer, in bytes.
    pub(super) longest: usize,
    /// Who answers what takes long, as soon as it is there.
    pub(super) answers: OnceLock<Weak<dyn Answers>>,
    /// Who is asked here for other nodes, as soon as there is an application.
    pub(super) clients: OnceLock<Weak<dyn Clients>>,
    /// So many lists of all nodes may be made at a time.
    pub(crate) turns: Semaphore,
    pub(super) progress: Mutex<Progress>,
    progressed: Condvar,
    /// Why what is about to be ended is.
    reasons: Mutex<Reasons>,
    /// What is noted of the nodes' audits.
    heads: Mutex<Heads>,
    /// How far the other nodes' clocks are from this one's.
    pub(super) clocks: Mutex<Clocks>,
    /// Why this node's own is not what was noted of it.
    audit_problem: Mutex<Option<String>>,
    /// The bucket's entries, as far as they have been seen.
    newest: Mutex<HashMap<String, Newest>>,
    /// This node hands over what it owes back ends; and something has come of that.
    hands_over: AtomicBool,
    handing_over: Notify,
}

/// What is known of an entry of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) revision: u64,
    /// Up to when a sign-out refuses what was issued; of nothing else.
    pub(super) signed_out: Option<Seconds>,
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
            owners: Arc::default(),
            wake: Notify::new(),
            name,
            times,
            runtime: Handle::current(),
            longest: largest.saturating_sub(HEADING),
            answers: OnceLock::new(),
            clients: OnceLock::new(),
            turns: Semaphore::new(TURNS),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            reasons: Mutex::default(),
            heads: Mutex::default(),
            clocks: Mutex::new(Clocks::new(&times)),
            audit_problem: Mutex::default(),
            newest: Mutex::default(),
            hands_over: AtomicBool::new(false),
            handing_over: Notify::new(),
        }
    }

    /// The nodes as this one knows them, itself first, and last those that were given up and may be delivering.
    pub(crate) fn rows(&self, here: Population) -> Vec<NodeRow> {
        let now = uptime::now();
        let (id, in_force, peers, lost, counts) = {
            let node = self.node.lock();
            (node.id(), node.in_force(), node.peers(), node.lost(), node.counts())
        };
        let carried = self.bus.counters();
        let own = NodeRow {
            node: id.to_string(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_this: true,
            connections: here.connections as u64,
            users: here.users as u64,
            groups: here.groups as u64,
            in_force,
            unsent: counts.unsent + carried.discarded,
            foreign: counts.foreign + counts.unknown + carried.unreadable,
            late: counts.late + carried.late + carried.stale,
            problem: self.problem(),
            ..NodeRow::default()
        };
        let row = |peer: PeerFacts| {
            let heartbeat = peer.heartbeat?;
            let ahead = self.clocks.lock().ahead(peer.id);
            let unheard =
                (!peer.is_heard).then(|| "it has not said what it wants, and is sent everything".to_owned());
            Some(NodeRow {
                node: peer.id.to_string(),
                name: heartbeat.name,
                version: heartbeat.version,
                is_this: false,
                connections: heartbeat.connections,
                users: heartbeat.users,
                groups: heartbeat.groups,
                age_ms: age_ms(now, peer.seen),
                in_force: heartbeat.in_force,
                missed: peer.missed,
                clock_ahead_ms: ahead,
                problem: both(unheard, ahead.and_then(clocks::words)),
                ..NodeRow::default()
            })
        };
        let lost = lost.into_iter().map(|lost| NodeRow {
            node: lost.id.to_string(),
            name: lost.heartbeat.name,
            version: lost.heartbeat.version,
            age_ms: age_ms(now, lost.since),
            in_force: lost.heartbeat.in_force,
            is_lost: true,
            problem: Some(
                "it was given up, and may be delivering: receipts name it until it is forgotten".to_owned(),
            ),
            ..NodeRow::default()
        });
        std::iter::once(own).chain(peers.into_iter().filter_map(row)).chain(lost).collect()
    }

    /// What operators call this node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// From now on other nodes have their questions answered by this, also those that take long.
    pub(crate) fn answered_by(&self, answers: Weak<dyn Answers>) {
        let _ = self.answers.set(answers);
    }

    /// From now on other nodes can have these asked.
    pub(crate) fn asks(&self, clients: Weak<dyn Clients>) {
        let _ = self.clients.set(clients);
    }

    /// Why this node lets nobody in, or what else is wrong with it, if that is so.
    fn problem(&self) -> Option<String> {
        if !self.bus.is_connected() {
            return Some("there is no connection to NATS".to_owned());
        }
        if !self.lease.holds() {
            return Some("what was decided elsewhere is not known here".to_owned());
        }
        self.audit_problem.lock().as_ref().map(|problem| format!("its audit: {problem}"))
    }

    /// What is noted of the nodes' audits.
    pub(crate) fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock()
    }

    /// This node's own is not what was noted of it.
    pub(super) fn has_another_audit(&self, problem: String) {
        *self.audit_problem.lock() = Some(problem);
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

    /// What a decision did here, as long as that is known.
    pub(super) fn receipt(&self, revision: u64) -> Option<Receipt> {
        self.progress.lock().receipts.get(&revision).cloned()
    }

    /// What has this key is about to be ended for that.
    pub(super) fn because(&self, key: String, reason: String) {
        self.reasons.lock().add(key, reason, uptime::now());
    }

    /// It is ended: why, where that is known.
    pub(super) fn reason(&self, key: &str) -> Option<String> {
        self.reasons.lock().take(key, uptime::now())
    }

    /// Everything up to this revision is in force here.
    pub(super) fn reached(&self, revision: u64) {
        let mut progress = self.progress.lock();
        progress.in_force = progress.in_force.max(revision);
        self.progressed.notify_all();
    }

    /// How the nodes stand to a decision.
    pub(super) fn fenced(&self, number: u64, fenced: Fenced) {
        let mut progress = self.progress.lock();
        progress.fenced.insert(number, fenced);
        // Whoever waits takes its own.
        while progress.fenced.len() > RECEIPTS {
            progress.fenced.pop_first();
        }
        self.progressed.notify_all();
    }

    /// The first one of a subject is here, or the last one is not any more: back ends are told of that once for all
    /// nodes.
    pub(crate) fn is_now(&self, subject: Subject, is_occupied: bool) {
        let mut node = self.node.lock();
        if is_occupied {
            node.occupied(subject);
        } else {
            node.vacated(subject);
        }
        drop(node);
        self.wake.notify_one();
    }

    /// This node tells back ends nothing any more of what happens once for all nodes: another one does, as soon as it
    /// knows what this one owes. Waits for that as long as it goes on, each step for so long at most.
    pub(crate) async fn hand_over(&self, patience: Duration) {
        self.node.lock().resign(uptime::now());
        self.hands_over.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        let mut reported = (None, uptime::now());
        loop {
            let _ = tokio::time::timeout(patience, self.handing_over.notified()).await;
            match self.node.lock().reported() {
                Ok(()) => return,
                Err(more) if reported.0 != Some(more) => reported = (Some(more), uptime::now()),
                Err(_) if uptime::now() >= reported.1 + patience => break,
                Err(_) => {}
            }
        }
        tracing::warn!(
            "no other node has said that it knows of what is occupied here: back ends may not be told that it is not \
             any more"
        );
    }

    /// Has it looked at how far that is.
    pub(super) fn look_at_handing_over(&self) {
        if self.hands_over.load(Ordering::Relaxed) {
            self.handing_over.notify_one();
        }
    }

    /// Nobody waits for other nodes any more.
    pub(crate) fn end(&self) {
        self.progress.lock().ends = true;
        self.progressed.notify_all();
        self.elsewhere.end(self.others().into_iter().map(|(node, _)| node).collect());
    }

    /// Waits until `found` finds something, or the time is over (by [`uptime`]), or the server ends.
    pub(super) fn wait<T>(
        &self,
        until: Instant,
        mut found: impl FnMut(&mut Progress) -> Option<T>,
    ) -> Option<T> {
        let mut outcome = None;
        let left = until.saturating_duration_since(uptime::now());
        let mut progress = self.progress.lock();
        let is_missing = |progress: &mut Progress| {
            outcome = found(progress);
            outcome.is_none() && !progress.ends
        };
        self.progressed.wait_while_for(&mut progress, is_missing, left);
        outcome.or_else(|| found(&mut progress))
    }

    /// The revision of the newest that has been seen of an entry of the bucket.
    pub(super) fn revision(&self, key: &str) -> Option<u64> {
        self.newest(key).map(|newest| newest.revision)
    }

    /// The newest that has been seen of an entry of the bucket.
    pub(super) fn newest(&self, key: &str) -> Option<Newest> {
        self.newest.lock().get(key).copied()
    }

    /// An entry of the bucket has been seen; `None` where it was deleted.
    pub(super) fn saw(&self, key: &str, newest: Option<Newest>) {
        let mut known = self.newest.lock();
        match newest {
            Some(newest) => drop(known.insert(key.to_owned(), newest)),
            None => drop(known.remove(key)),
        }
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
        self.node.lock().left(topic, uptime::now());
    }

    fn publish(&self, outgoing: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay> {
        let ticket = self.node.lock().publish(outgoing, uptime::now())?;
        // Where nobody could be reached, the answer is there already.
        if ticket.is_some() {
            self.wake.notify_one();
        }
        Ok(ticket)
    }

    fn watches(&self, group: &GroupName, audience: u64) -> Vec<NodeKey> {
        let asked = self.node.lock().watches(group, audience);
        self.wake.notify_one();
        asked.into_iter().map(key).collect()
    }

    fn unwatches(&self, group: &GroupName, audience: u64) {
        self.node.lock().unwatches(group, audience);
        self.wake.notify_one();
    }
}

fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    }
}

fn age_ms(now: Instant, then: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(then).as_millis()).unwrap_or(u64::MAX)
}

/// A node, as the hub has it.
pub(super) fn key(node: NodeId) -> NodeKey {
    NodeKey(node.bytes())
}

/// What carries a node's messages.
pub(super) struct Carrier(pub(super) Bus);

impl fanfare_cluster::Bus for Carrier {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        self.0.send(to.bytes(), message).is_ok()
    }

    fn is_open(&self) -> bool {
        self.0.is_connected()
    }
}

/// Whom a topic reaches.
pub(super) fn who(topic: &TopicName) -> Who {
    match topic {
        TopicName::User(user) => Who::User(user.clone()),
        TopicName::Group(group) => Who::Group(group.clone()),
    }
}
