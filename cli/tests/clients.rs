//! `fanfare listen` and `fanfare send` as processes: what they print, as text and as JSON, what they exit with, and
//! what they say when something is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Process, STATE, Server, Signal, Stream, fanfare, finish, run};

/// An id as it is printed: 26 characters of Crockford's base32.
fn is_id(text: &Value) -> bool {
    let text = text.as_str().unwrap();
    text.len() == 26 && text.bytes().all(|byte| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&byte))
}

#[test]
fn every_object_has_the_documented_shape() {
    let server = Server::start();
    let mut alice = server.spawn(&["listen", "--json", "--user", "alice", "--join", "lobby"]);
    // As text, too: an object starts with its kind.
    let welcome = alice.out.line();
    assert!(welcome.starts_with(r#"{"kind":"welcome","connection":""#), "{welcome}");
    let welcome: Value = serde_json::from_str(&welcome).unwrap();
    assert!(is_id(&welcome["connection"]));
    let connection = welcome["connection"].as_str().unwrap();
    assert_eq!(welcome, json!({ "kind": "welcome", "connection": connection, "user": "alice" }));
    assert_eq!(alice.object(), json!({ "kind": "joined", "group": "lobby", "members": 1 }));

    for (target, to) in [
        (&["--to-group", "lobby"][..], json!({ "group": "lobby" })),
        (&["--to-user", "alice"], json!({ "user": "alice" })),
        (&["--to-connection", connection], json!({ "connection": connection })),
        (&["--to-all"], json!({ "all": true })),
    ] {
        server.run(&[&["send", "--user", "bob", "--event", "Told", "Grüß dich"], target].concat()).printed();
        let message = alice.object();
        assert!(is_id(&message["from"]["connection"]));
        let from = json!({ "user": "bob", "connection": message["from"]["connection"] });
        let expected = json!({
            "kind": "message", "event": "Told", "from": from, "to": to, "format": "text", "text": "Grüß dich",
        });
        assert_eq!(message, expected);
    }

    // Bytes that are not text.
    let mut send =
        server.client(&["send", "--user", "bob", "--to-group", "lobby", "--format", "binary", "-"]);
    finish(&mut send, b"\xff\x00\n").printed();
    let message = alice.object();
    assert_eq!((&message["event"], &message["base64"]), (&"ReceiveMessage".into(), &"/wAK".into()));
    assert_eq!((message.get("text"), &message["format"]), (None, &"binary".into()));

    server.process.signal(Signal::TERM);
    let goodbye = alice.object();
    let after = goodbye["retry_after_ms"].as_u64().unwrap();
    assert!((1_000..=1_500).contains(&after), "{goodbye}");
    let expected = json!({
        "kind": "goodbye", "code": 1001, "reason": "The server is shutting down.", "retry_after_ms": after,
    });
    assert_eq!(goodbye, expected);
    let disconnected = alice.object();
    let expected = json!({
        "kind": "disconnected", "code": 1001, "retry_in_ms": disconnected["retry_in_ms"],
        "reason": "the server closed the connection: The server is shutting down. (code 1001)",
    });
    assert_eq!(disconnected, expected);
    // It is trying to connect again, and stops when it is told to.
    alice.signal(Signal::TERM);
    assert_eq!(alice.end().code, Some(0));
}

#[test]
fn a_person_reads_lines() {
    let server = Server::start();
    let listen = ["listen", "--user", "alice", "--join", "lobby", "--join", "hall", "--count", "4"];
    let mut alice = server.spawn(&listen);
    let connected = alice.out.line();
    let connection = connected.strip_prefix("* connected as alice, ").unwrap();
    assert!(is_id(&connection.into()));
    assert_eq!(alice.out.line(), "* joined lobby, the first member");
    assert_eq!(alice.out.line(), "* joined hall, the first member");
    let send = |target: &[&str], text: &str| {
        server.run(&[&["send", "--user", "bob"], target, &[text]].concat()).printed();
    };
    send(&["--to-group", "lobby"], "one");
    send(&["--to-user", "alice"], "two");
    send(&["--to-all", "--event", "Bell"], "three");
    let mut binary =
        server.client(&["send", "--user", "bob", "--to-connection", connection, "--format", "binary", "-"]);
    finish(&mut binary, &[0xff; 5]).printed();
    // The fourth message is the last, and that is a good end.
    let ended = alice.end();
    let lines: Vec<&str> = ended.printed().lines().skip(3).collect();
    assert_eq!(
        lines,
        [
            "[lobby] bob: one",
            "[to you] bob: two",
            "[to all] bob (Bell): three",
            "[to you] bob: (5 bytes: ff ff ff ff ff)"
        ]
    );
}

#[test]
fn listen_tells_how_many_are_in_the_group() {
    let server = Server::start();
    let (_alice, _) = server.listener("alice", "lobby", &[]);
    let mut bob = server.spawn(&["listen", "--user", "bob", "--join", "lobby"]);
    bob.out.line();
    assert_eq!(bob.out.line(), "* joined lobby, 2 members");
    // Told to stop, it leaves as it should: nobody is told of a lost connection.
    bob.signal(Signal::INT);
    assert_eq!(bob.end().code, Some(0));
    let ended = server.run(&["send", "--user", "carol", "--to-group", "lobby", "--ack", "x"]);
    assert_eq!(ended.printed(), "queued to 1 connection\n");
}

#[test]
fn an_ack_counts_the_connections() {
    let server = Server::start();
    let send = ["send", "--user", "bob", "--to-group", "lobby", "--ack", "x"];
    assert_eq!(server.run(&send).printed(), "queued to 0 connections\n");
    let (_first, _) = server.listener("alice", "lobby", &[]);
    assert_eq!(server.run(&send).printed(), "queued to 1 connection\n");
    let (_second, _) = server.listener("alice", "lobby", &[]);
    assert_eq!(server.run(&send).printed(), "queued to 2 connections\n");
    assert_eq!(server.run(&[&send[..], &["--json"]].concat()).printed(), "{\"queued\":2}\n");
    // The connection that sends is not counted: nobody reads there.
    let to_all = ["send", "--user", "bob", "--to-all", "--ack", "x"];
    assert_eq!(server.run(&to_all).printed(), "queued to 2 connections\n");
    let to_oneself = ["send", "--user", "bob", "--to-user", "bob", "--ack", "x"];
    assert_eq!(server.run(&to_oneself).printed(), "queued to 0 connections\n");
    // Without being asked it says nothing.
    assert_eq!(server.run(&["send", "--user", "bob", "--to-group", "lobby", "x"]).printed(), "");
    server.run(&["send", "--user", "bob", "--to-all", "--json", "x"]).complains(2, &["missing: --ack"]);
}

#[test]
fn whom_several_targets_reach_gets_one_copy_and_an_excepted_connection_none() {
    let server = Server::start();
    let (mut alice, alices) = server.listener("alice", "lobby", &["--join", "hall"]);
    assert_eq!(alice.object()["group"], "hall");
    let (mut carol, carols) = server.listener("carol", "lobby", &[]);
    let targets =
        ["--to-group", "lobby", "--to-group", "hall", "--to-user", "alice", "--to-connection", &alices];
    let send = [&["send", "--user", "bob", "--ack"], &targets[..]].concat();
    assert_eq!(server.run(&[&send[..], &["both"]].concat()).printed(), "queued to 2 connections\n");
    let ended = server.run(&[&send[..], &["--except", &carols, "one"]].concat());
    assert_eq!(ended.printed(), "queued to 1 connection\n");
    let ended = server.run(&[&send[..], &["--except", &carols, "--except", &alices, "none"]].concat());
    assert_eq!(ended.printed(), "queued to 0 connections\n");
    server.run(&[&send[..], &["last"]].concat()).printed();
    // In order, so that what is not between the first and the last has not come at all.
    let texts = |of: &mut Process, count: usize| -> Vec<String> {
        (0..count).map(|_| of.object()["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&mut alice, 3), ["both", "one", "last"]);
    assert_eq!(texts(&mut carol, 2), ["both", "last"]);
}

#[test]
fn text_may_look_like_a_flag_and_standard_input_is_sent_as_it_is() {
    let server = Server::start();
    let (mut alice, _) = server.listener("alice", "lobby", &[]);
    let send = ["send", "--user", "bob", "--to-group", "lobby"];
    server.run(&[&send[..], &["--", "--help"]].concat()).printed();
    assert_eq!(alice.object()["text"], "--help");
    server.run(&[&send[..], &[""]].concat()).printed();
    assert_eq!(alice.object()["text"], "");
    finish(&mut server.client(&[&send[..], &["-"]].concat()), b"two\nlines\n").printed();
    assert_eq!(alice.object()["text"], "two\nlines\n");
    finish(&mut server.client(&[&send[..], &["-"]].concat()), b"").printed();
    assert_eq!(alice.object()["text"], "");
}

#[test]
fn a_format_travels_with_its_payload_and_is_shown_as_what_it_is() {
    let server = Server::start();
    let (mut alice, _) = server.listener("alice", "lobby", &[]);
    let mut bob = server.spawn(&["listen", "--user", "bob", "--join", "lobby", "--count", "4"]);
    assert!(bob.out.line().starts_with("* connected as bob"));
    assert_eq!(bob.out.line(), "* joined lobby, 2 members");
    let send = |format: &'static str| ["send", "--user", "eve", "--to-group", "lobby", "--format", format];
    server.run(&[&send("json")[..], &[r#"{ "a": [1, 2.50] }"#]].concat()).printed();
    finish(&mut server.client(&[&send("msgpack")[..], &["-"]].concat()), b"\x81\xa1a\x92\x01\xc3").printed();
    server.run(&[&send("binary")[..], &["hi"]].concat()).printed();
    server.run(&[&send("text")[..], &["{}"]].concat()).printed();
    let as_object = |key: &str, message: Value| (message["format"].clone(), message[key].clone());
    assert_eq!(as_object("text", alice.object()), (json!("json"), json!(r#"{ "a": [1, 2.50] }"#)));
    assert_eq!(as_object("base64", alice.object()), (json!("msgpack"), json!("gaFhkgHD")));
    assert_eq!(as_object("base64", alice.object()), (json!("binary"), json!("aGk=")));
    assert_eq!(as_object("text", alice.object()), (json!("text"), json!("{}")));
    for line in [r#"{"a":[1,2.50]}"#, r#"{"a":[1,true]}"#, "(2 bytes: 68 69)", "{}"] {
        assert_eq!(bob.out.line(), format!("[lobby] eve: {line}"));
    }
    assert_eq!(bob.end().code, Some(0));
    // What is not what it is said to be is not sent.
    server.run(&[&send("json")[..], &["{"]].concat()).complains(2, &["TEXT is not JSON", "--format"]);
    server.run(&[&send("msgpack")[..], &["hi"]].concat()).complains(2, &["TEXT is not MessagePack"]);
    let mut binary = server.client(&[&send("text")[..], &["-"]].concat());
    finish(&mut binary, b"\xff").complains(2, &["standard input is not text in UTF-8", "--format binary"]);
    server
        .run(&[&send("yaml")[..], &["a: 1"]].concat())
        .complains(2, &["--format", "text, json, binary, msgpack"]);
}

#[test]
fn a_payload_that_is_too_large_is_told_and_leaves_nothing_behind() {
    let server = Server::start();
    let (mut alice, _) = server.listener("alice", "lobby", &[]);
    let send = |bytes: usize| {
        let mut command = server.client(&["send", "--user", "bob", "--to-group", "lobby", "-"]);
        finish(&mut command, &vec![b'x'; bytes])
    };
    send(65_536).printed();
    assert_eq!(alice.object()["text"].as_str().unwrap().len(), 65_536);
    send(65_537).complains(1, &["the payload has 65537 bytes; the server allows 65536"]);
    // More than any server takes is not read to its end, so nobody knows how much it is.
    send(2 << 20).complains(1, &["standard input has more than 1048576 bytes"]);
    // The senders that failed have closed their connections: beside this sender only the listener is there.
    let ended = server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]);
    assert_eq!(ended.printed(), "queued to 1 connection\n");
}

#[test]
fn a_command_line_that_cannot_be_meant_is_refused_with_its_flag() {
    let home = tempfile::tempdir().unwrap();
    let long = "x".repeat(257);
    let send = |arguments: &[&str]| run(home.path(), &[&["send", "--user", "bob"], arguments].concat());
    send(&["x"])
        .complains(2, &["missing: one of --to-user <USER>, --to-group", "--to-connection", "--to-all"]);
    send(&["--to-all"]).complains(2, &["missing: <TEXT>"]);
    // Not taken for the text, or a slip of the finger would be sent to people.
    send(&["--to-all", "--to-everyone"]).complains(2, &["unexpected argument '--to-everyone'"]);
    send(&["--to-group", "", "x"]).complains(2, &["--to-group", "the group name is empty"]);
    send(&["--to-user", &long, "x"]).complains(2, &["--to-user", "has 257 bytes", "1 to 256"]);
    send(&["--to-all", "--event", "", "x"]).complains(2, &["--event", "the event name is empty"]);
    send(&["--to-connection", "123", "x"]).complains(2, &["--to-connection", "26 characters; this has 3"]);
    send(&["--to-all", "--except", "u".repeat(26).as_str(), "x"]).complains(2, &["--except"]);
    run(home.path(), &["send", "--to-all", "x"])
        .complains(2, &["missing: --token TOKEN, --cert FILE with --key FILE, or --user NAME"]);
    run(home.path(), &["listen", "--user", ""]).complains(2, &["--user", "the user name is empty"]);
    run(home.path(), &["listen", "--user", "a", "--join", &long]).complains(2, &["--join", "has 257 bytes"]);
    for count in ["0", "-1", "many"] {
        let count = format!("--count={count}");
        run(home.path(), &["listen", "--user", "a", &count]).complains(2, &["--count", "from 1 on"]);
    }
    run(home.path(), &["chat", "--user", "a"]).complains(2, &["missing: --join <GROUP>"]);
    // What was typed is told again, but its control characters are not.
    send(&["--to-connection", "\x1b[2J\x07", "x"]).complains(2, &["--to-connection"]);
}

#[test]
fn the_environment_says_where_and_who() {
    let server = Server::start();
    let mut listen = server.client(&["listen", "--json", "--count", "1"]);
    let mut alice = Process::start(listen.env("FANFARE_USER", "alice"));
    assert_eq!(alice.object()["user"], "alice");
    // A flag goes before its variable.
    let mut send = fanfare(server.home(), &["send", "--to-user", "alice", "--user", "bob", "x"]);
    send.args(["--server", &server.address, "--ca", "state/ca.pem"]);
    send.env("FANFARE_USER", "eve").env("FANFARE_SERVER", "127.0.0.1:1").env("FANFARE_CA", "nowhere.pem");
    finish(&mut send, b"").printed();
    assert_eq!(alice.object()["from"]["user"], "bob");
    assert_eq!(alice.end().code, Some(0));
    let mut send = server.client(&["send", "--to-all", "x"]);
    let ended = finish(send.env("FANFARE_USER", "bob").env("FANFARE_CA", "nowhere.pem"), b"");
    ended.complains(1, &["nowhere.pem", "No such file", "--ca"]);
}

#[test]
fn of_several_servers_one_that_can_be_used_is_found_whichever_is_first() {
    let server = Server::start();
    // It answers nobody, as a machine that is switched off.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let ack = ["send", "--user", "bob", "--to-all", "x", "--ack"];
    let several = format!("{silent},{}", server.address);
    let flags = ["--server", &silent, "--server", &server.address];
    assert_eq!(server.run(&[&ack[..], &flags[..]].concat()).printed(), "queued to 0 connections\n");
    assert_eq!(
        server.run(&[&ack[..], &["--server", &several]].concat()).printed(),
        "queued to 0 connections\n"
    );
    let mut send = server.client(&ack);
    let ended = finish(send.env("FANFARE_SERVER", &several), b"");
    assert_eq!(ended.printed(), "queued to 0 connections\n");
    // What is wrong with one of them is told before anything is tried.
    for wrong in [format!("{},example", server.address), format!("{},", server.address)] {
        let ended = server.run(&[&ack[..], &["--server", &wrong]].concat());
        ended.complains(2, &["is not a server's address", "it lacks a port", "--server", "FANFARE_SERVER"]);
    }
    let many = vec![server.address.as_str(); 257].join(",");
    server.run(&[&ack[..], &["--server", &many]].concat()).complains(2, &["256", "--server"]);
}

#[test]
fn several_servers_in_vain_are_told_one_by_one_and_a_refusal_of_the_user_alone() {
    let (one, two) = (Server::start(), Server::start());
    // The authority of the first alone is trusted.
    let both = format!("{},{}", one.address, two.address);
    let dead = "nobody.invalid:1";
    let send = |servers: &str, who: &[&str]| {
        two.run(&[&["send", "--to-all", "x", "--server", servers], who].concat())
    };
    let ended = send(&format!("{},{dead}", one.address), &["--user", "bob"]);
    ended.complains(
        1,
        &["none of 2 servers", &one.address, "not signed by a trusted authority", dead, "--state-dir"],
    );
    assert!(!ended.err.contains("Roots::"), "{ended:?}");
    send(&both, &["--user", "bob"]).printed();
    let refused = send(&format!("{},{dead}", two.address), &["--token", "a.b.c"]);
    refused.complains(1, &[&two.address, "3001"]);
    assert!(!refused.err.contains("none of"), "{refused:?}");
}

#[test]
fn a_wrong_value_in_a_variable_names_the_variable() {
    let home = tempfile::tempdir().unwrap();
    let long = "x".repeat(300);
    for (name, value, words) in [
        ("FANFARE_USER", long.as_str(), "has 300 bytes"),
        ("FANFARE_SERVER", "example", "it lacks a port"),
        ("FANFARE_SERVER", "https://example:1", "not a URL"),
        ("FANFARE_SERVER", "::1:4433", "[::1]:4433"),
        ("FANFARE_SERVER", "example:99999", "1 to 65535"),
    ] {
        let mut command = fanfare(home.path(), &["send", "--to-all", "x"]);
        finish(command.env("FANFARE_USER", "bob").env(name, value), b"").complains(2, &[name, words]);
    }
}

#[test]
fn a_websocket_elsewhere_is_taken_or_left() {
    let server = Server::start();
    let ready = server.process.out.again().line();
    let url = ready.split_once("websocket=").unwrap().1.split(' ').next().unwrap().to_owned();
    // It answers nobody.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let send = |websocket: &str| {
        let arguments = ["send", "--user", "bob", "--to-all", "x", "--ack", "--websocket", websocket];
        server.run(&[&arguments[..], &["--server", &address]].concat())
    };
    // It does not get its own.
    assert_eq!(send(&url).printed(), "queued to 0 connections\n");
    let ended = send("off");
    ended.complains(1, &["no Fanfare server answered at", &address]);
    assert!(!ended.err.contains("ws://"), "{ended:?}");
    send("http://example").complains(2, &["\"http://example\"", "wss://host:4433/fanfare", "--websocket"]);
}

#[test]
fn nobody_there_is_told_with_the_address() {
    // A port that is taken, so that nobody else's server is there by chance, and that does not answer.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["certs", "create", "--state-dir", STATE]).printed();
    let arguments = ["--user", "bob", "--server", &address, "--state-dir", STATE];
    let ended = run(home.path(), &[&["send", "--to-all", "x"], &arguments[..]].concat());
    ended.complains(1, &["no Fanfare server answered at", &address, "UDP; is it running"]);
    let ended = run(
        home.path(),
        &["send", "--to-all", "x", "--user", "b", "--server", "nobody.invalid:1", "--ca", "state/ca.pem"],
    );
    ended.complains(1, &["the name of nobody.invalid:1 could not be looked up"]);
}

#[test]
fn a_server_that_is_not_trusted_is_told_with_what_to_do() {
    let server = Server::start();
    let other = server.home().join("other");
    run(server.home(), &["certs", "create", "--state-dir", "other"]).printed();
    let send = ["send", "--user", "bob", "--to-all", "x"];
    let ended = server.run(&[&send[..], &["--ca", "other/ca.pem"]].concat());
    ended.complains(1, &[&server.address, "not signed by a trusted authority", "other/ca.pem", "with --ca"]);
    let ended = server.run(&[&send[..], &["--state-dir", "other"]].concat());
    ended.complains(1, &[&server.address, "other/ca.pem", "--state-dir DIR", "--ca FILE"]);
    // No authority of a development server at hand: the system's are trusted.
    let mut command = server.client(&[&send[..], &["--state-dir", "nowhere"]].concat());
    let ended = finish(command.env("SSL_CERT_FILE", other.join("ca.pem")).env_remove("SSL_CERT_DIR"), b"");
    ended.complains(1, &["from SSL_CERT_FILE", "nowhere/ca.pem", "--state-dir DIR or --ca FILE"]);
    let mut command = server.client(&[&send[..], &["--state-dir", "nowhere"]].concat());
    let ended =
        finish(command.env("SSL_CERT_FILE", server.state().join("ca.pem")).env_remove("SSL_CERT_DIR"), b"");
    assert_eq!(ended.printed(), "");
    // A file that is not what it should be.
    fs::write(server.home().join("notes.txt"), "to do\n").unwrap();
    let ended = server.run(&[&send[..], &["--ca", "notes.txt"]].concat());
    ended.complains(1, &["notes.txt has no certificate in it", "--ca"]);
}

#[test]
fn a_certificate_for_another_name_is_told_and_can_be_made_for_this_one() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::in_home(home, "127.0.0.2:0", &["--dev"]);
    let send = ["send", "--user", "bob", "--to-all", "x"];
    server.run(&send).complains(1, &[&server.address, "is for another name", "127.0.0.1"]);
    let (home, address) = server.kill();
    let mut server = Server::in_home(home, &address, &["--dev", "--name", "127.0.0.2"]);
    server.process.err.until("the last one is not valid for 127.0.0.2");
    server.run(&send).printed();
}

#[test]
fn a_server_without_dev_refuses_with_the_sentence_of_the_code() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["certs", "create", "--state-dir", STATE]).printed();
    let files = ["--cert", "state/server.pem", "--key", "state/server-key.pem"];
    let server = Server::in_home(home, "127.0.0.1:0", &files);
    let expected = "Only a server in development mode lets a client name its own user. (code 3002)";
    for command in [&["send", "--to-all", "x"][..], &["listen"], &["chat", "--join", "lobby"]] {
        server.run(&[command, &["--user", "bob"]].concat()).complains(1, &[&server.address, expected]);
    }
}

#[test]
fn what_another_client_chose_does_not_reach_the_terminal_as_control() {
    let server = Server::with(&["--dev", "--names", "any"]);
    let group = "lob\x1b[2Jby";
    let listen = ["listen", "--user", "al\x07ice", "--join", group, "--count", "1"];
    let mut alice = server.spawn(&listen);
    assert!(alice.out.line().starts_with("* connected as al\\u{7}ice, "));
    assert_eq!(alice.out.line(), "* joined lob\\u{1b}[2Jby, the first member");
    let send = [
        "send",
        "--user",
        "b\u{202e}ob",
        "--to-group",
        group,
        "--event",
        "E\r",
        "two\nlines\x1b]0;title\x07",
    ];
    server.run(&send).printed();
    assert_eq!(
        alice.out.line(),
        "[lob\\u{1b}[2Jby] b\\u{202e}ob (E\\u{d}): two\\u{a}lines\\u{1b}]0;title\\u{7}"
    );
    assert_eq!(alice.end().code, Some(0));
}

#[test]
fn a_reader_that_has_gone_ends_listen_without_a_word() {
    let server = Server::start();
    let mut listen = server.client(&["listen", "--user", "alice", "--join", "lobby"]);
    let mut child =
        listen.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What `head -1` does.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("* connected as alice"));
    drop(out);
    // What it is told then it cannot print; if the line that it has joined has not done it, this does.
    server.run(&["send", "--user", "bob", "--to-user", "alice", "x"]);
    let err = Stream::of(child.stderr.take().unwrap()).all();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(1), ""));
    // And it has said goodbye to the server.
    let ended = server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]);
    assert_eq!(ended.printed(), "queued to 0 connections\n");
}
