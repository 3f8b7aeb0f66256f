//! What goes wrong.
//!
//! In: chance. Out: it has happened. Invariant: [`Machines::heal`] ends all of it.

use std::fmt;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::MACHINES;
use crate::machines::{Machines, Way};

const CLIENTS: u16 = 4222;
const ROUTES: u16 = 6222;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    KillNode(usize),
    StopNode(usize),
    KillLeader,
    KillFollower(usize),
    StopNats(usize),
    /// A node hears nothing of any NATS server, or is not heard, or both.
    CutNode(usize, Option<Way>),
    /// A node has no way to one NATS server.
    CutNodeFrom(usize, usize),
    /// Two NATS servers have no way to each other, or one of them has none to the other.
    CutNats(usize, usize, Option<Way>),
    /// A machine is apart from the other two.
    Apart(usize),
    /// All that a machine's node and NATS server have to say to others takes its time.
    Slow(usize),
    /// A node is told to end, and is started again when all is healed.
    EndNode(usize),
    /// All nodes are, one after the other, each when the one before is there again: as they are updated.
    Roll,
}

impl Fault {
    pub(crate) fn at_random(random: &mut StdRng) -> Self {
        let one = random.random_range(0..MACHINES);
        let other = (one + random.random_range(1..MACHINES)) % MACHINES;
        let way = [None, Some(Way::Out), Some(Way::In)][random.random_range(0..3)];
        match random.random_range(0..14) {
            0 => Self::KillNode(one),
            1 | 2 => Self::StopNode(one),
            3 => Self::KillLeader,
            4 => Self::KillFollower(random.random_range(1..MACHINES)),
            5 => Self::StopNats(one),
            6 => Self::CutNode(one, way),
            7 => Self::CutNodeFrom(one, random.random_range(0..MACHINES)),
            8 => Self::CutNats(one, other, way),
            9 => Self::Slow(one),
            10 | 11 => Self::EndNode(one),
            12 => Self::Roll,
            _ => Self::Apart(one),
        }
    }

    /// `leader` is the NATS server that led the bucket before anything went wrong. Gives what a node did that it must
    /// not, whatever else is wrong.
    pub(crate) fn begin(self, machines: &mut Machines, leader: usize) -> Result<(), String> {
        match self {
            Self::EndNode(node) => return machines.end_node(node),
            Self::Roll => return (0..MACHINES).try_for_each(|node| machines.roll(node)),
            Self::KillNode(node) => machines.kill_node(node),
            Self::StopNode(node) => machines.stop_node(node),
            Self::KillLeader => machines.kill_nats(leader),
            Self::KillFollower(after) => machines.kill_nats((leader + after) % MACHINES),
            Self::StopNats(nats) => machines.stop_nats(nats),
            Self::CutNode(node, way) => {
                for nats in 0..MACHINES {
                    cut(node, way, nats, CLIENTS);
                }
            }
            Self::CutNodeFrom(node, nats) => cut(node, None, nats, CLIENTS),
            Self::CutNats(one, other, way) => cut(one, way, other, ROUTES),
            Self::Apart(one) => {
                for other in (0..MACHINES).filter(|other| *other != one) {
                    cut(one, None, other, ROUTES);
                    cut(one, None, other, CLIENTS);
                }
            }
            Self::Slow(one) => {
                for port in [CLIENTS, ROUTES] {
                    Machines::slow(one, port);
                }
            }
        }
        Ok(())
    }
}

/// No way: both.
fn cut(one: usize, way: Option<Way>, other: usize, port: u16) {
    for each in [Way::Out, Way::In] {
        if way.is_none_or(|way| way == each) {
            Machines::cut(one, each, other, port);
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = |way: &Option<Way>| match way {
            None => "",
            Some(Way::Out) => " (out)",
            Some(Way::In) => " (in)",
        };
        match self {
            Self::KillNode(node) => write!(f, "node {node} killed"),
            Self::StopNode(node) => write!(f, "node {node} stopped"),
            Self::KillLeader => write!(f, "the leading NATS server killed"),
            Self::KillFollower(_) => write!(f, "a following NATS server killed"),
            Self::StopNats(nats) => write!(f, "NATS server {nats} stopped"),
            Self::CutNode(node, way) => write!(f, "node {node} cut off{}", ways(way)),
            Self::CutNodeFrom(node, nats) => write!(f, "node {node} cut off from NATS server {nats}"),
            Self::CutNats(one, other, way) => {
                write!(f, "NATS servers {one} and {other} cut apart{}", ways(way))
            }
            Self::Apart(one) => write!(f, "machine {one} apart"),
            Self::Slow(one) => write!(f, "machine {one} slow"),
            Self::EndNode(node) => write!(f, "node {node} told to end"),
            Self::Roll => write!(f, "all nodes rolled"),
        }
    }
}
