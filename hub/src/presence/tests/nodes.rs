//! Presence over several hubs: what a watcher is told on one is who is there on all.

use super::*;
use crate::Observer;
use crate::cluster::{Cluster, NoWay, NodeKey, Outgoing, Proof, Ticket, Topic};

/// The other hubs, as one of them has them: it says whom it asks, and notes what it is told.
#[derive(Default)]
struct Others {
    nodes: Vec<NodeKey>,
    /// The audience of the room that is open, or the last that was.
    audience: Lock<(u64, bool)>,
}

impl Cluster for Others {
    fn delivers(&self) -> bool {
        true
    }

    fn wants(&self, _: Topic<'_>) -> Option<Arc<Proof>> {
        None
    }

    fn left(&self, _: Topic<'_>) {}

    fn watches(&self, _: &GroupName, audience: u64) -> Vec<NodeKey> {
        let before = std::mem::replace(&mut *self.audience.lock(), (audience, true));
        assert!(audience > before.0);
        self.nodes.clone()
    }

    fn unwatches(&self, _: &GroupName, audience: u64) {
        let mut known = self.audience.lock();
        if known.0 == audience {
            known.1 = false;
        }
    }

    fn publish(&self, _: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay> {
        Ok(None)
    }
}

fn key(number: usize) -> NodeKey {
    NodeKey([0, 0, 0, u8::try_from(number).unwrap()])
}

fn observer_id(number: usize) -> ConnectionId {
    ConnectionId::from_bytes([0xff; 16].map(|byte: u8| byte - u8::try_from(number).unwrap()))
}

struct Site {
    hub: Hub<()>,
    others: Arc<Others>,
    /// What it is to the other hubs, while they watch the room here, and for which audience there.
    observers: BTreeMap<usize, (u64, Observer<()>)>,
}

fn site(number: usize, count: usize, limits: HubLimits) -> Site {
    let hub: Hub<()> = Hub::new(limits, Arc::new(Open));
    let nodes = (0..count).filter(|other| *other != number).map(key).collect();
    let others = Arc::new(Others { nodes, ..Others::default() });
    hub.cluster(Arc::clone(&others) as Arc<dyn Cluster>);
    Site { hub, others, observers: BTreeMap::new() }
}

fn frames_of(mut bytes: Bytes) -> Vec<PresenceFrame> {
    let mut reader = codec::FrameReader::new(u32::MAX);
    let frames = std::iter::from_fn(|| reader.next_frame(&mut bytes).unwrap());
    let decoded = frames.map(|frame| codec::decode_server(&frame).unwrap());
    decoded
        .map(|frame| match frame {
            ServerFrame::Presence(frame) => frame,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Carries what one hub has to say of its members to another.
fn carry(sites: &mut [Site], from: usize, to: usize, now: Instant) {
    while let Some(bytes) = sites[from].observers.get_mut(&to).and_then(|(_, observer)| observer.take(200)) {
        for frame in frames_of(bytes) {
            sites[to].hub.hear(key(from), frame, now);
        }
    }
}

/// Has each hub watch the room on the others while somebody watches it there.
fn ask(sites: &mut [Site]) {
    for asking in 0..sites.len() {
        let (audience, is_open) = *sites[asking].others.audience.lock();
        for asked in (0..sites.len()).filter(|asked| *asked != asking) {
            let site = &mut sites[asked];
            if !is_open {
                site.observers.remove(&asking);
                continue;
            }
            let new = || (0, site.hub.observer(observer_id(asking)));
            let (of, observer) = site.observers.entry(asking).or_insert_with(new);
            // Another audience knows nothing of what the one before was told.
            if std::mem::replace(of, audience) != audience {
                observer.watch(&room());
            }
        }
    }
}

fn settle(sites: &mut [Site], now: Instant) {
    ask(sites);
    for site in sites.iter() {
        announce(&site.hub, now);
    }
    for from in 0..sites.len() {
        for to in 0..sites.len() {
            carry(sites, from, to, now);
        }
    }
    for site in sites.iter() {
        announce(&site.hub, now);
    }
}

fn pair() -> Vec<Site> {
    (0..2).map(|number| site(number, 2, limits(100, 1_000, 2_000))).collect()
}

#[test]
fn who_watches_is_told_of_those_on_other_nodes_and_the_first_snapshot_has_them() {
    let mut sites = pair();
    let now = Instant::now();
    let (watcher, alice) = (seat(&sites[0].hub, 1, "watcher"), seat(&sites[0].hub, 2, "alice"));
    let (there, bob) = (seat(&sites[1].hub, 3, "alice"), seat(&sites[1].hub, 4, "bob"));
    let said = |seat: &Seat<()>, site: &Site, text: &str, at: u64| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        site.hub.describe(seat.member(), Some(Payload::from(text)), at).unwrap();
    };
    said(&alice, &sites[0], "here", 20);
    said(&there, &sites[1], "there", 10);
    join(&sites[0].hub, &alice);
    join(&sites[1].hub, &there);
    sites[0].hub.watch(watcher.member(), &room()).unwrap();
    announce(&sites[0].hub, now);
    assert!(told(watcher.member()).is_empty(), "the other node has not said who is there");
    settle(&mut sites, now);
    assert_eq!(told(watcher.member()), ["snapshot alice 2"]);

    said(&there, &sites[1], "later", 30);
    join(&sites[1].hub, &bob);
    settle(&mut sites, now);
    assert_eq!(told(watcher.member()), ["+alice 2 later", "+bob 1"]);
    said(&alice, &sites[0], "latest", 40);
    settle(&mut sites, now);
    assert_eq!(told(watcher.member()), ["+alice 2 latest"]);

    // From one node to the other, and back within the grace: never away.
    drop(bob);
    settle(&mut sites, now + ms(100));
    let bob = seat(&sites[0].hub, 5, "bob");
    join(&sites[0].hub, &bob);
    settle(&mut sites, now + ms(1_000));
    settle(&mut sites, now + ms(9_000));
    assert!(told(watcher.member()).is_empty());
    // With a grace, and it is one.
    drop(there);
    settle(&mut sites, now + ms(10_000));
    settle(&mut sites, now + ms(11_999));
    assert!(told(watcher.member()).is_empty());
    settle(&mut sites, now + ms(12_000));
    assert_eq!(told(watcher.member()), ["+alice 1 latest"]);

    assert_eq!(sites[1].hub.registry.abroad.watches(), 1);
    sites[0].hub.unwatch(watcher.member(), &room());
    settle(&mut sites, now + ms(12_100));
    settle(&mut sites, now + ms(12_200));
    assert!(!sites[0].others.audience.lock().1 && sites[1].observers.is_empty());
    assert_eq!(sites[1].hub.registry.abroad.kept(), 0, "nobody is kept whom nobody asks for");
}

#[test]
fn a_snapshot_waits_a_second_for_a_node_that_does_not_answer_and_not_for_one_that_has_gone() {
    for goes in [false, true] {
        let sites = pair();
        let (watcher, alice) = (seat(&sites[0].hub, 1, "watcher"), seat(&sites[0].hub, 2, "alice"));
        join(&sites[0].hub, &alice);
        let now = Instant::now();
        sites[0].hub.watch(watcher.member(), &room()).unwrap();
        announce(&sites[0].hub, now);
        announce(&sites[0].hub, now + ms(749));
        assert!(told(watcher.member()).is_empty());
        if goes {
            sites[0].hub.part(key(1), now + ms(749));
        } else {
            announce(&sites[0].hub, now + ms(750));
        }
        assert_eq!(told(watcher.member()), ["snapshot alice 1"]);
    }
}

#[test]
fn with_a_node_go_those_who_were_there_alone_after_the_grace() {
    let mut sites = pair();
    let now = Instant::now();
    let watcher = seat(&sites[0].hub, 1, "watcher");
    let there: Vec<Seat<()>> =
        (2..).zip(["alice", "bob"]).map(|(number, name)| seat(&sites[1].hub, number, name)).collect();
    there.iter().for_each(|seat| join(&sites[1].hub, seat));
    sites[0].hub.watch(watcher.member(), &room()).unwrap();
    settle(&mut sites, now);
    assert_eq!(told(watcher.member()), ["snapshot alice 1, bob 1"]);
    sites[0].hub.part(key(1), now);
    let alice = seat(&sites[0].hub, 9, "alice");
    announce(&sites[0].hub, now);
    join(&sites[0].hub, &alice);
    announce(&sites[0].hub, now + ms(1_999));
    assert!(told(watcher.member()).is_empty());
    announce(&sites[0].hub, now + ms(2_000));
    assert_eq!(told(watcher.member()), ["-bob"]);
}

#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Leave(usize),
    Say(usize, u8, u64),
    Watch(usize),
    Unwatch(usize),
    Settle(u64),
    /// What a hub has to say to another gets lost: it is asked anew.
    Lose(usize, usize),
    /// A hub takes another one for gone, and then it is back.
    Part(usize, usize),
}

const SITES: usize = 3;
const SEATS: usize = 9;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..SEATS).prop_map(Step::Join),
        3 => (0..SEATS).prop_map(Step::Leave),
        2 => (0..SEATS, 0..3_u8, 0..5_u64).prop_map(|(seat, what, at)| Step::Say(seat, what, at)),
        2 => (0..SITES).prop_map(Step::Watch),
        1 => (0..SITES).prop_map(Step::Unwatch),
        4 => (0..3_000_u64).prop_map(Step::Settle),
        1 => (0..SITES, 0..SITES).prop_map(|(from, to)| Step::Lose(from, to)),
        1 => (0..SITES, 0..SITES).prop_map(|(from, to)| Step::Part(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever comes, goes, is said, gets lost and is asked for anew: when all is quiet, each watcher has been told
    /// who is there on all nodes, with how many connections, and what was said of whom last on any of them.
    #[test]
    fn when_all_is_quiet_every_watcher_knows_who_is_there_on_all_nodes(
        steps in proptest::collection::vec(step(), 1..60),
        (frames, part_bytes) in prop_oneof![Just((100, 1_000)), Just((4, 20))],
    ) {
        let mut sites: Vec<Site> =
            (0..SITES).map(|number| site(number, SITES, limits(frames, part_bytes, 2_000))).collect();
        let number = |seat: usize| u32::try_from(seat).unwrap() + 10;
        let seats: Vec<Seat<()>> = (0..SEATS)
            .map(|one| seat(&sites[one % SITES].hub, number(one), ["alice", "bob", "carol"][one / SITES % 3]))
            .collect();
        let watchers: Vec<Seat<()>> =
            (0..SITES).map(|one| seat(&sites[one].hub, number(one) + 100, "watcher")).collect();
        let mut views = vec![View::default(); SITES];
        let (mut now, mut said) = (Instant::now(), BTreeMap::<usize, (u64, Payload)>::new());
        let mut orders = [0; SITES];
        for step in steps.into_iter().chain([Step::Watch(0), Step::Watch(1), Step::Watch(2)]) {
            match step {
                Step::Join(one) => join(&sites[one % SITES].hub, &seats[one]),
                Step::Leave(one) => {
                    sites[one % SITES].hub.leave(seats[one].member(), &room());
                }
                Step::Say(one, what, at) => {
                    let data = Payload::from(vec![what]);
                    let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(at);
                    let order = &mut orders[one % SITES];
                    *order = at.max(*order + 1);
                    said.insert(one, (*order, data.clone()));
                    sites[one % SITES].hub.describe(seats[one].member(), Some(data), moment).unwrap();
                }
                Step::Watch(one) => {
                    sites[one].hub.watch(watchers[one].member(), &room()).unwrap();
                }
                Step::Unwatch(one) => {
                    sites[one].hub.unwatch(watchers[one].member(), &room());
                    // What was queued of it before is thrown away.
                    views[one] = View::default();
                }
                Step::Settle(after) => {
                    now += ms(after);
                    settle(&mut sites, now);
                }
                Step::Lose(from, to) => {
                    sites[from].observers.remove(&to);
                }
                Step::Part(from, to) if from != to => {
                    sites[from].observers.remove(&to);
                    sites[to].hub.part(key(from), now);
                }
                Step::Part(..) => {}
            }
            for one in 0..SITES {
                presence(watchers[one].member()).into_iter().for_each(|frame| views[one].take(frame));
            }
        }
        for _ in 0..40 {
            now += ms(2_000);
            settle(&mut sites, now);
            for one in 0..SITES {
                presence(watchers[one].member()).into_iter().for_each(|frame| views[one].take(frame));
            }
        }
        let mut expected: BTreeMap<UserName, (u32, Vec<usize>)> = BTreeMap::new();
        for (one, seat) in seats.iter().enumerate() {
            if sites[one % SITES].hub.of_group(&room()).iter().any(|member| member.id() == seat.member().id()) {
                let (connections, of) = expected.entry(seat.member().user().clone()).or_default();
                *connections += 1;
                of.push(one);
            }
        }
        let expected: BTreeMap<UserName, (u32, Option<Payload>)> = expected
            .into_iter()
            .map(|(user, (connections, of))| {
                let said = of.iter().filter_map(|one| said.get(one));
                let data = said.max_by_key(|(order, data)| (*order, data.bytes.clone()));
                (user, (connections, data.map(|(_, data)| data.clone())))
            })
            .collect();
        for (one, view) in views.iter().enumerate() {
            prop_assert!(view.is_complete, "{one}");
            prop_assert_eq!(&view.users, &expected, "{}", one);
        }
    }
}

fn snapshot(begins: bool, complete: bool, names: &[&str]) -> PresenceFrame {
    let present = names.iter().map(|name| Present { user: user(name), connections: 1, data: None }).collect();
    PresenceFrame::Snapshot { group: room(), revision: 0, begins, complete, present }
}

#[test]
fn what_another_node_says_before_the_roster_is_looked_at_stays() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
    let audience = Audience::new(room(), 1, Readers::Clients, vec![key(1)]);
    // Between the moment at which it is asked, and that at which whoever watches has looked at the roster.
    assert_eq!(audience.hear(key(1), snapshot(true, true, &["alice", "bob"])), Heard::Complete);
    audience.seed(Some(&mut [Arc::clone(alice.member())].iter()));
    audience.hear(key(1), snapshot(true, true, &["alice", "bob", "carol"]));
    let reader = (watcher.member().id(), Reader::Client(Arc::clone(watcher.member())));
    let watched = audience.watch(reader, 1_000, &mut Tally::default()).unwrap();
    assert_eq!((watched.users, watched.is_new), (3, true));
    assert_eq!(told(watcher.member()), ["snapshot alice 2, bob 1, carol 1"]);
}

#[test]
fn the_end_of_what_was_begun_for_an_earlier_audience_is_not_waited_for() {
    let audience: Audience<()> = Audience::new(room(), 2, Readers::Clients, vec![key(1)]);
    assert_eq!(audience.hear(key(1), snapshot(false, true, &["zoe"])), Heard::Unsettled);
    assert_eq!(audience.hear(key(1), snapshot(true, false, &["alice"])), Heard::Settled);
    assert_eq!(audience.hear(key(1), snapshot(false, true, &["zoe"])), Heard::Complete);
}

/// Each would be a message of its own to everybody who watches.
#[test]
fn what_another_node_says_later_is_told_with_the_next_announcement() {
    let mut sites = pair();
    let now = Instant::now();
    let watcher = seat(&sites[0].hub, 1, "watcher");
    sites[0].hub.watch(watcher.member(), &room()).unwrap();
    settle(&mut sites, now);
    told(watcher.member());
    sites[0].hub.hear(key(1), snapshot(true, true, &["alice"]), now + ms(100));
    assert!(told(watcher.member()).is_empty());
    announce(&sites[0].hub, now + ms(200));
    assert_eq!(told(watcher.member()), ["+alice 1"]);
}

#[test]
fn a_connection_more_says_nothing_new_of_those_who_have_left() {
    let mut sites = pair();
    let now = Instant::now();
    let watcher = seat(&sites[0].hub, 1, "watcher");
    let here = [2, 3, 6].map(|number| seat(&sites[0].hub, number, "alice"));
    let there = seat(&sites[1].hub, 4, "alice");
    say(&sites[1], &there, "old", 1);
    say(&sites[0], &here[0], "new", 2);
    here.iter().for_each(|seat| join(&sites[0].hub, seat));
    join(&sites[1].hub, &there);
    sites[0].hub.watch(watcher.member(), &room()).unwrap();
    settle(&mut sites, now);
    assert_eq!(told(watcher.member()), ["snapshot alice 4"]);
    for seat in &here {
        sites[0].hub.leave(seat.member(), &room());
    }
    settle(&mut sites, now + ms(100));
    let more = seat(&sites[1].hub, 5, "alice");
    join(&sites[1].hub, &more);
    settle(&mut sites, now + ms(200));
    assert!(told(watcher.member()).is_empty(), "they may be back");
    let one_more = seat(&sites[0].hub, 7, "alice");
    join(&sites[0].hub, &one_more);
    settle(&mut sites, now + ms(300));
    assert!(told(watcher.member()).is_empty(), "nor one that is here");
    settle(&mut sites, now + ms(2_200));
    assert_eq!(told(watcher.member()), ["+alice 3 old"]);
}

#[test]
fn what_is_said_no_more_on_another_node_because_a_connection_has_left_waits_for_the_grace() {
    let mut sites = pair();
    let now = Instant::now();
    let watcher = seat(&sites[0].hub, 1, "watcher");
    let (page, other) = (seat(&sites[1].hub, 2, "alice"), seat(&sites[1].hub, 3, "alice"));
    for (seat, text, at) in [(&other, "old", 1), (&page, "new", 2)] {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        sites[1].hub.describe(seat.member(), Some(Payload::from(text)), at).unwrap();
        join(&sites[1].hub, seat);
    }
    sites[0].hub.watch(watcher.member(), &room()).unwrap();
    settle(&mut sites, now);
    told(watcher.member());
    sites[1].hub.leave(page.member(), &room());
    settle(&mut sites, now);
    join(&sites[1].hub, &page);
    settle(&mut sites, now + ms(1_900));
    assert!(told(watcher.member()).is_empty(), "a page that is loaded anew is no flicker");
    sites[1].hub.leave(page.member(), &room());
    settle(&mut sites, now + ms(3_000));
    settle(&mut sites, now + ms(5_000));
    assert_eq!(told(watcher.member()), ["+alice 1 old"]);
}

/// Says something of a connection, as of so many seconds.
fn say(site: &Site, seat: &Seat<()>, text: &str, at: u64) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
    site.hub.describe(seat.member(), Some(Payload::from(text)), at).unwrap();
}

#[test]
fn what_is_said_on_another_node_does_not_wait_for_the_grace_of_who_has_left_and_what_ends_there_does() {
    let mut sites = pair();
    let now = Instant::now();
    let (watcher, here) = (seat(&sites[0].hub, 1, "watcher"), seat(&sites[0].hub, 2, "alice"));
    let there = [3, 4].map(|number| seat(&sites[1].hub, number, "alice"));
    say(&sites[1], &there[0], "old", 1);
    say(&sites[0], &here, "new", 2);
    join(&sites[0].hub, &here);
    there.iter().for_each(|seat| join(&sites[1].hub, seat));
    sites[0].hub.watch(watcher.member(), &room()).unwrap();
    settle(&mut sites, now);
    assert_eq!(told(watcher.member()), ["snapshot alice 3"]);
    // The newest word leaves with its connection, and a connection on the other node has nothing new to say.
    sites[0].hub.leave(here.member(), &room());
    sites[1].hub.leave(there[1].member(), &room());
    settle(&mut sites, now + ms(100));
    assert!(told(watcher.member()).is_empty());
    say(&sites[1], &there[0], "newest", 3);
    settle(&mut sites, now + ms(200));
    assert_eq!(told(watcher.member()), ["+alice 3 newest"]);
    settle(&mut sites, now + ms(2_200));
    assert_eq!(told(watcher.member()), ["+alice 1 newest"]);
}

#[test]
fn an_observer_is_told_of_what_it_watches_in_messages_of_bounded_length() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 2_000), Arc::new(Open));
    let (alice, bob) = (seat(&hub, 1, "alice"), seat(&hub, 2, "bob"));
    let other = GroupName::new("other").unwrap();
    join(&hub, &alice);
    let mut observer = hub.observer(observer_id(1));
    assert_eq!((hub.registry.abroad.watches(), observer.take(1_000)), (0, None));
    observer.watch(&room());
    observer.watch(&other);
    observer.watch(&other);
    assert_eq!(hub.registry.abroad.watches(), 2);
    let both = observer.take(1_000).unwrap();
    assert_eq!(
        (frames_of(both.clone()).len(), observer.take(1_000)),
        (2, None),
        "the second took the first's place"
    );
    // As many as fit, to the byte, and one in any case.
    for (most, expected) in [(both.len(), &[2][..]), (both.len() - 1, &[1, 1]), (0, &[1, 1])] {
        observer.watch(&room());
        observer.watch(&other);
        let taken: Vec<usize> =
            std::iter::from_fn(|| observer.take(most)).map(|bytes| frames_of(bytes).len()).collect();
        assert_eq!(taken, expected, "{most}");
    }
    observer.unwatch(&other);
    assert_eq!(hub.registry.abroad.watches(), 1);
    hub.join(bob.member(), &other, Origin::Application).unwrap();
    announce(&hub, Instant::now());
    assert_eq!(observer.take(1_000), None, "it watches that no more");
    join(&hub, &bob);
    announce(&hub, Instant::now());
    assert_eq!(frames_of(observer.take(1_000).unwrap()).len(), 1);
    drop(observer);
    announce(&hub, Instant::now());
    assert_eq!(hub.registry.abroad.kept(), 0);
}

#[test]
fn who_is_said_to_have_left_is_not_there_and_its_grace_begins_once() {
    let gone = || PresenceFrame::Changes {
        group: room(),
        revision: 0,
        present: Vec::new(),
        left: vec![user("bob")],
    };
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 2_000), Arc::new(Open));
    let (watcher, now) = (seat(&hub, 1, "watcher"), Instant::now());
    let audience = Audience::new(room(), 1, Readers::Clients, vec![key(1)]);
    audience.seed(None);
    audience.hear(key(1), snapshot(true, true, &["alice", "bob"]));
    audience.hear(key(1), gone());
    let reader = (watcher.member().id(), Reader::Client(Arc::clone(watcher.member())));
    assert_eq!(audience.watch(reader, 1_000, &mut Tally::default()).unwrap().users, 1);
    assert_eq!(told(watcher.member()), ["snapshot alice 1"]);

    let limits = PresenceLimits { grace: ms(2_000), part_bytes: 1_000 };
    let announce = |at: u64| {
        audience.announce(now + ms(at), &limits, &mut Tally::default());
        told(watcher.member())
    };
    audience.hear(key(1), snapshot(true, true, &["bob"]));
    assert_eq!(announce(0), ["+bob 1"]);
    audience.hear(key(1), gone());
    assert!(announce(100).is_empty());
    // Said twice, it is as it was.
    audience.hear(key(1), gone());
    assert_eq!(announce(2_000), ["-alice"]);
    assert_eq!(announce(2_100), ["-bob"]);
}
