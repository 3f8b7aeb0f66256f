//! Calls in both directions, where a caller gives up, an application's code fails, or too much is asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_client::{CallError, Client, Code, Event, Invocation, Payload, RequestError};
use fanfare_protocol::call::{ClientCall, Failure, Outcome, ServerCall};
use fanfare_protocol::{ClientFrame, Features, MethodName, RequestId, ServerFrame, Target, Welcome};
use futures_core::Stream;

use crate::server::{Peer, Server, next, next_message, welcome, within};

/// As many requests as may have no answer, calls among them.
const MOST: usize = 1_024;

/// A client of a server that knows calls.
async fn client() -> (Client, Peer) {
    let server = Server::start();
    let accept = async {
        let mut peer = server.hello().await;
        peer.say(&ServerFrame::Welcome(Welcome { features: Features::CALLS, ..welcome(1) })).await;
        peer
    };
    let (client, peer) = tokio::join!(within("connect", Client::connect(server.config())), accept);
    (client.unwrap(), peer)
}

/// What the client says next of calls.
async fn said(peer: &mut Peer) -> ClientCall {
    match peer.frame().await {
        ClientFrame::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

async fn invoked(peer: &mut Peer) -> RequestId {
    match said(peer).await {
        ClientCall::Invoke(invoke) => invoke.request,
        other => panic!("{other:?}"),
    }
}

/// Asks the client, and gives its answer.
async fn ask(peer: &mut Peer, method: &str) -> Outcome {
    let (method, arguments) = (MethodName::new(method).unwrap(), Payload::json("[]"));
    peer.say(&ServerFrame::Call(ServerCall::Invoke { call: 7, method, arguments })).await;
    match said(peer).await {
        ClientCall::Completion { call: 7, outcome } => outcome,
        other => panic!("{other:?}"),
    }
}

/// Gives up a call that the server has got.
async fn give_up(client: &Client, peer: &mut Peer) -> RequestId {
    let call = client.invoke::<()>("Wait", &());
    let request = tokio::select! {
        _ = call => panic!("nothing answers"),
        request = invoked(peer) => request,
    };
    assert_eq!(said(peer).await, ClientCall::Cancel { request });
    request
}

#[tokio::test]
async fn what_comes_of_a_call_that_was_given_up_is_nobodys_business() {
    let (client, mut peer) = client().await;
    let refused = give_up(&client, &mut peer).await;
    peer.refuse(refused, Code::TooManyCalls, "too many").await;
    let completed = give_up(&client, &mut peer).await;
    let outcome = Outcome::Nothing;
    peer.say(&ServerFrame::Call(ServerCall::Completion { request: completed, outcome })).await;
    peer.message(1).await;
    assert_eq!(next_message(&client).await, 1, "no event came before it");
}

#[tokio::test]
async fn calls_have_their_places_among_the_requests_without_an_answer_and_keep_them_when_they_are_given_up() {
    let (client, mut peer) = client().await;
    let mut last = 0;
    for _ in 0..MOST {
        last = give_up(&client, &mut peer).await;
    }
    let counting = client.count(Target::All);
    tokio::pin!(counting);
    // What is behind them is not sent before the server has said what came of one of them.
    peer.message(1).await;
    tokio::select! {
        biased;
        counted = &mut counting => panic!("{counted:?}"),
        number = next_message(&client) => assert_eq!(number, 1),
    }
    let completion = ServerCall::Completion { request: last, outcome: Outcome::Nothing };
    peer.say(&ServerFrame::Call(completion)).await;
    let answered = async {
        let request = peer.count().await;
        peer.ack(request, 3).await;
    };
    let (counted, ()) = tokio::join!(within("the answer", counting), answered);
    assert_eq!(counted, Ok(3));
}

/// A stream that panics behind its first item.
struct Broken(u8);

impl Stream for Broken {
    type Item = u8;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u8>> {
        assert_eq!(self.0, 0, "this is the panic that the test wants");
        self.0 = 1;
        Poll::Ready(Some(1))
    }
}

#[tokio::test]
async fn a_stream_of_the_clients_that_panics_is_ended_so_that_the_method_does_not_wait_for_it() {
    let (client, mut peer) = client().await;
    let call = client.call::<u8>(Invocation::new("Sum").upload(Broken(0)));
    let answers = async {
        let ClientCall::Invoke(invoke) = said(&mut peer).await else { panic!("it is a call") };
        let stream = invoke.streams[0];
        peer.say(&ServerFrame::Call(ServerCall::Credit { stream, items: 10 })).await;
        assert_eq!(said(&mut peer).await, ClientCall::Item { stream, item: Payload::json("1") });
        let ClientCall::End { stream: ended, failure: Some(failure) } = said(&mut peer).await else {
            panic!("it ends with a failure")
        };
        assert_eq!((ended, failure.code), (stream, Code::CallFailed.number()));
        let outcome = Outcome::Failed(failure);
        peer.say(&ServerFrame::Call(ServerCall::Completion { request: invoke.request, outcome })).await;
    };
    let (called, ()) = tokio::join!(within("the outcome", call), answers);
    assert!(matches!(called, Err(CallError::Failed { code: 2203, .. })), "{called:?}");
}

#[tokio::test]
async fn no_answer_is_longer_than_the_server_takes() {
    let (client, mut peer) = client().await;
    let most = client.limits().payload_bytes as usize;
    client.on_invoke("Long", move |_: [u8; 0]| async move { Ok::<_, String>("x".repeat(most)) });
    // Two quotes are part of the value.
    client.on_invoke("Longest", move |_: [u8; 0]| async move { Ok::<_, String>("x".repeat(most - 2)) });
    client.on_invoke("Chatty", move |_: [u8; 0]| async move { Err::<(), _>("\u{20ac}".repeat(most)) });
    let Outcome::Failed(failure) = ask(&mut peer, "Long").await else { panic!("it is too long") };
    assert_eq!(failure.code, Code::PayloadTooLarge.number());
    assert!(failure.detail.contains(&most.to_string()), "{}", failure.detail);
    let Outcome::Value(value) = ask(&mut peer, "Longest").await else { panic!("it is not too long") };
    assert_eq!(value.bytes.len(), most);
    let Outcome::Failed(failure) = ask(&mut peer, "Chatty").await else { panic!("it failed") };
    assert_eq!(
        (failure.code, failure.detail.len()),
        (Code::CallFailed.number(), Failure::DETAIL_BYTES / 3 * 3)
    );
}

#[tokio::test]
async fn a_client_that_its_handler_holds_weakly_ends_with_its_last_handle() {
    let (client, mut peer) = client().await;
    let weak = client.downgrade();
    let inner = weak.clone();
    client.on_invoke("Server", move |_: [u8; 0]| {
        let client = inner.upgrade();
        async move { client.map(|client| client.server()).ok_or_else(|| "closed".to_owned()) }
    });
    assert!(matches!(ask(&mut peer, "Server").await, Outcome::Value(_)));
    drop(client);
    within("the end", peer.connection.closed()).await;
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn a_closed_client_gives_up_what_its_handlers_hold() {
    let (client, mut peer) = client().await;
    let held = Arc::new(());
    for name in ["A", "B"] {
        // A handler that holds its client, which it should not: that ends with the client's close.
        let (client_too, held) = (client.clone(), Arc::clone(&held));
        client.on_invoke(name, move |_: [u8; 0]| {
            let _ = (&client_too, &held);
            async { Ok::<_, String>(()) }
        });
    }
    assert_eq!(Arc::strong_count(&held), 3);
    let (closed, end) = tokio::join!(within("close", client.close()), async {
        let end = peer.frame_or_end().await;
        peer.close(Code::Normal, "");
        end
    });
    assert_eq!((closed.is_ok(), end), (true, None));
    assert!(matches!(next(&client).await, Event::Closed { .. }));
    assert_eq!(Arc::strong_count(&held), 1);
    let too_late = Arc::clone(&held);
    client.on_invoke("C", move |_: [u8; 0]| {
        let _ = &too_late;
        async { Ok::<_, String>(()) }
    });
    assert_eq!(Arc::strong_count(&held), 1, "nobody would ever ask it");
    let called = client.invoke::<()>("Method", &()).await;
    assert!(matches!(called, Err(CallError::Request(RequestError::Closed))), "{called:?}");
}
