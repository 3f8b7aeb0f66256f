//! Lines on stdout while other things go on.
//!
//! In: a line. Out: the same on stdout, at once: who reads it may be waiting for it. Invariant: a pipe that nobody empties keeps
//! neither signals nor the network waiting, since a thread of its own waits for it (test
//! `a_pipe_that_nobody_empties_keeps_no_signal_waiting`).

use std::fmt::Display;
use std::io::Write as _;

use crate::failure::Failure;

/// Prints a line, and waits until it is written.
pub(crate) async fn print(line: impl Display) -> Result<(), Failure> {
    let line = format!("{line}\n");
    let write = move || {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => Ok(written?),
        Err(failed) => Err(Failure::failed(format!("cannot print: {failed}"))),
    }
}
