//! Messages to groups and users: saturated, paced, at a rate, and with members who come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::crowd::Crowd;
use crate::error::{Fallible, wrong};
use crate::figures::{Found, per};
use crate::harness::Harness;
use crate::process::until;
use crate::publisher::Publisher;
use crate::tally::Schedule;
use crate::wire::Topic;

/// Publishers have users of their own.
pub const PUBLISHER: u32 = 1_000_000;

/// Members of the groups of `many` and `beside`.
const TEN: u32 = 10;

/// Groups that each connection of `many` is in.
const THREE: u32 = 3;

/// How many messages may be on their way: enough to keep a server busy, few enough for the smallest of the peers'
/// buffers (a quarter of Fanfare's outbox, in frames and in bytes).
fn window(size: usize) -> u64 {
    (256 * 1024 / size as u64).clamp(8, 256)
}

/// Whom a message reaches.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// Every receiver.
    All(u64),
    /// So many of them.
    Some(u64),
}

impl Reach {
    fn receivers(self) -> u64 {
        match self {
            Self::All(receivers) | Self::Some(receivers) => receivers,
        }
    }
}

/// Sends as fast as the window lets it; gives how many messages. Of several publishers each sends every message, to
/// receivers of its own.
pub(super) async fn saturate(
    crowd: &Crowd,
    publishers: &mut [Publisher],
    size: usize,
    reach: Reach,
    lasting: Duration,
    mut next: impl FnMut() -> Topic,
) -> Fallible<u64> {
    let (begun, before) = (Instant::now(), crowd.tally.received());
    // Where a message reaches some, the window is of deliveries: one receiver might be behind with all of them.
    let window = match reach {
        Reach::All(_) => window(size),
        Reach::Some(receivers) => (window(size) * 2 / receivers).max(8),
    };
    let batch = window / 4;
    let mut sent = 0;
    while begun.elapsed() < lasting {
        for _ in 0..batch {
            let topic = next();
            publishers.iter_mut().for_each(|publisher| publisher.publish(topic));
        }
        for publisher in &mut *publishers {
            publisher.flush().await?;
        }
        sent += batch;
        let due = (sent + batch).saturating_sub(window);
        match reach {
            Reach::All(receivers) => crowd.each_has(before / receivers + due).await?,
            Reach::Some(receivers) => crowd.tally.reach(before + due * receivers).await?,
        }
    }
    crowd.tally.reach(before + sent * reach.receivers()).await?;
    Ok(sent)
}

/// Sends so many messages a second; gives how many. Of several publishers each sends every message.
pub(super) async fn at_rate(
    crowd: &Crowd,
    publishers: &mut [Publisher],
    rate: u32,
    reach: Reach,
    lasting: Duration,
) -> Fallible<u64> {
    let (begun, before) = (Instant::now(), crowd.tally.received());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut sent = 0;
    while begun.elapsed() < lasting {
        pace.tick().await;
        for publisher in &mut *publishers {
            publisher.publish(Topic::Group(1));
            publisher.flush().await?;
        }
        sent += 1;
    }
    crowd.tally.reach(before + sent * reach.receivers()).await?;
    Ok(sent)
}

/// Nothing more may come than what was sent: gives the last of it time to show, and looks.
pub async fn nothing_more(crowd: &Crowd, expected: u64) -> Fallible<()> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    crowd.tally.check()?;
    let received = crowd.tally.received();
    if received == expected {
        return Ok(());
    }
    Err(wrong(format!("{received} messages came where {expected} were due")))
}

/// Saturated traffic over topics: warms up, measures, and looks whether everything came.
async fn measured(
    harness: &Harness,
    topics: &[Vec<Topic>],
    size: usize,
    reach: Reach,
    lasting: Duration,
    mut next: impl FnMut() -> Topic,
) -> Fallible<Found> {
    let mut crowd = Crowd::new(0);
    crowd.tally.expect_size(size);
    crowd.connect(&*harness.peer, &harness.dialer, topics).await?;
    let mut publisher = [Publisher::connect(&*harness.peer, &harness.dialer, PUBLISHER, size).await?];
    let warming = saturate(&crowd, &mut publisher, size, reach, lasting / 4, &mut next).await?;
    let (before, begun) = (harness.server.usage()?, Instant::now());
    let sent = saturate(&crowd, &mut publisher, size, reach, lasting, &mut next).await?;
    let (after, seconds) = (harness.server.usage()?, begun.elapsed().as_secs_f64());
    nothing_more(&crowd, (warming + sent) * reach.receivers()).await?;
    let mut found = per(after.since(before), sent * reach.receivers(), seconds);
    found.push(("memory_bytes", harness.server.memory()?));
    crowd.end().await;
    Ok(found)
}

pub async fn fanout(harness: &Harness, members: u32, size: usize, lasting: Duration) -> Fallible<Found> {
    let topics = vec![vec![Topic::Group(1)]; members as usize];
    measured(harness, &topics, size, Reach::All(u64::from(members)), lasting, || Topic::Group(1)).await
}

pub async fn direct(harness: &Harness, users: u32, size: usize, lasting: Duration) -> Fallible<Found> {
    let topics: Vec<_> = (0..users).map(|user| vec![Topic::User(user)]).collect();
    measured(harness, &topics, size, Reach::Some(1), lasting, || Topic::User(fastrand::u32(..users))).await
}

/// Members of groups of ten, each of whom is in three.
pub fn groups_of_ten(groups: u32) -> Vec<Vec<Topic>> {
    // Place after place; three in a row are one connection's, and are three groups where there are three.
    let connections = groups * TEN / THREE;
    let group = |place: u32| Topic::Group(place % groups);
    (0..connections).map(|at| (0..THREE).map(|own| group(at * THREE + own)).collect()).collect()
}

/// Chooses group n with a weight of 1 / (n + 1).
pub struct Zipf(Vec<f64>);

impl Zipf {
    pub fn new(groups: u32) -> Self {
        let mut sum = 0.0;
        Self(
            (1..=groups)
                .map(|rank| {
                    sum += 1.0 / f64::from(rank);
                    sum
                })
                .collect(),
        )
    }

    pub fn choose(&self) -> u32 {
        let at = fastrand::f64() * self.0.last().copied().unwrap_or(1.0);
        let chosen = self.0.partition_point(|sum| *sum < at).min(self.0.len().saturating_sub(1));
        u32::try_from(chosen).unwrap_or(0)
    }
}

pub async fn many(harness: &Harness, groups: u32, size: usize, lasting: Duration) -> Fallible<Found> {
    if !(groups * TEN).is_multiple_of(THREE) {
        return Err(wrong("the number of groups must be a multiple of three"));
    }
    let zipf = Zipf::new(groups);
    measured(harness, &groups_of_ten(groups), size, Reach::Some(u64::from(TEN)), lasting, || {
        Topic::Group(zipf.choose())
    })
    .await
}

/// A tenth of the groups are another connection's each, up to as many as one may be in.
pub async fn beside(harness: &Harness, groups: u32, size: usize, lasting: Duration) -> Fallible<Found> {
    const EACH: u32 = 500;
    let mut idle = Crowd::new(PUBLISHER / 2);
    let topics: Vec<Vec<_>> = (0..groups)
        .step_by(EACH as usize)
        .map(|first| (first..groups.min(first + EACH)).map(|group| Topic::Group(group + 2)).collect())
        .collect();
    idle.connect(&*harness.peer, &harness.dialer, &topics).await?;
    let found = fanout(harness, TEN, size, lasting).await?;
    idle.tally.check()?;
    idle.end().await;
    Ok(found)
}

pub async fn paced(
    harness: &Harness,
    members: u32,
    size: usize,
    rate: u32,
    lasting: Duration,
) -> Fallible<Found> {
    let mut crowd = Crowd::new(0);
    crowd.tally.expect_size(size);
    crowd.connect(&*harness.peer, &harness.dialer, &vec![vec![Topic::Group(1)]; members as usize]).await?;
    let mut publisher = [Publisher::connect(&*harness.peer, &harness.dialer, PUBLISHER, size).await?];
    let reach = Reach::All(members.into());
    let warming = at_rate(&crowd, &mut publisher, rate, reach, Duration::from_millis(500)).await?;
    let (before, begun) = (harness.server.usage()?, Instant::now());
    let sent = at_rate(&crowd, &mut publisher, rate, reach, lasting).await?;
    let (after, seconds) = (harness.server.usage()?, begun.elapsed().as_secs_f64());
    nothing_more(&crowd, (warming + sent) * u64::from(members)).await?;
    crowd.end().await;
    Ok(per(after.since(before), sent * u64::from(members), seconds))
}

/// A clock on a thread of its own: tokio's timers are a millisecond coarse.
fn clock(interval: Duration, start: Instant, count: u64) -> (mpsc::Receiver<()>, Arc<AtomicBool>) {
    let (ticks, ticked) = mpsc::channel(1 << 16);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::spawn(move || {
        for number in 0..count {
            let due = start + interval * u32::try_from(number).unwrap_or(u32::MAX);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if stopped.load(Ordering::Relaxed) || ticks.blocking_send(()).is_err() {
                return;
            }
        }
    });
    (ticked, stop)
}

pub async fn latency(
    harness: &Harness,
    members: u32,
    size: usize,
    rate: u32,
    lasting: Duration,
) -> Fallible<Found> {
    let mut crowd = Crowd::new(0);
    crowd.tally.expect_size(size);
    crowd.connect(&*harness.peer, &harness.dialer, &vec![vec![Topic::Group(1)]; members as usize]).await?;
    let mut publisher = Publisher::connect(&*harness.peer, &harness.dialer, PUBLISHER, size).await?;
    let interval = Duration::from_secs(1) / rate.max(1);
    let count = |lasting: Duration| (lasting.as_secs_f64() * f64::from(rate)) as u64;
    let (warming, wanted) = (count(lasting / 4), count(lasting));
    let start = Instant::now() + Duration::from_millis(20);
    let meant = |number: u64| start + interval * u32::try_from(number).unwrap_or(u32::MAX);
    // What comes in the first quarter is not in the figures.
    crowd.tally.follow(Schedule { from: warming, start: meant(warming), interval });
    let (mut ticks, stop) = clock(interval, start, warming + wanted);
    let mut sent = 0;
    let mut before = harness.server.usage()?;
    while ticks.recv().await.is_some() {
        publisher.publish(Topic::Group(1));
        sent += 1;
        while ticks.try_recv().is_ok() {
            publisher.publish(Topic::Group(1));
            sent += 1;
        }
        if sent <= warming {
            before = harness.server.usage()?;
        }
        if let Err(error) = publisher.flush().await {
            stop.store(true, Ordering::Relaxed);
            return Err(error);
        }
    }
    crowd.tally.reach(sent * u64::from(members)).await?;
    let after = harness.server.usage()?;
    let seconds = meant(warming).elapsed().as_secs_f64();
    nothing_more(&crowd, sent * u64::from(members)).await?;
    let latency = crowd.latency().ok_or_else(|| wrong("nothing was measured"))?;
    crowd.end().await;
    let microseconds = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1e3;
    let mut found = per(after.since(before), wanted * u64::from(members), seconds);
    found.extend([
        ("p50_us", microseconds(0.5)),
        ("p99_us", microseconds(0.99)),
        ("p99.9_us", microseconds(0.999)),
        ("max_us", latency.max() as f64 / 1e3),
    ]);
    Ok(found)
}

/// Messages a second while members come and go.
const CHURN_RATE: u32 = 200;

pub async fn churn(
    harness: &Harness,
    members: u32,
    churners: u32,
    size: usize,
    lasting: Duration,
) -> Fallible<Found> {
    let topic = Topic::Group(1);
    let (mut crowd, mut guests) = (Crowd::new(0), Crowd::new(PUBLISHER / 2));
    for (crowd, count, topics) in [(&mut crowd, members, vec![topic]), (&mut guests, churners, Vec::new())] {
        crowd.tally.expect_size(size);
        crowd.connect(&*harness.peer, &harness.dialer, &vec![topics; count as usize]).await?;
    }
    let mut publisher = Publisher::connect(&*harness.peer, &harness.dialer, PUBLISHER, size).await?;
    let (before, begun) = (harness.server.usage()?, Instant::now());
    let changing = async {
        let mut changes = 0u64;
        while begun.elapsed() < lasting {
            for subscribed in [true, false] {
                let mut waiting = Vec::new();
                for guest in &guests.receivers {
                    waiting.push(guest.done() + 1);
                    guest.change(topic, subscribed).await?;
                }
                for (guest, due) in guests.receivers.iter().zip(waiting) {
                    let confirmed = || guest.done() >= due || guests.tally.check().is_err();
                    until("a join or leave is confirmed", Duration::from_secs(30), confirmed).await?;
                    guests.tally.check()?;
                    changes += 1;
                }
            }
        }
        Ok(changes)
    };
    let sending = async {
        let (mut pace, mut sent) = (tokio::time::interval(Duration::from_secs(1) / CHURN_RATE), 0u64);
        while begun.elapsed() < lasting {
            pace.tick().await;
            publisher.publish(topic);
            publisher.flush().await?;
            sent += 1;
        }
        Ok(sent)
    };
    let (changes, sent) = tokio::try_join!(changing, sending)?;
    crowd.tally.reach(sent * u64::from(members)).await?;
    let (after, seconds) = (harness.server.usage()?, begun.elapsed().as_secs_f64());
    nothing_more(&crowd, sent * u64::from(members)).await?;
    guests.tally.check()?;
    let came = guests.tally.received() as f64 / changes.max(1) as f64;
    crowd.end().await;
    guests.end().await;
    let mut found = per(after.since(before), changes, seconds);
    found.push(("deliveries_per_change", came));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_group_has_ten_members_and_every_member_three_groups() {
        let mut members: HashMap<Topic, u32> = HashMap::new();
        for topics in groups_of_ten(300) {
            let mut own = topics.clone();
            own.dedup();
            assert_eq!(own.len(), 3);
            for topic in topics {
                *members.entry(topic).or_default() += 1;
            }
        }
        assert_eq!(members.len(), 300);
        assert!(members.values().all(|count| *count == TEN));
    }

    #[test]
    fn the_first_groups_get_most() {
        let zipf = Zipf::new(1_000);
        let chosen: Vec<u32> = (0..10_000).map(|_| zipf.choose()).collect();
        let first = chosen.iter().filter(|group| **group < 10).count();
        assert!((3_000..5_000).contains(&first), "{first} of 10,000 for the first ten");
        assert!(chosen.iter().all(|group| *group < 1_000));
    }
}
