//! Writes a copy of what was decided for all nodes to this node's own disk, so that a start without the cluster begins
//! with what stood last.
//!
//! In: decisions that are in force. Out: changes in the store. Invariant: the disk holds up no decision: where more is
//! decided than it takes, everything that stands is written at once instead.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::moderation::{Decision, Moderation};

/// A file in the state directory: what the store has of decisions is a copy.
const MARK: &str = "cluster-copy";

/// Whether what the store in a state directory has of decisions is a copy of a cluster's, and nothing of its own.
pub(crate) fn is_copy(directory: &Path) -> bool {
    directory.join(MARK).exists()
}

/// Remembers that it is, from now on.
pub(crate) fn remember(directory: &Path) -> io::Result<()> {
    std::fs::write(directory.join(MARK), "What bans.redb has of decisions is a copy of the cluster's.\n")
}

/// It is what a server alone decides, from now on.
pub(crate) fn forget(directory: &Path) -> io::Result<()> {
    match std::fs::remove_file(directory.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// So many decisions may wait for the disk.
const WAITING: usize = 1_024;

/// Where copies go.
#[derive(Clone)]
pub(super) struct Copies {
    /// Nothing: everything that stands.
    queue: mpsc::Sender<Option<Decision>>,
    all: Arc<AtomicBool>,
}

impl Copies {
    pub(super) fn new() -> (Self, mpsc::Receiver<Option<Decision>>) {
        let (queue, receiver) = mpsc::channel(WAITING);
        (Self { queue, all: Arc::default() }, receiver)
    }

    /// Has a decision written down.
    pub(super) fn add(&self, decision: Decision) {
        if self.queue.try_send(Some(decision)).is_err() {
            self.all.store(true, Ordering::Release);
        }
    }

    /// Has everything written down that stands.
    pub(super) fn add_all(&self) {
        self.all.store(true, Ordering::Release);
        // Where it is full, whoever takes from it finds the word above.
        let _ = self.queue.try_send(None);
    }
}

/// Writes them down until nobody gives any more.
pub(super) async fn copy(
    moderation: Arc<Moderation>,
    copies: Copies,
    mut decisions: mpsc::Receiver<Option<Decision>>,
) {
    let all = Arc::clone(&copies.all);
    drop(copies);
    while let Some(decision) = decisions.recv().await {
        let (moderation, whole) = (Arc::clone(&moderation), all.swap(false, Ordering::AcqRel));
        let written = tokio::task::spawn_blocking(move || match decision {
            Some(decision) if !whole => moderation.copy(&decision),
            _ => moderation.copy_all(),
        });
        if let Ok(Err(source)) = written.await {
            // What stands is with the cluster; the next that is written has all of it.
            all.store(true, Ordering::Release);
            tracing::error!(%source, "a copy of what was decided could not be written");
        }
    }
}
