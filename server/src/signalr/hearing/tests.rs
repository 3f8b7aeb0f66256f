use fanfare_protocol::codec::{FrameReader, decode_client};
use fanfare_protocol::{GroupName, Target};
use fanfare_signalr::Encoding;

use super::*;

const JSON: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

/// A connection whose handshake is over.
fn hearing(has_application: bool) -> (Arc<Book>, Hearing) {
    let book = Arc::new(Book::new(has_application));
    let mut hearing = Hearing::new(Arc::clone(&book), 1_000);
    hearing.take(Bytes::from_static(JSON.as_bytes()));
    let Ok(Next::Heard(Heard::Bytes(hello))) = hearing.next() else { panic!("no `Hello`") };
    let hello = read(hello);
    assert!(matches!(hello, ClientFrame::Hello { credential: Credential::Certificate, .. }), "{hello:?}");
    (book, hearing)
}

fn read(mut bytes: Bytes) -> ClientFrame {
    let frame = FrameReader::new(u32::MAX).next_frame(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    decode_client(&frame).unwrap()
}

/// Gives it records, and tells what comes of them until more is wanted.
fn say(hearing: &mut Hearing, records: &[&str]) -> Vec<Result<ClientFrame, (RequestId, Code)>> {
    hearing.take(records.iter().map(|record| format!("{record}\u{1e}")).collect::<String>().into());
    drain(hearing)
}

fn drain(hearing: &mut Hearing) -> Vec<Result<ClientFrame, (RequestId, Code)>> {
    let mut found = Vec::new();
    loop {
        match hearing.next().unwrap() {
            Next::Heard(Heard::Bytes(bytes)) => found.push(Ok(read(bytes))),
            Next::Heard(Heard::Refused(request, denial)) => found.push(Err((request, denial.code))),
            Next::More | Next::Full | Next::Closed => return found,
        }
    }
}

fn call(call: ClientCall) -> Result<ClientFrame, (RequestId, Code)> {
    Ok(ClientFrame::Call(call))
}

#[test]
fn a_handshake_in_pieces_is_a_hello_and_agrees_on_an_encoding() {
    let book = Arc::new(Book::new(false));
    let mut hearing = Hearing::new(Arc::clone(&book), 1_000);
    let handshake = "{\"protocol\":\"messagepack\",\"version\":1}\u{1e}";
    for byte in handshake.as_bytes() {
        assert!(matches!(hearing.next(), Ok(Next::More)));
        hearing.take(Bytes::copy_from_slice(&[*byte]));
    }
    assert_eq!(book.encoding(), Encoding::Json, "as long as nothing else is agreed on");
    assert!(matches!(hearing.next(), Ok(Next::Heard(Heard::Bytes(_)))));
    assert_eq!(book.encoding(), Encoding::MessagePack);
    // A ping.
    hearing.take(Bytes::from_static(b"\x02\x91\x06"));
    assert!(matches!(hearing.next(), Ok(Next::More)));
    assert!(book.pings());
}

#[test]
fn a_handshake_that_is_none_has_a_code_and_signalr_s_answer() {
    for (handshake, code, answer) in [
        ("{}", Code::MalformedFrame, "An unexpected error occurred during connection handshake."),
        (
            "{\"protocol\":\"x\",\"version\":1}",
            Code::UnsupportedProtocol,
            "The protocol 'x' is not supported.",
        ),
        (
            "{\"protocol\":\"json\",\"version\":9}",
            Code::UnsupportedProtocol,
            "The server does not support version 9 of the 'json' protocol.",
        ),
    ] {
        let book = Arc::new(Book::new(false));
        let mut hearing = Hearing::new(Arc::clone(&book), 1_000);
        hearing.take(format!("{handshake}\u{1e}").into());
        let Err(Broken::Unreadable(reason)) = hearing.next() else { panic!("{handshake}") };
        assert_eq!(reason.code, code);
        let told = book.refusal().unwrap();
        assert!(String::from_utf8(told.to_vec()).unwrap().contains(answer), "{told:?}");
    }
}

#[test]
fn without_an_application_methods_are_requests() {
    let (book, mut hearing) = hearing(false);
    let found = say(
        &mut hearing,
        &[
            r#"{"type":1,"invocationId":"a","target":"JoinGroup","arguments":["room"]}"#,
            r#"{"type":1,"target":"SendToAll","arguments":["E",1]}"#,
            r#"{"type":1,"invocationId":"b","target":"Nothing","arguments":[]}"#,
            r#"{"type":4,"invocationId":"c","target":"SendToAll","arguments":["E"]}"#,
            r#"{"type":1,"invocationId":"d","target":"SendToAll","arguments":["E"],"streamIds":["s"]}"#,
            r#"{"type":1,"invocationId":"e","target":"FANFARE.refresh","arguments":["x.y.z"]}"#,
            // About calls that nobody has made.
            r#"{"type":2,"invocationId":"s","item":1}"#,
            r#"{"type":3,"invocationId":"r0","result":1}"#,
            r#"{"type":5,"invocationId":"a"}"#,
            r#"{"type":77,"anything":[]}"#,
        ],
    );
    let room = GroupName::new("room").unwrap();
    assert_eq!(found[0], Ok(ClientFrame::Join { request: 0, group: room }));
    let Ok(ClientFrame::Send(send)) = &found[1] else { panic!("{:?}", found[1]) };
    assert_eq!((send.request, send.ack, send.to.as_slice()), (1, false, &[Target::All][..]));
    assert_eq!(found[2], Err((2, Code::MethodUnknown)));
    assert_eq!(found[3], Err((3, Code::NotAStream)));
    assert_eq!(found[4], Err((4, Code::NotAStream)));
    assert!(matches!(&found[5], Ok(ClientFrame::Refresh { request: 5, .. })));
    assert_eq!(found.len(), 6);
    assert_eq!(book.id(0).as_deref(), Some("a"), "it waits for an answer");
    assert_eq!(book.id(1), None, "nobody waits for one");
}

#[test]
fn with_an_application_everything_is_a_call() {
    let (book, mut hearing) = hearing(true);
    let found = say(
        &mut hearing,
        &[
            r#"{"type":1,"invocationId":"a","target":"JoinGroup","arguments":["room"],"streamIds":["x","y"]}"#,
            r#"{"type":4,"invocationId":"b","target":"Count","arguments":[3]}"#,
            r#"{"type":1,"invocationId":"a","target":"Again","arguments":[]}"#,
            r#"{"type":1,"invocationId":"c","target":"Sum","arguments":[],"streamIds":["y"]}"#,
            r#"{"type":5,"invocationId":"b"}"#,
            r#"{"type":5,"invocationId":"unknown"}"#,
            r#"{"type":3,"invocationId":"r7","result":{"a":1}}"#,
            r#"{"type":3,"invocationId":"r8","error":"no"}"#,
            r#"{"type":3,"invocationId":"r9"}"#,
        ],
    );
    let invoke = |request, method: &str, credit, streams, arguments: &'static str| {
        let (method, arguments) = (MethodName::new(method).unwrap(), Payload::json(arguments));
        call(ClientCall::Invoke(Invoke { request, method, credit, streams, arguments }))
    };
    assert_eq!(found[0], invoke(0, "JoinGroup", 0, vec![0, 1], r#"["room"]"#));
    assert_eq!(found[1], invoke(1, "Count", u32::MAX, vec![], "[3]"));
    assert_eq!(found[2], Err((2, Code::InvalidRequest)), "its id is that of the first");
    assert_eq!(found[3], Err((3, Code::InvalidRequest)), "its stream is that of the first");
    assert_eq!(found[4], call(ClientCall::Cancel { request: 1 }));
    let completion = |call, outcome| ClientFrame::Call(ClientCall::Completion { call, outcome });
    assert_eq!(found[5], Ok(completion(7, Outcome::Value(Payload::json(r#"{"a":1}"#)))));
    assert_eq!(found[6], Ok(completion(8, Outcome::Failed(failure("no".to_owned())))));
    assert_eq!(found[7], Ok(completion(9, Outcome::Nothing)));
    assert_eq!(book.stream("x"), Some(0));
}

#[test]
fn items_wait_for_their_method_in_their_order_and_hold_up_no_answer() {
    let (book, mut hearing) = hearing(true);
    let open = r#"{"type":1,"invocationId":"a","target":"Two","arguments":[],"streamIds":["x","y"]}"#;
    assert_eq!(say(&mut hearing, &[open]).len(), 1);
    let found = say(
        &mut hearing,
        &[
            r#"{"type":2,"invocationId":"x","item":1}"#,
            r#"{"type":2,"invocationId":"x","item":2}"#,
            r#"{"type":3,"invocationId":"x"}"#,
            r#"{"type":2,"invocationId":"y","item":3}"#,
            r#"{"type":3,"invocationId":"r0","result":1}"#,
        ],
    );
    assert_eq!(found.len(), 1, "the answer alone, which a method may wait for: {found:?}");
    book.credit(1, 1);
    let item = |stream, item: &'static str| call(ClientCall::Item { stream, item: Payload::json(item) });
    assert_eq!(drain(&mut hearing), [item(1, "3")]);
    book.credit(0, 1);
    assert_eq!(drain(&mut hearing), [item(0, "1")], "the end is behind the second");
    book.credit(0, 5);
    assert_eq!(drain(&mut hearing), [item(0, "2"), call(ClientCall::End { stream: 0, failure: None })]);
    assert!(!hearing.holds());
    assert_eq!(book.stream("x"), None);
}

#[test]
fn promise_12_no_more_is_kept_of_items_than_the_bound_and_nothing_of_a_stream_that_has_ended() {
    let (book, mut hearing) = hearing(true);
    let open = r#"{"type":1,"invocationId":"a","target":"Sum","arguments":[],"streamIds":["x"]}"#;
    assert_eq!(say(&mut hearing, &[open]).len(), 1);
    let items: Vec<String> =
        (0..1_000).map(|item| format!(r#"{{"type":2,"invocationId":"x","item":{item}}}"#)).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    assert_eq!(say(&mut hearing, &items).len(), 0);
    assert!(matches!(hearing.next(), Ok(Next::Full)));
    assert_eq!(hearing.held.len(), HELD_ITEMS);
    // Its method has not begun for too long: one goes without credit, for the link to end the stream.
    assert!(matches!(hearing.overrun(), Some(Next::Heard(Heard::Bytes(_)))));
    book.credit(0, 10);
    assert_eq!(drain(&mut hearing).len(), 10);
    assert!(matches!(hearing.next(), Ok(Next::Full)));
    // Its method has begun, and may take as long as it likes for the next.
    assert!(hearing.overrun().is_none());
    // Its method has ended.
    assert!(book.end(0).is_some());
    assert_eq!(drain(&mut hearing).len(), 0);
    assert!(!hearing.holds(), "the rest was thrown away");
    assert_eq!(book.len(), 0);
}

#[test]
fn promise_12_what_is_no_message_ends_the_connection_with_a_code() {
    for (record, code) in [
        ("{\"type\":1", Code::MalformedFrame),
        ("[]", Code::MalformedFrame),
        ("{\"type\":1,\"target\":\"\",\"arguments\":[]}", Code::MalformedFrame),
        (&*format!("{{\"type\":6,\"x\":\"{}\"}}", "x".repeat(1_000)), Code::FrameTooLarge),
    ] {
        let (_, mut hearing) = hearing(true);
        hearing.take(format!("{record}\u{1e}").into());
        let Err(Broken::Unreadable(reason)) = hearing.next() else { panic!("{record}") };
        assert_eq!(reason.code, code, "{record}");
    }
}

#[test]
fn the_last_word_of_a_client_is_its_close() {
    let (_, mut hearing) = hearing(true);
    hearing.take(Bytes::from_static(b"{\"type\":7}\x1e{\"type\":6}\x1e"));
    assert!(matches!(hearing.next(), Ok(Next::Closed)));
}
