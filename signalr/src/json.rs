//! JSON texts (RFC 8259): checked, cut into pieces, and never made into a tree.
//!
//! In: bytes. Out: slices of them, or where they are no JSON. Invariants: what is accepted is read by every parser,
//! those included that refuse half a surrogate pair or a number beyond 64 bits; nothing is allocated but for a name
//! with an escape in it; the recursion is as deep as the levels that were allowed, and no deeper.
//!
//! serde_json judges the same texts (a property test holds the two together). It is not used for this because a value
//! that it only steps over may be of any depth and may have such halves and numbers in it, and because its errors
//! repeat what they found.

use std::borrow::Cow;

use crate::{Problem, SyntaxError};

/// What stands behind each text on the wire. No text has it in it: in a string it would have to be escaped.
pub(crate) const RECORD_SEPARATOR: u8 = 0x1e;
/// Beyond so many bytes a number without an exponent may be too large, too.
const LONG_NUMBER: usize = 300;

/// A value in a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// From its first byte to its last.
    pub(crate) text: &'a str,
    /// Of an array, how many elements it has; of an object, how many members.
    pub(crate) elements: usize,
}

impl<'a> Raw<'a> {
    pub(crate) fn is_null(&self) -> bool {
        self.text == "null"
    }

    pub(crate) fn is_array(&self) -> bool {
        self.text.starts_with('[')
    }

    /// The text that a string is of.
    pub(crate) fn string(&self) -> Option<Cow<'a, str>> {
        self.text.starts_with('"').then(|| unescaped(self.text)).flatten()
    }
}

/// A place in a text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    levels: usize,
}

impl<'a> Scanner<'a> {
    /// In front of the first byte. At most `levels` objects and arrays may lie in one another.
    pub(crate) fn new(bytes: &'a [u8], levels: usize) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| SyntaxError { at: error.valid_up_to(), problem: Problem::NotUtf8 })?;
        Ok(Self { text, at: 0, levels })
    }

    /// The first byte of what comes next.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Steps over one value.
    pub(crate) fn value(&mut self) -> Result<Raw<'a>, SyntaxError> {
        let first = self.peek();
        let start = self.at;
        let elements = match first {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => self.string().map(|_| 0)?,
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| 0)?,
            Some(b't') => self.word("true").map(|()| 0)?,
            Some(b'f') => self.word("false").map(|()| 0)?,
            Some(b'n') => self.word("null").map(|()| 0)?,
            Some(_) => return Err(self.error(Problem::Unexpected)),
            None => return Err(self.error(Problem::End)),
        };
        Ok(Raw { text: self.since(start), elements })
    }

    /// Goes into an array or object that begins with this bracket.
    pub(crate) fn open(&mut self, bracket: u8) -> Result<(), SyntaxError> {
        self.expect(bracket)?;
        self.levels = self.levels.checked_sub(1).ok_or_else(|| self.error(Problem::TooDeep))?;
        Ok(())
    }

    /// Whether there is one element more. Takes the comma in front of it, or the bracket behind the last.
    pub(crate) fn more(&mut self, bracket: u8, is_first: bool) -> Result<bool, SyntaxError> {
        match self.peek() {
            Some(byte) if byte == bracket => {
                self.at += 1;
                self.levels += 1;
                Ok(false)
            }
            Some(_) if is_first => Ok(true),
            _ => self.expect(b',').map(|()| true),
        }
    }

    /// The name of a member, quotes and escapes included, and the colon behind it.
    pub(crate) fn name(&mut self) -> Result<&'a str, SyntaxError> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.error(Problem::Unexpected)),
            None => return Err(self.error(Problem::End)),
        }
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// That nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        self.peek().map_or(Ok(()), |_| Err(self.error(Problem::Trailing)))
    }

    fn array(&mut self) -> Result<usize, SyntaxError> {
        self.open(b'[')?;
        let mut count = 0;
        while self.more(b']', count == 0)? {
            self.value()?;
            count += 1;
        }
        Ok(count)
    }

    fn object(&mut self) -> Result<usize, SyntaxError> {
        self.open(b'{')?;
        let mut count = 0;
        while self.more(b'}', count == 0)? {
            self.name()?;
            self.value()?;
            count += 1;
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.take()? {
                b'"' => return Ok(self.since(start)),
                b'\\' => self.escape()?,
                0..=0x1f => {
                    self.at -= 1;
                    return Err(self.error(Problem::ControlCharacter));
                }
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        match self.take()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.code_unit()? {
                0xd800..=0xdbff => {
                    let is_pair = self.take()? == b'\\'
                        && self.take()? == b'u'
                        && matches!(self.code_unit()?, 0xdc00..=0xdfff);
                    if is_pair { Ok(()) } else { Err(self.error(Problem::LoneSurrogate)) }
                }
                0xdc00..=0xdfff => Err(self.error(Problem::LoneSurrogate)),
                _ => Ok(()),
            },
            _ => Err(self.error(Problem::Escape)),
        }
    }

    /// Four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.take()?).to_digit(16);
            unit = unit << 4 | digit.ok_or_else(|| self.error(Problem::Escape))?;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        self.skip_if(b"-");
        if !self.skip_if(b"0") {
            self.digits()?;
        }
        if self.skip_if(b".") {
            self.digits()?;
        }
        let has_exponent = self.skip_if(b"eE");
        if has_exponent {
            self.skip_if(b"+-");
            self.digits()?;
        }
        let text = self.since(start);
        let is_large = has_exponent || text.len() > LONG_NUMBER;
        if is_large && text.parse::<f64>().is_ok_and(f64::is_infinite) {
            return Err(self.error(Problem::NumberTooLarge));
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start { Err(self.error(Problem::Number)) } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<(), SyntaxError> {
        for byte in word.bytes() {
            if self.take()? != byte {
                self.at -= 1;
                return Err(self.error(Problem::Unexpected));
            }
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.error(Problem::Unexpected)),
            None => Err(self.error(Problem::End)),
        }
    }

    fn skip_if(&mut self, any_of: &[u8]) -> bool {
        let is_there = self.byte().is_some_and(|byte| any_of.contains(&byte));
        self.at += usize::from(is_there);
        is_there
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self) -> Result<u8, SyntaxError> {
        let byte = self.byte().ok_or_else(|| self.error(Problem::End))?;
        self.at += 1;
        Ok(byte)
    }

    /// What was stepped over. Values begin and end with ASCII, so that this never cuts a character in two.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn error(&self, problem: Problem) -> SyntaxError {
        SyntaxError { at: self.at, problem }
    }
}

/// The elements of an array that was checked before.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    scanner: Scanner<'a>,
    is_first: bool,
}

impl<'a> Elements<'a> {
    /// None where the text is no array after all.
    pub(crate) fn new(array: &'a [u8], levels: usize) -> Option<Self> {
        let mut scanner = Scanner::new(array, levels).ok()?;
        scanner.open(b'[').ok()?;
        Some(Self { scanner, is_first: true })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let has_more = self.scanner.more(b']', self.is_first).ok()?;
        self.is_first = false;
        let value = has_more.then(|| self.scanner.value())?.ok()?;
        Some(value.text.as_bytes())
    }
}

/// What a string stands for: without its quotes, and with its escapes resolved.
pub(crate) fn unescaped(string: &str) -> Option<Cow<'_, str>> {
    if string.contains('\\') {
        return serde_json::from_str(string).ok().map(Cow::Owned);
    }
    string.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

/// Writes a text as a string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, behind)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex(control >> 4), hex(control & 0xf)]);
            }
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The digit for four bits.
fn hex(bits: u8) -> u8 {
    if bits < 10 { b'0' + bits } else { b'a' + bits - 10 }
}

#[cfg(test)]
mod tests;
