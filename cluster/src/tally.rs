//! Counts and answers that nodes are waited for.
//!
//! In: whom something was asked of, their answers, nodes that go, time. Out: the sum, and who did not answer.
//! Invariant: whoever waits gets an end, at the latest at its deadline.

use std::num::NonZeroU64;
use std::time::Instant;

use bytes::Bytes;
use fanfare_hub::Ticket;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::id::{NodeId, Places};

/// So many are waited for at a time; whoever comes then is told that nobody answered.
const MOST: usize = 100_000;

/// What came of a publication, or of a question, on the other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tallied {
    /// Copies that were queued there.
    pub copies: u64,
    /// Answers to a question: `None` from a node that does not know it.
    pub answers: Vec<(NodeId, Option<Bytes>)>,
    /// Nodes that did not answer in time, or that could not be reached.
    pub silent: Vec<NodeId>,
}

struct Tally {
    waiting: Places,
    until: Instant,
    so_far: Tallied,
}

/// Everything that is waited for.
#[derive(Default)]
pub(crate) struct Tallies {
    open: HashMap<u64, Tally, RandomState>,
    /// The number of the last.
    last: Option<NonZeroU64>,
    done: Vec<(Ticket, Tallied)>,
}

impl Tallies {
    /// The number of the next, and whether there is room for it.
    pub(crate) fn next(&mut self) -> (NonZeroU64, bool) {
        let next = self.last.map_or(NonZeroU64::MIN, |last| last.saturating_add(1));
        self.last = Some(next);
        (next, self.open.len() < MOST)
    }

    /// Begins to wait.
    pub(crate) fn begin(
        &mut self,
        number: NonZeroU64,
        waiting: Places,
        silent: Vec<NodeId>,
        until: Instant,
    ) -> Ticket {
        let ticket = Ticket(number);
        let so_far = Tallied { silent, ..Tallied::default() };
        if waiting.is_empty() {
            self.done.push((ticket, so_far));
        } else {
            self.open.insert(number.get(), Tally { waiting, until, so_far });
        }
        ticket
    }

    /// A node has counted.
    pub(crate) fn counted(&mut self, place: usize, number: u64, copies: u64) {
        self.answer(place, number, |so_far| so_far.copies = so_far.copies.saturating_add(copies));
    }

    /// A node has answered a question, or does not know it.
    pub(crate) fn answered(&mut self, place: usize, from: NodeId, number: u64, body: Option<Bytes>) {
        self.answer(place, number, |so_far| so_far.answers.push((from, body)));
    }

    fn answer(&mut self, place: usize, number: u64, add: impl FnOnce(&mut Tallied)) {
        let Some(tally) = self.open.get_mut(&number) else { return };
        // A second answer counts nothing.
        if !tally.waiting.remove(place) {
            return;
        }
        add(&mut tally.so_far);
        if tally.waiting.is_empty() {
            self.end(number);
        }
    }

    fn end(&mut self, number: u64) {
        if let (Some(tally), Some(at)) = (self.open.remove(&number), NonZeroU64::new(number)) {
            self.done.push((Ticket(at), tally.so_far));
        }
    }

    /// A node has gone: nobody waits for it, and whoever did is told.
    pub(crate) fn gone(&mut self, place: usize, id: NodeId) {
        let waited: Vec<u64> =
            self.open.iter().filter(|(_, tally)| tally.waiting.contains(place)).map(|(at, _)| *at).collect();
        for number in waited {
            self.answer(place, number, |so_far| so_far.silent.push(id));
        }
    }

    /// Ends what has waited long enough. `id` names a place's node.
    pub(crate) fn tick(&mut self, now: Instant, id: impl Fn(usize) -> Option<NodeId>) {
        let over: Vec<u64> =
            self.open.iter().filter(|(_, tally)| now >= tally.until).map(|(at, _)| *at).collect();
        for number in over {
            if let Some(tally) = self.open.get_mut(&number) {
                tally.so_far.silent.extend(tally.waiting.iter().filter_map(&id));
            }
            self.end(number);
        }
    }

    /// What has come to its end since this was last asked.
    pub(crate) fn done(&mut self) -> Vec<(Ticket, Tallied)> {
        std::mem::take(&mut self.done)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn places(list: &[usize]) -> Places {
        let mut places = Places::default();
        list.iter().for_each(|place| places.insert(*place));
        places
    }

    #[test]
    fn a_sum_is_what_each_said_once_and_who_was_silent_is_named() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let node = |place: usize| NodeId::new([0, 0, 0, u8::try_from(place).unwrap()]);
        let mut tallies = Tallies::default();
        let (number, _) = tallies.next();
        let ticket = tallies.begin(number, places(&[1, 2, 3, 4]), vec![node(9)], now + second);
        tallies.counted(1, number.get(), 5);
        tallies.counted(1, number.get(), 5);
        tallies.counted(7, number.get(), 5);
        tallies.gone(2, node(2));
        tallies.counted(3, number.get(), 1);
        tallies.tick(now, |place| Some(node(place)));
        assert_eq!(tallies.done(), []);
        tallies.tick(now + second, |place| Some(node(place)));
        let silent = vec![node(9), node(2), node(4)];
        let tallied = Tallied { copies: 6, answers: Vec::new(), silent };
        assert_eq!(tallies.done(), [(ticket, tallied)]);
        tallies.counted(4, number.get(), 1);
        assert_eq!(tallies.done(), [], "too late");
    }

    #[test]
    fn what_nobody_is_asked_is_done_at_once() {
        let mut tallies = Tallies::default();
        let (number, _) = tallies.next();
        let ticket = tallies.begin(number, Places::default(), Vec::new(), Instant::now());
        assert_eq!(tallies.done(), [(ticket, Tallied::default())]);
    }
}
