//! `fanfare apikey` against a real server, and what its keys open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs;

use serde_json::Value;
use support::{Ended, Server, http_with, run};

/// Where the API is.
fn api(server: &Server) -> String {
    let ready = server.process.out.again().line();
    ready.trim().split_once(" api=http://").unwrap().1.split_once('/').unwrap().0.to_owned()
}

fn apikey(server: &Server, words: &[&str]) -> Ended {
    let access = ["--admin", &server.admin, "--state-dir", support::STATE];
    run(server.home(), &[&["apikey"], words, &access[..]].concat())
}

fn groups(address: &str, key: &str) -> String {
    http_with(address, "/api/v1/groups", &format!("Authorization: Bearer {key}\r\n"))
}

#[test]
fn a_key_is_shown_once_and_opens_what_it_says_until_it_is_revoked() {
    let server = Server::start();
    let address = api(&server);
    let allow =
        ["--allow", "read:group:*", "--allow", "send:user:alice", "--for", "90d", "--per-second", "50"];
    let made = apikey(&server, &[&["create", "--name", "billing"], &allow[..]].concat());
    let key = made.printed().trim().to_owned();
    assert!(key.starts_with("ffk_") && key.len() == 64 && made.printed().lines().count() == 1, "{key}");
    assert_eq!(made.err, "");
    assert!(groups(&address, &key).starts_with("HTTP/1.1 200 "));
    assert!(groups(&address, "ffk_other").starts_with("HTTP/1.1 401 "));
    assert!(groups(&address, &key[..63]).starts_with("HTTP/1.1 401 "));

    let listed = apikey(&server, &["list"]);
    let listed = listed.printed();
    for words in ["billing", &key[..20], "read:group:* send:user:alice", "50", "developer"] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    assert!(!listed.contains("never") && !listed.contains(&key[20..]), "{listed}");
    let listed: Value = serde_json::from_str(apikey(&server, &["list", "--json"]).printed()).unwrap();
    assert_eq!(listed["rows"][0]["name"], "billing");
    assert!(listed["rows"][0].get("hash").is_none());

    // What opens with it is in no file of the server's, and in no log.
    let mut files = vec![server.state()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(43).any(|part| part == &key.as_bytes()[21..]), "{}", path.display());
        }
    }

    apikey(&server, &["create", "--name", "billing", "--allow", "read"])
        .complains(1, &["there is a key \"billing\""]);
    let revoked = apikey(&server, &["revoke", "billing", "--reason", "leaked"]);
    assert!(revoked.printed().starts_with("the key \"billing\" opens nothing any more"));
    assert!(groups(&address, &key).starts_with("HTTP/1.1 401 "));
    assert_eq!(apikey(&server, &["list"]).printed(), "none\n");
    apikey(&server, &["revoke", "billing"]).complains(1, &["there is no key \"billing\""]);
    let said = server.stop();
    assert!(!said.err.contains(&key[21..]) && !said.out.contains(&key[21..]));
}

#[test]
fn a_key_outlives_its_server_and_a_revoked_one_does_not_come_back() {
    let server = Server::start();
    let make = |server: &Server, name: &str| {
        apikey(server, &["create", "--name", name, "--allow", "read"]).printed().trim().to_owned()
    };
    let (kept, gone) = (make(&server, "kept"), make(&server, "gone"));
    apikey(&server, &["revoke", "gone"]).printed();
    let server = server.killed_and_restarted(&["--dev"]);
    let address = api(&server);
    assert!(groups(&address, &kept).starts_with("HTTP/1.1 200 "));
    assert!(groups(&address, &gone).starts_with("HTTP/1.1 401 "));
    let verdict = run(
        server.home(),
        &["admin", "audit", "--verify", "--admin", &server.admin, "--state-dir", support::STATE],
    );
    assert!(verdict.printed().starts_with("the chain is whole"), "{verdict:?}");
}

#[test]
fn a_scope_that_means_nothing_is_refused_before_anything_is_asked() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["--name", "a", "--allow", "sned:all"][..], &["\"sned:all\"", "send, members, read"][..]),
        (&["--name", "a", "--allow", "send:group"], &["send:group", "pattern"]),
        (&["--name", "a", "--allow", "mint:all"], &["mint is about user:PATTERN"]),
        (&["--name", "a"], &["--allow"]),
        (&["--allow", "read"], &["--name"]),
        (&["--name", "a", "--allow", "read", "--per-second", "0"], &["--per-second"]),
    ] {
        let words: Vec<&str> = words.to_vec();
        run(home.path(), &[&["apikey", "create"], arguments].concat()).complains(2, &words);
    }
}
