//! A disk that is full, or read-only, and comes back: nothing that was answered is lost, actions are refused only as
//! long as they cannot be written down, and everything else goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use support::disk::{Disk, Kind};
use support::{STATE, Server, http_get, run, seen};

const NOT_DONE: &str = "nothing was done, because it could not be written down";
const NOT_RECORDED: &str = "it was done, but the audit record could not be written";

/// What operators were told.
#[derive(Default)]
struct Told {
    /// Banned, and it was answered; or in force, with a record to come.
    banned: BTreeSet<String>,
    /// Refused, as it could not be written down.
    refused: BTreeSet<String>,
}

impl Told {
    /// Bans somebody, and notes what was answered. Gives whether it was done.
    #[track_caller]
    fn ban(&mut self, server: &Server, user: &str) -> bool {
        let reason = "x".repeat(500);
        let ended = server.run(&["admin", "ban", user, "--reason", &reason]);
        if ended.code == Some(0) || ended.err.contains(NOT_RECORDED) {
            self.banned.insert(user.to_owned());
            return ended.code == Some(0);
        }
        ended.complains(1, &[NOT_DONE, "bans.redb"]);
        self.refused.insert(user.to_owned());
        false
    }

    /// Bans until that fails, and goes on failing: what a change that failed had taken of the file is free again when
    /// the file is opened anew, and may be room for some more.
    #[track_caller]
    fn ban_until_refused(&mut self, server: &mut Server, name: &str) {
        for number in 0..2_000 {
            if self.ban(server, &format!("{name}-{number}")) {
                continue;
            }
            server.process.err.until("operators' acts cannot be taken now");
            if server.run(&["admin", "status"]).printed().contains("CANNOT BE TAKEN NOW") {
                return;
            }
            server.process.err.until("operators' acts can be taken again");
        }
        panic!("the disk is never full");
    }

    /// Compares it with what the server has.
    #[track_caller]
    fn holds(&self, server: &Server) {
        let listed = server.run(&["admin", "bans", "--json"]);
        let listed: Value = serde_json::from_str(listed.printed()).unwrap();
        let listed = listed["rows"].as_array().unwrap().iter();
        let listed: BTreeSet<String> = listed.map(|ban| ban["user"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, self.banned);
        assert!(self.refused.is_disjoint(&listed));
        // Each that was banned has a record, and no other.
        let records = server.run(&["admin", "audit", "--limit", "0", "--json"]);
        let records = records.printed().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let banned = records.filter(|record| record["act"]["ask"] == "ban");
        let recorded: Vec<String> =
            banned.map(|record| record["act"]["user"].as_str().unwrap().to_owned()).collect();
        assert_eq!(recorded.len(), self.banned.len(), "{recorded:?}");
        assert_eq!(recorded.into_iter().collect::<BTreeSet<_>>(), self.banned);
        let verdict = server.run(&["admin", "audit", "--verify"]);
        assert!(verdict.printed().starts_with("the chain is whole"), "{verdict:?}");
    }
}

/// Where HTTP is answered.
fn http(server: &Server) -> String {
    server.process.out.again().line().split_once("http=").unwrap().1.split(' ').next().unwrap().to_owned()
}

/// That actions cannot be taken is told to whoever asks; clients are served.
#[track_caller]
fn is_impaired(server: &Server) {
    let status = server.run(&["admin", "status"]);
    assert!(status.printed().contains("\nacts        CANNOT BE TAKEN NOW: "), "{status:?}");
    let top = server.run(&["top", "--once"]);
    assert!(top.printed().contains(" ! acts cannot be taken now: "), "{top:?}");
    let ready = http_get(&http(server), "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("acts cannot be taken now"), "{ready}");
    assert!(!ready.contains("bans.redb"), "why is for operators: {ready}");
    let sent = server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]);
    assert_eq!(sent.printed(), "queued to 1 connection\n");
}

#[track_caller]
fn is_well(server: &Server) {
    let status = server.run(&["admin", "status"]);
    assert!(!status.printed().contains("CANNOT BE TAKEN"), "{status:?}");
    assert!(!server.run(&["top", "--once"]).printed().contains("cannot be taken"));
    assert!(http_get(&http(server), "/readyz").ends_with("\r\n\r\nready\n"));
}

fn on_a_small_disk(kind: Kind) {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(kind, &home.path().join(STATE)) else { return };
    let mut server = Server::in_home(home, "127.0.0.1:0", &["--dev"]);
    let (mut listener, _) = server.listener("alice", "lobby", &[]);
    let mut told = Told::default();
    for user in ["mallory", "oscar"] {
        assert!(told.ban(&server, user));
    }
    for turn in ["first", "second"] {
        disk.fill();
        // A copy has no room: what there was of it is gone again, and it is no error of the store.
        server.run(&["admin", "backup"]).complains(1, &[NOT_DONE, "bans.redb.backup"]);
        assert!(!server.state().join("bans.redb.backup.new").exists());
        is_well(&server);

        told.ban_until_refused(&mut server, turn);
        is_impaired(&server);
        assert_eq!(listener.object()["text"], "x", "messages go on");
        // One who was not banned after all gets in; questions are answered; who asks again is refused again.
        let refused = told.refused.last().unwrap().clone();
        server.run(&["send", "--user", &refused, "--to-user", "bob", "x"]).printed();
        assert!(!told.ban(&server, &format!("{turn}-again")));
        told.holds(&server);
        // Nor does another server get in, while this one opens its store again and again.
        let second =
            ["serve", "--dev", "--listen", "127.0.0.1:0", "--http-listen", "off", "--admin-listen", "off"];
        for _ in 0..5 {
            run(server.home(), &[&second[..], &["--state-dir", STATE]].concat())
                .complains(1, &["is in use by another process"]);
        }

        disk.free();
        // Nobody has to ask for it.
        server.process.err.until("operators' acts can be taken again");
        is_well(&server);
        told.holds(&server);
        assert!(told.ban(&server, &format!("{turn}-after")));
        server.run(&["admin", "backup"]).printed();
    }
    // What the disk has is what was answered.
    disk.fill();
    told.ban_until_refused(&mut server, "third");
    is_impaired(&server);
    let server = server.killed_and_restarted_after(|| disk.free(), &["--dev"]);
    is_well(&server);
    told.holds(&server);
    drop(listener);
    let home = server.process_stopped();
    drop(disk);
    drop(home);
}

#[test]
fn a_full_disk_ends_no_act_for_longer_than_it_is_full() {
    on_a_small_disk(Kind::Memory);
}

#[test]
fn a_full_disk_with_a_journal_ends_no_act_for_longer_than_it_is_full() {
    on_a_small_disk(Kind::Loop);
}

#[test]
fn a_disk_that_becomes_read_only_and_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(Kind::Memory, &home.path().join(STATE)) else { return };
    let mut server = Server::in_home(home, "127.0.0.1:0", &["--dev"]);
    let (_listener, _) = server.listener("alice", "lobby", &[]);
    let mut told = Told::default();
    assert!(told.ban(&server, "mallory"));
    // No system makes a disk read-only under a file that is open to write: a store that failed is closed between two
    // tries.
    disk.fill();
    told.ban_until_refused(&mut server, "first");
    disk.remount("ro");
    is_impaired(&server);
    assert!(!told.ban(&server, "meanwhile"));
    seen("the reason", || {
        let status = server.run(&["admin", "status"]).out;
        if status.contains("Read-only file system") { Ok(()) } else { Err(status) }
    });
    disk.remount("rw");
    disk.free();
    server.process.err.until("operators' acts can be taken again");
    is_well(&server);
    told.holds(&server);
    assert!(told.ban(&server, "after"));
    told.holds(&server);
    let home = server.process_stopped();
    drop(disk);
    drop(home);
}

#[test]
fn a_store_that_is_gone_is_not_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(Kind::Memory, &home.path().join(STATE)) else { return };
    let mut server = Server::in_home(home, "127.0.0.1:0", &["--dev"]);
    let mut told = Told::default();
    assert!(told.ban(&server, "mallory"));
    disk.fill();
    told.ban_until_refused(&mut server, "first");
    let (store, aside) = (server.state().join("bans.redb"), server.state().join("aside"));
    fs::rename(&store, &aside).unwrap();
    disk.free();
    seen("the reason", || {
        let status = server.run(&["admin", "status"]).out;
        if status.contains("No such file") || status.contains("not found") { Ok(()) } else { Err(status) }
    });
    assert!(!store.exists());
    // Nor is one that lacks what had been answered gone on with.
    let other = tempfile::tempdir().unwrap();
    let other = Server::in_home(other, "127.0.0.1:0", &["--dev"]).process_stopped();
    fs::copy(other.path().join("state/bans.redb"), &store).unwrap();
    seen("the reason", || {
        let status = server.run(&["admin", "status"]).out;
        if status.contains("which had been written, is not in it") { Ok(()) } else { Err(status) }
    });
    assert!(!told.ban(&server, "meanwhile"));
    fs::rename(&aside, &store).unwrap();
    server.process.err.until("operators' acts can be taken again");
    told.holds(&server);
    let home = server.process_stopped();
    drop(disk);
    drop(home);
}

fn names_and_bytes(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_start_on_a_full_disk_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(Kind::Memory, &home.path().join(STATE)) else { return };
    let state = home.path().join(STATE);
    let serve = |more: &[&str]| {
        let serve = ["serve", "--dev", "--listen", "127.0.0.1:0", "--http-listen", "off"];
        let place = ["--admin-listen", "127.0.0.1:0", "--state-dir", STATE];
        run(home.path(), &[&serve[..], &place, more].concat())
    };
    disk.fill();
    let before = names_and_bytes(&state);
    serve(&[]).complains(1, &["cannot write", "No space left on device"]);
    assert!(names_and_bytes(&state) == before);
    disk.free();
    // And where certificates are there that would be made again.
    let place = tempfile::tempdir().unwrap();
    let stopped = Server::in_home(place, "127.0.0.1:0", &["--dev"]).process_stopped();
    for (path, bytes) in names_and_bytes(&stopped.path().join(STATE)) {
        fs::write(state.join(path.file_name().unwrap()), bytes).unwrap();
    }
    disk.fill();
    let before = names_and_bytes(&state);
    serve(&["--name", "chat.example"]).complains(1, &["cannot write", "No space left on device"]);
    assert!(names_and_bytes(&state) == before);
    disk.free();
    drop(disk);
}
