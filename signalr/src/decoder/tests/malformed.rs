//! Bytes that are no messages, and what is said of them.

use super::*;

fn shape(error: ShapeError) -> DecodeError {
    DecodeError::Shape(error)
}

fn wrong(member: &'static str, expected: &'static str) -> DecodeError {
    shape(ShapeError::WrongType { member, expected })
}

fn syntax(at: usize, problem: Problem) -> DecodeError {
    DecodeError::Syntax(SyntaxError { at, problem })
}

#[test]
fn in_json() {
    for (text, error) in [
        ("", syntax(0, Problem::End)),
        ("{", syntax(1, Problem::End)),
        ("{}{}", syntax(2, Problem::Trailing)),
        ("[1]", shape(ShapeError::NotA("object"))),
        ("null", shape(ShapeError::NotA("object"))),
        ("{}", shape(ShapeError::Missing("type"))),
        (r#"{"TYPE":6}"#, shape(ShapeError::Missing("type"))),
        (r#"{"type":"6"}"#, wrong("type", "an integer")),
        (r#"{"type":6.0}"#, wrong("type", "an integer")),
        (r#"{"type":null}"#, wrong("type", "an integer")),
        (r#"{"type":99999999999999999999}"#, wrong("type", "an integer")),
        (r#"{"type":6,"type":6}"#, shape(ShapeError::Twice("type"))),
        (r#"{"type":1,"target":"a","targ\u0065t":"b","arguments":[]}"#, shape(ShapeError::Twice("target"))),
        (r#"{"type":1,"arguments":[]}"#, shape(ShapeError::Missing("target"))),
        (r#"{"type":1,"target":null,"arguments":[]}"#, shape(ShapeError::Missing("target"))),
        (r#"{"type":1,"target":"","arguments":[]}"#, shape(ShapeError::Empty("target"))),
        (r#"{"type":1,"target":["a"],"arguments":[]}"#, wrong("target", "a text")),
        (r#"{"type":1,"target":"a"}"#, shape(ShapeError::Missing("arguments"))),
        (r#"{"type":1,"target":"a","arguments":{"0":1}}"#, wrong("arguments", "an array")),
        (r#"{"type":1,"target":"a","arguments":null}"#, wrong("arguments", "an array")),
        (r#"{"type":1,"target":"a","arguments":[],"invocationId":1}"#, wrong("invocationId", "a text")),
        (
            r#"{"type":1,"target":"a","arguments":[],"streamIds":"1"}"#,
            wrong("streamIds", "an array of texts"),
        ),
        (
            r#"{"type":1,"target":"a","arguments":[],"streamIds":[1]}"#,
            wrong("streamIds", "an array of texts"),
        ),
        (r#"{"type":1,"target":"a","arguments":[],"streamIds":[""]}"#, shape(ShapeError::Empty("streamIds"))),
        (r#"{"type":2,"invocationId":"1"}"#, shape(ShapeError::Missing("item"))),
        (r#"{"type":2,"item":1}"#, shape(ShapeError::Missing("invocationId"))),
        (r#"{"type":3,"result":1}"#, shape(ShapeError::Missing("invocationId"))),
        (r#"{"type":3,"invocationId":"","result":1}"#, shape(ShapeError::Empty("invocationId"))),
        (r#"{"type":3,"invocationId":"1","error":{}}"#, wrong("error", "a text")),
        (r#"{"type":4,"target":"a","arguments":[]}"#, shape(ShapeError::Missing("invocationId"))),
        (r#"{"type":5}"#, shape(ShapeError::Missing("invocationId"))),
        (r#"{"type":7,"allowReconnect":1}"#, wrong("allowReconnect", "true or false")),
        (r#"{"type":8}"#, shape(ShapeError::Missing("sequenceId"))),
        (r#"{"type":8,"sequenceId":-1}"#, wrong("sequenceId", "an integer that is not negative")),
        (r#"{"type":9,"sequenceId":"1"}"#, wrong("sequenceId", "an integer that is not negative")),
        // What is only stepped over has to be JSON, too.
        (r#"{"type":6,"later":tru}"#, syntax(21, Problem::Unexpected)),
        (r#"{"type":6,"headers":{"a":"\ud800"}}"#, syntax(33, Problem::LoneSurrogate)),
    ] {
        assert_eq!(json(text), Err(error), "{text}");
    }
    let not_utf8 = one(Encoding::Json, b"{\"type\":1,\"target\":\"\xff\",\"arguments\":[]}\x1e");
    assert_eq!(not_utf8, Err(syntax(20, Problem::NotUtf8)));
}

#[test]
fn in_message_pack() {
    for (bytes, error) in [
        (&b""[..], syntax(0, Problem::End)),
        (b"\x90", shape(ShapeError::Missing("type"))),
        (b"\x80", shape(ShapeError::NotA("array"))),
        (b"\x06", shape(ShapeError::NotA("array"))),
        (b"\x91\xa16", wrong("type", "an integer")),
        (b"\x91\xc0", wrong("type", "an integer")),
        (b"\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", wrong("type", "an integer")),
        (b"\x91\x06\xc0", syntax(2, Problem::Trailing)),
        (b"\x92\x06", syntax(1, Problem::End)),
        (b"\x91\x01", shape(ShapeError::Missing("headers"))),
        (b"\x92\x01\x80", shape(ShapeError::Missing("invocationId"))),
        (b"\x93\x01\x80\xc0", shape(ShapeError::Missing("target"))),
        (b"\x95\x01\x80\xc0\xc0\x90", shape(ShapeError::Missing("target"))),
        (b"\x95\x01\x80\xc0\xa0\x90", shape(ShapeError::Empty("target"))),
        (b"\x95\x01\x80\xc0\xc4\x01a\x90", wrong("target", "a text")),
        (b"\x95\x01\x80\x01\xa1a\x90", wrong("invocationId", "a text")),
        (b"\x94\x01\x80\xc0\xa1a", shape(ShapeError::Missing("arguments"))),
        (b"\x95\x01\x80\xc0\xa1a\x80", wrong("arguments", "an array")),
        (b"\x95\x01\x80\xc0\xa1a\xc0", wrong("arguments", "an array")),
        (b"\x96\x01\x80\xc0\xa1a\x90\xa11", wrong("streamIds", "an array of texts")),
        (b"\x96\x01\x80\xc0\xa1a\x90\x91\x01", wrong("streamIds", "an array of texts")),
        (b"\x96\x01\x80\xc0\xa1a\x90\x91\xa0", shape(ShapeError::Empty("streamIds"))),
        (b"\x93\x02\x80\xa11", shape(ShapeError::Missing("item"))),
        (b"\x94\x02\x80\xc0\x01", shape(ShapeError::Missing("invocationId"))),
        (b"\x94\x02\x80\xa0\x01", shape(ShapeError::Empty("invocationId"))),
        (b"\x94\x03\x80\xa11\x01", shape(ShapeError::Missing("error"))),
        (b"\x95\x03\x80\xa11\x01\xc0", shape(ShapeError::Missing("error"))),
        (b"\x95\x03\x80\xa11\x01\x90", wrong("error", "a text")),
        (b"\x94\x03\x80\xa11\x03", shape(ShapeError::Missing("result"))),
        (b"\x94\x03\x80\xa11\x04", wrong("resultKind", "1, 2 or 3")),
        (b"\x94\x03\x80\xa11\xa12", wrong("resultKind", "an integer")),
        (b"\x94\x04\x80\xc0\xa1a\x90", shape(ShapeError::Missing("invocationId"))),
        (b"\x92\x05\x80", shape(ShapeError::Missing("invocationId"))),
        (b"\x91\x07", shape(ShapeError::Missing("error"))),
        (b"\x93\x07\xc0\x01", wrong("allowReconnect", "true or false")),
        (b"\x91\x08", shape(ShapeError::Missing("sequenceId"))),
        (b"\x92\x08\xff", wrong("sequenceId", "an integer that is not negative")),
        // What is only stepped over has to be MessagePack, too.
        (b"\x92\x06\xc1", syntax(2, Problem::Unexpected)),
        (b"\x96\x01\x81\xa1a\xa1\xff\xc0\xa1a\x90\x90", syntax(6, Problem::NotUtf8)),
    ] {
        assert_eq!(packed(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn limits_are_inclusive_in_both_encodings() {
    let limits = Limits { id_bytes: 3, streams: 2, depth: 4, ..Limits::default() };
    let judged = |encoding, stream: &[u8]| chunked(encoding, limits, stream, stream.len()).1;
    let text = |id: &str, streams: &str, arguments: &str| {
        let message =
            r#"{"type":1,"target":"a","invocationId":ID,"streamIds":STREAMS,"arguments":ARGUMENTS}"#;
        let message = message.replace("ID", id).replace("STREAMS", streams).replace("ARGUMENTS", arguments);
        judged(Encoding::Json, format!("{message}\x1e").as_bytes())
    };
    let bytes = |id: &[u8], streams: &[u8], arguments: &[u8]| {
        let body = [b"\x96\x01\x80", id, b"\xa1a", arguments, streams].concat();
        judged(Encoding::MessagePack, &with_prefix(&body))
    };
    let id = Some(shape(ShapeError::TooLong { member: "invocationId", limit: 3 }));
    let stream_id = Some(shape(ShapeError::TooLong { member: "streamIds", limit: 3 }));
    let streams = Some(shape(ShapeError::TooManyStreams { limit: 2 }));

    assert_eq!(text(r#""123""#, r#"["123","456"]"#, "[[[]]]"), None);
    assert_eq!(text(r#""1234""#, "[]", "[]"), id);
    assert_eq!(text(r#""\u0031\u0032\u0033""#, "[]", "[]"), None);
    assert_eq!(text(r#""123""#, r#"["1234"]"#, "[]"), stream_id);
    assert_eq!(text(r#""123""#, r#"["1","2","3"]"#, "[]"), streams);
    let too_deep = text(r#""123""#, "[]", "[[[[]]]]");
    assert!(matches!(too_deep, Some(DecodeError::Syntax(SyntaxError { problem: Problem::TooDeep, .. }))));

    assert_eq!(bytes(b"\xa3123", b"\x92\xa3123\xa3456", b"\x91\x91\x90"), None);
    assert_eq!(bytes(b"\xa41234", b"\x90", b"\x90"), id);
    assert_eq!(bytes(b"\xa3123", b"\x91\xa41234", b"\x90"), stream_id);
    assert_eq!(bytes(b"\xa3123", b"\x93\xa11\xa12\xa13", b"\x90"), streams);
    let too_deep = bytes(b"\xa3123", b"\x90", b"\x91\x91\x91\x90");
    assert!(matches!(too_deep, Some(DecodeError::Syntax(SyntaxError { problem: Problem::TooDeep, .. }))));
}

#[test]
fn depth_cannot_be_set_beyond_what_clients_read() {
    let limits = Limits { depth: 1_000, ..Limits::default() };
    let nested = |depth: usize| {
        let item = "[".repeat(depth) + &"]".repeat(depth);
        let stream = format!("{{\"type\":2,\"invocationId\":\"1\",\"item\":{item}}}\x1e");
        chunked(Encoding::Json, limits, stream.as_bytes(), stream.len())
    };
    let (found, error) = nested(63);
    assert_eq!(error, None);
    // What is taken fits into what goes out.
    let [Message::StreamItem { item, .. }] = &found[..] else { panic!("an item") };
    assert_eq!(Value::new(Encoding::Json, item.raw().clone()).as_ref(), Ok(item));
    assert!(nested(64).1.is_some());
}

#[test]
fn what_is_said_repeats_nothing() {
    for text in [
        r#"{"type":"secret"}"#,
        r#"{"type":1,"target":["secret"],"arguments":[]}"#,
        r#"{"type":1,"target":"secret","arguments":"secret"}"#,
        r#"{"type":3,"invocationId":"secret","error":["secret"]}"#,
        r#"{"secret":"secret\x"}"#,
        r#""secret""#,
    ] {
        let error = json(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let told = json(r#"{"type":1,"target":1,"arguments":[]}"#).unwrap_err().to_string();
    assert_eq!(told, "a message is no hub message: `target` is not a text");
    let told = json("{").unwrap_err().to_string();
    assert_eq!(told, "a message is not well-formed: it ends too early at byte 1");
}
