//! Requests, their answers, and what the client does not even send.

use std::time::Duration;

use fanfare_client::{Client, Code, Event, Outgoing, RequestError};
use fanfare_protocol::{ClientFrame, Limits, Send, ServerFrame, Target, Welcome};

use crate::server::{Server, client_in, group, id, next, number, user, welcome, within};

#[tokio::test]
async fn each_request_gets_its_own_answer() {
    let server = Server::start();
    let (client, mut peer) = client_in(&server, &["a"]).await;
    let answers = async {
        let (request, left) = peer.leave().await;
        assert_eq!(left, group("a"));
        peer.ack(request, 4).await;
        let request = peer.count().await;
        peer.ack(request, 5).await;
        let send = peer.sent().await;
        assert!(send.ack);
        peer.ack(send.request, 6).await;
    };
    let requests = async {
        assert_eq!(client.leave(group("a")).await, Ok(4));
        assert_eq!(client.count(Target::User(user("bob"))).await, Ok(5));
        let outgoing = Outgoing::new("event", "payload").to_user("bob").others().except(id(3));
        assert_eq!(client.send_acked(outgoing).await, Ok(6));
    };
    tokio::join!(within("the answers", requests), answers);
}

#[tokio::test]
async fn answers_out_of_order_still_find_their_requests() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let answers = async {
        let first = peer.count().await;
        let second = peer.count().await;
        peer.ack(second, 2).await;
        peer.ack(first, 1).await;
    };
    let requests = async { tokio::join!(client.count(Target::All), client.count(Target::All)) };
    let (counts, ()) = tokio::join!(within("the answers", requests), answers);
    assert_eq!(counts, (Ok(1), Ok(2)));
}

#[tokio::test]
async fn a_join_that_changes_nothing_is_not_an_event() {
    let server = Server::start();
    let (client, mut peer) = client_in(&server, &["a"]).await;
    let (joined, ()) = tokio::join!(client.join("a"), async {
        let (request, _) = peer.join().await;
        peer.ack(request, 7).await;
        peer.message(1).await;
    });
    assert_eq!(joined, Ok(7));
    assert!(matches!(next(&client).await, Event::Message(_)));
}

#[tokio::test]
async fn a_refusal_is_an_error_with_its_code() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let (joined, ()) = tokio::join!(client.join("a"), async {
        let (request, _) = peer.join().await;
        peer.refuse(request, Code::TooManyGroups, "1000 of 1000").await;
    });
    let error = joined.unwrap_err();
    assert_eq!(error.code(), Some(Code::TooManyGroups));
    assert!(error.to_string().ends_with("1000 of 1000"), "{error}");
}

#[tokio::test]
async fn a_refused_send_without_answer_is_an_event() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let request = client.send(Outgoing::new("event", "payload").to_all()).await.unwrap();
    let send = peer.sent().await;
    assert_eq!((send.request, send.ack), (request, false));
    peer.refuse(request, Code::Internal, "no luck").await;
    match next(&client).await {
        Event::Refused { request: refused, code, detail } => {
            assert_eq!((refused, code, detail.as_str()), (request, Code::Internal.number(), "no luck"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sends_carry_what_they_were_given() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    client.send_to_user("bob", "event", "1").await.unwrap();
    client.send_to_group(group("a"), "event", vec![b'2']).await.unwrap();
    client.send_to_connection(id(7), "event", String::from("3")).await.unwrap();
    client.send_to_all("event", &b"4"[..]).await.unwrap();
    let expected =
        [Target::User(user("bob")), Target::Group(group("a")), Target::Connection(id(7)), Target::All];
    for (number, target) in (1..).zip(expected) {
        let Send { ack, to, payload, .. } = peer.sent().await;
        assert_eq!((ack, to, payload), (false, vec![target], number.to_string().into()));
    }
}

#[tokio::test]
async fn frames_go_out_in_the_order_of_the_calls_even_when_calls_wait() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    // 32 MiB are far more than the queue, the windows and the buffers hold, so most of these calls wait.
    let payload = vec![b'x'; 64 * 1024];
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..512_usize {
        let (client, payload) = (client.clone(), payload.clone());
        // The first poll of a call takes its place in the order: on one thread, tasks start in the order of spawning.
        calls.spawn(
            async move { client.send_to_connection(id(2), number.to_string().as_str(), payload).await },
        );
    }
    for number in 0..512_usize {
        assert_eq!(peer.sent().await.event.as_str(), number.to_string());
    }
    while let Some(sent) = within("the sends", calls.join_next()).await {
        sent.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_send_that_is_given_up_is_sent_whole_or_not_at_all() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let payload = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    // Until the stream is blocked; nobody reads yet.
    while let Ok(done) =
        tokio::time::timeout(Duration::from_millis(200), client.send_to_all("e", payload.clone())).await
    {
        done.unwrap();
        sent += 1;
    }
    let (last, received) = tokio::join!(client.send_to_user("bob", "last", "payload"), async {
        let mut received = 0;
        while peer.sent().await.event.as_str() != "last" {
            received += 1;
        }
        received
    });
    last.unwrap();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_not_sent() {
    let server = Server::start();
    let limits = Limits { targets: 2, ..Limits::default().with_payload_bytes(100) };
    let (client, mut peer) = tokio::join!(Client::connect(server.config()), async {
        let mut peer = server.hello().await;
        peer.say(&ServerFrame::Welcome(Welcome { limits, ..welcome(1) })).await;
        peer
    });
    let client = client.unwrap();
    let error = client.send_to_all("event", vec![0; 101]).await.unwrap_err();
    assert_eq!(error, RequestError::PayloadTooLarge { bytes: 101, limit: 100 });
    let many = Outgoing::new("event", "").to_user("a").to_user("b").to_user("c");
    assert_eq!(client.send(many).await, Err(RequestError::TooManyTargets { targets: 3, limit: 2 }));
    assert_eq!(client.send_acked(Outgoing::new("event", "")).await, Err(RequestError::NoTarget));
    assert!(matches!(client.join("").await, Err(RequestError::InvalidName(_))));
    assert!(matches!(client.send_to_user("", "event", "").await, Err(RequestError::InvalidName(_))));
    // The first frame that the server gets is the first that keeps to the limits.
    client.send_to_all("event", vec![0; 100]).await.unwrap();
    assert_eq!(peer.sent().await.payload.len(), 100);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_not_sent() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let mut outgoing = Outgoing::new("event", vec![0; 65_536]);
    for number in 0..256 {
        outgoing = outgoing.to_user(format!("{number:0256}"));
    }
    let error = client.send(outgoing).await.unwrap_err();
    assert!(matches!(error, RequestError::FrameTooLarge { limit: 67_584, .. }), "{error}");
    client.send_to_all("event", "").await.unwrap();
    assert_eq!(peer.sent().await.to, [Target::All]);
}

#[tokio::test]
async fn a_request_without_answer_times_out_and_a_late_answer_harms_nobody() {
    let server = Server::start();
    let config = server.config().request_timeout(Duration::from_secs(2));
    let (client, mut peer) = server.client_with(config).await;
    let error = client.count(Target::All).await.unwrap_err();
    let expected = RequestError::Timeout { after: Duration::from_secs(2), sent: true, queue_full: false };
    assert_eq!(error, expected);
    let late = peer.count().await;
    peer.refuse(late, Code::Internal, "").await;
    peer.message(1).await;
    match next(&client).await {
        Event::Message(message) => assert_eq!(number(&message), 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_under_way_fail_at_once_when_the_connection_is_lost() {
    let server = Server::start();
    let (client, mut peer) = server.client_with(server.config().reconnect(None)).await;
    let (results, ()) =
        tokio::join!(async { tokio::join!(client.join("a"), client.count(Target::All)) }, async {
            assert!(matches!(peer.frame().await, ClientFrame::Join { .. }));
            peer.count().await;
            peer.close(Code::Internal, "");
        });
    // Left to their timeout they would have failed with `Timeout`.
    assert_eq!(results, (Err(RequestError::Disconnected), Err(RequestError::Disconnected)));
}

#[tokio::test]
async fn more_requests_than_may_wait_are_all_answered() {
    let server = Server::start();
    let (client, mut peer) = server.client().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let client = client.clone();
        calls.spawn(async move { client.count(Target::All).await });
    }
    for number in 0..3000 {
        let request = peer.count().await;
        peer.ack(request, number).await;
    }
    let mut counts = Vec::new();
    while let Some(count) = within("the counts", calls.join_next()).await {
        counts.push(count.unwrap().unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (0..3000).collect::<Vec<_>>());
}
