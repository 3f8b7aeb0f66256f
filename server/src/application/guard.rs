//! The application's futures, with their panics caught: one that panics costs only whoever waits for it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// It panicked. What it said is in the log already.
#[derive(Debug)]
pub(super) struct Panicked;

/// A future whose panics are caught.
pub(super) fn guarded<T>(
    mut future: Pin<Box<dyn Future<Output = T> + Send>>,
) -> impl Future<Output = Result<T, Panicked>> + Send {
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Err(Panicked)),
    })
}
