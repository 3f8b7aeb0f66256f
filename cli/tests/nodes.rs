//! What `serve --cluster` says when it cannot be a node: one sentence, and what to do; and three nodes as `make
//! cluster` starts them.
//!
//! In: wrong arguments, and NATS servers that are not as they should be. Out: 2 for what is wrong in the arguments, 1
//! for what is wrong with NATS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

#[path = "../../nats/tests/harness/mod.rs"]
mod harness;
mod support;

use std::process::Command;

use harness::{Nats, free_port};
use support::{BINARY, Ended, Server, finish, run, seen, without_our_variables};

/// The public half of a key whose seed nobody has.
const STRANGER: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

/// A server with these arguments that does not start.
fn serve(arguments: &[&str]) -> Ended {
    let home = tempfile::tempdir().unwrap();
    let mut all = vec!["serve", "--dev", "--http-listen", "off", "--log", "off"];
    all.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    all.extend(arguments);
    run(home.path(), &all)
}

#[test]
fn what_is_of_use_in_a_cluster_alone_is_refused_without_one() {
    for (flag, value) in [
        ("--cluster-name", "a"),
        ("--cluster-prefix", "a"),
        ("--cluster-nkey", "a"),
        ("--cluster-creds", "a"),
        ("--cluster-ca", "a"),
        ("--cluster-replicas", "1"),
        ("--cluster-lease", "4s"),
        ("--without-cluster", "serve"),
    ] {
        let ended = serve(&[flag, value]);
        assert_eq!(
            ended.complaint(2),
            format!("{flag} needs --cluster URL, the NATS servers where nodes meet")
        );
    }
}

#[test]
fn wrong_arguments_are_told_with_their_flag() {
    let url = "nats://127.0.0.1:1";
    for (arguments, words) in [
        (vec!["--cluster", "http://x:1"], ["\"http://x:1\"", "nats://HOST:PORT", "see --cluster"]),
        (
            vec!["--cluster", "nats://ada:secret@127.0.0.1:1"],
            ["has a user in it", "in a file", "--cluster-nkey"],
        ),
        (vec!["--cluster", url, "--cluster-prefix", "a.b"], ["\"a.b\"", "letters", "see --cluster-prefix"]),
        (
            vec!["--cluster", url, "--cluster-replicas", "2"],
            ["2 servers", "1, 3 or 5", "see --cluster-replicas"],
        ),
        (vec!["--cluster", url, "--cluster-lease", "1s"], ["lease", "1000", "2000"]),
        (
            vec!["--cluster", url, "--cluster-nkey", "a", "--cluster-creds", "b"],
            ["--cluster-nkey", "--cluster-creds", "exclude"],
        ),
    ] {
        let ended = serve(&arguments);
        ended.complains(2, &words);
        assert!(!ended.err.contains("secret"), "{ended:?}");
    }
}

#[test]
fn a_nats_server_that_is_not_as_it_should_be_is_told_with_what_to_do() {
    let nobody = format!("nats://127.0.0.1:{}", free_port());
    serve(&["--cluster", &nobody])
        .complains(1, &["cannot use NATS", &nobody["nats://".len()..], "see --cluster"]);
    serve(&["--cluster", &nobody, "--cluster-nkey", "absent.nk"])
        .complains(1, &["absent.nk", "see --cluster-nkey"]);

    let users = format!("accounts {{ F {{ jetstream: enabled, users: [ {{ nkey: {STRANGER} }} ] }} }}");
    let guarded = Nats::with(1, &users);
    serve(&["--cluster", &guarded.address(0)])
        .complains(1, &["refuses a node without credentials", "see --cluster-nkey"]);

    let plain = Nats::configured(1, |server, _| format!("listen: 127.0.0.1:{}\n", server.port));
    serve(&["--cluster", &plain.address(0)]).complains(1, &["no JetStream", "switch it on"]);

    let short = Nats::with(1, "max_payload: 65536");
    serve(&["--cluster", &short.address(0)]).complains(1, &["65536", "raise max_payload there"]);
}

#[test]
fn three_nodes_start_with_a_crowd_and_end_with_what_was_asked_of_them() {
    // Whoever gets so many in a row has them alone.
    let first = loop {
        let ports: Vec<u16> = (0..12).map(|_| free_port()).collect();
        if ports.windows(2).all(|two| two[1] == two[0] + 1) {
            break ports[0];
        }
    };
    let port = |after: u16| (first + after).to_string();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cluster/three"));
    without_our_variables(&mut command);
    command.env("FANFARE_BIN", BINARY).env("FANFARE_NODE_PORT", port(0));
    command.env("NOW", home.path().join("now"));
    command.env("FANFARE_NATS_PORT", port(6)).env("FANFARE_ROUTE_PORT", port(9));
    // Until everybody of the crowd is there, on all nodes.
    let script = "
        until \"$FANFARE_BIN\" admin status | grep '^node' > \"$NOW\" && [ $(grep -c ' 3 connections' \"$NOW\") -eq 3 ]; do
            sleep 0.2
        done
        cat \"$NOW\"
        \"$FANFARE_BIN\" admin connections --limit 4
        \"$FANFARE_BIN\" admin users --json
        node_2=$(pgrep -f \"^[^ ]*fanfare serve .*${FANFARE_STATE_DIR%0}2 \")
        kill -STOP $node_2
        # As a user who is here: for another it would have to be known that node-2 sends what is for her.
        \"$FANFARE_BIN\" send --user ada --to-group lobby --ack hello > \"$NOW\" &
        \"$FANFARE_BIN\" send --user ada --to-group lobby --ack --json hello > \"$NOW.json\" &
        wait
        kill -CONT $node_2
        cat \"$NOW\" \"$NOW.json\"";
    let ended = finish(command.args(["timeout", "60", "bash", "-c", script]).current_dir(home.path()), b"");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for node in ["node-0", "node-1", "node-2"] {
        assert!(ended.out.contains(node), "{ended:?}");
    }
    // Of all nodes, page by page, whichever is asked.
    assert!(ended.out.contains("(4 of 9; more with --after "), "{ended:?}");
    let header = ended.out.lines().find(|line| line.starts_with("CONNECTION ")).unwrap();
    assert!(header.ends_with(" NODE"), "{ended:?}");
    assert!(ended.out.contains(r#"{"total":9,"rows":[{"user":"#), "{ended:?}");
    // Of a node that stands still.
    assert!(
        ended.out.contains("queued to 6 connections, and more perhaps: no answer from node-2\n"),
        "{ended:?}"
    );
    assert!(ended.out.contains("{\"queued\":6,\"silent\":[\"node-2\"]}\n"), "{ended:?}");
    let directory = ended.out.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!(!std::path::Path::new(directory).exists(), "it is still there: {directory}");
}

/// The others give it up after a minute. Whoever has its state directory knows at once that it is dead.
#[test]
fn a_node_that_was_killed_and_is_started_again_waits_for_nobody() {
    let nats = Nats::one();
    let url = nats.address(0);
    let cluster = ["--dev", "--cluster", &url, "--cluster-replicas", "1", "--cluster-lease", "60s"];
    for without in ["pause", "serve"] {
        let arguments = [&cluster[..], &["--without-cluster", without]].concat();
        let node = |name| Server::with(&[&arguments[..], &["--cluster-name", name]].concat());
        let (one, other) = (node("one"), node("other"));
        let names = |server: &Server| {
            let status: serde_json::Value =
                serde_json::from_str(server.run(&["admin", "status", "--json"]).printed()).unwrap();
            let nodes = status["nodes"].as_array().unwrap().clone();
            nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let both = |server: &Server| {
            seen("both nodes, and no other", || {
                let mut names = names(server);
                names.sort();
                if names == ["one", "other"] { Ok(()) } else { Err(format!("{names:?}")) }
            });
        };
        both(&one);
        let _listener = one.listener("ada", "lobby", &[]);
        let one = one.killed_and_restarted(&[&arguments[..], &["--cluster-name", "one"]].concat());
        // Whoever is the first of a group waits for each node that may be there.
        let _ada = one.listener("ada", "lobby", &[]);
        let _bob = other.listener("bob", "lobby", &[]);
        both(&one);
        both(&other);
        let banned = one.run(&["admin", "revoke", "mallory", "lobby"]);
        let everywhere = banned.printed().contains("in force on 2 nodes") && !banned.out.contains("CUT OFF");
        assert!(everywhere, "{banned:?}");
        one.stop();
        other.stop();
    }
}
