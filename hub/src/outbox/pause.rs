//! Who may stop an outbox from being written.
//!
//! In: the cluster of a hub that is one of several. Out: whom the writer asks. Invariant: a hub that is alone asks
//! nobody.

use std::sync::Arc;

use crate::cluster::Cluster;

/// What may stop an outbox from being written: nothing, in a hub that is alone.
#[derive(Clone, Default)]
pub(crate) struct Pause(Option<Arc<dyn Cluster>>);

impl Pause {
    /// As this cluster has it.
    pub(crate) fn of(cluster: Option<Arc<dyn Cluster>>) -> Self {
        Self(cluster)
    }

    /// Whom to ask.
    pub(super) fn cluster(&self) -> Option<&dyn Cluster> {
        self.0.as_deref()
    }
}
