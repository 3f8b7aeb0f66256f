//! Loss and return: what is tried again, what is joined again, and what is not.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_client::{Client, CloseReason, Code, Disconnect, Event, Reconnect, RequestError, Target};
use fanfare_protocol::{ClientFrame, ServerFrame};

use crate::server::{
    Identity, Peer, Server, client_in, group, id, next, next_message, restartable, user, welcome, within,
};

/// Takes the event of a loss.
async fn disconnected(client: &Client) -> (Disconnect, Option<Duration>) {
    match next(client).await {
        Event::Disconnected { reason, retry_in } => (reason, retry_in),
        other => panic!("a disconnect was expected, not {other:?}"),
    }
}

/// Takes the event of a return: the groups that were rejoined, and those that refused.
async fn reconnected(client: &Client) -> (Vec<String>, Vec<(String, u16)>) {
    match next(client).await {
        Event::Reconnected { rejoined, refused, connection, lost: _ } => {
            assert_eq!(connection, client.connection_id());
            let rejoined = rejoined.iter().map(ToString::to_string).collect();
            (rejoined, refused.into_iter().map(|(group, code, _)| (group.to_string(), code)).collect())
        }
        other => panic!("a reconnect was expected, not {other:?}"),
    }
}

/// Takes the last event.
async fn closed(client: &Client) -> CloseReason {
    let reason = match next(client).await {
        Event::Closed { reason, discarded: 0 } => reason,
        other => panic!("the end was expected, not {other:?}"),
    };
    assert!(within("the end", client.next()).await.is_none());
    assert!(within("the end again", client.next()).await.is_none());
    assert_eq!(client.join("a").await, Err(RequestError::Closed));
    reason
}

#[tokio::test]
async fn groups_are_rejoined_after_a_loss() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["b", "a", "c"]).await;
    peer.close(Code::ShuttingDown, "be right back");
    let mut peer = server.welcome(2).await;
    for name in ["a", "b", "c"] {
        assert_eq!(peer.let_in().await.as_str(), name);
    }
    let (reason, retry_in) = disconnected(&client).await;
    assert_eq!(reason.code(), Some(Code::ShuttingDown));
    assert!(reason.to_string().ends_with("be right back"));
    assert!(retry_in.is_some());
    assert_eq!(reconnected(&client).await, (vec!["a".into(), "b".into(), "c".into()], vec![]));
    assert_eq!(client.connection_id(), id(2));
    let (count, request) = tokio::join!(client.count(Target::All), async {
        let request = peer.count().await;
        peer.ack(request, 3).await;
        request
    });
    assert_eq!(count, Ok(3));
    assert!(request > 6, "numbers go on, so that an answer never finds a request of another connection");
}

#[tokio::test]
async fn a_group_that_refuses_is_told_and_not_tried_again() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["a", "b"]).await;
    peer.close(Code::Internal, "");
    let mut peer = server.welcome(2).await;
    let (request, name) = peer.join().await;
    assert_eq!(name, group("a"));
    peer.refuse(request, Code::RemovedFromGroup, "banned").await;
    peer.let_in().await;
    disconnected(&client).await;
    let refused = vec![("a".to_owned(), Code::RemovedFromGroup.number())];
    assert_eq!(reconnected(&client).await, (vec!["b".into()], refused));

    peer.close(Code::Internal, "");
    let mut peer = server.welcome(3).await;
    assert_eq!(peer.let_in().await, group("b"));
    disconnected(&client).await;
    assert_eq!(reconnected(&client).await, (vec!["b".into()], vec![]));
}

#[tokio::test]
async fn what_was_left_or_ended_is_not_rejoined() {
    let server = Server::start();
    let (client, mut peer) = client_in(&server, &["kept", "left", "removed", "left in flight"]).await;
    let (left, ()) = tokio::join!(client.leave("left"), async {
        let (request, _) = peer.leave().await;
        peer.ack(request, 0).await;
    });
    assert_eq!(left, Ok(0));
    peer.removed("removed").await;
    assert!(matches!(next(&client).await, Event::Removed { .. }));
    let (left, ()) = tokio::join!(client.leave("left in flight"), async {
        peer.leave().await;
        peer.close(Code::Internal, "");
    });
    assert_eq!(left, Err(RequestError::Disconnected));
    let mut peer = server.welcome(2).await;
    peer.let_in().await;
    disconnected(&client).await;
    assert_eq!(reconnected(&client).await, (vec!["kept".into()], vec![]));
}

/// Loses the connection and gives the server's end of the next, before its `Welcome`.
async fn outage(server: &Server, client: &Client, peer: &Peer) -> Peer {
    peer.close(Code::Internal, "");
    disconnected(client).await;
    server.hello().await
}

#[tokio::test]
async fn requests_during_an_outage_fail_at_once() {
    let server = Server::start();
    let (client, peer) = server.client().await;
    let _peer = outage(&server, &client, &peer).await;
    assert_eq!(client.join("a").await, Err(RequestError::NotConnected));
    assert_eq!(client.leave("a").await, Err(RequestError::NotConnected));
    assert_eq!(client.count(Target::All).await, Err(RequestError::NotConnected));
    assert_eq!(client.send_to_all("event", "").await, Err(RequestError::NotConnected));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(client.rebind(socket).unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    assert_eq!(client.connection_id(), id(1), "the last one, until there is another");
}

#[tokio::test]
async fn a_group_that_is_left_during_the_outage_is_not_rejoined() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["a", "b"]).await;
    let mut peer = outage(&server, &client, &peer).await;
    assert_eq!(client.leave("a").await, Err(RequestError::NotConnected));
    peer.say(&ServerFrame::Welcome(welcome(2))).await;
    assert_eq!(peer.let_in().await, group("b"));
    assert_eq!(reconnected(&client).await, (vec!["b".into()], vec![]));
}

#[tokio::test]
async fn a_group_that_is_left_while_it_is_rejoined_is_left_again() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["a", "b"]).await;
    let mut peer = outage(&server, &client, &peer).await;
    peer.say(&ServerFrame::Welcome(welcome(2))).await;
    let (request, _) = peer.join().await;
    assert_eq!(client.leave("a").await, Err(RequestError::NotConnected));
    peer.say(&ServerFrame::Joined { group: group("a"), members: 1 }).await;
    peer.ack(request, 1).await;
    peer.let_in().await;
    let (request, name) = peer.leave().await;
    assert_eq!(name, group("a"));
    peer.ack(request, 0).await;
    assert_eq!(reconnected(&client).await, (vec!["b".into()], vec![]));
}

#[tokio::test]
async fn what_comes_during_the_rejoin_comes_after_the_reconnect_and_in_order() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["a", "b"]).await;
    let mut peer = outage(&server, &client, &peer).await;
    peer.say(&ServerFrame::Welcome(welcome(2))).await;
    peer.let_in().await;
    peer.message(1).await;
    peer.removed("a").await;
    peer.message(2).await;
    peer.let_in().await;
    peer.message(3).await;
    assert_eq!(reconnected(&client).await, (vec!["b".into()], vec![]));
    assert_eq!(next_message(&client).await, 1);
    assert!(matches!(next(&client).await, Event::Removed { .. }));
    assert_eq!(next_message(&client).await, 2);
    assert_eq!(next_message(&client).await, 3);
}

#[tokio::test]
async fn nothing_is_lost_when_more_comes_during_the_rejoin_than_the_queue_holds() {
    let server = Server::start();
    let (client, mut peer) = server.client_with(server.config().event_queue(4)).await;
    let (joined, _) = tokio::join!(client.join("a"), peer.let_in());
    joined.unwrap();
    assert!(matches!(next(&client).await, Event::Joined { .. }));
    let mut peer = outage(&server, &client, &peer).await;
    peer.say(&ServerFrame::Welcome(welcome(2))).await;
    for number in 0..20 {
        peer.message(number).await;
    }
    peer.let_in().await;
    peer.message(20).await;
    let mut numbers = Vec::new();
    let mut reconnects = 0;
    while numbers.last() != Some(&20) {
        match next(&client).await {
            Event::Message(message) => numbers.push(crate::server::number(&message)),
            Event::Reconnected { .. } => reconnects += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, (0..=20).collect::<Vec<_>>());
    assert_eq!(reconnects, 1);
}

#[tokio::test]
async fn a_loss_during_the_rejoin_starts_over_with_the_same_groups() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["a", "b"]).await;
    let mut peer = outage(&server, &client, &peer).await;
    peer.say(&ServerFrame::Welcome(welcome(2))).await;
    let (request, _) = peer.join().await;
    peer.refuse(request, Code::Internal, "").await;
    peer.close(Code::ShuttingDown, "");
    let mut peer = server.welcome(3).await;
    peer.let_in().await;
    peer.let_in().await;
    assert_eq!(reconnected(&client).await, (vec!["a".into(), "b".into()], vec![]));
    assert_eq!(client.connection_id(), id(3));
}

#[tokio::test]
async fn many_groups_are_rejoined() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    for number in 0..300 {
        let (joined, _) = tokio::join!(client.join(number.to_string()), peer.let_in());
        joined.unwrap();
        assert!(matches!(next(&client).await, Event::Joined { .. }));
    }
    peer.close(Code::Internal, "");
    let mut peer = server.welcome(2).await;
    for _ in 0..300 {
        peer.let_in().await;
    }
    disconnected(&client).await;
    assert_eq!(reconnected(&client).await.0.len(), 300);
}

#[tokio::test]
async fn a_close_that_was_meant_is_the_end() {
    let server = Server::start();
    for code in [Code::Normal.number(), Code::MalformedFrame.number(), 64_999] {
        let (client, peer) = server.client().await;
        peer.close_with(code, "");
        let (reason, retry_in) = disconnected(&client).await;
        assert!(matches!(reason, Disconnect::Closed { code: told, .. } if told == code), "{reason}");
        assert_eq!(retry_in, None);
        assert!(matches!(closed(&client).await, CloseReason::Ended(_)));
    }
}

#[tokio::test]
async fn without_reconnecting_every_loss_is_the_end() {
    let server = Server::start();
    let (client, peer) = server.client_with(server.config().reconnect(None)).await;
    peer.close(Code::ShuttingDown, "");
    assert_eq!(disconnected(&client).await.1, None);
    assert!(matches!(closed(&client).await, CloseReason::Ended(_)));
}

#[tokio::test]
async fn a_refusal_that_is_for_good_ends_the_attempts() {
    let server = Server::start();
    let (client, peer) = client_in(&server, &["a"]).await;
    let peer = outage(&server, &client, &peer).await;
    peer.close(Code::UserFull, "try again");
    let peer = server.hello().await;
    peer.close(Code::DevUserRefused, "not here");
    match closed(&client).await {
        CloseReason::Refused(error) => assert_eq!(error.code(), Some(Code::DevUserRefused)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_gives_up_after_so_many_attempts() {
    let server = Server::start();
    let reconnect = Reconnect::default().first_delay(Duration::from_millis(1)).max_attempts(3);
    let (client, peer) = server.client_with(server.config().reconnect(reconnect)).await;
    peer.close(Code::Internal, "");
    disconnected(&client).await;
    for _ in 0..3 {
        server.hello().await.close(Code::Internal, "still not");
    }
    match closed(&client).await {
        CloseReason::GaveUp { attempts: 3, last, .. } => assert_eq!(last.code(), Some(Code::Internal)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_gives_up_after_so_long() {
    let server = Server::start();
    let reconnect =
        Reconnect::default().first_delay(Duration::from_millis(1)).max_elapsed(Duration::from_secs(60));
    let (client, peer) = server.client_with(server.config().reconnect(reconnect)).await;
    peer.close(Code::Internal, "");
    disconnected(&client).await;
    let mut peer = server.hello().await;
    peer.say(&in_ten_minutes()).await;
    peer.send.finish().unwrap();
    within("the words to arrive", peer.send.stopped()).await.unwrap();
    peer.close(Code::ShuttingDown, "");
    assert!(matches!(closed(&client).await, CloseReason::GaveUp { attempts: 1, .. }));
}

/// Last words that ask for a long absence.
fn in_ten_minutes() -> ServerFrame {
    let code = Code::ShuttingDown.number();
    ServerFrame::Goodbye { code, reason: "moving house".to_owned(), retry_after_ms: 600_000 }
}

#[tokio::test]
async fn it_does_not_wait_for_an_attempt_that_would_begin_too_late() {
    let server = Server::start();
    let reconnect =
        Reconnect::default().first_delay(Duration::from_millis(1)).max_elapsed(Duration::from_secs(60));
    let (client, mut peer) = server.client_with(server.config().reconnect(reconnect)).await;
    peer.say(&in_ten_minutes()).await;
    assert!(matches!(next(&client).await, Event::Goodbye { .. }));
    peer.close(Code::ShuttingDown, "");
    let (reason, retry_in) = disconnected(&client).await;
    assert_eq!(retry_in, None);
    match closed(&client).await {
        CloseReason::Ended(told) => assert_eq!(told, reason),
        other => panic!("{other:?}"),
    }
}

/// Loses the connection eight times and gives the longest delay that was announced.
async fn longest_of_eight_delays(stable_after: Duration) -> Duration {
    let server = Server::start();
    let reconnect = Reconnect::default().first_delay(Duration::from_millis(1)).stable_after(stable_after);
    let (client, mut peer) = server.client_with(server.config().reconnect(reconnect)).await;
    let mut longest = Duration::ZERO;
    for _ in 0..8 {
        peer.close(Code::Internal, "");
        let (_, retry_in) = disconnected(&client).await;
        longest = longest.max(retry_in.unwrap());
        peer = server.welcome(2).await;
        reconnected(&client).await;
    }
    longest
}

#[tokio::test]
async fn delays_start_over_only_after_a_connection_that_lasted() {
    assert!(longest_of_eight_delays(Duration::ZERO).await <= Duration::from_millis(1));
    // Eight even draws, each from twice the range of the last, are all below the first range once in 2^28 times.
    assert!(longest_of_eight_delays(Duration::from_secs(3_600)).await > Duration::from_millis(1));
}

#[tokio::test]
async fn last_words_come_before_the_loss_and_stand_for_the_close() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let goodbye = ServerFrame::Goodbye {
        code: Code::SlowConsumer.number(),
        reason: "too slow".to_owned(),
        retry_after_ms: 1,
    };
    peer.say(&ServerFrame::Lagged { dropped: 5 }).await;
    peer.say(&goodbye).await;
    peer.send.finish().unwrap();
    assert!(matches!(next(&client).await, Event::Lagged { dropped: 5 }));
    assert!(matches!(next(&client).await, Event::Goodbye { code: 4007, .. }));
    // The client took the words to the end; that the close is lost makes no difference.
    assert_eq!(disconnected(&client).await.0.code(), Some(Code::SlowConsumer));
    let _peer = server.welcome(2).await;
    assert_eq!(reconnected(&client).await, (vec![], vec![]));
}

#[tokio::test]
async fn a_broken_protocol_is_the_end_and_told_to_the_server() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    within("room", peer.send.write_all(&[1, 0, 0, 0, 255])).await.unwrap();
    let error = within("the close", peer.connection.closed()).await;
    assert_eq!(crate::server::application_code(&error), Some(Code::MalformedFrame));
    assert!(matches!(disconnected(&client).await, (Disconnect::Protocol { .. }, None)));
    assert!(matches!(closed(&client).await, CloseReason::Ended(Disconnect::Protocol { .. })));

    let (client, mut peer) = server.client().await;
    within("room", peer.send.write_all(&u32::MAX.to_le_bytes())).await.unwrap();
    let error = within("the close", peer.connection.closed()).await;
    assert_eq!(crate::server::application_code(&error), Some(Code::FrameTooLarge));
    assert!(matches!(disconnected(&client).await, (Disconnect::Protocol { .. }, None)));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_loss() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    peer.send.reset(0_u32.into()).unwrap();
    assert_eq!(disconnected(&client).await.0, Disconnect::StreamEnded);
    let _peer = server.welcome(2).await;
    reconnected(&client).await;
}

#[tokio::test]
async fn a_restarted_server_is_noticed_at_once_and_found_again() {
    let identity = Identity::new();
    let quic = identity.quic(fanfare_protocol::ALPN);
    // A runtime of its own, so that the server can die without a word.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let endpoint = {
        let _inside = runtime.enter();
        restartable(quic.clone(), any).unwrap()
    };
    let server = Server::on(identity, endpoint);
    let (address, config) = (server.address, server.config());
    // The connection's tasks are on the runtime that accepts it.
    let accepting = runtime.spawn(async move { (server.welcome(1).await, server) });
    let client = within("connect", Client::connect(config)).await.unwrap();
    let (mut peer, server) = within("the server", accepting).await.unwrap();
    let (joined, _) = tokio::join!(client.join("a"), peer.let_in());
    joined.unwrap();
    assert!(matches!(next(&client).await, Event::Joined { .. }));

    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(crate::server::DEADLINE)).await.unwrap();
    drop(peer);
    let Server { identity, endpoint, .. } = server;
    drop(endpoint);
    let server = Server::on(identity, restartable(quic, address).unwrap());

    // Anything that the client sends makes the new server say that it knows nothing of it. The idle timeout would take
    // longer than this test waits.
    assert_eq!(client.count(Target::User(user("bob"))).await, Err(RequestError::Disconnected));
    assert_eq!(disconnected(&client).await.0, Disconnect::Reset);
    let mut peer = server.welcome(2).await;
    peer.let_in().await;
    assert_eq!(reconnected(&client).await, (vec!["a".into()], vec![]));
    client.send_to_all("event", "").await.unwrap();
    assert!(matches!(peer.frame().await, ClientFrame::Send(_)));
}
