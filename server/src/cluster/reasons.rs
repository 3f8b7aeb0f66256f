//! Why something is about to be ended: what those are told who are put out for it.
//!
//! In: an entry's key with the reason, from the node where it was asked for, before the entry is deleted; the key again
//! when it is. Out: the reason. The end of an entry has no room for one, and earlier versions could not read an entry
//! that had. Invariants: few are kept, and not for long, so that none is told for another end of the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::reason;

/// So many are kept.
const MOST: usize = 256;

/// For so long: a decision that takes longer is not made.
const KEPT: Duration = Duration::from_secs(30);

/// A key is shorter.
const MOST_KEY: usize = 128;

/// Reasons for what is about to be ended.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    /// The oldest first.
    kept: VecDeque<(String, String, Instant)>,
}

impl Reasons {
    /// What has this key is about to be ended for that. What no node would say is not kept.
    pub(super) fn add(&mut self, key: String, text: String, now: Instant) {
        if key.len() > MOST_KEY || reason::check(&text).is_err() {
            return;
        }
        self.kept.retain(|(other, ..)| *other != key);
        while self.kept.len() >= MOST {
            self.kept.pop_front();
        }
        self.kept.push_back((key, text, now));
    }

    /// It is ended: why, where that is known.
    pub(super) fn take(&mut self, key: &str, now: Instant) -> Option<String> {
        self.kept.retain(|(_, _, since)| now < *since + KEPT);
        let at = self.kept.iter().position(|(other, ..)| other == key)?;
        self.kept.remove(at).map(|(_, text, _)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_soon_and_for_what_it_is_of() {
        let (mut reasons, now) = (Reasons::default(), Instant::now());
        reasons.add("a".to_owned(), "one".to_owned(), now);
        reasons.add("b".to_owned(), "two".to_owned(), now);
        reasons.add("b".to_owned(), "three".to_owned(), now);
        assert_eq!(reasons.take("c", now), None);
        assert_eq!(reasons.take("b", now).as_deref(), Some("three"));
        assert_eq!(reasons.take("b", now), None);
        assert_eq!(reasons.take("a", now + KEPT), None, "it was of another end");
        reasons.add("long".to_owned(), "x".repeat(10_000), now);
        assert_eq!(reasons.take("long", now), None);
        for number in 0..1_000 {
            reasons.add(number.to_string(), String::new(), now);
        }
        assert_eq!(reasons.kept.len(), MOST);
    }
}
