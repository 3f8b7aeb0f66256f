//! The hub in an application's hands: the same verbs as clients and operators have, from anywhere in the process.
//!
//! In: whom something is about, and what is to be done to them. Out: how many connections it reached, or why nothing
//! was done. Invariants: each verb is the hub's own, so that it meets the same bans, limits and counters as a client's
//! or an operator's (promise 14); nothing here waits, so that it can be called from any thread and any task: what is
//! done on other nodes, too, is in `everywhere`.

mod clients;
mod everywhere;
mod others;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use fanfare_hub::{CloseReason, Origin, Population, Publication, Removal, Ticket};
use fanfare_protocol::presence::Present;
use fanfare_protocol::{
    Code, ConnectionId, Denial, EventName, GroupName, Limits, NameError, Payload, Sender, Target, UserName,
};

use crate::arrivals::Arrivals;
use crate::hub::{Hub, Member};
use crate::notices;
use crate::reason::{self, told};
use crate::spread;

pub(crate) use self::clients::{Asking, Clients, Given, Giving};
pub use self::everywhere::{Everywhere, Reached};
pub(crate) use self::others::{Answers, Copies, Done, Order, Others};

/// A running server's hub. Cheap to clone; it holds nothing up when it outlives the server.
///
/// ```
/// # fn alert(hub: &fanfare_server::HubHandle) -> Result<(), fanfare_server::HubError> {
/// use fanfare_server::GroupName;
///
/// let room = GroupName::new("room-7")?;
/// hub.group(room.clone()).send("Alert", "the meeting begins")?;
/// assert_eq!(hub.group(room).count(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HubHandle {
    hub: Arc<Hub>,
    limits: Limits,
    arrivals: Arc<Arrivals>,
    /// The other nodes, where there are some.
    others: Option<Arc<dyn Others>>,
    /// Those who can be asked, as soon as there is an application.
    clients: Arc<OnceLock<Weak<dyn Clients>>>,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The hub refuses it, as it would refuse a client or an operator.
    #[error("{detail} (code {})", code.number())]
    Refused {
        /// Why, by number.
        code: Code,
        /// What exactly is wrong.
        detail: String,
    },
}

impl From<Denial> for HubError {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self::Refused { code, detail }
    }
}

impl From<std::convert::Infallible> for HubError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// A connection, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionFacts {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub user: UserName,
    /// When it was welcomed.
    pub since: SystemTime,
    /// The groups it is in.
    pub groups: Vec<GroupName>,
}

/// Connections that something is done to: those that its targets reach at the moment of doing, each once.
#[derive(Clone)]
#[must_use = "nothing is done yet"]
pub struct Selection<'a> {
    handle: &'a HubHandle,
    targets: Vec<Target>,
    except: Vec<ConnectionId>,
}

impl HubHandle {
    pub(crate) fn new(hub: Arc<Hub>, limits: Limits) -> Self {
        Self { hub, limits, arrivals: Arc::default(), others: None, clients: Arc::default() }
    }

    /// The same, with these as those that are not welcomed yet.
    pub(crate) fn expecting(mut self, arrivals: Arc<Arrivals>) -> Self {
        self.arrivals = arrivals;
        self
    }

    /// The same, as one of several nodes.
    pub(crate) fn among(mut self, others: Option<Arc<dyn Others>>) -> Self {
        self.others = others;
        self
    }

    /// From now on these are asked, by all clones.
    pub(crate) fn asks(&self, clients: Weak<dyn Clients>) {
        let _ = self.clients.set(clients);
    }

    /// Those who can be asked here.
    pub(crate) fn clients(&self) -> Option<Arc<dyn Clients>> {
        self.clients.get()?.upgrade()
    }

    /// The other nodes.
    pub(crate) fn others(&self) -> Option<&dyn Others> {
        self.others.as_deref()
    }

    /// Connections that are not welcomed yet.
    pub(crate) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// One connection.
    pub fn connection(&self, id: ConnectionId) -> Selection<'_> {
        self.select([Target::Connection(id)])
    }

    /// All connections of a user.
    pub fn user(&self, user: UserName) -> Selection<'_> {
        self.select([Target::User(user)])
    }

    /// All members of a group.
    pub fn group(&self, group: GroupName) -> Selection<'_> {
        self.select([Target::Group(group)])
    }

    /// All connections.
    pub fn everyone(&self) -> Selection<'_> {
        self.select([Target::All])
    }

    /// Whoever is reached by any of these.
    pub fn select(&self, targets: impl IntoIterator<Item = Target>) -> Selection<'_> {
        Selection { handle: self, targets: targets.into_iter().collect(), except: Vec::new() }
    }

    /// How many bytes a payload may have.
    #[must_use]
    pub fn longest_payload(&self) -> usize {
        self.limits.payload_bytes as usize
    }

    /// How many connections, users and groups there are.
    #[must_use]
    pub fn population(&self) -> Population {
        self.hub.population()
    }

    /// Every group with the number of its members.
    #[must_use]
    pub fn groups(&self) -> Vec<(GroupName, usize)> {
        self.hub.groups()
    }

    /// Who is in a group at this moment, user by user, in the order of their names: with how many connections, and what
    /// the application says of them. Looks at every member.
    #[must_use]
    pub fn present(&self, group: &GroupName) -> Vec<Present> {
        self.hub.present(group)
    }

    /// Every user with the number of its connections.
    #[must_use]
    pub fn users(&self) -> Vec<(UserName, usize)> {
        self.hub.users()
    }
}

impl Selection<'_> {
    /// The same without this connection.
    pub fn except(mut self, connection: ConnectionId) -> Self {
        self.except.push(connection);
        self
    }

    /// Sends them a message each, from the server. Gives how many connections it was queued to. One that `connected` is
    /// being asked about can be named already, and gets it right behind its welcome; at most 64 messages and 256 KiB
    /// wait for that.
    ///
    /// # Errors
    /// When the event has no possible name, or one that is the server's own (`fanfare.`), or the send is beyond the
    /// limits that clients are told (see [`Limits::check_send`]).
    pub fn send<E>(self, event: E, payload: impl Into<Payload>) -> Result<u64, HubError>
    where
        E: TryInto<EventName>,
        HubError: From<E::Error>,
    {
        let publication = self.publication(event, payload.into())?;
        Ok(self.hand_over(publication)?.0)
    }

    /// The same, where somebody waits for what came of it on other nodes, too: asked by the ticket, where there is one.
    pub(crate) fn send_counted(
        self,
        event: EventName,
        payload: Payload,
    ) -> Result<(u64, Option<Ticket>), HubError> {
        let publication = Publication { counts: true, ..self.publication(event, payload)? };
        self.hand_over(publication)
    }

    fn hand_over(self, mut publication: Publication) -> Result<(u64, Option<Ticket>), HubError> {
        let named = publication.to.len();
        let kept = self.handle.arrivals.keep(&mut publication)?;
        if publication.to.is_empty() && named > 0 {
            return Ok((kept.count(), None));
        }
        // Else whoever is told that it was not sent, and sends it again, has sent it twice to those.
        let sent = self.handle.hub.send(publication);
        let delivery = sent.inspect_err(|_| self.handle.arrivals.take_back(&kept))?;
        Ok((delivery.queued + kept.count(), delivery.elsewhere))
    }

    /// Sends them a message each by datagrams: nothing waits, and what gets lost is lost. Gives to how many connections
    /// it went.
    ///
    /// # Errors
    /// As [`Selection::send`]; and when the message does not fit into a datagram.
    pub fn send_unreliable<E>(self, event: E, payload: impl Into<Payload>) -> Result<u64, HubError>
    where
        E: TryInto<EventName>,
        HubError: From<E::Error>,
    {
        let publication = self.publication(event, payload.into())?;
        Ok(self.handle.hub.send_unreliable(publication)?.queued)
    }

    /// Makes them members of a group, who are told so. No grant is needed, and the end of one does not end it; a ban
    /// holds. Gives how many of them are members now. Those to whom the group is forbidden are passed over.
    ///
    /// # Errors
    /// When there is nobody, or nobody of them may be in the group.
    pub fn join(self, group: &GroupName) -> Result<usize, HubError> {
        let arrivals = &self.handle.arrivals;
        let mut joined = self.named().filter(|id| arrivals.join(id, group)).count();
        let mut refused = None;
        let members = self.found();
        if joined == 0 && members.is_empty() {
            return Err(nobody());
        }
        for member in members {
            match self.handle.hub.join(&member, group, Origin::Application) {
                Ok(_) => joined += 1,
                Err(denial) => refused = Some(denial),
            }
        }
        match refused {
            Some(denial) if joined == 0 => Err(denial.into()),
            _ => Ok(joined),
        }
    }

    /// Removes them from a group; they are told the reason, and what was queued of the group is thrown away. They may
    /// join again: to keep a user out, revoke its access. Gives how many were members.
    ///
    /// # Errors
    /// When there is nobody, or the reason has more than 512 bytes.
    pub fn remove(self, group: &GroupName, reason: &str) -> Result<u64, HubError> {
        reason::check(reason)?;
        let code = Code::RemovedFromGroup;
        let why = Removal { code, reason: told(reason, code) };
        let arrivals = &self.handle.arrivals;
        let left = self.named().filter(|id| arrivals.leave(id, group)).count() as u64;
        let members = self.found();
        if left == 0 && members.is_empty() {
            return Err(nobody());
        }
        Ok(left + self.handle.hub.remove(&members, |name, _| name == group, why).connections)
    }

    /// Closes them, with a code that tells Fanfare's clients not to come back by themselves. What is queued to them is
    /// thrown away. Gives how many there were.
    ///
    /// # Errors
    /// When there is nobody, or the reason has more than 512 bytes.
    pub fn close(self, reason: &str) -> Result<usize, HubError> {
        self.close_with(Code::ClosedByOperator, reason, None)
    }

    /// Closes them for a time, at most a day: each is told a moment of its own to come back, between `after` and half
    /// as much again. Gives how many there were.
    ///
    /// # Errors
    /// When there is nobody, the reason has more than 512 bytes, or the time is longer than a day.
    pub fn close_for(self, after: Duration, reason: &str) -> Result<usize, HubError> {
        spread::check(after)?;
        self.close_with(Code::ClosedForNow, reason, Some(after))
    }

    /// How many connections there are. Of one target this costs the same for ten and for ten thousand.
    #[must_use]
    pub fn count(self) -> usize {
        match self.targets.as_slice() {
            [target] if self.except.is_empty() => self.handle.hub.count(target),
            _ => self.found().len(),
        }
    }

    /// Who they are, at about one moment, in no order.
    #[must_use]
    pub fn list(self) -> Vec<ConnectionFacts> {
        let facts = |member: &Arc<Member>| ConnectionFacts {
            id: member.id(),
            user: member.user().clone(),
            since: member.since(),
            groups: member.memberships().into_iter().map(|(group, _)| group).collect(),
        };
        self.found().iter().map(facts).collect()
    }

    fn publication<E>(&self, event: E, payload: Payload) -> Result<Publication, HubError>
    where
        E: TryInto<EventName>,
        HubError: From<E::Error>,
    {
        let event = event.try_into()?;
        notices::refuse(&event)?;
        self.handle.limits.check_send(self.targets.len(), self.except.len(), payload.bytes.len())?;
        Ok(Publication {
            from: Sender::Server,
            to: self.targets.clone(),
            except: self.except.clone(),
            event,
            format: payload.format,
            payload: payload.bytes,
            accepted: Instant::now(),
            counts: false,
        })
    }

    fn close_with(&self, code: Code, reason: &str, after: Option<Duration>) -> Result<usize, HubError> {
        reason::check(reason)?;
        let why = || CloseReason { code, reason: told(reason, code).to_owned() };
        let named: HashSet<_> = self.named().collect();
        let arrivals = &self.handle.arrivals;
        let away: HashSet<_> =
            named.into_iter().filter(|id| arrivals.turn_away(id, (why(), after))).collect();
        let mut members = self.found();
        members.retain(|member| !away.contains(&member.id()));
        if away.is_empty() && members.is_empty() {
            return Err(nobody());
        }
        for member in &members {
            self.handle.hub.close(member, why(), after.map(spread::come_back_after));
        }
        Ok(away.len() + members.len())
    }

    /// The connections that it names, and does not except.
    fn named(&self) -> impl Iterator<Item = &ConnectionId> {
        self.targets.iter().filter_map(|target| match target {
            Target::Connection(id) if !self.except.contains(id) => Some(id),
            _ => None,
        })
    }

    fn found(&self) -> Vec<Arc<Member>> {
        let hub = &self.handle.hub;
        let mut found = HashMap::new();
        for target in &self.targets {
            let members = hub.reached_by(target);
            found.extend(members.into_iter().map(|member| (member.id(), member)));
        }
        for id in &self.except {
            found.remove(id);
        }
        found.into_values().collect()
    }
}

fn nobody() -> HubError {
    Denial::from(Code::NothingThere).into()
}

#[cfg(test)]
mod tests;
