//! Methods that the application's server may invoke on this client.
//!
//! In: handlers by name, and what the server asks. Out: an answer to each, in the order in which handlers are done.
//! Invariants: a handler runs in a task of its own, so that it may call the server itself; it is dropped when nobody
//! waits for its answer any more; there are no more of them at a time than [`MOST`]; no answer is longer than the
//! server takes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::call::{CallId, ClientCall, Failure, Outcome, ServerCall};
use fanfare_protocol::{Code, Denial, Payload};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::encoding::encoded;
use crate::writer::say;

/// How many handlers run at a time; what is asked beyond that is refused.
const MOST: usize = 256;

pub(crate) type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Payload) -> Answer + Send + Sync>;

/// The handlers of a client, by the names of their methods.
#[derive(Default)]
pub(crate) struct Handlers(RwLock<Table>);

#[derive(Default)]
struct Table {
    handlers: HashMap<String, Handler>,
    has_ended: bool,
}

impl Handlers {
    /// Answers a method from now on; a later handler replaces the earlier one.
    pub(crate) fn insert(&self, method: &str, handler: Handler) {
        let mut table = self.0.write();
        if !table.has_ended {
            let before = table.handlers.insert(method.to_owned(), handler);
            drop(table);
            // Behind the lock: it may hold anything, this client included.
            drop(before);
        }
    }

    /// The client is closed for good: what its handlers hold is given up, which may be the client itself.
    pub(crate) fn end(&self) {
        let handlers = {
            let mut table = self.0.write();
            table.has_ended = true;
            std::mem::take(&mut table.handlers)
        };
        drop(handlers);
    }
}

/// The handlers that run for one connection. Dropped, they are.
#[derive(Default)]
pub(crate) struct Answering {
    tasks: JoinSet<()>,
    running: HashMap<CallId, AbortHandle>,
}

impl Answering {
    /// Does what the server wants of the client. An answer may have so many bytes.
    pub(crate) fn take(
        &mut self,
        wanted: ServerCall,
        queue: &mpsc::Sender<Bytes>,
        handlers: &Handlers,
        most: u32,
    ) {
        while self.tasks.try_join_next().is_some() {}
        match wanted {
            ServerCall::Invoke { call, method, arguments } => {
                self.running.retain(|_, task| !task.is_finished());
                let handler = handlers.0.read().handlers.get(method.as_str()).cloned();
                let refused = |code: Code| encoded(ClientCall::Completion { call, outcome: failed(code) });
                match handler {
                    None => say(queue, refused(Code::MethodUnknown)),
                    Some(_) if self.running.len() >= MOST => say(queue, refused(Code::TooManyCalls)),
                    Some(handler) => {
                        let answer = Unanswered { queue: queue.clone(), call, outcome: None };
                        let task = self.tasks.spawn(async move {
                            let mut answer = answer;
                            answer.outcome = Some(failed(Code::MethodPanicked));
                            let outcome = within(handler(arguments).await, most);
                            answer.outcome = None;
                            let frame = encoded(ClientCall::Completion { call, outcome });
                            // Fails only when the connection is lost, and with it whoever waits.
                            let _ = answer.queue.send(frame).await;
                        });
                        self.running.insert(call, task);
                    }
                }
            }
            ServerCall::Cancel { call } => {
                if let Some(task) = self.running.remove(&call) {
                    task.abort();
                }
            }
            // The others are about the client's own calls.
            ServerCall::Completion { .. }
            | ServerCall::Item { .. }
            | ServerCall::Credit { .. }
            | ServerCall::Stop { .. } => {}
        }
    }
}

/// What the server takes of an outcome.
fn within(outcome: Outcome, most: u32) -> Outcome {
    match outcome {
        Outcome::Value(value) if value.bytes.len() > most as usize => {
            let detail = format!("the answer has {} bytes; the server takes {most}", value.bytes.len());
            Outcome::Failed(Denial { code: Code::PayloadTooLarge, detail }.into())
        }
        Outcome::Failed(failure) => Outcome::Failed(failure.shortened()),
        outcome => outcome,
    }
}

fn failed(code: Code) -> Outcome {
    Outcome::Failed(Failure::from(Denial::from(code)))
}

/// A handler that runs. Where it panics, the server is told so.
struct Unanswered {
    queue: mpsc::Sender<Bytes>,
    call: CallId,
    outcome: Option<Outcome>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(outcome) = self.outcome.take()
        {
            say(&self.queue, encoded(ClientCall::Completion { call: self.call, outcome }));
        }
    }
}
