//! What carries a link: QUIC, or a WebSocket where UDP does not get through.
//!
//! In: a connection of either kind. Out: its stream, its datagrams, and how it ended, in one set of words. Invariant:
//! from here on nobody asks which it is, but for those who say so.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{Code, DATAGRAM_BYTES};
use fanfare_websocket::{Broken, Carrier, End};
use quinn::{Endpoint, RecvStream, SendStream, VarInt, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use crate::disconnect::{ComeBack, Disconnect};

/// How much is taken from quinn at a time. It gives what lies in one piece, which is seldom more than a few packets.
const CHUNK_BYTES: usize = 64 * 1024;

/// When nothing at all comes over a WebSocket for this long the connection is lost. The server asks three times as
/// often, by default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is looked at.
const BEAT: Duration = Duration::from_secs(1);

/// What a connection goes over: [`Client::transport`](crate::Client::transport).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// QUIC.
    Quic,
    /// A WebSocket, where UDP does not get through.
    WebSocket,
}

/// A WebSocket's bytes, with TLS or without.
pub(crate) struct Tcp(pub(crate) Either<TcpStream, Box<TlsStream<TcpStream>>>);

impl Carrier for Tcp {}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A connection. A clone is the same connection.
#[derive(Clone)]
pub(crate) enum Connection {
    Quic {
        /// The socket lives as long as this.
        endpoint: Endpoint,
        connection: quinn::Connection,
    },
    WebSocket {
        socket: fanfare_websocket::Connection<Tcp>,
        /// Looks whether the server is still there.
        _beat: Arc<AbortOnDropHandle<()>>,
    },
}

/// The half of its stream that this client writes.
pub(crate) enum Sending {
    Quic(SendStream),
    WebSocket(fanfare_websocket::Transmitter<Tcp>),
}

/// The half of its stream that the server writes.
pub(crate) enum Receiving {
    Quic(RecvStream),
    WebSocket(fanfare_websocket::Receiver<Tcp>),
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// The server takes nothing any more from the stream.
    Stopped,
    /// The connection is lost.
    Lost,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The connection is lost.
    Lost(Disconnect),
    /// The server broke the stream off, with this code.
    Reset(VarInt),
    /// What came is no message that there is.
    NotMessage,
}

impl Connection {
    /// A WebSocket's.
    pub(crate) fn websocket(socket: fanfare_websocket::Connection<Tcp>) -> Self {
        let beating = socket.clone();
        let beat = tokio::spawn(async move {
            let mut beats = tokio::time::interval(BEAT);
            loop {
                beats.tick().await;
                beating.beat(IDLE_TIMEOUT);
            }
        });
        Self::WebSocket { socket, _beat: Arc::new(AbortOnDropHandle::new(beat)) }
    }

    /// Opens the stream that everything goes over.
    pub(crate) async fn open(&self) -> Result<(Sending, Receiving), Disconnect> {
        match self {
            Self::Quic { connection, .. } => {
                let (send, receive) = connection.open_bi().await?;
                Ok((Sending::Quic(send), Receiving::Quic(receive)))
            }
            Self::WebSocket { socket, .. } => {
                let (send, receive) = socket.stream().ok_or(Disconnect::StreamEnded)?;
                Ok((Sending::WebSocket(send), Receiving::WebSocket(receive)))
            }
        }
    }

    /// What it goes over.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Quic { .. } => Transport::Quic,
            Self::WebSocket { .. } => Transport::WebSocket,
        }
    }

    /// Closes it, and does not wait.
    pub(crate) fn close(&self, code: Code, reason: &str) {
        match self {
            Self::Quic { connection, .. } => {
                connection.close(VarInt::from_u32(u32::from(code.number())), reason.as_bytes());
            }
            Self::WebSocket { socket, .. } => socket.begin_close(code.number(), reason),
        }
    }

    /// Waits until what was said last is on its way, behind [`Connection::close`].
    pub(crate) async fn flush(&self) {
        match self {
            Self::Quic { endpoint, .. } => endpoint.wait_idle().await,
            // It was said already; this waits for the other side.
            Self::WebSocket { socket, .. } => socket.close(Code::Normal.number(), "").await,
        }
    }

    /// Waits for its end where its stream was read to the end, so that nobody reads any more.
    pub(crate) async fn over(&self) -> Disconnect {
        if let Self::WebSocket { socket, .. } = self {
            socket.over().await;
        }
        self.closed().await
    }

    /// Waits for its end, whoever brought it about. Somebody has to read it meanwhile.
    pub(crate) async fn closed(&self) -> Disconnect {
        match self {
            Self::Quic { connection, .. } => connection.closed().await.into(),
            Self::WebSocket { socket, .. } => {
                socket.closed().await;
                ended(socket.end())
            }
        }
    }

    /// The longest datagram that gets through.
    pub(crate) fn longest_datagram(&self) -> usize {
        match self {
            Self::Quic { connection, .. } => connection.max_datagram_size().unwrap_or(0),
            Self::WebSocket { .. } => DATAGRAM_BYTES,
        }
    }

    /// Sends a datagram, which may get lost. `Err`: the connection is lost.
    pub(crate) fn send_datagram(&self, frame: Bytes) -> Result<(), ()> {
        match self {
            Self::Quic { connection, .. } => connection.send_datagram(frame).map_err(drop),
            Self::WebSocket { socket, .. } => {
                // One that would have to wait is dropped, as QUIC does it.
                let _ = socket.send_datagram(frame);
                Ok(())
            }
        }
    }

    /// The next datagram. Never, when the connection is lost: the stream tells of that.
    pub(crate) async fn datagram(&self) -> Bytes {
        match self {
            Self::Quic { connection, .. } => match connection.read_datagram().await {
                Ok(datagram) => datagram,
                Err(_) => std::future::pending().await,
            },
            Self::WebSocket { socket, .. } => socket.read_datagram().await,
        }
    }

    /// Moves it to another UDP socket, whose family must be that of the server's address.
    pub(crate) fn rebind(&self, socket: UdpSocket) -> io::Result<()> {
        let Self::Quic { endpoint, connection } = self else {
            let problem = "the connection goes over a WebSocket, which does not move";
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        };
        let (ours, theirs): (SocketAddr, SocketAddr) = (socket.local_addr()?, connection.remote_address());
        if ours.is_ipv6() != theirs.is_ipv6() {
            let families = format!("the socket is bound to {ours}, but the server's address is {theirs}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, families));
        }
        endpoint.rebind(socket)
    }
}

/// What a WebSocket's end means. One without a code of the server's is a lost connection.
fn ended(end: Option<End>) -> Disconnect {
    match end {
        Some(End { code: Some(code), reason }) => {
            Disconnect::Closed { code, reason, come_back: ComeBack::ByCode }
        }
        Some(End { code: None, reason }) => Disconnect::Transport {
            detail: format!("the WebSocket was closed by somebody in between: {reason}"),
        },
        None => Disconnect::Transport { detail: "the WebSocket was lost".to_owned() },
    }
}

impl Sending {
    /// Writes all of it, and takes it out.
    pub(crate) async fn write(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), Unwritten> {
        match self {
            Self::Quic(stream) => {
                let written = stream.write_all_chunks(chunks).await.map_err(|error| match error {
                    WriteError::ConnectionLost(_) => Unwritten::Lost,
                    WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                        Unwritten::Stopped
                    }
                });
                chunks.clear();
                written
            }
            Self::WebSocket(half) => {
                while !chunks.is_empty() {
                    half.write_some(chunks).await.map_err(|_| Unwritten::Lost)?;
                }
                Ok(())
            }
        }
    }

    /// Says that nothing will follow.
    pub(crate) async fn finish(&mut self) {
        match self {
            // Fails only on a stream that is over already.
            Self::Quic(stream) => drop(stream.finish()),
            Self::WebSocket(half) => half.finish().await,
        }
    }
}

impl Receiving {
    /// The next bytes; `None` when the server finished its half.
    pub(crate) async fn read(&mut self, connection: &Connection) -> Result<Option<Bytes>, Unread> {
        match self {
            Self::Quic(stream) => match stream.read_chunk(CHUNK_BYTES, true).await {
                Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
                Err(quinn::ReadError::ConnectionLost(error)) => Err(Unread::Lost(error.into())),
                Err(quinn::ReadError::Reset(code)) => Err(Unread::Reset(code)),
                Err(
                    error @ (quinn::ReadError::ClosedStream
                    | quinn::ReadError::IllegalOrderedRead
                    | quinn::ReadError::ZeroRttRejected),
                ) => Err(Unread::Lost(Disconnect::Transport { detail: error.to_string() })),
            },
            Self::WebSocket(half) => match half.read().await {
                Ok(bytes) => Ok(bytes),
                Err(Broken::Stream) => Err(Unread::NotMessage),
                Err(Broken::Connection) => Err(Unread::Lost(connection.closed().await)),
            },
        }
    }
}
