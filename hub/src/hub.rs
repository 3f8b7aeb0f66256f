//! The hub: who is here, and everything that can be done to them. The one place that acts.
//!
//! In: connections that come, and the wishes of clients, applications, operators and back ends, from any thread. Out:
//! frames in outboxes, counts, and what came of each wish. Whoever asked, it is the same method, and meets the same
//! gate and counters (promise 14); in how many groups a connection may be is asked of its client's wishes alone.
//!
//! Nothing here waits, and nothing reads a clock: times come in. What a method queues is queued when it returns.

mod elsewhere;
mod observer;
mod watching;

pub use self::observer::Observer;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use fanfare_protocol::{
    Code, ConnectionId, DATAGRAM_BYTES, Denial, EventName, GroupName, Limits, PayloadFormat, Sender,
    ServerFrame, Target, UserName,
};

use crate::budget::{Budget, BudgetLimits};
use crate::close_reason::CloseReason;
use crate::cluster::{Lane, Ticket};
use crate::counters::Counters;
use crate::delivery::{Delivery, Population, Removal, Removed};
use crate::dialect::Dialect;
use crate::envelope::Envelope;
use crate::gate::Gate;
use crate::line::Line;
use crate::member::{Member, Origin};
use crate::outbox::{Outbox, OutboxLimits};
use crate::presence::PresenceLimits;
use crate::registry::{Registry, Seat};
use crate::roster::Roster;
use crate::witness::Witness;

/// The bounds that the hub keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// How many connections a user may have.
    pub per_user: usize,
    /// In how many groups a connection may be by its client's wish, those included that it watches.
    pub groups: usize,
    /// What each connection's outbox may hold.
    pub outbox: OutboxLimits,
    /// What all outboxes together may hold.
    pub budget: BudgetLimits,
    /// How presence is announced.
    pub presence: PresenceLimits,
}

impl Default for HubLimits {
    /// No bound on connections; 1,000 groups, as the protocol's limits have it.
    fn default() -> Self {
        Self {
            per_user: usize::MAX,
            groups: 1_000,
            outbox: OutboxLimits::default(),
            budget: BudgetLimits::default(),
            presence: PresenceLimits::default(),
        }
    }
}

/// What can be sent at all, whatever the limits of clients are. There are 65,536 positions for targets in an envelope,
/// as many as in the longest list that is read; a longer payload makes a frame that no client reads, so that it would
/// cost each recipient its connection.
const SENDABLE: Limits = Limits {
    frame_bytes: Limits::FRAME_CEILING,
    payload_bytes: Limits::PAYLOAD_CEILING,
    groups: u32::MAX,
    targets: 1 << 16,
};

/// A connection that wants in.
pub struct Newcomer<P> {
    /// Its id, which nobody else has.
    pub connection: ConnectionId,
    /// Whose it is.
    pub user: UserName,
    /// What counts as its address where shares are reckoned: for IPv6 the /64.
    pub source: std::net::IpAddr,
    /// What carries it.
    pub line: Arc<dyn Line>,
    /// What it may do.
    pub permissions: P,
    /// What its client speaks where that is not Fanfare's protocol.
    pub dialect: Option<Arc<dyn Dialect>>,
}

/// A message that is to be sent.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Who it is from.
    pub from: Sender,
    /// Where it goes: at least one target, and at most 65,536.
    pub to: Vec<Target>,
    /// Connections that get no copy, whatever reaches them.
    pub except: Vec<ConnectionId>,
    /// What it is about.
    pub event: EventName,
    /// What kind of thing the payload is.
    pub format: PayloadFormat,
    /// What is in it: at most [`Limits::PAYLOAD_CEILING`] bytes.
    pub payload: Bytes,
    /// When it was taken.
    pub accepted: Instant,
    /// Whether somebody wants to know how many got it, on other nodes as well ([`Delivery::elsewhere`]). Here they are
    /// counted in any case.
    pub counts: bool,
}

impl Publication {
    fn check(&self) -> Result<(), Denial> {
        SENDABLE.check_send(self.to.len(), 0, self.payload.len())
    }

    /// As it goes by datagrams, if it may.
    fn unreliable(&self) -> Result<Arc<Envelope>, Denial> {
        self.check()?;
        let Self { from, to, except: _, event, format, payload, accepted, counts: _ } = self;
        let envelope = Envelope::unreliable(from, to, event, *format, payload, *accepted);
        fits(&envelope, payload.len())?;
        Ok(Arc::new(envelope))
    }
}

/// What came of a wish to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// How many members the group has, this one included.
    pub members: usize,
    /// Whether it was none before.
    pub is_new: bool,
}

/// Everyone who is here, and what can be done to them. `P` is what a connection is permitted, which only the gate
/// looks at.
pub struct Hub<P> {
    pub(crate) registry: Arc<Registry<P>>,
    gate: Arc<dyn Gate<P>>,
    limits: HubLimits,
    counters: Counters,
    budget: Arc<Budget>,
}

/// Acting.
impl<P> Hub<P> {
    /// An empty hub.
    #[must_use]
    pub fn new(limits: HubLimits, gate: Arc<dyn Gate<P>>) -> Self {
        Self {
            registry: Arc::new(Registry::new(limits.presence)),
            gate,
            limits,
            counters: Counters::default(),
            budget: Arc::new(Budget::new(limits.budget)),
        }
    }

    /// Has a witness told of every membership from now on. Only the first that is given counts.
    pub fn tell(&self, witness: Arc<dyn Witness<P>>) {
        self.registry.tell(witness);
    }

    /// Lets a connection in, where its user may be here. `first` is queued before anybody can send to it. It is here
    /// until the seat is dropped. The two times are now.
    ///
    /// # Errors
    /// What the gate says; [`Code::UserFull`] where the user has as many connections as it may have.
    pub fn register(
        &self,
        newcomer: Newcomer<P>,
        first: &ServerFrame,
        now: (Instant, SystemTime),
    ) -> Result<Seat<P>, Denial> {
        let Newcomer { connection, user, source, line, permissions, dialect } = newcomer;
        let account = self.budget.account(&user, source);
        let outbox = Outbox::within(self.limits.outbox, account, dialect, self.registry.pause());
        let member = Arc::new(Member::new(connection, user, outbox, line, permissions, now));
        let asking = Arc::clone(&member);
        let permit = || self.gate.enter(asking.user(), &asking.permissions());
        self.registry.register(member, first, self.limits.per_user, permit)
    }

    /// Sends a message to everyone whom its targets reach: one copy each.
    ///
    /// # Errors
    /// [`Code::NoTarget`], [`Code::TooManyTargets`] or [`Code::PayloadTooLarge`] where it is beyond what a
    /// [`Publication`] may say. Nobody got anything then, and it does not count as a send.
    pub fn send(&self, publication: Publication) -> Result<Delivery, Denial> {
        publication.check()?;
        let elsewhere = self.publish(&publication, Lane::Stream)?;
        Ok(self.count_sent(1, elsewhere, self.queue(publication)))
    }

    /// Sends messages of one sender to one target, one behind the other, for the price of one. Each recipient gets all
    /// of them or none, so they should be few beside what an outbox holds: [`OutboxLimits::run`] says how many.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`] where one of them is longer than [`Limits::PAYLOAD_CEILING`]; none is sent then.
    /// How many got them on other nodes is not counted.
    pub fn send_run(
        &self,
        from: &Sender,
        to: Target,
        except: &[ConnectionId],
        messages: Vec<(EventName, PayloadFormat, Bytes)>,
        accepted: Instant,
    ) -> Result<Delivery, Denial> {
        check_run(&messages)?;
        let sends = messages.len() as u64;
        self.publish_run(from, &to, except, &messages)?;
        Ok(self.count_sent(sends, None, self.queue_run(from, to, except, messages, accepted)))
    }

    /// Sends a message by datagrams: nothing waits, and what gets lost is lost.
    ///
    /// # Errors
    /// As [`Hub::send`]; and [`Code::PayloadTooLarge`] where it does not fit into a datagram to one of its targets.
    #[expect(clippy::needless_pass_by_value, reason = "a publication is used up by whatever sends it")]
    pub fn send_unreliable(&self, publication: Publication) -> Result<Delivery, Denial> {
        let envelope = publication.unreliable()?;
        let elsewhere = self.publish(&publication, Lane::Datagrams)?;
        Ok(self.count_sent(1, elsewhere, self.registry.send_unreliably(&envelope, &publication.except)))
    }

    /// Makes a connection a member of a group, and queues `Joined` to it. Where it is one already nothing happens; but
    /// a membership that an operator or the application confirms is its own from then on.
    ///
    /// # Errors
    /// What the gate says; [`Code::TooManyGroups`] where its client is in as many groups as it may be in;
    /// [`Code::ShuttingDown`] where it has gone.
    pub fn join(&self, member: &Arc<Member<P>>, group: &GroupName, origin: Origin) -> Result<Joined, Denial> {
        let is_new = std::cell::Cell::new(false);
        // Asked inside the group's critical section: an end or a ban that comes meanwhile finds the member there, or
        // keeps it out.
        let permit = || {
            is_new.set(true);
            self.gate.join(member.user(), &member.permissions(), group, origin)
        };
        let most = if origin == Origin::Client { self.limits.groups } else { usize::MAX };
        let members = self.registry.join(member, group, most, origin, permit).map_err(|denial| {
            if denial.code == Code::TooManyGroups { self.too_many_groups() } else { denial }
        })?;
        Ok(Joined { members, is_new: is_new.get() })
    }

    /// Ends a membership by the client's own wish: it is told nothing. Gives how many members are left; `None` where
    /// there was no membership.
    pub fn leave(&self, member: &Arc<Member<P>>, group: &GroupName) -> Option<usize> {
        self.registry.leave(member, group)
    }

    /// Ends those memberships of these connections that `ends` names. What is queued of such a group is thrown away,
    /// and `Removed` comes behind what was sent of it before (promise 8).
    pub fn remove(
        &self,
        members: &[Arc<Member<P>>],
        ends: impl Fn(&GroupName, Origin) -> bool,
        why: Removal<'_>,
    ) -> Removed {
        let mut done = Removed::default();
        for member in members {
            self.registry.remove(member, &ends, why, &mut done);
        }
        self.counters.removed.add_many(why.code, done.groups.values().sum());
        self.counters.purged.add(done.purged);
        done
    }

    /// Forbids, and then removes a user from what was forbidden, and ends its watches of it: in this order, because a
    /// join asks the gate inside the critical section that the removal takes (promise 7; model
    /// `join_against_revoke_against_disconnect`).
    pub fn revoke(
        &self,
        user: &UserName,
        forbid: impl FnOnce(),
        ends: impl Fn(&GroupName) -> bool,
        why: Removal<'_>,
    ) -> Removed {
        forbid();
        let members = self.of_user(user);
        for member in &members {
            self.end_watches(member, &ends, why);
        }
        let mut removed = self.remove(&members, |group, _| ends(group), why);
        // What came before a client left by itself is still on its way, and nobody is a member for it any more.
        let left: u64 = members.iter().map(|member| self.registry.purge(member, &ends)).sum();
        self.counters.purged.add(left);
        removed.purged += left;
        removed
    }

    /// Closes a connection. What is queued to it is thrown away. `retry_after_ms` is when it may come back, where
    /// somebody chose it; 0 is never.
    pub fn close(&self, member: &Member<P>, reason: CloseReason, retry_after_ms: Option<u32>) {
        match retry_after_ms {
            Some(ms) => member.outbox().end_until(reason, ms),
            None => member.outbox().end(reason),
        }
    }

    /// Lets a connection go on with other permissions, where they let it be here. Its memberships stay as they are:
    /// [`Hub::remove`] ends those that are not covered any more.
    ///
    /// # Errors
    /// What the gate says. Where it says so only after the change (it was forbidden meanwhile), the connection is
    /// closed, because what it had before is gone.
    pub fn permit(&self, member: &Member<P>, permissions: P) -> Result<(), Denial> {
        self.gate.enter(member.user(), &permissions)?;
        member.replace_permissions(permissions);
        // Asked again when they are there for whoever forbids: what was forbidden in between either found them, or is
        // found here.
        let asked_again = self.gate.enter(member.user(), &member.permissions());
        if let Err(denial) = &asked_again {
            self.close(member, denial.clone().into(), None);
        }
        asked_again
    }
}

/// Looking.
impl<P> Hub<P> {
    /// How many connections a target has now. Costs the same for a group of ten and a group of ten thousand.
    #[must_use]
    pub fn count(&self, target: &Target) -> usize {
        self.registry.count(target)
    }

    /// How many connections, users and groups there are.
    #[must_use]
    pub fn population(&self) -> Population {
        self.registry.population()
    }

    /// Everyone, at about one moment.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Member<P>>> {
        self.registry.members()
    }

    /// The connection with this id.
    #[must_use]
    pub fn connection(&self, id: &ConnectionId) -> Option<Arc<Member<P>>> {
        self.registry.connection(id)
    }

    /// A user's connections at this moment.
    #[must_use]
    pub fn of_user(&self, user: &UserName) -> Vec<Arc<Member<P>>> {
        self.registry.of_user(user)
    }

    /// A group's members at this moment.
    #[must_use]
    pub fn of_group(&self, group: &GroupName) -> Vec<Arc<Member<P>>> {
        self.registry.of_group(group)
    }

    /// Whom a target reaches at this moment.
    #[must_use]
    pub fn reached_by(&self, target: &Target) -> Vec<Arc<Member<P>>> {
        match target {
            Target::Connection(id) => self.connection(id).into_iter().collect(),
            Target::User(user) => self.of_user(user),
            Target::Group(group) => self.of_group(group),
            Target::All => self.list(),
        }
    }

    /// Every user with the number of its connections.
    #[must_use]
    pub fn users(&self) -> Vec<(UserName, usize)> {
        self.registry.users()
    }

    /// Every group with the number of its members.
    #[must_use]
    pub fn groups(&self) -> Vec<(GroupName, usize)> {
        self.registry.groups()
    }

    /// Every group, to be looked at again.
    #[must_use]
    pub fn rosters(&self) -> Vec<Arc<Roster<GroupName, Member<P>>>> {
        self.registry.group_rosters()
    }

    /// One group, where it has members.
    #[must_use]
    pub fn roster(&self, group: &GroupName) -> Option<Arc<Roster<GroupName, Member<P>>>> {
        self.registry.group_roster(group)
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What waits for everybody together.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The bounds that are kept.
    #[must_use]
    pub fn limits(&self) -> &HubLimits {
        &self.limits
    }

    /// Why a connection that is in as many groups as it may be in cannot join one more.
    #[must_use]
    pub fn too_many_groups(&self) -> Denial {
        let most = self.limits.groups;
        let detail = format!("this connection is in {most} groups, or watches them, as many as it may");
        Denial { code: Code::TooManyGroups, detail }
    }

    /// Queues to those who are here what was checked.
    fn queue(&self, publication: Publication) -> Delivery {
        let Publication { from, to, except, event, format, payload, accepted, counts: _ } = publication;
        let envelope = Arc::new(Envelope::new(&from, to, event, format, payload, accepted));
        self.registry.send(&envelope, &except)
    }

    /// The same for messages of one sender to one target.
    fn queue_run(
        &self,
        from: &Sender,
        to: Target,
        except: &[ConnectionId],
        messages: Vec<(EventName, PayloadFormat, Bytes)>,
        accepted: Instant,
    ) -> Delivery {
        // It would be an entry in each outbox that no bound counts.
        if messages.is_empty() {
            return Delivery::default();
        }
        let envelope = Arc::new(Envelope::run(from, to, messages, accepted));
        self.registry.send(&envelope, except)
    }

    fn count_sent(&self, sends: u64, elsewhere: Option<Ticket>, delivery: Delivery) -> Delivery {
        self.counters.sends.add(sends);
        Delivery { elsewhere, ..self.count_copies(delivery) }
    }

    fn count_copies(&self, delivery: Delivery) -> Delivery {
        self.counters.deliveries.add(delivery.queued);
        self.counters.displaced.add(delivery.displaced);
        self.counters.datagram_bytes.add(delivery.datagram_bytes);
        delivery
    }
}

fn check_run(messages: &[(EventName, PayloadFormat, Bytes)]) -> Result<(), Denial> {
    messages.iter().try_for_each(|(_, _, payload)| SENDABLE.check_payload(payload.len()))
}

/// Refuses what is too long for a datagram to one of its targets.
fn fits(envelope: &Envelope, payload: usize) -> Result<(), Denial> {
    let bytes = envelope.targets().map(|(position, _)| envelope.datagram_bytes(position)).max().unwrap_or(0);
    if bytes <= DATAGRAM_BYTES {
        return Ok(());
    }
    let room = payload.saturating_sub(bytes - DATAGRAM_BYTES);
    let detail = format!(
        "the message has {bytes} bytes as a datagram; at most {DATAGRAM_BYTES} are allowed, which leaves {room} for this \
         payload"
    );
    Err(Denial { code: Code::PayloadTooLarge, detail })
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
