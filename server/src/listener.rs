//! The door: every attempt to connect is let in, asked to prove its address, or turned away.
//!
//! In: first packets. Out: a task for each handshake, which becomes the session's task. Invariant: no more than
//! `refuse_above` handshakes go on at a time, so that a flood costs bounded memory; the sessions that are there do not
//! count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handshake::Handshakes;

/// The tasks that the server owns.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    /// Cancelled when nobody is let in any more.
    pub(crate) closing: CancellationToken,
    /// The tasks of handshakes and sessions, and of sessions' writers.
    pub(crate) connections: TaskTracker,
    /// A token for each handshake, and for each session that still reads requests.
    pub(crate) readers: TaskTracker,
    /// QUIC's own tasks.
    pub(crate) endpoint: TaskTracker,
}

/// Accepts connections until `tasks.closing`.
pub(crate) async fn listen(endpoint: quinn::Endpoint, handshakes: Arc<Handshakes>, tasks: Tasks) {
    let going_on = Arc::new(AtomicUsize::new(0));
    loop {
        let incoming = tokio::select! {
            biased;
            () = tasks.closing.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let metrics = handshakes.router.metrics();
        let busy = going_on.load(Ordering::Relaxed);
        if busy >= handshakes.config.refuse_above {
            metrics.handshakes_refused.add(1);
            incoming.refuse();
            continue;
        }
        if busy >= handshakes.config.retry_above
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            metrics.retries.add(1);
            // Fails only where a retry was made already, which `may_retry` says.
            let _ = incoming.retry();
            continue;
        }
        let handshake = GoingOn::begin(&going_on);
        let serve = serve(incoming, handshake, Arc::clone(&handshakes), tasks.clone(), tasks.readers.token());
        tasks.connections.spawn(serve);
    }
}

async fn serve(
    incoming: quinn::Incoming,
    handshake: GoingOn,
    handshakes: Arc<Handshakes>,
    tasks: Tasks,
    reading: tokio_util::task::task_tracker::TaskTrackerToken,
) {
    let closing = tasks.closing.clone();
    // Boxed: the handshake's state is large and short-lived, and this task lives as long as the connection. What it brings is boxed in
    // there, too: a value that is moved out of a variable leaves its room behind in the task.
    let shaking = Box::pin(async move {
        let (session, slot) = handshakes.shake(incoming).await?;
        Some((Box::pin(session.run(&tasks.connections, reading)), slot))
    });
    let welcomed = tokio::select! {
        biased;
        () = closing.cancelled() => None,
        welcomed = shaking => welcomed,
    };
    drop(handshake);
    if let Some((session, _slot)) = welcomed {
        session.await;
    }
}

/// Counts a handshake for as long as it goes on.
struct GoingOn(Arc<AtomicUsize>);

impl GoingOn {
    fn begin(going_on: &Arc<AtomicUsize>) -> Self {
        going_on.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(going_on))
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
