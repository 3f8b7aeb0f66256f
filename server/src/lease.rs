//! Whether this server may let in and deliver now.
//!
//! In: until when, from whoever hears the other nodes. Out: yes or no, at the moment of asking. Invariant: a process
//! that was stopped, and goes on when the lease has ended, is told no, also where the whole machine was: the clock is
//! asked each time (promise 19; tests `promise_19_whoever_wakes_up_too_late_may_not` and
//! `promise_19_a_lease_ends_while_the_machine_sleeps`). All moments here are of `uptime`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::uptime;

/// The lease of a node, which others may look at without waiting. A server that is no node always has it.
#[derive(Debug)]
pub(crate) struct Lease {
    began: Instant,
    /// In microseconds since then.
    until: AtomicU64,
}

impl Default for Lease {
    fn default() -> Self {
        Self { began: uptime::now(), until: AtomicU64::new(u64::MAX) }
    }
}

impl Lease {
    /// One that has not begun.
    pub(crate) fn ended() -> Self {
        Self { until: AtomicU64::new(0), ..Self::default() }
    }

    /// It lasts until then. Tells whether somebody may have been told meanwhile that it was over.
    pub(crate) fn last_until(&self, until: Instant) -> bool {
        let until = micros(until.saturating_duration_since(self.began));
        let before = self.until.swap(until, Ordering::AcqRel);
        // Whoever asks from here on is told of the new one.
        before <= micros(uptime::now().saturating_duration_since(self.began))
    }

    /// Whether it is there now.
    pub(crate) fn holds(&self) -> bool {
        self.holds_at(uptime::now)
    }

    fn holds_at(&self, now: impl Fn() -> Instant) -> bool {
        let mut until = self.until.load(Ordering::Acquire);
        loop {
            // Without a cluster nobody pays for a look at the clock.
            if until == u64::MAX || micros(now().saturating_duration_since(self.began)) < until {
                return true;
            }
            // It may have begun again between the one look and the other, and then nobody wakes whoever is told no.
            let newest = self.until.load(Ordering::Acquire);
            if newest == until {
                return false;
            }
            until = newest;
        }
    }
}

fn micros(duration: Duration) -> u64 {
    // The one above stands for "always".
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_19_whoever_wakes_up_too_late_may_not() {
        let lease = Lease::ended();
        assert!(!lease.holds());
        let far = uptime::now() + Duration::from_secs(60);
        assert!(lease.last_until(far), "it had not begun");
        assert!(lease.holds());
        assert!(!lease.last_until(far + Duration::from_secs(1)), "nobody was told that it was over");
        assert!(!lease.last_until(uptime::now()));
        assert!(!lease.holds(), "nobody told it that it has ended");
        assert!(lease.last_until(far), "whoever asked a moment ago waits");
        assert!(Lease::default().holds());
    }

    #[test]
    fn promise_19_a_lease_ends_while_the_machine_sleeps() {
        let second = Duration::from_secs(1);
        let lease = Lease::ended();
        lease.last_until(lease.began + 5 * second);
        let at_first = (lease.began, 100 * second);
        assert!(lease.holds_at(|| uptime::by(at_first, 104 * second)));
        // The clock that counts the sleep has gone on by an hour, and no instruction was carried out meanwhile.
        assert!(!lease.holds_at(|| uptime::by(at_first, 3_704 * second)));
    }
}
