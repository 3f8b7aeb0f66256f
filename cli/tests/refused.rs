//! Refused means untouched: whatever keeps a server from starting, the disk is afterwards as it was before: names,
//! bytes, modes and times, of the state directory and of everything beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use fanfare_certs::Authority;
use support::{
    BINARY, Ended, Process, STATE, Server, Signal, fanfare, finish, ready, run, without_our_variables,
};
use tempfile::TempDir;
use time::OffsetDateTime;

/// Of each file and directory: its mode, the time of its last change (in s and ns), and its bytes.
type Seen = BTreeMap<PathBuf, (u32, (i64, i64), Vec<u8>)>;

/// Everything in a directory, and itself.
fn seen(directory: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let facts = path.symlink_metadata().unwrap();
        let mut bytes = Vec::new();
        if facts.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if facts.is_file() {
            bytes = fs::read(&path).unwrap();
        }
        seen.insert(path, (facts.mode(), (facts.mtime(), facts.mtime_nsec()), bytes));
    }
    seen
}

/// What is different, in few words.
fn difference(before: &Seen, after: &Seen) -> Vec<String> {
    let mut names: Vec<&PathBuf> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let told = names.into_iter().filter_map(|name| match (before.get(name), after.get(name)) {
        (None, Some(_)) => Some(format!("{} was made", name.display())),
        (Some(_), None) => Some(format!("{} is gone", name.display())),
        (Some(before), Some(after)) if before.2 != after.2 => {
            Some(format!("{} has other bytes", name.display()))
        }
        (Some(before), Some(after)) if before != after => {
            Some(format!("{}: {:?} became {:?}", name.display(), (before.0, before.1), (after.0, after.1)))
        }
        _ => None,
    });
    told.collect()
}

/// Runs a `serve` that is refused with these words, and finds everything in `home` as it was.
#[track_caller]
fn refused(home: &Path, what: &str, arguments: &[&str], code: i32, words: &[&str]) {
    let before = seen(home);
    let ended: Ended = run(home, arguments);
    let changed = difference(&before, &seen(home));
    assert!(changed.is_empty(), "{what}: {changed:#?}\n{ended:?}");
    ended.complains(code, words);
}

/// What there is before the start that is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    /// Not even the state directory, nor the one above it.
    Nothing,
    /// A directory with nothing in it.
    Empty,
    /// The state of a server that was stopped.
    Stopped,
    /// The state of one that was killed: its store wants to be repaired.
    Killed,
    /// A development authority with a server's certificate and nothing else, not even a lock.
    Unlocked,
}

const EVERY_STATE: [Before; 5] =
    [Before::Nothing, Before::Empty, Before::Stopped, Before::Killed, Before::Unlocked];

/// A back end where nobody is.
const HOOKS: &str = "[[webhook]]\nname = \"billing\"\nurl = \"http://127.0.0.1:9/\"\nsecrets = [\"hook.secret\"]\n\
                     events = [\"started\"]\n";

/// A home with files that a command line may name, and the state.
fn home(before: Before) -> TempDir {
    let home = match before {
        Before::Nothing | Before::Empty | Before::Unlocked => tempfile::tempdir().unwrap(),
        Before::Stopped | Before::Killed => {
            let server = Server::start();
            server.run(&["admin", "ban", "mallory"]).printed();
            if before == Before::Killed {
                server.kill().0
            } else {
                let home = server.process_stopped();
                fs::remove_file(home.path().join("state/.lock")).unwrap();
                home
            }
        }
    };
    if before == Before::Empty {
        fs::create_dir(home.path().join(STATE)).unwrap();
    }
    if before == Before::Unlocked {
        run(home.path(), &["certs", "create", "--state-dir", STATE]).printed();
        fs::remove_file(home.path().join("state/.lock")).unwrap();
    }
    let authority = Authority::create(&home.path().join("own")).unwrap();
    for name in ["own", "other"] {
        let issued = authority.issue_server(&[], OffsetDateTime::now_utc()).unwrap();
        fs::write(home.path().join(format!("{name}.pem")), issued.certificate_pem()).unwrap();
        fs::write(home.path().join(format!("{name}-key.pem")), issued.key_pem()).unwrap();
    }
    for (name, content) in [
        ("bad.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n"),
        ("bad-key.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        ("bad.toml", "[[user]]\nname = 7\n"),
        ("settings.toml", "payload_bytes = 0\n"),
        ("bad-hooks.toml", "[[webhook]]\nname = 7\n"),
        ("hook.secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"),
        ("hooks.toml", HOOKS),
        ("late-hooks.toml", &format!("{HOOKS}connect = true\nconnect_deadline = \"5s\"\n")),
    ] {
        fs::write(home.path().join(name), content).unwrap();
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(home.path().join("hook.secret"), private).unwrap();
    home
}

/// Development, on free ports; with a name that the certificates which are there do not have, so that they would be
/// made again.
const SERVE: [&str; 10] = [
    "serve",
    "--dev",
    "--name",
    "chat.example",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
    "--state-dir",
    STATE,
];
const NO_HTTP: [&str; 2] = ["--http-listen", "off"];

/// [`SERVE`] with something said otherwise, or in addition.
fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let mut arguments = [&SERVE[..], &NO_HTTP].concat();
    for (flag, value) in changes {
        match arguments.iter().position(|argument| argument == flag) {
            Some(at) => arguments[at + 1] = value,
            None => arguments.extend([*flag, *value]),
        }
    }
    arguments
}

#[test]
fn whatever_is_wrong_with_settings_addresses_and_files_leaves_the_disk_as_it_was() {
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (udp, tcp) = (udp.local_addr().map(|at| (at, udp)), tcp.local_addr().map(|at| (at, tcp)));
    let ((udp_at, _udp), (tcp_at, _tcp)) = (udp.unwrap(), tcp.unwrap());
    let (udp, tcp) = (udp_at.to_string(), tcp_at.to_string());
    for before in EVERY_STATE {
        let home = home(before);
        let state = if before == Before::Nothing { "not/there" } else { STATE };
        let in_state = |changes: &[(&'static str, &'static str)]| {
            let mut arguments = with(changes);
            let at = arguments.iter().position(|argument| *argument == STATE).unwrap();
            arguments[at] = state;
            arguments
        };
        let check = |what: &str, changes: &[(&'static str, &'static str)], code, words: &[&str]| {
            refused(home.path(), &format!("{before:?}, {what}"), &in_state(changes), code, words);
        };
        check("bad setting", &[("--payload-bytes", "0")], 2, &["payload_bytes is 0"]);
        check("bad settings file", &[("--config", "settings.toml")], 2, &["payload_bytes is 0"]);
        check("bad flag", &[("--lissen", "x")], 2, &["--lissen"]);
        check("bad webhooks", &[("--webhooks", "bad-hooks.toml")], 2, &["bad-hooks.toml:2: "]);
        check("no webhooks", &[("--webhooks", "nowhere.toml")], 2, &["nowhere.toml"]);
        let words = ["connect_deadline is 5000 ms", "--webhooks"];
        check("late webhooks", &[("--webhooks", "late-hooks.toml")], 2, &words);
        check("bad log filter", &[("--log", "fanfare=loud")], 2, &["--log"]);
        check("beyond loopback", &[("--listen", "0.0.0.0:0")], 2, &["loopback only"]);
        check("bad admin address", &[("--admin-listen", "here")], 2, &["--admin-listen"]);
        check("bad name", &[("--name", "not a name")], 1, &["not a name"]);
        let elsewhere: Vec<&str> = in_state(&[("--cert", "own.pem"), ("--key", "own-key.pem")])
            .into_iter()
            .filter(|argument| *argument != "--dev")
            .collect();
        for flag in ["--listen", "--admin-listen"] {
            let mut arguments = elsewhere.clone();
            let at = arguments.iter().position(|argument| *argument == flag).unwrap();
            arguments[at + 1] = "192.0.2.1:0";
            let words = ["192.0.2.1:0 (UDP): this machine has no such address", flag];
            refused(home.path(), &format!("{before:?}, no such address for {flag}"), &arguments, 1, &words);
        }
        check("no such token key", &[("--token-key", "nowhere")], 1, &["nowhere"]);
        check("bad token key", &[("--token-key", "bad-key.pem")], 1, &["bad-key.pem"]);
        check("bad client CA", &[("--client-ca", "bad.pem")], 1, &["bad.pem", "--client-ca"]);
        check("no such client CA", &[("--client-ca", "nowhere.pem")], 1, &["nowhere.pem"]);
        let grants = [("--client-ca", "own/ca.pem"), ("--client-grants", "bad.toml")];
        check("bad client grants", &grants, 1, &["bad.toml", "--client-grants"]);
        check("bad certificate", &[("--cert", "bad.pem"), ("--key", "own-key.pem")], 1, &["bad.pem"]);
        check("bad key", &[("--cert", "own.pem"), ("--key", "bad-key.pem")], 1, &["bad-key.pem"]);
        check("another's key", &[("--cert", "own.pem"), ("--key", "other-key.pem")], 1, &["other-key.pem"]);
        check("half a pair", &[("--cert", "own.pem")], 2, &["--cert needs --key"]);
        for (what, flag, protocol, address) in [
            ("UDP port in use", "--listen", "UDP", &udp),
            ("admin port in use", "--admin-listen", "UDP", &udp),
            ("TCP port in use", "--http-listen", "TCP", &tcp),
            ("TCP port in use", "--web-listen", "TCP", &tcp),
        ] {
            let mut arguments = in_state(&[]);
            match arguments.iter().position(|argument| *argument == flag) {
                Some(at) => arguments[at + 1] = address,
                None => arguments.extend([flag, address]),
            }
            let words =
                [format!("cannot listen on {address} ({protocol}): the port is in use"), flag.to_owned()];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            refused(home.path(), &format!("{before:?}, {what}"), &arguments, 1, &words);
        }
        // And everything was as it should be: the same without the damage starts.
        let mut process = Process::start(&mut fanfare(home.path(), &in_state(&[])));
        ready(&mut process);
        process.signal(Signal::TERM);
        assert_eq!(process.end().code, Some(0));
    }
}

#[test]
fn whatever_is_wrong_in_the_state_directory_leaves_it_as_it_was() {
    let other = tempfile::tempdir().unwrap();
    Authority::create(&other.path().join("ca")).unwrap();
    let foreign = Authority::create(&other.path().join("foreign")).unwrap();
    let foreign = foreign.issue_server(&[], OffsetDateTime::now_utc()).unwrap();
    let foreign = foreign.certificate_pem().as_bytes();
    let another_key = fs::read(other.path().join("ca/ca-key.pem")).unwrap();
    type Damage<'a> = (&'a str, Option<&'a [u8]>, &'a [&'a str]);
    let damages: [Damage<'_>; 17] = [
        ("endpoint.key", Some(b"short"), &["state/endpoint.key", "has 5, not 64 bytes"]),
        ("endpoint.key", Some(&[7; 65]), &["state/endpoint.key", "has more, not 64 bytes"]),
        ("bans.redb", Some(b""), &["state/bans.redb is damaged"]),
        ("bans.redb", Some(b"garbage"), &["state/bans.redb is damaged"]),
        ("bans.redb", Some(&[0; 100_000]), &["state/bans.redb is damaged"]),
        ("ca.pem", Some(b"garbage"), &["state/ca.pem", "fanfare certs create --force"]),
        ("ca.pem", Some(b""), &["state/ca.pem is empty"]),
        ("ca.pem", None, &["ca-key.pem is there but", "ca.pem is missing"]),
        ("ca.pem", Some(foreign), &["state/ca.pem", "not a CA certificate"]),
        ("ca-key.pem", Some(b"garbage"), &["state/ca-key.pem"]),
        ("ca-key.pem", None, &["ca.pem is there but", "ca-key.pem is missing"]),
        ("ca-key.pem", Some(&another_key), &["state/ca-key.pem does not belong to"]),
        ("operators.crl.pem", Some(b""), &["state/operators.crl.pem is empty"]),
        ("operators.crl.pem", Some(b"garbage"), &["state/operators.crl.pem"]),
        ("operators.crl.pem", Some(foreign), &["state/operators.crl.pem", "no revocation list"]),
        ("admin.pem", Some(&another_key), &["state/admin.pem was not issued by the development authority"]),
        ("server.pem", Some(&another_key), &["state/server.pem was not issued by the development authority"]),
    ];
    for before in [Before::Stopped, Before::Killed] {
        let home = home(before);
        let state = home.path().join(STATE);
        for (name, content, words) in damages {
            let path = state.join(name);
            let good = fs::read(&path).ok();
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            refused(home.path(), &format!("{before:?}, {name}, {words:?}"), &with(&[]), 1, words);
            match good {
                Some(good) => fs::write(&path, good).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
        }
        // A store that was cut off, at any length.
        let store = state.join("bans.redb");
        let good = fs::read(&store).unwrap();
        for part in 1..8 {
            fs::write(&store, &good[..good.len() * part / 8]).unwrap();
            refused(
                home.path(),
                &format!("{part} eighths of a store"),
                &with(&[]),
                1,
                &["state/bans.redb is damaged"],
            );
        }
        fs::write(&store, good).unwrap();
        // Links to what is not there at this moment: it started without any bans, and the link was gone.
        for (name, words) in [("bans.redb", "leads nowhere"), ("endpoint.key", "leads nowhere")] {
            let (aside, link) = (state.join("aside"), state.join(name));
            fs::rename(&link, &aside).unwrap();
            std::os::unix::fs::symlink("not/mounted", &link).unwrap();
            refused(home.path(), &format!("{name} as a link"), &with(&[]), 1, &[name, words]);
            fs::remove_file(&link).unwrap();
            // And a key that can't be written, which is seen before anything else is.
            if name == "endpoint.key" {
                let new = state.join("endpoint.key.new");
                fs::create_dir(&new).unwrap();
                refused(home.path(), "a directory as endpoint.key.new", &with(&[]), 1, &["endpoint.key"]);
                fs::remove_dir(&new).unwrap();
            }
            fs::rename(&aside, &link).unwrap();
        }
        // Directories where files should be.
        for name in ["endpoint.key", "bans.redb", "ca.pem", "admin.pem", "operators.crl.pem"] {
            let aside = state.join("aside");
            let was_there = fs::rename(state.join(name), &aside).is_ok();
            fs::create_dir(state.join(name)).unwrap();
            refused(home.path(), &format!("a directory as {name}"), &with(&[]), 1, &[name]);
            fs::remove_dir(state.join(name)).unwrap();
            if was_there {
                fs::rename(&aside, state.join(name)).unwrap();
            }
        }
        let mut process = Process::start(&mut fanfare(home.path(), &with(&[])));
        ready(&mut process);
        drop(process);
    }
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    for place in ["file", "file/inside"] {
        refused(home.path(), place, &with(&[("--state-dir", place)]), 1, &[place, "--state-dir"]);
    }
}

#[test]
fn a_start_that_fails_at_the_last_moment_takes_back_what_it_made() {
    for before in [Before::Nothing, Before::Empty, Before::Unlocked] {
        let home = home(before);
        let state = if before == Before::Nothing { "not/there" } else { STATE };
        // Certificates are small, and a store is not: what comes last cannot be written.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 16 && exec \"$0\" \"$@\"", BINARY]).current_dir(home.path());
        without_our_variables(&mut command);
        let names_and_bytes = || {
            let all = seen(home.path()).into_iter();
            all.map(|(path, (mode, _, bytes))| (path, (mode, bytes))).collect::<BTreeMap<_, _>>()
        };
        let there = names_and_bytes();
        let ended = finish(command.args(with(&[("--state-dir", state)])), b"");
        ended.complains(1, &[&format!("{state}/bans.redb"), "File too large"]);
        assert!(names_and_bytes() == there, "{before:?}: {:?}", names_and_bytes().keys());
    }
}

#[test]
fn certificates_that_cannot_be_made_replace_none() {
    let home = home(Before::Stopped);
    let create = ["certs", "create", "--state-dir", STATE];
    refused(home.path(), "there is an authority", &create, 1, &["exists and is not overwritten"]);
    let force = ["--force", "--name", "not a name"];
    refused(home.path(), "a bad name", &[&create[..], &force].concat(), 1, &["not a name"]);
}

#[test]
fn a_second_server_in_the_same_state_directory_changes_nothing_there() {
    let mut server = Server::start();
    server.run(&["admin", "ban", "mallory"]).printed();
    // Renewed, or made again for another name, is what the second would do.
    for more in [&[][..], &[("--admin-listen", "off")], &[("--cert", "own.pem"), ("--key", "own-key.pem")]] {
        let files = [("own.pem", "server.pem"), ("own-key.pem", "server-key.pem")];
        for (own, of) in files {
            fs::copy(server.state().join(of), server.home().join(own)).unwrap();
        }
        let words = ["state directory state is in use by another process", "--state-dir"];
        refused(server.home(), &format!("{more:?}"), &with(more), 1, &words);
    }
    // Nor does one that would have the same addresses.
    let same = with(&[("--listen", &server.address), ("--admin-listen", &server.admin)]);
    refused(server.home(), "the same addresses", &same, 1, &["is in use by another process"]);
    // The first goes on, and what is on the disk is what it has: it takes its own certificate after a hangup.
    server.process.signal(Signal::HUP);
    server.process.err.until("certificate loaded");
    server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]).printed();
    assert!(server.run(&["admin", "bans"]).printed().contains("mallory"));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn events_that_wait_and_cannot_be_read_keep_a_server_from_starting() {
    let home = home(Before::Stopped);
    let webhooks = with(&[("--webhooks", "hooks.toml")]);
    let path = home.path().join("state/webhook-billing.redb");
    for (damage, words) in [(&b""[..], "it is empty"), (b"garbage", "state/webhook-billing.redb")] {
        fs::write(&path, damage).unwrap();
        let words = [words, "move it away", "--webhooks"];
        refused(home.path(), &format!("{damage:?}"), &webhooks, 1, &words);
    }
    fs::remove_file(&path).unwrap();
    let mut process = Process::start(&mut fanfare(home.path(), &webhooks));
    ready(&mut process);
    process.signal(Signal::TERM);
    assert_eq!(process.end().code, Some(0));
    assert!(path.exists(), "what was not taken waits");
}
