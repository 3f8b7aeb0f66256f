//! What nodes ask each other, beside what the cluster itself says.
//!
//! In: questions. Out: JSON, and back. Invariant: a question of a later version is none that is answered with something
//! else: whoever asks is told that it is not known here (promise 13).

use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::admin::{
    Action, AuditVerdict, BanRow, ConnectionDetail, ConnectionVerdict, Receipt, Who,
};
use fanfare_protocol::{ConnectionId, GroupName, UserName};
use serde::{Deserialize, Serialize};

use super::invoking::AskedThere;
use crate::handle::Order;
use crate::lists::{ListQuestion, Part};

/// How long other nodes may take to answer a question.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// What a node asks others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// Do your part of this act on connections. Answered with a [`Done`].
    Act(Action),
    /// How many connections has this there? Answered with a number.
    Count(Who),
    /// Do this to those who are there, by the application's word. Answered with a [`Done`](crate::handle::Done).
    Order(Order),
    /// Whose are these connections, as far as it is known by now? Answered with a user, or nothing, for each.
    Owners(Vec<ConnectionId>),
    /// What comes next of a list there? Answered with a [`Part`](crate::lists::Part).
    List(Box<ListQuestion>),
    /// Who is in these groups there? Answered with [`UsersThere`] for each.
    UsersIn(Vec<GroupName>),
    /// What is said of these users by those of their connections that are in this group there? Answered with a
    /// [`Said`], or nothing, for each.
    Said {
        /// The group.
        group: GroupName,
        /// The users, few enough for an answer.
        users: Vec<UserName>,
    },
    /// Is the audit whole there, with what was noted of each chain in it? Answered with a [`ChainThere`].
    Chain(Vec<(String, Vec<String>)>),
    /// What is there of this connection? Answered with a [`ConnectionDetail`], or nothing.
    Connection(ConnectionId),
    /// What connections has this user there, and may they join that group? Answered with [`Verdicts`].
    Explain {
        /// Who.
        user: UserName,
        /// Which group.
        group: GroupName,
    },
    /// What did the decision of this revision do there? Answered with a [`Receipt`], or nothing where it is not known.
    Receipt(u64),
    /// What would this ban of a user do there? Answered with a [`Receipt`].
    Preview(BanRow),
    /// What has this key in the bucket is about to be ended, for this reason. Answered when that is known there.
    Because {
        /// The entry's key.
        key: String,
        /// What those are told who are put out for it.
        reason: String,
    },
    /// Whose are these connections, if they are welcomed? Answered with a user, or nothing, for each.
    Whose(Vec<ConnectionId>),
    /// What does this client say to this? Answered with a [`GivenThere`](super::invoking::GivenThere), when it is
    /// known.
    Client(Box<AskedThere>),
}

impl Question {
    /// Whether there may be so much to look at that it is done beside the driver.
    pub(super) fn takes_long(&self) -> bool {
        match self {
            Self::Order(_)
            | Self::List(_)
            | Self::UsersIn(_)
            | Self::Said { .. }
            | Self::Chain(_)
            | Self::Connection(_)
            | Self::Explain { .. }
            | Self::Client(_) => true,
            Self::Act(_)
            | Self::Count(_)
            | Self::Owners(_)
            | Self::Whose(_)
            | Self::Receipt(_)
            | Self::Preview(_)
            | Self::Because { .. } => false,
        }
    }
}

/// The users in a group on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UsersThere {
    /// Their numbers, each once, which are the same on all nodes.
    Numbers(Vec<u64>),
    /// So many, which are too many to be told.
    TooMany(u64),
}

/// What is said of a user on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// When, in microseconds since 1970, or a little later: of what is said on several nodes the latest counts.
    pub(crate) order: u64,
    /// In base64.
    pub(crate) data: String,
    /// The number of the format that it is in.
    pub(crate) format: u8,
}

/// The audit of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ChainThere {
    /// What its chain is known by, where it has a record.
    pub(crate) chain: Option<String>,
    pub(crate) verdict: AuditVerdict,
}

/// So many bytes each [`Said`] has at most, as it is written, with who is asked for.
pub(super) const SAID_BYTES: usize = 2_048;

/// A user's connections on a node, and whether they may join a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdicts {
    /// By their ids, at most [`MOST_VERDICTS`].
    pub(crate) connections: Vec<ConnectionVerdict>,
    /// How many more there are.
    pub(crate) more: u64,
    /// The ids of their tokens.
    pub(crate) tokens: Vec<String>,
}

/// So many connections of a user are told of one by one.
pub(crate) const MOST_VERDICTS: usize = 64;

/// Who knows the answer where it takes long to find. It may wait, and takes no longer than looking at everything once.
pub(crate) trait Answers: Send + Sync {
    /// What comes next of a list here; nothing where it is none that there is.
    fn part(&self, question: &ListQuestion) -> Option<Part>;

    /// The users in each of these groups, at most so many in all one by one.
    fn users_in(&self, groups: &[GroupName], most: usize) -> Vec<UsersThere>;

    /// What is said of these users by those of their connections that are here in a group.
    fn said(&self, group: &GroupName, users: &[UserName]) -> Vec<Option<Said>>;

    /// The audit here, with what was noted of each chain. `None` where it cannot be read.
    fn chain(&self, noted: &[(String, Vec<String>)]) -> Option<ChainThere>;

    /// A connection that is here.
    fn detail(&self, connection: &ConnectionId) -> Option<ConnectionDetail>;

    /// A user's connections that are here, and whether they may join a group.
    fn verdicts(&self, user: &UserName, group: &GroupName) -> Verdicts;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::Of;

    #[test]
    fn promise_13_a_question_of_a_later_version_is_none_and_one_of_an_earlier_is_read() {
        for later in [r#"{"dance":1}"#, r#"{"list":{"of":"dances","limit":5}}"#, "?"] {
            assert!(read::<Question>(later.as_bytes()).is_none(), "{later}");
        }
        // Whatever it could not say yet.
        let Some(Question::List(list)) = read(br#"{"list":{"of":"users","limit":5}}"#) else { panic!() };
        assert_eq!(*list, ListQuestion::new(Of::Users, 5));
    }
}
