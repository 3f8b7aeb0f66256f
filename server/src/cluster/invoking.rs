//! What is asked of clients on other nodes, as it goes there and back.
//!
//! In: questions to clients, answers of theirs. Out: JSON, with payloads in base64, and back. Invariant: an answer that
//! cannot be read, as one of a later version, is none.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_protocol::{ConnectionId, MethodName, Payload, PayloadFormat};
use serde::{Deserialize, Serialize};

use crate::handle::{Asking, Given};

/// A payload: the number of its format, and its bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packed(u8, String);

impl From<Payload> for Packed {
    fn from(Payload { format, bytes }: Payload) -> Self {
        Self(format.number(), STANDARD.encode(&bytes))
    }
}

impl Packed {
    fn unpack(self) -> Option<Payload> {
        Some(Payload::new(PayloadFormat::from(self.0), STANDARD.decode(self.1).ok()?))
    }
}

/// What is asked of a client there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AskedThere {
    connection: ConnectionId,
    method: String,
    arguments: Packed,
    deadline_ms: u64,
}

impl From<Asking> for AskedThere {
    fn from(Asking { connection, method, arguments, deadline }: Asking) -> Self {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        Self { connection, method: method.as_str().to_owned(), arguments: arguments.into(), deadline_ms }
    }
}

impl AskedThere {
    /// What is to be asked; nothing where that cannot be.
    pub(super) fn asking(self) -> Option<Asking> {
        let Self { connection, method, arguments, deadline_ms } = self;
        let (method, arguments) = (MethodName::new(&method).ok()?, arguments.unpack()?);
        Some(Asking { connection, method, arguments, deadline: Duration::from_millis(deadline_ms) })
    }
}

/// What came of it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GivenThere {
    Nothing,
    Value(Packed),
    Failed { code: u16, detail: String, data: Packed },
    NotUnderstood,
    TooMany,
    Arguments(String),
    Ended,
    TimedOut,
    NotThere,
}

impl GivenThere {
    /// Nothing: what is not known there is not known here.
    pub(super) fn of(given: Given) -> Option<Self> {
        Some(match given {
            Given::Nothing => Self::Nothing,
            Given::Value(value) => Self::Value(value.into()),
            Given::Failed { code, detail, data } => Self::Failed { code, detail, data: data.into() },
            Given::NotUnderstood => Self::NotUnderstood,
            Given::TooMany => Self::TooMany,
            Given::Arguments(what) => Self::Arguments(what),
            Given::Ended => Self::Ended,
            Given::TimedOut => Self::TimedOut,
            Given::NotThere => Self::NotThere,
            Given::Silent => return None,
        })
    }

    pub(super) fn given(self) -> Option<Given> {
        Some(match self {
            Self::Nothing => Given::Nothing,
            Self::Value(value) => Given::Value(value.unpack()?),
            Self::Failed { code, detail, data } => Given::Failed { code, detail, data: data.unpack()? },
            Self::NotUnderstood => Given::NotUnderstood,
            Self::TooMany => Given::TooMany,
            Self::Arguments(what) => Given::Arguments(what),
            Self::Ended => Given::Ended,
            Self::TimedOut => Given::TimedOut,
            Self::NotThere => Given::NotThere,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::questions::{read, to_bytes};
    use super::*;

    #[test]
    fn what_is_asked_and_what_is_given_comes_back_as_it_was() {
        let asking = Asking {
            connection: ConnectionId::from_bytes([7; 16]),
            method: MethodName::new("Confirm").unwrap(),
            arguments: Payload::json("[1]"),
            deadline: Duration::from_millis(1_500),
        };
        let there: AskedThere = read(&to_bytes(&AskedThere::from(asking.clone()))).unwrap();
        let there = there.asking().unwrap();
        assert_eq!(
            (there.connection, there.method, there.arguments),
            (asking.connection, asking.method, asking.arguments)
        );
        assert_eq!(there.deadline, asking.deadline);
        for given in [
            Given::Nothing,
            Given::Value(Payload::from(vec![0, 255])),
            Given::Failed { code: 9_000, detail: "no".to_owned(), data: Payload::from("why") },
            Given::NotUnderstood,
            Given::TooMany,
            Given::Arguments("too long".to_owned()),
            Given::Ended,
            Given::TimedOut,
            Given::NotThere,
        ] {
            let there: GivenThere = read(&to_bytes(&GivenThere::of(given.clone()).unwrap())).unwrap();
            assert_eq!(there.given(), Some(given));
        }
        assert_eq!(GivenThere::of(Given::Silent), None);
    }

    #[test]
    fn promise_13_what_cannot_be_read_is_no_answer() {
        assert!(read::<GivenThere>(br#"{"maybe":1}"#).is_none());
        assert_eq!(read::<GivenThere>(br#"{"value":[2,"?"]}"#).unwrap().given(), None);
    }
}
