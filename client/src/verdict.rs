//! What an end says, and of whom: of the server, or of the client that was there.
//!
//! In: how a connection was lost, or why none was made. Out: whether to go on, and where. Invariant: what was said to
//! the client in person (who it is, what it may, when it may come back) holds at every server, so that no other is
//! asked for what one has refused.

use std::time::Duration;

use fanfare_protocol::Code;

use crate::disconnect::{ComeBack, Disconnect, known};
use crate::error::ConnectError;

/// What an end means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This server cannot be used now, and does not want to be tried for so long. Another may do.
    Node {
        /// For how long.
        away: Duration,
        /// All of its clients may have lost it in the same moment: each moves to another server within this time.
        within: Duration,
    },
    /// This server cannot be used, and trying it again mends nothing: it is not trusted, or speaks something else.
    /// Another may do.
    Server,
    /// This client is not to come back for so long, wherever it is.
    Caller {
        /// For how long.
        away: Duration,
    },
    /// This client is not to come back by itself.
    Final,
}

/// Whoever noticed by silence has been without a connection for half a minute. All who had the same message last notice
/// in the same moment, and a few seconds more make no difference to them.
const WITHIN_AFTER_SILENCE: Duration = Duration::from_secs(3);

impl Verdict {
    /// This server, and nothing that it said.
    const NODE: Self = Self::Node { away: Duration::ZERO, within: Duration::ZERO };

    /// Of a connection that was lost. `renews`: whether this client gets another token when one has expired.
    pub(crate) fn of_loss(lost: &Disconnect, renews: bool) -> Self {
        match lost {
            Disconnect::Closed { code, come_back, .. } => Self::of_close(*code, *come_back, renews),
            Disconnect::Protocol { .. } => Self::Server,
            Disconnect::TimedOut => Self::Node { away: Duration::ZERO, within: WITHIN_AFTER_SILENCE },
            Disconnect::Reset | Disconnect::StreamEnded | Disconnect::Transport { .. } => Self::NODE,
        }
    }

    /// Of an attempt that failed.
    pub(crate) fn of_error(error: &ConnectError, renews: bool) -> Self {
        match error {
            ConnectError::Refused { code, come_back, .. } => Self::of_close(*code, *come_back, renews),
            ConnectError::Lost { reason, .. } => Self::of_loss(reason, renews),
            ConnectError::Resolve { .. }
            | ConnectError::Socket(_)
            | ConnectError::Unreachable { .. }
            | ConnectError::WebSocket { .. }
            | ConnectError::NoWelcome { .. }
            | ConnectError::Tls { .. }
            | ConnectError::TurnedAway { .. } => Self::NODE,
            ConnectError::UnknownIssuer { .. }
            | ConnectError::WrongName { .. }
            | ConnectError::Expired { .. }
            | ConnectError::NotFanfare { .. }
            | ConnectError::Address { .. } => Self::Server,
            // Whoever signs in has trouble, which is not to be asked again at once for each server.
            ConnectError::TokenProvider { .. } => Self::Caller { away: Duration::ZERO },
            ConnectError::Setting { .. } | ConnectError::Roots(_) | ConnectError::AllFailed { .. } => {
                Self::Final
            }
        }
    }

    fn of_close(code: u16, come_back: ComeBack, renews: bool) -> Self {
        let known = known(code);
        let can_renew = renews && known == Some(Code::TokenExpired);
        if !come_back.allows(code) && !can_renew {
            return Self::Final;
        }
        let away = come_back.pause();
        match known {
            Some(
                Code::ShuttingDown
                | Code::HandshakeTimeout
                | Code::StreamReset
                | Code::ServerFull
                | Code::AddressFull
                | Code::UserFull
                | Code::Internal
                | Code::CutOff,
            ) => Self::Node { away, within: away },
            // A slow client is slow everywhere, and "for now" is said to a client. So may be what is not known here.
            _ => Self::Caller { away },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(code: u16, come_back: ComeBack, renews: bool) -> Verdict {
        let lost = Disconnect::Closed { code, reason: String::new(), come_back };
        let refused = ConnectError::Refused { server: String::new(), code, reason: String::new(), come_back };
        let verdict = Verdict::of_loss(&lost, renews);
        assert_eq!(Verdict::of_error(&refused, renews), verdict, "the same, said at once or later");
        verdict
    }

    #[test]
    fn each_code_is_about_the_server_or_about_the_client_and_docs_say_the_same() {
        let page = include_str!("../../docs/protocol/reconnecting.md");
        let said = page.split("of the server alone: ").nth(1).unwrap().split('.').next().unwrap();
        let numbers = said.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
        let of_server: Vec<u16> = numbers.map(|number| number.parse().unwrap()).collect();
        for code in Code::ALL {
            let verdict = close(code.number(), ComeBack::ByCode, false);
            let expected = match code.may_reconnect() {
                false => Verdict::Final,
                true if of_server.contains(&code.number()) => Verdict::NODE,
                true => Verdict::Caller { away: Duration::ZERO },
            };
            assert_eq!(verdict, expected, "{code:?}");
        }
        assert!(of_server.len() > 5, "{of_server:?}");
    }

    #[test]
    fn a_time_is_the_servers_or_the_clients_as_the_code_is() {
        let after = ComeBack::After(Duration::from_secs(9));
        let away = Duration::from_secs(9);
        assert_eq!(close(Code::ShuttingDown.number(), after, false), Verdict::Node { away, within: away });
        assert_eq!(close(Code::ClosedForNow.number(), after, false), Verdict::Caller { away });
        assert_eq!(close(Code::ClosedByOperator.number(), after, false), Verdict::Caller { away });
        assert_eq!(close(64_999, after, false), Verdict::Caller { away }, "nobody knows whom it is about");
        assert_eq!(close(64_999, ComeBack::ByCode, false), Verdict::Final);
        for code in [Code::ShuttingDown, Code::CutOff, Code::UserBanned] {
            assert_eq!(close(code.number(), ComeBack::Never, false), Verdict::Final);
        }
    }

    #[test]
    fn a_token_that_has_expired_is_no_end_for_who_renews_it_and_no_other_server_is_asked_at_once() {
        for come_back in [ComeBack::ByCode, ComeBack::Never] {
            let expired = Code::TokenExpired.number();
            assert_eq!(close(expired, come_back, true), Verdict::Caller { away: Duration::ZERO });
            assert_eq!(close(expired, come_back, false), Verdict::Final);
            assert_eq!(close(Code::TokenInvalid.number(), come_back, true), Verdict::Final);
        }
    }

    #[test]
    fn what_is_no_close_is_about_the_server_unless_it_is_this_clients_own() {
        let server = || "a:1".to_owned();
        let node = Verdict::NODE;
        let of = |error: ConnectError| Verdict::of_error(&error, false);
        assert_eq!(of(ConnectError::Unreachable { server: server(), within: Duration::ZERO }), node);
        assert_eq!(of(ConnectError::TurnedAway { server: server() }), node);
        assert_eq!(of(ConnectError::Lost { server: server(), reason: Disconnect::Reset }), node);
        assert_eq!(of(ConnectError::NotFanfare { server: server() }), Verdict::Server);
        let broken = Disconnect::Protocol { detail: String::new() };
        assert_eq!(of(ConnectError::Lost { server: server(), reason: broken }), Verdict::Server);
        let silence = Verdict::Node { away: Duration::ZERO, within: WITHIN_AFTER_SILENCE };
        assert_eq!(Verdict::of_loss(&Disconnect::TimedOut, false), silence);
        let provider = ConnectError::TokenProvider { detail: String::new() };
        assert_eq!(of(provider), Verdict::Caller { away: Duration::ZERO });
    }
}
