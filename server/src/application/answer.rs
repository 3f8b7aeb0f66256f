//! What a method gives: a value, nothing, or items.
//!
//! In: what a handler returns. Out: an [`Answer`], encoded as its caller writes. Invariant: items are encoded one by
//! one, as they are asked for.

use std::pin::Pin;
use std::task::{Context, Poll};

use fanfare_protocol::{Payload, PayloadFormat};
use futures_core::Stream;
use serde::Serialize;

use super::arguments;
use super::call_error::CallError;

/// What came of a method.
pub enum Answer {
    /// It has no value.
    Nothing,
    /// Its value.
    Value(Payload),
    /// Its items, which are pulled as the caller takes them. Dropped when the caller does not want them any more.
    Items(Pin<Box<dyn Stream<Item = Result<Payload, CallError>> + Send>>),
}

/// Items of a result, one after the other: what a handler returns whose result is a stream.
///
/// The stream's items are values that serde writes.
pub struct Items<S>(S);

impl<S> Items<S> {
    /// The items of this stream.
    pub fn new(stream: S) -> Self {
        Self(stream)
    }
}

/// The same where an item can be an error, which ends the stream.
pub struct TryItems<S>(S);

impl<S> TryItems<S> {
    /// The items of this stream, up to its first error.
    pub fn new(stream: S) -> Self {
        Self(stream)
    }
}

/// What can be returned by a handler.
pub trait IntoAnswer {
    /// Encodes it, for a caller who writes in this format.
    ///
    /// # Errors
    /// The method's own, or that its value cannot be written.
    fn into_answer(self, format: PayloadFormat) -> Result<Answer, CallError>;
}

impl<T: Serialize, E: Into<CallError>> IntoAnswer for Result<T, E> {
    fn into_answer(self, format: PayloadFormat) -> Result<Answer, CallError> {
        let value = self.map_err(Into::into)?;
        // No other type has this name, and `()` would be the value null.
        if std::any::type_name::<T>() == std::any::type_name::<()>() {
            return Ok(Answer::Nothing);
        }
        arguments::encode(&value, format).map(Answer::Value)
    }
}

impl<S, T, E> IntoAnswer for Result<Items<S>, E>
where
    S: Stream<Item = T> + Send + 'static,
    T: Serialize + 'static,
    E: Into<CallError>,
{
    fn into_answer(self, format: PayloadFormat) -> Result<Answer, CallError> {
        let Items(stream) = self.map_err(Into::into)?;
        let encode = move |item: T| arguments::encode(&item, format);
        Ok(Answer::Items(Box::pin(Encoded { stream: Box::pin(stream), encode })))
    }
}

impl<S, T, F, E> IntoAnswer for Result<TryItems<S>, E>
where
    S: Stream<Item = Result<T, F>> + Send + 'static,
    T: Serialize + 'static,
    F: Into<CallError> + 'static,
    E: Into<CallError>,
{
    fn into_answer(self, format: PayloadFormat) -> Result<Answer, CallError> {
        let TryItems(stream) = self.map_err(Into::into)?;
        let encode = move |item: Result<T, F>| arguments::encode(&item.map_err(Into::into)?, format);
        Ok(Answer::Items(Box::pin(Encoded { stream: Box::pin(stream), encode })))
    }
}

/// A stream whose items are encoded.
struct Encoded<S, E> {
    stream: Pin<Box<S>>,
    encode: E,
}

impl<S, E> Stream for Encoded<S, E>
where
    S: Stream,
    E: Fn(S::Item) -> Result<Payload, CallError> + Unpin,
{
    type Item = Result<Payload, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = std::task::ready!(self.stream.as_mut().poll_next(context));
        Poll::Ready(item.map(|item| (self.encode)(item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_not_null() {
        let nothing = Ok::<_, CallError>(()).into_answer(PayloadFormat::Json).unwrap();
        assert!(matches!(nothing, Answer::Nothing));
        let null = Ok::<_, CallError>(None::<u8>).into_answer(PayloadFormat::Json).unwrap();
        assert!(matches!(null, Answer::Value(value) if value == Payload::json("null")));
    }
}
