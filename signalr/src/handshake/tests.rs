use super::*;

fn read(bytes: &[u8]) -> Result<Option<Handshake>, HandshakeError> {
    HandshakeReader::default().read(&mut Bytes::copy_from_slice(bytes))
}

#[test]
fn what_clients_send_is_taken() {
    for (request, encoding, version) in [
        // JavaScript and .NET; signalrcore's JSON; a client that offers stateful reconnects; Python's white space.
        ("{\"protocol\":\"json\",\"version\":1}\x1e", Encoding::Json, 1),
        ("{\"protocol\":\"json\",\"version\":0}\x1e", Encoding::Json, 0),
        ("{\"protocol\":\"messagepack\",\"version\":2}\x1e", Encoding::MessagePack, 2),
        ("{\"protocol\": \"messagepack\", \"version\": 1}\x1e", Encoding::MessagePack, 1),
        ("{\"version\":1,\"protocol\":\"JSON\",\"later\":{\"a\":[1]}}\x1e", Encoding::Json, 1),
    ] {
        assert_eq!(read(request.as_bytes()), Ok(Some(Handshake { encoding, version })), "{request}");
    }
}

#[test]
fn nothing_behind_the_request_is_taken_however_it_is_split() {
    let stream = b"{\"protocol\":\"json\",\"version\":1}\x1e{\"type\":6}\x1e{";
    for cut in 0..stream.len() {
        let mut reader = HandshakeReader::default();
        let (mut first, mut second) =
            (Bytes::copy_from_slice(&stream[..cut]), Bytes::copy_from_slice(&stream[cut..]));
        let mut handshake = reader.read(&mut first).unwrap();
        if handshake.is_none() {
            assert!(first.is_empty());
            handshake = reader.read(&mut second).unwrap();
        }
        assert_eq!(handshake, Some(Handshake { encoding: Encoding::Json, version: 1 }));
        assert_eq!([first, second].concat(), b"{\"type\":6}\x1e{");
    }
}

#[test]
fn a_request_is_bounded() {
    let mut reader = HandshakeReader::default();
    for _ in 0..REQUEST_BYTES {
        assert_eq!(reader.read(&mut Bytes::from_static(b" ")), Ok(None));
    }
    assert_eq!(reader.read(&mut Bytes::from_static(b" ")), Err(HandshakeError::TooLong));
    let long = [vec![b' '; REQUEST_BYTES + 1], b"{}\x1e".to_vec()].concat();
    assert_eq!(read(&long), Err(HandshakeError::TooLong));
}

#[test]
fn what_is_refused_is_answered_in_signalrs_words() {
    let failed = "An unexpected error occurred during connection handshake.";
    for (request, shown, told) in [
        (
            "{\"protocol\":\"x\",\"version\":1}",
            "the hub protocol that is asked for is neither json nor messagepack",
            "The protocol 'x' is not supported.",
        ),
        (
            "{\"protocol\":\"json\",\"version\":3}",
            "version 3 of the hub protocol JSON is not spoken",
            "The server does not support version 3 of the 'json' protocol.",
        ),
        (
            "{\"protocol\":\"messagepack\",\"version\":-1}",
            "version -1 of the hub protocol MessagePack is not spoken",
            "The server does not support version -1 of the 'messagepack' protocol.",
        ),
        ("", "the handshake is not well-formed: it ends too early at byte 0", failed),
        ("{\"protocol\":", "the handshake is not well-formed: it ends too early at byte 12", failed),
        ("\"secret\"", "the handshake is none: it is no object", failed),
        ("{\"version\":1}", "the handshake is none: `protocol` is missing", failed),
        ("{\"protocol\":\"json\"}", "the handshake is none: `version` is missing", failed),
        ("{\"protocol\":7,\"version\":1}", "the handshake is none: `protocol` is not a text", failed),
        (
            "{\"protocol\":\"json\",\"version\":\"1\"}",
            "the handshake is none: `version` is not an integer",
            failed,
        ),
        (
            "{\"protocol\":\"json\",\"version\":1,\"version\":2}",
            "the handshake is none: `version` is there twice",
            failed,
        ),
    ] {
        let error = read(format!("{request}\x1e").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), shown, "{request}");
        assert_eq!(error.answer(), format!("{{\"error\":\"{told}\"}}\x1e"), "{request}");
    }
}

#[test]
fn the_name_of_a_protocol_is_told_to_its_client_alone() {
    let error = read(b"{\"protocol\":\"\\\"secret\",\"version\":1}\x1e").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    assert_eq!(error.answer(), "{\"error\":\"The protocol '\\\"secret' is not supported.\"}\x1e");
}

#[test]
fn answers_are_whole_records() {
    assert_eq!(accepted(), "{}\x1e");
    assert_eq!(refused(texts::HANDSHAKE_CANCELED), "{\"error\":\"Handshake was canceled.\"}\x1e");
    // An empty error would be none to JavaScript clients.
    assert_eq!(refused(""), format!("{{\"error\":\"{}\"}}\x1e", texts::HANDSHAKE_FAILED));
}
