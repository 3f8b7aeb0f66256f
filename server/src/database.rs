//! redb files in the state directory: made as a whole or not at all, and looked at without being touched.
//!
//! In: a path, and what is to be in a new file. Out: a database. Invariants: half a file is never in the place of a
//! whole one; its owner alone reads it.

mod overlay;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::Database;

pub(crate) use self::overlay::Overlay;

/// Makes a database in a new file of this name, in place of one that was left there, and fills it.
pub(crate) fn create_aside(
    directory: &Path,
    name: &str,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<Database, redb::Error> {
    let aside = directory.join(name);
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let made = || {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&aside)?;
        let database = Database::builder().create_with_backend(redb::backends::FileBackend::new(file)?)?;
        fill(&database)?;
        Ok(database)
    };
    let made = made();
    if made.is_err() {
        // Half of one is of no use, and on a full disk it would take the room that acts need.
        let _ = fs::remove_file(&aside);
    }
    made
}
