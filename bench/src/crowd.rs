//! Receivers that check what arrives: every message exactly once, in order.
//!
//! In: topics for each receiver. Out: how many messages came, and when. Invariant: a message that is missing, double,
//! out of order, of a topic that was not subscribed, or of the wrong size is an error, and an error ends the run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::connection::{Dialer, Incoming, Outgoing};
use crate::error::{Fallible, wrong};
use crate::payload;
use crate::peer::Peer;
use crate::tally::{PATIENCE, Schedule, Tally};
use crate::wire::{Heard, Topic, Wire};

/// How many connect at a time.
const AT_ONCE: usize = 32;

/// One receiver, as others see it.
pub struct Receiver {
    commands: mpsc::Sender<Command>,
    seen: Arc<Seen>,
}

/// What a receiver's task and others share.
#[derive(Default)]
struct Seen {
    messages: AtomicU64,
    state: Mutex<State>,
}

enum Command {
    Subscribe(Topic),
    Unsubscribe(Topic),
}

/// What a receiver has seen.
#[derive(Default)]
struct State {
    /// The next number of each stream that it is subscribed to.
    streams: HashMap<u32, Expected>,
    done: u64,
    latency: Option<Histogram<u64>>,
}

#[derive(Default)]
struct Expected {
    next: u64,
    /// After joining in the middle of the traffic the first number may be any later one.
    open: bool,
}

/// Many receivers.
pub struct Crowd {
    /// What they share.
    pub tally: Arc<Tally>,
    /// Each of them.
    pub receivers: Vec<Receiver>,
    first_user: u32,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// None yet. Their users' numbers begin with `first_user`.
    #[must_use]
    pub fn new(first_user: u32) -> Self {
        Self { tally: Arc::default(), receivers: Vec::new(), first_user, tasks: JoinSet::new() }
    }

    /// Connects one receiver for each list of topics, and waits until all subscriptions are in force.
    ///
    /// # Errors
    /// When one of them cannot.
    pub async fn connect(&mut self, peer: &dyn Peer, dialer: &Dialer, topics: &[Vec<Topic>]) -> Fallible<()> {
        let mut connecting = JoinSet::new();
        let mut pace = peer.connects_per_second().map(|most| interval(Duration::from_secs(1) / most.get()));
        let already = u32::try_from(self.receivers.len()).unwrap_or(u32::MAX);
        for (user, topics) in (self.first_user + already..).zip(topics) {
            while connecting.len() >= AT_ONCE {
                self.connected(connecting.join_next().await)?;
            }
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let wire = peer.wire(user);
            connecting.spawn(join(dialer.clone(), wire, topics.clone(), Arc::clone(&self.tally)));
        }
        while !connecting.is_empty() {
            self.connected(connecting.join_next().await)?;
        }
        Ok(())
    }

    fn connected(
        &mut self,
        joined: Option<Result<Fallible<(Receiver, Listening)>, tokio::task::JoinError>>,
    ) -> Fallible<()> {
        let (receiver, listening) = match joined {
            Some(Ok(joined)) => joined?,
            _ => return Err(wrong("a receiver's task ended")),
        };
        self.receivers.push(receiver);
        self.tasks.spawn(listening.run(Arc::clone(&self.tally)));
        Ok(())
    }

    /// Waits until each receiver has so many messages. The sum alone would let one fall far behind while the others are
    /// ahead.
    ///
    /// # Errors
    /// When something is wrong, or they do not come.
    pub async fn each_has(&self, messages: u64) -> Fallible<()> {
        self.tally.reach(messages * self.receivers.len() as u64).await?;
        while self.receivers.iter().any(|receiver| receiver.seen.messages.load(Ordering::Relaxed) < messages)
        {
            self.tally.reach(self.tally.received() + 1).await?;
        }
        Ok(())
    }

    /// How long messages took, those of all receivers together, in nanoseconds.
    #[must_use]
    pub fn latency(&self) -> Option<Histogram<u64>> {
        let mut all: Option<Histogram<u64>> = None;
        for receiver in &self.receivers {
            if let Some(one) = receiver.seen.state.lock().latency.take() {
                match &mut all {
                    None => all = Some(one),
                    Some(all) => all.add(one).ok()?,
                }
            }
        }
        all
    }

    /// Ends all of them.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Receiver {
    /// Subscribes, or ends that. Gives what [`Self::done`] will be when it is in force.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub async fn change(&self, topic: Topic, subscribed: bool) -> Fallible<()> {
        let command = if subscribed { Command::Subscribe(topic) } else { Command::Unsubscribe(topic) };
        self.commands.send(command).await.map_err(|_| wrong("a receiver is gone"))
    }

    /// How many changes the server has confirmed.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.seen.state.lock().done
    }
}

/// The task of a receiver.
struct Listening {
    outgoing: Outgoing,
    incoming: Incoming,
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    commands: mpsc::Receiver<Command>,
    seen: Arc<Seen>,
}

async fn join(
    dialer: Dialer,
    wire: Box<dyn Wire>,
    topics: Vec<Topic>,
    tally: Arc<Tally>,
) -> Fallible<(Receiver, Listening)> {
    let (outgoing, incoming) = dialer.dial().await?;
    let (commands, orders) = mpsc::channel(4);
    let seen = Arc::new(Seen::default());
    for topic in &topics {
        seen.state.lock().streams.insert(topic.stream(), Expected::default());
    }
    let mut listening =
        Listening { outgoing, incoming, wire, buffer: Vec::new(), commands: orders, seen: Arc::clone(&seen) };
    let greeting = listening.wire.greeting();
    listening.outgoing.write(&greeting).await?;
    let mut welcome = false;
    while !welcome {
        welcome = listening.hear(&tally).await?;
    }
    for topic in &topics {
        let subscribe = listening.wire.subscribe(*topic);
        listening.outgoing.write(&subscribe).await?;
    }
    while seen.state.lock().done < topics.len() as u64 {
        listening.hear(&tally).await?;
    }
    Ok((Receiver { commands, seen }, listening))
}

impl Listening {
    async fn run(mut self, tally: Arc<Tally>) {
        loop {
            let heard = tokio::select! {
                heard = self.incoming.read(&mut self.buffer) => heard,
                Some(command) = self.commands.recv() => {
                    let said = match command {
                        Command::Subscribe(topic) => {
                            let open = Expected { next: 0, open: true };
                            let mut state = self.seen.state.lock();
                            // What came before stays a bound: numbers only grow.
                            state.streams.entry(topic.stream()).or_insert(open).open = true;
                            self.wire.subscribe(topic)
                        }
                        Command::Unsubscribe(topic) => self.wire.unsubscribe(topic),
                    };
                    if let Err(error) = self.outgoing.write(&said).await {
                        return tally.fail(error.to_string());
                    }
                    continue;
                }
            };
            let heard = match heard {
                Ok(true) => self.take(&tally).await.map(|_| ()),
                Ok(false) => Err(wrong("the server ended a connection")),
                Err(error) => Err(error),
            };
            if let Err(error) = heard {
                return tally.fail(error.to_string());
            }
        }
    }

    /// Reads once. `true` when the server has let us in.
    async fn hear(&mut self, tally: &Tally) -> Fallible<bool> {
        let reading = timeout(PATIENCE, self.incoming.read(&mut self.buffer)).await;
        match reading {
            Ok(Ok(true)) => self.take(tally).await,
            Ok(Ok(false)) => Err(wrong("the server ended a connection")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(wrong("the server says nothing")),
        }
    }

    /// Looks at what was read.
    async fn take(&mut self, tally: &Tally) -> Fallible<bool> {
        let (mut messages, mut welcome, mut answers, mut error) = (0, false, Vec::new(), None);
        let size = tally.size();
        let schedule = tally.schedule();
        let used = {
            let mut state = self.seen.state.lock();
            let now = Instant::now();
            self.wire.parse(&self.buffer, &mut |heard| match heard {
                Heard::Welcome => welcome = true,
                Heard::Done => state.done += 1,
                Heard::Answer(answer) => answers.extend(answer),
                Heard::Message(payload) => {
                    messages += 1;
                    if let Err(what) = state.message(payload, size, schedule, now) {
                        error.get_or_insert(what);
                    }
                }
            })?
        };
        self.buffer.drain(..used);
        if self.buffer.is_empty() && self.buffer.capacity() > 64 * 1024 {
            self.buffer = Vec::new();
        }
        if let Some(error) = error {
            return Err(wrong(error));
        }
        if messages > 0 {
            self.seen.messages.fetch_add(messages, Ordering::Relaxed);
            tally.count(messages);
        }
        if !answers.is_empty() {
            self.outgoing.write(&answers).await?;
        }
        Ok(welcome)
    }
}

impl State {
    fn message(
        &mut self,
        payload: &[u8],
        size: u64,
        schedule: Option<Schedule>,
        now: Instant,
    ) -> Result<(), String> {
        if payload.len() as u64 != size {
            return Err(format!("a message of {} bytes came, and {size} were sent", payload.len()));
        }
        let mark = payload::read(payload).ok_or("a message came that nobody sent")?;
        let Some(expected) = self.streams.get_mut(&mark.stream) else {
            return Err(format!("a message of stream {:x} came to one who is not subscribed", mark.stream));
        };
        let fits = if expected.open { mark.number >= expected.next } else { mark.number == expected.next };
        if !fits {
            return Err(format!(
                "message {} of stream {:x} came when {} was next",
                mark.number, mark.stream, expected.next
            ));
        }
        *expected = Expected { next: mark.number + 1, open: false };
        if let Some(schedule) = schedule
            && let Some(since) = mark.number.checked_sub(schedule.from)
        {
            let meant = schedule.start + schedule.interval * u32::try_from(since).unwrap_or(u32::MAX);
            let took = now.saturating_duration_since(meant).as_nanos();
            let latency = self.latency.get_or_insert_with(histogram);
            latency.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// From a microsecond to a minute, to three digits.
#[allow(clippy::expect_used, reason = "constants that hdrhistogram takes")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: &mut State, stream: u32, number: u64) -> Result<(), String> {
        let mut out = Vec::new();
        payload::write(&mut out, payload::Mark { stream, number }, 64);
        state.message(&out, 64, None, Instant::now())
    }

    #[test]
    fn what_is_missing_double_out_of_order_or_not_asked_for_is_an_error() {
        let mut state = State::default();
        state.streams.insert(1, Expected::default());
        assert_eq!(told(&mut state, 1, 0), Ok(()));
        assert_eq!(told(&mut state, 1, 1), Ok(()));
        assert!(told(&mut state, 1, 1).unwrap_err().contains("when 2 was next"), "double");
        assert!(told(&mut state, 1, 3).unwrap_err().contains("when 2 was next"), "missing");
        assert!(told(&mut state, 2, 0).unwrap_err().contains("not subscribed"));
        assert!(state.message(b"short", 64, None, Instant::now()).unwrap_err().contains("of 5 bytes"));
        assert!(state.message(&[b'z'; 64], 64, None, Instant::now()).unwrap_err().contains("nobody sent"));
    }

    #[test]
    fn who_joins_in_the_middle_begins_anywhere_later_and_then_misses_nothing() {
        let mut state = State::default();
        state.streams.insert(1, Expected { next: 5, open: true });
        assert!(told(&mut state, 1, 4).is_err(), "what was there before does not come again");
        assert_eq!(told(&mut state, 1, 9), Ok(()));
        assert!(told(&mut state, 1, 11).is_err());
    }
}
