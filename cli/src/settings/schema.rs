//! Every setting, in one place: a flag, a variable and a line of the file by the same name.
//!
//! In: what was typed, or a file's text. Out: what was said of each setting, and nothing of the others. Invariant: a
//! value that is no value of its setting is refused where it is read, with the same words for all three.

// They are clap's help as well, where angle brackets would be read as a placeholder.
#![allow(rustdoc::bare_urls)]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::value::{
    ListenSetting, NamesSetting, NetworkSetting, OverflowSetting, Span, WithoutClusterSetting, address,
    address_in_file, origin, origins_in_file,
};
use crate::failure::Failure;

/// Every setting: a flag, a variable and a line of the file by the same name. `None` is "not said here".
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Listen on this address (UDP); port 0 takes any free one [default: 127.0.0.1:4433]
    #[arg(long, value_name = "ADDR", env = "FANFARE_LISTEN", value_parser = address)]
    #[serde(default, deserialize_with = "address_in_file")]
    pub(super) listen: Option<SocketAddr>,
    /// Let operators connect at this address (UDP), or `off` [default: 127.0.0.1:4434]
    #[arg(long, value_name = "ADDR", env = "FANFARE_ADMIN_LISTEN")]
    pub(super) admin_listen: Option<ListenSetting>,
    /// Answer HTTP at this address (TCP): /healthz and /readyz, and with --dev a page to try; or `off` [default: off,
    /// with --dev 127.0.0.1:4480]
    #[arg(long, value_name = "ADDR", env = "FANFARE_HTTP_LISTEN")]
    pub(super) http_listen: Option<ListenSetting>,
    /// Let clients connect that UDP does not reach, over WebSocket at this address (TCP, with TLS), and clients of
    /// SignalR; or `off` [default: off; with --dev they may, without TLS, where HTTP is answered]
    #[arg(long, value_name = "ADDR", env = "FANFARE_WEB_LISTEN")]
    pub(super) web_listen: Option<ListenSetting>,
    /// A certificate for --web-listen, as PEM; reloaded on SIGHUP [default: that of --cert]
    #[arg(long, value_name = "FILE", env = "FANFARE_WEB_CERT")]
    pub(super) web_cert: Option<PathBuf>,
    /// The private key of --web-cert, as PEM
    #[arg(long, value_name = "FILE", env = "FANFARE_WEB_KEY")]
    pub(super) web_key: Option<PathBuf>,
    /// Believe the proxies of this network, or of this address, whose a connection over TCP is: by a PROXY header of
    /// version 2, or by Forwarded or X-Forwarded-For; may be given more than once [default: nobody]
    #[arg(long, value_name = "CIDR", env = "FANFARE_TRUSTED_PROXY", value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) trusted_proxy: Vec<NetworkSetting>,
    /// Let clients of SignalR connect there at this path [default: /signalr]
    #[arg(long, value_name = "PATH", env = "FANFARE_SIGNALR_PATH")]
    pub(super) signalr_path: Option<String>,
    /// Let browsers connect from pages of this origin, as in https://app.example; may be given more than once; with
    /// --dev pages of this machine may, too
    #[arg(long, value_name = "ORIGIN", env = "FANFARE_ALLOW_ORIGIN", value_delimiter = ',', value_parser = origin)]
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "origins_in_file")]
    pub(super) allow_origin: Vec<String>,
    /// Development: clients name their own user, certificates are made as needed; on loopback only
    #[arg(long, env = "FANFARE_DEV", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    pub(super) dev: Option<bool>,
    /// Keep what must outlive the server here [default: .fanfare]
    #[arg(long, value_name = "DIR", env = "FANFARE_STATE_DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// The server's certificate and those between it and its authority, as PEM; reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_CERT")]
    pub(super) cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", env = "FANFARE_KEY")]
    pub(super) key: Option<PathBuf>,
    /// A further name or address for the certificates that the server makes itself: in development the one for
    /// clients, and always the one for operators; may be given more than once
    #[arg(long, value_name = "NAME", env = "FANFARE_NAME", value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) name: Vec<String>,

    /// What tokens are checked with: a public key in PEM, a JWK or a JWK Set; reloaded on SIGHUP; may be given more
    /// than once
    #[arg(
        long,
        value_name = "FILE",
        env = "FANFARE_TOKEN_KEY",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_key: Vec<PathBuf>,
    /// A secret that tokens are checked with (HS256): the file byte for byte, but for one line end; reloaded on SIGHUP;
    /// may be given more than once
    #[arg(
        long,
        value_name = "FILE",
        env = "FANFARE_TOKEN_SECRET",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_secret: Vec<PathBuf>,
    /// The private key, as PEM, that tokens are made with for back ends (mint-token); reloaded on SIGHUP [default: the
    /// first --token-secret]
    #[arg(long, value_name = "FILE", env = "FANFARE_TOKEN_MINT_KEY", help_heading = "Tokens")]
    pub(super) token_mint_key: Option<PathBuf>,
    /// Where to fetch the JWK Set that tokens are checked with (https), again and again; may be given more than once
    #[arg(
        long,
        value_name = "URL",
        env = "FANFARE_TOKEN_KEYS_URL",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_keys_url: Vec<String>,
    /// Trust the authority in this PEM file, and no other, for --token-keys-url; reloaded on SIGHUP [default: the
    /// system's authorities]
    #[arg(long, value_name = "FILE", env = "FANFARE_TOKEN_KEYS_CA", help_heading = "Tokens")]
    pub(super) token_keys_ca: Option<PathBuf>,
    /// Take only tokens that are meant for this audience (aud); may be given more than once
    #[arg(
        long,
        value_name = "NAME",
        env = "FANFARE_TOKEN_AUDIENCE",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_audience: Vec<String>,
    /// Take only tokens by this issuer (iss); may be given more than once
    #[arg(
        long,
        value_name = "NAME",
        env = "FANFARE_TOKEN_ISSUER",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_issuer: Vec<String>,
    /// The claim that names the user [default: sub]
    #[arg(long, value_name = "NAME", env = "FANFARE_USER_CLAIM", help_heading = "Tokens")]
    pub(super) user_claim: Option<String>,
    /// Take clients' certificates that an authority in this PEM file issued; reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_CLIENT_CA", help_heading = "Client certificates")]
    pub(super) client_ca: Option<PathBuf>,
    /// What users with a certificate may do, as TOML (OPERATIONS.md, section 1, has an example); reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_CLIENT_GRANTS", help_heading = "Client certificates")]
    pub(super) client_grants: Option<PathBuf>,

    /// The back ends that are asked about connections and methods, and told what happens, as TOML (docs/webhooks.md has
    /// an example); their secrets are reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_WEBHOOKS", help_heading = "Back ends")]
    pub(super) webhooks: Option<PathBuf>,

    /// Be a node of a cluster, with all others that meet at these NATS servers with JetStream, as in
    /// nats://10.0.0.1:4222 or tls://nats.example:4222; may be given more than once
    #[arg(
        long,
        value_name = "URL",
        env = "FANFARE_CLUSTER",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cluster: Vec<String>,
    /// What operators call this node [default: its id, which is another at each start]
    #[arg(long, value_name = "NAME", env = "FANFARE_CLUSTER_NAME", help_heading = "Cluster")]
    pub(super) cluster_name: Option<String>,
    /// What the names of the cluster's subjects and of its bucket in NATS begin with [default: fanfare]
    #[arg(long, value_name = "WORD", env = "FANFARE_CLUSTER_PREFIX", help_heading = "Cluster")]
    pub(super) cluster_prefix: Option<String>,
    /// Prove who this node is to NATS by the seed of an NKey in this file
    #[arg(long, value_name = "FILE", env = "FANFARE_CLUSTER_NKEY", help_heading = "Cluster")]
    pub(super) cluster_nkey: Option<PathBuf>,
    /// Prove it by this file of credentials (.creds)
    #[arg(long, value_name = "FILE", env = "FANFARE_CLUSTER_CREDS", help_heading = "Cluster")]
    pub(super) cluster_creds: Option<PathBuf>,
    /// Speak to NATS over TLS alone, and take certificates of an authority in this PEM file
    #[arg(long, value_name = "FILE", env = "FANFARE_CLUSTER_CA", help_heading = "Cluster")]
    pub(super) cluster_ca: Option<PathBuf>,
    /// How many NATS servers keep what is decided: 1, 3 or 5 [default: 3]
    #[arg(long, value_name = "N", env = "FANFARE_CLUSTER_REPLICAS", help_heading = "Cluster")]
    pub(super) cluster_replicas: Option<u32>,
    /// How long a node goes on after it has last heard the cluster; a revocation waits so long for one that is cut off
    /// [default: 5s]
    #[arg(long, value_name = "TIME", env = "FANFARE_CLUSTER_LEASE", help_heading = "Cluster")]
    pub(super) cluster_lease: Option<Span>,
    /// What the node does then [default: pause]
    #[arg(long, value_name = "WHAT", env = "FANFARE_WITHOUT_CLUSTER", help_heading = "Cluster")]
    pub(super) without_cluster: Option<WithoutClusterSetting>,

    /// How far the clocks of the server and of the tokens' issuer may be apart [default: 30s]
    #[arg(long, value_name = "TIME", env = "FANFARE_TOKEN_LEEWAY", help_heading = "Tokens")]
    pub(super) token_leeway: Option<Span>,
    /// How long the issuer's tokens last at most: how long a sign-out is kept, and when a token was issued that does
    /// not say it [default: 30d]
    #[arg(long, value_name = "TIME", env = "FANFARE_TOKEN_LIFETIME", help_heading = "Tokens")]
    pub(super) token_lifetime: Option<Span>,
    /// How long before its access ends a client is told [default: 1m]
    #[arg(long, value_name = "TIME", env = "FANFARE_EXPIRY_NOTICE", help_heading = "Tokens")]
    pub(super) expiry_notice: Option<Span>,

    /// Connections in all [default: 100000]
    #[arg(long, value_name = "N", env = "FANFARE_CONNECTIONS", help_heading = "Limits")]
    pub(super) connections: Option<u32>,
    /// Connections of each user [default: 1000]
    #[arg(long, value_name = "N", env = "FANFARE_CONNECTIONS_PER_USER", help_heading = "Limits")]
    pub(super) connections_per_user: Option<u32>,
    /// Connections from each address; an IPv6 /64 counts as one [default: 10000]
    #[arg(long, value_name = "N", env = "FANFARE_CONNECTIONS_PER_ADDRESS", help_heading = "Limits")]
    pub(super) connections_per_address: Option<u32>,
    /// Requests a second of each connection, which is slowed down above; 0 for any number [default: 1000]
    #[arg(long, value_name = "N", env = "FANFARE_REQUESTS_PER_SECOND", help_heading = "Limits")]
    pub(super) requests_per_second: Option<u32>,
    /// The longest payload of a message, in bytes [default: 65536]
    #[arg(long, value_name = "BYTES", env = "FANFARE_PAYLOAD_BYTES", help_heading = "Limits")]
    pub(super) payload_bytes: Option<u32>,
    /// Groups that a connection may be in [default: 1000]
    #[arg(long, value_name = "N", env = "FANFARE_GROUPS_PER_CONNECTION", help_heading = "Limits")]
    pub(super) groups_per_connection: Option<u32>,
    /// Targets that a send may name [default: 256]
    #[arg(long, value_name = "N", env = "FANFARE_TARGETS_PER_SEND", help_heading = "Limits")]
    pub(super) targets_per_send: Option<u32>,
    /// Handshakes at a time above which clients must prove their address first [default: 64]
    #[arg(long, value_name = "N", env = "FANFARE_RETRY_ABOVE", help_heading = "Limits")]
    pub(super) retry_above: Option<u32>,
    /// Handshakes at a time above which new ones are refused [default: 1024]
    #[arg(long, value_name = "N", env = "FANFARE_REFUSE_ABOVE", help_heading = "Limits")]
    pub(super) refuse_above: Option<u32>,

    /// Frames that may wait for a connection [default: 1024]
    #[arg(long, value_name = "N", env = "FANFARE_OUTBOX_FRAMES", help_heading = "Slow consumers")]
    pub(super) outbox_frames: Option<u32>,
    /// Bytes that may wait for a connection [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "FANFARE_OUTBOX_BYTES", help_heading = "Slow consumers")]
    pub(super) outbox_bytes: Option<u32>,
    /// Bytes that may wait for all connections together, beside 4 KiB for each [default: 2147483648]
    #[arg(long, value_name = "BYTES", env = "FANFARE_OUTBOX_BYTES_IN_ALL", help_heading = "Slow consumers")]
    pub(super) outbox_bytes_in_all: Option<u64>,
    /// Of those, for each user's connections [default: 134217728]
    #[arg(
        long,
        value_name = "BYTES",
        env = "FANFARE_OUTBOX_BYTES_PER_USER",
        help_heading = "Slow consumers"
    )]
    pub(super) outbox_bytes_per_user: Option<u64>,
    /// Of those, for each address's connections [default: 1073741824]
    #[arg(
        long,
        value_name = "BYTES",
        env = "FANFARE_OUTBOX_BYTES_PER_ADDRESS",
        help_heading = "Slow consumers"
    )]
    pub(super) outbox_bytes_per_address: Option<u64>,
    /// How long a client may take nothing while something waits for it; 0 for any time [default: 30s]
    #[arg(long, value_name = "TIME", env = "FANFARE_READER_DEADLINE", help_heading = "Slow consumers")]
    pub(super) reader_deadline: Option<Span>,
    /// What happens when more would have to wait [default: disconnect]
    #[arg(long, value_name = "POLICY", env = "FANFARE_OVERFLOW", help_heading = "Slow consumers")]
    pub(super) overflow: Option<OverflowSetting>,

    /// Threads that serve connections; a machine that is shared with others gives each as many as it may use [default:
    /// one for each processor]
    #[arg(long, value_name = "N", env = "FANFARE_WORKERS", help_heading = "Limits")]
    pub(super) workers: Option<u32>,

    /// Which names of users and groups are taken [default: unicode]
    #[arg(long, value_name = "WHICH", env = "FANFARE_NAMES", help_heading = "Access")]
    pub(super) names: Option<NamesSetting>,

    /// How long a handshake may take, up to the welcome [default: 5s]
    #[arg(long, value_name = "TIME", env = "FANFARE_HANDSHAKE_DEADLINE", help_heading = "Times")]
    pub(super) handshake_deadline: Option<Span>,
    /// A connection from which nothing is heard for so long is gone [default: 30s]
    #[arg(long, value_name = "TIME", env = "FANFARE_IDLE_TIMEOUT", help_heading = "Times")]
    pub(super) idle_timeout: Option<Span>,
    /// How long a user who has left a group is still told as present there, so that a page that is loaded anew is no
    /// flicker [default: 2s]
    #[arg(long, value_name = "TIME", env = "FANFARE_PRESENCE_GRACE", help_heading = "Times")]
    pub(super) presence_grace: Option<Span>,
    /// How long a stopping server waits for its clients to read what is queued [default: 5s]
    #[arg(long, value_name = "TIME", env = "FANFARE_DRAIN_DEADLINE", help_heading = "Times")]
    pub(super) drain_deadline: Option<Span>,
    /// After how long the clients of a stopping server come back, each at a moment between this and half as much
    /// again [default: 1s]
    #[arg(long, value_name = "TIME", env = "FANFARE_COME_BACK_AFTER", help_heading = "Times")]
    pub(super) come_back_after: Option<Span>,
}

/// The same as a table, without what is not said.
pub(super) fn table(settings: &Settings) -> Result<Table, Failure> {
    Table::try_from(settings).map_err(|error| Failure::usage(error.to_string()))
}
