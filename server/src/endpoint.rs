//! The UDP socket, TLS, and the QUIC settings: everything that quinn is told.
//!
//! In: the configuration, a certificate with its key, and the state directory's keys. Out: a socket, a quinn endpoint on it, and
//! the means to give it another certificate while it runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_hub::SEND_WINDOW;
use fanfare_protocol::ALPN;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{AckFrequencyConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::IdentityError;
use crate::runtime::OwnedTasks;
use crate::state::EndpointKeys;
use crate::webtransport;

/// What the server proves itself with: its certificate, any certificates between it and a known authority, and its key.
pub struct Identity {
    /// The server's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Identity {
    /// Leaves the key out: what is debugged ends in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Datagrams that may wait, in bytes.
const DATAGRAMS_BYTES: usize = 64 * 1024;

/// Starts QUIC on a socket. Its tasks are `tasks`.
pub(crate) fn open(
    server: ServerConfig,
    socket: std::net::UdpSocket,
    keys: &EndpointKeys,
    tasks: &TaskTracker,
) -> io::Result<quinn::Endpoint> {
    let mut endpoint = EndpointConfig::new(Arc::clone(&keys.reset) as _);
    // With a key of each life's own, as is quinn's default, a restarted server takes the packets of its last life for noise
    // and never resets them.
    let key = keys.connection_ids;
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
    quinn::Endpoint::new(endpoint, Some(server), socket, Arc::new(OwnedTasks(tasks.clone())))
}

/// The settings for connections from now on. Those that are there keep theirs.
pub(crate) fn server_config(
    config: &Config,
    identity: Identity,
    keys: &EndpointKeys,
) -> Result<ServerConfig, IdentityError> {
    let mut server = ServerConfig::with_crypto(Arc::new(tls(config, identity)?));
    server.token_key(Arc::clone(&keys.token) as _).transport_config(Arc::new(transport(config)));
    Ok(server)
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) fn no_initial_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> rustls::Error {
    rustls::Error::General("no cipher suite for QUIC's Initial packets".into())
}

fn tls(config: &Config, identity: Identity) -> Result<QuicServerConfig, IdentityError> {
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let tls = match &config.certificates {
        None => tls.with_no_client_auth(),
        Some(certificates) => tls.with_client_cert_verifier(certificates.verifier()?),
    };
    let mut tls = tls.with_single_cert(identity.chain, identity.key)?;
    tls.alpn_protocols = vec![ALPN.to_vec(), webtransport::ALPN.to_vec()];
    // A client that comes back within hours skips the certificate and its signature. One ticket is enough: it opens one
    // connection at a time. No early data: a replayed Hello would be a second connection of the user (RFC 8446 section 8).
    tls.send_tls13_tickets = 1;
    tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    tls.max_early_data_size = 0;
    Ok(QuicServerConfig::try_from(tls).map_err(no_initial_suite)?)
}

/// QUIC for many connections that are mostly idle and then all busy at once: see DESIGN.md, section 6, for what quinn's
/// defaults (made for few connections with many streams) cost in memory.
fn transport(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // A connection has one stream, which the client opens; quinn keeps state for every stream that it allows. WebTransport has
    // the one of the CONNECT beside it, and HTTP/3 its control stream and two of QPACK (RFC 9114 section 6.2). Which of both
    // it is, is known only when the streams are allowed already; a native client's others are never looked at, and
    // what they carry counts against the same window.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(2));
    transport.max_concurrent_uni_streams(VarInt::from_u32(3));
    // What a client may have on its way to us. Two of the largest frames keep a publisher busy for a round trip; it is also
    // the most that a client which is held back makes us keep.
    let window = VarInt::from_u32((config.limits.frame_bytes + 4) * 2);
    transport.stream_receive_window(window);
    transport.receive_window(window);
    transport.send_window(SEND_WINDOW as u64);
    // The unreliable lane: some dozens of the largest datagrams, each way. What is older is worth less than what is new, and
    // goes first.
    transport.datagram_receive_buffer_size(Some(DATAGRAMS_BYTES));
    transport.datagram_send_buffer_size(DATAGRAMS_BYTES);
    // A burst is acknowledged every ten packets, as many as go out in one call, and not every two. What is lost shows as soon as
    // before, because a gap is acknowledged at once. Clients that do not know the extension go on as they are used to.
    let mut acknowledging = AckFrequencyConfig::default();
    acknowledging.ack_eliciting_threshold(VarInt::from_u32(9));
    transport.ack_frequency_config(Some(acknowledging));
    // Clients keep connections alive; a timer for each of them here would only wake us up.
    transport.keep_alive_interval(None);
    // Its range is checked with the configuration, and far below what QUIC can say.
    transport.max_idle_timeout(IdleTimeout::try_from(config.idle_timeout).ok());
    // Measuring a path's latency from outside is of no use to our users, and one bit of their traffic.
    transport.allow_spin(false);
    transport
}

/// Binds a socket. What comes before [`open`] waits in it.
pub(crate) fn socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, on every system alike.
        socket.set_only_v6(false)?;
    }
    // One socket is everybody's: with the usual 208 KiB a burst of arrivals is lost before it is seen. The system may
    // give less (net.core.rmem_max), which is not an error.
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
