//! What stands before each message: whose it is, over which connection, the how-many-eth, and what its sender knew.
//!
//! In: a payload. Out: the same behind [`BYTES`] bytes, and back. Invariant: what does not decode, or has not the tag
//! of this bucket's nodes, is no message of a node, and is dropped by whoever asked.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::seal::{Seal, TAG_BYTES};

/// How many bytes are added to each message.
pub const BYTES: usize = PLAIN_BYTES + TAG_BYTES;
/// Those before the tag.
const PLAIN_BYTES: usize = 30;
/// The first byte of what nodes of this version send.
const VERSION: u8 = 2;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 0,
    /// Nothing but the stamp: a connection has begun, and those before it have ended.
    Hello = 1,
    /// Nothing but the stamp, of a node that does not know the bucket's secret yet: for itself alone.
    Probe = 2,
}

/// What stands before a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) kind: Kind,
    /// The sender.
    pub(crate) from: [u8; 4],
    /// The sender's connection. A later one has a greater number.
    pub(crate) epoch: u64,
    /// What is sent over a connection is numbered from 1 on.
    pub(crate) number: u64,
    /// The bucket's revision up to which the sender's watch had told it everything when it sent this; 0: it did not
    /// know yet.
    pub(crate) seen: u64,
}

impl Stamp {
    /// For a node, or for all.
    pub(crate) fn seal(&self, seal: &Seal, to: Option<[u8; 4]>, payload: &[u8]) -> Bytes {
        let mut sealed = BytesMut::with_capacity(BYTES + payload.len());
        sealed.put_u8(VERSION);
        sealed.put_u8(self.kind as u8);
        sealed.put_slice(&self.from);
        sealed.put_u64(self.epoch);
        sealed.put_u64(self.number);
        sealed.put_u64(self.seen);
        let tag = seal.tag(to, &sealed, payload);
        sealed.put_slice(&tag);
        sealed.put_slice(payload);
        sealed.freeze()
    }

    pub(crate) fn open(seal: &Seal, to: Option<[u8; 4]>, sealed: &Bytes) -> Option<(Self, Bytes)> {
        let (plain, rest) = sealed.split_at_checked(PLAIN_BYTES)?;
        let (tag, payload) = rest.split_at_checked(TAG_BYTES)?;
        if !seal.is_right(tag, to, plain, payload) {
            return None;
        }
        let mut plain = plain;
        if plain.get_u8() != VERSION {
            return None;
        }
        let kind = match plain.get_u8() {
            0 => Kind::Message,
            1 => Kind::Hello,
            2 => Kind::Probe,
            _ => return None,
        };
        let mut from = [0; 4];
        plain.copy_to_slice(&mut from);
        let (epoch, number, seen) = (plain.get_u64(), plain.get_u64(), plain.get_u64());
        Some((Self { kind, from, epoch, number, seen }, sealed.slice(BYTES..)))
    }

    /// Whether somebody says of it that it is for its sender alone.
    pub(crate) fn is_probe(sealed: &[u8]) -> bool {
        sealed.len() == BYTES && sealed.starts_with(&[VERSION, Kind::Probe as u8])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> Seal {
        Seal::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(from: [u8; 4], epoch: u64, number: u64, seen: u64, hello: bool, payload: Vec<u8>) {
            let stamp = Stamp { kind: if hello { Kind::Hello } else { Kind::Message }, from, epoch, number, seen };
            let sealed = stamp.seal(&seal(), None, &payload);
            prop_assert_eq!(sealed.len(), payload.len() + BYTES);
            prop_assert_eq!(Stamp::open(&seal(), None, &sealed), Some((stamp, Bytes::from(payload))));
        }

        #[test]
        fn whatever_came_is_opened_or_not(bytes: Vec<u8>) {
            prop_assert!(Stamp::open(&seal(), None, &bytes.into()).is_none());
        }

        #[test]
        fn what_was_changed_anywhere_is_none_of_ours(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
            let stamp = Stamp { kind: Kind::Message, from: [1; 4], epoch: 2, number: 4, seen: 3 };
            let mut sealed = stamp.seal(&seal(), Some([7; 4]), &payload).to_vec();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(Stamp::open(&seal(), Some([7; 4]), &sealed.into()).is_none());
        }
    }

    #[test]
    fn another_version_is_none_of_ours() {
        let tagged = |version: u8, kind: u8| {
            let mut bytes = vec![0; PLAIN_BYTES];
            (bytes[0], bytes[1]) = (version, kind);
            let tag = seal().tag(None, &bytes, b"");
            bytes.extend(tag);
            Stamp::open(&seal(), None, &bytes.into())
        };
        assert!(tagged(VERSION, 0).is_some());
        assert!(tagged(VERSION + 1, 0).is_none());
        assert!(tagged(VERSION, 3).is_none());
    }

    #[test]
    fn a_probe_is_known_by_whoever_cannot_open_it() {
        let stamp = |kind| Stamp { kind, from: [1; 4], epoch: 2, number: 0, seen: 0 };
        let is_probe = |kind, payload: &[u8]| Stamp::is_probe(&stamp(kind).seal(&seal(), None, payload));
        assert!(is_probe(Kind::Probe, b"") && !is_probe(Kind::Probe, b"x") && !is_probe(Kind::Hello, b""));
    }
}
