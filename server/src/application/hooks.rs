//! The application's hooks on connections, memberships and groups, and how one is carried out.
//!
//! In: async functions. Out: what they decide, or that they failed. Invariant: a hook that panics or takes too long is
//! a line in the log, and holds up nobody but the connection or the group that it is about.

use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use fanfare_hub::CloseReason;
use fanfare_protocol::GroupName;

use super::call_error::CallError;
use super::caller::Caller;
use super::connecting::{Connecting, Refusal};
use super::context::Context;
use super::guard::guarded;
use crate::handle::HubHandle;

pub use fanfare_hub::Left;

type Answer<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// A hook that takes `A` and gives `R`.
pub(super) type Hook<A, R> = Arc<dyn Fn(A) -> Answer<R> + Send + Sync>;

/// Those that there are.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(super) connected: Option<Hook<Connecting, Result<(), Refusal>>>,
    pub(super) disconnected: Option<Hook<(Caller, Option<CloseReason>), ()>>,
    pub(super) joining: Option<Hook<(Caller, GroupName), Result<(), CallError>>>,
    pub(super) joined: Option<Hook<(Caller, GroupName), ()>>,
    pub(super) left: Option<Hook<(Caller, GroupName, Left), ()>>,
    pub(super) group_opened: Option<Hook<(HubHandle, GroupName), ()>>,
    pub(super) group_closed: Option<Hook<(HubHandle, GroupName), ()>>,
}

/// What the application is asked before it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Decides {
    /// Whether a connection is let in, and what it may do.
    pub(crate) connections: bool,
    /// Whether a client may join a group.
    pub(crate) joins: bool,
}

impl Hooks {
    pub(super) fn decide(&self) -> Decides {
        Decides { connections: self.connected.is_some(), joins: self.joining.is_some() }
    }
}

/// Carries a hook out; `about` is what the log says that it is about. `None`: it failed.
pub(super) async fn carry_out<A, R>(
    context: &Context,
    name: &'static str,
    about: &(dyn Display + Sync),
    hook: &Hook<A, R>,
    argument: A,
) -> Option<R> {
    let panicked = || {
        tracing::error!(hook = name, %about, "a hook panicked");
        None
    };
    let Ok(begun) = catch_unwind(AssertUnwindSafe(|| hook(argument))) else { return panicked() };
    match tokio::time::timeout(context.limits.hook_deadline, guarded(begun)).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(_)) => panicked(),
        Err(_) => {
            tracing::error!(hook = name, %about, "a hook took longer than it may");
            None
        }
    }
}
