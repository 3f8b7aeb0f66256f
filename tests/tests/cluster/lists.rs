//! Lists, numbers and `explain` are of all nodes, whichever is asked; and whoever does not answer is named.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare_client::{Client, OperatorClient};
use fanfare_protocol::Code;
use fanfare_protocol::admin::{
    ConnectionDetail, ConnectionRow, Explanation, GroupRow, Listing, Page, Question, Role, UserRow, Verdict,
};
use fanfare_server::Config;
use fanfare_tests::back_end::BackEnd;
use fanfare_tests::operators::connect;
use fanfare_tests::{Hub, group, text, user, within};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::node;
use crate::harness::Nats;

/// How soon an answer is there, whoever does not answer.
const SOON: Duration = Duration::from_secs(1);

/// A node that back ends can ask, too.
async fn hub(nats: &Nats, first: usize, name: &str) -> Hub {
    let node = node(nats, first, name);
    Hub::with(|config: &mut Config| {
        node(config);
        config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        if let Some(cluster) = &mut config.cluster {
            // Whoever ends without a word is a node for so long.
            cluster.lease = Duration::from_secs(20);
        }
    })
    .await
}

/// Three nodes with people: alice is on two of them.
struct House {
    hubs: Vec<Hub>,
    clients: Vec<Client>,
}

impl House {
    async fn new(nats: &Nats) -> Self {
        let mut hubs = Vec::new();
        for (name, server) in [("a", 0), ("b", 1), ("c", 2)] {
            hubs.push(hub(nats, server.min(nats.servers.len() - 1), name).await);
        }
        let mut clients = Vec::new();
        for (hub, name, rooms) in [
            (0, "alice", &["room"][..]),
            (1, "alice", &["room", "yard"]),
            (1, "bob", &["room"]),
            (2, "carol", &["hall", "yard"]),
            (2, "dave", &[]),
        ] {
            let client = hubs[hub].client(name).await;
            for room in rooms {
                within(client.join(*room)).await.unwrap();
            }
            clients.push(client);
        }
        Self { hubs, clients }
    }

    async fn stop(self) {
        drop(self.clients);
        for hub in self.hubs {
            hub.stop().await;
        }
    }
}

async fn ask<T: DeserializeOwned>(client: &OperatorClient, question: Question) -> T {
    within(client.ask(&question)).await.unwrap()
}

/// All pages of a list, row by row.
async fn pages<R: DeserializeOwned>(
    client: &OperatorClient,
    page: Page,
    question: impl Fn(Page) -> Question,
) -> Vec<R> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let listing: Listing<R> = ask(client, question(Page { after, ..page.clone() })).await;
        assert!(listing.rows.len() <= page.limit as usize && listing.silent.is_empty());
        rows.extend(listing.rows);
        match listing.next {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

fn by(sort: &str, descending: bool, limit: u32) -> Page {
    Page { sort: sort.to_owned(), descending, limit, ..Page::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_who_is_on_all_nodes_whichever_they_ask() {
    let nats = Nats::three();
    let house = House::new(&nats).await;
    for hub in &house.hubs {
        let oncall = connect(hub, "oncall", Role::Viewer).await;
        // Connections, each with its node, however the pages are cut and wherever they begin.
        let ids: BTreeSet<_> = house.clients.iter().map(Client::connection_id).collect();
        for limit in 1..7 {
            let rows: Vec<ConnectionRow> = pages(&oncall, by("", false, limit), Question::Connections).await;
            assert_eq!(
                rows.iter().map(|row| row.connection).collect::<Vec<_>>(),
                Vec::from_iter(ids.clone())
            );
            let rows: Vec<ConnectionRow> =
                pages(&oncall, by("user", true, limit), Question::Connections).await;
            let told: Vec<_> =
                rows.iter().map(|row| (row.user.as_str(), row.node.as_deref().unwrap())).collect();
            // Two that are alike in what is sorted by are in the order of their ids.
            assert_eq!(told[..3], [("dave", "c"), ("carol", "c"), ("bob", "b")]);
            assert_eq!(
                BTreeSet::from_iter(told[3..].to_vec()),
                BTreeSet::from([("alice", "a"), ("alice", "b")])
            );
        }
        let listing: Listing<ConnectionRow> =
            ask(&oncall, Question::Connections(Page { offset: 3, ..by("", false, 9) })).await;
        let behind: Vec<_> = listing.rows.iter().map(|row| row.connection).collect();
        assert_eq!(behind, ids.iter().copied().skip(3).collect::<Vec<_>>());
        assert_eq!((listing.total, listing.next, listing.at_most), (5, None, false));
        let filter = Page { filter: "LIC".to_owned(), ..Page::default() };
        let listing: Listing<ConnectionRow> = ask(&oncall, Question::Connections(filter)).await;
        assert_eq!((listing.total, listing.rows.len()), (2, 2));

        // A user is one, on however many nodes it is.
        let row = |name: &str, connections| UserRow { user: user(name), connections };
        let all = [row("alice", 2), row("bob", 1), row("carol", 1), row("dave", 1)];
        for limit in 1..6 {
            for sort in ["", "user"] {
                assert_eq!(pages::<UserRow>(&oncall, by(sort, false, limit), Question::Users).await, all);
            }
            // By a number that no node knows alone.
            assert_eq!(pages::<UserRow>(&oncall, by("connections", true, limit), Question::Users).await, all);
        }
        let listing: Listing<UserRow> = ask(&oncall, Question::Users(Page::default())).await;
        assert_eq!((listing.total, listing.at_most), (4, false));
        let listing: Listing<UserRow> = ask(&oncall, Question::Users(by("", false, 1))).await;
        assert_eq!((listing.total, listing.at_most), (5, true), "nobody has compared them");

        // Groups add up, and alice counts once.
        let row = |name: &str, members, users| (group(name), members, users, false);
        let all = [row("hall", 1, 1), row("room", 3, 2), row("yard", 2, 2)];
        let told = |rows: Vec<GroupRow>| -> Vec<_> {
            rows.into_iter().map(|row| (row.group, row.members, row.users, row.users_at_most)).collect()
        };
        for limit in 1..5 {
            assert_eq!(told(pages(&oncall, by("", false, limit), Question::Groups).await), all);
            let rows = told(pages(&oncall, by("members", true, limit), Question::Groups).await);
            assert_eq!(rows, [all[1].clone(), all[2].clone(), all[0].clone()]);
        }
        let members = |page| Question::Members { group: group("room"), page };
        let rows: Vec<ConnectionRow> = pages(&oncall, by("user", false, 2), members).await;
        assert_eq!(rows.iter().map(|row| row.user.as_str()).collect::<Vec<_>>(), ["alice", "alice", "bob"]);
        let nobody = Question::Members { group: group("nowhere"), page: Page::default() };
        let refused = within(oncall.ask::<Value>(&nobody)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::NothingThere));

        // One connection, wherever it is.
        for (client, node) in house.clients.iter().zip(["a", "b", "b", "c", "c"]) {
            let question = Question::Connection { connection: client.connection_id() };
            let detail: ConnectionDetail = ask(&oncall, question).await;
            assert_eq!(
                (detail.row.connection, detail.row.node.as_deref()),
                (client.connection_id(), Some(node))
            );
        }
        let far = Page { offset: 10_001, ..Page::default() };
        let refused = within(oncall.ask::<Value>(&Question::Users(far))).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::InvalidRequest), "{refused}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_of_a_users_connections_on_every_node() {
    let nats = Nats::one();
    let house = House::new(&nats).await;
    for hub in &house.hubs {
        let oncall = connect(hub, "oncall", Role::Viewer).await;
        let question = Question::Explain { user: user("alice"), group: group("yard"), token: None };
        let why: Explanation = ask(&oncall, question).await;
        assert_eq!(why.verdict, Verdict::May, "{}", why.summary);
        let mut told: Vec<_> =
            why.connections.iter().map(|one| (one.node.as_deref().unwrap(), one.member)).collect();
        told.sort_unstable();
        assert_eq!(told, [("a", false), ("b", true)], "{why:?}");
        assert!(why.silent.is_empty() && why.connections.is_sorted_by_key(|one| one.connection));
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_ends_are_told_who_is_on_all_nodes_and_no_more_than_their_keys_may_see() {
    let nats = Nats::one();
    let house = House::new(&nats).await;
    let whole = BackEnd::new(&house.hubs[0], "whole", &["*"]).await;
    let narrow = BackEnd::new(&house.hubs[0], "narrow", &["read:user:alice", "send:user:alice"]).await;
    for hub in &house.hubs {
        let (whole, narrow) = (BackEnd::with_key(hub, &whole.key), BackEnd::with_key(hub, &narrow.key));
        let names = |answer: &Value, list: &str, name: &str| -> Vec<String> {
            answer[list]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row[name].as_str().unwrap().to_owned())
                .collect()
        };
        for limit in 1..6 {
            let (mut users, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = whole.told(&format!("/users?limit={limit}{cursor}")).await;
                users.extend(names(&page, "users", "user"));
                let Some(next) = page["next"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(users, ["alice", "bob", "carol", "dave"]);
        }
        assert_eq!(whole.told("/users/alice").await, json!({ "user": "alice", "connections": 2 }));
        assert_eq!(whole.ask("/users/nobody").await.status, 404);
        assert_eq!(whole.request("HEAD", "/users/carol", "", "").await.status, 200);
        let page = whole.told("/users/alice/connections").await;
        assert_eq!(
            BTreeSet::from_iter(names(&page, "connections", "node")),
            ["a", "b"].map(str::to_owned).into()
        );
        let page = whole.told("/connections?prefix=ca").await;
        assert_eq!(names(&page, "connections", "user"), ["carol"]);
        let page = whole.told("/groups").await;
        let room = json!({ "group": "room", "connections": 3, "users": 2 });
        assert_eq!(
            (names(&page, "groups", "group"), &page["groups"][1]),
            (vec!["hall".to_owned(), "room".to_owned(), "yard".to_owned()], &room)
        );
        assert_eq!(whole.told("/groups/room").await, room);
        let page = whole.told("/groups/room/users").await;
        assert_eq!(
            page["users"],
            json!([{ "user": "alice", "connections": 2 }, { "user": "bob", "connections": 1 }])
        );
        assert_eq!(names(&whole.told("/groups/yard/members").await, "connections", "user").len(), 2);
        let stats = whole.told("/stats").await;
        assert_eq!(names(&stats, "nodes", "name").len(), 3, "{stats}");

        // On another node or not: who may see it does, and who may not is told nothing.
        let id = |at: usize| house.clients[at].connection_id().to_string();
        for at in [0, 1] {
            let detail = narrow.told(&format!("/connections/{}", id(at))).await;
            assert_eq!((&detail["user"], &detail["memberships"]), (&json!("alice"), &json!([])));
            let sent = json!({ "to": { "connections": [id(at)] }, "event": "E", "text": "hi" });
            assert_eq!(narrow.done("/send", &sent).await, json!({ "queued": 1 }));
            assert_eq!(text(&house.clients[at]).await, "hi");
        }
        let mut refusals = Vec::new();
        for id in [id(2), id(3), "0".repeat(26)] {
            let refused = narrow.ask(&format!("/connections/{id}")).await;
            refusals.push((refused.status, refused.body.to_string()));
            let sent = json!({ "to": { "connections": [id] }, "event": "E", "text": "hi" });
            assert_eq!(narrow.post("/send", &sent).await.status, 403);
        }
        assert!(refusals.iter().all(|refusal| refusal.0 == 403 && *refusal == refusals[0]), "{refusals:?}");
        assert_eq!(names(&narrow.told("/users").await, "users", "user"), ["alice"]);
        assert_eq!(narrow.told("/connections").await["connections"].as_array().unwrap().len(), 2);
        assert_eq!(narrow.told("/groups").await["groups"], json!([]));
        assert_eq!(whole.ask("/users?cursor=%3F").await.status, 400);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_no_message_has_room_for_is_whole() {
    let nats = Nats::one();
    let (a, b) = (hub(&nats, 0, "a").await, hub(&nats, 0, "b").await);
    let (alice, bob) = (a.client("alice").await, b.client("bob").await);
    // Some 600 bytes a row, in a message of some 140,000.
    let name = |number: usize| format!("{number:04}{}", "x".repeat(200));
    for number in 0..700 {
        for (client, of) in [(&alice, 2), (&bob, 3)] {
            if number % of == 0 {
                within(client.join(name(number).as_str())).await.unwrap();
            }
        }
    }
    let expected: Vec<_> = (0..700).filter(|number| number % 2 == 0 || number % 3 == 0).collect();
    for hub in [&a, &b] {
        let oncall = connect(hub, "oncall", Role::Viewer).await;
        let listing: Listing<GroupRow> = ask(&oncall, Question::Groups(by("", false, 1_000))).await;
        let names: Vec<_> = listing.rows.iter().map(|row| row.group.as_str().to_owned()).collect();
        assert_eq!(names, expected.iter().map(|number| name(*number)).collect::<Vec<_>>());
        assert_eq!((listing.total, listing.at_most, listing.next), (expected.len() as u64, false, None));
        assert!(listing.rows.iter().zip(&expected).all(|(row, number)| {
            let nodes = if number % 6 == 0 { 2 } else { 1 };
            (row.members, row.users) == (nodes, nodes)
        }));
        // The same passed over, and by a number.
        let page = Page { offset: 400, ..by("", true, 1_000) };
        let listing: Listing<GroupRow> = ask(&oncall, Question::Groups(page)).await;
        let rest: Vec<_> = expected.iter().rev().skip(400).map(|number| name(*number)).collect();
        assert_eq!(listing.rows.iter().map(|row| row.group.as_str()).collect::<Vec<_>>(), rest);
        let listing: Listing<GroupRow> = ask(&oncall, Question::Groups(by("members", true, 200))).await;
        assert_eq!(listing.rows.iter().filter(|row| row.members == 2).count(), 117);
    }
    drop((alice, bob));
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_named_within_a_second() {
    let nats = Nats::one();
    let House { mut hubs, clients } = House::new(&nats).await;
    let shop = BackEnd::new(&hubs[0], "shop", &["read", "moderate"]).await;
    let oncall = connect(&hubs[0], "oncall", Role::Viewer).await;
    // It ends without a word: until its lease is over it is one of the nodes.
    let carol = clients[3].connection_id();
    let c = hubs.pop().unwrap();
    drop(c);
    let mut times = Vec::new();
    let begun = Instant::now();
    let listing: Listing<ConnectionRow> = ask(&oncall, Question::Connections(Page::default())).await;
    times.push(begun.elapsed());
    assert_eq!((listing.rows.len(), listing.silent), (3, vec!["c".to_owned()]));
    let begun = Instant::now();
    let listing: Listing<GroupRow> = ask(&oncall, Question::Groups(by("members", true, 9))).await;
    times.push(begun.elapsed());
    assert_eq!((listing.rows.len(), listing.silent), (2, vec!["c".to_owned()]));
    let begun = Instant::now();
    let page = shop.told("/users").await;
    times.push(begun.elapsed());
    assert_eq!((page["users"].as_array().unwrap().len(), &page["silent"]), (2, &json!(["c"])));
    let begun = Instant::now();
    let gone = shop.ask("/users/carol").await;
    times.push(begun.elapsed());
    assert_eq!((gone.status, gone.code()), (503, Code::CutOff.number().into()), "it is not known: {gone:?}");
    assert!(gone.body["detail"].as_str().unwrap().contains("c did not"), "{gone:?}");
    let gone = shop.ask(&format!("/connections/{carol}")).await;
    assert_eq!((gone.status, gone.code()), (503, Code::CutOff.number().into()), "{gone:?}");
    let explained = shop.told("/explain?user=carol&group=hall").await;
    assert_eq!(explained["silent"], json!(["c"]), "{explained}");
    // What is left for the network and the machine is this test's, and not the server's.
    assert!(times.iter().all(|time| *time < SOON + Duration::from_millis(500)), "{times:?}");
    drop(clients);
    for hub in hubs {
        hub.stop().await;
    }
}
