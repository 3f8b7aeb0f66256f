//! What a back end is told: everything, at least once, in order per connection.

use fanfare_protocol::Code;
use fanfare_protocol::admin::{Action, Who};
use fanfare_server::WebhookEvent;
use fanfare_tests::receiver::{Heard, Reaction, Receiver};
use fanfare_tests::{Hub, eventually, group, user, within};
use serde_json::Value;

use super::{everything, hub, settings};

/// Every event of a receiver, one after the other, whether it came alone or in a batch.
fn events(receiver: &Receiver) -> Vec<Value> {
    let of = |heard: Heard| match heard.body {
        Value::Array(events) => events.into_iter().map(|event| event["data"].clone()).collect(),
        event => vec![event],
    };
    receiver.heard().into_iter().flat_map(of).collect()
}

fn kinds_of(events: &[Value], connection: &str) -> Vec<String> {
    let of = events.iter().filter(|event| event["connection"] == connection);
    of.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn promise_17_a_back_end_hears_of_everything_in_the_order_of_each_connection() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let hub = hub(&receiver, everything).await;
    let alice = hub.client("alice").await;
    let id = alice.connection_id().to_string();
    within(alice.join("room")).await.unwrap();
    within(alice.leave("room")).await.unwrap();
    within(alice.join("hall 7")).await.unwrap();
    hub.act(Action::Remove { who: Who::User(user("alice")), group: group("hall 7"), reason: String::new() })
        .await
        .unwrap();
    within(alice.join("room")).await.unwrap();
    hub.act(Action::Kick { who: Who::Connection(alice.connection_id()), reason: "enough".into() })
        .await
        .unwrap();
    eventually("all is told", || receiver.kinds().iter().any(|kind| kind == "disconnected")).await;
    let told = events(&receiver);
    assert_eq!(told[0]["type"], "started");
    assert_eq!(kinds_of(&told, &id), ["joined", "left", "joined", "left", "joined", "left", "disconnected"]);
    let lefts: Vec<_> = told.iter().filter(|event| event["type"] == "left").collect();
    let whys: Vec<_> = lefts.iter().map(|event| event["reason"].as_str().unwrap()).collect();
    assert_eq!(whys, ["asked", "removed", "gone"]);
    assert_eq!(lefts[1]["code"], Code::RemovedFromGroup.number());
    let end = told.iter().find(|event| event["type"] == "disconnected").unwrap();
    assert_eq!((&end["code"], &end["reason"]), (&Code::ClosedByOperator.number().into(), &"enough".into()));
    assert_eq!(end["user"], "alice");
    eventually("groups are told", || {
        let told = events(&receiver);
        let of = |name: &str| -> Vec<String> {
            let of = told.iter().filter(|event| event["group"] == name && event["user"].is_null());
            of.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
        };
        let (opened, closed) = ("group_opened".to_owned(), "group_closed".to_owned());
        of("room") == [&opened, &closed, &opened, &closed].map(String::clone)
            && of("hall 7") == [&opened, &closed].map(String::clone)
    })
    .await;
    for heard in receiver.heard() {
        assert_eq!(heard.headers["ce-specversion"], "1.0");
        assert_eq!(heard.headers["ce-source"], "/fanfare");
        assert_eq!(heard.headers["ce-id"], heard.id);
        assert_eq!(heard.headers["ce-type"], format!("dev.fanfare.{}", heard.kind()));
        assert_eq!(heard.headers["content-type"], "application/json");
        if heard.field("group") == "hall 7" {
            assert_eq!(heard.headers["ce-group"], "hall%207");
        }
    }
    let numbers: std::collections::BTreeSet<u64> =
        events(&receiver).iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len() as u64, *numbers.last().unwrap(), "numbers have no gap");
    eventually("nothing waits", || hub.server.webhooks()[0].waiting == 0).await;
    let row = &hub.server.webhooks()[0];
    assert_eq!((row.lost, row.failed, row.last_error.is_none()), (0, 0, true), "{row:?}");
    hub.stop().await;
}

#[tokio::test]
async fn promise_16_who_is_back_within_the_grace_is_not_told_as_gone() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let hub = hub(&receiver, |webhook| {
        webhook.events = vec![WebhookEvent::UserJoined, WebhookEvent::UserLeft];
    })
    .await;
    let first = hub.client("alice").await;
    within(first.join("room")).await.unwrap();
    eventually("alice is there", || receiver.kinds() == ["user_joined"]).await;
    // A page that is loaded again: the old connection ends before the new one is there.
    within(first.close()).await.unwrap();
    hub.is_empty().await;
    let second = hub.client("alice").await;
    within(second.join("room")).await.unwrap();
    let third = hub.client("alice").await;
    within(third.join("room")).await.unwrap();
    within(second.close()).await.unwrap();
    let bob = hub.client("bob").await;
    within(bob.join("room")).await.unwrap();
    eventually("bob is there", || receiver.heard().len() == 2).await;
    assert_eq!(receiver.kinds(), ["user_joined", "user_joined"]);
    within(third.close()).await.unwrap();
    eventually("alice is gone", || receiver.kinds().last().is_some_and(|kind| kind == "user_left")).await;
    let told = events(&receiver);
    assert_eq!((told.len(), &told[2]["user"], &told[2]["group"]), (3, &"alice".into(), &"room".into()));
    // When the server ends nobody is told as gone: the next one says that all have ended, and bob may be back by then.
    hub.stop().await;
    assert_eq!(events(&receiver).len(), 3);
}

#[tokio::test]
async fn many_events_go_in_one_request_where_an_end_point_wants_that() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let hub = hub(&receiver, |webhook| {
        everything(webhook);
        webhook.batch = 100;
        webhook.requests = 1;
    })
    .await;
    let clients = futures_util::future::join_all((0..20).map(|number| {
        let hub = &hub;
        async move {
            let client = hub.client(&format!("user-{number}")).await;
            within(client.join("room")).await.unwrap();
            within(client.join(format!("own-{number}").as_str())).await.unwrap();
            client
        }
    }))
    .await;
    let ids: Vec<_> = clients.iter().map(|client| client.connection_id().to_string()).collect();
    hub.act(Action::Kick { who: Who::All, reason: String::new() }).await.unwrap();
    eventually("all is told", || {
        let told = events(&receiver);
        told.iter().filter(|event| event["type"] == "disconnected").count() == 20
    })
    .await;
    let told = events(&receiver);
    for id in ids {
        let kinds = kinds_of(&told, &id);
        assert_eq!(kinds, ["joined", "joined", "left", "left", "disconnected"], "{id}");
    }
    for heard in receiver.heard() {
        assert_eq!(heard.headers["content-type"], "application/cloudevents-batch+json");
        assert!(!heard.headers.contains_key("ce-id"));
        for event in heard.body.as_array().unwrap() {
            assert_eq!((&event["specversion"], &event["source"]), (&"1.0".into(), &"/fanfare".into()));
            assert_eq!(event["type"], format!("dev.fanfare.{}", event["data"]["type"].as_str().unwrap()));
        }
    }
    assert!(receiver.heard().len() < told.len() / 2, "{} requests", receiver.heard().len());
    hub.stop().await;
}

#[tokio::test]
async fn each_end_point_hears_of_what_it_asked_for() {
    let [rooms, all] = [0; 2].map(|_| Receiver::start(|_| Reaction::fine()));
    let mut of_rooms = rooms.webhook("rooms");
    of_rooms.events = vec![WebhookEvent::GroupOpened];
    of_rooms.groups = Some(vec![fanfare_protocol::Pattern::new("room-*").unwrap()]);
    let others = settings(&all, everything);
    let hub = Hub::with(|config| {
        config.webhooks.push(of_rooms);
        others(config);
    })
    .await;
    let alice = hub.client("alice").await;
    for name in ["hall", "room-1", "lobby", "room-2"] {
        within(alice.join(name)).await.unwrap();
    }
    eventually("rooms are told", || rooms.heard().len() == 2).await;
    eventually("all is told", || all.kinds().iter().filter(|kind| *kind == "group_opened").count() == 4)
        .await;
    let names: Vec<_> = events(&rooms).iter().map(|event| event["group"].clone()).collect();
    assert_eq!(names, ["room-1", "room-2"]);
    let rows = hub.server.webhooks();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["rooms", "billing"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_secret_is_replaced_while_both_are_believed() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let hub = hub(&receiver, everything).await;
    eventually("it has started", || receiver.heard().len() == 1).await;
    assert_eq!(receiver.heard()[0].signatures.len(), 1);
    let new = fanfare_server::WebhookSecret::generate().unwrap();
    let new = fanfare_server::WebhookSecret::parse(&new).unwrap();
    let mut webhook = receiver.webhook("billing");
    everything(&mut webhook);
    webhook.secrets.insert(0, new.clone());
    hub.server.replace_webhooks(std::slice::from_ref(&webhook)).unwrap();
    let alice = hub.client("alice").await;
    within(alice.join("room")).await.unwrap();
    eventually("it has joined", || receiver.kinds().iter().any(|kind| kind == "joined")).await;
    assert_eq!(receiver.heard().last().unwrap().signatures.len(), 2);
    // What else is different needs a restart, and nothing changes.
    webhook.events.pop();
    let error = hub.server.replace_webhooks(std::slice::from_ref(&webhook)).unwrap_err().to_string();
    assert!(error.contains("what it is told changes only with a restart"), "{error}");
    webhook.name = "other".to_owned();
    assert!(hub.server.replace_webhooks(&[webhook]).is_err());
    hub.stop().await;
}
