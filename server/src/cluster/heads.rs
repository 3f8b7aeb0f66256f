//! The cluster's record of the audits: of each chain how far it had come, as its node has said in the bucket.
//!
//! In: entries of the bucket, as they come. Out: what a chain must have in it, and which chains there are. A chain is
//! known by the hash of its first record, so that it is the same one after a restart, and another one where it was begun
//! anew. Invariant: what was seen of a chain is never taken back here: an entry that says less than an earlier one is
//! told, and the earlier one counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moderation::Head;

/// What an entry says of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// By which name operators know its node.
    pub(crate) node: String,
    /// The number of its newest record then.
    pub(crate) sequence: u64,
    /// That record's hash.
    pub(crate) hash: String,
}

#[derive(Debug)]
struct Known {
    noted: Noted,
    /// What is wrong with the entry, as far as that was seen.
    problem: Option<String>,
    /// It is in the bucket no more: an operator has taken it out, or somebody who should not have.
    is_gone: bool,
}

/// All chains that were noted.
#[derive(Debug, Default)]
pub(crate) struct Heads(BTreeMap<String, Known>);

/// Which chain a key is of.
pub(super) fn chain(key: &str) -> Option<&str> {
    key.strip_prefix("audit.")
}

/// Where a chain's entry is.
pub(super) fn key(chain: &str) -> String {
    format!("audit.{chain}")
}

impl Heads {
    /// An entry has come; `None` where it was deleted.
    pub(crate) fn saw(&mut self, chain: &str, noted: Option<Noted>) {
        let Some(noted) = noted else {
            if let Some(known) = self.0.get_mut(chain) {
                known.is_gone = true;
            }
            return;
        };
        let Some(known) = self.0.get_mut(chain) else {
            self.0.insert(chain.to_owned(), Known { noted, problem: None, is_gone: false });
            return;
        };
        known.is_gone = false;
        let is_behind = noted.sequence < known.noted.sequence;
        let is_other = noted.sequence == known.noted.sequence && noted.hash != known.noted.hash;
        if is_behind || is_other {
            let problem = format!(
                "its last record was number {} with the hash {}, and then it was said to be number {} with {}",
                known.noted.sequence, known.noted.hash, noted.sequence, noted.hash
            );
            tracing::error!(node = noted.node, problem, "what is noted of an audit was changed");
            known.problem.get_or_insert(problem);
        } else {
            known.noted = noted;
        }
    }

    /// Whether a chain can have come from what was noted of it to this head, as far as the two show.
    pub(super) fn problem(&self, chain: &str, head: Head) -> Option<String> {
        let known = self.0.get(chain)?;
        let Noted { sequence, hash, .. } = &known.noted;
        let is_cut = head.sequence < *sequence;
        let is_other = head.sequence == *sequence && head.hex() != *hash;
        let now = (is_cut || is_other).then(|| {
            format!(
                "its last record was number {sequence} with the hash {hash}, and is number {} with {}",
                head.sequence,
                head.hex()
            )
        });
        now.or_else(|| known.problem.clone())
    }

    /// Each chain with the hash that must be in it.
    pub(crate) fn hashes(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(chain, known)| (chain.clone(), known.noted.hash.clone())).collect()
    }

    /// What is noted of a chain, and what is wrong with that.
    pub(crate) fn of(&self, chain: &str) -> Option<(&Noted, Option<&str>)> {
        self.0.get(chain).map(|known| (&known.noted, known.problem.as_deref()))
    }

    /// Chains that are still noted, and are none of these.
    pub(crate) fn others<'a>(&'a self, here: &'a [String]) -> impl Iterator<Item = &'a Noted> + 'a {
        let others = self.0.iter().filter(|(chain, known)| !known.is_gone && !here.contains(chain));
        others.map(|(_, known)| &known.noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(sequence: u64, hash: u8) -> Noted {
        Noted { node: "a".to_owned(), sequence, hash: format!("{hash:02x}").repeat(32) }
    }

    fn head(sequence: u64, hash: u8) -> Head {
        Head { sequence, hash: [hash; 32] }
    }

    #[test]
    fn what_was_noted_of_a_chain_is_never_taken_back() {
        let mut heads = Heads::default();
        heads.saw("c", Some(noted(5, 1)));
        heads.saw("c", Some(noted(7, 2)));
        assert_eq!(heads.of("c"), Some((&noted(7, 2), None)));
        for less in [noted(6, 3), noted(7, 4)] {
            heads.saw("c", Some(less));
            let (known, problem) = heads.of("c").unwrap();
            assert_eq!(known, &noted(7, 2));
            let problem = problem.unwrap();
            assert!(problem.contains("number 7") && problem.contains("number 6 with 0303"), "{problem}");
        }
        heads.saw("c", Some(noted(9, 5)));
        assert!(heads.of("c").unwrap().1.is_some(), "what is said later mends nothing");
    }

    #[test]
    fn a_chain_that_is_behind_what_was_noted_or_another_is_told() {
        let mut heads = Heads::default();
        assert_eq!(heads.problem("c", head(0, 0)), None);
        heads.saw("c", Some(noted(5, 1)));
        for (sequence, hash, is_told) in [(5, 1, false), (6, 9, false), (5, 2, true), (4, 1, true)] {
            assert_eq!(heads.problem("c", head(sequence, hash)).is_some(), is_told, "{sequence} {hash}");
        }
        heads.saw("c", Some(noted(4, 1)));
        assert!(heads.problem("c", head(6, 9)).is_some());
    }

    #[test]
    fn a_chain_that_is_on_no_node_is_named_until_an_operator_takes_it_out() {
        let mut heads = Heads::default();
        heads.saw("c", Some(noted(5, 1)));
        heads.saw("d", Some(noted(6, 1)));
        assert_eq!(heads.others(&["c".to_owned()]).collect::<Vec<_>>(), [&noted(6, 1)]);
        heads.saw("d", None);
        assert_eq!(heads.others(&["c".to_owned()]).count(), 0);
        // Where it is on a node, it must still have what was noted.
        assert!(heads.problem("d", head(5, 1)).is_some());
        heads.saw("d", Some(noted(3, 1)));
        assert!(heads.of("d").unwrap().1.is_some());
    }
}
