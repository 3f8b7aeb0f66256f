//! What a back end is told once for all nodes, where this node has the duty: when a subject is occupied that was not
//! on any node, and when it is not any more on any.
//!
//! In: reports of all nodes, this one's too; nodes that go; time. Out: what is to be told; answers. Invariants:
//! - of each subject "occupied" and "vacated" take turns, beginning with "occupied"; somebody who is back within the
//!   grace was never gone, on whatever node;
//! - nothing is told before every node that is there has reported everything: before that, what another node had told
//!   when it had the duty is not known (promise 17).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::duty::Held;
use crate::id::NodeId;
use crate::reports::{Report, Reported, Void};
use crate::subject::{Item, Owed, Subject, Told};

/// So many nodes that have gone are remembered, by how far their reports had come.
const MOST_REPORTERS: usize = 4_096;

/// What is told of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) subject: Subject,
    /// Whether it is occupied from now on, or not any more.
    pub(crate) is_occupied: bool,
    /// How many were told by this claim, this one included.
    pub(crate) number: u64,
}

/// What all nodes report, while this one has the duty.
#[derive(Default)]
pub(crate) struct Notices {
    /// How long a user may be away without being gone.
    grace: Duration,
    held: Option<Held>,
    /// Every node that is there has reported everything.
    is_whole: bool,
    subjects: HashMap<Subject, Attendance, RandomState>,
    reporters: HashMap<NodeId, Reporter, RandomState>,
    /// When a subject is vacated, if nobody comes.
    due: BTreeSet<(Instant, Subject)>,
    notices: Vec<Notice>,
    /// How many there were.
    told: u64,
    settled: HashMap<NodeId, Vec<u64>, RandomState>,
}

#[derive(Default)]
struct Attendance {
    /// The back end was told that it is occupied.
    is_told: bool,
    /// What nodes say of that, as long as not all have: some of them may be gone by then. Whether one keeps it in mind
    /// that has somebody there, or had; the newest claim by which one owes it.
    is_kept: bool,
    was_kept: bool,
    owed: u64,
    doubted: u64,
    /// The end of what was told may have been told, and nobody have heard of that.
    is_doubtful: bool,
    standings: Vec<Standing>,
    due: Option<Instant>,
}

impl Attendance {
    /// Whether nothing is known of it.
    fn is_empty(&self) -> bool {
        let is_told = self.is_told || self.is_kept || self.was_kept || self.owed > 0 || self.doubted > 0;
        self.standings.is_empty() && !is_told
    }

    /// What whoever has the duty by the claim of this revision owes of it.
    fn owed_by(&self, revision: u64) -> Told {
        match (self.is_told, self.is_doubtful) {
            (false, _) => Told::No,
            (true, false) => Told::Owed(revision),
            (true, true) => Told::Doubted(revision),
        }
    }

    /// What was heard of it, up to the newest claim by which something may have been told.
    fn heard_of(&self, last: u64) -> Told {
        let kept = if self.is_kept { last } else { 0 };
        match (self.owed.max(kept), self.doubted) {
            (0, 0) if self.was_kept => Told::Kept,
            (0, 0) => Told::No,
            (0, doubted) => Told::Doubted(doubted),
            (owed, _) => Told::Owed(owed),
        }
    }

    fn is_here(&self) -> bool {
        self.standings.iter().any(|standing| standing.is_here)
    }
}

/// How a node stands to a subject.
struct Standing {
    node: NodeId,
    session: u64,
    number: u64,
    is_here: bool,
    told: Told,
    is_settled: bool,
}

#[derive(Default, Clone, Copy)]
struct Reporter {
    session: u64,
    reports: u64,
    is_whole: bool,
    /// It had, also if it has gone since: what it said of claims is so for all time.
    was_whole: bool,
    /// The greatest number of an item.
    number: u64,
    /// By which claim it had the duty last and told something, and by which it told nothing.
    had: u64,
    void: Void,
}

impl Notices {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, ..Self::default() }
    }

    /// How this node has the duty, as far as it was told.
    pub(crate) fn held(&self) -> Option<Held> {
        self.held
    }

    /// This node has the duty from now on, and knows nothing yet.
    pub(crate) fn begin(&mut self, held: Held) {
        *self = Self { held: Some(held), ..Self::new(self.grace) };
    }

    /// It has it no longer. Gives what is owed for that.
    pub(crate) fn end(&mut self) -> Option<Owed> {
        let held = self.held?;
        // What was to be told and is not will not be.
        for notice in self.notices.drain(..).rev() {
            let attendance = self.subjects.entry(notice.subject).or_default();
            (attendance.is_told, attendance.is_doubtful) = (!notice.is_occupied, false);
        }
        let last = self.last_effective(held.before);
        let Self { is_whole, subjects, .. } = std::mem::replace(self, Self::new(self.grace));
        let owed = |(subject, attendance): (Subject, Attendance)| {
            let told = if is_whole { attendance.owed_by(held.revision) } else { attendance.heard_of(last) };
            (told != Told::No).then_some((subject, told))
        };
        let subjects = subjects.into_iter().filter_map(owed).collect();
        Some(Owed { revision: held.revision, void: (!is_whole).then_some(last), subjects })
    }

    /// The newest claim by which something may have been told, up to this one.
    fn last_effective(&self, mut revision: u64) -> u64 {
        let void = |of: u64| {
            let whole = self.reporters.values().filter(|reporter| reporter.was_whole);
            whole.map(|reporter| reporter.void).find(|void| of > 0 && void.revision == of)
        };
        while let Some(Void { before, .. }) = void(revision).filter(|void| void.before < revision) {
            revision = before;
        }
        revision
    }

    /// A report has come. Tells whether it is answered.
    pub(crate) fn report(&mut self, from: NodeId, report: &Report, now: Instant) -> bool {
        if self.held.is_none_or(|held| held.claim.number != report.claim) {
            return false;
        }
        let reporter = self.reporters.entry(from).or_default();
        if report.session < reporter.session {
            return false;
        }
        if report.session > reporter.session {
            let Reporter { number, was_whole, .. } = *reporter;
            *reporter = Reporter { session: report.session, number, was_whole, ..Reporter::default() };
        }
        if report.number > reporter.reports + 1 || report.number < reporter.reports {
            // It goes by what was known here, and is not.
            return true;
        }
        (reporter.reports, reporter.had, reporter.void) = (report.number, report.had, report.void);
        let before = reporter.number;
        reporter.number = report.items.iter().map(|item| item.number).fold(before, u64::max);
        let becomes_whole = report.is_whole && !std::mem::replace(&mut reporter.is_whole, report.is_whole);
        reporter.was_whole |= reporter.is_whole;
        let session = report.session;
        for item in &report.items {
            self.take(from, session, item, before, now);
        }
        if becomes_whole {
            self.forget(|standing| standing.node == from && standing.session < session, now);
        }
        true
    }

    fn take(&mut self, from: NodeId, session: u64, item: &Item, before: u64, now: Instant) {
        let attendance = self.subjects.entry(item.subject.clone()).or_default();
        let Item { number, is_here, told, .. } = *item;
        if !self.is_whole {
            match told {
                Told::No => {}
                Told::Kept if is_here => attendance.is_kept = true,
                Told::Kept => attendance.was_kept = true,
                Told::Owed(revision) => attendance.owed = attendance.owed.max(revision),
                Told::Doubted(revision) => attendance.doubted = attendance.doubted.max(revision),
            }
        }
        let standing = Standing { node: from, session, number, is_here, told, is_settled: false };
        match attendance.standings.iter_mut().find(|standing| standing.node == from) {
            Some(known) if number < known.number => return,
            Some(known) => *known = standing,
            None if is_here || number > before => attendance.standings.push(standing),
            // It was told, and the answer was lost.
            None => {
                self.settled.entry(from).or_default().push(number);
                return self.drop_if_empty(&item.subject);
            }
        }
        self.look(&item.subject, now);
    }

    /// These nodes are there beside this one: where all have reported everything, what they know is told.
    pub(crate) fn gather(&mut self, others: impl IntoIterator<Item = NodeId>, now: Instant) {
        let Some(held) = self.held.filter(|_| !self.is_whole) else { return };
        let is_whole = |node: NodeId| self.reporters.get(&node).is_some_and(|reporter| reporter.is_whole);
        if !is_whole(held.claim.node) || !others.into_iter().all(is_whole) {
            return;
        }
        self.is_whole = true;
        // Whoever told something last knows what it told. Where it is no more, the others know it of what was theirs.
        let last = self.last_effective(held.before);
        let is_handed_over =
            self.reporters.values().any(|reporter| reporter.was_whole && reporter.had == last);
        for attendance in self.subjects.values_mut() {
            let is_newest = |revision: u64| revision > 0 && revision >= last;
            let is_certain = is_newest(attendance.owed) || attendance.is_kept && !is_handed_over;
            let is_doubted = attendance.was_kept && !is_handed_over || is_newest(attendance.doubted);
            attendance.is_doubtful = !is_certain && is_doubted && !attendance.is_here();
            attendance.is_told = is_certain || attendance.is_doubtful;
            (attendance.is_kept, attendance.was_kept, attendance.owed, attendance.doubted) =
                (false, false, 0, 0);
            if is_handed_over && !attendance.is_told {
                // What was told once, and is not owed, has been told to its end.
                let is_over = |standing: &Standing| !standing.is_here && standing.told == Told::Kept;
                for over in attendance.standings.extract_if(.., |standing| is_over(standing)) {
                    self.settled.entry(over.node).or_default().push(over.number);
                }
            }
        }
        let subjects: Vec<Subject> = self.subjects.keys().cloned().collect();
        for subject in subjects {
            self.drop_if_empty(&subject);
            self.look(&subject, now);
        }
    }

    /// A node has gone, and whoever was there.
    pub(crate) fn part(&mut self, node: NodeId, now: Instant) {
        if let Some(reporter) = self.reporters.get_mut(&node) {
            // If it is there again, it says everything again.
            (reporter.reports, reporter.is_whole) = (0, false);
        }
        self.forget(|standing| standing.node == node, now);
        if self.reporters.len() > MOST_REPORTERS {
            self.reporters.remove(&node);
        }
    }

    fn forget(&mut self, is_over: impl Fn(&Standing) -> bool, now: Instant) {
        let has_over = |(_, attendance): &(&Subject, &Attendance)| attendance.standings.iter().any(&is_over);
        let over: Vec<Subject> =
            self.subjects.iter().filter(has_over).map(|(subject, _)| subject.clone()).collect();
        for subject in over {
            if let Some(attendance) = self.subjects.get_mut(&subject) {
                attendance.standings.retain(|standing| !is_over(standing));
            }
            self.look(&subject, now);
        }
    }

    /// What there is to tell of a subject is told.
    fn look(&mut self, subject: &Subject, now: Instant) {
        let Some(attendance) = self.subjects.get_mut(subject).filter(|_| self.is_whole) else { return };
        // Somebody was there, even if only for a moment.
        let is_new = !attendance.is_told && !attendance.standings.is_empty();
        if is_new || attendance.is_doubtful && attendance.is_here() {
            (attendance.is_told, attendance.is_doubtful) = (true, false);
            self.told += 1;
            let number = self.told;
            self.notices.push(Notice { subject: subject.clone(), is_occupied: true, number });
        }
        let settled = &mut self.settled;
        let mut settle = |of: &Standing| settled.entry(of.node).or_default().push(of.number);
        if attendance.is_here() {
            if let Some(due) = attendance.due.take() {
                self.due.remove(&(due, subject.clone()));
            }
            for standing in attendance.standings.iter_mut().filter(|standing| !standing.is_settled) {
                standing.is_settled = true;
                settle(standing);
            }
            attendance.standings.retain(|standing| standing.is_here);
            return;
        }
        let grace = match subject {
            Subject::Group(_) => Duration::ZERO,
            Subject::User(..) => self.grace,
        };
        let due = *attendance.due.get_or_insert(now + grace);
        if now < due {
            self.due.insert((due, subject.clone()));
            return;
        }
        self.due.remove(&(due, subject.clone()));
        attendance.standings.iter().for_each(settle);
        if attendance.is_told {
            self.told += 1;
            let number = self.told;
            self.notices.push(Notice { subject: subject.clone(), is_occupied: false, number });
        }
        self.subjects.remove(subject);
    }

    fn drop_if_empty(&mut self, subject: &Subject) {
        if self.subjects.get(subject).is_some_and(Attendance::is_empty) {
            self.subjects.remove(subject);
        }
    }

    /// Tells of what is vacated by now.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((due, subject)) = self.due.first().cloned()
            && due <= now
        {
            self.due.pop_first();
            self.look(&subject, now);
        }
    }

    /// What is to be told, in its order.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What is settled of a node's reports.
    pub(crate) fn answer(&mut self, node: NodeId) -> Option<Reported> {
        let (claim, reporter) = (self.held?.claim, self.reporters.get(&node)?);
        let settled = self.settled.remove(&node).unwrap_or_default();
        Some(Reported { claim: claim.number, session: reporter.session, number: reporter.reports, settled })
    }

    /// Nodes of whose reports something is settled that they were not told.
    pub(crate) fn settled(&self) -> Vec<NodeId> {
        self.settled.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{GroupName, UserName};

    use super::*;
    use crate::subject::Claim;

    const MS: Duration = Duration::from_millis(1);

    fn node(number: u8) -> NodeId {
        NodeId::new([number, 0, 0, 0])
    }

    /// By a claim of revision 9, behind one of revision 5.
    fn notices() -> Notices {
        let mut notices = Notices::new(300 * MS);
        notices.begin(Held { claim: Claim { node: node(1), number: 1 }, revision: 9, before: 5 });
        notices
    }

    fn room() -> Subject {
        Subject::Group(GroupName::new("room").unwrap())
    }

    fn alice() -> Subject {
        Subject::User(GroupName::new("room").unwrap(), UserName::new("alice").unwrap())
    }

    fn report(session: u64, number: u64, items: &[(u64, &Subject, bool, Told)]) -> Report {
        let item = |(number, subject, is_here, told): &(u64, &Subject, bool, Told)| Item {
            number: *number,
            subject: (*subject).clone(),
            is_here: *is_here,
            told: *told,
        };
        let items = items.iter().map(item).collect();
        Report { claim: 1, session, number, had: 0, void: Void::default(), is_whole: true, items }
    }

    /// What was told: whether it is occupied, and whether it is the group.
    fn told(notices: &mut Notices) -> Vec<(bool, bool)> {
        let is_group = |subject: &Subject| matches!(subject, Subject::Group(_));
        notices.notices().iter().map(|notice| (notice.is_occupied, is_group(&notice.subject))).collect()
    }

    fn settled(notices: &mut Notices, of: u8) -> Vec<u64> {
        notices.answer(node(of)).unwrap().settled
    }

    #[test]
    fn promise_17_of_each_subject_both_are_told_in_turns_whichever_node_says_so() {
        let (now, mut notices) = (Instant::now(), notices());
        assert!(notices.report(node(1), &report(1, 1, &[(1, &room(), true, Told::No)]), now));
        assert_eq!(told(&mut notices), [], "another node may have told it already");
        notices.gather([node(2)], now);
        assert_eq!(told(&mut notices), [], "it has not said anything");
        let both = [(1, &room(), true, Told::No), (2, &alice(), true, Told::No)];
        assert!(notices.report(node(2), &report(1, 1, &both), now));
        notices.gather([node(2)], now);
        assert_eq!(told(&mut notices).iter().filter(|(is_occupied, _)| *is_occupied).count(), 2);
        assert_eq!((settled(&mut notices, 1), notices.settled()), (vec![1], vec![node(2)]));
        assert_eq!(settled(&mut notices, 2).len(), 2);
        assert_eq!(notices.settled(), []);

        notices.report(node(1), &report(1, 2, &[(2, &room(), false, Told::Kept)]), now);
        assert_eq!((told(&mut notices), settled(&mut notices, 1)), (vec![], vec![2]), "the other is there");
        let both = [(3, &room(), false, Told::Kept), (4, &alice(), false, Told::Kept)];
        notices.report(node(2), &report(1, 2, &both), now);
        assert_eq!(told(&mut notices), [(false, true)], "a user may come back");
        assert_eq!(settled(&mut notices, 2), [3]);
        notices.report(node(1), &report(1, 3, &[(3, &alice(), true, Told::No)]), now + 299 * MS);
        notices.tick(now + 300 * MS);
        assert_eq!(told(&mut notices), [], "as she has");
        notices.report(node(1), &report(1, 4, &[(4, &alice(), false, Told::Kept)]), now + 400 * MS);
        notices.tick(now + 699 * MS);
        assert_eq!(told(&mut notices), []);
        notices.tick(now + 700 * MS);
        assert_eq!(told(&mut notices), [(false, false)]);
        assert!(notices.subjects.is_empty() && notices.due.is_empty());
        // Somebody who was there for a moment was there.
        notices.report(node(1), &report(1, 5, &[(5, &room(), false, Told::No)]), now + 700 * MS);
        assert_eq!(told(&mut notices), [(true, true), (false, true)]);
    }

    #[test]
    fn what_was_lost_on_the_way_is_not_told_twice() {
        let (now, mut notices) = (Instant::now(), notices());
        let here = report(1, 1, &[(1, &room(), true, Told::No)]);
        notices.report(node(1), &here, now);
        notices.gather([], now);
        assert_eq!((told(&mut notices), settled(&mut notices, 1)), (vec![(true, true)], vec![1]));
        // The answer, and then that to the next.
        assert!(notices.report(node(1), &here, now));
        assert_eq!((told(&mut notices), settled(&mut notices, 1)), (vec![], vec![1]));
        let left = report(1, 2, &[(2, &room(), false, Told::No)]);
        notices.report(node(1), &left, now);
        assert_eq!((told(&mut notices), settled(&mut notices, 1)), (vec![(false, true)], vec![2]));
        notices.report(node(1), &left, now);
        assert_eq!((told(&mut notices), settled(&mut notices, 1)), (vec![], vec![2]));
        // Also when it says everything from the beginning.
        notices.report(node(1), &report(2, 1, &[(2, &room(), false, Told::No)]), now);
        assert_eq!((told(&mut notices), settled(&mut notices, 1)), (vec![], vec![2]));
        assert!(!notices.report(node(1), &here, now), "that session is over");
        assert!(
            !notices.report(node(1), &Report { claim: 2, ..report(3, 1, &[]) }, now),
            "not by this claim"
        );
        // It is asked to begin anew where something is missing.
        assert!(notices.report(node(1), &report(2, 7, &[(9, &room(), true, Told::No)]), now));
        let answer = notices.answer(node(1)).unwrap();
        assert_eq!((answer.session, answer.number, told(&mut notices)), (2, 1, vec![]));
    }

    #[test]
    fn a_node_that_has_gone_has_nobody_any_more() {
        let (now, mut notices) = (Instant::now(), notices());
        notices.report(node(1), &report(1, 1, &[]), now);
        notices.gather([], now);
        notices.report(
            node(2),
            &report(1, 1, &[(1, &room(), true, Told::No), (2, &alice(), true, Told::No)]),
            now,
        );
        told(&mut notices);
        notices.part(node(2), now);
        assert_eq!(told(&mut notices), [(false, true)]);
        notices.tick(now + 300 * MS);
        assert_eq!(told(&mut notices), [(false, false)]);
        // It was cut off, and says again what it had said.
        let again = report(2, 1, &[(1, &room(), true, Told::No)]);
        notices.report(node(2), &again, now + 400 * MS);
        assert_eq!(told(&mut notices), [(true, true)]);
        // What it says no more is over.
        notices.report(node(2), &report(3, 1, &[]), now + 500 * MS);
        assert_eq!(told(&mut notices), [(false, true)]);
    }

    /// What the next one tells at first, of the room, by what nodes say of it.
    fn next(had: u64, items: [Option<(bool, Told)>; 2], has_gone: bool) -> Vec<bool> {
        let (now, mut notices) = (Instant::now(), notices());
        for (at, item) in (1..).zip(items) {
            let room = room();
            let items: Vec<_> = item.into_iter().map(|(is_here, told)| (1, &room, is_here, told)).collect();
            notices.report(
                node(at),
                &Report { had: if at == 2 { had } else { 0 }, ..report(1, 1, &items) },
                now,
            );
        }
        // The second may have gone by now: what it has said counts.
        if has_gone {
            notices.part(node(2), now);
        }
        notices.gather([], now);
        told(&mut notices).into_iter().map(|(is_occupied, _)| is_occupied).collect()
    }

    #[test]
    fn promise_17_whoever_has_the_duty_next_goes_by_what_was_told() {
        let (no, kept, owed, older) = (Told::No, Told::Kept, Told::Owed(5), Told::Owed(4));
        for (had, items, expected) in [
            (0, [Some((true, no)), None], vec![true]),
            (0, [Some((true, kept)), None], vec![]),
            (0, [Some((true, no)), Some((true, kept))], vec![]),
            // The end of it may have been told, and nobody have heard of that.
            (0, [Some((true, no)), Some((false, kept))], vec![true]),
            (0, [None, Some((false, kept))], vec![false]),
            // Whoever told last knows all of it.
            (5, [Some((true, no)), Some((false, owed))], vec![]),
            (5, [Some((true, no)), None], vec![true]),
            (5, [None, Some((false, owed))], vec![false]),
            (5, [Some((false, kept)), None], vec![]),
            (5, [Some((false, no)), None], vec![true, false]),
            // Somebody has told since.
            (4, [Some((true, no)), Some((false, older))], vec![true]),
        ] {
            for has_gone in [false, true] {
                assert_eq!(next(had, items, has_gone), expected, "{had} {items:?} {has_gone}");
            }
        }
    }

    #[test]
    fn a_claim_by_which_nothing_was_told_is_passed_over() {
        let (now, mut first) = (Instant::now(), notices());
        first.report(
            node(2),
            &report(1, 1, &[(1, &room(), false, Told::Owed(5)), (2, &alice(), false, Told::Kept)]),
            now,
        );
        // It has not heard of all.
        let Owed { revision, void, mut subjects } = first.end().unwrap();
        subjects.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!((revision, void), (9, Some(5)));
        assert_eq!(subjects, [(room(), Told::Owed(5)), (alice(), Told::Kept)]);
        // The first may have gone before the second has heard of all.
        for has_gone in [false, true] {
            let mut second = Notices::new(Duration::ZERO);
            second.begin(Held { claim: Claim { node: node(3), number: 1 }, revision: 12, before: 9 });
            let void = Void { revision: 9, before: 5 };
            let owed = [(1, &room(), false, Told::Owed(5))];
            second.report(node(1), &Report { void, ..report(1, 1, &owed) }, now);
            if has_gone {
                second.part(node(1), now);
            }
            second.report(node(3), &report(1, 1, &[]), now);
            second.gather((!has_gone).then_some(node(1)), now);
            assert_eq!(told(&mut second), [(false, true)], "{has_gone}");
            let owed = second.end().unwrap();
            assert_eq!((owed.void, owed.subjects.len()), (None, 0));
            assert!(second.end().is_none());
        }
    }
}
