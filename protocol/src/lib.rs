//! Fanfare's wire protocol: names, ids, frames, codes, limits, and the codec.
//!
//! Server, clients and fuzz targets share this crate. It does no I/O, has no runtime and reads no clock. `PROTOCOL.md`
//! describes the format byte by byte; `protocol/vectors` has every frame as hex.
//!
//! # The types
//!
//! - [`UserName`], [`GroupName`] and [`EventName`] are names of 1 to 256 bytes of UTF-8. [`ConnectionId`] is 16 bytes,
//!   or 26 characters for a person.
//! - [`ClientFrame`] and [`ServerFrame`] are what the two sides say. A client begins with `Hello` and its
//!   [`Credential`], and the server answers with [`Welcome`], which holds the [`Limits`].
//! - [`Send`] is a message on its way in, to a list of [`Target`]s. [`Message`] is what a recipient gets, with its
//!   [`Sender`]. The content is a [`Payload`]: bytes, and a [`PayloadFormat`].
//! - [`Code`] has the numbers with which the server refuses a request or closes a connection. A [`Denial`] is a code
//!   and the reason in words.
//! - [`presence`] has what is told of a group to those who watch it.
//! - [`codec`] turns frames into bytes and back. [`FrameReader`](codec::FrameReader) cuts a stream into frames.
//! - [`admin`] has what operators' tools and the server say to one another, as JSON.
//!
//! A value of one of these types is valid by construction: there is no way to make a [`GroupName`] that is too long.
//!
//! # Example
//!
//! A frame from a client to a server:
//!
//! ```
//! use bytes::Bytes;
//! use fanfare_protocol::codec::{self, DecodeError, FrameReader};
//! use fanfare_protocol::{ClientFrame, GroupName, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let join = ClientFrame::Join { request: 1, group: GroupName::new("room")? };
//! let bytes = codec::encode_client(&join);
//! // The length, the frame's number, the request's, and the name.
//! assert_eq!(&bytes[..], b"\x07\0\0\0\x01\x01\x04room");
//!
//! // On the other side the bytes arrive in pieces.
//! let mut reader = FrameReader::new(Limits::default().frame_bytes);
//! let (mut first, mut second) = (bytes.slice(..6), bytes.slice(6..));
//! assert_eq!(reader.next_frame(&mut first)?, None);
//! let body = reader.next_frame(&mut second)?.ok_or("a whole frame has arrived")?;
//! assert_eq!(codec::decode_client(&body)?, join);
//!
//! // Bytes that are no frame are an error, never a panic.
//! let error = codec::decode_client(&Bytes::from_static(b"\x01\x01\x05room")).unwrap_err();
//! assert!(matches!(error, DecodeError::Malformed(_)));
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod call;
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
pub mod presence;
mod visible;

pub use code::{Code, UnknownCode};
pub use denial::Denial;
pub use features::Features;
pub use format::{PayloadFormat, UnknownFormat};
pub use frame::{
    ClientFrame, Credential, ExpiryScope, Message, Send, Sender, ServerFrame, Target, Token, Welcome,
};
pub use id::{ConnectionId, ParseConnectionIdError, RequestId};
pub use limits::Limits;
pub use name::{EventName, GroupName, MethodName, NameError, UserName};
pub use pattern::Pattern;
pub use payload::Payload;
pub use visible::{quoted, turns, visible};

/// The version of the protocol that this crate speaks; the first field of `Hello` and of `Welcome`.
pub const PROTOCOL_VERSION: u32 = 1;

/// The path of the WebTransport session that browsers ask for.
pub const WEBTRANSPORT_PATH: &str = "/fanfare";

/// The path of a WebSocket with this protocol's frames, for clients that UDP does not reach.
pub const WEBSOCKET_PATH: &str = "/fanfare";

/// The WebSocket subprotocol that such a client offers, and the server chooses.
pub const WEBSOCKET_PROTOCOL: &str = "fanfare.1";

/// The longest WebSocket message that either end sends, in bytes.
pub const WEBSOCKET_MESSAGE_BYTES: usize = 64 * 1024;

/// The most bytes that a frame in a datagram has, its length prefix not counted. It fits the smallest packet that QUIC
/// works over (1,200 bytes, RFC 9000 section 14) behind QUIC's and WebTransport's headers, so that it fits every path.
pub const DATAGRAM_BYTES: usize = 1_100;

/// The ALPN protocol id of native QUIC clients (RFC 7301, RFC 9001 section 8.1).
pub const ALPN: &[u8] = b"fanfare/1";
