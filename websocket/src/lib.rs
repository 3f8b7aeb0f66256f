//! A connection over a WebSocket: a stream and datagrams, as QUIC has them, in its messages.
//!
//! Each binary message is a kind and what follows it: bytes of the stream, a datagram, or the end of the sender's half
//! (docs/protocol/websocket.md). The server and the client use the same code from behind the HTTP upgrade on, which is
//! theirs. [`Connection::plain`] is for other protocols, whose messages go as they are. The framing is that of
//! `tokio-websockets`, which nobody else imports.
//!
//! ```
//! use bytes::Bytes;
//! use fanfare_websocket::{Connection, Role};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), fanfare_websocket::Broken> {
//! // In place of the two ends of a TCP connection.
//! let (here, there) = tokio::io::duplex(4_096);
//! let (client, server) = (Connection::new(here, Role::Client), Connection::new(there, Role::Server));
//! let (mut sending, _) = client.stream().expect("each has one stream");
//! let (_, mut receiving) = server.stream().expect("each has one stream");
//! sending.write_some(&mut vec![Bytes::from_static(b"hello")]).await?;
//! assert_eq!(receiving.read().await?, Some(Bytes::from_static(b"hello")));
//! # Ok(())
//! # }
//! ```

mod alive;
mod closing;
mod connection;
mod message;
mod pieces;
mod plain;
mod pulse;
mod socket;
mod upgrade;

pub use closing::End;
pub use connection::{Connection, Receiver, Role, Transmitter};
pub use pieces::Pieces;
pub use plain::{Incoming, Outgoing, Plain};
pub use socket::{Broken, Carrier};
pub use upgrade::{UpgradeError, connect};
