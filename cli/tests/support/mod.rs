//! What the tests of the command line share: the real binary as a process, a server of it, and patience with a
//! deadline.
//!
//! In: arguments as they are typed. Out: [`Process`] and [`Server`], whose output can be waited for line by line, and
//! [`Ended`], which is everything that a finished command said. Invariants: nothing waits for a length of time,
//! everything for a condition with a deadline; a process ends with the test that started it; none of the variables of
//! whoever runs the tests reaches it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses a part of it; a test that cannot go on should fail on the spot"
)]

pub(crate) mod disk;
pub(crate) mod manual;
pub(crate) mod terminal;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use fanfare_certs::{DEVELOPMENT_OPERATOR, operator_files};
use fanfare_client::{OperatorClient, OperatorConfig, Roots};
pub(crate) use fanfare_tests::DEADLINE;
use fanfare_tests::within;
pub(crate) use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// The binary that cargo built for the tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// The server's state directory, in its home.
pub(crate) const STATE: &str = "state";

/// A command of the binary with these arguments, in the directory `home`.
pub(crate) fn fanfare(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(home);
    without_our_variables(&mut command);
    command
}

/// Takes what would change its behaviour from a command's environment.
pub(crate) fn without_our_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") || name == "NO_COLOR" || name == "COLUMNS" {
            command.env_remove(name);
        }
    }
}

/// Runs the binary in `home` to its end, with nothing on its standard input.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Ended {
    finish(&mut fanfare(home, arguments), b"")
}

/// Runs a command to its end with this on its standard input.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Ended {
    let mut process = Process::start(command);
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread of its own: a command that reads nothing must not hold up the test. Its end closes the pipe.
    std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    process.end()
}

/// Everything that a command said, and what it exited with.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Expects success without a word on stderr, and gives what it printed.
    #[track_caller]
    pub(crate) fn printed(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        &self.out
    }

    /// Expects this exit code, nothing on stdout and a single line on stderr. Gives the line, without the program's
    /// name.
    #[track_caller]
    pub(crate) fn complaint(&self, code: i32) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        let line = self.err.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {self:?}"));
        assert!(!line.contains(char::is_control), "more than one line of text: {self:?}");
        line.strip_prefix("fanfare: ").unwrap_or_else(|| panic!("not in the program's name: {self:?}"))
    }

    /// The same, and all of these words in the line.
    #[track_caller]
    pub(crate) fn complains(&self, code: i32, words: &[&str]) {
        let line = self.complaint(code);
        for words in words {
            assert!(line.contains(words), "{words:?} is not in {line:?}");
        }
    }
}

/// A running command. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// Open until it is taken and dropped.
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) out: Stream,
    pub(crate) err: Stream,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let out = Stream::of(child.stdout.take().unwrap());
        let err = Stream::of(child.stderr.take().unwrap());
        Self { child, stdin, out, err }
    }

    /// The operating system's number of it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line of its output, which is a JSON object.
    #[track_caller]
    pub(crate) fn object(&mut self) -> Value {
        let line = self.out.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits for its end, and gives everything that it said from its start on.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        // A process that ends closes both, and until then there is a deadline.
        let (out, err) = (self.out.all(), self.err.all());
        let code = self.child.wait().unwrap().code();
        Ended { code, out, err }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process says on one of its outputs.
pub(crate) struct Stream {
    heard: Arc<Heard>,
    /// Where the next line begins.
    at: usize,
}

#[derive(Default)]
struct Heard {
    so_far: Mutex<SoFar>,
    more: Condvar,
}

#[derive(Default)]
struct SoFar {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(crate) fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let heard = Arc::new(Heard::default());
        let listening = Arc::clone(&heard);
        // Reads all the time, so that the process never waits for the test.
        std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            loop {
                let read = pipe.read(&mut chunk).unwrap_or(0);
                // Poisoned: the test has failed in the middle of looking.
                let Ok(mut so_far) = listening.so_far.lock() else { return };
                so_far.bytes.extend_from_slice(&chunk[..read]);
                so_far.ended = read == 0;
                drop(so_far);
                listening.more.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Self { heard, at: 0 }
    }

    /// The next line, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let line = self.next_line();
        line.unwrap_or_else(|| panic!("it ended without another line; it had said:\n{}", self.again().rest()))
    }

    /// The same; `None` where it ends without one.
    #[track_caller]
    fn next_line(&mut self) -> Option<String> {
        let at = self.at;
        let so_far = self.wait("a line", |so_far| so_far.ended || so_far.bytes[at..].contains(&b'\n'));
        let length = so_far.bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8(so_far.bytes[at..at + length].to_vec()).unwrap();
        drop(so_far);
        self.at = at + length + 1;
        Some(line)
    }

    /// The next line that has `words` in it; those before it are passed over.
    #[track_caller]
    pub(crate) fn until(&mut self, words: &str) -> String {
        let at = self.at;
        let found = |so_far: &SoFar| so_far.ended || has_line_with(&so_far.bytes[at..], words);
        let so_far = self.wait(words, found);
        let there = has_line_with(&so_far.bytes[at..], words);
        assert!(there, "it ended without a line with {words:?}; it had said:\n{}", said(&so_far));
        drop(so_far);
        loop {
            let line = self.line();
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The same, from its beginning.
    pub(crate) fn again(&self) -> Self {
        Self { heard: Arc::clone(&self.heard), at: 0 }
    }

    /// What is left of it, up to the end, which is waited for.
    #[track_caller]
    pub(crate) fn rest(&self) -> String {
        self.all().split_off(self.at)
    }

    /// Everything from the start to the end, which is waited for.
    #[track_caller]
    pub(crate) fn all(&self) -> String {
        let so_far = self.wait("its end", |so_far| so_far.ended);
        String::from_utf8(so_far.bytes.clone()).unwrap()
    }

    #[track_caller]
    fn wait(&self, what: &str, come: impl Fn(&SoFar) -> bool) -> MutexGuard<'_, SoFar> {
        let so_far = self.heard.so_far.lock().unwrap();
        let (so_far, late) =
            self.heard.more.wait_timeout_while(so_far, DEADLINE, |so_far| !come(so_far)).unwrap();
        assert!(!late.timed_out(), "{what:?} never came; what came is:\n{}", said(&so_far));
        so_far
    }
}

fn has_line_with(bytes: &[u8], words: &str) -> bool {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .any(|line| line.ends_with(b"\n") && String::from_utf8_lossy(line).contains(words))
}

fn said(so_far: &SoFar) -> String {
    String::from_utf8_lossy(&so_far.bytes).into_owned()
}

/// `fanfare serve` on a free port of loopback, with a home of its own.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Where it listens, as its ready line has it.
    pub(crate) address: String,
    /// Where operators connect.
    pub(crate) admin: String,
    home: TempDir,
}

impl Server {
    /// A development server.
    pub(crate) fn start() -> Self {
        Self::with(&["--dev"])
    }

    /// One with these arguments beside its address and its state directory.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::in_home(tempfile::tempdir().unwrap(), "127.0.0.1:0", arguments)
    }

    /// One in a home that is there, on an address of the caller's.
    #[track_caller]
    pub(crate) fn in_home(home: TempDir, listen: &str, arguments: &[&str]) -> Self {
        Self::at(home, listen, "127.0.0.1:0", arguments)
    }

    #[track_caller]
    fn at(home: TempDir, listen: &str, admin: &str, arguments: &[&str]) -> Self {
        let http = ["--http-listen", "127.0.0.1:0"];
        let serve = ["serve", "--listen", listen, "--admin-listen", admin, "--state-dir", STATE];
        let mut process = Process::start(&mut fanfare(home.path(), &[&serve[..], &http, arguments].concat()));
        let (address, admin) = ready(&mut process);
        Self { process, address, admin, home }
    }

    /// The developer's operator, connected.
    pub(crate) async fn operator(&self) -> OperatorClient {
        let (certificate, key) = operator_files(&self.state(), DEVELOPMENT_OPERATOR);
        let roots = Roots::Pem(self.state().join("ca.pem"));
        let config = OperatorConfig::new(self.admin.clone(), roots, certificate, key);
        within(OperatorClient::connect(config)).await.unwrap().0
    }

    /// Kills it as a power cut does, and gives its home and its address to the next.
    pub(crate) fn kill(self) -> (TempDir, String) {
        let Self { process, address, home, .. } = self;
        process.signal(Signal::KILL);
        assert_eq!(process.end().code, None);
        (home, address)
    }

    /// Asks it to stop, waits until it has, and gives its home.
    #[track_caller]
    pub(crate) fn process_stopped(self) -> TempDir {
        let Self { process, home, .. } = self;
        process.signal(Signal::TERM);
        assert_eq!(process.end().code, Some(0));
        home
    }

    /// Kills it as a power cut does, and starts another in its place, at the same addresses.
    #[track_caller]
    pub(crate) fn killed_and_restarted(self, arguments: &[&str]) -> Self {
        self.killed_and_restarted_after(|| (), arguments)
    }

    /// The same, with something done in between.
    #[track_caller]
    pub(crate) fn killed_and_restarted_after(self, between: impl FnOnce(), arguments: &[&str]) -> Self {
        let admin = self.admin.clone();
        let (home, address) = self.kill();
        between();
        Self::at(home, &address, &admin, arguments)
    }

    /// Where it and its clients run.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.home().join(STATE)
    }

    /// A client command that knows the server from its environment.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut command = fanfare(self.home(), arguments);
        command.env("FANFARE_SERVER", &self.address).env("FANFARE_ADMIN", &self.admin);
        command.env("FANFARE_STATE_DIR", STATE);
        command
    }

    /// Runs a client command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        finish(&mut self.client(arguments), b"")
    }

    /// Starts one that goes on.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.client(arguments))
    }

    /// `listen --json` as this user in this group, when it has joined. Also gives the connection's id.
    #[track_caller]
    pub(crate) fn listener(&self, user: &str, group: &str, more: &[&str]) -> (Process, String) {
        let listen = ["listen", "--json", "--user", user, "--join", group];
        let mut process = self.spawn(&[&listen, more].concat());
        let welcome = process.object();
        assert_eq!(welcome["kind"], "welcome");
        let joined = process.object();
        assert_eq!((&joined["kind"], &joined["group"]), (&"joined".into(), &group.into()));
        (process, welcome["connection"].as_str().unwrap().to_owned())
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.process.signal(Signal::TERM);
        self.process.end()
    }
}

/// Waits for the line that says where a server listens, and gives the address for clients and the one for operators.
#[track_caller]
pub(crate) fn ready(process: &mut Process) -> (String, String) {
    let line = process.out.next_line();
    let line = line.unwrap_or_else(|| panic!("it did not start: {}", process.err.again().rest()));
    let addresses = line.strip_prefix("ready quic=").unwrap_or_else(|| panic!("not a ready line: {line:?}"));
    let (quic, admin) =
        addresses.split_once(" admin=").unwrap_or_else(|| panic!("no operators' endpoint: {line:?}"));
    let admin = admin.split(' ').next().unwrap_or(admin);
    (quic.to_owned(), admin.to_owned())
}

/// Asks for a path, and gives all of the answer.
pub(crate) fn http_get(address: &str, path: &str) -> String {
    http_with(address, path, "")
}

/// The same with more headers, each with its line's end.
pub(crate) fn http_with(address: &str, path: &str, headers: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Looks until `look` gives something, at most [`DEADLINE`]. For what cannot be waited for: each look must take a
/// moment of its own, as one at another process does.
#[track_caller]
pub(crate) fn seen<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => assert!(start.elapsed() < DEADLINE, "never seen: {what}; instead:\n{instead}"),
        }
    }
}
