//! How far a connection is on its way to its end, and what that asks of its session.
//!
//! In: what the outbox makes of a drain, an ending and a loss. Out: the signal for the session. Invariant: a session
//! whose connection has ended is told so whenever it asks, with the reason, if there is one.

use crate::close_reason::CloseReason;

/// What the session must do, when it must do anything: [`Outbox::poll_signal`](super::Outbox::poll_signal).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Read no more requests: the server is draining.
    StopReading,
    /// Close the connection at once, for this reason.
    End(CloseReason),
    /// The connection is gone.
    Lost,
}

/// How far a connection is on its way to its end.
#[derive(Default)]
pub(super) enum Phase {
    #[default]
    Open,
    /// The server drains: the session reads no more.
    ReadingStopped,
    /// What is queued is written, and nothing more is taken.
    Finishing,
    /// Nothing is queued any more. Without an ending the connection is gone, and there is nobody to tell.
    // In a box, so that the phase is one number to whoever asks for it, with every copy of every message.
    Ended(Option<Box<CloseReason>>),
}

impl Phase {
    /// What the session must do, if it must do anything.
    pub(super) fn signal(&self) -> Option<Signal> {
        match self {
            Self::Open => None,
            Self::ReadingStopped | Self::Finishing => Some(Signal::StopReading),
            Self::Ended(Some(reason)) => Some(Signal::End(CloseReason::clone(reason))),
            Self::Ended(None) => Some(Signal::Lost),
        }
    }
}
