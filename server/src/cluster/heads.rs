//! The cluster's record of the audits: of each chain how far it had come, as its node has said in the bucket.
//!
//! In: entries of the bucket, as they come. Out: what a chain must have in it, and which chains there are. A chain is
//! known by the hash of its first record, so that it is the same one after a restart, and another one where it was
//! begun anew. Invariant: what was seen of a chain is never taken back here: an entry that says less than an earlier
//! one, or is taken out, is told, and the earlier one counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// So many notes of a chain are kept in mind: whoever can write another's note in NATS makes many, to hide one.
const MOST: usize = 8;

#[derive(Debug, Clone)]
struct Known {
    /// The oldest first, which are kept, and the newest; fewer in between.
    noted: Vec<Noted>,
    /// What is wrong with the entry, as far as that was seen.
    problem: Option<String>,
    /// Of the entry; `None` where it was taken out.
    revision: Option<u64>,
}

/// All chains that were noted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heads(BTreeMap<String, Known>);

/// Which chain a key is of.
pub(super) fn chain(key: &str) -> Option<&str> {
    key.strip_prefix("audit.")
}

/// Where a chain's entry is.
pub(crate) fn key(chain: &str) -> String {
    format!("audit.{chain}")
}

impl Heads {
    /// An entry has come; `None` where it was deleted.
    pub(crate) fn saw(&mut self, chain: &str, noted: Option<Noted>, revision: u64) {
        let Some(noted) = noted else {
            if let Some(known) = self.0.get_mut(chain) {
                tracing::error!(chain, "what is noted of an audit was taken out of the bucket");
                known.revision = None;
            }
            return;
        };
        let Some(known) = self.0.get_mut(chain) else {
            let known = Known { noted: vec![noted], problem: None, revision: Some(revision) };
            self.0.insert(chain.to_owned(), known);
            return;
        };
        known.revision = Some(revision);
        let Some(last) = known.noted.last() else { return };
        let is_behind = noted.sequence < last.sequence;
        let is_other = noted.sequence == last.sequence && noted.hash != last.hash;
        if is_behind || is_other {
            let problem = format!(
                "record {} with the hash {} was noted, and then record {} with {}",
                last.sequence, last.hash, noted.sequence, noted.hash
            );
            tracing::error!(chain, problem, "what is noted of an audit was changed");
            known.problem.get_or_insert(problem);
        } else if noted.sequence > last.sequence {
            known.noted.push(noted);
            if known.noted.len() > MOST {
                known.noted.remove(MOST / 2);
            }
        }
    }

    /// Each chain with the hashes that must be in it.
    pub(crate) fn hashes(&self) -> Vec<(String, Vec<String>)> {
        let hashes = |known: &Known| known.noted.iter().map(|noted| noted.hash.clone()).collect();
        self.0.iter().map(|(chain, known)| (chain.clone(), hashes(known))).collect()
    }

    /// What is noted last of a chain, and what is wrong with that.
    pub(crate) fn of(&self, chain: &str) -> Option<(&Noted, Option<&str>)> {
        let known = self.0.get(chain)?;
        Some((known.noted.last()?, known.problem.as_deref()))
    }

    /// The revision of a chain's entry, where it is in the bucket.
    pub(super) fn revision(&self, chain: &str) -> Option<u64> {
        self.0.get(chain).and_then(|known| known.revision)
    }

    /// Chains that were noted, and are none of these.
    pub(crate) fn others<'a>(
        &'a self,
        here: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a Noted)> + 'a {
        let others = self.0.iter().filter(|(chain, _)| !here.contains(chain));
        others.filter_map(|(chain, known)| Some((chain.as_str(), known.noted.last()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(sequence: u64, hash: u8) -> Noted {
        Noted { node: "a".to_owned(), sequence, hash: format!("{hash:02x}").repeat(32) }
    }

    #[test]
    fn what_was_noted_of_a_chain_is_never_taken_back() {
        let mut heads = Heads::default();
        heads.saw("c", Some(noted(5, 1)), 10);
        heads.saw("c", Some(noted(7, 2)), 11);
        heads.saw("c", Some(noted(7, 2)), 12);
        assert_eq!((heads.of("c"), heads.revision("c")), (Some((&noted(7, 2), None)), Some(12)));
        for (revision, less) in [(13, noted(6, 3)), (14, noted(7, 4))] {
            heads.saw("c", Some(less), revision);
            let (known, problem) = heads.of("c").unwrap();
            assert_eq!(known, &noted(7, 2));
            let problem = problem.unwrap();
            assert!(problem.contains("record 7") && problem.contains("record 6 with 0303"), "{problem}");
        }
        heads.saw("c", Some(noted(9, 5)), 15);
        assert!(heads.of("c").unwrap().1.is_some(), "what is said later mends nothing");
        heads.saw("c", None, 16);
        assert_eq!((heads.revision("c"), heads.of("c").map(|(noted, _)| noted.sequence)), (None, Some(9)));
        assert_eq!(heads.others(&[]).collect::<Vec<_>>(), [("c", &noted(9, 5))]);
        assert_eq!(heads.others(&["c".to_owned()]).count(), 0);
    }

    #[test]
    fn of_many_notes_the_oldest_and_the_newest_are_kept() {
        let mut heads = Heads::default();
        for sequence in 1..=200_u8 {
            heads.saw("c", Some(noted(sequence.into(), sequence)), sequence.into());
        }
        let kept: Vec<_> =
            heads.hashes()[0].1.iter().map(|hash| u8::from_str_radix(&hash[..2], 16).unwrap()).collect();
        assert_eq!(kept, [1, 2, 3, 4, 197, 198, 199, 200]);
    }
}
