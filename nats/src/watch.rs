//! The watch of the bucket: every key's newest entry, by growing revisions, over one connection after the other.
//!
//! In: a connection's [`Requests`]. Out: entries, in the events' channel; how far they are. Invariants: an entry is told
//! once, and never after a later one; a watch that has fallen silent is made anew from where it was, at growing
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
use crate::bus::{Event, Outlet, Shared};
use crate::entries::{Position, Step};
use crate::jetstream::{self, ConsumerConfig, ConsumerRequest, Done};
use crate::requests::Requests;

/// How long a consumer lives that nobody listens to.
const ABANDONED: Duration = Duration::from_secs(30);
/// How long the pause between two attempts gets.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The first pause.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause where no consumer was made: the bucket has no leader, for some seconds.
const SHORT_PAUSE: Duration = Duration::from_millis(250);
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
    /// Consumers that are not needed any more, and may be there yet.
    old: Vec<String>,
}

/// One consumer that delivers.
struct Delivery {
    name: String,
    messages: Subscriber,
}

/// When the next attempt is due.
struct Patience {
    silence: Duration,
    quiet: Duration,
    last_entry: Instant,
    last_word: Instant,
    last_try: Instant,
    pause: Duration,
}

impl Patience {
    fn new(silence: Duration, beat: Duration, now: Instant) -> Self {
        let quiet = beat * BEATS;
        Self { silence, quiet, last_entry: now, last_word: now, last_try: now, pause: Duration::ZERO }
    }

    /// Anything came.
    fn word(&mut self, now: Instant) {
        self.last_word = now;
    }

    /// An entry came: whatever was tried has helped.
    fn entry(&mut self, now: Instant) {
        (self.last_entry, self.last_word, self.pause) = (now, now, Duration::ZERO);
    }

    /// There is nothing to listen to any more, or something is missing in it.
    fn gap(&mut self) {
        self.last_word = self.last_word.checked_sub(self.quiet).unwrap_or(self.last_word);
    }

    fn due(&self) -> Instant {
        let suspicious = (self.last_entry + self.silence).min(self.last_word + self.quiet);
        suspicious.max(self.last_try + self.pause)
    }

    /// A consumer was made. What could not even be tried costs nobody anything, and is tried again soon.
    fn tried(&mut self, is_made: bool, now: Instant) {
        (self.last_try, self.last_word) = (now, now);
        self.pause = if is_made { (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE) } else { SHORT_PAUSE };
        if !is_made {
            self.gap();
        }
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
            old: Vec::new(),
        }
    }

    /// Whether a consumer can be made at all: before a node says that it has started.
    pub(crate) async fn try_out(&mut self, requests: &Requests) -> Result<(), Undone> {
        let delivery = self.begin(requests).await?;
        if let Some(delivery) = delivery {
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
        patience.gap();
        while !self.is_replaced {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = next(delivery.as_mut()) => message,
                () = tokio::time::sleep_until(patience.due()) => {
                    let made = self.renew(requests, &mut delivery).await;
                    patience.tried(made, Instant::now());
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
                Step::Entry { key, value, revision, is_newest } => {
                    if !self.outlet.tell(Event::Entry { key, value, revision, is_newest }).await {
                        break;
                    }
                    // After it was taken: that nobody takes them is no silence of NATS.
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
        self.shared.judge.lock().tell(revision, std::time::Instant::now());
        if !self.is_caught_up && self.position.is_caught_up() {
            self.is_caught_up = true;
            self.outlet.tell(Event::CaughtUp).await;
        }
        if self.is_caught_up {
            self.shared.seen.store(revision, Ordering::Release);
        }
    }

    /// A new consumer in place of the one before; or still that one, where none can be made.
    async fn renew(&mut self, requests: &Requests, delivery: &mut Option<Delivery>) -> bool {
        match self.begin(requests).await {
            Ok(Some(new)) => {
                if let Some(before) = delivery.replace(new) {
                    self.shared.counters.rewatches.fetch_add(1, Ordering::Relaxed);
                    self.old.push(before.name);
                }
                self.delete_old(requests).await;
                // With an empty bucket nothing comes that could say so.
                self.progress().await;
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(%error, "the bucket cannot be watched now");
                false
            }
        }
    }

    /// Makes a consumer from behind what has been told. None: this is not the bucket that it was.
    async fn begin(&mut self, requests: &Requests) -> Result<Option<Delivery>, Undone> {
        let settings = &self.shared.settings;
        // While it has no leader nobody answers: soon after there is one, it is to be known.
        let info = bucket::look(requests, settings, settings.answer / 4).await?;
        let created = self.created.get_or_insert_with(|| info.created.clone());
        self.shared.bucket.get_or_init(|| created.clone());
        if *created != info.created || info.state.last_seq < self.position.told() {
            tracing::error!(
                bucket = settings.prefix,
                known = self.position.told(),
                found = info.state.last_seq,
                "the bucket has been made anew, or has lost its end: this node must start again"
            );
            self.is_replaced = true;
            self.outlet.tell(Event::Replaced).await;
            return Ok(None);
        }
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
        bucket::ask::<Done>(requests, &subject, jetstream::body(&request), settings.answer).await?;
        self.old.pop();
        self.position.begin(info.state.last_seq);
        Ok(Some(Delivery { name, messages }))
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

    #[test]
    fn attempts_come_at_growing_intervals_until_one_helps() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut patience = Patience::new(Duration::from_secs(3), Duration::from_millis(500), start);
        patience.tried(true, start);
        // Signs of life alone: silence counts from the last entry.
        patience.word(at(2900));
        assert_eq!(patience.due(), at(3000));
        let mut now = 3000;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            patience.tried(true, at(now));
            let due = patience.due().duration_since(start).as_millis();
            let due = u64::try_from(due).unwrap();
            pauses.push((due - now) / 1000);
            now = due;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
        patience.entry(at(now));
        // Nothing at all, not even signs of life.
        assert_eq!(patience.due(), at(now + 1500));
        patience.tried(true, at(now + 1500));
        assert_eq!(
            patience.due(),
            at(now + 3000),
            "its signs of life are waited for, and then the pause counts"
        );
    }

    #[test]
    fn a_gap_is_mended_at_once_and_then_at_intervals() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(3), Duration::from_millis(500), start);
        patience.tried(true, start);
        patience.entry(start + Duration::from_secs(1));
        patience.gap();
        assert!(patience.due() <= start + Duration::from_secs(1));
        patience.tried(true, start + Duration::from_secs(1));
        patience.gap();
        assert_eq!(patience.due(), start + Duration::from_secs(2));
    }
}
