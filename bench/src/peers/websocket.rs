//! A client's half of WebSocket (RFC 6455), as much of it as the load tool needs, without any I/O.
//!
//! In: what is to be sent, and a server's bytes. Out: frames, and what the server's frames hold. A client masks what it
//! sends with zeros, which the RFC allows nobody to expect, and which costs the server what any mask costs.

use crate::error::{Fallible, wrong};

/// Kinds of frames, each of them a whole message.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
const PONG: u8 = 0x8a;

/// What a server says.
pub enum Said<'a> {
    /// It is a WebSocket now.
    Upgraded,
    /// A message, or the whole of a frame that is a part of one.
    Message(&'a [u8]),
    /// A ping, which must be answered with these bytes.
    Ping(Vec<u8>),
}

/// What asks for a WebSocket at this path; `headers` are whole lines.
pub fn request(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// Puts a frame with these parts behind `out`.
pub fn frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 126 => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A frame of its own.
pub fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, kind, &[content]);
    out
}

/// Reads what a server says.
#[derive(Default)]
pub struct Reader {
    upgraded: bool,
}

impl Reader {
    /// Tells what whole things `bytes` begins with, and gives how many bytes those had.
    ///
    /// # Errors
    /// When the server upgrades nothing or closes, and what `said` says.
    pub fn read(&mut self, bytes: &[u8], said: &mut dyn FnMut(Said<'_>) -> Fallible<()>) -> Fallible<usize> {
        let mut rest = bytes;
        if !self.upgraded {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                return Err(wrong(format!("no WebSocket: {}", String::from_utf8_lossy(bytes))));
            }
            self.upgraded = true;
            rest = bytes.get(end + 4..).unwrap_or_default();
            said(Said::Upgraded)?;
        }
        while let [kind, length, behind @ ..] = rest {
            let (length, behind) = match length {
                127 => match behind.split_first_chunk::<8>() {
                    Some((length, behind)) => {
                        (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), behind)
                    }
                    None => break,
                },
                126 => match behind.split_first_chunk::<2>() {
                    Some((length, behind)) => (usize::from(u16::from_be_bytes(*length)), behind),
                    None => break,
                },
                length => (usize::from(*length), behind),
            };
            let Some((content, next)) = behind.split_at_checked(length) else { break };
            match kind & 0x0f {
                0..=2 => said(Said::Message(content))?,
                9 => said(Said::Ping(framed(PONG, content)))?,
                8 => {
                    let why = String::from_utf8_lossy(content.get(2..).unwrap_or_default()).into_owned();
                    return Err(wrong(format!("the WebSocket was closed: {why}")));
                }
                _ => {}
            }
            rest = next;
        }
        Ok(bytes.len() - rest.len())
    }
}
