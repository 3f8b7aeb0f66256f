//! What a server can be told. Every setting has a default with a reason; [`Config::check`] refuses what makes no sense.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::{BudgetLimits, HubLimits, OutboxLimits, PresenceLimits, SEND_WINDOW};
use fanfare_protocol::Limits;
use fanfare_token::TokenRules;

use crate::access::{ClientCertificates, KeySetUrl, Minting, Names, Validity};
use crate::cluster_settings::ClusterSettings;
use crate::network::Network;
use crate::origins::Origins;
use crate::quic::{EndpointKeys, Identity, IdentityError, Settings};
use crate::spread::LONGEST;
use crate::webhook::{self, Webhook, WebhookError};

/// How many networks may be trusted: each connection is compared with all of them.
const MOST_NETWORKS: u128 = 1_024;

/// What a message between nodes has room for in any case: a batch of groups' names, or a frame of presence.
const BETWEEN_NODES: usize = 96 * 1024;

/// A server's settings. There will be more: start from [`Config::new`], and change what is to be different.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen (UDP). Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Development: clients name their own user, and everything is allowed. Only on a loopback address.
    pub dev: bool,
    /// Where the server keeps what is to outlive it: bans, the audit, the keys that make a restarted server the same
    /// one to its clients, and copies of key sets. Default `None`: all of it ends with the server.
    pub state_dir: Option<PathBuf>,
    /// What one connection may send; told to every client.
    pub limits: Limits,
    /// How many connections there may be.
    pub capacity: Capacity,
    /// Requests a second that one connection may make, and as many at once after a pause. One that makes more is slowed
    /// down, not refused. `None`: as many as it likes. Default 1,000: far above what a person's client does, and a
    /// single connection cannot take a core for itself.
    pub requests_per_second: Option<NonZeroU32>,
    /// Each connection's outbox.
    pub outbox: OutboxLimits,
    /// How long TLS, `Hello` and `Welcome` may take together. Default 5 s: ten round trips to the other side of the
    /// world.
    pub handshake_deadline: Duration,
    /// Handshakes that may go on at a time before clients must prove their address first. Default 64: a burst of
    /// ordinary arrivals passes without the extra round trip, a flood from forged addresses costs one packet each.
    pub retry_above: usize,
    /// Handshakes that may go on at a time before new ones are refused. Default 1,024: about half a second of one
    /// core's handshakes, so that who is let in is served within the deadline.
    pub refuse_above: usize,
    /// A connection from which nothing is heard for so long is gone. Default 30 s; clients say something every 10 s.
    pub idle_timeout: Duration,
    /// How clients prove who they are. `None`: with nothing, so that only development lets anybody in.
    pub tokens: Option<TokenRules>,
    /// What tokens are made with for back ends that ask for some (HTTP API). Default: none are made.
    pub minting: Option<Minting>,
    /// Where more keys are fetched that may have signed tokens; of use with `tokens` only.
    pub key_sets: Vec<KeySetUrl>,
    /// How native clients may prove who they are instead of with a token. `None`: not with certificates.
    pub certificates: Option<Arc<dyn ClientCertificates>>,
    /// Which pages browsers may connect from. Default: none. In development pages of this machine may, too.
    pub origins: Origins,
    /// Where to answer HTTP (TCP): health, and in development a page to try, and WebSockets without TLS. Default:
    /// nowhere.
    pub http: Option<SocketAddr>,
    /// Where clients connect that UDP does not reach (TCP, with TLS): WebSockets, and SignalR's clients. Default:
    /// nowhere.
    pub web: Option<SocketAddr>,
    /// Proxies in front of both (TCP), which say whose a connection is: in a PROXY header of version 2, or in the
    /// headers `Forwarded` and `X-Forwarded-For` of its requests. Nobody else is believed. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// The path at which SignalR's clients connect there, and in development where HTTP is answered. Default
    /// `/signalr`.
    pub signalr_path: String,
    /// How long before access ends a client is told. Default 60 s: time for a sign-in service that is slow or restarts.
    pub expiry_notice: Duration,
    /// How long a user who has left a group is still told as present there: who comes back within it was never away, so
    /// that a page that is loaded anew is no flicker. Default 2 s.
    pub presence_grace: Duration,
    /// How long the flushing of outboxes may take when the server stops. Default 5 s.
    pub drain_deadline: Duration,
    /// After how long the clients of a server that stops come back at the earliest, each after a time of its own
    /// between this and half as much again. Default 1 s: a restart takes as long.
    pub come_back_after: Duration,
    /// Which names of users and groups are taken.
    pub names: Names,
    /// How much may wait for all connections together, and for each user's and each address's.
    pub budget: BudgetLimits,
    /// How long a client may take nothing while something waits for it; zero for any time. Default 30 s.
    pub reader_deadline: Duration,
    /// Back ends that are asked about connections and methods, and told what happens. Default: none.
    pub webhooks: Vec<Webhook>,
    /// The cluster that the server is a node of. Default: none, one server is a whole hub.
    // In a box, because a configuration is handed on by value, and most have none.
    pub cluster: Option<Box<ClusterSettings>>,
    /// Tells how many bytes the process has in use, where its allocator counts them. Default: nothing does.
    pub live_bytes: Option<fn() -> u64>,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// In all. Default 100,000: about 6 GB at the measured cost of one.
    pub connections: usize,
    /// For each user. Default 1,000: a person has a few devices, a back end's service account has many processes.
    pub per_user: usize,
    /// From each address (an IPv6 /64 counts as one). Default 10,000: a company or a mobile network behind one NAT.
    pub per_address: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { connections: 100_000, per_user: 1_000, per_address: 10_000 }
    }
}

impl Config {
    /// The defaults: not for development, on 127.0.0.1:4433, with nothing that outlives the server.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4433)),
            dev: false,
            state_dir: None,
            limits: Limits::default(),
            capacity: Capacity::default(),
            requests_per_second: NonZeroU32::new(1_000),
            outbox: OutboxLimits::default(),
            handshake_deadline: Duration::from_secs(5),
            retry_above: 64,
            refuse_above: 1_024,
            idle_timeout: Duration::from_secs(30),
            tokens: None,
            minting: None,
            key_sets: Vec::new(),
            certificates: None,
            origins: Origins::default(),
            http: None,
            web: None,
            trusted_proxies: Vec::new(),
            signalr_path: "/signalr".to_owned(),
            expiry_notice: Duration::from_secs(60),
            presence_grace: PresenceLimits::default().grace,
            drain_deadline: Duration::from_secs(5),
            come_back_after: Duration::from_secs(1),
            names: Names::default(),
            budget: BudgetLimits::default(),
            reader_deadline: Duration::from_secs(30),
            webhooks: Vec::new(),
            cluster: None,
            live_bytes: None,
        }
    }

    /// Refuses settings that make no sense, or that are not safe.
    ///
    /// # Errors
    /// Names the first setting that is wrong, and says what it may be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.dev && !self.listen.ip().is_loopback() {
            return Err(ConfigError::DevBeyondLoopback(self.listen));
        }
        if let Some(http) = self.http.filter(|http| self.dev && !http.ip().is_loopback()) {
            return Err(ConfigError::DevHttpBeyondLoopback(http));
        }
        if let Some(web) = self.web.filter(|web| self.dev && !web.ip().is_loopback()) {
            return Err(ConfigError::DevWebBeyondLoopback(web));
        }
        if !self.trusted_proxies.is_empty() && self.web.is_none() && self.http.is_none() {
            return Err(ConfigError::ProxiesOfNothing);
        }
        webhook::check(&self.webhooks, self.dev, self.handshake_deadline)?;
        if !is_free_path(&self.signalr_path) {
            return Err(ConfigError::SignalRPath(self.signalr_path.clone()));
        }
        let wrong = |setting, found: u128, lowest: u128, highest: u128| {
            if (lowest..=highest).contains(&found) {
                return Ok(());
            }
            Err(ConfigError::OutOfRange { setting, found, lowest, highest })
        };
        wrong("trusted_proxies (networks)", self.trusted_proxies.len() as u128, 0, MOST_NETWORKS)?;
        let most = u128::from(u32::MAX);
        let frame = u128::from(self.limits.frame_bytes) + 64;
        wrong("payload_bytes", self.limits.payload_bytes.into(), 1, Limits::PAYLOAD_CEILING.into())?;
        wrong("groups_per_connection", self.limits.groups.into(), 1, most)?;
        // A target's position is 16 bits wide in an outbox.
        wrong("targets_per_send", self.limits.targets.into(), 1, 4_096)?;
        wrong("connections", self.capacity.connections as u128, 1, most)?;
        wrong("connections_per_user", self.capacity.per_user as u128, 1, most)?;
        wrong("connections_per_address", self.capacity.per_address as u128, 1, most)?;
        wrong("outbox_frames", self.outbox.frames as u128, 8, 1 << 20)?;
        // The largest message must fit, or it could reach nobody.
        wrong("outbox_bytes", self.outbox.bytes as u128, frame, 1 << 30)?;
        // Each of them must have room for one connection's part, or everybody would be closed.
        let least = (self.outbox.bytes + SEND_WINDOW + 64 * 1024) as u128;
        wrong("outbox_bytes_in_all", self.budget.all as u128, least, 1 << 50)?;
        wrong("outbox_bytes_per_user", self.budget.per_user as u128, least, 1 << 50)?;
        wrong("outbox_bytes_per_address", self.budget.per_address as u128, least, 1 << 50)?;
        wrong("reader_deadline (milliseconds)", self.reader_deadline.as_millis(), 0, 86_400_000)?;
        wrong("handshake_deadline (milliseconds)", self.handshake_deadline.as_millis(), 100, 60_000)?;
        wrong("idle_timeout (milliseconds)", self.idle_timeout.as_millis(), 1_000, 3_600_000)?;
        wrong("expiry_notice (milliseconds)", self.expiry_notice.as_millis(), 0, 86_400_000)?;
        wrong("presence_grace (milliseconds)", self.presence_grace.as_millis(), 0, 60_000)?;
        wrong("drain_deadline (milliseconds)", self.drain_deadline.as_millis(), 0, 3_600_000)?;
        wrong("come_back_after (milliseconds)", self.come_back_after.as_millis(), 0, LONGEST.as_millis())?;
        if let Some(cluster) = &self.cluster {
            let shortest = ClusterSettings::SHORTEST_LEASE.as_millis();
            wrong("cluster.lease (milliseconds)", cluster.lease.as_millis(), shortest, 3_600_000)?;
            wrong("cluster.remembers (milliseconds)", cluster.remembers.as_millis(), 1_000, 31_536_000_000)?;
            // What a heartbeat has room for, and a line of `top`.
            let name = cluster.name.as_ref().map_or(1, String::len);
            wrong("cluster.name (bytes)", name as u128, 1, 64)?;
        }
        wrong("refuse_above", self.refuse_above as u128, 1, most)
    }
}

impl Config {
    /// Refuses an address for operators that is not safe.
    ///
    /// # Errors
    /// Development is for loopback only, for operators, too.
    pub fn check_admin(&self, listen: SocketAddr) -> Result<(), ConfigError> {
        let beyond = self.dev && !listen.ip().is_loopback();
        if beyond { Err(ConfigError::DevAdminBeyondLoopback(listen)) } else { Ok(()) }
    }
}

impl Config {
    /// The longest message between nodes, in bytes: a frame, or a run of them, and who it is from.
    pub(crate) fn between_nodes(&self) -> usize {
        let (_, run) = self.run();
        ((self.limits.frame_bytes as usize).max(run) * 2 + 4_096).max(BETWEEN_NODES)
    }

    /// What this server goes by as a node.
    pub(crate) fn node_settings(&self, cluster: &ClusterSettings) -> fanfare_cluster::Settings {
        let notifies = self.webhooks.iter().any(Webhook::tells_of_groups);
        fanfare_cluster::Settings { notifies, grace: self.presence_grace, ..cluster.times() }
    }

    /// What QUIC is told for clients.
    pub(crate) fn settings(
        &self,
        identity: Identity,
        keys: &EndpointKeys,
    ) -> Result<Settings, IdentityError> {
        let verifier = self.certificates.as_ref().map(|certificates| certificates.verifier()).transpose()?;
        Settings::for_clients(identity, verifier, self.limits.frame_bytes, self.idle_timeout, keys)
    }

    /// The bounds that the hub keeps.
    pub(crate) fn hub_limits(&self) -> HubLimits {
        HubLimits {
            per_user: self.capacity.per_user,
            groups: self.limits.groups as usize,
            outbox: self.outbox,
            budget: self.budget,
            presence: PresenceLimits {
                grace: self.presence_grace,
                // Small beside an outbox, of which presence takes a half at most.
                part_bytes: PresenceLimits::default().part_bytes.min(self.outbox.bytes / 16),
            },
        }
    }

    /// How long what clients prove their names with can be valid.
    pub(crate) fn validity(&self) -> Validity {
        let (leeway, longest) = match &self.tokens {
            Some(rules) => (rules.leeway, rules.longest),
            None => (TokenRules::LEEWAY, TokenRules::LONGEST),
        };
        // A certificate may last for years, and only who issues them knows for how many.
        let longest = self.certificates.is_none().then_some(longest.into());
        Validity { leeway: leeway.into(), longest }
    }

    /// How many sends of one connection may be carried out together, and how many bytes of payload: no more than a
    /// sixteenth of a second's, so that who is held back is held back evenly.
    pub(crate) fn run(&self) -> (usize, usize) {
        let (frames, bytes) = self.outbox.run();
        let rate = self.requests_per_second.map_or(usize::MAX, |rate| rate.get() as usize / 16);
        (frames.min(rate), bytes)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether SignalR's clients can have this path: it is one, in characters that stand for themselves, and nothing else
/// is there.
fn is_free_path(path: &str) -> bool {
    let taken = ["/fanfare", "/healthz", "/readyz", "/api"];
    let is_below =
        |other: &str| path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !part.is_empty() && part.bytes().all(is_plain)
        })
    }) && !taken.into_iter().any(is_below)
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Development is not for networks.
    #[error("development mode lets anyone be any user, so it listens on loopback only, not on {0}")]
    DevBeyondLoopback(SocketAddr),
    /// Nor is its page to try.
    #[error("development mode listens on loopback only, for HTTP too, not on {0}")]
    DevHttpBeyondLoopback(SocketAddr),
    /// Nor are its WebSockets.
    #[error("development mode listens on loopback only, for WebSockets too, not on {0}")]
    DevWebBeyondLoopback(SocketAddr),
    /// Nor is its endpoint for operators.
    #[error("development mode listens on loopback only, for operators too, not on {0}")]
    DevAdminBeyondLoopback(SocketAddr),
    /// They are in front of what listens over TCP, and nothing does.
    #[error("trusted_proxies are proxies in front of TCP, and the server listens over UDP alone")]
    ProxiesOfNothing,
    /// Nobody could connect there, or something else is there.
    #[error(
        "{0:?} cannot be the path of SignalR's clients: it must be as in \"/signalr\" or \"/hubs/chat\", of letters, \
         digits, - and _, and not below /fanfare, /healthz, /readyz or /api"
    )]
    SignalRPath(String),
    /// A webhook that makes no sense.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// A number is too small or too large.
    #[error("{setting} is {found}; it must be from {lowest} to {highest}")]
    OutOfRange {
        /// Which one.
        setting: &'static str,
        /// What it is.
        found: u128,
        /// The smallest that it may be.
        lowest: u128,
        /// The largest that it may be.
        highest: u128,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(Config::new().check(), Ok(()));
    }

    #[test]
    fn dev_refuses_every_address_beyond_loopback() {
        for (address, fine) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
            ("[::ffff:192.0.2.1]:1", false),
        ] {
            let config = Config { dev: true, listen: address.parse().unwrap(), ..Config::new() };
            assert_eq!(config.check().is_ok(), fine, "{address}");
            assert_eq!(config.check_admin(address.parse().unwrap()).is_ok(), fine, "{address}");
            for config in [
                Config { dev: true, http: Some(address.parse().unwrap()), ..Config::new() },
                Config { dev: true, web: Some(address.parse().unwrap()), ..Config::new() },
            ] {
                assert_eq!(config.check().is_ok(), fine, "{address}");
            }
            let config = Config { dev: false, ..config };
            assert_eq!(config.check(), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_path_of_signalr_is_one_that_nothing_else_has() {
        for (path, fine) in [
            ("/signalr", true),
            ("/hubs/chat-1", true),
            ("/fanfares", true),
            ("", false),
            ("/", false),
            ("signalr", false),
            ("/signalr/", false),
            ("/a//b", false),
            ("/{id}", false),
            ("/page.js", false),
            ("/caf\u{e9}", false),
            ("/fanfare", false),
            ("/fanfare/certificate-hash", false),
            ("/healthz", false),
            ("/api/v1", false),
        ] {
            let config = Config { signalr_path: path.to_owned(), ..Config::new() };
            assert_eq!(config.check().is_ok(), fine, "{path}");
        }
    }

    #[test]
    fn proxies_are_in_front_of_something_and_not_without_number() {
        let at = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
        for (web, http, right) in
            [(None, None, Err(ConfigError::ProxiesOfNothing)), (at, None, Ok(())), (None, at, Ok(()))]
        {
            let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
            assert_eq!(Config { web, http, trusted_proxies, ..Config::new() }.check(), right);
        }
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(); 1_025];
        let error = Config { web: at, trusted_proxies, ..Config::new() }.check().unwrap_err().to_string();
        assert_eq!(error, "trusted_proxies (networks) is 1025; it must be from 0 to 1024");
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let mut config = Config::new();
        config.outbox.bytes = 1_000;
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "outbox_bytes is 1000; it must be from 67648 to 1073741824");
        let mut config = Config::new();
        config.limits.payload_bytes = 2 << 20;
        assert!(config.check().unwrap_err().to_string().starts_with("payload_bytes is 2097152;"));
    }
}
