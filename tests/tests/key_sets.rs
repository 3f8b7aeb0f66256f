//! Keys that a URL gives, from a real HTTPS server: fetched, changed while the server runs, kept for a start without
//! the network.

use std::net::SocketAddr;

use fanfare_client::{Client, ClientConfig, Roots};
use fanfare_protocol::admin::{Explanation, Question, Role};
use fanfare_protocol::{ClientFrame, Code, Credential, Features, PROTOCOL_VERSION, ServerFrame, Token};
use fanfare_server::{Identity, KeySetUrl, Server, TokenRules};
use fanfare_tests::issuer::{Issuer, Reply, SigningKey, at, key_set};
use fanfare_tests::peer::Dialer;
use fanfare_tests::{Hub, eventually, within};
use serde_json::json;

const PATH: &str = "/keys";

fn rules() -> TokenRules {
    TokenRules::new(Vec::new())
}

async fn hub(issuer: &Issuer) -> Hub {
    Hub::with(|config| {
        config.dev = false;
        config.tokens = Some(rules());
        config.key_sets = vec![key_set(issuer, PATH)];
    })
    .await
}

/// Connects with a token. `Err`: the code of the refusal.
async fn connect(hub: &Hub, token: String) -> Result<Client, Code> {
    let config = ClientConfig::new(hub.address().to_string(), Credential::Token(Token::new(&token)))
        .roots(Roots::Store((*hub.roots).clone()));
    within(Client::connect(config)).await.map_err(|error| error.code().unwrap_or_else(|| panic!("{error}")))
}

fn refusal(outcome: Result<Client, Code>) -> Option<Code> {
    outcome.err()
}

#[tokio::test]
async fn keys_change_without_a_restart_and_unknown_ones_are_looked_for_once_a_minute() {
    let issuer = Issuer::start();
    let [a, b, c] = ["a", "b", "c"].map(SigningKey::new);
    issuer.answer(PATH, Reply::keys(&[&a]));
    let hub = hub(&issuer).await;
    let alice = connect(&hub, a.token("alice")).await.unwrap();
    // A token without a key of that name, or by another key of that name, is none.
    assert_eq!(refusal(connect(&hub, SigningKey::new("a").token("mallory")).await), Some(Code::TokenInvalid));
    assert_eq!(issuer.looks(PATH), 1, "a name that is known is not looked for");

    // The answer is good for an hour, and yet whoever has a token by the new key is let in at once.
    issuer.answer(PATH, Reply::keys(&[&b]));
    let many: Vec<_> = (0..10).map(|_| connect(&hub, b.token("bob"))).collect();
    let mut bobs = Vec::new();
    for bob in many {
        bobs.push(bob.await.unwrap());
    }
    assert_eq!(issuer.looks(PATH), 2);
    // The old key is gone, and who is in stays in.
    assert_eq!(refusal(connect(&hub, a.token("alice")).await), Some(Code::TokenInvalid));
    within(alice.join(fanfare_tests::group("room"))).await.unwrap();

    issuer.answer(PATH, Reply::keys(&[&c]));
    for _ in 0..20 {
        assert_eq!(refusal(connect(&hub, c.token("carol")).await), Some(Code::TokenInvalid));
    }
    assert_eq!(issuer.looks(PATH), 2, "unknown keys are looked for once a minute");
    // An operator who has the keys loaded again need not wait.
    hub.server.replace_token_rules(rules(), &[key_set(&issuer, PATH)]);
    eventually("the keys are fetched again", || issuer.looks(PATH) == 3).await;
    let mut carol = connect(&hub, c.token("carol")).await;
    while carol.is_err() {
        carol = connect(&hub, c.token("carol")).await;
    }
    assert_eq!(issuer.looks(PATH), 3);
    hub.stop().await;
}

/// It said "may not" of a token that the door let in right after.
#[tokio::test]
async fn explain_waits_for_a_key_as_the_door_does() {
    let issuer = Issuer::start();
    let [a, b] = ["a", "b"].map(SigningKey::new);
    issuer.answer(PATH, Reply::keys(&[&a]));
    let hub = hub(&issuer).await;
    issuer.answer(PATH, Reply::keys(&[&a, &b]));
    let oncall = fanfare_tests::operators::connect(&hub, "oncall", Role::Viewer).await;
    let asked = Question::Explain {
        user: fanfare_tests::user("dave"),
        group: fanfare_tests::group("room"),
        token: Some(Token::new(b.token("dave"))),
    };
    let explained: Explanation = within(oncall.ask(&asked)).await.unwrap();
    assert_eq!(explained.token.and_then(|token| token.connect), None, "{}", explained.summary);
    assert!(connect(&hub, b.token("dave")).await.is_ok());
    hub.stop().await;
}

/// It was refused, although a handshake with the same token waits for the key.
#[tokio::test]
async fn a_refresh_waits_for_a_key_as_the_door_does_and_what_follows_it_waits_too() {
    let issuer = Issuer::start();
    let [a, b] = ["a", "b"].map(SigningKey::new);
    issuer.answer(PATH, Reply::keys(&[&a]));
    let hub = hub(&issuer).await;
    let mut peer = Dialer::new(&hub.roots).peer(hub.address()).await;
    let credential = Credential::Token(Token::new(a.token("alice")));
    let features = Features::default();
    peer.send(&ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential }).await;
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Welcome(_))));

    issuer.answer(PATH, Reply::keys(&[&b]));
    peer.send(&ClientFrame::Refresh { request: 1, token: Token::new(b.token("alice")) }).await;
    peer.send(&ClientFrame::Leave { request: 2, group: fanfare_tests::group("room") }).await;
    assert_eq!(peer.frame().await, Ok(ServerFrame::Ack { request: 1, count: 0 }));
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Ack { request: 2, .. })));
    assert_eq!(issuer.looks(PATH), 2);
    // Another user's is refused by then, and so is one by nobody's key.
    peer.send(&ClientFrame::Refresh { request: 3, token: Token::new(b.token("bob")) }).await;
    let other_user = Code::OtherUser.number();
    assert!(
        matches!(peer.frame().await, Ok(ServerFrame::Error { request: 3, code, .. }) if code == other_user)
    );
    let stranger = SigningKey::new("c").token("alice");
    peer.send(&ClientFrame::Refresh { request: 4, token: Token::new(stranger) }).await;
    let invalid = Code::TokenInvalid.number();
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Error { request: 4, code, .. }) if code == invalid));
    drop(peer);
    hub.stop().await;
}

#[tokio::test]
async fn a_key_that_was_taken_back_is_forgotten_when_the_answer_is_no_longer_good() {
    let issuer = Issuer::start();
    let [a, b] = ["a", "b"].map(SigningKey::new);
    let briefly = |keys: &[&SigningKey]| match Reply::keys(keys) {
        Reply::Now(status, _, body) => {
            Reply::Now(status, vec![("cache-control", "max-age=1".to_owned())], body)
        }
        Reply::Never => Reply::Never,
    };
    issuer.answer(PATH, briefly(&[&a, &b]));
    let hub = hub(&issuer).await;
    drop(connect(&hub, a.token("alice")).await.unwrap());
    issuer.answer(PATH, briefly(&[&b]));
    // Its name is known, so nothing but the clock leads to a look.
    let start = std::time::Instant::now();
    while connect(&hub, a.token("alice")).await.is_ok() {
        assert!(start.elapsed() < fanfare_tests::DEADLINE, "it was never forgotten");
    }
    drop(connect(&hub, b.token("bob")).await.unwrap());
    hub.stop().await;
}

#[tokio::test]
async fn a_refresh_with_an_unknown_key_has_it_fetched() {
    let issuer = Issuer::start();
    let [a, b] = ["a", "b"].map(SigningKey::new);
    issuer.answer(PATH, Reply::keys(&[&a]));
    let hub = hub(&issuer).await;
    let alice = connect(&hub, a.token("alice")).await.unwrap();
    issuer.answer(PATH, Reply::keys(&[&a, &b]));
    // It was refused the first time, and the client had to try again.
    assert_eq!(within(alice.refresh(Token::new(b.token("alice")))).await.ok(), Some(0));
    assert_eq!(issuer.looks(PATH), 2);
    hub.stop().await;
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_stay_as_they_were_over_a_restart_too() {
    let issuer = Issuer::start();
    let [a, b] = ["a", "b"].map(SigningKey::new);
    issuer.answer(PATH, Reply::keys(&[&a]));
    let hub = hub(&issuer).await;
    issuer.answer(PATH, Reply::keys(&[&b]));
    drop(connect(&hub, b.token("bob")).await.unwrap());
    let copies = || {
        let names = std::fs::read_dir(hub.state())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("token-keys-")).collect::<Vec<_>>()
    };
    let kept = hub.state().join(&copies()[0]);
    eventually("the new keys are on the disk", || std::fs::read_to_string(&kept).unwrap().contains("\"b\""))
        .await;
    assert_eq!(copies().len(), 1, "nothing is left beside it");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kept).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    issuer.down(true);
    hub.server.replace_token_rules(rules(), &[key_set(&issuer, PATH)]);
    drop(connect(&hub, b.token("bob")).await.unwrap());
    let set = key_set(&issuer, PATH);
    let hub = hub.restart_with(|config| {
        config.dev = false;
        config.tokens = Some(rules());
        config.key_sets = vec![set];
    });
    let hub = hub.await;
    drop(connect(&hub, b.token("bob")).await.unwrap());
    assert_eq!(refusal(connect(&hub, a.token("alice")).await), Some(Code::TokenInvalid));
    // The network is back, and with it the new keys.
    issuer.down(false);
    issuer.answer(PATH, Reply::keys(&[&a]));
    hub.server.replace_token_rules(rules(), &[key_set(&issuer, PATH)]);
    while connect(&hub, a.token("alice")).await.is_err() {}
    hub.stop().await;
}

#[tokio::test]
async fn one_bad_key_is_passed_over_and_redirects_stay_on_https() {
    let issuer = Issuer::start();
    let [a, b] = ["a", "b"].map(SigningKey::new);
    let mut encrypts = b.jwk();
    encrypts["use"] = json!("enc");
    let secret = json!({ "kty": "oct", "kid": "s", "k": "A".repeat(43) });
    let set = json!({ "keys": [{ "kty": "quantum" }, encrypts, null, secret, a.jwk()] });
    issuer.answer("/set?tenant=1", Reply::json(&set));
    issuer.answer("/there", Reply::redirect("/set?tenant=1"));
    issuer.answer(PATH, Reply::redirect(&issuer.url("/there")));
    let hub = hub(&issuer).await;
    drop(connect(&hub, a.token("alice")).await.unwrap());
    assert_eq!(
        refusal(connect(&hub, b.token("bob")).await),
        Some(Code::TokenInvalid),
        "that key is for encryption"
    );
    hub.stop().await;
}

/// Starts a server that must not start. Gives what it says, and checks that it has left nothing behind.
async fn refused(set: KeySetUrl) -> String {
    let state = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let leaf = fanfare_certs::server_leaf(other.path(), &[]).unwrap();
    let identity = Identity { chain: leaf.identity.chain, key: leaf.identity.key };
    let server = Server::builder()
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
        .identity(identity)
        .state_dir(state.path().join("state"))
        .tokens(rules())
        .configure(|config| config.key_sets = vec![set]);
    let error = within(server.start()).await.map(drop).unwrap_err().to_string();
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "{error}");
    error
}

#[tokio::test]
async fn a_server_that_can_get_no_keys_does_not_start_and_says_why() {
    let issuer = Issuer::start();
    let a = SigningKey::new("a");
    let good = Reply::keys(&[&a]);
    issuer.answer("/loop", Reply::redirect("/loop"));
    issuer.answer("/plain", Reply::redirect("http://localhost/keys"));
    issuer.answer("/nowhere", Reply::Now(302, Vec::new(), Vec::new()));
    issuer.answer("/broken", Reply::Now(500, Vec::new(), Vec::new()));
    issuer.answer("/page", Reply::Now(200, Vec::new(), b"<html>Sign in</html>".to_vec()));
    issuer.answer("/none", Reply::json(&json!({ "keys": [] })));
    issuer.answer("/secret", Reply::json(&json!({ "keys": [{ "kty": "oct", "k": "A".repeat(43) }] })));
    issuer.answer("/huge", Reply::Now(200, Vec::new(), vec![b' '; (1 << 20) + 1]));
    issuer.answer("/binary", Reply::Now(200, Vec::new(), vec![0xff; 99]));
    issuer.answer("/never", Reply::Never);
    issuer.answer(PATH, good);
    for (path, words) in [
        ("/missing", "it answers 404"),
        ("/loop", "redirects more than 3 times"),
        ("/plain", "over https only"),
        ("/nowhere", "without an address"),
        ("/broken", "it answers 500"),
        ("/page", "not JSON"),
        ("/none", "no key in it"),
        ("/secret", "published"),
        ("/huge", "more than 1048576 bytes"),
        ("/binary", "UTF-8"),
        ("/never", "within 10 s"),
    ] {
        let error = refused(key_set(&issuer, path)).await;
        assert!(error.contains(words) && error.contains(&issuer.url(path)), "{path}: {error}");
        assert!(error.contains("no copy"), "{path}: {error}");
    }
    let elsewhere = Issuer::start();
    let error = refused(at(&issuer.url(PATH), &elsewhere.authority())).await;
    assert!(error.contains("invalid peer certificate") && error.contains("not trusted here"), "{error}");
    issuer.down(true);
    refused(key_set(&issuer, PATH)).await;
}
