//! The ends of access: says when they are near, and carries them out when they are there (promise 10).
//!
//! In: each connection with its permissions, when it comes and when it refreshes. Out: `Expiring` some time ahead;
//! `Removed` from the groups that no grant covers any more, and the end of watches; the end of a connection whose token
//! has ended. One task does it for all.
//!
//! Invariants: a connection is looked at when something of it ends, and never in between; what is watched is forgotten
//! with its session; no lock is held while a connection is dealt with.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_hub::{Origin, Removal};
use fanfare_protocol::{Code, ConnectionId, ExpiryScope, GroupName, ServerFrame};
use fanfare_token::{Permissions, Seconds};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Gate};
use crate::hub::{Hub, Member};

/// How long the task sleeps at most: by so much it is late where somebody sets the clock forward.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

pub(crate) struct Expiry {
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    /// How long before an end it is told.
    notice: Seconds,
    agenda: Mutex<Agenda>,
    /// Something comes sooner than what the task waits for.
    sooner: Notify,
}

#[derive(Default)]
struct Agenda {
    /// What is to come of each connection, soonest first.
    of: HashMap<ConnectionId, VecDeque<Occasion>>,
    /// The first of each.
    next: BTreeSet<(Seconds, ConnectionId)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Occasion {
    at: Seconds,
    /// Of what end. The same as `at`: this is it.
    end: Seconds,
}

/// Keeps a connection watched. Dropping it forgets the connection.
pub(crate) struct Watch {
    expiry: Arc<Expiry>,
    connection: ConnectionId,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.expiry.agenda.lock().replace(self.connection, VecDeque::new());
    }
}

impl Agenda {
    fn replace(&mut self, connection: ConnectionId, occasions: VecDeque<Occasion>) {
        if let Some(first) = self.of.remove(&connection).as_ref().and_then(VecDeque::front) {
            self.next.remove(&(first.at, connection));
        }
        if let Some(first) = occasions.front() {
            self.next.insert((first.at, connection));
            self.of.insert(connection, occasions);
        }
    }

    /// Whether the notice for an end is still to come.
    fn announces(&self, connection: ConnectionId, end: Seconds) -> bool {
        let mut occasions = self.of.get(&connection).into_iter().flatten();
        occasions.any(|occasion| occasion.end == end && occasion.at < end)
    }

    /// Takes the connection whose occasion is the oldest of those that have come, with all of it that has come.
    fn due(&mut self, now: Seconds) -> Option<(ConnectionId, Vec<Occasion>)> {
        let (_, connection) = *self.next.first().filter(|(at, _)| *at <= now)?;
        let mut left = self.of.get(&connection)?.clone();
        let coming = left.partition_point(|occasion| occasion.at <= now);
        let due = left.drain(..coming).collect();
        self.replace(connection, left);
        Some((connection, due))
    }
}

impl Expiry {
    pub(crate) fn new(hub: Arc<Hub>, gate: Arc<Gate>, notice: Duration) -> Self {
        let agenda = Mutex::new(Agenda::default());
        Self { hub, gate, notice: notice.as_secs(), agenda, sooner: Notify::new() }
    }

    /// Watches a connection from now on.
    pub(crate) fn watch(self: &Arc<Self>, member: &Member) -> Watch {
        self.schedule(member.id(), &member.permissions(), access::now());
        Watch { expiry: Arc::clone(self), connection: member.id() }
    }

    /// Goes on with the connection's new permissions: what they no longer cover ends now. It is watched
    /// already.
    pub(crate) fn refreshed(&self, member: &Arc<Member>) {
        let now = access::now();
        self.schedule(member.id(), &member.permissions(), now);
        self.expel_uncovered(member, now);
    }

    /// Tells of the end of a membership or a watch that has just begun, where the notice for its end has passed.
    /// `until` may have passed, too: of one whom an operator has made a member without a grant.
    pub(crate) fn joined(&self, member: &Member, until: Seconds) {
        let left = until.saturating_sub(access::now());
        if left > 0 && until < member.permissions().ends && !self.agenda.lock().announces(member.id(), until)
        {
            announce(member, ExpiryScope::Groups { count: 1 }, left);
        }
    }

    fn schedule(&self, connection: ConnectionId, permissions: &Permissions, now: Seconds) {
        let mut occasions: Vec<Occasion> = Vec::new();
        // Whoever let it in may have looked at the clock a second ago: an end of all of it that has passed is carried
        // out at once, and not passed over.
        let is_to_come = |end: &Seconds| *end > now || *end == permissions.ends;
        for end in permissions.all_ends().filter(is_to_come) {
            // Where little is left, at half of it: a client that answers with a token as short does so at a bounded
            // rate.
            let ahead = self.notice.min(end.saturating_sub(now) / 2);
            occasions.push(Occasion { at: end - ahead, end });
            occasions.push(Occasion { at: end, end });
        }
        occasions.sort_unstable();
        occasions.dedup();
        let first = occasions.first().map(|first| first.at);
        let mut agenda = self.agenda.lock();
        let soonest = agenda.next.first().map(|(at, _)| *at);
        agenda.replace(connection, occasions.into());
        drop(agenda);
        if first.is_some_and(|first| soonest.is_none_or(|soonest| first < soonest)) {
            self.sooner.notify_one();
        }
    }

    /// Does what is due, until `closing`.
    pub(crate) async fn run(self: Arc<Self>, closing: CancellationToken) {
        loop {
            let next = self.carry_out(access::now());
            let pause = next.map_or(LONGEST_SLEEP, |next| pause(next, access::clock()));
            tokio::select! {
                () = closing.cancelled() => return,
                () = self.sooner.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does everything that is due at `now`. Gives the moment of what comes next.
    fn carry_out(&self, now: Seconds) -> Option<Seconds> {
        loop {
            let mut agenda = self.agenda.lock();
            let Some((connection, due)) = agenda.due(now) else {
                return agenda.next.first().map(|(at, _)| *at);
            };
            drop(agenda);
            if let Some(member) = self.hub.connection(&connection) {
                self.deal_with(&member, &due, now);
            }
        }
    }

    fn deal_with(&self, member: &Arc<Member>, due: &[Occasion], now: Seconds) {
        let permissions = member.permissions();
        if permissions.ends <= now {
            self.hub.close(member, Code::TokenExpired.into(), None);
            return;
        }
        if due.iter().any(|occasion| occasion.end <= now) {
            self.expel_uncovered(member, now);
        }
        for Occasion { end, .. } in due.iter().filter(|occasion| occasion.end > now) {
            let scope = match end.cmp(&permissions.ends) {
                Ordering::Equal => ExpiryScope::Token,
                Ordering::Less => match self.ending(member, &permissions, *end) {
                    0 => continue,
                    count => ExpiryScope::Groups { count },
                },
                // The connection will have ended by then.
                Ordering::Greater => continue,
            };
            announce(member, scope, end - now);
        }
    }

    /// Of how many groups a membership that the client made ends at this moment, or a watch.
    fn ending(&self, member: &Member, permissions: &Permissions, end: Seconds) -> u32 {
        let memberships = member.memberships().into_iter().filter(|(group, origin)| {
            *origin == Origin::Client
                && permissions.grants.join_until(group) == end
                && !self.gate.has_lasting(member.user(), group, end)
        });
        let watches =
            member.watches().into_iter().filter(|group| permissions.grants.watch_until(group) == end);
        let ending: HashSet<GroupName> = memberships.map(|(group, _)| group).chain(watches).collect();
        u32::try_from(ending.len()).unwrap_or(u32::MAX)
    }

    /// Ends the watches that no grant covers, and the memberships that the client made and no grant covers.
    fn expel_uncovered(&self, member: &Arc<Member>, now: Seconds) {
        let permissions = member.permissions();
        // One that has left, and joined again what it is in whenever it is here, needs no grant.
        let uncovered = |group: &GroupName, origin| {
            origin == Origin::Client
                && !permissions.grants.may_join(group, now)
                && !self.gate.has_lasting(member.user(), group, now)
        };
        let why = Removal { code: Code::GrantEnded, reason: Code::GrantEnded.sentence() };
        // Looked at while its watches are locked: one that is granted by now is not ended.
        self.hub.end_watches(member, |group| !member.permissions().grants.may_watch(group, now), why);
        self.hub.remove(std::slice::from_ref(member), uncovered, why);
    }
}

/// How long to sleep until `next`. A moment that the system's clock cannot have is later than any that it can, and not
/// one that has passed: taken for that, the task would not sleep at all.
fn pause(next: Seconds, now: SystemTime) -> Duration {
    match UNIX_EPOCH.checked_add(Duration::from_secs(next)) {
        None => LONGEST_SLEEP,
        Some(next) => next.duration_since(now).unwrap_or_default().min(LONGEST_SLEEP),
    }
}

fn announce(member: &Member, scope: ExpiryScope, left: Seconds) {
    let seconds = u32::try_from(left).unwrap_or(u32::MAX);
    member.outbox().push_notice(&ServerFrame::Expiring { scope, seconds });
}

#[cfg(test)]
mod tests;
