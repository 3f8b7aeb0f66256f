//! Messages: a kind, and what follows it.
//!
//! In: chunks. Out: one message with as much of them as fits. Invariant: none is longer than the protocol allows.

use bytes::{BufMut, Bytes, BytesMut};
use fanfare_protocol::WEBSOCKET_MESSAGE_BYTES as MESSAGE_BYTES;
use tokio_websockets::Message;

/// Bytes of the stream follow.
pub(crate) const STREAM: u8 = 0;
/// A datagram follows.
pub(crate) const DATAGRAM: u8 = 1;
/// The sender's half of the stream has ended.
pub(crate) const END: u8 = 2;

/// A message of a kind with what of `chunks` fits into one, which is taken out.
pub(crate) fn message(kind: u8, chunks: &mut Vec<Bytes>) -> Message {
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    let mut payload = BytesMut::with_capacity(MESSAGE_BYTES.min(bytes + 1));
    payload.put_u8(kind);
    let mut whole = 0;
    for chunk in chunks.iter_mut() {
        let room = MESSAGE_BYTES - payload.len();
        if chunk.len() > room {
            payload.put(chunk.split_to(room));
            break;
        }
        payload.put_slice(chunk);
        whole += 1;
    }
    chunks.drain(..whole);
    Message::binary(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_one_message_stays_for_the_next() {
        let whole: Vec<u8> = (0..150_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let mut chunks: Vec<Bytes> = whole.chunks(7_000).map(Bytes::copy_from_slice).collect();
        let (mut said, mut lengths) = (Vec::new(), Vec::new());
        while !chunks.is_empty() {
            let payload = Bytes::from(message(STREAM, &mut chunks).into_payload());
            let (kind, bytes) = payload.split_first().unwrap();
            assert_eq!(*kind, STREAM);
            lengths.push(payload.len());
            said.extend_from_slice(bytes);
        }
        assert_eq!(said, whole);
        assert_eq!(lengths, [MESSAGE_BYTES, MESSAGE_BYTES, 150_000 - 2 * (MESSAGE_BYTES - 1) + 1]);
    }
}
