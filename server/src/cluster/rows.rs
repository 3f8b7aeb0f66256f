//! Decisions as entries of the bucket, and back.
//!
//! In: decisions, or entries as they come. Out: the other of the two. Invariant: an entry that cannot be read is no
//! decision that was not made: whoever gets [`RowError`] does not know what stands, and may let nobody in.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use fanfare_cluster::NodeId;
use fanfare_protocol::admin::{BanKind, BanRow, LastingRow};
use fanfare_protocol::{GroupName, UserName};
use fanfare_token::Seconds;
use serde::{Deserialize, Serialize};

use crate::access::{BanKey, StoredKey};
use crate::moderation::Decision;

/// What an entry says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Row {
    Ban(BanRow),
    Lasting(LastingRow),
    Key(StoredKey),
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    row: Row,
    /// What whoever is removed for it is told.
    #[serde(default)]
    reason: String,
}

/// Whose heartbeat a key is of.
pub(super) fn node(key: &str) -> Option<NodeId> {
    key.strip_prefix("node.").and_then(|id| id.parse().ok())
}

/// Where a node's heartbeat is.
pub(super) fn node_key(id: NodeId) -> String {
    format!("node.{id}")
}

/// A decision as it is put: its key, and its value, where there is one.
pub(super) fn entry(decision: &Decision, reason: &str) -> (String, Option<Bytes>) {
    let row = match decision {
        Decision::Ban(ban) => Row::Ban(ban.clone()),
        Decision::Lasting(row) => Row::Lasting(row.clone()),
        Decision::Key(key) => Row::Key(key.clone()),
        Decision::Lift(key) => return (ban_key(key), None),
        Decision::DropLasting(user, group) => return (lasting_key(user, group), None),
        Decision::DropKey(name) => return (api_key(name), None),
    };
    let key = row.key();
    let entry = Entry { row, reason: reason.to_owned() };
    // Texts and numbers: there is nothing in it that JSON does not have.
    (key, Some(serde_json::to_vec(&entry).unwrap_or_default().into()))
}

impl Row {
    fn key(&self) -> String {
        match self {
            Self::Ban(ban) => ban_key(&BanKey::from(ban)),
            Self::Lasting(row) => lasting_key(&row.user, &row.group),
            Self::Key(key) => api_key(&key.row.name),
        }
    }

    fn end(self) -> Decision {
        match self {
            Self::Ban(ban) => Decision::Lift(BanKey::from(&ban)),
            Self::Lasting(row) => Decision::DropLasting(row.user, row.group),
            Self::Key(key) => Decision::DropKey(key.row.name),
        }
    }
}

fn ban_key(key: &BanKey) -> String {
    let kind = serde_json::to_string(&key.kind).unwrap_or_default();
    format!("ban.{}", hash([kind.as_str(), &key.subject, &key.groups]))
}

fn lasting_key(user: &UserName, group: &GroupName) -> String {
    format!("lasting.{}", hash([user.as_str(), group.as_str(), ""]))
}

fn api_key(name: &str) -> String {
    format!("key.{}", hash([name, "", ""]))
}

/// Names have characters that keys of the bucket may not have.
fn hash(parts: [&str; 3]) -> String {
    let lengths = parts.map(|part| part.len().to_string());
    let text = [parts, lengths.each_ref().map(String::as_str)].concat().join("\n");
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// When something was decided; what ends something is of no time.
pub(super) fn since(decision: &Decision) -> Seconds {
    match decision {
        Decision::Ban(ban) => ban.since,
        Decision::Lasting(row) => row.since,
        Decision::Key(key) => key.row.since,
        Decision::Lift(_) | Decision::DropLasting(..) | Decision::DropKey(_) => 0,
    }
}

/// An entry that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entry {key} of the cluster's bucket cannot be read: {problem}")]
pub(crate) struct RowError {
    key: String,
    problem: String,
}

/// How long an entry stays that has ended: longer than clocks are apart, and than anybody takes to look at it.
const LEFT: Seconds = 86_400;

/// What the bucket has.
#[derive(Debug, Default)]
pub(super) struct Rows {
    known: HashMap<String, Row>,
    /// Of what was lifted, the keys, until everything that a disk had is brought.
    lifted: HashSet<String>,
    is_brought: bool,
}

impl Rows {
    /// What an entry decides, with what those are told who are removed for it; nothing where it ends what was not
    /// there.
    pub(super) fn read(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<Option<(Decision, String)>, RowError> {
        let Some(value) = value else {
            if !self.is_brought {
                self.lifted.insert(key.to_owned());
            }
            return Ok(self.known.remove(key).map(|row| (row.end(), String::new())));
        };
        // Where it cannot be read, what was known stays, so that it can be ended.
        let wrong = |problem: String| RowError { key: key.to_owned(), problem };
        let Entry { row, reason } =
            serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
        if row.key() != key {
            return Err(wrong("it belongs to another key".to_owned()));
        }
        self.known.insert(key.to_owned(), row.clone());
        self.lifted.remove(key);
        let decision = match row {
            Row::Ban(ban) => Decision::Ban(ban),
            Row::Lasting(row) => Decision::Lasting(row),
            Row::Key(key) => Decision::Key(key),
        };
        Ok(Some((decision, reason)))
    }

    /// Entries that have ended long ago, at most so many: they say nothing any more.
    pub(super) fn ended(&self, now: Seconds, most: usize) -> Vec<String> {
        let has_ended = |row: &Row| {
            let until = match row {
                // A sign-out's end is reckoned from what its issuer's tokens may be, and not from this.
                Row::Ban(ban) if ban.kind == BanKind::SignOut => None,
                Row::Ban(ban) => ban.until,
                Row::Lasting(row) => row.until,
                Row::Key(key) => key.row.until,
            };
            until.is_some_and(|until| until.saturating_add(LEFT) < now)
        };
        let ended = self.known.iter().filter(|(_, row)| has_ended(row));
        ended.take(most).map(|(key, _)| key.clone()).collect()
    }

    /// Whether the bucket has what a decision puts, decided at the same time or later. Times are in seconds, and of
    /// two clocks: of what was decided within the same second, or nearly, what is in the bucket counts. A key is made
    /// once: of two with the same name the bucket's counts.
    pub(super) fn is_as_new_as(&self, decision: &Decision) -> bool {
        let since = |row: &Row| match row {
            Row::Ban(ban) => ban.since,
            Row::Lasting(row) => row.since,
            Row::Key(_) => Seconds::MAX,
        };
        let known = self.known.get(&entry(decision, "").0).map(since);
        known.is_some_and(|known| known >= self::since(decision))
    }

    /// Nobody asks any more what was lifted: it is not kept.
    pub(super) fn brought(&mut self) {
        (self.lifted, self.is_brought) = (HashSet::new(), true);
    }

    /// Whether what a decision puts was lifted, and nothing was put in its place since.
    pub(super) fn was_lifted(&self, decision: &Decision) -> bool {
        self.lifted.contains(&entry(decision, "").0)
    }

    /// Whether the bucket has what a decision puts.
    pub(super) fn has(&self, decision: &Decision) -> bool {
        self.known.contains_key(&entry(decision, "").0)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::admin::May;

    use super::*;

    fn ban(user: &str) -> BanRow {
        BanRow {
            kind: BanKind::Group,
            user: Some(UserName::new(user).unwrap()),
            groups: Some("room-*".parse().unwrap()),
            jti: None,
            since: 1,
            until: None,
            reason: "spam".to_owned(),
            author: "oncall".to_owned(),
        }
    }

    #[test]
    fn what_is_decided_comes_back_and_its_end_is_known_by_its_key() {
        let (user, group) = (UserName::new("älice b").unwrap(), GroupName::new("a.b>*").unwrap());
        let lasting =
            LastingRow { user, group, may: May::Both, since: 1, until: None, author: "key:x".to_owned() };
        let put = [Decision::Ban(ban("alice")), Decision::Lasting(lasting.clone())];
        let end =
            [Decision::Lift(BanKey::from(&ban("alice"))), Decision::DropLasting(lasting.user, lasting.group)];
        let mut rows = Rows::default();
        for (put, end) in put.into_iter().zip(end) {
            let (key, value) = entry(&put, "why");
            assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{key}");
            assert_eq!(entry(&end, ""), (key.clone(), None));
            assert_eq!(rows.read(&key, value.as_deref()), Ok(Some((put.clone(), "why".to_owned()))));
            assert!(rows.has(&put));
            assert_eq!(rows.read(&key, None), Ok(Some((end, String::new()))));
            assert_eq!(rows.read(&key, None), Ok(None));
        }
    }

    #[test]
    fn of_two_the_later_is_as_new_and_what_was_lifted_is_known() {
        let mut rows = Rows::default();
        let at = |since| Decision::Ban(BanRow { since, ..ban("alice") });
        assert!(!rows.is_as_new_as(&at(0)) && !rows.was_lifted(&at(0)), "there is none");
        let (key, value) = entry(&at(5), "");
        rows.read(&key, value.as_deref()).unwrap();
        assert_eq!([4, 5, 6].map(|since| rows.is_as_new_as(&at(since))), [true, true, false]);
        rows.read(&key, None).unwrap();
        assert!(rows.was_lifted(&at(9)) && !rows.is_as_new_as(&at(1)));
        rows.read(&key, value.as_deref()).unwrap();
        assert!(!rows.was_lifted(&at(9)));
        rows.read(&key, None).unwrap();
        rows.brought();
        rows.read("ban.another", None).unwrap();
        assert!(rows.lifted.is_empty(), "there is no end of what is lifted");
    }

    #[test]
    fn what_has_ended_long_ago_can_go_and_nothing_else() {
        let mut rows = Rows::default();
        let until = |until, kind| BanRow { until, kind, ..ban("alice") };
        for (ban, goes) in [
            (until(Some(100), BanKind::Group), true),
            (until(Some(101), BanKind::Group), false),
            (until(None, BanKind::Group), false),
            (until(Some(100), BanKind::SignOut), false),
        ] {
            let (key, value) = entry(&Decision::Ban(ban), "");
            rows.read(&key, value.as_deref()).unwrap();
            let expected = if goes { vec![key] } else { Vec::new() };
            assert_eq!(rows.ended(100 + LEFT + 1, 9), expected);
            rows.known.clear();
        }
    }

    #[test]
    fn promise_19_an_entry_that_cannot_be_read_is_told() {
        let mut rows = Rows::default();
        let (key, value) = entry(&Decision::Ban(ban("alice")), "");
        let (other, _) = entry(&Decision::Ban(ban("bob")), "");
        for (key, value) in [
            (key.as_str(), Some(&b"{}"[..])),
            (key.as_str(), Some(&b"{\"mute\":{}}"[..])),
            (other.as_str(), value.as_deref()),
            ("ban.of-a-later-kind", Some(&b"{\"ban\":1}"[..])),
        ] {
            assert!(rows.read(key, value).is_err(), "{key}");
        }
    }

    #[test]
    fn promise_19_what_could_not_be_read_for_a_while_is_ended_all_the_same() {
        let mut rows = Rows::default();
        let (key, value) = entry(&Decision::Ban(ban("alice")), "");
        rows.read(&key, value.as_deref()).unwrap();
        rows.read(&key, Some(b"{}")).unwrap_err();
        let end = Decision::Lift(BanKey::from(&ban("alice")));
        assert_eq!(rows.read(&key, None), Ok(Some((end, String::new()))));
    }

    #[test]
    fn whose_heartbeat_it_is_stands_in_its_key() {
        let id = NodeId::new([0, 1, 2, 255]);
        assert_eq!(node(&node_key(id)), Some(id));
        assert_eq!(node("ban.000102ff"), None);
        assert_eq!(node("node.xyz"), None);
    }
}
