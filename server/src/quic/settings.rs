//! TLS and QUIC's settings, each with its reason: for clients, and for operators.
//!
//! In: who the server is and whom it takes. Out: what a [`super::Endpoint`] is opened with. Invariant: TLS 1.3 alone,
//! and no early data: a replayed `Hello` would be a second connection of the user (RFC 8446 section 8).

use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::SEND_WINDOW;
use fanfare_protocol::ALPN;
use fanfare_protocol::admin::{ADMIN_ALPN, ADMIN_REQUEST_BYTES};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;

use super::keys::EndpointKeys;
use super::webtransport;

/// What the server proves itself with: its certificate, any certificates between it and a known authority, and its key.
pub struct Identity {
    /// The server's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl std::fmt::Debug for Identity {
    /// Leaves the key out: what is debugged ends in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Why TLS does not take a certificate and its key.
#[derive(Debug, thiserror::Error)]
#[error("the certificate or its key cannot be used: {0}")]
pub struct IdentityError(#[from] pub(crate) rustls::Error);

/// Datagrams that may wait, in bytes.
const DATAGRAMS_BYTES: usize = 64 * 1024;
/// Requests of one operator's session at a time.
const MOST_STREAMS: u32 = 16;
/// After how much silence an operator's session is gone.
const OPERATORS_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// So that a dashboard learns of a lost server in seconds, and we of a lost dashboard.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The settings for connections from some moment on.
pub(crate) struct Settings(pub(super) ServerConfig);

impl Settings {
    /// For clients: with `verifier` they may show a certificate. `frame_bytes` is the longest frame that they may send.
    pub(crate) fn for_clients(
        identity: Identity,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        frame_bytes: u32,
        idle_timeout: Duration,
        keys: &EndpointKeys,
    ) -> Result<Self, IdentityError> {
        let mut tls = tls(identity, verifier)?;
        tls.alpn_protocols = vec![ALPN.to_vec(), webtransport::ALPN.to_vec()];
        // A client that comes back within hours skips the certificate and its signature. One ticket is enough: it opens
        // one connection at a time.
        tls.send_tls13_tickets = 1;
        tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Self::new(tls, for_clients(frame_bytes, idle_timeout), keys)
    }

    /// For operators, whose certificates `verifier` checks.
    pub(crate) fn for_operators(
        identity: Identity,
        verifier: Arc<dyn ClientCertVerifier>,
        keys: &EndpointKeys,
    ) -> Result<Self, IdentityError> {
        let mut tls = tls(identity, Some(verifier))?;
        tls.alpn_protocols = vec![ADMIN_ALPN.to_vec()];
        // No tickets: a resumed session would not show its certificate again.
        tls.send_tls13_tickets = 0;
        Self::new(tls, for_operators(), keys)
    }

    fn new(
        mut tls: rustls::ServerConfig,
        transport: TransportConfig,
        keys: &EndpointKeys,
    ) -> Result<Self, IdentityError> {
        tls.max_early_data_size = 0;
        let no_initial_suite =
            |_| rustls::Error::General("no cipher suite for QUIC's Initial packets".into());
        let quic = QuicServerConfig::try_from(tls).map_err(no_initial_suite)?;
        let mut server = ServerConfig::with_crypto(Arc::new(quic));
        server.token_key(Arc::clone(&keys.token) as _).transport_config(Arc::new(transport));
        Ok(Self(server))
    }
}

fn tls(
    identity: Identity,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<rustls::ServerConfig, IdentityError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let tls = match verifier {
        None => tls.with_no_client_auth(),
        Some(verifier) => tls.with_client_cert_verifier(verifier),
    };
    Ok(tls.with_single_cert(identity.chain, identity.key)?)
}

/// QUIC for many connections that are mostly idle and then all busy at once: quinn's defaults are made for few
/// connections with many streams, and cost their memory.
fn for_clients(frame_bytes: u32, idle_timeout: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // A connection has one stream, which the client opens; quinn keeps state for every stream that it allows.
    // WebTransport has the one of the CONNECT beside it, and HTTP/3 its control stream and two of QPACK (RFC 9114
    // section 6.2). Which of both it is, is known only when the streams are allowed already; a native client's others
    // are never looked at, and what they carry counts against the same window.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(2));
    transport.max_concurrent_uni_streams(VarInt::from_u32(3));
    // What a client may have on its way to us. Two of the largest frames keep a publisher busy for a round trip; it is
    // also the most that a client which is held back makes us keep.
    let window = VarInt::from_u32((frame_bytes + 4) * 2);
    transport.stream_receive_window(window);
    transport.receive_window(window);
    transport.send_window(SEND_WINDOW as u64);
    // The unreliable lane: some dozens of the largest datagrams, each way. What is older is worth less than what is
    // new, and goes first.
    transport.datagram_receive_buffer_size(Some(DATAGRAMS_BYTES));
    transport.datagram_send_buffer_size(DATAGRAMS_BYTES);
    // A burst is acknowledged every ten packets, as many as go out in one call, and not every two. What is lost shows
    // as soon as before, because a gap is acknowledged at once. Clients that do not know the extension go on as they
    // are used to.
    let mut acknowledging = AckFrequencyConfig::default();
    acknowledging.ack_eliciting_threshold(VarInt::from_u32(9));
    transport.ack_frequency_config(Some(acknowledging));
    // Clients keep connections alive; a timer for each of them here would only wake us up.
    transport.keep_alive_interval(None);
    // Its range is checked with the configuration, and far below what QUIC can say.
    transport.max_idle_timeout(IdleTimeout::try_from(idle_timeout).ok());
    // Measuring a path's latency from outside is of no use to our users, and one bit of their traffic.
    transport.allow_spin(false);
    transport
}

/// A request at a time on each stream, and the longest one.
fn for_operators() -> TransportConfig {
    let window = u32::try_from(ADMIN_REQUEST_BYTES).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MOST_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(VarInt::from_u32(window.saturating_mul(2)))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(OPERATORS_IDLE_TIMEOUT).ok());
    transport
}
