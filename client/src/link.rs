//! One live connection, as those see it who want to send something over it.
//!
//! In: requests and frames. Out: frames in the writer's queue. The tasks that read and write belong to the supervisor.
//!
//! Invariant: a link never comes back. Once its connection is lost, the writer drops the queue, and everything here
//! fails at once.

use bytes::Bytes;
use fanfare_protocol::Welcome;
use fanfare_protocol::call::ServerCall;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::answering::{Answering, Handlers};
use crate::calls::{Calls, Overrun};
use crate::connection::Connection;
use crate::requests::Requests;
use crate::writer::say;

/// A live connection.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// Where it is, as the application gave it.
    pub(crate) server: String,
    pub(crate) welcome: Welcome,
    pub(crate) requests: Requests,
    pub(crate) calls: Calls,
    pub(crate) answering: Mutex<Answering>,
    /// The writer's queue.
    pub(crate) queue: mpsc::Sender<Bytes>,
    /// Tells the writer to write what is queued and then to finish the stream.
    pub(crate) finish: CancellationToken,
    /// Told when the server says that access is about to end. Of this connection alone: the next one begins with newer
    /// access.
    pub(crate) expiring: Notify,
}

impl Link {
    /// Queues a frame that nobody waits for.
    pub(crate) fn say(&self, frame: Bytes) {
        say(&self.queue, frame);
    }

    /// Takes what the server says about calls.
    pub(crate) fn take(&self, call: ServerCall, handlers: &Handlers) -> Result<(), Overrun> {
        if let Some(wanted) = self.calls.take(call)? {
            let most = self.welcome.limits.payload_bytes;
            self.answering.lock().take(wanted, &self.queue, handlers, most);
        }
        Ok(())
    }

    /// The connection is lost: whoever waits for something of it hears so, and what it asked for is not done any more.
    pub(crate) fn fail_all(&self) {
        self.requests.fail_all();
        self.calls.fail_all();
        let answering = std::mem::take(&mut *self.answering.lock());
        drop(answering);
    }
}
