//! The frame decoder, for both directions: any bytes, in chunks of any size.
//!
//! Holds the codec to this: what it takes it writes again, byte for byte where the bytes were its own; behind any frame
//! that it takes, an extension is skipped or told by its number; how the stream was cut into chunks makes no
//! difference; and no frame is longer than the limit.
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
            let bytes = codec::encode_client(&decoded);
            assert_eq!(codec::decode_client(&extended(&bytes, 250)).as_ref(), Ok(&decoded));
            let critical = codec::decode_client(&extended(&bytes, 249));
            assert!(matches!(critical, Err(DecodeError::ExtensionNotKnown { extension: 249, .. })));
            assert_eq!(codec::decode_client(&bytes.slice(codec::PREFIX_BYTES..)), Ok(decoded));
        }
        if let Ok(decoded) = codec::decode_server(frame) {
            let bytes = codec::encode_server(&decoded);
            assert_eq!(codec::decode_server(&extended(&bytes, 250)).as_ref(), Ok(&decoded));
            let critical = codec::decode_server(&extended(&bytes, 249));
            assert!(matches!(critical, Err(DecodeError::ExtensionNotKnown { extension: 249, .. })));
            assert_eq!(codec::decode_server(&bytes.slice(codec::PREFIX_BYTES..)), Ok(decoded));
        }
    }
});

/// A frame with one extension behind what it has.
fn extended(frame: &Bytes, number: u64) -> Bytes {
    codec::with_extensions(frame, &[(number, b"x")]).slice(codec::PREFIX_BYTES..)
}

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
