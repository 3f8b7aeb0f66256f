//! Datagrams of many connections on their way to the kernel together.
//!
//! In: datagrams, one at a time, from the drivers of connections. Out: the same in one `sendmmsg` for some dozens of
//! them, when the worker that they come from has polled what was ready, or when there are enough; those that follow
//! each other to the same peer as one burst that the kernel cuts (GSO). A message to a group is as many datagrams as it
//! has members, and handing them over one by one costs a quarter more in the kernel. Where nothing comes together,
//! datagrams go at once.
//!
//! quinn would batch by itself, but only within one connection, and it keeps room for its largest batch (14 KiB) in
//! each connection for as long as that lives. Here there is one such room for each worker, and it stays in the
//! processor's cache.
//!
//! Invariants:
//! - what is in a batch goes out without anything else having to happen: the batch's task is woken by its first
//!   datagram;
//! - datagrams of one connection leave in the order in which they came, also when its driver goes from one worker to
//!   another: what the first still has is sent before the second takes anything ([`Gather::follow`]). A packet that is
//!   overtaken by three counts as lost (RFC 9002 section 6.1.1);
//! - a batch is bounded; when the kernel takes nothing, neither does it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanfare_hub::striped;
use fanfare_udp::{Burst, Common, MOST, MOST_BYTES, MOST_SEGMENTS, SUPPORTED, send_many};
use parking_lot::Mutex;
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, Transmit};
use tokio::sync::Notify;

/// As many bytes as stay in the processor's second cache beside everything else.
const MOST_GATHERED: usize = 128 * 1024;

/// A batch of fewer datagrams is not worth its task's turn.
const WORTHWHILE: usize = 3;

/// What every path takes (RFC 9000 section 14).
const LEAST_MTU: usize = 1_200;

/// After so many batches in a row that were not worthwhile, datagrams go at once...
const DISAPPOINTMENTS: u32 = 4;

/// ...this many of them, until it is tried again.
const DIRECT: u32 = 64;

/// The batches of one socket, one for each worker.
#[derive(Debug)]
pub(super) struct Gather {
    /// Sends what cannot go together, and knows what to do about errors.
    quinns: Arc<dyn AsyncUdpSocket>,
    /// The same socket.
    socket: UdpSocket,
    /// It has more than one address, and which one a datagram is from must be said.
    wildcard: bool,
    batches: Box<[Lane]>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Lane {
    batch: Mutex<Batch>,
    filled: Notify,
    /// How often everything that waited has been sent.
    flushed: AtomicU64,
}

/// Where a connection's last datagram was taken, and how often that lane had been flushed shortly before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    lane: usize,
    flushed: u64,
}

#[derive(Debug, Default)]
struct Batch {
    common: Option<Common>,
    /// One behind the other.
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    /// How many datagrams that are.
    datagrams: usize,
    /// Batches in a row that were not worthwhile.
    disappointments: u32,
    /// So many go at once.
    direct: u32,
}

/// One datagram, or several to the same peer, all but the last of the same size.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    destination: SocketAddr,
    /// The size of the first.
    segment: usize,
    /// Where the first begins and the last ends.
    begin: usize,
    end: usize,
}

impl Waiting {
    /// Whether a datagram of this length can follow. A single large one may be a probe for the path's MTU, which fails
    /// where it is too large, and must not take others with it: nothing shorter follows it. (Nothing equals it: a probe
    /// is larger than what the path is known to take.)
    fn goes_on(&self, destination: SocketAddr, length: usize, most: usize) -> bool {
        let bytes = self.end - self.begin;
        self.destination == destination
            && (1..=self.segment).contains(&length)
            && bytes.is_multiple_of(self.segment)
            && (length == self.segment || bytes > self.segment || self.segment <= LEAST_MTU)
            && bytes < self.segment * most
            && bytes + length <= MOST_BYTES
    }
}

/// The kernel takes nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Gather {
    pub(super) fn new(quinns: Arc<dyn AsyncUdpSocket>, socket: UdpSocket, workers: usize) -> Self {
        let batches = (0..workers.max(1)).map(|_| Lane::default()).collect();
        let wildcard = socket.local_addr().is_ok_and(|address| address.ip().is_unspecified());
        Self { quinns, socket, wildcard, batches, closed: AtomicBool::new(false) }
    }

    /// How many tasks it needs.
    pub(super) fn lanes(&self) -> usize {
        self.batches.len()
    }

    /// To be called before a connection's next datagram, with what this gave for the one before: on another worker by
    /// now, it waits for nobody to send what the first worker still has, and does so itself.
    ///
    /// # Errors
    /// When the kernel takes nothing now.
    pub(super) fn follow(&self, before: Option<Trace>) -> Result<Option<Trace>, Full> {
        let own = striped::number() % self.batches.len();
        if let Some(Trace { lane, flushed }) = before
            && lane != own
            && let Some(other) = self.batches.get(lane)
            // It was flushed once, perhaps, between this was noted and the datagram was taken.
            && other.flushed.load(Ordering::Acquire) <= flushed + 1
        {
            other.flush(self)?;
        }
        let lane = self.batches.get(own);
        Ok(lane.map(|lane| Trace { lane: own, flushed: lane.flushed.load(Ordering::Acquire) }))
    }

    /// Takes a datagram, or sends it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when neither is possible now.
    pub(super) fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(lane) = self.batches.get(striped::number() % self.batches.len()) else {
            return self.quinns.try_send(transmit);
        };
        let mut batch = lane.batch.lock();
        let common = Common {
            source: transmit.src_ip.filter(|_| self.wildcard),
            ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
            ipv4: transmit.destination.ip().to_canonical().is_ipv4(),
        };
        // What is a batch by itself goes by itself.
        let together = SUPPORTED && transmit.segment_size.is_none();
        let fits = batch.waiting.is_empty() || together && batch.has_room(common);
        if !fits {
            lane.flush_locked(&mut batch, self).map_err(|Full| io::Error::from(io::ErrorKind::WouldBlock))?;
        }
        // Nothing overtakes what waits.
        if !together || batch.direct > 0 && batch.waiting.is_empty() {
            batch.direct = batch.direct.saturating_sub(1);
            return self.quinns.try_send(transmit);
        }
        // One, where the system cannot cut, or has failed at it.
        let most = self.quinns.max_transmit_segments().min(MOST_SEGMENTS);
        batch.take(common, transmit.destination, transmit.contents, most);
        if batch.datagrams == 1 {
            lane.filled.notify_one();
        }
        Ok(())
    }

    /// The task of the lane with this number: sends what was taken when the other tasks that were ready have had their
    /// turn. Ends after [`Self::close`], when everything is sent.
    pub(super) async fn run(self: Arc<Self>, number: usize) {
        let Some(lane) = self.batches.get(number) else { return };
        let mut writable = Arc::clone(&self.quinns).create_io_poller();
        loop {
            lane.filled.notified().await;
            let closed = self.closed.load(Ordering::Acquire);
            if !closed {
                tokio::task::yield_now().await;
            }
            loop {
                if lane.flush(&self).is_ok() {
                    break;
                }
                if std::future::poll_fn(|context| writable.as_mut().poll_writable(context)).await.is_err() {
                    return;
                }
            }
            if closed {
                return;
            }
        }
    }

    /// Nothing will come any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for lane in &self.batches {
            lane.filled.notify_one();
        }
    }
}

impl Lane {
    fn flush(&self, gather: &Gather) -> Result<(), Full> {
        self.flush_locked(&mut self.batch.lock(), gather)
    }

    fn flush_locked(&self, batch: &mut Batch, gather: &Gather) -> Result<(), Full> {
        batch.flush(gather)?;
        self.flushed.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

impl Batch {
    fn has_room(&self, common: Common) -> bool {
        self.common == Some(common) && self.waiting.len() < MOST && self.bytes.len() < MOST_GATHERED
    }

    fn take(&mut self, common: Common, destination: SocketAddr, contents: &[u8], most_segments: usize) {
        let begin = self.bytes.len();
        self.common = Some(common);
        self.bytes.extend_from_slice(contents);
        self.datagrams += 1;
        let end = self.bytes.len();
        match self.waiting.last_mut() {
            Some(last) if last.goes_on(destination, contents.len(), most_segments) => last.end = end,
            _ => self.waiting.push(Waiting { destination, segment: contents.len(), begin, end }),
        }
    }

    /// Sends everything.
    ///
    /// # Errors
    /// When the kernel takes nothing more; the rest stays.
    fn flush(&mut self, gather: &Gather) -> Result<(), Full> {
        let mut sent = 0;
        while sent < self.waiting.len() {
            match self.send_from(sent, gather) {
                Ok(count) => sent += count,
                Err(Full) => {
                    self.waiting.drain(..sent);
                    return Err(Full);
                }
            }
        }
        self.learn();
        self.waiting.clear();
        self.bytes.clear();
        self.datagrams = 0;
        Ok(())
    }

    /// Whether gathering pays is known by what it has brought.
    fn learn(&mut self) {
        if self.datagrams >= WORTHWHILE {
            self.disappointments = 0;
        } else if self.datagrams > 0 {
            self.disappointments += 1;
            if self.disappointments >= DISAPPOINTMENTS {
                self.direct = DIRECT;
            }
        }
    }

    /// Sends as many as go in one call, from the one at `first`. Returns how many those were.
    fn send_from(&self, first: usize, gather: &Gather) -> Result<usize, Full> {
        let Some(common) = self.common else { return Ok(self.waiting.len()) };
        let bursts: Vec<_> = self
            .waiting
            .iter()
            .skip(first)
            .map(|waiting| Burst {
                destination: waiting.destination,
                contents: self.bytes.get(waiting.begin..waiting.end).unwrap_or_default(),
                segment: u16::try_from(waiting.segment).unwrap_or(u16::MAX),
            })
            .collect();
        let Some(&Burst { destination, contents, segment }) = bursts.first() else { return Ok(0) };
        // A single one needs no list. One that could not be sent goes again by quinn's own way, which knows what its
        // errors mean.
        if bursts.len() > 1
            && let Ok(count @ 1..) = send_many(&gather.socket, common, &bursts)
        {
            return Ok(count);
        }
        let ecn = EcnCodepoint::from_bits(common.ecn);
        let segment_size = Some(usize::from(segment)).filter(|segment| *segment < contents.len());
        let alone = Transmit { destination, ecn, contents, segment_size, src_ip: common.source };
        match gather.quinns.try_send(&alone) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Full),
            // quinn's socket tells of nothing else: a datagram that cannot be sent is a datagram that is lost.
            _ => Ok(1),
        }
    }
}

#[cfg(test)]
mod tests;
