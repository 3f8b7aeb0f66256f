//! MessagePack values: checked, cut into pieces, and never made into a tree.
//!
//! In: bytes. Out: slices of them, or where they are no MessagePack. Invariants: no length is believed that the bytes
//! left do not bear out; texts are UTF-8, since some clients end their connection on one that is not; nothing is
//! allocated; the recursion is as deep as the levels that were allowed, and no deeper.

use rmp::Marker;

use crate::{Problem, SyntaxError};

/// One step: a value, or the head of an array or a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    /// How many elements follow.
    Array(usize),
    /// How many keys follow, each with a value behind it.
    Map(usize),
    /// An extension's type and its bytes.
    Extension(i8, &'a [u8]),
}

/// A place in a value.
#[derive(Debug, Clone)]
pub(crate) struct Walker<'a> {
    rest: &'a [u8],
    length: usize,
    levels: usize,
}

impl<'a> Walker<'a> {
    /// In front of the first byte. At most `levels` arrays and maps may lie in one another.
    pub(crate) fn new(bytes: &'a [u8], levels: usize) -> Self {
        Self { rest: bytes, length: bytes.len(), levels }
    }

    /// One step. Whoever gets the head of an array or a map reads what is in it between [`Self::enter`] and
    /// [`Self::leave`].
    pub(crate) fn token(&mut self) -> Result<Token<'a>, SyntaxError> {
        let [byte] = self.array()?;
        match Marker::from_u8(byte) {
            Marker::Null => Ok(Token::Nil),
            Marker::True => Ok(Token::Bool(true)),
            Marker::False => Ok(Token::Bool(false)),
            Marker::FixPos(number) => Ok(Token::Unsigned(number.into())),
            Marker::U8 => Ok(Token::Unsigned(u8::from_be_bytes(self.array()?).into())),
            Marker::U16 => Ok(Token::Unsigned(u16::from_be_bytes(self.array()?).into())),
            Marker::U32 => Ok(Token::Unsigned(u32::from_be_bytes(self.array()?).into())),
            Marker::U64 => Ok(Token::Unsigned(u64::from_be_bytes(self.array()?))),
            Marker::FixNeg(number) => Ok(Token::Signed(number.into())),
            Marker::I8 => Ok(Token::Signed(i8::from_be_bytes(self.array()?).into())),
            Marker::I16 => Ok(Token::Signed(i16::from_be_bytes(self.array()?).into())),
            Marker::I32 => Ok(Token::Signed(i32::from_be_bytes(self.array()?).into())),
            Marker::I64 => Ok(Token::Signed(i64::from_be_bytes(self.array()?))),
            Marker::F32 => Ok(Token::F32(f32::from_be_bytes(self.array()?))),
            Marker::F64 => Ok(Token::F64(f64::from_be_bytes(self.array()?))),
            Marker::FixStr(length) => self.text(length.into()),
            Marker::Str8 => self.length_8().and_then(|length| self.text(length)),
            Marker::Str16 => self.length_16().and_then(|length| self.text(length)),
            Marker::Str32 => self.length_32().and_then(|length| self.text(length)),
            Marker::Bin8 => self.length_8().and_then(|length| self.binary(length)),
            Marker::Bin16 => self.length_16().and_then(|length| self.binary(length)),
            Marker::Bin32 => self.length_32().and_then(|length| self.binary(length)),
            Marker::FixArray(count) => self.elements(count.into(), 1).map(Token::Array),
            Marker::Array16 => self.length_16().and_then(|count| self.elements(count, 1)).map(Token::Array),
            Marker::Array32 => self.length_32().and_then(|count| self.elements(count, 1)).map(Token::Array),
            Marker::FixMap(count) => self.elements(count.into(), 2).map(Token::Map),
            Marker::Map16 => self.length_16().and_then(|count| self.elements(count, 2)).map(Token::Map),
            Marker::Map32 => self.length_32().and_then(|count| self.elements(count, 2)).map(Token::Map),
            Marker::FixExt1 => self.extension(1),
            Marker::FixExt2 => self.extension(2),
            Marker::FixExt4 => self.extension(4),
            Marker::FixExt8 => self.extension(8),
            Marker::FixExt16 => self.extension(16),
            Marker::Ext8 => self.length_8().and_then(|length| self.extension(length)),
            Marker::Ext16 => self.length_16().and_then(|length| self.extension(length)),
            Marker::Ext32 => self.length_32().and_then(|length| self.extension(length)),
            Marker::Reserved => {
                Err(SyntaxError { at: self.at().saturating_sub(1), problem: Problem::Unexpected })
            }
        }
    }

    /// Steps over one value.
    pub(crate) fn value(&mut self) -> Result<&'a [u8], SyntaxError> {
        let before = self.rest;
        self.skip()?;
        Ok(before.get(..before.len() - self.rest.len()).unwrap_or_default())
    }

    /// Goes into an array or a map whose head was read.
    pub(crate) fn enter(&mut self) -> Result<(), SyntaxError> {
        self.levels = self.levels.checked_sub(1).ok_or_else(|| self.error(Problem::TooDeep))?;
        Ok(())
    }

    /// Comes out of it again.
    pub(crate) fn leave(&mut self) {
        self.levels += 1;
    }

    /// That nothing follows.
    pub(crate) fn end(&self) -> Result<(), SyntaxError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Problem::Trailing)) }
    }

    fn skip(&mut self) -> Result<(), SyntaxError> {
        let values = match self.token()? {
            Token::Array(count) => count,
            // A map has at most half as many keys as there are bytes, so this does not overflow.
            Token::Map(count) => count * 2,
            _ => return Ok(()),
        };
        self.enter()?;
        for _ in 0..values {
            self.skip()?;
        }
        self.leave();
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SyntaxError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.error(Problem::End))?;
        self.rest = rest;
        Ok(*array)
    }

    fn binary(&mut self, length: usize) -> Result<Token<'a>, SyntaxError> {
        self.bytes(length).map(Token::Binary)
    }

    fn text(&mut self, length: usize) -> Result<Token<'a>, SyntaxError> {
        let at = self.at();
        let text = std::str::from_utf8(self.bytes(length)?);
        let not_utf8 = |error: std::str::Utf8Error| SyntaxError {
            at: at + error.valid_up_to(),
            problem: Problem::NotUtf8,
        };
        text.map(Token::Text).map_err(not_utf8)
    }

    fn extension(&mut self, length: usize) -> Result<Token<'a>, SyntaxError> {
        let kind = i8::from_be_bytes(self.array()?);
        let bytes = self.bytes(length)?;
        Ok(Token::Extension(kind, bytes))
    }

    /// A number of elements, each of which takes so many bytes at least.
    fn elements(&self, count: usize, least: usize) -> Result<usize, SyntaxError> {
        if count > self.rest.len() / least { Err(self.error(Problem::End)) } else { Ok(count) }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], SyntaxError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.error(Problem::End))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn length_8(&mut self) -> Result<usize, SyntaxError> {
        Ok(u8::from_be_bytes(self.array()?).into())
    }

    fn length_16(&mut self) -> Result<usize, SyntaxError> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn length_32(&mut self) -> Result<usize, SyntaxError> {
        Ok(usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    fn error(&self, problem: Problem) -> SyntaxError {
        SyntaxError { at: self.at(), problem }
    }
}

/// The elements of an array that was checked before.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    walker: Walker<'a>,
    left: usize,
}

impl<'a> Elements<'a> {
    /// None where the value is no array after all.
    pub(crate) fn new(array: &'a [u8], levels: usize) -> Option<Self> {
        let mut walker = Walker::new(array, levels);
        let Ok(Token::Array(left)) = walker.token() else { return None };
        walker.enter().ok()?;
        Some(Self { walker, left })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.walker.value().ok()
    }
}

#[cfg(test)]
pub(crate) mod tests;
