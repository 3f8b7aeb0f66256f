//! Which node had this state directory before: it is dead, and what it has left in the bucket need not be waited for.
//!
//! In: the directory, and what this process has locked of it. Out: that node's id. Invariant: nobody is taken for dead
//! who may be alive. Who had the directory held the lock until its server ended (`home.rs`): drained, or with its
//! process. So it is asked for the same lock, by what is locked and not by a path, on the same kernel, and another
//! process. A program that drops a [`Server`](crate::Server) without draining it, and goes on, must not give its state
//! directory away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fanfare_cluster::NodeId;

use crate::home::replace;

/// A file in the state directory: the node that has it, and by what.
const FILE: &str = "cluster-node";

/// Another for each time that the system was started.
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";

/// This process, of all that there have been since then: its number, and when it was started.
const PROCESS: &str = "/proc/self/stat";

/// A state directory that this process has.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    directory: PathBuf,
    /// What is locked, the kernel, and the process; none where that is not known.
    by: Option<(String, String)>,
}

impl Held {
    /// `locked` is what is locked, by its file system and its number there.
    pub(crate) fn new(directory: &Path, locked: Option<(u64, u64)>) -> Self {
        let lock = locked.and_then(|(device, number)| {
            let kernel = fs::read_to_string(KERNEL).ok()?;
            Some(format!("{device}:{number}:{}", kernel.trim()))
        });
        Self { directory: directory.to_owned(), by: lock.zip(process()) }
    }

    /// The node that had it before, where it is certain that it has ended. One of this process may go on where its
    /// server was dropped.
    pub(super) fn predecessor(&self) -> Option<NodeId> {
        let told = fs::read_to_string(self.directory.join(FILE)).ok()?;
        let (own_lock, own_process) = self.by.as_ref()?;
        let mut words = told.split(' ');
        let (id, lock, process) = (words.next()?, words.next()?, words.next()?);
        (lock == own_lock && process != own_process).then(|| id.parse().ok()).flatten()
    }

    /// Whether a node has had it, or the one that it is a copy of, at whatever time.
    pub(super) fn was_a_nodes(&self) -> bool {
        // Where that cannot be seen, it may be.
        self.directory.join(FILE).try_exists().unwrap_or(true)
    }

    /// This node has it, for the next one to know.
    pub(super) fn remember(&self, id: NodeId) -> io::Result<()> {
        let told = match &self.by {
            Some((lock, process)) => format!("{id} {lock} {process}"),
            None => id.to_string(),
        };
        replace(&self.directory.join(FILE), told.as_bytes())
    }
}

/// The number of this process, and when it was started, in ticks since the system was (proc_pid_stat(5)).
fn process() -> Option<String> {
    let stat = fs::read_to_string(PROCESS).ok()?;
    let number = stat.split(' ').next()?;
    // The name, in brackets, may have blanks in it.
    let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{number}:{started}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: NodeId = NodeId::new([0xa0, 0, 0, 7]);

    /// As another process has it that has locked this.
    fn held(directory: &Path, locked: Option<(u64, u64)>, process: &str) -> Held {
        let Held { directory, by } = Held::new(directory, locked);
        Held { directory, by: by.map(|(lock, _)| (lock, process.to_owned())) }
    }

    #[test]
    fn promise_19_whoever_has_the_same_lock_knows_who_had_it() {
        let one = tempfile::tempdir().unwrap();
        let with = |locked, process| held(one.path(), locked, process);
        assert_eq!(with(Some((1, 2)), "7:8").predecessor(), None);
        assert!(!with(None, "7:8").was_a_nodes());
        with(Some((1, 2)), "7:8").remember(ID).unwrap();
        assert_eq!(with(Some((1, 2)), "7:9").predecessor(), Some(ID));
        assert_eq!(with(Some((1, 2)), "7:8").predecessor(), None, "in the same process");
        assert_eq!(with(Some((1, 3)), "7:9").predecessor(), None, "a file that was made anew, or a copy");
        assert_eq!(with(None, "7:9").predecessor(), None);
        with(None, "7:9").remember(NodeId::new([1; 4])).unwrap();
        assert_eq!(with(Some((1, 2)), "7:9").predecessor(), None);
        assert!(with(None, "7:9").was_a_nodes());
    }

    #[test]
    fn promise_19_what_is_not_of_this_kernel_says_nothing() {
        let one = tempfile::tempdir().unwrap();
        let held = held(one.path(), Some((1, 2)), "7:9");
        let (lock, _) = held.by.clone().unwrap();
        let write = |told: &str| fs::write(one.path().join(FILE), told).unwrap();
        for told in [
            format!("{ID} 1:2:00000000-0000-0000-0000-000000000000 7:8"),
            format!("{ID} {lock}"),
            format!("mallory {lock} 7:8"),
            String::new(),
        ] {
            write(&told);
            assert_eq!(held.predecessor(), None, "{told}");
        }
        write(&format!("{ID} {lock} 7:8"));
        assert_eq!(held.predecessor(), Some(ID));
    }

    #[test]
    fn a_process_knows_itself() {
        let number = format!("{}:", std::process::id());
        assert!(
            process().is_some_and(|process| process.starts_with(&number) && process.len() > number.len())
        );
    }
}
