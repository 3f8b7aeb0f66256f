//! Lasting memberships: where users are whenever they are here, and what they may do there.

use std::net::SocketAddr;

use fanfare_client::{Client, Event, Outgoing, RequestError};
use fanfare_protocol::admin::{Action, ConnectionDetail, Explanation, MembershipOrigin, Question, Role};
use fanfare_protocol::{Code, EventName, Target};
use fanfare_server::{Config, Right};
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::operators::connect;
use fanfare_tests::signalr::SignalR;
use fanfare_tests::tokens::{Secret, now};
use fanfare_tests::{Hub, eventually, group, message, next, nothing_else, text, user, within};
use serde_json::{Value, json};

/// A hub whose clients show tokens.
struct Guarded {
    hub: Hub,
    secret: Secret,
}

impl Guarded {
    async fn start() -> Self {
        let secret = Secret::default();
        let hub = hub(|config| config.tokens = Some(secret.rules())).await;
        Self { hub, secret }
    }

    /// A client whose token allows this in all groups.
    async fn client(&self, name: &str, may: &[Right]) -> Client {
        let config = self.hub.token_config(self.secret.token(name, may));
        within(Client::connect(config)).await.unwrap()
    }
}

async fn hub(change: impl FnOnce(&mut Config)) -> Hub {
    Hub::with(|config| {
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.origins.loopback = true;
        change(config);
    })
    .await
}

async fn joined(client: &Client, name: &str) {
    match next(client).await {
        Event::Joined { group: found, .. } => assert_eq!(found, group(name)),
        other => panic!("not joined: {other:?}"),
    }
}

async fn removed(client: &Client, name: &str, code: Code) {
    match next(client).await {
        Event::Removed { group: found, code: why, .. } => {
            assert_eq!((found, why), (group(name), code.number()));
        }
        other => panic!("not removed: {other:?}"),
    }
}

async fn say(client: &Client, to: &str, text: &str) -> Result<u64, RequestError> {
    let to = Target::Group(group(to));
    within(client.send_acked(Outgoing::new(EventName::new("E").unwrap(), text).to(to))).await
}

fn code<T>(refused: Result<T, RequestError>) -> Option<u16> {
    refused.err().and_then(|error| error.code()).map(|code| code.number())
}

#[tokio::test]
async fn a_user_is_in_the_group_whenever_it_is_here_until_that_is_taken_away() {
    let guarded = Guarded::start().await;
    let hub = &guarded.hub;
    let shop = BackEnd::new(hub, "shop", &["members:group:vip", "send:group:vip"]).await;
    let alice = guarded.client("alice", &[]).await;
    assert_eq!(code(within(alice.join("vip")).await), Some(Code::NotGranted.number()));
    let added = shop.done("/add-lasting", &json!({ "user": "alice", "group": "vip" })).await;
    assert_eq!((&added["connections"], &added["unchanged"]), (&json!(1), &json!(false)));
    joined(&alice, "vip").await;
    let again = shop.done("/add-lasting", &json!({ "user": "alice", "group": "vip" })).await;
    assert_eq!(again["unchanged"], true);
    // Another connection of hers, before anything that is sent to the group afterwards.
    let other = guarded.client("alice", &[]).await;
    eventually("both are in", || hub.server.count(&Target::Group(group("vip"))) == 2).await;
    let sent = json!({ "to": { "groups": ["vip"] }, "event": "E", "text": "hello" });
    assert_eq!(shop.done("/send", &sent).await["queued"], 2);
    joined(&other, "vip").await;
    for client in [&alice, &other] {
        assert_eq!(text(client).await, "hello");
    }
    // She may send there, and leave and come back, though her token says nothing of it.
    within(alice.send_to_group("vip", "E", "from alice")).await.unwrap();
    assert_eq!(text(&other).await, "from alice");
    assert_eq!(text(&alice).await, "from alice");
    within(alice.leave("vip")).await.unwrap();
    within(alice.join("vip")).await.unwrap();
    joined(&alice, "vip").await;

    let oncall = connect(hub, "viewer", Role::Viewer).await;
    let id = other.connection_id();
    let detail: ConnectionDetail =
        within(oncall.ask(&Question::Connection { connection: id })).await.unwrap();
    assert_eq!(detail.memberships[0].made_by(), MembershipOrigin::Lasting);
    let ask = Question::Explain { user: user("alice"), group: group("vip"), token: None };
    let explained: Explanation = within(oncall.ask(&ask)).await.unwrap();
    assert!(explained.may_join, "{explained:?}");
    assert!(explained.connections.iter().any(|one| one.made_by() == Some(MembershipOrigin::Lasting)));
    assert!(explained.summary.contains("a lasting membership"), "{}", explained.summary);
    let listed = shop.told("/lasting").await;
    let row = &listed["lasting"][0];
    assert_eq!(
        (&row["user"], &row["group"], &row["may"], &row["author"]),
        (&json!("alice"), &json!("vip"), &json!("both"), &json!("key:shop"))
    );
    within(oncall.close()).await;

    let taken =
        shop.done("/remove-lasting", &json!({ "user": "alice", "group": "vip", "reason": "over" })).await;
    assert_eq!((&taken["connections"], &taken["unchanged"]), (&json!(2), &json!(false)));
    for client in [&alice, &other] {
        removed(client, "vip", Code::RemovedFromGroup).await;
    }
    assert_eq!(code(within(alice.join("vip")).await), Some(Code::NotGranted.number()));
    assert_eq!(code(say(&alice, "vip", "x").await), Some(Code::NotGranted.number()));
    let third = guarded.client("alice", &[]).await;
    assert_eq!(code(within(third.join("vip")).await), Some(Code::NotGranted.number()));
    assert_eq!(hub.server.count(&Target::Group(group("vip"))), 0);
    guarded.hub.stop().await;
}

#[tokio::test]
async fn a_muted_user_hears_and_does_not_speak_and_the_other_way_round() {
    let guarded = Guarded::start().await;
    let hub = &guarded.hub;
    let shop = BackEnd::new(hub, "shop", &["members"]).await;
    let (alice, bob) = (
        guarded.client("alice", &[Right::Join, Right::Send]).await,
        guarded.client("bob", &[Right::Join]).await,
    );
    for client in [&alice, &bob] {
        within(client.join("room")).await.unwrap();
        joined(client, "room").await;
    }
    assert_eq!(say(&alice, "room", "1").await.unwrap(), 2);
    let mute = |may: &str| json!({ "user": "alice", "group": "room", "may": may });
    assert_eq!(shop.done("/add-lasting", &mute("receive")).await["connections"], 1);
    let refused = say(&alice, "room", "2").await;
    assert_eq!(code(refused), Some(Code::Muted.number()));
    // Whatever is granted, and also one who comes later; other groups are as they were.
    let later = guarded.client("alice", &[Right::Join, Right::Send]).await;
    assert_eq!(code(say(&later, "room", "3").await), Some(Code::Muted.number()));
    assert_eq!(say(&alice, "hall", "4").await.unwrap(), 0);
    assert_eq!(code(say(&bob, "room", "5").await), Some(Code::NotGranted.number()));
    let sent = hub.server.hub().group(group("room")).send("E", "6").unwrap();
    assert_eq!(sent, 3);
    assert_eq!([text(&alice).await, text(&alice).await], ["1", "6"]);

    // Who may send alone is no member, whoever made it one.
    hub.act(Action::Add {
        who: fanfare_protocol::admin::Who::User(user("alice")),
        group: group("room"),
        reason: String::new(),
    })
    .await
    .unwrap();
    assert_eq!(shop.done("/add-lasting", &mute("send")).await["connections"], 2);
    removed(&alice, "room", Code::RemovedFromGroup).await;
    assert_eq!(code(within(alice.join("room")).await), Some(Code::NotGranted.number()));
    assert_eq!(shop.post("/add", &json!({ "group": "room", "user": "alice" })).await.status, 403);
    assert_eq!(say(&alice, "room", "7").await.unwrap(), 1);
    // Bob may speak where his token does not let him.
    assert_eq!(shop.done("/add-lasting", &json!({ "user": "bob", "group": "room" })).await["connections"], 1);
    assert_eq!(say(&bob, "room", "8").await.unwrap(), 1);
    assert_eq!(
        [text(&bob).await, text(&bob).await, text(&bob).await, text(&bob).await],
        ["1", "6", "7", "8"]
    );
    // As it was, when it is over.
    shop.done("/remove-lasting", &json!({ "user": "alice", "group": "room" })).await;
    within(alice.join("room")).await.unwrap();
    assert_eq!(say(&alice, "room", "9").await.unwrap(), 2);
    guarded.hub.stop().await;
}

#[tokio::test]
async fn promise_7_a_ban_is_stronger_and_what_was_decided_outlives_the_server() {
    let hub = hub(|_| {}).await;
    let shop = BackEnd::new(&hub, "shop", &["members", "moderate"]).await;
    for name in ["vip", "news"] {
        shop.done("/add-lasting", &json!({ "user": "alice", "group": name })).await;
    }
    shop.done("/add-lasting", &json!({ "user": "bob", "group": "vip", "may": "receive" })).await;
    shop.done("/revoke", &json!({ "user": "alice", "groups": "vip" })).await;
    let alice = hub.client("alice").await;
    joined(&alice, "news").await;
    assert_eq!(code(within(alice.join("vip")).await), Some(Code::BannedFromGroup.number()));
    // Said again, it still does not lift the ban.
    assert_eq!(
        shop.done("/add-lasting", &json!({ "user": "alice", "group": "vip" })).await["connections"],
        0
    );
    assert_eq!(code(say(&alice, "vip", "x").await), Some(Code::BannedFromGroup.number()));
    shop.done("/remove-lasting", &json!({ "user": "alice", "group": "news" })).await;

    let http = hub.server.http_address().unwrap();
    let hub = hub.restart_with(|config| config.http = Some(http)).await;
    let rows = shop.told("/lasting").await;
    let places = rows["lasting"].as_array().unwrap().iter().map(|row| {
        [&row["user"], &row["group"], &row["may"]].map(|field| field.as_str().unwrap().to_owned()).join(" ")
    });
    assert_eq!(places.collect::<Vec<_>>(), ["alice vip both", "bob vip receive"]);
    let alice = hub.client("alice").await;
    nothing_else(&alice).await;
    shop.done("/restore", &json!({ "user": "alice", "groups": "vip" })).await;
    joined(&alice, "vip").await;
    let alice = hub.client("alice").await;
    joined(&alice, "vip").await;
    let bob = hub.client("bob").await;
    joined(&bob, "vip").await;
    assert_eq!(code(say(&bob, "vip", "x").await), Some(Code::Muted.number()));
    hub.stop().await;
}

#[tokio::test]
async fn promise_10_it_ends_by_itself_when_its_time_is_over() {
    let guarded = Guarded::start().await;
    let hub = &guarded.hub;
    let shop = BackEnd::new(hub, "shop", &["members"]).await;
    let alice = guarded.client("alice", &[]).await;
    let granted = guarded.client("bob", &[Right::Join]).await;
    within(granted.join("vip")).await.unwrap();
    joined(&granted, "vip").await;
    for name in ["alice", "bob"] {
        shop.done("/add-lasting", &json!({ "user": name, "group": "vip", "until": now() + 2 })).await;
    }
    joined(&alice, "vip").await;
    removed(&alice, "vip", Code::GrantEnded).await;
    assert_eq!(shop.told("/lasting").await["lasting"], json!([]));
    assert_eq!(code(within(alice.join("vip")).await), Some(Code::NotGranted.number()));
    // He was there by himself, and stays.
    assert_eq!(hub.server.count(&Target::Group(group("vip"))), 1);
    // More time can be given before it is over.
    let until = now() + 2;
    shop.done("/add-lasting", &json!({ "user": "alice", "group": "vip", "until": until })).await;
    joined(&alice, "vip").await;
    shop.done("/add-lasting", &json!({ "user": "alice", "group": "vip" })).await;
    eventually("that time is over", || now() > until + 1).await;
    hub.server.hub().user(user("alice")).send("E", "still here").unwrap();
    assert_eq!(text(&alice).await, "still here", "nothing has happened since");
    assert_eq!(hub.server.count(&Target::Group(group("vip"))), 2);
    assert_eq!(shop.told("/lasting").await["lasting"][0]["until"], Value::Null);
    guarded.hub.stop().await;
}

#[tokio::test]
async fn clients_of_every_kind_are_put_in() {
    let hub = hub(|_| {}).await;
    let shop = BackEnd::new(&hub, "shop", &["members"]).await;
    shop.done("/add-lasting", &json!({ "user": "alice", "group": "vip" })).await;
    let native = hub.client("alice").await;
    joined(&native, "vip").await;
    let mut signalr = SignalR::welcomed(&hub.signalr(), &hub.roots, "alice").await;
    eventually("both are in", || hub.server.count(&Target::Group(group("vip"))) == 2).await;
    hub.server.hub().group(group("vip")).send("E", "hello").unwrap();
    assert_eq!(message(&native).await.payload.as_ref(), b"hello");
    assert_eq!(within(signalr.message()).await.unwrap()["arguments"], json!(["hello"]));
    hub.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let hub = hub(|config| config.limits.groups = 2).await;
    let shop = BackEnd::new(&hub, "shop", &["members:group:a*"]).await;
    for (body, status, code) in [
        (json!({ "user": "x", "group": "b" }), 403, Code::ApiKeyTooNarrow),
        (json!({ "user": "x", "group": "a", "until": 1 }), 400, Code::InvalidRequest),
        (json!({ "user": "x", "group": "a", "may": "shout" }), 400, Code::InvalidRequest),
        (json!({ "user": "x", "group": "a\u{202e}" }), 400, Code::InvalidName),
        (json!({ "user": "", "group": "a" }), 400, Code::InvalidRequest),
        (json!({ "user": "x" }), 400, Code::InvalidRequest),
    ] {
        let refused = shop.post("/add-lasting", &body).await;
        assert_eq!((refused.status, refused.code()), (status, code.number().into()), "{body}: {refused:?}");
    }
    for (name, status) in [("a1", 200), ("a2", 200), ("a3", 409), ("a1", 200)] {
        let answer = shop.post("/add-lasting", &json!({ "user": "x", "group": name })).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    let nothing = shop.done("/remove-lasting", &json!({ "user": "nobody", "group": "a" })).await;
    assert_eq!(nothing["unchanged"], true);
    hub.stop().await;
}
