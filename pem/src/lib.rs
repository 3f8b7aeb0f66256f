//! PEM files (RFC 7468) as people have them: with a byte order mark, in UTF-16, with any line ends or none, indented,
//! with text around the sections.
//!
//! In: a file's bytes. Out: its sections, decoded, or an [`Error`] with the number of a line. Invariants: nothing
//! between a BEGIN and an END is left out in silence, and neither is a line that looks like one of both and is none; no
//! error repeats a byte of the file, since it may be a key.
//!
//! RFC 7468 lets parsers ignore what they do not know, and the usual ones do so with sections that are not exactly as
//! they should be: of a file of three authorities two are trusted, and nobody is told. This one refuses.

mod kind;
mod marker;

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

pub use kind::{Unused, certificates, describe, is_certificate, is_key};
use marker::{BEGIN, DASHES, END, looks_like_a_marker, shares_hyphens};

/// What may stand before the base64 (RFC 1421, section 4.6, as far as keys have it; RFC 4716).
const HEADERS: [&str; 5] = ["Proc-Type", "DEK-Info", "Content-Domain", "Key-Info", "Comment"];
/// How many zeros in a line are those of UTF-16: some programs want one at the end of a file.
const SOME_ZEROS: usize = 4;
/// The longest label, in bytes. The longest that is in use has 24.
const LABEL_BYTES: usize = 64;

/// With or without the padding: it says nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A section: what is between a BEGIN and its END.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    label: String,
    line: usize,
    encrypted: bool,
    der: Vec<u8>,
}

impl fmt::Debug for Block {
    /// Leaves the content out, since it may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, line, .. } = self;
        f.debug_struct("Block").field("label", label).field("line", line).finish_non_exhaustive()
    }
}

impl Block {
    /// What it is said to be: `CERTIFICATE`, `PRIVATE KEY` and so on.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The number of the line with its BEGIN, from 1 on.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Whether a passphrase is needed: by its label (PKCS#8), or by a header (RFC 1421, section 4.6.1.1).
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encrypted || self.label == "ENCRYPTED PRIVATE KEY"
    }

    /// What it holds.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// Why a file is refused, as what "the file has".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file ends, or another section begins, before its END.
    #[error("a PEM section that is cut off (it begins in line {line} and has no END)")]
    NoEnd {
        /// The line with its BEGIN.
        line: usize,
    },
    /// BEGIN says one thing and END another.
    #[error("a PEM section whose END in line {line} does not say what its BEGIN in line {begin} says")]
    OtherEnd {
        /// The line with the END.
        line: usize,
        /// The line with the BEGIN.
        begin: usize,
    },
    /// An END before which nothing began.
    #[error("an END in line {line} that has no BEGIN before it")]
    NoBegin {
        /// Its line.
        line: usize,
    },
    /// Something between a BEGIN and an END.
    #[error("a PEM section that is cut off or is not base64 (in line {line})")]
    NotBase64 {
        /// Its line.
        line: usize,
    },
    /// Base64 that does not come out even.
    #[error(
        "a PEM section that is cut off or is not base64 (it ends in line {line}, and does not come out even)"
    )]
    Uneven {
        /// The line with its END.
        line: usize,
    },
    /// Nothing between a BEGIN and an END.
    #[error("an empty PEM section in line {line}")]
    Empty {
        /// The line with its BEGIN.
        line: usize,
    },
    /// Almost a BEGIN or an END.
    #[error(
        "something in line {line} that looks like the BEGIN or the END of a PEM section and is neither (it has capitals, and \
         exactly five hyphens on both sides: -----BEGIN CERTIFICATE-----)"
    )]
    Marker {
        /// Its line.
        line: usize,
    },
    /// It begins as UTF-16 does, and is none.
    #[error("text in line {line} that is neither UTF-8 nor UTF-16")]
    Encoding {
        /// The first that cannot be read.
        line: usize,
    },
}

/// Finds all sections, in their order; none where there is nothing that looks like one.
///
/// # Errors
/// For the first thing that is not as it should be.
pub fn parse(bytes: &[u8]) -> Result<Vec<Block>, Error> {
    let text = text(bytes)?;
    let mut blocks = Vec::new();
    let mut open: Option<Open> = None;
    // Text of another encoding that was put behind: what it says of sections is not seen.
    let mut foreign = None;
    for (number, line) in (1..).zip(lines(&text)) {
        let mut rest = line;
        // A line may have several: two files of which the first had no line end, put together.
        loop {
            rest = match open.take() {
                None => match begin(rest, number)? {
                    Some((begun, rest)) => {
                        open = Some(begun);
                        rest
                    }
                    None => {
                        foreign = foreign.or(is_of_another_encoding(rest).then_some(number));
                        break;
                    }
                },
                Some(mut begun) => match begun.take(rest, number)? {
                    Some(rest) => {
                        blocks.push(begun.close(number)?);
                        rest
                    }
                    None => {
                        open = Some(begun);
                        break;
                    }
                },
            };
        }
    }
    match (open, foreign) {
        (Some(open), _) => Err(Error::NoEnd { line: open.line }),
        // Where there is no section at all it is something else, which is not ours to judge.
        (None, Some(line)) if !blocks.is_empty() => Err(Error::Encoding { line }),
        (None, _) => Ok(blocks),
    }
}

/// Whether it is a piece of UTF-16 that was read as UTF-8, or the other way round, in which two hyphens are one letter.
fn is_of_another_encoding(text: &str) -> bool {
    text.matches('\0').count() >= SOME_ZEROS || text.contains('\u{2d2d}')
}

/// The text that is around the sections of a file that [`parse`] takes.
#[must_use]
pub fn around(bytes: &[u8]) -> String {
    let Ok(text) = text(bytes) else { return String::new() };
    let mut around = String::new();
    let mut rest = &*text;
    while let Some((before, section)) = rest.split_once(BEGIN) {
        around.push_str(before);
        let behind = section.split_once(END).and_then(|(_, label)| label.split_once(DASHES));
        rest = behind.map_or("", |(_, rest)| rest);
    }
    around + rest
}

/// Writes a section, with lines of 64 characters.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    let base64 = STANDARD.encode(der);
    for (position, character) in base64.chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    format!("{text}\n{END}{label}{DASHES}\n")
}

/// A section whose END has not come yet.
struct Open {
    label: String,
    line: usize,
    encrypted: bool,
    /// Whether headers may still come (RFC 1421): before anything else.
    headers: bool,
    base64: String,
}

/// Looks for a BEGIN outside of any section. Gives what follows it.
fn begin(text: &str, number: usize) -> Result<Option<(Open, &str)>, Error> {
    let marker = Error::Marker { line: number };
    let (begins, ends) = (text.find(BEGIN), text.find(END));
    let Some(at) = begins.into_iter().chain(ends).min() else {
        let is_marker = !is_of_another_encoding(text) && looks_like_a_marker(text);
        return if is_marker { Err(marker) } else { Ok(None) };
    };
    let (before, found) = text.split_at(at);
    if looks_like_a_marker(before) {
        return Err(marker);
    }
    let Some(after) = found.strip_prefix(BEGIN) else {
        return Err(Error::NoBegin { line: number });
    };
    let (label, rest) = after.split_once(DASHES).ok_or(marker)?;
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" .#/_".contains(&byte);
    if label.is_empty() || label.len() > LABEL_BYTES || label.trim() != label || !label.bytes().all(plain) {
        return Err(marker);
    }
    if shares_hyphens(rest) {
        return Err(marker);
    }
    let label = label.to_owned();
    Ok(Some((Open { label, line: number, encrypted: false, headers: true, base64: String::new() }, rest)))
}

impl Open {
    /// Takes what is on a line, up to the END if that is there. Gives what follows it.
    fn take<'a>(&mut self, text: &'a str, number: usize) -> Result<Option<&'a str>, Error> {
        if self.headers
            && let Some((name, value)) = text.split_once(':')
            && HEADERS.contains(&name.trim())
            && !value.contains(DASHES)
        {
            self.encrypted |= name.trim() == "Proc-Type" && value.trim_end().ends_with("ENCRYPTED");
            return Ok(None);
        }
        let (data, marker) = text.split_at(text.find('-').unwrap_or(text.len()));
        for character in data.chars().filter(|character| !character.is_ascii_whitespace()) {
            self.headers = false;
            let fits = match character {
                '=' => true,
                character => is_base64(character) && !self.base64.ends_with('='),
            };
            if !fits {
                return Err(Error::NotBase64 { line: number });
            }
            self.base64.push(character);
        }
        if marker.is_empty() {
            return Ok(None);
        }
        if marker.starts_with(BEGIN) {
            return Err(Error::NoEnd { line: self.line });
        }
        let after = marker.strip_prefix(END).ok_or(Error::NotBase64 { line: number })?;
        let (label, rest) = after.split_once(DASHES).ok_or(Error::Marker { line: number })?;
        if label != self.label {
            return Err(Error::OtherEnd { line: number, begin: self.line });
        }
        if shares_hyphens(rest) {
            return Err(Error::Marker { line: number });
        }
        Ok(Some(rest))
    }

    fn close(self, number: usize) -> Result<Block, Error> {
        let Self { label, line, encrypted, base64, .. } = self;
        if base64.is_empty() {
            return Err(Error::Empty { line });
        }
        let der = BASE64.decode(base64).map_err(|_| Error::Uneven { line: number })?;
        Ok(Block { label, line, encrypted, der })
    }
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/')
}

/// The lines of a text, whose ends are CR LF, LF, or CR alone.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((line, after)) = text.split_once(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let ended_by_cr = text.as_bytes().get(line.len()) == Some(&b'\r');
        rest = Some(if ended_by_cr { after.strip_prefix('\n').unwrap_or(after) } else { after });
        Some(line)
    })
}

/// A file's bytes as text. What is neither UTF-8 nor UTF-16 is text around the sections, or an error in one.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    let (big_endian, bytes) = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Ok(String::from_utf8_lossy(rest)),
        [0xff, 0xfe, rest @ ..] => (false, rest),
        [0xfe, 0xff, rest @ ..] => (true, rest),
        // Without a mark: text begins with a letter or a hyphen, whose other half is zero.
        [1..=0x7f, 0, ..] => (false, bytes),
        [0, 1..=0x7f, ..] => (true, bytes),
        _ => return Ok(String::from_utf8_lossy(bytes)),
    };
    // A section in ASCII would be read as other letters, and not be there.
    if let Some(at) = bytes.windows(BEGIN.len()).position(|window| window == BEGIN.as_bytes()) {
        let line = bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        return Err(Error::Encoding { line });
    }
    let (pairs, left) = bytes.as_chunks::<2>();
    let units = pairs
        .iter()
        .map(|pair| if big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) });
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut damaged = None;
    for unit in char::decode_utf16(units) {
        let character = unit.unwrap_or_else(|_| {
            damaged.get_or_insert(text.len());
            char::REPLACEMENT_CHARACTER
        });
        text.push(character);
    }
    if !left.is_empty() {
        damaged.get_or_insert(text.len());
    }
    match damaged {
        // Something else altogether, which happens to begin like that, is not ours to judge.
        Some(at) if text.contains("-----") => {
            Err(Error::Encoding { line: lines(text.get(..at).unwrap_or_default()).count() })
        }
        _ => Ok(Cow::Owned(text)),
    }
}

#[cfg(test)]
mod tests;
