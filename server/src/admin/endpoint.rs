//! The operators' socket.
//!
//! In: QUIC connections with a certificate that TLS has checked. Out: a session's task for each. Invariants: without an
//! operator's certificate not one byte of an answer is sent; the number of sessions is bounded; the sessions, and whatever was being done
//! for them, have ended when [`listen`] returns.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Code;
use fanfare_protocol::admin::{ADMIN_ALPN, ADMIN_REQUEST_BYTES};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::seats::Seats;
use super::{Desk, Operators, session};
use crate::door::{Door, OwnShare, Proofs};
use crate::endpoint::{Identity, no_initial_suite, provider};
use crate::error::IdentityError;
use crate::listener::let_in;
use crate::state::EndpointKeys;

/// Handshakes at a time, and from how many on who comes has to prove an address first.
const MOST_HANDSHAKES: usize = 256;
const RETRY_ABOVE: usize = 16;
/// How long TLS may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Requests of one session at a time.
const MOST_STREAMS: u32 = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// So that a dashboard learns of a lost server in seconds, and we of a lost dashboard.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The settings for sessions from now on.
pub(crate) fn server_config(
    identity: Identity,
    operators: &dyn Operators,
    keys: &EndpointKeys,
) -> Result<ServerConfig, IdentityError> {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(operators.verifier()?)
        .with_single_cert(identity.chain, identity.key)?;
    tls.alpn_protocols = vec![ADMIN_ALPN.to_vec()];
    // No tickets: a resumed session would not show its certificate again.
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let quic = QuicServerConfig::try_from(tls).map_err(no_initial_suite)?;
    // A request at a time on each stream, and the longest one.
    let window = u32::try_from(ADMIN_REQUEST_BYTES).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MOST_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(VarInt::from_u32(window.saturating_mul(2)))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    let mut server = ServerConfig::with_crypto(Arc::new(quic));
    server.token_key(Arc::clone(&keys.token) as _).transport_config(Arc::new(transport));
    Ok(server)
}

/// Accepts operators until `closing`; their sessions end then, too.
pub(crate) async fn listen(endpoint: quinn::Endpoint, desk: Arc<Desk>, closing: CancellationToken) {
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
        let Some((incoming, place)) = let_in(incoming, &door, &proofs, RETRY_ABOVE, &desk.metrics) else {
            continue;
        };
        let (desk, closing, seats) = (Arc::clone(&desk), closing.clone(), Arc::clone(&seats));
        sessions.spawn(async move {
            let evicted = place.evicted();
            let accepted = async { incoming.accept()?.await };
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(HANDSHAKE_DEADLINE, accepted) => accepted,
                () = evicted.cancelled() => return,
            };
            // Whoever has shown a certificate holds up no newcomer.
            drop(place);
            match accepted {
                Ok(Ok(connection)) => welcome(connection, &desk, &seats, closing).await,
                Ok(Err(error)) => {
                    tracing::info!(%error, "somebody without an operator's certificate was turned away");
                }
                Err(_) => tracing::info!("somebody took too long to show an operator's certificate"),
            }
        });
    }
    sessions.close();
    sessions.wait().await;
    desk.finish().await;
    endpoint.close(VarInt::from_u32(u32::from(Code::ShuttingDown.number())), b"");
    endpoint.wait_idle().await;
}

async fn welcome(
    connection: quinn::Connection,
    desk: &Arc<Desk>,
    seats: &Arc<Seats>,
    closing: CancellationToken,
) {
    let chain: Arc<[_]> = chain(&connection).into();
    let address = connection.remote_address();
    match desk.identify(&chain).await {
        Ok(operator) => {
            let Some(_seat) = seats.take(&operator) else {
                tracing::warn!(operator = operator.name, role = %operator.role, %address, "operator has too many sessions");
                return close(&connection, Code::ServerFull);
            };
            tracing::info!(operator = operator.name, role = %operator.role, %address, "operator connected");
            let ended = session::run(&connection, &chain, desk, closing).await;
            if let Some(code) = ended {
                close(&connection, code);
            }
            tracing::debug!(
                operator = operator.name,
                code = ended.map(Code::number),
                "operator disconnected"
            );
        }
        Err(reason) => {
            desk.refuse(&reason, address);
            close(&connection, Code::OperatorRefused);
        }
    }
}

fn close(connection: &quinn::Connection, code: Code) {
    connection.close(VarInt::from_u32(u32::from(code.number())), code.sentence().as_bytes());
}

fn chain(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity();
    let chain = identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain.map(|chain| *chain).unwrap_or_default()
}
