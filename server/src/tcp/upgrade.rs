//! From an HTTP request to a WebSocket: RFC 6455, section 4.2.
//!
//! In: a request. Out: the answer, and what its bytes are read from behind it; or what the request lacks, with the
//! status that says so. Invariant: nothing is upgraded that does not ask for the protocol that is spoken here.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a key is made an answer with: RFC 6455, section 1.3.
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is no WebSocket's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("this is a WebSocket, and the request does not ask for one")]
    NotAsked,
    #[error("the request asks for a version of WebSocket other than 13")]
    Version,
    #[error("the request's Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    #[error("the request does not offer the subprotocol {0} in Sec-WebSocket-Protocol")]
    Subprotocol(&'static str),
    #[error("the connection cannot be upgraded")]
    Connection,
}

impl IntoResponse for UpgradeError {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        match self {
            Self::NotAsked => {
                (StatusCode::UPGRADE_REQUIRED, [(UPGRADE, "websocket"), (CONNECTION, "upgrade")], text)
                    .into_response()
            }
            Self::Version => {
                (StatusCode::UPGRADE_REQUIRED, [(SEC_WEBSOCKET_VERSION, "13")], text).into_response()
            }
            Self::Key | Self::Subprotocol(_) | Self::Connection => {
                (StatusCode::BAD_REQUEST, text).into_response()
            }
        }
    }
}

/// A request that asks for a WebSocket, and can have it.
pub(crate) struct Upgrade {
    pending: OnUpgrade,
    accept: String,
    subprotocol: Option<&'static str>,
}

impl Upgrade {
    /// Judges a request. With a subprotocol it has to offer that; without one none is chosen.
    ///
    /// # Errors
    /// What the request lacks.
    pub(crate) fn of(request: &mut Request, subprotocol: Option<&'static str>) -> Result<Self, UpgradeError> {
        let headers = request.headers();
        let asks = request.method() == Method::GET
            && lists(headers, &CONNECTION, "upgrade")
            && lists(headers, &UPGRADE, "websocket");
        if !asks {
            return Err(UpgradeError::NotAsked);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(UpgradeError::Version);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map_or(&[][..], |key| key.as_bytes());
        if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
            return Err(UpgradeError::Key);
        }
        if let Some(subprotocol) = subprotocol
            && !lists(headers, &SEC_WEBSOCKET_PROTOCOL, subprotocol)
        {
            return Err(UpgradeError::Subprotocol(subprotocol));
        }
        let accept = accepted(key);
        let pending = request.extensions_mut().remove::<OnUpgrade>().ok_or(UpgradeError::Connection)?;
        Ok(Self { pending, accept, subprotocol })
    }

    /// The answer, which has to be given before there is a [carrier](Upgrade::carrier).
    pub(crate) fn response(&self) -> Response {
        let headers =
            [(CONNECTION, "upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, self.accept.as_str())];
        let chosen = self.subprotocol.map(|subprotocol| [(SEC_WEBSOCKET_PROTOCOL, subprotocol)]);
        (StatusCode::SWITCHING_PROTOCOLS, headers, chosen, ()).into_response()
    }

    /// What carries the connection from now on, and what of it was read already. `None` where it has gone.
    pub(crate) async fn carrier<T: AsyncRead + AsyncWrite + Unpin + 'static>(self) -> Option<(T, Bytes)> {
        let upgraded = self.pending.await.ok()?;
        let parts = hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<T>>(upgraded).ok()?;
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

/// What says that a key was read (RFC 6455, section 4.2.2).
fn accepted(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, SALT].concat()))
}

/// Whether one of the values that headers of this name list is this one, whatever its case.
fn lists(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// A request with these headers, which no connection is behind.
    fn refused(headers: &[(&str, &str)]) -> UpgradeError {
        let mut request = headers
            .iter()
            .fold(Request::builder(), |request, (name, value)| request.header(*name, *value))
            .body(Body::empty())
            .unwrap();
        Upgrade::of(&mut request, Some("fanfare.1")).err().unwrap()
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(accepted(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_a_request_lacks_is_said() {
        let whole = [
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "WebSocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "other, fanfare.1"),
        ];
        assert_eq!(refused(&whole), UpgradeError::Connection, "nothing else is missing");
        for (at, missing, status) in [
            (0, UpgradeError::NotAsked, StatusCode::UPGRADE_REQUIRED),
            (1, UpgradeError::NotAsked, StatusCode::UPGRADE_REQUIRED),
            (2, UpgradeError::Version, StatusCode::UPGRADE_REQUIRED),
            (3, UpgradeError::Key, StatusCode::BAD_REQUEST),
            (4, UpgradeError::Subprotocol("fanfare.1"), StatusCode::BAD_REQUEST),
        ] {
            let mut headers = whole.to_vec();
            headers.remove(at);
            assert_eq!(refused(&headers), missing);
            assert_eq!(missing.into_response().status(), status);
        }
        let mut short = whole;
        short[3].1 = "c2hvcnQ=";
        assert_eq!(refused(&short), UpgradeError::Key);
    }
}
