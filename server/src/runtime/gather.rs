//! Datagrams of many connections on their way to the kernel together.
//!
//! In: datagrams, one at a time, from the drivers of connections. Out: the same in one `sendmmsg` for some dozens of them, when
//! the worker that they come from has polled what was ready, or when there are enough; those that follow each other to the same peer
//! as one burst that the kernel cuts (GSO). A message to a group is as many datagrams as it has members, and handing them over one by one
//! costs a quarter more in the kernel. Where nothing comes together, datagrams go at once.
//!
//! quinn would batch by itself, but only within one connection, and it keeps room for its largest batch (14 KiB) in each connection for as long as
//! that lives. Here there is one such room for each worker, and it stays in the processor's cache.
//!
//! Invariants:
//! - what is in a batch goes out without anything else having to happen: the batch's task is woken by its first datagram;
//! - datagrams of one worker leave in the order in which they came. Two workers overtake each other by one turn at most, as packets of a network
//!   do (RFC 9002 section 6.1.1 allows for three);
//! - a batch is bounded; when the kernel takes nothing, neither does it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_udp::{Burst, Common, MOST, MOST_BYTES, MOST_SEGMENTS, SUPPORTED, send_many};
use parking_lot::Mutex;
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, Transmit};
use tokio::sync::Notify;

use crate::striped;

/// As many bytes as stay in the processor's second cache beside everything else.
const MOST_GATHERED: usize = 128 * 1024;

/// A batch of fewer datagrams is not worth its task's turn.
const WORTHWHILE: usize = 3;

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
    batches: Box<[Lane]>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Lane {
    batch: Mutex<Batch>,
    filled: Notify,
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
    /// Whether a datagram of this length can follow.
    fn goes_on(&self, destination: SocketAddr, length: usize, most: usize) -> bool {
        let bytes = self.end - self.begin;
        self.destination == destination
            && (1..=self.segment).contains(&length)
            && bytes.is_multiple_of(self.segment)
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
        Self { quinns, socket, batches, closed: AtomicBool::new(false) }
    }

    /// How many tasks it needs.
    pub(super) fn lanes(&self) -> usize {
        self.batches.len()
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
            source: transmit.src_ip,
            ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
            ipv4: transmit.destination.is_ipv4(),
        };
        // What is a batch by itself goes by itself, and so does what is mapped from one family to the other.
        let together = SUPPORTED && transmit.segment_size.is_none() && is_plain(&transmit.destination);
        let fits = batch.waiting.is_empty() || together && batch.has_room(common);
        if !fits {
            batch.flush(self).map_err(|Full| io::Error::from(io::ErrorKind::WouldBlock))?;
        }
        if !together || batch.direct > 0 {
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

    /// The task of the lane with this number: sends what was taken when the other tasks that were ready have had their turn. Ends after
    /// [`Self::close`], when everything is sent.
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
                let flushed = lane.batch.lock().flush(&self);
                if flushed.is_ok() {
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

/// Whether the address is of the family that it looks like.
fn is_plain(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_none(),
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
        self.learn();
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
        // A single one needs no list. One that could not be sent goes again by quinn's own way, which knows what its errors mean.
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
#[cfg(not(feature = "model"))]
mod tests;
