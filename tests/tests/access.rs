//! Tokens end to end: what is granted and what is not, and promise 10, that access ends when it should.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_client::{Client, ClientConfig, Event, RequestError, Roots};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, ConnectionId, Credential, ExpiryScope, Pattern, Target, Token};
use fanfare_server::Minter;
use fanfare_tests::tokens::{Secret, now};
use fanfare_tests::{Hub, group, next, nothing_else, text, user, within};
use serde_json::{Value, json};

/// A hub that takes tokens, and what signs them.
struct Guarded {
    hub: Hub,
    minter: Minter,
}

impl Guarded {
    async fn start() -> Self {
        let secret = Secret::default();
        let mut rules = secret.rules();
        rules.leeway = 0;
        let hub = Hub::with(|config| {
            config.dev = false;
            config.tokens = Some(rules);
        })
        .await;
        Self { hub, minter: secret.minter() }
    }

    fn token(&self, name: &str, seconds: u64, grants: &Value) -> Token {
        let claims = json!({ "sub": name, "exp": now() + seconds, "grants": grants });
        Token::new(self.minter.sign(&claims).unwrap())
    }

    fn config(&self, token: Token) -> ClientConfig {
        ClientConfig::new(self.hub.address().to_string(), Credential::Token(token))
            .roots(Roots::Store((*self.hub.roots).clone()))
    }

    async fn client(&self, name: &str, grants: Value) -> Client {
        within(Client::connect(self.config(self.token(name, 3_600, &grants)))).await.unwrap()
    }
}

fn may(pattern: &str) -> Value {
    json!({ "group": pattern, "may": ["join", "send"] })
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, RequestError>) -> Code {
    let error = outcome.expect_err("not refused");
    error.code().unwrap_or_else(|| panic!("not by the server: {error:?}"))
}

#[tokio::test]
async fn what_is_not_granted_is_refused_and_what_is_granted_is_done() {
    let guarded = Guarded::start().await;
    let grants =
        json!([may("room-*"), { "group": "news", "may": ["join"] }, { "user": "b*", "may": ["send"] }]);
    let alice = guarded.client("alice", grants).await;
    let bob = guarded
        .client("bob", json!([{ "user": "alice", "may": ["send"] }, { "all": true, "may": ["send"] }]))
        .await;
    let carol = guarded.client("carol", json!([])).await;

    for name in ["room-1", "room-", "news"] {
        within(alice.join(group(name))).await.unwrap();
    }
    for name in ["room", "Room-1", "lobby"] {
        assert_eq!(refused(within(alice.join(group(name))).await), Code::NotGranted, "{name}");
        assert_eq!(refused(within(carol.join(group(name))).await), Code::NotGranted, "{name}");
    }
    // Whether there is such a group is no one's business either.
    assert_eq!(within(alice.count(Target::Group(group("news")))).await.unwrap(), 1);
    assert_eq!(refused(within(carol.count(Target::Group(group("news")))).await), Code::NotGranted);
    assert_eq!(refused(within(carol.count(Target::All)).await), Code::NotGranted);
    assert_eq!(refused(within(carol.count(Target::User(user("bob")))).await), Code::NotGranted);

    let everyone: [(Target, &Client, bool); 9] = [
        (Target::Group(group("room-1")), &alice, true),
        (Target::Group(group("news")), &alice, false),
        (Target::User(user("bob")), &alice, true),
        (Target::Connection(bob.connection_id()), &alice, true),
        (Target::Connection(carol.connection_id()), &alice, false),
        (Target::User(user("carol")), &alice, false),
        (Target::All, &alice, false),
        (Target::All, &bob, true),
        (Target::User(user("alice")), &carol, false),
    ];
    for (target, sender, granted) in everyone {
        let outgoing = fanfare_client::Outgoing::new("E", "x").to(target.clone());
        let outcome = within(sender.send_acked(outgoing)).await;
        match outcome {
            Ok(_) if granted => {}
            other if !granted => assert_eq!(refused(other), Code::NotGranted, "{target:?}"),
            other => panic!("{target:?}: {other:?}"),
        }
    }
    // One target that is not granted, and nobody gets it.
    let both = fanfare_client::Outgoing::new("E", "both").to(Target::User(user("bob"))).to(Target::All);
    assert_eq!(refused(within(alice.send_acked(both)).await), Code::NotGranted);
    let refused = guarded.hub.server.metrics().refused;
    assert_eq!(refused.keys().collect::<Vec<_>>(), [&Code::NotGranted], "all of it is counted");
}

#[tokio::test]
async fn who_has_no_good_token_does_not_get_in_and_is_told_why() {
    let guarded = Guarded::start().await;
    let dev = ClientConfig::new(guarded.hub.address().to_string(), Credential::DevUser(user("alice")))
        .roots(Roots::Store((*guarded.hub.roots).clone()));
    let expired = guarded.minter.sign(&json!({ "sub": "alice", "exp": now() - 1 })).unwrap();
    let early = guarded.minter.sign(&json!({ "sub": "alice", "exp": now() + 9, "nbf": now() + 5 })).unwrap();
    for (config, code) in [
        (dev, Code::DevUserRefused),
        (guarded.config(Token::new("")), Code::TokenInvalid),
        (guarded.config(Token::new("a.b.c")), Code::TokenInvalid),
        (guarded.config(Token::new(expired)), Code::TokenExpired),
        (guarded.config(Token::new(early)), Code::TokenNotYetValid),
    ] {
        let closed = || guarded.hub.server.metrics().closed.get(&code).copied().unwrap_or(0);
        let before = closed();
        match within(Client::connect(config.reconnect(None))).await {
            Err(error) => assert_eq!(error.code(), Some(code), "{error}"),
            Ok(_) => panic!("let in, and not refused with {code:?}"),
        }
        assert_eq!(closed(), before + 1);
    }
    guarded.hub.is_empty().await;
}

/// The next event that is not a `Joined`.
async fn event(client: &Client) -> Event {
    loop {
        match next(client).await {
            Event::Joined { .. } => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn promise_10_a_grant_that_ends_removes_its_groups_only() {
    let guarded = Guarded::start().await;
    let end = now() + 8;
    let grants = json!([
        { "group": "short-*", "may": ["join", "send"], "exp": end },
        { "group": "short-covered", "may": ["join"] },
        may("long"),
        { "user": "alice", "may": ["send"] },
    ]);
    let alice = guarded.client("alice", grants).await;
    for name in ["short-1", "short-2", "short-covered", "long"] {
        within(alice.join(group(name))).await.unwrap();
    }
    match event(&alice).await {
        Event::Expiring { scope: ExpiryScope::Groups { count: 2 }, seconds } => {
            assert!((1..=4).contains(&seconds));
        }
        // Where the machine was slow, each of the joins came after the notice.
        Event::Expiring { scope: ExpiryScope::Groups { count: 1 }, .. } => {}
        other => panic!("{other:?}"),
    }
    let mut removed = Vec::new();
    while removed.len() < 2 {
        match event(&alice).await {
            Event::Removed { group, code, .. } => {
                assert_eq!(code, Code::GrantEnded.number());
                removed.push(group.as_str().to_owned());
            }
            Event::Expiring { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    removed.sort();
    assert_eq!(removed, ["short-1", "short-2"]);
    assert!(now() >= end, "not before the end");
    assert_eq!(refused(within(alice.join(group("short-1"))).await), Code::NotGranted);
    within(alice.send_to_group(group("long"), "E", "still here")).await.unwrap();
    assert_eq!(text(&alice).await, "still here");
    nothing_else(&alice).await;
    assert_eq!(guarded.hub.server.metrics().removed.get(&Code::GrantEnded), Some(&2));
}

#[tokio::test]
async fn promise_10_a_token_that_ends_closes_the_connection_unless_refreshed() {
    let guarded = Guarded::start().await;
    let grants = json!([may("*")]);
    let config = |name| guarded.config(guarded.token(name, 8, &grants)).reconnect(None);
    let ends = within(Client::connect(config("ends"))).await.unwrap();
    let stays = within(Client::connect(config("stays"))).await.unwrap();
    within(stays.join(group("g"))).await.unwrap();
    assert!(matches!(event(&stays).await, Event::Expiring { scope: ExpiryScope::Token, seconds: 1..=4 }));
    within(stays.refresh(guarded.token("stays", 3_600, &grants))).await.unwrap();

    assert!(matches!(event(&ends).await, Event::Expiring { scope: ExpiryScope::Token, .. }));
    assert!(matches!(event(&ends).await, Event::Goodbye { code: 3004, retry_after: None, .. }));
    assert!(matches!(event(&ends).await, Event::Disconnected { .. }));
    // The other's token would have ended in the same second.
    within(stays.send_to_group(group("g"), "E", "still here")).await.unwrap();
    assert_eq!(text(&stays).await, "still here");
    assert_eq!(guarded.hub.server.metrics().closed.get(&Code::TokenExpired), Some(&1));
}

#[tokio::test]
async fn promise_10_a_refresh_re_evaluates_memberships_in_place_narrower_or_wider() {
    let guarded = Guarded::start().await;
    let alice = guarded.client("alice", json!([may("a*"), may("b*")])).await;
    for name in ["a1", "b1", "b2"] {
        within(alice.join(group(name))).await.unwrap();
    }
    let narrower = guarded.token("alice", 3_600, &json!([may("a*"), may("b2")]));
    within(alice.refresh(narrower)).await.unwrap();
    match event(&alice).await {
        Event::Removed { group, code, .. } => {
            assert_eq!((group.as_str(), code), ("b1", Code::GrantEnded.number()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(guarded.hub.server.count(&Target::Group(group("b1"))), 0);
    assert_eq!(refused(within(alice.join(group("b1"))).await), Code::NotGranted);

    within(alice.refresh(guarded.token("alice", 3_600, &json!([may("*")])))).await.unwrap();
    within(alice.join(group("b1"))).await.unwrap();
    for name in ["a1", "b1", "b2"] {
        assert_eq!(guarded.hub.server.count(&Target::Group(group(name))), 1, "{name}");
    }

    // Refused, and everything is as before.
    let other = guarded.token("mallory", 3_600, &json!([]));
    assert_eq!(refused(within(alice.refresh(other)).await), Code::OtherUser);
    assert_eq!(refused(within(alice.refresh(Token::new("a.b.c"))).await), Code::TokenInvalid);
    within(alice.send_to_group(group("b1"), "E", "as before")).await.unwrap();
    assert_eq!(text(&alice).await, "as before");
}

#[tokio::test]
async fn promise_10_a_client_with_a_token_provider_goes_on_by_itself() {
    let guarded = Arc::new(Guarded::start().await);
    let made = Arc::new(AtomicU64::new(0));
    let provide = {
        let (guarded, made) = (Arc::clone(&guarded), Arc::clone(&made));
        move || {
            made.fetch_add(1, Ordering::Relaxed);
            let token = guarded.token("alice", 4, &json!([may("g")]));
            async move { Ok(token) }
        }
    };
    let config = ClientConfig::with_tokens(guarded.hub.address().to_string(), provide)
        .roots(Roots::Store((*guarded.hub.roots).clone()));
    let alice = within(Client::connect(config)).await.unwrap();
    let connection = alice.connection_id();
    within(alice.join(group("g"))).await.unwrap();
    // Longer than any one of the tokens lasts.
    while made.load(Ordering::Relaxed) < 4 {
        match event(&alice).await {
            Event::Expiring { scope: ExpiryScope::Token, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(alice.connection_id(), connection, "it is the same connection");
    within(alice.send_to_group(group("g"), "E", "still here")).await.unwrap();
    loop {
        match event(&alice).await {
            Event::Expiring { .. } => {}
            Event::Message(message) => break assert_eq!(message.payload, "still here"),
            other => panic!("{other:?}"),
        }
    }
    let made = made.load(Ordering::Relaxed);
    assert!(made < 12, "{made} tokens were asked for: it refreshes in a loop");
}

#[tokio::test]
async fn who_was_added_by_an_operator_needs_no_grant_and_keeps_the_group_when_grants_end() {
    let guarded = Guarded::start().await;
    let to_herself = || json!([{ "user": "alice", "may": ["send"] }]);
    let client = guarded.client("alice", to_herself()).await;
    let add = Action::Add { who: Who::User(user("alice")), group: group("staff"), reason: String::new() };
    assert_eq!(guarded.hub.act(add).await.unwrap().connections, 1);
    assert!(matches!(next(&client).await, Event::Joined { .. }));
    // A member already, so there is nothing to permit; and nothing of it is about to end.
    within(client.join(group("staff"))).await.unwrap();
    let narrower = guarded.token("alice", 1_000, &to_herself());
    assert_eq!(within(client.refresh(narrower)).await.unwrap(), 1);
    nothing_else(&client).await;
    assert_eq!(guarded.hub.server.count(&Target::Group(group("staff"))), 1);
}

#[tokio::test]
async fn a_refresh_with_a_revoked_token_is_refused_and_changes_nothing() {
    let guarded = Guarded::start().await;
    let client = guarded.client("alice", json!([may("room")])).await;
    within(client.join(group("room"))).await.unwrap();
    let claims = json!({ "sub": "alice", "exp": now() + 60, "jti": "stolen", "grants": [] });
    let stolen = Token::new(guarded.minter.sign(&claims).unwrap());
    let revoke = Action::RevokeToken { jti: "stolen".into(), until: None, reason: String::new() };
    assert_eq!(guarded.hub.act(revoke).await.unwrap().connections, 0);
    assert_eq!(refused(within(client.refresh(stolen.clone())).await), Code::TokenRevoked);
    assert_eq!(guarded.hub.server.count(&Target::Group(group("room"))), 1, "it goes on as before");
    within(client.send_to_group("room", "E", "still here")).await.unwrap();
    assert_eq!(text(&client).await, "still here");
    let outcome = within(Client::connect(guarded.config(stolen).reconnect(None))).await;
    assert_eq!(outcome.err().unwrap().code(), Some(Code::TokenRevoked));
}

#[tokio::test]
async fn leaving_a_group_that_one_was_never_in_tells_nothing_of_it() {
    let guarded = Guarded::start().await;
    let member = guarded.client("alice", json!([may("secret")])).await;
    within(member.join(group("secret"))).await.unwrap();
    let stranger = guarded.client("mallory", json!([may("other")])).await;
    assert_eq!(refused(within(stranger.count(Target::Group(group("secret")))).await), Code::NotGranted);
    assert_eq!(within(stranger.leave(group("secret"))).await.unwrap(), 0);
    assert_eq!(within(stranger.leave(group("nowhere"))).await.unwrap(), 0);
    // Whoever may count it, may be told it.
    let friend = guarded.client("bob", json!([may("secret")])).await;
    assert_eq!(within(friend.leave(group("secret"))).await.unwrap(), 1);
    // And who is banned from it, may not.
    guarded
        .hub
        .act(Action::Revoke {
            user: user("bob"),
            groups: Pattern::new("secret").unwrap(),
            until: None,
            reason: String::new(),
            dry_run: false,
        })
        .await
        .unwrap();
    assert_eq!(within(friend.leave(group("secret"))).await.unwrap(), 0);
}

/// Whoever an operator added, and may not count the group, could count it by joining it again and again.
#[tokio::test]
async fn joining_a_group_again_counts_it_for_nobody_who_may_not_count_it() {
    let guarded = Guarded::start().await;
    let stranger = guarded.client("stranger", json!([])).await;
    let who = Who::Connection(stranger.connection_id());
    let add = Action::Add { who, group: group("secret"), reason: String::new() };
    guarded.hub.act(add).await.unwrap();
    assert!(matches!(next(&stranger).await, Event::Joined { .. }));
    let counted = within(stranger.count(Target::Group(group("secret")))).await;
    assert!(counted.is_err());
    assert_eq!(within(stranger.join(group("secret"))).await.unwrap(), 0);
}

#[tokio::test]
async fn nothing_is_told_about_connections_that_one_may_not_send_to() {
    let guarded = Guarded::start().await;
    let carol = guarded.client("carol", json!([])).await;
    let here = carol.connection_id();
    let nowhere = ConnectionId::from_bytes([7; 16]);
    let mallory = guarded.client("mallory", json!([{ "user": "bob", "may": ["send"] }])).await;
    for id in [here, nowhere] {
        let target = Target::Connection(id);
        let counted = within(mallory.count(target.clone())).await.unwrap_err();
        let sent =
            within(mallory.send_acked(fanfare_client::Outgoing::new("E", "x").to(target))).await.unwrap_err();
        for error in [counted, sent] {
            assert_eq!(error.code(), Some(Code::NotGranted), "{error}");
            let expected = format!("there is no connection {id} that the token grants the right to send to");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
    // Whoever may send to every user, may know.
    let service = guarded.client("service", json!([{ "user": "*", "may": ["send"] }])).await;
    assert_eq!(within(service.count(Target::Connection(here))).await.unwrap(), 1);
    assert_eq!(within(service.count(Target::Connection(nowhere))).await.unwrap(), 0);
}
