//! Real processes of a cluster under faults: three machines, each with a NATS server and a node, and whoever is on
//! them.
//!
//! In: `FANFARE_CYCLES` (how many faults, one after the other; 4), `FANFARE_SEED` (which), `FANFARE_SERVES` (the number
//! of a node that goes on where it is cut off; none), `FANFARE_BIN` (the server), `FANFARE_NATS_SERVER`. Out: a line
//! for each cycle, what did not hold, and a failure where something did not. Each machine is a network namespace
//! (`machines`); `crowd` are senders, who watch the groups, members and the banned, `operators` revoke and restore,
//! `faults` kill, end, cut, stop and slow down, and `rest` looks at what must hold when all is whole again, `views` at
//! what of it the nodes show.
//! Invariant: it is to be run by `tests/cluster/run`, in namespaces of its own, so that nothing is left of it, however
//! it ends; all processes share a clock, so that times can be compared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on should fail on the spot, and what it finds is what it prints"
)]

mod crowd;
mod faults;
mod machines;
mod operators;
mod record;
mod rest;
mod views;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::crowd::Crowd;
use crate::machines::Machines;
use crate::operators::Operators;
use crate::record::Record;

/// How many machines there are.
pub(crate) const MACHINES: usize = 3;
/// How many groups.
pub(crate) const GROUPS: usize = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, and it is {text:?}")))
}

/// Ends everything when it takes too long, or is told to end: the kernel ends all processes in the namespace of this
/// one, which as its first would not hear of a signal that it does not ask for.
fn watch_over(longest: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(longest);
        eprintln!("FAULT: it takes longer than {longest:?}");
        std::process::exit(1);
    });
    tokio::spawn(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let cycles = number("FANFARE_CYCLES").unwrap_or(4);
    let seed = number("FANFARE_SEED").unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    println!("FANFARE_CYCLES={cycles} FANFARE_SEED={seed}");
    watch_over(Duration::from_secs(120 + cycles * 120));
    let mut random = StdRng::seed_from_u64(seed);
    let serves = number("FANFARE_SERVES").map(|node| usize::try_from(node).unwrap());
    if let Some(node) = serves {
        assert!(node < MACHINES, "FANFARE_SERVES is to be the number of a node, and there are {MACHINES}");
        println!("FANFARE_SERVES={node}: it goes on where it is cut off");
    }
    let mut machines = match Machines::start(serves) {
        Ok(machines) => machines,
        Err(error) => {
            eprintln!("NOT TESTED: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("three machines in {}", machines.folder().display());
    let record = Arc::new(Record::default());
    let crowd = Crowd::come(&machines, &record).await;
    let operators = Operators::begin(&machines, &record, seed);
    let begun = Instant::now();
    // Before anything is broken it must be as it is afterwards.
    rest::look(&mut machines, &crowd, &operators, &record, "nothing").await;
    for cycle in 1..=cycles {
        crowd.go_on();
        operators.go_on();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut broken = vec![faults::Fault::at_random(&mut random)];
        if random.random_ratio(1, 4) {
            broken.push(faults::Fault::at_random(&mut random));
        }
        let what = broken.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let leader = Machines::leader();
        for fault in &broken {
            if let Err(problem) = fault.begin(&mut machines, leader) {
                record.fault(format!("{what}: {problem}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(2_000..9_000))).await;
        for ended in machines.raise() {
            record.fault(format!("{what}: {ended}"));
        }
        machines.heal();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let summary = rest::look(&mut machines, &crowd, &operators, &record, &what).await;
        println!("{cycle:3} {:5.0}s {what}: {summary}", begun.elapsed().as_secs_f64());
    }
    let faults = record.faults();
    println!(
        "{cycles} cycles in {:.0} s with seed {seed}: {}; {} faults",
        begun.elapsed().as_secs_f64(),
        record.totals(),
        faults.len()
    );
    for fault in &faults {
        println!("FAULT {fault}");
    }
    if faults.is_empty() {
        machines.clean();
        return ExitCode::SUCCESS;
    }
    println!("the logs are in {}", machines.folder().display());
    ExitCode::FAILURE
}
