//! MessagePack to JSON.
//!
//! In: a MessagePack value. Out: a JSON text that says the same, as far as JSON can. Invariant: the text is JSON that
//! any client reads, or there is an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ConversionError;
use crate::json::push_string;
use crate::message_pack::{Token, Walker};

/// The extension type of timestamps.
const TIMESTAMP: i8 = -1;

pub(super) fn convert(value: &[u8], levels: usize) -> Result<Vec<u8>, ConversionError> {
    let mut walker = Walker::new(value, levels);
    let mut out = Vec::with_capacity(value.len());
    write(&mut walker, &mut out)?;
    walker.end()?;
    Ok(out)
}

fn write(walker: &mut Walker<'_>, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    match walker.token()? {
        Token::Array(count) => {
            walker.enter()?;
            out.push(b'[');
            for index in 0..count {
                separate(index, out);
                write(walker, out)?;
            }
            out.push(b']');
            walker.leave();
        }
        Token::Map(count) => {
            walker.enter()?;
            out.push(b'{');
            for index in 0..count {
                separate(index, out);
                let key = walker.token()?;
                push_string(out, &key_text(key)?);
                out.push(b':');
                write(walker, out)?;
            }
            out.push(b'}');
            walker.leave();
        }
        Token::Text(text) => push_string(out, text),
        Token::Binary(bytes) => push_string(out, &STANDARD.encode(bytes)),
        Token::Extension(TIMESTAMP, bytes) => push_string(out, &timestamp(bytes)?),
        Token::Extension(kind, bytes) => {
            // It becomes an array, which is a level in JSON.
            walker.enter()?;
            walker.leave();
            out.extend_from_slice(format!("[{kind},\"{}\"]", STANDARD.encode(bytes)).as_bytes());
        }
        plain => out.extend_from_slice(plain_text(plain).unwrap_or_default().as_bytes()),
    }
    Ok(())
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// What has the same text as a value and as a key.
fn plain_text(token: Token<'_>) -> Option<String> {
    Some(match token {
        Token::Nil => "null".to_owned(),
        Token::Bool(value) => value.to_string(),
        Token::Unsigned(number) => number.to_string(),
        Token::Signed(number) => number.to_string(),
        // `{:?}` has an exponent where `{}` has hundreds of digits. JSON has neither infinity nor "not a number"; null
        // is what browsers write for them.
        Token::F32(number) if number.is_finite() => format!("{number:?}"),
        Token::F64(number) if number.is_finite() => format!("{number:?}"),
        Token::F32(_) | Token::F64(_) => "null".to_owned(),
        _ => return None,
    })
}

fn key_text(key: Token<'_>) -> Result<String, ConversionError> {
    match key {
        Token::Text(text) => Ok(text.to_owned()),
        Token::Binary(bytes) => Ok(STANDARD.encode(bytes)),
        Token::Extension(TIMESTAMP, bytes) => timestamp(bytes),
        plain => plain_text(plain).ok_or(ConversionError::Key),
    }
}

/// A timestamp (MessagePack's specification, "Timestamp extension type") as RFC 3339 has it.
fn timestamp(bytes: &[u8]) -> Result<String, ConversionError> {
    let (seconds, nanoseconds): (i64, u32) = match *bytes {
        [a, b, c, d] => (u32::from_be_bytes([a, b, c, d]).into(), 0),
        [a, b, c, d, e, f, g, h] => {
            // 30 bits of nanoseconds, and then 34 of seconds.
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let seconds = i64::try_from(both & ((1 << 34) - 1));
            let nanoseconds = u32::try_from(both >> 34);
            match (seconds, nanoseconds) {
                (Ok(seconds), Ok(nanoseconds)) => (seconds, nanoseconds),
                _ => return Err(ConversionError::Timestamp),
            }
        }
        [a, b, c, d, e, f, g, h, i, j, k, l] => {
            (i64::from_be_bytes([e, f, g, h, i, j, k, l]), u32::from_be_bytes([a, b, c, d]))
        }
        _ => return Err(ConversionError::Timestamp),
    };
    let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| ConversionError::Timestamp)?;
    let time = time.replace_nanosecond(nanoseconds).map_err(|_| ConversionError::Timestamp)?;
    time.format(&Rfc3339).map_err(|_| ConversionError::Timestamp)
}
