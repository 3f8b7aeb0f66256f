//! Backpressure and movement: a slow application, and a network that changes.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfare_client::{RequestError, Target};
use fanfare_protocol::ServerFrame;
use fanfare_protocol::codec;

use crate::server::{Server, client_in, message, next_message, within};

#[tokio::test]
async fn a_full_event_queue_stops_the_server_and_loses_nothing() {
    const MESSAGES: usize = 500;
    let server = Server::start();
    let config = server.config().event_queue(4).request_timeout(Duration::from_secs(5));
    let (client, mut peer) = server.client_with(config).await;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let frame = codec::encode_server(&ServerFrame::Message(message(number, 10_000)));
            peer.send.write_chunk(frame).await.unwrap();
            counter.store(number + 1, Ordering::SeqCst);
        }
        let request = peer.count().await;
        peer.ack(request, 1).await;
        let request = peer.count().await;
        peer.ack(request, 2).await;
        peer
    });
    // Nobody takes events, so the answer does not get through: it is behind 5 MB of messages.
    let error = client.count(Target::All).await.unwrap_err();
    assert!(matches!(error, RequestError::Timeout { sent: true, queue_full: true, .. }), "{error:?}");
    assert!(error.to_string().contains("next()"), "{error}");
    let stuck_at = written.load(Ordering::SeqCst);
    assert!(stuck_at < MESSAGES / 2, "the server was let write {stuck_at} messages that nobody reads");

    for number in 0..MESSAGES {
        assert_eq!(next_message(&client).await, number);
    }
    assert_eq!(within("the answer", client.count(Target::All)).await, Ok(2));
    within("the server", writing).await.unwrap();
}

#[tokio::test]
async fn a_large_message_comes_in_one_piece() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let padding = 1_000_000;
    let writing = async { peer.say(&ServerFrame::Message(message(1, padding))).await };
    let (number, ()) = tokio::join!(next_message(&client), writing);
    assert_eq!(number, 1);
}

#[tokio::test]
async fn a_rebind_keeps_the_connection_and_its_memberships() {
    let server = Server::start();
    let (client, mut peer) = client_in(&server, &["a"]).await;
    let before = peer.connection.remote_address();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let expected = socket.local_addr().unwrap();
    client.rebind(socket).unwrap();

    let (count, ()) = tokio::join!(within("the answer", client.count(Target::All)), async {
        let request = peer.count().await;
        peer.ack(request, 1).await;
    });
    assert_eq!(count, Ok(1));
    assert_ne!(before, expected);
    assert_eq!(peer.connection.remote_address(), expected);
    // The first event is the message: no loss, no return, no second join came before it.
    peer.message(5).await;
    assert_eq!(next_message(&client).await, 5);
}

#[tokio::test]
async fn a_socket_of_the_other_family_is_refused_and_changes_nothing() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    if let Ok(socket) = UdpSocket::bind("[::1]:0") {
        let error = client.rebind(socket).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("[::1]"), "{error}");
    }
    peer.message(1).await;
    assert_eq!(next_message(&client).await, 1);
}
