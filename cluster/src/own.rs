//! What this node wants: the topics that somebody here is reached by, and whether the others know.
//!
//! In: topics as their first members come and their last ones go; the others' answers. Out: what the others are to be
//! told, proofs that are settled, and topics for which there was no proof in time. Invariants: a proof is settled only
//! when each node that was there when its topic was told has answered, or has lost its lease (promise 19); a topic
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

struct Batch {
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
    /// That these are not wanted any more: everybody.
    Unwant(Vec<TopicNumber>),
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
            let batch = self.begin(topics.to_vec(), others, now);
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

    fn begin(&mut self, topics: Vec<TopicName>, missing: Places, now: Instant) -> u64 {
        self.last_batch += 1;
        let batch = Batch { topics, missing, begun: now, told: now, pause: self.settings.again };
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
            let batch = self.begin(topics.to_vec(), only, now);
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

    /// What is to be told again, and what no longer.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Tell> {
        let mut tell = Vec::new();
        for (number, batch) in &mut self.batches {
            if now < batch.told + batch.pause {
                continue;
            }
            batch.told = now;
            batch.pause = (batch.pause * 2).min(self.settings.again * 10);
            // What was withdrawn meanwhile must not be wanted again by this.
            let topics: Vec<TopicNumber> = batch
                .topics
                .iter()
                .map(|name| TopicNumber::of(name.as_topic()))
                .filter(|number| self.numbers.contains_key(number))
                .collect();
            tell.push(Tell::Want(batch.missing, *number, topics));
        }
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
        tell.extend(unwanted.chunks(BATCH).map(|topics| Tell::Unwant(topics.to_vec())));
        tell
    }

    /// Topics of which it is not known in time that everybody sends what is for them: they are wanted no more, and
    /// whoever is here by them must go.
    pub(crate) fn overdue(&mut self, now: Instant) -> (Vec<(TopicName, Arc<Proof>)>, Vec<Tell>) {
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
        let tell = unwanted.chunks(BATCH).map(|topics| Tell::Unwant(topics.to_vec())).collect();
        (overdue, tell)
    }

    fn withdraw(&mut self, name: &TopicName, unwanted: &mut Vec<TopicNumber>) -> Option<Wanted> {
        let wanted = self.topics.remove(name)?;
        let number = TopicNumber::of(name.as_topic());
        if let Some(count) = self.numbers.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.numbers.remove(&number);
                unwanted.push(number);
            }
        }
        Some(wanted)
    }
}

fn numbers(topics: &[TopicName]) -> Vec<TopicNumber> {
    topics.iter().map(|name| TopicNumber::of(name.as_topic())).collect()
}
