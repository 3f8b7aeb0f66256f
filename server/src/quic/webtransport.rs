//! From a browser's HTTP/3 connection to a session: the extended CONNECT, and who may make it.
//!
//! In: a QUIC connection that speaks `h3`. Out: a WebTransport session, or a refusal that the client was told. The
//! source is draft-ietf-webtrans-http3; web-transport-quinn speaks it, this file decides. Invariant: a browser gets in
//! from a page of an allowed origin alone.

use std::time::Duration;

use fanfare_hub::CloseReason;
use fanfare_protocol::{Code, WEBTRANSPORT_PATH};
use quinn::VarInt;
use tokio::time::timeout;
use web_transport_quinn::{Request, Session, http::StatusCode};

use crate::origins::Origins;

/// ALPN of HTTP/3 (RFC 9114 section 3.1).
pub(crate) const ALPN: &[u8] = b"h3";

/// `H3_NO_ERROR` (RFC 9114 section 8.1): what a refused connection is closed with.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// How long a refused client has to read its answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Takes the session that a client asks for. Ends with the caller's deadline, like everything of a handshake.
///
/// # Errors
/// The code, and the reason in words; nothing where the connection is gone. A request that is refused has had its
/// answer; closing is the caller's, with [`refuse`].
pub(crate) async fn accept(
    connection: &quinn::Connection,
    origins: &Origins,
) -> Result<Session, Option<CloseReason>> {
    let request = Request::accept(connection.clone()).await.map_err(|error| {
        let reason = format!("no WebTransport session was asked for: {error}");
        connection.close_reason().is_none().then_some(CloseReason { code: Code::MalformedFrame, reason })
    })?;
    let (status, ending) = match permit(&request, origins) {
        Ok(()) => return request.ok().await.map_err(|_| None),
        Err(refused) => refused,
    };
    // As a session, although it is none: it holds the streams of HTTP/3 open while the client reads its answer. Without
    // them, as `reject` leaves it, the client sees a broken connection before it sees the status.
    if let Ok(_answered) = request.respond(status).await {
        // A close overtakes what is still on its way.
        let _ = timeout(LAST_ANSWER, connection.closed()).await;
    }
    Err(Some(ending))
}

/// Closes a connection on which there is no session: HTTP/3's codes are the only ones there.
pub(crate) fn refuse(connection: &quinn::Connection, ending: &CloseReason) {
    connection.close(NO_ERROR, ending.reason.as_bytes());
}

fn permit(request: &Request, origins: &Origins) -> Result<(), (StatusCode, CloseReason)> {
    let path = request.url.path();
    if path != WEBTRANSPORT_PATH {
        let reason = format!("there is nothing at {path}; the path is {WEBTRANSPORT_PATH}");
        return Err((StatusCode::NOT_FOUND, CloseReason { code: Code::PathUnknown, reason }));
    }
    let origin = request.headers.get("origin").map(|origin| origin.as_bytes());
    origins.refusal(origin).map_or(Ok(()), |refused| Err((StatusCode::FORBIDDEN, refused)))
}
