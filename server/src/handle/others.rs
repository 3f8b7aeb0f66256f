//! The other nodes, as a handle has them: what is to be done there, and what came of it.
//!
//! In: orders. Out: what each node has done, and who did not say so. `cluster` carries them there.

use std::future::Future;
use std::pin::Pin;

use fanfare_hub::Ticket;
use fanfare_protocol::admin::Who;
use fanfare_protocol::{ConnectionId, GroupName};
use serde::{Deserialize, Serialize};

use super::clients::{Asking, Giving};

/// What is to be done to a selection, on another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(super) to: Vec<Who>,
    pub(super) except: Vec<ConnectionId>,
    pub(super) verb: Verb,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verb {
    Count,
    Join(GroupName),
    Remove(GroupName, String),
    Close(String),
    /// So many milliseconds.
    CloseFor(u64, String),
}

/// What a node has done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    #[serde(default)]
    pub(super) connections: u64,
    /// Why it was refused there, by the number of a code and in words; not where nobody was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<(u16, String)>,
}

/// What of other nodes did what, and who did not say so.
pub(crate) type Answers<'a> = Pin<Box<dyn Future<Output = (Vec<Done>, Vec<String>)> + Send + 'a>>;

/// How many copies, and who did not say so.
pub(crate) type Copies<'a> = Pin<Box<dyn Future<Output = (u64, Vec<String>)> + Send + 'a>>;

/// The other nodes.
pub(crate) trait Others: Send + Sync {
    /// Has each of them do this.
    fn order(&self, order: Order) -> Answers<'_>;

    /// Asks a client that is on one of them.
    fn ask(&self, asking: Asking) -> Giving<'_>;

    /// How many copies of what was sent were queued there.
    fn copies_of(&self, ticket: Ticket) -> Copies<'_>;
}
