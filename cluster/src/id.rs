//! Which node something is from, and where a message to another goes.
//!
//! In: four bytes, which ids of connections begin with. Out: the same as eight hex digits, and a small set of nodes.
//! Invariant: a process has an id of its own, so that a node that comes back is another one.

use std::fmt;
use std::str::FromStr;

use fanfare_protocol::ConnectionId;

/// One run of one server. The ids of its connections begin with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; ConnectionId::NODE_BYTES as usize]);

impl NodeId {
    /// The node whose connections' ids begin with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; ConnectionId::NODE_BYTES as usize]) -> Self {
        Self(bytes)
    }

    /// Where a connection is.
    #[must_use]
    pub const fn of(connection: &ConnectionId) -> Self {
        let [a, b, c, d, ..] = *connection.as_bytes();
        Self([a, b, c, d])
    }

    /// The four bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not eight hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a node is eight hex digits, in lower case")]
pub struct NodeIdError;

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 8 || !text.bytes().all(is_digit) {
            return Err(NodeIdError);
        }
        let number = u32::from_str_radix(text, 16).map_err(|_| NodeIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// How many other nodes a node knows at a time.
pub const MOST_PEERS: usize = 64;

/// A set of peers, by their places. There are [`MOST_PEERS`] places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Places(u64);

impl Places {
    pub(crate) fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    pub(crate) fn remove(&mut self, place: usize) -> bool {
        let was = self.contains(place);
        self.0 &= !(1 << place);
        was
    }

    pub(crate) fn contains(self, place: usize) -> bool {
        self.0 & 1 << place != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..MOST_PEERS).filter(move |place| self.contains(*place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_in_no_other_way() {
        let id = NodeId::new([0, 0x1a, 0xff, 7]);
        assert_eq!(id.to_string(), "001aff07");
        assert_eq!("001aff07".parse(), Ok(id));
        for wrong in ["", "001AFF07", "001aff7", "001aff077", "+01aff07", "001aff0é"] {
            assert_eq!(wrong.parse::<NodeId>(), Err(NodeIdError), "{wrong}");
        }
    }

    #[test]
    fn a_connection_says_where_it_is() {
        let id = ConnectionId::on_node([1, 2, 3, 4], [9; 12]);
        assert_eq!(NodeId::of(&id), NodeId::new([1, 2, 3, 4]));
    }
}
