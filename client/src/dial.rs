//! From a server's name to a QUIC connection with it.
//!
//! In: the address and the settings. Out: a connection and the endpoint (UDP socket) it lives on, or the error that
//! tells most.
//!
//! A name often has an IPv6 and an IPv4 address of which only one leads to the server (`localhost`, for one). They are
//! tried in turns, a quarter of a second apart, and the first that answers wins (RFC 8305, "happy eyeballs").
//!
//! Invariant: every attempt has a socket of its server's address family, so that a later `rebind` to a plain socket of
//! that family works; what loses the race is dropped here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Code;
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportErrorCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::address::ServerAddress;
use crate::disconnect::{ComeBack, Disconnect};
use crate::error::ConnectError;

/// RFC 8305 section 5 recommends 250 ms between attempts.
const STAGGER: Duration = Duration::from_millis(250);

/// TLS alerts (RFC 8446 section 6.2), as which QUIC reports what rustls found.
mod alert {
    pub(super) const BAD_CERTIFICATE: u8 = 42;
    pub(super) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(super) const UNKNOWN_CA: u8 = 48;
    pub(super) const DECRYPT_ERROR: u8 = 51;
    pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

/// Makes QUIC connections to one server.
#[derive(Clone)]
pub(crate) struct QuicDialer {
    pub(crate) server: ServerAddress,
    pub(crate) quic: quinn::ClientConfig,
    /// Who is trusted, for the error message.
    pub(crate) roots: String,
    /// How long an attempt may take; here only for the error message.
    pub(crate) timeout: Duration,
}

/// What may wait in the system until this process has its turn: all that a server sends before it must hear from us,
/// the last word with its reason included. The usual 208 KiB hold half of that. The system may give less, which is not
/// an error.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A socket on a free port.
fn open(any: IpAddr) -> io::Result<Endpoint> {
    let socket = std::net::UdpSocket::bind((any, 0))?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

impl QuicDialer {
    /// Looks the server up and tries its addresses until one answers or `deadline` comes.
    pub(crate) async fn dial(&self, deadline: Instant) -> Result<(Endpoint, Connection), ConnectError> {
        let unresolved =
            |error| ConnectError::Resolve { server: self.server.to_string(), source: Arc::new(error) };
        let addresses = timeout_at(deadline, self.server.resolve())
            .await
            .map_err(|_| unresolved(io::ErrorKind::TimedOut.into()))?
            .map_err(unresolved)?;
        self.race(addresses, deadline).await
    }

    async fn race(
        &self,
        addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<(Endpoint, Connection), ConnectError> {
        let unreachable =
            || ConnectError::Unreachable { server: self.server.to_string(), within: self.timeout };
        let mut addresses = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut failure = None;
        loop {
            match addresses.next() {
                Some(address) => {
                    let dialer = self.clone();
                    attempts.spawn(async move { dialer.attempt(address).await });
                }
                None if attempts.is_empty() => return Err(failure.unwrap_or_else(unreachable)),
                None => {}
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => match ended {
                    Ok(Ok(dialed)) => return Ok(dialed),
                    Ok(Err(error)) => failure = Some(more_telling(failure, error)),
                    Err(failed) => {
                        let reason = Disconnect::Transport { detail: failed.to_string() };
                        let error = ConnectError::Lost { server: self.server.to_string(), reason };
                        failure = Some(more_telling(failure, error));
                    }
                },
                () = sleep(STAGGER), if addresses.len() > 0 => {}
                // At least one address was reached for in vain.
                () = sleep_until(deadline) => return Err(more_telling(failure, unreachable())),
            }
        }
    }

    async fn attempt(&self, address: SocketAddr) -> Result<(Endpoint, Connection), ConnectError> {
        let any: IpAddr =
            if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let endpoint = open(any).map_err(|error| ConnectError::Socket(error.into()))?;
        let connecting =
            endpoint.connect_with(self.quic.clone(), address, self.server.host()).map_err(|error| {
                ConnectError::Address { address: self.server.to_string(), problem: error.to_string() }
            })?;
        let connection = connecting.await.map_err(|error| self.failed(error))?;
        tracing::debug!(server = %self.server, %address, "QUIC connection made");
        Ok((endpoint, connection))
    }

    /// What a failed handshake means.
    fn failed(&self, error: ConnectionError) -> ConnectError {
        let server = self.server.to_string();
        let is = |code, alert| code == TransportErrorCode::crypto(alert);
        match error {
            // Found by this side, in what the server presented.
            ConnectionError::TransportError(error) => {
                let (code, detail) = (error.code, error.reason);
                if is(code, alert::NO_APPLICATION_PROTOCOL) {
                    ConnectError::NotFanfare { server }
                } else if is(code, alert::CERTIFICATE_EXPIRED) {
                    ConnectError::Expired { server, detail }
                } else if is(code, alert::BAD_CERTIFICATE) && detail.contains("not valid for name") {
                    ConnectError::WrongName { server, detail }
                } else if is(code, alert::UNKNOWN_CA) || is(code, alert::DECRYPT_ERROR) {
                    // The second is a trusted authority's name with another key: a CA that was made anew.
                    ConnectError::UnknownIssuer { server, roots: self.roots.clone(), detail }
                } else {
                    ConnectError::Tls { server, detail: format!("{code}: {detail}") }
                }
            }
            // Told by the server.
            ConnectionError::ConnectionClosed(close) => {
                let code = close.error_code;
                if code == TransportErrorCode::CONNECTION_REFUSED {
                    ConnectError::TurnedAway { server }
                } else if is(code, alert::NO_APPLICATION_PROTOCOL) {
                    ConnectError::NotFanfare { server }
                } else {
                    ConnectError::Tls { server, detail: close.to_string() }
                }
            }
            ConnectionError::VersionMismatch => ConnectError::NotFanfare { server },
            ConnectionError::TimedOut => ConnectError::Unreachable { server, within: self.timeout },
            other => not_welcomed(server, other.into()),
        }
    }
}

/// The first error stands, as it is about the address that the resolver likes best; but that this machine lacks that
/// address's family says nothing about the server.
fn more_telling(first: Option<ConnectError>, second: ConnectError) -> ConnectError {
    match first {
        None | Some(ConnectError::Socket(_)) => second,
        Some(first) => first,
    }
}

/// What it means when a connection ends before the server's `Welcome`. The code 0 is no word of the server's there: a
/// QUIC library closes a connection with it that it drops half made.
pub(crate) fn not_welcomed(server: String, reason: Disconnect) -> ConnectError {
    match reason {
        Disconnect::Closed { code, come_back: ComeBack::ByCode, .. } if code == Code::Normal.number() => {
            let detail = format!("it was dropped half made (code {code})");
            ConnectError::Lost { server, reason: Disconnect::Transport { detail } }
        }
        reason => ready_failed(server, reason),
    }
}

/// What it means when a connection ends before it is ready.
pub(crate) fn ready_failed(server: String, reason: Disconnect) -> ConnectError {
    match reason {
        Disconnect::Closed { code, reason, come_back } => {
            ConnectError::Refused { server, code, reason, come_back }
        }
        reason => ConnectError::Lost { server, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Roots;
    use crate::{tls, transport};
    use quinn::crypto::rustls::QuicServerConfig;

    /// A server on the loopback interface, and a dialer that trusts it.
    fn server() -> (Endpoint, QuicDialer) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(tls::provider());
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![fanfare_protocol::ALPN.to_vec()];
        let quic = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(quic, "127.0.0.1:0".parse().unwrap()).unwrap();

        let mut store = rustls::RootCertStore::empty();
        store.add(own.cert.der().clone()).unwrap();
        let trust = tls::load(Roots::Store(store), fanfare_protocol::ALPN, None).unwrap();
        let dialer = QuicDialer {
            server: "localhost:4433".parse().unwrap(),
            quic: transport::quic(&trust),
            roots: trust.roots,
            timeout: Duration::from_secs(20),
        };
        (endpoint, dialer)
    }

    /// An address where nobody answers.
    fn silence() -> (std::net::UdpSocket, SocketAddr) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_hold_up_the_next() {
        let (endpoint, dialer) = server();
        let (_socket, silent) = silence();
        let address = endpoint.local_addr().unwrap();
        let accepting = async { endpoint.accept().await.unwrap().await.unwrap() };
        let deadline = Instant::now() + dialer.timeout;
        let (dialed, _connection) =
            tokio::join!(dialer.race(vec![silent, silent, address], deadline), accepting);
        assert_eq!(dialed.unwrap().1.remote_address(), address);
        assert!(Instant::now() < deadline, "it was found before the attempts on the others ended");
    }

    #[tokio::test]
    async fn when_nobody_answers_that_is_the_error() {
        let (_endpoint, dialer) = server();
        let (_socket, silent) = silence();
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = dialer.race(vec![silent], deadline).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        let error = dialer.race(Vec::new(), deadline).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_missing_address_family_hides_no_other_error() {
        let socket = || ConnectError::Socket(Arc::new(io::ErrorKind::Unsupported.into()));
        let other = || ConnectError::TurnedAway { server: String::new() };
        assert!(matches!(more_telling(Some(socket()), other()), ConnectError::TurnedAway { .. }));
        assert!(matches!(more_telling(Some(other()), socket()), ConnectError::TurnedAway { .. }));
        assert!(matches!(more_telling(None, socket()), ConnectError::Socket(_)));
    }
}
