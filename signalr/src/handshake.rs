//! The first two messages of a connection (`HubProtocol.md`, "Overview").
//!
//! In: what a client sends first. Out: the encoding that it wants, or why it cannot have it; and the answer for it.
//! Invariants: both messages are JSON with 0x1E behind them, whatever the encoding is; the request is bounded, and not
//! a byte behind it is taken, since the first hub message may be in the same chunk.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::json::{RECORD_SEPARATOR, Raw, push_string};
use crate::object::each_member;
use crate::{DecodeError, Encoding, Limits, ShapeError, SyntaxError, texts};

/// The longest request, in bytes. Clients send some 40.
pub const REQUEST_BYTES: usize = 4_096;

/// The highest version of the hub protocols that is spoken. Version 2 has what stateful reconnects need, which a client
/// uses only where it was offered; 0 is what signalrcore says in JSON, and means 1.
pub const HIGHEST_VERSION: i64 = 2;

/// What a client wants to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The encoding of everything that follows.
    pub encoding: Encoding,
    /// The version of the hub protocol, 0 to [`HIGHEST_VERSION`].
    pub version: i64,
}

/// Reads the request, which is one for each connection.
///
/// ```
/// use bytes::Bytes;
/// use fanfare_signalr::handshake::HandshakeReader;
/// use fanfare_signalr::Encoding;
///
/// let mut chunk = Bytes::from_static(b"{\"protocol\":\"messagepack\",\"version\":1}\x1e\x02\x91\x06");
/// let handshake = HandshakeReader::default().read(&mut chunk)?.ok_or("a whole request")?;
/// assert_eq!(handshake.encoding, Encoding::MessagePack);
/// // What follows belongs to the hub protocol: here a ping.
/// assert_eq!(chunk, b"\x02\x91\x06".as_slice());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct HandshakeReader {
    partial: BytesMut,
}

impl HandshakeReader {
    /// The request, once it is whole. Takes what it uses from `chunk`; `None` means that `chunk` is used up. What is
    /// left when there is one is the first of the hub messages.
    ///
    /// # Errors
    /// Any [`HandshakeError`]. The connection is to be closed when [`HandshakeError::answer`] was sent.
    pub fn read(&mut self, chunk: &mut Bytes) -> Result<Option<Handshake>, HandshakeError> {
        let end = chunk.iter().position(|byte| *byte == RECORD_SEPARATOR);
        let length = self.partial.len() + end.unwrap_or(chunk.len());
        if length > REQUEST_BYTES {
            return Err(HandshakeError::TooLong);
        }
        let taken = chunk.split_to(end.unwrap_or(chunk.len()));
        self.partial.extend_from_slice(&taken);
        if end.is_none() {
            return Ok(None);
        }
        chunk.advance(1);
        request(&std::mem::take(&mut self.partial)).map(Some)
    }
}

fn request(record: &[u8]) -> Result<Handshake, HandshakeError> {
    let (mut protocol, mut version) = (None, None);
    let visit = |name: &str, value| {
        let (name, place) = match name {
            "protocol" => ("protocol", &mut protocol),
            "version" => ("version", &mut version),
            _ => return Ok(()),
        };
        place.replace(value).map_or(Ok(()), |_| Err(ShapeError::Twice(name)))
    };
    each_member(record, Limits::DEPTH_CEILING, visit)?;
    let protocol: Raw<'_> = protocol.ok_or(ShapeError::Missing("protocol"))?;
    let version: Raw<'_> = version.ok_or(ShapeError::Missing("version"))?;
    let no_text = ShapeError::WrongType { member: "protocol", expected: "a text" };
    let no_integer = ShapeError::WrongType { member: "version", expected: "an integer" };
    let protocol = protocol.string().ok_or(no_text)?;
    let version = version.text.parse().map_err(|_| no_integer)?;
    let Some(encoding) = Encoding::by_name(&protocol) else {
        return Err(HandshakeError::NoProtocol(ProtocolName(protocol.into_owned())));
    };
    if !(0..=HIGHEST_VERSION).contains(&version) {
        return Err(HandshakeError::NoVersion { version, encoding });
    }
    Ok(Handshake { encoding, version })
}

/// The answer to a request that is accepted.
#[must_use]
pub fn accepted() -> Bytes {
    Bytes::from_static(b"{}\x1e")
}

/// The answer to a request that is refused, with a reason for the client: [`HandshakeError::answer`], or
/// [`texts::HANDSHAKE_CANCELED`] for one that did not come in time.
#[must_use]
pub fn refused(reason: &str) -> Bytes {
    let reason = if reason.is_empty() { texts::HANDSHAKE_FAILED } else { reason };
    let mut out = b"{\"error\":".to_vec();
    push_string(&mut out, reason);
    out.extend_from_slice(&[b'}', RECORD_SEPARATOR]);
    out.into()
}

/// Why a handshake is refused. As with all errors here, what is shown of it repeats nothing that the client sent; what
/// the client gets to read does, as ASP.NET has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The request is longer than [`REQUEST_BYTES`]: the client speaks something else.
    #[error("the handshake is longer than {REQUEST_BYTES} bytes")]
    TooLong,
    /// The request is not well-formed.
    #[error("the handshake is not well-formed: {0}")]
    Syntax(SyntaxError),
    /// The request is JSON, and no handshake.
    #[error("the handshake is none: {0}")]
    Shape(#[from] ShapeError),
    /// The client asks for a hub protocol that is neither of the two.
    #[error("the hub protocol that is asked for is neither json nor messagepack")]
    NoProtocol(ProtocolName),
    /// The client asks for a version that is not spoken.
    #[error("version {version} of the hub protocol {encoding} is not spoken")]
    NoVersion {
        /// The version.
        version: i64,
        /// The encoding that it is of.
        encoding: Encoding,
    },
}

impl HandshakeError {
    /// What the client is told: one whole record, with SignalR's words.
    #[must_use]
    pub fn answer(&self) -> Bytes {
        match self {
            Self::NoProtocol(ProtocolName(name)) => refused(&texts::no_protocol(name)),
            Self::NoVersion { version, encoding } => refused(&texts::no_version(*version, encoding.name())),
            Self::TooLong | Self::Syntax(_) | Self::Shape(_) => refused(texts::HANDSHAKE_FAILED),
        }
    }
}

impl From<DecodeError> for HandshakeError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Syntax(error) => Self::Syntax(error),
            DecodeError::Shape(error) => Self::Shape(error),
            // Of streams, which a handshake is none of.
            DecodeError::TooLong { .. } | DecodeError::LengthPrefix => Self::TooLong,
        }
    }
}

/// The name of a hub protocol that a client made up. It is told to that client, and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ProtocolName(String);

impl fmt::Debug for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtocolName({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
