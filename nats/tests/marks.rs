//! Old marks of what was ended: what a purge takes out, what it leaves, and what a watch tells meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod harness;
mod node;

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_nats::{Expect, Found, PutError};
use harness::Nats;
use node::{Node, settings};

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// All that is in the bucket, one by one.
async fn all(node: &Node) -> Vec<Found> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = node.bus.after(at).await.unwrap() {
        at = next.revision;
        // What nodes know each other by.
        if next.key != "secret" {
            found.push(next);
        }
    }
    found
}

async fn keys(node: &Node) -> Vec<String> {
    all(node).await.into_iter().map(|found| found.key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_a_mark_out_and_nothing_that_was_put_later() {
    let nats = Nats::one();
    let mut one = Node::open(&nats, 1).await;
    let mut two = Node::open(&nats, 2).await;
    assert!(one.bus.purges() && one.bus.is_whole().await.unwrap());
    let before = one.bus.put("ban.a", value("1"), Expect::Nothing).await.unwrap();
    let mark = one.bus.delete("ban.a", Expect::Revision(before)).await.unwrap();
    // Keys that begin alike, and one that stands.
    for key in ["ban.ab", "ban.a.b", "ban"] {
        one.bus.put(key, value("x"), Expect::Nothing).await.unwrap();
    }
    let found = all(&one).await;
    assert_eq!((found[0].key.as_str(), found[0].revision, found[0].is_mark), ("ban.a", mark, true));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(found.iter().all(|found| found.put_at.is_some_and(|at| now.abs_diff(at) < 60)), "{found:?}");
    assert!(found[1..].iter().all(|found| !found.is_mark));
    one.bus.purge("ban.a", mark).await.unwrap();
    assert_eq!(keys(&two).await, ["ban.ab", "ban.a.b", "ban"]);
    // Once more, by another node, and of what is not there at all.
    two.bus.purge("ban.a", mark).await.unwrap();
    two.bus.purge("ban.never", mark).await.unwrap();
    assert_eq!(keys(&two).await.len(), 3);

    // Over what was purged something is put as if it had never been there.
    let again = one.bus.put("ban.a", value("2"), Expect::Revision(0)).await.unwrap();
    let mark = one.bus.delete("ban.a", Expect::Revision(again)).await.unwrap();
    // A newer one stays, whether it is a mark or not, also where the purge comes late.
    let newer = one.bus.put("ban.a", value("3"), Expect::Nothing).await.unwrap();
    two.bus.purge("ban.a", mark).await.unwrap();
    assert_eq!(all(&one).await.last().map(|found| (found.revision, found.is_mark)), Some((newer, false)));
    let newest = one.bus.delete("ban.a", Expect::Revision(newer)).await.unwrap();
    two.bus.purge("ban.a", newer).await.unwrap();
    assert_eq!(all(&one).await.last().map(|found| (found.revision, found.is_mark)), Some((newest, true)));
    // With a revision that no entry has nothing goes.
    one.bus.purge("ban.ab", 0).await.unwrap();
    assert_eq!(keys(&one).await, ["ban.ab", "ban.a.b", "ban", "ban.a"]);
    for filter in [">", "*", "ban.*", "ban.>", "", "ban."] {
        assert!(matches!(one.bus.purge(filter, newest).await, Err(PutError::Key { .. })), "{filter}");
    }

    // Both are told what is put after that, and by the revisions that it has.
    one.bus.purge("ban.a", newest).await.unwrap();
    let last = one.bus.put("ban.z", value("z"), Expect::Nothing).await.unwrap();
    assert!(last > newest);
    for node in [&mut one, &mut two] {
        loop {
            let (key, told, revision) = node.entry().await;
            if key == "ban.z" {
                assert_eq!((told.as_deref(), revision), (Some("z"), last));
                break;
            }
        }
    }
}

/// One takes marks out while another puts, and a third takes its time to listen: with less than that, a server's
/// consumers pass over what they have not delivered (nats-server#3838).
#[tokio::test(flavor = "multi_thread")]
async fn promise_19_a_watch_that_is_behind_misses_nothing_for_a_purge() {
    for nats in [Nats::one(), Nats::three()] {
        let one = Node::open(&nats, 1).await;
        let mut settings = settings(&nats);
        // Nothing more is taken from NATS while it does not listen.
        settings.events = 1;
        let mut slow = Node::with(settings, 2).await;
        slow.caught_up().await;
        let mut marks = Vec::new();
        for number in 0..50 {
            let key = format!("key.{number}");
            let put = one.bus.put(&key, value("x"), Expect::Nothing).await.unwrap();
            marks.push((key.clone(), one.bus.delete(&key, Expect::Revision(put)).await.unwrap()));
        }
        let text = Bytes::from(vec![b'x'; 16 * 1024]);
        let mut put = Vec::new();
        for (number, (key, mark)) in marks.iter().enumerate() {
            for part in 0..20 {
                let key = format!("ban.{number}.{part}");
                put.push((one.bus.put(&key, text.clone(), Expect::Nothing).await.unwrap(), key));
            }
            one.bus.purge(key, *mark).await.unwrap();
        }
        // What it is told of them, and no more: marks may have gone before.
        for (revision, key) in put {
            loop {
                let told = slow.entry().await;
                assert!(told.2 <= revision, "{key} was passed over: {} is told", told.0);
                if told.2 == revision {
                    assert_eq!(told.0, key);
                    break;
                }
                assert!(told.0.starts_with("key."));
            }
        }
        let left = keys(&one).await;
        assert!(left.len() == 1_000 && left.iter().all(|key| key.starts_with("ban.")));
        drop((one, slow));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_server_is_away_the_bucket_is_not_whole() {
    let mut nats = Nats::three();
    let one = Node::open(&nats, 1).await;
    is_whole(&one, true).await;
    // One that does not lead, and that the node is not connected to: what it asks is answered all the time.
    let leader = nats.leader("KV_fanfare");
    let own = |number: usize| one.server.ends_with(&format!(":{}", nats.servers[number].port));
    let other = (0..3).find(|number| *number != leader && !own(*number)).unwrap();
    nats.kill(other);
    is_whole(&one, false).await;
    nats.start(other);
    is_whole(&one, true).await;
}

async fn is_whole(node: &Node, expected: bool) {
    let begun = Instant::now();
    while node.bus.is_whole().await != Ok(expected) {
        assert!(begun.elapsed() < harness::PATIENCE, "waited too long for is_whole to be {expected}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_lets_nothing_go_is_used_and_keeps_its_marks() {
    let nats = Nats::one();
    let config =
        r#"{"name":"KV_fanfare","subjects":["$KV.fanfare.>"],"storage":"file","max_msgs_per_subject":1,
        "discard":"new","deny_purge":true}"#
            .replace('\n', " ");
    let made = nats.servers[0].ask("$JS.API.STREAM.CREATE.KV_fanfare", &config).unwrap();
    assert!(made.contains("\"created\""), "{made}");
    let one = Node::open(&nats, 1).await;
    assert!(!one.bus.purges());
    let mark = one.bus.delete("ban.a", Expect::Nothing).await.unwrap();
    assert!(matches!(one.bus.purge("ban.a", mark).await, Err(PutError::Unavailable { .. })));
    assert_eq!(keys(&one).await, ["ban.a"]);
}
