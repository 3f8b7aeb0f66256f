//! The hub as one of several: what is sent here reaches who is on other nodes, and what comes from there who is here.
//!
//! In: the cluster, what comes from other nodes, and the end of a pause. Out: messages for other nodes, copies for
//! those who are here, and counts. Invariants: what came from another node is never published again; and it is checked
//! as if it was sent here, because it is another's word.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fanfare_protocol::{Code, ConnectionId, Denial, EventName, PayloadFormat, Sender, Target};

use super::{Hub, Publication};
use crate::cluster::{Cluster, Lane, Outgoing, Ticket};
use crate::delivery::Delivery;

impl<P> Hub<P> {
    /// Has this hub be one of several from now on. To be called before anybody registers; only the first that is given
    /// counts.
    pub fn cluster(&self, cluster: Arc<dyn Cluster>) {
        self.registry.cluster(cluster);
    }

    /// Has a message that came from another node reach those who are here. It is never published again, and is no send
    /// of this hub's; its copies count as any.
    ///
    /// # Errors
    /// As [`Hub::send`]. Nobody got anything then.
    pub fn deliver(&self, publication: Publication) -> Result<Delivery, Denial> {
        publication.check()?;
        Ok(self.count_arrived(1, self.queue(publication)))
    }

    /// The same for messages of one sender to one target, one behind the other. Each recipient gets all of them or
    /// none.
    ///
    /// # Errors
    /// As [`Hub::send_run`].
    pub fn deliver_run(
        &self,
        from: &Sender,
        to: Target,
        except: &[ConnectionId],
        messages: Vec<(EventName, PayloadFormat, Bytes)>,
        accepted: Instant,
    ) -> Result<Delivery, Denial> {
        super::check_run(&messages)?;
        let arrived = messages.len() as u64;
        Ok(self.count_arrived(arrived, self.queue_run(from, to, except, messages, accepted)))
    }

    /// The same for a message by datagrams.
    ///
    /// # Errors
    /// As [`Hub::send_unreliable`]; [`Code::CutOff`] where nothing may be delivered now.
    #[expect(clippy::needless_pass_by_value, reason = "a publication is used up by whatever sends it")]
    pub fn deliver_unreliable(&self, publication: Publication) -> Result<Delivery, Denial> {
        let envelope = publication.unreliable()?;
        // By a datagram it goes at once, so that nothing holds it back.
        self.may_deliver()?;
        Ok(self.count_arrived(1, self.registry.send_unreliably(&envelope, &publication.except)))
    }

    /// Whether anything may be delivered now, because what was decided is known here. For what is no message: the hub
    /// asks by itself of those.
    ///
    /// # Errors
    /// [`Code::CutOff`] where nothing may.
    pub fn may_deliver(&self) -> Result<(), Denial> {
        self.registry.other_nodes().map_or(Ok(()), may_deliver)
    }

    /// Has everyone's writer look again: to be called when [`Cluster::delivers`] has become true.
    pub fn resume(&self) {
        self.registry.for_each(|member| member.outbox().resume());
    }

    /// Tells everyone here that up to so many messages may have been lost on their way from another node: with what
    /// each gets next, or alone.
    pub fn lagged(&self, missed: u64) {
        self.counters.missed.add(missed);
        self.registry.for_each(|member| member.outbox().lag(missed));
    }

    /// Has a publication reach whoever is on other nodes.
    ///
    /// # Errors
    /// [`Code::CutOff`] where nothing may be delivered now, or nothing can be sent to a node that wants it: it would
    /// reach some of those whom it is for, and others only when it is old, or never.
    #[inline]
    pub(super) fn publish(&self, publication: &Publication, lane: Lane) -> Result<Option<Ticket>, Denial> {
        match self.registry.other_nodes() {
            None => Ok(None),
            Some(cluster) => publish(cluster, publication, lane),
        }
    }

    /// The same for messages of one sender to one target. Nobody counts how many got them.
    ///
    /// # Errors
    /// As [`Hub::publish`].
    #[inline]
    pub(super) fn publish_run(
        &self,
        from: &Sender,
        to: &Target,
        except: &[ConnectionId],
        messages: &[(EventName, PayloadFormat, Bytes)],
    ) -> Result<(), Denial> {
        if let Some(cluster) = self.registry.other_nodes().filter(|_| !messages.is_empty()) {
            may_deliver(cluster)?;
            let to = std::slice::from_ref(to);
            cluster.publish(&Outgoing { from, to, except, messages, lane: Lane::Stream, counts: false })?;
        }
        Ok(())
    }

    fn count_arrived(&self, messages: u64, delivery: Delivery) -> Delivery {
        self.counters.arrived.add(messages);
        self.count_copies(delivery)
    }
}

fn may_deliver(cluster: &dyn Cluster) -> Result<(), Denial> {
    if cluster.delivers() { Ok(()) } else { Err(Code::CutOff.into()) }
}

#[cold]
fn publish(cluster: &dyn Cluster, publication: &Publication, lane: Lane) -> Result<Option<Ticket>, Denial> {
    may_deliver(cluster)?;
    let Publication { from, to, except, event, format, payload, accepted: _, counts } = publication;
    let messages = [(event.clone(), *format, payload.clone())];
    Ok(cluster.publish(&Outgoing { from, to, except, messages: &messages, lane, counts: *counts })?)
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
