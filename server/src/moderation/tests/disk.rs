//! A store in memory, whose disk can be made to fail, and on which a test can look while it is written to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanfare_protocol::admin::{BanRow, LastingRow};
use parking_lot::Mutex;

use crate::access::{BanKey, StoredKey};
use crate::moderation::audit::Head;
use crate::moderation::store::{Change, Kept, Standing, Store, StoreError};

type Onlooker = Box<dyn FnMut(&Change<'_>) + Send>;

#[derive(Clone, Default)]
pub(in crate::moderation) struct Disk {
    /// No commit works.
    pub(in crate::moderation) broken: Arc<AtomicBool>,
    /// Says that a commit failed, and carries it out all the same; is closed then.
    pub(in crate::moderation) lies: Arc<AtomicBool>,
    /// As a file that failed is, until it is opened again.
    pub(in crate::moderation) closed: Arc<AtomicBool>,
    /// Nothing can be read, nor copied aside.
    pub(in crate::moderation) unreadable: Arc<AtomicBool>,
    pub(in crate::moderation) bans: Arc<Mutex<Vec<BanRow>>>,
    pub(in crate::moderation) keys: Arc<Mutex<Vec<StoredKey>>>,
    pub(in crate::moderation) lasting: Arc<Mutex<Vec<LastingRow>>>,
    pub(in crate::moderation) records: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    pub(in crate::moderation) head: Arc<Mutex<Head>>,
    pub(in crate::moderation) pending: Arc<Mutex<Option<Vec<u8>>>>,
    pub(in crate::moderation) backups: Arc<AtomicU64>,
    /// How often it was opened again.
    pub(in crate::moderation) reopens: Arc<AtomicU64>,
    /// Is called before each commit.
    onlooker: Arc<Mutex<Option<Onlooker>>>,
}

impl Disk {
    /// Has `onlooker` see each change before it is carried out.
    pub(in crate::moderation) fn look_on(&self, onlooker: impl FnMut(&Change<'_>) + Send + 'static) {
        *self.onlooker.lock() = Some(Box::new(onlooker));
    }

    /// As a file does it: from the commit after so many good ones on nothing works, and it is closed.
    pub(in crate::moderation) fn fail_after(&self, good: u32) {
        let (broken, closed) = (Arc::clone(&self.broken), Arc::clone(&self.closed));
        let mut left = good;
        self.look_on(move |_| {
            let fails = left == 0;
            left = left.saturating_sub(1);
            broken.fetch_or(fails, Ordering::Relaxed);
            closed.fetch_or(fails, Ordering::Relaxed);
        });
    }

    /// There is room again. What was closed stays closed until it is opened.
    pub(in crate::moderation) fn repair(&self) {
        *self.onlooker.lock() = None;
        self.broken.store(false, Ordering::Relaxed);
        self.unreadable.store(false, Ordering::Relaxed);
    }

    /// The same disk, as the next server finds it.
    pub(in crate::moderation) fn reopened(&self) -> Self {
        self.closed.store(false, Ordering::Relaxed);
        self.clone()
    }

    fn failed<T>() -> Result<T, StoreError> {
        let source = std::io::Error::other("no space left");
        Err(StoreError::Io { path: "bans.redb".into(), source })
    }

    fn reading(&self) -> Result<(), StoreError> {
        if self.unreadable.load(Ordering::Relaxed) {
            self.closed.store(true, Ordering::Relaxed);
            return Self::failed();
        }
        Ok(())
    }
}

impl Store for Disk {
    fn load(&self) -> Result<Kept, StoreError> {
        let standing = Standing {
            bans: self.bans.lock().clone(),
            keys: self.keys.lock().clone(),
            lasting: self.lasting.lock().clone(),
        };
        Ok(Kept { standing, head: self.head()?, pending: self.pending.lock().clone() })
    }

    fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        if let Some(onlooker) = &mut *self.onlooker.lock() {
            onlooker(&change);
        }
        if self.broken.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed) {
            return Self::failed();
        }
        let mut bans = self.bans.lock();
        bans.retain(|ban| !change.lift.contains(&BanKey::from(ban)));
        if let Some(ban) = change.put {
            bans.retain(|known| BanKey::from(known) != BanKey::from(ban));
            bans.push(ban.clone());
        }
        drop(bans);
        let mut keys = self.keys.lock();
        keys.retain(|known| Some(known.row.name.as_str()) != change.drop_key);
        for key in &change.put_keys {
            keys.retain(|known| known.row.name != key.row.name);
            keys.push(key.clone());
        }
        drop(keys);
        let place = |row: &LastingRow| (row.user.clone(), row.group.clone());
        let mut lasting = self.lasting.lock();
        lasting.retain(|known| !change.drop_lasting.contains(&place(known)));
        if let Some(row) = change.put_lasting {
            lasting.retain(|known| place(known) != place(row));
            lasting.push(row.clone());
        }
        drop(lasting);
        if let Some(pending) = change.pending {
            *self.pending.lock() = Some(pending.to_vec());
        }
        if let Some((bytes, head)) = change.record {
            self.records.lock().insert(head.sequence, bytes.to_vec());
            *self.head.lock() = head;
            *self.pending.lock() = None;
        }
        if self.lies.swap(false, Ordering::Relaxed) {
            self.closed.store(true, Ordering::Relaxed);
            return Self::failed();
        }
        Ok(())
    }

    fn backup(&self) -> Result<(), StoreError> {
        self.reading()?;
        self.backups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn head(&self) -> Result<Head, StoreError> {
        self.reading()?;
        Ok(*self.head.lock())
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.reading()?;
        let records = self.records.lock();
        Ok(records.range(after + 1..).take(limit).map(|(number, bytes)| (*number, bytes.clone())).collect())
    }

    fn failure(&self) -> Option<String> {
        self.closed.load(Ordering::Relaxed).then(|| "it was closed".to_owned())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.reopens.fetch_add(1, Ordering::Relaxed);
        self.closed.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn restore(&self, standing: &Standing, head: Head, pending: Option<&[u8]>) -> Result<(), StoreError> {
        // As a file: a correction that failed closes it again.
        let corrected = self.commit(Change::default());
        self.closed.fetch_or(corrected.is_err(), Ordering::Relaxed);
        corrected?;
        *self.bans.lock() = standing.bans.clone();
        *self.keys.lock() = standing.keys.clone();
        *self.lasting.lock() = standing.lasting.clone();
        *self.head.lock() = head;
        self.records.lock().split_off(&(head.sequence + 1));
        *self.pending.lock() = pending.map(<[u8]>::to_vec);
        Ok(())
    }
}
