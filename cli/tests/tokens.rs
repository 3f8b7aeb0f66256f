//! Tokens at the command line: made by `fanfare token`, taken by `serve` and by the client commands, and in no log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs;
use std::path::Path;

use fanfare_tests::issuer::{Issuer, Reply, SigningKey};
use serde_json::{Value, json};
use support::{Server, Signal, run};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server that takes tokens, and no names without proof. Its log says everything.
fn guarded(more: &[&str]) -> Server {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("secret"), SECRET).unwrap();
    run(home.path(), &["certs", "create", "--state-dir", support::STATE]).printed();
    in_home(home, "127.0.0.1:0", more)
}

fn in_home(home: TempDir, address: &str, more: &[&str]) -> Server {
    let files = ["--cert", "state/server.pem", "--key", "state/server-key.pem"];
    Server::in_home(
        home,
        address,
        &[&files[..], &["--token-secret", "secret", "--log", "trace"], more].concat(),
    )
}

fn token(home: &Path, arguments: &[&str]) -> String {
    let made = run(home, &[&["token", "--secret", "secret"], arguments].concat());
    made.printed().trim().to_owned()
}

#[test]
fn a_token_lets_its_user_in_to_what_it_grants_and_is_in_no_log() {
    let mut server = guarded(&[]);
    let alice =
        token(server.home(), &["--user", "alice", "--join", "room-*", "--send", "room-*", "--for", "1h"]);
    fs::write(server.home().join("alice.token"), format!("{alice}\n")).unwrap();
    let mut listener = server.spawn(&["listen", "--json", "--token", "@alice.token", "--join", "room-1"]);
    assert_eq!(listener.object()["user"], "alice");
    assert_eq!(listener.object(), json!({ "kind": "joined", "group": "room-1", "members": 1 }));
    server.run(&["send", "--token", &alice, "--to-group", "room-1", "--ack", "hello"]).printed();
    assert_eq!(listener.object()["text"], "hello");

    // What is not granted ends the command, with the number.
    let ended = server.run(&["listen", "--token", "@alice.token", "--join", "lobby"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("3102") && ended.err.contains("\"lobby\""), "{ended:?}");
    server.run(&["send", "--token", &alice, "--to-all", "--ack", "x"]).complains(1, &["3102", "everyone"]);

    // Other secrets, and forgeries of every part.
    let forged = format!("{}x", &alice[..alice.len() - 1]);
    server.run(&["send", "--token", &forged, "--to-group", "room-1", "x"]).complains(1, &["3003"]);
    server.run(&["send", "--user", "alice", "--to-group", "room-1", "x"]).complains(1, &["3002"]);

    server.process.signal(Signal::HUP);
    server.process.err.until("token keys loaded");
    let ended = server.stop();
    let log = ended.out + &ended.err;
    assert!(log.contains("TRACE"), "the log is as talkative as it gets");
    for token in [alice.as_str(), forged.as_str()] {
        for part in token.split('.') {
            for piece in part.as_bytes().windows(16) {
                let piece = std::str::from_utf8(piece).unwrap();
                assert!(!log.contains(piece), "a piece of a token is in the log: {piece}");
            }
        }
    }
    assert!(!log.contains(SECRET));
}

#[test]
fn keys_are_replaced_on_a_hangup_and_nobody_is_dropped() {
    let mut server = guarded(&[]);
    let old = token(server.home(), &["--user", "alice", "--join", "*", "--send", "*"]);
    let mut listener = server.spawn(&["listen", "--json", "--token", &old, "--join", "room"]);
    assert_eq!(listener.object()["kind"], "welcome");
    assert_eq!(listener.object()["kind"], "joined");

    fs::write(server.home().join("secret"), SECRET.to_uppercase()).unwrap();
    server.process.signal(Signal::HUP);
    server.process.err.until("token keys loaded");
    let new = token(server.home(), &["--user", "bob", "--send", "room"]);
    server.run(&["send", "--token", &old, "--to-group", "room", "x"]).complains(1, &["3003"]);
    server.run(&["send", "--token", &new, "--to-group", "room", "after"]).printed();
    assert_eq!(listener.object()["text"], "after", "who was in stayed in");

    fs::write(server.home().join("secret"), "short").unwrap();
    server.process.signal(Signal::HUP);
    let line = server.process.err.until("the token keys were not replaced, the old ones stay in use");
    assert!(line.contains("secret") && line.contains("at least 32 bytes"), "{line}");
    server.run(&["send", "--token", &new, "--to-group", "room", "still"]).printed();
}

/// A key set is said to be one by its file or by its URL, and what is in it that cannot be used is said once.
#[test]
fn keys_are_fetched_kept_and_used_again_without_the_network() {
    let issuer = Issuer::start();
    let [old, new] = ["old", "new"].map(SigningKey::new);
    let set = json!({ "keys": [{ "kty": "quantum", "kid": "odd" }, old.jwk()] });
    issuer.answer("/keys", Reply::json(&set));
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["certs", "create", "--state-dir", support::STATE]).printed();
    let (url, authority) = (issuer.url("/keys"), issuer.authority());
    let arguments = [
        "--cert",
        "state/server.pem",
        "--key",
        "state/server-key.pem",
        "--token-keys-url",
        &url,
        "--token-keys-ca",
        authority.to_str().unwrap(),
    ];
    let mut server = Server::in_home(home, "127.0.0.1:0", &arguments);
    let line = server.process.err.until("a token key was passed over");
    assert!(line.contains("key 1 (kid \\\"odd\\\")") || line.contains("key 1 (kid \"odd\")"), "{line}");
    let send = |server: &Server, key: &SigningKey| {
        server.run(&["send", "--token", &key.token("alice"), "--to-group", "room", "--ack", "x"])
    };
    send(&server, &old).printed();
    // Other keys, without a restart and without a signal.
    issuer.answer("/keys", Reply::keys(&[&new]));
    send(&server, &new).printed();
    send(&server, &old).complains(1, &["3003"]);
    // And with a signal, as for any other key.
    issuer.answer("/keys", Reply::keys(&[&old, &new]));
    server.process.signal(Signal::HUP);
    server.process.err.until("other token keys fetched");
    server.process.err.until("other token keys fetched");
    send(&server, &old).printed();
    let copy = |server: &Server| {
        let entries = fs::read_dir(server.state()).unwrap().map(|entry| entry.unwrap().path());
        let mut copies = entries.filter(|path| path.to_string_lossy().contains("token-keys-"));
        copies.next().ok_or_else(|| "no copy".to_owned())
    };
    support::seen("both keys on the disk", || {
        let text = fs::read_to_string(copy(&server)?).map_err(|error| error.to_string())?;
        if text.contains("old") && text.contains("new") { Ok(()) } else { Err(text) }
    });

    issuer.down(true);
    let mut server = server.killed_and_restarted(&arguments);
    server.process.err.until("those of the last time are used");
    send(&server, &old).printed();
    send(&server, &new).printed();
    let copy = copy(&server).unwrap();
    let (home, address) = server.kill();
    fs::write(&copy, "garbage").unwrap();
    let serve = ["serve", "--listen", &address, "--state-dir", support::STATE];
    let started = || run(home.path(), &[&serve[..], &arguments].concat());
    started()
        .complains(1, &[&url, "--token-keys-url", "is damaged", copy.file_name().unwrap().to_str().unwrap()]);
    fs::remove_file(&copy).unwrap();
    started().complains(1, &[&url, "--token-keys-url", "no copy"]);
}

#[test]
fn a_public_key_lets_nobody_in_who_signs_with_it() {
    let home = tempfile::tempdir().unwrap();
    let key = SigningKey::new("a");
    let set = json!({ "keys": [key.jwk(), { "kty": "OKP", "crv": "Ed25519", "kid": "bad", "x": "?" }] })
        .to_string();
    fs::write(home.path().join("keys.json"), format!("\u{feff}{set}")).unwrap();
    run(home.path(), &["certs", "create", "--state-dir", support::STATE]).printed();
    let files = ["--cert", "state/server.pem", "--key", "state/server-key.pem", "--token-key", "keys.json"];
    let mut server = Server::in_home(home, "127.0.0.1:0", &files);
    let line = server.process.err.until("a token key was passed over");
    assert!(line.contains("keys.json: key 2 (kid \"bad\") is damaged"), "{line}");
    server.run(&["send", "--token", &key.token("alice"), "--to-group", "room", "--ack", "x"]).printed();
    // Neither the server nor `token` takes what is public for a secret.
    run(server.home(), &["token", "--secret", "keys.json", "--user", "mallory"])
        .complains(1, &["keys.json", "no secret", "JWK Set"]);
    let other = ["serve", "--dev", "--state-dir", "other", "--token-secret", "keys.json"];
    run(server.home(), &other).complains(1, &["keys.json", "--token-key", "--token-secret"]);
    fs::write(server.home().join("list.json"), set.trim_start_matches("{\"keys\":").trim_end_matches('}'))
        .unwrap();
    let other = ["serve", "--dev", "--state-dir", "other", "--token-key", "list.json"];
    run(server.home(), &other).complains(1, &["list.json", "a bare list", "{\"keys\":"]);
}

#[test]
fn a_client_goes_on_when_its_token_file_is_renewed() {
    let server = guarded(&["--token-leeway", "0s"]);
    let grants = ["--user", "alice", "--join", "*"];
    let short = token(server.home(), &[&grants[..], &["--for", "3s"]].concat());
    let file = server.home().join("alice.token");
    fs::write(&file, short).unwrap();
    let mut listener = server.spawn(&["listen", "--json", "--token", "@alice.token", "--join", "room"]);
    assert_eq!(listener.object()["kind"], "welcome");
    assert_eq!(listener.object()["kind"], "joined");
    let long = token(server.home(), &[&grants[..], &["--for", "1h"]].concat());
    fs::write(&file, &long).unwrap();
    assert_eq!(listener.object()["kind"], "expiring");
    let later = token(server.home(), &["--user", "bob", "--send", "*", "--join", "ends", "--for", "4s"]);
    // Somebody else's token ends after the first one would have.
    let ends = server.spawn(&["listen", "--json", "--token", &later, "--no-reconnect"]);
    let ended = ends.end();
    assert_eq!(ended.code, Some(1));
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "closed");
    assert!(last["reason"].as_str().unwrap().ends_with("(code 3004)"), "{ended:?}");
    let bob = token(server.home(), &["--user", "bob", "--send", "*"]);
    server.run(&["send", "--token", &bob, "--to-group", "room", "still"]).printed();
    assert_eq!(listener.object()["text"], "still");
}

#[test]
fn bad_arguments_are_told_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("short"), "short").unwrap();
    fs::write(home.path().join("empty"), "\n").unwrap();
    let home = home.path();
    run(home, &["token", "--key", "nowhere", "--user", "a"]).complains(1, &["nowhere", "No such file"]);
    run(home, &["token", "--secret", "short", "--user", "a"])
        .complains(1, &["short", "openssl rand -hex 32"]);
    run(home, &["token", "--key", "short", "--user", "a", "--for", "soon"]).complains(2, &["--for", "soon"]);
    run(home, &["token", "--key", "short", "--user", "a", "--for", "0s"])
        .complains(2, &["--for", "a second at least"]);
    fs::write(home.join("alice.token"), "a.b.c").unwrap();
    run(home, &["listen", "--token", "alice.token"]).complains(2, &["did you mean @alice.token?"]);
    run(home, &["token", "--key", "short", "--user", "a", "--join", ""]).complains(2, &["--join"]);
    run(home, &["listen", "--token", "@nowhere"]).complains(1, &["nowhere", "--token @FILE"]);
    run(home, &["listen", "--token", "@empty"]).complains(1, &["no token in empty"]);
    run(home, &["listen"]).complains(2, &["missing", "--token", "--user"]);
    run(home, &["listen", "--user", "a", "--token", "t"]).complains(2, &["--user and --token", "give one"]);
    run(home, &["serve", "--dev", "--token-secret", "short"])
        .complains(1, &["short", "--token-secret", "32 bytes"]);
    run(home, &["serve", "--dev", "--token-key", "short"])
        .complains(1, &["short", "looks like a secret", "--token-secret"]);
    run(home, &["token", "--key", "short", "--user", "a"])
        .complains(1, &["short", "looks like a secret", "--secret FILE"]);
    run(home, &["token", "--user", "a"]).complains(2, &["missing", "--key", "--secret"]);
    run(home, &["token", "--user", "a", "--key", "x", "--secret", "y"]).complains(2, &["--key", "--secret"]);
    for (url, words) in [
        ("http://login.example/keys", "https"),
        ("login.example", "is no URL"),
        ("https://me:word@login.example/", "no password"),
    ] {
        run(home, &["serve", "--dev", "--token-keys-url", url]).complains(2, &["--token-keys-url", words]);
    }
    run(home, &["serve", "--dev", "--token-keys-ca", "short"]).complains(2, &["--token-keys-url"]);
    let url = ["serve", "--dev", "--token-keys-url", "https://127.0.0.1:1/", "--token-keys-ca"];
    run(home, &[&url[..], &["short"]].concat()).complains(1, &["short", "PEM"]);
}
