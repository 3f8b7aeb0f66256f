//! From a browser's HTTP/3 connection to a session: the extended CONNECT, and who may make it.
//!
//! In: a QUIC connection that speaks `h3`. Out: a WebTransport session, or a refusal that the client was told. The
//! source is draft-ietf-webtrans-http3, in each dialect of docs/protocol/webtransport.md; `http3.rs` speaks it, this
//! file decides. Invariants: a browser gets in from a page of an allowed origin alone; one session on a connection,
//! and whoever asks for another is told so while the first goes on.

use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::CloseReason;
use fanfare_protocol::{Code, WEBTRANSPORT_PATH};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use web_transport_proto::http::StatusCode;

use super::http3::{Breach, Happened, Http3, NO_ERROR, Place, Request, SessionStream};
use crate::origins::Origins;
pub(super) use session::{Session, application};

mod session;

/// ALPN of HTTP/3 (RFC 9114 section 3.1).
pub(crate) const ALPN: &[u8] = b"h3";

/// How long a refused client has to read its answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// The most streams that are kept for a session that is not there yet. One is of use.
const MOST_EARLY: usize = 4;

/// A browser's connection, before there is a session on it.
pub(super) struct Door {
    http3: Http3,
    /// Streams that were opened before the session that they are for: all of it may come in one flight, in any order.
    early: Vec<SessionStream>,
    /// Somebody was refused, and has not got the answer yet.
    is_owing: bool,
}

impl Door {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        Self { http3: Http3::new(connection), early: Vec::new(), is_owing: false }
    }

    /// Waits for the session that a client asks for, and establishes it. May be dropped at any time: the caller's
    /// deadline bounds it, like everything of a handshake.
    ///
    /// # Errors
    /// The code, and the reason in words; nothing where the connection is gone. Telling the client is the caller's,
    /// with [`Door::answer`] and [`Door::close`], so that it can be counted first.
    pub(super) async fn session(&mut self, origins: &Origins) -> Result<Established, Option<CloseReason>> {
        loop {
            let happened = match self.http3.next().await {
                Ok(Some(happened)) => happened,
                Ok(None) => return Err(None),
                Err(breach) => return Err(Some(self.end(breach))),
            };
            let request = match happened {
                Happened::Asked(request) => request,
                Happened::Stream(stream) if self.early.len() < MOST_EARLY => {
                    self.early.push(stream);
                    continue;
                }
                Happened::Stream(stream) => {
                    self.http3.set_aside(stream);
                    continue;
                }
                // There is none that could end.
                Happened::Ended(_) => continue,
            };
            let (status, ending) = match permit(&request.place, origins) {
                Ok(()) => return self.establish(request).await.ok_or(None),
                Err(refused) => refused,
            };
            if let Err(breach) = self.http3.refuse(request, status) {
                return Err(Some(self.end(breach)));
            }
            self.is_owing = true;
            return Err(Some(ending));
        }
    }

    async fn establish(&mut self, request: Request) -> Option<Established> {
        let (id, closing) = self.http3.establish(request).await?;
        let (first, stream) = oneshot::channel();
        let (alive, life) = oneshot::channel();
        let unused = Arc::clone(self.http3.unused());
        let session = Session::new(self.http3.connection().clone(), id, closing, stream, alive, unused);
        Some(Established { session, first, life })
    }

    /// Ends a connection that broke HTTP/3.
    fn end(&self, breach: Breach) -> CloseReason {
        let reason = breach.to_string();
        self.http3.connection().close(breach.code(), reason.as_bytes());
        CloseReason { code: Code::MalformedFrame, reason: format!("no WebTransport session: {reason}") }
    }

    /// Answers who is refused, or still waits, and gives them time to read it: a close overtakes what is on its way.
    pub(super) async fn answer(&mut self, ending: &CloseReason) {
        let status = match ending.code {
            Code::HandshakeTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        if self.is_owing || self.http3.is_asked() {
            self.http3.conclude(status, LAST_ANSWER).await;
        }
    }

    /// Ends a connection on which there is no session: HTTP/3's codes are the only ones there.
    pub(super) fn close(&self, ending: &CloseReason) {
        self.http3.connection().close(NO_ERROR, ending.reason.as_bytes());
    }
}

/// A session that has just been established, and what connects it with who looks after its connection.
pub(super) struct Established {
    session: Session,
    first: oneshot::Sender<SessionStream>,
    life: oneshot::Receiver<()>,
}

impl Established {
    /// Has its connection looked after by a task of `tasks` until it ends, and gives the session.
    pub(super) fn looked_after(self, door: Door, tasks: &TaskTracker) -> Session {
        let Self { session, first, life } = self;
        let keeper = Keeper { session: session.shared(), http3: door.http3, first: Some(first) };
        tasks.spawn(keeper.keep(door.early, life));
        session
    }
}

/// Who looks after a connection with a session on it.
struct Keeper {
    session: Arc<session::Shared>,
    http3: Http3,
    /// Where the session's stream goes. There is one.
    first: Option<oneshot::Sender<SessionStream>>,
}

impl Keeper {
    /// Until the connection ends, which is the session's end, too.
    async fn keep(mut self, early: Vec<SessionStream>, mut life: oneshot::Receiver<()>) {
        for stream in early {
            self.take(stream);
        }
        let (code, reason) = loop {
            let happened = tokio::select! {
                // Nobody has the session any more.
                _ = &mut life => break (NO_ERROR, String::new()),
                happened = self.http3.next() => happened,
            };
            match happened {
                Ok(None) => return,
                Ok(Some(Happened::Stream(stream))) => self.take(stream),
                Ok(Some(Happened::Asked(request))) => {
                    if let Err(breach) = self.http3.refuse(request, StatusCode::TOO_MANY_REQUESTS) {
                        break (breach.code(), breach.to_string());
                    }
                }
                // What follows our own close is its answer, and whoever closes waits for it.
                Ok(Some(Happened::Ended(_))) if self.session.is_closing() => {}
                Ok(Some(Happened::Ended(why))) => {
                    let (code, reason) = why.unwrap_or_default();
                    break (application(code), reason);
                }
                Err(breach) => break (breach.code(), breach.to_string()),
            }
        };
        self.http3.connection().close(code, reason.as_bytes());
    }

    fn take(&mut self, stream: SessionStream) {
        let back = match self.first.take_if(|_| stream.session == self.session.id()) {
            Some(first) => first.send(stream).err(),
            None => Some(stream),
        };
        if let Some(stream) = back {
            self.http3.set_aside(stream);
        }
    }
}

fn permit(place: &Place, origins: &Origins) -> Result<(), (StatusCode, CloseReason)> {
    let Place { path, origin } = place;
    if path != WEBTRANSPORT_PATH {
        let reason = format!("there is nothing at {path}; the path is {WEBTRANSPORT_PATH}");
        return Err((StatusCode::NOT_FOUND, CloseReason { code: Code::PathUnknown, reason }));
    }
    origins.refusal(origin.as_deref()).map_or(Ok(()), |refused| Err((StatusCode::FORBIDDEN, refused)))
}
