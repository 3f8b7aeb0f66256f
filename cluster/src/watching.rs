//! Who watches who is there on which node: what this node asks of the others, and what they ask of it.
//!
//! In: groups that are watched here and are not any more, what arrives, nodes that go, time. Out: what is to be said to
//! whom, and what of that which arrives counts. Invariants:
//! - what a node is asked is asked in *sessions*: all messages of one are numbered, both ways, and whoever misses one
//!   begins another session, in which everything is asked and told from the beginning. So nothing is kept to be said
//!   again, and nothing that gets lost is missed for good: each says now and then how much it has said and heard;
//! - what is said in a session that is over counts for nothing.

use std::time::{Duration, Instant};

use fanfare_protocol::GroupName;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::id::{MOST_PEERS, Places};
use crate::settings::Settings;

/// So many groups are named in a message.
const BATCH: usize = 64;

/// What this node asks, and is asked.
pub(crate) struct Watching {
    settings: Settings,
    /// What is watched here, each with the audience that it has now.
    groups: HashMap<GroupName, u64, RandomState>,
    /// What is watched, and not any more, since that was last told.
    pending: Vec<(bool, GroupName)>,
    last_session: u64,
    /// What is asked of each node.
    asking: [Option<Asking>; MOST_PEERS],
    /// What each asks here.
    asked: [Option<Asked>; MOST_PEERS],
}

struct Asking {
    session: u64,
    begun: Instant,
    /// How many messages have gone.
    sent: u64,
    /// How many of them were heard, and since when some were not, or more were not.
    heard: (u64, Instant),
    /// How many have come.
    told: u64,
    /// When it was last heard that all is well.
    well: Instant,
    /// How long the next session waits at least, when this one is over.
    pause: Duration,
    is_over: bool,
}

struct Asked {
    session: u64,
    heard: u64,
    sent: u64,
    said: Option<Instant>,
}

/// What is to be said to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Say {
    /// These groups are watched here from now on, and are to be told from the beginning; or they are not any more.
    Watch { to: usize, session: u64, number: u64, is_watched: bool, groups: Vec<GroupName> },
    /// How much was heard and said here.
    Heard { to: usize, session: u64, heard: u64, sent: u64 },
}

impl Watching {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            groups: HashMap::default(),
            pending: Vec::new(),
            last_session: 0,
            asking: std::array::from_fn(|_| None),
            asked: std::array::from_fn(|_| None),
        }
    }

    /// A group is watched by a new audience, that knows nothing of what an earlier one was told.
    pub(crate) fn watch(&mut self, group: &GroupName, audience: u64) {
        self.groups.insert(group.clone(), audience);
        self.pending.push((true, group.clone()));
    }

    /// That audience has gone. There may be another by now.
    pub(crate) fn unwatch(&mut self, group: &GroupName, audience: u64) {
        if self.groups.get(group) == Some(&audience) {
            self.groups.remove(group);
            self.pending.push((false, group.clone()));
        }
    }

    /// Whether something is to be told.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Tells the others what has changed.
    pub(crate) fn flush(&mut self, now: Instant, others: Places) -> Vec<Say> {
        let pending = std::mem::take(&mut self.pending);
        let mut say = Vec::new();
        for place in others.iter() {
            let Some(asking) = self.asking.get_mut(place).and_then(Option::as_mut) else {
                self.begin(place, now, &mut say);
                continue;
            };
            // The next one asks for everything.
            if asking.is_over {
                continue;
            }
            for run in pending.chunk_by(|(one, _), (other, _)| one == other) {
                for groups in run.chunks(BATCH) {
                    if asking.heard.0 == asking.sent {
                        asking.heard.1 = now;
                    }
                    asking.sent += 1;
                    say.push(Say::Watch {
                        to: place,
                        session: asking.session,
                        number: asking.sent,
                        is_watched: groups.iter().all(|(is_watched, _)| *is_watched),
                        groups: groups.iter().map(|(_, group)| group.clone()).collect(),
                    });
                }
            }
        }
        say
    }

    /// Begins a session, in which everything is asked. Where nothing is, and never was, there is none.
    fn begin(&mut self, place: usize, now: Instant, say: &mut Vec<Say>) {
        let Some(asking) = self.asking.get_mut(place) else { return };
        if asking.is_none() && self.groups.is_empty() {
            return;
        }
        self.last_session += 1;
        let (session, again) = (self.last_session, self.settings.again);
        let pause = asking.as_ref().map_or(again, |last| (last.pause * 2).min(again * 50));
        let groups: Vec<GroupName> = self.groups.keys().cloned().collect();
        let mut batches: Vec<Vec<GroupName>> = groups.chunks(BATCH).map(<[GroupName]>::to_vec).collect();
        if batches.is_empty() {
            batches.push(Vec::new());
        }
        let sent = batches.len() as u64;
        let (heard, told) = ((0, now), 0);
        *asking = Some(Asking { session, begun: now, sent, heard, told, well: now, pause, is_over: false });
        for (number, groups) in (1..).zip(batches) {
            say.push(Say::Watch { to: place, session, number, is_watched: true, groups });
        }
    }

    /// What is due: sessions that were over, or of which nothing is heard, begin anew; what was heard is said.
    pub(crate) fn tick(&mut self, now: Instant, others: Places) -> Vec<Say> {
        let mut say = Vec::new();
        let silence = self.settings.heartbeat * 6;
        for place in others.iter() {
            let known = self.asking.get(place).and_then(Option::as_ref);
            let begins = known.is_none_or(|asking| {
                let is_silent = !self.groups.is_empty() && now >= asking.well + silence;
                (asking.is_over || is_silent) && now >= asking.begun + asking.pause
            });
            if begins {
                self.begin(place, now, &mut say);
            }
            let Some(asked) = self.asked.get_mut(place).and_then(Option::as_mut) else { continue };
            if asked.said.is_none_or(|said| now >= said + self.settings.heartbeat) {
                asked.said = Some(now);
                let Asked { session, heard, sent, .. } = *asked;
                say.push(Say::Heard { to: place, session, heard, sent });
            }
        }
        say
    }

    /// What was to be said to a node cannot be, and never will: its session is over, and the next one waits for no more
    /// than that.
    pub(crate) fn unsaid(&mut self, place: usize) {
        let again = self.settings.again;
        if let Some(asking) = self.asking.get_mut(place).and_then(Option::as_mut) {
            (asking.is_over, asking.pause) = (true, again / 2);
        }
    }

    /// A node has gone, and with it all that it was asked and asked.
    pub(crate) fn gone(&mut self, place: usize) {
        self.asking.get_mut(place).map(Option::take);
        self.asked.get_mut(place).map(Option::take);
    }

    /// A node asks something. Tells whether it counts, and whether all that it asked before is over.
    pub(crate) fn ask(&mut self, place: usize, session: u64, number: u64) -> Option<bool> {
        let asked = self.asked.get_mut(place)?;
        match asked {
            Some(known) if session == known.session && number == known.heard + 1 => {
                known.heard = number;
                Some(false)
            }
            known if number == 1 && known.as_ref().is_none_or(|known| session > known.session) => {
                *known = Some(Asked { session, heard: 1, sent: 0, said: None });
                Some(true)
            }
            _ => None,
        }
    }

    /// The session and the number of what is told to a node now. `None` where it has asked nothing.
    pub(crate) fn tell(&mut self, place: usize) -> Option<(u64, u64)> {
        let asked = self.asked.get_mut(place)?.as_mut()?;
        asked.sent += 1;
        Some((asked.session, asked.sent))
    }

    /// A node tells something. Says whether it counts.
    pub(crate) fn told(&mut self, place: usize, session: u64, number: u64) -> bool {
        let Some(asking) = self.session(place, session) else { return false };
        let is_next = number == asking.told + 1;
        if is_next {
            asking.told = number;
        } else if number > asking.told {
            asking.is_over = true;
        }
        is_next
    }

    /// A node says how much it has heard and said.
    pub(crate) fn heard(&mut self, place: usize, session: u64, heard: u64, sent: u64, now: Instant) {
        let (again, patience) = (self.settings.again, self.settings.heartbeat * 2);
        let Some(asking) = self.session(place, session) else { return };
        asking.well = now;
        if heard > asking.heard.0 {
            asking.heard = (heard, now);
        }
        // What was asked a moment ago may be on its way, but what it has heard grows then; what it has told comes
        // before this.
        if sent > asking.told || heard < asking.sent && now >= asking.heard.1 + patience {
            asking.is_over = true;
        } else if heard == asking.sent {
            asking.pause = again;
        }
    }

    fn session(&mut self, place: usize, session: u64) -> Option<&mut Asking> {
        let asking = self.asking.get_mut(place)?.as_mut()?;
        (asking.session == session && !asking.is_over).then_some(asking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn places(list: &[usize]) -> Places {
        let mut places = Places::default();
        list.iter().for_each(|place| places.insert(*place));
        places
    }

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn watching() -> Watching {
        Watching::new(Settings::default())
    }

    fn watch(to: usize, session: u64, number: u64, is_watched: bool, names: &[&str]) -> Say {
        let groups = names.iter().map(|name| group(name)).collect();
        Say::Watch { to, session, number, is_watched, groups }
    }

    #[test]
    fn each_node_is_asked_for_everything_once_and_then_for_what_changes() {
        let (now, mut own) = (Instant::now(), watching());
        assert_eq!(own.tick(now, places(&[1, 2])), [], "nobody is asked for nothing");
        own.watch(&group("a"), 1);
        assert!(own.has_pending());
        let say = own.flush(now, places(&[1, 2]));
        assert_eq!(say, [watch(1, 1, 1, true, &["a"]), watch(2, 2, 1, true, &["a"])]);
        assert!(!own.has_pending());
        own.watch(&group("b"), 2);
        own.unwatch(&group("a"), 1);
        own.watch(&group("a"), 3);
        // Of an audience that is not the last any more.
        own.unwatch(&group("a"), 1);
        let say = own.flush(now, places(&[1]));
        let expected = [(2, true, "b"), (3, false, "a"), (4, true, "a")]
            .map(|(n, is, name)| watch(1, 1, n, is, &[name]));
        assert_eq!(say, expected);
        // One that comes.
        let say = own.tick(now, places(&[1, 2, 5]));
        let [Say::Watch { to: 5, session: 3, number: 1, is_watched: true, groups }] = &say[..] else {
            panic!("{say:?}");
        };
        assert_eq!(groups.len(), 2);
    }

    #[test]
    fn many_groups_are_asked_for_in_messages_of_bounded_length() {
        let (now, mut own) = (Instant::now(), watching());
        (0..600).for_each(|number| own.watch(&group(&format!("g{number}")), number));
        let lengths = |say: Vec<Say>| -> Vec<(u64, usize)> {
            say.iter()
                .map(|say| match say {
                    Say::Watch { number, groups, .. } => (*number, groups.len()),
                    Say::Heard { .. } => panic!("{say:?}"),
                })
                .collect()
        };
        let sizes: Vec<_> = lengths(own.flush(now, places(&[1])));
        assert_eq!((sizes.len(), sizes[0], sizes[9]), (10, (1, 64), (10, 24)));
        (0..100).for_each(|number| own.watch(&group(&format!("h{number}")), 1_000 + number));
        assert_eq!(lengths(own.flush(now, places(&[1]))), [(11, 64), (12, 36)]);
    }

    #[test]
    fn what_is_told_counts_in_its_order_and_a_gap_begins_anew() {
        let (now, mut own) = (Instant::now(), watching());
        own.watch(&group("a"), 1);
        own.flush(now, places(&[1]));
        assert!(!own.told(1, 9, 1), "of another session");
        assert!(!own.told(2, 1, 1), "of a node that is asked nothing");
        assert!(own.told(1, 1, 1) && !own.told(1, 1, 1) && own.told(1, 1, 2));
        assert!(!own.told(1, 1, 4));
        assert!(!own.told(1, 1, 3), "it is over");
        assert_eq!(own.tick(now + 199 * MS, places(&[1])), []);
        assert_eq!(own.tick(now + 200 * MS, places(&[1])), [watch(1, 2, 1, true, &["a"])]);
        assert!(!own.told(1, 1, 3) && own.told(1, 2, 1));
    }

    #[test]
    fn what_got_lost_is_noticed_by_what_the_other_says() {
        let now = Instant::now();
        let begun = || {
            let mut own = watching();
            own.watch(&group("a"), 1);
            own.flush(now, places(&[1]));
            own
        };
        let begins = |own: &mut Watching, ms: u32| !own.tick(now + ms * MS, places(&[1])).is_empty();
        // What was told.
        let mut own = begun();
        own.told(1, 1, 1);
        own.heard(1, 1, 1, 1, now);
        assert!(!begins(&mut own, 400));
        own.heard(1, 1, 1, 2, now);
        assert!(begins(&mut own, 400));
        // What was asked: after a second, it may be on its way.
        let mut own = begun();
        own.heard(1, 1, 0, 0, now + 999 * MS);
        assert!(!begins(&mut own, 999));
        own.heard(1, 1, 0, 0, now + 1_000 * MS);
        assert!(begins(&mut own, 1_000));
        // Also where more is asked all the time.
        let mut own = begun();
        own.heard(1, 1, 1, 0, now);
        for ms in (0..1_100).step_by(100) {
            own.watch(&group(&format!("g{ms}")), u64::from(ms));
            own.flush(now + ms * MS, places(&[1]));
            own.heard(1, 1, 1, 0, now + ms * MS);
        }
        assert!(begins(&mut own, 1_100));
        // And it is none where what was heard grows.
        let mut own = begun();
        for number in 1..20 {
            own.watch(&group(&format!("g{number}")), number);
            own.flush(now + 100 * u32::try_from(number).unwrap() * MS, places(&[1]));
            own.heard(1, 1, number, 0, now + 100 * u32::try_from(number).unwrap() * MS);
        }
        assert!(!begins(&mut own, 2_000));
        // All of it.
        let mut own = begun();
        own.heard(1, 1, 1, 0, now + 1_000 * MS);
        assert!(!begins(&mut own, 3_999));
        assert!(begins(&mut own, 4_000));
        // Where nothing is asked any more nobody need say anything.
        let mut own = begun();
        own.unwatch(&group("a"), 1);
        own.flush(now, places(&[1]));
        assert!(!begins(&mut own, 60_000));
        // But who goes on telling has not heard it.
        own.heard(1, 1, 1, 0, now + 60_000 * MS);
        own.heard(1, 1, 1, 0, now + 61_000 * MS);
        assert_eq!(own.tick(now + 61_000 * MS, places(&[1])), [watch(1, 2, 1, true, &[])]);
    }

    #[test]
    fn what_cannot_be_said_is_said_as_soon_as_it_can_be() {
        let (now, mut own) = (Instant::now(), watching());
        own.watch(&group("a"), 1);
        own.flush(now, places(&[1]));
        let mut said = Vec::new();
        for ms in (0..1_100).step_by(100) {
            own.unsaid(1);
            said.extend(own.tick(now + ms * MS, places(&[1])).iter().map(|_| ms));
        }
        assert_eq!(said, [100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
    }

    #[test]
    fn a_node_that_never_answers_is_asked_less_and_less_often() {
        let (now, mut own) = (Instant::now(), watching());
        own.watch(&group("a"), 1);
        own.flush(now, places(&[1]));
        let mut asked = Vec::new();
        for ms in (0..60_000).step_by(100) {
            if !own.tick(now + ms * MS, places(&[1])).is_empty() {
                asked.push(ms);
            }
        }
        assert_eq!(asked, [3_000, 6_000, 9_000, 12_000, 15_200, 21_600, 31_600, 41_600, 51_600]);
    }

    #[test]
    fn what_is_asked_here_counts_in_its_order_and_a_new_session_takes_the_place_of_the_old() {
        let (now, mut own) = (Instant::now(), watching());
        assert_eq!((own.ask(1, 3, 2), own.tell(1)), (None, None), "without its beginning");
        assert_eq!(own.ask(1, 3, 1), Some(true));
        assert_eq!(own.ask(1, 3, 1), None, "twice");
        assert_eq!((own.ask(1, 3, 2), own.ask(1, 3, 4)), (Some(false), None));
        assert_eq!((own.tell(1), own.tell(1)), (Some((3, 1)), Some((3, 2))));
        let said = [Say::Heard { to: 1, session: 3, heard: 2, sent: 2 }];
        assert_eq!(own.tick(now, places(&[1])), said);
        assert_eq!(own.tick(now + 499 * MS, places(&[1])), []);
        assert_eq!(own.tick(now + 500 * MS, places(&[1])), said);
        assert_eq!((own.ask(1, 2, 1), own.ask(1, 4, 1)), (None, Some(true)));
        assert_eq!(own.tell(1), Some((4, 1)));
        own.gone(1);
        assert_eq!((own.tell(1), own.tick(now + 9_000 * MS, places(&[]))), (None, vec![]));
    }
}
