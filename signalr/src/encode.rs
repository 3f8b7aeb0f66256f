//! What a server says, in bytes.
//!
//! In: ids, names and values. Out: one whole message each, which may be put behind others in one WebSocket message, and
//! never be cut: a piece of one ends a JavaScript client's connection. Text frames for JSON, binary ones for
//! MessagePack ([`Encoding::is_text`]).
//!
//! Invariants, each because of a client that would end its connection otherwise:
//! - in JSON nothing is said that is not there: no null but a result's or an item's, no headers, no empty id;
//! - an error and a result are never in one message, and an error is never empty;
//! - in MessagePack an invocation has six elements, and a close three;
//! - names and errors are written as they are, in their upper and lower case.
//!
//! A message has the encoding of the value that is in it, so nothing here can fail: who has a value in another encoding
//! changes it first, once for all recipients.
//!
//! There is no message to cancel what a client was asked for, although the specification has one: .NET's client and
//! Java's end their connection when they get it, and no client obeys it. A client that streams to a call is told to
//! stop by the call's completion.

mod json;
mod message_pack;

use bytes::Bytes;

use crate::texts::NO_REASON;
use crate::{Arguments, Encoding, Value};

/// Type 1: calls a method on a client.
///
/// `id` asks for a completion; [`result_id`] makes one. An empty one counts as none. `target` must not be empty:
/// JavaScript clients end their connection for that.
///
/// ```
/// use fanfare_signalr::{Arguments, Encoding, encode};
///
/// let arguments = Arguments::new(Encoding::Json, r#"["hello"]"#)?;
/// let message = encode::invocation(None, "Send", &arguments);
/// assert_eq!(message, "{\"type\":1,\"target\":\"Send\",\"arguments\":[\"hello\"]}\x1e");
/// # Ok::<(), fanfare_signalr::SyntaxError>(())
/// ```
#[must_use]
pub fn invocation(id: Option<&str>, target: &str, arguments: &Arguments) -> Bytes {
    let id = id.filter(|id| !id.is_empty());
    match arguments.encoding() {
        Encoding::Json => json::invocation(id, target, arguments.raw()),
        Encoding::MessagePack => message_pack::invocation(id, target, arguments.raw()),
    }
}

/// Type 2: the next item of the stream that a client asked for by this id.
#[must_use]
pub fn stream_item(id: &str, item: &Value) -> Bytes {
    match item.encoding() {
        Encoding::Json => json::stream_item(id, item.raw()),
        Encoding::MessagePack => message_pack::stream_item(id, item.raw()),
    }
}

/// Type 3: the call is done, and has no result; or the stream has ended.
#[must_use]
pub fn completion(encoding: Encoding, id: &str) -> Bytes {
    match encoding {
        Encoding::Json => json::completion(id),
        Encoding::MessagePack => message_pack::completion(id),
    }
}

/// Type 3: the call is done, and this is its result. One that is null is said, since clients wait for it.
#[must_use]
pub fn completion_with_result(id: &str, result: &Value) -> Bytes {
    match result.encoding() {
        Encoding::Json => json::completion_with_result(id, result.raw()),
        Encoding::MessagePack => message_pack::completion_with_result(id, result.raw()),
    }
}

/// Type 3: the call or the stream has failed. [`texts`](crate::texts) has what SignalR says.
///
/// An empty text would be a success to JavaScript clients, so that it is replaced by [`NO_REASON`].
#[must_use]
pub fn completion_with_error(encoding: Encoding, id: &str, error: &str) -> Bytes {
    let error = if error.is_empty() { NO_REASON } else { error };
    match encoding {
        Encoding::Json => json::completion_with_error(id, error),
        Encoding::MessagePack => message_pack::completion_with_error(id, error),
    }
}

/// Type 6: the server is there.
#[must_use]
pub fn ping(encoding: Encoding) -> Bytes {
    Bytes::from_static(match encoding {
        Encoding::Json => b"{\"type\":6}\x1e",
        Encoding::MessagePack => b"\x02\x91\x06",
    })
}

/// Type 7: the server is going to close the connection. Clients come back by themselves only if `allow_reconnect` is
/// set, and only if their application wants them to.
#[must_use]
pub fn close(encoding: Encoding, error: Option<&str>, allow_reconnect: bool) -> Bytes {
    let error = error.filter(|error| !error.is_empty());
    match encoding {
        Encoding::Json => json::close(error, allow_reconnect),
        Encoding::MessagePack => message_pack::close(error, allow_reconnect),
    }
}

/// The id of the server's own call with this number, which a client's completion then names.
///
/// A client's completions name its streams, too, and those have numbers or UUIDs: the letter keeps the two apart.
#[must_use]
pub fn result_id(number: u64) -> String {
    format!("r{number}")
}

/// The number of the server's own call, if the id is one of [`result_id`].
#[must_use]
pub fn parse_result_id(id: &str) -> Option<u64> {
    let digits = id.strip_prefix('r')?;
    let number = digits.parse().ok()?;
    // One spelling only: no sign, no zeros in front.
    (result_id(number) == id).then_some(number)
}

#[cfg(test)]
mod tests;
