//! What a node gives of a list at a time.
//!
//! In: rows at their places, in their order. Out: as many as a message between nodes takes, and whether there are more.
//! Invariant: a message is never longer than it may be, however long names are; where a part is no part of its list, it
//! is not taken.

use bytes::Bytes;
use fanfare_protocol::admin::{ConnectionRow, GroupRow, UserRow};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::place::Place;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Connection(Box<ConnectionRow>),
    User(UserRow),
    Group(GroupRow),
}

impl Line {
    /// What another node has of the same.
    pub(crate) fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        match (self, other) {
            (Self::User(user), Self::User(other)) => add(&mut user.connections, other.connections),
            (Self::Group(group), Self::Group(other)) => {
                add(&mut group.members, other.members);
                add(&mut group.users, other.users);
                add(&mut group.deliveries, other.deliveries);
                add(&mut group.waiting_frames, other.waiting_frames);
                add(&mut group.watchers, other.watchers);
            }
            // A connection is on one node.
            _ => {}
        }
    }
}

/// A row, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Place,
    /// Not given where only its place was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<Line>,
}

/// A part of a node's list: what comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part<E = Entry> {
    /// How many rows there are in all, before and behind it too.
    pub(crate) total: u64,
    pub(crate) entries: Vec<E>,
    /// Whether there are more behind it.
    pub(crate) more: bool,
}

/// A part as a message of at most so many bytes: what does not fit comes with the next. At least one row is in it.
pub(crate) fn pack(part: Part, most_bytes: usize) -> Bytes {
    let Part { total, entries, mut more } = part;
    // The rest of the part, with room to spare.
    let mut left = most_bytes.saturating_sub(128);
    let mut packed: Vec<Box<RawValue>> = Vec::with_capacity(entries.len());
    for entry in entries {
        // Texts and numbers: there is nothing in it that JSON does not have.
        let Ok(entry) = serde_json::value::to_raw_value(&entry) else { continue };
        let bytes = entry.get().len() + 1;
        if bytes > left && !packed.is_empty() {
            more = true;
            break;
        }
        left = left.saturating_sub(bytes);
        packed.push(entry);
    }
    serde_json::to_vec(&Part { total, entries: packed, more }).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::UserName;

    use super::*;

    fn part(rows: usize) -> Part {
        let entry = |number: usize| {
            let user = UserName::new(&format!("{number:03}{}", "\u{e9}\"".repeat(60))).unwrap();
            let at = Place { by: user.as_str().into(), id: None };
            Entry { at, line: Some(Line::User(UserRow { user, connections: 1 })) }
        };
        Part { total: 1_000, entries: (0..rows).map(entry).collect(), more: false }
    }

    #[test]
    fn a_part_is_as_long_as_a_message_may_be_and_says_that_there_is_more() {
        for most in [1, 600, 4_096, 100_000] {
            let whole = part(100);
            let bytes = pack(whole.clone(), most);
            let packed: Part = serde_json::from_slice(&bytes).unwrap();
            assert!(bytes.len() <= most || packed.entries.len() == 1, "{} in {most}", bytes.len());
            assert_eq!(packed.entries, whole.entries[..packed.entries.len()]);
            assert_eq!((packed.more, packed.total), (packed.entries.len() < 100, 1_000));
        }
        assert_eq!(serde_json::from_slice::<Part>(&pack(part(0), 1)).unwrap().entries, []);
    }
}
