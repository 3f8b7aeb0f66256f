//! A crowd of 2,000 connections that join, leave, send and drop at random, each so many times, against a model.
//!
//! Every peer knows for certain only what the server has acknowledged to it, so the model keeps intervals on one
//! logical clock: a membership is *certain* from the join's answer to the leave's request, and *possible* from the
//! join's request to the leave's answer. A message is somewhere between its request and its answer. A message that lies
//! within a certain membership must have arrived, once; one that lies outside every possible one must not have. From
//! one sender, messages arrive in the order sent. At the end the registry is empty.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{ClientFrame, EventName, PayloadFormat, Send, ServerFrame, Target};
use fanfare_server::Population;
use fanfare_tests::peer::{Dialer, Ended, PATIENCE, Peer, WINDOW};
use fanfare_tests::{Hub, group, within};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;

const PEERS: usize = 2_000;
const GROUPS: usize = 400;
/// How often each peer acts, its ends and new beginnings included: a count and not a time, so that what is checked does
/// not depend on how fast the machine is.
const ACTS: usize = 25;
/// How long a peer rests between two actions, at the most.
const REST: Duration = Duration::from_millis(1_500);
/// How long all of it may take. Some 20 s on two idle cores.
const LONGEST: Duration = Duration::from_secs(600);

/// How many handshakes go on at a time: few enough that each is done in time on a machine that is busy with something
/// else.
static DOOR: Semaphore = Semaphore::const_new(32);

/// The one clock that all peers share: every request and every answer is a tick.
static CLOCK: AtomicU64 = AtomicU64::new(0);

fn tick() -> u64 {
    CLOCK.fetch_add(1, Ordering::SeqCst)
}

/// A membership on the logical clock.
#[derive(Debug, Clone, Copy)]
struct Membership {
    group: usize,
    join_sent: u64,
    joined: u64,
    leave_sent: u64,
    left: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    group: usize,
    sender: u64,
    number: u64,
    sent: u64,
    answered: u64,
}

/// What one connection did and got.
#[derive(Default)]
struct Record {
    sender: u64,
    memberships: Vec<Membership>,
    sent: Vec<Sent>,
    /// (sender, number) in the order of arrival.
    received: Vec<(u64, u64)>,
    /// Whether it read to the end of its stream. One that was cut off can only say what it got, not what it missed.
    read_to_the_end: bool,
}

/// One connection, from its welcome to its end.
struct Life {
    peer: Peer,
    record: Record,
    member_of: HashMap<usize, Membership>,
    request: u64,
}

impl Life {
    async fn begin(dialer: &Dialer, hub: &Hub, sender: u64, name: &str) -> Self {
        let turn = DOOR.acquire().await.unwrap();
        let (peer, _) = dialer.welcomed(hub.address(), name).await;
        drop(turn);
        let record = Record { sender, ..Record::default() };
        Self { peer, record, member_of: HashMap::new(), request: 0 }
    }

    /// Reads until the answer to the last request, and notes what else arrives.
    async fn answer(&mut self) -> u64 {
        loop {
            match self.peer.frame().await.unwrap() {
                ServerFrame::Ack { request, count } => {
                    assert_eq!(request, self.request);
                    return count;
                }
                frame => self.note(frame),
            }
        }
    }

    fn note(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Message(message) => {
                let sender = u64::from_be_bytes(message.payload[..8].try_into().unwrap());
                let number = u64::from_be_bytes(message.payload[8..16].try_into().unwrap());
                self.record.received.push((sender, number));
            }
            ServerFrame::Joined { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    async fn act(&mut self, random: &mut StdRng) {
        self.request += 1;
        let request = self.request;
        let place = random.random_range(0..GROUPS);
        let name = group(&format!("group {place}"));
        match random.random_range(0..10) {
            0..=2 if !self.member_of.contains_key(&place) => {
                let join_sent = tick();
                self.peer.send(&ClientFrame::Join { request, group: name }).await;
                self.answer().await;
                let end = u64::MAX;
                let joined =
                    Membership { group: place, join_sent, joined: tick(), leave_sent: end, left: end };
                self.member_of.insert(place, joined);
            }
            3 => {
                let Some(place) = self.member_of.keys().next().copied() else { return };
                let mut ended = self.member_of.remove(&place).unwrap();
                ended.leave_sent = tick();
                let name = group(&format!("group {place}"));
                self.peer.send(&ClientFrame::Leave { request, group: name }).await;
                self.answer().await;
                ended.left = tick();
                self.record.memberships.push(ended);
            }
            _ => {
                // To a group of its own if it has one, so that there is something to receive.
                let place = self.member_of.keys().next().copied().unwrap_or(place);
                let number = self.record.sent.len() as u64;
                let payload = [self.record.sender.to_be_bytes(), number.to_be_bytes()].concat();
                let send = Send {
                    request,
                    ack: true,
                    to: vec![Target::Group(group(&format!("group {place}")))],
                    except: vec![],
                    others: false,
                    event: EventName::new("E").unwrap(),
                    format: PayloadFormat::Binary,
                    payload: Bytes::from(payload),
                };
                let sent = tick();
                self.peer.send(&ClientFrame::Send(send)).await;
                self.answer().await;
                let sender = self.record.sender;
                self.record.sent.push(Sent { group: place, sender, number, sent, answered: tick() });
            }
        }
    }

    /// Politely, reading what was queued; or by vanishing.
    async fn end(mut self, politely: bool) -> Record {
        let gone = tick();
        if politely {
            self.peer.sending.0.finish().unwrap();
            loop {
                match self.peer.frame().await {
                    Ok(frame) => self.note(frame),
                    Err(Ended::Finished) => break,
                    Err(other) => panic!("{other:?}"),
                }
            }
            self.record.read_to_the_end = true;
        } else {
            self.peer.connection.close(quinn::VarInt::from_u32(0), b"");
        }
        // When exactly the server noticed is its own affair: certain until now, possible for ever.
        for (_, mut membership) in self.member_of {
            membership.leave_sent = gone;
            self.record.memberships.push(membership);
        }
        self.record
    }
}

async fn live(hub: Arc<Hub>, dialer: Dialer, number: u64) -> Vec<Record> {
    let mut random = StdRng::seed_from_u64(number);
    let mut records = Vec::new();
    let name = format!("user {}", number / 3);
    let mut life = Life::begin(&dialer, &hub, number << 16, &name).await;
    for _ in 0..ACTS {
        // Rests as a person does; while it rests, it reads.
        let rest = tokio::time::sleep(REST.mul_f64(random.random()));
        tokio::pin!(rest);
        loop {
            tokio::select! {
                () = &mut rest => break,
                frame = life.peer.frame() => life.note(frame.unwrap()),
            }
        }
        if random.random_range(0..20) == 0 {
            let politely = random.random();
            records.push(life.end(politely).await);
            life = Life::begin(&dialer, &hub, (number << 16) + records.len() as u64, &name).await;
        } else {
            life.act(&mut random).await;
        }
    }
    records.push(life.end(true).await);
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_4_a_crowd_of_2000_loses_nothing_repeats_nothing_and_leaves_nothing() {
    let hub = Arc::new(Hub::with(|config| config.idle_timeout = PATIENCE).await);
    let dialers: Vec<Dialer> = (0..8).map(|_| Dialer::patient(&hub.roots, WINDOW)).collect();
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..PEERS {
        let (hub, dialer) = (Arc::clone(&hub), dialers[number % dialers.len()].clone());
        crowd.spawn(live(hub, dialer, number as u64));
    }
    let lives = tokio::time::timeout(LONGEST, crowd.join_all()).await.unwrap();
    let records: Vec<Record> = lives.into_iter().flatten().collect();
    check(&records);
    // Where a close was lost, only when it has been silent for long enough.
    tokio::time::timeout(LONGEST, async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while hub.server.population() != Population::default() {
            looks.tick().await;
        }
    })
    .await
    .expect("somebody is left");
    let metrics = hub.server.metrics();
    assert!(metrics.refused.is_empty(), "{:?}", metrics.refused);
    println!("{} connections, {} sends, {} deliveries", metrics.welcomed, metrics.sends, metrics.deliveries);
    let hub = Arc::into_inner(hub).unwrap();
    within(hub.stop()).await;
}

fn check(records: &[Record]) {
    let mut by_group: Vec<Vec<Sent>> = vec![Vec::new(); GROUPS];
    let mut all: HashMap<(u64, u64), Sent> = HashMap::new();
    for sent in records.iter().flat_map(|record| &record.sent) {
        by_group[sent.group].push(*sent);
        all.insert((sent.sender, sent.number), *sent);
    }
    let (mut due, mut optional) = (0u64, 0u64);
    for record in records {
        let mut received: HashMap<(u64, u64), u32> = HashMap::new();
        let mut last: HashMap<u64, u64> = HashMap::new();
        for (sender, number) in &record.received {
            *received.entry((*sender, *number)).or_default() += 1;
            let before = last.insert(*sender, *number);
            assert!(before.is_none_or(|before| before < *number), "from {sender}: {number} after {before:?}");
        }
        assert!(received.values().all(|copies| *copies == 1));
        // What must have come.
        if record.read_to_the_end {
            for membership in &record.memberships {
                for sent in &by_group[membership.group] {
                    if membership.joined < sent.sent && sent.answered < membership.leave_sent {
                        due += 1;
                        let key = (sent.sender, sent.number);
                        assert!(received.contains_key(&key), "lost: {sent:?} within {membership:?}");
                    }
                }
            }
        }
        // What may have come. A message that a peer sent last and had no answer to is not in `all`: there are none,
        // because a peer ends between two actions.
        for key in received.keys() {
            let sent = all.get(key).expect("received what nobody sent");
            let possible = record.memberships.iter().any(|membership| {
                membership.group == sent.group
                    && membership.join_sent < sent.answered
                    && sent.sent < membership.left
            });
            assert!(possible, "reached a connection that was not in the group: {sent:?}");
            optional += 1;
        }
    }
    println!("{due} were due and arrived; {optional} arrived in all");
    assert!(due > 50_000, "only {due} deliveries were checked: the test has become too tame");
}
