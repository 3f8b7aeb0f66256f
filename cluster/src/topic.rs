//! What messages are about that go to many: a group, or a user. Nodes tell each other numbers and not names.
//!
//! In: a name. Out: its number, the same on every node and in every version. Two names may have the same number, also
//! by somebody's intent: then a node gets messages that nobody there wants, and drops them. So a number decides where
//! messages go, and never that they do not: what is wanted is counted by names (`own.rs`).

use fanfare_hub::Topic;
use fanfare_protocol::{GroupName, UserName};

/// A topic's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicNumber(pub(crate) u64);

/// A topic that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicName {
    /// A user's connections.
    User(UserName),
    /// A group's members.
    Group(GroupName),
}

impl TopicName {
    pub(crate) fn as_topic(&self) -> Topic<'_> {
        match self {
            Self::User(user) => Topic::User(user),
            Self::Group(group) => Topic::Group(group),
        }
    }
}

impl From<Topic<'_>> for TopicName {
    fn from(topic: Topic<'_>) -> Self {
        match topic {
            Topic::User(user) => Self::User(user.clone()),
            Topic::Group(group) => Self::Group(group.clone()),
        }
    }
}

impl TopicNumber {
    /// FNV-1a over the kind and the name (<http://www.isthe.com/chongo/tech/comp/fnv/>).
    pub(crate) fn of(topic: Topic<'_>) -> Self {
        let (kind, name) = match topic {
            Topic::User(user) => (b'u', user.as_str()),
            Topic::Group(group) => (b'g', group.as_str()),
        };
        let mut number = 0xcbf2_9ce4_8422_2325_u64;
        for byte in std::iter::once(kind).chain(name.bytes()) {
            number = (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of two versions must agree: these numbers never change.
    #[test]
    fn a_topic_has_its_number_for_good() {
        let (user, group) = (UserName::new("alice").unwrap(), GroupName::new("alice").unwrap());
        assert_eq!(TopicNumber::of(Topic::User(&user)).0, 0x2341_ac05_52eb_9658);
        assert_ne!(TopicNumber::of(Topic::User(&user)), TopicNumber::of(Topic::Group(&group)));
    }
}
