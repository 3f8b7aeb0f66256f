//! Which event of an end point is sent next: in order for each subject, and nobody waits for another's trouble.
//!
//! In: events, what came of sending them, and the time. Out: the next ones to send. Pure: it sends nothing, keeps
//! nothing on a disk, and reads no clock. Invariants: of one subject no event is sent before the one before it is done;
//! an event of the node is sent when all before it are done, and none behind it before that is, but for subjects whose
//! events the back end refuses, which hold up nobody else; an event is given up only by [`Queue::failed`], when it is
//! too old and the back end has just not taken something, or when it was refused too often.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Numbered, Subject};

/// How long it takes until the first further attempt; each is about twice as long after the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often an event is refused before it is given up: about ten minutes.
const MOST_REFUSALS: u32 = 16;

/// Events of an end point that are in memory.
#[derive(Default)]
pub(super) struct Queue {
    /// By their numbers, also those that are on their way.
    events: BTreeMap<u64, Arc<Numbered>>,
    subjects: HashMap<Subject, Waiting>,
    /// The first of each subject that is neither on its way nor held back.
    ready: BTreeSet<u64>,
    /// Subjects that are held back, until when.
    held: BTreeMap<(Instant, u64), Subject>,
    /// Events of the node.
    barriers: BTreeSet<u64>,
    /// The whole end point is held back until then, and then tried with one request.
    pause: Option<Pause>,
    sent: usize,
}

/// Events of one subject that are not on their way.
#[derive(Default)]
struct Waiting {
    numbers: VecDeque<u64>,
    is_sent: bool,
    failures: u32,
    held_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    failures: u32,
    until: Instant,
}

/// Why a request failed, and so who is to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is about these events: others may go on.
    Refused,
    /// It is about the back end: it is tried again after this time, or after one of our own.
    Down(Option<Duration>),
}

/// Events that go in one request.
pub(super) type Batch = Vec<Arc<Numbered>>;

impl Queue {
    /// Puts an event behind all others.
    pub(super) fn push(&mut self, event: Arc<Numbered>) {
        let (number, subject) = (event.sequence, event.event.subject());
        if subject == Subject::Node {
            self.barriers.insert(number);
        }
        let waiting = self.subjects.entry(subject).or_default();
        waiting.numbers.push_back(number);
        if waiting.numbers.len() == 1 && !waiting.is_sent && waiting.held_until.is_none() {
            self.ready.insert(number);
        }
        self.events.insert(number, event);
    }

    /// How many there are, those that are on their way included.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// How many of them wait because one of their subject was refused.
    pub(super) fn held_back(&self) -> usize {
        let of = |subject| self.subjects.get(subject).map_or(0, |waiting| waiting.numbers.len());
        self.held.values().map(of).sum()
    }

    /// The oldest.
    pub(super) fn oldest(&self) -> Option<&Arc<Numbered>> {
        self.events.values().next()
    }

    /// What goes into the next request, at most `most` events; `None` when nothing may go now.
    pub(super) fn next(&mut self, now: Instant, most: usize) -> Option<Batch> {
        if let Some(Pause { until, .. }) = self.pause
            && (now < until || self.sent > 0)
        {
            return None;
        }
        self.release(now);
        let mut batch = Batch::new();
        while batch.len() < most
            && let Some(number) = self.ready.first().copied()
            && self.may_go(number)
        {
            self.ready.remove(&number);
            let Some(event) = self.events.get(&number) else { continue };
            let Some(waiting) = self.subjects.get_mut(&event.event.subject()) else { continue };
            // What was refused goes alone, so that nothing else is refused with it.
            let is_alone = waiting.failures > 0 || self.barriers.contains(&number);
            if is_alone && !batch.is_empty() {
                self.ready.insert(number);
                break;
            }
            batch.push(Arc::clone(event));
            waiting.is_sent = true;
            waiting.numbers.pop_front();
            // In one request the next of a subject may follow.
            self.ready.extend(waiting.numbers.front());
            if is_alone {
                break;
            }
        }
        for event in &batch {
            // What has not followed waits for what is sent.
            let front = self.subjects.get(&event.event.subject()).and_then(|waiting| waiting.numbers.front());
            if let Some(front) = front {
                self.ready.remove(front);
            }
        }
        if batch.is_empty() {
            return None;
        }
        self.sent += 1;
        Some(batch)
    }

    /// Whether the first that is ready may go, past the events of the node.
    fn may_go(&self, number: u64) -> bool {
        match self.barriers.first() {
            Some(barrier) if *barrier < number => self.is_refused(*barrier),
            Some(barrier) if *barrier == number => {
                self.events.range(..number).all(|(before, _)| self.is_refused(*before))
            }
            _ => true,
        }
    }

    /// Whether an event waits because one of its subject was refused, this one or one before it.
    fn is_refused(&self, number: u64) -> bool {
        let subject = self.events.get(&number).map(|event| event.event.subject());
        subject.and_then(|subject| self.subjects.get(&subject)).is_some_and(|waiting| waiting.failures > 0)
    }

    /// When something may go that may not go now: for a timer.
    pub(super) fn wakes(&self) -> Option<Instant> {
        let held = self.held.keys().next().map(|(until, _)| *until);
        match self.pause {
            // What is on its way says when to go on.
            Some(_) if self.sent > 0 => None,
            Some(Pause { until, .. }) if !self.ready.is_empty() => Some(until),
            Some(Pause { until, .. }) => held.map(|held| held.max(until)),
            None => held,
        }
    }

    /// A request was taken.
    pub(super) fn done(&mut self, batch: &Batch) {
        self.sent -= 1;
        self.pause = None;
        for event in batch {
            self.forget(event);
        }
        self.settle(batch, None);
    }

    /// A request failed. Gives those that are given up, because they are older than `longest`, or were refused too
    /// often.
    pub(super) fn failed(
        &mut self,
        batch: &Batch,
        trouble: Trouble,
        (now, now_ms): (Instant, u64),
        longest: Duration,
        chance: impl Fn() -> f64,
    ) -> Batch {
        self.sent -= 1;
        if let Trouble::Down(after) = trouble {
            let failures = self.pause.map_or(0, |pause| pause.failures);
            let wanted = after.unwrap_or_default().min(longest);
            let until = now + pause_after(failures, chance()).max(wanted);
            // Of many that fail at a time only the first counts: the others were sent before it was known.
            if self.pause.is_none_or(|pause| now >= pause.until) {
                self.pause = Some(Pause { failures: failures.saturating_add(1), until });
            }
        } else {
            self.pause = None;
        }
        let oldest = now_ms.saturating_sub(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        let is_given_up = |event: &Arc<Numbered>| {
            let waiting = self.subjects.get(&event.event.subject());
            let refusals = waiting.map_or(0, |waiting| waiting.failures);
            event.event.at_ms < oldest || (trouble == Trouble::Refused && refusals + 1 >= MOST_REFUSALS)
        };
        let (mut given_up, again): (Batch, Batch) = batch.iter().map(Arc::clone).partition(is_given_up);
        for event in &given_up {
            self.forget(event);
        }
        // From the last to the first, so that they are as they were.
        for event in again.iter().rev() {
            if let Some(waiting) = self.subjects.get_mut(&event.event.subject()) {
                waiting.numbers.push_front(event.sequence);
            }
        }
        match trouble {
            // What is behind one that is given up may be another matter.
            Trouble::Refused if again.is_empty() => self.settle(batch, None),
            Trouble::Refused => self.settle(batch, Some((now, &chance))),
            Trouble::Down(_) => {
                self.settle(batch, None);
                given_up.extend(self.expire(oldest));
            }
        }
        given_up
    }

    /// Gives up those that are older, and not on their way: the back end has been down for as long as they wait.
    fn expire(&mut self, oldest: u64) -> Batch {
        let mut given_up = Vec::new();
        let old: Vec<_> =
            self.events.values().take_while(|event| event.event.at_ms < oldest).map(Arc::clone).collect();
        for event in old {
            let subject = event.event.subject();
            let Some(waiting) = self.subjects.get_mut(&subject) else { continue };
            if waiting.numbers.front() != Some(&event.sequence) {
                continue;
            }
            waiting.numbers.pop_front();
            let next = waiting.numbers.front().copied();
            if self.ready.remove(&event.sequence) {
                self.ready.extend(next);
            }
            if let Some(until) = waiting.held_until
                && self.held.remove(&(until, event.sequence)).is_some()
                && let Some(next) = next
            {
                self.held.insert((until, next), subject.clone());
            }
            if next.is_none() && !waiting.is_sent {
                self.subjects.remove(&subject);
            }
            self.forget(&event);
            given_up.push(event);
        }
        given_up
    }

    fn forget(&mut self, event: &Numbered) {
        self.events.remove(&event.sequence);
        self.barriers.remove(&event.sequence);
    }

    /// The subjects of a request are not on their way any more: they may go on, at once or after a pause.
    fn settle(&mut self, batch: &Batch, held: Option<(Instant, &dyn Fn() -> f64)>) {
        for event in batch {
            let subject = event.event.subject();
            let Some(waiting) = self.subjects.get_mut(&subject).filter(|waiting| waiting.is_sent) else {
                continue;
            };
            waiting.is_sent = false;
            let Some(front) = waiting.numbers.front().copied() else {
                self.subjects.remove(&subject);
                continue;
            };
            match held {
                Some((now, chance)) => {
                    let until = now + pause_after(waiting.failures, chance());
                    waiting.failures = waiting.failures.saturating_add(1);
                    waiting.held_until = Some(until);
                    self.held.insert((until, front), subject);
                }
                None => {
                    waiting.failures = 0;
                    self.ready.insert(front);
                }
            }
        }
    }

    /// Lets those go on whose time has come.
    fn release(&mut self, now: Instant) {
        while let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now
        {
            let waiting = self.subjects.get_mut(&entry.remove());
            if let Some(waiting) = waiting {
                waiting.held_until = None;
                self.ready.extend(waiting.numbers.front());
            }
        }
    }
}

/// How long to wait after so many failures in a row: twice as long each time, and between half of it and all of it by
/// chance (from 0 to 1), so that those who failed together do not come together.
fn pause_after(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
