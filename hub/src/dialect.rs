//! How frames are said to clients that speak another protocol than Fanfare's.
//!
//! In: messages and notices. Out: bytes that such a client reads, which the hub queues, counts and hands to the writer
//! instead of frames. Invariant: a message is put into one translation once, for all who want it, and only where
//! somebody does (promise 5).

use bytes::Bytes;
use fanfare_protocol::{Message, ServerFrame};

/// Which translation of a message a client gets. Everything that two clients of one translation read is the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// The one.
    First,
    /// The other.
    Second,
}

impl Translation {
    /// How many there are.
    pub(crate) const COUNT: usize = 2;

    /// Its place among them.
    pub(crate) fn place(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// What one connection's client speaks. Called inside the hub's critical sections: nothing here may wait, nor call the
/// hub.
pub trait Dialect: Send + Sync {
    /// Which translation of messages its client gets.
    fn translation(&self) -> Translation;

    /// A message, whole. Depends on nothing but the message and the translation, since others get these bytes, too.
    fn message(&self, message: &Message) -> Bytes;

    /// An answer or a notice, whole. Nothing where such a client is not told of it.
    fn notice(&self, frame: &ServerFrame) -> Bytes;
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
