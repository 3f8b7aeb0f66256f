//! How long something took, counted in buckets that many threads fill at once.
//!
//! In: durations. Out: [`Times`]. Invariant: a bucket is at most a quarter wider than its lower bound, so that a
//! percentile is too high by a quarter at most, and never too low (test `a_bucket_is_a_quarter_wide_at_most`).
//! Log-linear buckets, as in `HdrHistogram`; that crate's own needs a lock or a channel for several threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_protocol::admin::Times;

use fanfare_hub::striped::Striped;

/// Four to each power of two, up to 2^32 us: more than an hour.
const BUCKETS: usize = 4 * 31;

#[derive(Debug, Default)]
pub(crate) struct Histogram(Striped<Buckets>);

#[derive(Debug)]
struct Buckets([AtomicU64; BUCKETS]);

impl Default for Buckets {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.0.own().and_then(|own| own.0.get(bucket(micros))) {
            // Relaxed: no other memory is read on the strength of it.
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn times(&self) -> Times {
        let mut counts = [0; BUCKETS];
        for buckets in self.0.all() {
            for (count, bucket) in counts.iter_mut().zip(&buckets.0) {
                *count += bucket.load(Ordering::Relaxed);
            }
        }
        Times((0..).map(upper).zip(counts).filter(|(_, count)| *count > 0).collect())
    }
}

/// The bucket of a value: the power of two and the two bits behind it. The first four are exact.
fn bucket(micros: u64) -> usize {
    let power = 63 - u64::from(micros.max(1).leading_zeros());
    let place = if power < 2 { micros } else { 4 * (power - 1) + ((micros >> (power - 2)) & 3) };
    usize::try_from(place).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: u64) -> u64 {
    let (power, part) = (bucket / 4, bucket % 4);
    if power == 0 { part } else { ((5 + part) << (power - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_quarter_wide_at_most() {
        let mut before = 0;
        for micros in 0..100_000_u64 {
            let at = bucket(micros);
            assert!(at == before || at == before + 1, "{micros}");
            before = at;
            let bound = upper(at as u64);
            assert!(bound >= micros && bound - micros <= micros / 4, "{micros} is counted as {bound}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper(BUCKETS as u64 - 1), (1 << 32) - 1);
    }

    #[test]
    fn what_is_recorded_is_counted() {
        let histogram = Histogram::default();
        for micros in [0, 3, 3, 9, 1_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.times(), Times([(0, 1), (3, 2), (9, 1), (1_048_575, 1)].into()));
    }
}
