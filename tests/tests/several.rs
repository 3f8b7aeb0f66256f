//! Clients that know several servers: real ones stop, come back, swallow packets and refuse, and clients go on.
//!
//! In: servers that trust each other's authorities, alone or as the nodes of a cluster. Out: where their clients are
//! afterwards, in which groups, and what nobody was asked. What is tried when is in `client/src/route.rs`, with its
//! tests.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use fanfare_client::{Client, ClientConfig, CloseReason, ConnectError, Event, Outgoing, Roots};
use fanfare_protocol::admin::{Action, Who};
use fanfare_protocol::{Code, Credential, GroupName, Target, Token};
use fanfare_server::{ClusterSettings, Config, nats};
use fanfare_tests::{DEADLINE, Hub, eventually, group, next, text, user, within};
use rustls::RootCertStore;

use crate::harness::Nats;

/// Settings of a client of all of these, the first given first.
fn config_of(hubs: &[&Hub], name: &str) -> ClientConfig {
    config_with(hubs, Credential::DevUser(user(name)))
}

fn config_with(hubs: &[&Hub], credential: Credential) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for hub in hubs {
        roots.roots.extend(hub.roots.roots.iter().cloned());
    }
    let mut addresses = hubs.iter().map(|hub| hub.address().to_string());
    let first = addresses.next().unwrap();
    ClientConfig::new(first, credential).also_at(addresses).roots(Roots::Store(roots))
}

async fn connected(config: ClientConfig) -> Client {
    within(Client::connect(config)).await.unwrap()
}

/// Which of these a client is connected to.
fn place(client: &Client, hubs: &[Hub]) -> usize {
    let address = client.address();
    hubs.iter().position(|hub| hub.address().to_string() == address).unwrap()
}

/// Waits until the client is back, whatever is told on the way, and gives the groups that it is in again.
async fn back(client: &Client) -> Vec<GroupName> {
    loop {
        match next(client).await {
            Event::Reconnected { rejoined, refused, .. } => {
                assert!(refused.is_empty(), "{refused:?}");
                return rejoined;
            }
            Event::Closed { reason, .. } => panic!("the client is closed: {reason}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stops_and_its_clients_go_on_at_others_with_their_groups() {
    // It says that it is back in an hour, which is of no use to them.
    let for_long = |config: &mut Config| config.come_back_after = Duration::from_secs(3_600);
    let mut hubs = vec![Hub::with(for_long).await, Hub::with(for_long).await, Hub::with(for_long).await];
    let all: Vec<&Hub> = hubs.iter().collect();
    let client = connected(config_of(&all, "alice")).await;
    for name in ["lobby", "room", "left"] {
        within(client.join(name)).await.unwrap();
    }
    within(client.leave("left")).await.unwrap();
    // One after the other stops, until one is left.
    while hubs.len() > 1 {
        let at = place(&client, &hubs);
        let stopping = hubs.swap_remove(at);
        let stopped = tokio::spawn(stopping.stop());
        assert_eq!(back(&client).await, [group("lobby"), group("room")]);
        within(stopped).await.unwrap();
        let now = &hubs[place(&client, &hubs)];
        assert_eq!(now.server.population().groups, 2);
        within(client.send_to_group("room", "E", "still here")).await.unwrap();
        assert_eq!(text(&client).await, "still here");
    }
    drop(client);
    hubs.remove(0).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_one_list_spread_over_the_servers_and_over_those_that_are_left() {
    let short = |config: &mut Config| config.come_back_after = Duration::from_millis(200);
    let mut hubs = vec![Hub::with(short).await, Hub::with(short).await, Hub::with(short).await];
    let all: Vec<&Hub> = hubs.iter().collect();
    let mut clients = Vec::new();
    for number in 0..60 {
        clients.push(connected(config_of(&all, &format!("user {number}"))).await);
    }
    let spread: Vec<usize> = hubs.iter().map(|hub| hub.server.population().connections).collect();
    // 60 even draws of three give one fewer than 5 once in a million times.
    assert!(spread.iter().all(|count| *count >= 5) && spread.iter().sum::<usize>() == 60, "{spread:?}");
    let (moving, staying): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|client| place(client, &hubs) == 0);
    let before: Vec<usize> = spread[1..].to_vec();
    hubs.remove(0).stop().await;
    for client in &moving {
        back(client).await;
    }
    let after: Vec<usize> = hubs.iter().map(|hub| hub.server.population().connections).collect();
    assert_eq!(after.iter().sum::<usize>(), 60);
    for (now, then) in after.iter().zip(before) {
        // All of some 20 go to the same one once in a million times, of 5 once in sixteen: then nothing is said.
        assert!(moving.len() < 20 || *now > then, "{after:?}, of {} who moved", moving.len());
    }
    assert_eq!(staying.len() + moving.len(), 60);
    drop((moving, staying));
    for hub in hubs {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_says_of_the_client_is_asked_of_no_other() {
    let (first, second) = (Hub::start().await, Hub::start().await);
    let hubs = [&first, &second];
    for hub in hubs {
        let ban = Action::Ban { user: user("mallory"), until: None, reason: String::new(), dry_run: false };
        hub.act(ban).await.unwrap();
    }
    let welcomed = || hubs.map(|hub| hub.server.metrics().welcomed);
    let refusals = |code: Code| {
        hubs.map(|hub| hub.server.metrics().closed.get(&code).copied().unwrap_or(0)).iter().sum::<u64>()
    };
    // Banned, and with a token that nobody here can check: one refusal each, by whichever was asked.
    let error = within(Client::connect(config_of(&hubs, "mallory"))).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::UserBanned), "{error}");
    assert_eq!(refusals(Code::UserBanned), 1);
    let token = config_with(&hubs, Credential::Token(Token::new("a.b.c")));
    let error = within(Client::connect(token)).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TokensNotConfigured), "{error}");
    assert_eq!(refusals(Code::TokensNotConfigured), 1);
    assert_eq!(welcomed(), [0, 0]);

    // Closed for good while it is connected: the end, and the other is not asked.
    let client = connected(config_of(&hubs, "alice")).await;
    let at = usize::from(client.address() != first.address().to_string());
    let kick = Action::Kick { who: Who::User(user("alice")), reason: "enough".to_owned() };
    hubs[at].act(kick).await.unwrap();
    loop {
        match next(&client).await {
            Event::Closed { reason: CloseReason::Ended(lost), .. } => {
                assert_eq!(lost.code(), Some(Code::ClosedByOperator));
                break;
            }
            Event::Closed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!(welcomed().iter().sum::<u64>(), 1);
    for hub in [first, second] {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_swallows_packets_keeps_nobody_from_the_others() {
    let hub = Hub::start().await;
    let silent: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let places: Vec<String> = silent.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect();
    let config = hub.client_config("alice").also_at(&places).connect_timeout(Duration::from_secs(3));
    let client = connected(config.clone()).await;
    within(client.join("room")).await.unwrap();
    // Each of them is found by itself, whichever way they are tried.
    let hub = hub.restart().await;
    assert_eq!(back(&client).await, [group("room")]);
    assert_eq!(client.address(), hub.address().to_string());
    hub.stop().await;
    drop((client, silent));
    let error = within(Client::connect(config)).await.unwrap_err();
    match &error {
        ConnectError::AllFailed { failures } => assert_eq!(failures.len(), 4),
        other => panic!("{other}"),
    }
    for place in places {
        assert!(error.to_string().contains(&place), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_down_and_then_one_is_up() {
    let quick = |config: &mut Config| config.come_back_after = Duration::from_millis(1);
    let (homes, mut hubs) = ([tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], Vec::new());
    for home in &homes {
        hubs.push(Hub::at(home.path(), quick).await);
    }
    let all: Vec<&Hub> = hubs.iter().collect();
    let config = config_of(&all, "alice").connect_timeout(Duration::from_secs(2));
    let client = connected(config).await;
    within(client.join("room")).await.unwrap();
    let addresses: Vec<SocketAddr> = hubs.iter().map(Hub::address).collect();
    let at = place(&client, &hubs);
    // The other one first, so that there is nobody to go to.
    hubs.remove(1 - at).stop().await;
    hubs.remove(0).stop().await;
    loop {
        match next(&client).await {
            Event::Disconnected { retry_in, .. } => break assert!(retry_in.is_some()),
            Event::Closed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    let request = within(client.count(Target::All)).await.unwrap_err();
    assert_eq!(request.to_string(), "there is no connection to the server at the moment; nothing was sent");
    // It comes back where it was not.
    let hub = Hub::at(homes[1 - at].path(), |config| config.listen = addresses[1 - at]).await;
    assert_eq!(back(&client).await, [group("room")]);
    assert_eq!(client.address(), hub.address().to_string());
    drop(client);
    hub.stop().await;
}

/// Has a server be a node of the cluster at this NATS server.
fn node<'a>(nats: &'a Nats, name: &'a str) -> impl FnOnce(&mut Config) + use<'a> {
    move |config| {
        let mut settings = nats::Settings::new(vec![nats.address(0)], "fanfare");
        settings.replicas = 1;
        settings.patience = DEADLINE;
        let mut cluster = ClusterSettings::new(settings);
        cluster.name = Some(name.to_owned());
        config.cluster = Some(Box::new(cluster));
        config.come_back_after = Duration::from_millis(100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_restarted_node_by_node_under_its_clients() {
    let nats = Nats::one();
    let names = ["a", "b", "c"];
    let mut hubs = Vec::new();
    for name in names {
        hubs.push(Hub::with(node(&nats, name)).await);
    }
    let all: Vec<&Hub> = hubs.iter().collect();
    let mut clients = Vec::new();
    for number in 0..9 {
        let client = connected(config_of(&all, &format!("user {number}"))).await;
        within(client.join("room")).await.unwrap();
        clients.push(client);
    }
    for (at, name) in names.iter().enumerate() {
        let there: Vec<_> = clients.iter().filter(|client| place(client, &hubs) == at).collect();
        let restarting = hubs.remove(at);
        hubs.insert(at, restarting.restart_with(node(&nats, name)).await);
        for client in there {
            assert_eq!(back(client).await, [group("room")]);
        }
        // Every one of them is reached, from every node.
        let in_room = async || {
            let outgoing = Outgoing::new("E", *name).to_group("room");
            within(clients[at].send_acked(outgoing)).await
        };
        let mut reached = in_room().await;
        let begun = std::time::Instant::now();
        while reached.as_ref().ok() != Some(&9) {
            assert!(begun.elapsed() < DEADLINE, "{reached:?} behind the restart of {name}");
            reached = in_room().await;
        }
    }
    let population = || hubs.iter().map(|hub| hub.server.population().connections).sum::<usize>();
    eventually("everybody is somewhere, once", || population() == 9).await;
    drop(clients);
    for hub in hubs {
        hub.stop().await;
    }
}
