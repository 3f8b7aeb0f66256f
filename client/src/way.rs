//! Which way a connection goes: QUIC, or a WebSocket where UDP does not get through.
//!
//! In: a dialer for each, and a deadline. Out: one connection. Invariants: whichever is established first is the
//! connection, the other is dropped, and nothing is said on both. QUIC begins; the WebSocket joins after a moment, or
//! at once where QUIC has failed. Where a WebSocket had to help it goes alone for a while, and then QUIC is tried
//! again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use crate::address::ServerAddress;
use crate::connection::{Connection, Tcp};
use crate::dial::QuicDialer;
use crate::error::ConnectError;

/// How long the WebSocket goes alone once it has helped.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Where a WebSocket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) address: ServerAddress,
    /// With TLS.
    pub(crate) secure: bool,
    /// The path, with a slash before it.
    pub(crate) path: String,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.address, self.path)
    }
}

/// What was learned of the ways.
#[derive(Default)]
struct Memory {
    /// The WebSocket was first, although QUIC was tried, too.
    has_helped: bool,
    /// Until when it goes alone.
    alone_until: Option<Instant>,
}

/// Makes WebSockets to one server.
#[derive(Clone)]
pub(crate) struct WebSocketDialer {
    way: Way,
    tls: Arc<rustls::ClientConfig>,
    /// After how long without an answer over QUIC it joins.
    after: Duration,
    memory: Arc<Mutex<Memory>>,
}

impl WebSocketDialer {
    pub(crate) fn new(way: Way, tls: Arc<rustls::ClientConfig>, after: Duration) -> Self {
        Self { way, tls, after, memory: Arc::default() }
    }

    /// In a task of its own, so that one that panics for what a server says is an attempt that failed.
    async fn dial(&self) -> Result<Connection, ConnectError> {
        let dialer = self.clone();
        let attempt = AbortOnDropHandle::new(tokio::spawn(async move { dialer.attempt().await }));
        attempt.await.unwrap_or_else(|failed| {
            Err(ConnectError::WebSocket { url: self.way.to_string(), detail: failed.to_string() })
        })
    }

    async fn attempt(&self) -> Result<Connection, ConnectError> {
        let failed = |detail: String| ConnectError::WebSocket { url: self.way.to_string(), detail };
        let bytes = self.bytes().await.map_err(|error| failed(error.to_string()))?;
        let url = self.way.to_string();
        let socket = fanfare_websocket::connect(Tcp(bytes), &url).await;
        let socket = socket.map_err(|error| failed(error.to_string()))?;
        tracing::debug!(url, "WebSocket made");
        Ok(Connection::websocket(socket))
    }

    async fn bytes(
        &self,
    ) -> std::io::Result<Either<TcpStream, Box<tokio_rustls::client::TlsStream<TcpStream>>>> {
        let addresses = self.way.address.resolve().await?;
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        if !self.way.secure {
            return Ok(Either::Left(stream));
        }
        let name = ServerName::try_from(self.way.address.host().to_owned()).map_err(std::io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        Ok(Either::Right(Box::new(stream)))
    }

    fn goes_alone(&self) -> bool {
        self.memory.lock().alone_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Makes connections to one server, either way.
#[derive(Clone)]
pub(crate) struct Dialer {
    quic: QuicDialer,
    websocket: Option<WebSocketDialer>,
}

impl Dialer {
    pub(crate) fn new(quic: QuicDialer, websocket: Option<WebSocketDialer>) -> Self {
        Self { quic, websocket }
    }

    /// The server, as it was given.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.quic.server
    }

    /// How long an attempt may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.quic.timeout
    }

    /// The same dialer, which knows what the other learns, for an attempt that may take so long.
    pub(crate) fn taking(&self, timeout: Duration) -> Self {
        let mut dialer = self.clone();
        dialer.quic.timeout = timeout;
        dialer
    }

    /// Tries one way, and then both, until one answers or `deadline` comes.
    pub(crate) async fn dial(&self, deadline: Instant) -> Result<Connection, ConnectError> {
        let Some(websocket) = &self.websocket else { return self.over_quic(deadline).await };
        if websocket.goes_alone() {
            let alone = timeout_at(deadline, websocket.dial()).await;
            return alone.unwrap_or_else(|_| Err(self.late(websocket)));
        }
        let mut quic = std::pin::pin!(self.over_quic(deadline));
        let failure = tokio::select! {
            biased;
            dialed = &mut quic => match dialed {
                Ok(connection) => return Ok(connection),
                // What the certificate or the server says is not about UDP.
                Err(error) if !error.may_be_udp() => return Err(error),
                Err(error) => Some(error),
            },
            () = sleep(websocket.after) => None,
        };
        let socket = async {
            let socket =
                timeout_at(deadline, websocket.dial()).await.unwrap_or_else(|_| Err(self.late(websocket)));
            socket.inspect(|_| websocket.memory.lock().has_helped = true)
        };
        // The first error is about the way that was asked for, and says more.
        if let Some(error) = failure {
            return socket.await.map_err(|_| error);
        }
        let mut socket = std::pin::pin!(socket);
        tokio::select! {
            biased;
            dialed = &mut quic => match dialed {
                Ok(connection) => Ok(connection),
                Err(error) if !error.may_be_udp() => Err(error),
                Err(error) => socket.await.map_err(|_| error),
            },
            made = &mut socket => match made {
                Ok(connection) => Ok(connection),
                Err(_) => quic.await,
            },
        }
    }

    /// Whether the connection that was made last was welcomed: only then the WebSocket goes alone for a while, and when
    /// it was not, QUIC is tried again.
    pub(crate) fn remember(&self, was_welcomed: bool) {
        let Some(websocket) = &self.websocket else { return };
        let mut memory = websocket.memory.lock();
        let has_helped = std::mem::take(&mut memory.has_helped);
        if !was_welcomed {
            memory.alone_until = None;
        } else if has_helped {
            memory.alone_until = Some(Instant::now() + REMEMBERED);
        }
    }

    async fn over_quic(&self, deadline: Instant) -> Result<Connection, ConnectError> {
        let (endpoint, connection) = self.quic.dial(deadline).await?;
        Ok(Connection::Quic { endpoint, connection })
    }

    fn late(&self, websocket: &WebSocketDialer) -> ConnectError {
        let detail = format!("no answer within {} s", self.timeout().as_secs_f32());
        ConnectError::WebSocket { url: websocket.way.to_string(), detail }
    }
}
