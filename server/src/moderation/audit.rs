//! The audit: what operators did, in records of which each carries the hash of the one before.
//!
//! In: what was done, by whom, and why. Out: the bytes of records, and whether a chain of them is whole. Invariant: a
//! record's hash is that of the bytes as they are stored, so that a check needs no understanding of what they say. What
//! the chain finds is any edit, any record taken out and any change of order; that the newest records were cut off is
//! found with the head, which is kept beside it, or, against somebody who can write both, with a head that was noted
//! elsewhere.

use aws_lc_rs::digest;
use fanfare_protocol::admin::{AuditHead, AuditVerdict, Receipt, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// Before the first record.
pub(crate) const START: Hash = [0; 32];

/// The newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its number, from 1 on; 0 where there is none.
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

impl Default for Head {
    fn default() -> Self {
        Self { sequence: 0, hash: START }
    }
}

impl Head {
    /// Its hash, as operators are told it.
    pub(crate) fn hex(&self) -> String {
        hex(&self.hash)
    }
}

impl From<Head> for AuditHead {
    fn from(head: Head) -> Self {
        Self { sequence: head.sequence, hash: hex(&head.hash) }
    }
}

/// How an act ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Done(Receipt),
    /// The number of the code, and what was said.
    Refused {
        code: u16,
        message: String,
    },
    /// The server ended between the first and the last of it. What it forbids is in force.
    Interrupted,
}

/// A record, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) author: &'a str,
    pub(crate) role: Role,
    /// The request, as it came.
    pub(crate) act: &'a Value,
    pub(crate) outcome: &'a Outcome,
    /// The hash of the record before, in hex.
    pub(crate) previous: String,
}

impl Record<'_> {
    /// The record's bytes: JSON on one line.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Texts, numbers and values with texts as keys: there is nothing in it that JSON does not have.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

pub(crate) fn hash(bytes: &[u8]) -> Hash {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut hash = START;
    hash.copy_from_slice(digest.as_ref());
    hash
}

pub(crate) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a chain record by record, from the first on.
pub(crate) struct Chain<'a> {
    found: Head,
    records: u64,
    broken: Option<String>,
    /// Those of the hashes that must be in it that were not seen yet.
    noted: Vec<&'a str>,
}

#[derive(Deserialize)]
struct Links {
    sequence: u64,
    previous: String,
}

impl<'a> Chain<'a> {
    /// `noted` are the hashes of records that must be in it, in hex.
    pub(crate) fn new(noted: &[&'a str]) -> Self {
        let noted = noted.iter().copied().filter(|noted| *noted != hex(&START)).collect();
        Self { found: Head::default(), records: 0, broken: None, noted }
    }

    /// The number of the last record that was looked at.
    pub(crate) fn last(&self) -> u64 {
        self.found.sequence
    }

    /// Looks at the next record.
    pub(crate) fn follow(&mut self, number: u64, bytes: &[u8]) {
        self.records += 1;
        let expected = self.found.sequence + 1;
        let problem = match serde_json::from_slice::<Links>(bytes) {
            Err(_) => Some(format!("record {number} is not a record")),
            Ok(_) if number != expected => Some(format!("record {expected} is missing")),
            Ok(links) if links.sequence != number => {
                Some(format!("record {number} says that it is number {}", links.sequence))
            }
            Ok(links) if links.previous != hex(&self.found.hash) => {
                Some(format!("record {number} does not follow the one before: one of the two was changed"))
            }
            Ok(_) => None,
        };
        self.broken = self.broken.take().or(problem);
        self.found = Head { sequence: number, hash: hash(bytes) };
        if !self.noted.is_empty() {
            let found = hex(&self.found.hash);
            self.noted.retain(|noted| *noted != found);
        }
    }

    /// Whether it is whole, as far as `kept`, the head that is kept beside it.
    pub(crate) fn verdict(self, kept: Head) -> AuditVerdict {
        let Self { found, records, mut broken, noted } = self;
        if broken.is_none() && found != kept {
            broken = Some(format!(
                "the last record is number {} with the hash {}, and should be number {} with {}",
                found.sequence,
                hex(&found.hash),
                kept.sequence,
                hex(&kept.hash)
            ));
        }
        if let Some(noted) = noted.first()
            && broken.is_none()
        {
            broken =
                Some(format!("no record has the hash {noted}, which was noted: the chain was made anew"));
        }
        let whole = broken.is_none();
        AuditVerdict { whole, records, head: found.into(), broken, nodes: Vec::new(), silent: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(length: u64) -> (Vec<(u64, Vec<u8>)>, Head) {
        let mut head = Head::default();
        let mut records = Vec::new();
        for sequence in 1..=length {
            let record = Record {
                sequence,
                at_ms: 1_000 * sequence,
                author: "oncall",
                role: Role::Operator,
                act: &serde_json::json!({ "ask": "ban", "user": format!("user {sequence}") }),
                outcome: &Outcome::Done(Receipt::default()),
                previous: hex(&head.hash),
            };
            let bytes = record.bytes();
            head = Head { sequence, hash: hash(&bytes) };
            records.push((sequence, bytes));
        }
        (records, head)
    }

    fn check(records: &[(u64, Vec<u8>)], kept: Head, noted: Option<&str>) -> AuditVerdict {
        let mut chain = Chain::new(&Vec::from_iter(noted));
        for (number, bytes) in records {
            chain.follow(*number, bytes);
        }
        chain.verdict(kept)
    }

    #[test]
    fn a_whole_chain_is_whole_and_an_empty_one_too() {
        for length in [0, 1, 5] {
            let (records, head) = chain(length);
            let verdict = check(&records, head, Some(&hex(&head.hash)));
            assert!(verdict.whole, "{verdict:?}");
            assert_eq!((verdict.records, verdict.head), (length, head.into()));
        }
    }

    #[test]
    fn a_chain_that_was_made_anew_is_found_with_a_noted_head() {
        let (records, head) = chain(3);
        let (shorter, cut) = chain(2);
        assert!(check(&shorter, cut, None).whole, "nothing in it is wrong");
        let noted = hex(&head.hash);
        assert!(!check(&shorter, cut, Some(&noted)).whole);
        let earlier = hex(&hash(&records[1].1));
        assert!(check(&records, head, Some(&earlier)).whole, "the head of some time ago is in it");
    }

    #[test]
    fn where_a_chain_breaks_is_told_and_how_and_the_first_place_is() {
        type Records = Vec<(u64, Vec<u8>)>;
        type Change<'a> = &'a dyn Fn(&mut Records);
        let renamed = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("user 2", "user 9").into_bytes();
        let changes: [(&str, Change<'_>); 7] = [
            ("record 2 is missing", &|records| drop(records.remove(1))),
            ("record 1 is missing", &|records| drop(records.drain(..2))),
            ("record 3 is not a record", &|records| records[2].1 = b"{}".to_vec()),
            ("record 3 says that it is number 4", &|records| records[2].1 = records[3].1.clone()),
            ("record 3 does not follow the one before", &|records| records[1].1 = renamed(&records[1].1)),
            ("the last record is number 4 ", &|records| drop(records.pop())),
            ("the last record is number 0 ", &Vec::clear),
        ];
        for (told, change) in changes {
            let (mut records, head) = chain(5);
            change(&mut records);
            let broken = check(&records, head, None).broken.unwrap();
            assert!(broken.starts_with(told), "{broken}: not {told}");
        }
    }

    proptest! {
        #[test]
        fn any_edit_cut_or_reordering_is_found(
            length in 1_u64..8, which in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(),
            flip in 1_u8..=255, how in 0..5,
        ) {
            let (mut records, head) = chain(length);
            let at = which.index(records.len());
            match how {
                0 => {
                    let bytes = &mut records[at].1;
                    let byte = byte.index(bytes.len());
                    bytes[byte] ^= flip;
                }
                1 => drop(records.remove(at)),
                // Taken out, and the rest numbered anew.
                2 => {
                    records.remove(at);
                    for (record, number) in records.iter_mut().zip(1..) {
                        record.0 = number;
                    }
                }
                3 => records.truncate(at),
                _ => {
                    let other = (at + 1) % records.len();
                    prop_assume!(other != at);
                    let moved = records[at].1.clone();
                    records[at].1 = std::mem::replace(&mut records[other].1, moved);
                }
            }
            let verdict = check(&records, head, None);
            prop_assert!(!verdict.whole && verdict.broken.is_some());
        }
    }
}
