//! What is done to a server, and what is measured meanwhile.

mod access;
mod connections;
mod traffic;

pub mod soak;

use std::time::Duration;

use crate::bed::Bed;
use crate::fault::Fallible;
use crate::figures::Found;
use crate::peers::Places;

/// One workload with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Workload {
    /// One group, as fast as it goes.
    Fanout { members: u32, size: usize },
    /// One group, so many messages a second that nothing coalesces.
    Paced { members: u32, size: usize, rate: u32 },
    /// Groups of ten, each connection in three, few groups with most of the traffic (Zipf).
    Many { groups: u32, size: usize },
    /// From user to user.
    Direct { users: u32, size: usize },
    /// One group at a steady rate; how long messages take from when they were meant to go.
    Latency { members: u32, size: usize, rate: u32 },
    /// Handshakes, one after the other in each of 16 lanes.
    Connect { connections: u32 },
    /// Connections that are in a group and say nothing.
    Idle { connections: u32 },
    /// A group with traffic that others join and leave all the time.
    Churn { members: u32, churners: u32, size: usize },
    /// A group of ten with so many idle groups beside it.
    Beside { groups: u32, size: usize },
    /// An operator revokes users' access, one after the other (Fanfare alone has that).
    Revoke { users: u32 },
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Traffic as fast as it goes.
    pub saturated: Duration,
    /// Traffic at a rate.
    pub paced: Duration,
    /// Doing nothing.
    pub idle: Duration,
}

impl Workload {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Fanout { members, size } => format!("fanout {members} x {size} B"),
            Self::Paced { members, size, rate } => format!("paced {members} x {size} B at {rate}/s"),
            Self::Many { groups, size } => format!("many {groups} groups x {size} B"),
            Self::Direct { users, size } => format!("direct {users} users x {size} B"),
            Self::Latency { members, size, .. } => format!("latency {members} x {size} B"),
            Self::Connect { connections } => format!("connect {connections}"),
            Self::Idle { connections } => format!("idle {connections}"),
            Self::Churn { members, churners, size } => format!("churn {churners} in {members} x {size} B"),
            Self::Beside { groups, size } => format!("fanout 10 x {size} B beside {groups} groups"),
            Self::Revoke { users } => format!("revoke {users}"),
        }
    }

    /// Whether only Fanfare can do it.
    #[must_use]
    pub fn is_fanfares(self) -> bool {
        matches!(self, Self::Revoke { .. } | Self::Beside { .. })
    }

    /// Does it to a fresh server of this name.
    ///
    /// # Errors
    /// When the server does not start, or something did not arrive as it must.
    pub async fn run(self, peer: &str, places: &Places, times: Times) -> Fallible<Found> {
        let bed = Bed::start(peer, places).await?;
        let found = match self {
            Self::Fanout { members, size } => traffic::fanout(&bed, members, size, times.saturated).await,
            Self::Paced { members, size, rate } => {
                traffic::paced(&bed, members, size, rate, times.paced).await
            }
            Self::Many { groups, size } => traffic::many(&bed, groups, size, times.saturated).await,
            Self::Direct { users, size } => traffic::direct(&bed, users, size, times.saturated).await,
            Self::Latency { members, size, rate } => {
                traffic::latency(&bed, members, size, rate, times.paced).await
            }
            Self::Connect { connections } => connections::connect(&bed, connections).await,
            Self::Idle { connections } => connections::idle(&bed, connections, times.idle).await,
            Self::Churn { members, churners, size } => {
                traffic::churn(&bed, members, churners, size, times.paced).await
            }
            Self::Beside { groups, size } => traffic::beside(&bed, groups, size, times.saturated).await,
            Self::Revoke { users } => access::revoke(&bed, users).await,
        };
        bed.stop().await;
        found
    }
}
