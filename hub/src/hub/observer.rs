//! Another node that watches groups here: who is here, and how that changes, as bytes for it.
//!
//! In: the groups that somebody watches there. Out: frames of presence, as many at a time as make a message. Invariant:
//! what is not taken is bounded; where it is more, the snapshot begins anew, as for a client that reads slowly.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, Bytes, BytesMut};
use fanfare_protocol::{ConnectionId, GroupName};

use crate::outbox::{Outbox, OutboxLimits, Overflow, Taken};
use crate::registry::Registry;

/// What waits for a node: of all the groups that somebody watches there. A change finds room in half of it.
const LIMITS: OutboxLimits =
    OutboxLimits { frames: 1 << 16, bytes: 16 << 20, overflow: Overflow::DropOldest };

/// A node that watches groups here, until it is dropped: [`Hub::observer`](crate::Hub::observer).
pub struct Observer<P> {
    registry: Arc<Registry<P>>,
    id: ConnectionId,
    outbox: Arc<Outbox>,
    groups: HashSet<GroupName, foldhash::quality::RandomState>,
    /// Frames that were taken out of the outbox, and did not fit.
    left: VecDeque<Bytes>,
}

impl<P> Observer<P> {
    pub(crate) fn new(registry: Arc<Registry<P>>, id: ConnectionId) -> Self {
        let outbox = Arc::new(Outbox::new(LIMITS));
        Self { registry, id, outbox, groups: HashSet::default(), left: VecDeque::new() }
    }

    /// Watches a group, from its beginning; also where it watches it already.
    pub fn watch(&mut self, group: &GroupName) {
        self.registry.observe(group, self.id, &self.outbox);
        self.groups.insert(group.clone());
    }

    /// Watches it no more.
    pub fn unwatch(&mut self, group: &GroupName) {
        if self.groups.remove(group) {
            self.registry.abroad.unwatch(group, &self.id, None);
        }
    }

    /// Some of what there is to tell: whole frames, as the protocol writes them, and at most so many bytes of them, or
    /// one. `None`: there is nothing at this moment.
    pub fn take(&mut self, most: usize) -> Option<Bytes> {
        if self.left.is_empty() {
            let mut frames = Vec::new();
            // Whoever asks asks again: nobody is to be woken.
            let taken = self.outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut frames);
            if matches!(taken, Poll::Ready(Taken::Batch(_))) {
                self.left.extend(frames);
            }
        }
        let mut taken = BytesMut::from(self.left.pop_front()?);
        while let Some(frame) = self.left.pop_front_if(|frame| taken.len() + frame.len() <= most) {
            taken.put_slice(&frame);
        }
        Some(taken.freeze())
    }
}

impl<P> Drop for Observer<P> {
    fn drop(&mut self) {
        for group in &self.groups {
            self.registry.abroad.unwatch(group, &self.id, None);
        }
    }
}
