//! The watch of the bucket: every key's newest entry, by growing revisions, over one connection after the other.
//!
//! In: a connection's [`Requests`]. Out: entries, in the events' channel; how far they are. Invariants: an entry is
//! told once, and never after a later one; a watch that has fallen silent is made anew from where it was, at growing
//! intervals as long as that does not help; there are never more than two consumers of one node, but for those whose
//! deletion was lost, which the server deletes itself.
//!
//! It is a push consumer of its own, and not async-nats' (an ordered one): that one notices a lost consumer by missing
//! signs of life alone, and a consumer that is there and gives nothing never (nats.rs#1596, nats-server#4162). The
//! consumer keeps nothing, on one server, in memory: where it goes with its server, the next is made on another one.
//! That it may be on a server which is behind is no matter: the bucket's leader is asked how far the bucket is, and
//! only what is delivered counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bucket::{self, Undone};
use crate::entries::{Position, Step};
use crate::jetstream::{self, ConsumerConfig, ConsumerRequest, Done};
use crate::requests::Requests;
use crate::shared::{Event, Expect, Outlet, Shared};

/// How long a consumer lives that nobody listens to.
const ABANDONED: Duration = Duration::from_secs(30);
/// How long the pause between two attempts gets.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The first pause.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause where nobody answered: the bucket has no leader, for some seconds.
const SHORT_PAUSE: Duration = Duration::from_millis(250);
/// How many entries are fetched one by one before it is looked again.
const FETCHED: usize = 256;
/// How many consumers' names are kept to be deleted.
const NAMES: usize = 8;
/// So many signs of life may be missing.
const BEATS: u32 = 3;

/// The watch, over all connections.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    outlet: Outlet,
    position: Position,
    /// When the bucket was made.
    created: Option<String>,
    is_caught_up: bool,
    /// The bucket is another one: there is nothing to be told any more.
    is_replaced: bool,
    /// Since when the bucket is shorter than what has been told of it.
    short_since: Option<Instant>,
    /// Consumers that are not needed any more, and may be there yet.
    old: Vec<String>,
}

/// One consumer that delivers.
struct Delivery {
    name: String,
    messages: Subscriber,
}

/// When something is to be done about silence.
struct Patience {
    silence: Duration,
    quiet: Duration,
    /// The last entry that the consumer delivered, and the last that it said at all.
    last_entry: Instant,
    last_word: Instant,
    /// Not before.
    next_look: Instant,
    next_making: Instant,
    pause: Duration,
}

impl Patience {
    /// At the beginning there is nothing to wait for.
    fn new(silence: Duration, beat: Duration, now: Instant) -> Self {
        let quiet = beat * BEATS;
        let last_word = now.checked_sub(quiet).unwrap_or(now);
        let (next_look, next_making) = (now, now);
        Self { silence, quiet, last_entry: now, last_word, next_look, next_making, pause: Duration::ZERO }
    }

    /// The consumer said something.
    fn word(&mut self, now: Instant) {
        self.last_word = now;
    }

    /// It delivered something: whatever was done has helped.
    fn entry(&mut self, now: Instant) {
        (self.last_entry, self.last_word, self.pause) = (now, now, Duration::ZERO);
    }

    /// There is nothing to listen to any more, or something is missing in it.
    fn gap(&mut self) {
        self.last_word = self.last_word.checked_sub(self.quiet).unwrap_or(self.last_word);
    }

    /// When the bucket is to be looked at.
    fn due(&self) -> Instant {
        (self.last_entry + self.silence).min(self.last_word + self.quiet).max(self.next_look)
    }

    fn looked(&mut self, is_answered: bool, now: Instant) {
        self.next_look = now + if is_answered { PAUSE } else { SHORT_PAUSE };
    }

    /// Whether a consumer may be made.
    fn may_make(&self, now: Instant) -> bool {
        now >= self.next_making
    }

    /// A consumer was made, and gets its time.
    fn made(&mut self, now: Instant) {
        self.pause = (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        (self.last_word, self.next_making) = (now, now + self.pause);
    }
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, outlet: Outlet) -> Self {
        let position = Position::new(shared.settings.entries());
        Self {
            shared,
            outlet,
            position,
            created: None,
            is_caught_up: false,
            is_replaced: false,
            short_since: None,
            old: Vec::new(),
        }
    }

    /// Whether a consumer can be made at all: before a node says that it has started.
    pub(crate) async fn try_out(&mut self, requests: &Requests) -> Result<(), Undone> {
        if let Some(last) = self.look(requests).await? {
            let delivery = self.make(requests, last).await?;
            self.old.push(delivery.name);
        }
        self.delete_old(requests).await;
        Ok(())
    }

    /// Watches over one connection, until `stop`. It is not to be dropped before: an entry could be lost.
    pub(crate) async fn run(&mut self, requests: &Requests, stop: &CancellationToken) {
        let settings = &self.shared.settings;
        let mut patience = Patience::new(settings.silence, settings.beat, Instant::now());
        let mut delivery = None;
        while !self.is_replaced {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = next(delivery.as_mut()) => message,
                () = tokio::time::sleep_until(patience.due()) => {
                    if let Err(error) = self.mend(requests, &mut delivery, &mut patience).await {
                        tracing::debug!(%error, "the bucket cannot be watched now");
                    }
                    continue;
                }
            };
            let Some(message) = message else {
                // The client has ended, or will.
                delivery = None;
                patience.gap();
                continue;
            };
            let before = self.position.told();
            let step = self.position.step(&message);
            patience.word(Instant::now());
            match step {
                Step::Entry { key, value, revision, is_newest } if key == bucket::SECRET => {
                    let is_own = self.is_own(requests, value.as_deref(), revision).await;
                    if !is_own || is_newest && !self.outlet.tell(Event::Newest).await {
                        break;
                    }
                    patience.entry(Instant::now());
                }
                Step::Entry { key, value, revision, is_newest } => {
                    if !self.outlet.tell(Event::Entry { key, value, revision, is_newest }).await {
                        break;
                    }
                    // After it was taken: that nobody takes them is no silence of NATS.
                    patience.entry(Instant::now());
                }
                Step::Known { is_newest } => {
                    if is_newest && !self.outlet.tell(Event::Newest).await {
                        break;
                    }
                    patience.entry(Instant::now());
                }
                Step::Nothing | Step::Idle => {}
                Step::Flow { reply } => {
                    let _ = requests.client.publish(reply, Bytes::new()).await;
                }
                Step::Gap => patience.gap(),
            }
            if self.position.told() != before {
                self.progress().await;
            }
        }
        self.old.extend(delivery.map(|delivery| delivery.name));
        stop.cancelled().await;
    }

    /// Deletes what is there on the servers, when a node leaves in peace.
    pub(crate) async fn end(&mut self, requests: &Requests) {
        self.delete_old(requests).await;
    }

    /// More is known of the bucket than before.
    async fn progress(&mut self) {
        let revision = self.position.told();
        self.shared.judge.lock().tell(revision, (self.shared.settings.clock)());
        if !self.is_caught_up && self.position.is_caught_up() {
            self.is_caught_up = true;
            self.outlet.tell(Event::CaughtUp).await;
        }
        if self.is_caught_up {
            self.shared.seen.store(revision, Ordering::Release);
        }
    }

    /// Something is wrong, or nothing happens: looks how far the bucket is, fetches what is missing, and makes a new
    /// consumer in place of the one before, if it is time to.
    ///
    /// What is missing is fetched from the bucket's leader, since a consumer can be made only by the leader of all
    /// servers: that may take seconds longer to be elected, and a lease does not wait for it.
    async fn mend(
        &mut self,
        requests: &Requests,
        delivery: &mut Option<Delivery>,
        patience: &mut Patience,
    ) -> Result<(), Undone> {
        let looked = self.look(requests).await;
        patience.looked(looked.is_ok(), Instant::now());
        let Some(last) = looked? else { return Ok(()) };
        // At the start there may be much, which a consumer brings faster.
        if self.is_caught_up {
            self.fetch(requests, last).await?;
        }
        if !patience.may_make(Instant::now()) {
            return Ok(());
        }
        let made = self.make(requests, last).await;
        patience.looked(made.is_ok(), Instant::now());
        let new = made?;
        patience.made(Instant::now());
        tracing::debug!(consumer = new.name, from = self.position.told() + 1, "watching the bucket");
        if let Some(before) = delivery.replace(new) {
            self.shared.counters.rewatches.fetch_add(1, Ordering::Relaxed);
            self.old.push(before.name);
        }
        self.delete_old(requests).await;
        // With an empty bucket nothing comes that could say so.
        self.progress().await;
        Ok(())
    }

    /// How far the bucket is, as its leader says. None: this is not the bucket that it was.
    async fn look(&mut self, requests: &Requests) -> Result<Option<u64>, Undone> {
        let settings = &self.shared.settings;
        // While it has no leader nobody answers: soon after there is one, it is to be known.
        let info = bucket::look(requests, settings, settings.answer / 4).await?;
        self.shared.bucket.get_or_init(|| info.created.clone());
        let (known, last) = (self.position.told(), info.state.last_seq);
        let is_another = *self.created.get_or_insert_with(|| info.created.clone()) != info.created;
        if last >= known {
            self.short_since = None;
        }
        // A new leader may have something to do yet before it is where the one before was.
        let is_short =
            last < known && self.short_since.get_or_insert_with(Instant::now).elapsed() >= settings.silence;
        if is_another || is_short {
            tracing::error!(
                bucket = settings.prefix,
                known,
                last,
                "the bucket has been made anew, or has lost its end: this node must start again"
            );
            self.is_replaced = true;
            self.outlet.tell(Event::Replaced).await;
            return Ok(None);
        }
        Ok(Some(last))
    }

    /// Whether the bucket has the secret that this node knows the others by. Where it has another, there are nodes that
    /// it does not know. Where it has none any more, it is put there again, so that the next that starts makes no
    /// other.
    async fn is_own(&mut self, requests: &Requests, secret: Option<&[u8]>, revision: u64) -> bool {
        let settings = &self.shared.settings;
        // Before the first connection was looked at, nothing is watched. What was there before what was read then, as
        // in a bucket that keeps more than the newest of a key, is no other.
        let Some((seal, _)) = self.shared.seal.get().filter(|(_, read)| revision > *read) else {
            return true;
        };
        let Some(secret) = secret else {
            tracing::error!(
                bucket = settings.prefix,
                "the bucket's secret was taken out: it is put there again"
            );
            let own = Bytes::copy_from_slice(seal.own_secret().as_bytes());
            if let Err(error) =
                bucket::change(requests, settings, bucket::SECRET, Some(own), Expect::Nothing).await
            {
                tracing::debug!(%error, "it was not put, or another node was quicker");
            }
            return true;
        };
        if seal.is_of(secret) {
            return true;
        }
        tracing::error!(
            bucket = settings.prefix,
            "the bucket's secret is another than it was: this node must start again"
        );
        self.is_replaced = true;
        self.outlet.tell(Event::Replaced).await;
        false
    }

    /// Tells what is between what has been told and `last`, entry by entry, as the bucket's leader has it.
    async fn fetch(&mut self, requests: &Requests, last: u64) -> Result<(), Undone> {
        let within = self.shared.settings.answer / 4;
        if self.position.told() >= last {
            return Ok(());
        }
        for _ in 0..FETCHED {
            let stored = bucket::after(requests, &self.shared.settings, self.position.told(), within).await?;
            self.shared.counters.fetched.fetch_add(1, Ordering::Relaxed);
            let Some(stored) = stored else {
                self.position.pass(last);
                self.outlet.tell(Event::Newest).await;
                self.progress().await;
                break;
            };
            if let Step::Entry { key, value, revision, is_newest } = self.position.fetched(&stored) {
                if key == bucket::SECRET {
                    if !self.is_own(requests, value.as_deref(), revision).await {
                        break;
                    }
                    self.progress().await;
                    continue;
                }
                self.outlet.tell(Event::Entry { key, value, revision, is_newest }).await;
            }
            self.progress().await;
        }
        Ok(())
    }

    /// Makes a consumer from behind what has been told.
    async fn make(&mut self, requests: &Requests, last: u64) -> Result<Delivery, Undone> {
        let settings = &self.shared.settings;
        let name = format!("w-{}-{:012x}", crate::settings::hex(self.shared.node), fastrand::u64(..1 << 48));
        let deliver_subject = format!("{}.w.{name}", requests.inbox);
        let messages = requests
            .client
            .subscribe(deliver_subject.clone())
            .await
            .map_err(|_| Undone::Unanswered(crate::requests::Unanswered::NotAsked))?;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let stream = settings.stream();
        let request = ConsumerRequest {
            stream_name: &stream,
            config: ConsumerConfig {
                name: name.clone(),
                deliver_subject,
                deliver_policy: "by_start_sequence",
                opt_start_seq: self.position.told() + 1,
                ack_policy: "none",
                replay_policy: "instant",
                flow_control: true,
                idle_heartbeat: nanoseconds(settings.beat),
                inactive_threshold: nanoseconds(ABANDONED),
                num_replicas: 1,
                mem_storage: true,
            },
        };
        // It may come to be even if its answer does not come.
        self.old.push(name.clone());
        let subject = jetstream::consumer_create(&stream, &name);
        bucket::ask::<Done>(requests, &subject, jetstream::body(&request), settings.answer / 2).await?;
        self.old.pop();
        self.position.begin(last);
        Ok(Delivery { name, messages })
    }

    async fn delete_old(&mut self, requests: &Requests) {
        let stream = self.shared.settings.stream();
        let excess = self.old.len().saturating_sub(NAMES);
        for name in self.old.drain(..).skip(excess) {
            requests.tell(jetstream::consumer_delete(&stream, &name), Bytes::new()).await;
        }
    }
}

async fn next(delivery: Option<&mut Delivery>) -> Option<async_nats::Message> {
    match delivery {
        Some(delivery) => delivery.messages.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(3);
    const BEAT: Duration = Duration::from_millis(500);

    /// Goes from one look to the next for so many seconds, with signs of life or without; when consumers are made.
    fn makings(patience: &mut Patience, start: Instant, seconds: u64, has_signs: bool) -> Vec<u64> {
        let (mut now, mut found) = (start, Vec::new());
        while now < start + Duration::from_secs(seconds) {
            patience.looked(true, now);
            if patience.may_make(now) {
                patience.made(now);
                found.push(now.duration_since(start).as_secs());
            }
            if has_signs {
                patience.word(now);
            }
            assert!(patience.due() > now, "it never goes round without a pause");
            now = patience.due();
        }
        found
    }

    #[test]
    fn consumers_are_made_at_growing_intervals_until_one_helps() {
        let start = Instant::now();
        let mut patience = Patience::new(SILENCE, BEAT, start);
        assert_eq!(patience.due(), start, "at the start it is time");
        assert_eq!(makings(&mut patience, start, 100, true), [0, 1, 4, 8, 16, 32, 62, 92]);
        let later = start + Duration::from_secs(200);
        patience.entry(later);
        assert_eq!(patience.due(), later + 3 * BEAT, "without a word it is soon");
        patience.word(later + Duration::from_secs(2));
        assert_eq!(
            patience.due(),
            later + SILENCE,
            "with words alone it is when the last entry was long ago"
        );
    }

    #[test]
    fn while_nobody_answers_it_is_looked_again_soon() {
        let start = Instant::now();
        let mut patience = Patience::new(SILENCE, BEAT, start);
        patience.looked(false, start);
        assert_eq!(patience.due(), start + SHORT_PAUSE);
    }

    #[test]
    fn a_gap_is_mended_at_once_and_then_at_intervals() {
        let start = Instant::now();
        let mut patience = Patience::new(SILENCE, BEAT, start);
        patience.looked(true, start);
        patience.made(start);
        let later = start + Duration::from_secs(10);
        patience.entry(later);
        patience.gap();
        assert!(patience.due() <= later && patience.may_make(later));
        patience.looked(true, later);
        patience.made(later);
        patience.gap();
        assert_eq!(patience.due(), later + PAUSE);
        assert!(patience.may_make(later + PAUSE) && !patience.may_make(later + PAUSE / 2));
    }
}
