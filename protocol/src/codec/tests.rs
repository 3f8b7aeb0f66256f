//! The codec's tests: round trips, what later versions may add, and bytes that are no frames.

mod any;
mod malformed;
mod samples;
mod vectors;

use bytes::Bytes;
use proptest::prelude::*;

use self::any::any_frame;
use self::samples::{Frame, event, frames, group, user};
use super::writer::Writer;
use super::*;
use crate::call::{ClientCall, Failure, Invoke, Outcome, ServerCall};
use crate::presence::{PresenceFrame, Present};
use crate::{
    ClientFrame, ConnectionId, Credential, EventName, ExpiryScope, Features, GroupName, Limits, Message,
    MethodName, NameError, Payload, PayloadFormat, Send, Sender, ServerFrame, Target, Token, UserName,
    Welcome,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_heading_and_a_body_make_the_same_bytes_as_a_whole_message() {
    for (name, frame) in frames() {
        let Frame::Server(ServerFrame::Message(message)) = frame else { continue };
        let body = encode_message_body(&message.event, message.format, &message.payload);
        let heading = encode_message_heading(&message.from, &message.to, body.len());
        assert_eq!([heading, body].concat(), encode_message(&message), "{name}");
    }
}

#[test]
fn a_payload_is_a_slice_of_the_frame() {
    let bytes = frames().into_iter().find(|(name, _)| *name == "send-to-group").unwrap().1.encode();
    let frame = bytes.slice(PREFIX_BYTES..);
    let Ok(ClientFrame::Send(send)) = decode_client(&frame) else { panic!("a send") };
    let range = frame.as_ptr_range();
    assert!(range.contains(&send.payload.as_ptr()), "the payload was copied");
}

#[test]
fn a_frame_in_one_chunk_is_a_slice_of_the_chunk() {
    let mut chunk = encode_client(&ClientFrame::Join { request: 1, group: group("room") });
    let range = chunk.as_ptr_range();
    let frame = FrameReader::new(100).next_frame(&mut chunk).unwrap().unwrap();
    assert!(range.contains(&frame.as_ptr()), "the frame was copied");
    assert!(chunk.is_empty());
}

#[test]
fn the_length_is_checked_before_anything_is_kept() {
    let mut reader = FrameReader::new(100);
    let mut chunk = Bytes::from_static(&[101, 0, 0, 0, 1, 2, 3]);
    assert_eq!(reader.next_frame(&mut chunk), Err(DecodeError::TooLong { length: 101, limit: 100 }));
    assert!(reader.is_between_frames());

    // The same with the prefix spread over two chunks.
    let mut reader = FrameReader::new(100);
    let mut first = Bytes::from_static(&[0xff, 0xff]);
    assert_eq!(reader.next_frame(&mut first), Ok(None));
    let mut second = Bytes::from_static(&[0xff, 0xff, 1, 2, 3]);
    assert!(reader.next_frame(&mut second).is_err());
}

#[test]
fn a_forged_collection_length_allocates_nothing() {
    // Send{request: 1, ack: false, to: 2^62 targets ...
    let mut body = vec![3, 1, 0, 253];
    body.extend_from_slice(&(1u64 << 62).to_le_bytes());
    assert!(matches!(decode_client(&body.into()), Err(DecodeError::Malformed(_))));
    // And of as many targets as there are bytes, no more are taken than any server would think of.
    let list = |count: usize| {
        let mut writer = Writer::frame(3, count);
        writer.integer(1u64);
        writer.bool(false);
        writer.length(count);
        writer.raw(&vec![3; count]);
        decode_client(&writer.into_frame(0).slice(PREFIX_BYTES..)).unwrap_err()
    };
    let (cut_off, beyond) = (list(LIST_CEILING), list(LIST_CEILING + 1));
    assert_eq!(cut_off, DecodeError::Malformed("it ends in the middle of a field"));
    assert_eq!(beyond, DecodeError::Malformed("a length in it is beyond the end of the frame"));
}

#[test]
fn what_is_no_frame_is_refused() {
    let malformed = |bytes: &'static [u8]| {
        let error = decode_client(&Bytes::from_static(bytes)).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{error:?}");
        // The peer reads it, and it is for a person: no names of our types.
        let told = error.to_string();
        assert!(told.starts_with("not a frame: ") && !told.contains("::"), "{told}");
    };
    malformed(b"");
    malformed(&[254]); // no integer begins with that
    malformed(&[127]); // a request without its number
    malformed(&[1, 1, 4, b'r', b'o']); // an end that comes too early
    malformed(&[1, 1, 2, 0xc3, 0x28]); // not UTF-8
    malformed(&[3, 1, 2]); // a bool that is neither 0 nor 1
    // Behind the last field: half an extension, one with a length beyond the frame, and one that stands twice.
    malformed(&[1, 1, 1, b'r', 8]);
    malformed(&[1, 1, 1, b'r', 8, 253, 0, 0, 0, 0, 0, 0, 0, 128]);
    malformed(&[1, 1, 1, b'r', 8, 0, 8, 0]);
    // Also where one in front of it must be understood.
    malformed(&[1, 1, 1, b'r', 9, 0, 8, 0]);
    assert_eq!(
        decode_client(&Bytes::from_static(&[1, 7, 0])),
        Err(DecodeError::InvalidName { request: Some(7), name: NameError::Empty { kind: "group name" } })
    );
}

proptest! {
    #[test]
    fn any_frame_round_trips(frame in any_frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(frame.side().decode(&bytes.slice(PREFIX_BYTES..)), Ok(frame));
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut(
        frames in proptest::collection::vec(any_frame(), 1..6),
        cuts in proptest::collection::vec(1usize..300, 1..40),
    ) {
        let mut stream = Bytes::from(frames.iter().flat_map(|frame| frame.encode()).collect::<Vec<u8>>());
        let mut reader = FrameReader::new(Limits::FRAME_CEILING);
        let mut seen = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        while !stream.is_empty() {
            let cut = cuts.next().unwrap().min(stream.len());
            let mut chunk = stream.split_to(cut);
            while let Some(body) = reader.next_frame(&mut chunk).unwrap() {
                seen.push(frames[seen.len()].side().decode(&body).unwrap());
            }
            prop_assert!(chunk.is_empty());
        }
        prop_assert!(reader.is_between_frames());
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let frame = Bytes::from(bytes);
        // What decodes must encode to the very same bytes: there is one encoding of a frame, but for integers that are
        // written wider than they need to be, and for extensions, of which nothing is known here.
        if let Ok(decoded) = decode_client(&frame) {
            let again = encode_client(&decoded).slice(PREFIX_BYTES..);
            prop_assert!(again.len() <= frame.len());
            prop_assert_eq!(decode_client(&again), Ok(decoded));
        }
        let _ = decode_server(&frame);
    }

    #[test]
    fn a_cut_or_damaged_frame_never_panics(frame in any_frame(), at in any::<prop::sample::Index>(), with: u8) {
        let body = frame.encode().slice(PREFIX_BYTES..);
        let cut = at.index(body.len());
        prop_assert!(frame.side().decode(&body.slice(..cut)).is_err());
        let mut damaged = body.to_vec();
        damaged[cut] ^= with;
        let _ = frame.side().decode(&damaged.into());
    }

    #[test]
    fn extensions_are_skipped_unless_one_must_be_understood(
        frame in any_frame(),
        extensions in any_extensions(),
    ) {
        let critical = extensions.iter().map(|(number, _)| *number).find(|number| number % 2 == 1);
        let bytes = extended(&frame, &extensions);
        let read = frame.side().decode(&bytes.slice(PREFIX_BYTES..));
        match critical {
            None => prop_assert_eq!(read, Ok(frame)),
            Some(extension) => {
                let request = frame.request();
                prop_assert_eq!(read, Err(DecodeError::ExtensionNotKnown { request, extension }));
            }
        }
    }

    #[test]
    fn an_acknowledgement_says_who_was_silent_and_grows(
        [request, count] in any::<[u64; 2]>(),
        silent in proptest::collection::vec(".{0,20}", 0..70),
        more in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let frame = ServerFrame::AckPart { request, count, silent };
        let bytes = encode_server(&frame);
        prop_assert_eq!(decode_server(&bytes.slice(PREFIX_BYTES..)), Ok(frame.clone()));
        // A later version says more of it.
        let plain = encode_server(&ServerFrame::Ack { request, count });
        let ServerFrame::AckPart { silent, .. } = &frame else { unreachable!() };
        let mut content = Writer::part(0);
        content.length(silent.len());
        silent.iter().for_each(|name| content.text(name));
        content.raw(&more);
        let grown = with_extensions(&plain, &[(2, &content.into_part())]);
        prop_assert_eq!(decode_server(&grown.slice(PREFIX_BYTES..)), Ok(frame));
        // What is no list of names is no acknowledgement.
        let broken = with_extensions(&plain, &[(2, &[200])]);
        let read = decode_server(&broken.slice(PREFIX_BYTES..));
        prop_assert!(matches!(read, Err(DecodeError::Malformed(_))), "{:?}", read);
    }

    #[test]
    fn a_list_of_extensions_that_is_cut_is_none(
        frame in any_frame(),
        extensions in any_extensions(),
        at in any::<prop::sample::Index>(),
    ) {
        let (plain, bytes) = (frame.encode().len(), extended(&frame, &extensions));
        let cut = plain + at.index(bytes.len() - plain + 1);
        let whole = (0..=extensions.len()).any(|count| extended(&frame, &extensions[..count]).len() == cut);
        let read = frame.side().decode(&bytes.slice(PREFIX_BYTES..cut));
        prop_assert_eq!(matches!(read, Err(DecodeError::Malformed(_))), !whole, "{:?}", read);
    }

    #[test]
    fn frames_of_later_versions_are_told_with_their_request(
        number in prop_oneof![18u32..300, any::<u32>()],
        request: u64,
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        prop_assume!(number > 17 && !(128..=130).contains(&number));
        let mut writer = Writer::frame(number, rest.len());
        writer.integer(request);
        writer.raw(&rest);
        let body = writer.into_frame(0).slice(PREFIX_BYTES..);
        let what = Unknown::Frame(number);
        let told = (number < FIRST_WITHOUT_REQUEST).then_some(request);
        prop_assert_eq!(decode_client(&body), Err(DecodeError::Unknown { request: told, what }));
        prop_assert_eq!(decode_server(&body), Err(DecodeError::Unknown { request: None, what }));
    }

    #[test]
    fn kinds_of_later_versions_are_told_with_their_request(
        kind in 4u32..,
        request: u64,
        known in 0usize..5,
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        // Behind as many targets as there are, known ones first.
        let mut writer = Writer::frame(3, rest.len());
        writer.integer(request);
        writer.bool(false);
        writer.length(known + 1);
        for _ in 0..known {
            writer.target(&Target::All);
        }
        writer.integer(kind);
        writer.raw(&rest);
        let body = writer.into_frame(0).slice(PREFIX_BYTES..);
        let what = Unknown::Kind("target", kind);
        prop_assert_eq!(decode_client(&body), Err(DecodeError::Unknown { request: Some(request), what }));
    }
}

/// Extensions with ascending numbers, none of which is known for any frame.
fn any_extensions() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let number = prop_oneof![0u64..300, any::<u64>()].prop_filter("it is known", |number| *number != 2);
    let content = proptest::collection::vec(any::<u8>(), 0..300);
    proptest::collection::btree_map(number, content, 0..5).prop_map(|all| all.into_iter().collect())
}

fn extended(frame: &Frame, extensions: &[(u64, Vec<u8>)]) -> Bytes {
    let extensions: Vec<(u64, &[u8])> =
        extensions.iter().map(|(number, content)| (*number, &content[..])).collect();
    with_extensions(&frame.encode(), &extensions)
}
