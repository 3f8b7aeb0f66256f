//! Fanfare's Rust client: connect over QUIC, join groups, send to users and groups, and take what comes.
//!
//! In: an application's calls. Out: frames to the server, and [`Event`]s from it. The client reconnects by itself and
//! rejoins its groups; it never sends a request twice.
//!
//! ```no_run
//! use fanfare_client::{Client, ClientConfig, Credential, Event, UserName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new("localhost:4433", Credential::DevUser(UserName::new("alice")?));
//! let client = Client::connect(config).await?;
//! client.join("lobby").await?;
//! client.send_to_group("lobby", "ReceiveMessage", "hello").await?;
//! while let Some(event) = client.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {}", message.event, message.text().unwrap_or("(no text)"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Invariant of the crate: arrows run down only.
//! `client -> supervisor -> {rejoin, reader, handshake} -> state -> link -> requests`, and
//! `handshake -> dial -> {address, transport, tls}`; beside it `operator -> dial`; `config`, `error`, `event`, `outgoing`, `disconnect` are leaves.

mod address;
mod backoff;
mod client;
mod config;
mod credential;
mod dial;
mod disconnect;
mod error;
mod event;
mod events;
mod handshake;
mod incoming;
mod link;
mod membership;
mod operator;
mod outgoing;
mod reader;
mod refresher;
mod rejoin;
mod requests;
mod state;
mod supervisor;
mod tls;
mod transport;
mod writer;

pub use client::Client;
pub use config::{ClientConfig, Reconnect, Roots};
pub use credential::ProviderError;
pub use disconnect::{ComeBack, Disconnect};
pub use error::{CloseError, ConnectError, RequestError, RootsError};
pub use event::{CloseReason, Event};
pub use fanfare_protocol::{
    Code, ConnectionId, Credential, EventName, ExpiryScope, GroupName, Limits, Message, NameError, Payload,
    PayloadFormat, RequestId, Sender, Target, Token, UserName,
};
pub use operator::{Answers, OperatorClient, OperatorConfig, OperatorError};
pub use outgoing::Outgoing;
