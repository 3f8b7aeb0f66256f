//! What is held back in an outbox of a hub that is one of several: everything behind a barrier whose proof is still to
//! come, and, while the hub delivers nothing, every message, every frame of presence, and what the application makes.
//!
//! In: proofs, the pause of the whole hub and its end, and that something was lost on the way from another node. Out:
//! the writer, which gets what may go, or waits; and whether an overflow is anybody's fault.
//!
//! Invariants:
//! - a writer that waits is woken when what it waits for has come, however the two race (models `promise_18_...` and
//!   `promise_19_...`);
//! - what may not be delivered leaves with nothing, also not with a drain;
//! - the first frame is the first, whatever is to be told of what was dropped before it.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fanfare_protocol::ServerFrame;

use super::phase::Phase;
use super::queue::{Entry, Mark};
use super::{Outbox, State, Taken, remember, wake_writer};
use crate::cluster::{Cluster, Proof};
use crate::sync::MutexGuard;

impl Outbox {
    /// Queues what the client is told before everything else, behind what it has to wait for.
    pub(crate) fn push_first(&self, proof: Option<Arc<Proof>>, first: &ServerFrame) {
        self.push_barrier(proof);
        let entry = match self.notice(first) {
            Some(Entry::Notice(bytes) | Entry::Marked(bytes, None)) => {
                Entry::Marked(bytes, Some(Box::new(Mark::First)))
            }
            Some(entry) => entry,
            None => return,
        };
        self.push_to(self.state.lock(), entry);
    }

    /// Queues a notice behind what it has to wait for.
    pub(crate) fn push_behind(&self, proof: Option<Arc<Proof>>, frame: &ServerFrame) {
        self.push_barrier(proof);
        self.push_notice(frame);
    }

    fn push_barrier(&self, proof: Option<Arc<Proof>>) {
        if let Some(proof) = proof {
            let barrier = Entry::Marked(Bytes::new(), Some(Box::new(Mark::Barrier(proof))));
            self.push_to(self.state.lock(), barrier);
        }
    }

    /// Has the writer look again, because a pause is over.
    pub(crate) fn resume(&self) {
        wake_writer(self.state.lock());
    }

    /// Up to so many messages may have been lost before they were here: the client is told with what it gets next, or
    /// alone. It is not known that they were for this one, so it is not counted as what it dropped.
    pub(crate) fn lag(&self, missed: u64) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Finishing | Phase::Ended(_)) && state.queue.is_empty() {
            return;
        }
        state.queue.lag(missed);
        wake_writer(state);
    }

    /// What [`Outbox::poll_take`] does where there is something that may be held back.
    #[inline(never)]
    pub(super) fn poll_take_unless_held(
        &self,
        mut state: MutexGuard<'_, State>,
        cluster: &dyn Cluster,
        context: &mut Context<'_>,
        chunks: &mut Vec<Bytes>,
    ) -> Poll<Taken> {
        let delivers = cluster.delivers();
        let may_go = |entry: &Entry| entry.may_go(delivers);
        while let Some(front) = state.queue.front()
            && !may_go(front)
        {
            if matches!(state.phase, Phase::Finishing) {
                state.queue.give_up();
                break;
            }
            // Where it was settled since it was looked at, there is nothing to wait for.
            if front.barrier().is_none_or(|proof| proof.remember(context.waker())) {
                state.queue.held();
                remember(&mut state.writer, context);
                return Poll::Pending;
            }
        }
        state.queue.given();
        Poll::Ready(Taken::Batch(state.queue.take(chunks, self.dialect.as_deref(), may_go)))
    }
}
