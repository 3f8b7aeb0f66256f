//! For tests: what a watcher makes of what it is told, and everything that it can hold against it.

use std::collections::BTreeMap;

use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{Payload, UserName};

/// One group, as a watcher has it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Who is present, with how many connections, and what is said of it.
    pub(crate) users: BTreeMap<UserName, (u32, Option<Payload>)>,
    pub(crate) revision: u64,
    /// A snapshot has come to its end.
    pub(crate) is_complete: bool,
    /// A snapshot has begun, and nothing has ended the watch since.
    pub(crate) is_open: bool,
    /// How many snapshots have begun.
    pub(crate) snapshots: usize,
    /// With what the server ended it.
    pub(crate) ended: Option<u16>,
}

impl View {
    /// Takes a frame in.
    ///
    /// # Panics
    /// Where there is a gap, or something is told twice, or after the end.
    pub(crate) fn take(&mut self, frame: PresenceFrame) {
        match frame {
            PresenceFrame::Snapshot { revision, begins, complete, present, .. } => {
                if begins {
                    let snapshots = self.snapshots + 1;
                    *self = Self { revision, is_open: true, snapshots, ..Self::default() };
                }
                assert!(self.is_open, "a part of a snapshot that has not begun");
                assert!(!self.is_complete, "a part behind the last");
                assert_eq!(revision, self.revision, "a gap before a part of a snapshot");
                self.put(present);
                self.is_complete = complete;
            }
            PresenceFrame::Changes { revision, present, left, .. } => {
                assert!(self.is_open, "a change of what was not told");
                assert_eq!(revision, self.revision + 1, "a gap");
                assert!(!present.is_empty() || !left.is_empty(), "nothing");
                self.revision = revision;
                for user in &left {
                    let was = self.users.remove(user);
                    assert!(was.is_some() || !self.is_complete, "{user:?} left twice");
                }
                for one in &present {
                    let told = self.users.get(&one.user);
                    let is_news = told != Some(&(one.connections, one.data.clone()));
                    assert!(is_news || !self.is_complete, "told twice: {one:?}");
                }
                self.put(present);
            }
            PresenceFrame::Ended { code, .. } => {
                *self = Self { ended: Some(code), snapshots: self.snapshots, ..Self::default() };
            }
        }
    }

    fn put(&mut self, present: Vec<Present>) {
        for Present { user, connections, data } in present {
            assert!(connections > 0, "{user:?} is present with no connection");
            self.users.insert(user, (connections, data));
        }
    }
}
