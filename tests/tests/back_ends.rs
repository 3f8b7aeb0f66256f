//! A back end over HTTP, clients, operators, time and restarts act on the same users and groups at random; who is
//! where, whose each membership is, who hears what, and what is refused with which code is what a plain model says; and
//! so is what a back end was told by webhooks, of which it refuses some, and what somebody sees who watches.
//!
//! Each turn is one act, and its effects are compared before the next: what the API says of groups, users, connections
//! and lasting memberships every few turns, and what each client has heard at the end of every chapter. A chapter ends
//! with a restart on the same state directory. The server is a process of its own, and now and then it is killed while
//! everybody acts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod back_ends {
    pub(crate) mod killing;
    pub(crate) mod process;
}

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use back_ends::killing::wants_nothing;
use back_ends::process::{Process, Settings, serve};

use fanfare_client::{Client, Event, Outgoing, RequestError, Watch, WatchEvent};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, EventName, Pattern, Target};
use fanfare_server::Right;
use fanfare_tests::back_end::{BackEnd, create, shown};
use fanfare_tests::receiver::{Reaction, Receiver};
use fanfare_tests::tokens::{Secret, now};
use fanfare_tests::{next, within};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const USERS: usize = 3;
const GROUPS: usize = 3;
/// Two of each user.
const CLIENTS: usize = 2 * USERS;
const CHAPTERS: usize = 10;
const TURNS: usize = 1_000;
/// Of so many turns one is a kill, more or less.
const TURNS_TO_A_KILL: u32 = 500;

/// What each user's tokens allow in all groups.
const RIGHTS: [&[Right]; USERS] = [&[], &[Right::Join], &[Right::Join, Right::Send]];

fn user_of(client: usize) -> usize {
    client % USERS
}

fn clients_of(user: usize) -> impl Iterator<Item = usize> {
    (0..CLIENTS).filter(move |client| user_of(*client) == user)
}

fn user_name(number: usize) -> String {
    format!("user-{number}")
}

fn room(number: usize) -> String {
    format!("room-{number}")
}

/// Who made a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Client,
    Operator,
    Application,
    Lasting,
}

/// What a lasting membership lets a user do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum May {
    Both,
    Receive,
    Send,
}

impl May {
    fn word(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Message(String),
    Removed(String, Code),
    Goodbye(Code),
}

/// How a server's life has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was asked to, when nobody was there.
    Stopped,
    Killed,
}

/// What must be so. Users, groups and clients are numbers.
#[derive(Default)]
struct Model {
    here: BTreeSet<usize>,
    members: BTreeMap<(usize, usize), Origin>,
    /// Which groups a client joins again by itself when it comes back.
    wants: BTreeSet<(usize, usize)>,
    lasting: BTreeMap<(usize, usize), May>,
    revoked: BTreeSet<(usize, usize)>,
    banned: BTreeSet<usize>,
    heard: [VecDeque<Heard>; CLIENTS],
}

impl Model {
    fn here_of(&self, user: usize) -> Vec<usize> {
        clients_of(user).filter(|client| self.here.contains(client)).collect()
    }

    fn members_of(&self, group: usize) -> Vec<usize> {
        self.members.keys().filter(|(_, of)| *of == group).map(|(client, _)| *client).collect()
    }

    /// Whether a user is put into a group whenever it is here.
    fn is_put(&self, user: usize, group: usize) -> bool {
        let may = self.lasting.get(&(user, group));
        may.is_some_and(|may| *may != May::Send) && !self.revoked.contains(&(user, group))
    }

    fn put(&mut self, client: usize, group: usize) {
        if self.is_put(user_of(client), group) {
            self.members.entry((client, group)).or_insert(Origin::Lasting);
        }
    }

    fn remove(&mut self, client: usize, group: usize, code: Code) {
        if self.members.remove(&(client, group)).is_some() {
            self.wants.remove(&(client, group));
            self.heard[client].push_back(Heard::Removed(room(group), code));
        }
    }

    fn may_join(&self, user: usize, group: usize) -> Result<(), Code> {
        match self.lasting.get(&(user, group)) {
            _ if self.revoked.contains(&(user, group)) => Err(Code::BannedFromGroup),
            Some(May::Send) => Err(Code::NotGranted),
            Some(_) => Ok(()),
            None if RIGHTS[user].contains(&Right::Join) => Ok(()),
            None => Err(Code::NotGranted),
        }
    }

    fn may_send(&self, user: usize, group: usize) -> Result<(), Code> {
        match self.lasting.get(&(user, group)) {
            _ if self.revoked.contains(&(user, group)) => Err(Code::BannedFromGroup),
            Some(May::Receive) => Err(Code::Muted),
            Some(_) => Ok(()),
            None if RIGHTS[user].contains(&Right::Send) => Ok(()),
            None => Err(Code::NotGranted),
        }
    }

    /// Somebody else than the client says that it is a member.
    fn add(&mut self, user: usize, group: usize, origin: Origin) {
        let refused =
            self.revoked.contains(&(user, group)) || self.lasting.get(&(user, group)) == Some(&May::Send);
        if !refused {
            for client in self.here_of(user) {
                self.members.insert((client, group), origin);
            }
        }
    }

    fn end_lasting(&mut self, user: usize, group: usize, code: Code) {
        self.lasting.remove(&(user, group));
        for client in self.here_of(user) {
            let ends = match self.members.get(&(client, group)) {
                Some(Origin::Lasting) => true,
                Some(Origin::Client) => !RIGHTS[user].contains(&Right::Join),
                _ => false,
            };
            if ends {
                self.remove(client, group, code);
            }
        }
    }

    fn hear(&mut self, clients: &[usize], text: &str) {
        for client in clients {
            self.heard[*client].push_back(Heard::Message(text.to_owned()));
        }
    }
}

/// The hub, those who act on it, and what must be so.
struct Scene {
    /// It hears webhooks, and refuses or breaks off some of them.
    receiver: Receiver,
    process: Process,
    /// How its earlier lives have ended.
    ends: Vec<End>,
    back_end: BackEnd,
    secret: Secret,
    clients: [Option<Client>; CLIENTS],
    model: Model,
    dice: StdRng,
    /// One who is in no group, and watches all.
    watcher: Option<Watcher>,
}

/// Somebody who watches each group.
struct Watcher {
    client: Client,
    watches: Vec<Watch>,
    /// Takes what is sent to everyone.
    reads: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.reads.abort();
    }
}

fn code<T>(answer: Result<T, RequestError>) -> Result<T, Code> {
    answer.map_err(|error| error.code().unwrap_or_else(|| panic!("{error}")))
}

impl Scene {
    async fn say(&self, client: usize, to: Target, text: &str) -> Result<u64, Code> {
        let client = self.clients[client].as_ref().unwrap();
        code(within(client.send_acked(Outgoing::new(EventName::new("E").unwrap(), text).to(to))).await)
    }

    async fn operator(&self, action: Action) {
        self.process.act(action).await.unwrap();
    }

    async fn connect(&mut self, client: usize) {
        let user = user_of(client);
        let token = self.secret.token(&user_name(user), RIGHTS[user]);
        let config = self.process.token_config(token);
        let connected = within(Client::connect(config)).await;
        if self.model.banned.contains(&user) {
            assert!(connected.is_err(), "{client} is let in");
            return;
        }
        self.clients[client] = Some(connected.unwrap());
        self.model.here.insert(client);
        for group in 0..GROUPS {
            self.model.put(client, group);
        }
        // What it is put into is done when the server has read something of it.
        let me = self.clients[client].as_ref().unwrap().connection_id();
        let _ = self.say(client, Target::Connection(me), "").await;
        self.is_as_expected().await;
    }

    async fn disconnect(&mut self, clients: impl IntoIterator<Item = usize>) {
        for client in clients {
            if let Some(gone) = self.clients[client].take() {
                let _ = within(gone.close()).await;
            }
            self.model.here.remove(&client);
            self.model.members.retain(|(of, _), _| *of != client);
            self.model.heard[client].clear();
            wants_nothing(&mut self.model, client);
        }
        self.is_as_expected().await;
    }

    /// What takes a moment, such as that one has gone, is done.
    async fn is_as_expected(&self) {
        let here = self.model.here.len() + usize::from(self.watcher.is_some());
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        let expected: BTreeMap<_, _> = (0..GROUPS)
            .map(|group| (room(group), self.model.members_of(group).len()))
            .filter(|(_, members)| *members > 0)
            .collect();
        within(async {
            loop {
                looks.tick().await;
                let rows = self.process.groups().await.into_iter().filter(|row| row.members > 0);
                let groups = rows.map(|row| (row.group.to_string(), usize::try_from(row.members).unwrap()));
                if groups.collect::<BTreeMap<_, _>>() == expected
                    && self.process.status().await.totals.connections == here as u64
                {
                    break;
                }
            }
        })
        .await;
    }

    /// Everything that was due has been heard: what is still queued when somebody is removed may or may not be.
    async fn settle(&mut self) {
        for (client, due) in self.clients.iter().zip(&mut self.model.heard) {
            while let Some(due) = due.pop_front() {
                let client = client.as_ref().unwrap();
                let heard = loop {
                    match next(client).await {
                        Event::Message(message) if message.payload.is_empty() => {}
                        Event::Message(message) => {
                            break Heard::Message(String::from_utf8(message.payload.to_vec()).unwrap());
                        }
                        Event::Removed { group, code, .. } => {
                            break Heard::Removed(
                                group.to_string(),
                                Code::try_from(u64::from(code)).unwrap(),
                            );
                        }
                        Event::Goodbye { code, .. } => {
                            break Heard::Goodbye(Code::try_from(u64::from(code)).unwrap());
                        }
                        Event::Joined { .. } => {}
                        other => panic!("{other:?}"),
                    }
                };
                assert_eq!(heard, due);
            }
        }
    }

    /// What a back end was told, replayed, is the model: who is in which group, and which connections have ended.
    async fn compare_told(&self) {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        within(async {
            while self.process.status().await.webhooks[0].waiting > 0 {
                looks.tick().await;
            }
        })
        .await;
        let mut seen = BTreeSet::new();
        let (mut members, mut ended) = (BTreeSet::new(), BTreeSet::new());
        let (mut open, mut started, mut epoch) = (BTreeSet::new(), 0, 0);
        for heard in self.receiver.heard() {
            if !seen.insert(heard.id.clone()) {
                continue;
            }
            // What was refused before a kill comes again behind `started`, when all that it is about has ended.
            let of = heard.body["epoch"].as_u64().unwrap();
            if of < epoch {
                assert!(self.ends.contains(&End::Killed), "{heard:?} is of an earlier life");
                continue;
            }
            epoch = of;
            let [connection, group] = ["connection", "group"].map(|name| heard.field(name).to_owned());
            assert!(!ended.contains(&connection), "an event of {connection} came behind its end");
            let is_new = match heard.kind() {
                "started" => {
                    let before = usize::checked_sub(started, 1).map(|life| self.ends[life]);
                    let is_empty = members.is_empty() && open.is_empty();
                    assert!(is_empty || before == Some(End::Killed), "all before has ended");
                    members.clear();
                    open.clear();
                    started += 1;
                    true
                }
                "joined" => members.insert((connection, group)),
                "left" => members.remove(&(connection, group)),
                "group_opened" => open.insert(group),
                "group_closed" => open.remove(&group),
                "disconnected" => {
                    assert!(!members.iter().any(|(of, _)| *of == connection), "it has left before");
                    ended.insert(connection)
                }
                other => panic!("{other}"),
            };
            assert!(is_new, "{heard:?} changes nothing");
        }
        let mut expected = BTreeSet::new();
        for (client, group) in self.model.members.keys() {
            let id = self.clients[*client].as_ref().unwrap().connection_id().to_string();
            expected.insert((id, room(*group)));
        }
        assert_eq!((&members, started), (&expected, self.ends.len() + 1));
        let groups: BTreeSet<_> = expected.into_iter().map(|(_, group)| group).collect();
        assert_eq!(open, groups);
        let here = self.clients.iter().flatten().map(|client| client.connection_id().to_string());
        assert!(here.into_iter().all(|id| !ended.contains(&id)));
    }

    /// Has somebody watch every group.
    async fn watch(&mut self) {
        let token = self.secret.token("watcher", &[Right::Presence]);
        let client = within(Client::connect(self.process.token_config(token))).await.unwrap();
        let mut watches = Vec::new();
        for group in 0..GROUPS {
            watches.push(within(client.watch(room(group).as_str())).await.unwrap());
        }
        let reader = client.clone();
        let reads = tokio::spawn(async move { while reader.next().await.is_some() {} });
        self.watcher = Some(Watcher { client, watches, reads });
    }

    /// A watcher's view, put together from a snapshot and changes, is the model's.
    async fn compare_present(&mut self) {
        let Self { watcher, model, .. } = self;
        for (group, watch) in watcher.as_mut().unwrap().watches.iter_mut().enumerate() {
            let mut expected = BTreeMap::<String, u32>::new();
            for client in model.members_of(group) {
                *expected.entry(user_name(user_of(client))).or_default() += 1;
            }
            let view = |watch: &Watch| -> BTreeMap<String, u32> {
                let present = watch.present().into_iter();
                present.map(|one| (one.user.as_str().to_owned(), one.connections)).collect()
            };
            while view(watch) != expected {
                let news = within(watch.next()).await;
                assert!(matches!(news, Some(WatchEvent::Changed { .. })), "{news:?}");
            }
        }
    }

    /// A back end's view is the model's.
    async fn compare(&self) {
        let Self { back_end, model, .. } = self;
        let mut ids = BTreeMap::new();
        for (number, client) in self.clients.iter().enumerate() {
            ids.extend(client.as_ref().map(|client| (client.connection_id().to_string(), number)));
        }
        let number = |row: &Value| ids[row["connection"].as_str().unwrap()];
        let rows = |page: Value, list: &str| page[list].as_array().unwrap().clone();
        let all = rows(back_end.told("/connections").await, "connections");
        let clients = all.iter().filter(|row| row["user"] != "watcher");
        assert_eq!(clients.map(number).collect::<BTreeSet<_>>(), model.here);
        for group in 0..GROUPS {
            let path = format!("/groups/{}", room(group));
            let members = rows(back_end.told(&format!("{path}/members")).await, "connections");
            let found: BTreeSet<_> = members.iter().map(number).collect();
            let expected: BTreeSet<_> = model.members_of(group).into_iter().collect();
            assert_eq!(found, expected, "{path}");
            let mut users: BTreeMap<String, u64> = BTreeMap::new();
            for client in &expected {
                *users.entry(user_name(user_of(*client))).or_default() += 1;
            }
            let present = rows(back_end.told(&format!("{path}/users")).await, "users");
            let present = present
                .iter()
                .map(|row| (row["user"].as_str().unwrap().to_owned(), row["connections"].as_u64().unwrap()));
            assert_eq!(present.collect::<BTreeMap<_, _>>(), users, "{path}");
            assert_eq!(back_end.ask(&path).await.status, if expected.is_empty() { 404 } else { 200 });
        }
        for (id, client) in &ids {
            let detail = back_end.told(&format!("/connections/{id}")).await;
            let found: BTreeMap<_, _> = rows(detail, "memberships")
                .iter()
                .map(|row| {
                    (row["group"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
                })
                .collect();
            let of = model.members.iter().filter(|((of, _), _)| of == client);
            let expected =
                of.map(|((_, group), origin)| (room(*group), format!("{origin:?}").to_lowercase()));
            assert_eq!(found, expected.collect(), "{client}");
        }
        let lasting = rows(back_end.told("/lasting").await, "lasting");
        let lasting = lasting
            .iter()
            .map(|row| ["user", "group", "may"].map(|field| row[field].as_str().unwrap().to_owned()));
        let expected = model.lasting.iter();
        let expected =
            expected.map(|((user, group), may)| [user_name(*user), room(*group), may.word().to_owned()]);
        assert_eq!(lasting.collect::<BTreeSet<_>>(), expected.collect());
        let bans = rows(back_end.told("/bans").await, "bans").len();
        assert_eq!(bans, model.banned.len() + model.revoked.len());
        for (user, group) in (0..USERS).flat_map(|user| (0..GROUPS).map(move |group| (user, group))) {
            let path = format!("/explain?user={}&group={}", user_name(user), room(group));
            let said = back_end.told(&path).await;
            let expected = match model.may_join(user, group) {
                _ if model.banned.contains(&user) => "may_not",
                Err(Code::BannedFromGroup) => "may_not",
                _ if model.lasting.get(&(user, group)) == Some(&May::Send) => "may_not",
                // It goes by the tokens of those who are here, and by who is in it already.
                may => {
                    let here = model.here_of(user);
                    let is_in = |client: &&usize| model.members.contains_key(&(**client, group));
                    match here.iter().filter(|client| may.is_ok() || is_in(client)).count() {
                        _ if here.is_empty() => "depends",
                        0 => "may_not",
                        all if all == here.len() => "may",
                        _ => "depends",
                    }
                }
            };
            assert_eq!(said["verdict"], expected, "{path}: {said}");
        }
    }

    /// One act of somebody's, at random.
    async fn turn(&mut self, turn: usize) {
        let (client, group) = (self.dice.random_range(0..CLIENTS), self.dice.random_range(0..GROUPS));
        let (user, name) = (user_of(client), room(group));
        let (user_name, is_here) = (user_name(user), self.model.here.contains(&client));
        let (place, text) = (json!({ "user": user_name, "group": name }), format!("turn {turn}"));
        let who = Who::User(fanfare_tests::user(&user_name));
        let reason = String::new();
        let act = self.dice.random_range(0..24);
        // Shown where the test fails.
        println!(
            "turn {turn}: act {act} of client {client} of {user_name} in {name}, {:?}",
            self.model.members
        );
        match act {
            0..3 if is_here => {
                let joined = code(within(self.clients[client].as_ref().unwrap().join(name.as_str())).await);
                let may = self.model.may_join(user, group);
                // Who is in already, by somebody else's word, may ask again. How many are in is for those to know who
                // might join, or send there.
                let is_in = self.model.members.contains_key(&(client, group));
                let may_count = may.is_ok() || self.model.may_send(user, group).is_ok();
                let may = if is_in { Ok(()) } else { may };
                if may.is_ok() {
                    let origin = self.model.members.entry((client, group)).or_insert(Origin::Client);
                    if *origin == Origin::Lasting {
                        *origin = Origin::Client;
                    }
                    self.model.wants.insert((client, group));
                }
                let count = if may_count { self.model.members_of(group).len() as u64 } else { 0 };
                assert_eq!(joined, may.map(|()| count), "{turn}: {place}");
            }
            3 if is_here => {
                within(self.clients[client].as_ref().unwrap().leave(name.as_str())).await.unwrap();
                self.model.members.remove(&(client, group));
                self.model.wants.remove(&(client, group));
            }
            4..7 if is_here => {
                let reached = self.model.members_of(group);
                let may = self.model.may_send(user, group).map(|()| reached.len() as u64);
                let sent = self.say(client, Target::Group(fanfare_tests::group(&name)), &text).await;
                assert_eq!(sent, may, "{turn}: {place}");
                if may.is_ok() {
                    self.model.hear(&reached, &text);
                }
            }
            7..10 => {
                // To a group, and beside it to a user: once to each.
                let mut reached: BTreeSet<_> = self.model.members_of(group).into_iter().collect();
                reached.extend(self.model.here_of(user));
                let reached: Vec<_> = reached.into_iter().collect();
                let message =
                    json!({ "to": { "groups": [name], "users": [user_name] }, "event": "E", "text": text });
                assert_eq!(self.back_end.done("/send", &message).await["queued"], reached.len(), "{turn}");
                self.model.hear(&reached, &text);
            }
            10..12 => {
                let answer = self.back_end.post("/add", &place).await;
                let refused = self.model.revoked.contains(&(user, group))
                    || self.model.lasting.get(&(user, group)) == Some(&May::Send);
                if !self.model.here_of(user).is_empty() {
                    assert_eq!(answer.status, if refused { 403 } else { 200 }, "{turn}: {place} {answer:?}");
                }
                self.model.add(user, group, Origin::Application);
            }
            12 => {
                let group_name = fanfare_tests::group(&name);
                // It is refused where it does nothing.
                let _ = self.process.act(Action::Add { who, group: group_name, reason }).await;
                self.model.add(user, group, Origin::Operator);
            }
            13 => {
                self.settle().await;
                self.back_end.done("/remove", &place).await;
                for client in self.model.here_of(user) {
                    self.model.remove(client, group, Code::RemovedFromGroup);
                }
            }
            14..17 => {
                self.settle().await;
                let may = *[May::Both, May::Both, May::Receive, May::Send].choose(&mut self.dice).unwrap();
                let row = json!({ "user": user_name, "group": name, "may": may.word() });
                self.back_end.done("/add-lasting", &row).await;
                self.model.lasting.insert((user, group), may);
                for client in self.model.here_of(user) {
                    if may == May::Send {
                        self.model.remove(client, group, Code::RemovedFromGroup);
                    }
                    self.model.put(client, group);
                }
            }
            17 => {
                self.settle().await;
                self.back_end.done("/remove-lasting", &place).await;
                self.model.end_lasting(user, group, Code::RemovedFromGroup);
            }
            18 => {
                self.settle().await;
                if self.dice.random() {
                    self.back_end.done("/revoke", &json!({ "user": user_name, "groups": name })).await;
                } else {
                    let (user, groups) = (fanfare_tests::user(&user_name), Pattern::new(&name).unwrap());
                    self.operator(Action::Revoke { user, groups, until: None, reason, dry_run: false }).await;
                }
                self.model.revoked.insert((user, group));
                for client in self.model.here_of(user) {
                    self.model.remove(client, group, Code::BannedFromGroup);
                }
            }
            19 => {
                let was_revoked = self.model.revoked.remove(&(user, group));
                if was_revoked {
                    self.back_end.done("/restore", &json!({ "user": user_name, "groups": name })).await;
                    for (client, group) in self
                        .model
                        .here_of(user)
                        .into_iter()
                        .flat_map(|client| (0..GROUPS).map(move |group| (client, group)))
                    {
                        self.model.put(client, group);
                    }
                }
            }
            20 => {
                self.settle().await;
                self.back_end.done("/ban", &json!({ "user": user_name })).await;
                self.model.banned.insert(user);
                for client in self.model.here_of(user) {
                    self.model.heard[client].push_back(Heard::Goodbye(Code::UserBanned));
                }
                self.settle().await;
                self.disconnect(clients_of(user)).await;
            }
            21 => {
                let was_banned = self.model.banned.remove(&user);
                if was_banned {
                    self.operator(Action::Unban { user: fanfare_tests::user(&user_name), reason }).await;
                }
            }
            22 if is_here => self.disconnect([client]).await,
            _ if !is_here => self.connect(client).await,
            _ => {}
        }
    }

    /// One that is for a moment ends by itself.
    async fn time_goes(&mut self) {
        let (user, group) = (self.dice.random_range(0..USERS), self.dice.random_range(0..GROUPS));
        self.settle().await;
        let row = json!({ "user": user_name(user), "group": room(group), "until": now() + 3 });
        self.back_end.done("/add-lasting", &row).await;
        self.model.lasting.insert((user, group), May::Both);
        for client in self.model.here_of(user) {
            self.model.put(client, group);
        }
        self.model.end_lasting(user, group, Code::GrantEnded);
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let place = |row: &Value| row["user"] == user_name(user) && row["group"] == room(group);
        within(async {
            while self.back_end.told("/lasting").await["lasting"].as_array().unwrap().iter().any(place) {
                looks.tick().await;
            }
        })
        .await;
        self.is_as_expected().await;
    }
}

#[tokio::test]
async fn promises_7_10_and_14_a_back_end_clients_operators_and_time_agree_with_a_model() {
    let secret = Secret::default();
    let mut requests = 0;
    let receiver = Receiver::start(move |_| {
        requests += 1;
        match requests % 23 {
            0 => Reaction::status(400),
            11 => Reaction::Half,
            _ => Reaction::fine(),
        }
    });
    let state = tempfile::tempdir().unwrap();
    let process = Process::start(Settings::new(state.path(), &secret, &receiver)).await;
    let key: Action = serde_json::from_value(create("shop", &["*"])).unwrap();
    process.act(key).await.unwrap();
    let back_end = BackEnd::at(process.http(), &shown("shop"));
    let mut scene = Scene {
        receiver,
        process,
        ends: Vec::new(),
        back_end,
        secret,
        clients: Default::default(),
        model: Model::default(),
        dice: StdRng::seed_from_u64(20),
        watcher: None,
    };
    scene.watch().await;
    for chapter in 0..CHAPTERS {
        for turn in 0..TURNS {
            scene.turn(chapter * TURNS + turn).await;
            if turn % 25 == 0 {
                scene.compare().await;
                scene.compare_present().await;
            }
            if turn % 100 == 0 {
                scene.compare_told().await;
            }
            if scene.dice.random_ratio(1, TURNS_TO_A_KILL) {
                scene.kill().await;
            }
        }
        scene.time_goes().await;
        scene.settle().await;
        scene.compare().await;
        scene.compare_told().await;
        scene.disconnect(0..CLIENTS).await;
        scene.compare_present().await;
        scene.watcher = None;
        // What was decided outlives the server; who was here does not.
        scene.is_as_expected().await;
        scene.process.stop().await;
        scene.process = scene.process.again().await;
        scene.ends.push(End::Stopped);
        scene.compare().await;
        scene.compare_told().await;
        scene.watch().await;
        for client in 0..CLIENTS {
            scene.connect(client).await;
        }
    }
    let verdict = scene.process.verify_audit().await;
    assert!(verdict.whole, "{verdict:?}");
    let kills = scene.ends.iter().filter(|end| **end == End::Killed).count();
    println!("{} records, {kills} kills", verdict.records);
    scene.disconnect(0..CLIENTS).await;
    scene.watcher = None;
    scene.is_as_expected().await;
    scene.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a server, which the test above starts in a process of its own"]
async fn a_server_for_the_model() {
    serve().await;
}
