//! Whether a message still counts: judged without clocks that agree.
//!
//! In: stamps of messages as they arrive, and revisions of the bucket as the watch tells them. Out: a [`Verdict`].
//! Invariants: of one sender nothing counts that was sent over an older connection than something that has arrived, or
//! that has come already; and nothing counts whose sender, as it sent it, knew only what was known here
//! [`late`](Judge::new) ago. The bucket is the clock that all share: every node puts a sign of life there each second,
//! so whoever is up to date knows a revision that is about a second old at most.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::stamp::{Kind, Stamp};

/// How many senders are remembered. More nodes than this there will not be; their numbers change at each start.
const SENDERS: usize = 4096;
/// How many moments are remembered within `late`: the finer, the more exact.
const MOMENTS: u32 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Counts,
    /// Sent over a connection that its sender has given up, or behind what it was sent before: somebody says it again.
    Stale,
    /// Sent so long ago that its sender had not heard of what is in force here.
    Late,
}

/// What has come of a sender.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    epoch: u64,
    /// Over that connection the last for this node, and the last for all.
    last: [u64; 2],
}

#[derive(Debug)]
pub(crate) struct Judge {
    late: Option<Duration>,
    senders: HashMap<[u8; 4], Known>,
    /// When revisions were told here, both growing; at most `MOMENTS` and one.
    told: VecDeque<(Instant, u64)>,
    /// What was told longer than `late` ago.
    floor: u64,
}

impl Judge {
    pub(crate) fn new(late: Option<Duration>) -> Self {
        Self { late, senders: HashMap::new(), told: VecDeque::new(), floor: 0 }
    }

    /// The watch has told everything up to this revision.
    pub(crate) fn tell(&mut self, revision: u64, now: Instant) {
        let Some(late) = self.late else { return };
        self.sink(now);
        match self.told.back_mut() {
            // Taken for told at the earlier moment: stricter, by a fiftieth.
            Some((moment, last)) if now.duration_since(*moment) < late / MOMENTS => *last = revision,
            _ => self.told.push_back((now, revision)),
        }
    }

    /// Messages for all and those for this node come in two rows.
    pub(crate) fn judge(&mut self, stamp: &Stamp, is_for_all: bool, now: Instant) -> Verdict {
        let known = self.senders.entry(stamp.from).or_default();
        if stamp.epoch < known.epoch {
            return Verdict::Stale;
        }
        if stamp.epoch > known.epoch {
            *known = Known { epoch: stamp.epoch, ..Known::default() };
        }
        let [for_node, for_all] = &mut known.last;
        let last = if is_for_all { for_all } else { for_node };
        if stamp.kind == Kind::Message {
            if stamp.number <= *last {
                return Verdict::Stale;
            }
            *last = stamp.number;
        }
        if self.senders.len() > SENDERS {
            self.forget();
        }
        self.sink(now);
        // 0 is a node that has just started, and has nobody whom it could speak for.
        if stamp.seen != 0 && stamp.seen < self.floor { Verdict::Late } else { Verdict::Counts }
    }

    fn sink(&mut self, now: Instant) {
        let Some(late) = self.late else { return };
        while let Some((moment, revision)) = self.told.front() {
            if now.duration_since(*moment) < late {
                break;
            }
            self.floor = *revision;
            self.told.pop_front();
        }
    }

    /// The half that began its connections first.
    fn forget(&mut self) {
        let mut epochs: Vec<u64> = self.senders.values().map(|known| known.epoch).collect();
        let middle = epochs.len() / 2;
        let (_, median, _) = epochs.select_nth_unstable(middle);
        let median = *median;
        self.senders.retain(|_, known| known.epoch > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_secs(5);

    fn stamp(from: u8, epoch: u64, seen: u64) -> Stamp {
        Stamp { kind: Kind::Hello, from: [from; 4], epoch, number: 0, seen }
    }

    #[test]
    fn nothing_counts_from_before_a_newer_connection() {
        let (mut judge, now) = (Judge::new(Some(LATE)), Instant::now());
        assert_eq!(judge.judge(&stamp(1, 10, 0), false, now), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(1, 12, 0), false, now), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(1, 11, 0), false, now), Verdict::Stale);
        assert_eq!(judge.judge(&stamp(1, 12, 0), false, now), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(2, 11, 0), false, now), Verdict::Counts, "another sender");
    }

    #[test]
    fn nothing_counts_twice_and_each_of_two_rows_has_its_own_numbers() {
        let (mut judge, now) = (Judge::new(Some(LATE)), Instant::now());
        let mut judge = |epoch, number, is_for_all| {
            let stamp = Stamp { kind: Kind::Message, number, ..stamp(1, epoch, 0) };
            judge.judge(&stamp, is_for_all, now)
        };
        assert_eq!(judge(10, 1, false), Verdict::Counts);
        assert_eq!(judge(10, 1, false), Verdict::Stale);
        assert_eq!(judge(10, 4, false), Verdict::Counts);
        assert_eq!(judge(10, 3, false), Verdict::Stale);
        assert_eq!(judge(10, 2, true), Verdict::Counts);
        assert_eq!(judge(11, 1, false), Verdict::Counts, "over another connection");
        assert_eq!(judge(10, 5, true), Verdict::Stale);
    }

    #[test]
    fn nothing_counts_whose_sender_knew_only_what_is_old() {
        let (mut judge, start) = (Judge::new(Some(LATE)), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for second in 0..20 {
            judge.tell(100 + second, at(second));
        }
        // Told at 15, 5 s ago: all that was told until then is the floor.
        assert_eq!(judge.judge(&stamp(1, 1, 115), false, at(20)), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(1, 1, 114), false, at(20)), Verdict::Late);
        assert_eq!(judge.judge(&stamp(1, 1, 119), false, at(20)), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(1, 1, 0), false, at(20)), Verdict::Counts, "one that has just started");
        // Nobody has put anything: whoever knows all of it is up to date, however long ago it was.
        assert_eq!(judge.judge(&stamp(1, 1, 119), false, at(1000)), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(1, 1, 118), false, at(1000)), Verdict::Late);
    }

    #[test]
    fn a_node_that_has_just_been_told_everything_judges_mildly() {
        let (mut judge, now) = (Judge::new(Some(LATE)), Instant::now());
        for revision in 1..100_000 {
            judge.tell(revision, now);
        }
        assert_eq!(judge.judge(&stamp(1, 1, 1), false, now), Verdict::Counts);
        assert_eq!(judge.judge(&stamp(1, 1, 1), false, now + LATE), Verdict::Late);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut judge, start) = (Judge::new(Some(LATE)), Instant::now());
        for number in 0..100_000_u32 {
            judge.tell(number.into(), start + Duration::from_millis(number.into()));
            let stamp = Stamp { from: number.to_be_bytes(), ..stamp(0, number.into(), 0) };
            judge.judge(&stamp, false, start);
        }
        assert!(judge.senders.len() <= SENDERS + 1, "{}", judge.senders.len());
        assert!(judge.told.len() <= MOMENTS as usize + 1, "{}", judge.told.len());
        assert!(judge.senders.contains_key(&99_999_u32.to_be_bytes()), "the newest is remembered");
    }

    #[test]
    fn without_a_bound_nothing_is_late() {
        let (mut judge, now) = (Judge::new(None), Instant::now());
        judge.tell(1, now);
        judge.tell(2, now + LATE);
        assert_eq!(judge.judge(&stamp(1, 1, 1), false, now + 10 * LATE), Verdict::Counts);
    }
}
