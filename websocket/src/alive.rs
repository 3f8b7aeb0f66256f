//! Signs of life of a peer, as its bytes give them.
//!
//! In: bytes both ways. Out: the same, and a count that grows with each sign. Invariant: only what the peer did counts:
//! that something came, or that it took what had to wait for it. That the system took something says nothing of the
//! peer, which may be gone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes whose peer's signs of life are counted.
pub(crate) struct Alive<T> {
    carrier: T,
    life: Arc<AtomicU64>,
    /// The system takes no more at the moment.
    is_full: bool,
}

impl<T> Alive<T> {
    /// The same bytes, and the count.
    pub(crate) fn new(carrier: T) -> (Self, Arc<AtomicU64>) {
        let life = Arc::new(AtomicU64::new(0));
        (Self { carrier, life: Arc::clone(&life), is_full: false }, life)
    }

    pub(crate) fn carrier(&self) -> &T {
        &self.carrier
    }

    fn sign(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    fn written(&mut self, written: &Poll<io::Result<usize>>) {
        if self.is_full && matches!(written, Poll::Ready(Ok(1..))) {
            self.sign();
        }
        self.is_full = written.is_pending();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Alive<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.carrier).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.sign();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Alive<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.carrier).poll_write(context, bytes);
        self.written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.carrier).poll_write_vectored(context, slices);
        self.written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_the_peer_takes_again_is_a_sign_and_what_the_system_takes_is_none() {
        let (here, mut there) = tokio::io::duplex(16);
        let (mut here, life) = Alive::new(here);
        here.write_all(&[0; 16]).await.unwrap();
        assert_eq!(life.load(Ordering::Relaxed), 0, "nobody has taken it");
        let mut taken = [0; 16];
        let (written, read) = tokio::join!(here.write_all(&[0; 16]), there.read_exact(&mut taken));
        written.unwrap();
        read.unwrap();
        assert_eq!(life.load(Ordering::Relaxed), 1);
        there.write_all(b"x").await.unwrap();
        here.read_u8().await.unwrap();
        assert_eq!(life.load(Ordering::Relaxed), 2);
    }
}
