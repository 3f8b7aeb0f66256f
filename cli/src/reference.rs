//! What is made from the command line's own description: completions and manual pages.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fanfare", &mut script);
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(())
}

/// Writes a page for each command to `directory`.
pub(crate) fn man(directory: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!(
            "cannot write manual pages to {}: {error}; give another DIR",
            directory.display()
        ))
    };
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(failed)
}
