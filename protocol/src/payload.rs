//! A payload to send: bytes, and what they are written in.
//!
//! In: texts, bytes, or what was encoded elsewhere. Out: bytes and their format. Invariant: the format is what the
//! caller said: a text is text, bytes are binary, and the other two are asked for by name. Nothing is checked or
//! encoded here.

use bytes::Bytes;

use crate::PayloadFormat;

/// Bytes, and what they are written in.
///
/// ```
/// use fanfare_protocol::{Payload, PayloadFormat};
///
/// assert_eq!(Payload::from("hello").format, PayloadFormat::Text);
/// assert_eq!(Payload::from(vec![1, 2]).format, PayloadFormat::Binary);
/// assert_eq!(Payload::json("{\"x\":1}").format, PayloadFormat::Json);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// What the bytes are written in.
    pub format: PayloadFormat,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// Bytes in this format.
    #[must_use]
    pub fn new(format: PayloadFormat, bytes: impl Into<Bytes>) -> Self {
        Self { format, bytes: bytes.into() }
    }

    /// What is JSON already.
    #[must_use]
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self::new(PayloadFormat::Json, bytes)
    }

    /// What is MessagePack already.
    #[must_use]
    pub fn message_pack(bytes: impl Into<Bytes>) -> Self {
        Self::new(PayloadFormat::MessagePack, bytes)
    }
}

macro_rules! payload_of {
    ($($type:ty => $format:ident, $bytes:expr;)*) => {
        $(
            impl From<$type> for Payload {
                fn from(value: $type) -> Self {
                    let bytes: fn($type) -> Bytes = $bytes;
                    Self { format: PayloadFormat::$format, bytes: bytes(value) }
                }
            }
        )*
    };
}

payload_of! {
    &str => Text, |text| Bytes::copy_from_slice(text.as_bytes());
    String => Text, Bytes::from;
    &String => Text, |text| Bytes::copy_from_slice(text.as_bytes());
    &[u8] => Binary, Bytes::copy_from_slice;
    Vec<u8> => Binary, Bytes::from;
    Bytes => Binary, |bytes| bytes;
}

impl<const N: usize> From<&[u8; N]> for Payload {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}

impl<const N: usize> From<[u8; N]> for Payload {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}
