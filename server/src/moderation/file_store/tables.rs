//! What the tables of the store's file are: which there are, what stands where in them, and what a change is to them.
//!
//! In: a transaction, and bans, records and marks. Out: rows; or bans, records and marks again. Invariants: a kind of
//! ban has one number for ever, and tables that look otherwise have another format; what belongs together is done in
//! the one transaction that is given, and whether that is committed is its owner's business.

use std::collections::BTreeMap;

use fanfare_protocol::admin::{BanKind, BanRow};
use redb::{Database, Durability, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use crate::access::BanKey;
use crate::moderation::audit::{self, Hash, Head};
use crate::moderation::store::Change;

/// Kind, user or token, pattern of groups: a [`BanRow`] in JSON.
pub(super) const BANS: TableDefinition<'_, (u8, &str, &str), &[u8]> = TableDefinition::new("bans");
/// Number: a record's bytes.
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
pub(super) const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");
/// The newest record's number and hash.
pub(super) const HEAD: &str = "head";
/// The act that is being carried out.
const PENDING: &str = "pending";
/// What the tables look like. A later version may look different, and then says so here.
pub(super) const FORMAT: &str = "format";
pub(super) const FORMAT_1: &[u8] = b"1";
/// Written and taken away again, to see whether there is room for an act: more than the longest one takes.
pub(super) const PROBE: &str = "probe";
const PROBE_BYTES: usize = 32 * 1024;

/// Begins a change that is on the disk when it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

/// Makes the tables, without anything in them.
pub(super) fn lay_out(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(BANS)?;
    write.open_table(AUDIT)?;
    write.open_table(MARKS)?.insert(FORMAT, FORMAT_1)?;
    Ok(())
}

/// Whether they look as they do here.
pub(super) fn are_of_this_version(read: &ReadTransaction) -> Result<bool, redb::Error> {
    Ok(mark(read, FORMAT)?.as_deref() == Some(FORMAT_1))
}

/// All bans, unless one of them cannot be read.
pub(super) fn bans(read: &ReadTransaction) -> Result<serde_json::Result<Vec<BanRow>>, redb::Error> {
    let mut bans = Vec::new();
    for entry in read.open_table(BANS)?.iter()? {
        bans.push(serde_json::from_slice(entry?.1.value()));
    }
    Ok(bans.into_iter().collect())
}

/// The newest record's number and hash; `None` where what is there cannot be read.
pub(super) fn head(read: &ReadTransaction) -> Result<Option<Head>, redb::Error> {
    Ok(match mark(read, HEAD)? {
        None => Some(Head::default()),
        Some(mark) => read_head(&mark),
    })
}

/// The act that had begun, and was not recorded yet.
pub(super) fn pending(read: &ReadTransaction) -> Result<Option<Vec<u8>>, redb::Error> {
    mark(read, PENDING)
}

/// Records with higher numbers than `after`, at most `limit`.
pub(super) fn records(
    read: &ReadTransaction,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, redb::Error> {
    let table = read.open_table(AUDIT)?;
    let records = table.range(after.saturating_add(1)..)?.take(limit).map(|entry| {
        let (number, bytes) = entry?;
        Ok((number.value(), bytes.value().to_vec()))
    });
    records.collect()
}

/// The hash of the record with this number, if there is one.
pub(super) fn hash_of(read: &ReadTransaction, number: u64) -> Result<Option<Hash>, redb::Error> {
    let record = read.open_table(AUDIT)?.get(number)?;
    Ok(record.map(|record| audit::hash(record.value())))
}

pub(super) fn mark(read: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let mark = read.open_table(MARKS)?.get(name)?;
    Ok(mark.map(|mark| mark.value().to_vec()))
}

/// Carries out a change.
pub(super) fn apply(write: &WriteTransaction, change: Change<'_>) -> Result<(), redb::Error> {
    let Change { put, lift, pending, record } = change;
    let mut bans = write.open_table(BANS)?;
    let mut marks = write.open_table(MARKS)?;
    for key in lift {
        bans.remove((kind(key.kind), key.subject.as_str(), key.groups.as_str()))?;
    }
    if let Some(ban) = put {
        let (kind, subject, groups) = place(ban);
        bans.insert((kind, subject.as_str(), groups.as_str()), row(ban).as_slice())?;
    }
    if let Some(pending) = pending {
        marks.insert(PENDING, pending)?;
    }
    if let Some((bytes, head)) = record {
        write.open_table(AUDIT)?.insert(head.sequence, bytes)?;
        marks.insert(HEAD, head_mark(head).as_slice())?;
        marks.remove(PENDING)?;
    }
    Ok(())
}

/// Takes away what is not to be there and puts in what is. Gives whether anything was different.
pub(super) fn correct(
    write: &WriteTransaction,
    wanted: &[BanRow],
    head: Head,
    pending: Option<&[u8]>,
) -> Result<bool, redb::Error> {
    let mut wanted: BTreeMap<(u8, String, String), Vec<u8>> =
        wanted.iter().map(|ban| (place(ban), row(ban))).collect();
    let mut changed = false;
    let mut bans = write.open_table(BANS)?;
    let mut wrong = Vec::new();
    for entry in bans.iter()? {
        let (key, value) = entry?;
        let (kind, subject, groups) = key.value();
        let key = (kind, subject.to_owned(), groups.to_owned());
        match wanted.get(&key) {
            Some(row) if row == value.value() => drop(wanted.remove(&key)),
            Some(_) => {}
            None => wrong.push(key),
        }
    }
    for (kind, subject, groups) in &wrong {
        bans.remove((*kind, subject.as_str(), groups.as_str()))?;
        changed = true;
    }
    for ((kind, subject, groups), row) in &wanted {
        bans.insert((*kind, subject.as_str(), groups.as_str()), row.as_slice())?;
        changed = true;
    }
    let mut audit = write.open_table(AUDIT)?;
    loop {
        let last = audit.last()?.map(|(number, _)| number.value());
        let Some(number) = last.filter(|number| *number > head.sequence) else { break };
        audit.remove(number)?;
        changed = true;
    }
    let mut marks = write.open_table(MARKS)?;
    for (name, wanted) in
        [(HEAD, (head.sequence > 0).then(|| head_mark(head))), (PENDING, pending.map(<[u8]>::to_vec))]
    {
        let there = marks.get(name)?.map(|mark| mark.value().to_vec());
        if there == wanted {
            continue;
        }
        changed = true;
        match wanted {
            Some(mark) => drop(marks.insert(name, mark.as_slice())?),
            None => drop(marks.remove(name)?),
        }
    }
    Ok(changed)
}

/// Whether there is room for an act, which is an error where there is none.
pub(super) fn try_for_room(database: &Database) -> Result<(), redb::Error> {
    for probe in [true, false] {
        let write = begin(database)?;
        let mut marks = write.open_table(MARKS)?;
        if probe {
            marks.insert(PROBE, vec![0; PROBE_BYTES].as_slice())?;
        } else {
            marks.remove(PROBE)?;
        }
        drop(marks);
        write.commit()?;
    }
    Ok(())
}

/// Copies everything into tables that are empty.
pub(super) fn copy(read: &ReadTransaction, write: &WriteTransaction) -> Result<(), redb::Error> {
    copy_table(read, write, BANS)?;
    copy_table(read, write, AUDIT)?;
    copy_table(read, write, MARKS)
}

fn copy_table<K: redb::Key, V: redb::Value>(
    read: &ReadTransaction,
    write: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let mut table = write.open_table(definition)?;
    for entry in read.open_table(definition)?.iter()? {
        let (key, value) = entry?;
        table.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Where a ban is in the table.
fn place(ban: &BanRow) -> (u8, String, String) {
    let key = BanKey::from(ban);
    (kind(key.kind), key.subject, key.groups)
}

fn row(ban: &BanRow) -> Vec<u8> {
    // Names and numbers: there is nothing in it that JSON does not have.
    serde_json::to_vec(ban).unwrap_or_default()
}

fn head_mark(head: Head) -> Vec<u8> {
    [&head.sequence.to_le_bytes()[..], &head.hash].concat()
}

fn read_head(mark: &[u8]) -> Option<Head> {
    let (sequence, hash) = mark.split_first_chunk::<8>()?;
    let hash: Hash = hash.try_into().ok()?;
    Some(Head { sequence: u64::from_le_bytes(*sequence), hash })
}

/// A kind's number in the file. Never to be given to another.
fn kind(kind: BanKind) -> u8 {
    match kind {
        BanKind::Group => 1,
        BanKind::User => 2,
        BanKind::SignOut => 3,
        BanKind::Token => 4,
    }
}
