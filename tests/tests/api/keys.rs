//! Keys of back ends: what each opens, how much of everything it has, and that one that was revoked opens nothing.

use fanfare_protocol::Code;
use fanfare_protocol::admin::{Action, ApiKeyRow, Listing, Page, Question, Role};
use fanfare_tests::back_end::{BackEnd, create, read, shown};
use fanfare_tests::operators::connect;
use fanfare_tests::{eventually, nothing_else, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::hub;

#[tokio::test]
async fn who_has_no_key_or_a_narrow_one_is_told_what_is_missing_and_nothing_of_what_there_is() {
    let hub = hub().await;
    let alice = hub.client("alice").await;
    alice.join("room-1").await.unwrap();
    let here = alice.connection_id().to_string();
    let nowhere = "0".repeat(26);
    for key in ["", "ffk_", "ffk_0123456789abcdef_x", &format!("{}x", shown("shop")), "x y"] {
        let stranger = BackEnd::with_key(&hub, key);
        for path in ["/groups", "/groups/room-1", "/nothing-here", "/send"] {
            let refused = stranger.ask(path).await;
            assert_eq!(
                (refused.status, refused.code()),
                (401, Code::ApiKeyRefused.number().into()),
                "{key} {path}"
            );
            assert!(refused.head.contains("\r\nwww-authenticate: bearer\r\n"), "{refused:?}");
        }
    }
    let shop = BackEnd::new(&hub, "shop", &["send:group:room-*", "read:user:bob"]).await;
    for (path, body, scope) in [
        ("/send", json!({ "to": { "groups": ["hall"] }, "event": "E" }), "send:group:hall"),
        ("/send", json!({ "to": { "groups": ["room-1"], "users": ["bob"] }, "event": "E" }), "send:user:bob"),
        ("/send", json!({ "to": { "connections": [here] }, "event": "E" }), "send:connection"),
        ("/send", json!({ "to": { "connections": [nowhere] }, "event": "E" }), "send:connection"),
        ("/send", json!({ "to": { "all": true }, "event": "E" }), "send:all"),
        ("/add", json!({ "group": "room-1", "user": "alice" }), "members:group:room-1"),
        ("/remove", json!({ "group": "room-1", "connection": nowhere }), "members:group:room-1"),
        ("/close", json!({ "connection": here }), "close:connection"),
        ("/close", json!({ "connection": nowhere }), "close:connection"),
        ("/close", json!({ "user": "alice" }), "close:user:alice"),
        ("/close", json!({ "group": "room-1" }), "close:group:room-1"),
        ("/close", json!({ "all": true }), "close:all"),
        ("/ban", json!({ "user": "alice" }), "moderate:user:alice"),
        ("/unban", json!({ "user": "alice" }), "moderate:user:alice"),
        ("/revoke", json!({ "user": "alice", "groups": "*" }), "moderate:user:alice"),
        ("/restore", json!({ "user": "alice", "groups": "*" }), "moderate:user:alice"),
        ("/sign-out", json!({ "user": "alice" }), "moderate:user:alice"),
        ("/lift-sign-out", json!({ "user": "alice" }), "moderate:user:alice"),
        ("/revoke-token", json!({ "jti": "a" }), "moderate:all"),
        ("/restore-token", json!({ "jti": "a" }), "moderate:all"),
        ("/mint-token", json!({ "user": "alice" }), "mint:user:alice"),
    ] {
        let refused = shop.post(path, &body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (403, Code::ApiKeyTooNarrow.number().into()),
            "{path} {body}"
        );
        let expected = format!("the key \"shop\" lacks the scope {scope}");
        assert_eq!(refused.body["detail"], expected, "{path} {body}");
    }
    for (path, scope) in [
        ("/groups/room-1", "read:group:room-1"),
        ("/groups/room-1/members", "read:group:room-1"),
        ("/groups/room-1/users", "read:group:room-1"),
        ("/users/alice", "read:user:alice"),
        ("/users/alice/connections", "read:user:alice"),
        ("/connections/ID", "read:connection"),
        ("/explain?user=alice&group=room-1", "moderate:user:alice"),
        ("/audit", "moderate:all"),
        ("/stats", "read:all"),
    ] {
        for id in [&here, &nowhere] {
            let refused = shop.ask(&path.replace("ID", id)).await;
            assert_eq!(
                (refused.status, refused.code()),
                (403, Code::ApiKeyTooNarrow.number().into()),
                "{path}"
            );
            assert_eq!(refused.body["detail"], format!("the key \"shop\" lacks the scope {scope}"));
        }
    }
    // Lists have what may be seen, and no count of the rest.
    assert_eq!(shop.told("/groups").await, json!({ "groups": [], "next": null }));
    assert_eq!(shop.told("/users").await, json!({ "users": [], "next": null }));
    assert_eq!(shop.told("/connections").await, json!({ "connections": [], "next": null }));
    let bob = hub.client("bob").await;
    assert_eq!(shop.told("/users").await["users"], json!([{ "user": "bob", "connections": 1 }]));
    let seen = shop.told("/connections").await;
    assert_eq!(seen["connections"][0]["connection"], bob.connection_id().to_string());
    assert_eq!(seen["connections"].as_array().unwrap().len(), 1);
    // Nothing was done of all that.
    nothing_else(&alice).await;
    assert_eq!(hub.server.moderation().bans(), []);
    hub.stop().await;
}

#[tokio::test]
async fn a_key_can_be_listed_ended_and_revoked_and_its_use_is_seen() {
    let hub = hub().await;
    let oncall = connect(&hub, "viewer", Role::Viewer).await;
    let keys = async || -> Vec<ApiKeyRow> {
        let listing: Listing<ApiKeyRow> =
            within(oncall.ask(&Question::ApiKeys(Page::default()))).await.unwrap();
        listing.rows
    };
    let shop = BackEnd::new(&hub, "shop", &["read:group:*", "send:all"]).await;
    let rows = keys().await;
    assert_eq!((rows[0].name.as_str(), rows[0].used, rows[0].author.as_str()), ("shop", None, "oncall"));
    assert_eq!(
        rows[0].allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["read:group:*", "send:all"]
    );
    shop.told("/groups").await;
    assert!(keys().await[0].used.is_some());

    let act = async |request: Value| hub.act(serde_json::from_value::<Action>(request).unwrap()).await;
    let taken = act(create("shop", &["read"])).await.unwrap_err();
    assert!(taken.to_string().contains("there is a key \"shop\""), "{taken}");
    for (change, words) in [
        (json!({ "name": "a b" }), "letters"),
        (json!({ "name": "" }), "letters"),
        (json!({ "id": "ffk_1" }), "16 hexadecimal digits"),
        (json!({ "hash": "00" }), "16 hexadecimal digits"),
        (json!({ "allow": [] }), "1 to 16 things"),
        (json!({ "until": 1 }), "has passed already"),
    ] {
        let mut request = create("other", &["read"]);
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refused = act(request).await.unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
    }
    let mut short = create("short", &["read"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    short["until"] = json!(now + 1);
    act(short).await.unwrap();
    let short = BackEnd::with_key(&hub, &shown("short"));
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
    let ended = within(async {
        loop {
            looks.tick().await;
            let answer = short.ask("/groups").await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((ended.status, &ended.body["detail"]), (401, &json!("this key has ended")));

    act(json!({ "ask": "revoke_api_key", "name": "shop" })).await.unwrap();
    let refused = shop.ask("/groups").await;
    assert_eq!((refused.status, refused.code()), (401, Code::ApiKeyRefused.number().into()));
    assert_eq!(keys().await.len(), 1);
    let unknown = act(json!({ "ask": "revoke_api_key", "name": "shop" })).await.unwrap_err();
    assert!(unknown.to_string().contains("there is no key \"shop\""), "{unknown}");
    // Another with the same name is another.
    let mut again = create("shop", &["read"]);
    again["id"] = json!("ffk_ffffffffffffffff");
    act(again).await.unwrap();
    assert_eq!(shop.ask("/groups").await.status, 401);
    within(oncall.close()).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_key_has_no_more_than_its_share() {
    let hub = hub().await;
    let mut slow = create("slow", &["*"]);
    slow["per_second"] = json!(5);
    hub.act(serde_json::from_value(slow).unwrap()).await.unwrap();
    let slow = BackEnd::with_key(&hub, &shown("slow"));
    let mut refused = None;
    for _ in 0..200 {
        let answer = slow.ask("/stats").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("it is too fast");
    assert_eq!((refused.status, refused.code()), (429, Code::TooManyRequests.number().into()));
    assert!(refused.head.contains("\r\nretry-after: 1\r\n"), "{refused:?}");
    // The request itself is one of them: six never fit, however long one waits.
    let many = vec![json!({ "unban": { "user": "a" } }); 6];
    let too_large = async || loop {
        let answer = slow.post("/batch", &json!({ "operations": many })).await;
        if answer.status != 429 {
            return answer;
        }
        tokio::task::yield_now().await;
    };
    let refused = within(too_large()).await;
    assert_eq!((refused.status, refused.code()), (400, Code::InvalidRequest.number().into()));
    // Nobody else is held back.
    let shop = BackEnd::new(&hub, "shop", &["*"]).await;
    shop.told("/stats").await;
    // Nor by requests that do not come to their end: a key has room for 16 MiB of them.
    let greedy = BackEnd::new(&hub, "greedy", &["send"]).await;
    let long = greedy.bytes("POST", "/send", "Expect: 100-continue\r\n", &" ".repeat(4 << 20));
    let head = long.len() - (4 << 20);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut socket = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
        within(socket.write_all(&long[..head])).await.unwrap();
        // It is asked for the body when there is room for it.
        let mut interim = [0; 12];
        within(socket.read_exact(&mut interim)).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100");
        held.push(socket);
    }
    let send = json!({ "to": { "all": true }, "event": "E" });
    let refused = greedy.post("/send", &send).await;
    assert_eq!((refused.status, refused.code()), (429, Code::TooManyRequests.number().into()), "{refused:?}");
    shop.done("/send", &send).await;
    drop(held);
    hub.stop().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_opens_nothing_that_had_begun_to_come() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["*"]).await;
    let request =
        shop.bytes("POST", "/ban", "Connection: close\r\n", &json!({ "user": "alice" }).to_string());
    let mut slow = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    within(slow.write_all(&request[..request.len() - 1])).await.unwrap();
    // One that was carried out before, and would be answered again.
    let once = "Connection: close\r\nIdempotency-Key: a\r\n";
    let body = json!({ "to": { "all": true }, "event": "E" }).to_string();
    assert_eq!(shop.request("POST", "/send", once, &body).await.status, 200);
    let again = shop.bytes("POST", "/send", once, &body);
    let mut slow_again = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    within(slow_again.write_all(&again[..again.len() - 1])).await.unwrap();
    // Another on the same connection shows when the first was let in: the place of the one that waits is taken.
    let idle = shop.bytes("GET", "/stats", "", "");
    let mut kept = within(TcpStream::connect(hub.server.http_address().unwrap())).await.unwrap();
    within(kept.write_all(&idle)).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        assert!(within(kept.read_buf(&mut answer)).await.unwrap() > 0);
    }
    hub.act(serde_json::from_value(json!({ "ask": "revoke_api_key", "name": "shop" })).unwrap())
        .await
        .unwrap();
    for (socket, bytes) in [(&mut slow, &request), (&mut slow_again, &again)] {
        within(socket.write_all(&bytes[bytes.len() - 1..])).await.unwrap();
        let mut answer = Vec::new();
        within(socket.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(read(&answer).code(), u64::from(Code::ApiKeyRefused.number()));
    }
    assert_eq!(hub.server.moderation().bans(), []);
    // A connection that it had opened ends with the first request.
    within(kept.write_all(&idle)).await.unwrap();
    let mut answer = Vec::new();
    within(kept.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(read(&answer).status, 401);
    hub.stop().await;
}

#[tokio::test]
async fn promise_7_what_waits_for_its_turn_when_its_key_is_revoked_is_not_done() {
    let hub = hub().await;
    let shop = BackEnd::new(&hub, "shop", &["moderate"]).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..10 {
        let shop = BackEnd::with_key(&hub, &shop.key);
        let bans = (0..20).map(|ban| json!({ "ban": { "user": format!("user-{number}-{ban}") } }));
        let bans = json!({ "operations": bans.collect::<Vec<_>>() });
        asking.spawn(async move {
            let answer = shop.post("/batch", &bans).await;
            let refused = u64::from(Code::ApiKeyRefused.number());
            if answer.status == 401 {
                assert_eq!(answer.code(), refused);
                return 0;
            }
            let results = answer.body["results"].as_array().unwrap().iter();
            let (done, others): (Vec<_>, Vec<_>) = results.partition(|result| result["status"] == 200);
            assert!(others.iter().all(|result| result["problem"]["code"] == refused), "{others:?}");
            done.len()
        });
    }
    eventually("some are done", || !hub.server.moderation().bans().is_empty()).await;
    hub.act(serde_json::from_value(json!({ "ask": "revoke_api_key", "name": "shop" })).unwrap())
        .await
        .unwrap();
    let done: usize = within(asking.join_all()).await.into_iter().sum();
    let records = hub.server.moderation().audit(0, 999).unwrap();
    let asks: Vec<String> = records
        .iter()
        .map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).unwrap()["act"]["ask"].to_string())
        .collect();
    assert_eq!(asks.last().unwrap(), "\"revoke_api_key\"", "{asks:?}");
    assert_eq!(
        (asks.len(), hub.server.moderation().bans().len()),
        (done + 2, done),
        "the key's own two beside"
    );
    hub.stop().await;
}
