//! The HTTP listener: whether the server lives and takes connections, and in development a page to try it with.
//!
//! In: TCP connections, a bounded number of them, each for a bounded time. Out: `/healthz`, `/readyz`; in development
//! the page, its script, and the hash of the certificate that a browser is to pin. Invariant: nothing here reads or
//! changes what users do.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::edge::door::{Answer, Door, OwnShare, Place};
use crate::moderation::Moderation;

/// Connections at a time, and how long each may last: health checks and a page, not a crowd.
const CONNECTIONS: usize = 64;
const LIFETIME: Duration = Duration::from_secs(30);
/// How long one may last when the server stops.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// What is answered.
pub(crate) struct Http {
    /// Where browsers connect.
    pub(crate) server: SocketAddr,
    /// Whether there is a page to try.
    pub(crate) dev: bool,
    /// SHA-256 of the certificate that clients see now.
    pub(crate) certificate: RwLock<[u8; 32]>,
    /// Whether operators' acts can be taken.
    pub(crate) moderation: Arc<Moderation>,
    /// Cancelled when nobody is let in any more.
    pub(crate) closing: CancellationToken,
}

/// SHA-256 of the first certificate of a chain, which is what a browser pins (W3C WebTransport,
/// `serverCertificateHashes`).
pub(crate) fn certificate_hash(chain: &[CertificateDer<'static>]) -> [u8; 32] {
    let mut hash = [0; 32];
    if let Some(leaf) = chain.first() {
        hash.copy_from_slice(digest(&SHA256, leaf).as_ref());
    }
    hash
}

/// Answers until [`Http::closing`].
pub(crate) async fn listen(listener: TcpListener, http: Arc<Http>) {
    let closing = http.closing.clone();
    let mut router = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    if http.dev {
        router = router
            .route(
                "/",
                get(|| page("text/html; charset=utf-8", include_str!("../../../web/page/index.html"))),
            )
            .route("/page.js", get(|| page("text/javascript", include_str!("../../../web/page/page.js"))))
            .route("/page.css", get(|| page("text/css", include_str!("../../../web/page/page.css"))))
            .route(
                "/fanfare-client.js",
                get(|| page("text/javascript", include_str!("../../../web/page/fanfare-client.js"))),
            )
            .route("/fanfare/certificate-hash", get(hash));
    }
    let door = Door::new(CONNECTIONS, OwnShare::TakeOldest);
    let doors = Doors { listener, door, closing: closing.clone() };
    let served =
        axum::serve(doors, router.with_state(http)).with_graceful_shutdown(closing.cancelled_owned());
    // It accepts until it is told to stop, and has no error of its own.
    let _ = served.await;
}

async fn ready(State(http): State<Arc<Http>>) -> Response {
    if http.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    // Clients are served all the same: to be taken out of service would make it worse for them. Why is for operators.
    if http.moderation.impaired().is_so() {
        return "ready\noperators' acts cannot be taken now: the store cannot be written; see the log\n"
            .into_response();
    }
    "ready\n".into_response()
}

async fn page(kind: &'static str, content: &'static str) -> Response {
    // The page connects to the server on this machine, and loads nothing from elsewhere.
    let policy = "default-src 'self'; img-src 'self' data:; connect-src 'self' https:; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, content).into_response()
}

async fn hash(State(http): State<Arc<Http>>) -> Response {
    let value = STANDARD.encode(*http.certificate.read());
    let url = format!("https://{}{}", http.server, fanfare_protocol::WEBTRANSPORT_PATH);
    let body = json!({ "url": url, "algorithm": "sha-256", "value": value });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, format!("{body}\n")).into_response()
}

/// The listener, with a bounded number of places.
struct Doors {
    listener: TcpListener,
    door: Arc<Door>,
    closing: CancellationToken,
}

impl axum::serve::Listener for Doors {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
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
                    return (Visit { stream, end, _place: place }, address);
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

/// A connection that does not last for ever.
struct Visit {
    stream: TcpStream,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: Place,
}

impl Visit {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
