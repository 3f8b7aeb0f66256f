//! Clients of SignalR in the same hub: what holds for everybody holds for them, and what strangers may do at their
//! door. Real clients are in web/test/signalr.test.ts and tests/python.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use fanfare_client::Outgoing;
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Pattern, Payload, PayloadFormat, Sender, Target};
use fanfare_server::{Config, Minter, Overflow, TokenKey, TokenRules};
use fanfare_tests::signalr::SignalR;
use fanfare_tests::{Hub, eventually, group, message, text, user, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn hub() -> Hub {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut Config)) -> Hub {
    Hub::with(|config| {
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.origins.loopback = true;
        change(config);
    })
    .await
}

async fn welcomed(hub: &Hub, name: &str) -> SignalR {
    SignalR::welcomed(&hub.signalr(), &hub.roots, name).await
}

/// What HTTP answers: the status, the headers in lower case, and the body.
async fn ask(hub: &Hub, request: &str) -> (u16, String, String) {
    let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    within(socket.write_all(request.replace('\n', "\r\n").as_bytes())).await.unwrap();
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

async fn negotiate(hub: &Hub, query: &str, headers: &str) -> (u16, String, String) {
    ask(
        hub,
        &format!(
            "POST /signalr/negotiate{query} HTTP/1.1\nHost: x\nContent-Length: 0\nConnection: close\n{headers}\n"
        ),
    )
    .await
}

#[tokio::test]
async fn promises_1_and_2_a_signalr_client_and_a_native_one_understand_each_other() {
    let hub = hub().await;
    let native = hub.client("alice").await;
    native.join("room").await.unwrap();
    let mut signalr = welcomed(&hub, "bob").await;
    assert_eq!(signalr.call("joingroup", json!(["room"])).await, Ok(json!(2)));

    let sent = signalr.call("SendToOthersInGroup", json!(["room", "Say", "hello", { "at": 1 }])).await;
    assert_eq!(sent, Ok(json!(1)));
    let heard = message(&native).await;
    assert_eq!((heard.event.as_str(), heard.format), ("Say", PayloadFormat::Json));
    assert_eq!(heard.payload.as_ref(), br#"["hello",{"at":1}]"#);
    assert!(matches!(heard.from, Sender::Connection { user: name, .. } if name == user("bob")));

    for (payload, arguments) in [
        (Payload::from("hello"), json!(["hello"])),
        (Payload::json("[1,[2]]"), json!([1, [2]])),
        (Payload::json("{\"a\":1}"), json!([{ "a": 1 }])),
        (Payload::message_pack(vec![0x92, 0x01, 0xc4, 0x01, 0x07]), json!([1, "Bw=="])),
        (Payload::from(vec![0_u8, 255]), json!(["AP8="])),
    ] {
        native.send_to_group("room", "Say", payload).await.unwrap();
        assert_eq!(signalr.event().await, ("Say".to_owned(), arguments));
        message(&native).await;
    }
    let to_bob = signalr.call("SendToUser", json!(["bob", "Own"])).await;
    assert_eq!(to_bob, Ok(json!(1)));
    assert_eq!(signalr.event().await, ("Own".to_owned(), json!([])));
    assert_eq!(
        signalr.call("SendToConnection", json!([native.connection_id().to_string(), "To", "you"])).await,
        Ok(json!(1))
    );
    assert_eq!(text(&native).await, r#"["you"]"#);
    assert_eq!(signalr.call("Count", json!(["room"])).await, Ok(json!(2)));
    assert_eq!(signalr.call("LeaveGroup", json!(["room"])).await, Ok(json!(1)));
    native.send_to_group("room", "Say", "gone").await.unwrap();
    signalr.nothing_else().await;
    drop(signalr);
    native.close().await.unwrap();
    hub.is_empty().await;
    hub.stop().await;
}

#[tokio::test]
async fn promises_7_8_and_9_who_is_revoked_is_told_hears_nothing_more_and_stays_out() {
    let hub = hub().await;
    let native = hub.client("alice").await;
    let mut signalr = welcomed(&hub, "bob").await;
    signalr.call("JoinGroup", json!(["room"])).await.unwrap();
    native.send_to_group("room", "Say", "before").await.unwrap();
    let revoke = Action::Revoke {
        user: user("bob"),
        groups: Pattern::new("room").unwrap(),
        until: None,
        reason: "enough".to_owned(),
        dry_run: false,
    };
    hub.act(revoke).await.unwrap();
    native.send_to_group("room", "Say", "behind").await.unwrap();
    let told = loop {
        match signalr.event().await {
            (event, _) if event == "Say" => {}
            (event, arguments) => break (event, arguments),
        }
    };
    assert_eq!(told, ("fanfare.Removed".to_owned(), json!(["room", 3103, "enough"])));
    signalr.nothing_else().await;
    let refused = signalr.call("JoinGroup", json!(["room"])).await;
    assert_eq!(refused, Err("Failed to invoke 'JoinGroup' because user is unauthorized".to_owned()));
    let mut again = welcomed(&hub, "bob").await;
    assert!(again.call("JoinGroup", json!(["room"])).await.is_err(), "in a new connection, too");
    hub.stop().await;
}

#[tokio::test]
async fn a_close_says_why_and_whether_to_come_back() {
    let hub = hub().await;
    let mut kicked = welcomed(&hub, "alice").await;
    let who = Who::User(user("alice"));
    hub.act(Action::Kick { who, reason: "enough".to_owned() }).await.unwrap();
    assert_eq!(kicked.end().await, Some(json!({ "type": 7, "error": "enough (code 3010)" })));

    let mut banned = SignalR::open(&hub.signalr(), "?user=carol", &hub.roots, &[]).await.unwrap();
    let ban = Action::Ban { user: user("carol"), until: None, reason: "out".to_owned(), dry_run: false };
    hub.act(ban).await.unwrap();
    banned.say(&json!({ "protocol": "json", "version": 1 })).await;
    let refused = banned.end().await.unwrap();
    assert!(refused["error"].as_str().unwrap().ends_with("(code 3009)"), "{refused}");

    let mut there = welcomed(&hub, "bob").await;
    let stopping = tokio::spawn(hub.stop());
    let close = there.end().await.unwrap();
    assert_eq!(close["allowReconnect"], json!(true), "{close}");
    assert!(close["error"].as_str().unwrap().contains("code 1001"), "{close}");
    drop(there);
    within(stopping).await.unwrap();
}

#[tokio::test]
async fn what_is_negotiated_opens_one_connection_under_its_id() {
    let hub = hub().await;
    let (status, head, body) =
        negotiate(&hub, "?negotiateVersion=1&user=alice", "Origin: http://localhost:1\n").await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("access-control-allow-origin: http://localhost:1"), "{head}");
    assert!(head.contains("access-control-allow-credentials: true"), "{head}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["negotiateVersion"], json!(1));
    assert_eq!(
        answer["availableTransports"],
        json!([{ "transport": "WebSockets", "transferFormats": ["Text", "Binary"] }])
    );
    let (id, token) = (answer["connectionId"].as_str().unwrap(), answer["connectionToken"].as_str().unwrap());

    let open = |query: String| {
        let (url, roots) = (hub.signalr(), hub.roots.clone());
        async move { SignalR::open(&url, &query, &roots, &[]).await }
    };
    let mut client = open(format!("?user=alice&id={token}")).await.unwrap();
    client.say(&json!({ "protocol": "json", "version": 1 })).await;
    assert_eq!(client.message().await, Some(json!({})));
    assert_eq!(client.call("SendToConnection", json!([id, "E", "to me"])).await, Ok(json!(1)));
    assert_eq!(client.event().await, ("E".to_owned(), json!(["to me"])));
    let refused = |result: Result<SignalR, tokio_websockets::Error>| format!("{:?}", result.err().unwrap());
    assert!(refused(open(format!("?user=alice&id={token}")).await).contains("409"));
    assert!(refused(open(format!("?user=alice&id={id}")).await).contains("404"));
    assert!(refused(open("?user=alice&id=made-up".to_owned()).await).contains("404"));
    drop(client);
    hub.is_empty().await;
    let gone = || async { refused(open(format!("?user=alice&id={token}")).await).contains("404") };
    within(async { while !gone().await {} }).await;

    let (_, _, body) = negotiate(&hub, "?user=bob", "").await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["negotiateVersion"], answer.get("connectionToken")), (&json!(0), None));
    let id = answer["connectionId"].as_str().unwrap();
    open(format!("?user=bob&id={id}")).await.unwrap();
    hub.stop().await;
}

#[tokio::test]
async fn who_shows_nothing_gets_nothing() {
    let hub = hub().await;
    for query in ["", "?access_token=x.y.z", "?user="] {
        let (status, _, body) = negotiate(&hub, query, "").await;
        assert_eq!((status, body.as_str()), (401, ""), "{query}");
        let refused = SignalR::open(&hub.signalr(), query, &hub.roots, &[]).await.err().unwrap();
        assert!(format!("{refused:?}").contains("401"), "{refused:?}");
    }
    let (status, _, _) = negotiate(&hub, "?user=alice", "Origin: https://elsewhere.example\n").await;
    assert_eq!(status, 403);
    let origin = [("origin", "https://elsewhere.example")];
    let refused = SignalR::open(&hub.signalr(), "?user=alice", &hub.roots, &origin).await.err().unwrap();
    assert!(format!("{refused:?}").contains("403"), "{refused:?}");
    let preflight = "OPTIONS /signalr/negotiate HTTP/1.1\nHost: x\nConnection: close\nOrigin: http://localhost:9\n\
                     Access-Control-Request-Method: POST\nAccess-Control-Request-Headers: x-requested-with\n\n";
    let (status, head, _) = ask(&hub, preflight).await;
    assert_eq!(status, 204);
    assert!(head.contains("access-control-allow-headers: x-requested-with"), "{head}");
    let plain = |path: &str| format!("GET {path} HTTP/1.1\nHost: x\nConnection: close\n\n");
    assert_eq!(ask(&hub, &plain("/signalr")).await.0, 400);
    let (status, _, body) = ask(&hub, &plain("/signalr?id=x")).await;
    assert_eq!((status, body.as_str()), (404, "No Connection with that ID"));
    let (status, _, _) = ask(&hub, &plain("/signalr/negotiate?user=alice")).await;
    assert_eq!(status, 405);
    hub.stop().await;
}

#[tokio::test]
async fn an_address_that_negotiates_without_end_is_told_to_wait() {
    let hub = hub().await;
    let limited = async {
        loop {
            match negotiate(&hub, "?user=alice", "").await {
                (200, _, _) => {}
                (status, head, _) => break (status, head),
            }
        }
    };
    // However slow the machine is, not only one in ten milliseconds.
    let both = async {
        tokio::select! { first = limited => first, second = flood(&hub) => second }
    };
    let (status, head) = within(both).await;
    assert_eq!(status, 429);
    assert!(head.contains("retry-after: 1"), "{head}");
    hub.stop().await;
}

/// Many on one connection, which is faster.
async fn flood(hub: &Hub) -> (u16, String) {
    let one = "POST /signalr/negotiate?user=alice HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    loop {
        let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
        within(socket.write_all(one.repeat(300).as_bytes())).await.unwrap();
        let mut answers = vec![0; 200_000];
        let mut read = 0;
        while let Ok(Ok(count @ 1..)) =
            tokio::time::timeout(Duration::from_millis(500), socket.read(&mut answers[read..])).await
        {
            read += count;
            let text = String::from_utf8_lossy(&answers[..read]).to_lowercase();
            if let Some(at) = text.find("http/1.1 429") {
                return (429, text[at..].to_owned());
            }
        }
    }
}

#[tokio::test]
async fn promise_6_one_that_does_not_read_is_closed_and_disturbs_nobody() {
    let hub = with(|config| {
        config.outbox.frames = 64;
        config.outbox.overflow = Overflow::Disconnect;
    })
    .await;
    let mut stuck = welcomed(&hub, "stuck").await;
    let mut good = welcomed(&hub, "good").await;
    for client in [&mut stuck, &mut good] {
        client.call("JoinGroup", json!(["room"])).await.unwrap();
    }
    let native = hub.client("alice").await;
    let payload = "x".repeat(10_000);
    let mut sent = 0;
    while hub.server.count(&Target::User(user("stuck"))) > 0 {
        native.send_to_group("room", "Say", payload.clone()).await.unwrap();
        sent += 1;
        assert_eq!(good.event().await.0, "Say");
        assert!(sent < 10_000, "it is never closed");
    }
    native.send_to_group("room", "Last", "one").await.unwrap();
    assert_eq!(good.event().await, ("Last".to_owned(), json!(["one"])));
    drop(stuck);
    hub.stop().await;
}

#[tokio::test]
async fn promise_12_what_is_no_protocol_ends_its_own_connection_with_a_close_that_says_why() {
    let hub = hub().await;
    let mut good = welcomed(&hub, "good").await;
    let deep = format!("{{\"type\":1,\"target\":\"x\",\"arguments\":[{}]}}\u{1e}", "[".repeat(100));
    for (text, code) in [
        ("{\"type\":1\u{1e}".to_owned(), "code 2001"),
        ("nonsense\u{1e}".to_owned(), "code 2001"),
        ("{\"type\":\"x\"}\u{1e}".to_owned(), "code 2001"),
        ("{\"type\":1,\"target\":5,\"arguments\":[]}\u{1e}".to_owned(), "code 2001"),
        (deep, "code 2001"),
        (format!("{{\"type\":6,\"x\":\"{}\"}}\u{1e}", "x".repeat(70_000)), "code 2002"),
        ("x".repeat(70_000), "code 2002"),
    ] {
        let mut bad = welcomed(&hub, "bad").await;
        bad.bytes(text).await;
        let close = bad.end().await.unwrap();
        assert_eq!(close["type"], json!(7));
        assert!(close["error"].as_str().unwrap().contains(code), "{close}");
        assert_eq!(close.get("allowReconnect"), None, "it would do the same again");
    }
    // Twice the same id, a method that is none, and pings without end: answered or passed over, and nothing more.
    let mut odd = welcomed(&hub, "odd").await;
    odd.bytes("{\"type\":6}\u{1e}".repeat(1_000)).await;
    let call = json!({ "type": 1, "invocationId": "x", "target": "Nothing", "arguments": [] });
    for _ in 0..2 {
        odd.say(&call).await;
        let answer = odd.message().await.unwrap();
        assert_eq!(
            answer["error"],
            json!(
                "Failed to invoke 'Nothing' due to an error on the server. HubException: Method does not exist."
            )
        );
    }
    odd.nothing_else().await;
    good.nothing_else().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_none_and_one_that_never_comes_are_answered() {
    let hub = with(|config| config.handshake_deadline = Duration::from_millis(500)).await;
    let open = || async { SignalR::open(&hub.signalr(), "?user=alice", &hub.roots, &[]).await.unwrap() };
    let mut other = open().await;
    other.say(&json!({ "protocol": "xml", "version": 1 })).await;
    assert_eq!(other.end().await, Some(json!({ "error": "The protocol 'xml' is not supported." })));
    let mut silent = open().await;
    assert_eq!(silent.end().await, Some(json!({ "error": "Handshake was canceled." })));
    hub.is_empty().await;
    hub.stop().await;
}

#[tokio::test]
async fn the_server_pings_in_quiet_times_and_one_that_pinged_and_fell_silent_is_gone() {
    let hub = with(|config| config.idle_timeout = Duration::from_secs(3)).await;
    let mut quiet = welcomed(&hub, "quiet").await;
    let mut pinging = welcomed(&hub, "pinging").await;
    pinging.say(&json!({ "type": 6 })).await;
    eventually("who pinged and fell silent is gone", || {
        hub.server.count(&Target::User(user("pinging"))) == 0
    })
    .await;
    let ping = within(quiet.stream.next()).await.unwrap().unwrap();
    assert_eq!(ping.as_text(), Some("{\"type\":6}\u{1e}"));
    quiet.nothing_else().await;
    assert_eq!(hub.server.count(&Target::User(user("quiet"))), 1, "who never pings is not missed");
    assert_eq!(pinging.end().await, None);
    hub.stop().await;
}

#[tokio::test]
async fn promise_3_whatever_way_it_goes_it_is_gone() {
    let hub = hub().await;
    for way in 0..3 {
        let mut client = welcomed(&hub, "alice").await;
        client.call("JoinGroup", json!(["room"])).await.unwrap();
        assert_eq!(hub.server.count(&Target::Group(group("room"))), 1);
        match way {
            0 => client.say(&json!({ "type": 7 })).await,
            1 => within(client.stream.close()).await.unwrap(),
            _ => {}
        }
        if way < 2 {
            assert!(client.end().await.is_none_or(|last| last == json!({ "type": 7 })));
        }
        drop(client);
        hub.is_empty().await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn with_tls_a_token_in_the_header_or_in_the_query_names_the_user() {
    let keys = tempfile::tempdir().unwrap();
    let secret = keys.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let rules = TokenRules::new(vec![TokenKey::read_secret(&secret).unwrap()]);
    let hub = Hub::with(|config| {
        config.dev = false;
        config.web = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.tokens = Some(rules);
        config.signalr_path = "/hubs/chat".to_owned();
    })
    .await;
    assert!(hub.signalr().starts_with("https://") && hub.signalr().ends_with("/hubs/chat"));
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 600;
    let claims = json!({ "sub": "alice", "exp": end, "grants": [{ "group": "room", "may": ["join"] }] });
    let token = Minter::read_secret(&secret).unwrap().sign(&claims).unwrap();
    let header = format!("Bearer {token}");
    for (query, headers) in [
        (String::new(), vec![("authorization", header.as_str())]),
        (format!("?access_token={token}"), vec![]),
    ] {
        let mut client = SignalR::open(&hub.signalr(), &query, &hub.roots, &headers).await.unwrap();
        client.say(&json!({ "protocol": "json", "version": 1 })).await;
        assert_eq!(client.message().await, Some(json!({})));
        assert!(client.call("JoinGroup", json!(["room"])).await.is_ok());
        let refused = client.call("JoinGroup", json!(["other"])).await;
        assert_eq!(refused, Err("Failed to invoke 'JoinGroup' because user is unauthorized".to_owned()));
        let refreshed = client.call("fanfare.Refresh", json!([token])).await;
        assert_eq!(refreshed, Ok(json!(1)));
        assert_eq!(hub.server.count(&Target::User(user("alice"))), 1);
        drop(client);
        hub.is_empty().await;
    }
    // On a server that is not for development nobody names themselves.
    let refused = SignalR::open(&hub.signalr(), "?user=alice", &hub.roots, &[]).await.err().unwrap();
    assert!(format!("{refused:?}").contains("401"), "{refused:?}");
    hub.stop().await;
}

#[tokio::test]
async fn nobody_else_says_what_the_server_says() {
    let hub = hub().await;
    let mut signalr = welcomed(&hub, "mallory").await;
    for event in ["fanfare.Removed", "Fanfare.REMOVED", "fanfare."] {
        let refused = signalr.call("SendToAll", json!([event, "room", 3103, "out"])).await.unwrap_err();
        assert!(refused.ends_with("(code 2101)"), "{refused}");
    }
    assert_eq!(signalr.call("SendToAll", json!(["fanfares"])).await, Ok(json!(1)));
    let native = hub.client("eve").await;
    let forged = Outgoing::new("fanfare.Expiring", "token").to_all();
    let refused = within(native.send_acked(forged)).await.unwrap_err().to_string();
    assert!(refused.contains("2101"), "{refused}");
    hub.stop().await;
}

#[tokio::test]
async fn who_is_refused_at_the_last_moment_is_told_in_the_handshake_s_answer() {
    let hub = with(|config| config.capacity.per_user = 1).await;
    let _first = welcomed(&hub, "alice").await;
    let mut second = SignalR::open(&hub.signalr(), "?user=alice", &hub.roots, &[]).await.unwrap();
    second.say(&json!({ "protocol": "json", "version": 1 })).await;
    let refused = second.end().await.unwrap();
    assert!(refused["error"].as_str().unwrap().ends_with("(code 4003)"), "{refused}");
    assert_eq!(refused.get("type"), None, "it is no hub message");
    hub.stop().await;
}
