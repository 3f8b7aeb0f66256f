//! Fanfare's codes in SignalR's words.
//!
//! In: the number and the sentence of a refusal, or of an end. Out: what a client is told. Invariant: an application's
//! own reason comes through word for word, and nothing that went wrong inside the server does.

use fanfare_protocol::Code;
use fanfare_protocol::call::Failure;
use fanfare_signalr::texts;

/// Why a method that a client has called failed. `is_stream`: it was called for items.
pub(super) fn of_call(method: &str, is_stream: bool, code: u16, detail: &str) -> String {
    let failed = || texts::method_failed(method);
    let own = || if detail.is_empty() { failed() } else { texts::because(&failed(), detail) };
    match Code::try_from(u64::from(code)) {
        Ok(Code::MethodUnknown | Code::NotKnownHere) => texts::no_method(method),
        Ok(Code::ArgumentsInvalid) => texts::arguments_refused(method),
        Ok(Code::NotGranted | Code::BannedFromGroup) => texts::unauthorized(method),
        Ok(Code::NotAStream) if is_stream => texts::is_no_stream(method),
        Ok(Code::NotAStream) => texts::is_a_stream(method),
        Ok(Code::Internal | Code::MethodPanicked) => failed(),
        Ok(Code::CallFailed) => own(),
        Err(_) if (Failure::FIRST_OWN..=Failure::LAST_OWN).contains(&code) => own(),
        _ => texts::because(&failed(), &with_code(detail, code)),
    }
}

/// Why a connection ends; nothing where that was meant.
pub(super) fn of_end(code: u16, reason: &str) -> Option<String> {
    (code != Code::Normal.number()).then(|| with_code(reason, code))
}

/// What a handshake is answered that is refused.
pub(super) fn of_handshake(code: u16, reason: &str) -> String {
    match Code::try_from(u64::from(code)) {
        Ok(Code::HandshakeTimeout) => texts::HANDSHAKE_CANCELED.to_owned(),
        _ => with_code(reason, code),
    }
}

fn with_code(reason: &str, code: u16) -> String {
    match Code::try_from(u64::from(code)) {
        Ok(known) if reason.is_empty() => known.to_string(),
        _ => format!("{reason} (code {code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_and_none_of_them_is_empty() {
        for code in Code::ALL {
            for is_stream in [false, true] {
                let text = of_call("M", is_stream, code.number(), "");
                assert!(text.contains("'M'"), "{text}");
            }
            assert!(!of_handshake(code.number(), "").is_empty());
        }
    }

    #[test]
    fn the_words_are_signalr_s() {
        let unexpected = "An unexpected error occurred invoking 'M' on the server.";
        let refused = "Failed to invoke 'M' due to an error on the server.";
        for (code, detail, expected) in [
            (2201, "there is no method \"M\"", format!("{refused} HubException: Method does not exist.")),
            (2202, "invalid length 1", refused.to_owned()),
            (3102, "no grant", "Failed to invoke 'M' because user is unauthorized".to_owned()),
            (3103, "banned", "Failed to invoke 'M' because user is unauthorized".to_owned()),
            (5001, "the disk is full", unexpected.to_owned()),
            (5002, "index out of bounds", unexpected.to_owned()),
            (2203, "sold out", format!("{unexpected} HubException: sold out")),
            (10_001, "sold out", format!("{unexpected} HubException: sold out")),
            (
                4006,
                "the payload is long",
                format!("{unexpected} HubException: the payload is long (code 4006)"),
            ),
            (
                64_001,
                "of a later version",
                format!("{unexpected} HubException: of a later version (code 64001)"),
            ),
        ] {
            assert_eq!(of_call("M", false, code, detail), expected);
        }
        assert_eq!(of_end(0, ""), None);
        assert_eq!(of_end(3010, "enough").unwrap(), "enough (code 3010)");
        assert_eq!(of_handshake(2007, "x"), "Handshake was canceled.");
        assert_eq!(of_handshake(3009, ""), "The user is banned from this server. (code 3009)");
    }
}
