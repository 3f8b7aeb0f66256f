//! Who visits over TCP: whose a connection is, and whose each request on it.
//!
//! In: a peer's address, what a trusted proxy says before the first byte, and requests. Out: a place at the door, which
//! counts for the client as soon as that is known; the client's address in each request, or 400. Invariant: who answers
//! a request learns of no other address than its client's ([`Client`]). Which that is, `tcp/proxied.rs` decides.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fanfare_protocol::Code;
use parking_lot::Mutex;

use crate::edge::door::{Door, Place};
use crate::tcp::{Announced, Proxies, Source};
use crate::telemetry::Metrics;

/// Whose a request is: what whoever answers it finds in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) SocketAddr);

/// Who visits.
pub(crate) struct Visitor {
    proxies: Proxies,
    source: Mutex<Source>,
    has_asked: AtomicBool,
    /// What a back end has that has shown who it is; it lasts as long as its connection.
    known: OnceLock<Box<dyn Any + Send + Sync>>,
    /// When something that it asked for was last answered, in milliseconds since it came.
    heard: AtomicU64,
    came: Instant,
    /// How many of its requests are being worked on.
    working: AtomicUsize,
    /// The visit's, as long as it has one.
    place: Weak<Place>,
    metrics: Arc<Metrics>,
}

/// A request that is being worked on.
pub(crate) struct Working(Arc<Visitor>);

impl Drop for Working {
    fn drop(&mut self) {
        // Silence begins when it is answered.
        self.0.heard();
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The visitor of a connection, for its requests.
#[derive(Clone)]
pub(crate) struct Visiting(pub(crate) Arc<Visitor>);

impl Visitor {
    /// Lets a peer in, where there is a place for it.
    pub(crate) fn let_in(
        door: &Arc<Door>,
        proxies: Proxies,
        metrics: &Arc<Metrics>,
        peer: SocketAddr,
    ) -> Option<(Arc<Self>, Arc<Place>)> {
        let source = proxies.source(peer);
        // Whoever asks nothing does not keep others from asking. Whose a proxy's connection is, it has yet to say.
        let answer = match source.settled() {
            Some(client) => door.enter(client.ip()),
            None => door.enter_behind(peer.ip()),
        };
        let place = Arc::new(answer.counted(metrics)?);
        let visitor = Self {
            proxies,
            source: Mutex::new(source),
            has_asked: AtomicBool::new(false),
            known: OnceLock::new(),
            heard: AtomicU64::new(0),
            came: Instant::now(),
            working: AtomicUsize::new(0),
            place: Arc::downgrade(&place),
            metrics: Arc::clone(metrics),
        };
        Some((Arc::new(visitor), place))
    }

    /// Whether it is a trusted proxy, which may yet say whose the connection is.
    pub(crate) fn is_behind(&self) -> bool {
        self.source.lock().settled().is_none()
    }

    /// A trusted proxy has said this of it.
    pub(crate) fn announce(&self, announced: Announced) {
        let mut source = self.source.lock();
        *source = self.proxies.announced(*source, announced);
        if let Some(client) = source.settled() {
            self.count_for(client);
        }
    }

    /// Whether it has asked for something.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// It asks for something.
    pub(crate) fn ask(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// It is a back end that has shown who it is. It needs no place at the door any more, where nobody is known, and
    /// has `places` elsewhere.
    pub(crate) fn know(&self, places: impl Any + Send + Sync) {
        // Two of its requests at once may both want to be first.
        let _ = self.known.set(Box::new(places));
        if let Some(place) = self.place.upgrade() {
            place.leave();
        }
    }

    /// Whether it is one.
    pub(crate) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Something that it asked for is answered.
    fn heard(&self) {
        let since = u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(since, Ordering::Relaxed);
    }

    /// A request of its is being worked on, until this is dropped.
    pub(crate) fn works(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    /// For how long it has asked for nothing, and waited for nothing.
    pub(crate) fn silence(&self) -> Duration {
        if self.working.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.came.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
    }

    /// It has asked for nothing until the deadline.
    pub(crate) fn is_too_late(&self) {
        self.metrics.closed.add(Code::HandshakeTimeout);
    }

    /// What came is neither TLS nor what a proxy says.
    pub(crate) fn broke(&self, error: &io::Error) {
        tracing::debug!(address = %self.source.lock().address(), %error, "TCP handshake failed");
        self.metrics.handshakes.add(1);
        self.metrics.lost.add(1);
    }

    /// The place counts for this address from now on, which may have no more than others.
    fn count_for(&self, client: SocketAddr) {
        if let Some(place) = self.place.upgrade()
            && place.count_for(client.ip())
        {
            self.metrics.handshakes_evicted.add(1);
        }
    }
}

/// Says in a request whose it is. On one connection of a proxy's each may be another client's.
pub(crate) async fn tell_client(
    ConnectInfo(Visiting(visitor)): ConnectInfo<Visiting>,
    mut request: Request,
    next: Next,
) -> Response {
    visitor.ask();
    let source = *visitor.source.lock();
    match visitor.proxies.client(source, request.headers()) {
        Ok(client) => {
            visitor.count_for(client);
            request.extensions_mut().insert(Client(client));
            next.run(request).await
        }
        Err(contradiction) => (StatusCode::BAD_REQUEST, format!("{contradiction}\n")).into_response(),
    }
}
