//! Those who are put out because another node did not answer in time that it sends what is for them.
//!
//! In: the group or the user, and what waits for the answer. Out: the end of memberships, or of connections, with a code
//! by which a client may come back. Invariant: whoever is in a group whenever it is here is put back, as long as that
//! stands.

use std::sync::Arc;

use fanfare_cluster::TopicName;
use fanfare_hub::{CloseReason, Proof, Removal};
use fanfare_protocol::Code;

use super::driver::Driver;
use super::side::who;
use crate::hub::Member;

impl Driver {
    pub(super) fn put_out(&mut self, topic: &TopicName, proof: &Proof) {
        let why = Removal { code: Code::CutOff, reason: Code::CutOff.sentence() };
        match topic {
            TopicName::Group(group) => {
                let (members, lasting) = (self.hub.of_group(group), self.moderation.lasting());
                let is_lasting = |member: &&Arc<Member>| lasting.find(member.user(), group).is_some();
                self.unmet.extend(members.iter().filter(is_lasting).map(|member| member.user().clone()));
                self.hub.remove(&members, |name, _| name == group, why);
            }
            TopicName::User(user) => {
                for member in self.hub.of_user(user) {
                    self.hub.close(&member, CloseReason::from(Code::CutOff), None);
                }
            }
        }
        tracing::warn!(topic = ?who(topic), "another node did not answer that it sends what is for it");
        proof.settle();
    }

    /// Puts those back who are in something whenever they are here. Where a node still does not answer, they are put
    /// out again, and back again later. To be called when a node has gone, and now and then.
    pub(super) fn put_back(&mut self) {
        if self.side.lease.holds() {
            std::mem::take(&mut self.unmet).iter().for_each(|user| self.moderation.join_all(user));
        }
    }
}
