//! Those who watch one group, and what they have been told.
//!
//! In: members that enter and leave, and what is said of them; what other nodes tell of theirs; connections, or nodes,
//! that watch; the time, when something is to be announced. Out: frames in the watchers' outboxes, each encoded once
//! for all of them.
//!
//! Invariants (promise 16):
//! - a watcher that is *current* was told exactly what is announced. One that is not has been told, of the users up to
//!   a certain name, exactly what is announced of them, and nothing that contradicts the rest: changes go to it as
//!   well, and what comes in parts later is as it is announced then;
//! - a frame that does not find room in a watcher's outbox is never passed over: what waits of the group is thrown
//!   away, and the snapshot begins anew when there is room. So a watcher that reads slowly is told less often, and
//!   presence itself closes nothing and displaces nothing: it is a state, of which the latest counts;
//! - after the end of a watch nothing about the group is queued;
//! - as long as other nodes have not said who is there, for about a second at most, no snapshot begins: or those who
//!   are there would be told as if they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{ConnectionId, GroupName, ServerFrame, UserName};

use super::attendance::{Attendances, Readers};
use super::dated::undated;
use super::limits::PresenceLimits;
use super::watcher::{Reader, Stage, Tally, Watcher, frames};
use crate::cluster::NodeKey;
use crate::delivery::Removal;
use crate::member::{Description, Member};
use crate::sheet::Sheet;
use crate::sync::Mutex;

/// So many changes wait for the next announcement. With more than that whoever brings another sees to them itself, so
/// that members that come and go faster than is announced fill no memory.
const MOST_EVENTS: usize = 1 << 14;

/// So long a snapshot waits for what other nodes have to say: with the announcements, four a second, about a second.
const PATIENCE: Duration = Duration::from_millis(750);

/// What has changed about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It is in the group from now on.
    Entered,
    /// It is not any more.
    Left,
    /// Something else is said of it.
    Described,
}

/// One group's.
pub(super) struct Audience<P> {
    group: GroupName,
    /// Greater than those of all that the group had before.
    number: u64,
    state: Mutex<State<P>>,
    /// A lock of its own, so that who joins does not wait until all who watch have been told something.
    events: Mutex<Events>,
}

struct Events {
    list: Vec<Noted>,
    /// Whether it is in the list of those that the next announcement looks at.
    is_listed: bool,
}

/// A change of a member. It keeps nothing of the member itself, which may have gone when it is looked at, and holds
/// what carries its connection.
struct Noted {
    user: UserName,
    connection: ConnectionId,
    description: Option<Arc<Description>>,
    what: What,
}

struct State<P> {
    attendances: Attendances,
    watchers: HashMap<ConnectionId, Watcher<P>>,
    /// How many frames of changes there were.
    revision: u64,
    /// The roster has been looked at.
    is_seeded: bool,
    /// Somebody has watched.
    was_watched: bool,
    /// Nobody watched any more when it was announced last: nobody comes in.
    is_closed: bool,
    /// Other nodes that have not said who is there.
    awaits: Vec<NodeKey>,
    /// Since when that is waited for, as far as that was looked at.
    awaits_since: Option<Instant>,
    /// Other nodes that have begun to say it, to this audience.
    begun: BTreeSet<NodeKey>,
    /// Parts of snapshots since the last announcement, by the name behind which they begin: those who begin to watch
    /// at about one moment get the same.
    parts: BTreeMap<Option<UserName>, Part>,
}

#[derive(Clone)]
struct Part {
    sheet: Arc<Sheet>,
    /// The last name in it. `None`: there are no more behind it.
    last: Option<UserName>,
}

/// What came of a wish to watch.
pub(super) struct Watched {
    /// How many users are present.
    pub(super) users: usize,
    /// Whether it did not watch before.
    pub(super) is_new: bool,
    /// Whether the next announcement has to be told of this audience.
    pub(super) is_unsettled: bool,
}

/// What came of the end of a watch.
pub(super) struct Unwatched {
    pub(super) was_watching: bool,
    /// It was the last watcher, and the next announcement has to be told of this audience.
    pub(super) is_unsettled: bool,
}

/// What is to become of an audience to which something was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is nothing to look at before something changes.
    Settled,
    /// There is.
    Unsettled,
    /// Nobody watches.
    Closed,
}

/// What came of another node's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that anybody has to see to now.
    Settled,
    /// The next announcement has to be told of this audience.
    Unsettled,
    /// It was the last that was waited for: all is to be announced now.
    Complete,
}

impl<P> Audience<P> {
    /// `awaits` are the nodes that are asked who is there.
    pub(super) fn new(group: GroupName, number: u64, readers: Readers, awaits: Vec<NodeKey>) -> Self {
        let state = State {
            attendances: Attendances::new(readers),
            watchers: HashMap::new(),
            revision: 0,
            is_seeded: false,
            was_watched: false,
            is_closed: false,
            awaits,
            awaits_since: None,
            begun: BTreeSet::new(),
            parts: BTreeMap::new(),
        };
        let events = Events { list: Vec::new(), is_listed: false };
        Self { group, number, state: Mutex::new(state), events: Mutex::new(events) }
    }

    /// Notes a change. Tells whether the audience is to be put into the list of those that are unsettled.
    pub(super) fn note(&self, member: &Arc<Member<P>>, what: What) -> bool {
        let (user, connection, description) = (member.user().clone(), member.id(), member.description());
        let mut events = self.events.lock();
        if events.list.len() >= MOST_EVENTS {
            drop(events);
            self.take_in(&mut self.state.lock());
            events = self.events.lock();
        }
        events.list.push(Noted { user, connection, description, what });
        !std::mem::replace(&mut events.is_listed, true)
    }

    /// Takes over who is in the group, where that has not been done. Called inside the group's critical section with
    /// its members, or with nobody where there is no roster: then whoever has come since is among the events.
    pub(super) fn seed<'a>(&self, members: Option<&mut dyn Iterator<Item = &'a Arc<Member<P>>>>)
    where
        P: 'a,
    {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_seeded, true) {
            return;
        }
        if let Some(members) = members {
            // They are in the members.
            self.events.lock().list.clear();
            state.attendances.seed(members.map(|one| (one.user(), one.id(), one.description())));
        }
    }

    /// Lets somebody in, and queues as much of a snapshot to it as there is room for. `None` where it is closed.
    pub(super) fn watch(
        &self,
        (id, reader): (ConnectionId, Reader<P>),
        part_bytes: usize,
        tally: &mut Tally,
    ) -> Option<Watched> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        reader.outbox().forget_presence(&self.group);
        if !std::mem::replace(&mut state.was_watched, true) {
            // Who is in the roster, and whom another node has named by now, did not come since.
            state.attendances.begin_to_announce();
        }
        let is_new = state.watchers.insert(id, Watcher { reader, stage: Stage::Behind }).is_none();
        state.go_on(&self.group, id, part_bytes, tally);
        let users = state.attendances.announced();
        // Listed in any case, so that the parts of its snapshot are forgotten soon.
        let is_unsettled = !std::mem::replace(&mut self.events.lock().is_listed, true);
        Some(Watched { users, is_new, is_unsettled })
    }

    /// Lets somebody go.
    pub(super) fn unwatch(&self, id: &ConnectionId, why: Option<Removal<'_>>) -> Unwatched {
        let mut state = self.state.lock();
        let watcher = state.watchers.remove(id);
        let was_watching = watcher.is_some();
        if let Some(Watcher { reader, .. }) = watcher {
            reader.outbox().forget_presence(&self.group);
            if let Some(Removal { code, reason }) = why {
                let (group, code, reason) = (self.group.clone(), code.number(), reason.to_owned());
                let ended = PresenceFrame::Ended { group, code, reason };
                reader.outbox().push_notice(&ServerFrame::Presence(ended));
            }
        }
        // The next announcement closes it: who watches and does not by turns has the group looked at no more often.
        let is_last = was_watching && state.watchers.is_empty();
        let is_unsettled = is_last && !std::mem::replace(&mut self.events.lock().is_listed, true);
        Unwatched { was_watching, is_unsettled }
    }

    #[cfg(all(test, not(feature = "model")))]
    pub(super) fn is_current(&self, member: &Member<P>) -> bool {
        self.state.lock().watchers.get(&member.id()).is_some_and(Watcher::is_current)
    }

    /// How many changes wait, and how many parts of snapshots are kept.
    #[cfg(all(test, not(feature = "model")))]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.events.lock().list.len(), self.state.lock().parts.len())
    }

    /// Of which group it is, and which of those that it had.
    pub(super) fn name(&self) -> (&GroupName, u64) {
        (&self.group, self.number)
    }

    /// Takes over what another node says of its members.
    pub(super) fn hear(&self, node: NodeKey, frame: PresenceFrame) -> Heard {
        let mut state = self.state.lock();
        if state.is_closed {
            return Heard::Settled;
        }
        // What has happened here until now comes before it.
        self.take_in(&mut state);
        let mut is_complete = false;
        match frame {
            PresenceFrame::Snapshot { begins, complete, present, .. } => {
                if begins {
                    state.attendances.begin(node);
                    state.begun.insert(node);
                }
                state.reach(node, present);
                // The end of one that was begun for an earlier audience says nothing of the beginning.
                if complete && state.begun.remove(&node) {
                    state.attendances.end(node);
                    is_complete = state.is_heard(node);
                }
            }
            PresenceFrame::Changes { present, left, .. } => {
                for user in left {
                    state.attendances.reach(node, &user, 0, None);
                }
                state.reach(node, present);
            }
            PresenceFrame::Ended { .. } => {}
        }
        self.heard(&state, is_complete)
    }

    /// A node has gone, and with it all who were there by it.
    pub(super) fn part(&self, node: NodeKey) -> Heard {
        let mut state = self.state.lock();
        if state.is_closed {
            return Heard::Settled;
        }
        self.take_in(&mut state);
        state.begun.remove(&node);
        state.attendances.begin(node);
        state.attendances.end(node);
        let is_complete = state.is_heard(node);
        self.heard(&state, is_complete)
    }

    fn heard(&self, state: &State<P>, is_complete: bool) -> Heard {
        if is_complete {
            return Heard::Complete;
        }
        let is_news =
            state.attendances.is_touched() && !std::mem::replace(&mut self.events.lock().is_listed, true);
        if is_news { Heard::Unsettled } else { Heard::Settled }
    }

    /// How many watch.
    pub(super) fn watchers(&self) -> usize {
        self.state.lock().watchers.len()
    }

    /// Tells all who watch what has changed, and goes on with snapshots.
    pub(super) fn announce(&self, now: Instant, limits: &PresenceLimits, tally: &mut Tally) -> Next {
        let mut state = self.state.lock();
        if state.watchers.is_empty() {
            state.is_closed = true;
            state.attendances.clear();
            state.parts.clear();
            self.events.lock().list = Vec::new();
            return Next::Closed;
        }
        self.tell(&mut state, now, limits, tally);
        let mut events = self.events.lock();
        events.is_listed = state.is_unsettled(&events);
        if events.is_listed { Next::Unsettled } else { Next::Settled }
    }

    /// The same at another time than its own. Tells whether the next announcement has to be told of this audience.
    pub(super) fn announce_now(&self, now: Instant, limits: &PresenceLimits, tally: &mut Tally) -> bool {
        let mut state = self.state.lock();
        // The next announcement closes it.
        if state.watchers.is_empty() {
            return false;
        }
        self.tell(&mut state, now, limits, tally);
        let mut events = self.events.lock();
        let was_listed = events.is_listed;
        events.is_listed = was_listed || state.is_unsettled(&events);
        events.is_listed && !was_listed
    }

    fn tell(&self, state: &mut State<P>, now: Instant, limits: &PresenceLimits, tally: &mut Tally) {
        self.take_in(state);
        state.parts.clear();
        if !state.awaits.is_empty() {
            let since = *state.awaits_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= PATIENCE {
                state.awaits.clear();
            }
        }
        let (present, left) = state.attendances.announce(now, limits.grace);
        for (present, left) in frames(present, left, limits.part_bytes) {
            state.revision += 1;
            let (group, revision) = (self.group.clone(), state.revision);
            let sheet = Arc::new(Sheet::new(PresenceFrame::Changes { group, revision, present, left }));
            for watcher in state.watchers.values_mut() {
                watcher.change(&sheet, tally);
            }
        }
        let waiting: Vec<ConnectionId> =
            state.watchers.iter().filter(|(_, watcher)| !watcher.is_current()).map(|(id, _)| *id).collect();
        for id in &waiting {
            state.go_on(&self.group, *id, limits.part_bytes, tally);
        }
    }

    /// Carries over what was noted.
    fn take_in(&self, state: &mut State<P>) {
        let events = std::mem::take(&mut self.events.lock().list);
        if state.is_closed {
            return;
        }
        for Noted { user, connection, description, what } in events {
            match what {
                What::Entered => state.attendances.enter(&user, connection, description),
                What::Left => state.attendances.leave(&user, &connection),
                What::Described => state.attendances.describe(&user, connection, description),
            }
        }
    }
}

impl<P> State<P> {
    /// Whether the next announcement has something to look at.
    fn is_unsettled(&self, events: &Events) -> bool {
        self.attendances.is_touched()
            || !self.parts.is_empty()
            || !events.list.is_empty()
            || self.watchers.values().any(|watcher| !watcher.is_current())
    }

    /// These are there by another node.
    fn reach(&mut self, node: NodeKey, present: Vec<Present>) {
        for Present { user, connections, data } in present {
            let description = data.and_then(undated).map(Arc::new);
            self.attendances.reach(node, &user, connections, description);
        }
    }

    /// A node has said who is there, or never will. Tells whether it was the last that was waited for.
    fn is_heard(&mut self, node: NodeKey) -> bool {
        let awaited = self.awaits.len();
        self.awaits.retain(|awaited| *awaited != node);
        awaited > 0 && self.awaits.is_empty()
    }

    /// Goes on with a watcher's snapshot, as far as there is room for it.
    fn go_on(&mut self, group: &GroupName, id: ConnectionId, part_bytes: usize, tally: &mut Tally) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        if !self.awaits.is_empty() {
            return;
        }
        loop {
            let after = match &watcher.stage {
                Stage::Behind => None,
                Stage::Listing(last) => Some(last),
                Stage::Current => return,
            };
            // Asked first, so that nothing is made for whom there is no room. Less than changes find room in: or a part
            // would leave none for the change behind it, and the snapshot of one who reads slowly would begin anew at
            // each change (test `a_slow_watcher_of_a_lively_group_gets_to_the_end_of_its_snapshot`).
            if !watcher.reader.outbox().has_much_room() {
                return;
            }
            let key = after.cloned();
            let part = self.parts.entry(key).or_insert_with_key(|after| {
                let (present, complete) = self.attendances.page(after.as_ref(), part_bytes);
                let last = present.last().map(|present| present.user.clone()).filter(|_| !complete);
                let (group, revision, begins) = (group.clone(), self.revision, after.is_none());
                let frame = PresenceFrame::Snapshot { group, revision, begins, complete, present };
                Part { sheet: Arc::new(Sheet::new(frame)), last }
            });
            if !watcher.reader.outbox().push_presence(&part.sheet) {
                return;
            }
            tally.frames += 1;
            watcher.stage = part.last.clone().map_or(Stage::Current, Stage::Listing);
        }
    }
}
