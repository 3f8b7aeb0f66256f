//! Promise 14: whichever way a client came in, it is one hub. Native clients, WebSockets, clients of SignalR and
//! operators act on the same groups at random, and what each of them hears is what a plain model says.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use fanfare_client::{Client, Event, Outgoing};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{
    ClientFrame, Code, EventName, Pattern, Payload, PayloadFormat, RequestId, Send, ServerFrame, Target,
};
use fanfare_tests::signalr::SignalR;
use fanfare_tests::socket::Socket;
use fanfare_tests::{Hub, group, next, user, within};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

const USERS: usize = 3;
const GROUPS: usize = 3;
/// One of each kind for each user.
const CLIENTS: usize = 3 * USERS;

/// What a client hears, and others may depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Message(String),
    Removed(String, u64),
}

/// A client of one of the kinds.
enum Peer {
    Native(Box<Client>),
    Socket { socket: Box<Socket>, request: RequestId, inbox: VecDeque<Heard> },
    SignalR(Box<SignalR>),
}

impl Peer {
    async fn join(&mut self, name: &str) -> Result<u64, ()> {
        match self {
            Self::Native(client) => within(client.join(name)).await.map_err(drop),
            Self::Socket { .. } => {
                let group = group(name);
                self.ask(|request| ClientFrame::Join { request, group }).await
            }
            Self::SignalR(_) => self.call("JoinGroup", json!([name])).await,
        }
    }

    async fn leave(&mut self, name: &str) -> Result<u64, ()> {
        match self {
            Self::Native(client) => within(client.leave(name)).await.map_err(drop),
            Self::Socket { .. } => {
                let group = group(name);
                self.ask(|request| ClientFrame::Leave { request, group }).await
            }
            Self::SignalR(_) => self.call("LeaveGroup", json!([name])).await,
        }
    }

    async fn send(&mut self, to: Target, text: &str) -> Result<u64, ()> {
        let payload = Payload::json(json!([text]).to_string());
        match self {
            Self::Native(client) => {
                let outgoing = Outgoing::new("E", payload).to(to);
                within(client.send_acked(outgoing)).await.map_err(drop)
            }
            Self::Socket { .. } => {
                let send = |request| Send {
                    request,
                    ack: true,
                    to: vec![to],
                    except: Vec::new(),
                    others: false,
                    event: EventName::new("E").unwrap(),
                    format: PayloadFormat::Json,
                    payload: payload.bytes,
                };
                self.ask(|request| ClientFrame::Send(send(request))).await
            }
            Self::SignalR(_) => match to {
                Target::Group(group) => self.call("SendToGroup", json!([group.as_str(), "E", text])).await,
                Target::User(user) => self.call("SendToUser", json!([user.as_str(), "E", text])).await,
                Target::Connection(id) => {
                    self.call("SendToConnection", json!([id.to_string(), "E", text])).await
                }
                Target::All => self.call("SendToAll", json!(["E", text])).await,
            },
        }
    }

    /// Asks over the WebSocket. What comes before the answer is kept.
    async fn ask(&mut self, frame: impl FnOnce(RequestId) -> ClientFrame) -> Result<u64, ()> {
        let Self::Socket { socket, request, inbox } = self else { panic!("another kind") };
        *request += 1;
        socket.send(&frame(*request)).await;
        loop {
            match socket.frame().await.unwrap() {
                ServerFrame::Ack { request: of, count } if of == *request => return Ok(count),
                ServerFrame::Error { request: of, .. } if of == *request => return Err(()),
                other => inbox.extend(heard(other)),
            }
        }
    }

    async fn call(&mut self, target: &str, arguments: serde_json::Value) -> Result<u64, ()> {
        let Self::SignalR(client) = self else { panic!("another kind") };
        client.call(target, arguments).await.map(|count| count.as_u64().unwrap()).map_err(drop)
    }

    /// What it hears next.
    async fn next(&mut self) -> Heard {
        match self {
            Self::Native(client) => loop {
                match next(client).await {
                    Event::Message(message) => return Heard::Message(first(&message.payload)),
                    Event::Removed { group, code, .. } => {
                        return Heard::Removed(group.to_string(), u64::from(code));
                    }
                    Event::Joined { .. } => {}
                    other => panic!("{other:?}"),
                }
            },
            Self::Socket { socket, inbox, .. } => loop {
                if let Some(heard) = inbox.pop_front() {
                    return heard;
                }
                inbox.extend(heard(socket.frame().await.unwrap()));
            },
            Self::SignalR(client) => {
                let (event, arguments) = client.event().await;
                match event.as_str() {
                    "E" => Heard::Message(arguments[0].as_str().unwrap().to_owned()),
                    "fanfare.Removed" => Heard::Removed(
                        arguments[0].as_str().unwrap().to_owned(),
                        arguments[1].as_u64().unwrap(),
                    ),
                    other => panic!("{other}"),
                }
            }
        }
    }
}

fn first(payload: &Bytes) -> String {
    serde_json::from_slice::<[String; 1]>(payload).unwrap()[0].clone()
}

fn heard(frame: ServerFrame) -> Option<Heard> {
    match frame {
        ServerFrame::Message(message) => Some(Heard::Message(first(&message.payload))),
        ServerFrame::Removed { group, code, .. } => Some(Heard::Removed(group.to_string(), u64::from(code))),
        ServerFrame::Joined { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// What must be so.
#[derive(Default)]
struct Model {
    members: BTreeSet<(usize, usize)>,
    revoked: BTreeSet<(usize, usize)>,
    expected: [VecDeque<Heard>; CLIENTS],
}

fn user_of(client: usize) -> usize {
    client % USERS
}

fn user_name(number: usize) -> String {
    format!("user {number}").replace(' ', "-")
}

fn group_name(number: usize) -> String {
    format!("room-{number}")
}

impl Model {
    fn remove(&mut self, client: usize, group: usize, code: Code) -> bool {
        let was = self.members.remove(&(client, group));
        if was {
            self.expected[client].push_back(Heard::Removed(group_name(group), code.number().into()));
        }
        was
    }

    fn reached(&self, to: &Target) -> Vec<usize> {
        (0..CLIENTS)
            .filter(|client| match to {
                Target::Group(name) => (0..GROUPS).any(|group| {
                    name.as_str() == group_name(group) && self.members.contains(&(*client, group))
                }),
                Target::User(name) => name.as_str() == user_name(user_of(*client)),
                Target::Connection(_) => false,
                Target::All => true,
            })
            .collect()
    }
}

/// Everything that has been sent is heard: what is still queued when somebody is removed may or may not be.
async fn settle(peers: &mut [Peer], model: &mut Model) {
    for (peer, expected) in peers.iter_mut().zip(&mut model.expected) {
        while let Some(expected) = expected.pop_front() {
            assert_eq!(peer.next().await, expected);
        }
    }
}

async fn peers(hub: &Hub) -> Vec<Peer> {
    let mut peers = Vec::new();
    for number in 0..CLIENTS {
        let name = user_name(user_of(number));
        peers.push(match number / USERS {
            0 => Peer::Native(Box::new(hub.client(&name).await)),
            1 => {
                let (socket, _) = Socket::welcomed(&hub.websocket(), &hub.roots, &name).await;
                Peer::Socket { socket: Box::new(socket), request: 0, inbox: VecDeque::new() }
            }
            _ => Peer::SignalR(Box::new(SignalR::welcomed(&hub.signalr(), &hub.roots, &name).await)),
        });
    }
    peers
}

#[tokio::test]
async fn promise_14_whichever_way_they_came_in_they_are_in_one_hub() {
    let hub = Hub::with(|config| config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)))).await;
    let mut peers = peers(&hub).await;
    let (mut model, mut dice) = (Model::default(), StdRng::seed_from_u64(14));
    for turn in 0..600 {
        let (client, room) = (dice.random_range(0..CLIENTS), dice.random_range(0..GROUPS));
        let (someone, name) = (user_of(client), group_name(room));
        let groups = Pattern::new(&name).unwrap();
        let members =
            |model: &Model| (0..CLIENTS).filter(|at| model.members.contains(&(*at, room))).count() as u64;
        match dice.random_range(0..20) {
            0..6 => {
                let joined = peers[client].join(&name).await;
                if model.revoked.contains(&(someone, room)) {
                    assert_eq!(joined, Err(()), "turn {turn}");
                } else {
                    model.members.insert((client, room));
                    assert_eq!(joined, Ok(members(&model)), "turn {turn}");
                }
            }
            6..8 => {
                let left = peers[client].leave(&name).await;
                let was_in = model.members.remove(&(client, room));
                // A stranger to the group is not told how many are in it.
                let may_know = was_in || !model.revoked.contains(&(someone, room));
                assert_eq!(left, Ok(if may_know { members(&model) } else { 0 }), "turn {turn}");
            }
            8..16 => {
                let to = match dice.random_range(0..6) {
                    0 => Target::User(user(&user_name(dice.random_range(0..USERS)))),
                    1 => Target::All,
                    _ => Target::Group(group(&name)),
                };
                let text = format!("turn {turn}");
                // Who was revoked from a group does not send to it either.
                if matches!(to, Target::Group(_)) && model.revoked.contains(&(someone, room)) {
                    assert_eq!(peers[client].send(to, &text).await, Err(()), "{text}");
                    continue;
                }
                let reached = model.reached(&to);
                assert_eq!(peers[client].send(to, &text).await, Ok(reached.len() as u64), "{text}");
                for at in reached {
                    model.expected[at].push_back(Heard::Message(text.clone()));
                }
            }
            16 => {
                settle(&mut peers, &mut model).await;
                let reason = String::new();
                let act = Action::Revoke {
                    user: user(&user_name(someone)),
                    groups,
                    until: None,
                    reason,
                    dry_run: false,
                };
                hub.act(act).await.unwrap();
                model.revoked.insert((someone, room));
                for at in (0..CLIENTS).filter(|at| user_of(*at) == someone) {
                    model.remove(at, room, Code::BannedFromGroup);
                }
            }
            17..19 => {
                if model.revoked.remove(&(someone, room)) {
                    let reason = String::new();
                    hub.act(Action::Restore { user: user(&user_name(someone)), groups, reason })
                        .await
                        .unwrap();
                }
            }
            _ => {
                settle(&mut peers, &mut model).await;
                let (who, group) = (Who::User(user(&user_name(someone))), group(&name));
                let is_member = |at: &usize| model.members.contains(&(*at, room));
                let affected = (0..CLIENTS).filter(|at| user_of(*at) == someone).filter(is_member).count();
                let removed = hub.act(Action::Remove { who, group, reason: String::new() }).await;
                assert_eq!(removed.is_ok_and(|receipt| receipt.connections > 0), affected > 0, "turn {turn}");
                for at in (0..CLIENTS).filter(|at| user_of(*at) == someone) {
                    model.remove(at, room, Code::RemovedFromGroup);
                }
            }
        }
    }
    // The last is heard by everybody, and nothing else is before it.
    assert_eq!(peers[0].send(Target::All, "the end").await, Ok(CLIENTS as u64));
    for expected in &mut model.expected {
        expected.push_back(Heard::Message("the end".to_owned()));
    }
    settle(&mut peers, &mut model).await;
    for room in 0..GROUPS {
        let expected = model.members.iter().filter(|(_, of)| *of == room).count();
        assert_eq!(hub.server.count(&Target::Group(group(&group_name(room)))), expected);
    }
    drop(peers);
    hub.is_empty().await;
    hub.stop().await;
}
