//! Ends of access on a hub without sockets: what is told and done at which moment, and when the task looks.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Waker};

use fanfare_hub::{CloseReason, HubLimits, Taken};
use fanfare_protocol::admin::{LastingRow, May};
use fanfare_protocol::presence::PresenceFrame;
use fanfare_protocol::{GroupName, UserName};
use fanfare_token::{GrantClaim, Grants, Proof, Right};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::*;
use crate::access::{Bans, Gate, KeySets, Tokens};
use crate::hub::{Seat, read, register};

const NOW: Seconds = 1_800_000_000;
const NOTICE: Seconds = 20;

/// The ends of access of those who are here. It is `NOW`.
struct Rig {
    hub: Arc<Hub>,
    bans: Arc<Bans>,
    expiry: Arc<Expiry>,
}

impl Rig {
    fn new() -> Self {
        Self::telling(NOTICE)
    }

    fn telling(notice: Seconds) -> Self {
        access::SET.set(Some(NOW));
        let bans: Arc<Bans> = Arc::default();
        let tokens = Arc::new(Tokens::new(None, KeySets::none()));
        let gate = Arc::new(Gate::new(tokens, Arc::clone(&bans)));
        let hub = Arc::new(Hub::new(HubLimits::default(), Arc::clone(&gate) as _));
        let expiry = Arc::new(Expiry::new(Arc::clone(&hub), Arc::clone(&gate), Duration::from_secs(notice)));
        Self { hub, bans, expiry }
    }

    /// A connection with these permissions, in these groups by its client's wish.
    fn come(&self, number: u8, permissions: Permissions, groups: &[&str]) -> (Seat, Watch) {
        let seat = register(&self.hub, id(number), UserName::new("alice").unwrap(), permissions).unwrap();
        let watch = self.expiry.watch(seat.member());
        for name in groups {
            self.join(&seat, name, Origin::Client);
        }
        read(seat.member());
        (seat, watch)
    }

    fn join(&self, seat: &Seat, name: &str, origin: Origin) {
        self.hub.join(seat.member(), &group(name), origin).unwrap();
        read(seat.member());
    }

    fn refresh(&self, seat: &Seat, permissions: Permissions) {
        self.hub.permit(seat.member(), permissions).unwrap();
        self.expiry.refreshed(seat.member());
    }

    /// What the task does where it looks so many seconds after `NOW`. Gives when it would look again, in the same way.
    fn look(&self, after: Seconds) -> Option<Seconds> {
        access::SET.set(Some(NOW + after));
        self.expiry.carry_out(NOW + after).map(|next| next - NOW)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        access::SET.set(None);
    }
}

/// What ends so many seconds after `NOW`, and lets its client join each of these groups until so many seconds after it.
fn permissions(ends: Seconds, grants: &[(&str, Option<Seconds>)]) -> Permissions {
    allowing(ends, grants.iter().map(|(pattern, ends)| (*pattern, vec![Right::Join], *ends)).collect())
}

/// The same, with the rights in each of the groups.
fn allowing(ends: Seconds, grants: Vec<(&str, Vec<Right>, Option<Seconds>)>) -> Permissions {
    let claim = |(pattern, may, ends): (&str, _, Option<Seconds>)| GrantClaim {
        group: Some(pattern.to_owned()),
        user: None,
        all: None,
        may,
        exp: ends.map(|ends| NOW + ends),
    };
    let grants = Grants::parse(grants.into_iter().map(claim).collect(), 0).unwrap();
    Permissions { grants, ends: NOW + ends, issued: Some(NOW), token: None, proof: Proof::Token }
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn groups(seat: &Seat) -> Vec<String> {
    let mut names: Vec<String> =
        seat.member().memberships().iter().map(|(group, _)| group.as_str().to_owned()).collect();
    names.sort();
    names
}

fn token(seconds: u32) -> ServerFrame {
    ServerFrame::Expiring { scope: ExpiryScope::Token, seconds }
}

fn some_groups(count: u32, seconds: u32) -> ServerFrame {
    ServerFrame::Expiring { scope: ExpiryScope::Groups { count }, seconds }
}

/// The groups that it was removed from because a grant ended, in the order of their names.
fn removed(seat: &Seat) -> Vec<String> {
    let name = |frame| match frame {
        ServerFrame::Removed { group, code, reason } => {
            assert_eq!((code, &*reason), (Code::GrantEnded.number(), Code::GrantEnded.sentence()));
            group.as_str().to_owned()
        }
        other => panic!("{other:?}"),
    };
    let mut names: Vec<String> = read(seat.member()).into_iter().map(name).collect();
    names.sort();
    names
}

fn closed(seat: &Seat) -> Option<CloseReason> {
    seat.member().outbox().close_reason()
}

fn expired() -> Option<CloseReason> {
    Some(Code::TokenExpired.into())
}

#[test]
fn a_token_is_told_of_before_it_ends_and_its_end_is_the_connections() {
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(100, &[]), &[]);
    assert_eq!((rig.look(79), read(seat.member())), (Some(80), vec![]));
    assert_eq!((rig.look(80), read(seat.member())), (Some(100), vec![token(20)]));
    assert_eq!((rig.look(99), read(seat.member()), closed(&seat)), (Some(100), vec![], None));
    assert_eq!((rig.look(100), closed(&seat)), (None, expired()));
    assert_eq!(seat.member().outbox().retry_after_ms(), None, "as the code has it");
}

#[test]
fn where_little_is_left_it_is_told_at_half_of_it() {
    for (ends, told, seconds) in [(41, 21, 20), (40, 20, 20), (39, 20, 19), (10, 5, 5), (3, 2, 1), (2, 1, 1)]
    {
        let rig = Rig::new();
        let (seat, _watch) = rig.come(1, permissions(ends, &[]), &[]);
        assert_eq!((rig.look(told - 1), read(seat.member())), (Some(told), vec![]), "{ends}");
        assert_eq!((rig.look(told), read(seat.member())), (Some(ends), vec![token(seconds)]), "{ends}");
        assert_eq!((rig.look(ends), closed(&seat)), (None, expired()));
    }
    // There is no time to tell it.
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(1, &[]), &[]);
    assert_eq!((rig.look(0), read(seat.member())), (Some(1), vec![]));
    assert_eq!((rig.look(1), closed(&seat)), (None, expired()));
}

#[test]
fn the_end_of_a_grant_ends_what_the_client_made_by_it_and_nothing_else() {
    let rig = Rig::new();
    let grants = [("room-*", Some(100)), ("news", None), ("late", Some(150))];
    let (seat, _watch) = rig.come(1, permissions(1_000, &grants), &["room-1", "room-2", "news", "late"]);
    // What an operator or the application made needs no grant.
    rig.join(&seat, "room-3", Origin::Operator);
    rig.join(&seat, "lobby", Origin::Application);
    assert_eq!((rig.look(79), read(seat.member())), (Some(80), vec![]));
    assert_eq!((rig.look(80), read(seat.member())), (Some(100), vec![some_groups(2, 20)]));
    assert_eq!((rig.look(99), groups(&seat).len()), (Some(100), 6));
    assert_eq!((rig.look(100), removed(&seat)), (Some(130), vec!["room-1".to_owned(), "room-2".to_owned()]));
    assert_eq!(groups(&seat), ["late", "lobby", "news", "room-3"]);
    assert_eq!((rig.look(130), read(seat.member())), (Some(150), vec![some_groups(1, 20)]));
    assert_eq!((rig.look(150), removed(&seat)), (Some(980), vec!["late".to_owned()]));
    assert_eq!(groups(&seat), ["lobby", "news", "room-3"]);
    // The connection goes on to the end of its token.
    assert_eq!((rig.look(980), read(seat.member())), (Some(1_000), vec![token(20)]));
    assert_eq!((rig.look(1_000), closed(&seat)), (None, expired()));
}

#[test]
fn the_end_of_a_grant_ends_the_watches_that_it_covered() {
    let rig = Rig::new();
    let both = || vec![Right::Join, Right::Presence];
    let grants = vec![
        ("room", both(), Some(100)),
        ("news", both(), None),
        ("hall", vec![Right::Presence], Some(100)),
        ("spa", vec![Right::Presence], None),
    ];
    let (seat, _watch) = rig.come(1, allowing(1_000, grants), &["room", "news"]);
    for name in ["room", "news", "hall", "spa"] {
        rig.hub.watch(seat.member(), &group(name)).unwrap();
    }
    read(seat.member());
    let ended = || {
        let name = |frame| match frame {
            ServerFrame::Presence(PresenceFrame::Ended { group, code, reason }) => {
                assert_eq!((code, &*reason), (Code::GrantEnded.number(), Code::GrantEnded.sentence()));
                Some(group)
            }
            ServerFrame::Removed { .. } => None,
            other => panic!("{other:?}"),
        };
        read(seat.member()).into_iter().filter_map(name).collect::<HashSet<_>>()
    };
    // One that it is in and watches is one.
    assert_eq!((rig.look(80), read(seat.member())), (Some(100), vec![some_groups(2, 20)]));
    assert_eq!((rig.look(99), ended(), seat.member().watches().len()), (Some(100), HashSet::new(), 4));
    assert_eq!((rig.look(100), ended()), (Some(980), [group("room"), group("hall")].into()));
    let watched = HashSet::from_iter(seat.member().watches());
    assert_eq!((watched, groups(&seat)), ([group("news"), group("spa")].into(), vec!["news".to_owned()]));
    // A token that no longer allows it ends a watch, and not the membership.
    rig.refresh(&seat, permissions(1_000, &[("news", None)]));
    assert_eq!((ended(), seat.member().watches()), ([group("news"), group("spa")].into(), vec![]));
    assert_eq!(groups(&seat), ["news"]);
}

#[test]
fn one_who_is_in_a_group_whenever_it_is_here_needs_no_grant_for_it() {
    let rig = Rig::new();
    for (name, until) in [("vip", None), ("spa", Some(NOW + 100))] {
        let (user, group) = (UserName::new("alice").unwrap(), group(name));
        let author = "oncall".to_owned();
        rig.bans.lasting().put(LastingRow { user, group, may: May::Receive, since: NOW, until, author });
    }
    // It has left each of them, and joined again.
    let (seat, _watch) = rig.come(1, permissions(1_000, &[("*", Some(100))]), &["vip", "spa", "hall"]);
    assert_eq!((rig.look(80), read(seat.member())), (Some(100), vec![some_groups(2, 20)]));
    assert_eq!((rig.look(100), removed(&seat)), (Some(980), ["hall", "spa"].map(String::from).into()));
    assert_eq!(groups(&seat), ["vip"]);
}

#[test]
fn whom_an_end_does_not_concern_is_not_told_of_it() {
    // In no group by it; in one that another grant covers for longer; an end that the token's is, or that comes later.
    for (ends, grants, joined) in [
        (1_000, &[("room-*", Some(100))][..], &[][..]),
        (1_000, &[("a*", Some(100)), ("ab", Some(900)), ("ab", None)], &["ab"]),
        (100, &[("room-*", Some(100))], &["room-1"]),
        (100, &[("room-*", Some(110))], &["room-1"]),
    ] {
        let rig = Rig::new();
        let (seat, _watch) = rig.come(1, permissions(ends, grants), joined);
        let mut told = Vec::new();
        for after in 0..ends {
            rig.look(after);
            told.extend(read(seat.member()));
        }
        assert_eq!(
            (told, groups(&seat)),
            (vec![token(20)], joined.iter().map(ToString::to_string).collect())
        );
        rig.look(ends);
        assert_eq!(closed(&seat), expired());
    }
}

#[test]
fn a_task_that_is_late_says_how_much_is_left_and_announces_nothing_that_is_over() {
    let rig = Rig::new();
    let grants = [("a", Some(100)), ("b", Some(110))];
    let (seat, _watch) = rig.come(1, permissions(1_000, &grants), &["a", "b"]);
    assert_eq!((rig.look(85), read(seat.member())), (Some(90), vec![some_groups(1, 15)]));
    let next = rig.look(105);
    let told = read(seat.member());
    assert!(
        matches!(&told[..], [ServerFrame::Removed { .. }, left] if *left == some_groups(1, 5)),
        "{told:?}"
    );
    assert_eq!((next, groups(&seat)), (Some(110), vec!["b".to_owned()]));
    assert_eq!((rig.look(2_000), closed(&seat)), (None, expired()));
}

#[test]
fn everybody_whose_access_ends_at_one_moment_is_dealt_with() {
    let rig = Rig::new();
    let crowd: Vec<_> = (1..=5).map(|number| rig.come(number, permissions(100, &[]), &[])).collect();
    let (other, _watch) = rig.come(6, permissions(200, &[]), &[]);
    rig.look(80);
    assert!(crowd.iter().all(|(seat, _)| read(seat.member()) == [token(20)]));
    assert_eq!(rig.look(100), Some(180));
    assert!(crowd.iter().all(|(seat, _)| closed(seat) == expired()) && closed(&other).is_none());
}

#[test]
fn a_refresh_puts_the_new_ends_in_place_of_the_old_and_ends_what_is_no_longer_covered() {
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(100, &[("*", None)]), &["a", "b"]);
    rig.join(&seat, "lobby", Origin::Operator);
    assert_eq!(rig.look(50), Some(80));
    read(seat.member());
    rig.refresh(&seat, permissions(300, &[("a", Some(250))]));
    assert_eq!(
        (removed(&seat), groups(&seat)),
        (vec!["b".to_owned()], vec!["a".to_owned(), "lobby".to_owned()])
    );
    assert_eq!((rig.look(229), read(seat.member()), closed(&seat)), (Some(230), vec![], None));
    assert_eq!((rig.look(230), read(seat.member())), (Some(250), vec![some_groups(1, 20)]));
    // A shorter one counts as well.
    rig.refresh(&seat, permissions(260, &[("a", None)]));
    assert_eq!((rig.look(244), read(seat.member())), (Some(245), vec![]));
    assert_eq!((rig.look(245), read(seat.member())), (Some(260), vec![token(15)]));
    assert_eq!((rig.look(260), closed(&seat)), (None, expired()));
}

#[test]
fn an_end_that_has_passed_already_is_nothing_to_come() {
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(1_000, &[("a", Some(0)), ("b", None)]), &["b"]);
    let next = rig.expiry.agenda.lock().next.first().map(|(at, _)| at - NOW);
    assert_eq!((next, rig.look(0)), (Some(980), Some(980)), "nobody need look before");
    rig.refresh(&seat, permissions(500, &[("b", Some(0))]));
    assert_eq!((removed(&seat), rig.look(0)), (vec!["b".to_owned()], Some(480)));
    // Nor is one that never comes.
    let (_forever, _watched) = rig.come(2, Permissions::development(NOW), &["c"]);
    assert_eq!(rig.look(0), Some(480));
}

/// It failed before: who was let in, or refreshed, in the last moment of the second before its token's end stayed for
/// ever.
#[test]
fn promise_10_a_token_that_has_ended_since_it_was_looked_at_ends_the_connection() {
    for refreshes in [false, true] {
        let rig = Rig::new();
        let (seat, _watch) = match refreshes {
            true => {
                let (seat, watch) = rig.come(1, permissions(1_000, &[]), &[]);
                rig.hub.permit(seat.member(), permissions(1, &[])).unwrap();
                access::SET.set(Some(NOW + 1));
                rig.expiry.refreshed(seat.member());
                (seat, watch)
            }
            false => {
                let name = UserName::new("alice").unwrap();
                let seat = register(&rig.hub, id(1), name, permissions(1, &[])).unwrap();
                access::SET.set(Some(NOW + 1));
                let watch = rig.expiry.watch(seat.member());
                (seat, watch)
            }
        };
        assert_eq!((rig.look(1), closed(&seat)), (None, expired()), "refreshes: {refreshes}");
    }
}

#[test]
fn the_task_is_woken_only_for_what_comes_sooner_than_all_else() {
    let rig = Rig::new();
    let woken = || {
        let mut sooner = pin!(rig.expiry.sooner.notified());
        sooner.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    let mut watched = Vec::new();
    for (number, ends, expected) in
        [(1, 1_000, true), (2, 2_000, false), (3, 1_000, false), (4, 999, true), (5, 500, true)]
    {
        watched.push(rig.come(number, permissions(ends, &[]), &[]));
        assert_eq!(woken(), expected, "{ends}");
    }
    watched.push(rig.come(6, Permissions::development(NOW), &[]));
    assert!(!woken());
}

/// It failed before: who joined between a notice and half of it was removed untold.
#[test]
fn one_who_joins_when_the_notice_has_passed_is_told_at_once() {
    let told = |rig: &Rig, seat: &Seat, after: Seconds, until: Seconds| {
        rig.look(after);
        rig.expiry.joined(seat.member(), until);
        read(seat.member())
    };
    // The notice is at 80 and at 15.
    for (ends, moments) in [
        (100, &[(0, 0), (79, 0), (80, 20), (89, 11), (90, 10), (99, 1), (100, 0), (105, 0)][..]),
        (30, &[(14, 0), (15, 15), (29, 1), (30, 0)]),
        (1, &[(0, 1), (1, 0)]),
    ] {
        let rig = Rig::new();
        let (seat, _watch) = rig.come(1, permissions(1_000, &[("a", Some(ends))]), &[]);
        for (after, seconds) in moments {
            let expected = if *seconds > 0 { vec![some_groups(1, *seconds)] } else { vec![] };
            assert_eq!(told(&rig, &seat, *after, NOW + ends), expected, "{ends} {after}");
        }
        // An operator made it a member, and no grant is about the group; or one is, as long as the token lasts.
        assert_eq!(told(&rig, &seat, 200, 0), []);
        assert_eq!(told(&rig, &seat, 990, NOW + 1_000), [token(10)], "with the token, by the task");
        assert_eq!(told(&rig, &seat, 990, Seconds::MAX), []);
    }
    // Who joins before it is told with the others.
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(1_000, &[("*", Some(100))]), &["a"]);
    rig.look(79);
    rig.join(&seat, "b", Origin::Client);
    assert_eq!(told(&rig, &seat, 79, NOW + 100), []);
    assert_eq!((rig.look(80), read(seat.member())), (Some(100), vec![some_groups(2, 20)]));
}

#[test]
fn who_has_gone_is_forgotten() {
    let rig = Rig::new();
    let (seat, watch) = rig.come(1, permissions(100, &[]), &[]);
    let (other, _watch) = rig.come(2, permissions(500, &[]), &[]);
    drop(watch);
    assert_eq!((rig.look(200), closed(&seat), read(seat.member())), (Some(480), None, vec![]));
    // One whose session has not come to its end is passed over.
    drop(other);
    assert_eq!(rig.look(600), None);
}

#[test]
fn more_seconds_than_can_be_told_are_as_many_as_can() {
    let rig = Rig::telling(1 << 34);
    let (seat, _watch) = rig.come(1, permissions(1 << 34, &[]), &[]);
    assert_eq!((rig.look(1 << 33), read(seat.member())), (Some(1 << 34), vec![token(u32::MAX)]));
}

/// The next thing that is told, and how many seconds after `NOW` that is.
async fn told(seat: &Seat) -> (Seconds, Option<ServerFrame>) {
    let outbox = seat.member().outbox();
    let mut chunks = Vec::new();
    let taken = poll_fn(|context| outbox.poll_take(context, &mut chunks));
    let taken = timeout(Duration::from_secs(1_000), taken).await.expect("nothing is told");
    let frame = match taken {
        Taken::Ended => None,
        _ => {
            let bytes = chunks.concat().split_off(fanfare_protocol::codec::PREFIX_BYTES);
            Some(fanfare_protocol::codec::decode_server(&bytes.into()).unwrap())
        }
    };
    (access::now() - NOW, frame)
}

/// A task, and the clock of the machine, which goes as the runtime's does. Each second comes a moment early, so that
/// who sleeps until then finds it there.
fn running(rig: &Rig) -> (CancellationToken, tokio::task::JoinHandle<()>, tokio::task::JoinHandle<()>) {
    let closing = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&rig.expiry).run(closing.clone()));
    let begun = Instant::now();
    let clock = tokio::spawn(async move {
        for second in 1_u32.. {
            sleep_until(begun + Duration::from_millis(u64::from(second) * 1_000 - 1)).await;
            access::SET.set(Some(NOW + u64::from(second)));
        }
    });
    (closing, task, clock)
}

#[tokio::test(start_paused = true)]
async fn the_task_does_each_thing_in_its_second() {
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(103, &[("a", Some(71))]), &["a"]);
    let (closing, task, clock) = running(&rig);
    assert_eq!(told(&seat).await, (51, Some(some_groups(1, 20))));
    assert!(matches!(told(&seat).await, (71, Some(ServerFrame::Removed { .. }))));
    assert_eq!(told(&seat).await, (83, Some(token(20))));
    assert_eq!(told(&seat).await, (103, None));
    assert_eq!(closed(&seat), expired());
    clock.abort();
    closing.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_task_wakes_for_what_comes_sooner_than_what_it_waits_for() {
    for others in [false, true] {
        let rig = Rig::new();
        let _later = others.then(|| rig.come(1, permissions(68, &[]), &[]));
        let (seat, _watch) = rig.come(2, Permissions::development(NOW), &[]);
        let (closing, task, clock) = running(&rig);
        // It sleeps until the tenth second.
        sleep(Duration::from_millis(1_500)).await;
        let (new, _watch) = rig.come(3, permissions(5, &[]), &[]);
        assert_eq!(told(&new).await, (3, Some(token(2))), "{others}");
        assert_eq!(told(&new).await, (5, None), "{others}");
        rig.refresh(&seat, permissions(7, &[]));
        assert_eq!(told(&seat).await, (6, Some(token(1))), "{others}");
        assert_eq!(told(&seat).await, (7, None), "{others}");
        clock.abort();
        closing.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_is_noticed_soon() {
    let rig = Rig::new();
    let (seat, _watch) = rig.come(1, permissions(5_000, &[]), &[]);
    let closing = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&rig.expiry).run(closing.clone()));
    sleep(Duration::from_millis(1)).await;
    access::SET.set(Some(NOW + 5_000));
    let begun = Instant::now();
    assert_eq!(told(&seat).await, (5_000, None));
    assert!(begun.elapsed() <= LONGEST_SLEEP, "{:?}", begun.elapsed());
    closing.cancel();
    task.await.unwrap();
    assert!(begun.elapsed() <= LONGEST_SLEEP, "it stops at once");
}

fn id(number: u8) -> ConnectionId {
    ConnectionId::from_bytes([number; 16])
}

fn occasions(times: &[(Seconds, Seconds)]) -> VecDeque<Occasion> {
    times.iter().map(|(at, end)| Occasion { at: *at, end: *end }).collect()
}

/// It failed before: from 2^63 seconds on the pause was none, and the task spun.
#[test]
fn the_task_sleeps_however_far_away_the_next_end_is() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for (next, expected) in [
        (1_799_999_999, Duration::ZERO),
        (1_800_000_000, Duration::ZERO),
        (1_800_000_001, Duration::from_secs(1)),
        (1_800_000_060, LONGEST_SLEEP),
        (253_402_300_799, LONGEST_SLEEP),
        (1_000_000_000_000_000_000, LONGEST_SLEEP),
        (i64::MAX as u64, LONGEST_SLEEP),
        (i64::MAX as u64 + 1, LONGEST_SLEEP),
        (Seconds::MAX - 1, LONGEST_SLEEP),
        (Seconds::MAX, LONGEST_SLEEP),
    ] {
        assert_eq!(pause(next, now), expected, "{next}");
    }
}

#[test]
fn what_is_due_comes_in_its_order_and_once() {
    let mut agenda = Agenda::default();
    agenda.replace(id(1), occasions(&[(5, 10), (10, 10), (20, 20)]));
    agenda.replace(id(2), occasions(&[(3, 3)]));
    assert_eq!(agenda.due(2), None);
    assert_eq!(agenda.due(12), Some((id(2), occasions(&[(3, 3)]).into())));
    assert_eq!(agenda.due(12), Some((id(1), occasions(&[(5, 10), (10, 10)]).into())));
    assert_eq!(agenda.due(12), None);
    assert_eq!(agenda.next.first(), Some(&(20, id(1))));
    agenda.replace(id(1), VecDeque::new());
    assert!(agenda.of.is_empty() && agenda.next.is_empty(), "nothing is kept of who has gone");
}
