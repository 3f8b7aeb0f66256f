//! Carries one call out, in a task of its own.
//!
//! In: an accepted call, and its method. Out: items, and exactly one completion. Invariants: a method that panics is a
//! code for its caller and a line in the log; one that does not return is dropped a bounded time after it was told to
//! stop; its place is free only when it really has ended.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fanfare_protocol::call::{Failure, Outcome, ServerCall};
use fanfare_protocol::{Code, Denial, Payload, RequestId};
use futures_core::Stream;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::call_error::CallError;
use super::caller::Caller;
use super::extract::Call;
use super::guard::{Panicked, guarded};
use super::inlet::Inlet;
use super::link::{Accepted, Link};
use super::seat::Seat;

/// What a method gives when it is awaited.
type Outcomes = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send>>;

type Items = Pin<Box<dyn Stream<Item = Result<Payload, CallError>> + Send>>;

/// Carries out a call.
pub(super) async fn run(
    link: &Arc<Link>,
    accepted: Accepted,
    method: &(dyn Fn(Call) -> Outcomes + Send + Sync),
    deadline: Option<Duration>,
    seat: &Arc<Seat>,
) {
    let Accepted { request, name, arguments, uploads, wants_items, turn, begun, credit, stop, .. } = accepted;
    if let Some(turn) = turn {
        // Calls begin in their order. Where the one before has ended without having begun, that is as good.
        let _ = turn.await;
    }
    // Its caller may have been banned while it waited.
    if let Err(denial) = link.context.hub.may_deliver() {
        uploads.into_iter().for_each(|upload| link.stop_upload(upload.stream, upload.serial));
        return link.refuse(request, denial);
    }
    let inlets = uploads.into_iter().map(|upload| Inlet::new(upload, Arc::clone(link))).collect();
    let caller = Caller::in_call(Arc::clone(link), Arc::clone(seat));
    let call = Call { caller, method: name.clone(), arguments, stop: stop.clone(), streams: inlets };
    let called = catch_unwind(AssertUnwindSafe(|| method(call)));
    let outcome = match called {
        Err(_) => Some(Err(Panicked)),
        Ok(future) => finish(link, request, deadline, &stop, begun, future).await,
    };
    let outcome = match outcome {
        // It was told already that it took too long.
        None => None,
        Some(Err(Panicked)) => {
            tracing::error!(method = ?name, connection = %link.opening.connection, "a method panicked");
            Some(failed(Code::MethodPanicked))
        }
        Some(Ok(Err(error))) => Some(Outcome::Failed(error.within(&link.context.payloads))),
        Some(Ok(Ok(answer))) => Some(match (answer, wants_items) {
            (Answer::Nothing, false) => Outcome::Nothing,
            (Answer::Value(value), false) => {
                within_limits(link, value).map_or_else(Outcome::from, Outcome::Value)
            }
            (Answer::Items(items), true) => {
                let sent = send_items(link, request, &credit, &stop, items).await;
                if matches!(sent, Err(None)) {
                    tracing::error!(method = ?name, connection = %link.opening.connection, "a stream panicked");
                }
                match sent {
                    Ok(()) => Outcome::Nothing,
                    Err(Some(error)) => Outcome::Failed(error.within(&link.context.payloads)),
                    Err(None) => failed(Code::MethodPanicked),
                }
            }
            (Answer::Items(_), false) | (Answer::Nothing | Answer::Value(_), true) => {
                failed(Code::NotAStream)
            }
        }),
    };
    if let Some(outcome) = outcome {
        complete(link, request, outcome).await;
    }
}

fn failed(code: Code) -> Outcome {
    Outcome::Failed(Denial::from(code).into())
}

/// A value that is longer than a payload may be is the application's mistake, and its caller's to hear of.
fn within_limits(link: &Link, value: Payload) -> Result<Payload, Refused> {
    link.context.payloads.check_payload(value.bytes.len()).map_err(Refused)?;
    Ok(value)
}

struct Refused(Denial);

impl From<Refused> for Outcome {
    fn from(Refused(denial): Refused) -> Self {
        Self::Failed(denial.into())
    }
}

/// Runs a method to its end. `None` where its caller was told meanwhile that it took too long.
async fn finish(
    link: &Link,
    request: RequestId,
    deadline: Option<Duration>,
    stop: &CancellationToken,
    begun: Option<oneshot::Sender<()>>,
    future: Outcomes,
) -> Option<Result<Result<Answer, CallError>, Panicked>> {
    let mut future = Box::pin(guarded(future));
    let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    drop(begun);
    if let Poll::Ready(ended) = first {
        return Some(ended);
    }
    let overdue = async {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline).await,
            None => std::future::pending().await,
        }
    };
    let is_overdue = tokio::select! {
        biased;
        ended = &mut future => return Some(ended),
        () = stop.cancelled() => false,
        () = overdue => true,
    };
    let rest = tokio::time::timeout(link.context.limits.grace, future);
    if is_overdue {
        stop.cancel();
        // The one does not wait for the other: a client that does not read must not keep the method, nor what it holds.
        let told = complete(link, request, failed(Code::CallTimeout));
        let ended = async move {
            let _ = rest.await;
        };
        tokio::join!(told, ended);
        return None;
    }
    let ended = rest.await;
    Some(ended.unwrap_or_else(|_| Ok(Err(Denial::from(Code::CallCancelled).into()))))
}

/// Sends items as there is credit and room for them. Whoever does not want them any more has got them all.
/// `Err(None)`: the stream panicked.
async fn send_items(
    link: &Link,
    request: RequestId,
    credit: &Semaphore,
    stop: &CancellationToken,
    mut items: Items,
) -> Result<(), Option<CallError>> {
    let sending = async {
        loop {
            // Before an item is made that nobody could be sent.
            if let Ok(permit) = credit.acquire().await {
                permit.forget();
            }
            let next = poll_fn(|context| {
                match catch_unwind(AssertUnwindSafe(|| items.as_mut().poll_next(context))) {
                    Ok(Poll::Ready(item)) => Poll::Ready(Ok(item)),
                    Ok(Poll::Pending) => Poll::Pending,
                    Err(_) => Poll::Ready(Err(Panicked)),
                }
            });
            let Ok(next) = next.await else { return Err(None) };
            let Some(item) = next.transpose().map_err(Some)? else { return Ok(()) };
            link.context.payloads.check_payload(item.bytes.len()).map_err(|denial| Some(denial.into()))?;
            if !link.deliver(ServerCall::Item { request, item }).await {
                return Ok(());
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        sent = sending => sent,
    }
}

/// Tells what came of a call. Its number is free before its caller can know, so that it can be used again.
async fn complete(link: &Link, request: RequestId, outcome: Outcome) {
    link.completed(request);
    if let Outcome::Failed(Failure { code, .. }) = &outcome {
        // The application's own numbers are its own to count.
        let code = Code::try_from(u64::from(*code)).unwrap_or(Code::CallFailed);
        link.context.metrics.refused.add(code);
        link.context.metrics.calls_failed.add(1);
    }
    link.deliver(ServerCall::Completion { request, outcome }).await;
}
