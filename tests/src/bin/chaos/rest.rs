//! What must hold when all is whole again.
//!
//! In: what everyone has seen since the last rest. Out: faults, and a line that says what there was. Promises: what is
//! forbidden is the same everywhere, and what operators know of it; everyone is there and shown everywhere (`views`),
//! and nobody else; each member has what was sent while it was one, in its order, once, or was told that something is
//! missing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::crowd::{Crowd, Member, Seen, group_name};
use crate::machines::Machines;
use crate::operators::Operators;
use crate::record::{Outcome, Record, Series};
use crate::{GROUPS, MACHINES, views};

/// How long it may take until all is as it should be.
const PATIENCE: Duration = Duration::from_secs(75);

/// Waits for it, and looks.
pub(crate) async fn look(
    machines: &mut Machines,
    crowd: &Crowd,
    operators: &Operators,
    record: &Record,
    after: &str,
) -> String {
    let begun = Instant::now();
    operators.pause().await;
    crowd.pause().await;
    let mut rested = false;
    let mut problem = String::new();
    let mut banned = BTreeSet::new();
    while begun.elapsed() < PATIENCE {
        match unrest(crowd, operators).await {
            Ok(found) => {
                (rested, banned) = (true, found);
                break;
            }
            Err(what) if what != problem => {
                println!("    {:.1} s: {what}", begun.elapsed().as_secs_f64());
                problem = what;
            }
            Err(_) => {}
        }
        for ended in machines.raise() {
            record.fault(format!("after {after}: {ended}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = begun.elapsed();
    if rested {
        mark(crowd, record, &banned, after).await;
    } else {
        record.fault(format!(
            "after {after}: no rest in {PATIENCE:?}: {problem} ({})",
            machines.folder().display()
        ));
    }
    for sender in &crowd.senders {
        sender.settle(record);
    }
    let series: HashMap<(usize, usize), (Series, HashSet<u32>)> = (0..MACHINES)
        .flat_map(|sender| (0..GROUPS).map(move |group| (sender, group)))
        .map(|key| (key, record.series(key.0, key.1)))
        .collect();
    let (mut received, mut missing, mut told) = (0, 0, 0);
    for member in &crowd.members {
        let mut account = Account::new(member, record, &series, after);
        account.all(rested);
        received += account.received;
        missing += account.missing;
        told += account.told;
    }
    record.count(|totals| {
        totals.received += received;
        totals.missing += missing;
    });
    record.forget();
    format!("rest after {:.1} s, {received} received, {missing} lost, {told} told", took.as_secs_f64())
}

/// What is not yet as it should be; or the groups that are forbidden.
async fn unrest(crowd: &Crowd, operators: &Operators) -> Result<BTreeSet<usize>, String> {
    let mut bans = Vec::new();
    for node in 0..MACHINES {
        bans.push(operators.bans(node).await.map_err(|error| format!("node {node}: {error}"))?);
    }
    if bans[1..].iter().any(|other| *other != bans[0]) {
        return Err(format!("not the same is forbidden everywhere: {bans:?}"));
    }
    let banned: BTreeSet<usize> = (0..GROUPS)
        .filter(|group| {
            bans[0]
                .iter()
                .any(|ban| ban.groups.as_ref().is_some_and(|groups| groups.to_string() == group_name(*group)))
        })
        .collect();
    for (group, known) in operators.known().into_iter().enumerate() {
        if known.is_some_and(|known| known != banned.contains(&group)) {
            return Err(format!(
                "group {group} is forbidden: {known:?} by the receipts, {banned:?} by the nodes"
            ));
        }
    }
    for member in &crowd.members {
        if !member.is_there.load(Ordering::SeqCst) {
            return Err(format!("{} is not there", member.name));
        }
        let expected: BTreeSet<usize> =
            (0..GROUPS).filter(|group| !(member.is_banned && banned.contains(group))).collect();
        let is_in = member.groups.lock().clone();
        if is_in != expected {
            return Err(format!("{} is in {is_in:?} and should be in {expected:?}", member.name));
        }
    }
    for (node, sender) in crowd.senders.iter().enumerate() {
        if !sender.is_there.load(Ordering::SeqCst) {
            return Err(format!("sender {node} is not there"));
        }
    }
    views::forget_the_dead(operators).await?;
    views::look(crowd, operators, &banned).await?;
    Ok(banned)
}

fn members_of(crowd: &Crowd, banned: &BTreeSet<usize>, group: usize) -> u64 {
    crowd.members.iter().filter(|member| !(member.is_banned && banned.contains(&group))).count() as u64
}

/// One more message of each sender to each group, which must reach every member.
async fn mark(crowd: &Crowd, record: &Record, banned: &BTreeSet<usize>, after: &str) {
    for (number, sender) in crowd.senders.iter().enumerate() {
        for group in 0..GROUPS {
            let (mark, sent) = sender.send_acked(group, record).await;
            let expected = members_of(crowd, banned, group);
            match sent {
                Ok(count) if count == expected => {}
                other => record.fault(format!(
                    "after {after}: at rest, what node {number} sends to group {group} is queued for {other:?}, not {expected}"
                )),
            }
            let begun = Instant::now();
            for member in &crowd.members {
                if member.is_banned && banned.contains(&group) {
                    continue;
                }
                while member.newest.lock().get(&(number, group)) != Some(&mark) {
                    if begun.elapsed() > Duration::from_secs(20) {
                        record.fault(format!(
                            "after {after}: at rest, {} does not get what node {number} sends to group {group}",
                            member.name
                        ));
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

/// A membership.
struct Stay {
    since: Option<Instant>,
    got: HashMap<usize, BTreeMap<u64, u32>>,
}

/// What one member had, and should have had.
struct Account<'a> {
    member: &'a Member,
    record: &'a Record,
    series: &'a HashMap<(usize, usize), (Series, HashSet<u32>)>,
    after: &'a str,
    stays: HashMap<usize, Stay>,
    received: u64,
    missing: u64,
    told: u64,
    /// Of this connection.
    lost: Vec<String>,
    lost_here: u64,
    told_here: u64,
}

impl<'a> Account<'a> {
    fn new(
        member: &'a Member,
        record: &'a Record,
        series: &'a HashMap<(usize, usize), (Series, HashSet<u32>)>,
        after: &'a str,
    ) -> Self {
        let stays = HashMap::new();
        let (received, missing, told, lost_here, told_here) = (0, 0, 0, 0, 0);
        Self {
            member,
            record,
            series,
            after,
            stays,
            received,
            missing,
            told,
            lost: Vec::new(),
            lost_here,
            told_here,
        }
    }

    fn all(&mut self, rested: bool) {
        let mut seen = std::mem::take(&mut *self.member.seen.lock());
        for group in self.member.stayed.lock().iter() {
            self.stays.insert(*group, Stay { since: None, got: HashMap::new() });
        }
        let mut newest: HashMap<(usize, usize), (u32, u64)> = HashMap::new();
        let mut had = HashSet::new();
        for one in seen.drain(..) {
            match one {
                Seen::Message { sender, session, group, number } => {
                    self.received += 1;
                    self.arrive(&mut newest, &mut had, (sender, session, group, number));
                }
                Seen::In { group, at } => {
                    self.leave(group, true);
                    self.stays.insert(group, Stay { since: Some(at), got: HashMap::new() });
                }
                Seen::Out { group } => self.leave(group, true),
                Seen::Lost => {
                    for group in 0..GROUPS {
                        self.leave(group, true);
                    }
                    self.end_connection();
                }
                Seen::Lagged(dropped) => self.told_here += dropped,
            }
        }
        *self.member.stayed.lock() = self.stays.keys().copied().collect();
        for group in 0..GROUPS {
            // Without rest what is missing may be on its way.
            self.leave(group, !rested);
        }
        self.end_connection();
    }

    fn arrive(
        &mut self,
        newest: &mut HashMap<(usize, usize), (u32, u64)>,
        had: &mut HashSet<(usize, usize, u64)>,
        (sender, session, group, number): (usize, u32, usize, u64),
    ) {
        let (name, after) = (&self.member.name, self.after);
        if !had.insert((sender, group, number)) {
            self.record.fault(format!("after {after}: {name} has {sender}/{group}/{number} twice"));
        }
        let last = newest.insert((sender, group), (session, number));
        if last.is_some_and(|(before, last)| before == session && number < last) {
            self.record.fault(format!("after {after}: {name} has {sender}/{group}/{number} after {last:?}"));
        }
        let outcome = self.series.get(&(sender, group)).and_then(|(series, _)| series.at(number));
        if outcome.is_some_and(|sent| sent.outcome == Outcome::Refused) {
            self.record
                .fault(format!("after {after}: {name} has {sender}/{group}/{number}, which was refused"));
        }
        match self.stays.get_mut(&group) {
            Some(stay) => drop(stay.got.entry(sender).or_default().insert(number, session)),
            None => {
                self.record
                    .fault(format!("after {after}: {name} has {sender}/{group}/{number}, and is no member"));
            }
        }
    }

    /// A membership ends, or is looked at while it lasts.
    fn leave(&mut self, group: usize, has_ended: bool) {
        let Some(stay) = self.stays.remove(&group) else { return };
        for sender in 0..MACHINES {
            let Some((series, ended)) = self.series.get(&(sender, group)) else { continue };
            let none = BTreeMap::new();
            let got = stay.got.get(&sender).unwrap_or(&none);
            let newest = got.keys().next_back().copied();
            let newest_of =
                |session: u32| got.iter().rev().find(|(_, of)| **of == session).map(|(number, _)| *number);
            for (number, sent) in (series.first..).zip(&series.sent) {
                let was_member = stay.since.is_none_or(|since| sent.begun > since);
                let is_acked = sent.outcome == Outcome::Acked;
                let is_sent = is_acked || sent.outcome == Outcome::Accepted;
                if !is_sent || !was_member || got.contains_key(&number) {
                    continue;
                }
                // What was on its way when this membership ended, or the connection that it was sent over.
                let is_open_end = has_ended && newest.is_none_or(|newest| number > newest)
                    || !is_acked
                        && ended.contains(&sent.session)
                        && newest_of(sent.session).is_none_or(|newest| number > newest);
                if !is_open_end {
                    self.lost_here += 1;
                    self.lost.push(format!("{sender}/{group}/{number}"));
                }
            }
        }
    }

    fn end_connection(&mut self) {
        if self.lost_here > 0 && self.told_here == 0 {
            let some = self.lost.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let last = self.lost.last().cloned().unwrap_or_default();
            self.record.fault(format!(
                "after {}: {} lacks {} ({some} ... {last}), and was told nothing",
                self.after, self.member.name, self.lost_here
            ));
        }
        if self.lost_here > self.told_here && self.told_here > 0 {
            self.record.count(|totals| totals.understated += 1);
        }
        self.missing += self.lost_here;
        self.told += self.told_here;
        (self.lost_here, self.told_here) = (0, 0);
        self.lost.clear();
    }
}
