//! What an application registers: methods by name, and hooks on connections.
//!
//! In: async functions. Out: a [`MethodSet`], which a server is started with. Invariant: what is registered never
//! changes while a server runs.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::{CloseReason, Left};
use fanfare_protocol::GroupName;
use tower_layer::Layer;
use tower_service::Service;

use super::answer::Answer;
use super::call_error::CallError;
use super::caller::Caller;
use super::connecting::{Connecting, Refusal};
use super::extract::Call;
use super::handler::Handler;
use super::hooks::Hooks;
use super::limits::CallLimits;
use super::method::{Method, MethodService};
use crate::handle::HubHandle;

/// An application's methods and hooks.
///
/// ```
/// use fanfare_server::{Args, CallError, Caller, GroupName, Methods};
///
/// async fn add_to_group(caller: Caller, Args((group,)): Args<(String,)>) -> Result<(), CallError> {
///     let group = GroupName::new(&group)?;
///     caller.join(&group)?;
///     caller.hub().group(group).send("Send", format!("{} has joined", caller.connection()))?;
///     Ok(())
/// }
///
/// let methods = Methods::new().on("AddToGroup", add_to_group);
/// ```
///
/// [`Builder::methods`](crate::Builder::methods) gives them to a server.
#[must_use = "a server has them only when it is given them"]
pub struct Methods<S = ()> {
    state: S,
    methods: HashMap<String, Method>,
    otherwise: Option<Method>,
    hooks: Hooks,
    limits: CallLimits,
    deadline: Option<Duration>,
}

impl Methods {
    /// None yet, and no state that they share.
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Methods<S> {
    /// None yet. Each call gets a clone of `state`, as a [`State`](super::State).
    pub fn with_state(state: S) -> Self {
        Self {
            state,
            methods: HashMap::new(),
            otherwise: None,
            hooks: Hooks::default(),
            limits: CallLimits::default(),
            deadline: None,
        }
    }

    /// A method, called by this name. Of two with one name the later counts.
    pub fn on<X>(self, name: &str, handler: impl Handler<X, S>) -> Self {
        self.add(name, None, handler)
    }

    /// The same, with a deadline of its own. When it is over the caller is told
    /// [`Code::CallTimeout`](crate::Code::CallTimeout).
    pub fn on_within<X>(self, name: &str, deadline: Duration, handler: impl Handler<X, S>) -> Self {
        self.add(name, Some(deadline), handler)
    }

    fn add<X>(mut self, name: &str, deadline: Option<Duration>, handler: impl Handler<X, S>) -> Self {
        let state = self.state.clone();
        let call = Arc::new(move |call| handler.clone().call(call, state.clone()));
        self.methods.insert(name.to_owned(), Method { call, deadline });
        self
    }

    /// What is called by a name that no method has. It gets the call as it is, and is behind no layer.
    pub fn otherwise<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(S, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, CallError>> + Send + 'static,
    {
        let state = self.state.clone();
        let call = Arc::new(move |call| Box::pin(handler(state.clone(), call)) as _);
        self.otherwise = Some(Method { call, deadline: None });
        self
    }

    /// Puts the methods that are there so far behind a layer of tower's, in which many of them share something: a limit
    /// for all callers together, a log, a check of the caller. The last one is the outermost. Its errors become what
    /// the caller is told, so that one of tower's own needs a word for that:
    ///
    /// ```
    /// # use fanfare_server::{Args, CallError, Methods};
    /// use tower::{BoxError, ServiceBuilder};
    ///
    /// # async fn report(Args((month,)): Args<(u32,)>) -> Result<u32, CallError> { Ok(month) }
    /// let at_most_four = ServiceBuilder::new()
    ///     .map_err(|error: BoxError| match error.downcast() {
    ///         Ok(methods_own) => *methods_own,
    ///         Err(_) => CallError::new("there are too many at the moment"),
    ///     })
    ///     .load_shed()
    ///     .concurrency_limit(4);
    /// let methods = Methods::new().on("Report", report).layer(at_most_four);
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<MethodService>,
        L::Service: Service<Call, Response = Answer> + Clone + Send + Sync + 'static,
        <L::Service as Service<Call>>::Error: Into<CallError>,
        <L::Service as Service<Call>>::Future: Send,
    {
        let behind = |(name, method): (String, Method)| (name, method.behind(&layer));
        self.methods = self.methods.into_iter().map(behind).collect();
        self
    }

    /// Asked about each connection whose client has shown who it is, before it is welcomed. Where it refuses, or
    /// fails, the connection is closed, and there is no `disconnected`.
    pub fn connected<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, Connecting) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.connected =
            Some(Arc::new(move |connecting| Box::pin(hook(state.clone(), connecting)) as _));
        self
    }

    /// Called once for each connection that `connected` let in, when it has ended from whatever cause, also where it
    /// was not welcomed in the end. It has left its groups then, and is told last. Without a reason it vanished. It
    /// waits for no method that may still run.
    pub fn disconnected<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, Caller, Option<CloseReason>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.disconnected =
            Some(Arc::new(move |(caller, reason)| Box::pin(hook(state.clone(), caller, reason)) as _));
        self
    }

    /// Asked when a client wants to join a group that it is granted, and may refuse. Its next request waits for the
    /// answer, and so does what it answers: this hook must not wait for a method of the client. Where it fails, the
    /// client is refused. It is not asked where the application or an operator adds a connection.
    pub fn joining<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, Caller, GroupName) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), CallError>> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.joining =
            Some(Arc::new(move |(caller, group)| Box::pin(hook(state.clone(), caller, group)) as _));
        self
    }

    /// Called once for each membership when it has begun, at whoever's wish. Of one connection this, `left` and
    /// `disconnected` are called one after the other, in the order in which it happened.
    pub fn joined<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, Caller, GroupName) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.joined =
            Some(Arc::new(move |(caller, group)| Box::pin(hook(state.clone(), caller, group)) as _));
        self
    }

    /// Called once for each membership when it has ended, from whatever cause.
    pub fn left<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, Caller, GroupName, Left) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.left = Some(Arc::new(move |(caller, group, why)| {
            Box::pin(hook(state.clone(), caller, group, why)) as _
        }));
        self
    }

    /// Called when a group has its first member. Of one group this and `group_closed` take turns, one after the
    /// other.
    pub fn group_opened<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, HubHandle, GroupName) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.group_opened =
            Some(Arc::new(move |(hub, group)| Box::pin(hook(state.clone(), hub, group)) as _));
        self
    }

    /// Called when a group's last member has gone.
    pub fn group_closed<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, HubHandle, GroupName) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let state = self.state.clone();
        self.hooks.group_closed =
            Some(Arc::new(move |(hub, group)| Box::pin(hook(state.clone(), hub, group)) as _));
        self
    }

    /// How long a method may take that has no deadline of its own. Default: as long as it likes.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Changes what one connection may ask at a time.
    pub fn configure(mut self, change: impl FnOnce(&mut CallLimits)) -> Self {
        change(&mut self.limits);
        self.limits.in_flight = self.limits.in_flight.max(1);
        self.limits.stream_items = self.limits.stream_items.max(1);
        self
    }

    /// Without its state's type.
    pub(crate) fn into_set(self) -> MethodSet {
        let Self { methods, otherwise, hooks, limits, deadline, .. } = self;
        MethodSet { methods, otherwise, hooks, limits, deadline }
    }
}

/// Methods whose state is in them.
pub(crate) struct MethodSet {
    pub(super) methods: HashMap<String, Method>,
    pub(super) otherwise: Option<Method>,
    pub(super) hooks: Hooks,
    pub(super) limits: CallLimits,
    pub(super) deadline: Option<Duration>,
}

impl std::fmt::Debug for MethodSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodSet").field("methods", &self.methods.keys()).finish_non_exhaustive()
    }
}
