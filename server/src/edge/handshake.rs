//! From a client's first packet to its `Welcome`: TLS, admission, `Hello`, who it is, its place in the registry.
//!
//! In: an incoming QUIC connection, or a WebSocket. Out: a [`Session`] with its [`Slot`], or nothing, and then the
//! connection was closed with a code. Invariant: one deadline bounds all of it together, whatever the client does or
//! leaves undone; behind that `farewell.rs` has its own to say why. Who has come as far as a connection is told a code
//! also where the server stops, or needs the place for others.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use fanfare_hub::CloseReason;
use fanfare_protocol::codec::{self, DecodeError, FrameReader};
use fanfare_protocol::{
    ClientFrame, Code, ConnectionId, Credential, Denial, Features, PROTOCOL_VERSION, ServerFrame, UserName,
    Welcome,
};
use fanfare_token::Permissions;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::access::{self, Gate};
use crate::application::{Application, Attached, Opening};
use crate::config::Config;
use crate::edge::admission::{self, Admission, Slot};
use crate::edge::connection::{Connection, Receiver, Transmitter};
use crate::edge::door::Place;
use crate::edge::farewell;
use crate::edge::inbound::{Inbound, violation};
use crate::edge::router::Router;
use crate::edge::session::Session;
use crate::quic::{Accepted, Browser, Incoming};
use crate::transport::{Broken, Heard};

/// How long somebody for whom there is no room may take to open the stream on which it is told so.
const FIRST_STREAM: Duration = Duration::from_secs(1);

/// What the server calls itself in `Welcome`.
pub(crate) const SERVER: &str = concat!("fanfare/", env!("CARGO_PKG_VERSION"));

/// Until when a handshake may go on.
struct Bounds<'a> {
    deadline: Instant,
    /// The server stops.
    closing: &'a CancellationToken,
    /// Its place at the door is somebody else's.
    evicted: CancellationToken,
}

/// Who has come.
pub(crate) enum Newcomer {
    /// Over QUIC, from the first packet.
    Quic(Box<Incoming>),
    /// Over TCP, behind the upgrade.
    Upgraded(Connection),
}

/// What every handshake needs.
pub(crate) struct Handshakes {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Arc<Router>,
    pub(crate) admission: Arc<Admission>,
    /// What the ids of this server's connections begin with.
    pub(crate) node: [u8; 4],
    pub(crate) application: Option<Arc<Application>>,
}

impl Handshakes {
    /// Brings one connection in.
    pub(crate) async fn shake(
        &self,
        newcomer: Newcomer,
        closing: &CancellationToken,
        place: &Place,
        reading: TaskTrackerToken,
    ) -> Option<(Session, Slot, TaskTrackerToken)> {
        let metrics = self.router.metrics();
        metrics.handshakes.add(1);
        let address = match &newcomer {
            Newcomer::Quic(incoming) => incoming.remote_address(),
            Newcomer::Upgraded(connection) => connection.remote_address(),
        };
        let deadline = Instant::now() + self.config.handshake_deadline;
        match self.bring_in(newcomer, Bounds { deadline, closing, evicted: place.evicted() }, reading).await {
            Ok(welcomed) => {
                metrics.welcomed.add(1);
                Some(welcomed)
            }
            Err(Some(CloseReason { code, reason })) => {
                tracing::debug!(%address, code = code.number(), reason, "refused");
                None
            }
            Err(None) => None,
        }
    }

    pub(crate) fn count(&self, refused: Option<&CloseReason>) {
        let metrics = self.router.metrics();
        match refused {
            Some(ending) => metrics.closed.add(ending.code),
            None => metrics.lost.add(1),
        }
    }

    /// `Err(None)`: the connection is gone. Whoever is refused, was told so where that is possible.
    async fn bring_in(
        &self,
        newcomer: Newcomer,
        bounds: Bounds<'_>,
        reading: TaskTrackerToken,
    ) -> Result<(Session, Slot, TaskTrackerToken), Option<CloseReason>> {
        let connection = match newcomer {
            Newcomer::Upgraded(connection) => connection,
            Newcomer::Quic(incoming) => match self.transport(*incoming, &bounds).await {
                Ok(connection) => connection,
                Err((refused, browser)) => {
                    // As below: nothing more is read of it, and it is counted before it is told.
                    drop(reading);
                    self.count(refused.as_ref());
                    if let (Some(ending), Some(mut browser)) = (&refused, browser) {
                        tokio::select! {
                            biased;
                            () = bounds.evicted.cancelled() => {}
                            () = browser.answer(ending) => {}
                        }
                        browser.close(ending);
                    }
                    return Err(refused);
                }
            },
        };
        let (mut stream, mut retry_after_ms) = (None, None);
        let welcomed = tokio::select! {
            () = connection.closed() => Err(None),
            welcomed = bounds.keep(self.welcome(&connection, &mut stream, &mut retry_after_ms)) => welcomed,
        };
        let refused = match welcomed {
            Ok((session, slot)) => return Ok((session, slot, reading)),
            Err(refused) => refused,
        };
        // Nothing more is read of it. A server that stops waits for that, and not for the last word.
        drop(reading);
        // Before it is told, so that whoever is told finds it counted.
        self.count(refused.as_ref());
        if let Some(ending) = &refused {
            let transmitter = stream.as_mut().map(|(transmitter, _)| transmitter);
            tokio::select! {
                biased;
                // Whose place was given away may not be here for longer.
                () = bounds.evicted.cancelled() => connection.close(ending.code, &ending.reason).await,
                () = farewell::close(&connection, transmitter, ending, retry_after_ms) => {}
            }
        }
        Err(refused)
    }

    /// The connection itself: that of a browser when the session is there that it asks for. Who is refused one has not
    /// been told so yet.
    async fn transport(
        &self,
        incoming: Incoming,
        bounds: &Bounds<'_>,
    ) -> Result<Connection, (Option<CloseReason>, Option<Browser>)> {
        // Until TLS is done there is nobody to tell a code to; dropping the attempt is all there is.
        let tls = async {
            incoming.accept().await.map_err(|error| {
                tracing::debug!(error, "TLS handshake failed");
                None
            })
        };
        let mut browser = match bounds.keep(tls).await {
            Ok(Accepted::Native(connection)) => return Ok(Connection::Quic(connection)),
            Ok(Accepted::Browser(browser)) => browser,
            Err(refused) => return Err((refused, None)),
        };
        match bounds.keep(Box::pin(browser.session(&self.config.origins))).await {
            Ok(session) => Ok(Connection::Quic(session)),
            Err(refused) => Err((refused, Some(browser))),
        }
    }

    /// `Err(None)`: the connection is gone. Else what the reason can be written on is in `stream`, with its other
    /// half: without that the client would be told that nobody listens, and stop listening itself. And when it may come
    /// back is in `retry_after_ms`, where somebody chose that.
    async fn welcome(
        &self,
        connection: &Connection,
        stream: &mut Option<(Transmitter, Receiver)>,
        retry_after_ms: &mut Option<u32>,
    ) -> Result<(Session, Slot), Option<CloseReason>> {
        let slot = match self.admission.admit(connection.remote_address().ip()) {
            Ok(slot) => slot,
            Err(full) => {
                // As a rule it is there already. Who opens none has the close alone.
                *stream = timeout(FIRST_STREAM, connection.accept_stream()).await.ok().and_then(Result::ok);
                return Err(Some(full.into()));
            }
        };
        let (_, receiver) = stream.insert(connection.accept_stream().await.map_err(|_| None)?);
        let mut reader = FrameReader::new(self.config.limits.frame_bytes);
        let (hello, early) = first_frame(receiver, &mut reader).await?;
        // Elsewhere than in every connection's task: what waits for keys is large, and rare.
        let (user, mut permissions, features) =
            Box::pin(identify(&hello, self.config.dev, self.router.gate(), || {
                if let Some(shown) = connection.identity() {
                    return Ok(shown);
                }
                let leeway = self.config.validity().leeway;
                access::certified(self.config.certificates.as_deref(), &connection.certificates(), leeway)
            }))
            .await?;

        // What there is nothing for is not chosen.
        let features = if self.application.is_some() { features } else { features.without(Features::CALLS) };

        let id = match connection.id() {
            Some(negotiated) => negotiated,
            None => random_id(self.node)?,
        };
        let mut attached = match &self.application {
            None => None,
            Some(application) => {
                // The application is not asked about somebody who may not be here.
                self.router.gate().enter(&user, &permissions, access::now()).map_err(CloseReason::from)?;
                let opening = Opening {
                    connection: id,
                    user: user.clone(),
                    address: connection.remote_address(),
                    transport: connection.transport(),
                    calls: Features::CALLS.are_in(features),
                };
                let connected = Box::pin(Attached::connect(application, opening, &mut permissions)).await;
                let attached = connected.map_err(|refusal| {
                    let (reason, after) = refusal.told();
                    *retry_after_ms = after;
                    reason
                })?;
                Some(Box::new(attached))
            }
        };
        let came_as = user;
        let user = attached.as_ref().map_or_else(|| came_as.clone(), |attached| attached.user().clone());
        if user != came_as {
            // The hub asks for who it is here. A ban or a sign-out of who it came as may have come meanwhile.
            let entered = self.router.gate().enter(&came_as, &permissions, access::now());
            entered.map_err(|denial| {
                let reason = CloseReason::from(denial);
                if let Some(attached) = &mut attached {
                    attached.reason = Some(reason.clone());
                }
                reason
            })?;
        }
        // Queued before anyone can send to it: `Welcome` is the first frame.
        let welcome = ServerFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            features,
            connection: id,
            node_bytes: ConnectionId::NODE_BYTES,
            session: [0; 16],
            position: 0,
            user: user.clone(),
            limits: *self.router.limits(),
            server: SERVER.to_owned(),
        });
        let newcomer = fanfare_hub::Newcomer {
            connection: id,
            user: user.clone(),
            source: admission::source(connection.remote_address().ip()),
            line: connection.line(),
            permissions,
            dialect: connection.dialect(),
        };
        let now = (std::time::Instant::now(), SystemTime::now());
        let seat = self.router.hub().register(newcomer, &welcome, now).map_err(|denial| {
            let reason = CloseReason::from(denial);
            if let Some(attached) = &mut attached {
                attached.reason = Some(reason.clone());
            }
            reason
        })?;
        connection.welcomed();
        let (address, over) = (connection.remote_address(), connection.transport().name());
        tracing::debug!(connection = %id, ?user, %address, over, "welcomed");
        let Some((transmitter, receiver)) = stream.take() else { return Err(None) };
        let watch = self.router.expiry().watch(seat.member());
        if let Some(attached) = &attached {
            attached.welcomed(seat.member());
        }
        let attachment = attached.as_ref().map(|attached| attached.attachment().clone());
        let session = Session {
            connection: connection.clone(),
            receiver,
            transmitter,
            seat,
            watch,
            inbound: Inbound::new(Arc::clone(&self.router), reader, self.config.run())
                .with_features(features)
                .attached_to(attachment),
            early,
            requests_per_second: self.config.requests_per_second,
            attached,
        };
        Ok((session, slot))
    }
}

impl Bounds<'_> {
    /// What `step` gives, or the code for one who takes too long, or comes too late.
    async fn keep<T>(
        &self,
        step: impl Future<Output = Result<T, Option<CloseReason>>>,
    ) -> Result<T, Option<CloseReason>> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(Some(Code::ShuttingDown.into())),
            () = self.evicted.cancelled() => {
                let reason = "many connect at this moment, and others from fewer addresses go first".to_owned();
                Err(Some(CloseReason { code: Code::ServerFull, reason }))
            }
            done = timeout_at(self.deadline, step) => done.unwrap_or_else(|_| Err(Some(Code::HandshakeTimeout.into()))),
        }
    }
}

/// Reads the stream's first frame. Also gives what came behind it.
async fn first_frame(
    receiver: &mut Receiver,
    reader: &mut FrameReader,
) -> Result<(Bytes, Bytes), Option<CloseReason>> {
    loop {
        let mut chunk = match receiver.read().await {
            Ok(Some(Heard::Bytes(chunk))) => chunk,
            // It has a number, and comes behind a `Hello` alone.
            Ok(Some(Heard::Refused(..))) => return Err(Some(Code::HelloExpected.into())),
            Ok(None) if reader.is_between_frames() => return Err(Some(Code::HelloExpected.into())),
            Ok(None) => return Err(Some(Code::TruncatedFrame.into())),
            Err(Broken::Stream) => return Err(Some(Code::StreamReset.into())),
            Err(Broken::Unreadable(reason)) => return Err(Some(*reason)),
            Err(Broken::Connection) => return Err(None),
        };
        if let Some(frame) = reader.next_frame(&mut chunk).map_err(|error| violation(&error))? {
            return Ok((frame, chunk));
        }
    }
}

/// Who the client is, what it may do, and which features it gets, by its first frame. Waits where the token is by a key
/// that has to be fetched first, and nowhere else.
pub(crate) async fn identify(
    hello: &Bytes,
    dev: bool,
    gate: &Gate,
    certified: impl FnOnce() -> Result<(UserName, Permissions), Denial>,
) -> Result<(UserName, Permissions, Features), CloseReason> {
    // Before anything behind it is judged: a later version may say there what this one does not know.
    let protocol = codec::hello_version(hello).ok_or_else(|| not_hello(hello))?;
    if protocol != PROTOCOL_VERSION {
        let reason = format!("the client speaks version {protocol}; this server speaks {PROTOCOL_VERSION}");
        return Err(CloseReason { code: Code::UnsupportedProtocol, reason });
    }
    let frame = codec::decode_client(hello).map_err(|error| violation(&error))?;
    let ClientFrame::Hello { protocol: _, features, credential } = frame else {
        return Err(Code::HelloExpected.into());
    };
    let (user, permissions) = match credential {
        Credential::DevUser(user) if dev => (user, Permissions::development(access::now())),
        Credential::DevUser(_) => return Err(Code::DevUserRefused.into()),
        Credential::Certificate => certified()?,
        Credential::Token(token) => gate.verify_or_fetch(token.expose()).await?,
    };
    Ok((user, permissions, features.and(Features::KNOWN)))
}

/// What ends a connection whose first frame says no version: another frame, known here or not, or none at all.
fn not_hello(frame: &Bytes) -> CloseReason {
    match codec::decode_client(frame) {
        Err(error @ DecodeError::Malformed(_)) => violation(&error),
        _ => Code::HelloExpected.into(),
    }
}

fn random_id(node: [u8; 4]) -> Result<ConnectionId, CloseReason> {
    let mut own = [0; 12];
    aws_lc_rs::rand::fill(&mut own).map_err(|_| CloseReason::from(Code::Internal))?;
    Ok(ConnectionId::on_node(node, own))
}
