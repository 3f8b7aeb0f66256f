//! From a client's first packet to its `Welcome`: TLS, admission, `Hello`, who it is, its place in the registry.
//!
//! In: an incoming QUIC connection. Out: a [`Session`] with its [`Slot`], or nothing, and then the connection was closed
//! with a code. Invariant: one deadline bounds all of it together, whatever the client does or leaves undone.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ClientFrame, Code, ConnectionId, Credential, PROTOCOL_VERSION, ServerFrame, UserName, Welcome,
};
use quinn::crypto::rustls::HandshakeData;

use crate::access::{self, Pass, Verifier};
use crate::admission::{Admission, Slot};
use crate::config::Config;
use crate::outbox::Ending;
use crate::registry::Member;
use crate::router::Router;
use crate::session::{Intake, Session, violation};
use crate::transport::{Broken, Connection, Receiver};
use crate::webtransport;

/// What the server calls itself in `Welcome`.
pub(crate) const SERVER: &str = concat!("fanfare/", env!("CARGO_PKG_VERSION"));

/// What every handshake needs.
pub(crate) struct Handshakes {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Arc<Router>,
    pub(crate) admission: Arc<Admission>,
}

impl Handshakes {
    /// Brings one connection in.
    pub(crate) async fn shake(&self, incoming: quinn::Incoming) -> Option<(Session, Slot)> {
        let metrics = self.router.metrics();
        metrics.handshakes.add(1);
        let deadline = tokio::time::sleep(self.config.handshake_deadline);
        tokio::pin!(deadline);
        // Until TLS is done there is nobody to tell a code to; dropping the attempt is all there is.
        let connection = tokio::select! {
            () = &mut deadline => Err(Code::HandshakeTimeout),
            connection = async { incoming.accept()?.await } => connection.map_err(|error| {
                tracing::debug!(%error, "TLS handshake failed");
                Code::Normal
            }),
        };
        let quic = match connection {
            Ok(connection) => connection,
            Err(Code::HandshakeTimeout) => {
                metrics.closed.add(Code::HandshakeTimeout);
                return None;
            }
            Err(_) => {
                metrics.lost.add(1);
                return None;
            }
        };
        let connection = tokio::select! {
            () = &mut deadline => {
                let code = Code::HandshakeTimeout;
                Connection::Native(quic.clone()).close(code, code.sentence()).await;
                Err(Some(Code::HandshakeTimeout.into()))
            }
            connection = self.transport(quic.clone()) => connection,
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(refused) => {
                match refused {
                    Some(Ending { code, reason }) => {
                        tracing::debug!(code = code.number(), reason, "refused");
                        metrics.closed.add(code);
                    }
                    None => metrics.lost.add(1),
                }
                return None;
            }
        };
        let welcomed = tokio::select! {
            () = &mut deadline => Err(Some(Code::HandshakeTimeout.into())),
            () = connection.closed() => Err(None),
            welcomed = self.welcome(&connection) => welcomed,
        };
        match welcomed {
            Ok(welcomed) => {
                metrics.welcomed.add(1);
                Some(welcomed)
            }
            Err(Some(Ending { code, reason })) => {
                tracing::debug!(address = %connection.remote_address(), code = code.number(), reason, "refused");
                metrics.closed.add(code);
                connection.close(code, &reason).await;
                None
            }
            Err(None) => {
                metrics.lost.add(1);
                None
            }
        }
    }

    /// What carries the connection, by what TLS agreed on. What is refused here was told so already.
    async fn transport(&self, connection: quinn::Connection) -> Result<Connection, Option<Ending>> {
        let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        if agreed.is_some_and(|data| data.protocol.as_deref() == Some(webtransport::ALPN)) {
            let session = Box::pin(webtransport::accept(connection, &self.config.origins)).await?;
            return Ok(Connection::Web(Arc::new(session)));
        }
        Ok(Connection::Native(connection))
    }

    /// `Err(None)`: the connection is gone.
    async fn welcome(&self, connection: &Connection) -> Result<(Session, Slot), Option<Ending>> {
        let slot = self.admission.admit(connection.remote_address().ip()).map_err(Ending::from)?;
        let (transmitter, mut receiver) = connection.accept_stream().await.map_err(|_| None)?;
        let mut reader = FrameReader::new(self.config.limits.frame_bytes);
        let (hello, early) = first_frame(&mut receiver, &mut reader).await?;
        let (user, pass) = identify(&hello, self.config.dev, self.router.verifier(), || {
            access::certified(self.config.certificates.as_deref(), &connection.certificates())
        })?;

        let id = random_id()?;
        let member =
            Arc::new(Member::new(id, user.clone(), self.config.outbox, Arc::new(connection.clone()), pass));
        // Queued before anyone can send to it: `Welcome` is the first frame.
        member.outbox().push_notice(&ServerFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            connection: id,
            user: user.clone(),
            limits: *self.router.limits(),
            server: SERVER.to_owned(),
        }));
        let seat = self
            .router
            .registry()
            .arrive(Arc::clone(&member), self.config.capacity.per_user, || {
                let bans = self.router.bans();
                bans.forbids_connection(&user, &member.pass(), access::now()).map_or(Ok(()), Err)
            })
            .map_err(Ending::from)?;
        tracing::debug!(connection = %id, ?user, address = %connection.remote_address(), "welcomed");
        let watch = self.router.expiry().watch(seat.member());
        let session = Session {
            connection: connection.clone(),
            receiver,
            transmitter,
            seat,
            watch,
            intake: Intake::new(Arc::clone(&self.router), reader),
            early,
            requests_per_second: self.config.requests_per_second,
        };
        Ok((session, slot))
    }
}

/// Reads the stream's first frame. Also gives what came behind it.
async fn first_frame(
    receiver: &mut Receiver,
    reader: &mut FrameReader,
) -> Result<(Bytes, Bytes), Option<Ending>> {
    loop {
        let mut chunk = match receiver.read().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) if reader.is_between_frames() => return Err(Some(Code::HelloExpected.into())),
            Ok(None) => return Err(Some(Code::TruncatedFrame.into())),
            Err(Broken::Stream) => return Err(Some(Code::StreamReset.into())),
            Err(Broken::Connection) => return Err(None),
        };
        if let Some(frame) = reader.next_frame(&mut chunk).map_err(|error| violation(&error))? {
            return Ok((frame, chunk));
        }
    }
}

/// Who the client is and what it may do, by its first frame.
pub(crate) fn identify(
    hello: &Bytes,
    dev: bool,
    verifier: &Verifier,
    certified: impl FnOnce() -> Result<(UserName, Pass), Ending>,
) -> Result<(UserName, Pass), Ending> {
    let frame = codec::decode_client(hello).map_err(|error| violation(&error))?;
    let ClientFrame::Hello { protocol, credential } = frame else {
        return Err(Code::HelloExpected.into());
    };
    if protocol != PROTOCOL_VERSION {
        let reason = format!("the client speaks version {protocol}; this server speaks {PROTOCOL_VERSION}");
        return Err(Ending { code: Code::UnsupportedProtocol, reason });
    }
    match credential {
        Credential::DevUser(user) if dev => Ok((user, Pass::development())),
        Credential::DevUser(_) => Err(Code::DevUserRefused.into()),
        Credential::Certificate => certified(),
        Credential::Token(token) => Ok(verifier.verify(token.expose(), access::now())?),
    }
}

fn random_id() -> Result<ConnectionId, Ending> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Ending::from(Code::Internal))?;
    Ok(ConnectionId::from_bytes(bytes))
}
