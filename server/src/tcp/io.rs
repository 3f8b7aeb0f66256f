//! A socket's bytes, with TLS or without.
//!
//! In: an accepted socket, and TLS where there is some. Out: bytes both ways. Invariants: the TLS handshake is part of
//! the first read or write, so that whatever bounds those bounds it; what the system keeps for a peer that does not
//! read, or of one that is not read, has a bound.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::SEND_WINDOW;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::preface::{Announced, Preface};

/// What the system may keep of a peer that is not read. Linux doubles it for its own needs.
const RECEIVE_WINDOW: usize = 64 * 1024;

/// A TCP connection's bytes.
pub(crate) struct Io {
    /// What was read of it already, by whoever had it before, and comes first.
    early: Bytes,
    carrier: Carrier,
}

enum Carrier {
    Plain(TcpStream),
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS failed.
    Failed,
}

impl Io {
    /// A socket's bytes, with TLS where there is an acceptor.
    pub(crate) fn new(socket: TcpStream, tls: Option<&TlsAcceptor>) -> Self {
        bound(&socket);
        let carrier = match tls {
            None => Carrier::Plain(socket),
            Some(tls) => Carrier::Handshake(Box::new(tls.accept(socket))),
        };
        Self { early: Bytes::new(), carrier }
    }

    /// The same bytes, with these before them.
    pub(crate) fn behind(self, early: &[u8]) -> Self {
        // A copy: what it was cut from is as large as the longest request.
        Self { early: Bytes::copy_from_slice(early), ..self }
    }

    /// Reads what a proxy says of the connection, before anything else of it is read.
    pub(crate) fn poll_preface(
        &self,
        preface: &mut Preface,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Announced>> {
        match self.socket() {
            Some(socket) => preface.poll(socket, context),
            None => failed(),
        }
    }

    /// The socket, where it is still there.
    fn socket(&self) -> Option<&TcpStream> {
        match &self.carrier {
            Carrier::Plain(socket) => Some(socket),
            Carrier::Handshake(accept) => accept.get_ref(),
            Carrier::Tls(stream) => Some(stream.get_ref().0),
            Carrier::Failed => None,
        }
    }

    /// Has the system give the peer up when it has acknowledged nothing of what was sent to it for so long.
    pub(crate) fn give_up_after(&self, silence: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.socket() {
            // Where it fails the socket is gone.
            let _ = SockRef::from(socket).set_tcp_user_timeout(Some(silence));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = silence;
    }

    /// Throws away what the system still keeps for the peer when the socket is closed, instead of sending it.
    pub(crate) fn abort(&self) {
        if let Some(socket) = self.socket() {
            // It is closed either way.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Ready when the TLS handshake is done, where there is one.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Carrier::Handshake(accept) = &mut self.carrier {
            match ready!(Pin::new(accept.as_mut()).poll(context)) {
                Ok(stream) => self.carrier = Carrier::Tls(Box::new(stream)),
                Err(error) => {
                    self.carrier = Carrier::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The system would keep megabytes in either direction. What is to be sent at once is not held back for more.
fn bound(socket: &TcpStream) {
    let options = SockRef::from(socket);
    // Half: Linux doubles it. Each fails only where the socket is gone, which is noticed when it is used.
    let _ = options.set_send_buffer_size(SEND_WINDOW / 2);
    let _ = options.set_recv_buffer_size(RECEIVE_WINDOW);
    let _ = options.set_tcp_nodelay(true);
}

fn failed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(count));
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_open(context))?;
        match &mut self.carrier {
            Carrier::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
            Carrier::Handshake(_) | Carrier::Failed => failed(),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?;
        match &mut self.carrier {
            Carrier::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
            Carrier::Handshake(_) | Carrier::Failed => failed(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?;
        match &mut self.carrier {
            Carrier::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, slices),
            Carrier::Handshake(_) | Carrier::Failed => failed(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Plain(socket) => Pin::new(socket).poll_flush(context),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            // Nothing was written yet.
            Carrier::Handshake(_) | Carrier::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            Carrier::Handshake(_) | Carrier::Failed => Poll::Ready(Ok(())),
        }
    }
}
