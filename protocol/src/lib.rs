//! Fanfare's wire protocol, and nothing else: ids, names, frames, codes, limits and the codec.
//!
//! In: bytes that a peer sent, or values to be sent. Out: values, or bytes. There is no I/O here, no clock and no
//! runtime, so that a server, a client and a fuzzer use the very same code.
//!
//! Invariant: a value of one of these types is valid by construction. A [`GroupName`] is 1 to 256 bytes long wherever
//! it turns up, because there is no other way to make one.
//!
//! The format is described, byte by byte, in `PROTOCOL.md`; `protocol/vectors` holds every frame as hex.

pub mod admin;
mod code;
pub mod codec;
mod denial;
mod features;
mod format;
mod frame;
mod id;
mod json;
mod limits;
mod name;
mod pattern;
mod payload;
mod visible;

pub use code::{Code, UnknownCode};
pub use denial::Denial;
pub use features::Features;
pub use format::{PayloadFormat, UnknownFormat};
pub use frame::{
    ClientFrame, Credential, ExpiryScope, Message, RequestId, Send, Sender, ServerFrame, Target, Token,
    Welcome,
};
pub use id::{ConnectionId, ParseConnectionIdError};
pub use limits::Limits;
pub use name::{EventName, GroupName, NameError, UserName};
pub use pattern::Pattern;
pub use payload::Payload;
pub use visible::{quoted, turns, visible};

/// The version of the protocol that this crate speaks; the first field of `Hello` and of `Welcome`.
pub const PROTOCOL_VERSION: u32 = 1;

/// The path of the WebTransport session that browsers ask for.
pub const WEBTRANSPORT_PATH: &str = "/fanfare";

/// The most bytes that a frame in a datagram has, its length prefix not counted. It fits the smallest packet that QUIC works over
/// (1,200 bytes, RFC 9000 section 14) behind QUIC's and WebTransport's headers, so that it fits every path.
pub const DATAGRAM_BYTES: usize = 1_100;

/// The ALPN protocol id of native QUIC clients (RFC 7301, RFC 9001 section 8.1).
pub const ALPN: &[u8] = b"fanfare/1";
