//! Which node had this state directory before: it is dead, and what it has left in the bucket need not be waited for.
//!
//! In: the directory, held by this process. Out: that node's id. Invariant: nobody is taken for dead who may be alive.
//! Who had the directory held it until it ended (`home.rs`), as far as it is the same directory, and no copy of it, and
//! the same kernel that kept the lock.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fanfare_cluster::NodeId;

use crate::home::replace;

/// A file in the state directory: the node that has it, and where.
const FILE: &str = "cluster-node";

/// Another for each time that the system was started.
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";

/// What is held: by its file system, its number there, and the kernel. None where that is not known.
fn held(directory: &Path) -> Option<String> {
    let facts = fs::metadata(directory).ok()?;
    let kernel = fs::read_to_string(KERNEL).ok()?;
    Some(format!("{}:{} {}", facts.dev(), facts.ino(), kernel.trim()))
}

/// The node that had this directory before, where it is certain that it has ended.
pub(super) fn predecessor(directory: &Path) -> Option<NodeId> {
    let told = fs::read_to_string(directory.join(FILE)).ok()?;
    let (id, of) = told.split_once(' ')?;
    (of == held(directory)?).then(|| id.parse().ok()).flatten()
}

/// This node has the directory, for the next one to know.
pub(super) fn remember(directory: &Path, id: NodeId) -> io::Result<()> {
    match held(directory) {
        Some(held) => replace(&directory.join(FILE), format!("{id} {held}").as_bytes()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_knows_who_had_it_and_a_copy_of_it_does_not() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let id = NodeId::new([0xa0, 0, 0, 7]);
        assert_eq!(predecessor(one.path()), None);
        remember(one.path(), id).unwrap();
        assert_eq!(predecessor(one.path()), Some(id));
        fs::copy(one.path().join(FILE), other.path().join(FILE)).unwrap();
        assert_eq!(predecessor(other.path()), None);
        remember(other.path(), NodeId::new([0xa0, 0, 0, 8])).unwrap();
        assert_eq!(predecessor(one.path()), Some(id));
    }

    #[test]
    fn promise_19_what_is_not_of_this_kernel_says_nothing() {
        let one = tempfile::tempdir().unwrap();
        let id = NodeId::new([0xa0, 0, 0, 7]);
        let write = |told: &str| fs::write(one.path().join(FILE), told).unwrap();
        let held = held(one.path()).unwrap();
        let (place, kernel) = held.split_once(' ').unwrap();
        for told in [
            format!("{id} {place} 00000000-0000-0000-0000-000000000000"),
            format!("{id} 0:0 {kernel}"),
            format!("{id} {place}"),
            format!("mallory {held}"),
            String::new(),
        ] {
            write(&told);
            assert_eq!(predecessor(one.path()), None, "{told}");
        }
        write(&format!("{id} {held}"));
        assert_eq!(predecessor(one.path()), Some(id));
    }
}
