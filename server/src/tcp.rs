//! TCP: TLS on it, and WebSocket on that. The one importer of tokio-rustls and of fanfare-websocket.
//!
//! In: accepted sockets, a certificate, a request that asks for a WebSocket. Out: connections with the few verbs that
//! the edge needs, the same as those of QUIC, or messages as they are, for another protocol. Above this folder nobody
//! knows whether there is TLS.

mod io;
mod messages;
mod preface;
mod proxied;
mod tls;
mod upgrade;
mod websocket;

pub(crate) use io::Io;
pub(crate) use messages::{MessageReceiver, MessageTransmitter, Messages};
#[cfg(any(test, fuzzing))]
pub(crate) use preface::Progress;
pub(crate) use preface::{Announced, Preface};
pub(crate) use proxied::{Proxies, Source};
pub(crate) use tls::WebTls;
pub(crate) use upgrade::{Upgrade, UpgradeError};
pub(crate) use websocket::{Connection, Receiver, Transmitter};
