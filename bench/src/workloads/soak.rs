//! Minutes of mixed traffic over many connections: nothing may get lost, and memory may not grow.
//!
//! In: how many connections, and how long. Out: memory by the second, deliveries, and how memory moved after the first
//! minute. Connections are in three groups of ten each; groups get messages (Zipf), users get messages, and guests join
//! and leave. In the first minute everybody gets a message every 1.5 seconds besides, so that what a connection
//! allocates once (with its 33rd packet, for one) is there when memory is looked at.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::crowd::Crowd;
use crate::error::{Fallible, wrong};
use crate::harness::Harness;
use crate::peers::Places;
use crate::publisher::Publisher;
use crate::wire::Topic;

use super::traffic::{PUBLISHER, Zipf, groups_of_ten, nothing_more};

const SIZE: usize = 64;

/// Guests who come to a group and go again, one change each in turn.
const GUESTS: u32 = 50;

/// How often those messages of the first minute go, and how often one round of them takes that.
const GREETING: Duration = Duration::from_millis(10);
const GREETINGS_A_ROUND: u32 = 150;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// Members of three groups each.
    pub connections: u32,
    /// How long.
    pub lasting: Duration,
    /// Messages a second to groups (ten deliveries each), and half as many to users.
    pub rate: u32,
}

/// What was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Soaked {
    /// Members of three groups each.
    pub connections: u32,
    /// How long the traffic lasted.
    pub seconds: f64,
    /// Messages that came, each where it had to, once and in order.
    pub deliveries: u64,
    /// Joins and leaves meanwhile.
    pub changes: u64,
    /// Resident memory: seconds since the start of the traffic, bytes.
    pub memory: Vec<(f64, f64)>,
    /// Bytes a minute, by least squares over all but the first minute.
    pub slope_per_minute: f64,
    /// Resident memory after the first minute and at the end, medians of ten seconds.
    pub after_first_minute: f64,
    /// See `after_first_minute`.
    pub at_end: f64,
    /// Processor time of the server, in per cent of one processor.
    pub cpu_percent: f64,
}

impl Soak {
    /// Does it.
    ///
    /// # Errors
    /// When anything is lost, double, out of order, or the server ends.
    pub async fn run(self, places: &Places, progress: impl Fn(&str)) -> Fallible<Soaked> {
        let harness = Harness::start("fanfare", places).await?;
        let groups = self.connections * 3 / 10;
        let mut topics = groups_of_ten(groups);
        for (user, topics) in topics.iter_mut().enumerate() {
            topics.push(Topic::User(u32::try_from(user).unwrap_or(u32::MAX)));
        }
        let connections = u32::try_from(topics.len()).unwrap_or(u32::MAX);
        let mut crowd = Crowd::new(0);
        crowd.tally.expect_size(SIZE);
        progress(&format!("connecting {connections}"));
        crowd.connect(&*harness.peer, &harness.dialer, &topics).await?;
        let mut guests = Crowd::new(PUBLISHER / 2);
        guests.tally.expect_size(SIZE);
        guests.connect(&*harness.peer, &harness.dialer, &vec![Vec::new(); GUESTS as usize]).await?;
        let mut publisher = Publisher::connect(&*harness.peer, &harness.dialer, PUBLISHER, SIZE).await?;

        let (zipf, begun, before) = (Zipf::new(groups), Instant::now(), harness.server.usage()?);
        let mut pace = tokio::time::interval(Duration::from_secs(1) / self.rate);
        let mut looks = tokio::time::interval(Duration::from_secs(1));
        let (mut greeting, mut greeted) = (tokio::time::interval(GREETING), 0);
        let (mut due, mut sent, mut changes, mut memory) = (0u64, 0u64, 0u64, Vec::new());
        // Guests go to a group that nobody else is in, so that what the others get can be counted.
        let (visited, mut present) = (Topic::Group(groups + 1), false);
        while begun.elapsed() < self.lasting {
            tokio::select! {
                _ = pace.tick() => {
                    publisher.publish(Topic::Group(zipf.choose()));
                    publisher.publish(visited);
                    due += 10;
                    if sent.is_multiple_of(2) {
                        publisher.publish(Topic::User(fastrand::u32(..connections)));
                        due += 1;
                    }
                    sent += 1;
                    publisher.flush().await?;
                }
                _ = greeting.tick(), if begun.elapsed().as_secs_f64() < self.settling() => {
                    for _ in 0..connections.div_ceil(GREETINGS_A_ROUND) {
                        publisher.publish(Topic::User(greeted));
                        greeted = (greeted + 1) % connections;
                        due += 1;
                    }
                    publisher.flush().await?;
                }
                _ = looks.tick() => {
                    memory.push((begun.elapsed().as_secs_f64(), harness.server.memory()?));
                    crowd.tally.check()?;
                    guests.tally.check()?;
                    present = !present;
                    for guest in &guests.receivers {
                        guest.change(visited, present).await?;
                        changes += 1;
                    }
                    if memory.len() % 60 == 1 {
                        let mib = memory.last().map_or(0.0, |(_, bytes)| bytes / 1_048_576.0);
                        let minutes = begun.elapsed().as_secs() / 60;
                        progress(&format!("minute {minutes}: {mib:.1} MiB, {} came", crowd.tally.received()));
                    }
                }
            }
        }
        let (used, seconds) = (harness.server.usage()?.since(before), begun.elapsed().as_secs_f64());
        crowd.tally.reach(due).await?;
        nothing_more(&crowd, due).await?;
        guests.tally.check()?;
        let deliveries = due + guests.tally.received();
        crowd.end().await;
        guests.end().await;
        harness.stop().await?;
        let settled: Vec<_> = memory.iter().copied().filter(|(at, _)| *at >= self.settling()).collect();
        let slope = slope(&settled).ok_or_else(|| wrong("too short to see how memory moves"))?;
        let (after_first_minute, at_end) = ends(&settled);
        Ok(Soaked {
            connections,
            seconds,
            deliveries,
            changes,
            slope_per_minute: slope * 60.0,
            after_first_minute,
            at_end,
            memory,
            cpu_percent: used.cpu_ns / seconds / 1e7,
        })
    }

    /// The first minute does not count; of a short run, the first third.
    fn settling(self) -> f64 {
        self.lasting.as_secs_f64().min(180.0) / 3.0
    }
}

/// What memory is at the beginning and at the end, medians of ten seconds.
pub(super) fn ends(settled: &[(f64, f64)]) -> (f64, f64) {
    let middle = |values: &[(f64, f64)]| {
        crate::figures::median(&values.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>())
    };
    let ten = settled.len().min(10);
    let (first, last) = (settled.get(..ten), settled.get(settled.len() - ten..));
    (middle(first.unwrap_or_default()), middle(last.unwrap_or_default()))
}

/// By least squares.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    if points.len() < 2 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    Some(over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line() {
        let line: Vec<_> = (0..100).map(|at| (f64::from(at), 5.0 + 3.0 * f64::from(at))).collect();
        assert!((slope(&line).unwrap() - 3.0).abs() < 1e-9);
        assert!(slope(&line[..1]).is_none());
    }
}
