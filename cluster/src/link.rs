//! Publications from one node to another, numbered, so that none is lost in silence.
//!
//! In: publications that are sent, and headings that arrive. Out: their numbers; how many did not arrive. Invariant: of
//! what a node published to another each is delivered once, or counted as missed (promise 18): behind whatever arrives
//! next, if only a ping.

/// The way to a node.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outbound {
    published: u64,
}

impl Outbound {
    /// The number of a publication that goes now.
    pub(crate) fn next(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// So many publications did not even go: they are missed.
    pub(crate) fn pass(&mut self, publications: u64) {
        self.published += publications;
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
    /// A publication with this number is here.
    pub(crate) fn publication(&mut self, number: u64) -> Followed {
        if number <= self.arrived {
            return Followed::Late;
        }
        let missed = number - self.arrived - 1;
        self.arrived = number;
        self.missed = self.missed.saturating_add(missed);
        Followed::Behind(missed)
    }

    /// Something else is here, behind so many publications. Gives how many of those are missing.
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
        fn promise_18_each_publication_is_delivered_once_or_counted_as_missed(
            order in proptest::collection::vec((1..40_u64, any::<bool>()), 0..200),
        ) {
            let mut inbound = Inbound::default();
            let (mut delivered, mut missed, mut highest) = (Vec::new(), 0, 0);
            for (number, is_publication) in order {
                highest = highest.max(number);
                if is_publication {
                    if let Followed::Behind(more) = inbound.publication(number) {
                        missed += more;
                        delivered.push(number);
                    }
                } else {
                    missed += inbound.other(number);
                }
            }
            prop_assert!(delivered.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(delivered.len() as u64 + missed, highest);
            prop_assert_eq!(missed, inbound.missed());
        }
    }
}
