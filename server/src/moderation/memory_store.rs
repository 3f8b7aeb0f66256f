//! What operators decided, in memory: for a server without a state directory.
//!
//! In: changes. Out: the same as from the store in a file, for as long as the server runs. Invariant: a change is
//! carried out as a whole, in the order in which the changes came; nothing here fails. Each act takes some 300 bytes
//! until the server ends.

use std::collections::BTreeMap;

use fanfare_protocol::admin::LastingRow;
use parking_lot::Mutex;

use super::audit::Head;
use super::store::{Change, Kept, Standing, Store, StoreError};
use crate::access::BanKey;

/// The store of a server that keeps nothing beyond its end.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    standing: Standing,
    head: Head,
    pending: Option<Vec<u8>>,
    records: BTreeMap<u64, Vec<u8>>,
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let tables = self.0.lock();
        Ok(Kept { standing: tables.standing.clone(), head: tables.head, pending: tables.pending.clone() })
    }

    fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        let Change { put, lift, put_keys, drop_key, put_lasting, drop_lasting, pending, record } = change;
        let mut tables = self.0.lock();
        let Standing { bans, keys, lasting } = &mut tables.standing;
        bans.retain(|ban| !lift.contains(&BanKey::from(ban)));
        if let Some(ban) = put {
            let key = BanKey::from(ban);
            bans.retain(|known| BanKey::from(known) != key);
            bans.push(ban.clone());
        }
        keys.retain(|known| Some(known.row.name.as_str()) != drop_key);
        let place = |row: &LastingRow| (row.user.clone(), row.group.clone());
        lasting.retain(|known| !drop_lasting.contains(&place(known)));
        if let Some(row) = put_lasting {
            lasting.retain(|known| place(known) != place(row));
            lasting.push(row.clone());
        }
        for key in put_keys {
            keys.retain(|known| known.row.name != key.row.name);
            keys.push(key);
        }
        if let Some(mark) = pending {
            tables.pending = Some(mark.to_vec());
        }
        if let Some((record, head)) = record {
            tables.records.insert(head.sequence, record.to_vec());
            tables.head = head;
            tables.pending = None;
        }
        Ok(())
    }

    fn backup(&self) -> Result<(), StoreError> {
        Err(StoreError::InMemory)
    }

    fn head(&self) -> Result<Head, StoreError> {
        Ok(self.0.lock().head)
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let tables = self.0.lock();
        let records = tables.records.range(after.saturating_add(1)..).take(limit);
        Ok(records.map(|(number, record)| (*number, record.clone())).collect())
    }

    fn failure(&self) -> Option<String> {
        None
    }

    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn restore(&self, standing: &Standing, head: Head, pending: Option<&[u8]>) -> Result<(), StoreError> {
        let mut tables = self.0.lock();
        tables.standing = standing.clone();
        tables.records.retain(|number, _| *number <= head.sequence);
        tables.head = head;
        tables.pending = pending.map(<[u8]>::to_vec);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::admin::{ApiKeyRow, BanKind, BanRow, May};
    use fanfare_protocol::{GroupName, UserName};
    use proptest::prelude::*;

    use super::*;
    use crate::access::StoredKey;
    use crate::moderation::FileStore;
    use crate::moderation::audit;

    fn ban(user: u8, until: Option<u64>) -> BanRow {
        BanRow {
            kind: BanKind::User,
            user: Some(UserName::new(&format!("user {user}")).unwrap()),
            groups: None,
            jti: None,
            since: 1,
            until,
            reason: String::new(),
            author: "oncall".to_owned(),
        }
    }

    fn key(name: u8, used: Option<u64>) -> StoredKey {
        let row = ApiKeyRow {
            name: format!("key {name}"),
            id: format!("ffk_{name:016x}"),
            allow: vec!["read".parse().unwrap()],
            per_second: None,
            since: 1,
            until: None,
            used,
            author: "oncall".to_owned(),
        };
        StoredKey { row, hash: "0".repeat(64) }
    }

    fn lasting(user: u8, may: May) -> LastingRow {
        LastingRow {
            user: UserName::new(&format!("user {user}")).unwrap(),
            group: GroupName::new("vip").unwrap(),
            may,
            since: 1,
            until: None,
            author: "oncall".to_owned(),
        }
    }

    #[derive(Debug, Clone)]
    struct Step {
        put: Option<(u8, Option<u64>)>,
        lift: Option<u8>,
        /// A key that was used, or has gone; and a membership that has come, or gone.
        key: (u8, Option<u64>, bool),
        lasting: (u8, bool, bool),
        pending: bool,
        record: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        let put = prop::option::of((0..4_u8, prop::option::of(0..3_u64)));
        let key = (0..3_u8, prop::option::of(0..3_u64), any::<bool>());
        let lasting = (0..3_u8, any::<bool>(), any::<bool>());
        (put, prop::option::of(0..4_u8), key, lasting, any::<bool>(), any::<bool>()).prop_map(
            |(put, lift, key, lasting, pending, record)| Step { put, lift, key, lasting, pending, record },
        )
    }

    /// What a store says of itself; the order of bans is nobody's business.
    fn said(store: &dyn Store) -> (Kept, Head, Vec<(u64, Vec<u8>)>) {
        let mut kept = store.load().unwrap();
        kept.standing.bans.sort_by_key(|ban| ban.user.clone());
        kept.standing.keys.sort_by_key(|key| key.row.name.clone());
        kept.standing.lasting.sort_by_key(|row| row.user.clone());
        // While all is well acts are taken, and nobody is told that they are not.
        assert_eq!(store.failure(), None);
        (kept, store.head().unwrap(), store.records(1, 3).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        #[test]
        fn it_says_what_the_store_in_a_file_says(steps in prop::collection::vec(step(), 1..12)) {
            let home = tempfile::tempdir().unwrap();
            let (file, memory) = (FileStore::open(home.path()).unwrap(), MemoryStore::default());
            for (number, Step { put, lift, key: of, lasting: at, pending, record }) in (1_u64..).zip(steps) {
                let put = put.map(|(user, until)| ban(user, until));
                let lift: Vec<BanKey> = lift.map(|user| BanKey::from(&ban(user, None))).into_iter().collect();
                let (name, dropped) = (format!("key {}", of.0), of.2);
                let row = lasting(at.0, if at.1 { May::Both } else { May::Receive });
                let gone = (row.user.clone(), row.group.clone());
                let bytes = format!("record {number}").into_bytes();
                let sequence = memory.head().unwrap().sequence + 1;
                let head = Head { sequence, hash: audit::hash(&bytes) };
                for store in [&file as &dyn Store, &memory] {
                    store
                        .commit(Change {
                            put: put.as_ref(),
                            lift: lift.clone(),
                            put_keys: if dropped { Vec::new() } else { vec![key(of.0, of.1)] },
                            drop_key: dropped.then_some(name.as_str()),
                            put_lasting: (!at.2).then_some(&row),
                            drop_lasting: if at.2 { vec![gone.clone()] } else { Vec::new() },
                            pending: pending.then_some(b"act"),
                            record: record.then_some((bytes.as_slice(), head)),
                        })
                        .unwrap();
                }
                prop_assert_eq!(said(&file), said(&memory));
            }
            let (kept, head, _) = said(&memory);
            for store in [&file as &dyn Store, &memory] {
                let other = lasting(9, May::Both);
                store
                    .commit(Change {
                        put: Some(&ban(9, None)),
                        put_keys: vec![key(9, None)],
                        put_lasting: Some(&other),
                        pending: Some(b"x"),
                        ..Change::default()
                    })
                    .unwrap();
                store.restore(&kept.standing, head, None).unwrap();
            }
            prop_assert_eq!(said(&file), said(&memory));
        }
    }

    #[test]
    fn there_is_nothing_to_back_up() {
        let error = MemoryStore::default().backup().unwrap_err().to_string();
        assert!(error.contains("no state directory"), "{error}");
    }
}
