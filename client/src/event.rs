//! What happens to a client, and in the groups that it watches: the values that `next` gives.
//!
//! In: frames from the server, and the client's own losses and recoveries. Out: one ordered series of events.
//! Invariant: [`Event::Closed`] is the last, and comes exactly once.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::presence::Present;
use fanfare_protocol::{ConnectionId, ExpiryScope, GroupName, Message, RequestId, UserName};

use crate::disconnect::Disconnect;
use crate::error::ConnectError;

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Message),
    /// The connection is a member of this group from here on: no message to the group comes before it. The application
    /// asked for it, or an operator made it so. A group that is rejoined after an outage is told in
    /// [`Event::Reconnected`] instead.
    Joined {
        /// The group.
        group: GroupName,
        /// How many members it has, this one included.
        members: u64,
    },
    /// The server ended the membership. The group is not rejoined after an outage.
    Removed {
        /// The group.
        group: GroupName,
        /// The number of a [`Code`](crate::Code).
        code: u16,
        /// Why, in the server's words.
        reason: String,
    },
    /// The server dropped messages because this client read too slowly; or, in a cluster, messages of another node were
    /// lost on the way, and some may have been for this client.
    Lagged {
        /// How many at most, since the last such event.
        dropped: u64,
    },
    /// Access ends soon. A client with a token provider refreshes by itself; another should call
    /// [`Client::refresh`](crate::Client::refresh).
    Expiring {
        /// What ends: the token and with it the connection, or some memberships.
        scope: ExpiryScope,
        /// In how many seconds.
        seconds: u32,
    },
    /// A refresh failed, and is tried again as long as the connection lasts.
    RefreshFailed {
        /// What the token provider or the server says.
        reason: String,
    },
    /// The server is about to close the connection.
    Goodbye {
        /// The number of a [`Code`](crate::Code).
        code: u16,
        /// Why, in the server's words.
        reason: String,
        /// After how long this client may come back to this server, and no sooner; `None` is never.
        /// [`Event::Disconnected`] says when it does, or tries another.
        retry_after: Option<Duration>,
    },
    /// The server refused a send that asked for no answer.
    Refused {
        /// What [`Client::send`](crate::Client::send) gave for it.
        request: RequestId,
        /// The number of a [`Code`](crate::Code).
        code: u16,
        /// What exactly was wrong, in the server's words.
        detail: String,
    },
    /// The connection is lost, and every membership with it. Sends without an answer that were on their way may be
    /// lost.
    Disconnected {
        /// How it was lost.
        reason: Disconnect,
        /// When the first attempt to reconnect is made; `None` if none is, and then [`Event::Closed`] follows.
        retry_in: Option<Duration>,
    },
    /// There is a connection again, under a new id, and the groups were joined again. What was sent to them during the
    /// outage is lost.
    Reconnected {
        /// The new connection's id.
        connection: ConnectionId,
        /// The groups that it is a member of, in the order of their names.
        rejoined: Vec<GroupName>,
        /// The groups that the server did not let it into again, each with the number of a [`Code`](crate::Code) and
        /// the server's words. They are not tried again; where it was for now, five connections of this outage had
        /// failed for such groups.
        refused: Vec<(GroupName, u16, String)>,
        /// The groups that the application had not joined itself: an operator had added the connection, and with it
        /// that has ended. The client does not join them, as it may need no grant of its own to be in them only where
        /// an operator says so.
        lost: Vec<GroupName>,
    },
    /// The client is closed for good. The last event.
    Closed {
        /// Why.
        reason: CloseReason,
        /// How many events came while the client was closing and found the event queue full. They are lost.
        discarded: u64,
    },
}

impl Event {
    pub(crate) fn goodbye(code: u16, reason: String, retry_after_ms: u32) -> Self {
        let retry_after = (retry_after_ms > 0).then(|| Duration::from_millis(retry_after_ms.into()));
        Self::Goodbye { code, reason, retry_after }
    }
}

/// Something that happened in a watched group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// Who has come, or is otherwise than before, and who has left. The first of them has everyone who is present, and
    /// may have nobody.
    Changed {
        /// Users who are present.
        present: Vec<Present>,
        /// Users who were, and are not any more.
        left: Vec<UserName>,
    },
    /// The server has ended the watch, and not only for now. The last event.
    Ended {
        /// The number of a [`Code`](crate::Code).
        code: u16,
        /// Why, in the server's words.
        reason: String,
    },
}

/// Why a client is closed for good.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application called [`Client::close`](crate::Client::close).
    #[error("the client was closed by the application")]
    Requested,
    /// The connection ended and reconnecting is off, or can not help, or the first attempt would begin later than
    /// [`Reconnect::max_elapsed`](crate::Reconnect::max_elapsed) allows.
    #[error("{0}")]
    Ended(Disconnect),
    /// An attempt to reconnect failed in a way that another attempt would not mend.
    #[error("reconnecting failed for good: {0}")]
    Refused(Arc<ConnectError>),
    /// The limit that [`Reconnect`](crate::Reconnect) sets was reached.
    #[error("gave up reconnecting after {attempts} attempts in {} s; the last said: {last}", after.as_secs_f32())]
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// How long ago the connection was lost.
        after: Duration,
        /// How the last attempt failed.
        last: Arc<ConnectError>,
    },
}
