//! Where a row is in a list.
//!
//! In: what a list is ordered by. Out: an order in which no two rows are at one place; a cursor, and back. Invariant: a
//! place is a row's own, and no number, so that whatever comes and goes before it, what is behind it is the same.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::ConnectionId;
use serde::{Deserialize, Serialize};

/// What a list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Key {
    Id(ConnectionId),
    Number(u64),
    Text(String),
}

impl From<usize> for Key {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Where a row is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What the list is sorted by.
    pub(crate) by: Key,
    /// What tells rows apart that are alike in that; nothing where the list is sorted by just this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Key>,
}

impl Place {
    /// Which of two comes first. Rows that are alike in what is sorted by are in one order, whichever way that is
    /// sorted.
    pub(crate) fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let by = self.by.cmp(&other.by);
        let by = if descending { by.reverse() } else { by };
        by.then_with(|| self.id.cmp(&other.id))
    }

    /// As whoever asks for the next page gives it back.
    pub(crate) fn cursor(&self) -> String {
        // Numbers and texts: there is nothing in it that JSON does not have.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What [`Place::cursor`] made.
    pub(crate) fn read(cursor: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_again_and_anything_else_is_none() {
        let id = ConnectionId::from_bytes([7; 16]);
        for place in [
            Place { by: Key::Id(id), id: None },
            Place { by: Key::Number(u64::MAX), id: Some(Key::Id(id)) },
            Place { by: "\u{e9}\"\\".into(), id: Some("room".into()) },
        ] {
            assert_eq!(Place::read(&place.cursor()), Some(place));
        }
        for other in ["", "?", "AAAA", &URL_SAFE_NO_PAD.encode("{\"by\":7}")] {
            assert_eq!(Place::read(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_alike_is_in_one_order_either_way() {
        let place = |by: u64, id: &str| Place { by: by.into(), id: Some(id.into()) };
        for descending in [false, true] {
            assert_eq!(place(1, "a").compare(&place(1, "b"), descending), Ordering::Less);
        }
        assert_eq!(place(1, "a").compare(&place(2, "a"), true), Ordering::Greater);
    }
}
