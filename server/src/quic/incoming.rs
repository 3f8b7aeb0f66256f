//! An attempt to connect, from its first packet to a connection.
//!
//! In: what quinn has of it. Out: a [`Connection`]; for a browser only after the session that it asks for.

use std::net::SocketAddr;

use fanfare_hub::CloseReason;
use quinn::crypto::rustls::HandshakeData;

use super::connection::Connection;
use super::webtransport;
use crate::origins::Origins;

/// A first packet.
pub(crate) struct Incoming(pub(super) quinn::Incoming);

/// What an address was proved with: the connection id that a Retry token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Proof(quinn::ConnectionId);

impl Proof {
    #[cfg(test)]
    pub(crate) fn of(id: &[u8]) -> Self {
        Self(quinn::ConnectionId::new(id))
    }
}

/// Who has come, as far as TLS says.
pub(crate) enum Accepted {
    /// A native client, or an operator.
    Native(Connection),
    /// A browser, which has to ask for a session first.
    Browser(Browser),
}

/// A browser's HTTP/3 connection.
pub(crate) struct Browser(quinn::Connection);

impl Incoming {
    /// Where it comes from, or says so.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether the address is proved.
    pub(crate) fn is_validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Whether it can be asked to prove its address.
    pub(crate) fn may_retry(&self) -> bool {
        self.0.may_retry()
    }

    /// With what it proved its address, if by a Retry token. Whoever may not retry any more has come with one.
    pub(crate) fn proof(&self) -> Option<Proof> {
        (!self.0.may_retry()).then(|| Proof(self.0.orig_dst_cid()))
    }

    /// Asks it to prove its address (RFC 9000 section 8.1.2).
    pub(crate) fn retry(self) {
        // Fails only where a retry was made already, which `may_retry` says.
        let _ = self.0.retry();
    }

    /// Turns it away with `CONNECTION_REFUSED`.
    pub(crate) fn refuse(self) {
        self.0.refuse();
    }

    /// Says nothing to it.
    pub(crate) fn ignore(self) {
        self.0.ignore();
    }

    /// Waits for TLS. The error is for a log.
    pub(crate) async fn accept(self) -> Result<Accepted, String> {
        let connection = async { self.0.accept()?.await }.await.map_err(|error| error.to_string())?;
        let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        Ok(if agreed.is_some_and(|data| data.protocol.as_deref() == Some(webtransport::ALPN)) {
            Accepted::Browser(Browser(connection))
        } else {
            Accepted::Native(Connection::native(connection))
        })
    }
}

impl Browser {
    /// Takes the session that it asks for.
    ///
    /// # Errors
    /// Why it is refused, which the browser was told; closing is the caller's, with [`Browser::refuse`]. `None` where
    /// the connection is gone.
    pub(crate) async fn session(&self, origins: &Origins) -> Result<Connection, Option<CloseReason>> {
        webtransport::accept(&self.0, origins).await.map(Connection::web)
    }

    /// Closes a connection on which there is no session.
    pub(crate) fn refuse(&self, reason: &CloseReason) {
        webtransport::refuse(&self.0, reason);
    }
}
