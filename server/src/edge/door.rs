//! Who may try to come in: a bounded number of attempts at a time, of which no address can have more than its share.
//!
//! In: addresses of those who try. Out: a place for each attempt, or none; and the word that a place is taken back,
//! because somebody from an address with fewer attempts needs it. Invariants: there are never more places than the
//! bound; while one address has more attempts than another, the other gets in; what is known of an address is
//! forgotten with its last attempt. An attempt through a trusted proxy counts for its client as soon as that is known,
//! and until then for the proxy, which has no share.
//!
//! And the log of the proofs that were used: a Retry token proves an address once (RFC 9000 section 8.1.4 lets a
//! server ask for that), so that packets that were captured with one cannot be played again and again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::edge::admission::source;
use crate::quic::{Incoming, Proof};
use crate::telemetry::Metrics;

/// What becomes of one who comes from an address that has its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnShare {
    /// It is turned away: where letting in costs more than turning away.
    Refuse,
    /// The oldest attempt of its own address goes; where it has none and all are taken, it is turned away, so that a
    /// crowd from many addresses gets in one after the other.
    TakeOwnOldest,
    /// The oldest attempt of its own address goes; where it has none and all are taken, the oldest of all.
    TakeOldest,
}

/// A number of places.
#[derive(Debug)]
pub(crate) struct Door {
    most: usize,
    own: OwnShare,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    count: usize,
    /// Grows with each, so that the oldest is the smallest.
    next: u64,
    by_source: HashMap<Whose, BTreeMap<u64, CancellationToken>>,
}

/// For whom an attempt counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Whose {
    /// An address, as [`source`] has it.
    Address(IpAddr),
    /// Clients of this proxy that are not known yet.
    Behind(IpAddr),
}

impl Whose {
    /// Whether they are one's. Behind a proxy is a crowd, which gets in one after the other.
    fn is_one(self) -> bool {
        matches!(self, Self::Address(_))
    }
}

/// What somebody who tried got.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A place.
    Place(Place),
    /// A place that was taken from somebody else.
    PlaceOf(Place),
    /// None: it would be one more of the address that has the most.
    Full,
}

impl Answer {
    /// The place, where there is one. What it took is counted.
    pub(crate) fn counted(self, metrics: &Metrics) -> Option<Place> {
        match self {
            Self::Place(place) => Some(place),
            Self::PlaceOf(place) => {
                metrics.handshakes_evicted.add(1);
                Some(place)
            }
            Self::Full => {
                metrics.handshakes_refused.add(1);
                None
            }
        }
    }
}

impl Door {
    /// Each address has at most half of the places.
    pub(crate) fn new(most: usize, own: OwnShare) -> Arc<Self> {
        Arc::new(Self { most, own, inside: Mutex::default() })
    }

    /// How many are trying.
    pub(crate) fn count(&self) -> usize {
        self.inside.lock().count
    }

    /// A place for one more from this address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Answer {
        self.enter_as(Whose::Address(source(address)))
    }

    /// A place for a client of this proxy, until it is [known](Place::count_for) which.
    pub(crate) fn enter_behind(self: &Arc<Self>, proxy: IpAddr) -> Answer {
        self.enter_as(Whose::Behind(source(proxy)))
    }

    fn enter_as(self: &Arc<Self>, source: Whose) -> Answer {
        let mut inside = self.inside.lock();
        let own = inside.count_of(source);
        let mut taken = false;
        if self.has_share(source, own) {
            if self.own == OwnShare::Refuse {
                return Answer::Full;
            }
            taken = inside.take_oldest(source);
        } else if inside.count >= self.most {
            // Whoever has the most gives one up for somebody who would still have fewer.
            let largest = inside.by_source.iter().max_by_key(|(_, places)| places.len());
            match largest.map(|(source, places)| (*source, places.len())) {
                Some((largest, places)) if places > own + 1 => taken = inside.take_oldest(largest),
                _ if own > 0 && source.is_one() && self.own != OwnShare::Refuse => {
                    taken = inside.take_oldest(source);
                }
                _ if self.own == OwnShare::TakeOldest => taken = inside.take_oldest_of_all(),
                _ => return Answer::Full,
            }
        }
        let (number, evicted) = (inside.next, CancellationToken::new());
        inside.next += 1;
        inside.enter(source, number, evicted.clone());
        drop(inside);
        let place = Place { door: Arc::clone(self), source: Mutex::new(source), number, evicted };
        if taken { Answer::PlaceOf(place) } else { Answer::Place(place) }
    }

    /// Whether there are as many attempts as one address may have.
    fn has_share(&self, source: Whose, attempts: usize) -> bool {
        source.is_one() && attempts >= self.most.div_ceil(2)
    }
}

impl Inside {
    fn count_of(&self, source: Whose) -> usize {
        self.by_source.get(&source).map_or(0, BTreeMap::len)
    }

    fn enter(&mut self, source: Whose, number: u64, evicted: CancellationToken) {
        self.count += 1;
        self.by_source.entry(source).or_default().insert(number, evicted);
    }

    fn take_oldest(&mut self, source: Whose) -> bool {
        let oldest = self.by_source.get(&source).and_then(|places| places.keys().next().copied());
        oldest.is_some_and(|oldest| self.leave(source, oldest))
    }

    fn take_oldest_of_all(&mut self) -> bool {
        let oldest =
            self.by_source.iter().filter_map(|(source, places)| Some((*places.keys().next()?, *source)));
        oldest.min().is_some_and(|(oldest, source)| self.leave(source, oldest))
    }

    /// Takes an attempt out, and tells it. Tells whether it was there.
    fn leave(&mut self, source: Whose, number: u64) -> bool {
        let evicted = self.take(source, number);
        evicted.inspect(CancellationToken::cancel).is_some()
    }

    /// Takes an attempt out.
    fn take(&mut self, source: Whose, number: u64) -> Option<CancellationToken> {
        let places = self.by_source.get_mut(&source)?;
        let evicted = places.remove(&number)?;
        self.count -= 1;
        if places.is_empty() {
            self.by_source.remove(&source);
        }
        Some(evicted)
    }
}

/// One attempt's place, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    door: Arc<Door>,
    source: Mutex<Whose>,
    number: u64,
    evicted: CancellationToken,
}

impl Place {
    /// Cancelled when the place is somebody else's.
    pub(crate) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// Gives the place back, and is evicted no more: what it was for is known, and bounded elsewhere.
    pub(crate) fn leave(&self) {
        let own = self.source.lock();
        drop(self.door.inside.lock().take(*own, self.number));
    }

    /// Takes it again, where it was given back and there is one. Tells whether it is there.
    pub(crate) fn enter_again(&self) -> bool {
        let own = self.source.lock();
        let mut inside = self.door.inside.lock();
        let is_there = inside.by_source.get(&*own).is_some_and(|places| places.contains_key(&self.number));
        if !is_there && (inside.count >= self.door.most || self.evicted.is_cancelled()) {
            return false;
        }
        if !is_there {
            inside.enter(*own, self.number, self.evicted.clone());
        }
        true
    }

    /// Counts the attempt for this address from now on. Where that has its share, its oldest attempt goes, as if this
    /// one had come from there. Tells whether one went.
    pub(crate) fn count_for(&self, address: IpAddr) -> bool {
        let mut own = self.source.lock();
        let source = Whose::Address(source(address));
        if *own == source {
            return false;
        }
        let mut inside = self.door.inside.lock();
        // Else it was evicted, and counts for nobody.
        let Some(evicted) = inside.take(*own, self.number) else { return false };
        let attempts = inside.count_of(source);
        let taken = self.door.has_share(source, attempts) && inside.take_oldest(source);
        inside.enter(source, self.number, evicted);
        *own = source;
        taken
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let source = *self.source.get_mut();
        self.door.inside.lock().leave(source, self.number);
    }
}

/// How long quinn takes a Retry token: 15 s unless it is told otherwise, which we don't. Proofs are remembered for
/// that long at least.
const PROOF_LIFETIME: Duration = Duration::from_secs(15);

/// How many are remembered for each of two lifetimes: more than handshakes that a machine can do in one. Beyond it
/// the oldest are forgotten sooner.
const MOST_PROOFS: usize = 1 << 17;

/// The Retry tokens that were used, by the connection id that each is bound to.
#[derive(Debug)]
pub(crate) struct Proofs(Mutex<Generations>);

#[derive(Debug)]
struct Generations {
    begun: Instant,
    current: HashSet<Proof>,
    before: HashSet<Proof>,
}

impl Proofs {
    pub(crate) fn new() -> Self {
        let (current, before) = (HashSet::new(), HashSet::new());
        Self(Mutex::new(Generations { begun: Instant::now(), current, before }))
    }

    /// Whether the token for this connection id was used.
    pub(crate) fn is_used(&self, id: Proof) -> bool {
        let proofs = self.0.lock();
        proofs.before.contains(&id) || proofs.current.contains(&id)
    }

    /// Notes that the token for this connection id is used.
    pub(crate) fn note(&self, id: Proof, now: Instant) {
        let mut proofs = self.0.lock();
        if now.duration_since(proofs.begun) >= PROOF_LIFETIME || proofs.current.len() >= MOST_PROOFS {
            proofs.before = std::mem::take(&mut proofs.current);
            proofs.begun = now;
        }
        proofs.current.insert(id);
    }
}

/// Lets an attempt in, or answers it in another way.
pub(crate) fn let_in(
    incoming: Incoming,
    door: &Arc<Door>,
    proofs: &Proofs,
    retry_above: usize,
    metrics: &Metrics,
) -> Option<(Incoming, Place)> {
    // Before anything is thought of the address: it may be anybody's.
    if door.count() >= retry_above && !incoming.is_validated() && incoming.may_retry() {
        metrics.retries.add(1);
        incoming.retry();
        return None;
    }
    // Nothing is reckoned for one that was played again, not even a no.
    let proof = incoming.proof();
    if proof.is_some_and(|proof| proofs.is_used(proof)) {
        metrics.proofs_replayed.add(1);
        incoming.ignore();
        return None;
    }
    // Also for one that is turned away now: it comes again with another.
    if let Some(proof) = proof {
        proofs.note(proof, Instant::now());
    }
    let Some(place) = door.enter(incoming.remote_address().ip()).counted(metrics) else {
        incoming.refuse();
        return None;
    };
    Some((incoming, place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, number])
    }

    fn enter(door: &Arc<Door>, number: u8) -> Option<Place> {
        match door.enter(address(number)) {
            Answer::Place(place) | Answer::PlaceOf(place) => Some(place),
            Answer::Full => None,
        }
    }

    #[test]
    fn an_address_that_has_its_share_is_turned_away_and_others_are_not() {
        let door = Door::new(10, OwnShare::Refuse);
        let one: Vec<_> = (0..20).filter_map(|_| enter(&door, 1)).collect();
        let two: Vec<_> = (0..20).filter_map(|_| enter(&door, 2)).collect();
        assert_eq!((one.len(), two.len(), door.count()), (5, 5, 10));
        // The oldest of one of those who have the most goes.
        let _three: Vec<_> = (0..3).map(|_| enter(&door, 3).unwrap()).collect();
        let evicted = |places: &[Place]| places.iter().filter(|place| place.evicted.is_cancelled()).count();
        assert_eq!((evicted(&one) + evicted(&two), door.count()), (3, 10));
        assert!(
            one[4].door.count() == 10 && !one[4].evicted.is_cancelled() && !two[4].evicted.is_cancelled()
        );
        // Who has been told gives nothing back a second time.
        drop((one, two));
        assert_eq!(door.count(), 3);
    }

    #[test]
    fn where_turning_away_is_no_cheaper_the_newest_of_an_address_stay() {
        let door = Door::new(4, OwnShare::TakeOldest);
        let places: Vec<_> = (0..5).map(|_| enter(&door, 1).unwrap()).collect();
        let evicted: Vec<_> = places.iter().map(|place| place.evicted.is_cancelled()).collect();
        assert_eq!(evicted, [true, true, true, false, false]);
    }

    #[test]
    fn a_crowd_of_many_addresses_keeps_the_places_that_it_has() {
        let door = Door::new(4, OwnShare::TakeOwnOldest);
        let crowd: Vec<_> = (1..=4).map(|number| enter(&door, number).unwrap()).collect();
        assert!(enter(&door, 5).is_none(), "those who are there are let through first");
        let again = enter(&door, 2).unwrap();
        let evicted: Vec<_> = crowd.iter().map(|place| place.evicted.is_cancelled()).collect();
        assert_eq!(evicted, [false, true, false, false]);
        drop(again);
    }

    /// Clients of a proxy that are not known yet have no share, but no more than all places either.
    #[test]
    fn a_proxy_has_no_share_and_its_clients_have_theirs_as_soon_as_they_are_known() {
        let behind = |door: &Arc<Door>| match door.enter_behind(address(9)) {
            Answer::Place(place) | Answer::PlaceOf(place) => place,
            Answer::Full => panic!("full"),
        };
        let evicted = |places: &[Place]| places.iter().filter(|place| place.evicted.is_cancelled()).count();
        let door = Door::new(6, OwnShare::TakeOwnOldest);
        let unknown: Vec<_> = (0..6).map(|_| behind(&door)).collect();
        assert_eq!((evicted(&unknown), door.count()), (0, 6));
        assert!(matches!(door.enter_behind(address(9)), Answer::Full), "those who are there go first");
        assert_eq!((evicted(&unknown), door.count()), (0, 6));
        // Whoever comes directly has fewer.
        let direct = enter(&door, 1).unwrap();
        assert_eq!((evicted(&unknown), door.count()), (1, 6));
        assert_eq!(enter(&door, 9).map(|place| place.number), Some(7), "the proxy's own attempts are others");
        // Three are one client's, which is its share.
        let went: Vec<_> = unknown.iter().map(|place| place.count_for(address(2))).collect();
        assert_eq!(went, [false, false, false, false, false, true]);
        let still: Vec<_> = unknown.iter().map(|place| !place.evicted.is_cancelled()).collect();
        assert_eq!(still, [false, false, false, true, true, true]);
        // A second request on the same connection may be another client's.
        assert!(!unknown[5].count_for(address(3)));
        assert!(!unknown[5].count_for(address(3)));
        let known: Vec<_> = door.inside.lock().by_source.values().map(BTreeMap::len).collect();
        assert_eq!((known.iter().sum::<usize>(), door.count()), (4, 4));
        drop((unknown, direct));
        assert_eq!((door.count(), door.inside.lock().by_source.len()), (0, 0));
    }

    #[test]
    fn a_proof_counts_once_for_as_long_as_it_counts() {
        let (proofs, now) = (Proofs::new(), Instant::now());
        let id = |number: u8| Proof::of(&[number; 8]);
        proofs.note(id(1), now);
        assert!(proofs.is_used(id(1)) && !proofs.is_used(id(2)));
        proofs.note(id(2), now + PROOF_LIFETIME);
        assert!(proofs.is_used(id(1)) && proofs.is_used(id(2)));
        proofs.note(id(3), now + PROOF_LIFETIME * 2);
        assert!(!proofs.is_used(id(1)) && proofs.is_used(id(2)));
    }

    proptest! {
        /// Whoever comes and goes: the bound holds, and one with fewer attempts than another gets in.
        #[test]
        fn the_bound_and_the_shares_hold(acts in proptest::collection::vec((0..6_u8, 0..3_u8), 0..300)) {
            let door = Door::new(8, OwnShare::Refuse);
            let mut places: Vec<(u8, Place)> = Vec::new();
            for (from, what) in acts {
                let here = |number: u8| places
                    .iter()
                    .filter(|(of, place)| *of == number && !place.evicted.is_cancelled())
                    .count();
                if what == 0 {
                    if !places.is_empty() {
                        places.remove(usize::from(from) % places.len());
                    }
                } else {
                    let (own, most) = (here(from), (0..6).map(here).max().unwrap_or(0));
                    match enter(&door, from) {
                        Some(place) => places.push((from, place)),
                        None => prop_assert!(own >= 4 || own + 1 >= most, "{own} of {most}"),
                    }
                }
                let count = places.iter().filter(|(_, place)| !place.evicted.is_cancelled()).count();
                prop_assert!(count == door.count() && count <= 8);
            }
            places.clear();
            prop_assert!(door.inside.lock().by_source.is_empty());
        }

        /// The same with a proxy, whose clients are known at some time, or are others with the next request.
        #[test]
        fn the_bound_and_the_shares_hold_for_clients_of_a_proxy_too(
            acts in proptest::collection::vec((0..5_u8, 0..4_u8, any::<prop::sample::Index>()), 0..300),
        ) {
            let door = Door::new(8, OwnShare::TakeOwnOldest);
            let mut places: Vec<Place> = Vec::new();
            for (from, what, which) in acts {
                match (what, places.is_empty()) {
                    (0, false) => drop(places.swap_remove(which.index(places.len()))),
                    (1, false) => {
                        places[which.index(places.len())].count_for(address(from));
                    }
                    (2, _) => places.extend(enter(&door, from)),
                    _ => match door.enter_behind(address(0)) {
                        Answer::Place(place) | Answer::PlaceOf(place) => places.push(place),
                        Answer::Full => prop_assert_eq!(door.count(), 8),
                    },
                }
                let here: Vec<_> = places
                    .iter()
                    .filter(|place| !place.evicted.is_cancelled())
                    .map(|place| *place.source.lock())
                    .collect();
                prop_assert!(here.len() == door.count() && here.len() <= 8);
                for source in &here {
                    let own = here.iter().filter(|other| *other == source).count();
                    prop_assert!(own <= 4 || !source.is_one());
                    prop_assert_eq!(door.inside.lock().count_of(*source), own);
                }
            }
            places.clear();
            prop_assert!(door.inside.lock().by_source.is_empty());
        }
    }
}
