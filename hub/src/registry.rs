//! Who is connected, as whom, and in which groups.
//!
//! In: members that come, join, leave and go, from any thread. Out: deliveries into their outboxes, and counts. It
//! never awaits, knows no session and no socket, and asks nobody for permission: that is the gate's part.
//!
//! Invariants:
//! - a member that has gone is in no group and under no user (promise 3), however its joins raced with its going;
//! - `Joined` is queued before, and `Removed` after, every message of that membership, because they are queued inside
//!   the group's critical section (promise 8); there, too, a join is permitted or refused (promise 7);
//! - lock order: a member's `memberships`, then a roster's lock, then an audience's (`presence.rs`), then an outbox's
//!   or a member's `permissions`. No two of one kind at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fanfare_protocol::presence::Present;
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Payload, ServerFrame, Target, UserName};

use crate::cluster::{Cluster, Proof, Topic};
use crate::delivery::{Delivery, Population, Removal, Removed};
use crate::envelope::Envelope;
use crate::member::{Description, Member, Membership, Memberships, Origin};
use crate::outbox::{Outbox, Pause};
use crate::presence::{self, Presence, PresenceLimits, Readers, What};
use crate::roster::{Roster, Rosters};
use crate::shards::Shards;
use crate::visit::{Carrier, Datagrams, Queued, Visit};
use crate::witness::{Left, Witness};

/// Everyone who is here.
pub(crate) struct Registry<P> {
    connections: Shards<ConnectionId, Arc<Member<P>>>,
    users: Rosters<UserName, Member<P>>,
    groups: Rosters<GroupName, Member<P>>,
    /// Who watches which groups.
    pub(crate) presence: Presence<P>,
    /// Which groups other nodes watch here.
    pub(crate) abroad: Presence<P>,
    /// When something was last said of a connection, in microseconds since 1970, or a little later: no two at once.
    described: AtomicU64,
    /// Told of memberships, where there is one.
    witness: OnceLock<Arc<dyn Witness<P>>>,
    /// The other nodes, where there are any.
    cluster: OnceLock<Arc<dyn Cluster>>,
}

impl<P> Registry<P> {
    pub(crate) fn new(presence: PresenceLimits) -> Self {
        Self {
            connections: Shards::new(),
            users: Rosters::new(),
            groups: Rosters::new(),
            presence: Presence::new(Readers::Clients, presence),
            // The grace is the watchers' own node's: or who moves from one node to another would go and come.
            abroad: Presence::new(Readers::Nodes, PresenceLimits { grace: Duration::ZERO, ..presence }),
            described: AtomicU64::new(0),
            witness: OnceLock::new(),
            cluster: OnceLock::new(),
        }
    }

    /// Has memberships told from now on; for the first that is given.
    pub(crate) fn tell(&self, witness: Arc<dyn Witness<P>>) {
        let _ = self.witness.set(witness);
    }

    /// Is one of several from now on; for the first that is given.
    pub(crate) fn cluster(&self, cluster: Arc<dyn Cluster>) {
        let _ = self.cluster.set(cluster);
    }

    /// The other nodes, where there are any.
    pub(crate) fn other_nodes(&self) -> Option<&dyn Cluster> {
        self.cluster.get().map(|cluster| &**cluster)
    }

    /// What may stop an outbox from being written.
    pub(crate) fn pause(&self) -> Pause {
        Pause::of(self.cluster.get().cloned())
    }

    /// What a member has to wait for before it may say that it is reached by a topic. Asked inside the topic's critical
    /// section.
    fn wants(&self, topic: Topic<'_>) -> Option<Arc<Proof>> {
        self.cluster.get().and_then(|cluster| cluster.wants(topic))
    }

    /// So many are still reached by a topic. Told inside its critical section.
    fn still_wanted(&self, topic: Topic<'_>, by: usize) {
        if let Some(cluster) = self.cluster.get()
            && by == 0
        {
            cluster.left(topic);
        }
    }

    /// Notes a change of a member in a group, as [`Presence::note`] has it.
    #[inline]
    fn note(&self, group: &GroupName, member: &Arc<Member<P>>, what: What) {
        self.presence.note(group, member, what);
        self.abroad.note(group, member, what);
    }

    /// What a member that leaves a group does there, inside the group's critical section.
    fn leaving<'a>(
        &'a self,
        member: &'a Arc<Member<P>>,
        group: &'a GroupName,
        why: Left,
    ) -> impl FnOnce(usize) + 'a {
        move |left| {
            self.note(group, member, What::Left);
            if let Some(witness) = self.witness.get() {
                witness.left(member, group, why, left == 0);
            }
            self.still_wanted(Topic::Group(group), left);
        }
    }

    /// Lets a connection in, if its user has fewer than `per_user` others and `permit` says so, and queues `first` to
    /// it. It stays until the seat is dropped. `permit` runs inside the user's critical section, and again when the
    /// connection is among all: whoever forbids first and visits the user's connections then, or all, misses none
    /// (tests `arrival_against_ban` and `arrival_against_ban_of_a_token` of the models).
    pub(crate) fn register(
        self: &Arc<Self>,
        member: Arc<Member<P>>,
        first: &ServerFrame,
        per_user: usize,
        permit: impl Fn() -> Result<(), Denial>,
    ) -> Result<Seat<P>, Denial> {
        let admit = |others: usize| {
            permit()?;
            if others >= per_user {
                return Err(Denial::from(Code::UserFull));
            }
            member.outbox().push_first(self.wants(Topic::User(member.user())), first);
            Ok(())
        };
        let user = self.users.enter(member.user(), &member, admit)?;
        self.connections.find_or_replace(&member.id(), |_| true, || Arc::clone(&member));
        let seat = Seat { registry: Arc::clone(self), member, user };
        permit()?;
        Ok(seat)
    }

    /// Makes `member` a member of `group` and queues `Joined` to it, unless it is one already. Returns the number of
    /// members. `permit` runs inside the group's critical section, while the member's own memberships are locked:
    /// whoever forbids first and expels then, leaves nobody in (promise 7).
    ///
    /// # Errors
    /// [`Code::TooManyGroups`] when it is in `most` groups, or watches them; [`Code::ShuttingDown`] when its connection
    /// has gone; what `permit` says.
    pub(crate) fn join(
        &self,
        member: &Arc<Member<P>>,
        group: &GroupName,
        most: usize,
        origin: Origin,
        permit: impl Fn() -> Result<(), Denial>,
    ) -> Result<usize, Denial> {
        let mut memberships = member.memberships.lock();
        if memberships.gone {
            return Err(Code::ShuttingDown.into());
        }
        if let Some(Membership { roster, origin: was }) = memberships.groups.get(group) {
            let (roster, was) = (Arc::clone(roster), *was);
            let members = roster.len();
            // A client's word adds nothing to what others said, and takes nothing from it; but to be somewhere whenever
            // one is here is no wish of anybody's for this connection, so that each of the others' stands beside it.
            let is_said = match origin {
                Origin::Lasting => false,
                Origin::Client => was == Origin::Lasting,
                Origin::Operator | Origin::Application => true,
            };
            if is_said {
                memberships.groups.replace(Membership { roster, origin });
            }
            return Ok(members);
        }
        // What is watched counts, too: all of both may end at once, and who reads nothing at that moment is told of
        // each.
        if memberships.groups.len() + memberships.watches.len() >= most {
            return Err(Code::TooManyGroups.into());
        }
        let mut members = 0;
        let roster = self.groups.enter(group, member, |others| {
            permit()?;
            members = others + 1;
            let joined = ServerFrame::Joined { group: group.clone(), members: members as u64 };
            member.outbox().push_behind(self.wants(Topic::Group(group)), &joined);
            if let Some(witness) = self.witness.get() {
                witness.joined(member, group, origin, others == 0);
            }
            self.note(group, member, What::Entered);
            Ok::<_, Denial>(())
        })?;
        memberships.groups.insert(Membership { roster, origin });
        Ok(members)
    }

    /// Ends a membership. Returns how many members are left, or `None` where there was no membership.
    pub(crate) fn leave(&self, member: &Arc<Member<P>>, group: &GroupName) -> Option<usize> {
        // Held until the roster is left: a join in between would enter it, only to be taken out again.
        let mut memberships = member.memberships.lock();
        let Membership { roster, .. } = memberships.groups.take(group)?;
        Some(self.groups.leave(&roster, member, self.leaving(member, group, Left::Asked)).0)
    }

    /// Ends those of a member's memberships that `ends` names, and counts what it did in `done`. Inside the group's
    /// critical section what is still queued of the group is thrown away, and `Removed` is queued behind it (promise
    /// 8).
    pub(crate) fn remove(
        &self,
        member: &Arc<Member<P>>,
        ends: impl Fn(&GroupName, Origin) -> bool,
        why: Removal<'_>,
        done: &mut Removed,
    ) {
        // Held to the end: a join that comes in between would have its `Joined` overtaken.
        let mut memberships = member.memberships.lock();
        let ended: Vec<_> = memberships
            .groups
            .extract_if(|Membership { roster, origin }| ends(roster.name(), *origin))
            .collect();
        done.connections += u64::from(!ended.is_empty());
        for Membership { roster, .. } in ended {
            let group = roster.name();
            let notice = ServerFrame::Removed {
                group: group.clone(),
                code: why.code.number(),
                reason: why.reason.to_owned(),
            };
            let lost = |target: &Target| matches!(target, Target::Group(name) if name == group);
            let kept = |target: &Target| is_reached(member, &memberships, target);
            self.groups.leave(&roster, member, |left| {
                done.purged += member.outbox().purge(lost, kept);
                member.outbox().push_notice(&notice);
                self.leaving(member, group, Left::Removed(why.code))(left);
            });
            *done.groups.entry(group.clone()).or_default() += 1;
        }
    }

    /// Throws away what waits for a member by way of the groups that `ends` names, where it is not in them: it may have
    /// left them by itself, behind what came before. Gives how many messages.
    pub(crate) fn purge(&self, member: &Member<P>, ends: impl Fn(&GroupName) -> bool) -> u64 {
        let memberships = member.memberships.lock();
        let lost = |target: &Target| match target {
            Target::Group(name) => ends(name) && !memberships.groups.contains(name),
            _ => false,
        };
        member.outbox().purge(lost, |target| is_reached(member, &memberships, target))
    }

    /// Has `member` watch `group`, and gives how many users are present there. `permit` runs while the member's
    /// memberships are locked: whoever forbids first and ends watches then, leaves none.
    ///
    /// # Errors
    /// [`Code::TooManyGroups`] when it watches `most` groups, or is in them; [`Code::ShuttingDown`] when its connection
    /// has gone; what `permit` says.
    pub(crate) fn watch(
        &self,
        member: &Arc<Member<P>>,
        group: &GroupName,
        most: usize,
        permit: impl FnOnce() -> Result<(), Denial>,
    ) -> Result<usize, Denial> {
        let mut memberships = member.memberships.lock();
        if memberships.gone {
            return Err(Code::ShuttingDown.into());
        }
        // Before anything of the group is looked at: who may not watch learns nothing, also not by how long it takes.
        permit()?;
        let all = memberships.groups.len() + memberships.watches.len();
        if all >= most && !memberships.watches.contains(group) {
            return Err(Code::TooManyGroups.into());
        }
        let users = self.presence.watch(group, member, &self.groups, self.other_nodes());
        memberships.watches.insert(group.clone());
        Ok(users)
    }

    /// Ends those of a member's watches that `ends` names. Where there is a reason, it is told. Gives how many.
    pub(crate) fn unwatch(
        &self,
        member: &Member<P>,
        ends: impl Fn(&GroupName) -> bool,
        why: Option<Removal<'_>>,
    ) -> usize {
        let mut memberships = member.memberships.lock();
        let ended: Vec<GroupName> = memberships.watches.extract_if(|group| ends(group)).collect();
        for group in &ended {
            self.presence.unwatch(group, &member.id(), why);
        }
        ended.len()
    }

    /// Has something said of a member to everyone who watches its groups.
    pub(crate) fn describe(&self, member: &Arc<Member<P>>, payload: Option<Payload>, now: SystemTime) {
        // Held to the end, so that what is said later is heard later.
        let memberships = member.memberships.lock();
        member.describe(payload.map(|payload| Arc::new(Description { payload, order: self.order(now) })));
        for Membership { roster, .. } in &memberships.groups {
            self.note(roster.name(), member, What::Described);
        }
    }

    /// Later than all that was given before, and by about the same clock as other nodes'.
    fn order(&self, now: SystemTime) -> u64 {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let later = |last: u64| Some(micros.max(last.saturating_add(1)));
        let last = self.described.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        last.map_or(micros, |last| micros.max(last.saturating_add(1)))
    }

    /// Who is present in a group, user by user.
    pub(crate) fn present(&self, group: &GroupName) -> Vec<Present> {
        presence::present(&self.of_group(group))
    }

    /// Has another node watch a group.
    pub(crate) fn observe(&self, group: &GroupName, id: ConnectionId, outbox: &Arc<Outbox>) {
        self.abroad.observe(group, id, outbox, &self.groups);
    }

    /// The connection with this id.
    pub(crate) fn connection(&self, id: &ConnectionId) -> Option<Arc<Member<P>>> {
        self.connections.find(id)
    }

    /// A user's connections at this moment.
    pub(crate) fn of_user(&self, user: &UserName) -> Vec<Arc<Member<P>>> {
        self.users.find(user).map(|roster| roster.snapshot()).unwrap_or_default()
    }

    /// A group's members at this moment.
    pub(crate) fn of_group(&self, group: &GroupName) -> Vec<Arc<Member<P>>> {
        self.groups.find(group).map(|roster| roster.snapshot()).unwrap_or_default()
    }

    /// Queues a message to everyone its targets reach, but not to `except`.
    pub(crate) fn send(&self, envelope: &Arc<Envelope>, except: &[ConnectionId]) -> Delivery {
        self.visit(Queued(envelope), envelope, except)
    }

    /// Sends a datagram to everyone its targets reach, but not to `except`. Nothing waits, and nothing is kept.
    pub(crate) fn send_unreliably(&self, envelope: &Arc<Envelope>, except: &[ConnectionId]) -> Delivery {
        self.visit(Datagrams(envelope), envelope, except)
    }

    /// Has everyone whom the targets reach get one copy, inside each target's critical section, with the first target's
    /// position.
    fn visit(&self, carrier: impl Carrier, envelope: &Envelope, except: &[ConnectionId]) -> Delivery {
        let mut visit = Visit::new(carrier, except);
        for (position, target) in envelope.targets() {
            match target {
                Target::Connection(id) => {
                    if let Some(member) = self.connections.find(id) {
                        visit.member(&member, position);
                    }
                }
                Target::User(user) => {
                    if let Some(roster) = self.users.find(user) {
                        roster.for_each(|member| visit.member(member, position));
                    }
                }
                Target::Group(group) => {
                    if let Some(roster) = self.groups.find(group) {
                        let before = visit.delivery().queued;
                        roster.for_each(|member| visit.member(member, position));
                        roster.count(visit.delivery().queued - before);
                    }
                }
                Target::All => self.connections.for_each(|member| visit.member(member, position)),
            }
        }
        *visit.delivery()
    }

    /// Everyone, at about one moment.
    pub(crate) fn members(&self) -> Vec<Arc<Member<P>>> {
        let mut members = Vec::with_capacity(self.connections.len());
        self.connections.for_each(|member| members.push(Arc::clone(member)));
        members
    }

    /// Calls `visit` for everyone.
    pub(crate) fn for_each(&self, visit: impl FnMut(&Arc<Member<P>>)) {
        self.connections.for_each(visit);
    }

    /// Every user with the number of its connections.
    pub(crate) fn users(&self) -> Vec<(UserName, usize)> {
        self.users.sizes()
    }

    /// Every group.
    pub(crate) fn group_rosters(&self) -> Vec<Arc<Roster<GroupName, Member<P>>>> {
        self.groups.all()
    }

    /// A group's members, where it has any.
    pub(crate) fn group_roster(&self, group: &GroupName) -> Option<Arc<Roster<GroupName, Member<P>>>> {
        self.groups.find(group)
    }

    /// Every group with the number of its members.
    pub(crate) fn groups(&self) -> Vec<(GroupName, usize)> {
        self.groups.sizes()
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

    fn unregister(&self, member: &Arc<Member<P>>, user: &Arc<Roster<UserName, Member<P>>>) {
        // Held until the last group is left: an expulsion that comes in between waits, and does not find a member
        // without memberships that still gets what is sent to the group (model
        // `join_against_revoke_against_disconnect`).
        let mut memberships = member.memberships.lock();
        memberships.gone = true;
        for Membership { roster, .. } in std::mem::take(&mut memberships.groups) {
            self.groups.leave(&roster, member, self.leaving(member, roster.name(), Left::Gone));
        }
        for group in std::mem::take(&mut memberships.watches) {
            self.presence.unwatch(&group, &member.id(), None);
        }
        drop(memberships);
        self.connections.remove_if(&member.id(), |known| Arc::ptr_eq(known, member));
        self.users.leave(user, member, |left| self.still_wanted(Topic::User(member.user()), left));
    }
}

/// Whether what is sent to a target is sent to a member.
fn is_reached<P>(member: &Member<P>, memberships: &Memberships<P>, target: &Target) -> bool {
    match target {
        Target::Connection(id) => *id == member.id(),
        Target::User(user) => user == member.user(),
        Target::Group(name) => memberships.groups.contains(name),
        Target::All => true,
    }
}

/// A connection's place in the hub. Dropping it takes the connection out of every group and its user, and out of the
/// hub, before the drop returns.
pub struct Seat<P> {
    registry: Arc<Registry<P>>,
    member: Arc<Member<P>>,
    user: Arc<Roster<UserName, Member<P>>>,
}

impl<P> Seat<P> {
    /// Whose place it is.
    #[must_use]
    pub fn member(&self) -> &Arc<Member<P>> {
        &self.member
    }
}

impl<P> Drop for Seat<P> {
    fn drop(&mut self) {
        self.registry.unregister(&self.member, &self.user);
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
