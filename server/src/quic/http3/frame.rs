//! Frames of HTTP/3 on a stream: a type, a length, and so many bytes (RFC 9114 section 7.1).
//!
//! In: a stream. Out: its numbers and its frames, one after the other. Invariant: nothing is kept of a frame whose
//! length its reader has not judged.

use quinn::RecvStream;
use web_transport_proto::VarInt;

pub(super) const DATA: u64 = 0x00;
pub(super) const HEADERS: u64 = 0x01;
pub(super) const CANCEL_PUSH: u64 = 0x03;
pub(super) const SETTINGS: u64 = 0x04;
pub(super) const PUSH_PROMISE: u64 = 0x05;
pub(super) const GOAWAY: u64 = 0x07;
pub(super) const MAX_PUSH_ID: u64 = 0x0d;
/// No frame: what follows it to the end of the stream is a session's (draft-ietf-webtrans-http3, section 4.3).
pub(super) const WEBTRANSPORT: u64 = 0x41;

/// How much is looked at together of what nobody wants.
const CHUNK_BYTES: usize = 4 * 1024;

/// The stream ended in the middle of something, or was reset, or the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

/// Whether HTTP/2 has a frame of this type that HTTP/3 has not (RFC 9114 section 7.2.8).
pub(super) fn is_of_http2(kind: u64) -> bool {
    matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
}

/// The next number; `None` at the stream's end.
pub(super) async fn number(stream: &mut RecvStream) -> Result<Option<u64>, Cut> {
    match VarInt::read_optional(stream).await {
        Ok(number) => Ok(number.map(VarInt::into_inner)),
        Err(_) => Err(Cut),
    }
}

/// The next frame's type and length; `None` at the stream's end.
pub(super) async fn head(stream: &mut RecvStream) -> Result<Option<(u64, u64)>, Cut> {
    let Some(kind) = number(stream).await? else { return Ok(None) };
    Ok(Some((kind, number(stream).await?.ok_or(Cut)?)))
}

/// A frame's bytes. Their number is the caller's to judge.
pub(super) async fn payload(stream: &mut RecvStream, length: usize) -> Result<Vec<u8>, Cut> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.map_err(|_| Cut)?;
    Ok(bytes)
}

/// Passes over a frame's bytes.
pub(super) async fn skip(stream: &mut RecvStream, mut length: u64) -> Result<(), Cut> {
    while length > 0 {
        let most = usize::try_from(length).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let chunk = stream.read_chunk(most, true).await.map_err(|_| Cut)?.ok_or(Cut)?;
        length = length.saturating_sub(chunk.bytes.len() as u64);
    }
    Ok(())
}

/// Appends a number that is below 2^62, as all are that are written here.
pub(super) fn put(number: u64, bytes: &mut Vec<u8>) {
    VarInt::from_u64(number).unwrap_or(VarInt::MAX).encode(bytes);
}

/// A frame.
pub(super) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    put(kind, &mut bytes);
    put(payload.len() as u64, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}
