//! Back ends over the HTTP API: every operation, every question, every refusal, over real sockets.

mod keys;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fanfare_client::{Client, Event};
use fanfare_protocol::{Code, PayloadFormat, Sender, Target};
use fanfare_server::{Config, Minting};
use fanfare_tests::back_end::{Answer, BackEnd, read};
use fanfare_tests::tokens::Secret;
use fanfare_tests::{Hub, eventually, group, message, next, nothing_else, user, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn hub() -> Hub {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut Config)) -> Hub {
    Hub::with(|config| {
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(config);
    })
    .await
}

/// The last word that a client is told.
async fn closed(client: &Client) -> Code {
    loop {
        match next(client).await {
            Event::Goodbye { code, .. } => return Code::try_from(u64::from(code)).unwrap(),
            Event::Message(_) | Event::Joined { .. } | Event::Removed { .. } => {}
            other => panic!("it is not closed: {other:?}"),
        }
    }
}

#[tokio::test]
async fn promises_1_2_and_14_a_back_end_sends_to_users_groups_connections_and_everyone_once() {
    let hub = hub().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    alice.join("room").await.unwrap();
    let shop = BackEnd::new(&hub, "shop", &["send"]).await;
    let bobs = bob.connection_id().to_string();
    for (to, except, queued) in [
        (json!({ "groups": ["room"] }), json!([]), 1),
        (json!({ "users": ["alice", "bob"] }), json!([bobs]), 1),
        (json!({ "connections": [alice.connection_id().to_string()] }), json!([]), 1),
        (json!({ "all": true, "groups": ["room"], "users": ["alice"] }), json!([bobs]), 1),
        (json!({ "users": ["nobody"], "groups": ["empty"] }), json!([]), 0),
    ] {
        let body = json!({ "to": to, "except": except, "event": "News", "text": "hello" });
        assert_eq!(shop.done("/send", &body).await, json!({ "queued": queued }), "{body}");
        if queued > 0 {
            let heard = message(&alice).await;
            assert_eq!((heard.event.as_str(), heard.payload.as_ref()), ("News", &b"hello"[..]));
            assert_eq!(heard.from, Sender::Server);
        }
    }
    nothing_else(&alice).await;
    nothing_else(&bob).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_payload_keeps_its_format_and_its_digits() {
    let hub = hub().await;
    let alice = hub.client("alice").await;
    let shop = BackEnd::new(&hub, "shop", &["send:user:alice"]).await;
    for (payload, format, bytes) in [
        (
            r#""json":{"price":1.10,"id":12345678901234567890123}"#,
            PayloadFormat::Json,
            &br#"{"price":1.10,"id":12345678901234567890123}"#[..],
        ),
        (r#""json":null"#, PayloadFormat::Json, b"null"),
        (r#""text":"h\u00e9""#, PayloadFormat::Text, "h\u{e9}".as_bytes()),
        (r#""base64":"AP8=""#, PayloadFormat::Binary, b"\0\xff"),
    ] {
        let body = format!(r#"{{"to":{{"users":["alice"]}},"event":"E",{payload}}}"#);
        // Alone, and in a batch.
        for (path, body) in
            [("/send", body.clone()), ("/batch", format!(r#"{{"operations":[{{"send":{body}}}]}}"#))]
        {
            let answer = shop.request("POST", path, "", &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let heard = message(&alice).await;
            assert_eq!((heard.format, heard.payload.as_ref()), (format, bytes), "{path} {payload}");
        }
    }
    for (payload, words) in [
        (json!({ "text": "a", "json": 1 }), "several"),
        (json!({ "base64": "?" }), "base64"),
        (json!({ "xml": "<a/>" }), "xml"),
    ] {
        let mut body = json!({ "to": { "users": ["alice"] }, "event": "E" });
        body.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        let refused = shop.post("/send", &body).await;
        assert_eq!((refused.status, refused.code()), (400, Code::InvalidRequest.number().into()));
        assert!(refused.body["detail"].as_str().unwrap().contains(words), "{refused:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn promises_7_and_14_what_a_back_end_forbids_holds_and_is_in_the_audit_with_its_name() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["moderate", "members", "close"]).await;
    let (alice, other) = (hub.client("alice").await, hub.client("alice").await);
    let added = shop.done("/add", &json!({ "group": "vip", "user": "alice" })).await;
    assert_eq!(added["connections"], 2);
    for client in [&alice, &other] {
        assert!(matches!(next(client).await, Event::Joined { group: name, .. } if name == group("vip")));
    }
    let removed = shop
        .done("/remove", &json!({ "group": "vip", "connection": other.connection_id().to_string() }))
        .await;
    assert_eq!((&removed["connections"], hub.server.count(&Target::Group(group("vip")))), (&json!(1), 1));

    let foretold = json!({ "user": "alice", "groups": "v*", "dry_run": true });
    let foretold = shop.done("/revoke", &foretold).await;
    assert_eq!((&foretold["dry_run"], &foretold["groups"]["vip"]), (&json!(true), &json!(1)));
    let revoked = shop.done("/revoke", &json!({ "user": "alice", "groups": "v*", "reason": "unpaid" })).await;
    assert_eq!((&revoked["connections"], &revoked["groups"]["vip"]), (&json!(1), &json!(1)));
    assert!(revoked["audit"].as_u64().unwrap() > 0);
    let refused = shop.post("/add", &json!({ "group": "vip", "user": "alice" })).await;
    assert_eq!((refused.status, refused.code()), (403, Code::BannedFromGroup.number().into()));
    let bans = shop.told("/bans").await;
    assert_eq!(
        (&bans["bans"][0]["author"], &bans["bans"][0]["reason"]),
        (&json!("key:shop"), &json!("unpaid"))
    );
    let explained = shop.told("/explain?user=alice&group=vip").await;
    assert_eq!(explained["verdict"], "may_not");
    assert!(explained["summary"].as_str().unwrap().contains("key:shop"), "{explained}");

    let closed_now = shop.done("/close", &json!({ "connection": other.connection_id().to_string() })).await;
    assert_eq!(closed_now["connections"], 1);
    assert_eq!(closed(&other).await, Code::ClosedByOperator);
    assert_eq!(shop.done("/ban", &json!({ "user": "alice" })).await["connections"], 1);
    assert_eq!(closed(&alice).await, Code::UserBanned);

    // Another server in its place, with the same key.
    let http = hub.server.http_address().unwrap();
    let hub = hub.restart_with(|config| config.http = Some(http)).await;
    assert_eq!(shop.told("/bans").await["bans"].as_array().unwrap().len(), 2);
    assert!(Client::connect(hub.client_config("alice")).await.is_err());
    assert_eq!(shop.done("/unban", &json!({ "user": "alice" })).await["unchanged"], false);
    assert_eq!(shop.done("/unban", &json!({ "user": "alice" })).await["unchanged"], true);
    assert_eq!(shop.done("/restore", &json!({ "user": "alice", "groups": "v*" })).await["unchanged"], false);
    let alice = hub.client("alice").await;
    assert_eq!(shop.done("/sign-out", &json!({ "user": "alice" })).await["connections"], 1);
    assert_eq!(closed(&alice).await, Code::SignedOut);
    assert_eq!(shop.done("/lift-sign-out", &json!({ "user": "alice" })).await["unchanged"], false);
    assert_eq!(shop.done("/revoke-token", &json!({ "jti": "a" })).await["connections"], 0);
    assert_eq!(shop.done("/restore-token", &json!({ "jti": "a" })).await["unchanged"], false);

    let audit = shop.told("/audit?limit=1000").await;
    let acts = audit["records"].as_array().unwrap().iter().map(|record| {
        (record["author"].as_str().unwrap().to_owned(), record["act"]["ask"].as_str().unwrap().to_owned())
    });
    let acts: Vec<_> = acts.collect();
    assert_eq!(acts[0], ("oncall".to_owned(), "create_api_key".to_owned()));
    assert!(!audit.to_string().contains("hash\":\"") || audit["records"][0]["act"].get("hash").is_none());
    let by_shop: Vec<_> =
        acts.iter().filter(|(author, _)| author == "key:shop").map(|(_, act)| act.as_str()).collect();
    assert_eq!(
        by_shop,
        [
            "revoke",
            "close",
            "ban",
            "unban",
            "unban",
            "restore",
            "sign_out",
            "lift_sign_out",
            "revoke_token",
            "restore_token"
        ]
    );
    let page = shop.told("/audit?after=2&limit=3").await;
    assert_eq!((page["records"].as_array().unwrap().len(), &page["next"]), (3, &json!(5)));
    hub.stop().await;
}

#[tokio::test]
async fn questions_are_answered_a_page_at_a_time() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["read"]).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let client = hub.client(&format!("user-{}", number / 2)).await;
        client.join(format!("room-{number}")).await.unwrap();
        client.join("all/of us?").await.unwrap();
        clients.push(client);
    }
    let pages = async |path: &str, list: &str, name: &str| {
        let (mut cursor, mut found) = (String::new(), Vec::new());
        loop {
            let between = if path.contains('?') { '&' } else { '?' };
            let page = shop.told(&format!("{path}{between}limit=2{cursor}")).await;
            let rows = page[list].as_array().unwrap();
            assert!(!rows.is_empty() && rows.len() <= 2, "{page}");
            found.extend(rows.iter().map(|row| row[name].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let rooms: Vec<String> = (0..5).map(|number| format!("room-{number}")).collect();
    assert_eq!(pages("/groups", "groups", "group").await, [&["all/of us?".to_owned()], &rooms[..]].concat());
    assert_eq!(pages("/groups?prefix=room-", "groups", "group").await, rooms);
    assert_eq!(pages("/users", "users", "user").await, ["user-0", "user-1", "user-2"]);
    let ids: BTreeSet<String> = clients.iter().map(|client| client.connection_id().to_string()).collect();
    for path in ["/connections", "/groups/all%2Fof%20us%3F/members"] {
        let found = pages(path, "connections", "connection").await;
        assert_eq!(found, ids.iter().cloned().collect::<Vec<_>>(), "{path}");
    }
    assert_eq!(
        pages("/groups/all%2Fof%20us%3F/users", "users", "user").await,
        ["user-0", "user-1", "user-2"]
    );
    assert_eq!(
        shop.told("/groups/room-4/users").await["users"],
        json!([{ "user": "user-2", "connections": 1 }])
    );
    assert_eq!(pages("/users/user-1/connections", "connections", "connection").await.len(), 2);

    let whole = shop.told("/groups/all%2Fof%20us%3F").await;
    assert_eq!(whole, json!({ "group": "all/of us?", "connections": 5, "users": 3 }));
    assert_eq!(shop.told("/users/user-0").await, json!({ "user": "user-0", "connections": 2 }));
    let one = shop.told(&format!("/connections/{}", clients[0].connection_id())).await;
    assert_eq!(
        (&one["user"], &one["transport"], &one["groups"]),
        (&json!("user-0"), &json!("quic"), &json!(2))
    );
    let expected =
        json!([{ "group": "all/of us?", "origin": "client" }, { "group": "room-0", "origin": "client" }]);
    assert_eq!(one["memberships"], expected);
    let stats = shop.told("/stats").await;
    assert_eq!((&stats["connections"], &stats["users"], &stats["groups"]), (&json!(5), &json!(3), &json!(6)));

    for path in ["/groups/none", "/users/none", &format!("/connections/{}", "0".repeat(26))] {
        let refused = shop.ask(path).await;
        assert_eq!((refused.status, refused.code()), (404, Code::NothingThere.number().into()), "{path}");
        assert_eq!(shop.request("HEAD", path, "", "").await.status, 404);
    }
    assert_eq!(shop.request("HEAD", "/users/user-0", "", "").await.status, 200);
    for (path, words) in [
        ("/groups?limit=0", "1 to 1000 rows"),
        ("/groups?cursor=%3F", "cursor"),
        ("/groups?colour=red", "colour"),
        ("/connections/x", "id"),
        ("/audit?limit=1001", "scope"),
        ("/explain?user=a", "scope"),
    ] {
        let refused = shop.ask(path).await;
        let expected = if words == "scope" { [400, 403] } else { [400, 400] };
        assert!(expected.contains(&refused.status), "{path}: {refused:?}");
        assert!(words == "scope" || refused.body["detail"].as_str().unwrap().contains(words), "{refused:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_batch_is_carried_out_in_order_each_with_its_own_result() {
    let hub = hub().await;
    let alice = hub.client("alice").await;
    let shop =
        BackEnd::new(&hub, "shop", &["send:user:*", "members:group:room", "moderate:user:alice"]).await;
    let send =
        |text: &str, to: &str| json!({ "send": { "to": { "users": [to] }, "event": "E", "text": text } });
    let operations = json!([
        send("1", "alice"),
        { "add": { "group": "room", "user": "alice" } },
        send("2", "alice"),
        { "add": { "group": "hall", "user": "alice" } },
        { "send": { "to": {}, "event": "E" } },
        { "ban": { "user": "bob" } },
        { "remove": { "group": "room", "user": "nobody" } },
        { "mint-token": { "user": "alice" } },
        { "revoke": { "user": "alice", "groups": "room" } },
        send("3", "alice"),
    ]);
    let answer = shop.done("/batch", &json!({ "operations": operations })).await;
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 200, 403, 400, 403, 200, 403, 200, 200], "{answer}");
    assert_eq!(results[0], json!({ "status": 200, "done": { "queued": 1 } }));
    assert_eq!(results[4]["problem"]["code"], Code::NoTarget.number());
    assert_eq!(results[8]["done"]["groups"], json!({ "room": 1 }));
    let heard = async || match next(&alice).await {
        Event::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
        Event::Joined { .. } => "joined".to_owned(),
        Event::Removed { .. } => "removed".to_owned(),
        other => panic!("{other:?}"),
    };
    for expected in ["1", "joined", "2", "removed", "3"] {
        assert_eq!(heard().await, expected);
    }
    let many = |count: usize| json!({ "operations": vec![send("x", "nobody"); count] });
    assert_eq!(shop.done("/batch", &many(1_000)).await["results"].as_array().unwrap().len(), 1_000);
    for (body, words) in [
        (many(0), "1 to 1000 operations"),
        (many(1_001), "a list of at most 1000"),
        (json!({ "operations": [{ "shout": {} }] }), "shout"),
        (json!({ "operations": [{ "send": {}, "ban": {} }] }), "line 1"),
        (json!({ "operations": [{ "unban": { "user": "a", "why": "x" } }] }), "why"),
        (json!({}), "operations"),
    ] {
        let refused = shop.post("/batch", &body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, Code::InvalidRequest.number().into()),
            "{refused:?}"
        );
        assert!(refused.body["detail"].as_str().unwrap().contains(words), "{words}: {refused:?}");
    }
    nothing_else(&alice).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_request_with_an_idempotency_key_is_carried_out_once() {
    let hub = hub().await;
    let alice = hub.client("alice").await;
    let shop = BackEnd::new(&hub, "shop", &["send", "read"]).await;
    let other = BackEnd::new(&hub, "other", &["send"]).await;
    let body = |text: &str| json!({ "to": { "users": ["alice"] }, "event": "E", "text": text }).to_string();
    let send = async |by: &BackEnd, key: &str, text: &str| {
        by.request("POST", "/send", &format!("Idempotency-Key: {key}\r\n"), &body(text)).await
    };
    let first = send(&shop, "a", "1").await;
    assert_eq!((first.status, &first.body), (200, &json!({ "queued": 1 })));
    let again = send(&shop, "a", "1").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert!(again.head.contains("\r\nidempotency-replayed: true\r\n") && !first.head.contains("replayed"));
    let mismatch = send(&shop, "a", "2").await;
    assert_eq!((mismatch.status, mismatch.code()), (422, Code::IdempotencyMismatch.number().into()));
    // Another's key is another; and another path is another request.
    assert_eq!(send(&other, "a", "2").await.status, 200);
    let elsewhere = shop.request("POST", "/ban", "Idempotency-Key: a\r\n", &body("1")).await;
    assert_eq!(elsewhere.status, 422);
    // Refusals are kept, too.
    let bad = json!({ "to": {}, "event": "E" }).to_string();
    for is_again in [false, true] {
        let refused = shop.request("POST", "/send", "Idempotency-Key: b\r\n", &bad).await;
        assert_eq!((refused.status, refused.code()), (400, Code::NoTarget.number().into()));
        assert_eq!(refused.head.contains("replayed"), is_again);
    }
    for key in [&"x".repeat(256), "\u{e9}"] {
        assert_eq!(send(&shop, key, "1").await.code(), u64::from(Code::InvalidRequest.number()), "{key}");
    }
    let twice =
        shop.request("POST", "/send", "Idempotency-Key: c\r\nIdempotency-Key: d\r\n", &body("1")).await;
    assert_eq!(twice.status, 400);
    // To look can be done again.
    for _ in 0..2 {
        let looked = shop.request("GET", "/users", "Idempotency-Key: e\r\n", "").await;
        assert_eq!((looked.status, looked.head.contains("replayed")), (200, false));
    }
    let texts = [message(&alice).await, message(&alice).await].map(|message| message.payload);
    assert_eq!(texts.map(|text| text.to_vec()), [b"1", b"2"]);
    nothing_else(&alice).await;
    hub.stop().await;
}

#[tokio::test]
async fn promise_12_what_makes_no_sense_has_a_problem() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["*"]).await;
    let send = json!({ "to": { "all": true }, "event": "E" }).to_string();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (method, path, headers, body, status, code) in [
        ("POST", "/send", "Content-Type: text/plain\r\n", send.as_str(), 415, Code::InvalidRequest),
        ("POST", "/send", "", "{", 400, Code::InvalidRequest),
        ("POST", "/send", "", "", 400, Code::InvalidRequest),
        ("POST", "/send", "", "[]", 400, Code::InvalidRequest),
        ("POST", "/send", "", "{\"to\":{\"all\":true},\"event\":\"\"}", 400, Code::InvalidRequest),
        ("POST", "/send", "", "{\"to\":{\"all\":true},\"to\":{},\"event\":\"a\"}", 400, Code::InvalidRequest),
        ("POST", "/send", "", &deep, 400, Code::InvalidRequest),
        ("POST", "/batch", "", &format!("{{\"operations\":{deep}}}"), 400, Code::InvalidRequest),
        (
            "POST",
            "/send",
            "",
            &json!({ "to": { "all": true }, "event": "E", "text": "x".repeat(70_000) }).to_string(),
            413,
            Code::PayloadTooLarge,
        ),
        (
            "POST",
            "/send",
            "",
            &json!({ "to": { "users": vec!["a"; 300] }, "event": "E" }).to_string(),
            400,
            Code::TooManyTargets,
        ),
        ("POST", "/send", "", &format!("{}{send}", " ".repeat(4 << 20)), 413, Code::PayloadTooLarge),
        ("POST", "/close", "", "{\"all\":true,\"user\":\"a\"}", 400, Code::InvalidRequest),
        ("POST", "/close", "", "{}", 400, Code::InvalidRequest),
        ("POST", "/close", "", "{\"all\":true,\"retry_after_ms\":86400001}", 400, Code::InvalidRequest),
        ("POST", "/close", "", "{\"user\":\"nobody\"}", 404, Code::NothingThere),
        ("POST", "/add", "", "{\"group\":\"a\"}", 400, Code::InvalidRequest),
        ("POST", "/add", "", "{\"group\":\"a\",\"user\":\"b\",\"reason\":\"c\"}", 400, Code::InvalidRequest),
        ("POST", "/ban", "", "{\"user\":\"a\",\"until\":1}", 400, Code::InvalidRequest),
        (
            "POST",
            "/ban",
            "",
            &json!({ "user": "a", "reason": "x".repeat(513) }).to_string(),
            400,
            Code::InvalidRequest,
        ),
        (
            "POST",
            "/restore-token",
            "",
            &json!({ "jti": "x".repeat(257) }).to_string(),
            400,
            Code::InvalidRequest,
        ),
        ("POST", "/mint-token", "", "{\"user\":\"a\"}", 501, Code::MintingNotConfigured),
        ("POST", "/nothing", "", "{}", 404, Code::PathUnknown),
        ("GET", "/send", "", "", 405, Code::InvalidRequest),
        ("DELETE", "/groups", "", "", 405, Code::InvalidRequest),
        ("GET", "/groups/%FF", "", "", 400, Code::InvalidRequest),
    ] {
        let answer = shop.request(method, path, headers, body).await;
        let shown: String = body.chars().take(99).collect();
        assert_eq!(
            (answer.status, answer.code()),
            (status, code.number().into()),
            "{method} {path} {shown}: {answer:?}"
        );
    }
    // What is too long is not kept in the audit either.
    let audit = shop.told("/audit").await.to_string();
    assert!(!audit.contains(&"x".repeat(257)) && audit.contains("nobody"), "{audit}");
    // A body that breaks off, and bytes that are no request at all.
    let address = hub.server.http_address().unwrap();
    let whole = shop.bytes("POST", "/send", "", &send);
    for bytes in
        [&whole[..whole.len() - 3], b"\x16\x03\x01 hello\r\n\r\n", b"GET /api/v1/groups HTTP/9\r\n\r\n"]
    {
        let mut socket = within(TcpStream::connect(address)).await.unwrap();
        within(socket.write_all(bytes)).await.unwrap();
        within(socket.shutdown()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within(socket.read_to_end(&mut answer)).await;
        assert!(answer.is_empty() || read(&answer).status >= 400, "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(shop.done("/send", &serde_json::from_str(&send).unwrap()).await, json!({ "queued": 0 }));
    hub.stop().await;
}

#[tokio::test]
async fn a_back_ends_connection_is_kept_and_may_say_more_than_a_strangers() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["send"]).await;
    let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    let body = json!({ "to": { "all": true }, "event": "E", "text": "x".repeat(9_000) }).to_string();
    let request = shop.bytes("POST", "/send", "", &body);
    // A stranger may say 64 KiB.
    for _ in 0..40 {
        within(socket.write_all(&request)).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"{\"queued\":0}\n") {
            assert!(within(socket.read_buf(&mut answer)).await.unwrap() > 0, "it was closed");
        }
    }
    drop(socket);
    // Without a key it is a visit as any other.
    let stranger = BackEnd::with_key(&hub, "");
    let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    let request = stranger.bytes("POST", "/send", "", &body);
    let mut is_closed = false;
    for _ in 0..40 {
        let mut answer = [0; 4_096];
        let written = within(socket.write_all(&request)).await;
        is_closed = written.is_err() || !matches!(within(socket.read(&mut answer)).await, Ok(1..));
        if is_closed {
            break;
        }
    }
    assert!(is_closed, "a stranger says as much as it likes");
    hub.stop().await;
}

#[tokio::test]
async fn a_token_that_is_made_for_a_user_lets_it_in() {
    let secret = Secret::default();
    let hub = with(|config| {
        config.minting = Some(Minting::new(secret.minter(), &secret.rules()));
        config.tokens = Some(secret.rules());
    })
    .await;
    let shop = BackEnd::new(&hub, "shop", &["mint:user:guest-*", "moderate"]).await;
    let grants = json!([{ "group": "room-*", "may": ["join"] }, { "all": true, "may": ["send"] }]);
    let minted =
        shop.done("/mint-token", &json!({ "user": "guest-1", "seconds": 60, "grants": grants })).await;
    let token = minted["token"].as_str().unwrap();
    let guest = within(Client::connect(hub.token_config(token))).await.unwrap();
    assert_eq!(guest.user(), user("guest-1"));
    guest.join("room-1").await.unwrap();
    assert!(guest.join("hall").await.is_err());
    assert_eq!(shop.done("/revoke-token", &json!({ "jti": minted["jti"] })).await["connections"], 1);
    assert_eq!(closed(&guest).await, Code::TokenRevoked);
    let audit = shop.told("/audit").await;
    let record =
        audit["records"].as_array().unwrap().iter().find(|record| record["act"]["ask"] == "mint_token");
    let record = record.expect("it is in the audit");
    assert_eq!((&record["author"], &record["act"]["user"]), (&json!("key:shop"), &json!("guest-1")));
    assert_eq!(record["act"]["jti"], minted["jti"]);
    assert!(!audit.to_string().contains(token));
    for (body, status) in [
        (json!({ "user": "admin" }), 403),
        (json!({ "user": "guest-1", "seconds": 0 }), 400),
        (json!({ "user": "guest-1", "seconds": 1_u64 << 40 }), 400),
        (json!({ "user": "guest-1", "grants": [{ "may": ["join"] }] }), 400),
        (json!({ "user": "guest-1", "grants": [{ "group": "a", "may": ["fly"] }] }), 400),
    ] {
        assert_eq!(shop.post("/mint-token", &body).await.status, status, "{body}");
    }
    // None is given out that nobody would be let in with.
    let group = |number| json!({ "group": format!("{number:0100}"), "may": ["join", "send"] });
    let many: Vec<_> = (0..250).map(group).collect();
    shop.done("/ban", &json!({ "user": "guest-2" })).await;
    for (body, code) in [
        (json!({ "user": "guest-2" }), Code::UserBanned),
        (json!({ "user": "guest-3", "jti": minted["jti"] }), Code::TokenRevoked),
        (json!({ "user": "guest-3", "grants": many }), Code::TokenInvalid),
    ] {
        let refused = shop.post("/mint-token", &body).await;
        assert_eq!((refused.status, refused.code()), (409, code.number().into()), "{body}: {refused:?}");
    }
    shop.done("/sign-out", &json!({ "user": "guest-1" })).await;
    // By a clock that is behind it could be from before.
    let refused = shop.post("/mint-token", &json!({ "user": "guest-1" })).await;
    assert_eq!((refused.status, refused.code()), (409, Code::SignedOut.number().into()));
    assert!(refused.body["detail"].as_str().unwrap().contains(" on will do"), "{refused:?}");
    shop.done("/lift-sign-out", &json!({ "user": "guest-1" })).await;
    shop.done("/mint-token", &json!({ "user": "guest-1" })).await;
    hub.stop().await;
}

#[tokio::test]
async fn what_describes_the_api_is_there_without_a_key_and_names_every_path() {
    let hub = hub().await;
    let Answer { status, body, .. } = BackEnd::with_key(&hub, "").ask("/openapi.json").await;
    assert_eq!((status, body["openapi"].as_str().map(|version| &version[..4])), (200, Some("3.1.")));
    let paths: BTreeSet<&str> = body["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths.len(), 31, "{paths:?}");
    assert_eq!(body["servers"][0]["url"], "/api/v1");
    let shop = BackEnd::new(&hub, "shop", &["*"]).await;
    for path in paths {
        let method = if body["paths"][path].get("post").is_some() { "POST" } else { "GET" };
        let answer = shop.request(method, &path.replace(['{', '}'], ""), "", "").await;
        assert_ne!(
            (answer.status, answer.body["code"].as_u64()),
            (404, Some(Code::PathUnknown.number().into())),
            "{path}"
        );
    }
    assert_eq!(hub.server.api_url(), Some(format!("http://{}/api/v1", hub.server.http_address().unwrap())));
    hub.stop().await;
}

/// The paths that are named in one column of a document's tables, without their queries.
fn named(document: &'static str, column: usize) -> BTreeSet<&'static str> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let spans = rows.flat_map(|row| row.split(" | ").nth(column).unwrap_or("").split('`').skip(1).step_by(2));
    let paths = spans.filter_map(|span| span.split(' ').find(|word| word.starts_with('/')));
    paths.map(|path| path.split('?').next().unwrap_or(path)).collect()
}

#[tokio::test]
async fn the_documents_name_every_path_and_none_that_is_not_there() {
    let hub = hub().await;
    let Answer { body, .. } = BackEnd::with_key(&hub, "").ask("/openapi.json").await;
    let there: BTreeSet<&str> = body["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = there.clone();
    // The description itself; and two that are beside the API.
    known.extend(["/openapi.json", "/healthz", "/readyz"]);
    let reference = named(include_str!("../../docs/api.md"), 0);
    assert_eq!(there.difference(&reference).collect::<Vec<_>>(), Vec::<&&str>::new(), "not in docs/api.md");
    assert_eq!(reference.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    let azure = named(include_str!("../../docs/from-azure-web-pubsub.md"), 1);
    let centrifugo = named(include_str!("../../docs/from-centrifugo.md"), 1);
    for moved in [azure, centrifugo] {
        assert!(moved.len() > 12, "{moved:?}");
        assert_eq!(moved.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
    hub.stop().await;
}

#[tokio::test]
async fn what_has_begun_is_finished_before_a_drain_is() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["moderate"]).await;
    let many: Vec<_> =
        (0..200).map(|number| json!({ "ban": { "user": format!("user-{number}") } })).collect();
    let request = shop.bytes("POST", "/batch", "", &json!({ "operations": many }).to_string());
    let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    within(socket.write_all(&request)).await.unwrap();
    eventually("it has begun", || !hub.server.moderation().bans().is_empty()).await;
    // Nobody waits for the answer any more.
    drop(socket);
    let moderation = std::sync::Arc::clone(hub.server.moderation());
    hub.stop().await;
    // What had begun is in force and in the audit; what had not is neither.
    let (bans, records) = (moderation.bans().len(), moderation.audit(0, 999).unwrap());
    let is_ban = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["act"]["ask"] == "ban";
    assert_eq!(records.iter().filter(|(_, bytes)| is_ban(bytes)).count(), bans);
    assert!(moderation.verify_audit(None).unwrap().whole && bans > 0);
}

#[tokio::test]
async fn a_connection_of_a_back_end_can_become_a_websocket() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["*"]).await;
    let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    within(socket.write_all(&shop.bytes("GET", "/stats", "", ""))).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        assert!(within(socket.read_buf(&mut answer)).await.unwrap() > 0);
    }
    let upgrade = "GET /signalr?user=alice HTTP/1.1\r\nHost: hub\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    within(socket.write_all(upgrade.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert!(within(socket.read_buf(&mut answer)).await.unwrap() > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    let handshake = br#"{"protocol":"json","version":1}"#;
    let length = 0x80 | u8::try_from(handshake.len() + 1).unwrap();
    within(socket.write_all(&[&[0x81, length, 0, 0, 0, 0][..], handshake, b"\x1e"].concat())).await.unwrap();
    eventually("it is a connection", || hub.server.count(&Target::User(user("alice"))) == 1).await;
    drop(socket);
    hub.is_empty().await;
    hub.stop().await;
}
