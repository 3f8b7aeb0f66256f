//! Hooks: who is let in, with what, and that each end is told once.

use std::time::Duration;

use fanfare_client::{Client, ConnectError, Event};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, Pattern};
use fanfare_server::{Connecting, GrantClaim, Methods, Refusal, Right};
use fanfare_tests::peer::Dialer;
use fanfare_tests::{Hub, group, message, next, user, within};

use crate::Seen;

async fn connected(seen: Seen, connecting: Connecting) -> Result<(), Refusal> {
    let user = connecting.user().as_str().to_owned();
    seen.note(format!("{user} connects over {:?}", connecting.transport()));
    match user.as_str() {
        "mallory" => Err(Refusal::new("not you")),
        "late" => Err(Refusal::for_now("we are closed")),
        "crash" => panic!("on purpose"),
        "slow" => std::future::pending().await,
        "limited" => {
            let claim = GrantClaim {
                group: Some("lobby".into()),
                user: None,
                all: None,
                may: vec![Right::Join],
                exp: None,
            };
            connecting.grant(&[claim]).unwrap();
            connecting.join(group("lobby"));
            connecting.join(group("news"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn methods(seen: &Seen) -> Methods<Seen> {
    Methods::with_state(seen.clone())
        .connected(connected)
        .disconnected(|seen, caller, reason| async move {
            let reason = reason.map_or("lost".to_owned(), |reason| reason.code.number().to_string());
            let members = caller.hub().user(caller.user().clone()).count();
            seen.note(format!("{} is gone: {reason}, {members} left", caller.user()));
        })
        .configure(|limits| limits.hook_deadline = Duration::from_millis(300))
}

async fn refused(hub: &Hub, name: &str) -> (u16, String) {
    match within(Client::connect(hub.client_config(name))).await {
        Err(ConnectError::Refused { code, reason, .. }) => (code, reason),
        other => panic!("{:?}", other.map(|client| client.connection_id())),
    }
}

#[tokio::test]
async fn promise_15_the_application_decides_who_is_let_in_before_anybody_hears_of_them() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    assert_eq!(refused(&hub, "mallory").await, (Code::ConnectRefused.number(), "not you".into()));
    assert_eq!(refused(&hub, "late").await, (Code::ConnectRefusedForNow.number(), "we are closed".into()));
    assert_eq!(refused(&hub, "crash").await.0, Code::Internal.number());
    assert_eq!(refused(&hub, "slow").await.0, Code::Internal.number());
    let alice = hub.client("alice").await;
    assert_eq!(hub.server.population().connections, 1);
    within(alice.close()).await.unwrap();
    seen.line("alice is gone: 0, 0 left").await;
    // Whoever was refused was never here, so that nobody is told that they are gone.
    let gone: Vec<_> = seen.lines().into_iter().filter(|line| line.contains("is gone")).collect();
    assert_eq!(gone, ["alice is gone: 0, 0 left"]);
    hub.stop().await;
}

#[tokio::test]
async fn what_the_application_grants_counts_instead_of_what_the_client_shows() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let limited = hub.client("limited").await;
    for name in ["lobby", "news"] {
        assert!(matches!(next(&limited).await, Event::Joined { group, .. } if group.as_str() == name));
    }
    let denied = within(limited.join("other")).await.unwrap_err();
    assert_eq!(denied.code(), Some(Code::NotGranted), "{denied}");
    assert!(denied.to_string().contains("the application grants no right"), "{denied}");
    assert!(within(limited.leave("lobby")).await.is_ok());
    assert_eq!(within(limited.join("lobby")).await, Ok(1));
    hub.stop().await;
}

/// A ban holds for the application, too (promise 14).
#[tokio::test]
async fn promise_14_no_word_of_the_application_lifts_a_ban() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let (groups, reason) = (Pattern::new("news").unwrap(), String::new());
    let ban = Action::Revoke { user: user("limited"), groups, until: None, reason, dry_run: false };
    hub.act(ban).await.unwrap();
    let limited = hub.client("limited").await;
    assert!(matches!(next(&limited).await, Event::Joined { group, .. } if group.as_str() == "lobby"));
    fanfare_tests::nothing_else(&limited).await;
    assert_eq!(hub.server.population().groups, 1);
    hub.stop().await;
}

#[tokio::test]
async fn each_end_is_told_once_whatever_its_cause() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    // By the client, by an operator, by nobody: it vanishes; and by the server's end.
    let closes = hub.client("closes").await;
    within(closes.close()).await.unwrap();
    seen.line("closes is gone: 0, 0 left").await;
    let kicked = hub.client("kicked").await;
    hub.act(Action::Kick { who: Who::User(user("kicked")), reason: String::new() }).await.unwrap();
    seen.line("kicked is gone: 3010, 0 left").await;
    let dialer = Dialer::new(&hub.roots);
    let (vanishes, _) = dialer.welcomed(hub.address(), "vanishes").await;
    vanishes.connection.close(9_u32.into(), b"");
    seen.line("vanishes is gone: lost, 0 left").await;
    let stays = hub.client("stays").await;
    stays.send_to_connection(stays.connection_id(), "E", "x").await.unwrap();
    message(&stays).await;
    hub.stop().await;
    let lines = seen.lines();
    let gone: Vec<_> = lines.iter().filter(|line| line.contains("is gone")).collect();
    assert_eq!(gone.len(), 4, "{lines:?}");
    assert_eq!(gone[3], "stays is gone: 1001, 0 left");
    drop(kicked);
}

/// Also where the connection is not welcomed in the end.
#[tokio::test]
async fn an_end_is_told_exactly_where_the_application_had_said_yes() {
    let seen = Seen::default();
    let hub =
        Hub::assembled(tempfile::tempdir().unwrap(), |config| config.capacity.per_user = 1, methods(&seen))
            .await;
    let first = hub.client("alice").await;
    assert_eq!(refused(&hub, "alice").await.0, Code::UserFull.number());
    seen.line("alice is gone: 4003, 1 left").await;
    within(first.close()).await.unwrap();
    seen.line("alice is gone: 0, 0 left").await;
    hub.stop().await;
}
