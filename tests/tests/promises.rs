//! The promises of users and groups, end to end: a real server, real clients, real sockets.

use fanfare_client::{Event, Outgoing};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, Sender, Target};
use fanfare_tests::{Hub, eventually, group, message, next, nothing_else, text, user, within};

#[tokio::test]
async fn promise_1_user_send_reaches_all_connections_of_that_user_and_no_one_else() {
    let hub = Hub::start().await;
    let (phone, desk) = (hub.client("alice").await, hub.client("alice").await);
    let (bob, namesake) = (hub.client("bob").await, hub.client("Alice").await);
    let queued = bob.send_acked(Outgoing::new("E", "one").to_user("alice")).await.unwrap();
    assert_eq!(queued, 2);
    for client in [&phone, &desk] {
        let message = message(client).await;
        assert_eq!(message.payload, "one");
        assert_eq!(message.to, Target::User(user("alice")));
        let from = Sender::Connection { connection: bob.connection_id(), user: user("bob") };
        assert_eq!(message.from, from);
        nothing_else(client).await;
    }
    nothing_else(&bob).await;
    nothing_else(&namesake).await;
}

#[tokio::test]
async fn promise_1_user_send_still_reaches_the_others_after_one_connection_leaves() {
    let hub = Hub::start().await;
    let (phone, desk, bob) = (hub.client("alice").await, hub.client("alice").await, hub.client("bob").await);
    within(phone.close()).await.unwrap();
    eventually("the phone has gone", || hub.server.count(&Target::User(user("alice"))) == 1).await;
    let queued = bob.send_acked(Outgoing::new("E", "still here").to_user("alice")).await.unwrap();
    assert_eq!(queued, 1);
    assert_eq!(text(&desk).await, "still here");
}

#[tokio::test]
async fn promise_1_connection_send_reaches_that_connection_only() {
    let hub = Hub::start().await;
    let (phone, desk, bob) = (hub.client("alice").await, hub.client("alice").await, hub.client("bob").await);
    bob.send_to_connection(desk.connection_id(), "E", "you").await.unwrap();
    assert_eq!(text(&desk).await, "you");
    nothing_else(&phone).await;
    let gone = phone.connection_id();
    within(phone.close()).await.unwrap();
    eventually("the phone has gone", || hub.server.count(&Target::Connection(gone)) == 0).await;
    let queued = bob.send_acked(Outgoing::new("E", "too late").to_connection(gone)).await.unwrap();
    assert_eq!(queued, 0);
}

#[tokio::test]
async fn send_to_all_reaches_everyone_who_is_connected_and_not_the_disconnected() {
    let hub = Hub::start().await;
    let (alice, bob, carol) = (hub.client("alice").await, hub.client("bob").await, hub.client("carol").await);
    within(carol.close()).await.unwrap();
    eventually("carol has gone", || hub.server.population().connections == 2).await;
    assert_eq!(alice.send_acked(Outgoing::new("E", "all").to_all()).await.unwrap(), 2);
    assert_eq!(text(&alice).await, "all");
    assert_eq!(text(&bob).await, "all");
    let others = Outgoing::new("E", "others").to_all().others();
    assert_eq!(alice.send_acked(others).await.unwrap(), 1);
    assert_eq!(text(&bob).await, "others");
    nothing_else(&alice).await;
}

#[tokio::test]
async fn promise_2_group_send_reaches_every_member_once_and_members_only() {
    let hub = Hub::start().await;
    let (alice, bob, outsider) =
        (hub.client("alice").await, hub.client("bob").await, hub.client("outsider").await);
    assert_eq!(alice.join("room").await.unwrap(), 1);
    assert_eq!(bob.join("room").await.unwrap(), 2);
    // One need not be in a group to send to it.
    assert_eq!(outsider.send_acked(Outgoing::new("E", "hi").to_group("room")).await.unwrap(), 2);
    for client in [&alice, &bob] {
        assert_eq!(text(client).await, "hi");
        nothing_else(client).await;
    }
    nothing_else(&outsider).await;
}

#[tokio::test]
async fn promise_2_group_send_with_excluded_connections_and_others() {
    let hub = Hub::start().await;
    let (alice, bob, carol) = (hub.client("alice").await, hub.client("bob").await, hub.client("carol").await);
    for client in [&alice, &bob, &carol] {
        client.join("room").await.unwrap();
    }
    let to_room = || Outgoing::new("E", "not bob").to_group("room");
    assert_eq!(alice.send_acked(to_room().except(bob.connection_id())).await.unwrap(), 2);
    assert_eq!(text(&alice).await, "not bob");
    assert_eq!(text(&carol).await, "not bob");
    nothing_else(&bob).await;
    assert_eq!(alice.send_acked(to_room().others()).await.unwrap(), 2);
    assert_eq!(text(&bob).await, "not bob");
    nothing_else(&alice).await;
}

#[tokio::test]
async fn promise_2_joining_twice_delivers_once() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    assert_eq!(alice.join("room").await.unwrap(), 1);
    assert_eq!(alice.join("room").await.unwrap(), 1);
    assert_eq!(alice.send_acked(Outgoing::new("E", "once").to_group("room")).await.unwrap(), 1);
    assert!(matches!(next(&alice).await, Event::Joined { members: 1, .. }));
    assert!(matches!(next(&alice).await, Event::Message(_)));
    nothing_else(&alice).await;
}

#[tokio::test]
async fn promise_2_leaving_a_group_one_is_not_in_does_nothing() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    bob.join("room").await.unwrap();
    assert_eq!(alice.leave("room").await.unwrap(), 1);
    assert_eq!(alice.leave("no such room").await.unwrap(), 0);
    assert_eq!(alice.send_acked(Outgoing::new("E", "x").to_group("room")).await.unwrap(), 1);
    assert_eq!(text(&bob).await, "x");
}

#[tokio::test]
async fn promise_2_a_connection_may_be_in_many_groups_and_gets_one_copy_of_a_send_to_several() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    for number in 0..50 {
        alice.join(format!("room {number}")).await.unwrap();
        assert!(matches!(next(&alice).await, Event::Joined { .. }));
    }
    let mut outgoing = Outgoing::new("E", "once").to_all().to_user("alice");
    for number in 0..50 {
        outgoing = outgoing.to_group(format!("room {number}"));
    }
    assert_eq!(alice.send_acked(outgoing.to_connection(alice.connection_id())).await.unwrap(), 1);
    assert_eq!(message(&alice).await.to, Target::All);
    nothing_else(&alice).await;
}

#[tokio::test]
async fn promise_3_a_closed_connection_leaves_every_group_and_its_user_at_once() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    for number in 0..20 {
        alice.join(format!("room {number}")).await.unwrap();
    }
    bob.join("room 7").await.unwrap();
    assert_eq!(hub.server.population().groups, 20);
    within(alice.close()).await.unwrap();
    // The server leaves first and closes then: whoever saw the close finds nothing of the connection.
    assert_eq!(hub.server.population().groups, 1);
    assert_eq!(hub.server.count(&Target::User(user("alice"))), 0);
    assert_eq!(bob.count(Target::Group(group("room 7"))).await.unwrap(), 1);
    drop(bob);
    hub.is_empty().await;
    hub.stop().await;
}

#[tokio::test]
async fn promise_3_membership_does_not_come_back_by_itself() {
    let hub = Hub::start().await;
    let first = hub.client("alice").await;
    first.join("room").await.unwrap();
    within(first.close()).await.unwrap();
    let again = hub.client("alice").await;
    let bob = hub.client("bob").await;
    assert_ne!(first.connection_id(), again.connection_id());
    assert_eq!(bob.send_acked(Outgoing::new("E", "x").to_group("room")).await.unwrap(), 0);
    nothing_else(&again).await;
}

#[tokio::test]
async fn promise_4_frames_of_one_sender_arrive_in_the_order_sent() {
    const MESSAGES: u32 = 10_000;
    // Far enough ahead to coalesce, not so far that bob's outbox must overflow.
    const AHEAD: u32 = 500;
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    bob.join("room").await.unwrap();
    let (read, mut progress) = tokio::sync::watch::channel(0);
    let receive = async {
        for number in 0..MESSAGES {
            assert_eq!(text(&bob).await, number.to_string());
            read.send_replace(number);
        }
    };
    let send = async {
        for number in 0..MESSAGES {
            // By three ways in turn: the order holds across targets, because it is the connection's.
            let outgoing = Outgoing::new("E", number.to_string());
            let outgoing = match number % 3 {
                0 => outgoing.to_group("room"),
                1 => outgoing.to_user("bob"),
                _ => outgoing.to_connection(bob.connection_id()),
            };
            alice.send(outgoing).await.unwrap();
            within(progress.wait_for(|read| number < read + AHEAD)).await.unwrap();
        }
    };
    tokio::join!(receive, send);
}

#[tokio::test]
async fn one_failing_member_does_not_stop_the_rest_of_a_group() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let dialer = fanfare_tests::peer::Dialer::new(&hub.roots);
    let (mut broken, _) = dialer.welcomed(hub.address(), "broken").await;
    broken.send(&fanfare_protocol::ClientFrame::Join { request: 1, group: group("room") }).await;
    broken.frame().await.unwrap();
    bob.join("room").await.unwrap();
    // Its stream takes nothing any more, in the middle of the group's traffic.
    broken.receiving.stream.stop(quinn::VarInt::from_u32(7)).unwrap();
    for number in 0..100 {
        alice.send_to_group("room", "E", number.to_string()).await.unwrap();
        assert_eq!(text(&bob).await, number.to_string());
    }
    let ended: fanfare_tests::peer::Ended = within(broken.connection.closed()).await.into();
    let reset = Code::StreamReset;
    assert_eq!(ended, fanfare_tests::peer::Ended::Code(reset.number().into(), reset.sentence().into()));
}

#[tokio::test]
async fn names_differ_by_case_and_may_hold_emoji_spaces_and_256_bytes() {
    let hub = Hub::with(|config| config.names = fanfare_server::Names::Any).await;
    let long = "\u{1F600}".repeat(64);
    let names = [
        "room",
        "Room",
        "room ",
        " ",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{1F389} party",
        "a\u{0}b",
        long.as_str(),
    ];
    let sender = hub.client("sender").await;
    let mut members = Vec::new();
    for name in names {
        // The same name for a user and for a group: they have nothing to do with each other.
        let client = hub.client(name).await;
        assert_eq!(client.join(name).await.unwrap(), 1);
        members.push(client);
    }
    for (name, client) in names.iter().zip(&members) {
        assert_eq!(
            sender.send_acked(Outgoing::new("E", name.to_string()).to_group(*name)).await.unwrap(),
            1,
            "{name}"
        );
        assert_eq!(&text(client).await, name);
        assert_eq!(
            sender.send_acked(Outgoing::new("E", name.to_string()).to_user(*name)).await.unwrap(),
            1,
            "{name}"
        );
        assert_eq!(&text(client).await, name);
    }
}

#[tokio::test]
async fn payloads_of_no_bytes_and_of_the_most_bytes_arrive_whole() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let most = alice.limits().payload_bytes as usize;
    assert_eq!(most, 65_536);
    for length in [0, 1, most - 1, most] {
        let payload: Vec<u8> = (0..=250u8).cycle().step_by(31).take(length).collect();
        alice.send_to_user("bob", "E", payload.clone()).await.unwrap();
        assert_eq!(message(&bob).await.payload, payload);
    }
}

#[tokio::test]
async fn a_removed_user_is_told_why_and_may_join_again() {
    let hub = Hub::start().await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    alice.join("room").await.unwrap();
    bob.join("room").await.unwrap();
    let removal = Action::Remove {
        who: Who::User(user("alice")),
        group: group("room"),
        reason: "spring cleaning".to_owned(),
    };
    assert_eq!(hub.act(removal).await.unwrap().connections, 1);
    assert!(matches!(next(&alice).await, Event::Joined { .. }));
    match next(&alice).await {
        Event::Removed { group, code, reason } => {
            assert_eq!((group.as_str(), reason.as_str()), ("room", "spring cleaning"));
            assert_eq!(code, Code::RemovedFromGroup.number());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bob.send_acked(Outgoing::new("E", "x").to_group("room")).await.unwrap(), 1);
    nothing_else(&alice).await;
    assert_eq!(alice.join("room").await.unwrap(), 2);
}
