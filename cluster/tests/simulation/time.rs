//! Simulated time. In: the moment at which the world is. Out: a node's own clock, which runs a little too fast or too
//! slow. Nothing here looks at a real clock but once, for a beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Microseconds since the beginning.
pub(crate) type Micros = u64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

/// A node's clock.
#[derive(Clone)]
pub(crate) struct Clock {
    epoch: Instant,
    /// Microseconds on this clock.
    at: Arc<AtomicU64>,
    /// How much it gains or loses, in millionths.
    drift: i64,
}

impl Clock {
    pub(crate) fn new(drift: i64) -> Self {
        Self { epoch: Instant::now(), at: Arc::default(), drift }
    }

    /// Sets it for a moment of the world.
    pub(crate) fn set(&self, world: Micros) {
        let world = i64::try_from(world).unwrap();
        let local = world + world * self.drift / 1_000_000;
        self.at.store(u64::try_from(local).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Instant {
        self.epoch + Duration::from_micros(self.at.load(Ordering::Relaxed))
    }
}
