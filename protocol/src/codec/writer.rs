//! What frames are made of, as bytes.
//!
//! In: integers, texts, bytes, one behind the other. Out: the frame, its length before it. Invariant: integers are
//! written in their shortest form, so that a frame has one encoding.

use bytes::Bytes;

use super::PREFIX_BYTES;

/// What a frame without payload mostly fits into: two names of ordinary length, an id and some integers.
const SMALL_FRAME: usize = 128;

/// A frame that is being written.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// The frame with this number, with room for a payload or text of so many bytes.
    pub(super) fn frame(number: u32, payload_bytes: usize) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(PREFIX_BYTES + SMALL_FRAME + payload_bytes) };
        writer.bytes.extend_from_slice(&[0; PREFIX_BYTES]);
        writer.integer(number);
        writer
    }

    /// A part of a frame, without number and length.
    pub(super) fn part(payload_bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(SMALL_FRAME + payload_bytes) }
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.byte(value.into());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn integer(&mut self, value: impl Into<u64>) {
        let value = value.into();
        match (u8::try_from(value), u16::try_from(value), u32::try_from(value)) {
            (Ok(byte @ 0..=250), ..) => self.byte(byte),
            (_, Ok(short), _) => self.marked(251, &short.to_le_bytes()),
            (_, _, Ok(word)) => self.marked(252, &word.to_le_bytes()),
            _ => self.marked(253, &value.to_le_bytes()),
        }
    }

    /// A length or a number of elements. No machine that this runs on has more than 64 bits.
    pub(super) fn length(&mut self, length: usize) {
        self.integer(length as u64);
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    /// What was written, as it is.
    pub(super) fn into_part(self) -> Bytes {
        self.bytes.into()
    }

    /// The frame, with a length that also counts `following` bytes, which the caller writes behind it.
    pub(super) fn into_frame(mut self, following: usize) -> Bytes {
        // Whoever encodes a frame keeps to FRAME_CEILING, and a longer one is refused by its reader; a frame beyond 4
        // GiB gets a prefix that no reader takes instead of one that is too small.
        let length = u32::try_from(self.bytes.len() - PREFIX_BYTES + following).unwrap_or(u32::MAX);
        if let Some(prefix) = self.bytes.first_chunk_mut::<PREFIX_BYTES>() {
            *prefix = length.to_le_bytes();
        }
        self.bytes.into()
    }

    fn marked(&mut self, mark: u8, little_endian: &[u8]) {
        self.byte(mark);
        self.raw(little_endian);
    }
}
