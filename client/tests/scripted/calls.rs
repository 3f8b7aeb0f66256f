//! What scenarios say of calls, and what the application does with them.
//!
//! In: steps, and frames about calls. Out: frames, and what came of calls, as scenarios write it. Values, items and
//! arguments go as JSON.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_client::{CallError, Client, Invocation, Items, Payload, PayloadFormat, Target};
use fanfare_protocol::RequestId;
use fanfare_protocol::call::{ClientCall, Failure, Invoke, Outcome, StreamId};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};

use crate::scenarios::result;

/// An upload.
struct Given(VecDeque<Value>);

impl Stream for Given {
    type Item = Value;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Value>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// The methods of the client.
pub(crate) fn answer(client: &Arc<Client>, let_go: &Arc<Notify>) {
    client.on_invoke("Echo", |(value,): (Value,)| async move { Ok::<_, String>(value) });
    client.on_invoke("Refuse", |_: Vec<Value>| async { Err::<Value, _>("no".to_owned()) });
    let let_go = Arc::clone(let_go);
    client.on_invoke("Wait", move |_: Vec<Value>| {
        let let_go = Arc::clone(&let_go);
        async move {
            let_go.notified().await;
            Ok::<_, String>(())
        }
    });
    let inner = Arc::downgrade(client);
    client.on_invoke("Count", move |_: Vec<Value>| {
        let client = inner.upgrade();
        async move { client.unwrap().count(Target::All).await.map_err(|error| error.to_string()) }
    });
    let inner = Arc::downgrade(client);
    client.on_invoke("Twice", move |(value,): (Value,)| {
        let client = inner.upgrade();
        async move {
            let sum = client.unwrap().invoke::<Value>("Add", &(&value, &value)).await;
            sum.map_err(|error| error.to_string())
        }
    });
}

/// Calls a method.
pub(crate) async fn invoke(client: &Client, step: &Value) -> Value {
    let mut invocation = Invocation::new(step["method"].as_str().unwrap()).arguments(&step["args"]);
    if let Some(items) = step["upload"].as_array() {
        invocation = invocation.upload(Given(items.clone().into()));
    }
    ended(client.call::<Value>(invocation).await, |value| json!({ "value": value }))
}

/// Calls a method whose result is items.
pub(crate) async fn stream(client: &Client, step: &Value, items: &Mutex<Option<Items<Value>>>) -> Value {
    match client.stream(step["method"].as_str().unwrap(), &step["args"]).await {
        Ok(begun) => {
            *items.lock().await = Some(begun);
            json!("done")
        }
        Err(error) => ended(Err::<(), _>(error), |()| json!("done")),
    }
}

/// Takes the next item of that.
pub(crate) async fn next(items: &Mutex<Option<Items<Value>>>) -> Value {
    match items.lock().await.as_mut().unwrap().next().await {
        Some(item) => ended(item, |item| json!({ "item": item })),
        None => json!("end"),
    }
}

fn ended<T>(outcome: Result<T, CallError>, done: impl FnOnce(T) -> Value) -> Value {
    match outcome {
        Ok(value) => done(value),
        Err(CallError::Request(error)) => result(Err(error)),
        Err(CallError::NotSupported) => json!("unsupported"),
        Err(CallError::Failed { code, detail, data }) => {
            let mut failed = json!({ "failed": code, "detail": detail });
            if !data.bytes.is_empty() {
                failed["data"] = value(&data);
            }
            failed
        }
        Err(other) => panic!("no scenario knows {other}"),
    }
}

pub(crate) fn payload(value: &Value) -> Payload {
    Payload::json(value.to_string())
}

fn value(payload: &Payload) -> Value {
    assert_eq!(payload.format, PayloadFormat::Json);
    serde_json::from_slice(&payload.bytes).unwrap()
}

/// What came of a call, as the server says it.
pub(crate) fn outcome(outcome: &Value) -> Outcome {
    if outcome == "nothing" {
        return Outcome::Nothing;
    }
    if let Some(value) = outcome.get("value") {
        return Outcome::Value(payload(value));
    }
    Outcome::Failed(Failure {
        code: u16::try_from(outcome["failed"].as_u64().unwrap()).unwrap(),
        detail: outcome["detail"].as_str().unwrap_or_default().to_owned(),
        data: outcome.get("data").map(payload).unwrap_or_default(),
    })
}

/// The same of the client's.
fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Nothing => json!("nothing"),
        Outcome::Value(content) => json!({ "value": value(content) }),
        Outcome::Failed(Failure { code, detail, data }) => {
            // Nothing, in binary: neither client says anything to programs.
            assert_eq!(*data, Payload::default());
            json!({ "failed": code, "detail": detail })
        }
    }
}

/// What the client says of calls, and the number that it is about.
pub(crate) fn said(call: &ClientCall) -> (u64, Value) {
    match call {
        ClientCall::Invoke(Invoke { request, method, credit, streams, arguments }) => {
            let (streams, args) = (streams.len(), value(arguments));
            let invoke =
                json!({ "method": method.as_str(), "credit": credit, "streams": streams, "args": args });
            (*request, json!({ "invoke": invoke }))
        }
        ClientCall::Cancel { request } => (*request, json!("cancel")),
        ClientCall::Credit { request, items } => (*request, json!({ "credit": items })),
        ClientCall::Item { stream, item } => (*stream, json!({ "item": value(item) })),
        ClientCall::End { stream, failure } => {
            let outcome = failure.clone().map_or(Outcome::Nothing, Outcome::Failed);
            (*stream, json!({ "end": outcome_json(&outcome) }))
        }
        ClientCall::Completion { call, outcome } => (*call, json!({ "answer": outcome_json(outcome) })),
    }
}

/// The numbers of a call, and of its first stream, where it is one.
pub(crate) fn invoked(call: &ClientCall) -> Option<(RequestId, Option<StreamId>)> {
    match call {
        ClientCall::Invoke(invoke) => Some((invoke.request, invoke.streams.first().copied())),
        _ => None,
    }
}

/// Whether an answer is as a step has it, which need not have every field.
pub(crate) fn is_answer(wanted: &Value, got: &Value) -> bool {
    match wanted.as_object() {
        Some(fields) => fields.iter().all(|(field, value)| got.get(field) == Some(value)),
        None => wanted == got,
    }
}
