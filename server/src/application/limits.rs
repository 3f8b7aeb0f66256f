//! What one connection may ask of the application at a time.

use std::time::Duration;

/// What one connection may ask of the application at a time. Start from [`CallLimits::default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLimits {
    /// Calls of one connection that run at a time, at least 1. Default 1: they are carried out one after the other, in
    /// their order. Calls with streams, of either side, begin in order and then run beside the others. A method that
    /// waits for what its caller answers ([`Caller::invoke`](super::Caller::invoke)) lends its place to the next call
    /// meanwhile.
    pub in_flight: usize,
    /// Calls of one connection that wait for their turn; one more is refused. Default 64.
    pub waiting: usize,
    /// Streams of one connection at a time, of both directions together; one more is refused. Default 16.
    pub streams: usize,
    /// Items of a client's stream that wait to be read, and so the credit that it has; at least 1.
    /// Default 10.
    pub stream_items: u32,
    /// Client results that are waited for at a time on one connection; one more is an error. Default 64.
    pub client_results: usize,
    /// How long a client may take to answer. Default 30 s.
    pub client_result_deadline: Duration,
    /// How long a method goes on after it was told to stop: by its client, by its deadline, or because the connection
    /// has ended. Then it is dropped where it waits. Default 5 s.
    pub grace: Duration,
    /// How long each hook may take. `connected` has no longer than the handshake, either. Default 5 s.
    pub hook_deadline: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            in_flight: 1,
            waiting: 64,
            streams: 16,
            stream_items: 10,
            client_results: 64,
            client_result_deadline: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            hook_deadline: Duration::from_secs(5),
        }
    }
}
