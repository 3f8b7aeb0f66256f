//! Frames to bytes and back.
//!
//! In: chunks of a byte stream, in whatever pieces they arrive. Out: frames. The other way round: frames in, bytes out.
//!
//! A frame is a `u32` little-endian length and then that many bytes: the frame's number, its fields, and behind them
//! extensions. `PROTOCOL.md` spells it out. `stream.rs` cuts the stream, `reader.rs` and `writer.rs` know integers,
//! texts and lists, `extension.rs` what stands behind the fields, `part.rs` what frames are made of, `client.rs` and
//! `server.rs` the frames, `call.rs` those about calls, and `presence.rs` those about who is in a group.
//!
//! Invariants, whatever bytes a peer sends:
//! - the length is checked against the limit before a byte of the frame is kept ([`FrameReader`]);
//! - decoding allocates no more than a fixed multiple of the frame's length, and no list is longer than
//!   [`LIST_CEILING`];
//! - a frame is used up to its last byte, or refused; a payload is a slice of the received frame, not a copy;
//! - what a later version may have added is told from what is no frame at all ([`DecodeError::Unknown`]), with the
//!   number of the request where there is one.

mod call;
mod client;
mod extension;
mod part;
mod presence;
mod reader;
mod server;
mod stream;
mod writer;

use std::fmt;

pub use self::client::{decode_client, encode_client, has_no_request, hello_version};
pub use self::extension::with_extensions;
pub use self::server::{
    decode_server, encode_message, encode_message_body, encode_message_heading, encode_server,
    welcome_version,
};
pub use self::stream::{FrameReader, PREFIX_BYTES};
use crate::{NameError, RequestId};

/// The longest list that is read. No server allows more than 4,096 targets or exceptions; this bounds what is allocated
/// before that is asked.
pub const LIST_CEILING: usize = 1 << 16;

/// A client's frames below this number begin with the number of a request, those of versions to come as well. From here
/// on they have none.
pub const FIRST_WITHOUT_REQUEST: u32 = 128;

/// Why bytes are not a frame that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length prefix is above the limit. Nothing of the frame was kept.
    #[error("a frame of {length} bytes is longer than the {limit} allowed")]
    TooLong {
        /// What the prefix says, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The bytes are no frame of any version: a broken string, an end that comes too early.
    #[error("not a frame: {0}")]
    Malformed(&'static str),
    /// The frame is well-formed, but a name in it is not.
    #[error("{name}")]
    InvalidName {
        /// The request that the name was in, where it was in one.
        request: Option<RequestId>,
        /// What is wrong with it.
        name: NameError,
    },
    /// The frame, or a kind of something in it, is of a later version. What follows the number was not read.
    #[error("{what} is not known here")]
    Unknown {
        /// The request that it is, where it is one.
        request: Option<RequestId>,
        /// What is not known.
        what: Unknown,
    },
    /// The frame has an extension that must be understood, and is not.
    #[error("extension {extension} is not known here, and must be understood")]
    ExtensionNotKnown {
        /// The request that it stands behind, where it is one.
        request: Option<RequestId>,
        /// The extension's number.
        extension: u64,
    },
}

/// A number that this version gives no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// A frame's.
    Frame(u32),
    /// A variant's, of what is named.
    Kind(&'static str, u32),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(number) => write!(f, "frame {number}"),
            Self::Kind(what, number) => write!(f, "{what} {number}"),
        }
    }
}

#[cfg(test)]
mod tests;
