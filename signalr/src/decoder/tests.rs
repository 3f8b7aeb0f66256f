//! The decoder's tests: the specification's examples, what clients do beyond them, and bytes that are no messages.

mod clients;
mod malformed;
mod specification;

use proptest::prelude::*;

use super::*;
use crate::{Arguments, Outcome, Problem, ShapeError, SyntaxError, Value};

/// All messages of a stream that comes in chunks of this size, and the error that it ends with.
pub(super) fn chunked(
    encoding: Encoding,
    limits: Limits,
    stream: &[u8],
    chunk: usize,
) -> (Vec<Message>, Option<DecodeError>) {
    let mut decoder = Decoder::new(encoding, limits);
    let mut found = Vec::new();
    for chunk in stream.chunks(chunk.max(1)) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            match decoder.next_message(&mut chunk) {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(chunk.is_empty());
        assert!(decoder.buffered() <= limits.message_bytes + PREFIX_BYTES);
    }
    (found, None)
}

fn with_prefix(body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[u8::try_from(body.len()).unwrap()], body].concat()
}

/// One message in JSON, without what is behind it.
fn json(text: &str) -> Result<Message, DecodeError> {
    one(Encoding::Json, format!("{text}\x1e").as_bytes())
}

/// One message in MessagePack, without its length.
fn packed(body: &[u8]) -> Result<Message, DecodeError> {
    one(Encoding::MessagePack, &with_prefix(body))
}

fn one(encoding: Encoding, stream: &[u8]) -> Result<Message, DecodeError> {
    let (mut found, error) = chunked(encoding, Limits::default(), stream, stream.len());
    match error {
        Some(error) => Err(error),
        None => {
            assert_eq!(found.len(), 1);
            Ok(found.remove(0))
        }
    }
}

fn arguments(text: &'static str) -> Arguments {
    Arguments::new(Encoding::Json, text).unwrap()
}

fn packed_arguments(bytes: &'static [u8]) -> Arguments {
    Arguments::new(Encoding::MessagePack, bytes).unwrap()
}

#[test]
fn a_message_in_one_chunk_is_a_slice_of_the_chunk() {
    let json = Bytes::from_static(b"{\"type\":1,\"target\":\"a\",\"arguments\":[1]}\x1e");
    let packed = Bytes::from(with_prefix(b"\x96\x01\x80\xc0\xa1a\x91\x2a\x90"));
    for (encoding, mut chunk) in [(Encoding::Json, json), (Encoding::MessagePack, packed)] {
        let range = chunk.as_ptr_range();
        let message = Decoder::new(encoding, Limits::default()).next_message(&mut chunk);
        let Ok(Some(Message::Invocation { arguments, .. })) = message else { panic!("{message:?}") };
        assert!(range.contains(&arguments.raw().as_ptr()), "the arguments were copied");
        assert!(chunk.is_empty());
    }
}

#[test]
fn a_length_is_checked_before_anything_is_kept() {
    let limits = Limits { message_bytes: 200, ..Limits::default() };
    let mut decoder = Decoder::new(Encoding::MessagePack, limits);
    // 201 bytes are announced.
    let mut chunk = Bytes::from_static(b"\xc9\x01\x91");
    assert_eq!(decoder.next_message(&mut chunk), Err(DecodeError::TooLong { limit: 200 }));
    assert_eq!(decoder.buffered(), 0);

    // The same with the length spread over two chunks.
    let mut decoder = Decoder::new(Encoding::MessagePack, limits);
    assert_eq!(decoder.next_message(&mut Bytes::from_static(b"\xc9")), Ok(None));
    assert!(decoder.next_message(&mut Bytes::from_static(b"\x01\x91")).is_err());

    let mut decoder = Decoder::new(Encoding::Json, limits);
    assert_eq!(decoder.next_message(&mut Bytes::from(vec![b' '; 200])), Ok(None));
    assert_eq!(decoder.buffered(), 200);
    let error = DecodeError::TooLong { limit: 200 };
    assert_eq!(decoder.next_message(&mut Bytes::from_static(b" ")), Err(error));
    assert_eq!(decoder.buffered(), 0);
    // After that there is nothing but that.
    assert_eq!(decoder.next_message(&mut Bytes::from_static(b"{\"type\":6}\x1e")), Err(error));
    assert!(!decoder.is_between_messages());
}

#[test]
fn the_longest_message_is_taken() {
    for bytes in [127, 128, 16_383, 16_384, 32_768] {
        let limits = Limits { message_bytes: bytes, ..Limits::default() };
        let padded = format!("{:<bytes$}\x1e", "{\"type\":6}");
        assert_eq!(chunked(Encoding::Json, limits, padded.as_bytes(), 1_000).0, [Message::Ping]);

        // A completion whose result is as long as it has to be.
        let filler = vec![0; bytes - 8];
        let result = Value::binary(Encoding::MessagePack, &filler);
        let excess = crate::encode::completion_with_result("1", &result);
        let result = Value::binary(Encoding::MessagePack, &filler[..filler.len().saturating_sub(8)]);
        let message = crate::encode::completion_with_result("1", &result);
        for stream in [excess, message] {
            let body = stream.len() - prefix_length(&stream);
            let (found, error) = chunked(Encoding::MessagePack, limits, &stream, 999);
            assert_eq!(found.len() == 1 && error.is_none(), body <= bytes, "{body} of {bytes}");
        }
    }
}

fn prefix_length(stream: &[u8]) -> usize {
    stream.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}

#[test]
fn many_messages_are_taken_from_one_chunk_and_one_from_many() {
    let json = b"{\"type\":6}\x1e{\"type\":5,\"invocationId\":\"1\"}\x1e{\"type\":7}\x1e";
    let packed = b"\x02\x91\x06\x05\x93\x05\x80\xa11\x03\x92\x07\xc0";
    let expected = [
        Message::Ping,
        Message::CancelInvocation { id: "1".to_owned() },
        Message::Close { error: None, allow_reconnect: false },
    ];
    for chunk in 1..json.len() + 1 {
        assert_eq!(chunked(Encoding::Json, Limits::default(), json, chunk), (expected.to_vec(), None));
    }
    for chunk in 1..packed.len() + 1 {
        assert_eq!(
            chunked(Encoding::MessagePack, Limits::default(), packed, chunk),
            (expected.to_vec(), None)
        );
    }
}

/// What a server and a client say alike, as the client says it.
fn any_stream(encoding: Encoding) -> impl Strategy<Value = Vec<u8>> {
    let text = "\\PC{0,20}";
    let value = text.prop_map(move |text| Value::text(encoding, &text));
    let message =
        (0..7u8, "\\PC{1,20}", text, value, any::<bool>()).prop_map(move |(kind, id, text, value, yes)| {
            match kind {
                0 => crate::encode::invocation(yes.then_some(&id), &id, &Arguments::of(&value).unwrap()),
                1 => crate::encode::stream_item(&id, &value),
                2 => crate::encode::completion(encoding, &id),
                3 => crate::encode::completion_with_result(&id, &value),
                4 => crate::encode::completion_with_error(encoding, &id, &text),
                5 => crate::encode::ping(encoding),
                _ => crate::encode::close(encoding, yes.then_some(&text), yes),
            }
        });
    prop::collection::vec(message, 0..8).prop_map(|messages| messages.concat())
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_yields_the_same_messages(
        json in any_stream(Encoding::Json),
        packed in any_stream(Encoding::MessagePack),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
        sizes in prop::collection::vec(1..40usize, 1..20),
    ) {
        let limits = Limits { message_bytes: 100, ..Limits::default() };
        for (encoding, stream) in [(Encoding::Json, json), (Encoding::MessagePack, packed)] {
            for stream in [stream.clone(), [stream, garbage.clone()].concat()] {
                let whole = chunked(encoding, limits, &stream, stream.len());
                prop_assert_eq!(&whole, &chunked(encoding, limits, &stream, 1));
                // And in pieces of different sizes.
                let mut decoder = Decoder::new(encoding, limits);
                let (mut rest, mut found, mut error) = (Bytes::from(stream), Vec::new(), None);
                for size in sizes.iter().cycle() {
                    if rest.is_empty() || error.is_some() {
                        break;
                    }
                    let mut chunk = rest.split_to((*size).min(rest.len()));
                    loop {
                        match decoder.next_message(&mut chunk) {
                            Ok(Some(message)) => found.push(message),
                            Ok(None) => break,
                            Err(failed) => {
                                error = Some(failed);
                                break;
                            }
                        }
                    }
                }
                prop_assert_eq!(&whole, &(found, error));
            }
        }
    }
}
