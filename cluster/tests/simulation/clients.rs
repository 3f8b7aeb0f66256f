//! Clients and what they do: they come, join, leave, send, and go. What they take is the business of `taking.rs`.
//!
//! In: their turns. Out: acts on a hub. Invariant: one whose connection was ended does nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_hub::{Line, Newcomer, Origin, Publication, Seat, Unreliable};
use fanfare_protocol::admin::QuicFacts;
use fanfare_protocol::{
    ConnectionId, Denial, EventName, Features, Limits, PROTOCOL_VERSION, Payload, PayloadFormat, Sender,
    ServerFrame, Target, UserName, Welcome,
};

use super::calls::Call;
use super::door::{AGAIN, Token};
use super::event::Event;
use super::time::{MS, Micros, SECOND};
use super::world::{World, group_number};

/// One membership, as its client sees it.
pub(crate) struct Membership {
    pub(crate) group: usize,
    /// In which step `Joined` was taken.
    pub(crate) joined: Option<u64>,
    /// In which step it ended: the client left, or took `Removed`.
    pub(crate) ended: Option<u64>,
    pub(crate) is_removed: bool,
}

pub(crate) struct Client {
    pub(crate) at: usize,
    pub(crate) id: ConnectionId,
    pub(crate) user: usize,
    /// What it was let in by.
    pub(crate) token: Token,
    pub(crate) seat: Option<Seat<Token>>,
    /// It was put into the groups that its user is in whenever it is here.
    pub(crate) is_seated: bool,
    pub(crate) waker: Waker,
    pub(crate) is_reading: bool,
    /// How long it takes for a batch.
    pub(crate) pace: Micros,
    pub(crate) welcomed: Option<u64>,
    pub(crate) ended: Option<u64>,
    pub(crate) memberships: Vec<Membership>,
    /// Messages that it took, each with the step.
    pub(crate) received: HashMap<u64, u64>,
    /// The newest of each sender.
    pub(crate) newest: HashMap<Option<ConnectionId>, HashMap<usize, u64>>,
    /// When it was told that something is missing, and how much.
    pub(crate) lagged: Vec<(u64, u64)>,
    /// Who is there in the groups that it watches, as it was told, and whether that was all.
    pub(crate) views: BTreeMap<usize, View>,
    /// The groups that it is in by its own wish, and those that it has to join by itself again.
    pub(crate) own: BTreeSet<usize>,
    pub(crate) left: BTreeSet<usize>,
    /// What it asked the application for.
    pub(crate) calls: Vec<Call>,
}

/// A watched group, as its watcher was told.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) users: BTreeMap<UserName, (u32, Option<Payload>)>,
    pub(crate) is_complete: bool,
}

/// Tells the world that a writer should look.
struct Woken {
    client: usize,
    all: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.all.lock().unwrap().push(self.client);
    }
}

/// A line that takes datagrams.
#[derive(Default)]
pub(crate) struct Air {
    client: usize,
    airborne: Arc<Mutex<Vec<(usize, Bytes)>>>,
}

impl Line for Air {
    fn transport(&self) -> &'static str {
        "air"
    }
    fn address(&self) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 0))
    }
    fn rtt(&self) -> Duration {
        Duration::ZERO
    }
    fn quic(&self) -> QuicFacts {
        QuicFacts::default()
    }
    fn packets(&self) -> u64 {
        0
    }
    fn tend(&self) -> u64 {
        0
    }
    fn send_datagram(&self, frame: Bytes) -> Unreliable {
        self.airborne.lock().unwrap().push((self.client, frame));
        Unreliable::Sent
    }
}

/// A message that was sent.
pub(crate) struct Sent {
    pub(crate) step: u64,
    pub(crate) origin: usize,
    pub(crate) sender: Option<usize>,
    pub(crate) to: Vec<Target>,
    pub(crate) except: Vec<ConnectionId>,
    /// Whether its node had the lease.
    pub(crate) has_lease: bool,
    pub(crate) is_unreliable: bool,
}

impl World {
    /// Somebody connects to a node.
    pub(crate) fn arrive(&mut self, at: usize) {
        let user = self.rng.usize(0..self.users.len());
        let number = self.clients.len();
        let mut own = [0; 12];
        own[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let id = ConnectionId::on_node(self.nodes[at].id.bytes(), own);
        // Somebody may show what it was given long ago.
        let age = if self.rng.bool() { 0 } else { self.rng.u64(0..10 * SECOND) };
        let token = Token { issued: self.now.saturating_sub(age) };
        let line = Air { client: number, airborne: Arc::clone(&self.airborne) };
        let seat = match self.register(at, id, user, token, line) {
            Ok(seat) => seat,
            Err(denial) => {
                self.counts.kept_out += u64::from(denial.code != AGAIN);
                return self.settle(at);
            }
        };
        let pace =
            if self.rng.u8(..5) == 0 { self.rng.u64(50 * MS..2 * SECOND) } else { self.rng.u64(100..5 * MS) };
        self.clients.push(Client {
            at,
            id,
            user,
            token,
            seat: Some(seat),
            is_seated: false,
            waker: Waker::from(Arc::new(Woken { client: number, all: Arc::clone(&self.woken) })),
            is_reading: false,
            pace,
            welcomed: None,
            ended: None,
            memberships: Vec::new(),
            received: HashMap::new(),
            newest: HashMap::new(),
            lagged: Vec::new(),
            views: BTreeMap::new(),
            own: BTreeSet::new(),
            left: BTreeSet::new(),
            calls: Vec::new(),
        });
        self.trace(|| format!("{at}: client {number} of user {user} comes with {token:?}"));
        self.woken.lock().unwrap().push(number);
        self.check_client(number);
        self.settle(at);
        let after = self.rng.u64(0..5 * MS);
        self.later(after, Event::Seated(number));
        let after = self.rng.u64(MS..200 * MS);
        self.later(after, Event::Act(number));
    }

    /// Has a hub let somebody in, if it does.
    pub(crate) fn register(
        &self,
        at: usize,
        connection: ConnectionId,
        user: usize,
        permissions: Token,
        line: Air,
    ) -> Result<Seat<Token>, Denial> {
        let newcomer = Newcomer {
            connection,
            user: self.users[user].clone(),
            source: [127, 0, 0, 1].into(),
            line: Arc::new(line),
            permissions,
            dialect: None,
        };
        let welcome = ServerFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            features: Features::default(),
            connection,
            node_bytes: 4,
            session: [0; 16],
            position: 0,
            user: self.users[user].clone(),
            limits: Limits::default(),
            server: String::new(),
        });
        let now = (self.nodes[at].local(), SystemTime::UNIX_EPOCH);
        self.nodes[at].hub.register(newcomer, &welcome, now)
    }

    /// A client's turn.
    pub(crate) fn act(&mut self, client: usize) {
        let Some(seat) = &self.clients[client].seat else { return };
        if seat.member().outbox().has_ended() {
            // Its session was told, and takes nothing more from it.
            return self.end_client(client);
        }
        if self.is_resting {
            return;
        }
        let after = self.rng.u64(10 * MS..self.idleness);
        self.later(after, Event::Act(client));
        match self.rng.u8(..100) {
            0..25 => self.join(client),
            25..33 => self.leave(client),
            33..37 => self.watch(client),
            37..39 => self.unwatch(client),
            39..42 => self.say(client),
            42..48 => self.call(client),
            48..51 => self.refresh(client),
            51..97 => self.client_sends(client),
            _ => {
                self.trace(|| format!("client {client} goes"));
                self.end_client(client);
            }
        }
    }

    fn join(&mut self, client: usize) {
        let at = self.clients[client].at;
        let Some(seat) = &self.clients[client].seat else { return };
        let member = Arc::clone(seat.member());
        let group = self.rng.usize(0..self.groups.len());
        let joined = self.nodes[at].hub.join(&member, &self.groups[group], Origin::Client);
        if joined.is_ok() {
            self.clients[client].own.insert(group);
            self.clients[client].left.remove(&group);
        }
        if joined.is_ok_and(|joined| joined.is_new) {
            self.trace(|| format!("client {client} joins group {group}"));
            self.check_client(client);
            let membership = Membership { group, joined: None, ended: None, is_removed: false };
            self.clients[client].memberships.push(membership);
        }
        self.settle(at);
    }

    fn leave(&mut self, client: usize) {
        let at = self.clients[client].at;
        let Some(seat) = &self.clients[client].seat else { return };
        let member = Arc::clone(seat.member());
        let Some((name, _)) = member.memberships().into_iter().min_by_key(|(name, _)| group_number(name))
        else {
            return;
        };
        let step = self.step;
        if self.nodes[at].hub.leave(&member, &name).is_some() {
            let group = group_number(&name);
            self.trace(|| format!("client {client} leaves group {group}"));
            let mut of_group = self.clients[client].memberships.iter_mut().filter(|of| of.group == group);
            of_group.next_back().unwrap().ended = Some(step);
            self.clients[client].own.remove(&group);
            self.clients[client].left.insert(group);
        }
        self.settle(at);
    }

    fn watch(&mut self, client: usize) {
        let at = self.clients[client].at;
        let Some(seat) = &self.clients[client].seat else { return };
        let member = Arc::clone(seat.member());
        let group = self.rng.usize(0..self.groups.len());
        // Where the server has ended one meanwhile, its word for that is on its way, and would be taken for the next.
        if self.clients[client].views.contains_key(&group) {
            return;
        }
        if self.nodes[at].hub.watch(&member, &self.groups[group]).is_ok() {
            self.trace(|| format!("client {client} watches group {group}"));
            self.clients[client].views.insert(group, View::default());
        }
        self.settle(at);
    }

    fn unwatch(&mut self, client: usize) {
        let at = self.clients[client].at;
        let Some(group) = self.clients[client].views.keys().next().copied() else { return };
        let Some(seat) = &self.clients[client].seat else { return };
        // Where the server has ended it meanwhile, its word for that is on its way.
        if self.nodes[at].hub.unwatch(seat.member(), &self.groups[group]) {
            self.clients[client].views.remove(&group);
        }
        self.settle(at);
    }

    /// The application says something of it.
    fn say(&mut self, client: usize) {
        let at = self.clients[client].at;
        let Some(seat) = &self.clients[client].seat else { return };
        let data = (self.rng.u8(..5) > 0).then(|| Payload::from(vec![self.rng.u8(..)]));
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(self.now);
        self.nodes[at].hub.describe(seat.member(), data, now).unwrap();
        self.settle(at);
    }

    /// It shows another token.
    fn refresh(&mut self, client: usize) {
        let at = self.clients[client].at;
        let Some(seat) = &self.clients[client].seat else { return };
        let token = Token { issued: self.now.saturating_sub(self.rng.u64(0..10 * SECOND)) };
        // One that is refused goes on with what it has.
        if self.nodes[at].hub.permit(seat.member(), token).is_ok() {
            self.trace(|| format!("client {client} has {token:?} from now on"));
            self.clients[client].token = token;
            self.check_client(client);
        }
        self.settle(at);
    }

    /// Its connection ends.
    pub(crate) fn end_client(&mut self, client: usize) {
        let (at, step) = (self.clients[client].at, self.step);
        if let Some(seat) = self.clients[client].seat.take() {
            self.clients[client].ended = Some(step);
            drop(seat);
            self.settle(at);
        }
    }

    fn client_sends(&mut self, client: usize) {
        let Client { at, id, user, .. } = self.clients[client];
        let from = Sender::Connection { connection: id, user: self.users[user].clone() };
        let targets = if self.rng.u8(..10) == 0 { 3 } else { 1 };
        let to: Vec<Target> = (0..targets).map(|_| self.some_target()).collect();
        let except = if self.rng.u8(..5) == 0 { vec![self.some_connection()] } else { Vec::new() };
        let messages = if to.len() == 1 && self.rng.u8(..8) == 0 { self.rng.usize(2..5) } else { 1 };
        let is_unreliable = messages == 1 && self.rng.u8(..20) == 0;
        let counts = self.rng.bool();
        if !fanfare_hub::Cluster::delivers(&*self.nodes[at].joint) {
            // What cannot reach everybody now is refused, and not kept until it is old.
            let (event, format, payload) =
                (EventName::new("E").unwrap(), PayloadFormat::Binary, Bytes::new());
            let accepted = self.nodes[at].local();
            let publication = Publication { from, to, except, event, format, payload, accepted, counts };
            let refused = self.nodes[at].hub.send(publication).map(|_| ()).unwrap_err();
            assert_eq!(refused.code, fanfare_protocol::Code::CutOff);
            return;
        }
        self.check_client(client);
        self.send(at, Some(client), from, to, except, messages, is_unreliable, counts);
    }

    fn some_connection(&mut self) -> ConnectionId {
        let some = self.rng.usize(0..self.clients.len());
        self.clients[some].id
    }

    fn some_target(&mut self) -> Target {
        match self.rng.u8(..20) {
            0 => Target::All,
            1..3 => Target::Connection(self.some_connection()),
            3..6 => Target::User(self.users[self.rng.usize(0..self.users.len())].clone()),
            _ => Target::Group(self.groups[self.rng.usize(0..self.groups.len())].clone()),
        }
    }

    /// Somebody sends at a node. Gives the first message's number, how many copies were queued there, and what the rest
    /// is asked by.
    #[expect(clippy::too_many_arguments, reason = "each is one property of what is sent")]
    pub(crate) fn send(
        &mut self,
        at: usize,
        sender: Option<usize>,
        from: Sender,
        to: Vec<Target>,
        except: Vec<ConnectionId>,
        messages: usize,
        is_unreliable: bool,
        counts: bool,
    ) -> (u64, u64, Option<fanfare_hub::Ticket>) {
        let joint = Arc::clone(&self.nodes[at].joint);
        let has_lease = joint.has_lease();
        let is_unreliable = is_unreliable && fanfare_hub::Cluster::delivers(&*joint);
        let first = self.sent.len() as u64;
        let step = self.step;
        for _ in 0..messages {
            let (to, except) = (to.clone(), except.clone());
            self.sent.push(Sent { step, origin: at, sender, to, except, has_lease, is_unreliable });
        }
        self.trace(|| {
            format!("{at}: {sender:?} sends {messages} from number {first} to {to:?} but not {except:?}")
        });
        let hub = Arc::clone(&self.nodes[at].hub);
        let now = self.nodes[at].local();
        let message = |number: u64| {
            let payload = Bytes::copy_from_slice(&number.to_le_bytes());
            (EventName::new("E").unwrap(), PayloadFormat::Binary, payload)
        };
        let delivery = if messages > 1 {
            let run = (0..messages as u64).map(|more| message(first + more)).collect();
            hub.send_run(&from, to[0].clone(), &except, run, now)
        } else {
            let (event, format, payload) = message(first);
            let publication = Publication { from, to, except, event, format, payload, accepted: now, counts };
            if is_unreliable { hub.send_unreliable(publication) } else { hub.send(publication) }
        };
        let delivery = match delivery {
            // Somebody elsewhere may want it, and nothing can be sent: then nobody gets it.
            Err(denial) if self.net.down.holds(&at) => {
                assert_eq!(denial.code, fanfare_protocol::Code::CutOff);
                self.sent.truncate(usize::try_from(first).unwrap());
                return (first, 0, None);
            }
            delivery => delivery.unwrap(),
        };
        if let Some(ticket) = delivery.elsewhere {
            let now = self.now;
            self.nodes[at].tickets.insert(ticket, now);
        }
        self.settle(at);
        (first, delivery.queued, delivery.elsewhere)
    }
}
