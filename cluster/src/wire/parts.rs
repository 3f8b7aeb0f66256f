//! What messages between nodes are made of: numbers, names, lists of them.
//!
//! In: values, or bytes that anybody may have sent. Out: the other of the two. Invariant: nothing is allocated for a
//! count before there are as many bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fanfare_protocol::GroupName;

use super::error::WireError;
use crate::topic::TopicNumber;

pub(super) fn numbers(bytes: &mut BytesMut, topics: &[TopicNumber]) {
    // A batch is far shorter.
    let count = u32::try_from(topics.len()).unwrap_or(u32::MAX);
    bytes.put_u32_le(count);
    topics.iter().take(count as usize).for_each(|topic| bytes.put_u64_le(topic.0));
}

/// A name: at most 256 bytes.
pub(super) fn name(bytes: &mut BytesMut, name: &str) {
    bytes.put_u16_le(u16::try_from(name.len()).unwrap_or(u16::MAX));
    bytes.put_slice(name.as_bytes());
}

pub(super) const SHORT: WireError = WireError::Malformed("it ends too early");

pub(super) fn byte(rest: &mut Bytes) -> Result<u8, WireError> {
    rest.try_get_u8().map_err(|_| SHORT)
}

pub(super) fn number(rest: &mut Bytes) -> Result<u64, WireError> {
    rest.try_get_u64_le().map_err(|_| SHORT)
}

pub(super) fn array<const N: usize>(rest: &mut Bytes) -> Result<[u8; N], WireError> {
    let mut array = [0; N];
    rest.try_copy_to_slice(&mut array).map_err(|_| SHORT)?;
    Ok(array)
}

pub(super) fn topics(rest: &mut Bytes) -> Result<Vec<TopicNumber>, WireError> {
    let count = rest.try_get_u32_le().map_err(|_| SHORT)? as usize;
    // Before anything is allocated for them.
    if rest.len() / 8 < count {
        return Err(SHORT);
    }
    (0..count).map(|_| number(rest).map(TopicNumber)).collect()
}

pub(super) fn text<'a>(rest: &mut Bytes, name: &'a mut Bytes) -> Result<&'a str, WireError> {
    let length = usize::from(rest.try_get_u16_le().map_err(|_| SHORT)?);
    if rest.len() < length {
        return Err(SHORT);
    }
    *name = rest.split_to(length);
    std::str::from_utf8(name).map_err(|_| WireError::Malformed("a name in it is no text"))
}

pub(super) fn groups(rest: &mut Bytes) -> Result<Vec<GroupName>, WireError> {
    let (count, mut name) = (rest.try_get_u16_le().map_err(|_| SHORT)?, Bytes::new());
    let read = |_| {
        GroupName::new(text(rest, &mut name)?)
            .map_err(|_| WireError::Malformed("a group in it has no possible name"))
    };
    (0..count).map(read).collect()
}
