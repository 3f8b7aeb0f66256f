//! `fanfare serve` and `fanfare config` as processes: how a server starts, what it refuses to start with, what it does
//! on signals, and what it leaves on disk and in its log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use fanfare_certs::Authority;
use serde_json::{Value, json};
use support::{BINARY, Ended, Process, STATE, Server, Signal, fanfare, finish, http_get, ready, run};
use time::{Duration, OffsetDateTime};

/// Runs a `serve` that is expected not to start.
fn serve(home: &Path, arguments: &[&str]) -> Ended {
    run(home, &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
}

#[test]
fn the_ready_line_says_where_and_the_log_what_to_try() {
    let mut server = Server::start();
    assert!(server.address.parse::<std::net::SocketAddr>().unwrap().port() > 0);
    server.process.err.until("anyone on this machine may be any user");
    let hint = server.process.err.until("try: ");
    // The hint is a command that works, as it stands.
    let hint = hint.split_once("try: fanfare ").unwrap().1.replace("listen", "listen --json");
    let hint: Vec<&str> = hint.split(' ').collect();
    let mut listener = Process::start(&mut fanfare(server.home(), &hint));
    assert_eq!(listener.object()["kind"], "welcome");
    assert_eq!(listener.object()["group"], "lobby");
    drop(listener);
    // The second hint is for operators, and works, too.
    let hint = server.process.err.again().until("look around: ");
    let hint: Vec<&str> = hint.split_once("look around: fanfare ").unwrap().1.split(' ').collect();
    let looked = run(server.home(), &hint);
    assert!(looked.printed().contains("developer, operator"), "{looked:?}");
    let (address, admin) = (server.address.clone(), server.admin.clone());
    // The third is a page for a browser.
    let hint = server.process.err.again().until("in a browser: ");
    let http = hint.split_once("in a browser: http://").unwrap().1.trim_end_matches('/').to_owned();
    let page = http_get(&http, "/");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<title>Fanfare"), "{page}");
    assert_eq!(
        server.stop().out,
        format!(
            "ready quic={address} admin={admin} http={http} websocket=ws://{http}/fanfare \
             signalr=http://{http}/signalr api=http://{http}/api/v1\n"
        ),
        "the ready line is all there is on stdout"
    );
}

#[test]
fn health_is_answered_over_http_and_the_page_only_in_development() {
    let server = Server::with(&["--dev"]);
    let hint = server.process.err.again().until("in a browser: ");
    let http = hint.split_once("in a browser: http://").unwrap().1.trim_end_matches('/').to_owned();
    for (path, words) in [
        ("/healthz", "\r\n\r\nok\n"),
        ("/readyz", "\r\n\r\nready\n"),
        ("/page.js", "text/javascript"),
        ("/requests.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/fanfare-client.js", "text/javascript"),
        ("/fanfare/certificate-hash", "\"algorithm\":\"sha-256\""),
    ] {
        let answer = http_get(&http, path);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(words), "{path}: {answer:.300}");
    }
    assert!(http_get(&http, "/elsewhere").starts_with("HTTP/1.1 404 "));
    let hash = http_get(&http, "/fanfare/certificate-hash");
    assert!(hash.contains(&format!("https://{}/fanfare", server.address)), "{hash}");
    // Idle visitors do not keep the others out, nor the server from stopping.
    let idle: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(&http).unwrap()).collect();
    assert!(http_get(&http, "/healthz").contains("ok"));
    let home = server.home().to_owned();
    let (cert, key) = (home.join("state/server.pem"), home.join("state/server-key.pem"));
    let production = [
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
        "--http-listen",
        "127.0.0.1:0",
        "--state-dir",
        "other",
        "--admin-listen",
        "off",
    ];
    let serve = [&["serve", "--listen", "127.0.0.1:0"][..], &production].concat();
    let mut process = Process::start(&mut fanfare(&home, &serve));
    let ready = process.out.until("ready quic=");
    let http = ready.split_once("http=").unwrap().1.trim();
    assert!(http_get(http, "/readyz").contains("ready"));
    for path in ["/", "/page.js", "/fanfare/certificate-hash"] {
        assert!(http_get(http, path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    process.signal(Signal::TERM);
    assert_eq!(process.end().code, Some(0));
    assert_eq!(server.stop().code, Some(0));
    drop(idle);
}

#[test]
fn bad_http_settings_are_told() {
    let home = tempfile::tempdir().unwrap();
    serve(home.path(), &["--dev", "--http-listen", "0.0.0.0:0"])
        .complains(2, &["loopback only", "--http-listen"]);
    serve(home.path(), &["--dev", "--http-listen", "here"]).complains(2, &["--http-listen", "or off"]);
    serve(home.path(), &["--dev", "--web-listen", "0.0.0.0:0"])
        .complains(2, &["loopback only", "--web-listen"]);
    let listens = ["--dev", "--web-listen", "127.0.0.1:0"];
    serve(home.path(), &[&listens[..], &["--web-cert", "a.pem"]].concat()).complains(2, &["--web-key FILE"]);
    serve(home.path(), &[&listens[..], &["--web-key", "a.pem"]].concat()).complains(2, &["--web-cert FILE"]);
    serve(home.path(), &["--dev", "--web-cert", "a.pem", "--web-key", "b.pem"])
        .complains(2, &["--web-listen ADDR"]);
    serve(home.path(), &[&listens[..], &["--web-cert", "a.pem", "--web-key", "b.pem"]].concat())
        .complains(1, &["a.pem"]);
    for origin in ["app.example", "https://", "https://app.example/path", "ftp://app.example", "*"] {
        serve(home.path(), &["--dev", "--allow-origin", origin])
            .complains(2, &["--allow-origin", "https://app.example"]);
    }
    for (network, words) in [
        ("10.0.0/8", "is no network; write one like 10.0.0.0/8"),
        ("proxy.example", "is no network"),
        ("10.0.0.1/8", "has bits behind its prefix; write 10.0.0.0/8"),
        ("::/0", "is every address"),
    ] {
        serve(home.path(), &["--dev", "--trusted-proxy", network])
            .complains(2, &["--trusted-proxy", network, words]);
    }
    serve(home.path(), &["--dev", "--http-listen", "off", "--trusted-proxy", "::1"])
        .complains(2, &["UDP alone", "--trusted-proxy needs --web-listen ADDR"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = serve(home.path(), &["--dev", "--admin-listen", "off", "--http-listen", &address]);
    let expected = format!("cannot listen on {address} (TCP): the port is in use");
    ended.complains(1, &[&expected, "--http-listen"]);
    drop(taken);
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let ended = Server::with(&["--dev", "--json"]).stop();
    assert_eq!(ended.code, Some(0));
    let lines: Vec<Value> = ended.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["fields"]["message"], "stopped");
}

#[test]
fn dev_is_for_loopback_only() {
    let home = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = run(home.path(), &["serve", "--dev", "--listen", address]);
        ended.complains(2, &["--dev", "loopback only", address, "--listen 127.0.0.1:4433"]);
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_server_needs_a_certificate_or_dev() {
    let home = tempfile::tempdir().unwrap();
    serve(home.path(), &[]).complains(2, &["--cert", "--key", "--dev"]);
    serve(home.path(), &["--cert", "cert.pem"]).complains(2, &["--cert needs --key"]);
    serve(home.path(), &["--key", "key.pem"]).complains(2, &["--key needs --cert"]);
}

#[test]
fn a_bad_settings_file_is_named_with_the_line_and_the_setting() {
    let home = tempfile::tempdir().unwrap();
    for (settings, words) in [
        ("dev = true\nlisen = '127.0.0.1:0'", &["settings.toml:2", "\"lisen\"", "\"listen\""][..]),
        ("listen = 'here'", &["settings.toml:1", "listen", "127.0.0.1:4433"]),
        ("dev = true\nidle_timeout = 'soon'", &["settings.toml:2", "idle_timeout", "500ms"]),
        ("outbox_frames = -1", &["settings.toml:1", "outbox_frames"]),
        ("overflow = 'explode'", &["settings.toml:1", "overflow", "drop-oldest"]),
        ("dev = true\nlisten", &["settings.toml:2"]),
        ("dev = true\npayload_bytes = 0", &["payload_bytes is 0", "from 1 to"]),
        ("dev = true\ntrusted_proxy = ['proxy']", &["settings.toml:2: trusted_proxy: ", "10.0.0.0/8"]),
    ] {
        fs::write(home.path().join("settings.toml"), settings).unwrap();
        run(home.path(), &["serve", "--config", "settings.toml"]).complains(2, words);
        // It is not the server only that reads it.
        run(home.path(), &["config", "--config", "settings.toml"]).complains(2, words);
    }
    serve(home.path(), &["--config", "nowhere.toml"])
        .complains(2, &["nowhere.toml", "No such file", "--config"]);
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let home = tempfile::tempdir().unwrap();
    let file = "listen = '127.0.0.1:1'\nconnections = 1\nidle_timeout = '1m'\ndev = true\n";
    fs::write(home.path().join("settings.toml"), file).unwrap();
    let config = |more: &[&str]| {
        let mut command = fanfare(home.path(), &["config"]);
        command.env("FANFARE_CONFIG", "settings.toml");
        command.env("FANFARE_LISTEN", "127.0.0.1:2").env("FANFARE_CONNECTIONS", "2");
        command.args(["--listen", "127.0.0.1:3"]).args(more);
        finish(&mut command, b"")
    };
    let ended = config(&[]);
    let lines: Vec<&str> = ended.printed().lines().collect();
    for (setting, origin) in [
        ("listen = \"127.0.0.1:3\"", "flag"),
        ("connections = 2", "environment"),
        ("idle_timeout = \"1m\"", "file"),
        ("dev = true", "file"),
        ("drain_deadline = \"5s\"", "default"),
    ] {
        let line = lines.iter().find(|line| line.split("  #").next().unwrap().trim_end() == setting);
        let line = line.unwrap_or_else(|| panic!("{setting} is not in {lines:#?}"));
        assert!(line.ends_with(&format!("# {origin}")), "{line}");
    }

    let ended = config(&["--json"]);
    let object: Value = serde_json::from_str(ended.printed()).unwrap();
    assert_eq!(object["listen"], json!({ "value": "127.0.0.1:3", "from": "flag" }));
    assert_eq!(object["connections"], json!({ "value": 2, "from": "environment" }));
    assert_eq!(object["idle_timeout"], json!({ "value": "1m", "from": "file" }));

    // What it prints is a file that says the same.
    fs::write(home.path().join("printed.toml"), config(&[]).out).unwrap();
    let again = run(home.path(), &["config", "--config", "printed.toml"]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(again.printed()), values(&config(&[]).out));
}

#[test]
fn a_wrong_value_in_a_variable_names_the_variable() {
    let home = tempfile::tempdir().unwrap();
    for (name, value, words) in [
        ("FANFARE_LISTEN", "here", "127.0.0.1:4433"),
        ("FANFARE_DEV", "maybe", "'maybe'"),
        ("FANFARE_OVERFLOW", "explode", "drop-oldest"),
        ("FANFARE_IDLE_TIMEOUT", "soon", "500ms"),
        ("FANFARE_CONNECTIONS", "many", "'many'"),
        ("FANFARE_CONFIG", "nowhere.toml", "nowhere.toml"),
    ] {
        let ended = finish(fanfare(home.path(), &["serve"]).env(name, value), b"");
        ended.complains(2, &[name, words]);
    }
    // The same value from a flag is not blamed on a variable.
    let line = run(home.path(), &["serve", "--listen", "here"]);
    assert!(!line.complaint(2).contains("FANFARE_LISTEN"), "{line:?}");
    serve(home.path(), &["--dev", "--log", "fanfare=loud"]).complains(2, &["--log", "fanfare=loud", "debug"]);
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let server = Server::start();
    let ended = run(
        server.home(),
        &["serve", "--dev", "--http-listen", "off", "--listen", &server.address, "--state-dir", "other"],
    );
    let expected = format!("cannot listen on {} (UDP): the port is in use", server.address);
    ended.complains(1, &[&expected, "--listen"]);
    // And it has not disturbed the first.
    assert_eq!(
        server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]).printed(),
        "queued to 0 connections\n"
    );
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told() {
    let home = tempfile::tempdir().unwrap();
    let state = |path: &str| serve(home.path(), &["--dev", "--state-dir", path]);
    fs::write(home.path().join("file"), "").unwrap();
    state("file").complains(1, &["file"]);
    state("file/inside").complains(1, &["file/inside"]);
    run(home.path(), &["certs", "create", "--state-dir", STATE]).printed();
    fs::create_dir(home.path().join("state/endpoint.key")).unwrap();
    state(STATE).complains(1, &["state/endpoint.key", "--state-dir"]);
}

#[test]
fn a_damaged_state_file_is_refused_and_kept_or_made_again_and_told() {
    for (name, words) in [
        ("ca.pem", &["state/ca.pem", "fanfare certs create --force"][..]),
        ("ca-key.pem", &["state/ca-key.pem", "fanfare certs create --force"]),
        ("endpoint.key", &["state/endpoint.key", "has 8, not 64 bytes", "delete it"]),
        ("bans.redb", &["state/bans.redb is damaged", "backup"]),
    ] {
        let server = Server::start();
        let damaged = server.state().join(name);
        let (home, address) = server.kill();
        fs::write(&damaged, "garbage\n").unwrap();
        let serve = ["serve", "--dev", "--http-listen", "off", "--listen", &address, "--state-dir", STATE];
        run(home.path(), &serve).complains(1, words);
        assert_eq!(fs::read_to_string(&damaged).unwrap(), "garbage\n");
    }
    // What the authority can make again is made again, and the log says why.
    for name in ["server.pem", "server-key.pem"] {
        let server = Server::start();
        let damaged = server.state().join(name);
        let (home, address) = server.kill();
        fs::write(&damaged, "garbage\n").unwrap();
        let mut server = Server::in_home(home, &address, &["--dev"]);
        let line = server.process.err.until("made a development certificate");
        assert!(line.contains(&format!("could not be used: state/{name}")), "{line}");
        server.run(&["send", "--user", "bob", "--to-all", "x"]).printed();
    }
}

#[test]
fn a_bad_certificate_is_told_with_the_file_and_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::create(home.path()).unwrap();
    let now = OffsetDateTime::now_utc();
    let pair = |name: &str, at: OffsetDateTime| {
        let issued = authority.issue_server(&[], at).unwrap();
        fs::write(home.path().join(format!("{name}.pem")), issued.certificate_pem()).unwrap();
        fs::write(home.path().join(format!("{name}-key.pem")), issued.key_pem()).unwrap();
    };
    pair("good", now);
    pair("other", now);
    pair("old", now - Duration::days(30));
    pair("early", now + Duration::days(2));
    fs::write(home.path().join("notes.txt"), "to do\n").unwrap();
    fs::write(home.path().join("empty.pem"), "").unwrap();
    let whole = fs::read_to_string(home.path().join("good.pem")).unwrap();
    fs::write(home.path().join("half.pem"), &whole[..whole.len() / 2]).unwrap();

    for (cert, key, words) in [
        ("nowhere.pem", "good-key.pem", &["nowhere.pem does not exist"][..]),
        ("good.pem", "nowhere.pem", &["nowhere.pem does not exist"]),
        ("old.pem", "old-key.pem", &["old.pem expired at 20", "renew it"]),
        ("early.pem", "early-key.pem", &["early.pem is not valid until 20", "clock"]),
        ("good.pem", "other-key.pem", &["other-key.pem does not belong to", "good.pem"]),
        ("good-key.pem", "good.pem", &["good-key.pem holds a private key", "swapped"]),
        ("good.pem", "good.pem", &["good.pem holds a certificate, not a private key"]),
        ("ca.pem", "ca-key.pem", &["ca.pem is a CA certificate"]),
        ("notes.txt", "good-key.pem", &["notes.txt is not a PEM file"]),
        ("empty.pem", "good-key.pem", &["empty.pem is empty"]),
        ("half.pem", "good-key.pem", &["half.pem has a PEM section that is cut off"]),
        (".", "good-key.pem", &["cannot read .", "directory"]),
    ] {
        serve(home.path(), &["--cert", cert, "--key", key, "--state-dir", STATE]).complains(1, words);
    }
    let mut command = fanfare(home.path(), &["serve", "--cert", "good.pem", "--key", "good-key.pem"]);
    let mut process = Process::start(command.args([
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--state-dir",
        STATE,
    ]));
    ready(&mut process);
    process.err.until("without --dev every client is refused");
}

#[test]
fn a_server_that_is_told_to_stop_says_goodbye_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start();
        let (mut stays, _) = server.listener("alice", "lobby", &[]);
        let (mut leaves, _) = server.listener("bob", "lobby", &["--no-reconnect"]);
        server.process.signal(signal);
        for goodbye in [stays.object(), leaves.object()] {
            let after = &goodbye["retry_after_ms"];
            assert!((1_000..=1_500).contains(&after.as_u64().unwrap()), "{goodbye}");
            let reason = "The server is shutting down.";
            let expected =
                json!({ "kind": "goodbye", "code": 1001, "reason": reason, "retry_after_ms": after });
            assert_eq!(goodbye, expected);
        }
        let ended = server.process.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.err.lines().last().unwrap().contains("stopped connections=2"), "{ended:?}");

        let disconnected = stays.object();
        assert_eq!((&disconnected["kind"], &disconnected["code"]), (&"disconnected".into(), &1001.into()));
        assert!(disconnected["retry_in_ms"].is_u64(), "{disconnected}");
        let disconnected = leaves.object();
        assert_eq!(disconnected["retry_in_ms"], Value::Null);
        assert_eq!(leaves.object()["kind"], "closed");
        let ended = leaves.end();
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("The server is shutting down. (code 1001)"), "{ended:?}");
    }
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let mut server = Server::with(&["--dev", "--drain-deadline", "1h"]);
    let (stuck, _) = server.listener("alice", "lobby", &[]);
    // It will not confirm the goodbye, and for that the server waits.
    stuck.signal(Signal::STOP);
    server.process.signal(Signal::TERM);
    server.process.err.until("stopping; once more to exit at once");
    server.process.signal(Signal::TERM);
    let ended = server.process.end();
    assert_eq!(ended.code, Some(130));
    assert!(ended.err.lines().last().unwrap().contains("exiting at once"), "{ended:?}");
}

#[test]
fn a_hangup_loads_the_certificate_again_or_leaves_the_old_one_in_force() {
    let home = tempfile::tempdir().unwrap();
    for name in ["first", "second"] {
        run(home.path(), &["certs", "create", "--state-dir", name]).printed();
    }
    let place = home.path().to_owned();
    let used = place.join("used");
    fs::create_dir(&used).unwrap();
    let use_files_of = |name: &str| {
        for file in ["server.pem", "server-key.pem"] {
            fs::copy(place.join(name).join(file), used.join(file)).unwrap();
        }
    };
    use_files_of("first");
    let (first, second) = (place.join("first/ca.pem"), place.join("second/ca.pem"));
    let files = ["--dev", "--cert", "used/server.pem", "--key", "used/server-key.pem"];
    let mut server = Server::in_home(home, "127.0.0.1:0", &files);
    let send = |server: &Server, ca: &Path, text: &str| {
        server.run(&["send", "--ca", ca.to_str().unwrap(), "--user", "bob", "--to-group", "lobby", text])
    };
    let (mut listener, _) = server.listener("alice", "lobby", &["--ca", first.to_str().unwrap()]);
    send(&server, &first, "before").printed();
    assert_eq!(listener.object()["text"], "before");

    use_files_of("second");
    server.process.signal(Signal::HUP);
    server.process.err.until("certificate loaded");
    send(&server, &first, "refused").complains(1, &["not signed by a trusted authority"]);
    send(&server, &second, "after").printed();
    assert_eq!(
        listener.object()["text"],
        "after",
        "a connection outlives the certificate that it began with"
    );

    fs::write(used.join("server.pem"), "garbage").unwrap();
    server.process.signal(Signal::HUP);
    let line = server.process.err.until("the certificate was not replaced, the old one stays in use");
    assert!(line.contains("used/server.pem is not a PEM file"), "{line}");
    send(&server, &second, "still").printed();
    assert_eq!(listener.object()["text"], "still");
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn after_a_kill_and_a_restart_a_listener_is_back_where_it_was() {
    let server = Server::start();
    let (mut listener, first) = server.listener("alice", "lobby", &["--join", "hall"]);
    assert_eq!(listener.object()["group"], "hall");
    let (home, address) = server.kill();
    let server = Server::in_home(home, &address, &["--dev"]);

    // The new server owns the old one's keys, and says so to the first packet that it knows nothing of: a reset.
    let disconnected = listener.object();
    assert_eq!(disconnected["kind"], "disconnected");
    assert!(disconnected["reason"].as_str().unwrap().contains("it was restarted"), "{disconnected}");
    let back = listener.object();
    assert_eq!((&back["kind"], &back["rejoined"]), (&"reconnected".into(), &json!(["hall", "lobby"])));
    assert_ne!(back["connection"], first.as_str(), "a connection is not taken up again, it is a new one");
    for group in ["lobby", "hall"] {
        server.run(&["send", "--user", "bob", "--to-group", group, "again"]).printed();
        assert_eq!(listener.object()["to"], json!({ "group": group }));
    }
}

#[test]
fn what_a_server_keeps_is_its_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    // Whatever the mask of the one who starts it.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "umask 000 && exec \"$0\" serve --dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --http-listen off --state-dir new/state",
        BINARY,
    ]);
    support::without_our_variables(&mut command);
    let mut process = Process::start(command.current_dir(home.path()));
    ready(&mut process);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let state = home.path().join("new/state");
    assert_eq!((mode(&home.path().join("new")), mode(&state)), (0o700, 0o700));
    let mut names = Vec::new();
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        [
            ".lock",
            "admin-key.pem",
            "admin.pem",
            "bans.redb",
            "ca-key.pem",
            "ca.pem",
            "endpoint.key",
            "operator-developer-key.pem",
            "operator-developer.pem",
            "server-key.pem",
            "server.pem",
        ]
    );
}

#[test]
fn no_secret_is_in_the_output_however_much_is_logged() {
    let mut server = Server::with(&["--dev", "--log", "trace"]);
    let state = server.state();
    server.run(&["send", "--user", "bob", "--to-all", "--ack", "x"]).printed();
    server.run(&["admin", "ban", "bob"]).printed();
    // The certificate and its key are read once more.
    server.process.signal(Signal::HUP);
    server.process.err.until("certificate loaded");
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut secrets: Vec<Vec<u8>> = vec![fs::read(state.join("endpoint.key")).unwrap()];
    for name in ["ca-key.pem", "server-key.pem", "admin-key.pem", "operator-developer-key.pem"] {
        let pem = fs::read_to_string(state.join(name)).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = base64.decode(body.trim_end_matches('=')).unwrap();
        // PKCS#8: before the number that is the key stands what kind of key it is, behind it the public key.
        assert_eq!(key[34..36], [4, 32]);
        secrets.push(key[36..68].to_vec());
    }

    let ended = server.stop();
    let output = ended.out + &ended.err;
    assert!(output.contains("TRACE"), "the log is as talkative as it gets");
    assert!(!output.contains("PRIVATE KEY"));
    for secret in secrets {
        // Any eight bytes of it, as programs write bytes.
        for piece in secret.windows(8) {
            let hexadecimal: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let listed = piece.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            for form in [hexadecimal.to_uppercase(), hexadecimal, listed] {
                assert!(!output.contains(&form), "a piece of a secret is in the output: {form}");
            }
        }
        // Base64 takes bytes by threes, and the secret may begin anywhere in a three.
        for start in 0..3 {
            for piece in base64.encode(&secret[start..]).as_bytes().windows(12) {
                let piece = std::str::from_utf8(piece).unwrap();
                assert!(!output.contains(piece), "a piece of a secret is in the output: {piece}");
            }
        }
    }
}
