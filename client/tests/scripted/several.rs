//! Several servers: which of them is tried, after what, and what no other is asked.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfare_client::{
    Client, ClientConfig, CloseReason, Code, ConnectError, Credential, Event, Reconnect, Roots, Token,
};
use fanfare_protocol::{ALPN, ClientFrame, ServerFrame};
use quinn::Endpoint;
use rustls::RootCertStore;

use crate::server::{DEADLINE, Identity, Peer, Server, group, next, user, welcome, within};

/// The codes that are about a server (docs/protocol/reconnecting.md), which a test of `verdict.rs` compares.
const OF_SERVER: [Code; 8] = [
    Code::ShuttingDown,
    Code::HandshakeTimeout,
    Code::StreamReset,
    Code::ServerFull,
    Code::AddressFull,
    Code::UserFull,
    Code::Internal,
    Code::CutOff,
];

/// Two servers, and who trusts both.
struct Two {
    servers: [Server; 2],
}

impl Two {
    fn start() -> Self {
        Self { servers: [Server::start(), Server::start()] }
    }

    /// Settings of a client of both, the first given first. That one's own settings are taken.
    fn config(&self) -> ClientConfig {
        let [first, second] = &self.servers;
        first.config().also_at([second.address.to_string()]).roots(self.roots())
    }

    fn roots(&self) -> Roots {
        let mut both = RootCertStore::empty();
        for server in &self.servers {
            let Roots::Store(own) = server.identity.roots() else { panic!("a store was expected") };
            both.roots.extend(own.roots);
        }
        Roots::Store(both)
    }

    /// Takes a connection at whichever it comes to.
    async fn hello(&self) -> (usize, Peer) {
        let [first, second] = &self.servers;
        tokio::select! {
            peer = first.hello() => (0, peer),
            peer = second.hello() => (1, peer),
        }
    }

    /// The same, and welcomes it.
    async fn welcome(&self, number: u8) -> (usize, Peer) {
        let (at, mut peer) = self.hello().await;
        peer.say(&ServerFrame::Welcome(welcome(number))).await;
        (at, peer)
    }

    /// A client, and where it is.
    async fn client(&self, config: ClientConfig) -> (Client, usize, Peer) {
        let (client, (at, peer)) = tokio::join!(within("connect", Client::connect(config)), self.welcome(1));
        let client = client.unwrap();
        assert_eq!(client.address(), self.address(at));
        (client, at, peer)
    }

    fn address(&self, at: usize) -> String {
        self.servers[at].address.to_string()
    }

    /// Checks that nobody has tried to connect since the last who was taken.
    async fn nobody_asks(&self) {
        for server in &self.servers {
            // Whoever is there is there already.
            let asking = tokio::time::timeout(Duration::ZERO, server.endpoint.accept()).await;
            assert!(asking.is_err(), "another server was asked");
        }
    }
}

/// Takes the event of a loss: the pause before the first attempt.
async fn disconnected(client: &Client) -> Option<Duration> {
    match next(client).await {
        Event::Disconnected { retry_in, .. } => retry_in,
        other => panic!("a disconnect was expected, not {other:?}"),
    }
}

/// Takes the event of a return: the groups that were rejoined.
async fn reconnected(client: &Client) -> Vec<String> {
    match next(client).await {
        Event::Reconnected { rejoined, .. } => rejoined.iter().map(ToString::to_string).collect(),
        other => panic!("a reconnect was expected, not {other:?}"),
    }
}

/// Ends a connection as a server that stops, or that sends a client away.
async fn send_away(peer: &mut Peer, code: Code, retry_after_ms: u32) {
    peer.say(&ServerFrame::Goodbye { code: code.number(), reason: String::new(), retry_after_ms }).await;
    peer.send.finish().unwrap();
    within("the words to arrive", peer.send.stopped()).await.unwrap();
    peer.close(code, "");
}

#[tokio::test]
async fn the_first_connection_is_to_each_of_them_sooner_or_later() {
    let two = Two::start();
    let mut seen = BTreeSet::new();
    // Two clients of three are enough, and 64 go to the same one once in 2^63 times.
    for _ in 0..64 {
        let (client, at, _peer) = two.client(two.config()).await;
        seen.insert(at);
        drop(client);
        if seen.len() == 2 {
            return;
        }
    }
    panic!("always to {seen:?}");
}

#[tokio::test]
async fn a_refusal_about_the_server_leads_to_the_other_and_one_about_the_client_to_none() {
    let two = Two::start();
    for code in Code::ALL.iter().copied().filter(|code| *code != Code::Normal) {
        let connecting = tokio::spawn(Client::connect(two.config()));
        let (first, refusing) = two.hello().await;
        refusing.close(code, "not here");
        if OF_SERVER.contains(&code) {
            let (second, _peer) = two.welcome(1).await;
            assert_ne!(first, second, "{code:?}");
            let client = within("the client", connecting).await.unwrap().unwrap();
            assert_eq!(client.address(), two.address(second));
        } else {
            let error = within("the refusal", connecting).await.unwrap().unwrap_err();
            assert_eq!(error.code(), Some(code));
            assert!(error.to_string().contains(&two.address(first)), "{error}");
            two.nobody_asks().await;
        }
    }
}

#[tokio::test]
async fn where_each_was_tried_in_vain_each_is_told_and_was_tried_once() {
    let two = Two::start();
    let connecting = tokio::spawn(Client::connect(two.config()));
    let (first, refusing) = two.hello().await;
    refusing.close(Code::CutOff, "");
    let (second, refusing) = two.hello().await;
    refusing.close(Code::CutOff, "");
    assert_ne!(first, second);
    let error = within("the end", connecting).await.unwrap().unwrap_err();
    assert!(matches!(&error, ConnectError::AllFailed { failures } if failures.len() == 2), "{error}");
    assert_eq!((error.code(), error.may_retry()), (Some(Code::CutOff), true));
    let text = error.to_string();
    assert!(text.contains(&two.address(0)) && text.contains(&two.address(1)), "{text}");
    two.nobody_asks().await;
}

#[tokio::test]
async fn servers_that_swallow_packets_do_not_keep_a_client_from_one_that_is_there() {
    let server = Server::start();
    let silent: Vec<_> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let silent = silent.iter().map(|socket| socket.local_addr().unwrap().to_string());
    let silent: Vec<_> = silent.collect();
    // Time enough for one that is there, also on a busy machine.
    let config = server.config().also_at(silent.clone()).connect_timeout(Duration::from_secs(2));
    for _ in 0..3 {
        let (client, _peer) = server.client_with(config.clone()).await;
        assert_eq!(client.address(), server.address.to_string());
    }
    // What is said of the client is the answer, although another could not be reached before.
    for _ in 0..3 {
        let (refused, _peer) = tokio::join!(within("the refusal", Client::connect(config.clone())), async {
            let peer = server.hello().await;
            peer.close(Code::UserBanned, "");
            peer
        });
        let error = refused.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    }
    let none = ClientConfig::new(silent[0].clone(), Credential::DevUser(user("alice")))
        .also_at([silent[1].clone()])
        .roots(server.identity.roots())
        .connect_timeout(Duration::from_millis(300));
    let error = within("the end", Client::connect(none)).await.unwrap_err().to_string();
    for address in silent {
        let words = format!("no Fanfare server answered at {address} within 0.3 s");
        assert!(error.contains(&words), "{words} is not in {error}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_passed_over_and_gets_nothing() {
    let two = Two::start();
    let [trusted, stranger] = &two.servers;
    let config = two.config().roots(trusted.identity.roots());
    // At the stranger's the handshake fails, whenever it is tried.
    let refusing = async {
        loop {
            let incoming = stranger.endpoint.accept().await.unwrap();
            assert!(incoming.await.is_err(), "the client trusted a stranger");
        }
    };
    let going_on = async {
        for _ in 0..4 {
            let (client, mut peer) = trusted.client_with(config.clone()).await;
            for _ in 0..3 {
                peer.close(Code::Internal, "");
                disconnected(&client).await;
                peer = trusted.welcome(2).await;
                reconnected(&client).await;
            }
            assert_eq!(client.address(), trusted.address.to_string());
        }
    };
    tokio::select! {
        () = refusing => {}
        () = going_on => {}
    }
    // Where there is nobody else it is the end, as with one address.
    let strangers = two.config().roots(Identity::new().roots());
    let refuse = async |server: &Server| drop(server.endpoint.accept().await.unwrap().await);
    // In whichever order they are tried.
    let connecting = within("the end", Client::connect(strangers));
    let (ended, (), ()) = tokio::join!(connecting, refuse(trusted), refuse(stranger));
    assert!(!ended.unwrap_err().may_retry());
}

#[tokio::test]
async fn after_a_loss_it_goes_on_at_the_other_at_once_with_its_groups() {
    let two = Two::start();
    // The client's own pause would be far too long.
    let pauses = Reconnect::default().first_delay(DEADLINE * 60).max_delay(DEADLINE * 60);
    let config = two.config().reconnect(pauses.stable_after(Duration::ZERO));
    let (client, mut at, mut peer) = two.client(config).await;
    for name in ["a", "b"] {
        let (joined, _) = tokio::join!(client.join(name), peer.let_in());
        joined.unwrap();
        assert!(matches!(next(&client).await, Event::Joined { .. }));
    }
    for loss in 0..4 {
        peer.close(Code::Internal, "");
        assert_eq!(disconnected(&client).await, Some(Duration::ZERO), "loss {loss}");
        let (other, mut other_peer) = two.welcome(2).await;
        assert_eq!(other, 1 - at);
        assert_eq!([other_peer.let_in().await, other_peer.let_in().await], [group("a"), group("b")]);
        assert_eq!(reconnected(&client).await, ["a", "b"]);
        assert_eq!(client.address(), two.address(other));
        (at, peer) = (other, other_peer);
    }
}

#[tokio::test]
async fn a_server_that_stops_is_left_alone_for_its_time_and_the_other_is_not() {
    let two = Two::start();
    let (client, stopping, mut peer) = two.client(two.config()).await;
    send_away(&mut peer, Code::ShuttingDown, 600_000).await;
    assert!(matches!(next(&client).await, Event::Goodbye { .. }));
    // At a random moment, not after ten minutes.
    let pause = disconnected(&client).await.unwrap();
    assert!(pause <= Duration::from_secs(5), "{pause:?}");
    for number in 2..6 {
        let (at, peer) = two.welcome(number).await;
        assert_ne!(at, stopping, "it had said when it is back");
        reconnected(&client).await;
        peer.close(Code::Internal, "");
        disconnected(&client).await;
    }
}

#[tokio::test]
async fn what_is_said_to_the_client_in_person_holds_at_every_server() {
    let two = Two::start();
    for code in [Code::ClosedForNow, Code::ConnectRefusedForNow, Code::ClosedByOperator] {
        let (client, _, mut peer) = two.client(two.config()).await;
        send_away(&mut peer, code, 600_000).await;
        assert!(matches!(next(&client).await, Event::Goodbye { .. }));
        let pause = disconnected(&client).await.unwrap();
        assert!(pause >= Duration::from_secs(600), "{code:?}: {pause:?}");
        two.nobody_asks().await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_client_while_it_reconnects_is_the_end() {
    let two = Two::start();
    let (client, _, peer) = two.client(two.config()).await;
    peer.close(Code::Internal, "");
    disconnected(&client).await;
    let (_, peer) = two.hello().await;
    peer.close(Code::UserBanned, "enough");
    match next(&client).await {
        Event::Closed { reason: CloseReason::Refused(error), .. } => {
            assert_eq!(error.code(), Some(Code::UserBanned));
        }
        other => panic!("the end was expected, not {other:?}"),
    }
    two.nobody_asks().await;
}

#[tokio::test]
async fn each_address_counts_as_an_attempt_and_all_down_is_waited_for() {
    let two = Two::start();
    let reconnect = Reconnect::default().first_delay(Duration::from_millis(1)).max_attempts(5);
    let (client, _, peer) = two.client(two.config().reconnect(reconnect)).await;
    peer.close(Code::Internal, "");
    disconnected(&client).await;
    for _ in 0..5 {
        two.hello().await.1.close(Code::CutOff, "still not");
    }
    match next(&client).await {
        Event::Closed { reason: CloseReason::GaveUp { attempts: 5, last, .. }, .. } => {
            assert_eq!(last.code(), Some(Code::CutOff));
        }
        other => panic!("the end was expected, not {other:?}"),
    }
    two.nobody_asks().await;
}

#[tokio::test]
async fn where_all_are_down_whichever_comes_back_is_found() {
    let server = Server::start();
    let (quic, address) = (server.identity.quic(ALPN), server.address);
    // Nobody will ever be there.
    let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = server.config().also_at([dead.to_string()]).connect_timeout(Duration::from_secs(2));
    let (client, mut peer) = server.client_with(config).await;
    let (joined, _) = tokio::join!(client.join("a"), peer.let_in());
    joined.unwrap();
    assert!(matches!(next(&client).await, Event::Joined { .. }));
    peer.close(Code::ShuttingDown, "");
    drop(peer);
    let Server { identity, endpoint, .. } = server;
    within("the last packets", endpoint.wait_idle()).await;
    drop(endpoint);
    disconnected(&client).await;
    let bind = async {
        loop {
            match Endpoint::server(quic.clone(), address) {
                Ok(endpoint) => return endpoint,
                // The one before it is still on its way out.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let server = Server::on(identity, within("the address to be free", bind).await);
    let mut peer = server.hello_of_who_stays().await;
    peer.say(&ServerFrame::Welcome(welcome(2))).await;
    assert_eq!(peer.let_in().await, group("a"));
    assert_eq!(reconnected(&client).await, ["a"]);
    assert_eq!(client.address(), address.to_string());
}

#[tokio::test]
async fn a_token_provider_that_fails_is_not_asked_again_for_each_server() {
    let two = Two::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let provide = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err("the sign-in service is down".into()) }
    };
    let config = two.servers[0].config_with(provide).also_at([two.address(1)]);
    let error = within("the end", Client::connect(config)).await.unwrap_err();
    assert!(matches!(error, ConnectError::TokenProvider { .. }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    two.nobody_asks().await;
}

#[tokio::test]
async fn the_newest_token_goes_along_to_the_other_server() {
    let two = Two::start();
    let first = Credential::Token(Token::new("first"));
    let config = two.servers[0].config_of(first).also_at([two.address(1)]).roots(two.roots());
    let (client, at, mut peer) = two.client(config).await;
    let (refreshed, ()) = tokio::join!(client.refresh(Token::new("second")), async {
        match peer.frame().await {
            ClientFrame::Refresh { request, .. } => peer.ack(request, 0).await,
            other => panic!("a refresh was expected, not {other:?}"),
        }
    });
    refreshed.unwrap();
    peer.close(Code::Internal, "");
    let (_peer, credential) = two.servers[1 - at].introduced().await;
    match credential {
        Credential::Token(token) => assert_eq!(token.expose(), "second"),
        other => panic!("a token was expected, not {other:?}"),
    }
}
