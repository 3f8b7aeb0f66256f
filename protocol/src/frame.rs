//! The frames: what a client says to the server, and the server to a client.
//!
//! Plain values with valid names in them. How they look as bytes is the codec's business alone.

use bytes::Bytes;

use crate::call::{ClientCall, ServerCall};
use crate::presence::PresenceFrame;
use crate::{ConnectionId, EventName, Features, GroupName, Limits, PayloadFormat, RequestId, UserName};

/// A client's frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// The first frame, and only the first: which protocol, and who this is.
    Hello {
        /// The version the client speaks; see [`crate::PROTOCOL_VERSION`].
        protocol: u32,
        /// What of later versions the client understands as well.
        features: Features,
        /// Who the client is.
        credential: Credential,
    },
    /// Become a member of a group. Joining a group one is in already does nothing. Answered with `Ack`, whose count is
    /// the group's members.
    Join {
        /// Echoed in the answer.
        request: RequestId,
        /// The group.
        group: GroupName,
    },
    /// Stop being a member. Leaving a group one is not in does nothing. Answered with `Ack`, whose count is the
    /// members that are left.
    Leave {
        /// Echoed in the answer.
        request: RequestId,
        /// The group.
        group: GroupName,
    },
    /// Send a message.
    Send(Send),
    /// Ask how many connections a target has right now. Answered with `Ack`.
    Count {
        /// Echoed in the answer.
        request: RequestId,
        /// What to count.
        target: Target,
    },
    /// Replace the token by another one of the same user. Memberships that the new token does not cover end with
    /// `Removed`. Answered with `Ack`, whose count is the groups that the connection is still in.
    Refresh {
        /// Echoed in the answer.
        request: RequestId,
        /// The new token.
        token: Token,
    },
    /// Something about a call; where [`Features::CALLS`] was chosen.
    Call(ClientCall),
    /// Be told who is in a group, and how that changes; where [`Features::PRESENCE`] was chosen. No membership is
    /// needed. Watching a group that one watches already has its snapshot begin anew. Answered with `Ack`, whose count
    /// is the users who are present.
    Watch {
        /// Echoed in the answer.
        request: RequestId,
        /// The group.
        group: GroupName,
    },
    /// Be told no more. Answered with `Ack`, whose count is 0; nothing about the group comes after it.
    Unwatch {
        /// Echoed in the answer.
        request: RequestId,
        /// The group.
        group: GroupName,
    },
}

/// A signed token (JWT). Never in a URL, never in a log.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Takes any text; the server says whether it is a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token itself, for whoever checks or sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    /// Leaves the token out: what is debugged ends in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

/// Who a client says it is, and why the server should believe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A signed token.
    Token(Token),
    /// A user name without proof, which only a server started with `--dev` takes.
    DevUser(UserName),
    /// The certificate that was shown in the TLS handshake says it.
    Certificate,
}

/// A message on its way from a client to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Echoed in the answer.
    pub request: RequestId,
    /// Whether the client wants an `Ack`, whose count is the connections it was queued to. A refusal is always told.
    pub ack: bool,
    /// Where to. A connection that is reached in several ways gets one copy, for the first target that reaches it.
    pub to: Vec<Target>,
    /// Connections that get no copy, whatever reaches them.
    pub except: Vec<ConnectionId>,
    /// Whether the sending connection itself gets no copy.
    pub others: bool,
    /// The name the message carries.
    pub event: EventName,
    /// What the payload is written in. Passed on as it is.
    pub format: PayloadFormat,
    /// Opaque to the server.
    pub payload: Bytes,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of a user.
    User(UserName),
    /// Every member of a group.
    Group(GroupName),
    /// Every connection of the server.
    All,
}

/// The server's frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// The answer to `Hello`, and the first frame.
    Welcome(Welcome),
    /// A request was done.
    Ack {
        /// The request's.
        request: RequestId,
        /// What was counted; each request says what.
        count: u64,
    },
    /// As `Ack`, of a cluster: nodes that did not say in time what there is on them, which is not in the count. It has
    /// the bytes of an `Ack` and an extension, so that who does not know it takes it for one.
    AckPart {
        /// The request's.
        request: RequestId,
        /// What was counted.
        count: u64,
        /// Those nodes, by the names that operators know them by.
        silent: Vec<String>,
    },
    /// A request was refused; nothing of it was done.
    Error {
        /// The request's.
        request: RequestId,
        /// The number of a [`crate::Code`]; one that this version does not know is possible.
        code: u16,
        /// What exactly was wrong, for a person.
        detail: String,
    },
    /// A message.
    Message(Message),
    /// The connection is a member of this group from here on. No message to the group comes before it.
    Joined {
        /// The group.
        group: GroupName,
        /// How many members it has, this one included.
        members: u64,
    },
    /// The server ended the connection's membership. No message to the group comes after it, unless it is joined again.
    Removed {
        /// The group.
        group: GroupName,
        /// The number of a [`crate::Code`].
        code: u16,
        /// Why, for a person.
        reason: String,
    },
    /// The last frame: the server is about to close the connection.
    Goodbye {
        /// The number of a [`crate::Code`].
        code: u16,
        /// Why, for a person.
        reason: String,
        /// After how many milliseconds the client may reconnect by itself, at the earliest; 0 is never. Where nobody
        /// chose a time it is [`crate::Code::retry_after_ms`].
        retry_after_ms: u32,
    },
    /// Messages that should stand here were dropped because the client read too slowly (overflow policy `drop-oldest`);
    /// or, in a cluster, were lost on the way from another node, and may have been for it.
    Lagged {
        /// How many at most, since the last such frame.
        dropped: u64,
    },
    /// Access ends soon, unless the client refreshes its token.
    Expiring {
        /// What ends.
        scope: ExpiryScope,
        /// In how many seconds.
        seconds: u32,
    },
    /// Something about a call; where [`Features::CALLS`] was chosen.
    Call(ServerCall),
    /// Something about a group that is watched; where [`Features::PRESENCE`] was chosen.
    Presence(PresenceFrame),
}

/// What ends when access expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryScope {
    /// The token, and with it the connection.
    Token,
    /// Memberships of the connection, because a grant ends. The connection goes on.
    Groups {
        /// How many.
        count: u32,
    },
}

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version the server speaks on this connection.
    pub protocol: u32,
    /// What the server chose of the features that the client offered.
    pub features: Features,
    /// This connection's id.
    pub connection: ConnectionId,
    /// How many leading bytes of the ids of this server's connections name the node that they are on.
    pub node_bytes: u8,
    /// Reserved for resuming: 16 zeros, this session cannot be resumed.
    pub session: [u8; 16],
    /// Reserved for resuming: 0.
    pub position: u64,
    /// Who the server takes the client for.
    pub user: UserName,
    /// What this connection may send.
    pub limits: Limits,
    /// The server's name and version, for a person.
    pub server: String,
}

/// A message as its recipients get it. It has no field that differs between the recipients of one target, so that it is
/// encoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it. The server fills it in; a client cannot.
    pub from: Sender,
    /// The target that reached this connection.
    pub to: Target,
    /// The name the message carries.
    pub event: EventName,
    /// What the payload is written in. Passed on as it is.
    pub format: PayloadFormat,
    /// Opaque to the server.
    pub payload: Bytes,
}

impl Message {
    /// The payload as text, where it is UTF-8; whatever its format says.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }
}

/// Who a message is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A client.
    Connection {
        /// The connection it came on.
        connection: ConnectionId,
        /// The user of that connection.
        user: UserName,
    },
    /// The server itself, on behalf of an operator, a back end or the application.
    Server,
}

impl std::fmt::Display for Sender {
    /// The user's name, or `the server`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection { user, .. } => user.fmt(f),
            Self::Server => f.write_str("the server"),
        }
    }
}
