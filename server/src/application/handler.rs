//! Async functions as methods.
//!
//! In: a function whose parameters are [`FromCall`] and whose result is [`IntoAnswer`]. Out: a method. The shape is
//! that of axum's handlers.

use std::future::Future;
use std::pin::Pin;

use super::answer::{Answer, IntoAnswer};
use super::call_error::CallError;
use super::extract::{Call, FromCall};

/// What a method gives when it is awaited.
pub(super) type Outcome = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send>>;

/// An async function that can be a method: up to eight parameters that are [`FromCall`], and a `Result`. `X` is the
/// tuple of its parameters, and there only so that the compiler can tell them apart.
pub trait Handler<X, S>: Clone + Send + Sync + 'static {
    /// Carries out a call.
    fn call(self, call: Call, state: S) -> Outcome;
}

macro_rules! handler {
    ($($parameter:ident),*) => {
        impl<F, Fut, R, S, $($parameter,)*> Handler<($($parameter,)*), S> for F
        where
            F: FnOnce($($parameter),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send,
            R: IntoAnswer,
            S: Send + Sync + 'static,
            $($parameter: FromCall<S> + Send,)*
        {
            #[allow(non_snake_case, unused_mut, unused_variables, reason = "the macro is for none as well as for eight")]
            fn call(self, mut call: Call, state: S) -> Outcome {
                Box::pin(async move {
                    let format = call.format();
                    $(let $parameter = $parameter::from_call(&mut call, &state)?;)*
                    // What nobody has taken of it is told so before the method begins.
                    drop(call);
                    self($($parameter),*).await.into_answer(format)
                })
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);
handler!(A, B, C, D, E, G);
handler!(A, B, C, D, E, G, H);
handler!(A, B, C, D, E, G, H, I);
