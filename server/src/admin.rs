//! The operators' endpoint: a QUIC socket of its own, on which nothing is said to anyone without an operator's
//! certificate.
//!
//! `endpoint` accepts connections, `session` reads requests, `service` has them answered: `query` answers questions
//! (`explain` one of them; `listing` cuts pages of `rows`, `here` gives what this server has of a list, and `everywhere`
//! what all nodes have), `seats` bounds the sessions, `feed` has what changes, and `moderation` does what changes
//! anything. What the requests and the answers are is in `fanfare_protocol::admin`.
//! Nothing here knows how a message is routed: the hub and moderation are all it sees.

mod audits;
pub(crate) mod endpoint;
mod everywhere;
mod explain;
mod feed;
mod here;
mod listing;
mod operators;
mod query;
mod reply;
mod rows;
mod seats;
mod service;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) use everywhere::Gathered;
pub(crate) use feed::Feed;
pub use operators::Operators;
pub(crate) use query::Queries;
pub(crate) use service::Service;
#[cfg(any(test, fuzzing))]
pub(crate) use session::parse;

use crate::quic::Identity;

/// What a server needs to be told to have operators.
#[derive(Debug)]
pub struct Administration {
    /// Where operators connect (UDP). Port 0 takes any free port.
    pub listen: SocketAddr,
    /// What the server proves itself to operators with.
    pub identity: Identity,
    /// Who is an operator.
    pub operators: Arc<dyn Operators>,
}
