//! One who watches a group: a connection, or another node; how far it is, and what it is told of a change.
//!
//! In: frames. Out: the same in its outbox, or that its snapshot begins anew. Invariant: what does not find room is
//! never passed over (promise 16).

use std::sync::Arc;

use fanfare_protocol::UserName;
use fanfare_protocol::presence::Present;

use super::attendance::weight;
use crate::member::Member;
use crate::outbox::Outbox;
use crate::sheet::Sheet;

/// Who watches, and how far it is.
pub(super) struct Watcher<P> {
    pub(super) reader: Reader<P>,
    pub(super) stage: Stage,
}

/// Who is told.
pub(super) enum Reader<P> {
    /// A connection.
    Client(Arc<Member<P>>),
    /// Another node.
    Node(Arc<Outbox>),
}

impl<P> Reader<P> {
    pub(super) fn outbox(&self) -> &Outbox {
        match self {
            Self::Client(member) => member.outbox(),
            Self::Node(outbox) => outbox,
        }
    }
}

/// How far a watcher is.
pub(super) enum Stage {
    /// Its snapshot is to begin.
    Behind,
    /// It was told of the users up to this name.
    Listing(UserName),
    /// It was told all.
    Current,
}

/// What was done, for the counters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    /// Frames that were queued.
    pub(super) frames: u64,
    /// Watchers whose snapshot has to begin anew, because there was no room for a change.
    pub(super) restarts: u64,
}

impl<P> Watcher<P> {
    pub(super) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Current)
    }

    /// Queues a change, where something was told already that it is a change of.
    pub(super) fn change(&mut self, sheet: &Arc<Sheet>, tally: &mut Tally) {
        if matches!(self.stage, Stage::Behind) {
            return;
        }
        if self.reader.outbox().push_presence(sheet) {
            tally.frames += 1;
            return;
        }
        self.reader.outbox().forget_presence(sheet.group());
        self.stage = Stage::Behind;
        tally.restarts += 1;
    }
}

/// Changes, cut into frames of about so many bytes.
pub(super) fn frames(
    present: Vec<Present>,
    left: Vec<UserName>,
    bytes: usize,
) -> Vec<(Vec<Present>, Vec<UserName>)> {
    let mut frames: Vec<(Vec<Present>, Vec<UserName>)> = Vec::new();
    let mut taken = usize::MAX;
    let mut place = |frames: &mut Vec<_>, weight: usize| {
        if taken >= bytes {
            frames.push(Default::default());
            taken = 0;
        }
        taken += weight;
    };
    for one in present {
        place(&mut frames, weight(&one));
        if let Some((present, _)) = frames.last_mut() {
            present.push(one);
        }
    }
    for user in left {
        place(&mut frames, user.as_str().len() + 3);
        if let Some((_, left)) = frames.last_mut() {
            left.push(user);
        }
    }
    frames
}
