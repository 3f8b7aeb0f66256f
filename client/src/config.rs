//! How to connect: where to, as whom, trusting whom, and what to do about an outage.
//!
//! In: the application's settings. Out: a [`ClientConfig`], checked when it is used.
//! Invariant: the setters take anything; a value that makes no sense is an error of `connect`, never a panic.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_protocol::{Credential, Token};
use rustls::RootCertStore;

use crate::address::ServerAddress;
use crate::credential::{ProviderError, Source};
use crate::error::ConnectError;
use crate::way::Way;

/// The settings of a [`Client`](crate::Client).
///
/// ```
/// use fanfare_client::{ClientConfig, Credential, Roots, UserName};
///
/// # fn main() -> Result<(), fanfare_client::NameError> {
/// let config = ClientConfig::new("localhost:4433", Credential::DevUser(UserName::new("alice")?))
///     .roots(Roots::Pem("dev-ca.pem".into()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// One at least.
    pub(crate) servers: Vec<String>,
    pub(crate) source: Source,
    pub(crate) roots: Roots,
    /// A certificate and its key, in PEM files.
    pub(crate) proof: Option<(PathBuf, PathBuf)>,
    pub(crate) event_queue: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) websocket: WebSocket,
    pub(crate) websocket_after: Duration,
}

/// Where the WebSocket is that helps where UDP does not get through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WebSocket {
    /// At the server's host and port, over TCP with TLS.
    #[default]
    SamePort,
    /// At this URL: `wss://host:port/fanfare`, or `ws://` without TLS, which is for development.
    At(String),
    /// Nowhere: over UDP or not at all.
    Off,
}

impl WebSocket {
    /// Where that is for a server.
    pub(crate) fn way(&self, server: &ServerAddress) -> Result<Option<Way>, ConnectError> {
        let url = match self {
            Self::Off => return Ok(None),
            Self::SamePort => {
                let path = fanfare_protocol::WEBSOCKET_PATH.to_owned();
                return Ok(Some(Way { address: server.clone(), secure: true, path }));
            }
            Self::At(url) => url,
        };
        let wrong =
            |problem: &str| ConnectError::Address { address: url.clone(), problem: problem.to_owned() };
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (secure, default) = match scheme {
            "wss" => (true, 443),
            "ws" => (false, 80),
            _ => return Err(wrong("it is no WebSocket's; write it as wss://host:4433/fanfare")),
        };
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let address = if has_port { address.to_owned() } else { format!("{address}:{default}") };
        let address = address.parse().map_err(wrong)?;
        let path = if path.is_empty() { fanfare_protocol::WEBSOCKET_PATH } else { path };
        Ok(Some(Way { address, secure, path: path.to_owned() }))
    }
}

/// The certificate authorities that the server's certificate must come from.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// The system's. The variables `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them.
    #[default]
    System,
    /// Those in a PEM file, and no others.
    Pem(PathBuf),
    /// Those in a store that the application filled, and no others.
    Store(RootCertStore),
}

/// When and how often to reconnect.
///
/// The delay before the n-th attempt is drawn evenly from 0 to min(`max_delay`, `first_delay` * 2^n), n counted from 0.
/// With several addresses it is the delay before the n-th round of all of them: within a round, and before the others
/// are tried after a loss, there is none.
#[derive(Debug, Clone)]
pub struct Reconnect {
    pub(crate) first_delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) stable_after: Duration,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) max_elapsed: Option<Duration>,
}

/// The most addresses. A hub has at most 65 nodes, and each may have several.
const MAX_SERVERS: usize = 256;

/// The largest event queue: its slots are allocated when the client connects.
const MAX_EVENT_QUEUE: usize = 1 << 20;

/// The longest timeout: whoever wants more wants none, and there is none.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl ClientConfig {
    /// Settings for a server, given as `host:port`, where the host is a name or an IP address (`[::1]:4433`).
    #[must_use]
    pub fn new(server: impl Into<String>, credential: Credential) -> Self {
        Self {
            servers: vec![server.into()],
            source: Source::Fixed(credential),
            roots: Roots::default(),
            proof: None,
            event_queue: 1024,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            reconnect: Some(Reconnect::default()),
            websocket: WebSocket::default(),
            websocket_after: Duration::from_secs(1),
        }
    }

    /// The same, with a token that the application provides: `provide` is called before every connection, and again
    /// when the server says that access is about to end. The client then refreshes by itself, and reconnects when a
    /// token ended before it could.
    ///
    /// `provide` may take as long as the connect timeout, or the request timeout when it is called for a refresh.
    #[must_use]
    pub fn with_tokens<F, R>(server: impl Into<String>, provide: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Token, ProviderError>> + Send + 'static,
    {
        let config = Self::new(server, Credential::Token(Token::new("")));
        Self { source: Source::provider(provide), ..config }
    }

    /// For a client whose certificate says who it is; both are PEM files, and read once.
    #[must_use]
    pub fn with_certificate(
        server: impl Into<String>,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let proof = Some((certificate.into(), key.into()));
        Self { proof, ..Self::new(server, Credential::Certificate) }
    }

    /// Further addresses, each as the one that [`new`](Self::new) takes: of servers that are one hub with that one, or
    /// further ways to it. The client connects to one of all of them, by chance, and goes on at another where that one
    /// cannot be used, or is lost ([several servers](crate#several-servers)). Up to 256 in all; one that is given twice
    /// counts once. Each server's certificate must be valid for its own host, and come from the same [`Roots`].
    #[must_use]
    pub fn also_at<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.servers.extend(servers.into_iter().map(Into::into));
        self
    }

    /// Whom to trust. Default: the system's authorities.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// How many events wait for [`Client::next`](crate::Client::next), 1 to 1,048,576. Default 1,024.
    ///
    /// When it is full the client stops reading, answers included, until there is room. That is on purpose: it lets the
    /// server see a slow consumer, whose messages it then bounds, and nothing is lost on this side.
    #[must_use]
    pub fn event_queue(mut self, events: usize) -> Self {
        self.event_queue = events;
        self
    }

    /// How long one attempt to connect may take, from the name's lookup to the server's `Welcome`. At most
    /// a day; default 10 s. With several addresses each may take an equal part of it, and 2 s at least, so that one
    /// that swallows packets does not cost all of it; the last that is left may take all of it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a request waits for its answer. At most a day; default 10 s. Where 1,024 requests have no answer the
    /// next waits until one has, and that counts.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// What to do when the connection is lost. `None`: nothing, the client is closed then. Default:
    /// [`Reconnect::default`].
    #[must_use]
    pub fn reconnect(mut self, reconnect: impl Into<Option<Reconnect>>) -> Self {
        self.reconnect = reconnect.into();
        self
    }

    /// Where the WebSocket is that helps where UDP does not get through. Default: at the server's host and port. Once
    /// it has helped it goes alone for five minutes, and then QUIC is tried again. One that is given as a URL is for
    /// every address, if there are several.
    #[must_use]
    pub fn websocket(mut self, websocket: WebSocket) -> Self {
        self.websocket = websocket;
        self
    }

    /// After how long without an answer over QUIC the WebSocket is tried, too. Default 1 s.
    #[must_use]
    pub fn websocket_after(mut self, after: Duration) -> Self {
        self.websocket_after = after;
        self
    }

    /// Where the servers are, each once, in the order in which they were given.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddress>, ConnectError> {
        let mut addresses = Vec::new();
        for text in &self.servers {
            let address = text.parse().map_err(|problem: &str| ConnectError::Address {
                address: text.clone(),
                problem: problem.to_owned(),
            })?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// Checks what only needs to be looked at.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let timeout = |value: Duration| !value.is_zero() && value <= MAX_TIMEOUT;
        let rules = [
            (self.servers.len() <= MAX_SERVERS, "also_at", "there may be 256 addresses in all"),
            ((1..=MAX_EVENT_QUEUE).contains(&self.event_queue), "event_queue", "it must be 1 to 1,048,576"),
            (timeout(self.connect_timeout), "connect_timeout", "it must be longer than 0 and at most a day"),
            (timeout(self.request_timeout), "request_timeout", "it must be longer than 0 and at most a day"),
        ];
        let reconnect_rules = self.reconnect.iter().flat_map(|reconnect| {
            [
                (!reconnect.first_delay.is_zero(), "first_delay", "it must be longer than 0"),
                (
                    reconnect.max_delay >= reconnect.first_delay,
                    "max_delay",
                    "it must not be below first_delay",
                ),
                (reconnect.max_attempts != Some(0), "max_attempts", "0 is reconnect(None)"),
            ]
        });
        match rules.into_iter().chain(reconnect_rules).find(|(kept, ..)| !kept) {
            Some((_, setting, problem)) => Err(ConnectError::Setting { setting, problem }),
            None => Ok(()),
        }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            max_attempts: None,
            max_elapsed: None,
        }
    }
}

impl Reconnect {
    /// The longest delay before the first attempt. Default 250 ms.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The longest delay before any attempt. Default 30 s.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// How long a connection must have lasted for the delays to start over when it is lost. Default 10 s.
    #[must_use]
    pub fn stable_after(mut self, duration: Duration) -> Self {
        self.stable_after = duration;
        self
    }

    /// Gives up after so many attempts in one outage, each at one address. Default: no limit.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Gives up when the next attempt would begin later than this after the loss. Default: no limit.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = Some(elapsed);
        self
    }

    /// Whether another attempt is within the limits.
    pub(crate) fn allows(&self, attempts_made: u32, starts_at: Duration) -> bool {
        self.max_attempts.is_none_or(|most| attempts_made < most)
            && self.max_elapsed.is_none_or(|longest| starts_at <= longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::UserName;

    fn config() -> ClientConfig {
        ClientConfig::new("localhost:4433", Credential::DevUser(UserName::new("alice").unwrap()))
    }

    #[test]
    fn defaults_are_valid_and_bad_values_are_named() {
        assert!(config().check().is_ok());
        assert!(config().reconnect(None).check().is_ok());
        let reconnect = Reconnect::default;
        for (bad, name) in [
            (config().also_at(vec!["localhost:4433"; 256]), "also_at"),
            (config().event_queue(0), "event_queue"),
            (config().event_queue(usize::MAX), "event_queue"),
            (config().connect_timeout(Duration::ZERO), "connect_timeout"),
            (config().request_timeout(Duration::ZERO), "request_timeout"),
            (config().request_timeout(Duration::MAX), "request_timeout"),
            (config().reconnect(reconnect().first_delay(Duration::ZERO)), "first_delay"),
            (config().reconnect(reconnect().max_delay(Duration::from_millis(1))), "max_delay"),
            (config().reconnect(reconnect().max_attempts(0)), "max_attempts"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(
                matches!(error, ConnectError::Setting { setting, .. } if setting == name),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn addresses_are_taken_once_and_each_is_checked() {
        let of = |config: ClientConfig| {
            let addresses = config.addresses().map_err(|error| error.to_string())?;
            Ok::<_, String>(addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let several = config().also_at(["b:1", "[::1]:2"]).also_at(vec!["localhost:4433".to_owned()]);
        assert_eq!(of(several).unwrap(), ["localhost:4433", "b:1", "[::1]:2"]);
        let wrong = of(config().also_at(["b"])).unwrap_err();
        assert_eq!(wrong, "\"b\" is not a server's address: it lacks a port; write it as host:4433");
    }

    #[test]
    fn the_websocket_is_where_it_is_said_to_be() {
        let server: ServerAddress = "example.org:4433".parse().unwrap();
        let way = |websocket: WebSocket| websocket.way(&server).map(|way| way.map(|way| way.to_string()));
        let at = |url: &str| way(WebSocket::At(url.to_owned())).map(Option::unwrap);
        assert_eq!(way(WebSocket::SamePort).unwrap().unwrap(), "wss://example.org:4433/fanfare");
        assert_eq!(way(WebSocket::Off).unwrap(), None);
        assert_eq!(at("wss://example.org").unwrap(), "wss://example.org:443/fanfare");
        assert_eq!(at("ws://[::1]:4480/other").unwrap(), "ws://[::1]:4480/other");
        assert_eq!(at("wss://[::1]/fanfare").unwrap(), "wss://[::1]:443/fanfare");
        for wrong in ["https://example.org", "example.org:443", "wss://", "wss://example.org:0/fanfare", ""] {
            assert!(matches!(at(wrong), Err(ConnectError::Address { .. })), "{wrong}");
        }
    }

    #[test]
    fn limits_count_attempts_and_time() {
        let plan = Reconnect::default().max_attempts(2).max_elapsed(Duration::from_secs(5));
        assert!(plan.allows(1, Duration::from_secs(5)));
        assert!(!plan.allows(2, Duration::ZERO));
        assert!(!plan.allows(0, Duration::from_secs(6)));
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let config = ClientConfig::new("localhost:4433", Credential::Token(Token::new("secret")));
        assert!(!format!("{config:?}").contains("secret"));
    }
}
