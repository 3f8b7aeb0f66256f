//! Lines on stdout while other things go on.
//!
//! In: a line. Out: the same on stdout, at once: who reads it may be waiting for it. Invariant: a pipe that nobody
//! empties keeps neither signals nor the network waiting, since a thread of its own waits for it (test
//! `a_pipe_that_nobody_empties_keeps_no_signal_waiting`).

use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

/// Whether a line is being written at this moment: stdout is locked for as long.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Flushes stdout at the end of the process, if that does not wait for a line that was given up.
pub(crate) fn flush() -> std::io::Result<()> {
    if WRITING.load(Ordering::Acquire) { Ok(()) } else { std::io::stdout().flush() }
}

/// Prints a line, and waits until it is written.
pub(crate) async fn print(line: impl Display) -> Result<(), Failure> {
    let line = format!("{line}\n");
    WRITING.store(true, Ordering::Release);
    let write = move || {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        drop(out);
        WRITING.store(false, Ordering::Release);
        written
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => Ok(written?),
        Err(failed) => Err(Failure::failed(format!("cannot print: {failed}"))),
    }
}
