//! `everything.rs` as the tests of other clients start it: ours calls its methods, and it says where SignalR's connect.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod running;

use fanfare_client::{Client, ClientConfig, Credential, Invocation, Roots, UserName};
use fanfare_tests::{message, within};
use futures_util::stream;
use running::Running;
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_of_our_own_calls_methods_of_every_kind() {
    let home = tempfile::tempdir().unwrap();
    let (_running, ready) = Running::start("everything", &["127.0.0.1:0", "127.0.0.1:0"], home.path());
    let (quic, signalr) = ready.trim().strip_prefix("ready quic=").unwrap().split_once(" signalr=").unwrap();
    assert!(signalr.starts_with("http://127.0.0.1:") && signalr.ends_with("/signalr"), "{signalr}");
    let config = ClientConfig::new(quic, Credential::DevUser(UserName::new("alice").unwrap()))
        .roots(Roots::Pem(home.path().join(".fanfare/ca.pem")));
    let alice = within(Client::connect(config)).await.unwrap();

    assert_eq!(within(alice.invoke::<i64>("Add", &(40, 2))).await, Ok(42));
    let value = json!({ "a": [1.5, null] });
    assert_eq!(within(alice.invoke::<Value>("Echo", &(&value,))).await, Ok(value));
    let bytes = Invocation::new("Reverse").arguments(&("AQIDAA==",));
    assert_eq!(within(alice.call::<String>(bytes)).await, Ok("AAMCAQ==".to_owned()));
    let who = within(alice.invoke::<Value>("Whoami", &[0; 0])).await.unwrap();
    let connection = alice.connection_id().to_string();
    assert_eq!(who, json!({ "user": "alice", "connection": connection, "transport": "quic" }));
    let sold_out = within(alice.invoke::<()>("FailOwn", &[0; 0])).await.unwrap_err();
    assert_eq!(sold_out.code(), Some(10_001), "{sold_out}");

    let mut numbers = within(alice.stream::<u32>("Counter", &(3,))).await.unwrap();
    for number in 0..3 {
        assert_eq!(within(numbers.next()).await, Some(Ok(number)));
    }
    assert_eq!(within(numbers.next()).await, None);
    let sum = Invocation::new("Sum").upload(stream::iter(1..=100));
    assert_eq!(within(alice.call::<i64>(sum)).await, Ok(5_050));
    let first = Invocation::new("FirstOf").arguments(&(2,)).upload(stream::iter(1..));
    assert_eq!(within(alice.call::<Vec<u8>>(first)).await, Ok(vec![1, 2]));

    alice.on_invoke("Confirm", |(question,): (String,)| async move { Ok::<_, String>(question.len()) });
    assert_eq!(within(alice.invoke::<usize>("AskMe", &("sure?",))).await, Ok(5));
    assert_eq!(within(alice.invoke::<usize>("Join", &("room",))).await, Ok(1));
    assert_eq!(within(alice.invoke::<u64>("Broadcast", &("room", "Said", 7))).await, Ok(1));
    let said = message(&alice).await;
    assert_eq!((said.event.as_str(), said.text()), ("Said", Some("[7]")));
}
