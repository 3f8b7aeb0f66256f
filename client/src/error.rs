//! The errors of the client's operations: one type per operation.
//!
//! In: what went wrong, from the files that do the work. Out: a sentence that says what, where, and what to do about
//! it. Invariant: a refusal by the server keeps its code; an error that leaves open whether a request was done says so.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Code, NameError, Payload};

use crate::disconnect::{ComeBack, Disconnect, Told, known};

/// Why a connection could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting of the [`ClientConfig`](crate::ClientConfig) is out of bounds.
    #[error("the setting {setting} is out of bounds: {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is allowed.
        problem: &'static str,
    },
    /// The server's address cannot be read.
    #[error("{address:?} is not a server's address: {problem}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it, and how to write it.
        problem: String,
    },
    /// The server's name could not be looked up.
    #[error("the name of {server} could not be looked up: {source}")]
    Resolve {
        /// Host and port.
        server: String,
        /// What the resolver says.
        source: Arc<io::Error>,
    },
    /// The certificate authorities to trust could not be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The application's token provider gave no token.
    #[error("the token provider failed: {detail}")]
    TokenProvider {
        /// What it says.
        detail: String,
    },
    /// No UDP socket could be opened.
    #[error("no UDP socket could be opened: {0}")]
    Socket(Arc<io::Error>),
    /// Nothing answered: no server there, another port, or UDP is blocked on the way.
    #[error(
        "no Fanfare server answered at {server} within {} s over UDP; is it running, and does a firewall let UDP through?",
        within.as_secs_f32()
    )]
    Unreachable {
        /// Host and port.
        server: String,
        /// How long it was tried.
        within: Duration,
    },
    /// A server answered, but did not say `Welcome` in time.
    #[error("the server at {server} took the connection, but did not welcome the client within {} s", within.as_secs_f32())]
    NoWelcome {
        /// Host and port.
        server: String,
        /// How long it was waited for, from the start.
        within: Duration,
    },
    /// The server's certificate was not signed by anyone who is trusted.
    #[error(
        "the certificate of {server} is not signed by a trusted authority ({detail}); trusted: {roots}. If this is \
         the right server, give the file of its authority (Roots::Pem, or the variable SSL_CERT_FILE)"
    )]
    UnknownIssuer {
        /// Host and port.
        server: String,
        /// Which authorities are trusted.
        roots: String,
        /// What TLS says.
        detail: String,
    },
    /// The server's certificate is for another name.
    #[error(
        "the certificate of {server} is for another name ({detail}); connect by a name that it is for, or have one made \
         for this name"
    )]
    WrongName {
        /// Host and port.
        server: String,
        /// What TLS says, the certificate's names included.
        detail: String,
    },
    /// The server's certificate has expired, or is not valid yet.
    #[error(
        "the certificate of {server} is not valid now ({detail}); have it renewed, or check this machine's clock"
    )]
    Expired {
        /// Host and port.
        server: String,
        /// What TLS says, the times included.
        detail: String,
    },
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake with {server} failed: {detail}")]
    Tls {
        /// Host and port.
        server: String,
        /// What TLS says.
        detail: String,
    },
    /// There is a QUIC server, but it does not speak Fanfare's protocol.
    #[error("the server at {server} speaks QUIC, but not Fanfare's protocol (ALPN fanfare/1)")]
    NotFanfare {
        /// Host and port.
        server: String,
    },
    /// The server turned the connection away before TLS: it takes no more at the moment.
    #[error("the server at {server} takes no more connections at the moment (QUIC CONNECTION_REFUSED)")]
    TurnedAway {
        /// Host and port.
        server: String,
    },
    /// The WebSocket, which goes alone where it had helped before, could not be made.
    #[error("no connection over the WebSocket {url}: {detail}")]
    WebSocket {
        /// Where it is.
        url: String,
        /// What failed.
        detail: String,
    },
    /// The server took the connection and closed it again, with a code.
    #[error("the server at {server} refused the connection: {}", Told(*code, reason))]
    Refused {
        /// Host and port.
        server: String,
        /// The number of a [`Code`]; one that this version does not know is possible.
        code: u16,
        /// The server's own words; may be empty.
        reason: String,
        /// What it said about coming back.
        come_back: ComeBack,
    },
    /// The connection was lost before it was ready.
    #[error("the connection to {server} was lost before it was ready: {reason}")]
    Lost {
        /// Host and port.
        server: String,
        /// How it was lost.
        reason: Disconnect,
    },
    /// There are several addresses, and each was tried in vain.
    #[error("none of {} servers could be connected to: {}", failures.len(), Each(failures))]
    AllFailed {
        /// Why, one for each address, in the order in which they were tried.
        failures: Vec<ConnectError>,
    },
}

impl ConnectError {
    /// Whether another way may lead to the server, which may not have been reached.
    pub(crate) fn may_be_udp(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Socket(_) | Self::Lost { .. })
    }

    /// The server's code, if it refused the connection with one that this version knows; of several, if all say the
    /// same.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => known(*code),
            Self::AllFailed { failures } => {
                let first = failures.first().and_then(Self::code);
                first.filter(|_| failures.iter().all(|failure| failure.code() == first))
            }
            _ => None,
        }
    }

    /// How long the server wants not to see this client; of several, the one that says so for the shortest time.
    #[must_use]
    pub fn stay_away(&self) -> Duration {
        match self {
            Self::Refused { come_back, .. } => come_back.pause(),
            Self::Lost { reason, .. } => reason.stay_away(),
            Self::AllFailed { failures } => failures.iter().map(Self::stay_away).min().unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether another attempt at the same address, later, may succeed without anyone changing anything; of several, at
    /// one of them. This is what the client goes by when it reconnects.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Refused { code, come_back, .. } => come_back.allows(*code),
            Self::Lost { reason, .. } => reason.may_reconnect(),
            Self::AllFailed { failures } => failures.iter().any(Self::may_retry),
            Self::Resolve { .. }
            | Self::Socket(_)
            | Self::TokenProvider { .. }
            | Self::Unreachable { .. }
            | Self::WebSocket { .. }
            | Self::NoWelcome { .. }
            | Self::Tls { .. }
            | Self::TurnedAway { .. } => true,
            Self::Setting { .. }
            | Self::Address { .. }
            | Self::Roots(_)
            | Self::UnknownIssuer { .. }
            | Self::WrongName { .. }
            | Self::Expired { .. }
            | Self::NotFanfare { .. } => false,
        }
    }
}

/// Errors, each of which names its server, one after the other.
struct Each<'a>(&'a [ConnectError]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// Why the certificate authorities to trust could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// The file cannot be read.
    #[error("the certificate file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The file is not PEM, or is damaged.
    #[error("the certificate file {} is not valid PEM: {detail}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file has no certificate in it.
    #[error("the file {} has no certificate in it (no line says BEGIN CERTIFICATE)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file cannot be used as an authority.
    #[error("certificate {number} in {} cannot be used: {detail}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Which one, counted from 1.
        number: usize,
        /// Why not.
        detail: String,
    },
    /// The system has no certificate authorities.
    #[error(
        "the system has no usable certificate authorities ({detail}); set SSL_CERT_FILE, or use Roots::Pem"
    )]
    System {
        /// What was found instead.
        detail: String,
    },
    /// [`Roots::Store`](crate::Roots::Store) was given with nothing in it.
    #[error("the given store of certificate authorities is empty")]
    EmptyStore,
    /// TLS takes none of it.
    #[error("TLS could not be set up: {detail}")]
    Tls {
        /// What TLS says.
        detail: String,
    },
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server refused the request; nothing of it was done.
    #[error("the server refused: {}", Told(*code, detail))]
    Refused {
        /// The number of a [`Code`]; one that this version does not know is possible.
        code: u16,
        /// What exactly was wrong, in the server's words.
        detail: String,
    },
    /// A name is empty or too long. Nothing was sent.
    #[error(transparent)]
    InvalidName(#[from] NameError),
    /// The send names no target. Nothing was sent.
    #[error("the send names no target")]
    NoTarget,
    /// The payload is longer than the server allows. Nothing was sent.
    #[error("the payload has {bytes} bytes; the server allows {limit}")]
    PayloadTooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// How many the server allows.
        limit: u32,
    },
    /// The message does not fit a datagram. Nothing was sent.
    #[error("the message has {bytes} bytes as a datagram; at most {limit} get through")]
    DatagramTooLarge {
        /// How many bytes it would have.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The send names more targets, or excepts more connections, than the server allows. Nothing was sent.
    #[error("the send names {targets} targets or exceptions; the server allows {limit} of each")]
    TooManyTargets {
        /// How many it names: the larger of the two lists.
        targets: usize,
        /// How many the server allows.
        limit: u32,
    },
    /// Targets and payload are within their limits, but together make a longer frame than the server allows. Nothing
    /// was sent.
    #[error("targets, names and payload take {bytes} bytes together; the server allows {limit}")]
    FrameTooLarge {
        /// How many bytes they take.
        bytes: usize,
        /// How many the server allows.
        limit: u32,
    },
    /// The connection was lost before the answer came. Whether the request was done is not known; the client never
    /// sends a request twice, so that nothing happens twice.
    #[error("the connection was lost before the answer came; whether the request was done is not known")]
    Disconnected,
    /// There is no connection at the moment: the client is reconnecting. Nothing was sent.
    #[error("there is no connection to the server at the moment; nothing was sent")]
    NotConnected,
    /// No answer came in time.
    #[error(
        "no answer came within {} s; {}{}",
        after.as_secs_f32(),
        if *sent { "whether the request was done is not known" } else { "the request was not sent, as the stream is blocked or 1,024 before it have no answer" },
        if *queue_full { ". The event queue is full, which stops all reading: call next() all the time" } else { "" }
    )]
    Timeout {
        /// How long it was waited for.
        after: Duration,
        /// Whether the request was handed to the transport. If not, it was certainly not done.
        sent: bool,
        /// Whether the event queue was full, in which case the client does not read at all, answers included.
        queue_full: bool,
    },
    /// The client is closed. Nothing was sent.
    #[error("the client is closed; nothing was sent")]
    Closed,
}

impl RequestError {
    /// The server's code, if it refused the request with one that this version knows.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => known(*code),
            _ => None,
        }
    }
}

/// Why a call did not give what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was not begun, or what came of it is not known.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server has no application that could be called. Nothing was sent.
    #[error("the server has no application with methods; nothing was sent")]
    NotSupported,
    /// The arguments cannot be encoded. Nothing was sent.
    #[error("the arguments cannot be encoded: {0}")]
    Arguments(String),
    /// The method did not end well.
    #[error("the call failed: {detail} (code {code})")]
    Failed {
        /// The number of a [`Code`], or one of the application's own, from 10,000 to 63,999.
        code: u16,
        /// What is wrong, in the application's words.
        detail: String,
        /// What the application says of it to programs. Empty where it says nothing.
        data: Payload,
    },
    /// What came is not what was asked for.
    #[error("what came of the call cannot be read: {0}")]
    Value(String),
}

impl CallError {
    /// The number that the server or the application gave, if it did.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Failed { code, .. } | Self::Request(RequestError::Refused { code, .. }) => Some(*code),
            _ => None,
        }
    }
}

// A name that is one already needs no check. With this, `join` takes text and names alike.
impl From<std::convert::Infallible> for RequestError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// Why a graceful close was not one. The client is closed all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The server did not confirm within the deadline that it has everything.
    #[error("the server did not finish within {} s; what was sent last may be lost", after.as_secs_f32())]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// The connection was lost before the server confirmed that it has everything.
    #[error("the connection was lost while it was being closed, so what was sent last may be lost: {0}")]
    Lost(Disconnect),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_server_is_named() {
        let error = ConnectError::Unreachable {
            server: "example.org:4433".to_owned(),
            within: Duration::from_secs(10),
        };
        let text = error.to_string();
        assert!(
            text.starts_with("no Fanfare server answered at example.org:4433 within 10 s over UDP"),
            "{text}"
        );
    }

    #[test]
    fn of_several_each_is_named_and_a_code_counts_that_all_say() {
        let refused = |server: &str, code: Code, seconds| ConnectError::Refused {
            server: server.to_owned(),
            code: code.number(),
            reason: String::new(),
            come_back: ComeBack::After(Duration::from_secs(seconds)),
        };
        let cut_off = vec![refused("a:1", Code::CutOff, 9), refused("b:2", Code::CutOff, 3)];
        let all = ConnectError::AllFailed { failures: cut_off.clone() };
        let text = all.to_string();
        assert!(text.starts_with("none of 2 servers could be connected to: the server at a:1"), "{text}");
        assert!(text.contains("; the server at b:2"), "{text}");
        assert_eq!((all.code(), all.stay_away()), (Some(Code::CutOff), Duration::from_secs(3)));
        assert!(all.may_retry());
        let stranger = ConnectError::NotFanfare { server: "c:3".to_owned() };
        let some = ConnectError::AllFailed { failures: [cut_off, vec![stranger.clone()]].concat() };
        assert_eq!((some.code(), some.may_retry()), (None, true));
        assert!(!ConnectError::AllFailed { failures: vec![stranger.clone(), stranger] }.may_retry());
    }

    #[test]
    fn a_timeout_says_what_is_known() {
        let timeout =
            |sent, queue_full| RequestError::Timeout { after: Duration::from_millis(500), sent, queue_full };
        assert_eq!(
            timeout(true, false).to_string(),
            "no answer came within 0.5 s; whether the request was done is not known"
        );
        assert!(timeout(true, true).to_string().contains("The event queue is full"));
        assert!(timeout(false, false).to_string().contains("was not sent"));
    }

    #[test]
    fn codes_decide_about_retrying() {
        let refused = |code| ConnectError::Refused {
            server: String::new(),
            code,
            reason: String::new(),
            come_back: ComeBack::ByCode,
        };
        for code in Code::ALL {
            assert_eq!(refused(code.number()).may_retry(), code.may_reconnect(), "{code:?}");
        }
        assert!(!refused(64_999).may_retry());
    }
}
