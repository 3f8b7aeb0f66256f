//! Which of several servers is tried next, and after which pause.
//!
//! In: how each attempt and each connection ended, and the time. Out: a server's place in the list, and how long to
//! wait before it is tried. Pure: the time is told, and chance comes from a generator that is given.
//!
//! A *round* is each server once, in an order of chance, so that the clients of a list spread evenly over it. A lost
//! connection begins a round of the others. Within a round there is no pause, but for one: where all clients of a
//! server lose it in the same moment, since it sends them away and says when to come back, or falls silent, they move
//! at random moments within a time. When the round is over the client's own pause comes, and then a new round.
//!
//! Invariants: no server is tried sooner than it said, nor any server sooner than was said to this client in person; a
//! round is begun without a pause only behind a connection that lasted, so that servers which let clients in and throw
//! them out again are not hit without a pause; with one server there is nothing but its own time and the client's
//! pause.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::verdict::Verdict;

/// Within this time those move on whom a server sends away, however long it stays away itself: nobody should do
/// without a connection for minutes while other servers are up. Ten thousand come with two in a millisecond then.
const SPREAD: Duration = Duration::from_secs(5);

/// What is known of one server.
#[derive(Debug, Clone, Default)]
struct Place {
    /// It said not to come back before.
    not_before: Option<Instant>,
    /// Trying it again mends nothing in this outage.
    is_struck: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The server's place in the list.
    pub(crate) place: usize,
    /// How long to wait before it is tried.
    pub(crate) pause: Duration,
}

/// The way from server to server.
#[derive(Debug)]
pub(crate) struct Route {
    places: Vec<Place>,
    /// Those that are left of this round; the next is the last.
    round: Vec<usize>,
    /// Before this nothing is tried.
    not_before: Option<Instant>,
    /// How long to wait before moving on to another server.
    before_moving: Duration,
    backoff: Backoff,
    random: Rng,
}

impl Route {
    /// Over so many servers, at the beginning of the first round. The client's own pauses are those of `backoff`.
    pub(crate) fn new(servers: usize, backoff: Backoff, random: Rng) -> Self {
        let mut route = Self {
            places: vec![Place::default(); servers],
            round: Vec::new(),
            not_before: None,
            before_moving: Duration::ZERO,
            backoff,
            random,
        };
        route.begin_round();
        route
    }

    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.places.len()
    }

    /// Whether the server that was given last is the last of its round.
    pub(crate) fn is_last(&self) -> bool {
        self.round.is_empty()
    }

    /// The next server of this round, without a pause; `None` where the round is over.
    pub(crate) fn rest(&mut self, now: Instant) -> Option<usize> {
        let moment = now + self.before_moving;
        while let Some(place) = self.round.pop() {
            if self.opens(place, moment).is_zero() {
                return Some(place);
            }
            // It has its turn in the next round.
        }
        None
    }

    /// What to do next; `None` where there is no server that may be tried again.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Step> {
        let found = self.rest(now);
        let moving = std::mem::take(&mut self.before_moving);
        if let Some(place) = found {
            return Some(Step { place, pause: moving });
        }
        self.begin_round();
        let soonest = self.round.iter().map(|place| self.opens(*place, now)).min()?;
        let pause = soonest.saturating_add(self.backoff.next_delay());
        // Of those that may be tried then, the first that chance gives.
        let at = self.round.iter().rposition(|place| self.opens(*place, now) <= pause)?;
        Some(Step { place: self.round.remove(at), pause })
    }

    /// An attempt at a server failed.
    pub(crate) fn failed(&mut self, place: usize, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Node { away, .. } => self.stay_away(place, now + away),
            Verdict::Server => self.strike(place),
            // Whichever server is asked, it is the same client that asks.
            Verdict::Caller { away } => {
                self.not_before = Some(now + away);
                self.round.clear();
            }
            Verdict::Final => {
                self.places.iter_mut().for_each(|place| place.is_struck = true);
                self.round.clear();
            }
        }
    }

    /// The connection to a server was lost. One that had `lasted` begins a new round of the others.
    pub(crate) fn lost(&mut self, place: usize, verdict: Verdict, lasted: bool, now: Instant) {
        if lasted {
            self.backoff.reset();
            self.places.iter_mut().for_each(|place| place.is_struck = false);
            self.begin_round();
        }
        self.round.retain(|other| *other != place);
        if let Verdict::Node { within, .. } = verdict {
            let within = u64::try_from(within.min(SPREAD).as_nanos()).unwrap_or(u64::MAX);
            self.before_moving = Duration::from_nanos(self.random.u64(0..=within));
        }
        self.failed(place, verdict, now);
    }

    fn begin_round(&mut self) {
        let may_be_tried = self.places.iter().enumerate().filter(|(_, place)| !place.is_struck);
        self.round = may_be_tried.map(|(at, _)| at).collect();
        self.random.shuffle(&mut self.round);
    }

    fn stay_away(&mut self, place: usize, until: Instant) {
        if let Some(place) = self.places.get_mut(place) {
            place.not_before = Some(until);
        }
    }

    fn strike(&mut self, place: usize) {
        if let Some(place) = self.places.get_mut(place) {
            place.is_struck = true;
        }
    }

    /// How long it is from `now` until a server may be tried.
    fn opens(&self, place: usize, now: Instant) -> Duration {
        let of_place = self.places.get(place).and_then(|place| place.not_before);
        let opens = of_place.max(self.not_before);
        opens.map_or(Duration::ZERO, |opens| opens.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const CAP: Duration = Duration::from_secs(30);
    const AT_ONCE: Duration = Duration::ZERO;
    const LOST: Verdict = sent_away(0);

    const fn sent_away(seconds: u64) -> Verdict {
        let away = Duration::from_secs(seconds);
        Verdict::Node { away, within: away }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn route(servers: usize, seed: u64) -> Route {
        let mut random = Rng::with_seed(seed);
        let backoff = Backoff::with(FIRST, CAP, random.fork());
        Route::new(servers, backoff, random)
    }

    /// A route whose first connection is there, and to which server.
    fn connected(servers: usize, seed: u64) -> (Route, usize) {
        let mut route = route(servers, seed);
        let place = route.rest(Instant::now()).unwrap();
        (route, place)
    }

    fn sorted(mut places: Vec<usize>) -> Vec<usize> {
        places.sort_unstable();
        places
    }

    #[test]
    fn the_first_round_is_each_server_once_and_then_it_is_over() {
        for seed in 0..100 {
            let mut route = route(4, seed);
            let now = Instant::now();
            let mut tried = Vec::new();
            while let Some(place) = route.rest(now) {
                assert_eq!(route.is_last(), tried.len() == 3);
                route.failed(place, LOST, now);
                tried.push(place);
            }
            assert_eq!(sorted(tried), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn ten_thousand_clients_spread_over_the_servers_at_first_and_behind_a_loss() {
        let (mut first, mut second) = ([0; 3], [0; 3]);
        for seed in 0..10_000 {
            let (mut route, place) = connected(3, seed);
            first[place] += 1;
            // All of them lose the same server, whichever they had been given.
            let now = Instant::now();
            route.lost(0, LOST, true, now);
            second[route.next(now).unwrap().place] += 1;
        }
        assert!(first.iter().all(|count| (3_100..3_600).contains(count)), "{first:?}");
        assert_eq!(second[0], 0);
        assert!(second[1..].iter().all(|count| (4_800..5_200).contains(count)), "{second:?}");
    }

    #[test]
    fn a_loss_is_followed_by_each_of_the_others_at_once_and_a_pause_only_then() {
        for seed in 0..100 {
            let (mut route, lost) = connected(3, seed);
            let now = Instant::now();
            route.lost(lost, LOST, true, now);
            let mut tried = vec![lost];
            for _ in 0..2 {
                let step = route.next(now).unwrap();
                assert_eq!(step.pause, AT_ONCE);
                route.failed(step.place, LOST, now);
                tried.push(step.place);
            }
            assert_eq!(sorted(tried), [0, 1, 2], "the one that was lost is not among the others");
            // From here on a pause before each round, none within it, and the pauses may be longer and longer.
            for round in 0..12_u32 {
                let mut tried = Vec::new();
                for at in 0..3 {
                    let step = route.next(now).unwrap();
                    let most = if at > 0 { AT_ONCE } else { CAP.min(FIRST * (1 << round.min(10))) };
                    assert!(step.pause <= most, "round {round}, {at}: {step:?}");
                    route.failed(step.place, LOST, now);
                    tried.push(step.place);
                }
                assert_eq!(sorted(tried), [0, 1, 2]);
            }
        }
    }

    #[test]
    fn servers_that_let_in_and_throw_out_again_are_not_hit_without_a_pause() {
        for seed in 0..100 {
            let (mut route, mut place) = connected(3, seed);
            let now = Instant::now();
            let mut pauses = Vec::new();
            for _ in 0..30 {
                route.lost(place, LOST, false, now);
                let step = route.next(now).unwrap();
                pauses.push(step.pause);
                place = step.place;
            }
            let without = pauses.iter().filter(|pause| pause.is_zero()).count();
            assert!(without <= 20, "{without} of 30 at once: {pauses:?}");
            assert!(pauses.iter().sum::<Duration>() > seconds(5), "{pauses:?}");
        }
    }

    #[test]
    fn one_server_has_its_own_time_and_the_pause_of_the_client_on_top() {
        for seed in 0..100 {
            let (mut route, place) = connected(1, seed);
            let now = Instant::now();
            route.lost(place, sent_away(9), true, now);
            let step = route.next(now).unwrap();
            assert!((seconds(9)..=seconds(9) + FIRST).contains(&step.pause), "{step:?}");
            let now = now + step.pause;
            route.failed(place, LOST, now);
            assert!(route.next(now).unwrap().pause <= FIRST * 2);
        }
    }

    #[test]
    fn who_is_sent_away_moves_within_the_time_that_was_given_and_not_all_at_once() {
        let mut pauses = Vec::new();
        for seed in 0..10_000 {
            let (mut route, place) = connected(3, seed);
            let now = Instant::now();
            route.lost(place, sent_away(1), true, now);
            let step = route.next(now).unwrap();
            assert_ne!(step.place, place);
            pauses.push(step.pause);
            // Whoever goes on from there goes on at once.
            route.failed(step.place, LOST, now + step.pause);
            assert_eq!(route.next(now + step.pause).unwrap().pause, AT_ONCE);
        }
        for tenth in 0..10 {
            let part = tenth * seconds(1) / 10..(tenth + 1) * seconds(1) / 10;
            let within = pauses.iter().filter(|pause| part.contains(*pause)).count();
            assert!((850..1_150).contains(&within), "{within} of 10,000 in {part:?}");
        }
        // Nobody stays away for the whole of a long time while others are up.
        let (mut route, place) = connected(2, 1);
        let now = Instant::now();
        route.lost(place, sent_away(3_600), true, now);
        assert!(route.next(now).unwrap().pause <= SPREAD);
    }

    #[test]
    fn a_server_is_not_tried_sooner_than_it_said() {
        for seed in 0..200 {
            let (mut route, drained) = connected(2, seed);
            let other = 1 - drained;
            let begun = Instant::now();
            let mut now = begun;
            route.lost(drained, sent_away(60), true, now);
            let mut tries = 0;
            loop {
                let step = route.next(now).unwrap();
                now += step.pause;
                if step.place == drained {
                    break;
                }
                assert_eq!(step.place, other);
                route.failed(other, LOST, now);
                tries += 1;
            }
            assert!(now - begun >= seconds(60), "after {:?}", now - begun);
            assert!(tries > 3, "the other is tried meanwhile");
        }
    }

    #[test]
    fn what_is_said_to_the_caller_holds_everywhere() {
        for seed in 0..100 {
            let (mut route, place) = connected(3, seed);
            let now = Instant::now();
            route.lost(place, Verdict::Caller { away: seconds(9) }, true, now);
            let step = route.next(now).unwrap();
            assert!((seconds(9)..=seconds(9) + FIRST).contains(&step.pause), "{step:?}");
            // And then there is a round, of all of them.
            let now = now + step.pause;
            let mut tried = vec![step.place];
            for _ in 0..2 {
                route.failed(step.place, LOST, now);
                let step = route.next(now).unwrap();
                assert_eq!(step.pause, AT_ONCE);
                tried.push(step.place);
            }
            assert_eq!(sorted(tried), [0, 1, 2]);
            // Said to an attempt it is the same.
            route.failed(step.place, Verdict::Caller { away: AT_ONCE }, now);
            assert!(route.next(now).unwrap().pause <= FIRST * 2);
        }
    }

    #[test]
    fn a_server_that_nothing_mends_is_left_out_until_a_connection_has_lasted() {
        for seed in 0..100 {
            let mut route = route(3, seed);
            let now = Instant::now();
            let struck = route.rest(now).unwrap();
            route.failed(struck, Verdict::Server, now);
            for _ in 0..20 {
                let step = route.next(now).unwrap();
                assert_ne!(step.place, struck);
                route.failed(step.place, LOST, now);
            }
            let place = route.next(now).unwrap().place;
            route.lost(place, LOST, true, now);
            let tried = [route.next(now).unwrap().place, route.next(now).unwrap().place];
            assert!(tried.contains(&struck), "{tried:?}");
        }
        let (mut route, place) = connected(1, 1);
        route.lost(place, Verdict::Server, true, Instant::now());
        assert_eq!(route.next(Instant::now()), None);
        let (mut route, place) = connected(3, 1);
        route.lost(place, Verdict::Final, true, Instant::now());
        assert_eq!(route.next(Instant::now()), None);
    }
}
