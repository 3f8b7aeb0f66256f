//! Why bytes are not what they should be.
//!
//! Four layers, each in its own terms: [`SyntaxError`] for one value, [`ShapeError`] for one message, [`DecodeError`]
//! for a stream of messages, and [`ConversionError`] and [`ArgumentError`] for what an application does with values.
//!
//! Invariant: no error repeats a byte of what a peer sent, since clients put tokens into headers. So each of them can
//! be logged, and be said to the peer.

/// The bytes are not one well-formed value in JSON (RFC 8259) or in MessagePack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct SyntaxError {
    /// Where, in bytes from the start of the value or of the message.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More bytes are needed, or a length says so.
    #[error("it ends too early")]
    End,
    /// JSON: no value, comma, colon or bracket that may be here. MessagePack: the byte 0xC1, which stands for nothing.
    #[error("a byte that cannot be here")]
    Unexpected,
    /// There is something behind the value.
    #[error("something follows its end")]
    Trailing,
    /// A text is not UTF-8.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// JSON: a control character in a text that is not escaped.
    #[error("a control character that is not escaped")]
    ControlCharacter,
    /// JSON: a backslash with nothing known behind it.
    #[error("an escape that is none")]
    Escape,
    /// JSON: half of a surrogate pair. Some clients end their connection when they read one.
    #[error("half of a surrogate pair")]
    LoneSurrogate,
    /// JSON: a number that is none.
    #[error("a number that is none")]
    Number,
    /// JSON: a number beyond what 64 bits hold as floating point. Some clients end their connection when they read one.
    #[error("a number that is too large")]
    NumberTooLarge,
    /// Too many objects and arrays lie in one another.
    #[error("it is nested too deeply")]
    TooDeep,
    /// A list of arguments is no array.
    #[error("something that is no array")]
    NotAnArray,
}

/// The bytes are well-formed, and no hub message (`HubProtocol.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The message as a whole has the wrong type: JSON has objects, MessagePack arrays.
    #[error("it is no {0}")]
    NotA(&'static str),
    /// A member that this kind of message must have is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member has a value of the wrong type.
    #[error("`{member}` is not {expected}")]
    WrongType {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A member that must not be empty is.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// A JSON object has a member twice. Readers differ in which of the two they take.
    #[error("`{0}` is there twice")]
    Twice(&'static str),
    /// An id is longer than [`Limits::id_bytes`](crate::Limits::id_bytes).
    #[error("`{member}` is longer than the {limit} bytes allowed")]
    TooLong {
        /// The member.
        member: &'static str,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// An invocation announces more streams than [`Limits::streams`](crate::Limits::streams).
    #[error("it has more than the {limit} streams allowed")]
    TooManyStreams {
        /// What is allowed.
        limit: usize,
    },
    /// A completion has both a result and an error (`HubProtocol.md`, "Completion Message Encoding").
    #[error("it has both a result and an error")]
    ResultAndError,
}

/// A stream of hub messages cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A message is longer than [`Limits::message_bytes`](crate::Limits::message_bytes). Nothing of it was kept beyond
    /// that.
    #[error("a message is longer than the {limit} bytes allowed")]
    TooLong {
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// MessagePack: the length in front of a message has more than five bytes, or is above 2^31 - 1.
    #[error("the length in front of a message is none")]
    LengthPrefix,
    /// A message is not well-formed.
    #[error("a message is not well-formed: {0}")]
    Syntax(#[from] SyntaxError),
    /// A message is well-formed, and no hub message.
    #[error("a message is no hub message: {0}")]
    Shape(#[from] ShapeError),
}

/// An argument is not what a method takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// There are not so many arguments.
    #[error("argument {} is missing: there are {count}", .index + 1)]
    Missing {
        /// Which one, from 0 on.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The argument is of another type.
    #[error("argument {} is not {expected}", .index + 1)]
    WrongType {
        /// Which one, from 0 on.
        index: usize,
        /// What it should be.
        expected: &'static str,
    },
}

/// A value has no counterpart in the other encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// MessagePack: a map has a key that is an array, a map or an extension, and JSON has texts only.
    #[error("a key of a map is no text, and nothing that could be one")]
    Key,
    /// MessagePack: a timestamp is outside the years 0 to 9999, or has more than 999,999,999 nanoseconds.
    #[error("a timestamp is outside the years that JSON's texts have")]
    Timestamp,
    /// The value is not well-formed, or is nested too deeply in the other encoding.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
}
