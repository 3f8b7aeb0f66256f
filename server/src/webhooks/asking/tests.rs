use hyper::{HeaderMap, StatusCode, header};
use proptest::prelude::*;

use super::*;

fn reply(status: u16, media_type: &str, body: impl Into<Bytes>) -> Reply {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media_type.parse().unwrap())]);
    Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
}

fn json(status: u16, body: &str) -> Reply {
    reply(status, "application/json", body.to_owned())
}

#[test]
fn promise_15_an_answer_that_is_not_known_lets_nobody_in() {
    for (body, says) in [
        ("", None),
        ("{}", None),
        (r#"{"user": "alice", "groups": ["room"], "grants": [], "data": {"a": 1}, "presence": "x"}"#, None),
        ("null", Some("cannot be used")),
        ("[\"alice\", null, [], null]", Some("cannot be used")),
        ("yes", Some("cannot be used")),
        (r#"{"grant": []}"#, Some("unknown field `grant`")),
        (r#"{"user": ""}"#, Some("cannot be used")),
        (r#"{"user": "alice", "user": "bob"}"#, Some("duplicate field")),
        (r#"{"groups": [""]}"#, Some("cannot be used")),
        (r#"{"grants": [{"group": "*", "may": ["rule"]}]}"#, Some("cannot be used")),
        (r#"{"grants": [{"group": "*", "may": ["join"], "extra": 1}]}"#, Some("cannot be used")),
        (r#"{"user": "al"#, Some("cannot be used")),
    ] {
        let found = admitted(&json(200, body)).err();
        match says {
            None => assert_eq!(found, None, "{body}"),
            Some(says) => {
                assert!(found.as_ref().is_some_and(|found| found.contains(says)), "{body}: {found:?}");
            }
        }
    }
    let groups = serde_json::json!({ "groups": vec!["g"; 1_001] }).to_string();
    assert!(admitted(&json(200, &groups)).err().unwrap().contains("more than 1000 groups"));
    let data = serde_json::json!({ "data": "a".repeat(1_023) }).to_string();
    assert!(admitted(&json(200, &data)).err().unwrap().contains("data of 1025 bytes"));
    let presence = serde_json::json!({ "presence": "a".repeat(1_023) }).to_string();
    let error = admitted(&json(200, &presence)).err().unwrap();
    assert!(error.contains("presence of 1025 bytes"), "{error}");
}

#[test]
fn what_a_method_gives_is_what_the_answer_is_written_in() {
    let given = |reply: &Reply, format| match completion(reply, format) {
        Ok(Ok(Answer::Value(value))) => Ok(Some(value)),
        Ok(Ok(Answer::Nothing)) => Ok(None),
        Ok(Ok(Answer::Items(_))) => unreachable!("no answer is a stream"),
        Ok(Err(error)) => Err(Ok((error.code(), error.detail().to_owned()))),
        Err(words) => Err(Err(words)),
    };
    let to_json = |reply: &Reply| given(reply, PayloadFormat::Json);
    assert_eq!(to_json(&json(200, r#"{"a": 1.0}"#)), Ok(Some(Payload::json(r#"{"a": 1.0}"#))));
    assert_eq!(to_json(&json(200, "")), Ok(None));
    assert_eq!(to_json(&json(204, "")), Ok(None));
    let text = reply(200, "text/plain; charset=utf-8", "h\u{e9}");
    assert_eq!(to_json(&text), Ok(Some(Payload::from("h\u{e9}"))));
    let bytes = reply(200, "application/octet-stream", vec![0, 255]);
    assert_eq!(to_json(&bytes), Ok(Some(Payload::from([0, 255]))));
    let packed = given(&json(200, "[1]"), PayloadFormat::MessagePack);
    assert_eq!(packed, Ok(Some(Payload::message_pack(vec![0x91, 1]))));
    for wrong in [
        json(200, "[1"),
        json(200, "[1] [2]"),
        reply(200, "text/html", "<p>"),
        reply(200, "text/plain", vec![0xff]),
        json(201, "[1]"),
        json(302, ""),
        json(401, ""),
        json(408, ""),
        json(429, ""),
        json(500, r#"{"detail": "private"}"#),
    ] {
        let found = to_json(&wrong);
        assert!(matches!(&found, Err(Err(words)) if !words.contains("private")), "{wrong:?}: {found:?}");
    }
    let told = |reply: &Reply| to_json(reply).unwrap_err().unwrap();
    assert_eq!(told(&json(404, "")), (2201, "There is no such method.".to_owned()));
    assert_eq!(told(&json(403, r#"{"detail": "not you"}"#)), (2203, "not you".to_owned()));
    assert_eq!(told(&json(409, r#"{"detail": "sold out", "code": 10001}"#)), (10_001, "sold out".to_owned()));
    assert_eq!(told(&json(409, r#"{"detail": "a", "code": 3009}"#)), (2203, "a".to_owned()), "ours are ours");
    assert_eq!(told(&reply(400, "text/html", "<p>")), (2203, "The method refused it.".to_owned()));
    let problem = reply(422, "application/problem+json", r#"{"type": "x", "detail": "no", "data": [3]}"#);
    match completion(&problem, PayloadFormat::Json) {
        Ok(Err(error)) => assert_eq!(error, CallError::new("no").with_data(Payload::json("[3]"))),
        other => panic!("{:?}", other.map(|outcome| outcome.is_ok())),
    }
}

#[test]
fn arguments_are_read_as_they_are_written() {
    for (payload, expected) in [
        // With every digit.
        (
            Payload::json(r#"["a", 123456789012345678901234567890]"#),
            Some(r#"{"arguments":["a", 123456789012345678901234567890]}"#),
        ),
        (Payload::message_pack(vec![0x92, 0xa1, b'a', 1]), Some(r#"{"arguments":["a",1]}"#)),
        // Bytes are nothing that JSON has.
        (Payload::message_pack(vec![0x91, 0xc4, 1, 7]), Some(r#"{"base64":"kcQBBw=="}"#)),
        (Payload::from("hello"), Some(r#"{"text":"hello"}"#)),
        (Payload::from([7]), Some(r#"{"base64":"Bw=="}"#)),
        (Payload::json("["), None),
        (Payload::json("[] []"), None),
        (Payload::json(vec![0xff]), None),
        (Payload::new(PayloadFormat::Text, vec![0xff]), None),
    ] {
        match (Arguments::of(&payload), expected) {
            (Ok(found), Some(expected)) => assert_eq!(serde_json::to_string(&found).unwrap(), expected),
            (Err(error), None) => assert_eq!(error.code(), 2202),
            (found, expected) => panic!("{payload:?}: {found:?}, {expected:?}"),
        }
    }
}

proptest! {
    /// What a back end answers is taken or refused, and nothing worse.
    #[test]
    fn promise_12_any_answer_is_taken_or_refused(
        status in 100u16..1_000,
        media_type in "[ -~]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let reply = reply(status, &media_type, body);
        let _ = admitted(&reply);
        let _ = reason(&reply, Code::ConnectRefused);
        for format in [PayloadFormat::Json, PayloadFormat::MessagePack] {
            let _ = completion(&reply, format);
        }
    }
}
