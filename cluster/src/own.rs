//! What this node wants: the topics that somebody here is reached by, and whether the others know.
//!
//! In: topics as their first members come and their last ones go; the others' answers. Out: what the others are to be
//! told, proofs that are settled, and topics for which there was no proof in time. Invariants: a proof is settled only
//! when each node that was there when its topic was told has answered, or has lost its lease (promise 18); a topic
//! that is wanted is never withdrawn, whatever other name has its number.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_hub::{Proof, Topic};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::id::{MOST_PEERS, Places};
use crate::settings::Settings;
use crate::topic::{TopicName, TopicNumber};

/// So many topics are told at a time: 32 KiB of them.
const BATCH: usize = 4_096;

/// So many batches that say what is not wanted any more may be unanswered for long by the same nodes, before they are
/// made one.
const MOST_UNANSWERED: usize = 64;

/// What this node wants.
pub(crate) struct Own {
    settings: Settings,
    topics: HashMap<TopicName, Wanted, RandomState>,
    /// How many of those have a number.
    numbers: HashMap<TopicNumber, u32, RandomState>,
    /// To be told.
    pending: Vec<TopicName>,
    /// Told, and not answered by all.
    batches: BTreeMap<u64, Batch>,
    last_batch: u64,
    /// Topics whose last member has left, in the order of that.
    lingering: VecDeque<(Instant, TopicName)>,
    /// Which session of a node everything is being told for, or was.
    told: [Option<Told>; MOST_PEERS],
}

struct Wanted {
    /// While not everybody knows: in which batch it was told, and who waits for it.
    unproven: Option<(u64, Arc<Proof>)>,
    /// When its last member has left.
    left: Option<Instant>,
}

/// Topics that others are told of together, whether they are wanted or not any more.
struct Batch {
    is_wanted: bool,
    topics: Vec<TopicName>,
    missing: Places,
    begun: Instant,
    /// When it was last told.
    told: Instant,
    pause: Duration,
}

struct Told {
    session: u64,
    /// The batches that it has not answered.
    batches: Vec<u64>,
}

/// Something that others are to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// That these are wanted.
    Want(Places, u64, Vec<TopicNumber>),
    /// That these are not wanted any more.
    Unwant(Places, u64, Vec<TopicNumber>),
    /// That it knows everything.
    Whole(usize, u64),
}

impl Own {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            topics: HashMap::default(),
            numbers: HashMap::default(),
            pending: Vec::new(),
            batches: BTreeMap::new(),
            last_batch: 0,
            lingering: VecDeque::new(),
            told: std::array::from_fn(|_| None),
        }
    }

    /// Somebody here is reached by a topic from now on. Gives what to wait for, where not everybody knows.
    pub(crate) fn want(&mut self, topic: Topic<'_>, others: Places) -> Option<Arc<Proof>> {
        let name = TopicName::from(topic);
        if let Some(wanted) = self.topics.get_mut(&name) {
            wanted.left = None;
            return wanted.unproven.as_ref().map(|(_, proof)| Arc::clone(proof));
        }
        *self.numbers.entry(TopicNumber::of(topic)).or_default() += 1;
        let unproven = (!others.is_empty()).then(|| (0, Proof::new()));
        let proof = unproven.as_ref().map(|(_, proof)| Arc::clone(proof));
        if proof.is_some() {
            self.pending.push(name.clone());
        }
        self.topics.insert(name, Wanted { unproven, left: None });
        proof
    }

    /// The last who was reached by it has gone.
    pub(crate) fn left(&mut self, topic: Topic<'_>, now: Instant) {
        let name = TopicName::from(topic);
        if let Some(wanted) = self.topics.get_mut(&name) {
            wanted.left = Some(now);
            self.lingering.push_back((now, name));
        }
    }

    /// How many topics are wanted.
    pub(crate) fn topics(&self) -> usize {
        self.topics.len()
    }

    /// Whether something is to be told.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Tells what has not been told, to all who are there.
    pub(crate) fn flush(&mut self, now: Instant, others: Places) -> Vec<Tell> {
        let mut pending = std::mem::take(&mut self.pending);
        // One may have gone as fast as it came.
        pending.retain(|name| self.topics.contains_key(name));
        let mut told = Vec::new();
        for topics in pending.chunks(BATCH) {
            let batch = self.begin(true, topics.to_vec(), others, now);
            for name in topics {
                if let Some(Wanted { unproven: Some((of, _)), .. }) = self.topics.get_mut(name) {
                    *of = batch;
                }
            }
            told.push(Tell::Want(others, batch, numbers(topics)));
            self.settle_answered(batch);
        }
        told
    }

    fn begin(&mut self, is_wanted: bool, topics: Vec<TopicName>, missing: Places, now: Instant) -> u64 {
        self.last_batch += 1;
        let batch = Batch { is_wanted, topics, missing, begun: now, told: now, pause: self.settings.again };
        self.batches.insert(self.last_batch, batch);
        self.last_batch
    }

    /// Tells a node everything, for this session of its.
    pub(crate) fn tell_all(&mut self, place: usize, session: u64, now: Instant) -> Vec<Tell> {
        let known = self.told.get(place).and_then(Option::as_ref).filter(|told| told.session == session);
        if let Some(told) = known {
            // Asked again: what is on its way is said again in its time.
            return if told.batches.is_empty() { vec![Tell::Whole(place, session)] } else { Vec::new() };
        }
        self.forget_telling(place);
        let names: Vec<TopicName> = self.topics.keys().cloned().collect();
        let mut only = Places::default();
        only.insert(place);
        let (mut tell, mut batches) = (Vec::new(), Vec::new());
        for topics in names.chunks(BATCH) {
            let batch = self.begin(true, topics.to_vec(), only, now);
            batches.push(batch);
            tell.push(Tell::Want(only, batch, numbers(topics)));
        }
        if batches.is_empty() {
            tell.push(Tell::Whole(place, session));
        }
        if let Some(told) = self.told.get_mut(place) {
            *told = Some(Told { session, batches });
        }
        tell
    }

    /// For which session a node is being told, or was; 0 for none.
    pub(crate) fn session(&self, place: usize) -> u64 {
        self.told.get(place).and_then(Option::as_ref).map_or(0, |told| told.session)
    }

    fn forget_telling(&mut self, place: usize) {
        for batch in
            self.told.get_mut(place).and_then(Option::take).map(|told| told.batches).unwrap_or_default()
        {
            self.batches.remove(&batch);
        }
    }

    /// A node sends from now on what a batch wants.
    pub(crate) fn answered(&mut self, place: usize, batch: u64) -> Option<Tell> {
        let known = self.batches.get_mut(&batch)?;
        known.missing.remove(place);
        self.settle_answered(batch);
        let told = self.told.get_mut(place)?.as_mut()?;
        let had = told.batches.len();
        told.batches.retain(|of| *of != batch);
        (had > 0 && told.batches.is_empty()).then_some(Tell::Whole(place, told.session))
    }

    /// A node has gone: its lease has ended, so that it will be told everything before it counts again.
    pub(crate) fn gone(&mut self, place: usize) {
        self.forget_telling(place);
        let waited: Vec<u64> = self
            .batches
            .iter_mut()
            .filter_map(|(number, batch)| batch.missing.remove(place).then_some(*number))
            .collect();
        waited.into_iter().for_each(|batch| self.settle_answered(batch));
    }

    /// Where all have answered, who waits for its topics need wait no longer.
    fn settle_answered(&mut self, number: u64) {
        if self.batches.get(&number).is_none_or(|batch| !batch.missing.is_empty()) {
            return;
        }
        for name in self.batches.remove(&number).map(|batch| batch.topics).unwrap_or_default() {
            let Some(wanted) = self.topics.get_mut(&name) else { continue };
            if let Some((_, proof)) = wanted.unproven.take_if(|(batch, _)| *batch == number) {
                proof.settle();
            }
        }
    }

    /// What is to be told again, and what `others` are to be told no longer to send.
    pub(crate) fn tick(&mut self, now: Instant, others: Places) -> Vec<Tell> {
        let mut tell = Vec::new();
        let (numbers, told, settings) = (&self.numbers, &self.told, self.settings);
        self.batches.retain(|number, batch| {
            if now < batch.told + batch.pause {
                return true;
            }
            // What is so no more must not be said again behind what was said since.
            let names = batch.topics.iter().map(|name| TopicNumber::of(name.as_topic()));
            let topics: Vec<_> = names.filter(|of| numbers.contains_key(of) == batch.is_wanted).collect();
            // Somebody who is there and does not answer would have more and more said again. Nobody waits for what is
            // so no more; but of all that is told for a session the last answer is needed.
            if topics.is_empty() && !told.iter().flatten().any(|told| told.batches.contains(number)) {
                return false;
            }
            batch.told = now;
            batch.pause = (batch.pause * 2).min(settings.again * 10);
            tell.push(match batch.is_wanted {
                true => Tell::Want(batch.missing, *number, topics),
                false => Tell::Unwant(batch.missing, *number, topics),
            });
            true
        });
        let mut unwanted = Vec::new();
        while let Some((left, _)) = self.lingering.front()
            && now >= *left + self.settings.linger
        {
            let Some((left, name)) = self.lingering.pop_front() else { break };
            if self.topics.get(&name).is_some_and(|wanted| wanted.left == Some(left))
                && let Some(Wanted { unproven: Some((_, proof)), .. }) = self.withdraw(&name, &mut unwanted)
            {
                // Nobody is there to whom something was promised; but what its last member was told may wait behind it.
                proof.settle();
            }
        }
        self.tell_unwanted(&unwanted, others, now, &mut tell);
        self.merge_unanswered(now);
        tell
    }

    /// Makes one of what many batches say is not wanted any more, where it is not answered for long. Of what is too
    /// much the oldest is told no more: who was not told it sends what nobody takes.
    fn merge_unanswered(&mut self, now: Instant) {
        let long = self.settings.lease * 2;
        let mut unanswered: HashMap<Places, Vec<u64>, RandomState> = HashMap::default();
        for (number, batch) in &self.batches {
            if !batch.is_wanted && now >= batch.begun + long {
                unanswered.entry(batch.missing).or_default().push(*number);
            }
        }
        for (missing, batches) in unanswered {
            if batches.len() <= MOST_UNANSWERED {
                continue;
            }
            let topics =
                batches.iter().filter_map(|number| self.batches.remove(number)).flat_map(|of| of.topics);
            let mut topics: Vec<TopicName> = topics.collect();
            topics.drain(..topics.len().saturating_sub(BATCH * MOST_UNANSWERED / 4));
            for topics in topics.chunks(BATCH) {
                self.begin(false, topics.to_vec(), missing, now);
            }
        }
    }

    fn tell_unwanted(&mut self, names: &[TopicName], others: Places, now: Instant, tell: &mut Vec<Tell>) {
        if others.is_empty() {
            return;
        }
        for topics in names.chunks(BATCH) {
            let batch = self.begin(false, topics.to_vec(), others, now);
            tell.push(Tell::Unwant(others, batch, numbers(topics)));
        }
    }

    /// Topics of which it is not known in time that everybody sends what is for them: they are wanted no more, and
    /// whoever is here by them must go.
    pub(crate) fn overdue(
        &mut self,
        now: Instant,
        others: Places,
    ) -> (Vec<(TopicName, Arc<Proof>)>, Vec<Tell>) {
        let mut names = Vec::new();
        for (number, batch) in &self.batches {
            if now < batch.begun + self.settings.proof {
                continue;
            }
            let is_unproven = |name: &&TopicName| {
                let wanted = self.topics.get(*name).and_then(|wanted| wanted.unproven.as_ref());
                wanted.is_some_and(|(of, _)| of == number)
            };
            names.extend(batch.topics.iter().filter(is_unproven).cloned());
        }
        let (mut overdue, mut unwanted) = (Vec::new(), Vec::new());
        for name in names {
            if let Some(Wanted { unproven: Some((_, proof)), .. }) = self.withdraw(&name, &mut unwanted) {
                overdue.push((name, proof));
            }
        }
        let mut tell = Vec::new();
        self.tell_unwanted(&unwanted, others, now, &mut tell);
        (overdue, tell)
    }

    fn withdraw(&mut self, name: &TopicName, unwanted: &mut Vec<TopicName>) -> Option<Wanted> {
        let wanted = self.topics.remove(name)?;
        let number = TopicNumber::of(name.as_topic());
        if let Some(count) = self.numbers.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.numbers.remove(&number);
                unwanted.push(name.clone());
            }
        }
        Some(wanted)
    }
}

fn numbers(topics: &[TopicName]) -> Vec<TopicNumber> {
    topics.iter().map(|name| TopicNumber::of(name.as_topic())).collect()
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{GroupName, UserName};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn places(list: &[usize]) -> Places {
        let mut places = Places::default();
        list.iter().for_each(|place| places.insert(*place));
        places
    }

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn of(group: &GroupName) -> TopicNumber {
        TopicNumber::of(Topic::Group(group))
    }

    fn own() -> Own {
        Own::new(Settings::default())
    }

    #[test]
    fn promise_18_a_proof_is_settled_when_each_who_was_there_has_answered_or_gone() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        let proof = own.want(Topic::Group(&room), places(&[1, 2, 3])).unwrap();
        let again = own.want(Topic::Group(&room), places(&[1, 2, 3])).unwrap();
        assert!(Arc::ptr_eq(&proof, &again), "who comes meanwhile waits for the same");
        assert_eq!(own.flush(now, places(&[1, 2, 3])), [Tell::Want(places(&[1, 2, 3]), 1, vec![of(&room)])]);
        own.answered(1, 1);
        own.answered(2, 1);
        own.answered(2, 1);
        own.answered(9, 1);
        own.answered(3, 7);
        assert!(!proof.is_settled());
        own.gone(3);
        assert!(proof.is_settled());
        assert!(own.want(Topic::Group(&room), places(&[1, 2])).is_none(), "it is proven");
        assert!(own.flush(now, places(&[1, 2])).is_empty());
    }

    #[test]
    fn where_nobody_else_is_there_nothing_is_waited_for() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        assert!(own.want(Topic::Group(&room), places(&[])).is_none());
        assert!(!own.has_pending());
        // Who was there when it was wanted, and is not when it is told.
        let proof = own.want(Topic::User(&UserName::new("alice").unwrap()), places(&[1])).unwrap();
        own.flush(now, places(&[]));
        assert!(proof.is_settled());
    }

    #[test]
    fn what_is_not_answered_is_told_again_more_and_more_seldom() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        own.want(Topic::Group(&room), places(&[1, 2])).unwrap();
        own.flush(now, places(&[1, 2]));
        own.answered(1, 1);
        let mut told = Vec::new();
        for ms in (0..10_000).step_by(100) {
            if !own.tick(now + ms * MS, places(&[1, 2])).is_empty() {
                told.push(ms);
            }
        }
        assert_eq!(told, [200, 600, 1_400, 3_000, 5_000, 7_000, 9_000]);
        assert_eq!(
            own.tick(now + 11_000 * MS, places(&[1, 2])),
            [Tell::Want(places(&[2]), 1, vec![of(&room)])],
            "and only to whom it is missing"
        );
    }

    #[test]
    fn promise_18_what_was_withdrawn_is_not_told_again_and_what_is_wanted_again_is_not_withdrawn_again() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        let topic = Topic::Group(&room);
        own.want(topic, places(&[1])).unwrap();
        own.flush(now, places(&[1]));
        own.left(topic, now);
        let withdrawn = own.tick(now + 5_000 * MS, places(&[1]));
        assert_eq!(
            withdrawn,
            [
                // Nobody has answered the wish either; but it is empty by now.
                Tell::Want(places(&[1]), 1, vec![of(&room)]),
                Tell::Unwant(places(&[1]), 2, vec![of(&room)])
            ]
        );
        let again = own.tick(now + 5_400 * MS, places(&[1]));
        assert_eq!(again, [Tell::Unwant(places(&[1]), 2, vec![of(&room)])]);
        own.want(topic, places(&[1])).unwrap();
        own.flush(now + 5_500 * MS, places(&[1]));
        let last = own.tick(now + 9_000 * MS, places(&[1]));
        assert_eq!(last, [Tell::Want(places(&[1]), 3, vec![of(&room)])]);
    }

    /// Its heartbeats come, and its answers do not: it is never given up.
    #[test]
    fn for_somebody_who_never_answers_nothing_piles_up() {
        let (now, others, mut own) = (Instant::now(), places(&[1]), own());
        for second in 0..60 {
            for at in 0..10 {
                let at = now + (second * 1_000 + at * 100) * MS;
                let room = group(&format!("room-{second}-{}", at.duration_since(now).as_millis()));
                own.want(Topic::Group(&room), others).unwrap();
                own.flush(at, others);
                own.left(Topic::Group(&room), at);
                own.overdue(at, others);
                own.tick(at, others);
            }
        }
        assert!(own.batches.len() < 400, "{}", own.batches.len());
        // Of a session all is told, however long that takes.
        let room = group("room");
        assert!(own.want(Topic::Group(&room), places(&[])).is_none());
        let at = now + 60_000 * MS;
        let Tell::Want(_, batch, _) = own.tell_all(1, 7, at).pop().unwrap() else { panic!() };
        own.left(Topic::Group(&room), at);
        own.tick(at + 10_000 * MS, others);
        own.tick(at + 20_000 * MS, others);
        assert_eq!(own.answered(1, batch), Some(Tell::Whole(1, 7)));
    }

    #[test]
    fn a_topic_lingers_and_whoever_comes_meanwhile_waits_for_nothing() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        let topic = Topic::Group(&room);
        own.want(topic, places(&[1])).unwrap();
        own.flush(now, places(&[1]));
        own.answered(1, 1);
        own.left(topic, now);
        assert_eq!(own.tick(now + 4_999 * MS, places(&[1])), []);
        assert!(own.want(topic, places(&[1])).is_none());
        assert_eq!(own.tick(now + 5_000 * MS, places(&[1])), [], "it is wanted again");
        own.left(topic, now + 6_000 * MS);
        assert_eq!(own.tick(now + 10_999 * MS, places(&[1])), []);
        let tell = own.tick(now + 11_000 * MS, places(&[1]));
        assert_eq!(tell, [Tell::Unwant(places(&[1]), 2, vec![of(&room)])]);
        assert_eq!(own.topics(), 0);
        own.answered(1, 2);
        assert_eq!(own.tick(now + 60_000 * MS, places(&[1])), [], "that was answered");
    }

    #[test]
    fn a_topic_that_goes_before_it_was_told_is_told_to_nobody() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        let proof = own.want(Topic::Group(&room), places(&[1])).unwrap();
        own.left(Topic::Group(&room), now);
        own.tick(now + 5_000 * MS, places(&[1]));
        assert!(proof.is_settled(), "what its last member was told may wait behind it");
        assert_eq!(own.flush(now + 5_000 * MS, places(&[1])), []);
    }

    #[test]
    fn what_is_not_proven_in_time_is_given_up_and_wanted_no_more() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        let proof = own.want(Topic::Group(&room), places(&[1, 2])).unwrap();
        own.flush(now, places(&[1, 2]));
        own.answered(2, 1);
        assert!(own.overdue(now + 1_999 * MS, places(&[1, 2])).0.is_empty());
        let (overdue, tell) = own.overdue(now + 2_000 * MS, places(&[1, 2]));
        let [(name, waits)] = overdue.as_slice() else { panic!("{overdue:?}") };
        assert_eq!(*name, TopicName::Group(room.clone()));
        assert!(Arc::ptr_eq(waits, &proof) && !proof.is_settled(), "whoever removes its members settles it");
        assert_eq!(tell, [Tell::Unwant(places(&[1, 2]), 2, vec![of(&room)])]);
        assert!(own.overdue(now + 9_000 * MS, places(&[1, 2])).0.is_empty(), "once");
        // The roster is left after that, and somebody comes again.
        own.left(Topic::Group(&room), now + 2_000 * MS);
        let other = own.want(Topic::Group(&room), places(&[1, 2])).unwrap();
        own.answered(1, 1);
        assert!(!other.is_settled(), "an answer to what was wanted before proves nothing");
    }

    #[test]
    fn a_node_that_asks_is_told_everything_and_that_it_was_everything_once_it_has_answered() {
        let (now, mut own) = (Instant::now(), own());
        let names: Vec<GroupName> = (0..BATCH + 1).map(|number| group(&format!("g{number}"))).collect();
        names.iter().for_each(|name| assert!(own.want(Topic::Group(name), places(&[])).is_none()));
        let tell = own.tell_all(4, 7, now);
        let sizes: Vec<_> = tell
            .iter()
            .map(|tell| match tell {
                Tell::Want(to, batch, topics) => (*to, *batch, topics.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [(places(&[4]), 1, BATCH), (places(&[4]), 2, 1)]);
        assert_eq!(own.session(4), 7);
        assert_eq!(own.answered(4, 2), None);
        assert_eq!(own.tell_all(4, 7, now), [], "it is being told");
        assert_eq!(own.answered(4, 1), Some(Tell::Whole(4, 7)));
        assert_eq!(own.answered(4, 1), None);
        assert_eq!(own.tell_all(4, 7, now), [Tell::Whole(4, 7)], "that may have got lost");
        assert_eq!(own.tell_all(4, 8, now).len(), 2, "it has forgotten everything");
        own.gone(4);
        assert_eq!((own.session(4), own.tick(now + 60_000 * MS, places(&[]))), (0, vec![]));
    }

    #[test]
    fn a_node_that_is_told_for_another_session_is_not_waited_for_by_the_old_one() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        assert!(own.want(Topic::Group(&room), places(&[])).is_none());
        own.tell_all(1, 1, now);
        own.tell_all(1, 2, now);
        assert_eq!(own.answered(1, 1), None, "that was for the first");
        assert_eq!(own.answered(1, 2), Some(Tell::Whole(1, 2)));
        assert_eq!(Own::new(Settings::default()).tell_all(1, 3, now), [Tell::Whole(1, 3)], "nothing is all");
    }

    /// Two names may have one number, by somebody's intent. No two are known, so one is made up.
    #[test]
    fn promise_18_a_number_is_wanted_as_long_as_a_name_with_it_is() {
        let (now, room, mut own) = (Instant::now(), group("room"), own());
        own.want(Topic::Group(&room), places(&[]));
        *own.numbers.get_mut(&of(&room)).unwrap() += 1;
        own.left(Topic::Group(&room), now);
        assert_eq!(own.tick(now + 5_000 * MS, places(&[1])), [], "the other one is still wanted");
        assert_eq!((own.topics(), own.numbers.len()), (0, 1));
    }
}
