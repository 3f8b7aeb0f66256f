//! The listener: every attempt to connect is let in, asked to prove its address, or turned away.
//!
//! In: first packets. Out: a task for each handshake, which becomes the session's task. Invariant: no more than
//! `refuse_above` handshakes go on at a time, of which no address has more than half, so that a flood costs bounded
//! memory and shuts nobody else out (`door.rs`); the sessions that are there do not count.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::edge::door::{Door, OwnShare, Place, Proofs, let_in};
use crate::edge::handshake::{Handshakes, Newcomer};
use crate::quic::Endpoint;

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
pub(crate) async fn listen(endpoint: Endpoint, handshakes: Arc<Handshakes>, tasks: Tasks) {
    let door = Door::new(handshakes.config.refuse_above, OwnShare::Refuse);
    // An address that nobody has proved must not use up the share of whose it is.
    let own = handshakes.config.refuse_above.div_ceil(2);
    let retry_above = handshakes.config.retry_above.min(own.saturating_sub(1));
    let proofs = Proofs::new();
    loop {
        let incoming = tokio::select! {
            biased;
            () = tasks.closing.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let metrics = handshakes.router.metrics();
        let Some((incoming, place)) = let_in(incoming, &door, &proofs, retry_above, metrics) else {
            continue;
        };
        let newcomer = Newcomer::Quic(Box::new(incoming));
        let place = Arc::new(place);
        let serve = serve(newcomer, place, Arc::clone(&handshakes), tasks.clone(), tasks.readers.token());
        tasks.connections.spawn(serve);
    }
}

/// A connection from its handshake to its end.
pub(crate) async fn serve(
    newcomer: Newcomer,
    place: Arc<Place>,
    handshakes: Arc<Handshakes>,
    tasks: Tasks,
    reading: TaskTrackerToken,
) {
    let closing = tasks.closing.clone();
    // Boxed: the handshake's state is large and short-lived, and this task lives as long as the connection. What it
    // brings is boxed in there, too: a value that is moved out of a variable leaves its room behind in the task.
    let shaking = Box::pin(async move {
        let (session, slot, reading) = handshakes.shake(newcomer, &closing, &place, reading).await?;
        Some((Box::pin(session.run(&tasks.connections, reading)), slot))
    });
    if let Some((session, _slot)) = shaking.await {
        session.await;
    }
}
