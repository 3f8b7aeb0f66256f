//! A small file system of its own, which can be filled, emptied and made read-only: real ones, mounted by root, or by
//! who may be root without a password, as on CI.
//!
//! In: where to mount it. Out: a disk, which is unmounted with the test. Where nothing can be mounted the test fails
//! and says what to do; it never passes without having been run.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seen;

/// Left out of tests on a machine where nobody may mount anything.
const WITHOUT: &str = "FANFARE_TESTS_WITHOUT_MOUNT";

/// What kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    /// ext4 in a file, by a loop device.
    Loop,
}

pub(crate) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts one of 4 MiB (in a file, of 8) on a new directory. `None` only where the environment says that tests must
    /// do without.
    pub(crate) fn mount(kind: Kind, at: &Path) -> Option<Self> {
        if std::env::var_os(WITHOUT).is_some() {
            eprintln!("NOT TESTED: nothing was mounted, because {WITHOUT} is set");
            return None;
        }
        fs::create_dir(at).unwrap();
        match kind {
            Kind::Memory => {
                let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
                let options = format!("size=4m,mode=0700,uid={user},gid={group}");
                run(as_root("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at));
            }
            Kind::Loop => {
                let image = at.with_extension("image");
                File::create(&image).unwrap().set_len(8 << 20).unwrap();
                // Without blocks that are kept for root, which we are.
                run(as_root("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
                run(as_root("mount").args(["-o", "loop"]).arg(&image).arg(at));
                run(as_root("rmdir").arg(at.join("lost+found")));
                run(as_root("chown").arg(rustix::process::getuid().as_raw().to_string()).arg(at));
            }
        }
        Some(Self { at: at.to_owned() })
    }

    /// Takes all the room that there is.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        for bytes in [64 * 1024, 4_096, 1] {
            let bytes = vec![1; bytes];
            let full: io::Error = loop {
                if let Err(error) = ballast.write_all(&bytes).and_then(|()| ballast.sync_data()) {
                    break error;
                }
                assert!(ballast.metadata().unwrap().len() < 64 << 20, "that is no small disk");
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives it back. A journal gives out again what was freed only when that is written down.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
        File::open(&self.at).and_then(|directory| directory.sync_all()).unwrap();
    }

    /// Whether it may be written to. The system refuses to change that while a file is open to write, so it is tried
    /// until none is.
    pub(crate) fn remount(&self, mode: &str) {
        seen("a remount", || {
            let done = as_root("mount").arg("-o").arg(format!("remount,{mode}")).arg(&self.at).output();
            let done = done.unwrap();
            if done.status.success() {
                Ok(())
            } else {
                Err(String::from_utf8_lossy(&done.stderr).into_owned())
            }
        });
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process of a test that failed may still be there.
        let _ = as_root("umount").arg("-l").arg(&self.at).output();
        let _ = fs::remove_dir(&self.at);
    }
}

/// A command that only root may run.
fn as_root(name: &str) -> Command {
    if rustix::process::getuid().is_root() {
        let mut command = Command::new(name);
        // Where it is, and where the path of a daemon's shell does not always lead.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        return command;
    }
    let mut command = Command::new("sudo");
    command.args(["-n", name]);
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let why = match command.output() {
        Ok(done) if done.status.success() => return,
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!(
        "this test needs a file system of its own, which only root may mount ({command:?}: {}); run it as root, or set {WITHOUT}=1 \
         to leave it out",
        why.trim()
    );
}
