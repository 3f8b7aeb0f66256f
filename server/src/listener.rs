//! The listener: every attempt to connect is let in, asked to prove its address, or turned away.
//!
//! In: first packets. Out: a task for each handshake, which becomes the session's task. Invariant: no more than
//! `refuse_above` handshakes go on at a time, of which no address has more than half, so that a flood costs bounded
//! memory and shuts nobody else out (`door.rs`); the sessions that are there do not count.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::{Answer, Door, OwnShare, Place, Proofs};
use crate::handshake::Handshakes;
use crate::metrics::Metrics;

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
        let serve = serve(incoming, place, Arc::clone(&handshakes), tasks.clone(), tasks.readers.token());
        tasks.connections.spawn(serve);
    }
}

/// Lets an attempt in, or answers it in another way.
pub(crate) fn let_in(
    incoming: quinn::Incoming,
    door: &Arc<Door>,
    proofs: &Proofs,
    retry_above: usize,
    metrics: &Metrics,
) -> Option<(quinn::Incoming, Place)> {
    // Before anything is thought of the address: it may be anybody's.
    if door.count() >= retry_above && !incoming.remote_address_validated() && incoming.may_retry() {
        metrics.retries.add(1);
        // Fails only where a retry was made already, which `may_retry` says.
        let _ = incoming.retry();
        return None;
    }
    // Whoever may not retry any more has come with the token of one. Nothing is reckoned for one that was played
    // again, not even a no.
    let proof = (!incoming.may_retry()).then(|| incoming.orig_dst_cid());
    if proof.is_some_and(|proof| proofs.is_used(proof)) {
        metrics.proofs_replayed.add(1);
        incoming.ignore();
        return None;
    }
    // Also for one that is turned away now: it comes again with another.
    if let Some(proof) = proof {
        proofs.note(proof, Instant::now());
    }
    let place = match door.enter(incoming.remote_address().ip()) {
        Answer::Place(place) => place,
        Answer::PlaceOf(place) => {
            metrics.handshakes_evicted.add(1);
            place
        }
        Answer::Full => {
            metrics.handshakes_refused.add(1);
            incoming.refuse();
            return None;
        }
    };
    Some((incoming, place))
}

async fn serve(
    incoming: quinn::Incoming,
    place: Place,
    handshakes: Arc<Handshakes>,
    tasks: Tasks,
    reading: tokio_util::task::task_tracker::TaskTrackerToken,
) {
    let closing = tasks.closing.clone();
    // Boxed: the handshake's state is large and short-lived, and this task lives as long as the connection. What it
    // brings is boxed in there, too: a value that is moved out of a variable leaves its room behind in the task.
    let shaking = Box::pin(async move {
        let (session, slot, reading) = handshakes.shake(incoming, &closing, &place, reading).await?;
        Some((Box::pin(session.run(&tasks.connections, reading)), slot))
    });
    if let Some((session, _slot)) = shaking.await {
        session.await;
    }
}
