//! A server is killed while everybody acts: what was answered holds, what was not has happened or has not, and clients,
//! watchers and a back end that hears webhooks come back by themselves.
//!
//! In: the scene before. Out: the scene after, with the model at what the server says of what was under way.
//! Invariant: of each fact the model takes from the server only which of two states it is in, the one that was answered
//! last or the one that was asked for then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_client::{Client, Event, OperatorClient, Outgoing, RequestError};
use fanfare_protocol::admin::{Action, Receipt};
use fanfare_protocol::{EventName, GroupName, Pattern, Target};
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::{next, within};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::{End, GROUPS, May, Model, Origin, RIGHTS, Right, Scene, USERS};
use super::super::{room, user_name, user_of};

/// How many answers come at most before it is killed.
const ANSWERS: usize = 40;

/// Something that is kept on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Lasting(usize, usize, May),
    Revoked(usize, usize),
    Banned(usize),
}

/// What there is one fact about at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Lasting(usize, usize),
    Revoked(usize, usize),
    Banned(usize),
}

impl Fact {
    fn place(self) -> Place {
        match self {
            Self::Lasting(user, group, _) => Place::Lasting(user, group),
            Self::Revoked(user, group) => Place::Revoked(user, group),
            Self::Banned(user) => Place::Banned(user),
        }
    }
}

/// What is known of a place when the server is dead.
#[derive(Debug)]
struct Outcome {
    place: Place,
    /// As was answered.
    answered: Option<Fact>,
    /// As was asked for, without an answer.
    asked: Option<Fact>,
    /// Whether anything that was asked for, ever, was this user's ban.
    was_banned: bool,
}

/// How a client has come through.
struct Passage {
    /// Groups that it was removed from before.
    removed: Vec<GroupName>,
    /// Where it is again, and where it was refused, if it is back at all.
    back: Option<(Vec<GroupName>, Vec<GroupName>)>,
}

impl Model {
    fn facts(&self) -> BTreeMap<Place, Fact> {
        let lasting = self.lasting.iter().map(|((user, group), may)| Fact::Lasting(*user, *group, *may));
        let revoked = self.revoked.iter().map(|(user, group)| Fact::Revoked(*user, *group));
        let banned = self.banned.iter().map(|user| Fact::Banned(*user));
        lasting.chain(revoked).chain(banned).map(|fact| (fact.place(), fact)).collect()
    }

    fn keep(&mut self, facts: &BTreeMap<Place, Fact>) {
        self.lasting.clear();
        self.revoked.clear();
        self.banned.clear();
        for fact in facts.values() {
            match *fact {
                Fact::Lasting(user, group, may) => {
                    self.lasting.insert((user, group), may);
                }
                Fact::Revoked(user, group) => {
                    self.revoked.insert((user, group));
                }
                Fact::Banned(user) => {
                    self.banned.insert(user);
                }
            }
        }
    }
}

impl Scene {
    /// Kills the server at a moment of the dice's, with requests of everybody's on their way, and starts it again.
    pub(crate) async fn kill(&mut self) {
        self.settle().await;
        let (dead, death) = watch::channel(false);
        let (answer, mut answers) = mpsc::channel(ANSWERS);
        let before = self.model.facts();
        let mut places: Vec<_> = (0..USERS)
            .flat_map(|user| {
                let groups = (0..GROUPS)
                    .flat_map(move |group| [Place::Lasting(user, group), Place::Revoked(user, group)]);
                groups.chain([Place::Banned(user)])
            })
            .collect();
        places.shuffle(&mut self.dice);
        let actors: Vec<_> = places[..5]
            .iter()
            .map(|place| {
                let actor = Actor {
                    place: *place,
                    back_end: self.back_end.clone(),
                    operator: self.process.operator(),
                    dice: StdRng::seed_from_u64(self.dice.random()),
                    answer: answer.clone(),
                    death: death.clone(),
                };
                tokio::spawn(actor.act(before.get(place).copied()))
            })
            .collect();
        let passages: BTreeMap<_, _> = self
            .model
            .here
            .iter()
            .map(|client| {
                let joins = RIGHTS[user_of(*client)].contains(&Right::Join);
                let group = self.dice.random_range(0..GROUPS);
                (*client, (group, joins, pass(self.clients[*client].clone().unwrap(), group, joins)))
            })
            .collect();

        // It is refused what it asks for, and notices by asking that its server has gone.
        let watches = tokio::spawn(act(self.watcher.as_ref().unwrap().client.clone(), room(0), false));

        for _ in 0..self.dice.random_range(0..ANSWERS) {
            within(answers.recv()).await.unwrap();
        }
        // Nothing is waited for: the moment is the dice's, so that it is in the middle of something.
        tokio::time::sleep(Duration::from_micros(self.dice.random_range(0..5_000))).await;
        self.process.kill();
        dead.send_replace(true);
        let mut outcomes = Vec::new();
        for actor in actors {
            outcomes.push(within(actor).await.unwrap());
        }
        println!("killed: {outcomes:?}");
        self.process = self.process.again().await;
        self.ends.push(End::Killed);

        self.learn(before, &outcomes).await;
        self.model.members.clear();
        for (client, (group, joins, passage)) in passages {
            self.arrive(client, joins.then_some(group), within(passage).await.unwrap(), &outcomes);
        }
        within(watches).await.unwrap();
        self.is_as_expected().await;
        let verdict = self.process.verify_audit().await;
        assert!(verdict.whole, "{verdict:?}");
        self.compare().await;
        self.compare_present().await;
        self.compare_told().await;
    }

    /// What is kept is what was answered, and of what was not answered all or nothing.
    async fn learn(&mut self, before: BTreeMap<Place, Fact>, outcomes: &[Outcome]) {
        let found = self.kept().await;
        let mut expected = before;
        for outcome in outcomes {
            let is = found.get(&outcome.place).copied();
            assert!(is == outcome.answered || is == outcome.asked, "{is:?} is neither: {outcome:?}");
            expected.remove(&outcome.place);
            expected.extend(is.map(|fact| (fact.place(), fact)));
        }
        assert_eq!(found, expected, "nothing else has changed");
        self.model.keep(&found);
    }

    /// What the server says is kept.
    async fn kept(&self) -> BTreeMap<Place, Fact> {
        let mut found = BTreeMap::new();
        let number = |row: &Value, field: &str| -> usize {
            let name = row[field].as_str().unwrap();
            name.rsplit_once('-').unwrap().1.parse().unwrap()
        };
        let mut keep = |fact: Fact| assert!(found.insert(fact.place(), fact).is_none(), "{fact:?} twice");
        for row in self.back_end.told("/lasting").await["lasting"].as_array().unwrap() {
            let may = [May::Both, May::Receive, May::Send].into_iter().find(|may| row["may"] == may.word());
            keep(Fact::Lasting(number(row, "user"), number(row, "group"), may.unwrap()));
        }
        for row in self.back_end.told("/bans").await["bans"].as_array().unwrap() {
            keep(match row["kind"].as_str().unwrap() {
                "group" => Fact::Revoked(number(row, "user"), number(row, "groups")),
                "user" => Fact::Banned(number(row, "user")),
                other => panic!("{other}"),
            });
        }
        found
    }

    /// A client has come back, or has not. In `unsure` it joined and left all the time.
    fn arrive(&mut self, client: usize, unsure: Option<usize>, passage: Passage, outcomes: &[Outcome]) {
        let user = user_of(client);
        let groups = |names: &[GroupName]| -> BTreeSet<usize> {
            (0..GROUPS).filter(|group| names.iter().any(|name| name.as_str() == room(*group))).collect()
        };
        let Model { wants, banned, .. } = &mut self.model;
        for group in groups(&passage.removed) {
            wants.remove(&(client, group));
        }
        let Some((rejoined, refused)) = passage.back else {
            assert!(
                banned.contains(&user)
                    || outcomes.iter().any(|one| one.place == Place::Banned(user) && one.was_banned),
                "{client} is not back"
            );
            self.clients[client] = None;
            self.model.here.remove(&client);
            wants_nothing(&mut self.model, client);
            return;
        };
        assert!(!banned.contains(&user), "{client} is back");
        let (rejoined, refused) = (groups(&rejoined), groups(&refused));
        if let Some(group) = unsure {
            wants.remove(&(client, group));
            if rejoined.contains(&group) || refused.contains(&group) {
                wants.insert((client, group));
            }
        }
        let mut expected = (BTreeSet::new(), BTreeSet::new());
        for group in 0..GROUPS {
            self.model.put(client, group);
            if !self.model.wants.contains(&(client, group)) {
                continue;
            }
            let is_in = self.model.members.contains_key(&(client, group));
            if is_in || self.model.may_join(user, group).is_ok() {
                self.model.members.insert((client, group), Origin::Client);
                expected.0.insert(group);
            } else {
                self.model.wants.remove(&(client, group));
                expected.1.insert(group);
            }
        }
        assert_eq!((rejoined, refused), expected, "{client} of {}", user_name(user));
    }
}

/// A client that has gone wants nothing.
pub(crate) fn wants_nothing(model: &mut Model, client: usize) {
    model.wants.retain(|(of, _)| *of != client);
}

/// Who changes one thing, again and again, until the server is dead.
struct Actor {
    place: Place,
    back_end: BackEnd,
    operator: std::sync::Arc<OperatorClient>,
    dice: StdRng,
    /// Told of each answer, as long as somebody listens.
    answer: mpsc::Sender<()>,
    death: watch::Receiver<bool>,
}

impl Actor {
    async fn act(mut self, mut is: Option<Fact>) -> Outcome {
        let place = self.place;
        let mut was_banned = false;
        loop {
            let next = self.next(is);
            was_banned |= matches!(next, Some(Fact::Banned(_)));
            let mut death = self.death.clone();
            let answered = tokio::select! {
                biased;
                answered = self.ask(is, next) => answered,
                _ = death.wait_for(|dead| *dead) => false,
            };
            if !answered {
                return Outcome { place, answered: is, asked: next, was_banned };
            }
            is = next;
            let _ = self.answer.try_send(());
        }
    }

    fn next(&mut self, is: Option<Fact>) -> Option<Fact> {
        let may = *[May::Both, May::Receive, May::Send].choose(&mut self.dice).unwrap();
        match (self.place, is) {
            (Place::Lasting(..), Some(_)) if self.dice.random() => None,
            (Place::Lasting(user, group), _) => Some(Fact::Lasting(user, group, may)),
            (_, Some(_)) => None,
            (Place::Revoked(user, group), None) => Some(Fact::Revoked(user, group)),
            (Place::Banned(user), None) => Some(Fact::Banned(user)),
        }
    }

    /// Asks for a change. Says whether it was answered.
    async fn ask(&self, is: Option<Fact>, next: Option<Fact>) -> bool {
        let fact = next.or(is).unwrap();
        let reason = String::new();
        let (path, body) = match (fact, next) {
            (Fact::Lasting(user, group, may), Some(_)) => {
                ("/add-lasting", json!({ "user": user_name(user), "group": room(group), "may": may.word() }))
            }
            (Fact::Lasting(user, group, _), None) => {
                ("/remove-lasting", json!({ "user": user_name(user), "group": room(group) }))
            }
            (Fact::Revoked(user, group), Some(_)) => {
                ("/revoke", json!({ "user": user_name(user), "groups": room(group) }))
            }
            // One place is the operator's and the back end's by turns.
            (Fact::Revoked(user, group), None) => {
                let (user, groups) =
                    (fanfare_tests::user(&user_name(user)), Pattern::new(&room(group)).unwrap());
                return self.order(Action::Restore { user, groups, reason }).await;
            }
            (Fact::Banned(user), Some(_)) => {
                let user = fanfare_tests::user(&user_name(user));
                return self.order(Action::Ban { user, until: None, reason, dry_run: false }).await;
            }
            (Fact::Banned(user), None) => ("/unban", json!({ "user": user_name(user) })),
        };
        match self.back_end.try_post(path, &body).await {
            Some(answer) => {
                assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
                true
            }
            None => false,
        }
    }

    async fn order(&self, action: Action) -> bool {
        self.operator.ask::<Receipt>(&action).await.is_ok()
    }
}

/// Has a client send, and join and leave where it may, until it loses its connection; and then come back.
fn pass(client: Client, group: usize, joins: bool) -> JoinHandle<Passage> {
    tokio::spawn(async move {
        let acting = act(client.clone(), room(group), joins);
        tokio::pin!(acting);
        let mut acts = true;
        let mut removed = Vec::new();
        loop {
            let event = tokio::select! {
                biased;
                () = &mut acting, if acts => {
                    acts = false;
                    continue;
                }
                event = next(&client) => event,
            };
            match event {
                Event::Removed { group, .. } => removed.push(group),
                Event::Reconnected { rejoined, refused, .. } => {
                    let refused = refused.into_iter().map(|(group, ..)| group).collect();
                    return Passage { removed, back: Some((rejoined, refused)) };
                }
                Event::Closed { .. } => return Passage { removed, back: None },
                _ => {}
            }
        }
    })
}

async fn act(client: Client, group: String, joins: bool) {
    let here =
        |answer: Result<u64, RequestError>| matches!(answer, Ok(_) | Err(RequestError::Refused { .. }));
    let event = EventName::new("E").unwrap();
    let to = Target::Group(fanfare_tests::group(&group));
    loop {
        let said = client.send_acked(Outgoing::new(event.clone(), "before the end").to(to.clone())).await;
        if !here(said) {
            return;
        }
        if joins && !(here(client.join(group.as_str()).await) && here(client.leave(group.as_str()).await)) {
            return;
        }
    }
}
