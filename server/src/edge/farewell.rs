//! How a connection is told why it ends, whatever still waits on the way to it.
//!
//! In: why it ends, and the half of its stream that frames go out on. Out: `Goodbye` as the last frame, written and
//! acknowledged; where that does not work in time the stream is broken off with the code. The close that the caller
//! makes then carries it once more.
//!
//! Invariant: QUIC's close alone is not relied on. It is sent once, it is lost like any packet, and while data waits
//! that the peer's or the network's window does not let out, quinn does not send it at all (quinn issues 2785 and
//! 2787). Frames are sent again until they are acknowledged, and so is the end of a stream, which no flow control
//! holds up. Tests: `tests/tests/close.rs`, `web/test/close.test.ts`.

use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::CloseReason;
use fanfare_protocol::ServerFrame;
use tokio::time::timeout;

use crate::edge::connection::{Connection, Transmitter};

/// How long the last word may take. Groups and users do not wait for that: the connection has left them.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(2);

/// How long a peer whose stream was broken off has to see it, before the close that might overtake it.
const BROKEN_OFF: Duration = Duration::from_secs(1);

/// The last frame. `retry_after_ms` is when the client may come back where somebody chose it; else the code says
/// whether.
pub(crate) fn goodbye(ending: &CloseReason, retry_after_ms: Option<u32>) -> ServerFrame {
    let CloseReason { code, reason } = ending;
    let retry_after_ms = retry_after_ms.unwrap_or(code.retry_after_ms());
    ServerFrame::Goodbye { code: code.number(), reason: reason.clone(), retry_after_ms }
}

/// Says why, between two frames, and waits until the peer's QUIC has it. Ends with the connection.
pub(crate) async fn say(transmitter: &mut Transmitter, goodbye: &ServerFrame) {
    let mut frame: Vec<Bytes> = vec![transmitter.encode(goodbye)];
    while !frame.is_empty() {
        if transmitter.write_some(&mut frame).await.is_err() {
            return;
        }
    }
    transmitter.finish().await;
}

/// The same within [`LAST_WORD`], for a stream that nobody else writes on, and closes. `retry_after_ms` as in
/// [`goodbye`].
pub(crate) async fn close(
    connection: &Connection,
    transmitter: Option<&mut Transmitter>,
    ending: &CloseReason,
    retry_after_ms: Option<u32>,
) {
    let CloseReason { code, reason } = ending;
    if let Some(transmitter) = transmitter
        && timeout(LAST_WORD, say(transmitter, &goodbye(ending, retry_after_ms))).await.is_err()
    {
        transmitter.break_off(*code);
        broken_off(connection).await;
    }
    connection.close(*code, reason).await;
}

/// Waits for the peer to see that its stream was broken off, and to go; or for as long as that may take.
pub(crate) async fn broken_off(connection: &Connection) {
    let _ = timeout(BROKEN_OFF, connection.closed()).await;
}
