//! Nodes, each with a real hub, in a world that is all in memory and in simulated time: messages that are slow, get
//! lost or come twice, ways that are cut, processes that stand still and go on, that crash and come anew, watches that
//! lag and fall silent. Everything random comes from a seed; each seed is one run.
//!
//! `FANFARE_SEEDS=n` says how many are run, `FANFARE_FIRST=n` from which on; `FANFARE_SEED=n` runs that one alone and
//! prints what happens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say where"
)]

#[path = "simulation/calls.rs"]
mod calls;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/decisions.rs"]
mod decisions;
#[path = "simulation/door.rs"]
mod door;
#[path = "simulation/event.rs"]
mod event;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/lasting.rs"]
mod lasting;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/net.rs"]
mod net;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/notices.rs"]
mod notices;
#[path = "simulation/taking.rs"]
mod taking;
#[path = "simulation/time.rs"]
mod time;
#[path = "simulation/told.rs"]
mod told;
#[path = "simulation/users.rs"]
mod users;
#[path = "simulation/world.rs"]
mod world;

use self::world::{Options, Summary};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

/// So many that failed are enough.
const ENOUGH: usize = 20;

/// Runs seeds. Gives what they were like together, and those that failed.
fn run(seeds: u64, options: Options) -> (Summary, Vec<String>) {
    let (mut sum, mut failed) = (Summary::default(), Vec::new());
    let first = number("FANFARE_FIRST").unwrap_or(0);
    for seed in first..first + seeds {
        match world::run(seed, options) {
            Ok(summary) => sum = sum.plus(&summary),
            Err(violation) => failed.push(violation),
        }
        if failed.len() == ENOUGH {
            break;
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
    assert!(failed.is_empty(), "seeds failed; FANFARE_SEED=n replays one:\n{}", failed.join("\n"));
}

/// Where nothing is disturbed nothing is missing, nobody is removed, and every fence closes; nodes come and go.
#[test]
fn in_peace_nothing_is_lost_and_nobody_is_removed() {
    let options =
        Options { is_calm: true, is_traced: number("FANFARE_TRACE").is_some(), ..Options::default() };
    let (sum, failed) = run(number("FANFARE_SEEDS").unwrap_or(20), options);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!((sum.missed, sum.removes, sum.open_fences), (0, 0, 0));
    assert!(sum.closed_fences > 0 && sum.taken > 0);
}

/// The world is broken on purpose, and it is noticed.
fn is_noticed(options: Options) {
    is_noticed_of("", options);
}

/// The same, by a violation that says this.
fn is_noticed_of(what: &str, options: Options) {
    // The eighth is the first, at a node that serves without the lease.
    let is_first = |violation: &str| violation.contains("invariant 1:") || violation.contains("invariant 8:");
    let is_it = |violation: String| is_first(&violation) && violation.contains(what);
    let seeds = number("FANFARE_SEEDS").unwrap_or(2_000);
    let is_found = (0..seeds).any(|seed| world::run(seed, options).is_err_and(is_it));
    assert!(is_found, "{seeds} seeds, and nothing was noticed");
}

#[test]
fn a_fence_that_takes_the_acknowledgement_for_it_is_noticed() {
    let options = Options { ack_is_fence: true, ..Options::default() };
    is_noticed_of("banned at", options);
    is_noticed_of("is forbidden", options);
}

/// A server puts it again over what was decided meanwhile, and must not let in again whom that refuses.
#[test]
fn a_sign_out_that_is_put_again_for_an_earlier_moment_is_noticed() {
    is_noticed_of("is forbidden", Options { keeps_moment: true, ..Options::default() });
}

#[test]
fn a_node_that_delivers_without_the_lease_is_noticed() {
    is_noticed(Options { always_delivers: true, ..Options::default() });
}

#[test]
fn a_watch_that_does_not_wait_for_what_is_behind_is_noticed() {
    is_noticed(Options { ignores_backlog: true, ..Options::default() });
}
