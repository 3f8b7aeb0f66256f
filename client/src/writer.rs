//! The task that writes: it alone holds the sending half of the stream.
//!
//! In: whole frames, from a bounded queue, in the order in which they were put there. Out: the stream, as many frames
//! at a time as are waiting, so that small frames share packets.
//!
//! Invariant: frames go out whole, in order, at most once; when it is told to finish, it first writes everything that
//! was queued before.

use bytes::Bytes;
use fanfare_protocol::Code;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, Sending, Unwritten};

/// How many frames wait to be written. It is enough to fill a packet with small ones while the last is being built, and
/// of the longest ones (64 KiB by default) it holds 4 MiB. When it is full, sends wait.
pub(crate) const QUEUE_FRAMES: usize = 64;

/// Writes until `finish` is called, the connection is lost, or nobody can queue anything any more.
pub(crate) async fn run(
    mut queue: mpsc::Receiver<Bytes>,
    mut stream: Sending,
    connection: Connection,
    finish: CancellationToken,
) {
    let mut batch = Vec::with_capacity(QUEUE_FRAMES);
    let lost = connection.closed();
    tokio::pin!(lost);
    let mut finishing = false;
    loop {
        let queued = tokio::select! {
            queued = queue.recv_many(&mut batch, QUEUE_FRAMES) => queued,
            () = finish.cancelled(), if !finishing => {
                // Takes nothing new; what is in the queue still comes out of it.
                queue.close();
                finishing = true;
                continue;
            }
            // Dropping the queue tells everyone who waits for room in it.
            _ = &mut lost => return,
        };
        if queued == 0 {
            stream.finish().await;
            return;
        }
        match stream.write(&mut batch).await {
            Ok(()) => {}
            Err(Unwritten::Lost) => return,
            // The server refuses the stream, so nothing can be asked or sent any more: that is a lost connection.
            Err(Unwritten::Stopped) => {
                return connection.close(Code::StreamReset, "the server stopped the stream");
            }
        }
    }
}

/// Queues a frame that nobody waits for, behind those that are queued. Where the queue is full a task waits for room;
/// it ends with the connection.
pub(crate) fn say(queue: &mpsc::Sender<Bytes>, frame: Bytes) {
    if let Err(TrySendError::Full(frame)) = queue.try_send(frame) {
        let queue = queue.clone();
        // Outside a runtime nothing runs that could take it either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { queue.send(frame).await });
        }
    }
}
