//! One value: an item of a stream, or the result of a method.
//!
//! In: bytes in one of the encodings. Out: the same bytes. Invariants: it is well-formed, and no deeper than clients
//! read, so that it can stand in any message; and the bytes are those that came in, whatever is in them. An encoding
//! that has to be changed is changed by name.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::convert;
use crate::json::{Scanner, push_string};
use crate::message_pack::{Token, Walker};
use crate::packer::Packer;
use crate::read::Reading;
use crate::{ConversionError, Encoding, Limits, SyntaxError};

/// How deep a value may be: the message that it stands in is a level, too.
pub(crate) const LEVELS: usize = Limits::DEPTH_CEILING - 1;

/// A value in one of the two encodings, well-formed and otherwise not looked at.
///
/// A clone costs no copy. A value from a [`Decoder`](crate::Decoder) is a slice of the chunk that it came in, and keeps
/// the whole of that alive: [`detach`](Self::detach) what is to be kept for long.
///
/// ```
/// use fanfare_signalr::{Encoding, Value};
///
/// let value = Value::new(Encoding::Json, r#" {"at": 1.0} "#)?;
/// assert_eq!(value.raw(), r#"{"at": 1.0}"#);
/// let packed = value.to_encoding(Encoding::MessagePack)?;
/// assert_eq!(&packed.raw()[..4], b"\x81\xa2at");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    encoding: Encoding,
    bytes: Bytes,
}

impl fmt::Debug for Value {
    /// Leaves the content out, since it may be anybody's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, {} bytes)", self.encoding, self.bytes.len())
    }
}

impl Value {
    /// A value that is encoded already. White space around JSON is left out.
    ///
    /// # Errors
    /// The bytes are not one well-formed value, or it is deeper than 63 arrays and objects.
    pub fn new(encoding: Encoding, bytes: impl Into<Bytes>) -> Result<Self, SyntaxError> {
        let bytes = bytes.into();
        let Checked { span, .. } = check(encoding, &bytes)?;
        Ok(Self { encoding, bytes: span })
    }

    /// What was checked before.
    pub(crate) fn trusted(encoding: Encoding, bytes: Bytes) -> Self {
        Self { encoding, bytes }
    }

    /// Null in JSON, nil in MessagePack.
    #[must_use]
    pub fn null(encoding: Encoding) -> Self {
        let bytes: &[u8] = match encoding {
            Encoding::Json => b"null",
            Encoding::MessagePack => b"\xc0",
        };
        Self { encoding, bytes: Bytes::from_static(bytes) }
    }

    /// A text.
    #[must_use]
    pub fn text(encoding: Encoding, text: &str) -> Self {
        let bytes = match encoding {
            Encoding::Json => {
                let mut out = Vec::with_capacity(text.len() + 2);
                push_string(&mut out, text);
                out
            }
            Encoding::MessagePack => {
                let mut packer = Packer::new(0, text.len() + 5);
                packer.text(text);
                packer.into_bytes()
            }
        };
        Self { encoding, bytes: bytes.into() }
    }

    /// Bytes. In JSON a text in base64 (RFC 4648 section 4), as .NET has it.
    #[must_use]
    pub fn binary(encoding: Encoding, bytes: &[u8]) -> Self {
        match encoding {
            Encoding::Json => Self::text(encoding, &STANDARD.encode(bytes)),
            Encoding::MessagePack => {
                let mut packer = Packer::new(0, bytes.len() + 5);
                packer.binary(bytes);
                Self { encoding, bytes: packer.into_bytes().into() }
            }
        }
    }

    /// What it is written in.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Its bytes, as they came in.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// A copy that keeps no chunk alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { encoding: self.encoding, bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// The same in this encoding; without a copy where it is in it. The crate has [rules](crate#conversion) for it.
    ///
    /// # Errors
    /// It has something in it that the other encoding does not have.
    pub fn to_encoding(&self, encoding: Encoding) -> Result<Self, ConversionError> {
        if encoding == self.encoding {
            return Ok(self.clone());
        }
        let bytes = convert::convert(&self.bytes, encoding, LEVELS)?;
        Ok(Self { encoding, bytes: bytes.into() })
    }

    /// The text that it is, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        self.reading().string()
    }

    /// The integer that it is, if it is one and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.reading().signed()
    }

    /// The integer that it is, if it is one and fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.reading().unsigned()
    }

    /// The number that it is, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.reading().float()
    }

    /// Whether it is true or false, if it is one of the two.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        self.reading().bool()
    }

    /// The bytes that it is, if it is some: MessagePack's binary, or in JSON a text in base64 with its padding.
    #[must_use]
    pub fn as_bytes(&self) -> Option<Cow<'_, [u8]>> {
        self.reading().binary()
    }

    /// Whether it is null or nil.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.reading().is_null()
    }

    fn reading(&self) -> Reading<'_> {
        Reading { encoding: self.encoding, bytes: &self.bytes }
    }
}

/// A value that was found to be one.
pub(crate) struct Checked {
    /// Without what is around it.
    pub(crate) span: Bytes,
    /// How many elements it has, if it is an array.
    pub(crate) elements: Option<usize>,
}

/// That the bytes are one value, and nothing else.
pub(crate) fn check(encoding: Encoding, bytes: &Bytes) -> Result<Checked, SyntaxError> {
    match encoding {
        Encoding::Json => {
            let mut scanner = Scanner::new(bytes, LEVELS)?;
            let raw = scanner.value()?;
            scanner.end()?;
            let elements = raw.is_array().then_some(raw.elements);
            Ok(Checked { span: bytes.slice_ref(raw.text.as_bytes()), elements })
        }
        Encoding::MessagePack => {
            let mut walker = Walker::new(bytes, LEVELS);
            let span = walker.value()?;
            walker.end()?;
            let elements = match Walker::new(span, LEVELS).token()? {
                Token::Array(count) => Some(count),
                _ => None,
            };
            Ok(Checked { span: bytes.slice_ref(span), elements })
        }
    }
}
