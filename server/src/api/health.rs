//! The HTTP listener: whether the server lives and takes connections, and in development a page to try it with.
//!
//! In: requests. Out: `/healthz`, `/readyz`; in development the page, its script, and the hash of the certificate that
//! a browser is to pin. Invariant: nothing here reads or changes what users do.

use std::net::SocketAddr;
use std::sync::Arc;

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
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;
use crate::moderation::Moderation;

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
    /// Whether anybody can be let in.
    pub(crate) lease: Arc<Lease>,
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

/// The paths of health, and in development of the page.
pub(crate) fn routes(http: Arc<Http>) -> Router {
    let mut router = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    if http.dev {
        router = router
            .route(
                "/",
                get(|| page("text/html; charset=utf-8", include_str!("../../../web/page/index.html"))),
            )
            .route("/page.js", get(|| page("text/javascript", include_str!("../../../web/page/page.js"))))
            .route(
                "/requests.js",
                get(|| page("text/javascript", include_str!("../../../web/page/requests.js"))),
            )
            .route("/page.css", get(|| page("text/css", include_str!("../../../web/page/page.css"))))
            .route(
                "/fanfare-client.js",
                get(|| page("text/javascript", include_str!("../../../web/page/fanfare-client.js"))),
            )
            .route("/fanfare/certificate-hash", get(hash));
    }
    router.with_state(http)
}

async fn ready(State(http): State<Arc<Http>>) -> Response {
    if http.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    // Those who are here stay; who comes is better off at another node.
    if !http.lease.holds() {
        return (StatusCode::SERVICE_UNAVAILABLE, "cut off from the cluster\n").into_response();
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
    let policy = "default-src 'self'; img-src 'self' data:; connect-src 'self' https: ws: wss:; \
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
