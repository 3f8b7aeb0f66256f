//! The scripted server: it takes connections and frames, and says what it is told to say.
//!
//! In: a test's script. Out: the client's frames, one by one. Invariant: every wait has a deadline and a name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_client::{Client, ClientConfig, Credential, Event, ProviderError, Reconnect, Roots, UserName};
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ALPN, ClientFrame, Code, ConnectionId, EventName, Features, GroupName, Limits, Message, PROTOCOL_VERSION,
    PayloadFormat, RequestId, Send, Sender, ServerFrame, Target, Token, Welcome,
};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, ConnectionError, ConnectionIdGenerator, Endpoint, EndpointConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How long anything may take. Far more than it does, so that a busy machine fails no test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that should come soon.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// A server's certificate and key, and the root that a client needs to trust it.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    root: Certificate,
}

impl Identity {
    pub(crate) fn new() -> Self {
        Self::with(&Self::params())
    }

    /// What a certificate for this machine says.
    pub(crate) fn params() -> CertificateParams {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        CertificateParams::new(names).unwrap()
    }

    /// A certificate that is its own root.
    pub(crate) fn with(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let certificate = root.der().clone();
        Self { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()), root }
    }

    /// A certificate that an authority signed, which has the same name every time and another key.
    pub(crate) fn from_authority() -> Self {
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let certificate = Self::params().signed_by(&key, &issuer).unwrap().der().clone();
        Self { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()), root }
    }

    pub(crate) fn roots(&self) -> Roots {
        let mut store = RootCertStore::empty();
        store.add(self.root.der().clone()).unwrap();
        Roots::Store(store)
    }

    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn quic(&self, alpn: &[u8]) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let mut transport = TransportConfig::default();
        // Small, so that a test sees soon that the client does not read.
        transport.send_window(64 * 1024);
        let mut quic = ServerConfig::with_crypto(Arc::new(crypto));
        quic.transport_config(Arc::new(transport));
        quic
    }
}

/// The server.
pub(crate) struct Server {
    pub(crate) identity: Identity,
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Identity::new(), ALPN)
    }

    pub(crate) fn with(identity: Identity, alpn: &[u8]) -> Self {
        let quic = identity.quic(alpn);
        let endpoint = Endpoint::server(quic, "127.0.0.1:0".parse().unwrap()).unwrap();
        Self::on(identity, endpoint)
    }

    pub(crate) fn on(identity: Identity, endpoint: Endpoint) -> Self {
        let address = endpoint.local_addr().unwrap();
        Self { identity, endpoint, address }
    }

    /// Settings of a client for this server, which reconnects fast.
    pub(crate) fn config(&self) -> ClientConfig {
        self.config_of(Credential::DevUser(user("alice")))
    }

    /// Settings of a client with this credential.
    pub(crate) fn config_of(&self, credential: Credential) -> ClientConfig {
        self.settings(ClientConfig::new(self.address.to_string(), credential))
    }

    fn settings(&self, config: ClientConfig) -> ClientConfig {
        let reconnect =
            Reconnect::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(20));
        config
            .roots(self.identity.roots())
            .connect_timeout(DEADLINE)
            .request_timeout(DEADLINE)
            .reconnect(reconnect)
    }

    /// The same, for a client with a token provider.
    pub(crate) fn config_with<F, R>(&self, provide: F) -> ClientConfig
    where
        F: Fn() -> R + std::marker::Send + Sync + 'static,
        R: Future<Output = Result<Token, ProviderError>> + std::marker::Send + 'static,
    {
        self.settings(ClientConfig::with_tokens(self.address.to_string(), provide))
    }

    /// A client that is connected, and the server's end of its connection.
    pub(crate) async fn client(&self) -> (Client, Peer) {
        self.client_with(self.config()).await
    }

    pub(crate) async fn client_with(&self, config: ClientConfig) -> (Client, Peer) {
        let (client, peer) = tokio::join!(within("connect", Client::connect(config)), self.welcome(1));
        (client.unwrap(), peer)
    }

    /// Takes a connection.
    pub(crate) async fn connection(&self) -> Connection {
        let incoming = within("a connection", self.endpoint.accept()).await.unwrap();
        within("a handshake", incoming.into_future()).await.unwrap()
    }

    /// Takes a connection, its stream and its `Hello`.
    pub(crate) async fn hello(&self) -> Peer {
        self.introduced().await.0
    }

    /// The same at a server that has just come back: what was sent while nobody was there may be of an attempt that
    /// the client has given up since.
    pub(crate) async fn hello_of_who_stays(&self) -> Peer {
        loop {
            let incoming = within("a connection", self.endpoint.accept()).await.unwrap();
            if let Ok(connection) = within("a handshake", incoming.into_future()).await {
                return Self::introduced_on(connection).await.0;
            }
        }
    }

    /// The same, and who the client says that it is.
    pub(crate) async fn introduced(&self) -> (Peer, Credential) {
        Self::introduced_on(self.connection().await).await
    }

    async fn introduced_on(connection: Connection) -> (Peer, Credential) {
        let (send, receive) = within("the stream", connection.accept_bi()).await.unwrap();
        let frames = FrameReader::new(Limits::FRAME_CEILING);
        let mut peer = Peer { connection, send, receive, frames, chunk: Bytes::new() };
        match peer.frame().await {
            ClientFrame::Hello { protocol: PROTOCOL_VERSION, features: Features::KNOWN, credential } => {
                (peer, credential)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes a connection and welcomes it, as the connection with this number.
    pub(crate) async fn welcome(&self, number: u8) -> Peer {
        let mut peer = self.hello().await;
        peer.say(&ServerFrame::Welcome(welcome(number))).await;
        peer
    }
}

/// The server's end of a connection.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    receive: RecvStream,
    frames: FrameReader,
    chunk: Bytes,
}

impl Peer {
    /// The client's next frame.
    pub(crate) async fn frame(&mut self) -> ClientFrame {
        self.frame_or_end().await.expect("a frame, not the end of the stream")
    }

    /// The client's next frame, or `None` when it finished the stream.
    pub(crate) async fn frame_or_end(&mut self) -> Option<ClientFrame> {
        loop {
            if let Some(frame) = self.frames.next_frame(&mut self.chunk).unwrap() {
                return Some(codec::decode_client(&frame).unwrap());
            }
            let chunk = within("a frame", self.receive.read_chunk(usize::MAX, true)).await.unwrap();
            self.chunk = chunk?.bytes;
        }
    }

    pub(crate) async fn say(&mut self, frame: &ServerFrame) {
        self.say_bytes(codec::encode_server(frame)).await;
    }

    /// Says what may be no frame of this version.
    pub(crate) async fn say_bytes(&mut self, bytes: Bytes) {
        within("room to write", self.send.write_chunk(bytes)).await.unwrap();
    }

    pub(crate) async fn ack(&mut self, request: RequestId, count: u64) {
        self.say(&ServerFrame::Ack { request, count }).await;
    }

    pub(crate) async fn refuse(&mut self, request: RequestId, code: Code, detail: &str) {
        self.say(&ServerFrame::Error { request, code: code.number(), detail: detail.to_owned() }).await;
    }

    pub(crate) async fn message(&mut self, number: usize) {
        self.say(&ServerFrame::Message(message(number, 0))).await;
    }

    pub(crate) async fn removed(&mut self, name: &str) {
        let code = Code::RemovedFromGroup.number();
        self.say(&ServerFrame::Removed { group: group(name), code, reason: "by an operator".to_owned() })
            .await;
    }

    /// Takes a join and gives its number and group.
    pub(crate) async fn join(&mut self) -> (RequestId, GroupName) {
        match self.frame().await {
            ClientFrame::Join { request, group } => (request, group),
            other => panic!("a join was expected, not {other:?}"),
        }
    }

    /// Takes a join, and lets the client in.
    pub(crate) async fn let_in(&mut self) -> GroupName {
        let (request, group) = self.join().await;
        self.say(&ServerFrame::Joined { group: group.clone(), members: 1 }).await;
        self.ack(request, 1).await;
        group
    }

    /// Takes a send.
    pub(crate) async fn sent(&mut self) -> Send {
        match self.frame().await {
            ClientFrame::Send(send) => send,
            other => panic!("a send was expected, not {other:?}"),
        }
    }

    pub(crate) async fn leave(&mut self) -> (RequestId, GroupName) {
        match self.frame().await {
            ClientFrame::Leave { request, group } => (request, group),
            other => panic!("a leave was expected, not {other:?}"),
        }
    }

    pub(crate) async fn count(&mut self) -> RequestId {
        match self.frame().await {
            ClientFrame::Count { request, .. } => request,
            other => panic!("a count was expected, not {other:?}"),
        }
    }

    /// Ends the connection with a code.
    pub(crate) fn close(&self, code: Code, reason: &str) {
        self.close_with(code.number(), reason);
    }

    pub(crate) fn close_with(&self, code: u16, reason: &str) {
        self.connection.close(VarInt::from_u32(u32::from(code)), reason.as_bytes());
    }
}

/// A client in these groups, whose `Joined` events are taken.
pub(crate) async fn client_in(server: &Server, groups: &[&str]) -> (Client, Peer) {
    let (client, mut peer) = server.client().await;
    for name in groups {
        let (joined, group) = tokio::join!(client.join(*name), peer.let_in());
        assert_eq!(joined, Ok(1));
        assert_eq!(group.as_str(), *name);
        assert!(matches!(next(&client).await, Event::Joined { .. }));
    }
    (client, peer)
}

/// The client's next event.
pub(crate) async fn next(client: &Client) -> Event {
    within("an event", client.next()).await.expect("an event, not the end of them")
}

/// The number of a message that comes next.
pub(crate) async fn next_message(client: &Client) -> usize {
    match next(client).await {
        Event::Message(message) => number(&message),
        other => panic!("a message was expected, not {other:?}"),
    }
}

pub(crate) fn welcome(number: u8) -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        features: Features::NONE,
        connection: id(number),
        node_bytes: ConnectionId::NODE_BYTES,
        session: [0; 16],
        position: 0,
        user: user("alice"),
        limits: Limits::default(),
        server: "scripted".to_owned(),
    }
}

/// A message with a number and so many bytes of padding.
pub(crate) fn message(number: usize, padding: usize) -> Message {
    Message {
        from: Sender::Connection { connection: id(9), user: user("bob") },
        to: Target::All,
        event: EventName::new("event").unwrap(),
        format: PayloadFormat::Text,
        payload: format!("{number}:{}", "x".repeat(padding)).into(),
    }
}

pub(crate) fn number(message: &Message) -> usize {
    let text = std::str::from_utf8(&message.payload).unwrap();
    text.split(':').next().unwrap().parse().unwrap()
}

pub(crate) fn id(number: u8) -> ConnectionId {
    ConnectionId::from_bytes([number; 16])
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

/// An endpoint that survives its own restart: the next one with the same key, on the same port, can reset the
/// connections of the last.
pub(crate) fn restartable(quic: ServerConfig, address: SocketAddr) -> std::io::Result<Endpoint> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"the same after the restart");
    let mut config = EndpointConfig::new(Arc::new(key));
    // quinn's own ids carry a hash with a key of the process, and ids with another hash are not even reset.
    config.cid_generator(|| Box::new(RandomIds));
    Endpoint::new(config, Some(quic), std::net::UdpSocket::bind(address)?, Arc::new(TokioRuntime))
}

struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        quinn::ConnectionId::new(&fastrand::u64(..).to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The code that the client closed a connection with.
pub(crate) fn application_code(error: &ConnectionError) -> Option<Code> {
    match error {
        ConnectionError::ApplicationClosed(close) => Code::try_from(close.error_code.into_inner()).ok(),
        _ => None,
    }
}
