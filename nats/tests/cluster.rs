//! Three servers that keep the bucket together: killed, stopped, started, sent away, while nodes put and listen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod harness;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_nats::{Bus, Event, Expect, PutError, Settings};
use harness::{Nats, PATIENCE};
use node::{Node, number, settings, until};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Each has three servers of its own, which elect leaders by the clock: several at once on two cores would wait for
/// each other's.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How often each node puts.
const BEAT: Duration = Duration::from_millis(100);

/// What one node was told, key by key, and what it put.
#[derive(Default)]
struct Book {
    told: BTreeMap<String, (u64, u64)>,
    last: u64,
    /// Its own: the number and its revision, as they were answered.
    put: Vec<(u64, u64)>,
    /// What may have been put, or may still be.
    unknown: BTreeSet<u64>,
    failed: u64,
    /// The longest time between two of its own entries, as they came back.
    longest: Duration,
    back: Option<Instant>,
    /// The longest time between two puts that were answered.
    longest_put: Duration,
    answered: Option<Instant>,
}

impl Book {
    fn failures(&self) -> u64 {
        self.failed + self.unknown.len() as u64
    }
}

/// A node that puts a growing number again and again, and keeps a book of what it is told.
struct Busy {
    bus: Bus,
    book: Arc<Mutex<Book>>,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Busy {
    async fn start(settings: Settings, node: u32) -> Self {
        let Node { bus, mut events, .. } = Node::with(settings, node).await;
        let (book, stop) = (Arc::new(Mutex::new(Book::default())), CancellationToken::new());
        let own = format!("node.{node}");
        let reading = tokio::spawn({
            let (book, own) = (Arc::clone(&book), own.clone());
            async move {
                while let Some(event) = events.recv().await {
                    let Event::Entry { key, value, revision, .. } = event else { continue };
                    let count = String::from_utf8(value.unwrap().to_vec()).unwrap().parse().unwrap();
                    let mut book = book.lock();
                    assert!(revision > book.last, "{revision} after {}", book.last);
                    book.last = revision;
                    if key == own {
                        let now = Instant::now();
                        let gap = book.back.replace(now).map_or(Duration::ZERO, |before| now - before);
                        book.longest = book.longest.max(gap);
                        // What is unknown may come after what was put later. Nothing else does.
                        let before = book.told.get(&key).map_or(0, |(count, _)| *count);
                        assert!(count >= before || book.unknown.contains(&count), "{count} after {before}");
                    }
                    book.told.insert(key, (count, revision));
                }
            }
        });
        let writing = tokio::spawn({
            let (bus, book, stop) = (bus.clone(), Arc::clone(&book), stop.clone());
            async move {
                let mut count = 0_u64;
                while !stop.is_cancelled() {
                    count += 1;
                    let put = bus.put(&own, count.to_string().into(), Expect::Anything).await;
                    {
                        let mut book = book.lock();
                        match put {
                            Ok(revision) => {
                                book.put.push((count, revision));
                                let now = Instant::now();
                                let gap =
                                    book.answered.replace(now).map_or(Duration::ZERO, |before| now - before);
                                book.longest_put = book.longest_put.max(gap);
                            }
                            Err(PutError::Unknown) => {
                                book.unknown.insert(count);
                            }
                            Err(PutError::Unavailable { .. }) => book.failed += 1,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    tokio::time::sleep(BEAT).await;
                }
            }
        });
        Self { bus, book, tasks: vec![writing, reading], stop }
    }

    /// Waits for more that was put and came back.
    async fn goes_on(&self) {
        let (puts, last) = {
            let book = self.book.lock();
            (book.put.len(), book.last)
        };
        until("a node to put, and to be told", || {
            let book = self.book.lock();
            (book.put.len() > puts + 2 && book.last > last + 2).then_some(())
        })
        .await;
    }
}

/// Stops them, and looks whether all were told the same in the end, and everything that was answered.
async fn agree(nodes: Vec<Busy>) {
    for node in &nodes {
        node.goes_on().await;
    }
    for node in &nodes {
        node.stop.cancel();
    }
    let mut newest = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        let book = Arc::clone(&node.book);
        let last = until("the last put", || book.lock().put.last().copied()).await;
        newest.insert(format!("node.{}", number + 1), last);
    }
    until("all to be told the same, and what was put last", || {
        let told: Vec<_> = nodes.iter().map(|node| node.book.lock().told.clone()).collect();
        let is_new = |(key, (_, revision)): (&String, &(u64, u64))| {
            told[0].get(key).is_some_and(|(_, told)| told >= revision)
        };
        (newest.iter().all(is_new) && told.iter().all(|other| *other == told[0])).then_some(())
    })
    .await;
    for (number, Busy { bus, book, tasks, .. }) in nodes.into_iter().enumerate() {
        let counters = bus.counters();
        bus.close().await;
        for task in tasks {
            task.await.unwrap();
        }
        let book = book.lock();
        assert!(
            book.put.is_sorted_by(|before, after| before.1 < after.1),
            "revisions of one node's puts grow"
        );
        eprintln!(
            "node {}: {} put, {} unknown, {} not possible, longest between puts {:?}, between its own back {:?}; {} connections, watch made anew {} times, {} fetched",
            number + 1,
            book.put.len(),
            book.unknown.len(),
            book.failed,
            book.longest_put,
            book.longest,
            counters.connections,
            counters.rewatches,
            counters.fetched,
        );
    }
}

async fn three_nodes(nats: &Nats) -> Vec<Busy> {
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(Busy::start(settings(nats), node).await);
    }
    for node in &nodes {
        node.goes_on().await;
    }
    nodes
}

async fn all_go_on(nodes: &[Busy]) {
    for node in nodes {
        node.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_when_servers_are_killed() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut nats = Nats::three();
    let nodes = three_nodes(&nats).await;
    for _ in 0..2 {
        let leader = nats.leader("KV_fanfare");
        nats.kill(leader);
        all_go_on(&nodes).await;
        nats.start(leader);
        all_go_on(&nodes).await;
    }
    let other = (nats.leader("KV_fanfare") + 1) % 3;
    nats.kill(other);
    all_go_on(&nodes).await;
    nats.start(other);
    agree(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_when_all_servers_are_killed() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut nats = Nats::three();
    let nodes = three_nodes(&nats).await;
    for number in 0..3 {
        nats.kill(number);
    }
    for node in &nodes {
        until("the end to be noticed", || (!node.bus.is_connected()).then_some(())).await;
    }
    for server in &mut nats.servers {
        server.start();
    }
    agree(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_nothing_for_a_while_is_done_without() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let nats = Nats::three();
    let nodes = three_nodes(&nats).await;
    let leader = nats.leader("KV_fanfare");
    nats.stop(leader);
    all_go_on(&nodes).await;
    nats.go_on(leader);
    agree(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_put_and_with_one_again() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut nats = Nats::three();
    let nodes = three_nodes(&nats).await;
    nats.kill(0);
    nats.kill(1);
    let before: Vec<u64> = nodes.iter().map(|node| node.book.lock().failures()).collect();
    for (node, before) in nodes.iter().zip(before) {
        until("puts to fail", || (node.book.lock().failures() > before + 1).then_some(())).await;
    }
    nats.start(1);
    all_go_on(&nodes).await;
    nats.start(0);
    agree(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_leave_a_server_that_asks_them_to() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let nats = Nats::three();
    let nodes = three_nodes(&nats).await;
    let mut one = Node::open(&nats, 9).await;
    let at = one.server.clone();
    let number = nats.servers.iter().position(|server| at.ends_with(&server.port.to_string())).unwrap();
    nats.lame_duck(number);
    one.disconnected().await;
    let (server, _) = one.connected().await;
    assert_ne!(server, at);
    all_go_on(&nodes).await;
    agree(nodes).await;
}

/// A node on this server that could be on another one.
async fn at(nats: &Nats, node: u32, wanted: usize, other: usize) -> Node {
    let mut settings = settings(nats);
    settings.servers = vec![nats.address(wanted), nats.address(other)];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let node = Node::with(settings.clone(), node).await;
        if node.server.ends_with(&format!(":{}", nats.servers[wanted].port)) {
            return node;
        }
        node.bus.close().await;
        assert!(Instant::now() < deadline, "it never chose the first server");
    }
}

/// What a server that goes on does with what it has differs: where it first writes to the connection that was left, it
/// finds it gone, and throws away what it has not read. So this is done until some of it was seen to arrive.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_server_still_has_is_not_told_when_it_goes_on() {
    const MOST: u64 = 10;
    let _turn = ONE_AT_A_TIME.lock().await;
    let nats = Nats::three();
    let mut receiver = at(&nats, 2, 2, 2).await;
    let bus = receiver.bus.clone();
    let some_came = || bus.counters().stale > 0;
    for round in 1..=MOST {
        // A node of its own for each: its first connection is to the server that is stopped.
        let (name, mut told) = (100 + u32::try_from(round).unwrap(), Vec::new());
        let mut sender = at(&nats, name, 0, 1).await;
        sender.bus.send(number(2), b"before").unwrap();
        told.push(receiver.message().await);
        nats.stop(0);
        // Taken by the connection, and by the system: they are in the buffers of a server that does nothing.
        for _ in 0..200 {
            sender.bus.send(number(2), b"old").unwrap();
        }
        sender.disconnected().await;
        sender.connected().await;
        sender.bus.send(number(2), b"new").unwrap();
        told.push(receiver.message().await);
        nats.go_on(0);
        until("the server to be done with what it has", || {
            (some_came() || !nats.servers[0].has_what_was_left()).then_some(())
        })
        .await;
        sender.bus.send(number(2), b"last").unwrap();
        told.push(receiver.message().await);
        assert_eq!(told, ["before", "new", "last"]);
        assert_eq!(bus.counters().received, 3 * round);
        if some_came() {
            return;
        }
        sender.bus.close().await;
    }
    panic!("in none of {MOST} rounds anything arrived that a server had kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_puts_at_once_all_are_told_the_same_winner() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let nats = Nats::three();
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(Node::open(&nats, node).await);
    }
    let (mut over_nothing, mut over_one) = (0, 0);
    let nodes_of = |nodes: &[Node]| -> Vec<Bus> {
        // Each twice: the nearer they are to each other, the better.
        nodes.iter().chain(nodes).map(|node| node.bus.clone()).collect()
    };
    for round in 0..100 {
        let key = format!("k.{round}");
        let mut over = Expect::Nothing;
        for twice in [&mut over_nothing, &mut over_one] {
            let puts = nodes_of(&nodes).into_iter().enumerate().map(|(number, bus)| {
                let key = key.clone();
                tokio::spawn(async move { bus.put(&key, number.to_string().into(), over).await })
            });
            let answers = futures_util::future::join_all(puts).await;
            let won: Vec<u64> = answers.into_iter().filter_map(|answer| answer.unwrap().ok()).collect();
            *twice += u32::from(won.len() > 1);
            over = Expect::Revision(*won.iter().max().expect("somebody wins"));
        }
    }
    // nats-server before 2.9.21 looks at what is expected, and then agrees with the others (nats-server#4320); later
    // ones may while their leader changes (nats-server#8469).
    eprintln!(
        "of 100 each: {over_nothing} over nothing and {over_one} over a revision were won by more than one"
    );
    let mut last = BTreeMap::new();
    let end = nodes[0].bus.put("end", Bytes::from_static(b"end"), Expect::Anything).await.unwrap();
    for (number, node) in nodes.iter_mut().enumerate() {
        let mut told = BTreeMap::new();
        loop {
            let (key, value, revision) = node.entry().await;
            told.insert(key, (value, revision));
            if revision == end {
                break;
            }
        }
        if number == 0 {
            last = told;
        } else {
            assert_eq!(told, last);
        }
    }
}
