//! What all parts of a running application share: its limits, the hub, the tasks, and what is counted.

use std::sync::Arc;

use fanfare_hub::striped::Counter;
use fanfare_protocol::Limits;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::limits::CallLimits;
use crate::handle::HubHandle;
use crate::hub::Hub;

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

/// What all parts of a running application share.
pub(super) struct Context {
    pub(super) limits: CallLimits,
    /// What payloads of either side may have.
    pub(super) payloads: Limits,
    /// The hub as the application has it.
    pub(super) handle: HubHandle,
    pub(super) hub: Arc<Hub>,
    pub(super) counters: CallCounters,
    /// The tasks of calls and of hooks.
    pub(super) tasks: TaskTracker,
    /// Where they run: the hub tells things on other threads, too.
    pub(super) runtime: Handle,
}

impl Context {
    /// Needs a tokio runtime.
    pub(super) fn new(limits: CallLimits, payloads: Limits, hub: &Arc<Hub>) -> Self {
        Self {
            limits,
            payloads,
            handle: HubHandle::new(Arc::clone(hub), payloads),
            hub: Arc::clone(hub),
            counters: CallCounters::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }
}
