//! What the codec allocates, as the allocator counts it: bounded by what came in, and by the limits, whatever the bytes
//! say of themselves.
//!
//! In: streams that are made to cost much. Out: how many bytes were allocated in all, those that were given back
//! included.
#![cfg(not(target_env = "msvc"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

use bytes::Bytes;
use fanfare_signalr::handshake::HandshakeReader;
use fanfare_signalr::{Arguments, Decoder, Encoding, Limits, Message};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many bytes this thread allocated meanwhile.
fn allocated<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let counter = tikv_jemalloc_ctl::thread::allocatedp::read().unwrap();
    let before = counter.get();
    let result = act();
    (result, usize::try_from(counter.get() - before).unwrap())
}

const LIMITS: Limits = Limits { message_bytes: 32_768, depth: 64, id_bytes: 128, streams: 16 };

/// Decodes a stream and throws away what is in it; whether it went well.
fn decode(encoding: Encoding, chunks: Vec<Bytes>) -> bool {
    let mut decoder = Decoder::new(encoding, LIMITS);
    for mut chunk in chunks {
        loop {
            match decoder.next_message(&mut chunk) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
        }
    }
    true
}

fn pieces(stream: &[u8], size: usize) -> Vec<Bytes> {
    stream.chunks(size).map(Bytes::copy_from_slice).collect()
}

#[test]
fn a_length_that_is_only_claimed_allocates_nothing() {
    for (encoding, stream, why) in [
        (Encoding::MessagePack, &b"\xff\xff\xff\xff\x07\x91\x06"[..], "2 GiB in front of the message"),
        (Encoding::MessagePack, b"\xff\xff\xff\xff\xff\xff\xff", "a length without an end"),
        (Encoding::MessagePack, b"\x06\xdd\xff\xff\xff\xff\x06", "an array of 4 G elements"),
        (Encoding::MessagePack, b"\x08\x92\x06\xdf\xff\xff\xff\xff\xc0", "a map of 4 G keys"),
        (Encoding::MessagePack, b"\x08\x92\x06\xdb\xff\xff\xff\xffx", "a text of 4 GiB"),
        (Encoding::MessagePack, b"\x0b\x96\x01\x80\xc0\xa1a\x90\xdd\xff\xff\xff\xff", "4 G streams"),
    ] {
        let chunks = vec![Bytes::copy_from_slice(stream)];
        let (went_well, bytes) = allocated(|| decode(encoding, chunks));
        assert!(!went_well, "{why}");
        assert!(bytes < 1_024, "{why}: {bytes} bytes");
    }
}

#[test]
fn what_is_decoded_costs_a_fixed_multiple_of_its_length() {
    let deep = format!("{{\"type\":2,\"item\":{}", "[".repeat(30_000));
    let wide = format!("{{\"type\":1,\"target\":\"a\",\"arguments\":[{}1]}}\x1e", "1,".repeat(16_000));
    let headers = format!("{{\"type\":6,\"headers\":{{{}\"a\":1}}}}\x1e", "\"a\":1,".repeat(5_000));
    let escaped = format!("{{\"type\":7,\"error\":\"{}\"}}\x1e", "\\u00e9".repeat(5_000));
    let names = format!("{{{}\"type\":6}}\x1e", "\"\\u0061\":0,".repeat(2_900));
    let packed = |body: &[u8]| {
        let length = body.len();
        assert!((128..16_384).contains(&length));
        let prefix = [length & 0x7f | 0x80, length >> 7].map(|byte| u8::try_from(byte).unwrap());
        [&prefix[..], body].concat()
    };
    let wide_packed = packed(&[&b"\x96\x01\x80\xc0\xa1a\xdc\x3a\x98"[..], &[1; 15_000], b"\x90"].concat());
    let deep_packed = packed(&[&b"\x92\x06"[..], &[0x91; 15_000]].concat());
    for (encoding, stream, why) in [
        (Encoding::Json, deep.as_bytes(), "brackets"),
        (Encoding::Json, wide.as_bytes(), "arguments"),
        (Encoding::Json, headers.as_bytes(), "headers"),
        (Encoding::Json, escaped.as_bytes(), "escapes"),
        (Encoding::Json, names.as_bytes(), "names with escapes"),
        (Encoding::MessagePack, &wide_packed, "arguments"),
        (Encoding::MessagePack, &deep_packed, "brackets"),
    ] {
        for size in [1, 1_000, stream.len()] {
            let chunks = pieces(stream, size);
            let (_, bytes) = allocated(|| decode(encoding, chunks));
            // Putting a message together doubles its buffer; an escaped text is copied twice as it grows.
            assert!(
                bytes <= stream.len() * 6 + 4_096,
                "{encoding}, {why}, {size}: {bytes} of {}",
                stream.len()
            );
        }
    }
}

#[test]
fn what_never_ends_is_kept_up_to_the_limit() {
    let chunks = vec![Bytes::from(vec![b' '; 1_000]); 1_000];
    let copy = chunks.clone();
    let (went_well, bytes) = allocated(|| decode(Encoding::Json, copy));
    assert!(!went_well && bytes < 4 * LIMITS.message_bytes, "{bytes}");

    let (refused, bytes) = allocated(|| {
        let mut reader = HandshakeReader::default();
        chunks.iter().map(|chunk| reader.read(&mut chunk.clone())).any(|read| read.is_err())
    });
    assert!(refused && bytes < 32_768, "{bytes}");
}

#[test]
fn an_argument_is_read_and_converted_without_a_tree() {
    let array = format!("[{}]", vec!["0"; 16_000].join(","));
    let arguments = Arguments::new(Encoding::Json, array.clone()).unwrap();
    let (count, bytes) = allocated(|| arguments.iter().filter(|value| value.as_i64() == Some(0)).count());
    assert_eq!((count, bytes), (16_000, 0));
    let (packed, bytes) = allocated(|| arguments.to_encoding(Encoding::MessagePack).unwrap());
    assert!(bytes <= array.len() * 3, "{bytes}");

    // Control characters: six bytes for one.
    let text = Bytes::from([&b"\x91\xda\x3a\x98"[..], &[1; 15_000]].concat());
    let arguments = Arguments::new(Encoding::MessagePack, text.clone()).unwrap();
    let (json, bytes) = allocated(|| arguments.to_encoding(Encoding::Json).unwrap());
    assert!(json.raw().len() <= text.len() * 6, "{}", json.raw().len());
    assert!(bytes <= text.len() * 20, "{bytes}");
    drop(packed);
}

#[test]
fn a_message_keeps_nothing_but_its_chunk() {
    let stream = b"{\"type\":1,\"target\":\"Send\",\"arguments\":[\"text\"]}\x1e";
    let mut chunk = Bytes::copy_from_slice(stream);
    let mut decoder = Decoder::new(Encoding::Json, LIMITS);
    let (message, bytes) = allocated(|| decoder.next_message(&mut chunk).unwrap().unwrap());
    assert!(matches!(message, Message::Invocation { .. }));
    // The target, and who shares the chunk.
    assert!(bytes <= 64, "{bytes}");
}
