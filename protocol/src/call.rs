//! Calls: what goes between a client and the application behind the hub, in both directions.
//!
//! In a call one side invokes a method of the other by name, with arguments, and gets exactly one outcome. Beside it
//! items may stream: those of the result, from the application, and those of the client's own streams, which are
//! arguments. Plain values; how they look as bytes is the codec's business alone. Tied to [`Features::CALLS`].
//!
//! Invariant: items go only against credit, so that neither side has to keep more than it said it would take.
//!
//! [`Features::CALLS`]: crate::Features::CALLS

use crate::{Denial, MethodName, Payload, RequestId};

/// Chosen by the client for each of its streams; not used twice at a time on one connection.
pub type StreamId = u64;

/// Chosen by the server for each method that it invokes on a client; not used twice on one connection.
pub type CallId = u64;

/// What a client says of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCall {
    /// Invoke a method of the application.
    Invoke(Invoke),
    /// The client does not want the outcome of its invocation any more. It still comes, and says what became of it.
    /// Without an effect where it has come already.
    Cancel {
        /// The invocation's.
        request: RequestId,
    },
    /// So many more items of the result may come.
    Credit {
        /// The invocation's.
        request: RequestId,
        /// How many more.
        items: u32,
    },
    /// An item of a stream of the client's.
    Item {
        /// The stream's number.
        stream: StreamId,
        /// What it is.
        item: Payload,
    },
    /// The last of a stream of the client's.
    End {
        /// The stream's number.
        stream: StreamId,
        /// Why it ends before it is complete.
        failure: Option<Failure>,
    },
    /// The answer to a method that the server invoked on this client.
    Completion {
        /// The call's.
        call: CallId,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What a server says of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCall {
    /// A method has ended, and with it the streams that belong to it. No item of the result comes after it.
    Completion {
        /// The invocation's.
        request: RequestId,
        /// What came of it.
        outcome: Outcome,
    },
    /// An item of a result.
    Item {
        /// The invocation's.
        request: RequestId,
        /// What it is.
        item: Payload,
    },
    /// Invoke a method of the client.
    Invoke {
        /// To be repeated in the answer.
        call: CallId,
        /// Which one.
        method: MethodName,
        /// What it is given.
        arguments: Payload,
    },
    /// The answer to this call is not waited for any more.
    Cancel {
        /// The call's.
        call: CallId,
    },
    /// So many more items of a client's stream are taken.
    Credit {
        /// The stream's number.
        stream: StreamId,
        /// How many more.
        items: u32,
    },
    /// Nothing more of a client's stream is taken: nobody reads it.
    Stop {
        /// The stream's number.
        stream: StreamId,
    },
}

/// A client's call of a method of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoke {
    /// Echoed in what belongs to it. Not used twice at a time on one connection.
    pub request: RequestId,
    /// Which method. Case counts.
    pub method: MethodName,
    /// How many items of the result may come before there is more credit. 0: the result is one value, and no items.
    pub credit: u32,
    /// The client's own streams that are arguments, in their order. None where there is none.
    pub streams: Vec<StreamId>,
    /// The other arguments: an array in JSON or MessagePack; text and binary are one argument.
    pub arguments: Payload,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended well, and gave no value; or its items are complete.
    Nothing,
    /// It ended well, with this value.
    Value(Payload),
    /// It did not end well.
    Failed(Failure),
}

/// Why a call did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The number of a [`Code`](crate::Code), or one of the application's own, from [`Failure::FIRST_OWN`] to
    /// [`Failure::LAST_OWN`].
    pub code: u16,
    /// What is wrong, for a person.
    pub detail: String,
    /// What the application says of it to programs. Empty where it says nothing.
    pub data: Payload,
}

impl Failure {
    /// The first number that is the application's own.
    pub const FIRST_OWN: u16 = 10_000;
    /// The last number that is the application's own. Those behind it are for tests.
    pub const LAST_OWN: u16 = 63_999;
    /// The longest detail that is sent, in bytes.
    pub const DETAIL_BYTES: usize = 1_024;

    /// The same with as much of its detail as is sent.
    #[must_use]
    pub fn shortened(self) -> Self {
        Self { detail: first_bytes(self.detail, Self::DETAIL_BYTES), ..self }
    }
}

/// As many whole characters of a text as have at most so many bytes.
#[must_use]
pub fn first_bytes(mut text: String, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

impl From<Denial> for Failure {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self { code: code.number(), detail, data: Payload::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, most, left) in
            [("reason", 3, "rea"), ("é", 1, ""), ("aé", 3, "aé"), ("aé", 2, "a"), ("", 0, "")]
        {
            assert_eq!(first_bytes(text.to_owned(), most), left, "{text} in {most}");
        }
    }
}
