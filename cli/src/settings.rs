//! The server's settings: flags over environment over file over defaults, then checked.
//!
//! In: what was typed ([`ServeArguments`]) and a TOML file with the same names. Out: a [`Plan`] to serve by, or one
//! line that names the file, the line and the setting that is wrong. The four layers are merged as tables of the same
//! shape, so that a setting stands in one place only: [`Settings`].

// They are clap's help as well, where angle brackets would be read as a placeholder.
#![allow(rustdoc::bare_urls)]

mod file;
mod tokens;
mod value;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use fanfare_server::{BudgetLimits, Capacity, Config, Origins, OutboxLimits, Overflow, TokenRules};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use self::file::read;
pub(crate) use self::tokens::{LoadedTokens, TokenSettings};
use self::value::{
    ListenSetting, NamesSetting, OverflowSetting, Span, address, address_in_file, origin, origins_in_file,
};
use crate::certified::CertifiedUsers;
use crate::defaults::DEFAULT_STATE;
use crate::failure::Failure;

/// Where a development server has its page.
const DEVELOPMENT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4480);

const HTTP_LISTEN: &str = "http_listen";

/// What `serve` and `config` take.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Read settings from this TOML file; flags and FANFARE_* variables go before it
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// What to log, as `level` or `module=level,...`; of web_transport_quinn errors alone, unless it is named
    #[arg(long, value_name = "FILTER", env = "FANFARE_LOG", default_value = "info")]
    pub(crate) log: String,
    /// Log, or print the settings, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Every setting: a flag, a variable and a line of the file by the same name. `None` is "not said here".
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Listen on this address (UDP); port 0 takes any free one [default: 127.0.0.1:4433]
    #[arg(long, value_name = "ADDR", env = "FANFARE_LISTEN", value_parser = address)]
    #[serde(default, deserialize_with = "address_in_file")]
    listen: Option<SocketAddr>,
    /// Let operators connect at this address (UDP), or `off` [default: 127.0.0.1:4434]
    #[arg(long, value_name = "ADDR", env = "FANFARE_ADMIN_LISTEN")]
    admin_listen: Option<ListenSetting>,
    /// Answer HTTP at this address (TCP): /healthz and /readyz, and with --dev a page to try; or `off` [default: off,
    /// with --dev 127.0.0.1:4480]
    #[arg(long, value_name = "ADDR", env = "FANFARE_HTTP_LISTEN")]
    http_listen: Option<ListenSetting>,
    /// Let browsers connect from pages of this origin, as in https://app.example; may be given more than once; with
    /// --dev pages of this machine may, too
    #[arg(long, value_name = "ORIGIN", env = "FANFARE_ALLOW_ORIGIN", value_delimiter = ',', value_parser = origin)]
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "origins_in_file")]
    allow_origin: Vec<String>,
    /// Development: clients name their own user, certificates are made as needed; on loopback only
    #[arg(long, env = "FANFARE_DEV", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    dev: Option<bool>,
    /// Keep what must outlive the server here [default: .fanfare]
    #[arg(long, value_name = "DIR", env = "FANFARE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// The server's certificate and those between it and its authority, as PEM; reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_CERT")]
    cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", env = "FANFARE_KEY")]
    key: Option<PathBuf>,
    /// A further name or address for the certificates that the server makes itself: in development the one for
    /// clients, and always the one for operators; may be given more than once
    #[arg(long, value_name = "NAME", env = "FANFARE_NAME", value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    name: Vec<String>,

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
    token_key: Vec<PathBuf>,
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
    token_secret: Vec<PathBuf>,
    /// Where to fetch the JWK Set that tokens are checked with (https), again and again; may be given more than once
    #[arg(
        long,
        value_name = "URL",
        env = "FANFARE_TOKEN_KEYS_URL",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    token_keys_url: Vec<String>,
    /// Trust the authority in this PEM file, and no other, for --token-keys-url; reloaded on SIGHUP [default: the
    /// system's authorities]
    #[arg(long, value_name = "FILE", env = "FANFARE_TOKEN_KEYS_CA", help_heading = "Tokens")]
    token_keys_ca: Option<PathBuf>,
    /// Take only tokens that are meant for this audience (aud); may be given more than once
    #[arg(
        long,
        value_name = "NAME",
        env = "FANFARE_TOKEN_AUDIENCE",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    token_audience: Vec<String>,
    /// Take only tokens by this issuer (iss); may be given more than once
    #[arg(
        long,
        value_name = "NAME",
        env = "FANFARE_TOKEN_ISSUER",
        value_delimiter = ',',
        help_heading = "Tokens"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    token_issuer: Vec<String>,
    /// The claim that names the user [default: sub]
    #[arg(long, value_name = "NAME", env = "FANFARE_USER_CLAIM", help_heading = "Tokens")]
    user_claim: Option<String>,
    /// Take clients' certificates that an authority in this PEM file issued; reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_CLIENT_CA", help_heading = "Client certificates")]
    client_ca: Option<PathBuf>,
    /// What users with a certificate may do, as TOML (OPERATIONS.md, section 1, has an example); reloaded on SIGHUP
    #[arg(long, value_name = "FILE", env = "FANFARE_CLIENT_GRANTS", help_heading = "Client certificates")]
    client_grants: Option<PathBuf>,

    /// How far the clocks of the server and of the tokens' issuer may be apart [default: 30s]
    #[arg(long, value_name = "TIME", env = "FANFARE_TOKEN_LEEWAY", help_heading = "Tokens")]
    token_leeway: Option<Span>,
    /// How long the issuer's tokens last at most: how long a sign-out is kept, and when a token was issued that does
    /// not say it [default: 30d]
    #[arg(long, value_name = "TIME", env = "FANFARE_TOKEN_LIFETIME", help_heading = "Tokens")]
    token_lifetime: Option<Span>,
    /// How long before its access ends a client is told [default: 1m]
    #[arg(long, value_name = "TIME", env = "FANFARE_EXPIRY_NOTICE", help_heading = "Tokens")]
    expiry_notice: Option<Span>,

    /// Connections in all [default: 100000]
    #[arg(long, value_name = "N", env = "FANFARE_CONNECTIONS", help_heading = "Limits")]
    connections: Option<u32>,
    /// Connections of each user [default: 1000]
    #[arg(long, value_name = "N", env = "FANFARE_CONNECTIONS_PER_USER", help_heading = "Limits")]
    connections_per_user: Option<u32>,
    /// Connections from each address; an IPv6 /64 counts as one [default: 10000]
    #[arg(long, value_name = "N", env = "FANFARE_CONNECTIONS_PER_ADDRESS", help_heading = "Limits")]
    connections_per_address: Option<u32>,
    /// Requests a second of each connection, which is slowed down above; 0 for any number [default: 1000]
    #[arg(long, value_name = "N", env = "FANFARE_REQUESTS_PER_SECOND", help_heading = "Limits")]
    requests_per_second: Option<u32>,
    /// The longest payload of a message, in bytes [default: 65536]
    #[arg(long, value_name = "BYTES", env = "FANFARE_PAYLOAD_BYTES", help_heading = "Limits")]
    payload_bytes: Option<u32>,
    /// Groups that a connection may be in [default: 1000]
    #[arg(long, value_name = "N", env = "FANFARE_GROUPS_PER_CONNECTION", help_heading = "Limits")]
    groups_per_connection: Option<u32>,
    /// Targets that a send may name [default: 256]
    #[arg(long, value_name = "N", env = "FANFARE_TARGETS_PER_SEND", help_heading = "Limits")]
    targets_per_send: Option<u32>,
    /// Handshakes at a time above which clients must prove their address first [default: 64]
    #[arg(long, value_name = "N", env = "FANFARE_RETRY_ABOVE", help_heading = "Limits")]
    retry_above: Option<u32>,
    /// Handshakes at a time above which new ones are refused [default: 1024]
    #[arg(long, value_name = "N", env = "FANFARE_REFUSE_ABOVE", help_heading = "Limits")]
    refuse_above: Option<u32>,

    /// Frames that may wait for a connection [default: 1024]
    #[arg(long, value_name = "N", env = "FANFARE_OUTBOX_FRAMES", help_heading = "Slow consumers")]
    outbox_frames: Option<u32>,
    /// Bytes that may wait for a connection [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "FANFARE_OUTBOX_BYTES", help_heading = "Slow consumers")]
    outbox_bytes: Option<u32>,
    /// Bytes that may wait for all connections together, beside 4 KiB for each [default: 2147483648]
    #[arg(long, value_name = "BYTES", env = "FANFARE_OUTBOX_BYTES_IN_ALL", help_heading = "Slow consumers")]
    outbox_bytes_in_all: Option<u64>,
    /// Of those, for each user's connections [default: 134217728]
    #[arg(
        long,
        value_name = "BYTES",
        env = "FANFARE_OUTBOX_BYTES_PER_USER",
        help_heading = "Slow consumers"
    )]
    outbox_bytes_per_user: Option<u64>,
    /// Of those, for each address's connections [default: 1073741824]
    #[arg(
        long,
        value_name = "BYTES",
        env = "FANFARE_OUTBOX_BYTES_PER_ADDRESS",
        help_heading = "Slow consumers"
    )]
    outbox_bytes_per_address: Option<u64>,
    /// How long a client may take nothing while something waits for it; 0 for any time [default: 30s]
    #[arg(long, value_name = "TIME", env = "FANFARE_READER_DEADLINE", help_heading = "Slow consumers")]
    reader_deadline: Option<Span>,
    /// What happens when more would have to wait [default: disconnect]
    #[arg(long, value_name = "POLICY", env = "FANFARE_OVERFLOW", help_heading = "Slow consumers")]
    overflow: Option<OverflowSetting>,

    /// Which names of users and groups are taken [default: unicode]
    #[arg(long, value_name = "WHICH", env = "FANFARE_NAMES", help_heading = "Access")]
    names: Option<NamesSetting>,

    /// How long a handshake may take, up to the welcome [default: 5s]
    #[arg(long, value_name = "TIME", env = "FANFARE_HANDSHAKE_DEADLINE", help_heading = "Times")]
    handshake_deadline: Option<Span>,
    /// A connection from which nothing is heard for so long is gone [default: 30s]
    #[arg(long, value_name = "TIME", env = "FANFARE_IDLE_TIMEOUT", help_heading = "Times")]
    idle_timeout: Option<Span>,
    /// How long a stopping server waits for its clients to read what is queued [default: 5s]
    #[arg(long, value_name = "TIME", env = "FANFARE_DRAIN_DEADLINE", help_heading = "Times")]
    drain_deadline: Option<Span>,
    /// After how long the clients of a stopping server come back, each at a moment between this and half as much
    /// again [default: 1s]
    #[arg(long, value_name = "TIME", env = "FANFARE_COME_BACK_AFTER", help_heading = "Times")]
    come_back_after: Option<Span>,
}

/// Where the server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// The state directory's development authority, for these further names.
    Development(Vec<String>),
    /// The user's own files.
    Files { cert: PathBuf, key: PathBuf },
}

/// What to serve by.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// Where the server keeps what outlives it, and where its certificates are.
    pub(crate) state_dir: PathBuf,
    pub(crate) certificate: Certificate,
    pub(crate) tokens: TokenSettings,
    /// Keys in the files that are passed over: lines for the log.
    pub(crate) skipped_keys: Vec<String>,
    /// Who is known by a certificate.
    pub(crate) certified: Option<Arc<CertifiedUsers>>,
    /// Where operators connect, and the further names of that certificate.
    pub(crate) admin: Option<(SocketAddr, Vec<String>)>,
}

impl Plan {
    /// Merges the layers and checks the outcome.
    pub(crate) fn new(arguments: &ServeArguments) -> Result<Self, Failure> {
        let (settings, _) = arguments.merge()?;
        let certificate = settings.certificate()?;
        let tokens = settings.tokens();
        let admin = settings.admin();
        let certified = match (&settings.client_ca, &settings.client_grants) {
            (Some(ca), grants) => Some(CertifiedUsers::load(ca, grants.as_deref())?),
            (None, Some(_)) => {
                return Err(Failure::usage(
                    "--client-grants needs --client-ca FILE, the authority that issues clients' certificates",
                ));
            }
            (None, None) => None,
        };
        let state_dir = settings.state_dir();
        let mut config = settings.into_config();
        let checked = config.check().and_then(|()| match &admin {
            Some((listen, _)) => config.check_admin(*listen),
            None => Ok(()),
        });
        checked?;
        let loaded = tokens.load()?;
        config.tokens = loaded.rules;
        config.key_sets = loaded.key_sets;
        let certified = certified.map(Arc::new);
        config.certificates = certified.clone().map(|certified| certified as _);
        Ok(Self { config, state_dir, certificate, tokens, skipped_keys: loaded.skipped, certified, admin })
    }
}

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    Default,
    File,
    Flag,
    Environment,
}

/// A setting's name and its value, and where that comes from.
type Row = (String, Value, Origin);

impl ServeArguments {
    /// Every setting with its value, and the origin of each by name.
    fn merge(&self) -> Result<(Settings, Vec<Row>), Failure> {
        let mut merged = table(&Settings::defaults())?;
        let mut origins: Vec<(String, Origin)> = Vec::new();
        if let Some(path) = &self.config {
            for (name, value) in read(path)? {
                origins.push((name.clone(), Origin::File));
                merged.insert(name, value);
            }
        }
        for (name, value) in table(&self.settings)? {
            origins.push((name.clone(), given_by(&name)));
            merged.insert(name, value);
        }
        // The one default that hangs on another setting.
        if !merged.contains_key(HTTP_LISTEN) {
            let dev = merged.get("dev").and_then(Value::as_bool) == Some(true);
            let listen = if dev { ListenSetting::At(DEVELOPMENT_HTTP) } else { ListenSetting::Off };
            merged.insert(HTTP_LISTEN.to_owned(), Value::String(listen.to_string()));
        }
        let origin = |name: &String| {
            let last = origins.iter().rev().find(|(known, _)| known == name);
            last.map_or(Origin::Default, |(_, origin)| *origin)
        };
        let rows: Vec<Row> =
            merged.iter().map(|(name, value)| (name.clone(), value.clone(), origin(name))).collect();
        // Each layer was a valid `Settings`, so this is one too.
        let settings = merged.try_into().map_err(|error| Failure::usage(error.to_string()))?;
        refuse_empty(&rows)?;
        Ok((settings, rows))
    }
}

/// Where what was not left out is from: a flag goes before its variable, so what is not typed is from there.
fn given_by(name: &str) -> Origin {
    let flag = format!("--{}", name.replace('_', "-"));
    let is_flag = |argument: &str| {
        argument.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let typed = std::env::args_os().any(|argument| argument.to_str().is_some_and(is_flag));
    if typed { Origin::Flag } else { Origin::Environment }
}

/// Text that is nothing names nothing: an audience that no token has would lock everybody out.
fn refuse_empty(rows: &[Row]) -> Result<(), Failure> {
    let is_empty = |value: &Value| value.as_str().is_some_and(str::is_empty);
    for (name, value, _) in rows {
        if is_empty(value) || value.as_array().is_some_and(|list| list.iter().any(is_empty)) {
            return Err(Failure::usage(format!(
                "{name} is empty, or a part of it is; leave it out, or say what it shall be"
            )));
        }
    }
    Ok(())
}

fn table(settings: &Settings) -> Result<Table, Failure> {
    Table::try_from(settings).map_err(|error| Failure::usage(error.to_string()))
}

impl Settings {
    /// The server's own defaults, so that they are told in one place.
    fn defaults() -> Self {
        let config = Config::new();
        let small = |number: usize| u32::try_from(number).ok();
        Self {
            listen: Some(config.listen),
            admin_listen: Some(ListenSetting::At(SocketAddr::from(([127, 0, 0, 1], 4434)))),
            http_listen: None,
            allow_origin: Vec::new(),
            dev: Some(config.dev),
            state_dir: Some(PathBuf::from(DEFAULT_STATE)),
            cert: None,
            key: None,
            name: Vec::new(),
            token_key: Vec::new(),
            token_secret: Vec::new(),
            token_keys_url: Vec::new(),
            token_keys_ca: None,
            token_audience: Vec::new(),
            token_issuer: Vec::new(),
            user_claim: Some("sub".to_owned()),
            token_leeway: Some(Span(Duration::from_secs(TokenRules::LEEWAY.into()))),
            token_lifetime: Some(Span(Duration::from_secs(TokenRules::LONGEST.into()))),
            client_ca: None,
            client_grants: None,
            expiry_notice: Some(Span(config.expiry_notice)),
            connections: small(config.capacity.connections),
            connections_per_user: small(config.capacity.per_user),
            connections_per_address: small(config.capacity.per_address),
            requests_per_second: Some(config.requests_per_second.map_or(0, NonZeroU32::get)),
            payload_bytes: Some(config.limits.payload_bytes),
            groups_per_connection: Some(config.limits.groups),
            targets_per_send: Some(config.limits.targets),
            retry_above: small(config.retry_above),
            refuse_above: small(config.refuse_above),
            outbox_frames: small(config.outbox.frames),
            outbox_bytes: small(config.outbox.bytes),
            names: Some(config.names.into()),
            outbox_bytes_in_all: Some(config.budget.all as u64),
            outbox_bytes_per_user: Some(config.budget.per_user as u64),
            outbox_bytes_per_address: Some(config.budget.per_address as u64),
            reader_deadline: Some(Span(config.reader_deadline)),
            overflow: Some(match config.outbox.overflow {
                Overflow::Disconnect => OverflowSetting::Disconnect,
                Overflow::DropOldest => OverflowSetting::DropOldest,
            }),
            handshake_deadline: Some(Span(config.handshake_deadline)),
            idle_timeout: Some(Span(config.idle_timeout)),
            drain_deadline: Some(Span(config.drain_deadline)),
            come_back_after: Some(Span(config.come_back_after)),
        }
    }

    fn tokens(&self) -> TokenSettings {
        TokenSettings {
            keys: self.token_key.clone(),
            secrets: self.token_secret.clone(),
            urls: self.token_keys_url.clone(),
            urls_ca: self.token_keys_ca.clone(),
            audience: self.token_audience.clone(),
            issuer: self.token_issuer.clone(),
            user_claim: self.user_claim.clone(),
            leeway: self.token_leeway,
            lifetime: self.token_lifetime,
        }
    }

    fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_STATE))
    }

    fn admin(&self) -> Option<(SocketAddr, Vec<String>)> {
        match self.admin_listen {
            Some(ListenSetting::At(address)) => Some((address, self.name.clone())),
            Some(ListenSetting::Off) | None => None,
        }
    }

    fn certificate(&self) -> Result<Certificate, Failure> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(Certificate::Files { cert: cert.clone(), key: key.clone() }),
            (Some(_), None) => Err(Failure::usage("--cert needs --key FILE, the certificate's private key")),
            (None, Some(_)) => Err(Failure::usage("--key needs --cert FILE, the certificate it belongs to")),
            (None, None) if self.dev == Some(true) => Ok(Certificate::Development(self.name.clone())),
            (None, None) => Err(Failure::usage(
                "serve needs --cert FILE and --key FILE, or --dev to try things out on this machine",
            )),
        }
    }

    /// The server's configuration. What is `None` here, which after a merge is nothing, stays the default.
    fn into_config(self) -> Config {
        let default = Config::new();
        let state_dir = self.state_dir();
        let or = |setting: Option<u32>, default: usize| setting.map_or(default, |number| number as usize);
        let large = |setting: Option<u64>, default: usize| {
            setting.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        let limits = fanfare_protocol::Limits {
            groups: self.groups_per_connection.unwrap_or(default.limits.groups),
            targets: self.targets_per_send.unwrap_or(default.limits.targets),
            ..default.limits
        };
        let mut limits =
            limits.with_payload_bytes(self.payload_bytes.unwrap_or(default.limits.payload_bytes));
        // `with_payload_bytes` cuts at the ceiling; the check shall see what was asked for.
        limits.payload_bytes = self.payload_bytes.unwrap_or(limits.payload_bytes);
        let dev = self.dev.unwrap_or(default.dev);
        let mut config = Config::new();
        config.listen = self.listen.unwrap_or(default.listen);
        config.http = match self.http_listen {
            Some(ListenSetting::At(address)) => Some(address),
            Some(ListenSetting::Off) | None => None,
        };
        config.origins = Origins { allowed: self.allow_origin, loopback: dev };
        config.dev = dev;
        config.state_dir = Some(state_dir);
        config.limits = limits;
        config.capacity = Capacity {
            connections: or(self.connections, default.capacity.connections),
            per_user: or(self.connections_per_user, default.capacity.per_user),
            per_address: or(self.connections_per_address, default.capacity.per_address),
        };
        config.requests_per_second =
            self.requests_per_second.map_or(default.requests_per_second, NonZeroU32::new);
        config.live_bytes = Some(crate::memory::live_bytes);
        config.names = self.names.map_or(default.names, Into::into);
        config.budget = BudgetLimits {
            all: large(self.outbox_bytes_in_all, default.budget.all),
            per_user: large(self.outbox_bytes_per_user, default.budget.per_user),
            per_address: large(self.outbox_bytes_per_address, default.budget.per_address),
        };
        config.reader_deadline = self.reader_deadline.map_or(default.reader_deadline, |span| span.0);
        config.outbox = OutboxLimits {
            frames: or(self.outbox_frames, default.outbox.frames),
            bytes: or(self.outbox_bytes, default.outbox.bytes),
            overflow: match self.overflow {
                Some(OverflowSetting::DropOldest) => Overflow::DropOldest,
                Some(OverflowSetting::Disconnect) | None => Overflow::Disconnect,
            },
        };
        config.handshake_deadline = self.handshake_deadline.map_or(default.handshake_deadline, |span| span.0);
        config.retry_above = or(self.retry_above, default.retry_above);
        config.refuse_above = or(self.refuse_above, default.refuse_above);
        config.idle_timeout = self.idle_timeout.map_or(default.idle_timeout, |span| span.0);
        config.expiry_notice = self.expiry_notice.map_or(default.expiry_notice, |span| span.0);
        config.drain_deadline = self.drain_deadline.map_or(default.drain_deadline, |span| span.0);
        config.come_back_after = self.come_back_after.map_or(default.come_back_after, |span| span.0);
        config
    }
}

/// `fanfare config`: a file that `serve --config` takes, with the origin of each line behind it.
pub(crate) fn print(arguments: &ServeArguments) -> Result<(), Failure> {
    let (settings, rows) = arguments.merge()?;
    let config = settings.into_config();
    config.check()?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let object: serde_json::Map<String, serde_json::Value> = rows
            .into_iter()
            .map(|(name, value, origin)| (name, serde_json::json!({ "value": value, "from": origin })))
            .collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
        return Ok(());
    }
    let lines: Vec<(String, Origin)> =
        rows.into_iter().map(|(name, value, origin)| (format!("{name} = {value}"), origin)).collect();
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    for (line, origin) in lines {
        let origin = match origin {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Flag => "flag",
            Origin::Environment => "environment",
        };
        writeln!(out, "{line:width$}  # {origin}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
