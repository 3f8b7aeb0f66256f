//! What clients take, each at its own speed, checked at that moment.
//!
//! In: wakers, and what waits in outboxes. Out: what each has taken, for `checks.rs`; violations of invariant 3 (nobody
//! gets what is not for it, twice, or out of its order) and 8 (frames come as the protocol has them).

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fanfare_hub::Taken;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{Limits, Sender, ServerFrame, Target};

use super::clients::View;
use super::event::Event;
use super::time::MS;
use super::world::{World, group_number};

impl World {
    /// Those whose outboxes have something will look.
    pub(crate) fn wake_readers(&mut self) {
        let mut woken = std::mem::take(&mut *self.woken.lock().unwrap());
        woken.sort_unstable();
        woken.dedup();
        for client in woken {
            self.read_later(client);
        }
    }

    fn read_later(&mut self, client: usize) {
        if !self.clients[client].is_reading && self.clients[client].seat.is_some() {
            self.clients[client].is_reading = true;
            let pace = if self.is_resting { MS } else { self.clients[client].pace };
            let after = self.rng.u64(50..pace.max(51));
            self.later(after, Event::Read(client));
        }
    }

    /// A client takes what is there.
    pub(crate) fn read(&mut self, client: usize) {
        self.clients[client].is_reading = false;
        let Some(seat) = &self.clients[client].seat else { return };
        let member = Arc::clone(seat.member());
        let waker = self.clients[client].waker.clone();
        let mut chunks = Vec::new();
        match member.outbox().poll_take(&mut Context::from_waker(&waker), &mut chunks) {
            Poll::Pending => {}
            Poll::Ready(Taken::Batch(_)) => {
                let mut bytes = Bytes::from(chunks.concat());
                let mut reader = FrameReader::new(Limits::FRAME_CEILING);
                while let Some(frame) = reader.next_frame(&mut bytes).unwrap() {
                    self.take(client, codec::decode_server(&frame).unwrap());
                }
                self.read_later(client);
            }
            Poll::Ready(Taken::Finished | Taken::Ended) => {
                self.trace(|| format!("client {client} is closed"));
                self.end_client(client);
            }
        }
    }

    /// Datagrams that have gone out.
    pub(crate) fn take_datagrams(&mut self) {
        let airborne = std::mem::take(&mut *self.airborne.lock().unwrap());
        for (client, frame) in airborne {
            if let Ok(ServerFrame::Message(message)) = codec::decode_server(&frame) {
                self.check_fence(client, &message.to);
            }
        }
    }

    fn take(&mut self, client: usize, frame: ServerFrame) {
        // Each frame is a step of its own.
        self.step += 1;
        let step = self.step;
        if self.clients[client].welcomed.is_none() && !matches!(frame, ServerFrame::Welcome(_)) {
            return self.violate(8, format!("client {client} takes {frame:?} before it is welcomed"));
        }
        match frame {
            ServerFrame::Welcome(_) => self.clients[client].welcomed = Some(step),
            ServerFrame::Joined { group, .. } => {
                let group = group_number(&group);
                self.trace(|| format!("client {client} takes Joined of group {group}"));
                let mut memberships = self.clients[client].memberships.iter_mut();
                match memberships.find(|of| of.group == group && of.joined.is_none()) {
                    Some(membership) => membership.joined = Some(step),
                    None => self.violate(8, format!("client {client} takes a Joined that nobody asked for")),
                }
            }
            ServerFrame::Removed { group, .. } => {
                let group = group_number(&group);
                self.trace(|| format!("client {client} takes Removed of group {group}"));
                let mut memberships = self.clients[client].memberships.iter_mut();
                match memberships.find(|of| of.group == group && of.ended.is_none()) {
                    Some(membership) => {
                        (membership.ended, membership.is_removed) = (Some(step), true);
                        if membership.joined.is_none() {
                            self.violate(8, format!("client {client} takes Removed before Joined"));
                        }
                    }
                    None => self.violate(8, format!("client {client} takes a Removed of nothing")),
                }
            }
            ServerFrame::Lagged { dropped } => {
                self.trace(|| format!("client {client} takes Lagged {dropped}"));
                self.clients[client].lagged.push((step, dropped));
                if self.is_calm {
                    self.violate(2, format!("client {client} is told Lagged where nothing is disturbed"));
                }
            }
            ServerFrame::Message(message) => self.take_message(client, &message),
            ServerFrame::Presence(frame) => self.take_presence(client, frame),
            ServerFrame::Error { request, code, .. } => self.take_refusal(client, request, code),
            ServerFrame::Call(call) => self.take_result(client, &call),
            other => self.violate(8, format!("client {client} takes {other:?}")),
        }
    }

    fn take_presence(&mut self, client: usize, frame: PresenceFrame) {
        let group = group_number(frame.group());
        self.trace(|| format!("client {client} takes {frame:?}"));
        if !matches!(frame, PresenceFrame::Ended { .. }) {
            let to = Target::Group(frame.group().clone());
            self.check_fence(client, &to);
        }
        let Some(view) = self.clients[client].views.get_mut(&group) else {
            return self
                .violate(3, format!("client {client} takes {frame:?}, and watches nothing (promise 16)"));
        };
        let put = |view: &mut View, present: Vec<Present>| {
            for Present { user, connections, data } in present {
                view.users.insert(user, (connections, data));
            }
        };
        match frame {
            PresenceFrame::Snapshot { begins, complete, present, .. } => {
                if begins {
                    *view = View::default();
                }
                put(view, present);
                view.is_complete = complete;
            }
            PresenceFrame::Changes { present, left, .. } => {
                left.iter().for_each(|user| drop(view.users.remove(user)));
                put(view, present);
            }
            PresenceFrame::Ended { .. } => drop(self.clients[client].views.remove(&group)),
        }
    }

    fn take_message(&mut self, client: usize, message: &fanfare_protocol::Message) {
        let number = u64::from_le_bytes(message.payload[..].try_into().unwrap());
        let step = self.step;
        self.trace(|| format!("client {client} takes number {number} by {:?}", message.to));
        self.counts.taken += 1;
        self.check_fence(client, &message.to);
        let sent = &self.sent[usize::try_from(number).unwrap()];
        let known = &mut self.clients[client];
        let is_for_it = sent.to.contains(&message.to)
            && !sent.except.contains(&known.id)
            && match &message.to {
                Target::All => true,
                Target::User(user) => *user == self.users[known.user],
                Target::Connection(id) => *id == known.id,
                Target::Group(_) => true,
            };
        let (origin, is_first) = (sent.origin, known.received.insert(number, step).is_none());
        let sender = match &message.from {
            Sender::Connection { connection, .. } => Some(*connection),
            Sender::Server => None,
        };
        let newest = known.newest.entry(sender).or_default().entry(origin).or_default();
        let is_in_order = *newest <= number;
        *newest = (*newest).max(number);
        let is_member = match &message.to {
            Target::Group(group) => {
                let group = group_number(group);
                let mut of_group =
                    known.memberships.iter().filter(|of| of.group == group && of.joined.is_some());
                of_group.next_back().is_some_and(|of| !of.is_removed)
            }
            _ => true,
        };
        if !is_for_it {
            self.violate(
                3,
                format!("client {client} takes number {number}, which is not for it (promise 1)"),
            );
        }
        if !is_first {
            self.violate(3, format!("client {client} takes number {number} twice (promise 2)"));
        }
        if !is_in_order {
            self.violate(3, format!("client {client} takes number {number} too late (promise 4)"));
        }
        if !is_member {
            self.violate(
                3,
                format!("client {client} takes number {number} without a membership (promise 8)"),
            );
        }
    }
}
