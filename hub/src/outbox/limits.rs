//! How much an outbox may hold, what happens at the bound, how much is written at a time, and how much memory is kept.

/// How much an outbox may hold, and what happens when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Frames that may wait. Default 1,024: half a minute of a lively room, about 80 KiB of bookkeeping at its fullest.
    pub frames: usize,
    /// Bytes that may wait. Default 1 MiB: fifteen messages of the largest size, or 1,024 of ordinary ones.
    pub bytes: usize,
    /// What happens to a message that does not fit.
    pub overflow: Overflow,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { frames: 1_024, bytes: 1 << 20, overflow: Overflow::Disconnect }
    }
}

/// What happens when a message does not fit into an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The connection is closed with [`fanfare_protocol::Code::SlowConsumer`]: a client that has gaps it does not know
    /// of is worse than one that connects again.
    #[default]
    Disconnect,
    /// The oldest waiting messages make room, and the client is told how many with `Lagged`. Answers and notices are
    /// never dropped; one that does not fit disconnects.
    DropOldest,
}

/// How many frames, and about how many bytes, go to the transport at a time: enough to fill packets, little enough that
/// what was taken but is not written stays small beside the queue.
pub(super) const BATCH_FRAMES: usize = 128;
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// A queue that once was longer than this gives its memory back when it is empty.
pub(super) const KEPT_CAPACITY: usize = 32;

impl OutboxLimits {
    /// How many messages of one sender may share a place in the queue, and how many bytes: small beside its bounds,
    /// so that they are kept as exactly as users can see.
    pub fn run(&self) -> (usize, usize) {
        ((self.frames / 16).min(BATCH_FRAMES / 2), (self.bytes / 16).min(BATCH_BYTES / 4))
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_at_most_a_sixteenth_of_an_outbox_and_small_beside_what_is_written_at_a_time() {
        let run = |frames, bytes| OutboxLimits { frames, bytes, ..OutboxLimits::default() }.run();
        assert_eq!(run(320, 3_200), (20, 200));
        assert_eq!(run(1 << 20, 1 << 30), (64, 16 * 1024));
        assert_eq!(OutboxLimits::default().run(), (64, 16 * 1024));
    }
}
