//! Why a connection ended.
//!
//! In: what QUIC or the stream reports. Out: a [`Disconnect`], which says it to a person and decides whether connecting
//! again can help.
//!
//! Invariant: a close by the server keeps its number; a number is only ever taken for a [`Code`] where it is one.

use std::fmt;

use fanfare_protocol::Code;
use quinn::ConnectionError;

/// Why the connection to the server ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The server closed the connection and said why.
    #[error("the server closed the connection: {}", Told(*code, reason))]
    Closed {
        /// The number of a [`Code`]; one that this version does not know is possible.
        code: u16,
        /// The server's own words; may be empty.
        reason: String,
    },
    /// The server answered that it knows nothing of the connection (QUIC stateless reset): it was restarted.
    #[error("the server does not know the connection any more; most likely it was restarted")]
    Reset,
    /// Nothing came from the server, not even answers to keep-alives, for 30 s or the server's own idle timeout.
    #[error("nothing was heard from the server any more (for 30 s, or what the server allows)")]
    TimedOut,
    /// The server ended or refused the stream that everything goes over, without closing the connection.
    #[error("the server broke the stream off without closing the connection")]
    StreamEnded,
    /// QUIC or TLS failed.
    #[error("the QUIC connection failed: {detail}")]
    Transport {
        /// What QUIC says about it.
        detail: String,
    },
    /// What the server sent is not the protocol. The client closed the connection.
    #[error("the server broke the protocol: {detail}")]
    Protocol {
        /// What was wrong.
        detail: String,
    },
}

impl Disconnect {
    /// The server's code, if it closed the connection with one that this version knows.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Closed { code, .. } => known(*code),
            _ => None,
        }
    }

    /// Whether it makes sense to connect again. A close with an unknown code counts as meant: only the code could say
    /// that coming back is welcome.
    #[must_use]
    pub fn may_reconnect(&self) -> bool {
        match self {
            Self::Closed { code, .. } => known(*code).is_some_and(Code::may_reconnect),
            Self::Protocol { .. } => false,
            Self::Reset | Self::TimedOut | Self::StreamEnded | Self::Transport { .. } => true,
        }
    }
}

impl From<ConnectionError> for Disconnect {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => match u16::try_from(close.error_code.into_inner()) {
                Ok(code) => {
                    Self::Closed { code, reason: String::from_utf8_lossy(&close.reason).into_owned() }
                }
                Err(_) => Self::Protocol { detail: format!("it closed with code {}", close.error_code) },
            },
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::TimedOut,
            // Only the writer closes a connection that the reader still follows: when the server refuses the stream.
            ConnectionError::LocallyClosed => Self::StreamEnded,
            error @ (ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::CidsExhausted) => Self::Transport { detail: error.to_string() },
        }
    }
}

/// The code with this number, if this version knows it.
pub(crate) fn known(number: u16) -> Option<Code> {
    Code::try_from(u64::from(number)).ok()
}

/// A code and the server's own words about it, for a person: the code's sentence, unless it is unknown, and the words,
/// unless they only repeat it.
pub(crate) struct Told<'a>(pub(crate) u16, pub(crate) &'a str);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, words) = *self;
        match known(number) {
            Some(code) => write!(f, "{code}")?,
            None => write!(f, "code {number}, which this version does not know")?,
        }
        if words.is_empty() || known(number).is_some_and(|code| words == code.sentence()) {
            return Ok(());
        }
        write!(f, ": {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16) -> Disconnect {
        Disconnect::Closed { code, reason: String::new() }
    }

    #[test]
    fn codes_decide_about_reconnecting() {
        for code in Code::ALL {
            assert_eq!(closed(code.number()).may_reconnect(), code.may_reconnect(), "{code:?}");
            assert_eq!(closed(code.number()).code(), Some(*code));
        }
        assert!(!closed(64_999).may_reconnect(), "an unknown code is an end that was meant");
        assert_eq!(closed(64_999).code(), None);
        assert!(Disconnect::Reset.may_reconnect());
        assert!(!Disconnect::Protocol { detail: String::new() }.may_reconnect());
    }

    #[test]
    fn what_was_told_is_not_told_twice() {
        let sentence = Code::UserFull.sentence();
        assert_eq!(Told(4003, sentence).to_string(), format!("{sentence} (code 4003)"));
        assert_eq!(Told(4003, "").to_string(), format!("{sentence} (code 4003)"));
        assert_eq!(Told(4003, "5 of 5").to_string(), format!("{sentence} (code 4003): 5 of 5"));
        assert_eq!(Told(9, "new").to_string(), "code 9, which this version does not know: new");
    }
}
