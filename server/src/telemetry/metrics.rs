//! What the server has done, counted.
//!
//! In: one call per thing that happened. Out: a [`Snapshot`]. Invariant: nothing that is refused, dropped or closed
//! goes uncounted (promise 11), and each has the number of its code.

use std::collections::BTreeMap;

use fanfare_hub::striped::Counter;
use fanfare_hub::{ByCode, Hub};
use fanfare_protocol::Code;
use fanfare_protocol::admin::Times;

use super::histogram::Histogram;

/// The server's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) handshakes: Counter,
    pub(crate) handshakes_refused: Counter,
    pub(crate) handshakes_evicted: Counter,
    pub(crate) proofs_replayed: Counter,
    pub(crate) retries: Counter,
    pub(crate) welcomed: Counter,
    pub(crate) requests: Counter,
    pub(crate) unknown: Counter,
    pub(crate) throttled: Counter,
    pub(crate) lost: Counter,
    pub(crate) refused: ByCode,
    pub(crate) closed: ByCode,
    pub(crate) stopped_streams: Counter,
    pub(crate) calls: Counter,
    pub(crate) calls_ended: Counter,
    pub(crate) calls_failed: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) delivery: Histogram,
    /// Tells how many bytes the process has in use.
    pub(crate) live_bytes: Option<fn() -> u64>,
}

/// The counters at one moment. Each only grows while the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Handshakes begun. Of those over TCP, that got as far as a WebSocket, or broke before.
    pub handshakes: u64,
    /// Handshakes refused unseen, because too many were going on.
    pub handshakes_refused: u64,
    /// Handshakes given up for others, because their address had more of them.
    pub handshakes_evicted: u64,
    /// First packets with a proof of their address that had been used before.
    pub proofs_replayed: u64,
    /// Clients asked to prove their address first (RFC 9000 section 8.1.2).
    pub retries: u64,
    /// Connections that got as far as `Welcome`.
    pub welcomed: u64,
    /// Requests read.
    pub requests: u64,
    /// Frames of later versions, in whole or in part, of which nothing was done.
    pub unknown: u64,
    /// Times that a connection's requests were held back, because it made too many a second.
    pub throttled: u64,
    /// Messages accepted.
    pub sends: u64,
    /// Copies of messages queued to connections.
    pub deliveries: u64,
    /// Copies dropped from full outboxes (policy `drop-oldest`).
    pub displaced: u64,
    /// Connections that ended without a word: the peer vanished, or closed with a code of its own.
    pub lost: u64,
    /// Requests refused, by code.
    pub refused: BTreeMap<Code, u64>,
    /// Connections that the server closed, by code.
    pub closed: BTreeMap<Code, u64>,
    /// Memberships that the server ended, by code.
    pub removed: BTreeMap<Code, u64>,
    /// Copies of messages that were thrown away because the membership ended before they were written.
    pub purged: u64,
    /// Watches of groups' presence at this moment. Unlike the others it falls, too.
    pub watches: u64,
    /// Frames of presence queued to connections.
    pub presence: u64,
    /// Times that a connection did not keep up with a group's presence, and was told anew.
    pub presence_restarts: u64,
    /// Streams stopped that the protocol has no use for.
    pub stopped_streams: u64,
    /// Calls of the application's methods that were begun.
    pub calls: u64,
    /// Of those, that ended with an error.
    pub calls_failed: u64,
    /// Of those, that run now. Unlike the others it falls, too.
    pub calls_running: u64,
    /// Bytes of frames that came, on streams and in datagrams.
    pub bytes_in: u64,
    /// Bytes of frames that QUIC took, for streams and in datagrams.
    pub bytes_out: u64,
    /// How long messages took from when they were read until QUIC took them; of those that are written together, the
    /// first.
    pub delivery: Times,
    /// Bytes that wait, of those that are counted for all together, and how many may. Unlike the others the first
    /// falls, too.
    pub waiting_bytes: u64,
    /// See [`Snapshot::waiting_bytes`].
    pub waiting_limit: u64,
    /// Bytes that the process has in use, as its allocator counts; 0 where it does not. Unlike the others it falls,
    /// too.
    pub live_bytes: u64,
}

impl Metrics {
    /// With what the hub has counted of itself.
    pub(crate) fn snapshot<P>(&self, hub: &Hub<P>) -> Snapshot {
        let (waiting, waiting_limit) = hub.budget().level();
        let done = hub.counters();
        let (presence, presence_restarts) = hub.presence_told();
        Snapshot {
            handshakes: self.handshakes.value(),
            handshakes_refused: self.handshakes_refused.value(),
            handshakes_evicted: self.handshakes_evicted.value(),
            proofs_replayed: self.proofs_replayed.value(),
            retries: self.retries.value(),
            welcomed: self.welcomed.value(),
            requests: self.requests.value(),
            unknown: self.unknown.value(),
            throttled: self.throttled.value(),
            sends: done.sends.value(),
            deliveries: done.deliveries.value(),
            displaced: done.displaced.value(),
            lost: self.lost.value(),
            refused: self.refused.values(),
            closed: self.closed.values(),
            removed: done.removed.values(),
            purged: done.purged.value(),
            watches: hub.watches() as u64,
            presence,
            presence_restarts,
            stopped_streams: self.stopped_streams.value(),
            calls: self.calls.value(),
            calls_failed: self.calls_failed.value(),
            calls_running: self.calls.value().saturating_sub(self.calls_ended.value()),
            bytes_in: self.bytes_in.value(),
            bytes_out: self.bytes_out.value() + done.datagram_bytes.value(),
            delivery: self.delivery.times(),
            waiting_bytes: waiting as u64,
            waiting_limit: waiting_limit as u64,
            live_bytes: self.live_bytes.map_or(0, |live_bytes| live_bytes()),
        }
    }
}
