//! SignalR's wire: negotiation, handshake, and hub messages in JSON and MessagePack.
//!
//! It is the side of a server: it reads what clients say and writes what servers do. It does no I/O, has no runtime,
//! reads no clock and logs nothing. The specifications are `src/SignalR/docs/specs/HubProtocol.md` and
//! `TransportProtocols.md` of dotnet/aspnetcore; where the clients are stricter, or odder, they win, and a comment says
//! which.
//!
//! # The types
//!
//! - [`negotiate`] has the answer to a client's first request, over HTTP.
//! - [`handshake`] has the first message of a connection, which chooses an [`Encoding`], and its answer.
//! - [`Decoder`] cuts a client's bytes into [`Message`]s, within [`Limits`].
//! - [`Arguments`] and [`Value`] are what applications put into messages: well-formed, and otherwise not looked at. One
//!   goes from a client to another as the bytes that came.
//! - [`encode`] makes a server's messages, and [`texts`] has the words for its errors.
//!
//! # Example
//!
//! A client calls a method, and is answered:
//!
//! ```
//! use bytes::Bytes;
//! use fanfare_signalr::handshake::{self, HandshakeReader};
//! use fanfare_signalr::{Decoder, Limits, Message, Value, encode, texts};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // What comes over a WebSocket, in whatever pieces.
//! let mut chunk = Bytes::from_static(
//!     b"{\"protocol\":\"json\",\"version\":1}\x1e\
//!       {\"arguments\":[40,2],\"invocationId\":\"0\",\"target\":\"Add\",\"type\":1}\x1e",
//! );
//! let handshake = HandshakeReader::default().read(&mut chunk)?.ok_or("a whole request")?;
//! let mut answers = vec![handshake::accepted()];
//!
//! let mut decoder = Decoder::new(handshake.encoding, Limits::default());
//! while let Some(message) = decoder.next_message(&mut chunk)? {
//!     let Message::Invocation { id: Some(id), target, arguments, .. } = message else { continue };
//!     let sum = arguments.i64(0).and_then(|first| Ok(first.saturating_add(arguments.i64(1)?)));
//!     answers.push(match sum {
//!         Ok(sum) => encode::completion_with_result(&id, &Value::new(handshake.encoding, sum.to_string())?),
//!         Err(_) => encode::completion_with_error(handshake.encoding, &id, &texts::arguments_refused(&target)),
//!     });
//! }
//! assert_eq!(answers, ["{}\x1e", "{\"type\":3,\"invocationId\":\"0\",\"result\":42}\x1e"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Whatever bytes a client sends, what is kept and what is allocated is bounded by [`Limits::message_bytes`], and
//!   nothing recurses deeper than [`Limits::depth`].
//! - An [`Arguments`] or a [`Value`] can stand in any message to any client: there is no way to make one that is not
//!   well-formed, is too deep, or has half a surrogate pair or a text that is not UTF-8 in it.
//! - Headers are stepped over and not kept, and no error repeats what a client sent: clients put tokens there.
//!
//! # Conversion
//!
//! [`Arguments::to_encoding`] and [`Value::to_encoding`] change the encoding, so that clients of both can be in one
//! group. What has a counterpart becomes that. The rest:
//!
//! | MessagePack | JSON |
//! | --- | --- |
//! | binary | a text in base64 (RFC 4648 section 4), as .NET has it |
//! | timestamp (extension -1) | a text like `2018-01-02T03:04:05.678Z` (RFC 3339, UTC); years 0 to 9999, or an error |
//! | other extensions | `[type, "base64"]`, as MessagePack-CSharp shows them |
//! | infinity, not a number | `null`, as browsers have it |
//! | a key that is a number, nil, true or false | its JSON as a text |
//! | a key that is binary or a timestamp | as above |
//! | a key that is an array, a map or another extension | an error |
//!
//! | JSON | MessagePack |
//! | --- | --- |
//! | a number without a point or an exponent | an integer in its shortest form; beyond 64 bits, a float |
//! | another number | a float of 64 bits |
//! | a text | a text, also where it looks like base64 or a date |
//!
//! Members of an object keep their order, and one that is there twice stays so. What comes out is at most seven times
//! as long as what went in.

mod arguments;
mod convert;
mod decoder;
pub mod encode;
mod encoding;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handshake;
mod json;
mod limits;
mod message;
mod message_pack;
pub mod negotiate;
mod object;
mod packer;
mod read;
pub mod texts;
mod value;

pub use arguments::Arguments;
pub use decoder::Decoder;
pub use encoding::Encoding;
pub use error::{ArgumentError, ConversionError, DecodeError, Problem, ShapeError, SyntaxError};
pub use limits::Limits;
pub use message::{Message, Outcome};
pub use value::Value;
