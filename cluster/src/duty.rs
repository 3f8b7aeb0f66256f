//! Whose duty it is to tell a back end what happens once for all nodes.
//!
//! In: the entry of the log that says so, whether this node has its lease, who is there. Out: who has the duty; that
//! this node should claim it. Invariant: of the nodes that have their leases one at most has the duty, at any moment.
//! A claim holds as long as the lease in which it was made, and no longer; whoever claims over another's entry does it
//! when that node's lease has certainly ended, or it says itself that it has none; and of several claims over one entry
//! the log takes one.

use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::subject::{Claim, Duties};

/// The duty, as this node knows it.
#[derive(Debug, Default)]
pub(crate) struct Duty {
    /// What the entry says, and its revision; 0 where there is none.
    holder: Option<Claim>,
    before: u64,
    revision: u64,
    /// This node's claim in this lease.
    own: Option<u64>,
    last: u64,
    claimed: Option<Instant>,
    /// This node goes: it claims nothing any more.
    is_over: bool,
    /// What the entry says is not known here.
    is_hidden: bool,
}

/// The duty, where this node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) claim: Claim,
    /// The revision of that claim, and of the one before it.
    pub(crate) revision: u64,
    pub(crate) before: u64,
}

impl Duty {
    /// The entry has come.
    pub(crate) fn saw(&mut self, duties: Duties, revision: u64) {
        if revision > self.revision {
            (self.holder, self.before, self.revision) = (duties.holder, duties.before, revision);
            self.is_hidden = false;
        }
    }

    /// The entry has come, and cannot be read: whoever it names, nobody here has the duty, and nobody claims it.
    pub(crate) fn hide(&mut self, revision: u64) {
        if revision > self.revision {
            (self.holder, self.revision, self.is_hidden) = (None, revision, true);
        }
    }

    /// The lease has ended, and with it whatever was claimed in it.
    pub(crate) fn end(&mut self) {
        (self.own, self.claimed) = (None, None);
    }

    /// By which claim this node has the duty, if it has it.
    pub(crate) fn own(&self, id: NodeId) -> Option<Held> {
        let claim = self.holder.filter(|holder| holder.node == id && Some(holder.number) == self.own)?;
        Some(Held { claim, revision: self.revision, before: self.before })
    }

    /// Who has the duty, as far as it is known; not this node by a claim that has ended.
    pub(crate) fn holder(&self, id: NodeId) -> Option<Claim> {
        self.holder.filter(|holder| holder.node != id || Some(holder.number) == self.own)
    }

    /// Whether nobody has the duty: then this node claims it, over the entry of this revision. `may_hold` says whether
    /// another node may have the lease of its claim.
    pub(crate) fn claim(
        &mut self,
        id: NodeId,
        now: Instant,
        again: Duration,
        may_hold: impl Fn(Claim) -> bool,
    ) -> Option<(Duties, u64)> {
        let is_free = self.holder(id).is_none_or(|holder| holder.node != id && !may_hold(holder));
        if self.is_over
            || self.is_hidden
            || !is_free
            || self.claimed.is_some_and(|claimed| now < claimed + again)
        {
            return None;
        }
        self.claimed = Some(now);
        // Said again it is the same claim: it may be on its way.
        let number = *self.own.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        Some((Duties { holder: Some(Claim { node: id, number }), before: self.newest() }, self.revision))
    }

    /// The revision of the newest claim.
    fn newest(&self) -> u64 {
        if self.holder.is_some() { self.revision } else { self.before }
    }

    /// This node goes. Where it has the duty, gives what the entry is to say from now on, and its revision.
    pub(crate) fn resign(&mut self, id: NodeId) -> Option<(Duties, u64)> {
        let has_it = self.own(id).is_some();
        self.is_over = true;
        self.end();
        has_it.then_some((Duties { holder: None, before: self.newest() }, self.revision))
    }

    /// Up to which of this node's claims none holds.
    pub(crate) fn over(&self) -> u64 {
        self.own.map_or(self.last, |own| own - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_secs(1);

    fn node(number: u8) -> NodeId {
        NodeId::new([number, 0, 0, 0])
    }

    fn claim(of: u8, number: u64) -> Claim {
        Claim { node: node(of), number }
    }

    fn holds(of: u8, number: u64, before: u64) -> Duties {
        Duties { holder: Some(claim(of, number)), before }
    }

    #[test]
    fn a_claim_holds_as_long_as_its_lease() {
        let (now, mut duty) = (Instant::now(), Duty::default());
        let gone = |_| false;
        assert_eq!(duty.claim(node(1), now, AGAIN, gone), Some((holds(1, 1, 0), 0)));
        assert_eq!(duty.own(node(1)), None, "it is on its way");
        assert_eq!(duty.claim(node(1), now, AGAIN, gone), None);
        assert_eq!(duty.claim(node(1), now + AGAIN, AGAIN, gone), Some((holds(1, 1, 0), 0)), "it was lost");
        duty.saw(holds(1, 1, 0), 7);
        let held = Held { claim: claim(1, 1), revision: 7, before: 0 };
        assert_eq!((duty.own(node(1)), duty.holder(node(1))), (Some(held), Some(claim(1, 1))));
        assert_eq!(duty.claim(node(1), now + AGAIN * 9, AGAIN, gone), None, "it has it");
        assert_eq!(duty.over(), 0);
        duty.end();
        assert_eq!((duty.own(node(1)), duty.holder(node(1))), (None, None), "that was another lease");
        assert_eq!(duty.over(), 1);
        assert_eq!(duty.claim(node(1), now + AGAIN * 10, AGAIN, gone), Some((holds(1, 2, 7), 7)));
        assert_eq!(duty.over(), 1);
        assert_eq!(duty.resign(node(1)), None, "it has not got it");
        assert_eq!(duty.claim(node(1), now + AGAIN * 20, AGAIN, gone), None, "it goes");
    }

    #[test]
    fn nobody_claims_over_somebody_who_is_there() {
        let (now, mut duty) = (Instant::now(), Duty::default());
        duty.saw(holds(2, 5, 0), 9);
        duty.saw(holds(3, 1, 0), 8);
        assert_eq!(duty.holder(node(1)), Some(claim(2, 5)), "the newest entry says it");
        assert_eq!(duty.claim(node(1), now, AGAIN, |holder| holder == claim(2, 5)), None);
        assert_eq!(duty.claim(node(1), now, AGAIN, |_| false), Some((holds(1, 1, 9), 9)));
        duty.saw(holds(3, 1, 9), 10);
        assert_eq!(duty.own(node(1)), None, "the other was earlier");
        assert_eq!(duty.claim(node(1), now + AGAIN, AGAIN, |_| true), None);
        duty.saw(Duties { holder: None, before: 10 }, 11);
        let claimed = duty.claim(node(1), now + AGAIN, AGAIN, |_| true);
        assert_eq!(claimed, Some((holds(1, 1, 10), 11)), "it was given back");
        duty.saw(holds(1, 1, 10), 12);
        duty.hide(13);
        assert_eq!((duty.own(node(1)), duty.holder(node(1))), (None, None), "it may be another's");
        assert_eq!(duty.claim(node(1), now + AGAIN * 30, AGAIN, |_| false), None);
        duty.saw(holds(1, 1, 10), 14);
        assert_eq!(duty.resign(node(1)), Some((Duties { holder: None, before: 14 }, 14)));
    }
}
