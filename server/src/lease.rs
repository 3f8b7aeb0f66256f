//! Whether this server may let in and deliver now.
//!
//! In: until when, from whoever hears the other nodes. Out: yes or no, at the moment of asking. Invariant: a process
//! that was stopped, and goes on when the lease has ended, is told no: the clock is asked each time (promise 18; test
//! `promise_18_whoever_wakes_up_too_late_may_not`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The lease of a node, which others may look at without waiting. A server that is no node always has it.
#[derive(Debug)]
pub(crate) struct Lease {
    began: Instant,
    /// In microseconds since then.
    until: AtomicU64,
}

impl Default for Lease {
    fn default() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(u64::MAX) }
    }
}

impl Lease {
    /// One that has not begun.
    pub(crate) fn ended() -> Self {
        Self { until: AtomicU64::new(0), ..Self::default() }
    }

    /// It lasts until then.
    pub(crate) fn last_until(&self, until: Instant) {
        let until = micros(until.saturating_duration_since(self.began));
        self.until.store(until, Ordering::Release);
    }

    /// Whether it is there now.
    pub(crate) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        // Without a cluster nobody pays for a look at the clock.
        until == u64::MAX || micros(self.began.elapsed()) < until
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
    fn promise_18_whoever_wakes_up_too_late_may_not() {
        let lease = Lease::ended();
        assert!(!lease.holds());
        lease.last_until(Instant::now() + Duration::from_secs(60));
        assert!(lease.holds());
        let now = Instant::now();
        lease.last_until(now);
        assert!(!lease.holds(), "nobody told it that it has ended");
        assert!(Lease::default().holds());
    }
}
