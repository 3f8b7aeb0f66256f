//! What a back end is asked: about connections, and for what methods give.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use fanfare_client::{Client, ConnectError, Event, Invocation, Payload};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, Pattern, Token};
use fanfare_server::{OnFailure, Right};
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::receiver::{Heard, Reaction, Receiver};
use fanfare_tests::tokens::Secret;
use fanfare_tests::{Hub, eventually, group, message, next, nothing_else, user, within};
use serde_json::json;

use super::{hub, settings};

/// Answers about a connection by its user's name.
fn about(heard: &Heard) -> Reaction {
    let text = |status, text: &str| Reaction::Answer(status, Vec::new(), text.as_bytes().to_vec());
    let after = |status, seconds: &str| {
        Reaction::Answer(status, vec![("retry-after", seconds.to_owned())], Vec::new())
    };
    match heard.field("user") {
        "alice" => Reaction::json(
            200,
            &json!({
                "grants": [{ "group": "room-*", "may": ["join"] }],
                "groups": ["lobby", "news"],
                "data": { "level": 3 },
            }),
        ),
        "renamed" => Reaction::json(200, &json!({ "user": "somebody" })),
        "empty" => Reaction::Answer(200, Vec::new(), Vec::new()),
        "unknown" => Reaction::json(401, &json!({ "detail": "we do not know you" })),
        "forbidden" => Reaction::status(403),
        "many" => after(429, "7"),
        "broken" => Reaction::status(500),
        "busy" => after(503, "9"),
        "elsewhere" => Reaction::Answer(302, vec![("location", "/other".to_owned())], Vec::new()),
        "missing" => Reaction::status(404),
        "chatty" => text(200, "welcome!"),
        "odd" => Reaction::json(200, &json!({ "grant": [] })),
        "half" => Reaction::Half,
        "long" => Reaction::Answer(200, Vec::new(), vec![b' '; 10 << 20]),
        "late" => Reaction::Later(Duration::from_secs(20), Box::new(Reaction::fine())),
        _ => Reaction::fine(),
    }
}

async fn refused(hub: &Hub, name: &str) -> (u16, String, Duration) {
    match within(Client::connect(hub.client_config(name))).await {
        Err(error @ ConnectError::Refused { .. }) => {
            let after = error.stay_away();
            let ConnectError::Refused { code, reason, .. } = error else { unreachable!("it is matched") };
            (code, reason, after)
        }
        other => panic!("{name}: {:?}", other.map(|client| client.connection_id())),
    }
}

#[tokio::test]
async fn promise_15_a_back_end_decides_who_is_let_in() {
    let receiver = Receiver::start(about);
    let hub = hub(&receiver, |webhook| {
        webhook.connect = true;
        webhook.connect_deadline = Duration::from_millis(500);
    })
    .await;
    let alice = hub.client("alice").await;
    for name in ["lobby", "news"] {
        assert!(matches!(next(&alice).await, Event::Joined { group, .. } if group.as_str() == name));
    }
    assert_eq!(within(alice.join("room-7")).await, Ok(1));
    assert_eq!(within(alice.join("hall")).await.unwrap_err().code(), Some(Code::NotGranted));
    let empty = hub.client("empty").await;
    assert_eq!(empty.user().as_str(), "empty");
    let plain = hub.client("plain").await;
    assert_eq!(plain.user().as_str(), "plain");

    let (for_good, for_now) = (Code::ConnectRefused, Code::ConnectRefusedForNow);
    for (name, code, words, seconds) in [
        ("unknown", for_good, "we do not know you", None),
        ("forbidden", for_good, for_good.sentence(), None),
        ("many", for_now, for_now.sentence(), Some(7)),
        ("busy", for_now, "the application does not answer at the moment", Some(9)),
        ("broken", for_now, "does not answer", Some(5)),
        ("elsewhere", for_now, "does not answer", Some(5)),
        ("missing", for_now, "does not answer", Some(5)),
        ("chatty", for_now, "does not answer", Some(5)),
        ("odd", for_now, "does not answer", Some(5)),
        ("half", for_now, "does not answer", Some(5)),
        ("long", for_now, "does not answer", Some(5)),
        ("late", for_now, "does not answer", Some(5)),
    ] {
        let (found, reason, after) = refused(&hub, name).await;
        assert_eq!(found, code.number(), "{name}: {reason}");
        assert!(reason.contains(words), "{name}: {reason}");
        // Each is told a moment of its own, up to half as much again.
        let seconds: u128 = seconds.unwrap_or(0);
        assert!((seconds * 1_000..=seconds * 1_500).contains(&after.as_millis()), "{name}: {after:?}");
    }
    assert_eq!(hub.server.population().connections, 3);

    let heard = receiver.heard();
    let alice_came = heard.iter().find(|heard| heard.field("user") == "alice").unwrap();
    assert_eq!(alice_came.kind(), "connect");
    assert_eq!(alice_came.field("connection"), alice.connection_id().to_string());
    assert_eq!((alice_came.field("transport"), alice_came.field("address")), ("quic", "127.0.0.1"));
    assert_eq!(alice_came.headers["ce-type"], "dev.fanfare.connect");
    assert_eq!(alice_came.headers["ce-id"], alice_came.id);
    assert!(alice_came.is_http2, "it speaks HTTP/2");
    let of = |name: &str| heard.iter().filter(|heard| heard.field("user") == name).count();
    assert_eq!(of("elsewhere"), 1, "a redirect is not followed");
    // What broke off breaks its stream alone, and what was too long may have cost a connection.
    assert!(receiver.connections() <= 4, "connections are kept: {}", receiver.connections());
    hub.stop().await;
}

#[tokio::test]
async fn where_the_operator_says_so_a_back_end_that_is_down_lets_in_by_the_token() {
    let receiver = Receiver::start(about);
    let hub = hub(&receiver, |webhook| {
        webhook.connect = true;
        webhook.on_failure = OnFailure::Open;
    })
    .await;
    assert_eq!(hub.client("broken").await.user().as_str(), "broken");
    assert_eq!(refused(&hub, "unknown").await.0, Code::ConnectRefused.number(), "it has answered");
    assert_eq!(refused(&hub, "many").await.0, Code::ConnectRefusedForNow.number(), "and here, too");
    receiver.set_up(false);
    assert_eq!(hub.client("alice").await.user().as_str(), "alice");
    hub.stop().await;
}

/// Whoever a back end says that somebody is, is who bans are about; and a token that comes later is whose it was.
#[tokio::test]
async fn promise_7_a_name_that_a_back_end_gives_is_the_one_that_bans_are_about() {
    let receiver = Receiver::start(about);
    let secret = Secret::default();
    let with_webhook = settings(&receiver, |webhook| webhook.connect = true);
    let hub = Hub::with(|config| {
        config.dev = false;
        config.tokens = Some(secret.rules());
        with_webhook(config);
        config.webhooks[0].allow = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    })
    .await;
    let token = |name: &str| Token::new(secret.token(name, &[Right::Join, Right::Send]));
    let somebody = within(Client::connect(hub.token_config(token("renamed").expose()))).await.unwrap();
    assert_eq!(somebody.user().as_str(), "somebody");
    assert_eq!(within(somebody.join("room")).await, Ok(1));
    within(somebody.refresh(token("renamed"))).await.unwrap();
    let denied = within(somebody.refresh(token("somebody"))).await.unwrap_err();
    assert_eq!(denied.code(), Some(Code::OtherUser), "it came as another");

    let ban =
        |name: &str| Action::Ban { user: user(name), until: None, reason: String::new(), dry_run: false };
    hub.act(ban("renamed")).await.unwrap();
    let denied = within(somebody.refresh(token("renamed"))).await.unwrap_err();
    assert_eq!(denied.code(), Some(Code::UserBanned), "who it came as is banned");
    let asked = receiver.heard().len();
    let again = within(Client::connect(hub.token_config(token("renamed").expose()))).await;
    assert!(matches!(again, Err(ConnectError::Refused { code, .. }) if code == Code::UserBanned.number()));
    assert_eq!(receiver.heard().len(), asked, "nobody is asked about who may not be here");

    hub.act(ban("somebody")).await.unwrap();
    hub.is_empty().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_ban_holds_for_whom_a_back_end_names() {
    let receiver = Receiver::start(about);
    let hub = hub(&receiver, |webhook| webhook.connect = true).await;
    let user = user("somebody");
    hub.act(Action::Ban { user, until: None, reason: String::new(), dry_run: false }).await.unwrap();
    assert_eq!(refused(&hub, "renamed").await.0, Code::UserBanned.number());
    hub.stop().await;
}

/// What a method gives, by its name.
fn method(heard: &Heard) -> Reaction {
    match heard.field("method") {
        "Echo" => Reaction::json(200, &heard.body),
        "Text" => Reaction::Answer(
            200,
            vec![("content-type", "text/plain; charset=utf-8".to_owned())],
            b"hello".to_vec(),
        ),
        "Nothing" => Reaction::fine(),
        "SoldOut" => Reaction::json(409, &json!({ "detail": "sold out", "code": 10_001, "data": [3] })),
        "Forbidden" => Reaction::status(403),
        "Missing" => Reaction::status(404),
        "Broken" => Reaction::json(500, &json!({ "detail": "password wrong at db.internal" })),
        "Half" => Reaction::Half,
        "Long" => {
            Reaction::Answer(200, vec![("content-type", "application/json".to_owned())], vec![b' '; 10 << 20])
        }
        "Never" => Reaction::Never,
        _ => Reaction::fine(),
    }
}

#[tokio::test]
async fn promise_15_a_back_end_answers_methods() {
    let receiver = Receiver::start(|heard| match heard.kind() {
        "connect" => about(heard),
        _ => method(heard),
    });
    let hub = hub(&receiver, |webhook| {
        webhook.connect = true;
        webhook.invoke = vec![Pattern::new("*").unwrap()];
        webhook.invoke_deadline = Duration::from_millis(700);
    })
    .await;
    let alice = hub.client("alice").await;
    let echo: serde_json::Value = within(alice.invoke("Echo", &("a", 1))).await.unwrap();
    assert_eq!(echo["arguments"], json!(["a", 1]));
    assert_eq!(
        (&echo["user"], &echo["method"], &echo["type"]),
        (&json!("alice"), &json!("Echo"), &json!("invoke"))
    );
    assert_eq!(echo["connection"], alice.connection_id().to_string());
    assert_eq!(echo["data"], json!({ "level": 3 }), "what `connect` gave is with each question");
    let text = within(alice.call_raw(Invocation::new("Text"))).await.unwrap();
    assert_eq!(text, Some(Payload::from("hello")));
    within(alice.invoke::<()>("Nothing", &())).await.unwrap();
    for (name, code, detail) in [
        ("SoldOut", 10_001, "sold out"),
        ("Forbidden", Code::CallFailed.number(), Code::CallFailed.sentence()),
        ("Missing", Code::MethodUnknown.number(), Code::MethodUnknown.sentence()),
        ("Broken", Code::BackEndUnavailable.number(), Code::BackEndUnavailable.sentence()),
        ("Half", Code::BackEndUnavailable.number(), Code::BackEndUnavailable.sentence()),
        ("Long", Code::BackEndUnavailable.number(), Code::BackEndUnavailable.sentence()),
        ("Never", Code::BackEndUnavailable.number(), Code::BackEndUnavailable.sentence()),
    ] {
        let error = within(alice.invoke::<()>(name, &())).await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{name}: {error}");
        assert!(error.to_string().contains(detail), "{name}: {error}");
    }
    let row = &hub.server.webhooks()[0];
    assert_eq!((row.asked, row.unanswered, row.is_failing), (11, 4, true), "{row:?}");
    assert!(row.last_error.as_ref().unwrap().words.contains("no whole answer within 700 ms"), "{row:?}");
    hub.stop().await;
}

#[tokio::test]
async fn promise_15_a_back_end_that_never_answers_costs_only_its_caller() {
    let receiver = Receiver::start(method);
    let hub = hub(&receiver, |webhook| webhook.invoke = vec![Pattern::new("N*").unwrap()]).await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    within(bob.join("room")).await.unwrap();
    let waits = tokio::spawn({
        let alice = alice.clone();
        async move { alice.invoke::<()>("Never", &()).await }
    });
    eventually("the back end is asked", || receiver.heard().len() == 1).await;
    // The caller itself goes on as well.
    within(alice.send_to_group("room", "news", "hello")).await.unwrap();
    assert_eq!(message(&bob).await.text(), Some("hello"));
    within(bob.invoke::<()>("Nothing", &())).await.unwrap();
    let error = within(bob.invoke::<()>("Other", &())).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::MethodUnknown.number()), "nobody answers this");
    // Who has gone is waited for no more.
    hub.act(Action::Kick { who: Who::User(user("alice")), reason: String::new() }).await.unwrap();
    assert!(within(waits).await.unwrap().is_err());
    eventually("nothing runs", || hub.server.metrics().calls_running == 0).await;
    hub.stop().await;
}

/// How many are asked at a time is a bound of ours, and lets nobody in (with `on_failure` open, either).
#[tokio::test]
async fn promise_15_calls_and_crowds_do_not_switch_the_question_off() {
    let receiver = Receiver::start(|heard| match heard.kind() {
        "connect" => about(heard),
        _ => Reaction::Never,
    });
    let hub = hub(&receiver, |webhook| {
        webhook.connect = true;
        webhook.invoke = vec![Pattern::new("*").unwrap()];
        webhook.on_failure = OnFailure::Open;
        webhook.connect_deadline = Duration::from_secs(15);
        webhook.questions = 1;
    })
    .await;
    let plain = hub.client("plain").await;
    let call = tokio::spawn({
        let plain = plain.clone();
        async move { plain.invoke::<()>("Slow", &()).await }
    });
    eventually("it is asked", || receiver.kinds() == ["connect", "invoke"]).await;
    assert_eq!(refused(&hub, "forbidden").await.0, Code::ConnectRefused.number());
    let second = hub.client("plain").await;
    let error = within(second.invoke::<()>("Slow", &())).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::BackEndUnavailable.number()));
    // One who is being asked about takes the one place.
    let late = tokio::spawn(Client::connect(hub.client_config("late")));
    eventually("it is asked", || receiver.heard().iter().any(|heard| heard.field("user") == "late")).await;
    let (code, reason, _) = refused(&hub, "plain").await;
    assert_eq!((code, reason.as_str()), (Code::ConnectRefusedForNow.number(), "many connect at this moment"));
    late.abort();
    call.abort();
    drop((plain, second));
    hub.stop().await;
}

/// Without methods of a back end the requests of clients are Fanfare's own, and nobody is asked.
#[tokio::test]
async fn a_back_end_without_methods_is_not_asked_for_any() {
    let receiver = Receiver::start(about);
    let hub = hub(&receiver, |webhook| webhook.connect = true).await;
    let plain = hub.client("plain").await;
    let error = within(plain.invoke::<()>("Anything", &())).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::MethodUnknown.number()));
    assert_eq!(receiver.kinds(), ["connect"]);
    within(plain.send_to_connection(plain.connection_id(), "event", Payload::from("x"))).await.unwrap();
    assert_eq!(message(&plain).await.text(), Some("x"));
    nothing_else(&plain).await;
    assert_eq!(hub.server.count(&fanfare_server::Target::Group(group("lobby"))), 0);
    hub.stop().await;
}

/// A back end uses the API for a connection while it is asked about it, and everything holds from the welcome on.
#[tokio::test]
async fn a_connection_can_be_reached_from_the_moment_of_its_first_webhook() {
    let receiver = Receiver::start(|_| Reaction::fine());
    let webhook = settings(&receiver, |webhook| webhook.connect = true);
    let hub = Hub::with(|config| {
        webhook(config);
        config.http = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let back_end = BackEnd::new(&hub, "all", &["send", "members"]).await;
    let url = hub.server.api_url().unwrap();
    let key = back_end.key.clone();
    receiver.react(move |heard| {
        if heard.field("user") != "alice" {
            return Reaction::status(403);
        }
        let connection = heard.field("connection");
        let ask = |path: &str, body: serde_json::Value| ask(&url, &key, path, &body);
        let event =
            |text: &str| json!({ "to": { "connections": [connection] }, "event": "hello", "text": text });
        assert_eq!(ask("send", event("one")), json!({ "queued": 1 }));
        ask("add", json!({ "connection": connection, "group": "room" }));
        ask("add", json!({ "connection": connection, "group": "hall" }));
        ask("remove", json!({ "connection": connection, "group": "hall" }));
        assert_eq!(ask("send", event("two")), json!({ "queued": 1 }));
        // Whoever is not welcomed is nobody that a send to all reaches.
        let all = json!({ "to": { "all": true }, "event": "hello", "text": "all" });
        assert_eq!(ask("send", all), json!({ "queued": 0 }));
        Reaction::fine()
    });
    assert_eq!(refused(&hub, "mallory").await.0, Code::ConnectRefused.number());
    let alice = hub.client("alice").await;
    for expected in ["one", "two"] {
        match next(&alice).await {
            Event::Message(message) => assert_eq!(message.text(), Some(expected)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(next(&alice).await, Event::Joined { group, .. } if group.as_str() == "room"));
    nothing_else(&alice).await;
    assert_eq!(hub.server.population().groups, 1);
    hub.stop().await;
}

/// Asks the API on the receiver's own thread, which waits for the answer.
fn ask(url: &str, key: &str, path: &str, body: &serde_json::Value) -> serde_json::Value {
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /api/v1/{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[tokio::test]
async fn who_is_being_asked_about_can_be_closed_and_no_answer_lets_it_in() {
    // It says nothing at first, and then lets it in, too late.
    let mut answers =
        [Reaction::Never, Reaction::Later(Duration::from_millis(200), Box::new(Reaction::fine()))]
            .into_iter();
    let receiver = Receiver::start(move |_| answers.next().unwrap());
    let rules = settings(&receiver, |webhook| webhook.connect = true);
    let hub = Hub::with(|config| {
        rules(config);
        config.http = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let shop = BackEnd::new(&hub, "shop", &["close:user:alice"]).await;
    for (more, code, comes_back) in [
        (json!({}), Code::ClosedByOperator, false),
        (json!({ "retry_after_ms": 7_000 }), Code::ClosedForNow, true),
    ] {
        receiver.forget();
        let connecting = Client::connect(hub.client_config("alice"));
        let closing = async {
            eventually("it is asked about", || receiver.kinds() == ["connect"]).await;
            let mut close =
                json!({ "connection": receiver.heard()[0].field("connection"), "reason": "not you" });
            close.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(shop.done("/close", &close).await["connections"], 1);
        };
        let (connected, ()) = tokio::join!(within(connecting), closing);
        let error = connected.unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
        assert!(error.to_string().contains("not you"), "{error}");
        assert_eq!(error.stay_away() >= Duration::from_secs(7), comes_back);
        hub.is_empty().await;
    }
    hub.stop().await;
}
