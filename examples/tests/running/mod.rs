//! An example as a user runs it: a program that is started in a folder, and ends with its owner.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Ends with its owner, whatever happens.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts an example, and waits for its first line.
    pub(crate) fn start(name: &str, arguments: &[&str], home: &Path) -> (Self, String) {
        let mut command = Command::new(example(name));
        command.args(arguments).current_dir(home).stdout(Stdio::piped());
        let mut running = Self(command.spawn().unwrap());
        let mut ready = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        (running, ready)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Cargo builds the examples before the tests, into a folder beside theirs.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples").join(name)
}
