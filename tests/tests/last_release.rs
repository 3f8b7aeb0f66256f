//! Promise 13: the client of the last release works with the server of today.
//!
//! `tests/last-release/run` builds that client from its commit, and runs this with its path; nothing else can, which is
//! why these tests are ignored elsewhere. What the client takes and says is in the head of client/examples/session.rs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use fanfare_client::{Outgoing, Payload};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, Target};
use fanfare_tests::{Hub, group, message, text, user, within};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

/// The last release's client while it runs.
struct Session {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Session {
    fn open(hub: &Hub, name: &str) -> Self {
        let binary = std::env::var_os("FANFARE_LAST_RELEASE")
            .expect("FANFARE_LAST_RELEASE is set by tests/last-release/run, which runs these tests");
        let mut command = Command::new(binary);
        command.arg(hub.address().to_string()).arg(hub.state().join("ca.pem")).arg(name);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = tokio::process::ChildStdout::from_std(process.stdout.take().unwrap()).unwrap();
        Self { input: process.stdin.take(), output: BufReader::new(output).lines(), process }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line of this kind.
    async fn line(&mut self, kind: &str) -> Value {
        within(async {
            loop {
                let line = self.output.next_line().await.unwrap();
                let line: Value = serde_json::from_str(&line.expect("the client ended")).unwrap();
                if line["kind"] == kind {
                    return line;
                }
            }
        })
        .await
    }

    async fn done(&mut self, line: &str) -> u64 {
        self.tell(line);
        self.line("done").await["count"].as_u64().unwrap()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "needs the last release's client: tests/last-release/run"]
async fn promise_13_the_last_releases_client_sends_and_hears() {
    let hub = Hub::start().await;
    let mut old = Session::open(&hub, "old");
    old.line("welcome").await;
    assert_eq!(old.done("join room").await, 1);
    let new = hub.client("new").await;
    new.join("room").await.unwrap();
    assert_eq!(old.done("count room").await, 2);

    // What the new one sends, the old one hears; with the format that it has.
    for (payload, format) in [
        (Payload::from("hello"), "text"),
        (Payload::json(r#"{"a":1}"#), "json"),
        (Payload::from(vec![1_u8]), "binary"),
    ] {
        new.send(Outgoing::new("Event", payload.clone()).to_group("room").others()).await.unwrap();
        let heard = old.line("message").await;
        assert_eq!(heard["text"], String::from_utf8_lossy(&payload.bytes).into_owned());
        assert_eq!((&heard["event"], &heard["format"]), (&json!("Event"), &json!(format)));
    }
    // And the other way round.
    assert_eq!(old.done("send-to-user new Event from me to you").await, 1);
    assert_eq!(text(&new).await, "from me to you");
    assert_eq!(old.done(r#"send-json room Event {"b": 2}"#).await, 2);
    let heard = message(&new).await;
    assert_eq!((heard.text(), heard.format.to_string().as_str()), (Some(r#"{"b": 2}"#), "json"));
    old.done("datagram room Event by a datagram").await;
    assert_eq!(text(&new).await, "by a datagram");
    assert_eq!(old.done("leave room").await, 1);
    assert_eq!(hub.server.count(&Target::Group(group("room"))), 1);
    old.tell("close");
    assert!(old.line("closed").await["reason"].as_str().unwrap().contains("by the application"));
    hub.stop().await;
}

#[tokio::test]
#[ignore = "needs the last release's client: tests/last-release/run"]
async fn promise_13_the_last_releases_client_is_kept_out_and_told_why() {
    let hub = Hub::start().await;
    let mut old = Session::open(&hub, "old");
    old.done("join room").await;
    let revoke = Action::Revoke {
        user: user("old"),
        groups: "room".parse().unwrap(),
        until: None,
        reason: "out".to_owned(),
        dry_run: false,
    };
    hub.act(revoke).await.unwrap();
    let removed = old.line("removed").await;
    let expected = (json!("room"), json!(Code::BannedFromGroup.number()), json!("out"));
    assert_eq!((removed["group"].clone(), removed["code"].clone(), removed["reason"].clone()), expected);
    old.tell("join room");
    assert_eq!(old.line("refused").await["code"], Code::BannedFromGroup.number());
    old.done("join other").await;

    // It comes back to a server that restarts, and into the groups that it may be in.
    let hub = hub.restart().await;
    assert_eq!(old.line("goodbye").await["code"], Code::ShuttingDown.number());
    assert_eq!(old.line("reconnected").await["rejoined"], json!(["other"]));
    let kick = Action::Kick { who: Who::User(user("old")), reason: "and out".to_owned() };
    hub.act(kick).await.unwrap();
    let closed = old.line("closed").await;
    assert!(closed["reason"].as_str().unwrap().contains("and out"), "{closed}");
    hub.stop().await;
}
