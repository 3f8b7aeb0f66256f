//! The one task that hears the other nodes, and carries out what they say and what was decided, in its order.
//!
//! In: what NATS brings, time, and a word that there is something to do. Out: enforcement, heartbeats, and what
//! `serving` and `observers` do for others. Invariants: decisions are carried out in the order of their revisions, and
//! only then said to be in force (promise 19); the lease is looked at before anything else is done, and nothing here
//! waits for NATS or a disk; where what was decided is not known for certain, there is no lease.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_cluster::{Effect, Heartbeat, Node, NodeId};
use fanfare_nats::{Bus, Event, Expect, OpenError, PutError};
use fanfare_protocol::Limits;
use fanfare_protocol::admin::BanKind;
use fanfare_token::Seconds;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::beside::{self, Asked, Queue};
use super::clocks;
use super::copier::{Copies, alone_since, copy, copy_of};
use super::duty::{self, Notified};
use super::heads::{self, Noted};
use super::imports::{Imports, of_disk};
use super::marks::{self, Clearing, Turned};
use super::noting::{Noting, note};
use super::observers::{self, Observers};
use super::predecessor::Held;
use super::questions::{Question, read, to_bytes};
use super::rows::{self, Rows};
use super::side::{Carrier, Newest, Side};
use super::unmet::Unmet;
use crate::access;
use crate::cluster_settings::ClusterSettings;
use crate::handle::HubHandle;
use crate::hub::Hub;
use crate::moderation::{Decision, Head, Moderation};
use crate::uptime;

/// How often what is due is done.
const TICK: Duration = Duration::from_millis(100);

/// So many things that NATS brings are taken at a time, before anything else has its turn.
const AT_ONCE: usize = 256;

/// So many puts may be on their way: heartbeats, where NATS is slow.
pub(super) const PUTS: usize = 16;

/// How often what has ended is looked for.
pub(super) const SWEEP: Duration = Duration::from_secs(60);

/// How often this node's audit is noted, where it has more.
const NOTE: Duration = Duration::from_secs(1);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A node that has found NATS, and has no hub yet.
pub(crate) struct Opening {
    side: Arc<Side>,
    events: mpsc::Receiver<Event>,
    id: NodeId,
    remembers: Duration,
}

impl Opening {
    /// Finds NATS. `largest` is the longest message between nodes, in bytes, and `times` is what the node goes by.
    pub(crate) async fn open(
        settings: &ClusterSettings,
        id: [u8; 4],
        (largest, times): (usize, fanfare_cluster::Settings),
    ) -> Result<Self, OpenError> {
        // What was sent by somebody who knew only what is older than a lease may have been forbidden since.
        let late = Some(settings.nats.late.unwrap_or(settings.lease).min(settings.lease));
        let nats = fanfare_nats::Settings { largest, late, clock: uptime::now, ..settings.nats.clone() };
        let (bus, events) = Bus::open(nats, id).await?;
        let id = NodeId::new(id);
        let name = settings.name.clone().unwrap_or_else(|| id.to_string());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let node = Node::new(id, name.clone(), version, times, Box::new(Carrier(bus.clone())));
        let side = Arc::new(Side::new(node, bus, name, times, largest));
        Ok(Self { side, events, id, remembers: settings.remembers })
    }

    /// What the hub and the others are to have of it.
    pub(crate) fn side(&self) -> &Arc<Side> {
        &self.side
    }

    /// The node with its hub. What the store in `directory` has of decisions is put to what the cluster has, unless it
    /// is a copy of that; and whoever had that directory before is dead.
    pub(crate) fn driver(
        self,
        hub: Arc<Hub>,
        moderation: Arc<Moderation>,
        notified: Option<Arc<dyn Notified>>,
        directory: Option<PathBuf>,
        held: Option<Held>,
    ) -> Driver {
        let of_disk = of_disk(&moderation);
        let (copies, to_copy) = Copies::new();
        let copy_of = directory.as_deref().and_then(copy_of);
        let alone_since = directory.as_deref().and_then(alone_since);
        let has_disk = directory.is_some();
        let was_node = copy_of.is_some() || alone_since.is_some();
        let was_node = was_node || held.as_ref().is_some_and(Held::was_a_nodes);
        self.side.node.lock().succeed(held.as_ref().and_then(Held::predecessor));
        let copier = tokio::spawn(copy(Arc::clone(&moderation), directory, copies.clone(), to_copy));
        let (beside, asked) = Queue::new();
        let handle =
            HubHandle::new(Arc::clone(&hub), Limits::default()).expecting(Arc::clone(moderation.arrivals()));
        let answerer = tokio::spawn(beside::answer(Arc::clone(&self.side), handle, asked));
        Driver {
            id: self.id,
            side: self.side,
            events: self.events,
            hub,
            moderation,
            notified,
            rows: Rows::default(),
            observers: Observers::default(),
            unreadable: HashSet::new(),
            unmet: Unmet::default(),
            is_replaced: false,
            copy_of,
            alone_since,
            was_node,
            of_disk,
            caught_up: false,
            has_copy: false,
            copies,
            copier,
            beside,
            answerer,
            puts: JoinSet::new(),
            imports: Imports::default(),
            heard: 0,
            swept: uptime::now(),
            clearing: Clearing::new(self.remembers, uptime::now()),
            has_disk,
            held,
            noted: None,
            noted_at: uptime::now(),
            is_noting: false,
            joining: watch::Sender::default(),
        }
    }
}

/// How far a node that starts is on its way into the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Joining {
    /// How many decisions it has heard, and brought.
    pub(crate) decisions: u64,
    /// It may let people in.
    pub(crate) is_ready: bool,
}

/// What a put was for.
pub(super) enum Put {
    Heartbeat(Result<u64, PutError>),
    Import(Box<Decision>, Result<u64, PutError>),
    Forgotten,
    Remembered(Option<io::Error>),
    Claimed,
    Noted(Noting),
    Taken(Turned),
}

/// Lets nobody wait for other nodes any more when the driver has ended, in whatever way.
struct Ending(Arc<Side>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Drives the node.
pub(crate) struct Driver {
    id: NodeId,
    pub(super) side: Arc<Side>,
    events: mpsc::Receiver<Event>,
    pub(super) hub: Arc<Hub>,
    pub(super) moderation: Arc<Moderation>,
    /// Whom this node tells what happens once for all nodes, where that is its duty.
    notified: Option<Arc<dyn Notified>>,
    pub(super) rows: Rows,
    /// Nodes that watch groups here.
    observers: Observers,
    /// Entries that cannot be read here.
    pub(super) unreadable: HashSet<String>,
    /// Who is to be put back.
    pub(super) unmet: Unmet,
    /// The bucket is another than it was.
    pub(super) is_replaced: bool,
    /// The bucket that the disk has a copy of.
    pub(super) copy_of: Option<String>,
    /// What the disk has that was decided later than this was decided without the cluster, where it had a copy before.
    pub(super) alone_since: Option<Seconds>,
    /// The disk may have something that was in the cluster before.
    pub(super) was_node: bool,
    /// What the disk had of decisions when the node started, until it is known what the cluster has.
    pub(super) of_disk: Vec<Decision>,
    pub(super) caught_up: bool,
    /// The disk has a copy of all, or is being given one.
    pub(super) has_copy: bool,
    pub(super) copies: Copies,
    copier: tokio::task::JoinHandle<()>,
    /// What takes long is answered there.
    beside: Queue,
    answerer: tokio::task::JoinHandle<()>,
    pub(super) puts: JoinSet<Put>,
    /// What the disk has, and the cluster has not yet.
    pub(super) imports: Imports,
    /// How many decisions have come until all were known.
    heard: u64,
    /// When what has ended was last looked for.
    swept: Instant,
    /// Marks of what was ended.
    pub(super) clearing: Clearing,
    /// Whether its audit outlasts it.
    has_disk: bool,
    /// The state directory, until it says that this node has it.
    held: Option<Held>,
    /// How much of it is noted, when that was last looked at, and whether it is on its way.
    noted: Option<Head>,
    noted_at: Instant,
    is_noting: bool,
    joining: watch::Sender<Joining>,
}

impl Driver {
    /// How far the node is on its way into the cluster.
    pub(crate) fn joining(&self) -> watch::Receiver<Joining> {
        self.joining.subscribe()
    }

    /// Runs until `closing`; then says to the others that it goes.
    pub(crate) async fn run(mut self, closing: CancellationToken) {
        let side = Arc::clone(&self.side);
        let _ending = Ending(Arc::clone(&side));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                _ = ticks.tick() => self.tick(),
                Some(put) = self.puts.join_next() => self.put(put),
                event = self.events.recv() => {
                    let Some(event) = event else { break };
                    self.hear(event);
                    for _ in 0..AT_ONCE {
                        let Ok(event) = self.events.try_recv() else { break };
                        self.hear(event);
                    }
                }
                // The last: whoever sends without end wakes it again and again, and what is heard must have its turn.
                () = side.wake.notified() => {}
            }
            self.act();
        }
        self.finish().await;
    }

    fn tick(&mut self) {
        let population = self.hub.population();
        let number = |count: usize| count as u64;
        let now = uptime::now();
        let mut node = self.side.node.lock();
        node.has(number(population.connections), number(population.users), number(population.groups));
        node.tick(now);
        drop(node);
        self.side.elsewhere.sweep();
        self.observers.tell(&self.side);
        self.note_audit(now);
        self.remember();
        self.take_old_marks(now);
        // What could not be put a moment ago.
        self.bring();
        self.put_back(false);
        let decisions = self.heard + self.imports.settled();
        self.joining
            .send_if_modified(|known| std::mem::replace(&mut known.decisions, decisions) != decisions);
        if now >= self.swept + SWEEP {
            self.swept = now;
            for key in self.rows.ended(access::now(), PUTS) {
                if let Some(revision) = self.side.revision(&key) {
                    self.forget(key, revision);
                }
            }
        }
    }

    /// Has noted how far this node's audit has come, for the others to hold it to that.
    fn note_audit(&mut self, now: Instant) {
        let may = self.has_disk && self.caught_up && !self.is_noting && self.puts.len() < PUTS;
        if may && now >= self.noted_at + NOTE {
            (self.noted_at, self.is_noting) = (now, true);
            let noting = note(Arc::clone(&self.side), Arc::clone(&self.moderation), self.noted);
            self.puts.spawn(async move { Put::Noted(noting.await) });
        }
    }

    fn noted(&mut self, noting: Noting) {
        self.is_noting = false;
        match noting {
            Noting::Done(head) => self.noted = Some(head),
            Noting::Later => {}
            // Nothing more is noted: it would hide what was changed.
            Noting::Another(problem) => {
                tracing::error!(problem, "this node's audit is not what was noted of it in the cluster");
                self.side.has_another_audit(problem);
                self.has_disk = false;
            }
        }
    }

    /// Has the directory say whose it is, for whoever has it next. Not before it is known here: a start that is refused
    /// was no node; and not while what the node before has left is there, or nobody would know of that one any more.
    fn remember(&mut self) {
        if !self.caught_up || self.held.is_none() || !self.side.node.lock().has_succeeded() {
            return;
        }
        let (Some(held), id) = (self.held.take(), self.id) else { return };
        self.puts.spawn(async move {
            let remembering = tokio::task::spawn_blocking(move || held.remember(id).err());
            Put::Remembered(remembering.await.ok().flatten())
        });
    }

    fn put_back(&mut self, has_gone: bool) {
        if self.side.lease.holds() {
            self.unmet.put_back((&self.hub, &self.moderation), uptime::now(), has_gone);
        }
    }

    /// Deletes an entry where it is still what it was.
    fn forget(&mut self, key: String, revision: u64) {
        let bus = self.side.bus.clone();
        self.puts.spawn(async move {
            // Where another node did it, or something else was decided, it is not to be done.
            let _ = bus.delete(&key, Expect::Revision(revision)).await;
            Put::Forgotten
        });
    }

    /// Takes in what NATS brings.
    fn hear(&mut self, event: Event) {
        match event {
            // As if it came no more: what is known is not the whole, and nothing is to follow from it.
            Event::Entry { .. } | Event::Newest | Event::CaughtUp if self.is_replaced => {}
            Event::Message { payload } => self.side.node.lock().message(&payload, uptime::now()),
            Event::Entry { key, value, revision, is_newest } => {
                self.entry(&key, value.as_deref(), revision);
                // What cannot be read is not in force, and must not be said to be; nor is what was missed.
                if is_newest && self.unreadable.is_empty() && !self.is_replaced {
                    self.know(uptime::now());
                }
            }
            Event::Newest if self.unreadable.is_empty() => self.know(uptime::now()),
            Event::Newest => {}
            Event::CaughtUp => self.catch_up(),
            Event::Replaced => {
                self.is_replaced = true;
                tracing::error!(
                    "the cluster's bucket is another than it was: this node lets nobody in and delivers nothing until \
                     it is started again"
                );
            }
            Event::Connected { server, largest } => tracing::info!(server, largest, "connected to NATS"),
            Event::Disconnected => tracing::warn!("the connection to NATS is lost"),
        }
        // What has to be done is done before the next thing is heard: a decision holds for what follows it.
        self.act();
    }

    fn entry(&mut self, key: &str, value: Option<&[u8]>, revision: u64) {
        if let Some(id) = rows::node(key) {
            // One that cannot be read says nothing: its node is given up.
            let heartbeat = value.map(read::<Heartbeat>);
            if let Some(None) = heartbeat {
                return;
            }
            let heartbeat = heartbeat.flatten();
            self.compare_clocks(id, heartbeat.as_ref());
            self.side.node.lock().heartbeat(id, heartbeat, revision, uptime::now());
        } else if key == duty::KEY {
            let mut node = self.side.node.lock();
            match duty::read(value) {
                Some(duties) => node.duty(duties, revision),
                None => {
                    tracing::warn!(key, "who tells back ends of groups cannot be read: not this node");
                    node.duty_is_unknown(revision);
                }
            }
        } else if key == marks::KEY {
            self.floor(value, revision);
        } else if let Some(chain) = heads::chain(key) {
            // One that cannot be read notes nothing; what it noted before counts.
            match value.map(read::<Noted>) {
                Some(None) => tracing::warn!(key, "what is noted of an audit cannot be read"),
                noted => self.side.heads().saw(chain, noted.flatten(), revision),
            }
            self.side.node.lock().noted(revision);
        } else {
            let read = self.rows.read(key, value);
            let signed_out = match &read {
                Ok(Some((Decision::Ban(ban), _))) if ban.kind == BanKind::SignOut => Some(ban.since),
                _ => None,
            };
            self.side.saw(key, value.map(|_| Newest { revision, signed_out }));
            self.heard += u64::from(!self.caught_up);
            match read {
                Ok(decision) => {
                    self.unreadable.remove(key);
                    if let Some((decision, reason)) = decision {
                        // The end of an entry says none by itself.
                        let told = if value.is_none() { self.side.reason(key) } else { None };
                        let reason = told.unwrap_or(reason);
                        let receipt = self.moderation.put_in_force(&decision, &reason);
                        self.side.applied(revision, receipt);
                        // A copy that is not marked as one would be taken for this server's own when it starts again,
                        // and decided anew where it was lifted meanwhile. Until it is marked, nothing that lets in.
                        if self.has_copy || self.caught_up && !decision.lets_in() {
                            self.copies.add(decision);
                        }
                    }
                }
                Err(error) => {
                    self.unreadable.insert(key.to_owned());
                    tracing::error!(%error, "this node lets nobody in: it does not know what was decided");
                }
            }
            self.side.node.lock().applied(revision);
        }
    }

    /// Says so in the log where a node's clock is wrong, or this one's.
    fn compare_clocks(&self, id: NodeId, heartbeat: Option<&Heartbeat>) {
        let until = self.side.node.lock().lease_until();
        let mut clocks = self.side.clocks.lock();
        match heartbeat {
            None => clocks.forget(id),
            Some(_) if id == self.id => {}
            // What comes now may have been on its way for as long as this node had no lease, or longer.
            Some(_) if until.is_none_or(|until| uptime::now() >= until) => clocks.stop(),
            Some(Heartbeat { name, time_ms, .. }) => {
                if let Some(problem) = clocks.heard(id, *time_ms, clocks::now_ms()).and_then(clocks::words) {
                    tracing::warn!(
                        node = name,
                        problem,
                        "two nodes' clocks are apart: what ends, ends at another time on each of them"
                    );
                }
            }
        }
    }

    /// The bucket is known as it is: everything up to the entry that has come is in force.
    fn know(&mut self, now: Instant) {
        let mut node = self.side.node.lock();
        node.caught_up(now);
        let in_force = node.in_force();
        drop(node);
        self.side.reached(in_force);
    }

    fn put(&mut self, put: Result<Put, tokio::task::JoinError>) {
        match put {
            Ok(Put::Noted(noting)) => self.noted(noting),
            Ok(Put::Taken(turned)) => self.taken(turned),
            Ok(Put::Heartbeat(Err(error))) => tracing::debug!(%error, "a heartbeat was not put"),
            Ok(Put::Import(decision, put)) => self.brought(*decision, put),
            Ok(Put::Remembered(Some(error))) => {
                tracing::warn!(%error, "the state directory does not say which node has it");
            }
            _ => {}
        }
    }

    /// Does what the node asks for.
    fn act(&mut self) {
        loop {
            let now = uptime::now();
            let (effects, until) = {
                let mut node = self.side.node.lock();
                node.flush(now);
                (node.effects(), node.lease_until())
            };
            self.renew(until, now);
            if effects.is_empty() {
                self.side.look_at_handing_over();
                return;
            }
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
    }

    /// Whether what was decided is known here, and what this node's disk has of it is in the cluster.
    pub(super) fn knows(&self) -> bool {
        self.unreadable.is_empty() && !self.is_replaced && self.caught_up && self.imports.left() == 0
    }

    fn renew(&self, until: Option<Instant>, now: Instant) {
        if self.knows()
            && let Some(until) = until
        {
            // Here and nowhere else it begins again: also where it had ended by what could not be read, of which the
            // others know nothing, and where it was over for a moment.
            if !self.side.serves_without() && self.side.lease.last_until(until) && now < until {
                self.hub.resume();
            }
            if now < until {
                self.joining.send_if_modified(|known| !std::mem::replace(&mut known.is_ready, true));
            }
        } else if self.is_replaced || !self.side.serves_without() {
            // Whoever serves without the cluster counts on hearing of it again, and is named in what it does not know.
            // Of a bucket that has been made anew it hears nothing, and nobody there knows of it.
            self.side.lease.last_until(now);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Beat(heartbeat) => {
                if self.is_replaced {
                    // It hears nothing of the others any more, and would have them wait for its answers for ever.
                    return;
                }
                // Where NATS is so slow, one more heartbeat would make nothing better.
                if self.puts.len() < PUTS {
                    let heartbeat = Heartbeat { time_ms: clocks::now_ms(), ..heartbeat };
                    let (bus, key, value) =
                        (self.side.bus.clone(), rows::node_key(self.id), to_bytes(&heartbeat));
                    self.puts
                        .spawn(async move { Put::Heartbeat(bus.put(&key, value, Expect::Anything).await) });
                }
            }
            Effect::Claim(duties, over) => {
                if self.puts.len() < PUTS {
                    let (bus, value) = (self.side.bus.clone(), duty::to_bytes(&duties));
                    let expect = if over == 0 { Expect::Nothing } else { Expect::Revision(over) };
                    // Where another was earlier, the entry says so.
                    self.puts.spawn(async move {
                        let _ = bus.put(duty::KEY, value, expect).await;
                        Put::Claimed
                    });
                }
            }
            Effect::Notify { subject, is_occupied, order } => {
                if let Some(notified) = &self.notified {
                    notified.tell_of(subject, is_occupied, order);
                }
            }
            Effect::Forget(id, revision) => self.forget(rows::node_key(id), revision),
            Effect::Deliver { from, ticket, publication } => self.deliver(from, ticket, publication),
            Effect::Remove(topic, proof) => {
                self.unmet.put_out((&self.hub, &self.moderation), &topic, &proof, uptime::now());
            }
            Effect::Missed(from, messages) => {
                tracing::warn!(%from, messages, "messages of another node were lost on the way");
                self.hub.lagged(messages);
            }
            Effect::Lease(true) => {
                tracing::info!("this node knows what was decided: it lets in and delivers");
            }
            Effect::Lease(false) => {
                tracing::warn!(
                    "this node has lost touch with the cluster: it lets nobody in, and delivers nothing"
                );
            }
            Effect::Tallied(ticket, tallied) => self.side.elsewhere.answer(ticket, tallied),
            Effect::Asked { from, question, body } => {
                // Who does not know what was decided does nothing for others, and says nothing that may be wrong.
                let knows = self.side.lease.holds();
                let (number, since) = (question, uptime::now());
                let answer = match read::<Question>(&body).filter(|_| knows) {
                    Some(question) if question.takes_long() => {
                        if self.beside.add(Asked { from, number, question, since }) {
                            return;
                        }
                        None
                    }
                    known => known.and_then(|question| self.answer(question)),
                };
                self.side.node.lock().answer(from, number, answer);
            }
            Effect::Fenced(number, fenced) => self.side.fenced(number, fenced),
            Effect::Came(node) => tracing::info!(%node, "a node is there"),
            Effect::Went(node) => {
                tracing::info!(%node, "a node has gone");
                self.observers.part(&self.hub, node);
                self.put_back(true);
            }
            Effect::Watch { from, is_anew, is_watched, groups } => {
                self.observers.watch(&self.hub, from, (is_anew, is_watched), &groups);
                // The first snapshot at once: somebody waits for it.
                self.observers.tell(&self.side);
            }
            Effect::Present(from, frames) => observers::hear(&self.hub, from, frames),
        }
    }

    /// Says that it goes, and lets nobody wait.
    async fn finish(self) {
        if self.has_disk && self.caught_up {
            let noting = note(Arc::clone(&self.side), Arc::clone(&self.moderation), self.noted);
            let _ = tokio::time::timeout(LAST_WORDS, noting).await;
        }
        let Self { side, events, copies, copier, beside, answerer, mut puts, id, .. } = self;
        side.end();
        side.node.lock().leave();
        let key = rows::node_key(id);
        // Whoever sees the entry go, and has not heard that the node goes, takes it for one that was lost.
        let forget = async {
            side.bus.handed_over().await;
            side.bus.delete(&key, Expect::Anything).await
        };
        // Where NATS does not answer, the others find out by themselves.
        let _ = tokio::time::timeout(LAST_WORDS, forget).await;
        puts.shutdown().await;
        drop(beside);
        // What is being looked for is bounded: by how much there is, and by how long the audit is.
        let _ = answerer.await;
        drop(events);
        side.bus.clone().close().await;
        copies.end();
        // It ends when it has written what it was given; and has panicked only if we have a bug that its message tells
        // of.
        let _ = copier.await;
    }
}
