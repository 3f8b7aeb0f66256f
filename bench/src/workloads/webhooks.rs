//! An application that is told by webhooks, and is down a third of the time: no event may be lost or out of order, and
//! memory may not grow.
//!
//! In: how many connections, how many events a second, how long. Out: how many events came, and how memory moved.
//! Connections join and leave groups, end, and come again; what each did is compared with what the back end took of it,
//! one by one and in order. In each minute the back end refuses for ten seconds, and for ten more it is not there.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_client::{Client, ClientConfig, Roots};
use fanfare_protocol::{Credential, UserName};
use parking_lot::Mutex;
use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::soak::{ends, slope};
use crate::error::{Fallible, Tried, wrong};
use crate::peer::Launch;
use crate::process::Server;

/// How long the last events may take, behind the longest pause between two attempts.
const TOLD: Duration = Duration::from_secs(180);

/// A minute of the back end's: it is well, refuses, or is not there.
const MINUTE: Duration = Duration::from_secs(60);
const WELL: Duration = Duration::from_secs(40);
const REFUSES: Duration = Duration::from_secs(50);

/// How many changes a connection makes until it ends.
const CHANGES: u32 = 40;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Webhooks {
    /// Connections at a time.
    pub connections: u32,
    /// Joins and leaves a second, of all together.
    pub rate: u32,
    /// How long.
    pub lasting: Duration,
}

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// How long events happened.
    pub seconds: f64,
    /// Events that came, each of them, in the order of its connection.
    pub events: u64,
    /// Of those, how often one came again: once is enough, and at least once is what is promised.
    pub again: u64,
    /// Connections that there were.
    pub connections: u64,
    /// How often a request was refused or found nobody.
    pub refused: u64,
    /// Resident memory of the server: seconds since the start, bytes.
    pub memory: Vec<(f64, f64)>,
    /// Bytes a minute, by least squares over all but the first minute.
    pub slope_per_minute: f64,
    /// Resident memory after the first minute and at the end, medians of ten seconds.
    pub after_first_minute: f64,
    /// See `after_first_minute`.
    pub at_end: f64,
}

/// What the back end took: of each connection, in its order.
#[derive(Default)]
struct Taken {
    of: HashMap<String, Vec<String>>,
    seen: HashSet<String>,
    again: u64,
    refused: u64,
}

/// What each connection did.
type Done = Arc<Mutex<HashMap<String, Vec<String>>>>;

impl Webhooks {
    /// Does it.
    ///
    /// # Errors
    /// When anything is lost or out of order, or the server ends.
    pub async fn run(self, program: &Path, progress: impl Fn(&str)) -> Fallible<Told> {
        let home = TempDir::with_prefix("fanfare-bench-").tried("making a directory")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.tried("listening")?;
        let address = listener.local_addr().tried("listening")?;
        let (taken, begun) = (Arc::new(Mutex::new(Taken::default())), Instant::now());
        let back_end = tokio::spawn(back_end(listener, Arc::clone(&taken), begun));
        write_settings(program, home.path(), &format!("http://{address}/")).await?;
        let launch = Launch::program(&program.display().to_string(), "cargo build --release")
            .says("ready")
            .arguments([
                "serve",
                "--dev",
                "--listen=127.0.0.1:0",
                "--admin-listen=off",
                "--http-listen=off",
                "--state-dir=state",
                "--webhooks=webhooks.toml",
                "--log=error",
            ]);
        let server = Server::start(&launch, home.path(), 0).await?;
        let listens = server.ready.split(' ').find_map(|word| word.strip_prefix("quic="));
        let listens = listens.ok_or_else(|| wrong("the ready line has no quic="))?.to_owned();

        let done = Done::default();
        let mut clients = JoinSet::new();
        let roots = home.path().join("state/ca.pem");
        let pace = Duration::from_secs(1) * self.connections / self.rate;
        for number in 0..self.connections {
            let user = UserName::new(&format!("user-{number}")).tried("naming a user")?;
            let config = ClientConfig::new(listens.clone(), Credential::DevUser(user))
                .roots(Roots::Pem(roots.clone()));
            clients.spawn(live(config, Arc::clone(&done), pace, begun + self.lasting));
        }
        let (mut memory, mut looks) = (Vec::new(), tokio::time::interval(Duration::from_secs(1)));
        while begun.elapsed() < self.lasting {
            looks.tick().await;
            memory.push((begun.elapsed().as_secs_f64(), server.memory()?));
            if memory.len() % 60 == 1 {
                let mib = memory.last().map_or(0.0, |(_, bytes)| bytes / 1_048_576.0);
                let (minutes, came) = (begun.elapsed().as_secs() / 60, taken.lock().seen.len());
                progress(&format!("minute {minutes}: {mib:.1} MiB, {came} events came"));
            }
        }
        while let Some(lived) = clients.join_next().await {
            lived.tried("a client's task ended")??;
        }
        let due = done.lock().clone();
        let whole: usize = due.values().map(Vec::len).sum();
        let deadline = Instant::now() + TOLD;
        while taken.lock().of.values().map(Vec::len).sum::<usize>() < whole && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        server.stop().await?;
        back_end.abort();
        let taken = std::mem::take(&mut *taken.lock());
        compare(&due, &taken.of)?;
        let settling = self.lasting.as_secs_f64().min(180.0) / 3.0;
        let settled: Vec<_> = memory.iter().copied().filter(|(at, _)| *at >= settling).collect();
        let slope = slope(&settled).ok_or_else(|| wrong("too short to see how memory moves"))?;
        let (after_first_minute, at_end) = ends(&settled);
        Ok(Told {
            seconds,
            events: whole as u64,
            again: taken.again,
            connections: due.len() as u64,
            refused: taken.refused,
            memory,
            slope_per_minute: slope * 60.0,
            after_first_minute,
            at_end,
        })
    }
}

/// Whether of each connection exactly that came that it did, in its order.
fn compare(due: &HashMap<String, Vec<String>>, taken: &HashMap<String, Vec<String>>) -> Fallible<()> {
    for (connection, due) in due {
        let taken = taken.get(connection).map(Vec::as_slice).unwrap_or_default();
        if taken == due {
            continue;
        }
        let at = due.iter().zip(taken).take_while(|(due, taken)| due == taken).count();
        let (due, taken) = (due.get(at), taken.get(at));
        return Err(wrong(format!("event {at} of connection {connection} is {due:?}, and {taken:?} came")));
    }
    match taken.keys().find(|connection| !due.contains_key(*connection)) {
        Some(connection) => Err(wrong(format!("connection {connection} was told of, and nobody was that"))),
        None => Ok(()),
    }
}

/// A secret, and what the server is told.
async fn write_settings(program: &Path, home: &Path, url: &str) -> Fallible<()> {
    let made = Command::new(program).args(["webhook", "secret"]).stdin(Stdio::null()).output().await;
    let secret = home.join("secret");
    std::fs::write(&secret, made.tried("making a secret")?.stdout).tried("writing the secret")?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, private).tried("writing the secret")?;
    let text = format!(
        "[[webhook]]\nname = \"bench\"\nurl = \"{url}\"\nsecrets = [\"secret\"]\n\
         events = [\"joined\", \"left\", \"disconnected\"]\n"
    );
    std::fs::write(home.join("webhooks.toml"), text).tried("writing the webhooks")
}

/// One user: it connects, joins, leaves, ends, and comes again.
async fn live(config: ClientConfig, done: Done, pace: Duration, until: Instant) -> Fallible<()> {
    let mut turns = tokio::time::interval(pace);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while Instant::now() < until {
        let client = Client::connect(config.clone()).await.tried("connecting")?;
        let id = client.connection_id().to_string();
        let reads = tokio::spawn({
            let client = client.clone();
            async move { while client.next().await.is_some() {} }
        });
        let (mut did, mut groups) = (Vec::new(), Vec::<String>::new());
        for _ in 0..CHANGES {
            turns.tick().await;
            if Instant::now() >= until {
                break;
            }
            let leaves = groups.len() >= 3 || (!groups.is_empty() && fastrand::bool());
            if leaves {
                let group = groups.swap_remove(fastrand::usize(..groups.len()));
                client.leave(group.as_str()).await.tried("leaving")?;
                did.push(format!("left {group}"));
            } else {
                let group = format!("group-{}", fastrand::u32(..100));
                if groups.contains(&group) {
                    continue;
                }
                client.join(group.as_str()).await.tried("joining")?;
                did.push(format!("joined {group}"));
                groups.push(group);
            }
        }
        // One that ends in no group, so that the order of its last events is known.
        for group in groups {
            client.leave(group.as_str()).await.tried("leaving")?;
            did.push(format!("left {group}"));
        }
        client.close().await.tried("closing")?;
        let _ = reads.await;
        did.push("disconnected ".to_owned());
        done.lock().insert(id, did);
    }
    Ok(())
}

/// The back end: well for forty seconds of each minute; then it refuses, and then it is not there.
async fn back_end(listener: TcpListener, taken: Arc<Mutex<Taken>>, begun: Instant) {
    let mut serving = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        if state(begun).is_none() {
            taken.lock().refused += 1;
            continue;
        }
        serving.spawn(serve(socket, Arc::clone(&taken), begun));
        while serving.try_join_next().is_some() {}
    }
}

/// Whether it is well at this moment; `None` where it is not there.
fn state(begun: Instant) -> Option<bool> {
    let at = Duration::from_secs(begun.elapsed().as_secs() % MINUTE.as_secs());
    if at < WELL {
        Some(true)
    } else if at < REFUSES {
        Some(false)
    } else {
        None
    }
}

/// Answers one connection's requests until it ends, or the back end goes.
async fn serve(socket: TcpStream, taken: Arc<Mutex<Taken>>, begun: Instant) -> Fallible<()> {
    let mut stream = BufReader::new(socket);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await.tried("reading a request")? == 0 {
                return Ok(());
            }
            let field = line.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length: ") {
                length = value.parse().tried("reading a length")?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.tried("reading a request")?;
        let status = match state(begun) {
            Some(true) => {
                take(&mut taken.lock(), &body)?;
                "204 No Content"
            }
            Some(false) => {
                taken.lock().refused += 1;
                "503 Service Unavailable"
            }
            None => {
                taken.lock().refused += 1;
                return Ok(());
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).await.tried("answering")?;
    }
}

fn take(taken: &mut Taken, body: &[u8]) -> Fallible<()> {
    let event: serde_json::Value = serde_json::from_slice(body).tried("reading an event")?;
    let text =
        |name: &str| event.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let number = event.get("sequence").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if !taken.seen.insert(format!("{number}")) {
        taken.again += 1;
        return Ok(());
    }
    let did = format!("{} {}", text("type"), text("group"));
    taken.of.entry(text("connection")).or_default().push(did);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_double_or_out_of_order_is_told() {
        let of = |events: &[&str]| {
            HashMap::from([(
                "c".to_owned(),
                events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>(),
            )])
        };
        let due = of(&["joined a", "left a"]);
        compare(&due, &due).unwrap();
        for taken in [&["joined a"][..], &["left a", "joined a"], &["joined a", "left a", "left a"], &[]] {
            assert!(compare(&due, &of(taken)).is_err(), "{taken:?}");
        }
        assert!(compare(&HashMap::new(), &due).is_err());
    }
}
