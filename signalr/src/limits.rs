//! What one message may cost, with the reason for each default.
//!
//! In: settings. Out: yes or an error. Invariant: every limit is inclusive, and none can be set beyond what clients
//! read.

use crate::ShapeError;

/// The bounds of what a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in bytes: without the 0x1E behind it in JSON, and without the length in front of it in
    /// MessagePack. Checked before a byte beyond it is kept.
    ///
    /// Default 32,768, as in ASP.NET (`HubOptions.MaximumReceiveMessageSize`).
    pub message_bytes: usize,
    /// How many objects and arrays may lie in one another. The message itself is the first, the arguments of an
    /// invocation the second.
    ///
    /// Default 64, which is also the most: it is how deep .NET's JSON reads, so that what is accepted from one client
    /// can go to any other. A higher number counts as 64.
    pub depth: usize,
    /// The longest invocation id or stream id, in bytes. A server remembers one for each call in flight.
    ///
    /// Default 128. Clients use small numbers and UUIDs.
    pub id_bytes: usize,
    /// How many streams one invocation may announce.
    ///
    /// Default 16. Each is a parameter of the method.
    pub streams: usize,
}

impl Limits {
    /// The deepest message that any client reads.
    pub const DEPTH_CEILING: usize = 64;

    pub(crate) fn levels(&self) -> usize {
        self.depth.min(Self::DEPTH_CEILING)
    }

    /// Whether an id may have these bytes.
    pub(crate) fn check_id(&self, member: &'static str, id: &str) -> Result<(), ShapeError> {
        if id.len() > self.id_bytes {
            return Err(ShapeError::TooLong { member, limit: self.id_bytes });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 32_768, depth: Self::DEPTH_CEILING, id_bytes: 128, streams: 16 }
    }
}
