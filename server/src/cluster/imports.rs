//! What this node's own disk has of decisions and the cluster has not: brought into it, so many at a time.
//!
//! In: decisions, when it is known what the cluster has; how each put ended. Out: what is to be put next. Invariant:
//! what could not be put, or was not answered, is put again; nothing is left only when the cluster has all of it, or has
//! decided otherwise.

use std::collections::VecDeque;

use crate::moderation::{Decision, Moderation, Standing};

/// So many are on their way at a time. Heartbeats go beside them.
const AT_ONCE: usize = 8;

/// What this node's own disk has: to be looked at before anything of the bucket takes its place.
pub(super) fn of_disk(moderation: &Moderation) -> Vec<Decision> {
    let Standing { bans, lasting, keys } = moderation.standing();
    let decisions = bans.into_iter().map(Decision::Ban).chain(lasting.into_iter().map(Decision::Lasting));
    decisions.chain(keys.into_iter().map(Decision::Key)).collect()
}

#[derive(Debug, Default)]
pub(super) struct Imports {
    waiting: VecDeque<Decision>,
    on_their_way: usize,
    settled: u64,
}

impl Imports {
    pub(super) fn add(&mut self, decision: Decision) {
        self.waiting.push_back(decision);
    }

    /// The next that is to be put now.
    pub(super) fn next(&mut self) -> Option<Decision> {
        let next = self.waiting.pop_front_if(|_| self.on_their_way < AT_ONCE)?;
        self.on_their_way += 1;
        Some(next)
    }

    /// One is in the cluster, or is not to be there.
    pub(super) fn settle(&mut self) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        self.settled += 1;
    }

    /// One is not known to be there.
    pub(super) fn again(&mut self, decision: Decision) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        self.waiting.push_back(decision);
    }

    /// How many are not in the cluster yet.
    pub(super) fn left(&self) -> usize {
        self.waiting.len() + self.on_their_way
    }

    /// How many are.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_on_their_way_and_what_was_not_answered_is_put_again() {
        let mut imports = Imports::default();
        let decision = |number: usize| Decision::DropKey(number.to_string());
        for number in 0..=AT_ONCE {
            imports.add(decision(number));
        }
        for number in 0..AT_ONCE {
            assert_eq!(imports.next(), Some(decision(number)));
        }
        assert_eq!((imports.next(), imports.left()), (None, AT_ONCE + 1));
        imports.again(decision(0));
        assert_eq!((imports.next(), imports.next()), (Some(decision(AT_ONCE)), None));
        for left in (1..=AT_ONCE).rev() {
            imports.settle();
            assert_eq!(imports.left(), left);
        }
        assert_eq!(imports.next(), Some(decision(0)));
        imports.settle();
        assert_eq!((imports.next(), imports.left(), imports.settled()), (None, 0, AT_ONCE as u64 + 1));
    }
}
