//! Writes a copy of what was decided for all nodes to this node's own disk, so that a start without the cluster begins
//! with what stood last.
//!
//! In: decisions that are in force. Out: changes in the store. Invariant: the disk holds up no decision: where more is
//! decided than it takes, everything that stands is written at once instead.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_token::Seconds;
use tokio::sync::mpsc;

use super::imports::of_disk;
use super::rows::since;
use crate::moderation::{Decision, Moderation, StoreError};

/// A file in the state directory: of which bucket what the store has of decisions is a copy.
const MARK: &str = "cluster-copy";

/// Which bucket it is that the store in a state directory has a copy of; none, where what it has is its own.
pub(crate) fn copy_of(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(MARK)).ok()
}

/// A file beside it, where what the store has is no copy any more: when the newest was decided that it had then, in
/// seconds since 1970.
const ALONE: &str = "alone-since";

/// What a server with this state directory has decided later than this, it has decided alone; where it was a node
/// before.
pub(super) fn alone_since(directory: &Path) -> Option<Seconds> {
    fs::read_to_string(directory.join(ALONE)).ok()?.parse().ok()
}

fn write(directory: &Path, name: &str, content: &str) -> io::Result<()> {
    let mut file = File::create(directory.join(name))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    // The name as well.
    File::open(directory)?.sync_all()
}

fn remove(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the store has is a copy of this bucket from now on.
fn remember(directory: &Path, bucket: &str) -> io::Result<()> {
    write(directory, MARK, bucket)?;
    remove(directory, ALONE)
}

/// It is what a server alone decides, from now on.
pub(crate) fn forget(directory: &Path, moderation: &Moderation) -> io::Result<()> {
    if copy_of(directory).is_some() {
        let newest = of_disk(moderation).iter().map(since).max().unwrap_or(0);
        // First since when. Where only this is done, it is a copy still, and nothing was decided alone.
        write(directory, ALONE, &newest.to_string())?;
    }
    remove(directory, MARK)
}

/// So many decisions may wait for the disk.
const WAITING: usize = 1_024;

/// Where copies go.
#[derive(Clone)]
pub(super) struct Copies {
    queue: mpsc::Sender<Copy>,
    all: Arc<AtomicBool>,
}

/// What is to be written down.
pub(super) enum Copy {
    One(Decision),
    /// Everything, which is what this bucket has: from now on what the disk has is a copy.
    AllOf(String),
}

impl Copies {
    pub(super) fn new() -> (Self, mpsc::Receiver<Copy>) {
        let (queue, receiver) = mpsc::channel(WAITING);
        (Self { queue, all: Arc::default() }, receiver)
    }

    /// Has a decision written down.
    pub(super) fn add(&self, decision: Decision) {
        if self.queue.try_send(Copy::One(decision)).is_err() {
            self.all.store(true, Ordering::Release);
        }
    }

    /// Has everything written down that stands, which is what this bucket has. To be called once. False: there is no
    /// room for that at this moment.
    pub(super) fn begin(&self, bucket: String) -> bool {
        self.queue.try_send(Copy::AllOf(bucket)).is_ok()
    }

    /// Nothing more comes: what waits is written at once.
    pub(super) fn end(self) {
        self.all.store(true, Ordering::Release);
    }
}

/// Writes them down until nobody gives any more.
pub(super) async fn copy(
    moderation: Arc<Moderation>,
    directory: Option<PathBuf>,
    copies: Copies,
    mut waiting: mpsc::Receiver<Copy>,
) {
    let all = Arc::clone(&copies.all);
    drop(copies);
    // Which bucket the disk is to have a copy of, and whether it says so.
    let (mut bucket, mut is_marked) = (None, false);
    while let Some(first) = waiting.recv().await {
        let mut whole = all.swap(false, Ordering::AcqRel);
        let mut one = None;
        let mut next = Some(first);
        while let Some(copy) = next {
            match copy {
                Copy::One(decision) => one = Some(decision),
                Copy::AllOf(of) => (bucket, whole) = (Some(of), true),
            }
            // What waits is in what stands, and must not be written behind it: it may have been undone since.
            next = if whole { waiting.try_recv().ok() } else { None };
        }
        if bucket.is_none() && whole {
            // All that stands is written when the disk says that it is a copy, and not before.
            continue;
        }
        let mark = bucket.clone().filter(|_| !is_marked);
        let (moderation, directory) = (Arc::clone(&moderation), directory.clone());
        let written = tokio::task::spawn_blocking(move || {
            let store = |error: StoreError| error.to_string();
            if let Some((bucket, directory)) = mark.as_ref().zip(directory) {
                // Before the disk has what others have decided: else it would be taken for this server's own.
                remember(&directory, bucket).map_err(|error| error.to_string())?;
            }
            match one.filter(|_| !whole && mark.is_none()) {
                Some(decision) => moderation.copy(&decision).map_err(store),
                None => moderation.copy_all().map_err(store),
            }
        });
        match written.await {
            Ok(Ok(())) => is_marked = bucket.is_some(),
            Ok(Err(error)) => {
                // What stands is with the cluster; the next that is written has all of it.
                all.store(true, Ordering::Release);
                tracing::error!(error, "a copy of what was decided could not be written");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_hub::HubLimits;
    use fanfare_protocol::Limits;
    use fanfare_protocol::admin::{BanKind, BanRow};

    use super::*;
    use crate::access::{Bans, Gate, KeySets, Tokens};
    use crate::hub::Hub;
    use crate::moderation::{FileStore, Store as _};

    fn moderation(directory: &Path) -> Arc<Moderation> {
        let bans = Arc::<Bans>::default();
        let gate = Gate::new(Arc::new(Tokens::new(None, KeySets::none())), Arc::clone(&bans));
        let hub = Arc::new(Hub::new(HubLimits::default(), Arc::new(gate)));
        let store = Box::new(FileStore::open(directory).unwrap());
        Arc::new(Moderation::open(store, hub, bans, Arc::default(), Limits::default()).unwrap())
    }

    fn ban(user: &str) -> Decision {
        let (kind, user) = (BanKind::User, Some(user.parse().unwrap()));
        let (reason, author) = (String::new(), String::new());
        Decision::Ban(BanRow { kind, user, groups: None, jti: None, since: 1, until: None, reason, author })
    }

    /// What is on the disk, and of which bucket that is a copy, when this was copied by a server that has two bans in
    /// force.
    async fn written(give: impl FnOnce(Copies)) -> (usize, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let moderation = moderation(directory.path());
        for user in ["mallory", "trudy"] {
            moderation.put_in_force(&ban(user), "");
        }
        let (copies, waiting) = Copies::new();
        give(copies.clone());
        copy(moderation, Some(directory.path().to_owned()), copies, waiting).await;
        let kept = FileStore::open(directory.path()).unwrap().load().unwrap();
        (kept.standing.bans.len(), copy_of(directory.path()))
    }

    #[tokio::test]
    async fn that_it_is_a_copy_is_written_down_with_all_that_stands_however_much_waits_with_it() {
        let bucket = || "bucket".to_owned();
        let all = (2, Some(bucket()));
        let behind = written(|copies| {
            copies.add(ban("mallory"));
            copies.all.store(true, Ordering::Release);
            assert!(copies.begin(bucket()));
        });
        assert_eq!(behind.await, all);
        let before = written(|copies| {
            assert!(copies.begin(bucket()));
            copies.add(ban("mallory"));
            copies.end();
        });
        assert_eq!(before.await, all);
        assert_eq!(written(|copies| assert!(copies.begin(bucket()))).await, all);
    }

    /// A start before that takes what is there for this server's own, and decides it anew.
    #[tokio::test]
    async fn before_the_disk_says_that_it_is_a_copy_no_more_is_written_than_was_given() {
        assert_eq!(written(|copies| copies.add(ban("mallory"))).await, (1, None));
        let too_many = written(|copies| {
            (0..=WAITING).for_each(|_| copies.add(ban("mallory")));
            assert!(copies.all.load(Ordering::Acquire));
            assert!(!copies.begin("bucket".to_owned()));
        });
        assert_eq!(too_many.await, (0, None));
        let at_the_end = written(|copies| {
            copies.add(ban("mallory"));
            copies.end();
        });
        assert_eq!(at_the_end.await, (0, None));
    }
}
