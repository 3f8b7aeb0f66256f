//! What makes several nodes one hub: what they say to each other, who wants what, the lease, the fence.
//!
//! A [`Node`] is a state machine: it takes in what the hub here wants and publishes, what arrives from other nodes, and
//! what was decided, and gives messages to a [`Bus`] and [`Effect`]s to whoever runs it. It has no runtime, no network
//! and no clock, so that the same code runs in a server and in a simulation under a hundred thousand seeds
//! (`tests/simulation.rs`).
//!
//! Decisions (bans, lasting memberships, keys, and each node's heartbeats) are put into one log that gives each a
//! revision, and reach every node in that order. That is not this crate's business, but for the heartbeats.

mod duty;
mod fence;
mod id;
mod lease;
mod link;
mod node;
mod notices;
mod others;
mod own;
mod peer;
mod reports;
mod settings;
mod subject;
mod tally;
mod topic;
mod watching;
mod wire;

pub use self::fence::{Fenced, Standing};
pub use self::id::{MOST_PEERS, NodeId, NodeIdError};
pub use self::node::{Bus, Counts, Effect, Lost, Node, PeerFacts, longest_fence};
pub use self::peer::Heartbeat;
pub use self::settings::Settings;
pub use self::subject::{Claim, Duties, Subject};
pub use self::tally::Tallied;
pub use self::topic::TopicName;
pub use self::wire::Arrived;
