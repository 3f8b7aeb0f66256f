//! Messages from one node to another, numbered, so that none is lost in silence. A publication has one or several.
//!
//! In: publications that are sent, and headings that arrive. Out: the number of the last message of each; how many did
//! not arrive. Invariant: of what a node published to another each message is delivered once, or counted as missed
//! (promise 18): behind whatever arrives next, if only a ping.

/// The way to a node.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outbound {
    published: u64,
}

impl Outbound {
    /// A publication of so many messages goes now. Gives the number of its last.
    pub(crate) fn next(&mut self, messages: u64) -> u64 {
        self.published += messages;
        self.published
    }

    /// So many messages did not even go: they are missed.
    pub(crate) fn pass(&mut self, messages: u64) {
        self.published += messages;
    }

    /// How many went so far.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }
}

/// The way from a node.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Inbound {
    arrived: u64,
    missed: u64,
}

/// What a heading says about what was published before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It follows what arrived before; with so many missing in between.
    Behind(u64),
    /// It was counted as missed already, or came before: it is not delivered.
    Late,
}

impl Inbound {
    /// A publication of so many messages is here, whose last has this number.
    pub(crate) fn publication(&mut self, number: u64, messages: u64) -> Followed {
        if number <= self.arrived {
            return Followed::Late;
        }
        let missed = (number - self.arrived).saturating_sub(messages);
        self.arrived = number;
        self.missed = self.missed.saturating_add(missed);
        Followed::Behind(missed)
    }

    /// Something else is here, behind so many messages of publications. Gives how many of those are missing.
    pub(crate) fn other(&mut self, published: u64) -> u64 {
        let missed = published.saturating_sub(self.arrived);
        self.arrived = self.arrived.max(published);
        self.missed = self.missed.saturating_add(missed);
        missed
    }

    /// How many were missed in all.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is lost, repeated and comes late: what was delivered and what was counted as missed is all, each
        /// once.
        #[test]
        fn promise_18_each_message_is_delivered_once_or_counted_as_missed(
            lengths in proptest::collection::vec(1..5_u64, 1..40),
            order in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let (mut outbound, mut inbound) = (Outbound::default(), Inbound::default());
            let sent: Vec<(u64, u64)> = lengths.into_iter().map(|long| (outbound.next(long), long)).collect();
            let (mut delivered, mut messages, mut missed, mut highest) = (Vec::new(), 0, 0, 0);
            for (at, is_publication) in order {
                let (number, long) = *at.get(&sent);
                highest = highest.max(number);
                if is_publication {
                    if let Followed::Behind(more) = inbound.publication(number, long) {
                        missed += more;
                        messages += long;
                        delivered.push(number);
                    }
                } else {
                    missed += inbound.other(number);
                }
            }
            prop_assert!(delivered.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(messages + missed, highest);
            prop_assert_eq!(missed, inbound.missed());
        }
    }
}
