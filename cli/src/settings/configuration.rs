//! What the settings are to the server: its defaults as settings, and settings as its configuration.
//!
//! In: settings, merged. Out: a [`Config`], which is not checked yet. Invariant: what the server has a default for is
//! that where nobody says anything else, and is written down in the server alone (test
//! `the_defaults_are_the_servers_own`).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use fanfare_server::{BudgetLimits, Capacity, Config, Origins, OutboxLimits, Overflow, TokenRules};

use super::cluster::{LEASE, PREFIX, REPLICAS};
use super::schema::Settings;
use super::value::{ListenSetting, OverflowSetting, Span, WithoutClusterSetting};
use crate::defaults::DEFAULT_STATE;

impl Settings {
    /// The server's own defaults, so that they are told in one place.
    pub(super) fn defaults() -> Self {
        let config = Config::new();
        let small = |number: usize| u32::try_from(number).ok();
        Self {
            listen: Some(config.listen),
            admin_listen: Some(ListenSetting::At(SocketAddr::from(([127, 0, 0, 1], 4434)))),
            http_listen: None,
            web_listen: Some(ListenSetting::Off),
            web_cert: None,
            web_key: None,
            trusted_proxy: Vec::new(),
            signalr_path: Some(config.signalr_path),
            allow_origin: Vec::new(),
            dev: Some(config.dev),
            state_dir: Some(PathBuf::from(DEFAULT_STATE)),
            cert: None,
            key: None,
            name: Vec::new(),
            token_key: Vec::new(),
            token_secret: Vec::new(),
            token_mint_key: None,
            token_keys_url: Vec::new(),
            token_keys_ca: None,
            token_audience: Vec::new(),
            token_issuer: Vec::new(),
            user_claim: Some("sub".to_owned()),
            token_leeway: Some(Span(Duration::from_secs(TokenRules::LEEWAY.into()))),
            token_lifetime: Some(Span(Duration::from_secs(TokenRules::LONGEST.into()))),
            client_ca: None,
            client_grants: None,
            webhooks: None,
            cluster: Vec::new(),
            cluster_name: None,
            cluster_prefix: Some(PREFIX.to_owned()),
            cluster_nkey: None,
            cluster_creds: None,
            cluster_ca: None,
            cluster_replicas: Some(REPLICAS),
            cluster_lease: Some(Span(LEASE)),
            without_cluster: Some(WithoutClusterSetting::Pause),
            presence_grace: Some(Span(config.presence_grace)),
            expiry_notice: Some(Span(config.expiry_notice)),
            workers: None,
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

    pub(super) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_STATE))
    }

    /// The server's configuration. What is `None` here, which after a merge is nothing, stays the default.
    pub(super) fn into_config(self) -> Config {
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
        let address = |setting: Option<ListenSetting>| match setting {
            Some(ListenSetting::At(address)) => Some(address),
            Some(ListenSetting::Off) | None => None,
        };
        config.http = address(self.http_listen);
        config.web = address(self.web_listen);
        config.trusted_proxies = self.trusted_proxy.into_iter().map(|network| network.0).collect();
        config.signalr_path = self.signalr_path.unwrap_or(default.signalr_path);
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
        config.presence_grace = self.presence_grace.map_or(default.presence_grace, |span| span.0);
        config.expiry_notice = self.expiry_notice.map_or(default.expiry_notice, |span| span.0);
        config.drain_deadline = self.drain_deadline.map_or(default.drain_deadline, |span| span.0);
        config.come_back_after = self.come_back_after.map_or(default.come_back_after, |span| span.0);
        config
    }
}
