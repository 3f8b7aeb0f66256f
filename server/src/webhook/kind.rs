//! The kinds of events that back ends are told of.

use serde::{Deserialize, Serialize};

/// A kind of event that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WebhookEvent {
    /// The server has started: every connection of before has ended.
    Started,
    /// A connection has become a member of a group.
    Joined,
    /// A membership of a connection has ended.
    Left,
    /// A user is in a group with its first connection.
    UserJoined,
    /// A user's last connection has left a group, and none has come back within the grace of presence.
    UserLeft,
    /// A group has its first member.
    GroupOpened,
    /// A group's last member has gone.
    GroupClosed,
    /// A connection has ended.
    Disconnected,
    /// Events were lost here, because too many waited or for too long. Always asked for.
    Lost,
}

impl WebhookEvent {
    /// Those that can be asked for.
    pub const ALL: [Self; 8] = [
        Self::Started,
        Self::Joined,
        Self::Left,
        Self::UserJoined,
        Self::UserLeft,
        Self::GroupOpened,
        Self::GroupClosed,
        Self::Disconnected,
    ];

    /// As it is written in settings and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::UserJoined => "user_joined",
            Self::UserLeft => "user_left",
            Self::GroupOpened => "group_opened",
            Self::GroupClosed => "group_closed",
            Self::Disconnected => "disconnected",
            Self::Lost => "lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_written() {
        for kind in WebhookEvent::ALL.into_iter().chain([WebhookEvent::Lost]) {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
