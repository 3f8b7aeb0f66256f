//! What frames are made of, out of bytes that a peer sent.
//!
//! In: one frame, without its length. Out: its parts, one behind the other, or why they are none. Invariants: nothing
//! is read beyond the frame's end; no memory is reserved by a length that the bytes left do not bear out; an error
//! knows the number of the request.

use bytes::Bytes;

use super::{DecodeError, LIST_CEILING, Unknown};
use crate::{NameError, RequestId};

const CUT_OFF: DecodeError = DecodeError::Malformed("it ends in the middle of a field");
const WIDE: DecodeError = DecodeError::Malformed(
    "an integer in it has more bytes than its field may have, or begins with 254 or 255",
);
const BEYOND: DecodeError = DecodeError::Malformed("a length in it is beyond the end of the frame");

/// A frame that is being read.
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    request: Option<RequestId>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a Bytes) -> Self {
        Self { frame, rest: frame, request: None }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed("a yes or no in it is neither 0 nor 1")),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        match self.byte()? {
            byte @ 0..=250 => Ok(byte.into()),
            251 => Ok(u16::from_le_bytes(self.array()?)),
            252..=255 => Err(WIDE),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        match self.byte()? {
            byte @ 0..=250 => Ok(byte.into()),
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?)),
            253..=255 => Err(WIDE),
        }
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        match self.byte()? {
            byte @ 0..=250 => Ok(byte.into()),
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?).into()),
            253 => Ok(u64::from_le_bytes(self.array()?)),
            254..=255 => Err(WIDE),
        }
    }

    /// The number of the request that this frame is. What is wrong behind it is told with it.
    pub(super) fn request(&mut self) -> Result<RequestId, DecodeError> {
        let request = self.u64()?;
        self.request = Some(request);
        Ok(request)
    }

    pub(super) fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u64()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (blob, rest) = split.ok_or(BEYOND)?;
        self.rest = rest;
        Ok(blob)
    }

    /// The same, as a slice of the frame that outlives it.
    pub(super) fn shared(&mut self) -> Result<Bytes, DecodeError> {
        let blob = self.blob()?;
        Ok(self.frame.slice_ref(blob))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.blob()?).map_err(|_| DecodeError::Malformed("a text in it is not UTF-8"))
    }

    /// A name, as a value. One that is out of bounds is an error only when the whole frame was read: [`Self::end`], and
    /// then [`Self::judged`].
    pub(super) fn name<T>(
        &mut self,
        new: impl FnOnce(&'a str) -> Result<T, NameError>,
    ) -> Result<Result<T, NameError>, DecodeError> {
        self.text().map(new)
    }

    /// A list of elements that have `least` bytes at least. As with a name, an element may be wrong without the frame
    /// being malformed; the first that is, counts.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut element: impl FnMut(&mut Self) -> Result<Result<T, NameError>, DecodeError>,
    ) -> Result<Result<Vec<T>, NameError>, DecodeError> {
        let count = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        if count > LIST_CEILING.min(self.rest.len() / least) {
            return Err(BEYOND);
        }
        let mut elements = Ok(Vec::with_capacity(count));
        for _ in 0..count {
            match (&mut elements, element(self)?) {
                (Ok(elements), Ok(element)) => elements.push(element),
                (Ok(_), Err(wrong)) => elements = Err(wrong),
                (Err(_), _) => {}
            }
        }
        Ok(elements)
    }

    /// What a number that this version gives no meaning is told as.
    pub(super) fn unknown(&self, what: Unknown) -> DecodeError {
        DecodeError::Unknown { request: self.request, what }
    }

    pub(super) fn extension_not_known(&self, extension: u64) -> DecodeError {
        DecodeError::ExtensionNotKnown { request: self.request, extension }
    }

    /// A name of a frame that was read to its end.
    pub(super) fn judged<T>(&self, name: Result<T, NameError>) -> Result<T, DecodeError> {
        name.map_err(|name| DecodeError::InvalidName { request: self.request, name })
    }
}
