//! `serve --webhooks` and `fanfare webhook` against a real server, which is killed in the middle of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::{Server, Signal, run, seen};
use tempfile::TempDir;

/// A back end over plain HTTP, as development allows it on this machine. It ends with the process.
struct BackEnd {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// Whether it answers that it has taken what it hears.
    is_up: bool,
    /// What it took, with how many signatures each had.
    taken: Vec<(Value, usize)>,
}

impl BackEnd {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard { is_up: true, ..Heard::default() }));
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, heard) = (stream.unwrap(), Arc::clone(&hearing));
                std::thread::spawn(move || answer(&stream, &heard));
            }
        });
        Self { address, heard }
    }

    fn set_up(&self, is_up: bool) {
        self.heard.lock().unwrap().is_up = is_up;
    }

    fn taken(&self) -> Vec<(Value, usize)> {
        self.heard.lock().unwrap().taken.clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.taken().iter().map(|(event, _)| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it has taken so many.
    fn took(&self, events: usize) {
        seen("what it took", || {
            let kinds = self.kinds();
            if kinds.len() >= events { Ok(()) } else { Err(format!("{kinds:?}")) }
        });
    }
}

/// Answers requests on one connection until it ends.
fn answer(stream: &std::net::TcpStream, heard: &Mutex<Heard>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut signatures) = (0, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("webhook-signature", value)) => signatures = value.split(' ').count(),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut heard = heard.lock().unwrap();
        let status = if heard.is_up { "204 No Content" } else { "503 Service Unavailable" };
        if heard.is_up {
            heard.taken.push((serde_json::from_slice(&body).unwrap(), signatures));
        }
        drop(heard);
        if write!(&*stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// A secret that `fanfare webhook secret` makes, in a file of this name.
fn secret(home: &Path, name: &str) {
    let printed = run(home, &["webhook", "secret"]).printed().to_owned();
    assert!(printed.starts_with("whsec_") && printed.ends_with('\n'), "{printed:?}");
    fs::write(home.join(name), printed).unwrap();
    fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

fn write_webhooks(home: &Path, address: SocketAddr, secrets: &str) {
    let text = format!(
        "[[webhook]]\nname = \"billing\"\nurl = \"http://{address}/hook\"\nsecrets = {secrets}\n\
         events = [\"started\", \"joined\", \"left\", \"disconnected\"]\n"
    );
    fs::write(home.join("webhooks.toml"), text).unwrap();
}

fn home(back_end: &BackEnd) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    secret(home.path(), "secret");
    write_webhooks(home.path(), back_end.address, "[\"secret\"]");
    home
}

const SERVE: [&str; 3] = ["--dev", "--webhooks", "webhooks.toml"];

/// What has waited is on the disk, however the server ends; and the next one says that it is another.
#[test]
fn promise_17_what_a_back_end_has_not_taken_outlives_a_server_that_is_killed() {
    let back_end = BackEnd::start();
    let server = Server::in_home(home(&back_end), "127.0.0.1:0", &SERVE);
    back_end.took(1);
    assert_eq!(back_end.kinds(), ["started"]);
    back_end.set_up(false);
    let (_listener, connection) = server.listener("alice", "lobby", &[]);
    let state = server.state();
    // It has failed, and what waits is written soon after.
    seen("the event on the disk", || {
        let bytes = fs::read(state.join("webhook-billing.redb")).unwrap();
        let words = format!("\"connection\":\"{connection}\"");
        let is_there = bytes.windows(words.len()).any(|window| window == words.as_bytes());
        if is_there { Ok(()) } else { Err("it is not there".to_owned()) }
    });
    let status = server.run(&["admin", "status"]);
    assert!(status.printed().contains("webhook     billing at http://127.0.0.1"), "{status:?}");
    assert!(status.printed().contains("FAILING, "), "{status:?}");
    assert!(status.printed().contains("it answers 503 Service Unavailable"), "{status:?}");

    let (home, _) = server.kill();
    let server = Server::in_home(home, "127.0.0.1:0", &SERVE);
    back_end.set_up(true);
    back_end.took(3);
    let taken = back_end.taken();
    assert_eq!(back_end.kinds(), ["started", "joined", "started"]);
    assert_eq!(taken[1].0["connection"], connection.as_str());
    let epoch = |at: usize| taken[at].0["epoch"].as_u64().unwrap();
    assert!(epoch(0) == epoch(1) && epoch(1) < epoch(2));
    let numbers: Vec<_> = taken.iter().map(|(event, _)| event["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_secret_is_replaced_by_a_hangup() {
    let back_end = BackEnd::start();
    let server = Server::in_home(home(&back_end), "127.0.0.1:0", &SERVE);
    back_end.took(1);
    secret(server.home(), "new");
    write_webhooks(server.home(), back_end.address, "[\"new\", \"secret\"]");
    server.process.signal(Signal::HUP);
    server.process.err.again().until("webhooks loaded");
    let _listener = server.listener("alice", "lobby", &[]);
    back_end.took(2);
    assert_eq!(back_end.taken()[1].1, 2, "both sign");
    // What the back end is told changes only with a restart.
    let text = fs::read_to_string(server.home().join("webhooks.toml")).unwrap();
    fs::write(server.home().join("webhooks.toml"), format!("{text}groups = [\"room-*\"]\n")).unwrap();
    server.process.signal(Signal::HUP);
    let line = server.process.err.again().until("the webhooks stay as they were");
    assert!(line.contains("of which groups it is told changes only with a restart"), "{line}");
    fs::write(server.home().join("webhooks.toml"), text).unwrap();
    // A file that cannot be used changes nothing.
    fs::set_permissions(server.home().join("new"), fs::Permissions::from_mode(0o644)).unwrap();
    server.process.signal(Signal::HUP);
    let line = server.process.err.again().until("others may read it");
    assert!(line.contains("the webhooks stay as they were"), "{line}");
    // Without it in the settings, what waits for it is told of.
    let home = server.process_stopped();
    let server = Server::in_home(home, "127.0.0.1:0", &["--dev"]);
    let line = server.process.err.again().until("that there is no more");
    assert!(line.contains("webhook-billing.redb"), "{line}");
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_file_is_checked_before_a_server_has_it() {
    let back_end = BackEnd::start();
    let home = home(&back_end);
    let checked = run(home.path(), &["webhook", "check", "webhooks.toml"]);
    let expected = format!(
        "billing  http://{}/\n  asked about  nothing\n  told of      started, joined, left, disconnected\n",
        back_end.address
    );
    assert_eq!(checked.printed(), expected);
    let checked = run(home.path(), &["webhook", "check", "--json", "webhooks.toml"]);
    let rows: Value = serde_json::from_str(checked.printed()).unwrap();
    assert_eq!((&rows[0]["name"], &rows[0]["connect"]), (&"billing".into(), &false.into()));
    run(home.path(), &["webhook", "check", "nowhere.toml"])
        .complains(2, &["cannot read the webhooks in nowhere.toml"]);
    fs::write(home.path().join("odd.toml"), "[[webhook]]\nnam = 1\n").unwrap();
    run(home.path(), &["webhook", "check", "odd.toml"]).complains(2, &["odd.toml:2: ", "nam"]);
    let serve = ["serve", "--cert", "c.pem", "--key", "k.pem", "--webhooks", "webhooks.toml"];
    run(home.path(), &serve).complains(2, &["webhook \"billing\": its URL must be https", "see --webhooks"]);
}
