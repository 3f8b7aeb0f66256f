//! A stream of bytes, cut into messages.
//!
//! In: chunks of what a client sends, in whatever pieces they arrive. Out: messages. Invariants: how the stream was cut
//! into chunks makes no difference; a length is checked before a byte of its message is kept, and never is more kept
//! than the one message that is not complete; after an error there is nothing but that error.

mod json;
mod message_pack;

use bytes::{Buf, Bytes, BytesMut};

use crate::json::RECORD_SEPARATOR;
use crate::{DecodeError, Encoding, Limits, Message};

/// The most bytes that a length in front of a message has (`HubProtocol.md`, "Binary encoding").
const PREFIX_BYTES: usize = 5;

/// Cuts a client's bytes into messages.
///
/// WebSocket messages are no boundaries: clients may send several hub messages in one, and one in several. Whether they
/// are of text or binary says nothing either.
///
/// A message that lies within one chunk is a slice of that chunk. One that is spread over several is put together.
///
/// ```
/// use bytes::Bytes;
/// use fanfare_signalr::{Decoder, Encoding, Limits, Message};
///
/// let mut decoder = Decoder::new(Encoding::Json, Limits::default());
/// let (mut first, mut second) = (Bytes::from_static(b"{\"ty"), Bytes::from_static(b"pe\":6}\x1e{"));
/// assert_eq!(decoder.next_message(&mut first)?, None);
/// assert_eq!(decoder.next_message(&mut second)?, Some(Message::Ping));
/// assert_eq!(decoder.next_message(&mut second)?, None);
/// assert!(!decoder.is_between_messages());
/// # Ok::<(), fanfare_signalr::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    encoding: Encoding,
    limits: Limits,
    partial: BytesMut,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// For a connection that has agreed on this encoding: from the first byte behind its handshake on.
    #[must_use]
    pub fn new(encoding: Encoding, limits: Limits) -> Self {
        Self { encoding, limits, partial: BytesMut::new(), failed: None }
    }

    /// The next message. Takes what it uses from `chunk`; `None` means that `chunk` is used up.
    ///
    /// # Errors
    /// Any [`DecodeError`]. The stream cannot be followed any further: from then on the same error comes again, and the
    /// connection is to be closed.
    pub fn next_message(&mut self, chunk: &mut Bytes) -> Result<Option<Message>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let message = match self.encoding {
            Encoding::Json => self
                .next_record(chunk)
                .and_then(|record| record.map(|record| json::message(&record, &self.limits)).transpose()),
            Encoding::MessagePack => self
                .next_frame(chunk)
                .and_then(|frame| frame.map(|frame| message_pack::message(&frame, &self.limits)).transpose()),
        };
        if let Err(error) = message {
            self.failed = Some(error);
            self.partial = BytesMut::new();
        }
        message
    }

    /// How many bytes of a message that is not complete are kept: [`Limits::message_bytes`] and 5 at most.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Whether the stream stands between two messages, so that it may end here.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.partial.is_empty() && self.failed.is_none()
    }

    /// The next message in JSON, without what stands behind it.
    fn next_record(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
        let end = chunk.iter().position(|byte| *byte == RECORD_SEPARATOR);
        let length = self.partial.len() + end.unwrap_or(chunk.len());
        if length > self.limits.message_bytes {
            return Err(DecodeError::TooLong { limit: self.limits.message_bytes });
        }
        let Some(end) = end else {
            self.partial.extend_from_slice(&chunk.split_to(chunk.len()));
            return Ok(None);
        };
        let last = chunk.split_to(end);
        chunk.advance(1);
        if self.partial.is_empty() {
            return Ok(Some(last));
        }
        self.partial.extend_from_slice(&last);
        Ok(Some(std::mem::take(&mut self.partial).freeze()))
    }

    /// The next message in MessagePack, without what stands in front of it.
    fn next_frame(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
        if self.partial.is_empty()
            && let Some((prefix, length)) = self.length_at_start_of(chunk)?
            && chunk.len() - prefix >= length
        {
            chunk.advance(prefix);
            return Ok(Some(chunk.split_to(length)));
        }
        loop {
            let (prefix, wanted) = match self.length_at_start_of(&self.partial)? {
                // The length is read byte by byte: how many it has is known with its last.
                None => (0, self.partial.len() + 1),
                Some((prefix, length)) => (prefix, prefix + length),
            };
            // This ends: `wanted` grows with each byte of the length, and then stays as it is.
            let missing = wanted - self.partial.len();
            if missing == 0 {
                let mut frame = std::mem::take(&mut self.partial).freeze();
                frame.advance(prefix);
                return Ok(Some(frame));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            let taken = chunk.split_to(missing.min(chunk.len()));
            self.partial.extend_from_slice(&taken);
        }
    }

    /// A length that is complete: how many bytes it has itself, and what it says. Seven bits a byte, the lowest first;
    /// the eighth says that another follows.
    fn length_at_start_of(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
        let mut length = 0u64;
        for (index, byte) in bytes.iter().take(PREFIX_BYTES).enumerate() {
            length |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let length = i32::try_from(length).map_err(|_| DecodeError::LengthPrefix)?;
                let length = usize::try_from(length).map_err(|_| DecodeError::LengthPrefix)?;
                let limit = self.limits.message_bytes;
                return if length > limit {
                    Err(DecodeError::TooLong { limit })
                } else {
                    Ok(Some((index + 1, length)))
                };
            }
        }
        if bytes.len() >= PREFIX_BYTES { Err(DecodeError::LengthPrefix) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests;
