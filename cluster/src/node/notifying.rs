//! What a back end is told once for all nodes: this node's reports, and, where it has the duty, what it tells.
//!
//! In: subjects that are occupied here, reports and answers, who has the duty, time. Out: messages, effects. Invariant:
//! without the lease nothing is told and nothing is reported (`duty.rs`, `notices.rs`, `reports.rs`).

use std::time::Instant;

use super::{Effect, Node};
use crate::duty::Held;
use crate::id::NodeId;
use crate::notices::Notice;
use crate::peer::Peer;
use crate::reports::{Report, Reported, Void};
use crate::subject::{Claim, Duties, Owed, Subject};
use crate::wire::Message;

/// So many settled items are told in a message: 32 KiB of them.
const SETTLED: usize = 4_096;

/// Subjects.
impl Node {
    /// The first one of a subject is here. [`Node::flush`] reports it.
    pub fn occupied(&mut self, subject: Subject) {
        self.reports.occupied(subject);
    }

    /// The last one of a subject is not here any more.
    pub fn vacated(&mut self, subject: Subject) {
        self.reports.vacated(subject);
    }

    /// The entry has come that says who has the duty to tell a back end.
    pub fn duty(&mut self, duties: Duties, revision: u64) {
        self.handed_in = self.handed_in.max(revision);
        self.duty.saw(duties, revision);
        if duties.holder.is_some_and(|holder| holder.node == self.id) && revision > self.begun {
            self.unbegun = Some(Void { revision, before: duties.before });
        }
    }

    /// The entry has come that says so, and cannot be read: somebody may have the duty who is not known here.
    pub fn duty_is_unknown(&mut self, revision: u64) {
        self.handed_in = self.handed_in.max(revision);
        self.duty.hide(revision);
    }

    /// Whether this node has that duty.
    #[must_use]
    pub fn has_duty(&self) -> bool {
        self.notices.held().is_some()
    }

    /// This node goes soon: whoever has the duty next learns what is owed, if [`Node::reported`] is waited for.
    pub fn resign(&mut self, now: Instant) {
        // What it can tell itself, it does.
        self.notify(now);
        if let Some((duties, over)) = self.duty.resign(self.id) {
            self.effects.push(Effect::Claim(duties, over));
        }
        self.notify(now);
    }

    /// Whether nobody has to know more of what is occupied here, or was.
    ///
    /// # Errors
    /// A number that grows as more of it is known.
    pub fn reported(&self) -> Result<(), u64> {
        // One that has not said what it is may be one that has to know.
        let has_to = |peer: &Peer| peer.heartbeat.as_ref().is_none_or(|heartbeat| heartbeat.notifies);
        let somebody = self.known().any(|place| self.peer(place).is_some_and(has_to));
        if self.settings.notifies && somebody { self.reports.are_received(self.id) } else { Ok(()) }
    }

    pub(super) fn claim_duty(&mut self, now: Instant) {
        if !self.settings.notifies || !self.has_lease {
            return;
        }
        let (places, peers) = (&self.places, &self.peers);
        let may_hold = |claim: Claim| {
            let peer = places.get(&claim.node).and_then(|place| peers.get(*place)).and_then(Option::as_ref);
            peer.is_some_and(|peer| peer.may_hold(claim.number))
        };
        if let Some((duties, over)) = self.duty.claim(self.id, now, self.settings.heartbeat, may_hold) {
            self.effects.push(Effect::Claim(duties, over));
        }
    }

    /// The lease has ended.
    pub(super) fn lose_duty(&mut self) {
        self.duty.end();
        self.reports.doubt();
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if let Some(owed) = self.notices.end() {
            self.reports.owe(owed);
        }
    }

    /// Reports what is occupied here, and tells what there is to tell.
    pub(super) fn notify(&mut self, now: Instant) {
        if !self.settings.notifies {
            return;
        }
        // A process that stood still may hear something before it ticks, and its lease has ended.
        self.review(now);
        if !self.has_lease {
            return;
        }
        let own = self.duty.own(self.id);
        if own != self.notices.held() {
            self.hand_over();
            if let Some(held) = own {
                self.begun = self.begun.max(held.revision);
                self.notices.begin(held);
            }
        }
        // A claim that came back when this node did not want it any more: whoever has the duty next has to know that
        // nothing was told by it, or what was told by the one before would not be told to its end.
        if let Some(Void { revision, before }) = self.unbegun.take().filter(|void| void.revision > self.begun)
        {
            self.reports.owe(Owed { revision, void: Some(before), subjects: Vec::new() });
        }
        let Some(Held { claim, revision, .. }) = own else { return self.report(now) };
        while let Some(report) = self.reports.next(claim, now) {
            self.notices.report(self.id, &report, now);
            self.answer_report(self.id, now);
        }
        let reporting = self.known().filter_map(|place| self.peer(place)).filter(|peer| peer.reports());
        let reporting: Vec<NodeId> = reporting.map(|peer| peer.id).collect();
        self.notices.gather(reporting, now);
        self.notices.tick(now);
        for Notice { subject, is_occupied, number } in self.notices.notices() {
            self.effects.push(Effect::Notify { subject, is_occupied, order: (revision, number) });
        }
        for node in self.notices.settled() {
            self.answer_report(node, now);
        }
    }

    /// To whoever has the duty.
    fn report(&mut self, now: Instant) {
        if let Some(holder) = self.duty.holder(self.id)
            && let Some(place) = self.places.get(&holder.node).copied()
            && let Some(report) = self.reports.next(holder, now)
        {
            self.say(place, &Message::Report(report));
        }
    }

    pub(super) fn answer_report(&mut self, node: NodeId, now: Instant) {
        let Some(mut answer) = self.notices.answer(node) else { return };
        if node == self.id {
            let own = Claim { node, number: answer.claim };
            return self.reports.reported(own, &answer, now);
        }
        let Some(place) = self.places.get(&node).copied() else { return };
        loop {
            let rest = answer.settled.split_off(answer.settled.len().min(SETTLED));
            self.say(place, &Message::Reported(answer.clone()));
            if rest.is_empty() {
                return;
            }
            answer.settled = rest;
        }
    }

    pub(super) fn hear_report(&mut self, (place, from): (usize, NodeId), report: &Report, now: Instant) {
        // Whether it still has the duty is looked at before anything is told.
        self.notify(now);
        if self.peer(place).is_some() && self.notices.report(from, report, now) {
            self.notify(now);
            self.answer_report(from, now);
        }
    }

    pub(super) fn hear_answer(&mut self, from: NodeId, reported: &Reported, now: Instant) {
        self.reports.reported(Claim { node: from, number: reported.claim }, reported, now);
        self.notify(now);
    }
}
