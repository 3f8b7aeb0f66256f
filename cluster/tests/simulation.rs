//! Nodes, each with a real hub, in a world that is all in memory and in simulated time: messages that are slow, get lost
//! or come twice, ways that are cut, processes that stand still and go on, that crash and come anew, watches that lag and
//! fall silent. Everything random comes from a seed; each seed is one run.
//!
//! `FANFARE_SEEDS=n` says how many are run, `FANFARE_FIRST=n` from which on; `FANFARE_SEED=n` runs that one alone and
//! prints what happens.

#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/net.rs"]
mod net;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/time.rs"]
mod time;
#[path = "simulation/world.rs"]
mod world;

use self::world::{Options, Summary};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

/// Runs seeds. Gives what they were like together, and each that failed.
fn run(seeds: u64, options: Options) -> (Summary, Vec<String>) {
    let (mut sum, mut failed) = (Summary::default(), Vec::new());
    let first = number("FANFARE_FIRST").unwrap_or(0);
    for seed in first..first + seeds {
        match world::run(seed, options) {
            Ok(summary) => sum = sum.plus(&summary),
            Err(violation) => failed.push(violation),
        }
    }
    (sum, failed)
}

#[test]
fn promises_18_and_19_hold_whatever_goes_wrong() {
    let is_traced = number("FANFARE_SEED").is_some();
    let options = Options { is_traced, ..Options::default() };
    if let Some(seed) = number("FANFARE_SEED") {
        println!("{:?}", world::run(seed, options).expect("the seed fails"));
        return;
    }
    let (sum, failed) = run(number("FANFARE_SEEDS").unwrap_or(60), options);
    println!("{sum:?}");
    let most = if number("FANFARE_ALL").is_some() { usize::MAX } else { 20 };
    let some = failed.iter().take(most).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} seeds failed; FANFARE_SEED=n replays one:\n{some}", failed.len());
}
