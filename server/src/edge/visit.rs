//! Visits over TCP: connections of HTTP, a bounded number of them, each for a bounded time.
//!
//! In: accepted sockets. Out: bytes for an HTTP server to read requests from, TLS included; and for what outlasts HTTP,
//! a WebSocket, those bytes and the place. Invariants: there are never more visits than places, of which no address can
//! keep others out (`door.rs`); a visit ends by itself, whatever its peer does or leaves undone: before its first
//! request at the deadline of handshakes, what a proxy says of it and TLS included. That of a back end that has shown
//! who it is lasts as long as it asks for something.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::middleware::from_fn;
use axum::serve::IncomingStream;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::edge::door::{Door, Place};
use crate::edge::visitor::{Visiting, Visitor, tell_client};
use crate::tcp::{Io, Preface, Proxies, WebTls};
use crate::telemetry::Metrics;

/// How many bytes a visit may say.
const MOST_BYTES: usize = 64 * 1024;
/// How long one may last when the server stops.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// How long visits may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Until when one has to have asked for something.
    pub(crate) deadline: Duration,
    /// All of one: a few requests of a page, not a crowd.
    pub(crate) lifetime: Duration,
    /// How long a back end that is known may ask for nothing, behind that.
    pub(crate) silence: Duration,
}

impl Times {
    /// With this deadline, and half a minute and a minute.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { deadline, lifetime: Duration::from_secs(30), silence: Duration::from_secs(60) }
    }
}

/// A listener with a bounded number of places.
pub(crate) struct Visits {
    pub(crate) listener: TcpListener,
    pub(crate) door: Arc<Door>,
    /// None: without TLS.
    pub(crate) tls: Option<Arc<WebTls>>,
    pub(crate) proxies: Proxies,
    pub(crate) times: Times,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) closing: CancellationToken,
}

impl axum::serve::Listener for Visits {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((socket, address)) => {
                    if let Some(visit) = self.let_in(socket, address) {
                        return (visit, address);
                    }
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

impl Visits {
    /// A visit from this peer, where there is a place for it.
    fn let_in(&self, socket: TcpStream, peer: SocketAddr) -> Option<Visit> {
        let (visitor, place) = Visitor::let_in(&self.door, self.proxies.clone(), &self.metrics, peer)?;
        let acceptor = self.tls.as_ref().map(|tls| tls.acceptor());
        Some(Visit {
            bytes: Io::new(socket, acceptor.as_ref()),
            preface: visitor.is_behind().then(Box::default),
            end: Box::pin(end(Arc::clone(&visitor), self.times, self.closing.clone(), place.evicted())),
            is_over: false,
            is_open: false,
            left: MOST_BYTES,
            visitor,
            place,
        })
    }
}

/// Waits until a visit is over.
async fn end(
    visitor: Arc<Visitor>,
    Times { deadline, lifetime, silence }: Times,
    closing: CancellationToken,
    evicted: CancellationToken,
) {
    let deadline = deadline.min(lifetime);
    let too_late = async {
        sleep(deadline).await;
        if !visitor.has_asked() {
            visitor.is_too_late();
            return;
        }
        sleep(lifetime.saturating_sub(deadline)).await;
        while visitor.is_known()
            && let Some(left) = silence.checked_sub(visitor.silence()).filter(|left| !left.is_zero())
        {
            sleep(left).await;
        }
    };
    tokio::select! {
        () = too_late => {}
        () = evicted.cancelled() => {}
        () = async { closing.cancelled().await; sleep(LAST_ANSWER).await } => {}
    }
}

/// Answers requests until [`Visits::closing`].
pub(crate) async fn answer(visits: Visits, routes: Router) {
    let closing = visits.closing.clone();
    let routes = routes.layer(from_fn(tell_client));
    let service = routes.into_make_service_with_connect_info::<Visiting>();
    let answered = axum::serve(visits, service).with_graceful_shutdown(closing.cancelled_owned());
    // It accepts until it is told to stop, and has no error of its own.
    let _ = answered.await;
}

impl Connected<IncomingStream<'_, Visits>> for Visiting {
    fn connect_info(stream: IncomingStream<'_, Visits>) -> Self {
        Self(Arc::clone(&stream.io().visitor))
    }
}

/// A connection that does not last for ever.
pub(crate) struct Visit {
    bytes: Io,
    /// What a trusted proxy says before the first byte, as long as it is not whole.
    preface: Option<Box<Preface>>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    /// Whether something has been read of it, behind TLS.
    is_open: bool,
    /// How much more it may say.
    left: usize,
    visitor: Arc<Visitor>,
    place: Arc<Place>,
}

impl Visit {
    /// What outlasts it: its bytes, behind those that were read already, and the place, which bounds what is begun now.
    /// `early` ends here: it holds the buffer that HTTP was read with, of 16 KiB.
    ///
    /// `None` where it was a back end's, which has no place, and there is none left.
    pub(crate) fn outlast(self, early: Bytes) -> Option<(Io, Arc<Place>)> {
        let bytes = self.bytes.behind(&early);
        drop(early);
        self.place.enter_again().then_some((bytes, self.place))
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.is_over = self.is_over || self.end.as_mut().poll(context).is_ready();
        if self.is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Reads what comes, behind what a proxy says of it.
    fn poll_bytes(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(preface) = &mut self.preface {
            let announced = ready!(self.bytes.poll_preface(preface, context))?;
            self.preface = None;
            self.visitor.announce(announced);
        }
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }

    /// Counts a handshake that broke before anybody was there to be told a code. Who just goes away, as a balancer's
    /// check does, is none.
    fn note(&mut self, read: &Poll<io::Result<()>>) {
        match read {
            Poll::Ready(Ok(())) => self.is_open = true,
            Poll::Ready(Err(error)) if !self.is_open && error.kind() == io::ErrorKind::InvalidData => {
                self.visitor.broke(error);
            }
            _ => {}
        }
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
        let read = self.poll_bytes(context, buffer);
        self.note(&read);
        // What a back end says is bounded by what each of its requests may be, and it is silent as long as it asks for
        // nothing that its key opens.
        if self.visitor.is_known() {
            return read;
        }
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;
    use crate::edge::door::OwnShare;

    #[tokio::test]
    async fn a_back_end_that_asks_for_nothing_is_not_kept_and_one_that_is_being_answered_is() {
        let door = Door::new(8, OwnShare::Refuse);
        let metrics = Arc::new(Metrics::default());
        let peer = SocketAddr::from(([127, 0, 0, 1], 4433));
        let (visitor, place) = Visitor::let_in(&door, Proxies::new(&[]), &metrics, peer).unwrap();
        let moment = Duration::from_millis(1);
        let silence = Duration::from_millis(60);
        let times = Times { deadline: moment, lifetime: 2 * moment, silence };
        visitor.know(());
        visitor.ask();
        let working = visitor.works();
        let (closing, evicted) = (CancellationToken::new(), place.evicted());
        let ended = end(Arc::clone(&visitor), times, closing, evicted);
        tokio::pin!(ended);
        assert!(timeout(2 * silence, &mut ended).await.is_err(), "it ended while it was being answered");
        drop(working);
        let answered = Instant::now();
        timeout(Duration::from_secs(30), ended).await.expect("it is kept for ever");
        // To a millisecond: so finely is kept when it was heard.
        assert!(answered.elapsed() + 2 * moment >= silence, "{:?}", answered.elapsed());
    }
}
