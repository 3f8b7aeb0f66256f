//! Who is connected, as whom, and in which groups.
//!
//! In: members that come, join, leave and go, from any thread. Out: deliveries into their outboxes, and counts. It never
//! awaits, knows no session and no socket, and asks nobody for permission: that is the router's part.
//!
//! Invariants:
//! - a member that has gone is in no group and under no user (promise 3), however its joins raced with its going;
//! - a member gets one copy of a send, whatever number of targets reaches it (promises 1 and 2);
//! - `Joined` is queued before, and `Removed` after, every message of that membership, because they are queued inside the
//!   group's critical section;
//! - lock order: a member's `memberships`, then a roster's lock, then an outbox's. No two of one kind at a time.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use fanfare_protocol::{Code, ConnectionId, GroupName, ServerFrame, Target, UserName};

use crate::envelope::Envelope;
use crate::outbox::{Outbox, OutboxLimits, Pushed};
use crate::roster::{Roster, Rosters};
use crate::shards::Shards;
use crate::sync::Mutex;

/// A connection, as the registry knows it.
pub(crate) struct Member {
    id: ConnectionId,
    user: UserName,
    outbox: Outbox,
    memberships: Mutex<Memberships>,
}

#[derive(Default)]
struct Memberships {
    groups: HashSet<ByName, foldhash::quality::RandomState>,
    gone: bool,
}

/// A group that a member is in, found by its name.
struct ByName(Arc<Roster<GroupName>>);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

impl std::borrow::Borrow<GroupName> for ByName {
    fn borrow(&self) -> &GroupName {
        self.0.name()
    }
}

impl Member {
    pub(crate) fn new(id: ConnectionId, user: UserName, outbox: OutboxLimits) -> Self {
        Self { id, user, outbox: Outbox::new(outbox), memberships: Mutex::new(Memberships::default()) }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn user(&self) -> &UserName {
        &self.user
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

/// How many of what there is. Each is counted at its own moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Population {
    /// Connections that have been welcomed and are not gone.
    pub connections: usize,
    /// Users with at least one connection.
    pub users: usize,
    /// Groups with at least one member.
    pub groups: usize,
}

/// What a send did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Delivery {
    /// Connections it was queued to.
    pub(crate) queued: u64,
    /// Messages that were dropped from full outboxes, this one or older ones.
    pub(crate) displaced: u64,
    /// Connections that are being closed because it did not fit.
    pub(crate) overflowed: u64,
}

impl Delivery {
    fn count(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Queued => self.queued += 1,
            Pushed::Displaced(messages) => {
                self.queued += 1;
                self.displaced += messages;
            }
            Pushed::Dropped(messages) => self.displaced += messages,
            Pushed::Overflowed => self.overflowed += 1,
            Pushed::Ended => {}
        }
    }
}

/// Everyone who is here.
pub(crate) struct Registry {
    connections: Shards<ConnectionId, Arc<Member>>,
    users: Rosters<UserName>,
    groups: Rosters<GroupName>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { connections: Shards::new(), users: Rosters::new(), groups: Rosters::new() }
    }

    /// Lets a connection in, if its user has fewer than `per_user` others. It stays until the seat is dropped.
    pub(crate) fn arrive(self: &Arc<Self>, member: Arc<Member>, per_user: usize) -> Result<Seat, Code> {
        let admit = |others: usize| if others < per_user { Ok(()) } else { Err(Code::UserFull) };
        let user = self.users.enter(&member.user, &member, admit)?;
        self.connections.find_or_replace(&member.id, |_| true, || Arc::clone(&member));
        Ok(Seat { registry: Arc::clone(self), member, user })
    }

    /// Makes `member` a member of `group` and queues `Joined` to it, unless it is one already. Returns the number of
    /// members.
    ///
    /// # Errors
    /// [`Code::TooManyGroups`] when it is in `most` groups; [`Code::ShuttingDown`] when its connection has gone.
    pub(crate) fn join(&self, member: &Arc<Member>, group: &GroupName, most: usize) -> Result<usize, Code> {
        let mut memberships = member.memberships.lock();
        if memberships.gone {
            return Err(Code::ShuttingDown);
        }
        if let Some(ByName(roster)) = memberships.groups.get(group) {
            return Ok(roster.len());
        }
        if memberships.groups.len() >= most {
            return Err(Code::TooManyGroups);
        }
        let mut members = 0;
        let roster = self.groups.enter(group, member, |others| {
            members = others + 1;
            member.outbox.push_notice(&ServerFrame::Joined { group: group.clone(), members: members as u64 });
            Ok::<_, Code>(())
        })?;
        memberships.groups.insert(ByName(roster));
        Ok(members)
    }

    /// Ends a membership, if there is one. Returns how many members are left.
    pub(crate) fn leave(&self, member: &Arc<Member>, group: &GroupName) -> usize {
        // Held until the roster is left: a join in between would enter it, only to be taken out again.
        let mut memberships = member.memberships.lock();
        match memberships.groups.take(group) {
            Some(ByName(roster)) => self.groups.leave(&roster, member, || {}).0,
            None => self.count(&Target::Group(group.clone())),
        }
    }

    /// Ends the memberships of all of a user's connections in a group, and queues `notice` to each of them as the last
    /// frame of that group. Returns how many there were.
    pub(crate) fn remove_user(&self, user: &UserName, group: &GroupName, notice: &ServerFrame) -> usize {
        let Some(user) = self.users.find(user) else { return 0 };
        let mut removed = 0;
        for member in user.snapshot() {
            // Held until the notice is queued: a join that comes in between would have its `Joined` overtaken.
            let mut memberships = member.memberships.lock();
            if let Some(ByName(roster)) = memberships.groups.take(group) {
                self.groups.leave(&roster, &member, || {
                    member.outbox.push_notice(notice);
                });
                removed += 1;
            }
        }
        removed
    }

    /// Queues a message to everyone its targets reach, but not to `except`.
    pub(crate) fn send(&self, envelope: &Arc<Envelope>, except: &[ConnectionId]) -> Delivery {
        let mut delivery = Delivery::default();
        let except = Excluded::new(except);
        // With one target nobody is reached twice, and nothing needs to be remembered.
        let mut reached = (envelope.targets().len() > 1).then(HashSet::<ConnectionId>::new);
        for (position, target) in (0u16..).zip(envelope.targets()) {
            let mut deliver = |member: &Arc<Member>| {
                if !except.contains(&member.id)
                    && reached.as_mut().is_none_or(|reached| reached.insert(member.id))
                {
                    delivery.count(member.outbox.push_message(envelope, position));
                }
            };
            match target {
                Target::Connection(id) => {
                    if let Some(member) = self.connections.find(id) {
                        deliver(&member);
                    }
                }
                Target::User(user) => {
                    if let Some(roster) = self.users.find(user) {
                        roster.for_each(deliver);
                    }
                }
                Target::Group(group) => {
                    if let Some(roster) = self.groups.find(group) {
                        roster.for_each(deliver);
                    }
                }
                Target::All => self.connections.for_each(deliver),
            }
        }
        delivery
    }

    /// How many connections a target has. Costs the same for a group of ten and a group of ten thousand.
    pub(crate) fn count(&self, target: &Target) -> usize {
        match target {
            Target::Connection(id) => usize::from(self.connections.find(id).is_some()),
            Target::User(user) => self.users.find(user).map_or(0, |roster| roster.len()),
            Target::Group(group) => self.groups.find(group).map_or(0, |roster| roster.len()),
            Target::All => self.connections.len(),
        }
    }

    /// How many connections, users and groups there are.
    pub(crate) fn population(&self) -> Population {
        Population { connections: self.connections.len(), users: self.users.len(), groups: self.groups.len() }
    }

    /// Calls `visit` for every outbox. New connections may come meanwhile; the caller sees to it that none do.
    pub(crate) fn for_each_outbox(&self, mut visit: impl FnMut(&Outbox)) {
        self.connections.for_each(|member| visit(&member.outbox));
    }

    #[expect(clippy::mutable_key_type, reason = "hashed and compared by its name, which never changes")]
    fn depart(&self, member: &Arc<Member>, user: &Arc<Roster<UserName>>) {
        let groups = {
            let mut memberships = member.memberships.lock();
            memberships.gone = true;
            std::mem::take(&mut memberships.groups)
        };
        for ByName(roster) in groups {
            self.groups.leave(&roster, member, || {});
        }
        self.connections.remove_if(&member.id, |known| Arc::ptr_eq(known, member));
        self.users.leave(user, member, || {});
    }
}

/// A connection's place in the registry. Dropping it takes the connection out of every group, its user and the registry,
/// before the drop returns.
pub(crate) struct Seat {
    registry: Arc<Registry>,
    member: Arc<Member>,
    user: Arc<Roster<UserName>>,
}

impl Seat {
    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.depart(&self.member, &self.user);
    }
}

/// The connections that a send leaves out: a few are compared one by one, many are looked up.
enum Excluded<'a> {
    Few(&'a [ConnectionId]),
    Many(HashSet<&'a ConnectionId>),
}

impl<'a> Excluded<'a> {
    fn new(ids: &'a [ConnectionId]) -> Self {
        if ids.len() <= 8 { Self::Few(ids) } else { Self::Many(ids.iter().collect()) }
    }

    fn contains(&self, id: &ConnectionId) -> bool {
        match self {
            Self::Few(ids) => ids.contains(id),
            Self::Many(ids) => ids.contains(id),
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "model")]
mod model;
