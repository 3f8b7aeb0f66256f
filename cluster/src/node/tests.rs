//! Nodes by hand: what each says is carried to the others when a test says so, and time goes as it says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_hub::{Lane, NoWay, Outgoing, Topic};
use fanfare_protocol::{ConnectionId, EventName, GroupName, PayloadFormat, Sender, Target, UserName};

use super::*;
use crate::fence::Standing;
use crate::reports::Void;
use crate::subject::{Claim, Duties};
use crate::topic::TopicNumber;
use crate::wire::{self, Heading, Message};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

type Post = Arc<Mutex<Vec<(NodeId, Bytes)>>>;

struct PostBus {
    post: Post,
    is_closed: Arc<AtomicBool>,
}

impl Bus for PostBus {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        if self.is_open() {
            self.post.lock().unwrap().push((to, message));
        }
        self.is_open()
    }

    fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }
}

fn id(at: usize) -> NodeId {
    NodeId::new([7, 0, 0, u8::try_from(at).unwrap()])
}

/// A node that nobody hears.
fn one_more() -> Node {
    let bus = Box::new(PostBus { post: Post::default(), is_closed: Arc::default() });
    Node::new(id(7), "n7".to_owned(), "1".to_owned(), Settings::default(), bus)
}

/// Some nodes, a log that keeps everything, and what each was given to do but heartbeats.
struct Nodes {
    now: Instant,
    nodes: Vec<Node>,
    posts: Vec<Post>,
    /// Whether a node has no way to any other.
    closed: Vec<Arc<AtomicBool>>,
    log: Vec<(NodeId, Option<Heartbeat>)>,
    effects: Vec<Vec<Effect>>,
    /// Nodes whose way to the log is cut, and ways on the bus that are.
    without_log: Vec<usize>,
    cut: Vec<(usize, usize)>,
    lost: usize,
    /// How often time goes on.
    step: Duration,
}

impl Nodes {
    fn with(settings: &[Settings]) -> Self {
        let posts: Vec<Post> = settings.iter().map(|_| Post::default()).collect();
        let closed: Vec<Arc<AtomicBool>> = settings.iter().map(|_| Arc::default()).collect();
        let node = |(at, settings): (usize, &Settings)| {
            let (post, is_closed) = (Arc::clone(&posts[at]), Arc::clone(&closed[at]));
            let bus = Box::new(PostBus { post, is_closed });
            Node::new(id(at), format!("n{at}"), "1".to_owned(), *settings, bus)
        };
        let nodes: Vec<Node> = settings.iter().enumerate().map(node).collect();
        let effects = settings.iter().map(|_| Vec::new()).collect();
        let (log, without_log, cut) = (Vec::new(), Vec::new(), Vec::new());
        let now = Instant::now();
        Self { now, nodes, posts, closed, log, effects, without_log, cut, lost: 0, step: 100 * MS }
    }

    /// So many that know each other, and have the lease.
    fn together(many: usize) -> Self {
        let mut some = Self::with(&vec![Settings::default(); many]);
        some.pass(SECOND);
        assert!((0..many).all(|at| some.nodes[at].has_lease && some.others(at).len() == many - 1));
        some.effects.iter_mut().for_each(Vec::clear);
        some
    }

    fn others(&self, at: usize) -> Vec<NodeId> {
        self.nodes[at].peers().into_iter().filter(|peer| peer.is_heard).map(|peer| peer.id).collect()
    }

    /// Everything that is on its way arrives.
    fn exchange(&mut self) {
        let mut on_the_way: VecDeque<(usize, NodeId, Bytes)> = VecDeque::new();
        loop {
            for at in 0..self.nodes.len() {
                for effect in self.nodes[at].effects() {
                    match effect {
                        Effect::Beat(_) if self.without_log.contains(&at) => {}
                        Effect::Beat(beat) => self.log.push((id(at), Some(beat))),
                        other => self.effects[at].push(other),
                    }
                }
                let sent = std::mem::take(&mut *self.posts[at].lock().unwrap());
                on_the_way.extend(sent.into_iter().map(|(to, bytes)| (at, to, bytes)));
            }
            let Some((from, to, bytes)) = on_the_way.pop_front() else { break };
            let Some(to) = (0..self.nodes.len()).find(|at| id(*at) == to) else { continue };
            if self.cut.contains(&(from, to)) {
                self.lost += 1;
            } else {
                self.nodes[to].message(&bytes, self.now);
            }
        }
    }

    /// Whoever reaches the log sees what is in it.
    fn see(&mut self) {
        for at in 0..self.nodes.len() {
            if self.without_log.contains(&at) {
                continue;
            }
            let seen = usize::try_from(self.nodes[at].in_force()).unwrap();
            for (revision, (id, beat)) in (1..).zip(&self.log).skip(seen) {
                self.nodes[at].heartbeat(*id, beat.clone(), revision, self.now);
            }
            self.nodes[at].caught_up(self.now);
        }
        self.exchange();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += self.step;
            let now = self.now;
            self.nodes.iter_mut().for_each(|node| node.tick(now));
            self.exchange();
            self.see();
        }
    }

    fn wants(&mut self, at: usize, group: &str) -> Option<Arc<Proof>> {
        let proof = self.nodes[at].wants(Topic::Group(&GroupName::new(group).unwrap()));
        let now = self.now;
        self.nodes[at].flush(now);
        proof
    }

    fn publish(&mut self, at: usize, to: &[Target], counts: bool) -> Option<Ticket> {
        let messages = [(EventName::new("E").unwrap(), PayloadFormat::Text, Bytes::from_static(b"x"))];
        let from = &Sender::Server;
        let outgoing = Outgoing { from, to, except: &[], messages: &messages, lane: Lane::Stream, counts };
        self.nodes[at].publish(&outgoing, self.now).expect("the bus is open")
    }

    /// How many publications a node was given to deliver, and how many it is missing, since this was last asked.
    fn arrived(&mut self, at: usize) -> (usize, u64) {
        let effects = std::mem::take(&mut self.effects[at]);
        let delivered = effects.iter().filter(|effect| matches!(effect, Effect::Deliver { .. })).count();
        let missed =
            effects.iter().map(|effect| if let Effect::Missed(_, missed) = effect { *missed } else { 0 });
        (delivered, missed.sum())
    }

    fn fenced(&mut self, at: usize) -> BTreeMap<u64, Fenced> {
        let effects = std::mem::take(&mut self.effects[at]);
        let fenced = effects.into_iter().filter_map(|effect| match effect {
            Effect::Fenced(number, fenced) => Some((number, fenced)),
            _ => None,
        });
        fenced.collect()
    }
}

fn group(name: &str) -> Target {
    Target::Group(GroupName::new(name).unwrap())
}

#[test]
fn promise_18_a_wish_is_proven_when_everybody_sends_and_nobody_else_is_sent_anything() {
    let mut some = Nodes::together(3);
    let proof = some.wants(0, "room").unwrap();
    some.exchange();
    assert!(proof.is_settled());
    assert!(some.wants(0, "room").is_none());
    some.publish(1, &[group("room"), group("other")], false);
    some.publish(1, &[group("other")], false);
    some.exchange();
    assert_eq!([0, 1, 2].map(|at| some.arrived(at)), [(1, 0), (0, 0), (0, 0)]);
    assert_eq!((some.nodes[1].topics(), some.nodes[0].topics()), ((0, 1), (1, 0)));
}

#[test]
fn promise_18_what_is_lost_is_asked_for_again_and_given_up_in_time() {
    let mut some = Nodes::together(2);
    some.cut = vec![(1, 0)];
    let proof = some.wants(0, "room").unwrap();
    some.pass(500 * MS);
    some.cut.clear();
    some.pass(500 * MS);
    assert!(proof.is_settled() && some.lost > 0, "the answer was lost, and then was not");

    some.cut = vec![(0, 1)];
    let proof = some.wants(0, "hall").unwrap();
    some.pass(1_900 * MS);
    assert!(some.effects[0].is_empty());
    some.pass(200 * MS);
    let [Effect::Remove(topic, waits)] = some.effects[0].as_slice() else { panic!("{:?}", some.effects[0]) };
    assert_eq!(*topic, TopicName::Group(GroupName::new("hall").unwrap()));
    assert!(Arc::ptr_eq(waits, &proof));
}

#[test]
fn promise_18_a_gap_is_told_with_whatever_comes_next() {
    let mut some = Nodes::together(2);
    some.wants(0, "room");
    some.exchange();
    some.cut = vec![(1, 0)];
    (0..3).for_each(|_| _ = some.publish(1, &[group("room")], false));
    some.exchange();
    some.cut.clear();
    assert_eq!(some.arrived(0), (0, 0));
    some.publish(1, &[group("room")], false);
    some.exchange();
    assert_eq!(some.arrived(0), (1, 3));
    some.cut = vec![(1, 0)];
    some.publish(1, &[group("room")], false);
    some.exchange();
    some.cut.clear();
    some.pass(600 * MS);
    assert_eq!(some.arrived(0), (0, 1), "a ping is enough");
    assert_eq!((some.nodes[0].counts().missed, some.nodes[0].peers()[0].missed), (4, 4));
}

#[test]
fn promise_18_a_node_that_goes_without_a_word_may_have_taken_messages_with_it() {
    let mut some = Nodes::together(3);
    (some.without_log, some.cut) = (vec![2], vec![(2, 0), (2, 1)]);
    some.pass(10 * SECOND);
    assert_eq!((some.others(0), some.arrived(0)), (vec![id(1)], (0, 1)), "how many nobody knows");
    // Who says that it goes says how much it had sent.
    some.cut.push((1, 0));
    some.publish(1, &[Target::All], false);
    some.exchange();
    some.cut = vec![(2, 0), (2, 1)];
    some.nodes[1].leave();
    some.exchange();
    assert_eq!((some.others(0), some.arrived(0)), (vec![], (0, 1)), "the one that was lost");
}

#[test]
fn promise_18_who_has_said_that_it_goes_takes_nothing_for_others_any_more() {
    let mut some = Nodes::together(2);
    some.wants(0, "room");
    some.exchange();
    some.nodes[1].leave();
    let publish = |some: &mut Nodes, to: Target| {
        let from = Sender::Server;
        let messages = [(EventName::new("E").unwrap(), PayloadFormat::Text, Bytes::new())];
        let to = [to];
        let outgoing = Outgoing {
            from: &from,
            to: &to,
            except: &[],
            messages: &messages,
            lane: Lane::Stream,
            counts: false,
        };
        let now = some.now;
        some.nodes[1].publish(&outgoing, now)
    };
    assert!(matches!(publish(&mut some, group("room")), Err(NoWay)));
    assert!(matches!(publish(&mut some, group("nobody")), Ok(None)), "nobody elsewhere wants it");
}

/// Its entry in the log and its last word go different ways.
#[test]
fn a_node_that_goes_may_be_heard_to_go_when_its_entry_is_gone_already() {
    let mut some = Nodes::together(3);
    some.wants(0, "room");
    some.exchange();
    some.publish(1, &[group("room")], false);
    some.nodes[1].leave();
    let last = std::mem::take(&mut *some.posts[1].lock().unwrap());
    (some.without_log, some.cut) = (vec![1], vec![(1, 0), (1, 2)]);
    some.log.push((id(1), None));
    some.see();
    assert_eq!((some.others(0), some.arrived(0)), (vec![id(2)], (0, 0)));
    let now = some.now;
    let (_, bye) = last.iter().rev().find(|(to, _)| *to == id(0)).unwrap();
    some.nodes[0].message(bye, now);
    some.pass(2 * SECOND);
    assert_eq!((some.others(0), some.arrived(0)), (vec![id(2)], (0, 1)), "what it says is lost is lost");
    some.effects[2].retain(|effect| matches!(effect, Effect::Missed(..)));
    assert_eq!(some.arrived(2), (0, 1), "it has not said so to this one");
}

/// A node that starts finds heartbeats that others have left behind: they were gone before it was there. What comes
/// behind them is of one that was there, also where this node hears of it alone, when it knows again what was decided.
#[test]
fn who_was_gone_before_has_taken_nothing_with_it_and_who_came_later_may_have() {
    let left = Nodes::together(2).log.iter().rev().find_map(|(_, beat)| beat.clone());
    let mut some = Nodes::with(&[Settings::default(); 2]);
    some.log.push((id(9), left.clone()));
    some.pass(SECOND);
    assert_eq!(some.nodes[0].peers().len(), 2, "it may be there");
    some.pass(9 * SECOND);
    assert_eq!((some.others(0), some.arrived(0)), (vec![id(1)], (0, 0)));
    some.log.push((id(8), left.clone()));
    let revision = some.log.len() as u64;
    some.pass(10 * SECOND);
    assert_eq!((some.others(0), some.arrived(0)), (vec![id(1)], (0, 1)));
    // A watch that is made anew gives both again.
    for (number, revision) in [(9, 1), (8, revision)] {
        let now = some.now;
        some.nodes[0].heartbeat(id(number), left.clone(), revision, now);
    }
    some.pass(10 * SECOND);
    assert_eq!((some.others(0), some.arrived(0)), (vec![id(1)], (0, 0)), "that was told");
}

/// A node that cannot hear the log for a while meets others by what they say alone, or by their last heartbeat.
#[test]
fn promise_18_who_goes_without_a_word_that_arrives_may_have_taken_something_with_it_however_it_was_known() {
    for is_heard in [false, true] {
        let mut some = Nodes::together(2);
        let newest = some.log.len() as u64;
        let left = some.log.iter().rev().find_map(|(_, beat)| beat.clone()).unwrap();
        if is_heard {
            let (heading, now) = (Heading { from: id(7), published: 0 }, some.now);
            some.nodes[0].message(&wire::encode(heading, &Message::Ping { revision: 1 }), now);
        } else {
            some.log.push((id(7), Some(Heartbeat { in_force: newest, ..left.clone() })));
            // This one has never heard of the two.
            some.log.push((id(6), Some(Heartbeat { in_force: 0, ..left })));
            some.see();
            some.log.push((id(6), None));
        }
        some.log.push((id(7), None));
        some.see();
        some.effects[0].clear();
        some.pass(2 * SECOND);
        assert_eq!((some.others(0), some.arrived(0)), (vec![id(1)], (0, 1)), "{is_heard}");
    }
}

#[test]
fn promise_18_what_cannot_be_sent_is_refused_where_somebody_may_want_it() {
    let mut some = Nodes::together(2);
    some.wants(0, "room");
    some.exchange();
    some.closed[1].store(true, Ordering::Relaxed);
    let to = |name| [group(name)];
    let messages = [(EventName::new("E").unwrap(), PayloadFormat::Text, Bytes::from_static(b"x"))];
    let mut publish = |to: &[Target]| {
        let from = &Sender::Server;
        let outgoing =
            Outgoing { from, to, except: &[], messages: &messages, lane: Lane::Stream, counts: false };
        let now = some.now;
        some.nodes[1].publish(&outgoing, now)
    };
    assert_eq!(publish(&to("room")), Err(NoWay));
    assert_eq!(publish(&to("other")), Ok(None), "nobody else is to have it");
    some.closed[1].store(false, Ordering::Relaxed);
    some.pass(SECOND);
    assert_eq!(some.arrived(0), (0, 0), "what was refused is not missed");
    some.publish(1, &to("room"), false);
    some.exchange();
    assert_eq!(some.arrived(0), (1, 0));
    // Who serves without the others goes on, and they are told what they missed.
    let serving = Settings { serves_without: true, ..Settings::default() };
    let mut some = Nodes::with(&[Settings::default(), serving]);
    some.pass(SECOND);
    some.wants(0, "room");
    some.exchange();
    some.effects.iter_mut().for_each(Vec::clear);
    some.closed[1].store(true, Ordering::Relaxed);
    assert_eq!(some.publish(1, &to("room"), false), None);
    some.closed[1].store(false, Ordering::Relaxed);
    some.pass(SECOND);
    assert_eq!(some.arrived(0), (0, 1));
}

#[test]
fn promise_18_what_comes_twice_is_delivered_once() {
    let mut some = Nodes::together(2);
    some.wants(0, "room");
    some.exchange();
    some.publish(1, &[group("room")], false);
    let (_, bytes) = some.posts[1].lock().unwrap()[0].clone();
    some.exchange();
    let now = some.now;
    some.nodes[0].message(&bytes, now);
    some.exchange();
    assert_eq!((some.arrived(0), some.nodes[0].counts().late), ((1, 0), 1));
}

#[test]
fn promise_18_a_new_node_is_sent_everything_until_it_has_said_what_it_wants() {
    let mut some = Nodes::with(&[Settings::default(); 2]);
    some.without_log = vec![1];
    some.pass(SECOND);
    some.wants(0, "room");
    some.without_log.clear();
    some.now += 500 * MS;
    let now = some.now;
    some.nodes[1].tick(now);
    for effect in some.nodes[1].effects() {
        if let Effect::Beat(beat) = effect {
            some.log.push((id(1), Some(beat)));
        }
    }
    let revision = some.log.len() as u64;
    let beat = some.log[some.log.len() - 1].1.clone();
    some.nodes[0].heartbeat(id(1), beat, revision, now);
    some.nodes[0].caught_up(now);
    assert!(!some.nodes[0].peers()[0].is_heard);
    some.publish(0, &[group("any")], false);
    some.exchange();
    assert_eq!(some.arrived(1), (1, 0));
    some.pass(SECOND);
    assert_eq!(some.others(0), [id(1)]);
    some.publish(0, &[group("any")], false);
    some.publish(1, &[group("room")], false);
    some.exchange();
    assert_eq!((some.arrived(1).0, some.arrived(0).0), (0, 1), "and it knows what is wanted here");
}

#[test]
fn promise_19_a_lease_ends_without_the_log_and_is_told_each_time() {
    let mut some = Nodes::together(2);
    some.without_log = vec![0];
    some.pass(6 * SECOND);
    let leases = |some: &mut Nodes| {
        let effects = std::mem::take(&mut some.effects[0]).into_iter();
        effects
            .filter_map(|effect| if let Effect::Lease(holds) = effect { Some(holds) } else { None })
            .collect()
    };
    let told: Vec<bool> = leases(&mut some);
    assert_eq!(told, [false]);
    assert_eq!(some.nodes[0].lease_until(), None);
    some.without_log.clear();
    some.pass(600 * MS);
    let told: Vec<bool> = leases(&mut some);
    assert_eq!(told, [true]);
    assert!(some.nodes[0].lease_until().is_some_and(|until| until > some.now));
}

/// What another entry has taken the place of comes later: until there is nothing behind, nothing is known for certain.
#[test]
fn promise_19_a_heartbeat_that_is_back_is_no_lease_while_there_is_more_behind_it() {
    let mut some = Nodes::together(2);
    some.without_log = vec![0, 1];
    some.pass(6 * SECOND);
    let now = some.now;
    let (first, second) = (some.log.len() as u64 + 1, some.log.len() as u64 + 2);
    let beat = |node: &mut Node| {
        node.tick(now + 500 * MS);
        let beats = node.effects().into_iter().filter_map(|effect| match effect {
            Effect::Beat(beat) => Some(beat),
            _ => None,
        });
        beats.last().unwrap()
    };
    let (own, other) = (beat(&mut some.nodes[0]), beat(&mut some.nodes[1]));
    some.nodes[0].heartbeat(id(0), Some(own), first, now + 500 * MS);
    assert!(!some.nodes[0].has_lease);
    assert_eq!(some.nodes[0].peers().len(), 1, "and who is behind it is not given up");
    some.nodes[0].heartbeat(id(1), Some(other), second, now + 500 * MS);
    some.nodes[0].caught_up(now + 500 * MS);
    assert!(some.nodes[0].has_lease);
    assert_eq!((some.nodes[0].peers().len(), some.nodes[0].in_force()), (1, second));
}

#[test]
fn a_node_that_is_silent_is_given_up_and_what_it_left_is_forgotten() {
    let mut some = Nodes::together(2);
    some.without_log = vec![1];
    some.cut = vec![(1, 0), (0, 1)];
    some.pass(4_900 * MS);
    let proof = some.wants(0, "room").unwrap();
    assert_eq!(some.nodes[0].peers().len(), 1);
    some.pass(900 * MS);
    assert_eq!(some.nodes[0].peers(), []);
    assert!(proof.is_settled(), "nobody waits for it");
    assert!(some.effects[0].iter().any(|effect| matches!(effect, Effect::Went(gone) if *gone == id(1))));
    let forgets = |some: &mut Nodes| {
        let effects = std::mem::take(&mut some.effects[0]);
        effects.iter().filter(|effect| matches!(effect, Effect::Forget(gone, _) if *gone == id(1))).count()
    };
    assert_eq!(forgets(&mut some), 1, "who starts now would wait for it");
    some.pass(11 * SECOND);
    assert_eq!(forgets(&mut some), 2, "as long as it is there");
}

#[test]
fn what_the_node_left_whose_state_this_one_has_is_waited_for_by_nobody_and_forgotten() {
    for serves_without in [false, true] {
        let dead = Settings { serves_without, ..Settings::default() };
        let mut some = Nodes::with(&[Settings::default(), dead]);
        some.pass(SECOND);
        some.without_log = vec![1];
        some.cut = vec![(1, 0), (0, 1)];
        let left = some.log.iter().zip(1..).filter(|((of, _), _)| *of == id(1)).last();
        let ((_, Some(left)), revision) = left.unwrap() else { panic!() };
        let now = some.now;
        let mut node = one_more();
        node.succeed(Some(id(1)));
        (0..2).for_each(|_| node.heartbeat(id(1), Some(left.clone()), revision, now));
        node.caught_up(now);
        assert_eq!((node.peers().len(), node.lost().len()), (0, 0));
        node.tick(now);
        let forgotten = |effect: &Effect| match effect {
            Effect::Forget(gone, at) => Some((*gone, *at)),
            _ => None,
        };
        let told: Vec<_> = node.effects().iter().filter_map(forgotten).collect();
        assert_eq!(told, [(id(1), revision)]);
        node.heartbeat(id(1), None, revision + 9, now);
        node.tick(now + 11 * SECOND);
        assert!(
            !node.effects().iter().any(|effect| matches!(effect, Effect::Forget(..) | Effect::Missed(..)))
        );
        // The directory was another's all the same.
        node.heartbeat(id(1), Some(left.clone()), revision + 10, now);
        assert_eq!(node.peers().len(), 1);
    }
}

#[test]
fn promise_19_whoever_goes_on_putting_heartbeats_is_not_dead() {
    let now = Instant::now();
    let mut node = one_more();
    node.succeed(Some(id(1)));
    let mut some = Nodes::together(2);
    some.pass(SECOND);
    let left = some.log.iter().rev().find_map(|(of, beat)| beat.clone().filter(|_| *of == id(1))).unwrap();
    // A bucket may keep more than the newest of each key.
    node.heartbeat(id(1), Some(left.clone()), 9, now);
    node.heartbeat(id(1), Some(left.clone()), 10, now);
    node.caught_up(now);
    assert_eq!(node.peers().len(), 0);
    node.heartbeat(id(1), Some(left), 12, now);
    assert_eq!(node.peers().len(), 1);
    node.tick(now);
    assert!(!node.effects().iter().any(|effect| matches!(effect, Effect::Forget(..))));
}

/// The lease that it has lost says nothing about the one that it has.
#[test]
fn promise_18_a_node_is_not_given_up_by_what_is_older_than_its_lease() {
    let mut some = Nodes::together(2);
    some.without_log = vec![1];
    some.pass(4_900 * MS);
    let hello = Message::Hello { session: 99, lease: some.log.len() as u64 + 4 };
    let now = some.now;
    some.nodes[0].message(&wire::encode(Heading { from: id(1), published: 0 }, &hello), now);
    let has_gone = |some: &Nodes| {
        some.effects[0].iter().any(|effect| matches!(effect, Effect::Went(gone) if *gone == id(1)))
    };
    some.pass(600 * MS);
    some.log.push((id(1), None));
    some.see();
    assert!(!has_gone(&some), "it is overdue, and deleted; by its word both are older");
    some.pass(2 * SECOND);
    assert!(has_gone(&some), "what its lease rests on is behind, and it was not there");
}

#[test]
fn promise_18_who_was_given_up_and_is_back_is_asked_anew_and_learns_what_it_missed() {
    let mut some = Nodes::together(2);
    some.wants(1, "room");
    some.exchange();
    some.without_log = vec![1];
    some.cut = vec![(1, 0), (0, 1)];
    some.pass(7 * SECOND);
    assert_eq!(some.nodes[0].peers(), []);
    (0..3).for_each(|_| _ = some.publish(0, &[group("room")], false));
    some.effects[1].clear();
    some.without_log.clear();
    some.cut.clear();
    some.pass(SECOND);
    assert_eq!(some.arrived(1), (0, 3));
    assert_eq!((some.others(0), some.others(1)), (vec![id(1)], vec![id(0)]));
    some.publish(0, &[group("room")], false);
    some.publish(0, &[group("other")], false);
    some.exchange();
    assert_eq!(some.arrived(1), (1, 0), "it was asked under a number of its own, and has told everything");
}

#[test]
fn promise_18_a_process_that_stood_still_sends_to_everybody_before_it_ticks() {
    let mut some = Nodes::together(2);
    some.now += 6 * SECOND;
    some.publish(0, &[group("room")], false);
    some.exchange();
    assert_eq!(some.arrived(1), (1, 0), "what it knows that nobody wants is worth nothing");
}

#[test]
fn promise_18_who_is_away_and_finds_somebody_gone_may_have_missed_something() {
    let mut some = Nodes::together(2);
    some.without_log = vec![0];
    some.pass(6 * SECOND);
    some.arrived(0);
    some.without_log = vec![1];
    some.cut = vec![(1, 0)];
    some.pass(7 * SECOND);
    assert_eq!((some.nodes[0].peers(), some.arrived(0)), (vec![], (0, 1)));
}

/// What it had left is forgotten, so that one which starts then does not know of it, and sends it nothing.
#[test]
fn promise_18_who_is_away_and_finds_somebody_new_may_have_missed_something() {
    let mut some = Nodes::together(2);
    let (left, mut now) = (some.log.last().cloned().unwrap().1, some.now);
    let revision = some.log.len() as u64 + 1;
    for has_lease in [true, false] {
        now += if has_lease { 100 * MS } else { 6 * SECOND };
        // Before it has looked at the time.
        let node = &mut some.nodes[0];
        let new = id(8 + usize::from(has_lease));
        let heading = Heading { from: new, published: 0 };
        let mut missed = |event: &dyn Fn(&mut Node)| {
            event(node);
            node.effects().iter().filter(|effect| matches!(effect, Effect::Missed(_, 1))).count()
        };
        assert_eq!(missed(&|node| node.heartbeat(new, left.clone(), revision, now)), 0);
        let ping = wire::encode(heading, &Message::Ping { revision });
        assert_eq!(
            missed(&|node| node.message(&ping, now)),
            usize::from(!has_lease),
            "it knows whom it sends to"
        );
        assert_eq!(missed(&|node| node.message(&ping, now)), 0, "once");
    }
    // Not heard at all.
    let new = id(10);
    some.nodes[0].heartbeat(new, left, revision, now);
    some.nodes[0].heartbeat(new, None, revision + 1, now);
    assert!(some.nodes[0].effects().iter().any(|effect| matches!(effect, Effect::Missed(_, 1))));
}

#[test]
fn promise_18_wishes_of_before_a_node_asked_do_not_count() {
    let mut some = Nodes::together(2);
    let session = some.nodes[0].peers[0].as_ref().unwrap().session;
    let want = |session, number| Message::Want { session, batch: number, topics: vec![TopicNumber(number)] };
    let heading = Heading { from: id(1), published: 0 };
    let now = some.now;
    some.nodes[0].message(&wire::encode(heading, &want(session - 1, 77)), now);
    assert_eq!(some.nodes[0].topics(), (0, 0));
    some.nodes[0].message(&wire::encode(heading, &want(session, 78)), now);
    assert_eq!(some.nodes[0].topics(), (0, 1));
    let sent = std::mem::take(&mut *some.posts[0].lock().unwrap());
    let said: Vec<Message> = sent.iter().map(|(_, bytes)| wire::decode(bytes).unwrap().1).collect();
    assert_eq!(said, [Message::Wanted { batch: 77 }, Message::Wanted { batch: 78 }], "both are answered");
}

#[test]
fn a_node_that_says_that_it_goes_is_waited_for_by_nobody_and_not_met_again() {
    let mut some = Nodes::together(3);
    some.cut = vec![(1, 0), (2, 0)];
    let proof = some.wants(0, "room").unwrap();
    some.exchange();
    some.cut = vec![(2, 0)];
    some.nodes[1].leave();
    some.exchange();
    some.pass(600 * MS);
    assert_eq!(some.others(0), [id(2)], "though it still says that it is there");
    assert!(!proof.is_settled());
    some.cut.clear();
    some.pass(SECOND);
    assert!(proof.is_settled());
    let revision = some.log.len() as u64;
    let now = some.now;
    let fence = some.nodes[0].fence(revision, now, now + 7 * SECOND, now);
    some.pass(SECOND);
    let fenced = some.fenced(0).remove(&fence).unwrap();
    assert_eq!(fenced.nodes.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [id(0), id(2)]);
}

#[test]
fn a_node_for_which_there_is_no_room_does_not_serve_until_there_is() {
    let mut some = Nodes::with(&[Settings::default(); MOST_PEERS + 2]);
    some.step = 500 * MS;
    some.without_log = vec![MOST_PEERS + 1];
    some.pass(SECOND);
    assert_eq!(some.others(0).len(), MOST_PEERS);
    some.without_log.clear();
    some.pass(2 * SECOND);
    let serve = |some: &Nodes| some.nodes.iter().filter(|node| node.lease_until().is_some()).count();
    assert_eq!((serve(&some), some.others(0).len()), (MOST_PEERS + 1, MOST_PEERS));
    some.without_log = vec![3];
    some.cut = (0..MOST_PEERS + 2).map(|to| (3, to)).collect();
    some.pass(8 * SECOND);
    assert_eq!((serve(&some), some.others(MOST_PEERS + 1).len()), (MOST_PEERS + 1, MOST_PEERS));
    assert!(some.nodes[MOST_PEERS + 1].lease_until().is_some());
}

/// Its process stood still for so long that it was taken for dead.
#[test]
fn a_node_whose_heartbeat_was_deleted_can_come_back() {
    let mut some = Nodes::together(2);
    some.log.push((id(1), None));
    some.see();
    assert!(some.effects[0].iter().any(|effect| matches!(effect, Effect::Went(gone) if *gone == id(1))));
    some.pass(SECOND);
    assert_eq!(some.others(0), [id(1)]);
}

#[test]
fn promise_19_a_fence_is_closed_when_a_decision_is_in_force_everywhere() {
    let mut some = Nodes::together(3);
    some.log.push((id(9), None));
    let revision = some.log.len() as u64;
    let now = some.now;
    let number = some.nodes[0].fence(revision, now, now + 7 * SECOND, now);
    for at in [0, 1] {
        some.nodes[at].applied(revision);
        some.nodes[at].caught_up(now);
    }
    some.exchange();
    assert!(some.fenced(0).is_empty(), "not at the third");
    some.nodes[2].applied(revision);
    some.exchange();
    assert!(some.fenced(0).is_empty(), "it does not know what else there is");
    some.nodes[2].caught_up(now);
    some.exchange();
    assert!(some.fenced(0).remove(&number).unwrap().is_closed());
}

#[test]
fn promise_19_one_that_serves_without_is_named_before_and_after_it_was_given_up_and_never_forgotten() {
    let serving = Settings { serves_without: true, ..Settings::default() };
    let mut some = Nodes::with(&[Settings::default(), serving]);
    some.pass(SECOND);
    some.without_log = vec![1];
    some.cut = vec![(1, 0)];
    let standing = |some: &mut Nodes| {
        some.effects[0].clear();
        let (now, revision) = (some.now, some.log.len() as u64);
        let number = some.nodes[0].fence(revision, now, now + 8 * SECOND, now);
        some.pass(8 * SECOND);
        let fenced = some.fenced(0).remove(&number).unwrap();
        assert!(!fenced.is_closed());
        fenced.nodes[0].2.is_fenced() && fenced.nodes[1].2 == Standing::ServesWithout
            || fenced.nodes[0].2 == Standing::ServesWithout
    };
    assert!(standing(&mut some));
    assert!(standing(&mut some), "when it is no peer any more");
    // Its way to the others is back, and not that to the log: it is met, and is what it was.
    some.cut.clear();
    some.pass(SECOND);
    some.cut = vec![(1, 0)];
    assert!(standing(&mut some));
    some.effects[0].clear();
    some.pass(60 * SECOND);
    assert!(!some.effects[0].iter().any(|effect| matches!(effect, Effect::Forget(..))));
    assert!(standing(&mut some));
    // Somebody who knows that it is dead takes out what it has left.
    let [lost] = &some.nodes[0].lost()[..] else { panic!() };
    assert_eq!((lost.id, lost.heartbeat.name.as_str()), (id(1), "n1"));
    let (revision, now) = (some.log.len() as u64 + 1, some.now);
    some.nodes[0].heartbeat(id(1), None, revision, now);
    some.nodes[0].caught_up(now);
    assert_eq!(some.nodes[0].lost(), []);
    some.effects[0].clear();
    some.exchange();
    assert_eq!(
        some.arrived(0),
        (0, 1),
        "what it took for the others, it would have told of when it was back"
    );
    let number = some.nodes[0].fence(revision, now, now + 8 * SECOND, now);
    some.exchange();
    assert!(some.fenced(0).remove(&number).unwrap().is_closed());
}

#[test]
fn what_a_node_leaves_that_does_not_serve_without_names_nobody_as_lost() {
    let mut some = Nodes::together(2);
    some.without_log = vec![1];
    some.cut = vec![(1, 0)];
    some.pass(8 * SECOND);
    assert_eq!(some.nodes[0].peers(), []);
    assert_eq!(some.nodes[0].lost(), []);
}

#[test]
fn counts_of_all_nodes_come_together() {
    let mut some = Nodes::together(3);
    for at in [1, 2] {
        some.wants(at, "room");
    }
    some.exchange();
    let ticket = some.publish(0, &[group("room")], true).unwrap();
    some.exchange();
    for (at, copies) in [(1, 4), (2, 5)] {
        let Effect::Deliver { from, ticket, .. } = some.effects[at].remove(0) else { panic!() };
        some.nodes[at].counted(from, ticket, copies);
        some.exchange();
    }
    let tallied = Tallied { copies: 9, ..Tallied::default() };
    assert!(
        some.effects[0]
            .iter()
            .any(|effect| matches!(effect, Effect::Tallied(of, sum) if *of == ticket && *sum == tallied))
    );
    assert_eq!(some.publish(0, &[group("nobody")], true), None);
    let there = ConnectionId::on_node(id(2).bytes(), [0; 12]);
    assert!(some.publish(0, &[Target::Connection(there)], true).is_some());
    let user = Target::User(UserName::new("alice").unwrap());
    assert_eq!(some.publish(0, &[user], true), None);
    assert!(some.publish(0, &[Target::All], false).is_none());
}

/// From a node of a later version.
#[test]
fn promise_13_a_question_of_a_kind_that_is_not_known_is_answered_and_anything_else_is_passed_over() {
    let mut some = Nodes::together(2);
    let now = some.now;
    let known = wire::encode(Heading { from: id(1), published: 2 }, &Message::Ping { revision: 1 });
    let of_kind = |kind: u16| {
        let mut bytes = known.to_vec();
        bytes[2..4].copy_from_slice(&kind.to_le_bytes());
        Bytes::from(bytes)
    };
    some.nodes[0].message(&of_kind(0x7ff0), now);
    some.exchange();
    assert_eq!((some.nodes[0].counts().unknown, some.arrived(0)), (1, (0, 2)), "what it follows counts");
    // Its number is what the revision was.
    some.nodes[0].message(&of_kind(0x8ff0), now);
    let (to, said) = some.posts[0].lock().unwrap().pop().unwrap();
    assert_eq!((to, wire::decode(&said).unwrap().1), (id(1), Message::NotKnown { question: 1 }));
}

#[test]
fn promise_12_what_no_node_has_said_is_counted_and_does_nothing() {
    let mut some = Nodes::together(2);
    let now = some.now;
    let own = wire::encode(Heading { from: id(0), published: 2 }, &Message::Bye);
    let later = [&[0xfa, 2], &own[2..]].concat().into();
    for bytes in [Bytes::new(), Bytes::from_static(b"hello"), own.slice(..9), later, own] {
        some.nodes[0].message(&bytes, now);
    }
    assert_eq!(some.nodes[0].counts().foreign, 5);
    assert!(some.nodes[0].effects().is_empty() && some.nodes[0].peers().len() == 1);
}

#[test]
fn promise_12_no_number_that_a_peer_says_is_too_large() {
    let mut some = Nodes::together(2);
    let most = u64::MAX;
    let (now, heading) = (some.now, Heading { from: id(1), published: most });
    let beat = Heartbeat { lease_ms: most, number: most, in_force: most, ..some.log[0].1.clone().unwrap() };
    some.nodes[0].heartbeat(id(1), Some(beat), 3, now);
    let ticket = some.publish(0, &[Target::All], true).unwrap().0.get();
    let said = [
        Message::Counted { ticket, copies: most },
        Message::Want { session: most, batch: most, topics: vec![TopicNumber(most)] },
        Message::Wanted { batch: most },
        Message::Unwant { session: most, batch: most, topics: vec![TopicNumber(most)] },
        Message::Hello { session: most, lease: most },
        Message::Whole { session: most },
        Message::InForce { revision: most },
        Message::Ping { revision: most },
        Message::Answer { question: most, body: Bytes::new() },
        Message::NotKnown { question: most },
        Message::Ask { question: most, body: Bytes::new() },
    ];
    for message in said.iter().chain(&said) {
        some.nodes[0].message(&wire::encode(heading, message), now);
    }
    some.pass(10 * SECOND);
    assert_eq!(some.nodes[0].peers().len(), 1);
}

#[test]
fn questions_are_answered_by_all_or_by_one_and_who_does_not_is_named() {
    let mut some = Nodes::together(3);
    let until = some.now + SECOND;
    let all = some.nodes[0].ask(None, &Bytes::from_static(b"?"), until);
    let one = some.nodes[0].ask(Some(id(2)), &Bytes::from_static(b"!"), until);
    let nobody = some.nodes[0].ask(Some(id(8)), &Bytes::new(), until);
    some.exchange();
    for effect in std::mem::take(&mut some.effects[1]) {
        let Effect::Asked { from, question, body } = effect else { panic!() };
        some.nodes[1].answer(from, question, Some(body));
    }
    for effect in std::mem::take(&mut some.effects[2]) {
        let Effect::Asked { from, question, body } = effect else { panic!() };
        if body == b"!"[..] {
            some.nodes[2].answer(from, question, None);
        }
    }
    some.pass(1_100 * MS);
    let tallied: Vec<(Ticket, Tallied)> = std::mem::take(&mut some.effects[0])
        .into_iter()
        .filter_map(|effect| {
            if let Effect::Tallied(ticket, tallied) = effect { Some((ticket, tallied)) } else { None }
        })
        .collect();
    let answers = |answers: &[(usize, Option<&'static [u8]>)], silent: &[usize]| Tallied {
        copies: 0,
        answers: answers.iter().map(|(at, body)| (id(*at), body.map(Bytes::from_static))).collect(),
        silent: silent.iter().map(|at| id(*at)).collect(),
    };
    let expected = [
        (nobody, answers(&[], &[8])),
        (one, answers(&[(2, None)], &[])),
        (all, answers(&[(1, Some(b"?"))], &[2])),
    ];
    assert_eq!(tallied, expected);
}

/// Whoever has the duty next has to know that it was not done by this claim, or it does not count on what was told by
/// the one before.
#[test]
fn promise_17_a_claim_that_comes_back_when_its_node_goes_is_reported_as_one_by_which_nothing_was_told() {
    let notifies = Settings { notifies: true, ..Settings::default() };
    let mut some = Nodes::with(&[notifies, notifies]);
    some.pass(SECOND);
    let now = some.now;
    let [revision, next] = [1, 2].map(|more| some.log.len() as u64 + more);
    let claimed = some.effects[0].iter().find_map(|effect| match effect {
        Effect::Claim(duties, _) => Some(*duties),
        _ => None,
    });
    let claimed = Duties { before: 4, ..claimed.unwrap() };
    some.nodes[0].resign(now);
    some.nodes[0].duty(claimed, revision);
    let other = Claim { node: id(1), number: 1 };
    some.nodes[0].duty(Duties { holder: Some(other), before: revision }, next);
    some.posts[0].lock().unwrap().clear();
    some.nodes[0].flush(now);
    let said = std::mem::take(&mut *some.posts[0].lock().unwrap());
    let reported = said.iter().find_map(|(_, bytes)| match wire::decode(bytes).unwrap().1 {
        Message::Report(report) => Some(report.void),
        _ => None,
    });
    assert_eq!(reported, Some(Void { revision, before: 4 }));
    assert!(some.nodes[0].reported().is_err(), "it waits until that was heard");

    // What it has begun with is not said to be void, also where a watch that is made anew gives it again.
    let mut some = Nodes::with(&[notifies, notifies]);
    some.pass(SECOND);
    let now = some.now;
    some.nodes[0].duty(claimed, revision);
    some.nodes[0].flush(now);
    assert!(some.nodes[0].has_duty());
    some.nodes[0].resign(now);
    some.nodes[0].duty(claimed, revision);
    assert_eq!(some.nodes[0].unbegun, None);
}
