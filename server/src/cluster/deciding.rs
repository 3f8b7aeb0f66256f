//! What is decided here for all nodes: how it is put where all see it, when it is in force everywhere, and what it did.
//!
//! In: decisions, on threads that may wait. Out: what each did here, how the nodes stand to it, and what it did there.
//! Invariants: a decision is put over what is known to be there and over nothing else; it is answered when it is in
//! force here and every node is known to have it in force, or to deliver nothing (promise 19), or when the time for
//! that is over, and then it is said of whom it is not known.

use std::time::Duration;

use fanfare_cluster::{Fenced, NodeId, Standing, longest_fence};
use fanfare_hub::Ticket;
use fanfare_nats::{Expect, PutError};
use fanfare_protocol::admin::{self, Action, BanKind, BanRow, NodeStanding, Receipt};
use fanfare_protocol::{Code, Denial};

use super::questions::{ANSWER, Done, Question, read};
use super::rows;
use super::side::{Newest, Side};
use crate::moderation::{Carried, Decided, Decision, Decisions, Fence};
use crate::uptime;

/// How often a decision is put again that somebody else was faster with, and how long that may take to come here.
const ATTEMPTS: usize = 5;
const CONFLICT: Duration = Duration::from_millis(500);

/// How long other nodes may take to hear why something is about to be ended.
const WHY: Duration = Duration::from_millis(300);

impl Side {
    /// Puts a decision into the bucket, over what is known to be there and over nothing else. One that was not answered
    /// may come through later: then it is over something else, and must not undo what was decided since (test
    /// `what_is_decided_on_two_nodes_at_once_ends_alike_on_both`).
    fn put(&self, decision: &Decision, reason: &str) -> Result<u64, Denial> {
        for attempt in 1..=ATTEMPTS {
            let (key, value) = rows::entry(decision, reason);
            let newest = self.newest(&key);
            let over = match newest {
                // A key is made once.
                Some(newest) if !matches!(decision, Decision::Key(_)) => Expect::Revision(newest.revision),
                _ => Expect::Nothing,
            };
            // What another node's refuses by a clock that is ahead, or was asked for later, stays refused.
            let value = match (later(decision, newest), value) {
                (Some(later), Some(_)) => rows::entry(&later, reason).1,
                (_, value) => value,
            };
            let seen = self.progress.lock().in_force;
            let put = self.runtime.block_on(async {
                match &value {
                    Some(value) => self.bus.put(&key, value.clone(), over).await,
                    None => self.bus.delete(&key, over).await,
                }
            });
            match put {
                Ok(revision) => return Ok(revision),
                // Somebody else has decided about the same, and it has not come here yet.
                Err(PutError::Conflict) if attempt < ATTEMPTS => {
                    let until = uptime::now() + CONFLICT;
                    self.wait(until, |progress| (progress.in_force > seen).then_some(()));
                }
                Err(error) => return Err(not_decided(&error)),
            }
        }
        Err(not_decided(&PutError::Conflict))
    }

    /// Tells all nodes why something is about to be ended, where those are told who are put out for it. One that does
    /// not hear it tells them what the code says.
    fn say_why(&self, decision: &Decision, reason: &str) {
        if reason.is_empty() || !matches!(decision, Decision::DropLasting(..)) {
            return;
        }
        let ((key, _), reason) = (rows::entry(decision, ""), reason.to_owned());
        self.because(key.clone(), reason.clone());
        // When this is answered it is known there, so that the end, which goes another way, cannot come before it.
        // Other acts wait behind this one, so who does not answer is not waited for as long as otherwise.
        let ticket = self.ask_until(None, &Question::Because { key, reason }, uptime::now() + WHY);
        let _ = self.elsewhere.wait_here(ticket);
    }

    /// What a decision did on the other nodes where it is in force.
    fn receipts(&self, revision: u64, fenced: Option<&Fenced>) -> Carried {
        let own = self.node.lock().id();
        let in_force = fenced.into_iter().flat_map(|fenced| &fenced.nodes);
        let others =
            in_force.filter(|(node, _, standing)| *node != own && matches!(standing, Standing::InForce(_)));
        // All of them, before any is waited for.
        let asked: Vec<_> = others
            .map(|(node, name, _)| (name.clone(), self.ask(Some(*node), &Question::Receipt(revision))))
            .collect();
        let mut carried = Carried::default();
        // Where it came into force here later than whoever decided it waited for.
        carried.receipts.extend(self.progress.lock().receipts.remove(&revision));
        for (name, ticket) in asked {
            let answer = self.elsewhere.wait_here(ticket).answers.into_iter().next();
            match answer.and_then(|(_, body)| read::<Option<Receipt>>(body.as_deref()?)) {
                Some(receipt) => carried.receipts.extend(receipt),
                None => carried.silent.push(name),
            }
        }
        carried
    }

    /// This node, of which nothing can be said.
    fn unknown(&self) -> NodeStanding {
        let (node, name) = (self.node.lock().id().to_string(), self.name.clone());
        NodeStanding { node, name, standing: admin::Standing::Unknown, after_ms: 0 }
    }

    fn standings(fenced: Fenced) -> Vec<NodeStanding> {
        let standing = |(node, name, standing): (NodeId, String, Standing)| {
            let (standing, after) = match standing {
                Standing::InForce(after) => (admin::Standing::InForce, after),
                Standing::LeaseEnded(after) => (admin::Standing::LeaseEnded, after),
                Standing::ServesWithout => (admin::Standing::ServesWithout, Duration::ZERO),
                Standing::Unknown => (admin::Standing::Unknown, Duration::ZERO),
            };
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            NodeStanding { node: node.to_string(), name, standing, after_ms }
        };
        fenced.nodes.into_iter().map(standing).collect()
    }
}

/// A sign-out that refuses no less than the one whose place it takes; nothing where it does so as it is.
fn later(decision: &Decision, newest: Option<Newest>) -> Option<Decision> {
    let Decision::Ban(ban) = decision else { return None };
    let known = newest?.signed_out.filter(|known| ban.kind == BanKind::SignOut && *known > ban.since)?;
    Some(Decision::Ban(BanRow { since: known, ..ban.clone() }))
}

/// What is said of a decision that was not made, or may not have been.
pub(super) fn not_decided(error: &PutError) -> Denial {
    let (code, detail) = match error {
        PutError::Conflict => {
            let detail = "nothing was decided: something else was, about the same and at the same moment; look, and do \
                          it again";
            (Code::InvalidRequest, detail.to_owned())
        }
        PutError::Unknown => {
            let detail = "the cluster did not say whether it was decided: look, and do it again";
            (Code::CutOff, detail.to_owned())
        }
        PutError::Unavailable { .. } => (Code::CutOff, format!("nothing was decided: {error}")),
        error => (Code::Internal, format!("nothing was decided: {error}")),
    };
    Denial { code, detail }
}

impl Decisions for Side {
    fn decide(&self, decision: Decision, reason: &str) -> Result<Decided, Denial> {
        self.say_why(&decision, reason);
        let revision = self.put(&decision, reason)?;
        let decided = uptime::now();
        // Another of the same key may have followed so closely that this one was never seen; and where it is not in
        // force here so soon, the fence says so.
        let receipt = self.wait(decided + ANSWER, |progress| {
            (progress.in_force >= revision).then(|| progress.receipts.remove(&revision).unwrap_or_default())
        });
        Ok(Decided { receipt: receipt.unwrap_or_default(), fence: Fence { revision, decided } })
    }

    fn fence(&self, Fence { revision, decided }: Fence) -> (Vec<NodeStanding>, Carried) {
        let until = decided + longest_fence(&self.times);
        self.wait(until, |progress| (progress.in_force >= revision).then_some(()));
        let number = self.node.lock().fence(revision, decided, until, uptime::now());
        self.wake.notify_one();
        // The driver looks ten times a second.
        let fenced = self.wait(until + ANSWER, |progress| progress.fenced.remove(&number));
        let others = self.receipts(revision, fenced.as_ref());
        // Where nobody could say it, because the server ends, not even of this node it is known.
        (fenced.map_or_else(|| vec![self.unknown()], Self::standings), others)
    }

    fn preview(&self, ban: &BanRow) -> Carried {
        let (receipts, silent) = self.ask_all_here::<Receipt>(&Question::Preview(ban.clone()));
        Carried { receipts: receipts.into_iter().map(|(_, receipt)| receipt).collect(), silent }
    }

    fn carry_out(&self, act: &Action) -> Carried {
        let (answers, mut silent) = self.ask_all_here::<Done>(&Question::Act(act.clone()));
        let mut receipts = Vec::new();
        for (node, Done { receipt, refused }) in answers {
            if let Some(why) = refused {
                tracing::warn!(%node, why, "another node refused its part of an act");
                silent.extend(self.names(&[node]));
            } else {
                receipts.extend(receipt);
            }
        }
        Carried { receipts, silent }
    }

    fn forget_node(&self, node: &str) -> Result<(), Denial> {
        self.forget(node)
    }

    fn copies(&self, ticket: Ticket) -> (u64, Vec<String>) {
        let tallied = self.elsewhere.wait_here(ticket);
        (tallied.copies, self.names(&tallied.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(kind: BanKind, since: u64) -> Decision {
        let user = Some("mallory".parse().unwrap());
        let (reason, author) = (String::new(), String::new());
        Decision::Ban(BanRow { kind, user, groups: None, jti: None, since, until: None, reason, author })
    }

    #[test]
    fn a_sign_out_refuses_no_less_than_the_one_whose_place_it_takes() {
        let newest = |signed_out| Some(Newest { revision: 7, signed_out });
        let sign_out = |since| ban(BanKind::SignOut, since);
        assert_eq!(later(&sign_out(5), newest(Some(8))), Some(sign_out(8)));
        assert_eq!(later(&sign_out(8), newest(Some(8))), None);
        assert_eq!(later(&sign_out(9), newest(Some(8))), None);
        assert_eq!(later(&sign_out(5), newest(None)), None);
        assert_eq!(later(&sign_out(5), None), None);
        assert_eq!(later(&ban(BanKind::User, 5), newest(Some(8))), None, "of another kind");
    }
}
