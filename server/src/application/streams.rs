//! A client's stream, as a method takes it: values, one after the other.
//!
//! In: the items of an [`Inlet`]. Out: what they say, by their format. Invariant: an item that is no value of the
//! wanted type is an error, and no end.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fanfare_protocol::{Code, Denial};
use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::arguments;
use super::call_error::CallError;
use super::extract::{Call, FromCall};
use super::inlet::Inlet;

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
