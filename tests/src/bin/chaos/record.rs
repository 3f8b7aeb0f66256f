//! What was sent, what was forbidden, and what did not hold.
//!
//! In: what senders, operators and the banned do and see, with times. Out: what of it is wrong. Invariant: what is not
//! known for certain is never counted as wrong: a send without an answer may have arrived or not.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What was on its way to the banned may come for so long after the receipt. What was sent after it may not come at
/// all.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// What was sent so shortly before a connection was lost may be lost with it.
const AT_RISK: Duration = Duration::from_secs(20);

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was sent, and nothing was said against it.
    Accepted,
    /// A node has said how many got it. Whatever became of that node: it has reached them, or they are told.
    Acked,
    Refused,
    Unknown,
}

/// A message, as its sender knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// Which of the sender's connections it went over.
    pub(crate) session: u32,
    pub(crate) begun: Instant,
    pub(crate) outcome: Outcome,
}

/// One sender's messages to one group, since the last rest.
#[derive(Debug, Default, Clone)]
pub(crate) struct Series {
    /// The number of the first.
    pub(crate) first: u64,
    pub(crate) sent: Vec<Sent>,
}

impl Series {
    pub(crate) fn at(&self, number: u64) -> Option<&Sent> {
        self.sent.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

/// Something that an operator forbade, and was told to be in force on all nodes.
#[derive(Debug)]
struct Ban {
    group: usize,
    fenced: Instant,
    /// When an operator began to lift it, or to do it again.
    lifted: Option<Instant>,
}

/// What was counted over all.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) received: u64,
    pub(crate) missing: u64,
    pub(crate) understated: u64,
    pub(crate) fenced: u64,
    pub(crate) unfenced: u64,
    pub(crate) failed: u64,
    pub(crate) on_the_way: u64,
}

#[derive(Default)]
struct Inner {
    series: HashMap<(usize, usize), Series>,
    ended: HashSet<(usize, u32)>,
    bans: Vec<Ban>,
    faults: Vec<String>,
    totals: Totals,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Record(Mutex<Inner>);

impl Record {
    /// A message is about to be sent; gives its number.
    pub(crate) fn begin(&self, sender: usize, group: usize, session: u32) -> u64 {
        let mut inner = self.0.lock();
        inner.totals.sent += 1;
        let series = inner.series.entry((sender, group)).or_default();
        series.sent.push(Sent { session, begun: Instant::now(), outcome: Outcome::Accepted });
        series.first + series.sent.len() as u64 - 1
    }

    /// What came of it.
    pub(crate) fn settle(&self, sender: usize, group: usize, number: u64, outcome: Outcome) {
        let mut inner = self.0.lock();
        match outcome {
            Outcome::Refused => inner.totals.refused += 1,
            Outcome::Unknown => inner.totals.unknown += 1,
            Outcome::Accepted | Outcome::Acked => {}
        }
        let series = inner.series.entry((sender, group)).or_default();
        let at = number.checked_sub(series.first).and_then(|at| usize::try_from(at).ok());
        if let Some(sent) = at.and_then(|at| series.sent.get_mut(at)) {
            sent.outcome = outcome;
        }
    }

    /// A sender's connection was lost.
    pub(crate) fn lost(&self, sender: usize, session: u32) {
        let mut inner = self.0.lock();
        inner.ended.insert((sender, session));
        let now = Instant::now();
        for series in inner.series.iter_mut().filter(|((of, _), _)| *of == sender).map(|(_, series)| series) {
            for sent in series.sent.iter_mut().filter(|sent| sent.session == session) {
                if now.duration_since(sent.begun) < AT_RISK && sent.outcome == Outcome::Accepted {
                    sent.outcome = Outcome::Unknown;
                }
            }
        }
    }

    /// A copy of a series, and the sessions of its sender that have ended.
    pub(crate) fn series(&self, sender: usize, group: usize) -> (Series, HashSet<u32>) {
        let inner = self.0.lock();
        let ended = inner.ended.iter().filter(|(of, _)| *of == sender).map(|(_, session)| *session).collect();
        (inner.series.get(&(sender, group)).cloned().unwrap_or_default(), ended)
    }

    /// Everything has been looked at: what was sent is forgotten.
    pub(crate) fn forget(&self) {
        let mut inner = self.0.lock();
        for series in inner.series.values_mut() {
            series.first += series.sent.len() as u64;
            series.sent.clear();
        }
        inner.bans.retain(|ban| ban.lifted.is_none());
    }

    /// It is said to be forbidden on all nodes.
    pub(crate) fn fenced(&self, group: usize) {
        let mut inner = self.0.lock();
        inner.totals.fenced += 1;
        inner.bans.push(Ban { group, fenced: Instant::now(), lifted: None });
    }

    /// An operator begins to lift it.
    pub(crate) fn lift(&self, group: usize) {
        let mut inner = self.0.lock();
        for ban in inner.bans.iter_mut().filter(|ban| ban.group == group && ban.lifted.is_none()) {
            ban.lifted = Some(Instant::now());
        }
    }

    /// The banned user has got something of a group: a message by its sender and number, or the membership.
    pub(crate) fn reached(&self, who: &str, group: usize, message: Option<(usize, u64)>, at: Instant) {
        let mut inner = self.0.lock();
        let in_force = |ban: &&Ban| {
            ban.group == group && ban.fenced <= at && ban.lifted.is_none_or(|lifted| at < lifted)
        };
        let Some(fenced) = inner.bans.iter().find(in_force).map(|ban| ban.fenced) else { return };
        let after = at.duration_since(fenced);
        let sent = message.and_then(|(sender, number)| {
            inner.series.get(&(sender, group)).and_then(|series| series.at(number)).map(|sent| sent.begun)
        });
        if sent.is_some_and(|begun| begun > fenced) {
            let later = sent.map_or(Duration::ZERO, |begun| begun.duration_since(fenced));
            inner.faults.push(format!(
                "{who} got {message:?} of group {group}, sent {later:?} after the receipt that said fenced, {after:?} after it"
            ));
        } else if after > ON_ITS_WAY {
            inner.faults.push(format!(
                "{who} got {message:?} of group {group} {after:?} after the receipt that said fenced (sent before it)"
            ));
        } else {
            inner.totals.on_the_way += 1;
        }
    }

    pub(crate) fn fault(&self, what: String) {
        println!("FAULT {what}");
        self.0.lock().faults.push(what);
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.0.lock().faults.clone()
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut self.0.lock().totals);
    }

    pub(crate) fn totals(&self) -> String {
        let Totals {
            sent,
            refused,
            unknown,
            received,
            missing,
            understated,
            fenced,
            unfenced,
            failed,
            on_the_way,
        } = self.0.lock().totals;
        format!(
            "{sent} sent ({refused} refused, {unknown} in doubt), {received} received, {missing} lost and told \
             ({understated} times fewer told than lost), {fenced} fenced, {unfenced} not on all nodes, {failed} acts \
             failed, {on_the_way} on their way at a receipt"
        )
    }
}
