//! A client's way to a WebSocket: the HTTP upgrade (RFC 6455, section 4.1).
//!
//! In: bytes to a server, and a URL. Out: a connection, or what the server answered instead. Invariant: a server that
//! does not choose the subprotocol of Fanfare's frames is none of ours.

use fanfare_protocol::WEBSOCKET_PROTOCOL;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_websockets::ClientBuilder;

use crate::alive::Alive;
use crate::connection::{Connection, settings};
use crate::socket::Carrier;

/// Asks for a WebSocket over these bytes, by this URL, and speaks it from then on.
///
/// # Errors
/// What is wrong with the URL, or what the server answers instead.
pub async fn connect<T: Carrier>(bytes: T, url: &str) -> Result<Connection<T>, UpgradeError> {
    let (limits, config) = settings();
    let builder = ClientBuilder::new()
        .uri(url)
        .map_err(|error| UpgradeError::Url { detail: error.to_string() })?
        .limits(limits)
        .config(config)
        .add_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_PROTOCOL))?;
    let (bytes, life) = Alive::new(bytes);
    let (stream, response) = builder.connect_on(bytes).await?;
    if response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|chosen| chosen != WEBSOCKET_PROTOCOL) {
        return Err(UpgradeError::NotFanfare);
    }
    Ok(Connection::of(stream, life))
}

/// Why a server gave no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The URL is none.
    #[error("the address is no URL: {detail}")]
    Url {
        /// What is wrong with it.
        detail: String,
    },
    /// The server answered something else.
    #[error("the server gave no WebSocket: {0}")]
    Refused(#[from] tokio_websockets::Error),
    /// The server gave one, but not for Fanfare's frames.
    #[error("the server gave a WebSocket, but not for Fanfare's frames (subprotocol {WEBSOCKET_PROTOCOL})")]
    NotFanfare,
}
