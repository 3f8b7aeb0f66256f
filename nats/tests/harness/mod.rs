//! Real `nats-server` processes on loopback: started, killed, stopped, continued, told to go.
//!
//! In: how many, and what their configuration has beside the ordinary. Out: addresses, and what JetStream says of a
//! stream. Invariants: ports are below those that the system gives to outgoing connections, so that a server that was
//! killed finds its own again; all processes end with the test.
//!
//! It needs nothing but std and tempfile, so that other crates' tests can have it with `#[path]`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot, and each takes what it needs"
)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take. A busy machine with two cores takes its time for three servers.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Some servers that know each other.
pub struct Nats {
    pub servers: Vec<Server>,
    folder: tempfile::TempDir,
}

/// One of them.
pub struct Server {
    pub name: String,
    /// What clients connect to.
    pub port: u16,
    pub route_port: u16,
    pub configuration: PathBuf,
    process: Option<Child>,
    folder: PathBuf,
}

impl Nats {
    /// One server with JetStream.
    pub fn one() -> Self {
        Self::with(1, "")
    }

    /// A cluster of three, ready to keep streams on three servers.
    pub fn three() -> Self {
        Self::with(3, "")
    }

    /// So many servers, with these lines in each one's configuration.
    pub fn with(count: usize, more: &str) -> Self {
        Self::configured(count, |server, routes| {
            let mut text = format!(
                "server_name: {}\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\", max_mem: 64M, max_file: 1G }}\n{more}\n",
                server.name,
                server.port,
                server.folder.display(),
            );
            if !routes.is_empty() {
                writeln!(
                    text,
                    "cluster {{ name: test, listen: 127.0.0.1:{}, routes: [{}] }}",
                    server.route_port,
                    routes.join(", "),
                )
                .unwrap();
            }
            text
        })
    }

    /// Servers with configurations of their own: from a server and all routes (none, where it is alone).
    pub fn configured(count: usize, text: impl Fn(&Server, &[String]) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut servers: Vec<Server> = (0..count)
            .map(|number| {
                let name = format!("n{number}");
                let own = folder.path().join(&name);
                std::fs::create_dir(&own).unwrap();
                Server {
                    port: free_port(),
                    route_port: free_port(),
                    configuration: folder.path().join(format!("{name}.conf")),
                    process: None,
                    folder: own,
                    name,
                }
            })
            .collect();
        let routes: Vec<String> = if count == 1 {
            Vec::new()
        } else {
            servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.route_port)).collect()
        };
        for server in &servers {
            std::fs::write(&server.configuration, text(server, &routes)).unwrap();
        }
        for server in &mut servers {
            server.start();
        }
        let nats = Self { servers, folder };
        for server in &nats.servers {
            server.wait();
        }
        nats
    }

    /// A folder that goes with the servers.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self, number: usize) -> String {
        format!("nats://127.0.0.1:{}", self.servers[number].port)
    }

    pub fn addresses(&self) -> Vec<String> {
        (0..self.servers.len()).map(|number| self.address(number)).collect()
    }

    /// Like a power failure of one machine: it has no time to say anything.
    pub fn kill(&mut self, number: usize) {
        self.servers[number].kill();
    }

    /// Starts one that was killed, and waits until it takes clients.
    pub fn start(&mut self, number: usize) {
        self.servers[number].start();
        self.servers[number].wait();
    }

    /// From now on it does nothing, and its connections stay.
    pub fn stop(&self, number: usize) {
        let server = &self.servers[number];
        server.signal("STOP");
        // The signal is taken by one thread after the other.
        wait_for(&format!("{} to stop", server.name), || server.is_stopped().then_some(()));
    }

    /// It goes on where it was.
    pub fn go_on(&self, number: usize) {
        self.servers[number].signal("CONT");
    }

    /// Asks its clients to go, and ends after a while.
    pub fn lame_duck(&self, number: usize) {
        self.servers[number].signal("USR2");
    }

    /// Reads its configuration again.
    pub fn reload(&self, number: usize) {
        self.servers[number].signal("HUP");
    }

    /// The number of the server that has this name.
    pub fn number(&self, name: &str) -> usize {
        self.servers.iter().position(|server| server.name == name).unwrap()
    }

    /// What JetStream says of a stream, asked of any server that runs.
    pub fn stream(&self, stream: &str) -> Option<String> {
        self.servers.iter().find_map(|server| {
            server.ask(&format!("$JS.API.STREAM.INFO.{stream}"), "").ok().filter(|text| !text.is_empty())
        })
    }

    /// The number of the server that leads a stream. Waits until there is one.
    pub fn leader(&self, stream: &str) -> usize {
        wait_for("a leader", || {
            let info = self.stream(stream)?;
            let (_, rest) = info.split_once("\"leader\":\"")?;
            Some(self.number(rest.split_once('"')?.0))
        })
    }
}

impl Server {
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.configuration.with_extension("log"))
            .unwrap();
        let child = Command::new(program())
            .arg("-c")
            .arg(&self.configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("tests/nats-server installs nats-server");
        self.process = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Also one that was stopped.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until it takes clients.
    pub fn wait(&self) {
        wait_for(&format!("{} to listen", self.name), || {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            line.starts_with("INFO").then_some(())
        });
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.configuration.with_extension("log")).unwrap_or_default()
    }

    /// Whether it still has a connection whose client has left (`CLOSE_WAIT` in Linux's table).
    pub fn has_what_was_left(&self) -> bool {
        let own = format!("0100007F:{:04X}", self.port);
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| own == local);
            local && fields.nth(1) == Some("08")
        })
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("a server that runs").id();
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(process.to_string()).status().unwrap();
        assert!(status.success());
    }

    fn is_stopped(&self) -> bool {
        let process = self.process.as_ref().expect("a server that runs").id();
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        tasks.flatten().all(|task| {
            let status = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        })
    }

    /// Asks a question over a connection of its own: the answer, or what came instead. Without credentials.
    pub fn ask(&self, subject: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let question = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB _INBOX.t 1\r\nPUB {subject} _INBOX.t {}\r\n{body}\r\n",
            body.len()
        );
        stream.write_all(question.as_bytes())?;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 || line.starts_with("-ERR") {
                return Ok(String::new());
            }
            if line.starts_with("MSG") {
                line.clear();
                reader.read_line(&mut line)?;
                return Ok(line);
            }
            if line.starts_with("HMSG") {
                // Nobody is there who could answer.
                return Ok(String::new());
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The one that `tests/nats-server` installs; it knows where.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nats-server");
        let done =
            Command::new(script).stderr(Stdio::inherit()).output().expect("tests/nats-server can be run");
        assert!(done.status.success(), "{script}: {}", done.status);
        String::from_utf8(done.stdout).expect("a path in UTF-8").trim_end().into()
    })
}

/// A port that nobody has. Others that run at the same time begin elsewhere.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let port = FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("there is no free port");
}

/// Tries until there is an answer; fails when that takes too long.
pub fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
