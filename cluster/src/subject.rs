//! What a back end is told of once for all nodes: that a group has a member, or has none any more, and the same of a
//! user in a group.

use fanfare_protocol::{GroupName, UserName};

/// What can be occupied: on no node, on one, or on several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A group, by its members.
    Group(GroupName),
    /// A user in a group, by the user's connections that are members.
    User(GroupName, UserName),
}

/// What a node says of a subject: how it is there, under a number that is greater with each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) number: u64,
    pub(crate) subject: Subject,
    /// Whether somebody is there, or was.
    pub(crate) is_here: bool,
    pub(crate) told: Told,
}

/// Whether a back end was told that a subject is occupied, and has not been told otherwise since, as far as a node
/// knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Told {
    /// Not that it knows.
    #[default]
    No,
    /// It was, and this node has had its lease ever since.
    Kept,
    /// This node has told it, when it had the duty by the claim of this revision.
    Owed(u64),
    /// The same, but that the end of it may have been told, too, by somebody who had the duty before.
    Doubted(u64),
}

/// What a node owes that had the duty.
#[derive(Debug)]
pub(crate) struct Owed {
    /// By the claim of this revision.
    pub(crate) revision: u64,
    /// The newest claim before it by which something may have been told, where by this one nothing was.
    pub(crate) void: Option<u64>,
    /// What was told, or what was heard of others.
    pub(crate) subjects: Vec<(Subject, Told)>,
}

/// Which claim of which node: a node has a new one with each lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Who claims.
    pub node: crate::NodeId,
    /// Which of its claims it is.
    pub number: u64,
}

/// What the log says of the duty to tell a back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duties {
    /// Who has it.
    pub holder: Option<Claim>,
    /// The revision of the claim before this, 0 where there was none.
    pub before: u64,
}
