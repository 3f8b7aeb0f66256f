//! A stream of bytes, cut into frames.
//!
//! In: chunks, in whatever pieces they arrive. Out: whole frames without their length prefix. Invariant: a length is
//! checked before a byte of its frame is kept, and never is more kept than the one frame that is not complete.

use bytes::{Buf, Bytes, BytesMut};

use super::DecodeError;

/// How many bytes the length prefix has.
pub const PREFIX_BYTES: usize = 4;

/// Cuts a byte stream into frames.
///
/// A frame that lies within one chunk is a slice of that chunk. One that is spread over several is put together, and
/// never are more bytes kept than that one frame has.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    partial: BytesMut,
}

impl FrameReader {
    /// A reader that refuses frames of more than `limit` bytes after the length prefix.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit: limit as usize, partial: BytesMut::new() }
    }

    /// Changes the limit, from the next frame on.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit as usize;
    }

    /// The next whole frame, without its prefix. Takes what it uses from `chunk`; `None` means that `chunk` is used up.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`]; the stream cannot be followed any further after that.
    pub fn next_frame(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
        if self.partial.is_empty()
            && let Some(length) = self.length_at_start_of(chunk)?
            && chunk.len() - PREFIX_BYTES >= length
        {
            chunk.advance(PREFIX_BYTES);
            return Ok(Some(chunk.split_to(length)));
        }
        loop {
            let wanted = match self.length_at_start_of(&self.partial)? {
                None => PREFIX_BYTES,
                Some(length) => PREFIX_BYTES + length,
            };
            // `wanted` grows by a frame's length once the prefix is whole, so this ends in at most two rounds.
            let missing = wanted - self.partial.len();
            if missing == 0 {
                let mut frame = std::mem::take(&mut self.partial).freeze();
                frame.advance(PREFIX_BYTES);
                return Ok(Some(frame));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            let taken = chunk.split_to(missing.min(chunk.len()));
            self.partial.extend_from_slice(&taken);
        }
    }

    /// Whether the stream stands between two frames, so that it may end here.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.partial.is_empty()
    }

    fn length_at_start_of(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.limit {
            return Err(DecodeError::TooLong { length, limit: self.limit });
        }
        Ok(Some(length))
    }
}
