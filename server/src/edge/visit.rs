//! Visits over TCP: connections of HTTP, a bounded number of them, each for a bounded time.
//!
//! In: accepted sockets. Out: bytes for an HTTP server to read requests from, TLS included; and for what outlasts HTTP,
//! a WebSocket, those bytes and the place. Invariants: there are never more visits than places, of which no address can
//! keep others out (`door.rs`); a visit ends by itself, whatever its peer does or leaves undone, its TLS handshake
//! included.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::edge::door::{Answer, Door, Place};
use crate::tcp::{Io, WebTls};

/// How long a visit may last: a few requests of a page, not a crowd.
const LIFETIME: Duration = Duration::from_secs(30);
/// How many bytes a visit may say.
const MOST_BYTES: usize = 64 * 1024;
/// How long one may last when the server stops.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// A listener with a bounded number of places.
pub(crate) struct Visits {
    pub(crate) listener: TcpListener,
    pub(crate) door: Arc<Door>,
    /// None: without TLS.
    pub(crate) tls: Option<Arc<WebTls>>,
    pub(crate) closing: CancellationToken,
}

impl axum::serve::Listener for Visits {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((socket, address)) => {
                    // Whoever asks nothing does not keep others from asking.
                    let (Answer::Place(place) | Answer::PlaceOf(place)) = self.door.enter(address.ip())
                    else {
                        continue;
                    };
                    let (closing, evicted) = (self.closing.clone(), place.evicted());
                    let end = Box::pin(async move {
                        tokio::select! {
                            () = sleep(LIFETIME) => {}
                            () = evicted.cancelled() => {}
                            () = async { closing.cancelled().await; sleep(LAST_ANSWER).await } => {}
                        }
                    });
                    let acceptor = self.tls.as_ref().map(|tls| tls.acceptor());
                    let bytes = Io::new(socket, acceptor.as_ref());
                    return (Visit { bytes, end, is_over: false, left: MOST_BYTES, place }, address);
                }
                // Of one connection, or too many open files: the next try is after a moment, not at once.
                Err(error) => {
                    tracing::debug!(%error, "HTTP");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Answers requests until [`Visits::closing`].
pub(crate) async fn answer(visits: Visits, routes: Router) {
    let closing = visits.closing.clone();
    let service = routes.into_make_service_with_connect_info::<Visitor>();
    let answered = axum::serve(visits, service).with_graceful_shutdown(closing.cancelled_owned());
    // It accepts until it is told to stop, and has no error of its own.
    let _ = answered.await;
}

/// Where a visit comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Visits>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, Visits>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection that does not last for ever.
pub(crate) struct Visit {
    bytes: Io,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    /// How much more it may say.
    left: usize,
    place: Place,
}

impl Visit {
    /// What outlasts it: its bytes, behind those that were read already, and the place, which bounds what is begun now.
    pub(crate) fn outlast(self, early: &[u8]) -> (Io, Place) {
        (self.bytes.behind(early), self.place)
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.is_over = self.is_over || self.end.as_mut().poll(context).is_ready();
        if self.is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(context, buffer);
        // Whoever reads requests keeps one as long as it is not whole.
        match self.left.checked_sub(buffer.filled().len() - before) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
        read
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.bytes).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.bytes).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}
