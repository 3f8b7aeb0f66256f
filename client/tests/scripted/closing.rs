//! The end of a client: closed in the ordinary way, in a bad moment, or just dropped.

use std::time::Duration;

use fanfare_client::{Client, CloseError, CloseReason, Code, Event, Outgoing, RequestError};
use fanfare_protocol::ServerFrame;
use quinn::ConnectionError;

use crate::server::{Peer, Server, application_code, next, next_message, within};

/// What a real server does at the end of the stream: answer, finish, close.
async fn part(peer: &mut Peer) {
    assert!(peer.frame_or_end().await.is_none(), "nothing more");
    peer.send.finish().unwrap();
    let _ = within("the client to have everything", peer.send.stopped()).await;
    peer.close(Code::Normal, "");
}

/// Takes the last events, after so many messages.
async fn ended(client: &Client, messages: usize) -> u64 {
    for number in 0..messages {
        assert_eq!(next_message(client).await, number);
    }
    let Event::Closed { reason: CloseReason::Requested, discarded } = next(client).await else {
        panic!("the end")
    };
    assert!(within("the end", client.next()).await.is_none());
    discarded
}

#[tokio::test]
async fn everything_that_was_sent_before_a_close_arrives() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    for _ in 0..50 {
        client.send_to_all("event", vec![b'x'; 10_000]).await.unwrap();
    }
    // The server has read nothing yet.
    let request = client.send(Outgoing::new("last", "").to_all()).await.unwrap();
    let (closed, ()) = tokio::join!(within("the close", client.close()), async {
        while peer.sent().await.event.as_str() != "last" {}
        peer.message(0).await;
        peer.refuse(request, Code::Internal, "no").await;
        part(&mut peer).await;
    });
    assert_eq!(closed, Ok(()));
    assert_eq!(next_message(&client).await, 0);
    assert!(matches!(next(&client).await, Event::Refused { .. }), "a refusal is heard to the last");
    assert_eq!(ended(&client, 0).await, 0);
    assert_eq!(client.close().await, Ok(()), "closing again is no error");
    assert_eq!(client.send_to_all("event", "").await, Err(RequestError::Closed));
    assert_eq!(client.join("a").await, Err(RequestError::Closed));
}

#[tokio::test]
async fn requests_under_way_are_answered_before_the_end() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let (joined, request) = tokio::join!(client.join("a"), async {
        let request = peer.join().await.0;
        let (closed, ()) = tokio::join!(client.close(), async {
            // The close has begun when the stream ends.
            assert!(peer.frame_or_end().await.is_none());
            assert_eq!(client.send_to_all("event", "").await, Err(RequestError::Closed));
            assert_eq!(client.leave("a").await, Err(RequestError::Closed));
            peer.ack(request, 3).await;
            peer.send.finish().unwrap();
        });
        assert_eq!(closed, Ok(()));
        request
    });
    assert_eq!(joined, Ok(3), "request {request}");
}

#[tokio::test]
async fn a_server_that_does_not_finish_is_left_after_the_deadline() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let (closed, error) = tokio::join!(within("the close", client.close()), async {
        assert!(peer.frame_or_end().await.is_none());
        within("the client to leave", peer.connection.closed()).await
    });
    assert_eq!(closed, Err(CloseError::Timeout { after: Duration::from_secs(5) }));
    assert_eq!(application_code(&error), Some(Code::Normal));
    assert_eq!(ended(&client, 0).await, 0);
}

#[tokio::test]
async fn a_close_that_is_cut_off_says_so() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let (closed, ()) = tokio::join!(within("the close", client.close()), async {
        assert!(peer.frame_or_end().await.is_none());
        peer.close(Code::SlowConsumer, "");
    });
    match closed {
        Err(CloseError::Lost(reason)) => assert_eq!(reason.code(), Some(Code::SlowConsumer)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_event_queue_does_not_hold_up_a_close() {
    let server = Server::start();
    let (client, mut peer) = server.client_with(server.config().event_queue(4)).await;
    for number in 0..10 {
        peer.message(number).await;
    }
    let (closed, ()) = tokio::join!(within("the close", client.close()), part(&mut peer));
    assert_eq!(closed, Ok(()));
    assert_eq!(ended(&client, 4).await, 6, "those that found no room are counted");
}

#[tokio::test]
async fn closing_during_an_outage_ends_the_attempts() {
    let server = Server::start();
    let (client, peer) = server.client().await;
    peer.close(Code::Internal, "");
    assert!(matches!(next(&client).await, Event::Disconnected { .. }));
    // An attempt is under way, and hangs.
    let attempt = server.hello().await;
    assert_eq!(within("the close", client.close()).await, Ok(()));
    assert_eq!(ended(&client, 0).await, 0);
    let error = within("the attempt to end", attempt.connection.closed()).await;
    assert_eq!(application_code(&error), Some(Code::Normal));
}

#[tokio::test]
async fn several_may_close_at_a_time_and_wait_for_events() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let other = client.clone();
    let waiting = tokio::spawn(async move {
        let mut events = Vec::new();
        while let Some(event) = other.next().await {
            events.push(event);
        }
        events
    });
    let (first, second, ()) = tokio::join!(client.close(), client.close(), part(&mut peer));
    assert_eq!((first, second), (Ok(()), Ok(())));
    let events = within("the events", waiting).await.unwrap();
    assert!(matches!(events.as_slice(), [Event::Closed { .. }]), "{events:?}");
}

/// Waits until only so many tasks are left.
async fn tasks_left(count: usize) {
    let metrics = tokio::runtime::Handle::current().metrics();
    within("the tasks to end", async {
        while metrics.num_alive_tasks() > count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_every_task_and_the_connection() {
    let server = Server::start();
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (client, peer) = server.client().await;
    let clone = client.clone();
    drop(client);
    clone.send_to_all("event", "").await.unwrap();
    drop(clone);
    let error = within("the close", peer.connection.closed()).await;
    assert_eq!(application_code(&error), Some(Code::Normal));
    drop(peer);
    tasks_left(before).await;
}

#[tokio::test]
async fn dropping_it_with_a_full_queue_or_in_an_outage_ends_it_as_well() {
    let server = Server::start();
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (client, mut peer) = server.client_with(server.config().event_queue(1)).await;
    for number in 0..10 {
        peer.message(number).await;
    }
    drop(client);
    let error = within("the close", peer.connection.closed()).await;
    assert_eq!(application_code(&error), Some(Code::Normal));
    drop(peer);
    tasks_left(before).await;

    let (client, peer) = server.client().await;
    peer.close(Code::Internal, "");
    assert!(matches!(next(&client).await, Event::Disconnected { .. }));
    let attempt = server.hello().await;
    drop(client);
    let error = within("the attempt to end", attempt.connection.closed()).await;
    assert!(matches!(error, ConnectionError::ApplicationClosed(_)), "{error}");
    drop((peer, attempt));
    tasks_left(before).await;
}

#[tokio::test]
async fn a_connect_that_is_given_up_leaves_nothing() {
    let server = Server::start();
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let connecting = tokio::spawn(Client::connect(server.config()));
    let mut peer = server.hello().await;
    connecting.abort();
    let error = within("the close", peer.connection.closed()).await;
    assert_eq!(application_code(&error), Some(Code::Normal));
    let welcome = fanfare_protocol::codec::encode_server(&ServerFrame::Welcome(crate::server::welcome(1)));
    assert!(peer.send.write_chunk(welcome).await.is_err());
    drop((peer, connecting));
    tasks_left(before).await;
}
