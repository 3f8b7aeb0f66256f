//! Messages in JSON (`HubProtocol.md`, "JSON Encoding").
//!
//! In: what is in a message. Out: an object, and the 0x1E behind it. Invariant: what is not there has no member.

use bytes::Bytes;

use crate::json::{RECORD_SEPARATOR, push_string};

/// What a message has beyond its id, its target and its value, at most.
const AROUND: usize = 64;

/// An object that is being written.
struct Object(Vec<u8>);

impl Object {
    fn new(start: &str, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(AROUND + capacity);
        out.extend_from_slice(start.as_bytes());
        Self(out)
    }

    fn raw(mut self, start: &str, value: &[u8]) -> Self {
        self.0.extend_from_slice(start.as_bytes());
        self.0.extend_from_slice(value);
        self
    }

    fn text(mut self, start: &str, text: &str) -> Self {
        self.0.extend_from_slice(start.as_bytes());
        push_string(&mut self.0, text);
        self
    }

    fn optional(self, start: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(start, text),
            None => self,
        }
    }

    fn end(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.push(RECORD_SEPARATOR);
        self.0.into()
    }
}

pub(super) fn invocation(id: Option<&str>, target: &str, arguments: &[u8]) -> Bytes {
    let capacity = id.map_or(0, str::len) + target.len() + arguments.len();
    let object = Object::new("{\"type\":1", capacity).optional(",\"invocationId\":", id);
    object.text(",\"target\":", target).raw(",\"arguments\":", arguments).end()
}

pub(super) fn stream_item(id: &str, item: &[u8]) -> Bytes {
    let object = Object::new("{\"type\":2", id.len() + item.len());
    object.text(",\"invocationId\":", id).raw(",\"item\":", item).end()
}

pub(super) fn completion(id: &str) -> Bytes {
    Object::new("{\"type\":3", id.len()).text(",\"invocationId\":", id).end()
}

pub(super) fn completion_with_result(id: &str, result: &[u8]) -> Bytes {
    let object = Object::new("{\"type\":3", id.len() + result.len());
    object.text(",\"invocationId\":", id).raw(",\"result\":", result).end()
}

pub(super) fn completion_with_error(id: &str, error: &str) -> Bytes {
    let object = Object::new("{\"type\":3", id.len() + error.len());
    object.text(",\"invocationId\":", id).text(",\"error\":", error).end()
}

pub(super) fn close(error: Option<&str>, allow_reconnect: bool) -> Bytes {
    let object = Object::new("{\"type\":7", error.map_or(0, str::len)).optional(",\"error\":", error);
    if allow_reconnect { object.raw(",\"allowReconnect\":", b"true").end() } else { object.end() }
}
