//! What QUIC runs on: the tasks of its endpoint and connections, its timers, and its socket.
//!
//! In: what quinn asks a runtime for. Out: tokio's, with three differences. The tasks are the server's, so that they
//! can be waited for: the socket is free when the last of them has ended, and not when the endpoint is dropped.
//! Datagrams of many connections are gathered before the kernel gets them (`gather.rs`). And a send does not ask first
//! whether the socket can be written to, which it nearly always can.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use gather::{Full, Gather, Trace};

mod gather;

/// Gives quinn's tasks to the server, which ends them.
#[derive(Debug)]
pub(crate) struct OwnedTasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) over: CancellationToken,
}

impl Runtime for OwnedTasks {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let over = self.over.clone();
        self.tracker.spawn(async move {
            // Whoever is alone with a connection that is closed waits for three timeouts of it, of which the peer says
            // how long they are.
            let _ = over.run_until_cancelled(future).await;
        });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let again = socket.try_clone()?;
        let quinns = TokioRuntime.wrap_udp_socket(socket)?;
        // Twice as many as workers: other threads have numbers, too, and two workers had better not meet in one.
        let workers = 2 * tokio::runtime::Handle::current().metrics().num_workers();
        let gather = Arc::new(Gather::new(Arc::clone(&quinns), again, workers));
        for lane in 0..gather.lanes() {
            self.tracker.spawn(Arc::clone(&gather).run(lane));
        }
        Ok(Arc::new(Socket { quinns, gather, full: AtomicBool::new(false) }))
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
        Box::pin(Writable { quinns: None, before: None, socket: self })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.gather.send(transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Release);
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

    /// One: batches are made here, and quinn needs no room for its own.
    fn max_transmit_segments(&self) -> usize {
        if fanfare_udp::SUPPORTED { 1 } else { self.quinns.max_transmit_segments() }
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
    /// Where its last datagram is.
    before: Option<Trace>,
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Arc::clone(&self.socket);
        loop {
            // Whoever finds the socket full says so before this is asked again.
            if socket.full.load(Ordering::Acquire) {
                let quinns = self.quinns.get_or_insert_with(|| Arc::clone(&socket.quinns).create_io_poller());
                ready!(quinns.as_mut().poll_writable(context))?;
                socket.full.store(false, Ordering::Release);
            }
            // quinn asks this before each datagram, on the thread that sends it.
            match socket.gather.follow(self.before) {
                Ok(trace) => {
                    self.before = trace;
                    return Poll::Ready(Ok(()));
                }
                Err(Full) => socket.full.store(true, Ordering::Release),
            }
        }
    }
}
