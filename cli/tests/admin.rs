//! `fanfare admin` against a real server: what it prints, how it fails, and promise 9 against a kill at any moment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use base64::Engine as _;
use fanfare_protocol::admin::{Action, AuditVerdict, BanRow, Listing, Page, Question, Receipt};
use fanfare_protocol::{Pattern, UserName};
use fanfare_tests::within;
use rand::Rng;
use serde_json::Value;
use support::{Server, Signal, run};

/// Revokes that are answered in all, and how many a server's life has at most.
const REVOKES: usize = 200;
const IN_A_LIFE: usize = 16;

fn user(number: usize) -> UserName {
    UserName::new(&format!("user-{number:03}")).unwrap()
}

fn revoke(number: usize) -> Action {
    Action::Revoke {
        user: user(number),
        groups: Pattern::new("room-*").unwrap(),
        until: None,
        reason: "test".to_owned(),
        dry_run: false,
    }
}

/// The server is killed at any moment, again and again, while an operator revokes: what was answered is in force
/// afterwards, the store opens, and the audit has every action and is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_every_revoke_that_was_answered_holds_against_kill_9() {
    let mut server = Server::start();
    let mut next = 0;
    let mut answered: BTreeSet<UserName> = BTreeSet::new();
    let (mut lives, mut cut_off) = (0, 0);
    while answered.len() < REVOKES {
        lives += 1;
        let client = server.operator().await;
        let life = IN_A_LIFE;
        let asked: Vec<usize> = (next..next + life).collect();
        next += life;
        let done = Mutex::new(Vec::new());
        let revoking = async {
            for number in &asked {
                let Ok(receipt) = client.ask::<Receipt>(&revoke(*number)).await else { break };
                assert!(!receipt.unchanged);
                done.lock().unwrap().push(*number);
            }
            // The kill ends this: a client hears nothing from a server that is dead.
            std::future::pending::<()>().await;
        };
        // An action takes about two milliseconds: the kill comes anywhere between the first of them and beyond the
        // last.
        let moment = std::time::Duration::from_micros(rand::rng().random_range(0..2_500 * life as u64));
        let process = server.process.id();
        let kill = async {
            tokio::time::sleep(moment).await;
            let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
            rustix::process::kill_process(process, Signal::KILL).unwrap();
        };
        tokio::select! {
            () = revoking => {}
            () = kill => {}
        }
        let done = done.into_inner().unwrap();
        cut_off += usize::from(done.len() < life);
        answered.extend(done.iter().map(|number| user(*number)));
        drop(client);

        let (home, address) = server.kill();
        server = Server::in_home(home, &address, &["--dev"]);
        let client = server.operator().await;
        let page = Page { limit: 1_000, ..Page::default() };
        let bans: Listing<BanRow> = within(client.ask(&Question::Bans(page))).await.unwrap();
        let in_force: BTreeSet<UserName> = bans.rows.iter().filter_map(|ban| ban.user.clone()).collect();
        assert!(
            in_force.is_superset(&answered),
            "lost: {:?}",
            answered.difference(&in_force).collect::<Vec<_>>()
        );
        let verdict: AuditVerdict = within(client.ask(&Question::VerifyAudit { head: None })).await.unwrap();
        assert!(verdict.whole, "{verdict:?}");
        // Each ban that is there has its record, also that of an action that was cut off.
        assert_eq!(verdict.records, bans.total, "a ban without a record, or a record without a ban");
        within(client.close()).await;
        // In force: not only listed.
        if let Some(banned) = answered.last() {
            let tried = server.run(&["listen", "--user", banned.as_str(), "--join", "room-1"]);
            assert_eq!(tried.code, Some(1));
            assert!(tried.err.contains("(code 3103)"), "{tried:?}");
        }
    }
    println!(
        "{lives} lives, {cut_off} of them ended in the middle; {} of {REVOKES} answered",
        answered.len()
    );
    assert!(cut_off > 0, "no kill hit: this has tested nothing");
}

#[test]
fn what_is_typed_wrongly_is_told_before_anything_is_tried() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for (arguments, words) in [
        (&["revoke", "alice"][..], &["missing", "<GROUPS>"][..]),
        (&["revoke", "alice", ""], &["GROUPS"]),
        (&["revoke", "alice", "g", "--for", "1h", "--until", "2030-01-01T00:00:00Z"], &["--for", "--until"]),
        (&["ban", "alice", "--for", "soon"], &["--for", "soon"]),
        (&["ban", "alice", "--until", "tomorrow"], &["--until", "tomorrow"]),
        (&["kick"], &["missing", "--connection", "--user", "--group"]),
        (&["kick", "--user", "a", "--group", "b"], &["--user", "--group"]),
        (&["add", "nonsense", "g", "--connection"], &["\"nonsense\" is no connection's id"]),
        (&["send", "hello"], &["missing", "--to-user"]),
        (&["connection", "nonsense"], &["nonsense"]),
        (&["connections", "--limit", "0"], &["--limit"]),
        (&["audit", "--head", "00"], &["--verify"]),
        (&["audit", "--verify", "--head", "00"], &["64 hexadecimal digits", "'00'"]),
        (
            &["status", "--admin", "nowhere", "--operator-cert", "x", "--operator-key", "y"],
            &["--admin", "port"],
        ),
        (&["status", "--operator-key", "y"], &["--operator-cert"]),
    ] {
        let arguments = [&["admin"], arguments].concat();
        run(home, &arguments).complains(2, words);
    }
    run(home, &["admin", "status"])
        .complains(1, &["no operator's certificate in .fanfare", "--operator-cert"]);
    run(home, &["certs", "operator", "--name", "a b", "--role", "viewer"]).complains(1, &["\"a b\"", "A-Z"]);
    run(home, &["certs", "operator", "--name", "x", "--role", "king"])
        .complains(2, &["king", "viewer, operator"]);
    run(home, &["certs", "operator", "--name", "x", "--role", "viewer", "--for", "1s"])
        .complains(1, &["a minute"]);
    run(home, &["certs", "revoke"]).complains(2, &["missing"]);
    run(home, &["certs", "revoke", "nobody"]).complains(1, &["\"nobody\"", "--file"]);
    assert_eq!(fs::read_dir(home).unwrap().count(), 0, "nothing of it has made anything");
}

#[test]
fn a_certificate_that_is_not_taken_is_told_with_what_to_do() {
    let server = Server::start();
    let elsewhere = tempfile::tempdir().unwrap();
    run(elsewhere.path(), &["certs", "operator", "--name", "x", "--role", "operator"]).printed();
    let foreign = elsewhere.path().join(".fanfare/operator-x.pem");
    let foreign = foreign.to_str().unwrap();
    server
        .run(&["admin", "status", "--operator-cert", foreign])
        .complains(1, &["does not take this certificate", "certs operator"]);
    let ca = elsewhere.path().join(".fanfare/ca.pem");
    server
        .run(&["admin", "status", "--ca", ca.to_str().unwrap()])
        .complains(1, &["operators' authority", "--ca FILE"]);
    server
        .run(&["admin", "status", "--admin", &server.address])
        .complains(1, &["not where operators connect", "admin="]);
    // Two operators beside each other: it is not guessed who one is, be it the developer.
    server.run(&["admin", "status"]).printed();
    server.run(&["certs", "operator", "--name", "a", "--role", "viewer"]).printed();
    server
        .run(&["admin", "status"])
        .complains(2, &["operator-a.pem", "operator-developer.pem", "--operator-cert"]);
    fs::remove_file(server.state().join("operator-developer.pem")).unwrap();
    server.run(&["admin", "status"]).printed();
    server.run(&["certs", "operator", "--name", "b", "--role", "viewer"]).printed();
    server.run(&["admin", "status"]).complains(2, &["operator-a.pem", "operator-b.pem", "--operator-cert"]);
    // Taken back, while its files are somewhere else.
    fs::rename(server.state().join("operator-a-key.pem"), server.home().join("a-key.pem")).unwrap();
    fs::copy(server.state().join("operator-a.pem"), server.home().join("a.pem")).unwrap();
    server.run(&["admin", "status", "--operator-cert", "a.pem"]).printed();
    server.run(&["certs", "revoke", "--file", "a.pem"]).printed();
    server
        .run(&["admin", "status", "--operator-cert", "a.pem"])
        .complains(1, &["does not take this certificate", "(code 3011)"]);
}

#[test]
fn names_that_hold_escape_sequences_reach_no_terminal() {
    let server = Server::with(&["--dev", "--names", "any"]);
    let nasty = "a\u{1b}[2J\u{7}";
    let (_listener, _) = server.listener(nasty, "g\u{1b}]0;x\u{7}", &[]);
    server.run(&["admin", "revoke", nasty, "*", "--reason", "\u{1b}[31m"]).printed();
    for command in ["connections", "users", "groups", "bans", "audit"] {
        let shown = server.run(&["admin", command]);
        assert!(!shown.printed().replace('\n', "").chars().any(char::is_control), "{command}: {shown:?}");
        let lines = server.run(&["admin", command, "--json"]);
        for line in lines.printed().lines() {
            let _: Value = serde_json::from_str(line).unwrap();
        }
    }
    let shown = server.run(&["admin", "explain", nasty, "g"]);
    assert!(shown.printed().contains("\\u{1b}[2J"), "{shown:?}");
}

#[test]
fn a_server_without_operators_says_so_in_its_ready_line() {
    let home = tempfile::tempdir().unwrap();
    let serve = [
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        "--state-dir",
        support::STATE,
    ];
    let serve = |admin| support::fanfare(home.path(), &[&serve[..], &["--admin-listen", admin]].concat());
    let mut process = support::Process::start(&mut serve("off"));
    let ready = process.out.line();
    assert!(ready.starts_with("ready quic=127.0.0.1:") && !ready.contains("admin"), "{ready}");
    drop(process);
    let refused = support::finish(&mut serve("0.0.0.0:0"), b"");
    refused.complains(2, &["loopback only", "--admin-listen 127.0.0.1:4434"]);
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap().to_string();
    let refused = support::finish(&mut serve(&taken_address), b"");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("--admin-listen"), "{refused:?}");
    let refused = support::finish(&mut serve("everywhere"), b"");
    refused.complains(2, &["--admin-listen", "127.0.0.1:4434, or off"]);
}

#[test]
fn a_user_is_never_a_pattern_unless_it_is_said_that_its_name_has_a_star() {
    let server = Server::start();
    let (_alice, _) = server.listener("alice", "room", &[]);
    for command in [
        &["revoke", "*", "room"][..],
        &["restore", "al*", "room"],
        &["ban", "*"],
        &["unban", "*"],
        &["sign-out", "*"],
        &["lift-sign-out", "*"],
        &["explain", "*", "room"],
        &["add", "*", "room"],
        &["remove", "*", "room"],
        &["kick", "--user", "*"],
        &["close", "--user", "*"],
        &["send", "--to-user", "*", "hello"],
        &["explain", "alice", "ro*"],
        &["members", "ro*"],
        &["revoke-token", "*"],
        &["restore-token", "*"],
        &["revoke-token", "*"],
        &["add", "alice", "ro*"],
        &["kick", "--group", "*"],
        &["send", "--to-group", "*", "hello"],
    ] {
        server.run(&[&["admin"][..], command].concat()).complains(2, &["`*`", "--literal"]);
        server.run(&[&["admin", "--literal"][..], command].concat());
    }
    // It was the user of this name, and nobody else; and for groups a star is a pattern where one forbids them.
    let bans: Value = serde_json::from_str(server.run(&["admin", "bans", "--json"]).printed()).unwrap();
    let stars = |field: &str| bans["rows"].as_array().unwrap().iter().filter(|row| row[field] == "*").count();
    let (stars, tokens) = (stars("user") + stars("jti"), stars("jti"));
    assert_eq!(tokens, 1, "{bans}");
    assert_eq!(stars, bans["rows"].as_array().unwrap().len(), "{bans}");
    assert!(server.run(&["admin", "revoke", "alice", "*"]).printed().contains("1 connection"));
}

#[test]
fn names_that_no_command_line_carries_are_reached() {
    let server = Server::with(&["--dev", "--names", "any"]);
    let name = "x\u{200b}\u{202e}\n\u{1}";
    let (mut listener, id) = server.listener(name, "g\u{feff}", &[]);
    let user = base64::engine::general_purpose::STANDARD.encode(name);
    let group = base64::engine::general_purpose::STANDARD.encode("g\u{feff}");
    let shown = server.run(&["admin", "connections"]);
    assert!(shown.printed().contains("x\\u{200b}\\u{202e}\\u{a}\\u{1}"), "{shown:?}");
    let in_base64 = ["admin", "--user-base64", "--group-base64", "revoke", &user, &group];
    assert!(server.run(&in_base64).printed().contains("1 connection"));
    assert_eq!(listener.object()["kind"], "removed");
    server.run(&["admin", "kick", "--connection", &id]).printed();
    server.run(&["admin", "--user-base64", "ban", "no base64"]).complains(2, &["no base64", "base64"]);
}

#[test]
fn names_of_every_length_are_taken_in_base64() {
    let server = Server::with(&["--dev", "--names", "any"]);
    let base64 = |name: &str| base64::engine::general_purpose::STANDARD.encode(name);
    // 256 bytes, as many as a name has, of which no shell gives one.
    let name = format!("{}x", "\u{200b}".repeat(85));
    assert_eq!(name.len(), UserName::MAX_BYTES);
    let (mut listener, _) = server.listener(&name, &name, &[]);
    let whole = base64(&name);
    let done = |command: &[&str]| {
        let names = ["admin", "--user-base64", "--group-base64"];
        server.run(&[&names[..], command].concat()).printed().to_owned()
    };
    assert!(done(&["explain", &whole, &whole]).contains("may join"));
    assert!(done(&["members", &whole]).contains("CONNECTION"));
    assert!(done(&["add", &whole, &base64("one\u{202e}")]).contains("1 connection added (one\\u{202e} 1)"));
    assert!(done(&["send", "--to-user", &whole, "hello"]).contains("1 connection reached"));
    assert!(done(&["revoke", &whole, &whole]).contains("1 connection removed"));
    assert!(done(&["restore", &whole, &whole]).contains("lifted"));
    assert!(done(&["kick", "--user", &whole]).contains("1 connection closed"));
    assert_eq!(listener.object()["kind"], "joined");
    let too_long = base64(&format!("{name}x"));
    for command in [&["ban", &too_long][..], &["explain", &whole, &too_long], &["kick", "--group", &too_long]]
    {
        let names = ["admin", "--user-base64", "--group-base64"];
        server.run(&[&names[..], command].concat()).complains(2, &["257 bytes", "1 to 256"]);
    }
    server.run(&["admin", "ban", ""]).complains(2, &["USER", "is empty", "1 to 256"]);
}

#[test]
fn no_group_is_made_by_an_operator_that_the_server_does_not_take() {
    let server = Server::start();
    let (mut alice, id) = server.listener("alice", "room", &[]);
    let refused = ["(code 2101)", "the group's name", "which this server does not take"];
    server.run(&["admin", "add", "alice", "ev\u{202e}il"]).complains(1, &refused);
    server.run(&["admin", "add", "--connection", &id, "ev\u{202e}il"]).complains(1, &refused);
    assert!(!server.run(&["admin", "groups"]).printed().contains("ev"));
    server.run(&["admin", "add", "alice", "fine"]).printed();
    assert_eq!(alice.object()["group"], "fine");
    let audit = server.run(&["admin", "audit"]);
    assert!(audit.printed().contains("REFUSED: the group's name"), "{audit:?}");
}

/// What a name is shown as when it has a blank in it that is no space, which Rust itself shows as it is.
#[test]
fn answers_show_names_so_that_they_are_told_apart() {
    let server = Server::start();
    let (name, shown) = ("a\u{2800}b\"c", "\"a\\u{2800}b\\u{22}c\"");
    let _listener = server.listener(name, name, &[]);
    let explained = server.run(&["admin", "explain", name, name]);
    assert!(explained.printed().contains(&format!("{shown} may join {shown}")), "{explained:?}");
    server.run(&["admin", "members", "x\u{2800}"]).complains(1, &["group \"x\\u{2800}\""]);
    server.run(&["admin", "kick", "--user", "x\u{2800}"]).complains(1, &["the user \"x\\u{2800}\""]);
    server
        .run(&["admin", "kick", "--group", "x\u{2800}"])
        .complains(1, &["member of the group \"x\\u{2800}\""]);
    server.run(&["admin", "revoke", name, name]).printed();
    let explained = server.run(&["admin", "explain", name, name]);
    assert!(explained.printed().contains(&format!("its access to {shown} was revoked")), "{explained:?}");
    let banned = format!("the user {shown} is banned from the group {shown}");
    server.run(&["admin", "add", name, name]).complains(1, &[&banned]);
    server.run(&["admin", "ban", "*\u{2800}"]).complains(2, &["\"*\\u{2800}\" has a `*`"]);
    let base64 = ["admin", "--user-base64", "ban", "\u{2800}"];
    server.run(&base64).complains(2, &["\"\\u{2800}\" is no text in base64"]);
    let audit = server.run(&["admin", "audit"]);
    assert!(!audit.printed().contains('\u{2800}'), "{audit:?}");
}

#[test]
fn the_server_takes_the_names_that_it_is_told_to() {
    for (which, taken, refused) in [
        (
            &["--dev"][..],
            &["al ice", "日本", "a\u{200b}b"][..],
            &["a\u{202e}b", "a\u{1b}[2J", "a\u{2028}b"][..],
        ),
        (&["--dev", "--names", "ascii"], &["al ice~"], &["日本", "émile", "a\u{200b}b"]),
        (&["--dev", "--names", "any"], &["a\u{202e}b"], &[]),
    ] {
        let server = Server::with(which);
        for name in taken {
            drop(server.listener(name, name, &[]));
        }
        for name in refused {
            let words = ["(code 2101)", "which this server does not take"];
            server.run(&["listen", "--user", name]).complains(1, &words);
            let joining = server.run(&["listen", "--user", "alice", "--join", name]);
            assert!(
                joining.code == Some(1) && words.iter().all(|words| joining.err.contains(words)),
                "{joining:?}"
            );
            let explained = server.run(&["admin", "explain", name, "room"]);
            assert!(explained.printed().contains("which this server does not take"), "{explained:?}");
        }
    }
    let server = Server::start();
    server.run(&["serve", "--names", "latin"]).complains(2, &["--names", "ascii, unicode, any"]);
}
