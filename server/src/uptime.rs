//! Time that goes on while the machine is suspended.
//!
//! In: nothing. Out: moments, by which leases are measured. Invariant: two of them are as far apart as what passed
//! between them, whether the machine was awake or not (`CLOCK_BOOTTIME`, clock_gettime(2); test
//! `promise_19_a_lease_ends_while_the_machine_sleeps` in `lease.rs`). An [`Instant`] of the standard library stands
//! still meanwhile, so the two must not be compared: what has to do with a lease is asked here
//! (`what_a_lease_is_measured_by_is_asked_for_in_one_place` in `tests/tests/architecture.rs`).
//!
//! Where the system has no such clock, it is the other one.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// When it was first asked, by both clocks; nothing where there is one alone.
static BEGAN: OnceLock<Option<(Instant, Duration)>> = OnceLock::new();

/// Now. It is a moment that lies in the future of [`Instant::now`] by as long as the machine has slept.
pub(crate) fn now() -> Instant {
    let began = BEGAN.get_or_init(|| Some((Instant::now(), since_boot()?)));
    // A clock that could be asked once can be asked again.
    began.zip(since_boot()).map_or_else(Instant::now, |(began, time)| by(began, time))
}

/// The moment that `time` is, where `began` is when it was both.
pub(crate) fn by((began, at_first): (Instant, Duration), time: Duration) -> Instant {
    began + time.saturating_sub(at_first)
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    // A kernel, or what stands before it, may refuse it.
    let time = rustix::time::clock_gettime_dynamic(rustix::time::DynamicClockId::Boottime).ok()?;
    time.try_into().ok()
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_as_time_does() {
        let (one, awake) = (now(), Instant::now());
        std::thread::yield_now();
        let other = now();
        assert!(one <= other);
        // No machine sleeps in a test for a minute.
        assert!(other.duration_since(one) < awake.elapsed() + Duration::from_secs(60));
    }
}
