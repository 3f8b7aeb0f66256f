//! Several nodes, one hub: real servers, each with a NATS server of its own (promises 18 and 19).
//!
//! In: three `nats-server` processes on loopback, which know each other, and three servers in this process. What a node
//! does under every kind of cut is tested in simulated time (`cluster/tests/simulation.rs`); here it is whether the
//! real parts do the same.

mod apart;
mod asked;
mod audits;
mod back_ends;
mod calls;
mod doors;
mod lists;
mod marks;
mod presence;
mod receipts;
mod verbs;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fanfare_client::{Client, ConnectError, Event, Outgoing};
use fanfare_protocol::admin::{Action, May, Standing, Who};
use fanfare_protocol::{ClientFrame, Code, EventName, PayloadFormat, Send, ServerFrame, Target, codec};
use fanfare_server::{ClusterSettings, Config, Extras, GrantClaim, Right, nats};
use fanfare_tests::peer::{Dialer, Ended, Peer};
use fanfare_tests::tokens::{Secret, now};
use fanfare_tests::{
    DEADLINE, Hub, eventually, group, message, next, nothing_else, said_until_heard, text, user, within,
};

use crate::harness::Nats;

/// Has a server be a node: `first` is the NATS server that it connects to.
fn node<'a>(nats: &'a Nats, first: usize, name: &'a str) -> impl FnOnce(&mut Config) + use<'a> {
    move |config| {
        let mut settings = nats::Settings::new(vec![nats.address(first)], "fanfare");
        settings.replicas = if nats.servers.len() < 3 { 1 } else { 3 };
        settings.patience = DEADLINE;
        let mut cluster = ClusterSettings::new(settings);
        cluster.name = Some(name.to_owned());
        config.cluster = Some(Box::new(cluster));
    }
}

/// One that soon loses its lease where it hears nothing.
fn short_of_breath(nats: &Nats) -> impl FnOnce(&mut Config) + use<'_> {
    |config| {
        node(nats, 0, "a")(config);
        if let Some(cluster) = &mut config.cluster {
            cluster.lease = Duration::from_secs(2);
        }
    }
}

/// Three nodes, each with another NATS server.
async fn three(nats: &Nats) -> [Hub; 3] {
    [
        Hub::with(node(nats, 0, "a")).await,
        Hub::with(node(nats, 1, "b")).await,
        Hub::with(node(nats, 2, "c")).await,
    ]
}

async fn sent(client: &Client, to: Vec<Target>, what: &str) -> u64 {
    let outgoing = to.into_iter().fold(Outgoing::new("E", what.to_owned()), Outgoing::to);
    within(client.send_acked(outgoing)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_18_whoever_is_reached_is_reached_on_every_node_once_and_in_order() {
    let nats = Nats::three();
    let [a, b, c] = three(&nats).await;
    let (alice, bob, carol) = (a.client("alice").await, b.client("bob").await, c.client("carol").await);
    for client in [&alice, &bob, &carol] {
        within(client.join("room")).await.unwrap();
    }
    let room = || Target::Group(group("room"));
    // Each way, at once after `Joined`, and the count is that of all nodes.
    for (from, name) in [(&alice, "alice"), (&bob, "bob"), (&carol, "carol")] {
        assert_eq!(sent(from, vec![room()], name).await, 3);
        for to in [&alice, &bob, &carol] {
            assert_eq!(text(to).await, name);
        }
    }
    // Who is reached in several ways gets one copy.
    let to = vec![room(), Target::User(user("bob")), Target::All, Target::Connection(carol.connection_id())];
    assert_eq!(sent(&alice, to, "once").await, 3);
    for client in [&alice, &bob, &carol] {
        assert_eq!(text(client).await, "once");
        nothing_else(client).await;
    }
    // A user, a connection, everyone.
    assert_eq!(sent(&alice, vec![Target::User(user("bob"))], "user").await, 1);
    assert_eq!(text(&bob).await, "user");
    assert_eq!(sent(&bob, vec![Target::Connection(carol.connection_id())], "connection").await, 1);
    assert_eq!(text(&carol).await, "connection");
    // In the order in which they were sent, with and without a count, in runs and alone.
    for number in 0..500 {
        within(alice.send_to_group("room", "E", format!("{number}"))).await.unwrap();
    }
    for client in [&bob, &carol] {
        for number in 0..500 {
            assert_eq!(text(client).await, number.to_string());
        }
    }
    assert_eq!(within(bob.count(Target::All)).await.unwrap(), 3);
    assert_eq!(within(bob.count(room())).await.unwrap(), 3);
    assert_eq!(within(alice.count(Target::User(user("carol")))).await.unwrap(), 1);
    for client in [alice, bob, carol] {
        within(client.close()).await.unwrap();
    }
    for hub in [a, b, c] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_receipt_says_that_a_revocation_is_in_force_on_every_node() {
    let nats = Nats::three();
    let [a, b, c] = three(&nats).await;
    let (bob, carol) = (b.client("bob").await, c.client("carol").await);
    for client in [&bob, &carol] {
        within(client.join("room-1")).await.unwrap();
        assert!(matches!(next(client).await, Event::Joined { .. }));
    }
    let revoke = Action::Revoke {
        user: user("bob"),
        groups: "room-*".parse().unwrap(),
        until: None,
        reason: "spam".to_owned(),
        dry_run: false,
    };
    let receipt = a.act(revoke).await.unwrap();
    let names: BTreeSet<_> = receipt.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["a", "b", "c"]), "{receipt:?}");
    assert!(receipt.nodes.iter().all(|node| node.standing == Standing::InForce), "{receipt:?}");
    // What is sent from now on does not reach him, wherever it is sent from.
    assert_eq!(sent(&carol, vec![Target::Group(group("room-1"))], "after").await, 1);
    match next(&bob).await {
        Event::Removed { group: from, code, .. } => {
            assert_eq!((from, code), (group("room-1"), Code::BannedFromGroup.number()));
        }
        other => panic!("{other:?}"),
    }
    nothing_else(&bob).await;
    let refused = within(bob.join("room-2")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::BannedFromGroup));
    // A node that starts later knows it, and one that has it on its disk alone brings it.
    let d = Hub::with(node(&nats, 0, "d")).await;
    assert_eq!(d.server.moderation().bans().len(), 1);
    let restore =
        Action::Restore { user: user("bob"), groups: "room-*".parse().unwrap(), reason: String::new() };
    let receipt = d.act(restore).await.unwrap();
    assert_eq!(receipt.nodes.len(), 4, "{receipt:?}");
    within(bob.join("room-2")).await.unwrap();
    drop((bob, carol));
    for hub in [a, b, c, d] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_do_to_connections_they_do_on_every_node() {
    let nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let b = Hub::with(node(&nats, 0, "b")).await;
    let bob = b.client("bob").await;
    let add = Action::Add { who: Who::User(user("bob")), group: group("room"), reason: String::new() };
    assert_eq!(a.act(add).await.unwrap().connections, 1);
    assert!(matches!(next(&bob).await, Event::Joined { group: joined, .. } if joined == group("room")));
    let send = Action::Send {
        to: Who::Group(group("room")),
        event: "E".parse().unwrap(),
        payload: "aGk=".to_owned(),
        format: PayloadFormat::Text,
    };
    assert_eq!(a.act(send).await.unwrap().connections, 1);
    assert_eq!(text(&bob).await, "hi");
    let remove =
        Action::Remove { who: Who::User(user("bob")), group: group("room"), reason: "enough".to_owned() };
    assert_eq!(a.act(remove).await.unwrap().connections, 1);
    assert!(matches!(next(&bob).await, Event::Removed { .. }));
    let kick = |name| Action::Kick { who: Who::User(user(name)), reason: String::new() };
    assert_eq!(a.act(kick("bob")).await.unwrap().connections, 1);
    eventually("he is gone", || b.server.population().connections == 0).await;
    let refused = a.act(kick("nobody")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NothingThere);
    drop(bob);
    a.stop().await;
    b.stop().await;
}

/// The code that a connection is refused with.
async fn refused(hub: &Hub, name: &str) -> Option<u16> {
    match within(Client::connect(hub.client_config(name))).await {
        Ok(_) => None,
        Err(ConnectError::Refused { code, .. }) => Some(code),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_node_that_hears_nothing_lets_nobody_in_delivers_nothing_and_goes_on() {
    let nats = Nats::one();
    let a = Hub::with(short_of_breath(&nats)).await;
    let (alice, bob) = (a.client("alice").await, a.client("bob").await);
    within(bob.join("room")).await.unwrap();
    assert_eq!(sent(&alice, vec![Target::Group(group("room"))], "before").await, 1);
    assert_eq!(text(&bob).await, "before");
    nats.stop(0);
    let begun = Instant::now();
    let mut code = None;
    while code.is_none() {
        assert!(begun.elapsed() < DEADLINE, "it lets in for ever");
        code = refused(&a, "carol").await;
    }
    assert_eq!(code, Some(Code::CutOff.number()));
    let join = within(bob.join("other")).await.unwrap_err();
    assert_eq!(join.code(), Some(Code::CutOff));
    let outgoing = Outgoing::new("E", "meanwhile").to_group("room");
    let send = within(alice.send_acked(outgoing)).await.unwrap_err();
    assert_eq!(send.code(), Some(Code::CutOff), "never delivered minutes afterwards as new");
    // Nobody was closed for it.
    assert_eq!(a.server.population().connections, 2);
    nats.go_on(0);
    let begun = Instant::now();
    while refused(&a, "carol").await.is_some() {
        assert!(begun.elapsed() < DEADLINE, "it lets nobody in for ever");
    }
    assert_eq!(sent(&alice, vec![Target::Group(group("room"))], "after").await, 1);
    assert_eq!(message(&bob).await.payload.as_ref(), b"after");
    drop((alice, bob));
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_without_a_word_is_gone_everywhere_and_holds_no_revocation_up_for_good() {
    let nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let b = Hub::with(node(&nats, 0, "b")).await;
    let alice = std::sync::Arc::new(a.client("alice").await);
    let bob = b.client("bob").await;
    assert_eq!(within(alice.count(Target::All)).await.unwrap(), 2);
    drop((bob, b));
    let ban = Action::Ban { user: user("bob"), until: None, reason: String::new(), dry_run: false };
    let lasting = Action::AddLasting {
        user: user("alice"),
        group: group("hall"),
        may: May::Both,
        until: None,
        reason: String::new(),
    };
    let mut banning = Box::pin(async { tokio::join!(a.act(ban), a.act(lasting)).0 });
    // While that waits for the lease of the one that has gone, others are not held up.
    let add = async {
        eventually("the ban to be in force", || a.server.moderation().bans().len() == 1).await;
        a.act(Action::Add { who: Who::User(user("alice")), group: group("room"), reason: String::new() })
            .await
    };
    let added = tokio::select! {
        biased;
        receipt = &mut banning => panic!("the lease has not ended: {receipt:?}"),
        added = add => added.unwrap(),
    };
    assert_eq!((added.connections, added.silent), (1, vec!["b".to_owned()]));
    // She wants to be there by herself as well, which changes nothing of that she is to be.
    eventually("she is in the hall", || a.server.hub().group(group("hall")).count() == 1).await;
    let joining = tokio::spawn({
        let alice = std::sync::Arc::clone(&alice);
        async move { alice.join("hall").await }
    });
    let receipt = (&mut banning).await.unwrap();
    drop(banning);
    let standings: Vec<_> = receipt.nodes.iter().map(|node| (node.name.as_str(), node.standing)).collect();
    assert_eq!(standings, [("a", Standing::InForce), ("b", Standing::LeaseEnded)], "{receipt:?}");
    assert_eq!(within(alice.count(Target::All)).await.unwrap(), 1);
    let _ = within(joining).await.unwrap();
    // The one that had gone did not answer that it sends what is for the hall. What alice is in whenever she is here,
    // she is in again; the room is not of that kind.
    let mut told = Vec::new();
    while !told.ends_with(&[("joined", group("hall"))]) || !told.contains(&("removed", group("hall"))) {
        match next(&alice).await {
            Event::Removed { group, code, .. } => {
                assert_eq!(code, Code::CutOff.number());
                told.push(("removed", group));
            }
            Event::Joined { group, .. } => told.push(("joined", group)),
            // What the one that has gone took with it.
            Event::Lagged { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(within(alice.count(Target::Group(group("hall")))).await.unwrap(), 1);
    assert_eq!(within(alice.count(Target::Group(group("room")))).await.unwrap(), 0, "{told:?}");
    drop(alice);
    a.stop().await;
}

fn to_bob(request: u64) -> ClientFrame {
    ClientFrame::Send(Send {
        request,
        ack: true,
        to: vec![Target::User(user("bob"))],
        except: Vec::new(),
        others: false,
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Text,
        payload: "x".into(),
    })
}

/// It failed before: who was on the same node was all.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_by_datagrams_is_counted_on_other_nodes_too() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let bob = b.client("bob").await;
    let (alice, _) = Dialer::new(&a.roots).welcomed(a.address(), "alice").await;
    let Peer { connection, mut receiving, .. } = alice;
    let datagram = codec::encode_client(&to_bob(1)).slice(codec::PREFIX_BYTES..);
    let saying = async {
        let mut often = tokio::time::interval(Duration::from_millis(10));
        loop {
            often.tick().await;
            connection.send_datagram(datagram.clone()).unwrap();
        }
    };
    // One may get lost.
    tokio::select! {
        answer = within(receiving.frame()) => assert_eq!(answer, Ok(ServerFrame::Ack { request: 1, count: 1 })),
        () = saying => {}
    }
    assert_eq!(text(&bob).await, "x");
    drop((connection, bob));
    a.stop().await;
    b.stop().await;
}

/// What a client is owed when it ends its stream is what other nodes still count.
#[tokio::test(flavor = "multi_thread")]
async fn promise_11_what_is_counted_on_other_nodes_is_answered_behind_the_end_of_a_clients_requests() {
    let nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let b = Hub::with(node(&nats, 0, "b")).await;
    let bob = b.client("bob").await;
    let (mut alice, _) = Dialer::new(&a.roots).welcomed(a.address(), "alice").await;
    // Each is counted on the other node, and the last is on its way when the stream ends.
    for request in 0..100 {
        alice.send(&to_bob(request)).await;
    }
    alice.sending.0.finish().unwrap();
    for request in 0..100 {
        assert_eq!(alice.frame().await, Ok(ServerFrame::Ack { request, count: 1 }));
    }
    assert_eq!(alice.frame().await, Err(Ended::Finished));
    drop(bob);
    for hub in [a, b] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_what_a_server_alone_had_decided_holds_in_the_cluster_and_the_other_way_round() {
    let nats = Nats::one();
    let ban =
        |name: &str| Action::Ban { user: user(name), until: None, reason: String::new(), dry_run: false };
    let alone = Hub::start().await;
    alone.act(ban("mallory")).await.unwrap();
    // It becomes a node, and brings its bans.
    let a = alone.restart_with(node(&nats, 0, "a")).await;
    let b = Hub::with(node(&nats, 0, "b")).await;
    assert_eq!(refused(&b, "mallory").await, Some(Code::UserBanned.number()));
    b.act(ban("trent")).await.unwrap();
    // What is lifted while it is away is lifted when it is back.
    let unban = Action::Unban { user: user("mallory"), reason: String::new() };
    let address = a.address();
    assert!(address.port() > 0);
    let receipt = b.act(unban).await.unwrap();
    assert_eq!(receipt.nodes.len(), 2);
    let a = a.restart_with(node(&nats, 0, "a")).await;
    assert_eq!(refused(&a, "mallory").await, None);
    assert_eq!(refused(&a, "trent").await, Some(Code::UserBanned.number()));
    // Without the cluster it goes on with what stood last.
    let alone = a.restart_with(|config| config.cluster = None).await;
    assert_eq!(refused(&alone, "trent").await, Some(Code::UserBanned.number()));
    assert_eq!(refused(&alone, "mallory").await, None);
    alone.stop().await;
    b.stop().await;
}

/// Who may send to a user may send to its connections, wherever they are; and who may not learns nothing of them.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_send_to_a_user_may_send_to_its_connection_on_another_node() {
    let nats = Nats::one();
    let secret = Secret::default();
    let with = |name| {
        let (node, rules) = (node(&nats, 0, name), secret.rules());
        move |config: &mut Config| {
            node(config);
            (config.dev, config.tokens) = (false, Some(rules));
        }
    };
    let (a, b) = (Hub::with(with("a")).await, Hub::with(with("b")).await);
    let connect = async |hub: &Hub, user: &str, sends_to: Option<&str>| {
        let grant = |user: &str| GrantClaim {
            group: None,
            user: Some(user.to_owned()),
            all: None,
            may: vec![Right::Send],
            exp: None,
        };
        let grants: Vec<_> = sends_to.map(grant).into_iter().collect();
        let token = secret.minter().mint(user, now(), 3_600, &grants, Extras::default()).unwrap();
        within(Client::connect(hub.token_config(token))).await.unwrap()
    };
    let alice = connect(&a, "alice", Some("bob")).await;
    let (bob, carol) = (connect(&b, "bob", None).await, connect(&b, "carol", Some("carol")).await);
    let to = |client: &Client| vec![Target::Connection(client.connection_id())];
    assert_eq!(sent(&alice, to(&bob), "yes").await, 1);
    assert_eq!(text(&bob).await, "yes");
    // Without an answer, and several at once, in their order.
    for number in 0..20 {
        within(alice.send_to_connection(bob.connection_id(), "E", format!("{number}"))).await.unwrap();
    }
    for number in 0..20 {
        assert_eq!(text(&bob).await, number.to_string());
    }
    let nobody = fanfare_protocol::ConnectionId::from_bytes([7; 16]);
    let mut refusals = Vec::new();
    for id in [carol.connection_id(), nobody] {
        let outgoing = Outgoing::new("E", "no").to(Target::Connection(id));
        let refused = within(alice.send_acked(outgoing)).await.unwrap_err();
        refusals.push((refused.code(), refused.to_string().replace(&id.to_string(), "ID")));
    }
    assert_eq!(refusals[0].0, Some(Code::NotGranted));
    assert_eq!(refusals[0], refusals[1]);

    // And by datagrams: the first has it asked whose the connection is, and the others find that it is known.
    for number in 0..3 {
        let (number, to) = (number.to_string(), Target::Connection(bob.connection_id()));
        let hear = async { while text(&bob).await != number {} };
        said_until_heard(&alice, || Outgoing::new("D", number.clone()).to(to.clone()), hear).await;
    }
    let mut refusals = Vec::new();
    for id in [carol.connection_id(), nobody] {
        let hear = async {
            loop {
                let Event::Refused { code, detail, .. } = next(&alice).await else { continue };
                // Those of the round before may still come.
                if detail.contains(&id.to_string()) {
                    return refusals.push((code, detail.replace(&id.to_string(), "ID")));
                }
            }
        };
        said_until_heard(&alice, || Outgoing::new("D", "no").to(Target::Connection(id)), hear).await;
    }
    assert_eq!(refusals[0].0, Code::NotGranted.number());
    assert_eq!(refusals[0], refusals[1]);
    nothing_else(&carol).await;
    drop((alice, bob, carol));
    a.stop().await;
    b.stop().await;
}

/// What is put is put over what is known, so that none undoes another's in silence: each is made, or refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_on_two_nodes_at_once_ends_alike_on_both() {
    let nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let b = Hub::with(node(&nats, 0, "b")).await;
    let ban = || Action::Ban { user: user("bob"), until: None, reason: String::new(), dry_run: false };
    let unban = || Action::Unban { user: user("bob"), reason: String::new() };
    for round in 0..10 {
        let (first, second) = tokio::join!(a.act(ban()), b.act(unban()));
        for outcome in [first, second] {
            if let Err(refused) = outcome {
                assert_eq!(refused.code(), Code::InvalidRequest, "{refused}");
            }
        }
        let (bans, others) = (a.server.moderation().bans(), b.server.moderation().bans());
        assert_eq!(bans, others, "round {round}");
        assert_eq!(refused(&a, "bob").await, refused(&b, "bob").await);
    }
    a.stop().await;
    b.stop().await;
}

/// What is decided alone, when the cluster had decided on the same before, is not forgotten by coming back.
#[tokio::test(flavor = "multi_thread")]
async fn promise_9_of_two_decisions_on_the_same_the_later_one_stands() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let ban = |until, reason: &str| Action::Ban {
        user: user("mallory"),
        until,
        reason: reason.to_owned(),
        dry_run: false,
    };
    let began = now();
    a.act(ban(Some(began + 600), "ten minutes")).await.unwrap();
    let alone = a.restart_with(|config| config.cluster = None).await;
    eventually("another second", || now() > began).await;
    alone.act(ban(None, "for good")).await.unwrap();
    let a = alone.restart_with(node(&nats, 0, "a")).await;
    for hub in [&a, &b] {
        eventually("the later one stands", || {
            let bans = hub.server.moderation().bans();
            bans.len() == 1 && (bans[0].until, bans[0].reason.as_str()) == (None, "for good")
        })
        .await;
    }
    // The other way round the cluster's is the later one.
    let alone = a.restart_with(|config| config.cluster = None).await;
    alone.act(ban(Some(now() + 900), "a quarter of an hour")).await.unwrap();
    let decided = now();
    eventually("another second", || now() > decided).await;
    b.act(ban(Some(decided + 6_000), "longer")).await.unwrap();
    let a = alone.restart_with(node(&nats, 0, "a")).await;
    for hub in [&a, &b] {
        let bans = hub.server.moderation().bans();
        assert_eq!((bans.len(), bans[0].reason.as_str()), (1, "longer"));
    }
    a.stop().await;
    b.stop().await;
}

/// What a disk had of the cluster is lifted with it, and what was decided alone is not.
#[tokio::test(flavor = "multi_thread")]
async fn promise_9_what_was_lifted_while_a_server_was_alone_stays_lifted() {
    let nats = Nats::one();
    let (a, b) = (Hub::with(node(&nats, 0, "a")).await, Hub::with(node(&nats, 0, "b")).await);
    let ban = Action::Ban { user: user("mallory"), until: None, reason: String::new(), dry_run: false };
    a.act(ban).await.unwrap();
    let alone = a.restart_with(|config| config.cluster = None).await;
    assert_eq!(refused(&alone, "mallory").await, Some(Code::UserBanned.number()));
    b.act(Action::Unban { user: user("mallory"), reason: String::new() }).await.unwrap();
    let a = alone.restart_with(node(&nats, 0, "a")).await;
    for hub in [&a, &b] {
        assert_eq!((refused(hub, "mallory").await, hub.server.moderation().bans().len()), (None, 0));
    }
    // What it decides alone was not lifted by that.
    let alone = a.restart_with(|config| config.cluster = None).await;
    let ban = Action::Ban { user: user("mallory"), until: None, reason: String::new(), dry_run: false };
    alone.act(ban).await.unwrap();
    let a = alone.restart_with(node(&nats, 0, "a")).await;
    assert_eq!(refused(&a, "mallory").await, Some(Code::UserBanned.number()));
    eventually("the other node knows it", || b.server.moderation().bans().len() == 1).await;
    a.stop().await;
    b.stop().await;
}

/// As long as the lease is there, a message is taken where nobody elsewhere may want it; who serves takes it then, too.
#[tokio::test(flavor = "multi_thread")]
async fn promise_18_without_nats_nothing_is_taken_that_somebody_elsewhere_may_want_but_by_who_serves() {
    let mut nats = Nats::one();
    let a = Hub::with(node(&nats, 0, "a")).await;
    let serving = {
        let node = node(&nats, 0, "c");
        move |config: &mut Config| {
            node(config);
            if let Some(cluster) = &mut config.cluster {
                cluster.serves_without = true;
            }
        }
    };
    let c = Hub::with(serving).await;
    let (alice, carol) = (a.client("alice").await, c.client("carol").await);
    for client in [&alice, &carol] {
        within(client.join("room")).await.unwrap();
        assert!(matches!(next(client).await, Event::Joined { .. }));
    }
    assert_eq!(sent(&alice, vec![Target::Group(group("room"))], "both").await, 2);
    for client in [&alice, &carol] {
        assert_eq!(text(client).await, "both");
    }
    nats.kill(0);
    let to_room = || Outgoing::new("E", "x").to(Target::Group(group("room")));
    let deadline = Instant::now() + DEADLINE;
    let refusal = loop {
        match within(alice.send_acked(to_room())).await {
            Ok(_) => {
                assert_eq!(text(&alice).await, "x");
                assert!(Instant::now() < deadline, "it takes what carol does not get");
            }
            Err(refused) => break refused,
        }
    };
    assert_eq!(refusal.code(), Some(Code::CutOff));
    // For longer than the lease lasts.
    let (end, mut pace) =
        (Instant::now() + Duration::from_secs(7), tokio::time::interval(Duration::from_millis(20)));
    while Instant::now() < end {
        pace.tick().await;
        assert_eq!(within(carol.send_acked(to_room())).await.unwrap(), 1);
        assert_eq!(text(&carol).await, "x");
    }
    drop((alice, carol));
    a.stop().await;
    c.stop().await;
}

/// A node that serves without the cluster counts on hearing of it again. Of one that has been made anew it never would,
/// and nobody there knows of it: receipts would not name it.
#[tokio::test(flavor = "multi_thread")]
async fn promise_19_who_serves_without_the_cluster_does_not_where_that_is_another() {
    let nats = Nats::one();
    let serving = |name| {
        let node = node(&nats, 0, name);
        move |config: &mut Config| {
            node(config);
            if let Some(cluster) = &mut config.cluster {
                cluster.serves_without = true;
            }
        }
    };
    let c = Hub::with(serving("c")).await;
    let client = c.client("alice").await;
    nats.servers[0].ask("$JS.API.STREAM.DELETE.KV_fanfare", "").unwrap();
    // Whoever starts now makes another.
    let a = Hub::with(node(&nats, 0, "a")).await;
    for number in 0..20 {
        let ban = Action::Ban {
            user: user(&format!("user-{number}")),
            until: None,
            reason: String::new(),
            dry_run: false,
        };
        a.act(ban).await.unwrap();
    }
    let deadline = Instant::now() + DEADLINE;
    loop {
        match within(client.send_acked(Outgoing::new("E", "x").to(Target::User(user("nobody"))))).await {
            Err(refused) if refused.code() == Some(Code::CutOff) => break,
            outcome => assert!(Instant::now() < deadline, "it goes on: {outcome:?}"),
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(refused(&c, "bob").await, Some(Code::CutOff.number()));
    drop(client);
    a.stop().await;
    c.stop().await;
}
