//! Messages in MessagePack (`HubProtocol.md`, "MessagePack (MsgPack) encoding").
//!
//! In: what is in a message. Out: an array, and its length in front of it. Invariant: headers are an empty map.

use bytes::Bytes;

use crate::packer::Packer;

/// The most bytes that a length in front of a message has.
const PREFIX_BYTES: usize = 5;
/// What a message has beyond its id, its target and its value, at most.
const AROUND: usize = 24;

pub(super) fn invocation(id: Option<&str>, target: &str, arguments: &[u8]) -> Bytes {
    let mut message = start(6, 1, id.map_or(0, str::len) + target.len() + arguments.len());
    message.map(0);
    match id {
        Some(id) => message.text(id),
        None => message.nil(),
    }
    message.text(target);
    message.raw(arguments);
    message.array(0);
    end(message)
}

pub(super) fn stream_item(id: &str, item: &[u8]) -> Bytes {
    let mut message = start(4, 2, id.len() + item.len());
    message.map(0);
    message.text(id);
    message.raw(item);
    end(message)
}

pub(super) fn completion(id: &str) -> Bytes {
    let mut message = start(4, 3, id.len());
    message.map(0);
    message.text(id);
    message.unsigned(2);
    end(message)
}

pub(super) fn completion_with_result(id: &str, result: &[u8]) -> Bytes {
    let mut message = start(5, 3, id.len() + result.len());
    message.map(0);
    message.text(id);
    message.unsigned(3);
    message.raw(result);
    end(message)
}

pub(super) fn completion_with_error(id: &str, error: &str) -> Bytes {
    let mut message = start(5, 3, id.len() + error.len());
    message.map(0);
    message.text(id);
    message.unsigned(1);
    message.text(error);
    end(message)
}

pub(super) fn close(error: Option<&str>, allow_reconnect: bool) -> Bytes {
    let mut message = start(3, 7, error.map_or(0, str::len));
    match error {
        Some(error) => message.text(error),
        None => message.nil(),
    }
    message.bool(allow_reconnect);
    end(message)
}

fn start(elements: usize, kind: u64, capacity: usize) -> Packer {
    let mut message = Packer::new(PREFIX_BYTES, AROUND + capacity);
    message.array(elements);
    message.unsigned(kind);
    message
}

/// Puts the length in front: seven bits a byte, the lowest first; the eighth says that another follows. It is known
/// only now, so that there is room for the longest, and the message begins behind what is not needed of it.
fn end(message: Packer) -> Bytes {
    let mut bytes = message.into_bytes();
    let mut length = bytes.len().saturating_sub(PREFIX_BYTES);
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        prefix.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    let unused = PREFIX_BYTES.saturating_sub(prefix.len());
    for (place, byte) in bytes.iter_mut().skip(unused).zip(prefix) {
        *place = byte;
    }
    Bytes::from(bytes).slice(unused..)
}
