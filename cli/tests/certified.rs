//! Users who are known by a certificate: issued by `fanfare certs user`, taken by `serve --client-ca`, granted by a
//! file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::fs;

use support::{Ended, Server, Signal, run};

const OPERATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../OPERATIONS.md");

/// The manual's example of what users with a certificate may do.
fn grants() -> String {
    let manual = fs::read_to_string(OPERATIONS).unwrap();
    let example = manual.split_once("```toml\n").unwrap().1;
    example.split_once("```").unwrap().0.to_owned()
}

/// A server that takes certificates of the authority in its state directory, and no other proof.
fn server() -> Server {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["certs", "create", "--state-dir", support::STATE]).printed();
    for name in ["sensor-1", "guest"] {
        run(home.path(), &["certs", "user", "--name", name, "--state-dir", support::STATE]).printed();
    }
    fs::write(home.path().join("grants.toml"), grants()).unwrap();
    let arguments =
        ["--cert", "state/server.pem", "--key", "state/server-key.pem", "--client-ca", "state/ca.pem"];
    let arguments = [&arguments[..], &["--client-grants", "grants.toml", "--log", "debug"]].concat();
    let server = Server::in_home(home, "127.0.0.1:0", &arguments);
    server.run(&["certs", "operator", "--name", "oncall", "--role", "operator"]).printed();
    server
}

/// Tries to listen as whom a certificate names.
fn listen(server: &Server, name: &str, group: &str) -> Ended {
    let (cert, key) = (format!("state/{name}.pem"), format!("state/{name}-key.pem"));
    let who = ["--cert", cert.as_str(), "--key", key.as_str()];
    server.run(&[&["listen", "--json", "--no-reconnect", "--join", group], &who[..]].concat())
}

#[test]
fn a_certificate_names_the_user_and_the_file_what_it_may() {
    let mut server = server();
    let who = ["--cert", "state/user-sensor-1.pem", "--key", "state/user-sensor-1-key.pem"];
    let mut sensor =
        server.spawn(&[&["listen", "--json", "--join", "room-7", "--join", "news"], &who[..]].concat());
    assert_eq!(sensor.object()["user"], "sensor-1");
    assert_eq!((&sensor.object()["group"], &sensor.object()["group"]), (&"room-7".into(), &"news".into()));
    server.run(&[&["send", "--to-group", "room-7", "21.5"], &who[..]].concat()).printed();
    assert_eq!(sensor.object()["text"], "21.5");

    let refused = listen(&server, "user-guest", "room-7");
    assert!(refused.code == Some(1) && refused.err.contains("(code 3102)"), "{refused:?}");
    // The grants are read again, and nobody is dropped.
    fs::write(server.home().join("grants.toml"), grants().replace("sensor-*", "guest")).unwrap();
    server.process.signal(Signal::HUP);
    server.process.err.until("client grants loaded");
    let mut guest = server.spawn(&[
        "listen",
        "--json",
        "--join",
        "room-7",
        "--cert",
        "state/user-guest.pem",
        "--key",
        "state/user-guest-key.pem",
    ]);
    assert_eq!(guest.object()["user"], "guest");
    assert_eq!(guest.object()["members"], 2, "the sensor is still there");

    // To operators it is a user like any other.
    let shown = server.run(&["admin", "connections", "--json", "--filter", "guest"]);
    let shown: serde_json::Value = serde_json::from_str(shown.printed()).unwrap();
    let id = shown["rows"][0]["connection"].as_str().unwrap();
    let detail = server.run(&["admin", "connection", id, "--json"]);
    let detail: serde_json::Value = serde_json::from_str(detail.printed()).unwrap();
    let serial = detail["token_id"].as_str().unwrap();
    assert!(detail["token_ends"].as_u64().is_some());
    server.run(&["admin", "revoke-token", serial]).printed();
    assert_eq!(guest.object()["kind"], "goodbye");
    assert_eq!(guest.object()["kind"], "disconnected");
    assert!(
        listen(&server, "user-guest", "news").err.contains("(code 3007)"),
        "its serial number is refused"
    );
    server.run(&["admin", "sign-out", "sensor-1"]).printed();
    assert_eq!(sensor.object()["kind"], "goodbye");
    assert_eq!(sensor.object()["kind"], "disconnected");
    assert!(
        listen(&server, "user-sensor-1", "news").err.contains("(code 3015)"),
        "it was issued before the sign-out"
    );
}

#[test]
fn what_names_no_user_is_refused_and_told_why() {
    let server = server();
    // An operator's is no user's, and neither is another authority's.
    let refused = listen(&server, "operator-oncall", "news");
    assert!(refused.err.contains("an operator's") && refused.err.contains("(code 3013)"), "{refused:?}");
    run(server.home(), &["certs", "user", "--name", "sensor-1", "--state-dir", "elsewhere"]).printed();
    for kind in ["", "-key"] {
        let name = format!("user-sensor-1{kind}.pem");
        fs::copy(
            server.home().join("elsewhere").join(&name),
            server.state().join(format!("foreign{kind}.pem")),
        )
        .unwrap();
    }
    let refused = listen(&server, "foreign", "news");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("certificate") && !refused.out.contains("welcome"), "{refused:?}");
    // Without one, and without anything else.
    server.run(&["listen", "--user", "sensor-1"]).complains(1, &["(code 3002)"]);
    server.run(&["listen", "--cert", "x.pem"]).complains(2, &["--key"]);
    server
        .run(&["listen", "--cert", "x.pem", "--key", "y.pem", "--user", "z"])
        .complains(2, &["--cert", "--user"]);
    server.run(&["listen", "--cert", "x.pem", "--key", "y.pem"]).complains(1, &["x.pem", "cannot be read"]);
    // A server that takes none says so.
    let plain = Server::start();
    run(plain.home(), &["certs", "user", "--name", "a", "--state-dir", support::STATE]).printed();
    let refused = listen(&plain, "user-a", "news");
    assert!(
        refused.err.contains("takes no client certificates") && refused.err.contains("(code 3013)"),
        "{refused:?}"
    );
}

#[test]
fn bad_files_of_grants_are_told_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    run(home, &["certs", "create", "--state-dir", support::STATE]).printed();
    let serve = |more: &[&str]| {
        let serve = [
            "serve",
            "--dev",
            "--http-listen",
            "off",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "off",
            "--state-dir",
            support::STATE,
        ];
        run(home, &[&serve, more].concat())
    };
    serve(&["--client-grants", "g.toml"]).complains(2, &["--client-grants needs --client-ca"]);
    serve(&["--client-ca", "nowhere.pem"]).complains(1, &["nowhere.pem", "--client-ca"]);
    serve(&["--client-ca", "state/ca.pem", "--client-grants", "nowhere.toml"])
        .complains(1, &["nowhere.toml", "--client-grants"]);
    for (text, words) in [
        ("[[users]]", "users"),
        ("[[user]]\nname = \"\"\ngrants = []", "name"),
        ("[[user]]\nname = \"a\"\ngrants = [{ group = \"g\", may = [\"fly\"] }]", "fly"),
        ("[[user]]\nname = \"a\"\ngrants = [{ user = \"g\", may = [\"join\"] }]", "user \"a\": grant 1"),
        ("not toml", "line 1"),
    ] {
        fs::write(home.join("g.toml"), text).unwrap();
        serve(&["--client-ca", "state/ca.pem", "--client-grants", "g.toml"]).complains(1, &["g.toml", words]);
    }
}
