//! Who may what: the configuration in docs/nats.conf, users with less, credentials that are wrong, TLS, and servers of
//! which only some can be used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod harness;
mod node;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_nats::{Bus, Credentials, Expect, OpenError, PutError, Settings};
use harness::{Nats, Server, free_port, wait_for};
use nkeys::KeyPair;
use node::{Node, number};

/// A server's certificate, its key, and who signed it.
struct Tls {
    _folder: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Tls {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let leaf = fanfare_certs::server_leaf(folder.path(), &[]).unwrap();
        Self { _folder: folder, certificate: leaf.certificate, key: leaf.key, authority: leaf.ca_certificate }
    }
}

/// docs/nats.conf with files and ports of a test, for one server.
fn documented(server: &Server, tls: &Tls, user: &str, folder: &Path) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nats.conf")).unwrap();
    let (cluster, rest) = text.split_once("\ncluster {").unwrap();
    // A server that is alone has none, and takes a bucket on one server only.
    let (_, accounts) = rest.split_once("\naccounts {").unwrap();
    format!("{cluster}\naccounts {{{accounts}")
        .replace("0.0.0.0:4222", &format!("127.0.0.1:{}", server.port))
        .replace("/etc/nats/server.pem", &tls.certificate.display().to_string())
        .replace("/etc/nats/server.key", &tls.key.display().to_string())
        .replace("/var/lib/nats", &folder.display().to_string())
        .replace("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", user)
}

fn seed(nats: &Nats, name: &str, key: &KeyPair) -> PathBuf {
    let file = nats.folder().join(name);
    std::fs::write(&file, format!("{}\n", key.seed().unwrap())).unwrap();
    file
}

fn settings(nats: &Nats, tls: &Tls, credentials: Credentials) -> Settings {
    let mut settings = Settings::new(vec![format!("tls://127.0.0.1:{}", nats.servers[0].port)], "fanfare");
    settings.replicas = 1;
    settings.credentials = credentials;
    settings.authority = Some(tls.authority.clone());
    settings
}

async fn refused(settings: Settings) -> OpenError {
    Bus::open(settings, number(9)).await.map(|_| ()).unwrap_err()
}

fn with_rights(tls: &Tls, key: &KeyPair, change: impl Fn(String) -> String) -> Nats {
    let user = key.public_key();
    Nats::configured(1, |server, _| {
        change(documented(server, tls, &user, server.configuration.parent().unwrap()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_configuration_lets_a_node_do_all_that_it_does() {
    let (tls, key) = (Tls::new(), KeyPair::new_user());
    let nats = with_rights(&tls, &key, |text| text);
    let credentials = Credentials::NKey(seed(&nats, "seed", &key));
    let mut one = Node::with(settings(&nats, &tls, credentials.clone()), 1).await;
    let mut two = Node::with(settings(&nats, &tls, credentials.clone()), 2).await;
    one.bus.send(number(2), b"to one").unwrap();
    assert_eq!(two.message().await, "to one");
    two.bus.send_all(b"to all").unwrap();
    assert_eq!(one.message().await, "to all");
    let revision = one.bus.put("ban.a", Bytes::from_static(b"x"), Expect::Nothing).await.unwrap();
    assert_eq!(two.entry().await, ("ban.a".to_owned(), Some("x".to_owned()), revision));
    assert_eq!(two.bus.put("ban.a", Bytes::new(), Expect::Nothing).await, Err(PutError::Conflict));
    let deleted = two.bus.delete("ban.a", Expect::Revision(revision)).await.unwrap();
    assert!(one.bus.purges() && two.bus.purges());
    one.bus.purge("ban.a", deleted).await.unwrap();
    one.bus.put("ban.a", Bytes::new(), Expect::Nothing).await.unwrap();
    assert!(deleted > revision);
    // So many that the consumer wants to know whether they were taken ($JS.FC).
    let large = Bytes::from(vec![b'x'; 128 * 1024]);
    for count in 0..200 {
        one.bus.put(&format!("many.{count}"), large.clone(), Expect::Anything).await.unwrap();
    }
    let mut three = Node::with(settings(&nats, &tls, credentials), 3).await;
    three.caught_up().await;
    for node in [one, two, three] {
        node.bus.close().await;
    }
    // Nothing of this was refused by the server.
    let log = nats.servers[0].log();
    assert!(!log.to_lowercase().contains("violation"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_at_the_start() {
    let (tls, key) = (Tls::new(), KeyPair::new_user());
    let missing = [
        (
            "\"fanfare.all\"\n              \"fanfare.node.*\"\n              \"$KV",
            "\"$KV",
            "publish to fanfare.",
        ),
        ("\"$KV.fanfare.>\"", "", "publish to $KV.fanfare.secret"),
        ("\"$JS.API.STREAM.INFO.KV_fanfare\"", "", "publish to $JS.API.STREAM.INFO.KV_fanfare"),
        ("\"$JS.API.STREAM.CREATE.KV_fanfare\"", "", "publish to $JS.API.STREAM.CREATE.KV_fanfare"),
        ("\"$JS.API.STREAM.MSG.GET.KV_fanfare\"", "", "publish to $JS.API.STREAM.MSG.GET.KV_fanfare"),
        (
            "\"$JS.API.CONSUMER.CREATE.KV_fanfare.*\"",
            "",
            "publish to $JS.API.CONSUMER.CREATE.KV_fanfare.w-00000009",
        ),
        (
            "\"$JS.API.CONSUMER.DELETE.KV_fanfare.*\"",
            "",
            "publish to $JS.API.CONSUMER.DELETE.KV_fanfare.none",
        ),
        ("\"_INBOX.fanfare.>\"", "", "subscribe to _INBOX.fanfare.00000009."),
        (
            "\"fanfare.all\"\n              \"fanfare.node.*\"\n              \"_INBOX",
            "\"_INBOX",
            "subscribe to fanfare.",
        ),
    ];
    for (right, instead, sentence) in missing {
        let nats = with_rights(&tls, &key, |text| {
            assert!(text.contains(right), "{right}");
            text.replace(right, instead)
        });
        let file = seed(&nats, "seed", &key);
        let began = Instant::now();
        let error = refused(settings(&nats, &tls, Credentials::NKey(file.clone()))).await;
        assert!(matches!(error, OpenError::Forbidden { .. }), "{right}: {error}");
        let said = error.to_string();
        assert!(said.contains(sentence), "{said}");
        assert!(said.contains(&file.display().to_string()) && said.contains(&key.public_key()), "{said}");
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "it is said when it is known, not when patience ends"
        );
    }
}

/// As configurations had it before there was one: the node starts, and the bucket keeps its marks.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_take_old_marks_out_a_node_starts_and_takes_none_out() {
    let (tls, key) = (Tls::new(), KeyPair::new_user());
    let nats = with_rights(&tls, &key, |text| {
        let right = "\"$JS.API.STREAM.PURGE.KV_fanfare\"";
        assert!(text.contains(right));
        text.replace(right, "")
    });
    let one = Node::with(settings(&nats, &tls, Credentials::NKey(seed(&nats, "seed", &key))), 1).await;
    assert!(!one.bus.purges());
    let mark = one.bus.delete("ban.a", Expect::Nothing).await.unwrap();
    let refused = one.bus.purge("ban.a", mark).await;
    assert!(matches!(refused, Err(PutError::Forbidden { .. })), "{refused:?}");
    assert_eq!(one.bus.after(mark - 1).await.unwrap().map(|found| found.is_mark), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_wrong_are_refused_at_once_with_their_file() {
    let (tls, key) = (Tls::new(), KeyPair::new_user());
    let nats = with_rights(&tls, &key, |text| text);
    let stranger = KeyPair::new_user();
    let password = nats.folder().join("password");
    std::fs::write(&password, "hunter2").unwrap();
    let creds = nats.folder().join("creds");
    let text = format!(
        "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        stranger.seed().unwrap()
    );
    std::fs::write(&creds, text).unwrap();
    for credentials in [
        Credentials::NKey(seed(&nats, "strange", &stranger)),
        Credentials::Password { user: "fanfare".to_owned(), file: password },
        Credentials::File(creds),
        Credentials::None,
    ] {
        let error = refused(settings(&nats, &tls, credentials.clone())).await;
        assert!(matches!(error, OpenError::Refused { .. }), "{error}");
        let said = format!("{error} {error:?}");
        if let Some(file) = credentials.file() {
            assert!(said.contains(&file.display().to_string()), "{said}");
        }
        assert!(!said.contains("hunter2") && !said.contains(&stranger.seed().unwrap()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in() {
    let nats = Nats::with(1, "authorization { user: fanfare, password: hunter2 }");
    let file = nats.folder().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let mut settings = node::settings(&nats);
    settings.credentials = Credentials::Password { user: "fanfare".to_owned(), file };
    Node::with(settings, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_somebody_else_does_not_count() {
    let (tls, other, key) = (Tls::new(), Tls::new(), KeyPair::new_user());
    let nats = with_rights(&tls, &key, |text| text);
    let credentials = Credentials::NKey(seed(&nats, "seed", &key));
    let error = refused(settings(&nats, &other, credentials.clone())).await;
    assert!(matches!(error, OpenError::Certificate { .. }), "{error}");
    // A file that is no authority is refused before anything is connected.
    let mut settings = settings(&nats, &tls, credentials);
    settings.authority = Some(tls.key.clone());
    let error = refused(settings).await;
    assert!(matches!(error, OpenError::Content { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_authority_a_server_without_tls_is_no_server() {
    let (nats, tls) = (Nats::one(), Tls::new());
    let mut settings = node::settings(&nats);
    settings.authority = Some(tls.authority.clone());
    settings.patience = Duration::from_secs(1);
    let error = refused(settings).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_any_that_works_is_used() {
    let nats = Nats::one();
    let mut settings = node::settings(&nats);
    for _ in 0..4 {
        settings.servers.push(format!("nats://127.0.0.1:{}", free_port()));
    }
    settings.servers.push("nats://nothing.invalid:4222".to_owned());
    Node::with(settings.clone(), 1).await;
    // With none that works each is named.
    settings.servers.remove(0);
    settings.patience = Duration::from_millis(200);
    let error = refused(settings.clone()).await.to_string();
    for server in &settings.servers {
        assert!(error.contains(server.trim_start_matches("nats://")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_refused() {
    let nats = Nats::configured(1, |server, _| format!("listen: 127.0.0.1:{}\n", server.port));
    let mut settings = node::settings(&nats);
    settings.patience = Duration::from_millis(500);
    let error = refused(settings).await;
    assert!(matches!(error, OpenError::NoJetStream { .. }), "{error}");
    // For this account, where others have it.
    let nats = Nats::with(
        1,
        "accounts { A { users: [{user: a, password: a}] }, B { jetstream: enabled } }\nno_auth_user: a",
    );
    let mut settings = node::settings(&nats);
    settings.patience = Duration::from_millis(500);
    let error = refused(settings).await;
    assert!(matches!(error, OpenError::NoJetStream { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_replicas_than_servers_are_refused_with_the_number() {
    let nats = Nats::one();
    let mut settings = node::settings(&nats);
    settings.replicas = 3;
    let error = refused(settings).await;
    assert!(error.to_string().contains("on 3 servers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_other_settings_is_used_unless_it_loses_entries() {
    let nats = Nats::one();
    let create = |more: &str| {
        let config =
            format!(r#"{{"name":"KV_fanfare","subjects":["$KV.fanfare.>"],"storage":"file",{more}}}"#);
        let made = nats.servers[0].ask("$JS.API.STREAM.CREATE.KV_fanfare", &config).unwrap();
        assert!(made.contains("\"created\""), "{made}");
    };
    let delete =
        || wait_for("the deletion", || nats.servers[0].ask("$JS.API.STREAM.DELETE.KV_fanfare", "").ok());
    create(r#""max_msgs_per_subject":1,"max_age":60000000000"#);
    let error = refused(node::settings(&nats)).await;
    assert!(matches!(error, OpenError::Bucket { .. }) && error.to_string().contains("max_age"), "{error}");
    delete();
    // What an ordinary client makes.
    create(r#""max_msgs_per_subject":5,"discard":"new","allow_direct":true,"allow_rollup_hdrs":true"#);
    let mut one = Node::open(&nats, 1).await;
    for value in ["1", "2"] {
        one.bus.put("a", Bytes::from_static(value.as_bytes()), Expect::Anything).await.unwrap();
    }
    assert_eq!(one.entry().await.1.unwrap(), "1");
    assert_eq!(one.entry().await.1.unwrap(), "2");
}
