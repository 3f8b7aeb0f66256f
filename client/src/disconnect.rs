//! Why a connection ended.
//!
//! In: what QUIC or the stream reports. Out: a [`Disconnect`], which says it to a person and decides whether connecting
//! again can help.
//!
//! Invariants: a close by the server keeps its number; a number is only ever taken for a [`Code`] where it is one; what
//! `Goodbye` said stands for a close that says nothing.

use std::fmt;
use std::time::Duration;

use fanfare_protocol::Code;
use quinn::ConnectionError;

/// Whether the server wants to see a client again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ComeBack {
    /// It did not say; its code does ([`Code::may_reconnect`]).
    #[default]
    ByCode,
    /// No.
    Never,
    /// Yes, but not before so long.
    After(Duration),
}

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
        /// What it said about coming back.
        come_back: ComeBack,
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
            Self::Closed { code, come_back, .. } => come_back.allows(*code),
            Self::Protocol { .. } => false,
            Self::Reset | Self::TimedOut | Self::StreamEnded | Self::Transport { .. } => true,
        }
    }

    /// How long the server wants not to see this client, from the loss on.
    #[must_use]
    pub fn stay_away(&self) -> Duration {
        match self {
            Self::Closed { come_back, .. } => come_back.pause(),
            _ => Duration::ZERO,
        }
    }

    /// What the server's last words say.
    pub(crate) fn goodbye(code: u16, reason: String, retry_after_ms: u32) -> Self {
        let come_back = match retry_after_ms {
            0 => ComeBack::Never,
            ms => ComeBack::After(Duration::from_millis(ms.into())),
        };
        Self::Closed { code, reason, come_back }
    }

    /// This end of a connection, with what the server had said before. Where the close gives no code of its own (0 is
    /// none: it is what a finished session ends with) the last words stand for it; where it repeats their code, they
    /// say when to come back; another code is newer than they are.
    pub(crate) fn after(self, goodbye: Option<Self>) -> Self {
        let Some(Self::Closed { code: told, reason: words, come_back }) = goodbye else {
            return self;
        };
        match self {
            Self::Closed { code, reason, .. } if code == told => {
                Self::Closed { code, reason: if reason.is_empty() { words } else { reason }, come_back }
            }
            Self::Closed { code, .. } if code != Code::Normal.number() => self,
            Self::Protocol { .. } => self,
            _ => Self::Closed { code: told, reason: words, come_back },
        }
    }
}

impl From<ConnectionError> for Disconnect {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => match u16::try_from(close.error_code.into_inner()) {
                Ok(code) => Self::Closed {
                    code,
                    reason: String::from_utf8_lossy(&close.reason).into_owned(),
                    come_back: ComeBack::ByCode,
                },
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

impl ComeBack {
    /// Whether a client that was closed with this code may come back by itself.
    pub(crate) fn allows(self, code: u16) -> bool {
        match self {
            Self::ByCode => known(code).is_some_and(Code::may_reconnect),
            Self::Never => false,
            Self::After(_) => true,
        }
    }

    /// For how long it may not.
    pub(crate) fn pause(self) -> Duration {
        match self {
            Self::After(pause) => pause,
            Self::ByCode | Self::Never => Duration::ZERO,
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
        if let Some(code) = known(number)
            && says(words, code.sentence())
        {
            return write!(f, "{words} (code {number})");
        }
        match known(number) {
            Some(code) => write!(f, "{code}")?,
            None => write!(f, "code {number}, which this version does not know")?,
        }
        if words.is_empty() {
            return Ok(());
        }
        write!(f, ": {words}")
    }
}

/// Whether words begin by saying what the code's sentence says, which then need not be said twice: `the user is banned
/// from the group "lobby"`.
fn says(words: &str, sentence: &str) -> bool {
    let gist = sentence.split([';', '.']).next().unwrap_or(sentence);
    words.get(..gist.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(gist))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16) -> Disconnect {
        Disconnect::Closed { code, reason: String::new(), come_back: ComeBack::ByCode }
    }

    #[test]
    fn last_words_stand_for_a_close_that_says_nothing() {
        let goodbye = || Disconnect::goodbye(3010, "maintenance".into(), 30_000);
        let Disconnect::Closed { come_back, .. } = goodbye() else { panic!() };
        assert_eq!(come_back, ComeBack::After(Duration::from_secs(30)));
        for silent in [Disconnect::TimedOut, Disconnect::Reset, Disconnect::StreamEnded, closed(0)] {
            assert_eq!(silent.after(Some(goodbye())), goodbye());
        }
        let lost = Disconnect::Transport { detail: String::new() };
        assert_eq!(lost.after(Some(goodbye())), goodbye());
        // The same code: the words are the close's, the time is the goodbye's.
        assert_eq!(closed(3010).after(Some(goodbye())), goodbye());
        // Another code came later, and says by itself whether to come back.
        assert_eq!(closed(3009).after(Some(goodbye())), closed(3009));
        let broken = Disconnect::Protocol { detail: String::new() };
        assert_eq!(broken.clone().after(Some(goodbye())), broken);
        assert_eq!(Disconnect::TimedOut.after(None), Disconnect::TimedOut);
    }

    #[test]
    fn a_time_in_the_last_words_is_more_than_the_code() {
        for code in Code::ALL.iter().map(|code| code.number()).chain([64_999]) {
            let never = Disconnect::goodbye(code, String::new(), 0);
            assert!(!never.may_reconnect(), "{code}");
            let later = Disconnect::goodbye(code, String::new(), 1_500);
            assert!(later.may_reconnect(), "{code}");
            assert_eq!(later.stay_away(), Duration::from_millis(1_500));
        }
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
        assert_eq!(
            Told(3103, "the user is banned from the group \"lobby\"").to_string(),
            "the user is banned from the group \"lobby\" (code 3103)"
        );
        assert_eq!(
            Told(3015, "The user was signed out. What is issued from now on will do.").to_string(),
            "The user was signed out. What is issued from now on will do. (code 3015)"
        );
        assert_eq!(Told(9, "new").to_string(), "code 9, which this version does not know: new");
    }
}
