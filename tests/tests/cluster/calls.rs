//! Calls on a node that has lost touch: whoever makes them may be banned by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_client::{CallError as ClientError, Invocation};
use fanfare_protocol::Code;
use fanfare_protocol::admin::{ConnectionRow, Listing, Page, Question, Role};
use fanfare_server::{CallError, Methods, State, Upload};
use fanfare_tests::operators::connect;
use fanfare_tests::{Hub, eventually, within};
use futures_util::stream;
use tokio::sync::{Notify, mpsc};

use super::{refused, short_of_breath};
use crate::harness::Nats;

/// What a test lets methods do, and what they have done.
#[derive(Clone, Default)]
struct Gate(Arc<Door>);

#[derive(Default)]
struct Door {
    open: Notify,
    begun: AtomicBool,
    left: AtomicBool,
    read: AtomicBool,
}

async fn slow(State(gate): State<Gate>) -> Result<String, CallError> {
    gate.0.begun.store(true, Ordering::SeqCst);
    gate.0.open.notified().await;
    gate.0.left.store(true, Ordering::SeqCst);
    Ok("secret".to_owned())
}

/// Reads one item, and then whether there may be another.
async fn read(State(gate): State<Gate>, mut items: Upload<u32>) -> Result<u32, CallError> {
    let first = items.next().await.unwrap_or(Ok(0))?;
    gate.0.read.store(true, Ordering::SeqCst);
    items.next().await.unwrap_or(Ok(0)).map(|second| first + second)
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_node_that_hears_nothing_takes_no_call_and_holds_back_what_comes_of_those_before() {
    let nats = Nats::one();
    let gate = Gate::default();
    let methods = Methods::with_state(gate.clone()).on("Slow", slow).on("Read", read);
    let a = Hub::assembled(tempfile::tempdir().unwrap(), short_of_breath(&nats), methods).await;
    let oncall = connect(&a, "oncall", Role::Viewer).await;
    let alice = Arc::new(a.client("alice").await);
    let waiting = async || {
        let listing: Listing<ConnectionRow> =
            within(oncall.ask(&Question::Connections(Page::default()))).await.unwrap();
        listing.rows[0].outbox_frames
    };
    let (items, sent) = mpsc::channel::<u32>(1);
    let upload = stream::unfold(sent, |mut sent| async move { sent.recv().await.map(|item| (item, sent)) });
    let (reader, caller) = (Arc::clone(&alice), Arc::clone(&alice));
    let reading =
        tokio::spawn(async move { reader.call::<u32>(Invocation::new("Read").upload(upload)).await });
    let calling = tokio::spawn(async move { caller.invoke::<String>("Slow", &[0; 0]).await });
    items.send(1).await.unwrap();
    eventually("both go on", || gate.0.begun.load(Ordering::SeqCst) && gate.0.read.load(Ordering::SeqCst))
        .await;

    nats.stop(0);
    within(async { while refused(&a, "carol").await != Some(Code::CutOff.number()) {} }).await;
    let refusal = within(alice.invoke::<String>("Slow", &[0; 0])).await.unwrap_err();
    assert_eq!(refusal.code(), Some(Code::CutOff.number()));
    // What a method has begun it may end; nobody is told what came of it.
    gate.0.open.notify_one();
    eventually("it has ended", || gate.0.left.load(Ordering::SeqCst)).await;
    within(async { while waiting().await == 0 {} }).await;
    items.send(2).await.unwrap();
    within(async { while waiting().await < 3 {} }).await;
    assert!(!calling.is_finished() && !reading.is_finished());

    nats.go_on(0);
    assert_eq!(within(calling).await.unwrap().unwrap(), "secret");
    let error: ClientError = within(reading).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::CutOff.number()), "{error}");
    gate.0.open.notify_one();
    let again = within(async {
        loop {
            match alice.invoke::<String>("Slow", &[0; 0]).await {
                Err(error) if error.code() == Some(Code::CutOff.number()) => {}
                other => break other,
            }
        }
    });
    assert_eq!(again.await.unwrap(), "secret");
    drop(alice);
    a.stop().await;
}
