//! The world: events in the order of their times, and everything that they happen to.
//!
//! In: a seed, and what is asked of the run. Out: what was violated, or a summary. Invariant: all that is random comes
//! from the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::{NodeId, Settings, Subject};
use fanfare_protocol::{GroupName, UserName};

use super::clients::{Client, Sent};
use super::event::{Event, Scheduled};
use super::faults::Trouble;
use super::log::Log;
use super::net::Net;
use super::node::Process;
use super::time::{MS, Micros, SECOND};
use super::users::Forbidden;

/// What is asked of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// What happens is printed.
    pub(crate) is_traced: bool,
    /// Nothing is disturbed.
    pub(crate) is_calm: bool,
    /// A broken fence: what the log has acknowledged counts as in force.
    pub(crate) ack_is_fence: bool,
    /// A broken pause: nodes deliver without the lease.
    pub(crate) always_delivers: bool,
    /// A broken watch: what is behind an entry is not waited for.
    pub(crate) ignores_backlog: bool,
    /// A broken operator: a sign-out that another was faster with is put again as it was.
    pub(crate) keeps_moment: bool,
}

/// What a run was like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) taken: u64,
    pub(crate) removes: u64,
    pub(crate) closed_fences: u64,
    pub(crate) open_fences: u64,
    pub(crate) late: u64,
    pub(crate) missed: u64,
    /// Watched groups that were compared at the end.
    pub(crate) views: u64,
    /// What a back end was told.
    pub(crate) notices: u64,
    /// Of those what it was told already.
    pub(crate) repeated: u64,
    /// Bans and sign-outs of users that were in force everywhere, and how many connections were refused for them.
    pub(crate) user_fences: u64,
    pub(crate) kept_out: u64,
    /// Decisions that were put once more, because something else was decided.
    pub(crate) again: u64,
    /// Lasting memberships that were compared at the end, and that were put back.
    pub(crate) lasting: u64,
    pub(crate) put_back: u64,
    /// Calls, how many of them were refused, and how many were answered.
    pub(crate) calls: u64,
    pub(crate) refused: u64,
    pub(crate) results: u64,
    /// Messages that were lost and whose number was compared with what was told.
    pub(crate) lost: u64,
}

impl Summary {
    pub(crate) fn plus(self, other: &Self) -> Self {
        Self {
            events: self.events + other.events,
            taken: self.taken + other.taken,
            removes: self.removes + other.removes,
            closed_fences: self.closed_fences + other.closed_fences,
            open_fences: self.open_fences + other.open_fences,
            late: self.late + other.late,
            missed: self.missed + other.missed,
            views: self.views + other.views,
            notices: self.notices + other.notices,
            repeated: self.repeated + other.repeated,
            user_fences: self.user_fences + other.user_fences,
            kept_out: self.kept_out + other.kept_out,
            again: self.again + other.again,
            lasting: self.lasting + other.lasting,
            put_back: self.put_back + other.put_back,
            calls: self.calls + other.calls,
            refused: self.refused + other.refused,
            results: self.results + other.results,
            lost: self.lost + other.lost,
        }
    }
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Micros,
    /// Grows with each event, and with each frame that a client takes.
    pub(crate) step: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    pub(crate) nodes: Vec<Process>,
    pub(crate) places: HashMap<NodeId, usize>,
    pub(crate) clients: Vec<Client>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) users: Vec<UserName>,
    pub(crate) groups: Vec<GroupName>,
    pub(crate) net: Net,
    pub(crate) log: Log,
    pub(crate) woken: Arc<Mutex<Vec<usize>>>,
    pub(crate) airborne: Arc<Mutex<Vec<(usize, Bytes)>>>,
    /// Fences that were reported closed, and since when nothing of it may happen: by user and group, the revision.
    pub(crate) closed: BTreeMap<(usize, usize), u64>,
    /// The same of users.
    pub(crate) forbidden: Forbidden,
    pub(crate) is_calm: bool,
    pub(crate) is_resting: bool,
    /// How long a client waits at most until it does something again.
    pub(crate) idleness: Micros,
    pub(crate) frames: usize,
    /// Whom something happened to last.
    pub(crate) victim: Option<usize>,
    pub(crate) most_troubles: usize,
    pub(crate) probes: Vec<super::checks::Probe>,
    pub(crate) counts: Summary,
    /// What a back end was told last of each subject.
    pub(crate) told: BTreeMap<Subject, bool>,
    /// The order of the last of that.
    pub(crate) notice: (u64, u64),
    /// Somebody lost the duty to tell it by force, and somebody crashed who had it.
    pub(crate) is_unsure: bool,
    pub(crate) is_forgotten: bool,
    pub(crate) violation: Option<String>,
}

pub(crate) fn user_number(user: &UserName) -> usize {
    user.as_str().trim_start_matches('u').parse().unwrap()
}

pub(crate) fn group_number(group: &GroupName) -> usize {
    group.as_str().trim_start_matches('g').parse().unwrap()
}

/// Runs one seed.
pub(crate) fn run(seed: u64, options: Options) -> Result<Summary, String> {
    let mut world = World::new(seed, options);
    world.begin();
    while world.violation.is_none() && world.next() {}
    world.counts.events = world.step;
    match world.violation.take() {
        Some(violation) => Err(format!("seed {seed}, at {:.6} s: {violation}", world.seconds())),
        None => Ok(world.counts),
    }
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let is_calm = options.is_calm || rng.u8(..5) == 0;
        let names = |kind: char, many: usize| (0..many).map(move |number| format!("{kind}{number}"));
        let (users, groups) = (rng.usize(2..6), if rng.bool() { rng.usize(1..6) } else { rng.usize(6..20) });
        Self {
            options,
            settings: Settings { notifies: true, grace: Duration::from_millis(800), ..Settings::default() },
            now: 0,
            step: 0,
            queue: BinaryHeap::new(),
            order: 0,
            nodes: Vec::new(),
            places: HashMap::new(),
            clients: Vec::new(),
            sent: Vec::new(),
            users: names('u', users).map(|name| UserName::new(&name).unwrap()).collect(),
            groups: names('g', groups).map(|name| GroupName::new(&name).unwrap()).collect(),
            net: Net::default(),
            log: Log::default(),
            woken: Arc::default(),
            airborne: Arc::default(),
            closed: BTreeMap::new(),
            forbidden: Forbidden::default(),
            is_calm,
            is_resting: false,
            idleness: rng.u64(200 * MS..4 * SECOND),
            frames: if is_calm || rng.bool() { 10_000 } else { 64 },
            victim: None,
            most_troubles: if rng.bool() { 8 } else { 24 },
            probes: Vec::new(),
            counts: Summary::default(),
            told: BTreeMap::new(),
            notice: (0, 0),
            is_unsure: false,
            is_forgotten: false,
            violation: None,
            rng,
        }
    }

    fn begin(&mut self) {
        let nodes = self.rng.usize(2..6);
        for _ in 0..nodes {
            if self.rng.bool() {
                self.start_node();
            } else {
                let after = self.rng.u64(0..6 * SECOND);
                self.later(after, Event::Begin(Trouble::Start));
            }
        }
        let lasts = if self.rng.u8(..12) == 0 { 110 * SECOND } else { self.rng.u64(8 * SECOND..30 * SECOND) };
        self.plan_troubles(lasts);
        let mut at = 0;
        while at < lasts {
            at += self.rng.u64(10 * MS..lasts / 16);
            self.later(at, Event::Arrive);
        }
        let mut at = 0;
        while at < lasts {
            at += self.rng.u64(10 * MS..lasts / 10);
            self.later(at, Event::Operate);
        }
        self.later(lasts, Event::Rest);
    }

    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_micros(self.now).as_secs_f64()
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.options.is_traced {
            println!("{:>11.6} #{} {}", self.seconds(), self.step, what());
        }
    }

    /// Something that must hold does not.
    pub(crate) fn violate(&mut self, invariant: u8, mut what: String) {
        what.insert_str(0, &format!("invariant {invariant}: "));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn later(&mut self, after: Micros, event: Event) {
        self.at(self.now + after, event);
    }

    pub(crate) fn at(&mut self, at: Micros, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, event }));
    }

    /// A new process.
    pub(crate) fn start_node(&mut self) {
        let index = self.nodes.len();
        let drift = self.rng.i64(-10_000..=10_000);
        let serves_without = !self.is_calm && self.rng.u8(..12) == 0;
        let settings = Settings { serves_without, ..self.settings };
        let process =
            Process::new(index, settings, drift, self.now, self.frames, self.options.always_delivers);
        self.trace(|| format!("{index}: starts{}", if serves_without { ", and serves without" } else { "" }));
        self.places.insert(process.id, index);
        // In its directory, or somewhere else.
        let dead = self.nodes.iter().rposition(|node| !node.alive && !node.is_followed);
        if let Some(dead) = dead.filter(|_| self.rng.bool()) {
            self.nodes[dead].is_followed = true;
            process.joint.node.lock().unwrap().succeed(Some(self.nodes[dead].id));
            self.trace(|| format!("{index}: has what {dead} had"));
        }
        self.nodes.push(process);
        let after = self.rng.u64(0..300 * MS);
        self.later(after, Event::Tick(index));
        self.later(after + 2 * SECOND, Event::Useful(index));
        self.pump_later(index);
    }

    fn next(&mut self) -> bool {
        let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else { return false };
        self.now = at;
        self.step += 1;
        if let Some((process, kind)) = event.process(&self.clients) {
            if !self.nodes[process].alive {
                return true;
            }
            if !matches!(event, Event::Late(_))
                && self.nodes[process].late.get(&kind).is_some_and(|last| at <= *last)
            {
                self.happens_late(process, kind, event);
                return true;
            }
            if self.nodes[process].stopped {
                self.nodes[process].held.push(event);
                return true;
            }
            self.nodes[process].joint.clock.set(at);
        }
        self.happen(event)
    }

    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Tick(at) => self.tick(at),
            Event::Flush(at) => self.flush(at),
            Event::Bus { to, bytes, .. } => self.hear(to, &bytes),
            Event::Pump { at, generation } => self.pump(at, generation),
            Event::Watch { at, generation, entry, has_more } => {
                if self.nodes[at].watch.generation == generation {
                    self.see(at, entry, has_more);
                }
            }
            Event::Put { from, key, value, over, attempt } => self.append(from, key, value, over, attempt),
            Event::Answered { at, key, value, attempt, revision } => {
                self.answered(at, key, value, attempt, revision);
            }
            Event::Decide { at, key, value, attempt } => self.decide(at, key, value, attempt),
            Event::Arrive => {
                if let Some(at) = self.some_node() {
                    self.arrive(at);
                }
            }
            Event::Seated(client) => self.seated(client),
            Event::Act(client) => self.act(client),
            Event::Made(client, call) => self.made(client, call),
            Event::Read(client) => self.read(client),
            Event::Operate => self.operate(),
            Event::Begin(trouble) => self.trouble_begins(trouble),
            Event::End(trouble) => self.trouble_ends(&trouble),
            Event::Missed { gone, since } => self.check_gone(gone, since),
            Event::Useful(at) => self.check_useful(at),
            Event::Late(event) => return self.happen(*event),
            Event::Rest => self.rest(),
            Event::Forget(dead) => self.node_forgotten(dead),
            Event::Probe(at) => self.probe(at),
            Event::Leave(at) => self.node_left(at),
            Event::Stop => {
                self.check_end();
                return false;
            }
        }
        true
    }

    /// What happened to a process while it was stopped happens now, each kind in its order. What was put off by a stop
    /// before this one, and has not come yet, comes behind it.
    pub(crate) fn happen_late(&mut self, at: usize) {
        let held = std::mem::take(&mut self.nodes[at].held);
        let now = self.now;
        self.nodes[at].late.retain(|_, last| *last > now);
        let put_off: Vec<(u8, usize)> = self.nodes[at].late.keys().copied().collect();
        for event in held {
            let Some((_, kind)) = event.process(&self.clients) else { continue };
            let event = if let Event::Late(event) = event { *event } else { event };
            if put_off.contains(&kind) {
                self.at(now, Event::Late(Box::new(event)));
                continue;
            }
            if !self.nodes[at].late.contains_key(&kind) {
                let first = self.now + self.rng.u64(0..150 * MS);
                self.nodes[at].late.insert(kind, first);
            }
            self.happens_late(at, kind, event);
        }
    }

    /// Behind everything of its kind.
    fn happens_late(&mut self, at: usize, kind: (u8, usize), event: Event) {
        let after = self.rng.u64(1..200);
        let Some(last) = self.nodes[at].late.get_mut(&kind) else { return };
        *last += after;
        let last = *last;
        self.at(last, Event::Late(Box::new(event)));
    }

    /// A process that runs.
    pub(crate) fn some_node(&mut self) -> Option<usize> {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.nodes[*at].runs() && !self.nodes[*at].leaves).collect();
        let some = self.rng.choice(running)?;
        self.nodes[some].joint.clock.set(self.now);
        Some(some)
    }

    /// A watch goes on.
    pub(crate) fn pump_later(&mut self, at: usize) {
        let watch = &mut self.nodes[at].watch;
        if watch.is_stuck || watch.is_pumped || !self.nodes[at].alive {
            return;
        }
        self.nodes[at].watch.is_pumped = true;
        let most = if self.net.lags.holds(&at) { 900 * MS } else { 2 * MS };
        let (after, generation) = (self.rng.u64(0..most), self.nodes[at].watch.generation);
        self.later(after, Event::Pump { at, generation });
    }

    /// A watch gives what is next.
    fn pump(&mut self, at: usize, generation: u64) {
        let reaches = self.net.reaches_log(at);
        let most = if self.net.far.holds(&at) { 2 * SECOND } else { 10 * MS };
        let delay = self.rng.u64(200..most);
        let now = self.now;
        let watch = &mut self.nodes[at].watch;
        if watch.generation != generation {
            return;
        }
        watch.is_pumped = false;
        if watch.is_stuck || !reaches {
            return;
        }
        let Some((entry, has_more)) = self.log.next(watch.cursor) else { return };
        watch.cursor = entry.revision;
        watch.arrives = watch.arrives.max(now + delay);
        let arrives = watch.arrives;
        self.at(arrives, Event::Watch { at, generation, entry, has_more });
        if has_more {
            self.pump_later(at);
        }
    }

    /// A message goes to another node.
    pub(crate) fn dispatch(&mut self, from: usize, to: NodeId, bytes: Bytes) {
        let Some(to) = self.places.get(&to).copied() else { return };
        if !self.net.carries(from, to) {
            return;
        }
        let at = self.net.send(from, to, self.now, &mut self.rng);
        if self.net.repeats.holds(&()) && is_publication(&bytes) && self.rng.u8(..4) == 0 {
            let later = at + self.rng.u64(0..3 * SECOND);
            self.at(later, Event::Bus { from, to, bytes: bytes.clone() });
        }
        self.at(at, Event::Bus { from, to, bytes });
    }
}

/// Whether bytes on the bus are a publication, by its kind.
fn is_publication(bytes: &Bytes) -> bool {
    bytes.get(2..4) == Some(&[1, 0])
}
