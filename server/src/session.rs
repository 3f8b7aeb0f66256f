//! A connection from its welcome to its end: the reader half, and the order of its ending.
//!
//! In: the bytes of the connection's stream. Out: requests to the router, one after the other, and at the end the code
//! that the connection closes with. The writer half is a task of its own, which the session starts and joins.
//!
//! ```text
//!   stream -> Receiver -> FrameReader -> Intake::step -> Router          (this task)
//!   stream <- Transmitter <- write_out <- Outbox <- everyone's sends      (the writer's task)
//! ```
//!
//! Invariants: the session owns the [`Seat`], so when it ends, in whatever way, the connection has left every group and
//! its user. A frame that cannot be read ends the connection with a code; one that can be read but not carried out is
//! answered with a code, and the connection goes on (promise 12).

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::codec::{self, DecodeError, FrameReader};
use fanfare_protocol::{ClientFrame, Code};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::expiry::Watch;
use crate::metrics::Metrics;
use crate::outbox::{Ending, Signal, Taken};
use crate::registry::{Member, Seat};
use crate::router::Router;
use crate::transport::{Broken, Connection, Receiver, Transmitter};

/// How long a connection that has said its last word may take to read it. Its groups do not wait for that.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// What reads frames and has them carried out. No I/O: the session feeds it, and so do the fuzzer and the tests.
pub(crate) struct Intake {
    router: Arc<Router>,
    reader: FrameReader,
}

impl Intake {
    /// `reader` has read `Hello`, and may stand in the middle of the next frame.
    pub(crate) fn new(router: Arc<Router>, reader: FrameReader) -> Self {
        Self { router, reader }
    }

    /// Carries out the next request that `chunk` completes. `false` when `chunk` is used up.
    pub(crate) fn step(&mut self, member: &Arc<Member>, chunk: &mut Bytes) -> Result<bool, Ending> {
        let Some(frame) = self.reader.next_frame(chunk).map_err(|error| violation(&error))? else {
            return Ok(false);
        };
        if let Some(frame) = self.decoded(member, &frame)? {
            self.router.route(member, frame)?;
        }
        Ok(true)
    }

    /// Carries out what came in a datagram: a frame without its length, and only a send.
    pub(crate) fn datagram(&self, member: &Arc<Member>, datagram: &Bytes) -> Result<(), Ending> {
        match self.decoded(member, datagram)? {
            None => {}
            Some(ClientFrame::Send(send)) => self.router.route_unreliable(member, send),
            Some(_) => {
                let reason = "only Send may come in a datagram".to_owned();
                return Err(Ending { code: Code::MalformedFrame, reason });
            }
        }
        Ok(())
    }

    /// The request that the bytes are. `None` where it names what cannot be a name: that is answered here.
    fn decoded(&self, member: &Arc<Member>, frame: &Bytes) -> Result<Option<ClientFrame>, Ending> {
        match codec::decode_client(frame) {
            Ok(frame) => Ok(Some(frame)),
            Err(DecodeError::InvalidName { request: Some(request), name }) => {
                self.router.refuse(member, request, Code::InvalidName, name.to_string());
                Ok(None)
            }
            Err(error) => Err(violation(&error)),
        }
    }

    /// How the connection ends when its client has finished its half of the stream here.
    pub(crate) fn finished(&self) -> Ending {
        let between = self.reader.is_between_frames();
        if between { Code::Normal.into() } else { Code::TruncatedFrame.into() }
    }
}

/// The code for bytes that are not the protocol.
pub(crate) fn violation(error: &DecodeError) -> Ending {
    let code = match error {
        DecodeError::TooLong { .. } => Code::FrameTooLarge,
        DecodeError::Malformed(_) | DecodeError::TrailingBytes(_) => Code::MalformedFrame,
        DecodeError::InvalidName { .. } => Code::InvalidName,
    };
    Ending { code, reason: error.to_string() }
}

/// How the reader half came to its end.
enum End {
    /// The client has finished its half: everything before is carried out, and what is queued is still written.
    Finished,
    /// The server drains: nothing more is read, and what is queued is still written.
    Drained,
    /// The connection is to be closed at once.
    Closed(Ending),
    /// The connection is gone.
    Lost,
}

/// A welcomed connection.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) receiver: Receiver,
    pub(crate) transmitter: Transmitter,
    pub(crate) seat: Seat,
    /// Ends with the session.
    pub(crate) watch: Watch,
    pub(crate) intake: Intake,
    /// What came in the same bytes as `Hello`, behind it.
    pub(crate) early: Bytes,
    pub(crate) requests_per_second: Option<NonZeroU32>,
}

impl Session {
    /// Runs the connection to its end. `writers` owns the writer's task; `reading` is dropped when no more requests are
    /// read.
    pub(crate) async fn run(self, writers: &TaskTracker, reading: TaskTrackerToken) {
        let Self {
            connection,
            mut receiver,
            transmitter,
            seat,
            watch,
            mut intake,
            early,
            requests_per_second,
        } = self;
        // Held to the end of this function.
        let _watch = watch;
        let member = Arc::clone(seat.member());
        let mut seat = Some(seat);
        let writer =
            writers.spawn(write_out(Arc::clone(&member), transmitter, Arc::clone(intake.router.metrics())));

        let end = read(&connection, &member, &mut intake, &mut receiver, early, requests_per_second).await;
        drop(reading);
        let ending = match end {
            End::Finished => match intake.finished() {
                // It has left its groups and its user before it reads its last answers.
                Ending { code: Code::Normal, reason } => {
                    drop(seat.take());
                    member.outbox().finish(None);
                    // The deadline is for a peer that does not read; one that vanished ends the writer by itself.
                    let _ = tokio::time::timeout(FLUSH_DEADLINE, writer).await;
                    Some(Ending { code: Code::Normal, reason })
                }
                truncated => Some(truncated),
            },
            // Others may still be sending to it: the server says `Goodbye` when the last of them has stopped. The server's
            // own deadline bounds this wait.
            End::Drained => {
                let _ = writer.await;
                Some(member.outbox().ending().unwrap_or_else(|| Code::ShuttingDown.into()))
            }
            End::Closed(ending) => Some(ending),
            End::Lost => None,
        };
        // Ends the writer where it still runs. What the outbox holds is of no use to anybody now.
        member.outbox().lose();
        // It leaves at once, and not when its peer has read why.
        drop(seat);
        if let Some(Ending { code, reason }) = &ending {
            intake.router.metrics().closed.add(*code);
            connection.close(*code, reason).await;
        } else {
            intake.router.metrics().lost.add(1);
        }
        let (code, reason) = ending.map(|ending| (ending.code.number(), ending.reason)).unzip();
        tracing::debug!(connection = %member.id(), user = ?member.user(), code, reason, "connection ended");
    }
}

/// The reader half: until the client finishes, the connection breaks, or somebody says stop.
async fn read(
    connection: &Connection,
    member: &Arc<Member>,
    intake: &mut Intake,
    receiver: &mut Receiver,
    early: Bytes,
    requests_per_second: Option<NonZeroU32>,
) -> End {
    let limiter = requests_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
    let mut chunk = early;
    loop {
        if let Err(end) = carry_out(member, intake, &mut chunk, limiter.as_ref()).await {
            return end;
        }
        let read = tokio::select! {
            biased;
            signal = poll_fn(|context| member.outbox().poll_signal(context)) => return signal.into(),
            read = receiver.read() => read,
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return End::Lost };
                if let Err(ending) = take(member, intake, &datagram, limiter.as_ref()) {
                    return End::Closed(ending);
                }
                continue;
            }
        };
        chunk = match read {
            Ok(Some(chunk)) => {
                intake.router.metrics().bytes_in.add(chunk.len() as u64);
                chunk
            }
            Ok(None) => return End::Finished,
            Err(Broken::Stream) => return End::Closed(Code::StreamReset.into()),
            Err(Broken::Connection) => return End::Lost,
        };
    }
}

/// Carries out a datagram, or drops it where a request would be held back: what may get lost does not wait.
fn take(
    member: &Arc<Member>,
    intake: &Intake,
    datagram: &Bytes,
    limiter: Option<&DefaultDirectRateLimiter>,
) -> Result<(), Ending> {
    let metrics = intake.router.metrics();
    metrics.bytes_in.add(datagram.len() as u64);
    // Its answer must not overflow the client's own outbox, as in `carry_out`.
    if !member.outbox().has_room() || limiter.is_some_and(|limiter| limiter.check().is_err()) {
        metrics.throttled.add(1);
        return Ok(());
    }
    intake.datagram(member, datagram)
}

/// Carries out every request that `chunk` completes, as fast as the limits allow.
async fn carry_out(
    member: &Arc<Member>,
    intake: &mut Intake,
    chunk: &mut Bytes,
    limiter: Option<&DefaultDirectRateLimiter>,
) -> Result<(), End> {
    loop {
        // The answers that a client asks for must never overflow its own outbox, so its requests wait for room: see the
        // end-to-end test `promise_6_a_client_that_asks_faster_than_it_reads_is_slowed_down`.
        if let Some(signal) = poll_fn(|context| member.outbox().poll_room(context)).await {
            return Err(signal.into());
        }
        if !intake.step(member, chunk).map_err(End::Closed)? {
            return Ok(());
        }
        let Some(limiter) = limiter else { continue };
        // Held back, not refused: while we do not read, QUIC's flow control slows the client down, and nothing is lost.
        while let Err(too_soon) = limiter.check() {
            intake.router.metrics().throttled.add(1);
            let pause = too_soon.wait_time_from(DefaultClock::default().now());
            tokio::select! {
                biased;
                signal = poll_fn(|context| member.outbox().poll_signal(context)) => return Err(signal.into()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl From<Signal> for End {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::StopReading => Self::Drained,
            Signal::End(ending) => Self::Closed(ending),
            Signal::Lost => Self::Lost,
        }
    }
}

/// The writer half: everything that waits goes to the transport in one call.
async fn write_out(member: Arc<Member>, mut transmitter: Transmitter, metrics: Arc<Metrics>) {
    let mut chunks = Vec::new();
    loop {
        match poll_fn(|context| member.outbox().poll_take(context, &mut chunks)).await {
            Taken::Batch(accepted) => {
                let bytes: usize = chunks.iter().map(Bytes::len).sum();
                if let Err(broken) = transmitter.write(&mut chunks).await {
                    // A reader that waits for room or for its turn learns of it from here alone.
                    match broken {
                        Broken::Stream => member.outbox().end(Code::StreamReset.into()),
                        Broken::Connection => member.outbox().lose(),
                    }
                    return;
                }
                metrics.bytes_out.add(bytes as u64);
                if let Some(accepted) = accepted {
                    metrics.delivery.record(accepted.elapsed());
                }
            }
            Taken::Finished => return transmitter.finish().await,
            Taken::Ended => return,
        }
    }
}
