//! What this node reports to whoever has the duty to tell a back end: which subjects are occupied here, and which are
//! not any more.
//!
//! In: subjects as their first ones come and their last ones go; answers. Out: reports, one at a time: the next goes
//! when the one before was received. Invariants:
//! - nothing is forgotten before it is *settled*: whoever has the duty has told the back end of it. So whoever has it
//!   next learns of everything that is so, and of everything that was not told yet;
//! - each change has a greater number than the one before, and only the newest of a subject counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::id::NodeId;
use crate::settings::Settings;
use crate::subject::{Claim, Item, Owed, Subject, Told};

/// So many bytes of items are in a report at most, as `wire` writes them, but for one that is longer alone.
const REPORT: usize = 24 * 1024;

/// An item has so many at most beside its names.
const ITEM: usize = 24;

/// So many changes that are not settled are kept, whatever comes and goes meanwhile.
const OPEN: usize = 4_096;

/// What is not settled is looked at again after this many times what an answer takes.
const LOOK: u32 = 25;

/// What this node reports.
pub(crate) struct Reports {
    settings: Settings,
    subjects: HashMap<Subject, Known, RandomState>,
    /// By the numbers of their newest changes.
    numbers: BTreeMap<u64, Subject>,
    /// Of those the ones that are not settled.
    open: BTreeSet<u64>,
    last: u64,
    /// Up to which number a change was ever in a report.
    said: u64,
    last_session: u64,
    /// The revision of the newest claim by which this node had the duty itself and told something, and the newest by
    /// which it told nothing.
    had: u64,
    void: Void,
    way: Option<Way>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    number: u64,
    is_here: bool,
    told: Told,
    /// Of the first change of a subject: nobody knows anything of it, as long as that is in no report.
    is_first: bool,
}

/// The way to whoever has the duty.
struct Way {
    claim: Claim,
    session: u64,
    /// How many reports have gone, and up to which number everything was in one.
    sent: u64,
    up_to: u64,
    flight: Option<Flight>,
    /// What is not settled: up to where it was looked at again, and when that was done last.
    looked: (u64, Instant),
}

/// A report that was not answered.
struct Flight {
    numbers: Vec<u64>,
    said: Instant,
    pause: Duration,
}

/// A claim by which nothing was told, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Void {
    pub(crate) revision: u64,
    pub(crate) before: u64,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) claim: u64,
    pub(crate) session: u64,
    /// The first of a session is 1.
    pub(crate) number: u64,
    /// The revision of the newest claim by which this node had the duty: all that it told then is among the items.
    pub(crate) had: u64,
    pub(crate) void: Void,
    /// Whether everything was reported with it.
    pub(crate) is_whole: bool,
    pub(crate) items: Vec<Item>,
}

/// An answer: up to which report everything was received, and what is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) claim: u64,
    pub(crate) session: u64,
    pub(crate) number: u64,
    pub(crate) settled: Vec<u64>,
}

impl Reports {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            subjects: HashMap::default(),
            numbers: BTreeMap::new(),
            open: BTreeSet::new(),
            last: 0,
            said: 0,
            last_session: 0,
            had: 0,
            void: Void::default(),
            way: None,
        }
    }

    /// A subject is occupied here from now on.
    pub(crate) fn occupied(&mut self, subject: Subject) {
        let told = match self.subjects.get(&subject) {
            Some(Known { is_here: true, .. }) => return,
            Some(Known { told: owed @ Told::Owed(_), .. }) => *owed,
            // Whether the back end was told that nobody is there any more is not known.
            _ => Told::No,
        };
        self.change(subject, true, told);
    }

    /// The last one here has gone. Where much is not settled already, what has come and gone before anybody was told of
    /// it is forgotten: clients bring about as much of that as they please, also where whoever has the duty does not
    /// answer.
    pub(crate) fn vacated(&mut self, subject: Subject) {
        match self.subjects.get(&subject).copied() {
            Some(Known { is_here: true, is_first: true, number, .. })
                if number > self.said && self.open.len() > OPEN =>
            {
                self.subjects.remove(&subject);
                self.numbers.remove(&number);
                self.open.remove(&number);
            }
            Some(Known { is_here: true, told, .. }) => self.change(subject, false, told),
            _ => {}
        }
    }

    /// This node had the duty: it sees to it that what was told is told to its end.
    pub(crate) fn owe(&mut self, owed: Owed) {
        match owed.void {
            None => self.had = owed.revision,
            Some(before) => self.void = Void { revision: owed.revision, before },
        }
        for (subject, told) in owed.subjects {
            let known = self.subjects.get(&subject);
            let is_here = known.is_some_and(|known| known.is_here);
            // What it keeps in mind itself says more than what it has heard.
            if told != Told::Kept || known.is_none() {
                self.change(subject, is_here, told);
            }
        }
    }

    /// The lease has ended: whoever has the duty may tell that nobody is there, because nothing is known of this node.
    pub(crate) fn doubt(&mut self) {
        for known in self.subjects.values_mut().filter(|known| known.is_here && known.told == Told::Kept) {
            known.told = Told::No;
            self.open.insert(known.number);
        }
        self.way = None;
    }

    fn change(&mut self, subject: Subject, is_here: bool, told: Told) {
        self.last += 1;
        let is_first = told == Told::No && !self.subjects.contains_key(&subject);
        let known = Known { number: self.last, is_here, told, is_first };
        if let Some(before) = self.subjects.insert(subject.clone(), known) {
            self.numbers.remove(&before.number);
            self.open.remove(&before.number);
        }
        self.numbers.insert(self.last, subject);
        self.open.insert(self.last);
    }

    /// Whether everything was received by another node that has the duty; and if not, a number that grows as more is.
    pub(crate) fn are_received(&self, id: NodeId) -> Result<(), u64> {
        let Some(way) = self.way.as_ref().filter(|way| way.claim.node != id) else {
            // Whoever has told something has to say so, even if nobody is here any more: else it is not known that it
            // was told to its end.
            let has_told = self.had > 0 || self.void != Void::default();
            return if self.subjects.is_empty() && !has_told { Ok(()) } else { Err(0) };
        };
        let is_done = way.sent > 0 && way.flight.is_none() && way.up_to == self.last;
        if is_done { Ok(()) } else { Err(way.sent) }
    }

    /// What is to be said now to whoever has the duty.
    pub(crate) fn next(&mut self, claim: Claim, now: Instant) -> Option<Report> {
        if self.way.as_ref().is_none_or(|way| way.claim != claim) {
            self.begin(claim, now);
        }
        let (again, look) = (self.settings.again, self.settings.again * LOOK);
        let Self { numbers, subjects, open, last, said, had, void, way, .. } = self;
        let way = way.as_mut()?;
        if let Some(flight) = &mut way.flight {
            if now < flight.said + flight.pause {
                return None;
            }
            flight.said = now;
            flight.pause = (flight.pause * 2).min(again * 10);
        } else {
            let taken = if way.sent == 0 || way.up_to < *last {
                let taken = batch(numbers.range(way.up_to + 1..));
                let has_more = |of: &u64| numbers.range(of + 1..).next().is_some();
                way.up_to = taken.last().copied().filter(has_more).unwrap_or(*last);
                taken
            } else if now >= way.looked.1 + look && !open.is_empty() {
                let rest = open.range(way.looked.0 + 1..).filter_map(|number| numbers.get_key_value(number));
                let taken = batch(rest);
                way.looked = match taken.last() {
                    Some(last) if open.range(last + 1..).next().is_some() => (*last, way.looked.1),
                    _ => (0, now),
                };
                if taken.is_empty() {
                    return None;
                }
                taken
            } else {
                return None;
            };
            *said = taken.iter().copied().fold(*said, u64::max);
            way.sent += 1;
            way.flight = Some(Flight { numbers: taken, said: now, pause: again });
        }
        let taken = way.flight.as_ref().map(|flight| flight.numbers.as_slice()).unwrap_or_default();
        let item = |number: &u64| {
            let subject = numbers.get(number)?;
            let Known { is_here, told, .. } = *subjects.get(subject)?;
            Some(Item { number: *number, subject: subject.clone(), is_here, told })
        };
        Some(Report {
            claim: claim.number,
            session: way.session,
            number: way.sent,
            had: *had,
            void: *void,
            is_whole: way.up_to == *last,
            items: taken.iter().filter_map(item).collect(),
        })
    }

    fn begin(&mut self, claim: Claim, now: Instant) {
        self.last_session += 1;
        let (session, looked) = (self.last_session, (0, now));
        self.way = Some(Way { claim, session, sent: 0, up_to: 0, flight: None, looked });
    }

    /// An answer has come.
    pub(crate) fn reported(&mut self, from: Claim, reported: &Reported, now: Instant) {
        let Some(way) = self.way.as_mut().filter(|way| way.claim == from && way.session == reported.session)
        else {
            return;
        };
        if reported.number == way.sent {
            way.flight = None;
        } else if reported.number.saturating_add(1) < way.sent || way.flight.is_none() {
            // Whoever has the duty knows less than it knew: it is told everything.
            return self.begin(from, now);
        }
        for number in &reported.settled {
            if self.open.remove(number)
                && let Some(subject) = self.numbers.get(number)
                && let Some(known) = self.subjects.get_mut(subject)
            {
                if known.is_here {
                    known.told = Told::Kept;
                } else {
                    self.subjects.remove(subject);
                    self.numbers.remove(number);
                }
            }
        }
    }
}

/// As many of these as fit into a report.
fn batch<'a>(subjects: impl Iterator<Item = (&'a u64, &'a Subject)>) -> Vec<u64> {
    let mut room = REPORT;
    let fits = |(_, subject): &(&u64, &Subject)| {
        let names = match subject {
            Subject::Group(group) => group.as_str().len(),
            Subject::User(group, user) => group.as_str().len() + user.as_str().len(),
        };
        let has_room = room > names + ITEM;
        room = room.saturating_sub(names + ITEM);
        has_room
    };
    subjects.take_while(fits).map(|(number, _)| *number).collect()
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{GroupName, UserName};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn room(number: usize) -> Subject {
        Subject::Group(GroupName::new(&format!("room {number}")).unwrap())
    }

    fn claim(number: u64) -> Claim {
        Claim { node: NodeId::new([1, 0, 0, 0]), number }
    }

    fn other() -> NodeId {
        NodeId::new([2, 0, 0, 0])
    }

    fn reports() -> Reports {
        Reports::new(Settings::default())
    }

    /// What was reported: numbers, whether somebody is there, and what was told.
    fn items(report: Option<Report>) -> Vec<(u64, bool, Told)> {
        let items = report.map(|report| report.items).unwrap_or_default();
        items.into_iter().map(|item| (item.number, item.is_here, item.told)).collect()
    }

    fn answer(report: &Report, settled: &[u64]) -> Reported {
        let Report { claim, session, number, .. } = *report;
        Reported { claim, session, number, settled: settled.to_vec() }
    }

    #[test]
    fn one_report_goes_at_a_time_and_is_said_again_until_it_is_received() {
        let (now, mut reports) = (Instant::now(), reports());
        reports.occupied(room(1));
        let first = reports.next(claim(1), now).unwrap();
        assert_eq!((first.session, first.number, first.is_whole), (1, 1, true));
        assert_eq!(items(Some(first.clone())), [(1, true, Told::No)]);
        reports.occupied(room(1));
        reports.occupied(room(2));
        assert_eq!(reports.next(claim(1), now + 199 * MS), None, "it is on its way");
        let again = reports.next(claim(1), now + 200 * MS).unwrap();
        assert_eq!((again.number, again.is_whole), (1, false), "there is more by now");
        assert_eq!(reports.next(claim(1), now + 599 * MS), None, "more and more seldom");
        assert!(reports.are_received(other()).is_err());
        reports.reported(claim(1), &answer(&first, &[1]), now);
        let second = reports.next(claim(1), now + 600 * MS).unwrap();
        assert_eq!((second.number, items(Some(second.clone()))), (2, vec![(2, true, Told::No)]));
        // What comes from somebody else, or of another session, is none.
        reports.reported(claim(2), &answer(&second, &[2]), now);
        reports.reported(claim(1), &Reported { session: 7, ..answer(&second, &[2]) }, now);
        assert!(reports.are_received(other()).is_err());
        reports.reported(claim(1), &answer(&second, &[]), now);
        assert_eq!(reports.are_received(other()), Ok(()));
        assert!(reports.are_received(claim(1).node).is_err(), "nobody else knows of it");
        // What is not settled is asked for again.
        assert_eq!(reports.next(claim(1), now + 601 * MS), None);
        let look = reports.next(claim(1), now + 5_600 * MS);
        assert_eq!(items(look), [(2, true, Told::No)], "the first is settled");
    }

    /// It failed before: clients that join ever new groups filled it where whoever has the duty did not answer.
    #[test]
    fn no_more_is_kept_of_what_has_come_and_gone_before_anybody_was_told_of_it_than_may_be() {
        let (now, mut reports) = (Instant::now(), reports());
        reports.occupied(room(0));
        let lost = reports.next(claim(1), now).unwrap();
        for number in 1..3 * OPEN {
            reports.occupied(room(number));
            reports.vacated(room(number));
        }
        let kept = [reports.subjects.len(), reports.numbers.len(), reports.open.len()];
        assert_eq!(kept, [OPEN; 3]);
        // Who was there for a moment was there, as far as that; and what was told may have been heard.
        reports.vacated(room(0));
        reports.occupied(room(OPEN));
        assert_eq!(reports.subjects.len(), OPEN + 1);
        reports.reported(claim(1), &answer(&lost, &[]), now);
        let mut told = Vec::new();
        while let Some(report) = reports.next(claim(1), now) {
            told.extend(report.items.iter().map(|item| (item.subject.clone(), item.is_here)));
            reports.reported(claim(1), &answer(&report, &[]), now);
        }
        assert_eq!(told.len(), OPEN + 1);
        assert_eq!((&told[OPEN - 1], &told[OPEN]), (&(room(0), false), &(room(OPEN), true)));
        assert_eq!(told[0], (room(1), false));
        assert_eq!(reports.are_received(other()), Ok(()));
    }

    #[test]
    fn what_was_told_is_kept_in_mind_until_the_end_of_it_is_settled() {
        let (now, mut reports) = (Instant::now(), reports());
        reports.occupied(room(1));
        let first = reports.next(claim(1), now).unwrap();
        reports.reported(claim(1), &answer(&first, &[1]), now);
        // Whoever has the duty next hears of all of it, also of what is settled.
        let other = reports.next(claim(2), now).unwrap();
        assert_eq!((other.session, items(Some(other.clone()))), (2, vec![(1, true, Told::Kept)]));
        reports.reported(claim(2), &answer(&other, &[1]), now);
        reports.vacated(room(1));
        reports.vacated(room(9));
        let left = reports.next(claim(2), now).unwrap();
        assert_eq!(items(Some(left.clone())), [(2, false, Told::Kept)]);
        reports.reported(claim(2), &answer(&left, &[]), now);
        assert_eq!(items(reports.next(claim(3), now)), [(2, false, Told::Kept)]);
        let again = reports.next(claim(4), now).unwrap();
        reports.reported(claim(4), &answer(&again, &[2]), now);
        assert_eq!(items(reports.next(claim(5), now)), []);
        assert!(reports.subjects.is_empty() && reports.numbers.is_empty() && reports.open.is_empty());
    }

    #[test]
    fn who_had_the_duty_owes_what_it_told_and_doubts_what_others_told() {
        let (now, mut reports) = (Instant::now(), reports());
        for number in [1, 2] {
            reports.occupied(room(number));
        }
        let report = reports.next(claim(1), now).unwrap();
        reports.reported(claim(1), &answer(&report, &[1, 2]), now);
        reports.doubt();
        let told = [2, 3].map(|number| (room(number), Told::Owed(7))).to_vec();
        reports.owe(Owed { revision: 7, void: None, subjects: told });
        let report = reports.next(claim(2), now).unwrap();
        assert_eq!((report.had, report.session), (7, 2));
        let (no, owed) = (Told::No, Told::Owed(7));
        assert_eq!(items(Some(report)), [(1, true, no), (3, true, owed), (4, false, owed)]);
        // Whoever comes back is owed the same.
        reports.occupied(room(3));
        assert_eq!(items(reports.next(claim(3), now)).last(), Some(&(5, true, owed)));
        // By a claim by which nothing was told, what was heard is passed on.
        let heard = vec![(room(4), Told::Owed(6)), (room(5), Told::Kept), (room(1), Told::Kept)];
        reports.owe(Owed { revision: 9, void: Some(3), subjects: heard });
        let report = reports.next(claim(4), now).unwrap();
        assert_eq!((report.had, report.void), (7, Void { revision: 9, before: 3 }));
        assert_eq!(items(Some(report))[3..], [(6, false, Told::Owed(6)), (7, false, Told::Kept)]);
    }

    #[test]
    fn whoever_knows_less_than_it_knew_is_told_everything() {
        let (now, mut reports) = (Instant::now(), reports());
        for number in 1..4 {
            reports.occupied(room(number));
            let report = reports.next(claim(1), now).unwrap();
            reports.reported(claim(1), &answer(&report, &[]), now);
        }
        reports.occupied(room(4));
        let fourth = reports.next(claim(1), now).unwrap();
        reports.reported(claim(1), &Reported { number: 3, ..answer(&fourth, &[]) }, now);
        assert_eq!(reports.next(claim(1), now), None, "that was said before it had come");
        reports.reported(claim(1), &Reported { number: 2, ..answer(&fourth, &[]) }, now);
        let report = reports.next(claim(1), now).unwrap();
        assert_eq!((report.session, report.number, report.items.len()), (2, 1, 4));
    }

    #[test]
    fn promise_17_who_has_told_something_says_so_before_it_goes_even_if_nobody_is_here() {
        let now = Instant::now();
        for void in [None, Some(3)] {
            let mut reports = reports();
            assert_eq!(reports.are_received(other()), Ok(()));
            reports.owe(Owed { revision: 7, void, subjects: Vec::new() });
            assert!(reports.are_received(other()).is_err());
            let report = reports.next(claim(2), now).unwrap();
            assert_eq!((report.had, report.void.revision), if void.is_none() { (7, 0) } else { (0, 7) });
            assert!(reports.are_received(other()).is_err());
            reports.reported(claim(2), &answer(&report, &[]), now);
            assert_eq!(reports.are_received(other()), Ok(()));
        }
    }

    #[test]
    fn a_report_is_no_longer_than_a_message_may_be() {
        let (now, mut reports) = (Instant::now(), reports());
        let group = GroupName::new(&"g".repeat(200)).unwrap();
        for number in 0..1_000 {
            let user = UserName::new(&format!("{number:0>200}")).unwrap();
            reports.occupied(Subject::User(group.clone(), user));
        }
        let mut seen = 0;
        while let Some(report) = reports.next(claim(1), now) {
            assert!(report.items.len() <= REPORT / 400, "{}", report.items.len());
            seen += report.items.len();
            assert_eq!(report.is_whole, seen == 1_000, "{seen}");
            reports.reported(claim(1), &answer(&report, &[]), now);
        }
        assert_eq!(seen, 1_000);
    }
}
