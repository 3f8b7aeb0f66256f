//! What is no frame, or one that cannot be carried out: protocol/malformed.json holds this codec, the TypeScript one
//! and the Python one to the same answers, and so to the same order in which a frame is judged.
//!
//! In: a list of bodies without their lengths, and of streams with them, which end behind their last byte. They are
//! hex; `03*5` is `0303030303`. A body that is the `first` of its connection is one whose version is judged before the
//! rest. Out: a failure where something else becomes of one than its `becomes` says: the code that it is answered with,
//! and the request that the answer names; or `skipped`, or `read`.

use serde_json::{Value, json};

use super::samples::Side;
use super::*;
use crate::{Code, PROTOCOL_VERSION};

const TABLE: &str = include_str!("../../../malformed.json");

/// The bytes of `01 07 fb0101 78*257`.
fn written(text: &str) -> Bytes {
    let part = |part: &str| {
        let (digits, times) = part.split_once('*').unwrap_or((part, "1"));
        unhex(digits).repeat(times.parse().unwrap())
    };
    text.split_whitespace().flat_map(part).collect::<Vec<u8>>().into()
}

/// What the side that reads it does, as PROTOCOL.md says: sections 11 and 15.
fn outcome(side: Side, error: &DecodeError) -> Value {
    let told =
        |code: Code, request: &Option<RequestId>| json!({ "becomes": code.number(), "request": request });
    let code = |code: Code| json!({ "becomes": code.number() });
    match (side, error) {
        (_, DecodeError::TooLong { .. }) => code(Code::FrameTooLarge),
        (_, DecodeError::Malformed(_)) => code(Code::MalformedFrame),
        (Side::Server, DecodeError::Unknown { .. }) => json!({ "becomes": "skipped" }),
        (Side::Client, DecodeError::Unknown { request: None, what: Unknown::Frame(_) }) => {
            json!({ "becomes": "skipped" })
        }
        (Side::Client, DecodeError::Unknown { request, .. }) => told(Code::NotKnownHere, request),
        (Side::Client, DecodeError::InvalidName { request, .. }) => told(Code::InvalidName, request),
        (Side::Server, DecodeError::InvalidName { .. }) => code(Code::MalformedFrame),
        (Side::Client, DecodeError::ExtensionNotKnown { request, .. }) => {
            told(Code::ExtensionNotKnown, request)
        }
        (Side::Server, DecodeError::ExtensionNotKnown { .. }) => code(Code::ExtensionNotKnown),
    }
}

fn stream_outcome(side: Side, mut stream: Bytes) -> Value {
    let limit = if side == Side::Client { Limits::default().frame_bytes } else { Limits::FRAME_CEILING };
    let mut reader = FrameReader::new(limit);
    loop {
        match reader.next_frame(&mut stream) {
            Err(error) => return outcome(side, &error),
            Ok(None) if reader.is_between_frames() => return json!({ "becomes": "read" }),
            Ok(None) => return json!({ "becomes": Code::TruncatedFrame.number() }),
            Ok(Some(body)) => match side.decode(&body) {
                Ok(_) => {}
                Err(error) => return outcome(side, &error),
            },
        }
    }
}

fn body_outcome(side: Side, body: &Bytes, is_first: bool) -> Value {
    if is_first && side.version(body).is_some_and(|version| version != PROTOCOL_VERSION) {
        return json!({ "becomes": Code::UnsupportedProtocol.number() });
    }
    match side.decode(body) {
        Ok(_) => json!({ "becomes": "read" }),
        Err(error) => outcome(side, &error),
    }
}

#[test]
fn each_malformed_frame_is_answered_as_the_table_says() {
    let table: Vec<Value> = serde_json::from_str(TABLE).unwrap();
    assert!(table.len() >= 100);
    for row in &table {
        let side = if row["from"] == "client" { Side::Client } else { Side::Server };
        let becomes = match row.get("stream") {
            Some(stream) => stream_outcome(side, written(stream.as_str().unwrap())),
            None => body_outcome(side, &written(row["body"].as_str().unwrap()), row["first"] == true),
        };
        let mut wanted = row.as_object().unwrap().clone();
        wanted.retain(|key, _| ["becomes", "request"].contains(&key.as_str()));
        assert_eq!(becomes, Value::Object(wanted), "{} of a {}", row["name"], row["from"]);
    }
}
