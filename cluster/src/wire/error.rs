//! Why bytes are not a message that can be carried out.

use crate::id::NodeId;

/// Why bytes are not a message that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// Not said by a node, or broken.
    #[error("not a message between nodes: {0}")]
    Malformed(&'static str),
    /// Of another version of this.
    #[error("version {0} of what nodes say to each other is not known here")]
    Version(u8),
    /// Of a later version; with the number of the question, where it is one.
    #[error("kind {kind} is not known here")]
    Unknown { from: NodeId, published: u64, kind: u16, question: Option<u64> },
}
