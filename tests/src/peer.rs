//! A bare peer: QUIC and the codec, and none of the client's manners.
//!
//! In: frames, or any bytes at all. Out: frames, or the code that the server closed with. Many peers can share a
//! socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ALPN, ClientFrame, ConnectionId, Credential, Features, PROTOCOL_VERSION, ServerFrame,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ApplicationClose, ConnectionError, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::RootCertStore;

use crate::{user, within};

/// After how long a peer takes silence for the end: well below the deadline of a test, so that a server that has gone,
/// and whose close was lost, is missed in time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for a peer that takes its time. A close that was lost is noticed so late, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many bytes the server may send to a peer that has read none of them.
pub const WINDOW: u32 = 1 << 20;

/// What a peer tells QUIC. The defaults are for a peer that reads.
#[derive(Clone)]
pub struct Dialer {
    endpoint: quinn::Endpoint,
}

impl Dialer {
    /// A socket for any number of peers.
    #[must_use]
    pub fn new(roots: &Arc<RootCertStore>) -> Self {
        Self::with(roots, &[ALPN], WINDOW)
    }

    /// The same, with other protocols, and with another window: the most bytes that the server may send unread.
    #[must_use]
    pub fn with(roots: &Arc<RootCertStore>, protocols: &[&[u8]], window: u32) -> Self {
        Self::from(IpAddr::from([127, 0, 0, 1]), roots, protocols, window)
    }

    /// The same, from another address of this machine.
    #[must_use]
    pub fn from(address: IpAddr, roots: &Arc<RootCertStore>, protocols: &[&[u8]], window: u32) -> Self {
        Self::missing(address, roots, protocols, window, IDLE_TIMEOUT)
    }

    /// One for a crowd that keeps the machine busy: being busy must not end a connection. `window` is how many bytes
    /// the server may send unread; [`Dialer::new`] takes [`WINDOW`].
    #[must_use]
    pub fn patient(roots: &Arc<RootCertStore>, window: u32) -> Self {
        Self::missing(IpAddr::from([127, 0, 0, 1]), roots, &[ALPN], window, PATIENCE)
    }

    fn missing(
        address: IpAddr,
        roots: &Arc<RootCertStore>,
        protocols: &[&[u8]],
        window: u32,
        after: Duration,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(window)).receive_window(VarInt::from_u32(window));
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        transport.max_idle_timeout(Some(after.try_into().unwrap()));
        config.transport_config(Arc::new(transport));
        let mut endpoint = quinn::Endpoint::client(SocketAddr::new(address, 0)).unwrap();
        endpoint.set_default_client_config(config);
        Self { endpoint }
    }

    /// What it dials with.
    #[must_use]
    pub fn endpoint(&self) -> &quinn::Endpoint {
        &self.endpoint
    }

    /// A QUIC connection, on which nothing has been said yet.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn dial(&self, server: SocketAddr) -> Result<quinn::Connection, ConnectionError> {
        within(self.endpoint.connect(server, "localhost").unwrap()).await
    }

    /// A connection with its stream open.
    pub async fn peer(&self, server: SocketAddr) -> Peer {
        let connection = self.dial(server).await.unwrap();
        let (sending, stream) = within(connection.open_bi()).await.unwrap();
        let receiving = Receiving { stream, reader: FrameReader::new(u32::MAX), chunk: Bytes::new() };
        Peer { connection, sending: Sending(sending), receiving }
    }

    /// A peer that has been welcomed.
    pub async fn welcomed(&self, server: SocketAddr, name: &str) -> (Peer, ConnectionId) {
        let mut peer = self.peer(server).await;
        peer.send(&hello(name)).await;
        match peer.frame().await {
            Ok(ServerFrame::Welcome(welcome)) => (peer, welcome.connection),
            other => panic!("not welcomed: {other:?}"),
        }
    }
}

/// The first frame of a development user.
#[must_use]
pub fn hello(name: &str) -> ClientFrame {
    let credential = Credential::DevUser(user(name));
    ClientFrame::Hello { protocol: PROTOCOL_VERSION, features: Features::NONE, credential }
}

/// One connection.
pub struct Peer {
    /// The QUIC connection.
    pub connection: quinn::Connection,
    /// The peer's half of the stream.
    pub sending: Sending,
    /// The server's half.
    pub receiving: Receiving,
}

/// The half that the peer writes.
pub struct Sending(pub SendStream);

/// The half that the peer reads.
pub struct Receiving {
    /// The stream.
    pub stream: RecvStream,
    reader: FrameReader,
    chunk: Bytes,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The server closed it, with this code and reason.
    Code(u64, String),
    /// QUIC itself refused what was done, with this transport error code (RFC 9000 section 20.1).
    Transport(u64),
    /// The server finished its half of the stream.
    Finished,
    /// The server broke its half off, with this code.
    Reset(u64),
    /// Anything else.
    Other(String),
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason }) => {
                Self::Code(error_code.into_inner(), String::from_utf8_lossy(&reason).into_owned())
            }
            ConnectionError::ConnectionClosed(close) => Self::Transport(close.error_code.into()),
            ConnectionError::TransportError(error) => Self::Transport(error.code.into()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Peer {
    /// The two halves, for two tasks.
    #[must_use]
    pub fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &ClientFrame) {
        self.sending.send(frame).await;
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// When the server has stopped listening.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), quinn::WriteError> {
        within(self.sending.0.write_all(bytes)).await
    }

    /// The next frame.
    ///
    /// # Errors
    /// When there is none, because the connection ended.
    pub async fn frame(&mut self) -> Result<ServerFrame, Ended> {
        self.receiving.frame().await
    }

    /// Passes over frames until the connection ends.
    pub async fn end(&mut self) -> Ended {
        while self.frame().await.is_ok() {}
        within(self.connection.closed()).await.into()
    }
}

impl Sending {
    /// Sends a frame.
    pub async fn send(&mut self, frame: &ClientFrame) {
        within(self.0.write_all(&codec::encode_client(frame))).await.unwrap();
    }
}

impl Receiving {
    /// The next frame.
    ///
    /// # Errors
    /// When there is none, because the connection ended.
    pub async fn frame(&mut self) -> Result<ServerFrame, Ended> {
        loop {
            if let Some(frame) = self.reader.next_frame(&mut self.chunk).unwrap() {
                return Ok(codec::decode_server(&frame).unwrap());
            }
            match within(self.stream.read_chunk(64 * 1024, true)).await {
                Ok(Some(chunk)) => self.chunk = chunk.bytes,
                Ok(None) => return Err(Ended::Finished),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(error.into()),
                Err(quinn::ReadError::Reset(code)) => return Err(Ended::Reset(code.into_inner())),
                Err(other) => return Err(Ended::Other(other.to_string())),
            }
        }
    }
}
