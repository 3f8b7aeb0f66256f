//! When those who are sent away may come back: each at a moment of its own, so that they do not all come at once.
//!
//! In: the time that somebody chose. Out: one for each connection, which its `Goodbye` carries. Invariant: it is never
//! 0, which would be "never", and never sooner than what was chosen.

use std::time::Duration;

use fanfare_protocol::{Code, Denial};

/// The longest time that can be chosen.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Refuses a time that is too long.
pub(crate) fn check(chosen: Duration) -> Result<(), Denial> {
    if chosen <= LONGEST {
        return Ok(());
    }
    let detail = format!("the time to come back after is {} s at most", LONGEST.as_secs());
    Err(Denial { code: Code::InvalidRequest, detail })
}

/// Any time from `chosen` to half as much again, in milliseconds, evenly. The clients need only keep to it.
pub(crate) fn come_back_after(chosen: Duration) -> u32 {
    let ms = u32::try_from(chosen.min(LONGEST).as_millis()).unwrap_or(u32::MAX).max(1);
    fastrand::u32(ms..=ms + ms / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_sooner_and_at_most_half_as_much_later_and_not_the_same_for_all() {
        let times: Vec<u32> = (0..1_000).map(|_| come_back_after(Duration::from_secs(30))).collect();
        assert!(times.iter().all(|ms| (30_000..=45_000).contains(ms)));
        // 1000 even draws miss a tenth of the range with a probability of 1 in 10^45.
        assert!(times.iter().any(|ms| *ms < 31_500) && times.iter().any(|ms| *ms > 43_500));
        assert_eq!(come_back_after(Duration::ZERO), 1, "not 0: that is never");
        assert!(come_back_after(Duration::MAX) <= 3 * 12 * 60 * 60 * 1_000);
    }
}
