//! For how long the bucket says that something was ended: a ban lifted, a key or a lasting membership dropped, a node
//! gone. An old mark of that goes, and an entry, the floor, says up to where such may be missing.
//!
//! In: the floor, as it comes; how far every node is; time. Out: whether this node may have missed an end; whether what
//! a disk has may have been ended; old marks, taken out of the bucket. Invariants: the floor is in the bucket before
//! anything below it goes, and is never lowered; nothing goes that a node which is there does not know; where the floor
//! cannot be read, nothing goes, and whatever may be missing counts as missing (promises 9 and 19).
//!
//! How old a mark is NATS says, and nobody has to remember it: so there may be any number of them, and a node that was
//! started again need not wait for another day. Nothing rests on the clocks for that but how long a node may have been
//! away.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_nats::{Bus, Expect, Found, PutError};
use fanfare_token::Seconds;
use serde::{Deserialize, Serialize};

/// Where the floor is.
pub(super) const KEY: &str = "floor";

/// What nobody needs the marks of any more when they are old. Of other entries somebody may: who has the duty to tell
/// back ends is claimed over what was there before, and a later version has others.
const KINDS: [&str; 5] = ["ban.", "key.", "lasting.", "node.", "audit."];

/// So many entries are looked at in one turn, and so many marks taken out, one after the other.
const LOOKED_AT: usize = 1_024;
const AT_ONCE: usize = 256;

/// When the next turn is, where this one has not come to the end.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Marks may be missing up to this revision, and of decisions that were made up to this time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Floor {
    revision: u64,
    seconds: Seconds,
}

/// How far a node is when it hears of a floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Everything up to this was in force here; 0 where it has not known the bucket as it is yet.
    pub(super) in_force: u64,
    pub(super) has_lease: bool,
    /// It was started so lately that whatever was ended since has left its mark.
    pub(super) is_new: bool,
}

/// What is known of old marks here.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The highest that was there.
    floor: Floor,
    /// The one that is.
    stands: Floor,
    /// The revision of its entry; 0 where there is none.
    entry: u64,
    /// What stands there says nothing.
    is_unclear: bool,
    /// Up to here nothing is in the bucket that is to go.
    cleared: u64,
}

impl Marks {
    /// The floor's entry has come; `None` where it was deleted. Tells whether something may have been ended of which
    /// this node will not hear any more.
    pub(super) fn saw(&mut self, value: Option<&[u8]>, revision: u64, standing: Standing) -> bool {
        self.entry = revision;
        let Standing { in_force, has_lease, is_new } = standing;
        let Some(floor) = value.and_then(|value| serde_json::from_slice::<Floor>(value).ok()) else {
            tracing::error!(
                key = KEY,
                "up to where the cluster has forgotten what was ended cannot be read: it forgets nothing more"
            );
            self.is_unclear = true;
            // Who has the lease knows everything but the last moments, of which all marks are there.
            return if in_force == 0 { !is_new } else { !has_lease };
        };
        let Floor { revision, seconds } = self.floor;
        if floor.revision < revision || floor.seconds < seconds {
            tracing::error!(key = KEY, "up to where the cluster has forgotten what was ended was lowered");
        }
        self.floor = Floor { revision: floor.revision.max(revision), seconds: floor.seconds.max(seconds) };
        self.stands = floor;
        self.is_unclear = false;
        // Who has just started has found what stands, and needs no marks.
        if in_force == 0 { !is_new && floor.revision > 0 } else { floor.revision > in_force }
    }

    /// Whether what was decided then may have been ended without a mark that says so.
    pub(super) fn may_be_missing(&self, since: Seconds) -> bool {
        self.is_unclear || self.floor.revision > 0 && since <= self.floor.seconds
    }

    /// What may go now, where everybody knows everything up to `known`, and marks are kept for so long.
    pub(super) fn turn(&self, known: u64, now: Seconds, kept: Duration) -> Option<Turn> {
        let may = !self.is_unclear && (known > self.cleared || self.stands != self.floor);
        let Self { floor, stands, entry, cleared, .. } = *self;
        may.then_some(Turn { floor, stands, entry, from: cleared, known, now, kept: kept.as_secs() })
    }

    /// Up to here nothing is left that is to go.
    pub(super) fn cleared(&mut self, to: u64) {
        self.cleared = self.cleared.max(to);
    }
}

/// Old marks, as one node takes them out.
pub(super) struct Clearing {
    pub(super) marks: Marks,
    /// For how long marks are kept.
    pub(super) remembers: Duration,
    /// When this node began to hear what was decided.
    pub(super) began: Instant,
    /// When the next turn is, and whether one is going on.
    pub(super) next_turn: Instant,
    pub(super) is_taking: bool,
}

impl Clearing {
    pub(super) fn new(remembers: Duration, now: Instant) -> Self {
        Self { marks: Marks::default(), remembers, began: now, next_turn: now, is_taking: false }
    }
}

/// Up to where every node that is there knows everything, this one and the others, as they say. `None` where one has
/// not said it.
pub(super) fn known_to_all(in_force: u64, others: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    others.into_iter().try_fold(in_force, |least, known| Some(least.min(known?)))
}

/// What is done in one turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    floor: Floor,
    stands: Floor,
    entry: u64,
    from: u64,
    known: u64,
    now: Seconds,
    kept: Seconds,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turned {
    /// Up to here nothing is left that is to go.
    pub(super) cleared: u64,
    /// There may be more behind.
    pub(super) goes_on: bool,
}

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lot {
    Goes,
    Stays,
    /// Not yet, and whatever is behind it neither.
    Later,
}

impl Turn {
    fn lot(&self, found: &Found) -> Lot {
        let is_old = found.put_at.is_some_and(|at| at.saturating_add(self.kept) <= self.now);
        if found.revision > self.known || !is_old {
            return Lot::Later;
        }
        match found.is_mark && KINDS.iter().any(|kind| found.key.starts_with(kind)) {
            true => Lot::Goes,
            false => Lot::Stays,
        }
    }

    /// The floor that is to be there before what is this new goes; `None` where the one that is there is high enough:
    /// then what was put before the newest that went is older than that, by which the time was taken.
    ///
    /// The time is not when that mark was put but now: the difference is what clocks of nodes may be apart, and costs
    /// nothing, since what has been in the cluster and is not there any more was ended, mark or no mark.
    fn floor(&self, newest: u64) -> Option<Floor> {
        let mut floor = self.floor;
        if floor.revision < newest {
            floor = Floor { revision: newest, seconds: floor.seconds.max(self.now) };
        }
        (floor != self.stands).then_some(floor)
    }

    fn stopped_at(cleared: u64) -> Turned {
        Turned { cleared, goes_on: false }
    }

    /// Finds what is old, and takes it out. Several nodes may do that at once.
    pub(super) async fn take(self, bus: Bus) -> Turned {
        let (mut at, mut goes_on, mut old) = (self.from, true, Vec::new());
        for _ in 0..LOOKED_AT {
            let lot = match bus.after(at).await {
                Ok(Some(found)) => (self.lot(&found), found),
                // Where nobody answers, it is asked again.
                Ok(None) | Err(_) => {
                    goes_on = false;
                    break;
                }
            };
            match lot {
                (Lot::Later, _) => {
                    goes_on = false;
                    break;
                }
                (Lot::Stays, found) => at = found.revision,
                (Lot::Goes, found) => {
                    at = found.revision;
                    old.push((found.key, found.revision));
                    if old.len() >= AT_ONCE {
                        break;
                    }
                }
            }
        }
        let newest = old.last().map_or(0, |(_, newest)| *newest);
        // A server that is behind may tell a node that starts what was ended in the meantime, and has to have the mark
        // to tell that, too; and one that was stopped may have something to put over nothing yet.
        if newest > 0 && !matches!(bus.is_whole().await, Ok(true)) {
            tracing::debug!("a NATS server is behind: old marks of what was ended stay");
            return Self::stopped_at(self.from);
        }
        if let Some(floor) = self.floor(newest) {
            // Where another node was quicker, what it put comes in a moment.
            if let Err(error) = bus.put(KEY, to_bytes(&floor), Expect::Revision(self.entry)).await {
                tracing::debug!(%error, "the floor of old marks was not put");
            }
            // Nothing goes before it has come here, and stands a moment later: of two that were put over one revision
            // while the bucket's leader changed both may have been done (`Expect::Revision`).
            return Turned { cleared: self.from, goes_on: true };
        }
        if newest > 0 {
            let count = old.len();
            tracing::debug!(count, "old marks of what was ended are taken out of the bucket");
        }
        for (key, revision) in old {
            match bus.purge(&key, revision).await {
                // Some other program's, with a key that no node gives: it stays.
                Ok(()) | Err(PutError::Key { .. }) => {}
                Err(error) => {
                    tracing::debug!(%error, key, "an old mark stays");
                    return Self::stopped_at(revision.saturating_sub(1));
                }
            }
        }
        Turned { cleared: at, goes_on }
    }
}

fn to_bytes(floor: &Floor) -> Bytes {
    // Two numbers: there is nothing in it that JSON does not have.
    serde_json::to_vec(floor).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn floor(revision: u64, seconds: Seconds) -> Bytes {
        to_bytes(&Floor { revision, seconds })
    }

    fn at(in_force: u64) -> Standing {
        Standing { in_force, has_lease: true, is_new: false }
    }

    const NEW: Standing = Standing { in_force: 0, has_lease: false, is_new: true };

    #[test]
    fn promise_19_whoever_was_away_longer_than_marks_are_kept_may_have_missed_an_end() {
        let mut marks = Marks::default();
        assert!(!marks.saw(Some(&floor(100, 5)), 200, at(100)), "it knew all that is missing");
        assert!(marks.saw(Some(&floor(101, 5)), 300, at(100)));
        assert!(!marks.saw(Some(&floor(500, 5)), 600, NEW), "it has found what stands");
        let slow = Standing { is_new: false, ..NEW };
        assert!(marks.saw(Some(&floor(500, 5)), 600, slow), "it began to read long ago, and is not done");
    }

    #[test]
    fn promise_19_of_a_floor_that_cannot_be_read_nothing_is_guessed() {
        for value in [None, Some(&b""[..]), Some(b"7"), Some(br#"{"revision":-1,"seconds":0}"#)] {
            let mut marks = Marks::default();
            assert!(!marks.may_be_missing(0));
            assert!(!marks.saw(value, 9, at(8)), "with its lease it knows all but the last moments");
            assert!(marks.saw(value, 9, Standing { has_lease: false, ..at(8) }));
            assert!(!marks.saw(value, 9, NEW));
            assert!(marks.may_be_missing(Seconds::MAX) && marks.turn(100, 0, DAY).is_none());
            // It was mended.
            assert!(!marks.saw(Some(&floor(3, 50)), 10, at(9)));
            assert_eq!([50, 51].map(|since| marks.may_be_missing(since)), [true, false]);
            assert!(marks.turn(100, 0, DAY).is_some());
        }
    }

    #[test]
    fn what_another_version_has_beside_it_is_passed_over() {
        let mut marks = Marks::default();
        assert!(!marks.saw(Some(br#"{"revision":7,"seconds":8,"more":[1]}"#), 9, at(8)));
        assert_eq!((marks.floor, marks.entry), (Floor { revision: 7, seconds: 8 }, 9));
    }

    #[test]
    fn nothing_is_known_to_all_where_one_has_not_said_it() {
        assert_eq!(known_to_all(7, []), Some(7));
        assert_eq!(known_to_all(7, [Some(9)]), Some(7));
        assert_eq!(known_to_all(7, [Some(9), Some(4)]), Some(4));
        assert_eq!(known_to_all(7, [Some(9), None]), None);
        assert_eq!(known_to_all(7, [Some(0)]), Some(0), "it starts");
        assert!(Marks::default().turn(0, 0, DAY).is_none(), "and until it has, nothing goes");
    }

    fn found(key: &str, revision: u64, put_at: Option<Seconds>) -> Found {
        Found { key: key.to_owned(), revision, is_mark: true, put_at }
    }

    #[test]
    fn a_mark_goes_when_it_is_old_and_everybody_knows_it() {
        let turn = Marks::default().turn(50, 100_000, DAY).unwrap();
        let old = Some(100_000 - 86_400);
        for key in ["ban.0a", "key.0a", "lasting.0a", "node.00000001", "audit.0a"] {
            assert_eq!(turn.lot(&found(key, 50, old)), Lot::Goes, "{key}");
        }
        for key in ["duty", KEY, "mute.of-a-later-version", "", "banana"] {
            assert_eq!(turn.lot(&found(key, 50, old)), Lot::Stays, "{key}");
        }
        assert_eq!(turn.lot(&Found { is_mark: false, ..found("ban.0a", 50, old) }), Lot::Stays);
        for later in [
            found("ban.0a", 51, old),
            found("ban.0a", 50, old.map(|old| old + 1)),
            found("ban.0a", 50, Some(Seconds::MAX)),
            found("ban.0a", 50, None),
        ] {
            assert_eq!(turn.lot(&later), Lot::Later, "{later:?}");
        }
    }

    proptest! {
        /// A node hears floors that others put, and was as far as it was when it fell behind: it is told that it may
        /// have missed something where, and only where, a mark went that it had not seen.
        #[test]
        fn promise_19_no_mark_goes_unseen_and_the_floor_is_never_lowered(
            turns in prop::collection::vec((1..50_u64, 0..50_u64, 0..100_u64, any::<bool>()), 1..20),
            away_at in 0..40_usize,
        ) {
            let (mut marks, mut entry, mut now, mut log) = (Marks::default(), 0, 200_000, 0);
            let (mut away, mut highest_gone) = (None, 0);
            for (step, (put, behind, seconds, mut lowered)) in turns.into_iter().enumerate() {
                log += put;
                now += seconds;
                if step == away_at {
                    away = Some(log);
                }
                let known = log.saturating_sub(behind);
                let Some(turn) = marks.turn(known, now, DAY) else { continue };
                let mark = found("ban.0a", known, Some(now - 86_400));
                prop_assert_eq!(turn.lot(&mark) == Lot::Goes, mark.revision <= known);
                let before = marks.floor;
                while let Some(raised) = marks.turn(known, now, DAY).unwrap().floor(mark.revision) {
                    log += 1;
                    entry = log;
                    prop_assert!(raised.revision >= before.revision && raised.seconds >= before.seconds);
                    let heard = marks.saw(Some(&to_bytes(&raised)), entry, at(known));
                    prop_assert!(!heard, "who is there has not missed it");
                    if lowered && before != marks.stands {
                        // Another's, which was put over the same.
                        let _ = marks.saw(Some(&to_bytes(&before)), entry, at(known));
                    }
                    lowered = false;
                }
                prop_assert_eq!(marks.stands, marks.floor);
                marks.cleared(mark.revision);
                highest_gone = highest_gone.max(mark.revision);
                prop_assert!(marks.floor.revision >= highest_gone);
                // What it ended was decided before it was put, by a clock that is less than a day ahead.
                prop_assert!(marks.may_be_missing(now - 86_400));
                prop_assert!(marks.may_be_missing(now - 1));
                prop_assert!(!marks.may_be_missing(now + 1));
            }
            if let Some(in_force) = away {
                let told = Bytes::from(serde_json::to_vec(&marks.floor).unwrap());
                let missed = Marks::default().saw(Some(&told), entry, at(in_force));
                prop_assert_eq!(missed, highest_gone > in_force);
            }
        }
    }
}
