//! A client's stream, as the method reads it whose argument it is.
//!
//! In: items that the link has taken, no more than it gave credit for. Out: the items as values. Invariants: reading an
//! item gives credit for another; what nobody reads any more is told to stop.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fanfare_protocol::call::{Failure, StreamId};
use fanfare_protocol::{Code, Denial, Payload};
use futures_core::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::arguments;
use super::call_error::CallError;
use super::extract::{Call, FromCall};
use super::link::Link;

/// The reading end of a client's stream.
pub(super) struct Inlet {
    stream: StreamId,
    link: Arc<Link>,
    items: mpsc::Receiver<Result<Payload, Failure>>,
    /// Items read that no credit was given for yet.
    read: u32,
}

impl Inlet {
    pub(super) fn new(
        stream: StreamId,
        link: Arc<Link>,
        items: mpsc::Receiver<Result<Payload, Failure>>,
    ) -> Self {
        Self { stream, link, items, read: 0 }
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Payload, CallError>>> {
        let item = ready!(self.items.poll_recv(context));
        if matches!(item, Some(Ok(_))) {
            self.read += 1;
            // By halves, so that not every item costs a frame.
            if self.read > self.link.application.limits.stream_items / 2 {
                self.link.give_credit(self.stream, std::mem::take(&mut self.read));
            }
        }
        Poll::Ready(item.map(|item| item.map_err(CallError)))
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.link.stop_upload(self.stream);
    }
}

/// A stream that the caller sends: the first that no other parameter has taken. It ends early, with an error, where its
/// sender says so, and where the connection ends. Dropped, its sender is told to stop.
///
/// ```
/// # use fanfare_server::{CallError, Upload};
/// async fn add_up(mut numbers: Upload<u64>) -> Result<u64, CallError> {
///     let mut sum = 0;
///     while let Some(number) = numbers.next().await {
///         sum += number?;
///     }
///     Ok(sum)
/// }
/// ```
pub struct Upload<T> {
    inlet: Inlet,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Upload<T> {
    /// The next item; `None` behind the last.
    pub async fn next(&mut self) -> Option<Result<T, CallError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T: DeserializeOwned> Stream for Upload<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inlet.poll(context));
        Poll::Ready(item.map(|item| arguments::decode_value(&item?)))
    }
}

impl<T: DeserializeOwned, S> FromCall<S> for Upload<T> {
    fn from_call(call: &mut Call, _: &S) -> Result<Self, CallError> {
        let inlet = call.streams.pop_front().ok_or_else(|| {
            let detail = "the call has fewer streams than the method takes".to_owned();
            Denial { code: Code::ArgumentsInvalid, detail }
        })?;
        Ok(Self { inlet, items: PhantomData })
    }
}
