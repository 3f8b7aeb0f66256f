//! Messages of any length, as messages of a bounded one: for protocols that do not care how their bytes are cut.
//!
//! In: a client's bytes, as frames of RFC 6455 (section 5.2). Out: the same bytes under other headers, so that whoever
//! reads them keeps no more of a message than a piece. SignalR's JavaScript client puts all that waits into one
//! message, which has no bound. Invariants: what the frames have in them is not changed, nor copied; frames that are
//! not a peer's data go through as they are, with whatever is wrong with them, for the framing to judge; so do the
//! continuation of nothing, and a message that begins within another.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

use crate::socket::Carrier;

/// The longest piece.
pub(crate) const PIECE_BYTES: usize = 16 * 1024;
// Each piece begins where the key does.
const _: () = assert!(PIECE_BYTES.is_multiple_of(4) && PIECE_BYTES < 1 << 16);

/// How much is read ahead for headers. What is longer is read past it.
const READ_BYTES: usize = 512;

/// The longest header of a frame: two bytes, eight of length, four of the key.
const HEADER_BYTES: usize = 14;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const BINARY: u8 = 2;

/// Bytes whose messages come in pieces.
pub struct Pieces<T> {
    /// Headers are short, and there may be many.
    carrier: BufReader<T>,
    /// A frame's header, as far as it has come.
    header: [u8; HEADER_BYTES],
    header_read: usize,
    /// The header that is said instead, and how much of it was.
    said: [u8; HEADER_BYTES],
    said_bytes: (usize, usize),
    /// What is left of the piece, and of its frame.
    piece_left: u64,
    frame_left: u64,
    key: [u8; 4],
    /// A message has begun whose last frame has not come.
    is_open: bool,
}

impl<T: AsyncRead> Pieces<T> {
    pub(crate) fn new(carrier: T) -> Self {
        Self {
            carrier: BufReader::with_capacity(READ_BYTES, carrier),
            header: [0; HEADER_BYTES],
            header_read: 0,
            said: [0; HEADER_BYTES],
            said_bytes: (0, 0),
            piece_left: 0,
            frame_left: 0,
            key: [0; 4],
            is_open: false,
        }
    }

    /// How long the header is, as far as can be known of what has come of it.
    fn header_length(&self) -> usize {
        let Some(second) = self.header.get(1).filter(|_| self.header_read >= 2) else { return 2 };
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    /// The header is whole: what it is about.
    fn begin_frame(&mut self) {
        let length = std::mem::take(&mut self.header_read);
        let [first, second, rest @ ..] = self.header;
        let (bytes, key) = match second & !MASKED {
            126 => (rest[..2].iter().fold(0, shift), &rest[2..6]),
            127 => (rest[..8].iter().fold(0, shift), &rest[8..12]),
            short => (u64::from(short), &rest[..4]),
        };
        // With a reserved bit it is none.
        let is_data = matches!(first & !FINAL, 0..=2) && second & MASKED != 0 && bytes >> 63 == 0;
        let continues = first & !FINAL == 0;
        let fits = continues == self.is_open;
        if is_data && fits {
            self.is_open = first & FINAL == 0;
            self.key.copy_from_slice(key);
            self.frame_left = bytes;
            self.begin_piece();
        } else {
            (self.said, self.said_bytes) = (self.header, (0, length));
            if is_data && !continues {
                // The framing knows of no message that is open: it hears of the continuation of one.
                self.said[0] = first & FINAL;
            }
            self.piece_left = bytes;
        }
    }

    /// The next piece of a peer's data is a message.
    fn begin_piece(&mut self) {
        let bytes = self.frame_left.min(PIECE_BYTES as u64);
        let [.., high, low] = bytes.to_be_bytes();
        let [a, b, c, d] = self.key;
        let whole = [FINAL | BINARY, MASKED | 126, high, low, a, b, c, d];
        let mut said = [0; HEADER_BYTES];
        // In its shortest form, as it has to be.
        let length = if bytes < 126 {
            said[..6].copy_from_slice(&[FINAL | BINARY, MASKED | low, a, b, c, d]);
            6
        } else {
            said[..8].copy_from_slice(&whole);
            8
        };
        (self.said, self.said_bytes) = (said, (0, length));
        self.piece_left = bytes;
        self.frame_left -= bytes;
    }
}

fn shift(sum: u64, byte: &u8) -> u64 {
    sum << 8 | u64::from(*byte)
}

impl<T: Carrier> Carrier for Pieces<T> {
    fn abort(&self) {
        self.carrier.get_ref().abort();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pieces<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let (begin, end) = this.said_bytes;
            if begin < end {
                let taken = (end - begin).min(buffer.remaining());
                if let Some(bytes) = this.said.get(begin..begin + taken) {
                    buffer.put_slice(bytes);
                }
                this.said_bytes.0 += taken;
                return Poll::Ready(Ok(()));
            }
            if this.piece_left > 0 {
                let most = usize::try_from(this.piece_left).unwrap_or(usize::MAX).min(buffer.remaining());
                let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
                ready!(Pin::new(&mut this.carrier).poll_read(context, &mut part))?;
                let read = part.filled().len();
                buffer.advance(read);
                this.piece_left -= read as u64;
                return Poll::Ready(Ok(()));
            }
            if this.frame_left > 0 {
                this.begin_piece();
                continue;
            }
            let wanted = this.header_length();
            if this.header_read < wanted {
                let Some(place) = this.header.get_mut(this.header_read..wanted) else {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                };
                let mut part = ReadBuf::new(place);
                ready!(Pin::new(&mut this.carrier).poll_read(context, &mut part))?;
                let read = part.filled().len();
                if read == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.header_read += read;
                continue;
            }
            this.begin_frame();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pieces<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write_vectored(context, slices)
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

    /// What comes out of these bytes, in reads of so many.
    async fn through(bytes: &[u8], at_a_time: usize) -> Vec<u8> {
        let (mut there, here) = tokio::io::duplex(at_a_time);
        let mut pieces = Pieces::new(here);
        let mut out = Vec::new();
        let write = async {
            there.write_all(bytes).await.unwrap();
            drop(there);
        };
        let read = async { pieces.read_to_end(&mut out).await.unwrap() };
        tokio::join!(write, read);
        out
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
            }
            longest => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(longest as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[tokio::test]
    async fn a_message_of_any_length_is_messages_of_a_piece_with_the_same_bytes() {
        for length in [0, 1, 125, 126, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 70_000, 1_000_000] {
            let payload: Vec<u8> = (0..length).map(|at: usize| u8::try_from(at % 251).unwrap()).collect();
            // Text, and its continuation.
            let bytes = [masked(0x01, &payload), masked(0x80, &payload)].concat();
            let expected: Vec<u8> = [&payload, &payload]
                .iter()
                .flat_map(|payload| match payload.len() {
                    0 => vec![masked(0x82, &[])],
                    _ => payload.chunks(PIECE_BYTES).map(|piece| masked(0x82, piece)).collect(),
                })
                .flatten()
                .collect();
            for at_a_time in [3, 64 * 1024] {
                assert!(
                    through(&bytes, at_a_time).await == expected,
                    "{length} bytes, {at_a_time} at a time"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_message_within_another_is_the_continuation_of_nothing() {
        let open = masked(0x01, b"begins");
        for first in [0x01, 0x02, 0x81, 0x82] {
            let bytes = [open.clone(), masked(0x89, b"ping"), masked(first, b"x")].concat();
            let judged = masked(first & FINAL, b"x");
            let expected = [masked(0x82, b"begins"), masked(0x89, b"ping"), judged].concat();
            assert_eq!(through(&bytes, 5).await, expected);
        }
    }

    #[tokio::test]
    async fn what_is_no_data_of_a_peer_goes_through_as_it_is() {
        for frame in [
            masked(0x89, b"ping"),
            masked(0x88, b"\x03\xe8bye"),
            // A reserved bit, an opcode that is none, no mask, a length that cannot be.
            masked(0xc2, b"x"),
            masked(0x83, b"x"),
            // A continuation of nothing.
            masked(0x80, b"x"),
            masked(0x00, b"x"),
            b"\x82\x01x".to_vec(),
            [&[0x82, 0xff][..], &[0xff; 8], &[0; 4], b"x"].concat(),
        ] {
            let bytes = [masked(0x82, b"before"), frame].concat();
            assert_eq!(through(&bytes, 5).await, bytes);
        }
    }
}
