//! The application of a running server: what the edge asks, and what the hub tells.
//!
//! In: connections that come, and every membership. Out: whether they may be here, and the hooks. Invariants: the hub
//! tells inside its critical sections, where nothing here waits; every task that is begun here ends before the server
//! does.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfare_hub::striped::Counter;
use fanfare_hub::{CloseReason, Joined, Left, Origin, Witness};
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Limits, MethodName};
use fanfare_token::Permissions;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::caller::Caller;
use super::connecting::Connecting;
use super::events::Event;
use super::groups::Groups;
use super::hooks::{Hooks, carry_out};
use super::limits::CallLimits;
use super::link::{Attached, Link, Opening};
use super::methods::{Method, MethodSet};
use crate::handle::HubHandle;
use crate::hub::{Hub, Member};

/// What was asked of the application.
#[derive(Debug, Default)]
pub(crate) struct CallCounters {
    /// Calls begun.
    pub(crate) calls: Counter,
    /// Methods, streams and hooks that panicked.
    pub(crate) panics: Counter,
    /// Hooks that took longer than they may.
    pub(crate) overdue_hooks: Counter,
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
    /// Connections that have been let in and have not ended.
    links: RwLock<HashMap<ConnectionId, Arc<Link>>>,
    pub(super) groups: Groups,
    /// The tasks of calls and of hooks.
    pub(super) tasks: TaskTracker,
    /// Where they run: the hub is told things on other threads, too.
    pub(super) runtime: Handle,
}

impl Application {
    /// Needs a tokio runtime.
    pub(crate) fn new(set: MethodSet, hub: &Arc<Hub>, payloads: Limits) -> Arc<Self> {
        let application = Arc::new(Self {
            limits: set.limits,
            deadline: set.deadline,
            payloads,
            hub: HubHandle::new(Arc::clone(hub), payloads),
            inner: Arc::clone(hub),
            counters: CallCounters::default(),
            links: RwLock::default(),
            groups: Groups::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            set,
        });
        let Hooks { joined, left, group_opened, group_closed, .. } = &application.set.hooks;
        // Where nobody wants to know, nothing is told.
        if joined.is_some() || left.is_some() || group_opened.is_some() || group_closed.is_some() {
            hub.tell(Arc::new(Told(Arc::downgrade(&application))));
        }
        application
    }

    pub(super) fn hooks(&self) -> &Hooks {
        &self.set.hooks
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
        let connection = opening.connection;
        let link = Arc::new(Link::new(Arc::clone(self), opening));
        if let Some(hook) = &self.set.hooks.connected {
            let connecting = Connecting::new(Arc::clone(&link));
            let answer = carry_out(self, "connected", &connection, hook, connecting).await;
            answer.ok_or(Code::Internal)?.map_err(|refusal| refusal.reason)?;
        }
        if let Some(grants) = link.admission.lock().grants.take() {
            permissions.grants = grants.by_application();
        }
        self.links.write().insert(connection, Arc::clone(&link));
        Ok(Attached::new(link))
    }

    /// A connection has ended that was let in. What the hub tells of it has been told.
    pub(super) fn disconnected(link: &Arc<Link>, reason: Option<CloseReason>) {
        let application = &link.application;
        application.links.write().remove(&link.opening.connection);
        if application.set.hooks.disconnected.is_some() {
            link.tell(Event::Disconnected(reason));
        }
    }

    /// Whether `joining` has to be asked.
    pub(crate) fn asks_about_joins(&self) -> bool {
        self.set.hooks.joining.is_some()
    }

    /// Asks whether a client may join a group that it is granted.
    ///
    /// # Errors
    /// Why not, as its client is told.
    pub(crate) async fn joining(&self, link: &Arc<Link>, group: &GroupName) -> Result<(), (u16, String)> {
        let Some(hook) = &self.set.hooks.joining else { return Ok(()) };
        let caller = Caller::new(Arc::clone(link));
        let about = link.opening.connection;
        let internal = || (Code::Internal.number(), Code::Internal.sentence().to_owned());
        let answer = carry_out(self, "joining", &about, hook, (caller, group.clone())).await;
        answer.ok_or_else(internal)?.map_err(|error| (error.code(), error.detail().to_owned()))
    }

    /// Waits until everything that it was asked has ended. Nothing new may be asked any more.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Tells the application what the hub tells. Weak: the application has the hub.
struct Told(Weak<Application>);

impl Told {
    fn tell(&self, member: &Member, event: Event) {
        let Some(application) = self.0.upgrade() else { return };
        let link = application.links.read().get(&member.id()).cloned();
        if let Some(link) = link {
            link.tell(event);
        }
    }

    fn group_is(&self, group: &GroupName, is_open: bool) {
        let Some(application) = self.0.upgrade() else { return };
        let Hooks { group_opened, group_closed, .. } = &application.set.hooks;
        if group_opened.is_some() || group_closed.is_some() {
            application.group_is(group, is_open);
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
