//! The way to a connection, and every way in which it can fail.

use std::fmt::Debug;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_client::{Client, ClientConfig, Code, ConnectError, Credential, Disconnect, Roots};
use fanfare_protocol::{ALPN, Features, Limits, PROTOCOL_VERSION, ServerFrame, Welcome, codec};
use parking_lot::Mutex;
use rcgen::CertificateParams;

use crate::server::{DEADLINE, Identity, Server, application_code, id, user, welcome, within};

async fn refused(config: ClientConfig) -> ConnectError {
    within("the refusal", Client::connect(config)).await.expect_err("a refusal")
}

#[tokio::test]
async fn a_welcome_tells_who_where_and_how_much() {
    let server = Server::start();
    let (client, peer) = server.client().await;
    assert_eq!(client.connection_id(), id(1));
    assert_eq!(client.user(), user("alice"));
    assert_eq!(client.limits(), Limits::default());
    assert_eq!(client.server(), "scripted");
    let data = peer.connection.handshake_data().unwrap();
    let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().unwrap();
    assert_eq!(data.protocol.as_deref(), Some(ALPN));
}

#[tokio::test]
async fn a_name_is_tried_in_both_ip_families() {
    // `localhost` may resolve to ::1 first, where nobody listens.
    let server = Server::start();
    let config =
        ClientConfig::new(format!("localhost:{}", server.address.port()), Credential::DevUser(user("alice")))
            .roots(server.identity.roots())
            .connect_timeout(DEADLINE);
    let (client, _peer) = server.client_with(config).await;
    assert_eq!(client.connection_id(), id(1));
}

#[tokio::test]
async fn ipv6_works_where_the_machine_has_it() {
    let identity = Identity::new();
    let Ok(endpoint) = quinn::Endpoint::server(identity.quic(ALPN), "[::1]:0".parse().unwrap()) else {
        return;
    };
    let server = Server::on(identity, endpoint);
    assert!(server.address.to_string().starts_with("[::1]:"));
    let (client, _peer) = server.client().await;
    assert_eq!(client.connection_id(), id(1));
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_its_words() {
    let server = Server::start();
    for (code, retry) in [(Code::TokensNotConfigured, false), (Code::UserFull, true)] {
        let (error, _peer) = tokio::join!(refused(server.config()), async {
            let peer = server.hello().await;
            peer.close(code, "the details");
            peer
        });
        assert_eq!(error.code(), Some(code));
        assert_eq!(error.may_retry(), retry);
        let text = error.to_string();
        assert!(text.contains(&server.address.to_string()), "{text}");
        assert!(text.ends_with(&format!("{code}: the details")), "{text}");
    }
}

#[tokio::test]
async fn an_unknown_code_is_kept_as_a_number() {
    let server = Server::start();
    let (error, _peer) = tokio::join!(refused(server.config()), async {
        let peer = server.hello().await;
        peer.close_with(64_999, "");
        peer
    });
    assert!(matches!(error, ConnectError::Refused { code: 64_999, .. }), "{error}");
    assert_eq!(error.code(), None);
    assert!(!error.may_retry());
}

#[tokio::test]
async fn every_known_close_code_is_mapped() {
    let server = Server::start();
    for code in Code::ALL {
        let (error, _peer) = tokio::join!(refused(server.config()), async {
            let peer = server.hello().await;
            peer.close(*code, "");
            peer
        });
        // A library drops a half-made connection with 0, and no server means anything by it.
        assert_eq!(error.code(), Some(*code).filter(|code| *code != Code::Normal));
        assert_eq!(error.may_retry(), code.may_reconnect() || *code == Code::Normal, "{code:?}");
    }
}

/// Keeps what is logged about a welcome.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        self.0.lock().push_str(&format!("{field}={value:?} "));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target() == "fanfare_client::handshake" {
            event.record(&mut self.clone());
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn what_a_server_calls_things_moves_no_cursor_in_the_log() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let server = Server::start();
    let red = "\u{1b}[31m";
    let told = Welcome { user: user(&format!("alice{red}")), server: red.to_owned(), ..welcome(1) };
    let (client, _peer) = tokio::join!(within("connect", Client::connect(server.config())), async {
        let mut peer = server.hello().await;
        peer.say(&ServerFrame::Welcome(told)).await;
        peer
    });
    assert_eq!(client.unwrap().user().as_str(), format!("alice{red}"));
    let logged = log.0.lock().clone();
    assert!(logged.contains("user=\"alice") && logged.contains("server="), "{logged:?}");
    assert!(!logged.contains('\u{1b}'), "{logged:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    // The socket is bound, so that nobody else answers, and nobody reads from it.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let config = ClientConfig::new(&address, Credential::DevUser(user("alice")))
        .roots(Identity::new().roots())
        .connect_timeout(Duration::from_millis(300));
    let error = refused(config).await;
    let expected = format!("no Fanfare server answered at {address} within 0.3 s over UDP");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.may_retry());
}

#[tokio::test]
async fn a_server_that_does_not_welcome_is_told_apart_from_one_that_is_not_there() {
    let server = Server::start();
    let config = server.config().connect_timeout(Duration::from_secs(5));
    let (error, _peer) = tokio::join!(refused(config), server.hello());
    assert!(matches!(error, ConnectError::NoWelcome { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_more_says_so() {
    let server = Server::start();
    let (error, ()) = tokio::join!(refused(server.config()), async {
        within("a connection", server.endpoint.accept()).await.unwrap().refuse();
    });
    assert!(matches!(error, ConnectError::TurnedAway { .. }), "{error}");
    assert!(error.may_retry());
}

#[tokio::test]
async fn an_unknown_authority_is_told_with_what_is_trusted() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("other-ca.pem");
    std::fs::write(&file, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem())
        .unwrap();
    let config = server.config().roots(Roots::Pem(file.clone()));
    let (error, _) = tokio::join!(refused(config), async {
        within("a connection", server.endpoint.accept()).await.unwrap().await.unwrap_err()
    });
    assert!(matches!(error, ConnectError::UnknownIssuer { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("trusted: the certificate in {}", file.display())), "{text}");
    assert!(text.contains("SSL_CERT_FILE"), "{text}");
    assert!(!error.may_retry());
}

#[tokio::test]
async fn an_authority_that_was_made_anew_is_told_as_unknown() {
    let server = Server::with(Identity::from_authority(), ALPN);
    let (client, _peer) = server.client().await;
    drop(client);
    // The same name, another key: what is left over from the day before.
    let config = server.config().roots(Identity::from_authority().roots());
    let (error, _) = tokio::join!(refused(config), async {
        within("a connection", server.endpoint.accept()).await.unwrap().await.unwrap_err()
    });
    assert!(matches!(error, ConnectError::UnknownIssuer { .. }), "{error}");
}

/// The variable that tells this program, started again, where to connect.
const CHILD: &str = "FANFARE_TEST_CONNECT_TO";

#[tokio::test]
async fn ssl_cert_file_replaces_the_system_roots() {
    // The environment of a process cannot be changed safely while it runs threads, so the client is another process:
    // this test, once more.
    if let Ok(address) = std::env::var(CHILD) {
        let config = ClientConfig::new(address, Credential::DevUser(user("alice"))).connect_timeout(DEADLINE);
        within("connect", Client::connect(config)).await.unwrap();
        return;
    }
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, server.identity.pem()).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "connect::ssl_cert_file_replaces_the_system_roots"]);
    child.env(CHILD, server.address.to_string()).env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
    let connecting = tokio::task::spawn_blocking(move || child.output());
    let _peer = server.welcome(1).await;
    let output = within("the child", connecting).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn a_certificate_for_another_name_or_time_is_told_apart() {
    let other_name = CertificateParams::new(["example.org".to_owned()]).unwrap();
    let server = Server::with(Identity::with(&other_name), ALPN);
    let (error, _) = tokio::join!(refused(server.config()), async {
        within("a connection", server.endpoint.accept()).await.unwrap().await.unwrap_err()
    });
    assert!(matches!(error, ConnectError::WrongName { .. }), "{error}");
    assert!(error.to_string().contains("example.org"), "{error}");

    let mut expired = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let server = Server::with(Identity::with(&expired), ALPN);
    let (error, _) = tokio::join!(refused(server.config()), async {
        within("a connection", server.endpoint.accept()).await.unwrap().await.unwrap_err()
    });
    assert!(matches!(error, ConnectError::Expired { .. }), "{error}");
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn another_protocol_is_told() {
    let server = Server::with(Identity::new(), b"h3");
    let (error, _) = tokio::join!(refused(server.config()), async {
        within("a connection", server.endpoint.accept()).await.unwrap().await.unwrap_err()
    });
    assert!(matches!(error, ConnectError::NotFanfare { .. }), "{error}");
}

#[tokio::test]
async fn a_first_frame_that_is_not_welcome_ends_it_with_a_code() {
    let server = Server::start();
    let of = |protocol, features| Welcome { protocol, features: Features::from_bits(features), ..welcome(1) };
    let other_version = codec::encode_server(&ServerFrame::Welcome(of(PROTOCOL_VERSION + 1, 0)));
    let with_a_feature = codec::encode_server(&ServerFrame::Welcome(of(PROTOCOL_VERSION + 1, 1 << 63)));
    for (frame, code) in [
        (codec::encode_server(&ServerFrame::Lagged { dropped: 1 }), Code::MalformedFrame),
        (other_version.clone(), Code::UnsupportedProtocol),
        // The version is judged first, whatever stands behind it.
        (with_a_feature, Code::UnsupportedProtocol),
        (codec::with_extensions(&other_version, &[(249, b"")]), Code::UnsupportedProtocol),
        (Bytes::from_static(&[2, 0, 0, 0, 0, 2]), Code::UnsupportedProtocol),
        (Bytes::from_static(&[2, 0, 0, 0, 0, 1]), Code::MalformedFrame),
    ] {
        let (error, closed) = tokio::join!(refused(server.config()), async {
            let mut peer = server.hello().await;
            peer.say_bytes(frame).await;
            within("the close", peer.connection.closed()).await
        });
        assert!(matches!(error, ConnectError::Lost { reason: Disconnect::Protocol { .. }, .. }), "{error}");
        assert!(!error.may_retry());
        assert_eq!(application_code(&closed), Some(code));
    }
}

#[tokio::test]
async fn a_goodbye_instead_of_a_welcome_is_a_refusal() {
    let server = Server::start();
    let (error, _peer) = tokio::join!(refused(server.config()), async {
        let mut peer = server.hello().await;
        let goodbye = ServerFrame::Goodbye {
            code: Code::ServerFull.number(),
            reason: "10 of 10".to_owned(),
            retry_after_ms: 1,
        };
        peer.say(&goodbye).await;
        peer
    });
    assert_eq!(error.code(), Some(Code::ServerFull));
}

#[tokio::test]
async fn settings_and_addresses_are_checked_before_anything_is_sent() {
    let config = |server: &str| ClientConfig::new(server, Credential::DevUser(user("alice")));
    let error = refused(config("localhost").roots(Identity::new().roots())).await;
    assert_eq!(
        error.to_string(),
        "\"localhost\" is not a server's address: it lacks a port; write it as host:4433"
    );
    let error = refused(config("localhost:4433").event_queue(0)).await;
    assert!(matches!(error, ConnectError::Setting { setting: "event_queue", .. }), "{error}");
    let error = refused(config("0.0.0.0:4433").roots(Identity::new().roots())).await;
    assert!(matches!(error, ConnectError::Address { .. }), "{error}");
    let error = refused(config("localhost:4433").roots(Roots::Pem("/nonexistent.pem".into()))).await;
    assert!(error.to_string().contains("/nonexistent.pem"), "{error}");
    // RFC 6761 section 6.4: this name never resolves.
    let error = refused(config("server.invalid:4433").roots(Identity::new().roots())).await;
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
    assert!(error.to_string().contains("server.invalid:4433"), "{error}");
}
