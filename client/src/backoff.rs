//! How long to wait before the next attempt to reconnect: exponential, capped, with full jitter.
//!
//! In: the plan's first delay and cap, and the fact that another attempt is due. Out: a delay.
//!
//! Invariant: the n-th delay is drawn evenly from 0 to min(cap, first * 2^n). The whole range is random so that the
//! clients of a server that restarts spread out instead of coming back in waves
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). `backon` adds its jitter on top of
//! the delay and beyond the cap, which is why this file exists.

use std::time::Duration;

/// The delays of one outage, or of several that follow each other closely.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    attempts: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self::with(first, cap, fastrand::Rng::new())
    }

    /// The same, with chance from this generator.
    pub(crate) fn with(first: Duration, cap: Duration, random: fastrand::Rng) -> Self {
        Self { first, cap, attempts: 0, random }
    }

    /// The delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        // 584 years fit into 64 bits of nanoseconds; a longer cap is as good as that.
        let nanoseconds = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.u64(0..=nanoseconds))
    }

    /// Starts over. Only for a connection that lasted: one that is accepted and thrown out again at once must not turn
    /// the cap into a busy loop.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The most that the next delay can be. The *smaller* of the two: with the larger, the cap would be a floor.
    fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const CAP: Duration = Duration::from_secs(30);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_stays_there() {
        let mut backoff = Backoff::new(FIRST, CAP);
        let mut ceilings = Vec::new();
        for _ in 0..10 {
            ceilings.push(backoff.ceiling().as_millis());
            backoff.next_delay();
        }
        assert_eq!(ceilings, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn no_delay_is_above_the_cap_however_many_attempts() {
        let mut backoff = Backoff::new(FIRST, CAP);
        backoff.attempts = u32::MAX - 2;
        for _ in 0..1000 {
            assert!(backoff.next_delay() <= CAP);
        }
        let mut extreme = Backoff::new(Duration::MAX, Duration::MAX);
        for _ in 0..100 {
            extreme.next_delay();
        }
    }

    #[test]
    fn the_whole_range_is_used() {
        let mut backoff = Backoff::new(FIRST, CAP);
        backoff.attempts = 20;
        let delays: Vec<_> = (0..1000).map(|_| backoff.next_delay()).collect();
        // 1000 even draws miss a tenth of the range with a probability of 1 in 10^45.
        assert!(delays.iter().any(|delay| *delay < CAP / 10));
        assert!(delays.iter().any(|delay| *delay > CAP / 10 * 9));
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(FIRST, CAP);
        for _ in 0..5 {
            backoff.next_delay();
        }
        backoff.reset();
        assert_eq!(backoff.ceiling(), FIRST);
    }
}
