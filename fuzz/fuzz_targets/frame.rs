//! The frame decoder, for both directions: any bytes, in chunks of any size.
//!
//! Holds the codec to this: what it takes it writes again, byte for byte where the bytes were its own; how the stream was
//! cut into chunks makes no difference; and no frame is longer than the limit.
#![no_main]

use bytes::Bytes;
use fanfare_protocol::codec::{self, DecodeError, FrameReader};
use libfuzzer_sys::fuzz_target;

const LIMIT: u32 = 4_096;

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, stream) = input;
    let whole = frames(stream, stream.len());
    assert_eq!(whole, frames(stream, usize::from(chunk)), "cutting the stream changed what is in it");
    for frame in &whole.0 {
        assert!(frame.len() <= LIMIT as usize);
        if let Ok(decoded) = codec::decode_client(frame) {
            let bytes = codec::encode_client(&decoded).slice(codec::PREFIX_BYTES..);
            assert_eq!(codec::decode_client(&bytes), Ok(decoded));
        }
        if let Ok(decoded) = codec::decode_server(frame) {
            let bytes = codec::encode_server(&decoded).slice(codec::PREFIX_BYTES..);
            assert_eq!(codec::decode_server(&bytes), Ok(decoded));
        }
    }
});

fn frames(stream: &[u8], chunk: usize) -> (Vec<Bytes>, Option<DecodeError>) {
    let mut reader = FrameReader::new(LIMIT);
    let mut found = Vec::new();
    for chunk in stream.chunks(chunk.max(1)) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            match reader.next_frame(&mut chunk) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}
