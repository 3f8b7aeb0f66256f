//! What is done to a server, and what is measured meanwhile.

mod access;
mod connections;
mod requests;
mod traffic;

pub mod nodes;
pub mod soak;
pub mod webhooks;

use std::time::Duration;

use crate::error::Fallible;
use crate::figures::Found;
use crate::harness::Harness;
use crate::payload::LEAST;
use crate::peers::Places;
use crate::wire::Wanted;

/// One workload with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, clap::Subcommand)]
pub enum Workload {
    /// One group, as fast as it goes
    Fanout {
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        members: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
    },
    /// One group, so many messages a second that nothing coalesces
    Paced {
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        members: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rate: u32,
    },
    /// Groups of ten, each connection in three, few groups with most of the traffic (Zipf)
    Many {
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(3..=30_000))]
        groups: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
    },
    /// From user to user
    Direct {
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        users: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
    },
    /// One group at a steady rate; how long messages take from when they were meant to go
    Latency {
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        members: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
        /// Messages a second; 0 is half of what the slower of Fanfare and NATS has done in the same run
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        rate: u32,
    },
    /// Handshakes, at most 32 at a time
    Connect {
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
        connections: u32,
    },
    /// Connections that are in a group and say nothing
    Idle {
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
        connections: u32,
    },
    /// A group with traffic that others join and leave all the time
    Churn {
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=50_000))]
        members: u32,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50_000))]
        churners: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
    },
    /// A group of ten with so many idle groups beside it (Fanfare alone has groups that can be counted)
    Beside {
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        groups: u32,
        #[arg(long, default_value_t = 64, value_parser = size)]
        size: usize,
    },
    /// Sends to nobody that are answered, 64 bytes, one at a time on each connection (Fanfare alone)
    Acked {
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        connections: u32,
    },
    /// Calls of a method and what it gives, 64 bytes of arguments, one at a time on each connection (Fanfare alone)
    Called {
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        connections: u32,
    },
    /// An operator revokes users' access, one after the other (Fanfare alone has that)
    Revoke {
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        users: u32,
    },
}

/// A payload that can carry its number, and that Fanfare's default limits allow.
fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ LEAST..=65_536) => Ok(size),
        _ => Err(format!("a size is a number from {LEAST} to 65536")),
    }
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
            Self::Acked { connections } => format!("send and ack on {connections}"),
            Self::Called { connections } => format!("call and completion on {connections}"),
            Self::Revoke { users } => format!("revoke {users}"),
        }
    }

    /// Whether only Fanfare can do it.
    #[must_use]
    pub fn is_fanfares(self) -> bool {
        matches!(self, Self::Revoke { .. } | Self::Beside { .. } | Self::Acked { .. } | Self::Called { .. })
    }

    /// Does it to a fresh server of this name.
    ///
    /// # Errors
    /// When the server does not start, or something did not arrive as it must.
    pub async fn run(self, peer: &str, places: &Places, times: Times) -> Fallible<Found> {
        let harness = Harness::start(peer, places).await?;
        let found = match self {
            Self::Fanout { members, size } => traffic::fanout(&harness, members, size, times.saturated).await,
            Self::Paced { members, size, rate } => {
                traffic::paced(&harness, members, size, rate, times.paced).await
            }
            Self::Many { groups, size } => traffic::many(&harness, groups, size, times.saturated).await,
            Self::Direct { users, size } => traffic::direct(&harness, users, size, times.saturated).await,
            Self::Latency { members, size, rate } => {
                traffic::latency(&harness, members, size, rate, times.paced).await
            }
            Self::Connect { connections } => connections::connect(&harness, connections).await,
            Self::Idle { connections } => connections::idle(&harness, connections, times.idle).await,
            Self::Churn { members, churners, size } => {
                traffic::churn(&harness, members, churners, size, times.paced).await
            }
            Self::Beside { groups, size } => traffic::beside(&harness, groups, size, times.saturated).await,
            Self::Acked { connections } => {
                requests::requests(&harness, Wanted::Ack, connections, times.saturated).await
            }
            Self::Called { connections } => {
                requests::requests(&harness, Wanted::Completion, connections, times.saturated).await
            }
            Self::Revoke { users } => access::revoke(&harness, users).await,
        };
        // What was wrong before matters more.
        let stopped = harness.stop().await;
        let found = found?;
        stopped?;
        Ok(found)
    }
}
