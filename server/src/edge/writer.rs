//! The writer half of a connection: a task that takes what waits in the outbox and hands it to the transport.
//!
//! In: the outbox. Out: bytes on the connection's stream; at the end its end, or the last word. Invariants: what was
//! taken is counted in the outbox until the transport has it; the task ends when the outbox has ended or is finished,
//! when the connection breaks, or when it is told to hurry, whatever the peer does.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use fanfare_hub::Taken;
use fanfare_protocol::Code;

use crate::edge::connection::Transmitter;
use crate::edge::farewell;
use crate::hub::Member;
use crate::telemetry::Metrics;
use crate::transport::Broken;

/// The writer half: everything that waits goes to the transport in one call.
pub(crate) async fn write_out(member: Arc<Member>, mut transmitter: Transmitter, metrics: Arc<Metrics>) {
    let outbox = member.outbox();
    // A task has one waker all its life.
    poll_fn(|context| {
        outbox.remember_writer(context.waker());
        Poll::Ready(())
    })
    .await;
    let overdue = poll_fn(|_| if outbox.is_overdue() { Poll::Ready(()) } else { Poll::Pending });
    tokio::select! {
        biased;
        () = write(&member, &mut transmitter, &metrics) => {}
        () = overdue => transmitter.break_off(outbox.break_off().unwrap_or(Code::Normal)),
    }
}

/// Writes a batch. While the peer takes no more, what QUIC keeps for it is counted.
async fn write_all(
    member: &Member,
    transmitter: &mut Transmitter,
    chunks: &mut Vec<Bytes>,
) -> Result<(), Broken> {
    let mut window = None;
    while !chunks.is_empty() {
        {
            let mut writing = pin!(transmitter.write_some(chunks));
            poll_fn(|context| {
                let written = writing.as_mut().poll(context);
                if written.is_pending() && window.is_none() {
                    window = Some(member.outbox().hold_window());
                }
                written
            })
            .await?;
        }
        if !chunks.is_empty() {
            member.outbox().progressed();
        }
    }
    Ok(())
}

async fn write(member: &Member, transmitter: &mut Transmitter, metrics: &Metrics) {
    let mut chunks = Vec::new();
    loop {
        match poll_fn(|context| member.outbox().poll_take(context, &mut chunks)).await {
            Taken::Batch(accepted) => {
                let bytes: usize = chunks.iter().map(Bytes::len).sum();
                if let Err(broken) = write_all(member, transmitter, &mut chunks).await {
                    // A reader that waits for room or for its turn learns of it from here alone.
                    match broken {
                        Broken::Stream => member.outbox().end(Code::StreamReset.into()),
                        Broken::Unreadable(reason) => member.outbox().end(*reason),
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
            Taken::Ended => {
                if let Some(ending) = member.outbox().close_reason() {
                    let goodbye = farewell::goodbye(&ending, member.outbox().retry_after_ms());
                    farewell::say(transmitter, &goodbye).await;
                }
                return;
            }
        }
    }
}
