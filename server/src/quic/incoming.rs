//! An attempt to connect, from its first packet to a connection.
//!
//! In: what quinn has of it. Out: a [`Connection`]; for a browser only after the session that it asks for.

use std::net::SocketAddr;

use fanfare_hub::CloseReason;
use quinn::crypto::rustls::HandshakeData;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::webtransport::{self, Door};
use crate::origins::Origins;

/// A first packet.
pub(crate) struct Incoming {
    pub(super) attempt: quinn::Incoming,
    /// Who owns the tasks that look after connections.
    pub(super) tasks: TaskTracker,
}

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
pub(crate) struct Browser {
    /// Until there is a session.
    door: Option<Box<Door>>,
    tasks: TaskTracker,
}

impl Incoming {
    /// Where it comes from, or says so.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.attempt.remote_address()
    }

    /// Whether the address is proved.
    pub(crate) fn is_validated(&self) -> bool {
        self.attempt.remote_address_validated()
    }

    /// Whether it can be asked to prove its address.
    pub(crate) fn may_retry(&self) -> bool {
        self.attempt.may_retry()
    }

    /// With what it proved its address, if by a Retry token. Whoever may not retry any more has come with one.
    pub(crate) fn proof(&self) -> Option<Proof> {
        (!self.attempt.may_retry()).then(|| Proof(self.attempt.orig_dst_cid()))
    }

    /// Asks it to prove its address (RFC 9000 section 8.1.2).
    pub(crate) fn retry(self) {
        // Fails only where a retry was made already, which `may_retry` says.
        let _ = self.attempt.retry();
    }

    /// Turns it away with `CONNECTION_REFUSED`.
    pub(crate) fn refuse(self) {
        self.attempt.refuse();
    }

    /// Says nothing to it.
    pub(crate) fn ignore(self) {
        self.attempt.ignore();
    }

    /// Waits for TLS. The error is for a log.
    pub(crate) async fn accept(self) -> Result<Accepted, String> {
        let connection = async { self.attempt.accept()?.await }.await.map_err(|error| error.to_string())?;
        let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        Ok(if agreed.is_some_and(|data| data.protocol.as_deref() == Some(webtransport::ALPN)) {
            Accepted::Browser(Browser { door: Some(Box::new(Door::new(connection))), tasks: self.tasks })
        } else {
            Accepted::Native(Connection::native(connection))
        })
    }
}

impl Browser {
    /// Takes the session that it asks for. May be dropped at any time.
    ///
    /// # Errors
    /// Why it is refused, which [`Browser::answer`] tells it, and [`Browser::close`] then. `None` where the connection
    /// is gone.
    pub(crate) async fn session(&mut self, origins: &Origins) -> Result<Connection, Option<CloseReason>> {
        let established = match &mut self.door {
            Some(door) => door.session(origins).await?,
            None => return Err(None),
        };
        let door = self.door.take().ok_or(None)?;
        Ok(Connection::web(established.looked_after(*door, &self.tasks)))
    }

    /// Answers who asked for a session and gets none, and waits until that is read. It takes a second at most.
    pub(crate) async fn answer(&mut self, reason: &CloseReason) {
        if let Some(door) = &mut self.door {
            door.answer(reason).await;
        }
    }

    /// Closes a connection on which there is no session.
    pub(crate) fn close(&self, reason: &CloseReason) {
        if let Some(door) = &self.door {
            door.close(reason);
        }
    }
}
