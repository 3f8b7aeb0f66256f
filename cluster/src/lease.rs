//! How long this node may go on as if it knew everything that was decided.
//!
//! In: heartbeats as they are sent, and as they come back by way of the decisions; that nothing is behind. Out: until
//! when the lease lasts.
//! Invariant: whoever has the lease knows everything that was decided earlier than one lease ago. What comes back has
//! been put among the decisions behind all that was decided before it was sent, and decisions come in their order; so a
//! watch that stands still, a way that is cut, or a stopped process end the lease, and nothing has to notice them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Heartbeats that are on their way at most; the oldest are forgotten first.
const MOST_ON_THE_WAY: usize = 64;

/// This node's lease.
#[derive(Debug)]
pub(crate) struct Lease {
    lasts: Duration,
    /// Sent, and not seen yet: number and time.
    on_the_way: VecDeque<(u64, Instant)>,
    sent: u64,
    /// The same of the newest that was seen, while it is not sure that everything before it was.
    seen: Option<(u64, Instant)>,
    /// The revision of the newest that came back, and when it was sent.
    anchor: Option<(u64, Instant)>,
    /// It has been ended since that was sent.
    is_over: bool,
}

impl Lease {
    pub(crate) fn new(lasts: Duration) -> Self {
        Self { lasts, on_the_way: VecDeque::new(), sent: 0, seen: None, anchor: None, is_over: false }
    }

    /// A heartbeat goes out; gives its number.
    pub(crate) fn send(&mut self, now: Instant) -> u64 {
        self.sent += 1;
        if self.on_the_way.len() >= MOST_ON_THE_WAY {
            self.on_the_way.pop_front();
        }
        self.on_the_way.push_back((self.sent, now));
        self.sent
    }

    /// One has come back, with its revision.
    pub(crate) fn seen(&mut self, number: u64, revision: u64) {
        while let Some((sent, at)) = self.on_the_way.front().copied()
            && sent <= number
        {
            self.on_the_way.pop_front();
            if sent == number {
                self.seen = Some((revision, at));
            }
        }
    }

    /// Everything is known that was decided before what has come back.
    pub(crate) fn caught_up(&mut self) {
        if self.seen.is_some() {
            (self.anchor, self.is_over) = (self.seen, false);
        }
    }

    /// It ends at once, whatever is on its way: only what is sent from now on can begin another.
    pub(crate) fn end(&mut self) {
        self.on_the_way.clear();
        (self.seen, self.is_over) = (None, true);
    }

    /// When the newest heartbeat was sent that came back: everything that was decided before is known here.
    pub(crate) fn anchor(&self) -> Option<Instant> {
        self.anchor.map(|(_, at)| at)
    }

    /// The revision of that one.
    pub(crate) fn revision(&self) -> u64 {
        self.anchor.map_or(0, |(revision, _)| revision)
    }

    /// Until when it lasts; `None` where it has not begun.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.anchor().filter(|_| !self.is_over).map(|anchor| anchor + self.lasts)
    }

    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_19_a_lease_lasts_from_when_a_heartbeat_was_sent_and_not_from_when_it_came_back() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut lease = Lease::new(5 * second);
        assert!(!lease.holds(start));
        let first = lease.send(start);
        let second_number = lease.send(start + second);
        lease.seen(second_number, 8);
        assert_eq!(lease.until(), None, "something decided before may still be missing");
        lease.caught_up();
        assert_eq!(lease.until(), Some(start + 6 * second));
        // One that is older than what came back says nothing.
        lease.seen(first, 9);
        lease.seen(99, 10);
        lease.caught_up();
        assert_eq!(lease.revision(), 8);
        assert!(lease.holds(start + 6 * second - Duration::from_nanos(1)));
        assert!(!lease.holds(start + 6 * second));
    }

    #[test]
    fn promise_19_one_that_is_ended_begins_again_by_what_is_sent_later() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut lease = Lease::new(5 * second);
        let (first, on_its_way) = (lease.send(start), lease.send(start));
        lease.seen(first, 8);
        lease.caught_up();
        assert!(lease.holds(start));
        lease.end();
        lease.caught_up();
        lease.seen(on_its_way, 10);
        lease.caught_up();
        assert!(!lease.holds(start) && lease.anchor().is_some());
        let later = lease.send(start + second);
        lease.seen(later, 11);
        lease.caught_up();
        assert_eq!(lease.until(), Some(start + 6 * second));
    }
}
