//! JSON to MessagePack.
//!
//! In: a JSON text. Out: a MessagePack value that says the same, in its shortest form. Invariant: a text stays a text;
//! what looks like base64 or like a date may be neither.

use crate::json::{Raw, Scanner, unescaped};
use crate::packer::Packer;
use crate::{ConversionError, Problem, SyntaxError};

/// A string that was checked, and cannot be read after all.
const NO_STRING: SyntaxError = SyntaxError { at: 0, problem: Problem::Escape };

pub(super) fn convert(value: &[u8], levels: usize) -> Result<Vec<u8>, ConversionError> {
    let mut scanner = Scanner::new(value, levels)?;
    let mut packer = Packer::new(0, value.len());
    write(&mut scanner, &mut packer)?;
    scanner.end()?;
    Ok(packer.into_bytes())
}

fn write(scanner: &mut Scanner<'_>, packer: &mut Packer) -> Result<(), ConversionError> {
    match scanner.peek() {
        Some(b'[') => {
            scanner.open(b'[')?;
            let (start, mut count) = (packer.position(), 0);
            while scanner.more(b']', count == 0)? {
                write(scanner, packer)?;
                count += 1;
            }
            packer.array_since(start, count);
        }
        Some(b'{') => {
            scanner.open(b'{')?;
            let (start, mut count) = (packer.position(), 0);
            while scanner.more(b'}', count == 0)? {
                packer.text(&unescaped(scanner.name()?).ok_or(NO_STRING)?);
                write(scanner, packer)?;
                count += 1;
            }
            packer.map_since(start, count);
        }
        _ => scalar(scanner.value()?, packer)?,
    }
    Ok(())
}

fn scalar(value: Raw<'_>, packer: &mut Packer) -> Result<(), ConversionError> {
    match value.text {
        "null" => packer.nil(),
        "true" => packer.bool(true),
        "false" => packer.bool(false),
        string if string.starts_with('"') => packer.text(&unescaped(string).ok_or(NO_STRING)?),
        number => {
            if let Ok(number) = number.parse() {
                packer.unsigned(number);
            } else if let Ok(number) = number.parse() {
                packer.signed(number);
            } else {
                // A point, an exponent, or more digits than 64 bits hold.
                packer.float(number.parse().map_err(|_| SyntaxError { at: 0, problem: Problem::Number })?);
            }
        }
    }
    Ok(())
}
