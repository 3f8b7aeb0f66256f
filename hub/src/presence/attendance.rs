//! Who is in a watched group, and who was said to be.
//!
//! In: connections of users that enter and leave, how many they have on other nodes, what applications say of them, and
//! the time, when something is to be announced. Out: users who have come, changed and gone since the last announcement;
//! pages of what was announced. Pure, and without a clock.
//!
//! Invariants:
//! - once somebody watches, what has been announced changes in [`Attendances::announce`] alone, and by exactly what
//!   that gives;
//! - a user who is back before the grace is over was never away: neither comes nor goes. Fewer connections than
//!   announced are told after the grace as well, so that a reload beside another page is no flicker either. What is
//!   said of a connection that is there waits for none of this;
//! - a user without connections is forgotten with the announcement that it has left;
//! - a user's connections are those here and those that each other node says of itself, whenever it says so; of what is
//!   said of them the latest counts, on whichever node.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_protocol::presence::Present;
use fanfare_protocol::{ConnectionId, UserName};

use super::dated::dated;
use crate::cluster::NodeKey;
use crate::member::Description;

/// One user in a group.
#[derive(Default)]
pub(super) struct Attendance {
    /// Those that are here.
    connections: u32,
    elsewhere: Vec<Part>,
    /// What is said of those of the connections of which something is.
    described: Vec<(ConnectionId, Arc<Description>)>,
    announced: Option<Announced>,
    /// Since when there are fewer connections than announced, and none, as far as that was looked at.
    fewer_since: Option<Instant>,
    none_since: Option<Instant>,
    /// Something was said of a connection since that was looked at. What is said no more because a connection has
    /// left waits for the grace.
    is_news: bool,
    /// Whether the next announcement looks at it.
    is_touched: bool,
}

/// A user's connections on another node.
struct Part {
    node: NodeKey,
    connections: u32,
    description: Option<Arc<Description>>,
    /// That node is saying anew who is there, and has not said it of this user yet.
    is_old: bool,
}

struct Announced {
    connections: u32,
    description: Option<Arc<Description>>,
}

/// For whom it is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Connections here.
    Clients,
    /// Other nodes, which have to know when something was said (`dated.rs`).
    Nodes,
}

/// What an announcement has to say of a user.
enum Due {
    Nothing,
    /// Not yet: the grace is not over.
    Later,
    /// What is said of it, and of its connections as many as were announced: the grace is not over.
    Described,
    Present,
    Left,
    /// It came and went, and nobody was told.
    Forgotten,
}

impl Attendance {
    /// A connection of the user enters.
    pub(super) fn enter(&mut self, connection: ConnectionId, description: Option<Arc<Description>>) {
        self.connections = self.connections.saturating_add(1);
        self.look_at_number();
        self.describe(connection, description);
    }

    /// It has so many connections on another node, of which that is said. Tells whether that is news.
    fn reach(&mut self, node: NodeKey, connections: u32, description: Option<Arc<Description>>) -> bool {
        let known = self.elsewhere.iter().position(|part| part.node == node);
        let before = known.map(|at| self.elsewhere.swap_remove(at));
        let order = |description: &Option<Arc<Description>>| description.as_ref().map(|said| said.order);
        let (now, then) = (order(&description), before.as_ref().and_then(|part| order(&part.description)));
        let is_news = now != then;
        // What is said no more because a connection has left waits for the grace, as it does here; then an earlier word
        // of another one counts, or none.
        self.is_news |= now > then;
        if connections > 0 {
            self.elsewhere.push(Part { node, connections, description, is_old: false });
        }
        self.look_at_number();
        is_news || before.map_or(0, |part| part.connections) != connections
    }

    /// As many as were announced are no fewer, and some are not none.
    fn look_at_number(&mut self) {
        let count = self.count();
        if count > 0 {
            self.none_since = None;
        }
        if self.announced.as_ref().is_none_or(|announced| count >= announced.connections) {
            self.fewer_since = None;
        }
    }

    /// How many connections it has, wherever they are.
    fn count(&self) -> u32 {
        self.elsewhere.iter().fold(self.connections, |sum, part| sum.saturating_add(part.connections))
    }

    fn leave(&mut self, connection: &ConnectionId) {
        self.connections = self.connections.saturating_sub(1);
        self.described.retain(|(of, _)| of != connection);
    }

    fn describe(&mut self, connection: ConnectionId, description: Option<Arc<Description>>) {
        let before = self.described.len();
        self.described.retain(|(of, _)| *of != connection);
        self.is_news |= description.is_some() || self.described.len() < before;
        self.described.extend(description.map(|description| (connection, description)));
    }

    /// What is said of the user: the latest that is said of one of the connections.
    fn description(&self) -> Option<&Arc<Description>> {
        let here = self.described.iter().map(|(_, description)| description);
        let elsewhere = self.elsewhere.iter().filter_map(|part| part.description.as_ref());
        here.chain(elsewhere).max_by(|one, other| one.cmp_order(other))
    }

    /// The user as it is, by its connections that have entered.
    pub(super) fn present(&self, user: &UserName) -> Present {
        let now = Announced { connections: self.count(), description: self.description().cloned() };
        now.told(user, Readers::Clients)
    }

    fn due(&mut self, now: Instant, grace: Duration, readers: Readers) -> Due {
        let is_news = std::mem::take(&mut self.is_news);
        let is_said = self
            .announced
            .as_ref()
            .is_some_and(|announced| is_same(self.description(), announced.description.as_ref(), readers));
        let is_over =
            |since: &mut Option<Instant>| now.saturating_duration_since(*since.get_or_insert(now)) >= grace;
        match (&self.announced, self.count()) {
            (None, 0) => Due::Forgotten,
            (None, _) => Due::Present,
            (Some(_), 0) if is_over(&mut self.none_since) => Due::Left,
            (Some(_), 0) => {
                // Also fewer, and since then at the latest.
                self.fewer_since.get_or_insert(now);
                Due::Later
            }
            (Some(announced), some) if some < announced.connections => match is_over(&mut self.fewer_since) {
                true => Due::Present,
                false if is_news && !is_said => Due::Described,
                false => Due::Later,
            },
            (Some(announced), some) if some == announced.connections && is_said => Due::Nothing,
            (Some(_), _) => Due::Present,
        }
    }

    fn announce(&mut self) -> &Announced {
        self.fewer_since = None;
        self.announce_with(self.count())
    }

    /// The same, with another number of connections.
    fn announce_with(&mut self, connections: u32) -> &Announced {
        let announced = Announced { connections, description: self.description().cloned() };
        self.announced.insert(announced)
    }
}

impl Announced {
    fn told(&self, user: &UserName, readers: Readers) -> Present {
        let data = self.description.as_deref().map(|description| match readers {
            Readers::Clients => description.payload.clone(),
            Readers::Nodes => dated(description),
        });
        Present { user: user.clone(), connections: self.connections, data }
    }
}

/// Whether readers would see no difference.
fn is_same(one: Option<&Arc<Description>>, other: Option<&Arc<Description>>, readers: Readers) -> bool {
    match readers {
        Readers::Clients => one.map(|one| &one.payload) == other.map(|other| &other.payload),
        Readers::Nodes => one == other,
    }
}

/// All users of a group.
pub(super) struct Attendances {
    readers: Readers,
    users: BTreeMap<UserName, Attendance>,
    /// Those that the next announcement looks at.
    touched: Vec<UserName>,
    /// How many were announced as present.
    announced: usize,
}

impl Attendances {
    pub(super) fn new(readers: Readers) -> Self {
        Self { readers, users: BTreeMap::new(), touched: Vec::new(), announced: 0 }
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.readers);
    }

    /// Takes these as who is here. What other nodes have said meanwhile stays.
    pub(super) fn seed<'a>(
        &mut self,
        all: impl Iterator<Item = (&'a UserName, ConnectionId, Option<Arc<Description>>)>,
    ) {
        for attendance in self.users.values_mut() {
            attendance.connections = 0;
            attendance.described.clear();
        }
        for (user, connection, description) in all {
            match self.users.get_mut(user) {
                Some(known) => known.enter(connection, description),
                None => {
                    let mut attendance = Attendance::default();
                    attendance.enter(connection, description);
                    self.users.insert(user.clone(), attendance);
                }
            }
        }
    }

    /// Takes all who are here as announced: nobody was told anything yet.
    pub(super) fn begin_to_announce(&mut self) {
        self.users.retain(|_, attendance| attendance.count() > 0);
        for attendance in self.users.values_mut() {
            attendance.is_news = false;
            attendance.announce();
        }
        self.announced = self.users.len();
    }

    /// A connection of a user enters.
    pub(super) fn enter(
        &mut self,
        user: &UserName,
        connection: ConnectionId,
        description: Option<Arc<Description>>,
    ) {
        self.users.entry(user.clone()).or_default().enter(connection, description);
        self.touch(user);
    }

    /// A connection of a user leaves.
    pub(super) fn leave(&mut self, user: &UserName, connection: &ConnectionId) {
        if let Some(attendance) = self.users.get_mut(user) {
            attendance.leave(connection);
            self.touch(user);
        }
    }

    /// Something else is said of a connection.
    pub(super) fn describe(
        &mut self,
        user: &UserName,
        connection: ConnectionId,
        description: Option<Arc<Description>>,
    ) {
        if let Some(attendance) = self.users.get_mut(user) {
            attendance.describe(connection, description);
            self.touch(user);
        }
    }

    /// A user has so many connections on another node, of which that is said.
    pub(super) fn reach(
        &mut self,
        node: NodeKey,
        user: &UserName,
        connections: u32,
        description: Option<Arc<Description>>,
    ) {
        let is_known = self.users.contains_key(user);
        if !is_known && connections == 0 {
            return;
        }
        let attendance = self.users.entry(user.clone()).or_default();
        if attendance.reach(node, connections, description) {
            self.touch(user);
        }
    }

    /// A node begins to say anew who is there: until [`Attendances::end`] it is not known of whom that is still so.
    pub(super) fn begin(&mut self, node: NodeKey) {
        let parts = self.users.values_mut().flat_map(|attendance| &mut attendance.elsewhere);
        parts.filter(|part| part.node == node).for_each(|part| part.is_old = true);
    }

    /// It has said it of all: who was there by it before, and was not named since, is not there by it any more.
    pub(super) fn end(&mut self, node: NodeKey) {
        let is_over = |part: &Part| part.node == node && part.is_old;
        let over = self.users.iter().filter(|(_, attendance)| attendance.elsewhere.iter().any(is_over));
        for user in over.map(|(user, _)| user.clone()).collect::<Vec<_>>() {
            self.reach(node, &user, 0, None);
        }
    }

    fn touch(&mut self, user: &UserName) {
        if let Some(attendance) = self.users.get_mut(user)
            && !std::mem::replace(&mut attendance.is_touched, true)
        {
            self.touched.push(user.clone());
        }
    }

    /// Announces what is due at `now`: who is present, or otherwise than it was announced, and who has left.
    pub(super) fn announce(&mut self, now: Instant, grace: Duration) -> (Vec<Present>, Vec<UserName>) {
        let (mut present, mut left) = (Vec::new(), Vec::new());
        for user in std::mem::take(&mut self.touched) {
            let Some(attendance) = self.users.get_mut(&user) else { continue };
            attendance.is_touched = false;
            match attendance.due(now, grace, self.readers) {
                Due::Nothing => {}
                Due::Later => {
                    attendance.is_touched = true;
                    self.touched.push(user);
                }
                Due::Described => {
                    attendance.is_touched = true;
                    let connections = attendance.announced.as_ref().map_or(0, |one| one.connections);
                    present.push(attendance.announce_with(connections).told(&user, self.readers));
                    self.touched.push(user);
                }
                Due::Present => {
                    self.announced += usize::from(attendance.announced.is_none());
                    present.push(attendance.announce().told(&user, self.readers));
                }
                Due::Left => {
                    self.users.remove(&user);
                    self.announced -= 1;
                    left.push(user);
                }
                Due::Forgotten => drop(self.users.remove(&user)),
            }
        }
        (present, left)
    }

    /// Whether the next announcement has something to look at.
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// How many users were announced as present.
    pub(super) fn announced(&self) -> usize {
        self.announced
    }

    /// Users who were announced, in the order of their names from behind `after` on, until they have so many bytes; and
    /// whether there are no more.
    pub(super) fn page(&self, after: Option<&UserName>, bytes: usize) -> (Vec<Present>, bool) {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.users.range::<UserName, _>((begin, Bound::Unbounded));
        let told = |(user, attendance): (&UserName, &Attendance)| {
            Some(attendance.announced.as_ref()?.told(user, self.readers))
        };
        let mut rest = rest.filter_map(told);
        let (mut page, mut taken) = (Vec::new(), 0);
        while taken < bytes {
            let Some(present) = rest.next() else { return (page, true) };
            taken += weight(&present);
            page.push(present);
        }
        (page, rest.next().is_none())
    }
}

/// About how many bytes a user has in a frame.
pub(super) fn weight(present: &Present) -> usize {
    const BESIDE: usize = 8;
    BESIDE + present.user.as_str().len() + present.data.as_ref().map_or(0, |data| data.bytes.len())
}
