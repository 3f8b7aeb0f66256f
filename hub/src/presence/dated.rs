//! What is said of a user, as nodes tell it each other: with when it was said, so that of two nodes' words every node
//! takes the same for the latest.
//!
//! In: a description. Out: a payload that has its order in front, or the two apart again. Invariant: what another node
//! has sent is taken apart, or is none; nothing is guessed.

use bytes::{Buf as _, BufMut as _, BytesMut};
use fanfare_protocol::Payload;
use fanfare_protocol::presence::DESCRIPTION_BYTES;

use crate::member::Description;

/// The order as eight bytes, little-endian, in front of what is said.
pub(super) fn dated(description: &Description) -> Payload {
    let Description { payload, order } = description;
    let mut bytes = BytesMut::with_capacity(size_of::<u64>() + payload.bytes.len());
    bytes.put_u64_le(*order);
    bytes.put_slice(&payload.bytes);
    Payload::new(payload.format, bytes.freeze())
}

/// What was said, and its order. `None` where it is not as [`dated`] makes it, or longer than may be said.
pub(super) fn undated(Payload { format, mut bytes }: Payload) -> Option<Description> {
    let order = bytes.try_get_u64_le().ok().filter(|_| bytes.len() <= DESCRIPTION_BYTES)?;
    Some(Description { payload: Payload::new(format, bytes), order })
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_dated_is_what_was_said_and_when_and_what_is_not_is_nothing() {
        let said = Description { payload: Payload::json("{}"), order: 7 };
        assert_eq!(dated(&said).bytes, b"\x07\0\0\0\0\0\0\0{}".as_slice());
        assert_eq!(undated(dated(&said)), Some(said));
        assert_eq!(undated(Payload::from("short")), None);
        for (bytes, is_some) in [(DESCRIPTION_BYTES, true), (DESCRIPTION_BYTES + 1, false)] {
            let said = Description { payload: Payload::from(vec![0; bytes]), order: 7 };
            assert_eq!(undated(dated(&said)).is_some(), is_some, "{bytes}");
        }
    }
}
