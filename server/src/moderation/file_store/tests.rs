//! The store on real files, on disks that fail, and what others may have done to it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_protocol::admin::{ApiKeyRow, BanKind, BanRow, LastingRow, May};
use fanfare_protocol::{GroupName, Pattern, UserName};
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::tables::{BANS, FORMAT, FORMAT_1, HEAD, MARKS, PROBE, begin, correct, mark};
use super::*;
use crate::access::{BanKey, StoredKey};
use crate::moderation::audit;

/// A file on a disk that can fail.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    fails: Arc<AtomicBool>,
    /// What is in the file fits where it was, and nothing more.
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> std::io::Result<()> {
        if self.fails.load(Ordering::Relaxed) { Err(std::io::Error::other("no space left")) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        if self.is_full.load(Ordering::Relaxed) && len > self.file.len()? {
            return Err(std::io::Error::other("no space left"));
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

/// The store in this directory, on a disk that fails when it is told to.
fn failing(directory: &Path) -> (FileStore, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    (on(directory, Arc::clone(&fails), Arc::default()), fails)
}

/// The store in this directory, on a disk that is full when it is told to be.
fn filling(directory: &Path) -> (FileStore, Arc<AtomicBool>) {
    let is_full = Arc::new(AtomicBool::new(false));
    (on(directory, Arc::default(), Arc::clone(&is_full)), is_full)
}

fn on(directory: &Path, fails: Arc<AtomicBool>, is_full: Arc<AtomicBool>) -> FileStore {
    let path = directory.join(FILE);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let disk = Disk { file: FileBackend::new(file).unwrap(), fails, is_full };
    let database = Database::builder().create_with_backend(disk).unwrap();
    FileStore::of(path, database).unwrap()
}

/// Changes a mark, as another version or a bad disk could.
fn overwrite(directory: &Path, name: &str, mark: &[u8]) {
    let database = Database::open(directory.join(FILE)).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(MARKS).unwrap().insert(name, mark).unwrap();
    write.commit().unwrap();
}

fn damage(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { problem, .. } => problem.clone(),
        other => panic!("{other:?}"),
    }
}

fn ban(user: &str, until: Option<u64>) -> BanRow {
    BanRow {
        kind: BanKind::Group,
        user: Some(UserName::new(user).unwrap()),
        groups: Some(Pattern::new("room-*").unwrap()),
        jti: None,
        since: 1,
        until,
        reason: "because".to_owned(),
        author: "oncall".to_owned(),
    }
}

fn key(name: &str) -> StoredKey {
    let row = ApiKeyRow {
        name: name.to_owned(),
        id: "ffk_0123456789abcdef".to_owned(),
        allow: vec!["read".parse().unwrap()],
        per_second: None,
        since: 1,
        until: None,
        used: None,
        author: "oncall".to_owned(),
    };
    StoredKey { row, hash: "0".repeat(64) }
}

fn lasting(user: &str) -> LastingRow {
    LastingRow {
        user: UserName::new(user).unwrap(),
        group: GroupName::new("vip").unwrap(),
        may: May::Both,
        since: 1,
        until: None,
        author: "oncall".to_owned(),
    }
}

fn standing(bans: &[&BanRow]) -> Standing {
    Standing { bans: bans.iter().copied().cloned().collect(), ..Standing::default() }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    assert_eq!(store.load().unwrap(), Kept::default());
    let (first, second) = (ban("alice", None), ban("bob", Some(9)));
    store.commit(Change { put: Some(&first), pending: Some(b"act"), ..Change::default() }).unwrap();
    store.commit(Change { put: Some(&second), ..Change::default() }).unwrap();
    assert!(matches!(FileStore::open(home.path()), Err(StoreError::InUse { .. })));
    drop(store);

    let store = FileStore::open(home.path()).unwrap();
    let kept = store.load().unwrap();
    assert_eq!(
        (kept.standing.bans, kept.pending.as_deref()),
        (vec![first.clone(), second], Some(&b"act"[..]))
    );
    let head = Head { sequence: 1, hash: [7; 32] };
    let lift = vec![BanKey::from(&first)];
    store.commit(Change { lift, record: Some((b"record", head)), ..Change::default() }).unwrap();
    drop(store);
    let store = FileStore::open(home.path()).unwrap();
    let kept = store.load().unwrap();
    assert_eq!((kept.standing.bans.len(), kept.head, kept.pending), (1, head, None));
    assert_eq!(store.records(0, 9).unwrap(), [(1, b"record".to_vec())]);
    assert_eq!(store.records(1, 9).unwrap(), []);
    let mode = fs::metadata(home.path().join(FILE)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_backup_is_a_store_with_all_that_was_there_and_replaces_the_one_before() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    for user in ["alice", "bob"] {
        store.commit(Change { put: Some(&ban(user, None)), ..Change::default() }).unwrap();
        let head = Head { sequence: store.head().unwrap().sequence + 1, hash: [1; 32] };
        store.commit(Change { record: Some((b"record", head)), ..Change::default() }).unwrap();
        store.backup().unwrap();
    }
    let kept = store.load().unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::copy(home.path().join(BACKUP), other.path().join(FILE)).unwrap();
    let restored = FileStore::open(other.path()).unwrap();
    assert_eq!(restored.load().unwrap(), kept);
    assert_eq!(restored.records(0, 9).unwrap(), store.records(0, 9).unwrap());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing is left lying about");
    let mode = fs::metadata(home.path().join(BACKUP)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn looking_at_a_store_changes_nothing_also_after_a_power_cut() {
    let home = tempfile::tempdir().unwrap();
    FileStore::look(home.path()).unwrap();
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    let store = FileStore::open(home.path()).unwrap();
    store
        .commit(Change { put: Some(&ban("alice", None)), pending: Some(b"act"), ..Change::default() })
        .unwrap();
    // In use, which is told, too.
    assert!(matches!(FileStore::look(home.path()), Err(StoreError::InUse { .. })));
    // As a power cut leaves it: redb repairs it when it opens it.
    let cut = fs::read(home.path().join(FILE)).unwrap();
    drop(store);
    let whole = fs::read(home.path().join(FILE)).unwrap();
    assert!(cut != whole, "a store that was closed says so");
    for content in [cut, whole] {
        let path = home.path().join(FILE);
        fs::write(&path, &content).unwrap();
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        let before = modified();
        FileStore::look(home.path()).unwrap();
        assert!(fs::read(&path).unwrap() == content && modified() == before);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(FileStore::open(home.path()).unwrap().load().unwrap().standing.bans.len(), 1);
    }
}

#[test]
fn a_store_that_was_opened_again_is_made_what_it_was_known_to_be() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let record = |number: u64| (number, format!("record {number}").into_bytes());
    let commit = |number: u64, change: Change<'_>| {
        let (sequence, bytes) = record(number);
        let head = Head { sequence, hash: audit::hash(&bytes) };
        store.commit(Change { record: Some((&bytes, head)), ..change }).unwrap();
        head
    };
    let (kept, changed) = (ban("alice", None), ban("bob", Some(9)));
    let before = BanRow { until: None, ..changed.clone() };
    store.commit(Change { put: Some(&kept), ..Change::default() }).unwrap();
    let head = commit(1, Change { put: Some(&before), ..Change::default() });
    // What came through although it was said that it failed: a ban, a longer one, a record, a mark.
    store.commit(Change { put: Some(&ban("carol", None)), ..Change::default() }).unwrap();
    commit(2, Change { put: Some(&changed), ..Change::default() });
    store
        .commit(Change { lift: vec![BanKey::from(&kept)], pending: Some(b"x"), ..Change::default() })
        .unwrap();
    for pending in [None, Some(&b"act"[..])] {
        store.restore(&standing(&[&kept, &before]), head, pending).unwrap();
        let standing = standing(&[&kept, &before]);
        let expected = Kept { standing, head, pending: pending.map(<[u8]>::to_vec) };
        assert_eq!(store.load().unwrap(), expected);
        assert_eq!(store.records(0, 9).unwrap(), [record(1)]);
    }
    // A store that lacks what was written is not gone on with.
    let missing = Head { sequence: 2, hash: [1; 32] };
    for head in [missing, Head { sequence: 1, ..missing }] {
        let error = store.restore(&Standing::default(), head, None).unwrap_err().to_string();
        assert!(error.contains("which had been written, is not in it"), "{error}");
        // It is closed, so that another may be put in its place; and can still be read.
        assert!(store.failure().is_some() && store.load().is_err());
        assert_eq!(store.records(0, 9).unwrap(), [record(1)]);
        assert_eq!(store.head().unwrap().sequence, 1);
        store.reopen().unwrap();
    }
    assert_eq!(store.load().unwrap().standing.bans.len(), 2);
}

#[test]
fn a_file_that_is_damaged_is_an_error_and_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    drop(FileStore::open(home.path()).unwrap());
    let path = home.path().join(FILE);
    let good = fs::read(&path).unwrap();
    for content in [&b""[..], b"garbage", &good[..good.len() / 3], &vec![0; 100_000]] {
        fs::write(&path, content).unwrap();
        for opened in [FileStore::look(home.path()), FileStore::open(home.path()).map(drop)] {
            match opened {
                Err(error @ StoreError::Damaged { .. }) => {
                    assert!(error.to_string().contains("bans.redb is damaged"), "{error}");
                    assert_eq!(damage(&error) == "it is empty", content.is_empty(), "{error}");
                }
                other => panic!("{} bytes: {other:?}", content.len()),
            }
        }
        assert!(fs::read(&path).unwrap() == content, "it was changed");
    }
    fs::write(&path, good).unwrap();
    FileStore::open(home.path()).unwrap();
}

#[test]
fn a_store_whose_disk_failed_can_be_read_and_is_used_again_when_it_was_opened_again() {
    let home = tempfile::tempdir().unwrap();
    drop(FileStore::open(home.path()).unwrap());
    let (store, fails) = failing(home.path());
    let head = Head { sequence: 1, hash: audit::hash(b"record") };
    let (first, second) = (ban("alice", None), ban("bob", None));
    store.commit(Change { put: Some(&first), ..Change::default() }).unwrap();
    store.commit(Change { record: Some((b"record", head)), ..Change::default() }).unwrap();
    assert_eq!(store.failure(), None);
    // All is well: there is nothing to be opened again.
    store.reopen().unwrap();
    fails.store(true, Ordering::Relaxed);
    store.reopen().unwrap();
    let put = || store.commit(Change { put: Some(&second), ..Change::default() });
    let told = format!("cannot use {}: ", home.path().join(FILE).display());
    let error = put().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&told) && error.to_string().contains("no space left"), "{error}");
    assert!(store.failure().is_some_and(|why| why.contains("no space left")));
    // It stays so, also when there is room: nobody knows what came through.
    fails.store(false, Ordering::Relaxed);
    for error in
        [put(), store.load().map(drop), store.backup(), store.restore(&Standing::default(), head, None)]
    {
        assert!(matches!(error, Err(StoreError::Io { .. })), "{error:?}");
    }
    assert!(!home.path().join(BACKUP).exists());
    assert!(store.failure().is_some_and(|why| why.contains("no space left")), "the first reason is told");
    assert_eq!((store.head().unwrap(), store.records(0, 9).unwrap()), (head, vec![(1, b"record".to_vec())]));

    store.reopen().unwrap();
    assert_eq!(store.failure(), None);
    store.restore(&standing(&[&first]), head, None).unwrap();
    assert_eq!(store.load().unwrap(), Kept { standing: standing(&[&first]), head, pending: None });
    put().unwrap();
    assert_eq!(store.load().unwrap().standing.bans, [first, second]);
}

/// Or acts would be said to be taken again, and the next one would fail.
#[test]
fn a_store_without_room_for_another_act_is_not_fit_for_use_again() {
    let home = tempfile::tempdir().unwrap();
    drop(FileStore::open(home.path()).unwrap());
    // Of one that tells of hundreds of groups.
    let record = vec![b'x'; 32 * 1024];
    let record_in = |store: &FileStore, sequence: u64| {
        let head = Head { sequence, hash: audit::hash(&record) };
        store.commit(Change { record: Some((&record, head)), ..Change::default() }).map(|()| head)
    };
    let (store, is_full) = filling(home.path());
    let mut head = record_in(&store, 1).unwrap();
    is_full.store(true, Ordering::Relaxed);
    let error = loop {
        match record_in(&store, head.sequence + 1) {
            Ok(written) => head = written,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("no space left"), "{error}");
    drop(store);
    let restored = |store: &FileStore| store.restore(&Standing::default(), head, None);
    let (store, is_full) = filling(home.path());
    is_full.store(true, Ordering::Relaxed);
    let error = restored(&store).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    drop(store);
    let store = FileStore::open(home.path()).unwrap();
    restored(&store).unwrap();
    record_in(&store, head.sequence + 1).unwrap();
}

#[test]
fn a_store_that_is_gone_is_not_made_anew_while_a_server_runs() {
    let home = tempfile::tempdir().unwrap();
    drop(FileStore::open(home.path()).unwrap());
    let (store, fails) = failing(home.path());
    fails.store(true, Ordering::Relaxed);
    store.commit(Change { pending: Some(b"act"), ..Change::default() }).unwrap_err();
    let aside = home.path().join("aside");
    fs::rename(home.path().join(FILE), &aside).unwrap();
    let error = store.reopen().unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound),
        "{error:?}"
    );
    assert!(!home.path().join(FILE).exists() && store.failure().is_some());
    assert!(matches!(store.head(), Err(StoreError::Io { .. })));
    // What is put in its place must be a store of this version.
    overwrite_copy(&aside, home.path());
    assert_eq!(damage(&store.reopen().unwrap_err()), "it is of another version");
    assert!(store.failure().is_some_and(|why| why.contains("another version")));
    overwrite(home.path(), FORMAT, FORMAT_1);
    store.reopen().unwrap();
    store.load().unwrap();
}

/// A copy of a store that says that it is of another version.
fn overwrite_copy(store: &Path, directory: &Path) {
    fs::copy(store, directory.join(FILE)).unwrap();
    overwrite(directory, FORMAT, b"2");
}

#[test]
fn a_store_of_another_version_or_with_what_cannot_be_read_is_damaged() {
    let home = tempfile::tempdir().unwrap();
    for (name, mark, good, problem) in [
        (FORMAT, &b"2"[..], FORMAT_1, "it is of another version"),
        (HEAD, b"short", &[0; 40][..], "the audit's head cannot be read"),
        (HEAD, &[0; 41], &[0; 40], "the audit's head cannot be read"),
    ] {
        drop(FileStore::open(home.path()).unwrap());
        overwrite(home.path(), name, mark);
        let opened = FileStore::open(home.path()).and_then(|store| store.load());
        for refused in [FileStore::look(home.path()), opened.map(drop)] {
            assert_eq!(damage(&refused.unwrap_err()), problem);
        }
        overwrite(home.path(), name, good);
    }
    {
        let database = Database::open(home.path().join(FILE)).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(BANS).unwrap().insert((1, "alice", "*"), &b"{}"[..]).unwrap();
        write.commit().unwrap();
    }
    let refused = FileStore::look(home.path()).unwrap_err();
    assert!(damage(&refused).starts_with("a ban cannot be read"), "{refused}");
}

#[test]
fn a_name_that_leads_to_a_store_is_followed_and_one_that_leads_nowhere_is_told() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = home.path().join(FILE);
    assert_eq!(FileStore::file(home.path()), path);
    symlink(elsewhere.path().join(FILE), &path).unwrap();
    for refused in [FileStore::look(home.path()), FileStore::open(home.path()).map(drop)] {
        assert_eq!(damage(&refused.unwrap_err()), "it is a link that leads nowhere");
    }
    let store = FileStore::open(elsewhere.path()).unwrap();
    store.commit(Change { put: Some(&ban("alice", None)), ..Change::default() }).unwrap();
    drop(store);
    FileStore::look(home.path()).unwrap();
    assert_eq!(FileStore::open(home.path()).unwrap().load().unwrap().standing.bans.len(), 1);
    assert!(path.symlink_metadata().unwrap().is_symlink());
    // Where nobody can say whether there is one, there may be one.
    for refused in [FileStore::look(&path), FileStore::open(&path).map(drop)] {
        assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    }
}

#[test]
fn what_an_earlier_attempt_left_lying_about_is_in_nobodys_way() {
    let home = tempfile::tempdir().unwrap();
    let left = |name: &str| home.path().join(format!("{name}.new"));
    fs::write(left(FILE), b"half").unwrap();
    let store = FileStore::open(home.path()).unwrap();
    fs::write(left(BACKUP), b"half").unwrap();
    store.backup().unwrap();
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "the store and its copy");
    // What cannot be taken away is told, and harms the store in no way.
    fs::create_dir(left(BACKUP)).unwrap();
    let error = store.backup().unwrap_err().to_string();
    assert!(error.contains(BACKUP) && error.contains("directory"), "{error}");
    assert_eq!(store.failure(), None);
    store.commit(Change { put: Some(&ban("alice", None)), ..Change::default() }).unwrap();
    fs::create_dir(left(FILE)).unwrap();
    drop(store);
    fs::remove_file(home.path().join(FILE)).unwrap();
    assert!(matches!(FileStore::open(home.path()), Err(StoreError::Io { .. })));
    assert!(!home.path().join(FILE).exists());
}

#[test]
fn bans_of_each_kind_are_kept_apart_and_lifted_one_by_one() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let of = |kind: BanKind, groups: Option<&str>| BanRow {
        kind,
        user: (kind != BanKind::Token).then(|| UserName::new("x").unwrap()),
        groups: groups.map(|groups| Pattern::new(groups).unwrap()),
        jti: (kind == BanKind::Token).then(|| "x".to_owned()),
        ..ban("x", None)
    };
    let mut all = vec![
        of(BanKind::Group, Some("a*")),
        of(BanKind::Group, Some("b*")),
        of(BanKind::User, None),
        of(BanKind::SignOut, None),
        of(BanKind::Token, None),
    ];
    for ban in &all {
        store.commit(Change { put: Some(ban), ..Change::default() }).unwrap();
    }
    assert_eq!(store.load().unwrap().standing.bans, all);
    let later = BanRow { until: Some(9), ..all[0].clone() };
    store.commit(Change { put: Some(&later), ..Change::default() }).unwrap();
    all[0] = later;
    assert_eq!(store.load().unwrap().standing.bans, all, "in the place of the one before");
    while let Some(ban) = all.pop() {
        store.commit(Change { lift: vec![BanKey::from(&ban)], ..Change::default() }).unwrap();
        assert_eq!(store.load().unwrap().standing.bans, all);
    }
}

#[test]
fn what_is_as_it_should_be_is_not_written_again() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let differs = |bans: &[&BanRow], head: Head, pending: Option<&[u8]>| {
        store.with(|database| correct(&begin(database)?, &standing(bans), head, pending)).unwrap()
    };
    assert!(!differs(&[], Head::default(), None));
    let (kept, head) = (ban("alice", None), Head { sequence: 1, hash: audit::hash(b"record") });
    store.commit(Change { put: Some(&kept), record: Some((b"record", head)), ..Change::default() }).unwrap();
    store.commit(Change { pending: Some(b"act"), ..Change::default() }).unwrap();
    let bans = &[&kept][..];
    assert!(!differs(bans, head, Some(b"act")));
    assert!(differs(&[], head, Some(b"act")));
    assert!(differs(&[&BanRow { until: Some(9), ..kept.clone() }], head, Some(b"act")));
    assert!(differs(bans, head, None) && differs(bans, head, Some(b"other")));
    assert!(differs(bans, Head::default(), Some(b"act")));
    assert!(differs(bans, Head { hash: [1; 32], ..head }, Some(b"act")));
}

#[test]
fn each_kind_of_decision_is_made_what_it_was_known_to_be_also_where_it_alone_differs() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let (bans, keys, rows) = ([ban("alice", None)], [key("ci")], [lasting("alice")]);
    let (none, known) =
        (Standing::default(), Standing { bans: bans.to_vec(), keys: keys.to_vec(), lasting: rows.to_vec() });
    let other = Standing {
        bans: vec![BanRow { until: Some(9), ..bans[0].clone() }],
        keys: vec![StoredKey { hash: "1".repeat(64), ..keys[0].clone() }],
        lasting: vec![LastingRow { until: Some(9), ..rows[0].clone() }],
    };
    // Of each kind there is what was known, nothing, or something else.
    for which in 0..27 {
        let of = |kind: u32| [&known, &none, &other][which / 3_usize.pow(kind) % 3];
        let found =
            Standing { bans: of(0).bans.clone(), keys: of(1).keys.clone(), lasting: of(2).lasting.clone() };
        for wanted in [&found, &known] {
            store.restore(wanted, Head::default(), None).unwrap();
            assert_eq!(store.load().unwrap().standing, *wanted);
        }
    }
}

#[test]
fn a_store_without_records_is_made_one_again() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let head = Head { sequence: 1, hash: audit::hash(b"record") };
    store
        .commit(Change {
            put: Some(&ban("alice", None)),
            record: Some((b"record", head)),
            ..Change::default()
        })
        .unwrap();
    store.restore(&Standing::default(), Head::default(), None).unwrap();
    assert_eq!((store.load().unwrap(), store.records(0, 9).unwrap()), (Kept::default(), vec![]));
    // What was tried out with the room for an act is gone, too.
    let marks = store.with(|database| mark(&database.begin_read()?, PROBE)).unwrap();
    assert_eq!(marks, None);
}
