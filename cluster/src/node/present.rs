//! Who is there on other nodes, in groups that are watched here, and the other way about.
//!
//! In: groups that are watched here, what the hub here has to tell of those that others watch. Out: messages, effects.
//! Invariant: what arrives is handed on in its order, or begins anew (`watching.rs`).

use std::time::Instant;

use bytes::Bytes;
use fanfare_protocol::GroupName;

use super::{Effect, Node};
use crate::id::NodeId;
use crate::watching::Say;
use crate::wire::Message;

/// Presence.
impl Node {
    /// A group is watched here by a new audience. Gives the nodes that are asked who is there. [`Node::flush`] does it.
    pub fn watches(&mut self, group: &GroupName, audience: u64) -> Vec<NodeId> {
        self.watching.watch(group, audience);
        self.known().filter_map(|place| self.peer(place).map(|peer| peer.id)).collect()
    }

    /// That audience has gone.
    pub fn unwatches(&mut self, group: &GroupName, audience: u64) {
        self.watching.unwatch(group, audience);
    }

    /// Tells a node who is here in the groups that it watches.
    pub fn present(&mut self, to: NodeId, frames: Bytes) {
        let Some(place) = self.places.get(&to).copied() else { return };
        if let Some((session, number)) = self.watching.tell(place) {
            self.say(place, &Message::Present { session, number, frames });
        }
    }

    pub(super) fn say_what_is_watched(&mut self, say: Vec<Say>) {
        for say in say {
            match say {
                Say::Watch { to, session, number, is_watched, groups } => {
                    if !self.try_say(to, &Message::Watch { session, number, is_watched, groups }) {
                        self.watching.unsaid(to);
                    }
                }
                Say::Heard { to, session, heard, sent } => {
                    self.say(to, &Message::Heard { session, heard, sent });
                }
            }
        }
    }

    pub(super) fn hear_of_presence(
        &mut self,
        (place, from): (usize, NodeId),
        message: Message,
        now: Instant,
    ) {
        match message {
            Message::Watch { session, number, is_watched, groups } => {
                if let Some(is_anew) = self.watching.ask(place, session, number) {
                    self.effects.push(Effect::Watch { from, is_anew, is_watched, groups });
                }
            }
            Message::Present { session, number, frames } if self.watching.told(place, session, number) => {
                self.effects.push(Effect::Present(from, frames));
            }
            Message::Heard { session, heard, sent } => self.watching.heard(place, session, heard, sent, now),
            _ => {}
        }
    }
}
