//! What happens in the world, and when.
//!
//! In: events as they are planned. Out: the next one, and the process that it happens to. Invariant: of two at one
//! moment the one that was planned first is first.

use bytes::Bytes;

use super::clients::Client;
use super::faults::Trouble;
use super::log::{Entry, Key, Value};
use super::time::Micros;

/// What happens.
pub(crate) enum Event {
    Tick(usize),
    Flush(usize),
    Bus {
        from: usize,
        to: usize,
        bytes: Bytes,
    },
    Pump {
        at: usize,
        generation: u64,
    },
    Watch {
        at: usize,
        generation: u64,
        entry: Entry,
        has_more: bool,
    },
    Put {
        from: usize,
        key: Key,
        value: Value,
        over: Option<u64>,
        attempt: u8,
    },
    /// The log has answered an operator.
    Answered {
        at: usize,
        key: Key,
        value: Value,
        attempt: u8,
        /// `None` where something else was decided.
        revision: Option<u64>,
    },
    /// Something is to be decided once more.
    Decide {
        at: usize,
        key: Key,
        value: Value,
        attempt: u8,
    },
    Arrive,
    /// A connection that has been let in is put into the groups that its user is in whenever it is here.
    Seated(usize),
    Act(usize),
    /// The application has what a client asked it for.
    Made(usize, u64),
    Read(usize),
    Operate,
    Begin(Trouble),
    End(Trouble),
    /// A node has been gone so long that everybody should know.
    Missed {
        gone: usize,
        since: Micros,
    },
    /// A node has been there so long that it should be of use.
    Useful(usize),
    Rest,
    Probe(usize),
    /// A node goes that has said so.
    Leave(usize),
    /// An operator says that a node is dead, which might be serving as far as the others know.
    Forget(usize),
    Stop,
    /// What a process does now because it stood still before.
    Late(Box<Event>),
}

impl Event {
    /// The process that cannot do it while it is stopped, and what keeps its order there.
    pub(crate) fn process(&self, clients: &[Client]) -> Option<(usize, (u8, usize))> {
        match self {
            Self::Tick(at) | Self::Leave(at) => Some((*at, (0, 0))),
            Self::Flush(at) => Some((*at, (1, 0))),
            Self::Bus { from, to, .. } => Some((*to, (2, *from))),
            Self::Watch { at, .. } => Some((*at, (3, 0))),
            Self::Answered { at, .. } | Self::Decide { at, .. } => Some((*at, (4, 0))),
            Self::Seated(client) | Self::Act(client) => Some((clients[*client].at, (5, *client))),
            Self::Read(client) => Some((clients[*client].at, (6, *client))),
            Self::Made(client, _) => Some((clients[*client].at, (7, *client))),
            Self::Late(event) => event.process(clients),
            _ => None,
        }
    }
}

/// When it happens.
pub(crate) struct Scheduled {
    pub(crate) at: Micros,
    pub(crate) order: u64,
    pub(crate) event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
