//! From a browser's HTTP/3 connection to a session: the extended CONNECT, and who may make it.
//!
//! In: a QUIC connection that speaks `h3`. Out: a WebTransport session, or a refusal that the client was told. The
//! source is draft-ietf-webtrans-http3; web-transport-quinn speaks it, this file decides. Invariant: a browser gets in
//! from a page of an allowed origin alone; without a list that is none (test
//! `origins_are_denied_unless_they_are_listed`).

use std::time::Duration;

use fanfare_hub::CloseReason;
use fanfare_protocol::{Code, WEBTRANSPORT_PATH};
use quinn::VarInt;
use tokio::time::timeout;
use web_transport_quinn::{Request, Session, http::StatusCode};

/// ALPN of HTTP/3 (RFC 9114 section 3.1).
pub(crate) const ALPN: &[u8] = b"h3";

/// `H3_NO_ERROR` (RFC 9114 section 8.1): what a refused connection is closed with.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// How long a refused client has to read its answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Which pages may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// `https://app.example`: scheme, host, and port where it is not the scheme's own.
    pub allowed: Vec<String>,
    /// Whether pages of this machine may, on any port.
    pub loopback: bool,
}

impl Origins {
    /// Whether a page of this origin may connect.
    fn allows(&self, origin: &str) -> bool {
        let listed = self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        listed || (self.loopback && is_loopback(origin))
    }
}

/// Whether this is the origin of a page on this machine.
fn is_loopback(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(host) = host else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "0"),
    };
    port.parse::<u16>().is_ok() && ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

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
    // Browsers always send it, and pages cannot change it. What is no browser can say what it likes, and is asked for a
    // credential like everybody.
    let Some(origin) = request.headers.get("origin") else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("(not text)");
    if origins.allows(origin) {
        return Ok(());
    }
    let reason = format!("pages of {origin} may not connect here: the server does not list this origin");
    Err((StatusCode::FORBIDDEN, CloseReason { code: Code::OriginRefused, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_denied_unless_they_are_listed() {
        let nobody = Origins::default();
        let listed = Origins { allowed: vec!["https://app.example".to_owned()], loopback: false };
        let development = Origins { allowed: Vec::new(), loopback: true };
        for (origin, by_list, by_loopback) in [
            ("https://app.example", true, false),
            ("HTTPS://App.Example", true, false),
            ("https://app.example:8443", false, false),
            ("http://app.example", false, false),
            ("https://app.example.evil.example", false, false),
            ("null", false, false),
            ("", false, false),
            ("http://localhost", false, true),
            ("http://localhost:4480", false, true),
            ("https://127.0.0.1:1", false, true),
            ("http://[::1]:9", false, true),
            ("http://[::1]", false, true),
            ("http://localhost.evil.example", false, false),
            ("http://localhost:4480.evil.example", false, false),
            ("http://127.0.0.1.evil.example:80", false, false),
            ("http://localhost:", false, false),
            ("file://localhost", false, false),
        ] {
            assert!(!nobody.allows(origin), "{origin}");
            assert_eq!(listed.allows(origin), by_list, "{origin}");
            assert_eq!(development.allows(origin), by_loopback, "{origin}");
        }
    }
}
