//! What nodes ask each other, beside what the cluster itself says.
//!
//! In: questions. Out: JSON, and back. Invariant: a question of a later version is none that is answered with something
//! else: whoever asks is told that it is not known here (promise 13).

use bytes::Bytes;
use fanfare_protocol::admin::{Action, Receipt, Who};
use fanfare_protocol::{ConnectionId, GroupName};
use serde::{Deserialize, Serialize};

/// What a node asks others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// Do your part of this act on connections. Answered with a [`Done`].
    Act(Action),
    /// How many connections has this there? Answered with a number.
    Count(Who),
    /// Put these into a group by the application's word, or out of it. Answered with the number of connections.
    Change {
        /// Whom.
        who: Who,
        /// The group.
        group: GroupName,
        /// Why they are put out; nothing: they are put in.
        out: Option<String>,
    },
    /// Whose are these connections? Answered with a user, or nothing, for each.
    Owners(Vec<ConnectionId>),
}

/// What a node did of an act.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Nothing where there is nobody whom it is about.
    pub(super) receipt: Option<Receipt>,
    /// Why it was refused there.
    #[serde(default)]
    pub(super) refused: Option<String>,
}

pub(super) fn to_bytes(value: &impl Serialize) -> Bytes {
    // Texts, numbers and lists: there is nothing in it that JSON does not have.
    serde_json::to_vec(value).unwrap_or_default().into()
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}
