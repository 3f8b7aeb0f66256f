//! Takes out what a dead node has left in the bucket.
//!
//! In: a node's id, from an operator who knows that it is dead. Out: its entry is gone, or a refusal that says why it
//! is not. Invariant: only what a node has left goes that was given up here, and only while it is what it was: who is
//! there, or comes back meanwhile, stays (promise 19; test
//! `promise_19_a_node_that_may_be_serving_is_named_until_it_is_forgotten`).

use fanfare_cluster::NodeId;
use fanfare_nats::{Expect, PutError};
use fanfare_protocol::{Code, Denial};

use super::deciding::not_decided;
use super::questions::ANSWER;
use super::rows;
use super::side::Side;
use crate::uptime;

impl Side {
    /// Takes out what this node has left. Blocks, until that has come here.
    pub(super) fn forget(&self, node: &str) -> Result<(), Denial> {
        let (id, revision) = self.lost(node)?;
        let key = rows::node_key(id);
        let deleted = self.runtime.block_on(self.bus.delete(&key, Expect::Revision(revision)));
        match deleted {
            Ok(revision) => {
                // What is decided next names it no more.
                self.wait(uptime::now() + ANSWER, |progress| (progress.in_force >= revision).then_some(()));
                Ok(())
            }
            Err(PutError::Conflict) => {
                Err(refused(format!("node {id} is not what it was: it may be back; look again")))
            }
            Err(error) => Err(not_decided(&error)),
        }
    }

    fn lost(&self, node: &str) -> Result<(NodeId, u64), Denial> {
        let id: NodeId = node.parse().map_err(|_| {
            refused(format!(
                "{node:?} is no node's id, which has eight hexadecimal digits, as the status gives them"
            ))
        })?;
        let (own, lost, peers) = {
            let node = self.node.lock();
            (node.id(), node.lost(), node.peers())
        };
        if let Some(lost) = lost.iter().find(|lost| lost.id == id) {
            // It may be there without being heard among the decisions.
            let is_silent = lost.heard.is_none_or(|heard| uptime::now() >= heard + self.times.lease);
            return match is_silent {
                true => Ok((id, lost.revision)),
                false => Err(refused(format!("node {id} is there: it was heard a moment ago"))),
            };
        }
        if id == own {
            return Err(refused(format!("node {id} is the one that was asked, and is there")));
        }
        if peers.iter().any(|peer| peer.id == id) {
            return Err(refused(format!("node {id} is there; only one that was given up can be forgotten")));
        }
        let others: Vec<_> =
            lost.iter().map(|lost| format!("{} ({})", lost.id, lost.heartbeat.name)).collect();
        let detail = match others.is_empty() {
            true => format!("no node {id} was given up that may be delivering, and no other was"),
            false => format!("no node {id} was given up that may be delivering, but {}", others.join(", ")),
        };
        Err(Denial { code: Code::NothingThere, detail })
    }
}

fn refused(detail: String) -> Denial {
    Denial { code: Code::InvalidRequest, detail }
}
