use super::*;

fn json(answer: NegotiateAnswer<'_>) -> String {
    serde_json::to_string(&answer).unwrap()
}

#[test]
fn the_version_is_the_one_that_both_know() {
    for (asked, version) in [
        (None, NegotiateVersion::Zero),
        (Some("0"), NegotiateVersion::Zero),
        (Some("1"), NegotiateVersion::One),
        (Some("2"), NegotiateVersion::One),
        (Some("9000000000"), NegotiateVersion::One),
    ] {
        assert_eq!(NegotiateVersion::choose(asked), Ok(version), "{asked:?}");
    }
    for (asked, error) in [
        ("", "The client requested a non-integer protocol version."),
        ("one", "The client requested a non-integer protocol version."),
        ("1.5", "The client requested a non-integer protocol version."),
        ("-1", "The client requested version '-1', but the server does not support this version."),
    ] {
        let refused = NegotiateVersion::choose(Some(asked)).unwrap_err().to_string();
        assert_eq!(refused, error, "{asked:?}");
        assert_eq!(json(NegotiateAnswer::refused(&refused)), format!("{{\"error\":\"{error}\"}}"));
    }
}

#[test]
fn version_1_has_a_token_and_version_0_has_none() {
    let transports =
        r#""availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]"#;
    assert_eq!(
        json(NegotiateAnswer::accepted(NegotiateVersion::One, "807809a5", "05265228")),
        format!(
            r#"{{"negotiateVersion":1,"connectionId":"807809a5","connectionToken":"05265228",{transports}}}"#
        )
    );
    assert_eq!(
        json(NegotiateAnswer::accepted(NegotiateVersion::Zero, "807809a5", "05265228")),
        format!(r#"{{"negotiateVersion":0,"connectionId":"807809a5",{transports}}}"#)
    );
}

#[test]
fn what_opens_a_connection_is_not_shown() {
    let answer = NegotiateAnswer::accepted(NegotiateVersion::One, "its-id", "its-token");
    let shown = format!("{answer:?}");
    assert!(!shown.contains("its-"), "{shown}");
}

#[test]
fn a_refused_connect_has_asp_nets_status_and_text() {
    for (refusal, status, body) in [
        (ConnectRefusal::NoConnection, 404, "No Connection with that ID"),
        (ConnectRefusal::AlreadyConnected, 409, ""),
        (ConnectRefusal::NoId, 400, "Connection ID required"),
    ] {
        assert_eq!((refusal.status(), refusal.body()), (status, body));
    }
}
