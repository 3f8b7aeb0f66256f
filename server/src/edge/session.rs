//! A connection from its welcome to its end: the reader half, and the order of its ending.
//!
//! In: the bytes of the connection's stream. Out: requests to the router, one after the other, and at the end the code
//! that the connection closes with. The writer half is a task of its own (`writer`), which the session starts and
//! joins.
//!
//! ```text
//!   stream -> Receiver -> FrameReader -> Inbound::step -> Router          (this task)
//!   stream <- Transmitter <- write_out <- Outbox <- everyone's sends      (the writer's task)
//! ```
//!
//! Invariant: the session owns the [`Seat`], so when it ends, in whatever way, the connection has left every group and
//! its user.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::{CloseReason, Signal};
use fanfare_protocol::Code;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::application::Attached;
use crate::edge::connection::{Connection, Receiver, Transmitter};
use crate::edge::expiry::Watch;
use crate::edge::farewell;
use crate::edge::inbound::{Inbound, Step};
use crate::edge::router::Call;
use crate::edge::writer::write_out;
use crate::hub::{Member, Seat};
use crate::telemetry::Metrics;
use crate::transport::{Broken, Heard};

/// A chunk of the stream with at least so many bytes came in a packet that was full of it.
const BULK_BYTES: usize = 1_000;

/// How much is read on behind such a chunk: enough for a run.
const READ_ON_BYTES: usize = 16 * 1024;

/// How long a connection that has said its last word may take to read it. Its groups do not wait for that.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// How the reader half came to its end.
enum End {
    /// The client has finished its half: everything before is carried out, and what is queued is still written.
    Finished,
    /// The server drains: nothing more is read, and what is queued is still written.
    Drained,
    /// The connection is to be closed at once.
    Closed(CloseReason),
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
    pub(crate) inbound: Inbound,
    /// What came in the same bytes as `Hello`, behind it.
    pub(crate) early: Bytes,
    pub(crate) requests_per_second: Option<NonZeroU32>,
    /// The application's part in it, where there is one.
    pub(crate) attached: Option<Box<Attached>>,
}

impl Session {
    /// Runs the connection to its end. `writers` owns the writer's task; `reading` is dropped when no more requests
    /// are read. No `async fn`: that would keep the room of the whole session beside that of its parts, in every
    /// connection's task.
    pub(crate) fn run(
        self,
        writers: &TaskTracker,
        reading: TaskTrackerToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let Self {
            connection,
            mut receiver,
            transmitter,
            seat,
            watch,
            mut inbound,
            early,
            requests_per_second,
            mut attached,
        } = self;
        let member = Arc::clone(seat.member());
        let mut seat = Some(seat);
        let mut writer =
            writers.spawn(write_out(Arc::clone(&member), transmitter, Arc::clone(inbound.metrics())));
        async move {
            let _watch = watch;
            for group in inbound.lasting_groups(&member) {
                // Or many of them would overflow the outbox. What else there is to do is found by the reader.
                if poll_fn(|context| member.outbox().poll_room(context)).await.is_some() {
                    break;
                }
                inbound.join_lasting(&member, &group);
            }
            if let Some(attached) = &attached {
                for group in attached.first_groups() {
                    // Or many of them would overflow the outbox. What else there is to do is found by the reader.
                    if poll_fn(|context| member.outbox().poll_room(context)).await.is_some() {
                        break;
                    }
                    attached.join(&member, &group);
                }
            }
            let end =
                read(&connection, &member, &mut inbound, &mut receiver, early, requests_per_second).await;
            // What is asked of other nodes is answered before the last word.
            let end = settle(&member, &inbound, end).await;
            drop(reading);
            // A method that runs for it hears of the end before anything is waited for.
            if let Some(attached) = &attached {
                attached.end();
            }
            let end = match end {
                End::Finished => inbound.finished().into(),
                other => other,
            };
            // Counted before the peer is told, so that whoever is told finds it counted. It leaves its groups and its
            // user before that, too.
            let closed = |code: Code| inbound.metrics().closed.add(code);
            let ending = match end {
                End::Finished => {
                    closed(Code::Normal);
                    drop(seat.take());
                    member.outbox().finish(None);
                    in_time(FLUSH_DEADLINE, &mut writer, &member, &connection, Code::Normal).await;
                    Some(Code::Normal.into())
                }
                // Others may still be sending to it: the server says `Goodbye` when the last of them has stopped. The
                // server's own deadline bounds this wait.
                End::Drained => {
                    let _ = (&mut writer).await;
                    let ending = member.outbox().close_reason().unwrap_or_else(|| Code::ShuttingDown.into());
                    closed(ending.code);
                    if member.outbox().is_overdue() {
                        farewell::broken_off(&connection).await;
                    }
                    Some(ending)
                }
                End::Closed(ending) => {
                    closed(ending.code);
                    // What the session itself found ends the writer, too.
                    member.outbox().end(ending.clone());
                    drop(seat.take());
                    in_time(farewell::LAST_WORD, &mut writer, &member, &connection, ending.code).await;
                    Some(ending)
                }
                End::Lost => None,
            };
            // Ends the writer where it still runs. What the outbox holds is of no use to anybody now.
            member.outbox().lose();
            // It leaves at once, and not when its peer has read why.
            drop(seat);
            if let Some(attached) = &mut attached {
                attached.reason = ending.clone();
            }
            drop(attached);
            if let Some(CloseReason { code, reason }) = &ending {
                connection.close(*code, reason).await;
            } else {
                inbound.metrics().lost.add(1);
            }
            let (code, reason) = ending.map(|ending| (ending.code.number(), ending.reason)).unzip();
            tracing::debug!(connection = %member.id(), user = ?member.user(), code, reason, "connection ended");
        }
    }
}

/// Waits for the writer to have written its last, for so long; then it breaks off.
async fn in_time(
    deadline: Duration,
    writer: &mut JoinHandle<()>,
    member: &Member,
    connection: &Connection,
    code: Code,
) {
    // The deadline is for a peer that does not read; one that vanished ends the writer by itself.
    if tokio::time::timeout(deadline, &mut *writer).await.is_err() {
        member.outbox().hurry(code);
        let _ = writer.await;
        farewell::broken_off(connection).await;
    }
}

/// The reader half: until the client finishes, the connection breaks, or somebody says stop.
async fn read(
    connection: &Connection,
    member: &Arc<Member>,
    inbound: &mut Inbound,
    receiver: &mut Receiver,
    early: Bytes,
    requests_per_second: Option<NonZeroU32>,
) -> End {
    let limiter = requests_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
    let (mut chunk, mut next) = (early, None);
    loop {
        if let Err(end) = carry_out(member, inbound, &mut chunk, limiter.as_ref()).await {
            return end;
        }
        // An empty slice holds the packet it was cut from, and most connections wait here for most of their lives.
        chunk = Bytes::new();
        let read = match next.take() {
            Some(read) => read,
            None => tokio::select! {
                biased;
                signal = poll_fn(|context| member.outbox().poll_signal(context)) => return signal.into(),
                read = receiver.read() => read,
                datagram = connection.read_datagram() => {
                    let Ok(datagram) = datagram else { return End::Lost };
                    if let Err(ending) = take(member, inbound, &datagram, limiter.as_ref()) {
                        return End::Closed(ending);
                    }
                    continue;
                }
            },
        };
        chunk = match read {
            Ok(Some(Heard::Refused(request, denial))) => {
                inbound.refuse(member, request, denial);
                if let Some(limiter) = limiter.as_ref()
                    && let Err(end) = wait_for_turn(member, inbound.metrics(), limiter).await
                {
                    return end;
                }
                continue;
            }
            Ok(Some(Heard::Bytes(chunk))) => {
                next = read_on(inbound, receiver, chunk.len());
                inbound.metrics().bytes_in.add(chunk.len() as u64);
                chunk
            }
            Ok(None) => return End::Finished,
            Err(Broken::Stream) => return End::Closed(Code::StreamReset.into()),
            Err(Broken::Unreadable(reason)) => return End::Closed(*reason),
            Err(Broken::Connection) => return End::Lost,
        };
    }
}

/// A chunk that fills a packet is part of more, as a rule. What is there already is read with it, so that its sends
/// can go together. Gives what is behind it and is none: the stream's end, or why it broke, which quinn says once.
fn read_on(
    inbound: &mut Inbound,
    receiver: &mut Receiver,
    first: usize,
) -> Option<Result<Option<Heard>, Broken>> {
    let (mut context, mut more) = (Context::from_waker(Waker::noop()), 0);
    while first >= BULK_BYTES && more < READ_ON_BYTES {
        match pin!(receiver.read()).poll(&mut context) {
            Poll::Ready(Ok(Some(Heard::Bytes(chunk)))) => {
                more += chunk.len();
                inbound.metrics().bytes_in.add(chunk.len() as u64);
                inbound.follow(chunk);
            }
            Poll::Ready(other) => return Some(other),
            Poll::Pending => break,
        }
    }
    None
}

/// Carries out a datagram, or drops it where a request would be held back: what may get lost does not wait.
fn take(
    member: &Arc<Member>,
    inbound: &mut Inbound,
    datagram: &Bytes,
    limiter: Option<&DefaultDirectRateLimiter>,
) -> Result<(), CloseReason> {
    let metrics = inbound.metrics();
    metrics.bytes_in.add(datagram.len() as u64);
    // Its answer must not overflow the client's own outbox, as in `carry_out`.
    if !member.outbox().has_room() || limiter.is_some_and(|limiter| limiter.check().is_err()) {
        metrics.throttled.add(1);
        return Ok(());
    }
    inbound.datagram(member, datagram)
}

/// Carries out every request that `chunk` completes, as fast as the limits allow.
async fn carry_out(
    member: &Arc<Member>,
    inbound: &mut Inbound,
    chunk: &mut Bytes,
    limiter: Option<&DefaultDirectRateLimiter>,
) -> Result<(), End> {
    loop {
        // The answers that a client asks for must never overflow its own outbox, so its requests wait for room: see the
        // end-to-end test `promise_6_a_client_that_asks_faster_than_it_reads_is_slowed_down`.
        if let Some(signal) = poll_fn(|context| member.outbox().poll_room(context)).await {
            return Err(signal.into());
        }
        // What the application is still to be told of its doings is bounded by this.
        if let Some(attachment) = inbound.attachment().filter(|attachment| attachment.has_much_to_tell()) {
            let attachment = attachment.clone();
            let told = async move { poll_fn(|context| attachment.poll_told(context)).await };
            wait_for_call(member, Box::pin(told)).await?;
        }
        let requests = match inbound.step(member, chunk).map_err(End::Closed)? {
            Step::Done(0) => return Ok(()),
            Step::Done(requests) => requests,
            Step::Call(call) => {
                wait_for_call(member, call).await?;
                1
            }
        };
        // A client that sends without end lets others have their turn, and what waits on this thread for its end is
        // sent.
        tokio::task::consume_budget().await;
        let Some(limiter) = limiter else { continue };
        for _ in 0..requests {
            wait_for_turn(member, inbound.metrics(), limiter).await?;
        }
    }
}

/// Waits until every request is answered, where the end leaves time for that; or for an end that leaves none.
async fn settle(member: &Arc<Member>, inbound: &Inbound, end: End) -> End {
    let mut settled = pin!(inbound.settled());
    match end {
        End::Finished => tokio::select! {
            biased;
            () = &mut settled => return End::Finished,
            signal = poll_fn(|context| member.outbox().poll_signal(context)) => match signal.into() {
                End::Drained => {}
                other => return other,
            },
        },
        End::Drained => {}
        other => return other,
    }
    settled.await;
    End::Drained
}

/// Waits for what a request waits for; or for the end, which it does not hold up.
async fn wait_for_call(member: &Arc<Member>, call: Call) -> Result<(), End> {
    tokio::select! {
        biased;
        signal = poll_fn(|context| member.outbox().poll_signal(context)) => Err(signal.into()),
        () = call => Ok(()),
    }
}

/// Waits until the limit allows one more. Held back, not refused: while we do not read, QUIC's flow control slows the
/// client down, and nothing is lost.
async fn wait_for_turn(
    member: &Arc<Member>,
    metrics: &Metrics,
    limiter: &DefaultDirectRateLimiter,
) -> Result<(), End> {
    while let Err(too_soon) = limiter.check() {
        metrics.throttled.add(1);
        member.hold_back(true);
        let pause = too_soon.wait_time_from(DefaultClock::default().now());
        tokio::select! {
            biased;
            signal = poll_fn(|context| member.outbox().poll_signal(context)) => return Err(signal.into()),
            () = tokio::time::sleep(pause) => member.hold_back(false),
        }
    }
    Ok(())
}

impl From<CloseReason> for End {
    /// How a stream ends that the client has finished.
    fn from(ending: CloseReason) -> Self {
        if ending.code == Code::Normal { Self::Finished } else { Self::Closed(ending) }
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
