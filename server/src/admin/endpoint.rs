//! The operators' socket.
//!
//! In: QUIC connections with a certificate that TLS has checked. Out: a session's task for each. Invariants: without an
//! operator's certificate not one byte of an answer is sent; the number of sessions is bounded; the sessions, and
//! whatever was being done for them, have ended when [`listen`] returns.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Code;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::seats::Seats;
use super::{Service, session};
use crate::edge::door::{Door, OwnShare, Proofs, let_in};
use crate::quic::{Accepted, Connection, Endpoint};

/// Handshakes at a time, and from how many on who comes has to prove an address first.
const MOST_HANDSHAKES: usize = 256;
const RETRY_ABOVE: usize = 16;
/// How long TLS may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Accepts operators until `closing`; their sessions end then, too.
pub(crate) async fn listen(endpoint: Endpoint, service: Arc<Service>, closing: CancellationToken) {
    let sessions = TaskTracker::new();
    let seats = Arc::new(Seats::default());
    let (door, proofs) = (Door::new(MOST_HANDSHAKES, OwnShare::Refuse), Proofs::new());
    loop {
        let incoming = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let Some((incoming, place)) = let_in(incoming, &door, &proofs, RETRY_ABOVE, &service.metrics) else {
            continue;
        };
        let (service, closing, seats) = (Arc::clone(&service), closing.clone(), Arc::clone(&seats));
        sessions.spawn(async move {
            let evicted = place.evicted();
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(HANDSHAKE_DEADLINE, incoming.accept()) => accepted,
                () = evicted.cancelled() => return,
            };
            // Whoever has shown a certificate holds up no newcomer.
            drop(place);
            match accepted {
                Ok(Ok(Accepted::Native(connection))) => welcome(connection, &service, &seats, closing).await,
                // Its protocol is not offered here.
                Ok(Ok(Accepted::Browser(_))) => {}
                Ok(Err(error)) => {
                    tracing::info!(%error, "somebody without an operator's certificate was turned away");
                }
                Err(_) => tracing::info!("somebody took too long to show an operator's certificate"),
            }
        });
    }
    sessions.close();
    sessions.wait().await;
    service.finish().await;
    endpoint.close(Code::ShuttingDown);
    endpoint.finish().await;
}

async fn welcome(
    connection: Connection,
    service: &Arc<Service>,
    seats: &Arc<Seats>,
    closing: CancellationToken,
) {
    let chain: Arc<[_]> = connection.certificates().into();
    let address = connection.remote_address();
    match service.identify(&chain).await {
        Ok(operator) => {
            let Some(_seat) = seats.take(&operator) else {
                tracing::warn!(operator = operator.name, role = %operator.role, %address, "operator has too many sessions");
                return close(&connection, Code::ServerFull).await;
            };
            tracing::info!(operator = operator.name, role = %operator.role, %address, "operator connected");
            let ended = session::run(&connection, &chain, service, closing).await;
            tracing::debug!(
                operator = operator.name,
                code = ended.map(Code::number),
                "operator disconnected"
            );
        }
        Err(reason) => {
            service.refuse(&reason, address);
            close(&connection, Code::OperatorRefused).await;
        }
    }
}

async fn close(connection: &Connection, code: Code) {
    connection.close(code, code.sentence()).await;
}
