//! An HTTP/3 connection: every stream of it is taken, and every request answered.
//!
//! In: a QUIC connection that speaks `h3`. Out: what others decide about ([`Happened`]): who asks for a session, a
//! session's streams, and its end. All else is settled here: requests for what there is not get a status, and whoever
//! breaks HTTP/3 a [`Breach`]. docs/protocol/webtransport.md has the list.
//!
//! Invariants: nothing is processed before the client's SETTINGS (draft 16, section 7.1); nothing that waits for the
//! peer holds up anything else, since each such wait is a future in `reading`, of which there are no more than the
//! streams that QUIC allows; no future of this is a task, so all of it ends where its owner drops it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout};
use web_transport_proto::http::StatusCode;

pub(super) use breach::{Breach, NO_ERROR};
pub(super) use request::{Asked, Place};
use settings::Settings;
pub(super) use stream::SessionStream;
use stream::{Fields, Read};

mod breach;
pub(super) mod capsule;
mod frame;
mod request;
mod settings;
mod stream;

/// Types of streams that go one way (RFC 9114 section 6.2, RFC 9204 section 4.2). A session's, 0x54, is like one that
/// nobody knows: there is no use for it.
const PUSH: u64 = 0x01;
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;

/// Streams that go both ways: the CONNECT, the session's, and two for whatever else is asked for, so that it gets its
/// answer also beside a session.
const STREAMS: VarInt = VarInt::from_u32(4);
/// Streams that go one way: the control stream, two of QPACK, and one of no use.
const ONE_WAY_STREAMS: VarInt = VarInt::from_u32(4);

/// The most requests that are no session's, in each such time.
const MOST_REQUESTS: u32 = 100;
const AT_A_TIME: Duration = Duration::from_secs(60);
/// The most streams of no use that are kept until they are stopped. Their number is the peer's credit, as a rule.
const MOST_UNUSED: usize = 16;

/// A request that is not answered yet.
pub(super) struct Request {
    pub(super) place: Place,
    send: SendStream,
    receive: RecvStream,
}

/// What others decide about.
pub(super) enum Happened {
    /// A session is asked for.
    Asked(Request),
    /// A session's stream has been opened. The session may not be there yet, or any more.
    Stream(SessionStream),
    /// The client has ended its session, with a code and a reason where it gave them.
    Ended(Option<(u32, String)>),
}

type Reading = Pin<Box<dyn Future<Output = Result<Read, Breach>> + Send>>;

/// Streams that there is no use for. They are stopped once a second and not at once, so that whoever opens one after
/// the other is as slow as that.
#[derive(Default)]
pub(super) struct Unused(Mutex<Vec<(Option<SendStream>, RecvStream)>>);

impl Unused {
    fn keep(&self, send: Option<SendStream>, receive: RecvStream) {
        let mut streams = self.0.lock();
        if streams.len() < MOST_UNUSED {
            streams.push((send, receive));
        }
    }

    /// Stops them with this code, and gives how many there were.
    pub(super) fn stop(&self, code: VarInt) -> u64 {
        let mut stopped = 0;
        for (send, mut receive) in self.0.lock().drain(..) {
            let _ = send.map(|mut send| send.reset(code));
            let _ = receive.stop(code);
            stopped += 1;
        }
        stopped
    }
}

/// A connection.
pub(super) struct Http3 {
    connection: quinn::Connection,
    reading: FuturesUnordered<Reading>,
    /// Ours. It stays open as long as the connection.
    control: Option<SendStream>,
    /// The client's, once they are there.
    settings: Option<Settings>,
    /// Which of the control stream and QPACK's two are there, by their type.
    critical: [bool; 3],
    /// What is asked for before the settings are there.
    waiting: Vec<Request>,
    unused: Arc<Unused>,
    /// Since when requests are counted, and how many there were.
    answered: (Instant, u32),
}

impl Http3 {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        connection.set_max_concurrent_bi_streams(STREAMS);
        connection.set_max_concurrent_uni_streams(ONE_WAY_STREAMS);
        let reading = FuturesUnordered::new();
        reading.push(Box::pin(stream::offer(connection.clone())) as Reading);
        Self {
            connection,
            reading,
            control: None,
            settings: None,
            critical: [false; 3],
            waiting: Vec::new(),
            unused: Arc::default(),
            answered: (Instant::now(), 0),
        }
    }

    pub(super) fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    pub(super) fn unused(&self) -> &Arc<Unused> {
        &self.unused
    }

    /// What happens next; `None` when the connection is gone. May be dropped at any time, and loses nothing.
    ///
    /// # Errors
    /// What the client broke. Closing is the caller's.
    pub(super) async fn next(&mut self) -> Result<Option<Happened>, Breach> {
        loop {
            if self.settings.is_some() && !self.waiting.is_empty() {
                let request = self.waiting.remove(0);
                if let Some(asked) = self.ask(request)? {
                    return Ok(Some(asked));
                }
            }
            let read = tokio::select! {
                stream = self.connection.accept_bi() => {
                    let Ok((send, receive)) = stream else { return Ok(None) };
                    self.reading.push(Box::pin(stream::request(send, receive)));
                    continue;
                }
                stream = self.connection.accept_uni() => {
                    let Ok(receive) = stream else { return Ok(None) };
                    self.reading.push(Box::pin(stream::kind(receive)));
                    continue;
                }
                Some(read) = self.reading.next() => read,
            };
            let happened = read.and_then(|read| self.take(read));
            // A stream that broke off with the connection broke nothing.
            if self.connection.close_reason().is_some() {
                return Ok(None);
            }
            if let Some(happened) = happened? {
                return Ok(Some(happened));
            }
        }
    }

    fn take(&mut self, read: Read) -> Result<Option<Happened>, Breach> {
        match read {
            Read::Opened(control) => self.control = Some(control),
            Read::OneWay(kind, stream) => self.begin(kind, stream)?,
            Read::Settings(settings, stream) => {
                self.settings = Some(settings);
                self.reading.push(Box::pin(stream::control(stream)));
            }
            Read::Request(fields, send, receive) => return self.judge(fields, send, receive),
            // The number of a stream that a client opens, and that goes both ways (RFC 9000 section 2.1).
            Read::Stream(stream) if stream.session % 4 != 0 => return Err(Breach::SessionId),
            Read::Stream(stream) => return Ok(Some(Happened::Stream(stream))),
            Read::Ended(why) => return Ok(Some(Happened::Ended(why))),
            Read::Gone => {}
        }
        Ok(None)
    }

    /// Takes a stream that goes one way.
    fn begin(&mut self, kind: u64, stream: RecvStream) -> Result<(), Breach> {
        let place = match kind {
            settings::CONTROL => 0,
            QPACK_ENCODER => 1,
            QPACK_DECODER => 2,
            PUSH => return Err(Breach::ClientPushes),
            _ => {
                self.unused.keep(None, stream);
                return Ok(());
            }
        };
        if self.critical.get_mut(place).is_none_or(|there| std::mem::replace(there, true)) {
            return Err(Breach::SecondStream);
        }
        self.reading.push(match kind {
            QPACK_ENCODER => Box::pin(stream::drain(stream, Breach::EncoderStream)),
            QPACK_DECODER => Box::pin(stream::drain(stream, Breach::DecoderStream)),
            _ => Box::pin(stream::settings(stream)),
        });
        Ok(())
    }

    /// Answers a request for what there is not, and gives the others.
    fn judge(
        &mut self,
        fields: Fields,
        send: SendStream,
        receive: RecvStream,
    ) -> Result<Option<Happened>, Breach> {
        let asked = match fields {
            Fields::Whole(section) => request::ask(&section)?,
            Fields::TooLong => Asked::Other(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Fields::Late => Asked::Other(StatusCode::REQUEST_TIMEOUT),
        };
        match asked {
            Asked::Other(status) => self.say(status, send, receive).map(|()| None),
            Asked::Session(place) => self.ask(Request { place, send, receive }),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Option<Happened>, Breach> {
        match self.settings {
            None => self.waiting.push(request),
            // Malformed, as each draft says of a client that does not take datagrams.
            Some(Settings { datagrams: false, .. }) => self.refuse(request, StatusCode::BAD_REQUEST)?,
            Some(_) => return Ok(Some(Happened::Asked(request))),
        }
        Ok(None)
    }

    fn say(&mut self, status: StatusCode, send: SendStream, receive: RecvStream) -> Result<(), Breach> {
        if self.answered.0.elapsed() >= AT_A_TIME {
            self.answered = (Instant::now(), 0);
        }
        self.answered.1 += 1;
        if self.answered.1 > MOST_REQUESTS {
            return Err(Breach::TooMuch);
        }
        self.reading.push(Box::pin(stream::answer(status, send, receive)));
        Ok(())
    }

    /// Answers a request for a session that there will not be. Who reads on sends the answer.
    pub(super) fn refuse(&mut self, request: Request, status: StatusCode) -> Result<(), Breach> {
        self.say(status, request.send, request.receive)
    }

    /// Keeps a stream that there is no use for.
    pub(super) fn set_aside(&self, stream: SessionStream) {
        self.unused.keep(Some(stream.send), stream.receive);
    }

    /// Whether somebody waits for an answer, which the client's settings hold up.
    pub(super) fn is_asked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whoever waits is answered with this, and what else comes as always, until the client has gone or `time` has
    /// passed.
    pub(super) async fn conclude(&mut self, status: StatusCode, time: Duration) {
        for request in std::mem::take(&mut self.waiting) {
            let _ = self.refuse(request, status);
        }
        let _ = timeout(time, async { while let Ok(Some(_)) = self.next().await {} }).await;
    }

    /// Establishes the session that is asked for. Gives its number, and the half on which its end is said; `None` where
    /// the client is gone. From here on its end is looked out for.
    pub(super) async fn establish(&mut self, request: Request) -> Option<(u64, SendStream)> {
        let Request { mut send, receive, .. } = request;
        let mut bytes = request::answer(StatusCode::OK);
        if self.settings.is_some_and(|settings| settings.flow_control) {
            bytes.extend_from_slice(&capsule::credit());
        }
        send.write_all(&bytes).await.ok()?;
        self.reading.push(Box::pin(async { Ok(Read::Ended(capsule::ending(receive).await)) }));
        Some((VarInt::from(send.id()).into_inner(), send))
    }
}
