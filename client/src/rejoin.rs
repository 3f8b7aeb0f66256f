//! Back into the groups: what happens between a new connection's `Welcome` and the moment it goes live.
//!
//! In: a connection that was just welcomed, and the groups that the application was in. Out: which of them it is in
//! again.
//!
//! Invariants: the connection goes live only when its groups are exactly those that the application wants, so a group
//! that is left while this runs is not joined, or left again; a group that is refused for now is wanted still, so that
//! the attempt has failed, as long as whoever asks insists on all of them; what arrives meanwhile comes after
//! [`Event::Reconnected`], and none of it is lost.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use fanfare_protocol::{ClientFrame, Code, GroupName, RequestId, ServerFrame, codec};
use tokio::time::timeout;

use crate::disconnect::{ComeBack, Disconnect, known};
use crate::event::Event;
use crate::events::EventSink;
use crate::handshake::Opened;
use crate::reader::removed;
use crate::state::Shared;
use crate::writer::QUEUE_FRAMES;

/// How many requests are under way at a time. No more than the writer's queue holds, so that queueing one never waits
/// while the answers to others are not being read.
const UNDER_WAY: usize = QUEUE_FRAMES;

enum Step {
    Join(GroupName),
    Leave(GroupName),
}

/// So many attempts of an outage may fail because a group is refused for now: longer than a node that has died holds up
/// groups that are new on another (6 s, and 2 s for each attempt). Then the rest is worth more than all of them.
const INSISTS: u32 = 5;

/// One rejoin.
pub(crate) struct Rejoin<'a> {
    shared: &'a Shared,
    opened: &'a mut Opened,
    events: &'a EventSink,
    /// A group that is refused for now fails it; and one was.
    insists: bool,
    was_refused: bool,
    /// How many events may wait for the end of this.
    most_held: usize,
    held: Vec<Event>,
    under_way: HashMap<RequestId, Step>,
    /// Groups whose join has no answer yet.
    unanswered: HashSet<GroupName>,
    /// Those of them with a `Joined` in `held`. Only the answer says whether the join made it, or an operator.
    open: HashSet<GroupName>,
    rejoined: BTreeSet<GroupName>,
    refused: Vec<(GroupName, u16, String)>,
    /// Those that the connection is in although they refused, because an operator added it.
    added: BTreeSet<GroupName>,
    lost: Vec<GroupName>,
}

impl<'a> Rejoin<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        opened: &'a mut Opened,
        events: &'a EventSink,
        most_held: usize,
    ) -> Self {
        Self {
            shared,
            opened,
            events,
            insists: true,
            was_refused: false,
            most_held,
            held: Vec::new(),
            under_way: HashMap::new(),
            unanswered: HashSet::new(),
            open: HashSet::new(),
            rejoined: BTreeSet::new(),
            refused: Vec::new(),
            added: BTreeSet::new(),
            lost: Vec::new(),
        }
    }

    /// Rejoins and makes the connection the live one. Each answer may take `patience`. Gives the events to tell of it.
    ///
    /// May be dropped while it waits: then the connection did not go live.
    ///
    /// # Errors
    /// The connection was lost again; or the server refused a group for now, and not so often before: `refusals` is how
    /// often, and grows. The application is in no group, and wants the same as before.
    pub(crate) async fn run(
        mut self,
        patience: Duration,
        refusals: &mut u32,
    ) -> Result<Vec<Event>, Disconnect> {
        self.insists = *refusals < INSISTS;
        if let Err(lost) = self.rejoin(patience).await {
            *refusals += u32::from(self.was_refused);
            // What an operator made on this connection is lost with it.
            self.shared.membership(|groups| groups.connection_lost());
            self.release().await;
            return Err(lost);
        }
        let reconnected = Event::Reconnected {
            connection: self.opened.link.welcome.connection,
            rejoined: self.rejoined.into_iter().collect(),
            refused: self.refused,
            lost: self.lost,
        };
        Ok(std::iter::once(reconnected).chain(self.held).collect())
    }

    async fn rejoin(&mut self, patience: Duration) -> Result<(), Disconnect> {
        let groups = self.shared.membership(|groups| groups.members());
        self.unanswered = groups.iter().cloned().collect();
        let mut steps: VecDeque<_> = groups.into_iter().map(Step::Join).collect();
        loop {
            while self.under_way.len() < UNDER_WAY
                && let Some(step) = steps.pop_front()
            {
                self.begin(step).await;
            }
            if self.under_way.is_empty() {
                let refused = &mut self.refused;
                // Of what was left meanwhile nothing is told.
                self.shared.membership(|groups| refused.retain(|(group, ..)| groups.is_member(group)));
                let refused: Vec<_> = refused.iter().map(|(group, ..)| group.clone()).collect();
                match self.shared.go_live(&self.opened.link, &self.rejoined, &refused, &self.added) {
                    Ok(lost) => {
                        self.lost = lost;
                        return Ok(());
                    }
                    Err(left) => {
                        for group in left {
                            if self.added.contains(&group) {
                                self.drop_joined(&group);
                            }
                            steps.push_back(Step::Leave(group));
                        }
                    }
                }
                continue;
            }
            let frame = timeout(patience, self.opened.incoming.next()).await.map_err(|_| {
                let detail = format!(
                    "the groups could not be rejoined: no answer within {} s",
                    patience.as_secs_f32()
                );
                Disconnect::Transport { detail }
            })??;
            match frame {
                Some(frame) => self.take(frame).await?,
                // The close, with its code, follows the end of the stream.
                None => {
                    let closed = timeout(patience, self.opened.link.connection.over()).await;
                    return Err(closed.unwrap_or(Disconnect::StreamEnded));
                }
            }
        }
    }

    async fn begin(&mut self, step: Step) {
        let step = match step {
            // Left, or removed from, while it waited for its turn.
            Step::Join(group) if !self.shared.membership(|groups| groups.is_member(&group)) => {
                self.unanswered.remove(&group);
                if !self.forget_joined(&group) {
                    return;
                }
                // Left when an operator had added the connection to it.
                Step::Leave(group)
            }
            step => step,
        };
        let request = self.shared.next_request();
        let frame = match &step {
            Step::Join(group) => ClientFrame::Join { request, group: group.clone() },
            Step::Leave(group) => ClientFrame::Leave { request, group: group.clone() },
        };
        self.under_way.insert(request, step);
        // Fails only when the connection is lost; the next frame to be read says so.
        let _ = self.opened.link.queue.send(codec::encode_client(&frame)).await;
    }

    fn refused_for_now(&mut self, code: u16, reason: String) -> Disconnect {
        self.was_refused = true;
        Disconnect::Closed { code, reason, come_back: ComeBack::ByCode }
    }

    /// Whether a group that is not to be had now is wanted, so that the attempt has failed: as if the server had
    /// refused the connection, another may do, or this one in a while.
    fn is_wanted_later(&self, group: &GroupName, code: u16) -> bool {
        let is_for_now = matches!(known(code), Some(Code::CutOff | Code::ShuttingDown));
        self.insists && is_for_now && self.shared.membership(|groups| groups.is_member(group))
    }

    async fn take(&mut self, frame: ServerFrame) -> Result<(), Disconnect> {
        let event = match frame {
            ServerFrame::Ack { request, .. } | ServerFrame::AckPart { request, .. } => {
                match self.under_way.remove(&request) {
                    Some(Step::Join(group)) => {
                        self.unanswered.remove(&group);
                        // Told by `Reconnected`.
                        self.forget_joined(&group);
                        self.rejoined.insert(group);
                    }
                    Some(Step::Leave(group)) => self.left(&group),
                    None => {}
                }
                return Ok(());
            }
            ServerFrame::Error { request, code, detail } => {
                match self.under_way.remove(&request) {
                    Some(Step::Join(group)) if self.is_wanted_later(&group, code) => {
                        return Err(self.refused_for_now(code, detail));
                    }
                    Some(Step::Join(group)) => {
                        self.unanswered.remove(&group);
                        if self.open.remove(&group) {
                            self.added.insert(group.clone());
                        }
                        self.refused.push((group, code, detail));
                    }
                    // Leaving is never forbidden. A server that says so anyway is not asked forever.
                    Some(Step::Leave(group)) => self.left(&group),
                    None => {}
                }
                return Ok(());
            }
            ServerFrame::Joined { group, members } if self.unanswered.contains(&group) => {
                if !self.open.insert(group.clone()) {
                    return Ok(());
                }
                Event::Joined { group, members }
            }
            ServerFrame::Joined { group, members } => {
                self.shared.membership(|groups| groups.joined(&group));
                Event::Joined { group, members }
            }
            ServerFrame::Removed { group, code, reason }
                if (self.unanswered.contains(&group) || self.rejoined.contains(&group))
                    && self.is_wanted_later(&group, code) =>
            {
                return Err(self.refused_for_now(code, reason));
            }
            ServerFrame::Removed { group, code, reason } => {
                self.unanswered.remove(&group);
                self.forget_joined(&group);
                self.left(&group);
                // It may come before the answer to the join that it ends.
                for step in self.under_way.values_mut() {
                    if matches!(step, Step::Join(asked) if *asked == group) {
                        *step = Step::Leave(group.clone());
                    }
                }
                removed(self.shared, group, code, reason)
            }
            ServerFrame::Message(message) => Event::Message(message),
            // Nothing has been sent that has items, so that there is nothing to be overrun.
            ServerFrame::Call(call) => {
                let _ = self.opened.link.take(call, &self.shared.handlers);
                return Ok(());
            }
            ServerFrame::Presence(frame) => {
                self.shared.watches.take(frame);
                return Ok(());
            }
            ServerFrame::Lagged { dropped } => Event::Lagged { dropped },
            ServerFrame::Expiring { scope, seconds } => {
                self.opened.link.expiring.notify_one();
                Event::Expiring { scope, seconds }
            }
            ServerFrame::Goodbye { code, reason, retry_after_ms } => {
                let lost = Disconnect::goodbye(code, reason.clone(), retry_after_ms);
                self.held.push(Event::goodbye(code, reason, retry_after_ms));
                return Err(self.opened.incoming.end_after(lost, None).await);
            }
            ServerFrame::Welcome(_) => {
                return Err(self
                    .opened
                    .incoming
                    .violated(Code::MalformedFrame, "it said Welcome a second time"));
            }
        };
        if self.held.len() >= self.most_held {
            self.release().await;
        }
        self.held.push(event);
        Ok(())
    }

    /// The connection is not in this group any more.
    fn left(&mut self, group: &GroupName) {
        self.rejoined.remove(group);
        self.added.remove(group);
    }

    /// The `Joined` of a group whose join has no answer is not to be told. Says whether there was one.
    fn forget_joined(&mut self, group: &GroupName) -> bool {
        let open = self.open.remove(group);
        if open {
            self.drop_joined(group);
        }
        open
    }

    fn drop_joined(&mut self, group: &GroupName) {
        let joined = |event: &Event| matches!(event, Event::Joined { group: told, .. } if told == group);
        // The last: it came a moment ago, mostly.
        if let Some(at) = self.held.iter().rposition(joined) {
            self.held.remove(at);
        }
    }

    /// Hands over what was held back, but for what the answer to a join decides about. Early, before `Reconnected`,
    /// when it is too much: better that than lost.
    async fn release(&mut self) {
        let open = |event: &Event| matches!(event, Event::Joined { group, .. } if self.open.contains(group));
        let (open, told) = std::mem::take(&mut self.held).into_iter().partition(open);
        self.held = open;
        for event in told {
            self.events.push(event).await;
        }
    }
}
