//! What a handler takes: parts of a call, by their types.
//!
//! In: a [`Call`]. Out: the handler's parameters, or why the call is refused. Invariant: nothing here waits.

use std::collections::VecDeque;

use fanfare_protocol::{MethodName, Payload, PayloadFormat};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::arguments;
use super::call_error::CallError;
use super::caller::Caller;
use super::inlet::Inlet;
use crate::handle::HubHandle;

/// A call, before its handler has taken what it needs of it.
pub struct Call {
    pub(super) caller: Caller,
    pub(super) method: MethodName,
    pub(super) arguments: Payload,
    pub(super) stop: CancellationToken,
    /// Those of the caller's streams that no parameter has taken yet.
    pub(super) streams: VecDeque<Inlet>,
}

impl Call {
    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Which method it is.
    #[must_use]
    pub fn method(&self) -> &MethodName {
        &self.method
    }

    /// What it is given, as it came.
    #[must_use]
    pub fn arguments(&self) -> &Payload {
        &self.arguments
    }

    /// Tells when its outcome is not wanted any more.
    #[must_use]
    pub fn cancellation(&self) -> Cancellation {
        Cancellation(self.stop.clone())
    }

    /// What its caller writes in.
    pub(super) fn format(&self) -> PayloadFormat {
        self.arguments.format
    }
}

/// What can be a handler's parameter. `S` is the state that the methods share.
pub trait FromCall<S>: Sized {
    /// Takes it out of a call.
    ///
    /// # Errors
    /// Why the call is refused: it is the caller who is told.
    fn from_call(call: &mut Call, state: &S) -> Result<Self, CallError>;
}

/// The arguments, decoded by serde from the payload's format: a tuple with an element for each.
///
/// ```
/// # use fanfare_server::{Args, CallError};
/// async fn add(Args((a, b)): Args<(i64, i64)>) -> Result<i64, CallError> {
///     a.checked_add(b).ok_or_else(|| CallError::new("that is too much"))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Args<T>(pub T);

impl<T: DeserializeOwned, S> FromCall<S> for Args<T> {
    fn from_call(call: &mut Call, _: &S) -> Result<Self, CallError> {
        arguments::decode(&call.arguments).map(Self)
    }
}

/// The arguments as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(pub Payload);

impl<S> FromCall<S> for Raw {
    fn from_call(call: &mut Call, _: &S) -> Result<Self, CallError> {
        Ok(Self(call.arguments.clone()))
    }
}

/// What all methods share: see [`Methods::with_state`](super::Methods::with_state).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<S>(pub S);

impl<S: Clone> FromCall<S> for State<S> {
    fn from_call(_: &mut Call, state: &S) -> Result<Self, CallError> {
        Ok(Self(state.clone()))
    }
}

impl<S> FromCall<S> for Caller {
    fn from_call(call: &mut Call, _: &S) -> Result<Self, CallError> {
        Ok(call.caller.clone())
    }
}

impl<S> FromCall<S> for HubHandle {
    fn from_call(call: &mut Call, _: &S) -> Result<Self, CallError> {
        Ok(call.caller.hub().clone())
    }
}

/// Tells a handler that its outcome is not wanted any more: the caller has cancelled the call or is gone, or the
/// deadline is over. The handler is dropped some time after that, if it goes on.
#[derive(Debug, Clone)]
pub struct Cancellation(CancellationToken);

impl Cancellation {
    /// Waits for it.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl<S> FromCall<S> for Cancellation {
    fn from_call(call: &mut Call, _: &S) -> Result<Self, CallError> {
        Ok(Self(call.stop.clone()))
    }
}
