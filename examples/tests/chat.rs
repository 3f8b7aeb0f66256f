//! `chat.rs` as a user runs it: its clients call its methods.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod running;

use std::process::Command;

use fanfare_client::{Client, ClientConfig, Credential, Roots, UserName};
use fanfare_tests::{message, within};
use running::Running;

#[tokio::test]
async fn the_sample_does_what_the_document_says() {
    let home = tempfile::tempdir().unwrap();
    let (mut running, ready) = Running::start("chat", &["127.0.0.1:0", "127.0.0.1:0"], home.path());
    let (quic, signalr) = ready.trim().strip_prefix("ready quic=").unwrap().split_once(" signalr=").unwrap();
    assert!(signalr.starts_with("http://127.0.0.1:"), "{signalr}");
    let connect = async |name: &str| {
        let config = ClientConfig::new(quic, Credential::DevUser(UserName::new(name).unwrap()))
            .roots(Roots::Pem(home.path().join(".fanfare/ca.pem")));
        within(Client::connect(config)).await.unwrap()
    };
    let (alice, bob) = (connect("alice").await, connect("bob").await);

    within(alice.invoke::<()>("SendPrivateMessage", &("bob", "hello"))).await.unwrap();
    let private = message(&bob).await;
    assert_eq!((private.event.as_str(), private.text()), ("ReceiveMessage", Some("hello")));

    within(bob.invoke::<()>("AddToGroup", &("room",))).await.unwrap();
    let joined = message(&bob).await;
    let said = format!("{} has joined the group room.", bob.connection_id());
    assert_eq!((joined.event.as_str(), joined.text()), ("Send", Some(said.as_str())));
    within(alice.invoke::<()>("AddToGroup", &("room",))).await.unwrap();
    message(&alice).await;
    message(&bob).await;
    within(alice.invoke::<()>("RemoveFromGroup", &("room",))).await.unwrap();
    let left = message(&bob).await;
    assert_eq!(left.text().unwrap(), format!("{} has left the group room.", alice.connection_id()));
    let wrong = within(alice.invoke::<()>("AddToGroup", &("",))).await.unwrap_err();
    assert!(wrong.to_string().contains("the group name is empty"), "{wrong}");

    let interrupted = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let status = within(tokio::task::spawn_blocking(move || running.0.wait().unwrap())).await.unwrap();
    assert!(status.success(), "{status}");
}
