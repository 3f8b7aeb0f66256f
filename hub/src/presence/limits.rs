//! How presence is announced, and how much of it in a frame.

use std::time::Duration;

/// What presence is announced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceLimits {
    /// How long a user who has left is still announced as present: who comes back within it has never been away.
    pub grace: Duration,
    /// How many bytes of users a frame has, about; one user more at most.
    pub part_bytes: usize,
}

impl Default for PresenceLimits {
    /// Two seconds, and 16 KiB.
    fn default() -> Self {
        Self { grace: Duration::from_secs(2), part_bytes: 16 * 1024 }
    }
}
