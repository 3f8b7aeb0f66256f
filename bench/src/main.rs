//! `fanfare-bench`: the command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fanfare_bench::back_end::{self, Load};
use fanfare_bench::error::{Fallible, Tried, wrong};
use fanfare_bench::figures::Results;
use fanfare_bench::peers::{NAMES, Places};
use fanfare_bench::plan::{self, Choice, Mode, Plan};
use fanfare_bench::workloads::Workload;
use fanfare_bench::workloads::nodes::Nodes;
use fanfare_bench::workloads::soak::Soak;
use fanfare_bench::workloads::webhooks::Webhooks;
use fanfare_bench::{application, report, table};
use serde::Serialize;

/// Measures Fanfare beside NATS, Redis, mosquitto, ws and Socket.IO; every run checks that every message arrived once
/// and in order
#[derive(Parser)]
#[command(name = "fanfare-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run workloads on peers, and print tables of figures and of the budgets
    Run(Run),
    /// Run one workload with numbers of your own: how a hub does with groups and messages like yours
    One(One),
    /// Mixed traffic over many connections for minutes: nothing may get lost, memory may not grow
    Soak(SoakArguments),
    /// What back ends cost over the HTTP API: one send in each request, and a thousand
    Api(ApiArguments),
    /// A back end that is told by webhooks and is down a third of the time: nothing may get lost, memory may not grow
    Webhooks(WebhooksArguments),
    /// What it costs that a group's members are on several nodes; `FANFARE_NATS_SERVER` names the NATS between them
    Nodes(NodesArguments),
    /// What calls are measured on
    #[command(hide = true)]
    ServeApplication { listen: std::net::SocketAddr },
    /// Make the report anew from the files in its directory
    Report {
        /// Where the report is
        #[arg(long, default_value = "docs/benchmarks", value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Args)]
struct Where {
    /// The server to measure; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// The scripts of the peers that run on Node, with their `node_modules`
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    scripts: PathBuf,
    /// A further flag of `fanfare serve`, as in --flag=--outbox-frames=64; may be given more than once
    #[arg(long = "flag", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Write the results to this file, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Run {
    /// How much
    #[arg(long, value_enum, default_value = "quick")]
    mode: Mode,
    /// Only this peer; may be given more than once
    #[arg(long = "peer", value_name = "NAME", value_parser = NAMES)]
    peers: Vec<String>,
    /// Only workloads whose names have this text in them, as in `fanout 1000`; may be given more than once
    #[arg(long = "only", value_name = "TEXT")]
    cells: Vec<String>,
    /// How often, instead of the mode's own number
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Leave out what is not installed, instead of failing
    #[arg(long)]
    lenient: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Args)]
struct One {
    /// On this peer, by default on Fanfare and NATS; may be given more than once
    #[arg(long = "peer", value_name = "NAME", value_parser = NAMES)]
    peers: Vec<String>,
    /// How often
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each time, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Args)]
struct SoakArguments {
    /// Connections, in three groups each
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    connections: u32,
    /// How long the traffic lasts, in seconds
    #[arg(long, default_value_t = 1_200, value_name = "SECONDS")]
    seconds: u64,
    /// Messages a second to groups of ten
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    #[command(flatten)]
    place: Where,
}

#[derive(Args)]
struct WebhooksArguments {
    /// Connections at a time
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Joins and leaves a second, of all together
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How long events happen, in seconds
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..))]
    seconds: u64,
    #[command(flatten)]
    place: Where,
}

#[derive(Args)]
struct NodesArguments {
    /// Members of the group
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    members: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=60_000))]
    size: u32,
    /// How often
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each layout is measured each time, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Messages a second, the same for each layout; without it, as many as go
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: Option<u32>,
    /// Worker threads of each server; by default a layout's servers share the machine's processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    workers: Option<u32>,
    #[command(flatten)]
    place: Where,
}

#[derive(Args)]
struct ApiArguments {
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=60))]
    connections: u16,
    /// How long each way of sending is measured, in seconds
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    place: Where,
}

impl Where {
    fn places(&self) -> Fallible<Places> {
        let fanfare = match &self.server {
            Some(server) => server.clone(),
            None => std::env::current_exe().tried("looking for the server")?.with_file_name("fanfare"),
        };
        if !fanfare.is_file() {
            let path = fanfare.display();
            return Err(wrong(format!(
                "there is no server at {path}: cargo build --release, or --server FILE"
            )));
        }
        // The servers run in directories of their own.
        let whole = |path: &Path| std::path::absolute(path).tried("finding the way");
        Ok(Places { fanfare: whole(&fanfare)?, scripts: whole(&self.scripts)?, flags: self.flags.clone() })
    }

    fn keep(&self, results: &impl Serialize) -> Fallible<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(results).tried("writing the results")?;
        std::fs::write(path, text + "\n").tried(format!("writing {}", path.display()))
    }
}

/// Ten thousand QUIC clients have ten thousand buffers of 3 MiB, of which they touch a few pages. glibc gives them
/// straight from the system only as long as none was freed; behind that it clears them by hand, and 30 GiB are in use.
/// It can be told so at a process's start alone.
const BUFFERS_FROM_THE_SYSTEM: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1048576");

/// Starts this program anew with what its memory needs, unless that was said already.
#[cfg(target_os = "linux")]
fn begin_again() {
    use std::os::unix::process::CommandExt;
    let (name, value) = BUFFERS_FROM_THE_SYSTEM;
    if std::env::var_os(name).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        // Returns only where it failed, and then small crowds do as well without.
        let _ = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
    }
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    begin_again();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(perform(arguments.command)),
        Err(error) => Err(wrong(format!("no runtime: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Those that one workload runs on where nothing is said.
const DEFAULT: [&str; 2] = ["fanfare", "nats"];

fn progress(step: &str) {
    eprintln!("{step}");
}

/// Runs a plan, prints what it found, and keeps it where that was asked for.
async fn measure(plan: Plan, choice: &Choice, place: &Where) -> Fallible<()> {
    let mut results: Results = Box::pin(plan::run(plan, choice, &place.places()?, progress)).await?;
    // As it can be typed again, but for where things are on this machine.
    let shown = |word: String| match word.rsplit_once('=') {
        Some((flag, path)) if path.starts_with('/') => format!("{flag}=FILE"),
        _ if word.starts_with('/') => "FILE".to_owned(),
        _ => word,
    };
    let words: Vec<String> = std::env::args().skip(1).map(shown).collect();
    results.command = format!("fanfare-bench {}", words.join(" "));
    print!("{}", table::printed(&results));
    place.keep(&results)
}

async fn perform(command: Command) -> Fallible<()> {
    match command {
        Command::Run(run) => {
            let choice = Choice { peers: run.peers, cells: run.cells, lenient: run.lenient };
            measure(run.mode.plan(run.rounds), &choice, &run.place).await
        }
        Command::One(one) => {
            let wanted = |name: &&str| {
                one.peers.is_empty() && DEFAULT.contains(name) || one.peers.iter().any(|peer| peer == name)
            };
            let peers = NAMES.into_iter().filter(wanted).collect();
            let plan = Plan::single(one.workload, peers, one.rounds, Duration::from_secs(one.seconds));
            measure(plan, &Choice::default(), &one.place).await
        }
        Command::Soak(arguments) => {
            let places = arguments.place.places()?;
            let lasting = Duration::from_secs(arguments.seconds);
            let soak = Soak { connections: arguments.connections, lasting, rate: arguments.rate };
            let soaked = Box::pin(soak.run(&places, progress)).await?;
            println!(
                "{} connections, {:.0} s: {} deliveries and {} changes, all as they must be; memory {:.1} MiB after the first minute, {:.1} MiB at the end, {:+.3} MiB a minute; {:.0} % of a core",
                soaked.connections,
                soaked.seconds,
                soaked.deliveries,
                soaked.changes,
                soaked.after_first_minute / 1_048_576.0,
                soaked.at_end / 1_048_576.0,
                soaked.slope_per_minute / 1_048_576.0,
                soaked.cpu_percent
            );
            arguments.place.keep(&soaked)
        }
        Command::Api(arguments) => {
            let places = arguments.place.places()?;
            let lasting = Duration::from_secs(arguments.seconds);
            let load = Load { connections: arguments.connections.into(), lasting };
            let costs = back_end::run(&places.fanfare, load).await?;
            for cost in &costs {
                println!(
                    "{:>4} in a request: {:>7.0} requests/s, {:>8.0} sends/s, {:.2} us of a processor for a send ({:.0} a second on one), answers {} us, 99 % within {} us",
                    cost.sends_per_request,
                    cost.requests_per_second,
                    cost.sends_per_second,
                    cost.cpu_us,
                    1e6 / cost.cpu_us,
                    cost.p50_us,
                    cost.p99_us
                );
            }
            arguments.place.keep(&costs)
        }
        Command::Webhooks(arguments) => {
            let places = arguments.place.places()?;
            let lasting = Duration::from_secs(arguments.seconds);
            let soak = Webhooks { connections: arguments.connections, rate: arguments.rate, lasting };
            let told = Box::pin(soak.run(&places.fanfare, progress)).await?;
            println!(
                "{} connections, {:.0} s: {} events, all in order, {} of them more than once, {} requests refused; memory {:.1} MiB after the first minute, {:.1} MiB at the end, {:+.3} MiB a minute",
                told.connections,
                told.seconds,
                told.events,
                told.again,
                told.refused,
                told.after_first_minute / 1_048_576.0,
                told.at_end / 1_048_576.0,
                told.slope_per_minute / 1_048_576.0
            );
            arguments.place.keep(&told)
        }
        Command::Nodes(arguments) => {
            let places = arguments.place.places()?;
            let NodesArguments { members, size, rounds, seconds, rate, workers, .. } = arguments;
            let (size, lasting) = (size as usize, Duration::from_secs(seconds));
            let nodes = Nodes { members, size, rounds, lasting, rate, workers };
            let costs = Box::pin(nodes.run(&places, progress)).await?;
            let alone = costs.first().map_or(f64::NAN, |cost| cost.servers_us);
            for cost in &costs {
                println!(
                    "{:<7} {:>9.0} deliveries/s, {:.3} us of the servers for each, {:.2} of what one server needs, and {:.3} us of NATS",
                    format!("{:?}", cost.layout),
                    cost.per_second,
                    cost.servers_us,
                    cost.servers_us / alone,
                    cost.nats_us
                );
            }
            arguments.place.keep(&costs)
        }
        Command::ServeApplication { listen } => application::serve(listen).await,
        Command::Report { directory } => report::make(&directory),
    }
}
