//! A line for tests: what becomes of a datagram, and how much has come from the peer, is said from outside.

use parking_lot::Mutex;

use super::*;

#[derive(Debug, Default)]
pub(crate) struct Scripted {
    /// Each for one datagram, the last first. Then all are dropped.
    pub(crate) outcomes: Mutex<Vec<Unreliable>>,
    /// The datagrams that went out.
    pub(crate) went: Mutex<Vec<Bytes>>,
    pub(crate) packets: Mutex<u64>,
}

impl Scripted {
    pub(crate) fn new(outcomes: &[Unreliable]) -> Self {
        Self { outcomes: Mutex::new(outcomes.iter().rev().copied().collect()), ..Self::default() }
    }
}

impl Line for Scripted {
    fn transport(&self) -> &'static str {
        "scripted"
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn rtt(&self) -> Duration {
        Duration::ZERO
    }

    fn quic(&self) -> QuicFacts {
        QuicFacts::default()
    }

    fn packets(&self) -> u64 {
        *self.packets.lock()
    }

    fn tend(&self) -> u64 {
        0
    }

    fn send_datagram(&self, frame: Bytes) -> Unreliable {
        let outcome = self.outcomes.lock().pop().unwrap_or(Unreliable::Dropped);
        if outcome != Unreliable::Dropped {
            self.went.lock().push(frame);
        }
        outcome
    }
}
