//! What is decided for several servers at once: where it goes, and how it comes back to each.
//!
//! In: a [`Decision`], from an act. Out: what it did here; and how the other nodes stand to it, for which an act waits
//! when it has been recorded, so that no other waits for a node that cannot be reached. Invariants: a decision is
//! carried out here when it comes back in its place among all that were made, and not before, so that every node has
//! them in the same order; a node keeps a copy of what stands on its own disk.

use std::time::Instant;

use fanfare_hub::Ticket;
use fanfare_protocol::admin::{Action, BanRow, LastingRow, NodeStanding, Receipt};
use fanfare_protocol::{Denial, GroupName, UserName};

use crate::access::{BanKey, StoredKey};

/// Something that stands until it is decided otherwise, or that stands no more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    Ban(BanRow),
    Lift(BanKey),
    Lasting(LastingRow),
    DropLasting(UserName, GroupName),
    Key(StoredKey),
    DropKey(String),
}

impl Decision {
    /// Whether somebody may more by it than before.
    pub(crate) fn lets_in(&self) -> bool {
        match self {
            Self::Lift(_) | Self::Lasting(_) | Self::Key(_) => true,
            Self::Ban(_) | Self::DropLasting(..) | Self::DropKey(_) => false,
        }
    }

    /// What ends it.
    pub(crate) fn end(&self) -> Self {
        match self {
            Self::Ban(ban) => Self::Lift(BanKey::from(ban)),
            Self::Lasting(row) => Self::DropLasting(row.user.clone(), row.group.clone()),
            Self::Key(key) => Self::DropKey(key.row.name.clone()),
            Self::Lift(_) | Self::DropLasting(..) | Self::DropKey(_) => self.clone(),
        }
    }
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Decided {
    /// What it did to those who are here.
    pub(crate) receipt: Receipt,
    /// What the other nodes are asked about.
    pub(crate) fence: Fence,
}

/// Something that was decided, whether every node has it in force or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence {
    /// Its place among all that were decided.
    pub(crate) revision: u64,
    /// When it was decided, by `uptime`.
    pub(crate) decided: Instant,
}

/// What the other nodes did of an act.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Their receipts.
    pub(crate) receipts: Vec<Receipt>,
    /// Those that did not answer, by their names.
    pub(crate) silent: Vec<String>,
}

/// Where decisions for several servers go.
pub(crate) trait Decisions: Send + Sync {
    /// Puts it among all that were made, and waits a moment until it is in force here. `reason` is told to whoever is
    /// removed for it. Blocks, for seconds where the cluster does not answer.
    ///
    /// # Errors
    /// Where it was not made, or it is not known whether it was.
    fn decide(&self, decision: Decision, reason: &str) -> Result<Decided, Denial>;

    /// Waits until every node has it in force, or cannot deliver, and gives what it did to those who are on other
    /// nodes. Blocks, for seconds where a node cannot be reached, and says of whom it is not known then.
    fn fence(&self, fence: Fence) -> (Vec<NodeStanding>, Carried);

    /// What a ban of a user would do on the other nodes now. Blocks for a bounded time.
    fn preview(&self, ban: &BanRow) -> Carried;

    /// Has the other nodes carry out their part of an act on connections. Blocks for a bounded time.
    fn carry_out(&self, act: &Action) -> Carried;

    /// Takes out what a node has left that was given up, and that may be delivering without the cluster. Blocks, for
    /// seconds where the cluster does not answer.
    ///
    /// # Errors
    /// Where it is no such node, or it is not known whether that was done.
    fn forget_node(&self, node: &str) -> Result<(), Denial>;

    /// How many copies of a message were queued on other nodes, and which did not say so. Blocks for a bounded time.
    fn copies(&self, ticket: Ticket) -> (u64, Vec<String>);
}

/// Adds what another node did of the same.
pub(super) fn add_up(receipt: &mut Receipt, other: &Receipt) {
    // Another node said it.
    receipt.connections = receipt.connections.saturating_add(other.connections);
    receipt.purged = receipt.purged.saturating_add(other.purged);
    for (group, connections) in &other.groups {
        let sum = receipt.groups.entry(group.clone()).or_default();
        *sum = sum.saturating_add(*connections);
    }
}
