//! What it costs that a group's members are on several nodes: one server alone, two that know nothing of each other
//! with half of them each and a publisher on both, two nodes with half of them each, and two with all of them on the
//! node where the publisher is not.
//!
//! In: how many members, how large, how fast, how long. Out: processor time for each delivery, of the servers and of
//! NATS. Invariant: every message arrives once and in order, or the run has failed, whichever way it goes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::TempDir;

use super::traffic::{PUBLISHER, Reach, at_rate, nothing_more, saturate};
use crate::connection::Dialer;
use crate::crowd::Crowd;
use crate::error::{Fallible, Tried};
use crate::figures::median;
use crate::harness::{certify, free_port};
use crate::peer::{Launch, Peer as _};
use crate::peers::{Fanfare, Places, Way};
use crate::process::Server;
use crate::publisher::Publisher;
use crate::wire::Topic;

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub struct Nodes {
    /// Members of the group.
    pub members: u32,
    /// Bytes of a payload.
    pub size: usize,
    /// How long each layout is measured.
    pub lasting: Duration,
    /// How often.
    pub rounds: u32,
    /// Messages a second; without it, as many as a window lets.
    pub rate: Option<u32>,
    /// Worker threads of each server; without it, a layout's servers share the machine's processors.
    pub workers: Option<u32>,
}

/// Where the members are. The publisher is on the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One server, without a cluster.
    Alone,
    /// Two servers without a cluster, half on each, and a publisher on each that sends every message: what it costs
    /// that there are two processes.
    Apart,
    /// Two nodes, half on each.
    Halves,
    /// Two nodes, all on the other.
    Other,
}

/// What a layout costs: medians of the rounds.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub layout: Layout,
    /// Deliveries a second.
    pub per_second: f64,
    /// The servers' processor time for a delivery, in microseconds.
    pub servers_us: f64,
    /// That of NATS.
    pub nats_us: f64,
}

/// What one round found.
struct Round {
    per_second: f64,
    servers_us: f64,
    nats_us: f64,
}

impl Nodes {
    /// Measures each layout as often as is asked, one after the other in each round.
    ///
    /// # Errors
    /// When something is missing, does not start, or a message does not arrive as it must.
    pub async fn run(self, places: &Places, mut progress: impl FnMut(&str)) -> Fallible<Vec<Cost>> {
        let layouts = [Layout::Alone, Layout::Apart, Layout::Halves, Layout::Other];
        let mut found: [Vec<Round>; 4] = Default::default();
        for round in 1..=self.rounds {
            for (layout, rounds) in layouts.into_iter().zip(&mut found) {
                progress(&format!("{round} of {}: {layout:?}", self.rounds));
                rounds.push(Box::pin(self.measure(layout, places)).await?);
            }
        }
        let cost = |(layout, rounds): (Layout, Vec<Round>)| {
            let median = |of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
            Cost {
                layout,
                per_second: median(|round| round.per_second),
                servers_us: median(|round| round.servers_us),
                nats_us: median(|round| round.nats_us),
            }
        };
        Ok(layouts.into_iter().zip(found).map(cost).collect())
    }

    async fn measure(self, layout: Layout, places: &Places) -> Fallible<Round> {
        let site = Site::start(layout, self.workers_of(layout), places).await?;
        let there = match layout {
            Layout::Alone => 0,
            Layout::Apart | Layout::Halves => self.members / 2,
            Layout::Other => self.members,
        };
        let mut crowd = Crowd::new(0);
        crowd.tally.expect_size(self.size);
        for (dialer, members) in site.dialers.iter().zip([self.members - there, there]) {
            let topics = vec![vec![Topic::Group(1)]; members as usize];
            crowd.connect(&site.peer, dialer, &topics).await?;
        }
        let mut publishers = Vec::new();
        for dialer in site.dialers.iter().take(if layout == Layout::Apart { 2 } else { 1 }) {
            publishers.push(Publisher::connect(&site.peer, dialer, PUBLISHER, self.size).await?);
        }
        let reach = Reach::All(self.members.into());
        let warming = self.send(&crowd, &mut publishers, reach, self.lasting / 4).await?;
        let (before, begun) = (site.used()?, Instant::now());
        let sent = self.send(&crowd, &mut publishers, reach, self.lasting).await?;
        let (after, seconds) = (site.used()?, begun.elapsed().as_secs_f64());
        nothing_more(&crowd, (warming + sent) * u64::from(self.members)).await?;
        crowd.end().await;
        drop(publishers);
        site.stop().await?;
        let deliveries = (sent * u64::from(self.members)) as f64;
        Ok(Round {
            per_second: deliveries / seconds,
            servers_us: (after.0 - before.0) / deliveries / 1_000.0,
            nats_us: (after.1 - before.1) / deliveries / 1_000.0,
        })
    }

    /// How many threads each server of a layout has. Two servers with as many as processors each would wait for each
    /// other on the same processors, and that is not what a second machine costs.
    fn workers_of(self, layout: Layout) -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let servers = if layout == Layout::Alone { 1 } else { 2 };
        let share = u32::try_from(processors / servers).unwrap_or(u32::MAX).max(1);
        self.workers.unwrap_or(share)
    }

    async fn send(
        self,
        crowd: &Crowd,
        publishers: &mut [Publisher],
        reach: Reach,
        lasting: Duration,
    ) -> Fallible<u64> {
        match self.rate {
            Some(rate) => at_rate(crowd, publishers, rate, reach, lasting).await,
            None => saturate(crowd, publishers, self.size, reach, lasting, || Topic::Group(1)).await,
        }
    }
}

/// The servers of a layout, and what carries messages between them.
struct Site {
    peer: Fanfare,
    servers: Vec<Server>,
    nats: Option<Server>,
    dialers: Vec<Dialer>,
    _directory: TempDir,
}

impl Site {
    async fn start(layout: Layout, workers: u32, places: &Places) -> Fallible<Self> {
        let directory = TempDir::with_prefix("fanfare-bench-").tried("making a directory")?;
        let roots = certify(directory.path())?;
        let peer = Fanfare::new(Way::Quic, places.fanfare.clone(), directory.path(), places.flags.clone())?;
        let workers = ["--workers".to_owned(), workers.to_string()];
        let (mut nats, mut flags) = (None, Vec::new());
        if matches!(layout, Layout::Halves | Layout::Other) {
            let port = free_port()?;
            nats = Some(start_nats(&folder(directory.path(), "nats", &[])?, port).await?);
            flags = vec!["--cluster".to_owned(), format!("nats://127.0.0.1:{port}")];
            flags.extend(["--cluster-replicas", "1", "--cluster-name"].map(str::to_owned));
        }
        let (mut servers, mut dialers) = (Vec::new(), Vec::new());
        for name in if layout == Layout::Alone { &["a"][..] } else { &["a", "b"] } {
            let home = folder(directory.path(), name, &["server.pem", "server.key", "token.key"])?;
            let port = free_port()?;
            let own = flags.last().map(|_| *name);
            let arguments = workers.iter().chain(&flags).map(String::as_str).chain(own);
            let launch = peer.launch(&home, port)?.arguments(arguments);
            servers.push(Server::start(&launch, &home, port).await?);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            dialers.push(Dialer::new(address, peer.transport(), &roots)?);
        }
        Ok(Self { peer, servers, nats, dialers, _directory: directory })
    }

    /// Processor time of the servers, and of NATS, in nanoseconds.
    fn used(&self) -> Fallible<(f64, f64)> {
        let mut servers = 0.0;
        for server in &self.servers {
            servers += server.usage()?.cpu_ns;
        }
        let nats = self.nats.as_ref().map(Server::usage).transpose()?;
        Ok((servers, nats.map_or(0.0, |usage| usage.cpu_ns)))
    }

    async fn stop(self) -> Fallible<()> {
        for server in self.servers {
            server.stop().await?;
        }
        match self.nats {
            Some(nats) => nats.stop().await,
            None => Ok(()),
        }
    }
}

/// A directory of its own, with these files.
fn folder(of: &Path, name: &str, files: &[&str]) -> Fallible<PathBuf> {
    let folder = of.join(name);
    std::fs::create_dir(&folder).tried("making a directory")?;
    for file in files {
        std::fs::copy(of.join(file), folder.join(file)).tried(format!("copying {file}"))?;
    }
    Ok(folder)
}

async fn start_nats(home: &Path, port: u16) -> Fallible<Server> {
    let program = std::env::var("FANFARE_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let port_text = port.to_string();
    let launch = Launch::program(&program, "FANFARE_NATS_SERVER=$(tests/nats-server) names one").arguments([
        "--addr",
        "127.0.0.1",
        "--port",
        &port_text,
        "--jetstream",
        "--store_dir",
        "store",
    ]);
    Server::start(&launch, home, port).await
}
