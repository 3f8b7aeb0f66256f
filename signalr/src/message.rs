//! What a client says.
//!
//! In: what the decoder found. Out: fields. Invariants: what a kind of message must have is there, and is not empty;
//! headers are gone, since clients put tokens into them.

use crate::{Arguments, Value};

/// A message from a client (`HubProtocol.md`, "Overview").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Type 1: a method is called.
    Invocation {
        /// What the [`Message::Completion`] to answer with has to name. Without one no answer is wanted, and none may
        /// be sent.
        id: Option<String>,
        /// The method's name, in the client's upper and lower case. Servers look it up without regard to case.
        target: String,
        /// Its arguments.
        arguments: Arguments,
        /// The streams that the client is going to send, in the order of the method's parameters.
        streams: Vec<String>,
    },
    /// Type 4: a method is called that answers with a stream.
    StreamInvocation {
        /// What the items and the completion have to name.
        id: String,
        /// The method's name, as above.
        target: String,
        /// Its arguments.
        arguments: Arguments,
        /// The streams that the client is going to send, in the order of the method's parameters.
        streams: Vec<String>,
    },
    /// Type 2: the next item of a stream that the client sends.
    StreamItem {
        /// The stream.
        id: String,
        /// The item.
        item: Value,
    },
    /// Type 3: a stream that the client sends has ended, or a method that the server called has.
    Completion {
        /// The stream, or the id of the server's invocation.
        id: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// Type 5: a call is to be cancelled. It is still to be completed.
    CancelInvocation {
        /// The call.
        id: String,
    },
    /// Type 6: the client is there.
    Ping,
    /// Type 7: the client is going to close the connection.
    Close {
        /// Why, if because of an error.
        error: Option<String>,
        /// Whether the other end may reconnect. Clients do not say it.
        allow_reconnect: bool,
    },
    /// Type 8, of stateful reconnects: what was received.
    Ack {
        /// The last message that was, from 1 on.
        sequence: u64,
    },
    /// Type 9, of stateful reconnects: where the client goes on.
    Sequence {
        /// The next message's number, from 1 on.
        sequence: u64,
    },
    /// A type that came later. To be counted and otherwise ignored, as all implementations do.
    Unknown {
        /// The number.
        kind: i64,
    },
}

/// How a stream or a call has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well, and without a result.
    Void,
    /// Well, and with this result, which may be null.
    Result(Value),
    /// With an error.
    Error(String),
}
