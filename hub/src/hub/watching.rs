//! Presence, as the hub has it: who watches which group, and what the application says of whom.
//!
//! In: wishes to watch, their ends, descriptions, and the time when something is to be announced. Out: frames in
//! outboxes, by `presence.rs`, and counts. Invariant: who may watch is asked of the gate before anything of the group
//! is looked at; with the end of a watch nothing of the group follows (promise 16).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use fanfare_protocol::presence::{DESCRIPTION_BYTES, PresenceFrame, Present};
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Payload, UserName};

use super::{Hub, Observer};
use crate::cluster::NodeKey;
use crate::delivery::Removal;
use crate::member::Member;
use crate::presence::Announcement;

/// Acting.
impl<P> Hub<P> {
    /// Has a connection told who is in a group, and how that changes; from the beginning, where it watches it already.
    /// As much of the snapshot as there is room for is queued, and the rest by
    /// [announcements](Hub::announcement). Gives how many users
    /// are present, as far as that is known: in a cluster the other nodes are asked where nobody watched the group.
    ///
    /// # Errors
    /// What the gate says; [`Code::TooManyGroups`] where it watches, or is in, as many groups as it may;
    /// [`Code::ShuttingDown`] where it has gone. Whoever may not watch learns nothing of the group.
    pub fn watch(&self, member: &Arc<Member<P>>, group: &GroupName) -> Result<usize, Denial> {
        let permit = || self.gate.watch(member.user(), &member.permissions(), group);
        self.registry.watch(member, group, self.limits.groups, permit).map_err(|denial| {
            if denial.code == Code::TooManyGroups { self.too_many_groups() } else { denial }
        })
    }

    /// Ends a watch by the client's own wish. Nothing about the group comes from then on. Tells whether there was one.
    pub fn unwatch(&self, member: &Member<P>, group: &GroupName) -> bool {
        self.registry.unwatch(member, |watched| watched == group, None) > 0
    }

    /// Ends those watches of a connection that `ends` names. What is queued of them is thrown away, and the connection
    /// is told why, with the last that it hears of the group (promise 16). Gives how many.
    pub fn end_watches(
        &self,
        member: &Member<P>,
        ends: impl Fn(&GroupName) -> bool,
        why: Removal<'_>,
    ) -> usize {
        self.registry.unwatch(member, ends, Some(why))
    }

    /// Has the application say something of a connection to everyone who watches its groups, or nothing any more. Of a
    /// user with several connections in a group, what was said last of one of them counts, by the clocks of the nodes
    /// that they are on.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`] where it is longer than [`DESCRIPTION_BYTES`].
    pub fn describe(
        &self,
        member: &Arc<Member<P>>,
        data: Option<Payload>,
        now: SystemTime,
    ) -> Result<(), Denial> {
        let bytes = data.as_ref().map_or(0, |data| data.bytes.len());
        if bytes > DESCRIPTION_BYTES {
            let detail = format!("public data has {bytes} bytes; at most {DESCRIPTION_BYTES} are allowed");
            return Err(Denial { code: Code::PayloadTooLarge, detail });
        }
        self.registry.describe(member, data, now);
        Ok(())
    }

    /// Tells all who watch what has changed since the last time, as of `now`, when it is carried through. Four times a
    /// second is often enough for people; where nothing has changed there is nothing to carry through.
    pub fn announcement(&self, now: Instant) -> Announcement<'_, P> {
        let (here, abroad) = (&self.registry.presence, &self.registry.abroad);
        let cluster = self.registry.other_nodes();
        Announcement::new([here.unsettled(now, cluster), abroad.unsettled(now, None)])
    }
}

/// Between nodes.
impl<P> Hub<P> {
    /// Another node, as one more who watches groups here. It is known by an id that no connection has.
    #[must_use]
    pub fn observer(&self, id: ConnectionId) -> Observer<P> {
        Observer::new(Arc::clone(&self.registry), id)
    }

    /// Takes over what another node says of its members, as its [`Observer`] for this one gives it.
    pub fn hear(&self, node: NodeKey, frame: PresenceFrame, now: Instant) {
        self.registry.presence.hear(node, frame, now);
    }

    /// A node has gone, and with it, after the grace, whoever is on no other.
    pub fn part(&self, node: NodeKey, now: Instant) {
        self.registry.presence.part(node, now);
    }
}

/// Looking.
impl<P> Hub<P> {
    /// Who is present in a group at this moment, in the order of their names. Looks at every member.
    #[must_use]
    pub fn present(&self, group: &GroupName) -> Vec<Present> {
        self.registry.present(group)
    }

    /// What the application says of a user by those of its connections that are in a group: the latest, and when it was
    /// said, in microseconds since 1970, or a little later.
    #[must_use]
    pub fn said(&self, group: &GroupName, user: &UserName) -> Option<(u64, Payload)> {
        let connections = self.of_user(user).into_iter();
        let members = connections.filter(|member| member.memberships.lock().groups.contains(group));
        let said = members.filter_map(|member| member.description());
        let latest = said.max_by(|one, other| one.cmp_order(other))?;
        Some((latest.order, latest.payload.clone()))
    }

    /// How many watches there are.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.registry.presence.watches()
    }

    /// How many connections watch a group.
    #[must_use]
    pub fn watchers(&self, group: &GroupName) -> usize {
        self.registry.presence.watchers(group)
    }

    /// How many frames of presence were queued, and how many times a watcher had to be told anew because it did not
    /// keep up.
    #[must_use]
    pub fn presence_told(&self) -> (u64, u64) {
        let presence = &self.registry.presence;
        (presence.frames.value(), presence.restarts.value())
    }
}
