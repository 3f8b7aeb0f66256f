//! Hooks: who is let in, with what, and that each end is told once.

use std::time::Duration;

use fanfare_client::{Client, ConnectError, Event};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, Pattern};
use fanfare_server::{Connecting, GrantClaim, Methods, Refusal, Right};
use fanfare_tests::peer::Dialer;
use fanfare_tests::{Hub, group, message, next, user, within};

use super::Seen;

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
        .configure(|limits| limits.hook_deadline = Duration::from_secs(3))
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
    assert!(within(limited.leave("news")).await.is_ok());
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

/// Of one connection everything in its order, whoever did it (aspnetcore#41601 asks for the two of groups).
#[tokio::test]
async fn memberships_and_groups_are_told_once_and_in_order_whoever_made_and_ended_them() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .joined(|seen, caller, group| async move { seen.note(format!("{} joins {group}", caller.user())) })
        .left(|seen, caller, group, why| async move {
            seen.note(format!("{} leaves {group}: {why:?}", caller.user()));
        })
        .group_opened(|seen, hub, group| async move {
            seen.note(format!("{group} opens with {}", hub.group(group.clone()).count()));
        })
        .group_closed(|seen, _, group| async move { seen.note(format!("{group} closes")) })
        .disconnected(|seen, caller, _| async move { seen.note(format!("{} is gone", caller.user())) });
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let of = |word: &str| -> Vec<String> {
        seen.lines().into_iter().filter(|line| line.starts_with(word)).collect()
    };
    within(alice.join("a")).await.unwrap();
    within(alice.join("a")).await.unwrap();
    within(alice.leave("a")).await.unwrap();
    let add = Action::Add { who: Who::User(user("alice")), group: group("b"), reason: String::new() };
    hub.act(add).await.unwrap();
    let (groups, reason) = (Pattern::new("b").unwrap(), String::new());
    hub.act(Action::Revoke { user: user("alice"), groups, until: None, reason, dry_run: false })
        .await
        .unwrap();
    within(alice.join("c")).await.unwrap();
    within(alice.close()).await.unwrap();
    seen.line("alice is gone").await;
    seen.line("c closes").await;
    assert_eq!(
        of("alice"),
        [
            "alice joins a",
            "alice leaves a: Asked",
            "alice joins b",
            "alice leaves b: Removed(BannedFromGroup)",
            "alice joins c",
            "alice leaves c: Gone",
            "alice is gone",
        ]
    );
    for name in ["a", "b", "c"] {
        let told = of(&format!("{name} "));
        assert!(told.len() == 2 && told[0].starts_with(&format!("{name} opens")), "{told:?}");
        assert_eq!(told[1], format!("{name} closes"));
    }
    hub.stop().await;
}

#[tokio::test]
async fn promise_15_the_application_may_refuse_a_join_that_is_granted() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).joining(|seen, caller, group| async move {
        seen.note(format!("{} wants {group}", caller.user()));
        match group.as_str() {
            "closed" => Err(fanfare_server::CallError::new("come tomorrow")),
            "crash" => panic!("on purpose"),
            _ => Ok(()),
        }
    });
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    assert_eq!(within(alice.join("open")).await, Ok(1));
    let refused = within(alice.join("closed")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::CallFailed));
    assert!(refused.to_string().contains("come tomorrow"), "{refused}");
    assert_eq!(within(alice.join("crash")).await.unwrap_err().code(), Some(Code::Internal));
    assert_eq!(hub.server.population().groups, 1);
    // What a ban forbids it is not asked about, nor what an operator does.
    let (groups, reason) = (Pattern::new("banned").unwrap(), String::new());
    hub.act(Action::Revoke { user: user("alice"), groups, until: None, reason, dry_run: false })
        .await
        .unwrap();
    assert_eq!(within(alice.join("banned")).await.unwrap_err().code(), Some(Code::BannedFromGroup));
    let add = Action::Add { who: Who::User(user("alice")), group: group("closed"), reason: String::new() };
    hub.act(add).await.unwrap();
    assert_eq!(hub.server.population().groups, 2);
    assert_eq!(seen.lines(), ["alice wants open", "alice wants closed", "alice wants crash"]);
    hub.stop().await;
}

/// A client whose joins and leaves the application is slow to hear of waits; nobody else does.
#[tokio::test]
async fn promise_15_a_slow_hook_slows_its_own_client_alone_and_what_waits_is_bounded() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).joined(|seen: Seen, caller, _| async move {
        if caller.user().as_str() == "alice" {
            seen.wait().await;
        }
        seen.note(caller.user().as_str());
    });
    let hub = Hub::running(methods.configure(|limits| limits.hook_deadline = fanfare_tests::DEADLINE)).await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let joining = alice.clone();
    let joins = tokio::spawn(async move {
        for number in 0..400 {
            joining.join(format!("room-{number}")).await.unwrap();
        }
    });
    let draining = alice.clone();
    tokio::spawn(async move { while draining.next().await.is_some() {} });
    within(bob.join("room-0")).await.unwrap();
    seen.line("bob").await;
    fanfare_tests::eventually("alice is held back", || hub.server.population().groups >= 60).await;
    assert_eq!(within(bob.count(fanfare_protocol::Target::All)).await, Ok(2));
    assert!(hub.server.population().groups <= 70, "{:?}", hub.server.population());
    fanfare_tests::eventually("all is told", || {
        seen.open();
        joins.is_finished()
    })
    .await;
    within(joins).await.unwrap();
    within(alice.close()).await.unwrap();
    fanfare_tests::eventually("all is told", || {
        seen.open();
        seen.lines().len() == 401
    })
    .await;
    hub.stop().await;
}
