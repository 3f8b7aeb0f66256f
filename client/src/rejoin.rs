//! Back into the groups: what happens between a new connection's `Welcome` and the moment it goes live.
//!
//! In: a connection that was just welcomed, and the groups that the application was in. Out: which of them it is in again.
//!
//! Invariants: the connection goes live only when its groups are exactly those that the application wants, so a group that
//! is left while this runs is left again; what arrives meanwhile comes after [`Event::Reconnected`], and none of it is lost.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use fanfare_protocol::{ClientFrame, Code, GroupName, RequestId, ServerFrame, codec};
use tokio::time::timeout;

use crate::disconnect::Disconnect;
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

/// One rejoin.
pub(crate) struct Rejoin<'a> {
    shared: &'a Shared,
    opened: &'a mut Opened,
    events: &'a EventSink,
    /// How many events may wait for the end of this.
    most_held: usize,
    held: Vec<Event>,
    under_way: HashMap<RequestId, Step>,
    rejoined: BTreeSet<GroupName>,
    refused: Vec<(GroupName, u16, String)>,
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
            most_held,
            held: Vec::new(),
            under_way: HashMap::new(),
            rejoined: BTreeSet::new(),
            refused: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Rejoins and makes the connection the live one. Each answer may take `patience`. Gives the events to tell of it.
    ///
    /// May be dropped while it waits: then the connection did not go live.
    ///
    /// # Errors
    /// The connection was lost again. The application is in no group, and wants the same as before.
    pub(crate) async fn run(mut self, patience: Duration) -> Result<Vec<Event>, Disconnect> {
        if let Err(lost) = self.rejoin(patience).await {
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
        let mut steps: VecDeque<_> = groups.into_iter().map(Step::Join).collect();
        loop {
            while self.under_way.len() < UNDER_WAY
                && let Some(step) = steps.pop_front()
            {
                self.begin(step).await;
            }
            if self.under_way.is_empty() {
                let rejoined: Vec<_> = self.rejoined.iter().cloned().collect();
                let refused: Vec<_> = self.refused.iter().map(|(group, ..)| group.clone()).collect();
                match self.shared.go_live(&self.opened.link, &rejoined, &refused) {
                    Ok(lost) => {
                        self.lost = lost;
                        return Ok(());
                    }
                    Err(left) => steps.extend(left.into_iter().map(Step::Leave)),
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
                    let closed = timeout(patience, self.opened.link.connection.closed()).await;
                    return Err(closed.map_or(Disconnect::StreamEnded, Disconnect::from));
                }
            }
        }
    }

    async fn begin(&mut self, step: Step) {
        let request = self.shared.next_request();
        let frame = match &step {
            Step::Join(group) => ClientFrame::Join { request, group: group.clone() },
            Step::Leave(group) => ClientFrame::Leave { request, group: group.clone() },
        };
        self.under_way.insert(request, step);
        // Fails only when the connection is lost; the next frame to be read says so.
        let _ = self.opened.link.queue.send(codec::encode_client(&frame)).await;
    }

    async fn take(&mut self, frame: ServerFrame) -> Result<(), Disconnect> {
        let event = match frame {
            ServerFrame::Ack { request, .. } => {
                match self.under_way.remove(&request) {
                    Some(Step::Join(group)) => {
                        self.rejoined.insert(group);
                    }
                    Some(Step::Leave(group)) => {
                        self.rejoined.remove(&group);
                    }
                    None => {}
                }
                return Ok(());
            }
            ServerFrame::Error { request, code, detail } => {
                match self.under_way.remove(&request) {
                    Some(Step::Join(group)) => self.refused.push((group, code, detail)),
                    // Leaving is never forbidden. A server that says so anyway is not asked forever.
                    Some(Step::Leave(group)) => {
                        self.rejoined.remove(&group);
                    }
                    None => {}
                }
                return Ok(());
            }
            // Told by `Reconnected`, where it was asked for.
            ServerFrame::Joined { group, .. }
                if self
                    .under_way
                    .values()
                    .any(|step| matches!(step, Step::Join(asked) if *asked == group)) =>
            {
                return Ok(());
            }
            ServerFrame::Joined { group, members } => {
                self.shared.membership(|groups| groups.joined(&group));
                Event::Joined { group, members }
            }
            ServerFrame::Removed { group, code, reason } => {
                self.rejoined.remove(&group);
                // It may come before the answer to the join that it ends.
                for step in self.under_way.values_mut() {
                    if matches!(step, Step::Join(asked) if *asked == group) {
                        *step = Step::Leave(group.clone());
                    }
                }
                removed(self.shared, group, code, reason)
            }
            ServerFrame::Message(message) => Event::Message(message),
            ServerFrame::Lagged { dropped } => Event::Lagged { dropped },
            ServerFrame::Expiring { scope, seconds } => {
                self.shared.expiring.notify_one();
                Event::Expiring { scope, seconds }
            }
            ServerFrame::Goodbye { code, reason, retry_after_ms } => {
                let lost = Disconnect::goodbye(code, reason.clone(), retry_after_ms);
                self.held.push(Event::goodbye(code, reason, retry_after_ms));
                return Err(lost);
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

    /// Hands over what was held back. Early, before `Reconnected`, when it is too much: better that than lost.
    async fn release(&mut self) {
        for event in self.held.drain(..) {
            self.events.push(event).await;
        }
    }
}
