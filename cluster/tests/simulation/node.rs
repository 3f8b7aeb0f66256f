//! A process with a node in it: a hub, what connects it to the others, its clock, and what it remembers of what it was
//! asked. What a server does with the effects of its node is done here.
//!
//! In: effects. Out: acts on the hub, entries for the log, messages for the bus.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use fanfare_cluster::{Bus, Effect, Node, NodeId, Settings, TopicName};
use fanfare_hub::{
    Cluster, Gate, Hub, HubLimits, Lane, NoWay, NodeKey, Observer, Outgoing, Overflow, Proof, Publication,
    Ticket, Topic,
};
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{ConnectionId, GroupName, Limits, ServerFrame};

use super::door::{AGAIN, Door, Token};
use super::event::Event;
use super::lasting::Unmet;
use super::log::{Entry, Key, Value};
use super::notices::Occupation;
use super::time::{Clock, MS, Micros, SECOND};
use super::world::World;

/// Messages that a node has given to its bus.
#[derive(Default)]
pub(crate) struct Post {
    pub(crate) sent: Mutex<Vec<(NodeId, Bytes)>>,
    pub(crate) is_down: AtomicBool,
}

struct PostBus(Arc<Post>);

impl Bus for PostBus {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        let goes = !self.0.is_down.load(Ordering::Relaxed);
        if goes {
            self.0.sent.lock().unwrap().push((to, message));
        }
        goes
    }

    fn is_open(&self) -> bool {
        !self.0.is_down.load(Ordering::Relaxed)
    }
}

/// What connects a hub to its node.
pub(crate) struct Joint {
    pub(crate) node: Mutex<Node>,
    pub(crate) clock: Clock,
    pub(crate) serves_without: bool,
    /// It had the lease once, so that it knows what had been decided by then.
    pub(crate) began: AtomicBool,
    /// A switch for tests of the tests: it delivers always.
    always: bool,
    /// Topics are wanted that were not told.
    pub(crate) has_wishes: AtomicBool,
    /// Proofs that were given out since that was last looked at.
    pub(crate) proofs: Mutex<Vec<Arc<Proof>>>,
}

impl Joint {
    pub(crate) fn has_lease(&self) -> bool {
        let until = self.node.lock().unwrap().lease_until();
        until.is_some_and(|until| self.clock.now() < until)
    }

    pub(crate) fn serves(&self) -> bool {
        self.has_lease() || self.serves_without && self.began.load(Ordering::Relaxed)
    }
}

impl Cluster for Joint {
    fn delivers(&self) -> bool {
        self.always || self.serves()
    }

    fn wants(&self, topic: Topic<'_>) -> Option<Arc<Proof>> {
        let proof = self.node.lock().unwrap().wants(topic);
        if let Some(proof) = &proof {
            self.has_wishes.store(true, Ordering::Relaxed);
            self.proofs.lock().unwrap().push(Arc::clone(proof));
        }
        proof
    }

    fn left(&self, topic: Topic<'_>) {
        self.node.lock().unwrap().left(topic, self.clock.now());
    }

    fn publish(&self, outgoing: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay> {
        self.node.lock().unwrap().publish(outgoing, self.clock.now())
    }

    fn watches(&self, group: &GroupName, audience: u64) -> Vec<NodeKey> {
        self.has_wishes.store(true, Ordering::Relaxed);
        let asked = self.node.lock().unwrap().watches(group, audience);
        asked.into_iter().map(|id| NodeKey(id.bytes())).collect()
    }

    fn unwatches(&self, group: &GroupName, audience: u64) {
        self.has_wishes.store(true, Ordering::Relaxed);
        self.node.lock().unwrap().unwatches(group, audience);
    }
}

/// A node's watch of the log: the half that is here, and the half that is there.
#[derive(Default)]
pub(crate) struct Watch {
    /// Which of its watches it is. What an earlier one had on its way is lost.
    pub(crate) generation: u64,
    /// How far it has come there.
    pub(crate) cursor: u64,
    pub(crate) is_stuck: bool,
    /// It will go on by itself.
    pub(crate) is_pumped: bool,
    /// When what was sent last arrives.
    pub(crate) arrives: Micros,
    /// What arrived last here.
    pub(crate) seen: u64,
    /// When.
    pub(crate) heard: Option<Instant>,
}

/// A fence that was asked for.
pub(crate) struct OpenFence {
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) revision: u64,
    pub(crate) until: Instant,
}

/// A process.
pub(crate) struct Process {
    pub(crate) id: NodeId,
    pub(crate) joint: Arc<Joint>,
    pub(crate) hub: Arc<Hub<Token>>,
    pub(crate) door: Arc<Door>,
    pub(crate) post: Arc<Post>,
    pub(crate) alive: bool,
    /// When it is dead, another has what it had.
    pub(crate) is_followed: bool,
    pub(crate) stopped: bool,
    /// What happened to it while it was stopped.
    pub(crate) held: Vec<Event>,
    /// When the last of each kind of that happens.
    pub(crate) late: HashMap<(u8, usize), Micros>,
    pub(crate) born: Micros,
    pub(crate) resumed: Micros,
    pub(crate) watch: Watch,
    /// The entries that it has seen of what was decided, as far as they stand.
    pub(crate) revisions: HashMap<Key, u64>,
    /// Who is to be put back into groups.
    pub(crate) unmet: Unmet,
    pub(crate) is_flushing: bool,
    pub(crate) proofs: Vec<(Arc<Proof>, Micros)>,
    pub(crate) tickets: HashMap<Ticket, Micros>,
    pub(crate) fences: HashMap<u64, OpenFence>,
    /// Nodes that watch groups here.
    observers: BTreeMap<NodeId, Observer<Token>>,
    /// Nodes that were given up once: how much they lost nobody knows.
    pub(crate) vague: HashSet<NodeId>,
    /// It has said that it goes.
    pub(crate) leaves: bool,
    had_duty: bool,
}

impl Process {
    pub(crate) fn new(
        index: usize,
        settings: Settings,
        drift: i64,
        now: Micros,
        frames: usize,
        always: bool,
    ) -> Self {
        let id = NodeId::new([0xa0, 0, 0, u8::try_from(index).unwrap()]);
        let post = Arc::new(Post::default());
        let node = Node::new(
            id,
            format!("node-{index}"),
            "1".to_owned(),
            settings,
            Box::new(PostBus(Arc::clone(&post))),
        );
        let clock = Clock::new(drift);
        clock.set(now);
        let joint = Arc::new(Joint {
            node: Mutex::new(node),
            clock,
            serves_without: settings.serves_without,
            began: AtomicBool::new(false),
            always,
            has_wishes: AtomicBool::new(false),
            proofs: Mutex::default(),
        });
        let door = Arc::new(Door::new(Arc::clone(&joint)));
        let mut limits = HubLimits::default();
        limits.outbox.frames = frames;
        limits.outbox.overflow = Overflow::DropOldest;
        let hub = Hub::new(limits, Arc::clone(&door) as Arc<dyn Gate<Token>>);
        hub.cluster(Arc::clone(&joint) as Arc<dyn Cluster>);
        hub.tell(Arc::new(Occupation::new(Arc::clone(&joint))));
        Self {
            id,
            joint,
            hub: Arc::new(hub),
            door,
            post,
            alive: true,
            is_followed: false,
            stopped: false,
            held: Vec::new(),
            late: HashMap::new(),
            born: now,
            resumed: now,
            watch: Watch::default(),
            revisions: HashMap::new(),
            unmet: Unmet::default(),
            is_flushing: false,
            proofs: Vec::new(),
            tickets: HashMap::new(),
            fences: HashMap::new(),
            observers: BTreeMap::new(),
            vague: HashSet::new(),
            leaves: false,
            had_duty: false,
        }
    }

    pub(crate) fn local(&self) -> Instant {
        self.joint.clock.now()
    }

    pub(crate) fn runs(&self) -> bool {
        self.alive && !self.stopped
    }
}

/// What a server does.
impl World {
    /// Time has come to look after things.
    pub(crate) fn tick(&mut self, at: usize) {
        let now = self.nodes[at].local();
        self.nodes[at].joint.node.lock().unwrap().tick(now);
        let hub = Arc::clone(&self.nodes[at].hub);
        let mut announcement = hub.announcement(now);
        while announcement.go_on(1) {}
        self.put_back(at, false);
        self.settle(at);
        self.tend_watch(at);
        self.check_patience(at);
        let after = self.rng.u64(95 * MS..105 * MS);
        self.later(after, Event::Tick(at));
    }

    /// Has a watch that is silent made anew.
    fn tend_watch(&mut self, at: usize) {
        let reaches = self.net.reaches_log(at);
        let node = &mut self.nodes[at];
        let now = node.local();
        let heard = *node.watch.heard.get_or_insert(now);
        if reaches && now.saturating_duration_since(heard).as_micros() > u128::from(3 * SECOND) {
            self.renew_watch(at);
        }
    }

    pub(crate) fn renew_watch(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.watch = Watch {
            generation: node.watch.generation + 1,
            cursor: node.watch.seen,
            seen: node.watch.seen,
            heard: Some(node.local()),
            ..Watch::default()
        };
        self.trace(|| format!("{at}: the watch is made anew"));
        self.pump_later(at);
    }

    /// What is wanted is told.
    pub(crate) fn flush(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.is_flushing = false;
        let now = node.local();
        node.joint.node.lock().unwrap().flush(now);
        self.settle(at);
    }

    /// A message has arrived.
    pub(crate) fn hear(&mut self, at: usize, bytes: &Bytes) {
        let now = self.nodes[at].local();
        self.nodes[at].joint.node.lock().unwrap().message(bytes, now);
        self.settle(at);
    }

    /// An entry of the log has arrived; with more behind it, or not.
    pub(crate) fn see(&mut self, at: usize, entry: Entry, has_more: bool) {
        let node = &mut self.nodes[at];
        let now = node.local();
        node.watch.heard = Some(now);
        if entry.revision <= node.watch.seen {
            return;
        }
        node.watch.seen = entry.revision;
        let Entry { key, value, revision } = entry;
        match (key, value) {
            (Key::Node(id), Value::Beat(beat)) => {
                node.joint.node.lock().unwrap().heartbeat(id, Some(beat), revision, now);
            }
            (Key::Duty, Value::Holds(duties)) => node.joint.node.lock().unwrap().duty(duties, revision),
            (Key::Duty, _) => {}
            (Key::Node(id), _) => node.joint.node.lock().unwrap().heartbeat(id, None, revision, now),
            (key, value) => {
                self.put_in_force(at, key, &value, revision);
                self.nodes[at].joint.node.lock().unwrap().applied(revision);
            }
        }
        if !has_more || self.options.ignores_backlog {
            self.nodes[at].joint.node.lock().unwrap().caught_up(now);
        }
        self.settle(at);
    }

    /// Does what a node asks for, and has its messages go.
    pub(crate) fn settle(&mut self, at: usize) {
        loop {
            let effects = self.nodes[at].joint.node.lock().unwrap().effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.carry_out(at, effect);
            }
        }
        let has_duty = self.nodes[at].joint.node.lock().unwrap().has_duty();
        self.nodes[at].had_duty = has_duty;
        let given: Vec<_> = std::mem::take(&mut *self.nodes[at].joint.proofs.lock().unwrap());
        let now = self.now;
        self.nodes[at].proofs.extend(given.into_iter().map(|proof| (proof, now)));
        if self.nodes[at].joint.has_wishes.swap(false, Ordering::Relaxed) && !self.nodes[at].is_flushing {
            self.nodes[at].is_flushing = true;
            let after = self.rng.u64(0..4 * MS);
            self.later(after, Event::Flush(at));
        }
        let node = &mut self.nodes[at];
        for (to, observer) in &mut node.observers {
            while let Some(frames) = observer.take(1_000) {
                node.joint.node.lock().unwrap().present(*to, frames);
            }
        }
        let sent = std::mem::take(&mut *self.nodes[at].post.sent.lock().unwrap());
        for (to, bytes) in sent {
            self.dispatch(at, to, bytes);
        }
        self.take_datagrams();
        self.wake_readers();
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Beat(beat) => {
                let key = Key::Node(self.nodes[at].id);
                self.put(at, key, Value::Beat(beat), None, 0);
            }
            Effect::Forget(id, revision) => {
                self.trace(|| format!("{at}: forgets {id}"));
                self.put(at, Key::Node(id), Value::Deleted, Some(revision), 0);
            }
            Effect::Claim(duties, over) => {
                self.trace(|| format!("{at}: claims {duties:?} over {over}"));
                self.put(at, Key::Duty, Value::Holds(duties), Some(over), 0);
            }
            Effect::Notify { subject, is_occupied, order } => {
                self.notified(at, &subject, is_occupied, order);
            }
            Effect::Deliver { from, ticket, publication } => {
                let now = self.nodes[at].local();
                let hub = Arc::clone(&self.nodes[at].hub);
                let fanfare_cluster::Arrived { from: sender, to, except, mut messages, lane } = publication;
                let delivery = if messages.len() > 1 {
                    hub.deliver_run(&sender, to[0].clone(), &except, messages, now)
                } else {
                    let (event, format, payload) = messages.remove(0);
                    let publication = Publication {
                        from: sender,
                        to,
                        except,
                        event,
                        format,
                        payload,
                        accepted: now,
                        counts: false,
                    };
                    match lane {
                        Lane::Stream => hub.deliver(publication),
                        // Nothing holds a datagram back, so that it is not delivered where it would have to be.
                        Lane::Datagrams if !self.nodes[at].joint.delivers() => {
                            Ok(fanfare_hub::Delivery::default())
                        }
                        Lane::Datagrams => hub.deliver_unreliable(publication),
                    }
                };
                let queued = delivery.unwrap().queued;
                self.nodes[at].joint.node.lock().unwrap().counted(from, ticket, queued);
            }
            Effect::Remove(topic, proof) => {
                self.trace(|| format!("{at}: no proof in time for {topic:?}"));
                self.counts.removes += 1;
                if self.is_calm {
                    self.violate(2, format!("{at} removes {topic:?} where nothing is disturbed"));
                }
                let hub = Arc::clone(&self.nodes[at].hub);
                match topic {
                    TopicName::Group(group) => self.put_out(at, &group),
                    TopicName::User(user) => {
                        for member in hub.of_user(&user) {
                            hub.close(&member, AGAIN.into(), None);
                        }
                    }
                }
                proof.settle();
            }
            Effect::Missed(from, missed) => {
                self.trace(|| format!("{at}: missed {missed} of {from}"));
                // One that is told by who is away may stand for more that nobody can count.
                if missed == 1 && !self.nodes[at].joint.has_lease() {
                    self.nodes[at].vague.insert(from);
                }
                self.nodes[at].hub.lagged(missed);
            }
            Effect::Lease(holds) => {
                self.trace(|| format!("{at}: lease {holds}"));
                self.is_unsure |= self.nodes[at].had_duty && !holds;
                if holds {
                    self.nodes[at].joint.began.store(true, Ordering::Relaxed);
                    self.nodes[at].hub.resume();
                    self.check_bans(at);
                    self.check_forbidden(at);
                }
            }
            Effect::Tallied(ticket, tallied) => self.tallied(at, ticket, tallied),
            Effect::Asked { from, question, .. } => {
                self.nodes[at].joint.node.lock().unwrap().answer(from, question, None);
            }
            Effect::Fenced(number, fenced) => self.fenced(at, number, &fenced),
            Effect::Came(id) => self.trace(|| format!("{at}: {id} is there")),
            Effect::Went(id) => {
                self.trace(|| format!("{at}: {id} is gone"));
                let gone = &self.nodes[self.places[&id]];
                let node = gone.joint.node.lock().unwrap();
                // One that has said that it goes, and stands still before somebody knows what it has told.
                let owes = node.reported().is_err() || node.peers().is_empty();
                drop(node);
                self.is_unsure |= gone.alive && gone.leaves && owes;
                self.nodes[at].observers.remove(&id);
                let now = self.nodes[at].local();
                self.nodes[at].hub.part(NodeKey(id.bytes()), now);
                self.nodes[at].vague.insert(id);
                self.put_back(at, true);
            }
            Effect::Watch { from, is_anew, is_watched, groups } => {
                self.trace(|| format!("{at}: {from} watches {is_watched}, anew {is_anew}: {groups:?}"));
                let node = &mut self.nodes[at];
                if is_anew {
                    node.observers.remove(&from);
                }
                let new = || node.hub.observer(ConnectionId::on_node(from.bytes(), [0xff; 12]));
                let observer = node.observers.entry(from).or_insert_with(new);
                for group in &groups {
                    if is_watched {
                        observer.watch(group);
                    } else {
                        observer.unwatch(group);
                    }
                }
            }
            Effect::Present(from, mut frames) => {
                let now = self.nodes[at].local();
                let mut reader = FrameReader::new(Limits::FRAME_CEILING);
                while let Some(frame) = reader.next_frame(&mut frames).unwrap() {
                    let ServerFrame::Presence(frame) = codec::decode_server(&frame).unwrap() else {
                        panic!("{frame:?}");
                    };
                    self.nodes[at].hub.hear(NodeKey(from.bytes()), frame, now);
                }
            }
        }
    }
}
