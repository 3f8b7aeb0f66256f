//! What is written down of operators' acts: a mark before each, a record behind it, and the chain of records.
//!
//! In: acts as they begin and end. Out: records on the disk, and whether their chain is whole. Invariant: an act that was
//! begun has a record before the next one begins, also when the disk failed in between or the server ended (promise 11;
//! test `an_act_that_could_not_be_recorded_is_recorded_before_the_next`).

use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_protocol::admin::{BanRow, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::BanKey;
use crate::audit::{self, Head, Outcome, Record};
use crate::store::{Change, Store, StoreError};

/// The store, and the newest record in it.
pub(crate) struct Ledger {
    store: Box<dyn Store>,
    head: Head,
    /// Begun, and without a record.
    unrecorded: Option<Pending>,
}

/// An act that has begun, as its mark in the store has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) author: String,
    pub(crate) role: Role,
    pub(crate) act: Value,
}

impl Ledger {
    /// Goes on where the store ends. Gives the bans in it, too.
    pub(crate) fn open(store: Box<dyn Store>) -> Result<(Self, Vec<BanRow>), StoreError> {
        let kept = store.load()?;
        let unrecorded = kept.pending.map(|pending| {
            // Written by ourselves; where it cannot be read, it is recorded as it is.
            serde_json::from_slice(&pending).unwrap_or_else(|_| Pending {
                author: "unknown".to_owned(),
                role: Role::Operator,
                act: Value::String(String::from_utf8_lossy(&pending).into_owned()),
            })
        });
        let mut ledger = Self { store, head: kept.head, unrecorded };
        ledger.settle()?;
        Ok((ledger, kept.bans))
    }

    /// Records what was begun and has no record. Without that nothing else may begin.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(pending) = self.unrecorded.clone() {
            self.record(&pending, &Outcome::Interrupted, Vec::new())?;
        }
        Ok(())
    }

    /// Marks that an act begins, and in the same commit writes down what it forbids.
    pub(crate) fn begin(&mut self, pending: &Pending, ban: Option<&BanRow>) -> Result<(), StoreError> {
        // Texts and numbers: there is nothing in it that JSON does not have.
        let mark = serde_json::to_vec(pending).unwrap_or_default();
        self.store.commit(Change { put: ban, pending: Some(&mark), ..Change::default() })?;
        self.unrecorded = Some(pending.clone());
        Ok(())
    }

    /// The number that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.head.sequence + 1
    }

    /// The newest record.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Writes a record, and in the same commit forgets the bans that it lifts.
    pub(crate) fn record(
        &mut self,
        pending: &Pending,
        outcome: &Outcome,
        lift: Vec<BanKey>,
    ) -> Result<(), StoreError> {
        let sequence = self.next();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let bytes = Record {
            sequence,
            at_ms: u64::try_from(at).unwrap_or(u64::MAX),
            author: &pending.author,
            role: pending.role,
            act: &pending.act,
            outcome,
            previous: audit::hex(&self.head.hash),
        }
        .bytes();
        let head = Head { sequence, hash: audit::hash(&bytes) };
        self.store.commit(Change { lift, record: Some((&bytes, head)), ..Change::default() })?;
        self.head = head;
        self.unrecorded = None;
        Ok(())
    }

    /// Copies the store aside.
    pub(crate) fn backup(&self) -> Result<(), StoreError> {
        self.store.backup()
    }

    /// Forgets bans that have ended. Their records stay.
    pub(crate) fn forget(&self, ended: Vec<BanKey>) -> Result<(), StoreError> {
        self.store.commit(Change { lift: ended, ..Change::default() })
    }

    /// Records with higher numbers than `after`, at most `limit`.
    pub(crate) fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.store.records(after, limit)
    }

    /// The newest record as the disk has it.
    pub(crate) fn head_on_disk(&self) -> Result<Head, StoreError> {
        self.store.head()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use fanfare_protocol::admin::Receipt;
    use parking_lot::Mutex;

    use super::*;
    use crate::audit::Chain;
    use crate::store::Kept;

    /// A store in memory, whose disk can be made to fail.
    #[derive(Clone, Default)]
    struct Failing {
        broken: Arc<AtomicBool>,
        records: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
        head: Arc<Mutex<Head>>,
        pending: Arc<Mutex<Option<Vec<u8>>>>,
    }

    impl Store for Failing {
        fn load(&self) -> Result<Kept, StoreError> {
            Ok(Kept { bans: Vec::new(), head: self.head()?, pending: self.pending.lock().clone() })
        }

        fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
            if self.broken.load(Ordering::Relaxed) {
                let source = std::io::Error::other("no space left");
                return Err(StoreError::Io { path: "bans.redb".into(), source });
            }
            if let Some(pending) = change.pending {
                *self.pending.lock() = Some(pending.to_vec());
            }
            if let Some((bytes, head)) = change.record {
                self.records.lock().insert(head.sequence, bytes.to_vec());
                *self.head.lock() = head;
                *self.pending.lock() = None;
            }
            Ok(())
        }

        fn backup(&self) -> Result<(), StoreError> {
            Ok(())
        }

        fn head(&self) -> Result<Head, StoreError> {
            Ok(*self.head.lock())
        }

        fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
            let records = self.records.lock();
            Ok(records
                .range(after + 1..)
                .take(limit)
                .map(|(number, bytes)| (*number, bytes.clone()))
                .collect())
        }
    }

    fn act(author: &str) -> Pending {
        Pending { author: author.to_owned(), role: Role::Operator, act: Value::from("ban") }
    }

    fn authors_and_outcomes(store: &Failing) -> Vec<(String, String)> {
        let records = store.records(0, 99).unwrap();
        let mut chain = Chain::new(None);
        let told = records.iter().map(|(number, bytes)| {
            chain.follow(*number, bytes);
            let record: Value = serde_json::from_slice(bytes).unwrap();
            let outcome = record["outcome"].as_str().map_or("done", |outcome| outcome);
            (record["author"].as_str().unwrap().to_owned(), outcome.to_owned())
        });
        let told = told.collect();
        assert!(chain.verdict(store.head().unwrap()).whole);
        told
    }

    #[test]
    fn an_act_that_could_not_be_recorded_is_recorded_before_the_next() {
        let store = Failing::default();
        let (mut ledger, _) = Ledger::open(Box::new(store.clone())).unwrap();
        let done = Outcome::Done(Receipt::default());
        ledger.begin(&act("first"), None).unwrap();
        store.broken.store(true, Ordering::Relaxed);
        assert!(ledger.record(&act("first"), &done, Vec::new()).is_err());
        assert!(ledger.settle().is_err(), "nothing else may begin");
        store.broken.store(false, Ordering::Relaxed);
        ledger.settle().unwrap();
        ledger.begin(&act("second"), None).unwrap();
        ledger.record(&act("second"), &done, Vec::new()).unwrap();
        let expected = [("first", "interrupted"), ("second", "done")];
        assert_eq!(authors_and_outcomes(&store), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn an_act_that_the_end_of_the_server_cut_off_is_recorded_at_the_next_start() {
        let store = Failing::default();
        let (mut ledger, _) = Ledger::open(Box::new(store.clone())).unwrap();
        ledger.begin(&act("first"), None).unwrap();
        drop(ledger);
        drop(Ledger::open(Box::new(store.clone())).unwrap());
        assert_eq!(authors_and_outcomes(&store), [("first".to_owned(), "interrupted".to_owned())]);
        *store.pending.lock() = Some(b"not json".to_vec());
        drop(Ledger::open(Box::new(store.clone())).unwrap());
        assert_eq!(authors_and_outcomes(&store).last().unwrap().0, "unknown");
    }
}
