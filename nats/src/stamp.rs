//! What stands before each message: whose it is, over which connection, and what its sender knew.
//!
//! In: a payload. Out: the same behind [`BYTES`] bytes, and back. Invariant: what does not decode is no message of a
//! node of this version, and is dropped by whoever asked.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// How many bytes are added to each message.
pub const BYTES: usize = 22;
/// The first byte of what nodes of this version send.
const VERSION: u8 = 1;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 0,
    /// Nothing but the stamp: a connection has begun, and those before it have ended.
    Hello = 1,
}

/// What stands before a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) kind: Kind,
    /// The sender.
    pub(crate) from: [u8; 4],
    /// The sender's connection. A later one has a greater number.
    pub(crate) epoch: u64,
    /// The bucket's revision up to which the sender's watch had told it everything when it sent this; 0: it did not
    /// know yet.
    pub(crate) seen: u64,
}

impl Stamp {
    pub(crate) fn seal(&self, payload: &[u8]) -> Bytes {
        let mut sealed = BytesMut::with_capacity(BYTES + payload.len());
        sealed.put_u8(VERSION);
        sealed.put_u8(self.kind as u8);
        sealed.put_slice(&self.from);
        sealed.put_u64(self.epoch);
        sealed.put_u64(self.seen);
        sealed.put_slice(payload);
        sealed.freeze()
    }

    pub(crate) fn open(mut sealed: Bytes) -> Option<(Self, Bytes)> {
        if sealed.len() < BYTES || sealed.get_u8() != VERSION {
            return None;
        }
        let kind = match sealed.get_u8() {
            0 => Kind::Message,
            1 => Kind::Hello,
            _ => return None,
        };
        let mut from = [0; 4];
        sealed.copy_to_slice(&mut from);
        let (epoch, seen) = (sealed.get_u64(), sealed.get_u64());
        Some((Self { kind, from, epoch, seen }, sealed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_sealed_opens(from: [u8; 4], epoch: u64, seen: u64, hello: bool, payload: Vec<u8>) {
            let stamp = Stamp { kind: if hello { Kind::Hello } else { Kind::Message }, from, epoch, seen };
            let sealed = stamp.seal(&payload);
            prop_assert_eq!(sealed.len(), payload.len() + BYTES);
            prop_assert_eq!(Stamp::open(sealed), Some((stamp, Bytes::from(payload))));
        }

        #[test]
        fn whatever_came_is_opened_or_not(bytes: Vec<u8>) {
            let _ = Stamp::open(bytes.into());
        }
    }

    #[test]
    fn another_version_is_none_of_ours() {
        let stamp = Stamp { kind: Kind::Message, from: [1; 4], epoch: 2, seen: 3 };
        let sealed = stamp.seal(b"x");
        let with = |at: usize, byte: u8| {
            let mut bytes = sealed.to_vec();
            bytes[at] = byte;
            Stamp::open(bytes.into())
        };
        assert!(with(0, VERSION).is_some());
        assert!(with(0, VERSION + 1).is_none());
        assert!(with(1, 2).is_none());
    }
}
