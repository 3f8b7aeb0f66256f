//! A server's process: from its start to its end, and what it costs.
//!
//! In: a command line. Out: processor time, memory, and packets, from /proc. Invariant: the process ends with this
//! value, and its last words are in the error when it ends before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::error::{Error, Fallible, Tried, wrong};
use crate::peer::Launch;

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(15);

/// How long it may take to end when it is asked to.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Of /proc/PID/stat, in the unit that every Linux gives programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running server.
pub struct Server {
    child: Child,
    pid: u32,
    /// The line in which it said that it is ready.
    pub ready: String,
}

/// What a process has used since its start, and what the loopback interface has carried.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// Processor time of all threads, in nanoseconds.
    pub cpu_ns: f64,
    /// The part of it in the kernel, between 0 and 1; it is known to a hundredth of a second only.
    pub system: f64,
    /// Packets and bytes. What the kernel or the network card cuts in pieces later counts once.
    pub packets: f64,
    /// See `packets`.
    pub bytes: f64,
}

impl Server {
    /// Starts it in `directory`, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not installed, or does not get ready.
    pub async fn start(launch: &Launch, directory: &Path, port: u16) -> Fallible<Self> {
        let log = fs::File::create(directory.join("server.log")).tried("making server.log")?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
        // What the load tool's memory needs is not the servers' matter.
        command.env_remove("GLIBC_TUNABLES");
        command.stderr(log.try_clone().tried("sharing server.log")?);
        if launch.says.is_some() {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(log);
        }
        let mut child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Missing { program: launch.program.clone(), remedy: launch.remedy.clone() }
            }
            _ => Error::Io { what: format!("starting {}", launch.program), source },
        })?;
        let pid = child.id().ok_or_else(|| wrong("the server ended at once"))?;
        let output = child.stdout.take();
        let is_ready = async {
            let Some(says) = &launch.says else {
                while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                return Ok(String::new());
            };
            let mut lines = BufReader::new(output.ok_or_else(|| wrong("no output"))?).lines();
            while let Some(line) = lines.next_line().await.tried("reading what the server says")? {
                if line.starts_with(says) {
                    return Ok(line);
                }
            }
            Err(wrong("it ended"))
        };
        match timeout(START, is_ready).await {
            Ok(Ok(ready)) => Ok(Self { child, pid, ready }),
            failed => {
                let said = fs::read_to_string(directory.join("server.log")).unwrap_or_default();
                let program = &launch.program;
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it took too long".to_owned(),
                };
                Err(wrong(format!("{program} did not get ready: {why}; it said: {said}")))
            }
        }
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid))
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn usage(&self) -> Fallible<Usage> {
        let gone = "the server's process is gone";
        let mut cpu_ns = 0.0;
        for thread in fs::read_dir(self.proc("task")).tried(gone)? {
            let path = thread.tried(gone)?.path().join("schedstat");
            // A thread may end meanwhile.
            let text = fs::read_to_string(path).unwrap_or_default();
            cpu_ns += text.split(' ').next().and_then(|ran| ran.parse::<f64>().ok()).unwrap_or(0.0);
        }
        let (user, system) = self.ticks()?;
        let (packets, bytes) = loopback()?;
        Ok(Usage { cpu_ns, system, packets, bytes }.with_share(user))
    }

    fn ticks(&self) -> Fallible<(f64, f64)> {
        let stat = fs::read_to_string(self.proc("stat")).tried("the server's process is gone")?;
        // The name, in brackets, may have blanks in it.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) / TICKS_PER_SECOND * 1e9, ticks(12) / TICKS_PER_SECOND * 1e9))
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory(&self) -> Fallible<f64> {
        let status = fs::read_to_string(self.proc("status")).tried("the server's process is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.map(|kib| kib * 1024.0).ok_or_else(|| wrong("/proc does not say how much memory the server has"))
    }

    /// Ends it, and waits for that. It is asked to: a server that was built to count where it spends its time
    /// (`make release`) writes that down when it ends by itself.
    ///
    /// # Errors
    /// When it does not end by itself in time.
    pub async fn stop(mut self) -> Fallible<()> {
        let process = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        // None where it has ended already.
        if let Some(process) = process {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
            if timeout(LONGEST_END, self.child.wait()).await.is_err() {
                let _ = self.child.kill().await;
                return Err(wrong("the server did not end within ten seconds of SIGTERM"));
            }
        }
        Ok(())
    }
}

impl Usage {
    /// `system` holds nanoseconds here, and so does `user`.
    fn with_share(self, user: f64) -> Self {
        let both = user + self.system;
        Self { system: self.system * self.cpu_ns / both.max(1.0), ..self }
    }

    /// What was used from `before` to now.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let cpu_ns = self.cpu_ns - before.cpu_ns;
        let system = ((self.system - before.system) / cpu_ns.max(1.0)).clamp(0.0, 1.0);
        Self { cpu_ns, system, packets: self.packets - before.packets, bytes: self.bytes - before.bytes }
    }
}

/// Packets and bytes that the loopback interface has carried.
fn loopback() -> Fallible<(f64, f64)> {
    let devices = fs::read_to_string("/proc/net/dev").tried("reading /proc/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap_or_default();
    let mut fields = line.split_whitespace().map(|field| field.parse::<f64>().unwrap_or(0.0));
    let (bytes, packets) = (fields.next().unwrap_or(0.0), fields.next().unwrap_or(0.0));
    Ok((packets, bytes))
}

/// What the program says of its version, on one line.
pub fn version(launch: &Launch) -> String {
    let told = std::process::Command::new(&launch.program).args(&launch.version).output();
    let Ok(told) = told else { return "not installed".to_owned() };
    let text = String::from_utf8_lossy(&told.stdout);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Waits until `done` says so.
///
/// # Errors
/// When that takes longer than `most`.
pub async fn until(what: &str, most: Duration, mut done: impl FnMut() -> bool) -> Fallible<()> {
    let deadline = Instant::now() + most;
    while !done() {
        if Instant::now() > deadline {
            return Err(wrong(format!("{what}: not within {most:?}")));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
