//! Fanfare's Rust client: connect over QUIC or a WebSocket, join groups, send to users and groups, receive messages.
//!
//! The client reconnects by itself and joins its groups again. It never sends a request twice.
//!
//! # The types
//!
//! - [`ClientConfig`] has the server's address, or those of several that are one hub ([`ClientConfig::also_at`]), the
//!   [`Credential`], the certificate authorities to trust ([`Roots`]), and when to [`Reconnect`].
//! - [`Client`] connects, and has the requests: join, leave, send, count, refresh. It is cheap to clone.
//! - [`Outgoing`] is a message to several targets, or to all but some connections. A [`Payload`] is its content.
//! - [`Event`] is what [`Client::next`] gives: a [`Message`], a change of membership, a lost connection. The last is
//!   [`Event::Closed`], with a [`CloseReason`].
//! - [`Client::invoke`] and [`Client::stream`] call the application's methods, with an [`Invocation`] for all that a
//!   call can have; [`Client::on_invoke`] answers the application's calls.
//! - [`Client::watch`] tells who is in a group, and how that changes: a [`Watch`] gives [`WatchEvent`]s.
//! - [`ConnectError`] and [`RequestError`] say what failed. [`Code`] has the server's numbers.
//! - [`OperatorClient`] is the client of the operators' endpoint. It is independent of the rest.
//!
//! # Example
//!
//! ```no_run
//! use fanfare_client::{Client, ClientConfig, Credential, Event, UserName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A development server lets a client name its user. In production this is a token.
//! let config = ClientConfig::new("localhost:4433", Credential::DevUser(UserName::new("alice")?));
//! let client = Client::connect(config).await?;
//! client.join("lobby").await?;
//! client.send_to_group("lobby", "ReceiveMessage", "hello").await?;
//! while let Some(event) = client.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {}", message.event, message.text().unwrap_or("(no text)")),
//!         Event::Disconnected { reason, .. } => println!("disconnected: {reason}"),
//!         Event::Reconnected { rejoined, .. } => println!("back in {} groups", rejoined.len()),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Call [`Client::next`] all the time: when its queue is full, the client stops reading from the server.
//!
//! # Several servers
//!
//! Servers may be nodes of one hub. A client that is given the addresses of several begins at one of them by chance,
//! and when its connection is lost it goes on at another at once, with its groups joined again:
//!
//! ```
//! # use fanfare_client::{ClientConfig, Credential, UserName};
//! # fn main() -> Result<(), fanfare_client::NameError> {
//! # let credential = Credential::DevUser(UserName::new("alice")?);
//! let config = ClientConfig::new("a.example:4433", credential).also_at(["b.example:4433", "c.example:4433"]);
//! # Ok(())
//! # }
//! ```
//!
//! Only what is about a server leads to another: one that is not reached, or not trusted, is full, stops, or has lost
//! touch with the others. What is about the client is the same everywhere and asked for once: a token that is not valid
//! or a ban is the end, and a time before which this client is not to come back holds at every server. Where a server
//! stops and says when it is back, its clients move to others at random moments within that time, and within 5 s, so
//! that they do not all come at once. After every address was tried in vain, [`Reconnect`] says how long the pause is.

mod address;
mod again;
mod answering;
mod backoff;
mod call;
mod calls;
mod client;
mod config;
mod connection;
mod credential;
mod dial;
mod disconnect;
mod encoding;
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
mod route;
mod servers;
mod state;
mod supervisor;
mod tls;
mod transport;
mod verdict;
mod watch;
mod watches;
mod watching;
mod way;
mod writer;

pub use call::{Invocation, Items};
pub use client::{Client, Counted, WeakClient};
pub use config::{ClientConfig, Reconnect, Roots, WebSocket};
pub use connection::Transport;
pub use credential::ProviderError;
pub use disconnect::{ComeBack, Disconnect};
pub use error::{CallError, CloseError, ConnectError, RequestError, RootsError};
pub use event::{CloseReason, Event, WatchEvent};
pub use fanfare_protocol::presence::Present;
pub use fanfare_protocol::{
    Code, ConnectionId, Credential, EventName, ExpiryScope, GroupName, Limits, Message, NameError, Payload,
    PayloadFormat, RequestId, Sender, Target, Token, UserName,
};
pub use operator::{Answers, OperatorClient, OperatorConfig, OperatorError};
pub use outgoing::Outgoing;
pub use watch::Watch;
