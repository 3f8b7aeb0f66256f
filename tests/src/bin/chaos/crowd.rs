//! Whoever is on the nodes: senders, members, and a user who is banned again and again.
//!
//! In: nodes. Out: what each sees, with times. Invariant: everyone comes back as soon as a node lets it, and tries to
//! be in all groups at all times.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fanfare_client::{Client, ClientConfig, Event, Outgoing, Present, Reconnect, RequestError, Watch};
use fanfare_protocol::{Credential, RequestId, Target, Token, UserName};
use fanfare_server::{Extras, GrantClaim, Minter, Right};
use fanfare_tests::tokens::now;
use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::machines::{Machines, host};
use crate::record::{Outcome, Record};
use crate::{GROUPS, MACHINES};

/// Who is banned.
pub(crate) const BANNED: &str = "mallory";
/// So many members are on each node, beside one who is banned.
const MEMBERS: usize = 2;
/// How long between two messages of a sender to a group.
const PAUSE: Duration = Duration::from_millis(40);

pub(crate) fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

pub(crate) fn group_name(group: usize) -> String {
    format!("room-{group}")
}

/// What the sender on a node is called.
pub(crate) fn sender_name(node: usize) -> String {
    format!("sender-{node}")
}

fn group_number(name: &str) -> Option<usize> {
    name.strip_prefix("room-")?.parse().ok()
}

/// What a member saw.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Message { sender: usize, session: u32, group: usize, number: u64 },
    In { group: usize, at: Instant },
    Out { group: usize },
    Lost,
    Lagged(u64),
}

/// Somebody who listens.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) node: usize,
    pub(crate) is_banned: bool,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) groups: Mutex<BTreeSet<usize>>,
    /// In which it was when it was looked at last.
    pub(crate) stayed: Mutex<BTreeSet<usize>>,
    pub(crate) is_there: AtomicBool,
    /// Of each sender and group: the newest number.
    pub(crate) newest: Mutex<HashMap<(usize, usize), u64>>,
}

/// Somebody who sends, on the node of the same number.
pub(crate) struct Sender {
    pub(crate) client: Client,
    /// Who is in each group.
    watches: [Mutex<Option<Arc<Watch>>>; GROUPS],
    number: usize,
    session: AtomicU32,
    pub(crate) is_there: AtomicBool,
    asked: Mutex<HashMap<RequestId, (usize, u64)>>,
    refused: Mutex<Vec<RequestId>>,
}

/// All of them.
pub(crate) struct Crowd {
    pub(crate) senders: Vec<Arc<Sender>>,
    pub(crate) members: Vec<Arc<Member>>,
    gate: Arc<RwLock<()>>,
    closed: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
}

async fn connect(machines: &Machines, node: usize, name: &str) -> Client {
    let minter = Minter::read_secret(&machines.folder().join("secret")).unwrap();
    let may = vec![Right::Join, Right::Send, Right::Presence];
    let grant = GrantClaim { group: Some("*".to_owned()), user: None, all: None, may, exp: None };
    // To count everyone.
    let all = GrantClaim { group: None, user: None, all: Some(true), may: vec![Right::Send], exp: None };
    let token = minter.mint(name, now(), 86_400, &[grant, all], Extras::default()).unwrap();
    let again = Reconnect::default()
        .first_delay(Duration::from_millis(200))
        .max_delay(Duration::from_secs(1))
        .stable_after(Duration::from_secs(1));
    let config =
        ClientConfig::new(format!("{}:4433", host(node)), Credential::Token(Token::new(token.as_str())))
            .roots(machines.roots(node))
            .event_queue(1 << 16)
            .connect_timeout(Duration::from_secs(3))
            .websocket(fanfare_client::WebSocket::Off)
            .reconnect(again);
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        match Client::connect(config.clone()).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{name} cannot connect to node {node}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Crowd {
    pub(crate) async fn come(machines: &Machines, record: &Arc<Record>) -> Self {
        let gate = Arc::new(RwLock::new(()));
        let closed = Arc::clone(&gate).write_owned().await;
        let (mut senders, mut members) = (Vec::new(), Vec::new());
        for node in 0..MACHINES {
            let client = connect(machines, node, &sender_name(node)).await;
            let sender = Arc::new(Sender {
                client,
                watches: Default::default(),
                number: node,
                session: AtomicU32::new(0),
                is_there: AtomicBool::new(true),
                asked: Mutex::default(),
                refused: Mutex::default(),
            });
            tokio::spawn(hear(Arc::clone(&sender), Arc::clone(record)));
            for group in 0..GROUPS {
                tokio::spawn(send(Arc::clone(&sender), group, Arc::clone(&gate), Arc::clone(record)));
                tokio::spawn(watch(Arc::clone(&sender), group));
            }
            senders.push(sender);
            for place in 0..=MEMBERS {
                let is_banned = place == MEMBERS;
                let own = if is_banned { BANNED.to_owned() } else { format!("member-{node}-{place}") };
                let client = connect(machines, node, &own).await;
                let member = Arc::new(Member {
                    name: format!("{own} on node {node}"),
                    user: own,
                    node,
                    is_banned,
                    seen: Mutex::default(),
                    groups: Mutex::default(),
                    stayed: Mutex::default(),
                    is_there: AtomicBool::new(true),
                    newest: Mutex::default(),
                });
                let client = Arc::new(client);
                tokio::spawn(join(Arc::clone(&member), Arc::clone(&client)));
                tokio::spawn(listen(Arc::clone(&member), client, Arc::clone(record)));
                members.push(member);
            }
        }
        Self { senders, members, gate, closed: Mutex::new(Some(closed)) }
    }

    /// Nobody sends any more, and all answers have come.
    pub(crate) async fn pause(&self) {
        if self.closed.lock().is_none() {
            let guard = Arc::clone(&self.gate).write_owned().await;
            *self.closed.lock() = Some(guard);
        }
    }

    pub(crate) fn go_on(&self) {
        self.closed.lock().take();
    }
}

impl Sender {
    fn session(&self) -> u32 {
        self.session.load(Ordering::SeqCst)
    }

    /// Sends something, and waits for the answer. Gives its number, and how many copies were queued.
    pub(crate) async fn send_acked(&self, group: usize, record: &Record) -> (u64, Result<u64, RequestError>) {
        let session = self.session();
        let number = record.begin(self.number, group, session);
        let sent = self.client.send_acked(self.outgoing(session, number, group)).await;
        match &sent {
            Ok(_) => record.settle(self.number, group, number, Outcome::Acked),
            Err(RequestError::Refused { .. }) => {
                record.settle(self.number, group, number, Outcome::Refused);
            }
            Err(_) => record.settle(self.number, group, number, Outcome::Unknown),
        }
        (number, sent)
    }

    fn outgoing(&self, session: u32, number: u64, group: usize) -> Outgoing {
        Outgoing::new("E", format!("{} {session} {number}", self.number)).to_group(group_name(group))
    }

    /// Who is in a group, as it is told; nobody where it does not know.
    pub(crate) fn present(&self, group: usize) -> Vec<Present> {
        let watch = self.watches[group].lock().clone();
        watch.map(|watch| watch.present()).unwrap_or_default()
    }

    /// What was refused, written down.
    pub(crate) fn settle(&self, record: &Record) {
        let asked = std::mem::take(&mut *self.asked.lock());
        for request in self.refused.lock().drain(..) {
            if let Some((group, number)) = asked.get(&request) {
                record.settle(self.number, *group, *number, Outcome::Refused);
            }
        }
    }
}

async fn send(sender: Arc<Sender>, group: usize, gate: Arc<RwLock<()>>, record: Arc<Record>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let _open = gate.read().await;
        if !sender.is_there.load(Ordering::SeqCst) {
            continue;
        }
        if group == 0 {
            let _ = sender.send_acked(group, &record).await;
            continue;
        }
        let session = sender.session();
        let number = record.begin(sender.number, group, session);
        match sender.client.send(sender.outgoing(session, number, group)).await {
            Ok(request) => {
                sender.asked.lock().insert(request, (group, number));
            }
            Err(_) => record.settle(sender.number, group, number, Outcome::Unknown),
        }
        // It may have been lost while this was sent.
        if sender.session() != session {
            record.settle(sender.number, group, number, Outcome::Unknown);
        }
    }
}

/// Watches a group at all times: a node that has just lost touch refuses that, which ends a watch.
async fn watch(sender: Arc<Sender>, group: usize) {
    loop {
        if let Ok(watch) = sender.client.watch(group_name(group)).await {
            let watch = Arc::new(watch);
            *sender.watches[group].lock() = Some(Arc::clone(&watch));
            while watch.next().await.is_some() {}
            *sender.watches[group].lock() = None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn hear(sender: Arc<Sender>, record: Arc<Record>) {
    while let Some(event) = sender.client.next().await {
        match event {
            Event::Refused { request, .. } => sender.refused.lock().push(request),
            Event::Disconnected { .. } => {
                sender.is_there.store(false, Ordering::SeqCst);
                let session = sender.session.fetch_add(1, Ordering::SeqCst);
                record.lost(sender.number, session);
            }
            Event::Reconnected { .. } => sender.is_there.store(true, Ordering::SeqCst),
            Event::Closed { reason, .. } => {
                record.fault(format!("sender {} is closed for good: {reason}", sender.number));
            }
            _ => {}
        }
    }
}

async fn join(member: Arc<Member>, client: Arc<Client>) {
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        if !member.is_there.load(Ordering::SeqCst) {
            continue;
        }
        for group in 0..GROUPS {
            let is_in = member.groups.lock().contains(&group);
            if !is_in {
                // Where it is refused, it is tried again.
                let _ = client.join(group_name(group)).await;
            }
        }
    }
}

async fn listen(member: Arc<Member>, client: Arc<Client>, record: Arc<Record>) {
    let came = |group: usize, at: Instant| {
        member.groups.lock().insert(group);
        member.seen.lock().push(Seen::In { group, at });
        if member.is_banned {
            record.reached(&member.name, group, None, at);
        }
    };
    while let Some(event) = client.next().await {
        let at = Instant::now();
        match event {
            Event::Message(message) => {
                let text = message.text().unwrap_or_default();
                let mut numbers = text.split(' ').map(|number| number.parse::<u64>().unwrap());
                let (Some(sender), Some(session), Some(number)) =
                    (numbers.next(), numbers.next(), numbers.next())
                else {
                    panic!("{text:?}")
                };
                let Target::Group(name) = &message.to else { panic!("{:?}", message.to) };
                let group = group_number(name.as_str()).unwrap();
                let (sender, session) = (usize::try_from(sender).unwrap(), u32::try_from(session).unwrap());
                if member.is_banned {
                    record.reached(&member.name, group, Some((sender, number)), at);
                }
                member.seen.lock().push(Seen::Message { sender, session, group, number });
                member.newest.lock().insert((sender, group), number);
            }
            Event::Joined { group, .. } => {
                if let Some(group) = group_number(group.as_str()) {
                    came(group, at);
                }
            }
            Event::Removed { group, .. } => {
                if let Some(group) = group_number(group.as_str()) {
                    member.groups.lock().remove(&group);
                    member.seen.lock().push(Seen::Out { group });
                }
            }
            Event::Lagged { dropped } => member.seen.lock().push(Seen::Lagged(dropped)),
            Event::Disconnected { .. } => {
                member.is_there.store(false, Ordering::SeqCst);
                member.groups.lock().clear();
                member.seen.lock().push(Seen::Lost);
            }
            Event::Reconnected { rejoined, .. } => {
                for group in rejoined {
                    group_number(group.as_str()).into_iter().for_each(|group| came(group, at));
                }
                member.is_there.store(true, Ordering::SeqCst);
            }
            Event::Closed { reason, .. } => {
                record.fault(format!("{} is closed for good: {reason}", member.name));
            }
            _ => {}
        }
    }
}
