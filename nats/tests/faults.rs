//! One server that is killed, stopped, changed, and a bucket that is: what is told, and what is never told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod harness;
mod node;

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

use bytes::Bytes;
use fanfare_nats::{Bus, Event, Expect, NotSent, OpenError, PutError};
use harness::{Nats, wait_for};
use node::{Node, number, settings, until};

fn consumers(nats: &Nats) -> Vec<String> {
    let text = nats.servers[0].ask("$JS.API.CONSUMER.NAMES.KV_fanfare", "").unwrap();
    let (_, names) = text.split_once("\"consumers\":[").unwrap();
    let (names, _) = names.split_once(']').unwrap();
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.trim_matches('"').to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_server_died_is_not_sent_when_it_is_back() {
    let mut nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    let mut two = Node::open(&nats, 2).await;
    let before = one.bus.put("a", Bytes::from_static(b"1"), Expect::Anything).await.unwrap();
    assert_eq!(two.entry().await.2, before);
    nats.kill(0);
    // Between its death and when it is noticed anything may be accepted.
    let mut accepted = 0;
    until("the death to be noticed", || match one.bus.send(number(2), b"lost") {
        Ok(()) => {
            accepted += 1;
            None
        }
        Err(error) => {
            assert_eq!(error, NotSent::Disconnected);
            Some(())
        }
    })
    .await;
    one.disconnected().await;
    two.disconnected().await;
    let put = one.bus.put("a", Bytes::new(), Expect::Anything).await;
    assert!(matches!(put, Err(PutError::Unavailable { .. })), "{put:?}");
    nats.start(0);
    one.connected().await;
    two.connected().await;
    one.bus.send(number(2), b"after").unwrap();
    assert_eq!(two.message().await, "after", "none of {accepted} that were accepted");
    // And the watch goes on where it was.
    let after = one.bus.put("b", Bytes::from_static(b"2"), Expect::Nothing).await.unwrap();
    assert_eq!(one.entry().await.2, before);
    assert_eq!(one.entry().await.2, after);
    assert_eq!(two.entry().await.2, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_lost_its_connection_ends() {
    let mut nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    nats.kill(0);
    one.disconnected().await;
    // It would go on trying, and then send what it has. What is left is what makes a new one.
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    until("its tasks to end", || (alive() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_nothing_is_given_up() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    nats.stop(0);
    let put = one.bus.put("a", Bytes::new(), Expect::Anything).await;
    assert_eq!(put, Err(PutError::Unknown));
    one.disconnected().await;
    assert_eq!(one.bus.send_all(b"x"), Err(NotSent::Disconnected));
    nats.go_on(0);
    one.connected().await;
    // It was put after all, when the server went on: that is what Unknown says.
    until("what was unknown", || one.bus.is_connected().then_some(())).await;
    one.bus.put("b", Bytes::new(), Expect::Anything).await.unwrap();
    let (first, ..) = one.entry().await;
    assert!(first == "a" || first == "b", "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_much_waits_it_is_said_and_nobody_waits() {
    let nats = Nats::one();
    let mut settings = settings(&nats);
    settings.queue = 16;
    let one = Node::with(settings, 1).await;
    nats.stop(0);
    let message = vec![0; 200_000];
    let mut accepted = 0;
    let refused = until("the queue to be full", || match one.bus.send(number(2), &message) {
        Ok(()) => {
            accepted += 1;
            None
        }
        Err(error) => Some(error),
    })
    .await;
    assert_eq!(refused, NotSent::Full, "after {accepted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_less_than_the_longest_message_is_refused_with_both_numbers() {
    let nats = Nats::with(1, "max_payload: 1000");
    let mut settings = settings(&nats);
    settings.largest = 1000;
    let error = Bus::open(settings.clone(), number(1)).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::MaxPayload { needed: 1046, limit: 1000, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("1046") && said.contains("1000") && said.contains("max_payload"), "{said}");
    settings.largest = 1000 - fanfare_nats::STAMP_BYTES;
    let one = Node::with(settings, 1).await;
    one.bus.send_all(vec![0; 954]).unwrap();
    let refused = Err(NotSent::TooLong { bytes: 955, limit: 954 });
    assert_eq!(one.bus.send_all(vec![0; 955]), refused);
    assert!(matches!(
        one.bus.put("a", vec![0; 955].into(), Expect::Anything).await,
        Err(PutError::TooLong { .. })
    ));
    one.bus.put("a", vec![0; 700].into(), Expect::Anything).await.unwrap();
    assert_eq!(one.bus.counters().connections, 1);
}

/// A server that says of itself what it is told to, agrees with a client's first words, and has no more to say.
fn pretender(info: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            writeln!(stream, "INFO {info}\r").unwrap();
            // It ends when the client does, and the thread with the process.
            while let Some(Ok(line)) = lines.next() {
                if line.starts_with("PING") {
                    stream.write_all(b"PONG\r\n").unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_servers_that_may_do_two_puts_over_one_revision_is_refused() {
    for (info, is_refused) in [
        (r#"{"server_id":"A","version":"2.9.20","proto":1,"max_payload":1048576,"cluster":"three"}"#, true),
        (r#"{"server_id":"A","version":"2.9.21","proto":1,"max_payload":1048576,"cluster":"three"}"#, false),
        // There is nobody with whom it could agree too late.
        (r#"{"server_id":"A","version":"2.9.20","proto":1,"max_payload":1048576}"#, false),
    ] {
        let mut settings = fanfare_nats::Settings::new(vec![pretender(info)], "fanfare");
        settings.answer = Duration::from_millis(200);
        settings.patience = Duration::from_millis(500);
        let error = Bus::open(settings, number(1)).await.map(|_| ()).unwrap_err();
        assert_eq!(matches!(error, OpenError::TooOld { .. }), is_refused, "{info}: {error}");
        let said = error.to_string();
        assert_eq!(
            said.contains("nats-server 2.9.20") && said.contains("2.9.21 or later"),
            is_refused,
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_lowered_ends_one_connection_and_no_other() {
    let nats = Nats::with(1, "max_payload: 100000");
    let mut settings = settings(&nats);
    settings.largest = 50_000;
    let mut one = Node::with(settings, 1).await;
    let text = std::fs::read_to_string(&nats.servers[0].configuration).unwrap();
    std::fs::write(&nats.servers[0].configuration, text.replace("100000", "10000")).unwrap();
    nats.reload(0);
    wait_for("the new limit", || nats.servers[0].log().contains("Reloaded: max_payload").then_some(()));
    // The client has not heard of it: the server ends the connection.
    one.bus.send_all(vec![0; 20_000]).unwrap();
    one.disconnected().await;
    let (_, largest) = one.connected().await;
    assert_eq!(largest, 10_000 - fanfare_nats::STAMP_BYTES);
    assert_eq!(one.bus.send_all(vec![0; 20_000]), Err(NotSent::TooLong { bytes: 20_000, limit: largest }));
    one.bus.send(number(1), vec![0; largest]).unwrap();
    assert_eq!(one.message().await.len(), largest);
    assert_eq!(one.bus.counters().connections, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_has_lost_its_consumer_goes_on_without_a_gap() {
    let nats = Nats::one();
    let one = Node::open(&nats, 1).await;
    let mut two = Node::open(&nats, 2).await;
    let mut put = Vec::new();
    for round in 0..3 {
        put.push(one.bus.put("a", Bytes::new(), Expect::Anything).await.unwrap());
        let last = *put.last().unwrap();
        while two.entry().await.2 != last {}
        for name in consumers(&nats) {
            nats.servers[0].ask(&format!("$JS.API.CONSUMER.DELETE.KV_fanfare.{name}"), "").unwrap();
        }
        for key in 0..5 {
            let key = format!("b.{round}.{key}");
            put.push(one.bus.put(&key, Bytes::new(), Expect::Nothing).await.unwrap());
        }
        for revision in &put[put.len() - 5..] {
            assert_eq!(two.entry().await.2, *revision);
        }
    }
    // Some were fetched until there was a consumer again.
    until("the watch to be made anew", || (two.bus.counters().rewatches > 0).then_some(())).await;
    assert_eq!(two.bus.counters().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_consumer_entries_are_fetched_from_the_leader() {
    let nats = Nats::one();
    let ask = |subject: &str, body: &str| {
        let answer = nats.servers[0].ask(subject, body).unwrap();
        assert!(!answer.contains("\"error\""), "{answer}");
    };
    // Of one consumer alone, which is somebody else's after a while.
    let config =
        r#"{"name":"KV_fanfare","subjects":["$KV.fanfare.>"],"max_msgs_per_subject":1,"max_consumers":1}"#;
    ask("$JS.API.STREAM.CREATE.KV_fanfare", config);
    let mut one = Node::open(&nats, 1).await;
    one.caught_up().await;
    until("the watch to have its consumer", || (consumers(&nats).len() == 1).then_some(())).await;
    ask(&format!("$JS.API.CONSUMER.DELETE.KV_fanfare.{}", consumers(&nats)[0]), "");
    let other = r#"{"stream_name":"KV_fanfare","config":{"durable_name":"other","ack_policy":"explicit"}}"#;
    ask("$JS.API.CONSUMER.DURABLE.CREATE.KV_fanfare.other", other);
    for key in ["a", "b", "a"] {
        let put = one.bus.put(key, Bytes::from_static(b"v"), Expect::Anything).await.unwrap();
        assert_eq!(one.entry().await, (key.to_owned(), Some("v".to_owned()), put));
    }
    let deleted = one.bus.delete("b", Expect::Anything).await.unwrap();
    assert_eq!(one.entry().await, ("b".to_owned(), None, deleted));
    let counters = one.bus.counters();
    assert!(counters.fetched >= 4 && counters.rewatches == 0, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_which_nothing_happens_collects_no_consumers() {
    let nats = Nats::one();
    let mut settings = settings(&nats);
    settings.silence = Duration::from_millis(10);
    let one = Node::with(settings, 1).await;
    // Made anew after each silence at growing intervals: at 0, 1, 3 s.
    until("it to be made anew", || (one.bus.counters().rewatches >= 2).then_some(())).await;
    until("the old ones to go", || (consumers(&nats).len() == 1).then_some(())).await;
    one.bus.close().await;
    until("the last one to go", || consumers(&nats).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_is_told_everything_in_order() {
    let nats = Nats::one();
    let one = Node::open(&nats, 1).await;
    let value = Bytes::from(vec![b'x'; 1000]);
    for batch in 0..40 {
        let puts = (0..250).map(|key| {
            let (bus, value) = (one.bus.clone(), value.clone());
            async move { bus.put(&format!("k.{batch}.{key}"), value, Expect::Anything).await.unwrap() }
        });
        futures_util::future::join_all(puts).await;
    }
    let mut settings = settings(&nats);
    settings.events = 1;
    let mut two = Node::with(settings, 2).await;
    // The first is the secret that nodes know each other by.
    for expected in 2..=10_001 {
        if expected % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(two.entry().await.2, expected);
    }
    two.caught_up().await;
    assert_eq!(two.bus.counters().rewatches, 0, "no gap had to be mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_purged_is_caught_up_with() {
    let nats = Nats::one();
    let one = Node::open(&nats, 1).await;
    for _ in 0..3 {
        one.bus.put("a", Bytes::new(), Expect::Anything).await.unwrap();
    }
    nats.servers[0].ask("$JS.API.STREAM.PURGE.KV_fanfare", r#"{"filter":"$KV.fanfare.a"}"#).unwrap();
    let mut two = Node::open(&nats, 2).await;
    two.caught_up().await;
    assert_eq!(one.bus.put("a", Bytes::new(), Expect::Nothing).await, Ok(5));
    assert_eq!(two.entry().await.2, 5);
}

/// By an operator, or by servers that let two make one.
#[tokio::test(flavor = "multi_thread")]
async fn with_another_secret_there_are_other_nodes_and_those_before_must_start_again() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    one.caught_up().await;
    let other = Bytes::from_static(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    one.bus.put("secret", other, Expect::Anything).await.unwrap();
    while !matches!(one.events.recv().await.unwrap(), Event::Replaced) {}
    let (two, mut three) = (Node::open(&nats, 2).await, Node::open(&nats, 3).await);
    two.bus.send(number(3), b"x").unwrap();
    assert_eq!(three.message().await, "x");
    two.bus.put("secret", Bytes::from_static(b"short"), Expect::Anything).await.unwrap();
    let error = Bus::open(settings(&nats), number(4)).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("\"secret\" is not 32 bytes in base64"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bucket_of_the_same_name_is_not_taken_for_it() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    let three = Node::open(&nats, 3).await;
    for _ in 0..3 {
        one.bus.put("a", Bytes::new(), Expect::Anything).await.unwrap();
    }
    nats.servers[0].ask("$JS.API.STREAM.DELETE.KV_fanfare", "").unwrap();
    let mut two = Node::open(&nats, 2).await;
    for _ in 0..5 {
        two.bus.put("b", Bytes::new(), Expect::Anything).await.unwrap();
    }
    let mut told = Vec::new();
    loop {
        match one.events.recv().await.unwrap() {
            Event::Entry { key, revision, .. } => told.push((key, revision)),
            Event::Replaced => break,
            _ => {}
        }
    }
    assert!(told.iter().all(|(key, _)| key == "a"), "{told:?}");
    // Messages of who has the same one go on. Whoever has started since knows only the new one, and is another's node.
    two.bus.send(number(1), b"of another").unwrap();
    until("it to come", || (one.bus.counters().unreadable == 1).then_some(())).await;
    three.bus.send(number(1), b"x").unwrap();
    assert_eq!(one.message().await, "x");
    assert_eq!(two.entry().await.0, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_make_one_bucket() {
    let nats = Nats::one();
    let nodes: Vec<_> = (0..8).map(|node| tokio::spawn(Bus::open(settings(&nats), number(node)))).collect();
    for node in nodes {
        node.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_knows_only_what_is_old_is_not_heard() {
    let nats = Nats::one();
    let mut settings = settings(&nats);
    settings.late = Some(Duration::from_millis(200));
    let mut one = Node::with(settings.clone(), 1).await;
    one.bus.put("a", Bytes::new(), Expect::Anything).await.unwrap();
    // Its watch does not get on from where it is: nobody takes its events.
    settings.events = 1;
    let mut deaf = Node::with(settings, 2).await;
    deaf.caught_up().await;
    for _ in 0..3 {
        one.bus.put("a", Bytes::new(), Expect::Anything).await.unwrap();
        one.entry().await;
    }
    one.entry().await;
    deaf.bus.send(number(1), b"in time").unwrap();
    assert_eq!(one.message().await, "in time");
    until("what it does not know to be old", || {
        deaf.bus.send(number(1), b"late").unwrap();
        (one.bus.counters().late > 0).then_some(())
    })
    .await;
    let Node { bus, mut events, .. } = deaf;
    let taking = tokio::spawn(async move { while events.recv().await.is_some() {} });
    until("it to be heard again", || {
        let before = one.bus.counters().received;
        bus.send(number(1), b"again").unwrap();
        (one.bus.counters().received > before).then_some(())
    })
    .await;
    taking.abort();
}
