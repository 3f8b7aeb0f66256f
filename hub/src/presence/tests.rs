//! Presence against a plain model: whatever members, watchers, bans and time do, in whichever order.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_protocol::presence::PresenceFrame;
use fanfare_protocol::{
    Code, ConnectionId, Denial, EventName, Payload, PayloadFormat, Sender, ServerFrame, Target, codec,
};
use parking_lot::Mutex as Lock;
use proptest::prelude::*;

mod nodes;

use super::view::View;
use super::*;
use crate::{
    Gate, Hub, HubLimits, Newcomer, Nowhere, Open, Origin, OutboxLimits, Overflow, Publication, Seat,
};

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

fn limits(frames: usize, part_bytes: usize, grace: u64) -> HubLimits {
    HubLimits {
        outbox: OutboxLimits { frames, bytes: 1 << 24, overflow: Overflow::DropOldest },
        presence: PresenceLimits { grace: Duration::from_millis(grace), part_bytes },
        ..HubLimits::default()
    }
}

fn seat(hub: &Hub<()>, number: u32, name: &str) -> Seat<()> {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let newcomer = Newcomer {
        connection: ConnectionId::from_bytes(id),
        user: user(name),
        source: [127, 0, 0, 1].into(),
        line: Arc::new(Nowhere),
        permissions: (),
        dialect: None,
    };
    let first = ServerFrame::Ack { request: 0, count: 0 };
    hub.register(newcomer, &first, (Instant::now(), SystemTime::now())).ok().unwrap()
}

fn announce(hub: &Hub<()>, now: Instant) {
    let mut announcement = hub.announcement(now);
    for _ in 0..1_000 {
        if !announcement.go_on(1) {
            return;
        }
    }
    panic!("it never comes to its end");
}

fn join(hub: &Hub<()>, seat: &Seat<()>) {
    hub.join(seat.member(), &room(), Origin::Application).unwrap();
}

/// One batch of what is queued; what was taken before counts as written.
fn batch(member: &Member<()>) -> Option<Vec<ServerFrame>> {
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    let taken = member.outbox().poll_take(&mut context, &mut chunks);
    if !matches!(taken, Poll::Ready(crate::Taken::Batch(_))) {
        return None;
    }
    let (mut bytes, mut frames) = (Bytes::from(chunks.concat()), Vec::new());
    let mut reader = codec::FrameReader::new(u32::MAX);
    while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
        frames.push(codec::decode_server(&frame).unwrap());
    }
    Some(frames)
}

fn presence(member: &Member<()>) -> Vec<PresenceFrame> {
    let all = std::iter::from_fn(|| batch(member)).flatten();
    all.filter_map(|frame| match frame {
        ServerFrame::Presence(frame) => Some(frame),
        _ => None,
    })
    .collect()
}

fn names(present: &[Present]) -> Vec<(&str, u32)> {
    present.iter().map(|one| (one.user.as_str(), one.connections)).collect()
}

/// What was announced in one step: who is present, and who left.
fn told(member: &Member<()>) -> Vec<String> {
    let lines = presence(member).into_iter().flat_map(|frame| match frame {
        PresenceFrame::Snapshot { present, .. } => {
            let all: Vec<String> =
                names(&present).iter().map(|(user, count)| format!("{user} {count}")).collect();
            vec![format!("snapshot {}", all.join(", "))]
        }
        PresenceFrame::Changes { present, left, .. } => {
            let here = present.iter().map(|one| {
                let data = one.data.as_ref().map(|data| format!(" {}", String::from_utf8_lossy(&data.bytes)));
                format!("+{} {}{}", one.user, one.connections, data.unwrap_or_default())
            });
            here.chain(left.iter().map(|user| format!("-{user}"))).collect()
        }
        PresenceFrame::Ended { code, reason, .. } => vec![format!("ended {code} {reason}")],
    });
    lines.collect()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_watcher_hears_who_is_here_who_comes_and_who_has_gone_for_longer_than_the_grace() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 2_000), Arc::new(Open));
    let (watcher, alice, bob) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"), seat(&hub, 3, "bob"));
    join(&hub, &alice);
    assert_eq!(hub.watch(watcher.member(), &room()).unwrap(), 1);
    assert_eq!(told(watcher.member()), ["snapshot alice 1"]);
    let begin = Instant::now();
    announce(&hub, begin);
    assert!(told(watcher.member()).is_empty());

    join(&hub, &bob);
    announce(&hub, begin + ms(250));
    assert_eq!(told(watcher.member()), ["+bob 1"]);
    hub.leave(bob.member(), &room());
    announce(&hub, begin + ms(500));
    announce(&hub, begin + ms(2_499));
    assert!(told(watcher.member()).is_empty(), "the grace is not over");
    announce(&hub, begin + ms(2_500));
    assert_eq!(told(watcher.member()), ["-bob"]);
    announce(&hub, begin + ms(9_999));
    assert!(told(watcher.member()).is_empty());
    assert_eq!((hub.watches(), hub.watchers(&room())), (1, 1));
    assert_eq!(hub.presence_told(), (3, 0), "frames, and nobody had to be told anew");
    drop((alice, bob, watcher));
    assert_eq!((hub.watches(), hub.watchers(&room())), (0, 0));
}

#[test]
fn a_reload_is_no_flicker_also_not_beside_another_page() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 2_000), Arc::new(Open));
    let (watcher, page, other) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"), seat(&hub, 3, "alice"));
    join(&hub, &page);
    join(&hub, &other);
    hub.watch(watcher.member(), &room()).unwrap();
    assert_eq!(told(watcher.member()), ["snapshot alice 2"]);
    let begin = Instant::now();
    for (number, at) in (10..).zip([0, 3_000]) {
        if at > 0 {
            drop(seat(&hub, number, "nobody"));
        }
        hub.leave(other.member(), &room());
        announce(&hub, begin + ms(at));
        join(&hub, &other);
        announce(&hub, begin + ms(at + 2_500));
    }
    assert!(told(watcher.member()).is_empty());
    // A user with two connections leaves with the last one, and its grace begins then.
    hub.leave(other.member(), &room());
    announce(&hub, begin + ms(10_000));
    hub.leave(page.member(), &room());
    announce(&hub, begin + ms(11_900));
    announce(&hub, begin + ms(12_100));
    assert!(told(watcher.member()).is_empty(), "not with the grace of the first");
    announce(&hub, begin + ms(13_900));
    assert_eq!(told(watcher.member()), ["-alice"]);
}

#[test]
fn what_is_said_of_who_is_there_does_not_wait_for_the_grace_of_who_has_left() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 2_000), Arc::new(Open));
    let (watcher, page, other) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"), seat(&hub, 3, "alice"));
    let say = |text: &str| hub.describe(page.member(), Some(Payload::from(text)), SystemTime::now()).unwrap();
    say("before");
    hub.describe(other.member(), Some(Payload::from("other")), SystemTime::now()).unwrap();
    join(&hub, &page);
    join(&hub, &other);
    hub.watch(watcher.member(), &room()).unwrap();
    told(watcher.member());
    let begin = Instant::now();
    let expect = |at: u64, words: &[&str]| {
        announce(&hub, begin + ms(at));
        assert_eq!(told(watcher.member()), words, "{at}");
    };
    hub.leave(other.member(), &room());
    expect(0, &[]);
    say("now");
    expect(250, &["+alice 2 now"]);
    say("now");
    expect(500, &[]);
    hub.describe(page.member(), None, SystemTime::now()).unwrap();
    expect(750, &["+alice 2"]);
    expect(1_900, &[]);
    expect(2_000, &["+alice 1"]);
}

#[test]
fn without_a_grace_who_leaves_is_gone_with_the_next_announcement_and_who_came_and_went_was_never_there() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
    assert_eq!(hub.watch(watcher.member(), &room()).unwrap(), 0);
    assert_eq!(told(watcher.member()), ["snapshot "]);
    join(&hub, &alice);
    hub.leave(alice.member(), &room());
    announce(&hub, Instant::now());
    assert!(told(watcher.member()).is_empty());
    join(&hub, &alice);
    announce(&hub, Instant::now());
    assert_eq!(told(watcher.member()), ["+alice 1"]);
    drop(alice);
    announce(&hub, Instant::now());
    assert_eq!(told(watcher.member()), ["-alice"]);
}

#[test]
fn what_was_said_last_of_one_of_a_users_connections_is_told_and_is_bounded() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (watcher, one, two) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"), seat(&hub, 3, "alice"));
    let say = |seat: &Seat<()>, text: &str| {
        hub.describe(seat.member(), Some(Payload::from(text)), SystemTime::now()).unwrap();
    };
    say(&two, "second");
    say(&one, "first, and later");
    join(&hub, &one);
    join(&hub, &two);
    hub.watch(watcher.member(), &room()).unwrap();
    let PresenceFrame::Snapshot { present, .. } = presence(watcher.member()).pop().unwrap() else { panic!() };
    assert_eq!(present, hub.present(&room()), "what is asked for is what is told");
    let text = |present: &Present| present.data.clone().map(|data| data.bytes);
    assert_eq!(text(&present[0]), Some(Bytes::from("first, and later")));

    let expect = |words: &[&str]| {
        announce(&hub, Instant::now());
        assert_eq!(told(watcher.member()), words);
    };
    say(&two, "third");
    expect(&["+alice 2 third"]);
    say(&one, "fourth");
    say(&one, "fifth");
    expect(&["+alice 2 fifth"]);
    drop(one);
    expect(&["+alice 1 third"]);
    hub.describe(two.member(), None, SystemTime::now()).unwrap();
    expect(&["+alice 1"]);
    let long =
        |bytes: usize| hub.describe(two.member(), Some(Payload::from(vec![0; bytes])), SystemTime::now());
    assert_eq!(long(1_025).unwrap_err().code, Code::PayloadTooLarge);
    expect(&[]);
    assert!(long(1_024).is_ok());
}

#[test]
fn a_crowd_comes_in_frames_that_are_bounded_and_as_there_is_room() {
    let hub: Hub<()> = Hub::new(limits(8, 200, 0), Arc::new(Open));
    let crowd: Vec<Seat<()>> =
        (100..1_100).map(|number| seat(&hub, number, &format!("user {number}"))).collect();
    crowd.iter().for_each(|seat| join(&hub, seat));
    let watcher = seat(&hub, 1, "watcher");
    batch(watcher.member());
    assert_eq!(hub.watch(watcher.member(), &room()).unwrap(), 1_000);
    let mut view = View::default();
    let mut looks = 0;
    while !view.is_complete {
        assert!(watcher.member().outbox().facts().frames <= 8, "it is a notice that nothing may push out");
        for frame in presence(watcher.member()) {
            if let PresenceFrame::Snapshot { present, .. } = &frame {
                assert!(present.iter().map(attendance::weight).sum::<usize>() < 230);
            }
            view.take(frame);
        }
        announce(&hub, Instant::now());
        looks += 1;
        assert!(looks < 100);
    }
    assert!(looks > 5, "there was no room for all of it at once");
    assert_eq!(hub.registry.presence.held(&room()), (0, 0), "parts that all have are forgotten");
    assert_eq!((view.users.len(), view.snapshots), (1_000, 1));
}

#[test]
fn a_frame_has_as_many_users_as_fill_it() {
    // A user has its name, eight bytes, and what is said of it; one who has left has its name and three.
    for (said, in_a_frame) in [(None, 10), (Some(Payload::from(vec![7; 10])), 5)] {
        let hub: Hub<()> = Hub::new(limits(100, 100, 0), Arc::new(Open));
        let watchers = [1, 2].map(|number| seat(&hub, number, "watcher"));
        let sizes = |which: usize| {
            let size = |frame| match frame {
                PresenceFrame::Snapshot { present, .. } => (present.len(), 0),
                PresenceFrame::Changes { present, left, .. } => (present.len(), left.len()),
                PresenceFrame::Ended { .. } => (0, 0),
            };
            presence(watchers[which].member()).into_iter().map(size).collect::<Vec<_>>()
        };
        hub.watch(watchers[0].member(), &room()).unwrap();
        let crowd: Vec<Seat<()>> = (10..50).map(|number| seat(&hub, number, &number.to_string())).collect();
        for seat in &crowd {
            hub.describe(seat.member(), said.clone(), SystemTime::now()).unwrap();
            join(&hub, seat);
        }
        announce(&hub, Instant::now());
        let mut expected = vec![(in_a_frame, 0); 40 / in_a_frame];
        expected.insert(0, (0, 0));
        assert_eq!(sizes(0), expected);
        hub.watch(watchers[1].member(), &room()).unwrap();
        assert_eq!(sizes(1), expected[1..]);
        drop(crowd);
        announce(&hub, Instant::now());
        assert_eq!(sizes(0), [(0, 20); 2]);
    }
}

#[test]
fn where_nothing_has_changed_there_is_nothing_to_carry_through() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (first, second) = (seat(&hub, 1, "first"), seat(&hub, 2, "second"));
    let alice = seat(&hub, 3, "alice");
    let nothing = || !hub.announcement(Instant::now()).go_on(0);
    assert!(nothing());
    for watcher in [&first, &second] {
        hub.watch(watcher.member(), &room()).unwrap();
    }
    join(&hub, &alice);
    announce(&hub, Instant::now());
    assert!(nothing());
    // However much has changed, the group is looked at once.
    for _ in 0..3 {
        hub.leave(alice.member(), &room());
        join(&hub, &alice);
    }
    assert!(!hub.announcement(Instant::now()).go_on(1));
    assert!(nothing());
    // One of two that watch no longer does.
    assert!(hub.unwatch(first.member(), &room()));
    assert!(nothing());
    assert_eq!(told(second.member()), ["snapshot ", "+alice 1"]);
}

#[test]
fn changes_wait_for_the_announcement_as_many_as_there_is_room_for() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
    hub.watch(watcher.member(), &room()).unwrap();
    let waiting = || hub.registry.presence.held(&room()).0;
    for changes in 1..=20_000 {
        if changes % 2 == 1 {
            join(&hub, &alice);
        } else {
            hub.leave(alice.member(), &room());
        }
        // Who comes does not wait for those who are told.
        assert!(waiting() == changes || changes > 10_000);
    }
    assert!(waiting() < 20_000, "they fill no memory");
    join(&hub, &alice);
    announce(&hub, Instant::now());
    assert_eq!((told(watcher.member()), waiting()), (vec!["snapshot ".into(), "+alice 1".into()], 0));
}

#[test]
fn who_begins_to_watch_is_told_how_many_are_announced() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (first, second) = (seat(&hub, 1, "first"), seat(&hub, 2, "second"));
    let watch = |watcher: &Seat<()>| hub.watch(watcher.member(), &room()).unwrap();
    assert_eq!(watch(&first), 0);
    let crowd = [3, 4, 5, 6].map(|number| seat(&hub, number, &format!("user {number}")));
    crowd.iter().for_each(|seat| join(&hub, seat));
    assert_eq!(watch(&second), 0);
    announce(&hub, Instant::now());
    assert_eq!(watch(&second), 4);
    let [one, other, ..] = crowd;
    drop((one, other));
    announce(&hub, Instant::now());
    assert_eq!(watch(&second), 2);
}

/// However many come, one who watches gets a few frames a second, and no more than what they say.
#[test]
fn a_group_of_10_000_with_100_joins_a_second_costs_a_watcher_four_frames_a_second() {
    let hub: Hub<()> = Hub::new(limits(1_024, 16 * 1_024, 2_000), Arc::new(Open));
    let crowd: Vec<Seat<()>> =
        (100..11_100).map(|number| seat(&hub, number, &format!("user {number}"))).collect();
    let (members, coming) = crowd.split_at(10_000);
    members.iter().for_each(|seat| join(&hub, seat));
    let watcher = seat(&hub, 1, "watcher");
    let begin = Instant::now();
    hub.watch(watcher.member(), &room()).unwrap();
    let mut view = View::default();
    for _ in 0..100 {
        presence(watcher.member()).into_iter().for_each(|frame| view.take(frame));
        announce(&hub, begin);
    }
    assert!(view.is_complete);
    assert_eq!(view.users.len(), 10_000);
    // Ten seconds.
    let (mut frames, mut coming) = (0, coming.iter());
    for quarter in 1..=40 {
        coming.by_ref().take(25).for_each(|seat| join(&hub, seat));
        announce(&hub, begin + ms(250 * quarter));
        let told = presence(watcher.member());
        frames += told.len();
        told.into_iter().for_each(|frame| view.take(frame));
    }
    assert_eq!((frames, view.users.len(), view.snapshots), (40, 11_000, 1));
}

#[test]
fn a_watcher_that_reads_slowly_keeps_its_messages_and_is_told_anew() {
    let hub: Hub<()> = Hub::new(limits(8, 1_000, 0), Arc::new(Open));
    let (slow, quick) = (seat(&hub, 1, "slow"), seat(&hub, 2, "quick"));
    let mut views = [View::default(), View::default()];
    for watcher in [&slow, &quick] {
        batch(watcher.member());
        hub.watch(watcher.member(), &room()).unwrap();
    }
    presence(slow.member()).into_iter().for_each(|frame| views[0].take(frame));
    join(&hub, &slow);
    for _ in 0..5 {
        let to = vec![Target::Group(room())];
        hub.send(Publication {
            from: Sender::Server,
            to,
            except: Vec::new(),
            event: EventName::new("E").unwrap(),
            format: PayloadFormat::Binary,
            payload: Bytes::from_static(b"x"),
            accepted: Instant::now(),
            counts: false,
        })
        .unwrap();
    }
    let crowd: Vec<Seat<()>> = (10..14).map(|number| seat(&hub, number, &format!("user {number}"))).collect();
    for seat in &crowd {
        join(&hub, seat);
        announce(&hub, Instant::now());
        presence(quick.member()).into_iter().for_each(|frame| views[1].take(frame));
    }
    assert_eq!((views[1].users.len(), views[1].snapshots), (5, 1));
    assert_eq!(hub.presence_told().1, 1, "a watcher had no room");
    let frames: Vec<_> = std::iter::from_fn(|| batch(slow.member())).flatten().collect();
    let messages = frames.iter().filter(|frame| matches!(frame, ServerFrame::Message(_))).count();
    assert_eq!(messages, 5, "presence pushes nothing out");
    assert!(!frames.iter().any(|frame| matches!(frame, ServerFrame::Presence(_))), "{frames:?}");
    announce(&hub, Instant::now());
    presence(slow.member()).into_iter().for_each(|frame| views[0].take(frame));
    assert_eq!((&views[0].users, views[0].snapshots), (&views[1].users, 2));
}

/// Users who may not watch or be in the room.
#[derive(Default)]
struct Bans(Lock<BTreeSet<(UserName, GroupName)>>);

impl Gate<()> for Bans {
    fn enter(&self, _: &UserName, (): &()) -> Result<(), Denial> {
        Ok(())
    }

    fn join(&self, user: &UserName, (): &(), group: &GroupName, _: Origin) -> Result<(), Denial> {
        self.watch(user, &(), group)
    }

    fn watch(&self, user: &UserName, (): &(), group: &GroupName) -> Result<(), Denial> {
        if self.0.lock().contains(&(user.clone(), group.clone())) {
            return Err(Code::BannedFromGroup.into());
        }
        Ok(())
    }
}

/// It reads a batch at every fourth announcement, and at each announcement somebody comes or goes.
#[test]
fn a_slow_watcher_of_a_lively_group_gets_to_the_end_of_its_snapshot() {
    let outbox = OutboxLimits { frames: 1_024, bytes: 128 * 1024, overflow: Overflow::Disconnect };
    let hub: Hub<()> = Hub::new(HubLimits { outbox, ..limits(1_024, 16 * 1024, 0) }, Arc::new(Open));
    let members: Vec<_> =
        (10..1_510).map(|number| seat(&hub, number, &format!("{number}{}", "x".repeat(200)))).collect();
    for member in &members {
        join(&hub, member);
    }
    let (watcher, guest) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "guest"));
    hub.watch(watcher.member(), &room()).unwrap();
    let (begin, mut turns) = (Instant::now(), 0);
    while !hub.registry.presence.is_current(&room(), watcher.member()) {
        turns += 1;
        assert!(turns < 200, "it never gets to the end");
        if turns % 2 == 0 {
            join(&hub, &guest);
        } else {
            hub.leave(guest.member(), &room());
        }
        announce(&hub, begin + ms(250 * turns));
        if turns % 4 == 0 {
            let _ = batch(watcher.member());
        }
    }
    assert!(watcher.member().outbox().close_reason().is_none());
}

#[test]
fn who_watches_and_does_not_by_turns_has_the_group_looked_at_once() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
    join(&hub, &alice);
    for _ in 0..10 {
        hub.watch(watcher.member(), &room()).unwrap();
        assert!(hub.unwatch(watcher.member(), &room()));
    }
    assert_eq!(hub.registry.presence.kept(), 1, "it waits for the next announcement");
    // What happens in between is not missed by who comes back.
    let bob = seat(&hub, 3, "bob");
    join(&hub, &bob);
    assert_eq!(hub.watch(watcher.member(), &room()).unwrap(), 1);
    announce(&hub, Instant::now());
    assert_eq!(told(watcher.member()), ["snapshot alice 1", "+bob 1"]);
    assert!(hub.unwatch(watcher.member(), &room()));
    announce(&hub, Instant::now());
    assert_eq!(hub.registry.presence.kept(), 0, "nobody has come back");
}

/// As when the server has something else to do in between, and then nobody goes on with it.
#[test]
fn what_an_announcement_does_not_come_to_is_the_next_ones() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
    for number in 0..3 {
        hub.watch(watcher.member(), &group(number)).unwrap();
    }
    let begin = Instant::now();
    announce(&hub, begin);
    assert_eq!(told(watcher.member()), ["snapshot "; 3]);
    for number in 0..3 {
        hub.join(alice.member(), &group(number), Origin::Application).unwrap();
    }
    let mut announcement = hub.announcement(begin);
    assert!(announcement.go_on(1));
    drop(announcement);
    assert_eq!(told(watcher.member()), ["+alice 1"]);
    announce(&hub, begin);
    assert_eq!(told(watcher.member()), ["+alice 1"; 2]);
    announce(&hub, begin);
    assert!(told(watcher.member()).is_empty());
}

/// An announcement has found that nobody watches, and has not come so far as to forget the group.
#[test]
fn who_watches_at_the_moment_at_which_a_group_is_forgotten_is_let_in() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (first, second) = (seat(&hub, 1, "first"), seat(&hub, 2, "second"));
    hub.watch(first.member(), &room()).unwrap();
    assert!(hub.unwatch(first.member(), &room()));
    let presence = &hub.registry.presence;
    let forgotten = presence.audience(&room()).unwrap();
    let next = forgotten.announce(Instant::now(), &presence.limits, &mut Tally::default());
    assert_eq!(next, Next::Closed);
    for (watcher, watchers) in [(&first, 1), (&second, 2)] {
        assert_eq!(hub.watch(watcher.member(), &room()), Ok(0));
        assert_eq!(hub.watchers(&room()), watchers);
    }
    // It comes so far, and forgets nobody.
    presence.announce(forgotten, Instant::now(), None);
    let alice = seat(&hub, 3, "alice");
    join(&hub, &alice);
    announce(&hub, Instant::now());
    for watcher in [first, second] {
        let told = told(watcher.member());
        assert_eq!(told.last().map(String::as_str), Some("+alice 1"), "{told:?}");
    }
    assert_eq!((hub.watches(), presence.kept()), (0, 1));
    announce(&hub, Instant::now());
    assert_eq!(presence.kept(), 0);
}

#[test]
fn promise_16_a_revoke_ends_a_watch_at_once_and_nothing_of_the_group_follows() {
    let bans = Arc::new(Bans::default());
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::clone(&bans) as _);
    let (watcher, alice) = (seat(&hub, 1, "watcher"), seat(&hub, 2, "alice"));
    hub.watch(watcher.member(), &room()).unwrap();
    join(&hub, &alice);
    announce(&hub, Instant::now());
    let why = Removal { code: Code::BannedFromGroup, reason: "spies" };
    let forbid = || {
        bans.0.lock().insert((user("watcher"), room()));
    };
    hub.revoke(&user("watcher"), forbid, |group| *group == room(), why);
    assert_eq!(told(watcher.member()), ["ended 3103 spies"], "what was queued of the group is thrown away");
    drop(alice);
    announce(&hub, Instant::now());
    assert!(told(watcher.member()).is_empty());
    assert_eq!(hub.watches(), 0);
    let refused = hub.watch(watcher.member(), &room()).unwrap_err();
    assert_eq!(refused.code, Code::BannedFromGroup);
    assert!(told(watcher.member()).is_empty());
    bans.0.lock().clear();
    assert_eq!(hub.watch(watcher.member(), &room()), Ok(0));
    assert_eq!(told(watcher.member()), ["snapshot "]);
    // By its own wish it is told nothing, and nothing that waits comes.
    let alice = seat(&hub, 2, "alice");
    join(&hub, &alice);
    announce(&hub, Instant::now());
    assert!(hub.unwatch(watcher.member(), &room()) && !hub.unwatch(watcher.member(), &room()));
    assert!(told(watcher.member()).is_empty());
}

#[test]
fn a_connection_watches_as_many_groups_as_it_may_and_the_same_one_again() {
    let hub: Hub<()> = Hub::new(HubLimits { groups: 2, ..limits(100, 1_000, 0) }, Arc::new(Open));
    let watcher = seat(&hub, 1, "watcher");
    let watch = |name: &str| hub.watch(watcher.member(), &GroupName::new(name).unwrap());
    assert_eq!((watch("a"), watch("b"), watch("a")), (Ok(0), Ok(0), Ok(0)));
    let refused = watch("c").unwrap_err();
    assert_eq!(refused.code, Code::TooManyGroups);
    assert_eq!(refused.detail, "this connection is in 2 groups, or watches them, as many as it may");
    assert_eq!((hub.watches(), watcher.member().watches().len()), (2, 2));
    let join = |origin| hub.join(watcher.member(), &room(), origin);
    assert_eq!(join(Origin::Client).unwrap_err().code, Code::TooManyGroups);
    assert!(hub.unwatch(watcher.member(), &GroupName::new("a").unwrap()));
    assert!(join(Origin::Client).is_ok());
    assert_eq!(watch("a").unwrap_err().code, Code::TooManyGroups);
}

#[test]
fn who_reads_nothing_while_all_it_is_in_and_watches_ends_keeps_its_connection() {
    let outbox = OutboxLimits { overflow: Overflow::Disconnect, ..OutboxLimits::default() };
    let hub: Hub<()> = Hub::new(HubLimits { outbox, ..HubLimits::default() }, Arc::new(Open));
    let slow = seat(&hub, 1, "slow");
    // As much of both as it may.
    for number in 0..2 * hub.limits().groups {
        let group = GroupName::new(&format!("room-{number}")).unwrap();
        let done = match number % 2 {
            0 => hub.join(slow.member(), &group, Origin::Client).is_ok(),
            _ => hub.watch(slow.member(), &group).is_ok(),
        };
        assert_eq!(done, number < hub.limits().groups);
        while batch(slow.member()).is_some() {}
    }
    let why = Removal { code: Code::BannedFromGroup, reason: "" };
    hub.end_watches(slow.member(), |_| true, why);
    hub.remove(std::slice::from_ref(slow.member()), |_, _| true, why);
    assert!(slow.member().memberships().is_empty());
    assert_eq!(slow.member().outbox().close_reason(), None);
}

/// What the hub is asked to do.
#[derive(Debug, Clone, Copy)]
enum Act {
    Come(usize),
    Go(usize),
    /// Everybody comes and joins.
    Crowd(usize),
    Join(usize, usize),
    Leave(usize, usize),
    Watch(usize, usize),
    Unwatch(usize, usize),
    Describe(usize, Option<u8>),
    Ban(usize, usize),
    Lift,
    /// So many milliseconds later.
    Announce(u64),
    /// Whoever reads takes one batch.
    Read(usize),
}

/// The first ones watch, and the others are members, so that what is in the outbox of one that watches is presence.
const WATCHERS: usize = 3;
const CONNECTIONS: usize = 14;
const USERS: usize = 8;
const GROUPS: usize = 2;
const GRACE: u64 = 2_000;

fn any_act() -> impl Strategy<Value = Act> {
    let (one, group) = (0..CONNECTIONS, 0..GROUPS);
    let watcher = (0..WATCHERS, group.clone());
    let member = (WATCHERS..CONNECTIONS, group.clone());
    prop_oneof![
        3 => one.clone().prop_map(Act::Come),
        1 => one.clone().prop_map(Act::Go),
        1 => group.clone().prop_map(Act::Crowd),
        6 => member.clone().prop_map(|(one, group)| Act::Join(one, group)),
        4 => member.prop_map(|(one, group)| Act::Leave(one, group)),
        3 => watcher.clone().prop_map(|(one, group)| Act::Watch(one, group)),
        1 => watcher.prop_map(|(one, group)| Act::Unwatch(one, group)),
        2 => (one, any::<Option<u8>>()).prop_map(|(one, data)| Act::Describe(one, data)),
        1 => (0..USERS, group).prop_map(|(user, group)| Act::Ban(user, group)),
        1 => Just(Act::Lift),
        6 => (0..1_500_u64).prop_map(Act::Announce),
        4 => (0..WATCHERS).prop_map(Act::Read),
    ]
}

/// One user of one group, as anybody would write it down.
#[derive(Debug, Default, Clone)]
struct Known {
    /// Connections in the group.
    here: BTreeSet<usize>,
    announced: Option<(u32, Option<Payload>)>,
    fewer_since: Option<u64>,
    none_since: Option<u64>,
    /// Something was said since the last announcement of one who was there then.
    is_news: bool,
}

/// All of it.
#[derive(Default)]
struct Model {
    now: u64,
    known: BTreeMap<(usize, usize), Known>,
    watching: BTreeSet<(usize, usize)>,
    /// Groups of which it is kept who is there: from the first watch to the announcement that finds nobody who watches.
    kept: BTreeSet<usize>,
    said: BTreeMap<usize, (u64, Payload)>,
    sayings: u64,
}

impl Model {
    fn data(&self, here: &BTreeSet<usize>) -> Option<Payload> {
        let said = here.iter().filter_map(|one| self.said.get(one));
        said.max_by_key(|(order, _)| *order).map(|(_, data)| data.clone())
    }

    fn is_watched(&self, group: usize) -> bool {
        self.watching.iter().any(|(_, watched)| *watched == group)
    }

    fn join(&mut self, one: usize, group: usize) {
        let known = self.known.entry((group, one % USERS)).or_default();
        known.is_news |= known.here.insert(one) && self.said.contains_key(&one);
        known.none_since = None;
        if known.announced.as_ref().is_none_or(|(count, _)| known.here.len() >= *count as usize) {
            known.fewer_since = None;
        }
    }

    fn leave(&mut self, one: usize, group: usize) {
        if let Some(known) = self.known.get_mut(&(group, one % USERS)) {
            known.here.remove(&one);
        }
    }

    /// A group of which nothing was kept is told as it is.
    fn watch(&mut self, one: usize, group: usize) {
        if self.kept.insert(group) {
            for user in 0..USERS {
                let here = self.known.get(&(group, user)).map(|known| known.here.clone()).unwrap_or_default();
                let now = (!here.is_empty()).then(|| (u32::try_from(here.len()).unwrap(), self.data(&here)));
                self.known.insert((group, user), Known { here, announced: now, ..Known::default() });
            }
        }
        self.watching.insert((one, group));
    }

    fn announce(&mut self) {
        let is_watched: Vec<bool> = (0..GROUPS).map(|group| self.is_watched(group)).collect();
        self.kept.retain(|group| is_watched[*group]);
        for group in (0..GROUPS).filter(|group| self.is_watched(*group)).collect::<Vec<_>>() {
            for user in 0..USERS {
                let Some(mut known) = self.known.remove(&(group, user)) else { continue };
                let now = (u32::try_from(known.here.len()).unwrap(), self.data(&known.here));
                let before = known.announced.as_ref().map_or(0, |(count, _)| *count);
                let over = |since: u64| self.now - since >= GRACE;
                let is_news = std::mem::take(&mut known.is_news);
                if now.0 == 0 && before > 0 {
                    known.fewer_since.get_or_insert(self.now);
                    if over(*known.none_since.get_or_insert(self.now)) {
                        known = Known::default();
                    }
                } else if now.0 < before {
                    if over(*known.fewer_since.get_or_insert(self.now)) {
                        known.announced = Some(now);
                        known.fewer_since = None;
                    } else if is_news {
                        known.announced = Some((before, now.1));
                    }
                } else if now.0 > 0 {
                    known.announced = Some(now);
                    known.fewer_since = None;
                }
                self.known.insert((group, user), known);
            }
        }
    }

    fn announced(&self, group: usize) -> BTreeMap<UserName, (u32, Option<Payload>)> {
        let of_group = self.known.iter().filter(|((of, _), _)| *of == group);
        of_group
            .filter_map(|((_, one), known)| Some((user(&one.to_string()), known.announced.clone()?)))
            .collect()
    }
}

struct Bench {
    hub: Hub<()>,
    bans: Arc<Bans>,
    begin: Instant,
    seats: Vec<Option<Seat<()>>>,
    views: BTreeMap<(usize, usize), View>,
    model: Model,
    next: u32,
}

fn group(number: usize) -> GroupName {
    GroupName::new(&format!("group {number}")).unwrap()
}

impl Bench {
    fn new(frames: usize, part_bytes: usize) -> Self {
        let bans = Arc::new(Bans::default());
        Self {
            hub: Hub::new(limits(frames, part_bytes, GRACE), Arc::clone(&bans) as _),
            bans,
            begin: Instant::now(),
            seats: (0..CONNECTIONS).map(|_| None).collect(),
            views: BTreeMap::new(),
            model: Model::default(),
            next: 0,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Come(one) => {
                if self.seats[one].is_none() {
                    self.next += 1;
                    let seat = seat(&self.hub, self.next, &(one % USERS).to_string());
                    batch(seat.member());
                    self.seats[one] = Some(seat);
                }
            }
            Act::Go(one) => {
                for group in 0..GROUPS {
                    self.model.leave(one, group);
                    self.model.watching.remove(&(one, group));
                    self.views.remove(&(one, group));
                }
                self.model.said.remove(&one);
                self.seats[one] = None;
            }
            Act::Crowd(of) => {
                for one in WATCHERS..CONNECTIONS {
                    self.act(Act::Come(one));
                    self.act(Act::Join(one, of));
                }
            }
            Act::Join(one, of) => {
                let Some(seat) = &self.seats[one] else { return };
                if self.hub.join(seat.member(), &group(of), Origin::Client).is_ok() {
                    self.model.join(one, of);
                }
                while batch(seat.member()).is_some() {}
            }
            Act::Leave(one, of) => {
                let Some(seat) = &self.seats[one] else { return };
                self.hub.leave(seat.member(), &group(of));
                self.model.leave(one, of);
            }
            Act::Watch(one, of) => {
                let Some(seat) = &self.seats[one] else { return };
                if self.hub.watch(seat.member(), &group(of)).is_ok() {
                    self.model.watch(one, of);
                }
            }
            Act::Unwatch(one, of) => {
                let Some(seat) = &self.seats[one] else { return };
                let was = self.hub.unwatch(seat.member(), &group(of));
                assert_eq!(was, self.model.watching.remove(&(one, of)));
                self.views.remove(&(one, of));
                // What waits of it is thrown away.
                self.read_all(one, true);
            }
            Act::Describe(one, data) => {
                let Some(seat) = &self.seats[one] else { return };
                let data = data.map(|data| Payload::from(vec![data]));
                self.hub.describe(seat.member(), data.clone(), SystemTime::now()).unwrap();
                self.model.sayings += 1;
                let is_news = data.is_some() || self.model.said.contains_key(&one);
                for known in self.model.known.values_mut().filter(|known| known.here.contains(&one)) {
                    known.is_news |= is_news;
                }
                match data {
                    Some(data) => drop(self.model.said.insert(one, (self.model.sayings, data))),
                    None => drop(self.model.said.remove(&one)),
                }
            }
            Act::Ban(who, of) => {
                let name = user(&who.to_string());
                let forbid = || {
                    self.bans.0.lock().insert((name.clone(), group(of)));
                };
                let why = Removal { code: Code::BannedFromGroup, reason: "" };
                self.hub.revoke(&name, forbid, |banned| *banned == group(of), why);
                for one in (0..CONNECTIONS).filter(|one| one % USERS == who) {
                    self.model.leave(one, of);
                    if let Some(seat) = self.seats[one].as_ref().filter(|_| one >= WATCHERS) {
                        while batch(seat.member()).is_some() {}
                    }
                    if self.model.watching.remove(&(one, of)) {
                        self.read_all(one, true);
                        let view = self.views.remove(&(one, of)).unwrap();
                        assert_eq!(view.ended, Some(Code::BannedFromGroup.number()));
                    }
                }
            }
            Act::Lift => self.bans.0.lock().clear(),
            Act::Announce(later) => {
                self.model.now += later;
                announce(&self.hub, self.begin + ms(self.model.now));
                self.model.announce();
            }
            Act::Read(one) => self.read_all(one, false),
        }
    }

    /// Has a connection read, a batch or all, and checks whatever it is told.
    fn read_all(&mut self, one: usize, all: bool) {
        let Some(seat) = &self.seats[one] else { return };
        while let Some(frames) = batch(seat.member()) {
            for frame in frames {
                if let ServerFrame::Presence(frame) = frame {
                    let of = (0..GROUPS).find(|of| group(*of) == *frame.group()).unwrap();
                    self.views.entry((one, of)).or_default().take(frame);
                }
            }
            if !all {
                return;
            }
        }
        // All is read: who is current knows what was announced.
        for ((_, of), view) in self.views.range((one, 0)..=(one, GROUPS)) {
            // One for which there was no room is told anew, and knows until then what was once announced.
            let is_current = self.hub.registry.presence.is_current(&group(*of), seat.member());
            assert!(view.is_complete || !is_current);
            if is_current {
                assert_eq!(view.users, self.model.announced(*of), "connection {one}, group {of}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Members, watchers, descriptions, bans and time, as chance has it, with outboxes that are often full: what a
    /// watcher makes of its snapshot and the changes behind it is the model's, and nobody else is told anything.
    #[test]
    fn promise_16_what_a_watcher_was_told_put_together_is_who_is_there(
        acts in proptest::collection::vec(any_act(), 1..120),
        frames in 3..20_usize,
        part_bytes in 1..60_usize,
    ) {
        let mut bench = Bench::new(frames, part_bytes);
        for act in acts {
            bench.act(act);
        }
        // Everybody reads until nobody is behind.
        for _ in 0..16 {
            bench.act(Act::Announce(GRACE));
            for one in 0..CONNECTIONS {
                bench.read_all(one, true);
            }
        }
        for (one, of) in bench.model.watching.clone() {
            let view = &bench.views[&(one, of)];
            prop_assert!(view.is_complete, "connection {} has not been told all of group {}", one, of);
            let present = bench.hub.present(&group(of)).into_iter();
            let now: BTreeMap<_, _> = present.map(|one| (one.user, (one.connections, one.data))).collect();
            prop_assert_eq!(&view.users, &now);
        }
        let watched: BTreeSet<_> = bench.views.keys().copied().collect();
        prop_assert_eq!(&watched, &bench.model.watching, "somebody was told what it does not watch");
        prop_assert_eq!(bench.hub.watches(), bench.model.watching.len());
        // And nothing stays behind.
        let Bench { hub, seats, .. } = bench;
        drop(seats);
        announce(&hub, Instant::now());
        prop_assert_eq!(hub.watches(), 0);
        prop_assert_eq!(hub.budget().level().0, 0);
    }
}

#[test]
fn what_is_said_of_a_user_is_the_latest_of_its_connections_that_are_in_the_group() {
    let hub: Hub<()> = Hub::new(limits(100, 1_000, 0), Arc::new(Open));
    let (one, two, outside) = (seat(&hub, 1, "alice"), seat(&hub, 2, "alice"), seat(&hub, 3, "alice"));
    let say = |seat: &Seat<()>, text: &str, micros: u64| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        hub.describe(seat.member(), Some(Payload::from(text)), at).unwrap();
    };
    let said = || hub.said(&room(), &user("alice"));
    say(&one, "one", 20);
    assert_eq!(said(), None, "nobody of them is in it");
    join(&hub, &one);
    assert_eq!(said(), Some((20, Payload::from("one"))));
    join(&hub, &two);
    say(&two, "two", 30);
    say(&outside, "outside", 40);
    assert_eq!(said(), Some((30, Payload::from("two"))));
    // A clock that goes back, and one that stands still: what is said later counts all the same.
    say(&one, "three", 7);
    assert_eq!(said(), Some((41, Payload::from("three"))));
    say(&two, "four", 41);
    assert_eq!(said(), Some((42, Payload::from("four"))));
    say(&one, "five", 90);
    assert_eq!(said(), Some((90, Payload::from("five"))));
    hub.describe(one.member(), None, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(said(), Some((42, Payload::from("four"))));
    assert_eq!(hub.said(&room(), &user("bob")), None);
}
