//! Which workloads, on which peers, how often; and the running of it.
//!
//! In: a plan. Out: [`Results`]. Peers take turns inside a round, so that whatever else the machine does meets all of
//! them that it compares.

use std::time::Duration;

use crate::error::{Error, Fallible};
use crate::figures::Results;
use crate::machine;
use crate::peers::{self, Places};
use crate::process;
use crate::workloads::{Times, Workload};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Everything; five rounds of what the budgets need, two or one of the rest: ten minutes on two cores.
    Full,
    /// What the budgets need, against NATS alone, one round.
    Quick,
    /// Every workload on every peer, very small: whether everything arrives, not how fast.
    Check,
}

/// What is measured, how often, and for how long each time.
pub struct Plan {
    parts: Vec<Part>,
    times: Times,
}

/// A part of a plan.
struct Part {
    rounds: u32,
    peers: Vec<&'static str>,
    cells: Vec<Workload>,
}

impl Plan {
    /// One workload, on these peers, for so long each time.
    #[must_use]
    pub fn single(cell: Workload, peers: Vec<&'static str>, rounds: u32, lasting: Duration) -> Self {
        let times = Times { saturated: lasting, paced: lasting, idle: lasting };
        Self { parts: vec![Part { rounds, peers, cells: vec![cell] }], times }
    }
}

/// Of the groups that the budgets speak of.
pub const SATURATED: Workload = Workload::Fanout { members: 1_000, size: 64 };
pub const PACED: Workload = Workload::Paced { members: 1_000, size: 64, rate: 30 };
pub const KIBIBYTE: Workload = Workload::Fanout { members: 100, size: 1_024 };
pub const HUNDRED: Workload = Workload::Fanout { members: 100, size: 64 };
pub const TEN_THOUSAND: Workload = Workload::Fanout { members: 10_000, size: 64 };
pub const LATENCY: Workload = Workload::Latency { members: 100, size: 64, rate: 0 };
pub const CONNECT: Workload = Workload::Connect { connections: 500 };
pub const IDLE: Workload = Workload::Idle { connections: 1_000 };
pub const ACKED: Workload = Workload::Acked { connections: 100 };
pub const CALLED: Workload = Workload::Called { connections: 100 };
pub const FEW_BESIDE: Workload = Workload::Beside { groups: 100, size: 64 };
pub const MANY_BESIDE: Workload = Workload::Beside { groups: 100_000, size: 64 };

const SECURE: [&str; 6] = ["fanfare", "nats", "redis", "mosquitto", "ws", "socket.io"];
/// Those that the budgets compare.
const BUDGETED: [&str; 2] = ["fanfare", "nats"];
const PLAIN: [&str; 5] = ["nats-plain", "redis-plain", "mosquitto-plain", "ws-plain", "socket.io-plain"];

/// What everybody is measured with, and compared by.
const COMPARED: [Workload; 7] = [SATURATED, PACED, KIBIBYTE, HUNDRED, LATENCY, CONNECT, IDLE];
/// The ways into Fanfare over TCP.
const DOORS: [&str; 3] = ["fanfare-websocket", "fanfare-json", "fanfare-msgpack"];
/// What Fanfare alone is measured with, for how costs grow.
const GROWTH: [Workload; 3] = [TEN_THOUSAND, FEW_BESIDE, MANY_BESIDE];

/// One round of what the budgets need: of each budget, both sides.
fn round(peers: &[&'static str]) -> [Part; 4] {
    [
        Part { rounds: 1, peers: peers.to_vec(), cells: COMPARED.to_vec() },
        Part { rounds: 1, peers: vec!["fanfare"], cells: GROWTH.to_vec() },
        Part { rounds: 1, peers: DOORS.to_vec(), cells: vec![SATURATED, PACED, IDLE] },
        Part { rounds: 1, peers: vec!["fanfare-application"], cells: vec![ACKED, CALLED] },
    ]
}

impl Mode {
    /// What it stands for; `rounds` instead of its own number.
    #[must_use]
    pub fn plan(self, rounds: Option<u32>) -> Plan {
        Plan { parts: self.parts(rounds), times: self.times() }
    }

    fn parts(self, rounds: Option<u32>) -> Vec<Part> {
        match self {
            Self::Full => {
                // Fanfare and NATS in five, because single rounds differ by a tenth; the others between them.
                let peers = |number: u32| match rounds {
                    None if number.is_multiple_of(2) => BUDGETED.as_slice(),
                    _ => SECURE.as_slice(),
                };
                let mut parts: Vec<_> =
                    (0..rounds.unwrap_or(5)).flat_map(|number| round(peers(number))).collect();
                parts.extend([
                    Part {
                        rounds: 1,
                        peers: SECURE.to_vec(),
                        cells: vec![
                            Workload::Fanout { members: 100, size: 16 },
                            Workload::Fanout { members: 100, size: 256 },
                            Workload::Fanout { members: 100, size: 16_384 },
                            Workload::Many { groups: 300, size: 64 },
                            Workload::Direct { users: 200, size: 64 },
                            Workload::Churn { members: 100, churners: 50, size: 64 },
                            Workload::Revoke { users: 100 },
                        ],
                    },
                    Part { rounds: 1, peers: PLAIN.to_vec(), cells: vec![SATURATED, PACED] },
                ]);
                parts
            }
            Self::Quick => (0..rounds.unwrap_or(1)).flat_map(|_| round(&BUDGETED)).collect(),
            Self::Check => {
                let (members, size) = (10, 64);
                let mut cells: Vec<_> =
                    [16, 64, 256, 1_024, 16_384].map(|size| Workload::Fanout { members, size }).to_vec();
                cells.extend([
                    Workload::Paced { members, size, rate: 30 },
                    Workload::Many { groups: 30, size },
                    Workload::Direct { users: 10, size },
                    // A rate that any machine carries, however busy: half of what a tenth of a second measured is none,
                    // and a reader that has no time is closed as a slow consumer.
                    Workload::Latency { members, size, rate: 200 },
                    Workload::Connect { connections: 20 },
                    Workload::Idle { connections: 20 },
                    Workload::Churn { members, churners: 5, size },
                    Workload::Beside { groups: 1_000, size },
                    Workload::Revoke { users: 5 },
                ]);
                let plain = Part {
                    rounds: 1,
                    peers: PLAIN.to_vec(),
                    cells: cells.get(1..2).unwrap_or_default().to_vec(),
                };
                let doors = Part {
                    rounds: 1,
                    peers: DOORS.to_vec(),
                    cells: cells.iter().copied().filter(|cell| !cell.is_fanfares()).collect(),
                };
                let connections = 5;
                let requests = Part {
                    rounds: 1,
                    peers: vec!["fanfare-application"],
                    cells: vec![Workload::Acked { connections }, Workload::Called { connections }],
                };
                let all = Part { rounds: rounds.unwrap_or(1), peers: SECURE.to_vec(), cells };
                vec![all, doors, requests, plain]
            }
        }
    }

    fn times(self) -> Times {
        let milliseconds = Duration::from_millis;
        match self {
            Self::Full => Times {
                saturated: milliseconds(1_200),
                paced: milliseconds(2_500),
                idle: milliseconds(2_000),
            },
            Self::Quick => Times {
                saturated: milliseconds(1_500),
                paced: milliseconds(3_000),
                idle: milliseconds(2_000),
            },
            Self::Check => {
                Times { saturated: milliseconds(100), paced: milliseconds(200), idle: milliseconds(50) }
            }
        }
    }
}

/// What to leave out.
#[derive(Debug, Default)]
pub struct Choice {
    /// Only these peers.
    pub peers: Vec<String>,
    /// Only cells whose names have one of these texts in them.
    pub cells: Vec<String>,
    /// A peer that is not installed is left out, and not an error.
    pub lenient: bool,
}

impl Choice {
    fn takes(&self, peer: &str, workload: Workload) -> bool {
        let peers = self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == peer);
        let name = workload.name();
        let cells = self.cells.is_empty() || self.cells.iter().any(|wanted| name.contains(wanted.as_str()));
        peers && cells && (peer.starts_with("fanfare") || !workload.is_fanfares())
    }
}

/// Measures. `progress` is told what comes next.
///
/// # Errors
/// When a message was lost, double or out of order, and when a peer is missing or does not start.
pub async fn run(plan: Plan, choice: &Choice, places: &Places, progress: impl Fn(&str)) -> Fallible<Results> {
    let mut results = Results { machine: machine::described(), ..Results::default() };
    let mut absent: Vec<&str> = Vec::new();
    let Plan { parts, times } = plan;
    let total: u32 = parts
        .iter()
        .map(|part| {
            let cells = part.cells.iter().flat_map(|cell| part.peers.iter().map(move |peer| (peer, *cell)));
            part.rounds
                * u32::try_from(cells.filter(|(peer, cell)| choice.takes(peer, *cell)).count()).unwrap_or(0)
        })
        .sum();
    let mut step = 0;
    for Part { rounds, peers, cells } in parts {
        for _ in 0..rounds {
            for cell in &cells {
                for peer in peers.iter().copied().filter(|peer| choice.takes(peer, *cell)) {
                    step += 1;
                    progress(&format!("{step} of {total}: {} on {peer}", cell.name()));
                    if absent.contains(&peer) {
                        continue;
                    }
                    let Some(workload) = ready(*cell, peer, &results) else {
                        let why = format!("{} on {peer}: it cannot keep up with that rate", cell.name());
                        if !results.missing.contains(&why) {
                            results.missing.push(why);
                        }
                        continue;
                    };
                    match workload.run(peer, places, times).await {
                        Ok(found) => results.take(&cell.name(), peer, &found),
                        Err(error @ Error::Missing { .. }) if choice.lenient => {
                            results.missing.push(format!("{peer}: {error}"));
                            absent.push(peer);
                        }
                        Err(error) => {
                            return Err(Error::Wrong(format!("{} on {peer}: {error}", cell.name())));
                        }
                    }
                    if !results.versions.contains_key(peer) {
                        let directory = tempfile::tempdir()
                            .map_err(|source| Error::Io { what: "making a directory".to_owned(), source })?;
                        let launch =
                            peers::peer(peer, places, directory.path())?.launch(directory.path(), 0)?;
                        results.versions.insert(peer.to_owned(), process::version(&launch));
                    }
                }
            }
        }
    }
    Ok(results)
}

/// With the rate that this run's figures give: half of what the slower of Fanfare and NATS does with this group. `None`
/// for a peer for which that is too much.
fn ready(cell: Workload, peer: &str, results: &Results) -> Option<Workload> {
    let Workload::Latency { members, size, rate: 0 } = cell else { return Some(cell) };
    let saturated = Workload::Fanout { members, size }.name();
    let fastest = |peer: &str| results.median(&saturated, peer, "per_s");
    let half = match (fastest("fanfare"), fastest("nats")) {
        (Some(one), Some(other)) => one.min(other) / 2.0,
        (Some(one), None) | (None, Some(one)) => one / 2.0,
        (None, None) => 200.0 * f64::from(members),
    };
    if fastest(peer).is_some_and(|own| own < half * 1.2) {
        return None;
    }
    Some(Workload::Latency { members, size, rate: ((half / f64::from(members)) as u32).max(1) })
}
