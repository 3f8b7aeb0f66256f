//! What a server tells those who watch a group: who is in it, and how that changes. Plain values; how they look as
//! bytes is the codec's business alone. Tied to [`Features::PRESENCE`].
//!
//! A watch is a stream of [`PresenceFrame`]s about one group. It begins with a snapshot in one or more parts; changes
//! may stand between the parts and follow them. Whoever keeps a table of users, empties it where a part says that a
//! snapshot begins, puts in what parts and changes have as present, and takes out who left, has at the end of the
//! snapshot and behind each frame that follows exactly what the server has announced.
//!
//! [`Features::PRESENCE`]: crate::Features::PRESENCE

use crate::{GroupName, Payload, UserName};

/// The longest public data of a connection, in bytes.
pub const DESCRIPTION_BYTES: usize = 1_024;

/// A user who is present in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub user: UserName,
    /// With how many connections: at least one.
    pub connections: u32,
    /// What the application says of the user to everyone who may watch, where it says anything: at most
    /// [`DESCRIPTION_BYTES`].
    pub data: Option<Payload>,
}

/// What is told of one group to those who watch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceFrame {
    /// A part of a snapshot.
    Snapshot {
        /// The group.
        group: GroupName,
        /// That of the last change that is in it.
        revision: u64,
        /// It is the first part: whatever was told of the group before counts no longer.
        begins: bool,
        /// It is the last part: what was told since the snapshot began is all.
        complete: bool,
        /// Users who are present.
        present: Vec<Present>,
    },
    /// What has changed.
    Changes {
        /// The group.
        group: GroupName,
        /// One more than that of the frame of changes before.
        revision: u64,
        /// Users who have come, or of whom something is otherwise than it was told.
        present: Vec<Present>,
        /// Users who are not present any more.
        left: Vec<UserName>,
    },
    /// The server has ended the watch. Nothing about the group comes after it, unless it is watched again.
    Ended {
        /// The group.
        group: GroupName,
        /// The number of a [`crate::Code`].
        code: u16,
        /// Why, for a person.
        reason: String,
    },
}

impl PresenceFrame {
    /// The group that it is about.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        match self {
            Self::Snapshot { group, .. } | Self::Changes { group, .. } | Self::Ended { group, .. } => group,
        }
    }
}
