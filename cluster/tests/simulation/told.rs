//! What was lost, against what was told of it, by number.
//!
//! In: what each client got, and `Lagged` as it came. Out: violations of invariant 2: nobody is told of fewer than it
//! lost.
//!
//! That cannot be asked of everything: how much went with a node that was given up nobody knows, nor what one did not
//! send that started while this one was away; so that one is told for it.

use std::collections::BTreeSet;

use super::clients::Sent;
use super::world::World;

impl World {
    pub(crate) fn sent_as(&self, number: u64) -> &Sent {
        &self.sent[usize::try_from(number).unwrap()]
    }

    /// Whether a client has not got a message that was for it.
    pub(crate) fn is_lost(&self, at: usize, number: u64) -> bool {
        let (client, sent) = (&self.clients[at], self.sent_as(number));
        !sent.is_unreliable
            && !client.received.contains_key(&number)
            && !sent.except.contains(&client.id)
            && sent.to.iter().any(|target| self.was_owed(at, number, target))
    }

    /// Of what was sent from any moment on, no more is lost than was told behind that moment.
    pub(crate) fn check_told(&mut self, at: usize, lost: &[u64]) {
        let client = &self.clients[at];
        let vague = &self.nodes[client.at].vague;
        let exact = lost.iter().map(|number| (self.sent_as(*number), *number));
        let exact = exact.filter(|(sent, _)| !vague.contains(&self.nodes[sent.origin].id));
        let exact: BTreeSet<(u64, u64)> = exact.map(|(sent, number)| (sent.step, number)).collect();
        let mut few = None;
        for (lost, (step, number)) in (1..).zip(exact.iter().rev()) {
            let told: u64 =
                client.lagged.iter().filter(|(at, _)| at > step).map(|(_, dropped)| *dropped).sum();
            if told < lost {
                few.get_or_insert(format!(
                    "client {at} of node {} lost {lost} from number {number} on, and was told {told}",
                    client.at
                ));
            }
        }
        self.counts.lost += exact.len() as u64;
        if let Some(what) = few {
            self.violate(2, what);
        }
    }
}
