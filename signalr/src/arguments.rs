//! The arguments of an invocation.
//!
//! In: an array in one of the encodings. Out: the same bytes, or one of the arguments. Invariants: as of a
//! [`Value`], and it is an array. An argument is looked at only when it is asked for.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::json;
use crate::message_pack;
use crate::packer::Packer;
use crate::read::Reading;
use crate::value::{LEVELS, check};
use crate::{ArgumentError, ConversionError, Encoding, Problem, SyntaxError, Value, convert};

/// Arguments in one of the two encodings: an array, well-formed and otherwise not looked at.
///
/// A clone costs no copy; what is said of a [`Value`] and its chunk holds here, too.
///
/// ```
/// use fanfare_signalr::{ArgumentError, Arguments, Encoding};
///
/// let arguments = Arguments::new(Encoding::Json, r#"["lobby", 3]"#)?;
/// assert_eq!(arguments.len(), 2);
/// assert_eq!(arguments.str(0)?, "lobby");
/// assert_eq!(arguments.i64(1)?, 3);
/// assert_eq!(arguments.bool(2), Err(ArgumentError::Missing { index: 2, count: 2 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Arguments {
    encoding: Encoding,
    bytes: Bytes,
    count: usize,
}

impl fmt::Debug for Arguments {
    /// Leaves the content out, since it may be anybody's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arguments({}, {} in {} bytes)", self.encoding, self.count, self.bytes.len())
    }
}

impl Arguments {
    /// An array that is encoded already. White space around JSON is left out.
    ///
    /// # Errors
    /// The bytes are not one well-formed array, or it is deeper than 63 arrays and objects, itself among them.
    pub fn new(encoding: Encoding, bytes: impl Into<Bytes>) -> Result<Self, SyntaxError> {
        let checked = check(encoding, &bytes.into())?;
        let count = checked.elements.ok_or(SyntaxError { at: 0, problem: Problem::NotAnArray })?;
        Ok(Self { encoding, bytes: checked.span, count })
    }

    /// What was checked before.
    pub(crate) fn trusted(encoding: Encoding, bytes: Bytes, count: usize) -> Self {
        Self { encoding, bytes, count }
    }

    /// No arguments.
    #[must_use]
    pub fn none(encoding: Encoding) -> Self {
        let bytes: &[u8] = match encoding {
            Encoding::Json => b"[]",
            Encoding::MessagePack => b"\x90",
        };
        Self { encoding, bytes: Bytes::from_static(bytes), count: 0 }
    }

    /// One argument.
    ///
    /// # Errors
    /// With the array around it, the value is deeper than clients read.
    pub fn of(value: &Value) -> Result<Self, SyntaxError> {
        let mut packer = Packer::new(0, value.raw().len() + 2);
        match value.encoding() {
            Encoding::Json => {
                packer.raw(b"[");
                packer.raw(value.raw());
                packer.raw(b"]");
            }
            Encoding::MessagePack => {
                packer.array(1);
                packer.raw(value.raw());
            }
        }
        Self::new(value.encoding(), packer.into_bytes())
    }

    /// What they are written in.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The array's bytes, as they came in.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A copy that keeps no chunk alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..*self }
    }

    /// The same in this encoding; without a copy where they are in it. The crate has [rules](crate#conversion) for it.
    ///
    /// # Errors
    /// One of them has something in it that the other encoding does not have.
    pub fn to_encoding(&self, encoding: Encoding) -> Result<Self, ConversionError> {
        if encoding == self.encoding {
            return Ok(self.clone());
        }
        let bytes = convert::convert(&self.bytes, encoding, LEVELS)?;
        Ok(Self { encoding, bytes: bytes.into(), count: self.count })
    }

    /// The arguments behind the first `skipped`; none where there are not so many.
    #[must_use]
    pub fn behind(&self, skipped: usize) -> Self {
        let count = self.count.saturating_sub(skipped);
        let mut packer = Packer::new(0, self.bytes.len() + 2);
        let elements = self.elements().skip(skipped);
        match self.encoding {
            Encoding::Json => {
                packer.raw(b"[");
                for (at, element) in elements.enumerate() {
                    if at > 0 {
                        packer.raw(b",");
                    }
                    packer.raw(element);
                }
                packer.raw(b"]");
            }
            Encoding::MessagePack => {
                packer.array(count);
                for element in elements {
                    packer.raw(element);
                }
            }
        }
        Self::trusted(self.encoding, packer.into_bytes().into(), count)
    }

    /// The arguments, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        self.elements().map(|element| Value::trusted(self.encoding, self.bytes.slice_ref(element)))
    }

    /// An argument, from 0 on.
    ///
    /// # Errors
    /// There are not so many.
    pub fn value(&self, index: usize) -> Result<Value, ArgumentError> {
        let element = self.element(index)?;
        Ok(Value::trusted(self.encoding, self.bytes.slice_ref(element)))
    }

    /// The argument as a text.
    ///
    /// # Errors
    /// There are not so many, or it is no text.
    pub fn str(&self, index: usize) -> Result<Cow<'_, str>, ArgumentError> {
        self.read(index, "a text", Reading::string)
    }

    /// The argument as an integer.
    ///
    /// # Errors
    /// There are not so many, or it is no integer, or one that does not fit.
    pub fn i64(&self, index: usize) -> Result<i64, ArgumentError> {
        self.read(index, "an integer of 64 bits", Reading::signed)
    }

    /// The argument as an integer that is not negative.
    ///
    /// # Errors
    /// There are not so many, or it is no integer, or one that does not fit.
    pub fn u64(&self, index: usize) -> Result<u64, ArgumentError> {
        self.read(index, "an integer of 64 bits that is not negative", Reading::unsigned)
    }

    /// The argument as a number.
    ///
    /// # Errors
    /// There are not so many, or it is no number.
    pub fn f64(&self, index: usize) -> Result<f64, ArgumentError> {
        self.read(index, "a number", Reading::float)
    }

    /// The argument as true or false.
    ///
    /// # Errors
    /// There are not so many, or it is neither.
    pub fn bool(&self, index: usize) -> Result<bool, ArgumentError> {
        self.read(index, "true or false", Reading::bool)
    }

    /// The argument as bytes: MessagePack's binary, or in JSON a text in base64 with its padding.
    ///
    /// # Errors
    /// There are not so many, or it is no bytes.
    pub fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, ArgumentError> {
        self.read(index, "binary, or base64 in JSON", Reading::binary)
    }

    fn read<'a, T>(
        &'a self,
        index: usize,
        expected: &'static str,
        as_type: fn(Reading<'a>) -> Option<T>,
    ) -> Result<T, ArgumentError> {
        let bytes = self.element(index)?;
        let reading = Reading { encoding: self.encoding, bytes };
        as_type(reading).ok_or(ArgumentError::WrongType { index, expected })
    }

    fn element(&self, index: usize) -> Result<&[u8], ArgumentError> {
        self.elements().nth(index).ok_or(ArgumentError::Missing { index, count: self.count })
    }

    fn elements(&self) -> impl Iterator<Item = &[u8]> {
        let (json, message_pack) = match self.encoding {
            Encoding::Json => (json::Elements::new(&self.bytes, LEVELS), None),
            Encoding::MessagePack => (None, message_pack::Elements::new(&self.bytes, LEVELS)),
        };
        json.into_iter().flatten().chain(message_pack.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests;
