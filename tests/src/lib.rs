//! The end-to-end harness: a real server on a real socket, real clients, and a bare peer for what a real client would
//! not do.
//!
//! In: a test's wishes. Out: a [`Hub`] and its clients. Invariant: everything waits for a condition with a deadline
//! ([`within`], [`eventually`]), nothing for a length of time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on must say where"
)]

pub mod back_end;
pub mod haproxy;
pub mod issuer;
mod localhost;
pub mod lossy;
pub mod peer;
pub mod receiver;
pub mod signalr;
pub mod silent;
pub mod socket;
pub mod tokens;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_client::{Client, ClientConfig, Event, Outgoing, Roots};
use fanfare_protocol::admin::{Action, Receipt, Role};
use fanfare_protocol::{Credential, GroupName, Message, Token, UserName};
use fanfare_server::{Builder, Config, Identity, Methods, ModerationError, Operator, Server};
use rustls::RootCertStore;

/// How long anything may take that does not test a time. Far above what it takes, so that a busy machine passes.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub mod operators;

/// A running server with what its clients need.
pub struct Hub {
    /// The server itself.
    pub server: Server,
    /// Trusts the server's authority.
    pub roots: Arc<RootCertStore>,
    state: PathBuf,
    /// Its home, where that ends with it.
    home: Option<tempfile::TempDir>,
}

impl Hub {
    /// Starts a development server on a free port of loopback.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_state(tempfile::tempdir().unwrap(), change).await
    }

    /// A development server with an application.
    pub async fn running<S: Clone + Send + Sync + 'static>(methods: Methods<S>) -> Self {
        Self::assembled(tempfile::tempdir().unwrap(), |_| {}, methods).await
    }

    /// The same in a state directory that is there before it, and after it.
    pub async fn at(state: &Path, change: impl FnOnce(&mut Config)) -> Self {
        Self::assemble(state, change, |start| start).await
    }

    async fn in_state(home: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let hub = Self::at(home.path(), change).await;
        Self { home: Some(home), ..hub }
    }

    /// The same in a given state directory, and with other settings.
    pub async fn assembled<S: Clone + Send + Sync + 'static>(
        home: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
        methods: Methods<S>,
    ) -> Self {
        let hub = Self::assemble(home.path(), change, |builder| builder.methods(methods)).await;
        Self { home: Some(home), ..hub }
    }

    async fn assemble(
        state: &Path,
        change: impl FnOnce(&mut Config),
        complete: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let leaf = fanfare_certs::server_leaf(state, &[]).unwrap();
        let roots = Arc::new(fanfare_certs::load_roots(&leaf.ca_certificate).unwrap());
        let mut config = Config::new();
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.dev = true;
        config.state_dir = Some(state.to_owned());
        config.requests_per_second = None;
        // How fast the machine is, is tested nowhere but where a test sets this itself.
        config.handshake_deadline = DEADLINE;
        change(&mut config);
        let identity = Identity { chain: leaf.identity.chain, key: leaf.identity.key };
        let builder = Server::builder()
            .configure(|default| *default = config)
            .identity(identity)
            .operators(operators::administration(state));
        let server = complete(builder).start().await.unwrap();
        Self { server, roots, state: state.to_owned(), home: None }
    }

    /// Stops the server, and starts another in its place: the same port, the same state directory.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same, with other settings.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { server, state, home, .. } = self;
        let address = server.address();
        let drained = within(server.drain()).await;
        assert!(drained.in_time, "{drained:?}");
        let hub = Self::at(&state, |config| {
            config.listen = address;
            change(config);
        })
        .await;
        Self { home, ..hub }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The configuration of a client of this hub.
    #[must_use]
    pub fn client_config(&self, name: &str) -> ClientConfig {
        ClientConfig::new(self.address().to_string(), Credential::DevUser(user(name)))
            .roots(Roots::Store((*self.roots).clone()))
    }

    /// The configuration of a client of this hub that shows a token.
    #[must_use]
    pub fn token_config(&self, token: impl AsRef<str>) -> ClientConfig {
        ClientConfig::new(self.address().to_string(), Credential::Token(Token::new(token.as_ref())))
            .roots(Roots::Store((*self.roots).clone()))
    }

    /// Has an operator do something.
    ///
    /// # Errors
    /// What the act is refused with.
    pub async fn act(&self, request: Action) -> Result<Receipt, ModerationError> {
        let acts = Arc::clone(self.server.moderation());
        let operator = Operator { name: "oncall".to_owned(), role: Role::Operator };
        within(tokio::task::spawn_blocking(move || acts.act(&operator, &request))).await.unwrap()
    }

    /// Where it takes WebSockets.
    #[must_use]
    pub fn websocket(&self) -> String {
        self.server.websocket_url().expect("the server takes WebSockets")
    }

    /// Where clients of SignalR connect.
    #[must_use]
    pub fn signalr(&self) -> String {
        self.server.signalr_url().expect("the server takes clients of SignalR")
    }

    /// Connects a client.
    pub async fn client(&self, name: &str) -> Client {
        within(Client::connect(self.client_config(name))).await.unwrap()
    }

    /// Stops the server, and checks that it could say goodbye to everybody.
    pub async fn stop(self) {
        let drained = within(self.server.drain()).await;
        assert!(drained.in_time, "{drained:?}");
        drop(self.home);
    }

    /// Waits until nobody is connected, and checks that nothing is left of them (promise 3).
    pub async fn is_empty(&self) {
        eventually("the registry is empty", || {
            self.server.population() == fanfare_server::Population::default()
        })
        .await;
    }
}

/// Waits for `future`, at most [`DEADLINE`].
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("not done within the deadline")
}

/// Waits until `condition` holds, at most [`DEADLINE`]. `what` is said when it never does.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let waiting = async {
        while !condition() {
            looks.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "never came true: {what}");
}

/// The next event.
pub async fn next(client: &Client) -> Event {
    within(client.next()).await.expect("the client is closed")
}

/// The next message; joins on the way are passed over, anything else is a failure.
pub async fn message(client: &Client) -> Message {
    loop {
        match next(client).await {
            Event::Message(message) => return message,
            Event::Joined { .. } => {}
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// The payload of the next message, as text.
pub async fn text(client: &Client) -> String {
    String::from_utf8(message(client).await.payload.to_vec()).unwrap()
}

/// Sends it by datagrams until `hear` has heard it, because one may get lost.
pub async fn said_until_heard(
    from: &Client,
    outgoing: impl Fn() -> Outgoing,
    hear: impl Future<Output = ()>,
) {
    let saying = async {
        let mut often = tokio::time::interval(Duration::from_millis(10));
        loop {
            often.tick().await;
            from.send_unreliable(outgoing()).unwrap();
        }
    };
    tokio::select! {
        () = within(hear) => {}
        () = saying => {}
    }
}

/// Proves that nothing else has arrived: sends a marker to the connection itself, and expects it to be what comes next.
/// Frames to one connection arrive in order, so whatever was queued before the marker would come before it.
pub async fn nothing_else(client: &Client) {
    within(client.send_to_connection(client.connection_id(), "marker", "")).await.unwrap();
    let marker = message(client).await;
    assert_eq!(marker.event.as_str(), "marker", "something else had arrived: {marker:?}");
}

/// A user's name.
#[must_use]
pub fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

/// A group's name.
#[must_use]
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}
