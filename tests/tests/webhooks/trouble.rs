//! A back end that is down, flaps, refuses, breaks off or is slow: nothing is lost, and nobody else is held up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fanfare_client::Event;
use fanfare_server::WebhookEvent;
use fanfare_tests::receiver::{Heard, Reaction, Receiver};
use fanfare_tests::tokens::Secret;
use fanfare_tests::{Hub, eventually, message, next, within};

use super::{everything, hub, settings};

/// Events that were taken: each once, in the order of their connection.
fn check_order(taken: &[Heard]) {
    let mut last = BTreeMap::<String, u64>::new();
    for heard in taken {
        let sequence = heard.body["sequence"].as_u64().unwrap();
        let of = format!("{}{}{}", heard.field("connection"), heard.field("group"), heard.field("user"));
        let of = if heard.field("connection").is_empty() { of } else { heard.field("connection").to_owned() };
        if let Some(before) = last.insert(of.clone(), sequence) {
            assert!(before < sequence, "{of}: {before} before {sequence}");
        }
    }
}

#[tokio::test]
async fn promise_17_of_a_back_end_that_flaps_nothing_is_lost_and_the_order_holds() {
    let turn = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&turn);
    let receiver = Receiver::start(move |_| match counting.fetch_add(1, Ordering::SeqCst) % 7 {
        0 => Reaction::status(500),
        2 => Reaction::Half,
        3 => Reaction::status(400),
        5 => Reaction::Answer(503, vec![("retry-after", "0".to_owned())], Vec::new()),
        _ => Reaction::fine(),
    });
    let hub = hub(&receiver, everything).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let client = hub.client(&format!("user-{number}")).await;
        for name in ["room", "hall"] {
            within(client.join(name)).await.unwrap();
            within(client.leave(name)).await.unwrap();
        }
        clients.push(client);
        // Down for a moment, in the middle of it.
        receiver.set_up(number != 2);
    }
    receiver.set_up(true);
    receiver.react(|_| Reaction::fine());
    for client in &clients {
        within(client.close()).await.unwrap();
    }
    eventually("all is taken", || {
        let row = &hub.server.webhooks()[0];
        row.delivered > 0
            && row.waiting == 0
            && receiver.kinds().iter().filter(|kind| *kind == "disconnected").count() >= 5
    })
    .await;
    let row = &hub.server.webhooks()[0];
    assert_eq!((row.lost, row.failed > 0, row.last_error.is_some()), (0, true, true), "{row:?}");
    // By numbers: what was heard last of each is when it was taken.
    let mut heard = receiver.heard();
    let numbers: BTreeSet<u64> = heard.iter().map(|heard| heard.body["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len() as u64, *numbers.last().unwrap(), "every event came");
    heard.dedup_by_key(|heard| heard.id.clone());
    let mut seen = BTreeSet::new();
    heard.retain(|heard| seen.insert(heard.id.clone()));
    check_order(&heard);
    hub.stop().await;
}

#[tokio::test]
async fn each_attempt_has_a_time_and_a_signature_of_its_own_and_the_same_id() {
    let receiver = Receiver::start(|_| Reaction::status(500));
    let hub = hub(&receiver, |webhook| webhook.events = vec![WebhookEvent::Started]).await;
    eventually("it was tried three times", || receiver.heard().len() >= 3).await;
    receiver.react(|_| Reaction::fine());
    let heard = receiver.heard();
    let distinct = |of: &dyn Fn(&Heard) -> String| heard.iter().map(of).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(&|heard| heard.id.clone()), 1);
    assert!(distinct(&|heard| heard.timestamp.to_string()) > 1);
    assert_eq!(
        distinct(&|heard| heard.signatures[0].clone()),
        distinct(&|heard| heard.timestamp.to_string())
    );
    hub.stop().await;
}

#[tokio::test]
async fn promise_17_what_waits_outlives_the_server_and_a_restart_is_told_behind_it() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let with = || {
        let webhook = settings(&receiver, everything);
        move |config: &mut fanfare_server::Config| {
            webhook(config);
            config.drain_deadline = Duration::from_millis(500);
        }
    };
    let hub = Hub::with(with()).await;
    eventually("it has started", || receiver.kinds() == ["started"]).await;
    receiver.set_up(false);
    // It does not come back by itself, behind what is waited for.
    let config = hub.client_config("alice").reconnect(None);
    let alice = within(fanfare_client::Client::connect(config)).await.unwrap();
    within(alice.join("room")).await.unwrap();
    let hub = hub.restart_with(with()).await;
    eventually("it has failed", || hub.server.webhooks()[0].last_error.is_some()).await;
    assert!(hub.server.webhooks()[0].waiting >= 5, "{:?}", hub.server.webhooks());
    assert_eq!(receiver.kinds(), ["started"]);
    receiver.set_up(true);
    eventually("all is told", || hub.server.webhooks()[0].waiting == 0).await;
    let heard = receiver.heard();
    let (last, before) = heard.split_last().unwrap();
    assert_eq!(last.kind(), "started", "{:?}", receiver.kinds());
    let epochs: Vec<_> = heard.iter().map(|heard| heard.body["epoch"].as_u64().unwrap()).collect();
    assert!(epochs[0] < *epochs.last().unwrap());
    assert!(before.iter().all(|heard| heard.body["epoch"] == epochs[0]));
    let of_alice: Vec<_> = before
        .iter()
        .filter(|heard| !heard.field("connection").is_empty())
        .map(|heard| heard.kind().to_owned())
        .collect();
    assert_eq!(of_alice, ["joined", "left", "disconnected"]);
    hub.stop().await;
}

#[tokio::test]
async fn promise_11_what_finds_no_room_is_counted_and_told() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let with_webhook = settings(&receiver, |webhook| {
        webhook.events = vec![WebhookEvent::Joined, WebhookEvent::Left];
        webhook.waiting_in_memory = 1_000;
        webhook.waiting_on_disk = 1_000;
    });
    let hub = Hub::with(with_webhook).await;
    receiver.set_up(false);
    let alice = hub.client("alice").await;
    // A joined and a left each.
    for number in 0..600 {
        let name = format!("room-{number}");
        within(alice.join(name.as_str())).await.unwrap();
        within(alice.leave(name.as_str())).await.unwrap();
    }
    eventually("some are lost", || hub.server.webhooks()[0].lost == 200).await;
    receiver.set_up(true);
    eventually("the rest is told", || {
        let row = &hub.server.webhooks()[0];
        row.waiting == 0 && row.delivered == 1_001
    })
    .await;
    let heard = receiver.heard();
    let lost: Vec<_> = heard.iter().filter(|heard| heard.kind() == "lost").collect();
    assert_eq!((lost.len(), &lost[0].body["events"]), (1, &200.into()));
    check_order(&heard);
    within(alice.join("room")).await.unwrap();
    eventually("it goes on", || receiver.kinds().last().is_some_and(|kind| kind == "joined")).await;
    hub.stop().await;
}

#[tokio::test]
async fn more_than_memory_takes_waits_on_the_disk() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let hub = hub(&receiver, |webhook| {
        webhook.events = vec![WebhookEvent::Joined, WebhookEvent::Left];
        webhook.waiting_in_memory = 1_000;
    })
    .await;
    receiver.set_up(false);
    let alice = hub.client("alice").await;
    for number in 0..1_500 {
        let name = format!("room-{number}");
        within(alice.join(name.as_str())).await.unwrap();
        assert!(matches!(next(&alice).await, Event::Joined { .. }));
        within(alice.leave(name.as_str())).await.unwrap();
    }
    eventually("they wait", || hub.server.webhooks()[0].waiting == 3_000).await;
    receiver.set_up(true);
    eventually("all are told", || hub.server.webhooks()[0].waiting == 0).await;
    let heard = receiver.heard();
    assert_eq!((heard.len(), hub.server.webhooks()[0].lost), (3_000, 0));
    check_order(&heard);
    hub.stop().await;
}

/// The clock stands still for nobody else: a message goes while the back end does not answer at all.
#[tokio::test]
async fn promise_6_a_back_end_that_does_not_read_delays_no_message() {
    let receiver = Receiver::start(|_| Reaction::Never);
    let hub = hub(&receiver, |webhook| {
        everything(webhook);
        webhook.event_deadline = Duration::from_secs(20);
    })
    .await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    within(bob.join("room")).await.unwrap();
    eventually("it is told", || !receiver.heard().is_empty()).await;
    for number in 0..100 {
        let text = number.to_string();
        within(alice.send_to_group("room", "count", text.as_str())).await.unwrap();
        assert_eq!(message(&bob).await.text(), Some(text.as_str()));
    }
    let begun = Instant::now();
    // What is not told in time waits on the disk.
    hub.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Where a name leads is judged when it is resolved, and who answers there by its certificate.
#[tokio::test]
async fn promise_12_a_name_that_leads_into_the_own_network_is_not_followed() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let secret = Secret::default();
    let mut inside = receiver.webhook("inside");
    everything(&mut inside);
    let mut allowed = receiver.webhook("allowed");
    everything(&mut allowed);
    allowed.allow = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    let mut stranger = receiver.webhook("stranger");
    everything(&mut stranger);
    stranger.allow.clone_from(&allowed.allow);
    stranger.roots = Receiver::start(|_| Reaction::fine()).webhook("other").roots;
    let hub = Hub::with(|config| {
        config.dev = false;
        config.tokens = Some(secret.rules());
        config.webhooks = vec![inside, allowed, stranger];
    })
    .await;
    let failed = |at: usize| hub.server.webhooks()[at].last_error.clone().map(|error| error.words);
    eventually("one was refused, and one not trusted", || failed(0).is_some() && failed(2).is_some()).await;
    eventually("the other was told", || hub.server.webhooks()[1].delivered == 1).await;
    assert!(failed(0).unwrap().contains("is not a public address; name its network"), "{:?}", failed(0));
    assert!(failed(2).unwrap().contains("is not trusted here"), "{:?}", failed(2));
    assert_eq!((receiver.kinds(), failed(1)), (vec!["started".to_owned()], None));
    hub.stop().await;
}

/// One connection's events that the back end cannot take: as many as memory holds, and a restart behind them.
#[tokio::test]
async fn promise_17_what_is_refused_holds_up_no_other_connection_and_no_restart() {
    let receiver = Receiver::start(|heard| match heard.field("user") {
        "alice" => Reaction::status(400),
        _ => Reaction::fine(),
    });
    let with = || {
        let webhook = settings(&receiver, |webhook| {
            webhook.events = vec![WebhookEvent::Started, WebhookEvent::Joined, WebhookEvent::Left];
            webhook.waiting_in_memory = 1_000;
        });
        move |config: &mut fanfare_server::Config| {
            webhook(config);
            config.drain_deadline = Duration::from_millis(500);
        }
    };
    let hub = Hub::with(with()).await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    for number in 0..600 {
        let name = format!("room-{number}");
        within(alice.join(name.as_str())).await.unwrap();
        assert!(matches!(next(&alice).await, Event::Joined { .. }));
        within(alice.leave(name.as_str())).await.unwrap();
    }
    for number in 0..20 {
        let name = format!("room-{number}");
        within(bob.join(name.as_str())).await.unwrap();
        within(bob.leave(name.as_str())).await.unwrap();
    }
    let of = |kind: &str, user: &str| {
        let of = |heard: &&Heard| heard.kind() == kind && heard.field("user") == user;
        receiver.heard().iter().filter(of).count()
    };
    eventually("bob's are told", || of("joined", "bob") == 20 && of("left", "bob") == 20).await;
    assert!(hub.server.webhooks()[0].waiting >= 1_000, "alice's wait");
    let hub = hub.restart_with(with()).await;
    eventually("the start is told", || of("started", "") == 2).await;
    hub.stop().await;
}

#[tokio::test]
async fn promise_11_however_often_something_is_lost_the_sum_of_what_is_told_is_right() {
    let receiver = Receiver::start(|_| Reaction::status(503));
    let hub = hub(&receiver, |webhook| {
        webhook.events = vec![WebhookEvent::Joined];
        webhook.retry_for = Duration::from_millis(100);
    })
    .await;
    let alice = hub.client("alice").await;
    for number in 0..20 {
        within(alice.join(format!("room-{number}").as_str())).await.unwrap();
    }
    // What says so is given up itself, and said again.
    eventually("they are lost", || hub.server.webhooks()[0].lost == 20).await;
    eventually("so is what says it", || receiver.kinds().iter().filter(|kind| *kind == "lost").count() > 1)
        .await;
    receiver.forget();
    receiver.react(|_| Reaction::fine());
    eventually("it is told", || hub.server.webhooks()[0].waiting == 0).await;
    let told: u64 = receiver.heard().iter().map(|heard| heard.body["events"].as_u64().unwrap()).sum();
    assert_eq!((told, hub.server.webhooks()[0].lost), (20, 20));
    hub.stop().await;
}

/// What has waited on the disk for longer than events are tried, because the server was down, is not told any more.
#[tokio::test]
async fn what_has_waited_too_long_when_a_server_starts_is_lost_and_told_as_that() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let with = |retry_for: Duration| {
        let webhook = settings(&receiver, move |webhook| {
            everything(webhook);
            webhook.retry_for = retry_for;
        });
        move |config: &mut fanfare_server::Config| {
            webhook(config);
            config.drain_deadline = Duration::from_millis(500);
        }
    };
    let day = Duration::from_secs(24 * 60 * 60);
    let hub = Hub::with(with(day)).await;
    eventually("it has started", || receiver.kinds() == ["started"]).await;
    receiver.set_up(false);
    let alice = hub.client("alice").await;
    within(alice.join("room")).await.unwrap();
    // It comes back to none of them.
    within(alice.close()).await.unwrap();
    hub.is_empty().await;
    let hub = hub.restart_with(with(day)).await;
    let retry_for = Duration::from_secs(2);
    let oldest = || hub.server.webhooks()[0].oldest_seconds;
    eventually("it has waited for long", || oldest().is_some_and(|seconds| seconds > 2)).await;
    let waiting = hub.server.webhooks()[0].waiting;
    assert!(waiting >= 5, "{waiting}");
    receiver.forget();
    let hub = hub
        .restart_with(|config| {
            // Nobody sends at this moment.
            receiver.set_up(true);
            with(retry_for)(config);
        })
        .await;
    let heard = || receiver.heard().into_iter().filter(|heard| heard.kind() == "lost").collect::<Vec<_>>();
    eventually("it is told", || !heard().is_empty()).await;
    eventually("nothing waits", || hub.server.webhooks()[0].waiting == 0).await;
    let lost: u64 = heard().iter().map(|heard| heard.body["events"].as_u64().unwrap()).sum();
    assert_eq!((lost, hub.server.webhooks()[0].lost), (waiting, waiting));
    let mut kinds = receiver.kinds();
    kinds.sort();
    assert_eq!(kinds, ["lost", "started"]);
    hub.stop().await;
}
