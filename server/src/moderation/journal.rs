//! What is written down of operators' moderation: a mark before each, a record behind it, and the chain of records.
//!
//! In: acts as they begin and end. Out: records on the disk, and whether their chain is whole. Invariants: an act that
//! was begun has a record before the next one begins, also when the disk failed in between or the server ended (promise
//! 11; test `an_act_that_could_not_be_recorded_is_recorded_before_the_next`); a store that failed is opened again and
//! made what was answered, before anything else is written to it (test
//! `what_a_disk_says_after_it_failed_is_what_was_answered`).

use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_protocol::admin::Role;
use fanfare_protocol::{GroupName, UserName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audit::{self, Hash, Head, Outcome, Record};
use super::store::{Change, Standing, Store, StoreError};
use crate::access::{BanKey, StoredKey};

/// The store, and the newest record in it.
pub(crate) struct Journal {
    store: Box<dyn Store>,
    head: Head,
    /// The hash of the first record, by which the chain is known.
    first: Option<Hash>,
    /// Begun, and without a record; with how it ended, where that is known.
    unrecorded: Option<(Pending, Outcome)>,
    /// Why nothing can be written; `None` while all is well.
    trouble: Option<String>,
}

/// An act that has begun, as its mark in the store has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) author: String,
    pub(crate) role: Role,
    pub(crate) act: Value,
}

impl Journal {
    /// Goes on where the store ends. Gives what stands in it, too.
    pub(crate) fn open(store: Box<dyn Store>) -> Result<(Self, Standing), StoreError> {
        let kept = store.load()?;
        let unrecorded = kept.pending.map(|pending| {
            // Written by ourselves; where it cannot be read, it is recorded as it is.
            serde_json::from_slice(&pending).unwrap_or_else(|_| Pending {
                author: "unknown".to_owned(),
                role: Role::Operator,
                act: Value::String(String::from_utf8_lossy(&pending).into_owned()),
            })
        });
        let unrecorded = unrecorded.map(|pending| (pending, Outcome::Interrupted));
        let first = store.records(0, 1)?.first().map(|(_, bytes)| audit::hash(bytes));
        let mut journal = Self { store, head: kept.head, first, unrecorded, trouble: None };
        journal.settle()?;
        Ok((journal, kept.standing))
    }

    /// Records what was begun and has no record. Without that nothing else may begin.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        if let Some((pending, outcome)) = self.unrecorded.clone() {
            self.record(&pending, &outcome, Change::default())?;
        }
        Ok(())
    }

    /// Why nothing can be written now, if that is so.
    pub(crate) fn trouble(&mut self) -> Option<&str> {
        if self.trouble.is_none() {
            self.trouble = self.store.failure();
        }
        self.trouble.as_deref()
    }

    /// Makes a store that failed fit for use again, if it can be: what was answered is in it, and nothing else.
    /// `in_force` is what was answered: bans and memberships that have not ended, and keys.
    pub(crate) fn mend(&mut self, in_force: impl FnOnce() -> Standing) -> Result<(), StoreError> {
        if self.trouble().is_none() {
            return Ok(());
        }
        let mark = match &self.unrecorded {
            Some((pending, Outcome::Interrupted)) => Some(mark(pending)),
            // A refusal has none, and at the next start would look like something that had been done.
            _ => None,
        };
        let mended = self
            .store
            .reopen()
            .and_then(|()| self.store.restore(&in_force(), self.head, mark.as_deref()))
            .and_then(|()| self.settle());
        self.trouble = mended.as_ref().err().map(ToString::to_string);
        mended
    }

    /// Marks that an act begins, and in the same commit writes down what it decides.
    pub(crate) fn begin(&mut self, pending: &Pending, with: Change<'_>) -> Result<(), StoreError> {
        let mark = mark(pending);
        self.store.commit(Change { pending: Some(&mark), ..with })?;
        self.unrecorded = Some((pending.clone(), Outcome::Interrupted));
        Ok(())
    }

    /// Records that something was refused. Where that fails, it is recorded before the next act.
    pub(crate) fn refuse(&mut self, pending: &Pending, refusal: Outcome) -> Result<(), StoreError> {
        let recorded = self.record(pending, &refusal, Change::default());
        if recorded.is_err() && self.unrecorded.is_none() {
            self.unrecorded = Some((pending.clone(), refusal));
        }
        recorded
    }

    /// The number that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.head.sequence + 1
    }

    /// The newest record.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Writes a record, and in the same commit what changes with it: bans that are lifted, keys that come or go.
    pub(crate) fn record(
        &mut self,
        pending: &Pending,
        outcome: &Outcome,
        with: Change<'_>,
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
        self.store.commit(Change { record: Some((&bytes, head)), ..with })?;
        self.head = head;
        self.first.get_or_insert(head.hash);
        self.unrecorded = None;
        Ok(())
    }

    /// What the chain is known by: the beginning of the hash of its first record, in hex. `None` where there is none.
    pub(crate) fn chain(&self) -> Option<String> {
        let hash = audit::hex(&self.first?);
        hash.get(..16).map(str::to_owned)
    }

    /// Copies the store aside.
    pub(crate) fn backup(&self) -> Result<(), StoreError> {
        self.store.backup()
    }

    /// Forgets bans that have ended. Their records stay.
    pub(crate) fn forget(&self, ended: Vec<BanKey>) -> Result<(), StoreError> {
        self.store.commit(Change { lift: ended, ..Change::default() })
    }

    /// Forgets lasting memberships that have ended. Their records stay.
    pub(crate) fn forget_lasting(&self, ended: Vec<(UserName, GroupName)>) -> Result<(), StoreError> {
        self.store.commit(Change { drop_lasting: ended, ..Change::default() })
    }

    /// Writes down what was decided elsewhere: a copy.
    pub(crate) fn copy(&self, change: Change<'_>) -> Result<(), StoreError> {
        self.store.commit(change)
    }

    /// Makes the copy what stands: exactly this.
    pub(crate) fn copy_all(&self, standing: &Standing) -> Result<(), StoreError> {
        let mark = match &self.unrecorded {
            Some((pending, Outcome::Interrupted)) => Some(mark(pending)),
            _ => None,
        };
        self.store.restore(standing, self.head, mark.as_deref())
    }

    /// Writes keys anew of which no more has changed than when they were used.
    pub(crate) fn note(&self, used: Vec<StoredKey>) -> Result<(), StoreError> {
        self.store.commit(Change { put_keys: used, ..Change::default() })
    }

    /// Records with higher numbers than `after`, at most `limit`. They can be read where nothing can be written, too.
    pub(crate) fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut records = self.store.records(after, limit)?;
        // One whose writing had been said to fail is none.
        records.retain(|(number, _)| *number <= self.head.sequence);
        Ok(records)
    }

    /// The newest record as the disk has it.
    pub(crate) fn head_on_disk(&self) -> Result<Head, StoreError> {
        let head = self.store.head()?;
        // What lies behind the newest that was answered is none of ours, and goes when the store can be written again.
        let doubtful = self.trouble.is_some() || self.store.failure().is_some();
        Ok(if doubtful && head.sequence > self.head.sequence { self.head } else { head })
    }
}

fn mark(pending: &Pending) -> Vec<u8> {
    // Texts and numbers: there is nothing in it that JSON does not have.
    serde_json::to_vec(pending).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use fanfare_protocol::UserName;
    use fanfare_protocol::admin::{BanKind, BanRow, Receipt};

    use super::*;
    use crate::moderation::audit::Chain;
    use crate::moderation::tests::Disk;

    fn act(author: &str) -> Pending {
        Pending { author: author.to_owned(), role: Role::Operator, act: Value::from("ban") }
    }

    fn forbid(ban: &BanRow) -> Change<'_> {
        Change { put: Some(ban), ..Change::default() }
    }

    fn standing(ban: &BanRow) -> Standing {
        Standing { bans: vec![ban.clone()], ..Standing::default() }
    }

    fn authors_and_outcomes(store: &Disk) -> Vec<(String, String)> {
        let records = store.records(0, 99).unwrap();
        let mut chain = Chain::new(&[]);
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
        let store = Disk::default();
        let (mut journal, _) = Journal::open(Box::new(store.clone())).unwrap();
        let done = Outcome::Done(Receipt::default());
        journal.begin(&act("first"), Change::default()).unwrap();
        store.broken.store(true, Ordering::Relaxed);
        assert!(journal.record(&act("first"), &done, Change::default()).is_err());
        assert!(journal.settle().is_err(), "nothing else may begin");
        store.broken.store(false, Ordering::Relaxed);
        journal.settle().unwrap();
        journal.begin(&act("second"), Change::default()).unwrap();
        journal.record(&act("second"), &done, Change::default()).unwrap();
        let expected = [("first", "interrupted"), ("second", "done")];
        assert_eq!(authors_and_outcomes(&store), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn what_a_disk_says_after_it_failed_is_what_was_answered() {
        let store = Disk::default();
        let (mut journal, _) = Journal::open(Box::new(store.clone())).unwrap();
        let done = Outcome::Done(Receipt::default());
        let ban = |user: &str| BanRow {
            kind: BanKind::User,
            user: Some(UserName::new(user).unwrap()),
            groups: None,
            jti: None,
            since: 1,
            until: None,
            reason: String::new(),
            author: "oncall".to_owned(),
        };
        let kept = ban("alice");
        journal.begin(&act("kept"), forbid(&kept)).unwrap();
        journal.record(&act("kept"), &done, Change::default()).unwrap();

        // A ban of which it was said that it failed.
        store.lies.store(true, Ordering::Relaxed);
        assert!(journal.begin(&act("not done"), forbid(&ban("bob"))).is_err());
        assert!(journal.trouble().is_some());
        assert_eq!(store.bans.lock().len(), 2, "it came through all the same");
        // As long as the disk fails there is trouble, and then no more.
        store.broken.store(true, Ordering::Relaxed);
        assert!(journal.mend(|| standing(&kept)).is_err());
        assert!(journal.trouble().is_some_and(|why| why.contains("no space left")));
        store.broken.store(false, Ordering::Relaxed);
        journal.mend(|| standing(&kept)).unwrap();
        assert_eq!((journal.trouble(), &*store.bans.lock()), (None, &vec![kept.clone()]));

        // One that was lifted, and was said not to be.
        store.lies.store(true, Ordering::Relaxed);
        assert!(
            journal
                .record(
                    &act("not lifted"),
                    &done,
                    Change { lift: vec![BanKey::from(&kept)], ..Change::default() }
                )
                .is_err()
        );
        journal.mend(|| standing(&kept)).unwrap();
        assert_eq!(*store.bans.lock(), vec![kept.clone()]);

        // An act that was done, and whose record was said not to be written.
        journal.begin(&act("done"), Change::default()).unwrap();
        store.lies.store(true, Ordering::Relaxed);
        assert!(journal.record(&act("done"), &done, Change::default()).is_err());
        assert_eq!(journal.records(0, 9).unwrap().len(), 1, "nobody is shown what may not stay");
        journal.mend(|| standing(&kept)).unwrap();

        // A refusal that could not be recorded.
        store.lies.store(true, Ordering::Relaxed);
        let refusal = Outcome::Refused { code: 3012, message: "no".to_owned() };
        assert!(journal.refuse(&act("refused"), refusal).is_err());
        journal.mend(|| standing(&kept)).unwrap();
        let told = authors_and_outcomes(&store);
        let authors: Vec<&str> = told.iter().map(|(author, _)| author.as_str()).collect();
        assert_eq!(authors, ["kept", "done", "refused"]);
        assert_eq!(told[1].1, "interrupted");
    }

    /// With the head on the disk the chain's check finds what somebody cut off or wrote behind the server's back. Only
    /// what a store may have written when it said that it failed is nobody's news, until it is known.
    #[test]
    fn the_newest_record_is_the_disks_but_for_what_a_store_that_failed_may_have_written() {
        let store = Disk::default();
        let (mut journal, _) = Journal::open(Box::new(store.clone())).unwrap();
        let done = Outcome::Done(Receipt::default());
        journal.begin(&act("kept"), Change::default()).unwrap();
        journal.record(&act("kept"), &done, Change::default()).unwrap();
        let kept = journal.head();
        assert_eq!((journal.head_on_disk().unwrap(), kept.sequence), (kept, 1));
        let other = |sequence| Head { sequence, hash: audit::hash(b"somebody else's") };
        for found in [other(0), other(1), other(2)] {
            *store.head.lock() = found;
            assert_eq!(journal.head_on_disk().unwrap(), found, "all is well, so it is what is there");
        }
        *store.head.lock() = kept;

        journal.begin(&act("not recorded"), Change::default()).unwrap();
        store.lies.store(true, Ordering::Relaxed);
        assert!(journal.record(&act("not recorded"), &done, Change::default()).is_err());
        let written = *store.head.lock();
        assert_eq!(written.sequence, 2, "it came through all the same");
        assert_eq!(journal.head_on_disk().unwrap(), kept, "the store says that it failed");
        assert!(journal.trouble().is_some());
        store.closed.store(false, Ordering::Relaxed);
        assert_eq!(journal.head_on_disk().unwrap(), kept, "it works again, and is not mended yet");
        for found in [other(0), other(1)] {
            *store.head.lock() = found;
            assert_eq!(journal.head_on_disk().unwrap(), found, "what had been answered is not there");
        }
        *store.head.lock() = written;
        journal.mend(Standing::default).unwrap();
        assert_eq!((journal.head_on_disk().unwrap(), journal.head().sequence), (journal.head(), 2));
        assert_ne!(journal.head(), written, "it is recorded as interrupted");
        store.unreadable.store(true, Ordering::Relaxed);
        assert!(journal.head_on_disk().is_err());
    }

    #[test]
    fn an_act_that_the_end_of_the_server_cut_off_is_recorded_at_the_next_start() {
        let store = Disk::default();
        let (mut journal, _) = Journal::open(Box::new(store.clone())).unwrap();
        journal.begin(&act("first"), Change::default()).unwrap();
        drop(journal);
        drop(Journal::open(Box::new(store.clone())).unwrap());
        assert_eq!(authors_and_outcomes(&store), [("first".to_owned(), "interrupted".to_owned())]);
        *store.pending.lock() = Some(b"not json".to_vec());
        drop(Journal::open(Box::new(store.clone())).unwrap());
        assert_eq!(authors_and_outcomes(&store).last().unwrap().0, "unknown");
    }
}
