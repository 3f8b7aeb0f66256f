//! This server as one node of several: what joins the hub and moderation to the other nodes.
//!
//! `side` is what the hub, the edge and moderation have of the other nodes, from any thread, and `deciding` what
//! moderation has; `driver` is the one task that hears them and carries out what they say, in its order, `serving` does
//! what they send and ask, `unmet` puts out whom they do not answer for, and `observers` are those who watch groups
//! here; `rows` are decisions as the bucket has them, `reasons` those of what is about to be ended, `heads` what is
//! noted of the nodes' audits, which `noting` does for this one's, and `imports` what this node's disk has to bring
//! into it, by `bringing`; `questions` are what nodes ask each other, `asking` is what this one asks, `owners` whose
//! connections on others are, `beside` answers what takes long, and `walk` makes one list of all nodes'; `copier`
//! writes down a copy of what was decided; `clocks` says whose clock is wrong, `forgetting` takes out what a dead node
//! has left, `predecessor` says which node had this directory before, and `invoking` is what is asked of clients there;
//! `marks` are those of what was ended, which `clearing` takes out when they are old. What a node knows and says is the
//! business of the crate `fanfare-cluster`; what carries it, that of `fanfare-nats`.

mod asking;
mod beside;
mod bringing;
mod clearing;
mod clocks;
mod copier;
mod deciding;
mod driver;
mod duty;
mod forgetting;
mod heads;
mod imports;
mod invoking;
mod marks;
mod noting;
mod observers;
mod owners;
mod predecessor;
mod questions;
mod reasons;
mod rows;
mod serving;
mod side;
mod unmet;
mod walk;

pub(crate) use copier::forget;
pub(crate) use driver::{Joining, Opening};
pub(crate) use duty::Notified;
pub(crate) use heads::{Heads, Noted, key as note_key};
pub(crate) use owners::Connections;
pub(crate) use predecessor::Held;
pub(crate) use questions::{Answers, ChainThere, MOST_VERDICTS, Said, UsersThere, Verdicts};
pub(crate) use side::Side;
pub(crate) use walk::Walk;
