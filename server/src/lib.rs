//! Fanfare's server: users and groups over QUIC and WebSockets, in a process of its own or inside an application.
//!
//! [`Server::builder`] describes a server, and [`Builder::start`] gives a [`Server`], which runs until it is
//! [drained](Server::drain). [`Server::hub`] is its hub in the application's hands: the same verbs as clients and
//! operators have, from any task or thread.
//!
//! ```no_run
//! use fanfare_server::{GroupName, Identity, Server};
//!
//! # async fn run(identity: Identity) -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().listen("127.0.0.1:4433".parse()?).identity(identity).development().start().await?;
//! let hub = server.hub();
//! let reached = hub.group(GroupName::new("lobby")?).send("Alert", "the doors are open")?;
//! println!("{reached} connections");
//! server.drain().await;
//! # Ok(())
//! # }
//! ```
//!
//! Outside development clients show tokens ([`Builder::tokens`]) or certificates ([`Builder::certificates`]). Bans and
//! the audit outlive the server where it has a state directory ([`Builder::state_dir`]). [`Config`] has every other
//! setting. `examples/embed.rs` is a whole program.
//!
//! # The types
//!
//! - [`Builder`] describes a server: where it listens, its [`Identity`], who gets in ([`TokenKey`], [`ReadKeys`],
//!   [`ClientCertificates`]), who operates it ([`Operators`]). [`Start`] tells how far a start is, [`StartError`] why
//!   there is none. [`Server`] is one that runs; [`Server::drain`] ends it.
//! - [`HubHandle`] is its hub: [`Selection`]s of users, groups and connections, to which the verbs apply (send, join,
//!   remove, close, count), and [`Selection::everywhere`] for those on all nodes.
//! - [`Methods`] are the application's: async functions by name, which clients call, and hooks that are told who comes
//!   and goes. A [`Caller`] is whoever calls; [`Args`], [`State`], [`Upload`] and the like are what a function takes,
//!   [`Answer`] and [`Items`] what it gives, [`CallError`] why it did not.
//! - A [`Webhook`] is an application that stays where it is, and is asked and told over HTTP.
//! - [`Moderation`] bans, revokes and removes as operators do, from inside the process, and has the audit.
//! - [`ClusterSettings`] make the server one node of several, which meet at NATS.
//! - Over TCP it serves browsers' WebSockets and SignalR's clients ([`Builder::web`]), and back ends
//!   ([`Config::http`]).
//!
//! # The files
//!
//! `ARCHITECTURE.md` has the house on one page; in the order in which a message meets the files:
//!
//! `edge` (`listener` -> `handshake` -> `session` -> `inbound` -> `router`) -> `fanfare_hub` -> `quic`. Operators come
//! in through `admin`, and `moderation` does what they say.

mod access;
mod admin;
mod api;
mod application;
mod arrivals;
mod builder;
mod cluster;
mod cluster_settings;
mod config;
mod database;
mod edge;
mod elsewhere;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod home;
mod hub;
mod lease;
mod lists;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod microbench;
mod moderation;
mod network;
mod notices;
mod opened;
mod origins;
mod outbound;
mod quic;
mod reason;
mod server;
mod signalr;
mod spread;
mod start;
mod tcp;
mod telemetry;
mod transport;
mod uptime;
mod webhook;
mod webhooks;

pub use access::{CertifiedUser, ClientCertificates, KeySetUrl, Minting, Names, UrlError};
pub use admin::{Administration, Operators};
pub use application::{
    Answer, Args, Call, CallError, CallLimits, Caller, Cancellation, Connecting, FromCall, Handler,
    IntoAnswer, InvokeError, Items, Left, MethodService, Methods, OwnCode, Raw, Refusal, State, TryItems,
    Upload, json,
};
pub use builder::Builder;
pub use cluster_settings::ClusterSettings;
pub use config::{Capacity, Config, ConfigError};
pub use error::{Listener, StartError};
pub use fanfare_hub::{BudgetLimits, CloseReason, OutboxLimits, Overflow, Population};
pub use fanfare_nats as nats;
pub use fanfare_protocol::presence::Present;
pub use fanfare_protocol::{
    Code, ConnectionId, EventName, GroupName, Limits, NameError, Payload, PayloadFormat, Target, UserName,
};
pub use fanfare_token::{
    Extras, GrantClaim, KeyError, MintError, Minter, ReadKeys, Right, TokenKey, TokenRules,
};
pub use handle::{ConnectionFacts, Everywhere, HubError, HubHandle, Reached, Selection};
pub use home::StateError;
pub use moderation::{Moderation, ModerationError, Operator, StoreError};
pub use network::{Network, NetworkError};
pub use origins::Origins;
pub use quic::{Identity, IdentityError};
pub use server::{Drained, Server};
pub use start::{Files, Start};
pub use telemetry::Snapshot;
pub use transport::Transport;
pub use webhook::{OnFailure, SecretError, Webhook, WebhookError, WebhookEvent, WebhookSecret};
pub use webhooks::{SpoolError, WebhooksError};
