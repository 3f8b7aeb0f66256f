//! What is read of one stream of HTTP/3, and written on it.
//!
//! In: a stream that the client has opened, or a connection for our own. Out: what it turned out to be ([`Read`]), or
//! the [`Breach`] that ends the connection. Invariant: each of these waits for its own stream alone, and keeps no more
//! of it than a frame whose length has been judged.

use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use web_transport_proto::http::StatusCode;

use super::breach::{Breach, NO_ERROR, REQUEST_INCOMPLETE};
use super::frame::{self, Cut};
use super::request::{self, MOST_FIELDS_BYTES};
use super::settings::{self, Settings};

/// How long a request's fields may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// The most bytes of frames that are not known in front of a request's fields.
const MOST_SKIPPED_BYTES: u64 = 64 * 1024;
/// The most bytes of one frame on the control stream. What is known there has some ten.
const MOST_CONTROL_BYTES: u64 = 16 * 1024;
/// The most bytes of each of QPACK's streams: without a dynamic table there is next to nothing to say.
const MOST_QPACK_BYTES: usize = 4 * 1024;

/// A stream of a session.
pub(in crate::quic) struct SessionStream {
    pub(in crate::quic) session: u64,
    pub(in crate::quic) send: SendStream,
    pub(in crate::quic) receive: RecvStream,
}

/// What has been read of one stream.
pub(super) enum Read {
    /// Our control stream is there.
    Opened(SendStream),
    /// A stream that goes one way says what it is.
    OneWay(u64, RecvStream),
    Settings(Settings, RecvStream),
    Request(Fields, SendStream, RecvStream),
    Stream(SessionStream),
    Ended(Option<(u32, String)>),
    /// There is nothing more to come of it.
    Gone,
}

/// What has been read of a request's fields.
pub(super) enum Fields {
    Whole(Vec<u8>),
    TooLong,
    Late,
}

/// Opens our control stream, and says what is offered.
pub(super) async fn offer(connection: quinn::Connection) -> Result<Read, Breach> {
    let opened = async {
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(&settings::offer()).await.ok()?;
        Some(stream)
    };
    Ok(opened.await.map_or(Read::Gone, Read::Opened))
}

/// Reads what a stream that goes one way is.
pub(super) async fn kind(mut stream: RecvStream) -> Result<Read, Breach> {
    Ok(match frame::number(&mut stream).await {
        Ok(Some(kind)) => Read::OneWay(kind, stream),
        // It has said nothing of itself, so nobody misses it.
        Ok(None) | Err(Cut) => Read::Gone,
    })
}

/// Reads the control stream's first frame.
pub(super) async fn settings(mut stream: RecvStream) -> Result<Read, Breach> {
    let closed = |_: Cut| Breach::CriticalStreamClosed;
    match frame::head(&mut stream).await.map_err(closed)? {
        None => Err(Breach::CriticalStreamClosed),
        Some((frame::SETTINGS, length)) if length > settings::MOST_BYTES => Err(Breach::TooMuch),
        Some((frame::SETTINGS, length)) => {
            let length = usize::try_from(length).map_err(|_| Breach::TooMuch)?;
            let payload = frame::payload(&mut stream, length).await.map_err(closed)?;
            Ok(Read::Settings(Settings::decode(&payload)?, stream))
        }
        Some(_) => Err(Breach::SettingsMissing),
    }
}

/// Reads the control stream's other frames, none of which says anything that is of use here.
pub(super) async fn control(mut stream: RecvStream) -> Result<Read, Breach> {
    loop {
        let (kind, length) = match frame::head(&mut stream).await {
            Ok(Some(head)) => head,
            Ok(None) | Err(Cut) => return Err(Breach::CriticalStreamClosed),
        };
        match kind {
            frame::SETTINGS | frame::DATA | frame::HEADERS | frame::PUSH_PROMISE => {
                return Err(Breach::FrameUnexpected);
            }
            kind if frame::is_of_http2(kind) => return Err(Breach::FrameUnexpected),
            _ if length > MOST_CONTROL_BYTES => return Err(Breach::TooMuch),
            _ => frame::skip(&mut stream, length).await.map_err(|Cut| Breach::CriticalStreamClosed)?,
        }
    }
}

/// Reads one of QPACK's streams, which says nothing that is of use here.
pub(super) async fn drain(mut stream: RecvStream, too_much: Breach) -> Result<Read, Breach> {
    let mut left = MOST_QPACK_BYTES;
    while let Ok(Some(chunk)) = stream.read_chunk(MOST_QPACK_BYTES, true).await {
        left = left.checked_sub(chunk.bytes.len()).ok_or(too_much)?;
    }
    Err(Breach::CriticalStreamClosed)
}

/// Reads a request's fields, or that it is none.
pub(super) async fn request(mut send: SendStream, mut receive: RecvStream) -> Result<Read, Breach> {
    let Ok(first) = timeout(REQUEST_DEADLINE, first(&mut receive)).await else {
        return Ok(Read::Request(Fields::Late, send, receive));
    };
    Ok(match first? {
        Some(First::Fields(fields)) => Read::Request(fields, send, receive),
        Some(First::Session(session)) => Read::Stream(SessionStream { session, send, receive }),
        None => {
            let _ = send.reset(REQUEST_INCOMPLETE);
            Read::Gone
        }
    })
}

/// What a stream that goes both ways begins with.
enum First {
    Fields(Fields),
    /// It is a session's.
    Session(u64),
}

/// `None` where the stream ends before it has begun.
async fn first(stream: &mut RecvStream) -> Result<Option<First>, Breach> {
    let mut skipped = 0;
    loop {
        let Ok(Some(kind)) = frame::number(stream).await else { return Ok(None) };
        if kind == frame::WEBTRANSPORT && skipped > 0 {
            return Err(Breach::FrameMalformed);
        }
        // Of a session's stream this is its number, and of a frame its length.
        let Ok(Some(number)) = frame::number(stream).await else { return Ok(None) };
        match kind {
            frame::WEBTRANSPORT => return Ok(Some(First::Session(number))),
            frame::HEADERS if number > MOST_FIELDS_BYTES => {
                return Ok(Some(First::Fields(Fields::TooLong)));
            }
            frame::HEADERS => {
                let length = usize::try_from(number).map_err(|_| Breach::TooMuch)?;
                let Ok(section) = frame::payload(stream, length).await else { return Ok(None) };
                return Ok(Some(First::Fields(Fields::Whole(section))));
            }
            frame::DATA
            | frame::SETTINGS
            | frame::PUSH_PROMISE
            | frame::CANCEL_PUSH
            | frame::GOAWAY
            | frame::MAX_PUSH_ID => return Err(Breach::FrameUnexpected),
            kind if frame::is_of_http2(kind) => return Err(Breach::FrameUnexpected),
            _ => {
                // A frame without bytes costs something, too.
                skipped += number.saturating_add(2);
                if skipped > MOST_SKIPPED_BYTES {
                    return Err(Breach::TooMuch);
                }
                let Ok(()) = frame::skip(stream, number).await else { return Ok(None) };
            }
        }
    }
}

/// Answers a request, and reads no more of it (RFC 9114 section 4.1).
pub(super) async fn answer(
    status: StatusCode,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<Read, Breach> {
    // All three fail only where the stream is over.
    let _ = receive.stop(NO_ERROR);
    if send.write_all(&request::answer(status)).await.is_ok() {
        let _ = send.finish();
    }
    Ok(Read::Gone)
}
