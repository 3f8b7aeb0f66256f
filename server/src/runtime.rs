//! What QUIC runs on: the tasks of its endpoint and connections, its timers, and its socket.
//!
//! In: what quinn asks a runtime for. Out: tokio's, with three differences. The tasks are the server's, so that they can be waited for: the
//! socket is free when the last of them has ended, and not when the endpoint is dropped. Datagrams are handed to the kernel in
//! batches (GSO) only for connections that are busy, see [`Burst`]. And a send does not ask first whether the socket can
//! be written to, which it nearly always can. Invariant: a connection's driver is polled with its own [`Burst`] in place.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio_util::task::TaskTracker;

use gather::Gather;

mod gather;

/// Gives quinn's tasks to the server.
#[derive(Debug)]
pub(crate) struct OwnedTasks(pub(crate) TaskTracker);

impl Runtime for OwnedTasks {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(Driver { quinns: future, burst: Burst::default() });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let again = socket.try_clone()?;
        let quinns = TokioRuntime.wrap_udp_socket(socket)?;
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        let gather = Arc::new(Gather::new(Arc::clone(&quinns), again, workers));
        for lane in 0..gather.lanes() {
            self.0.spawn(Arc::clone(&gather).run(lane));
        }
        Ok(Arc::new(Socket { quinns, gather, full: AtomicBool::new(false) }))
    }
}

/// How many datagrams a connection has sent lately beyond one at a time.
///
/// quinn keeps, for as long as a connection lives, room for as many datagrams as were ever allowed in one batch. Ten of them are a third of
/// what an idle connection needs in memory, and most connections send one datagram at a time once they are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Burst {
    /// Grows with each datagram that follows another at once, and shrinks with each that comes alone.
    score: u8,
    /// Sent since the driver was woken.
    sent: u8,
}

impl Burst {
    /// From this score on a connection may batch. A handshake stays below it.
    const BUSY: u8 = 12;
    const MOST: u8 = 2 * Self::BUSY;

    fn is_busy(self) -> bool {
        self.score >= Self::BUSY
    }

    /// One more, or one batch of more.
    fn count(&mut self, datagrams: usize) {
        self.sent = self.sent.saturating_add(u8::try_from(datagrams).unwrap_or(u8::MAX));
    }

    /// The driver rests.
    fn rest(&mut self) {
        self.score = match std::mem::take(&mut self.sent) {
            0 => self.score,
            1 => self.score.saturating_sub(1),
            several => self.score.saturating_add(several - 1).min(Self::MOST),
        };
    }
}

thread_local! {
    /// That of the connection whose driver runs on this thread.
    static BURST: Cell<Burst> = const { Cell::new(Burst { score: 0, sent: 0 }) };
}

/// One of quinn's tasks: the endpoint's, or a connection's.
struct Driver {
    quinns: Pin<Box<dyn Future<Output = ()> + Send>>,
    burst: Burst,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        BURST.set(self.burst);
        let polled = self.quinns.as_mut().poll(context);
        self.burst = BURST.get();
        self.burst.rest();
        polled
    }
}

/// quinn's socket on tokio.
#[derive(Debug)]
struct Socket {
    quinns: Arc<dyn AsyncUdpSocket>,
    gather: Arc<Gather>,
    /// The kernel took nothing when it was last asked.
    full: AtomicBool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.gather.close();
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { quinns: None, socket: self })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.gather.send(transmit);
        match &sent {
            Ok(()) => {
                let datagrams = transmit.segment_size.map_or(1, |size| transmit.contents.len().div_ceil(size));
                let mut burst = BURST.get();
                burst.count(datagrams);
                BURST.set(burst);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.full.store(true, Ordering::Release),
            Err(_) => {}
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.quinns.poll_recv(context, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quinns.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        if BURST.get().is_busy() { self.quinns.max_transmit_segments() } else { 1 }
    }

    fn max_receive_segments(&self) -> usize {
        self.quinns.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.quinns.may_fragment()
    }
}

/// Whether the socket takes datagrams, for one connection.
struct Writable {
    socket: Arc<Socket>,
    /// Made when it is first needed: most connections never find the socket full.
    quinns: Option<Pin<Box<dyn UdpPoller>>>,
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever finds it full says so before this is asked again.
        if !self.socket.full.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let socket = Arc::clone(&self.socket);
        let quinns = self.quinns.get_or_insert_with(|| Arc::clone(&socket.quinns).create_io_poller());
        let polled = quinns.as_mut().poll_writable(context);
        if polled.is_ready() {
            socket.full.store(false, Ordering::Release);
        }
        polled
    }
}
