//! What a close says: our code is in its text, since most codes are none that a WebSocket may close with.
//!
//! In: a code and a reason; or a close that came. Out: the message; or the code and the reason in it. Invariant: a
//! close by somebody in between has no code.

use tokio_websockets::{CloseCode, Message};

/// What a close says that is none of WebSocket's own reasons. The text begins with our code.
const CLOSED: u16 = 4_000;

/// The longest text of a close (RFC 6455, section 5.5).
const TEXT_BYTES: usize = 123;

/// What the peer's close said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The code, where it has one: a close by somebody in between has none.
    pub code: Option<u16>,
    /// The reason, cut to what fits.
    pub reason: String,
}

/// The message that says why: 0 is the ordinary end.
pub(crate) fn close(code: u16, reason: &str) -> Message {
    let own = CloseCode::try_from(CLOSED).unwrap_or(CloseCode::NORMAL_CLOSURE);
    let status = if code == 0 { CloseCode::NORMAL_CLOSURE } else { own };
    Message::close(Some(status), cut(&format!("{code} {reason}"), TEXT_BYTES))
}

/// What a close says: the code is in its text.
pub(crate) fn end_of(status: u16, text: &str) -> End {
    let (number, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code = number.parse().ok().filter(|_| status == CLOSED || status == 1_000);
    match code {
        Some(code) => End { code: Some(code), reason: reason.to_owned() },
        None => End { code: None, reason: text.to_owned() },
    }
}

/// The first bytes of a text, as many as make whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_close_is_in_its_text() {
        let end = |code, reason: &str| End { code, reason: reason.to_owned() };
        assert_eq!(end_of(4_000, "3103 enough for today"), end(Some(3103), "enough for today"));
        assert_eq!(end_of(1_000, "0"), end(Some(0), ""));
        assert_eq!(end_of(1_001, "3103 by a proxy"), end(None, "3103 by a proxy"));
        assert_eq!(end_of(4_000, "70000 too many"), end(None, "70000 too many"));
        assert_eq!(cut("\u{1F600}\u{1F600}", 7), "\u{1F600}");
    }
}
