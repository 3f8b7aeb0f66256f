//! What clients of SignalR say, as frames, and what frames say to them: docs/protocol/signalr.md.
//!
//! In: messages of a WebSocket. Out: the same verbs as the other carriers have, and the dialect that the hub speaks to
//! such a client. From here on it is a connection as any other: it begins with a `Hello`, and what it asks are
//! requests.
//!
//! `connection` is the carrier; `hearing` makes frames of messages, by `methods` where there is no application;
//! `speaking` makes messages of frames; `book` is what the two share; `payload` and `error` are about values and words.
//! Invariant: nothing here decides who may do what; that is asked of the same gate by the same router (promise 14).

mod book;
mod connection;
mod error;
mod hearing;
mod methods;
mod payload;
mod speaking;

#[cfg(any(test, fuzzing))]
pub(crate) use book::Book;
pub(crate) use connection::{Connection, Opening, Receiver, Transmitter};
#[cfg(any(test, fuzzing))]
pub(crate) use hearing::{Hearing, Next};
