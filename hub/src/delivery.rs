//! What came of things that were done to those who are here: counts, for whoever asked and for the metrics.

use std::collections::BTreeMap;

use fanfare_protocol::{Code, GroupName};

use crate::cluster::Ticket;
use crate::outbox::Pushed;

/// How many of what there is. Each is counted at its own moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Population {
    /// Connections that have been welcomed and are not gone.
    pub connections: usize,
    /// Users with at least one connection.
    pub users: usize,
    /// Groups with at least one member.
    pub groups: usize,
}

/// What a send did here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Copies that were queued: one for each connection and message.
    pub queued: u64,
    /// Messages that were dropped from full outboxes, this one or older ones.
    pub displaced: u64,
    /// Connections that are being closed because it did not fit.
    pub overflowed: u64,
    /// Bytes that went out in datagrams. What goes to outboxes is counted when it is written.
    pub datagram_bytes: u64,
    /// Where it is counted on other nodes, too: what that is asked by.
    pub elsewhere: Option<Ticket>,
}

impl Delivery {
    /// Of an envelope with so many messages.
    pub(crate) fn count(&mut self, pushed: Pushed, frames: usize) {
        match pushed {
            Pushed::Queued => self.queued += frames as u64,
            Pushed::Displaced(messages) => {
                self.queued += frames as u64;
                self.displaced += messages;
            }
            Pushed::Dropped(messages) => self.displaced += messages,
            Pushed::Overflowed => self.overflowed += 1,
            Pushed::Ended => {}
        }
    }
}

/// Why a membership is ended: what the member is told.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// Why, by number.
    pub code: Code,
    /// Why, for a person.
    pub reason: &'a str,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// How many connections were removed from each group.
    pub groups: BTreeMap<GroupName, u64>,
    /// How many connections were removed from at least one.
    pub connections: u64,
    /// Messages of those groups that were still queued, and were thrown away.
    pub purged: u64,
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn promise_11_whatever_came_of_each_copy_is_in_the_sum() {
        let mut delivery = Delivery::default();
        for pushed in [
            Pushed::Queued,
            Pushed::Queued,
            Pushed::Displaced(10),
            Pushed::Displaced(10),
            Pushed::Dropped(100),
            Pushed::Dropped(100),
            Pushed::Overflowed,
            Pushed::Overflowed,
            Pushed::Ended,
        ] {
            delivery.count(pushed, 3);
        }
        assert_eq!(delivery, Delivery { queued: 12, displaced: 220, overflowed: 2, ..Delivery::default() });
    }
}
