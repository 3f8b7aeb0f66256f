//! The load tool's connections: bytes out and in, whatever carries them.
//!
//! In: an address and a transport. Out: two halves. Every TLS handshake is a full one: nobody resumes, so that
//! connecting costs what a new client's costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{TransportConfig, VarInt};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Fallible, Tried, wrong};
use crate::peer::Transport;

/// How long connecting may take while thousands do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes connections.
#[derive(Clone)]
pub struct Dialer {
    server: SocketAddr,
    transport: Transport,
    tls: TlsConnector,
    quic: Option<quinn::ClientConfig>,
}

/// Where bytes come in.
pub enum Incoming {
    Plain(ReadHalf<TcpStream>),
    Tls(ReadHalf<TlsStream<TcpStream>>),
    Quic(quinn::RecvStream),
}

/// Where bytes go out.
pub enum Outgoing {
    Plain(WriteHalf<TcpStream>),
    Tls(WriteHalf<TlsStream<TcpStream>>),
    /// The connection is held here: without it the stream would end.
    Quic(quinn::SendStream, quinn::Connection),
}

impl Dialer {
    /// To this server, which proves itself with a certificate of one of these authorities.
    ///
    /// # Errors
    /// When TLS does not take the authorities, or there is no socket.
    pub fn new(server: SocketAddr, transport: Transport, roots: &Arc<RootCertStore>) -> Fallible<Self> {
        let tls = |protocols: &[&[u8]]| -> Fallible<ClientConfig> {
            // The order of the client library, of browsers and of Go.
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            provider
                .cipher_suites
                .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
            let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .tried("TLS 1.3")?
                .with_root_certificates(Arc::clone(roots))
                .with_no_client_auth();
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            tls.resumption = Resumption::disabled();
            Ok(tls)
        };
        let quic = if transport == Transport::Quic {
            let crypto = QuicClientConfig::try_from(tls(&[fanfare_protocol::ALPN])?).tried("QUIC's TLS")?;
            let mut config = quinn::ClientConfig::new(Arc::new(crypto));
            let mut settings = TransportConfig::default();
            settings
                .stream_receive_window(VarInt::from_u32(1 << 20))
                .receive_window(VarInt::from_u32(1 << 20));
            settings.max_concurrent_bidi_streams(VarInt::from_u32(0));
            settings.max_concurrent_uni_streams(VarInt::from_u32(0));
            // As the client library has it.
            settings.keep_alive_interval(Some(Duration::from_secs(10)));
            config.transport_config(Arc::new(settings));
            Some(config)
        } else {
            None
        };
        Ok(Self { server, transport, tls: TlsConnector::from(Arc::new(tls(&[])?)), quic })
    }

    /// Where it connects to.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// A connection, after TLS.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn dial(&self) -> Fallible<(Outgoing, Incoming)> {
        timeout(PATIENCE, self.connect()).await.map_err(|_| wrong("a connection took too long"))?
    }

    async fn connect(&self) -> Fallible<(Outgoing, Incoming)> {
        if let Some(config) = &self.quic {
            // A socket of its own, as every client has: one for all would let the server's kernel find it, wake it and
            // fill it once for many.
            let socket = std::net::UdpSocket::bind((self.server.ip(), 0)).tried("a UDP socket")?;
            // As the client library has it. The system may give less.
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20);
            let endpoint = quinn::Endpoint::new(
                quinn::EndpointConfig::default(),
                None,
                socket,
                Arc::new(quinn::TokioRuntime),
            )
            .tried("QUIC")?;
            let connecting =
                endpoint.connect_with(config.clone(), self.server, "localhost").tried("connecting")?;
            let connection = connecting.await.tried("the QUIC handshake")?;
            let (sending, receiving) = connection.open_bi().await.tried("opening the stream")?;
            return Ok((Outgoing::Quic(sending, connection), Incoming::Quic(receiving)));
        }
        let mut stream = TcpStream::connect(self.server).await.tried("connecting")?;
        stream.set_nodelay(true).tried("TCP_NODELAY")?;
        if self.transport == Transport::Plain {
            let (incoming, outgoing) = tokio::io::split(stream);
            return Ok((Outgoing::Plain(outgoing), Incoming::Plain(incoming)));
        }
        if self.transport == Transport::TlsAfterLine {
            // Byte by byte: what is behind the line is TLS's.
            let mut last = [0u8];
            while last != *b"\n" {
                stream.read_exact(&mut last).await.tried("reading the server's line")?;
            }
        }
        let name = ServerName::try_from("localhost").tried("the server's name")?;
        let stream = self.tls.connect(name, stream).await.tried("the TLS handshake")?;
        let (incoming, outgoing) = tokio::io::split(stream);
        Ok((Outgoing::Tls(outgoing), Incoming::Tls(incoming)))
    }
}

impl Incoming {
    /// Puts the next bytes behind `buffer`. `false` at the end.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> Fallible<bool> {
        let what = "the connection broke";
        Ok(match self {
            Self::Plain(stream) => stream.read_buf(buffer).await.tried(what)? > 0,
            Self::Tls(stream) => stream.read_buf(buffer).await.tried(what)? > 0,
            Self::Quic(stream) => match stream.read_chunk(64 * 1024, true).await.tried(what)? {
                Some(chunk) => {
                    buffer.extend_from_slice(&chunk.bytes);
                    true
                }
                None => false,
            },
        })
    }
}

impl Outgoing {
    /// Writes all of it.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn write(&mut self, bytes: &[u8]) -> Fallible<()> {
        let what = "the connection broke";
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await.tried(what),
            Self::Tls(stream) => {
                stream.write_all(bytes).await.tried(what)?;
                stream.flush().await.tried(what)
            }
            Self::Quic(stream, _) => stream.write_all(bytes).await.tried(what),
        }
    }
}
