//! QUIC: the one place that imports quinn and WebTransport.
//!
//! In: settings, a certificate and a socket. Out: attempts to connect, and connections with the few verbs that the edge
//! needs. Above this folder nobody knows what quinn is, or which of the two transports carries a connection.

mod connection;
mod endpoint;
mod http3;
mod incoming;
mod keys;
mod runtime;
mod settings;
mod webtransport;

pub(crate) use connection::{Connection, ReadError, Receiver, Transmitter};
pub(crate) use endpoint::{Endpoint, socket};
pub(crate) use incoming::{Accepted, Browser, Incoming, Proof};
pub(crate) use keys::EndpointKeys;
pub(crate) use settings::Settings;
pub use settings::{Identity, IdentityError};
