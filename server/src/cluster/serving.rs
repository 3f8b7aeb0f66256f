//! What other nodes send and ask, done to those who are here.
//!
//! In: publications and questions, from the driver. Out: deliveries; numbers, and what was done. Invariants: nothing
//! here waits; what is not taken is counted as nobody reached, and told in the log.

use std::time::Instant;

use fanfare_cluster::{Arrived, NodeId};
use fanfare_hub::{Lane, Publication};
use fanfare_protocol::{ConnectionId, Sender, Target, UserName};

use super::driver::Driver;
use super::questions::{Done, Question, to_bytes};

impl Driver {
    pub(super) fn deliver(&self, from: NodeId, ticket: u64, arrived: Arrived) {
        let queued = self.deliver_here(arrived);
        if ticket != 0 {
            self.side.node.lock().counted(from, ticket, queued);
        }
    }

    fn deliver_here(&self, arrived: Arrived) -> u64 {
        let Arrived { from, mut to, except, mut messages, lane } = arrived;
        let accepted = Instant::now();
        let delivered = match (messages.len(), to.len()) {
            (1, _) => {
                let Some((event, format, payload)) = messages.pop() else { return 0 };
                let mut publication =
                    Publication { from, to, except, event, format, payload, accepted, counts: false };
                match lane {
                    // A back end may be asked about a connection here, and write to it by way of another node.
                    Lane::Stream if publication.from == Sender::Server => {
                        match self.moderation.arrivals().keep(&mut publication) {
                            Ok(kept) if publication.to.is_empty() => return kept.count(),
                            Ok(kept) => self.hub.deliver(publication).map(|mut delivery| {
                                delivery.queued += kept.count();
                                delivery
                            }),
                            // As much waits for one of them as may. The others are to have it.
                            Err(denial) => {
                                tracing::warn!(detail = denial.detail, "of another node, and not kept");
                                self.moderation.arrivals().strike(&mut publication);
                                match publication.to.is_empty() {
                                    true => return 0,
                                    false => self.hub.deliver(publication),
                                }
                            }
                        }
                    }
                    Lane::Stream => self.hub.deliver(publication),
                    Lane::Datagrams => self.hub.deliver_unreliable(publication),
                }
            }
            (_, 1) => {
                let Some(target) = to.pop() else { return 0 };
                self.hub.deliver_run(&from, target, &except, messages, accepted)
            }
            _ => return 0,
        };
        match delivered {
            Ok(delivery) => delivery.queued,
            Err(denial) => {
                tracing::warn!(
                    code = denial.code.number(),
                    detail = denial.detail,
                    "of another node, and not taken"
                );
                0
            }
        }
    }

    pub(super) fn answer(&self, question: Question) -> Option<bytes::Bytes> {
        Some(match question {
            Question::Act(act) => to_bytes(&match self.moderation.act_for(&act) {
                Ok(receipt) => Done { receipt, refused: None },
                Err(error) => Done { receipt: None, refused: Some(error.to_string()) },
            }),
            Question::Count(who) => to_bytes(&self.hub.count(&Target::from(&who))),
            Question::Owners(ids) => {
                let owner =
                    |id: &ConnectionId| self.owner(id).or_else(|| self.moderation.arrivals().owner(id));
                to_bytes(&ids.iter().map(owner).collect::<Vec<_>>())
            }
            Question::Whose(ids) => to_bytes(&ids.iter().map(|id| self.owner(id)).collect::<Vec<_>>()),
            Question::Receipt(revision) => to_bytes(&self.side.receipt(revision)),
            Question::Preview(ban) => to_bytes(&self.moderation.preview(&ban)),
            Question::Because { key, reason } => {
                self.side.because(key, reason);
                to_bytes(&())
            }
            // It takes long: see `takes_long`.
            _ => return None,
        })
    }

    /// Whose a connection here is.
    fn owner(&self, id: &ConnectionId) -> Option<UserName> {
        self.hub.connection(id).map(|member| member.user().clone())
    }
}
