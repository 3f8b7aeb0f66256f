//! `embed.rs` as a user runs it: a client in a group gets what was posted over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod running;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use fanfare_client::{Client, ClientConfig, Credential, Event, Roots, UserName};
use fanfare_tests::within;
use running::Running;

fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_client_gets_what_was_posted_and_the_end_is_orderly() {
    let home = tempfile::tempdir().unwrap();
    let (mut running, ready) = Running::start("embed", &["127.0.0.1:0", "127.0.0.1:0"], home.path());
    let (quic, http) = ready.trim().strip_prefix("ready quic=").unwrap().split_once(" http=").unwrap();

    let config = ClientConfig::new(quic, Credential::DevUser(UserName::new("alice").unwrap()))
        .roots(Roots::Pem(home.path().join(".fanfare/ca.pem")));
    let client = within(Client::connect(config)).await.unwrap();
    within(client.join("lobby")).await.unwrap();
    let answer = post(http, "/rooms/lobby", "the doors are open");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("told 1 connections\n"), "{answer}");
    let message = within(async {
        loop {
            if let Some(Event::Message(message)) = client.next().await {
                break message;
            }
        }
    })
    .await;
    assert_eq!((message.event.as_str(), &message.payload[..]), ("Announcement", &b"the doors are open"[..]));
    assert!(post(http, "/rooms/nobody", "x").ends_with("told 0 connections\n"));
    let long = "a".repeat(257);
    let refused = post(http, &format!("/rooms/{long}"), "x");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("it must have 1 to 256"), "{refused}");

    // Interrupted as by a person at a terminal.
    let interrupted = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let goodbye = within(async {
        loop {
            match client.next().await {
                Some(Event::Goodbye { code, .. }) => break code,
                Some(_) => {}
                None => panic!("the connection ended without a word"),
            }
        }
    })
    .await;
    assert_eq!(goodbye, 1001);
    let status = within(tokio::task::spawn_blocking(move || running.0.wait().unwrap())).await.unwrap();
    assert!(status.success(), "{status}");
    // Nothing was kept but the certificate.
    assert!(!home.path().join(".fanfare/bans.redb").exists());
}
