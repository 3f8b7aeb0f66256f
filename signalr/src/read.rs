//! One value, read as a Rust type.
//!
//! In: a value that was checked before, and its encoding. Out: what it is, or nothing where it is something else.
//! Invariant: nothing is guessed: a text with digits is no number, a number with a point no integer.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Encoding;
use crate::json::Raw;
use crate::message_pack::{Token, Walker};

/// A value that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reading<'a> {
    /// The value as one of the two things it can be.
    fn open(self) -> Option<Opened<'a>> {
        Some(match self.encoding {
            Encoding::Json => Opened::Json(std::str::from_utf8(self.bytes).ok()?),
            // No levels are needed for one step.
            Encoding::MessagePack => Opened::MessagePack(Walker::new(self.bytes, 0).token().ok()?),
        })
    }

    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        match self.open()? {
            Opened::Json(text) => Raw { text, elements: 0 }.string(),
            Opened::MessagePack(Token::Text(text)) => Some(Cow::Borrowed(text)),
            Opened::MessagePack(_) => None,
        }
    }

    pub(crate) fn signed(self) -> Option<i64> {
        match self.open()? {
            Opened::Json(text) => text.parse().ok(),
            Opened::MessagePack(Token::Signed(number)) => Some(number),
            Opened::MessagePack(Token::Unsigned(number)) => number.try_into().ok(),
            Opened::MessagePack(_) => None,
        }
    }

    pub(crate) fn unsigned(self) -> Option<u64> {
        match self.open()? {
            Opened::Json(text) => text.parse().ok(),
            Opened::MessagePack(Token::Signed(number)) => number.try_into().ok(),
            Opened::MessagePack(Token::Unsigned(number)) => Some(number),
            Opened::MessagePack(_) => None,
        }
    }

    pub(crate) fn float(self) -> Option<f64> {
        match self.open()? {
            Opened::Json(text) => text.parse().ok(),
            Opened::MessagePack(Token::F32(number)) => Some(number.into()),
            Opened::MessagePack(Token::F64(number)) => Some(number),
            Opened::MessagePack(Token::Signed(number)) => Some(number as f64),
            Opened::MessagePack(Token::Unsigned(number)) => Some(number as f64),
            Opened::MessagePack(_) => None,
        }
    }

    pub(crate) fn bool(self) -> Option<bool> {
        match self.open()? {
            Opened::Json(text) => text.parse().ok(),
            Opened::MessagePack(Token::Bool(value)) => Some(value),
            Opened::MessagePack(_) => None,
        }
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self.open(), Some(Opened::Json("null") | Opened::MessagePack(Token::Nil)))
    }

    pub(crate) fn binary(self) -> Option<Cow<'a, [u8]>> {
        match self.open()? {
            Opened::Json(text) => {
                let base64 = Raw { text, elements: 0 }.string()?;
                STANDARD.decode(base64.as_bytes()).ok().map(Cow::Owned)
            }
            Opened::MessagePack(Token::Binary(bytes)) => Some(Cow::Borrowed(bytes)),
            Opened::MessagePack(_) => None,
        }
    }
}

enum Opened<'a> {
    Json(&'a str),
    MessagePack(Token<'a>),
}
