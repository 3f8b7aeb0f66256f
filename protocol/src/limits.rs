//! The limits that both ends of a connection keep to, with the reason for each default.
//!
//! The server sets them and tells them in `Welcome`. What only the server knows (how many connections, how long a
//! queue) is not here but in the server's configuration.

use crate::{Code, Denial};

/// What one connection may send. Every limit is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame, in bytes after the length prefix. Checked before a byte of the frame is kept.
    ///
    /// Default 67,584: the longest payload and 2 KiB for what stands before it. Two names, a connection id and
    /// an event name at their longest take 808 bytes; a send to a few hundred targets needs a shorter payload.
    pub frame_bytes: u32,
    /// The longest payload of a message, in bytes.
    ///
    /// Default 65,536: one message never fills more than a fraction of a recipient's queue, and it crosses a 10 Mbit/s
    /// link in about 50 ms, so that it does not hold up what comes after it. Files belong in a store, with a link here.
    pub payload_bytes: u32,
    /// How many groups one connection may be in at a time.
    ///
    /// Default 1,000: a chat client in every room of a large team is in a few hundred. Leaving costs what was joined,
    /// so this also bounds what a disconnect costs.
    pub groups: u32,
    /// How many targets one send may name, and how many connections it may except.
    ///
    /// Default 256: a send to more is a group. It bounds what one request costs before its first recipient is found.
    pub targets: u32,
}

impl Limits {
    /// The longest payload that any server may be set to: 1 MiB. Beyond it a message blocks the stream it shares.
    pub const PAYLOAD_CEILING: u32 = 1 << 20;
    /// What a frame may take beyond its payload.
    pub const HEADING_BYTES: u32 = 2048;
    /// The longest frame that any server may be set to. A client that knows no better yet takes frames up to this.
    pub const FRAME_CEILING: u32 = Self::PAYLOAD_CEILING + Self::HEADING_BYTES;

    /// The defaults with another payload limit: the frame limit follows from it.
    #[must_use]
    pub const fn with_payload_bytes(self, payload_bytes: u32) -> Self {
        let payload_bytes =
            if payload_bytes > Self::PAYLOAD_CEILING { Self::PAYLOAD_CEILING } else { payload_bytes };
        Self { payload_bytes, frame_bytes: payload_bytes + Self::HEADING_BYTES, ..self }
    }
}

impl Limits {
    /// Whether a send keeps to the limits: how many targets it names, how many connections it excepts, and how long its
    /// payload is.
    ///
    /// # Errors
    /// [`Code::NoTarget`], [`Code::TooManyTargets`] or [`Code::PayloadTooLarge`], with the numbers.
    pub fn check_send(&self, targets: usize, exceptions: usize, payload: usize) -> Result<(), Denial> {
        let most = self.targets as usize;
        if targets == 0 {
            return Err(Code::NoTarget.into());
        }
        let (what, count) = if targets > most { ("targets", targets) } else { ("exceptions", exceptions) };
        if count > most {
            let detail = format!("the send names {count} {what}; at most {most} are allowed");
            return Err(Denial { code: Code::TooManyTargets, detail });
        }
        self.check_payload(payload)
    }

    /// Whether a payload is no longer than it may be, in bytes.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`], with the numbers.
    pub fn check_payload(&self, payload: usize) -> Result<(), Denial> {
        if payload <= self.payload_bytes as usize {
            return Ok(());
        }
        let detail = format!("the payload has {payload} bytes; at most {} are allowed", self.payload_bytes);
        Err(Denial { code: Code::PayloadTooLarge, detail })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes: 0, payload_bytes: 0, groups: 1_000, targets: 256 }.with_payload_bytes(65_536)
    }
}
