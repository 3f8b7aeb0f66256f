//! Clients that the application asks, by their connections' ids.
//!
//! In: what is asked of a client. Out: what it gave, or why it gave nothing. Invariant: whoever waits gets an end, at
//! its deadline, or a second later where the client is on another node. The application asks those who are here, and
//! `cluster` carries questions to where the others are.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use fanfare_protocol::{ConnectionId, MethodName, Payload};

/// What is asked of a client.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) connection: ConnectionId,
    pub(crate) method: MethodName,
    pub(crate) arguments: Payload,
    pub(crate) deadline: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    Nothing,
    Value(Payload),
    /// As the client says itself.
    Failed {
        code: u16,
        detail: String,
        data: Payload,
    },
    NotUnderstood,
    TooMany,
    Arguments(String),
    Ended,
    TimedOut,
    /// There is no such connection.
    NotThere,
    /// The node on which it is has not answered.
    Silent,
}

/// It, when it is known.
pub(crate) type Giving<'a> = Pin<Box<dyn Future<Output = Given> + Send + 'a>>;

/// The clients that are on this server.
pub(crate) trait Clients: Send + Sync {
    /// Asks one. Whoever waits no more drops it, and the client is told.
    fn ask(&self, asking: Asking) -> Giving<'static>;

    /// How long an answer is waited for, where nothing is said.
    fn deadline(&self) -> Duration;
}
