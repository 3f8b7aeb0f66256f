//! What back ends cost over the HTTP API: one send in each request, and many in each.
//!
//! In: the server's program, how many connections, how long. Out: requests and sends a second, the server's processor
//! time for each, and how long answers take. Invariant: an answer that is not what it must be is a failed run.
//!
//! Without TLS, on a development server: what is compared with (Centrifugo's API, say) is measured so, too.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::error::{Fallible, Tried, wrong};
use crate::peer::Launch;
use crate::process::Server;

/// Sends in one request, where there are many.
const BATCH: usize = 1_000;

/// How long the last answers may take.
const ANSWERED: Duration = Duration::from_secs(60);

/// What a way of sending costs.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Sends in each request.
    pub sends_per_request: usize,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Sends a second.
    pub sends_per_second: f64,
    /// The server's processor time for a send, in microseconds.
    pub cpu_us: f64,
    /// How long half of the answers took, in microseconds.
    pub p50_us: u64,
    /// How long all but one of a hundred took.
    pub p99_us: u64,
}

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections at a time, each with one request at a time.
    pub connections: usize,
    /// For how long.
    pub lasting: Duration,
}

/// Measures both ways on a server of its own.
///
/// # Errors
/// When the server does not start, or does not answer as it must.
pub async fn run(server: &Path, load: Load) -> Fallible<Vec<Cost>> {
    let home = TempDir::with_prefix("fanfare-bench-").tried("making a directory")?;
    let program = server.display().to_string();
    let launch = Launch::program(&program, "cargo build --release").says("ready").arguments([
        "serve",
        "--dev",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--http-listen=127.0.0.1:0",
        "--state-dir=state",
        "--log=error",
    ]);
    let server = Server::start(&launch, home.path(), 0).await?;
    let word = |name: &str| {
        let word = server.ready.split(' ').find_map(|word| word.strip_prefix(name));
        word.map(str::to_owned).ok_or_else(|| wrong(format!("the ready line has no {name}")))
    };
    let (address, admin) = (word("http=")?, word("admin=")?);
    let made = Command::new(&program)
        .args(["apikey", "create", "--name=bench", "--allow=send", "--state-dir=state", "--admin", &admin])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .await
        .tried("making a key")?;
    let key = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    if !made.status.success() {
        return Err(wrong(format!("no key was made: {}", String::from_utf8_lossy(&made.stderr))));
    }
    // 64 bytes to a group that nobody is in: what is measured is the way there.
    let send = format!(r#"{{"to":{{"groups":["room"]}},"event":"E","text":"{}"}}"#, "x".repeat(64));
    let one = request(&key, "/send", &send);
    let many = vec![format!(r#"{{"send":{send}}}"#); BATCH].join(",");
    let many = request(&key, "/batch", &format!(r#"{{"operations":[{many}]}}"#));
    let mut costs = Vec::new();
    for (request, sends) in [(one, 1), (many, BATCH)] {
        costs.push(measure(&server, &address, &request, sends, load).await?);
    }
    server.stop().await?;
    Ok(costs)
}

fn request(key: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /api/v1{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn measure(server: &Server, address: &str, request: &[u8], sends: usize, load: Load) -> Fallible<Cost> {
    let (before, begun) = (server.usage()?, Instant::now());
    let mut asking = JoinSet::new();
    for _ in 0..load.connections {
        let socket = TcpStream::connect(address).await.tried("connecting")?;
        socket.set_nodelay(true).tried("connecting")?;
        let (request, lasting) = (request.to_vec(), load.lasting);
        asking.spawn(async move { ask(socket, &request, sends, begun + lasting).await });
    }
    let mut times = histogram()?;
    let all = async {
        while let Some(asked) = asking.join_next().await {
            times.add(asked.tried("a back end's task ended")??).tried("adding up")?;
        }
        Ok(())
    };
    tokio::time::timeout(load.lasting + ANSWERED, all).await.tried("waiting for answers")??;
    let (after, seconds) = (server.usage()?, begun.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "they are far fewer than 2^52")]
    let (requests, each) = (times.len() as f64, sends as f64);
    Ok(Cost {
        sends_per_request: sends,
        requests_per_second: requests / seconds,
        sends_per_second: requests * each / seconds,
        cpu_us: (after.cpu_ns - before.cpu_ns) / 1_000.0 / (requests * each),
        p50_us: times.value_at_quantile(0.5),
        p99_us: times.value_at_quantile(0.99),
    })
}

/// From a microsecond to longer than a run waits.
fn histogram() -> Fallible<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).tried("a histogram")
}

/// Asks one after the other until then.
async fn ask(
    mut socket: TcpStream,
    request: &[u8],
    sends: usize,
    until: Instant,
) -> Fallible<Histogram<u64>> {
    let mut times = histogram()?;
    let mut answer = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        socket.write_all(request).await.tried("asking")?;
        answer.clear();
        let body = loop {
            if let Some(body) = body(&answer)? {
                break body;
            }
            if socket.read_buf(&mut answer).await.tried("reading an answer")? == 0 {
                return Err(wrong("the server has closed the connection"));
            }
        };
        let queued = body.windows(10).filter(|window| *window == b"\"queued\":0").count();
        if queued != sends {
            return Err(wrong(format!(
                "{queued} of {sends} sends were answered: {}",
                String::from_utf8_lossy(body)
            )));
        }
        times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(times)
}

/// The body of an answer, when all of it has come.
fn body(answer: &[u8]) -> Fallible<Option<&[u8]>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = answer.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        return Err(wrong(format!("the server answers {head} {}", String::from_utf8_lossy(body))));
    }
    let length =
        head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let length: usize = length.ok_or_else(|| wrong("an answer without its length"))?;
    Ok((body.len() >= length).then_some(body))
}
