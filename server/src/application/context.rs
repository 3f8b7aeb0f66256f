//! What all parts of a running application share: its limits, the hub, the tasks, and where is counted.

use std::sync::Arc;

use fanfare_protocol::Limits;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::CallLimits;
use crate::handle::HubHandle;
use crate::hub::Hub;
use crate::telemetry::Metrics;

/// What all parts of a running application share.
pub(super) struct Context {
    pub(super) limits: CallLimits,
    /// What payloads of either side may have.
    pub(super) payloads: Limits,
    /// The hub as the application has it.
    pub(super) handle: HubHandle,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    /// Cancelled when what is still to be told is told no more: the server ends.
    pub(super) abandoned: CancellationToken,
    /// The tasks of calls and of hooks.
    pub(super) tasks: TaskTracker,
    /// Where they run: the hub tells things on other threads, too.
    pub(super) runtime: Handle,
}

impl Context {
    /// Needs a tokio runtime.
    pub(super) fn new(
        limits: CallLimits,
        payloads: Limits,
        handle: HubHandle,
        hub: &Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            limits,
            payloads,
            handle,
            hub: Arc::clone(hub),
            metrics,
            abandoned: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }
}
