//! Those who are put out because another node did not answer in time that it sends what is for them.
//!
//! In: the group or the user, and what waits for the answer. Out: the end of memberships, or of connections, with a
//! code by which a client may come back. Invariant: a connection that was in a group because its user is whenever it is
//! here is put back, as long as that stands, and into nothing else.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use fanfare_cluster::TopicName;
use fanfare_hub::{CloseReason, Origin, Proof, Removal};
use fanfare_protocol::{Code, ConnectionId, GroupName};

use super::side::who;
use crate::hub::{Hub, Member};
use crate::moderation::Moderation;

/// How long until it is tried again: where a node still does not answer, they are put out again.
const AGAIN: Duration = Duration::from_secs(10);

/// Memberships that ended so, and when they are tried again.
#[derive(Default)]
pub(super) struct Unmet {
    memberships: HashSet<(ConnectionId, GroupName)>,
    due: Option<Instant>,
}

impl Unmet {
    /// Puts out whoever is reached by this.
    pub(super) fn put_out(
        &mut self,
        (hub, moderation): (&Hub, &Moderation),
        topic: &TopicName,
        proof: &Proof,
        now: Instant,
    ) {
        let why = Removal { code: Code::CutOff, reason: Code::CutOff.sentence() };
        match topic {
            TopicName::Group(group) => {
                let (members, lasting) = (hub.of_group(group), moderation.lasting());
                // Whichever way it has come in: it is to be there.
                let is_lasting = |member: &Member| {
                    lasting.find(member.user(), group).is_some_and(|row| row.may.receives())
                };
                let unmet = members.iter().filter(|member| is_lasting(member));
                self.memberships.extend(unmet.map(|member| (member.id(), group.clone())));
                // Not later for what came since: others may join what is new for as long as they please.
                self.due.get_or_insert(now + AGAIN);
                hub.remove(&members, |name, _| name == group, why);
            }
            TopicName::User(user) => {
                for member in hub.of_user(user) {
                    hub.close(&member, CloseReason::from(Code::CutOff), None);
                }
            }
        }
        tracing::warn!(topic = ?who(topic), "another node did not answer that it sends what is for it");
        proof.settle();
    }

    /// Puts them back: when a node has gone, or now and then. To be called where it is known what stands.
    pub(super) fn put_back(&mut self, (hub, moderation): (&Hub, &Moderation), now: Instant, has_gone: bool) {
        if !has_gone && self.due.is_some_and(|due| now < due) {
            return;
        }
        self.due = None;
        for (connection, group) in std::mem::take(&mut self.memberships) {
            let Some(member) = hub.connection(&connection) else { continue };
            if moderation.lasting().find(member.user(), &group).is_some_and(|row| row.may.receives()) {
                // One that a ban keeps out is put back when that is lifted.
                let _ = hub.join(&member, &group, Origin::Lasting);
            }
        }
    }
}
