//! The groups that are watched, as the server tells of them, and what each [`Watch`](crate::Watch) was given of that.
//!
//! In: frames of presence; watches that begin and end; answers. Out: changes for each watch, when it asks; and which
//! groups are to be asked for again, and when. Nothing here waits.
//!
//! Invariants: what a watch was given, put together, is what the server last announced, over outages, too: a snapshot
//! is compared with what was given before, and only what differs is a change. What a slow application has not taken
//! takes no more memory than the group's users. The end of a watch on the server ends those that it was told of before:
//! one whose request has no answer yet may be about the next, and where that is not known it is asked for again. What
//! is refused for now ends no watch: it keeps what it has, and is asked for again after a pause that grows, as long as
//! somebody wants it and the connection lives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{Code, GroupName, Payload, UserName};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::again::Again;
use crate::disconnect::known;
use crate::event::WatchEvent;

/// Why nothing can be watched.
pub(crate) const NO_PRESENCE: &str = "this server has no presence";

/// Users who are present: with how many connections, and what the application says of them.
type View = BTreeMap<UserName, (u32, Option<Payload>)>;

/// Everything that is watched.
#[derive(Default)]
pub(crate) struct Watches {
    table: Mutex<Table>,
    /// Told when there is a group that nobody here wants to watch any more, or another that is to be asked for again.
    pub(crate) wishes: Notify,
}

#[derive(Default)]
struct Table {
    groups: HashMap<GroupName, Watched>,
    inboxes: HashMap<u64, Inbox>,
    next: u64,
    /// Groups of which the server is to be told that nobody watches them.
    unwanted: BTreeSet<GroupName>,
    /// Groups that are watched here, and of which it is not known that the server watches them.
    again: Again,
    is_closed: bool,
}

/// One group.
#[derive(Default)]
struct Watched {
    /// The last snapshot that was complete, and the changes since.
    view: Option<View>,
    /// A snapshot that is being told.
    building: Option<View>,
    inboxes: Vec<u64>,
    /// Requests for all of those that have no answer.
    asked: usize,
    /// An end was told while a request had no answer, so that it may have been about what that began, or about what was
    /// before.
    is_unsure: bool,
}

/// What one watch was given.
struct Inbox {
    group: GroupName,
    /// Its own request has no answer.
    is_asked: bool,
    given: View,
    /// Whether it was given a snapshot.
    has_begun: bool,
    /// Users of whom something may be different from what it was given.
    touched: BTreeSet<UserName>,
    /// Anything may be.
    is_stale: bool,
    ended: Option<(u16, String)>,
    news: Arc<Notify>,
}

/// What there is for a watch.
pub(crate) enum News {
    Event(WatchEvent),
    /// Nothing yet.
    None,
    /// Nothing ever again.
    Over,
}

impl Watches {
    /// Begins a watch. Gives its number, and what it is told by that there is something for it.
    pub(crate) fn begin(&self, group: &GroupName) -> (u64, Arc<Notify>) {
        let mut table = self.table.lock();
        let id = table.next;
        table.next += 1;
        let news = Arc::new(Notify::new());
        let inbox = Inbox {
            group: group.clone(),
            is_asked: true,
            given: View::new(),
            has_begun: false,
            touched: BTreeSet::new(),
            is_stale: true,
            ended: None,
            news: Arc::clone(&news),
        };
        table.inboxes.insert(id, inbox);
        table.groups.entry(group.clone()).or_default().inboxes.push(id);
        (id, news)
    }

    /// A watch is not wanted any more.
    pub(crate) fn end(&self, id: u64) {
        let mut table = self.table.lock();
        let Some(inbox) = table.inboxes.remove(&id) else { return };
        let Some(watched) = table.groups.get_mut(&inbox.group) else { return };
        watched.inboxes.retain(|known| *known != id);
        if watched.inboxes.is_empty() {
            table.groups.remove(&inbox.group);
            table.again.settled(&inbox.group);
            table.unwanted.insert(inbox.group);
            self.wishes.notify_one();
        }
    }

    /// A request to watch a group is about to be queued, for one watch or for all. Tells whether it is wanted still: a
    /// watch may have been dropped while its request waited for its turn.
    pub(crate) fn asked(&self, group: &GroupName, watch: Option<u64>) -> bool {
        let mut table = self.table.lock();
        let Some(watched) = table.groups.get_mut(group) else { return false };
        watched.asked += usize::from(watch.is_none());
        table.unwanted.remove(group);
        true
    }

    /// The server watches a group, by the request for one watch or for all.
    pub(crate) fn answered(&self, group: &GroupName, watch: Option<u64>) {
        let mut table = self.table.lock();
        table.settle(group, watch);
        let Some(watched) = table.groups.get_mut(group) else { return };
        let is_unsure = std::mem::take(&mut watched.is_unsure);
        // Answers are in order: whatever was refused before it, the server watches the group now.
        table.again.settled(group);
        if is_unsure {
            table.again.at_once(group);
            self.wishes.notify_one();
        }
    }

    /// When the next group is to be asked for again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.table.lock().again.next()
    }

    /// A group that is to be asked for again by now. Told once.
    pub(crate) fn take_due(&self, now: Instant) -> Option<GroupName> {
        self.table.lock().again.take(now)
    }

    /// A group of which the server is to be told that nobody watches it. Told once.
    pub(crate) fn take_unwanted(&self) -> Option<GroupName> {
        self.table.lock().unwanted.pop_first()
    }

    /// The connection is another one, which watches nothing yet. Gives what it is to watch.
    pub(crate) fn connected(&self) -> Vec<GroupName> {
        let mut table = self.table.lock();
        table.unwanted.clear();
        table.again = Again::default();
        for watched in table.groups.values_mut() {
            watched.building = None;
            watched.asked = 0;
            watched.is_unsure = false;
        }
        table.groups.keys().cloned().collect()
    }

    /// Takes what the server tells.
    pub(crate) fn take(&self, frame: PresenceFrame) {
        let mut table = self.table.lock();
        let Table { groups, inboxes, .. } = &mut *table;
        match frame {
            PresenceFrame::Snapshot { group, begins, complete, present, .. } => {
                let Some(watched) = groups.get_mut(&group) else { return };
                if begins {
                    watched.building = Some(View::new());
                }
                let Some(building) = &mut watched.building else { return };
                put(building, present);
                if complete {
                    watched.view = watched.building.take();
                    watched.tell(inboxes, |inbox| inbox.is_stale = true);
                }
            }
            PresenceFrame::Changes { group, present, left, .. } => {
                let Some(watched) = groups.get_mut(&group) else { return };
                let is_building = watched.building.is_some();
                let Some(view) = watched.building.as_mut().or(watched.view.as_mut()) else { return };
                let touched: Vec<UserName> =
                    present.iter().map(|one| one.user.clone()).chain(left.iter().cloned()).collect();
                for user in &left {
                    view.remove(user);
                }
                put(view, present);
                if !is_building {
                    let users = watched.view.as_ref().map_or(0, View::len);
                    watched.tell(inboxes, |inbox| inbox.touch(&touched, users));
                }
            }
            PresenceFrame::Ended { group, code, .. } if is_for_now(code) => {
                table.interrupted(&group);
                self.wishes.notify_one();
            }
            PresenceFrame::Ended { group, code, reason } => table.ended(&group, code, &reason),
        }
    }

    /// The server did not let a group be watched, by the request for one watch or for all. Where that is for now,
    /// nothing ends: whoever asked for one watch has the answer, and drops it; all are asked for again.
    pub(crate) fn refused(&self, group: &GroupName, watch: Option<u64>, code: u16, reason: &str) {
        let mut table = self.table.lock();
        table.settle(group, watch);
        match watch {
            Some(_) if is_for_now(code) => {}
            None if is_for_now(code) => {
                if table.groups.contains_key(group) {
                    table.again.put_off(group);
                    self.wishes.notify_one();
                }
            }
            _ => table.ended(group, code, reason),
        }
        // What the others asked for says itself what becomes of it.
        if let Some(watched) = table.groups.get_mut(group) {
            watched.is_unsure = false;
        }
    }

    /// There is no server any more: nothing is told to anybody.
    pub(crate) fn close(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        for inbox in table.inboxes.values() {
            inbox.news.notify_one();
        }
    }

    /// What there is for a watch.
    pub(crate) fn news(&self, id: u64) -> News {
        let mut table = self.table.lock();
        let Table { groups, inboxes, is_closed, .. } = &mut *table;
        let Some(inbox) = inboxes.get_mut(&id) else { return News::Over };
        if let Some((code, reason)) = inbox.ended.take() {
            inboxes.remove(&id);
            return News::Event(WatchEvent::Ended { code, reason });
        }
        let view = groups.get(&inbox.group).and_then(|watched| watched.view.as_ref());
        match view.and_then(|view| inbox.differences(view)) {
            Some((present, left)) => News::Event(WatchEvent::Changed { present, left }),
            None if *is_closed => News::Over,
            None => News::None,
        }
    }

    /// Who is present in a group, as was last heard.
    pub(crate) fn present(&self, group: &GroupName) -> Vec<Present> {
        let table = self.table.lock();
        let view = table.groups.get(group).and_then(|watched| watched.view.as_ref());
        view.into_iter().flatten().map(|(user, known)| present(user, known)).collect()
    }
}

impl Table {
    /// A request has its answer.
    fn settle(&mut self, group: &GroupName, watch: Option<u64>) {
        match watch {
            Some(id) => {
                if let Some(inbox) = self.inboxes.get_mut(&id) {
                    inbox.is_asked = false;
                }
            }
            None => {
                if let Some(watched) = self.groups.get_mut(group) {
                    watched.asked = watched.asked.saturating_sub(1);
                }
            }
        }
    }

    /// What there was has ended, for now: all of it is asked for again.
    fn interrupted(&mut self, group: &GroupName) {
        let Some(watched) = self.groups.get_mut(group) else { return };
        watched.building = None;
        let is_asked = |id: &u64| self.inboxes.get(id).is_some_and(|inbox| inbox.is_asked);
        // An answer that is still to come may be about what was before.
        watched.is_unsure = watched.asked > 0 || watched.inboxes.iter().any(is_asked);
        self.again.put_off(group);
    }

    /// What there was has ended. What has been asked for since goes on, with a snapshot of its own.
    fn ended(&mut self, group: &GroupName, code: u16, reason: &str) {
        let Some(mut watched) = self.groups.remove(group) else { return };
        let asked_for_all = watched.asked > 0;
        let is_asked = |id: &u64| asked_for_all || self.inboxes.get(id).is_some_and(|inbox| inbox.is_asked);
        let (asked, over) = std::mem::take(&mut watched.inboxes).into_iter().partition(is_asked);
        watched.inboxes = over;
        watched.tell(&mut self.inboxes, |inbox| inbox.ended = Some((code, reason.to_owned())));
        watched.inboxes = asked;
        if !watched.inboxes.is_empty() {
            watched.building = None;
            watched.is_unsure = true;
            self.groups.insert(group.clone(), watched);
        } else {
            self.again.settled(group);
        }
    }
}

impl Watched {
    fn tell(&mut self, inboxes: &mut HashMap<u64, Inbox>, mut change: impl FnMut(&mut Inbox)) {
        for id in &self.inboxes {
            if let Some(inbox) = inboxes.get_mut(id) {
                change(inbox);
                inbox.news.notify_one();
            }
        }
    }
}

impl Inbox {
    /// Something of these is different. Of `users` there are so many: where more than those and what was given would be
    /// kept, all are looked at instead.
    fn touch(&mut self, touched: &[UserName], users: usize) {
        if self.is_stale {
            return;
        }
        self.touched.extend(touched.iter().cloned());
        if self.touched.len() > users + self.given.len() {
            self.is_stale = true;
            self.touched = BTreeSet::new();
        }
    }

    /// What is different from what it was given: who is present, and who is not any more. It is given from then on.
    fn differences(&mut self, view: &View) -> Option<(Vec<Present>, Vec<UserName>)> {
        let touched = std::mem::take(&mut self.touched);
        let users: BTreeSet<&UserName> = if std::mem::take(&mut self.is_stale) {
            view.keys().chain(self.given.keys()).collect()
        } else {
            touched.iter().collect()
        };
        let (mut here, mut left) = (Vec::new(), Vec::new());
        for user in users {
            match (view.get(user), self.given.get(user)) {
                (Some(now), given) if given != Some(now) => here.push(present(user, now)),
                (None, Some(_)) => left.push(user.clone()),
                _ => {}
            }
        }
        for user in &left {
            self.given.remove(user);
        }
        put(&mut self.given, here.clone());
        let is_news = !std::mem::replace(&mut self.has_begun, true) || !here.is_empty() || !left.is_empty();
        is_news.then_some((here, left))
    }
}

/// Whether what is refused with this may well be granted in a while. An unknown code means no.
fn is_for_now(code: u16) -> bool {
    known(code).is_some_and(Code::may_reconnect)
}

fn put(view: &mut View, all: Vec<Present>) {
    view.extend(all.into_iter().map(|Present { user, connections, data }| (user, (connections, data))));
}

fn present(user: &UserName, (connections, data): &(u32, Option<Payload>)) -> Present {
    Present { user: user.clone(), connections: *connections, data: data.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> GroupName {
        GroupName::new("room").unwrap()
    }

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    fn users(all: &[(&str, u32)]) -> Vec<Present> {
        all.iter()
            .map(|(name, connections)| Present { user: user(name), connections: *connections, data: None })
            .collect()
    }

    fn snapshot(begins: bool, complete: bool, all: &[(&str, u32)]) -> PresenceFrame {
        PresenceFrame::Snapshot { group: room(), revision: 0, begins, complete, present: users(all) }
    }

    fn changes(all: &[(&str, u32)], left: &[&str]) -> PresenceFrame {
        let left = left.iter().map(|name| user(name)).collect();
        PresenceFrame::Changes { group: room(), revision: 1, present: users(all), left }
    }

    /// What is to be asked for again by now.
    fn due(watches: &Watches) -> Option<GroupName> {
        watches.take_due(Instant::now())
    }

    /// What there is, in words.
    fn news(watches: &Watches, id: u64) -> String {
        match watches.news(id) {
            News::None => "nothing".into(),
            News::Over => "over".into(),
            News::Event(WatchEvent::Ended { code, reason }) => format!("ended {code} {reason}"),
            News::Event(WatchEvent::Changed { present, left }) => {
                let here = present.iter().map(|one| format!("+{} {}", one.user, one.connections));
                here.chain(left.iter().map(|user| format!("-{user}"))).collect::<Vec<_>>().join(", ")
            }
        }
    }

    #[test]
    fn a_snapshot_in_parts_with_changes_in_between_is_given_when_it_is_complete() {
        let watches = Watches::default();
        let (id, _) = watches.begin(&room());
        watches.take(snapshot(true, false, &[("alice", 1)]));
        watches.take(changes(&[("carol", 1), ("bob", 7)], &["alice"]));
        assert_eq!((news(&watches, id), watches.present(&room()).len()), ("nothing".into(), 0));
        watches.take(snapshot(false, true, &[("bob", 2)]));
        assert_eq!(news(&watches, id), "+bob 2, +carol 1");
        assert_eq!(news(&watches, id), "nothing");
        watches.take(changes(&[("dave", 1)], &["bob"]));
        watches.take(changes(&[("eve", 1), ("dave", 2)], &["carol"]));
        assert_eq!(news(&watches, id), "+dave 2, +eve 1, -bob, -carol", "as much at a time as there is");
        watches.take(changes(&[("frank", 1)], &[]));
        watches.take(changes(&[], &["frank"]));
        assert_eq!(news(&watches, id), "nothing", "who came and went meanwhile was never there");
    }

    #[test]
    fn a_group_of_nobody_is_told_as_that() {
        let watches = Watches::default();
        let (id, _) = watches.begin(&room());
        assert_eq!(news(&watches, id), "nothing");
        watches.take(snapshot(true, true, &[]));
        assert_eq!((news(&watches, id), news(&watches, id)), (String::new(), "nothing".into()));
    }

    #[test]
    fn promise_16_after_an_outage_only_what_differs_is_a_change() {
        let watches = Watches::default();
        let (id, _) = watches.begin(&room());
        watches.take(snapshot(true, true, &[("alice", 1), ("bob", 1)]));
        news(&watches, id);
        watches.take(snapshot(true, false, &[("alice", 1)]));
        // It is lost in the middle of a snapshot.
        assert_eq!(watches.connected(), [room()]);
        watches.take(changes(&[("late", 1)], &[]));
        news(&watches, id);
        assert_eq!(watches.connected(), [room()]);
        watches.take(snapshot(true, true, &[("alice", 1), ("carol", 1)]));
        assert_eq!(news(&watches, id), "+carol 1, -bob, -late");
        watches.take(snapshot(true, true, &[("alice", 1), ("carol", 1)]));
        assert_eq!(news(&watches, id), "nothing");
    }

    #[test]
    fn the_end_of_a_watch_is_the_last_that_is_given_and_a_group_is_left_with_the_last_who_watches_it() {
        let watches = Watches::default();
        let (first, _) = watches.begin(&room());
        watches.take(snapshot(true, true, &[("alice", 1)]));
        watches.answered(&room(), Some(first));
        let (second, _) = watches.begin(&room());
        assert_eq!((news(&watches, first), news(&watches, second)), ("+alice 1".into(), "+alice 1".into()));
        watches.end(second);
        assert_eq!((watches.take_unwanted(), news(&watches, second)), (None, "over".into()));
        watches.take(changes(&[("bob", 1)], &[]));
        watches.take(PresenceFrame::Ended { group: room(), code: 3104, reason: "over".into() });
        watches.take(changes(&[("carol", 1)], &[]));
        assert_eq!((news(&watches, first), news(&watches, first)), ("ended 3104 over".into(), "over".into()));
        watches.end(first);
        assert_eq!(watches.take_unwanted(), None, "the server knows");

        let (third, _) = watches.begin(&room());
        watches.end(third);
        let (fourth, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(fourth)));
        assert_eq!(watches.take_unwanted(), None, "it is wanted again");
        watches.end(fourth);
        assert_eq!((watches.take_unwanted(), watches.take_unwanted()), (Some(room()), None));
        let (fifth, _) = watches.begin(&room());
        watches.refused(&room(), Some(fifth), 3102, "no");
        assert_eq!(news(&watches, fifth), "ended 3102 no");
        let (sixth, _) = watches.begin(&room());
        watches.close();
        assert_eq!(news(&watches, sixth), "over");
    }

    #[test]
    fn a_watch_that_is_dropped_while_its_request_waits_is_not_asked_for() {
        let watches = Watches::default();
        let (id, _) = watches.begin(&room());
        watches.answered(&room(), Some(id));
        // There is another connection, and the group is about to be asked for.
        assert_eq!(watches.connected(), [room()]);
        watches.end(id);
        assert!(!watches.asked(&room(), None));
    }

    #[test]
    fn the_end_of_a_watch_does_not_end_one_that_was_begun_after_it() {
        let end = || PresenceFrame::Ended { group: room(), code: 3104, reason: "over".into() };
        let watches = Watches::default();
        let (first, _) = watches.begin(&room());
        watches.take(snapshot(true, true, &[("alice", 1)]));
        watches.answered(&room(), Some(first));
        news(&watches, first);

        // The notice about the first crosses the request for the second.
        let (second, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(second)));
        news(&watches, second);
        watches.take(end());
        assert_eq!(
            (news(&watches, first), news(&watches, second)),
            ("ended 3104 over".into(), "nothing".into())
        );
        watches.take(snapshot(true, true, &[("bob", 1)]));
        assert_eq!(news(&watches, second), "+bob 1, -alice");
        watches.answered(&room(), Some(second));
        // It may as well have been about the second, which nobody would be told of: it is asked for again.
        assert_eq!((due(&watches), due(&watches)), (Some(room()), None));
        assert!(watches.asked(&room(), None));
        watches.take(end());
        assert_eq!(news(&watches, second), "nothing");
        watches.refused(&room(), None, 3104, "over");
        assert_eq!(news(&watches, second), "ended 3104 over");
        assert_eq!(due(&watches), None);
        assert!(watches.table.lock().groups.is_empty());

        // One that is refused ends no other that has been asked for.
        let (third, _) = watches.begin(&room());
        let (fourth, _) = watches.begin(&room());
        watches.refused(&room(), Some(third), 3102, "no");
        assert_eq!(
            (news(&watches, third), news(&watches, fourth)),
            ("ended 3102 no".into(), "nothing".into())
        );
        watches.answered(&room(), Some(fourth));
        watches.take(snapshot(true, true, &[]));
        assert_eq!((news(&watches, fourth), due(&watches)), (String::new(), None));
    }

    #[test]
    fn what_is_refused_for_now_ends_no_watch_and_what_is_refused_for_good_does() {
        let cut_off = Code::CutOff.number();
        let watches = Watches::default();
        let (first, _) = watches.begin(&room());
        watches.answered(&room(), Some(first));
        watches.take(snapshot(true, true, &[("alice", 1)]));
        assert_eq!(news(&watches, first), "+alice 1");
        watches.connected();
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, cut_off, "cut off");
        assert_eq!((news(&watches, first), watches.present(&room()).len()), ("nothing".into(), 1));
        assert!(watches.next_due().is_some());

        // The application's own request: its caller has the answer, and nothing was done of the others.
        let (second, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(second)));
        watches.refused(&room(), Some(second), cut_off, "cut off");
        watches.end(second);
        assert_eq!((news(&watches, first), watches.take_unwanted()), ("nothing".into(), None));
        assert!(watches.next_due().is_some());

        // Another that is let in is watched for all.
        let (third, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(third)));
        watches.take(snapshot(true, true, &[("bob", 1)]));
        watches.answered(&room(), Some(third));
        assert_eq!((news(&watches, first), watches.next_due()), ("+bob 1, -alice".into(), None));
        let (fourth, _) = watches.begin(&room());
        watches.refused(&room(), Some(fourth), cut_off, "cut off");
        watches.end(fourth);
        assert_eq!((news(&watches, first), watches.next_due()), ("nothing".into(), None));

        // It is asked for again, and refused for good.
        watches.connected();
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, cut_off, "cut off");
        assert!(watches.next_due().is_some());
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, 3103, "no");
        assert_eq!(news(&watches, first), "ended 3103 no");
        assert_eq!(watches.next_due(), None);
        assert!(watches.table.lock().groups.is_empty());
    }

    #[test]
    fn one_who_is_refused_for_now_where_nobody_else_watches_leaves_nothing_on_the_server() {
        let watches = Watches::default();
        let (first, _) = watches.begin(&room());
        watches.answered(&room(), Some(first));
        watches.end(first);
        // The server has not been told of that, and is not, where the next one is let in.
        let (second, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(second)));
        watches.refused(&room(), Some(second), Code::CutOff.number(), "cut off");
        watches.end(second);
        assert_eq!(watches.take_unwanted(), Some(room()));
    }

    #[test]
    fn what_is_not_known_to_be_watched_is_asked_for_again_also_where_that_is_refused_for_now() {
        let watches = Watches::default();
        let (first, _) = watches.begin(&room());
        assert!(watches.asked(&room(), Some(first)));
        watches.take(PresenceFrame::Ended { group: room(), code: 3104, reason: "over".into() });
        watches.answered(&room(), Some(first));
        assert_eq!(due(&watches), Some(room()));
        assert!(watches.asked(&room(), None));
        watches.refused(&room(), None, Code::CutOff.number(), "cut off");
        assert_eq!(news(&watches, first), "nothing");
        assert!(watches.next_due().is_some());
    }
}
