//! What cannot be said: a log, a ready line and a command's output where nobody reads them, on a full disk, and in a
//! pipe that is not read. A server serves on; a command ends with the exit code that it should have, and nothing
//! panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use support::disk::{Disk, Kind};
use support::{BINARY, STATE, Server, Signal, Stream, fanfare, finish, run, seen};
use tempfile::TempDir;

const SERVE: [&str; 10] = [
    "serve",
    "--dev",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
    "--http-listen",
    "off",
    "--state-dir",
    STATE,
];

/// Takes no byte.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A server whose outputs are not all listened to.
struct Mute {
    child: Child,
    address: String,
    admin: String,
    home: TempDir,
}

impl Mute {
    /// Where it listens is in `line`.
    fn at(child: Child, line: &str, home: TempDir) -> Self {
        let (quic, admin) = line.split_once("ready quic=").unwrap().1.split_once(" admin=").unwrap();
        Self { child, address: quic.to_owned(), admin: admin.trim().to_owned(), home }
    }

    fn run(&self, arguments: &[&str]) -> support::Ended {
        let mut command = fanfare(self.home.path(), arguments);
        command.env("FANFARE_SERVER", &self.address).env("FANFARE_ADMIN", &self.admin);
        finish(command.env("FANFARE_STATE_DIR", STATE), b"")
    }

    /// Clients and operators are served, also where that is written down in the log.
    #[track_caller]
    fn serves(&self) {
        for _ in 0..3 {
            self.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]).printed();
            assert!(self.run(&["admin", "status"]).printed().contains("developer, operator"));
        }
        self.run(&["admin", "ban", "mallory"]).printed();
        self.run(&["admin", "unban", "mallory"]).printed();
        // Turned away, which is logged, too.
        if !self.home.path().join("other").exists() {
            let issue =
                ["certs", "operator", "--state-dir", "other", "--name", "stranger", "--role", "viewer"];
            run(self.home.path(), &issue).printed();
        }
        let stranger = ["--operator-cert", "other/operator-stranger.pem", "--ca", "state/ca.pem"];
        let turned_away = self.run(&[&["admin"], &stranger[..], &["status"]].concat());
        turned_away.complains(1, &["does not take this certificate"]);
        // The certificates are loaded again, which is logged.
        self.signal(Signal::HUP);
        self.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]).printed();
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    fn stops(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(ended(&mut self.child).code(), Some(0));
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end, with the usual deadline.
#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    seen("the end", || {
        std::thread::yield_now();
        child.try_wait().unwrap().ok_or("it runs".to_owned())
    })
}

fn line(out: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing_and_locks_nobody_out() {
    for json in [&[][..], &["--json"]] {
        for log in ["full", "closed"] {
            let home = tempfile::tempdir().unwrap();
            let mut command = fanfare(home.path(), &[&SERVE[..], json].concat());
            let stderr = if log == "full" { full().into() } else { closed() };
            let mut child =
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
            let ready = line(child.stdout.take().unwrap());
            let server = Mute::at(child, &ready, home);
            server.serves();
            server.stops();
        }
    }
}

#[test]
fn a_ready_line_that_cannot_be_written_is_told_in_the_log() {
    for out in ["full", "closed"] {
        let home = tempfile::tempdir().unwrap();
        let mut command = fanfare(home.path(), &SERVE);
        let stdout = if out == "full" { full().into() } else { closed() };
        let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = Stream::of(child.stderr.take().unwrap());
        let told = log.until("the ready line could not be written to standard output");
        let ready = told.split_once("ready quic=").unwrap().1.split(" error=").next().unwrap();
        let server = Mute::at(child, &format!("ready quic={ready}"), home);
        server.serves();
        server.stops();
    }
    // Where nothing at all can be said it serves, too.
    let home = tempfile::tempdir().unwrap();
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut serve = SERVE;
    serve[3] = &free;
    let mut command = fanfare(home.path(), &serve);
    let child = command.stdin(Stdio::null()).stdout(full()).stderr(full()).spawn().unwrap();
    let server = Mute { child, address: free.clone(), admin: String::new(), home };
    seen("a server", || {
        if !server.home.path().join("state/ca.pem").exists() {
            std::thread::yield_now();
            return Err("no authority".to_owned());
        }
        let sent = server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]);
        if sent.code == Some(0) { Ok(()) } else { Err(format!("{sent:?}")) }
    });
    server.stops();
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_messages_nor_the_end() {
    let home = tempfile::tempdir().unwrap();
    let mut command = fanfare(home.path(), &[&SERVE[..], &["--log", "trace"]].concat());
    let (unread, stderr) = pipe().unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    drop(command);
    let ready = line(child.stdout.take().unwrap());
    let server = Mute::at(child, &ready, home);
    // A pipe holds 64 KiB at most; some clients that come and go are more than that at this level.
    for _ in 0..5 {
        server.serves();
    }
    server.stops();
    let mut log = String::new();
    BufReader::new(unread).read_to_string(&mut log).unwrap();
    assert!(log.contains("development: anyone on this machine"), "{log}");
    assert!(
        !log.contains("stopped connections="),
        "the pipe was full, and what came last had no room: {}",
        log.len()
    );
}

#[test]
fn lines_that_a_full_disk_did_not_take_are_counted_in_the_log() {
    for json in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let Some(disk) = Disk::mount(Kind::Memory, &home.path().join("logs")) else { return };
        let path = home.path().join("logs/log");
        let log = File::create(&path).unwrap();
        let mut command = fanfare(home.path(), &SERVE);
        if json {
            command.arg("--json");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let ready = line(child.stdout.take().unwrap());
        let server = Mute::at(child, &ready, home);
        let text = || fs::read_to_string(&path).unwrap();
        seen("a log", || if text().contains("look around") { Ok(()) } else { Err(text()) });
        disk.fill();
        // What is left of the last block of the file is taken, and then no more.
        for _ in 0..30 {
            server.run(&["admin", "status"]).printed();
        }
        server.serves();
        assert!(!text().contains("log lines were lost"));
        disk.free();
        // Only with the next line can it be said.
        seen("the count", || {
            server.run(&["admin", "status"]).printed();
            if text().contains("log lines were lost") { Ok(()) } else { Err(text()) }
        });
        let text = text();
        let notice = text.lines().find(|line| line.contains("log lines were lost")).unwrap();
        assert!(notice.contains("No space left on device"), "{notice}");
        let lost: u64 = if json {
            serde_json::from_str::<Value>(notice).unwrap()["fields"]["lines"].as_u64().unwrap()
        } else {
            notice.split_once("lines=").unwrap().1.split(' ').next().unwrap().parse().unwrap()
        };
        assert!(lost >= 3, "{notice}");
        server.stops();
        drop(disk);
    }
}

#[test]
fn a_log_that_may_not_grow_any_more_ends_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("log");
    // As large as a file may be for it: more than the other files that it makes.
    File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    let mut command = Command::new("sh");
    // In units of 512 bytes (POSIX), or of 1,024, as some shells have it: the file is made as large as that.
    command.args(["-c", "ulimit -f 8192 && exec \"$0\" \"$@\"", BINARY]).args(SERVE).current_dir(home.path());
    support::without_our_variables(&mut command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let ready = line(child.stdout.take().unwrap());
    let server = Mute::at(child, &ready, home);
    server.serves();
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 << 20, "nothing was taken");
    server.stops();
}

/// Runs a command to its end with this as its standard output. Gives the exit code and what it said on stderr.
fn said(mut command: Command, stdout: Stdio, input: &[u8]) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    // Its copy of the pipe's end that nobody reads.
    drop(command);
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    let err = Stream::of(child.stderr.take().unwrap());
    let code = ended(&mut child).code();
    drop(stdin);
    (code, err.rest())
}

#[test]
fn every_command_that_prints_ends_as_it_should_where_nobody_reads_and_where_nothing_is_taken() {
    let server = Server::start();
    server.run(&["admin", "ban", "mallory"]).printed();
    let (_alice, alice) = server.listener("alice", "lobby", &[]);
    let (key, fresh) = ("state/server-key.pem", ["fresh-1", "fresh-2"]);
    let commands: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["help"],
        &["serve", "--help"],
        &["admin", "ban", "--help"],
        &["config"],
        &["config", "--json"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["certs", "show"],
        &["certs", "show", "--json"],
        &["token", "--key", key, "--user", "alice", "--join", "room-*"],
        &["send", "--user", "bob", "--to-all", "--ack", "x"],
        &["send", "--user", "bob", "--to-all", "--ack", "--json", "x"],
        &["listen", "--user", "carol", "--join", "lobby"],
        &["listen", "--json", "--user", "carol", "--join", "lobby"],
        &["chat", "--user", "dave", "--join", "lobby"],
        &["top", "--once"],
        &["admin", "status"],
        &["admin", "status", "--json"],
        &["admin", "connections"],
        &["admin", "users"],
        &["admin", "groups"],
        &["admin", "members", "lobby"],
        &["admin", "connection", &alice],
        &["admin", "bans"],
        &["admin", "explain", "mallory", "lobby"],
        &["admin", "audit"],
        &["admin", "audit", "--follow"],
        &["admin", "audit", "--verify"],
        &["admin", "ban", "oscar", "--dry-run"],
        &["admin", "ban", "oscar"],
    ];
    for arguments in commands {
        let (code, err) = said(server.client(arguments), closed(), b"/who\n");
        assert_eq!((code, err.as_str()), (Some(1), ""), "closed: {arguments:?}");
        let (code, err) = said(server.client(arguments), full().into(), b"/who\n");
        let expected = "fanfare: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((code, err.as_str()), (Some(1), expected), "full: {arguments:?}");
    }
    // Those that make something have made it, whoever is told.
    for (directory, stdout) in fresh.into_iter().zip([closed(), full().into()]) {
        let (code, _) = said(server.client(&["certs", "create", "--state-dir", directory]), stdout, b"");
        assert_eq!(code, Some(1));
        assert!(server.home().join(directory).join("server.pem").exists());
    }
    let (code, err) = said(server.client(&["man", "pages"]), closed(), b"");
    assert_eq!((code, err.as_str()), (Some(0), ""), "it prints nothing");
    let (code, err) = said(server.client(&["send", "--user", "bob", "--to-all", "x"]), full().into(), b"");
    assert_eq!((code, err.as_str()), (Some(0), ""), "nor does a send without an ack");
}

/// It was deaf to signals while it waited for somebody to read: SIGKILL alone helped.
#[test]
fn a_pipe_that_nobody_empties_keeps_no_signal_waiting() {
    let server = Server::start();
    for signal in [Signal::TERM, Signal::INT] {
        let (reader, writer) = pipe().unwrap();
        let mut command = server.client(&["listen", "--user", "carol", "--join", "lobby"]);
        let mut child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let waiting = || rustix::io::ioctl_fionread(&reader).unwrap();
        // Until nothing more goes in, however often it is sent.
        let (mut before, mut same) = (0, 0);
        seen("the pipe, full", || {
            server.run(&["send", "--user", "bob", "--to-user", "carol", &"x".repeat(8_000)]).printed();
            same = if waiting() == before { same + 1 } else { 0 };
            before = waiting();
            if before > 50_000 && same == 10 { Ok(()) } else { Err(before.to_string()) }
        });
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(ended(&mut child).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn what_is_wrong_is_in_the_exit_code_also_where_it_cannot_be_said() {
    let home = tempfile::tempdir().unwrap();
    let cases: &[(&[&str], i32)] = &[
        (&[], 2),
        (&["admin"], 2),
        (&["nonsense"], 2),
        (&["serve", "--listen", "here"], 2),
        (&["demo"], 2),
        (&["top"], 1),
        (&["certs", "show", "nowhere.pem"], 1),
        (&["serve", "--cert", "nowhere.pem", "--key", "nowhere.pem", "--listen", "127.0.0.1:0"], 1),
        (&["send", "--user", "bob", "--to-all", "x", "--server", "127.0.0.1:1", "--ca", "nowhere.pem"], 1),
    ];
    for (arguments, expected) in cases {
        for stderr in ["full", "closed"] {
            let mut command = Command::new(BINARY);
            command.args(*arguments).current_dir(home.path());
            support::without_our_variables(&mut command);
            let stderr = if stderr == "full" { full().into() } else { closed() };
            let mut child =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
            assert_eq!(ended(&mut child).code(), Some(*expected), "{arguments:?}");
        }
    }
    assert!(Path::new("/dev/full").exists());
}
