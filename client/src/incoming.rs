//! The frames that come from the server.
//!
//! In: the receiving half of the stream. Out: one frame after the other, or why there are no more.
//!
//! Invariants: bytes that are not the protocol end the connection, with the code that says how, and so does an
//! extension that must be understood and is not; a frame of a later version is counted and skipped, but not where
//! `Welcome` belongs; a `Welcome` of another version is judged by that alone; of a frame that is not complete never
//! more is kept than the frame may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::codec::{self, DecodeError, FrameReader};
use fanfare_protocol::{Code, Limits, PROTOCOL_VERSION, ServerFrame};
use quinn::VarInt;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Connection, Receiving, Unread};
use crate::disconnect::{ComeBack, Disconnect};

/// How long the end may take after the server's last words. Then they are taken for it: a close can get lost.
pub(crate) const END_AFTER_GOODBYE: Duration = Duration::from_secs(2);

/// How many frames of a later version came, and were skipped, on all connections of a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skipped(Arc<AtomicU64>);

impl Skipped {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The receiving half of the stream.
pub(crate) struct Incoming {
    stream: Receiving,
    connection: Connection,
    frames: FrameReader,
    chunk: Bytes,
    skipped: Skipped,
}

impl Incoming {
    pub(crate) fn new(stream: Receiving, connection: Connection, skipped: Skipped) -> Self {
        // The limits in `Welcome` are about what the client sends. What comes may be as long as any server makes it.
        let frames = FrameReader::new(Limits::FRAME_CEILING);
        Self { stream, connection, frames, chunk: Bytes::new(), skipped }
    }

    /// The first frame, which this version must know; `None` when the server finished the stream.
    pub(crate) async fn first(&mut self) -> Result<Option<ServerFrame>, Disconnect> {
        let Some(frame) = self.bytes().await? else { return Ok(None) };
        // Before anything behind it is judged: another version may say there what this one does not know.
        if let Some(version) = codec::welcome_version(&frame)
            && version != PROTOCOL_VERSION
        {
            let detail = format!("it speaks version {version} on this connection");
            return Err(self.violated(Code::UnsupportedProtocol, &detail));
        }
        codec::decode_server(&frame).map(Some).map_err(|error| match error {
            DecodeError::Unknown { what, .. } => {
                self.violated(Code::MalformedFrame, &format!("its first frame is not Welcome, but {what}"))
            }
            error => self.broken(&error),
        })
    }

    /// The next frame that this version knows; `None` when the server finished the stream. May be dropped while it
    /// waits: no byte is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<ServerFrame>, Disconnect> {
        while let Some(frame) = self.bytes().await? {
            if let Some(frame) = self.read(&frame)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// What these bytes say; `None` where they are of a later version, and count as skipped.
    pub(crate) fn read(&self, frame: &Bytes) -> Result<Option<ServerFrame>, Disconnect> {
        match codec::decode_server(frame) {
            Ok(frame) => Ok(Some(frame)),
            Err(DecodeError::Unknown { what, .. }) => {
                tracing::debug!(%what, "skipped: this version does not know it");
                self.skipped.add();
                Ok(None)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// The next whole frame, not yet read.
    async fn bytes(&mut self) -> Result<Option<Bytes>, Disconnect> {
        loop {
            match self.frames.next_frame(&mut self.chunk) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => return Err(self.broken(&error)),
            }
            match self.stream.read(&self.connection).await {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) if self.frames.is_between_frames() => return Ok(None),
                Ok(None) => return Err(self.violated(Code::TruncatedFrame, Code::TruncatedFrame.sentence())),
                Err(Unread::Lost(lost)) => return Err(lost),
                Err(Unread::Reset(code)) => return Err(self.ended(code)),
                Err(Unread::NotMessage) => {
                    return Err(
                        self.violated(Code::StreamReset, "a message of text is no part of the stream")
                    );
                }
            }
        }
    }

    /// How the connection ends whose server has said its last words: nothing but the end comes behind them, and a code
    /// of its own is newer than they are. Waits until `latest`, and no longer than [`END_AFTER_GOODBYE`].
    pub(crate) async fn end_after(&mut self, goodbye: Disconnect, latest: Option<Instant>) -> Disconnect {
        let patience = Instant::now() + END_AFTER_GOODBYE;
        let end = async {
            loop {
                match self.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return self.connection.over().await,
                    Err(lost) => return lost,
                }
            }
        };
        match timeout_at(latest.map_or(patience, |latest| latest.min(patience)), end).await {
            Ok(lost) => lost.after(Some(goodbye)),
            Err(_) => goodbye,
        }
    }

    /// Ends the connection because of a frame that may not stand here.
    pub(crate) fn violated(&self, code: Code, detail: &str) -> Disconnect {
        self.connection.close(code, detail);
        Disconnect::Protocol { detail: detail.to_owned() }
    }

    fn broken(&self, error: &DecodeError) -> Disconnect {
        let code = match error {
            DecodeError::TooLong { .. } => Code::FrameTooLarge,
            DecodeError::ExtensionNotKnown { .. } => Code::ExtensionNotKnown,
            DecodeError::Malformed(_) | DecodeError::InvalidName { .. } | DecodeError::Unknown { .. } => {
                Code::MalformedFrame
            }
        };
        self.violated(code, &error.to_string())
    }

    /// The server broke its half off. Where it says a code with it, that is the code that it closes with.
    fn ended(&self, code: VarInt) -> Disconnect {
        self.connection.close(Code::StreamReset, "the stream was reset");
        match u16::try_from(code.into_inner()) {
            Ok(0) | Err(_) => Disconnect::StreamEnded,
            Ok(code) => Disconnect::Closed { code, reason: String::new(), come_back: ComeBack::ByCode },
        }
    }
}
