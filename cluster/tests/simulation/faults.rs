//! What goes wrong, and for how long.
//!
//! In: the seed. Out: troubles that begin and end. Invariant: at the end of a run everything is well again.

use std::sync::atomic::Ordering;

use super::event::Event;
use super::log::{Key, Value};
use super::time::{MS, Micros, SECOND};
use super::world::World;

/// What goes wrong. Nodes are named by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A node starts, which is none.
    Start,
    /// A node says that it goes, and goes.
    Leave,
    /// A process is no more.
    Crash,
    /// A process stands still.
    Pause(usize),
    /// Messages from one to another are lost.
    Cut(usize, usize),
    /// Between one and another.
    Split(usize, usize),
    /// Between one and all others.
    Alone(usize),
    /// A node has no connection, and knows it.
    Down(usize),
    /// A node's way to the log is cut.
    LogCut(usize),
    /// So is its way to the others.
    Island(usize),
    /// All have no connection.
    Restart,
    /// The bus is slow.
    Slow,
    /// Publications come twice.
    Repeat,
    SlowLog(usize),
    /// A watch stands still, for good.
    Stuck(usize),
    Lag(usize),
    Far(usize),
}

impl World {
    pub(crate) fn plan_troubles(&mut self, lasts: Micros) {
        let troubles =
            if self.is_calm { self.rng.usize(0..3) } else { self.rng.usize(1..self.most_troubles) };
        for _ in 0..troubles {
            let at = self.rng.u64(0..lasts);
            let kind = if self.is_calm { self.rng.u8(..2) } else { self.rng.u8(..30) };
            // Who it happens to is seen when it does.
            let (one, other) = (usize::MAX, usize::MAX);
            let trouble = match kind {
                0 => Trouble::Start,
                1 => Trouble::Leave,
                2..4 => Trouble::Crash,
                4..8 => Trouble::Pause(one),
                8..10 => Trouble::Cut(one, other),
                10..12 => Trouble::Split(one, other),
                12..14 => Trouble::Alone(one),
                14 => Trouble::Down(one),
                15..18 => Trouble::LogCut(one),
                18..21 => Trouble::Island(one),
                21 => Trouble::Restart,
                22 => Trouble::Slow,
                23 => Trouble::Repeat,
                24 => Trouble::SlowLog(one),
                25..27 => Trouble::Stuck(one),
                27..29 => Trouble::Lag(one),
                _ => Trouble::Far(one),
            };
            self.at(at, Event::Begin(trouble));
        }
    }

    fn somebody(&mut self, trouble: Trouble) -> Option<Trouble> {
        let (some, other) = (self.some_node()?, self.some_node()?);
        // What goes wrong is worse where something went wrong a moment ago.
        let one = self.victim.filter(|victim| self.nodes[*victim].runs() && self.rng.bool()).unwrap_or(some);
        self.victim = Some(one);
        Some(match trouble {
            Trouble::Pause(_) => Trouble::Pause(one),
            Trouble::Cut(..) => Trouble::Cut(one, other),
            Trouble::Split(..) => Trouble::Split(one, other),
            Trouble::Alone(_) => Trouble::Alone(one),
            Trouble::Down(_) => Trouble::Down(one),
            Trouble::LogCut(_) => Trouble::LogCut(one),
            Trouble::Island(_) => Trouble::Island(one),
            Trouble::SlowLog(_) => Trouble::SlowLog(one),
            Trouble::Stuck(_) => Trouble::Stuck(one),
            Trouble::Lag(_) => Trouble::Lag(one),
            Trouble::Far(_) => Trouble::Far(one),
            other => other,
        })
    }

    pub(crate) fn trouble_begins(&mut self, trouble: Trouble) {
        if self.is_resting {
            return;
        }
        if trouble == Trouble::Start {
            if self.nodes.len() < 12 {
                self.start_node();
            }
            return;
        }
        let Some(trouble) = self.somebody(trouble) else { return };
        self.trace(|| format!("{trouble:?} begins"));
        match trouble {
            Trouble::Leave => return self.node_leaves(),
            Trouble::Crash => return self.node_crashes(),
            Trouble::Pause(at) => self.nodes[at].stopped = true,
            Trouble::Stuck(at) => self.nodes[at].watch.is_stuck = true,
            _ => {}
        }
        self.set(&trouble, true);
        // From a moment to longer than anything waits for.
        let longest = [50 * MS, 800 * MS, 4 * SECOND, 9 * SECOND, 20 * SECOND, 70 * SECOND];
        let lasts = match self.rng.u8(..20) {
            0..3 => longest[0],
            3..7 => longest[1],
            7..11 => longest[2],
            11..15 => longest[3],
            15..19 => longest[4],
            _ => longest[5],
        };
        let lasts = self.rng.u64(10 * MS..lasts);
        self.later(lasts, Event::End(trouble));
    }

    pub(crate) fn trouble_ends(&mut self, trouble: &Trouble) {
        self.trace(|| format!("{trouble:?} ends"));
        self.set(trouble, false);
        let now = self.now;
        if let Trouble::Pause(at) = *trouble
            && self.nodes[at].stopped
        {
            let node = &mut self.nodes[at];
            node.stopped = false;
            node.resumed = now;
            node.joint.clock.set(now);
            self.happen_late(at);
        }
    }

    /// Has a trouble hold, or not any more.
    fn set(&mut self, trouble: &Trouble, begins: bool) {
        fn change<K: std::hash::Hash + Eq>(times: &mut super::net::Times<K>, key: K, begins: bool) {
            if begins { times.add(key) } else { times.remove(&key) }
        }
        let everybody: Vec<usize> = (0..self.nodes.len()).collect();
        match *trouble {
            Trouble::Cut(from, to) => change(&mut self.net.cut, (from, to), begins),
            Trouble::Split(one, other) => {
                change(&mut self.net.cut, (one, other), begins);
                change(&mut self.net.cut, (other, one), begins);
            }
            // Also from those who come meanwhile.
            Trouble::Alone(one) | Trouble::Island(one) => {
                for other in (0..16).filter(|other| *other != one) {
                    change(&mut self.net.cut, (one, other), begins);
                    change(&mut self.net.cut, (other, one), begins);
                }
                if matches!(trouble, Trouble::Island(_)) {
                    self.cut_log(one, begins);
                }
            }
            Trouble::LogCut(at) => self.cut_log(at, begins),
            Trouble::Down(at) => self.connection(at, begins),
            Trouble::Restart => everybody.iter().for_each(|at| self.connection(*at, begins)),
            Trouble::Slow => change(&mut self.net.slow, (), begins),
            Trouble::Repeat => change(&mut self.net.repeats, (), begins),
            Trouble::SlowLog(at) => change(&mut self.net.slow_log, at, begins),
            Trouble::Lag(at) => change(&mut self.net.lags, at, begins),
            Trouble::Far(at) => change(&mut self.net.far, at, begins),
            Trouble::Start | Trouble::Leave | Trouble::Crash | Trouble::Pause(_) | Trouble::Stuck(_) => {}
        }
        match *trouble {
            Trouble::LogCut(at)
            | Trouble::Island(at)
            | Trouble::Down(at)
            | Trouble::SlowLog(at)
            | Trouble::Lag(at)
            | Trouble::Far(at)
            | Trouble::Stuck(at)
            | Trouble::Pause(at) => self.net.disturb(at, begins, self.now),
            Trouble::Restart | Trouble::Slow => {
                everybody.iter().for_each(|at| self.net.disturb(*at, begins, self.now));
            }
            _ => {}
        }
    }

    fn cut_log(&mut self, at: usize, begins: bool) {
        if begins {
            self.net.log_cut.add(at);
            // What was on its way is lost, and nothing follows.
            let watch = &mut self.nodes[at].watch;
            (watch.generation, watch.is_stuck, watch.is_pumped) = (watch.generation + 1, true, false);
        } else {
            self.net.log_cut.remove(&at);
            self.connected(at);
        }
    }

    fn connection(&mut self, at: usize, breaks: bool) {
        if breaks {
            self.net.down.add(at);
            self.nodes[at].post.is_down.store(true, Ordering::Relaxed);
            let watch = &mut self.nodes[at].watch;
            (watch.generation, watch.is_stuck, watch.is_pumped) = (watch.generation + 1, true, false);
        } else {
            self.net.down.remove(&at);
            if !self.net.down.holds(&at) {
                self.nodes[at].post.is_down.store(false, Ordering::Relaxed);
            }
            self.connected(at);
        }
    }

    /// A node reaches the log again: it goes on where it was, if it notices.
    fn connected(&mut self, at: usize) {
        if self.net.reaches_log(at) && self.nodes[at].runs() && self.rng.bool() {
            self.renew_watch(at);
        }
    }

    fn node_leaves(&mut self) {
        let running = self.nodes.iter().filter(|node| node.runs()).count();
        let Some(at) = self.some_node().filter(|_| running > 1) else { return };
        self.trace(|| format!("{at}: leaves"));
        for client in 0..self.clients.len() {
            if self.clients[client].at == at {
                self.end_client(client);
            }
        }
        let now = self.nodes[at].local();
        self.nodes[at].joint.node.lock().unwrap().resign(now);
        self.settle(at);
        self.nodes[at].leaves = true;
        self.later(SECOND, Event::Leave(at));
    }

    pub(crate) fn node_left(&mut self, at: usize) {
        let is_reported = self.nodes[at].joint.node.lock().unwrap().reported().is_ok();
        self.trace(|| format!("{at}: has left{}", if is_reported { "" } else { ", and owes something" }));
        // Where it knows of nobody, nobody is told.
        let is_alone = self.nodes[at].joint.node.lock().unwrap().peers().is_empty();
        self.is_forgotten |= !is_reported || is_alone;
        self.is_unsure |= !is_reported || is_alone;
        self.nodes[at].joint.node.lock().unwrap().leave();
        self.settle(at);
        self.nodes[at].alive = false;
        let key = Key::Node(self.nodes[at].id);
        self.put(at, key, Value::Deleted, None, 0);
    }

    fn node_crashes(&mut self) {
        let running = self.nodes.iter().filter(|node| node.runs()).count();
        let Some(at) = self.some_node().filter(|_| running > 1) else { return };
        self.trace(|| format!("{at}: crashes"));
        self.nodes[at].alive = false;
        let node = self.nodes[at].joint.node.lock().unwrap();
        let (has_duty, owes) = (node.has_duty(), node.reported().is_err() || node.peers().is_empty());
        drop(node);
        self.is_forgotten |= has_duty || owes;
        self.is_unsure |= has_duty || owes;
        for client in 0..self.clients.len() {
            if self.clients[client].at == at {
                self.end_client(client);
            }
        }
        let since = self.now;
        self.later(6 * SECOND, Event::Missed { gone: at, since });
    }

    /// Everything is well from now on, and nobody does anything.
    pub(crate) fn rest(&mut self) {
        self.trace(|| "rest".to_owned());
        self.is_resting = true;
        self.net.heal();
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.post.is_down.store(false, Ordering::Relaxed);
            if node.alive && node.stopped {
                self.trouble_ends(&Trouble::Pause(at));
            }
        }
        for dead in 0..self.nodes.len() {
            if !self.nodes[dead].alive && self.nodes[dead].joint.serves_without {
                self.later(12 * SECOND, Event::Forget(dead));
            }
        }
        // One behind the other: all at once they fill outboxes, which loses what they look for.
        let mut then = 20 * SECOND;
        for at in (0..self.nodes.len()).filter(|at| self.nodes[*at].alive).collect::<Vec<_>>() {
            self.later(then, Event::Probe(at));
            then += SECOND / 2;
        }
        self.later(then + 4 * SECOND, Event::Stop);
    }

    pub(crate) fn node_forgotten(&mut self, dead: usize) {
        let Some(at) = (0..self.nodes.len()).find(|at| self.nodes[*at].alive) else { return };
        self.trace(|| format!("{at}: is told that {dead} is dead"));
        let key = Key::Node(self.nodes[dead].id);
        self.put(at, key, Value::Deleted, None, 0);
    }
}
