//! The client of the operators' endpoint: queries and actions.
//!
//! In: requests as `fanfare_protocol::admin` has them. Out: their answers, one value or a stream of them. Invariants: a
//! request is sent once; nothing is kept from one request to the next but the connection; an answer of any length costs
//! bounded memory.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use fanfare_protocol::Code;
use fanfare_protocol::admin::{
    ADMIN_ALPN, AdminError, AdminReply, OneAnswer, Question, Status, Subscription,
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, TransportErrorCode, VarInt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::config::Roots;
use crate::dial::QuicDialer;
use crate::disconnect::Disconnect;
use crate::error::{ConnectError, RootsError};
use crate::{tls, transport};

/// The longest line of an answer, in bytes. A page of 1,000 rows has at most some two million.
const LINE_BYTES: usize = 16 << 20;

/// TLS alerts about a client's certificate (RFC 8446 section 6.2).
/// 51 is about a signature: of an authority with the same name and another key.
const CERTIFICATE_ALERTS: [u8; 8] = [42, 43, 44, 45, 46, 48, 51, 116];

/// How to connect as an operator.
#[derive(Debug, Clone)]
pub struct OperatorConfig {
    /// Where operators connect: `host:port`.
    pub server: String,
    /// Whom to trust to be the server.
    pub roots: Roots,
    /// The PEM file with the operator's certificate.
    pub certificate: PathBuf,
    /// The PEM file with its private key.
    pub key: PathBuf,
    /// How long connecting may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin. Default 30 s: an action waits for the disk, and for the actions before it.
    pub request_timeout: Duration,
}

impl OperatorConfig {
    /// With these, and the default times.
    pub fn new(
        server: impl Into<String>,
        roots: Roots,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        Self {
            server: server.into(),
            roots,
            certificate: certificate.into(),
            key: key.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Why something could not be asked or done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not take the certificate.
    #[error(
        "the server at {server} does not take this certificate ({detail}); it takes those that its own authority issued: fanfare \
         certs operator"
    )]
    Certificate {
        /// Host and port.
        server: String,
        /// What TLS or the server says.
        detail: String,
    },
    /// The server refuses the request.
    #[error(transparent)]
    Refused(#[from] AdminError),
    /// The connection ended before the answer. An action may have been carried out: the audit says so.
    #[error(
        "the connection to {server} ended before the answer: {reason}; if it was an order, see the audit"
    )]
    Lost {
        /// Host and port.
        server: String,
        /// Why.
        reason: Disconnect,
    },
    /// There was no answer in time. An action may have been carried out: the audit says so.
    #[error("no answer from {server} within {} s; if it was an order, see the audit", within.as_secs())]
    TimedOut {
        /// Host and port.
        server: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The answer makes no sense to this version.
    #[error("the answer from {server} makes no sense to this version: {detail}")]
    Malformed {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl OperatorError {
    /// The server's code, if it refused and this version knows it.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(error) => Code::try_from(u64::from(error.code)).ok(),
            Self::Lost { reason, .. } => reason.code(),
            Self::Certificate { .. } => Some(Code::OperatorRefused),
            Self::Connect(error) => error.code(),
            _ => None,
        }
    }
}

/// A connection to a server's endpoint for operators. Dropping it closes it.
pub struct OperatorClient {
    // The socket lives as long as this.
    endpoint: Endpoint,
    connection: Connection,
    server: String,
    request_timeout: Duration,
}

impl std::fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorClient").field("server", &self.server).finish_non_exhaustive()
    }
}

impl OperatorClient {
    /// Connects, and asks for the server's status, with which it is known that the certificate was taken.
    ///
    /// # Errors
    /// When a file cannot be used, the server cannot be reached or is not trusted, or refuses the certificate.
    pub async fn connect(config: OperatorConfig) -> Result<(Self, Status), OperatorError> {
        let OperatorConfig { server, roots, certificate, key, connect_timeout, request_timeout } = config;
        let address = server.parse().map_err(|problem: &str| ConnectError::Address {
            address: server.clone(),
            problem: problem.to_owned(),
        })?;
        let load = move || tls::load(roots, ADMIN_ALPN, Some((&certificate, &key)));
        let trust = tokio::task::spawn_blocking(load)
            .await
            .map_err(|failed| ConnectError::Roots(RootsError::Tls { detail: failed.to_string() }))?
            .map_err(ConnectError::Roots)?;
        let quic = transport::quic(&trust);
        let dialer = QuicDialer { server: address, quic, roots: trust.roots, timeout: connect_timeout };
        let (endpoint, connection) = dialer.dial(Instant::now() + connect_timeout).await?;
        let client = Self { endpoint, connection, server, request_timeout };
        let status = client.ask(&Question::Status {}).await?;
        Ok((client, status))
    }

    /// Sends a request that has one answer.
    ///
    /// # Errors
    /// When the server refuses it, or there is no answer; then an action may have been carried out all the same.
    pub async fn ask<T: DeserializeOwned>(&self, request: &impl OneAnswer) -> Result<T, OperatorError> {
        let asked = async {
            let mut answers = self.open(request).await?;
            match answers.next().await? {
                Some(answer) => Ok(answer),
                None => Err(self.malformed("it is empty")),
            }
        };
        let timed_out =
            |_| OperatorError::TimedOut { server: self.server.clone(), within: self.request_timeout };
        timeout(self.request_timeout, asked).await.map_err(timed_out)?
    }

    /// Sends a request that has many answers.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn follow<T: DeserializeOwned>(
        &self,
        request: &Subscription,
    ) -> Result<Answers<T>, OperatorError> {
        self.open(request).await
    }

    /// Sends a request on a stream of its own.
    async fn open<T>(&self, request: &impl Serialize) -> Result<Answers<T>, OperatorError> {
        let (mut send, receive) = self.connection.open_bi().await.map_err(|error| self.lost(error))?;
        let text = serde_json::to_vec(request).map_err(|error| self.malformed(&error.to_string()))?;
        let wrote = async {
            send.write_all(&text).await?;
            let _ = send.finish();
            Ok::<_, quinn::WriteError>(())
        };
        if let Err(quinn::WriteError::ConnectionLost(error)) = wrote.await {
            return Err(self.lost(error));
        }
        let (server, connection) = (self.server.clone(), self.connection.clone());
        Ok(Answers {
            receive,
            buffer: BytesMut::new(),
            searched: 0,
            server,
            connection,
            kind: std::marker::PhantomData,
        })
    }

    /// Closes the connection, and waits until the server can have heard of it.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"");
        // Bounded: a server that has vanished is not waited for.
        let _ = timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }

    fn lost(&self, error: ConnectionError) -> OperatorError {
        lost(&self.server, error)
    }

    fn malformed(&self, detail: &str) -> OperatorError {
        OperatorError::Malformed { server: self.server.clone(), detail: detail.to_owned() }
    }
}

/// What the end of a connection means. In TLS 1.3 a client learns only after its own handshake that its certificate was
/// not taken.
fn lost(server: &str, error: ConnectionError) -> OperatorError {
    if let ConnectionError::ConnectionClosed(close) = &error
        && CERTIFICATE_ALERTS.iter().any(|alert| close.error_code == TransportErrorCode::crypto(*alert))
    {
        return OperatorError::Certificate { server: server.to_owned(), detail: close.to_string() };
    }
    match Disconnect::from(error) {
        Disconnect::Closed { code, reason, .. } if code == Code::OperatorRefused.number() => {
            OperatorError::Certificate {
                server: server.to_owned(),
                detail: format!("{reason} (code {code})"),
            }
        }
        reason => OperatorError::Lost { server: server.to_owned(), reason },
    }
}

/// Answers, one after the other. Dropping it tells the server that no more are wanted.
pub struct Answers<T> {
    receive: RecvStream,
    buffer: BytesMut,
    /// So much of the buffer has no end of a line in it.
    searched: usize,
    server: String,
    connection: Connection,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Answers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Answers<T> {
    /// The next answer; `None` when there will be no more. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the server refuses the request, or the connection has ended.
    pub async fn next(&mut self) -> Result<Option<T>, OperatorError> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                return match serde_json::from_slice(&line) {
                    Ok(AdminReply::Ok(answer)) => Ok(Some(answer)),
                    Ok(AdminReply::Error(error)) => Err(error.into()),
                    Err(error) => Err(self.malformed(error.to_string())),
                };
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES {
                return Err(self.malformed(format!("a line is longer than {LINE_BYTES} bytes")));
            }
            match self.receive.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(self.malformed("it is cut off".to_owned())),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(lost(&self.server, error)),
                // A stream is reset when the session ends: how that ends is the better answer.
                Err(error) => {
                    let closed = timeout(Duration::from_secs(1), self.connection.closed()).await;
                    return Err(closed.map_or_else(
                        |_| self.malformed(error.to_string()),
                        |error| lost(&self.server, error),
                    ));
                }
            }
        }
    }

    fn malformed(&self, detail: String) -> OperatorError {
        OperatorError::Malformed { server: self.server.clone(), detail }
    }
}
