//! One registered method, and tower's layers around it.
//!
//! In: a handler; a layer. Out: the method, and the same behind the layer. Invariant: a call goes through each layer
//! once, and a layer that is not ready yet holds up its caller alone.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::answer::Answer;
use super::call_error::CallError;
use super::extract::Call;
use super::handler::Outcome;

/// A registered method.
#[derive(Clone)]
pub(super) struct Method {
    pub(super) call: Arc<dyn Fn(Call) -> Outcome + Send + Sync>,
    pub(super) deadline: Option<Duration>,
}

/// A method as tower knows services: what [`Methods::layer`](super::Methods::layer) gives to a layer.
#[derive(Clone)]
pub struct MethodService {
    call: Arc<dyn Fn(Call) -> Outcome + Send + Sync>,
}

impl std::fmt::Debug for MethodService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodService").finish_non_exhaustive()
    }
}

impl Service<Call> for MethodService {
    type Response = Answer;
    type Error = CallError;
    type Future = Outcome;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Outcome {
        (self.call)(call)
    }
}

impl Method {
    /// The same behind a layer.
    pub(super) fn behind<L>(self, layer: &L) -> Self
    where
        L: Layer<MethodService>,
        L::Service: Service<Call, Response = Answer> + Clone + Send + Sync + 'static,
        <L::Service as Service<Call>>::Error: Into<CallError>,
        <L::Service as Service<Call>>::Future: Send,
    {
        let service = layer.layer(MethodService { call: self.call });
        let call = move |call| -> Outcome {
            let mut service = service.clone();
            Box::pin(async move {
                poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
                service.call(call).await.map_err(Into::into)
            })
        };
        Self { call: Arc::new(call), deadline: self.deadline }
    }
}
