//! The signals that tell a command to end: SIGTERM and SIGINT.
//!
//! In: the operating system's signals. Out: a future that completes once for each. From the moment a [`Stopping`] is
//! made, they no longer end the process the rough way.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

pub(crate) struct Stopping {
    terminate: Signal,
    interrupt: Signal,
}

impl Stopping {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(crate) async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signals of one kind.
pub(crate) fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed(format!("cannot wait for signals: {error}")))
}
