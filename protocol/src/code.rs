//! The numbered codes: why a request was refused, a member removed or a connection closed.
//!
//! One number means one thing, on an `Error` frame and as the application error code of a QUIC close alike. Numbers are
//! never used again for something else. This file is the only place where they are given.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $retry:literal, $sentence:literal;)*) => {
        /// Why something was refused or ended. `code.number()` goes over the wire, `code.sentence()` to a person.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Code {
            $(
                #[doc = $sentence]
                $(#[$doc])*
                $name = $number,
            )*
        }

        impl Code {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What a person reads.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// The name in a log, a metric's label or a `--json` answer.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Whether a client that was closed with this code should reconnect by itself, after a delay.
            #[must_use]
            pub const fn may_reconnect(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
        }

        impl TryFrom<u64> for Code {
            type Error = UnknownCode;

            fn try_from(number: u64) -> Result<Self, UnknownCode> {
                match number {
                    $($number => Ok(Self::$name),)*
                    _ => Err(UnknownCode(number)),
                }
            }
        }
    };
}

codes! {
    // 0 and 1000: an end that was meant.
    Normal = 0, false, "The connection was closed in the ordinary way.";
    ShuttingDown = 1001, true, "The server is shutting down.";

    // 2000: what was sent is not the protocol. The connection ends.
    MalformedFrame = 2001, false, "The bytes are not a frame of this protocol.";
    FrameTooLarge = 2002, false, "The frame is longer than the server allows.";
    TruncatedFrame = 2003, false, "The stream ended in the middle of a frame.";
    HelloExpected = 2004, false, "The first frame must be Hello.";
    HelloRepeated = 2005, false, "Hello was sent a second time.";
    UnsupportedProtocol = 2006, false, "The server does not speak this version of the protocol.";
    HandshakeTimeout = 2007, true, "The handshake was not complete within the server's deadline.";
    StreamReset = 2008, true, "The client broke its stream off.";
    PathUnknown = 2009, false, "There is no WebTransport at this path.";
    // 2100: a request that makes no sense. It is refused, and the connection goes on.
    InvalidName = 2101, false, "A name must be 1 to 256 bytes of UTF-8, of characters that the server takes.";
    NoTarget = 2102, false, "The send names no target.";
    InvalidRequest = 2103, false, "The request makes no sense.";
    NothingThere = 2104, false, "There is no such connection, user or group.";
    // Of a later version. In `Hello` they end the connection, as a name does.
    NotKnownHere = 2105, false, "It has a frame, or a kind of something, that is not known here.";
    ExtensionNotKnown = 2106, false, "It has an extension that must be understood and is not known here.";
    // Of the HTTP API.
    IdempotencyMismatch = 2107, false, "The Idempotency-Key was used for another request.";
    IdempotencyInProgress = 2108, true, "The request with this Idempotency-Key is still being worked on.";
    // 2200: calls.
    MethodUnknown = 2201, false, "There is no such method.";
    ArgumentsInvalid = 2202, false, "The arguments are not those of the method.";
    CallFailed = 2203, false, "The method refused it.";
    CallCancelled = 2204, false, "The call was cancelled.";
    NotAStream = 2205, false, "The method gives one value and no items, or the other way round.";

    // 3000: who may do what.
    TokensNotConfigured = 3001, false, "The server has no token keys, so it cannot tell who connects.";
    DevUserRefused = 3002, false, "Only a server in development mode lets a client name its own user.";
    TokenInvalid = 3003, false, "The token is not valid here.";
    TokenExpired = 3004, false, "The token, or the certificate, has expired.";
    TokenNotYetValid = 3005, false, "The token is not valid yet.";
    TokenNotForHere = 3006, false, "The token was made for another audience, or by another issuer.";
    TokenRevoked = 3007, false, "The token, or the certificate, was revoked.";
    OtherUser = 3008, false, "The new token belongs to another user.";
    UserBanned = 3009, false, "The user is banned from this server.";
    ClosedByOperator = 3010, false, "An operator or the application closed the connection.";
    OperatorRefused = 3011, false, "The certificate names no operator, or one whose access was revoked.";
    ViewerMayNotAct = 3012, false, "A viewer may look, and not act.";
    CertificateRefused = 3013, false, "The client's certificate says nothing that this server takes.";
    OriginRefused = 3014, false, "Pages of this origin may not connect.";
    SignedOut = 3015, false, "The user was signed out; a new sign-in will do.";
    ClosedForNow = 3016, true, "An operator or the application closed the connection for now.";
    ConnectRefused = 3017, false, "The application refused the connection.";
    ConnectRefusedForNow = 3018, true, "The application refused the connection for now.";
    ApiKeyRefused = 3019, false, "There is no API key in the request, or one that this server does not take.";
    ApiKeyTooNarrow = 3020, false, "The API key does not allow it.";
    MintingNotConfigured = 3021, false, "The server has no key to make tokens with.";
    // 3100: a group. The connection goes on.
    RemovedFromGroup = 3101, false, "The server removed the user from the group.";
    NotGranted = 3102, false, "No grant of this connection allows it.";
    BannedFromGroup = 3103, false, "The user is banned from the group.";
    GrantEnded = 3104, false, "The grant for the group has ended.";
    Muted = 3105, false, "The user may receive in the group, and not send.";

    // 4000: a limit was reached.
    ServerFull = 4001, true, "The server has as many connections as it may have.";
    AddressFull = 4002, true, "This address has as many connections as it may have.";
    UserFull = 4003, true, "This user has as many connections as it may have.";
    TooManyGroups = 4004, false, "The connection is in as many groups as it may be in.";
    TooManyTargets = 4005, false, "The send names more targets than the server allows.";
    PayloadTooLarge = 4006, false, "The payload is longer than the server allows.";
    SlowConsumer = 4007, true, "The client reads more slowly than messages arrive, and its queue is full.";
    TooManyCalls = 4008, false, "The connection has as many calls, or streams, as it may have at a time.";
    StreamOverrun = 4009, false, "The stream has more items than there was credit for.";

    TooManyRequests = 4010, true, "The API key has asked for as much as it may at a time.";

    // 5000: an error of the server.
    Internal = 5001, true, "The server failed. Its log says how.";
    MethodPanicked = 5002, false, "The method failed. The server's log says how.";
    CallTimeout = 5003, false, "The method took longer than it may.";
    BackEndUnavailable = 5004, false, "The application's back end gave no answer that can be used.";
    CutOff = 5005, true, "The server has lost touch with the other nodes of its cluster.";
}

impl Code {
    /// The number that goes over the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// What `Goodbye` says about reconnecting with this code where nobody chose a time, in milliseconds: 0 where a
    /// client should not reconnect by itself, and else 1, so that it reconnects after its own delay.
    #[must_use]
    pub const fn retry_after_ms(self) -> u32 {
        if self.may_reconnect() { 1 } else { 0 }
    }
}

impl fmt::Display for Code {
    /// The sentence and the number: `The first frame must be Hello. (code 2004)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.sentence(), self.number())
    }
}

/// A number that this version knows no code for: a newer peer may use codes that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("code {0} is not known to this version")]
pub struct UnknownCode(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_are_in_order() {
        for code in Code::ALL {
            assert_eq!(Code::try_from(u64::from(code.number())), Ok(*code));
        }
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        assert_eq!(Code::try_from(9), Err(UnknownCode(9)));
    }

    #[test]
    fn sentences_are_sentences() {
        for code in Code::ALL {
            assert!(code.sentence().ends_with('.'), "{code:?}");
            assert!(code.sentence().len() < 100, "{code:?}");
        }
    }

    #[test]
    fn protocol_md_lists_every_code() {
        let protocol = include_str!("../../PROTOCOL.md");
        for code in Code::ALL {
            let again = if code.may_reconnect() { "yes" } else { "no" };
            let row = format!("| {} | {} | {} | {again} |", code.number(), code.name(), code.sentence());
            assert!(protocol.contains(&row), "PROTOCOL.md lacks this row:\n{row}");
        }
    }
}
