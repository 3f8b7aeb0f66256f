//! What the load tool must know of a peer's protocol, without any I/O: what to say, and what was heard.
//!
//! In: topics and payloads, and the bytes that a server sent. Out: bytes to send, and what the server's bytes say.
//! Invariant: [`Wire::parse`] says nothing twice and leaves what is not whole.

use crate::error::Fallible;

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A group, room or channel.
    Group(u32),
    /// One user's own.
    User(u32),
}

impl Topic {
    /// Its name, for peers whose names are texts.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Group(number) => format!("g{number}"),
            Self::User(number) => format!("u{number}"),
        }
    }

    /// The number of the stream of messages that goes there.
    #[must_use]
    pub fn stream(self) -> u32 {
        match self {
            Self::Group(number) => number,
            Self::User(number) => 0x80_0000 | number,
        }
    }
}

/// What a server said.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The greeting is over: the server knows who we are.
    Welcome,
    /// One subscription, or the end of one, is in force.
    Done,
    /// A message's payload.
    Message(&'a [u8]),
    /// Something that must be answered with these bytes.
    Answer(Vec<u8>),
}

/// What a client asks, and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That a message of 64 bytes was sent, to nobody.
    Ack,
    /// What a method gives that has 64 bytes of arguments.
    Completion,
}

/// One connection's protocol.
pub trait Wire: Send {
    /// What is said first.
    fn greeting(&mut self) -> Vec<u8>;
    /// Subscribes to a topic. [`Heard::Done`] comes once for it.
    fn subscribe(&mut self, topic: Topic) -> Vec<u8>;
    /// Ends that. [`Heard::Done`] comes once for it.
    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8>;
    /// Puts a request behind `out`, for which [`Heard::Done`] comes once. `false` where there is nothing like it.
    fn request(&mut self, _wanted: Wanted, _out: &mut Vec<u8>) -> bool {
        false
    }
    /// Puts a message behind `out`.
    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>);
    /// Tells what whole things `bytes` begins with, and gives how many bytes those had.
    ///
    /// # Errors
    /// When the server said something that must not be.
    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize>;
}
