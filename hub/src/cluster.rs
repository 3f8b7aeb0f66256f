//! Other nodes, as the hub knows them: somebody who has messages reach those who are on other nodes, who says whether
//! what others send arrives here, and who may stop what is handed out.
//!
//! In: whom members are reached by here, and what they send. Out: whether what is queued may go now, and a [`Proof`]
//! for each membership that has to wait for one. A hub without a cluster asks nobody.
//!
//! Invariant: whoever waits for a proof is woken when it is there, however the two come together (model
//! `promise_18_a_join_against_its_proof`).

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use bytes::Bytes;
use fanfare_protocol::{
    Code, ConnectionId, Denial, EventName, GroupName, PayloadFormat, Sender, Target, UserName,
};
use hashbrown::HashMap;

use crate::sync::{AtomicBool, Mutex};

/// What connections here are reached by, beside their own ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic<'a> {
    /// They are this user's.
    User(&'a UserName),
    /// They are members of this group.
    Group(&'a GroupName),
}

/// How a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// By streams: through outboxes, in order.
    Stream,
    /// By datagrams: what gets lost is lost.
    Datagrams,
}

/// Another node, by what tells it from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey(pub [u8; 4]);

/// What an answer about other nodes is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub NonZeroU64);

/// Messages of one sender that are to reach whoever is on other nodes: at least one. Where there are several, they go
/// one behind the other, to one target.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Who they are from.
    pub from: &'a Sender,
    /// Where they go: at least one target, and at most 65,536.
    pub to: &'a [Target],
    /// Connections that get no copy, whatever reaches them.
    pub except: &'a [ConnectionId],
    /// What they are about, what kind of thing the payload is, and the payload.
    pub messages: &'a [(EventName, PayloadFormat, Bytes)],
    /// How they go.
    pub lane: Lane,
    /// Whether somebody wants to know how many got them.
    pub counts: bool,
}

/// Nothing can be sent to other nodes at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoWay;

impl From<NoWay> for Denial {
    fn from(_: NoWay) -> Self {
        Code::CutOff.into()
    }
}

/// The other nodes, for a hub that is one of several: [`Hub::cluster`](crate::Hub::cluster).
///
/// Everything here is called at moments when nothing may wait, and must not call the hub. [`wants`](Cluster::wants) and
/// [`left`](Cluster::left) are called inside the critical section of what they name, so that they come in the order in
/// which it happened, as [`watches`](Cluster::watches) does; [`delivers`](Cluster::delivers) while an outbox is locked.
pub trait Cluster: Send + Sync {
    /// Whether messages that are queued may be handed to transports at this moment. Asked each time a writer takes
    /// something. When it becomes true again, [`Hub::resume`](crate::Hub::resume) is to be called after that.
    fn delivers(&self) -> bool;

    /// A connection is about to be reached by this topic, whether it is the first or not. Where it is not certain yet
    /// that what others send to it arrives here: what settles when it is.
    fn wants(&self, topic: Topic<'_>) -> Option<Arc<Proof>>;

    /// The last connection that was reached by this topic is not any more.
    fn left(&self, topic: Topic<'_>);

    /// Somebody here watches a group that nobody watched; `audience` is greater each time. Gives the nodes that are
    /// asked who is there: as long as not each of them has said so ([`Hub::hear`](crate::Hub::hear)) or gone
    /// ([`Hub::part`](crate::Hub::part)), who watches waits, for about a second at most.
    fn watches(&self, group: &GroupName, audience: u64) -> Vec<NodeKey>;

    /// Nobody here watches a group any more, if `audience` was the last of it.
    fn unwatches(&self, group: &GroupName, audience: u64);

    /// Has messages reach whoever is on other nodes. Where they are counted there, gives what that is asked by.
    ///
    /// # Errors
    /// [`NoWay`] where somebody there may want them, and nothing can be sent now: then they are to reach nobody.
    fn publish(&self, outgoing: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay>;
}

/// Whether what others send to a topic arrives here for certain. It is settled once, and stays so.
#[derive(Debug)]
pub struct Proof {
    /// Set while the waiters are locked; read without.
    settled: AtomicBool,
    waiters: Mutex<Waiters>,
}

/// By what [`Waker::will_wake`] compares, because a crowd may wait for one proof, and each of it be woken often
/// meanwhile.
type Waiters = HashMap<(usize, usize), Waker, foldhash::fast::RandomState>;

impl Proof {
    /// One that is waited for.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { settled: AtomicBool::new(false), waiters: Mutex::new(Waiters::default()) })
    }

    /// It is so, or nobody is to wait for it any longer. Wakes all who do.
    pub fn settle(&self) {
        let waiters = {
            let mut waiters = self.waiters.lock();
            self.settled.store(true, Ordering::Release);
            std::mem::take(&mut *waiters)
        };
        for waker in waiters.into_values() {
            waker.wake();
        }
    }

    /// Whether there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Has somebody woken when it settles. Tells whether that is still to come: where it is not, nobody is woken.
    pub(crate) fn remember(&self, waker: &Waker) -> bool {
        let mut waiters = self.waiters.lock();
        if self.is_settled() {
            return false;
        }
        let key = (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr());
        waiters.entry(key).or_insert_with(|| waker.clone());
        true
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_proof_wakes_each_who_waits_once_and_has_nobody_wait_afterwards() {
        let (proof, bells) = (Proof::new(), [(); 2].map(|()| Arc::<Bell>::default()));
        let rings = || bells.each_ref().map(|bell| bell.0.load(Ordering::Relaxed));
        for bell in [&bells[0], &bells[1], &bells[0]] {
            assert!(proof.remember(&Waker::from(Arc::clone(bell))));
        }
        assert_eq!((rings(), proof.is_settled()), ([0, 0], false));
        proof.settle();
        assert_eq!((rings(), proof.is_settled()), ([1, 1], true));
        assert!(!proof.remember(&Waker::from(Arc::clone(&bells[0]))), "it would never be woken");
        proof.settle();
        assert_eq!(rings(), [1, 1]);
    }
}
