//! What it costs that two nodes know what the other wants: `cargo run --release -p fanfare-cluster --example interest`.
//!
//! In: a number of groups (100,000 where none is given), joined on one of two nodes. Out: how long it takes until the
//! other has answered for all, what that is in messages and bytes, and how much memory each node has for it; and what a
//! publication costs the node that finds its way, by how many nodes want it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program to measure with"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_cluster::{Bus, Effect, Heartbeat, Node, NodeId, Settings};
use fanfare_hub::{Lane, Outgoing, Topic};
use fanfare_protocol::{EventName, GroupName, PayloadFormat, Sender, Target};

#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<(NodeId, Bytes)>>>);

impl Bus for Queue {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        self.0.lock().unwrap().push_back((to, message));
        true
    }
}

/// Nodes, a queue between them, and a log of which everybody sees everything at once.
struct World {
    nodes: Vec<Node>,
    queue: Queue,
    revision: u64,
    messages: u64,
    bytes: u64,
}

impl World {
    fn new(count: u8) -> Self {
        let queue = Queue::default();
        let node = |number| {
            let (id, name) = (NodeId::new([0, 0, 0, number]), number.to_string());
            Node::new(id, name, "1".to_owned(), Settings::default(), Box::new(queue.clone()))
        };
        let mut world =
            Self { nodes: (0..count).map(node).collect(), queue, revision: 0, messages: 0, bytes: 0 };
        let now = Instant::now();
        for _ in 0..3 {
            world.nodes.iter_mut().for_each(|node| node.tick(now));
            world.settle(now);
        }
        world
    }

    fn settle(&mut self, now: Instant) {
        loop {
            let mut beats: Vec<(NodeId, Heartbeat)> = Vec::new();
            for node in &mut self.nodes {
                let id = node.id();
                beats.extend(node.effects().into_iter().filter_map(|effect| match effect {
                    Effect::Beat(heartbeat) => Some((id, heartbeat)),
                    _ => None,
                }));
            }
            for (id, heartbeat) in &beats {
                self.revision += 1;
                for node in &mut self.nodes {
                    node.heartbeat(*id, Some(heartbeat.clone()), self.revision, now);
                    node.caught_up(now);
                }
            }
            let messages = std::mem::take(&mut *self.queue.0.lock().unwrap());
            if beats.is_empty() && messages.is_empty() {
                return;
            }
            for (to, message) in messages {
                self.messages += 1;
                self.bytes += message.len() as u64;
                let node = self.nodes.iter_mut().find(|node| node.id() == to).unwrap();
                node.message(&message, now);
            }
        }
    }
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

fn main() {
    let groups: usize = std::env::args().nth(1).map_or(100_000, |count| count.parse().unwrap());
    let names: Vec<GroupName> =
        (0..groups).map(|number| GroupName::new(&format!("group-{number}")).unwrap()).collect();
    let mut world = World::new(2);
    (world.messages, world.bytes) = (0, 0);
    let (before, now) = (resident(), Instant::now());
    let proofs: Vec<_> = names.iter().filter_map(|name| world.nodes[0].wants(Topic::Group(name))).collect();
    let asked = now.elapsed();
    world.nodes[0].flush(now);
    world.settle(now);
    let took = now.elapsed();
    assert!(proofs.len() == groups && proofs.iter().all(|proof| proof.is_settled()));
    drop(proofs);
    let memory = resident().saturating_sub(before);
    println!(
        "{groups} groups: {asked:?} to want them, {took:?} until the other node has answered for all; {} messages, {} \
         KiB; {} bytes of memory for each, on both nodes together",
        world.messages,
        world.bytes / 1_024,
        memory / groups as u64,
    );
    for others in [0_u8, 1, 2, 9, 49] {
        let mut world = World::new(others + 1);
        let group = GroupName::new("room").unwrap();
        let now = Instant::now();
        for node in world.nodes.iter_mut().skip(1) {
            let _ = node.wants(Topic::Group(&group));
            node.flush(now);
        }
        world.settle(now);
        let messages = [(EventName::new("E").unwrap(), PayloadFormat::Binary, Bytes::from(vec![0; 64]))];
        let to = [Target::Group(group)];
        let outgoing = Outgoing {
            from: &Sender::Server,
            to: &to,
            except: &[],
            messages: &messages,
            lane: Lane::Stream,
            counts: false,
        };
        const ROUNDS: u32 = 100_000;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let _ = world.nodes[0].publish(&outgoing, now);
            world.queue.0.lock().unwrap().clear();
        }
        let each: Duration = begun.elapsed() / ROUNDS;
        println!("a publication that {others} other nodes want: {each:?}");
    }
}
