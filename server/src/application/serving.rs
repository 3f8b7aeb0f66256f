//! The application of a running server: carries out what clients call, and tells what the hub tells.
//!
//! In: frames about calls, and every membership. Out: tasks for calls and hooks. Invariants: the hub tells inside its
//! critical sections, where nothing here waits; every task that is begun here ends before the server does.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfare_hub::{Left, Origin, Witness};
use fanfare_protocol::call::{ClientCall, Invoke};
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Limits, MethodName, RequestId};
use fanfare_token::Permissions;
use parking_lot::RwLock;

use super::context::Context;
use super::events::Event;
use super::groups::Groups;
use super::hooks::{Decides, Hooks};
use super::limits::CallLimits;
use super::link::{Accepted, Link};
use super::method::Method;
use super::methods::MethodSet;
use super::seat::Seat;
use super::{running, telling};
use crate::handle::HubHandle;
use crate::hub::{Hub, Member};
use crate::telemetry::Metrics;
use crate::transport::Transport;

/// The application of a running server.
pub(crate) struct Application {
    methods: HashMap<String, Method>,
    /// What is called by any other name.
    otherwise: Option<Method>,
    /// Their names by those in lower case, for clients of SignalR.
    names: HashMap<String, MethodName>,
    deadline: Option<Duration>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) context: Arc<Context>,
    /// Connections that have been let in and have not ended.
    pub(super) links: RwLock<HashMap<ConnectionId, Arc<Link>>>,
    groups: Arc<Groups>,
}

impl Application {
    /// What it is asked before it happens.
    pub(crate) fn decides(&self) -> Decides {
        self.hooks.decide()
    }

    /// Needs a tokio runtime.
    pub(crate) fn new(
        set: MethodSet,
        (handle, hub): (HubHandle, &Arc<Hub>),
        payloads: Limits,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let MethodSet { methods, otherwise, hooks, limits, deadline } = set;
        let Hooks { joined, left, group_opened, group_closed, .. } = &hooks;
        let wants_to_know =
            joined.is_some() || left.is_some() || group_opened.is_some() || group_closed.is_some();
        let name = |name: &String| Some((name.to_ascii_lowercase(), MethodName::new(name).ok()?));
        // Of those that differ by case alone the first in the order of their bytes counts, at each start.
        let sorted: std::collections::BTreeSet<&String> = methods.keys().collect();
        let names = sorted.into_iter().rev().filter_map(name).collect();
        let application = Arc::new(Self {
            methods,
            otherwise,
            names,
            deadline,
            hooks: Arc::new(hooks),
            context: Arc::new(Context::new(limits, payloads, handle, hub, metrics)),
            links: RwLock::default(),
            groups: Arc::default(),
        });
        // Where nobody wants to know, nothing is told.
        if wants_to_know {
            hub.tell(Arc::new(Told(Arc::downgrade(&application))));
        }
        application
    }

    /// Whether there is anything that a client can call.
    pub(crate) fn has_methods(&self) -> bool {
        !self.methods.is_empty() || self.otherwise.is_some()
    }

    /// What is called by this name.
    fn method(&self, name: &str) -> Option<&Method> {
        self.methods.get(name).or(self.otherwise.as_ref())
    }

    /// Takes what a client says about calls, and begins what may begin.
    ///
    /// # Errors
    /// The number of a call that is refused, and why.
    pub(super) fn take(
        self: &Arc<Self>,
        link: &Arc<Link>,
        mut call: ClientCall,
    ) -> Result<(), (RequestId, Denial)> {
        if let ClientCall::Invoke(invoke) = &mut call
            && link.opening.transport == Transport::SignalR
            && !self.methods.contains_key(invoke.method.as_str())
            && let Some(name) = self.names.get(&invoke.method.as_str().to_ascii_lowercase())
        {
            invoke.method = name.clone();
        }
        if let ClientCall::Invoke(invoke) = &call
            && self.method(invoke.method.as_str()).is_none()
        {
            let detail = format!("there is no method {:?}", invoke.method);
            return Err((invoke.request, Denial { code: Code::MethodUnknown, detail }));
        }
        // Its caller may be banned by now.
        if let ClientCall::Invoke(Invoke { request, .. }) = &call
            && let Err(denial) = self.context.hub.may_deliver()
        {
            return Err((*request, denial));
        }
        link.take(call)?;
        self.begin(link);
        Ok(())
    }

    /// Begins every call of a connection that may begin.
    pub(super) fn begin(self: &Arc<Self>, link: &Arc<Link>) {
        while let Some(accepted) = link.next_call() {
            let (application, link) = (Arc::clone(self), Arc::clone(link));
            self.context.metrics.calls.add(1);
            self.context.tasks.spawn(async move {
                let seat = Arc::new(Seat::new(accepted.streams == 0));
                let Accepted { request, streams, .. } = accepted;
                let place = Place { application, link, request, streams, seat };
                // It was there when the call was taken, and methods never change.
                if let Some(method) = place.application.method(accepted.name.as_str()) {
                    let deadline = method.deadline.or(place.application.deadline);
                    running::run(&place.link, accepted, &*method.call, deadline, &place.seat).await;
                }
            });
        }
    }

    /// Waits until everything that it was asked has ended. Nothing new may be asked any more. What is still to be told
    /// after a hook's deadline is told no more.
    pub(crate) async fn wait(&self) {
        self.context.tasks.close();
        let CallLimits { grace, hook_deadline, .. } = self.context.limits;
        if tokio::time::timeout(grace.max(hook_deadline), self.context.tasks.wait()).await.is_err() {
            self.context.abandoned.cancel();
            tracing::warn!("the application was not told of every end: its hooks are slow");
            self.context.tasks.wait().await;
        }
    }
}

/// The place of a call that runs. Dropped, however it ended, it is free for the next one.
struct Place {
    application: Arc<Application>,
    link: Arc<Link>,
    request: RequestId,
    streams: usize,
    seat: Arc<Seat>,
}

impl Place {
    fn context(&self) -> &Context {
        &self.application.context
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.completed(self.request);
        self.link.make_way(self.streams);
        self.seat.end(&self.link);
        self.context().metrics.calls_ended.add(1);
        self.application.begin(&self.link);
    }
}

/// Tells the application what the hub tells. Weak: the application has the hub.
struct Told(Weak<Application>);

impl Told {
    fn tell(&self, member: &Member, event: Event) {
        let Some(application) = self.0.upgrade() else { return };
        let link = application.links.read().get(&member.id()).cloned();
        if let Some(link) = link {
            telling::tell(&link, &application.hooks, event);
        }
    }

    fn group_is(&self, group: &GroupName, is_open: bool) {
        let Some(application) = self.0.upgrade() else { return };
        let Hooks { group_opened, group_closed, .. } = &*application.hooks;
        if group_opened.is_some() || group_closed.is_some() {
            application.groups.tell(&application.context, &application.hooks, group, is_open);
        }
    }
}

impl Witness<Permissions> for Told {
    fn joined(&self, member: &Arc<Member>, group: &GroupName, _: Origin, opened: bool) {
        self.tell(member, Event::Joined(group.clone()));
        if opened {
            self.group_is(group, true);
        }
    }

    fn left(&self, member: &Arc<Member>, group: &GroupName, why: Left, closed: bool) {
        self.tell(member, Event::Left(group.clone(), why));
        if closed {
            self.group_is(group, false);
        }
    }
}
