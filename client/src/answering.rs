//! Methods that the application's server may invoke on this client.
//!
//! In: handlers by name, and what the server asks. Out: an answer to each, in the order in which handlers are done.
//! Invariants: a handler runs in a task of its own, so that it may call the server itself; it is dropped when nobody
//! waits for its answer any more; there are no more of them at a time than [`MOST`].

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::call::{CallId, ClientCall, Failure, Outcome, ServerCall};
use fanfare_protocol::{Code, Denial, Payload};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::call::{decode, encode, encoded};
use crate::client::Client;
use crate::link::say;

/// How many handlers run at a time; what is asked beyond that is refused.
const MOST: usize = 256;

type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Handler = Arc<dyn Fn(Payload) -> Answer + Send + Sync>;

/// The handlers of a client, by the names of their methods.
#[derive(Default)]
pub(crate) struct Handlers(RwLock<HashMap<String, Handler>>);

impl Client {
    /// Answers when the application invokes this method here. `handler` takes a tuple with an element for each argument;
    /// its error is a text that the application gets. A later handler for the same method replaces the earlier one.
    ///
    /// The handler runs in a task of its own, and may use the client. It is dropped when its answer is not wanted any
    /// more: the application does not wait for it, or the connection is lost.
    ///
    /// ```no_run
    /// # fn run(client: &fanfare_client::Client) {
    /// client.on_invoke("Confirm", |(question,): (String,)| async move { Ok::<_, String>(question.len() < 100) });
    /// # }
    /// ```
    pub fn on_invoke<A, T, F, Fut>(&self, method: &str, handler: F)
    where
        A: DeserializeOwned,
        T: Serialize,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, String>> + Send + 'static,
    {
        let answer = move |arguments: Payload| -> Answer {
            let format = arguments.format;
            let refused = |code, detail| Outcome::Failed(Denial { code, detail }.into());
            match decode::<A>(&arguments) {
                Err(problem) => Box::pin(std::future::ready(refused(Code::ArgumentsInvalid, problem))),
                Ok(arguments) => {
                    let answer = handler(arguments);
                    Box::pin(async move {
                        match answer.await.map(|value| encode(&value, format)) {
                            Ok(Ok(value)) => Outcome::Value(value),
                            Ok(Err(problem)) | Err(problem) => refused(Code::CallFailed, problem),
                        }
                    })
                }
            }
        };
        self.shared().handlers.0.write().insert(method.to_owned(), Arc::new(answer));
    }
}

/// The handlers that run for one connection. Dropped, they are.
#[derive(Default)]
pub(crate) struct Answering {
    tasks: JoinSet<()>,
    running: HashMap<CallId, AbortHandle>,
}

impl Answering {
    /// Does what the server wants of the client.
    pub(crate) fn take(&mut self, wanted: ServerCall, queue: &mpsc::Sender<Bytes>, handlers: &Handlers) {
        while self.tasks.try_join_next().is_some() {}
        match wanted {
            ServerCall::Invoke { call, method, arguments } => {
                self.running.retain(|_, task| !task.is_finished());
                let handler = handlers.0.read().get(method.as_str()).cloned();
                let refused = |code: Code| encoded(ClientCall::Completion { call, outcome: failed(code) });
                match handler {
                    None => say(queue, refused(Code::MethodUnknown)),
                    Some(_) if self.running.len() >= MOST => say(queue, refused(Code::TooManyCalls)),
                    Some(handler) => {
                        let answer = Unanswered { queue: queue.clone(), call, outcome: None };
                        let task = self.tasks.spawn(async move {
                            let mut answer = answer;
                            answer.outcome = Some(failed(Code::MethodPanicked));
                            let outcome = handler(arguments).await;
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
