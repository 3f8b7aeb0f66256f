//! What the tables of the store's file are: which there are, what stands where in them, and what a change is to them.
//!
//! In: a transaction, and bans, keys, records and marks. Out: rows; or bans, keys, records and marks again. Invariants:
//! a kind of ban has one number for ever, and tables that look otherwise have another format; what belongs together is
//! done in the one transaction that is given, and whether that is committed is its owner's business.

use std::collections::BTreeMap;

use fanfare_protocol::admin::{BanKind, BanRow, LastingRow};
use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};
use serde::Serialize;

use crate::access::{BanKey, StoredKey};
use crate::moderation::audit::{self, Hash, Head};
use crate::moderation::store::{Change, Standing};

/// Kind, user or token, pattern of groups: a [`BanRow`] in JSON.
pub(super) const BANS: TableDefinition<'_, (u8, &str, &str), &[u8]> = TableDefinition::new("bans");
/// Name: a [`StoredKey`] in JSON. Earlier versions made files without it.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("api_keys");
/// User, group: a [`LastingRow`] in JSON. Earlier versions made files without it.
const LASTING: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("lasting");
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
const PROBE_BYTES: usize = 64 * 1024;

/// Begins a change that is on the disk when it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

/// Makes the tables, without anything in them.
pub(super) fn lay_out(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(BANS)?;
    write.open_table(KEYS)?;
    write.open_table(LASTING)?;
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

/// All keys of the HTTP API, unless one of them cannot be read.
pub(super) fn keys(read: &ReadTransaction) -> Result<serde_json::Result<Vec<StoredKey>>, redb::Error> {
    let Some(table) = table_if_there(read, KEYS)? else { return Ok(Ok(Vec::new())) };
    let mut keys = Vec::new();
    for entry in table.iter()? {
        keys.push(serde_json::from_slice(entry?.1.value()));
    }
    Ok(keys.into_iter().collect())
}

/// All lasting memberships, unless one of them cannot be read.
pub(super) fn lasting(read: &ReadTransaction) -> Result<serde_json::Result<Vec<LastingRow>>, redb::Error> {
    let Some(table) = table_if_there(read, LASTING)? else { return Ok(Ok(Vec::new())) };
    let mut rows = Vec::new();
    for entry in table.iter()? {
        rows.push(serde_json::from_slice(entry?.1.value()));
    }
    Ok(rows.into_iter().collect())
}

/// A table that files of earlier versions lack.
fn table_if_there<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, redb::Error> {
    match read.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
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
    let Change { put, lift, put_keys, drop_key, put_lasting, drop_lasting, pending, record } = change;
    let mut bans = write.open_table(BANS)?;
    let mut marks = write.open_table(MARKS)?;
    for key in lift {
        bans.remove((kind(key.kind), key.subject.as_str(), key.groups.as_str()))?;
    }
    if let Some(ban) = put {
        let (kind, subject, groups) = place(ban);
        bans.insert((kind, subject.as_str(), groups.as_str()), json(ban).as_slice())?;
    }
    if !put_keys.is_empty() || drop_key.is_some() {
        let mut keys = write.open_table(KEYS)?;
        if let Some(name) = drop_key {
            keys.remove(name)?;
        }
        for key in &put_keys {
            keys.insert(key.row.name.as_str(), json(key).as_slice())?;
        }
    }
    if put_lasting.is_some() || !drop_lasting.is_empty() {
        let mut lasting = write.open_table(LASTING)?;
        for (user, group) in &drop_lasting {
            lasting.remove((user.as_str(), group.as_str()))?;
        }
        if let Some(row) = put_lasting {
            lasting.insert((row.user.as_str(), row.group.as_str()), json(row).as_slice())?;
        }
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
    standing: &Standing,
    head: Head,
    pending: Option<&[u8]>,
) -> Result<bool, redb::Error> {
    let mut wanted: BTreeMap<(u8, String, String), Vec<u8>> =
        standing.bans.iter().map(|ban| (place(ban), json(ban))).collect();
    let mut changed = correct_keys(write, &standing.keys)?;
    changed |= correct_lasting(write, &standing.lasting)?;
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

/// The same for keys.
fn correct_keys(write: &WriteTransaction, wanted: &[StoredKey]) -> Result<bool, redb::Error> {
    let wanted: BTreeMap<String, Vec<u8>> =
        wanted.iter().map(|key| (key.row.name.clone(), json(key))).collect();
    let mut keys = write.open_table(KEYS)?;
    let mut there = BTreeMap::new();
    for entry in keys.iter()? {
        let (name, key) = entry?;
        there.insert(name.value().to_owned(), key.value().to_vec());
    }
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        keys.remove(name.as_str())?;
    }
    for (name, key) in wanted.iter().filter(|(name, key)| there.get(*name) != Some(key)) {
        keys.insert(name.as_str(), key.as_slice())?;
    }
    Ok(there != wanted)
}

/// The same for lasting memberships.
fn correct_lasting(write: &WriteTransaction, wanted: &[LastingRow]) -> Result<bool, redb::Error> {
    let place = |row: &LastingRow| (row.user.as_str().to_owned(), row.group.as_str().to_owned());
    let wanted: BTreeMap<(String, String), Vec<u8>> =
        wanted.iter().map(|row| (place(row), json(row))).collect();
    let mut lasting = write.open_table(LASTING)?;
    let mut there = BTreeMap::new();
    for entry in lasting.iter()? {
        let (place, row) = entry?;
        let (user, group) = place.value();
        there.insert((user.to_owned(), group.to_owned()), row.value().to_vec());
    }
    for (user, group) in there.keys().filter(|place| !wanted.contains_key(*place)) {
        lasting.remove((user.as_str(), group.as_str()))?;
    }
    for (place, row) in wanted.iter().filter(|(place, row)| there.get(*place) != Some(row)) {
        lasting.insert((place.0.as_str(), place.1.as_str()), row.as_slice())?;
    }
    Ok(there != wanted)
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
    copy_table(read, write, KEYS)?;
    copy_table(read, write, LASTING)?;
    copy_table(read, write, AUDIT)?;
    copy_table(read, write, MARKS)
}

fn copy_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    write: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let mut table = write.open_table(definition)?;
    let Some(from) = table_if_there(read, definition)? else { return Ok(()) };
    for entry in from.iter()? {
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

fn json(row: &impl Serialize) -> Vec<u8> {
    // Names and numbers: there is nothing in it that JSON does not have.
    serde_json::to_vec(row).unwrap_or_default()
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
