//! A bare peer over WebSocket: the messages' kinds and the codec, and none of the client's manners.
//!
//! In: frames, or any messages and bytes at all. Out: frames, or how the connection ended.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{ClientFrame, ConnectionId, ServerFrame, WEBSOCKET_PROTOCOL};
use futures_util::{SinkExt, StreamExt};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use url::Url;

use crate::peer::hello;
use crate::within;

/// The kinds of messages: docs/protocol/websocket.md.
pub const STREAM: u8 = 0;
/// A datagram.
pub const DATAGRAM: u8 = 1;
/// The end of the sender's half of the stream.
pub const END: u8 = 2;

/// Bytes both ways.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

/// Connects to where a URL says, with TLS where it says so.
///
/// # Errors
/// When nobody listens there, or TLS fails.
pub async fn dial(url: &Url, roots: &Arc<RootCertStore>) -> std::io::Result<Box<dyn Carrier>> {
    let (host, port) = (url.host_str().unwrap(), url.port_or_known_default().unwrap());
    let stream = within(TcpStream::connect((host, port))).await?;
    if url.scheme() == "wss" { encrypt(stream, roots).await } else { Ok(Box::new(stream)) }
}

/// A connection from this address of the machine.
///
/// # Errors
/// When nobody listens there.
pub async fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    within(socket.connect(to)).await
}

/// The same connection with TLS.
///
/// # Errors
/// When TLS fails.
pub async fn encrypt(stream: TcpStream, roots: &Arc<RootCertStore>) -> std::io::Result<Box<dyn Carrier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    Ok(Box::new(within(TlsConnector::from(Arc::new(tls)).connect(name, stream)).await?))
}

/// Asks for a WebSocket with these headers.
///
/// # Errors
/// What the server answers instead.
pub async fn upgrade(
    carrier: Box<dyn Carrier>,
    url: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<Box<dyn Carrier>>, tokio_websockets::Error> {
    let mut builder = ClientBuilder::new().uri(url).unwrap();
    for (name, value) in headers {
        builder = builder.add_header(name.parse().unwrap(), value.parse().unwrap())?;
    }
    Ok(within(builder.connect_on(carrier)).await?.0)
}

/// What the server's frames end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEnd {
    /// The server ended its half of the stream.
    Finished,
    /// The server closed, with this status and text.
    Closed(u16, String),
    /// The connection is gone.
    Lost,
}

/// One connection.
pub struct Socket {
    /// WebSocket itself.
    pub stream: WebSocketStream<Box<dyn Carrier>>,
    /// Datagrams that came.
    pub datagrams: Vec<Bytes>,
    reader: FrameReader,
    chunk: Bytes,
}

impl Socket {
    /// Opens a WebSocket and says nothing yet. `headers` are sent beside the subprotocol.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn open(
        url: &str,
        roots: &Arc<RootCertStore>,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_websockets::Error> {
        let carrier = dial(&url.parse().unwrap(), roots).await?;
        Self::open_on(carrier, url, headers).await
    }

    /// The same over bytes that are there.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn open_on(
        carrier: Box<dyn Carrier>,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_websockets::Error> {
        let headers = [&[("sec-websocket-protocol", WEBSOCKET_PROTOCOL)][..], headers].concat();
        let stream = upgrade(carrier, url, &headers).await?;
        let (reader, chunk) = (FrameReader::new(u32::MAX), Bytes::new());
        Ok(Self { stream, datagrams: Vec::new(), reader, chunk })
    }

    /// A development user that has been welcomed.
    pub async fn welcomed(url: &str, roots: &Arc<RootCertStore>, name: &str) -> (Self, ConnectionId) {
        let mut socket = Self::open(url, roots, &[]).await.unwrap();
        socket.send(&hello(name)).await;
        match socket.frame().await {
            Ok(ServerFrame::Welcome(welcome)) => (socket, welcome.connection),
            other => panic!("not welcomed: {other:?}"),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &ClientFrame) {
        self.say(STREAM, &codec::encode_client(frame)).await;
    }

    /// Sends a message.
    pub async fn say(&mut self, kind: u8, bytes: &[u8]) {
        within(self.stream.send(Message::binary([&[kind], bytes].concat()))).await.unwrap();
    }

    /// The next frame.
    ///
    /// # Errors
    /// When there is none, because the stream or the connection ended.
    pub async fn frame(&mut self) -> Result<ServerFrame, SocketEnd> {
        loop {
            if let Some(frame) = self.reader.next_frame(&mut self.chunk).unwrap() {
                return Ok(codec::decode_server(&frame).unwrap());
            }
            let Some(Ok(message)) = within(self.stream.next()).await else { return Err(SocketEnd::Lost) };
            if let Some((status, text)) = message.as_close() {
                return Err(SocketEnd::Closed(status.into(), text.to_owned()));
            }
            if !message.is_binary() {
                continue;
            }
            let mut payload = Bytes::from(message.into_payload());
            match payload.get_u8() {
                STREAM => self.chunk = payload,
                DATAGRAM => self.datagrams.push(payload),
                END => return Err(SocketEnd::Finished),
                kind => panic!("a message of kind {kind}"),
            }
        }
    }

    /// Passes over frames until the server closes or is gone. Gives the last of them, too.
    pub async fn end(&mut self) -> (Option<ServerFrame>, SocketEnd) {
        let mut last = None;
        loop {
            match self.frame().await {
                Ok(frame) => last = Some(frame),
                Err(SocketEnd::Finished) => {}
                Err(end) => return (last, end),
            }
        }
    }
}
