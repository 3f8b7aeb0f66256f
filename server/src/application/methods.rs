//! What an application registers: methods by name, and hooks on connections.
//!
//! In: async functions. Out: an [`Application`] that the edge asks. Invariant: what is registered never changes while a
//! server runs.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::striped::Counter;
use fanfare_hub::{CloseReason, Joined, Origin};
use fanfare_protocol::{Code, Denial, GroupName, Limits, MethodName};
use fanfare_token::Permissions;
use tokio_util::task::TaskTracker;

use super::caller::Caller;
use super::connecting::{Connecting, Refusal};
use super::extract::Call;
use super::handler::{Handler, Outcome};
use super::limits::CallLimits;
use super::link::{Attached, Link, Opening};
use crate::handle::HubHandle;
use crate::hub::{Hub, Member};

type Connected = Arc<dyn Fn(Connecting) -> Admitted + Send + Sync>;
type Admitted = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;
type Disconnected = Arc<dyn Fn(Caller, Option<CloseReason>) -> Done + Send + Sync>;
type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A registered method.
#[derive(Clone)]
pub(super) struct Method {
    pub(super) call: Arc<dyn Fn(Call) -> Outcome + Send + Sync>,
    pub(super) deadline: Option<Duration>,
}

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
    connected: Option<Connected>,
    disconnected: Option<Disconnected>,
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
            connected: None,
            disconnected: None,
            limits: CallLimits::default(),
            deadline: None,
        }
    }

    /// A method, called by this name. Of two with one name the later counts.
    pub fn on<X>(self, name: &str, handler: impl Handler<X, S>) -> Self {
        self.add(name, None, handler)
    }

    /// The same, with a deadline of its own. When it is over the caller is told [`Code::CallTimeout`].
    pub fn on_within<X>(self, name: &str, deadline: Duration, handler: impl Handler<X, S>) -> Self {
        self.add(name, Some(deadline), handler)
    }

    fn add<X>(mut self, name: &str, deadline: Option<Duration>, handler: impl Handler<X, S>) -> Self {
        let state = self.state.clone();
        let call = Arc::new(move |call| handler.clone().call(call, state.clone()));
        self.methods.insert(name.to_owned(), Method { call, deadline });
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
        self.connected = Some(Arc::new(move |connecting| Box::pin(hook(state.clone(), connecting))));
        self
    }

    /// Called once for each connection that `connected` let in, when it has ended from whatever cause, also where it
    /// was not welcomed in the end. It has left its groups then. Without a reason it vanished. It waits for no method
    /// that may still run.
    pub fn disconnected<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(S, Caller, Option<CloseReason>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let state = self.state.clone();
        self.disconnected =
            Some(Arc::new(move |caller, reason| Box::pin(hook(state.clone(), caller, reason))));
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
        self
    }

    /// Without its state's type.
    pub(crate) fn into_set(self) -> MethodSet {
        let Self { methods, connected, disconnected, limits, deadline, .. } = self;
        MethodSet { methods, connected, disconnected, limits, deadline }
    }
}

/// Methods whose state is in them.
pub(crate) struct MethodSet {
    methods: HashMap<String, Method>,
    connected: Option<Connected>,
    disconnected: Option<Disconnected>,
    limits: CallLimits,
    deadline: Option<Duration>,
}

impl std::fmt::Debug for MethodSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodSet").field("methods", &self.methods.keys()).finish_non_exhaustive()
    }
}

/// What was asked of the application.
#[derive(Debug, Default)]
pub(crate) struct CallCounters {
    /// Calls begun.
    pub(crate) calls: Counter,
    /// Methods, streams and hooks that panicked.
    pub(crate) panics: Counter,
}

/// The application of a running server.
pub(crate) struct Application {
    set: MethodSet,
    pub(super) limits: CallLimits,
    pub(super) deadline: Option<Duration>,
    /// What payloads of either side may have.
    pub(super) payloads: Limits,
    pub(super) hub: HubHandle,
    inner: Arc<Hub>,
    pub(super) counters: CallCounters,
    /// The tasks of calls and of `disconnected`.
    pub(super) tasks: TaskTracker,
}

impl Application {
    pub(crate) fn new(set: MethodSet, hub: Arc<Hub>, payloads: Limits) -> Self {
        Self {
            limits: set.limits,
            deadline: set.deadline,
            set,
            payloads,
            hub: HubHandle::new(Arc::clone(&hub), payloads),
            inner: hub,
            counters: CallCounters::default(),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn counters(&self) -> &CallCounters {
        &self.counters
    }

    pub(super) fn method(&self, name: &MethodName) -> Option<Method> {
        self.set.methods.get(name.as_str()).cloned()
    }

    pub(super) fn join(
        &self,
        member: &Arc<Member>,
        group: &GroupName,
        origin: Origin,
    ) -> Result<Joined, Denial> {
        self.inner.join(member, group, origin)
    }

    pub(super) fn leave(&self, member: &Arc<Member>, group: &GroupName) -> Option<usize> {
        self.inner.leave(member, group)
    }

    /// Asks whether a connection may be here. What it may do is changed where the application says so.
    ///
    /// # Errors
    /// Why not, as its client is told.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        opening: Opening,
        permissions: &mut Permissions,
    ) -> Result<Attached, CloseReason> {
        let link = Arc::new(Link::new(Arc::clone(self), opening));
        if let Some(connected) = &self.set.connected {
            let hook = AssertUnwindSafe(|| connected(Connecting::new(Arc::clone(&link))));
            let failed = || {
                self.counters.panics.add(1);
                tracing::error!(connection = %link.opening.connection, "the hook `connected` panicked");
                CloseReason::from(Code::Internal)
            };
            let asked = std::panic::catch_unwind(hook).map_err(|_| failed())?;
            let asked = super::running::guarded(asked);
            let answer = tokio::time::timeout(self.limits.hook_deadline, asked).await.map_err(|_| {
                tracing::error!(connection = %link.opening.connection, "the hook `connected` took too long");
                CloseReason::from(Code::Internal)
            })?;
            answer.map_err(|_| failed())?.map_err(|refusal| refusal.reason)?;
        }
        if let Some(grants) = link.admission.lock().grants.take() {
            permissions.grants = grants.by_application();
        }
        Ok(Attached::new(link))
    }

    /// Tells the application that a connection has ended, in a task of its own.
    pub(super) fn disconnected(link: &Arc<Link>, reason: Option<CloseReason>) {
        let application = &link.application;
        let Some(hook) = application.set.disconnected.clone() else { return };
        let link = Arc::clone(link);
        application.tasks.spawn(async move {
            let (caller, application) = (Caller::new(Arc::clone(&link)), &link.application);
            let connection = link.opening.connection;
            let told = std::panic::catch_unwind(AssertUnwindSafe(|| hook(caller, reason)));
            let told = match told {
                Ok(told) => {
                    tokio::time::timeout(application.limits.hook_deadline, super::running::guarded(told))
                        .await
                }
                Err(_) => Ok(Err(super::running::Panicked)),
            };
            match told {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    application.counters.panics.add(1);
                    tracing::error!(%connection, "the hook `disconnected` panicked");
                }
                Err(_) => tracing::error!(%connection, "the hook `disconnected` took too long"),
            }
        });
    }

    /// Waits until everything that it was asked has ended. Nothing new may be asked any more.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
