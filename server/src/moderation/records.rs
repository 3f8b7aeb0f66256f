//! The audit, as it is read and verified.
//!
//! In: from where on, or which hashes were noted. Out: records as they were stored, or whether the chain over them is
//! whole. Invariant: acts wait for a page of it at most, however long it is.

use fanfare_protocol::admin::{AuditHead, AuditVerdict};

use super::actions::Moderation;
use super::audit::{self, Chain, Head};
use super::store::StoreError;

/// Audit records that are read at a time.
const RECORDS_AT_ONCE: usize = 1_000;

impl Moderation {
    /// The newest audit record.
    #[must_use]
    pub fn audit_head(&self) -> AuditHead {
        self.journal.lock().head().into()
    }

    /// Audit records with higher numbers than `after`, at most `limit` and never more than 1,000, as they were stored.
    ///
    /// # Errors
    /// When the store does not work.
    pub fn audit(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut journal = self.journal.lock();
        let records = journal.records(after, limit.min(RECORDS_AT_ONCE));
        if records.is_err() {
            // Told by the records' own error.
            let _ = self.mend_in(&mut journal);
        }
        records
    }

    /// What the audit's chain is known by, and its newest record, where there is one.
    pub(crate) fn chain(&self) -> Option<(String, Head)> {
        let journal = self.journal.lock();
        Some((journal.chain()?, journal.head()))
    }

    /// Whether the record with this number has this hash, in hex.
    pub(crate) fn audit_holds(&self, sequence: u64, hash: &str) -> Result<bool, StoreError> {
        let records = self.audit(sequence.saturating_sub(1), 1)?;
        let is_it =
            |(number, bytes): &(u64, Vec<u8>)| *number == sequence && audit::hex(&audit::hash(bytes)) == hash;
        Ok(sequence == 0 || records.first().is_some_and(is_it))
    }

    /// Checks the audit's chain, and that it holds a record whose hash was `noted` some time ago.
    ///
    /// # Errors
    /// When the store does not work.
    pub fn verify_audit(&self, noted: Option<&str>) -> Result<AuditVerdict, StoreError> {
        self.verify_chain(&Vec::from_iter(noted))
    }

    /// The same with several hashes.
    pub(crate) fn verify_chain(&self, noted: &[&str]) -> Result<AuditVerdict, StoreError> {
        let mut chain = Chain::new(noted);
        loop {
            // Read together, so that a short page is the end of the chain that the head belongs to; and page by page,
            // so that acts need not wait for a long chain.
            let (page, head) = {
                let mut journal = self.journal.lock();
                let read = journal
                    .records(chain.last(), RECORDS_AT_ONCE)
                    .and_then(|page| Ok((page, journal.head_on_disk()?)));
                if read.is_err() {
                    // Told by the records' own error.
                    let _ = self.mend_in(&mut journal);
                }
                read?
            };
            for (number, bytes) in &page {
                chain.follow(*number, bytes);
            }
            if page.len() < RECORDS_AT_ONCE {
                return Ok(chain.verdict(head));
            }
        }
    }
}
